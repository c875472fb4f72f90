/* fuzz_cron.c: schedules. What is accepted has words, fires strictly later each time, at times that its fields hold or just after a gap that
 * held one, and leaves out no minute that a walk over the clock finds; another start between two firings finds the same next one.
 * Input: the schedule up to a line feed; a byte that picks the zone; the rest picks the instant to begin at. */
#include "core/base/clock.h"
#include "schedules/cron_int.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/support_zone.h"

#define FIRINGS_LOOKED_AT 40
#define MINUTES_WALKED 3000

static const char *const rules[] = {
    "UTC0",
    "CET-1CEST,M3.5.0,M10.5.0/3",
    "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0",
    "IST-1GMT0,M10.5.0,M3.5.0/1",
    "<-04>4<-03>,M9.1.6/24,M4.1.6/24",
    "EST5EDT,0/0,J365/25",
    "AAA12BBB-12,J100/0,J200/0",
    "AAA0BBB-0:00:30,J60/1:59:45,299/2:30:15",
};

static struct zone *zone_of(uint8_t pick)
{
    static struct zone *zones[ARRAY_LEN(rules)]; /* immutable, and the same for every input */
    size_t i = pick % ARRAY_LEN(rules);
    if (!zones[i]) {
        struct buf b;
        struct err e;
        buf_init(&b, 4096);
        support_tzif(&b, rules[i]);
        FUZZ_MUST(zone_parse("Fuzz/Zone", buf_data(&b), buf_len(&b), &zones[i], &e) == 0);
        buf_fini(&b);
    }
    return zones[i];
}

static bool by_fields(const struct cron *c) { return c->kind != CRON_INTERVAL && c->kind != CRON_DAILY_RANGE; }

/* The whole of the fields for one local second, without any search. */
static bool holds(const struct cron *c, int64_t local_s)
{
    int year, month, day;
    int64_t days = local_s / DAY_S - (local_s % DAY_S < 0), in_day = local_s - days * DAY_S;
    civil_from_days(days, &year, &month, &day);
    return (c->hours >> in_day / 3600 & 1) && (c->minutes >> in_day / 60 % 60 & 1) && (c->seconds >> in_day % 60 & 1) &&
           (cron_days(c, year, month) >> day & 1);
}

static void check_words(const struct cron *c, const struct zone *z, int64_t from_s)
{
    struct buf b;
    buf_init(&b, 16384);
    FUZZ_CHECK(cron_describe(c, &b) == 0 && buf_len(&b) > 0, "no words");
    FUZZ_CHECK(cron_explain(c, z, from_s, &b) == 0, "no explanation");
    for (size_t i = 0; i < buf_len(&b); i++)
        FUZZ_CHECK(buf_data(&b)[i] >= ' ' && buf_data(&b)[i] < 127, "a control character in the words");
    buf_fini(&b);
}

static void check_firing(const struct cron *c, const struct zone *z, const struct cron_firing *f)
{
    int64_t at[2], local_s = zone_local(z, f->at_s);
    if (f->how == CRON_MOVED || f->how == CRON_MERGED)
        FUZZ_CHECK(f->local_s < local_s && zone_local(z, f->at_s - 1) != local_s - 1, "moved where there is no gap");
    else
        FUZZ_CHECK(f->local_s == local_s, "another local time than the clock's");
    if (by_fields(c)) {
        FUZZ_CHECK(holds(c, f->local_s), "fires at a time that its fields do not hold");
        FUZZ_CHECK(f->how != CRON_MERGED || holds(c, local_s), "merged with a time that its fields do not hold");
    }
    if (f->how == CRON_ONCE)
        FUZZ_CHECK(zone_instants(z, local_s, at) == 2 && at[0] == f->at_s, "not the first of two");
}

/* Nothing between two firings: a walk by the minute over the clock, where it does not change. */
static void check_between(const struct cron *c, const struct zone *z, int64_t after_s, int64_t before_s)
{
    struct zone_span s;
    zone_span(z, after_s, &s);
    if (!by_fields(c) || s.end_s <= before_s || after_s + s.offset_s < s.reached_s)
        return;
    int second = __builtin_ctzll(c->seconds);
    int64_t local_s = after_s + s.offset_s + 1;
    local_s += ((second - local_s % 60) % 60 + 60) % 60;
    for (int i = 0; i < MINUTES_WALKED && local_s - s.offset_s < before_s; i++, local_s += 60)
        FUZZ_CHECK(!holds(c, local_s), "it left out local %lld", (long long)local_s);
}

static void check_next(const struct cron *c, const struct zone *z, int64_t from_s)
{
    struct cron_firing f, again;
    for (int i = 0; i < FIRINGS_LOOKED_AT && cron_next(c, z, from_s, &f); i++) {
        FUZZ_CHECK(f.at_s > from_s, "it goes back");
        FUZZ_CHECK(cron_next(c, z, from_s + (f.at_s - from_s - 1) / 2, &again) && again.at_s == f.at_s && again.how == f.how,
                   "from in between another firing is found");
        FUZZ_CHECK(cron_next(c, z, f.at_s - 1, &again) && again.at_s == f.at_s, "from the second before another firing is found");
        check_firing(c, z, &f);
        check_between(c, z, from_s, f.at_s);
        from_s = f.at_s;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str in = fuzz_str(data, size);
    char *text = fuzz_text(fuzz_line(&in));
    struct err e = {0};
    struct cron *c = cron_parse(text, &e);
    if (c) {
        const struct zone *z = zone_of(fuzz_byte(&in));
        struct fuzz_dice dice = fuzz_dice_of(in);
        int64_t from_s = (int64_t)fuzz_roll(&dice, 1u << 31) * 2 - (1 << 30);
        check_words(c, z, from_s);
        check_next(c, z, from_s);
        struct zone_change change; /* and where it matters */
        if (zone_next_change(z, from_s, &change)) {
            check_next(c, z, change.after.start_s - 7200 - (int64_t)fuzz_roll(&dice, 7200));
            check_next(c, z, change.after.start_s - 1);
            check_next(c, z, change.after.start_s);
        }
        cron_free(c);
    } else {
        FUZZ_CHECK(e.code == ERR_INVALID_ARGUMENT && e.msg[0], "refused without a word");
    }
    free(text);
    return 0;
}

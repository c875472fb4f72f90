/** test_zone.c: time zones: offsets and clock changes of real zones, rules after the file's last change, names, broken files. */
#include "core/base/clock.h"
#include "schedules/zone.h"
#include "schedules/zone_cache.h"
#include "schedules/zone_int.h"
#include "tests/support/support_zone.h"
#include "tests/support/unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static struct zone *load(const char *name)
{
    struct err e;
    struct zone *z = NULL;
    if (zone_load(name, &z, &e))
        fail_msg("%s", e.msg);
    return z;
}

static int64_t instant(const char *text)
{
    int64_t s;
    int32_t ns;
    struct err e;
    if (wall_parse_parts(text, strlen(text), &s, &ns, &e))
        fail_msg("%s", e.msg);
    return s;
}

/* ---- from an instant to the local clock ---- */

static const struct {
    const char *name, *zone, *at, *local, *abbreviation;
    bool dst;
} locals[] = {
    {"winter", "Europe/Berlin", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00", "CET", false},
    {"the last second before summer time", "Europe/Berlin", "2026-03-29T00:59:59Z", "2026-03-29T01:59:59+01:00", "CET", false},
    {"the first of summer time", "Europe/Berlin", "2026-03-29T01:00:00Z", "2026-03-29T03:00:00+02:00", "CEST", true},
    {"long after the file's last change", "Europe/Berlin", "2345-07-01T12:00:00Z", "2345-07-01T14:00:00+02:00", "CEST", true},
    {"and in another cycle of the calendar", "Europe/Berlin", "9998-07-01T12:00:00Z", "9998-07-01T14:00:00+02:00", "CEST", true},
    {"and in its winter", "Europe/Berlin", "9998-12-31T12:00:00Z", "9998-12-31T13:00:00+01:00", "CET", false},
    {"before the first change", "Europe/Berlin", "1800-01-01T00:00:00Z", "1800-01-01T00:53:28+00:53", "LMT", false},
    {"summer in the south", "America/Sao_Paulo", "2018-01-15T00:00:00Z", "2018-01-14T22:00:00-02:00", "-02", true},
    {"quarters of an hour", "Asia/Kathmandu", "2026-01-01T00:00:00Z", "2026-01-01T05:45:00+05:45", "+0545", false},
    {"summer time of half an hour", "Australia/Lord_Howe", "2026-01-01T00:00:00Z", "2026-01-01T11:00:00+11:00", "+11", true},
    {"and its winter", "Australia/Lord_Howe", "2026-07-01T00:00:00Z", "2026-07-01T10:30:00+10:30", "+1030", false},
    {"winter time that is called summer time", "Europe/Dublin", "2040-01-01T00:00:00Z", "2040-01-01T00:00:00+00:00", "GMT", true},
    {"and summer that is standard", "Europe/Dublin", "2040-07-01T00:00:00Z", "2040-07-01T01:00:00+01:00", "IST", false},
    {"a clock set back for Ramadan", "Africa/Casablanca", "2026-03-01T00:00:00Z", "2026-03-01T00:00:00+00:00", "+00", true},
    {"the day before the missing one", "Pacific/Apia", "2011-12-30T09:59:59Z", "2011-12-29T23:59:59-10:00", "-10", true},
    {"the day after the missing one", "Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-31T00:00:00+14:00", "+14", true},
    {"a rule with a negative time", "America/Nuuk", "2026-03-29T00:59:59Z", "2026-03-28T22:59:59-02:00", "-02", false},
    {"and the second after", "America/Nuuk", "2026-03-29T01:00:00Z", "2026-03-29T00:00:00-01:00", "-01", true},
    {"a rule with a time beyond the day", "Asia/Gaza", "2090-10-29T00:00:00Z", "2090-10-29T02:00:00+02:00", "EET", false},
    {"two hours of summer time", "Antarctica/Troll", "2026-07-01T00:00:00Z", "2026-07-01T02:00:00+02:00", "+02", true},
    {"an old name", "US/Eastern", "2026-07-01T00:00:00Z", "2026-06-30T20:00:00-04:00", "EDT", true},
    {"UTC, without a file", "UTC", "2026-07-01T00:00:00Z", "2026-07-01T00:00:00+00:00", "UTC", false},
    {"a fixed offset with signs", "Etc/GMT+5", "2026-07-01T00:00:00Z", "2026-06-30T19:00:00-05:00", "-05", false},
};

static void shows_the_local_clock(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(locals); i++) {
        char text[ZONE_TEXT_MAX];
        struct zone_span s;
        struct zone *z = load(locals[i].zone);
        CASE_STR(locals[i].name, zone_name(z), locals[i].zone);
        CASE_STR(locals[i].name, zone_format(z, instant(locals[i].at), text), locals[i].local);
        zone_span(z, instant(locals[i].at), &s);
        CASE_STR(locals[i].name, s.abbreviation, locals[i].abbreviation);
        CASE_INT(locals[i].name, s.dst, locals[i].dst);
        zone_unref(z);
    }
}

/* ---- from the local clock to instants ---- */

static const struct {
    const char *name, *zone, *local; /* written as if it were UTC */
    int count;
    const char *first, *second;
} instants[] = {
    {"an ordinary time", "Europe/Berlin", "2026-01-01T12:00:00Z", 1, "2026-01-01T11:00:00Z", NULL},
    {"the last before the gap", "Europe/Berlin", "2026-03-29T01:59:59Z", 1, "2026-03-29T00:59:59Z", NULL},
    {"the beginning of the gap", "Europe/Berlin", "2026-03-29T02:00:00Z", 0, "2026-03-29T01:00:00Z", NULL},
    {"the end of the gap", "Europe/Berlin", "2026-03-29T02:59:59Z", 0, "2026-03-29T01:00:00Z", NULL},
    {"the first after the gap", "Europe/Berlin", "2026-03-29T03:00:00Z", 1, "2026-03-29T01:00:00Z", NULL},
    {"the last before the fold", "Europe/Berlin", "2026-10-25T01:59:59Z", 1, "2026-10-24T23:59:59Z", NULL},
    {"the beginning of the fold", "Europe/Berlin", "2026-10-25T02:00:00Z", 2, "2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z"},
    {"the end of the fold", "Europe/Berlin", "2026-10-25T02:59:59Z", 2, "2026-10-25T00:59:59Z", "2026-10-25T01:59:59Z"},
    {"the first after the fold", "Europe/Berlin", "2026-10-25T03:00:00Z", 1, "2026-10-25T02:00:00Z", NULL},
    {"a day that was left out", "Pacific/Apia", "2011-12-30T12:00:00Z", 0, "2011-12-30T10:00:00Z", NULL},
    {"a day that came twice", "Pacific/Kwajalein", "1969-09-30T12:00:00Z", 2, "1969-09-30T01:00:00Z", "1969-10-01T00:00:00Z"},
    {"half an hour that came twice", "Australia/Lord_Howe", "2026-04-05T01:30:00Z", 2, "2026-04-04T14:30:00Z", "2026-04-04T15:00:00Z"},
    {"a midnight that did not come", "America/Santiago", "2026-09-06T00:00:00Z", 0, "2026-09-06T04:00:00Z", NULL},
    {"a gap by the rule", "America/New_York", "2400-03-12T02:30:00Z", 0, "2400-03-12T07:00:00Z", NULL},
    {"UTC has one of each", "UTC", "2026-03-29T02:30:00Z", 1, "2026-03-29T02:30:00Z", NULL},
};

static void finds_the_instants_of_a_local_time(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(instants); i++) {
        int64_t at[2];
        struct zone *z = load(instants[i].zone);
        CASE_INT(instants[i].name, zone_instants(z, instant(instants[i].local), at), instants[i].count);
        CASE_INT(instants[i].name, at[0], instant(instants[i].first));
        if (instants[i].second)
            CASE_INT(instants[i].name, at[1], instant(instants[i].second));
        zone_unref(z);
    }
}

static const struct {
    const char *name, *zone, *after, *at; /* at NULL: there is none */
    int32_t before_s, after_s;
} changes[] = {
    {"the next spring", "Europe/Berlin", "2026-01-01T00:00:00Z", "2026-03-29T01:00:00Z", 3600, 7200},
    {"not the one at hand", "Europe/Berlin", "2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z", 7200, 3600},
    {"but the one a second away", "Europe/Berlin", "2026-03-29T00:59:59Z", "2026-03-29T01:00:00Z", 3600, 7200},
    {"by the rule, in a far year", "America/New_York", "4000-01-01T00:00:00Z", "4000-03-12T07:00:00Z", -18000, -14400},
    {"none in a country that has stopped it", "Asia/Tehran", "2026-01-01T00:00:00Z", NULL, 0, 0},
    {"none in UTC", "UTC", "2026-01-01T00:00:00Z", NULL, 0, 0},
};

static void finds_the_next_change(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
        struct zone_change c;
        struct zone *z = load(changes[i].zone);
        CASE_INT(changes[i].name, zone_next_change(z, instant(changes[i].after), &c), changes[i].at != NULL);
        if (changes[i].at) {
            CASE_INT(changes[i].name, c.after.start_s, instant(changes[i].at));
            CASE_INT(changes[i].name, c.before.end_s, instant(changes[i].at));
            CASE_INT(changes[i].name, c.before.offset_s, changes[i].before_s);
            CASE_INT(changes[i].name, c.after.offset_s, changes[i].after_s);
        }
        zone_unref(z);
    }
}

/* ---- rules, from files made here ---- */

static void put_file(struct buf *b, const char *rule)
{
    buf_init(b, 4096);
    support_tzif(b, rule);
}

static const struct {
    const char *rule, *at, *local; /* at NULL: refused */
} rules[] = {
    {"XXX3", "2026-07-01T00:00:00Z", "2026-06-30T21:00:00-03:00"},
    {"<+03>-3", "1700-07-01T00:00:00Z", "1700-07-01T03:00:00+03:00"},
    {"<-0330>3:30", "2026-07-01T00:00:00Z", "2026-06-30T20:30:00-03:30"},
    {"", "2026-07-01T00:00:00Z", "2026-07-01T00:00:00+00:00"},
    {"AAA0BBB,J60,J300", "2028-03-01T01:59:59Z", "2028-03-01T01:59:59+00:00"},
    {"AAA0BBB,J60,J300", "2028-03-01T02:00:00Z", "2028-03-01T03:00:00+01:00"},
    {"AAA0BBB,J60,J300", "2027-03-01T02:00:00Z", "2027-03-01T03:00:00+01:00"},
    {"AAA0BBB,59,299", "2028-02-29T02:00:00Z", "2028-02-29T03:00:00+01:00"},
    {"AAA0BBB,59,299", "2027-03-01T02:00:00Z", "2027-03-01T03:00:00+01:00"},
    {"AAA0BBB,59,299", "1627-03-01T02:00:00Z", "1627-03-01T03:00:00+01:00"},
    {"AAA0BBB,M3.5.0/-2,M10.5.0/26", "2026-03-28T21:59:59Z", "2026-03-28T21:59:59+00:00"},
    {"AAA0BBB,M3.5.0/-2,M10.5.0/26", "2026-03-28T22:00:00Z", "2026-03-28T23:00:00+01:00"},
    {"AAA0BBB,M3.5.0/-2,M10.5.0/26", "2026-10-26T00:59:59Z", "2026-10-26T01:59:59+01:00"},
    {"AAA0BBB,M3.5.0/-2,M10.5.0/26", "2026-10-26T01:00:00Z", "2026-10-26T01:00:00+00:00"},
    {"AAA0BBB-2,M3.5.0/2:30:30,M10.5.0", "2026-03-29T02:30:30Z", "2026-03-29T04:30:30+02:00"},
    {"EST5EDT,0/0,J365/25", "2026-01-01T05:00:00Z", "2026-01-01T01:00:00-04:00"}, /* summer time all year */
    {"EST5EDT,0/0,J365/25", "2371-12-31T23:00:00Z", "2371-12-31T19:00:00-04:00"},
    {"EST5EDT,0/0,J365/25", "2372-01-01T05:00:00Z", "2372-01-01T01:00:00-04:00"},
    {"AAA0BBB,M10.1.0,M4.1.0", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00"}, /* over the new year */
    {"EST0EDT,0/0,J365/25", "1500-01-01T00:00:00Z", "1500-01-01T01:00:00+01:00"},
    {"AAA1BBB2,0/0,J365/25", "1500-01-01T02:00:00Z", "1500-01-01T00:00:00-02:00"}, /* ends after it has begun again */
    {"AAA1BBB2,0/0,J365/25", "2374-01-01T02:00:00Z", "2374-01-01T00:00:00-02:00"},
    {"AAA1BBB2,0/0,J365/25", "2374-01-01T03:00:00Z", "2374-01-01T02:00:00-01:00"},
    {"AAA0BBB,M10.1.0,M4.1.0", "1969-12-31T23:30:00Z", "1970-01-01T00:30:00+01:00"},
    {"AAA", NULL, NULL},
    {"AAA25", NULL, NULL},
    {"1AA3", NULL, NULL},
    {"AAA0BBB", NULL, NULL},
    {"AAA0BBB,M3.5.0", NULL, NULL},
    {"AAA0BBB,M13.5.0,M10.5.0", NULL, NULL},
    {"AAA0BBB,M3.6.0,M10.5.0", NULL, NULL},
    {"AAA0BBB,M3.5.7,M10.5.0", NULL, NULL},
    {"AAA0BBB,J0,M10.5.0", NULL, NULL},
    {"AAA0BBB,366,M10.5.0", NULL, NULL},
    {"AAA0BBB,M3.5.0/168,M10.5.0", NULL, NULL},
    {"AAA0BBB,M3.5.0,M10.5.0 ", NULL, NULL},
    {"<+03-3", NULL, NULL},
    {"ABCDEFGHIJKLMNOPQ3", NULL, NULL},
};

static void follows_rules(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        struct buf b;
        struct err e;
        struct zone *z = NULL;
        put_file(&b, rules[i].rule);
        int rc = zone_parse("Test/Zone", buf_data(&b), buf_len(&b), &z, &e);
        CASE_INT(rules[i].rule, rc, rules[i].at ? 0 : -ERR_DATA_LOSS);
        if (z) {
            char text[ZONE_TEXT_MAX];
            CASE_STR(rules[i].rule, zone_format(z, instant(rules[i].at), text), rules[i].local);
        } else {
            CASE_TRUE(rules[i].rule, strstr(e.msg, "Test/Zone") && strstr(e.msg, "rule"));
        }
        zone_unref(z);
        buf_fini(&b);
    }
}

/* Summer time that is never another time must not be looked for without end. */
/* There is no year in which it began, so there is none in which the clock had not come as far. */
static void a_rule_alone_has_no_beginning(void **state)
{
    for (int year = 1960; year < 1980; year++) {
        struct buf b;
        struct err e;
        struct zone *z = NULL;
        struct zone_span s, before;
        put_file(&b, "EST0EDT,0/0,J365/25");
        assert_int_equal(zone_parse("Test/Zone", buf_data(&b), buf_len(&b), &z, &e), 0);
        zone_span(z, days_from_civil(year, 6, 1) * DAY_S, &s);
        zone_span(z, s.start_s - 1, &before);
        assert_int_equal(before.end_s, s.start_s);
        assert_int_equal(s.reached_s, s.start_s + 3600);
        zone_unref(z);
        buf_fini(&b);
    }
}

static void a_rule_that_changes_nothing_ends_the_search(void **state)
{
    struct buf b;
    struct err e;
    struct zone *z = NULL;
    struct zone_change c;
    put_file(&b, "AAA0BBB0,M3.5.0,M10.5.0");
    assert_int_equal(zone_parse("Test/Zone", buf_data(&b), buf_len(&b), &z, &e), 0);
    assert_false(zone_next_change(z, 0, &c));
    zone_unref(z);
    buf_fini(&b);
}

/* ---- broken files ---- */

static void refuses_broken_files(void **state)
{
    struct buf b;
    struct err e;
    struct zone *z = NULL;
    put_file(&b, "CET-1CEST,M3.5.0,M10.5.0/3");
    for (size_t n = 0; n < buf_len(&b); n++)
        if (zone_parse("Test/Zone", buf_data(&b), n, &z, &e) != -ERR_DATA_LOSS)
            fail_msg("the first %zu bytes are taken for a zone", n);
    /* Any byte changed: refused or read, never more than that. */
    for (size_t n = 0; n < buf_len(&b); n++) {
        for (int bit = 0; bit < 8; bit++) {
            buf_data(&b)[n] = (char)(buf_data(&b)[n] ^ (1 << bit));
            if (zone_parse("Test/Zone", buf_data(&b), buf_len(&b), &z, &e) == 0)
                zone_unref(z);
            buf_data(&b)[n] = (char)(buf_data(&b)[n] ^ (1 << bit));
        }
    }
    buf_fini(&b);
    char *large = calloc(1, ZONE_FILE_BYTES_MAX + 1);
    assert_non_null(large);
    memcpy(large, "TZif", 4);
    assert_int_equal(zone_parse("Test/Zone", large, ZONE_FILE_BYTES_MAX + 1, &z, &e), -ERR_DATA_LOSS);
    assert_non_null(strstr(e.msg, "too large"));
    free(large);
    if (access("/usr/share/zoneinfo/right/Europe/Berlin", R_OK) == 0) {
        assert_int_equal(zone_load("right/Europe/Berlin", &z, &e), -ERR_DATA_LOSS);
        assert_non_null(strstr(e.msg, "leap seconds"));
    }
}

/* Files of version 1 have 32 bits a time, and no rule. */
static void reads_version_1(void **state)
{
    struct buf b;
    struct err e;
    struct zone *z = NULL;
    char text[ZONE_TEXT_MAX];
    buf_init(&b, 4096);
    support_tzif_head(&b, '\0', 1, 2, 8);
    support_put32(&b, (uint32_t)-1000);
    assert_int_equal(buf_add(&b, "\1", 1), 0);
    support_put32(&b, 0);
    assert_int_equal(buf_add(&b, "\0\0", 2), 0);
    support_put32(&b, 3600);
    assert_int_equal(buf_add(&b, "\1\4AAA\0BBB\0", 10), 0);
    assert_int_equal(zone_parse("Test/Zone", buf_data(&b), buf_len(&b), &z, &e), 0);
    assert_string_equal(zone_format(z, -1001, text), "1969-12-31T23:43:19+00:00");
    assert_string_equal(zone_format(z, -1000, text), "1970-01-01T00:43:20+01:00");
    zone_unref(z);
    buf_fini(&b);
}

/* zic may write one change at -2^59, from when on there was time; one so far ahead is no time of ours. */
static void a_rule_may_follow_the_beginning_of_the_world(void **state)
{
    static const struct {
        uint32_t high;
        int code;
    } cases[] = {{0xf8000000u, 0}, {0x07000000u, -ERR_DATA_LOSS}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf b;
        struct err e;
        struct zone *z = NULL;
        char text[ZONE_TEXT_MAX];
        buf_init(&b, 4096);
        support_tzif_head(&b, '2', 0, 1, 1);
        assert_int_equal(buf_add(&b, "\0\0\0\0\0\0", 7), 0);
        support_tzif_head(&b, '2', 1, 1, 4);
        support_put32(&b, cases[i].high);
        support_put32(&b, 0);
        assert_int_equal(buf_add(&b, "\0\0\0\0\0\0\0AAA\0\nAAA0BBB,M3.5.0,M10.5.0\n", 7 + 4 + 24), 0);
        assert_int_equal(zone_parse("Test/Zone", buf_data(&b), buf_len(&b), &z, &e), cases[i].code);
        if (z)
            assert_string_equal(zone_format(z, instant("2026-07-01T00:00:00Z"), text), "2026-07-01T01:00:00+01:00");
        zone_unref(z);
        buf_fini(&b);
    }
}

/* The clock may have come further two changes ago than before the last. */
static void knows_how_far_the_clock_had_come(void **state)
{
    static const uint32_t times[] = {0, 100000, 101800}, offsets[] = {0, 7200, 3600};
    struct buf b;
    struct err e;
    struct zone *z = NULL;
    struct zone_span s;
    buf_init(&b, 4096);
    support_tzif_head(&b, '\0', ARRAY_LEN(times), ARRAY_LEN(offsets), 4);
    for (size_t i = 0; i < ARRAY_LEN(times); i++)
        support_put32(&b, times[i]);
    assert_int_equal(buf_add(&b, "\1\0\2", 3), 0);
    for (size_t i = 0; i < ARRAY_LEN(offsets); i++) {
        support_put32(&b, offsets[i]);
        assert_int_equal(buf_add(&b, "\0\0", 2), 0);
    }
    assert_int_equal(buf_add(&b, "AAA", 4), 0);
    assert_int_equal(zone_parse("Test/Zone", buf_data(&b), buf_len(&b), &z, &e), 0);
    zone_span(z, 101800, &s);
    assert_int_equal(s.start_s, 101800);
    assert_int_equal(s.reached_s, 107200);
    zone_unref(z);
    buf_fini(&b);
}

/* ---- names ---- */

static const struct {
    const char *name;
    int code;
    const char *says;
} names[] = {
    {"", ERR_INVALID_ARGUMENT, "cannot be a time zone"},
    {"../../../etc/passwd", ERR_INVALID_ARGUMENT, "'../../../etc/passwd' cannot be"},
    {"Europe/../Europe/Berlin", ERR_INVALID_ARGUMENT, "cannot be"},
    {"/usr/share/zoneinfo/UTC", ERR_INVALID_ARGUMENT, "cannot be"},
    {"Europe//Berlin", ERR_INVALID_ARGUMENT, "cannot be"},
    {"Europe/Berlin/", ERR_INVALID_ARGUMENT, "cannot be"},
    {"Europe/Ber lin", ERR_INVALID_ARGUMENT, "cannot be"},
    {"zone1970.tab", ERR_INVALID_ARGUMENT, "cannot be"},
    {"A1234567890123456789012345678901234567890123456789012345678901234", ERR_INVALID_ARGUMENT, "cannot be"},
    {"Europe/Berln", ERR_INVALID_ARGUMENT, "no time zone 'Europe/Berln'; did you mean 'Europe/Berlin'?"},
    {"europe/berlin", ERR_INVALID_ARGUMENT, "did you mean 'Europe/Berlin'?"},
    {"Berlin", ERR_INVALID_ARGUMENT, "did you mean 'Europe/Berlin'?"},
    {"America/Newyork", ERR_INVALID_ARGUMENT, "did you mean 'America/New_York'?"},
    {"Europe", ERR_INVALID_ARGUMENT, "no time zone 'Europe'"},
    {"Mars/Olympus_Mons", ERR_INVALID_ARGUMENT, "such as Europe/Berlin"},
    {"localtime", ERR_INVALID_ARGUMENT, "what this machine is set to"},
    {"posixrules", ERR_INVALID_ARGUMENT, "what this machine is set to"},
    {"leapseconds", ERR_DATA_LOSS, "not a time zone file"},
};

static void names_what_is_no_zone(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct err e = {0};
        struct zone *z = NULL;
        CASE_INT(names[i].name, zone_load_from("/usr/share/zoneinfo", names[i].name, &z, &e), -names[i].code);
        if (!strstr(e.msg, names[i].says))
            fail_msg("'%s': \"%s\" does not say \"%s\"", names[i].name, e.msg, names[i].says);
    }
}

static void without_tzdata_there_is_utc(void **state)
{
    struct err e;
    struct zone *z = NULL;
    const char *dir = support_tmpdir();
    assert_int_equal(zone_load_from(dir, "Etc/UTC", &z, &e), 0);
    assert_string_equal(zone_name(z), "Etc/UTC");
    zone_unref(z);
    assert_int_equal(zone_load_from(dir, "utc", &z, &e), 0); /* as Google's interface writes it */
    zone_unref(z);
    z = NULL;
    assert_int_equal(zone_load_from(dir, "Europe/Berlin", &z, &e), -ERR_FAILED_PRECONDITION);
    assert_non_null(strstr(e.msg, "'Europe/Berlin'"));
    assert_non_null(strstr(e.msg, "install the package tzdata"));
    assert_int_equal(zone_load_from("/no/such/folder", "Europe/Berlin", &z, &e), -ERR_FAILED_PRECONDITION);
    /* TZDIR is where libc looks, too. */
    setenv("TZDIR", dir, 1);
    assert_int_equal(zone_load("Europe/Berlin", &z, &e), -ERR_FAILED_PRECONDITION);
    unsetenv("TZDIR");
}

/* ---- the cache ---- */

static void write_zone(const char *dir, const char *name, const char *rule)
{
    char path[512], other[540];
    struct buf b;
    put_file(&b, rule);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    snprintf(other, sizeof other, "%s.new", path);
    FILE *f = fopen(other, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(buf_data(&b), 1, buf_len(&b), f), buf_len(&b));
    assert_int_equal(fclose(f), 0);
    assert_int_equal(rename(other, path), 0); /* as dpkg does it */
    buf_fini(&b);
}

static void refreshed(struct zone_cache *c, size_t want)
{
    struct err e;
    size_t changed = 99;
    assert_int_equal(zone_cache_refresh(c, &changed, &e), 0);
    assert_int_equal(changed, want);
}

static void the_cache_notices_new_tzdata(void **state)
{
    struct err e;
    struct zone *old, *same, *now, *utc;
    char text[ZONE_TEXT_MAX], dir[256], other[256], link[300];
    snprintf(dir, sizeof dir, "%s", support_tmpdir());
    snprintf(other, sizeof other, "%s", support_tmpdir());
    write_zone(dir, "Alpha", "AAA0");
    write_zone(dir, "Beta", "BBB1");
    write_zone(other, "Alpha", "AAA3");
    write_zone(other, "Beta", "BBB1");
    snprintf(link, sizeof link, "%s/link", support_tmpdir());
    assert_int_equal(symlink(dir, link), 0);
    struct zone_cache *c = zone_cache_new(link);
    assert_non_null(c);
    assert_int_equal(zone_cache_get(c, "Alpha", &old, &e), 0);
    assert_int_equal(zone_cache_get(c, "Alpha", &same, &e), 0);
    assert_int_equal(zone_cache_get(c, "Etc/UTC", &utc, &e), 0);
    assert_ptr_equal(old, same);
    zone_unref(same);
    refreshed(c, 0);
    write_zone(dir, "Alpha", "AAA0"); /* another file that says the same */
    refreshed(c, 0);
    write_zone(dir, "Alpha", "AAA-2");
    refreshed(c, 1);
    refreshed(c, 0);
    assert_int_equal(zone_cache_get(c, "Alpha", &now, &e), 0);
    assert_ptr_not_equal(old, now);
    assert_string_equal(zone_format(old, 0, text), "1970-01-01T00:00:00+00:00");
    assert_string_equal(zone_format(now, 0, text), "1970-01-01T02:00:00+02:00");
    zone_unref(now);
    /* The whole folder is another one. */
    assert_int_equal(unlink(link), 0);
    assert_int_equal(symlink(other, link), 0);
    refreshed(c, 1);
    assert_int_equal(zone_cache_get(c, "Alpha", &now, &e), 0);
    assert_string_equal(zone_format(now, 0, text), "1969-12-31T21:00:00-03:00");
    /* Gone, as in the middle of an update: what is known stays, and it is said. */
    size_t changed;
    assert_int_equal(unlink(link), 0);
    assert_int_equal(zone_cache_refresh(c, &changed, &e), -ERR_FAILED_PRECONDITION);
    assert_int_equal(changed, 0);
    zone_unref(now);
    assert_int_equal(zone_cache_get(c, "Alpha", &now, &e), 0);
    assert_string_equal(zone_format(now, 0, text), "1969-12-31T21:00:00-03:00");
    assert_int_equal(symlink(dir, link), 0);
    refreshed(c, 1);
    zone_cache_free(c);
    assert_string_equal(zone_format(old, 0, text), "1970-01-01T00:00:00+00:00");
    zone_unref(old);
    zone_unref(now);
    zone_unref(utc);
    assert_int_equal(unlink(link), 0);
}

/* In the same file, of the same size, within the same second. */
static void the_cache_notices_a_file_written_over(void **state)
{
    struct err e;
    struct zone *z;
    char path[300], dir[256];
    struct timespec times[2] = {{1000, 4}, {1000, 4}};
    snprintf(dir, sizeof dir, "%s", support_tmpdir());
    struct zone_cache *c = zone_cache_new(dir);
    assert_non_null(c);
    write_zone(dir, "Alpha", "AAA0");
    snprintf(path, sizeof path, "%s/Alpha", dir);
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    assert_int_equal(zone_cache_get(c, "Alpha", &z, &e), 0);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, -2, SEEK_END), 0);
    assert_int_equal(fputc('5', f), '5');
    assert_int_equal(fclose(f), 0);
    times[1].tv_nsec = 5;
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    refreshed(c, 1);
    zone_unref(z);
    zone_cache_free(c);
}

static void the_cache_has_a_limit(void **state)
{
    struct err e;
    char dir[256], name[32];
    struct zone *held[ZONE_CACHE_MAX], *z;
    snprintf(dir, sizeof dir, "%s", support_tmpdir());
    struct zone_cache *c = zone_cache_new(dir);
    assert_non_null(c);
    for (int i = 0; i <= ZONE_CACHE_MAX; i++) {
        snprintf(name, sizeof name, "Z%d", i);
        write_zone(dir, name, "AAA0");
        if (i < ZONE_CACHE_MAX)
            assert_int_equal(zone_cache_get(c, name, &held[i], &e), 0);
    }
    assert_int_equal(zone_cache_get(c, name, &z, &e), -ERR_RESOURCE_EXHAUSTED);
    zone_unref(held[7]);
    assert_int_equal(zone_cache_get(c, name, &z, &e), 0);
    zone_unref(z);
    assert_int_equal(zone_cache_get(c, "Z8", &z, &e), 0);
    assert_ptr_equal(z, held[8]);
    zone_unref(z);
    for (int i = 0; i < ZONE_CACHE_MAX; i++)
        if (i != 7)
            zone_unref(held[i]);
    zone_cache_free(c);
}

static void *use_cache(void *arg)
{
    static const char *const some[] = {"Europe/Berlin", "America/New_York", "UTC", "Asia/Tokyo"};
    for (int i = 0; i < 400; i++) {
        struct zone *z;
        struct err e;
        size_t changed;
        if (zone_cache_get(arg, some[i % 4], &z, &e))
            return arg;
        struct zone_span s;
        zone_span(z, i, &s);
        zone_unref(z);
        if (i % 50 == 0 && zone_cache_refresh(arg, &changed, &e))
            return arg;
    }
    return NULL;
}

static void threads_may_share_it(void **state)
{
    pthread_t threads[4];
    struct zone_cache *c = zone_cache_new(NULL);
    assert_non_null(c);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use_cache, c), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        void *failed;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    zone_cache_free(c);
}

static void out_of_memory_is_told(void **state)
{
    for (size_t n = 1;; n++) {
        struct err e = {0};
        struct zone *z = NULL;
        size_t changed;
        support_fail_alloc(n);
        struct zone_cache *c = zone_cache_new("/usr/share/zoneinfo");
        int rc = c ? zone_cache_get(c, "Europe/Berlin", &z, &e) : -ERR_RESOURCE_EXHAUSTED;
        if (!rc)
            rc = zone_cache_refresh(c, &changed, &e);
        bool failed = support_alloc_failed();
        /* A buffer that could not double may still have got what it needed. */
        if (rc && (rc != -ERR_RESOURCE_EXHAUSTED || !failed))
            fail_msg("allocation %zu: %d %s", n, rc, e.msg);
        zone_unref(z);
        zone_cache_free(c);
        if (!failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shows_the_local_clock),
        cmocka_unit_test(finds_the_instants_of_a_local_time),
        cmocka_unit_test(finds_the_next_change),
        cmocka_unit_test(follows_rules),
        cmocka_unit_test(a_rule_alone_has_no_beginning),
        cmocka_unit_test(a_rule_that_changes_nothing_ends_the_search),
        cmocka_unit_test(refuses_broken_files),
        cmocka_unit_test(reads_version_1),
        cmocka_unit_test(a_rule_may_follow_the_beginning_of_the_world),
        cmocka_unit_test(knows_how_far_the_clock_had_come),
        cmocka_unit_test(names_what_is_no_zone),
        cmocka_unit_test(without_tzdata_there_is_utc),
        cmocka_unit_test(the_cache_notices_new_tzdata),
        cmocka_unit_test(the_cache_notices_a_file_written_over),
        cmocka_unit_test(the_cache_has_a_limit),
        cmocka_unit_test(threads_may_share_it),
        cmocka_unit_test(out_of_memory_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

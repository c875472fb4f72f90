/* fuzz_zone.c: time zone files (TZif). Of a file that is accepted the spans lie side by side, an instant's local time leads back to it, a
 * local time that does not exist lies just before the instant that is given for it, and the table says the same 400 years on. */
#include "schedules/zone_int.h"
#include "tests/fuzz/fuzz.h"

#define CHANGES_LOOKED_AT 24
#define FAR_S (INT64_C(1) << 52) /* further nobody asks, and sums stay far from overflowing */

static struct zone_span span_at(const struct zone *z, int64_t at_s)
{
    struct zone_span s;
    zone_span(z, at_s, &s);
    FUZZ_CHECK(s.start_s <= at_s && at_s < s.end_s, "%lld is not within its span", (long long)at_s);
    FUZZ_CHECK(abs(s.offset_s) <= ZONE_OFFSET_MAX_S && s.abbreviation, "an offset of %d s", s.offset_s);
    return s;
}

static void check_local(const struct zone *z, int64_t local_s)
{
    int64_t at[2] = {0, 0};
    int n = zone_instants(z, local_s, at);
    for (int i = 0; i < n; i++)
        FUZZ_CHECK(at[i] + span_at(z, at[i]).offset_s == local_s, "the clock does not show %lld", (long long)local_s);
    FUZZ_CHECK(n < 2 || at[0] < at[1], "out of order");
    if (n == 0) {
        FUZZ_CHECK(zone_local(z, at[0]) > local_s, "the gap does not end after %lld", (long long)local_s);
        FUZZ_CHECK(zone_local(z, at[0] - 1) < local_s, "the gap does not begin before %lld", (long long)local_s);
    }
}

static void check_instant(const struct zone *z, int64_t at_s)
{
    int64_t at[2];
    if (at_s < -FAR_S || at_s > FAR_S)
        return;
    struct zone_span s = span_at(z, at_s);
    int64_t local_s = at_s + s.offset_s;
    int n = zone_instants(z, local_s, at);
    FUZZ_CHECK(n > 0 && (at[0] == at_s || (n == 2 && at[1] <= at_s)), "%lld is not led back to", (long long)at_s);
    if (s.start_s > -FAR_S) {
        struct zone_span before = span_at(z, s.start_s - 1);
        FUZZ_CHECK(before.end_s == s.start_s, "a hole before %lld", (long long)s.start_s);
        FUZZ_CHECK(s.reached_s >= s.start_s + before.offset_s, "the clock had come further");
    }
    check_local(z, local_s);
    check_local(z, local_s + ZONE_OFFSET_MAX_S / 2);
    if (z->repeats && at_s > z->cycle_s)
        FUZZ_CHECK(span_at(z, at_s + ZONE_CYCLE_S).offset_s == s.offset_s, "another offset 400 years on");
}

static void check_changes(const struct zone *z, int64_t from_s)
{
    struct zone_change c;
    for (int i = 0; i < CHANGES_LOOKED_AT && zone_next_change(z, from_s, &c) && c.after.start_s < FAR_S; i++) {
        FUZZ_CHECK(c.after.start_s > from_s && c.before.offset_s != c.after.offset_s, "no change after %lld", (long long)from_s);
        from_s = c.after.start_s;
        for (int64_t d = -2; d <= 2; d++) {
            check_instant(z, from_s + d);
            check_local(z, from_s + c.before.offset_s + d);
            check_local(z, from_s + c.after.offset_s + d);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct zone *z = NULL;
    struct err e = {0};
    struct fuzz_dice dice = fuzz_dice_of(fuzz_str(data, size));
    int rc = zone_parse("Fuzz/Zone", data, size, &z, &e);
    if (rc) {
        FUZZ_CHECK(rc == -ERR_DATA_LOSS && e.msg[0], "refused without a word");
        return 0;
    }
    check_changes(z, -FAR_S);
    check_changes(z, 0);
    check_changes(z, INT64_C(32503680000));
    for (int i = 0; i < 16; i++) {
        check_instant(z, ((int64_t)fuzz_roll(&dice, 1u << 31) - (1 << 30)) * 64);
        check_instant(z, (int64_t)fuzz_roll(&dice, 1u << 31));
    }
    zone_unref(z);
    return 0;
}

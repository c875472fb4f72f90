/** test_clock.c: RFC 3339 both ways, the calendar below it, and that the real clocks move. */
#include "tests/support/unit.h"

#include "core/base/clock.h"

#include <stdio.h>
#include <time.h>

static const struct {
    const char *name, *text;
    int64_t seconds;
    int32_t nanos;
} same_both_ways[] = {
    {"the epoch", "1970-01-01T00:00:00Z", 0, 0},
    {"milliseconds take three digits", "2020-01-01T00:00:00.500Z", 1577836800, 500000000},
    {"microseconds take six", "2020-01-01T00:00:00.000001Z", 1577836800, 1000},
    {"nanoseconds take nine", "2020-01-01T00:00:00.000000001Z", 1577836800, 1},
    {"the last nanosecond of a day", "2020-12-31T23:59:59.999999999Z", 1609459199, 999999999},
    {"a leap day", "2024-02-29T12:00:00Z", 1709208000, 0},
    {"a leap day of a 400th year", "2000-02-29T00:00:00Z", 951782400, 0},
    {"just before the epoch", "1969-12-31T23:59:59.999Z", -1, 999000000},
    {"long before the epoch", "1677-09-21T00:12:44Z", -9223372036, 0},
    {"the first second there is", "0001-01-01T00:00:00Z", WALL_SECONDS_MIN, 0},
    {"the last nanosecond there is", "9999-12-31T23:59:59.999999999Z", WALL_SECONDS_MAX, 999999999},
};

static void instants_are_written_and_read_alike(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(same_both_ways); i++) {
        const char *name = same_both_ways[i].name, *text = same_both_ways[i].text;
        char out[WALL_TEXT_MAX];
        int64_t seconds;
        int32_t nanos;
        CASE_STR(name, wall_format_parts(same_both_ways[i].seconds, same_both_ways[i].nanos, out), text);
        CASE_INT(name, wall_parse_parts(text, strlen(text), &seconds, &nanos, NULL), 0);
        CASE_INT(name, seconds, same_both_ways[i].seconds);
        CASE_INT(name, nanos, same_both_ways[i].nanos);
    }
}

static const struct {
    const char *name, *text;
    int64_t ns;
} readable[] = {
    {"an offset east", "2026-10-05T01:41:00+02:00", INT64_C(1791157260) * NS_PER_S},
    {"an offset west", "2026-10-05T01:41:00-07:00", INT64_C(1791189660) * NS_PER_S},
    {"an offset over a year's end", "1970-01-01T00:30:00+01:00", -1800 * NS_PER_S},
    {"a negative zero offset", "1970-01-01T00:00:00-00:00", 0},
    {"an odd offset", "1970-01-01T00:00:00+05:45", -20700 * NS_PER_S},
    {"small letters", "1970-01-01t00:00:01z", NS_PER_S},
    {"one digit of fraction", "1970-01-01T00:00:00.5Z", NS_PER_S / 2},
    {"trailing zeros", "1970-01-01T00:00:00.100000000Z", NS_PER_S / 10},
    {"the least of 64 bits", "1677-09-21T00:12:43.145224192Z", INT64_MIN},
    {"the most of 64 bits", "2262-04-11T23:47:16.854775807Z", INT64_MAX},
};

static void other_spellings_are_understood(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(readable); i++) {
        int64_t ns = 42;
        /* The extremes come apart when seconds and fraction are put together in the wrong order. */
        CASE_INT(readable[i].name, wall_parse(readable[i].text, strlen(readable[i].text), &ns, NULL), 0);
        CASE_INT(readable[i].name, ns, readable[i].ns);
    }
    char out[WALL_TEXT_MAX];
    assert_string_equal(wall_format(INT64_MIN, out), "1677-09-21T00:12:43.145224192Z");
    assert_string_equal(wall_format(INT64_MAX, out), "2262-04-11T23:47:16.854775807Z");
    assert_string_equal(wall_format(FAKE_WALL_NS, out), "2026-01-01T00:00:00Z");
}

static void anything_else_is_refused_and_changes_nothing(void **state)
{
    static const char *const bad[] = {
        "",
        "now",
        "2026",
        "2026-10-05",
        "2026-10-05T01:41Z",
        "2026-10-05T01:41:00",
        "2026-10-05 01:41:00Z",
        "2026-1-05T01:41:00Z",
        "2026-13-05T01:41:00Z",
        "2026-00-05T01:41:00Z",
        "2026-04-31T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2026-01-00T00:00:00Z",
        "2026-01-32T00:00:00Z",
        "2026-10-05T24:00:00Z",
        "2026-10-05T23:60:00Z",
        "2026-10-05T23:59:60Z",
        "2026-10-05T01:41:00.Z",
        "2026-10-05T01:41:00.1234567890Z",
        "2026-10-05T01:41:00,5Z",
        "2026-10-05T01:41:00+2:00",
        "2026-10-05T01:41:00+0200",
        "2026-10-05T01:41:00+24:00",
        "2026-10-05T01:41:00+00:60",
        "2026-10-05T01:41:00ZZ",
        "2026-10-05T01:41:00Z ",
        " 2026-10-05T01:41:00Z",
        "-026-10-05T01:41:00Z",
        "2026-10-05T01:41:00UTC",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "12026-10-05T01:41:00Z",
        "2026-10-05T01:41:00\xC2\xBDZ",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        int64_t seconds = 42;
        int32_t nanos = 43;
        struct err e = {0};
        CASE_INT(bad[i], wall_parse_parts(bad[i], strlen(bad[i]), &seconds, &nanos, &e), -ERR_INVALID_ARGUMENT);
        CASE_INT(bad[i], seconds, 42);
        CASE_INT(bad[i], nanos, 43);
        CASE_TRUE(bad[i], strstr(e.msg, "is not a time"));
    }
    int64_t ns = 42;
    assert_int_equal(wall_parse("2262-04-11T23:47:16.854775808Z", 30, &ns, NULL), -ERR_INVALID_ARGUMENT);
    assert_int_equal(wall_parse("1677-09-21T00:12:43.145224191Z", 30, &ns, NULL), -ERR_INVALID_ARGUMENT);
    assert_int_equal(ns, 42);
    /* The length counts, not a terminator. */
    assert_int_equal(wall_parse("1970-01-01T00:00:00Zjunk", 20, &ns, NULL), 0);
    assert_int_equal(wall_parse("1970-01-01T00:00:00Z", 19, &ns, NULL), -ERR_INVALID_ARGUMENT);
}

static void every_day_has_its_number(void **state)
{
    int64_t days = days_from_civil(1, 1, 1);
    assert_int_equal(days * 86400, WALL_SECONDS_MIN);
    for (int year = 1; year <= 2500; year++) {
        for (int month = 1; month <= 12; month++) {
            for (int day = 1; day <= month_days(year, month); day++, days++) {
                int y, m, d;
                assert_int_equal(days_from_civil(year, month, day), days);
                civil_from_days(days, &y, &m, &d);
                assert_true(y == year && m == month && d == day);
            }
        }
    }
    assert_int_equal(days_from_civil(0, 12, 31), days_from_civil(1, 1, 1) - 1);
    assert_int_equal(days_from_civil(-400, 3, 1), days_from_civil(0, 3, 1) - 146097);
    int y, m, d;
    civil_from_days(days_from_civil(-1, 2, 28), &y, &m, &d);
    assert_true(y == -1 && m == 2 && d == 28);
}

static void it_agrees_with_the_c_library(void **state)
{
    struct rng r;
    rng_seed(&r, 9);
    for (int i = 0; i < 20000; i++) {
        int64_t span = WALL_SECONDS_MAX - WALL_SECONDS_MIN + 1;
        time_t s = (time_t)(WALL_SECONDS_MIN + (int64_t)rng_below(&r, (uint64_t)span));
        struct tm tm;
        char want[40], got[WALL_TEXT_MAX];
        gmtime_r(&s, &tm);
        snprintf(want, sizeof want, "%04d-%02d-%02dT%02d:%02d:%02dZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
                 tm.tm_sec);
        assert_string_equal(wall_format_parts(s, 0, got), want);
    }
}

static void the_real_clocks_move_forward(void **state)
{
    const struct clock *c = clock_real();
    int64_t first = clock_mono_ns(c), now = first;
    for (int64_t tries = 0; now == first && tries < 100000000; tries++)
        now = clock_mono_ns(c);
    assert_true(now > first);
    assert_true(clock_wall_ns(c) > FAKE_WALL_NS - 365 * 86400 * NS_PER_S);
}

static void the_fake_clock_stands_until_it_is_moved(void **state)
{
    struct fake_env fe;
    support_env(&fe);
    int64_t mono = env_now(&fe.env), wall = env_wall(&fe.env);
    assert_int_equal(env_now(&fe.env), mono);
    fake_env_advance(&fe, 5 * NS_PER_S);
    assert_int_equal(env_now(&fe.env), mono + 5 * NS_PER_S);
    assert_int_equal(env_wall(&fe.env), wall + 5 * NS_PER_S);
    fe.clock.wall_ns = 7; /* a step of wall time moves no deadline */
    assert_int_equal(env_wall(&fe.env), 7);
    assert_int_equal(env_now(&fe.env), mono + 5 * NS_PER_S);
    support_env_fini(&fe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(instants_are_written_and_read_alike),
        cmocka_unit_test(other_spellings_are_understood),
        cmocka_unit_test(anything_else_is_refused_and_changes_nothing),
        cmocka_unit_test(every_day_has_its_number),
        cmocka_unit_test(it_agrees_with_the_c_library),
        cmocka_unit_test(the_real_clocks_move_forward),
        cmocka_unit_test(the_fake_clock_stands_until_it_is_moved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

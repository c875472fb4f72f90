/* test_date.c: the three forms of an HTTP date, and what a Retry-After asks for. */
#include "tests/support/unit.h"

#include "core/http/date.h"

#define DAY_NS (86400 * NS_PER_S)

static void dates_come_in_three_forms(void **state)
{
    static const int64_t sample_ns = INT64_C(784111777) * NS_PER_S; /* RFC 9110's example */
    static const struct {
        const char *text;
        int64_t wall_ns; /* -1: refused */
    } cases[] = {
        {"Sun, 06 Nov 1994 08:49:37 GMT", sample_ns},
        {"Sunday, 06-Nov-94 08:49:37 GMT", sample_ns},
        {"Sun Nov  6 08:49:37 1994", sample_ns},
        {"Wed Nov 16 08:49:37 1994", sample_ns + 10 * DAY_NS},
        {"Thu, 01 Jan 2026 00:00:00 GMT", FAKE_WALL_NS},
        {"Thursday, 01-Jan-26 00:00:00 GMT", FAKE_WALL_NS},
        {"Saturday, 01-Jan-76 00:00:00 GMT", INT64_C(3345062400) * NS_PER_S}, /* 50 years ahead */
        {"Saturday, 01-Jan-77 00:00:00 GMT", INT64_C(220924800) * NS_PER_S},  /* more: it was 1977 */
        {"Thu, 31 Dec 1998 23:59:60 GMT", INT64_C(915148800) * NS_PER_S},
        {"Thu, 29 Feb 2024 12:00:00 GMT", INT64_C(1709208000) * NS_PER_S},
        {"Wed, 29 Feb 2023 12:00:00 GMT", -1},
        {"sun, 06 Nov 1994 08:49:37 GMT", -1},
        {"Sun, 6 Nov 1994 08:49:37 GMT", -1},
        {"Sun, 06 Nov 1994 8:49:37 GMT", -1},
        {"Sun, 06 Nov 1994 24:49:37 GMT", -1},
        {"Sun, 06 Nov 1994 08:60:37 GMT", -1},
        {"Sun, 06 Nov 1994 08:49:37 UTC", -1},
        {"Sun, 06 Nov 1994 08:49:37 +0000", -1},
        {"Sun, 06 Nov 1994 08:49:37", -1},
        {"Sun, 06 Nov 1994 08:49:37 GMTx", -1},
        {"Sun, 00 Nov 1994 08:49:37 GMT", -1},
        {"Sun, 06 Nov 0094 08:49:37 GMT", -1},
        {"Sun, 06 Non 1994 08:49:37 GMT", -1},
        {"Sun Nov 06 08:49:37 1994 GMT", -1},
        {"1994-11-06T08:49:37Z", -1},
        {"", -1},
        {"Sun, ", -1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t got_ns = -1;
        struct err e = {0};
        int rc = http_date_parse(str_of(cases[i].text), FAKE_WALL_NS, &got_ns, &e);
        CASE_INT(cases[i].text, rc, cases[i].wall_ns < 0 ? -ERR_INVALID_ARGUMENT : 0);
        CASE_INT(cases[i].text, got_ns, cases[i].wall_ns);
    }
}

static void no_piece_of_a_date_is_read_past_its_end(void **state)
{
    static const char *const whole[] = {"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"};
    for (size_t i = 0; i < ARRAY_LEN(whole); i++)
        for (size_t n = 0; n < strlen(whole[i]); n++) {
            char *exact = malloc(n + 1); /* so that the sanitizer sees a byte too many */
            int64_t got_ns;
            assert_non_null(exact);
            memcpy(exact, whole[i], n);
            assert_int_equal(http_date_parse((struct str){exact, n}, FAKE_WALL_NS, &got_ns, NULL), -ERR_INVALID_ARGUMENT);
            free(exact);
        }
}

static void retry_after_is_seconds_or_a_date(void **state)
{
    static const int64_t most = 3600 * NS_PER_S;
    static const struct {
        const char *text;
        int64_t want_ns;
    } cases[] = {
        {"0", 0},
        {"1", NS_PER_S},
        {"120", 120 * NS_PER_S},
        {"3600", most},
        {"3601", most},
        {"18446744073709551615", most},
        {"99999999999999999999999999", most},
        {"1.5", 0},
        {"-5", 0},
        {"+5", 0},
        {" 5", 0},
        {"5s", 0},
        {"", 0},
        {"soon", 0},
        {"Thu, 01 Jan 2026 00:00:30 GMT", 30 * NS_PER_S},
        {"Thu, 01 Jan 2026 00:00:00 GMT", 0},
        {"Wed, 31 Dec 2025 23:59:59 GMT", 0},
        {"Fri, 01 Jan 2027 00:00:00 GMT", most},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        CASE_INT(cases[i].text, retry_after_ns(str_of(cases[i].text), FAKE_WALL_NS, most), cases[i].want_ns);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dates_come_in_three_forms),
        cmocka_unit_test(no_piece_of_a_date_is_read_past_its_end),
        cmocka_unit_test(retry_after_is_seconds_or_a_date),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

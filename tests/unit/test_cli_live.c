/** test_cli_live.c: the counts as people read them, with rate and the time that is left. */
#include "tests/support/unit.h"
#include "tools/runnel/cli_live.h"

static void counts_are_told(void **state)
{
    static const struct {
        const char *name;
        struct live_counts n;
        double rate;
        const char *want;
    } cases[] = {
        {"nothing yet", {.total = 5}, -1, "0 running, 0 succeeded, 0 failed, 0 retried of 5"},
        {"no rate before there is one", {5, 2, 1, 1, 0, 3}, 0, "2 running, 1 succeeded, 1 failed, 3 retried of 5"},
        {"seconds", {100, 2, 70, 10, 0, 0}, 4, "2 running, 70 succeeded, 10 failed, 0 retried of 100; 4.0/s, 5s left"},
        {"minutes", {1000, 8, 100, 0, 0, 0}, 12.4, "8 running, 100 succeeded, 0 failed, 0 retried of 1000; 12/s, 1m 13s left"},
        {"hours", {1000000, 8, 0, 0, 0, 0}, 100, "8 running, 0 succeeded, 0 failed, 0 retried of 1000000; 100/s, 2h 46m left"},
        {"cancelled ones are done", {10, 0, 2, 1, 7, 0}, 3, "0 running, 2 succeeded, 1 failed, 7 cancelled, 0 retried of 10"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[LIVE_TEXT_MAX];
        if (strcmp(live_text(&cases[i].n, cases[i].rate, text), cases[i].want) != 0)
            fail_msg("%s: got '%s'", cases[i].name, text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(counts_are_told)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_task_policy.c: the formulas of task queues, with the examples of wire.md section 2. */
#include "broker/task_policy.h"
#include "tests/support/unit.h"

#define S NS_PER_S
#define QUEUE_CONCURRENT_MOST 5000 /* of any queue: warm means no limit of its own */

static void backoff_doubles_then_grows_evenly_then_stays(void **state)
{
    static const struct {
        const char *name;
        int64_t min_ns, max_ns;
        uint32_t doublings, failed;
        int64_t want_ns;
    } cases[] = {
        {"Google's example, 1st", 10 * S, 300 * S, 3, 1, 10 * S},
        {"2nd", 10 * S, 300 * S, 3, 2, 20 * S},
        {"3rd", 10 * S, 300 * S, 3, 3, 40 * S},
        {"4th", 10 * S, 300 * S, 3, 4, 80 * S},
        {"5th: by 2^3 times the minimum from now on", 10 * S, 300 * S, 3, 5, 160 * S},
        {"6th", 10 * S, 300 * S, 3, 6, 240 * S},
        {"7th: the maximum", 10 * S, 300 * S, 3, 7, 300 * S},
        {"8th", 10 * S, 300 * S, 3, 8, 300 * S},
        {"no doublings: evenly from the start", S, 100 * S, 0, 4, 4 * S},
        {"the defaults, 1st", S / 10, 3600 * S, 16, 1, S / 10},
        {"the defaults, 15th", S / 10, 3600 * S, 16, 15, 16384 * (S / 10)},
        {"the defaults, 17th", S / 10, 3600 * S, 16, 17, 3600 * S},
        {"the minimum above the maximum", 20 * S, 5 * S, 16, 1, 5 * S},
        {"nothing has failed", 10 * S, 300 * S, 3, 0, 0},
        {"no minimum", 0, 300 * S, 3, 9, 0},
        {"no minimum after very many", 0, 300 * S, 100, 99, 0},
        {"never overflows", 10 * S, INT64_MAX, UINT32_MAX, UINT32_MAX, INT64_MAX},
        {"never overflows when it grows evenly", S, INT64_MAX, 31, UINT32_MAX, INT64_MAX},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        CASE_INT(cases[i].name, task_backoff_ns(cases[i].min_ns, cases[i].max_ns, cases[i].doublings, cases[i].failed), cases[i].want_ns);
}

static void retries_end_when_both_limits_are_used_up(void **state)
{
    static const struct {
        const char *name;
        int32_t max_attempts;
        int64_t max_retry_ns;
        uint32_t attempts;
        int64_t since_ns;
        bool want;
    } cases[] = {
        {"attempts left", 3, 0, 2, 0, false},
        {"no attempts left, no time limit", 3, 0, 3, 0, true},
        {"no attempts left, but time", 3, 10 * S, 5, 9 * S, false},
        {"no time left, but attempts", 3, 10 * S, 2, 99 * S, false},
        {"both", 3, 10 * S, 3, 10 * S, true},
        {"unlimited attempts, time left", -1, 10 * S, 1000, 9 * S, false},
        {"unlimited attempts, no time left", -1, 10 * S, 1, 10 * S, true},
        {"no limit at all", -1, 0, UINT32_MAX, INT64_MAX, false},
        {"one attempt only", 1, 0, 1, 0, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        CASE_INT(cases[i].name, task_exhausted(cases[i].max_attempts, cases[i].max_retry_ns, cases[i].attempts, cases[i].since_ns),
                 cases[i].want);
}

static void executions_are_counted_as_recorded(void **state)
{
    static const int answers[] = {503, 404, 429, 500, 302, 200};
    static const uint32_t read_at[] = {0, 1, 2, 2, 3}; /* with the next attempt */
    uint32_t executions = 0;
    for (size_t i = 0; i < ARRAY_LEN(read_at); i++) {
        executions += task_counts_as_execution(answers[i]);
        CASE_INT("503 404 429 500 302", executions, read_at[i]);
    }
    assert_false(task_counts_as_execution(0));
    assert_false(task_counts_as_execution(599));
    assert_true(task_counts_as_execution(600));
}

static void statuses_have_googles_codes(void **state)
{
    static const struct {
        int status, code;
        const char *name;
    } cases[] = {
        {200, 0, "OK"},
        {204, 0, "OK"},
        {302, 2, "UNKNOWN"},
        {400, 3, "INVALID_ARGUMENT"},
        {401, 16, "UNAUTHENTICATED"},
        {403, 7, "PERMISSION_DENIED"},
        {404, 5, "NOT_FOUND"},
        {409, 6, "ALREADY_EXISTS"},
        {429, 8, "RESOURCE_EXHAUSTED"},
        {499, 1, "CANCELLED"},
        {500, 13, "INTERNAL"},
        {501, 12, "UNIMPLEMENTED"},
        {503, 14, "UNAVAILABLE"},
        {504, 4, "DEADLINE_EXCEEDED"},
        {418, 2, "UNKNOWN"},
        {502, 2, "UNKNOWN"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CASE_INT(cases[i].name, task_status_code(cases[i].status), cases[i].code);
        CASE_STR(cases[i].name, task_status_name(cases[i].code), cases[i].name);
    }
}

static size_t take_all(struct task_bucket *b, double rate, uint32_t burst, int64_t now_ns, int64_t *next_ns)
{
    size_t n = 0;
    while (task_bucket_take(b, rate, burst, now_ns, next_ns))
        n++;
    return n;
}

static void the_bucket_gives_its_burst_and_then_the_rate(void **state)
{
    struct task_bucket b;
    int64_t now_ns = 5 * S, next_ns = 0;
    task_bucket_init(&b, 10, now_ns);
    assert_int_equal(take_all(&b, 4, 10, now_ns, &next_ns), 10);
    size_t n = 0;
    for (int64_t end_ns = now_ns + 100 * S; next_ns <= end_ns; n++) {
        assert_true(next_ns > now_ns);
        now_ns = next_ns;
        assert_int_equal(take_all(&b, 4, 10, now_ns, &next_ns), 1); /* exactly when it said */
    }
    assert_in_range(n, 399, 400);
    now_ns += 3600 * S;
    assert_int_equal(take_all(&b, 4, 10, now_ns, &next_ns), 10);
    now_ns += 3600 * S;
    assert_int_equal(take_all(&b, 4, 2, now_ns, &next_ns), 2); /* the burst was made smaller */
    assert_int_equal(take_all(&b, 4, 2, now_ns - 1000 * S, &next_ns), 0);
}

static void the_bucket_knows_slow_rates(void **state)
{
    struct task_bucket b;
    int64_t next_ns = 0;
    task_bucket_init(&b, 1, 0);
    assert_int_equal(take_all(&b, 1.0 / 3600, 1, 0, &next_ns), 1);
    assert_in_range(next_ns, 3600 * S - 1000, 3600 * S + 1000);
    assert_int_equal(take_all(&b, 0, 1, 0, &next_ns), 0);
    assert_true(next_ns == TIMER_NEVER);
    task_bucket_init(&b, 0, 0); /* no burst: one at a time all the same */
    assert_int_equal(take_all(&b, 2, 0, 10 * S, &next_ns), 1);
    assert_in_range(next_ns, 10 * S + S / 2, 10 * S + S / 2 + 1000);
}

static double factor_at(struct task_throttle *t, int64_t now_ns)
{
    double factor;
    uint32_t max;
    int64_t until_ns;
    task_throttle_allows(t, now_ns, &factor, &max, &until_ns);
    return factor;
}

static uint32_t max_at(struct task_throttle *t, int64_t now_ns)
{
    double factor;
    uint32_t max;
    int64_t until_ns;
    task_throttle_allows(t, now_ns, &factor, &max, &until_ns);
    return max;
}

static void overload_slows_and_calm_heals(void **state)
{
    struct task_throttle t;
    task_throttle_init(&t, 0);
    assert_true(factor_at(&t, 0) >= 1);
    task_throttle_answer(&t, 503, 0, S);
    task_throttle_answer(&t, 429, 0, S + 1); /* the same second */
    assert_true(factor_at(&t, S) == 0.5);
    task_throttle_answer(&t, 429, 0, 2 * S);
    assert_true(factor_at(&t, 2 * S) == 0.25);
    for (int i = 3; i < 100; i++)
        task_throttle_answer(&t, 503, 0, i * S);
    assert_true(factor_at(&t, 99 * S) == TASK_SLOWEST);
    assert_true(factor_at(&t, 99 * S + TASK_CALM_NS) == 2 * TASK_SLOWEST);
    assert_true(factor_at(&t, 99 * S + 6 * TASK_CALM_NS) >= 1);
}

static void many_errors_slow_too_and_few_do_not(void **state)
{
    static const struct {
        const char *name;
        int status, every;
        bool slowed;
    } cases[] = {
        {"each 500", 500, 1, true},
        {"three of four without an answer", 0, 4, true},
        {"each 404: the target is well", 404, 1, false},
        {"each success", 200, 1, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct task_throttle t;
        task_throttle_init(&t, 0);
        for (int k = 0; k < 30; k++)
            task_throttle_answer(&t, cases[i].every > 1 && k % cases[i].every == 0 ? 200 : cases[i].status, 0, S);
        CASE_INT(cases[i].name, factor_at(&t, S) < 1, cases[i].slowed);
    }
}

static void retry_after_holds_the_queue(void **state)
{
    static const struct {
        const char *name;
        int status;
        int64_t after_ns, want_ns;
    } cases[] = {
        {"with 503", 503, 30 * S, 30 * S},
        {"with 429", 429, 1 * S, 1 * S},
        {"not with 500", 500, 30 * S, 0},
        {"at most an hour", 503, 99999 * S, TASK_RETRY_AFTER_MAX_NS},
        {"absurd", 503, INT64_MAX, TASK_RETRY_AFTER_MAX_NS},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct task_throttle t;
        double factor;
        uint32_t max;
        int64_t until_ns = 0, at_ns = 100 * S;
        task_throttle_init(&t, at_ns);
        task_throttle_answer(&t, cases[i].status, cases[i].after_ns, at_ns);
        task_throttle_answer(&t, 503, 1, at_ns); /* a shorter one does not shorten */
        bool allows = task_throttle_allows(&t, at_ns, &factor, &max, &until_ns);
        CASE_INT(cases[i].name, allows, false);
        CASE_INT(cases[i].name, until_ns, at_ns + (cases[i].want_ns ? cases[i].want_ns : 1));
        CASE_INT(cases[i].name, task_throttle_allows(&t, until_ns, &factor, &max, &until_ns), true);
    }
}

static void it_warms_with_successes_and_time_and_cools_when_idle(void **state)
{
    struct task_throttle t;
    task_throttle_init(&t, 0);
    assert_int_equal(max_at(&t, 0), TASK_WARM_START);
    for (int i = 0; i < 5; i++)
        task_throttle_answer(&t, 200, 0, 1);
    task_throttle_answer(&t, 404, 0, 1);
    assert_int_equal(max_at(&t, 1), TASK_WARM_START + 5);
    assert_int_equal(max_at(&t, 1 * S), 2 * (TASK_WARM_START + 5));
    for (int i = 2; i < 40; i++)
        max_at(&t, i * S);
    assert_true(max_at(&t, 40 * S) >= QUEUE_CONCURRENT_MOST);
    assert_true(max_at(&t, 40 * S + TASK_IDLE_NS) >= QUEUE_CONCURRENT_MOST);
    assert_int_equal(max_at(&t, 40 * S + 2 * TASK_IDLE_NS + 1), TASK_WARM_START);
    for (int i = 0; i < 50; i++)
        task_throttle_answer(&t, 200, 0, 40 * S + 2 * TASK_IDLE_NS + 1);
    task_throttle_cool(&t, 40 * S + 2 * TASK_IDLE_NS + 2);
    assert_int_equal(max_at(&t, 40 * S + 2 * TASK_IDLE_NS + 2), TASK_WARM_START);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(backoff_doubles_then_grows_evenly_then_stays),
        cmocka_unit_test(retries_end_when_both_limits_are_used_up),
        cmocka_unit_test(executions_are_counted_as_recorded),
        cmocka_unit_test(statuses_have_googles_codes),
        cmocka_unit_test(the_bucket_gives_its_burst_and_then_the_rate),
        cmocka_unit_test(the_bucket_knows_slow_rates),
        cmocka_unit_test(overload_slows_and_calm_heals),
        cmocka_unit_test(many_errors_slow_too_and_few_do_not),
        cmocka_unit_test(retry_after_holds_the_queue),
        cmocka_unit_test(it_warms_with_successes_and_time_and_cools_when_idle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

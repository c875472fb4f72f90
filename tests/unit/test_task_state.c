/** test_task_state.c: every pair of states of a task and of an execution; the lanes that are in databases. */
#include "tests/support/unit.h"

#include "executor/task_state.h"

#include <string.h>

static const struct {
    enum task_state from;
    const char *to; /* names of those that may follow, as words */
} task_rows[] = {
    {TASK_WAITING, "reading beginning"},
    {TASK_READING, "beginning ending waiting"},
    {TASK_BEGINNING, "ready ending"},
    {TASK_READY, "starting ending"},
    {TASK_STARTING, "running stopping ending"},
    {TASK_RUNNING, "stopping ending"},
    {TASK_STOPPING, "ending"},
    {TASK_ENDING, "backoff succeeded failed cancelled"},
    {TASK_BACKOFF, "reading beginning ending"},
    {TASK_SUCCEEDED, ""},
    {TASK_FAILED, "waiting"},
    {TASK_CANCELLED, "waiting"},
};
static const struct {
    enum execution_state from;
    const char *to;
} execution_rows[] = {
    {EXECUTION_QUEUED, "pending cancelling"},
    {EXECUTION_PENDING, "running cancelling succeeded failed"},
    {EXECUTION_RUNNING, "cancelling succeeded failed"},
    {EXECUTION_CANCELLING, "cancelled failed succeeded"},
    {EXECUTION_SUCCEEDED, ""},
    {EXECUTION_FAILED, "queued pending"},
    {EXECUTION_CANCELLED, "queued pending"},
};

static bool has_word(const char *words, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = words; (p = strstr(p, word)); p += n)
        if ((p == words || p[-1] == ' ') && (p[n] == ' ' || !p[n]))
            return true;
    return false;
}

static void test_every_pair_of_task_states(void **state)
{
    assert_int_equal(ARRAY_LEN(task_rows), TASK_N);
    for (size_t i = 0; i < TASK_N; i++) {
        assert_int_equal(task_rows[i].from, i);
        for (int to = 0; to < TASK_N; to++) {
            const char *name = run_task_state_name((enum task_state)to);
            if (run_task_may_move(task_rows[i].from, (enum task_state)to) != has_word(task_rows[i].to, name))
                fail_msg("%s -> %s", run_task_state_name(task_rows[i].from), name);
        }
    }
}

static void test_every_pair_of_execution_states(void **state)
{
    assert_int_equal(ARRAY_LEN(execution_rows), EXECUTION_N);
    for (size_t i = 0; i < EXECUTION_N; i++) {
        assert_int_equal(execution_rows[i].from, i);
        for (int to = 0; to < EXECUTION_N; to++) {
            const char *name = execution_state_name((enum execution_state)to);
            if (execution_may_move(execution_rows[i].from, (enum execution_state)to) != has_word(execution_rows[i].to, name))
                fail_msg("%s -> %s", execution_state_name(execution_rows[i].from), name);
        }
        /* What has ended moves only when it is taken up again. */
        assert_int_equal(execution_state_ended(execution_rows[i].from), i >= EXECUTION_SUCCEEDED);
    }
}

/* A database from before must be read as it was written. */
static void test_lanes_keep_their_numbers(void **state)
{
    static const struct {
        enum task_state state;
        uint32_t lane;
    } lanes[] = {{TASK_RUNNING, 2}, {TASK_BACKOFF, 4}, {TASK_SUCCEEDED, 6}, {TASK_FAILED, 8}, {TASK_CANCELLED, 10}};
    for (size_t i = 0; i < ARRAY_LEN(lanes); i++) {
        assert_int_equal(run_task_lane(lanes[i].state, false), lanes[i].lane);
        assert_int_equal(run_task_lane(lanes[i].state, true), lanes[i].lane + 1);
        for (uint32_t retried = 0; retried < 2; retried++) {
            assert_int_equal(run_task_lane_state(lanes[i].lane + retried), lanes[i].state);
            assert_int_equal(run_task_lane_retried(lanes[i].lane + retried), retried);
        }
    }
    assert_int_equal(run_task_lane_state(0), TASK_WAITING);
    assert_int_equal(run_task_lane_state(TASK_LANE_MAX + 1), TASK_WAITING);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_pair_of_task_states),
        cmocka_unit_test(test_every_pair_of_execution_states),
        cmocka_unit_test(test_lanes_keep_their_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

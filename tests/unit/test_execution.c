/** test_execution.c: which tasks run when, what is durable, and what stands in the way. Crashes are in test_jobs_sim.c. */
#include "tests/support/unit.h"
#include "tests/support/support_executor.h"

#include <signal.h>
#include <stdio.h>

#define JOB "projects/proj/locations/here/jobs/work"
#define TASKS_MAX 64
#define STEPS_MAX 200000

static struct world w;
static struct answer a;
static char execution[200], operation[200];

/* What each task does, and what it did. */
static struct {
    int64_t runs_ns;
    uint32_t lost_before[TASKS_MAX];  /* attempts whose end is the warden's */
    uint32_t fails_before[TASKS_MAX]; /* attempts that exit with 3, counted over those that end by themselves */
    bool ignores_term;
    uint32_t begun[TASKS_MAX], good[TASKS_MAX], bad[TASKS_MAX];
    uint32_t now, most;
} seen;

static uint32_t index_of(const uint64_t ticket[2]) { return (uint32_t)(ticket[1] >> 32); }

static void vary(void *arg, const struct runtime_spec *spec, struct fake_behaviour *b)
{
    uint32_t i = index_of(spec->ticket);
    assert_true(i < TASKS_MAX && spec->ticket[0] != 0);
    seen.begun[i]++;
    if (++seen.now > seen.most)
        seen.most = seen.now;
    b->exits_ns = seen.runs_ns;
    b->exit_code = seen.bad[i] < seen.fails_before[i] ? 3 : 0;
    b->ignores_term = seen.ignores_term;
    b->is_lost = seen.begun[i] <= seen.lost_before[i];
}

static void ended(void *arg, const uint64_t ticket[2], const struct runtime_exit *x)
{
    seen.now--;
    if (x->exit_code == 0)
        seen.good[index_of(ticket)]++;
    else if (x->exit_code > 0)
        seen.bad[index_of(ticket)]++;
}

static int setup(void **state)
{
    memset(&seen, 0, sizeof seen);
    seen.runs_ns = 20 * NS_PER_MS;
    world_init(&w, 60 * NS_PER_S, 0);
    w.runtime.vary = vary;
    w.runtime.ended = ended;
    return 0;
}

static int teardown(void **state)
{
    world_fini(&w);
    return 0;
}

static void call(const char *method, const char *request)
{
    world_call(&w, method, request, &a);
    if (a.code)
        fail_msg("%s: %s", method, a.message);
}

static void create(int count, int parallelism, int retries, const char *annotations)
{
    char request[1000];
    snprintf(request, sizeof request,
             "{\"parent\":\"projects/proj/locations/here\",\"jobId\":\"work\",\"job\":{\"annotations\":{%s},\"template\":{\"taskCount\":%d,"
             "\"parallelism\":%d,\"template\":{\"maxRetries\":%d,\"timeout\":\"60s\",\"containers\":[{\"image\":\"exec:///x\"}]}}}}",
             annotations, count, parallelism, retries);
    call("Jobs/CreateJob", request);
}

static void run(void)
{
    call("Jobs/RunJob", "{\"name\":\"" JOB "\"}");
    const char *name = strstr(a.json, "\"name\":\"projects/proj/locations/here/jobs/work/executions/");
    assert_non_null(name);
    snprintf(execution, sizeof execution, "%.*s", (int)strcspn(name + 8, "\""), name + 8);
    snprintf(operation, sizeof operation, "%s", json_value(a.json, "name"));
}

static const char *look(const char *key)
{
    char request[300];
    snprintf(request, sizeof request, "{\"name\":\"%s\"}", execution);
    call("Executions/GetExecution", request);
    return json_value(a.json, key);
}

static bool is_over(void) { return *look("completionTime") != '\0'; }

static void test_never_more_at_once_than_the_parallelism(void **state)
{
    create(20, 3, 0, "");
    run();
    world_run(&w, 2 * NS_PER_S);
    assert_true(is_over());
    assert_string_equal(look("succeededCount"), "20");
    assert_int_equal(seen.most, 3);
    for (int i = 0; i < 20; i++)
        assert_int_equal(seen.begun[i], 1);
}

static void test_what_fails_is_tried_again_up_to_its_retries(void **state)
{
    seen.fails_before[1] = 2;
    seen.fails_before[2] = 9;
    create(4, 4, 2, "");
    run();
    world_run(&w, 2 * NS_PER_S);
    assert_string_equal(look("succeededCount"), "3");
    assert_string_equal(look("failedCount"), "1");
    assert_string_equal(look("retriedCount"), "2");
    assert_int_equal(seen.begun[1], 3);
    assert_int_equal(seen.begun[2], 3);
    char request[300];
    snprintf(request, sizeof request, "{\"name\":\"%s\"}", operation);
    call("Operations/GetOperation", request);
    assert_non_null(strstr(a.json, "-task2 failed with exit code: 3 and message: The container exited with an error."));
    assert_string_equal(json_value(a.json, "code"), "10");
}

static void test_backoff_doubles_up_to_its_maximum(void **state)
{
    seen.fails_before[0] = 5;
    seen.runs_ns = 0;
    create(1, 1, 5, "\"runnel.dev/backoff-min\":\"1s\",\"runnel.dev/backoff-max\":\"4s\"");
    run();
    static const int64_t waits_s[] = {1, 2, 4, 4, 4};
    world_run(&w, 50 * NS_PER_MS);
    for (size_t i = 0; i < ARRAY_LEN(waits_s); i++) {
        assert_int_equal(seen.begun[0], i + 1);
        world_run(&w, waits_s[i] * NS_PER_S - 100 * NS_PER_MS);
        assert_int_equal(seen.begun[0], i + 1);
        world_run(&w, 100 * NS_PER_MS);
    }
    world_run(&w, NS_PER_S);
    assert_true(is_over());
    assert_int_equal(seen.begun[0], 6);
}

static void test_a_time_limit_ends_an_attempt(void **state)
{
    seen.runs_ns = NEVER;
    seen.ignores_term = true;
    create(1, 1, 0, "");
    run();
    world_run(&w, 59 * NS_PER_S);
    assert_int_equal(w.runtime.terms, 0);
    world_run(&w, 2 * NS_PER_S);
    assert_int_equal(w.runtime.terms, 1);
    assert_int_equal(w.runtime.kills, 0);
    world_run(&w, 10 * NS_PER_S);
    assert_int_equal(w.runtime.kills, 1);
    assert_true(is_over());
    assert_non_null(strstr(a.json, "The configured timeout was reached."));
}

static void test_cancelling_ends_what_runs_and_begins_nothing(void **state)
{
    char request[300];
    seen.runs_ns = NEVER;
    create(30, 5, 3, "");
    run();
    world_run(&w, NS_PER_S);
    assert_string_equal(look("runningCount"), "5");
    snprintf(request, sizeof request, "{\"name\":\"%s\"}", execution);
    call("Executions/CancelExecution", request);
    world_run(&w, NS_PER_S);
    assert_true(is_over());
    assert_string_equal(look("cancelledCount"), "30");
    assert_int_equal(w.runtime.terms, 5);
    world_crash(&w);
    world_run(&w, NS_PER_S);
    assert_string_equal(look("cancelledCount"), "30");
    assert_int_equal(w.runtime.starts, 5);
}

static void test_a_store_that_fails_holds_tasks_up_and_loses_none(void **state)
{
    create(12, 4, 1, "");
    run();
    world_run(&w, 15 * NS_PER_MS);
    w.store_fails = ERR_RESOURCE_EXHAUSTED;
    world_run(&w, 5 * NS_PER_S);
    assert_false(is_over());
    w.store_fails = ERR_OK;
    world_run(&w, 10 * NS_PER_S);
    assert_true(is_over());
    assert_string_equal(look("succeededCount"), "12");
    for (int i = 0; i < 12; i++)
        assert_int_equal(seen.begun[i], 1);
}

static void test_a_host_without_room_is_asked_again(void **state)
{
    w.runtime.behaviour.refuses_start = true;
    create(3, 3, 0, "");
    run();
    world_run(&w, 3 * NS_PER_S);
    assert_false(is_over());
    w.runtime.behaviour.refuses_start = false;
    world_run(&w, 3 * NS_PER_S);
    assert_string_equal(look("succeededCount"), "3");
}

/* Runs until nothing is left to do. */
static void drive(void)
{
    for (int steps = 0; steps < STEPS_MAX; steps++) {
        if (!store_memory_step(w.store, 1, ERR_OK) && !mailbox_deliver(w.engine)) {
            int64_t next_ns = timers_next_ns(w.fe.env.timers);
            if (next_ns > w.fe.clock.mono_ns + 120 * NS_PER_S)
                return;
            fake_env_advance(&w.fe, next_ns > w.fe.clock.mono_ns ? next_ns - w.fe.clock.mono_ns : 0);
        }
    }
    fail_msg("it does not come to rest");
}

static void test_old_executions_are_forgotten(void **state)
{
    seen.runs_ns = 0;
    create(1, 1, 0, "");
    for (int i = 0; i < 1005; i++) {
        run();
        world_run(&w, 5 * NS_PER_MS);
    }
    world_run(&w, NS_PER_S);
    assert_int_equal(executor_counts(w.x).executions, 1000);
    world_crash(&w);
    world_run(&w, NS_PER_S);
    assert_int_equal(executor_counts(w.x).executions, 1000);
    call("Jobs/GetJob", "{\"name\":\"" JOB "\"}");
    assert_string_equal(json_value(a.json, "executionCount"), "1005");
}

static void find_execution(void)
{
    call("Executions/ListExecutions", "{\"parent\":\"" JOB "\"}");
    const char *name = strstr(a.json, "\"name\":\"" JOB "/executions/");
    assert_non_null(name);
    snprintf(execution, sizeof execution, "%.*s", (int)strcspn(name + 8, "\""), name + 8);
}

static void test_without_memory_it_takes_longer_and_loses_none(void **state)
{
    for (size_t n = 1;; n++) {
        setup(NULL);
        seen.fails_before[1] = 1;
        create(4, 2, 1, "");
        call("Jobs/CreateJob", "{\"parent\":\"projects/proj/locations/here\",\"jobId\":\"next\",\"job\":{\"template\":{\"annotations\":{"
                               "\"runnel.dev/depends-on\":\"work\"},\"template\":{\"containers\":[{\"image\":\"exec:///y\"}]}}}}");
        w.fault.what = FAULT_ALLOC;
        w.fault.nth = n;
        world_call(&w, "Jobs/RunJob", "{\"name\":\"" JOB "\"}", &a);
        enum err_code code = a.code;
        drive();
        bool failed = fault_disarm();
        if (code != ERR_OK)
            CASE_INT("the run is refused for want of memory", code, ERR_RESOURCE_EXHAUSTED);
        if (executor_counts(w.x).executions == 0)
            run();
        else /* only its answer may have been lost */
            find_execution();
        drive();
        if (!is_over())
            fail_msg("allocation %zu failed: it has not ended", n);
        CASE_STR("tasks that succeed", look("succeededCount"), "4");
        for (int i = 0; i < 4; i++)
            if (seen.begun[i] != (i == 1 ? 2u : 1u) + (i == 0)) /* and the job after it */
                fail_msg("allocation %zu failed: task %d began %u times", n, i, seen.begun[i]);
        CASE_INT("executions, with that of the job after it", executor_counts(w.x).executions, 2);
        teardown(NULL);
        if (!failed)
            break;
    }
}

static void test_a_task_is_lost_so_often_and_no_more(void **state)
{
    seen.runs_ns = NEVER;
    create(1, 1, 0, "");
    run();
    for (int i = 0; i < 10; i++) {
        world_run(&w, NS_PER_S);
        assert_int_equal(seen.begun[0], i + 1);
        assert_false(is_over());
        world_crash(&w);
    }
    world_run(&w, NS_PER_S);
    world_crash(&w);
    world_run(&w, NS_PER_S);
    assert_int_equal(seen.begun[0], 11);
    assert_true(is_over());
    assert_string_equal(look("failedCount"), "1");
    assert_non_null(strstr(a.json, "It was lost 11 times, as the server or its warden ended"));
}

/* It is not the program's fault, so it is no retry, of which there are none here. */
static void test_what_ends_with_the_warden_is_lost_and_not_failed(void **state)
{
    seen.lost_before[1] = 2;
    create(3, 3, 0, "");
    run();
    world_run(&w, NS_PER_S);
    assert_string_equal(look("succeededCount"), "3");
    assert_int_equal(seen.begun[0], 1);
    assert_int_equal(seen.begun[1], 3);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_never_more_at_once_than_the_parallelism),
        CASE(test_what_fails_is_tried_again_up_to_its_retries),
        CASE(test_backoff_doubles_up_to_its_maximum),
        CASE(test_a_time_limit_ends_an_attempt),
        CASE(test_cancelling_ends_what_runs_and_begins_nothing),
        CASE(test_a_store_that_fails_holds_tasks_up_and_loses_none),
        CASE(test_a_host_without_room_is_asked_again),
        CASE(test_a_task_is_lost_so_often_and_no_more),
        CASE(test_what_ends_with_the_warden_is_lost_and_not_failed),
        CASE(test_old_executions_are_forgotten),
        cmocka_unit_test(test_without_memory_it_takes_longer_and_loses_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

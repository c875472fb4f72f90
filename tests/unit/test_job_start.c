/** test_job_start.c: executions that events start: once for each, in their turn, followed to their end, over crashes and without memory;
 *  and messages that are pushed to a job. */
#include "core/base/text.h"
#include "executor/job_start.h"
#include "tests/support/support_executor.h"
#include "tests/support/unit.h"

#include <stdio.h>

#define PARENT "projects/proj/locations/here"
#define JOB PARENT "/jobs/work"
#define STEPS_MAX 2000000

static struct world w;
static struct answer a;

struct started {
    struct job_start *s;
    int told;
    struct job_start_result r;
};

static void on_done(void *arg, const struct job_start_result *r)
{
    struct started *st = arg;
    st->s = NULL;
    st->told++;
    st->r = *r;
}

static void begin_with(struct started *st, const char *id, enum job_start_mode mode, const char *body)
{
    struct err e = {0};
    const char *at = strchr(id, '@');
    const struct job_start_spec spec = {
        .job = JOB, .event_id = id, .series_len = at ? (size_t)(at - id) + 1 : 0, .mode = mode, .body = str_of(body)};
    *st = (struct started){0};
    st->s = job_start_new(w.x, &spec, on_done, st, &e);
    if (!st->s)
        fail_msg("%s: %s", id, e.msg);
}

static void begin(struct started *st, const char *id, enum job_start_mode mode) { begin_with(st, id, mode, ""); }

static void call(const char *method, const char *request)
{
    world_call(&w, method, request, &a);
    if (a.code)
        fail_msg("%s %s: %s", method, request, a.message);
}

static void create_job(const char *annotations)
{
    char request[600];
    snprintf(request, sizeof request,
             "{\"parent\":\"" PARENT "\",\"jobId\":\"work\",\"job\":{\"annotations\":{%s},\"template\":{\"template\":{\"maxRetries\":0,"
             "\"containers\":[{\"image\":\"exec:///srv/work\"}]}}}}",
             annotations);
    call("Jobs/CreateJob", request);
}

static int setup_with(const char *annotations)
{
    world_init(&w, 60 * NS_PER_S, 0);
    w.runtime.behaviour.exits_ns = 100 * NS_PER_MS;
    create_job(annotations);
    return 0;
}

static int setup(void **state) { return setup_with(""); }

static int teardown(void **state)
{
    world_fini(&w);
    return 0;
}

static size_t count(const char *what)
{
    size_t n = 0;
    call("Executions/ListExecutions", "{\"parent\":\"" JOB "\"}");
    for (const char *p = a.json; (p = strstr(p, what)); p++)
        n++;
    return n;
}

static size_t executions(void) { return count("\"uid\":"); }

static void wait_for_end(struct started *st)
{
    for (int i = 0; i < 600 && !st->told; i++)
        world_run(&w, 100 * NS_PER_MS);
    assert_int_equal(st->told, 1);
}

/* ---- once */

static void test_an_event_starts_one_execution_whoever_asks_again(void **state)
{
    struct started one, two, three;
    begin(&one, "s@1", JOB_START_BESIDE);
    begin(&two, "s@1", JOB_START_BESIDE); /* while it is being stored */
    world_run(&w, 50 * NS_PER_MS);
    assert_int_equal(executions(), 1);
    assert_string_equal(json_value(a.json, "runnel.dev/event-id"), "s@1");
    begin(&three, "s@1", JOB_START_INSTEAD); /* not instead of itself */
    wait_for_end(&one);
    wait_for_end(&two);
    wait_for_end(&three);
    assert_true(one.r.ran && two.r.ran && three.r.ran);
    assert_int_equal(three.r.err.code, ERR_OK);
    begin(&one, "s@1", JOB_START_AFTER); /* when it has ended */
    wait_for_end(&one);
    assert_true(one.r.ran);
    assert_int_equal(executions(), 1);
    begin(&one, "s@2", JOB_START_AFTER);
    wait_for_end(&one);
    assert_int_equal(executions(), 2);
}

static void test_the_end_of_the_execution_is_the_end_of_the_start(void **state)
{
    struct started st;
    w.runtime.behaviour.exit_code = 3;
    begin_with(&st, "s@1", JOB_START_BESIDE, "{\"overrides\":{\"taskCount\":2},\"inputs\":[\"x\",\"y\"]}");
    wait_for_end(&st);
    assert_true(st.r.ran);
    assert_int_equal(st.r.err.code, ERR_ABORTED);
    assert_non_null(strstr(st.r.err.msg, "exit code: 3"));
    assert_int_equal(executions(), 1);
    assert_string_equal(json_value(a.json, "taskCount"), "2");
    begin(&st, "s@1", JOB_START_BESIDE);
    wait_for_end(&st);
    assert_int_equal(st.r.err.code, ERR_ABORTED);
}

static void test_after_a_crash_the_event_finds_its_execution(void **state)
{
    struct started st;
    begin(&st, "s@1", JOB_START_BESIDE);
    world_run(&w, 50 * NS_PER_MS);
    world_crash(&w);
    begin(&st, "s@1", JOB_START_BESIDE);
    world_run(&w, 20 * NS_PER_MS);
    assert_int_equal(executions(), 1);
    wait_for_end(&st);
    assert_int_equal(st.r.err.code, ERR_OK);
    world_crash(&w);
    begin(&st, "s@1", JOB_START_BESIDE);
    wait_for_end(&st);
    assert_int_equal(st.r.err.code, ERR_OK);
    assert_int_equal(executions(), 1);
}

/* ---- in its turn */

static void test_others_of_the_series_beside_before_or_cancelled(void **state)
{
    struct started first, other, st;
    w.runtime.behaviour.exits_ns = 10 * NS_PER_S;
    begin(&first, "s@1", JOB_START_BESIDE);
    world_run(&w, 50 * NS_PER_MS);
    begin(&other, "t@1", JOB_START_AFTER); /* of another series: at once */
    world_run(&w, 50 * NS_PER_MS);
    assert_int_equal(executions(), 2);
    begin(&st, "s@2", JOB_START_AFTER);
    world_run(&w, 5 * NS_PER_S);
    assert_int_equal(executions(), 2);
    world_run(&w, 6 * NS_PER_S);
    assert_int_equal(first.told, 1);
    assert_int_equal(executions(), 3);
    struct started instead;
    begin(&instead, "s@3", JOB_START_INSTEAD);
    world_run(&w, 2 * NS_PER_S);
    assert_int_equal(st.told, 1);
    assert_int_equal(st.r.err.code, ERR_CANCELLED);
    assert_true(st.r.ran);
    assert_int_equal(executions(), 4);
    assert_int_equal(count("\"cancelledCount\":1"), 1);
    wait_for_end(&instead);
    assert_int_equal(instead.r.err.code, ERR_OK);
}

static void test_a_queued_one_is_replaced_too(void **state)
{
    struct started first, queued, instead;
    teardown(NULL);
    setup_with("\"runnel.dev/max-concurrent-executions\":\"1\"");
    w.runtime.behaviour.exits_ns = 5 * NS_PER_S;
    begin(&first, "other@1", JOB_START_BESIDE);
    world_run(&w, 50 * NS_PER_MS);
    begin(&queued, "s@1", JOB_START_BESIDE);
    world_run(&w, 50 * NS_PER_MS);
    begin(&instead, "s@2", JOB_START_INSTEAD);
    world_run(&w, NS_PER_S);
    assert_int_equal(queued.r.err.code, ERR_CANCELLED);
    wait_for_end(&instead);
    assert_int_equal(first.r.err.code, ERR_OK);
    assert_int_equal(instead.r.err.code, ERR_OK);
    assert_int_equal(executions(), 3);
}

/* ---- refused */

static void test_what_cannot_be_started_says_why(void **state)
{
    struct started st, first;
    struct err e = {0};
    begin_with(&st, "s@1", JOB_START_BESIDE, "{\"overrides\":{\"taskCount\":-1}}");
    wait_for_end(&st);
    assert_false(st.r.ran || st.r.ours);
    assert_int_equal(st.r.err.code, ERR_INVALID_ARGUMENT);
    w.store_fails = ERR_RESOURCE_EXHAUSTED;
    begin(&st, "s@1", JOB_START_BESIDE);
    wait_for_end(&st);
    assert_true(st.r.ours && !st.r.ran);
    w.store_fails = ERR_OK;
    begin(&st, "s@1", JOB_START_BESIDE); /* the refused one left nothing behind */
    wait_for_end(&st);
    assert_int_equal(st.r.err.code, ERR_OK);
    call("Jobs/DeleteJob", "{\"name\":\"" JOB "\"}");
    begin(&st, "s@1", JOB_START_BESIDE);
    wait_for_end(&st);
    assert_int_equal(st.r.err.code, ERR_NOT_FOUND);
    create_job("\"runnel.dev/max-concurrent-executions\":\"1\",\"runnel.dev/concurrency-policy\":\"refuse\"");
    begin(&first, "s@1", JOB_START_BESIDE);
    begin(&st, "s@2", JOB_START_BESIDE);
    world_run(&w, 50 * NS_PER_MS);
    assert_int_equal(st.told, 1);
    assert_int_equal(st.r.err.code, ERR_RESOURCE_EXHAUSTED);
    assert_false(st.r.ran || st.r.ours);
    wait_for_end(&first);
    const struct job_start_spec bad = {.job = JOB, .event_id = "two words"};
    assert_null(job_start_new(w.x, &bad, on_done, &st, &e));
    assert_int_equal(e.code, ERR_INVALID_ARGUMENT);
}

/* All at once, so that none of them is durable as the others begin; and then each is found again, in the order of their numbers. */
static void test_executions_are_bounded_those_being_stored_too(void **state)
{
    enum { MOST = 50000, MORE = 5 };
    struct started *all = calloc(MOST + MORE, sizeof *all), again;
    assert_non_null(all);
    teardown(NULL);
    setup_with("\"runnel.dev/max-concurrent-executions\":\"1\"");
    w.runtime.behaviour.exits_ns = NEVER;
    for (int i = 0; i < MOST + MORE; i++) {
        char id[32];
        snprintf(id, sizeof id, "s@%d", i);
        begin(&all[i], id, JOB_START_BESIDE);
    }
    world_run(&w, NS_PER_S);
    for (int i = 0; i < MOST; i++)
        CASE_INT("told at once", all[i].told, 0);
    for (int i = MOST; i < MOST + MORE; i++)
        CASE_INT("one too many", all[i].told ? all[i].r.err.code : ERR_OK, ERR_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(all[MOST].r.err.msg, "there are 50000 executions; delete some"));
    assert_int_equal(executor_counts(w.x).executions, MOST);
    free(all);
    world_crash(&w);
    assert_int_equal(executor_counts(w.x).executions, MOST);
    begin(&again, "s@49999", JOB_START_BESIDE);
    world_run(&w, NS_PER_S);
    assert_int_equal(again.told, 0);
    assert_int_equal(executor_counts(w.x).executions, MOST);
    call("Jobs/GetJob", "{\"name\":\"" JOB "\"}");
    assert_string_equal(json_value(a.json, "executionCount"), "50000");
    char request[300];
    const char *newest = strstr(a.json, "\"latestCreatedExecution\":");
    assert_non_null(newest);
    snprintf(request, sizeof request, "{\"name\":\"" JOB "/executions/%s\"}", json_value(newest, "name"));
    call("Executions/GetExecution", request);
    assert_string_equal(json_value(a.json, "runnel.dev/event-id"), "s@49999");
}

static void test_what_is_deleted_meanwhile_is_told(void **state)
{
    struct started runs, waits;
    w.runtime.behaviour.exits_ns = NEVER;
    begin(&runs, "s@1", JOB_START_BESIDE);
    world_run(&w, 50 * NS_PER_MS);
    begin(&waits, "s@2", JOB_START_AFTER);
    world_run(&w, 50 * NS_PER_MS);
    call("Jobs/DeleteJob", "{\"name\":\"" JOB "\"}");
    wait_for_end(&runs);
    wait_for_end(&waits);
    assert_true(runs.r.ran);
    assert_int_equal(runs.r.err.code, ERR_ABORTED);
    assert_false(waits.r.ran);
    assert_int_equal(waits.r.err.code, ERR_NOT_FOUND);
}

static void test_who_leaves_is_not_told_and_what_runs_goes_on(void **state)
{
    for (int phase = 0; phase < 5; phase++) {
        struct started st, before;
        setup(NULL);
        if (phase == 4) {
            begin(&before, "s@0", JOB_START_BESIDE);
            world_run(&w, 50 * NS_PER_MS);
        }
        begin(&st, "s@1", phase == 4 ? JOB_START_AFTER : JOB_START_BESIDE);
        if (phase == 1) /* its turn has come, nothing is stored */
            fake_env_advance(&w.fe, 0);
        if (phase == 2)
            world_run(&w, NS_PER_MS);
        if (phase >= 3)
            world_run(&w, 50 * NS_PER_MS);
        job_start_leave(st.s);
        world_run(&w, 2 * NS_PER_S);
        assert_int_equal(st.told, 0);
        CASE_INT("executions", executions(), phase == 0 ? 0 : 1);
        CASE_INT("that succeeded", count("\"succeededCount\":1"), phase == 0 ? 0 : 1);
        teardown(NULL);
    }
}

/* ---- crashes, and no memory */

/* For so long, or until `*writes` operations of the store were done; false: then it stands at that point. */
static bool drive(int64_t ns, size_t *writes)
{
    int64_t end_ns = w.fe.clock.mono_ns + ns;
    for (int steps = 0; steps < STEPS_MAX; steps++) {
        if (store_memory_queued(w.store)) {
            if (*writes == 0)
                return false;
            (*writes)--;
            store_memory_step(w.store, 1, ERR_OK);
        } else if (!mailbox_deliver(w.engine)) {
            int64_t next_ns = timers_next_ns(w.fe.env.timers);
            if (next_ns > end_ns)
                return true;
            fake_env_advance(&w.fe, next_ns > w.fe.clock.mono_ns ? next_ns - w.fe.clock.mono_ns : 0);
        }
    }
    fail_msg("it does not come to rest");
    return false;
}

/* One that runs, and another instead of it; killed after any write, and both asked for again. */
static void test_a_crash_at_any_write_starts_each_event_once(void **state)
{
    size_t crashes = 0;
    for (bool whole = false; !whole; crashes++) {
        struct started old, young;
        size_t writes = crashes, all = SIZE_MAX;
        setup(NULL);
        w.runtime.behaviour.exits_ns = 20 * NS_PER_S;
        begin(&old, "s@1", JOB_START_BESIDE);
        whole = drive(NS_PER_S, &writes);
        if (!whole) {
            world_crash(&w);
            begin(&old, "s@1", JOB_START_BESIDE);
            assert_true(drive(NS_PER_S, &all));
        }
        begin(&young, "s@2", JOB_START_INSTEAD);
        if (whole && !(whole = drive(100 * NS_PER_S, &writes))) {
            world_crash(&w);
            begin(&young, "s@2", JOB_START_INSTEAD);
        }
        assert_true(drive(100 * NS_PER_S, &all));
        assert_int_equal(count("\"cancelledCount\":1"), 1);
        if (executions() != 2 || count("\"s@1\"") != 1 || count("\"s@2\"") != 1)
            fail_msg("crash at write %zu: %zu executions, %zu and %zu of the events", crashes, executions(), count("\"s@1\""),
                     count("\"s@2\""));
        assert_int_equal(young.told, 1);
        CASE_INT("the second one ran to its end", young.r.err.code, ERR_OK);
        teardown(NULL);
    }
    assert_true(crashes > 4);
}

static void test_without_memory_it_says_so_or_runs_once(void **state)
{
    for (size_t n = 1;; n++) {
        struct started st = {0};
        struct err e = {0};
        const struct job_start_spec spec = {.job = JOB, .event_id = "s@1", .body = STR("{\"inputs\":[\"x\"]}")};
        setup(NULL);
        fault_arm(FAULT_ALLOC, n, FAULT_ONCE);
        st.s = job_start_new(w.x, &spec, on_done, &st, &e);
        if (!st.s)
            assert_int_equal(e.code, ERR_RESOURCE_EXHAUSTED);
        else
            world_run(&w, 3 * NS_PER_S);
        bool failed = fault_disarm();
        world_run(&w, 30 * NS_PER_S);
        bool was_there = st.s || st.told;
        if (was_there)
            CASE_INT("it is told", st.told, 1);
        if (st.told && !st.r.ran && (!st.r.ours || st.r.err.code != ERR_RESOURCE_EXHAUSTED) && st.r.err.code != ERR_RESOURCE_EXHAUSTED)
            fail_msg("allocation %zu: %s", n, st.r.err.msg);
        begin_with(&st, "s@1", JOB_START_BESIDE, "{\"inputs\":[\"x\"]}");
        wait_for_end(&st);
        CASE_INT("the second try", st.r.err.code, ERR_OK);
        CASE_INT("executions", executions(), 1);
        teardown(NULL);
        if (!failed)
            break;
    }
}

/* ---- messages */

static void push(const char *data, const char *more, enum err_code want)
{
    char request[2000];
    struct buf b;
    buf_init(&b, 4096);
    assert_int_equal(base64_add(&b, data, strlen(data)), 0);
    snprintf(request, sizeof request,
             "{\"name\":\"" JOB "\",\"subscription\":\"projects/p/subscriptions/s\",\"message\":{\"messageId\":\"7\",\"message_id\":\"7\","
             "\"publishTime\":\"2026-01-01T00:00:00Z\",\"data\":\"%s\",\"attributes\":{\"a-b\":\"1\",\"Kind\":\"k\"}%s}",
             buf_cstr(&b), more);
    buf_fini(&b);
    world_call(&w, "Jobs/TriggerJob", request, &a);
    if (a.code != want)
        fail_msg("%s %s: %s %s", data, more, err_name(a.code), a.message);
}

static void test_a_message_is_variables_and_what_its_data_says(void **state)
{
    push("{\"overrides\":{\"containerOverrides\":[{\"env\":[{\"name\":\"RUNNEL_MESSAGE_ATTRIBUTE_KIND\",\"value\":\"mine\"}]}]}}", "}",
         ERR_OK);
    push("{}", "}", ERR_OK); /* again: whatever it says now */
    world_run(&w, NS_PER_S);
    assert_int_equal(executions(), 1);
    assert_non_null(strstr(w.runtime.last_env, "RUNNEL_MESSAGE_ID=7\n"));
    assert_non_null(strstr(w.runtime.last_env, "RUNNEL_MESSAGE_SUBSCRIPTION=projects/p/subscriptions/s\n"));
    assert_non_null(strstr(w.runtime.last_env, "RUNNEL_MESSAGE_PUBLISH_TIME=2026-01-01T00:00:00Z\n"));
    assert_non_null(strstr(w.runtime.last_env, "RUNNEL_MESSAGE_ATTRIBUTE_A_B=1\n"));
    assert_non_null(strstr(w.runtime.last_env, "RUNNEL_MESSAGE_ATTRIBUTE_KIND=mine\n")); /* its own word counts */
    assert_null(strstr(w.runtime.last_env, "ORDERING_KEY"));
}

static void test_a_message_as_input(void **state)
{
    push("plain \"text\"", ",\"orderingKey\":\"o\"},\"dataAs\":\"INPUT\"", ERR_OK);
    world_run(&w, NS_PER_S);
    assert_non_null(strstr(w.runtime.last_env, "RUNNEL_TASK_INPUT=plain \"text\"\n"));
    assert_non_null(strstr(w.runtime.last_env, "RUNNEL_MESSAGE_ORDERING_KEY=o\n"));
}

static void test_a_message_for_nobody_is_refused(void **state)
{
    push("plain", "}", ERR_INVALID_ARGUMENT);
    push("{\"neither\":1}", "}", ERR_INVALID_ARGUMENT);
    push("[]", "}", ERR_INVALID_ARGUMENT);
    push("{}", "},\"dataAs\":7", ERR_INVALID_ARGUMENT);
    assert_int_equal(executions(), 0);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_an_event_starts_one_execution_whoever_asks_again),
        CASE(test_the_end_of_the_execution_is_the_end_of_the_start),
        CASE(test_after_a_crash_the_event_finds_its_execution),
        CASE(test_others_of_the_series_beside_before_or_cancelled),
        CASE(test_a_queued_one_is_replaced_too),
        CASE(test_what_cannot_be_started_says_why),
        CASE(test_executions_are_bounded_those_being_stored_too),
        CASE(test_what_is_deleted_meanwhile_is_told),
        cmocka_unit_test(test_who_leaves_is_not_told_and_what_runs_goes_on),
        cmocka_unit_test(test_a_crash_at_any_write_starts_each_event_once),
        cmocka_unit_test(test_without_memory_it_says_so_or_runs_once),
        CASE(test_a_message_is_variables_and_what_its_data_says),
        CASE(test_a_message_as_input),
        CASE(test_a_message_for_nobody_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

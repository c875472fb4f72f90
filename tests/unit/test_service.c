/** test_service.c: services from their deployment to zero and back: rollouts, scaling, crash loops, restarts. */
#include "tests/support/unit.h"
#include "tests/support/support_executor.h"

#include "executor/executor.h"
#include "executor/instance.h"

#include <stdio.h>

#define IDLE_NS (60 * NS_PER_S)
#define PARENT "projects/proj/locations/here"
#define NAME PARENT "/services/web"
#define IMAGE "\"image\":\"exec:///srv/web\""
#define CREATE(body) "{\"parent\":\"" PARENT "\",\"serviceId\":\"web\",\"service\":{" body "}}"
#define UPDATE(body) "{\"service\":{\"name\":\"" NAME "\"," body "}}"
#define TEMPLATE(more) "\"template\":{\"containers\":[{" IMAGE "}]" more "}"

static struct world w;
static struct answer a;

static int setup(void **state)
{
    world_init(&w, IDLE_NS, 0);
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

static void get(void) { call("Services/GetService", "{\"name\":\"" NAME "\"}"); }

static void deploy(void)
{
    call("Services/CreateService", CREATE(TEMPLATE("")));
    world_run(&w, NS_PER_S);
}

static void test_a_deployment_starts_one_instance_and_serves(void **state)
{
    struct seen s;
    call("Services/CreateService", CREATE(TEMPLATE("")));
    assert_null(strstr(a.json, "\"done\":true"));
    world_see(&w, "web", &s);
    assert_true(s.found);
    assert_string_not_equal(s.not_ready, "");
    world_run(&w, 100 * NS_PER_MS);
    world_see(&w, "web", &s);
    assert_string_equal(s.not_ready, "");
    assert_int_equal(s.n_targets, 1);
    assert_int_equal(s.percents[0], 100);
    assert_non_null(s.pools[0]);
    assert_string_equal(s.uri, "http://web.localhost:8080");
    assert_int_equal(w.runtime.starts, 1);
    assert_true(w.changes > 0);
    get();
    assert_string_equal(json_value(a.json, "generation"), "1");
    assert_string_equal(json_value(a.json, "observedGeneration"), "1");
    assert_string_equal(json_value(a.json, "reconciling"), "");
    assert_non_null(strstr(a.json, "\"terminalCondition\":{\"type\":\"Ready\",\"state\":\"CONDITION_SUCCEEDED\""));
    assert_non_null(strstr(json_value(a.json, "latestReadyRevision"), NAME "/revisions/web-00001-"));
    assert_string_equal(json_value(a.json, "uri"), "http://web.localhost:8080");
    assert_int_equal(executor_counts(w.x).ready, 1);
}

static void test_the_operation_ends_with_the_service(void **state)
{
    char request[300];
    call("Services/CreateService", CREATE(TEMPLATE("")));
    snprintf(request, sizeof request, "{\"name\":\"%s\"}", json_value(a.json, "name"));
    assert_non_null(strstr(request, PARENT "/operations/"));
    world_run(&w, 100 * NS_PER_MS);
    call("Operations/GetOperation", request);
    assert_non_null(strstr(a.json, "\"done\":true"));
    assert_non_null(strstr(a.json, "\"response\":{\"@type\":\"type.googleapis.com/google.cloud.run.v2.Service\""));
    w.runtime.behaviour = (struct fake_behaviour){.listens_ns = NEVER, .exits_ns = 0, .exit_code = 5};
    call("Services/UpdateService", UPDATE(TEMPLATE(",\"timeout\":\"9s\"")));
    snprintf(request, sizeof request, "{\"name\":\"%s\"}", json_value(a.json, "name"));
    world_run(&w, NS_PER_S);
    call("Operations/GetOperation", request);
    assert_non_null(strstr(a.json, "\"error\":{\"code\":9"));
    assert_non_null(strstr(a.json, "exited with code 5"));
}

static void test_the_environment_of_a_program(void **state)
{
    call("Services/CreateService", CREATE("\"template\":{\"containers\":[{" IMAGE ",\"env\":[{\"name\":\"A\",\"value\":\"1\"},"
                                          "{\"name\":\"HOME\",\"value\":\"/x\"}]}]}"));
    world_run(&w, 100 * NS_PER_MS);
    assert_non_null(strstr(w.runtime.last_env, "K_SERVICE=web\n"));
    assert_non_null(strstr(w.runtime.last_env, "K_REVISION=web-00001-"));
    assert_non_null(strstr(w.runtime.last_env, "K_CONFIGURATION=web\n"));
    assert_non_null(strstr(w.runtime.last_env, "GCE_METADATA_HOST=127.0.0.1:8080\n"));
    assert_non_null(strstr(w.runtime.last_env, "A=1\n"));
    assert_non_null(strstr(w.runtime.last_env, "HOME=/x\n"));
    assert_null(strstr(w.runtime.last_env, "HOME=/\n"));
    assert_non_null(strstr(w.runtime.last_env, "PATH=/"));
}

static void test_idle_instances_end_and_a_request_starts_one(void **state)
{
    struct seen s;
    struct fake_request q;
    deploy();
    world_run(&w, IDLE_NS / 2);
    assert_int_equal(executor_counts(w.x).ready, 1);
    world_run(&w, IDLE_NS);
    assert_int_equal(executor_counts(w.x).ready, 0);
    assert_int_equal(w.runtime.exits, 1);
    /* At rest there is no timer of ours at all: only the operation's expiry. */
    assert_true(timers_next_ns(w.fe.env.timers) - w.fe.clock.mono_ns > 600 * NS_PER_S);
    world_see(&w, "web", &s);
    request_start(&w, s.pools[0], &q, 10 * NS_PER_S);
    assert_false(q.granted);
    world_run(&w, 10 * NS_PER_MS);
    assert_true(q.granted);
    assert_int_equal(w.runtime.starts, 2);
    request_end(&q, NS_PER_MS);
}

static void test_a_busy_instance_is_kept(void **state)
{
    struct seen s;
    struct fake_request q;
    deploy();
    world_see(&w, "web", &s);
    request_start(&w, s.pools[0], &q, NS_PER_S);
    assert_true(q.granted);
    world_run(&w, 3 * IDLE_NS);
    assert_int_equal(executor_counts(w.x).ready, 1);
    request_end(&q, NS_PER_MS);
    world_run(&w, 3 * IDLE_NS);
    assert_int_equal(executor_counts(w.x).ready, 0);
}

static void test_minimum_and_manual_counts(void **state)
{
    static const struct {
        const char *name, *request;
        uint32_t want;
    } cases[] = {
        {"the template's minimum", UPDATE(TEMPLATE(",\"scaling\":{\"minInstanceCount\":2}")), 2},
        {"the service's minimum", UPDATE(TEMPLATE("") ",\"scaling\":{\"minInstanceCount\":3}"), 3},
        {"manual", UPDATE(TEMPLATE("") ",\"scaling\":{\"scalingMode\":\"MANUAL\",\"manualInstanceCount\":4}"), 4},
        {"manual with the template's maximum below",
         UPDATE(TEMPLATE(",\"scaling\":{\"maxInstanceCount\":2}") ",\"scaling\":{\"scalingMode\":\"MANUAL\",\"manualInstanceCount\":4}"),
         4},
        {"back to nothing", UPDATE(TEMPLATE("")), 0},
    };
    deploy();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        call("Services/UpdateService", cases[i].request);
        world_run(&w, 5 * IDLE_NS);
        CASE_INT(cases[i].name, executor_counts(w.x).ready, cases[i].want);
    }
}

static void test_concurrency_and_maximum_bound_what_runs(void **state)
{
    struct seen s;
    struct fake_request q[10];
    call("Services/CreateService", CREATE(TEMPLATE(",\"maxInstanceRequestConcurrency\":2,\"scaling\":{\"maxInstanceCount\":3}")));
    world_run(&w, NS_PER_S);
    world_see(&w, "web", &s);
    for (size_t i = 0; i < 10; i++)
        request_start(&w, s.pools[0], &q[i], 20 * NS_PER_S);
    world_run(&w, NS_PER_S);
    size_t granted = 0;
    for (size_t i = 0; i < 10; i++)
        granted += q[i].granted;
    assert_int_equal(granted, 6);
    assert_int_equal(executor_counts(w.x).ready, 3);
    for (size_t i = 0; i < 10; i++)
        if (q[i].granted)
            request_end(&q[i], NS_PER_S);
    world_run(&w, 100 * NS_PER_MS);
    for (size_t i = 6; i < 10; i++) {
        assert_true(q[i].granted);
        request_end(&q[i], NS_PER_S);
    }
}

static void test_who_waits_too_long_is_told(void **state)
{
    struct seen s;
    struct fake_request q;
    deploy();
    world_run(&w, 3 * IDLE_NS);
    w.runtime.behaviour.listens_ns = 100 * NS_PER_S;
    world_see(&w, "web", &s);
    request_start(&w, s.pools[0], &q, NS_PER_S);
    world_run(&w, 2 * NS_PER_S);
    assert_true(q.failed);
    assert_int_equal(q.err.code, ERR_DEADLINE_EXCEEDED);
}

static void test_a_changed_template_makes_a_revision_and_the_old_one_drains(void **state)
{
    struct seen before, after;
    struct fake_request q;
    deploy();
    world_see(&w, "web", &before);
    request_start(&w, before.pools[0], &q, NS_PER_S);
    call("Services/UpdateService", UPDATE("\"template\":{\"containers\":[{" IMAGE ",\"env\":[{\"name\":\"A\",\"value\":\"2\"}]}]}"));
    world_run(&w, 5 * NS_PER_S);
    world_see(&w, "web", &after);
    assert_string_not_equal(after.revisions[0], before.revisions[0]);
    assert_non_null(strstr(after.revisions[0], "web-00002-"));
    /* In flight on the old one: it stays until that ends. */
    assert_int_equal(executor_counts(w.x).ready, 1);
    assert_int_equal(executor_counts(w.x).stopping, 1);
    request_end(&q, NS_PER_S);
    world_run(&w, NS_PER_S);
    assert_int_equal(executor_counts(w.x).stopping, 0);
    call("Revisions/ListRevisions", "{\"parent\":\"" NAME "\"}");
    const char *newest = strstr(a.json, "web-00002-"), *oldest = strstr(a.json, "web-00001-");
    assert_true(newest && oldest && newest < oldest);
}

static void test_a_draining_instance_comes_back_when_it_is_wanted(void **state)
{
    struct seen s;
    struct fake_request q, next;
    char request[600];
    const char *one = ",\"maxInstanceRequestConcurrency\":1,\"scaling\":{\"maxInstanceCount\":1}";
    snprintf(request, sizeof request, CREATE(TEMPLATE("%s")), one);
    call("Services/CreateService", request);
    world_run(&w, NS_PER_S);
    world_see(&w, "web", &s);
    struct pool *first = s.pools[0];
    snprintf(
        request, sizeof request,
        UPDATE(TEMPLATE(
            "%s,\"timeout\":\"99s\"") ",\"traffic\":[{\"type\":\"TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION\",\"revision\":\"%s\",\"percent\":100}]"),
        one, s.revisions[0]);
    request_start(&w, first, &q, NS_PER_S);
    call("Services/UpdateService", UPDATE(TEMPLATE(",\"timeout\":\"99s\"")));
    world_run(&w, 5 * NS_PER_S);
    assert_int_equal(executor_counts(w.x).stopping, 1);
    call("Services/UpdateService", request);
    world_run(&w, NS_PER_S);
    uint32_t starts = w.runtime.starts;
    request_start(&w, first, &next, 60 * NS_PER_S);
    world_run(&w, 5 * NS_PER_S);
    assert_false(next.granted); /* the only one there may be is busy */
    assert_int_equal(w.runtime.starts, starts);
    request_end(&q, NS_PER_S);
    world_run(&w, NS_PER_S);
    assert_true(next.granted);
    assert_int_equal(w.runtime.starts, starts);
    request_end(&next, NS_PER_S);
}

static void test_the_same_template_makes_none(void **state)
{
    deploy();
    call("Services/UpdateService", UPDATE(TEMPLATE("") ",\"labels\":{\"a\":\"b\"}"));
    assert_non_null(strstr(a.json, "\"done\":true"));
    world_run(&w, NS_PER_S);
    assert_int_equal(executor_counts(w.x).revisions, 1);
    assert_int_equal(w.runtime.starts, 1);
    get();
    assert_string_equal(json_value(a.json, "generation"), "2");
    assert_string_equal(json_value(a.json, "a"), "b");
}

static void test_a_named_revision(void **state)
{
    struct seen s;
    deploy();
    call("Services/UpdateService", UPDATE(TEMPLATE(",\"revision\":\"web-blue\"")));
    world_run(&w, NS_PER_S);
    world_see(&w, "web", &s);
    assert_string_equal(s.revisions[0], "web-blue");
    world_call(&w, "Services/UpdateService", UPDATE(TEMPLATE(",\"revision\":\"web-blue\",\"timeout\":\"5s\"")), &a);
    assert_int_equal(a.code, ERR_ALREADY_EXISTS);
}

static void test_traffic_is_split_and_tagged(void **state)
{
    struct seen s;
    char request[600], first[64];
    deploy();
    world_see(&w, "web", &s);
    snprintf(first, sizeof first, "%s", s.revisions[0]);
    snprintf(
        request, sizeof request,
        UPDATE(TEMPLATE(
            ",\"timeout\":\"7s\"") ",\"traffic\":[{\"type\":\"TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION\",\"revision\":\"%s\",\"percent\":70},"
                                   "{\"type\":\"TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST\",\"percent\":30,\"tag\":\"next\"}]"),
        first);
    call("Services/UpdateService", request);
    world_run(&w, NS_PER_S);
    world_see(&w, "web", &s);
    assert_int_equal(s.n_targets, 2);
    assert_string_equal(s.revisions[0], first);
    assert_int_equal(s.percents[0], 70);
    assert_string_equal(s.tags[1], "next");
    assert_non_null(strstr(s.revisions[1], "web-00002-"));
    get();
    assert_non_null(strstr(a.json, "http://next---web.localhost:8080"));
    snprintf(request, sizeof request, "{\"name\":\"" NAME "/revisions/%s\"}", first);
    world_call(&w, "Revisions/DeleteRevision", request, &a);
    assert_int_equal(a.code, ERR_FAILED_PRECONDITION);
    assert_non_null(strstr(a.message, "cannot be directly deleted because it is actively serving."));
}

static void test_a_failed_rollout_keeps_what_served(void **state)
{
    static const struct {
        const char *name, *says;
        struct fake_behaviour b;
        uint32_t starts;
    } cases[] = {
        {"it ends with a code",
         "exited with code 3",
         {.listens_ns = NEVER, .exits_ns = NS_PER_MS, .exit_code = 3, .says = "no database"},
         2},
        {"its last line on stderr is shown",
         "no database",
         {.listens_ns = NEVER, .exits_ns = NS_PER_MS, .exit_code = 3, .says = "no database"},
         2},
        {"it cannot be executed", "could not be executed", {.cannot_execute = true, .exits_ns = NEVER, .listens_ns = NEVER}, 1},
        {"it never listens", "did not listen", {.listens_ns = NEVER, .exits_ns = NEVER}, 1},
        {"the runtime refuses", "no process could be made", {.refuses_start = true}, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct seen before, after;
        if (i)
            setup(state);
        deploy();
        world_see(&w, "web", &before);
        uint32_t starts = w.runtime.starts;
        w.runtime.behaviour = cases[i].b;
        call("Services/UpdateService", UPDATE(TEMPLATE(",\"timeout\":\"9s\"")));
        world_run(&w, 300 * NS_PER_S);
        world_see(&w, "web", &after);
        CASE_STR(cases[i].name, after.revisions[0], before.revisions[0]);
        CASE_STR(cases[i].name, after.not_ready, "");
        CASE_INT(cases[i].name, w.runtime.starts - starts, cases[i].starts);
        get();
        CASE_TRUE(cases[i].name, strstr(a.json, "\"terminalCondition\":{\"type\":\"Ready\",\"state\":\"CONDITION_FAILED\""));
        CASE_TRUE(cases[i].name, strstr(a.json, cases[i].says));
        CASE_STR(cases[i].name, json_value(a.json, "reason"), "REVISION_FAILED");
        CASE_STR(cases[i].name, json_value(a.json, "observedGeneration"), "1");
        if (i + 1 < ARRAY_LEN(cases))
            teardown(state);
    }
}

static void test_a_crash_loop_backs_off_and_is_named(void **state)
{
    struct seen s;
    struct fake_request q;
    deploy();
    world_run(&w, 3 * IDLE_NS);
    w.runtime.behaviour = (struct fake_behaviour){.listens_ns = NEVER, .exits_ns = NS_PER_MS, .exit_code = 9, .says = "boom"};
    world_see(&w, "web", &s);
    uint32_t before = w.runtime.starts;
    request_start(&w, s.pools[0], &q, 600 * NS_PER_S);
    world_run(&w, 500 * NS_PER_MS);
    assert_int_equal(w.runtime.starts - before, 2); /* once more at once, then it waits */
    assert_true(q.failed);
    assert_int_equal(q.err.code, ERR_UNAVAILABLE);
    assert_non_null(strstr(q.err.msg, "exited with code 9"));
    get();
    assert_non_null(strstr(a.json, "\"state\":\"CONDITION_FAILED\""));
    assert_non_null(strstr(a.json, "boom"));
    assert_string_equal(json_value(a.json, "revisionReason"), "HEALTH_CHECK_CONTAINER_ERROR");
    for (int i = 0; i < 300; i++) {
        request_start(&w, s.pools[0], &q, 600 * NS_PER_S);
        world_run(&w, NS_PER_S);
        assert_true(q.failed);
    }
    /* 1 2 4 8 16 32 60 60 60 … seconds */
    assert_in_range(w.runtime.starts - before, 8, 12);
    w.runtime.behaviour = (struct fake_behaviour){.listens_ns = 0, .exits_ns = NEVER};
    world_run(&w, 61 * NS_PER_S);
    request_start(&w, s.pools[0], &q, 10 * NS_PER_S);
    world_run(&w, NS_PER_S);
    assert_true(q.granted);
    world_run(&w, 15 * NS_PER_S);
    get();
    assert_null(strstr(a.json, "CONDITION_FAILED"));
    request_end(&q, NS_PER_S);
}

static void test_an_end_long_after_the_start_is_no_crash_loop(void **state)
{
    call("Services/CreateService", CREATE(TEMPLATE(",\"scaling\":{\"minInstanceCount\":1}")));
    world_run(&w, 100 * NS_PER_S);
    for (int i = 0; i < 3; i++) {
        fake_runtime_exit(&w.runtime, 1);
        world_run(&w, 20 * NS_PER_S);
        assert_int_equal(executor_counts(w.x).ready, 1);
    }
    get();
    assert_null(strstr(a.json, "CONDITION_FAILED"));
}

static void test_a_program_that_ignores_the_signal_is_killed(void **state)
{
    deploy();
    fake_runtime_forget(&w.runtime);
    world_crash(&w);
    w.runtime.behaviour.ignores_term = true;
    call("Services/UpdateService", UPDATE(TEMPLATE(",\"timeout\":\"9s\"")));
    world_run(&w, NS_PER_S);
    call("Services/DeleteService", "{\"name\":\"" NAME "\"}");
    world_run(&w, 9 * NS_PER_S);
    assert_int_equal(w.runtime.kills, 0);
    assert_int_equal(executor_counts(w.x).stopping, 1);
    world_run(&w, 2 * NS_PER_S);
    assert_int_equal(w.runtime.kills, 1);
    assert_int_equal(executor_counts(w.x).stopping, 0);
}

static void test_deletion(void **state)
{
    struct seen s;
    struct fake_request q;
    deploy();
    world_see(&w, "web", &s);
    struct pool *held = pool_ref(s.pools[0]);
    call("Services/DeleteService", "{\"name\":\"" NAME "\"}");
    assert_non_null(strstr(a.json, "\"done\":true"));
    assert_non_null(strstr(a.json, "deleteTime"));
    world_call(&w, "Services/GetService", "{\"name\":\"" NAME "\"}", &a);
    assert_int_equal(a.code, ERR_NOT_FOUND);
    world_run(&w, NS_PER_S);
    assert_int_equal(w.runtime.exits, 1);
    request_start(&w, held, &q, NS_PER_S); /* an old routing snapshot */
    assert_true(q.failed);
    assert_int_equal(q.err.code, ERR_NOT_FOUND);
    pool_unref(held);
    deploy(); /* the name is free again */
}

static void test_a_restart_brings_back_what_was_stored(void **state)
{
    struct seen s;
    struct fake_request q;
    deploy();
    world_crash(&w);
    world_run(&w, NS_PER_S);
    assert_int_equal(w.runtime.starts, 1); /* nothing starts for what has been */
    world_see(&w, "web", &s);
    assert_string_equal(s.not_ready, "");
    request_start(&w, s.pools[0], &q, NS_PER_S);
    world_run(&w, NS_PER_S);
    assert_true(q.granted);
    request_end(&q, 0);
}

static void test_a_rollout_is_taken_up_again_after_a_restart(void **state)
{
    struct seen s;
    w.runtime.behaviour.listens_ns = 60 * NS_PER_S;
    call("Services/CreateService", CREATE(TEMPLATE("")));
    world_run(&w, NS_PER_S);
    world_crash(&w);
    w.runtime.behaviour.listens_ns = 0;
    world_run(&w, NS_PER_S);
    world_see(&w, "web", &s);
    assert_string_equal(s.not_ready, "");
    assert_non_null(s.pools[0]);
}

static void test_a_newer_change_takes_the_place_of_one_that_goes_on(void **state)
{
    struct seen s;
    w.runtime.behaviour.listens_ns = 100 * NS_PER_S;
    call("Services/CreateService", CREATE(TEMPLATE("")));
    world_run(&w, NS_PER_S);
    w.runtime.behaviour.listens_ns = 0;
    call("Services/UpdateService", UPDATE(TEMPLATE(",\"timeout\":\"9s\"")));
    world_run(&w, 5 * NS_PER_S);
    world_see(&w, "web", &s);
    assert_non_null(strstr(s.revisions[0], "web-00002-"));
    assert_int_equal(executor_counts(w.x).ready, 1);
    assert_int_equal(executor_counts(w.x).starting, 0);
}

static void test_a_full_store_changes_nothing(void **state)
{
    w.store_fails = ERR_RESOURCE_EXHAUSTED;
    world_call(&w, "Services/CreateService", CREATE(TEMPLATE("")), &a);
    assert_int_equal(a.code, ERR_RESOURCE_EXHAUSTED);
    assert_int_equal(executor_counts(w.x).services, 0);
    w.store_fails = ERR_OK;
    deploy();
    w.store_fails = ERR_RESOURCE_EXHAUSTED;
    world_call(&w, "Services/UpdateService", UPDATE(TEMPLATE(",\"timeout\":\"9s\"")), &a);
    assert_int_equal(a.code, ERR_RESOURCE_EXHAUSTED);
    world_call(&w, "Services/DeleteService", "{\"name\":\"" NAME "\"}", &a);
    assert_int_equal(a.code, ERR_RESOURCE_EXHAUSTED);
    w.store_fails = ERR_OK;
    get();
    assert_string_equal(json_value(a.json, "generation"), "1");
    assert_int_equal(executor_counts(w.x).revisions, 1);
}

static void test_the_host_bounds_all_instances(void **state)
{
    struct seen s;
    struct fake_request q[8];
    world_fini(&w);
    world_init(&w, IDLE_NS, 3);
    call("Services/CreateService", CREATE(TEMPLATE(",\"maxInstanceRequestConcurrency\":1")));
    world_run(&w, NS_PER_S);
    world_see(&w, "web", &s);
    for (size_t i = 0; i < 8; i++)
        request_start(&w, s.pools[0], &q[i], 100 * NS_PER_S);
    world_run(&w, 5 * NS_PER_S);
    assert_int_equal(executor_counts(w.x).ready, 3);
    size_t served = 0;
    for (int round = 0; round < 8; round++) {
        for (size_t i = 0; i < 8; i++)
            if (q[i].granted) {
                request_end(&q[i], NS_PER_S);
                served++;
            }
        world_run(&w, 10 * NS_PER_MS);
    }
    assert_int_equal(served, 8);
}

static void test_a_backlog_starts_instances_before_it_is_requests(void **state)
{
    deploy();
    world_run(&w, 3 * IDLE_NS);
    assert_int_equal(executor_counts(w.x).ready, 0);
    executor_backlog(w.x, NAME, 5);
    world_run(&w, 100 * NS_PER_MS);
    assert_true(executor_counts(w.x).ready >= 1);
    executor_backlog(w.x, NAME, 0);
}

static void set_true(void *arg) { *(bool *)arg = true; }

static void test_stop_ends_every_instance(void **state)
{
    struct seen s;
    struct fake_request q;
    bool stopped = false;
    deploy();
    world_see(&w, "web", &s);
    executor_stop(w.x, set_true, &stopped);
    assert_false(stopped);
    world_run(&w, NS_PER_S);
    assert_true(stopped);
    assert_int_equal(w.runtime.exits, 1);
    request_start(&w, s.pools[0], &q, NS_PER_S);
    assert_true(q.failed);
    assert_int_equal(q.err.code, ERR_UNAVAILABLE);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_a_deployment_starts_one_instance_and_serves),
        CASE(test_the_operation_ends_with_the_service),
        CASE(test_the_environment_of_a_program),
        CASE(test_idle_instances_end_and_a_request_starts_one),
        CASE(test_a_busy_instance_is_kept),
        CASE(test_minimum_and_manual_counts),
        CASE(test_concurrency_and_maximum_bound_what_runs),
        CASE(test_who_waits_too_long_is_told),
        CASE(test_a_changed_template_makes_a_revision_and_the_old_one_drains),
        CASE(test_a_draining_instance_comes_back_when_it_is_wanted),
        CASE(test_the_same_template_makes_none),
        CASE(test_a_named_revision),
        CASE(test_traffic_is_split_and_tagged),
        CASE(test_a_failed_rollout_keeps_what_served),
        CASE(test_a_crash_loop_backs_off_and_is_named),
        CASE(test_an_end_long_after_the_start_is_no_crash_loop),
        CASE(test_a_program_that_ignores_the_signal_is_killed),
        CASE(test_deletion),
        CASE(test_a_restart_brings_back_what_was_stored),
        CASE(test_a_rollout_is_taken_up_again_after_a_restart),
        CASE(test_a_newer_change_takes_the_place_of_one_that_goes_on),
        CASE(test_a_full_store_changes_nothing),
        CASE(test_the_host_bounds_all_instances),
        CASE(test_a_backlog_starts_instances_before_it_is_requests),
        CASE(test_stop_ends_every_instance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/** test_admission.c: memory limits of services and jobs on a host of 16 GiB: who starts when, what is said, what is refused. */
#include "tests/support/unit.h"
#include "tests/support/support_executor.h"

#include <stdio.h>

#define PARENT "projects/proj/locations/here"
#define GIB (UINT64_C(1) << 30)
#define HOST (16 * GIB)
#define IDLE_NS (120 * NS_PER_S)
#define RUNS_NS NS_PER_S

static struct world w;
static struct answer a;
static uint32_t begun[2]; /* programs of tasks and of services */

static void vary(void *arg, const struct runtime_spec *spec, struct fake_behaviour *b)
{
    bool task = spec->ticket[0] != 0;
    begun[task ? 0 : 1]++;
    b->exits_ns = task ? RUNS_NS : NEVER;
}

static int setup(void **state)
{
    memset(begun, 0, sizeof begun);
    world_init(&w, IDLE_NS, 0);
    w.runtime.vary = vary;
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

static int64_t metric(const char *line)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    assert_int_equal(metrics_render(w.metrics, &b), 0);
    const char *text = buf_cstr(&b), *at = strstr(text, line);
    assert_non_null(at);
    int64_t value = strtoll(at + strlen(line), NULL, 10);
    buf_fini(&b);
    return value;
}

/* ---- jobs and services */

struct ran {
    char name[200];
};

static void create_job(const char *id, int count, int parallelism, const char *memory, const char *annotations)
{
    char request[1000];
    snprintf(request, sizeof request,
             "{\"parent\":\"" PARENT "\",\"jobId\":\"%s\",\"job\":{\"annotations\":{%s},\"template\":{\"taskCount\":%d,\"parallelism\":%d,"
             "\"template\":{\"maxRetries\":0,\"containers\":[{\"image\":\"exec:///x\",\"resources\":{\"limits\":{\"memory\":\"%s\"}}}]}}}}",
             id, annotations, count, parallelism, memory);
    call("Jobs/CreateJob", request);
}

static struct ran run_job(const char *id)
{
    struct ran r;
    char request[300], prefix[200];
    snprintf(request, sizeof request, "{\"name\":\"" PARENT "/jobs/%s\"}", id);
    snprintf(prefix, sizeof prefix, "\"name\":\"" PARENT "/jobs/%s/executions/", id);
    call("Jobs/RunJob", request);
    const char *name = strstr(a.json, prefix);
    assert_non_null(name);
    snprintf(r.name, sizeof r.name, "%.*s", (int)strcspn(name + 8, "\""), name + 8);
    return r;
}

static const char *look(const struct ran *r, const char *key)
{
    char request[300];
    snprintf(request, sizeof request, "{\"name\":\"%s\"}", r->name);
    call("Executions/GetExecution", request);
    return json_value(a.json, key);
}

static int64_t count_of(const struct ran *r, const char *key) { return strtoll(look(r, key), NULL, 10); }

static void create_service(const char *id, const char *memory, const char *more)
{
    char request[1000];
    snprintf(request, sizeof request,
             "{\"parent\":\"" PARENT "\",\"serviceId\":\"%s\",\"service\":{\"template\":{\"containers\":[{\"image\":\"exec:///x\","
             "\"resources\":{\"limits\":{\"memory\":\"%s\"}}}]%s}}}",
             id, memory, more);
    call("Services/CreateService", request);
}

static struct pool *pool_of(const char *service)
{
    struct seen s;
    world_see(&w, service, &s);
    assert_non_null(s.pools[0]);
    return s.pools[0];
}

/* ---- jobs */

static void test_tasks_run_while_they_fit(void **state)
{
    create_job("work", 40, 20, "4Gi", "");
    struct ran r = run_job("work");
    world_run(&w, NS_PER_S / 2);
    assert_int_equal(count_of(&r, "runningCount"), 4);
    assert_int_equal(metric("\nrunnel_run_memory_claimed_bytes "), HOST);
    assert_int_equal(metric("runnel_run_memory_waiting{kind=\"job\"} "), 1);
    assert_int_equal(begun[0], 4); /* what has begun has its memory: a kill -9 loses nothing that never ran */
    world_run(&w, 11 * NS_PER_S);
    assert_int_equal(count_of(&r, "succeededCount"), 40);
    assert_int_equal(w.runtime.memory_most, HOST);
    assert_int_equal(metric("\nrunnel_run_memory_claimed_bytes "), 0);
    assert_int_equal(metric("runnel_run_memory_waiting{kind=\"job\"} "), 0);
    assert_int_equal(metric("runnel_run_memory_granted_total{kind=\"job\"} "), 40);
}

static void test_without_a_limit_all_run_at_once(void **state)
{
    char request[600];
    snprintf(
        request, sizeof request,
        "{\"parent\":\"" PARENT "\",\"jobId\":\"many\",\"job\":{\"template\":{\"taskCount\":1000,\"parallelism\":1000,\"template\":{"
        "\"containers\":[{\"image\":\"exec:///x\",\"resources\":{\"limits\":{\"cpu\":\"4\"}}}]}}}}"); /* on two CPUs: they are slower */
    call("Jobs/CreateJob", request);
    create_job("large", 1, 1, "16Gi", "");
    run_job("large");
    struct ran r = run_job("many");
    world_run(&w, NS_PER_S / 2);
    assert_int_equal(count_of(&r, "runningCount"), 1000);
}

static void test_what_does_not_fit_together_runs_one_after_the_other(void **state)
{
    create_job("one", 2, 2, "10Gi", "");
    create_job("two", 1, 1, "10Gi", "");
    struct ran one = run_job("one"), two = run_job("two");
    world_run(&w, NS_PER_S / 2);
    assert_int_equal(begun[0], 1);
    look(&two, "name");
    assert_non_null(strstr(a.json,
                           "{\"type\":\"ResourcesAvailable\",\"state\":\"CONDITION_PENDING\",\"message\":\"Waiting for memory: the next "
                           "task asks for 10 GiB, and programs that run have claimed 10 GiB of the 16 GiB there are.\""));
    look(&one, "name"); /* for its next task it waits as well */
    assert_non_null(strstr(a.json, "{\"type\":\"ResourcesAvailable\",\"state\":\"CONDITION_PENDING\",\"message\":\"Waiting for memory"));
    world_run(&w, 3 * NS_PER_S + NS_PER_S / 2);
    assert_int_equal(count_of(&one, "succeededCount"), 2);
    assert_int_equal(count_of(&two, "succeededCount"), 1);
    assert_int_equal(w.runtime.memory_most, 10 * GIB);
}

static void test_jobs_share_by_their_weights(void **state)
{
    create_job("light", 10000, 100, "1Gi", "");
    create_job("heavy", 10000, 100, "1Gi", "\"runnel.dev/weight\":\"300\"");
    struct ran light = run_job("light"), heavy = run_job("heavy");
    world_run(&w, 20 * NS_PER_S + NS_PER_S / 2);
    assert_int_equal(count_of(&light, "runningCount"), 4);
    assert_int_equal(count_of(&heavy, "runningCount"), 12);
    int64_t before[2] = {count_of(&light, "succeededCount"), count_of(&heavy, "succeededCount")};
    world_run(&w, 100 * NS_PER_S);
    double ratio = (double)(count_of(&heavy, "succeededCount") - before[1]) / (double)(count_of(&light, "succeededCount") - before[0]);
    assert_true(ratio > 2.7 && ratio < 3.3);
    call("Jobs/GetJob", "{\"name\":\"" PARENT "/jobs/light\"}");
    call("Jobs/UpdateJob", "{\"job\":{\"name\":\"" PARENT "/jobs/light\",\"template\":{\"annotations\":{\"runnel.dev/weight\":\"900\"},"
                           "\"template\":{\"containers\":[{\"image\":\"exec:///x\"}]}}}}");
    assert_int_equal(w.runtime.last_weight, 900);
    world_run(&w, 20 * NS_PER_S);
    assert_int_equal(count_of(&light, "runningCount"), 12); /* what runs with the old template, too: a weight is the job's */
}

static void test_who_gives_up_waiting_stands_in_nobodys_way(void **state)
{
    char request[300];
    create_job("long", 1, 1, "8Gi", "");
    create_job("large", 1, 1, "16Gi", "\"runnel.dev/priority\":\"9\"");
    create_job("small", 100, 8, "1Gi", "");
    run_job("long");
    world_run(&w, NS_PER_S / 4);
    struct ran large = run_job("large"), small = run_job("small");
    world_run(&w, NS_PER_S / 2);
    assert_string_equal(look(&large, "runningCount"), "");
    snprintf(request, sizeof request, "{\"name\":\"%s\"}", large.name);
    assert_int_equal(metric("runnel_run_memory_waiting{kind=\"job\"} "), 1);
    call("Executions/CancelExecution", request);
    assert_int_equal(metric("runnel_run_memory_waiting{kind=\"job\"} "), 0);
    world_run(&w, 20 * NS_PER_S);
    assert_string_equal(look(&large, "cancelledCount"), "1");
    assert_int_equal(count_of(&small, "succeededCount"), 100);
    assert_int_equal(metric("\nrunnel_run_memory_claimed_bytes "), 0);
    assert_int_equal(metric("runnel_run_memory_waiting{kind=\"job\"} "), 0);
}

static void test_a_deleted_job_gives_back_what_it_had(void **state)
{
    create_job("gone", 100, 100, "2Gi", "");
    create_job("next", 1, 1, "16Gi", "");
    run_job("gone");
    world_run(&w, NS_PER_S / 2);
    struct ran next = run_job("next");
    call("Jobs/DeleteJob", "{\"name\":\"" PARENT "/jobs/gone\"}");
    world_run(&w, 5 * NS_PER_S);
    assert_int_equal(count_of(&next, "succeededCount"), 1);
    assert_int_equal(metric("\nrunnel_run_memory_claimed_bytes "), 0);
}

static void test_a_crash_claims_anew(void **state)
{
    create_job("work", 8, 8, "4Gi", "");
    struct ran r = run_job("work");
    world_run(&w, NS_PER_S / 2);
    world_crash(&w);
    world_run(&w, NS_PER_S / 2);
    assert_int_equal(count_of(&r, "runningCount"), 4);
    assert_int_equal(metric("\nrunnel_run_memory_claimed_bytes "), HOST);
    world_run(&w, 5 * NS_PER_S);
    assert_int_equal(count_of(&r, "succeededCount"), 8);
    assert_int_equal(count_of(&r, "retriedCount"), 4); /* lost: only those that ran */
    assert_int_equal(w.runtime.memory_most, HOST);
    assert_int_equal(metric("\nrunnel_run_memory_claimed_bytes "), 0);
}

/* ---- services */

static void test_a_service_from_zero_gets_the_memory_that_comes_free(void **state)
{
    struct fake_request q;
    create_service("web", "6Gi", "");
    world_run(&w, 2 * IDLE_NS);
    assert_int_equal(w.runtime.memory_bytes, 0);
    create_job("crowd", 100000, 100, "2Gi", "\"runnel.dev/priority\":\"1000\"");
    struct ran r = run_job("crowd");
    world_run(&w, 3 * NS_PER_S + NS_PER_S / 2);
    assert_int_equal(count_of(&r, "runningCount"), 8);
    request_start(&w, pool_of("web"), &q, 10 * NS_PER_S);
    world_run(&w, 20 * NS_PER_MS);
    assert_false(q.granted);
    assert_int_equal(metric("runnel_run_memory_waiting{kind=\"service\"} "), 1);
    call("Revisions/ListRevisions", "{\"parent\":\"" PARENT "/services/web\"}");
    assert_non_null(strstr(a.json, "Waiting for memory: the next instance asks for 6 GiB"));
    world_run(&w, RUNS_NS);
    assert_true(q.granted);
    call("Revisions/ListRevisions", "{\"parent\":\"" PARENT "/services/web\"}");
    assert_null(strstr(a.json, "Waiting for memory"));
    assert_int_equal(metric("runnel_run_memory_waiting{kind=\"service\"} "), 0);
    /* The job goes on beside it, and gets back what the service has no use for any more, long before the usual time. */
    world_run(&w, 2 * NS_PER_S);
    assert_int_equal(count_of(&r, "runningCount"), 5);
    request_end(&q, NS_PER_MS);
    world_run(&w, 14 * NS_PER_S);
    assert_int_equal(count_of(&r, "runningCount"), 8);
    assert_int_equal(w.runtime.memory_most, HOST);
}

static void test_a_service_in_use_keeps_what_it_has(void **state)
{
    struct fake_request q;
    create_service("web", "8Gi", "");
    world_run(&w, NS_PER_S);
    create_job("crowd", 100000, 100, "1Gi", "");
    struct ran r = run_job("crowd");
    for (int i = 0; i < 60; i++) {
        request_start(&w, pool_of("web"), &q, NS_PER_S);
        assert_true(q.granted);
        world_run(&w, NS_PER_S);
        request_end(&q, NS_PER_MS);
    }
    assert_int_equal(count_of(&r, "runningCount"), 8);
    assert_int_equal(begun[1], 1);
}

static void test_a_waiting_request_gives_up_and_so_does_its_claim(void **state)
{
    struct fake_request q;
    create_service("web", "16Gi", "");
    world_run(&w, 2 * IDLE_NS);
    create_job("long", 100000, 2, "8Gi", "");
    struct ran r = run_job("long");
    world_run(&w, NS_PER_S / 4);
    request_start(&w, pool_of("web"), &q, NS_PER_S / 8);
    world_run(&w, NS_PER_S / 4);
    assert_true(q.failed);
    world_run(&w, 3 * NS_PER_S);
    assert_int_equal(metric("runnel_run_memory_waiting{kind=\"service\"} "), 0);
    assert_int_equal(count_of(&r, "runningCount"), 2);
}

static void test_a_rollout_waits_for_memory_and_says_so(void **state)
{
    create_job("large", 1, 1, "16Gi", "");
    run_job("large");
    world_run(&w, NS_PER_S / 4);
    create_service("web", "1Gi", "");
    world_run(&w, NS_PER_S / 4);
    call("Services/GetService", "{\"name\":\"" PARENT "/services/web\"}");
    assert_non_null(
        strstr(a.json, "\"state\":\"CONDITION_RECONCILING\",\"message\":\"Waiting for memory: the next instance asks for 1 GiB"));
    world_run(&w, NS_PER_S);
    call("Services/GetService", "{\"name\":\"" PARENT "/services/web\"}");
    assert_non_null(strstr(a.json, "\"terminalCondition\":{\"type\":\"Ready\",\"state\":\"CONDITION_SUCCEEDED\""));
    assert_null(strstr(a.json, "Waiting for memory"));
}

static void test_two_services_take_turns_on_memory_for_one(void **state)
{
    struct fake_request q;
    create_service("one", "10Gi", "");
    world_run(&w, NS_PER_S);
    create_service("two", "10Gi", "");
    world_run(&w, 15 * NS_PER_S);
    for (int i = 0; i < 6; i++) {
        request_start(&w, pool_of(i % 2 ? "two" : "one"), &q, 20 * NS_PER_S);
        world_run(&w, 15 * NS_PER_S);
        assert_true(q.granted);
        request_end(&q, NS_PER_MS);
    }
    assert_int_equal(w.runtime.memory_most, 10 * GIB);
}

static void test_the_weight_of_a_service(void **state)
{
    create_service("web", "1Gi", ",\"annotations\":{\"runnel.dev/weight\":\"250\"}");
    world_run(&w, NS_PER_S);
    assert_int_equal(w.runtime.last_spec.weight, 250);
    assert_int_equal(w.runtime.last_weight, 250);
    uint64_t group = w.runtime.last_spec.group;
    assert_int_not_equal(group, 0);
    assert_int_equal(w.runtime.last_group, group);
    /* The service's own word counts where the template has none; another weight alone makes no revision. */
    call("Services/UpdateService",
         "{\"service\":{\"name\":\"" PARENT "/services/web\",\"annotations\":{\"runnel.dev/weight\":\"40\"},\"template\":{"
         "\"containers\":[{\"image\":\"exec:///x\"}]}}}");
    world_run(&w, NS_PER_S);
    assert_int_equal(w.runtime.last_weight, 40);
    assert_int_equal(begun[1], 2);
    call("Services/UpdateService",
         "{\"service\":{\"name\":\"" PARENT "/services/web\",\"annotations\":{\"runnel.dev/weight\":\"50\"},\"template\":{"
         "\"containers\":[{\"image\":\"exec:///x\"}]}}}");
    world_run(&w, NS_PER_S);
    assert_int_equal(w.runtime.last_weight, 50);
    assert_int_equal(begun[1], 2);
    world_crash(&w);
    create_service("other", "1Gi", "");
    world_run(&w, NS_PER_S);
    assert_int_equal(w.runtime.last_spec.weight, 100);
    assert_int_not_equal(w.runtime.last_spec.group, group);
}

/* ---- what can never be */

static void test_on_a_smaller_host_it_is_said_at_once(void **state)
{
    struct fake_request q;
    create_job("work", 8, 1, "12Gi", "");
    create_service("web", "12Gi", "");
    world_run(&w, 2 * IDLE_NS);
    struct ran r = run_job("work");
    world_run(&w, NS_PER_S / 2);
    w.config.host_memory_bytes = 8 * GIB;
    world_crash(&w);
    world_run(&w, 2 * NS_PER_S);
    look(&r, "completionTime");
    assert_non_null(strstr(a.json, "resources.limits.memory: 12 GiB is more than the 8 GiB"));
    assert_int_equal(count_of(&r, "cancelledCount"), 8);
    world_call(&w, "Jobs/RunJob", "{\"name\":\"" PARENT "/jobs/work\"}", &a);
    assert_int_equal(a.code, ERR_FAILED_PRECONDITION);
    assert_non_null(strstr(a.message, "12 GiB is more than the 8 GiB"));
    request_start(&w, pool_of("web"), &q, 10 * NS_PER_S);
    world_run(&w, 20 * NS_PER_MS);
    assert_true(q.failed);
    assert_int_equal(q.err.code, ERR_UNAVAILABLE);
    assert_non_null(strstr(q.err.msg, "12 GiB is more than"));
    assert_int_equal(metric("\nrunnel_run_memory_claimed_bytes "), 0);
    assert_true(metric("runnel_run_memory_refused_total{kind=\"job\"} ") > 0);
}

/* One fault in all that a run and a request set off: whatever becomes of them, what they claimed comes back. */
static void with_one_fault(enum fault what)
{
    for (size_t n = 1;; n++) {
        struct fake_request q;
        setup(NULL);
        create_service("web", "6Gi", ",\"timeout\":\"5s\"");
        create_job("work", 4, 4, "6Gi", "");
        create_job("next", 2, 2, "12Gi", "");
        world_run(&w, 2 * IDLE_NS);
        run_job("next");
        world_run(&w, NS_PER_S / 4);
        w.fault.what = what;
        w.fault.nth = n;
        world_call(&w, "Jobs/RunJob", "{\"name\":\"" PARENT "/jobs/work\"}", &a);
        request_start(&w, pool_of("web"), &q, 10 * NS_PER_S);
        world_run(&w, 15 * NS_PER_S);
        bool failed = fault_disarm();
        world_run(&w, 15 * NS_PER_S);
        if (!q.granted && !q.failed)
            fail_msg("%s %zu: the request still waits", fault_name(what), n);
        if (q.granted)
            request_end(&q, NS_PER_MS);
        world_run(&w, 2 * IDLE_NS);
        if (metric("\nrunnel_run_memory_claimed_bytes ") || metric("runnel_run_memory_waiting{kind=\"job\"} ") ||
            metric("runnel_run_memory_waiting{kind=\"service\"} ") || w.runtime.memory_bytes)
            fail_msg("%s %zu: something is still claimed or waited for", fault_name(what), n);
        assert_true(w.runtime.memory_most <= HOST);
        struct ran again = run_job("work");
        world_run(&w, 15 * NS_PER_S);
        assert_int_equal(count_of(&again, "succeededCount"), 4);
        teardown(NULL);
        if (!failed) {
            assert_true(n > 5);
            return;
        }
    }
}

static void test_nothing_stays_claimed_when_memory_runs_out(void **state) { with_one_fault(FAULT_ALLOC); }

static void test_nothing_stays_claimed_when_the_store_refuses(void **state) { with_one_fault(FAULT_WRITE); }

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_tasks_run_while_they_fit),
        CASE(test_without_a_limit_all_run_at_once),
        CASE(test_what_does_not_fit_together_runs_one_after_the_other),
        CASE(test_jobs_share_by_their_weights),
        CASE(test_who_gives_up_waiting_stands_in_nobodys_way),
        CASE(test_a_deleted_job_gives_back_what_it_had),
        CASE(test_a_crash_claims_anew),
        CASE(test_a_service_from_zero_gets_the_memory_that_comes_free),
        CASE(test_a_service_in_use_keeps_what_it_has),
        CASE(test_a_waiting_request_gives_up_and_so_does_its_claim),
        CASE(test_a_rollout_waits_for_memory_and_says_so),
        CASE(test_two_services_take_turns_on_memory_for_one),
        CASE(test_the_weight_of_a_service),
        CASE(test_on_a_smaller_host_it_is_said_at_once),
        cmocka_unit_test(test_nothing_stays_claimed_when_memory_runs_out),
        cmocka_unit_test(test_nothing_stays_claimed_when_the_store_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

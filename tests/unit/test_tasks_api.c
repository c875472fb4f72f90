/** test_tasks_api.c: the Cloud Tasks methods of queues, every error of the interface, changes at once, failures and the end: through the
 *  registry, on a fake clock and an in-memory store. Tasks themselves: test_task_api.c. */
#include "broker/queues.h"
#include "tests/unit/tasks_fixture.h"

/* ---- queues ---- */

static void a_queue_has_googles_defaults(void **state)
{
    struct tb tb;
    tb_start(&tb);
    const char *r = tb_call(&tb, ERR_OK, "CloudTasks/CreateQueue", "{\"parent\":\"" LOC "\",\"queue\":{\"name\":\"" QUEUE "\"}}");
    assert_string_equal(r, "{\"name\":\"" QUEUE "\",\"rateLimits\":{\"maxDispatchesPerSecond\":500,\"maxBurstSize\":100,"
                           "\"maxConcurrentDispatches\":1000},\"retryConfig\":{\"maxAttempts\":100,\"minBackoff\":\"0.100s\","
                           "\"maxBackoff\":\"3600s\",\"maxDoublings\":16},\"state\":\"RUNNING\"}");
    says(tb_call(&tb, ERR_OK, "CloudTasks/GetQueue", "{\"name\":\"" QUEUE "\"}"), "\"state\":\"RUNNING\"");
    assert_true(queues_has(tb.queues, QUEUE));
    r = tb_call(&tb, ERR_ALREADY_EXISTS, "CloudTasks/CreateQueue", "{\"parent\":\"" LOC "\",\"queue\":{\"name\":\"" QUEUE "\"}}");
    assert_string_equal(r, "Requested entity already exists");
    tb_restart(&tb, true);
    says(tb_call(&tb, ERR_OK, "CloudTasks/GetQueue", "{\"name\":\"" QUEUE "\"}"), "\"maxBurstSize\":100");
    tb_stop(&tb);
}

static void durations_and_bursts_are_google_s(void **state)
{
    static const struct {
        const char *name, *queue, *want;
    } cases[] = {
        {"a slow queue has a burst of 10", "\"rateLimits\":{\"maxDispatchesPerSecond\":1}", "\"maxBurstSize\":10"},
        {"a burst is a fifth of a second's tasks", "\"rateLimits\":{\"maxDispatchesPerSecond\":100}", "\"maxBurstSize\":20"},
        {"a burst of the client's is not listened to", "\"rateLimits\":{\"maxBurstSize\":7}", "\"maxBurstSize\":100"},
        {"a state of the client's neither", "\"state\":\"PAUSED\"", "\"state\":\"RUNNING\""},
        {"seconds are cut", "\"retryConfig\":{\"maxRetryDuration\":\"90.9s\"}", "\"maxRetryDuration\":\"90s\""},
        {"the least wait too", "\"retryConfig\":{\"minBackoff\":\"1.999s\"}", "\"minBackoff\":\"1s\""},
        {"the longest too", "\"retryConfig\":{\"maxBackoff\":\"20.5s\"}", "\"maxBackoff\":\"20s\""},
        {"but less than one second stays", "\"retryConfig\":{\"minBackoff\":\"0.250s\"}", "\"minBackoff\":\"0.250s\""},
        {"a short maximum takes the minimum along", "\"retryConfig\":{\"maxBackoff\":\"0.050s\"}", "\"minBackoff\":\"0.050s\""},
        {"a long minimum takes the maximum along", "\"retryConfig\":{\"minBackoff\":\"7200s\"}", "\"maxBackoff\":\"7200s\""},
        {"unlimited attempts", "\"retryConfig\":{\"maxAttempts\":-1}", "\"maxAttempts\":-1"},
        {"the most at once", "\"rateLimits\":{\"maxConcurrentDispatches\":5000}", "\"maxConcurrentDispatches\":5000"},
        {"logging of nothing is nothing", "\"stackdriverLoggingConfig\":{}", "\"state\":\"RUNNING\"}"},
    };
    struct tb tb;
    tb_start(&tb);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *r = tb_call(&tb, ERR_OK, "CloudTasks/CreateQueue",
                                "{\"parent\":\"" LOC "\",\"queue\":{\"name\":\"" LOC "/queues/q%zu\",%s}}", i, cases[i].queue);
        if (!strstr(r, cases[i].want))
            fail_msg("case \"%s\": %s", cases[i].name, r);
    }
    tb_stop(&tb);
}

static void updates(void **state)
{
    struct tb tb;
    setup(&tb, ",\"rateLimits\":{\"maxConcurrentDispatches\":7},\"retryConfig\":{\"maxAttempts\":3}");
    tb_call(&tb, ERR_OK, "CloudTasks/PauseQueue", "{\"name\":\"" QUEUE "\"}");
    const char *r =
        tb_call(&tb, ERR_OK, "CloudTasks/UpdateQueue",
                "{\"queue\":{\"name\":\"" QUEUE "\",\"rateLimits\":{\"maxDispatchesPerSecond\":50,\"maxConcurrentDispatches\":9}},"
                "\"updateMask\":\"rate_limits.max_dispatches_per_second\"}");
    says(r, "\"maxDispatchesPerSecond\":50,\"maxBurstSize\":10,\"maxConcurrentDispatches\":7");
    says(r, "\"maxAttempts\":3");
    says(r, "\"state\":\"PAUSED\"");
    r = tb_call(&tb, ERR_OK, "CloudTasks/UpdateQueue",
                "{\"queue\":{\"name\":\"" QUEUE "\",\"rateLimits\":{\"maxDispatchesPerSecond\":60}},"
                "\"updateMask\":\"rateLimits.maxDispatchesPerSecond\"}");
    says(r, "\"maxDispatchesPerSecond\":60,\"maxBurstSize\":12,\"maxConcurrentDispatches\":7");
    r = tb_call(&tb, ERR_OK, "CloudTasks/UpdateQueue", "{\"queue\":{\"name\":\"" QUEUE "\"},\"updateMask\":\"retryConfig.maxAttempts\"}");
    says(r, "\"maxAttempts\":100"); /* named and not given: the default again */
    r = tb_call(&tb, ERR_OK, "CloudTasks/UpdateQueue",
                "{\"queue\":{\"name\":\"" QUEUE "\",\"state\":\"RUNNING\",\"purgeTime\":\"2020-01-01T00:00:00Z\","
                "\"rateLimits\":{\"maxBurstSize\":3}},\"updateMask\":\"state,purgeTime,name,rateLimits.maxBurstSize\"}");
    says(r, "\"state\":\"PAUSED\"");
    says(r, "\"maxBurstSize\":12");
    assert_null(strstr(r, "purgeTime"));
    r = tb_call(&tb, ERR_OK, "CloudTasks/UpdateQueue", "{\"queue\":{\"name\":\"" QUEUE "\",\"retryConfig\":{\"maxAttempts\":4}}}");
    says(r, "\"maxConcurrentDispatches\":1000"); /* without a mask all fields are set */
    says(r, "\"maxAttempts\":4");
    tb_restart(&tb, true);
    r = tb_call(&tb, ERR_OK, "CloudTasks/GetQueue", "{\"name\":\"" QUEUE "\"}");
    says(r, "\"maxAttempts\":4");
    says(r, "\"state\":\"PAUSED\"");
    r = tb_call(&tb, ERR_OK, "CloudTasks/UpdateQueue",
                "{\"queue\":{\"name\":\"" LOC "/queues/new\",\"retryConfig\":{\"maxAttempts\":5}},\"updateMask\":\"retryConfig\"}");
    says(r, "\"maxAttempts\":5"); /* made, since there was none */
    says(r, "\"state\":\"RUNNING\"");
    says(tb_call(&tb, ERR_OK, "CloudTasks/GetQueue", "{\"name\":\"" LOC "/queues/new\"}"), "\"maxAttempts\":5");
    tb_stop(&tb);
}

static void pause_resume_and_purge(void **state)
{
    struct tb tb;
    setup(&tb, "");
    says(tb_call(&tb, ERR_OK, "CloudTasks/PauseQueue", "{\"name\":\"" QUEUE "\"}"), "\"state\":\"PAUSED\"");
    says(tb_call(&tb, ERR_OK, "CloudTasks/PauseQueue", "{\"name\":\"" QUEUE "\"}"), "\"state\":\"PAUSED\"");
    tb_call(&tb, ERR_OK, "CloudTasks/CreateTask", "{\"parent\":\"" QUEUE "\",\"task\":{\"name\":\"" TASKS "old\"," HTTP "}}");
    tb_advance(&tb, 60 * NS_PER_S);
    assert_int_equal(tb.tasks.started, 0);
    tb_call(&tb, ERR_OK, "CloudTasks/RunTask", "{\"name\":\"" TASKS "old\"}"); /* also of a paused queue */
    tb_advance(&tb, NS_PER_S);
    assert_int_equal(tb.tasks.started, 1);
    tb_settle(&tb, 0, 500);
    tb_advance(&tb, NS_PER_S);
    says(tb_call(&tb, ERR_OK, "CloudTasks/PurgeQueue", "{\"name\":\"" QUEUE "\"}"), "\"purgeTime\":\"2026-01-01T00:01:02Z\"");
    says(tb_call(&tb, ERR_NOT_FOUND, "CloudTasks/GetTask", "{\"name\":\"" TASKS "old\"}"), TASKS "old");
    tb_advance(&tb, NS_PER_S);
    tb_call(&tb, ERR_OK, "CloudTasks/CreateTask", "{\"parent\":\"" QUEUE "\",\"task\":{\"name\":\"" TASKS "fresh\"," HTTP "}}");
    says(tb_call(&tb, ERR_OK, "CloudTasks/ResumeQueue", "{\"name\":\"" QUEUE "\"}"), "\"state\":\"RUNNING\"");
    tb_advance(&tb, NS_PER_S);
    assert_int_equal(tb.tasks.started, 2);
    assert_string_equal(tb.tasks.runs[0]->record->task->name, TASKS "fresh");
    tb_settle(&tb, 0, 200);
    tb_advance(&tb, NS_PER_S);
    says(tb_call(&tb, ERR_NOT_FOUND, "CloudTasks/GetTask", "{\"name\":\"" TASKS "fresh\"}"), "Task does not exist");
    tb_stop(&tb);
}

static void make_named(struct tb *tb, const char *id)
{
    tb_call(tb, ERR_OK, "CloudTasks/CreateTask", "{\"parent\":\"" QUEUE "\",\"task\":{\"name\":\"" TASKS "%s\"," HTTP "}}", id);
}

static void a_purge_takes_what_was_there_though_the_clock_was_set_back(void **state)
{
    struct tb tb;
    setup(&tb, "");
    tb_call(&tb, ERR_OK, "CloudTasks/PauseQueue", "{\"name\":\"" QUEUE "\"}");
    make_named(&tb, "old");
    tb.fe.clock.wall_ns -= 3600 * NS_PER_S;
    tb_call(&tb, ERR_OK, "CloudTasks/PurgeQueue", "{\"name\":\"" QUEUE "\"}");
    tb_call(&tb, ERR_NOT_FOUND, "CloudTasks/GetTask", "{\"name\":\"" TASKS "old\"}");
    make_named(&tb, "fresh"); /* by the clock it was made before that purge */
    tb_call(&tb, ERR_OK, "CloudTasks/GetTask", "{\"name\":\"" TASKS "fresh\"}");
    tb_restart(&tb, true);
    tb_call(&tb, ERR_OK, "CloudTasks/GetTask", "{\"name\":\"" TASKS "fresh\"}");
    tb_call(&tb, ERR_OK, "CloudTasks/PurgeQueue", "{\"name\":\"" QUEUE "\"}");
    tb_call(&tb, ERR_NOT_FOUND, "CloudTasks/GetTask", "{\"name\":\"" TASKS "fresh\"}");
    tb_restart(&tb, true);
    tb_call(&tb, ERR_NOT_FOUND, "CloudTasks/GetTask", "{\"name\":\"" TASKS "fresh\"}");
    tb_stop(&tb);
}

static void a_purge_goes_by_the_exact_time(void **state)
{
    struct tb tb;
    setup(&tb, "");
    tb_call(&tb, ERR_OK, "CloudTasks/PauseQueue", "{\"name\":\"" QUEUE "\"}");
    tb_call(&tb, ERR_OK, "CloudTasks/CreateTask", "{\"parent\":\"" QUEUE "\",\"task\":{\"name\":\"" TASKS "old\"," HTTP "}}");
    tb_call(&tb, ERR_OK, "CloudTasks/PurgeQueue", "{\"name\":\"" QUEUE "\"}"); /* at the same instant */
    tb_call(&tb, ERR_NOT_FOUND, "CloudTasks/GetTask", "{\"name\":\"" TASKS "old\"}");
    fake_clock_move(&tb.fe.clock, 1000);
    tb_call(&tb, ERR_OK, "CloudTasks/CreateTask", "{\"parent\":\"" QUEUE "\",\"task\":{\"name\":\"" TASKS "fresh\"," HTTP "}}");
    tb_restart(&tb, true);
    tb_call(&tb, ERR_NOT_FOUND, "CloudTasks/GetTask", "{\"name\":\"" TASKS "old\"}");
    tb_call(&tb, ERR_OK, "CloudTasks/GetTask", "{\"name\":\"" TASKS "fresh\"}");
    tb_stop(&tb);
}

static void a_deleted_queue_takes_its_tasks_along(void **state)
{
    struct tb tb;
    setup(&tb, "");
    make_task(&tb, "t1");
    tb_call(&tb, ERR_OK, "CloudTasks/DeleteQueue", "{\"name\":\"" QUEUE "\"}");
    assert_string_equal(tb.gone, QUEUE);
    assert_false(queues_has(tb.queues, QUEUE));
    assert_string_equal(tb_call(&tb, ERR_NOT_FOUND, "CloudTasks/GetQueue", "{\"name\":\"" QUEUE "\"}"), QUEUE_MISSING);
    assert_string_equal(tb_call(&tb, ERR_NOT_FOUND, "CloudTasks/GetTask", "{\"name\":\"" TASKS "t1\"}"), QUEUE_MISSING);
    make_queue(&tb, ""); /* at once: no hold was asked for */
    assert_string_equal(tb_call(&tb, ERR_OK, "CloudTasks/ListTasks", "{\"parent\":\"" QUEUE "\"}"), "{}");
    make_task(&tb, "t1");
    tb_restart(&tb, true);
    assert_int_equal(tb_count(tb_call(&tb, ERR_OK, "CloudTasks/ListTasks", "{\"parent\":\"" QUEUE "\"}"), "\"name\""), 1);
    tb_advance(&tb, 120 * NS_PER_S);
    assert_int_equal(tb_count(tb_call(&tb, ERR_OK, "CloudTasks/ListTasks", "{\"parent\":\"" QUEUE "\"}"), "\"name\""), 1);
    tb_stop(&tb);
}

static void a_deleted_queues_name_is_held(void **state)
{
    struct tb tb;
    tb_start_with(&tb, &(struct queues_config){.name_hold_ns = 7 * DAY_NS});
    make_queue(&tb, "");
    tb_call(&tb, ERR_OK, "CloudTasks/DeleteQueue", "{\"name\":\"" QUEUE "\"}");
    for (int i = 0; i < 3; i++) {
        const char *r =
            tb_call(&tb, ERR_FAILED_PRECONDITION, "CloudTasks/CreateQueue", "{\"parent\":\"" LOC "\",\"queue\":{\"name\":\"" QUEUE "\"}}");
        assert_string_equal(r, "The queue cannot be created because a queue with this name existed too recently.");
        says(tb_call(&tb, ERR_FAILED_PRECONDITION, "CloudTasks/UpdateQueue", "{\"queue\":{\"name\":\"" QUEUE "\"}}"), "too recently");
        tb_restart(&tb, i == 0);
        tb_advance(&tb, 3 * DAY_NS);
    }
    make_queue(&tb, ""); /* nine days later */
    tb_stop(&tb);
}

static void lists_of_queues(void **state)
{
    struct tb tb;
    tb_start(&tb);
    for (int i = 0; i < 5; i++)
        tb_call(&tb, ERR_OK, "CloudTasks/CreateQueue", "{\"parent\":\"" LOC "\",\"queue\":{\"name\":\"" LOC "/queues/q%d\"}}", i);
    tb_call(&tb, ERR_OK, "CloudTasks/CreateQueue",
            "{\"parent\":\"projects/test-project/locations/us-central1\",\"queue\":{\"name\":\"projects/test-project/locations/us-central1/"
            "queues/far\"}}");
    tb_call(&tb, ERR_OK, "CloudTasks/PauseQueue", "{\"name\":\"" LOC "/queues/q3\"}");
    tb_call(&tb, ERR_OK, "CloudTasks/UpdateQueue",
            "{\"queue\":{\"name\":\"" LOC
            "/queues/q4\",\"rateLimits\":{\"maxDispatchesPerSecond\":2.5},\"retryConfig\":{\"maxAttempts\":-1,"
            "\"minBackoff\":\"2s\"}}}");
    tb_call(&tb, ERR_OK, "CloudTasks/PurgeQueue", "{\"name\":\"" LOC "/queues/q4\"}");
    const char *r = tb_call(&tb, ERR_OK, "CloudTasks/ListQueues", "{\"parent\":\"" LOC "\"}");
    assert_int_equal(tb_count(r, "\"name\""), 5);
    assert_null(strstr(r, "nextPageToken"));
    char seen[512];
    list_all(&tb, "CloudTasks/ListQueues", LOC, seen, sizeof seen);
    assert_string_equal(seen, "/q0/q1/q2/q3/q4");
    static const struct {
        const char *filter;
        size_t want;
    } filters[] = {{"state: PAUSED", 1},
                   {"state=PAUSED", 1},
                   {"state:paused", 1},
                   {"state != PAUSED", 4},
                   {"-state:PAUSED", 4},
                   {"NOT state:PAUSED", 4},
                   {"name:q3", 1},
                   {"state:RUNNING AND name:q1", 1},
                   {"state:RUNNING name:queues", 4},
                   {"-NOT state:PAUSED", 1},
                   {"NOT state!=PAUSED", 1},
                   {"name=\\\"" LOC "/queues/q2\\\"", 1},
                   {"name:Q3", 1}, /* whatever the case */
                   {"name:\\\"q\\\\3\\\"", 1},
                   {"state:PAUSED OR name:q1", 2},
                   {"name:q1 OR name:q2 state:PAUSED", 0}, /* OR binds tighter */
                   {"name:q1 OR (name:q3 state:PAUSED)", 2},
                   {"NOT (name:q1 OR -state:RUNNING)", 3},
                   {"(((name:q1)))", 1},
                   {"rateLimits.maxDispatchesPerSecond = 500", 4},
                   {"rate_limits.max_dispatches_per_second<500", 1},
                   {"rateLimits.maxDispatchesPerSecond>=2.5 AND rateLimits.maxBurstSize<=10", 1},
                   {"rateLimits.maxDispatchesPerSecond:2.5", 1},
                   {"retryConfig.maxAttempts > 99", 4},
                   {"retryConfig.maxAttempts:-1", 1},
                   {"retryConfig.minBackoff >= 2s", 1},
                   {"retryConfig.minBackoff < 1.5s", 4},
                   {"purgeTime:*", 1},
                   {"purgeTime > 2026-01-01T00:00:00Z", 0},
                   {"purgeTime <= \\\"2026-01-01T00:00:00Z\\\"", 1},
                   {"purgeTime != 2026-01-01T00:00:00Z", 4}, /* where it is not set, it is not that */
                   {"NOT purgeTime < 2030-01-01T00:00:00Z", 4},
                   {"rateLimits:*", 5},
                   {"httpTarget:*", 0},
                   {"state:2", 1}};
    for (size_t i = 0; i < ARRAY_LEN(filters); i++) {
        r = tb_call(&tb, ERR_OK, "CloudTasks/ListQueues", "{\"parent\":\"" LOC "\",\"filter\":\"%s\"}", filters[i].filter);
        CASE_INT(filters[i].filter, tb_count(r, "\"name\""), filters[i].want);
    }
    tb_stop(&tb);
}

static void page_tokens_last_two_hours(void **state)
{
    struct tb tb;
    setup(&tb, "");
    tb_call(&tb, ERR_OK, "CloudTasks/CreateQueue", "{\"parent\":\"" LOC "\",\"queue\":{\"name\":\"" LOC "/queues/r\"}}");
    char *token =
        strdup(tb_json(tb_call(&tb, ERR_OK, "CloudTasks/ListQueues", "{\"parent\":\"" LOC "\",\"pageSize\":1}"), "nextPageToken", 0));
    says(tb_call(&tb, ERR_INVALID_ARGUMENT, "CloudTasks/ListQueues", "{\"parent\":\"" LOC "\",\"filter\":\"name:q\",\"pageToken\":\"%s\"}",
                 token),
         "pageToken"); /* of another filter */
    tb_advance(&tb, 7200 * NS_PER_S);
    tb_call(&tb, ERR_OK, "CloudTasks/ListQueues", "{\"parent\":\"" LOC "\",\"pageToken\":\"%s\"}", token);
    tb_advance(&tb, NS_PER_S);
    says(tb_call(&tb, ERR_INVALID_ARGUMENT, "CloudTasks/ListQueues", "{\"parent\":\"" LOC "\",\"pageToken\":\"%s\"}", token), "expired");
    free(token);
    tb_stop(&tb);
}

static void locations(void **state)
{
    struct tb tb;
    tb_start_with(&tb, &(struct queues_config){.region = "europe-north1"});
    make_queue(&tb, "");
    tb_call(&tb, ERR_OK, "CloudTasks/CreateQueue", "{\"parent\":\"" LOC "\",\"queue\":{\"name\":\"" LOC "/queues/r\"}}");
    const char *r = tb_call(&tb, ERR_OK, "Locations/ListLocations", "{\"name\":\"projects/test-project\",\"pageSize\":100}");
    assert_int_equal(tb_count(r, "\"locationId\""), 2);
    assert_string_equal(tb_json(r, "locationId", 0), "europe-north1");
    assert_string_equal(tb_json(r, "name", 1), LOC);
    r = tb_call(&tb, ERR_OK, "Locations/ListLocations", "{\"name\":\"projects/another\"}");
    assert_int_equal(tb_count(r, "\"locationId\""), 1);
    r = tb_call(&tb, ERR_OK, "Locations/GetLocation", "{\"name\":\"" LOC "\"}");
    assert_string_equal(tb_json(r, "locationId", 0), "europe-west1");
    tb_stop(&tb);
}

/* ---- bad input ---- */

static const struct {
    const char *name, *method, *json;
    enum err_code want;
    const char *says;
} refused[] = {
    {"a queue without a location", CREATE_QUEUE, "{\"parent\":\"projects/p\",\"queue\":{\"name\":\"" QUEUE "\"}}", ERR_INVALID_ARGUMENT,
     "parent: \"projects/p\""},
    {"no queue", CREATE_QUEUE, "{\"parent\":\"" LOC "\"}", ERR_INVALID_ARGUMENT, "queue: must be given"},
    {"a queue without a name", CREATE_QUEUE, "{\"parent\":\"" LOC "\",\"queue\":{}}", ERR_INVALID_ARGUMENT, "queue.name"},
    {"a queue with an underscore", CREATE_QUEUE, "{\"parent\":\"" LOC "\",\"queue\":{\"name\":\"" LOC "/queues/a_b\"}}",
     ERR_INVALID_ARGUMENT, "letters, digits or hyphens"},
    {"a queue elsewhere", CREATE_QUEUE, "{\"parent\":\"" LOC "\",\"queue\":{\"name\":\"projects/test-project/locations/x/queues/q\"}}",
     ERR_INVALID_ARGUMENT, "is not in " LOC},
    {"a queue that is there", CREATE_QUEUE, "{\"parent\":\"" LOC "\",\"queue\":{\"name\":\"" QUEUE "\"}}", ERR_ALREADY_EXISTS,
     "Requested entity already exists"},
    {"App Engine routing", CREATE_QUEUE, NEW_QUEUE("\"appEngineRoutingOverride\":{\"service\":\"s\"}"), ERR_UNIMPLEMENTED,
     "app_engine_routing_override: there is no App Engine here"},
    {"overrides of the target", CREATE_QUEUE, NEW_QUEUE("\"httpTarget\":{\"httpMethod\":\"GET\"}"), ERR_UNIMPLEMENTED, "http_target"},
    {"logging", CREATE_QUEUE, NEW_QUEUE("\"stackdriverLoggingConfig\":{\"samplingRatio\":1}"), ERR_UNIMPLEMENTED,
     "stackdriver_logging_config"},
    {"501 a second", CREATE_QUEUE, NEW_QUEUE("\"rateLimits\":{\"maxDispatchesPerSecond\":501}"), ERR_INVALID_ARGUMENT,
     "max_dispatches_per_second: 501"},
    {"a negative rate", CREATE_QUEUE, NEW_QUEUE("\"rateLimits\":{\"maxDispatchesPerSecond\":-1}"), ERR_INVALID_ARGUMENT,
     "max_dispatches_per_second"},
    {"no number as a rate", CREATE_QUEUE, NEW_QUEUE("\"rateLimits\":{\"maxDispatchesPerSecond\":\"NaN\"}"), ERR_INVALID_ARGUMENT,
     "max_dispatches_per_second"},
    {"5001 at once", CREATE_QUEUE, NEW_QUEUE("\"rateLimits\":{\"maxConcurrentDispatches\":5001}"), ERR_INVALID_ARGUMENT,
     "max_concurrent_dispatches"},
    {"-1 at once", CREATE_QUEUE, NEW_QUEUE("\"rateLimits\":{\"maxConcurrentDispatches\":-1}"), ERR_INVALID_ARGUMENT,
     "max_concurrent_dispatches"},
    {"-2 attempts", CREATE_QUEUE, NEW_QUEUE("\"retryConfig\":{\"maxAttempts\":-2}"), ERR_INVALID_ARGUMENT, "max_attempts"},
    {"-1 doublings", CREATE_QUEUE, NEW_QUEUE("\"retryConfig\":{\"maxDoublings\":-1}"), ERR_INVALID_ARGUMENT, "max_doublings"},
    {"a negative wait", CREATE_QUEUE, NEW_QUEUE("\"retryConfig\":{\"minBackoff\":\"-1s\"}"), ERR_INVALID_ARGUMENT, "min_backoff"},
    {"a negative longest wait", CREATE_QUEUE, NEW_QUEUE("\"retryConfig\":{\"maxBackoff\":\"-0.5s\"}"), ERR_INVALID_ARGUMENT, "max_backoff"},
    {"retries for 20 years", CREATE_QUEUE, NEW_QUEUE("\"retryConfig\":{\"maxRetryDuration\":\"630720000s\"}"), ERR_INVALID_ARGUMENT,
     "max_retry_duration"},
    {"a minimum above the maximum", CREATE_QUEUE, NEW_QUEUE("\"retryConfig\":{\"minBackoff\":\"9s\",\"maxBackoff\":\"8s\"}"),
     ERR_INVALID_ARGUMENT, "min_backoff (9s) is longer than max_backoff (8s)"},
    {"an update of nothing", "CloudTasks/UpdateQueue", "{}", ERR_INVALID_ARGUMENT, "queue: must be given"},
    {"an update of no name", "CloudTasks/UpdateQueue", "{\"queue\":{\"name\":\"q\"}}", ERR_INVALID_ARGUMENT, "queue.name"},
    {"an update of an unknown field", "CloudTasks/UpdateQueue", "{\"queue\":{\"name\":\"" QUEUE "\"},\"updateMask\":\"colour\"}",
     ERR_INVALID_ARGUMENT, "colour"},
    {"an update to App Engine", "CloudTasks/UpdateQueue",
     "{\"queue\":{\"name\":\"" QUEUE "\",\"appEngineRoutingOverride\":{}},\"updateMask\":\"appEngineRoutingOverride\"}", ERR_UNIMPLEMENTED,
     "App Engine"},
    {"an update to too much", "CloudTasks/UpdateQueue",
     "{\"queue\":{\"name\":\"" QUEUE "\",\"rateLimits\":{\"maxDispatchesPerSecond\":501}}}", ERR_INVALID_ARGUMENT, "501"},
    {"a pause of nothing", "CloudTasks/PauseQueue", "{\"name\":\"" QUEUE "x\"}", ERR_NOT_FOUND, QUEUE_MISSING},
    {"a pause of no name", "CloudTasks/PauseQueue", "{\"name\":\"x\"}", ERR_INVALID_ARGUMENT, "name: \"x\""},
    {"a resume of nothing", "CloudTasks/ResumeQueue", "{\"name\":\"" QUEUE "x\"}", ERR_NOT_FOUND, QUEUE_MISSING},
    {"a purge of nothing", "CloudTasks/PurgeQueue", "{\"name\":\"" QUEUE "x\"}", ERR_NOT_FOUND, QUEUE_MISSING},
    {"a deletion of nothing", "CloudTasks/DeleteQueue", "{\"name\":\"" QUEUE "x\"}", ERR_NOT_FOUND, QUEUE_MISSING},
    {"a deletion of no name", "CloudTasks/DeleteQueue", "{\"name\":\"" TASKS "x\"}", ERR_INVALID_ARGUMENT, "queues/QUEUE"},
    {"an unknown queue", "CloudTasks/GetQueue", "{\"name\":\"" QUEUE "x\"}", ERR_NOT_FOUND, QUEUE_MISSING},
    {"no queue's name", "CloudTasks/GetQueue", "{\"name\":\"\"}", ERR_INVALID_ARGUMENT, "name"},
    {"a list of nowhere", "CloudTasks/ListQueues", "{\"parent\":\"projects/p\"}", ERR_INVALID_ARGUMENT, "locations/LOCATION"},
    {"a list of all locations", "CloudTasks/ListQueues", "{\"parent\":\"projects/p/locations/-\"}", ERR_INVALID_ARGUMENT,
     "Location '-' is not a valid location. Use ListLocations"},
    {"a queue in all locations", CREATE_QUEUE,
     "{\"parent\":\"projects/p/locations/-\",\"queue\":{\"name\":\"projects/p/locations/-/queues/q\"}}", ERR_INVALID_ARGUMENT,
     "Location '-'"},
    {"an update in all locations", "CloudTasks/UpdateQueue", "{\"queue\":{\"name\":\"projects/p/locations/-/queues/q\"}}",
     ERR_INVALID_ARGUMENT, "queue.name"},
    {"all locations as one", "Locations/GetLocation", "{\"name\":\"projects/p/locations/-\"}", ERR_INVALID_ARGUMENT, "Location '-'"},
    {"a filter by something else", "CloudTasks/ListQueues", "{\"parent\":\"" LOC "\",\"filter\":\"rateLimits.colour:1\"}",
     ERR_INVALID_ARGUMENT, "\"rateLimits.colour\" is no field of a queue"},
    {"a filter by more than a field", "CloudTasks/ListQueues", "{\"parent\":\"" LOC "\",\"filter\":\"name.x:1\"}", ERR_INVALID_ARGUMENT,
     "is no field of a queue"},
    {"a filter by many fields", "CloudTasks/ListQueues", "{\"parent\":\"" LOC "\",\"filter\":\"rateLimits = 1\"}", ERR_INVALID_ARGUMENT,
     "ask whether it is set by rateLimits:*"},
    {"a filter by an order that there is not", "CloudTasks/ListQueues", "{\"parent\":\"" LOC "\",\"filter\":\"state > PAUSED\"}",
     ERR_INVALID_ARGUMENT, "operators : = !="},
    {"a filter with another operator", "CloudTasks/ListQueues", "{\"parent\":\"" LOC "\",\"filter\":\"state ~ PAUSED\"}",
     ERR_INVALID_ARGUMENT, "operators : = != < <="},
    {"a filter with a regular expression", "CloudTasks/ListQueues", "{\"parent\":\"" LOC "\",\"filter\":\"name =~ x\"}",
     ERR_INVALID_ARGUMENT, "operators : = != < <="},
    {"a filter without a value", "CloudTasks/ListQueues", "{\"parent\":\"" LOC "\",\"filter\":\"state:\"}", ERR_INVALID_ARGUMENT, "value"},
    {"a filter with an open quote", "CloudTasks/ListQueues", "{\"parent\":\"" LOC "\",\"filter\":\"name:\\\"q\"}", ERR_INVALID_ARGUMENT,
     "closing quote"},
    {"a filter by an unknown state", "CloudTasks/ListQueues", "{\"parent\":\"" LOC "\",\"filter\":\"state:IDLE\"}", ERR_INVALID_ARGUMENT,
     "filter: state: \"IDLE\""},
    {"a filter by no number", "CloudTasks/ListQueues", "{\"parent\":\"" LOC "\",\"filter\":\"retryConfig.maxAttempts:many\"}",
     ERR_INVALID_ARGUMENT, "filter: retryConfig.maxAttempts"},
    {"a filter by what is not a number", "CloudTasks/ListQueues",
     "{\"parent\":\"" LOC "\",\"filter\":\"rateLimits.maxDispatchesPerSecond:NaN\"}", ERR_INVALID_ARGUMENT, "NaN"},
    {"a filter by no time", "CloudTasks/ListQueues", "{\"parent\":\"" LOC "\",\"filter\":\"purgeTime>today\"}", ERR_INVALID_ARGUMENT,
     "filter: purgeTime"},
    {"a filter with half a parenthesis", "CloudTasks/ListQueues", "{\"parent\":\"" LOC "\",\"filter\":\"(state:PAUSED\"}",
     ERR_INVALID_ARGUMENT, "closing parenthesis is missing"},
    {"a filter with the other half", "CloudTasks/ListQueues", "{\"parent\":\"" LOC "\",\"filter\":\"state:PAUSED)\"}", ERR_INVALID_ARGUMENT,
     "without an opening one"},
    {"a filter that ends with AND", "CloudTasks/ListQueues", "{\"parent\":\"" LOC "\",\"filter\":\"state:PAUSED AND \"}",
     ERR_INVALID_ARGUMENT, "is no field"},
    {"a filter too deep", "CloudTasks/ListQueues", "{\"parent\":\"" LOC "\",\"filter\":\"(((((((((((((((((state:PAUSED)))))))))))))))))\"}",
     ERR_INVALID_ARGUMENT, "more than 16 parentheses"},
    {"a bad page token", "CloudTasks/ListQueues", "{\"parent\":\"" LOC "\",\"pageToken\":\"xyz\"}", ERR_INVALID_ARGUMENT, "pageToken"},
    {"a negative page", "CloudTasks/ListQueues", "{\"parent\":\"" LOC "\",\"pageSize\":-1}", ERR_INVALID_ARGUMENT, "pageSize"},
    {"locations of no project", "Locations/ListLocations", "{\"name\":\"x\"}", ERR_INVALID_ARGUMENT, "projects/PROJECT"},
    {"locations with a filter", "Locations/ListLocations", "{\"name\":\"projects/p\",\"filter\":\"x\"}", ERR_INVALID_ARGUMENT, "filter"},
    {"locations with a token", "Locations/ListLocations", "{\"name\":\"projects/p\",\"pageToken\":\"x\"}", ERR_INVALID_ARGUMENT,
     "pageToken"},
    {"no location", "Locations/GetLocation", "{\"name\":\"projects/p\"}", ERR_INVALID_ARGUMENT, "locations/LOCATION"},

    {"a task in no queue", CREATE_TASK, "{\"parent\":\"" QUEUE "x\",\"task\":{" HTTP "}}", ERR_NOT_FOUND, QUEUE_MISSING},
    {"a task in no name", CREATE_TASK, "{\"parent\":\"q\",\"task\":{" HTTP "}}", ERR_INVALID_ARGUMENT, "parent"},
    {"no task", CREATE_TASK, "{\"parent\":\"" QUEUE "\"}", ERR_INVALID_ARGUMENT, "task: must be given"},
    {"a task without a target", CREATE_TASK, NEW_TASK("\"dispatchDeadline\":\"20s\""), ERR_INVALID_ARGUMENT,
     "task.http_request: must be given"},
    {"a task for App Engine", CREATE_TASK, NEW_TASK("\"appEngineHttpRequest\":{\"relativeUri\":\"/\"}"), ERR_UNIMPLEMENTED,
     "task.app_engine_http_request: there is no App Engine here; use http_request"},
    {"a task without a URL", CREATE_TASK, NEW_TASK("\"httpRequest\":{}"), ERR_INVALID_ARGUMENT, "task.http_request.url: must be given"},
    {"a task with a password in its URL", CREATE_TASK, NEW_TASK("\"httpRequest\":{\"url\":\"http://me:pw@x/\"}"), ERR_INVALID_ARGUMENT,
     "task.http_request.url: the URL holds a user name"},
    {"a task with another scheme", CREATE_TASK, NEW_TASK("\"httpRequest\":{\"url\":\"ftp://x/\"}"), ERR_INVALID_ARGUMENT,
     "task.http_request.url"},
    {"a task with a bad id", CREATE_TASK, NEW_TASK("\"name\":\"" TASKS "a.b\"," HTTP), ERR_INVALID_ARGUMENT, "task.name"},
    {"a task of another queue", CREATE_TASK, NEW_TASK("\"name\":\"" LOC "/queues/other/tasks/t\"," HTTP), ERR_INVALID_ARGUMENT,
     "is not in " QUEUE},
    {"a task beyond 30 days", CREATE_TASK, NEW_TASK("\"scheduleTime\":\"2026-01-31T00:00:01Z\"," HTTP), ERR_INVALID_ARGUMENT,
     "too far in the future. Schedule time must be no more than 720h in the future."},
    {"a deadline of 14 s", CREATE_TASK, NEW_TASK("\"dispatchDeadline\":\"14.9s\"," HTTP), ERR_INVALID_ARGUMENT,
     "task.dispatch_deadline: 14.9s; 15s to 1800s"},
    {"a deadline of 31 m", CREATE_TASK, NEW_TASK("\"dispatchDeadline\":\"1801s\"," HTTP), ERR_INVALID_ARGUMENT, "dispatch_deadline"},
    {"an unknown method", CREATE_TASK, NEW_HTTP("\"httpMethod\":\"FETCH\""), ERR_INVALID_ARGUMENT, "httpMethod"},
    {"a number that is no method", CREATE_TASK, NEW_HTTP("\"httpMethod\":99"), ERR_INVALID_ARGUMENT, "ethod"},
    {"a GET with a body", CREATE_TASK, NEW_HTTP("\"httpMethod\":\"GET\",\"body\":\"eA==\""), ERR_INVALID_ARGUMENT,
     "task.http_request.body: a GET request has none"},
    {"a DELETE with a body", CREATE_TASK, NEW_HTTP("\"httpMethod\":\"DELETE\",\"body\":\"eA==\""), ERR_INVALID_ARGUMENT, "DELETE"},
    {"a header that is none", CREATE_TASK, NEW_HTTP("\"headers\":{\"a b\":\"x\"}"), ERR_INVALID_ARGUMENT, "\"a b\" is not a header's name"},
    {"a header with a line end", CREATE_TASK, NEW_HTTP("\"headers\":{\"a\":\"x\\r\\ny: z\"}"), ERR_INVALID_ARGUMENT, "headers[\"a\"]"},
    {"a priority of 10", CREATE_TASK, NEW_HTTP("\"headers\":{\"Runnel-Priority\":\"10\"}"), ERR_INVALID_ARGUMENT,
     "\"10\" is not a priority; 0 to 9 are allowed"},
    {"a priority of nothing", CREATE_TASK, NEW_HTTP("\"headers\":{\"runnel-priority\":\"\"}"), ERR_INVALID_ARGUMENT, "priority"},
    {"an identity token of nobody", CREATE_TASK, NEW_HTTP("\"oidcToken\":{\"audience\":\"x\"}"), ERR_INVALID_ARGUMENT,
     "oidc_token.service_account_email"},
    {"an access token of nobody", CREATE_TASK, NEW_HTTP("\"oauthToken\":{\"scope\":\"x\"}"), ERR_INVALID_ARGUMENT,
     "oauth_token.service_account_email"},
    {"an account that is none", CREATE_TASK, NEW_HTTP("\"oidcToken\":{\"serviceAccountEmail\":\"me\"}"), ERR_INVALID_ARGUMENT,
     "oidc_token.service_account_email: \"me\""},
    {"an account with a space", CREATE_TASK, NEW_HTTP("\"oauthToken\":{\"serviceAccountEmail\":\"a b@c\"}"), ERR_INVALID_ARGUMENT,
     "oauth_token.service_account_email"},
    {"a URL with a line end", CREATE_TASK, NEW_TASK("\"httpRequest\":{\"url\":\"http://x/\\n\"}"), ERR_INVALID_ARGUMENT, "code 10"},
    {"an unknown view", CREATE_TASK, "{\"parent\":\"" QUEUE "\",\"responseView\":7,\"task\":{" HTTP "}}", ERR_INVALID_ARGUMENT,
     "esponseView"},
    {"an unknown task", "CloudTasks/GetTask", "{\"name\":\"" TASKS "x\"}", ERR_NOT_FOUND, "Task does not exist (resource=" TASKS "x)"},
    {"a task of an unknown queue", "CloudTasks/GetTask", "{\"name\":\"" QUEUE "x/tasks/x\"}", ERR_NOT_FOUND, QUEUE_MISSING},
    {"no task's name", "CloudTasks/GetTask", "{\"name\":\"" QUEUE "\"}", ERR_INVALID_ARGUMENT, "tasks/TASK"},
    {"a deletion of no task", "CloudTasks/DeleteTask", "{\"name\":\"" TASKS "x\"}", ERR_NOT_FOUND, "Task does not exist"},
    {"a run of no task", "CloudTasks/RunTask", "{\"name\":\"" TASKS "x\"}", ERR_NOT_FOUND, "Task does not exist"},
    {"a list of no queue's tasks", "CloudTasks/ListTasks", "{\"parent\":\"" QUEUE "x\"}", ERR_NOT_FOUND, QUEUE_MISSING},
    {"a list of no name's tasks", "CloudTasks/ListTasks", "{\"parent\":\"x\"}", ERR_INVALID_ARGUMENT, "parent"},
    {"a bad token of tasks", "CloudTasks/ListTasks", "{\"parent\":\"" QUEUE "\",\"pageToken\":\"xyz\"}", ERR_INVALID_ARGUMENT, "pageToken"},

    {"an empty batch", "Tasks/BatchCreateTasks", "{\"parent\":\"" QUEUE "\"}", ERR_INVALID_ARGUMENT, "tasks: 0; 1 to 1000"},
    {"a batch for no queue", "Tasks/BatchCreateTasks", "{\"parent\":\"" QUEUE "x\",\"tasks\":[{}]}", ERR_NOT_FOUND, QUEUE_MISSING},
    {"settings of a queue's name", "Tasks/GetQueueSettings", "{\"name\":\"" QUEUE "\"}", ERR_INVALID_ARGUMENT, "/settings"},
    {"settings of no queue", "Tasks/GetQueueSettings", "{\"name\":\"" QUEUE "x/settings\"}", ERR_NOT_FOUND, QUEUE_MISSING},
    {"no settings", "Tasks/UpdateQueueSettings", "{}", ERR_INVALID_ARGUMENT, "settings: must be given"},
    {"-1 of a key", "Tasks/UpdateQueueSettings", "{\"settings\":{\"name\":\"" QUEUE "/settings\",\"keyConcurrent\":-1}}",
     ERR_INVALID_ARGUMENT, "key_concurrent"},
    {"dead letters for 2 years", "Tasks/UpdateQueueSettings", "{\"settings\":{\"name\":\"" QUEUE "/settings\",\"deadKeep\":\"63072000s\"}}",
     ERR_INVALID_ARGUMENT, "dead_keep"},
    {"too many dead letters", "Tasks/UpdateQueueSettings", "{\"settings\":{\"name\":\"" QUEUE "/settings\",\"deadMax\":1000001}}",
     ERR_INVALID_ARGUMENT, "dead_max"},
    {"an unknown setting", "Tasks/UpdateQueueSettings", "{\"settings\":{\"name\":\"" QUEUE "/settings\"},\"updateMask\":\"colour\"}",
     ERR_INVALID_ARGUMENT, "colour"},
    {"figures of no queue", "Tasks/GetQueueStats", "{\"name\":\"" QUEUE "x\"}", ERR_NOT_FOUND, QUEUE_MISSING},
    {"figures of no name", "Tasks/GetQueueStats", "{\"name\":\"x\"}", ERR_INVALID_ARGUMENT, "name"},
    {"the timeline of no task", "Tasks/GetTaskTimeline", "{\"name\":\"" TASKS "x\"}", ERR_NOT_FOUND, "Task does not exist"},
    {"the timeline of no name", "Tasks/GetTaskTimeline", "{\"name\":\"x\"}", ERR_INVALID_ARGUMENT, "name"},
    {"dead letters of no queue", "Tasks/ListDeadTasks", "{\"parent\":\"" QUEUE "x\"}", ERR_NOT_FOUND, QUEUE_MISSING},
    {"dead letters of no name", "Tasks/ListDeadTasks", "{\"parent\":\"x\"}", ERR_INVALID_ARGUMENT, "parent"},
    {"a redrive of neither", "Tasks/RedriveDeadTasks", "{\"parent\":\"" QUEUE "\"}", ERR_INVALID_ARGUMENT, "either ids or all"},
    {"a redrive of both", "Tasks/RedriveDeadTasks", "{\"parent\":\"" QUEUE "\",\"ids\":[\"a\"],\"all\":true}", ERR_INVALID_ARGUMENT,
     "either ids or all"},
    {"a redrive of no id", "Tasks/RedriveDeadTasks", "{\"parent\":\"" QUEUE "\",\"ids\":[\"a\",\"b/c\"]}", ERR_INVALID_ARGUMENT, "ids[1]"},
    {"a redrive of no queue", "Tasks/RedriveDeadTasks", "{\"parent\":\"" QUEUE "x\",\"all\":true}", ERR_NOT_FOUND, QUEUE_MISSING},
    {"a deletion of neither", "Tasks/DeleteDeadTasks", "{\"parent\":\"" QUEUE "\"}", ERR_INVALID_ARGUMENT, "either ids or all"},
};

static void bad_input_is_refused(void **state)
{
    struct tb tb;
    setup(&tb, "");
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        const char *r = tb_call(&tb, refused[i].want, refused[i].method, "%s", refused[i].json);
        if (!strstr(r, refused[i].says))
            fail_msg("case \"%s\": \"%s\" does not say \"%s\"", refused[i].name, r, refused[i].says);
    }
    /* and nothing was made of it */
    assert_int_equal(tb_count(tb_call(&tb, ERR_OK, "CloudTasks/ListQueues", "{\"parent\":\"" LOC "\"}"), "\"name\""), 1);
    assert_string_equal(tb_call(&tb, ERR_OK, "CloudTasks/ListTasks", "{\"parent\":\"" QUEUE "\"}"), "{}");
    tb_stop(&tb);
}

/* ---- changes at once, failures, the end ---- */

static void one_change_at_a_time(void **state)
{
    struct tb tb;
    tb_start(&tb);
    static const char create[] = "{\"parent\":\"" LOC "\",\"queue\":{\"name\":\"" QUEUE "\"}}";
    struct tb_call *first = tb_begin(&tb, CREATE_QUEUE, create), *second = tb_begin(&tb, CREATE_QUEUE, create);
    assert_false(first->done); /* not before it is durable */
    assert_false(queues_has(tb.queues, QUEUE));
    assert_int_equal(second->call.err.code, ERR_ABORTED);
    says(second->text, "another change to " QUEUE " is under way");
    tb_run(&tb);
    assert_int_equal(first->call.err.code, ERR_OK);
    tb_end(first);
    tb_end(second);
    first = tb_begin(&tb, "CloudTasks/DeleteQueue", "{\"name\":\"" QUEUE "\"}");
    second = tb_begin(&tb, "CloudTasks/PauseQueue", "{\"name\":\"" QUEUE "\"}");
    assert_int_equal(second->call.err.code, ERR_ABORTED);
    tb_run(&tb);
    assert_int_equal(first->call.err.code, ERR_OK);
    tb_end(first);
    tb_end(second);
    tb_stop(&tb);
}

static void what_cannot_be_stored_is_not(void **state)
{
    struct tb tb;
    setup(&tb, "");
    make_task(&tb, "t");
    tb.store_fails = ERR_UNAVAILABLE;
    tb_call(&tb, ERR_UNAVAILABLE, CREATE_QUEUE, NEW_QUEUE("\"retryConfig\":{}"));
    tb_call(&tb, ERR_UNAVAILABLE, "CloudTasks/PauseQueue", "{\"name\":\"" QUEUE "\"}");
    tb_call(&tb, ERR_UNAVAILABLE, "CloudTasks/DeleteQueue", "{\"name\":\"" QUEUE "\"}");
    tb_call(&tb, ERR_UNAVAILABLE, "Tasks/UpdateQueueSettings", "{\"settings\":{\"name\":\"" QUEUE "/settings\",\"keyConcurrent\":3}}");
    tb_call(&tb, ERR_UNAVAILABLE, CREATE_TASK, NEW_TASK("\"name\":\"" TASKS "u\"," HTTP));
    tb.store_fails = ERR_OK;
    says(tb_call(&tb, ERR_OK, "CloudTasks/GetQueue", "{\"name\":\"" QUEUE "\"}"), "\"state\":\"RUNNING\"");
    assert_int_equal(tb_count(tb_call(&tb, ERR_OK, "CloudTasks/ListQueues", "{\"parent\":\"" LOC "\"}"), "\"name\""), 1);
    assert_int_equal(tb_count(tb_call(&tb, ERR_OK, "CloudTasks/ListTasks", "{\"parent\":\"" QUEUE "\"}"), "\"name\""), 1);
    assert_null(tb_json(tb_call(&tb, ERR_OK, "Tasks/GetQueueSettings", "{\"name\":\"" QUEUE "/settings\"}"), "keyConcurrent", 0));
    make_task(&tb, "u");
    tb_stop(&tb);
}

static void after_the_end_nothing_is_made(void **state)
{
    struct tb tb;
    setup(&tb, "");
    make_task(&tb, "t");
    queues_stop(tb.queues);
    static const char *const calls[][2] = {
        {CREATE_QUEUE, NEW_QUEUE("\"retryConfig\":{}")},
        {"CloudTasks/PauseQueue", "{\"name\":\"" QUEUE "\"}"},
        {CREATE_TASK, NEW_TASK(HTTP)},
        {"CloudTasks/RunTask", "{\"name\":\"" TASKS "t\"}"},
        {"CloudTasks/DeleteTask", "{\"name\":\"" TASKS "t\"}"},
        {"Tasks/RedriveDeadTasks", "{\"parent\":\"" QUEUE "\",\"all\":true}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(calls); i++)
        says(tb_call(&tb, ERR_UNAVAILABLE, calls[i][0], "%s", calls[i][1]), "shutting down");
    tb_stop(&tb);
}

static int count_lane(void *arg, uint32_t lane, uint64_t count, struct err *e)
{
    *(uint64_t *)arg += count;
    return 0;
}

static uint64_t entries_of(struct tb *tb, uint64_t list_id)
{
    uint64_t n = 0;
    assert_int_equal(tb->store->ops->load_lanes(tb->store, list_id, count_lane, &n, NULL), 0);
    return n;
}

/* The server is killed between a queue's deletion and the end of its tasks in the store. */
static void a_deletion_is_finished_after_a_crash(void **state)
{
    struct tb tb;
    setup(&tb, "");
    make_task(&tb, "t");
    struct tb_call *c = tb_begin(&tb, "CloudTasks/DeleteQueue", "{\"name\":\"" QUEUE "\"}");
    while (!c->done)
        store_memory_step(tb.store, 1, ERR_OK);
    tb_end(c);
    assert_int_equal(entries_of(&tb, 1), 1);
    tb_restart(&tb, true);
    tb_call(&tb, ERR_NOT_FOUND, "CloudTasks/GetQueue", "{\"name\":\"" QUEUE "\"}");
    assert_int_equal(entries_of(&tb, 1), 0);
    tb_advance(&tb, 200 * NS_PER_S);
    make_queue(&tb, "");
    make_task(&tb, "t"); /* a list of its own */
    tb_restart(&tb, false);
    assert_int_equal(tb_count(tb_call(&tb, ERR_OK, "CloudTasks/ListTasks", "{\"parent\":\"" QUEUE "\"}"), "\"name\""), 1);
    tb_stop(&tb);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_queue_has_googles_defaults),
        cmocka_unit_test(durations_and_bursts_are_google_s),
        cmocka_unit_test(updates),
        cmocka_unit_test(pause_resume_and_purge),
        cmocka_unit_test(a_purge_goes_by_the_exact_time),
        cmocka_unit_test(a_purge_takes_what_was_there_though_the_clock_was_set_back),
        cmocka_unit_test(a_deleted_queue_takes_its_tasks_along),
        cmocka_unit_test(a_deleted_queues_name_is_held),
        cmocka_unit_test(lists_of_queues),
        cmocka_unit_test(page_tokens_last_two_hours),
        cmocka_unit_test(locations),
        cmocka_unit_test(bad_input_is_refused),
        cmocka_unit_test(one_change_at_a_time),
        cmocka_unit_test(what_cannot_be_stored_is_not),
        cmocka_unit_test(after_the_end_nothing_is_made),
        cmocka_unit_test(a_deletion_is_finished_after_a_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

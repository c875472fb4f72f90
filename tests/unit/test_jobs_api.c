/** test_jobs_api.c: jobs, executions and tasks over the API: defaults, what is refused, pages, wildcards, etags, dry runs, overrides. */
#include "tests/support/unit.h"
#include "tests/support/support_executor.h"

#include "executor/execution_int.h"

#include <stdio.h>

#define PARENT "projects/proj/locations/here"
#define NAME PARENT "/jobs/work"
#define CONTAINER "\"image\":\"exec:///srv/work\""

static struct world w;
static struct answer a;
static char last[200]; /* the last execution */

static int setup(void **state)
{
    world_init(&w, 60 * NS_PER_S, 0);
    w.runtime.behaviour.exits_ns = 10 * NS_PER_MS;
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
        fail_msg("%s %s: %s", method, request, a.message);
}

static void create(const char *id, const char *more)
{
    char request[1000];
    snprintf(request, sizeof request,
             "{\"parent\":\"" PARENT "\",\"jobId\":\"%s\",\"job\":{\"template\":{%s\"template\":{\"containers\":[{" CONTAINER "}]}}}}", id,
             more);
    call("Jobs/CreateJob", request);
}

static void run_with(const char *job, const char *overrides)
{
    char request[1000];
    snprintf(request, sizeof request, "{\"name\":\"" PARENT "/jobs/%s\"%s}", job, overrides);
    call("Jobs/RunJob", request);
    const char *name = strstr(a.json, "\"name\":\"" PARENT "/jobs/");
    assert_non_null(name);
    snprintf(last, sizeof last, "%.*s", (int)strcspn(name + 8, "\""), name + 8);
}

/* A request about the last execution; `format` has one %s. */
#define ABOUT(method, format)                        \
    do {                                             \
        char about[600];                             \
        snprintf(about, sizeof about, format, last); \
        world_call(&w, method, about, &a);           \
    } while (0)

static const struct {
    const char *name, *job, *says;
    enum err_code code;
} refused[] = {
#define J(inside) "{\"template\":{\"template\":{\"containers\":[{" CONTAINER "}]" inside "}}}"
#define E(inside) "{\"template\":{" inside ",\"template\":{\"containers\":[{" CONTAINER "}]}}}"
#define C(inside) "{\"template\":{\"template\":{\"containers\":[{" CONTAINER "," inside "}]}}}"
#define N(inside) "{\"annotations\":{" inside "},\"template\":{\"template\":{\"containers\":[{" CONTAINER "}]}}}"
    {"nothing", "{}", "template: required", ERR_INVALID_ARGUMENT},
    {"no task", "{\"template\":{}}", "template.template: required", ERR_INVALID_ARGUMENT},
    {"no container", "{\"template\":{\"template\":{}}}", "template.template.containers: required", ERR_INVALID_ARGUMENT},
    {"two containers", "{\"template\":{\"template\":{\"containers\":[{" CONTAINER "},{" CONTAINER "}]}}}", "template.template.containers",
     ERR_UNIMPLEMENTED},
    {"no image", "{\"template\":{\"template\":{\"containers\":[{}]}}}", "template.template.containers[0].image", ERR_INVALID_ARGUMENT},
    {"another kind of image", "{\"template\":{\"template\":{\"containers\":[{\"image\":\"nginx\"}]}}}",
     "template.template.containers[0]: image 'nginx'", ERR_UNIMPLEMENTED},
    {"a port", C("\"ports\":[{\"containerPort\":80}]"), "containers[0].ports", ERR_INVALID_ARGUMENT},
    {"a probe", C("\"startupProbe\":{}"), "startupProbe", ERR_UNIMPLEMENTED},
    {"a reserved variable", C("\"env\":[{\"name\":\"CLOUD_RUN_TASK_INDEX\",\"value\":\"1\"}]"),
     "template.template.containers[0].env[0].name", ERR_INVALID_ARGUMENT},
    {"our variable", C("\"env\":[{\"name\":\"RUNNEL_RESULT\",\"value\":\"1\"}]"), "RUNNEL_RESULT", ERR_INVALID_ARGUMENT},
    {"more memory than there is", C("\"resources\":{\"limits\":{\"memory\":\"64Gi\"}}"),
     "template.template.containers[0].resources.limits.memory: 64 GiB is more than the 16 GiB that there are for all programs of this host, "
     "so no task",
     ERR_INVALID_ARGUMENT},
    {"a weight of nothing", N("\"runnel.dev/weight\":\"0\""), "runnel.dev/weight is '0', which is no number from 1 to 10000",
     ERR_INVALID_ARGUMENT},
    {"too many tasks", E("\"taskCount\":1000001"), "template.taskCount", ERR_INVALID_ARGUMENT},
    {"fewer than none", E("\"taskCount\":-1"), "template.taskCount", ERR_INVALID_ARGUMENT},
    {"too many at once", E("\"parallelism\":2001"), "template.parallelism", ERR_INVALID_ARGUMENT},
    {"too many retries", J(",\"maxRetries\":11"), "maxRetries", ERR_INVALID_ARGUMENT},
    {"a negative retry", J(",\"maxRetries\":-1"), "maxRetries", ERR_INVALID_ARGUMENT},
    {"too long", J(",\"timeout\":\"604801s\""), "template.template.timeout", ERR_INVALID_ARGUMENT},
    {"a negative time", J(",\"timeout\":\"-1s\""), "template.template.timeout", ERR_INVALID_ARGUMENT},
    {"volumes", J(",\"volumes\":[{\"name\":\"v\"}]"), "template.template.volumes", ERR_UNIMPLEMENTED},
    {"a VPC", J(",\"vpcAccess\":{}"), "vpcAccess", ERR_UNIMPLEMENTED},
    {"a key", J(",\"encryptionKey\":\"k\""), "encryptionKey", ERR_UNIMPLEMENTED},
    {"accelerators", J(",\"nodeSelector\":{\"accelerator\":\"x\"}"), "nodeSelector", ERR_UNIMPLEMENTED},
    {"authorization of binaries", "{\"binaryAuthorization\":{},\"template\":{\"template\":{\"containers\":[{" CONTAINER "}]}}}",
     "binaryAuthorization", ERR_UNIMPLEMENTED},
    {"a system label", "{\"labels\":{\"run.googleapis.com/x\":\"y\"},\"template\":{\"template\":{\"containers\":[{" CONTAINER "}]}}}",
     "labels", ERR_INVALID_ARGUMENT},
    {"an unknown setting", N("\"runnel.dev/maximum\":\"1\""), "is none of runnel.dev/", ERR_INVALID_ARGUMENT},
    {"no number of executions", N("\"runnel.dev/max-concurrent-executions\":\"many\""), "max-concurrent-executions", ERR_INVALID_ARGUMENT},
    {"no policy", N("\"runnel.dev/concurrency-policy\":\"drop\""), "neither queue nor refuse", ERR_INVALID_ARGUMENT},
    {"no priority", N("\"runnel.dev/priority\":\"1001\""), "priority", ERR_INVALID_ARGUMENT},
    {"no time", N("\"runnel.dev/backoff-min\":\"3\""), "backoff-min", ERR_INVALID_ARGUMENT},
    {"times the wrong way round", N("\"runnel.dev/backoff-min\":\"3s\",\"runnel.dev/backoff-max\":\"2s\""), "longer than",
     ERR_INVALID_ARGUMENT},
    {"a stop after none", N("\"runnel.dev/stop-after-failures\":\"0\""), "stop-after-failures", ERR_INVALID_ARGUMENT},
    {"after itself", N("\"runnel.dev/depends-on\":\"a,work\""), "names the job itself", ERR_INVALID_ARGUMENT},
    {"after itself, by its template",
     "{\"template\":{\"annotations\":{\"runnel.dev/depends-on\":\"work\"},\"template\":{\"containers\":[{" CONTAINER "}]}}}",
     "template.annotations: runnel.dev/depends-on names the job itself", ERR_INVALID_ARGUMENT},
    {"a priority below all", N("\"runnel.dev/priority\":\"-1001\""), "priority", ERR_INVALID_ARGUMENT},
    {"too many executions", N("\"runnel.dev/max-concurrent-executions\":\"10001\""), "max-concurrent-executions", ERR_INVALID_ARGUMENT},
    {"a wait of two days", N("\"runnel.dev/backoff-max\":\"172800s\""), "up to 86400s", ERR_INVALID_ARGUMENT},
    {"a stop after more than there can be", N("\"runnel.dev/stop-after-failures\":\"1000001\""), "stop-after-failures",
     ERR_INVALID_ARGUMENT},
    {"after nobody", N("\"runnel.dev/depends-on\":\"a,,b\""), "depends-on", ERR_INVALID_ARGUMENT},
    {"a bad token", "{\"startExecutionToken\":\"A\",\"template\":{\"template\":{\"containers\":[{" CONTAINER "}]}}}", "startExecutionToken",
     ERR_INVALID_ARGUMENT},
    {"a wrong type", "{\"template\":7}", "template", ERR_INVALID_ARGUMENT},
};

static void test_what_is_refused_names_the_field_and_changes_nothing(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        char request[2000];
        snprintf(request, sizeof request, "{\"parent\":\"" PARENT "\",\"jobId\":\"work\",\"job\":%s}", refused[i].job);
        world_call(&w, "Jobs/CreateJob", request, &a);
        CASE_INT(refused[i].name, a.code, refused[i].code);
        if (!strstr(a.message, refused[i].says))
            fail_msg("case \"%s\": \"%s\" does not say \"%s\"", refused[i].name, a.message, refused[i].says);
        CASE_INT(refused[i].name, executor_counts(w.x).jobs, 0);
    }
    create("work", "");
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        char request[2000];
        bool empty = strcmp(refused[i].job, "{}") == 0;
        snprintf(request, sizeof request, "{\"job\":{\"name\":\"" NAME "\"%s%s}", empty ? "" : ",", refused[i].job + 1);
        world_call(&w, "Jobs/UpdateJob", request, &a);
        CASE_INT(refused[i].name, a.code, refused[i].code);
    }
    call("Jobs/GetJob", "{\"name\":\"" NAME "\"}");
    assert_string_equal(json_value(a.json, "generation"), "1");
}

static void test_names_and_defaults(void **state)
{
    static const struct {
        const char *parent, *id;
        enum err_code code;
    } cases[] = {{PARENT, "", ERR_INVALID_ARGUMENT},
                 {PARENT, "Work", ERR_INVALID_ARGUMENT},
                 {PARENT, "1work", ERR_INVALID_ARGUMENT},
                 {PARENT, "a2345678901234567890123456789012345678901234567890", ERR_INVALID_ARGUMENT},
                 {"projects/proj", "work", ERR_INVALID_ARGUMENT},
                 {"projects/proj/locations/-", "work", ERR_INVALID_ARGUMENT},
                 {PARENT, "work", ERR_OK},
                 {PARENT, "work", ERR_ALREADY_EXISTS}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char request[600];
        snprintf(request, sizeof request,
                 "{\"parent\":\"%s\",\"jobId\":\"%s\",\"job\":{\"template\":{\"template\":{\"containers\":[{" CONTAINER "}]}}}}",
                 cases[i].parent, cases[i].id);
        world_call(&w, "Jobs/CreateJob", request, &a);
        CASE_INT(cases[i].id, a.code, cases[i].code);
    }
    call("Jobs/GetJob", "{\"name\":\"" NAME "\"}");
    assert_string_equal(json_value(a.json, "taskCount"), "1");
    assert_string_equal(json_value(a.json, "maxRetries"), "3");
    assert_string_equal(json_value(a.json, "timeout"), "600s");
    assert_string_equal(json_value(a.json, "launchStage"), "GA");
    world_crash(&w);
    call("Jobs/GetJob", "{\"name\":\"" NAME "\"}");
    assert_string_equal(json_value(a.json, "maxRetries"), "3");
}

static void test_what_is_not_there(void **state)
{
    static const struct {
        const char *method, *request;
    } cases[] = {
        {"Jobs/GetJob", "{\"name\":\"" NAME "\"}"},
        {"Jobs/UpdateJob", "{\"job\":{\"name\":\"" NAME "\"}}"},
        {"Jobs/DeleteJob", "{\"name\":\"" NAME "\"}"},
        {"Jobs/RunJob", "{\"name\":\"" NAME "\"}"},
        {"Executions/GetExecution", "{\"name\":\"" NAME "/executions/e\"}"},
        {"Executions/DeleteExecution", "{\"name\":\"" NAME "/executions/e\"}"},
        {"Executions/CancelExecution", "{\"name\":\"" NAME "/executions/e\"}"},
        {"Executions/ListExecutions", "{\"parent\":\"" NAME "\"}"},
        {"Tasks/GetTask", "{\"name\":\"" NAME "/executions/e/tasks/e-task0\"}"},
        {"Tasks/ListTasks", "{\"parent\":\"" NAME "/executions/e\"}"},
        {"Jobs/RunWithInputs", "{\"name\":\"" NAME "\",\"inputs\":[\"a\"]}"},
        {"Jobs/RetryFailed", "{\"name\":\"" NAME "/executions/e\"}"},
        {"Jobs/GetTaskAttempts", "{\"name\":\"" NAME "/executions/e/tasks/e-task0\"}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        world_call(&w, cases[i].method, cases[i].request, &a);
        CASE_INT(cases[i].method, a.code, ERR_NOT_FOUND);
    }
    create("work", "");
    run_with("work", "");
    static const char *const names[] = {"{\"name\":\"%s/tasks/work-task0\"}", "{\"name\":\"%s/tasks/0\"}"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char request[400];
        snprintf(request, sizeof request, i == 0 ? "{\"name\":\"%s/tasks/work-task0\"}" : "{\"name\":\"%s/tasks/0\"}", last);
        world_call(&w, "Tasks/GetTask", request, &a);
        CASE_INT(names[i], a.code, ERR_NOT_FOUND);
    }
}

static void test_dry_runs_change_nothing(void **state)
{
    call("Jobs/CreateJob", "{\"parent\":\"" PARENT "\",\"jobId\":\"work\",\"validateOnly\":true,"
                           "\"job\":{\"template\":{\"template\":{\"containers\":[{" CONTAINER "}]}}}}");
    assert_string_equal(json_value(a.json, "done"), "true");
    assert_int_equal(executor_counts(w.x).jobs, 0);
    create("work", "");
    call("Jobs/RunJob", "{\"name\":\"" NAME "\",\"validateOnly\":true,\"overrides\":{\"taskCount\":7}}");
    assert_string_equal(json_value(a.json, "taskCount"), "7");
    assert_int_equal(executor_counts(w.x).executions, 0);
    call("Jobs/UpdateJob", "{\"validateOnly\":true,\"job\":{\"name\":\"" NAME
                           "\",\"template\":{\"taskCount\":9,\"template\":{\"containers\":[{" CONTAINER "}]}}}}");
    call("Jobs/DeleteJob", "{\"name\":\"" NAME "\",\"validateOnly\":true}");
    call("Jobs/GetJob", "{\"name\":\"" NAME "\"}");
    assert_string_equal(json_value(a.json, "taskCount"), "1");
    run_with("work", "");
    ABOUT("Executions/CancelExecution", "{\"name\":\"%s\",\"validateOnly\":true}");
    assert_int_equal(a.code, ERR_OK);
    ABOUT("Executions/DeleteExecution", "{\"name\":\"%s\",\"validateOnly\":true}");
    assert_int_equal(a.code, ERR_OK);
    world_run(&w, NS_PER_S);
    ABOUT("Executions/GetExecution", "{\"name\":\"%s\"}");
    assert_string_equal(json_value(a.json, "succeededCount"), "1");
}

static void test_etags(void **state)
{
    create("work", "");
    static const struct {
        const char *method, *request;
    } stale[] = {
        {"Jobs/UpdateJob",
         "{\"job\":{\"name\":\"" NAME "\",\"etag\":\"x\",\"template\":{\"template\":{\"containers\":[{" CONTAINER "}]}}}}"},
        {"Jobs/DeleteJob", "{\"name\":\"" NAME "\",\"etag\":\"x\"}"},
        {"Jobs/RunJob", "{\"name\":\"" NAME "\",\"etag\":\"x\"}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(stale); i++) {
        world_call(&w, stale[i].method, stale[i].request, &a);
        CASE_INT(stale[i].method, a.code, ERR_ABORTED);
    }
    run_with("work", "");
    ABOUT("Executions/DeleteExecution", "{\"name\":\"%s\",\"etag\":\"x\"}");
    assert_int_equal(a.code, ERR_ABORTED);
    ABOUT("Executions/CancelExecution", "{\"name\":\"%s\",\"etag\":\"x\"}");
    assert_int_equal(a.code, ERR_ABORTED);
}

static void test_an_update_replaces_and_may_make_what_is_missing(void **state)
{
    call("Jobs/UpdateJob",
         "{\"allowMissing\":true,\"job\":{\"name\":\"" NAME "\",\"template\":{\"template\":{\"containers\":[{" CONTAINER "}]}}}}");
    call("Jobs/UpdateJob",
         "{\"job\":{\"name\":\"" NAME "\",\"template\":{\"taskCount\":3,\"template\":{\"containers\":[{" CONTAINER "}]}}}}");
    call("Jobs/GetJob", "{\"name\":\"" NAME "\"}");
    assert_string_equal(json_value(a.json, "generation"), "2");
    assert_string_equal(json_value(a.json, "taskCount"), "3");
}

static void test_overrides(void **state)
{
    static const struct {
        const char *name, *overrides, *says;
    } bad[] = {
        {"two containers", "{\"containerOverrides\":[{},{}]}", "containerOverrides: there is one container"},
        {"a count below none", "{\"taskCount\":-1}", "overrides.taskCount"},
        {"a long time", "{\"timeout\":\"9999999s\"}", "overrides.timeout"},
        {"both", "{\"containerOverrides\":[{\"args\":[\"a\"],\"clearArgs\":true}]}", "clearArgs"},
        {"a reserved variable", "{\"containerOverrides\":[{\"env\":[{\"name\":\"CLOUD_RUN_JOB\"}]}]}", "CLOUD_RUN_JOB"},
    };
    call("Jobs/CreateJob", "{\"parent\":\"" PARENT "\",\"jobId\":\"work\",\"job\":{\"template\":{\"template\":{\"containers\":[{" CONTAINER
                           ",\"args\":[\"old\"],\"env\":[{\"name\":\"A\",\"value\":\"1\"},{\"name\":\"B\",\"value\":\"2\"}]}]}}}}");
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char request[500];
        snprintf(request, sizeof request, "{\"name\":\"" NAME "\",\"overrides\":%s}", bad[i].overrides);
        world_call(&w, "Jobs/RunJob", request, &a);
        CASE_INT(bad[i].name, a.code, ERR_INVALID_ARGUMENT);
        CASE_TRUE(bad[i].name, strstr(a.message, bad[i].says));
    }
    run_with("work", ",\"overrides\":{\"taskCount\":1,\"timeout\":\"5s\",\"containerOverrides\":[{\"args\":[\"new\"],"
                     "\"env\":[{\"name\":\"B\",\"value\":\"3\"},{\"name\":\"C\",\"value\":\"4\"}]}]}");
    world_run(&w, NS_PER_S);
    const char *env = w.runtime.last_env;
    assert_true(strstr(env, "\nA=1\n") && strstr(env, "\nB=3\n") && strstr(env, "\nC=4\n") && !strstr(env, "B=2"));
    assert_true(strstr(env, "CLOUD_RUN_TASK_INDEX=0\n") && strstr(env, "CLOUD_RUN_JOB=work\n") && strstr(env, "CLOUD_RUN_TASK_COUNT=1\n"));
    ABOUT("Executions/GetExecution", "{\"name\":\"%s\"}");
    assert_string_equal(json_value(a.json, "timeout"), "5s");
    call("Jobs/GetJob", "{\"name\":\"" NAME "\"}");
    assert_non_null(strstr(a.json, "\"old\""));
}

static void test_inputs_say_how_many_tasks(void **state)
{
    create("work", "");
    world_call(&w, "Jobs/RunWithInputs", "{\"name\":\"" NAME "\"}", &a);
    assert_int_equal(a.code, ERR_INVALID_ARGUMENT);
    world_call(&w, "Jobs/RunWithInputs", "{\"name\":\"" NAME "\",\"inputs\":[\"a\"],\"overrides\":{\"taskCount\":2}}", &a);
    assert_int_equal(a.code, ERR_INVALID_ARGUMENT);
    static char large[TASK_INPUT_MAX + 200];
    int n = snprintf(large, sizeof large, "{\"name\":\"" NAME "\",\"inputs\":[\"a\",\"");
    memset(large + n, 'x', TASK_INPUT_MAX + 1);
    snprintf(large + n + TASK_INPUT_MAX + 1, 4, "\"]}");
    world_call(&w, "Jobs/RunWithInputs", large, &a);
    assert_int_equal(a.code, ERR_INVALID_ARGUMENT);
    assert_string_equal(a.message, "inputs[1]: more than 65536 bytes");
    call("Jobs/RunWithInputs", "{\"name\":\"" NAME "\",\"inputs\":[\"a\",\"b\",\"c\"]}");
    assert_string_equal(json_value(a.json, "taskCount"), "3");
    world_run(&w, NS_PER_S);
    assert_int_equal(w.runtime.starts, 3);
    assert_non_null(strstr(w.runtime.last_env, "RUNNEL_TASK_INPUT="));
}

static void test_jobs_do_not_depend_on_each_other_in_a_circle(void **state)
{
#define AFTER(jobs) "\"annotations\":{\"runnel.dev/depends-on\":\"" jobs "\"},"
    create("one", AFTER("three"));
    create("two", AFTER("one,nobody"));
    create("other", AFTER("one,two")); /* two ways to one are no circle, nor is what is not there */
    static const char three[] =
        "{\"parent\":\"" PARENT "\",\"jobId\":\"three\",\"job\":{\"template\":{" AFTER("other") "\"template\":{\"containers\":[{" CONTAINER
                                                                                                "}]}}}}";
    world_call(&w, "Jobs/CreateJob", three, &a);
    assert_int_equal(a.code, ERR_INVALID_ARGUMENT);
    assert_non_null(strstr(a.message, "job 'one' depends on this one"));
    create("three", AFTER("four"));
}

static void test_so_many_cancellations_wait_for_one_end(void **state)
{
    w.runtime.behaviour.exits_ns = NEVER;
    w.runtime.behaviour.ignores_term = true;
    create("work", "");
    run_with("work", "");
    world_run(&w, NS_PER_S);
    for (int i = 0; i < EXECUTION_OPERATIONS_MAX; i++) { /* the first is that of the run */
        ABOUT("Executions/CancelExecution", "{\"name\":\"%s\"}");
        assert_int_equal(a.code, i < EXECUTION_OPERATIONS_MAX - 1 ? ERR_OK : ERR_RESOURCE_EXHAUSTED);
    }
    assert_non_null(strstr(a.message, "operations wait for the end"));
}

static size_t names_in(const char *json)
{
    size_t n = 0;
    for (const char *p = json; (p = strstr(p, "-task")); p++)
        n++;
    return n;
}

static void test_tasks_come_in_pages_begun_or_not(void **state)
{
    w.runtime.behaviour.exits_ns = NEVER;
    create("work", "\"taskCount\":5,\"parallelism\":2,");
    run_with("work", "");
    world_run(&w, NS_PER_S);
    char token[200] = "";
    static const size_t pages[] = {2, 2, 1};
    for (size_t i = 0; i < ARRAY_LEN(pages); i++) {
        char request[800];
        snprintf(request, sizeof request, "{\"parent\":\"%s\",\"pageSize\":2,\"pageToken\":\"%s\"}", last, token);
        call("Tasks/ListTasks", request);
        assert_int_equal(names_in(a.json), pages[i]);
        snprintf(token, sizeof token, "%s", json_value(a.json, "nextPageToken"));
        assert_int_equal(*token != '\0', i + 1 < ARRAY_LEN(pages));
    }
    assert_non_null(strstr(a.json, "Waiting for its turn."));
    /* All executions of the job, and all jobs of the region. */
    run_with("work", ",\"overrides\":{\"taskCount\":1}");
    call("Tasks/ListTasks", "{\"parent\":\"" NAME "/executions/-\",\"pageSize\":100}");
    assert_int_equal(names_in(a.json), 6);
    call("Tasks/ListTasks", "{\"parent\":\"" PARENT "/jobs/-/executions/-\",\"pageSize\":4}");
    assert_int_equal(names_in(a.json), 4);
    char request[800];
    snprintf(request, sizeof request, "{\"parent\":\"" PARENT "/jobs/-/executions/-\",\"pageSize\":4,\"pageToken\":\"%s\"}",
             json_value(a.json, "nextPageToken"));
    call("Tasks/ListTasks", request);
    assert_int_equal(names_in(a.json), 2);
    world_call(&w, "Tasks/ListTasks", "{\"parent\":\"" NAME "/executions/-\",\"pageToken\":\"zzz\"}", &a);
    assert_int_equal(a.code, ERR_INVALID_ARGUMENT);
    call("Executions/ListExecutions", "{\"parent\":\"" PARENT "/jobs/-\",\"pageSize\":1}");
    assert_true(*json_value(a.json, "nextPageToken") != '\0');
}

static void test_deleting_what_runs_stops_it(void **state)
{
    w.runtime.behaviour.exits_ns = NEVER;
    create("work", "\"taskCount\":4,\"parallelism\":4,");
    run_with("work", "");
    world_run(&w, NS_PER_S);
    ABOUT("Executions/DeleteExecution", "{\"name\":\"%s\"}");
    assert_int_equal(a.code, ERR_OK);
    world_run(&w, NS_PER_S);
    assert_int_equal(w.runtime.terms, 4);
    assert_int_equal(executor_counts(w.x).tasks, 0);
    run_with("work", "");
    world_run(&w, NS_PER_S);
    call("Jobs/DeleteJob", "{\"name\":\"" NAME "\"}");
    world_run(&w, NS_PER_S);
    assert_int_equal(w.runtime.terms, 8);
    world_crash(&w);
    world_run(&w, NS_PER_S);
    assert_int_equal(executor_counts(w.x).executions, 0);
    assert_int_equal(w.runtime.starts, 8);
}

static void test_the_operation_ends_with_the_execution(void **state)
{
    w.runtime.behaviour.exit_code = 4;
    create("work", "");
    run_with("work", "");
    char request[300];
    snprintf(request, sizeof request, "{\"name\":\"%s\"}", json_value(a.json, "name"));
    call("Operations/GetOperation", request);
    assert_string_equal(json_value(a.json, "done"), "");
    world_run(&w, 5 * NS_PER_S);
    call("Operations/GetOperation", request);
    assert_string_equal(json_value(a.json, "done"), "true");
    assert_string_equal(json_value(a.json, "code"), "10");
    call("Jobs/GetJob", "{\"name\":\"" NAME "\"}");
    assert_string_equal(json_value(a.json, "completionStatus"), "EXECUTION_FAILED");
    assert_string_equal(json_value(a.json, "executionCount"), "1");
    ABOUT("Executions/CancelExecution", "{\"name\":\"%s\"}");
    assert_int_equal(a.code, ERR_FAILED_PRECONDITION);
    ABOUT("Jobs/RetryFailed", "{\"name\":\"%s\"}");
    assert_int_equal(a.code, ERR_OK);
    w.runtime.behaviour.exit_code = 0;
    world_run(&w, 5 * NS_PER_S);
    ABOUT("Executions/GetExecution", "{\"name\":\"%s\"}");
    assert_string_equal(json_value(a.json, "succeededCount"), "1");
    ABOUT("Jobs/RetryFailed", "{\"name\":\"%s\"}");
    assert_int_equal(a.code, ERR_FAILED_PRECONDITION);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_what_is_refused_names_the_field_and_changes_nothing),
        CASE(test_names_and_defaults),
        CASE(test_what_is_not_there),
        CASE(test_dry_runs_change_nothing),
        CASE(test_etags),
        CASE(test_an_update_replaces_and_may_make_what_is_missing),
        CASE(test_overrides),
        CASE(test_inputs_say_how_many_tasks),
        CASE(test_jobs_do_not_depend_on_each_other_in_a_circle),
        CASE(test_so_many_cancellations_wait_for_one_end),
        CASE(test_tasks_come_in_pages_begun_or_not),
        CASE(test_deleting_what_runs_stops_it),
        CASE(test_the_operation_ends_with_the_execution),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/** test_torture_jobs.c: jobs while memory runs out and the store refuses: each method of jobs, executions and tasks with one fault
 *  somewhere in all that it sets off; then a minute without, at once or after a kill -9. What was answered holds, what was refused says
 *  why, is not half done and works at the second try; every execution comes to an end that is told, nothing runs on behind it, and the
 *  job runs again. */
#include "tests/support/support_executor.h"
#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>

#define PARENT "projects/proj/locations/here"
#define WORK PARENT "/jobs/work"
#define ONE_AT_A_TIME "\"annotations\":{\"runnel.dev/max-concurrent-executions\":\"1\"},"
#define TEMPLATE "\"template\":{\"taskCount\":3,\"template\":{\"maxRetries\":1,\"containers\":[{\"image\":\"exec:///srv/work\"}]}}"

/* What a job's programs do before the act: nothing has been run, it has ended well, it has failed, it runs on, it runs for long and a
 * second execution waits for its end. */
enum before { UNUSED, ENDED, FAILED, RUNNING, WAITING };
enum kind { CREATES, CHANGES, DELETES, RUNS, CANCELS, DELETES_EXECUTION, RETRIES, LOOKS };
struct act {
    const char *name;
    enum kind kind;
    enum before before;
    const char *method, *json; /* %: the execution, $: its id */
};
static const struct act acts[] = {
    {"create a job", CREATES, UNUSED, "Jobs/CreateJob", "{\"parent\":\"" PARENT "\",\"jobId\":\"two\",\"job\":{" TEMPLATE "}}"},
    {"change a job", CHANGES, ENDED, "Jobs/UpdateJob", "{\"job\":{\"name\":\"" WORK "\",\"labels\":{\"a\":\"new\"}," TEMPLATE "}}"},
    {"delete a job", DELETES, UNUSED, "Jobs/DeleteJob", "{\"name\":\"" WORK "\"}"},
    {"delete a job that runs", DELETES, RUNNING, "Jobs/DeleteJob", "{\"name\":\"" WORK "\"}"},
    {"run a job", RUNS, UNUSED, "Jobs/RunJob", "{\"name\":\"" WORK "\"}"},
    {"run a job with inputs", RUNS, ENDED, "Jobs/RunWithInputs", "{\"name\":\"" WORK "\",\"inputs\":[\"a\",\"b\",\"c\"]}"},
    {"cancel an execution", CANCELS, RUNNING, "Executions/CancelExecution", "{\"name\":\"%\"}"},
    {"cancel an execution that waits", CANCELS, WAITING, "Executions/CancelExecution", "{\"name\":\"%\"}"},
    {"delete an execution", DELETES_EXECUTION, ENDED, "Executions/DeleteExecution", "{\"name\":\"%\"}"},
    {"delete an execution that runs", DELETES_EXECUTION, RUNNING, "Executions/DeleteExecution", "{\"name\":\"%\"}"},
    {"retry what failed", RETRIES, FAILED, "Jobs/RetryFailed", "{\"name\":\"%\"}"},
    {"list jobs", LOOKS, ENDED, "Jobs/ListJobs", "{\"parent\":\"" PARENT "\"}"},
    {"list executions", LOOKS, ENDED, "Executions/ListExecutions", "{\"parent\":\"" WORK "\"}"},
    {"list tasks", LOOKS, ENDED, "Tasks/ListTasks", "{\"parent\":\"%\"}"},
    {"tell a task's attempts", LOOKS, FAILED, "Jobs/GetTaskAttempts", "{\"name\":\"%/tasks/$-task1\"}"},
};

struct run {
    struct world w;
    const struct act *act;
    enum fault what;
    size_t nth;
    bool crash, fails, endless; /* what programs do from now on */
    struct answer a;
    char execution[200];
};

FMT(2, 3) static void broken(const struct run *r, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    fail_msg("%s, %s %zu%s: %s", r->act->name, fault_name(r->what), r->nth, r->crash ? ", then a crash" : "", text);
}

static void vary(void *arg, const struct runtime_spec *spec, struct fake_behaviour *b)
{
    const struct run *r = arg;
    b->exits_ns = r->act->before == WAITING ? 100 * NS_PER_S : r->endless ? NEVER : 20 * NS_PER_MS;
    b->exit_code = r->fails ? 3 : 0;
}

static enum err_code ask(struct run *r, const char *method, const char *json)
{
    char request[1000] = "", one[2] = "";
    size_t n = 0;
    const char *id = strrchr(r->execution, '/');
    for (; *json && n < sizeof request; json++) {
        one[0] = *json;
        n += (size_t)snprintf(request + n, sizeof request - n, "%s", *json == '%' ? r->execution : *json == '$' ? id + 1 : one);
    }
    world_call(&r->w, method, request, &r->a);
    return r->a.code;
}

static void must(struct run *r, const char *method, const char *json)
{
    if (ask(r, method, json))
        broken(r, "%s says %s", method, r->a.message);
}

static bool there(struct run *r, const char *method, const char *json)
{
    enum err_code code = ask(r, method, json);
    if (code != ERR_OK && code != ERR_NOT_FOUND)
        broken(r, "%s says %s", method, r->a.message);
    return code == ERR_OK;
}

/* How many executions it has; the name of the last one goes to r->execution. */
static size_t executions(struct run *r)
{
    static const char key[] = "\"name\":\"" WORK "/executions/";
    size_t n = 0;
    must(r, "Executions/ListExecutions", "{\"parent\":\"" WORK "\"}");
    for (const char *p = r->a.json; (p = strstr(p, key)); p += sizeof key) {
        const char *name = p + strlen("\"name\":\"");
        if (n++ == 0)
            snprintf(r->execution, sizeof r->execution, "%.*s", (int)strcspn(name, "\""), name);
    }
    return n;
}

static void begin(struct run *r)
{
    enum before before = r->act->before;
    world_init(&r->w, 60 * NS_PER_S, 0);
    r->w.runtime.vary = vary;
    r->w.runtime.hook_arg = r;
    must(r, "Jobs/CreateJob",
         before == WAITING ? "{\"parent\":\"" PARENT "\",\"jobId\":\"work\",\"job\":{" ONE_AT_A_TIME TEMPLATE "}}"
                           : "{\"parent\":\"" PARENT "\",\"jobId\":\"work\",\"job\":{" TEMPLATE "}}");
    r->fails = before == FAILED;
    r->endless = before == RUNNING;
    if (before == UNUSED)
        return;
    must(r, "Jobs/RunJob", "{\"name\":\"" WORK "\"}");
    world_run(&r->w, 30 * NS_PER_S);
    if (before == WAITING)
        must(r, "Jobs/RunJob", "{\"name\":\"" WORK "\"}");
    assert_int_equal(executions(r), before == WAITING ? 2 : 1);
    r->fails = false;
}

static void check_refusal(const struct run *r, enum err_code code)
{
    bool memory = code == ERR_RESOURCE_EXHAUSTED && strstr(r->a.message, "memory");
    if (r->what == FAULT_ALLOC ? !memory : code != ERR_UNAVAILABLE || !*r->a.message)
        broken(r, "refused with %s: %s", err_name(code), r->a.message);
}

/* What the act should have done is done. `before`: how many executions there were. */
static bool is_done(struct run *r, size_t before)
{
    switch (r->act->kind) {
    case CREATES:
        return there(r, "Jobs/GetJob", "{\"name\":\"" PARENT "/jobs/two\"}");
    case CHANGES:
        return there(r, "Jobs/GetJob", "{\"name\":\"" WORK "\"}") && strstr(r->a.json, "\"a\":\"new\"");
    case DELETES:
        return !there(r, "Jobs/GetJob", "{\"name\":\"" WORK "\"}");
    case RUNS:
        return executions(r) > before;
    case CANCELS:
        return there(r, "Executions/GetExecution", "{\"name\":\"%\"}") && strcmp(json_value(r->a.json, "cancelledCount"), "3") == 0;
    case DELETES_EXECUTION:
        return !there(r, "Executions/GetExecution", "{\"name\":\"%\"}");
    case RETRIES:
        return there(r, "Executions/GetExecution", "{\"name\":\"%\"}") && strcmp(json_value(r->a.json, "succeededCount"), "3") == 0;
    default:
        return true;
    }
}

/* In the end: all that is there has ended, and nothing runs that is not there. */
static void check_end(struct run *r)
{
    r->endless = false;
    world_run(&r->w, 90 * NS_PER_S);
    if (!there(r, "Jobs/GetJob", "{\"name\":\"" WORK "\"}")) {
        if (!list_empty(&r->w.runtime.running))
            broken(r, "the job is gone, and its programs run");
        return;
    }
    if (r->act->kind == CHANGES || r->act->kind == LOOKS || r->act->kind == RUNS || r->act->kind == DELETES_EXECUTION) {
        must(r, "Jobs/RunJob", "{\"name\":\"" WORK "\"}");
        world_run(&r->w, 30 * NS_PER_S);
        if (!executions(r) ||
            strcmp((must(r, "Executions/GetExecution", "{\"name\":\"%\"}"), json_value(r->a.json, "succeededCount")), "3") != 0)
            broken(r, "another run comes to %s", r->a.json);
    }
    if (!list_empty(&r->w.runtime.running))
        broken(r, "programs run on");
    size_t left = executions(r);
    for (const char *p = r->a.json; (p = strstr(p, "\"completionTime\":")); p++)
        left--;
    if (left)
        broken(r, "%zu executions have not ended", left);
}

/* What the act came to: its answer, or what the operation that it answered with says later on. */
static enum err_code outcome(struct run *r, enum err_code code, const char *operation)
{
    if (code != ERR_OK || !*operation)
        return code;
    world_call(&r->w, "Operations/GetOperation", operation, &r->a);
    if (r->a.code)
        broken(r, "GetOperation says %s", r->a.message);
    const char *error = strstr(r->a.json, "\"error\":");
    if (!error)
        return ERR_OK;
    enum err_code told = (enum err_code)strtol(json_value(error, "code"), NULL, 10);
    snprintf(r->a.message, sizeof r->a.message, "%s", json_value(error, "message"));
    check_refusal(r, told);
    return told;
}

static bool live(struct run *r)
{
    char operation[300] = "";
    begin(r);
    size_t before = r->act->before != UNUSED;
    bool ends_by_itself = r->act->kind != CANCELS && r->act->before != RUNNING;
    r->w.fault.what = r->what;
    r->w.fault.nth = r->nth;
    enum err_code code = ask(r, r->act->method, r->act->json);
    if (code != ERR_OK)
        check_refusal(r, code);
    else if (strstr(json_value(r->a.json, "name"), "/operations/"))
        snprintf(operation, sizeof operation, "{\"name\":\"%s\"}", json_value(r->a.json, "name"));
    world_run(&r->w, 30 * NS_PER_S);
    bool failed = fault_disarm();
    code = outcome(r, code, operation);
    if (code != ERR_OK && !failed)
        broken(r, "nothing failed, yet it says %s: %s", err_name(code), r->a.message);
    if (r->crash)
        world_crash(&r->w);
    world_run(&r->w, 30 * NS_PER_S);
    bool done = is_done(r, before), perhaps = r->what == FAULT_ALLOC; /* the answer itself may have had no memory */
    if (r->act->kind != LOOKS && done != (code == ERR_OK) && !(done && perhaps))
        broken(r, "answered %s, and it is %s", err_name(code), done ? "done" : "not done");
    code = ask(r, r->act->method, r->act->json);
    bool already = code == ERR_ALREADY_EXISTS || code == ERR_NOT_FOUND || code == ERR_FAILED_PRECONDITION;
    if (code != ERR_OK && !(done && already))
        broken(r, "the second try says %s: %s", err_name(code), r->a.message);
    world_run(&r->w, ends_by_itself ? 30 * NS_PER_S : 60 * NS_PER_S);
    if (!is_done(r, before))
        broken(r, "done at the second try, and not so");
    check_end(r);
    world_fini(&r->w);
    return failed;
}

static bool run_act(const struct torture *t, enum fault what, size_t nth, size_t times)
{
    bool failed = false;
    for (int crash = 0; crash < 2; crash++) {
        static struct run r;
        memset(&r, 0, sizeof r);
        r.act = t->arg;
        r.what = what;
        r.nth = nth;
        r.crash = crash;
        failed |= live(&r);
    }
    return failed;
}

static size_t torture_all(enum fault what)
{
    size_t failures = 0;
    for (size_t i = 0; i < ARRAY_LEN(acts); i++) {
        struct torture t = {.name = acts[i].name, .run = run_act, .arg = &acts[i], .every = true};
        failures += torture(&t, what, FAULT_ONCE);
    }
    return failures;
}

static void without_memory(void **state) { assert_true(torture_all(FAULT_ALLOC) > 400); }
static void with_a_store_that_refuses(void **state) { assert_true(torture_all(FAULT_WRITE) > 15); }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_memory),
        cmocka_unit_test(with_a_store_that_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

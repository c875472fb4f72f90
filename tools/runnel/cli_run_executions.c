/* cli_run_executions.c: `runnel run jobs executions`: list, describe, wait, cancel, delete, retry-failed, and their tasks. */
#include "tools/runnel/cli_api.h"
#include "tools/runnel/cli_commands.h"
#include "tools/runnel/cli_output.h"
#include "tools/runnel/cli_run_jobs.h"

/* ---- names ---- */

/* The job's name is all before one of the dashes: mostly the last one, but a token may have some itself. */
static int find_execution(struct cli *c, const char *given, struct jv **execution, struct err *e)
{
    if (strncmp(given, "projects/", 9) == 0)
        return api_call(c, "GET", api_path(c, "v2", given, ""), NULL, execution, e);
    if (strchr(given, '/'))
        return err_set(e, ERR_INVALID_ARGUMENT,
                       "'%.100s' is neither a short name nor projects/PROJECT/locations/REGION/jobs/JOB/executions/EXECUTION", given);
    for (size_t n = strlen(given); n-- > 1;) {
        if (given[n] != '-')
            continue;
        struct err inner = {0};
        const char *name = cli_printf(c, "%s/jobs/%.*s/executions/%s", api_location(c), (int)n, given, given);
        if (api_call(c, "GET", api_path(c, "v2", name, ""), NULL, execution, &inner) == 0)
            return 0;
        if (inner.code != ERR_NOT_FOUND) {
            err_set(e, inner.code, "%s", inner.msg);
            e->sys = inner.sys;
            return -(int)inner.code;
        }
    }
    return err_set(e, ERR_NOT_FOUND, "no job in region %s has an execution '%s'", c->region, given);
}

/* ---- list, describe, wait ---- */

/* --job alone, or all jobs of the region. */
static int jobs_meant(struct cli *c, struct jv **names, struct err *e)
{
    *names = jv_array();
    if (cli_given(c, "job")) {
        const char *name = run_job_name(c, cli_text(c, "job"));
        if (!name)
            return err_set(e, ERR_INVALID_ARGUMENT, "--job is not a name");
        jv_add(*names, jv_string(name));
        return 0;
    }
    struct jv *jobs = NULL;
    const int rc = api_list(c, api_path(c, "v2", api_location(c), "/jobs"), "jobs", &jobs, e);
    for (const struct jv *i = rc ? NULL : jv_first(jobs); i; i = jv_next(i))
        jv_add(*names, jv_string(jv_text(i, "name")));
    return rc;
}

static size_t limit_of(struct cli *c) { return cli_given(c, "limit") ? (size_t)cli_int(c, "limit") : SIZE_MAX; }

static int run_list(struct cli *c)
{
    struct err e = {0};
    struct jv *jobs = NULL, *all = jv_array();
    size_t left = limit_of(c);
    if (jobs_meant(c, &jobs, &e))
        return cli_fail(c, &e);
    for (const struct jv *j = jv_first(jobs); j && left; j = jv_next(j)) {
        struct jv *executions = NULL;
        if (api_list_some(c, api_path(c, "v2", jv_show(j), "/executions"), "executions", left, NULL, &executions, &e))
            return cli_fail(c, &e);
        for (const struct jv *i = jv_first(executions); i; i = jv_next(i), left--) {
            struct jv *row = jv_copy(i);
            if (cli_format_own(c)) {
                jv_put_text(row, "status", run_state(i));
                jv_put_text(row, "complete",
                            cli_printf(c, "%lld / %lld", (long long)jv_int(i, "succeededCount"), (long long)jv_int(i, "taskCount")));
            }
            jv_add(all, row);
        }
    }
    cli_show_list(c, all);
    return CLI_DONE;
}

static int run_describe(struct cli *c)
{
    struct err e = {0};
    struct jv *x = NULL;
    if (find_execution(c, c->args[0], &x, &e))
        return cli_fail(c, &e);
    cli_show(c, x);
    return CLI_DONE;
}

static int run_wait(struct cli *c)
{
    struct err e = {0};
    struct jv *x = NULL;
    if (find_execution(c, c->args[0], &x, &e))
        return cli_fail(c, &e);
    return execution_follow(c, jv_text(x, "name"), "", true, cli_given(c, "tail"));
}

/* ---- cancel, delete, retry ---- */

static int run_cancel(struct cli *c)
{
    struct err e = {0};
    struct jv *x = NULL, *operation = NULL, *after = NULL;
    if (find_execution(c, c->args[0], &x, &e))
        return cli_fail(c, &e);
    const char *name = jv_text(x, "name"), *brief = cli_basename(name);
    if (!cli_confirm(c, "Execution [%s] will be cancelled: what runs is stopped.", brief))
        return CLI_FAILED;
    if (api_call(c, "POST", api_path(c, "v2", name, ":cancel"), jv_object(), &operation, &e))
        return cli_fail(c, &e);
    if (cli_bool(c, "async")) {
        cli_say(c, "Execution [%s] is being cancelled.", brief);
        return CLI_DONE;
    }
    /* That an execution was cancelled is no error of the cancelling. */
    if (api_wait(c, cli_printf(c, "Cancelling [%s]", brief), operation, &after, &e) && e.code != ERR_CANCELLED)
        return cli_fail(c, &e);
    cli_say(c, "Cancelled execution [%s].", brief);
    return CLI_DONE;
}

static int run_delete(struct cli *c)
{
    struct err e = {0};
    struct jv *x = NULL, *operation = NULL, *gone = NULL;
    if (find_execution(c, c->args[0], &x, &e))
        return cli_fail(c, &e);
    const char *name = jv_text(x, "name"), *brief = cli_basename(name);
    if (!cli_confirm(c, "Execution [%s] will be deleted; what runs of it is stopped.", brief))
        return CLI_FAILED;
    if (api_call(c, "DELETE", api_path(c, "v2", name, ""), NULL, &operation, &e))
        return cli_fail(c, &e);
    if (!cli_bool(c, "async") && api_wait(c, cli_printf(c, "Deleting [%s]", brief), operation, &gone, &e))
        return cli_fail(c, &e);
    cli_say(c, "Deleted execution [%s].", brief);
    return CLI_DONE;
}

static int run_retry(struct cli *c)
{
    struct err e = {0};
    struct jv *x = NULL, *operation = NULL;
    if (find_execution(c, c->args[0], &x, &e))
        return cli_fail(c, &e);
    const char *name = jv_text(x, "name");
    if (api_call(c, "POST", api_path(c, "runnel/v1", name, ":retryFailed"), jv_object(), &operation, &e))
        return cli_fail(c, &e);
    cli_say(c, "The failed tasks of execution [%s] run again.", cli_basename(name));
    if (cli_given(c, "wait") || cli_given(c, "tail"))
        return execution_follow(c, name, jv_text(operation, "name"), true, cli_given(c, "tail"));
    cli_show_made(c, operation);
    return CLI_DONE;
}

/* ---- tasks ---- */

static bool is_asked(struct cli *c, const struct jv *task)
{
    static const char *const states[] = {"succeeded", "failed", "cancelled", "running", "pending"};
    bool any = false;
    for (size_t i = 0; i < ARRAY_LEN(states); i++) {
        any = any || cli_given(c, states[i]);
        if (cli_given(c, states[i]) && strcmp(run_state(task), states[i]) == 0)
            return true;
    }
    return !any;
}

/* For people: how its last attempt ended. */
static const char *result_of(struct cli *c, const struct jv *task)
{
    const int64_t signal = jv_int(task, "lastAttemptResult.termSignal"), code = jv_int(task, "lastAttemptResult.exitCode");
    if (!jv_at(task, "lastAttemptResult"))
        return "";
    if (signal)
        return cli_printf(c, "signal %lld", (long long)signal);
    if (code || !jv_int(task, "lastAttemptResult.status.code"))
        return cli_printf(c, "exit %lld", (long long)code);
    return jv_text(task, "lastAttemptResult.status.message");
}

static int run_tasks_list(struct cli *c)
{
    struct err e = {0};
    struct jv *x = NULL, *tasks = NULL;
    if (find_execution(c, cli_text(c, "execution"), &x, &e) ||
        api_list_some(c, api_path(c, "v2", jv_text(x, "name"), "/tasks?pageSize=1000"), "tasks", limit_of(c), is_asked, &tasks, &e))
        return cli_fail(c, &e);
    for (struct jv *i = jv_first(tasks); i && cli_format_own(c); i = jv_next(i)) {
        jv_put(i, "index", jv_number((double)jv_int(i, "index"))); /* 0 is left out on the wire */
        jv_put(i, "retried", jv_number((double)jv_int(i, "retried")));
        jv_put_text(i, "status", run_state(i));
        jv_put_text(i, "result", result_of(c, i));
    }
    cli_show_list(c, tasks);
    return CLI_DONE;
}

/* "nightly-x7k2p-task3" is one of nightly-x7k2p's. */
static int find_task(struct cli *c, const char *given, const char **name, struct err *e)
{
    struct jv *x = NULL;
    const char *end = NULL;
    *name = given;
    if (strncmp(given, "projects/", 9) == 0)
        return 0;
    for (const char *p = given; (p = strstr(p, "-task")); p++)
        end = p;
    if (!end || end == given)
        return err_set(e, ERR_INVALID_ARGUMENT, "'%.100s' is no task: they are named EXECUTION-taskINDEX", given);
    const int rc = find_execution(c, cli_copy(c, (struct str){given, (size_t)(end - given)}), &x, e);
    if (rc == 0)
        *name = cli_printf(c, "%s/tasks/%s", jv_text(x, "name"), given);
    return rc;
}

static int run_task_describe(struct cli *c)
{
    static const char *const more[] = {"input", "result", "resultCut", "attempts"};
    struct err e = {0};
    const char *name = NULL;
    struct jv *task = NULL, *ours = NULL;
    if (find_task(c, c->args[0], &name, &e) || api_call(c, "GET", api_path(c, "v2", name, ""), NULL, &task, &e) ||
        api_call(c, "GET", api_path(c, "runnel/v1", name, ":attempts"), NULL, &ours, &e))
        return cli_fail(c, &e);
    for (size_t i = 0; i < ARRAY_LEN(more); i++)
        jv_put(task, more[i], jv_copy(jv_at(ours, more[i])));
    cli_show(c, task);
    return CLI_DONE;
}

#define LIMIT_FLAG CLI_FLAG("limit", CLI_INT, "N", "at most so many", .min = 1, .max = RUN_TASKS_MAX)
#define TAIL_FLAG CLI_FLAG("tail", CLI_SWITCH, "", "also print what the tasks write as it comes")

static const struct cli_flag list_flags[] = {CLI_FLAG("job", CLI_TEXT, "JOB", "only this job's"), LIMIT_FLAG, {0}};
static const struct cli_flag wait_flags[] = {TAIL_FLAG, {0}};
static const struct cli_flag async_flags[] = {CLI_FLAG("async", CLI_BOOL, "", "do not wait until its tasks have stopped"), {0}};
static const struct cli_flag retry_flags[] = {
    CLI_FLAG("wait", CLI_SWITCH, "", "wait until the execution has ended; the exit code is 0 when it succeeded, 1 if not"),
    TAIL_FLAG,
    {0},
};
static const struct cli_flag task_list_flags[] = {
    CLI_FLAG("execution", CLI_TEXT, "EXECUTION", "whose tasks", .required = true),
    CLI_FLAG("succeeded", CLI_SWITCH, "", "those that succeeded; several of these add up, and without any there are all"),
    CLI_FLAG("failed", CLI_SWITCH, "", "those that failed"),
    CLI_FLAG("cancelled", CLI_SWITCH, "", "those that were cancelled"),
    CLI_FLAG("running", CLI_SWITCH, "", "those that run, or wait for their next attempt"),
    CLI_FLAG("pending", CLI_SWITCH, "", "those that have not begun"),
    LIMIT_FLAG,
    {0},
};

const struct cli_command cli_run_execution_commands[] = {
    {"run jobs executions list", "", "list executions, the newest of each job first",
     "name.basename():label=EXECUTION,job.basename():label=JOB,status:label=STATUS,runningCount:label=RUNNING,complete:label=COMPLETE,"
     "createTime:label=CREATED,completionTime:label=ENDED",
     list_flags, EXAMPLES("runnel run jobs executions list", "runnel run jobs executions list --job=nightly --limit=10"), run_list},
    {"run jobs executions describe", "EXECUTION", "show one execution", NULL, NULL,
     EXAMPLES("runnel run jobs executions describe nightly-x7k2p",
              "runnel run jobs executions describe nightly-x7k2p --format='value(failedCount)'"),
     run_describe},
    {"run jobs executions wait", "EXECUTION", "follow an execution to its end; the exit code is 0 when it succeeded, 1 if not", NULL,
     wait_flags, EXAMPLES("runnel run jobs executions wait nightly-x7k2p --tail"), run_wait},
    {"run jobs executions cancel", "EXECUTION", "stop an execution: its programs get SIGTERM, and SIGKILL 10 s later", NULL, async_flags,
     EXAMPLES("runnel run jobs executions cancel nightly-x7k2p"), run_cancel},
    {"run jobs executions delete", "EXECUTION", "delete an execution and what is known of its tasks", NULL, async_flags,
     EXAMPLES("runnel run jobs executions delete nightly-x7k2p --quiet"), run_delete},
    {"run jobs executions retry-failed", "EXECUTION", "run those tasks of an execution again that failed", NULL, retry_flags,
     EXAMPLES("runnel run jobs executions retry-failed nightly-x7k2p --wait"), run_retry},
    {"run jobs executions tasks list", "", "list the tasks of an execution",
     "name.basename():label=TASK,index:label=INDEX,status:label=STATUS,retried:label=RETRIED,result:label=RESULT,startTime:label=STARTED,"
     "completionTime:label=ENDED",
     task_list_flags,
     EXAMPLES("runnel run jobs executions tasks list --execution=nightly-x7k2p",
              "runnel run jobs executions tasks list --execution=nightly-x7k2p --failed --format='value(index)'"),
     run_tasks_list},
    {"run jobs executions tasks describe", "TASK", "show one task: its attempts, its input, its result", NULL, NULL,
     EXAMPLES("runnel run jobs executions tasks describe nightly-x7k2p-task3"), run_task_describe},
    {0},
};

/* cli_run_jobs.c: `runnel run jobs`: create, deploy, update, list, describe, delete. */
#include "tools/runnel/cli_run_jobs.h"
#include "tools/runnel/cli_api.h"
#include "tools/runnel/cli_commands.h"
#include "tools/runnel/cli_container.h"
#include "tools/runnel/cli_output.h"

const char *run_job_name(struct cli *c, const char *given)
{
    if (strncmp(given, "projects/", 9) == 0 && strstr(given, "/jobs/") && !strstr(given, "/executions/"))
        return given;
    if (strchr(given, '/')) {
        cli_usage_error(c, "'%s' is neither a short name nor projects/PROJECT/locations/REGION/jobs/JOB", given);
        return NULL;
    }
    return cli_printf(c, "%s/jobs/%s", api_location(c), given);
}

const char *run_condition(const struct jv *resource, const char *type, const char *field)
{
    for (const struct jv *i = jv_first(jv_at(resource, "conditions")); i; i = jv_next(i))
        if (strcmp(jv_text(i, "type"), type) == 0)
            return jv_text(i, field);
    return "";
}

/* What ended and how is in the condition; the rest follows from reasons and times. */
const char *run_state(const struct jv *resource)
{
    const char *state = run_condition(resource, "Completed", "state"), *reason = run_condition(resource, "Completed", "executionReason");
    if (strcmp(state, "CONDITION_SUCCEEDED") == 0)
        return "succeeded";
    if (strcmp(state, "CONDITION_FAILED") == 0)
        return strcmp(reason, "CANCELLED") == 0 ? "cancelled" : "failed";
    if (strcmp(reason, "CANCELLING") == 0)
        return "cancelling";
    if (strcmp(reason, "DELAYED_START_PENDING") == 0)
        return "queued";
    return *jv_text(resource, "startTime") ? "running" : "pending";
}

static int job_get(struct cli *c, const char *name, struct jv **job, struct err *e)
{
    return api_call(c, "GET", api_path(c, "v2", name, ""), NULL, job, e);
}

/* ---- flags into the job ---- */

/* What of a job may be sent back: without what only the server writes. */
static struct jv *writable(const struct jv *job)
{
    static const char *const fields[] = {"labels", "annotations", "launchStage", "binaryAuthorization", "template", "etag"};
    struct jv *w = jv_object();
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        jv_put(w, fields[i], jv_copy(jv_at(job, fields[i])));
    return w;
}

static const char *joined(struct cli *c, const char *flag)
{
    const char *const *items = cli_list(c, flag, NULL), *text = "";
    for (size_t i = 0; items[i]; i++)
        text = cli_printf(c, "%s%s%s", text, *text ? "," : "", items[i]);
    return text;
}

/* What Google's API has no field for; an empty value or 0, where that means nothing, takes it away. */
static void put_annotations(struct cli *c, struct jv *job)
{
    static const struct {
        const char *flag, *name;
        bool zero_is_none;
    } ours[] = {
        {"max-concurrent-executions", "runnel.dev/max-concurrent-executions", true},
        {"concurrency-policy", "runnel.dev/concurrency-policy", false},
        {"depends-on", "runnel.dev/depends-on", false},
        {"backoff", "runnel.dev/backoff-min", false},
        {"max-backoff", "runnel.dev/backoff-max", false},
        {"stop-after-failures", "runnel.dev/stop-after-failures", true},
        {"priority", "runnel.dev/priority", false},
        {"weight", "runnel.dev/weight", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(ours); i++) {
        const char *text = cli_text(c, ours[i].flag);
        if (!text)
            continue;
        if (strstr(ours[i].flag, "backoff"))
            text = cli_duration(c, ours[i].flag);
        else if (strcmp(ours[i].flag, "depends-on") == 0)
            text = joined(c, "depends-on");
        const bool none = !*text || (ours[i].zero_is_none && strcmp(text, "0") == 0);
        jv_set(jv_need_object(job, "annotations"), ours[i].name, none ? NULL : jv_string(text));
    }
}

static void put_flags(struct cli *c, struct jv *job)
{
    struct jv *array = jv_need_object(job, "template"), *task = jv_need_object(array, "template");
    container_put(c, task);
    flag_put_number(c, array, "taskCount", "tasks");
    flag_put_number(c, array, "parallelism", "parallelism");
    flag_put_number(c, task, "maxRetries", "max-retries");
    jv_put_text(task, "timeout", cli_duration(c, "task-timeout"));
    jv_put_text(task, "serviceAccount", cli_text(c, "service-account"));
    flags_put_labels(c, job);
    put_annotations(c, job);
    jv_put_text(job, "client", "runnel");
    jv_put_text(job, "clientVersion", RUNNEL_VERSION);
}

/* ---- create, deploy, update ---- */

/* The job is there: tell it, or what runs now. */
static int made(struct cli *c, const char *name, const struct jv *operation, const char *what, const char *done)
{
    struct err e = {0};
    struct jv *job = NULL;
    const char *brief = cli_basename(name);
    if (cli_given(c, "async")) {
        cli_say(c, "Job [%s] is being changed; see `runnel run jobs describe %s`.", brief, brief);
        cli_show_made(c, operation);
        return CLI_DONE;
    }
    if (api_wait(c, cli_printf(c, "%s [%s]", what, brief), operation, &job, &e))
        return cli_fail(c, &e);
    cli_say(c, "Job [%s] has successfully been %s.", brief, done);
    if (cli_given(c, "execute-now") || cli_given(c, "wait") || cli_given(c, "tail") || cli_given(c, "tasks-from"))
        return run_job_now(c, name, NULL);
    cli_say(c, "To execute this job, use: runnel run jobs execute %s", brief);
    cli_show_made(c, job);
    return CLI_DONE;
}

static int create(struct cli *c, const char *name, const char *done)
{
    struct err e = {0};
    struct jv *body = jv_object(), *operation = NULL;
    const char *brief = cli_basename(name);
    if (!cli_given(c, "image"))
        return cli_usage_error(c, "the job [%s] does not exist yet, so --image=IMAGE is needed", brief);
    put_flags(c, body);
    const char *parent = cli_copy(c, (struct str){name, (size_t)(strstr(name, "/jobs/") - name)});
    const char *id = api_path(c, "", brief, "") + 2; /* encoded, without the slashes */
    if (api_call(c, "POST", api_path(c, "v2", parent, cli_printf(c, "/jobs?jobId=%s", id)), body, &operation, &e))
        return cli_fail(c, &e);
    return made(c, name, operation, "Creating job", done);
}

static int update(struct cli *c, const char *name, const struct jv *now, const char *done)
{
    struct err e = {0};
    struct jv *body = writable(now), *operation = NULL;
    put_flags(c, body);
    if (api_call(c, "PATCH", api_path(c, "v2", name, ""), body, &operation, &e))
        return cli_fail(c, &e);
    return made(c, name, operation, "Updating job", done);
}

static int run_create(struct cli *c)
{
    const char *name = run_job_name(c, c->args[0]);
    const int rc = name ? run_job_flags_check(c) : CLI_USAGE;
    return rc ? rc : create(c, name, "created");
}

static int run_deploy(struct cli *c)
{
    struct err e = {0};
    struct jv *now = NULL;
    const char *name = run_job_name(c, c->args[0]);
    const int rc = name ? run_job_flags_check(c) : CLI_USAGE;
    if (rc)
        return rc;
    if (job_get(c, name, &now, &e) == 0)
        return update(c, name, now, "deployed");
    return e.code == ERR_NOT_FOUND ? create(c, name, "deployed") : cli_fail(c, &e);
}

static int run_update(struct cli *c)
{
    struct err e = {0};
    struct jv *now = NULL;
    const char *name = run_job_name(c, c->args[0]);
    const int rc = name ? run_job_flags_check(c) : CLI_USAGE;
    if (rc)
        return rc;
    if (job_get(c, name, &now, &e))
        return cli_fail(c, &e);
    return update(c, name, now, "updated");
}

/* ---- list, describe, delete ---- */

/* For people: "succeeded", "running" and so on. */
static char *brief_status(struct cli *c, const char *status)
{
    char *text = cli_printf(c, "%s", strncmp(status, "EXECUTION_", 10) == 0 ? status + 10 : status);
    for (char *p = text; *p; p++)
        *p = (char)(*p >= 'A' && *p <= 'Z' ? *p - 'A' + 'a' : *p);
    return text;
}

static int run_list(struct cli *c)
{
    struct err e = {0};
    struct jv *jobs = NULL;
    if (api_list(c, api_path(c, "v2", api_location(c), "/jobs"), "jobs", &jobs, &e))
        return cli_fail(c, &e);
    for (struct jv *i = jv_first(jobs); i && cli_format_own(c); i = jv_next(i))
        jv_put_text(i, "status", brief_status(c, jv_text(i, "latestCreatedExecution.completionStatus")));
    cli_show_list(c, jobs);
    return CLI_DONE;
}

static int run_describe(struct cli *c)
{
    struct err e = {0};
    struct jv *job = NULL;
    const char *name = run_job_name(c, c->args[0]);
    if (!name)
        return CLI_USAGE;
    if (job_get(c, name, &job, &e))
        return cli_fail(c, &e);
    cli_show(c, job);
    return CLI_DONE;
}

static int run_delete(struct cli *c)
{
    struct err e = {0};
    struct jv *operation = NULL, *gone = NULL;
    const char *name = run_job_name(c, c->args[0]);
    if (!name)
        return CLI_USAGE;
    if (!cli_confirm(c, "Job [%s] and its executions will be deleted; what runs is stopped.", cli_basename(name)))
        return CLI_FAILED;
    if (api_call(c, "DELETE", api_path(c, "v2", name, ""), NULL, &operation, &e))
        return cli_fail(c, &e);
    if (!cli_given(c, "async") && api_wait(c, cli_printf(c, "Deleting [%s]", cli_basename(name)), operation, &gone, &e))
        return cli_fail(c, &e);
    cli_say(c, "Deleted job [%s].", cli_basename(name));
    return CLI_DONE;
}

#define JOB_FLAGS                                                                                                                    \
    CONTAINER_FLAGS, CLI_FLAG("tasks", CLI_INT, "N", "how many tasks an execution has", .min = 1, .max = RUN_TASKS_MAX),             \
        CLI_FLAG("parallelism", CLI_INT, "N", "how many of them run at once at most; 0: as many as the host can well run", .min = 0, \
                 .max = RUN_TASKS_MAX),                                                                                              \
        CLI_FLAG("max-retries", CLI_INT, "N", "how often a task that failed is tried again", .min = 0, .max = 10),                   \
        CLI_FLAG("task-timeout", CLI_DURATION, "DURATION", "an attempt may take so long, then SIGTERM, and SIGKILL 10 s later"),     \
        CLI_FLAG("service-account", CLI_TEXT, "EMAIL",                                                                               \
                 "kept for information: the metadata server gives the project's default account to every program"),                  \
        LABEL_FLAGS,                                                                                                                 \
        CLI_FLAG("max-concurrent-executions", CLI_INT, "N", "executions of this job at once; 0: no limit", .min = 0, .max = 10000),  \
        CLI_FLAG("concurrency-policy", CLI_CHOICE, "queue|refuse", "what becomes of one more than that"),                            \
        CLI_FLAG("depends-on", CLI_LIST, "JOB,...", "run this job when all of these have succeeded since it ran last; empty: none"), \
        CLI_FLAG("backoff", CLI_DURATION, "DURATION", "the time before a task is tried again; it doubles each time"),                \
        CLI_FLAG("max-backoff", CLI_DURATION, "DURATION", "the longest such time"),                                                  \
        CLI_FLAG("stop-after-failures", CLI_INT, "N", "an execution ends when so many of its tasks have failed; 0: never", .min = 0, \
                 .max = RUN_TASKS_MAX),                                                                                              \
        CLI_FLAG("priority", CLI_INT, "N", "jobs of a higher one run first", .min = -1000, .max = 1000), WEIGHT_FLAG,                \
        CLI_FLAG("execute-now", CLI_SWITCH, "", "then execute it, too"), JOB_FOLLOW_FLAGS

static const struct cli_flag job_flags[] = {JOB_FLAGS, {0}};
static const struct cli_flag delete_flags[] = {CLI_FLAG("async", CLI_SWITCH, "", "do not wait until its tasks have stopped"), {0}};

const struct cli_command cli_run_job_commands[] = {
    {"run jobs create", "JOB", "create a job: a program that runs to its end, once or as an array of tasks", NULL, job_flags,
     EXAMPLES("runnel run jobs create nightly --image=exec:///opt/app --command=./report --max-retries=1 --task-timeout=1h",
              "runnel run jobs create thumbs --image=exec:///opt/app --command=./thumb --tasks=1000 --parallelism=8 --execute-now --wait",
              "runnel run jobs create load --image=exec:///opt/app --command=./load --depends-on=nightly --stop-after-failures=10"),
     run_create},
    {"run jobs deploy", "JOB", "create a job, or change it if it is there", NULL, job_flags,
     EXAMPLES("runnel run jobs deploy nightly --image=exec:///opt/app --command=./report --memory=512Mi"), run_deploy},
    {"run jobs update", "JOB", "change a job that exists; executions that run go on as they began", NULL, job_flags,
     EXAMPLES("runnel run jobs update nightly --update-env-vars=MODE=full --max-retries=5 --backoff=10s --max-backoff=10m",
              "runnel run jobs update nightly --max-concurrent-executions=1 --concurrency-policy=refuse --priority=10 --weight=25"),
     run_update},
    {"run jobs list", "", "list jobs",
     "name.basename():label=JOB,latestCreatedExecution.name.basename():label=LAST_EXECUTION,status:label=STATUS,"
     "latestCreatedExecution.createTime:label=LAST_RUN_AT,executionCount:label=EXECUTIONS,updateTime:label=CHANGED",
     NULL, EXAMPLES("runnel run jobs list", "runnel run jobs list --format='value(name.basename())'"), run_list},
    {"run jobs describe", "JOB", "show one job", NULL, NULL, EXAMPLES("runnel run jobs describe nightly"), run_describe},
    {"run jobs delete", "JOB", "delete a job and its executions", NULL, delete_flags, EXAMPLES("runnel run jobs delete nightly --quiet"),
     run_delete},
    {0},
};

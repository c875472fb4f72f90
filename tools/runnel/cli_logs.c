/* cli_logs.c: `runnel run services logs read`, `runnel run jobs logs read`, `… executions logs`: what programs wrote, oldest first. */
#include "tools/runnel/cli_logs.h"
#include "core/base/clock.h"
#include "tools/runnel/cli_api.h"
#include "tools/runnel/cli_commands.h"
#include "tools/runnel/cli_output.h"
#include "tools/runnel/cli_run_jobs.h"

#include <stdio.h>

#define LIMIT_MAX 1000

const char *logs_job_filter(struct cli *c, const char *job, const char *execution, const char *task)
{
    const char *filter = cli_printf(c, "resource.type = cloud_run_job AND resource.labels.location = \"%s\"", c->region);
    if (job)
        filter = cli_printf(c, "%s AND resource.labels.job_name = \"%s\"", filter, job);
    if (execution)
        filter = cli_printf(c, "%s AND labels.\"run.googleapis.com/execution_name\" = \"%s\"", filter, execution);
    if (task)
        filter = cli_printf(c, "%s AND labels.\"run.googleapis.com/task_index\" = \"%s\"", filter, task);
    return filter;
}

const char *logs_label(const struct jv *entry, const char *name)
{
    for (const struct jv *i = jv_first(jv_at(entry, "labels")); i; i = jv_next(i))
        if (strcmp(jv_key(i), name) == 0)
            return jv_show(i);
    return "";
}

const char *logs_text(const struct jv *entry)
{
    const char *text = jv_text(entry, "textPayload"), *message = jv_text(entry, "jsonPayload.message");
    if (*text || *message)
        return *text ? text : message;
    return jv_at(entry, "jsonPayload") ? jv_show(jv_at(entry, "jsonPayload")) : "";
}

/* With what the flags add. */
static const char *filter_of(struct cli *c, const char *filter)
{
    int64_t ms = 0;
    if (cli_duration_parse(cli_text(c, "freshness"), &ms, NULL) == 0) {
        char text[WALL_TEXT_MAX];
        filter = cli_printf(c, "%s AND timestamp >= \"%s\"", filter, wall_format(clock_wall_ns(clock_real()) - ms * NS_PER_MS, text));
    }
    if (cli_text(c, "log-filter")) /* without parentheses, which the server does not take; OR would bind closer than AND anyway */
        filter = cli_printf(c, "%s AND %s", filter, cli_text(c, "log-filter"));
    return filter;
}

/* Whose it is: a revision, or an execution and its task. */
static const char *where_of(struct cli *c, const struct jv *entry)
{
    const char *execution = logs_label(entry, "run.googleapis.com/execution_name");
    const char *task = logs_label(entry, "run.googleapis.com/task_index");
    if (!*execution)
        return jv_text(entry, "resource.labels.revision_name");
    return *task ? cli_printf(c, "%s[%s]", execution, task) : execution;
}

static void print_entry(struct cli *c, const struct jv *entry)
{
    char when[20];
    snprintf(when, sizeof when, "%s", jv_text(entry, "timestamp")); /* to the second */
    const char *severity = jv_text(entry, "severity");
    const bool plain = !*severity || strcmp(severity, "DEFAULT") == 0;
    printf("%s  %s%s%s  %s\n", when, where_of(c, entry), plain ? "" : "  ", plain ? "" : severity, logs_text(entry));
}

static int read_logs(struct cli *c, const char *filter)
{
    struct err e = {0};
    struct jv *body = jv_object(), *answer = NULL, *oldest_first = jv_array();
    jv_add(jv_need_array(body, "resourceNames"), jv_string(cli_printf(c, "projects/%s", c->project)));
    jv_put_text(body, "filter", filter_of(c, filter));
    jv_put_text(body, "orderBy", "timestamp desc");
    jv_put(body, "pageSize", jv_number((double)cli_int(c, "limit")));
    if (api_call(c, "POST", "/v2/entries:list", body, &answer, &e))
        return cli_fail(c, &e);
    const struct jv *entries = jv_at(answer, "entries");
    const size_t n = jv_count(entries);
    for (size_t i = n; i-- > 0;)
        jv_add(oldest_first, jv_copy(jv_at(entries, cli_printf(c, "[%zu]", i))));
    if (!cli_format_own(c))
        cli_show_list(c, oldest_first);
    else
        for (const struct jv *i = jv_first(oldest_first); i; i = jv_next(i))
            print_entry(c, i);
    if (n == 0)
        cli_say(c, "No lines in this time. --freshness=7d looks further back.");
    return CLI_DONE;
}

static int run_service_logs(struct cli *c)
{
    const char *name = api_service_name(c, c->args[0]);
    if (!name)
        return CLI_USAGE;
    return read_logs(c, cli_printf(c,
                                   "resource.type = cloud_run_revision AND resource.labels.service_name = \"%s\" "
                                   "AND resource.labels.location = \"%s\"",
                                   cli_basename(name), c->region));
}

static int run_job_logs(struct cli *c)
{
    const char *job = c->n_args ? run_job_name(c, c->args[0]) : NULL, *execution = cli_text(c, "execution");
    if (c->n_args && !job)
        return CLI_USAGE;
    if (!job && !execution)
        return cli_usage_error(c, "whose lines? Give JOB, or --execution=EXECUTION");
    return read_logs(c,
                     logs_job_filter(c, job ? cli_basename(job) : NULL, execution ? cli_basename(execution) : NULL, cli_text(c, "task")));
}

static int run_execution_logs(struct cli *c)
{
    return read_logs(c, logs_job_filter(c, NULL, cli_basename(c->args[0]), cli_text(c, "task")));
}

#define LOG_FLAGS                                                                                                    \
    CLI_FLAG("limit", CLI_INT, "N", "at most so many lines, the newest", .dflt = "100", .min = 1, .max = LIMIT_MAX), \
        CLI_FLAG("freshness", CLI_DURATION, "DURATION", "not older than this", .dflt = "1d"),                        \
        CLI_FLAG("log-filter", CLI_TEXT, "FILTER", "only matching lines, e.g. 'severity>=ERROR'")
static const struct cli_flag log_flags[] = {LOG_FLAGS, {0}};
#define TASK_FLAG CLI_FLAG("task", CLI_INT, "INDEX", "only the task of this index", .min = 0, .max = RUN_TASKS_MAX - 1)
static const struct cli_flag job_log_flags[] = {
    LOG_FLAGS,
    CLI_FLAG("execution", CLI_TEXT, "EXECUTION", "only this execution's"),
    TASK_FLAG,
    {0},
};
static const struct cli_flag execution_log_flags[] = {LOG_FLAGS, TASK_FLAG, {0}};
const struct cli_command cli_log_commands[] = {
    {"run services logs read", "SERVICE", "show what a service wrote to stdout and stderr", NULL, log_flags,
     EXAMPLES("runnel run services logs read hello", "runnel run services logs read hello --limit=20 --freshness=10m"), run_service_logs},
    {"run jobs logs read", "[JOB]", "show what the tasks of a job wrote to stdout and stderr", NULL, job_log_flags,
     EXAMPLES("runnel run jobs logs read nightly", "runnel run jobs logs read --execution=nightly-x7k2p --task=3 --freshness=1h"),
     run_job_logs},
    {"run jobs executions logs", "EXECUTION", "show what the tasks of an execution wrote to stdout and stderr", NULL, execution_log_flags,
     EXAMPLES("runnel run jobs executions logs nightly-x7k2p",
              "runnel run jobs executions logs nightly-x7k2p --task=3 --log-filter='severity>=ERROR'"),
     run_execution_logs},
    {0},
};

/* cli_jobs.c: `runnel scheduler jobs`: create, update, list, describe, delete, pause, resume, run, and ours: next, policy. */
#include "tools/runnel/cli_jobs.h"

#include "tools/runnel/cli_api.h"
#include "tools/runnel/cli_commands.h"
#include "tools/runnel/cli_output.h"
#include "tools/runnel/cli_tasks.h"

#include <stdio.h>

#define NEXT_MAX 1000
#define MISSED_MAX 100

const char *jobs_name(struct cli *c, const char *given)
{
    const char *location = cli_text(c, "location");
    if (strncmp(given, "projects/", 9) == 0 && strstr(given, "/jobs/"))
        return given;
    if (strchr(given, '/')) {
        cli_usage_error(c, "'%s' is neither a short name nor projects/PROJECT/locations/LOCATION/jobs/JOB", given);
        return NULL;
    }
    return cli_printf(c, "projects/%s/locations/%s/jobs/%s", c->project, location ? location : c->region, given);
}

/* ---- create, update ---- */

static int jobs_create(struct cli *c)
{
    struct err e = {0};
    struct jv *job = jv_object(), *answer = NULL;
    const char *name = jobs_name(c, c->args[0]);
    int rc = name ? jobs_put(c, job, NULL) : CLI_USAGE;
    if (rc)
        return rc;
    jv_put_text(job, "name", name);
    char *parent = cli_printf(c, "%.*s", (int)(strstr(name, "/jobs/") - name), name);
    if (api_call(c, "POST", api_path(c, "v1", parent, "/jobs"), job, &answer, &e))
        return cli_fail(c, &e);
    cli_say(c, "Created job [%s]; it runs next at %s.", jv_text(answer, "name"), jv_text(answer, "scheduleTime"));
    cli_show_made(c, answer);
    return CLI_DONE;
}

static int jobs_update(struct cli *c)
{
    struct err e = {0};
    struct jv *job = jv_object(), *answer = NULL;
    const char *name = jobs_name(c, c->args[0]);
    char *mask = cli_printf(c, "%s", "");
    int rc = name ? jobs_put(c, job, &mask) : CLI_USAGE;
    if (rc)
        return rc;
    if (!*mask)
        return cli_usage_error(c, "nothing to change: give at least one flag");
    if (api_call(c, "PATCH", api_path(c, "v1", name, cli_printf(c, "?updateMask=%s", mask)), job, &answer, &e))
        return cli_fail(c, &e);
    cli_say(c, "Updated job [%s].", name);
    cli_show_made(c, answer);
    return CLI_DONE;
}

/* ---- list, describe, delete, pause, resume, run ---- */

static int jobs_list(struct cli *c)
{
    const char *location = cli_text(c, "location");
    const char *parent = location ? cli_printf(c, "projects/%s/locations/%s", c->project, location) : api_location(c);
    return tasks_list(c, api_path(c, "v1", parent, "/jobs"), "jobs");
}

static int jobs_describe(struct cli *c)
{
    struct err e = {0};
    struct jv *answer = NULL;
    const char *name = jobs_name(c, c->args[0]);
    if (!name)
        return CLI_USAGE;
    if (api_call(c, "GET", api_path(c, "v1", name, ""), NULL, &answer, &e))
        return cli_fail(c, &e);
    cli_show(c, answer);
    return CLI_DONE;
}

static int jobs_delete(struct cli *c)
{
    struct err e = {0};
    struct jv *answer = NULL;
    const char *name = jobs_name(c, c->args[0]);
    if (!name)
        return CLI_USAGE;
    if (!cli_confirm(c, "You are about to delete job [%s].\n", c->args[0]))
        return CLI_FAILED;
    if (api_call(c, "DELETE", api_path(c, "v1", name, ""), NULL, &answer, &e))
        return cli_fail(c, &e);
    cli_say(c, "Deleted job [%s].", name);
    return CLI_DONE;
}

static int jobs_do(struct cli *c, const char *verb, const char *done)
{
    struct jv *answer = NULL;
    const char *name = jobs_name(c, c->args[0]);
    if (!name)
        return CLI_USAGE;
    if (tasks_post(c, "v1", name, verb, NULL, &answer))
        return CLI_FAILED;
    cli_say(c, "Job [%s] %s.", c->args[0], done);
    cli_show_made(c, answer);
    return CLI_DONE;
}

static int jobs_pause(struct cli *c) { return jobs_do(c, ":pause", "has been paused"); }
static int jobs_resume(struct cli *c) { return jobs_do(c, ":resume", "has been resumed"); }
static int jobs_run(struct cli *c) { return jobs_do(c, ":run", "runs now"); }

/* ---- ours ---- */

static int jobs_next(struct cli *c)
{
    struct err e = {0};
    struct jv *answer = NULL;
    const char *name = jobs_name(c, c->args[0]);
    if (!name)
        return CLI_USAGE;
    const char *suffix = cli_printf(c, ":next?count=%lld", (long long)cli_int(c, "count"));
    if (api_call(c, "GET", api_path(c, "runnel/v1", name, suffix), NULL, &answer, &e))
        return cli_fail(c, &e);
    struct jv *next = jv_put(answer, "next", jv_array()); /* as `explain` has them */
    for (const struct jv *f = jv_first(jv_at(answer, "firings")); f; f = jv_next(f))
        jv_add(next, jv_string(jv_text(f, "localTime")));
    if (!cli_format_default(c)) {
        cli_show(c, answer);
        return CLI_DONE;
    }
    printf("%s\n\n", jv_text(answer, "text"));
    for (const struct jv *f = jv_first(jv_at(answer, "firings")); f; f = jv_next(f)) {
        const char *note = jv_text(f, "note"), *start = jv_text(f, "startTime");
        bool later = strcmp(start, jv_text(f, "scheduleTime")) != 0;
        printf("  %s%s%s%s%s\n", jv_text(f, "localTime"), later ? "   starts at " : "", later ? start : "", *note ? "   " : "", note);
    }
    if (!jv_count(jv_at(answer, "firings")))
        printf("  It does not fire any more.\n");
    return CLI_DONE;
}

static char *choice(struct cli *c, const char *flag)
{
    char *out = cli_copy(c, str_of(cli_text(c, flag)));
    for (char *p = out; *p; p++)
        *p = (char)(*p - 'a' + 'A'); /* choices are letters */
    return out;
}

/* What the flags say, as fields and their mask. */
static const char *put_policy(struct cli *c, struct jv *policy)
{
    static const char *const fields[][2] = {{"missed", "missed"},         {"overlap", "overlap"},  {"missed-limit", "missedLimit"},
                                            {"jitter", "jitter"},         {"start", "startTime"},  {"end", "endTime"},
                                            {"clear-start", "startTime"}, {"clear-end", "endTime"}};
    char *mask = cli_printf(c, "%s", "");
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if (cli_given(c, fields[i][0]))
            mask = cli_printf(c, "%s%s%s", mask, *mask ? "," : "", fields[i][1]);
    if (cli_given(c, "missed"))
        jv_put_text(policy, "missed", choice(c, "missed"));
    if (cli_given(c, "overlap"))
        jv_put_text(policy, "overlap", choice(c, "overlap"));
    if (cli_given(c, "missed-limit"))
        jv_put(policy, "missedLimit", jv_number((double)cli_int(c, "missed-limit")));
    jv_put_text(policy, "jitter", cli_duration(c, "jitter"));
    jv_put_text(policy, "startTime", cli_time(c, "start"));
    jv_put_text(policy, "endTime", cli_time(c, "end"));
    return mask;
}

static int jobs_policy(struct cli *c)
{
    struct err e = {0};
    struct jv *policy = jv_object(), *answer = NULL;
    const char *name = jobs_name(c, c->args[0]);
    if (!name)
        return CLI_USAGE;
    const char *mask = put_policy(c, policy);
    int rc = *mask ? api_call(c, "PATCH", api_path(c, "runnel/v1", name, cli_printf(c, "?updateMask=%s", mask)), policy, &answer, &e)
                   : api_call(c, "GET", api_path(c, "runnel/v1", name, ""), NULL, &answer, &e);
    if (rc)
        return cli_fail(c, &e);
    cli_show(c, answer);
    return CLI_DONE;
}

static const struct cli_flag job_flags[] = {JOB_LOCATION_FLAG, {0}};
static const struct cli_flag list_flags[] = {JOB_LOCATION_FLAG, LIMIT_FLAG, {0}};
static const struct cli_flag next_flags[] = {
    JOB_LOCATION_FLAG,
    CLI_FLAG("count", CLI_INT, "N", "how many firings", .dflt = "10", .min = 1, .max = NEXT_MAX),
    {0},
};
static const struct cli_flag policy_flags[] = {
    JOB_LOCATION_FLAG,
    CLI_FLAG("missed", CLI_CHOICE, "skip|once|all", "what becomes of firings whose time went by while the server was down"),
    CLI_FLAG("missed-limit", CLI_INT, "N", "how many 'all' makes up at most: the latest ones", .min = 1, .max = MISSED_MAX),
    CLI_FLAG("overlap", CLI_CHOICE, "forbid|allow|replace",
             "when a firing is due while an earlier one still runs: wait, run beside, cancel it"),
    CLI_FLAG("jitter", CLI_DURATION, "DURATION", "start each firing up to this much later (0s to 1h)"),
    CLI_FLAG("start", CLI_TIME, "TIME", "no firing before it"),
    CLI_FLAG("end", CLI_TIME, "TIME", "no firing from it on"),
    CLI_FLAG("clear-start", CLI_SWITCH, "", "no start"),
    CLI_FLAG("clear-end", CLI_SWITCH, "", "no end"),
    {0},
};

const struct cli_command cli_job_commands[] = {
    {"scheduler jobs create http", "JOB", "create a job that calls a URL", NULL, cli_job_create_http_flags,
     EXAMPLES(
         "runnel scheduler jobs create http nightly --schedule='0 3 * * *' --time-zone=Europe/Berlin --uri=http://hello.localhost:8080/",
         "runnel scheduler jobs create http tick --schedule='every 5 minutes' --uri=https://example.com/tick --message-body=now "
         "--oidc-service-account-email=me@my-project.iam.gserviceaccount.com --max-retry-attempts=3"),
     jobs_create},
    {"scheduler jobs create pubsub", "JOB", "create a job that publishes a message", NULL, cli_job_create_pubsub_flags,
     EXAMPLES("runnel scheduler jobs create pubsub hourly --schedule='@hourly' --topic=greetings --message-body=hi --attributes=kind=cron"),
     jobs_create},
    {"scheduler jobs create run", "JOB", "create a job that executes a job of `runnel run jobs`", NULL, cli_job_create_run_flags,
     EXAMPLES(
         "runnel scheduler jobs create run nightly --schedule='0 3 * * *' --time-zone=Europe/Berlin --job=report",
         "runnel scheduler jobs create run thumbs-tick --schedule='every 10 minutes' --job=thumbs --tasks=4 --update-env-vars=MODE=new"),
     jobs_create},
    {"scheduler jobs update http", "JOB", "change a job that calls a URL", NULL, cli_job_update_http_flags,
     EXAMPLES("runnel scheduler jobs update http nightly --schedule='30 3 * * *' --update-headers=X-Kind=nightly"), jobs_update},
    {"scheduler jobs update pubsub", "JOB", "change a job that publishes a message", NULL, cli_job_update_pubsub_flags,
     EXAMPLES("runnel scheduler jobs update pubsub hourly --message-body=hello --remove-attributes=kind"), jobs_update},
    {"scheduler jobs update run", "JOB", "change a job that executes a job of `runnel run jobs`", NULL, cli_job_update_run_flags,
     EXAMPLES("runnel scheduler jobs update run nightly --tasks=2 --max-retry-attempts=3"), jobs_update},
    {"scheduler jobs list", "", "list jobs",
     "name.basename():label=ID,schedule:label=SCHEDULE,timeZone:label=TZ,httpTarget.uri:label=HTTP,"
     "pubsubTarget.topicName.basename():label=TOPIC,state:label=STATE,scheduleTime:label=NEXT",
     list_flags, EXAMPLES("runnel scheduler jobs list", "runnel scheduler jobs list --location=us-central1 --format='value(name)'"),
     jobs_list},
    {"scheduler jobs describe", "JOB", "show one job", NULL, job_flags, EXAMPLES("runnel scheduler jobs describe nightly"), jobs_describe},
    {"scheduler jobs delete", "JOB", "delete a job", NULL, job_flags, EXAMPLES("runnel scheduler jobs delete nightly --quiet"),
     jobs_delete},
    {"scheduler jobs pause", "JOB", "pause a job: it does not fire until it is resumed", NULL, job_flags,
     EXAMPLES("runnel scheduler jobs pause nightly"), jobs_pause},
    {"scheduler jobs resume", "JOB", "resume a paused job", NULL, job_flags, EXAMPLES("runnel scheduler jobs resume nightly"), jobs_resume},
    {"scheduler jobs run", "JOB", "run a job now, also a paused one", NULL, job_flags, EXAMPLES("runnel scheduler jobs run nightly"),
     jobs_run},
    {"scheduler jobs next", "JOB", "say when a job fires next, and what the clock does there", NULL, next_flags,
     EXAMPLES("runnel scheduler jobs next nightly --count=3"), jobs_next},
    {"scheduler jobs policy", "JOB", "show or change what a job promises: missed firings, overlap, jitter, start and end", NULL,
     policy_flags,
     EXAMPLES("runnel scheduler jobs policy nightly",
              "runnel scheduler jobs policy nightly --missed=all --missed-limit=5 --overlap=replace",
              "runnel scheduler jobs policy nightly --jitter=10m --end=2030-01-01T00:00:00Z"),
     jobs_policy},
    {0},
};

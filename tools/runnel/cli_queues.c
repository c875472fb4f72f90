/* cli_queues.c: `runnel tasks queues`: create, update and the like, and their dead letters. */
#include "tools/runnel/cli_api.h"
#include "tools/runnel/cli_commands.h"
#include "tools/runnel/cli_output.h"
#include "tools/runnel/cli_tasks.h"

#include <stdio.h>
#include <stdlib.h>

#define PAGE_MAX 1000

/* ---- shared ---- */

const char *tasks_queue_name(struct cli *c, const char *given)
{
    const char *location = cli_text(c, "location");
    if (strncmp(given, "projects/", 9) == 0 && strstr(given, "/queues/"))
        return given;
    if (strchr(given, '/')) {
        cli_usage_error(c, "'%s' is neither a short name nor projects/PROJECT/locations/LOCATION/queues/QUEUE", given);
        return NULL;
    }
    return cli_printf(c, "projects/%s/locations/%s/queues/%s", c->project, location ? location : c->region, given);
}

int tasks_post(struct cli *c, const char *version, const char *name, const char *suffix, const struct jv *body, struct jv **answer)
{
    struct err e = {0};
    return api_call(c, "POST", api_path(c, version, name, suffix), body ? body : jv_object(), answer, &e) ? cli_fail(c, &e) : CLI_DONE;
}

int tasks_list(struct cli *c, const char *path, const char *field)
{
    const bool limited = cli_given(c, "limit");
    size_t left = limited ? (size_t)cli_int(c, "limit") : SIZE_MAX;
    struct jv *all = jv_array();
    const char *token = "", *first = strchr(path, '?') ? "&" : "?";
    do {
        struct err e = {0};
        struct jv *answer = NULL;
        const char *at = cli_printf(c, "%s%spageSize=%zu%s%s", path, first, left < PAGE_MAX ? left : (size_t)PAGE_MAX,
                                    *token ? "&pageToken=" : "", token);
        if (api_call(c, "GET", at, NULL, &answer, &e))
            return cli_fail(c, &e);
        for (const struct jv *i = jv_first(jv_at(answer, field)); i && left; i = jv_next(i), left--)
            jv_add(all, jv_copy(i));
        token = jv_text(answer, "nextPageToken");
    } while (*token && left);
    cli_show_list(c, all);
    return CLI_DONE;
}

/* ---- create, update ---- */

/* A flag, and the field that it sets. */
static const struct {
    const char *flag, *field;
    enum { KIND_RATE, KIND_COUNT, KIND_ATTEMPTS, KIND_DURATION } kind;
} settings[] = {
    {"max-dispatches-per-second", "rateLimits.maxDispatchesPerSecond", KIND_RATE},
    {"max-concurrent-dispatches", "rateLimits.maxConcurrentDispatches", KIND_COUNT},
    {"max-attempts", "retryConfig.maxAttempts", KIND_ATTEMPTS},
    {"max-retry-duration", "retryConfig.maxRetryDuration", KIND_DURATION},
    {"max-doublings", "retryConfig.maxDoublings", KIND_COUNT},
    {"min-backoff", "retryConfig.minBackoff", KIND_DURATION},
    {"max-backoff", "retryConfig.maxBackoff", KIND_DURATION},
};

/* A number as text; usage error when it is none. */
static int put_number(struct cli *c, struct jv *o, const char *flag, const char *field)
{
    const char *text = cli_text(c, flag);
    char *end;
    const double v = strtod(text, &end);
    if (end == text || *end)
        return cli_usage_error(c, "--%s: '%s' is not a number", flag, text);
    jv_put(o, field, jv_number(v));
    return CLI_DONE;
}

static int put_setting(struct cli *c, struct jv *queue, size_t i)
{
    const char *flag = settings[i].flag, *field = settings[i].field;
    if (settings[i].kind == KIND_DURATION)
        jv_put_text(queue, field, cli_duration(c, flag));
    else if (settings[i].kind == KIND_COUNT)
        jv_put(queue, field, jv_number((double)cli_int(c, flag)));
    else if (settings[i].kind == KIND_ATTEMPTS && strcmp(cli_text(c, flag), "unlimited") == 0)
        jv_put(queue, field, jv_number(-1));
    else
        return put_number(c, queue, flag, field);
    return CLI_DONE;
}

/* All flags that were given, into `queue`, with the mask that names them. */
static int put_settings(struct cli *c, struct jv *queue, const char **mask)
{
    *mask = "";
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        const char *clear = cli_printf(c, "clear-%s", settings[i].flag);
        const bool set = cli_given(c, settings[i].flag), cleared = cli_given(c, clear);
        if (set && cleared)
            return cli_usage_error(c, "give either --%s or --%s", settings[i].flag, clear);
        if (set && put_setting(c, queue, i))
            return CLI_USAGE;
        if (set || cleared)
            *mask = cli_printf(c, "%s%s%s", *mask, **mask ? "," : "", settings[i].field);
    }
    return CLI_DONE;
}

/* Our own settings, after Google's: a second request. */
static int put_own(struct cli *c, const char *name, bool *any)
{
    struct err e = {0};
    struct jv *body = jv_object(), *answer = NULL;
    const char *mask = "";
    if (cli_given(c, "key-concurrent")) {
        jv_put(body, "keyConcurrent", jv_number((double)cli_int(c, "key-concurrent")));
        mask = "keyConcurrent";
    }
    if (cli_given(c, "dead-keep")) {
        jv_put_text(body, "deadKeep", cli_duration(c, "dead-keep"));
        mask = cli_printf(c, "%s%sdeadKeep", mask, *mask ? "," : "");
    }
    if (cli_given(c, "dead-max")) {
        jv_put(body, "deadMax", jv_number((double)cli_int(c, "dead-max")));
        mask = cli_printf(c, "%s%sdeadMax", mask, *mask ? "," : "");
    }
    *any = *mask != '\0';
    if (!*any)
        return CLI_DONE;
    const char *path = api_path(c, "runnel/v1", name, cli_printf(c, "/settings?updateMask=%s", mask));
    return api_call(c, "PATCH", path, body, &answer, &e) ? cli_fail(c, &e) : CLI_DONE;
}

static int queues_create(struct cli *c)
{
    struct jv *queue = jv_object(), *answer = NULL;
    const char *name = tasks_queue_name(c, c->args[0]), *mask;
    bool own;
    if (!name || put_settings(c, queue, &mask))
        return CLI_USAGE;
    jv_put_text(queue, "name", name);
    const char *parent = cli_copy(c, (struct str){name, (size_t)(strstr(name, "/queues/") - name)});
    if (tasks_post(c, "v2", parent, "/queues", queue, &answer) || put_own(c, name, &own))
        return CLI_FAILED;
    cli_say(c, "Created queue [%s].", name);
    cli_show_made(c, answer);
    return CLI_DONE;
}

static int queues_update(struct cli *c)
{
    struct err e = {0};
    struct jv *queue = jv_object(), *answer = NULL;
    const char *name = tasks_queue_name(c, c->args[0]), *mask;
    bool own;
    if (!name || put_settings(c, queue, &mask))
        return CLI_USAGE;
    if (*mask && api_call(c, "PATCH", api_path(c, "v2", name, cli_printf(c, "?updateMask=%s", mask)), queue, &answer, &e))
        return cli_fail(c, &e);
    if (put_own(c, name, &own))
        return CLI_FAILED;
    if (!*mask && !own)
        return cli_usage_error(c, "nothing to update: give at least one flag");
    cli_say(c, "Updated queue [%s].", name);
    if (answer)
        cli_show_made(c, answer);
    return CLI_DONE;
}

/* ---- describe, list, delete, pause, resume, purge, stats ---- */

static int show(struct cli *c, const char *version, const char *name, const char *suffix)
{
    struct err e = {0};
    struct jv *answer = NULL;
    if (!name)
        return CLI_USAGE;
    if (api_call(c, "GET", api_path(c, version, name, suffix), NULL, &answer, &e))
        return cli_fail(c, &e);
    cli_show(c, answer);
    return CLI_DONE;
}

static int queues_describe(struct cli *c) { return show(c, "v2", tasks_queue_name(c, c->args[0]), ""); }
static int queues_stats(struct cli *c) { return show(c, "runnel/v1", tasks_queue_name(c, c->args[0]), ":stats"); }
static int queues_settings(struct cli *c) { return show(c, "runnel/v1", tasks_queue_name(c, c->args[0]), "/settings"); }

static int queues_list(struct cli *c)
{
    const char *location = cli_text(c, "location");
    const char *parent = cli_printf(c, "projects/%s/locations/%s", c->project, location ? location : c->region);
    return tasks_list(c, api_path(c, "v2", parent, "/queues"), "queues");
}

static int act(struct cli *c, const char *method, const char *suffix, const char *done)
{
    struct err e = {0};
    struct jv *answer = NULL;
    const char *name = tasks_queue_name(c, c->args[0]);
    if (!name)
        return CLI_USAGE;
    if (api_call(c, method, api_path(c, "v2", name, suffix), *suffix ? jv_object() : NULL, &answer, &e))
        return cli_fail(c, &e);
    cli_say(c, "%s queue [%s].", done, name);
    if (*suffix)
        cli_show_made(c, answer);
    return CLI_DONE;
}

static int queues_delete(struct cli *c)
{
    if (!cli_confirm(c, "You are about to delete queue [%s] and all its tasks.\n", c->args[0]))
        return CLI_FAILED;
    return act(c, "DELETE", "", "Deleted");
}

static int queues_purge(struct cli *c)
{
    if (!cli_confirm(c, "You are about to delete all tasks in queue [%s].\n", c->args[0]))
        return CLI_FAILED;
    return act(c, "POST", ":purge", "Purged");
}

static int queues_pause(struct cli *c) { return act(c, "POST", ":pause", "Paused"); }
static int queues_resume(struct cli *c) { return act(c, "POST", ":resume", "Resumed"); }

/* ---- dead letters ---- */

static int dead_list(struct cli *c)
{
    const char *name = tasks_queue_name(c, c->args[0]);
    return name ? tasks_list(c, api_path(c, "runnel/v1", name, "/deadTasks"), "deadTasks") : CLI_USAGE;
}

/* `runnel … QUEUE TASK...` or `--all`. */
static int dead_act(struct cli *c, const char *suffix, const char *count, const char *done)
{
    struct jv *body = jv_object(), *answer = NULL;
    const char *name = tasks_queue_name(c, c->args[0]);
    const bool all = cli_bool(c, "all");
    if (!name)
        return CLI_USAGE;
    if (all == (c->n_args > 1))
        return cli_usage_error(c, "give either the ids of tasks or --all");
    if (all)
        jv_put(body, "all", jv_bool(true));
    for (size_t i = 1; i < c->n_args; i++)
        jv_add(jv_need_array(body, "ids"), jv_string(cli_basename(c->args[i])));
    if (tasks_post(c, "runnel/v1", name, suffix, body, &answer))
        return CLI_FAILED;
    cli_say(c, "%s %lld of [%s].", done, (long long)jv_int(answer, count), name);
    cli_show_made(c, answer);
    return CLI_DONE;
}

static int dead_redrive(struct cli *c) { return dead_act(c, "/deadTasks:redrive", "redrivenCount", "Put back"); }

static int dead_delete(struct cli *c)
{
    if (!cli_confirm(c, "You are about to delete dead letters of queue [%s].\n", c->args[0]))
        return CLI_FAILED;
    return dead_act(c, "/deadTasks:delete", "deletedCount", "Deleted");
}

/* ---- the table ---- */

#define SETTINGS_FLAGS                                                                                                                \
    LOCATION_FLAG, CLI_FLAG("max-dispatches-per-second", CLI_TEXT, "RATE", "how many tasks may start in a second (up to 500)"),       \
        CLI_FLAG("max-concurrent-dispatches", CLI_INT, "N", "how many tasks may run at once", .min = 1, .max = 5000),                 \
        CLI_FLAG("max-attempts", CLI_TEXT, "N|unlimited", "attempts for each task"),                                                  \
        CLI_FLAG("max-retry-duration", CLI_DURATION, "DURATION", "how long a task is retried, from its first attempt; 0s: no limit"), \
        CLI_FLAG("max-doublings", CLI_INT, "N", "how often the time between retries doubles before it grows evenly", .min = 1,        \
                 .max = 1000),                                                                                                        \
        CLI_FLAG("min-backoff", CLI_DURATION, "DURATION", "the first time between retries"),                                          \
        CLI_FLAG("max-backoff", CLI_DURATION, "DURATION", "the longest time between retries"),                                        \
        CLI_FLAG("key-concurrent", CLI_INT, "N", "how many tasks of one Runnel-Fair-Key may run at once; 0: no limit of its own",     \
                 .min = 0, .max = 5000),                                                                                              \
        CLI_FLAG("dead-keep", CLI_DURATION, "DURATION", "how long dead letters are kept; 0s: not at all"),                            \
        CLI_FLAG("dead-max", CLI_INT, "N", "how many dead letters are kept", .min = 1, .max = 1000000)
#define CLEAR_FLAG(name_) CLI_FLAG("clear-" name_, CLI_SWITCH, "", "back to the default of --" name_)

static const struct cli_flag create_flags[] = {SETTINGS_FLAGS, {0}};
static const struct cli_flag update_flags[] = {
    SETTINGS_FLAGS,
    CLEAR_FLAG("max-dispatches-per-second"),
    CLEAR_FLAG("max-concurrent-dispatches"),
    CLEAR_FLAG("max-attempts"),
    CLEAR_FLAG("max-retry-duration"),
    CLEAR_FLAG("max-doublings"),
    CLEAR_FLAG("min-backoff"),
    CLEAR_FLAG("max-backoff"),
    {0},
};
static const struct cli_flag location_flags[] = {LOCATION_FLAG, {0}};
static const struct cli_flag list_flags[] = {LOCATION_FLAG, LIMIT_FLAG, {0}};
static const struct cli_flag dead_flags[] = {LOCATION_FLAG, CLI_FLAG("all", CLI_SWITCH, "", "all dead letters of the queue"), {0}};

const struct cli_command cli_queue_commands[] = {
    {"tasks queues create", "QUEUE", "create a task queue", NULL, create_flags,
     EXAMPLES("runnel tasks queues create mails",
              "runnel tasks queues create mails --max-dispatches-per-second=10 --max-attempts=5 --min-backoff=1s --max-backoff=5m"),
     queues_create},
    {"tasks queues list", "", "list task queues",
     "name.basename():label=QUEUE_NAME,state:label=STATE,rateLimits.maxConcurrentDispatches:label=MAX_NUM_OF_TASKS,"
     "rateLimits.maxDispatchesPerSecond:label=MAX_RATE,retryConfig.maxAttempts:label=MAX_ATTEMPTS",
     list_flags, EXAMPLES("runnel tasks queues list", "runnel tasks queues list --location=us-central1 --format='value(name)'"),
     queues_list},
    {"tasks queues describe", "QUEUE", "show one task queue", NULL, location_flags, EXAMPLES("runnel tasks queues describe mails"),
     queues_describe},
    {"tasks queues update", "QUEUE", "change a task queue", NULL, update_flags,
     EXAMPLES("runnel tasks queues update mails --max-concurrent-dispatches=5 --clear-max-attempts",
              "runnel tasks queues update mails --key-concurrent=1 --dead-keep=30d"),
     queues_update},
    {"tasks queues delete", "QUEUE", "delete a task queue and all its tasks", NULL, location_flags,
     EXAMPLES("runnel tasks queues delete mails --quiet"), queues_delete},
    {"tasks queues pause", "QUEUE", "start no more tasks of a queue", NULL, location_flags, EXAMPLES("runnel tasks queues pause mails"),
     queues_pause},
    {"tasks queues resume", "QUEUE", "start tasks of a paused queue again", NULL, location_flags,
     EXAMPLES("runnel tasks queues resume mails"), queues_resume},
    {"tasks queues purge", "QUEUE", "delete all tasks of a queue", NULL, location_flags,
     EXAMPLES("runnel tasks queues purge mails --quiet"), queues_purge},
    {"tasks queues stats", "QUEUE", "show how many tasks wait, run and died, and the rate", NULL, location_flags,
     EXAMPLES("runnel tasks queues stats mails"), queues_stats},
    {"tasks queues settings", "QUEUE", "show what only Runnel's queues have: concurrency by key, dead letters", NULL, location_flags,
     EXAMPLES("runnel tasks queues settings mails"), queues_settings},
    {"tasks queues dead-letters list", "QUEUE", "list tasks that are out of attempts",
     "task.name.basename():label=TASK_NAME,deadTime:label=DIED,task.dispatchCount:label=ATTEMPTS,reason:label=REASON", list_flags,
     EXAMPLES("runnel tasks queues dead-letters list mails", "runnel tasks queues dead-letters list mails --limit=20 --format=json"),
     dead_list},
    {"tasks queues dead-letters redrive", "QUEUE [TASK...]", "put dead letters back into the queue, due now", NULL, dead_flags,
     EXAMPLES("runnel tasks queues dead-letters redrive mails --all", "runnel tasks queues dead-letters redrive mails welcome-1"),
     dead_redrive},
    {"tasks queues dead-letters delete", "QUEUE [TASK...]", "delete dead letters", NULL, dead_flags,
     EXAMPLES("runnel tasks queues dead-letters delete mails --all --quiet"), dead_delete},
    {0},
};

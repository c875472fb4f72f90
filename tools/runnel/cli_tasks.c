/* cli_tasks.c: `runnel tasks`: create, list, describe, delete, run, timeline. */
#include "tools/runnel/cli_api.h"
#include "tools/runnel/cli_body.h"
#include "tools/runnel/cli_commands.h"
#include "tools/runnel/cli_output.h"
#include "tools/runnel/cli_tasks.h"

#include <ctype.h>

/* A full name, or a short one of the queue in --queue; NULL after saying what is wrong with it. */
static const char *task_name(struct cli *c, const char *given)
{
    if (strncmp(given, "projects/", 9) == 0 && strstr(given, "/tasks/"))
        return given;
    if (strchr(given, '/')) {
        cli_usage_error(c, "'%s' is neither a short name nor projects/PROJECT/locations/LOCATION/queues/QUEUE/tasks/TASK", given);
        return NULL;
    }
    const char *queue = cli_text(c, "queue");
    if (!queue) {
        cli_usage_error(c, "give --queue=QUEUE, or the full name of the task");
        return NULL;
    }
    const char *name = tasks_queue_name(c, queue);
    return name ? cli_printf(c, "%s/tasks/%s", name, given) : NULL;
}

/* ---- create ---- */

/* --header="Name: value", once for each: values may hold commas. */
static int put_headers(struct cli *c, struct jv *http)
{
    for (size_t i = 0; i < c->n_given; i++) {
        if (strcmp(c->given[i].flag->name, "header") != 0)
            continue;
        const char *text = c->given[i].value, *colon = strchr(text, ':');
        if (!colon || colon == text)
            return cli_usage_error(c, "--header: '%s' is not of the form NAME:VALUE", text);
        const char *value = colon + 1 + strspn(colon + 1, " \t");
        jv_set(jv_need_object(http, "headers"), cli_copy(c, (struct str){text, (size_t)(colon - text)}), jv_string(value));
    }
    return CLI_DONE;
}

/* In capitals, however it was written; which methods there are the server knows. */
static const char *method_of(struct cli *c)
{
    char *method = cli_copy(c, str_of(cli_text(c, "method")));
    for (char *p = method; *p; p++)
        *p = (char)toupper((unsigned char)*p);
    return method;
}

static int put_token(struct cli *c, struct jv *http)
{
    const char *oidc = cli_text(c, "oidc-service-account-email"), *oauth = cli_text(c, "oauth-service-account-email");
    const char *audience = cli_text(c, "oidc-token-audience"), *scope = cli_text(c, "oauth-token-scope");
    if (oidc && oauth)
        return cli_usage_error(c, "give either --oidc-service-account-email or --oauth-service-account-email");
    if (audience && !oidc)
        return cli_usage_error(c, "--oidc-token-audience needs --oidc-service-account-email too");
    if (scope && !oauth)
        return cli_usage_error(c, "--oauth-token-scope needs --oauth-service-account-email too");
    jv_put_text(http, "oidcToken.serviceAccountEmail", oidc);
    jv_put_text(http, "oidcToken.audience", audience);
    jv_put_text(http, "oauthToken.serviceAccountEmail", oauth);
    jv_put_text(http, "oauthToken.scope", scope);
    return CLI_DONE;
}

static int put_body(struct cli *c, struct jv *http)
{
    const char *content = cli_text(c, "body-content"), *file = cli_text(c, "body-file");
    if (content && file)
        return cli_usage_error(c, "give either --body-content or --body-file");
    const char *base64 = content ? cli_base64(c, str_of(content)) : file ? cli_file_base64(c, "body-file") : NULL;
    if (file && !base64)
        return CLI_FAILED;
    jv_put_text(http, "body", base64);
    return CLI_DONE;
}

static int tasks_create(struct cli *c)
{
    struct jv *request = jv_object(), *answer = NULL, *task = jv_need_object(request, "task"), *http = jv_need_object(task, "httpRequest");
    const char *queue = tasks_queue_name(c, cli_text(c, "queue"));
    const char *name = c->n_args && queue ? task_name(c, c->args[0]) : NULL;
    if (!queue || (c->n_args && !name))
        return CLI_USAGE;
    jv_put_text(http, "url", cli_text(c, "url"));
    jv_put_text(http, "httpMethod", method_of(c));
    int rc = put_headers(c, http);
    rc = rc ? rc : put_token(c, http);
    rc = rc ? rc : put_body(c, http);
    if (rc)
        return rc;
    jv_put_text(task, "name", name);
    jv_put_text(task, "scheduleTime", cli_time(c, "schedule-time"));
    jv_put_text(task, "dispatchDeadline", cli_duration(c, "dispatch-deadline"));
    if (tasks_post(c, "v2", queue, "/tasks", request, &answer))
        return CLI_FAILED;
    cli_say(c, "Created task [%s].", jv_text(answer, "name"));
    cli_show_made(c, answer);
    return CLI_DONE;
}

/* ---- the others ---- */

static int tasks_show(struct cli *c, const char *version, const char *suffix)
{
    struct err e = {0};
    struct jv *answer = NULL;
    const char *name = task_name(c, c->args[0]);
    if (!name)
        return CLI_USAGE;
    if (api_call(c, "GET", api_path(c, version, name, suffix), NULL, &answer, &e))
        return cli_fail(c, &e);
    if (strcmp(suffix, ":timeline") == 0 && cli_format_own(c))
        cli_show_list(c, jv_need_array(answer, "events"));
    else
        cli_show(c, answer);
    return CLI_DONE;
}

static int tasks_describe(struct cli *c)
{
    return tasks_show(c, "v2", cli_printf(c, "?responseView=%s", strcmp(cli_text(c, "response-view"), "full") == 0 ? "FULL" : "BASIC"));
}

static int tasks_timeline(struct cli *c) { return tasks_show(c, "runnel/v1", ":timeline"); }

static int tasks_list_all(struct cli *c)
{
    const char *queue = tasks_queue_name(c, cli_text(c, "queue"));
    return queue ? tasks_list(c, api_path(c, "v2", queue, "/tasks"), "tasks") : CLI_USAGE;
}

static int tasks_delete(struct cli *c)
{
    struct err e = {0};
    struct jv *answer = NULL;
    const char *name = task_name(c, c->args[0]);
    if (!name)
        return CLI_USAGE;
    if (!cli_confirm(c, "You are about to delete task [%s].\n", c->args[0]))
        return CLI_FAILED;
    if (api_call(c, "DELETE", api_path(c, "v2", name, ""), NULL, &answer, &e))
        return cli_fail(c, &e);
    cli_say(c, "Deleted task [%s].", name);
    return CLI_DONE;
}

static int tasks_run(struct cli *c)
{
    struct jv *answer = NULL;
    const char *name = task_name(c, c->args[0]);
    if (!name)
        return CLI_USAGE;
    if (tasks_post(c, "v2", name, ":run", NULL, &answer))
        return CLI_FAILED;
    cli_show(c, answer);
    return CLI_DONE;
}

static const struct cli_flag create_flags[] = {
    QUEUE_FLAG,
    LOCATION_FLAG,
    CLI_FLAG("url", CLI_TEXT, "URL", "where the request goes. The server is --url before the word tasks, or RUNNEL_URL", .required = true),
    CLI_FLAG("method", CLI_TEXT, "METHOD", "POST, GET, HEAD, PUT, DELETE, PATCH or OPTIONS", .dflt = "POST"),
    CLI_FLAG("header", CLI_TEXT, "NAME:VALUE", "a header of the request; may be repeated. Runnel-Priority: 0 to 9; Runnel-Fair-Key: turns"),
    CLI_FLAG("body-content", CLI_TEXT, "TEXT", "the request's body"),
    CLI_FLAG("body-file", CLI_TEXT, "FILE", "a file with the body; - is standard input"),
    CLI_FLAG("schedule-time", CLI_TIME, "TIME", "when to run it first; now by default"),
    CLI_FLAG("dispatch-deadline", CLI_DURATION, "DURATION", "how long an attempt may take (15s to 30m, 10m by default)"),
    CLI_FLAG("oidc-service-account-email", CLI_TEXT, "EMAIL", "send an identity token of this account"),
    CLI_FLAG("oidc-token-audience", CLI_TEXT, "AUDIENCE", "for whom the token is; the URL by default"),
    CLI_FLAG("oauth-service-account-email", CLI_TEXT, "EMAIL", "send an access token of this account"),
    CLI_FLAG("oauth-token-scope", CLI_TEXT, "SCOPE", "what the access token is for"),
    {0},
};
#define OF_QUEUE CLI_FLAG("queue", CLI_TEXT, "QUEUE", "the queue of the task, unless its full name is given"), LOCATION_FLAG
static const struct cli_flag task_flags[] = {OF_QUEUE, {0}};
static const struct cli_flag describe_flags[] = {
    OF_QUEUE,
    CLI_FLAG("response-view", CLI_CHOICE, "basic|full", "full shows the body too", .dflt = "basic"),
    {0},
};
static const struct cli_flag list_flags[] = {QUEUE_FLAG, LOCATION_FLAG, LIMIT_FLAG, {0}};

const struct cli_command cli_task_commands[] = {
    {"tasks create-http-task", "[TASK]", "add a task: one HTTP request, retried until it succeeds", NULL, create_flags,
     EXAMPLES("runnel tasks create-http-task --queue=mails --url=http://hello.localhost:8080/send --body-content='{\"to\":1}'",
              "runnel tasks create-http-task welcome-1 --queue=mails --url=https://example.com/ --method=get --header=X-Kind:welcome "
              "--schedule-time=2030-01-01T08:00:00Z"),
     tasks_create},
    {"tasks list", "", "list the tasks of a queue",
     "name.basename():label=TASK_NAME,createTime:label=CREATE_TIME,scheduleTime:label=SCHEDULE_TIME,"
     "dispatchCount:label=DISPATCH_ATTEMPTS,responseCount:label=RESPONSE_ATTEMPTS,"
     "lastAttempt.responseStatus.message:label=LAST_ATTEMPT_STATUS",
     list_flags, EXAMPLES("runnel tasks list --queue=mails", "runnel tasks list --queue=mails --limit=10 --format='value(name)'"),
     tasks_list_all},
    {"tasks describe", "TASK", "show one task", NULL, describe_flags,
     EXAMPLES("runnel tasks describe welcome-1 --queue=mails", "runnel tasks describe welcome-1 --queue=mails --response-view=full"),
     tasks_describe},
    {"tasks delete", "TASK", "delete a task", NULL, task_flags, EXAMPLES("runnel tasks delete welcome-1 --queue=mails --quiet"),
     tasks_delete},
    {"tasks run", "TASK", "run a task now, also of a paused queue", NULL, task_flags, EXAMPLES("runnel tasks run welcome-1 --queue=mails"),
     tasks_run},
    {"tasks timeline", "TASK", "show what happened to a task: attempts, answers, what comes next",
     "time:label=TIME,type:label=EVENT,attempt:label=ATTEMPT,httpStatus:label=STATUS,took:label=TOOK,nextAttemptTime:label=NEXT,"
     "note:label=NOTE",
     task_flags, EXAMPLES("runnel tasks timeline welcome-1 --queue=mails"), tasks_timeline},
    {0},
};

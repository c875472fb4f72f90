/* cli_job_flags.c: the flags that make or change a scheduled job, and the fields that they set. */
#include "tools/runnel/cli_api.h"
#include "tools/runnel/cli_body.h"
#include "tools/runnel/cli_jobs.h"
#include "tools/runnel/cli_run_jobs.h"

#define RETRIES_MAX 5
#define DOUBLINGS_MAX 16

/* A flag, and the field that it sets. The flag clear-NAME names the same field and sets nothing. */
static const struct {
    const char *flag, *field;
    enum { KIND_TEXT, KIND_COUNT, KIND_DURATION, KIND_METHOD } kind;
} settings[] = {
    {"schedule", "schedule", KIND_TEXT},
    {"time-zone", "timeZone", KIND_TEXT},
    {"description", "description", KIND_TEXT},
    {"attempt-deadline", "attemptDeadline", KIND_DURATION},
    {"max-retry-attempts", "retryConfig.retryCount", KIND_COUNT},
    {"max-retry-duration", "retryConfig.maxRetryDuration", KIND_DURATION},
    {"min-backoff", "retryConfig.minBackoffDuration", KIND_DURATION},
    {"max-backoff", "retryConfig.maxBackoffDuration", KIND_DURATION},
    {"max-doublings", "retryConfig.maxDoublings", KIND_COUNT},
    {"uri", "httpTarget.uri", KIND_TEXT},
    {"http-method", "httpTarget.httpMethod", KIND_METHOD},
    {"oidc-service-account-email", "httpTarget.oidcToken.serviceAccountEmail", KIND_TEXT},
    {"oidc-token-audience", "httpTarget.oidcToken.audience", KIND_TEXT},
    {"oauth-service-account-email", "httpTarget.oauthToken.serviceAccountEmail", KIND_TEXT},
    {"oauth-token-scope", "httpTarget.oauthToken.scope", KIND_TEXT},
};

static void name_field(struct cli *c, char **mask, const char *field)
{
    if (mask)
        *mask = cli_printf(c, "%s%s%s", *mask, **mask ? "," : "", field);
}

static char *upper(struct cli *c, const char *text)
{
    char *out = cli_copy(c, str_of(text));
    for (char *p = out; *p; p++)
        if (*p >= 'a' && *p <= 'z')
            *p = (char)(*p - 'a' + 'A');
    return out;
}

static bool has_flag(const struct cli *c, const char *name)
{
    for (const struct cli_flag *f = c->command->flags; f->name; f++)
        if (strcmp(f->name, name) == 0)
            return true;
    return false;
}

static void put_settings(struct cli *c, struct jv *job, char **mask)
{
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        const char *flag = settings[i].flag, *clear = cli_printf(c, "clear-%s", flag);
        if (has_flag(c, clear) && cli_bool(c, clear))
            name_field(c, mask, settings[i].field);
        if (!has_flag(c, flag) || (!cli_given(c, flag) && (mask || !cli_text(c, flag))))
            continue;
        name_field(c, mask, settings[i].field);
        if (settings[i].kind == KIND_COUNT)
            jv_put(job, settings[i].field, jv_number((double)cli_int(c, flag)));
        else if (settings[i].kind == KIND_DURATION)
            jv_put_text(job, settings[i].field, cli_duration(c, flag));
        else
            jv_put_text(job, settings[i].field, settings[i].kind == KIND_METHOD ? upper(c, cli_text(c, flag)) : cli_text(c, flag));
    }
}

static int check_together(struct cli *c)
{
    static const struct {
        const char *a, *b;
        bool needs; /* a needs b; else they exclude each other */
    } rules[] = {
        {"message-body", "message-body-from-file", false}, {"oidc-service-account-email", "oauth-service-account-email", false},
        {"time-zone", "clear-time-zone", false},           {"clear-headers", "update-headers", false},
        {"clear-attributes", "update-attributes", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rules); i++)
        if (has_flag(c, rules[i].a) && has_flag(c, rules[i].b) && cli_given(c, rules[i].a) && cli_given(c, rules[i].b))
            return cli_usage_error(c, "give either --%s or --%s", rules[i].a, rules[i].b);
    return CLI_DONE;
}

static int put_body(struct cli *c, struct jv *job, char **mask, const char *field)
{
    const char *text = cli_text(c, "message-body");
    const char *base64 = text                                     ? cli_base64(c, str_of(text))
                         : cli_given(c, "message-body-from-file") ? cli_file_base64(c, "message-body-from-file")
                                                                  : NULL;
    if (!base64 && cli_given(c, "message-body-from-file"))
        return CLI_FAILED;
    if (base64) {
        jv_put_text(job, field, base64);
        name_field(c, mask, field);
    } else if (has_flag(c, "clear-message-body") && cli_bool(c, "clear-message-body")) {
        name_field(c, mask, field);
    }
    return CLI_DONE;
}

static void set_pairs(struct cli *c, struct jv *o, const char *flag)
{
    const char *const *pairs = cli_list(c, flag, NULL);
    for (; pairs && *pairs; pairs++) {
        const char *equals = strchr(*pairs, '=');
        jv_set(o, cli_copy(c, (struct str){*pairs, (size_t)(equals - *pairs)}), jv_string(equals + 1));
    }
}

/* A map as it is now, changed by --update-X, --remove-X, --clear-X. */
static int change_map(struct cli *c, struct jv *job, char **mask, const char *what, const char *field)
{
    const char *update = cli_printf(c, "update-%s", what), *remove = cli_printf(c, "remove-%s", what);
    const char *clear = cli_printf(c, "clear-%s", what), *name = jobs_name(c, c->args[0]);
    struct jv *now = NULL;
    struct err e = {0};
    if (!cli_given(c, update) && !cli_given(c, remove) && !cli_bool(c, clear))
        return CLI_DONE;
    if (!name)
        return CLI_USAGE;
    if (api_call(c, "GET", api_path(c, "v1", name, ""), NULL, &now, &e))
        return cli_fail(c, &e);
    struct jv *map = jv_need_object(job, field);
    for (struct jv *i = cli_bool(c, clear) ? NULL : jv_first(jv_at(now, field)); i; i = jv_next(i))
        jv_set(map, jv_key(i), jv_copy(i));
    set_pairs(c, map, update);
    const char *const *gone = cli_given(c, remove) ? cli_list(c, remove, NULL) : NULL;
    for (; gone && *gone; gone++)
        jv_drop(map, *gone);
    name_field(c, mask, field);
    return CLI_DONE;
}

static int put_map(struct cli *c, struct jv *job, char **mask, const char *what, const char *field)
{
    if (mask)
        return change_map(c, job, mask, what, field);
    if (cli_given(c, what))
        set_pairs(c, jv_need_object(job, field), what);
    return CLI_DONE;
}

/* An HTTP target of a kind of its own: an execution of a job of the executor, with the body of a call that starts one. */
static int put_run(struct cli *c, struct jv *job, char **mask)
{
    struct jv *overrides = run_job_overrides(c), *body = jv_object();
    const char *name = cli_given(c, "job") ? run_job_name(c, cli_text(c, "job")) : NULL;
    if (cli_given(c, "job")) {
        if (!name)
            return CLI_USAGE;
        jv_put_text(job, "httpTarget.uri", cli_printf(c, "run:///%s", name));
        name_field(c, mask, "httpTarget.uri");
    }
    if (overrides) {
        jv_put(body, "overrides", overrides);
        jv_put_text(job, "httpTarget.body", cli_base64(c, str_of(jv_write(body, false))));
    }
    if (overrides || (has_flag(c, "clear-overrides") && cli_bool(c, "clear-overrides")))
        name_field(c, mask, "httpTarget.body");
    return CLI_DONE;
}

int jobs_put(struct cli *c, struct jv *job, char **mask)
{
    bool http = has_flag(c, "uri");
    int rc = check_together(c);
    if (rc)
        return rc;
    put_settings(c, job, mask);
    if (has_flag(c, "job"))
        return put_run(c, job, mask);
    if (http && has_flag(c, "clear-auth-token") && cli_bool(c, "clear-auth-token")) {
        name_field(c, mask, "httpTarget.oidcToken");
        name_field(c, mask, "httpTarget.oauthToken");
    }
    if (!http && cli_given(c, "topic")) {
        const char *topic = api_pubsub_name(c, "topics", cli_text(c, "topic"));
        if (!topic)
            return CLI_USAGE;
        jv_put_text(job, "pubsubTarget.topicName", topic);
        name_field(c, mask, "pubsubTarget.topicName");
    }
    rc = put_body(c, job, mask, http ? "httpTarget.body" : "pubsubTarget.data");
    return rc ? rc : put_map(c, job, mask, http ? "headers" : "attributes", http ? "httpTarget.headers" : "pubsubTarget.attributes");
}

/* ---- the flags ---- */

#define COMMON                                                                                                                        \
    JOB_LOCATION_FLAG, CLI_FLAG("time-zone", CLI_TEXT, "ZONE", "whose clock the schedule goes by, as Europe/Berlin; UTC by default"), \
        CLI_FLAG("description", CLI_TEXT, "TEXT", "what the job is for"),                                                             \
        CLI_FLAG("max-retry-attempts", CLI_INT, "N", "how often a failed attempt is repeated (0 by default)", .max = RETRIES_MAX),    \
        CLI_FLAG("max-retry-duration", CLI_DURATION, "DURATION", "how long after the first attempt it is repeated"),                  \
        CLI_FLAG("min-backoff", CLI_DURATION, "DURATION", "the wait before the first retry (5s by default)"),                         \
        CLI_FLAG("max-backoff", CLI_DURATION, "DURATION", "the longest wait (1h by default)"),                                        \
        CLI_FLAG("max-doublings", CLI_INT, "N", "how often the wait doubles (5 by default)", .max = DOUBLINGS_MAX)
#define BODY                                                \
    CLI_FLAG("message-body", CLI_TEXT, "TEXT", "the body"), \
        CLI_FLAG("message-body-from-file", CLI_TEXT, "FILE", "a file with the body; - is standard input")
#define CLEARS                                                                                                                    \
    CLI_FLAG("clear-time-zone", CLI_SWITCH, "", "back to UTC"),                                                                   \
        CLI_FLAG("clear-max-retry-attempts", CLI_SWITCH, "", "back to no retries"),                                               \
        CLI_FLAG("clear-max-retry-duration", CLI_SWITCH, "", "back to no limit by time"),                                         \
        CLI_FLAG("clear-min-backoff", CLI_SWITCH, "", "back to 5s"), CLI_FLAG("clear-max-backoff", CLI_SWITCH, "", "back to 1h"), \
        CLI_FLAG("clear-max-doublings", CLI_SWITCH, "", "back to 5")
#define SCHEDULE(...) \
    CLI_FLAG("schedule", CLI_TEXT, "SCHEDULE", "when: \"*/5 * * * *\", \"every 5 minutes\"; see scheduler explain", ##__VA_ARGS__)
#define HTTP_COMMON                                                                                                     \
    CLI_FLAG("attempt-deadline", CLI_DURATION, "DURATION", "how long an attempt may take (15s to 30m; 3m by default)"), \
        CLI_FLAG("oidc-service-account-email", CLI_TEXT, "EMAIL", "send an identity token of this account"),            \
        CLI_FLAG("oidc-token-audience", CLI_TEXT, "AUDIENCE", "for whom the token is; the URI by default"),             \
        CLI_FLAG("oauth-service-account-email", CLI_TEXT, "EMAIL", "send an access token of this account"),             \
        CLI_FLAG("oauth-token-scope", CLI_TEXT, "SCOPE", "what the access token is for")
#define METHODS "post|get|head|put|delete|patch|options"

const struct cli_flag cli_job_create_http_flags[] = {
    SCHEDULE(.required = true),
    CLI_FLAG("uri", CLI_TEXT, "URI", "what is called", .required = true),
    CLI_FLAG("http-method", CLI_CHOICE, METHODS, "how it is called", .dflt = "post"),
    CLI_FLAG("headers", CLI_MAP, "NAME=VALUE,...", "headers of the request"),
    COMMON,
    BODY,
    HTTP_COMMON,
    {0},
};
const struct cli_flag cli_job_update_http_flags[] = {
    SCHEDULE(),
    CLI_FLAG("uri", CLI_TEXT, "URI", "what is called"),
    CLI_FLAG("http-method", CLI_CHOICE, METHODS, "how it is called"),
    CLI_FLAG("update-headers", CLI_MAP, "NAME=VALUE,...", "set these headers"),
    CLI_FLAG("remove-headers", CLI_LIST, "NAME,...", "remove these headers"),
    CLI_FLAG("clear-headers", CLI_SWITCH, "", "remove all headers"),
    CLI_FLAG("clear-auth-token", CLI_SWITCH, "", "send no token"),
    CLI_FLAG("clear-message-body", CLI_SWITCH, "", "send no body"),
    COMMON,
    BODY,
    HTTP_COMMON,
    CLEARS,
    {0},
};
const struct cli_flag cli_job_create_pubsub_flags[] = {
    SCHEDULE(.required = true),
    CLI_FLAG("topic", CLI_TEXT, "TOPIC", "where the message is published", .required = true),
    CLI_FLAG("attributes", CLI_MAP, "KEY=VALUE,...", "attributes of the message"),
    COMMON,
    BODY,
    {0},
};
const struct cli_flag cli_job_update_pubsub_flags[] = {
    SCHEDULE(),
    CLI_FLAG("topic", CLI_TEXT, "TOPIC", "where the message is published"),
    CLI_FLAG("update-attributes", CLI_MAP, "KEY=VALUE,...", "set these attributes"),
    CLI_FLAG("remove-attributes", CLI_LIST, "KEY,...", "remove these attributes"),
    CLI_FLAG("clear-attributes", CLI_SWITCH, "", "remove all attributes"),
    COMMON,
    BODY,
    CLEARS,
    {0},
};
const struct cli_flag cli_job_create_run_flags[] = {
    SCHEDULE(.required = true),
    CLI_FLAG("job", CLI_TEXT, "JOB", "what is executed: a job of `runnel run jobs`", .required = true),
    JOB_OVERRIDE_FLAGS,
    COMMON,
    {0},
};
const struct cli_flag cli_job_update_run_flags[] = {
    SCHEDULE(),
    CLI_FLAG("job", CLI_TEXT, "JOB", "what is executed"),
    JOB_OVERRIDE_FLAGS,
    CLI_FLAG("clear-overrides", CLI_SWITCH, "", "executions are as the job says; else the flags above replace all that were given before"),
    COMMON,
    CLEARS,
    {0},
};

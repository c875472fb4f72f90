/* cli_subscriptions.c: `runnel pubsub subscriptions` create, update and the like; see cli_leases.c for pull and ack. */
#include "tools/runnel/cli_api.h"
#include "tools/runnel/cli_commands.h"
#include "tools/runnel/cli_output.h"
#include "tools/runnel/cli_pubsub.h"

#define SECONDS_MAX 600

/* The push flags into `o`.pushConfig; false when none was given. */
static bool put_push(struct cli *c, struct jv *o)
{
    static const char *const flags[] = {"push-endpoint", "push-auth-service-account", "push-auth-token-audience", "push-no-wrapper",
                                        "push-no-wrapper-write-metadata"};
    bool any = false;
    for (size_t i = 0; i < ARRAY_LEN(flags); i++)
        any = any || cli_given(c, flags[i]);
    if (!any)
        return false;
    struct jv *push = jv_need_object(o, "pushConfig");
    jv_put_text(push, "pushEndpoint", cli_text(c, "push-endpoint"));
    jv_put_text(push, "oidcToken.serviceAccountEmail", cli_text(c, "push-auth-service-account"));
    jv_put_text(push, "oidcToken.audience", cli_text(c, "push-auth-token-audience"));
    if (cli_bool(c, "push-no-wrapper"))
        jv_put(push, "noWrapper.writeMetadata", jv_bool(cli_bool(c, "push-no-wrapper-write-metadata")));
    return true;
}

static int check_push(struct cli *c)
{
    if (cli_given(c, "push-auth-token-audience") && !cli_given(c, "push-auth-service-account"))
        return cli_usage_error(c, "--push-auth-token-audience needs --push-auth-service-account too");
    if (cli_given(c, "push-no-wrapper-write-metadata") && !cli_given(c, "push-no-wrapper"))
        return cli_usage_error(c, "--push-no-wrapper-write-metadata needs --push-no-wrapper too");
    return 0;
}

/* Duration flags and the fields that they set. */
static const struct {
    const char *flag, *field, *mask;
} durations[] = {
    {"message-retention-duration", "messageRetentionDuration", "messageRetentionDuration"},
    {"min-retry-delay", "retryPolicy.minimumBackoff", "retryPolicy"},
    {"max-retry-delay", "retryPolicy.maximumBackoff", "retryPolicy"},
};

static const char *with(struct cli *c, const char *mask, const char *field)
{
    return strstr(mask, field) ? mask : cli_printf(c, "%s%s%s", mask, *mask ? "," : "", field);
}

/* All flags that create and update share into `s`; returns the mask of what was set, or NULL after a usage error. */
static const char *put_settings(struct cli *c, struct jv *s)
{
    const char *mask = "";
    if (cli_given(c, "ack-deadline")) {
        jv_put(s, "ackDeadlineSeconds", jv_number((double)cli_int(c, "ack-deadline")));
        mask = with(c, mask, "ackDeadlineSeconds");
    }
    for (size_t i = 0; i < ARRAY_LEN(durations); i++)
        if (cli_given(c, durations[i].flag)) {
            jv_put_text(s, durations[i].field, cli_duration(c, durations[i].flag));
            mask = with(c, mask, durations[i].mask);
        }
    if (cli_given(c, "retain-acked-messages")) {
        jv_put(s, "retainAckedMessages", jv_bool(cli_bool(c, "retain-acked-messages")));
        mask = with(c, mask, "retainAckedMessages");
    }
    if (cli_given(c, "expiration-period")) {
        const bool never = strcmp(cli_text(c, "expiration-period"), "never") == 0;
        int64_t ms;
        struct err e = {0};
        if (!never && cli_duration_parse(cli_text(c, "expiration-period"), &ms, &e)) {
            cli_usage_error(c, "--expiration-period: %s, or never", e.msg);
            return NULL;
        }
        jv_put(s, "expirationPolicy", jv_object());
        if (!never)
            jv_put_text(s, "expirationPolicy.ttl", cli_duration(c, "expiration-period"));
        mask = with(c, mask, "expirationPolicy");
    }
    if (cli_given(c, "dead-letter-topic")) {
        const char *topic = api_pubsub_name(c, "topics", cli_text(c, "dead-letter-topic"));
        if (!topic)
            return NULL;
        jv_put_text(s, "deadLetterPolicy.deadLetterTopic", topic);
        mask = with(c, mask, "deadLetterPolicy");
    }
    if (cli_given(c, "max-delivery-attempts")) {
        jv_put(s, "deadLetterPolicy.maxDeliveryAttempts", jv_number((double)cli_int(c, "max-delivery-attempts")));
        mask = with(c, mask, "deadLetterPolicy");
    }
    if (put_push(c, s))
        mask = with(c, mask, "pushConfig");
    return mask;
}

static int subscriptions_create(struct cli *c)
{
    struct jv *body = jv_object();
    const char *topic = api_pubsub_name(c, "topics", cli_text(c, "topic"));
    if (!topic || check_push(c))
        return CLI_USAGE;
    if (!cli_given(c, "push-endpoint") && put_push(c, jv_object()))
        return cli_usage_error(c, "the --push flags need --push-endpoint");
    if (cli_given(c, "max-delivery-attempts") && !cli_given(c, "dead-letter-topic"))
        return cli_usage_error(c, "--max-delivery-attempts needs --dead-letter-topic too");
    jv_put_text(body, "topic", topic);
    if (!put_settings(c, body))
        return CLI_USAGE;
    if (cli_bool(c, "enable-message-ordering"))
        jv_put(body, "enableMessageOrdering", jv_bool(true));
    jv_put_text(body, "filter", cli_text(c, "message-filter"));
    pubsub_put_map(c, body, "labels", "labels");
    return pubsub_create(c, "subscriptions", "subscription", body);
}

/* A part of the resource that is set field by field is sent whole: start from what it is now. */
static int start_from_now(struct cli *c, const char *name, struct jv *s)
{
    static const char *const parts[] = {"retryPolicy", "deadLetterPolicy", "pushConfig"};
    struct err e = {0};
    struct jv *now = NULL;
    if (api_call(c, "GET", api_path(c, "v1", name, ""), NULL, &now, &e))
        return cli_fail(c, &e);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        jv_put(s, parts[i], jv_copy(jv_at(now, parts[i])));
    return CLI_DONE;
}

static int subscriptions_update(struct cli *c)
{
    static const struct {
        const char *flag, *field;
    } clears[] = {{"clear-retry-policy", "retryPolicy"},
                  {"clear-dead-letter-policy", "deadLetterPolicy"},
                  {"clear-push-no-wrapper-config", "pushConfig.noWrapper"}};
    struct jv *s = jv_object();
    const char *name = api_pubsub_name(c, "subscriptions", c->args[0]);
    if (!name)
        return CLI_USAGE;
    int rc = start_from_now(c, name, s);
    if (rc)
        return rc;
    const char *mask = put_settings(c, s);
    if (!mask)
        return CLI_USAGE;
    for (size_t i = 0; i < ARRAY_LEN(clears); i++)
        if (cli_given(c, clears[i].flag)) {
            jv_drop(s, clears[i].field);
            mask = with(c, mask, strncmp(clears[i].field, "push", 4) ? clears[i].field : "pushConfig");
        }
    if (cli_given(c, "update-labels") || cli_given(c, "remove-labels") || cli_given(c, "clear-labels")) {
        if ((rc = pubsub_merge_labels(c, "subscriptions", s)))
            return rc;
        mask = with(c, mask, "labels");
    }
    return pubsub_update(c, "subscriptions", "subscription", s, mask);
}

static int subscriptions_modify_push(struct cli *c)
{
    struct err e = {0};
    struct jv *body = jv_object(), *answer = NULL;
    const char *name = api_pubsub_name(c, "subscriptions", c->args[0]);
    if (!name || check_push(c))
        return CLI_USAGE;
    put_push(c, body);
    if (!*jv_text(body, "pushConfig.pushEndpoint")) /* an empty endpoint turns it into a pull subscription */
        jv_put(body, "pushConfig", jv_object());
    if (api_call(c, "POST", api_path(c, "v1", name, ":modifyPushConfig"), body, &answer, &e))
        return cli_fail(c, &e);
    cli_say(c, "Updated subscription [%s].", name);
    return CLI_DONE;
}

static int subscriptions_list(struct cli *c) { return pubsub_list(c, "subscriptions"); }
static int subscriptions_describe(struct cli *c) { return pubsub_describe(c, "subscriptions"); }
static int subscriptions_delete(struct cli *c) { return pubsub_delete(c, "subscriptions", "subscription"); }
static int subscriptions_detach(struct cli *c) { return pubsub_each(c, "subscriptions", "POST", ":detach", "Detached subscription"); }

#define PUSH_FLAGS                                                                                                     \
    CLI_FLAG("push-endpoint", CLI_TEXT, "URL", "send each message to this URL; none: messages are pulled"),            \
        CLI_FLAG("push-auth-service-account", CLI_TEXT, "EMAIL", "send an OIDC token of this account with each push"), \
        CLI_FLAG("push-auth-token-audience", CLI_TEXT, "AUDIENCE", "the token's audience; without it, the endpoint"),  \
        CLI_FLAG("push-no-wrapper", CLI_SWITCH, "", "send the bare data as the body, not the JSON envelope"),          \
        CLI_FLAG("push-no-wrapper-write-metadata", CLI_SWITCH, "", "with --push-no-wrapper: the message's metadata as headers")
#define SETTINGS_FLAGS                                                                                                               \
    CLI_FLAG("ack-deadline", CLI_INT, "SECONDS", "time to acknowledge, and for push to answer", .min = 0, .max = SECONDS_MAX),       \
        CLI_FLAG("message-retention-duration", CLI_DURATION, "DURATION", "how long unacknowledged messages are kept (10m to 31d)"),  \
        CLI_FLAG("retain-acked-messages", CLI_BOOL, "", "keep acknowledged messages too, for seeking back"),                         \
        CLI_FLAG("min-retry-delay", CLI_DURATION, "DURATION", "shortest delay before a message is sent again (0s to 600s)"),         \
        CLI_FLAG("max-retry-delay", CLI_DURATION, "DURATION", "longest delay before a message is sent again (0s to 600s)"),          \
        CLI_FLAG("expiration-period", CLI_TEXT, "DURATION|never", "delete the subscription after so long without use (1d or more)"), \
        CLI_FLAG("dead-letter-topic", CLI_TEXT, "TOPIC", "where messages go that cannot be delivered"),                              \
        CLI_FLAG("max-delivery-attempts", CLI_INT, "N", "attempts before that", .min = 5, .max = 100)

static const struct cli_flag create_flags[] = {
    CLI_FLAG("topic", CLI_TEXT, "TOPIC", "the topic to receive messages of", .required = true),
    SETTINGS_FLAGS,
    PUSH_FLAGS,
    CLI_FLAG("enable-message-ordering", CLI_SWITCH, "", "deliver messages with the same ordering key in order"),
    CLI_FLAG("message-filter", CLI_TEXT, "FILTER", "deliver only messages whose attributes match"),
    CLI_FLAG("labels", CLI_MAP, "KEY=VALUE,...", "labels of the subscription"),
    {0},
};
static const struct cli_flag update_flags[] = {
    SETTINGS_FLAGS,
    PUSH_FLAGS,
    CLI_FLAG("clear-retry-policy", CLI_SWITCH, "", "send again at once after a failure"),
    CLI_FLAG("clear-dead-letter-policy", CLI_SWITCH, "", "no dead letters"),
    CLI_FLAG("clear-push-no-wrapper-config", CLI_SWITCH, "", "send the JSON envelope again"),
    CLI_FLAG("update-labels", CLI_MAP, "KEY=VALUE,...", "labels to add or change"),
    CLI_FLAG("remove-labels", CLI_LIST, "KEY,...", "labels to take away"),
    CLI_FLAG("clear-labels", CLI_SWITCH, "", "take all labels away"),
    {0},
};
static const struct cli_flag push_flags[] = {PUSH_FLAGS, {0}};

const struct cli_command cli_subscription_commands[] = {
    {"pubsub subscriptions create", "SUBSCRIPTION...", "create subscriptions", NULL, create_flags,
     EXAMPLES("runnel pubsub subscriptions create worker --topic=orders",
              "runnel pubsub subscriptions create to-hello --topic=orders --push-endpoint=http://hello.localhost:8080/ "
              "--push-auth-service-account=pusher@local-project.iam.gserviceaccount.com",
              "runnel pubsub subscriptions create to-job --topic=orders --push-endpoint=http://127.0.0.1:8080/runnel/v1/projects/"
              "local-project/locations/europe-west1/jobs/report:trigger",
              "runnel pubsub subscriptions create calm --topic=orders --min-retry-delay=10s --max-retry-delay=5m --ack-deadline=60"),
     subscriptions_create},
    {"pubsub subscriptions list", "", "list subscriptions",
     "name.basename():label=NAME,topic.basename():label=TOPIC,ackDeadlineSeconds:label=ACK_DEADLINE,pushConfig.pushEndpoint:label=PUSH_ENDPOINT,state:label=STATE",
     NULL, EXAMPLES("runnel pubsub subscriptions list", "runnel pubsub subscriptions list --format=json"), subscriptions_list},
    {"pubsub subscriptions describe", "SUBSCRIPTION", "show one subscription", NULL, NULL,
     EXAMPLES("runnel pubsub subscriptions describe worker"), subscriptions_describe},
    {"pubsub subscriptions update", "SUBSCRIPTION", "change a subscription", NULL, update_flags,
     EXAMPLES("runnel pubsub subscriptions update worker --ack-deadline=60",
              "runnel pubsub subscriptions update worker --min-retry-delay=1s --max-retry-delay=10m"),
     subscriptions_update},
    {"pubsub subscriptions delete", "SUBSCRIPTION...", "delete subscriptions and what they have not delivered", NULL, NULL,
     EXAMPLES("runnel pubsub subscriptions delete worker"), subscriptions_delete},
    {"pubsub subscriptions modify-push-config", "SUBSCRIPTION", "change where messages are pushed; an empty endpoint makes it pull", NULL,
     push_flags,
     EXAMPLES("runnel pubsub subscriptions modify-push-config worker --push-endpoint=http://127.0.0.1:9000/push",
              "runnel pubsub subscriptions modify-push-config worker --push-endpoint=''"),
     subscriptions_modify_push},
    {"pubsub subscriptions detach", "SUBSCRIPTION...", "cut subscriptions off from their topic and drop their messages", NULL, NULL,
     EXAMPLES("runnel pubsub subscriptions detach worker"), subscriptions_detach},
    {0},
};

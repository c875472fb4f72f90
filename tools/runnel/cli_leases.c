/* cli_leases.c: `runnel pubsub subscriptions` pull, ack, modify-ack-deadline, seek. */
#include "core/base/text.h"
#include "tools/runnel/cli_api.h"
#include "tools/runnel/cli_commands.h"
#include "tools/runnel/cli_output.h"

#define PULL_MAX 1000

static int acknowledge(struct cli *c, const char *name, struct jv *ids, struct err *e)
{
    struct jv *body = jv_object(), *answer = NULL;
    jv_put(body, "ackIds", ids);
    return api_call(c, "POST", api_path(c, "v1", name, ":acknowledge"), body, &answer, e);
}

/* For people: the message's data as text, in place of base64. */
static void decode_data(struct cli *c, struct jv *received)
{
    const char *data = jv_text(received, "message.data");
    char *text = cli_alloc(c, BASE64_DECODED_MAX(strlen(data)) + 1);
    size_t n = 0;
    if (base64_decode(data, strlen(data), text, &n, NULL) == 0 && utf8_valid(text, n) && !memchr(text, 0, n))
        jv_put_text(received, "message.data", cli_copy(c, (struct str){text, n}));
}

static int run_pull(struct cli *c)
{
    struct err e = {0};
    struct jv *body = jv_object(), *answer = NULL, *ids = jv_array();
    const char *name = api_pubsub_name(c, "subscriptions", c->args[0]);
    if (!name)
        return CLI_USAGE;
    jv_put(body, "maxMessages", jv_number((double)cli_int(c, "limit")));
    jv_put(body, "returnImmediately", jv_bool(!cli_bool(c, "wait")));
    if (api_call(c, "POST", api_path(c, "v1", name, ":pull"), body, &answer, &e))
        return cli_fail(c, &e);
    struct jv *received = jv_need_array(answer, "receivedMessages");
    for (struct jv *i = jv_first(received); i; i = jv_next(i)) {
        jv_add(ids, jv_string(jv_text(i, "ackId")));
        if (cli_format_own(c))
            decode_data(c, i);
    }
    cli_show_list(c, received);
    if (cli_bool(c, "auto-ack") && jv_count(ids) && acknowledge(c, name, ids, &e))
        return cli_fail(c, &e);
    return CLI_DONE;
}

static struct jv *ids_given(struct cli *c)
{
    struct jv *ids = jv_array();
    const char *const *given = cli_list(c, "ack-ids", NULL);
    for (size_t i = 0; given[i]; i++)
        jv_add(ids, jv_string(given[i]));
    return ids;
}

static int run_ack(struct cli *c)
{
    struct err e = {0};
    const char *name = api_pubsub_name(c, "subscriptions", c->args[0]);
    if (!name)
        return CLI_USAGE;
    struct jv *ids = ids_given(c);
    const size_t n = jv_count(ids);
    if (acknowledge(c, name, ids, &e))
        return cli_fail(c, &e);
    cli_say(c, "Acked %zu message%s of [%s].", n, n == 1 ? "" : "s", name);
    return CLI_DONE;
}

static int run_modify_deadline(struct cli *c)
{
    struct err e = {0};
    struct jv *body = jv_object(), *answer = NULL;
    const char *name = api_pubsub_name(c, "subscriptions", c->args[0]);
    if (!name)
        return CLI_USAGE;
    jv_put(body, "ackIds", ids_given(c));
    jv_put(body, "ackDeadlineSeconds", jv_number((double)cli_int(c, "ack-deadline")));
    if (api_call(c, "POST", api_path(c, "v1", name, ":modifyAckDeadline"), body, &answer, &e))
        return cli_fail(c, &e);
    cli_say(c, "Set the ack deadline of %zu message(s) of [%s] to %d seconds.", jv_count(jv_at(body, "ackIds")), name,
            (int)cli_int(c, "ack-deadline"));
    return CLI_DONE;
}

static int run_seek(struct cli *c)
{
    struct err e = {0};
    struct jv *body = jv_object(), *answer = NULL;
    const char *name = api_pubsub_name(c, "subscriptions", c->args[0]);
    if (!name)
        return CLI_USAGE;
    if (cli_given(c, "time") == cli_given(c, "snapshot"))
        return cli_usage_error(c, "give either --time or --snapshot");
    if (cli_given(c, "snapshot")) {
        const char *snapshot = api_pubsub_name(c, "snapshots", cli_text(c, "snapshot"));
        if (!snapshot)
            return CLI_USAGE;
        jv_put_text(body, "snapshot", snapshot);
    }
    jv_put_text(body, "time", cli_time(c, "time"));
    if (api_call(c, "POST", api_path(c, "v1", name, ":seek"), body, &answer, &e))
        return cli_fail(c, &e);
    cli_say(c, "Moved subscription [%s].", name);
    return CLI_DONE;
}

static const struct cli_flag pull_flags[] = {
    CLI_FLAG("auto-ack", CLI_SWITCH, "", "acknowledge what is shown"),
    CLI_FLAG("limit", CLI_INT, "N", "at most so many messages", .dflt = "1", .min = 1, .max = PULL_MAX),
    CLI_FLAG("wait", CLI_BOOL, "", "wait a while when there is no message", .dflt = "true"),
    {0},
};
#define ACK_IDS CLI_FLAG("ack-ids", CLI_LIST, "ACK_ID,...", "as `pull` showed them", .required = true)
static const struct cli_flag ack_flags[] = {ACK_IDS, {0}};
static const struct cli_flag deadline_flags[] = {
    ACK_IDS,
    CLI_FLAG("ack-deadline", CLI_INT, "SECONDS", "time left from now; 0 gives the messages back", .min = 0, .max = 600, .required = true),
    {0},
};
static const struct cli_flag seek_flags[] = {
    CLI_FLAG("time", CLI_TIME, "TIME", "messages published before are acknowledged, those after are not; -10m is ten minutes ago"),
    CLI_FLAG("snapshot", CLI_TEXT, "SNAPSHOT", "as it was when the snapshot was made"),
    {0},
};

const struct cli_command cli_lease_commands[] = {
    {"pubsub subscriptions pull", "SUBSCRIPTION", "receive messages",
     "message.data:label=DATA,message.messageId:label=MESSAGE_ID,message.orderingKey:label=ORDERING_KEY,message.attributes:label=ATTRIBUTES,"
     "deliveryAttempt:label=DELIVERY_ATTEMPT,ackId:label=ACK_ID",
     pull_flags,
     EXAMPLES("runnel pubsub subscriptions pull worker --auto-ack --limit=10",
              "runnel pubsub subscriptions pull worker --no-wait --format=json"),
     run_pull},
    {"pubsub subscriptions ack", "SUBSCRIPTION", "acknowledge messages", NULL, ack_flags,
     EXAMPLES("runnel pubsub subscriptions ack worker --ack-ids=ID"), run_ack},
    {"pubsub subscriptions modify-message-ack-deadline", "SUBSCRIPTION", "give messages more or less time", NULL, deadline_flags,
     EXAMPLES("runnel pubsub subscriptions modify-message-ack-deadline worker --ack-ids=ID --ack-deadline=60"), run_modify_deadline},
    {"pubsub subscriptions modify-ack-deadline", "SUBSCRIPTION", "the same under its older name", NULL, deadline_flags,
     EXAMPLES("runnel pubsub subscriptions modify-ack-deadline worker --ack-ids=ID --ack-deadline=60"), run_modify_deadline},
    {"pubsub subscriptions seek", "SUBSCRIPTION", "go back or forward to a time or snapshot", NULL, seek_flags,
     EXAMPLES("runnel pubsub subscriptions seek worker --time=-1h", "runnel pubsub subscriptions seek worker --snapshot=before-deploy"),
     run_seek},
    {0},
};

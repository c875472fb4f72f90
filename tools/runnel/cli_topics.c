/* cli_topics.c: `runnel pubsub topics` and `runnel pubsub snapshots`. */
#include "core/base/text.h"
#include "tools/runnel/cli_api.h"
#include "tools/runnel/cli_commands.h"
#include "tools/runnel/cli_output.h"
#include "tools/runnel/cli_pubsub.h"

#include <stdio.h>

static const char *base64_of(struct cli *c, const char *text)
{
    struct buf b;
    buf_init(&b, CLI_MEMORY_MAX);
    const char *out = base64_add(&b, text, strlen(text)) == 0 ? cli_copy(c, buf_str(&b)) : "";
    buf_fini(&b);
    return out;
}

void pubsub_put_map(struct cli *c, struct jv *o, const char *key, const char *flag)
{
    const char *const *pairs = cli_list(c, flag, NULL);
    if (!cli_given(c, flag))
        return;
    struct jv *map = jv_put(o, key, jv_object());
    for (size_t i = 0; pairs[i]; i++) {
        const char *equals = strchr(pairs[i], '=');
        jv_set(map, cli_copy(c, (struct str){pairs[i], (size_t)(equals - pairs[i])}), jv_string(equals + 1));
    }
}

int pubsub_each(struct cli *c, const char *collection, const char *method, const char *suffix, const char *done)
{
    int exit_code = CLI_DONE;
    for (size_t i = 0; i < c->n_args; i++) {
        struct err e = {0};
        struct jv *answer = NULL;
        const char *name = api_pubsub_name(c, collection, c->args[i]);
        if (!name)
            return CLI_USAGE;
        const struct jv *body = strcmp(method, "POST") == 0 ? jv_object() : NULL;
        if (api_call(c, method, api_path(c, "v1", name, suffix), body, &answer, &e))
            exit_code = cli_fail(c, &e);
        else
            cli_say(c, "%s [%s].", done, name);
    }
    return exit_code;
}

int pubsub_delete(struct cli *c, const char *collection, const char *what)
{
    const char *names = "";
    for (size_t i = 0; i < c->n_args; i++)
        names = cli_printf(c, "%s - [%s]\n", names, c->args[i]);
    if (!cli_confirm(c, "You are about to delete the %s:\n%s", what, names))
        return CLI_FAILED;
    return pubsub_each(c, collection, "DELETE", "", cli_printf(c, "Deleted %s", what));
}

int pubsub_list(struct cli *c, const char *collection)
{
    struct err e = {0};
    struct jv *array = NULL;
    const char *path = api_path(c, "v1", cli_printf(c, "projects/%s", c->project), cli_printf(c, "/%s", collection));
    if (api_list(c, path, collection, &array, &e))
        return cli_fail(c, &e);
    cli_show_list(c, array);
    return CLI_DONE;
}

int pubsub_describe(struct cli *c, const char *collection)
{
    struct err e = {0};
    struct jv *answer = NULL;
    const char *name = api_pubsub_name(c, collection, c->args[0]);
    if (!name)
        return CLI_USAGE;
    if (api_call(c, "GET", api_path(c, "v1", name, ""), NULL, &answer, &e))
        return cli_fail(c, &e);
    cli_show(c, answer);
    return CLI_DONE;
}

int pubsub_create(struct cli *c, const char *collection, const char *what, const struct jv *body)
{
    int exit_code = CLI_DONE;
    for (size_t i = 0; i < c->n_args; i++) {
        struct err e = {0};
        struct jv *answer = NULL;
        const char *name = api_pubsub_name(c, collection, c->args[i]);
        if (!name)
            return CLI_USAGE;
        if (api_call(c, "PUT", api_path(c, "v1", name, ""), body, &answer, &e)) {
            exit_code = cli_fail(c, &e);
            continue;
        }
        cli_say(c, "Created %s [%s].", what, name);
        cli_show_made(c, answer);
    }
    return exit_code;
}

int pubsub_update(struct cli *c, const char *collection, const char *field, struct jv *resource, const char *mask)
{
    struct err e = {0};
    struct jv *answer = NULL, *body = jv_object();
    const char *name = api_pubsub_name(c, collection, c->args[0]);
    if (!name)
        return CLI_USAGE;
    if (!*mask)
        return cli_usage_error(c, "nothing to update: give at least one flag");
    jv_put_text(resource, "name", name);
    jv_put(body, field, resource);
    jv_put_text(body, "updateMask", mask);
    if (api_call(c, "PATCH", api_path(c, "v1", name, ""), body, &answer, &e))
        return cli_fail(c, &e);
    cli_say(c, "Updated %s [%s].", field, name);
    cli_show_made(c, answer);
    return CLI_DONE;
}

/* ---- topics ---- */

static int topics_create(struct cli *c)
{
    struct jv *body = jv_object();
    pubsub_put_map(c, body, "labels", "labels");
    jv_put_text(body, "messageRetentionDuration", cli_duration(c, "message-retention-duration"));
    return pubsub_create(c, "topics", "topic", body);
}

static int topics_update(struct cli *c)
{
    struct jv *topic = jv_object();
    const char *mask = "";
    if (cli_given(c, "message-retention-duration")) {
        jv_put_text(topic, "messageRetentionDuration", cli_duration(c, "message-retention-duration"));
        mask = "messageRetentionDuration";
    }
    if (cli_given(c, "clear-message-retention-duration"))
        mask = "messageRetentionDuration";
    if (cli_given(c, "update-labels") || cli_given(c, "remove-labels") || cli_given(c, "clear-labels")) {
        const int rc = pubsub_merge_labels(c, "topics", topic);
        if (rc)
            return rc;
        mask = cli_printf(c, "%s%slabels", mask, *mask ? "," : "");
    }
    return pubsub_update(c, "topics", "topic", topic, mask);
}

int pubsub_merge_labels(struct cli *c, const char *collection, struct jv *resource)
{
    struct err e = {0};
    struct jv *now = NULL;
    const char *name = api_pubsub_name(c, collection, c->args[0]);
    if (!name)
        return CLI_USAGE;
    if (api_call(c, "GET", api_path(c, "v1", name, ""), NULL, &now, &e))
        return cli_fail(c, &e);
    struct jv *labels = cli_given(c, "clear-labels") ? jv_object() : jv_copy(jv_at(now, "labels"));
    labels = jv_put(resource, "labels", labels ? labels : jv_object());
    const char *const *gone = cli_list(c, "remove-labels", NULL);
    for (size_t i = 0; gone[i]; i++)
        jv_set(labels, gone[i], NULL);
    struct jv *added = jv_object();
    pubsub_put_map(c, added, "labels", "update-labels");
    for (const struct jv *i = jv_first(jv_at(added, "labels")); i; i = jv_next(i))
        jv_set(labels, jv_key(i), jv_copy(i));
    return CLI_DONE;
}

static int topics_publish(struct cli *c)
{
    struct err e = {0};
    struct jv *message = jv_object(), *body = jv_object(), *answer = NULL;
    const char *name = api_pubsub_name(c, "topics", c->args[0]);
    if (!name)
        return CLI_USAGE;
    const char *text = cli_text(c, "message");
    if (!text && !cli_given(c, "attribute"))
        return cli_usage_error(c, "give --message=TEXT or --attribute=KEY=VALUE: a message may not be empty");
    if (text)
        jv_put_text(message, "data", base64_of(c, text));
    pubsub_put_map(c, message, "attributes", "attribute");
    jv_put_text(message, "orderingKey", cli_text(c, "ordering-key"));
    jv_add(jv_need_array(body, "messages"), message);
    if (api_call(c, "POST", api_path(c, "v1", name, ":publish"), body, &answer, &e))
        return cli_fail(c, &e);
    if (!cli_format_default(c))
        cli_show(c, answer);
    else
        printf("messageIds:\n- '%s'\n", jv_text(answer, "messageIds[0]"));
    return CLI_DONE;
}

/* Names only, as the API gives them. */
static int topic_names(struct cli *c, const char *collection)
{
    struct err e = {0};
    struct jv *array = NULL;
    const char *name = api_pubsub_name(c, "topics", c->args[0]);
    if (!name)
        return CLI_USAGE;
    if (api_list(c, api_path(c, "v1", name, cli_printf(c, "/%s", collection)), collection, &array, &e))
        return cli_fail(c, &e);
    if (!cli_format_default(c))
        cli_show_list(c, array);
    else
        for (const struct jv *i = jv_first(array); i; i = jv_next(i))
            printf("%s\n", jv_show(i));
    if (jv_count(array) == 0)
        cli_say(c, "Listed 0 items.");
    return CLI_DONE;
}

static int topics_list(struct cli *c) { return pubsub_list(c, "topics"); }
static int topics_describe(struct cli *c) { return pubsub_describe(c, "topics"); }
static int topics_delete(struct cli *c) { return pubsub_delete(c, "topics", "topic"); }
static int topics_subscriptions(struct cli *c) { return topic_names(c, "subscriptions"); }
static int topics_snapshots(struct cli *c) { return topic_names(c, "snapshots"); }

#define RETENTION_FLAG \
    CLI_FLAG("message-retention-duration", CLI_DURATION, "DURATION", "how long the topic keeps messages for seeking back (10m to 31d)")
static const struct cli_flag create_flags[] = {
    CLI_FLAG("labels", CLI_MAP, "KEY=VALUE,...", "labels of the topic"),
    RETENTION_FLAG,
    {0},
};
static const struct cli_flag update_flags[] = {
    CLI_FLAG("update-labels", CLI_MAP, "KEY=VALUE,...", "labels to add or change"),
    CLI_FLAG("remove-labels", CLI_LIST, "KEY,...", "labels to take away"),
    CLI_FLAG("clear-labels", CLI_SWITCH, "", "take all labels away"),
    RETENTION_FLAG,
    CLI_FLAG("clear-message-retention-duration", CLI_SWITCH, "", "keep no messages for seeking back"),
    {0},
};
static const struct cli_flag publish_flags[] = {
    CLI_FLAG("message", CLI_TEXT, "TEXT", "the message's data"),
    CLI_FLAG("attribute", CLI_MAP, "KEY=VALUE,...", "attributes of the message"),
    CLI_FLAG("ordering-key", CLI_TEXT, "KEY", "messages with the same key arrive in order"),
    {0},
};

const struct cli_command cli_topic_commands[] = {
    {"pubsub topics create", "TOPIC...", "create topics", NULL, create_flags,
     EXAMPLES("runnel pubsub topics create orders",
              "runnel pubsub topics create orders --labels=team=shop --message-retention-duration=1d"),
     topics_create},
    {"pubsub topics list", "", "list topics", "name.basename():label=NAME,messageRetentionDuration:label=RETENTION,labels:label=LABELS",
     NULL, EXAMPLES("runnel pubsub topics list", "runnel pubsub topics list --format='value(name)'"), topics_list},
    {"pubsub topics describe", "TOPIC", "show one topic", NULL, NULL, EXAMPLES("runnel pubsub topics describe orders"), topics_describe},
    {"pubsub topics update", "TOPIC", "change a topic", NULL, update_flags,
     EXAMPLES("runnel pubsub topics update orders --update-labels=team=shop"), topics_update},
    {"pubsub topics delete", "TOPIC...", "delete topics; their subscriptions stay, without a topic", NULL, NULL,
     EXAMPLES("runnel pubsub topics delete orders", "runnel pubsub topics delete orders --quiet"), topics_delete},
    {"pubsub topics publish", "TOPIC", "publish one event", NULL, publish_flags,
     EXAMPLES("runnel pubsub topics publish orders --message='{\"id\":1}'",
              "runnel pubsub topics publish orders --message=hello --attribute=origin=shop,kind=test --ordering-key=customer-7"),
     topics_publish},
    {"pubsub topics list-subscriptions", "TOPIC", "list the subscriptions of a topic", NULL, NULL,
     EXAMPLES("runnel pubsub topics list-subscriptions orders"), topics_subscriptions},
    {"pubsub topics list-snapshots", "TOPIC", "list the snapshots of a topic", NULL, NULL,
     EXAMPLES("runnel pubsub topics list-snapshots orders"), topics_snapshots},
    {0},
};

/* ---- snapshots ---- */

static int snapshots_create(struct cli *c)
{
    struct jv *body = jv_object();
    const char *subscription = api_pubsub_name(c, "subscriptions", cli_text(c, "subscription"));
    if (!subscription)
        return CLI_USAGE;
    jv_put_text(body, "subscription", subscription);
    pubsub_put_map(c, body, "labels", "labels");
    return pubsub_create(c, "snapshots", "snapshot", body);
}

static int snapshots_list(struct cli *c) { return pubsub_list(c, "snapshots"); }
static int snapshots_describe(struct cli *c) { return pubsub_describe(c, "snapshots"); }
static int snapshots_delete(struct cli *c) { return pubsub_delete(c, "snapshots", "snapshot"); }

static const struct cli_flag snapshot_flags[] = {
    CLI_FLAG("subscription", CLI_TEXT, "SUBSCRIPTION", "whose state of acknowledgement to keep", .required = true),
    CLI_FLAG("labels", CLI_MAP, "KEY=VALUE,...", "labels of the snapshot"),
    {0},
};
const struct cli_command cli_snapshot_commands[] = {
    {"pubsub snapshots create", "SNAPSHOT...", "keep what a subscription has acknowledged by now", NULL, snapshot_flags,
     EXAMPLES("runnel pubsub snapshots create before-deploy --subscription=worker"), snapshots_create},
    {"pubsub snapshots list", "", "list snapshots", "name.basename():label=NAME,topic.basename():label=TOPIC,expireTime:label=EXPIRES",
     NULL, EXAMPLES("runnel pubsub snapshots list"), snapshots_list},
    {"pubsub snapshots describe", "SNAPSHOT", "show one snapshot", NULL, NULL, EXAMPLES("runnel pubsub snapshots describe before-deploy"),
     snapshots_describe},
    {"pubsub snapshots delete", "SNAPSHOT...", "delete snapshots", NULL, NULL, EXAMPLES("runnel pubsub snapshots delete before-deploy"),
     snapshots_delete},
    {0},
};

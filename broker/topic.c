/* topic.c: topics: their records and their methods. */
#include "broker/broker_int.h"

#include "core/rpc/mask.h"
#include "google/protobuf/empty.pb-c.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- the struct ---- */

struct topic *topic_find(struct broker *b, const char *name, struct err *e)
{
    struct topic *t = map_get(b->topics, name);
    if (!t)
        err_set(e, ERR_NOT_FOUND, "Topic not found (resource=%.200s)", name);
    return t;
}

static void apply_config(struct topic *t)
{
    t->b->adapter->ops->topic_retention(t->source, pb_duration_ns(t->config->message_retention_duration));
}

static void drop_series(struct topic *t)
{
    const char *const labels[METRIC_LABELS_MAX] = {t->config->name};
    if (!t->b->m.published)
        return;
    metric_drop(t->b->m.published, labels);
    metric_drop(t->b->m.published_bytes, labels);
    t->published = t->published_bytes = NULL;
}

/* A topic open at the adapter; takes `config` when it succeeds. */
static struct topic *topic_open(struct broker *b, PbTopic *config, const char *handle, struct err *e)
{
    struct topic *t = calloc(1, sizeof *t);
    if (!t) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "topic: out of memory");
        return NULL;
    }
    t->b = b;
    node_init(&t->link);
    list_init(&t->subs);
    list_init(&t->snapshots);
    snprintf(t->handle, sizeof t->handle, "%s", handle);
    if (b->adapter->ops->topic_open(b->adapter, handle, &t->source, e)) {
        free(t);
        return NULL;
    }
    t->config = config;
    const char *const labels[METRIC_LABELS_MAX] = {config->name};
    t->published = metric_series(b->m.published, labels);
    t->published_bytes = metric_series(b->m.published_bytes, labels);
    apply_config(t);
    return t;
}

void topic_drop(struct topic *t)
{
    if (t->deleted)
        list_remove(&t->b->deleted, &t->link);
    else
        map_remove(t->b->topics, t->config->name);
    pb_free(t->config);
    free(t);
}

/* ---- records ---- */

static int put_record(struct store_txn *txn, const char *kind, const char *name, PbTopic *config, const char *handle,
                      const struct broker *b, struct err *e)
{
    Runnel__Broker__TopicRecord record = RUNNEL__BROKER__TOPIC_RECORD__INIT;
    record.topic = config;
    record.handle = (char *)handle;
    record.adapter = (char *)b->adapter->ops->name;
    return record_put(txn, kind, name, &record.base, e);
}

/* Topics while they are loaded: no two may have the messages of one. */
struct topic_loader {
    struct broker *b;
    struct map *handles;
    bool deleted;
};

static int check_record(const struct topic_loader *l, const Runnel__Broker__TopicRecord *record, const char *name, struct err *e)
{
    if (!record || !record->topic)
        return err_set(e, ERR_DATA_LOSS, "malformed");
    if (record_check_name(name, l->deleted ? record->handle : record->topic->name, e))
        return -(int)e->code;
    if (map_get(l->handles, record->handle))
        return err_set(e, ERR_DATA_LOSS, "another topic has its messages (%.40s)", record->handle);
    if (strcmp(record->adapter, l->b->adapter->ops->name) != 0)
        return err_set(e, ERR_FAILED_PRECONDITION, "it is kept by \"%.40s\"; this server runs with --broker %s", record->adapter,
                       l->b->adapter->ops->name);
    return 0;
}

static int load_record(struct topic_loader *l, const Runnel__Broker__TopicRecord *record, const char *name, struct err *e)
{
    if (check_record(l, record, name, e))
        return -(int)e->code;
    PbTopic *config = pb_dup(&record->topic->base);
    if (!config)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory");
    struct topic *t = topic_open(l->b, config, record->handle, e);
    if (!t) {
        pb_free(config);
        return -(int)e->code;
    }
    t->deleted = l->deleted;
    if (t->deleted) {
        list_append(&l->b->deleted, &t->link);
    } else if (map_put(l->b->topics, t->config->name, t, e)) {
        pb_free(config);
        free(t);
        return -(int)e->code;
    }
    return map_put(l->handles, t->handle, t, e);
}

static int load_topic(void *arg, const char *name, struct str body, struct err *e)
{
    struct topic_loader *l = arg;
    Runnel__Broker__TopicRecord *record = pb_unpack_heap(&runnel__broker__topic_record__descriptor, body);
    int rc = load_record(l, record, name, e);
    pb_free(record);
    return rc ? record_refuse(l->deleted ? "deleted-topic" : "topic", name, e) : 0;
}

int topics_load(struct broker *b, struct err *e)
{
    struct topic_loader l = {.b = b, .handles = map_new(BROKER_TOPICS_MAX * 2)};
    if (!l.handles)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "topics: out of memory");
    int rc = b->store->ops->load_resources(b->store, "topic", load_topic, &l, e);
    l.deleted = true;
    rc = rc ? rc : b->store->ops->load_resources(b->store, "deleted-topic", load_topic, &l, e);
    map_free(l.handles);
    return rc;
}

/* ---- create ---- */

static void created(struct change *ch, const struct err *e)
{
    struct broker *b = ch->b;
    struct err why;
    struct adapter_topic *orphan;
    struct topic *t = e ? NULL : topic_open(b, ch->config, ch->handle, &why);
    if (!t || map_put(b->topics, t->config->name, t, &why)) {
        if (b->adapter->ops->topic_open(b->adapter, ch->handle, &orphan, NULL) == 0)
            b->adapter->ops->topic_delete(orphan, NULL, NULL);
        if (!e)
            record_undo(b, "topic", ch->name);
        free(t);
        change_fail(ch, e ? e : &why);
        return;
    }
    ch->config = NULL;
    PbTopic *reply = pb_clone(ch->call->arena, &t->config->base);
    if (reply)
        call_reply(ch->call, &reply->base);
    else
        no_memory(ch->call);
    change_end(ch);
}

static void on_handle(void *arg, const char *handle, const struct err *e)
{
    struct change *ch = arg;
    struct err why;
    if (e) {
        change_fail(ch, e);
        return;
    }
    snprintf(ch->handle, sizeof ch->handle, "%s", handle);
    struct store_txn *txn = store_txn_new();
    if (txn && put_record(txn, "topic", ch->name, ch->config, handle, ch->b, &why) == 0) {
        change_commit(ch, txn, created);
        return;
    }
    store_txn_free(txn);
    err_set(&why, ERR_RESOURCE_EXHAUSTED, "topic: out of memory");
    created(ch, &why);
}

void on_create_topic(void *service, struct call *c, const ProtobufCMessage *r)
{
    struct broker *b = service;
    const PbTopic *wanted = (const void *)r;
    struct err e;
    if (check_topic(wanted, &e)) {
        call_fail(c, &e);
        return;
    }
    if (map_get(b->topics, wanted->name)) {
        call_failf(c, ERR_ALREADY_EXISTS, "Topic already exists (resource=%.200s)", wanted->name);
        return;
    }
    if (map_count(b->topics) >= BROKER_TOPICS_MAX) {
        call_failf(c, ERR_RESOURCE_EXHAUSTED, "there are %d topics already; delete some", BROKER_TOPICS_MAX);
        return;
    }
    struct change *ch = change_new(b, c, wanted->name);
    if (!ch)
        return;
    PbTopic *config = ch->config = pb_dup(r);
    if (!config) {
        err_set(&e, ERR_RESOURCE_EXHAUSTED, "topic: out of memory");
        change_fail(ch, &e);
        return;
    }
    config->state = GOOGLE__PUBSUB__V1__TOPIC__STATE__ACTIVE;
    config->satisfies_pzs = false;
    b->adapter->ops->topic_create(b->adapter, config->name, on_handle, ch);
}

/* ---- get, update ---- */

static void reply_topic(struct call *c, const PbTopic *config)
{
    PbTopic *reply = pb_clone(c->arena, &config->base);
    if (reply)
        call_reply(c, &reply->base);
    else
        no_memory(c);
}

void on_get_topic(void *service, struct call *c, const ProtobufCMessage *r)
{
    const Google__Pubsub__V1__GetTopicRequest *q = (const void *)r;
    struct err e;
    struct topic *t = NULL;
    if (check_name(q->topic, "topics", "topic", &e) || !(t = topic_find(service, q->topic, &e)))
        call_fail(c, &e);
    else
        reply_topic(c, t->config);
}

static void updated(struct change *ch, const struct err *e)
{
    struct topic *t = ch->topic;
    if (e) {
        change_fail(ch, e);
        return;
    }
    pb_free(t->config);
    t->config = ch->config;
    ch->config = NULL;
    apply_config(t);
    reply_topic(ch->call, t->config);
    change_end(ch);
}

/* The topic as it shall be, in the arena; NULL: `e` says why not. */
static PbTopic *apply_update(struct arena *a, const struct topic *t, const Google__Pubsub__V1__UpdateTopicRequest *q, struct err *e)
{
    static const char *const fixed[] = {"name", "state", "satisfies_pzs", "tags"};
    if (!q->update_mask || q->update_mask->n_paths == 0) {
        err_set(e, ERR_INVALID_ARGUMENT, "update_mask: must be specified and non-empty: name the fields to change");
        return NULL;
    }
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++)
        if (mask_has(q->update_mask->paths, q->update_mask->n_paths, fixed[i])) {
            err_set(e, ERR_INVALID_ARGUMENT, "update_mask: %s cannot be changed", fixed[i]);
            return NULL;
        }
    PbTopic *fresh = pb_clone(a, &t->config->base);
    if (!fresh) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "topic: out of memory");
        return NULL;
    }
    if (mask_apply(a, &fresh->base, &q->topic->base, q->update_mask->paths, q->update_mask->n_paths, false, e) || check_topic(fresh, e))
        return NULL;
    return fresh;
}

void on_update_topic(void *service, struct call *c, const ProtobufCMessage *r)
{
    struct broker *b = service;
    const Google__Pubsub__V1__UpdateTopicRequest *q = (const void *)r;
    struct err e;
    struct topic *t = NULL;
    PbTopic *fresh = NULL;
    if (!q->topic)
        err_set(&e, ERR_INVALID_ARGUMENT, "topic: must be given");
    else if (check_name(q->topic->name, "topics", "topic.name", &e) == 0 && (t = topic_find(b, q->topic->name, &e)))
        fresh = apply_update(c->arena, t, q, &e);
    if (!fresh) {
        call_fail(c, &e);
        return;
    }
    struct change *ch = change_new(b, c, fresh->name);
    struct store_txn *txn = ch ? change_txn(ch) : NULL;
    if (!txn)
        return;
    ch->topic = t;
    ch->config = pb_dup(&fresh->base);
    if (ch->config && put_record(txn, "topic", fresh->name, fresh, t->handle, b, &e) == 0) {
        change_commit(ch, txn, updated);
        return;
    }
    store_txn_free(txn);
    err_set(&e, ERR_RESOURCE_EXHAUSTED, "topic: out of memory");
    change_fail(ch, &e);
}

/* ---- delete ---- */

static bool unused(const struct topic *t) { return !t->subs.count && !t->snapshots.count && !t->pending; }

static void forgotten(struct change *ch, const struct err *e)
{
    struct topic *t = ch->topic;
    if (e) {
        change_fail(ch, e); /* the next tick tries again */
        return;
    }
    ch->b->adapter->ops->topic_delete(t->source, NULL, NULL);
    topic_drop(t);
    change_end(ch);
}

/* A deleted topic whose last reader has gone: nobody will need its messages. */
void topic_release_if_unused(struct topic *t)
{
    struct err e;
    char name[ADAPTER_HANDLE_MAX + 32];
    if (!t->deleted || !unused(t) || t->b->stopping)
        return;
    snprintf(name, sizeof name, "deleted-topic/%s", t->handle);
    struct change *ch = map_get(t->b->busy, name) ? NULL : change_new(t->b, NULL, name);
    struct store_txn *txn = ch ? change_txn(ch) : NULL;
    if (!txn)
        return;
    ch->topic = t;
    if (store_txn_delete(txn, "deleted-topic", t->handle, &e) == 0) {
        change_commit(ch, txn, forgotten);
        return;
    }
    store_txn_free(txn);
    change_fail(ch, &e);
}

static void deleted(struct change *ch, const struct err *e)
{
    struct topic *t = ch->topic;
    struct broker *b = ch->b;
    if (e) {
        change_fail(ch, e);
        return;
    }
    map_remove(b->topics, t->config->name);
    drop_series(t);
    t->deleted = true;
    list_append(&b->deleted, &t->link);
    if (b->gone)
        b->gone(b->gone_arg, ch->name);
    call_reply_empty(ch->call, &google__protobuf__empty__descriptor);
    change_end(ch);
    topic_release_if_unused(t);
}

void on_delete_topic(void *service, struct call *c, const ProtobufCMessage *r)
{
    struct broker *b = service;
    const Google__Pubsub__V1__DeleteTopicRequest *q = (const void *)r;
    struct err e;
    struct topic *t = NULL;
    if (check_name(q->topic, "topics", "topic", &e) || !(t = topic_find(b, q->topic, &e))) {
        call_fail(c, &e);
        return;
    }
    struct change *ch = change_new(b, c, q->topic);
    struct store_txn *txn = ch ? change_txn(ch) : NULL;
    if (!txn)
        return;
    ch->topic = t;
    if (store_txn_delete(txn, "topic", q->topic, &e) == 0 &&
        put_record(txn, "deleted-topic", t->handle, t->config, t->handle, b, &e) == 0) {
        change_commit(ch, txn, deleted);
        return;
    }
    store_txn_free(txn);
    change_fail(ch, &e);
}

/* ---- lists ---- */

void on_list_topics(void *service, struct call *c, const ProtobufCMessage *r)
{
    struct broker *b = service;
    const Google__Pubsub__V1__ListTopicsRequest *q = (const void *)r;
    Google__Pubsub__V1__ListTopicsResponse *reply = pb_new(c->arena, &google__pubsub__v1__list_topics_response__descriptor);
    struct listing found;
    struct err e;
    char prefix[NAME_MAX_BYTES];
    snprintf(prefix, sizeof prefix, "%s/topics/", q->project);
    struct list_ask ask = {.parent = prefix, .token = q->page_token, .size = q->page_size};
    if (check_project(q->project, &e) || list_page(c->arena, b->topics, &ask, &found, &e)) {
        call_fail(c, &e);
        return;
    }
    PbTopic **topics = arena_alloc(c->arena, (found.n + 1) * sizeof *topics);
    for (size_t i = 0; topics && i < found.n; i++)
        if (!(topics[i] = pb_clone(c->arena, &((struct topic *)found.items[i])->config->base)))
            topics = NULL;
    if (!topics || !reply) {
        no_memory(c);
        return;
    }
    reply->topics = topics;
    reply->n_topics = found.n;
    reply->next_page_token = (char *)found.next_token;
    call_reply(c, &reply->base);
}

/* The names of the topic's readers, cut to the page, into the arena. */
static int reader_names(struct call *c, struct topic *t, bool snapshots, struct list_ask ask, struct listing *out, struct err *e)
{
    struct list *l = snapshots ? &t->snapshots : &t->subs;
    char **names = malloc((l->count + 1) * sizeof *names), list[NAME_MAX_BYTES];
    size_t n = 0;
    if (!names)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the list");
    LIST_EACH(l, node)
        names[n++] = snapshots ? CONTAINER_OF(node, struct snapshot, link)->config->name
                               : (char *)subscription_name(CONTAINER_OF(node, struct sub, link)->s);
    snprintf(list, sizeof list, "%s/%s", t->config->name, snapshots ? "snapshots" : "subscriptions");
    ask.parent = list;
    int rc = list_names(c->arena, names, n, &ask, out, e);
    free(names);
    for (size_t i = 0; rc == 0 && i < out->n; i++)
        if (!(out->items[i] = arena_strdup(c->arena, out->items[i])))
            return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the list");
    return rc;
}

void on_list_topic_subscriptions(void *service, struct call *c, const ProtobufCMessage *r)
{
    const Google__Pubsub__V1__ListTopicSubscriptionsRequest *q = (const void *)r;
    Google__Pubsub__V1__ListTopicSubscriptionsResponse *reply =
        pb_new(c->arena, &google__pubsub__v1__list_topic_subscriptions_response__descriptor);
    struct listing found;
    struct err e;
    struct topic *t = NULL;
    if (!reply)
        no_memory(c);
    else if (check_name(q->topic, "topics", "topic", &e) || !(t = topic_find(service, q->topic, &e)) ||
             reader_names(c, t, false, (struct list_ask){.token = q->page_token, .size = q->page_size}, &found, &e))
        call_fail(c, &e);
    else {
        reply->subscriptions = (char **)found.items;
        reply->n_subscriptions = found.n;
        reply->next_page_token = (char *)found.next_token;
        call_reply(c, &reply->base);
    }
}

void on_list_topic_snapshots(void *service, struct call *c, const ProtobufCMessage *r)
{
    const Google__Pubsub__V1__ListTopicSnapshotsRequest *q = (const void *)r;
    Google__Pubsub__V1__ListTopicSnapshotsResponse *reply =
        pb_new(c->arena, &google__pubsub__v1__list_topic_snapshots_response__descriptor);
    struct listing found;
    struct err e;
    struct topic *t = NULL;
    if (!reply)
        no_memory(c);
    else if (check_name(q->topic, "topics", "topic", &e) || !(t = topic_find(service, q->topic, &e)) ||
             reader_names(c, t, true, (struct list_ask){.token = q->page_token, .size = q->page_size}, &found, &e))
        call_fail(c, &e);
    else {
        reply->snapshots = (char **)found.items;
        reply->n_snapshots = found.n;
        reply->next_page_token = (char *)found.next_token;
        call_reply(c, &reply->base);
    }
}

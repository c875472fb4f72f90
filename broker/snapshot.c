/* snapshot.c: snapshots as resources, and seeking to them or to a time. */
#include "broker/broker_int.h"

#include "core/rpc/mask.h"
#include "google/protobuf/empty.pb-c.h"

#include <stdio.h>
#include <stdlib.h>

#define LABELS_MAX 64

/* ---- the struct and its record ---- */

static struct snapshot *snapshot_find(struct broker *b, const char *name, struct err *e)
{
    struct snapshot *n = map_get(b->snapshots, name);
    if (!n)
        err_set(e, ERR_NOT_FOUND, "Snapshot not found (resource=%.200s)", name);
    return n;
}

static struct snapshot *snapshot_new(struct broker *b, struct topic *t, PbSnapshot *config, const char *handle, struct err *e)
{
    struct snapshot *n = calloc(1, sizeof *n);
    if (!n) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "snapshot: out of memory");
        return NULL;
    }
    if (map_put(b->snapshots, config->name, n, e)) {
        free(n);
        return NULL;
    }
    n->topic = t;
    n->config = config;
    snprintf(n->handle, sizeof n->handle, "%s", handle);
    list_append(&t->snapshots, &n->link);
    return n;
}

void snapshot_drop(struct snapshot *n)
{
    list_remove(&n->topic->snapshots, &n->link);
    map_remove(n->topic->b->snapshots, n->config->name);
    pb_free(n->config);
    free(n);
}

static PbSnapshot *snapshot_message(struct arena *a, const struct snapshot *n)
{
    PbSnapshot *m = pb_clone(a, &n->config->base);
    if (m && n->topic->deleted)
        m->topic = (char *)DELETED_TOPIC;
    return m;
}

static void reply_snapshot(struct call *c, const struct snapshot *n)
{
    PbSnapshot *m = snapshot_message(c->arena, n);
    if (m)
        call_reply(c, &m->base);
    else
        no_memory(c);
}

static int put_record(struct store_txn *txn, const PbSnapshot *config, const char *handle, const struct topic *t, struct err *e)
{
    Runnel__Broker__SnapshotRecord record = RUNNEL__BROKER__SNAPSHOT_RECORD__INIT;
    record.snapshot = (PbSnapshot *)config;
    record.handle = (char *)handle;
    record.topic_handle = (char *)t->handle;
    return record_put(txn, "snapshot", config->name, &record.base, e);
}

static int load_record(struct broker *b, const Runnel__Broker__SnapshotRecord *record, const char *name, struct err *e)
{
    if (!record || !record->snapshot)
        return err_set(e, ERR_DATA_LOSS, "malformed");
    if (record_check_name(name, record->snapshot->name, e))
        return -(int)e->code;
    struct topic *t = topic_of_handle(b, record->topic_handle, record->snapshot->topic);
    if (!t)
        return err_set(e, ERR_DATA_LOSS, "its topic has no record");
    if (b->adapter->ops->snapshot_open(t->source, record->handle, e))
        return -(int)e->code;
    PbSnapshot *config = pb_dup(&record->snapshot->base);
    if (!config)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory");
    if (snapshot_new(b, t, config, record->handle, e))
        return 0;
    pb_free(config);
    return -(int)e->code;
}

static int load_snapshot(void *arg, const char *name, struct str body, struct err *e)
{
    Runnel__Broker__SnapshotRecord *record = pb_unpack_heap(&runnel__broker__snapshot_record__descriptor, body);
    int rc = load_record(arg, record, name, e);
    pb_free(record);
    return rc ? record_refuse("snapshot", name, e) : 0;
}

int snapshots_load(struct broker *b, struct err *e) { return b->store->ops->load_resources(b->store, "snapshot", load_snapshot, b, e); }

/* ---- create ---- */

static void fail_creation(struct change *ch, const struct err *e)
{
    struct topic *t = ch->topic;
    if (*ch->handle)
        ch->b->adapter->ops->snapshot_delete(t->source, ch->handle, NULL, NULL);
    t->pending--;
    change_fail(ch, e);
    topic_release_if_unused(t);
}

static void created(struct change *ch, const struct err *e)
{
    struct err why;
    struct snapshot *n = e ? NULL : snapshot_new(ch->b, ch->topic, ch->config, ch->handle, &why);
    if (!n) {
        if (!e)
            record_undo(ch->b, "snapshot", ch->name);
        fail_creation(ch, e ? e : &why);
        return;
    }
    ch->config = NULL;
    ch->topic->pending--;
    reply_snapshot(ch->call, n);
    change_end(ch);
}

static void on_handle(void *arg, const char *handle, const struct err *e)
{
    struct change *ch = arg;
    struct err why;
    if (e) {
        fail_creation(ch, e);
        return;
    }
    snprintf(ch->handle, sizeof ch->handle, "%s", handle);
    struct store_txn *txn = store_txn_new();
    if (txn && put_record(txn, ch->config, handle, ch->topic, &why) == 0) {
        change_commit(ch, txn, created);
        return;
    }
    store_txn_free(txn);
    err_set(&why, ERR_RESOURCE_EXHAUSTED, "snapshot: out of memory");
    fail_creation(ch, &why);
}

/* It lives for a week, less the age of its oldest message: then that one falls out of retention. */
static int expiry_of(const struct sub *sub, int64_t wall_ns, int64_t *expire_ns, struct err *e)
{
    int64_t oldest_ns = subscription_stats(sub->s).oldest_wall_ns;
    int64_t age_ns = oldest_ns && oldest_ns < wall_ns ? wall_ns - oldest_ns : 0;
    if (BROKER_SNAPSHOT_LIFE_NS - age_ns < BROKER_SNAPSHOT_LIFE_MIN_NS)
        return err_set(e, ERR_FAILED_PRECONDITION,
                       "subscription %.150s: its oldest message is %lld s old, so the snapshot would expire within the hour",
                       subscription_name(sub->s), (long long)(age_ns / NS_PER_S));
    *expire_ns = wall_ns + BROKER_SNAPSHOT_LIFE_NS - age_ns;
    return 0;
}

static PbSnapshot *new_config(struct arena *a, const Google__Pubsub__V1__CreateSnapshotRequest *q, const struct sub *sub, int64_t expire_ns)
{
    PbSnapshot *m = pb_new(a, &google__pubsub__v1__snapshot__descriptor);
    if (!m)
        return NULL;
    m->name = q->name;
    m->topic = sub->topic->config->name;
    m->expire_time = (void *)pb_timestamp(a, expire_ns);
    /* Two map entry types of the same shape. */
    m->n_labels = q->n_labels;
    m->labels = arena_alloc(a, (q->n_labels + 1) * sizeof *m->labels);
    for (size_t i = 0; m->labels && i < q->n_labels; i++) {
        m->labels[i] = pb_new(a, &google__pubsub__v1__snapshot__labels_entry__descriptor);
        if (!m->labels[i])
            return NULL;
        m->labels[i]->key = q->labels[i]->key;
        m->labels[i]->value = q->labels[i]->value;
    }
    return m->labels && m->expire_time ? m : NULL;
}

static int check_new(struct broker *b, const Google__Pubsub__V1__CreateSnapshotRequest *q, struct sub **sub, int64_t *expire_ns,
                     struct err *e)
{
    if (check_name(q->name, "snapshots", "name", e) || check_name(q->subscription, "subscriptions", "subscription", e))
        return -ERR_INVALID_ARGUMENT;
    if (q->n_labels > LABELS_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "labels: %zu entries; at most %d are allowed", q->n_labels, LABELS_MAX);
    if (!(*sub = sub_find(b, q->subscription, e)))
        return -ERR_NOT_FOUND;
    if (map_get(b->snapshots, q->name))
        return err_set(e, ERR_ALREADY_EXISTS, "Snapshot already exists (resource=%.200s)", q->name);
    if (map_count(b->snapshots) >= BROKER_SNAPSHOTS_MAX)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "there are %d snapshots already; delete some", BROKER_SNAPSHOTS_MAX);
    if (subscription_config((*sub)->s)->detached)
        return err_set(e, ERR_FAILED_PRECONDITION, "The subscription is detached from its topic (resource=%.200s)", q->subscription);
    return expiry_of(*sub, env_wall(b->env), expire_ns, e);
}

void on_create_snapshot(void *service, struct call *c, const ProtobufCMessage *r)
{
    struct broker *b = service;
    const Google__Pubsub__V1__CreateSnapshotRequest *q = (const void *)r;
    struct err e;
    struct sub *sub;
    int64_t expire_ns;
    if (check_new(b, q, &sub, &expire_ns, &e)) {
        call_fail(c, &e);
        return;
    }
    PbSnapshot *config = new_config(c->arena, q, sub, expire_ns);
    struct change *ch = config ? change_new(b, c, q->name) : NULL;
    if (!config)
        no_memory(c);
    if (!ch)
        return;
    ch->config = pb_dup(&config->base);
    if (!ch->config) {
        err_set(&e, ERR_RESOURCE_EXHAUSTED, "snapshot: out of memory");
        change_fail(ch, &e);
        return;
    }
    ch->topic = sub->topic;
    sub->topic->pending++;
    subscription_touch(sub->s);
    b->adapter->ops->snapshot_create(sub->s->source, q->name, on_handle, ch);
}

/* ---- get, list, update ---- */

void on_get_snapshot(void *service, struct call *c, const ProtobufCMessage *r)
{
    const Google__Pubsub__V1__GetSnapshotRequest *q = (const void *)r;
    struct err e;
    struct snapshot *n;
    if (check_name(q->snapshot, "snapshots", "snapshot", &e) || !(n = snapshot_find(service, q->snapshot, &e)))
        call_fail(c, &e);
    else
        reply_snapshot(c, n);
}

void on_list_snapshots(void *service, struct call *c, const ProtobufCMessage *r)
{
    struct broker *b = service;
    const Google__Pubsub__V1__ListSnapshotsRequest *q = (const void *)r;
    Google__Pubsub__V1__ListSnapshotsResponse *reply = pb_new(c->arena, &google__pubsub__v1__list_snapshots_response__descriptor);
    struct listing found;
    struct err e;
    char prefix[NAME_MAX_BYTES];
    snprintf(prefix, sizeof prefix, "%s/snapshots/", q->project);
    struct list_ask ask = {.parent = prefix, .token = q->page_token, .size = q->page_size};
    if (check_project(q->project, &e) || list_page(c->arena, b->snapshots, &ask, &found, &e)) {
        call_fail(c, &e);
        return;
    }
    PbSnapshot **items = arena_alloc(c->arena, (found.n + 1) * sizeof *items);
    for (size_t i = 0; items && i < found.n; i++)
        if (!(items[i] = snapshot_message(c->arena, found.items[i])))
            items = NULL;
    if (!items || !reply) {
        no_memory(c);
        return;
    }
    reply->snapshots = items;
    reply->n_snapshots = found.n;
    reply->next_page_token = (char *)found.next_token;
    call_reply(c, &reply->base);
}

static void updated(struct change *ch, const struct err *e)
{
    if (e) {
        change_fail(ch, e);
        return;
    }
    pb_free(ch->snapshot->config);
    ch->snapshot->config = ch->config;
    ch->config = NULL;
    reply_snapshot(ch->call, ch->snapshot);
    change_end(ch);
}

static PbSnapshot *apply_update(struct broker *b, struct arena *a, const struct snapshot *n,
                                const Google__Pubsub__V1__UpdateSnapshotRequest *q, struct err *e)
{
    int64_t wall_ns = env_wall(b->env);
    PbSnapshot *fresh = NULL;
    if (!q->update_mask || q->update_mask->n_paths == 0)
        err_set(e, ERR_INVALID_ARGUMENT, "update_mask: must be specified and non-empty: name the fields to change");
    else if (mask_has(q->update_mask->paths, q->update_mask->n_paths, "name") ||
             mask_has(q->update_mask->paths, q->update_mask->n_paths, "topic"))
        err_set(e, ERR_INVALID_ARGUMENT, "update_mask: name and topic cannot be changed");
    else if (!(fresh = pb_clone(a, &n->config->base)))
        err_set(e, ERR_RESOURCE_EXHAUSTED, "snapshot: out of memory");
    if (!fresh || mask_apply(a, &fresh->base, &q->snapshot->base, q->update_mask->paths, q->update_mask->n_paths, false, e))
        return NULL;
    int64_t expire_ns = pb_timestamp_ns(fresh->expire_time);
    if (!fresh->expire_time || expire_ns <= wall_ns || expire_ns > wall_ns + BROKER_SNAPSHOT_LIFE_NS)
        err_set(e, ERR_INVALID_ARGUMENT, "snapshot.expire_time: must be in the future and at most 7 days from now");
    else if (fresh->n_labels > LABELS_MAX)
        err_set(e, ERR_INVALID_ARGUMENT, "snapshot.labels: %zu entries; at most %d are allowed", fresh->n_labels, LABELS_MAX);
    else
        return fresh;
    return NULL;
}

void on_update_snapshot(void *service, struct call *c, const ProtobufCMessage *r)
{
    struct broker *b = service;
    const Google__Pubsub__V1__UpdateSnapshotRequest *q = (const void *)r;
    struct err e;
    struct snapshot *n = NULL;
    PbSnapshot *fresh = NULL;
    if (!q->snapshot)
        err_set(&e, ERR_INVALID_ARGUMENT, "snapshot: must be given");
    else if (check_name(q->snapshot->name, "snapshots", "snapshot.name", &e) == 0 && (n = snapshot_find(b, q->snapshot->name, &e)))
        fresh = apply_update(b, c->arena, n, q, &e);
    if (!fresh) {
        call_fail(c, &e);
        return;
    }
    struct change *ch = change_new(b, c, fresh->name);
    struct store_txn *txn = ch ? change_txn(ch) : NULL;
    if (!txn)
        return;
    ch->snapshot = n;
    ch->config = pb_dup(&fresh->base);
    if (ch->config && put_record(txn, fresh, n->handle, n->topic, &e) == 0) {
        change_commit(ch, txn, updated);
        return;
    }
    store_txn_free(txn);
    err_set(&e, ERR_RESOURCE_EXHAUSTED, "snapshot: out of memory");
    change_fail(ch, &e);
}

/* ---- delete ---- */

static void deleted(struct change *ch, const struct err *e)
{
    struct broker *b = ch->b;
    struct snapshot *n = ch->snapshot;
    struct topic *t = n->topic;
    if (e) {
        change_fail(ch, e);
        return;
    }
    b->adapter->ops->snapshot_delete(t->source, n->handle, NULL, NULL);
    snapshot_drop(n);
    if (b->gone)
        b->gone(b->gone_arg, ch->name);
    if (ch->call)
        call_reply_empty(ch->call, &google__protobuf__empty__descriptor);
    change_end(ch);
    topic_release_if_unused(t);
}

static void snapshot_delete(struct broker *b, struct call *c, struct snapshot *n)
{
    struct err e;
    struct change *ch = change_new(b, c, n->config->name);
    struct store_txn *txn = ch ? change_txn(ch) : NULL;
    if (!txn)
        return;
    ch->snapshot = n;
    if (store_txn_delete(txn, "snapshot", n->config->name, &e) == 0) {
        change_commit(ch, txn, deleted);
        return;
    }
    store_txn_free(txn);
    change_fail(ch, &e);
}

void on_delete_snapshot(void *service, struct call *c, const ProtobufCMessage *r)
{
    const Google__Pubsub__V1__DeleteSnapshotRequest *q = (const void *)r;
    struct err e;
    struct snapshot *n;
    if (check_name(q->snapshot, "snapshots", "snapshot", &e) || !(n = snapshot_find(service, q->snapshot, &e)))
        call_fail(c, &e);
    else
        snapshot_delete(service, c, n);
}

void snapshots_tick(struct broker *b, int64_t wall_ns)
{
    void **all = map_sorted(b->snapshots);
    size_t n = map_count(b->snapshots);
    for (size_t i = 0; all && i < n; i++) {
        struct snapshot *s = all[i];
        if (pb_timestamp_ns(s->config->expire_time) <= wall_ns && !map_get(b->busy, s->config->name))
            snapshot_delete(b, NULL, s);
    }
    free(all);
}

/* ---- seek ---- */

static void on_sought(void *arg, const struct err *e)
{
    struct change *ch = arg;
    subscription_resume(ch->sub->s);
    if (e) {
        change_fail(ch, e);
        return;
    }
    call_reply_empty(ch->call, &google__pubsub__v1__seek_response__descriptor);
    change_end(ch);
}

static int check_seek(struct broker *b, const Google__Pubsub__V1__SeekRequest *q, struct sub **sub, struct snapshot **n, struct err *e)
{
    if (check_name(q->subscription, "subscriptions", "subscription", e))
        return -ERR_INVALID_ARGUMENT;
    if (!(*sub = sub_find(b, q->subscription, e)))
        return -ERR_NOT_FOUND;
    if (subscription_config((*sub)->s)->detached)
        return err_set(e, ERR_FAILED_PRECONDITION, "The subscription is detached from its topic (resource=%.200s)", q->subscription);
    if (q->target_case == GOOGLE__PUBSUB__V1__SEEK_REQUEST__TARGET_TIME)
        return 0;
    if (q->target_case != GOOGLE__PUBSUB__V1__SEEK_REQUEST__TARGET_SNAPSHOT)
        return err_set(e, ERR_INVALID_ARGUMENT, "target: time or snapshot must be given");
    if (check_name(q->snapshot, "snapshots", "snapshot", e))
        return -ERR_INVALID_ARGUMENT;
    if (!(*n = snapshot_find(b, q->snapshot, e)))
        return -ERR_NOT_FOUND;
    if ((*n)->topic != (*sub)->topic)
        return err_set(e, ERR_FAILED_PRECONDITION, "snapshot: %.120s is of another topic than %.120s", q->snapshot, q->subscription);
    return 0;
}

void on_seek(void *service, struct call *c, const ProtobufCMessage *r)
{
    struct broker *b = service;
    const Google__Pubsub__V1__SeekRequest *q = (const void *)r;
    struct err e;
    struct sub *sub;
    struct snapshot *n = NULL;
    if (check_seek(b, q, &sub, &n, &e)) {
        call_fail(c, &e);
        return;
    }
    struct change *ch = change_new(b, c, q->subscription);
    if (!ch)
        return;
    ch->sub = sub;
    subscription_touch(sub->s);
    subscription_drop(sub->s); /* nothing from before is acknowledged or delivered any more */
    if (n)
        b->adapter->ops->seek_snapshot(sub->s->source, n->handle, on_sought, ch);
    else
        b->adapter->ops->seek_time(sub->s->source, pb_timestamp_ns(q->time), on_sought, ch);
}

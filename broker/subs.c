/* subs.c: subscriptions as resources: their records, create, get, list, delete, and expiring for want of activity. */
#include "broker/broker_int.h"

#include "google/protobuf/empty.pb-c.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- the struct ---- */

struct sub *sub_find(struct broker *b, const char *name, struct err *e)
{
    struct sub *sub = map_get(b->subs, name);
    if (!sub)
        err_set(e, ERR_NOT_FOUND, "Subscription does not exist (resource=%.200s)", name);
    return sub;
}

static void make_series(struct sub *sub)
{
    struct broker *b = sub->b;
    const char *name = subscription_name(sub->s);
    const char *labels[METRIC_LABELS_MAX] = {name};
    sub->backlog = metric_series(b->m.backlog, labels);
    sub->oldest = metric_series(b->m.oldest, labels);
    sub->leases = metric_series(b->m.leases, labels);
    struct {
        const char *result;
        struct metric **to;
    } results[] = {{"ack", &sub->s->metrics.acked},
                   {"nack", &sub->s->metrics.nacked},
                   {"expired", &sub->s->metrics.expired},
                   {"dead_letter", &sub->s->metrics.dead},
                   {"filtered", &sub->s->metrics.filtered}};
    for (size_t i = 0; i < ARRAY_LEN(results); i++) {
        labels[1] = results[i].result;
        *results[i].to = metric_series(b->m.deliveries, labels);
    }
}

static void drop_series(struct sub *sub)
{
    static const char *const results[] = {"ack", "nack", "expired", "dead_letter", "filtered"};
    struct broker *b = sub->b;
    const char *labels[METRIC_LABELS_MAX] = {subscription_name(sub->s)};
    if (!b->m.backlog)
        return;
    metric_drop(b->m.backlog, labels);
    metric_drop(b->m.oldest, labels);
    metric_drop(b->m.leases, labels);
    for (size_t i = 0; i < ARRAY_LEN(results); i++) {
        labels[1] = results[i];
        metric_drop(b->m.deliveries, labels);
    }
}

/* Ready to be put into the map and started. */
static struct sub *sub_new(struct broker *b, struct topic *t, const PbSubscription *config, const char *handle, struct err *e)
{
    struct sub *sub = calloc(1, sizeof *sub);
    if (!sub) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "subscription: out of memory");
        return NULL;
    }
    sub->b = b;
    sub->topic = t;
    node_init(&sub->link);
    snprintf(sub->handle, sizeof sub->handle, "%s", handle);
    sub->s = subscription_new(&b->deps, config, e);
    if (!sub->s || map_put(b->subs, config->name, sub, e)) {
        subscription_free(sub->s);
        free(sub);
        return NULL;
    }
    sub->s->owner = sub;
    list_append(&t->subs, &sub->link);
    make_series(sub);
    return sub;
}

void sub_drop(struct sub *sub)
{
    attempts_fini(sub);
    list_remove(&sub->topic->subs, &sub->link);
    map_remove(sub->b->subs, subscription_name(sub->s));
    subscription_free(sub->s);
    free(sub);
}

/* Read from the adapter, unless it is detached. */
static int sub_start(struct sub *sub, struct err *e)
{
    struct broker *b = sub->b;
    struct adapter_sub *source;
    if (subscription_config(sub->s)->detached)
        return 0;
    if (b->adapter->ops->sub_open(sub->topic->source, sub->handle, subscription_events(), sub->s, &source, e))
        return -(int)e->code;
    subscription_start(sub->s, source);
    tell_watchers(sub, false);
    return 0;
}

PbSubscription *sub_message(struct arena *a, const struct sub *sub)
{
    PbSubscription *m = pb_clone(a, &subscription_config(sub->s)->base);
    if (!m)
        return NULL;
    if (sub->topic->deleted)
        m->topic = (char *)DELETED_TOPIC;
    else if (sub->topic->config->message_retention_duration)
        m->topic_message_retention_duration = pb_clone(a, &sub->topic->config->message_retention_duration->base);
    return m;
}

/* ---- records ---- */

int sub_record_put(struct store_txn *txn, const struct sub *sub, const PbSubscription *config, int64_t active_wall_ns, struct err *e)
{
    Runnel__Broker__SubscriptionRecord record = RUNNEL__BROKER__SUBSCRIPTION_RECORD__INIT;
    record.subscription = (PbSubscription *)config;
    record.handle = (char *)sub->handle;
    record.topic_handle = sub->topic->handle;
    record.active_wall_ns = active_wall_ns;
    return record_put(txn, "subscription", config->name, &record.base, e);
}

struct topic *topic_of_handle(struct broker *b, const char *handle, const char *name)
{
    struct topic *t = map_get(b->topics, name);
    if (t && strcmp(t->handle, handle) == 0)
        return t;
    LIST_EACH(&b->deleted, n)
        if (strcmp(CONTAINER_OF(n, struct topic, link)->handle, handle) == 0)
            return CONTAINER_OF(n, struct topic, link);
    return NULL;
}

static int load_record(struct broker *b, const Runnel__Broker__SubscriptionRecord *record, const char *name, struct err *e)
{
    if (!record || !record->subscription)
        return err_set(e, ERR_DATA_LOSS, "malformed");
    if (record_check_name(name, record->subscription->name, e) || check_stored(record->subscription, e))
        return -(int)e->code;
    if (record->active_wall_ns <= 0)
        return err_set(e, ERR_DATA_LOSS, "the time of its last use is missing"); /* it would expire at once */
    struct topic *t = topic_of_handle(b, record->topic_handle, record->subscription->topic);
    if (!t)
        return err_set(e, ERR_DATA_LOSS, "its topic has no record");
    struct sub *sub = sub_new(b, t, record->subscription, record->handle, e);
    if (!sub)
        return -(int)e->code;
    sub->recorded_wall_ns = record->active_wall_ns;
    sub->s->active_ns = env_now(b->env) - (env_wall(b->env) - record->active_wall_ns);
    return sub_start(sub, e);
}

static int load_sub(void *arg, const char *name, struct str body, struct err *e)
{
    Runnel__Broker__SubscriptionRecord *record = pb_unpack_heap(&runnel__broker__subscription_record__descriptor, body);
    int rc = load_record(arg, record, name, e);
    pb_free(record);
    return rc ? record_refuse("subscription", name, e) : 0;
}

int subs_load(struct broker *b, struct err *e) { return b->store->ops->load_resources(b->store, "subscription", load_sub, b, e); }

/* ---- create ---- */

static void drop_orphan(struct change *ch)
{
    struct adapter_sub *orphan;
    struct topic *t = ch->topic;
    if (*ch->handle && ch->b->adapter->ops->sub_open(t->source, ch->handle, subscription_events(), NULL, &orphan, NULL) == 0)
        ch->b->adapter->ops->sub_delete(orphan, NULL, NULL);
    t->pending--;
}

static void fail_creation(struct change *ch, const struct err *e)
{
    struct topic *t = ch->topic;
    drop_orphan(ch);
    if (ch->sub)
        sub_drop(ch->sub);
    change_fail(ch, e);
    topic_release_if_unused(t);
}

static void created(struct change *ch, const struct err *e)
{
    struct sub *sub;
    struct err why;
    if (e) {
        fail_creation(ch, e);
        return;
    }
    sub = sub_new(ch->b, ch->topic, ch->config, ch->handle, &why);
    if (!sub || sub_start(sub, &why)) {
        record_undo(ch->b, "subscription", ch->name);
        ch->sub = sub;
        fail_creation(ch, &why);
        return;
    }
    ch->topic->pending--;
    sub->recorded_wall_ns = ch->wall_ns;
    PbSubscription *reply = sub_message(ch->call->arena, sub);
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
        fail_creation(ch, e);
        return;
    }
    snprintf(ch->handle, sizeof ch->handle, "%s", handle);
    struct sub shape = {.topic = ch->topic};
    snprintf(shape.handle, sizeof shape.handle, "%s", handle);
    struct store_txn *txn = store_txn_new();
    if (txn && sub_record_put(txn, &shape, ch->config, ch->wall_ns, &why) == 0) {
        change_commit(ch, txn, created);
        return;
    }
    store_txn_free(txn);
    err_set(&why, ERR_RESOURCE_EXHAUSTED, "subscription: out of memory");
    fail_creation(ch, &why);
}

static int check_new(struct broker *b, struct call *c, PbSubscription *config, struct topic **t, struct err *e)
{
    if (check_subscription(b, c->arena, config, e) || check_name(config->topic, "topics", "topic", e))
        return -(int)e->code;
    if (!(*t = topic_find(b, config->topic, e)))
        return -ERR_NOT_FOUND;
    if (map_get(b->subs, config->name))
        return err_set(e, ERR_ALREADY_EXISTS, "Subscription already exists (resource=%.200s)", config->name);
    if ((*t)->subs.count + (*t)->pending >= BROKER_SUBSCRIPTIONS_PER_TOPIC_MAX)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "topic %.150s has %d subscriptions already", config->topic,
                       BROKER_SUBSCRIPTIONS_PER_TOPIC_MAX);
    if (map_count(b->subs) >= BROKER_SUBSCRIPTIONS_MAX)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "there are %d subscriptions already; delete some", BROKER_SUBSCRIPTIONS_MAX);
    return 0;
}

void on_create_subscription(void *service, struct call *c, const ProtobufCMessage *r)
{
    struct broker *b = service;
    PbSubscription *config = pb_clone(c->arena, r);
    struct err e;
    struct topic *t = NULL;
    if (!config) {
        no_memory(c);
        return;
    }
    config->detached = false;
    if (check_new(b, c, config, &t, &e)) {
        call_fail(c, &e);
        return;
    }
    assert(t);
    struct change *ch = change_new(b, c, config->name);
    if (!ch)
        return;
    ch->config = pb_dup(&config->base);
    if (!ch->config) {
        err_set(&e, ERR_RESOURCE_EXHAUSTED, "subscription: out of memory");
        change_fail(ch, &e);
        return;
    }
    ch->topic = t;
    ch->wall_ns = env_wall(b->env);
    t->pending++;
    b->adapter->ops->sub_create(t->source, config->name, on_handle, ch);
}

/* ---- get, list ---- */

void on_get_subscription(void *service, struct call *c, const ProtobufCMessage *r)
{
    const Google__Pubsub__V1__GetSubscriptionRequest *q = (const void *)r;
    struct err e;
    struct sub *sub;
    if (check_name(q->subscription, "subscriptions", "subscription", &e) || !(sub = sub_find(service, q->subscription, &e))) {
        call_fail(c, &e);
        return;
    }
    PbSubscription *reply = sub_message(c->arena, sub);
    if (reply)
        call_reply(c, &reply->base);
    else
        no_memory(c);
}

void on_list_subscriptions(void *service, struct call *c, const ProtobufCMessage *r)
{
    struct broker *b = service;
    const Google__Pubsub__V1__ListSubscriptionsRequest *q = (const void *)r;
    Google__Pubsub__V1__ListSubscriptionsResponse *reply = pb_new(c->arena, &google__pubsub__v1__list_subscriptions_response__descriptor);
    struct listing found;
    struct err e;
    char prefix[NAME_MAX_BYTES];
    snprintf(prefix, sizeof prefix, "%s/subscriptions/", q->project);
    struct list_ask ask = {.parent = prefix, .token = q->page_token, .size = q->page_size};
    if (check_project(q->project, &e) || list_page(c->arena, b->subs, &ask, &found, &e)) {
        call_fail(c, &e);
        return;
    }
    PbSubscription **subs = arena_alloc(c->arena, (found.n + 1) * sizeof *subs);
    for (size_t i = 0; subs && i < found.n; i++)
        if (!(subs[i] = sub_message(c->arena, found.items[i])))
            subs = NULL;
    if (!subs || !reply) {
        no_memory(c);
        return;
    }
    reply->subscriptions = subs;
    reply->n_subscriptions = found.n;
    reply->next_page_token = (char *)found.next_token;
    call_reply(c, &reply->base);
}

/* ---- delete ---- */

static void deleted(struct change *ch, const struct err *e)
{
    struct broker *b = ch->b;
    struct sub *sub = ch->sub;
    struct topic *t = sub->topic;
    struct err gone;
    if (e) {
        change_fail(ch, e);
        return;
    }
    err_set(&gone, ERR_NOT_FOUND, "Subscription does not exist (resource=%.200s): it was just deleted", ch->name);
    pulls_end(sub, &gone);
    tell_watchers(sub, true);
    subscription_drop(sub->s);
    if (sub->s->source)
        b->adapter->ops->sub_delete(sub->s->source, NULL, NULL);
    drop_series(sub);
    sub_drop(sub);
    if (b->gone)
        b->gone(b->gone_arg, ch->name);
    if (ch->call)
        call_reply_empty(ch->call, &google__protobuf__empty__descriptor);
    change_end(ch);
    topic_release_if_unused(t);
}

static void sub_delete(struct broker *b, struct call *call, struct sub *sub)
{
    struct err e;
    struct change *ch = change_new(b, call, subscription_name(sub->s));
    struct store_txn *txn = ch ? change_txn(ch) : NULL;
    if (!txn)
        return;
    ch->sub = sub;
    if (store_txn_delete(txn, "subscription", ch->name, &e) == 0 && store_txn_delete(txn, "attempts", sub->handle, &e) == 0) {
        change_commit(ch, txn, deleted);
        return;
    }
    store_txn_free(txn);
    change_fail(ch, &e);
}

void on_delete_subscription(void *service, struct call *c, const ProtobufCMessage *r)
{
    const Google__Pubsub__V1__DeleteSubscriptionRequest *q = (const void *)r;
    struct err e;
    struct sub *sub;
    if (check_name(q->subscription, "subscriptions", "subscription", &e) || !(sub = sub_find(service, q->subscription, &e)))
        call_fail(c, &e);
    else
        sub_delete(service, c, sub);
}

/* ---- expiring ---- */

static void on_recorded(void *arg, const struct err *e) {}

void sub_tick(struct sub *sub, int64_t wall_ns)
{
    struct broker *b = sub->b;
    struct err e;
    if (sub->s->pulls.count || sub->s->consumer) /* somebody is connected */
        subscription_touch(sub->s);
    int64_t idle_ns = env_now(b->env) - sub->s->active_ns;
    const Google__Pubsub__V1__ExpirationPolicy *policy = subscription_config(sub->s)->expiration_policy;
    if (policy && policy->ttl && idle_ns > pb_duration_ns(policy->ttl) && !map_get(b->busy, subscription_name(sub->s))) {
        log_kv(b->env->log, LOG_INFO, "subscription.expired", LSTR("subscription", subscription_name(sub->s)),
               LINT("idle_s", idle_ns / NS_PER_S));
        sub_delete(b, NULL, sub);
        return;
    }
    int64_t active_wall_ns = wall_ns - idle_ns;
    if (active_wall_ns - sub->recorded_wall_ns < BROKER_ACTIVE_RECORD_NS || map_get(b->busy, subscription_name(sub->s)))
        return;
    struct store_txn *txn = store_txn_new();
    if (txn && sub_record_put(txn, sub, subscription_config(sub->s), active_wall_ns, &e) == 0) {
        sub->recorded_wall_ns = active_wall_ns;
        store_submit(b->store, txn, on_recorded, NULL);
    } else {
        store_txn_free(txn);
    }
}

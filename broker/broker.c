/* broker.c: the broker's life: making, loading, the tick, stopping; and the changes under way. */
#include "broker/broker_int.h"

#include <stdlib.h>

/* ---- small helpers ---- */

void no_memory(struct call *call) { call_failf(call, ERR_RESOURCE_EXHAUSTED, "out of memory; try again"); }

void call_reply_empty(struct call *call, const ProtobufCMessageDescriptor *d)
{
    ProtobufCMessage *reply = pb_new(call->arena, d);
    if (reply)
        call_reply(call, reply);
    else
        no_memory(call);
}

bool refuse_when_stopping(struct broker *b, struct call *call)
{
    if (b->stopping)
        call_failf(call, ERR_UNAVAILABLE, "the server is shutting down; try again");
    return b->stopping;
}

int record_put(struct store_txn *txn, const char *kind, const char *name, const ProtobufCMessage *m, struct err *e)
{
    char *bytes;
    size_t len;
    if (pb_pack(m, &bytes, &len, e))
        return -ERR_RESOURCE_EXHAUSTED;
    int rc = store_txn_put(txn, kind, name, (struct str){bytes, len}, e);
    free(bytes);
    return rc;
}

int record_refuse(const char *kind, const char *name, struct err *e)
{
    bool kept = e->code == ERR_RESOURCE_EXHAUSTED || e->code == ERR_FAILED_PRECONDITION;
    return err_set(e, kept ? e->code : ERR_DATA_LOSS, "%s record \"%.120s\": %s", kind, name, e->msg);
}

int record_check_name(const char *name, const char *within, struct err *e)
{
    return strcmp(name, within) == 0 ? 0 : err_set(e, ERR_DATA_LOSS, "it is one of \"%.120s\"", within);
}

static void on_undone(void *arg, const struct err *e) {}

void record_undo(struct broker *b, const char *kind, const char *name)
{
    struct store_txn *txn = store_txn_new();
    struct err e;
    if (txn && store_txn_delete(txn, kind, name, &e) == 0) {
        store_submit(b->store, txn, on_undone, NULL);
        return;
    }
    store_txn_free(txn);
    log_kv(b->env->log, LOG_ERROR, "broker.undo", LSTR("resource", name), LSTR("error", "out of memory: it shows up after a restart"));
}

/* ---- changes ---- */

static struct change *change_alloc(struct broker *b, const char *name, struct err *e)
{
    struct change *ch = calloc(1, sizeof *ch);
    if (!ch || !(ch->name = strdup(name))) {
        free(ch);
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory; try again");
        return NULL;
    }
    ch->b = b;
    node_init(&ch->link);
    if (map_put(b->busy, name, ch, e)) {
        free(ch->name);
        free(ch);
        return NULL;
    }
    list_append(&b->changes, &ch->link);
    return ch;
}

struct change *change_new(struct broker *b, struct call *call, const char *name)
{
    struct err e = {0};
    struct change *ch = NULL;
    if (call && refuse_when_stopping(b, call))
        return NULL;
    if (map_get(b->busy, name))
        err_set(&e, ERR_ABORTED, "another change to %.200s is under way; try again", name);
    else
        ch = change_alloc(b, name, &e);
    if (!ch && call)
        call_fail(call, &e);
    if (ch)
        ch->call = call;
    return ch;
}

static void close_adapter(struct broker *b);

void change_end(struct change *ch)
{
    struct broker *b = ch->b;
    list_remove(&b->changes, &ch->link);
    map_remove(b->busy, ch->name);
    pb_free(ch->config);
    free(ch->name);
    free(ch);
    if (b->stopping && b->changes.count == 0)
        close_adapter(b);
}

void change_fail(struct change *ch, const struct err *e)
{
    if (ch->call)
        call_fail(ch->call, e);
    else
        log_kv(ch->b->env->log, LOG_WARN, "broker.change", LSTR("resource", ch->name), LSTR("error", e->msg));
    change_end(ch);
}

struct store_txn *change_txn(struct change *ch)
{
    struct err e;
    struct store_txn *txn = store_txn_new();
    if (!txn) {
        err_set(&e, ERR_RESOURCE_EXHAUSTED, "out of memory; try again");
        change_fail(ch, &e);
    }
    return txn;
}

/* After broker_free the store may still answer (it closes later): then the change is only freed. */
static void on_committed(void *arg, const struct err *e)
{
    struct change *ch = arg;
    if (ch->b) {
        ch->then(ch, e);
        return;
    }
    pb_free(ch->config);
    free(ch->name);
    free(ch);
}

void change_commit(struct change *ch, struct store_txn *txn, void (*then)(struct change *ch, const struct err *e))
{
    ch->then = then;
    store_submit(ch->b->store, txn, on_committed, ch);
}

/* ---- the tick ---- */

static void refresh_metrics(struct broker *b)
{
    size_t it = 0;
    const char *name;
    void *p;
    metric_set(b->m.topics, (int64_t)map_count(b->topics));
    metric_set(b->m.subs, (int64_t)map_count(b->subs));
    metric_set(b->m.pulls_waiting, (int64_t)b->n_pulls);
    while (map_next(b->subs, &it, &name, &p)) {
        struct sub *sub = p;
        struct subscription_stats st = subscription_stats(sub->s);
        int64_t age_ns = st.oldest_wall_ns ? env_wall(b->env) - st.oldest_wall_ns : 0;
        metric_set(sub->backlog, (int64_t)st.unacked);
        metric_set(sub->oldest, age_ns > 0 ? age_ns / NS_PER_S : 0);
        metric_set(sub->leases, (int64_t)st.in_state[LEASE_SENT]);
    }
}

static void maintain(struct broker *b)
{
    int64_t wall_ns = env_wall(b->env);
    void **subs = map_sorted(b->subs);
    size_t n = map_count(b->subs);
    b->adapter->ops->maintain(b->adapter, wall_ns);
    for (size_t i = 0; subs && i < n; i++)
        sub_tick(subs[i], wall_ns);
    free(subs);
    snapshots_tick(b, wall_ns);
    LIST_EACH_SAFE(&b->deleted, node)
        topic_release_if_unused(CONTAINER_OF(node, struct topic, link));
}

static void on_tick(struct timer *t, int64_t now_ns)
{
    struct broker *b = CONTAINER_OF(t, struct broker, tick);
    struct err e;
    if (b->maintained_ns == 0 || now_ns - b->maintained_ns >= BROKER_MAINTAIN_NS) {
        b->maintained_ns = now_ns;
        maintain(b);
    }
    refresh_metrics(b);
    if (timer_set(b->env->timers, t, now_ns + BROKER_TICK_NS, &e))
        log_kv(b->env->log, LOG_ERROR, "broker.tick", LSTR("error", e.msg));
}

/* ---- life ---- */

static void make_metrics(struct broker *b, struct metrics *m)
{
    static const char *const none[METRIC_LABELS_MAX];
    if (!m)
        return;
    b->m.published = metrics_family(m, METRIC_COUNTER, "runnel_published_messages_total", "Messages accepted.", "topic");
    b->m.published_bytes = metrics_family(m, METRIC_COUNTER, "runnel_published_bytes_total", "Bytes of messages accepted.", "topic");
    b->m.deliveries =
        metrics_family(m, METRIC_COUNTER, "runnel_deliveries_total",
                       "Deliveries by what became of them: ack, nack, expired, dead_letter, filtered.", "subscription,result");
    b->m.backlog = metrics_family(m, METRIC_GAUGE, "runnel_backlog_messages", "Messages not acknowledged.", "subscription");
    b->m.oldest =
        metrics_family(m, METRIC_GAUGE, "runnel_backlog_oldest_seconds", "Age of the oldest message not acknowledged.", "subscription");
    b->m.leases = metrics_family(m, METRIC_GAUGE, "runnel_outstanding_messages", "Messages delivered and not settled.", "subscription");
    b->m.pulls_waiting = metric_series(metrics_family(m, METRIC_GAUGE, "runnel_pulls_waiting", "Pull requests that wait.", ""), none);
    b->m.topics = metric_series(metrics_family(m, METRIC_GAUGE, "runnel_topics", "Topics.", ""), none);
    b->m.subs = metric_series(metrics_family(m, METRIC_GAUGE, "runnel_subscriptions", "Subscriptions.", ""), none);
}

struct broker *broker_new(const struct env *env, const struct broker_config *c, struct store *store, struct adapter *adapter,
                          struct metrics *metrics, struct err *e)
{
    struct broker *b = calloc(1, sizeof *b);
    if (!b) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "broker: out of memory");
        return NULL;
    }
    b->env = env;
    b->store = store;
    b->adapter = adapter;
    b->pull_wait_ns = c->pull_wait_ns ? c->pull_wait_ns : BROKER_PULL_WAIT_NS;
    b->boot = rng_u64(env->rng);
    b->deps = (struct subscription_deps){
        .env = env, .adapter = adapter, .serve_pulls = pulls_serve, .dead_letter = dead_letter_send, .attempts_changed = attempts_changed};
    list_init(&b->deleted);
    list_init(&b->changes);
    timer_init(&b->tick, on_tick);
    b->topics = map_new(BROKER_TOPICS_MAX);
    b->subs = map_new(BROKER_SUBSCRIPTIONS_MAX);
    b->snapshots = map_new(BROKER_SNAPSHOTS_MAX);
    b->busy = map_new(BROKER_CHANGES_MAX);
    make_metrics(b, metrics);
    if (b->topics && b->subs && b->snapshots && b->busy)
        return b;
    b->adapter = NULL; /* still the caller's */
    broker_free(b);
    err_set(e, ERR_RESOURCE_EXHAUSTED, "broker: out of memory");
    return NULL;
}

int broker_load(struct broker *b, struct err *e)
{
    int rc = topics_load(b, e);
    rc = rc ? rc : subs_load(b, e);
    rc = rc ? rc : snapshots_load(b, e);
    rc = rc ? rc : attempts_load(b, e);
    rc = rc ? rc : timer_set(b->env->timers, &b->tick, env_now(b->env), e);
    if (rc)
        return rc;
    log_kv(b->env->log, LOG_INFO, "broker.loaded", LINT("topics", map_count(b->topics)), LINT("subscriptions", map_count(b->subs)),
           LINT("snapshots", map_count(b->snapshots)));
    return 0;
}

void broker_watch(struct broker *b, broker_watch_fn fn, void *arg)
{
    if (b->n_watchers == BROKER_WATCHERS_MAX)
        abort(); /* a mistake of ours, at start */
    b->watchers[b->n_watchers].fn = fn;
    b->watchers[b->n_watchers++].arg = arg;
}

void broker_check_endpoint(struct broker *b, broker_endpoint_fn fn, void *arg)
{
    b->endpoint = fn;
    b->endpoint_arg = arg;
}

void broker_on_delete(struct broker *b, void (*gone)(void *arg, const char *resource), void *arg)
{
    b->gone = gone;
    b->gone_arg = arg;
}

bool broker_has(const struct broker *b, const char *resource)
{
    return map_get(b->topics, resource) || map_get(b->subs, resource) || map_get(b->snapshots, resource);
}

struct subscription *broker_subscription(struct broker *b, const char *name)
{
    struct sub *sub = map_get(b->subs, name);
    return sub ? sub->s : NULL;
}

/* ---- stopping ---- */

static void on_adapter_closed(void *arg, const struct err *e)
{
    struct broker *b = arg;
    b->adapter = NULL; /* it has freed itself */
    if (b->stopped)
        b->stopped(b->stopped_arg);
}

void broker_end_pulls(struct broker *b)
{
    size_t it = 0;
    const char *name;
    void *sub;
    b->no_waiting = true;
    while (map_next(b->subs, &it, &name, &sub))
        pulls_end(sub, NULL);
}

/* Nobody reads any more; consumers may still come and go, but find nothing. */
static void close_subs(struct broker *b)
{
    size_t it = 0;
    const char *name;
    void *p;
    while (map_next(b->subs, &it, &name, &p)) {
        struct sub *sub = p;
        pulls_end(sub, NULL);
        attempts_fini(sub);
        subscription_drop(sub->s);
        if (sub->s->source)
            b->adapter->ops->sub_close(sub->s->source);
        sub->s->source = NULL;
    }
}

static void close_adapter(struct broker *b)
{
    if (b->adapter_closing)
        return;
    b->adapter_closing = true;
    close_subs(b); /* also one whose creation was just finished */
    b->adapter->ops->close(b->adapter, on_adapter_closed, b);
}

void broker_stop(struct broker *b, void (*done)(void *arg), void *arg)
{
    b->stopping = true;
    b->stopped = done;
    b->stopped_arg = arg;
    timer_cancel(b->env->timers, &b->tick);
    close_subs(b);
    if (b->changes.count == 0)
        close_adapter(b);
}

void broker_free(struct broker *b)
{
    size_t it = 0;
    const char *name;
    void *p;
    if (!b)
        return;
    timer_cancel(b->env->timers, &b->tick);
    for (struct node *n; (n = list_pop(&b->changes));)
        CONTAINER_OF(n, struct change, link)->b = NULL; /* whoever answers it frees it */
    while (b->snapshots && map_next(b->snapshots, &it, &name, &p))
        snapshot_drop(p);
    for (it = 0; b->subs && map_next(b->subs, &it, &name, &p);)
        sub_drop(p);
    for (it = 0; b->topics && map_next(b->topics, &it, &name, &p);)
        topic_drop(p);
    for (struct node *n; (n = list_first(&b->deleted));)
        topic_drop(CONTAINER_OF(n, struct topic, link));
    if (b->adapter)
        b->adapter->ops->abandon(b->adapter);
    map_free(b->topics);
    map_free(b->subs);
    map_free(b->snapshots);
    map_free(b->busy);
    free(b);
}

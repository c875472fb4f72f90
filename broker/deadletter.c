/* deadletter.c: messages that used up their attempts go to the dead-letter topic; attempt counts outlive the server.
 * A letter is on its way from the lease's WAIT until its append is durable; then the lease is settled. If the lease goes first
 * (seek, delete), the letter loses it: the message is then in both places, which dead lettering allows (best effort). */
#include "broker/broker_int.h"

#include <stdio.h>
#include <stdlib.h>

#define LETTER_ARENA_MAX (MESSAGE_BYTES_MAX * 2)
#define LETTER_RETRY_NS (5 * NS_PER_S)
#define ATTEMPTS_DELAY_NS (500 * NS_PER_MS) /* gathered this long before they are written */
#define ATTEMPTS_ARENA_MAX (8u * 1024 * 1024)

typedef Google__Pubsub__V1__PubsubMessage PbMessage;
typedef Google__Pubsub__V1__PubsubMessage__AttributesEntry PbAttribute;

struct dead_letter {
    struct lease *lease; /* first: a lease that goes sets it to NULL */
    struct sub *sub;     /* alive as long as the lease is */
    struct topic *topic;
    struct message *msg;
};

/* ---- the letter's message ---- */

static bool add_attribute(struct arena *a, PbMessage *m, const char *key, struct str value)
{
    PbAttribute *at = NULL;
    for (size_t i = 0; i < m->n_attributes && !at; i++)
        if (strcmp(m->attributes[i]->key, key) == 0)
            at = m->attributes[i]; /* it was a dead letter before */
    if (!at) {
        at = m->attributes[m->n_attributes++] = pb_new(a, &google__pubsub__v1__pubsub_message__attributes_entry__descriptor);
        if (at)
            at->key = (char *)key;
    }
    return at && (at->value = arena_dup(a, value)) != NULL;
}

/* 2022-08-12T15:56:29.732+00:00 */
static char *publish_time_text(struct arena *a, int64_t wall_ns)
{
    char text[WALL_TEXT_MAX];
    int64_t ms = wall_ns / NS_PER_MS;
    wall_format(ms / 1000 * NS_PER_S, text);
    return arena_printf(a, "%.19s.%03d+00:00", text, (int)(ms % 1000));
}

static bool add_origin(struct arena *a, PbMessage *m, const struct sub *sub, const struct lease *l)
{
    const char *name = subscription_name(sub->s), *project = name + strlen("projects/"), *id = strrchr(name, '/') + 1;
    char *count = arena_printf(a, "%u", l->attempt);
    char *time = publish_time_text(a, l->msg->publish_wall_ns);
    return count && time && add_attribute(a, m, "CloudPubSubDeadLetterSourceDeliveryCount", str_of(count)) &&
           add_attribute(a, m, "CloudPubSubDeadLetterSourceSubscription", str_of(id)) &&
           add_attribute(a, m, "CloudPubSubDeadLetterSourceSubscriptionProject", (struct str){project, strcspn(project, "/")}) &&
           add_attribute(a, m, "CloudPubSubDeadLetterSourceTopicPublishTime", str_of(time));
}

static struct message *letter_message(const struct sub *sub, const struct lease *l, struct err *e)
{
    struct arena *a = arena_new(LETTER_ARENA_MAX);
    PbMessage *m = a ? pb_new(a, &google__pubsub__v1__pubsub_message__descriptor) : NULL;
    struct message *out = NULL;
    bool ok = m && (m->attributes = arena_alloc(a, (l->msg->n_attributes + 4) * sizeof *m->attributes)) &&
              (m->ordering_key = arena_dup(a, l->msg->ordering_key));
    for (size_t i = 0; ok && i < l->msg->n_attributes; i++) {
        char *key = arena_dup(a, l->msg->attributes[i].key);
        ok = key && add_attribute(a, m, key, l->msg->attributes[i].value);
    }
    if (ok && add_origin(a, m, sub, l)) {
        m->data = (ProtobufCBinaryData){l->msg->data.n, (uint8_t *)l->msg->data.p};
        out = message_new(m, 0, e);
    } else {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "dead letter: out of memory");
    }
    if (a)
        arena_free(a);
    return out;
}

/* ---- its way ---- */

static void log_trouble(const struct sub *sub, const struct lease *l, const char *error, const char *what)
{
    log_kv(sub->b->env->log, LOG_WARN, "subscription.dead_letter", LSTR("subscription", subscription_name(sub->s)),
           LSTR("message", l->msg->id), LSTR("error", error), LSTR("do", what));
}

static void on_appended(void *arg, const struct err *e)
{
    struct dead_letter *d = arg;
    struct topic *t = d->topic;
    if (d->lease && e) {
        log_trouble(d->sub, d->lease, e->msg, "trying again in 5 s");
        subscription_revive(d->sub->s, d->lease, LETTER_RETRY_NS);
    } else if (d->lease) {
        metric_add(d->sub->s->metrics.dead, 1);
        subscription_bury(d->sub->s, d->lease);
    }
    message_unref(d->msg);
    free(d);
    t->pending--;
    topic_release_if_unused(t);
}

void dead_letter_send(struct subscription *s, struct lease *l)
{
    struct sub *sub = s->owner;
    struct broker *b = sub->b;
    struct err e = {.code = ERR_RESOURCE_EXHAUSTED, .msg = "out of memory"};
    struct topic *t = topic_find(b, s->config->dead_letter_policy->dead_letter_topic, &e);
    struct dead_letter *d = t ? malloc(sizeof *d) : NULL;
    struct message *m = d ? letter_message(sub, l, &e) : NULL;
    if (!m) {
        bool later = e.code == ERR_RESOURCE_EXHAUSTED;
        free(d);
        log_trouble(sub, l, e.msg, later ? "trying again in 5 s" : "it is delivered on to the subscription");
        l->dead = later; /* a topic that is gone, or no room for the attributes: nothing is lost, it just goes on */
        subscription_revive(s, l, LETTER_RETRY_NS);
        return;
    }
    *d = (struct dead_letter){.lease = l, .sub = sub, .topic = t, .msg = m};
    l->letter = d;
    t->pending++;
    b->adapter->ops->append(t->source, &m, 1, on_appended, d);
}

/* ---- attempt counts: written a little later, all of the subscription at once ---- */

static void arm_attempts(struct sub *sub);

/* The subscription may be gone when its write is answered. */
static void on_attempts_written(void *arg, const struct err *e)
{
    struct attempts_write *w = arg;
    struct sub *sub = w->sub;
    free(w);
    if (!sub)
        return;
    sub->attempts_write = NULL;
    if (e || sub->attempts_dirty)
        arm_attempts(sub);
}

static bool add_entry(struct arena *a, Runnel__Broker__AttemptsRecord *record, struct msg_pos pos, uint32_t attempt)
{
    Runnel__Broker__AttemptsRecord__Entry *entry = pb_new(a, &runnel__broker__attempts_record__entry__descriptor);
    if (!entry)
        return false;
    entry->hi = pos.hi;
    entry->lo = pos.lo;
    entry->attempt = attempt;
    record->entries[record->n_entries++] = entry;
    return true;
}

static bool fill_attempts(struct arena *a, const struct subscription *s, Runnel__Broker__AttemptsRecord *record)
{
    size_t it = 0;
    uint64_t key;
    void *attempt;
    record->entries = arena_alloc(a, LEASES_MAX * sizeof *record->entries);
    if (!record->entries)
        return false;
    for (int state = 0; state < LEASE_N; state++)
        LIST_EACH(&s->states[state], n) {
            const struct lease *l = CONTAINER_OF(n, struct lease, link);
            if (l->attempt && !add_entry(a, record, l->msg->pos, l->attempt))
                return false;
        }
    /* Counts of the time before a restart, of messages that have not been read again yet. */
    while (s->attempts && record->n_entries < LEASES_MAX && u64map_next(s->attempts, &it, &key, &attempt))
        if (!add_entry(a, record, (struct msg_pos){0, key}, (uint32_t)(uintptr_t)attempt))
            return false;
    return true;
}

static void write_attempts(struct timer *timer, int64_t now_ns)
{
    struct sub *sub = CONTAINER_OF(timer, struct sub, attempts_timer);
    struct broker *b = sub->b;
    struct err e;
    Runnel__Broker__AttemptsRecord record = RUNNEL__BROKER__ATTEMPTS_RECORD__INIT;
    struct arena *a = arena_new(ATTEMPTS_ARENA_MAX);
    struct store_txn *txn = store_txn_new();
    struct attempts_write *w = malloc(sizeof *w);
    sub->attempts_dirty = false;
    if (a && txn && w && fill_attempts(a, sub->s, &record) && record_put(txn, "attempts", sub->handle, &record.base, &e) == 0) {
        w->sub = sub;
        sub->attempts_write = w;
        store_submit(b->store, txn, on_attempts_written, w);
    } else {
        store_txn_free(txn);
        free(w);
        arm_attempts(sub);
    }
    if (a)
        arena_free(a);
}

static void arm_attempts(struct sub *sub)
{
    struct err e;
    sub->attempts_dirty = true;
    sub->attempts_timer.fire = write_attempts;
    if (!sub->b->stopping && !sub->attempts_write && !timer_armed(&sub->attempts_timer) &&
        timer_set(sub->b->env->timers, &sub->attempts_timer, env_now(sub->b->env) + ATTEMPTS_DELAY_NS, &e))
        log_kv(sub->b->env->log, LOG_WARN, "subscription.attempts", LSTR("error", e.msg));
}

void attempts_changed(struct subscription *s) { arm_attempts(s->owner); }

void attempts_fini(struct sub *sub)
{
    timer_cancel(sub->b->env->timers, &sub->attempts_timer);
    if (sub->attempts_write)
        sub->attempts_write->sub = NULL;
    sub->attempts_write = NULL;
}

static int load_record(struct subscription *s, const Runnel__Broker__AttemptsRecord *record, struct err *e)
{
    if (!s->attempts && !(s->attempts = u64map_new(LEASES_MAX * 2)))
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory");
    if (record->n_entries > LEASES_MAX)
        return err_set(e, ERR_DATA_LOSS, "%zu messages; a subscription has at most %d under way", record->n_entries, LEASES_MAX);
    for (size_t i = 0; i < record->n_entries; i++) {
        const Runnel__Broker__AttemptsRecord__Entry *entry = record->entries[i];
        if (u64map_put(s->attempts, entry->lo ^ entry->hi << 40, (void *)(uintptr_t)entry->attempt, e))
            return -(int)e->code;
    }
    return 0;
}

/* A subscription that is gone needs none. */
static int load_attempts(void *arg, const char *name, struct str body, struct err *e)
{
    struct sub *sub = map_get(arg, name);
    Runnel__Broker__AttemptsRecord *record = pb_unpack_heap(&runnel__broker__attempts_record__descriptor, body);
    int rc = !record ? err_set(e, ERR_DATA_LOSS, "malformed") : sub ? load_record(sub->s, record, e) : 0;
    pb_free(record);
    return rc ? record_refuse("attempts", name, e) : 0;
}

int attempts_load(struct broker *b, struct err *e)
{
    struct map *by_handle = map_new(BROKER_SUBSCRIPTIONS_MAX);
    size_t it = 0;
    const char *name;
    void *p;
    int rc = by_handle ? 0 : err_set(e, ERR_RESOURCE_EXHAUSTED, "attempts: out of memory");
    while (rc == 0 && map_next(b->subs, &it, &name, &p))
        rc = map_put(by_handle, ((struct sub *)p)->handle, p, e);
    rc = rc ? rc : b->store->ops->load_resources(b->store, "attempts", load_attempts, by_handle, e);
    map_free(by_handle);
    return rc;
}

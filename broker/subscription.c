/* subscription.c: the leases of one subscription and the moves between their states. */
#include "broker/subscription_int.h"

#include "core/rpc/pb.h"

#include <assert.h>
#include <stdlib.h>

#define TO(state) (1u << LEASE_##state)
/* What may follow; settled leases are in no state, they are gone. */
static inline bool may_follow(enum lease_state from, enum lease_state to)
{
    static const uint32_t next[LEASE_N] = {
        [LEASE_READY] = TO(SENT),
        [LEASE_SENT] = TO(READY) | TO(WAIT) | TO(BLOCKED),
        [LEASE_WAIT] = TO(READY) | TO(BLOCKED) | TO(WAIT),
        [LEASE_BLOCKED] = TO(READY) | TO(SENT),
    };
    return next[from] >> to & 1;
}

static struct lease *lease_of(struct node *n) { return CONTAINER_OF(n, struct lease, link); }
static const struct env *env_of(const struct subscription *s) { return s->deps->env; }

/* ---- waking those who take ---- */

static void wake(struct subscription *s)
{
    struct err e;
    bool wanted = s->consumer || s->pulls.count;
    if (wanted && !s->dropping && s->states[LEASE_READY].count && !timer_armed(&s->wake) &&
        timer_set(env_of(s)->timers, &s->wake, env_now(env_of(s)), &e))
        log_kv(env_of(s)->log, LOG_ERROR, "subscription.wake", LSTR("error", e.msg));
}

static void on_wake(struct timer *t, int64_t now_ns)
{
    struct subscription *s = CONTAINER_OF(t, struct subscription, wake);
    if (s->consumer)
        s->consumer->on_ready(s->consumer);
    else
        s->deps->serve_pulls(s);
}

/* ---- the mover ---- */

static void on_lease_timer(struct timer *t, int64_t now_ns);

static void move(struct lease *l, enum lease_state to)
{
    struct subscription *s = l->sub;
    assert(may_follow(l->state, to));
    if (l->state == LEASE_SENT || l->state == LEASE_WAIT)
        timer_cancel(env_of(s)->timers, &l->timer);
    if (l->pulled) {
        u64map_remove(s->pulled, l->number);
        l->pulled = false;
    }
    if (l->state == LEASE_SENT)
        s->sent_bytes -= l->msg->bytes;
    if (to == LEASE_SENT)
        s->sent_bytes += l->msg->bytes;
    list_remove(&s->states[l->state], &l->link);
    l->state = to;
    list_append(&s->states[to], &l->link);
    if (to == LEASE_READY)
        wake(s);
}

/* READY, or BLOCKED when an earlier message of its key is not settled. */
static void offer(struct lease *l) { move(l, !l->key || keys_is_head(l) ? LEASE_READY : LEASE_BLOCKED); }

static void lease_free(struct lease *l)
{
    struct subscription *s = l->sub;
    if (l->pulled)
        u64map_remove(s->pulled, l->number);
    timer_cancel(env_of(s)->timers, &l->timer);
    list_remove(&s->states[l->state], &l->link);
    s->leases--;
    if (l->state == LEASE_SENT)
        s->sent_bytes -= l->msg->bytes;
    s->bytes -= l->msg->bytes;
    s->deps->lease_bytes -= l->msg->bytes + sizeof *l;
    message_unref(l->msg);
    free(l);
}

static void detach_letter(struct lease *l);

/* The lease is settled: it goes, and the next of its key may come. */
static void settle(struct lease *l)
{
    struct lease *next = l->key ? keys_leave(l->sub->keys, l) : NULL;
    detach_letter(l);
    lease_free(l);
    if (next && next->state == LEASE_BLOCKED)
        move(next, LEASE_READY);
}

/* ---- credit ---- */

/* Give the adapter credit for what is free, in quarters, so that not every settled message costs a call and a page. */
static void top_up(struct subscription *s)
{
    bool tight = s->deps->lease_bytes > LEASES_BYTES_TOTAL_MAX;
    bool ahead = tight || !s->consumer; /* pulled at their own pace: only a little ahead of them */
    size_t window = !ahead ? LEASES_MAX : tight ? PREFETCH_TIGHT : s->prefetch;
    int64_t window_bytes = ahead ? PREFETCH_BYTES_MAX : LEASE_BYTES_MAX;
    size_t held = ahead ? s->leases - s->states[LEASE_SENT].count : s->leases;
    if (!s->source || s->dropping || s->leases >= LEASES_MAX || held >= window)
        return;
    size_t free_count = window - held < LEASES_MAX - s->leases ? window - held : LEASES_MAX - s->leases;
    int64_t free_bytes = window_bytes - (int64_t)(ahead ? s->bytes - s->sent_bytes : s->bytes);
    int64_t all_bytes = (int64_t)LEASE_BYTES_MAX - (int64_t)s->bytes;
    free_bytes = free_bytes < all_bytes ? free_bytes : all_bytes;
    if (free_bytes <= 0)
        return;
    size_t count = free_count > s->asked_count ? free_count - s->asked_count : 0;
    int64_t bytes = free_bytes > s->asked_bytes ? free_bytes - s->asked_bytes : 0;
    if (count < window / 4 && !(s->asked_bytes <= 0 && bytes >= window_bytes / 4))
        return;
    s->asked_count += count;
    s->asked_bytes += bytes;
    s->deps->adapter->ops->credit(s->source, count, (size_t)bytes);
}

/* ---- messages come ---- */

static uint32_t attempts_before(struct subscription *s, const struct message *m)
{
    if (!s->attempts)
        return 0;
    return (uint32_t)(uintptr_t)u64map_remove(s->attempts, m->pos.lo ^ m->pos.hi << 40);
}

/* Returns false when out of memory. */
static bool lease_new(struct subscription *s, struct message *m)
{
    struct err e;
    struct lease *l = calloc(1, sizeof *l);
    if (!l)
        return false;
    l->sub = s;
    l->msg = m;
    node_init(&l->link);
    node_init(&l->key_link);
    timer_init(&l->timer, on_lease_timer);
    if (s->config->enable_message_ordering && m->ordering_key.n && keys_join(s->keys, l, &e)) {
        free(l);
        return false;
    }
    l->attempt = attempts_before(s, m);
    l->state = !l->key || keys_is_head(l) ? LEASE_READY : LEASE_BLOCKED;
    list_append(&s->states[l->state], &l->link);
    s->leases++;
    s->bytes += m->bytes;
    s->deps->lease_bytes += m->bytes + sizeof *l;
    return true;
}

static size_t on_messages(void *arg, struct message **msgs, size_t n)
{
    struct subscription *s = arg;
    size_t taken = 0;
    for (; taken < n; taken++) {
        struct message *m = msgs[taken];
        int64_t bytes = (int64_t)m->bytes;
        if (s->filter && !filter_match(s->filter, m)) {
            metric_add(s->metrics.filtered, 1);
            s->deps->adapter->ops->ack(s->source, &m->pos, 1, NULL, NULL);
            message_unref(m);
        } else if (!lease_new(s, m)) {
            log_kv(env_of(s)->log, LOG_ERROR, "subscription.memory", LSTR("subscription", s->config->name),
                   LSTR("do", "trying again in a second"));
            break; /* not the ones behind it either: they keep their order */
        }
        s->asked_count--;
        s->asked_bytes -= bytes;
    }
    wake(s);
    top_up(s);
    return taken;
}

static void on_trouble(void *arg, const struct err *e) {}

const struct adapter_sub_events *subscription_events(void)
{
    static const struct adapter_sub_events events = {on_messages, on_trouble};
    return &events;
}

/* ---- taking ---- */

static bool send(struct subscription *s, struct lease *l, bool pull)
{
    struct err e;
    uint64_t number = s->deps->deliveries + 1;
    if (pull && u64map_put(s->pulled, number, l, &e))
        return false;
    if (timer_set(env_of(s)->timers, &l->timer, env_now(env_of(s)) + s->ack_deadline_ns, &e)) {
        if (pull)
            u64map_remove(s->pulled, number);
        log_kv(env_of(s)->log, LOG_ERROR, "subscription.take", LSTR("error", e.msg));
        return false;
    }
    move(l, LEASE_SENT);
    l->number = s->deps->deliveries = number;
    l->pulled = pull;
    l->consumer_data = NULL;
    l->attempt++;
    return true;
}

/* Too old to be kept: it goes as if acknowledged, in the adapter too. */
static bool dropped_for_age(struct subscription *s, struct lease *l)
{
    if (s->retention_ns <= 0 || l->msg->publish_wall_ns >= env_wall(env_of(s)) - s->retention_ns)
        return false;
    s->deps->adapter->ops->ack(s->source, &l->msg->pos, 1, NULL, NULL);
    settle(l);
    return true;
}

struct taking {
    struct lease **out;
    size_t n, max, bytes, max_bytes;
};

static bool take_one(struct subscription *s, struct lease *l, struct taking *t, bool pull)
{
    if (t->n == t->max || (t->n && t->bytes + l->msg->bytes > t->max_bytes) || !send(s, l, pull))
        return false;
    t->bytes += l->msg->bytes;
    t->out[t->n++] = l;
    return true;
}

/* A pull got less than it wanted though there is more: read further ahead from now on. */
static void prefetch_more(struct subscription *s)
{
    if (s->prefetch == PREFETCH_MAX || !s->source || s->deps->adapter->ops->stats(s->source).unread == 0)
        return;
    s->prefetch = s->prefetch * 2 < PREFETCH_MAX ? s->prefetch * 2 : PREFETCH_MAX;
}

static size_t take(struct subscription *s, struct taking *t, bool pull)
{
    for (struct node *n; (n = list_first(&s->states[LEASE_READY]));) {
        struct lease *l = lease_of(n);
        if (dropped_for_age(s, l))
            continue;
        if (!take_one(s, l, t, pull))
            break;
        for (struct lease *next = l; pull && l->key && (next = keys_after(next)) && next->state == LEASE_BLOCKED;)
            if (!take_one(s, next, t, pull))
                break;
    }
    if (t->n)
        subscription_touch(s);
    if (pull && t->n < t->max)
        prefetch_more(s);
    top_up(s);
    return t->n;
}

size_t subscription_take(struct subscription *s, size_t max, size_t max_bytes, struct lease **out)
{
    return take(s, &(struct taking){.out = out, .max = max, .max_bytes = max_bytes}, false);
}

size_t subscription_pull(struct subscription *s, size_t max, size_t max_bytes, struct lease **out)
{
    return take(s, &(struct taking){.out = out, .max = max, .max_bytes = max_bytes}, true);
}

struct lease *subscription_pulled(const struct subscription *s, uint64_t number) { return u64map_get(s->pulled, number); }

struct lease *subscription_unpull(struct subscription *s, uint64_t number)
{
    struct lease *l = u64map_remove(s->pulled, number);
    if (l)
        l->pulled = false;
    return l;
}

/* ---- settling ---- */

void subscription_ack(struct subscription *s, struct lease *l) { subscription_ack_all(s, &l, 1, NULL, NULL); }

void subscription_ack_all(struct subscription *s, struct lease **leases, size_t n, adapter_done_fn done, void *arg)
{
    struct msg_pos few[64], *pos = n <= ARRAY_LEN(few) ? few : malloc(n * sizeof *pos);
    for (size_t i = 0; i < n; i++) {
        if (pos)
            pos[i] = leases[i]->msg->pos;
        else
            s->deps->adapter->ops->ack(s->source, &leases[i]->msg->pos, 1, NULL, NULL);
        settle(leases[i]);
    }
    s->acked += n;
    metric_add(s->metrics.acked, (int64_t)n);
    s->deps->adapter->ops->ack(s->source, pos, pos ? n : 0, done, arg);
    if (pos != few)
        free(pos);
    subscription_touch(s);
    top_up(s);
}

static int64_t backoff(const struct subscription *s, uint32_t attempt)
{
    int64_t ns = s->retry_min_ns;
    for (uint32_t i = 1; i < attempt && ns < s->retry_max_ns; i++)
        ns *= 2;
    return ns < s->retry_max_ns ? ns : s->retry_max_ns;
}

static void wait_for(struct subscription *s, struct lease *l, int64_t delay_ns)
{
    struct err e;
    move(l, LEASE_WAIT);
    if (timer_set(env_of(s)->timers, &l->timer, env_now(env_of(s)) + delay_ns, &e))
        offer(l); /* too early is better than never */
}

/* What of this key was sent after `l` comes again after it. */
static void recall_successors(struct lease *l)
{
    for (struct lease *next = l; (next = keys_after(next));)
        if (next->state == LEASE_SENT) {
            if (!next->pulled && l->sub->consumer)
                l->sub->consumer->on_drop(l->sub->consumer, next);
            move(next, LEASE_BLOCKED);
        }
}

static void put_back(struct subscription *s, struct lease *l, int64_t delay_ns)
{
    if (l->key)
        recall_successors(l);
    if (s->max_attempts) {
        s->deps->attempts_changed(s);
        if (l->attempt >= s->max_attempts) {
            move(l, LEASE_WAIT); /* without a timer: the dead-letter journey ends it */
            l->dead = true;
            s->deps->dead_letter(s, l);
            return;
        }
    }
    int64_t policy_ns = backoff(s, l->attempt);
    delay_ns = delay_ns > policy_ns ? delay_ns : policy_ns;
    if (delay_ns > 0)
        wait_for(s, l, delay_ns);
    else
        offer(l);
}

void subscription_nack(struct subscription *s, struct lease *l, int64_t delay_ns)
{
    assert(l->state == LEASE_SENT);
    s->nacked++;
    metric_add(s->metrics.nacked, 1);
    put_back(s, l, delay_ns);
}

static void expire(struct subscription *s, struct lease *l)
{
    bool told = !l->pulled && s->consumer;
    s->expired++;
    metric_add(s->metrics.expired, 1);
    put_back(s, l, 0);
    if (told)
        s->consumer->on_expired(s->consumer, l);
}

static void on_lease_timer(struct timer *t, int64_t now_ns)
{
    struct lease *l = CONTAINER_OF(t, struct lease, timer);
    if (l->state == LEASE_SENT)
        expire(l->sub, l);
    else if (l->dead)
        l->sub->deps->dead_letter(l->sub, l);
    else
        offer(l);
}

void subscription_extend(struct subscription *s, struct lease *l, int64_t ns)
{
    struct err e;
    assert(l->state == LEASE_SENT);
    if (timer_set(env_of(s)->timers, &l->timer, env_now(env_of(s)) + ns, &e))
        log_kv(env_of(s)->log, LOG_ERROR, "subscription.extend", LSTR("error", e.msg));
}

void subscription_bury(struct subscription *s, struct lease *l)
{
    assert(l->state == LEASE_WAIT);
    s->deps->adapter->ops->ack(s->source, &l->msg->pos, 1, NULL, NULL);
    settle(l);
    top_up(s);
}

void subscription_revive(struct subscription *s, struct lease *l, int64_t delay_ns)
{
    assert(l->state == LEASE_WAIT);
    l->letter = NULL;
    wait_for(s, l, delay_ns);
}

static void detach_letter(struct lease *l)
{
    if (l->letter)
        *(struct lease **)(void *)l->letter = NULL; /* its first member points back */
    l->letter = NULL;
}

void subscription_drop(struct subscription *s)
{
    s->dropping = true;
    for (int state = 0; state < LEASE_N; state++)
        for (struct node *n; (n = list_first(&s->states[state]));) {
            struct lease *l = lease_of(n);
            if (state == LEASE_SENT && !l->pulled && s->consumer)
                s->consumer->on_drop(s->consumer, l);
            if (l->key)
                keys_leave(s->keys, l);
            detach_letter(l);
            lease_free(l);
        }
    s->asked_count = 0;
    s->asked_bytes = 0;
    timer_cancel(env_of(s)->timers, &s->wake);
}

void subscription_resume(struct subscription *s)
{
    s->dropping = false;
    top_up(s);
}

/* ---- life and configuration ---- */

static void apply_config(struct subscription *s)
{
    const Google__Pubsub__V1__Subscription *c = s->config;
    int64_t seconds = c->ack_deadline_seconds ? c->ack_deadline_seconds : ACK_DEADLINE_DEFAULT_S;
    s->ack_deadline_ns = seconds * NS_PER_S;
    s->retention_ns = pb_duration_ns(c->message_retention_duration);
    s->retry_min_ns = s->retry_max_ns = 0;
    if (c->retry_policy) {
        const Google__Pubsub__V1__RetryPolicy *r = c->retry_policy;
        s->retry_min_ns = r->minimum_backoff ? pb_duration_ns(r->minimum_backoff) : RETRY_MIN_DEFAULT_NS;
        s->retry_max_ns = r->maximum_backoff ? pb_duration_ns(r->maximum_backoff) : RETRY_MAX_DEFAULT_NS;
    }
    s->max_attempts = 0;
    if (c->dead_letter_policy && *c->dead_letter_policy->dead_letter_topic)
        s->max_attempts = c->dead_letter_policy->max_delivery_attempts ? (uint32_t)c->dead_letter_policy->max_delivery_attempts
                                                                       : DEAD_LETTER_ATTEMPTS_DEFAULT;
    if (s->source)
        s->deps->adapter->ops->sub_retention(s->source, s->retention_ns, c->retain_acked_messages);
}

struct subscription *subscription_new(struct subscription_deps *deps, const Google__Pubsub__V1__Subscription *config, struct err *e)
{
    struct subscription *s = calloc(1, sizeof *s);
    if (!s) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "subscription: out of memory");
        return NULL;
    }
    s->deps = deps;
    s->prefetch = PREFETCH_START;
    for (int i = 0; i < LEASE_N; i++)
        list_init(&s->states[i]);
    list_init(&s->pulls);
    timer_init(&s->wake, on_wake);
    s->config = pb_dup(&config->base);
    s->keys = map_new(LEASES_MAX * 2);
    s->pulled = u64map_new(LEASES_MAX * 2);
    if (s->config && s->keys && s->pulled && *s->config->filter)
        s->filter = filter_parse(s->config->filter, e);
    if (!s->config || !s->keys || !s->pulled || (*s->config->filter && !s->filter)) {
        if (!s->config || !s->keys || !s->pulled)
            err_set(e, ERR_RESOURCE_EXHAUSTED, "subscription: out of memory");
        subscription_free(s);
        return NULL;
    }
    s->active_ns = env_now(deps->env);
    apply_config(s);
    return s;
}

static void free_attempts(struct subscription *s)
{
    if (s->attempts)
        u64map_free(s->attempts);
    s->attempts = NULL;
}

void subscription_free(struct subscription *s)
{
    if (!s)
        return;
    if (s->config && s->keys && s->pulled)
        subscription_drop(s);
    timer_cancel(env_of(s)->timers, &s->wake);
    free_attempts(s);
    filter_free(s->filter);
    map_free(s->keys);
    u64map_free(s->pulled);
    pb_free(s->config);
    free(s);
}

void subscription_start(struct subscription *s, struct adapter_sub *source)
{
    s->source = source;
    apply_config(s);
    top_up(s);
}

void subscription_configure(struct subscription *s, Google__Pubsub__V1__Subscription *config)
{
    pb_free(s->config);
    s->config = config;
    apply_config(s);
}

/* What the consumer had taken is offered again, and with it what was sent behind it. */
static void nack_taken(struct subscription *s)
{
    struct list *sent = &s->states[LEASE_SENT];
    for (size_t turns = sent->count; turns > 0 && sent->count; turns--) {
        struct lease *l = lease_of(list_first(sent));
        if (l->pulled) { /* stays: once around the list */
            list_remove(sent, &l->link);
            list_append(sent, &l->link);
            continue;
        }
        if (l->key)
            recall_successors(l);
        offer(l);
    }
}

void subscription_consume(struct subscription *s, struct consumer *c)
{
    bool leaves = !c && s->consumer;
    s->consumer = c; /* the one who leaves forgets its leases by itself */
    if (leaves)
        nack_taken(s);
    wake(s);
    top_up(s);
}

/* ---- looking ---- */

const char *subscription_name(const struct subscription *s) { return s->config->name; }
const Google__Pubsub__V1__Subscription *subscription_config(const struct subscription *s) { return s->config; }
int64_t subscription_ack_deadline_ns(const struct subscription *s) { return s->ack_deadline_ns; }
void subscription_touch(struct subscription *s) { s->active_ns = env_now(env_of(s)); }

uint64_t subscription_backlog(const struct subscription *s)
{
    uint64_t unread = s->source ? s->deps->adapter->ops->stats(s->source).unread : 0;
    return s->states[LEASE_READY].count + unread;
}

struct subscription_stats subscription_stats(const struct subscription *s)
{
    struct subscription_stats st = {.acked_total = s->acked, .nacked_total = s->nacked, .expired_total = s->expired};
    for (int i = 0; i < LEASE_N; i++)
        st.in_state[i] = s->states[i].count;
    if (s->source) {
        struct adapter_sub_stats source = s->deps->adapter->ops->stats(s->source);
        st.unacked = source.unacked;
        st.oldest_wall_ns = source.oldest_wall_ns;
    }
    return st;
}

/* push.c: a pusher per push subscription: takes leases as its window allows, sends them, settles them by the answers. */
#include "dispatcher/push.h"

#include "core/base/map.h"
#include "dispatcher/push_int.h"

#include <assert.h>
#include <stdlib.h>

#define PUSH_BATCH 256 /* leases taken at once */
#define PUSH_SPARE_MAX 1024
#define PUSH_BATCH_BYTES (16u * 1024 * 1024)
#define PUSH_TOKEN_AGE_NS (60 * NS_PER_S) /* how long a pusher keeps a token before it asks the cache again */
#define PUSH_RETRY_NS (1 * NS_PER_S)      /* when there was no memory or no token */

/* ---- things that are counted ---- */

static void bearer_unref(struct bearer *b)
{
    if (b && --b->refs == 0)
        free(b);
}

static struct bearer *bearer_new(const char *token)
{
    size_t n = strlen(token);
    struct bearer *b = malloc(sizeof *b + sizeof PUSH_AUTH + n + 2);
    if (!b)
        return NULL;
    b->refs = 1;
    char *to = mempcpy(b->line, PUSH_AUTH, sizeof PUSH_AUTH - 1);
    to = mempcpy(to, token, n);
    to = mempcpy(to, "\r\n", 2);
    b->line_n = (size_t)(to - b->line);
    return b;
}

static struct push *push_new(struct pushers *ps)
{
    struct node *n = list_pop(&ps->spare);
    return n ? memset(CONTAINER_OF(n, struct push, link), 0, sizeof(struct push)) : calloc(1, sizeof(struct push));
}

static void push_free(struct push *x)
{
    struct pushers *ps = x->owner;
    list_remove(&ps->pushes, &x->link);
    endpoint_unref(x->endpoint);
    bearer_unref(x->bearer);
    message_unref((struct message *)(uintptr_t)x->request.msg);
    if (ps->spare.count < PUSH_SPARE_MAX)
        list_prepend(&ps->spare, &x->link);
    else
        free(x);
}

/* ---- settling ---- */

static void pump(struct pusher *p);
static void maybe_stopped(struct pushers *ps);

static void measure(struct pusher *p, const struct push *x)
{
    int class = x->request.status / 100;
    metric_add(p->metrics.answers[class >= 1 && class <= 5 ? class : 0], 1);
    if (x->request.status)
        metric_observe(p->metrics.latency, (double)(x->request.answered_ns - x->request.sent_ns) / (double)NS_PER_S);
}

static int64_t backoff(const struct pusher *p)
{
    int64_t ns = push_window_backoff_ns(&p->window);
    return ns > PUSH_BACKOFF_MIN_NS ? ns : PUSH_BACKOFF_MIN_NS;
}

/* Each at debug level; that an endpoint fails, and why, must be seen by everybody. Its URL may hold a secret. */
static void log_failure(struct pusher *p, const struct push *x, int status, const char *error)
{
    struct log *log = p->owner->env->log;
    int64_t backoff_ms = backoff(p) / NS_PER_MS;
    uint64_t failures = log_seldom(&p->log_failed, env_now(p->owner->env));
    log_kv(log, LOG_DEBUG, "push.failed", LSTR("subscription", x->endpoint->subscription), LSTR("message", x->request.msg->id),
           LINT("status", status), LSTR("error", error), LINT("backoff_ms", backoff_ms));
    if (failures)
        log_kv(log, LOG_WARN, "push.failing", LSTR("subscription", x->endpoint->subscription), LSTR("message", x->request.msg->id),
               LINT("status", status), LSTR("error", error), LINT("failures", failures), LINT("backoff_ms", backoff_ms));
}

/* The lease may be gone already: expired (counted then) or dropped. */
static void settle(struct pusher *p, struct push *x)
{
    bool acked = push_acks(x->request.status);
    struct lease *l = x->lease;
    if (!l)
        return;
    x->lease = NULL;
    l->consumer_data = NULL;
    int64_t latency_ns = x->request.answered_ns - x->request.sent_ns;
    if (x->request.status == 0 && x->request.err.code == ERR_RESOURCE_EXHAUSTED)
        push_window_crowded(&p->window, x->ticket);
    else
        push_window_settled(&p->window, x->ticket, acked, latency_ns > 0 ? latency_ns : 0);
    if (acked) {
        subscription_ack(p->sub, l);
        return;
    }
    log_failure(p, x, x->request.status, x->request.status ? "" : x->request.err.msg);
    subscription_nack(p->sub, l, backoff(p));
}

static void on_done(struct push_request *r)
{
    struct push *x = CONTAINER_OF(r, struct push, request);
    struct pushers *ps = x->owner;
    struct pusher *p = x->pusher;
    if (p) {
        p->in_flight--;
        measure(p, x);
        settle(p, x);
        metric_set(p->metrics.window, (int64_t)p->window.size);
    }
    push_free(x);
    if (p)
        pump(p);
    maybe_stopped(ps);
}

/* ---- tokens ---- */

/* A question on its way to the token source, which cannot be called off: the pusher may be gone when it is answered. */
struct token_wait {
    struct pusher *pusher;
};

static void again_later(struct pusher *p, int64_t due_ns)
{
    struct err e = {0};
    if (timer_armed(&p->timer) && p->timer.due_ns <= due_ns)
        return;
    if (timer_set(p->owner->env->timers, &p->timer, due_ns, &e))
        log_kv(p->owner->env->log, LOG_ERROR, "push.no_timer", LSTR("error", e.msg));
}

static void on_token(void *arg, const char *token, const struct err *e)
{
    struct token_wait *w = arg;
    struct pusher *p = w->pusher;
    free(w);
    if (!p)
        return;
    p->token_wait = NULL;
    struct bearer *fresh = token ? bearer_new(token) : NULL;
    if (!fresh) {
        uint64_t tries = log_seldom(&p->log_no_token, env_now(p->owner->env));
        if (tries)
            log_kv(p->owner->env->log, LOG_WARN, "push.no_token", LSTR("subscription", p->endpoint->subscription),
                   LSTR("account", p->endpoint->account), LSTR("error", e ? e->msg : "out of memory"), LINT("tries", tries));
        again_later(p, env_now(p->owner->env) + PUSH_RETRY_NS);
        return;
    }
    bearer_unref(p->bearer);
    p->bearer = fresh;
    p->bearer_ns = env_now(p->owner->env);
    if (!p->getting) /* else pump is our caller and goes on by itself */
        pump(p);
}

static bool have_token(struct pusher *p)
{
    if (!p->endpoint->account)
        return true;
    if (p->bearer && env_now(p->owner->env) - p->bearer_ns < PUSH_TOKEN_AGE_NS)
        return true;
    if (p->token_wait || !subscription_stats(p->sub).in_state[LEASE_READY])
        return false;
    struct token_wait *w = malloc(sizeof *w);
    if (!w) {
        again_later(p, env_now(p->owner->env) + PUSH_RETRY_NS);
        return false;
    }
    *w = (struct token_wait){p};
    p->token_wait = w;
    bearer_unref(p->bearer);
    p->bearer = NULL;
    p->getting = true;
    p->owner->tokens->get(p->owner->tokens, TOKEN_IDENTITY, p->endpoint->account, p->endpoint->audience, on_token, w);
    p->getting = false;
    return p->bearer != NULL;
}

/* ---- sending ---- */

static bool send_one(struct pusher *p, struct lease *l)
{
    struct pushers *ps = p->owner;
    struct push *x = push_new(ps);
    if (!x)
        return false;
    int64_t now_ns = env_now(ps->env);
    x->owner = ps;
    x->pusher = p;
    x->lease = l;
    l->consumer_data = x;
    x->endpoint = endpoint_ref(p->endpoint);
    x->bearer = p->endpoint->account ? p->bearer : NULL;
    if (x->bearer)
        x->bearer->refs++;
    x->ticket = push_window_sent(&p->window, now_ns);
    x->begun_ns = now_ns;
    bool counted = subscription_config(p->sub)->dead_letter_policy != NULL;
    struct push_request *r = &x->request; /* all zero so far */
    r->msg = message_ref(l->msg);
    r->endpoint = x->endpoint;
    if (x->bearer)
        r->auth_line = (struct str){x->bearer->line, x->bearer->line_n};
    r->delivery_attempt = counted ? l->attempt : 0;
    r->due_ns = now_ns + subscription_ack_deadline_ns(p->sub);
    r->sent_ns = now_ns;
    r->done = on_done;
    r->arg = x;
    node_init(&x->link);
    list_append(&ps->pushes, &x->link);
    p->in_flight++;
    ps->transport->ops->send(ps->transport, &x->request);
    return true;
}

static size_t send_batch(struct pusher *p, uint32_t room)
{
    struct lease *leases[PUSH_BATCH];
    size_t max = room < PUSH_BATCH ? room : PUSH_BATCH;
    size_t n = subscription_take(p->sub, max, PUSH_BATCH_BYTES, leases);
    for (size_t i = 0; i < n; i++)
        if (!send_one(p, leases[i])) {
            for (; i < n; i++)
                subscription_nack(p->sub, leases[i], PUSH_RETRY_NS);
            again_later(p, env_now(p->owner->env) + PUSH_RETRY_NS);
            return 0;
        }
    return n;
}

static void pump(struct pusher *p)
{
    if (!p->sub || p->owner->stopping || p->pumping)
        return;
    p->pumping = true;
    int64_t again_ns = TIMER_NEVER;
    uint32_t room = push_window_open(&p->window, p->in_flight, env_now(p->owner->env), &again_ns);
    while (room && have_token(p)) {
        size_t n = send_batch(p, room);
        room -= (uint32_t)n;
        if (n == 0)
            break;
    }
    if (again_ns != TIMER_NEVER)
        again_later(p, again_ns);
    p->pumping = false;
}

static void on_timer(struct timer *t, int64_t now_ns) { pump(CONTAINER_OF(t, struct pusher, timer)); }

/* ---- what the subscription tells ---- */

static void mark_active(struct pusher *p)
{
    struct pushers *ps = p->owner;
    if (ps->stopping) /* nobody scales any more */
        return;
    if (!node_linked(&p->active))
        list_append(&ps->active, &p->active);
    if (ps->on_active)
        ps->on_active(ps->on_active_arg);
}

static void on_ready(struct consumer *c)
{
    struct pusher *p = CONTAINER_OF(c, struct pusher, consumer);
    if (!p->sub)
        return;
    mark_active(p);
    pump(p);
}

/* Its answer, if one comes, no longer counts. */
static struct push *forget(struct lease *l)
{
    struct push *x = l->consumer_data;
    l->consumer_data = NULL;
    if (x) {
        x->lease = NULL;
        if (!x->request.cancelled) {
            x->request.cancelled = true;
            x->owner->transport->ops->cancel(x->owner->transport, &x->request);
        }
    }
    return x;
}

static void on_expired(struct consumer *c, struct lease *l)
{
    struct pusher *p = CONTAINER_OF(c, struct pusher, consumer);
    struct push *x = forget(l);
    if (!x)
        return;
    push_window_settled(&p->window, x->ticket, false, env_now(p->owner->env) - x->begun_ns);
    log_failure(p, x, 0, "no answer within the ack deadline");
    metric_set(p->metrics.window, (int64_t)p->window.size);
}

static void on_drop(struct consumer *c, struct lease *l) { forget(l); }

/* ---- pushers coming, changing and going ---- */

static void drop_token(struct pusher *p)
{
    if (p->token_wait)
        p->token_wait->pusher = NULL;
    p->token_wait = NULL;
    bearer_unref(p->bearer);
    p->bearer = NULL;
}

/* Stop being the consumer. What is under way is called off, and goes when the transport says so. */
static void pusher_detach(struct pusher *p)
{
    struct subscription *sub = p->sub;
    if (!sub)
        return;
    p->sub = NULL;
    timer_cancel(p->owner->env->timers, &p->timer);
    list_remove(&p->owner->active, &p->active);
    subscription_consume(sub, NULL);
    LIST_EACH(&p->owner->pushes, n) {
        struct push *x = CONTAINER_OF(n, struct push, link);
        if (x->pusher != p)
            continue;
        x->pusher = NULL;
        x->lease = NULL; /* nacked by subscription_consume */
        if (!x->request.cancelled) {
            x->request.cancelled = true;
            p->owner->transport->ops->cancel(p->owner->transport, &x->request);
        }
    }
}

static void pusher_free(struct pusher *p)
{
    struct pushers *ps = p->owner;
    pusher_detach(p);
    drop_token(p);
    map_remove(ps->by_name, p->endpoint->subscription);
    push_metrics_drop(&ps->metrics, p->endpoint->subscription);
    endpoint_unref(p->endpoint);
    free(p);
}

static int pusher_add(struct pushers *ps, struct subscription *s, struct push_endpoint *ep, struct err *e)
{
    struct pusher *p = calloc(1, sizeof *p);
    if (!p || map_put(ps->by_name, ep->subscription, p, e)) {
        free(p);
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the pusher");
    }
    p->owner = ps;
    p->sub = s;
    p->endpoint = endpoint_ref(ep);
    p->consumer = (struct consumer){on_ready, on_expired, on_drop};
    node_init(&p->active);
    timer_init(&p->timer, on_timer);
    push_window_init(&p->window);
    push_metrics_of(&ps->metrics, ep->subscription, &p->metrics);
    subscription_consume(s, &p->consumer);
    return 0;
}

/* Pushes under way keep the endpoint they began with. Another target starts slowly again. */
static void pusher_change(struct pusher *p, struct push_endpoint *ep)
{
    bool same_target = strcmp(p->endpoint->text, ep->text) == 0;
    if (endpoint_equal(p->endpoint, ep))
        return;
    drop_token(p);
    endpoint_unref(p->endpoint);
    p->endpoint = endpoint_ref(ep);
    if (!same_target) {
        uint64_t ticket = p->window.ticket;
        push_window_init(&p->window);
        p->window.ticket = p->window.halved_at = ticket;
    }
    timer_cancel(p->owner->env->timers, &p->timer);
    again_later(p, env_now(p->owner->env));
}

static void on_watch(void *arg, struct subscription *s, bool gone)
{
    struct pushers *ps = arg;
    const Google__Pubsub__V1__Subscription *config = subscription_config(s);
    struct pusher *p = map_get(ps->by_name, subscription_name(s));
    bool wanted = !gone && !config->detached && config->push_config && *config->push_config->push_endpoint;
    struct err e = {0};
    if (!wanted) {
        if (p)
            pusher_free(p);
        return;
    }
    if (ps->stopping)
        return;
    struct push_endpoint *ep = endpoint_new(subscription_name(s), config->push_config, &e);
    if (ep && p)
        pusher_change(p, ep);
    else if (!ep || pusher_add(ps, s, ep, &e))
        log_kv(ps->env->log, LOG_ERROR, "push.not_started", LSTR("subscription", subscription_name(s)), LSTR("error", e.msg));
    endpoint_unref(ep);
}

/* ---- backlog, for who scales ---- */

void pushers_backlog(void *pushers, void (*fn)(void *arg, struct str host, uint64_t count), void *arg)
{
    struct pushers *ps = pushers;
    LIST_EACH_SAFE(&ps->active, n) {
        struct pusher *p = CONTAINER_OF(n, struct pusher, active);
        uint64_t backlog = subscription_backlog(p->sub);
        fn(arg, p->endpoint->url.host, backlog);
        if (backlog == 0 && p->in_flight == 0)
            list_remove(&ps->active, n);
    }
}

void pushers_watch(struct pushers *p, void (*on_active)(void *arg), void *arg)
{
    p->on_active = on_active;
    p->on_active_arg = arg;
}

/* ---- life ---- */

static void on_grace(struct timer *t, int64_t now_ns)
{
    struct pushers *ps = CONTAINER_OF(t, struct pushers, grace);
    if (ps->stopping && !ps->stopped && list_empty(&ps->pushes)) {
        maybe_stopped(ps);
        return;
    }
    LIST_EACH(&ps->pushes, n) {
        struct push *x = CONTAINER_OF(n, struct push, link);
        if (!x->request.cancelled) {
            x->request.cancelled = true;
            ps->transport->ops->cancel(ps->transport, &x->request);
        }
    }
}

static void detach_all(struct pushers *ps)
{
    const char *name;
    void *p;
    for (size_t it = 0; map_next(ps->by_name, &it, &name, &p);)
        pusher_detach(p);
}

static void maybe_stopped(struct pushers *ps)
{
    if (!ps->stopping || ps->stopped || !list_empty(&ps->pushes))
        return;
    ps->stopped = true;
    timer_cancel(ps->env->timers, &ps->grace);
    detach_all(ps);
    ps->stop_done(ps->stop_arg);
}

void pushers_stop(struct pushers *ps, int64_t grace_ns, void (*done)(void *arg), void *arg)
{
    assert(!ps->stopping);
    ps->stopping = true;
    ps->stop_done = done;
    ps->stop_arg = arg;
    struct err e = {0};
    /* With nothing under way the timer says so at once, but not from within this call. */
    int64_t due_ns = env_now(ps->env) + (list_empty(&ps->pushes) ? 0 : grace_ns);
    if (timer_set(ps->env->timers, &ps->grace, due_ns, &e))
        on_grace(&ps->grace, due_ns);
}

struct pushers *pushers_new(const struct env *env, struct broker *b, struct transport *t, struct token_source *ts, struct metrics *m,
                            struct err *e)
{
    struct pushers *ps = calloc(1, sizeof *ps);
    if (ps)
        ps->by_name = map_new(BROKER_SUBSCRIPTIONS_MAX);
    if (!ps || !ps->by_name) {
        free(ps);
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for push");
        return NULL;
    }
    ps->env = env;
    ps->broker = b;
    ps->transport = t;
    ps->tokens = ts;
    list_init(&ps->pushes);
    list_init(&ps->active);
    list_init(&ps->spare);
    timer_init(&ps->grace, on_grace);
    push_metrics_init(&ps->metrics, m);
    broker_watch(b, on_watch, ps);
    return ps;
}

void pushers_free(struct pushers *ps)
{
    if (!ps)
        return;
    const char *name;
    void *p;
    for (size_t it = 0; map_next(ps->by_name, &it, &name, &p); it = 0)
        pusher_free(p);
    for (struct node *n; (n = list_first(&ps->pushes));)
        push_free(CONTAINER_OF(n, struct push, link)); /* the transport has ended: nobody answers these */
    for (struct node *n; (n = list_pop(&ps->spare));)
        free(CONTAINER_OF(n, struct push, link));
    timer_cancel(ps->env->timers, &ps->grace);
    map_free(ps->by_name);
    free(ps);
}

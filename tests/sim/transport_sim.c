/* transport_sim.c: the network for pushes and outcalls: answers late, wrongly, twice as slow, or not at all, by seed; and a token source. */
#include "tests/sim/sim.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sim_push {
    struct push_request *r;
    struct sim *sim;
    struct pool_waiter waiter;
    struct pool_grant grant;
    bool has_grant, waiting, over, called_off;
    int sub; /* whose push it is; -1: an outcall, of which the world keeps no facts here */
};

static struct sim *sim_of(struct transport *t) { return CONTAINER_OF(t, struct sim, transport); }

static void answer(struct sim_push *p, int status, enum err_code code)
{
    struct sim *s = p->sim;
    struct push_request *r = p->r;
    p->over = true;
    if (p->has_grant) {
        sim_instance_leave(s, p->grant.port);
        pool_release(&p->grant, s->now_ns - r->sent_ns);
        p->has_grant = false;
    }
    r->status = status;
    r->answered_ns = s->now_ns;
    if (code != ERR_OK)
        err_set(&r->err, code, "the simulated network says so");
    if (p->sub < 0) {
        r->done(r);
        return;
    }
    bool good = status == 102 || status == 200 || status == 201 || status == 202 || status == 204;
    if (good)
        fact_acked(s, (uint32_t)p->sub, r->msg->data, true);
    else if (!p->called_off)
        fact_returned(s, (uint32_t)p->sub, r->msg->data);
    r->done(r);
}

static void reply(struct sim *s, void *arg)
{
    static const int good[] = {200, 204, 201, 202, 102};
    static const int bad[] = {500, 404, 429, 503, 203, 302};
    bool outcall = ((struct sim_push *)arg)->sub < 0;
    struct sim_push *p = arg;
    if (p->over) {
        free(p);
        return;
    }
    if (p->called_off)
        answer(p, 0, ERR_CANCELLED);
    else if (p->has_grant && !sim_instance_alive(s, p->grant.port))
        answer(p, 0, ERR_UNAVAILABLE);
    else if (s->now_ns >= p->r->due_ns)
        answer(p, 0, ERR_DEADLINE_EXCEEDED);
    else if (!s->healing && sim_chance(s, 0.2 * s->trouble))
        answer(p, bad[rng_below(&s->world_rng, ARRAY_LEN(bad))], ERR_OK);
    else
        answer(p, outcall ? 200 : good[rng_below(&s->world_rng, ARRAY_LEN(good))], ERR_OK);
    free(p);
}

/* How long until the answer: mostly quick, sometimes past the deadline. */
static void schedule_reply(struct sim_push *p)
{
    struct sim *s = p->sim;
    assert(p->r);
    int64_t left = p->r->due_ns - s->now_ns;
    int64_t wait = sim_delay(s, NS_PER_MS / 10, 300 * NS_PER_MS);
    if (left < 0)
        left = 0;
    if (!s->healing && sim_chance(s, 0.02 * s->trouble))
        wait = left;
    sim_after(s, wait < left ? wait : left, true, reply, p);
}

static void granted(struct pool_waiter *w, const struct pool_grant *g)
{
    struct sim_push *p = CONTAINER_OF(w, struct sim_push, waiter);
    p->waiting = false;
    p->grant = *g;
    p->has_grant = true;
    sim_instance_enter(p->sim, g->port);
    schedule_reply(p);
}

static void failed_later(struct sim *s, void *arg)
{
    struct sim_push *p = arg;
    answer(p, 0, ERR_UNAVAILABLE);
    free(p);
}

static void failed(struct pool_waiter *w, const struct err *e)
{
    struct sim_push *p = CONTAINER_OF(w, struct sim_push, waiter);
    p->waiting = false;
    sim_after(p->sim, 0, true, failed_later, p);
}

static void arrive(struct sim *s, void *arg)
{
    struct sim_push *p = arg;
    char service[32];
    struct str host = p->r->outcall ? p->r->outcall->url.host : p->r->endpoint->url.host;
    const char *dot = memchr(host.p, '.', host.n);
    bool ours = dot && host.n > 10 && memcmp(host.p + host.n - 10, ".localhost", 10) == 0;
    if (!ours) { /* a stranger's server */
        schedule_reply(p);
        return;
    }
    snprintf(service, sizeof service, "%.*s", (int)(dot - host.p), host.p);
    struct pool *pool = sim_service_pool(s, service);
    if (!pool) {
        sim_after(s, 0, true, failed_later, p);
        return;
    }
    p->waiter = (struct pool_waiter){.due_ns = p->r->due_ns, .granted = granted, .failed = failed};
    node_init(&p->waiter.link);
    struct pool_grant g;
    if (pool_acquire(pool, &g)) {
        granted(&p->waiter, &g);
        return;
    }
    p->waiting = true;
    pool_wait(pool, &p->waiter);
}

/* Whose push is it, and may it be? */
static int pushed_by(struct sim *s, const struct push_request *r)
{
    int sub = sim_sub_index(s, r->endpoint->subscription);
    if (sub < 0)
        sim_fail(s, "a push for %s, which nobody made", r->endpoint->subscription);
    if (s->subs[sub].push_off)
        sim_fail(s, "a push for %s, which has no endpoint any more", r->endpoint->subscription);
    if (r->endpoint->account && !r->auth_line.n)
        sim_fail(s, "a push for %s without its token", r->endpoint->subscription);
    return sub;
}

static void send_request(struct transport *t, struct push_request *r)
{
    struct sim *s = sim_of(t);
    struct sim_push *p = calloc(1, sizeof *p);
    if (!p)
        sim_fail(s, "the simulator is out of memory");
    *p = (struct sim_push){.r = r, .sim = s, .sub = r->outcall ? -1 : pushed_by(s, r)};
    if (r->outcall && r->outcall->account && !r->auth_line.n)
        sim_fail(s, "an outcall of %s without its token", r->outcall->account);
    r->sent_ns = s->now_ns;
    r->internal = p;
    if (p->sub >= 0) {
        s->pushes++;
        fact_delivered(s, (uint32_t)p->sub, r->msg->data);
    }
    sim_after(s, sim_delay(s, 0, NS_PER_MS), true, arrive, p);
}

/* The one whose request is cancelled hears of it when the answer would have come. */
static void cancel_request(struct transport *t, struct push_request *r)
{
    struct sim_push *p = r->internal;
    if (!p->called_off && !p->over && p->sub >= 0)
        fact_returned(p->sim, (uint32_t)p->sub, r->msg->data);
    p->called_off = true;
}

static const struct transport_ops ops = {send_request, cancel_request};

struct token_wait {
    void (*done)(void *arg, const char *token, const struct err *e);
    void *arg;
};

static void token_ready(struct sim *s, void *arg)
{
    struct token_wait *w = arg;
    struct err e = {0};
    if (!s->healing && sim_chance(s, 0.1 * s->trouble)) {
        err_set(&e, ERR_UNAVAILABLE, "no token now");
        w->done(w->arg, NULL, &e);
    } else {
        w->done(w->arg, "simulated-token", NULL);
    }
    free(w);
}

static void get_token(struct token_source *ts, enum token_kind kind, const char *account, const char *to,
                      void (*done)(void *arg, const char *token, const struct err *e), void *arg)
{
    struct sim *s = CONTAINER_OF(ts, struct sim, tokens);
    struct token_wait *w = malloc(sizeof *w);
    if (!w)
        sim_fail(s, "the simulator is out of memory");
    *w = (struct token_wait){done, arg};
    sim_after(s, sim_delay(s, 0, 2 * NS_PER_MS), true, token_ready, w);
}

void sim_transport_init(struct sim *s)
{
    s->transport.ops = &ops;
    s->tokens.get = get_token;
}

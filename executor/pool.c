/** pool.c: slots taken by compare-and-swap from any thread; the queue of waiters on the engine thread. */
#include "executor/pool.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static void pump(struct pool *p);

#define SLOT_OPEN (UINT32_C(1) << 31)
#define SLOT_COUNT UINT32_C(0xffff)

static void on_wait_timer(struct timer *t, int64_t now_ns);
static void on_freed(struct mail *m);

struct pool *pool_new(const struct env *env, uint32_t slots, uint32_t concurrency, struct mailbox *engine, struct err *e)
{
    assert(slots > 0 && slots <= POOL_SLOTS_MAX && concurrency > 0 && concurrency <= SLOT_COUNT);
    size_t bytes = sizeof(struct pool) + slots * sizeof(struct slot);
    /* The struct is as strictly aligned as its slots: aligned_alloc wants a multiple of that. */
    struct pool *p = aligned_alloc(_Alignof(struct pool), (bytes + 63) / 64 * 64);
    if (!p) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for %u instance slots", slots);
        return NULL;
    }
    memset(p, 0, bytes);
    atomic_init(&p->refs, 1);
    p->concurrency = concurrency;
    p->n_slots = slots;
    p->engine = engine;
    p->env = env;
    p->wait_due_ns = TIMER_NEVER;
    list_init(&p->waiters);
    timer_init(&p->wait_timer, on_wait_timer);
    p->freed.deliver = on_freed;
    return p;
}

struct pool *pool_ref(struct pool *p)
{
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

void pool_unref(struct pool *p)
{
    if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
        return;
    assert(list_empty(&p->waiters) && !timer_armed(&p->wait_timer));
    free(p);
}

/* One more on `s`, or false when it is closed or full by now. */
static bool slot_take(struct slot *s, uint32_t concurrency)
{
    uint32_t word = atomic_load_explicit(&s->word, memory_order_relaxed);
    do {
        if (!(word & SLOT_OPEN) || (word & SLOT_COUNT) >= concurrency)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&s->word, &word, word + 1, memory_order_seq_cst, memory_order_relaxed));
    return true;
}

static struct slot *least_loaded(struct pool *p)
{
    struct slot *best = NULL;
    uint32_t best_count = p->concurrency;
    uint32_t used = atomic_load_explicit(&p->used, memory_order_acquire);
    for (uint32_t i = 0; i < used; i++) {
        uint32_t word = atomic_load(&p->slots[i].word);
        if (!(word & SLOT_OPEN) || (word & SLOT_COUNT) >= best_count)
            continue;
        best = &p->slots[i];
        best_count = word & SLOT_COUNT;
        if (best_count == 0)
            break;
    }
    return best;
}

static bool take_any(struct pool *p, struct pool_grant *g)
{
    for (struct slot *s; (s = least_loaded(p));) {
        if (!slot_take(s, p->concurrency))
            continue; /* somebody was quicker: look again */
        atomic_fetch_add_explicit(&p->started, 1, memory_order_relaxed);
        *g = (struct pool_grant){p, s, s->port, s->generation};
        return true;
    }
    return false;
}

bool pool_acquire(struct pool *p, struct pool_grant *g)
{
    if (atomic_load_explicit(&p->waiting, memory_order_relaxed) > 0)
        return false;
    return take_any(p, g);
}

void pool_release(const struct pool_grant *g, int64_t busy_ns)
{
    struct pool *p = g->pool;
    atomic_fetch_add_explicit(&p->busy_ns, (uint64_t)(busy_ns > 0 ? busy_ns : 0), memory_order_relaxed);
    atomic_fetch_add_explicit(&p->finished, 1, memory_order_relaxed);
    pool_ref(p); /* the caller's own reference may go as soon as the slot is free */
    /* Ordered against pool_wait: either it sees this slot free, or we see it waiting. */
    uint32_t before = atomic_fetch_sub(&g->slot->word, 1);
    assert((before & SLOT_COUNT) > 0);
    bool emptied = !(before & SLOT_OPEN) && (before & SLOT_COUNT) == 1;
    if ((emptied || atomic_load(&p->waiting) > 0) && !atomic_exchange(&p->freed_posted, true))
        mailbox_post(p->engine, &p->freed); /* takes the reference along */
    else
        pool_unref(p);
}

static void on_freed(struct mail *m)
{
    struct pool *p = CONTAINER_OF(m, struct pool, freed);
    atomic_store(&p->freed_posted, false);
    pump(p);
    if (p->on_emptied)
        p->on_emptied(p->arg);
    pool_unref(p);
}

/* ---- waiters: engine thread */

static void arm_wait_timer(struct pool *p, int64_t due_ns)
{
    if (due_ns >= p->wait_due_ns)
        return;
    p->wait_due_ns = due_ns;
    struct err e;
    /* Out of timers: the waiter then waits for a slot or a failure; its own transport has a deadline too. */
    if (timer_set(p->env->timers, &p->wait_timer, due_ns, &e))
        p->wait_due_ns = TIMER_NEVER;
}

static void waiter_unlink(struct pool *p, struct pool_waiter *w)
{
    if (!node_linked(&w->link))
        return;
    list_remove(&p->waiters, &w->link);
    atomic_fetch_sub(&p->waiting, 1);
    if (list_empty(&p->waiters)) {
        timer_cancel(p->env->timers, &p->wait_timer);
        p->wait_due_ns = TIMER_NEVER;
    }
}

/* The first waiter whose time is over; else the earliest time in `next_ns`. */
static struct pool_waiter *first_late(struct pool *p, int64_t now_ns, int64_t *next_ns)
{
    *next_ns = TIMER_NEVER;
    LIST_EACH(&p->waiters, n) {
        struct pool_waiter *w = CONTAINER_OF(n, struct pool_waiter, link);
        if (w->due_ns <= now_ns)
            return w;
        *next_ns = w->due_ns < *next_ns ? w->due_ns : *next_ns;
    }
    return NULL;
}

static void on_wait_timer(struct timer *t, int64_t now_ns)
{
    struct pool *p = pool_ref(CONTAINER_OF(t, struct pool, wait_timer));
    p->wait_due_ns = TIMER_NEVER;
    struct err e;
    err_set(&e, ERR_DEADLINE_EXCEEDED, "no instance became free within the request's timeout");
    int64_t next_ns;
    /* Looked for anew each time: a callback may cancel others. They stand in order of arrival, so the late are in front. */
    for (struct pool_waiter *w; (w = first_late(p, now_ns, &next_ns));) {
        waiter_unlink(p, w);
        w->failed(w, &e);
    }
    if (next_ns != TIMER_NEVER)
        arm_wait_timer(p, next_ns);
    pool_unref(p);
}

void pool_wait(struct pool *p, struct pool_waiter *w)
{
    node_init(&w->link);
    struct err e;
    if (list_empty(&p->waiters)) {
        struct pool_grant g;
        if (take_any(p, &g)) {
            w->granted(w, &g);
            return;
        }
    }
    if (p->blocked.code) {
        e = p->blocked;
        w->failed(w, &e);
        return;
    }
    if (p->waiters.count >= POOL_WAIT_MAX) {
        err_set(&e, ERR_RESOURCE_EXHAUSTED, "%d requests wait for an instance already; try again later", POOL_WAIT_MAX);
        w->failed(w, &e);
        return;
    }
    pool_ref(p); /* the callbacks below may drop the pool */
    list_append(&p->waiters, &w->link);
    atomic_fetch_add(&p->waiting, 1);
    arm_wait_timer(p, w->due_ns);
    pump(p); /* a release may have come between */
    if (!list_empty(&p->waiters) && p->on_demand)
        p->on_demand(p->arg);
    pool_unref(p);
}

void pool_wait_cancel(struct pool *p, struct pool_waiter *w) { waiter_unlink(p, w); }

void pool_fail(struct pool *p, const struct err *why)
{
    struct err e = *why;
    pool_ref(p);
    /* Only those who wait now: a callback may wait again. */
    for (size_t n = p->waiters.count; n > 0 && !list_empty(&p->waiters); n--) {
        struct pool_waiter *w = CONTAINER_OF(list_first(&p->waiters), struct pool_waiter, link);
        waiter_unlink(p, w);
        w->failed(w, &e);
    }
    pool_unref(p);
}

void pool_block(struct pool *p, const struct err *e)
{
    assert(e->code != ERR_OK);
    p->blocked = *e;
    pool_fail(p, e);
}

void pool_unblock(struct pool *p) { p->blocked.code = ERR_OK; }

/* Give free slots to waiters, oldest first. */
static void pump(struct pool *p)
{
    pool_ref(p);
    struct pool_grant g;
    while (!list_empty(&p->waiters) && take_any(p, &g)) {
        struct pool_waiter *w = CONTAINER_OF(list_first(&p->waiters), struct pool_waiter, link);
        waiter_unlink(p, w);
        w->granted(w, &g);
    }
    pool_unref(p);
}

/* ---- slots: engine thread */

struct slot *pool_open(struct pool *p, uint16_t port, void *instance)
{
    assert(instance);
    for (uint32_t i = 0; i < p->n_slots; i++) {
        struct slot *s = &p->slots[i];
        if (s->instance)
            continue;
        assert(atomic_load(&s->word) == 0);
        s->port = port;
        s->generation++;
        s->instance = instance;
        if (i >= atomic_load_explicit(&p->used, memory_order_relaxed))
            atomic_store_explicit(&p->used, i + 1, memory_order_release);
        atomic_fetch_or(&s->word, SLOT_OPEN); /* publishes the port */
        pump(p);
        return s;
    }
    return NULL;
}

void pool_close(struct pool *p, struct slot *s) { atomic_fetch_and(&s->word, ~SLOT_OPEN); }

void pool_reopen(struct pool *p, struct slot *s)
{
    assert(s->instance);
    atomic_fetch_or(&s->word, SLOT_OPEN);
    pump(p);
}

void pool_vacate(struct pool *p, struct slot *s)
{
    pool_close(p, s);
    /* With requests still on it the slot is lost until they end; the instance has to wait for that first. */
    assert(slot_in_flight(s) == 0);
    s->instance = NULL;
}

uint32_t slot_in_flight(const struct slot *s) { return atomic_load(&s->word) & SLOT_COUNT; }

uint32_t pool_running(const struct pool *p)
{
    uint32_t used = atomic_load_explicit(&p->used, memory_order_acquire), sum = 0;
    for (uint32_t i = 0; i < used; i++)
        sum += slot_in_flight(&p->slots[i]);
    return sum;
}

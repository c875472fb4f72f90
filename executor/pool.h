/** pool.h: the instances of one revision as slots that any io thread can take without asking the engine, and the queue for
 *          those who find none free.
 *  Shape:  io: pool_acquire -> call the instance -> pool_release. None free: mail the engine -> pool_wait -> granted | failed.
 *          A slot opens when its instance is ready, closes when it is to stop, and is another's only when nothing is in flight on it,
 *          so what was read after a successful acquire stays true until the release.
 *  Limits: POOL_SLOTS_MAX instances; POOL_WAIT_MAX waiters in a pool, then RESOURCE_EXHAUSTED (429).
 *  Units:  due_ns and wait_due_ns are monotonic, busy_ns is a duration.
 *  Errors: RESOURCE_EXHAUSTED: out of memory (pool_new) or too many waiters; the other ends of waiting are at pool_waiter.failed.
 *  Owner:  counted with atomic references (routing snapshots on io threads hold some).
 *  Thread: acquire, release, ref, unref from any; the rest on the engine thread. */
#ifndef EXECUTOR_POOL_H
#define EXECUTOR_POOL_H

#include "core/base/env.h"
#include "core/base/list.h"
#include "core/loop/mailbox.h"
#include <stdatomic.h>

#define POOL_SLOTS_MAX 1000
#define POOL_WAIT_MAX 10000

struct slot {
    _Atomic uint32_t word; /* bit 31 open, low 16 bits in flight */
    uint16_t port;         /* of the instance on 127.0.0.1; written before the slot opens */
    uint64_t generation;   /* counts the instances that used this slot; keys connection pools */
    void *instance;        /* engine's */
} ALIGNED(64);

struct pool {
    _Atomic uint32_t refs;
    _Atomic uint32_t waiting;           /* waiters in the engine's queue: a release then wakes the engine */
    _Atomic uint64_t started, finished; /* requests */
    _Atomic uint64_t busy_ns;           /* summed over finished requests */
    _Atomic uint32_t used;              /* slots [0,used) may be open */
    uint32_t concurrency, n_slots;
    struct mailbox *engine;
    /* engine's side */
    struct list waiters;
    struct timer wait_timer;
    const struct env *env;
    void (*on_demand)(void *arg);  /* a waiter came: scale now, not at the next tick */
    void (*on_emptied)(void *arg); /* the last request on a closed slot ended */
    void *arg;
    int64_t wait_due_ns; /* the earliest waiter's; TIMER_NEVER: none */
    struct err blocked;  /* code OK: waiting is allowed; else waiters are failed with it at once */
    struct mail freed;   /* posted by a release when somebody waits; `freed_posted` keeps it to one at a time */
    _Atomic bool freed_posted;
    struct slot slots[];
};
struct pool_grant {
    struct pool *pool;
    struct slot *slot;
    uint16_t port;
    uint64_t generation;
};
struct pool *pool_new(const struct env *env, uint32_t slots, uint32_t concurrency, struct mailbox *engine, struct err *e);
struct pool *pool_ref(struct pool *p);
void pool_unref(struct pool *p);
/** Take the least loaded open slot with room. False: none, or others wait already and come first: then pool_wait. */
bool pool_acquire(struct pool *p, struct pool_grant *g);
void pool_release(const struct pool_grant *g, int64_t busy_ns);

struct pool_waiter {
    struct node link;
    int64_t due_ns;
    void (*granted)(struct pool_waiter *w, const struct pool_grant *g); /* may be called from within pool_wait */
    void (*failed)(struct pool_waiter *w, const struct err *e);         /* DEADLINE_EXCEEDED, UNAVAILABLE, RESOURCE_EXHAUSTED, NOT_FOUND */
};
void pool_wait(struct pool *p, struct pool_waiter *w);
void pool_wait_cancel(struct pool *p, struct pool_waiter *w); /* neither is called any more */
/** Fail everybody who waits (the revision cannot start, is gone). */
void pool_fail(struct pool *p, const struct err *e);
/** From now on whoever finds no slot is failed with `e` instead of waiting (backed off; gone for good); those who wait are failed. */
void pool_block(struct pool *p, const struct err *e);
void pool_unblock(struct pool *p);

/* Engine: open a slot for a ready instance (NULL when all are in use), close it, and ask whether it is empty. */
struct slot *pool_open(struct pool *p, uint16_t port, void *instance);
void pool_close(struct pool *p, struct slot *s);
/** The instance of a slot that was closed, and not vacated, serves again; what is in flight on it stays. */
void pool_reopen(struct pool *p, struct slot *s);
/** The instance is done with its closed and empty slot: another may have it. */
void pool_vacate(struct pool *p, struct slot *s);
uint32_t slot_in_flight(const struct slot *s);
uint32_t pool_running(const struct pool *p); /* in flight over all slots */

#endif

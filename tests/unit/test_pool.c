/** test_pool.c: slots that threads take and give back, and the queue of those who find none. */
#include "tests/support/unit.h"

#include "core/loop/thread.h"
#include "executor/pool.h"

#include <stdatomic.h>
#include <sched.h>

static struct fake_env fe;
static struct mailbox *engine;
static int instances[POOL_SLOTS_MAX];

static int setup(void **state)
{
    support_env(&fe);
    engine = mailbox_new(1000, NULL, NULL);
    return engine ? 0 : -1;
}

static int teardown(void **state)
{
    mailbox_deliver(engine);
    mailbox_free(engine);
    support_env_fini(&fe);
    return 0;
}

static struct pool *make(uint32_t slots, uint32_t concurrency)
{
    struct err e;
    struct pool *p = pool_new(&fe.env, slots, concurrency, engine, &e);
    assert_non_null(p);
    return p;
}

struct waiting {
    struct pool_waiter w;
    struct pool_grant g;
    int granted, failed;
    struct err err;
    struct waiting *cancels; /* another one, from within the callback */
    struct pool *pool;
};

static void on_granted(struct pool_waiter *w, const struct pool_grant *g)
{
    struct waiting *q = CONTAINER_OF(w, struct waiting, w);
    q->granted++;
    q->g = *g;
}

static void on_failed(struct pool_waiter *w, const struct err *e)
{
    struct waiting *q = CONTAINER_OF(w, struct waiting, w);
    q->failed++;
    q->err = *e;
    if (q->cancels)
        pool_wait_cancel(q->pool, &q->cancels->w);
}

static void wait_for(struct pool *p, struct waiting *q, int64_t timeout_ns)
{
    *q = (struct waiting){.w = {.granted = on_granted, .failed = on_failed, .due_ns = fe.clock.mono_ns + timeout_ns}, .pool = p};
    pool_wait(p, &q->w);
}

static void test_the_least_loaded_slot_is_taken(void **state)
{
    struct pool *p = make(3, 2);
    struct pool_grant g[6], extra;
    assert_false(pool_acquire(p, &extra));
    for (uint16_t i = 0; i < 3; i++)
        assert_non_null(pool_open(p, (uint16_t)(1000 + i), &instances[i]));
    assert_null(pool_open(p, 9, &instances[3]));
    for (size_t i = 0; i < 6; i++)
        assert_true(pool_acquire(p, &g[i]));
    assert_false(pool_acquire(p, &extra));
    assert_int_equal(pool_running(p), 6);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(slot_in_flight(&p->slots[i]), 2);
    assert_true(g[0].port != g[1].port && g[1].port != g[2].port && g[0].port != g[2].port);
    for (size_t i = 0; i < 6; i++)
        pool_release(&g[i], 5);
    assert_int_equal(pool_running(p), 0);
    assert_int_equal(atomic_load(&p->started), 6);
    assert_int_equal(atomic_load(&p->finished), 6);
    assert_int_equal(atomic_load(&p->busy_ns), 30);
    pool_unref(p);
}

static void test_a_slot_is_used_again_only_when_it_is_empty(void **state)
{
    struct pool *p = make(1, 10);
    struct pool_grant g, other;
    struct slot *s = pool_open(p, 1, &instances[0]);
    assert_true(pool_acquire(p, &g));
    pool_close(p, s);
    assert_false(pool_acquire(p, &other));
    assert_null(pool_open(p, 2, &instances[1]));
    pool_release(&g, 0);
    pool_vacate(p, s);
    s = pool_open(p, 2, &instances[1]);
    assert_non_null(s);
    assert_true(pool_acquire(p, &other));
    assert_int_equal(other.port, 2);
    assert_true(other.generation != g.generation);
    pool_release(&other, 0);
    pool_unref(p);
}

static void count_call(void *arg) { ++*(int *)arg; }

static void test_the_engine_hears_when_a_closed_slot_is_empty(void **state)
{
    struct pool *p = make(1, 10);
    struct pool_grant g[2];
    int emptied = 0;
    p->on_emptied = count_call;
    p->arg = &emptied;
    struct slot *s = pool_open(p, 1, &instances[0]);
    assert_true(pool_acquire(p, &g[0]) && pool_acquire(p, &g[1]));
    pool_close(p, s);
    pool_release(&g[0], 0);
    mailbox_deliver(engine);
    assert_int_equal(emptied, 0);
    pool_release(&g[1], 0);
    mailbox_deliver(engine);
    assert_int_equal(emptied, 1);
    pool_unref(p);
}

static void test_waiters_are_served_in_order_and_before_newcomers(void **state)
{
    struct pool *p = make(2, 1);
    struct pool_grant g, newcomer;
    struct waiting a, b, c;
    int demand = 0;
    p->on_demand = count_call;
    p->arg = &demand;
    pool_open(p, 1, &instances[0]);
    wait_for(p, &c, NS_PER_S); /* a slot is free: granted within */
    assert_int_equal(c.granted, 1);
    assert_int_equal(demand, 0);
    g = c.g;
    wait_for(p, &a, NS_PER_S);
    wait_for(p, &b, NS_PER_S);
    assert_int_equal(demand, 2);
    pool_release(&g, 0);
    assert_false(pool_acquire(p, &newcomer));
    mailbox_deliver(engine);
    assert_int_equal(a.granted, 1);
    assert_int_equal(b.granted, 0);
    pool_open(p, 2, &instances[1]);
    assert_int_equal(b.granted, 1);
    pool_release(&a.g, 0);
    pool_release(&b.g, 0);
    assert_true(pool_acquire(p, &newcomer));
    pool_release(&newcomer, 0);
    mailbox_deliver(engine);
    pool_unref(p);
}

static void test_waiting_ends_at_its_time_or_when_cancelled(void **state)
{
    struct pool *p = make(1, 1);
    struct waiting a, b, c, d;
    wait_for(p, &a, 2 * NS_PER_S);
    wait_for(p, &b, 1 * NS_PER_S);
    wait_for(p, &c, 3 * NS_PER_S);
    wait_for(p, &d, 2 * NS_PER_S);
    a.cancels = &d; /* due at the same instant */
    pool_wait_cancel(p, &c.w);
    fake_env_advance(&fe, NS_PER_S);
    assert_int_equal(b.failed, 1);
    assert_int_equal(b.err.code, ERR_DEADLINE_EXCEEDED);
    assert_int_equal(a.failed, 0);
    fake_env_advance(&fe, 9 * NS_PER_S);
    assert_int_equal(a.failed, 1);
    assert_int_equal(c.failed + c.granted + d.failed + d.granted, 0);
    assert_int_equal(atomic_load(&p->waiting), 0);
    assert_int_equal(timers_next_ns(fe.env.timers), TIMER_NEVER);
    pool_unref(p);
}

static void test_the_queue_is_bounded(void **state)
{
    struct pool *p = make(1, 1);
    struct waiting *q = calloc(POOL_WAIT_MAX + 1, sizeof *q);
    struct err gone;
    assert_non_null(q);
    for (size_t i = 0; i <= POOL_WAIT_MAX; i++)
        wait_for(p, &q[i], NS_PER_S);
    assert_int_equal(q[POOL_WAIT_MAX].err.code, ERR_RESOURCE_EXHAUSTED);
    assert_int_equal(q[POOL_WAIT_MAX - 1].failed, 0);
    err_set(&gone, ERR_UNAVAILABLE, "gone");
    pool_fail(p, &gone);
    for (size_t i = 0; i < POOL_WAIT_MAX; i++)
        assert_int_equal(q[i].err.code, ERR_UNAVAILABLE);
    free(q);
    pool_unref(p);
}

static void test_a_blocked_pool_fails_at_once_who_would_wait(void **state)
{
    struct pool *p = make(2, 1);
    struct waiting a, b, c;
    struct err why;
    wait_for(p, &a, NS_PER_S);
    err_set(&why, ERR_UNAVAILABLE, "it keeps ending");
    pool_block(p, &why);
    assert_int_equal(a.failed, 1);
    wait_for(p, &b, NS_PER_S);
    assert_string_equal(b.err.msg, "it keeps ending");
    pool_open(p, 1, &instances[0]);
    wait_for(p, &b, NS_PER_S); /* what is there can be taken */
    assert_int_equal(b.granted, 1);
    pool_unblock(p);
    wait_for(p, &c, NS_PER_S);
    assert_int_equal(c.failed, 0);
    pool_release(&b.g, 0);
    mailbox_deliver(engine);
    assert_int_equal(c.granted, 1);
    pool_release(&c.g, 0);
    pool_unref(p);
}

/* ---- from several threads */

#define TAKERS 3
#define ROUNDS 20000
static _Atomic int stop_counting;
static _Atomic uint32_t over;

static void taker(void *arg)
{
    struct pool *p = arg;
    for (int i = 0; i < ROUNDS; i++) {
        struct pool_grant g;
        if (!pool_acquire(p, &g)) {
            sched_yield();
            continue;
        }
        if (slot_in_flight(g.slot) > p->concurrency)
            atomic_fetch_add(&over, 1);
        pool_release(&g, 1);
    }
    atomic_fetch_add(&stop_counting, 1);
    pool_unref(p);
}

static void test_threads_never_take_more_than_there_is(void **state)
{
    struct pool *p = make(2, 2);
    struct thread *t[TAKERS];
    struct err e;
    struct slot *s = pool_open(p, 1, &instances[0]);
    for (size_t i = 0; i < TAKERS; i++) {
        t[i] = thread_start("taker", taker, pool_ref(p), &e);
        assert_non_null(t[i]);
    }
    /* The engine waits, opens and closes all the while. */
    struct waiting q = {.granted = 1};
    uint32_t served = 0;
    while (atomic_load(&stop_counting) < TAKERS) {
        if (q.granted && served)
            pool_release(&q.g, 1);
        wait_for(p, &q, 100 * NS_PER_S);
        while (!q.granted)
            mailbox_deliver(engine);
        served++;
        pool_close(p, s);
        while (slot_in_flight(s) > (q.g.slot == s))
            sched_yield();
        if (q.g.slot == s) {
            pool_release(&q.g, 1);
            q.granted = 0;
        }
        mailbox_deliver(engine);
        pool_vacate(p, s);
        s = pool_open(p, 1, &instances[0]);
        assert_non_null(s);
    }
    if (q.granted && served)
        pool_release(&q.g, 1);
    for (size_t i = 0; i < TAKERS; i++)
        thread_join(t[i]);
    mailbox_deliver(engine);
    assert_int_equal(over, 0);
    assert_int_equal(pool_running(p), 0);
    assert_int_equal(atomic_load(&p->started), atomic_load(&p->finished));
    pool_unref(p);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_the_least_loaded_slot_is_taken),
        CASE(test_a_slot_is_used_again_only_when_it_is_empty),
        CASE(test_the_engine_hears_when_a_closed_slot_is_empty),
        CASE(test_waiters_are_served_in_order_and_before_newcomers),
        CASE(test_waiting_ends_at_its_time_or_when_cancelled),
        CASE(test_the_queue_is_bounded),
        CASE(test_a_blocked_pool_fails_at_once_who_would_wait),
        CASE(test_threads_never_take_more_than_there_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

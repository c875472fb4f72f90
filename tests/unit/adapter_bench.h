/** adapter_bench.h: the adapters under test (a table of factories), and waiting for what they complete.
 *  A new adapter is one more row in `factories`. */
#ifndef TESTS_UNIT_ADAPTER_BENCH_H
#define TESTS_UNIT_ADAPTER_BENCH_H

#include "broker/adapter.h"
#include "tests/support/unit.h"

#include <semaphore.h>
#include <stdio.h>
#include <time.h>

#define WAIT_S 30
#define GOT_MAX 200000
#define DAY_NS (24 * 3600 * NS_PER_S)

/* ---- adapters under test ---- */

struct fx;
struct factory {
    const char *name;
    bool in_memory;
    void (*open)(struct fx *fx);
    void (*kill)(struct fx *fx);  /* what a kill -9 leaves */
    void (*close)(struct fx *fx); /* the store, after the adapter closed properly */
    bool (*step)(struct fx *fx);  /* let the store work; true when something happened */
};
struct fx {
    const struct factory *factory;
    struct fake_env fe;
    struct store *store;
    struct mailbox *mailbox;
    sem_t woken;
    const char *dir;
    struct adapter *a;
    enum err_code fail;
    size_t done, failed;
    char handle[ADAPTER_HANDLE_MAX + 1];
    struct err err;
    bool closed;
};

static inline void memory_open(struct fx *fx)
{
    struct err e = {0};
    if (!fx->store)
        fx->store = store_memory_new();
    fx->a = adapter_embedded_new(&fx->fe.env, fx->store, &e);
    if (!fx->a)
        fail_msg("open: %s", e.msg);
}

static inline void memory_kill(struct fx *fx)
{
    store_memory_crash(fx->store);
    adapter_embedded_crash(fx->a);
}

static inline void memory_close(struct fx *fx) {}
static bool memory_step(struct fx *fx) { return store_memory_step(fx->store, SIZE_MAX, fx->fail) > 0; }

static inline void on_wake(void *arg) { sem_post(&((struct fx *)arg)->woken); }

static inline void sqlite_open(struct fx *fx)
{
    struct err e = {0};
    if (!fx->dir) {
        fx->dir = support_tmpdir();
        sem_init(&fx->woken, 0, 0);
    }
    fx->mailbox = mailbox_new(100000, on_wake, fx);
    fx->store = store_sqlite_open(fx->dir, fx->mailbox, log_null(), &e);
    if (!fx->store)
        fail_msg("store: %s", e.msg);
    fx->a = adapter_embedded_new(&fx->fe.env, fx->store, &e);
    if (!fx->a)
        fail_msg("open: %s", e.msg);
}

static inline void sqlite_close(struct fx *fx)
{
    fx->store->ops->close(fx->store);
    mailbox_free(fx->mailbox);
    fx->store = NULL;
}

/* The process cannot be killed here: the nearest is to forget the engine and close the file. */
static inline void sqlite_kill(struct fx *fx)
{
    fx->a->ops->abandon(fx->a);
    sqlite_close(fx);
}

static inline bool sqlite_step(struct fx *fx)
{
    struct timespec until;
    if (mailbox_deliver(fx->mailbox))
        return true;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 2 * NS_PER_MS;
    until.tv_sec += until.tv_nsec / NS_PER_S;
    until.tv_nsec %= NS_PER_S;
    return sem_timedwait(&fx->woken, &until) == 0;
}

static const struct factory factories[] = {
    {"embedded on memory", true, memory_open, memory_kill, memory_close, memory_step},
    {"embedded on sqlite", false, sqlite_open, sqlite_kill, sqlite_close, sqlite_step},
};

/* ---- waiting ---- */

typedef bool (*ready_fn)(const void *arg, size_t n);

static inline void run_until(struct fx *fx, ready_fn ready, const void *arg, size_t n, const char *what)
{
    time_t end = time(NULL) + WAIT_S;
    while (!ready(arg, n)) {
        bool moved = fake_env_advance(&fx->fe, 0) > 0;
        moved |= fx->factory->step(fx);
        if (!moved && (fx->factory->in_memory ? timers_next_ns(fx->fe.env.timers) > fx->fe.clock.mono_ns : time(NULL) > end))
            fail_msg("waited in vain for %s", what);
    }
}

static inline bool done_is(const void *arg, size_t n) { return ((const struct fx *)arg)->done >= n; }
static inline void wait_done(struct fx *fx, size_t n, const char *what) { run_until(fx, done_is, fx, n, what); }

static inline void on_done(void *arg, const struct err *e)
{
    struct fx *fx = arg;
    fx->done++;
    fx->failed += e != NULL;
    if (e)
        fx->err = *e;
}

static inline void on_handle(void *arg, const char *handle, const struct err *e)
{
    struct fx *fx = arg;
    snprintf(fx->handle, sizeof fx->handle, "%s", handle ? handle : "");
    on_done(arg, e);
}

/* Everything that was asked for before has been answered: a small transaction behind it, and what it set off. */
static inline void barrier(struct fx *fx)
{
    for (int i = 0; i < 3; i++) {
        size_t want = fx->done + 1;
        fx->a->ops->topic_create(fx->a, "projects/p/topics/barrier", on_handle, fx);
        wait_done(fx, want, "a barrier");
        fake_env_advance(&fx->fe, 0);
    }
}

#endif

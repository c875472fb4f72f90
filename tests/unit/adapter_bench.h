/** adapter_bench.h: what the conformance cases stand on: the adapters under test (a table of factories), waiting for
 *  completions, topics and readers whose messages are numbered. A new adapter is one more row in `factories`. */
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

/* ---- topics and readers ---- */

struct reader {
    struct adapter_sub *sub;
    char handle[ADAPTER_HANDLE_MAX + 1];
    struct message **got;
    size_t n, batches, trouble;
};

static inline bool got_is(const void *arg, size_t n) { return ((const struct reader *)arg)->n >= n; }

static inline void on_messages(void *arg, struct message **msgs, size_t n)
{
    struct reader *r = arg;
    r->batches++;
    if (r->n + n > GOT_MAX)
        fail_msg("more than %d messages", GOT_MAX);
    memcpy(r->got + r->n, msgs, n * sizeof *msgs);
    r->n += n;
}

static inline void on_trouble(void *arg, const struct err *e) { ((struct reader *)arg)->trouble++; }
static const struct adapter_sub_events events = {on_messages, on_trouble};

static inline struct adapter_topic *make_topic(struct fx *fx, char *handle)
{
    struct adapter_topic *t;
    struct err e;
    size_t want = fx->done + 1;
    fx->a->ops->topic_create(fx->a, "projects/p/topics/t", on_handle, fx);
    assert_true(fx->done < want); /* never inside the call */
    wait_done(fx, want, "a topic");
    assert_int_equal(fx->failed, 0);
    if (handle)
        snprintf(handle, ADAPTER_HANDLE_MAX + 1, "%s", fx->handle);
    assert_int_equal(fx->a->ops->topic_open(fx->a, fx->handle, &t, &e), 0);
    return t;
}

static inline void reader_open(struct fx *fx, struct adapter_topic *t, struct reader *r)
{
    struct err e = {0};
    if (!r->got)
        r->got = calloc(GOT_MAX, sizeof *r->got);
    if (fx->a->ops->sub_open(t, r->handle, &events, r, &r->sub, &e))
        fail_msg("sub_open: %s", e.msg);
}

static inline void make_reader(struct fx *fx, struct adapter_topic *t, struct reader *r)
{
    size_t want = fx->done + 1;
    *r = (struct reader){0};
    fx->a->ops->sub_create(t, "projects/p/subscriptions/s", on_handle, fx);
    wait_done(fx, want, "a subscription");
    snprintf(r->handle, sizeof r->handle, "%s", fx->handle);
    reader_open(fx, t, r);
}

static inline void reader_forget(struct reader *r)
{
    for (size_t i = 0; i < r->n; i++)
        message_unref(r->got[i]);
    r->n = 0;
}

static inline void reader_free(struct reader *r)
{
    reader_forget(r);
    free(r->got);
    r->got = NULL;
}

static inline struct message *message_of(size_t number)
{
    Google__Pubsub__V1__PubsubMessage m = GOOGLE__PUBSUB__V1__PUBSUB_MESSAGE__INIT;
    char text[32];
    struct err e;
    snprintf(text, sizeof text, "%zu", number);
    m.data.data = (uint8_t *)text;
    m.data.len = strlen(text);
    struct message *out = message_new(&m, 0, &e);
    assert_non_null(out);
    return out;
}

static inline size_t number_of(const struct message *m)
{
    char text[32];
    snprintf(text, sizeof text, "%.*s", (int)m->data.n, m->data.p);
    return strtoul(text, NULL, 10);
}

/* Append [from, to) in batches and wait until they are durable. */
static inline void append_range(struct fx *fx, struct adapter_topic *t, size_t from, size_t to)
{
    while (from < to) {
        struct message *batch[ADAPTER_APPEND_MAX];
        size_t n = to - from < ADAPTER_APPEND_MAX ? to - from : ADAPTER_APPEND_MAX, want = fx->done + 1;
        for (size_t i = 0; i < n; i++)
            batch[i] = message_of(from + i);
        fx->a->ops->append(t, batch, n, on_done, fx);
        assert_true(fx->done < want);
        for (size_t i = 0; i < n; i++)
            message_unref(batch[i]); /* it holds its own references */
        wait_done(fx, want, "an append");
        from += n;
    }
}

static inline void ack(struct fx *fx, struct reader *r, size_t from, size_t to, size_t every)
{
    size_t want = fx->done + 1, n = 0;
    struct msg_pos *pos = malloc((to - from) * sizeof *pos);
    for (size_t i = from; i < to; i += every)
        pos[n++] = r->got[i]->pos;
    fx->a->ops->ack(r->sub, pos, n, on_done, fx);
    free(pos);
    wait_done(fx, want, "an acknowledgement");
}

static inline void expect_numbers(const struct reader *r, size_t from, size_t first, size_t step)
{
    for (size_t i = from; i < r->n; i++)
        if (number_of(r->got[i]) != first + (i - from) * step)
            fail_msg("message %zu is number %zu, wanted %zu", i, number_of(r->got[i]), first + (i - from) * step);
}

static inline void credit(struct fx *fx, struct reader *r, size_t n) { fx->a->ops->credit(r->sub, n, n * 1000000); }
static inline void wait_got(struct fx *fx, struct reader *r, size_t n) { run_until(fx, got_is, r, n, "messages"); }

static inline void close_adapter(struct fx *fx)
{
    size_t want = fx->done + 1;
    fx->a->ops->close(fx->a, on_done, fx);
    wait_done(fx, want, "the adapter to close");
}

static inline struct adapter_topic *reopen(struct fx *fx, const char *topic, bool crash)
{
    struct adapter_topic *t = NULL;
    struct err e = {0};
    if (crash) {
        fx->factory->kill(fx);
    } else {
        close_adapter(fx);
        fx->factory->close(fx);
    }
    fx->factory->open(fx);
    if (topic && fx->a->ops->topic_open(fx->a, topic, &t, &e))
        fail_msg("topic_open: %s", e.msg);
    return t;
}

#endif

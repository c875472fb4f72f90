/** store_bench.h: a store of either kind with its engine, opened and restarted at will, and what the store's tests ask of it. */
#ifndef TESTS_UNIT_STORE_BENCH_H
#define TESTS_UNIT_STORE_BENCH_H

#include "tests/support/unit.h"

#include "core/loop/mailbox.h"
#include "core/store/store.h"

#include <semaphore.h>
#include <stdio.h>

struct bench {
    const char *kind;
    bool memory;
    char dir[256];
    struct mailbox *engine;
    sem_t woken;
    struct store *store;
};

static inline void on_wake(void *arg) { sem_post(arg); }

static inline void bench_open(struct bench *b)
{
    struct err e = {0};
    b->store = b->memory ? store_memory_new() : store_sqlite_open(b->dir, b->engine, log_null(), &e);
    if (!b->store)
        fail_msg("%s: cannot open: %s", b->kind, e.msg);
}

static inline void bench_init(struct bench *b, bool memory)
{
    static int count;
    static const char *base;
    base = base ? base : support_tmpdir();
    *b = (struct bench){.kind = memory ? "memory" : "sqlite", .memory = memory};
    snprintf(b->dir, sizeof b->dir, "%s/data-%d", base, count++);
    sem_init(&b->woken, 0, 0);
    b->engine = mailbox_new(SIZE_MAX, on_wake, &b->woken);
    assert_non_null(b->engine);
    bench_open(b);
}

static inline void bench_fini(struct bench *b)
{
    b->store->ops->close(b->store);
    mailbox_free(b->engine);
    sem_destroy(&b->woken);
}

/* What a restart keeps: for SQLite a close and an open, for memory a crash. */
static inline void bench_restart(struct bench *b)
{
    if (b->memory) {
        store_memory_crash(b->store);
        return;
    }
    b->store->ops->close(b->store);
    bench_open(b);
}

/* Let the engine work until `*flag` reaches `n`. */
static inline void bench_wait(struct bench *b, const int *flag, int n)
{
    while (*flag < n) {
        if (b->memory) {
            assert_true(store_memory_step(b->store, 1, ERR_OK) == 1);
            continue;
        }
        sem_wait(&b->woken);
        mailbox_deliver(b->engine);
    }
}

struct outcome {
    int done, order;
    enum err_code code;
    char msg[320];
};
static int order_counter; /* the order in which outcomes come, over all of a program */

static inline void on_done(void *arg, const struct err *e)
{
    struct outcome *o = arg;
    o->done++;
    o->order = ++order_counter;
    o->code = e ? e->code : ERR_OK;
    snprintf(o->msg, sizeof o->msg, "%s", e ? e->msg : "");
}

static inline enum err_code bench_submit(struct bench *b, struct store_txn *t)
{
    struct outcome o = {0};
    store_submit(b->store, t, on_done, &o);
    assert_int_equal(o.done, 0); /* never from inside */
    bench_wait(b, &o.done, 1);
    return o.code;
}

static inline enum err_code append_range(struct bench *b, uint64_t topic, uint64_t from, uint64_t to)
{
    struct store_txn *t = store_txn_new();
    static const char text[] = "0123456789abcdef";
    for (uint64_t seq = from; seq < to; seq++)
        assert_int_equal(store_txn_append(t, topic, seq, (int64_t)seq * 10, (struct str){text, seq % 16}, NULL), 0);
    return bench_submit(b, t);
}

struct rows {
    struct store_read read;
    int done;
    enum err_code code;
    size_t n, bytes;
    uint64_t first, last;
};

static inline void on_rows(struct store_read *r, const struct err *e)
{
    struct rows *x = CONTAINER_OF(r, struct rows, read);
    x->done++;
    x->code = e ? e->code : ERR_OK;
    x->n = r->n;
    for (size_t i = 0; i < r->n; i++) {
        x->bytes += r->rows[i].blob.n;
        assert_int_equal(r->rows[i].wall_ns, (int64_t)r->rows[i].seq * 10);
        assert_int_equal(r->rows[i].blob.n, r->rows[i].seq % 16);
        assert_memory_equal(r->rows[i].blob.p, "0123456789abcdef", r->rows[i].blob.n);
        if (i)
            assert_true(r->rows[i].seq > x->last);
        else
            x->first = r->rows[i].seq;
        x->last = r->rows[i].seq;
    }
}

static inline struct rows bench_read(struct bench *b, uint64_t topic, uint64_t from, size_t max_count, size_t max_bytes)
{
    struct rows x = {.read = {.topic_id = topic, .from_seq = from, .max_count = max_count, .max_bytes = max_bytes, .done = on_rows}};
    b->store->ops->read(b->store, &x.read);
    assert_int_equal(x.done, 0);
    bench_wait(b, &x.done, 1);
    assert_int_equal(x.code, ERR_OK);
    return x;
}

static inline void on_sought(struct store_seek *q, const struct err *e)
{
    assert_null(e);
    ++*(int *)q->arg;
}

static inline uint64_t bench_seek(struct bench *b, uint64_t topic, int64_t wall_ns)
{
    int done = 0;
    struct store_seek q = {.topic_id = topic, .wall_ns = wall_ns, .done = on_sought, .arg = &done};
    b->store->ops->seek(b->store, &q);
    bench_wait(b, &done, 1);
    return q.seq;
}

static inline void expect_bounds(struct bench *b, uint64_t topic, uint64_t want_first, uint64_t want_next)
{
    uint64_t first = 99, next = 99;
    assert_int_equal(b->store->ops->topic_bounds(b->store, topic, &first, &next, NULL), 0);
    if (first != want_first || next != want_next)
        fail_msg("%s: bounds of topic %" PRIu64 " are %" PRIu64 "..%" PRIu64 ", wanted %" PRIu64 "..%" PRIu64, b->kind, topic, first, next,
                 want_first, want_next);
}

/* Resources of a kind as "name=body," in the order they come. */
static inline int collect(void *arg, const char *name, struct str body, struct err *e)
{
    return buf_addf(arg, "%s=%.*s,", name, (int)body.n, body.p);
}

static inline void expect_resources(struct bench *b, const char *kind, const char *want)
{
    struct buf out;
    buf_init(&out, 1 << 20);
    assert_int_equal(b->store->ops->load_resources(b->store, kind, collect, &out, NULL), 0);
    assert_string_equal(buf_cstr(&out), want);
    buf_fini(&out);
}

static inline uint64_t meta(struct bench *b, const char *key)
{
    uint64_t v = 77;
    assert_int_equal(b->store->ops->load_meta(b->store, key, &v, NULL), 0);
    return v;
}

struct acks {
    size_t n;
    uint64_t chunk[8];
    uint8_t byte[8];
};

static inline int collect_acks(void *arg, uint64_t chunk, const uint8_t *bits, struct err *e)
{
    struct acks *a = arg;
    assert_true(a->n < ARRAY_LEN(a->chunk));
    a->chunk[a->n] = chunk;
    a->byte[a->n++] = bits[ACK_CHUNK_BYTES - 1];
    return 0;
}

static inline struct acks load_acks(struct bench *b, uint64_t sub, uint64_t want_floor)
{
    struct acks a = {0};
    uint64_t floor = 99;
    assert_int_equal(b->store->ops->load_acks(b->store, sub, &floor, collect_acks, &a, NULL), 0);
    assert_int_equal(floor, want_floor);
    return a;
}

static inline void trim(struct bench *b, uint64_t topic, uint64_t below)
{
    struct store_txn *t = store_txn_new();
    assert_int_equal(store_txn_trim(t, topic, below, NULL), 0);
    assert_int_equal(bench_submit(b, t), ERR_OK);
}

#endif

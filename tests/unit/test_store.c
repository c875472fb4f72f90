/** test_store.c: one table of promises, held by the SQLite store and the one in memory; then what only files can show. */
#include "tests/support/unit.h"

#include "core/loop/mailbox.h"
#include "core/store/store.h"

#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- a store of either kind, opened anew at will ---- */

struct bench {
    const char *kind;
    bool memory;
    char dir[256];
    struct mailbox *engine;
    sem_t woken;
    struct store *store;
};

static void on_wake(void *arg)
{
    sem_post(arg);
}

static void bench_open(struct bench *b)
{
    struct err e = {0};
    b->store = b->memory ? store_memory_new() : store_sqlite_open(b->dir, b->engine, log_null(), &e);
    if (!b->store)
        fail_msg("%s: cannot open: %s", b->kind, e.msg);
}

static void bench_init(struct bench *b, bool memory)
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

static void bench_fini(struct bench *b)
{
    b->store->ops->close(b->store);
    mailbox_free(b->engine);
    sem_destroy(&b->woken);
}

/* What a restart keeps: for SQLite a close and an open, for memory a crash. */
static void bench_restart(struct bench *b)
{
    if (b->memory) {
        store_memory_crash(b->store);
        return;
    }
    b->store->ops->close(b->store);
    bench_open(b);
}

/* Let the engine work until `*flag` reaches `n`. */
static void bench_wait(struct bench *b, const int *flag, int n)
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
static int order_counter;

static void on_done(void *arg, const struct err *e)
{
    struct outcome *o = arg;
    o->done++;
    o->order = ++order_counter;
    o->code = e ? e->code : ERR_OK;
    snprintf(o->msg, sizeof o->msg, "%s", e ? e->msg : "");
}

static enum err_code bench_submit(struct bench *b, struct store_txn *t)
{
    struct outcome o = {0};
    store_submit(b->store, t, on_done, &o);
    assert_int_equal(o.done, 0); /* never from inside */
    bench_wait(b, &o.done, 1);
    return o.code;
}

static enum err_code append_range(struct bench *b, uint64_t topic, uint64_t from, uint64_t to)
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

static void on_rows(struct store_read *r, const struct err *e)
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

static struct rows bench_read(struct bench *b, uint64_t topic, uint64_t from, size_t max_count, size_t max_bytes)
{
    struct rows x = {.read = {.topic_id = topic, .from_seq = from, .max_count = max_count, .max_bytes = max_bytes, .done = on_rows}};
    b->store->ops->read(b->store, &x.read);
    assert_int_equal(x.done, 0);
    bench_wait(b, &x.done, 1);
    assert_int_equal(x.code, ERR_OK);
    return x;
}

static void on_sought(struct store_seek *q, const struct err *e)
{
    assert_null(e);
    ++*(int *)q->arg;
}

static uint64_t bench_seek(struct bench *b, uint64_t topic, int64_t wall_ns)
{
    int done = 0;
    struct store_seek q = {.topic_id = topic, .wall_ns = wall_ns, .done = on_sought, .arg = &done};
    b->store->ops->seek(b->store, &q);
    bench_wait(b, &done, 1);
    return q.seq;
}

static void expect_bounds(struct bench *b, uint64_t topic, uint64_t want_first, uint64_t want_next)
{
    uint64_t first = 99, next = 99;
    assert_int_equal(b->store->ops->topic_bounds(b->store, topic, &first, &next, NULL), 0);
    if (first != want_first || next != want_next)
        fail_msg("%s: bounds of topic %" PRIu64 " are %" PRIu64 "..%" PRIu64 ", wanted %" PRIu64 "..%" PRIu64, b->kind, topic, first, next, want_first, want_next);
}

/* Resources of a kind as "name=body," in the order they come. */
static int collect(void *arg, const char *name, struct str body, struct err *e)
{
    return buf_addf(arg, "%s=%.*s,", name, (int)body.n, body.p);
}

static void expect_resources(struct bench *b, const char *kind, const char *want)
{
    struct buf out;
    buf_init(&out, 1 << 20);
    assert_int_equal(b->store->ops->load_resources(b->store, kind, collect, &out, NULL), 0);
    assert_string_equal(buf_cstr(&out), want);
    buf_fini(&out);
}

static uint64_t meta(struct bench *b, const char *key)
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

static int collect_acks(void *arg, uint64_t chunk, const uint8_t *bits, struct err *e)
{
    struct acks *a = arg;
    assert_true(a->n < ARRAY_LEN(a->chunk));
    a->chunk[a->n] = chunk;
    a->byte[a->n++] = bits[ACK_CHUNK_BYTES - 1];
    return 0;
}

static struct acks load_acks(struct bench *b, uint64_t sub, uint64_t want_floor)
{
    struct acks a = {0};
    uint64_t floor = 99;
    assert_int_equal(b->store->ops->load_acks(b->store, sub, &floor, collect_acks, &a, NULL), 0);
    assert_int_equal(floor, want_floor);
    return a;
}

/* ---- the promises, for both ---- */

static void resources_are_put_replaced_deleted_and_listed_by_name(struct bench *b)
{
    struct store_txn *t = store_txn_new();
    char body[] = "one";
    assert_int_equal(store_txn_put(t, "topic", "b", str_of(body), NULL), 0);
    memcpy(body, "XXX", 3); /* a copy was taken */
    assert_int_equal(store_txn_put(t, "topic", "a", STR("two"), NULL), 0);
    assert_int_equal(store_txn_put(t, "topic", "c", STR(""), NULL), 0);
    assert_int_equal(store_txn_put(t, "top", "d", STR("other kind"), NULL), 0);
    assert_int_equal(bench_submit(b, t), ERR_OK);
    expect_resources(b, "topic", "a=two,b=one,c=,");
    t = store_txn_new();
    assert_int_equal(store_txn_put(t, "topic", "a", STR("three"), NULL), 0);
    assert_int_equal(store_txn_delete(t, "topic", "b", NULL), 0);
    assert_int_equal(store_txn_delete(t, "topic", "never was", NULL), 0);
    assert_int_equal(store_txn_delete(t, "top", "d", NULL), 0);
    assert_int_equal(store_txn_put(t, "top", "d", STR("again"), NULL), 0);
    assert_int_equal(bench_submit(b, t), ERR_OK);
    bench_restart(b);
    expect_resources(b, "topic", "a=three,c=,");
    expect_resources(b, "top", "d=again,");
    expect_resources(b, "none", "");
}

static int stop_at_second(void *arg, const char *name, struct str body, struct err *e)
{
    return ++*(int *)arg == 2 ? err_set(e, ERR_DATA_LOSS, "cannot read %s", name) : 0;
}

static void a_load_ends_at_the_first_record_its_reader_refuses(struct bench *b)
{
    struct store_txn *t = store_txn_new();
    for (const char *const *n = (const char *const[]){"a", "b", "c", NULL}; *n; n++)
        assert_int_equal(store_txn_put(t, "k", *n, STR("x"), NULL), 0);
    assert_int_equal(bench_submit(b, t), ERR_OK);
    int seen = 0;
    struct err e = {0};
    assert_int_equal(b->store->ops->load_resources(b->store, "k", stop_at_second, &seen, &e), -ERR_DATA_LOSS);
    assert_int_equal(seen, 2);
    assert_string_equal(e.msg, "cannot read b");
}

static int load_inside(void *arg, const char *name, struct str body, struct err *e)
{
    struct bench *b = arg;
    expect_resources(b, "inner", "i=1,");
    expect_bounds(b, 5, 0, 0);
    return 0;
}

static void a_load_may_load_inside(struct bench *b)
{
    struct store_txn *t = store_txn_new();
    assert_int_equal(store_txn_put(t, "outer", "x", STR("1"), NULL), 0);
    assert_int_equal(store_txn_put(t, "outer", "y", STR("1"), NULL), 0);
    assert_int_equal(store_txn_put(t, "inner", "i", STR("1"), NULL), 0);
    assert_int_equal(bench_submit(b, t), ERR_OK);
    assert_int_equal(b->store->ops->load_resources(b->store, "outer", load_inside, b, NULL), 0);
}

static void numbers_are_kept_and_absent_ones_are_zero(struct bench *b)
{
    struct store_txn *t = store_txn_new();
    assert_int_equal(store_txn_meta(t, "next_topic", 7, NULL), 0);
    assert_int_equal(store_txn_meta(t, "big", UINT64_MAX, NULL), 0);
    assert_int_equal(store_txn_meta(t, "next_topic", 8, NULL), 0);
    assert_int_equal(bench_submit(b, t), ERR_OK);
    bench_restart(b);
    assert_int_equal(meta(b, "next_topic"), 8);
    assert_true(meta(b, "big") == UINT64_MAX);
    assert_int_equal(meta(b, "none"), 0);
}

static void messages_come_back_in_order_within_count_and_bytes(struct bench *b)
{
    static const struct {
        const char *name;
        uint64_t from;
        size_t count, bytes, want_n;
        uint64_t want_first;
    } rows[] = {
        {"all", 0, 1000, 1 << 20, 50, 10},
        {"from the middle", 30, 1000, 1 << 20, 30, 30},
        {"by count", 10, 5, 1 << 20, 5, 10},
        {"by bytes: 10+11+12 fit, 13 more do not", 10, 1000, 40, 3, 10},
        {"one comes even if it is too large", 15, 1000, 1, 2, 15}, /* 15 bytes, then 16 % 16 = 0 more is over the limit */
        {"one comes even if none is asked for", 20, 0, 0, 1, 20},
        {"none after the end", 60, 10, 1000, 0, 0},
        {"none far after the end", STORE_SEQ_MAX, 10, 1000, 0, 0},
    };
    assert_int_equal(append_range(b, 3, 10, 60), ERR_OK);
    assert_int_equal(append_range(b, 4, 0, 5), ERR_OK); /* a neighbour is not read */
    assert_int_equal(append_range(b, 2, 0, 5), ERR_OK);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct rows x = bench_read(b, 3, rows[i].from, rows[i].count, rows[i].bytes);
        if (i == 4) {
            CASE_TRUE(rows[i].name, x.n >= 1 && x.first == 15);
            continue;
        }
        CASE_INT(rows[i].name, x.n, rows[i].want_n);
        CASE_INT(rows[i].name, x.first, rows[i].want_first);
    }
    bench_restart(b);
    assert_int_equal(bench_read(b, 3, 0, 1000, 1 << 20).n, 50);
    assert_int_equal(bench_read(b, STORE_TOPIC_ID_MAX, 0, 1000, 1 << 20).n, 0);
    expect_bounds(b, 3, 10, 60);
}

static void the_highest_topic_and_sequence_number_work(struct bench *b)
{
    struct store_txn *t = store_txn_new();
    assert_int_equal(store_txn_append(t, STORE_TOPIC_ID_MAX, STORE_SEQ_MAX, (int64_t)STORE_SEQ_MAX * 10, (struct str){"0123456789abcdef", STORE_SEQ_MAX % 16}, NULL), 0);
    assert_int_equal(bench_submit(b, t), ERR_OK);
    bench_restart(b);
    assert_int_equal(bench_read(b, STORE_TOPIC_ID_MAX, STORE_SEQ_MAX, 10, 100).n, 1);
    expect_bounds(b, STORE_TOPIC_ID_MAX, STORE_SEQ_MAX, STORE_SEQ_MAX + 1);
    t = store_txn_new();
    assert_int_equal(store_txn_trim(t, STORE_TOPIC_ID_MAX, UINT64_MAX, NULL), 0);
    assert_int_equal(bench_submit(b, t), ERR_OK);
    assert_int_equal(bench_read(b, STORE_TOPIC_ID_MAX, 0, 10, 100).n, 0);
    expect_bounds(b, STORE_TOPIC_ID_MAX, STORE_SEQ_MAX + 1, STORE_SEQ_MAX + 1);
}

static void trim(struct bench *b, uint64_t topic, uint64_t below)
{
    struct store_txn *t = store_txn_new();
    assert_int_equal(store_txn_trim(t, topic, below, NULL), 0);
    assert_int_equal(bench_submit(b, t), ERR_OK);
}

static void trimmed_messages_are_gone_and_numbers_are_never_used_again(struct bench *b)
{
    assert_int_equal(append_range(b, 1, 0, 3000), ERR_OK);
    assert_int_equal(append_range(b, 2, 0, 10), ERR_OK);
    trim(b, 1, 2500); /* more than one transaction drops at once */
    expect_bounds(b, 1, 2500, 3000);
    assert_int_equal(bench_read(b, 1, 0, 10, 1 << 20).first, 2500);
    assert_int_equal(bench_seek(b, 1, 0), 2500);
    trim(b, 1, 100); /* backwards changes nothing */
    expect_bounds(b, 1, 2500, 3000);
    trim(b, 1, 1000000); /* past the end: not past what comes */
    expect_bounds(b, 1, 3000, 3000);
    assert_int_equal(bench_read(b, 1, 0, 10, 1 << 20).n, 0);
    assert_int_equal(bench_seek(b, 1, 0), 3000);
    bench_restart(b);
    expect_bounds(b, 1, 3000, 3000);
    assert_int_equal(append_range(b, 1, 3000, 3001), ERR_OK);
    expect_bounds(b, 1, 3000, 3001);
    trim(b, 7, 100); /* never used */
    expect_bounds(b, 7, 0, 0);
    expect_bounds(b, 2, 0, 10);
}

static void a_time_finds_the_first_message_at_or_after_it(struct bench *b)
{
    static const struct {
        const char *name;
        int64_t wall_ns;
        uint64_t want;
    } rows[] = {
        {"before all", INT64_MIN, 100}, {"the first", 1000, 100},  {"between two", 1001, 101},
        {"exactly one", 1500, 150},     {"the last", 1990, 199},   {"after all", 1991, 200},
        {"the hole", 1600, 160},        {"the end of time", INT64_MAX, 200},
    };
    assert_int_equal(append_range(b, 1, 100, 150), ERR_OK);
    assert_int_equal(append_range(b, 1, 150, 160), ERR_OK);
    assert_int_equal(append_range(b, 1, 160, 200), ERR_OK);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        CASE_INT(rows[i].name, bench_seek(b, 1, rows[i].wall_ns), rows[i].want);
    assert_int_equal(bench_seek(b, 9, 5), 0);
}

static void acknowledgements_are_a_floor_and_chunks_above_it(struct bench *b)
{
    uint8_t bits[ACK_CHUNK_BYTES] = {0};
    struct store_txn *t = store_txn_new();
    assert_int_equal(store_txn_floor(t, 5, 100, NULL), 0);
    for (uint64_t c = 4; c-- > 0;) {
        bits[ACK_CHUNK_BYTES - 1] = (uint8_t)(c + 1);
        assert_int_equal(store_txn_chunk(t, 5, c, bits, NULL), 0);
    }
    assert_int_equal(store_txn_chunk(t, UINT64_MAX, 0, bits, NULL), 0); /* any 64 bits name a subscription */
    assert_int_equal(bench_submit(b, t), ERR_OK);
    bench_restart(b);
    struct acks a = load_acks(b, 5, 100);
    assert_int_equal(a.n, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(a.chunk[i], i);
        assert_int_equal(a.byte[i], i + 1);
    }
    t = store_txn_new();
    assert_int_equal(store_txn_floor(t, 5, 2 * ACK_CHUNK_BITS + 1, NULL), 0); /* chunks 0 and 1 are wholly below */
    assert_int_equal(bench_submit(b, t), ERR_OK);
    a = load_acks(b, 5, 2 * ACK_CHUNK_BITS + 1);
    assert_int_equal(a.n, 2);
    assert_int_equal(a.chunk[0], 2);
    t = store_txn_new();
    assert_int_equal(store_txn_drop_acks(t, 5, NULL), 0);
    assert_int_equal(store_txn_drop_acks(t, 6, NULL), 0);
    assert_int_equal(store_txn_chunk(t, 5, 9, bits, NULL), 0); /* in the same breath: only what came after */
    assert_int_equal(bench_submit(b, t), ERR_OK);
    bench_restart(b);
    a = load_acks(b, 5, 0);
    assert_int_equal(a.n, 1);
    assert_int_equal(a.chunk[0], 9);
    assert_int_equal(load_acks(b, UINT64_MAX, 0).n, 1);
    assert_int_equal(load_acks(b, 6, 0).n, 0);
}

static void one_faulty_transaction_changes_nothing_and_spares_its_neighbours(struct bench *b)
{
    assert_int_equal(append_range(b, 1, 0, 5), ERR_OK);
    struct outcome o[3] = {{0}};
    for (size_t i = 0; i < 3; i++) {
        struct store_txn *t = store_txn_new();
        assert_int_equal(store_txn_put(t, "k", (const char *const[]){"a", "b", "c"}[i], STR("x"), NULL), 0);
        assert_int_equal(store_txn_append(t, 1, 10 + i, (int64_t)(10 + i) * 10, (struct str){"0123456789abcdef", 10 + i}, NULL), 0);
        if (i == 1)
            assert_int_equal(store_txn_append(t, 1, 4, 0, STR("taken"), NULL), 0);
        assert_int_equal(store_txn_meta(t, "last", i, NULL), 0);
        store_submit(b->store, t, on_done, &o[i]);
    }
    order_counter = 0;
    bench_wait(b, &o[2].done, 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(o[i].done, 1);
        assert_int_equal(o[i].order, i + 1);
        assert_int_equal(o[i].code, i == 1 ? ERR_ALREADY_EXISTS : ERR_OK);
    }
    expect_resources(b, "k", "a=x,c=x,");
    expect_bounds(b, 1, 0, 13);
    assert_int_equal(bench_read(b, 1, 5, 10, 1000).n, 2);
}

static void outcomes_come_in_the_order_of_submission_with_reads_seeing_what_was_before(struct bench *b)
{
    enum { N = 500 };
    static struct outcome o[N];
    static struct rows x[N];
    memset(o, 0, sizeof o);
    order_counter = 0;
    for (uint64_t i = 0; i < N; i++) {
        struct store_txn *t = store_txn_new();
        assert_int_equal(store_txn_append(t, 1, i, (int64_t)i * 10, (struct str){"0123456789abcdef", i % 16}, NULL), 0);
        store_submit(b->store, t, on_done, &o[i]);
        x[i] = (struct rows){.read = {.topic_id = 1, .from_seq = i, .max_count = 1, .done = on_rows}};
        b->store->ops->read(b->store, &x[i].read);
    }
    for (int i = 0; i < N; i++) {
        bench_wait(b, &x[i].done, 1);
        assert_int_equal(x[i].n, 1);
        assert_int_equal(x[i].first, i);
        bench_wait(b, &o[i].done, 1);
        assert_int_equal(o[i].order, i + 1);
        assert_int_equal(o[i].code, ERR_OK);
    }
    assert_int_equal(b->store->ops->stats(b->store).bytes_queued, 0);
}

static void too_much_waiting_is_refused_in_its_turn(struct bench *b)
{
    enum { N = 40 };
    struct outcome o[N] = {{0}};
    char *big = calloc(1, STORE_BLOB_MAX);
    size_t refused = 0;
    order_counter = 0;
    for (uint64_t i = 0; i < N; i++) { /* 40 x 12 MB: some of it may be stored before all is submitted */
        struct store_txn *t = store_txn_new();
        assert_int_equal(store_txn_append(t, 1, i, 0, (struct str){big, STORE_BLOB_MAX}, NULL), 0);
        store_submit(b->store, t, on_done, &o[i]);
        assert_int_equal(o[i].done, 0);
        assert_true(b->store->ops->stats(b->store).bytes_queued <= STORE_QUEUE_BYTES_MAX);
    }
    bench_wait(b, &o[N - 1].done, 1);
    for (int i = 0; i < N; i++) {
        assert_int_equal(o[i].order, i + 1);
        refused += o[i].code == ERR_RESOURCE_EXHAUSTED;
    }
    assert_int_equal(refused, N - STORE_QUEUE_BYTES_MAX / STORE_BLOB_MAX); /* the engine freed nothing in between */
    struct store_txn *t = store_txn_new();
    struct err e = {0};
    assert_int_equal(store_txn_append(t, 1, N, 0, (struct str){big, STORE_BLOB_MAX + 1}, &e), -ERR_INVALID_ARGUMENT);
    store_txn_free(t);
    free(big);
    trim(b, 1, UINT64_MAX);
    assert_int_equal(append_range(b, 1, N, N + 1), ERR_OK);
}

static void closing_commits_what_is_queued_and_tells(struct bench *b)
{
    enum { N = 100 };
    struct outcome o[N] = {{0}};
    struct rows x = {.read = {.topic_id = 1, .from_seq = 0, .max_count = 1000, .max_bytes = 1 << 20, .done = on_rows}};
    for (uint64_t i = 0; i < N; i++) {
        struct store_txn *t = store_txn_new();
        assert_int_equal(store_txn_append(t, 1, i, (int64_t)i * 10, (struct str){"0123456789abcdef", i % 16}, NULL), 0);
        store_submit(b->store, t, on_done, &o[i]);
    }
    b->store->ops->read(b->store, &x.read);
    b->store->ops->close(b->store);
    for (int i = 0; i < N; i++) {
        assert_int_equal(o[i].done, 1);
        assert_int_equal(o[i].code, ERR_OK);
    }
    assert_int_equal(x.n, N);
    bench_open(b);
    if (!b->memory)
        expect_bounds(b, 1, 0, N);
}

#define PROMISE(name) {#name, name}
static const struct {
    const char *name;
    void (*run)(struct bench *b);
} promises[] = {
    PROMISE(resources_are_put_replaced_deleted_and_listed_by_name),
    PROMISE(a_load_ends_at_the_first_record_its_reader_refuses),
    PROMISE(a_load_may_load_inside),
    PROMISE(numbers_are_kept_and_absent_ones_are_zero),
    PROMISE(messages_come_back_in_order_within_count_and_bytes),
    PROMISE(the_highest_topic_and_sequence_number_work),
    PROMISE(trimmed_messages_are_gone_and_numbers_are_never_used_again),
    PROMISE(a_time_finds_the_first_message_at_or_after_it),
    PROMISE(acknowledgements_are_a_floor_and_chunks_above_it),
    PROMISE(one_faulty_transaction_changes_nothing_and_spares_its_neighbours),
    PROMISE(outcomes_come_in_the_order_of_submission_with_reads_seeing_what_was_before),
    PROMISE(too_much_waiting_is_refused_in_its_turn),
    PROMISE(closing_commits_what_is_queued_and_tells),
};

static void both_stores_keep_the_same_promises(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(promises); i++)
        for (int memory = 0; memory < 2; memory++) {
            struct bench b;
            bench_init(&b, memory);
            print_message("  %s: %s\n", b.kind, promises[i].name);
            promises[i].run(&b);
            bench_fini(&b);
        }
}

/* ---- what only files can show ---- */

static mode_t mode_of(const char *dir, const char *file)
{
    char path[512];
    struct stat st;
    snprintf(path, sizeof path, "%s%s", dir, file);
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 0777;
}

static void the_directory_is_made_for_the_owner_only(void **state)
{
    struct bench b;
    mode_t before = umask(0);
    bench_init(&b, false);
    b.store->ops->close(b.store);
    snprintf(b.dir + strlen(b.dir), sizeof b.dir - strlen(b.dir), "/deep/er");
    bench_open(&b);
    umask(before);
    assert_int_equal(append_range(&b, 1, 0, 3), ERR_OK);
    assert_int_equal(mode_of(b.dir, ""), 0700);
    assert_int_equal(mode_of(b.dir, "/.."), 0700);
    assert_int_equal(mode_of(b.dir, "/runnel.db"), 0600);
    assert_int_equal(mode_of(b.dir, "/runnel.db-wal"), 0600);
    assert_int_equal(mode_of(b.dir, "/lock"), 0600);
    bench_fini(&b);
}

static void expect_refused(struct bench *b, const char *dir, enum err_code code, const char *text)
{
    struct err e = {0};
    assert_null(store_sqlite_open(dir, b->engine, log_null(), &e));
    assert_int_equal(e.code, code);
    if (!strstr(e.msg, text))
        fail_msg("the message is \"%s\", wanted \"%s\" in it", e.msg, text);
}

static void a_second_server_on_the_directory_is_refused_by_name(void **state)
{
    struct bench b;
    bench_init(&b, false);
    char want[512];
    snprintf(want, sizeof want, "the data directory %s is in use by another server (process %ld)", b.dir, (long)getpid());
    expect_refused(&b, b.dir, ERR_FAILED_PRECONDITION, want);
    assert_int_equal(append_range(&b, 1, 0, 3), ERR_OK); /* the first one does not notice */
    b.store->ops->close(b.store);
    bench_open(&b); /* free again */
    expect_bounds(&b, 1, 0, 3);
    bench_fini(&b);
}

static void a_killed_server_leaves_no_lock_behind(void **state)
{
    struct bench b;
    bench_init(&b, false);
    b.store->ops->close(b.store);
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        bench_open(&b);
        (void)!write(ready[1], "x", 1);
        for (;;)
            pause();
    }
    char c;
    assert_int_equal(read(ready[0], &c, 1), 1);
    char want[64];
    snprintf(want, sizeof want, "(process %ld)", (long)pid);
    expect_refused(&b, b.dir, ERR_FAILED_PRECONDITION, want);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    close(ready[0]);
    close(ready[1]);
    bench_open(&b);
    bench_fini(&b);
}

/* Offsets in SQLite's file header, all big-endian (sqlite.org/fileformat2.html, section 1.3). */
#define HEADER_USER_VERSION 60
#define HEADER_APPLICATION_ID 68

static void patch(const char *dir, off_t at, const void *bytes, size_t n)
{
    char path[512];
    snprintf(path, sizeof path, "%s/runnel.db", dir);
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, n, at), (ssize_t)n);
    close(fd);
}

static void files_that_are_not_ours_are_refused_and_left_alone(void **state)
{
    static const struct {
        const char *name;
        off_t at;
        const char *bytes;
        size_t n;
        enum err_code code;
        const char *text;
    } rows[] = {
        {"a newer schema", HEADER_USER_VERSION, "\0\0\0\x63", 4, ERR_FAILED_PRECONDITION, "newer version of this program (schema 99"},
        {"another program's", HEADER_APPLICATION_ID, "\1\2\3\4", 4, ERR_FAILED_PRECONDITION, "a database of another program"},
        {"no database", 0, "this is a text, not a database file.", 36, ERR_DATA_LOSS, "damaged"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct bench b;
        bench_init(&b, false);
        assert_int_equal(append_range(&b, 1, 0, 3), ERR_OK);
        b.store->ops->close(b.store);
        char path[512];
        struct stat before, after;
        snprintf(path, sizeof path, "%s/runnel.db", b.dir);
        patch(b.dir, rows[i].at, rows[i].bytes, rows[i].n);
        assert_int_equal(stat(path, &before), 0);
        expect_refused(&b, b.dir, rows[i].code, rows[i].text);
        assert_int_equal(stat(path, &after), 0);
        CASE_INT(rows[i].name, after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
        CASE_INT(rows[i].name, after.st_size, before.st_size);
        mailbox_free(b.engine);
        sem_destroy(&b.woken);
    }
}

static void a_directory_that_cannot_be_is_named(void **state)
{
    struct bench b;
    bench_init(&b, false);
    char path[1024];
    snprintf(path, sizeof path, "%s/runnel.db/below", b.dir);
    expect_refused(&b, path, ERR_FAILED_PRECONDITION, path);
    expect_refused(&b, "", ERR_INVALID_ARGUMENT, "empty");
    char *name = calloc(1, 5000);
    memset(name, 'x', 4999);
    expect_refused(&b, name, ERR_INVALID_ARGUMENT, "too long");
    free(name);
    bench_fini(&b);
}

static void one_wake_up_brings_a_whole_group(void **state)
{
    enum { N = 2000 };
    struct bench b;
    static struct outcome o[N];
    memset(o, 0, sizeof o);
    bench_init(&b, false);
    uint64_t before = b.store->ops->stats(b.store).commits;
    for (uint64_t i = 0; i < N; i++) {
        struct store_txn *t = store_txn_new();
        assert_int_equal(store_txn_append(t, 1, i, 0, STR("message"), NULL), 0);
        store_submit(b.store, t, on_done, &o[i]);
    }
    bench_wait(&b, &o[N - 1].done, 1);
    struct store_stats st = b.store->ops->stats(b.store);
    assert_true(st.transactions >= N);
    assert_true(st.commits - before < N / 4); /* the first alone, then what gathered while it was synced */
    assert_true(st.last_commit_ns > 0 && st.file_bytes > 0);
    bench_fini(&b);
}

static off_t db_bytes(const struct bench *b)
{
    char path[512];
    struct stat st;
    snprintf(path, sizeof path, "%s/runnel.db", b->dir);
    assert_int_equal(stat(path, &st), 0);
    return st.st_size;
}

/* Others are served while the rows go, and the space returns. */
static void dropping_many_messages_stalls_nobody_and_frees_the_file(void **state)
{
    enum { N = 100000, BATCH = 5000, SIZE = 300 };
    static char blob[SIZE];
    struct bench b;
    bench_init(&b, false);
    for (uint64_t from = 0; from < N; from += BATCH) {
        struct store_txn *t = store_txn_new();
        for (uint64_t i = from; i < from + BATCH; i++)
            assert_int_equal(store_txn_append(t, 1, i, 0, (struct str){blob, SIZE}, NULL), 0);
        assert_int_equal(bench_submit(&b, t), ERR_OK);
    }
    trim(&b, 1, N - 1);
    expect_bounds(&b, 1, N - 1, N);
    b.store->ops->close(b.store); /* cut short: goes on after the restart */
    off_t full = db_bytes(&b);
    assert_true(full > N * SIZE);
    bench_open(&b);
    expect_bounds(&b, 1, N - 1, N);
    assert_int_equal(append_range(&b, 2, 0, 1), ERR_OK);
    for (uint64_t seq = 1; db_bytes(&b) > full / 2; seq++) { /* each round lets the thread be idle once */
        assert_int_equal(append_range(&b, 2, seq, seq + 1), ERR_OK);
        assert_true(seq < 100000);
    }
    expect_bounds(&b, 1, N - 1, N);
    bench_fini(&b);
}

/* In a child, whose limit of file size stands for a full disk: real writes fail, with EFBIG for ENOSPC. */
static int live_through_a_full_disk(struct bench *b)
{
    static char blob[4000];
    struct rlimit tight = {2 << 20, RLIM_INFINITY}, wide = {RLIM_INFINITY, RLIM_INFINITY};
    signal(SIGXFSZ, SIG_IGN);
    bench_open(b);
    setrlimit(RLIMIT_FSIZE, &tight);
    uint64_t seq = 0, accepted = 0;
    for (int refused = 0; refused < 20; seq++) {
        struct store_txn *t = store_txn_new();
        struct outcome o = {0};
        if (!t || store_txn_append(t, 1, accepted, 0, (struct str){blob, sizeof blob}, NULL) || seq > 100000)
            return 1;
        store_submit(b->store, t, on_done, &o);
        bench_wait(b, &o.done, 1);
        if (o.code == ERR_OK)
            accepted++;
        else if (o.code != ERR_RESOURCE_EXHAUSTED || !strstr(o.msg, "full: free some space") || !b->store->ops->stats(b->store).full)
            return 2;
        else
            refused++;
    }
    uint64_t first, next;
    if (accepted < 100 || b->store->ops->topic_bounds(b->store, 1, &first, &next, NULL) || first != 0 || next != accepted)
        return 3;
    setrlimit(RLIMIT_FSIZE, &wide);
    for (int i = 0; i < 10; i++, accepted++) {
        struct store_txn *t = store_txn_new();
        if (store_txn_append(t, 1, accepted, 0, (struct str){blob, sizeof blob}, NULL) || bench_submit(b, t) != ERR_OK)
            return 4;
    }
    if (b->store->ops->stats(b->store).full)
        return 5;
    b->store->ops->close(b->store);
    bench_open(b);
    if (b->store->ops->topic_bounds(b->store, 1, &first, &next, NULL) || next != accepted)
        return 6;
    b->store->ops->close(b->store);
    return 0;
}

static void a_full_disk_refuses_and_loses_nothing(void **state)
{
    struct bench b;
    bench_init(&b, false);
    b.store->ops->close(b.store);
    pid_t pid = fork();
    if (pid == 0)
        _exit(live_through_a_full_disk(&b));
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    bench_open(&b);
    uint64_t first, next;
    assert_int_equal(b.store->ops->topic_bounds(b.store, 1, &first, &next, NULL), 0);
    assert_true(first == 0 && next > 100);
    bench_fini(&b);
}

/* ---- what only memory can show ---- */

static void memory_waits_for_its_step_fails_on_demand_and_forgets_in_a_crash(void **state)
{
    struct bench b;
    bench_init(&b, true);
    struct outcome o[4] = {{0}};
    for (uint64_t i = 0; i < 4; i++) {
        struct store_txn *t = store_txn_new();
        assert_int_equal(store_txn_append(t, 1, i, 0, STR("x"), NULL), 0);
        assert_int_equal(store_txn_put(t, "k", (const char *const[]){"a", "b", "c", "d"}[i], STR("1"), NULL), 0);
        assert_int_equal(store_txn_trim(t, 9, 5, NULL), 0);
        store_submit(b.store, t, on_done, &o[i]);
    }
    assert_int_equal(store_memory_queued(b.store), 4);
    assert_int_equal(store_memory_step(b.store, 2, ERR_OK), 2);
    assert_int_equal(o[1].done + o[2].done, 1);
    assert_int_equal(store_memory_step(b.store, 1, ERR_UNAVAILABLE), 1);
    assert_int_equal(o[2].code, ERR_UNAVAILABLE);
    store_memory_crash(b.store);
    assert_int_equal(o[3].done, 0);
    assert_int_equal(store_memory_queued(b.store), 0);
    assert_int_equal(store_memory_step(b.store, 10, ERR_OK), 0);
    expect_resources(&b, "k", "a=1,b=1,");
    expect_bounds(&b, 1, 0, 2);
    bench_fini(&b);
}

/* One transaction of every operation; `n` says which allocation fails. */
static bool all_or_nothing(bool memory, size_t nth)
{
    struct bench b;
    bench_init(&b, memory);
    assert_int_equal(append_range(&b, 1, 0, 3), ERR_OK);
    uint8_t bits[ACK_CHUNK_BYTES] = {0};
    support_fail_alloc(nth);
    struct store_txn *t = store_txn_new();
    bool built = t && !store_txn_append(t, 1, 3, 30, STR("abc"), NULL) && !store_txn_put(t, "k", "n", STR("v"), NULL) &&
                 !store_txn_meta(t, "m", 5, NULL) && !store_txn_chunk(t, 4, 2, bits, NULL) && !store_txn_append(t, 2, 0, 0, STR(""), NULL) &&
                 !store_txn_delete(t, "k", "other", NULL) && !store_txn_trim(t, 1, 1, NULL) && !store_txn_floor(t, 4, 9, NULL);
    enum err_code code = built ? bench_submit(&b, t) : ERR_RESOURCE_EXHAUSTED;
    if (!built)
        store_txn_free(t);
    bool failed = support_alloc_failed();
    assert_true(code == ERR_OK || (failed && code == ERR_RESOURCE_EXHAUSTED));
    expect_resources(&b, "k", code == ERR_OK ? "n=v," : "");
    expect_bounds(&b, 1, code == ERR_OK ? 1 : 0, code == ERR_OK ? 4 : 3);
    expect_bounds(&b, 2, 0, code == ERR_OK ? 1 : 0);
    assert_int_equal(meta(&b, "m"), code == ERR_OK ? 5 : 0);
    assert_int_equal(load_acks(&b, 4, code == ERR_OK ? 9 : 0).n, code == ERR_OK ? 1 : 0);
    bench_fini(&b);
    return failed;
}

static void out_of_memory_changes_nothing(void **state)
{
    for (int memory = 0; memory < 2; memory++)
        for (size_t nth = 1; all_or_nothing(memory, nth); nth++)
            assert_true(nth < 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_stores_keep_the_same_promises),
        cmocka_unit_test(the_directory_is_made_for_the_owner_only),
        cmocka_unit_test(a_second_server_on_the_directory_is_refused_by_name),
        cmocka_unit_test(a_killed_server_leaves_no_lock_behind),
        cmocka_unit_test(files_that_are_not_ours_are_refused_and_left_alone),
        cmocka_unit_test(a_directory_that_cannot_be_is_named),
        cmocka_unit_test(one_wake_up_brings_a_whole_group),
        cmocka_unit_test(dropping_many_messages_stalls_nobody_and_frees_the_file),
        cmocka_unit_test(a_full_disk_refuses_and_loses_nothing),
        cmocka_unit_test(memory_waits_for_its_step_fails_on_demand_and_forgets_in_a_crash),
        cmocka_unit_test(out_of_memory_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

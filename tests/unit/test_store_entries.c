/** test_store_entries.c: entries: one table of promises, held by the SQLite store and the one in memory. */
#include "tests/unit/store_bench.h"

#define L 7 /* the list of most cases; its neighbours must never show */

/* ---- what is asked of a store here ---- */

static struct store_entry entry(const char *key, uint32_t lane, int64_t due, const char *body)
{
    return (struct store_entry){key, lane, due, str_of(body)};
}

static void add(struct store_txn *t, uint64_t list, const char *key, uint32_t lane, int64_t due, const char *body)
{
    struct store_entry x = entry(key, lane, due, body);
    assert_int_equal(store_txn_entry_add(t, list, &x, NULL), 0);
}

static void put(struct store_txn *t, uint64_t list, const char *key, uint32_t lane, int64_t due, const char *body)
{
    struct store_entry x = entry(key, lane, due, body);
    assert_int_equal(store_txn_entry_put(t, list, &x, NULL), 0);
}

static void del(struct store_txn *t, uint64_t list, const char *key) { assert_int_equal(store_txn_entry_delete(t, list, key, NULL), 0); }
static void drop(struct store_txn *t, uint64_t list) { assert_int_equal(store_txn_entries_drop(t, list, NULL), 0); }

/* What comes back, as "key@lane.due=body," */
struct answer {
    struct store_entries r;
    int done;
    size_t n;
    enum err_code code;
    char last_key[STORE_ENTRY_KEY_MAX + 1];
    int64_t last_due;
    struct buf text;
};

static void on_entries(struct store_entries *r, const struct err *e)
{
    struct answer *a = CONTAINER_OF(r, struct answer, r);
    a->done++;
    a->n = r->n;
    a->code = e ? e->code : ERR_OK;
    for (size_t i = 0; i < r->n; i++) {
        const struct store_entry *x = &r->rows[i];
        snprintf(a->last_key, sizeof a->last_key, "%s", x->key);
        a->last_due = x->due_wall_ns;
        assert_int_equal(buf_addf(&a->text, "%s@%u.%lld=%.*s,", x->key, x->lane, (long long)x->due_wall_ns,
                                  (int)(x->body.n < 12 ? x->body.n : 12), x->body.p),
                         0);
    }
}

/* Send it off; `ask` waits for it. */
static void begin_ask(struct bench *b, struct answer *a, struct store_entries r)
{
    *a = (struct answer){.r = r};
    a->r.done = on_entries;
    buf_init(&a->text, 1 << 24);
    b->store->ops->entries(b->store, &a->r);
    assert_int_equal(a->done, 0);
}

static void expect(struct bench *b, const char *what, struct store_entries r, const char *want)
{
    struct answer a;
    begin_ask(b, &a, r);
    bench_wait(b, &a.done, 1);
    assert_int_equal(a.code, ERR_OK);
    if (strcmp(buf_cstr(&a.text), want) != 0)
        fail_msg("%s, %s: found \"%s\", wanted \"%s\"", b->kind, what, buf_cstr(&a.text), want);
    buf_fini(&a.text);
}

static struct store_entries by_key(uint64_t list, const char *key)
{
    return (struct store_entries){.by = STORE_BY_KEY, .list_id = list, .key = key, .max_count = 10, .max_bytes = 1 << 20};
}

static struct store_entries by_due(uint64_t list, uint32_t lane, int64_t due, const char *key)
{
    return (struct store_entries){
        .by = STORE_BY_DUE, .list_id = list, .lane_min = lane, .due_wall_ns = due, .key = key, .max_count = 1000, .max_bytes = 1 << 20};
}

static struct store_entries keys(uint64_t list, uint32_t lane_min, uint32_t lane_max, const char *after)
{
    return (struct store_entries){.by = STORE_KEYS,
                                  .list_id = list,
                                  .lane_min = lane_min,
                                  .lane_max = lane_max,
                                  .key = after,
                                  .max_count = 1000,
                                  .max_bytes = 1 << 20};
}

static void expect_all(struct bench *b, uint64_t list, const char *want) { expect(b, "all", keys(list, 0, STORE_LANE_MAX, ""), want); }

static int collect_lanes(void *arg, uint32_t lane, uint64_t count, struct err *e) { return buf_addf(arg, "%u:%" PRIu64 ",", lane, count); }

static void expect_lanes(struct bench *b, uint64_t list, const char *want)
{
    struct buf out;
    buf_init(&out, 1 << 16);
    assert_int_equal(b->store->ops->load_lanes(b->store, list, collect_lanes, &out, NULL), 0);
    assert_string_equal(buf_cstr(&out), want);
    buf_fini(&out);
}

/* ---- promises ---- */

static void entries_are_added_replaced_and_deleted(struct bench *b)
{
    struct store_txn *t = store_txn_new();
    char key[] = "b", body[] = "one";
    add(t, L, key, 0, 20, body);
    key[0] = body[0] = 'X'; /* copies were taken */
    add(t, L, "a", 0, 30, "two");
    add(t, L, "c", 3, 10, "");
    add(t, L - 1, "b", 0, 1, "neighbour"); /* the same key in another list */
    add(t, L + 1, "b", 0, 1, "neighbour");
    assert_int_equal(bench_submit(b, t), ERR_OK);
    expect_all(b, L, "a@0.30=two,b@0.20=one,c@3.10=,");
    expect(b, "one", by_key(L, "c"), "c@3.10=,");
    expect(b, "one that is not there", by_key(L, "bb"), "");
    t = store_txn_new();
    put(t, L, "b", 255, -5, "replaced"); /* another lane, a time before 1970 */
    put(t, L, "d", 1, INT64_MAX, "new");
    del(t, L, "a");
    del(t, L, "never was");
    del(t, 99, "a");
    assert_int_equal(bench_submit(b, t), ERR_OK);
    bench_restart(b);
    expect_all(b, L, "b@255.-5=replaced,c@3.10=,d@1.9223372036854775807=new,");
    expect(b, "the replaced", by_key(L, "b"), "b@255.-5=replaced,");
    expect(b, "the deleted", by_key(L, "a"), "");
    expect(b, "its old place in the order of time", by_due(L, 0, INT64_MIN, ""), "");
    expect(b, "its new place", by_due(L, 255, INT64_MIN, ""), "b@255.-5=replaced,");
    expect_lanes(b, L, "1:1,3:1,255:1,");
    expect_lanes(b, 99, "");
    expect_all(b, L - 1, "b@0.1=neighbour,");
    expect_all(b, L + 1, "b@0.1=neighbour,");
}

static void operations_of_one_transaction_are_done_in_their_order(struct bench *b)
{
    struct store_txn *t = store_txn_new();
    add(t, L, "a", 0, 1, "1");
    del(t, L, "a");
    add(t, L, "a", 1, 2, "2"); /* free again */
    put(t, L, "a", 2, 3, "3");
    add(t, L, "b", 0, 1, "1");
    del(t, L, "b");
    add(t, 8, "x", 0, 1, "1");
    drop(t, 8);
    assert_int_equal(bench_submit(b, t), ERR_OK);
    expect_all(b, L, "a@2.3=3,");
    expect_all(b, 8, "");
    expect_lanes(b, L, "2:1,");
}

static void a_taken_key_fails_its_own_transaction_only(struct bench *b)
{
    struct store_txn *t = store_txn_new();
    add(t, L, "taken", 9, 5, "first");
    assert_int_equal(bench_submit(b, t), ERR_OK);
    bench_restart(b);
    struct outcome o[5] = {{0}};
    for (size_t i = 0; i < ARRAY_LEN(o); i++) {
        static const char *const names[] = {"k0", "k1", "k2", "k3", "k4"};
        t = store_txn_new();
        add(t, L, names[i], 0, (int64_t)i, "x");
        put(t, L, "shared", 0, (int64_t)i, names[i]);
        if (i == 1)
            add(t, L, "taken", 0, 1, "second"); /* since the restart, in another lane */
        if (i == 2)
            add(t, L, "k0", 0, 1, "second"); /* in the same group */
        if (i == 3)
            add(t, L, "k3", 0, 1, "second"); /* by itself */
        store_submit(b->store, t, on_done, &o[i]);
    }
    bench_wait(b, &o[4].done, 1);
    for (size_t i = 0; i < ARRAY_LEN(o); i++)
        assert_int_equal(o[i].code, i >= 1 && i <= 3 ? ERR_ALREADY_EXISTS : ERR_OK);
    expect_all(b, L, "k0@0.0=x,k4@0.4=x,shared@0.4=k4,taken@9.5=first,");
    expect_lanes(b, L, "0:3,9:1,");
}

static void a_refused_transaction_leaves_lists_as_they_were(struct bench *b)
{
    struct store_txn *t = store_txn_new();
    add(t, L, "a", 1, 5, "first");
    add(t, L, "b", 1, 6, "second");
    assert_int_equal(bench_submit(b, t), ERR_OK);
    t = store_txn_new();
    put(t, L, "a", 2, 1, "changed");
    del(t, L, "b");
    add(t, L, "c", 0, 1, "new");
    put(t, L, "a", 3, 1, "changed again");
    del(t, L, "a");
    drop(t, L);
    add(t, 8, "x", 0, 1, "1");
    add(t, 8, "x", 0, 1, "1"); /* refused here */
    assert_int_equal(bench_submit(b, t), ERR_ALREADY_EXISTS);
    expect_all(b, L, "a@1.5=first,b@1.6=second,");
    expect(b, "in order of time", by_due(L, 1, INT64_MIN, ""), "a@1.5=first,b@1.6=second,");
    expect_all(b, 8, "");
    t = store_txn_new();
    add(t, L, "c", 0, 1, "new"); /* it was not dropped */
    assert_int_equal(bench_submit(b, t), ERR_OK);
    bench_restart(b);
    expect_all(b, L, "a@1.5=first,b@1.6=second,c@0.1=new,");
}

static void fill(struct bench *b)
{
    static const struct {
        const char *key;
        uint32_t lane;
        int64_t due;
    } rows[] = {{"m", 0, 10}, {"c", 0, 20},  {"a", 0, 20}, {"b", 0, 20}, {"z", 0, -1},
                {"k", 1, 15}, {"aa", 1, 15}, {"q", 2, 0},  {"B", 5, 3}};
    struct store_txn *t = store_txn_new();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        add(t, L, rows[i].key, rows[i].lane, rows[i].due, "0123456789");
    add(t, L - 1, "b", 0, 20, "neighbour");
    add(t, L + 1, "b", 0, 20, "neighbour");
    assert_int_equal(bench_submit(b, t), ERR_OK);
}

#define V "=0123456789,"

static void a_lane_comes_in_the_order_of_time_then_key(struct bench *b)
{
    fill(b);
    const struct {
        const char *name;
        struct store_entries r;
        const char *want;
    } rows[] = {
        {"all of a lane", by_due(L, 0, INT64_MIN, ""), "z@0.-1" V "m@0.10" V "a@0.20" V "b@0.20" V "c@0.20" V},
        {"another", by_due(L, 1, INT64_MIN, ""), "aa@1.15" V "k@1.15" V},
        {"an empty one between", by_due(L, 3, INT64_MIN, ""), ""},
        {"the last", by_due(L, 5, INT64_MIN, ""), "B@5.3" V},
        {"after one", by_due(L, 0, 10, "m"), "a@0.20" V "b@0.20" V "c@0.20" V},
        {"after one of the same time", by_due(L, 0, 20, "a"), "b@0.20" V "c@0.20" V},
        {"after one that is gone", by_due(L, 0, 20, "aaa"), "b@0.20" V "c@0.20" V},
        {"between two times", by_due(L, 0, 15, "zzz"), "a@0.20" V "b@0.20" V "c@0.20" V},
        {"after the last", by_due(L, 0, 20, "c"), ""},
        {"at the end of time", by_due(L, 0, INT64_MAX, ""), ""},
    };
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < ARRAY_LEN(rows); i++)
            expect(b, rows[i].name, rows[i].r, rows[i].want);
        bench_restart(b);
    }
}

static void keys_come_in_their_order_over_lanes(struct bench *b)
{
    fill(b);
    const struct {
        const char *name;
        struct store_entries r;
        const char *want;
    } rows[] = {
        {"all lanes", keys(L, 0, 255, ""),
         "B@5.3" V "a@0.20" V "aa@1.15" V "b@0.20" V "c@0.20" V "k@1.15" V "m@0.10" V "q@2.0" V "z@0.-1" V},
        {"two lanes", keys(L, 0, 1, ""), "a@0.20" V "aa@1.15" V "b@0.20" V "c@0.20" V "k@1.15" V "m@0.10" V "z@0.-1" V},
        {"lanes with holes", keys(L, 1, 4, ""), "aa@1.15" V "k@1.15" V "q@2.0" V},
        {"lanes without entries", keys(L, 3, 4, ""), ""},
        {"no lane", keys(L, 2, 1, ""), ""},
        {"after one", keys(L, 0, 1, "b"), "c@0.20" V "k@1.15" V "m@0.10" V "z@0.-1" V},
        {"after one of another lane", keys(L, 0, 1, "q"), "z@0.-1" V},
        {"after one that is not there", keys(L, 0, 255, "ab"), "b@0.20" V "c@0.20" V "k@1.15" V "m@0.10" V "q@2.0" V "z@0.-1" V},
        {"after the last", keys(L, 0, 255, "z"), ""},
    };
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < ARRAY_LEN(rows); i++)
            expect(b, rows[i].name, rows[i].r, rows[i].want);
        bench_restart(b);
    }
}

static void an_answer_is_bounded_by_count_and_bytes(struct bench *b)
{
    static const struct {
        const char *name;
        size_t count, bytes, want;
    } rows[] = {
        {"by count", 3, 1 << 20, 3},
        {"by bytes: key and body are 11 each", 100, 35, 3},
        {"exactly", 100, 33, 3},
        {"one comes though it is too large", 100, 1, 1},
        {"one comes though none is asked for", 0, 0, 1},
        {"all", SIZE_MAX, SIZE_MAX, 5},
    };
    fill(b);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        for (int by = STORE_BY_DUE; by <= STORE_KEYS; by++) {
            struct answer a;
            struct store_entries r = by == STORE_KEYS ? keys(L, 0, 0, "") : by_due(L, 0, INT64_MIN, "");
            r.max_count = rows[i].count;
            r.max_bytes = rows[i].bytes;
            begin_ask(b, &a, r);
            bench_wait(b, &a.done, 1);
            CASE_INT(rows[i].name, a.n, rows[i].want);
            buf_fini(&a.text);
        }
}

/* More of them than a page of the file or of an answer holds, some over several pages; two lanes and pages that end anywhere. */
static void pages_together_are_the_whole(struct bench *b)
{
    enum { N = 1500 };
    static char body[9000];
    memset(body, 'x', sizeof body);
    struct store_txn *t = store_txn_new();
    for (int i = 0; i < N; i++) {
        char key[STORE_ENTRY_KEY_MAX + 1];
        snprintf(key, sizeof key, "%04d-%0*d", i * 7 % N, i % 50 ? 1 : 500, 0);
        struct store_entry x = {key, (uint32_t)i % 3, (int64_t)(i % 10), {body, i % 40 ? (size_t)i % 100 : sizeof body}};
        assert_int_equal(store_txn_entry_add(t, L, &x, NULL), 0);
    }
    assert_int_equal(bench_submit(b, t), ERR_OK);
    bench_restart(b);
    expect_lanes(b, L, "0:500,1:500,2:500,");
    for (int by = STORE_BY_DUE; by <= STORE_KEYS; by++) {
        struct buf all;
        char after[STORE_ENTRY_KEY_MAX + 1] = "";
        int64_t due = INT64_MIN;
        size_t n = 0, pages = 0;
        for (struct answer a = {.n = 1}; a.n; n += a.n, pages++) {
            struct store_entries r = by == STORE_KEYS ? keys(L, 0, 1, after) : by_due(L, 1, due, after);
            r.max_count = 64;
            r.max_bytes = 10000;
            begin_ask(b, &a, r);
            bench_wait(b, &a.done, 1);
            if (by == STORE_BY_DUE)
                assert_true(!a.n || a.last_due > due || (a.last_due == due && strcmp(a.last_key, after) > 0));
            else
                assert_true(!a.n || strcmp(a.last_key, after) > 0);
            memcpy(after, a.last_key, sizeof after);
            due = a.last_due;
            all = a.text;
            buf_fini(&all);
        }
        assert_int_equal(n, by == STORE_KEYS ? 1000 : 500);
        assert_true(pages > 10);
    }
}

static void a_read_sees_what_was_submitted_before_it(struct bench *b)
{
    enum { N = 200 };
    static struct outcome o[N];
    static struct answer a[N];
    memset(o, 0, sizeof o);
    for (int i = 0; i < N; i++) {
        struct store_txn *t = store_txn_new();
        put(t, L, "counter", 0, i, "x");
        store_submit(b->store, t, on_done, &o[i]);
        begin_ask(b, &a[i], by_key(L, "counter"));
    }
    for (int i = 0; i < N; i++) {
        bench_wait(b, &a[i].done, 1);
        assert_int_equal(a[i].n, 1);
        assert_true(a[i].last_due >= i);
        assert_int_equal(o[i].code, ERR_OK);
        buf_fini(&a[i].text);
    }
}

static void large_bodies_come_back_whole(struct bench *b)
{
    enum { SIZE = 1 << 20 };
    char *big = malloc(SIZE);
    memset(big, 'b', SIZE);
    struct store_txn *t = store_txn_new();
    for (int i = 0; i < 4; i++) {
        struct store_entry x = {(const char *const[]){"a", "b", "c", "d"}[i], 0, i, {big, SIZE}};
        assert_int_equal(store_txn_entry_add(t, L, &x, NULL), 0);
    }
    assert_int_equal(bench_submit(b, t), ERR_OK);
    bench_restart(b);
    struct answer a;
    begin_ask(b, &a, by_due(L, 0, INT64_MIN, ""));
    bench_wait(b, &a.done, 1);
    assert_int_equal(a.n, 1); /* 1 MB is asked for: the second does not fit */
    buf_fini(&a.text);
    struct err e = {0};
    t = store_txn_new();
    assert_int_equal(store_txn_entry_add(t, L, &(struct store_entry){"e", 0, 0, {big, STORE_BLOB_MAX + 1}}, &e), -ERR_INVALID_ARGUMENT);
    store_txn_free(t);
    t = store_txn_new();
    put(t, L, "a", 9, 0, "small now");
    assert_int_equal(bench_submit(b, t), ERR_OK);
    expect(b, "shrunk", by_key(L, "a"), "a@9.0=small now,");
    free(big);
}

static void a_dropped_list_is_empty_at_once_and_stays_so(struct bench *b)
{
    enum { N = 6000 }; /* more than go with a transaction */
    struct store_txn *t = store_txn_new();
    for (int i = 0; i < N; i++) {
        char key[16];
        snprintf(key, sizeof key, "%06d", i);
        add(t, L, key, (uint32_t)i % 2, i, "body");
    }
    add(t, L - 1, "x", 0, 1, "stays");
    add(t, L + 1, "x", 0, 1, "stays");
    assert_int_equal(bench_submit(b, t), ERR_OK);
    t = store_txn_new();
    drop(t, L);
    drop(t, 99); /* never was */
    struct outcome o = {0};
    store_submit(b->store, t, on_done, &o);
    expect_all(b, L, "");
    assert_int_equal(o.code, ERR_OK);
    bench_restart(b);
    for (int i = 0; i < 3; i++) {
        expect_lanes(b, L, "");
        expect_all(b, L, "");
        expect(b, "by time", by_due(L, 1, INT64_MIN, ""), "");
        expect(b, "by key", by_key(L, "000003"), "");
        t = store_txn_new();
        del(t, L, "000005"); /* somebody who does not know yet */
        drop(t, L);
        assert_int_equal(bench_submit(b, t), ERR_OK);
    }
    expect_all(b, L - 1, "x@0.1=stays,");
    expect_all(b, L + 1, "x@0.1=stays,");
    bench_restart(b);
    expect_all(b, L, "");
}

static uint64_t new_list(struct bench *b)
{
    struct err e;
    assert_int_equal(store_lists_load(b->store, &e), 0);
    return store_list_new(b->store);
}

/* As an engine does it: the counter and the first entry of a new list are one transaction. */
static void list_ids_come_from_a_number_that_is_as_durable(struct bench *b)
{
    for (uint64_t want = 1; want < 4; want++) {
        uint64_t id = new_list(b);
        assert_int_equal(id, want);
        struct store_txn *t = store_txn_new();
        add(t, id, "first", 0, 1, "x");
        drop(t, id - 1); /* 0 is a list like others, but is never given */
        assert_int_equal(store_txn_lists(t, b->store, NULL), 0);
        assert_int_equal(bench_submit(b, t), ERR_OK);
        bench_restart(b);
        expect_all(b, id, "first@0.1=x,");
    }
    expect_all(b, 1, "");
}

/* Jobs had their own numbers once. */
static void lists_of_an_older_server_are_not_given_again(struct bench *b)
{
    struct store_txn *t = store_txn_new();
    assert_int_equal(store_txn_meta(t, "next-list", 7, NULL), 0);
    assert_int_equal(store_txn_meta(t, "run.next-list", (UINT64_C(1) << 40) + 3, NULL), 0);
    assert_int_equal(bench_submit(b, t), ERR_OK);
    bench_restart(b);
    uint64_t id = new_list(b);
    assert_int_equal(id, (UINT64_C(1) << 40) + 3);
    assert_true(store_list_given(b->store, 6) && store_list_given(b->store, id));
    assert_false(store_list_given(b->store, 0) || store_list_given(b->store, id + 1));
    t = store_txn_new();
    assert_int_equal(store_txn_lists(t, b->store, NULL), 0);
    assert_int_equal(bench_submit(b, t), ERR_OK);
    bench_restart(b);
    assert_int_equal(new_list(b), id + 1);
}

static void the_highest_numbers_work(struct bench *b)
{
    char key[STORE_ENTRY_KEY_MAX + 1];
    memset(key, 0xfe, STORE_ENTRY_KEY_MAX); /* the store does not care what a key means */
    key[STORE_ENTRY_KEY_MAX] = '\0';
    struct store_txn *t = store_txn_new();
    add(t, INT64_MAX, key, STORE_LANE_MAX, INT64_MAX, "x");
    add(t, INT64_MAX, "a", STORE_LANE_MAX, INT64_MIN, "y");
    assert_int_equal(bench_submit(b, t), ERR_OK);
    bench_restart(b);
    struct answer a;
    begin_ask(b, &a, by_due(INT64_MAX, STORE_LANE_MAX, INT64_MIN, "a"));
    bench_wait(b, &a.done, 1);
    assert_int_equal(a.n, 1);
    assert_string_equal(a.last_key, key);
    buf_fini(&a.text);
    begin_ask(b, &a, keys(INT64_MAX, 0, STORE_LANE_MAX, "a"));
    bench_wait(b, &a.done, 1);
    assert_int_equal(a.n, 1);
    buf_fini(&a.text);
}

#define PROMISE(name) \
    {                 \
#name, name   \
    }
static const struct {
    const char *name;
    void (*run)(struct bench *b);
} promises[] = {
    PROMISE(entries_are_added_replaced_and_deleted),       PROMISE(operations_of_one_transaction_are_done_in_their_order),
    PROMISE(a_taken_key_fails_its_own_transaction_only),   PROMISE(a_refused_transaction_leaves_lists_as_they_were),
    PROMISE(a_lane_comes_in_the_order_of_time_then_key),   PROMISE(keys_come_in_their_order_over_lanes),
    PROMISE(an_answer_is_bounded_by_count_and_bytes),      PROMISE(pages_together_are_the_whole),
    PROMISE(a_read_sees_what_was_submitted_before_it),     PROMISE(large_bodies_come_back_whole),
    PROMISE(a_dropped_list_is_empty_at_once_and_stays_so), PROMISE(list_ids_come_from_a_number_that_is_as_durable),
    PROMISE(lists_of_an_older_server_are_not_given_again), PROMISE(the_highest_numbers_work),
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_stores_keep_the_same_promises),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

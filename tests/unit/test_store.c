/** test_store.c: one table of promises, held by the SQLite store and the one in memory; then what only memory can show. */
#include "tests/unit/store_bench.h"

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
        {"one comes even if it is too large", 15, 1000, 1, 1, 15},
        {"one comes even if none is asked for", 20, 0, 0, 1, 20},
        {"none after the end", 60, 10, 1000, 0, 0},
        {"none far after the end", STORE_SEQ_MAX, 10, 1000, 0, 0},
    };
    assert_int_equal(append_range(b, 3, 10, 60), ERR_OK);
    assert_int_equal(append_range(b, 4, 0, 5), ERR_OK); /* a neighbour is not read */
    assert_int_equal(append_range(b, 2, 0, 5), ERR_OK);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct rows x = bench_read(b, 3, rows[i].from, rows[i].count, rows[i].bytes);
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
    assert_int_equal(store_txn_append(t, STORE_TOPIC_ID_MAX, STORE_SEQ_MAX, (int64_t)STORE_SEQ_MAX * 10,
                                      (struct str){"0123456789abcdef", STORE_SEQ_MAX % 16}, NULL),
                     0);
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
        {"before all", INT64_MIN, 100}, {"the first", 1000, 100}, {"between two", 1001, 101}, {"exactly one", 1500, 150},
        {"the last", 1990, 199},        {"after all", 1991, 200}, {"the hole", 1600, 160},    {"the end of time", INT64_MAX, 200},
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

#define PROMISE(name) \
    {                 \
#name, name   \
    }
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

static int note_lane(void *arg, uint32_t lane, uint64_t count, struct err *e)
{
    assert_int_equal(*(int *)arg, -1);
    assert_int_equal(count, 1);
    *(int *)arg = (int)lane;
    return 0;
}

/* The lane of the list's one entry; -1: it has none. */
static int only_lane(struct bench *b, uint64_t list)
{
    int lane = -1;
    assert_int_equal(b->store->ops->load_lanes(b->store, list, note_lane, &lane, NULL), 0);
    return lane;
}

/* One transaction of every operation; `n` says which allocation fails. */
static bool all_or_nothing(bool memory, size_t nth)
{
    struct bench b;
    bench_init(&b, memory);
    assert_int_equal(append_range(&b, 1, 0, 3), ERR_OK);
    uint8_t bits[ACK_CHUNK_BYTES] = {0};
    struct store_txn *before = store_txn_new();
    assert_int_equal(store_txn_entry_add(before, 5, &(struct store_entry){"old", 0, 5, STR("")}, NULL), 0);
    assert_int_equal(store_txn_entry_add(before, 4, &(struct store_entry){"a", 9, 5, STR("")}, NULL), 0);
    assert_int_equal(bench_submit(&b, before), ERR_OK);
    support_fail_alloc(nth);
    struct store_txn *t = store_txn_new();
    bool built = t && !store_txn_append(t, 1, 3, 30, STR("abc"), NULL) && !store_txn_put(t, "k", "n", STR("v"), NULL) &&
                 !store_txn_meta(t, "m", 5, NULL) && !store_txn_chunk(t, 4, 2, bits, NULL) &&
                 !store_txn_append(t, 2, 0, 0, STR(""), NULL) && !store_txn_delete(t, "k", "other", NULL) &&
                 !store_txn_trim(t, 1, 1, NULL) && !store_txn_floor(t, 4, 9, NULL) &&
                 !store_txn_entry_add(t, 6, &(struct store_entry){"new", 1, 5, STR("x")}, NULL) &&
                 !store_txn_entry_put(t, 5, &(struct store_entry){"old", 2, 5, STR("x")}, NULL) &&
                 !store_txn_entry_put(t, 5, &(struct store_entry){"other", 3, 5, STR("x")}, NULL) &&
                 !store_txn_entry_delete(t, 5, "other", NULL) && !store_txn_entries_drop(t, 4, NULL);
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
    assert_int_equal(only_lane(&b, 6), code == ERR_OK ? 1 : -1);
    assert_int_equal(only_lane(&b, 5), code == ERR_OK ? 2 : 0);
    assert_int_equal(only_lane(&b, 4), code == ERR_OK ? -1 : 9);
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
        cmocka_unit_test(memory_waits_for_its_step_fails_on_demand_and_forgets_in_a_crash),
        cmocka_unit_test(out_of_memory_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/** test_torture_store.c: the SQLite store while its memory, its writes and its syncs fail, one after the other.
 *  A list of transactions is given to it, with one fault somewhere. Whatever it answers must be true at once, after a restart, after
 *  a kill -9 and after a power cut: what was accepted is there, what was refused is not, nothing is half there. The store in memory,
 *  given the accepted transactions alone, says how that looks. One promise is weaker (core/store/README.md, Failed sync): a refused
 *  transaction whose sync failed may be found after the machine died in that moment, whole. */
#include "tests/unit/store_bench.h"
#include "tests/unit/store_schema_1.h"

#include "tests/support/support_fault.h"
#include "tests/support/support_sqlite.h"

#include <dirent.h>
#include <sys/stat.h>

#define TXNS 9
#define LARGE_BYTES (1100 * 1024) /* of the 5th: the log gets long enough to be moved into the file */
#define TEXT_MAX (1u << 20)

static char large[LARGE_BYTES];

/* Entries that come, move and go; list 9 is filled by the first two and dropped by the third. */
static bool entries_of(struct store_txn *t, int k, const char *body)
{
    char key[16], gone[16];
    snprintf(key, sizeof key, "e%d", k);
    snprintf(gone, sizeof gone, "e%d", k - 2);
    struct store_entry x = {key, (uint32_t)k % 3, k, str_of(body)}, shared = {"shared", (uint32_t)k, -k, str_of(body)};
    if (store_txn_entry_add(t, 8, &x, NULL) || store_txn_entry_put(t, 8, &shared, NULL))
        return false;
    if (k < 2)
        return store_txn_entry_add(t, 9, &x, NULL) == 0;
    return !(k % 3 == 2 && store_txn_entry_delete(t, 8, gone, NULL)) && !(k == 2 && store_txn_entries_drop(t, 9, NULL));
}

/* The `k`-th: touches every kind of record, so that a half of it would show. NULL: no memory. */
static struct store_txn *make_txn(int k)
{
    static char bodies[TXNS][32]; /* messages are borrowed until they are stored */
    char name[32], *body = bodies[k];
    uint8_t bits[ACK_CHUNK_BYTES] = {[0] = (uint8_t)k};
    struct store_txn *t = store_txn_new();
    snprintf(body, sizeof bodies[0], "body %d", k);
    snprintf(name, sizeof name, "r%d", k % 4);
    uint64_t seq = (uint64_t)k * 10;
    bool ok = t && !store_txn_put(t, "kind", name, str_of(body), NULL) && !store_txn_meta(t, "latest", (uint64_t)k, NULL);
    for (uint64_t i = 0; ok && i < 3; i++)
        ok = !store_txn_append(t, 1, seq + i, (int64_t)(seq + i) * 10, str_of(body), NULL);
    ok = ok && !store_txn_chunk(t, 5, 1, bits, NULL) && !store_txn_floor(t, 5, seq, NULL);
    if (ok && k == 4)
        ok = !store_txn_append(t, 2, 1, 0, (struct str){large, sizeof large}, NULL);
    if (ok && k % 3 == 2)
        ok = !store_txn_trim(t, 1, seq - 10, NULL) && !store_txn_delete(t, "kind", "r0", NULL);
    ok = ok && entries_of(t, k, body);
    if (ok && k == 7)
        ok = !store_txn_drop_acks(t, 5, NULL) && !store_txn_trim(t, 2, 2, NULL);
    if (ok)
        return t;
    store_txn_free(t);
    return NULL;
}

/* ---- what a store holds, as text ---- */

struct row_dump {
    struct store_read read;
    int done;
    struct buf *out;
};

static void on_row_dump(struct store_read *r, const struct err *e)
{
    struct row_dump *d = CONTAINER_OF(r, struct row_dump, read);
    assert_null(e);
    for (size_t i = 0; i < r->n; i++)
        assert_int_equal(buf_addf(d->out, "%" PRIu64 ":%zu:%.*s,", r->rows[i].seq, r->rows[i].blob.n,
                                  (int)(r->rows[i].blob.n < 8 ? r->rows[i].blob.n : 8), r->rows[i].blob.p),
                         0);
    d->done++;
}

struct entry_dump {
    struct store_entries ask;
    int done;
    struct buf *out;
};

static void on_entry_dump(struct store_entries *r, const struct err *e)
{
    struct entry_dump *d = CONTAINER_OF(r, struct entry_dump, ask);
    assert_null(e);
    for (size_t i = 0; i < r->n; i++)
        assert_int_equal(buf_addf(d->out, "%s@%u.%d:%.*s,", r->rows[i].key, r->rows[i].lane, (int)r->rows[i].due_wall_ns,
                                  (int)r->rows[i].body.n, r->rows[i].body.p),
                         0);
    d->done++;
}

static int on_lane_dump(void *arg, uint32_t lane, uint64_t count, struct err *e) { return buf_addf(arg, "%u*%" PRIu64 ",", lane, count); }

/* By key, and lane by lane in the order of time: all trees say the same. */
static void dump_list(struct bench *b, uint64_t list, struct buf *out)
{
    struct entry_dump d = {.ask = {.by = STORE_KEYS, .list_id = list, .lane_max = STORE_LANE_MAX, .key = ""}, .out = out};
    assert_int_equal(buf_addf(out, " list %" PRIu64 ": ", list), 0);
    assert_int_equal(b->store->ops->load_lanes(b->store, list, on_lane_dump, out, NULL), 0);
    d.ask.max_count = d.ask.max_bytes = 10000;
    d.ask.done = on_entry_dump;
    b->store->ops->entries(b->store, &d.ask);
    bench_wait(b, &d.done, 1);
    for (uint32_t lane = 0; lane < 3; lane++) {
        d.done = 0;
        d.ask = (struct store_entries){.by = STORE_BY_DUE,
                                       .list_id = list,
                                       .lane_min = lane,
                                       .key = "",
                                       .due_wall_ns = INT64_MIN,
                                       .max_count = 1000,
                                       .max_bytes = 10000,
                                       .done = on_entry_dump};
        assert_int_equal(buf_addf(out, " / "), 0);
        b->store->ops->entries(b->store, &d.ask);
        bench_wait(b, &d.done, 1);
    }
}

static char *dump(struct bench *b)
{
    struct buf out;
    uint64_t latest, floor, first, next;
    struct acks acks = {0};
    const struct store_ops *ops = b->store->ops;
    buf_init(&out, TEXT_MAX);
    assert_int_equal(ops->load_meta(b->store, "latest", &latest, NULL), 0);
    assert_int_equal(ops->load_resources(b->store, "kind", collect, &out, NULL), 0);
    assert_int_equal(ops->load_acks(b->store, 5, &floor, collect_acks, &acks, NULL), 0);
    assert_int_equal(buf_addf(&out, " latest %" PRIu64 " floor %" PRIu64 " chunks %zu", latest, floor, acks.n), 0);
    for (uint64_t topic = 1; topic <= 2; topic++) {
        struct row_dump d = {.read = {.topic_id = topic, .max_count = 1000, .max_bytes = SIZE_MAX, .done = on_row_dump}, .out = &out};
        assert_int_equal(ops->topic_bounds(b->store, topic, &first, &next, NULL), 0);
        assert_int_equal(buf_addf(&out, " topic %" PRIu64 ": %" PRIu64 "..%" PRIu64 " ", topic, first, next), 0);
        ops->read(b->store, &d.read);
        bench_wait(b, &d.done, 1);
    }
    dump_list(b, 8, &out);
    dump_list(b, 9, &out);
    char *text = strdup(buf_cstr(&out));
    buf_fini(&out);
    return text;
}

/* What is there when of `TXNS` exactly these were accepted. Remembered: few combinations come. */
static const char *reference(uint32_t accepted)
{
    static char *known[1 << TXNS];
    if (known[accepted])
        return known[accepted];
    struct bench b;
    bench_init(&b, true);
    for (int k = 0; k < TXNS; k++)
        if (accepted & (1u << k))
            assert_int_equal(bench_submit(&b, make_txn(k)), ERR_OK);
    known[accepted] = dump(&b);
    bench_fini(&b);
    return known[accepted];
}

static void references_differ(void)
{
    for (uint32_t i = 0; i < 1 << TXNS; i++)
        if (i) /* the comparison means something */
            assert_string_not_equal(reference(i), reference(0));
}

/* ---- one run ---- */

struct run {
    struct bench b;
    uint32_t accepted;
    const char *what;
    size_t nth;
    bool once;
};

static void holds(struct run *r, struct bench *b, uint32_t accepted, uint32_t or_accepted, const char *when)
{
    char *text = dump(b);
    if (strcmp(text, reference(accepted)) != 0 && strcmp(text, reference(or_accepted)) != 0)
        fail_msg("%s %zu %s, %s:\n  found  %.700s\n  wanted %.700s", r->what, r->nth, r->once ? "once" : "for ever", when, text,
                 reference(accepted));
    free(text);
}

/* What another server would find in the files as they are now. */
static void opens_after(struct run *r, enum power_cut how, uint32_t accepted, uint32_t or_accepted)
{
    static const char *const names[CUT_N] = {"after a kill -9", "after a power cut", "after a power cut that kept some"};
    struct bench other = {.kind = "sqlite"};
    snprintf(other.dir, sizeof other.dir, "%.200s-cut", r->b.dir);
    assert_int_equal(mkdir(other.dir, 0700), 0);
    sqlite_power_cut(r->b.dir, other.dir, how);
    sem_init(&other.woken, 0, 0);
    other.engine = mailbox_new(SIZE_MAX, on_wake, &other.woken);
    bench_open(&other);
    holds(r, &other, accepted, or_accepted, names[how]);
    bench_fini(&other);
    sqlite_disk_forget(other.dir);
    support_remove(other.dir);
}

struct cut {
    struct run *r;
    uint32_t or_accepted;
    enum power_cut how;
};

/* Inside a load the store's thread stands still: nothing is written while the files are copied. */
static int on_standstill(void *arg, const char *name, struct str body, struct err *e)
{
    struct cut *c = arg;
    opens_after(c->r, c->how, c->r->accepted, c->r->accepted | c->or_accepted);
    return -1;
}

static void survives(struct run *r, enum power_cut how, uint32_t or_accepted)
{
    struct cut c = {r, or_accepted, how};
    assert_int_equal(r->b.store->ops->load_resources(r->b.store, "marker", on_standstill, &c, NULL), -1);
}

/* The store's thread has nothing left to do: no background work is under way that would take the fault now or another time. */
static void until_idle(void)
{
    for (char state = '?'; state != 'S';) {
        state = 'S';
        DIR *d = opendir("/proc/self/task");
        assert_non_null(d);
        for (struct dirent *ent; (ent = readdir(d));) {
            char path[300], text[64] = "";
            snprintf(path, sizeof path, "/proc/self/task/%.20s/stat", ent->d_name);
            FILE *f = fopen(path, "r");
            const char *at = f && fgets(text, sizeof text, f) ? strstr(text, "(store) ") : NULL;
            if (at && at[8] != 'S')
                state = at[8];
            if (f)
                fclose(f);
        }
        closedir(d);
    }
}

/* True: accepted. */
static bool give(struct run *r, int k)
{
    struct outcome o = {0};
    struct store_txn *t = make_txn(k);
    if (!t)
        return false;
    store_submit(r->b.store, t, on_done, &o);
    bench_wait(&r->b, &o.done, 1);
    until_idle();
    if (o.code == ERR_OK) {
        r->accepted |= 1u << k;
        return true;
    }
    bool memory = o.code == ERR_RESOURCE_EXHAUSTED && strstr(o.msg, "out of memory");
    bool full = o.code == ERR_RESOURCE_EXHAUSTED && strstr(o.msg, "is full: free some space");
    bool broken = o.code == ERR_UNAVAILABLE && strstr(o.msg, r->b.dir);
    if (!memory && !full && !broken)
        fail_msg("%s %zu: refused with %s: %s", r->what, r->nth, err_name(o.code), o.msg);
    return false;
}

static void begin(struct run *r, enum fault what, size_t nth, size_t times)
{
    *r = (struct run){.what = fault_name(what), .nth = nth, .once = times == FAULT_ONCE};
    bench_init(&r->b, false);
    struct store_txn *t = store_txn_new();
    assert_int_equal(store_txn_put(t, "marker", "m", STR("1"), NULL), 0);
    assert_int_equal(bench_submit(&r->b, t), ERR_OK);
    until_idle();
}

static void end(struct run *r)
{
    bench_fini(&r->b);
    sqlite_disk_forget(r->b.dir);
    support_remove(r->b.dir);
}

/* ---- writing ---- */

static bool write_all(const struct torture *t, enum fault what, size_t nth, size_t times)
{
    struct run r;
    bool looked = false;
    begin(&r, what, nth, times);
    fault_arm(what, nth, times);
    for (int k = 0; k < TXNS; k++) {
        bool accepted = give(&r, k);
        if (accepted || looked)
            continue;
        fault_hold();
        bool fired = fault_disarm();
        looked = true;
        assert_true(fired);
        for (enum power_cut how = 0; how < CUT_N; how++)
            survives(&r, how, what == FAULT_SYNC ? 1u << k : 0); /* the one promise that is weaker */
        fault_release();
        if (times == FAULT_FOR_EVER)
            fault_arm(what, 1, times); /* the disk stays as broken as it was */
    }
    bool failed = fault_disarm() || looked;
    holds(&r, &r.b, r.accepted, r.accepted, "at once");
    /* The fault is over: what was refused is accepted now, at the first try. */
    for (int k = 0; k < TXNS && looked; k++)
        if (!(r.accepted & (1u << k)) && (r.accepted >> k) == 0)
            assert_true(give(&r, k));
    survives(&r, CUT_KEEPS_NONE, 0);
    bench_restart(&r.b);
    holds(&r, &r.b, r.accepted, r.accepted, "after a restart");
    end(&r);
    return failed;
}

/* What the store does when nobody waits may fail unseen; what is accepted after it must be as durable as ever. */
static bool tidy_up(const struct torture *t, enum fault what, size_t nth, size_t times)
{
    struct run r;
    begin(&r, what, nth, times);
    assert_true(give(&r, 0));
    fault_arm(what, nth, times);
    bool trimmed = give(&r, 2); /* the first that leaves something to tidy up */
    bool failed = fault_disarm();
    assert_true(trimmed || failed);
    assert_true(give(&r, 3));
    survives(&r, CUT_KEEPS_NONE, 0);
    assert_true(give(&r, 4));
    survives(&r, CUT_KEEPS_NONE, 0);
    end(&r);
    return failed;
}

/* ---- opening ---- */

static bool open_again(const struct torture *t, enum fault what, size_t nth, size_t times)
{
    struct run r;
    struct err e = {0};
    begin(&r, what, nth, times);
    for (int k = 0; k < 4; k++)
        assert_true(give(&r, k));
    /* As a kill -9 leaves it: with a log that must be gone through. */
    struct bench other = {.kind = "sqlite"};
    snprintf(other.dir, sizeof other.dir, "%.200s-killed", r.b.dir);
    assert_int_equal(mkdir(other.dir, 0700), 0);
    if (!t->arg)
        sqlite_power_cut(r.b.dir, other.dir, CUT_KEEPS_ALL);
    else
        r.accepted = 0; /* a new database */
    sem_init(&other.woken, 0, 0);
    other.engine = mailbox_new(SIZE_MAX, on_wake, &other.woken);
    fault_arm(what, nth, times);
    other.store = store_sqlite_open(other.dir, other.engine, log_null(), &e);
    bool failed = fault_disarm();
    if (!other.store && (!failed || !(strstr(e.msg, other.dir) || strstr(e.msg, "out of memory") || strstr(e.msg, "start"))))
        fail_msg("%s %zu: open says %s: %s", r.what, nth, err_name(e.code), e.msg);
    if (!other.store)
        bench_open(&other);
    if (t->arg)
        assert_int_equal(meta(&other, "latest"), 0);
    else
        holds(&r, &other, r.accepted, r.accepted, "opened after that");
    struct store_txn *more = make_txn(5);
    assert_int_equal(bench_submit(&other, more), ERR_OK);
    fault_arm(what, nth, times); /* closing moves the log; nobody can be told when that fails */
    bench_fini(&other);
    failed |= fault_disarm();
    sem_init(&other.woken, 0, 0);
    other.engine = mailbox_new(SIZE_MAX, on_wake, &other.woken);
    bench_open(&other);
    r.accepted |= 1u << 5;
    holds(&r, &other, r.accepted, r.accepted, "closed while it failed");
    bench_fini(&other);
    sqlite_disk_forget(other.dir);
    support_remove(other.dir);
    end(&r);
    return failed;
}

/* An older file: whatever fails while it is brought up to date, it is whole afterwards, of one schema or the other. */
static bool upgrade(const struct torture *t, enum fault what, size_t nth, size_t times)
{
    struct bench b = {.kind = "sqlite"};
    struct err e = {0};
    static const char *base;
    base = base ? base : support_tmpdir();
    snprintf(b.dir, sizeof b.dir, "%.200s/old", base);
    assert_int_equal(mkdir(b.dir, 0700), 0);
    bench_copy_schema_1(b.dir);
    sem_init(&b.woken, 0, 0);
    b.engine = mailbox_new(SIZE_MAX, on_wake, &b.woken);
    fault_arm(what, nth, times);
    b.store = store_sqlite_open(b.dir, b.engine, log_null(), &e);
    bool failed = fault_disarm();
    if (!b.store && (!failed || !(strstr(e.msg, b.dir) || strstr(e.msg, "out of memory") || strstr(e.msg, "start"))))
        fail_msg("%s %zu: open says %s: %s", fault_name(what), nth, err_name(e.code), e.msg);
    if (!b.store)
        bench_open(&b);
    expect_schema_1(&b);
    struct store_txn *more = make_txn(5);
    assert_int_equal(bench_submit(&b, more), ERR_OK);
    bench_restart(&b);
    expect_bounds(&b, 3, 10, 60);
    struct buf out;
    buf_init(&out, TEXT_MAX);
    dump_list(&b, 8, &out);
    assert_string_equal(buf_cstr(&out), " list 8: 2*1,5*1,e5@2.5:body 5,shared@5.-5:body 5, /  /  / e5@2.5:body 5,");
    buf_fini(&out);
    bench_fini(&b);
    sqlite_disk_forget(b.dir);
    support_remove(b.dir);
    return failed;
}

/* ---- reading ---- */

static void on_read_dump(struct store_read *r, const struct err *e)
{
    struct outcome *o = r->arg;
    on_done(o, e);
    o->order = (int)r->n;
}

static void on_entries_dump(struct store_entries *r, const struct err *e)
{
    struct outcome *o = r->arg;
    on_done(o, e);
    o->order = (int)r->n;
}

static int add_lane(void *arg, uint32_t lane, uint64_t count, struct err *e)
{
    *(uint64_t *)arg += count;
    return 0;
}

static int count_one(void *arg, const char *name, struct str body, struct err *e)
{
    ++*(int *)arg;
    return 0;
}

static bool read_all(const struct torture *t, enum fault what, size_t nth, size_t times)
{
    struct run r;
    struct err e = {0};
    begin(&r, what, nth, times);
    for (int k = 0; k < 4; k++)
        assert_true(give(&r, k));
    struct outcome rows = {0};
    struct store_read read = {.topic_id = 1, .max_count = 100, .max_bytes = 1000, .done = on_read_dump, .arg = &rows};
    uint64_t first, next, floor, latest;
    int n = 0;
    struct acks acks = {0};
    struct outcome entries[3] = {{0}};
    struct store_entries ask[3];
    uint64_t in_lanes = 0;
    fault_arm(what, nth, times);
    r.b.store->ops->read(r.b.store, &read);
    bench_wait(&r.b, &rows.done, 1);
    for (int by = STORE_BY_KEY; by <= STORE_KEYS; by++) {
        ask[by] =
            (struct store_entries){.by = (enum store_entries_by)by, .list_id = 8, .lane_max = STORE_LANE_MAX, .due_wall_ns = INT64_MIN};
        ask[by].key = by == STORE_BY_KEY ? "shared" : "";
        ask[by].max_count = ask[by].max_bytes = 1000;
        ask[by].done = on_entries_dump;
        ask[by].arg = &entries[by];
        r.b.store->ops->entries(r.b.store, &ask[by]);
        bench_wait(&r.b, &entries[by].done, 1);
    }
    int rc[] = {
        r.b.store->ops->load_resources(r.b.store, "kind", count_one, &n, &e),
        r.b.store->ops->topic_bounds(r.b.store, 1, &first, &next, &e),
        r.b.store->ops->load_acks(r.b.store, 5, &floor, collect_acks, &acks, &e),
        r.b.store->ops->load_meta(r.b.store, "latest", &latest, &e),
        r.b.store->ops->load_lanes(r.b.store, 8, add_lane, &in_lanes, &e),
    };
    bool failed = fault_disarm();
    assert_true(rows.code == ERR_OK ? rows.order == 9 : failed && rows.code == ERR_RESOURCE_EXHAUSTED);
    for (size_t i = 0; i < ARRAY_LEN(rc); i++)
        assert_true(rc[i] == 0 || (failed && rc[i] == -ERR_RESOURCE_EXHAUSTED && strstr(e.msg, "out of memory")));
    static const int want[] = {[STORE_BY_KEY] = 1, [STORE_BY_DUE] = 1, [STORE_KEYS] = 4}; /* e1, e2, e3 and shared; in lane 0 e3 */
    for (size_t i = 0; i < ARRAY_LEN(want); i++)
        if (entries[i].code == ERR_OK ? entries[i].order != want[i] : !failed || entries[i].code != ERR_RESOURCE_EXHAUSTED)
            fail_msg("%s %zu: request %zu answers %d entries, %s: %s", r.what, nth, i, entries[i].order, err_name(entries[i].code),
                     entries[i].msg);
    assert_true(rc[4] || in_lanes == 4);
    assert_true(rc[0] || n == 3);
    assert_true(rc[1] || (first == 10 && next == 33));
    assert_true(rc[3] || latest == 3);
    holds(&r, &r.b, r.accepted, r.accepted, "after reading");
    end(&r);
    return failed;
}

/* ---- the list ---- */

static void accepted_is_there_and_refused_is_not(void **state)
{
    static const struct torture t = {.name = "writing", .run = write_all};
    references_differ();
    for (enum fault what = FAULT_ALLOC; what <= FAULT_SYNC; what++) {
        assert_true(torture(&t, what, FAULT_ONCE) > 3);
        if (what != FAULT_FULL) /* for the store it is a write that fails, with another name */
            assert_true(torture(&t, what, FAULT_FOR_EVER) > 3);
    }
}

static void failed_background_work_weakens_nothing(void **state)
{
    static const struct torture t = {.name = "tidying up", .run = tidy_up, .every = true};
    assert_true(torture(&t, FAULT_SQLITE_ALLOC, FAULT_ONCE) > 40);
    assert_true(torture(&t, FAULT_WRITE, FAULT_ONCE) > 3);
    assert_true(torture(&t, FAULT_SYNC, FAULT_FOR_EVER) > 0);
}

static void a_failed_start_leaves_what_was_there(void **state)
{
    static const struct torture opening = {.name = "opening after a kill", .run = open_again},
                                making = {.name = "making a database", .run = open_again, .arg = "new"};
    for (enum fault what = FAULT_ALLOC; what <= FAULT_SYNC; what++) {
        CASE_TRUE(fault_name(what), torture(&opening, what, FAULT_ONCE) > 0);
        CASE_TRUE(fault_name(what), torture(&making, what, FAULT_ONCE) > 0);
        if (what != FAULT_FULL)
            CASE_TRUE(fault_name(what), torture(&making, what, FAULT_FOR_EVER) > 0);
    }
}

static void a_failed_upgrade_leaves_what_was_there(void **state)
{
    static const struct torture t = {.name = "upgrading", .run = upgrade};
    for (enum fault what = FAULT_ALLOC; what <= FAULT_SYNC; what++) {
        CASE_TRUE(fault_name(what), torture(&t, what, FAULT_ONCE) > 0);
        if (what != FAULT_FULL)
            CASE_TRUE(fault_name(what), torture(&t, what, FAULT_FOR_EVER) > 0);
    }
}

static void reading_without_memory_is_an_error(void **state)
{
    static const struct torture t = {.name = "reading", .run = read_all};
    assert_true(torture(&t, FAULT_ALLOC, FAULT_ONCE) > 1);
    assert_true(torture(&t, FAULT_SQLITE_ALLOC, FAULT_ONCE) > 1);
    assert_true(torture(&t, FAULT_SQLITE_ALLOC, FAULT_FOR_EVER) > 1);
}

int main(void)
{
    sqlite_faults_install();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepted_is_there_and_refused_is_not), cmocka_unit_test(failed_background_work_weakens_nothing),
        cmocka_unit_test(a_failed_start_leaves_what_was_there), cmocka_unit_test(a_failed_upgrade_leaves_what_was_there),
        cmocka_unit_test(reading_without_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

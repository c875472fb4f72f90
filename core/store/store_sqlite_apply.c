/** store_sqlite_apply.c: transactions, reads and background work as SQL, by statements prepared once. */
#include "core/store/store_sqlite_int.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

#define SEQ_BITS 40
#define MESSAGE_ID(topic_id, seq) ((int64_t)((topic_id) << SEQ_BITS | (seq)))
#define MESSAGE_SEQ(id) ((uint64_t)(id)&STORE_SEQ_MAX)

/* ---- errors ---- */

static enum err_code code_of(int rc, int sys)
{
    switch (rc & 0xff) {
    case SQLITE_FULL:
    case SQLITE_NOMEM:
        return ERR_RESOURCE_EXHAUSTED;
    case SQLITE_IOERR:
        return sys == ENOSPC || sys == EDQUOT || sys == EFBIG || rc == SQLITE_IOERR_NOMEM ? ERR_RESOURCE_EXHAUSTED : ERR_UNAVAILABLE;
    case SQLITE_CONSTRAINT:
        return ERR_ALREADY_EXISTS;
    case SQLITE_TOOBIG:
        return ERR_INVALID_ARGUMENT;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return ERR_DATA_LOSS;
    default:
        return ERR_UNAVAILABLE;
    }
}

int store_sql_fail(const struct store_sqlite *s, int rc, struct err *e)
{
    int sys = s->db ? sqlite3_system_errno(s->db) : 0;
    enum err_code code = code_of(rc, sys);
    const char *what = sqlite3_errstr(rc);
    if ((rc & 0xff) == SQLITE_NOMEM || rc == SQLITE_IOERR_NOMEM)
        err_set(e, code, "out of memory in the store");
    else if (code == ERR_RESOURCE_EXHAUSTED)
        err_set(e, code, "the disk of %s is full: free some space; nothing accepted before is lost", s->dir);
    else if (code == ERR_DATA_LOSS)
        err_set(e, code, "%s is damaged (%s): restore it from a copy", s->path, what);
    else if (code == ERR_ALREADY_EXISTS)
        err_set(e, code, "a record is there already (%s)", what);
    else if (sys)
        err_sys(e, code, sys, "cannot use %s (%s)", s->path, what);
    else
        err_set(e, code, "cannot use %s (%s)", s->path, what);
    if (e)
        e->sys = rc;
    return -(int)code;
}

/* ---- statements ---- */

static const char *const statement_sql[SQL_N] = {
#define STATEMENT_SQL(name, sql) [SQL_##name] = sql,
    STORE_STATEMENTS(STATEMENT_SQL) /* NOLINT(bugprone-suspicious-missing-comma): STATEMENT_SQL brings the commas */
#undef STATEMENT_SQL
};

/* The log's length after each commit, for store_sql_checkpoint. */
static int on_wal(void *arg, sqlite3 *db, const char *name, int pages)
{
    ((struct store_sqlite *)arg)->wal_pages = pages;
    return SQLITE_OK;
}

int store_sql_prepare(struct store_sqlite *s, struct err *e)
{
    for (int i = 0; i < SQL_N; i++) {
        int rc = sqlite3_prepare_v3(s->db, statement_sql[i], -1, SQLITE_PREPARE_PERSISTENT, &s->stmts[i], NULL);
        if (rc != SQLITE_OK)
            return store_sql_fail(s, rc, e);
    }
    sqlite3_wal_hook(s->db, on_wal, s);
    s->checkpoint_at = STORE_CHECKPOINT_BUSY_PAGES;
    s->trims_waiting = s->space_waiting = true; /* a trim may have been cut short by the end of the last server */
    return 0;
}

void store_sql_close(struct store_sqlite *s)
{
    for (int i = 0; i < SQL_N; i++)
        sqlite3_finalize(s->stmts[i]);
    sqlite3_close(s->db); /* moves the log into the file and removes it */
    free(s->scratch_rows);
    free(s->scratch_entries);
    buf_fini(&s->scratch);
}

int store_sql_run(struct store_sqlite *s, enum store_statement which)
{
    sqlite3_stmt *st = s->stmts[which];
    int rc = sqlite3_step(st);
    sqlite3_reset(st);
    return rc == SQLITE_DONE || rc == SQLITE_ROW ? SQLITE_OK : rc;
}

struct sqlite3_stmt *store_sql_numbers(struct store_sqlite *s, enum store_statement which, int64_t a, int64_t b)
{
    sqlite3_stmt *st = s->stmts[which];
    sqlite3_bind_int64(st, 1, a);
    if (sqlite3_bind_parameter_count(st) > 1)
        sqlite3_bind_int64(st, 2, b);
    return st;
}

int store_sql_run_numbers(struct store_sqlite *s, enum store_statement which, int64_t a, int64_t b)
{
    store_sql_numbers(s, which, a, b);
    return store_sql_run(s, which);
}

int store_sql_fetch(struct store_sqlite *s, enum store_statement which, int64_t *out, int n, bool *found)
{
    sqlite3_stmt *st = s->stmts[which];
    int rc = sqlite3_step(st);
    *found = rc == SQLITE_ROW;
    for (int i = 0; *found && i < n; i++)
        out[i] = sqlite3_column_int64(st, i);
    sqlite3_reset(st);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* A zero pointer would bind NULL, which the tables refuse. */
void store_sql_bind_blob(sqlite3_stmt *st, int at, struct str b) { sqlite3_bind_blob(st, at, b.n ? b.p : "", (int)b.n, SQLITE_STATIC); }

/* ---- operations ---- */

struct topic_state {
    uint64_t floor, next; /* next counts what is in the table now */
    bool trimming, empty;
    uint64_t first; /* the lowest row that still exists, also below the floor */
};

static int load_topic(struct store_sqlite *s, uint64_t id, struct topic_state *t)
{
    int64_t v[3] = {0}, last, first[2] = {0};
    bool known, any;
    *t = (struct topic_state){.empty = true};
    store_sql_numbers(s, SQL_TOPIC, (int64_t)id, 0);
    int rc = store_sql_fetch(s, SQL_TOPIC, v, 3, &known);
    t->floor = (uint64_t)v[0];
    t->next = (uint64_t)v[1];
    t->trimming = v[2] != 0;
    store_sql_numbers(s, SQL_ROW_LAST, MESSAGE_ID(id, 0), MESSAGE_ID(id, STORE_SEQ_MAX));
    if (rc || (rc = store_sql_fetch(s, SQL_ROW_LAST, &last, 1, &any)) || !any)
        return rc;
    store_sql_numbers(s, SQL_ROW_FIRST, MESSAGE_ID(id, 0), MESSAGE_ID(id, STORE_SEQ_MAX));
    if ((rc = store_sql_fetch(s, SQL_ROW_FIRST, first, 2, &any)))
        return rc;
    t->empty = false;
    t->first = MESSAGE_SEQ(first[0]);
    if (MESSAGE_SEQ(last) + 1 > t->next)
        t->next = MESSAGE_SEQ(last) + 1;
    return 0;
}

static int set_topic(struct store_sqlite *s, uint64_t id, const struct topic_state *t)
{
    sqlite3_stmt *st = store_sql_numbers(s, SQL_TOPIC_SET, (int64_t)id, (int64_t)t->floor);
    sqlite3_bind_int64(st, 3, (int64_t)t->next);
    sqlite3_bind_int64(st, 4, t->trimming);
    return store_sql_run(s, SQL_TOPIC_SET);
}

/* Readers stop seeing the messages with this commit; a few rows go at once, the rest in the background. */
static int apply_trim(struct store_sqlite *s, uint64_t id, uint64_t below)
{
    struct topic_state t;
    int rc = load_topic(s, id, &t);
    uint64_t floor = below < t.next ? below : t.next;
    if (rc || floor <= t.floor)
        return rc;
    t.floor = floor;
    t.trimming = !t.empty && t.first < floor;
    if (t.trimming) {
        uint64_t to = floor - t.first > STORE_TRIM_ROWS_AT_ONCE ? t.first + STORE_TRIM_ROWS_AT_ONCE : floor;
        rc = store_sql_run_numbers(s, SQL_ROWS_DROP, MESSAGE_ID(id, t.first), MESSAGE_ID(id, to));
        t.trimming = to < floor;
        s->space_waiting = true;
    }
    s->trims_waiting |= t.trimming;
    return rc ? rc : set_topic(s, id, &t);
}

static int apply_put(struct store_sqlite *s, const struct store_op *op)
{
    sqlite3_stmt *st = s->stmts[SQL_PUT];
    sqlite3_bind_text(st, 1, op->key, -1, SQLITE_STATIC);
    sqlite3_bind_text(st, 2, op->name, -1, SQLITE_STATIC);
    store_sql_bind_blob(st, 3, op->blob);
    return store_sql_run(s, SQL_PUT);
}

static int apply_delete(struct store_sqlite *s, const struct store_op *op)
{
    sqlite3_bind_text(s->stmts[SQL_DELETE], 1, op->key, -1, SQLITE_STATIC);
    sqlite3_bind_text(s->stmts[SQL_DELETE], 2, op->name, -1, SQLITE_STATIC);
    return store_sql_run(s, SQL_DELETE);
}

static int apply_meta(struct store_sqlite *s, const struct store_op *op)
{
    sqlite3_bind_text(s->stmts[SQL_META], 1, op->key, -1, SQLITE_STATIC);
    sqlite3_bind_int64(s->stmts[SQL_META], 2, (int64_t)op->num);
    return store_sql_run(s, SQL_META);
}

static int apply_append(struct store_sqlite *s, const struct store_op *op)
{
    sqlite3_stmt *st = s->stmts[SQL_APPEND];
    sqlite3_bind_int64(st, 1, MESSAGE_ID(op->id, op->num));
    sqlite3_bind_int64(st, 2, op->wall_ns);
    store_sql_bind_blob(st, 3, op->blob);
    return store_sql_run(s, SQL_APPEND);
}

static int apply_chunk(struct store_sqlite *s, const struct store_op *op)
{
    store_sql_bind_blob(store_sql_numbers(s, SQL_CHUNK, (int64_t)op->id, (int64_t)op->num), 3, op->blob);
    return store_sql_run(s, SQL_CHUNK);
}

static int apply(struct store_sqlite *s, const struct store_op *op)
{
    int rc;
    switch (op->kind) {
    case STORE_OP_PUT:
        return apply_put(s, op);
    case STORE_OP_DELETE:
        return apply_delete(s, op);
    case STORE_OP_META:
        return apply_meta(s, op);
    case STORE_OP_APPEND:
        return apply_append(s, op);
    case STORE_OP_TRIM:
        return apply_trim(s, op->id, op->num);
    case STORE_OP_CHUNK:
        return apply_chunk(s, op);
    case STORE_OP_FLOOR:
        rc = store_sql_run_numbers(s, SQL_FLOOR, (int64_t)op->id, (int64_t)op->num);
        return rc ? rc : store_sql_run_numbers(s, SQL_CHUNKS_BELOW_DROP, (int64_t)op->id, (int64_t)store_floor_chunk(op->num));
    case STORE_OP_DROP_ACKS:
        rc = store_sql_run_numbers(s, SQL_FLOOR_DROP, (int64_t)op->id, 0);
        return rc ? rc : store_sql_run_numbers(s, SQL_CHUNKS_DROP, (int64_t)op->id, 0);
    case STORE_OP_ENTRY_ADD:
    case STORE_OP_ENTRY_PUT:
    case STORE_OP_ENTRY_DELETE:
    case STORE_OP_ENTRIES_DROP:
        return store_sql_apply_entry(s, op);
    }
    return SQLITE_MISUSE;
}

static int apply_all(struct store_sqlite *s, const struct store_txn *t)
{
    int rc = SQLITE_OK;
    for (size_t i = 0; i < t->n && rc == SQLITE_OK; i++)
        rc = apply(s, &t->ops[i]);
    return rc;
}

/* ---- groups ---- */

/* A transaction that is at fault itself, unlike the disk. */
static bool is_own_fault(int rc)
{
    return (rc & 0xff) == SQLITE_CONSTRAINT || (rc & 0xff) == SQLITE_TOOBIG || (rc & 0xff) == SQLITE_MISMATCH;
}

static void roll_back(struct store_sqlite *s)
{
    if (!sqlite3_get_autocommit(s->db)) /* SQLite rolls back by itself after some errors */
        (void)store_sql_run(s, SQL_ROLLBACK);
}

/* The usual way: all in one, nothing but the operations themselves. `fault` is set when one of them is to blame. */
static int try_together(struct store_sqlite *s, struct store_item *first, bool *fault)
{
    int rc = store_sql_run(s, SQL_BEGIN);
    for (struct store_item *i = first; i && rc == SQLITE_OK; i = i->next) {
        if (i->err.code != ERR_OK)
            continue; /* refused before it came here */
        rc = apply_all(s, store_item_txn(i));
        *fault = is_own_fault(rc);
    }
    return rc == SQLITE_OK ? store_sql_run(s, SQL_COMMIT) : rc;
}

/* After one was at fault: each in a savepoint, so that only the faulty ones are undone. */
static int try_apart(struct store_sqlite *s, struct store_item *first)
{
    int rc = store_sql_run(s, SQL_BEGIN);
    for (struct store_item *i = first; i && rc == SQLITE_OK; i = i->next) {
        if (i->err.code != ERR_OK || (rc = store_sql_run(s, SQL_SAVEPOINT)) != SQLITE_OK)
            continue;
        rc = apply_all(s, store_item_txn(i));
        if (is_own_fault(rc)) {
            store_sql_fail(s, rc, &i->err);
            rc = store_sql_run(s, SQL_ROLLBACK_TO);
        }
        if (rc == SQLITE_OK)
            rc = store_sql_run(s, SQL_RELEASE);
    }
    return rc == SQLITE_OK ? store_sql_run(s, SQL_COMMIT) : rc;
}

bool store_sql_commit(struct store_sqlite *s, struct store_item *first)
{
    bool fault = false;
    int rc = try_together(s, first, &fault);
    if (fault) {
        roll_back(s);
        rc = try_apart(s, first);
    }
    if (rc == SQLITE_OK)
        return true;
    struct err why = {0};
    store_sql_fail(s, rc, &why);
    roll_back(s);
    for (struct store_item *i = first; i; i = i->next)
        i->err = why;
    return false;
}

/* ---- reads ---- */

/* Copy the current row of `st` behind those gathered; blob.p is its place in the scratch buffer for now. */
static int gather_row(struct store_sqlite *s, sqlite3_stmt *st, size_t n)
{
    if (n == s->scratch_rows_cap) {
        size_t cap = n ? n * 2 : 64;
        struct store_row *rows = realloc(s->scratch_rows, cap * sizeof *rows);
        if (!rows)
            return SQLITE_NOMEM;
        s->scratch_rows = rows;
        s->scratch_rows_cap = cap;
    }
    const void *bytes = sqlite3_column_blob(st, 2);
    size_t len = (size_t)sqlite3_column_bytes(st, 2);
    if (len && (!bytes || buf_add(&s->scratch, bytes, len)))
        return SQLITE_NOMEM;
    s->scratch_rows[n] = (struct store_row){MESSAGE_SEQ(sqlite3_column_int64(st, 0)), sqlite3_column_int64(st, 1), {NULL, len}};
    return SQLITE_OK;
}

static int gather(struct store_sqlite *s, struct store_read *r, uint64_t from, size_t *n)
{
    int64_t max = r->max_count > INT32_MAX ? INT32_MAX : (int64_t)r->max_count;
    sqlite3_stmt *st = store_sql_numbers(s, SQL_ROWS, MESSAGE_ID(r->topic_id, from), MESSAGE_ID(r->topic_id, STORE_SEQ_MAX));
    sqlite3_bind_int64(st, 3, max ? max : 1);
    int rc;
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        if (*n && buf_len(&s->scratch) + (size_t)sqlite3_column_bytes(st, 2) > r->max_bytes)
            break;
        if ((rc = gather_row(s, st, *n)))
            break;
        ++*n;
    }
    sqlite3_reset(st);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* Rows and their bytes in one allocation, which store_item_finish frees. */
static int hand_over(struct store_sqlite *s, struct store_read *r, size_t n)
{
    r->rows = malloc(n * sizeof r->rows[0] + buf_len(&s->scratch));
    if (!r->rows)
        return SQLITE_NOMEM;
    memcpy(r->rows, s->scratch_rows, n * sizeof r->rows[0]);
    char *p = (char *)(r->rows + n);
    if (buf_len(&s->scratch))
        memcpy(p, buf_data(&s->scratch), buf_len(&s->scratch));
    for (size_t i = 0; i < n; i++) {
        r->rows[i].blob.p = p;
        p += r->rows[i].blob.n;
    }
    r->n = n;
    return SQLITE_OK;
}

void store_sql_read(struct store_sqlite *s, struct store_read *r)
{
    r->rows = NULL;
    r->n = 0;
    if (r->topic_id > STORE_TOPIC_ID_MAX || r->from_seq > STORE_SEQ_MAX)
        return; /* past the last one there can be */
    int64_t topic[3] = {0};
    bool known;
    size_t n = 0;
    store_sql_numbers(s, SQL_TOPIC, (int64_t)r->topic_id, 0);
    int rc = store_sql_fetch(s, SQL_TOPIC, topic, 3, &known);
    uint64_t floor = (uint64_t)topic[0];
    if (rc == SQLITE_OK && floor <= STORE_SEQ_MAX)
        rc = gather(s, r, r->from_seq > floor ? r->from_seq : floor, &n);
    if (rc == SQLITE_OK && n)
        rc = hand_over(s, r, n);
    if (rc != SQLITE_OK)
        store_sql_fail(s, rc, &r->item.err);
    buf_clear(&s->scratch);
    if (s->scratch.cap > STORE_READ_KEEP_BYTES)
        buf_fini(&s->scratch);
}

/* Publish times do not fall with seq, so halve: a million messages take 20 look-ups. */
static int seek(struct store_sqlite *s, struct store_seek *q)
{
    struct topic_state t;
    int rc = load_topic(s, q->topic_id, &t);
    q->seq = t.next;
    uint64_t lo = t.floor, hi = t.next;
    while (rc == SQLITE_OK && lo < hi) {
        uint64_t mid = lo + (hi - lo) / 2;
        int64_t row[2];
        bool found;
        store_sql_numbers(s, SQL_ROW_FIRST, MESSAGE_ID(q->topic_id, mid), MESSAGE_ID(q->topic_id, STORE_SEQ_MAX));
        rc = store_sql_fetch(s, SQL_ROW_FIRST, row, 2, &found);
        if (rc == SQLITE_OK && found && row[1] < q->wall_ns) {
            lo = MESSAGE_SEQ(row[0]) + 1;
        } else if (rc == SQLITE_OK) {
            if (found)
                q->seq = MESSAGE_SEQ(row[0]);
            hi = mid;
        }
    }
    return rc;
}

void store_sql_seek(struct store_sqlite *s, struct store_seek *q)
{
    q->seq = 0;
    int rc = q->topic_id > STORE_TOPIC_ID_MAX ? SQLITE_OK : seek(s, q);
    if (rc != SQLITE_OK)
        store_sql_fail(s, rc, &q->item.err);
}

/* ---- background work ---- */

static int drop_some(struct store_sqlite *s, int rows)
{
    int64_t topic[2], row[2];
    bool found;
    int rc = store_sql_fetch(s, SQL_TRIMMING, topic, 2, &found);
    if (rc || !found)
        return rc ? rc : store_sql_drop_entries(s, rows);
    uint64_t id = (uint64_t)topic[0], floor = (uint64_t)topic[1];
    store_sql_numbers(s, SQL_ROW_FIRST, MESSAGE_ID(id, 0), MESSAGE_ID(id, STORE_SEQ_MAX));
    if ((rc = store_sql_fetch(s, SQL_ROW_FIRST, row, 2, &found)))
        return rc;
    uint64_t first = found ? MESSAGE_SEQ(row[0]) : floor;
    uint64_t to = first < floor && floor - first > (uint64_t)rows ? first + (uint64_t)rows : floor;
    if (first < floor)
        rc = store_sql_run_numbers(s, SQL_ROWS_DROP, MESSAGE_ID(id, first), MESSAGE_ID(id, to));
    if (rc == SQLITE_OK && to == floor)
        rc = store_sql_run_numbers(s, SQL_TOPIC_TRIMMED, (int64_t)id, 0);
    s->space_waiting = true;
    return rc;
}

static int trim_step(struct store_sqlite *s, int rows)
{
    int rc = store_sql_run(s, SQL_BEGIN);
    if (rc == SQLITE_OK)
        rc = drop_some(s, rows);
    if (rc == SQLITE_OK)
        rc = store_sql_run(s, SQL_COMMIT);
    roll_back(s);
    return rc;
}

/* Give space back when a good part of the file is free; the rest is for the messages to come. */
static int vacuum_step(struct store_sqlite *s)
{
    int64_t spare = 0, pages = 0;
    bool found;
    int rc = store_sql_fetch(s, SQL_FREE_PAGES, &spare, 1, &found);
    if (rc == SQLITE_OK)
        rc = store_sql_fetch(s, SQL_PAGES, &pages, 1, &found);
    if (rc || spare <= STORE_VACUUM_FREE_PAGES || spare * 4 < pages) {
        s->space_waiting = false;
        return rc;
    }
    char sql[64];
    snprintf(sql, sizeof sql, "PRAGMA incremental_vacuum(%d)", STORE_VACUUM_PAGES);
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL);
}

uint64_t store_sql_spare_bytes(struct store_sqlite *s)
{
    int64_t pages = 0;
    bool found;
    return store_sql_fetch(s, SQL_FREE_PAGES, &pages, 1, &found) ? 0 : (uint64_t)pages * STORE_PAGE_BYTES;
}

bool store_sql_background(struct store_sqlite *s, int rows)
{
    if (!s->trims_waiting && !s->space_waiting)
        return false;
    /* Synced by itself, though nobody waits for it: if it were left to the next group's sync and that failed, the system might have
     * thrown this part of the log away, and all that is written behind the hole would be lost with it. */
    int rc = s->trims_waiting ? trim_step(s, rows) : vacuum_step(s);
    if (rc == SQLITE_OK)
        return true;
    struct err e = {0};
    store_sql_fail(s, rc, &e);
    log_kv(s->log, LOG_WARN, "store.trim.failed", LSTR("dir", s->dir), LSTR("error", e.msg),
           LSTR("note", "continues after the next trim or restart"));
    s->trims_waiting = s->space_waiting = false;
    return false;
}

void store_sql_checkpoint(struct store_sqlite *s)
{
    int rc = sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    if (rc == SQLITE_OK) {
        s->wal_pages = 0; /* all moved: the next commit starts the log anew */
        s->checkpoint_at = STORE_CHECKPOINT_BUSY_PAGES;
        return;
    }
    struct err e = {0};
    store_sql_fail(s, rc, &e);
    if (s->trouble == ERR_OK) /* else it is told already, and each refused group tries again */
        log_kv(s->log, LOG_WARN, "store.checkpoint.failed", LSTR("dir", s->dir), LSTR("error", e.msg), LINT("log_pages", s->wal_pages));
    s->checkpoint_at = s->wal_pages + STORE_CHECKPOINT_BUSY_PAGES;
}

/* ---- loading ---- */

int store_sql_prepare_own(struct store_sqlite *s, enum store_statement which, sqlite3_stmt **st, struct err *e)
{
    int rc = sqlite3_prepare_v2(s->db, statement_sql[which], -1, st, NULL);
    return rc == SQLITE_OK ? 0 : store_sql_fail(s, rc, e);
}

int store_sql_load_resources(struct store_sqlite *s, const char *kind,
                             int (*fn)(void *arg, const char *name, struct str body, struct err *e), void *arg, struct err *e)
{
    sqlite3_stmt *st;
    int rc = SQLITE_DONE, answer = store_sql_prepare_own(s, SQL_RESOURCES, &st, e);
    if (answer)
        return answer;
    sqlite3_bind_text(st, 1, kind, -1, SQLITE_STATIC);
    while (answer == 0 && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        const char *name = (const char *)sqlite3_column_text(st, 0), *body = sqlite3_column_blob(st, 1);
        size_t n = (size_t)sqlite3_column_bytes(st, 1);
        answer = name && (body || !n) ? fn(arg, name, (struct str){n ? body : "", n}, e) : store_sql_fail(s, SQLITE_NOMEM, e);
    }
    sqlite3_finalize(st);
    return answer ? answer : rc == SQLITE_DONE ? 0 : store_sql_fail(s, rc, e);
}

int store_sql_load_meta(struct store_sqlite *s, const char *key, uint64_t *value, struct err *e)
{
    int64_t v = 0;
    bool found;
    sqlite3_bind_text(s->stmts[SQL_META_GET], 1, key, -1, SQLITE_STATIC);
    int rc = store_sql_fetch(s, SQL_META_GET, &v, 1, &found);
    if (rc)
        return store_sql_fail(s, rc, e);
    *value = (uint64_t)v;
    return 0;
}

int store_sql_bounds(struct store_sqlite *s, uint64_t topic_id, uint64_t *first, uint64_t *next, struct err *e)
{
    struct topic_state t;
    int64_t row[2];
    bool found = false;
    int rc = load_topic(s, topic_id, &t);
    if (rc == SQLITE_OK && t.floor <= STORE_SEQ_MAX) {
        store_sql_numbers(s, SQL_ROW_FIRST, MESSAGE_ID(topic_id, t.floor), MESSAGE_ID(topic_id, STORE_SEQ_MAX));
        rc = store_sql_fetch(s, SQL_ROW_FIRST, row, 2, &found);
    }
    if (rc)
        return store_sql_fail(s, rc, e);
    *next = t.next;
    *first = found ? MESSAGE_SEQ(row[0]) : t.next;
    return 0;
}

int store_sql_load_acks(struct store_sqlite *s, uint64_t sub_id, uint64_t *floor,
                        int (*fn)(void *arg, uint64_t chunk, const uint8_t *bits, struct err *e), void *arg, struct err *e)
{
    int64_t v = 0;
    bool found;
    store_sql_numbers(s, SQL_FLOOR_GET, (int64_t)sub_id, 0);
    int rc = store_sql_fetch(s, SQL_FLOOR_GET, &v, 1, &found), answer = 0;
    if (rc)
        return store_sql_fail(s, rc, e);
    *floor = (uint64_t)v;
    sqlite3_stmt *st;
    if ((answer = store_sql_prepare_own(s, SQL_CHUNKS, &st, e)))
        return answer;
    sqlite3_bind_int64(st, 1, (int64_t)sub_id);
    while (answer == 0 && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        const uint8_t *bits = sqlite3_column_blob(st, 1);
        if (bits && sqlite3_column_bytes(st, 1) == ACK_CHUNK_BYTES)
            answer = fn(arg, (uint64_t)sqlite3_column_int64(st, 0), bits, e);
        else
            answer = err_set(e, ERR_DATA_LOSS, "%s is damaged: acknowledgements of a wrong size", s->path);
    }
    sqlite3_finalize(st);
    return answer ? answer : rc == SQLITE_DONE ? 0 : store_sql_fail(s, rc, e);
}

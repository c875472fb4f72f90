/** store_sqlite_entries.c: entries as SQL: changes, the three ways to read them, and dropping whole lists step by step. */
#include "core/store/store_sqlite_int.h"

#include <sqlite3.h>
#include <stdlib.h>

enum { COLUMN_KEY, COLUMN_LANE, COLUMN_DUE, COLUMN_BODY };

static void bind_key(sqlite3_stmt *st, int at, const char *key) { sqlite3_bind_text(st, at, key, -1, SQLITE_STATIC); }

/* The first column of the row that `st` stands on. */
static int copy_key(sqlite3_stmt *st, char to[STORE_ENTRY_KEY_MAX + 1])
{
    const char *key = (const char *)sqlite3_column_text(st, 0);
    size_t n = (size_t)sqlite3_column_bytes(st, 0);
    if (!key || n > STORE_ENTRY_KEY_MAX)
        return key ? SQLITE_CORRUPT : SQLITE_NOMEM;
    memcpy(to, key, n + 1);
    return SQLITE_OK;
}

/* ---- changes ---- */

static int write_entry(struct store_sqlite *s, enum store_statement which, const struct store_op *op)
{
    sqlite3_stmt *st = s->stmts[which];
    sqlite3_bind_int64(st, 1, (int64_t)op->id);
    bind_key(st, 2, op->key);
    sqlite3_bind_int64(st, 3, (int64_t)op->num);
    sqlite3_bind_int64(st, 4, op->wall_ns);
    store_sql_bind_blob(st, 5, op->blob);
    return store_sql_run(s, which);
}

int store_sql_apply_entry(struct store_sqlite *s, const struct store_op *op)
{
    if (op->kind == STORE_OP_ENTRIES_DROP) {
        s->trims_waiting = true;
        return store_sql_run_numbers(s, SQL_LIST_DROP, (int64_t)op->id, 0);
    }
    if (op->kind != STORE_OP_ENTRY_DELETE)
        return write_entry(s, op->kind == STORE_OP_ENTRY_ADD ? SQL_ENTRY_ADD : SQL_ENTRY_PUT, op);
    sqlite3_bind_int64(s->stmts[SQL_ENTRY_DELETE], 1, (int64_t)op->id);
    bind_key(s->stmts[SQL_ENTRY_DELETE], 2, op->key);
    return store_sql_run(s, SQL_ENTRY_DELETE);
}

static int is_dropped(struct store_sqlite *s, uint64_t list_id, bool *dropped)
{
    int64_t one;
    store_sql_numbers(s, SQL_LIST_DROPPED, (int64_t)list_id, 0);
    return store_sql_fetch(s, SQL_LIST_DROPPED, &one, 1, dropped);
}

/* ---- reads ---- */

/* The answer as it grows: rows in s->scratch_entries, their keys and bodies one behind the other in s->scratch. */
struct answer {
    struct store_sqlite *s;
    const struct store_entries *r;
    size_t n, bytes;
    bool full;
};

static int make_room(struct store_sqlite *s, size_t n)
{
    if (n < s->scratch_entries_cap)
        return SQLITE_OK;
    size_t cap = n ? n * 2 : 64;
    struct store_entry *rows = realloc(s->scratch_entries, cap * sizeof *rows);
    if (!rows)
        return SQLITE_NOMEM;
    s->scratch_entries = rows;
    s->scratch_entries_cap = cap;
    return SQLITE_OK;
}

/* The row that `st` stands on. */
static int gather(struct answer *a, sqlite3_stmt *st)
{
    const char *key = (const char *)sqlite3_column_text(st, COLUMN_KEY);
    size_t key_n = (size_t)sqlite3_column_bytes(st, COLUMN_KEY), body_n = (size_t)sqlite3_column_bytes(st, COLUMN_BODY);
    a->full = a->n && (a->n >= a->r->max_count || a->bytes + key_n + body_n > a->r->max_bytes);
    if (a->full)
        return SQLITE_OK;
    const void *body = sqlite3_column_blob(st, COLUMN_BODY);
    if (!key || (body_n && !body) || make_room(a->s, a->n) || buf_add(&a->s->scratch, key, key_n + 1) ||
        (body_n && buf_add(&a->s->scratch, body, body_n)))
        return SQLITE_NOMEM;
    a->s->scratch_entries[a->n++] = (struct store_entry){
        .lane = (uint32_t)sqlite3_column_int64(st, COLUMN_LANE),
        .due_wall_ns = sqlite3_column_int64(st, COLUMN_DUE),
        .body = {NULL, body_n},
    };
    a->bytes += key_n + body_n;
    return SQLITE_OK;
}

static int gather_all(struct answer *a, sqlite3_stmt *st)
{
    int rc;
    while ((rc = sqlite3_step(st)) == SQLITE_ROW && (rc = gather(a, st)) == SQLITE_OK && !a->full) {}
    sqlite3_reset(st);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int gather_key(struct answer *a, const char *key)
{
    sqlite3_stmt *st = a->s->stmts[SQL_ENTRY];
    sqlite3_bind_int64(st, 1, (int64_t)a->r->list_id);
    bind_key(st, 2, key);
    return gather_all(a, st);
}

static int gather_by_due(struct answer *a)
{
    const struct store_entries *r = a->r;
    sqlite3_stmt *st = store_sql_numbers(a->s, SQL_ENTRIES_BY_DUE, (int64_t)r->list_id, r->lane_min);
    sqlite3_bind_int64(st, 3, r->due_wall_ns);
    bind_key(st, 4, r->key);
    sqlite3_bind_int64(st, 5, r->max_count > INT32_MAX ? INT32_MAX : r->max_count ? (int64_t)r->max_count : 1);
    return gather_all(a, st);
}

/* Keys over lanes are merged: the next key of each lane that has one, the least of them first. However much lies in other lanes, a
 * row costs two look-ups. */
struct lane_head {
    uint32_t lane;
    char key[STORE_ENTRY_KEY_MAX + 1];
};

/* The key after the head's own; found false: the lane is through. */
static int advance(struct answer *a, struct lane_head *h, bool *found)
{
    char next[STORE_ENTRY_KEY_MAX + 1];
    sqlite3_stmt *st = store_sql_numbers(a->s, SQL_LANE_KEY, (int64_t)a->r->list_id, h->lane);
    bind_key(st, 3, h->key);
    int rc = sqlite3_step(st);
    *found = rc == SQLITE_ROW;
    if (*found)
        rc = copy_key(st, next);
    sqlite3_reset(st);
    if (*found && rc == SQLITE_OK)
        memcpy(h->key, next, strlen(next) + 1); /* not before the reset: it is bound */
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* The heads of the lanes that have a key after that of the request; malloc'd. */
static int find_heads(struct answer *a, struct lane_head **heads, size_t *n)
{
    int rc = SQLITE_OK;
    for (int64_t lane = a->r->lane_min; rc == SQLITE_OK; lane++) {
        bool found;
        store_sql_numbers(a->s, SQL_LANE_FIRST, (int64_t)a->r->list_id, lane);
        if ((rc = store_sql_fetch(a->s, SQL_LANE_FIRST, &lane, 1, &found)) || !found || lane > a->r->lane_max)
            break;
        struct lane_head *more = realloc(*heads, (*n + 1) * sizeof *more);
        if (!more)
            return SQLITE_NOMEM;
        *heads = more;
        more[*n].lane = (uint32_t)lane;
        memcpy(more[*n].key, a->r->key, strlen(a->r->key) + 1);
        rc = advance(a, &more[*n], &found);
        *n += found;
    }
    return rc;
}

static int gather_keys(struct answer *a)
{
    struct lane_head *heads = NULL;
    size_t n = 0;
    int rc = strlen(a->r->key) > STORE_ENTRY_KEY_MAX ? SQLITE_TOOBIG : find_heads(a, &heads, &n);
    while (rc == SQLITE_OK && n && !a->full) {
        size_t least = 0;
        for (size_t i = 1; i < n; i++)
            if (strcmp(heads[i].key, heads[least].key) < 0)
                least = i;
        bool found = false;
        if ((rc = gather_key(a, heads[least].key)) == SQLITE_OK && !a->full)
            rc = advance(a, &heads[least], &found);
        if (!found && n)
            heads[least] = heads[--n];
    }
    free(heads);
    return rc;
}

/* Rows, keys and bodies in one allocation, which store_item_finish frees. */
static int hand_over(const struct answer *a, struct store_entries *r)
{
    struct store_sqlite *s = a->s;
    r->rows = malloc(a->n * sizeof r->rows[0] + buf_len(&s->scratch));
    if (!r->rows)
        return SQLITE_NOMEM;
    memcpy(r->rows, s->scratch_entries, a->n * sizeof r->rows[0]);
    char *p = memcpy(r->rows + a->n, buf_data(&s->scratch), buf_len(&s->scratch));
    for (size_t i = 0; i < a->n; i++) {
        r->rows[i].key = p;
        p += strlen(p) + 1;
        r->rows[i].body.p = p;
        p += r->rows[i].body.n;
    }
    r->n = a->n;
    return SQLITE_OK;
}

static int gather_request(struct answer *a)
{
    switch (a->r->by) {
    case STORE_BY_KEY:
        return gather_key(a, a->r->key);
    case STORE_BY_DUE:
        return gather_by_due(a);
    case STORE_KEYS:
        return gather_keys(a);
    }
    return SQLITE_MISUSE;
}

void store_sql_entries(struct store_sqlite *s, struct store_entries *r)
{
    struct answer a = {.s = s, .r = r};
    bool dropped;
    r->rows = NULL;
    r->n = 0;
    int rc = is_dropped(s, r->list_id, &dropped);
    if (rc == SQLITE_OK && !dropped)
        rc = gather_request(&a);
    if (rc == SQLITE_OK && a.n)
        rc = hand_over(&a, r);
    if (rc != SQLITE_OK)
        store_sql_fail(s, rc, &r->item.err);
    buf_clear(&s->scratch);
    if (s->scratch.cap > STORE_READ_KEEP_BYTES)
        buf_fini(&s->scratch);
}

int store_sql_load_lanes(struct store_sqlite *s, uint64_t list_id, int (*fn)(void *arg, uint32_t lane, uint64_t count, struct err *e),
                         void *arg, struct err *e)
{
    sqlite3_stmt *st;
    bool dropped;
    int rc = is_dropped(s, list_id, &dropped), answer = 0;
    if (rc)
        return store_sql_fail(s, rc, e);
    if (dropped)
        return 0;
    if ((answer = store_sql_prepare_own(s, SQL_LANES, &st, e)))
        return answer;
    sqlite3_bind_int64(st, 1, (int64_t)list_id);
    while (answer == 0 && (rc = sqlite3_step(st)) == SQLITE_ROW)
        answer = fn(arg, (uint32_t)sqlite3_column_int64(st, 0), (uint64_t)sqlite3_column_int64(st, 1), e);
    sqlite3_finalize(st);
    return answer ? answer : rc == SQLITE_DONE ? 0 : store_sql_fail(s, rc, e);
}

/* ---- dropping in the background ---- */

/* The key up to which one step drops: `rows` of them, or fewer when they are large. Empty: the list has none. */
static int step_end(struct store_sqlite *s, uint64_t list_id, int rows, char to[STORE_ENTRY_KEY_MAX + 1])
{
    sqlite3_stmt *st = store_sql_numbers(s, SQL_ENTRIES_SIZES, (int64_t)list_id, rows / STORE_DROP_ROWS_PART);
    int rc = SQLITE_OK;
    *to = '\0';
    for (uint64_t bytes = 0; bytes < STORE_DROP_BYTES && (rc = sqlite3_step(st)) == SQLITE_ROW && (rc = copy_key(st, to)) == SQLITE_OK;)
        bytes += (uint64_t)sqlite3_column_int64(st, 1);
    sqlite3_reset(st);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int store_sql_drop_entries(struct store_sqlite *s, int rows)
{
    int64_t list;
    bool found;
    char to[STORE_ENTRY_KEY_MAX + 1];
    int rc = store_sql_fetch(s, SQL_LIST_DROPPING, &list, 1, &found);
    if (rc || !found) {
        s->trims_waiting = false;
        return rc;
    }
    if ((rc = step_end(s, (uint64_t)list, rows, to)))
        return rc;
    s->space_waiting = true;
    if (!*to)
        return store_sql_run_numbers(s, SQL_LIST_FORGET, list, 0);
    sqlite3_bind_int64(s->stmts[SQL_ENTRIES_DROP_TO], 1, list);
    bind_key(s->stmts[SQL_ENTRIES_DROP_TO], 2, to);
    return store_sql_run(s, SQL_ENTRIES_DROP_TO);
}

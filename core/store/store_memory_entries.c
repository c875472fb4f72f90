/** store_memory_entries.c: entries in memory: two sorted arrays a list. An insertion moves pointers, which is quick enough for the
 *          hundred thousand of a simulation. */
#include "core/store/store_memory_int.h"

#include <assert.h>
#include <stdlib.h>

struct memory_entry {
    int64_t due_wall_ns;
    uint32_t lane;
    size_t key_n, body_n;
    char bytes[]; /* key, NUL, body */
};

static struct memory_entry *entry_new(const struct store_op *op)
{
    size_t key_n = strlen(op->key);
    struct memory_entry *m = malloc(sizeof *m + key_n + 1 + op->blob.n);
    if (!m)
        return NULL;
    *m = (struct memory_entry){op->wall_ns, (uint32_t)op->num, key_n, op->blob.n};
    memcpy(m->bytes, op->key, key_n + 1);
    if (op->blob.n)
        memcpy(m->bytes + key_n + 1, op->blob.p, op->blob.n);
    return m;
}

/* ---- the two orders ---- */

/* Index of the first whose key is at least `key`. */
static size_t key_at(const struct memory_list *l, const char *key)
{
    size_t lo = 0, hi = l->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (strcmp(l->by_key[mid]->bytes, key) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static bool is_before(const struct memory_entry *m, uint32_t lane, int64_t due_wall_ns, const char *key)
{
    if (m->lane != lane)
        return m->lane < lane;
    if (m->due_wall_ns != due_wall_ns)
        return m->due_wall_ns < due_wall_ns;
    return strcmp(m->bytes, key) < 0;
}

static size_t due_at(const struct memory_list *l, uint32_t lane, int64_t due_wall_ns, const char *key)
{
    size_t lo = 0, hi = l->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (is_before(l->by_due[mid], lane, due_wall_ns, key))
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static bool has_key(const struct memory_list *l, size_t at, const char *key) { return at < l->n && strcmp(l->by_key[at]->bytes, key) == 0; }

static void link_at(struct memory_entry **all, size_t n, size_t at, struct memory_entry *m)
{
    memmove(&all[at + 1], &all[at], (n - at) * sizeof(struct memory_entry *));
    all[at] = m;
}

static void unlink_at(struct memory_entry **all, size_t n, size_t at)
{
    memmove(&all[at], &all[at + 1], (n - at - 1) * sizeof(struct memory_entry *));
}

static void insert(struct memory_list *l, struct memory_entry *m)
{
    assert(l->n < l->cap);
    link_at(l->by_key, l->n, key_at(l, m->bytes), m);
    link_at(l->by_due, l->n, due_at(l, m->lane, m->due_wall_ns, m->bytes), m);
    l->n++;
}

static void take_out(struct memory_list *l, struct memory_entry *m)
{
    unlink_at(l->by_key, l->n, key_at(l, m->bytes));
    unlink_at(l->by_due, l->n, due_at(l, m->lane, m->due_wall_ns, m->bytes));
    l->n--;
}

static bool reserve(struct memory_list *l)
{
    if (l->n < l->cap)
        return true;
    size_t cap = l->cap ? l->cap * 2 : 16, size = cap * sizeof(struct memory_entry *);
    struct memory_entry **by_key = realloc(l->by_key, size);
    if (!by_key)
        return false;
    l->by_key = by_key;
    struct memory_entry **by_due = realloc(l->by_due, size);
    if (!by_due)
        return false;
    l->by_due = by_due;
    l->cap = cap;
    return true;
}

/* ---- changes ---- */

static struct memory_list *list_need(struct u64map *lists, uint64_t id)
{
    struct memory_list *l = u64map_get(lists, id);
    if (l)
        return l;
    l = calloc(1, sizeof *l);
    if (l && u64map_put(lists, id, l, NULL)) {
        free(l);
        l = NULL;
    }
    return l;
}

static int prepare_write(struct memory_list *l, const struct store_op *op, struct memory_change *c, struct err *e)
{
    assert(!l->dropped); /* the engine's mistake: SQLite would lose the entry later */
    size_t at = key_at(l, op->key);
    bool taken = has_key(l, at, op->key);
    if (taken && op->kind == STORE_OP_ENTRY_ADD)
        return err_set(e, ERR_ALREADY_EXISTS, "entry %s of list %llu is there already", op->key, (unsigned long long)op->id);
    struct memory_entry *m = entry_new(op);
    if (!m || !reserve(l)) {
        free(m);
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for an entry");
    }
    c->removed = taken ? l->by_key[at] : NULL;
    if (c->removed)
        take_out(l, c->removed);
    insert(l, m);
    c->added = m;
    return 0;
}

int memory_entries_prepare(struct u64map *lists, const struct store_op *op, struct memory_change *c, struct err *e)
{
    struct memory_list *l = list_need(lists, op->id);
    if (!l)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for a list");
    if (op->kind == STORE_OP_ENTRIES_DROP) {
        c->before = *l;
        c->did_drop = true;
        *l = (struct memory_list){.dropped = true};
        return 0;
    }
    if (op->kind != STORE_OP_ENTRY_DELETE)
        return prepare_write(l, op, c, e);
    size_t at = key_at(l, op->key);
    if (has_key(l, at, op->key))
        take_out(l, c->removed = l->by_key[at]);
    return 0;
}

void memory_entries_take_back(struct u64map *lists, const struct store_op *op, struct memory_change *c)
{
    struct memory_list *l = u64map_get(lists, op->id);
    if (c->added) {
        take_out(l, c->added);
        free(c->added);
    }
    if (c->removed)
        insert(l, c->removed); /* there is room: there was when it was taken out */
    if (c->did_drop)
        *l = c->before;
}

static void list_clear(struct memory_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->by_key[i]);
    free(l->by_key);
    free(l->by_due);
}

void memory_entries_apply(struct memory_change *c)
{
    free(c->removed);
    if (c->did_drop)
        list_clear(&c->before);
}

void memory_entries_free(struct u64map *lists)
{
    size_t it = 0;
    uint64_t id;
    void *v;
    while (lists && u64map_next(lists, &it, &id, &v)) {
        list_clear(v);
        free(v);
    }
    u64map_free(lists);
}

/* ---- reads ---- */

/* Where a request begins, in which order, and whether one there belongs to it. */
struct walk {
    struct memory_entry **all;
    size_t at, end;
};

static struct walk begin(const struct memory_list *l, const struct store_entries *r)
{
    if (r->by == STORE_BY_DUE) {
        size_t at = due_at(l, r->lane_min, r->due_wall_ns, r->key);
        const struct memory_entry *m = at < l->n ? l->by_due[at] : NULL; /* at or after where it begins */
        if (m && m->lane == r->lane_min && m->due_wall_ns == r->due_wall_ns && strcmp(m->bytes, r->key) == 0)
            at++;
        return (struct walk){l->by_due, at, l->n};
    }
    size_t at = key_at(l, r->key);
    bool here = has_key(l, at, r->key);
    if (r->by == STORE_BY_KEY)
        return (struct walk){l->by_key, at, here ? at + 1 : at};
    return (struct walk){l->by_key, here ? at + 1 : at, l->n};
}

/* The next one that belongs to the request, or NULL. */
static const struct memory_entry *next_entry(struct walk *w, const struct store_entries *r)
{
    while (w->at < w->end) {
        const struct memory_entry *m = w->all[w->at++];
        if (r->by == STORE_BY_DUE)
            return m->lane == r->lane_min ? m : NULL;
        if (r->by == STORE_BY_KEY || (m->lane >= r->lane_min && m->lane <= r->lane_max))
            return m;
    }
    return NULL;
}

void memory_entries_read(struct u64map *lists, struct store_entries *r)
{
    const struct memory_list *l = u64map_get(lists, r->list_id);
    r->rows = NULL;
    r->n = 0;
    if (!l)
        return;
    const struct walk from = begin(l, r);
    struct walk w = from;
    size_t n = 0, bytes = 0;
    for (const struct memory_entry *m; (n == 0 || n < r->max_count) && (m = next_entry(&w, r)); n++) {
        size_t more = m->key_n + m->body_n;
        if (n && bytes + more > r->max_bytes)
            break;
        bytes += more;
    }
    if (!n)
        return;
    r->rows = malloc(n * sizeof r->rows[0] + bytes + n);
    if (!r->rows) {
        err_set(&r->item.err, ERR_RESOURCE_EXHAUSTED, "out of memory for %zu entries", n);
        return;
    }
    char *p = (char *)(r->rows + n);
    w = from;
    for (; r->n < n; r->n++) {
        const struct memory_entry *m = next_entry(&w, r);
        memcpy(p, m->bytes, m->key_n + 1 + m->body_n);
        r->rows[r->n] = (struct store_entry){p, m->lane, m->due_wall_ns, {p + m->key_n + 1, m->body_n}};
        p += m->key_n + 1 + m->body_n;
    }
}

int memory_entries_lanes(struct u64map *lists, uint64_t list_id, int (*fn)(void *arg, uint32_t lane, uint64_t count, struct err *e),
                         void *arg, struct err *e)
{
    const struct memory_list *l = u64map_get(lists, list_id);
    int rc = 0;
    for (size_t i = 0, from; l && i < l->n && rc == 0;) {
        for (from = i; i < l->n && l->by_due[i]->lane == l->by_due[from]->lane;)
            i++;
        rc = fn(arg, l->by_due[from]->lane, i - from, e);
    }
    return rc;
}

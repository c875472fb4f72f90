/** store_memory.c: the store of the simulator and of tests: what is committed survives store_memory_crash, what is queued does not.
 *  Shape:  requests wait in order until store_memory_step completes them; nothing happens by itself.
 *          A transaction is applied in two passes: the first takes all memory and checks appends, and can be taken back;
 *          the second cannot fail. */
#include "core/store/store_memory_int.h"

#include <assert.h>
#include <stdlib.h>

#define MEMORY_ENTRIES_MAX 10000000
#define MEMORY_KEY_MAX 2048

struct record { /* a resource or a meta value; kept with body NULL while absent */
    char *name;
    size_t kind_n; /* `name` is the key in the map: kind, KEY_SEPARATOR, name */
    char *body;
    size_t body_n;
    uint64_t value;
    bool present;
};
struct message_row {
    uint64_t seq;
    int64_t wall_ns;
    char *bytes;
    size_t n;
};
struct topic_log {
    struct message_row *rows; /* by seq */
    size_t n, cap;
    uint64_t next; /* one past the highest ever appended */
};
struct ack_state {
    uint64_t floor;
    struct u64map *chunks; /* number -> bits; NULL while dropped */
};
struct store_memory {
    struct store store;
    struct store_item *head, **tail;
    size_t queued, bytes_queued;
    struct map *records; /* resources and meta */
    struct u64map *topics, *acks, *lists;
    struct store_stats stats;
};

static struct store_memory *of(const struct store *s) { return CONTAINER_OF((struct store *)(uintptr_t)s, struct store_memory, store); }

/* ---- the tables ---- */

#define KEY_SEPARATOR '\x1f' /* in no resource name */

static bool record_key(char out[MEMORY_KEY_MAX], const char *kind, const char *name)
{
    size_t k = strlen(kind), n = strlen(name);
    if (k + n + 2 > MEMORY_KEY_MAX)
        return false;
    memcpy(out, kind, k);
    out[k] = KEY_SEPARATOR;
    memcpy(out + k + 1, name, n + 1);
    return true;
}

/* Found or made (absent). */
static struct record *record_need(struct store_memory *s, const char *kind, const char *name)
{
    char key[MEMORY_KEY_MAX];
    if (!record_key(key, kind, name))
        return NULL;
    struct record *r = map_get(s->records, key);
    if (r)
        return r;
    r = calloc(1, sizeof *r);
    if (r)
        r->name = strdup(key);
    if (!r || !r->name || map_put(s->records, key, r, NULL)) {
        if (r)
            free(r->name);
        free(r);
        return NULL;
    }
    r->kind_n = strlen(kind);
    return r;
}

static struct record *record_find(struct store_memory *s, const char *kind, const char *name)
{
    char key[MEMORY_KEY_MAX];
    return record_key(key, kind, name) ? map_get(s->records, key) : NULL;
}

static struct topic_log *topic_need(struct store_memory *s, uint64_t id)
{
    struct topic_log *t = u64map_get(s->topics, id);
    if (t)
        return t;
    t = calloc(1, sizeof *t);
    if (t && u64map_put(s->topics, id, t, NULL)) {
        free(t);
        t = NULL;
    }
    return t;
}

static struct ack_state *acks_need(struct store_memory *s, uint64_t id)
{
    struct ack_state *a = u64map_get(s->acks, id);
    if (a)
        return a;
    a = calloc(1, sizeof *a);
    if (!a)
        return NULL;
    a->chunks = u64map_new(MEMORY_ENTRIES_MAX);
    if (!a->chunks || u64map_put(s->acks, id, a, NULL)) {
        u64map_free(a->chunks);
        free(a);
        return NULL;
    }
    return a;
}

/* Index of the first row with at least `seq`. */
static size_t row_at(const struct topic_log *t, uint64_t seq)
{
    size_t lo = 0, hi = t->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (t->rows[mid].seq < seq)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* ---- transactions ---- */

/* What the first pass made ready for an operation. */
struct prepared {
    char *copy;           /* of body or bits, until the second pass takes it */
    uint64_t limit;       /* trim: what is dropped at most */
    uint64_t next_before; /* append: to take it back */
    bool appended;
    struct memory_change entries;
};

static int prepare_append(struct store_memory *s, const struct store_op *op, struct prepared *p, struct err *e)
{
    struct topic_log *t = topic_need(s, op->id);
    if (t && t->n == t->cap) {
        size_t cap = t->cap ? t->cap * 2 : 16;
        struct message_row *rows = realloc(t->rows, cap * sizeof *rows);
        if (rows) {
            t->rows = rows;
            t->cap = cap;
        }
    }
    char *bytes = malloc(op->blob.n + 1);
    if (!t || t->n == t->cap || !bytes) {
        free(bytes);
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for a message");
    }
    size_t at = row_at(t, op->num);
    if (at < t->n && t->rows[at].seq == op->num) {
        free(bytes);
        return err_set(e, ERR_ALREADY_EXISTS, "message %llu of topic %llu is there already", (unsigned long long)op->num,
                       (unsigned long long)op->id);
    }
    if (op->blob.n)
        memcpy(bytes, op->blob.p, op->blob.n);
    memmove(&t->rows[at + 1], &t->rows[at], (t->n - at) * sizeof t->rows[0]);
    t->rows[at] = (struct message_row){op->num, op->wall_ns, bytes, op->blob.n};
    t->n++;
    p->appended = true;
    p->next_before = t->next;
    if (op->num >= t->next)
        t->next = op->num + 1;
    return 0;
}

static int prepare(struct store_memory *s, const struct store_op *op, struct prepared *p, struct err *e)
{
    bool ok = true;
    struct ack_state *acks = NULL;
    switch (op->kind) {
    case STORE_OP_APPEND:
        return prepare_append(s, op, p, e);
    case STORE_OP_PUT:
        ok = record_need(s, op->key, op->name) != NULL;
        break;
    case STORE_OP_META:
        return record_need(s, "", op->key) ? 0 : err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for a number");
    case STORE_OP_TRIM: {
        struct topic_log *t = topic_need(s, op->id);
        if (!t)
            return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for a topic");
        p->limit = op->num < t->next ? op->num : t->next;
        return 0;
    }
    case STORE_OP_CHUNK:
        acks = acks_need(s, op->id);
        ok = acks && (u64map_get(acks->chunks, op->num) || u64map_put(acks->chunks, op->num, NULL, NULL) == 0);
        break;
    case STORE_OP_FLOOR:
        return acks_need(s, op->id) ? 0 : err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for acknowledgements");
    case STORE_OP_ENTRY_ADD:
    case STORE_OP_ENTRY_PUT:
    case STORE_OP_ENTRY_DELETE:
    case STORE_OP_ENTRIES_DROP:
        return memory_entries_prepare(s->lists, op, &p->entries, e);
    case STORE_OP_DELETE:
    case STORE_OP_DROP_ACKS:
        return 0;
    }
    p->copy = ok ? malloc(op->blob.n + 1) : NULL;
    if (!p->copy)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for a record");
    if (op->blob.n)
        memcpy(p->copy, op->blob.p, op->blob.n);
    return 0;
}

static void take_back(struct store_memory *s, const struct store_op *op, struct prepared *p)
{
    free(p->copy);
    memory_entries_take_back(s->lists, op, &p->entries);
    if (!p->appended)
        return;
    struct topic_log *t = u64map_get(s->topics, op->id);
    size_t at = row_at(t, op->num);
    free(t->rows[at].bytes);
    memmove(&t->rows[at], &t->rows[at + 1], (t->n - at - 1) * sizeof t->rows[0]);
    t->n--;
    t->next = p->next_before;
}

static void apply_trim(struct store_memory *s, uint64_t id, uint64_t below)
{
    struct topic_log *t = u64map_get(s->topics, id);
    size_t n = row_at(t, below);
    if (!n)
        return;
    for (size_t i = 0; i < n; i++)
        free(t->rows[i].bytes);
    memmove(t->rows, t->rows + n, (t->n - n) * sizeof t->rows[0]);
    t->n -= n;
}

static void drop_chunks_below(struct ack_state *a, uint64_t below)
{
    size_t it = 0;
    uint64_t chunk;
    void *bits;
    while (u64map_next(a->chunks, &it, &chunk, &bits))
        if (chunk < below) {
            free(bits);
            u64map_remove(a->chunks, chunk);
        }
}

static void drop_chunks(struct ack_state *a)
{
    size_t it = 0;
    uint64_t chunk;
    void *bits;
    while (u64map_next(a->chunks, &it, &chunk, &bits)) {
        free(bits);
        u64map_remove(a->chunks, chunk);
    }
}

static void apply_chunk(struct store_memory *s, const struct store_op *op, char *copy)
{
    struct ack_state *a = u64map_get(s->acks, op->id);
    free(u64map_get(a->chunks, op->num));
    /* No new memory: the entry is there from the first pass, or its place is if this transaction dropped it since. */
    if (u64map_put(a->chunks, op->num, copy, NULL))
        free(copy);
}

static void apply_put(struct store_memory *s, const struct store_op *op, char *copy)
{
    struct record *r = record_find(s, op->key, op->name);
    free(r->body);
    r->body = copy;
    r->body_n = op->blob.n;
    r->present = true;
}

static void apply_acks(struct store_memory *s, const struct store_op *op)
{
    struct ack_state *a = u64map_get(s->acks, op->id);
    if (op->kind == STORE_OP_FLOOR) {
        a->floor = op->num;
        drop_chunks_below(a, store_floor_chunk(op->num));
    } else if (a) {
        a->floor = 0;
        drop_chunks(a);
    }
}

static void apply(struct store_memory *s, const struct store_op *op, struct prepared *p)
{
    struct record *r;
    switch (op->kind) {
    case STORE_OP_APPEND:
        break; /* done by the first pass */
    case STORE_OP_PUT:
        apply_put(s, op, p->copy);
        break;
    case STORE_OP_DELETE:
        if ((r = record_find(s, op->key, op->name))) {
            free(r->body);
            r->body = NULL;
            r->body_n = 0;
            r->present = false;
        }
        break;
    case STORE_OP_META:
        r = record_find(s, "", op->key);
        r->value = op->num;
        r->present = true;
        break;
    case STORE_OP_TRIM:
        apply_trim(s, op->id, p->limit);
        break;
    case STORE_OP_CHUNK:
        apply_chunk(s, op, p->copy);
        break;
    case STORE_OP_FLOOR:
    case STORE_OP_DROP_ACKS:
        apply_acks(s, op);
        break;
    case STORE_OP_ENTRY_ADD:
    case STORE_OP_ENTRY_PUT:
    case STORE_OP_ENTRY_DELETE:
    case STORE_OP_ENTRIES_DROP:
        memory_entries_apply(&p->entries);
        break;
    }
}

static int commit(struct store_memory *s, struct store_txn *t, struct err *e)
{
    struct prepared few[STORE_TXN_OPS_INLINE] = {{0}};
    struct prepared *p = t->n <= ARRAY_LEN(few) ? few : calloc(t->n, sizeof *p);
    if (!p)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for a transaction");
    int rc = 0;
    size_t i = 0;
    for (; i < t->n && rc == 0; i++)
        rc = prepare(s, &t->ops[i], &p[i], e);
    if (rc)
        while (i-- > 0) /* newest first, so that `next` ends where it was */
            take_back(s, &t->ops[i], &p[i]);
    else
        for (i = 0; i < t->n; i++)
            apply(s, &t->ops[i], &p[i]);
    if (p != few)
        free(p);
    return rc;
}

/* ---- reads ---- */

static void run_read(struct store_memory *s, struct store_read *r)
{
    r->rows = NULL;
    r->n = 0;
    const struct topic_log *t = u64map_get(s->topics, r->topic_id);
    if (!t)
        return;
    size_t first = row_at(t, r->from_seq), n = 0, bytes = 0;
    while (first + n < t->n && (n == 0 || (n < r->max_count && bytes + t->rows[first + n].n <= r->max_bytes)))
        bytes += t->rows[first + n++].n;
    if (!n)
        return;
    r->rows = malloc(n * sizeof r->rows[0] + bytes);
    if (!r->rows) {
        err_set(&r->item.err, ERR_RESOURCE_EXHAUSTED, "out of memory for %zu messages", n);
        return;
    }
    char *p = (char *)(r->rows + n);
    for (size_t i = 0; i < n; i++) {
        const struct message_row *m = &t->rows[first + i];
        r->rows[i] = (struct store_row){m->seq, m->wall_ns, {memcpy(p, m->bytes, m->n), m->n}};
        p += m->n;
    }
    r->n = n;
}

static void run_seek(struct store_memory *s, struct store_seek *q)
{
    const struct topic_log *t = u64map_get(s->topics, q->topic_id);
    q->seq = t ? t->next : 0;
    if (!t)
        return;
    size_t lo = 0, hi = t->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (t->rows[mid].wall_ns < q->wall_ns)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo < t->n)
        q->seq = t->rows[lo].seq;
}

/* ---- the queue ---- */

static void enqueue(struct store_memory *s, struct store_item *i)
{
    *s->tail = i;
    s->tail = &i->next;
    s->queued++;
}

static struct store_item *dequeue(struct store_memory *s)
{
    struct store_item *i = s->head;
    s->head = i->next;
    if (!s->head)
        s->tail = &s->head;
    s->queued--;
    if (i->kind == STORE_ITEM_TXN)
        s->bytes_queued -= store_item_txn(i)->bytes;
    return i;
}

static void memory_submit(struct store *store, struct store_txn *t, store_done_fn done, void *arg)
{
    struct store_memory *s = of(store);
    assert(!t->broken);
    store_item_begin(&t->item, store, STORE_ITEM_TXN);
    t->done = done;
    t->arg = arg;
    if (s->bytes_queued + t->bytes > STORE_QUEUE_BYTES_MAX) {
        err_set(&t->item.err, ERR_RESOURCE_EXHAUSTED, "too much waits to be stored: try again later");
        store_txn_drop_ops(t);
        t->bytes = 0;
    }
    s->bytes_queued += t->bytes;
    enqueue(s, &t->item);
}

static void memory_read(struct store *store, struct store_read *r)
{
    store_item_begin(&r->item, store, STORE_ITEM_READ);
    enqueue(of(store), &r->item);
}

static void memory_seek(struct store *store, struct store_seek *q)
{
    store_item_begin(&q->item, store, STORE_ITEM_SEEK);
    enqueue(of(store), &q->item);
}

static void memory_entries(struct store *store, struct store_entries *r)
{
    store_item_begin(&r->item, store, STORE_ITEM_ENTRIES);
    enqueue(of(store), &r->item);
}

static void complete(struct store_memory *s, enum err_code fail)
{
    struct store_item *i = dequeue(s);
    if (i->kind == STORE_ITEM_READ) {
        run_read(s, store_item_read(i));
    } else if (i->kind == STORE_ITEM_SEEK) {
        run_seek(s, store_item_seek(i));
    } else if (i->kind == STORE_ITEM_ENTRIES) {
        memory_entries_read(s->lists, store_item_entries(i));
    } else if (i->err.code == ERR_OK) {
        if (fail != ERR_OK)
            err_set(&i->err, fail, "the store failed as it was told to");
        else
            (void)(commit(s, store_item_txn(i), &i->err) == 0 && s->stats.transactions++);
        s->stats.full = i->err.code == ERR_RESOURCE_EXHAUSTED;
        s->stats.commits++;
    }
    store_item_finish(i);
}

size_t store_memory_step(struct store *store, size_t n, enum err_code fail)
{
    struct store_memory *s = of(store);
    size_t did = 0;
    for (; did < n && s->head; did++)
        complete(s, fail);
    return did;
}

size_t store_memory_queued(const struct store *s) { return of(s)->queued; }

void store_memory_crash(struct store *store)
{
    struct store_memory *s = of(store);
    while (s->head) {
        struct store_item *i = dequeue(s);
        if (i->kind == STORE_ITEM_TXN)
            store_txn_free(store_item_txn(i));
    }
}

static struct store_stats memory_stats(struct store *store)
{
    struct store_stats st = of(store)->stats;
    st.bytes_queued = of(store)->bytes_queued;
    return st;
}

/* ---- loading ---- */

static int memory_load_resources(struct store *store, const char *kind,
                                 int (*fn)(void *arg, const char *name, struct str body, struct err *e), void *arg, struct err *e)
{
    struct store_memory *s = of(store);
    size_t n = map_count(s->records), kind_n = strlen(kind);
    struct record **all = (struct record **)map_sorted(s->records);
    if (!all && n)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory to load %s", kind);
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++)
        if (all[i]->present && all[i]->kind_n == kind_n && memcmp(all[i]->name, kind, kind_n) == 0)
            rc = fn(arg, all[i]->name + kind_n + 1, (struct str){all[i]->body, all[i]->body_n}, e);
    free(all);
    return rc;
}

static int memory_load_meta(struct store *store, const char *key, uint64_t *value, struct err *e)
{
    const struct record *r = record_find(of(store), "", key);
    *value = r && r->present ? r->value : 0;
    return 0;
}

static int memory_topic_bounds(struct store *store, uint64_t topic_id, uint64_t *first, uint64_t *next, struct err *e)
{
    const struct topic_log *t = u64map_get(of(store)->topics, topic_id);
    *next = t ? t->next : 0;
    *first = t && t->n ? t->rows[0].seq : *next;
    return 0;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static int memory_load_acks(struct store *store, uint64_t sub_id, uint64_t *floor,
                            int (*fn)(void *arg, uint64_t chunk, const uint8_t *bits, struct err *e), void *arg, struct err *e)
{
    const struct ack_state *a = u64map_get(of(store)->acks, sub_id);
    *floor = a ? a->floor : 0;
    size_t n = a ? u64map_count(a->chunks) : 0, filled = 0, it = 0;
    if (!n)
        return 0;
    uint64_t *chunks = malloc(n * sizeof *chunks);
    if (!chunks)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory to load acknowledgements");
    void *bits;
    while (filled < n && u64map_next(a->chunks, &it, &chunks[filled], &bits))
        filled++;
    qsort(chunks, filled, sizeof *chunks, by_number);
    int rc = 0;
    for (size_t i = 0; i < filled && rc == 0; i++)
        if ((bits = u64map_get(a->chunks, chunks[i])))
            rc = fn(arg, chunks[i], bits, e);
    free(chunks);
    return rc;
}

static int memory_load_lanes(struct store *store, uint64_t list_id, int (*fn)(void *arg, uint32_t lane, uint64_t count, struct err *e),
                             void *arg, struct err *e)
{
    return memory_entries_lanes(of(store)->lists, list_id, fn, arg, e);
}

/* ---- lifecycle ---- */

static void free_tables(struct store_memory *s)
{
    size_t it = 0;
    uint64_t id;
    void *v;
    const char *key;
    while (s->records && map_next(s->records, &it, &key, &v)) {
        struct record *r = v;
        free(r->name);
        free(r->body);
        free(r);
    }
    for (it = 0; s->topics && u64map_next(s->topics, &it, &id, &v);) {
        struct topic_log *t = v;
        for (size_t i = 0; i < t->n; i++)
            free(t->rows[i].bytes);
        free(t->rows);
        free(t);
    }
    for (it = 0; s->acks && u64map_next(s->acks, &it, &id, &v);) {
        struct ack_state *a = v;
        drop_chunks(a);
        u64map_free(a->chunks);
        free(a);
    }
    map_free(s->records);
    u64map_free(s->topics);
    u64map_free(s->acks);
    memory_entries_free(s->lists);
}

static void memory_close(struct store *store)
{
    struct store_memory *s = of(store);
    while (s->head)
        complete(s, ERR_OK);
    free_tables(s);
    free(s);
}

static const struct store_ops memory_ops = {
    .submit = memory_submit,
    .read = memory_read,
    .seek = memory_seek,
    .entries = memory_entries,
    .stats = memory_stats,
    .close = memory_close,
    .load_resources = memory_load_resources,
    .load_meta = memory_load_meta,
    .topic_bounds = memory_topic_bounds,
    .load_acks = memory_load_acks,
    .load_lanes = memory_load_lanes,
};

struct store *store_memory_new(void)
{
    struct store_memory *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->store = (struct store){&memory_ops, 1};
    s->tail = &s->head;
    s->records = map_new(MEMORY_ENTRIES_MAX);
    s->topics = u64map_new(MEMORY_ENTRIES_MAX);
    s->acks = u64map_new(MEMORY_ENTRIES_MAX);
    s->lists = u64map_new(MEMORY_ENTRIES_MAX);
    if (!s->records || !s->topics || !s->acks || !s->lists) {
        free_tables(s);
        free(s);
        return NULL;
    }
    return &s->store;
}

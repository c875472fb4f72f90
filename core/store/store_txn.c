/** store_txn.c: building a transaction, and reporting what became of a request: shared by the stores. */
#include "core/store/store_int.h"

#include <assert.h>
#include <stdlib.h>

#define META_NEXT_LIST "next-list"
#define META_NEXT_RUN_LIST "run.next-list" /* once jobs had a counter of their own, far above the other */

int store_lists_load(struct store *s, struct err *e)
{
    static const char *const keys[] = {META_NEXT_LIST, META_NEXT_RUN_LIST};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        uint64_t next = 0;
        int rc = s->ops->load_meta(s, keys[i], &next, e);
        if (rc == 0 && next > INT64_MAX)
            rc = err_set(e, ERR_DATA_LOSS, "meta \"%s\": %llu is no number of a list", keys[i], (unsigned long long)next);
        if (rc)
            return rc;
        s->next_list = next > s->next_list ? next : s->next_list;
    }
    return 0;
}

int store_txn_lists(struct store_txn *t, const struct store *s, struct err *e)
{
    return store_txn_meta(t, META_NEXT_LIST, s->next_list, e);
}

struct store_txn *store_txn_new(void)
{
    struct store_txn *t = malloc(sizeof *t);
    if (!t)
        return NULL;
    /* Field by field: clearing the whole of it would cost more than most transactions. */
    t->done = NULL;
    t->arg = NULL;
    t->bytes = sizeof *t;
    t->broken = false;
    t->n = 0;
    t->cap = STORE_TXN_OPS_INLINE;
    t->ops = t->first_ops;
    return t;
}

void store_txn_drop_ops(struct store_txn *t)
{
    for (size_t i = 0; i < t->n; i++)
        free(t->ops[i].owned);
    if (t->ops != t->first_ops)
        free(t->ops);
    t->ops = t->first_ops;
    t->cap = STORE_TXN_OPS_INLINE;
    t->n = 0;
}

void store_txn_free(struct store_txn *t)
{
    if (!t)
        return;
    store_txn_drop_ops(t);
    free(t);
}

static int broken(struct store_txn *t, struct err *e)
{
    t->broken = true;
    return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for a change to the store");
}

static int grow(struct store_txn *t)
{
    size_t cap = t->cap * 2;
    if (cap > STORE_TXN_OPS_MAX)
        return -1;
    struct store_op *ops = malloc(cap * sizeof *ops);
    if (!ops)
        return -1;
    memcpy(ops, t->ops, t->n * sizeof *ops);
    if (t->ops != t->first_ops)
        free(t->ops);
    t->ops = ops;
    t->cap = cap;
    return 0;
}

/* The next operation, counted; NULL when memory is out. */
static struct store_op *add_op(struct store_txn *t, enum store_op_kind kind)
{
    if (t->broken || (t->n == t->cap && grow(t)))
        return NULL;
    struct store_op *op = &t->ops[t->n++];
    *op = (struct store_op){.kind = kind};
    t->bytes += sizeof *op;
    return op;
}

/* Copy key, name and blob behind one allocation; name may be NULL. */
static int own(struct store_txn *t, struct store_op *op, const char *key, const char *name, struct str blob)
{
    size_t key_n = key ? strlen(key) + 1 : 0, name_n = name ? strlen(name) + 1 : 0;
    op->owned = malloc(key_n + name_n + blob.n + 1); /* never of size 0, so that an empty body has an address */
    if (!op->owned)
        return -1;
    char *p = op->owned;
    if (key)
        op->key = memcpy(p, key, key_n);
    if (name)
        op->name = memcpy(p + key_n, name, name_n);
    if (blob.n)
        memcpy(p + key_n + name_n, blob.p, blob.n);
    op->blob = (struct str){p + key_n + name_n, blob.n};
    t->bytes += key_n + name_n + blob.n;
    return 0;
}

static int too_large(struct store_txn *t, size_t n, struct err *e)
{
    t->broken = true;
    return err_set(e, ERR_INVALID_ARGUMENT, "a record of %zu bytes is larger than the %u the store takes", n, STORE_BLOB_MAX);
}

int store_txn_put(struct store_txn *t, const char *kind, const char *name, struct str body, struct err *e)
{
    assert(kind && *kind && name && *name);
    if (body.n > STORE_BLOB_MAX)
        return too_large(t, body.n, e);
    struct store_op *op = add_op(t, STORE_OP_PUT);
    return op && own(t, op, kind, name, body) == 0 ? 0 : broken(t, e);
}

int store_txn_delete(struct store_txn *t, const char *kind, const char *name, struct err *e)
{
    assert(kind && *kind && name && *name);
    struct store_op *op = add_op(t, STORE_OP_DELETE);
    return op && own(t, op, kind, name, (struct str){0}) == 0 ? 0 : broken(t, e);
}

int store_txn_meta(struct store_txn *t, const char *key, uint64_t value, struct err *e)
{
    assert(key && *key);
    struct store_op *op = add_op(t, STORE_OP_META);
    if (!op || own(t, op, key, NULL, (struct str){0}))
        return broken(t, e);
    op->num = value;
    return 0;
}

int store_txn_append(struct store_txn *t, uint64_t topic_id, uint64_t seq, int64_t wall_ns, struct str blob, struct err *e)
{
    assert(topic_id <= STORE_TOPIC_ID_MAX && seq <= STORE_SEQ_MAX);
    if (blob.n > STORE_BLOB_MAX)
        return too_large(t, blob.n, e);
    struct store_op *op = add_op(t, STORE_OP_APPEND);
    if (!op)
        return broken(t, e);
    op->id = topic_id;
    op->num = seq;
    op->wall_ns = wall_ns;
    op->blob = blob;
    t->bytes += blob.n;
    return 0;
}

static int add_numbers(struct store_txn *t, enum store_op_kind kind, uint64_t id, uint64_t num, struct err *e)
{
    struct store_op *op = add_op(t, kind);
    if (!op)
        return broken(t, e);
    op->id = id;
    op->num = num;
    return 0;
}

int store_txn_trim(struct store_txn *t, uint64_t topic_id, uint64_t below_seq, struct err *e)
{
    assert(topic_id <= STORE_TOPIC_ID_MAX);
    return add_numbers(t, STORE_OP_TRIM, topic_id, below_seq, e);
}

int store_txn_floor(struct store_txn *t, uint64_t sub_id, uint64_t floor_seq, struct err *e)
{
    return add_numbers(t, STORE_OP_FLOOR, sub_id, floor_seq, e);
}

int store_txn_chunk(struct store_txn *t, uint64_t sub_id, uint64_t chunk, const uint8_t bits[ACK_CHUNK_BYTES], struct err *e)
{
    struct store_op *op = add_op(t, STORE_OP_CHUNK);
    if (!op || own(t, op, NULL, NULL, (struct str){(const char *)bits, ACK_CHUNK_BYTES}))
        return broken(t, e);
    op->id = sub_id;
    op->num = chunk;
    return 0;
}

int store_txn_drop_acks(struct store_txn *t, uint64_t sub_id, struct err *e) { return add_numbers(t, STORE_OP_DROP_ACKS, sub_id, 0, e); }

static int add_entry(struct store_txn *t, enum store_op_kind kind, uint64_t list_id, const struct store_entry *entry, struct err *e)
{
    assert(*entry->key && strlen(entry->key) <= STORE_ENTRY_KEY_MAX && entry->lane <= STORE_LANE_MAX);
    if (entry->body.n > STORE_BLOB_MAX)
        return too_large(t, entry->body.n, e);
    struct store_op *op = add_op(t, kind);
    if (!op || own(t, op, entry->key, NULL, entry->body))
        return broken(t, e);
    op->id = list_id;
    op->num = entry->lane;
    op->wall_ns = entry->due_wall_ns;
    return 0;
}

int store_txn_entry_add(struct store_txn *t, uint64_t list_id, const struct store_entry *entry, struct err *e)
{
    return add_entry(t, STORE_OP_ENTRY_ADD, list_id, entry, e);
}

int store_txn_entry_put(struct store_txn *t, uint64_t list_id, const struct store_entry *entry, struct err *e)
{
    return add_entry(t, STORE_OP_ENTRY_PUT, list_id, entry, e);
}

int store_txn_entry_delete(struct store_txn *t, uint64_t list_id, const char *key, struct err *e)
{
    return add_entry(t, STORE_OP_ENTRY_DELETE, list_id, &(struct store_entry){.key = key}, e);
}

int store_txn_entries_drop(struct store_txn *t, uint64_t list_id, struct err *e)
{
    return add_numbers(t, STORE_OP_ENTRIES_DROP, list_id, 0, e);
}

void store_item_begin(struct store_item *i, struct store *s, enum store_item_kind kind)
{
    i->next = NULL;
    i->store = s;
    i->kind = (int)kind;
    i->err.code = ERR_OK;
}

void store_item_finish(struct store_item *i)
{
    const struct err *e = i->err.code == ERR_OK ? NULL : &i->err;
    if (i->kind == STORE_ITEM_TXN) {
        struct store_txn *t = store_item_txn(i);
        if (t->done)
            t->done(t->arg, e);
        store_txn_free(t);
    } else if (i->kind == STORE_ITEM_READ) {
        struct store_read *r = store_item_read(i);
        struct store_row *rows = r->rows; /* done may free or reuse the request */
        r->done(r, e);
        free(rows);
    } else if (i->kind == STORE_ITEM_ENTRIES) {
        struct store_entries *r = store_item_entries(i);
        struct store_entry *rows = r->rows;
        r->done(r, e);
        free(rows);
    } else {
        struct store_seek *q = store_item_seek(i);
        q->done(q, e);
    }
}

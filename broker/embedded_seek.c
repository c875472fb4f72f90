/* embedded_seek.c: seeks and snapshots of the embedded adapter. A snapshot is a reader that only keeps its ackset. */
#include "broker/embedded_int.h"

#include <stdlib.h>

/* ---- seeks ---- */

static struct adapter_sub *sub_of(const struct op *op)
{
    struct reader *r = u64map_get(op->topic->a->readers, op->n);
    struct adapter_sub *s = r ? CONTAINER_OF(r, struct adapter_sub, r) : NULL;
    return s && s->epoch == op->epoch ? s : NULL;
}

static void fail_seek(struct op *op, const struct err *e)
{
    struct err gone;
    struct adapter_sub *s = sub_of(op);
    if (!e)
        err_set(&gone, ERR_CANCELLED, "the subscription is gone or was sought again");
    if (s) {
        s->seeking = false;
        sub_restart(s);
    }
    op_complete(op, e ? e : &gone);
}

static void begin_seek(struct adapter_sub *s)
{
    s->epoch++;
    s->seeking = true;
    s->credit_count = 0;
    s->credit_bytes = 0;
    if (s->page)
        s->page->sub = NULL;
    s->page = NULL;
    if (s->work_list)
        list_remove(s->work_list, &s->work);
    s->work_list = NULL;
}

/* The set is as it shall be: read it from its floor, and answer once it is durable. */
static void finish_seek(struct adapter_sub *s, adapter_done_fn done, void *arg)
{
    struct err e;
    struct op *ack = op_new(s->r.topic->a, NULL, arg);
    s->seeking = false;
    sub_restart(s);
    sub_mark_dirty(s);
    if (!ack) {
        err_set(&e, ERR_RESOURCE_EXHAUSTED, "seek: out of memory");
        fail_later(s->r.topic->a, done, NULL, arg, &e);
        return;
    }
    ack->done = done;
    list_append(&s->ack_ops, &ack->link);
}

/* Second look-up: from where acknowledged messages come back. */
static void on_restore_found(struct op *op, const struct err *e)
{
    struct adapter_sub *s = sub_of(op);
    topic_release(op->topic);
    if (e || !s) {
        fail_seek(op, e);
        return;
    }
    uint64_t from = op->seek.seq > s->r.start_seq || op->topic->retention_ns ? op->seek.seq : s->r.start_seq;
    ackset_raise(&s->r.acks, op->seq);
    ackset_clear_from(&s->r.acks, from > op->seq ? from : op->seq);
    finish_seek(s, op->done, op->arg);
}

static struct op *seek_op(struct adapter_sub *s, op_fn then, int64_t wall_ns, adapter_done_fn done, void *arg)
{
    struct op *op = op_new(s->r.topic->a, then, arg);
    if (!op)
        return NULL;
    op->done = done;
    op->topic = s->r.topic;
    op->n = s->r.id;
    op->epoch = s->epoch;
    op->wall_ns = wall_ns;
    op->seek = (struct store_seek){.topic_id = s->r.topic->id, .wall_ns = wall_ns};
    s->r.topic->under_way++;
    return op;
}

/* First look-up: everything before this is acknowledged. What comes after is unacknowledged again as far back as acknowledged
 * messages are kept at all: the subscription's retention with retain_acked, or the topic's. */
static void on_time_found(struct op *op, const struct err *e)
{
    struct adapter_sub *s = sub_of(op);
    topic_release(op->topic);
    if (e || !s) {
        fail_seek(op, e);
        return;
    }
    struct adapter_topic *t = s->r.topic;
    int64_t kept_ns = s->retain_acked ? s->retention_ns : 0;
    kept_ns = t->retention_ns > kept_ns ? t->retention_ns : kept_ns;
    uint64_t found = op->seek.seq < t->visible ? op->seek.seq : t->visible;
    if (kept_ns == 0) {
        ackset_raise(&s->r.acks, found);
        finish_seek(s, op->done, op->arg);
        return;
    }
    int64_t restore_ns = env_wall(t->a->env) - kept_ns;
    struct op *next = seek_op(s, on_restore_found, restore_ns > op->wall_ns ? restore_ns : op->wall_ns, op->done, op->arg);
    if (!next) {
        struct err full;
        err_set(&full, ERR_RESOURCE_EXHAUSTED, "seek: out of memory");
        fail_seek(op, &full);
        return;
    }
    next->seq = found;
    op_seek(next);
}

void embedded_seek_time(struct adapter_sub *s, int64_t wall_ns, adapter_done_fn done, void *arg)
{
    struct adapter_topic *t = s->r.topic;
    begin_seek(s);
    if (wall_ns > t->last_wall_ns && wall_ns >= env_wall(t->a->env)) {
        ackset_raise(&s->r.acks, t->next); /* all that was published until now */
        finish_seek(s, done, arg);
        return;
    }
    struct op *op = seek_op(s, on_time_found, wall_ns, done, arg);
    if (!op) {
        struct err e;
        err_set(&e, ERR_RESOURCE_EXHAUSTED, "seek: out of memory");
        s->seeking = false;
        sub_restart(s);
        fail_later(t->a, done, NULL, arg, &e);
        return;
    }
    op_seek(op);
}

void embedded_seek_snapshot(struct adapter_sub *s, const char *snapshot, adapter_done_fn done, void *arg)
{
    struct embedded *a = s->r.topic->a;
    struct err e;
    uint64_t id;
    struct reader *r = parse_handle(snapshot, 'n', &id, &e) ? NULL : u64map_get(a->readers, id);
    if (!r || !r->snapshot || r->topic != s->r.topic) {
        err_set(&e, ERR_NOT_FOUND, "embedded snapshot \"%.40s\" does not exist on this topic", snapshot);
        fail_later(a, done, NULL, arg, &e);
        return;
    }
    begin_seek(s);
    if (ackset_copy(&s->r.acks, &r->acks, &e)) {
        s->seeking = false;
        sub_restart(s);
        fail_later(a, done, NULL, arg, &e);
        return;
    }
    finish_seek(s, done, arg);
}

/* ---- snapshots ---- */

struct reader *snapshot_make(struct adapter_topic *t, uint64_t id, struct err *e)
{
    struct reader *r = calloc(1, sizeof *r);
    if (!r || ackset_init(&r->acks, t->first, e)) {
        free(r);
        err_set(e, ERR_RESOURCE_EXHAUSTED, "snapshot: out of memory");
        return NULL;
    }
    r->snapshot = true;
    if (reader_join(r, t, id, e)) {
        ackset_fini(&r->acks);
        free(r);
        return NULL;
    }
    return r;
}

void snapshot_free(struct reader *r)
{
    list_remove(&r->topic->readers, &r->link);
    u64map_remove(r->topic->a->readers, r->id);
    ackset_fini(&r->acks);
    free(r);
}

static void on_created(struct op *op, const struct err *e)
{
    if (e)
        snapshot_free(op->reader);
    op_complete(op, e);
}

void embedded_snapshot_create(struct adapter_sub *s, const char *name, adapter_handle_fn done, void *arg)
{
    struct embedded *a = s->r.topic->a;
    struct store_txn *txn = store_txn_new();
    struct op *op = op_new(a, on_created, arg);
    struct err e = {.code = ERR_RESOURCE_EXHAUSTED, .msg = "snapshot: out of memory"};
    struct reader *r = txn && op ? snapshot_make(s->r.topic, a->next_reader, &e) : NULL;
    if (r && ackset_copy(&r->acks, &s->r.acks, &e) == 0 && reader_put(txn, r, &e) == 0 &&
        ackset_store(&r->acks, txn, r->id, true, &e) == 0 && store_txn_meta(txn, "embedded.next_reader", a->next_reader + 1, &e) == 0) {
        a->next_reader++;
        r->opened = true;
        op->reader = r;
        op->handle_done = done;
        reader_handle(r, op->handle);
        op_submit(op, txn);
        return;
    }
    if (r)
        snapshot_free(r);
    store_txn_free(txn);
    free(op);
    fail_later(a, NULL, done, arg, &e);
}

static void on_deleted(struct op *op, const struct err *e)
{
    struct adapter_topic *t = op->topic;
    op_complete(op, e);
    topic_release(t);
}

void embedded_snapshot_delete(struct adapter_topic *t, const char *snapshot, adapter_done_fn done, void *arg)
{
    struct store_txn *txn = store_txn_new();
    struct op *op = op_new(t->a, on_deleted, arg);
    struct err e = {.code = ERR_RESOURCE_EXHAUSTED, .msg = "snapshot: out of memory"};
    uint64_t id;
    struct reader *r = parse_handle(snapshot, 'n', &id, &e) ? NULL : u64map_get(t->a->readers, id);
    if (!txn || !op || !r || !r->snapshot || r->topic != t || store_txn_delete(txn, "embedded-snapshot", snapshot, &e) ||
        store_txn_drop_acks(txn, id, &e)) {
        if (txn && op && !r)
            err_set(&e, ERR_NOT_FOUND, "embedded snapshot \"%.40s\" does not exist", snapshot);
        store_txn_free(txn);
        free(op);
        fail_later(t->a, done, NULL, arg, &e);
        return;
    }
    snapshot_free(r);
    op->topic = t;
    op->done = done;
    t->under_way++;
    op_submit(op, txn);
}

int embedded_snapshot_open(struct adapter_topic *t, const char *snapshot, struct err *e)
{
    uint64_t id;
    if (parse_handle(snapshot, 'n', &id, e))
        return -ERR_NOT_FOUND;
    struct reader *r = u64map_get(t->a->readers, id);
    if (!r || !r->snapshot || r->topic != t)
        return err_set(e, ERR_NOT_FOUND, "embedded snapshot \"%s\" does not exist", snapshot);
    if (r->opened)
        return err_set(e, ERR_ALREADY_EXISTS, "embedded snapshot \"%s\" is another snapshot's", snapshot);
    r->opened = true;
    return 0;
}

/* adapter_embedded.c: the embedded adapter's life: loading, the operations under way, the pump, closing. */
#include "broker/embedded_int.h"

#include "broker/records.pb-c.h"
#include "core/base/text.h"
#include "core/rpc/pb.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- operations ---- */

struct op *op_new(struct embedded *a, op_fn then, void *arg)
{
    struct op *op = calloc(1, sizeof *op);
    if (!op)
        return NULL;
    op->a = a;
    op->then = then;
    op->arg = arg;
    node_init(&op->link);
    return op;
}

void op_complete(struct op *op, const struct err *e)
{
    if (op->done)
        op->done(op->arg, e);
    else if (op->handle_done)
        op->handle_done(op->arg, e ? NULL : op->handle, e);
}

/* The store has answered. */
static void op_answered(struct op *op, const struct err *e)
{
    struct embedded *a = op->a;
    if (!a) {
        free(op);
        return;
    }
    list_remove(&a->ops, &op->link);
    if (op->then)
        op->then(op, e);
    else
        op_complete(op, e);
    free(op);
    if (a->closing)
        pump_arm(a);
}

static void on_txn_done(void *arg, const struct err *e) { op_answered(arg, e); }
static void on_read_done(struct store_read *r, const struct err *e) { op_answered(CONTAINER_OF(r, struct op, read), e); }
static void on_seek_done(struct store_seek *q, const struct err *e) { op_answered(CONTAINER_OF(q, struct op, seek), e); }

void op_submit(struct op *op, struct store_txn *t)
{
    list_append(&op->a->ops, &op->link);
    store_submit(op->a->store, t, on_txn_done, op);
}

void op_read(struct op *op)
{
    op->read.done = on_read_done;
    list_append(&op->a->ops, &op->link);
    op->a->store->ops->read(op->a->store, &op->read);
}

void op_seek(struct op *op)
{
    op->seek.done = on_seek_done;
    list_append(&op->a->ops, &op->link);
    op->a->store->ops->seek(op->a->store, &op->seek);
}

void op_later(struct op *op, const struct err *e)
{
    op->err = e ? *e : (struct err){0};
    list_append(&op->a->waiting, &op->link);
    pump_arm(op->a);
}

void fail_later(struct embedded *a, adapter_done_fn done, adapter_handle_fn handle_done, void *arg, const struct err *e)
{
    struct op now = {.done = done, .handle_done = handle_done, .arg = arg};
    struct op *op = done || handle_done ? op_new(a, NULL, arg) : NULL;
    if (!op) {
        op_complete(&now, e);
        return;
    }
    op->done = done;
    op->handle_done = handle_done;
    op_later(op, e);
}

/* ---- the pump ---- */

void pump_arm(struct embedded *a)
{
    struct err e;
    if (!timer_armed(&a->pump) && timer_set(a->env->timers, &a->pump, env_now(a->env), &e))
        log_kv(a->env->log, LOG_ERROR, "embedded.pump", LSTR("error", e.msg));
}

void retry_arm(struct embedded *a)
{
    struct err e;
    if (!timer_armed(&a->retry) && timer_set(a->env->timers, &a->retry, env_now(a->env) + RETRY_NS, &e))
        log_kv(a->env->log, LOG_ERROR, "embedded.retry", LSTR("error", e.msg));
}

static void run_waiting(struct embedded *a)
{
    struct list batch;
    list_init(&batch);
    for (struct node *n; (n = list_pop(&a->waiting));)
        list_append(&batch, n);
    for (struct node *n; (n = list_pop(&batch));) {
        struct op *op = CONTAINER_OF(n, struct op, link);
        op_complete(op, op->err.code == ERR_OK ? NULL : &op->err);
        free(op);
    }
}

static void run_work(struct embedded *a)
{
    for (size_t room = PAGES_MAX - a->pages; room > 0 && a->paging.count; room--) {
        struct node *n = list_pop(&a->paging);
        CONTAINER_OF(n, struct adapter_sub, work)->work_list = &a->work;
        list_append(&a->work, n);
    }
    size_t turns = a->work.count < WORK_SUBS_MAX ? a->work.count : WORK_SUBS_MAX;
    for (; turns > 0; turns--) {
        struct node *n = list_pop(&a->work);
        if (!n)
            return;
        struct adapter_sub *s = CONTAINER_OF(n, struct adapter_sub, work);
        s->work_list = NULL;
        sub_pump(s);
    }
}

static void free_all(struct embedded *a, bool free_ops);

static bool finish_close(struct embedded *a)
{
    if (!a->closing || a->ops.count || a->waiting.count || (a->dirty.count && a->flush_after_ns <= env_now(a->env)))
        return false;
    adapter_done_fn done = a->close_done;
    void *arg = a->close_arg;
    free_all(a, true);
    if (done)
        done(arg, NULL);
    return true;
}

static void on_pump(struct timer *timer, int64_t now_ns)
{
    struct embedded *a = CONTAINER_OF(timer, struct embedded, pump);
    run_waiting(a);
    if (!a->closing)
        run_work(a);
    flush_acks(a);
    if (!finish_close(a) && (a->waiting.count || a->work.count || (a->paging.count && a->pages < PAGES_MAX)))
        pump_arm(a);
}

static void on_gather(struct timer *timer, int64_t now_ns) { pump_arm(CONTAINER_OF(timer, struct embedded, gather)); }

static void on_retry(struct timer *timer, int64_t now_ns)
{
    struct embedded *a = CONTAINER_OF(timer, struct embedded, retry);
    for (struct node *n; (n = list_pop(&a->stalled));) {
        struct adapter_sub *s = CONTAINER_OF(n, struct adapter_sub, work);
        s->work_list = NULL;
        sub_wake(s);
    }
    pump_arm(a);
}

/* ---- handles and records ---- */

int parse_handle(const char *handle, char kind, uint64_t *id, struct err *e)
{
    bool zero = handle[0] && handle[1] == '0'; /* numbers start at 1 and are written in one way only */
    if (handle[0] != kind || zero || parse_u64(str_of(handle + 1), UINT64_MAX, id, NULL))
        return err_set(e, ERR_NOT_FOUND, "embedded: \"%.40s\" is no handle of this kind", handle);
    return 0;
}

int reader_join(struct reader *r, struct adapter_topic *t, uint64_t id, struct err *e)
{
    if (id > READER_ID_MAX) /* only a damaged store has counted so far; one more and it would not load */
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "%s: all numbers of readers are used, \"embedded.next_reader\" is damaged",
                       r->snapshot ? "snapshot" : "subscription");
    r->id = id;
    r->topic = t;
    node_init(&r->link);
    int rc = u64map_put(t->a->readers, id, r, e);
    if (rc == 0)
        list_append(&t->readers, &r->link);
    return rc;
}

void reader_handle(const struct reader *r, char out[HANDLE_BYTES])
{
    snprintf(out, HANDLE_BYTES, "%c%llu", r->snapshot ? 'n' : 's', (unsigned long long)r->id);
}

int reader_put(struct store_txn *t, const struct reader *r, struct err *e)
{
    Runnel__Broker__EmbeddedReader record = RUNNEL__BROKER__EMBEDDED_READER__INIT;
    char handle[HANDLE_BYTES], *bytes;
    size_t len;
    record.topic_id = r->topic->id;
    record.start_seq = r->start_seq;
    reader_handle(r, handle);
    if (pb_pack(&record.base, &bytes, &len, e))
        return -ERR_RESOURCE_EXHAUSTED;
    int rc = store_txn_put(t, r->snapshot ? "embedded-snapshot" : "embedded-sub", handle, (struct str){bytes, len}, e);
    free(bytes);
    return rc;
}

/* ---- loading ---- */

static int damaged(const char *kind, const char *handle, const char *why, struct err *e)
{
    return err_set(e, ERR_DATA_LOSS, "%s record \"%.40s\": %s", kind, handle, why);
}

static int load_topic(void *arg, const char *name, struct str body, struct err *e)
{
    struct embedded *a = arg;
    uint64_t id;
    if (parse_handle(name, 't', &id, e) || id > STORE_TOPIC_ID_MAX)
        return damaged("embedded-topic", name, "no topic has such a handle", e);
    Runnel__Broker__EmbeddedTopic *record = pb_unpack_heap(&runnel__broker__embedded_topic__descriptor, body);
    if (!record)
        return damaged("embedded-topic", name, "malformed", e);
    bool deleted = record->deleted;
    pb_free(record);
    struct adapter_topic *t = topic_make(a, id, e);
    if (!t)
        return -ERR_RESOURCE_EXHAUSTED;
    t->deleted = deleted;
    return topic_load(t, e) ? err_wrap(e, "embedded-topic record \"%.40s\"", name) : 0;
}

struct chunk_loader {
    struct ackset *acks;
    const uint64_t *floor;
};

/* Also called for chunks that the floor has passed. */
static int load_chunk(void *arg, uint64_t chunk, const uint8_t *bits, struct err *e)
{
    struct chunk_loader *l = arg;
    uint64_t low = *l->floor / ACK_CHUNK_BITS;
    if (chunk > STORE_SEQ_MAX / ACK_CHUNK_BITS || (chunk > low && chunk - low >= ACKSET_CHUNKS_MAX))
        return err_set(e, ERR_DATA_LOSS, "acknowledgements of messages that it cannot have had");
    return chunk < low ? 0 : ackset_load_chunk(l->acks, chunk, bits, e);
}

/* The floor is stored with the chunks above it. */
static int load_acks(struct reader *r, struct err *e)
{
    struct embedded *a = r->topic->a;
    struct ackset stored;
    uint64_t floor = 0;
    if (ackset_init(&stored, 0, e))
        return -ERR_RESOURCE_EXHAUSTED;
    struct chunk_loader loader = {&stored, &floor};
    int rc = a->store->ops->load_acks(a->store, r->id, &floor, load_chunk, &loader, e);
    if (rc == 0 && (floor > STORE_SEQ_MAX + 1 || r->start_seq > STORE_SEQ_MAX + 1))
        rc = err_set(e, ERR_DATA_LOSS, "acknowledgements of messages that it cannot have had");
    rc = rc ? rc : ackset_copy(&r->acks, &stored, e);
    ackset_fini(&stored);
    if (rc)
        return rc;
    ackset_raise(&r->acks, floor > r->topic->first ? floor : r->topic->first);
    r->acks.floor_dirty = r->acks.rewrite = false;
    return 0;
}

static int load_reader(struct embedded *a, const char *name, struct str body, bool snapshot, struct err *e)
{
    const char *kind = snapshot ? "embedded-snapshot" : "embedded-sub";
    uint64_t id;
    if (parse_handle(name, snapshot ? 'n' : 's', &id, e) || id > READER_ID_MAX)
        return damaged(kind, name, "no reader has such a handle", e);
    if (u64map_get(a->readers, id))
        return damaged(kind, name, "a subscription and a snapshot have this number", e);
    Runnel__Broker__EmbeddedReader *record = pb_unpack_heap(&runnel__broker__embedded_reader__descriptor, body);
    if (!record)
        return damaged(kind, name, "malformed", e);
    struct adapter_topic *t = u64map_get(a->topics, record->topic_id);
    uint64_t start = record->start_seq, topic_id = record->topic_id;
    pb_free(record);
    if (a->next_reader <= id)
        a->next_reader = id + 1; /* never the number of another, whatever was kept of it */
    if (!t) {
        if (topic_id <= STORE_TOPIC_ID_MAX && a->next_topic <= topic_id)
            a->next_topic = topic_id + 1; /* a new topic is not the one it read */
        log_kv(a->env->log, LOG_WARN, "embedded.reader", LSTR("handle", name), LINT("topic", topic_id),
               LSTR("message", "its topic has no record: there is nothing to read"));
        return 0;
    }
    struct adapter_sub *s = snapshot ? NULL : sub_make(t, id, start, e);
    struct reader *r = snapshot ? snapshot_make(t, id, e) : s ? &s->r : NULL;
    if (!r)
        return -ERR_RESOURCE_EXHAUSTED;
    r->start_seq = start;
    if (load_acks(r, e))
        return err_wrap(e, "%s record \"%.40s\"", kind, name);
    /* Holes that failed appends left at the end were acknowledged, but have no row: a message there would be lost. */
    uint64_t end = ackset_end(&r->acks);
    if (end > t->next)
        t->next = t->visible = t->cache_from = end;
    if (s) {
        s->read_seq = r->acks.floor;
        s->acked_unread = r->acks.above;
    }
    return 0;
}

static int load_sub(void *arg, const char *name, struct str body, struct err *e) { return load_reader(arg, name, body, false, e); }
static int load_snapshot(void *arg, const char *name, struct str body, struct err *e) { return load_reader(arg, name, body, true, e); }

static int load_all(struct embedded *a, struct err *e)
{
    const struct store_ops *ops = a->store->ops;
    int rc = ops->load_meta(a->store, "embedded.next_topic", &a->next_topic, e);
    rc = rc ? rc : ops->load_meta(a->store, "embedded.next_reader", &a->next_reader, e);
    if (rc == 0 && (a->next_reader > READER_ID_MAX + 1 || a->next_topic > READER_ID_MAX + 1))
        rc = err_set(e, ERR_DATA_LOSS, "meta \"embedded.next_%s\": the number is too large",
                     a->next_reader > READER_ID_MAX + 1 ? "reader" : "topic");
    a->next_topic += a->next_topic == 0;
    a->next_reader += a->next_reader == 0;
    rc = rc ? rc : ops->load_resources(a->store, "embedded-topic", load_topic, a, e);
    rc = rc ? rc : ops->load_resources(a->store, "embedded-sub", load_sub, a, e);
    return rc ? rc : ops->load_resources(a->store, "embedded-snapshot", load_snapshot, a, e);
}

/* ---- maintenance ---- */

static void drop_unopened(struct embedded *a)
{
    size_t it = 0;
    uint64_t id;
    void *p;
    while (u64map_next(a->readers, &it, &id, &p)) {
        struct reader *r = p;
        char handle[HANDLE_BYTES];
        if (r->opened)
            continue;
        reader_handle(r, handle);
        log_kv(a->env->log, LOG_INFO, "embedded.orphan", LSTR("handle", handle));
        if (r->snapshot)
            embedded_snapshot_delete(r->topic, handle, NULL, NULL);
        else
            embedded_sub_delete(CONTAINER_OF(r, struct adapter_sub, r), NULL, NULL);
    }
    for (it = 0; u64map_next(a->topics, &it, &id, &p);) {
        struct adapter_topic *t = p;
        if (t->deleted) {
            topic_reader_gone(t);
        } else if (!t->opened) {
            log_kv(a->env->log, LOG_INFO, "embedded.orphan", LINT("topic", id));
            embedded_topic_delete(t, NULL, NULL);
        }
    }
}

static void embedded_maintain(struct adapter *base, int64_t wall_ns)
{
    struct embedded *a = embedded_of(base);
    size_t it = 0;
    uint64_t id;
    void *p;
    if (!a->swept) {
        a->swept = true;
        drop_unopened(a);
    }
    while (u64map_next(a->readers, &it, &id, &p)) {
        struct reader *r = p;
        if (!r->snapshot)
            sub_expire(CONTAINER_OF(r, struct adapter_sub, r), wall_ns);
    }
    for (it = 0; u64map_next(a->topics, &it, &id, &p);)
        topic_trim(p, wall_ns);
}

/* ---- life ---- */

static void free_list(struct list *l)
{
    for (struct node *n; (n = list_pop(l));)
        free(CONTAINER_OF(n, struct op, link));
}

static void free_op_at_store(struct op *op, bool free_ops)
{
    if (op->acks)
        free_list(op->acks);
    free(op->acks);
    op->acks = NULL;
    for (size_t i = 0; i < op->n && op->msgs; i++)
        message_unref(op->msgs[i]);
    free(op->msgs);
    op->msgs = NULL;
    op->a = NULL;
    if (free_ops)
        free(op);
}

static void free_all(struct embedded *a, bool free_ops)
{
    size_t it = 0;
    uint64_t id;
    void *p;
    timer_cancel(a->env->timers, &a->pump);
    timer_cancel(a->env->timers, &a->retry);
    timer_cancel(a->env->timers, &a->gather);
    for (struct node *n; (n = list_pop(&a->ops));) {
        struct op *op = CONTAINER_OF(n, struct op, link);
        if (op->sub && op->sub->page == op)
            op->sub->page = NULL;
        free_op_at_store(op, free_ops);
    }
    free_list(&a->waiting);
    while (u64map_next(a->readers, &it, &id, &p)) {
        struct reader *r = p;
        if (r->snapshot)
            snapshot_free(r);
        else
            sub_free(CONTAINER_OF(r, struct adapter_sub, r));
    }
    for (it = 0; u64map_next(a->topics, &it, &id, &p);)
        topic_free(p);
    u64map_free(a->readers);
    u64map_free(a->topics);
    free(a);
}

static void embedded_close(struct adapter *base, adapter_done_fn done, void *arg)
{
    struct embedded *a = embedded_of(base);
    a->closing = true;
    a->flush_after_ns = 0; /* the last try does not wait */
    a->close_done = done;
    a->close_arg = arg;
    pump_arm(a);
}

/* The store still has our requests and will answer them: they free themselves then. */
static void embedded_abandon(struct adapter *base) { free_all(embedded_of(base), false); }
void adapter_embedded_crash(struct adapter *base) { free_all(embedded_of(base), true); }

static const struct adapter_ops embedded_ops = {
    .name = "embedded",
    .abi = ADAPTER_ABI,
    .topic_create = embedded_topic_create,
    .topic_open = embedded_topic_open,
    .topic_close = embedded_topic_close,
    .topic_delete = embedded_topic_delete,
    .append = embedded_append,
    .topic_retention = embedded_topic_retention,
    .sub_create = embedded_sub_create,
    .sub_open = embedded_sub_open,
    .sub_close = embedded_sub_close,
    .sub_delete = embedded_sub_delete,
    .credit = embedded_credit,
    .ack = embedded_ack,
    .sub_retention = embedded_sub_retention,
    .seek_time = embedded_seek_time,
    .seek_snapshot = embedded_seek_snapshot,
    .snapshot_create = embedded_snapshot_create,
    .snapshot_delete = embedded_snapshot_delete,
    .snapshot_open = embedded_snapshot_open,
    .stats = embedded_stats,
    .maintain = embedded_maintain,
    .close = embedded_close,
    .abandon = embedded_abandon,
};

struct adapter *adapter_embedded_new(const struct env *env, struct store *store, struct err *e)
{
    struct embedded *a = calloc(1, sizeof *a);
    if (!a) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "embedded broker: out of memory");
        return NULL;
    }
    a->base.ops = &embedded_ops;
    a->env = env;
    a->store = store;
    timer_init(&a->pump, on_pump);
    timer_init(&a->retry, on_retry);
    timer_init(&a->gather, on_gather);
    a->flushed_ns = INT64_MIN / 2;
    struct list *lists[] = {&a->ops, &a->waiting, &a->work, &a->stalled, &a->paging, &a->dirty, &a->flushing};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        list_init(lists[i]);
    a->topics = u64map_new(STORE_TOPIC_ID_MAX);
    a->readers = u64map_new(STORE_TOPIC_ID_MAX);
    if (!a->topics || !a->readers)
        err_set(e, ERR_RESOURCE_EXHAUSTED, "embedded broker: out of memory");
    else if (load_all(a, e) == 0)
        return &a->base;
    free_all(a, true);
    return NULL;
}

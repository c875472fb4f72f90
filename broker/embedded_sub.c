/* embedded_sub.c: subscriptions of the embedded adapter: reading with credit, acknowledging in groups, retention. */
#include "broker/embedded_int.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- life ---- */

struct adapter_sub *sub_make(struct adapter_topic *t, uint64_t id, uint64_t start_seq, struct err *e)
{
    struct adapter_sub *s = calloc(1, sizeof *s);
    if (!s || ackset_init(&s->r.acks, start_seq, e)) {
        free(s);
        err_set(e, ERR_RESOURCE_EXHAUSTED, "subscription: out of memory");
        return NULL;
    }
    s->r.start_seq = start_seq;
    s->read_seq = start_seq;
    node_init(&s->work);
    node_init(&s->dirty);
    list_init(&s->ack_ops);
    if (reader_join(&s->r, t, id, e)) {
        ackset_fini(&s->r.acks);
        free(s);
        return NULL;
    }
    t->n_subs++;
    return s;
}

static void work_move(struct adapter_sub *s, struct list *to)
{
    if (s->work_list)
        list_remove(s->work_list, &s->work);
    s->work_list = to;
    if (to)
        list_append(to, &s->work);
}

static void dirty_move(struct adapter_sub *s, struct list *to)
{
    if (s->dirty_list)
        list_remove(s->dirty_list, &s->dirty);
    s->dirty_list = to;
    if (to)
        list_append(to, &s->dirty);
}

static void set_behind(struct adapter_sub *s, bool behind)
{
    struct adapter_topic *t = s->r.topic;
    bool caught_up = s->behind && !behind;
    t->n_behind += behind;
    t->n_behind -= s->behind;
    s->behind = behind;
    if (caught_up && t->n_behind == 0)
        cache_clear(t); /* everybody has read it */
}

static void forget_page(struct adapter_sub *s)
{
    if (s->page)
        s->page->sub = NULL;
    s->page = NULL;
}

void sub_free(struct adapter_sub *s)
{
    struct adapter_topic *t = s->r.topic;
    for (struct node *n; (n = list_pop(&s->ack_ops));)
        free(CONTAINER_OF(n, struct op, link));
    forget_page(s);
    work_move(s, NULL);
    dirty_move(s, NULL);
    list_remove(&t->readers, &s->r.link);
    t->n_subs--;
    set_behind(s, false);
    u64map_remove(t->a->readers, s->r.id);
    ackset_fini(&s->r.acks);
    free(s);
}

static void on_created(struct op *op, const struct err *e)
{
    if (e)
        sub_free(CONTAINER_OF(op->reader, struct adapter_sub, r));
    op_complete(op, e);
}

void embedded_sub_create(struct adapter_topic *t, const char *name, adapter_handle_fn done, void *arg)
{
    struct embedded *a = t->a;
    struct store_txn *txn = store_txn_new();
    struct op *op = op_new(a, on_created, arg);
    struct err e = {.code = ERR_RESOURCE_EXHAUSTED, .msg = "subscription: out of memory"};
    struct adapter_sub *s = txn && op ? sub_make(t, a->next_reader, t->next, &e) : NULL;
    if (s)
        ackset_spoil(&s->r.acks); /* what may be left under this number goes */
    if (s && reader_put(txn, &s->r, &e) == 0 && ackset_store(&s->r.acks, txn, s->r.id, true, &e) == 0 &&
        store_txn_meta(txn, "embedded.next_reader", a->next_reader + 1, &e) == 0) {
        a->next_reader++;
        s->r.opened = true; /* its maker is about to */
        op->reader = &s->r;
        op->handle_done = done;
        reader_handle(&s->r, op->handle);
        op_submit(op, txn);
        return;
    }
    if (s)
        sub_free(s);
    store_txn_free(txn);
    free(op);
    fail_later(a, NULL, done, arg, &e);
}

/* The age of the oldest waiting message is not kept: look it up once. */
static void on_oldest(struct op *op, const struct err *e)
{
    if (!e && op->read.n)
        topic_sample(op->topic, op->read.rows[0].seq, op->read.rows[0].wall_ns);
    topic_release(op->topic);
}

static void look_up_oldest(struct adapter_sub *s)
{
    struct adapter_topic *t = s->r.topic;
    struct op *op = s->r.acks.floor < t->visible ? op_new(t->a, on_oldest, NULL) : NULL;
    if (!op)
        return;
    op->topic = t;
    op->read = (struct store_read){.topic_id = t->id, .from_seq = s->r.acks.floor, .max_count = 1, .max_bytes = 1};
    t->under_way++;
    op_read(op);
}

int embedded_sub_open(struct adapter_topic *t, const char *handle, const struct adapter_sub_events *events, void *arg,
                      struct adapter_sub **out, struct err *e)
{
    uint64_t id;
    if (parse_handle(handle, 's', &id, e))
        return -ERR_NOT_FOUND;
    struct reader *r = u64map_get(t->a->readers, id);
    if (!r || r->snapshot || r->topic != t)
        return err_set(e, ERR_NOT_FOUND, "embedded subscription \"%s\" does not exist", handle);
    struct adapter_sub *s = CONTAINER_OF(r, struct adapter_sub, r);
    if (s->events)
        return err_set(e, ERR_ALREADY_EXISTS, "embedded subscription \"%s\" has a reader already", handle);
    r->opened = true;
    s->events = events;
    s->arg = arg;
    if (t->n_samples == 0 && r->acks.floor < t->visible) { /* from the pump: nothing may be asked of the store while it loads */
        s->look_up = true;
        work_move(s, &t->a->work);
        pump_arm(t->a);
    }
    *out = s;
    return 0;
}

void embedded_sub_close(struct adapter_sub *s)
{
    s->events = NULL;
    s->credit_count = 0;
    s->credit_bytes = 0;
    forget_page(s);
    work_move(s, NULL);
}

static void cancel_acks(struct adapter_sub *s)
{
    struct err gone;
    err_set(&gone, ERR_CANCELLED, "the subscription is gone");
    for (struct node *n; (n = list_pop(&s->ack_ops));)
        op_later(CONTAINER_OF(n, struct op, link), &gone);
}

static void on_deleted(struct op *op, const struct err *e)
{
    struct adapter_topic *t = op->topic;
    op_complete(op, e);
    topic_release(t);
}

void embedded_sub_delete(struct adapter_sub *s, adapter_done_fn done, void *arg)
{
    struct adapter_topic *t = s->r.topic;
    struct store_txn *txn = store_txn_new();
    struct op *op = op_new(t->a, on_deleted, arg);
    struct err e = {.code = ERR_RESOURCE_EXHAUSTED, .msg = "subscription: out of memory"};
    char handle[HANDLE_BYTES];
    reader_handle(&s->r, handle);
    int rc = !txn || !op || store_txn_delete(txn, "embedded-sub", handle, &e) || store_txn_drop_acks(txn, s->r.id, &e);
    cancel_acks(s);
    sub_free(s);
    if (rc) {
        store_txn_free(txn);
        free(op);
        fail_later(t->a, done, NULL, arg, &e);
        return;
    }
    op->topic = t;
    op->done = done;
    t->under_way++;
    op_submit(op, txn);
}

/* ---- reading ---- */

void sub_wake(struct adapter_sub *s)
{
    struct adapter_topic *t = s->r.topic;
    set_behind(s, s->events && s->read_seq < t->visible);
    if (!s->behind || s->page || s->seeking || s->work_list || !s->credit_count || s->credit_bytes <= 0)
        return;
    work_move(s, &t->a->work);
    pump_arm(t->a);
}

void embedded_credit(struct adapter_sub *s, size_t count, size_t bytes)
{
    s->credit_count += count;
    s->credit_bytes += (int64_t)bytes;
    sub_wake(s);
}

static void stall(struct adapter_sub *s, const struct err *e)
{
    struct embedded *a = s->r.topic->a;
    log_kv(a->env->log, LOG_WARN, "embedded.read", LSTR("error", e->msg), LSTR("do", "trying again in a second"));
    work_move(s, &a->stalled);
    retry_arm(a);
    if (s->events)
        s->events->on_trouble(s->arg, e);
}

/* Nothing was ever stored at [read_seq, to): settle the hole, so that the floor can pass it. False: not all of it. What has no room
 * so far ahead of the floor waits for the floor; without memory it is tried again in a second. */
static bool pass_hole(struct adapter_sub *s, uint64_t to)
{
    struct err e;
    if (s->read_seq >= to)
        return true;
    bool whole = ackset_add_range(&s->r.acks, s->read_seq, to, &e) == 0;
    s->read_seq = whole ? to : ackset_next(&s->r.acks, s->read_seq);
    s->acked_unread = ackset_count_from(&s->r.acks, s->read_seq);
    sub_mark_dirty(s);
    if (!whole && s->read_seq < ackset_room(&s->r.acks))
        stall(s, &e);
    return whole;
}

/* Step over what is acknowledged already. */
static void skip_acked(struct adapter_sub *s)
{
    uint64_t next = ackset_next(&s->r.acks, s->read_seq);
    next = next < s->r.topic->visible ? next : s->r.topic->visible;
    if (next > s->read_seq) {
        uint64_t skipped = next - s->read_seq;
        s->acked_unread -= skipped < s->acked_unread ? skipped : s->acked_unread;
        s->read_seq = next;
    }
}

/* Whether there is credit and room to deliver one more. */
static bool may_read(const struct adapter_sub *s, size_t taken)
{
    return s->credit_count > 0 && s->credit_bytes > 0 && taken < BATCH_MAX && s->read_seq < ackset_room(&s->r.acks);
}

static void count_read(struct adapter_sub *s, const struct message *m)
{
    s->credit_count--;
    s->credit_bytes -= (int64_t)m->bytes;
    s->read_seq = m->pos.lo + 1;
}

static size_t read_cache(struct adapter_sub *s, struct message **batch)
{
    struct adapter_topic *t = s->r.topic;
    size_t n = 0;
    while (skip_acked(s), s->read_seq < t->visible && may_read(s, n)) {
        size_t i = cache_find(t, s->read_seq);
        struct message *m = i < t->ring_count ? cache_at(t, i) : NULL;
        if (!m || m->pos.lo > s->read_seq) {
            if (!pass_hole(s, m ? m->pos.lo : t->visible))
                break;
            continue;
        }
        batch[n++] = message_ref(m);
        count_read(s, m);
    }
    return n;
}

/* What the receiver had no memory for goes back: it is read again in a second. */
static void give_back(struct adapter_sub *s, struct message **batch, size_t n)
{
    struct err e;
    s->read_seq = batch[0]->pos.lo;
    s->acked_unread = ackset_count_from(&s->r.acks, s->read_seq);
    for (size_t i = 0; i < n; i++) {
        s->credit_count++;
        s->credit_bytes += (int64_t)batch[i]->bytes;
        message_unref(batch[i]);
    }
    err_set(&e, ERR_RESOURCE_EXHAUSTED, "leasing: out of memory");
    stall(s, &e);
}

static void deliver(struct adapter_sub *s, struct message **batch, size_t n)
{
    sub_wake(s); /* before the receiver runs: it may do anything */
    size_t taken = n ? s->events->on_messages(s->arg, batch, n) : 0;
    if (taken < n)
        give_back(s, batch + taken, n - taken);
}

static struct message *message_of_row(struct adapter_topic *t, const struct store_row *row, struct err *e)
{
    struct message *m = message_from_record(row->blob, e);
    if (!m)
        return NULL;
    m->pos = (struct msg_pos){0, row->seq};
    m->publish_wall_ns = row->wall_ns;
    snprintf(m->id, sizeof m->id, "%llu", (unsigned long long)(t->id << 40 | row->seq));
    return m;
}

/* Rows of a page, as far as credit goes. `e` is set when a row could not be had for want of memory. */
static size_t read_rows(struct adapter_sub *s, const struct store_read *r, struct message **batch, struct err *e)
{
    struct adapter_topic *t = s->r.topic;
    size_t n = 0;
    for (size_t i = 0; i < r->n && r->rows[i].seq < t->visible && may_read(s, n); i++) {
        const struct store_row *row = &r->rows[i];
        skip_acked(s);
        if (row->seq < s->read_seq)
            continue;
        if (!pass_hole(s, row->seq))
            break;
        if (ackset_has(&s->r.acks, row->seq))
            continue;
        struct message *m = message_of_row(t, row, e);
        if (!m && e->code == ERR_RESOURCE_EXHAUSTED)
            break;
        if (!m) { /* unreadable: leave it where it is, unacknowledged, for people to look at */
            log_kv(t->a->env->log, LOG_ERROR, "embedded.record", LINT("topic", t->id), LINT("seq", row->seq), LSTR("error", e->msg));
            *e = (struct err){0};
            s->read_seq = row->seq + 1;
            continue;
        }
        batch[n++] = m;
        count_read(s, m);
    }
    return n;
}

static void on_page(struct op *op, const struct err *e)
{
    struct adapter_sub *s = op->sub;
    struct message *batch[BATCH_MAX];
    struct err trouble = {0};
    op->a->pages--;
    if (op->a->paging.count)
        pump_arm(op->a);
    topic_release(op->topic);
    if (!s)
        return;
    s->page = NULL;
    if (e) {
        stall(s, e);
        return;
    }
    if (op->read.n == 0)
        pass_hole(s, op->seq); /* there was nothing up to what was visible then */
    size_t n = read_rows(s, &op->read, batch, &trouble);
    if (trouble.code)
        stall(s, &trouble);
    deliver(s, batch, n);
}

static void start_page(struct adapter_sub *s)
{
    struct adapter_topic *t = s->r.topic;
    struct op *op = op_new(t->a, on_page, NULL);
    if (!op) {
        struct err e;
        err_set(&e, ERR_RESOURCE_EXHAUSTED, "reading: out of memory");
        stall(s, &e);
        return;
    }
    op->sub = s;
    op->topic = t;
    op->seq = t->cache_from < t->visible ? t->cache_from : t->visible;
    op->read = (struct store_read){
        .topic_id = t->id,
        .from_seq = s->read_seq,
        .max_count = s->credit_count < PAGE_COUNT_MAX ? s->credit_count : PAGE_COUNT_MAX,
        .max_bytes = s->credit_bytes < (int64_t)PAGE_BYTES_MAX ? (size_t)s->credit_bytes : PAGE_BYTES_MAX,
    };
    s->page = op;
    t->a->pages++;
    t->under_way++;
    op_read(op);
}

void sub_pump(struct adapter_sub *s)
{
    struct adapter_topic *t = s->r.topic;
    struct message *batch[BATCH_MAX];
    if (s->look_up)
        look_up_oldest(s);
    s->look_up = false;
    if (!s->events || s->page || s->seeking)
        return;
    skip_acked(s);
    if (s->read_seq >= t->visible || !may_read(s, 0)) /* nothing to do, or no leave to do it */
        set_behind(s, s->read_seq < t->visible);
    else if (s->read_seq >= t->cache_from)
        deliver(s, batch, read_cache(s, batch));
    else if (t->a->pages < PAGES_MAX)
        start_page(s);
    else
        work_move(s, &t->a->paging);
}

/* ---- acknowledging ---- */

void sub_mark_dirty(struct adapter_sub *s)
{
    struct embedded *a = s->r.topic->a;
    if (!s->dirty_list)
        dirty_move(s, &a->dirty);
    a->hurry = true;
    if (!a->flush_running)
        pump_arm(a);
}

/* Is it too early for a flush that nobody waits for? Then come back. */
static bool gathering(struct embedded *a)
{
    int64_t due_ns = a->flushed_ns + ACK_GATHER_NS;
    if (a->hurry || a->closing || env_now(a->env) >= due_ns)
        return false;
    /* Out of timers: flush now. */
    return timer_armed(&a->gather) || timer_set(a->env->timers, &a->gather, due_ns, NULL) == 0;
}

/* Within ACK_GATHER_NS: nobody waits for it. */
static void sub_mark_dirty_patiently(struct adapter_sub *s)
{
    struct embedded *a = s->r.topic->a;
    if (!s->dirty_list)
        dirty_move(s, &a->dirty);
    if (!a->flush_running && !gathering(a))
        pump_arm(a);
}

void embedded_ack(struct adapter_sub *s, const struct msg_pos *pos, size_t n, adapter_done_fn done, void *arg)
{
    struct embedded *a = s->r.topic->a;
    struct op *op = done ? op_new(a, NULL, arg) : NULL;
    struct err e;
    int rc = 0;
    for (size_t i = 0; i < n && rc >= 0; i++)
        if (pos[i].hi == 0 && pos[i].lo < s->read_seq) /* what was never read is not known */
            rc = ackset_add(&s->r.acks, pos[i].lo, &e);
    if (rc >= 0 && done && !op) /* set all the same: who asks again has no lease any more, and is told that it is done */
        rc = err_set(&e, ERR_RESOURCE_EXHAUSTED, "acknowledge: out of memory");
    if (s->behind)
        sub_wake(s); /* it may have waited for room */
    if (done)
        sub_mark_dirty(s); /* also when nothing changed: an earlier flush of the same may still be under way */
    else
        sub_mark_dirty_patiently(s);
    if (op && rc >= 0) {
        op->done = done;
        list_append(&s->ack_ops, &op->link);
        return;
    }
    free(op);
    if (rc < 0)
        fail_later(a, done, NULL, arg, &e);
}

/* One transaction at a time, of all that has gathered meanwhile: the slower the disk, the larger the group. */
static void on_flushed(struct op *op, const struct err *e)
{
    struct embedded *a = op->a;
    a->flush_running = false;
    if (e) {
        a->flush_after_ns = env_now(a->env) + RETRY_NS;
        log_kv(a->env->log, LOG_WARN, "embedded.acks", LSTR("error", e->msg), LSTR("do", "trying again in a second"));
        retry_arm(a);
    }
    for (struct node *n; (n = list_pop(&a->flushing));) {
        struct adapter_sub *s = CONTAINER_OF(n, struct adapter_sub, dirty);
        s->dirty_list = NULL;
        if (e)
            ackset_spoil(&s->r.acks);
        if (ackset_dirty(&s->r.acks) || s->ack_ops.count)
            dirty_move(s, &a->dirty);
        else if (s->r.acks.floor > s->r.topic->first + TRIM_EARLY_ROWS)
            topic_trim(s->r.topic, env_wall(a->env));
    }
    for (struct node *n; (n = list_pop(op->acks));) {
        struct op *ack = CONTAINER_OF(n, struct op, link);
        op_complete(ack, e);
        free(ack);
    }
    free(op->acks);
    if (a->dirty.count)
        pump_arm(a);
}

/* Move up to FLUSH_SUBS_MAX readers into the transaction. */
static int gather(struct embedded *a, struct store_txn *txn, struct list *done, struct err *e)
{
    for (size_t i = 0; i < FLUSH_SUBS_MAX && a->dirty.count; i++) {
        struct adapter_sub *s = CONTAINER_OF(list_first(&a->dirty), struct adapter_sub, dirty);
        if (ackset_store(&s->r.acks, txn, s->r.id, false, e)) {
            ackset_spoil(&s->r.acks);
            return -ERR_RESOURCE_EXHAUSTED;
        }
        dirty_move(s, &a->flushing);
        for (struct node *n; (n = list_pop(&s->ack_ops));)
            list_append(done, n);
    }
    return 0;
}

void flush_acks(struct embedded *a)
{
    struct err e;
    if (a->flush_running || a->dirty.count == 0 || gathering(a))
        return;
    if (a->flush_after_ns > env_now(a->env)) {
        retry_arm(a); /* it may have been armed for an earlier failure, and be over */
        return;
    }
    struct store_txn *txn = store_txn_new();
    struct op *op = op_new(a, on_flushed, NULL);
    struct list *done = malloc(sizeof *done);
    if (!txn || !op || !done) {
        store_txn_free(txn);
        free(op);
        free(done);
        a->flush_after_ns = env_now(a->env) + RETRY_NS;
        retry_arm(a);
        return;
    }
    list_init(done);
    op->acks = done;
    a->flush_running = true;
    a->flushed_ns = env_now(a->env);
    int rc = gather(a, txn, done, &e);
    a->hurry &= a->dirty.count > 0; /* there were too many for one transaction */
    if (rc == 0) {
        op_submit(op, txn);
        return;
    }
    store_txn_free(txn);
    on_flushed(op, &e);
    free(op);
}

/* ---- retention ---- */

void embedded_sub_retention(struct adapter_sub *s, int64_t retention_ns, bool retain_acked)
{
    s->retention_ns = retention_ns;
    s->retain_acked = retain_acked;
}

static void on_expired(struct op *op, const struct err *e)
{
    struct adapter_topic *t = op->topic;
    struct reader *r = u64map_get(t->a->readers, op->seq);
    topic_release(t);
    if (!r)
        return;
    struct adapter_sub *s = CONTAINER_OF(r, struct adapter_sub, r);
    s->expiring = false;
    if (e || op->epoch != s->epoch || op->seek.seq <= r->acks.floor)
        return;
    uint64_t to = op->seek.seq < t->visible ? op->seek.seq : t->visible;
    ackset_raise(&r->acks, to);
    if (s->read_seq < r->acks.floor) {
        s->read_seq = r->acks.floor;
        s->acked_unread = ackset_count_from(&r->acks, s->read_seq);
        forget_page(s);
    }
    sub_mark_dirty(s);
    sub_wake(s);
}

void sub_expire(struct adapter_sub *s, int64_t wall_ns)
{
    struct adapter_topic *t = s->r.topic;
    if (s->expiring || s->seeking || s->retention_ns <= 0 || s->r.acks.floor >= t->visible ||
        topic_wall_of(t, s->r.acks.floor) >= wall_ns - s->retention_ns)
        return;
    struct op *op = op_new(t->a, on_expired, NULL);
    if (!op)
        return;
    op->topic = t;
    op->seq = s->r.id;
    op->epoch = s->epoch;
    op->seek = (struct store_seek){.topic_id = t->id, .wall_ns = wall_ns - s->retention_ns};
    s->expiring = true;
    t->under_way++;
    op_seek(op);
}

void sub_restart(struct adapter_sub *s)
{
    ackset_raise(&s->r.acks, s->r.topic->first);
    s->read_seq = s->r.acks.floor;
    s->acked_unread = s->r.acks.above;
    sub_wake(s);
}

struct adapter_sub_stats embedded_stats(const struct adapter_sub *s)
{
    const struct adapter_topic *t = s->r.topic;
    struct adapter_sub_stats st = {0};
    if (s->r.acks.floor < t->visible)
        st.unacked = t->visible - s->r.acks.floor - s->r.acks.above;
    if (s->read_seq < t->visible)
        st.unread = t->visible - s->read_seq - s->acked_unread;
    if (st.unacked)
        st.oldest_wall_ns = topic_wall_of(t, s->r.acks.floor);
    return st;
}

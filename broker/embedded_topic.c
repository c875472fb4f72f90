/* embedded_topic.c: topics of the embedded adapter: appending, the tail cache, publish-time samples, trimming. */
#include "broker/embedded_int.h"

#include "broker/records.pb-c.h"
#include "core/rpc/pb.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define KEY_BYTES 40

static void topic_handle(const struct adapter_topic *t, char out[HANDLE_BYTES])
{
    snprintf(out, HANDLE_BYTES, "t%llu", (unsigned long long)t->id);
}

/* ---- life ---- */

struct adapter_topic *topic_make(struct embedded *a, uint64_t id, struct err *e)
{
    struct adapter_topic *t = calloc(1, sizeof *t);
    if (!t) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "topic: out of memory");
        return NULL;
    }
    *t = (struct adapter_topic){.a = a, .id = id, .first = 1, .next = 1, .visible = 1, .cache_from = 1, .sample_every_ns = SAMPLE_MIN_NS};
    list_init(&t->readers);
    if (u64map_put(a->topics, id, t, e)) {
        free(t);
        return NULL;
    }
    return t;
}

void topic_free(struct adapter_topic *t)
{
    cache_clear(t);
    free(t->ring);
    free(t->samples);
    u64map_remove(t->a->topics, t->id);
    free(t);
}

static int put_record(struct store_txn *txn, const struct adapter_topic *t, struct err *e)
{
    Runnel__Broker__EmbeddedTopic record = RUNNEL__BROKER__EMBEDDED_TOPIC__INIT;
    char handle[HANDLE_BYTES], *bytes;
    size_t len;
    record.deleted = t->deleted;
    topic_handle(t, handle);
    if (pb_pack(&record.base, &bytes, &len, e))
        return -ERR_RESOURCE_EXHAUSTED;
    int rc = store_txn_put(txn, "embedded-topic", handle, (struct str){bytes, len}, e);
    free(bytes);
    return rc;
}

static void on_created(struct op *op, const struct err *e)
{
    if (e)
        topic_free(op->topic);
    op_complete(op, e);
}

static void next_key(const struct adapter_topic *t, char out[KEY_BYTES])
{
    snprintf(out, KEY_BYTES, "embedded.next.%llu", (unsigned long long)t->id);
}

int topic_load(struct adapter_topic *t, struct err *e)
{
    const struct store_ops *ops = t->a->store->ops;
    uint64_t first, next, kept;
    char key[KEY_BYTES];
    next_key(t, key);
    if (ops->topic_bounds(t->a->store, t->id, &first, &next, e) || ops->load_meta(t->a->store, key, &kept, e))
        return -(int)e->code;
    if (kept > STORE_SEQ_MAX + 1)
        return err_set(e, ERR_DATA_LOSS, "the number of its next message is too large");
    /* Sequences are never used again, also when every message that had one has been trimmed. */
    t->next = next > kept ? next : kept;
    t->next = t->next ? t->next : 1;
    t->first = first != next ? first : t->next;
    t->visible = t->cache_from = t->next;
    return 0;
}

/* An id that no topic has; they come round again after STORE_TOPIC_ID_MAX creations. */
static int pick_id(struct embedded *a, uint64_t *id, struct err *e)
{
    for (uint64_t tries = 0; tries <= u64map_count(a->topics); tries++) {
        if (a->next_topic == 0 || a->next_topic > STORE_TOPIC_ID_MAX)
            a->next_topic = 1;
        *id = a->next_topic++;
        if (!u64map_get(a->topics, *id))
            return 0;
    }
    return err_set(e, ERR_RESOURCE_EXHAUSTED, "topic: all %llu topic ids are in use", (unsigned long long)STORE_TOPIC_ID_MAX);
}

/* Its record, in place of all that is left of a topic that had this id. */
static int put_new(struct store_txn *txn, const struct adapter_topic *t, struct err *e)
{
    char key[KEY_BYTES];
    next_key(t, key);
    if (put_record(txn, t, e) || store_txn_meta(txn, "embedded.next_topic", t->a->next_topic, e) || store_txn_meta(txn, key, t->next, e))
        return -(int)e->code;
    return t->next > 1 ? store_txn_trim(txn, t->id, t->next, e) : 0;
}

/* The store has said which sequences were used under this id before. */
static void on_numbers(struct op *found, const struct err *e)
{
    struct adapter_topic *t = found->topic;
    struct store_txn *txn = e ? NULL : store_txn_new();
    struct op *op = e ? NULL : op_new(t->a, on_created, found->arg);
    struct err why = {.code = ERR_RESOURCE_EXHAUSTED, .msg = "topic: out of memory"};
    t->next = !e && found->seek.seq > 1 ? found->seek.seq : 1;
    t->first = t->visible = t->cache_from = t->next;
    if (txn && op && put_new(txn, t, &why) == 0) {
        op->topic = t;
        op->handle_done = found->handle_done;
        topic_handle(t, op->handle);
        op_submit(op, txn);
        return;
    }
    store_txn_free(txn);
    free(op);
    topic_free(t);
    op_complete(found, e ? e : &why);
}

void embedded_topic_create(struct adapter *base, const char *name, adapter_handle_fn done, void *arg)
{
    struct embedded *a = embedded_of(base);
    struct op *op = op_new(a, on_numbers, arg);
    struct err e = {.code = ERR_RESOURCE_EXHAUSTED, .msg = "topic: out of memory"};
    struct adapter_topic *t = NULL;
    uint64_t id;
    if (op && pick_id(a, &id, &e) == 0 && (t = topic_make(a, id, &e))) {
        t->opened = true; /* its maker is about to */
        op->topic = t;
        op->handle_done = done;
        op->seek = (struct store_seek){.topic_id = id, .wall_ns = INT64_MAX};
        op_seek(op);
        return;
    }
    free(op);
    fail_later(a, NULL, done, arg, &e);
}

int embedded_topic_open(struct adapter *base, const char *handle, struct adapter_topic **out, struct err *e)
{
    struct embedded *a = embedded_of(base);
    uint64_t id;
    if (parse_handle(handle, 't', &id, e))
        return -ERR_NOT_FOUND;
    struct adapter_topic *t = u64map_get(a->topics, id);
    if (!t)
        return err_set(e, ERR_NOT_FOUND, "embedded topic \"%s\" does not exist", handle);
    t->opened = true;
    *out = t;
    return 0;
}

void embedded_topic_close(struct adapter_topic *t)
{
    t->opened = false;
    topic_reader_gone(t); /* perhaps it was only kept for who had it open */
}

void embedded_topic_retention(struct adapter_topic *t, int64_t retention_ns) { t->retention_ns = retention_ns; }

/* ---- publish times ---- */

void topic_sample(struct adapter_topic *t, uint64_t seq, int64_t wall_ns)
{
    size_t at = t->n_samples;
    assert(t->samples || at == 0);
    if (!t->samples && !(t->samples = malloc(SAMPLES_MAX * sizeof *t->samples)))
        return; /* only ages become vague */
    while (at > 0 && t->samples[at - 1].seq > seq)
        at--;
    if (at > 0 && (t->samples[at - 1].seq == seq || wall_ns - t->samples[at - 1].wall_ns < t->sample_every_ns))
        return;
    if (t->n_samples == SAMPLES_MAX) {
        for (size_t i = 0; i < SAMPLES_MAX / 2; i++)
            t->samples[i] = t->samples[2 * i];
        t->n_samples = SAMPLES_MAX / 2;
        t->sample_every_ns *= 2;
        topic_sample(t, seq, wall_ns);
        return;
    }
    memmove(t->samples + at + 1, t->samples + at, (t->n_samples - at) * sizeof *t->samples);
    t->samples[at] = (struct sample){seq, wall_ns};
    t->n_samples++;
}

int64_t topic_wall_of(const struct adapter_topic *t, uint64_t seq)
{
    size_t low = 0, high = t->n_samples;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (t->samples[mid].seq <= seq)
            low = mid + 1;
        else
            high = mid;
    }
    if (low > 0)
        return t->samples[low - 1].wall_ns;
    return t->n_samples ? t->samples[0].wall_ns : t->last_wall_ns;
}

/* ---- the tail cache ---- */

static void cache_drop_oldest(struct adapter_topic *t)
{
    struct message *m = cache_at(t, 0);
    t->cache_from = m->pos.lo + 1;
    t->cache_bytes -= m->bytes;
    t->a->cache_bytes -= m->bytes;
    t->ring_head = (t->ring_head + 1) & (t->ring_cap - 1);
    t->ring_count--;
    message_unref(m);
}

void cache_clear(struct adapter_topic *t)
{
    while (t->ring_count)
        cache_drop_oldest(t);
    t->cache_from = t->visible;
}

static bool cache_grow(struct adapter_topic *t)
{
    size_t cap = t->ring_cap ? t->ring_cap * 2 : 64;
    struct message **ring = malloc(cap * sizeof *ring);
    if (!ring)
        return false;
    for (size_t i = 0; i < t->ring_count; i++)
        ring[i] = cache_at(t, i);
    free(t->ring);
    t->ring = ring;
    t->ring_cap = cap;
    t->ring_head = 0;
    return true;
}

/* Takes the reference. What does not fit is read from the store by those who still want it. */
static void cache_add(struct adapter_topic *t, struct message *m)
{
    if (t->ring_count == t->ring_cap && !cache_grow(t)) {
        while (t->ring_count)
            cache_drop_oldest(t);
        t->cache_from = m->pos.lo + 1;
        message_unref(m);
        return;
    }
    t->ring[(t->ring_head + t->ring_count++) & (t->ring_cap - 1)] = m;
    t->cache_bytes += m->bytes;
    t->a->cache_bytes += m->bytes;
    while (t->ring_count && (t->cache_bytes > CACHE_TOPIC_BYTES_MAX || t->a->cache_bytes > CACHE_BYTES_MAX))
        cache_drop_oldest(t);
}

size_t cache_find(const struct adapter_topic *t, uint64_t seq)
{
    size_t low = 0, high = t->ring_count;
    if (high && seq >= cache_at(t, 0)->pos.lo && seq - cache_at(t, 0)->pos.lo < high &&
        cache_at(t, seq - cache_at(t, 0)->pos.lo)->pos.lo == seq)
        return seq - cache_at(t, 0)->pos.lo; /* no holes, as nearly always */
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (cache_at(t, mid)->pos.lo < seq)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* ---- appending ---- */

static void wake_readers(struct adapter_topic *t)
{
    LIST_EACH(&t->readers, n) {
        struct reader *r = CONTAINER_OF(n, struct reader, link);
        if (!r->snapshot)
            sub_wake(CONTAINER_OF(r, struct adapter_sub, r));
    }
}

static void try_purge(struct adapter_topic *t);

/* The store answers in order of submission, so what is visible only ever grows. A batch that failed leaves a hole. */
static void on_appended(struct op *op, const struct err *e)
{
    struct adapter_topic *t = op->topic;
    t->visible = op->seq + op->n;
    t->under_way--;
    bool keep = !e && t->n_subs;
    if (!e && !keep)
        cache_clear(t);
    for (size_t i = 0; i < op->n; i++) {
        if (keep)
            cache_add(t, op->msgs[i]);
        else
            message_unref(op->msgs[i]);
    }
    if (!e)
        topic_sample(t, op->seq, op->wall_ns);
    free(op->msgs);
    op->msgs = NULL;
    wake_readers(t);
    op_complete(op, e);
    try_purge(t);
}

static void stamp(struct adapter_topic *t, struct message **msgs, size_t n)
{
    int64_t wall = env_wall(t->a->env);
    t->last_wall_ns = wall > t->last_wall_ns ? wall : t->last_wall_ns; /* order by time is order by sequence */
    for (size_t i = 0; i < n; i++) {
        msgs[i]->pos = (struct msg_pos){0, t->next + i};
        msgs[i]->publish_wall_ns = t->last_wall_ns;
        snprintf(msgs[i]->id, sizeof msgs[i]->id, "%llu", (unsigned long long)(t->id << 40 | (t->next + i)));
    }
}

static int fill_append(struct adapter_topic *t, struct store_txn *txn, struct message **msgs, size_t n, struct err *e)
{
    if (t->deleted)
        return err_set(e, ERR_NOT_FOUND, "the topic was deleted");
    if (t->a->closing)
        return err_set(e, ERR_CANCELLED, "the server is shutting down");
    if (n > STORE_SEQ_MAX + 1 - t->next)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "the topic is full: it has had %llu messages; publish to a new one",
                       (unsigned long long)t->next);
    stamp(t, msgs, n);
    for (size_t i = 0; i < n; i++)
        if (store_txn_append(txn, t->id, msgs[i]->pos.lo, msgs[i]->publish_wall_ns, msgs[i]->record, e))
            return -ERR_RESOURCE_EXHAUSTED;
    return 0;
}

void embedded_append(struct adapter_topic *t, struct message **msgs, size_t n, adapter_done_fn done, void *arg)
{
    struct store_txn *txn = store_txn_new();
    struct op *op = op_new(t->a, on_appended, arg);
    struct message **held = malloc(n * sizeof *held);
    struct err e = {.code = ERR_RESOURCE_EXHAUSTED, .msg = "publish: out of memory"};
    if (!txn || !op || !held || fill_append(t, txn, msgs, n, &e)) {
        store_txn_free(txn);
        free(op);
        free(held);
        fail_later(t->a, done, NULL, arg, &e);
        return;
    }
    for (size_t i = 0; i < n; i++)
        held[i] = message_ref(msgs[i]);
    op->msgs = held;
    op->n = n;
    op->seq = t->next;
    op->wall_ns = t->last_wall_ns;
    op->topic = t;
    op->done = done;
    t->next += n;
    t->under_way++;
    op_submit(op, txn);
}

/* ---- trimming ---- */

static void on_trimmed(struct op *op, const struct err *e)
{
    struct adapter_topic *t = op->topic;
    t->trimming = false;
    if (e) {
        log_kv(t->a->env->log, LOG_WARN, "embedded.trim", LSTR("error", e->msg));
        return;
    }
    t->first = op->seq;
    try_purge(t);
}

/* However many they are: the store drops the rows little by little. */
static void trim_to(struct adapter_topic *t, uint64_t below)
{
    struct store_txn *txn = store_txn_new();
    struct op *op = op_new(t->a, on_trimmed, NULL);
    struct err e;
    char key[KEY_BYTES];
    next_key(t, key);
    if (!txn || !op || store_txn_trim(txn, t->id, below, &e) || store_txn_meta(txn, key, t->next, &e)) {
        store_txn_free(txn);
        free(op);
        return; /* the next maintain tries again */
    }
    op->topic = t;
    op->seq = below;
    t->trimming = true;
    op_submit(op, txn);
}

/* What any reader may still need. */
static uint64_t lowest_floor(struct adapter_topic *t, int64_t *retention_ns)
{
    uint64_t lowest = t->visible;
    *retention_ns = t->retention_ns;
    LIST_EACH(&t->readers, n) {
        struct reader *r = CONTAINER_OF(n, struct reader, link);
        lowest = r->acks.floor < lowest ? r->acks.floor : lowest;
        if (r->snapshot)
            continue;
        struct adapter_sub *s = CONTAINER_OF(r, struct adapter_sub, r);
        if (s->retain_acked && s->retention_ns > *retention_ns)
            *retention_ns = s->retention_ns;
    }
    return lowest;
}

static void on_trim_found(struct op *op, const struct err *e)
{
    struct adapter_topic *t = op->topic;
    int64_t retention_ns;
    t->trimming = false;
    uint64_t lowest = lowest_floor(t, &retention_ns);
    if (e || t->deleted)
        return;
    lowest = op->seek.seq < lowest ? op->seek.seq : lowest;
    if (lowest > t->first)
        trim_to(t, lowest);
}

void topic_trim(struct adapter_topic *t, int64_t wall_ns)
{
    int64_t retention_ns;
    if (t->trimming || t->a->closing || t->first >= t->visible)
        return;
    uint64_t lowest = lowest_floor(t, &retention_ns);
    if (lowest <= t->first)
        return;
    if (retention_ns == 0) {
        trim_to(t, lowest);
        return;
    }
    struct op *op = op_new(t->a, on_trim_found, NULL);
    if (!op)
        return;
    op->topic = t;
    op->seek = (struct store_seek){.topic_id = t->id, .wall_ns = wall_ns - retention_ns};
    t->trimming = true;
    op_seek(op);
}

/* ---- deletion ---- */

static void on_purged(struct op *op, const struct err *e)
{
    if (e) {
        op->topic->trimming = false; /* the record says deleted: after a restart it is tried again */
        return;
    }
    topic_free(op->topic);
}

/* A deleted topic goes once nobody has it open, nothing reads it and nothing of it is under way. */
static void try_purge(struct adapter_topic *t)
{
    struct err e;
    char handle[HANDLE_BYTES];
    if (!t->deleted || t->opened || t->trimming || t->under_way || t->readers.count || t->a->closing)
        return;
    if (t->first < t->visible) {
        trim_to(t, t->visible);
        return;
    }
    struct store_txn *txn = store_txn_new();
    struct op *op = op_new(t->a, on_purged, NULL);
    topic_handle(t, handle);
    if (!txn || !op || store_txn_delete(txn, "embedded-topic", handle, &e)) {
        store_txn_free(txn);
        free(op);
        return;
    }
    op->topic = t;
    t->trimming = true;
    op_submit(op, txn);
}

void topic_reader_gone(struct adapter_topic *t) { try_purge(t); }

void topic_release(struct adapter_topic *t)
{
    t->under_way--;
    try_purge(t);
}

static void on_deleted(struct op *op, const struct err *e)
{
    struct adapter_topic *t = op->topic;
    t->under_way--;
    t->deleted = !e;
    op_complete(op, e);
    if (!e)
        try_purge(t);
}

void embedded_topic_delete(struct adapter_topic *t, adapter_done_fn done, void *arg)
{
    struct embedded *a = t->a;
    struct store_txn *txn = store_txn_new();
    struct op *op = op_new(a, on_deleted, arg);
    struct err e = {.code = ERR_RESOURCE_EXHAUSTED, .msg = "topic: out of memory"};
    t->deleted = true;
    t->opened = false;
    if (!txn || !op || put_record(txn, t, &e)) {
        store_txn_free(txn);
        free(op);
        fail_later(a, done, NULL, arg, &e);
        return;
    }
    op->topic = t;
    op->done = done;
    t->under_way++;
    op_submit(op, txn);
}

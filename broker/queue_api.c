/* queue_api.c: the methods that read and change queues: Google's, and ours for settings and figures. */
#include "broker/queues_int.h"

#include "core/rpc/mask.h"
#include "google/protobuf/empty.pb-c.h"

#include <stdlib.h>

#define SETTINGS_SUFFIX "/settings"

/* ---- answers ---- */

static void reply_copy(struct call *c, const ProtobufCMessage *m)
{
    ProtobufCMessage *reply = pb_clone(c->arena, m);
    if (reply)
        call_reply(c, reply);
    else
        tasks_no_memory(c);
}

void on_get_queue(void *service, struct call *c, const ProtobufCMessage *r)
{
    const Google__Cloud__Tasks__V2__GetQueueRequest *q = (const void *)r;
    struct err e;
    if (check_queue_name(q->name, "name", &e)) {
        call_fail(c, &e);
        return;
    }
    const struct tq *t = queues_find(service, c, q->name);
    if (t)
        reply_copy(c, &t->record->queue->base);
}

/* ---- create ---- */

static void created(struct queue_change *ch, const struct err *e)
{
    struct err why = {0};
    if (!e && queues_open(ch->qs, ch->record, &why)) {
        queues_undo(ch->qs, ch->name);
        e = &why;
    }
    if (e) {
        queue_change_fail(ch, e);
        return;
    }
    reply_copy(ch->call, &ch->record->queue->base);
    ch->record = NULL;
    queue_change_end(ch);
}

/* `fresh` is in the call's arena and may be changed. */
static void create(struct queues *qs, struct call *c, PbQueue *fresh)
{
    QueueRecord record = RUNNEL__BROKER__QUEUE_RECORD__INIT;
    struct err e;
    if (check_queue(c->arena, fresh, &e)) {
        call_fail(c, &e);
        return;
    }
    if (queues_name_held(qs, fresh->name)) { /* Google's words */
        call_failf(c, ERR_FAILED_PRECONDITION, "The queue cannot be created because a queue with this name existed too recently.");
        return;
    }
    if (map_count(qs->by_name) >= QUEUES_MAX || qs->gone.count >= QUEUES_GONE_MAX) {
        call_failf(c, ERR_RESOURCE_EXHAUSTED, "there are too many queues (at most %d), or names of deleted ones (at most %d); delete some",
                   QUEUES_MAX, QUEUES_GONE_MAX);
        return;
    }
    fresh->state = GOOGLE__CLOUD__TASKS__V2__QUEUE__STATE__RUNNING;
    fresh->purge_time = NULL;
    record.queue = fresh;
    record.list_id = store_list_new(qs->deps.store);
    struct queue_change *ch = queue_change_new(qs, c, fresh->name, &record);
    if (!ch)
        return;
    queue_change_commit(ch, false, created);
}

void on_create_queue(void *service, struct call *c, const ProtobufCMessage *r)
{
    struct queues *qs = service;
    const Google__Cloud__Tasks__V2__CreateQueueRequest *q = (const void *)r;
    struct err e = {0};
    size_t n = strlen(q->parent);
    if (check_location_name(q->parent, "parent", &e) == 0) {
        if (!q->queue)
            err_set(&e, ERR_INVALID_ARGUMENT, "queue: must be given");
        else if (check_queue_name(q->queue->name, "queue.name", &e) == 0 &&
                 (strncmp(q->queue->name, q->parent, n) != 0 || q->queue->name[n] != '/'))
            err_set(&e, ERR_INVALID_ARGUMENT, "queue.name: \"%.140s\" is not in %.140s, where it is to be made", q->queue->name, q->parent);
        else if (!e.code && map_get(qs->by_name, q->queue->name))
            err_set(&e, ERR_ALREADY_EXISTS, "Requested entity already exists");
    }
    if (e.code) {
        call_fail(c, &e);
        return;
    }
    PbQueue *fresh = pb_clone(c->arena, &q->queue->base);
    if (fresh)
        create(qs, c, fresh);
    else
        tasks_no_memory(c);
}

/* ---- update, pause, resume, purge ---- */

/* The change is durable: now it holds. */
static struct tq *take_over(struct queue_change *ch, const struct err *e)
{
    if (e) {
        queue_change_fail(ch, e);
        return NULL;
    }
    struct tq *t = map_get(ch->qs->by_name, ch->name); /* it is busy with this change, so it is there */
    struct queue_config config = queue_config_of(ch->record);
    pb_free(t->record);
    t->record = ch->record;
    ch->record = NULL;
    queue_configure(t->queue, &config);
    return t;
}

static void updated(struct queue_change *ch, const struct err *e)
{
    const struct tq *t = take_over(ch, e);
    if (!t)
        return;
    reply_copy(ch->call, &t->record->queue->base);
    queue_change_end(ch);
}

/* The queue becomes `fresh`. */
static void change(struct queues *qs, struct call *c, const struct tq *t, PbQueue *fresh)
{
    QueueRecord record = *t->record;
    record.queue = fresh;
    struct queue_change *ch = queue_change_new(qs, c, fresh->name, &record);
    if (ch)
        queue_change_commit(ch, false, updated);
}

/* What the client wants of `now`, in the arena; what is output only stays as it is. */
static PbQueue *apply_update(struct arena *a, const PbQueue *now, const PbQueue *wanted, const Google__Protobuf__FieldMask *mask,
                             struct err *e)
{
    bool whole = !mask || mask->n_paths == 0;
    PbQueue *fresh = pb_clone(a, whole ? &wanted->base : &now->base);
    PbQueue *from = pb_clone(a, &wanted->base);
    if (!fresh || !from) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "queue: out of memory");
        return NULL;
    }
    if (!whole && mask_apply(a, &fresh->base, &from->base, mask->paths, mask->n_paths, false, e))
        return NULL;
    fresh->name = now->name;
    fresh->state = now->state;
    fresh->purge_time = now->purge_time;
    return check_queue(a, fresh, e) ? NULL : fresh;
}

void on_update_queue(void *service, struct call *c, const ProtobufCMessage *r)
{
    struct queues *qs = service;
    const Google__Cloud__Tasks__V2__UpdateQueueRequest *q = (const void *)r;
    struct err e;
    if (!q->queue) {
        call_failf(c, ERR_INVALID_ARGUMENT, "queue: must be given");
        return;
    }
    if (check_queue_name(q->queue->name, "queue.name", &e)) {
        call_fail(c, &e);
        return;
    }
    const struct tq *t = map_get(qs->by_name, q->queue->name);
    PbQueue blank = GOOGLE__CLOUD__TASKS__V2__QUEUE__INIT;
    blank.name = q->queue->name;
    PbQueue *fresh = apply_update(c->arena, t ? t->record->queue : &blank, q->queue, q->update_mask, &e);
    if (!fresh)
        call_fail(c, &e);
    else if (t)
        change(qs, c, t, fresh);
    else
        create(qs, c, fresh);
}

/* A queue to change, copied into the arena; NULL: the call was failed. */
static PbQueue *copy_of(struct queues *qs, struct call *c, const char *name, struct tq **t)
{
    struct err e;
    if (check_queue_name(name, "name", &e)) {
        call_fail(c, &e);
        return NULL;
    }
    *t = queues_find(qs, c, name);
    PbQueue *copy = *t ? pb_clone(c->arena, &(*t)->record->queue->base) : NULL;
    if (*t && !copy)
        tasks_no_memory(c);
    return copy;
}

static void set_state(struct queues *qs, struct call *c, const char *name, Google__Cloud__Tasks__V2__Queue__State state)
{
    struct tq *t;
    PbQueue *fresh = copy_of(qs, c, name, &t);
    if (!fresh)
        return;
    fresh->state = state;
    change(qs, c, t, fresh);
}

void on_pause_queue(void *service, struct call *c, const ProtobufCMessage *r)
{
    set_state(service, c, ((const Google__Cloud__Tasks__V2__PauseQueueRequest *)(const void *)r)->name,
              GOOGLE__CLOUD__TASKS__V2__QUEUE__STATE__PAUSED);
}

void on_resume_queue(void *service, struct call *c, const ProtobufCMessage *r)
{
    set_state(service, c, ((const Google__Cloud__Tasks__V2__ResumeQueueRequest *)(const void *)r)->name,
              GOOGLE__CLOUD__TASKS__V2__QUEUE__STATE__RUNNING);
}

void on_purge_queue(void *service, struct call *c, const ProtobufCMessage *r)
{
    struct queues *qs = service;
    struct tq *t;
    PbQueue *fresh = copy_of(qs, c, ((const Google__Cloud__Tasks__V2__PurgeQueueRequest *)(const void *)r)->name, &t);
    if (!fresh)
        return;
    fresh->purge_time = (void *)pb_timestamp(c->arena, queue_latest_wall(t->queue) / 1000 * 1000);
    if (fresh->purge_time)
        change(qs, c, t, fresh);
    else
        tasks_no_memory(c);
}

/* ---- delete ---- */

static void deleted(struct queue_change *ch, const struct err *e)
{
    struct queues *qs = ch->qs;
    if (e) {
        queue_change_fail(ch, e);
        return;
    }
    queues_close(qs, ch->record);
    ch->record = NULL;
    if (qs->on_gone)
        qs->on_gone(qs->on_gone_arg, ch->name);
    ProtobufCMessage *reply = pb_new(ch->call->arena, &google__protobuf__empty__descriptor);
    if (reply)
        call_reply(ch->call, reply);
    else
        tasks_no_memory(ch->call);
    queue_change_end(ch);
}

void on_delete_queue(void *service, struct call *c, const ProtobufCMessage *r)
{
    struct queues *qs = service;
    const Google__Cloud__Tasks__V2__DeleteQueueRequest *q = (const void *)r;
    struct err e;
    if (check_queue_name(q->name, "name", &e)) {
        call_fail(c, &e);
        return;
    }
    const struct tq *t = queues_find(qs, c, q->name);
    if (!t)
        return;
    QueueRecord record = *t->record;
    record.deleted_wall_ns = env_wall(qs->deps.env);
    struct queue_change *ch = queue_change_new(qs, c, q->name, &record);
    if (ch)
        queue_change_commit(ch, true, deleted);
}

/* ---- settings ---- */

/* The queue of settings by the settings' name; NULL: the call was failed. */
static struct tq *queue_of_settings(struct queues *qs, struct call *c, const char *name, const char *field)
{
    struct err e;
    size_t n = strlen(name), suffix = strlen(SETTINGS_SUFFIX);
    if (n < suffix || strcmp(name + n - suffix, SETTINGS_SUFFIX) != 0) {
        call_failf(c, ERR_INVALID_ARGUMENT, "%s: \"%.200s\" does not end with " SETTINGS_SUFFIX, field, name);
        return NULL;
    }
    char *queue = arena_dup(c->arena, (struct str){name, n - suffix});
    if (!queue) {
        tasks_no_memory(c);
        return NULL;
    }
    if (check_queue_name(queue, field, &e)) {
        call_fail(c, &e);
        return NULL;
    }
    return queues_find(qs, c, queue);
}

static Runnel__Tasks__V1__QueueSettings *settings_of(struct arena *a, const QueueRecord *r)
{
    const struct queue_config config = queue_config_of(r);
    Runnel__Tasks__V1__QueueSettings *s = pb_new(a, &runnel__tasks__v1__queue_settings__descriptor);
    if (!s)
        return NULL;
    s->name = arena_printf(a, "%s" SETTINGS_SUFFIX, r->queue->name);
    s->key_concurrent = (int32_t)config.key_concurrent;
    s->dead_keep = (void *)pb_duration(a, config.dead_keep_ns);
    s->dead_max = (int32_t)config.dead_max;
    return s->name && s->dead_keep ? s : NULL;
}

static void reply_settings(struct call *c, const QueueRecord *r)
{
    Runnel__Tasks__V1__QueueSettings *s = settings_of(c->arena, r);
    if (s)
        call_reply(c, &s->base);
    else
        tasks_no_memory(c);
}

void on_get_queue_settings(void *service, struct call *c, const ProtobufCMessage *r)
{
    const Runnel__Tasks__V1__GetQueueSettingsRequest *q = (const void *)r;
    const struct tq *t = queue_of_settings(service, c, q->name, "name");
    if (t)
        reply_settings(c, t->record);
}

static int check_settings(const Runnel__Tasks__V1__QueueSettings *s, struct err *e)
{
    if (s->key_concurrent < 0 || s->key_concurrent > KEY_CONCURRENT_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "key_concurrent: %d; 0 (no limit of its own) to %d are allowed", s->key_concurrent,
                       KEY_CONCURRENT_MAX);
    if (s->dead_max < 0 || s->dead_max > DEAD_MAX_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "dead_max: %d; 1 to %d are allowed (0 means %d)", s->dead_max, DEAD_MAX_MAX,
                       DEAD_MAX_DEFAULT);
    int64_t keep_ns = pb_duration_ns(s->dead_keep);
    if (s->dead_keep && (s->dead_keep->nanos < 0 || s->dead_keep->nanos > 999999999 || keep_ns < 0 || keep_ns > DEAD_KEEP_MAX_NS))
        return err_set(e, ERR_INVALID_ARGUMENT, "dead_keep: %llds; 0s (keep none) to %llds are allowed", (long long)s->dead_keep->seconds,
                       (long long)(DEAD_KEEP_MAX_NS / NS_PER_S));
    return 0;
}

static void settings_updated(struct queue_change *ch, const struct err *e)
{
    const struct tq *t = take_over(ch, e);
    if (!t)
        return;
    reply_settings(ch->call, t->record);
    queue_change_end(ch);
}

void on_update_queue_settings(void *service, struct call *c, const ProtobufCMessage *r)
{
    struct queues *qs = service;
    const Runnel__Tasks__V1__UpdateQueueSettingsRequest *q = (const void *)r;
    const Google__Protobuf__FieldMask *mask = q->update_mask;
    Runnel__Broker__QueueSettings kept = RUNNEL__BROKER__QUEUE_SETTINGS__INIT;
    struct err e;
    if (!q->settings) {
        call_failf(c, ERR_INVALID_ARGUMENT, "settings: must be given");
        return;
    }
    const struct tq *t = queue_of_settings(qs, c, q->settings->name, "settings.name");
    if (!t)
        return;
    Runnel__Tasks__V1__QueueSettings *fresh =
        mask && mask->n_paths ? settings_of(c->arena, t->record) : pb_clone(c->arena, &q->settings->base);
    if (!fresh) {
        tasks_no_memory(c);
        return;
    }
    if ((mask && mask->n_paths && mask_apply(c->arena, &fresh->base, &q->settings->base, mask->paths, mask->n_paths, false, &e)) ||
        check_settings(fresh, &e)) {
        call_fail(c, &e);
        return;
    }
    kept.key_concurrent = (uint32_t)fresh->key_concurrent;
    kept.dead_max = (uint32_t)fresh->dead_max;
    if (fresh->dead_keep) {
        kept._dead_keep_ns_case = RUNNEL__BROKER__QUEUE_SETTINGS___DEAD_KEEP_NS_DEAD_KEEP_NS;
        kept.dead_keep_ns = pb_duration_ns(fresh->dead_keep);
    }
    QueueRecord record = *t->record;
    record.settings = &kept;
    struct queue_change *ch = queue_change_new(qs, c, record.queue->name, &record);
    if (ch)
        queue_change_commit(ch, false, settings_updated);
}

/* ---- figures ---- */

void on_get_queue_stats(void *service, struct call *c, const ProtobufCMessage *r)
{
    const Runnel__Tasks__V1__GetQueueStatsRequest *q = (const void *)r;
    struct err e;
    if (check_queue_name(q->name, "name", &e)) {
        call_fail(c, &e);
        return;
    }
    const struct tq *t = queues_find(service, c, q->name);
    if (!t)
        return;
    const struct queue_stats now = queue_stats(t->queue);
    const uint64_t begun = now.ready + now.running;
    Runnel__Tasks__V1__QueueStats *s = pb_new(c->arena, &runnel__tasks__v1__queue_stats__descriptor);
    if (s) {
        s->name = (char *)queue_name(t->queue); /* the answer is encoded later: copied below */
        s->waiting_count = now.tasks > begun ? (int64_t)(now.tasks - begun) : 0;
        s->ready_count = (int64_t)now.ready;
        s->running_count = (int64_t)now.running;
        s->dead_count = (int64_t)now.dead;
        s->dispatches_per_second = now.rate_per_s;
        s->oldest_due_time = now.oldest_due_wall_ns ? (void *)pb_timestamp(c->arena, now.oldest_due_wall_ns) : NULL;
        s->ended_last_minute_count = (int64_t)now.ended_last_minute;
        reply_copy(c, &s->base);
    } else {
        tasks_no_memory(c);
    }
}

/* dead_tasks.c: ours: the timeline of a task, and dead letters: list, back into the queue, delete. */
#include "broker/queues_int.h"

/* A call on its way through the queue; in the call's arena. */
struct dead_call {
    struct queues *qs;
    struct call *call;
    const char *name;       /* of the task or the queue */
    const char *queue_name; /* looked up again for a second question: it may have gone meanwhile */
    int64_t keep_ns;
};

static struct dead_call *begin(struct queues *qs, struct call *c, const char *name, const char *queue_name, const struct tq *t)
{
    struct dead_call *dc = arena_alloc(c->arena, sizeof *dc);
    if (dc)
        *dc = (struct dead_call){
            .qs = qs, .call = c, .name = name, .queue_name = queue_name, .keep_ns = queue_config_of(t->record).dead_keep_ns};
    else
        tasks_no_memory(c);
    return dc;
}

/* ---- timelines ---- */

static Runnel__Tasks__V1__TimelineEvent *event_of(struct arena *a, const Runnel__Broker__TaskEvent *from)
{
    static const Runnel__Tasks__V1__TimelineEvent__Type types[] = {
        [RUNNEL__BROKER__TASK_EVENT__KIND__CREATED] = RUNNEL__TASKS__V1__TIMELINE_EVENT__TYPE__CREATED,
        [RUNNEL__BROKER__TASK_EVENT__KIND__ATTEMPT] = RUNNEL__TASKS__V1__TIMELINE_EVENT__TYPE__ATTEMPT,
        [RUNNEL__BROKER__TASK_EVENT__KIND__RUN_REQUESTED] = RUNNEL__TASKS__V1__TIMELINE_EVENT__TYPE__RUN_REQUESTED,
        [RUNNEL__BROKER__TASK_EVENT__KIND__DEAD] = RUNNEL__TASKS__V1__TIMELINE_EVENT__TYPE__DEAD,
        [RUNNEL__BROKER__TASK_EVENT__KIND__REDRIVEN] = RUNNEL__TASKS__V1__TIMELINE_EVENT__TYPE__REDRIVEN,
    };
    Runnel__Tasks__V1__TimelineEvent *to = pb_new(a, &runnel__tasks__v1__timeline_event__descriptor);
    if (!to)
        return NULL;
    to->type = (size_t)from->kind < ARRAY_LEN(types) ? types[from->kind] : RUNNEL__TASKS__V1__TIMELINE_EVENT__TYPE__TYPE_UNSPECIFIED;
    to->time = (void *)pb_timestamp(a, from->wall_ns);
    to->attempt = (int32_t)from->attempt;
    to->http_status = from->status;
    to->note = arena_strdup(a, from->note);
    if (from->kind == RUNNEL__BROKER__TASK_EVENT__KIND__ATTEMPT)
        to->took = (void *)pb_duration(a, from->took_ns);
    if (from->next_wall_ns)
        to->next_attempt_time = (void *)pb_timestamp(a, from->next_wall_ns);
    return to->time && to->note ? to : NULL;
}

static void reply_timeline(const struct dead_call *dc, const TaskRecord *r)
{
    struct arena *a = dc->call->arena;
    Runnel__Tasks__V1__TaskTimeline *t = pb_new(a, &runnel__tasks__v1__task_timeline__descriptor);
    bool ok = t && (t->events = arena_alloc(a, (r->n_events + 1) * sizeof *t->events));
    if (ok) {
        t->name = (char *)dc->name;
        t->dead = r->dead_wall_ns != 0;
        t->dead_reason = arena_strdup(a, r->dead_reason);
        t->schedule_time = r->task->schedule_time ? pb_clone(a, &r->task->schedule_time->base) : NULL;
        ok = t->dead_reason != NULL;
    }
    for (size_t i = 0; ok && i < r->n_events; i++)
        ok = (t->events[t->n_events++] = event_of(a, r->events[i])) != NULL;
    if (ok)
        call_reply(dc->call, &t->base);
    else
        tasks_no_memory(dc->call);
}

static void on_dead_one(void *arg, const TaskRecord *const *records, size_t n, bool more, const struct err *e)
{
    const struct dead_call *dc = arg;
    const struct err none = {.code = ERR_NOT_FOUND};
    struct err shown;
    if (!e && n == 1 && strcmp(records[0]->task->name, dc->name) == 0) {
        reply_timeline(dc, records[0]);
        return;
    }
    task_error(&shown, e ? e : &none, dc->name);
    call_fail(dc->call, &shown);
}

/* The text just before `id` in the order of ids: none of an id's characters comes after the last one here. */
static char *just_before(struct arena *a, const char *id)
{
    size_t n = strlen(id);
    return arena_printf(a, "%.*s%c\x7f", (int)(n - 1), id, id[n - 1] - 1);
}

static void on_timeline(void *arg, const TaskRecord *r, const struct err *e)
{
    struct dead_call *dc = arg;
    struct err shown;
    if (!e) {
        reply_timeline(dc, r);
        return;
    }
    const struct tq *t = e->code == ERR_NOT_FOUND ? map_get(dc->qs->by_name, dc->queue_name) : NULL;
    char *before = t ? just_before(dc->call->arena, task_id_of(dc->name)) : NULL;
    if (before) {
        queue_list(t->queue, true, before, 1, on_dead_one, dc);
        return;
    }
    task_error(&shown, e, dc->name);
    call_fail(dc->call, &shown);
}

void on_get_task_timeline(void *service, struct call *c, const ProtobufCMessage *r)
{
    struct queues *qs = service;
    const Runnel__Tasks__V1__GetTaskTimelineRequest *q = (const void *)r;
    struct err e;
    if (check_task_name(q->name, "name", &e)) {
        call_fail(c, &e);
        return;
    }
    char *queue = arena_dup(c->arena, (struct str){q->name, (size_t)(strstr(q->name, "/tasks/") - q->name)});
    if (!queue) {
        tasks_no_memory(c);
        return;
    }
    struct tq *t = queues_find(qs, c, queue);
    struct dead_call *dc = t ? begin(qs, c, q->name, queue, t) : NULL;
    if (dc)
        queue_get(t->queue, task_id_of(q->name), on_timeline, dc);
}

/* ---- list ---- */

static Runnel__Tasks__V1__DeadTask *dead_of(struct arena *a, const TaskRecord *r, int64_t keep_ns)
{
    Runnel__Tasks__V1__DeadTask *d = pb_new(a, &runnel__tasks__v1__dead_task__descriptor);
    if (!d)
        return NULL;
    d->task = task_view(a, r->task, GOOGLE__CLOUD__TASKS__V2__TASK__VIEW__FULL);
    d->dead_time = (void *)pb_timestamp(a, r->dead_wall_ns);
    d->reason = arena_strdup(a, r->dead_reason);
    d->expire_time = keep_ns ? (void *)pb_timestamp(a, r->dead_wall_ns + keep_ns) : NULL;
    return d->task && d->dead_time && d->reason ? d : NULL;
}

static char *list_name(struct arena *a, const char *parent) { return arena_printf(a, "%s/deadTasks", parent); }

static bool fill_page(const struct dead_call *dc, const TaskRecord *const *records, size_t n, bool more,
                      Runnel__Tasks__V1__ListDeadTasksResponse *reply)
{
    struct arena *a = dc->call->arena;
    reply->dead_tasks = arena_alloc(a, (n + 1) * sizeof *reply->dead_tasks);
    if (!reply->dead_tasks)
        return false;
    while (reply->n_dead_tasks < n) {
        Runnel__Tasks__V1__DeadTask *d = dead_of(a, records[reply->n_dead_tasks], dc->keep_ns);
        if (!d)
            return false;
        reply->dead_tasks[reply->n_dead_tasks++] = d;
    }
    if (!n || !more)
        return true;
    char *list = list_name(a, dc->name);
    const char *last = reply->dead_tasks[n - 1]->task->name;
    reply->next_page_token = list ? task_page_token(dc->qs, a, list, task_id_of(last)) : NULL;
    return reply->next_page_token != NULL;
}

static void on_dead_page(void *arg, const TaskRecord *const *records, size_t n, bool more, const struct err *e)
{
    const struct dead_call *dc = arg;
    Runnel__Tasks__V1__ListDeadTasksResponse *reply = pb_new(dc->call->arena, &runnel__tasks__v1__list_dead_tasks_response__descriptor);
    if (e)
        call_fail(dc->call, e);
    else if (reply && fill_page(dc, records, n, more, reply))
        call_reply(dc->call, &reply->base);
    else
        tasks_no_memory(dc->call);
}

void on_list_dead_tasks(void *service, struct call *c, const ProtobufCMessage *r)
{
    struct queues *qs = service;
    const Runnel__Tasks__V1__ListDeadTasksRequest *q = (const void *)r;
    struct task_page page;
    struct err e;
    char *list = list_name(c->arena, q->parent);
    if (!list) {
        tasks_no_memory(c);
        return;
    }
    const struct task_page_ask ask = {.size = q->page_size, .max = TASK_PAGE_MAX, .token = q->page_token, .list = list};
    if (check_queue_name(q->parent, "parent", &e) || task_page_open(qs, c->arena, &ask, &page, &e)) {
        call_fail(c, &e);
        return;
    }
    struct tq *t = queues_find(qs, c, q->parent);
    struct dead_call *dc = t ? begin(qs, c, q->parent, q->parent, t) : NULL;
    if (dc)
        queue_list(t->queue, true, page.after, page.size, on_dead_page, dc);
}

/* ---- redrive, delete ---- */

static int check_ids(char *const *ids, size_t n, bool all, struct err *e)
{
    if (all == (n > 0))
        return err_set(e, ERR_INVALID_ARGUMENT, "give either ids or all, and not both");
    if (n > TASKS_BATCH_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "ids: %zu; at most %d are allowed", n, TASKS_BATCH_MAX);
    for (size_t i = 0; i < n; i++)
        if (!task_id_fits(ids[i]))
            return err_set(e, ERR_INVALID_ARGUMENT, "ids[%zu]: \"%.100s\" is not the id of a task", i, ids[i]);
    return 0;
}

/* The queue whose dead letters are meant; NULL: the call was failed. */
static struct tq *queue_of_ids(struct queues *qs, struct call *c, const char *parent, char *const *ids, size_t n, bool all)
{
    struct err e;
    if (queues_refuse(qs, c))
        return NULL;
    if (check_queue_name(parent, "parent", &e) || check_ids(ids, n, all, &e)) {
        call_fail(c, &e);
        return NULL;
    }
    return queues_find(qs, c, parent);
}

static void on_redriven(void *arg, uint64_t count, const struct err *e)
{
    const struct dead_call *dc = arg;
    Runnel__Tasks__V1__RedriveDeadTasksResponse *reply =
        pb_new(dc->call->arena, &runnel__tasks__v1__redrive_dead_tasks_response__descriptor);
    if (e) {
        call_fail(dc->call, e);
    } else if (reply) {
        reply->redriven_count = (int64_t)count;
        call_reply(dc->call, &reply->base);
    } else {
        tasks_no_memory(dc->call);
    }
}

void on_redrive_dead_tasks(void *service, struct call *c, const ProtobufCMessage *r)
{
    const Runnel__Tasks__V1__RedriveDeadTasksRequest *q = (const void *)r;
    struct tq *t = queue_of_ids(service, c, q->parent, q->ids, q->n_ids, q->all);
    struct dead_call *dc = t ? begin(service, c, q->parent, q->parent, t) : NULL;
    if (dc)
        queue_redrive(t->queue, (const char *const *)q->ids, q->n_ids, on_redriven, dc);
}

static void on_dead_removed(void *arg, uint64_t count, const struct err *e)
{
    const struct dead_call *dc = arg;
    Runnel__Tasks__V1__DeleteDeadTasksResponse *reply = pb_new(dc->call->arena, &runnel__tasks__v1__delete_dead_tasks_response__descriptor);
    if (e) {
        call_fail(dc->call, e);
    } else if (reply) {
        reply->deleted_count = (int64_t)count;
        call_reply(dc->call, &reply->base);
    } else {
        tasks_no_memory(dc->call);
    }
}

void on_delete_dead_tasks(void *service, struct call *c, const ProtobufCMessage *r)
{
    const Runnel__Tasks__V1__DeleteDeadTasksRequest *q = (const void *)r;
    struct tq *t = queue_of_ids(service, c, q->parent, q->ids, q->n_ids, q->all);
    struct dead_call *dc = t ? begin(service, c, q->parent, q->parent, t) : NULL;
    if (dc)
        queue_dead_remove(t->queue, (const char *const *)q->ids, q->n_ids, on_dead_removed, dc);
}

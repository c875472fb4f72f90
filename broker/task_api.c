/* task_api.c: the methods of tasks: create (one, or many), get, list, delete, run. */
#include "broker/queues_int.h"

#include "google/protobuf/empty.pb-c.h"

/* A call on its way through the queue; in the call's arena. */
struct task_call {
    struct queues *qs;
    struct call *call;
    const char *name;
    PbView view;
};

const char *task_id_of(const char *name) { return strrchr(name, '/') + 1; }

/* The task as it is shown, still in pieces of `t`. */
static PbTask *task_shown(struct arena *a, const PbTask *t, PbView view)
{
    PbTask *shown = arena_alloc(a, sizeof *shown);
    if (!shown)
        return NULL;
    *shown = *t;
    shown->view = view;
    if (view == GOOGLE__CLOUD__TASKS__V2__TASK__VIEW__FULL)
        return shown;
    shown->view = GOOGLE__CLOUD__TASKS__V2__TASK__VIEW__BASIC;
    shown->http_request = arena_alloc(a, sizeof *shown->http_request);
    if (!shown->http_request)
        return NULL;
    *shown->http_request = *t->http_request;
    shown->http_request->body = (ProtobufCBinaryData){0};
    return shown;
}

PbTask *task_view(struct arena *a, const PbTask *t, PbView view)
{
    PbTask *shown = task_shown(a, t, view);
    return shown ? pb_clone(a, &shown->base) : NULL;
}

void task_error(struct err *out, const struct err *e, const char *name)
{
    *out = *e;
    if (e->code == ERR_ALREADY_EXISTS)
        err_set(out, e->code, "Requested entity already exists");
    else if (e->code == ERR_NOT_FOUND)
        err_set(out, e->code, "Task does not exist (resource=%.240s)", name);
}

static int check_view(PbView view, struct err *e)
{
    return view <= GOOGLE__CLOUD__TASKS__V2__TASK__VIEW__FULL
               ? 0
               : err_set(e, ERR_INVALID_ARGUMENT, "responseView: %d is not known; BASIC and FULL are", (int)view);
}

static struct task_call *begin(struct queues *qs, struct call *c, const char *name, PbView view)
{
    struct err e;
    if (check_view(view, &e)) {
        call_fail(c, &e);
        return NULL;
    }
    struct task_call *tc = arena_alloc(c->arena, sizeof *tc);
    if (tc)
        *tc = (struct task_call){.qs = qs, .call = c, .name = name, .view = view};
    else
        tasks_no_memory(c);
    return tc;
}

static void fail(const struct task_call *tc, const struct err *e)
{
    struct err shown;
    task_error(&shown, e, tc->name);
    call_fail(tc->call, &shown);
}

static void answer(const struct task_call *tc, PbTask *reply, const struct err *e)
{
    if (e)
        fail(tc, e);
    else if (reply)
        call_reply(tc->call, &reply->base);
    else
        tasks_no_memory(tc->call);
}

/* The queue's answer: the task as it is. */
static void on_task(void *arg, const TaskRecord *r, const struct err *e)
{
    struct task_call *tc = arg;
    answer(tc, e ? NULL : task_view(tc->call->arena, r->task, tc->view), e);
}

/* ---- create ---- */

/* The record is that of task_record_new, so it is in the call's arena already. */
static void on_created(void *arg, const TaskRecord *r, const struct err *e)
{
    struct task_call *tc = arg;
    answer(tc, e ? NULL : task_shown(tc->call->arena, r->task, tc->view), e);
}

/* The queue that tasks are to be made in; NULL: the call was failed. */
static struct tq *queue_to_fill(struct queues *qs, struct call *c, const char *parent)
{
    struct err e;
    if (queues_refuse(qs, c))
        return NULL;
    if (check_queue_name(parent, "parent", &e)) {
        call_fail(c, &e);
        return NULL;
    }
    return queues_find(qs, c, parent);
}

void on_create_task(void *service, struct call *c, const ProtobufCMessage *r)
{
    struct queues *qs = service;
    const Google__Cloud__Tasks__V2__CreateTaskRequest *q = (const void *)r;
    struct err e = {0};
    struct tq *t = queue_to_fill(qs, c, q->parent);
    struct task_call *tc = t ? begin(qs, c, q->parent, q->response_view) : NULL;
    if (!tc)
        return;
    TaskRecord *record = NULL;
    if (!q->task)
        err_set(&e, ERR_INVALID_ARGUMENT, "task: must be given");
    else
        record = task_record_new(qs, c->arena, q->parent, q->task, &e);
    if (!record)
        call_fail(c, &e);
    else
        queue_create(t->queue, record, on_created, tc);
}

/* ---- create many: answered when the last of them is ---- */

struct batch {
    struct call *call;
    PbView view;
    size_t left;
    Runnel__Tasks__V1__BatchCreateTasksResponse *reply;
};
struct batch_item {
    struct batch *batch;
    const char *parent;
    Runnel__Tasks__V1__BatchCreateTasksResponse__Result *result;
};

static void set_error(struct batch_item *item, const struct err *e)
{
    struct arena *a = item->batch->call->arena;
    struct err shown;
    Google__Rpc__Status *status = pb_new(a, &google__rpc__status__descriptor);
    task_error(&shown, e, item->parent);
    if (!status || !(status->message = arena_strdup(a, shown.msg)))
        return; /* an empty result: the whole answer would hardly get out */
    status->code = (int32_t)shown.code;
    item->result->result_case = RUNNEL__TASKS__V1__BATCH_CREATE_TASKS_RESPONSE__RESULT__RESULT_ERROR;
    item->result->error = status;
}

static void batch_done_one(struct batch *b)
{
    if (--b->left == 0)
        call_reply(b->call, &b->reply->base);
}

static void on_batch_task(void *arg, const TaskRecord *r, const struct err *e)
{
    struct batch_item *item = arg;
    struct batch *b = item->batch;
    const struct err full = {.code = ERR_RESOURCE_EXHAUSTED, .msg = "the task was created; out of memory to show it"};
    PbTask *task = e ? NULL : task_shown(b->call->arena, r->task, b->view); /* as in on_created */
    if (task) {
        item->result->result_case = RUNNEL__TASKS__V1__BATCH_CREATE_TASKS_RESPONSE__RESULT__RESULT_TASK;
        item->result->task = task;
    } else {
        set_error(item, e ? e : &full);
    }
    batch_done_one(b);
}

static struct batch_item *batch_new(struct call *c, const Runnel__Tasks__V1__BatchCreateTasksRequest *q)
{
    struct arena *a = c->arena;
    struct batch *b = arena_alloc(a, sizeof *b);
    struct batch_item *items = arena_alloc(a, q->n_tasks * sizeof *items);
    Runnel__Tasks__V1__BatchCreateTasksResponse *reply = pb_new(a, &runnel__tasks__v1__batch_create_tasks_response__descriptor);
    if (!b || !items || !reply || !(reply->results = arena_alloc(a, q->n_tasks * sizeof *reply->results)))
        return NULL;
    *b = (struct batch){.call = c, .view = q->response_view, .left = q->n_tasks + 1, .reply = reply};
    reply->n_results = q->n_tasks;
    for (size_t i = 0; i < q->n_tasks; i++) {
        reply->results[i] = pb_new(a, &runnel__tasks__v1__batch_create_tasks_response__result__descriptor);
        if (!reply->results[i])
            return NULL;
        items[i] = (struct batch_item){.batch = b, .parent = q->parent, .result = reply->results[i]};
    }
    return items;
}

void on_batch_create_tasks(void *service, struct call *c, const ProtobufCMessage *r)
{
    struct queues *qs = service;
    const Runnel__Tasks__V1__BatchCreateTasksRequest *q = (const void *)r;
    struct err e = {0};
    struct tq *t = queue_to_fill(qs, c, q->parent);
    if (!t)
        return;
    if (q->n_tasks == 0 || q->n_tasks > TASKS_BATCH_MAX)
        err_set(&e, ERR_INVALID_ARGUMENT, "tasks: %zu; 1 to %d are allowed", q->n_tasks, TASKS_BATCH_MAX);
    if (e.code || check_view(q->response_view, &e)) {
        call_fail(c, &e);
        return;
    }
    struct batch_item *items = batch_new(c, q);
    if (!items) {
        tasks_no_memory(c);
        return;
    }
    struct batch *b = items[0].batch;
    for (size_t i = 0; i < q->n_tasks; i++) {
        TaskRecord *record = task_record_new(qs, c->arena, q->parent, q->tasks[i], &e);
        if (record) {
            queue_create(t->queue, record, on_batch_task, &items[i]);
            continue;
        }
        set_error(&items[i], &e);
        batch_done_one(b);
    }
    batch_done_one(b); /* the one that kept it from being answered within */
}

/* ---- get, run, delete ---- */

/* The queue of a task; NULL: the call was failed. */
static struct tq *queue_of_task(struct queues *qs, struct call *c, const char *name)
{
    struct err e;
    if (check_task_name(name, "name", &e)) {
        call_fail(c, &e);
        return NULL;
    }
    char *queue = arena_dup(c->arena, (struct str){name, (size_t)(strstr(name, "/tasks/") - name)});
    if (queue)
        return queues_find(qs, c, queue);
    tasks_no_memory(c);
    return NULL;
}

void on_get_task(void *service, struct call *c, const ProtobufCMessage *r)
{
    const Google__Cloud__Tasks__V2__GetTaskRequest *q = (const void *)r;
    struct tq *t = queue_of_task(service, c, q->name);
    struct task_call *tc = t ? begin(service, c, q->name, q->response_view) : NULL;
    if (tc)
        queue_get(t->queue, task_id_of(q->name), on_task, tc);
}

void on_run_task(void *service, struct call *c, const ProtobufCMessage *r)
{
    const Google__Cloud__Tasks__V2__RunTaskRequest *q = (const void *)r;
    struct tq *t = queues_refuse(service, c) ? NULL : queue_of_task(service, c, q->name);
    struct task_call *tc = t ? begin(service, c, q->name, q->response_view) : NULL;
    if (tc)
        queue_run(t->queue, task_id_of(q->name), on_task, tc);
}

static void on_removed(void *arg, const TaskRecord *r, const struct err *e)
{
    struct task_call *tc = arg;
    ProtobufCMessage *reply = e ? NULL : pb_new(tc->call->arena, &google__protobuf__empty__descriptor);
    if (e)
        fail(tc, e);
    else if (reply)
        call_reply(tc->call, reply);
    else
        tasks_no_memory(tc->call);
}

void on_delete_task(void *service, struct call *c, const ProtobufCMessage *r)
{
    const Google__Cloud__Tasks__V2__DeleteTaskRequest *q = (const void *)r;
    struct tq *t = queues_refuse(service, c) ? NULL : queue_of_task(service, c, q->name);
    struct task_call *tc = t ? begin(service, c, q->name, GOOGLE__CLOUD__TASKS__V2__TASK__VIEW__BASIC) : NULL;
    if (tc)
        queue_remove(t->queue, task_id_of(q->name), on_removed, tc);
}

/* ---- list ---- */

static void on_page(void *arg, const TaskRecord *const *records, size_t n, bool more, const struct err *e)
{
    struct task_call *tc = arg;
    struct arena *a = tc->call->arena;
    if (e) {
        call_fail(tc->call, e);
        return;
    }
    Google__Cloud__Tasks__V2__ListTasksResponse *reply = pb_new(a, &google__cloud__tasks__v2__list_tasks_response__descriptor);
    if (!reply || !(reply->tasks = arena_alloc(a, (n + 1) * sizeof *reply->tasks))) {
        tasks_no_memory(tc->call);
        return;
    }
    while (reply->n_tasks < n) { /* the queue sees to it that they are not too much */
        PbTask *task = task_view(a, records[reply->n_tasks]->task, tc->view);
        if (!task) {
            tasks_no_memory(tc->call);
            return;
        }
        reply->tasks[reply->n_tasks++] = task;
    }
    if (n && more) {
        reply->next_page_token = task_page_token(tc->qs, a, tc->name, task_id_of(reply->tasks[n - 1]->name));
        if (!reply->next_page_token) {
            tasks_no_memory(tc->call);
            return;
        }
    }
    call_reply(tc->call, &reply->base);
}

void on_list_tasks(void *service, struct call *c, const ProtobufCMessage *r)
{
    struct queues *qs = service;
    const Google__Cloud__Tasks__V2__ListTasksRequest *q = (const void *)r;
    const struct task_page_ask ask = {.size = q->page_size, .max = TASK_PAGE_MAX, .token = q->page_token, .list = q->parent};
    struct task_page page;
    struct err e;
    if (check_queue_name(q->parent, "parent", &e) || task_page_open(qs, c->arena, &ask, &page, &e)) {
        call_fail(c, &e);
        return;
    }
    struct tq *t = queues_find(qs, c, q->parent);
    struct task_call *tc = t ? begin(qs, c, q->parent, q->response_view) : NULL;
    if (tc)
        queue_list(t->queue, false, page.after, page.size, on_page, tc);
}

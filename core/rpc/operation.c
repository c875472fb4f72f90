/** operation.c: long-running operations, kept in memory, and the four methods that clients look at them with. */
#include "core/rpc/operation.h"

#include "core/base/list.h"
#include "core/base/map.h"
#include "core/rpc/page.h"
#include "core/rpc/pb.h"

#include "core/rpc/longrunning.pb-c.h"
#include "google/protobuf/empty.pb-c.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define OPERATION_NAME_MAX 1024
#define OPERATION_ID_LEN 24

struct operations {
    const struct env *env;
    struct map *by_name;
    struct list running, finished; /* every operation is in one of them; finished in the order of finishing */
    struct timer expire;
};
struct operation {
    struct node link;
    struct operations *ops;
    char *name;
    ProtobufCMessage *metadata; /* an Any on the heap, or NULL */
    ProtobufCMessage *response; /* likewise */
    struct err err;
    bool done;
    bool deleted; /* by a client while it runs: gone from by_name, freed when it ends */
    int64_t drop_ns;
    struct list waiters;
};
/* A WaitOperation call; lives in the call's arena. */
struct waiter {
    struct node link;
    struct timer timer;
    struct operation *op;
    struct call *call;
};

static void expire_due(struct timer *t, int64_t now_ns);

struct operations *operations_new(const struct env *env, struct err *e)
{
    struct operations *ops = calloc(1, sizeof *ops);
    if (ops)
        ops->by_name = map_new(OPERATIONS_MAX);
    if (!ops || !ops->by_name) {
        free(ops);
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for operations");
        return NULL;
    }
    ops->env = env;
    list_init(&ops->running);
    list_init(&ops->finished);
    timer_init(&ops->expire, expire_due);
    return ops;
}

static void operation_release(struct operation *op)
{
    struct operations *ops = op->ops;
    list_remove(op->done ? &ops->finished : &ops->running, &op->link);
    if (op->name && !op->deleted)
        map_remove(ops->by_name, op->name);
    if (op->metadata)
        pb_free(op->metadata);
    if (op->response)
        pb_free(op->response);
    free(op->name);
    free(op);
}

void operations_free(struct operations *ops)
{
    if (!ops)
        return;
    timer_cancel(ops->env->timers, &ops->expire);
    struct list *lists[] = {&ops->running, &ops->finished};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        LIST_EACH_SAFE(lists[i], n) {
            struct operation *op = CONTAINER_OF(n, struct operation, link);
            LIST_EACH(&op->waiters, w)
                timer_cancel(ops->env->timers, &CONTAINER_OF(w, struct waiter, link)->timer);
            operation_release(op);
        }
    map_free(ops->by_name);
    free(ops);
}

/* --- keeping and dropping ------------------------------------------------------------------------------------- */

/* Drop what has been kept long enough, and set the timer for the next. */
static void drop_old(struct operations *ops)
{
    int64_t now_ns = env_now(ops->env);
    struct node *n;
    while ((n = list_first(&ops->finished))) {
        struct operation *op = CONTAINER_OF(n, struct operation, link);
        if (op->drop_ns > now_ns) {
            int rc = timer_set(ops->env->timers, &ops->expire, op->drop_ns, NULL);
            (void)rc; /* without a timer they go at the next look */
            return;
        }
        operation_release(op);
    }
    timer_cancel(ops->env->timers, &ops->expire);
}

static void expire_due(struct timer *t, int64_t now_ns)
{
    (void)now_ns;
    drop_old(CONTAINER_OF(t, struct operations, expire));
}

static int make_room(struct operations *ops, struct err *e)
{
    drop_old(ops);
    if (ops->running.count + ops->finished.count < OPERATIONS_MAX)
        return 0;
    struct node *oldest = list_first(&ops->finished);
    if (!oldest)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "%d operations are running; try again when one has ended", OPERATIONS_MAX);
    operation_release(CONTAINER_OF(oldest, struct operation, link));
    return 0;
}

/* An Any on the heap holding `m`; NULL when out of memory. */
static ProtobufCMessage *any_dup(const ProtobufCMessage *m)
{
    struct arena *a = arena_new(protobuf_c_message_get_packed_size(m) + 64 * 1024);
    if (!a)
        return NULL;
    const ProtobufCMessage *any = pb_any(a, m);
    ProtobufCMessage *copy = any ? pb_dup(any) : NULL;
    arena_free(a);
    return copy;
}

struct operation *operation_start(struct operations *ops, const char *parent, const ProtobufCMessage *metadata, struct err *e)
{
    if (make_room(ops, e))
        return NULL;
    char id[OPERATION_ID_LEN + 1], name[OPERATION_NAME_MAX];
    rng_name(ops->env->rng, id, OPERATION_ID_LEN);
    int n = snprintf(name, sizeof name, "%s/operations/%s", parent, id);
    if (n < 0 || (size_t)n >= sizeof name) {
        err_set(e, ERR_INVALID_ARGUMENT, "the parent %.60s… is too long for an operation", parent);
        return NULL;
    }
    struct operation *op = calloc(1, sizeof *op);
    if (!op) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for an operation");
        return NULL;
    }
    op->ops = ops;
    node_init(&op->link);
    list_init(&op->waiters);
    op->name = strdup(name);
    op->metadata = metadata ? any_dup(metadata) : NULL;
    list_append(&ops->running, &op->link);
    if (!op->name || (metadata && !op->metadata) || map_put(ops->by_name, op->name, op, NULL)) {
        operation_release(op);
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for an operation");
        return NULL;
    }
    return op;
}

const char *operation_name(const struct operation *op) { return op->name; }
bool operation_done(const struct operation *op) { return op->done; }

ProtobufCMessage *operation_message(struct arena *a, const struct operation *op)
{
    Google__Longrunning__Operation *m = pb_new(a, &google__longrunning__operation__descriptor);
    if (!m || !(m->name = arena_strdup(a, op->name)))
        return NULL;
    m->done = op->done;
    if (op->metadata && !(m->metadata = pb_clone(a, op->metadata)))
        return NULL;
    if (op->response) {
        m->result_case = GOOGLE__LONGRUNNING__OPERATION__RESULT_RESPONSE;
        m->response = pb_clone(a, op->response);
        return m->response ? &m->base : NULL;
    }
    if (op->err.code) {
        m->result_case = GOOGLE__LONGRUNNING__OPERATION__RESULT_ERROR;
        m->error = pb_new(a, &google__rpc__status__descriptor);
        if (!m->error || !(m->error->message = arena_strdup(a, op->err.msg)))
            return NULL;
        m->error->code = (int32_t)op->err.code;
    }
    return &m->base;
}

/* --- waiting -------------------------------------------------------------------------------------------------- */

static void reply_operation(struct call *c, const struct operation *op)
{
    const ProtobufCMessage *m = operation_message(c->arena, op);
    if (m)
        call_reply(c, m);
    else
        call_failf(c, ERR_RESOURCE_EXHAUSTED, "out of memory for %s", op->name);
}

/* Take the waiter out; its call is to be answered next. */
static struct call *waiter_end(struct waiter *w)
{
    timer_cancel(w->op->ops->env->timers, &w->timer);
    list_remove(&w->op->waiters, &w->link);
    return w->call;
}

static void waiter_fire(struct timer *t, int64_t now_ns)
{
    (void)now_ns;
    struct waiter *w = CONTAINER_OF(t, struct waiter, timer);
    const struct operation *op = w->op;
    reply_operation(waiter_end(w), op);
}

static void waiter_cancel(struct call *c) { call_failf(waiter_end(c->handler_data), ERR_CANCELLED, "the client has gone"); }

static void operation_end(struct operation *op)
{
    struct operations *ops = op->ops;
    assert(!op->done);
    list_remove(&ops->running, &op->link);
    op->done = true;
    list_append(&ops->finished, &op->link);
    op->drop_ns = env_now(ops->env) + OPERATION_KEEP_NS;
    struct node *n;
    while ((n = list_first(&op->waiters)))
        reply_operation(waiter_end(CONTAINER_OF(n, struct waiter, link)), op);
    if (op->deleted)
        operation_release(op);
    else
        drop_old(ops);
}

void operation_finish(struct operation *op, const ProtobufCMessage *response)
{
    op->response = any_dup(response);
    if (!op->response)
        err_set(&op->err, ERR_RESOURCE_EXHAUSTED, "the work was done, but there was no memory for its result");
    operation_end(op);
}

void operation_fail(struct operation *op, const struct err *e)
{
    assert(e->code != ERR_OK);
    op->err = *e;
    operation_end(op);
}

/* --- methods -------------------------------------------------------------------------------------------------- */

/* The operation, or NULL after the call was failed. */
static struct operation *find(struct operations *ops, struct call *c, const char *name)
{
    drop_old(ops);
    struct operation *op = map_get(ops->by_name, name);
    if (!op)
        call_failf(c, ERR_NOT_FOUND, "operation %.200s does not exist", name);
    return op;
}

static void on_get(void *service, struct call *c, const ProtobufCMessage *request)
{
    const struct operation *op = find(service, c, ((const Google__Longrunning__GetOperationRequest *)request)->name);
    if (op)
        reply_operation(c, op);
}

static void on_delete(void *service, struct call *c, const ProtobufCMessage *request)
{
    struct operations *ops = service;
    struct operation *op = find(ops, c, ((const Google__Longrunning__DeleteOperationRequest *)request)->name);
    if (!op)
        return;
    const ProtobufCMessage *empty = pb_new(c->arena, &google__protobuf__empty__descriptor);
    if (!empty) {
        call_failf(c, ERR_RESOURCE_EXHAUSTED, "out of memory for the answer");
        return;
    }
    struct node *n;
    while ((n = list_first(&op->waiters)))
        call_failf(waiter_end(CONTAINER_OF(n, struct waiter, link)), ERR_NOT_FOUND, "operation %.200s was deleted", op->name);
    if (op->done) {
        operation_release(op);
    } else {
        map_remove(ops->by_name, op->name);
        op->deleted = true; /* the work goes on; nobody is told of its end */
    }
    call_reply(c, empty);
}

static void on_wait(void *service, struct call *c, const ProtobufCMessage *request)
{
    struct operations *ops = service;
    const Google__Longrunning__WaitOperationRequest *r = (const Google__Longrunning__WaitOperationRequest *)request;
    struct operation *op = find(ops, c, r->name);
    if (!op)
        return;
    int64_t wait_ns = r->timeout ? pb_duration_ns(r->timeout) : OPERATION_WAIT_MAX_NS;
    if (wait_ns < 0) {
        call_failf(c, ERR_INVALID_ARGUMENT, "timeout: must not be negative");
        return;
    }
    if (op->done || c->cancelled || wait_ns == 0) {
        reply_operation(c, op);
        return;
    }
    struct waiter *w = arena_alloc(c->arena, sizeof *w);
    int64_t due_ns = env_now(ops->env) + (wait_ns < OPERATION_WAIT_MAX_NS ? wait_ns : OPERATION_WAIT_MAX_NS);
    if (w)
        timer_init(&w->timer, waiter_fire);
    if (!w || timer_set(ops->env->timers, &w->timer, due_ns, NULL)) {
        reply_operation(c, op); /* its state as it is: an early answer is allowed */
        return;
    }
    w->op = op;
    w->call = c;
    node_init(&w->link);
    list_append(&op->waiters, &w->link);
    c->handler_data = w;
    c->on_cancel = waiter_cancel;
}

/* Fill the answer with up to page->size operations of the parent; `sorted` holds all by name. */
static int fill_page(struct call *c, const char *parent, struct operation **sorted, size_t n, const struct page *page,
                     Google__Longrunning__ListOperationsResponse *answer)
{
    size_t parent_len = strlen(parent);
    const char *last = NULL;
    answer->operations = arena_alloc(c->arena, (page->size + 1) * sizeof *answer->operations);
    if (!answer->operations)
        return -ERR_RESOURCE_EXHAUSTED;
    for (size_t i = 0; i < n; i++) {
        const char *name = sorted[i]->name;
        if (strncmp(name, parent, parent_len) || strncmp(name + parent_len, "/operations/", 12) || strcmp(name, page->after) <= 0)
            continue;
        if (answer->n_operations == page->size) {
            answer->next_page_token = page_token(c->arena, parent, last);
            return answer->next_page_token ? 0 : -ERR_RESOURCE_EXHAUSTED;
        }
        ProtobufCMessage *m = operation_message(c->arena, sorted[i]);
        if (!m)
            return -ERR_RESOURCE_EXHAUSTED;
        answer->operations[answer->n_operations++] = (Google__Longrunning__Operation *)m;
        last = name;
    }
    return 0;
}

static void on_list(void *service, struct call *c, const ProtobufCMessage *request)
{
    struct operations *ops = service;
    const Google__Longrunning__ListOperationsRequest *r = (const Google__Longrunning__ListOperationsRequest *)request;
    struct page page;
    struct err e = {0};
    if (r->filter && r->filter[0])
        err_set(&e, ERR_INVALID_ARGUMENT, "filter: is not supported; leave it empty");
    if (e.code || page_open(c->arena, r->page_size, r->page_token, r->name, &page, &e)) {
        call_fail(c, &e);
        return;
    }
    drop_old(ops);
    Google__Longrunning__ListOperationsResponse *answer = pb_new(c->arena, &google__longrunning__list_operations_response__descriptor);
    struct operation **sorted = (struct operation **)map_sorted(ops->by_name);
    int rc = answer && sorted ? fill_page(c, r->name, sorted, map_count(ops->by_name), &page, answer) : -ERR_RESOURCE_EXHAUSTED;
    free(sorted);
    if (rc)
        call_failf(c, ERR_RESOURCE_EXHAUSTED, "out of memory for the list of operations");
    else
        call_reply(c, &answer->base);
}

static const struct method methods[] = {
    {"google.longrunning.Operations/GetOperation", VERB_GET, "/v2/{name=projects/*/locations/*/operations/*}", NULL, "run.operations.get",
     &google__longrunning__get_operation_request__descriptor, &google__longrunning__operation__descriptor, on_get},
    {"google.longrunning.Operations/ListOperations", VERB_GET, "/v2/{name=projects/*/locations/*}/operations", NULL, "run.operations.list",
     &google__longrunning__list_operations_request__descriptor, &google__longrunning__list_operations_response__descriptor, on_list},
    {"google.longrunning.Operations/DeleteOperation", VERB_DELETE, "/v2/{name=projects/*/locations/*/operations/*}", NULL,
     "run.operations.delete", &google__longrunning__delete_operation_request__descriptor, &google__protobuf__empty__descriptor, on_delete},
    {"google.longrunning.Operations/WaitOperation", VERB_POST, "/v2/{name=projects/*/locations/*/operations/*}:wait", "*",
     "run.operations.get", &google__longrunning__wait_operation_request__descriptor, &google__longrunning__operation__descriptor, on_wait},
};

int operations_register(struct operations *ops, struct registry *r, struct err *e)
{
    pb_register(&google__protobuf__empty__descriptor);
    return registry_add(r, methods, ARRAY_LEN(methods), ops, e);
}

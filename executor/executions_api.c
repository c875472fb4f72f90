/** executions_api.c: google.cloud.run.v2 Executions. */
#include "executor/api_common.h"
#include "executor/jobs_int.h"

#include "core/rpc/longrunning.pb-c.h"
#include "core/rpc/page.h"

#include <stdlib.h>

struct execution *run_jobs_find_execution(struct executor *x, struct call *c, const char *name)
{
    struct execution *e = run_jobs_execution(x->jobs, name);
    if (!e)
        call_failf(c, ERR_NOT_FOUND, "execution '%.250s' does not exist", name);
    return e;
}

static int check_etag(const struct execution *e, struct arena *a, const char *etag, struct err *err)
{
    const RUN(Execution) *m = *etag ? execution_show(e, a) : NULL;
    if (*etag && (!m || strcmp(etag, m->etag) != 0))
        return err_set(err, ERR_ABORTED, "etag: the execution went on in between (its etag is %s now); read it again",
                       m ? m->etag : "unknown");
    return 0;
}

static void on_get(void *service, struct call *c, const ProtobufCMessage *request)
{
    const RUN(GetExecutionRequest) *q = (const void *)request;
    struct execution *e = run_jobs_find_execution(service, c, q->name);
    if (e)
        api_reply(c, execution_show(e, c->arena));
}

static size_t add_executions(const struct job *j, struct listed *out, size_t n)
{
    LIST_EACH(&j->executions, node) {
        const struct execution *e = CONTAINER_OF(node, struct execution, link);
        api_list_key(&out[n++], pb_timestamp_ns(e->rec->execution->create_time), e->name, e);
    }
    return n;
}

/* Of one job, or of all in the region for "…/jobs/-". The items are the caller's to free. */
static struct listed *executions_of(struct executor *x, const char *parent, size_t *n, struct err *e)
{
    size_t len = strlen(parent);
    bool all = len > 2 && strcmp(parent + len - 2, "/-") == 0;
    struct job *one = all ? NULL : job_find(x->jobs, parent);
    *n = 0;
    if (!all && !one) {
        err_set(e, ERR_NOT_FOUND, "job '%.200s' does not exist", parent);
        return NULL;
    }
    struct listed *items = calloc((all ? map_count(x->jobs->executions) : one->executions.count) + 1, sizeof *items);
    if (!items)
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory");
    if (items && one)
        *n = add_executions(one, items, 0);
    size_t it = 0;
    const char *name;
    void *v;
    while (items && all && map_next(x->jobs->jobs, &it, &name, &v))
        if (((struct job *)v)->msg && strncmp(name, parent, len - 1) == 0)
            *n = add_executions(v, items, *n);
    return items;
}

static void on_list(void *service, struct call *c, const ProtobufCMessage *request)
{
    const RUN(ListExecutionsRequest) *q = (const void *)request;
    struct err e;
    struct page p;
    size_t n;
    struct listed *items = NULL;
    if (page_open(c->arena, q->page_size, q->page_token, q->parent, &p, &e) || !(items = executions_of(service, q->parent, &n, &e))) {
        call_fail(c, &e);
        return;
    }
    RUN(ListExecutionsResponse) *m = pb_new(c->arena, RUN_DESC(list_executions_response));
    bool ok = m != NULL;
    if (ok) {
        size_t first;
        n = api_page_cut(c->arena, items, n, &p, q->parent, &first, &m->next_page_token);
        m->executions = arena_alloc(c->arena, (n + 1) * sizeof *m->executions);
        for (size_t i = 0; m->executions && i < n; i++, m->n_executions++)
            if (!(m->executions[i] = execution_show(items[first + i].item, c->arena)))
                break;
        ok = m->n_executions == n && m->next_page_token;
    }
    free(items);
    api_reply(c, ok ? m : NULL);
}

/* ---- changes that are answered when they are durable */

struct asked {
    struct call *call;
    struct operation *op;
};

static void on_changed(void *arg, const struct err *err)
{
    struct asked *q = arg;
    struct err copy;
    if (err) {
        copy = *err;
        operation_fail(q->op, &copy);
        call_fail(q->call, &copy);
    } else {
        api_reply(q->call, operation_message(q->call->arena, q->op));
    }
    free(q);
}

void executions_change(struct executor *x, struct call *c, struct execution *run, bool dry,
                       int (*change)(struct execution *e, const struct execution_change *ch, struct err *err))
{
    struct err e;
    char *parent = api_parent(c->arena, run->name);
    RUN(Execution) *m = execution_show(run, c->arena);
    struct asked *q = m && !dry ? calloc(1, sizeof *q) : NULL;
    if (m && dry) {
        api_reply_done(x, c, parent, &m->base);
        return;
    }
    err_set(&e, ERR_RESOURCE_EXHAUSTED, "out of memory");
    struct operation *op = q ? operation_start(x->deps.operations, parent, &m->base, &e) : NULL;
    if (op) {
        *q = (struct asked){c, op};
        const struct execution_change ch = {.op = op, .done = on_changed, .arg = q};
        if (change(run, &ch, &e) == 0)
            return;
        operation_fail(op, &e);
    }
    free(q);
    call_fail(c, &e);
}

static void on_cancel(void *service, struct call *c, const ProtobufCMessage *request)
{
    struct executor *x = service;
    const RUN(CancelExecutionRequest) *q = (const void *)request;
    struct err e;
    struct execution *run = run_jobs_find_execution(x, c, q->name);
    if (!run)
        return;
    if (check_etag(run, c->arena, q->etag, &e))
        call_fail(c, &e);
    else if (execution_state_ended(run->state) || run->ending)
        call_failf(c, ERR_FAILED_PRECONDITION, "Execution %s has completed and cannot be cancelled.", run->id);
    else
        executions_change(x, c, run, q->validate_only, execution_cancel);
}

/* ---- deleting */

struct deletion {
    struct executor *x;
    struct call *call;
    struct execution *e;
    struct operation *op;
};

static void on_deleted(void *arg, const struct err *err)
{
    struct deletion *d = arg;
    struct call *c = d->call;
    d->e->busy--;
    run_jobs_reap_soon(d->x->jobs);
    if (err) {
        struct err copy = *err;
        execution_freeze(d->e, false);
        operation_fail(d->op, &copy);
        call_fail(c, &copy);
    } else {
        RUN(Execution) *m = execution_show(d->e, c->arena);
        if (m)
            m->delete_time = (Google__Protobuf__Timestamp *)pb_timestamp(c->arena, env_wall(d->x->env));
        operation_finish(d->op, m ? &m->base : &d->e->rec->execution->base);
        api_reply(c, operation_message(c->arena, d->op));
        struct job *j = d->e->job;
        if (j) { /* the job may have gone meanwhile, with all of its executions */
            execution_removed(d->e);
            job_advance(j);
        }
    }
    free(d);
}

static void on_delete(void *service, struct call *c, const ProtobufCMessage *request)
{
    struct executor *x = service;
    const RUN(DeleteExecutionRequest) *q = (const void *)request;
    struct err e;
    struct execution *run = run_jobs_find_execution(x, c, q->name);
    if (!run)
        return;
    if (check_etag(run, c->arena, q->etag, &e) || (run->frozen && err_set(&e, ERR_ABORTED, "execution %s is being deleted", run->id))) {
        call_fail(c, &e);
        return;
    }
    char *parent = api_parent(c->arena, run->name);
    RUN(Execution) *m = execution_show(run, c->arena);
    if (m && q->validate_only) {
        api_reply_done(x, c, parent, &m->base);
        return;
    }
    struct deletion *d = calloc(1, sizeof *d);
    struct store_txn *t = store_txn_new();
    err_set(&e, ERR_RESOURCE_EXHAUSTED, "out of memory");
    struct operation *op = d && t && m ? operation_start(x->deps.operations, parent, &m->base, &e) : NULL;
    if (op && execution_store_deletion(run, t, &e)) {
        operation_fail(op, &e);
        op = NULL;
    }
    if (!op) {
        free(d);
        if (t)
            store_txn_free(t);
        call_fail(c, &e);
        return;
    }
    *d = (struct deletion){x, c, run, op};
    run->busy++;
    execution_freeze(run, true);
    store_submit(x->deps.store, t, on_deleted, d);
}

#define OPERATION_DESC (&google__longrunning__operation__descriptor)
#define EXECUTIONS "google.cloud.run.v2.Executions/"
#define JOB "projects/*/locations/*/jobs/*"

static const struct method methods[] = {
    {EXECUTIONS "GetExecution", VERB_GET, "/v2/{name=" JOB "/executions/*}", NULL, "run.executions.get", RUN_DESC(get_execution_request),
     RUN_DESC(execution), on_get},
    {EXECUTIONS "ListExecutions", VERB_GET, "/v2/{parent=" JOB "}/executions", NULL, "run.executions.list",
     RUN_DESC(list_executions_request), RUN_DESC(list_executions_response), on_list},
    {EXECUTIONS "DeleteExecution", VERB_DELETE, "/v2/{name=" JOB "/executions/*}", NULL, "run.executions.delete",
     RUN_DESC(delete_execution_request), OPERATION_DESC, on_delete},
    {EXECUTIONS "CancelExecution", VERB_POST, "/v2/{name=" JOB "/executions/*}:cancel", "*", "run.executions.cancel",
     RUN_DESC(cancel_execution_request), OPERATION_DESC, on_cancel},
};

int executions_api_register(struct executor *x, struct registry *r, struct err *e)
{
    pb_register(RUN_DESC(execution));
    return registry_add(r, methods, ARRAY_LEN(methods), x, e);
}

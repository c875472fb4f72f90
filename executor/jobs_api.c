/** jobs_api.c: google.cloud.run.v2 Jobs: every change is validated on a copy, made durable, then installed; what fails changes nothing. */
#include "executor/api_common.h"
#include "executor/jobs_int.h"

#include "core/rpc/longrunning.pb-c.h"
#include "core/rpc/page.h"

#include <stdio.h>
#include <stdlib.h>

/* A change on its way to the store. */
struct change {
    struct executor *x;
    struct call *call;
    struct job *job;
    RUN(Job) * msg;             /* heap; the job's from its success on; NULL for deletions and runs */
    struct execution *launched; /* by the job's token, or by a run */
    struct operation *op;
    bool is_new, is_run;
};

static struct job *find_or_fail(struct executor *x, struct call *c, const char *name)
{
    struct job *j = job_find(x->jobs, name);
    if (!j)
        call_failf(c, ERR_NOT_FOUND, "job '%.200s' does not exist", name);
    return j;
}

static int check_etag(const struct job *j, const char *etag, struct err *e)
{
    if (*etag && strcmp(etag, j->msg->etag) != 0)
        return err_set(e, ERR_ABORTED, "etag: the job was changed in between (its etag is %s now); read it again", j->msg->etag);
    if (j->busy)
        return err_set(e, ERR_ABORTED, "another change of job '%s' is being stored; try again", j->id);
    return 0;
}

/* What only the server says is what it was (`from`), or nothing yet. */
static void set_output_fields(RUN(Job) * m, const RUN(Job) * from)
{
    static const RUN(Job) empty = GOOGLE__CLOUD__RUN__V2__JOB__INIT;
    from = from ? from : &empty;
    m->name = from->name;
    m->uid = from->uid;
    m->generation = from->generation;
    m->create_time = from->create_time;
    m->update_time = from->update_time;
    m->delete_time = m->expire_time = NULL;
    m->creator = from->creator;
    m->last_modifier = from->last_modifier;
    m->observed_generation = 0;
    m->terminal_condition = NULL;
    m->n_conditions = 0;
    m->conditions = NULL;
    m->execution_count = from->execution_count;
    m->latest_created_execution = NULL;
    m->reconciling = m->satisfies_pzs = false;
    m->etag = from->etag;
}

static void stamp(struct executor *x, struct arena *a, RUN(Job) * m)
{
    Google__Protobuf__Timestamp *now = (Google__Protobuf__Timestamp *)pb_timestamp(a, env_wall(x->env));
    char *who = arena_printf(a, "user@%s", x->config.domain);
    if (m->generation++ == 0) {
        m->uid = api_uid(a, x->env->rng);
        m->create_time = now;
        m->creator = who;
    }
    m->update_time = now;
    m->last_modifier = who;
    m->etag = api_etag(a, m->uid, m->generation);
}

/* ---- changes */

static void freeze(struct job *j, bool frozen)
{
    if (!j->deleting)
        return;
    LIST_EACH(&j->executions, n)
        execution_freeze(CONTAINER_OF(n, struct execution, link), frozen);
}

static void change_free(struct change *ch)
{
    if (ch->launched)
        launch_undo(ch->launched);
    if (ch->msg)
        pb_free(ch->msg);
    if (ch->is_new) {
        map_remove(ch->x->jobs->jobs, ch->job->name);
        job_free(ch->job);
    } else if (!ch->is_run) {
        freeze(ch->job, false);
        ch->job->busy = ch->job->deleting = false;
    }
    free(ch);
}

static void change_failed(struct change *ch, const struct err *e)
{
    struct call *c = ch->call;
    struct err copy = *e;
    if (ch->op)
        operation_fail(ch->op, &copy);
    change_free(ch);
    call_fail(c, &copy);
}

static const char *token_of(const RUN(Job) * m)
{
    switch (m->create_execution_case) {
    case GOOGLE__CLOUD__RUN__V2__JOB__CREATE_EXECUTION_START_EXECUTION_TOKEN:
        return m->start_execution_token;
    case GOOGLE__CLOUD__RUN__V2__JOB__CREATE_EXECUTION_RUN_EXECUTION_TOKEN:
        return m->run_execution_token;
    default:
        return NULL;
    }
}

static void on_stored(void *arg, const struct err *e)
{
    struct change *ch = arg;
    struct job *j = ch->job;
    struct call *c = ch->call;
    if (e) {
        change_failed(ch, e);
        return;
    }
    j->busy = false;
    if (j->msg)
        pb_free(j->msg);
    j->msg = ch->msg;
    job_weigh(j);
    if (ch->launched) {
        j->ready_operation = ch->op;
        j->ready_when = ch->launched;
    }
    RUN(Job) *m = job_show(j, c->arena);
    if (!ch->launched)
        operation_finish(ch->op, m ? &m->base : &j->msg->base);
    api_reply(c, operation_message(c->arena, ch->op));
    if (ch->launched)
        launch_done(ch->launched);
    free(ch);
}

/* A token that the job did not have makes an execution. Its template is the new one's, so the message is lent to the job. */
static int launch_token(struct change *ch, struct store_txn *t, const char *token, struct err *e)
{
    RUN(Job) *before = ch->job->msg;
    const struct launch l = {.token = token};
    ch->job->msg = ch->msg;
    ch->launched = launch_new(ch->job, ch->call->arena, &l, t, e);
    ch->job->msg = before;
    return ch->launched ? 0 : -(int)e->code;
}

static int store_change(struct change *ch, struct err *e)
{
    const char *token = token_of(ch->msg), *before = ch->job->msg ? token_of(ch->job->msg) : NULL;
    bool runs = token && (!before || strcmp(token, before) != 0);
    struct store_txn *t = store_txn_new();
    if (!t)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory");
    int rc = job_store(t, ch->msg, e);
    if (rc == 0 && runs && ch->job->ready_operation)
        rc = err_set(e, ERR_FAILED_PRECONDITION, "job '%s' still waits for the execution of its last token", ch->job->id);
    rc = rc || !runs ? rc : launch_token(ch, t, token, e);
    if (rc)
        store_txn_free(t);
    else
        store_submit(ch->x->deps.store, t, on_stored, ch);
    return rc;
}

/* `m` is valid, in the call's arena, and becomes the job's message. */
static void submit(struct executor *x, struct call *c, struct job *j, RUN(Job) * m, bool is_new)
{
    struct err e;
    struct change *ch = calloc(1, sizeof *ch);
    if (!ch) {
        if (is_new) {
            map_remove(x->jobs->jobs, j->name);
            job_free(j);
        }
        call_failf(c, ERR_RESOURCE_EXHAUSTED, "out of memory");
        return;
    }
    *ch = (struct change){.x = x, .call = c, .job = j, .is_new = is_new};
    j->busy = true;
    m->execution_count = j->count;
    ch->msg = pb_dup(&m->base);
    err_set(&e, ERR_RESOURCE_EXHAUSTED, "out of memory for job %s", j->name);
    ch->op = ch->msg ? operation_start(x->deps.operations, api_parent(c->arena, j->name), &m->base, &e) : NULL;
    if (!ch->op || store_change(ch, &e))
        change_failed(ch, &e);
}

/* ---- jobs */

static void create(struct executor *x, struct call *c, const RUN(Job) * body, const char *parent, const char *id, bool dry)
{
    struct err e;
    RUN(Job) *m = body ? pb_clone(c->arena, &body->base) : NULL;
    if (!body) {
        call_failf(c, ERR_INVALID_ARGUMENT, "job: required");
        return;
    }
    if (validate_parent(parent, &e) || validate_job_id(id, &e)) {
        call_fail(c, &e);
        return;
    }
    char *name = arena_printf(c->arena, "%s/jobs/%s", parent, id);
    if (!m || !name) {
        call_failf(c, ERR_RESOURCE_EXHAUSTED, "the job is too large, or memory is out");
        return;
    }
    if (map_get(x->jobs->jobs, name)) {
        call_failf(c, ERR_ALREADY_EXISTS, "job '%s' already exists", name);
        return;
    }
    set_output_fields(m, NULL);
    m->name = name;
    if (validate_job(x, c->arena, m, id, &e)) {
        call_fail(c, &e);
        return;
    }
    stamp(x, c->arena, m);
    if (dry) {
        api_reply_done(x, c, parent, &m->base);
        return;
    }
    struct job *j = job_new(x->jobs, name, &e);
    if (!j || map_put(x->jobs->jobs, name, j, &e)) {
        job_free(j);
        call_fail(c, &e);
        return;
    }
    submit(x, c, j, m, true);
}

static void on_create(void *service, struct call *c, const ProtobufCMessage *request)
{
    const RUN(CreateJobRequest) *q = (const void *)request;
    create(service, c, q->job, q->parent, q->job_id, q->validate_only);
}

static void on_update(void *service, struct call *c, const ProtobufCMessage *request)
{
    struct executor *x = service;
    const RUN(UpdateJobRequest) *q = (const void *)request;
    struct err e;
    if (!q->job || !*q->job->name) {
        call_failf(c, ERR_INVALID_ARGUMENT, "job.name: required");
        return;
    }
    struct job *j = job_find(x->jobs, q->job->name);
    if (!j && q->allow_missing) {
        create(x, c, q->job, api_parent(c->arena, q->job->name), strrchr(q->job->name, '/') + 1, q->validate_only);
        return;
    }
    if (!j) {
        find_or_fail(x, c, q->job->name);
        return;
    }
    /* Google's UpdateJob has no mask: the job is what the request says. */
    RUN(Job) *m = pb_clone(c->arena, &q->job->base), *old = pb_clone(c->arena, &j->msg->base);
    if (!m || !old) {
        call_failf(c, ERR_RESOURCE_EXHAUSTED, "the job is too large, or memory is out");
        return;
    }
    set_output_fields(m, old);
    if (check_etag(j, q->job->etag, &e) || validate_job(x, c->arena, m, j->id, &e)) {
        call_fail(c, &e);
        return;
    }
    stamp(x, c->arena, m);
    if (q->validate_only)
        api_reply_done(x, c, api_parent(c->arena, j->name), &m->base);
    else
        submit(x, c, j, m, false);
}

static void on_get(void *service, struct call *c, const ProtobufCMessage *request)
{
    const RUN(GetJobRequest) *q = (const void *)request;
    struct job *j = find_or_fail(service, c, q->name);
    if (j)
        api_reply(c, job_show(j, c->arena));
}

static size_t jobs_in(const struct executor *x, const char *parent, struct listed *out)
{
    size_t it = 0, n = 0, len = strlen(parent);
    const char *name;
    void *v;
    while (map_next(x->jobs->jobs, &it, &name, &v)) {
        const struct job *j = v;
        if (j->msg && strncmp(name, parent, len) == 0 && strncmp(name + len, "/jobs/", 6) == 0)
            api_list_key(&out[n++], pb_timestamp_ns(j->msg->create_time), j->name, j);
    }
    return n;
}

static void on_list(void *service, struct call *c, const ProtobufCMessage *request)
{
    struct executor *x = service;
    const RUN(ListJobsRequest) *q = (const void *)request;
    struct err e;
    struct page p;
    if (validate_parent(q->parent, &e) || page_open(c->arena, q->page_size, q->page_token, q->parent, &p, &e)) {
        call_fail(c, &e);
        return;
    }
    RUN(ListJobsResponse) *m = pb_new(c->arena, RUN_DESC(list_jobs_response));
    struct listed *items = calloc(map_count(x->jobs->jobs) + 1, sizeof *items);
    bool ok = m && items;
    if (ok) {
        size_t first, n = jobs_in(x, q->parent, items);
        n = api_page_cut(c->arena, items, n, &p, q->parent, &first, &m->next_page_token);
        m->jobs = arena_alloc(c->arena, (n + 1) * sizeof *m->jobs);
        for (size_t i = 0; m->jobs && i < n; i++, m->n_jobs++)
            if (!(m->jobs[i] = job_show(items[first + i].item, c->arena)))
                break;
        ok = m->n_jobs == n && m->next_page_token;
    }
    free(items);
    api_reply(c, ok ? m : NULL);
}

static void on_deleted(void *arg, const struct err *e)
{
    struct change *ch = arg;
    if (e) {
        change_failed(ch, e);
        return;
    }
    struct call *c = ch->call;
    RUN(Job) *m = job_show(ch->job, c->arena);
    if (m)
        m->delete_time = (Google__Protobuf__Timestamp *)pb_timestamp(c->arena, env_wall(ch->x->env));
    if (ch->x->on_gone)
        ch->x->on_gone(ch->x->on_gone_arg, ch->job->name);
    operation_finish(ch->op, m ? &m->base : &ch->job->msg->base);
    api_reply(c, operation_message(c->arena, ch->op));
    job_removed(ch->job);
    free(ch);
}

static void on_delete(void *service, struct call *c, const ProtobufCMessage *request)
{
    struct executor *x = service;
    const RUN(DeleteJobRequest) *q = (const void *)request;
    struct err e;
    struct job *j = find_or_fail(x, c, q->name);
    if (!j)
        return;
    if (check_etag(j, q->etag, &e)) {
        call_fail(c, &e);
        return;
    }
    if (j->launching.count) {
        call_failf(c, ERR_ABORTED, "an execution of job '%s' is being stored; try again", j->id);
        return;
    }
    char *parent = api_parent(c->arena, j->name);
    if (q->validate_only) {
        api_reply_done(x, c, parent, &j->msg->base);
        return;
    }
    struct change *ch = calloc(1, sizeof *ch);
    struct store_txn *t = store_txn_new();
    if (!ch || !t) {
        free(ch);
        if (t)
            store_txn_free(t);
        call_failf(c, ERR_RESOURCE_EXHAUSTED, "out of memory");
        return;
    }
    *ch = (struct change){.x = x, .call = c, .job = j};
    j->busy = j->deleting = true;
    ch->op = operation_start(x->deps.operations, parent, &j->msg->base, &e);
    if (ch->op && job_store_deletion(j, t, &e) == 0) {
        freeze(j, true);
        store_submit(x->deps.store, t, on_deleted, ch);
    } else {
        store_txn_free(t);
        change_failed(ch, &e);
    }
}

/* ---- running one */

static int check_run(const struct job *j, const char *etag, struct err *e)
{
    if (*etag && strcmp(etag, j->msg->etag) != 0)
        return err_set(e, ERR_ABORTED, "etag: the job was changed in between (its etag is %s now); read it again", j->msg->etag);
    return j->deleting ? err_set(e, ERR_ABORTED, "job '%s' is being deleted", j->id) : 0;
}

static void on_launched(void *arg, const struct err *e)
{
    struct change *ch = arg;
    struct call *c = ch->call;
    if (e) {
        change_failed(ch, e);
        return;
    }
    struct err err;
    if (!ch->op) {
        api_reply(c, execution_show(ch->launched, c->arena));
    } else {
        if (execution_wait(ch->launched, ch->op, &err))
            operation_fail(ch->op, &err); /* cannot be: nobody else knows it yet */
        api_reply(c, operation_message(c->arena, ch->op));
    }
    launch_done(ch->launched);
    free(ch);
}

/* The event has come before: what it started then is the answer. */
static void reply_again(struct executor *x, struct call *c, struct execution *e, bool no_operation)
{
    struct err err;
    RUN(Execution) *m = execution_show(e, c->arena);
    if (no_operation) {
        api_reply(c, m);
        return;
    }
    err_set(&err, ERR_RESOURCE_EXHAUSTED, "out of memory");
    struct operation *op = m ? operation_start(x->deps.operations, api_parent(c->arena, e->name), &m->base, &err) : NULL;
    if (!op) {
        call_fail(c, &err);
        return;
    }
    bool over = execution_state_ended(e->state);
    if (over && execution_error(e, &err))
        operation_fail(op, &err);
    else if (over || execution_wait(e, op, &err)) /* enough wait for it already */
        operation_finish(op, &m->base);
    api_reply(c, operation_message(c->arena, op));
}

static bool ran_before(struct executor *x, struct call *c, struct job *j, const struct launch *l)
{
    bool storing;
    struct err e;
    if (check_event_id(l->event_id, &e)) {
        call_fail(c, &e);
        return true;
    }
    struct execution *before = job_run_of(j, l->event_id, &storing);
    if (storing)
        call_failf(c, ERR_ABORTED, "the execution of job '%s' for this event is being stored; try again", j->id);
    else if (before)
        reply_again(x, c, before, l->no_operation);
    return before != NULL;
}

void run_jobs_run(struct executor *x, struct call *c, const char *name, const char *etag, bool dry, const struct launch *l)
{
    struct err e;
    struct job *j = find_or_fail(x, c, name);
    if (!j || (l->event_id && ran_before(x, c, j, l)))
        return;
    struct change *ch = calloc(1, sizeof *ch);
    struct store_txn *t = store_txn_new();
    err_set(&e, ERR_RESOURCE_EXHAUSTED, "out of memory");
    struct execution *made = ch && t && check_run(j, etag, &e) == 0 ? launch_new(j, c->arena, l, t, &e) : NULL;
    RUN(Execution) *m = made ? execution_show(made, c->arena) : NULL;
    char *parent = api_parent(c->arena, name);
    if (dry && m)
        api_reply_done(x, c, parent, &m->base);
    struct operation *op = !dry && !l->no_operation && m && parent ? operation_start(x->deps.operations, parent, &m->base, &e) : NULL;
    if (!op && !(l->no_operation && m)) {
        if (made)
            launch_undo(made);
        if (t)
            store_txn_free(t);
        free(ch);
        if (!dry || !m)
            call_fail(c, &e);
        return;
    }
    *ch = (struct change){.x = x, .call = c, .job = j, .launched = made, .op = op, .is_run = true};
    store_submit(x->deps.store, t, on_launched, ch);
}

static void on_run(void *service, struct call *c, const ProtobufCMessage *request)
{
    const RUN(RunJobRequest) *q = (const void *)request;
    const struct launch l = {.overrides = q->overrides, .event_id = c->caller.event_id};
    run_jobs_run(service, c, q->name, q->etag, q->validate_only, &l);
}

/* ---- the table */

#define OPERATION_DESC (&google__longrunning__operation__descriptor)
#define JOBS "google.cloud.run.v2.Jobs/"
#define LOCATION "/v2/{parent=projects/*/locations/*}"
#define JOB "projects/*/locations/*/jobs/*"

static const struct method methods[] = {
    {JOBS "CreateJob", VERB_POST, LOCATION "/jobs", "job", "run.jobs.create", RUN_DESC(create_job_request), OPERATION_DESC, on_create},
    {JOBS "GetJob", VERB_GET, "/v2/{name=" JOB "}", NULL, "run.jobs.get", RUN_DESC(get_job_request), RUN_DESC(job), on_get},
    {JOBS "ListJobs", VERB_GET, LOCATION "/jobs", NULL, "run.jobs.list", RUN_DESC(list_jobs_request), RUN_DESC(list_jobs_response),
     on_list},
    {JOBS "UpdateJob", VERB_PATCH, "/v2/{job.name=" JOB "}", "job", "run.jobs.update", RUN_DESC(update_job_request), OPERATION_DESC,
     on_update},
    {JOBS "DeleteJob", VERB_DELETE, "/v2/{name=" JOB "}", NULL, "run.jobs.delete", RUN_DESC(delete_job_request), OPERATION_DESC, on_delete},
    {JOBS "RunJob", VERB_POST, "/v2/{name=" JOB "}:run", "*", "run.jobs.run", RUN_DESC(run_job_request), OPERATION_DESC, on_run},
};

int jobs_api_register(struct executor *x, struct registry *r, struct err *e)
{
    pb_register(RUN_DESC(job));
    return registry_add(r, methods, ARRAY_LEN(methods), x, e);
}

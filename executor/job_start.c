/** job_start.c: starts an execution for an event, once, in its turn, and waits for its end. */
#include "executor/job_start.h"

#include "core/rpc/json.h"
#include "executor/jobs_int.h"

#include <stdlib.h>

#define LOOK_AGAIN_NS (10 * NS_PER_MS) /* another start of the same event is being stored */

struct job_start {
    struct node link; /* run_jobs->starts */
    struct node at;   /* of `in` */
    struct list *in;  /* the starts of its job, or the followers of an execution; NULL: neither */
    struct run_jobs *js;
    struct timer turn;
    struct execution *storing; /* its own, not durable yet */
    bool left;
    enum job_start_mode mode;
    size_t series_len;
    void (*done)(void *arg, const struct job_start_result *r);
    void *arg;
    char *job, *event_id;
    struct str body;
    char text[];
};

/* ---- what events say */

RECORD(JobStart) * job_start_read(struct arena *a, struct str body, struct err *e)
{
    RECORD(JobStart) *m = pb_new(a, RECORD_DESC(job_start));
    if (!m)
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory");
    else if (json_decode(a, body, &m->base, e))
        m = NULL;
    else if (body.n && memchr(body.p, '"', body.n) && !m->overrides && !m->n_inputs) {
        err_set(e, ERR_INVALID_ARGUMENT, "it has neither \"overrides\" nor \"inputs\", as in {\"overrides\": {\"taskCount\": 2}}");
        m = NULL;
    }
    return m;
}

int job_start_check(struct str body, struct err *e)
{
    struct arena *a = arena_new(RUN_ARENA_MAX);
    if (!a)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory");
    int rc = job_start_read(a, body, e) ? 0 : -(int)e->code;
    arena_free(a);
    return rc;
}

int check_event_id(const char *id, struct err *e)
{
    size_t n = strlen(id);
    for (size_t i = 0; i < n; i++)
        if (id[i] <= ' ' || id[i] > '~')
            n = 0;
    return n && n <= EVENT_ID_MAX
               ? 0
               : err_set(e, ERR_INVALID_ARGUMENT, "the id of the event is not 1 to %d printable characters without spaces", EVENT_ID_MAX);
}

struct execution *job_run_of(struct job *j, const char *event_id, bool *storing)
{
    struct execution *e = j->events ? map_get(j->events, event_id) : NULL;
    *storing = e && e->storing;
    return e;
}

/* ---- ends */

static void unlink(struct job_start *s)
{
    if (s->in)
        list_remove(s->in, &s->at);
    s->in = NULL;
}

static void start_free(struct job_start *s)
{
    unlink(s);
    timer_cancel(s->js->env->timers, &s->turn);
    list_remove(&s->js->starts, &s->link);
    free(s);
}

static void finish(struct job_start *s, struct job_start_result *r)
{
    void (*done)(void *arg, const struct job_start_result *r) = s->done;
    void *arg = s->arg;
    start_free(s);
    done(arg, r);
}

static void refused(struct job_start *s, const struct err *e, bool ours)
{
    struct job_start_result r = {.err = *e, .ours = ours};
    finish(s, &r);
}

static void tell_end(struct job_start *s, const struct execution *e)
{
    struct job_start_result r = {.ran = true};
    if (e->deleted && !execution_state_ended(e->state))
        err_set(&r.err, ERR_ABORTED, "Execution %s was deleted.", e->id);
    else if (execution_error(e, &r.err) == 0)
        r.err.code = ERR_OK;
    finish(s, &r);
}

void job_starts_ended(struct execution *e)
{
    for (struct node *n; (n = list_first(&e->followers));)
        tell_end(CONTAINER_OF(n, struct job_start, at), e);
}

void job_starts_free(struct run_jobs *js)
{
    for (struct node *n; (n = list_first(&js->starts));) {
        struct job_start *s = CONTAINER_OF(n, struct job_start, link);
        if (s->storing)
            launch_undo(s->storing);
        start_free(s);
    }
}

/* ---- its turn */

static void take_turn(struct job_start *s, int64_t after_ns)
{
    struct err e;
    if (timer_set(s->js->env->timers, &s->turn, env_now(s->js->env) + after_ns, &e))
        refused(s, &e, true);
}

void job_starts_wake(struct job *j)
{
    for (struct node *n; (n = list_first(&j->starts));) {
        struct job_start *s = CONTAINER_OF(n, struct job_start, at);
        unlink(s);
        take_turn(s, 0);
    }
}

static void wait_in(struct job_start *s, struct list *l)
{
    s->in = l;
    list_append(l, &s->at);
}

static void follow(struct job_start *s, struct execution *e)
{
    if (execution_state_ended(e->state))
        tell_end(s, e);
    else
        wait_in(s, &e->followers);
}

static void on_stored(void *arg, const struct err *err)
{
    struct job_start *s = arg;
    struct execution *e = s->storing;
    s->storing = NULL;
    if (err) {
        struct err copy = *err;
        launch_undo(e);
        if (s->left)
            start_free(s);
        else
            refused(s, &copy, true);
        return;
    }
    launch_done(e);
    if (s->left)
        start_free(s);
    else
        follow(s, e);
}

static void start(struct job_start *s, struct job *j)
{
    struct err e = {0};
    struct arena *a = arena_new(RUN_ARENA_MAX);
    struct store_txn *t = store_txn_new();
    RECORD(JobStart) *body = NULL;
    if (!a || !t)
        err_set(&e, ERR_RESOURCE_EXHAUSTED, "out of memory for an execution of %s", j->id);
    else
        body = job_start_read(a, s->body, &e);
    bool ours = !a || !t;
    if (body) {
        const struct launch l = {.overrides = body->overrides, .inputs = body->inputs, .n_inputs = body->n_inputs, .event_id = s->event_id};
        s->storing = launch_new(j, a, &l, t, &e);
    }
    if (a)
        arena_free(a);
    if (s->storing) {
        store_submit(s->js->x->deps.store, t, on_stored, s);
        return;
    }
    if (t)
        store_txn_free(t);
    refused(s, &e, ours);
}

/* Those of the series that have not ended; cancelled, if it is to take their place. False: one of them could not be. */
static bool others(struct job_start *s, struct job *j, bool *any)
{
    struct err e;
    bool done = true;
    *any = false;
    LIST_EACH_SAFE(&j->executions, n) {
        struct execution *x = CONTAINER_OF(n, struct execution, link);
        if (execution_state_ended(x->state) || strncmp(x->rec->event_id, s->event_id, s->series_len) != 0)
            continue;
        *any = true;
        if (s->mode == JOB_START_INSTEAD && x->state != EXECUTION_CANCELLING && !x->ending &&
            execution_cancel(x, &(struct execution_change){0}, &e))
            done = false;
    }
    LIST_EACH(&j->launching, n)
        if (strncmp(CONTAINER_OF(n, struct execution, link)->rec->event_id, s->event_id, s->series_len) == 0)
            *any = true, done = false; /* it cannot be cancelled before it is there */
    return done;
}

static void on_turn(struct timer *t, int64_t now_ns)
{
    struct job_start *s = CONTAINER_OF(t, struct job_start, turn);
    struct job *j = job_find(s->js, s->job);
    struct err e;
    bool storing, any = false, done = true;
    if (!j) {
        err_set(&e, ERR_NOT_FOUND, "job '%.200s' does not exist", s->job);
        refused(s, &e, false);
        return;
    }
    struct execution *mine = job_run_of(j, s->event_id, &storing);
    if (mine && !storing) {
        follow(s, mine);
        return;
    }
    if (!mine && s->mode != JOB_START_BESIDE)
        done = others(s, j, &any);
    if (mine || !done)
        take_turn(s, LOOK_AGAIN_NS);
    else if (any)
        wait_in(s, &j->starts);
    else
        start(s, j);
}

struct job_start *job_start_new(struct executor *x, const struct job_start_spec *spec,
                                void (*done)(void *arg, const struct job_start_result *r), void *arg, struct err *e)
{
    size_t job = strlen(spec->job) + 1, id = strlen(spec->event_id) + 1;
    if (check_event_id(spec->event_id, e))
        return NULL;
    struct job_start *s = calloc(1, sizeof *s + job + id + spec->body.n);
    if (!s) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for an execution");
        return NULL;
    }
    s->js = x->jobs;
    s->mode = spec->mode;
    s->series_len = spec->series_len;
    s->done = done;
    s->arg = arg;
    s->job = memcpy(s->text, spec->job, job);
    s->event_id = memcpy(s->text + job, spec->event_id, id);
    s->body = (struct str){s->text + job + id, spec->body.n};
    if (spec->body.n)
        memcpy(s->text + job + id, spec->body.p, spec->body.n);
    timer_init(&s->turn, on_turn);
    node_init(&s->link);
    node_init(&s->at);
    if (timer_set(x->env->timers, &s->turn, env_now(x->env), e)) {
        free(s);
        return NULL;
    }
    list_append(&s->js->starts, &s->link);
    return s;
}

void job_start_leave(struct job_start *s)
{
    if (s->storing)
        s->left = true;
    else
        start_free(s);
}

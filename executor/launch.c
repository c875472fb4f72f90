/** launch.c: from a job and overrides to a new execution with its record, and what runs after another job's success. */
#include "executor/api_common.h"
#include "executor/jobs_int.h"

#include <stdio.h>
#include <stdlib.h>

#define TOKEN_LEN 5
#define PARALLELISM_PER_CPU 4 /* when the job does not say: what one host can well run */
#define PREFIX "runnel.dev/"

/* What the job says of executions and its template does not. */
static int inherit_annotations(struct arena *a, RUN(Execution) * m, const RUN(Job) * job)
{
    const RUN(ExecutionTemplate) *t = job->template_;
    RUN(Execution__AnnotationsEntry) **list = arena_alloc(a, (t->n_annotations + job->n_annotations + 1) * sizeof *list);
    if (!list)
        return -1;
    size_t n = 0;
    for (size_t i = 0; i < t->n_annotations; i++)
        list[n++] = (RUN(Execution__AnnotationsEntry) *)t->annotations[i]; /* entries of equal layout, see validate.c */
    for (size_t i = 0; i < job->n_annotations; i++) {
        bool known = strncmp(job->annotations[i]->key, PREFIX, strlen(PREFIX)) != 0;
        for (size_t k = 0; k < t->n_annotations; k++)
            known = known || strcmp(t->annotations[k]->key, job->annotations[i]->key) == 0;
        if (!known)
            list[n++] = (RUN(Execution__AnnotationsEntry) *)job->annotations[i];
    }
    m->annotations = list;
    m->n_annotations = n;
    return 0;
}

static int32_t parallelism_of(const struct executor *x, const RUN(ExecutionTemplate) * t, int32_t task_count)
{
    int32_t n = t->parallelism;
    if (n == 0) {
        uint32_t cpus = x->config.host_cpu_millis ? (x->config.host_cpu_millis + 999) / 1000 : 1;
        n = (int32_t)(cpus * PARALLELISM_PER_CPU);
    }
    return n < task_count ? n : task_count;
}

static char *new_name(struct job *j, struct arena *a, const char *token, struct err *e)
{
    for (int tries = 0; tries < 100; tries++) {
        char tail[TOKEN_LEN + 1];
        rng_name(j->jobs->env->rng, tail, TOKEN_LEN);
        char *name = arena_printf(a, "%s/executions/%s-%s", j->name, j->id, token ? token : tail);
        if (name && !map_get(j->jobs->executions, name))
            return name;
        if (token || !name)
            break;
    }
    err_set(e, token ? ERR_ALREADY_EXISTS : ERR_RESOURCE_EXHAUSTED,
            token ? "execution '%s-%s' exists already" : "no name for an execution of %s%s", j->id, token ? token : "");
    return NULL;
}

/* Shares its parts with the job: for packing and copying. */
static RUN(Execution) * message(struct job *j, struct arena *a, const struct launch *l, struct err *e)
{
    struct executor *x = j->jobs->x;
    const RUN(Job) *job = j->msg;
    RUN(Execution) *m = pb_new(a, RUN_DESC(execution));
    char *name = new_name(j, a, l->token, e);
    if (!name)
        return NULL;
    err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for an execution of %s", j->id);
    if (!m || inherit_annotations(a, m, job))
        return NULL;
    m->name = name;
    m->uid = api_uid(a, x->env->rng);
    m->generation = 1;
    m->n_labels = job->template_->n_labels;
    m->labels = (RUN(Execution__LabelsEntry) **)job->template_->labels;
    m->create_time = m->update_time = (Google__Protobuf__Timestamp *)pb_timestamp(a, env_wall(x->env));
    m->launch_stage = job->launch_stage;
    m->job = job->name;
    m->task_count = job->template_->task_count;
    m->template_ = pb_clone(a, &job->template_->template_->base);
    m->creator = job->last_modifier;
    if (!m->uid || !m->create_time || !m->template_)
        return NULL;
    if (validate_overrides(x, a, m, l->overrides, e) ||
        validate_inputs(m, l->inputs, l->n_inputs, l->overrides && l->overrides->task_count, e))
        return NULL;
    m->parallelism = parallelism_of(x, job->template_, m->task_count);
    return m;
}

static int store_inputs(const struct launch *l, uint64_t list, struct store_txn *t, struct err *e)
{
    for (size_t i = 0; i < l->n_inputs; i++) {
        char key[TASK_KEY_SIZE];
        run_attempt_key((uint32_t)i, key);
        const struct store_entry entry = {key, 0, 0, str_of(l->inputs[i])};
        if (store_txn_entry_put(t, list, &entry, e))
            return -(int)e->code;
    }
    return 0;
}

/* Who calls by hand has to change something first; an event comes again later. */
static int may_run(const struct job *j, const struct launch *l, const struct job_settings *s, struct err *e)
{
    struct err why;
    int rc = job_may_run(j, s, &why);
    if (rc == 0)
        return 0;
    return err_set(e, rc == -ERR_FAILED_PRECONDITION && l->event_id ? ERR_RESOURCE_EXHAUSTED : why.code, "%s", why.msg);
}

struct execution *launch_new(struct job *j, struct arena *a, const struct launch *l, struct store_txn *t, struct err *e)
{
    struct store *store = j->jobs->x->deps.store;
    RECORD(ExecutionRecord) rec = RUNNEL__RUN__V1__EXECUTION_RECORD__INIT;
    if (!(rec.execution = message(j, a, l, e)))
        return NULL;
    rec.list_id = store_list_new(store);
    rec.inputs_list = l->n_inputs ? store_list_new(store) : 0;
    rec.state = EXECUTION_QUEUED;
    rec.number = j->count + 1;
    rec.event_id = (char *)(uintptr_t)(l->event_id ? l->event_id : "");
    if (job_check_memory(j->jobs->x, rec.execution->template_->containers[0], e)) { /* the job was made for a larger host */
        e->code = ERR_FAILED_PRECONDITION;
        return NULL;
    }
    struct execution *x = execution_new(j, pb_dup(&rec.base), e);
    if (!x)
        return NULL;
    if (!job_full(j, &x->settings))
        x->state = EXECUTION_PENDING;
    if (may_run(j, l, &x->settings, e) || store_inputs(l, rec.inputs_list, t, e) || store_txn_lists(t, store, e) ||
        execution_store(x, t, x->state, NULL, e) || job_list(j, x, e)) {
        execution_free(x);
        return NULL;
    }
    j->count++;
    x->storing = true;
    list_append(&j->launching, &x->link); /* until launch_done or launch_undo */
    return x;
}

void launch_done(struct execution *e)
{
    list_remove(&e->job->launching, &e->link);
    execution_install(e);
}

void launch_undo(struct execution *e)
{
    list_remove(&e->job->launching, &e->link);
    job_unlist(e->job, e);
    e->job->count -= e->rec->number == e->job->count; /* unless another one came after it */
    execution_free(e);
}

/* ---- after another's success */

/* Have all that `j` depends on succeeded since it ran last? `now` is succeeding. */
static bool due(const struct job *j, const char *depends_on, const struct execution *now)
{
    struct node *n = list_first((struct list *)(uintptr_t)&j->executions);
    int64_t ran_ns = n ? pb_timestamp_ns(CONTAINER_OF(n, struct execution, link)->rec->execution->create_time) : 0;
    char name[RUN_NAME_MAX];
    for (const char *p = depends_on; *p;) {
        size_t len = strcspn(p, ",");
        snprintf(name, sizeof name, "%.*s%.*s", (int)(j->id - j->parts), j->name, (int)len, p);
        p += len + (p[len] == ',');
        struct job *on = job_find(j->jobs, name);
        if (on == now->job)
            continue;
        struct node *last = on ? list_first(&on->executions) : NULL;
        const struct execution *e = last ? CONTAINER_OF(last, struct execution, link) : NULL;
        if (!e || e->state != EXECUTION_SUCCEEDED || e->ended_wall_ns <= ran_ns)
            return false;
    }
    return true;
}

static void not_run(const struct execution *after, const struct job *j, const char *why)
{
    log_kv(after->jobs->env->log, LOG_WARN, "job.not_run", LSTR("job", j->name), LSTR("after", after->name), LSTR("error", why));
}

static int launch_one(struct execution *e, struct job *j, struct store_txn *t, struct err *err)
{
    const struct launch l = {0};
    if (!e->launched && !(e->launched = calloc(LAUNCH_DEPENDENTS_MAX, sizeof(struct execution *))))
        return err_set(err, ERR_RESOURCE_EXHAUSTED, "out of memory");
    if (e->n_launched == LAUNCH_DEPENDENTS_MAX) {
        not_run(e, j, "too many jobs depend on one");
        return 0;
    }
    struct arena *a = arena_new(RUN_ARENA_MAX);
    if (!a)
        return err_set(err, ERR_RESOURCE_EXHAUSTED, "out of memory");
    struct execution *made = launch_new(j, a, &l, t, err);
    arena_free(a);
    if (made)
        e->launched[e->n_launched++] = made;
    else if (err->code == ERR_RESOURCE_EXHAUSTED && map_count(j->jobs->executions) < EXECUTIONS_MAX)
        return -(int)err->code; /* memory: the end is tried again, with all that goes along */
    else
        not_run(e, j, err->msg); /* its own fault; this one has succeeded */
    return 0;
}

int launch_dependents(struct execution *e, struct store_txn *t, struct err *err)
{
    size_t it = 0;
    const char *name;
    void *v;
    while (map_next(e->jobs->jobs, &it, &name, &v)) {
        struct job *j = v;
        if (!j->msg || j == e->job || strncmp(j->name, e->name, (size_t)(j->id - j->parts)) != 0)
            continue;
        const char *list = job_dependencies(j->msg);
        if (job_depends_on(list, e->job_id) && due(j, list, e) && launch_one(e, j, t, err))
            return -(int)err->code;
    }
    return 0;
}

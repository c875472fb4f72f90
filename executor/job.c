/** job.c: jobs by name, which of their executions may go on, and the turns that executions take. */
#include "core/rpc/name.h"
#include "executor/jobs_int.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- jobs */

static bool split_name(struct job *j, const char *name)
{
    j->name = strdup(name);
    j->parts = strdup(name);
    if (!j->name || !j->parts)
        return false;
    char *p = j->parts, *field[6];
    for (int i = 0; i < 6; i++) {
        field[i] = p;
        p = p ? strchr(p, '/') : NULL;
        if (p)
            *p++ = '\0';
    }
    j->project = field[1];
    j->region = field[3];
    j->id = field[5];
    return j->id != NULL;
}

struct job *job_new(struct run_jobs *js, const char *name, struct err *e)
{
    struct job *j = calloc(1, sizeof *j);
    if (j) {
        j->jobs = js;
        list_init(&j->executions);
        list_init(&j->launching);
        list_init(&j->starts);
        j->share = admission_share_new(&js->x->admission, CAPACITY_JOB);
    }
    if (!j || !j->share || !split_name(j, name)) {
        job_free(j);
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for job %s", name);
        return NULL;
    }
    return j;
}

void job_free(struct job *j)
{
    if (!j)
        return;
    for (struct node *n; (n = list_pop(&j->executions));)
        execution_free(CONTAINER_OF(n, struct execution, link));
    if (j->msg)
        pb_free(j->msg);
    if (j->events)
        map_free(j->events);
    admission_share_unref(j->share);
    free(j->name);
    free(j->parts);
    free(j);
}

/* What the template says goes to executions and comes before what the job says, as with all settings. */
void job_weigh(struct job *j)
{
    const RUN(ExecutionTemplate) *t = j->msg->template_;
    uint32_t weight = settings_weight(j->msg->annotations, j->msg->n_annotations, CAPACITY_WEIGHT_DEFAULT);
    admission_weigh(&j->jobs->x->admission, j->share, t ? settings_weight(t->annotations, t->n_annotations, weight) : weight);
}

struct job *job_find(const struct run_jobs *js, const char *name)
{
    struct job *j = map_get(js->jobs, name);
    return j && j->msg ? j : NULL;
}

int job_store(struct store_txn *t, const RUN(Job) * m, struct err *e)
{
    char *bytes;
    size_t len;
    if (pb_pack(&m->base, &bytes, &len, e))
        return -(int)e->code;
    int rc = store_txn_put(t, RUN_KIND_JOB, m->name, (struct str){bytes, len}, e);
    free(bytes);
    return rc;
}

int execution_store_deletion(const struct execution *x, struct store_txn *t, struct err *e)
{
    int rc = store_txn_delete(t, RUN_KIND_EXECUTION, x->name, e);
    rc = rc ? rc : store_txn_entries_drop(t, x->rec->list_id, e);
    return rc || !x->rec->inputs_list ? rc : store_txn_entries_drop(t, x->rec->inputs_list, e);
}

int job_store_deletion(const struct job *j, struct store_txn *t, struct err *e)
{
    int rc = store_txn_delete(t, RUN_KIND_JOB, j->name, e);
    LIST_EACH(&j->executions, n)
        rc = rc ? rc : execution_store_deletion(CONTAINER_OF(n, struct execution, link), t, e);
    return rc;
}

/* ---- its executions */

struct execution *run_jobs_execution(const struct run_jobs *js, const char *name)
{
    struct execution *e = map_get(js->executions, name);
    return e && !e->storing ? e : NULL;
}

int job_list(struct job *j, struct execution *e, struct err *err)
{
    const char *event = e->rec->event_id;
    if (*event && !j->events && !(j->events = map_new(EXECUTIONS_MAX)))
        return err_set(err, ERR_RESOURCE_EXHAUSTED, "out of memory for an execution of %s", j->id);
    if (map_put(j->jobs->executions, e->name, e, err))
        return -(int)err->code;
    if (*event && map_put(j->events, event, e, err)) {
        map_remove(j->jobs->executions, e->name);
        return -(int)err->code;
    }
    return 0;
}

void job_unlist(struct job *j, struct execution *e)
{
    map_remove(j->jobs->executions, e->name);
    if (*e->rec->event_id && map_get(j->events, e->rec->event_id) == e)
        map_remove(j->events, e->rec->event_id);
}

static size_t n_active(const struct job *j) { return j->counts[COUNTED_ACTIVE] + j->launching.count; }

bool job_full(const struct job *j, const struct job_settings *s) { return s->max_concurrent && n_active(j) >= s->max_concurrent; }

int job_admits(const struct job *j, const struct job_settings *s, struct err *e)
{
    if (s->refuse && job_full(j, s))
        return err_set(
            e, ERR_FAILED_PRECONDITION,
            "job %s runs %u executions, which is its runnel.dev/max-concurrent-executions, and its runnel.dev/concurrency-policy "
            "is refuse",
            j->id, s->max_concurrent);
    return 0;
}

int job_may_run(const struct job *j, const struct job_settings *s, struct err *e)
{
    if (j->deleting)
        return err_set(e, ERR_ABORTED, "job '%s' is being deleted", j->id);
    if (map_count(j->jobs->executions) >= EXECUTIONS_MAX)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "there are %d executions; delete some", EXECUTIONS_MAX);
    return job_admits(j, s, e);
}

void job_advance(struct job *j)
{
    size_t active = n_active(j);
    for (struct node *n = j->executions.head.prev, *before; n != &j->executions.head && j->counts[COUNTED_QUEUED]; n = before) {
        struct execution *e = CONTAINER_OF(n, struct execution, link);
        before = n->prev;
        if (e->state != EXECUTION_QUEUED)
            continue;
        if (e->settings.max_concurrent && active >= e->settings.max_concurrent)
            break;
        active++;
        execution_go(e);
    }
}

static void on_forgotten(void *arg, const struct err *e)
{
    if (e)
        log_kv((struct log *)arg, LOG_WARN, "execution.not_forgotten", LSTR("error", e->msg));
}

/* The oldest that ended go when there are too many. */
static void forget_old(struct job *j)
{
    size_t ended = j->counts[COUNTED_ENDED], too_many = ended > JOB_EXECUTIONS_KEPT ? ended - JOB_EXECUTIONS_KEPT : 0;
    for (struct node *n = j->executions.head.prev, *before; n != &j->executions.head && too_many; n = before) {
        struct execution *e = CONTAINER_OF(n, struct execution, link);
        before = n->prev;
        too_many -= e->counted == COUNTED_ENDED;
        if (e->counted != COUNTED_ENDED || !execution_quiet(e))
            continue;
        struct store_txn *t = store_txn_new();
        struct err err;
        if (t && execution_store_deletion(e, t, &err) == 0) {
            store_submit(j->jobs->x->deps.store, t, on_forgotten, j->jobs->env->log);
            execution_removed(e);
        } else if (t) {
            store_txn_free(t);
        }
    }
}

static void job_ready(struct job *j, const struct execution *e)
{
    struct err err;
    if (!j->ready_operation || j->ready_when != e)
        return;
    struct operation *op = j->ready_operation;
    j->ready_operation = NULL;
    struct arena *a = arena_new(RUN_ARENA_MAX);
    RUN(Job) *m = a ? job_show(j, a) : NULL;
    if (execution_state_ended(e->state) && execution_error(e, &err))
        operation_fail(op, &err);
    else
        operation_finish(op, m ? &m->base : &j->msg->base);
    if (a)
        arena_free(a);
}

void job_execution_started(struct job *j, struct execution *e)
{
    if (j->msg->create_execution_case == GOOGLE__CLOUD__RUN__V2__JOB__CREATE_EXECUTION_START_EXECUTION_TOKEN)
        job_ready(j, e);
}

void job_execution_ended(struct job *j, struct execution *e)
{
    job_ready(j, e);
    job_advance(j);
    job_starts_wake(j);
    forget_old(j);
}

void job_removed(struct job *j)
{
    map_remove(j->jobs->jobs, j->name);
    struct err err;
    err_set(&err, ERR_ABORTED, "Job %s was deleted.", j->id);
    if (j->ready_operation)
        operation_fail(j->ready_operation, &err);
    LIST_EACH_SAFE(&j->executions, n)
        execution_removed(CONTAINER_OF(n, struct execution, link));
    job_starts_wake(j);
    job_free(j);
}

/* ---- turns */

void run_jobs_pump_soon(struct run_jobs *js)
{
    if (!timer_armed(&js->pump))
        executor_arm(js->x, &js->pump, env_now(js->env));
}

void run_jobs_reap_soon(struct run_jobs *js)
{
    if (!timer_armed(&js->reap))
        executor_arm(js->x, &js->reap, env_now(js->env));
}

/* Its turn is over: behind the others of its priority. */
static void rotate(struct run_jobs *js, struct execution *e)
{
    list_remove(&js->active, &e->active_link);
    struct node *at = js->active.head.next;
    while (at != &js->active.head && CONTAINER_OF(at, struct execution, active_link)->settings.priority >= e->settings.priority)
        at = at->next;
    list_link_before(&js->active, at, &e->active_link);
}

static bool one_step(struct run_jobs *js)
{
    LIST_EACH_SAFE(&js->active, n) {
        struct execution *e = CONTAINER_OF(n, struct execution, active_link);
        if (!execution_step(e))
            continue;
        if (node_linked(&e->active_link) && js->active.count > 1)
            rotate(js, e);
        return true;
    }
    return false;
}

static void on_pump(struct timer *t, int64_t now_ns)
{
    struct run_jobs *js = CONTAINER_OF(t, struct run_jobs, pump);
    while (one_step(js))
        ;
}

static void on_reap(struct timer *t, int64_t now_ns)
{
    struct run_jobs *js = CONTAINER_OF(t, struct run_jobs, reap);
    LIST_EACH_SAFE(&js->leaving, n) {
        struct execution *e = CONTAINER_OF(n, struct execution, link);
        if (!execution_quiet(e))
            continue;
        list_remove(&js->leaving, &e->link);
        execution_free(e);
    }
    if (js->x->stopping)
        executor_reap_soon(js->x);
}

/* ---- load */

/* What holds of all that this server has accepted, and the code relies on. NULL: it does. */
static const char *task_damage(const RUN(TaskTemplate) * t, int32_t tasks, int32_t parallelism)
{
    int64_t timeout_ns = t ? pb_duration_ns(t->timeout) : 0;
    return !t                                                            ? "it has no template"
           : t->n_containers != 1                                        ? "it has not one container"
           : tasks < 1 || tasks > JOB_TASKS_MAX                          ? "a number of tasks that cannot be"
           : parallelism < 0 || parallelism > JOBS_RUNNING_MAX           ? "a parallelism that cannot be"
           : t->max_retries < 0 || t->max_retries > JOB_RETRIES_MAX      ? "a number of retries that cannot be"
           : timeout_ns < 0 || timeout_ns > JOB_TIMEOUT_MAX_S * NS_PER_S ? "a timeout that cannot be"
                                                                         : NULL;
}

static int load_job(void *arg, const char *name, struct str body, struct err *e)
{
    static const struct name_part parts[] = {NAME_PROJECT, NAME_LOCATION, {"/jobs/", 63, "-"}};
    struct run_jobs *js = arg;
    RUN(Job) *m = pb_unpack_heap(RUN_DESC(job), body);
    const RUN(ExecutionTemplate) *t = m ? m->template_ : NULL;
    const char *why = !m                                          ? "malformed"
                      : strcmp(m->name, name) != 0                ? "it is another one's"
                      : !name_fits(name, parts, ARRAY_LEN(parts)) ? "that is no name of a job"
                      : !t                                        ? "it has no template"
                                                                  : task_damage(t->template_, t->task_count, t->parallelism);
    if (why) {
        pb_free(m);
        return executor_damaged(RUN_KIND_JOB, name, why, e);
    }
    struct job *j = job_new(js, name, e);
    if (!j) {
        pb_free(m);
        return err_wrap(e, RUN_KIND_JOB " record");
    }
    j->msg = m;
    job_weigh(j);
    j->count = m->execution_count;
    if (map_put(js->jobs, j->name, j, e)) {
        job_free(j);
        return err_wrap(e, RUN_KIND_JOB " record \"%.150s\"", name);
    }
    return 0;
}

/* Each list of entries is one execution's: another's would be written and dropped together with it. */
static const char *list_damage(struct run_jobs *js, uint64_t id)
{
    struct err e;
    return !store_list_given(js->x->deps.store, id)   ? "it has a list that was never given"
           : u64map_get(js->loaded_lists, id)         ? "it has the list of another"
           : u64map_put(js->loaded_lists, id, js, &e) ? "out of memory"
                                                      : NULL;
}

static int load_execution(void *arg, const char *name, struct str body, struct err *e)
{
    struct run_jobs *js = arg;
    const char *tail = strstr(name, "/executions/");
    struct job *j = tail ? map_get_n(js->jobs, name, (size_t)(tail - name)) : NULL;
    RECORD(ExecutionRecord) *rec = pb_unpack_heap(RECORD_DESC(execution_record), body);
    const RUN(Execution) *m = rec ? rec->execution : NULL;
    const char *why = !m                                              ? "malformed"
                      : strcmp(m->name, name) != 0                    ? "it is another one's"
                      : !j                                            ? "its job has no record"
                      : strchr(tail + sizeof "/executions/" - 1, '/') ? "that is no name of an execution"
                      : rec->state >= EXECUTION_N                     ? "there is no such state"
                                                                      : task_damage(m->template_, m->task_count, m->parallelism);
    if (!why)
        why = list_damage(js, rec->list_id);
    if (!why && rec->inputs_list)
        why = list_damage(js, rec->inputs_list);
    if (!why && *rec->event_id && check_event_id(rec->event_id, e))
        why = "that is no id of an event";
    if (why) {
        pb_free(rec);
        return executor_damaged(RUN_KIND_EXECUTION, name, why, e);
    }
    struct execution *x = execution_new(j, rec, e);
    if (!x)
        return err_wrap(e, RUN_KIND_EXECUTION " record \"%.150s\"", name);
    if (job_list(j, x, e)) {
        execution_free(x);
        return err_wrap(e, RUN_KIND_EXECUTION " record \"%.150s\"", name);
    }
    list_append(&j->executions, &x->link);
    execution_count(x);
    x->loading = x->state != EXECUTION_QUEUED && !execution_state_ended(x->state);
    if (rec->number > j->count)
        j->count = rec->number;
    return 0;
}

static int newest_first(const void *a, const void *b)
{
    const RECORD(ExecutionRecord) *x = (*(struct execution *const *)a)->rec, *y = (*(struct execution *const *)b)->rec;
    int64_t x_ns = pb_timestamp_ns(x->execution->create_time), y_ns = pb_timestamp_ns(y->execution->create_time);
    return x_ns != y_ns ? (x_ns > y_ns ? -1 : 1) : (x->number < y->number) - (x->number > y->number);
}

/* They come by name. */
static int sort_executions(struct job *j, struct err *e)
{
    size_t n = 0;
    struct execution **all = calloc(j->executions.count + 1, sizeof(struct execution *));
    if (!all)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for executions");
    for (struct node *node; (node = list_pop(&j->executions));)
        all[n++] = CONTAINER_OF(node, struct execution, link);
    qsort(all, n, sizeof(struct execution *), newest_first);
    for (size_t i = 0; i < n; i++)
        list_append(&j->executions, &all[i]->link);
    free(all);
    return 0;
}

int run_jobs_load(struct run_jobs *js, struct err *e)
{
    const struct store_ops *ops = js->x->deps.store->ops;
    int rc = store_lists_load(js->x->deps.store, e);
    js->loaded_lists = u64map_new(2 * EXECUTIONS_MAX);
    if (rc == 0 && !js->loaded_lists)
        rc = err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for jobs");
    rc = rc ? rc : ops->load_resources(js->x->deps.store, RUN_KIND_JOB, load_job, js, e);
    rc = rc ? rc : ops->load_resources(js->x->deps.store, RUN_KIND_EXECUTION, load_execution, js, e);
    u64map_free(js->loaded_lists);
    js->loaded_lists = NULL;
    size_t it = 0;
    const char *name;
    void *v;
    while (rc == 0 && map_next(js->jobs, &it, &name, &v))
        rc = sort_executions(v, e);
    return rc;
}

void run_jobs_resume(struct run_jobs *js)
{
    size_t it = 0;
    const char *name;
    void *v;
    while (map_next(js->jobs, &it, &name, &v)) {
        struct job *j = v;
        LIST_EACH(&j->executions, n) {
            struct execution *e = CONTAINER_OF(n, struct execution, link);
            if (e->loading) /* not one that was made meanwhile */
                execution_load(e);
        }
        job_advance(j);
    }
}

/* ---- lifecycle */

static void declare_metrics(struct run_jobs *js, struct metrics *m)
{
    static const char *const outcomes[OUTCOMES_N] = {
        [OUTCOME(SUCCEEDED)] = "succeeded", [OUTCOME(FAILED)] = "failed",           [OUTCOME(TIMED_OUT)] = "timed_out",
        [OUTCOME(CANCELLED)] = "cancelled", [OUTCOME(NOT_STARTED)] = "not_started", [OUTCOME(LOST)] = "lost",
    };
    if (!m)
        return;
    struct metric_family *running = metrics_family(m, METRIC_GAUGE, "runnel_run_tasks", "tasks of jobs whose program runs", "");
    struct metric_family *attempts =
        metrics_family(m, METRIC_COUNTER, "runnel_run_task_attempts_total", "attempts of tasks that ended, by how", "outcome");
    js->m_running = metric_series(running, &(const char *){NULL});
    for (size_t i = 0; i < OUTCOMES_N; i++)
        if (outcomes[i])
            js->m_outcome[i] = metric_series(attempts, &outcomes[i]);
}

void run_jobs_count_program(struct run_jobs *js, bool begins) { js->n_running += begins ? 1 : (uint32_t)-1; }

struct run_jobs *run_jobs_new(struct executor *x, struct err *e)
{
    struct run_jobs *js = calloc(1, sizeof *js);
    if (js) {
        js->jobs = map_new(JOBS_MAX);
        js->executions = map_new(EXECUTIONS_MAX);
    }
    if (!js || !js->jobs || !js->executions) {
        if (js && js->jobs)
            map_free(js->jobs);
        free(js);
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for jobs");
        return NULL;
    }
    js->x = x;
    js->env = x->env;
    js->running_max = x->config.max_tasks_host ? x->config.max_tasks_host : JOBS_RUNNING_MAX;
    list_init(&js->active);
    list_init(&js->leaving);
    list_init(&js->starts);
    timer_init(&js->pump, on_pump);
    timer_init(&js->reap, on_reap);
    declare_metrics(js, x->deps.metrics);
    return js;
}

void run_jobs_stop(struct run_jobs *js)
{
    struct node *n = js->active.head.next;
    for (; n != &js->active.head; n = n->next)
        execution_stop(CONTAINER_OF(n, struct execution, active_link));
    run_jobs_reap_soon(js);
}

bool run_jobs_quiet(const struct run_jobs *js)
{
    LIST_EACH(&js->active, n)
        if (CONTAINER_OF(n, struct execution, active_link)->busy)
            return false;
    return js->n_running == 0 && list_empty(&js->leaving);
}

void run_jobs_free(struct run_jobs *js)
{
    if (!js)
        return;
    timer_cancel(js->env->timers, &js->pump);
    timer_cancel(js->env->timers, &js->reap);
    job_starts_free(js);
    for (struct node *n; (n = list_pop(&js->leaving));)
        execution_free(CONTAINER_OF(n, struct execution, link));
    size_t it = 0;
    const char *name;
    void *v;
    while (map_next(js->jobs, &it, &name, &v))
        job_free(v);
    map_free(js->jobs);
    map_free(js->executions);
    free(js);
}

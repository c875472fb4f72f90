/** execution.c: which tasks of an execution run when: those that are to be tried again first, then the next that has not begun;
 *               its end, its cancellation, and finding its tasks again after a restart. */
#include "executor/jobs_int.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define SCAN_ROWS 1000
#define SCAN_BYTES (4u << 20)
#define QUICK_NS (200 * NS_PER_MS) /* attempts shorter than this are begun ahead, so that no slot waits for the disk */
#define QUICK_AHEAD 16             /* at least so many: a commit may take as long as several of them */
#define RECORD_ARENA_MAX (32u << 20)

static void on_again(struct timer *t, int64_t now_ns);

/* ---- lifecycle */

/* projects/P/locations/L/jobs/J/executions/E into its names. */
static bool split_name(struct execution *e, const char *name)
{
    e->name = strdup(name);
    e->parts = strdup(name);
    if (!e->name || !e->parts)
        return false;
    char *p = e->parts, *field[8];
    for (int i = 0; i < 8; i++) {
        field[i] = p;
        p = p ? strchr(p, '/') : NULL;
        if (p)
            *p++ = '\0';
    }
    e->project = field[1];
    e->region = field[3];
    e->job_id = field[5];
    e->id = field[7];
    return e->id != NULL;
}

static void read_record(struct execution *e)
{
    const RECORD(ExecutionRecord) *rec = e->rec;
    const RUN(Execution) *m = rec->execution;
    e->state = (enum execution_state)rec->state;
    e->ends_as = EXECUTION_CANCELLED;
    e->code = (enum err_code)rec->code;
    snprintf(e->why, sizeof e->why, "%s", rec->why);
    e->round = rec->round;
    e->started_wall_ns = pb_timestamp_ns(m->start_time);
    e->ended_wall_ns = pb_timestamp_ns(m->completion_time);
    e->task_count = (uint32_t)m->task_count;
    e->parallelism = (uint32_t)m->parallelism;
    e->max_retries = (uint32_t)m->template_->max_retries;
    e->timeout_ns = pb_duration_ns(m->template_->timeout);
    e->mean_run_ns = -1;
    if (!execution_state_ended(e->state))
        return;
    e->count[TASK_SUCCEEDED] = (uint32_t)m->succeeded_count;
    e->count[TASK_FAILED] = (uint32_t)m->failed_count;
    e->count[TASK_CANCELLED] = (uint32_t)m->cancelled_count;
    e->retried = (uint32_t)m->retried_count;
}

static int build_program(struct execution *e, struct err *err)
{
    const RUN(Container) *c = e->rec->execution->template_->containers[0];
    char job[600], id[600], count[64];
    snprintf(job, sizeof job, "CLOUD_RUN_JOB=%s", e->job_id);
    snprintf(id, sizeof id, "CLOUD_RUN_EXECUTION=%s", e->id);
    snprintf(count, sizeof count, "CLOUD_RUN_TASK_COUNT=%u", e->task_count);
    const char *const fixed[] = {job, id, count, NULL};
    if (plan_argv(c, &e->argv) || plan_vars(e->jobs->x, c, fixed, &e->vars))
        return err_set(err, ERR_RESOURCE_EXHAUSTED, "out of memory for execution %s", e->id);
    for (e->n_vars = 0; e->vars[e->n_vars]; e->n_vars++)
        ;
    e->spec = (struct runtime_spec){
        .argv = (const char *const *)e->argv, .image = c->image, .working_dir = c->working_dir && *c->working_dir ? c->working_dir : NULL};
    plan_limits(c, &e->spec.cpu_millis, &e->spec.memory_bytes);
    return 0;
}

struct execution *execution_new(struct job *j, RECORD(ExecutionRecord) * rec, struct err *err)
{
    struct execution *e = calloc(1, sizeof *e);
    if (!e || !rec) {
        free(e);
        if (rec)
            pb_free(rec);
        err_set(err, ERR_RESOURCE_EXHAUSTED, "out of memory for an execution of %s", j->id);
        return NULL;
    }
    e->jobs = j->jobs;
    e->job = j;
    e->rec = rec;
    node_init(&e->link);
    node_init(&e->active_link);
    struct list *lists[] = {&e->open, &e->ready, &e->again, &e->waiting};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        list_init(lists[i]);
    timer_init(&e->again_timer, on_again);
    read_record(e);
    RUN(Execution) *m = rec->execution;
    int rc = split_name(e, m->name) ? 0 : err_set(err, ERR_RESOURCE_EXHAUSTED, "out of memory for an execution of %s", j->id);
    rc = rc ? rc : job_settings_read(&e->settings, m->annotations, m->n_annotations, err);
    rc = rc ? rc : build_program(e, err);
    if (rc == 0 && !execution_state_ended(e->state) && !(e->taken = calloc(1, e->task_count / 8 + 1)))
        rc = err_set(err, ERR_RESOURCE_EXHAUSTED, "out of memory for the tasks of %s", e->id);
    if (rc) {
        execution_free(e);
        return NULL;
    }
    return e;
}

void execution_free(struct execution *e)
{
    if (!e)
        return;
    struct list *lists[] = {&e->open, &e->ready, &e->again, &e->waiting};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        for (struct node *n; (n = list_pop(lists[i]));)
            run_attempt_free(CONTAINER_OF(n, struct run_attempt, link));
    timer_cancel(e->jobs->env->timers, &e->again_timer);
    for (char **v = e->argv; v && *v; v++)
        free(*v);
    for (char **v = e->vars; v && *v; v++)
        free(*v);
    free(e->argv);
    free(e->vars);
    free(e->taken);
    for (size_t i = 0; i < e->n_launched; i++) /* the server ends before it knows whether they are stored */
        execution_free(e->launched[i]);
    free(e->launched);
    pb_free(e->rec);
    free(e->name);
    free(e->parts);
    free(e);
}

static void move(struct execution *e, enum execution_state to)
{
    assert(execution_may_move(e->state, to));
    log_kv(e->jobs->env->log, LOG_DEBUG, "execution.state", LSTR("execution", e->name), LSTR("from", execution_state_name(e->state)),
           LSTR("to", execution_state_name(to)));
    e->state = to;
}

bool execution_quiet(const struct execution *e)
{
    return e->busy == 0 && list_empty(&e->open) && list_empty(&e->ready) && list_empty(&e->again) && list_empty(&e->waiting);
}

/* ---- storing */

/* The record as it is to be, in the arena. */
static int fill_record(struct execution *e, struct arena *a, RECORD(ExecutionRecord) * rec, enum execution_state state,
                       const struct run_attempt *with)
{
    uint32_t succeeded = e->count[TASK_SUCCEEDED] + (with && with->next == TASK_SUCCEEDED);
    uint32_t failed = e->count[TASK_FAILED] + (with && with->next == TASK_FAILED);
    bool over = execution_state_ended(state);
    RUN(Execution) *m = rec->execution;
    rec->state = state;
    rec->code = e->code;
    rec->why = e->why;
    rec->round = e->round;
    if (state == EXECUTION_RUNNING && !e->started_wall_ns)
        e->started_wall_ns = env_wall(e->jobs->env);
    if (over)
        e->ended_wall_ns = env_wall(e->jobs->env);
    m->start_time = e->started_wall_ns ? (Google__Protobuf__Timestamp *)pb_timestamp(a, e->started_wall_ns) : NULL;
    m->completion_time = over ? (Google__Protobuf__Timestamp *)pb_timestamp(a, e->ended_wall_ns) : NULL;
    m->succeeded_count = (int32_t)succeeded;
    m->failed_count = (int32_t)failed;
    m->cancelled_count = (int32_t)(over ? e->task_count - succeeded - failed : e->count[TASK_CANCELLED]);
    m->retried_count = (int32_t)e->retried;
    return (over && !m->completion_time) || (e->started_wall_ns && !m->start_time) ? -1 : 0;
}

int execution_store(struct execution *e, struct store_txn *t, enum execution_state state, const struct run_attempt *with, struct err *err)
{
    struct arena *a = arena_new(RECORD_ARENA_MAX);
    RECORD(ExecutionRecord) *rec = a ? pb_clone(a, &e->rec->base) : NULL;
    char *bytes = NULL;
    size_t len = 0;
    int rc;
    if (!rec || fill_record(e, a, rec, state, with))
        rc = err_set(err, ERR_RESOURCE_EXHAUSTED, "out of memory for the record of %s", e->id);
    else
        rc = pb_pack(&rec->base, &bytes, &len, err);
    if (rc == 0)
        rc = store_txn_put(t, RUN_KIND_EXECUTION, e->name, (struct str){bytes, len}, err);
    free(bytes);
    if (a)
        arena_free(a);
    return rc;
}

static void on_again(struct timer *t, int64_t now_ns)
{
    struct execution *e = CONTAINER_OF(t, struct execution, again_timer);
    LIST_EACH_SAFE(&e->open, n) {
        struct run_attempt *a = CONTAINER_OF(n, struct run_attempt, link);
        if (a->stored_late)
            run_attempt_store(a);
    }
    execution_attempt_ended(e, NULL);
    run_jobs_pump_soon(e->jobs);
}

void execution_try_later(struct execution *e)
{
    if (!timer_armed(&e->again_timer))
        executor_arm(e->jobs->x, &e->again_timer, env_now(e->jobs->env) + ATTEMPT_AGAIN_NS);
}

/* ---- counting */

static bool counts_open(enum task_state s) { return s >= TASK_READING && s <= TASK_ENDING; }

void execution_moved(struct execution *e, enum task_state from, enum task_state to)
{
    if (from != TASK_WAITING)
        e->count[from]--;
    if (to != TASK_WAITING)
        e->count[to]++;
    e->jobs->n_open += counts_open(to);
    e->jobs->n_open -= counts_open(from);
}

static uint32_t n_open(const struct execution *e) { return (uint32_t)(e->open.count + e->ready.count + e->again.count + e->waiting.count); }

static bool more_to_begin(const struct execution *e) { return e->state != EXECUTION_CANCELLING && e->n_taken < e->task_count; }

bool execution_only_ending(const struct execution *e, const struct run_attempt *but)
{
    uint32_t others = n_open(e) - 1;
    return others > 0 && !more_to_begin(e) && !e->loading && others == e->count[TASK_ENDING] - (but->state == TASK_ENDING) && !e->held &&
           but->next != TASK_BACKOFF;
}

static enum execution_state end_of(const struct execution *e, uint32_t failed, uint32_t succeeded)
{
    if (succeeded == e->task_count)
        return EXECUTION_SUCCEEDED;
    if (e->state == EXECUTION_CANCELLING)
        return e->ends_as;
    return failed ? EXECUTION_FAILED : EXECUTION_CANCELLED;
}

void execution_failure(struct execution *e, const struct run_attempt *a)
{
    if (e->code || e->state == EXECUTION_CANCELLING)
        return;
    e->code = a->code == ERR_OK ? ERR_ABORTED : a->code;
    if (a->code == ERR_DEADLINE_EXCEEDED)
        snprintf(e->why, sizeof e->why, "%s", a->why);
    else if (a->exit_code)
        snprintf(e->why, sizeof e->why, "Task %s-task%u failed with exit code: %d and message: %s", e->id, a->index, a->exit_code, a->why);
    else
        snprintf(e->why, sizeof e->why, "Task %s-task%u failed with message: %.180s", e->id, a->index, a->why);
}

/* The counts are given as they will be, for the record. */
enum execution_state execution_end_with(const struct execution *e, const struct run_attempt *a)
{
    if (a->next == TASK_BACKOFF || n_open(e) != 1 || more_to_begin(e) || e->loading)
        return EXECUTION_N;
    return end_of(e, e->count[TASK_FAILED] + (a->next == TASK_FAILED), e->count[TASK_SUCCEEDED] + (a->next == TASK_SUCCEEDED));
}

void execution_say(const struct execution *e, const struct run_attempt *a, int severity, const char *text)
{
    const struct log_where w = {e->project, e->region, e->job_id, e->id, a ? a->id : "", true, a ? a->index : 0, a ? a->number : 0};
    if (a)
        logs_system(e->jobs->x->logs, &w, severity, "Task %u, attempt %u: %s", a->index, a->number, text);
    else
        logs_system(e->jobs->x->logs, &w, severity, "%s", text);
}

/* ---- its end */

static void finish_operations(struct execution *e)
{
    struct err err;
    struct arena *a = arena_new(RECORD_ARENA_MAX);
    RUN(Execution) *m = a ? execution_show(e, a) : NULL;
    bool failed = execution_error(e, &err) != 0;
    for (size_t i = 0; i < e->n_operations; i++) {
        if (failed && !(e->state == EXECUTION_CANCELLED && i > 0))
            operation_fail(e->operations[i], &err);
        else
            operation_finish(e->operations[i], m ? &m->base : &e->rec->execution->base);
    }
    e->n_operations = 0;
    if (a)
        arena_free(a);
}

static void execution_ended(struct execution *e, enum execution_state state)
{
    move(e, state);
    e->ending = false;
    /* Those that never began, too. */
    e->count[TASK_CANCELLED] = e->task_count - e->count[TASK_SUCCEEDED] - e->count[TASK_FAILED];
    free(e->taken);
    e->taken = NULL;
    list_remove(&e->jobs->active, &e->active_link);
    execution_say(e, NULL, state == EXECUTION_SUCCEEDED ? SEVERITY_INFO : SEVERITY_ERROR,
                  state == EXECUTION_SUCCEEDED ? "Execution completed successfully." : e->why);
    finish_operations(e);
    for (size_t i = 0; i < e->n_launched; i++)
        launch_done(e->launched[i]);
    e->n_launched = 0;
    execution_end_undo(e);
    job_execution_ended(e->job, e);
}

int execution_store_end(struct execution *e, struct store_txn *t, enum execution_state state, const struct run_attempt *with,
                        struct err *err)
{
    int rc = execution_store(e, t, state, with, err);
    rc = rc || state != EXECUTION_SUCCEEDED ? rc : launch_dependents(e, t, err);
    if (rc)
        execution_end_undo(e);
    e->ending = rc == 0;
    return rc;
}

void execution_end_undo(struct execution *e)
{
    e->ending = false;
    for (size_t i = 0; i < e->n_launched; i++)
        launch_undo(e->launched[i]);
    free(e->launched);
    e->launched = NULL;
    e->n_launched = 0;
}

static void on_ended_stored(void *arg, const struct err *err)
{
    struct execution *e = arg;
    e->busy--;
    if (e->deleted) {
        execution_end_undo(e);
        run_jobs_reap_soon(e->jobs);
    } else if (err) {
        execution_end_undo(e);
        execution_try_later(e);
    } else {
        execution_ended(e, end_of(e, e->count[TASK_FAILED], e->count[TASK_SUCCEEDED]));
    }
}

/* With no task's outcome to go along with. */
static void end_now(struct execution *e)
{
    struct err err;
    struct store_txn *t = store_txn_new();
    if (!t || execution_store_end(e, t, end_of(e, e->count[TASK_FAILED], e->count[TASK_SUCCEEDED]), NULL, &err)) {
        if (t)
            store_txn_free(t);
        execution_try_later(e);
        return;
    }
    e->busy++;
    store_submit(e->jobs->x->deps.store, t, on_ended_stored, e);
}

void execution_stop(struct execution *e)
{
    struct list *lists[] = {&e->ready, &e->again, &e->waiting, &e->open};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        LIST_EACH_SAFE(lists[i], n)
            run_attempt_stop(CONTAINER_OF(n, struct run_attempt, link));
}

static void stop_early(struct execution *e)
{
    e->ends_as = EXECUTION_FAILED;
    char why[sizeof e->why];
    snprintf(why, sizeof why, "Stopped after %u failed tasks (runnel.dev/stop-after-failures). %.200s", e->count[TASK_FAILED], e->why);
    snprintf(e->why, sizeof e->why, "%s", why);
    move(e, EXECUTION_CANCELLING);
    execution_stop(e);
}

void execution_attempt_ended(struct execution *e, struct run_attempt *a)
{
    if (a) {
        bool ended = e->ending;
        list_remove(&e->open, &a->link);
        run_attempt_free(a);
        if (ended) {
            execution_ended(e, end_of(e, e->count[TASK_FAILED], e->count[TASK_SUCCEEDED]));
            return;
        }
    }
    if (e->held && e->count[TASK_ENDING] == 1 && !e->held->writing) {
        struct run_attempt *held = e->held;
        e->held = NULL;
        run_attempt_store(held);
        return;
    }
    if (e->settings.stop_after && e->count[TASK_FAILED] >= e->settings.stop_after && e->state == EXECUTION_RUNNING)
        stop_early(e);
    if (n_open(e) == 0 && !more_to_begin(e) && !e->ending && !e->frozen && !e->loading && !e->deleted && !execution_state_ended(e->state) &&
        e->state != EXECUTION_QUEUED && !e->jobs->x->stopping)
        end_now(e);
    run_jobs_pump_soon(e->jobs);
    run_jobs_reap_soon(e->jobs);
}

/* ---- going on */

static bool is_taken(const struct execution *e, uint32_t i) { return e->taken[i / 8] & (1u << (i % 8)); }

static void take(struct execution *e, uint32_t i)
{
    e->taken[i / 8] |= (uint8_t)(1u << (i % 8));
    e->n_taken++;
}

static uint32_t programs(const struct execution *e) { return e->count[TASK_STARTING] + e->count[TASK_RUNNING] + e->count[TASK_STOPPING]; }

static bool may_begin(const struct execution *e)
{
    uint32_t under_way = e->count[TASK_READING] + e->count[TASK_BEGINNING] + e->count[TASK_READY] + programs(e);
    /* Short attempts are begun ahead of their slot. Were they long, a kill -9 would count as lost what had never run. */
    uint32_t ahead = e->mean_run_ns < 0 || e->mean_run_ns >= QUICK_NS ? 0 : e->parallelism > QUICK_AHEAD ? e->parallelism : QUICK_AHEAD;
    return under_way < e->parallelism + ahead && e->count[TASK_ENDING] < 4 * e->parallelism + 64 && e->jobs->n_open < JOBS_OPEN_MAX &&
           !timer_armed(&e->again_timer);
}

static bool begin_next(struct execution *e)
{
    struct node *n = list_first(&e->again);
    if (n) {
        struct run_attempt *a = CONTAINER_OF(n, struct run_attempt, link);
        list_remove(&e->again, n);
        list_append(&e->open, n);
        run_attempt_begin(a);
        return true;
    }
    if (!more_to_begin(e) || e->waiting.count >= EXECUTION_BACKOFFS_MAX)
        return false;
    while (is_taken(e, e->next))
        e->next++;
    struct run_attempt *a = run_attempt_new(e, e->next);
    if (!a) {
        execution_try_later(e);
        return false;
    }
    take(e, e->next);
    run_attempt_begin(a);
    return true;
}

bool execution_step(struct execution *e)
{
    struct run_jobs *js = e->jobs;
    if (e->loading || e->frozen || js->x->stopping || (e->state != EXECUTION_PENDING && e->state != EXECUTION_RUNNING))
        return false;
    struct node *n = list_first(&e->ready);
    if (n && programs(e) < e->parallelism && js->n_running < js->running_max && !timer_armed(&e->again_timer)) {
        if (e->state == EXECUTION_PENDING) {
            move(e, EXECUTION_RUNNING);
            job_execution_started(e->job, e);
        }
        run_attempt_start(CONTAINER_OF(n, struct run_attempt, link));
        return true;
    }
    return may_begin(e) && begin_next(e);
}

static void activate(struct execution *e)
{
    struct node *at = e->jobs->active.head.next;
    while (at != &e->jobs->active.head && CONTAINER_OF(at, struct execution, active_link)->settings.priority >= e->settings.priority)
        at = at->next;
    list_link_before(&e->jobs->active, at, &e->active_link);
    run_jobs_pump_soon(e->jobs);
}

void execution_go(struct execution *e)
{
    if (e->state == EXECUTION_QUEUED)
        move(e, EXECUTION_PENDING);
    activate(e);
}

void execution_install(struct execution *e)
{
    list_prepend(&e->job->executions, &e->link);
    e->jobs->n_executions++;
    if (e->state == EXECUTION_PENDING)
        activate(e);
    else
        job_advance(e->job);
}

/* ---- cancelling, taking up again, waiting, deletion */

int execution_wait(struct execution *e, struct operation *op, struct err *err)
{
    if (e->n_operations == EXECUTION_OPERATIONS_MAX)
        return err_set(err, ERR_RESOURCE_EXHAUSTED, "%d operations wait for the end of %s already", EXECUTION_OPERATIONS_MAX, e->id);
    e->operations[e->n_operations++] = op;
    return 0;
}

static void on_cancel_stored(void *arg, const struct err *err)
{
    struct execution *e = arg;
    e->busy--;
    if (e->deleted) {
        run_jobs_reap_soon(e->jobs);
        return;
    }
    if (err) /* until its end is stored a restart would forget it; the cancellation itself goes on */
        log_kv(e->jobs->env->log, LOG_ERROR, "execution.not_stored", LSTR("execution", e->name), LSTR("error", err->msg));
    execution_attempt_ended(e, NULL); /* if none is open, nothing else comes that could end it */
}

int execution_cancel(struct execution *e, struct operation *op, struct err *err)
{
    if (e->frozen)
        return err_set(err, ERR_ABORTED, "execution %s is being deleted", e->id);
    struct store_txn *t = store_txn_new();
    if (!t)
        return err_set(err, ERR_RESOURCE_EXHAUSTED, "out of memory");
    enum err_code code = e->code;
    char why[sizeof e->why];
    memcpy(why, e->why, sizeof why);
    e->code = ERR_CANCELLED;
    snprintf(e->why, sizeof e->why, "Execution %s was cancelled.", e->id);
    if (execution_wait(e, op, err) || execution_store(e, t, EXECUTION_CANCELLING, NULL, err)) {
        e->n_operations -= e->n_operations && e->operations[e->n_operations - 1] == op;
        e->code = code;
        memcpy(e->why, why, sizeof why);
        store_txn_free(t);
        return -(int)err->code;
    }
    e->ends_as = EXECUTION_CANCELLED;
    if (e->state == EXECUTION_QUEUED)
        activate(e);
    if (e->state != EXECUTION_CANCELLING)
        move(e, EXECUTION_CANCELLING);
    e->busy++;
    store_submit(e->jobs->x->deps.store, t, on_cancel_stored, e);
    execution_stop(e);
    return 0;
}

static void scan_from(struct execution *e, const char *key);

static void on_retry_stored(void *arg, const struct err *err)
{
    struct execution *e = arg;
    e->busy--;
    if (e->deleted) {
        run_jobs_reap_soon(e->jobs);
        return;
    }
    if (err) {
        e->round--;
        for (size_t i = 0; i < e->n_operations; i++)
            operation_fail(e->operations[i], err);
        e->n_operations = 0;
        free(e->taken);
        e->taken = NULL;
        return;
    }
    move(e, EXECUTION_PENDING);
    e->code = ERR_OK;
    e->why[0] = '\0';
    e->ended_wall_ns = 0;
    execution_load(e);
}

int execution_retry(struct execution *e, struct operation *op, struct err *err)
{
    if (e->frozen)
        return err_set(err, ERR_ABORTED, "execution %s is being deleted", e->id);
    if (e->taken)
        return err_set(err, ERR_ABORTED, "the failed tasks of %s are being taken up again", e->id);
    struct store_txn *t = store_txn_new();
    e->taken = calloc(1, e->task_count / 8 + 1);
    e->round++;
    enum err_code code = e->code;
    e->code = ERR_OK;
    if (!t || !e->taken || execution_wait(e, op, err) || execution_store(e, t, EXECUTION_PENDING, NULL, err)) {
        if (!t || !e->taken)
            err_set(err, ERR_RESOURCE_EXHAUSTED, "out of memory");
        if (t)
            store_txn_free(t);
        free(e->taken);
        e->taken = NULL;
        e->round--;
        e->code = code;
        e->n_operations = 0;
        return -(int)err->code;
    }
    e->code = code;
    e->busy++;
    store_submit(e->jobs->x->deps.store, t, on_retry_stored, e);
    return 0;
}

void execution_freeze(struct execution *e, bool frozen)
{
    e->frozen = frozen;
    if (!frozen)
        execution_try_later(e);
}

void execution_removed(struct execution *e)
{
    struct err err;
    e->deleted = true;
    list_remove(&e->jobs->active, &e->active_link);
    list_remove(&e->job->executions, &e->link);
    e->jobs->n_executions--;
    e->job = NULL;
    list_append(&e->jobs->leaving, &e->link);
    err_set(&err, ERR_ABORTED, "Execution %s was deleted.", e->id);
    for (size_t i = 0; i < e->n_operations; i++)
        operation_fail(e->operations[i], &err);
    e->n_operations = 0;
    execution_stop(e);
    run_jobs_reap_soon(e->jobs);
}

/* ---- after a restart */

static void recover(struct execution *e, const struct store_entry *row, const RECORD(TaskRecord) * r, struct arena *arena)
{
    struct run_attempt *a = run_attempt_new(e, run_attempt_index(e, row->key));
    if (!a)
        return; /* it is not taken: it begins again */
    take(e, a->index);
    const RECORD(TaskAttempt) *last = r->attempts[r->n_attempts - 1];
    bool running = run_task_lane_state(row->lane) == TASK_RUNNING;
    a->number = last->attempt + !running;
    a->failures = r->round == e->round ? r->failures : 0;
    a->lost = r->lost;
    a->retried = run_task_lane_retried(row->lane);
    /* What is written after this begins with all that was there, but for the attempt that is going on. */
    RECORD(TaskRecord) past = *r;
    past.n_attempts -= running;
    char *bytes = arena_alloc(arena, runnel__run__v1__task_record__get_packed_size(&past) + 1);
    if (bytes && buf_add(&a->past, bytes, runnel__run__v1__task_record__pack(&past, (uint8_t *)bytes)))
        buf_clear(&a->past);
    a->begun_wall_ns = pb_timestamp_ns(last->start_time);
    if (!running) {
        a->outcome = (int)last->outcome;
        execution_moved(e, TASK_WAITING, a->state = TASK_BACKOFF);
        run_attempt_backoff(a, row->due_wall_ns);
        return;
    }
    struct exit_record exit;
    const uint64_t ticket[2] = {e->rec->list_id, (uint64_t)a->index << 32 | a->number};
    const struct exit_journal *journal = e->jobs->x->deps.journal;
    execution_moved(e, TASK_WAITING, a->state = TASK_RUNNING);
    run_attempt_recover(a, journal && exit_journal_find(journal, ticket, &exit) ? &exit : NULL);
}

static bool ended_before(const struct execution *e, enum task_state s, const RECORD(TaskRecord) * r)
{
    return s == TASK_SUCCEEDED || ((s == TASK_FAILED || s == TASK_CANCELLED) && r->round == e->round);
}

static void take_row(struct execution *e, const struct store_entry *row)
{
    uint32_t index = run_attempt_index(e, row->key);
    struct arena *a = arena_new(4u << 20);
    RECORD(TaskRecord) *r = a ? pb_unpack(a, RECORD_DESC(task_record), row->body) : NULL;
    enum task_state s = run_task_lane_state(row->lane);
    if (r && index < e->task_count && !is_taken(e, index)) {
        e->retried += run_task_lane_retried(row->lane);
        if (ended_before(e, s, r)) {
            take(e, index);
            e->count[s]++;
            if (s == TASK_FAILED && r->n_attempts && !e->code) {
                const RECORD(TaskAttempt) *last = r->attempts[r->n_attempts - 1];
                struct run_attempt like = {.index = index,
                                           .exit_code = last->exit_code,
                                           .code = last->outcome == OUTCOME(TIMED_OUT) ? ERR_DEADLINE_EXCEEDED : ERR_ABORTED};
                snprintf(like.why, sizeof like.why, "%s", last->message);
                execution_failure(e, &like);
            }
        } else if ((s == TASK_RUNNING || s == TASK_BACKOFF) && r->n_attempts) {
            recover(e, row, r, a);
        }
    }
    if (a)
        arena_free(a);
}

static void on_scan(struct store_entries *s, const struct err *err)
{
    struct execution *e = s->arg;
    e->busy--;
    if (e->deleted || e->jobs->x->stopping) {
        run_jobs_reap_soon(e->jobs);
        return;
    }
    if (err) {
        log_kv(e->jobs->env->log, LOG_ERROR, "execution.not_loaded", LSTR("execution", e->name), LSTR("error", err->msg));
        scan_from(e, e->scan_key);
        return;
    }
    for (size_t i = 0; i < s->n; i++)
        take_row(e, &s->rows[i]);
    if (s->n > 0) {
        char key[TASK_KEY_SIZE];
        snprintf(key, sizeof key, "%s", s->rows[s->n - 1].key);
        scan_from(e, key);
        return;
    }
    e->loading = false;
    if (e->state == EXECUTION_CANCELLING)
        execution_stop(e);
    execution_attempt_ended(e, NULL);
}

static void scan_from(struct execution *e, const char *key)
{
    if (key != e->scan_key)
        snprintf(e->scan_key, sizeof e->scan_key, "%s", key);
    e->scan = (struct store_entries){.by = STORE_KEYS,
                                     .list_id = e->rec->list_id,
                                     .lane_max = TASK_LANE_MAX,
                                     .key = e->scan_key,
                                     .max_count = SCAN_ROWS,
                                     .max_bytes = SCAN_BYTES,
                                     .done = on_scan,
                                     .arg = e};
    e->busy++;
    e->jobs->x->deps.store->ops->entries(e->jobs->x->deps.store, &e->scan);
}

void execution_load(struct execution *e)
{
    e->loading = true;
    e->retried = e->n_taken = e->next = 0;
    memset(e->count, 0, sizeof e->count);
    activate(e);
    scan_from(e, "");
}

/** execution.c: which tasks of an execution run when: those that are to be tried again first, then the next that has not begun;
 *               its end and its cancellation. */
#include "executor/jobs_int.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define AHEAD_NS (100 * NS_PER_MS) /* what ends within this is begun ahead, and handed to the runtime, so that no slot waits for us */
#define AHEAD_MAX 64
#define RECORD_ARENA_MAX (32u << 20)

static void on_again(struct timer *t, int64_t now_ns);
static void on_admitted(struct admission_claim *k);

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
    bool over = execution_state_ended(e->state);
    if (!over && e->state != EXECUTION_QUEUED)
        return; /* its tasks say it */
    e->count[TASK_SUCCEEDED] = (uint32_t)m->succeeded_count;
    e->count[TASK_FAILED] = over ? (uint32_t)m->failed_count : 0;
    e->count[TASK_CANCELLED] = over ? (uint32_t)m->cancelled_count : 0;
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
    e->spec.group = e->share->group;
    admission_claim_init(&e->claim, e->share, e->spec.memory_bytes, e->settings.priority, on_admitted);
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
    e->share = admission_share_ref(j->share);
    e->rec = rec;
    node_init(&e->link);
    node_init(&e->active_link);
    struct list *lists[] = {&e->open, &e->ready, &e->again, &e->waiting, &e->followers};
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
    if (e->claim.share)
        admission_leave(&e->jobs->x->admission, &e->claim);
    admission_share_unref(e->share);
    for (char **v = e->argv; v && *v; v++)
        free(*v);
    for (char **v = e->vars; v && *v; v++)
        free(*v);
    free(e->argv);
    free(e->vars);
    free(e->scan);
    free(e->taken);
    for (size_t i = 0; i < e->n_launched; i++) /* the server ends before it knows whether they are stored */
        execution_free(e->launched[i]);
    free(e->launched);
    pb_free(e->rec);
    free(e->name);
    free(e->parts);
    free(e);
}

void execution_move(struct execution *e, enum execution_state to)
{
    assert(execution_may_move(e->state, to));
    log_kv(e->jobs->env->log, LOG_DEBUG, "execution.state", LSTR("execution", e->name), LSTR("from", execution_state_name(e->state)),
           LSTR("to", execution_state_name(to)));
    e->state = to;
    execution_count(e);
}

void execution_count(struct execution *e)
{
    bool again = e->changing && execution_state_ended(e->state) && !e->change.queues;
    enum execution_count now = e->storing || e->deleted                    ? COUNTED_NOT
                               : e->state == EXECUTION_QUEUED              ? COUNTED_QUEUED
                               : again || !execution_state_ended(e->state) ? COUNTED_ACTIVE
                                                                           : COUNTED_ENDED;
    if (now == e->counted)
        return;
    e->job->counts[e->counted]--;
    e->job->counts[now]++;
    e->counted = now;
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

void execution_try_again(struct execution *e)
{
    execution_load_on(e);
    LIST_EACH_SAFE(&e->open, n) {
        struct run_attempt *a = CONTAINER_OF(n, struct run_attempt, link);
        if (a->stored_late)
            run_attempt_store(a);
    }
    execution_attempt_ended(e, NULL);
    run_jobs_pump_soon(e->jobs);
}

static void on_again(struct timer *t, int64_t now_ns) { execution_try_again(CONTAINER_OF(t, struct execution, again_timer)); }

void execution_try_later(struct execution *e)
{
    if (!timer_armed(&e->again_timer))
        executor_arm(e->jobs->x, &e->again_timer, env_now(e->jobs->env) + ATTEMPT_AGAIN_NS);
}

/* ---- counting */

static bool counts_open(enum task_state s) { return s >= TASK_READING && s <= TASK_ENDING; }

/* Not those that wait in the runtime for their lane. */
static bool has_program(enum task_state s) { return s == TASK_RUNNING || s == TASK_STOPPING; }

void execution_moved(struct execution *e, enum task_state from, enum task_state to)
{
    if (from != TASK_WAITING)
        e->count[from]--;
    if (to != TASK_WAITING)
        e->count[to]++;
    e->jobs->n_open += counts_open(to);
    e->jobs->n_open -= counts_open(from);
    e->jobs->n_up += has_program(to);
    e->jobs->n_up -= has_program(from);
    metric_set(e->jobs->m_running, e->jobs->n_up);
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
    if (a->next == TASK_BACKOFF || n_open(e) != 1 || more_to_begin(e) || e->loading || e->changing)
        return EXECUTION_N;
    return end_of(e, e->count[TASK_FAILED] + (a->next == TASK_FAILED), e->count[TASK_SUCCEEDED] + (a->next == TASK_SUCCEEDED));
}

void execution_say(const struct execution *e, const struct run_attempt *a, int severity, const char *text)
{
    const struct log_where w = {e->project,       e->region, e->job_id, e->id, a ? a->id : "", true, a ? a->index : LOG_NO_TASK,
                                a ? a->number : 0};
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
        if (failed && !e->operations[i].cancels)
            operation_fail(e->operations[i].op, &err);
        else
            operation_finish(e->operations[i].op, m ? &m->base : &e->rec->execution->base);
    }
    e->n_operations = 0;
    if (a)
        arena_free(a);
}

static void execution_ended(struct execution *e, enum execution_state state)
{
    execution_move(e, state);
    e->ending = false;
    /* Those that never began, too. */
    e->count[TASK_CANCELLED] = e->task_count - e->count[TASK_SUCCEEDED] - e->count[TASK_FAILED];
    free(e->taken);
    e->taken = NULL;
    list_remove(&e->jobs->active, &e->active_link);
    execution_say(e, NULL, state == EXECUTION_SUCCEEDED ? SEVERITY_INFO : SEVERITY_ERROR,
                  state == EXECUTION_SUCCEEDED ? "Execution completed successfully." : e->why);
    finish_operations(e);
    job_starts_ended(e);
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
    admission_leave(&e->jobs->x->admission, &e->claim);
    struct list *lists[] = {&e->ready, &e->again, &e->waiting, &e->open};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        LIST_EACH_SAFE(lists[i], n)
            run_attempt_stop(CONTAINER_OF(n, struct run_attempt, link));
}

static void stop_early(struct execution *e, const char *why)
{
    e->ends_as = EXECUTION_FAILED;
    snprintf(e->why, sizeof e->why, "%.299s", why);
    execution_move(e, EXECUTION_CANCELLING);
    execution_stop(e);
}

static void too_many_failures(struct execution *e)
{
    char why[sizeof e->why];
    snprintf(why, sizeof why, "Stopped after %u failed tasks (runnel.dev/stop-after-failures). %.200s", e->count[TASK_FAILED], e->why);
    stop_early(e, why);
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
        too_many_failures(e);
    if (n_open(e) == 0 && !more_to_begin(e) && !e->ending && !e->frozen && !e->changing && !e->loading && !e->deleted &&
        !execution_state_ended(e->state) && e->state != EXECUTION_QUEUED && !e->jobs->x->stopping)
        end_now(e);
    run_jobs_pump_soon(e->jobs);
    run_jobs_reap_soon(e->jobs);
}

/* ---- going on */

bool execution_has_taken(const struct execution *e, uint32_t i) { return e->taken[i / 8] & (1u << (i % 8)); }

void execution_take_up(struct execution *e, uint32_t i)
{
    e->taken[i / 8] |= (uint8_t)(1u << (i % 8));
    e->n_taken++;
}

static uint32_t programs(const struct execution *e) { return e->count[TASK_STARTING] + e->count[TASK_RUNNING] + e->count[TASK_STOPPING]; }

/* How many attempts are handed to the runtime before there is a slot for them, where they wait: as many as the slots get done within
 * AHEAD_NS. Were they long, a kill -9 would count as lost what had never run. */
static uint32_t ahead(const struct execution *e)
{
    if (e->mean_run_ns < 0 || e->mean_run_ns >= AHEAD_NS)
        return 0;
    if (e->claim.memory.bytes && admission_is_short(&e->jobs->x->admission))
        return 0; /* what is begun has its memory */
    int64_t n = e->parallelism * AHEAD_NS / (e->mean_run_ns + 1);
    return n < AHEAD_MAX ? (uint32_t)n : AHEAD_MAX;
}

static bool may_begin(const struct execution *e)
{
    uint32_t under_way = e->count[TASK_READING] + e->count[TASK_BEGINNING] + e->count[TASK_READY] + programs(e);
    return under_way < e->parallelism + 2 * ahead(e) && e->count[TASK_ENDING] < 4 * e->parallelism + 2 * AHEAD_MAX &&
           e->jobs->n_open < JOBS_OPEN_MAX && !timer_armed(&e->again_timer);
}

/* Memory for one more of its programs. It may have fitted on the host it was made for, and not on this one. */
static bool admit(struct execution *e)
{
    struct admission *ad = &e->jobs->x->admission;
    struct err err;
    if (admission_check(ad, CAPACITY_JOB, "template.template.containers[0]", e->claim.memory.bytes, &err)) {
        e->code = ERR_FAILED_PRECONDITION;
        if (e->state == EXECUTION_PENDING || e->state == EXECUTION_RUNNING)
            stop_early(e, err.msg);
        execution_attempt_ended(e, NULL);
        return false;
    }
    if (admission_take(ad, &e->claim))
        return true;
    if (!e->short_said) {
        char why[ADMISSION_WHY_MAX];
        admission_why(ad, &e->claim, why);
        execution_say(e, NULL, SEVERITY_INFO, why);
        e->short_said = true; /* a large one may wait for each of its tasks: the condition tells */
    }
    return false;
}

/* Its turn has come: what it does not take is given to the next. It asks until it waits again, so that whose turn follows is told by who
 * waits, and not by who asks first. */
static void on_admitted(struct admission_claim *k)
{
    struct execution *e = CONTAINER_OF(k, struct execution, claim);
    while (execution_step(e))
        ;
}

static void begin(struct execution *e, struct run_attempt *a)
{
    a->admitted = e->claim.memory.bytes > 0;
    run_attempt_begin(a);
}

static bool begin_next(struct execution *e)
{
    struct node *n = list_first(&e->again);
    if (!n && (!more_to_begin(e) || e->waiting.count >= EXECUTION_BACKOFFS_MAX)) {
        admission_leave(&e->jobs->x->admission, &e->claim);
        return false;
    }
    if (!admit(e))
        return false;
    if (n) {
        list_remove(&e->again, n);
        list_append(&e->open, n);
        begin(e, CONTAINER_OF(n, struct run_attempt, link));
        return true;
    }
    while (execution_has_taken(e, e->next))
        e->next++;
    struct run_attempt *a = run_attempt_new(e, e->next);
    if (!a) {
        admission_give(&e->jobs->x->admission, &e->claim);
        execution_try_later(e);
        return false;
    }
    execution_take_up(e, e->next);
    begin(e, a);
    return true;
}

bool execution_step(struct execution *e)
{
    struct run_jobs *js = e->jobs;
    if (e->loading || e->frozen || e->changing || js->x->stopping || (e->state != EXECUTION_PENDING && e->state != EXECUTION_RUNNING))
        return false;
    struct node *n = list_first(&e->ready);
    if (n && programs(e) < e->parallelism + ahead(e) && js->n_running < js->running_max && !timer_armed(&e->again_timer)) {
        if (e->state == EXECUTION_PENDING) {
            execution_move(e, EXECUTION_RUNNING);
            job_execution_started(e->job, e);
        }
        run_attempt_start(CONTAINER_OF(n, struct run_attempt, link));
        return true;
    }
    return may_begin(e) && begin_next(e);
}

void execution_activate(struct execution *e)
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
        execution_move(e, EXECUTION_PENDING);
    if (e->round > 0) /* some of its tasks have ended */
        execution_load(e);
    else
        execution_activate(e);
}

void execution_install(struct execution *e)
{
    list_prepend(&e->job->executions, &e->link);
    e->storing = false;
    execution_count(e);
    if (e->state == EXECUTION_PENDING)
        execution_activate(e);
    else
        job_advance(e->job);
}

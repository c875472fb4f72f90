/* runs.c: what becomes of firings: which of them begin, how they overlap, their attempts and retries. */
#include "schedules/scheduler_int.h"

#include "broker/task_policy.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define EVENT_PREFIX "//cloudscheduler.googleapis.com/"

static const struct {
    const char *name;
    uint32_t next; /* besides being dropped, which any may be */
} states[] = {
    [RUN_WAITING] = {"waiting", 1u << RUN_BEGUN},
    [RUN_BEGUN] = {"begun", 1u << RUN_RUNNING | 1u << RUN_WAITING},
    [RUN_RUNNING] = {"running", 1u << RUN_WAITING},
};

static void run_move(struct run *r, enum run_state to)
{
    assert(states[r->state].next & 1u << to);
    log_kv(r->job->s->env->log, LOG_DEBUG, "schedule.run", LSTR("job", r->job->config->name), LSTR("from", states[r->state].name),
           LSTR("to", states[to].name));
    r->state = to;
}

static void skipped(struct schedule *j, const char *reason, size_t n)
{
    const char *const labels[METRIC_LABELS_MAX] = {reason};
    if (n == 0)
        return;
    metric_add(metric_series(j->s->m.skipped, labels), (int64_t)n);
    log_kv(j->s->env->log, LOG_INFO, "schedule.skipped", LSTR("job", j->config->name), LSTR("reason", reason), LINT("firings", n));
}

/* ---- runs ---- */

void run_drop(struct run *r)
{
    struct err e = {0};
    struct attempt *a = r->attempt;
    if (a) {
        a->run = NULL;
        if (!a->cancelled && a->target) {
            a->cancelled = true;
            a->target->ops->cancel(a->target, &a->call);
        }
    }
    if (r->call) {
        err_set(&e, ERR_ABORTED, "the job was deleted, or its next firing replaced this one, while it was about to run");
        call_fail(r->call, &e);
    }
    list_remove(&r->job->s->line, &r->line);
    list_remove(&r->job->runs, &r->link);
    free(r);
}

static void begin_attempt(struct run *r)
{
    const struct env *env = r->job->s->env;
    run_move(r, RUN_BEGUN);
    if (!r->repeat || r->attempts == 0)
        r->attempts++;
    r->repeat = false;
    if (r->first_wall_ns == 0)
        r->first_wall_ns = env_wall(env);
    r->job->last_attempt_wall_ns = env_wall(env);
    job_save(r->job);
}

static struct run *begin(struct schedule *j, int64_t schedule_wall_ns, bool manual)
{
    struct run *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    *r = (struct run){.job = j, .schedule_wall_ns = schedule_wall_ns, .manual = manual};
    node_init(&r->link);
    node_init(&r->line);
    list_append(&j->runs, &r->link);
    begin_attempt(r);
    return r;
}

/* Now, but never at the time of another: that is how a firing is known. */
static int64_t by_hand_at(struct schedule *j)
{
    int64_t at = env_wall(j->s->env) / NS_PER_US * NS_PER_US;
    LIST_EACH(&j->runs, n) {
        const struct run *r = CONTAINER_OF(n, struct run, link);
        if (r->schedule_wall_ns >= at)
            at = r->schedule_wall_ns + NS_PER_US;
    }
    return at;
}

struct run *run_by_hand(struct schedule *j, struct err *e)
{
    struct run *r = NULL;
    if (j->runs.count >= SCHEDULE_RUNS_MAX)
        err_set(e, ERR_RESOURCE_EXHAUSTED, "the job runs %d times already; wait until one of them has ended", SCHEDULE_RUNS_MAX);
    else if (!(r = begin(j, by_hand_at(j), true)))
        err_set(e, ERR_RESOURCE_EXHAUSTED, "job: out of memory");
    return r;
}

/* ---- firings ---- */

static void hold(struct schedule *j, int64_t scheduled)
{
    if (j->held_wall_ns)
        skipped(j, "overlap", 1);
    j->held_wall_ns = scheduled;
}

static void begin_or_hold(struct schedule *j, int64_t scheduled)
{
    if (!begin(j, scheduled, false))
        hold(j, scheduled); /* no memory: tried again in a second */
}

/* The next scheduled time has come: there are no more retries of the ones before it. */
static void end_retries(struct schedule *j)
{
    LIST_EACH_SAFE(&j->runs, n) {
        struct run *r = CONTAINER_OF(n, struct run, link);
        if (r->state != RUN_WAITING)
            r->last = true;
        else if (!r->repeat)
            run_drop(r);
    }
}

static void fire(struct schedule *j, int64_t scheduled)
{
    switch (j->policy->overlap) {
    case RUNNEL__SCHEDULER__V1__JOB_POLICY__OVERLAP__ALLOW:
        if (j->runs.count >= SCHEDULE_RUNS_MAX)
            hold(j, scheduled);
        else
            begin_or_hold(j, scheduled);
        break;
    case RUNNEL__SCHEDULER__V1__JOB_POLICY__OVERLAP__REPLACE:
        skipped(j, "replaced", j->n_backlog);
        j->n_backlog = 0;
        while (!list_empty(&j->runs))
            run_drop(CONTAINER_OF(list_first(&j->runs), struct run, link));
        begin_or_hold(j, scheduled);
        break;
    default:
        if (j->runs.count || j->n_backlog)
            hold(j, scheduled);
        else
            begin_or_hold(j, scheduled);
    }
}

/* More than the policy makes up: the oldest go. */
static void add_backlog(struct schedule *j, const struct due_found *f)
{
    size_t max = j->rules.missed == DUE_ALL ? j->rules.missed_max : 1, all = j->n_backlog + f->n_make_up;
    size_t drop = all > max ? all - max : 0, from_old = drop < j->n_backlog ? drop : j->n_backlog, from_new = drop - from_old;
    memmove(j->backlog, j->backlog + from_old, (j->n_backlog - from_old) * sizeof *j->backlog);
    j->n_backlog -= from_old;
    memcpy(j->backlog + j->n_backlog, f->make_up + from_new, (f->n_make_up - from_new) * sizeof *j->backlog);
    j->n_backlog += f->n_make_up - from_new;
    skipped(j, "missed", f->skipped + drop);
}

static size_t consume(struct schedule *j, int64_t now)
{
    struct due_calendar c = job_calendar(j);
    struct due_found f;
    if (now < j->next_wall_ns)
        return 0;
    due_find(&c, &j->rules, j->last_wall_ns, now, &f);
    if (f.last_wall_ns == j->last_wall_ns)
        return f.steps;
    j->last_wall_ns = f.last_wall_ns;
    end_retries(j);
    add_backlog(j, &f);
    for (size_t i = 0; i < f.n_fresh; i++)
        fire(j, f.fresh[i]);
    job_save(j);
    return f.steps;
}

/* What waited for its turn. */
static void begin_next(struct schedule *j)
{
    int64_t t = j->n_backlog ? j->backlog[0] : j->held_wall_ns;
    size_t max = !j->n_backlog && j->policy->overlap == RUNNEL__SCHEDULER__V1__JOB_POLICY__OVERLAP__ALLOW ? SCHEDULE_RUNS_MAX : 1;
    if (!t || j->runs.count >= max || !begin(j, t, false))
        return;
    if (j->n_backlog)
        memmove(j->backlog, j->backlog + 1, --j->n_backlog * sizeof *j->backlog);
    else
        j->held_wall_ns = 0;
}

static void begin_retries(struct schedule *j, int64_t now)
{
    LIST_EACH(&j->runs, n) {
        struct run *r = CONTAINER_OF(n, struct run, link);
        if (r->state == RUN_WAITING && r->due_wall_ns <= now)
            begin_attempt(r);
    }
}

size_t job_look(struct schedule *j)
{
    struct schedules *s = j->s;
    size_t steps = 1;
    if (s->stopping || j->gone || j->changing || !j->visible)
        return steps;
    int64_t now = env_wall(s->env);
    if (job_enabled(j))
        steps += consume(j, now);
    begin_retries(j, now);
    begin_next(j);
    job_arm(j);
    return steps;
}

int64_t job_next_event(struct schedule *j, int64_t *next_wall_ns)
{
    struct due_calendar c = job_calendar(j);
    int64_t at = DUE_NEVER, again = env_wall(j->s->env) + NS_PER_S;
    *next_wall_ns = DUE_NEVER;
    if (job_enabled(j)) {
        *next_wall_ns = due_next(&c, &j->rules, j->last_wall_ns);
        at = due_start(&c, &j->rules, *next_wall_ns);
    }
    if (list_empty(&j->runs) && (j->n_backlog || j->held_wall_ns) && again < at)
        at = again; /* there was no memory to begin it */
    LIST_EACH(&j->runs, n) {
        struct run *r = CONTAINER_OF(n, struct run, link);
        if (r->state == RUN_WAITING && r->due_wall_ns < at)
            at = r->due_wall_ns;
    }
    return at;
}

/* ---- attempts ---- */

static bool retry(struct run *r)
{
    const struct schedule *j = r->job;
    const Google__Cloud__Scheduler__V1__RetryConfig *c = j->config->retry_config;
    struct due_calendar calendar = job_calendar(j);
    int64_t now = env_wall(j->s->env);
    if (r->last || c->retry_count == 0 ||
        task_exhausted(c->retry_count + 1, pb_duration_ns(c->max_retry_duration), r->attempts, now - r->first_wall_ns))
        return false;
    r->due_wall_ns = now + task_backoff_ns(pb_duration_ns(c->min_backoff_duration), pb_duration_ns(c->max_backoff_duration),
                                           (uint32_t)c->max_doublings, r->attempts);
    int64_t next = job_enabled(j) ? due_next(&calendar, &j->rules, j->last_wall_ns) : DUE_NEVER;
    return r->due_wall_ns < due_start(&calendar, &j->rules, next);
}

static void set_status(struct schedule *j, const struct target_result *result)
{
    char text[sizeof result->err.msg + 128];
    free(j->status_message);
    j->attempted = true;
    j->status = (int)result->err.code;
    j->status_message = NULL;
    if (result->err.code && !(j->status_message = strdup(attempt_debug_info(result, text, sizeof text))))
        log_kv(j->s->env->log, LOG_WARN, "schedule.status", LSTR("job", j->config->name), LSTR("error", "no memory for its message"));
}

/* It never went out: once more in a second, without counting. */
static bool deliver_again(struct run *r, const struct target_result *result)
{
    if (!result->undelivered || ++r->undelivered > UNDELIVERED_MAX)
        return false;
    r->repeat = true;
    r->due_wall_ns = env_wall(r->job->s->env) + NS_PER_S;
    run_move(r, RUN_WAITING);
    return true;
}

static void ended(struct run *r, const struct target_result *result)
{
    struct schedule *j = r->job;
    r->attempt = NULL;
    if (j->s->stopping && result->undelivered) /* called off: the record says that it is under way, so it is repeated */
        return;
    if (!deliver_again(r, result)) {
        set_status(j, result);
        if (result->err.code && !result->final && retry(r))
            run_move(r, RUN_WAITING);
        else
            run_drop(r);
    }
    job_save(j);
    job_look(j);
}

static void on_done(struct target_call *c, const struct target_result *result)
{
    struct attempt *a = CONTAINER_OF(c, struct attempt, call);
    struct schedules *s = a->s;
    attempt_log_finished(a, result);
    list_remove(&s->attempts, &a->link);
    metric_set(s->m.running, (int64_t)s->attempts.count);
    if (a->run)
        ended(a->run, result);
    attempt_forget(a);
    runs_line(s);
    schedules_write(s);
    schedules_maybe_stopped(s);
}

void attempt_forget(struct attempt *a)
{
    pb_free(a->job);
    free(a->event_id);
    free(a);
}

static size_t make_event_id(struct attempt *a, const struct run *r)
{
    char time[WALL_TEXT_MAX];
    int n = asprintf(&a->event_id, EVENT_PREFIX "%s@%s", r->job->config->name, wall_format(r->schedule_wall_ns, time));
    if (n < 0)
        a->event_id = NULL;
    return n < 0 ? 0 : (size_t)n - strlen(time);
}

static enum target_overlap overlap_of(const struct run *r)
{
    if (r->manual || r->job->policy->overlap == RUNNEL__SCHEDULER__V1__JOB_POLICY__OVERLAP__ALLOW)
        return TARGET_BESIDE;
    return r->job->policy->overlap == RUNNEL__SCHEDULER__V1__JOB_POLICY__OVERLAP__REPLACE ? TARGET_INSTEAD : TARGET_AFTER;
}

static struct attempt *attempt_new(struct run *r)
{
    struct schedule *j = r->job;
    struct attempt *a = calloc(1, sizeof *a);
    size_t series_len = 0;
    if (a) {
        a->job = pb_dup(&j->config->base);
        series_len = make_event_id(a, r);
    }
    if (!a || !a->job || !a->event_id) {
        if (a)
            attempt_forget(a);
        return NULL;
    }
    a->s = j->s;
    a->run = r;
    bool publishes = a->job->target_case == GOOGLE__CLOUD__SCHEDULER__V1__JOB__TARGET_PUBSUB_TARGET, runs = target_is_run(a->job);
    a->target = publishes ? j->s->pubsub : runs ? j->s->run : j->s->http;
    a->schedule_wall_ns = r->schedule_wall_ns;
    a->begun_ns = env_now(j->s->env);
    if (j->calendar)
        calendar_format(j->calendar, r->schedule_wall_ns, a->schedule_time);
    else
        wall_format(r->schedule_wall_ns, a->schedule_time);
    int64_t deadline_ns =
        publishes || runs ? 0 : pb_duration_ns(a->job->attempt_deadline); /* what these have is ignored, and not checked */
    a->call = (struct target_call){
        .job = a->job,
        .schedule_time = a->schedule_time,
        .event_id = a->event_id,
        .series_len = series_len,
        .overlap = overlap_of(r),
        .due_ns = a->begun_ns + deadline_ns,
        .done = on_done,
    };
    node_init(&a->link);
    return a;
}

static void measure_lateness(const struct run *r)
{
    const struct schedule *j = r->job;
    struct due_calendar c = job_calendar(j);
    if (r->manual || r->attempts > 1 || !j->calendar)
        return;
    int64_t late_ns = env_wall(j->s->env) - due_start(&c, &j->rules, r->schedule_wall_ns);
    metric_observe(j->s->m.late, (double)late_ns / (double)NS_PER_S);
}

static void send(struct run *r)
{
    struct schedules *s = r->job->s;
    struct attempt *a = attempt_new(r);
    run_move(r, a ? RUN_RUNNING : RUN_WAITING);
    if (!a) {
        r->repeat = true;
        r->due_wall_ns = env_wall(s->env) + NS_PER_S;
        job_arm(r->job);
        return;
    }
    measure_lateness(r);
    r->attempt = a;
    list_append(&s->attempts, &a->link);
    metric_set(s->m.running, (int64_t)s->attempts.count);
    attempt_log_started(a);
    a->target->ops->start(a->target, &a->call);
}

void run_send(struct run *r) { list_append(&r->job->s->line, &r->line); }

void runs_line(struct schedules *s)
{
    if (s->sending) /* a target that answers at once */
        return;
    s->sending = true;
    while (!s->stopping && s->attempts.count < SCHEDULES_RUNNING_MAX && !list_empty(&s->line))
        send(CONTAINER_OF(list_pop(&s->line), struct run, line));
    s->sending = false;
}

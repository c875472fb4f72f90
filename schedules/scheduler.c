/* scheduler.c: the jobs by name and by their next event: loading, waking up in time, clocks that jump, stopping. */
#include "schedules/tz_look.h"

#include <stdlib.h>

#define LOOK_STEPS_MAX 20000 /* of calendars, in one iteration */

/* ---- jobs ---- */

static void on_job_due(struct timer *t, int64_t wall_ns)
{
    struct schedule *j = CONTAINER_OF(t, struct schedule, timer);
    if (!node_linked(&j->due))
        list_append(&j->s->due, &j->due);
}

struct schedule *schedule_new(struct schedules *s, PbJob *config, PbPolicy *policy, struct err *e)
{
    struct schedule *j = calloc(1, sizeof *j);
    if (!j) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "job: out of memory");
        return NULL;
    }
    j->s = s;
    timer_init(&j->timer, on_job_due);
    node_init(&j->due);
    node_init(&j->dirty);
    list_init(&j->runs);
    j->next_wall_ns = DUE_NEVER;
    if (map_put(s->jobs, config->name, j, e)) {
        free(j);
        return NULL;
    }
    j->config = config;
    j->policy = policy;
    return j;
}

void schedule_free(struct schedule *j)
{
    while (!list_empty(&j->runs))
        run_drop(CONTAINER_OF(list_first(&j->runs), struct run, link));
    timer_cancel(j->s->heap, &j->timer);
    list_remove(&j->s->due, &j->due);
    list_remove(&j->s->dirty, &j->dirty);
    calendar_free(j->calendar);
    pb_free(j->config);
    pb_free(j->policy);
    free(j->status_message);
    free(j);
}

void job_end(struct schedule *j)
{
    map_remove(j->s->jobs, j->config->name);
    if (j->visible)
        metric_add(j->s->m.jobs, -1);
    j->gone = true;
    while (!list_empty(&j->runs))
        run_drop(CONTAINER_OF(list_first(&j->runs), struct run, link));
    timer_cancel(j->s->heap, &j->timer);
    list_remove(&j->s->due, &j->due);
    list_remove(&j->s->dirty, &j->dirty);
    if (!j->in_group)
        schedule_free(j);
}

struct due_calendar job_calendar(const struct schedule *j) { return (struct due_calendar){.next = calendar_next, .arg = j->calendar}; }

bool job_enabled(const struct schedule *j) { return j->calendar && j->config->state == GOOGLE__CLOUD__SCHEDULER__V1__JOB__STATE__ENABLED; }

struct due_policy job_rules(const PbPolicy *p, uint64_t seed)
{
    struct due_policy r = {.missed = DUE_ONCE, .missed_max = (size_t)p->missed_limit, .seed = seed, .end_wall_ns = DUE_NEVER};
    if (p->missed == RUNNEL__SCHEDULER__V1__JOB_POLICY__MISSED__SKIP)
        r.missed = DUE_SKIP;
    else if (p->missed == RUNNEL__SCHEDULER__V1__JOB_POLICY__MISSED__ALL)
        r.missed = DUE_ALL;
    r.jitter_ns = pb_duration_ns(p->jitter);
    if (p->start_time)
        r.start_wall_ns = pb_timestamp_ns(p->start_time);
    if (p->end_time)
        r.end_wall_ns = pb_timestamp_ns(p->end_time);
    return r;
}

/* ---- waking up ---- */

static void stuck(struct schedules *s, const struct err *e)
{
    log_kv(s->env->log, LOG_ERROR, "schedules.no_timer", LSTR("error", e->msg), LSTR("do", "free memory: a schedule may fire late"));
}

static void schedules_arm(struct schedules *s)
{
    struct err e = {0};
    int64_t next = timers_next_ns(s->heap), now = env_now(s->env);
    if (s->stopping || (next == TIMER_NEVER && list_empty(&s->due))) {
        timer_cancel(s->env->timers, &s->wake);
        return;
    }
    int64_t wait = LOOK_AGAIN_NS;
    if (next != TIMER_NEVER && next < env_wall(s->env) + wait)
        wait = next - env_wall(s->env);
    if (!list_empty(&s->due) || wait < 0)
        wait = 0;
    if (timer_set(s->env->timers, &s->wake, now + wait, &e))
        stuck(s, &e);
}

void job_arm(struct schedule *j)
{
    struct err e = {0};
    int64_t at = j->gone || !j->visible || j->changing ? DUE_NEVER : job_next_event(j, &j->next_wall_ns);
    if (at == DUE_NEVER)
        timer_cancel(j->s->heap, &j->timer);
    else if (timer_set(j->s->heap, &j->timer, at, &e))
        stuck(j->s, &e);
    schedules_arm(j->s);
}

/* Retries wait real time, not what somebody made of the clock. */
static void shift(struct schedule *j, int64_t by_ns)
{
    LIST_EACH(&j->runs, n) {
        struct run *r = CONTAINER_OF(n, struct run, link);
        r->first_wall_ns += by_ns;
        if (r->state == RUN_WAITING)
            r->due_wall_ns += by_ns;
    }
    job_arm(j);
}

static void check_clock(struct schedules *s)
{
    int64_t offset = env_wall(s->env) - env_now(s->env), by = offset - s->wall_minus_mono_ns;
    size_t it = 0;
    void *j;
    if (by > -CLOCK_JUMP_NS && by < CLOCK_JUMP_NS)
        return;
    s->wall_minus_mono_ns = offset;
    log_kv(s->env->log, LOG_WARN, "schedules.clock_jumped", LINT("seconds", by / NS_PER_S),
           LSTR("note", "firing times that were used stay used; missed ones follow each job's policy"));
    while (map_next(s->jobs, &it, NULL, &j))
        if (!list_empty(&((struct schedule *)j)->runs))
            shift(j, by);
}

/* A portion of what is due; the rest in the next iterations. */
static void work(struct schedules *s)
{
    size_t steps = 0;
    for (size_t n = 0; n < SCHEDULES_STEP_JOBS && steps < LOOK_STEPS_MAX && !list_empty(&s->due); n++)
        steps += job_look(CONTAINER_OF(list_pop(&s->due), struct schedule, due));
    schedules_write(s);
}

static void on_wake(struct timer *t, int64_t now_ns)
{
    struct schedules *s = CONTAINER_OF(t, struct schedules, wake);
    check_clock(s);
    tz_look_maybe(s, now_ns);
    timers_run(s->heap, env_wall(s->env));
    work(s);
    schedules_arm(s);
}

void schedules_clock_jumped(struct schedules *s)
{
    check_clock(s);
    schedules_arm(s);
}

/* ---- life ---- */

static void on_write_again(struct timer *t, int64_t now_ns) { schedules_write(CONTAINER_OF(t, struct schedules, write_again)); }

static void on_grace(struct timer *t, int64_t now_ns)
{
    struct schedules *s = CONTAINER_OF(t, struct schedules, grace);
    LIST_EACH_SAFE(&s->attempts, n) {
        struct attempt *a = CONTAINER_OF(n, struct attempt, link);
        if (!a->cancelled) {
            a->cancelled = true;
            a->target->ops->cancel(a->target, &a->call);
        }
    }
}

static void make_metrics(struct schedules *s, struct metrics *m)
{
    static const char *const none[METRIC_LABELS_MAX];
    if (!m)
        return;
    s->m.attempts = metrics_family(m, METRIC_COUNTER, "runnel_schedule_attempts_total",
                                   "Attempts of scheduled jobs that have ended, by kind of target and status.", "target,status");
    s->m.skipped = metrics_family(m, METRIC_COUNTER, "runnel_schedule_skipped_total",
                                  "Firings that did not take place: missed, or one of several that an overlap made one.", "reason");
    s->m.late = metric_series(
        metrics_family(m, METRIC_HISTOGRAM, "runnel_schedule_lateness_seconds", "From the time a firing was due to its first attempt.", ""),
        none);
    s->m.jobs = metric_series(metrics_family(m, METRIC_GAUGE, "runnel_schedules", "Scheduled jobs.", ""), none);
    s->m.running = metric_series(metrics_family(m, METRIC_GAUGE, "runnel_schedule_attempts_running", "Attempts under way.", ""), none);
}

struct schedules *schedules_new(const struct schedules_config *c, const struct schedules_deps *d, struct err *e)
{
    struct schedules *s = calloc(1, sizeof *s);
    if (!s) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "schedules: out of memory");
        return NULL;
    }
    s->env = d->env;
    s->store = d->store;
    s->http = d->http;
    s->pubsub = d->pubsub;
    s->workers = d->workers;
    s->engine = d->engine;
    s->group.s = s;
    list_init(&s->due);
    list_init(&s->dirty);
    list_init(&s->line);
    list_init(&s->attempts);
    list_init(&s->changes);
    timer_init(&s->wake, on_wake);
    timer_init(&s->write_again, on_write_again);
    timer_init(&s->grace, on_grace);
    s->wall_minus_mono_ns = env_wall(s->env) - env_now(s->env);
    make_metrics(s, d->metrics);
    s->region = c->region ? strdup(c->region) : NULL;
    s->jobs = map_new(SCHEDULES_MAX);
    s->heap = timers_new();
    s->zones = zone_cache_new(NULL);
    if (s->jobs && s->heap && s->zones && (s->region || !c->region))
        return s;
    err_set(e, ERR_RESOURCE_EXHAUSTED, "schedules: out of memory");
    schedules_free(s);
    return NULL;
}

void schedules_free(struct schedules *s)
{
    size_t it = 0;
    void *j;
    if (!s)
        return;
    for (size_t i = 0; i < s->group.n; i++)
        if (s->group.jobs[i]->gone)
            schedule_free(s->group.jobs[i]);
    while (!list_empty(&s->changes))
        edit_free(CONTAINER_OF(list_first(&s->changes), struct edit, link));
    while (s->jobs && map_next(s->jobs, &it, NULL, &j))
        schedule_free(j);
    timer_cancel(s->env->timers, &s->wake);
    timer_cancel(s->env->timers, &s->write_again);
    timer_cancel(s->env->timers, &s->grace);
    LIST_EACH_SAFE(&s->attempts, n) {
        struct attempt *a = CONTAINER_OF(n, struct attempt, link);
        pb_free(a->job);
        free(a);
    }
    tz_look_free(s);
    map_free(s->jobs);
    timers_free(s->heap);
    zone_cache_free(s->zones);
    free(s->region);
    free(s);
}

void schedules_maybe_stopped(struct schedules *s)
{
    if (!s->stopping || s->stopped || !list_empty(&s->attempts) || s->writing || !list_empty(&s->changes) || !list_empty(&s->dirty) ||
        tz_look_busy(s))
        return;
    s->stopped = true;
    timer_cancel(s->env->timers, &s->grace);
    timer_cancel(s->env->timers, &s->write_again);
    s->stop_done(s->stop_arg);
}

void schedules_stop(struct schedules *s, int64_t grace_ns, void (*done)(void *arg), void *arg)
{
    struct err e = {0};
    s->stopping = true;
    s->stop_done = done;
    s->stop_arg = arg;
    timer_cancel(s->env->timers, &s->wake);
    if (timer_set(s->env->timers, &s->grace, env_now(s->env) + grace_ns, &e))
        on_grace(&s->grace, env_now(s->env));
    schedules_maybe_stopped(s);
}

/* ---- loading ---- */

static int load_job(void *arg, const char *name, struct str body, struct err *e)
{
    struct schedules *s = arg;
    JobRecord *record = pb_unpack_heap(&runnel__schedules__job_record__descriptor, body);
    PbJob *config = record && record->job ? pb_dup(&record->job->base) : NULL;
    PbPolicy *policy = record && record->policy ? pb_dup(&record->policy->base) : policy_default();
    struct schedule *j = NULL;
    if (!record || !record->job || strcmp(record->job->name, name) != 0)
        err_set(e, ERR_DATA_LOSS, "schedule record \"%.200s\": malformed", name);
    else if (!config || !policy)
        err_set(e, ERR_RESOURCE_EXHAUSTED, "schedule %.200s: out of memory", name);
    else
        j = schedule_new(s, config, policy, e);
    if (!j) {
        pb_free(config);
        pb_free(policy);
        pb_free(record);
        return -(int)e->code;
    }
    struct err why = {0};
    j->seed = record->seed;
    j->rules = job_rules(policy, j->seed);
    j->visible = true;
    metric_add(s->m.jobs, 1);
    j->last_wall_ns = env_wall(s->env); /* until its state is read */
    j->calendar = calendar_new(s->zones, config->schedule, config->time_zone, &why);
    if (!j->calendar)
        log_kv(s->env->log, LOG_ERROR, "schedule.disabled", LSTR("job", name), LSTR("error", why.msg),
               LSTR("do", "update its schedule or time zone, or install tzdata that knows the zone"));
    pb_free(record);
    return 0;
}

static int load_state(void *arg, const char *name, struct str body, struct err *e)
{
    struct schedules *s = arg;
    struct schedule *j = map_get(s->jobs, name);
    JobState *state = pb_unpack_heap(&runnel__schedules__job_state__descriptor, body);
    if (!state)
        return err_set(e, ERR_DATA_LOSS, "schedule-state record \"%.200s\": malformed", name);
    int rc = j ? job_apply_state(j, state, e) : 0;
    pb_free(state);
    return rc;
}

int schedules_load(struct schedules *s, struct err *e)
{
    int rc = s->store->ops->load_resources(s->store, "schedule", load_job, s, e);
    rc = rc ? rc : s->store->ops->load_resources(s->store, "schedule-state", load_state, s, e);
    size_t it = 0;
    void *j;
    while (!rc && map_next(s->jobs, &it, NULL, &j))
        job_arm(j);
    return rc;
}

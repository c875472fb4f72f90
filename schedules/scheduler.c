/* scheduler.c: the jobs by name and by their next event: loading, waking up in time, clocks that jump, stopping. */
#include "schedules/tz_look.h"

#include <stdlib.h>

#define LOAD_ARENA_MAX ((size_t)16 * 1024 * 1024)
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
    if (p->start_time && pb_timestamp_ns(p->start_time) > 0) /* nothing is due before 1970 */
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
    if (s->stopping || (next == TIMER_NEVER && list_empty(&s->due) && !map_count(s->jobs))) { /* time zones of paused jobs change, too */
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

/* Never before 1970, where there is no time for a record. */
static int64_t moved(int64_t wall_ns, int64_t by_ns)
{
    int64_t to;
    return __builtin_add_overflow(wall_ns, by_ns, &to) ? wall_ns : to > 0 ? to : 1;
}

/* Retries wait real time, not what somebody made of the clock. */
static void shift(struct schedule *j, int64_t by_ns)
{
    LIST_EACH(&j->runs, n) {
        struct run *r = CONTAINER_OF(n, struct run, link);
        r->first_wall_ns = moved(r->first_wall_ns, by_ns);
        if (r->state == RUN_WAITING)
            r->due_wall_ns = moved(r->due_wall_ns, by_ns);
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

static void call_off(struct schedules *s, bool all)
{
    LIST_EACH_SAFE(&s->attempts, n) {
        struct attempt *a = CONTAINER_OF(n, struct attempt, link);
        if (!a->cancelled && (all || a->target->ops->lasts)) {
            a->cancelled = true;
            a->target->ops->cancel(a->target, &a->call);
        }
    }
}

static void on_grace(struct timer *t, int64_t now_ns) { call_off(CONTAINER_OF(t, struct schedules, grace), true); }

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
    s->run = d->run;
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
    LIST_EACH_SAFE(&s->attempts, n)
        attempt_forget(CONTAINER_OF(n, struct attempt, link));
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
    call_off(s, false);
    schedules_maybe_stopped(s);
}

/* ---- loading ---- */

/* A record says what was accepted once: what could not have been is damage. */
static int bad_record(const char *name, const char *why, struct err *e)
{
    return err_set(e, ERR_DATA_LOSS, "schedule record \"%.120s\": %s", name, why);
}

/* The job and its policy out of a record, checked as if users gave them. */
static int read_job(struct arena *a, const char *name, const JobRecord *record, PbJob **config, PbPolicy **policy, struct err *e)
{
    struct err why = {0};
    if (!record || !record->job || strcmp(record->job->name, name) != 0)
        return bad_record(name, "malformed", e);
    *config = pb_clone(a, &record->job->base);
    *policy = record->policy ? pb_clone(a, &record->policy->base) : NULL;
    if (!*config || (record->policy && !*policy))
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "schedule record \"%.120s\": out of memory", name);
    if ((*config)->state != GOOGLE__CLOUD__SCHEDULER__V1__JOB__STATE__ENABLED &&
        (*config)->state != GOOGLE__CLOUD__SCHEDULER__V1__JOB__STATE__PAUSED)
        return bad_record(name, "its state is neither ENABLED nor PAUSED", e);
    if (check_job_fields(a, *config, &why) || (*policy && check_policy(*policy, &why)))
        return why.code == ERR_RESOURCE_EXHAUSTED ? err_set(e, why.code, "schedule record \"%.120s\": out of memory", name)
                                                  : bad_record(name, why.msg, e);
    return 0;
}

static struct schedule *open_job(struct schedules *s, const char *name, const JobRecord *record, struct err *e)
{
    PbJob *config = NULL, *own_config = NULL;
    PbPolicy *policy = NULL, *own_policy = NULL;
    struct schedule *j = NULL;
    struct arena *a = arena_new(LOAD_ARENA_MAX);
    if (!a)
        err_set(e, ERR_RESOURCE_EXHAUSTED, "schedule record \"%.120s\": out of memory", name);
    else if (read_job(a, name, record, &config, &policy, e) == 0) {
        own_config = pb_dup(&config->base);
        own_policy = policy ? pb_dup(&policy->base) : policy_default();
        if (!own_config || !own_policy)
            err_set(e, ERR_RESOURCE_EXHAUSTED, "schedule record \"%.120s\": out of memory", name);
        else
            j = schedule_new(s, own_config, own_policy, e);
    }
    if (!j) {
        pb_free(own_config);
        pb_free(own_policy);
    }
    arena_free(a);
    return j;
}

static int load_job(void *arg, const char *name, struct str body, struct err *e)
{
    struct schedules *s = arg;
    struct err why = {0};
    JobRecord *record = pb_unpack_heap(&runnel__schedules__job_record__descriptor, body);
    struct schedule *j = open_job(s, name, record, e);
    if (!j) {
        pb_free(record);
        return -(int)e->code;
    }
    j->seed = record->seed;
    j->rules = job_rules(j->policy, j->seed);
    j->visible = true;
    metric_add(s->m.jobs, 1);
    j->calendar = calendar_new(s->zones, j->config->schedule, j->config->time_zone, &why);
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
    int rc = 0;
    if (!state || !job_state_fits(state))
        rc = err_set(e, ERR_DATA_LOSS, "schedule-state record \"%.120s\": malformed", name);
    else if (j) /* else what is left of a job that is gone */
        rc = job_apply_state(j, state, e);
    pb_free(state);
    return rc;
}

/* Job and state are written together: the state of this one was lost, and with it how far it has come. */
static void without_state(struct schedule *j)
{
    log_kv(j->s->env->log, LOG_WARN, "schedule.no_state", LSTR("job", j->config->name),
           LSTR("note", "its schedule-state record is missing: it goes on from now, and whether a firing was missed is not known"));
    j->last_wall_ns = env_wall(j->s->env);
}

int schedules_load(struct schedules *s, struct err *e)
{
    int rc = s->store->ops->load_resources(s->store, "schedule", load_job, s, e);
    rc = rc ? rc : s->store->ops->load_resources(s->store, "schedule-state", load_state, s, e);
    size_t it = 0;
    void *j;
    while (!rc && map_next(s->jobs, &it, NULL, &j)) {
        if (!((struct schedule *)j)->last_wall_ns)
            without_state(j);
        job_arm(j);
    }
    return rc;
}

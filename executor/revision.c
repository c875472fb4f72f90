/** revision.c: an immutable revision and its instances: how many there are, and what happens when they will not live. */
#include "executor/executor_int.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

/* Cloud Run's words for why an instance starts. */
#define WHY_AUTOSCALING                                                                                \
    "AUTOSCALING - Instance started due to configured scaling factors (e.g. CPU utilization, request " \
    "throughput, etc.) or no existing capacity for current traffic."
#define WHY_DEPLOYMENT "DEPLOYMENT_ROLLOUT - Instance started to see whether the new revision starts and listens."
#define WHY_MINIMUM "MANUAL_OR_CUSTOMER_MIN_INSTANCE - Instance started because of the configured minimum or manual number of instances."

static struct log_where where(const struct revision *r, const struct instance *i)
{
    const struct service *s = r->service;
    return (struct log_where){.project = s->project, .region = s->region, .service = s->id, .revision = r->id, .instance = i ? i->id : ""};
}

static uint32_t alive(const struct revision *r)
{
    return r->count[INSTANCE_STARTING] + r->count[INSTANCE_PROBING] + r->count[INSTANCE_READY];
}

/* Short in the default project and region, as in its URL. */
static const char *metric_name(const struct service *s)
{
    const struct executor_config *c = &s->x->config;
    return strcmp(s->project, c->project) == 0 && strcmp(s->region, c->region) == 0 ? s->id : s->name;
}

static uint32_t share(int32_t of, uint32_t percent) { return of <= 0 ? 0 : ((uint32_t)of * percent + 99) / 100; }

static void limits(const struct revision *r, uint32_t *min, uint32_t *max)
{
    const RUN(ServiceScaling) *ss = r->service->msg->scaling;
    const RUN(RevisionScaling) *rs = r->msg->scaling;
    *min = r->serving && rs ? (uint32_t)rs->min_instance_count : 0;
    *max = rs && rs->max_instance_count > 0 ? (uint32_t)rs->max_instance_count : RUN_INSTANCES_DEFAULT;
    if (ss && ss->scaling_mode == RUN_MANUAL) {
        *min = *max = share(ss->manual_instance_count, r->percent);
    } else if (ss) {
        uint32_t low = share(ss->min_instance_count, r->percent), high = share(ss->max_instance_count, r->percent);
        *min = low > *min ? low : *min;
        *max = high && high < *max ? high : *max;
    }
    if (*max > r->pool->n_slots)
        *max = r->pool->n_slots;
    if (*min > *max)
        *min = *max;
}

static void clear_short(struct revision *r)
{
    if (!r->short_said)
        return;
    r->short_said = false;
    service_short_news(r->service, r, NULL);
}

void revision_waits_no_more(struct revision *r)
{
    admission_leave(&r->x->admission, &r->claim);
    clear_short(r);
}

static bool backed_off(const struct revision *r) { return timer_armed(&r->backoff); }

/* While it is backed off and nothing is ready, nobody waits in vain. */
static void update_block(struct revision *r)
{
    if (r->deleted || r->x->stopping)
        return;
    if (!backed_off(r) || r->count[INSTANCE_READY] > 0) {
        pool_unblock(r->pool);
        return;
    }
    struct err e;
    err_set(&e, ERR_UNAVAILABLE, "revision %s keeps ending: %.200s (next start in %lld s)", r->id, r->crash_why,
            (long long)((r->backoff_until_ns - env_now(r->x->env) + NS_PER_S - 1) / NS_PER_S));
    pool_block(r->pool, &e);
}

/* ---- scaling */

static void arm_tick(struct revision *r)
{
    int64_t every_ns = r->x->config.idle_ns / 4;
    every_ns = every_ns > RUN_TICK_NS ? RUN_TICK_NS : every_ns < RUN_TICK_MIN_NS ? RUN_TICK_MIN_NS : every_ns;
    executor_arm(r->x, &r->tick, env_now(r->x->env) + every_ns);
}

/* Requests on instances that go on; those on draining ones need no successor. */
static uint32_t running_now(const struct revision *r)
{
    uint32_t n = 0;
    LIST_EACH(&r->instances, node) {
        const struct instance *i = CONTAINER_OF(node, struct instance, link);
        n += i->state == INSTANCE_READY ? slot_in_flight(i->slot) : 0;
    }
    return n;
}

static void take_sample(struct revision *r, struct scaler_sample *out)
{
    struct pool *p = r->pool;
    int64_t now_ns = env_now(r->x->env), span_ns = now_ns - r->seen_ns;
    uint64_t started = atomic_load(&p->started), finished = atomic_load(&p->finished), busy_ns = atomic_load(&p->busy_ns);
    if (span_ns >= RUN_TICK_MIN_NS) {
        r->arrivals_per_s = (double)(started - r->seen_started) * (double)NS_PER_S / (double)span_ns;
        if (finished > r->seen_finished)
            r->latency_s = (double)(busy_ns - r->seen_busy_ns) / (double)(finished - r->seen_finished) / (double)NS_PER_S;
        r->seen_started = started;
        r->seen_finished = finished;
        r->seen_busy_ns = busy_ns;
        r->seen_ns = now_ns;
    }
    *out = (struct scaler_sample){
        .running = running_now(r),
        .waiting = atomic_load(&p->waiting),
        .backlog = (uint32_t)(r->service->backlog * r->percent / 100 > UINT32_MAX ? UINT32_MAX : r->service->backlog * r->percent / 100),
        .arrivals_per_s = r->arrivals_per_s,
        .latency_s = r->latency_s,
    };
}

static void start_one(struct revision *r, const char *why)
{
    struct executor *x = r->x;
    struct err e;
    r->plan.spec.weight = r->service->share->memory.weight;
    struct instance *i = instance_start(&r->plan, &e);
    struct log_where w = where(r, i);
    if (!i) {
        logs_system(x->logs, &w, SEVERITY_ERROR, "An instance could not be started: %s", e.msg);
        snprintf(r->crash_why, sizeof r->crash_why, "it could not be started: %.250s", e.msg);
        return;
    }
    list_append(&r->instances, &i->link);
    r->count[INSTANCE_STARTING]++;
    x->count[INSTANCE_STARTING]++;
    x->n_instances++;
    if (!r->m_starts) {
        const char *labels[] = {metric_name(r->service), r->id};
        r->m_instances = metric_series(x->f_instances, labels);
        r->m_starts = metric_series(x->f_starts, labels);
        r->m_crashes = metric_series(x->f_crashes, labels);
    }
    metric_add(r->m_starts, 1);
    metric_add(r->m_instances, 1);
    bool scaled = strcmp(why, WHY_AUTOSCALING) == 0 && r->why[0];
    logs_system(x->logs, &w, SEVERITY_INFO, "Starting new instance. Reason: %s%s%s%s", why, scaled ? " (" : "", scaled ? r->why : "",
                scaled ? ")" : "");
}

static void crashed(struct revision *r, const char *why, bool certain);

/* Memory for one more instance. It may have fitted on the host it was made for, and not on this one. */
static bool admit(struct revision *r)
{
    struct executor *x = r->x;
    struct err e;
    if (admission_check(&x->admission, CAPACITY_SERVICE, "template.containers[0]", r->claim.memory.bytes, &e)) {
        snprintf(r->crash_why, sizeof r->crash_why, "%s", e.msg);
        crashed(r, r->crash_why, true);
        return false;
    }
    if (admission_take(&x->admission, &r->claim)) {
        clear_short(r);
        return true;
    }
    if (!r->short_said) {
        char why[ADMISSION_WHY_MAX];
        struct log_where w = where(r, NULL);
        admission_why(&x->admission, &r->claim, why);
        logs_system(x->logs, &w, SEVERITY_WARNING, "%s", why);
        r->short_said = true;
        service_short_news(r->service, r, why);
    }
    return false;
}

static void start_more(struct revision *r, uint32_t n, uint32_t min)
{
    struct executor *x = r->x;
    for (; n > 0; n--) {
        if (executor_room(x) == 0) {
            if (!x->no_room_said)
                log_kv(x->env->log, LOG_WARN, "executor.full", LSTR("message", "this host's limit of instances is reached"),
                       LINT("instances", x->n_instances), LSTR("revision", r->name));
            x->no_room_said = true;
            return;
        }
        if (!admit(r))
            return;
        uint32_t before = x->n_instances;
        start_one(r, r->verifying ? WHY_DEPLOYMENT : alive(r) < min ? WHY_MINIMUM : WHY_AUTOSCALING);
        if (x->n_instances == before) {
            admission_give(&x->admission, &r->claim);
            crashed(r, r->crash_why, true);
            return;
        }
    }
}

/* The best to let go: one with nothing to do, the newest first; then one that is not ready; then the least busy. */
static struct instance *dispensable(struct revision *r)
{
    struct instance *best = NULL;
    uint32_t best_cost = UINT32_MAX;
    LIST_EACH(&r->instances, n) {
        struct instance *i = CONTAINER_OF(n, struct instance, link);
        uint32_t cost = i->state == INSTANCE_READY ? slot_in_flight(i->slot) * 2 : 1;
        if (i->state > INSTANCE_READY || cost > best_cost)
            continue;
        best = i;
        best_cost = cost;
    }
    return best;
}

/* Those that drain come back before others start: also a program that only works on its last requests is an instance, and
 * with a maximum of one people count on its being alone. Returns how many came. */
static uint32_t take_back(struct revision *r, uint32_t n)
{
    uint32_t taken = 0;
    LIST_EACH_SAFE(&r->instances, node) {
        struct instance *i = CONTAINER_OF(node, struct instance, link);
        if (taken == n)
            break;
        if (i->state != INSTANCE_DRAINING)
            continue;
        instance_return(i);
        taken++;
    }
    if (taken)
        update_block(r);
    return taken;
}

static uint32_t decide(struct revision *r, const struct scaler_sample *sample, uint32_t min, uint32_t max)
{
    struct scaler_config c;
    struct scaler_decision d;
    struct scaler_state st = {
        .ready = r->count[INSTANCE_READY],
        .starting = r->count[INSTANCE_STARTING] + r->count[INSTANCE_PROBING],
        .host_room = executor_room(r->x),
    };
    scaler_config_default(&c);
    uint32_t concurrency = r->pool->concurrency;
    c.target_per_instance = concurrency == 1 ? 1 : concurrency * 0.7;
    c.min = min;
    c.max = max;
    c.idle_ns = r->x->config.idle_ns;
    if (r->claim.memory.bytes && c.idle_ns > RUN_IDLE_SHORT_NS && admission_is_short(&r->x->admission))
        c.idle_ns = RUN_IDLE_SHORT_NS;
    scaler_observe(&r->scaler, env_now(r->x->env), sample);
    scaler_decide(&r->scaler, &c, env_now(r->x->env), sample, &st, &d);
    bool demand = sample->running || sample->waiting || sample->backlog;
    snprintf(r->why, sizeof r->why, "%s", d.why);
    if (!demand && alive(r) == 0)
        return min; /* after a restart, or retired: nothing starts for what has been */
    if (sample->waiting && d.want == 0 && max > 0)
        return 1;
    return d.want > max ? max : d.want < min ? min : d.want;
}

static void let_go_idle(struct revision *r, const struct scaler_sample *sample)
{
    if (r->serving || r->verifying || r->deleted || sample->waiting || sample->running || timer_armed(&r->retire))
        return;
    executor_arm(r->x, &r->retire, env_now(r->x->env) + RUN_RETIRE_AFTER_NS);
}

void revision_scale(struct revision *r)
{
    if (r->scaling || r->deleted || r->x->stopping || r->state == REVISION_FAILED)
        return;
    r->scaling = true;
    uint32_t min, max;
    struct scaler_sample sample;
    limits(r, &min, &max);
    take_sample(r, &sample);
    uint32_t want = r->verifying && max == 0 ? 0 : decide(r, &sample, min, max), have = alive(r);
    if (r->verifying && want == 0)
        want = 1;
    if (want > have)
        have += take_back(r, want - have);
    if (want > have && !backed_off(r))
        start_more(r, want - have, min);
    else
        revision_waits_no_more(r);
    for (struct instance *i; have > want && (i = dispensable(r)); have--)
        instance_drain(i);
    if (max == 0 && sample.waiting) {
        struct err e;
        err_set(&e, ERR_UNAVAILABLE, "service %s is scaled to no instances by hand", r->service->id);
        pool_fail(r->pool, &e);
    }
    let_go_idle(r, &sample);
    if (!r->deleted && (r->instances.count || sample.waiting || sample.backlog || min || r->verifying))
        arm_tick(r);
    r->scaling = false;
}

static void on_tick(struct timer *t, int64_t now_ns) { revision_scale(CONTAINER_OF(t, struct revision, tick)); }

static void on_admitted(struct admission_claim *k) { revision_scale(CONTAINER_OF(k, struct revision, claim)); }

static void on_demand(void *arg) { revision_scale(arg); }

static void on_retire(struct timer *t, int64_t now_ns)
{
    struct revision *r = CONTAINER_OF(t, struct revision, retire);
    if (r->serving || r->verifying || atomic_load(&r->pool->waiting))
        return;
    LIST_EACH_SAFE(&r->instances, n)
        instance_drain(CONTAINER_OF(n, struct instance, link));
}

/* ---- crash loops */

/* It ended without being asked while starting or soon after. `certain`: another try right away would end the same. */
static void crashed(struct revision *r, const char *why, bool certain)
{
    struct executor *x = r->x;
    if (why != r->crash_why)
        snprintf(r->crash_why, sizeof r->crash_why, "%s", why);
    metric_add(r->m_crashes, 1);
    if (r->verifying) {
        r->verify_failures++;
        if (certain || r->verify_failures >= RUN_VERIFY_ATTEMPTS) {
            r->verifying = false;
            service_revision_failed(r->service, r, r->crash_why);
        }
        return;
    }
    if (certain && r->crashes == 0)
        r->crashes = 1;
    if (++r->crashes < 2)
        return; /* its port may have been taken: once more at once */
    int64_t wait_ns = RUN_BACKOFF_MIN_NS;
    for (uint32_t n = 2; n < r->crashes && wait_ns < RUN_BACKOFF_MAX_NS; n++)
        wait_ns *= 2;
    wait_ns = wait_ns > RUN_BACKOFF_MAX_NS ? RUN_BACKOFF_MAX_NS : wait_ns;
    r->backoff_until_ns = env_now(x->env) + wait_ns;
    executor_arm(x, &r->backoff, r->backoff_until_ns);
    struct log_where w = where(r, NULL);
    logs_system(x->logs, &w, SEVERITY_ERROR, "Instances of this revision keep ending; the next is started in %lld s at the earliest: %s",
                (long long)(wait_ns / NS_PER_S), r->crash_why);
    update_block(r);
    service_crash_news(r->service);
}

static void on_backoff_over(struct timer *t, int64_t now_ns)
{
    struct revision *r = CONTAINER_OF(t, struct revision, backoff);
    update_block(r);
    revision_scale(r);
}

/* ---- what instances say */

static void on_state(void *arg, struct instance *i, enum instance_state from)
{
    struct revision *r = arg;
    struct executor *x = r->x;
    r->count[from]--;
    r->count[i->state]++;
    x->count[from]--;
    if (i->state != INSTANCE_GONE)
        x->count[i->state]++;
}

static void on_ready(void *arg, struct instance *i)
{
    struct revision *r = arg;
    struct log_where w = where(r, i);
    const char *name = r->msg->containers[0]->name;
    metric_observe(r->x->m_startup, (double)(i->ready_ns - i->started_ns) / (double)NS_PER_S);
    logs_system(r->x->logs, &w, SEVERITY_INFO, "%s STARTUP %s probe succeeded after %u attempt%s for container \"%s\" on port %u.",
                r->msg->containers[0]->startup_probe ? "Configured" : "Default", i->plan->probe_http ? "HTTP" : "TCP", i->probes,
                i->probes == 1 ? "" : "s", name && *name ? name : "program", i->port);
    if (r->verifying) {
        r->verifying = false;
        service_revision_ready(r->service, r);
    }
    update_block(r);
}

static void on_healthy(void *arg, struct instance *i, int64_t ready_for_ns)
{
    struct revision *r = arg;
    if (ready_for_ns >= INSTANCE_HEALTHY_NS)
        r->crashes = 0;
    if (r->crash_why[0] && !backed_off(r)) {
        r->crash_why[0] = '\0';
        service_crash_news(r->service);
    }
}

static void on_line(void *arg, struct instance *i, bool is_stderr, struct str line, int64_t wall_ns)
{
    struct revision *r = arg;
    struct log_where w = where(r, i);
    logs_line(r->x->logs, &w, is_stderr ? LOG_STDERR : LOG_STDOUT, line, wall_ns);
}

static void on_gone(void *arg, struct instance *i)
{
    struct revision *r = arg;
    struct executor *x = r->x;
    char why[320];
    instance_why(i, why, sizeof why);
    struct log_where w = where(r, i);
    logs_system(x->logs, &w, i->asked ? SEVERITY_INFO : SEVERITY_ERROR, "Instance ended%s: %s", i->asked ? " as asked" : " by itself", why);
    x->n_instances--;
    x->no_room_said = false;
    metric_add(r->m_instances, -1);
    admission_give(&x->admission, &r->claim);
    list_remove(&r->instances, &i->link);
    list_append(&x->gone, &i->link);
    executor_reap_soon(x);
    if (r->deleted || x->stopping)
        return;
    bool soon = !i->ready_ns || env_now(x->env) - i->ready_ns < INSTANCE_SETTLED_NS;
    if (!i->asked && soon)
        crashed(r, why, i->probe_failed || !i->exit.started);
    update_block(r);
    revision_scale(r);
}
static const struct instance_events instance_events = {on_ready, on_healthy, on_line, on_gone, on_state};

static void on_emptied(void *arg)
{
    struct revision *r = arg;
    LIST_EACH_SAFE(&r->instances, n)
        instance_emptied(CONTAINER_OF(n, struct instance, link));
    if (r->count[INSTANCE_GONE])
        executor_reap_soon(r->x);
}

/* ---- lifecycle */

static uint32_t slots_for(const RUN(Revision) * m)
{
    uint32_t max = m->scaling && m->scaling->max_instance_count > 0 ? (uint32_t)m->scaling->max_instance_count : RUN_INSTANCES_DEFAULT;
    /* Some over the maximum, for those that drain while their successors serve. */
    uint32_t slots = max + (max < 16 ? 4 : max / 4);
    return slots > POOL_SLOTS_MAX ? POOL_SLOTS_MAX : slots;
}

struct revision *revision_new(struct service *s, RUN(Revision) * msg, struct err *e)
{
    struct revision *r = calloc(1, sizeof *r);
    if (!r) {
        pb_free(msg);
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for a revision");
        return NULL;
    }
    r->x = s->x;
    r->service = s;
    r->msg = msg;
    node_init(&r->link);
    list_init(&r->instances);
    timer_init(&r->tick, on_tick);
    timer_init(&r->retire, on_retire);
    timer_init(&r->backoff, on_backoff_over);
    scaler_init(&r->scaler, env_now(s->x->env));
    r->seen_ns = env_now(s->x->env);
    r->name = strdup(msg->name);
    uint32_t concurrency =
        msg->max_instance_request_concurrency > 0 ? (uint32_t)msg->max_instance_request_concurrency : RUN_CONCURRENCY_DEFAULT;
    r->pool = pool_new(s->x->env, slots_for(msg), concurrency, s->x->deps.engine, e);
    if (!r->name || !r->pool) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for a revision");
        revision_free(r);
        return NULL;
    }
    r->id = strrchr(r->name, '/') + 1;
    r->pool->on_demand = on_demand;
    r->pool->on_emptied = on_emptied;
    r->pool->arg = r;
    r->plan.pool = r->pool;
    r->plan.events = &instance_events;
    if (plan_build(r, e)) {
        revision_free(r);
        return NULL;
    }
    admission_claim_init(&r->claim, s->share, r->plan.spec.memory_bytes, 0, on_admitted);
    return r;
}

void revision_free(struct revision *r)
{
    if (!r)
        return;
    struct timers *ts = r->x->env->timers;
    timer_cancel(ts, &r->tick);
    timer_cancel(ts, &r->retire);
    timer_cancel(ts, &r->backoff);
    if (r->claim.share)
        admission_leave(&r->x->admission, &r->claim);
    if (r->pool) {
        struct err e;
        err_set(&e, ERR_NOT_FOUND, "the revision was deleted");
        pool_block(r->pool, &e); /* for those who hold on to the pool */
        r->pool->on_demand = NULL;
        r->pool->on_emptied = NULL;
        pool_unref(r->pool);
    }
    if (r->m_starts) {
        const char *labels[] = {metric_name(r->service), r->id};
        metric_drop(r->x->f_instances, labels);
        metric_drop(r->x->f_starts, labels);
        metric_drop(r->x->f_crashes, labels);
    }
    plan_free(r);
    pb_free(r->msg);
    free(r->name);
    free(r);
}

void revision_replace(struct revision *r, RUN(Revision) * msg)
{
    pb_free(r->msg);
    r->msg = msg;
    plan_point(r);
}

void revision_verify(struct revision *r)
{
    r->verifying = true;
    r->verify_failures = 0;
    r->state = REVISION_PENDING;
    r->crash_why[0] = '\0';
    revision_scale(r);
}

void revision_serve(struct revision *r, bool serving, uint32_t percent)
{
    bool was = r->serving;
    r->serving = serving;
    r->percent = percent;
    if (serving)
        timer_cancel(r->x->env->timers, &r->retire);
    else if (was && r->instances.count)
        executor_arm(r->x, &r->retire, env_now(r->x->env) + RUN_RETIRE_AFTER_NS);
    uint32_t min, max;
    limits(r, &min, &max);
    if (r->state == REVISION_READY && (r->instances.count || (serving && min)))
        revision_scale(r);
}

void revision_end(struct revision *r, const struct err *why)
{
    struct timers *ts = r->x->env->timers;
    r->deleted = true;
    r->verifying = false;
    timer_cancel(ts, &r->tick);
    timer_cancel(ts, &r->retire);
    timer_cancel(ts, &r->backoff);
    admission_leave(&r->x->admission, &r->claim);
    pool_block(r->pool, why);
    LIST_EACH_SAFE(&r->instances, n)
        instance_stop(CONTAINER_OF(n, struct instance, link));
}

void revision_instance_freed(struct revision *r) { r->count[INSTANCE_GONE]--; }

bool revision_quiet(const struct revision *r) { return r->instances.count == 0 && r->count[INSTANCE_GONE] == 0; }

/** executor.c: holds services, instances and their ends together: load, views for the ingress, stop. */
#include "executor/jobs_int.h"

#include <assert.h>
#include <stdlib.h>

/* ---- small things everybody uses */

void executor_arm(struct executor *x, struct timer *t, int64_t due_ns)
{
    struct err e;
    if (timer_set(x->env->timers, t, due_ns, &e))
        log_kv(x->env->log, LOG_ERROR, "executor.no_timer", LSTR("error", e.msg));
}

void executor_changed(struct executor *x)
{
    if (!timer_armed(&x->changed))
        executor_arm(x, &x->changed, env_now(x->env));
}

void executor_reap_soon(struct executor *x)
{
    if (!timer_armed(&x->reap))
        executor_arm(x, &x->reap, env_now(x->env));
}

uint32_t executor_room(const struct executor *x)
{
    uint32_t max = x->config.max_instances_host ? x->config.max_instances_host : EXECUTOR_INSTANCES_MAX;
    return x->n_instances < max ? max - x->n_instances : 0;
}

static void on_changed(struct timer *t, int64_t now_ns)
{
    struct executor *x = CONTAINER_OF(t, struct executor, changed);
    for (size_t i = 0; i < x->n_watchers; i++)
        x->watchers[i].fn(x->watchers[i].arg);
}

void executor_watch(struct executor *x, void (*on_change)(void *arg), void *arg)
{
    assert(x->n_watchers < RUN_WATCHERS_MAX);
    x->watchers[x->n_watchers++] = (struct watcher){on_change, arg};
}

bool executor_has(const struct executor *x, const char *resource)
{
    return map_get(x->services, resource) || map_get(x->jobs->jobs, resource);
}

void executor_on_delete(struct executor *x, void (*gone)(void *arg, const char *resource), void *arg)
{
    x->on_gone = gone;
    x->on_gone_arg = arg;
}

/* ---- what has gone */

static bool service_quiet(const struct service *s)
{
    LIST_EACH(&s->revisions, n)
        if (!revision_quiet(CONTAINER_OF(n, struct revision, link)))
            return false;
    return true;
}

static void on_reap(struct timer *t, int64_t now_ns)
{
    struct executor *x = CONTAINER_OF(t, struct executor, reap);
    LIST_EACH_SAFE(&x->gone, n) {
        struct instance *i = CONTAINER_OF(n, struct instance, link);
        if (!instance_settled(i))
            continue;
        struct revision *r = i->plan->arg;
        list_remove(&x->gone, &i->link);
        instance_free(i);
        revision_instance_freed(r);
        /* A slot became free: perhaps one was missing. */
        if (atomic_load(&r->pool->waiting))
            revision_scale(r);
    }
    LIST_EACH_SAFE(&x->leaving_revisions, n) {
        struct revision *r = CONTAINER_OF(n, struct revision, link);
        if (!revision_quiet(r))
            continue;
        list_remove(&x->leaving_revisions, &r->link);
        revision_free(r);
    }
    LIST_EACH_SAFE(&x->leaving, n) {
        struct service *s = CONTAINER_OF(n, struct service, link);
        bool waits = false;
        LIST_EACH(&x->leaving_revisions, k)
            waits = waits || CONTAINER_OF(k, struct revision, link)->service == s;
        if (waits || !service_quiet(s))
            continue;
        list_remove(&x->leaving, &s->link);
        service_free(s);
    }
    if (x->stopping && x->n_instances == 0 && run_jobs_quiet(x->jobs) && x->stopped) {
        void (*stopped)(void *) = x->stopped;
        x->stopped = NULL;
        stopped(x->stopped_arg);
    }
}

/* ---- load */

int executor_damaged(const char *kind, const char *name, const char *why, struct err *e)
{
    return err_set(e, ERR_DATA_LOSS, "%s record \"%.150s\": %s", kind, name, why);
}

/* projects/P/locations/L/services/S */
static bool service_name_ok(const char *name)
{
    static const char *const want[] = {"projects", NULL, "locations", NULL, "services", NULL};
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        size_t n = strcspn(name, "/");
        if (n == 0 || (want[i] && (strlen(want[i]) != n || memcmp(want[i], name, n) != 0)))
            return false;
        name += n;
        if (*name == '/' && i + 1 < ARRAY_LEN(want))
            name++;
    }
    return *name == '\0';
}

static int load_service(void *arg, const char *name, struct str body, struct err *e)
{
    struct executor *x = arg;
    RUN(Service) *m = pb_unpack_heap(RUN_DESC(service), body);
    const char *why = !m                             ? "malformed"
                      : strcmp(m->name, name) != 0   ? "it is another one's"
                      : !service_name_ok(name)       ? "that is no name of a service"
                      : !m->template_                ? "it has no template"
                      : traffic_check_percents(m, e) ? e->msg
                                                     : NULL;
    if (why) {
        pb_free(m);
        return executor_damaged(RUN_KIND_SERVICE, name, why, e);
    }
    struct service *s = service_new(x, name, e);
    if (!s) {
        pb_free(m);
        return err_wrap(e, RUN_KIND_SERVICE " record");
    }
    s->msg = m;
    service_weigh(s);
    if (map_put(x->services, s->name, s, e)) {
        service_free(s);
        return err_wrap(e, RUN_KIND_SERVICE " record \"%.150s\"", name);
    }
    return 0;
}

static int load_revision(void *arg, const char *name, struct str body, struct err *e)
{
    struct executor *x = arg;
    RUN(Revision) *m = pb_unpack_heap(RUN_DESC(revision), body);
    const char *tail = strstr(name, "/revisions/");
    struct service *s = tail ? map_get_n(x->services, name, (size_t)(tail - name)) : NULL;
    const char *why = !m                                             ? "malformed"
                      : strcmp(m->name, name) != 0                   ? "it is another one's"
                      : !s                                           ? "its service has no record"
                      : strchr(tail + sizeof "/revisions/" - 1, '/') ? "that is no name of a revision"
                      : m->n_containers != 1                         ? "it has not one container"
                                                                     : NULL;
    if (why) {
        pb_free(m);
        return executor_damaged(RUN_KIND_REVISION, name, why, e);
    }
    struct revision *r = revision_new(s, m, e);
    if (!r)
        return err_wrap(e, RUN_KIND_REVISION " record \"%.150s\"", name);
    /* Newest first; they come ordered by name, so this is at the front or nearly. */
    struct node *at = s->revisions.head.next;
    while (at != &s->revisions.head && CONTAINER_OF(at, struct revision, link)->msg->generation > m->generation)
        at = at->next;
    list_link_before(&s->revisions, at, &r->link);
    return 0;
}

static void on_resume(struct timer *t, int64_t now_ns);

int executor_load(struct executor *x, struct err *e)
{
    const struct store_ops *ops = x->deps.store->ops;
    if (ops->load_resources(x->deps.store, RUN_KIND_SERVICE, load_service, x, e) ||
        ops->load_resources(x->deps.store, RUN_KIND_REVISION, load_revision, x, e) || run_jobs_load(x->jobs, e))
        return -(int)e->code;
    size_t it = 0;
    const char *name;
    void *v;
    while (map_next(x->services, &it, &name, &v))
        service_loaded(v);
    executor_arm(x, &x->resume, env_now(x->env));
    return 0;
}

/* Rollouts that a stop interrupted. From the loop, since they store their outcome and others may still be loading. */
static void on_resume(struct timer *t, int64_t now_ns)
{
    struct executor *x = CONTAINER_OF(t, struct executor, resume);
    size_t it = 0;
    const char *name;
    void *v;
    while (map_next(x->services, &it, &name, &v)) {
        struct service *s = v;
        if (s->msg && s->msg->reconciling && s->latest_created && !s->rollout.active && !s->busy)
            service_rollout(s);
    }
    run_jobs_resume(x->jobs);
}

/* ---- views */

static int64_t view_targets(const struct service *s, struct executor_target *out)
{
    int64_t timeout_ns = 0;
    for (size_t i = 0; i < s->n_targets; i++) {
        const struct revision *r = s->targets[i].revision;
        out[i] = (struct executor_target){r ? r->pool : NULL, r ? r->id : "", s->targets[i].percent, s->targets[i].tag};
        if (r && r->plan.timeout_ns > timeout_ns)
            timeout_ns = r->plan.timeout_ns;
    }
    return timeout_ns ? timeout_ns : RUN_TIMEOUT_DEFAULT_S * NS_PER_S;
}

static const char *why_not_ready(const struct service *s)
{
    for (size_t i = 0; i < s->n_targets; i++)
        if (s->targets[i].revision)
            return NULL;
    const RUN(Condition) *c = s->msg->terminal_condition;
    return c && c->message && *c->message ? c->message : "no revision of it is ready yet";
}

static const char *why_off(const struct service *s)
{
    if (s->msg->ingress == GOOGLE__CLOUD__RUN__V2__INGRESS_TRAFFIC__INGRESS_TRAFFIC_NONE)
        return "its ingress is INGRESS_TRAFFIC_NONE";
    return s->msg->default_uri_disabled ? "its default URL is disabled" : NULL;
}

void executor_each(struct executor *x, executor_view_fn fn, void *arg)
{
    struct executor_target targets[RUN_TARGETS_MAX + 1];
    size_t it = 0;
    const char *name;
    void *v;
    while (map_next(x->services, &it, &name, &v)) {
        struct service *s = v;
        if (!s->msg)
            continue;
        int64_t timeout_ns = view_targets(s, targets);
        struct executor_view view = {
            .name = s->name,
            .project = s->project,
            .region = s->region,
            .service = s->id,
            .uri = s->uri,
            .timeout_ns = timeout_ns,
            .invoker_iam_disabled = s->msg->invoker_iam_disabled,
            .ingress_off = why_off(s),
            .custom_audiences = (const char *const *)s->msg->custom_audiences,
            .n_custom_audiences = s->msg->n_custom_audiences,
            .targets = targets,
            .n_targets = s->n_targets,
            .not_ready = why_not_ready(s),
        };
        fn(arg, &view);
    }
}

void executor_backlog(struct executor *x, const char *service_full_name, uint64_t messages)
{
    struct service *s = service_find(x, service_full_name);
    if (!s || s->backlog == messages)
        return;
    s->backlog = messages;
    for (size_t i = 0; i < s->n_targets && messages; i++)
        if (s->targets[i].revision)
            revision_scale(s->targets[i].revision);
}

struct executor_counts executor_counts(const struct executor *x)
{
    struct executor_counts c = {
        .services = (uint32_t)map_count(x->services),
        .jobs = (uint32_t)map_count(x->jobs->jobs),
        .executions = (uint32_t)map_count(x->jobs->executions),
        .tasks = x->jobs->n_running,
        .starting = x->count[INSTANCE_STARTING] + x->count[INSTANCE_PROBING],
        .ready = x->count[INSTANCE_READY],
        .stopping = x->count[INSTANCE_DRAINING] + x->count[INSTANCE_STOPPING],
    };
    size_t it = 0;
    const char *name;
    void *v;
    while (map_next(x->services, &it, &name, &v))
        c.revisions += (uint32_t)((struct service *)v)->revisions.count;
    return c;
}

/* ---- lifecycle */

static void declare_metrics(struct executor *x)
{
    struct metrics *m = x->deps.metrics;
    if (!m)
        return;
    x->f_instances =
        metrics_family(m, METRIC_GAUGE, "runnel_run_instances", "instances of a revision that have not ended", "service,revision");
    x->f_starts = metrics_family(m, METRIC_COUNTER, "runnel_run_instance_starts_total", "instances started", "service,revision");
    x->f_crashes = metrics_family(m, METRIC_COUNTER, "runnel_run_instance_crashes_total",
                                  "instances that ended by themselves while starting or soon after", "service,revision");
    x->f_startup = metrics_family(m, METRIC_HISTOGRAM, "runnel_run_startup_seconds",
                                  "from the start of an instance to its first successful probe", "");
    x->m_startup = metric_series(x->f_startup, &(const char *){NULL});
}

struct executor *executor_new(const struct executor_config *c, const struct executor_deps *d, struct err *e)
{
    struct executor *x = calloc(1, sizeof *x);
    if (!x) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the executor");
        return NULL;
    }
    x->config = *c;
    x->deps = *d;
    x->env = d->env;
    if (x->config.idle_ns <= 0)
        x->config.idle_ns = 900 * NS_PER_S;
    list_init(&x->gone);
    list_init(&x->leaving);
    list_init(&x->leaving_revisions);
    timer_init(&x->reap, on_reap);
    timer_init(&x->changed, on_changed);
    timer_init(&x->resume, on_resume);
    admission_init(&x->admission, x->env, d->runtime, d->metrics, c->host_memory_bytes);
    x->services = map_new(EXECUTOR_SERVICES_MAX);
    x->logs = logs_new(x->env, e);
    x->jobs = run_jobs_new(x, e);
    x->config.scratch_dir = c->scratch_dir ? strdup(c->scratch_dir) : NULL;
    x->config.project = strdup(c->project);
    x->config.region = strdup(c->region);
    x->config.domain = strdup(c->domain);
    if (!x->services || !x->logs || !x->jobs || !x->config.project || !x->config.region || !x->config.domain ||
        (c->scratch_dir && !x->config.scratch_dir)) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the executor");
        executor_free(x);
        return NULL;
    }
    declare_metrics(x);
    return x;
}

int executor_register(struct executor *x, struct registry *r, struct err *e)
{
    int rc = run_api_register(x, r, e);
    rc = rc ? rc : jobs_api_register(x, r, e);
    rc = rc ? rc : executions_api_register(x, r, e);
    rc = rc ? rc : tasks_api_register(x, r, e);
    rc = rc ? rc : jobs_more_api_register(x, r, e);
    rc = rc ? rc : trigger_api_register(x, r, e);
    return rc ? rc : logging_api_register(x, r, e);
}

void executor_stop(struct executor *x, void (*done)(void *arg), void *arg)
{
    struct err e;
    err_set(&e, ERR_UNAVAILABLE, "the server stops");
    x->stopping = true;
    x->stopped = done;
    x->stopped_arg = arg;
    size_t it = 0;
    const char *name;
    void *v;
    while (map_next(x->services, &it, &name, &v)) {
        struct service *s = v;
        LIST_EACH(&s->revisions, n) {
            struct revision *r = CONTAINER_OF(n, struct revision, link);
            pool_block(r->pool, &e);
            LIST_EACH_SAFE(&r->instances, k)
                instance_stop(CONTAINER_OF(k, struct instance, link));
        }
    }
    run_jobs_stop(x->jobs);
    executor_reap_soon(x);
}

static void abandon_instances(struct list *l)
{
    for (struct node *n; (n = list_pop(l));)
        instance_abandon(CONTAINER_OF(n, struct instance, link));
}

static void abandon_service(struct service *s)
{
    LIST_EACH(&s->revisions, n)
        abandon_instances(&CONTAINER_OF(n, struct revision, link)->instances);
    service_free(s);
}

void executor_free(struct executor *x)
{
    if (!x)
        return;
    timer_cancel(x->env->timers, &x->reap);
    timer_cancel(x->env->timers, &x->changed);
    timer_cancel(x->env->timers, &x->resume);
    abandon_instances(&x->gone);
    for (struct node *n; (n = list_pop(&x->leaving_revisions));) {
        struct revision *r = CONTAINER_OF(n, struct revision, link);
        abandon_instances(&r->instances);
        revision_free(r);
    }
    for (struct node *n; (n = list_pop(&x->leaving));)
        abandon_service(CONTAINER_OF(n, struct service, link));
    size_t it = 0;
    const char *name;
    void *v;
    while (x->services && map_next(x->services, &it, &name, &v)) {
        struct service *s = map_remove(x->services, ((struct service *)v)->name);
        abandon_service(s);
    }
    if (x->services)
        map_free(x->services);
    run_jobs_free(x->jobs);
    admission_fini(&x->admission);
    logs_free(x->logs);
    free((char *)(uintptr_t)x->config.scratch_dir);
    free((char *)(uintptr_t)x->config.project);
    free((char *)(uintptr_t)x->config.region);
    free((char *)(uintptr_t)x->config.domain);
    free(x);
}

/** support_executor.c: programs that behave as told, and the world around an executor under test. */
#include "tests/support/support_executor.h"

#include "core/rpc/json.h"
#include "core/rpc/pb.h"
#include "executor/exit_journal.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define PROBE_NS (50 * NS_PER_US)
#define STEP_NS (5 * NS_PER_MS)

/* ---- programs */

struct runtime_instance {
    struct node link;
    struct fake_runtime *rt;
    struct fake_behaviour b;
    struct runtime_events events;
    void *arg;
    uint16_t port;
    uint64_t ticket[2], lane, memory_bytes;
    uint32_t lane_width;
    char **env; /* while it waits for its lane */
    bool started;
    int64_t listens_at_ns; /* INT64_MAX never */
    struct timer start, end;
    struct runtime_exit exit;
};

static void must(int rc)
{
    if (rc)
        abort();
}

static void arm(struct runtime_instance *i, struct timer *t, int64_t after_ns)
{
    fault_hold();
    must(timer_set(i->rt->env->timers, t, env_now(i->rt->env) + after_ns, NULL));
    fault_release();
}

static void instance_free(struct runtime_instance *i)
{
    timer_cancel(i->rt->env->timers, &i->start);
    timer_cancel(i->rt->env->timers, &i->end);
    for (char **v = i->env; v && *v; v++)
        free(*v);
    free(i->env);
    free(i);
}

static void lane_next(struct fake_runtime *rt, uint64_t lane);

static void on_end(struct timer *t, int64_t now_ns)
{
    struct runtime_instance *i = CONTAINER_OF(t, struct runtime_instance, end);
    struct fake_runtime *rt = i->rt;
    bool waited = i->env != NULL;
    list_remove(waited ? &rt->waiting : &rt->running, &i->link);
    rt->exits++;
    rt->memory_bytes -= waited ? 0 : i->memory_bytes;
    i->exit.started = i->started;
    if (rt->ended && !waited)
        rt->ended(rt->hook_arg, i->ticket, &i->exit);
    lane_next(rt, waited ? 0 : i->lane);
    i->events.on_exit(i->arg, &i->exit);
    instance_free(i);
}

static void end_with(struct runtime_instance *i, int64_t after_ns, int code, int signo)
{
    i->exit.exit_code = signo ? -1 : code;
    i->exit.signal = signo;
    i->exit.lost = i->b.is_lost;
    snprintf(i->exit.why, sizeof i->exit.why, signo ? "ended by signal %d" : "exited with code %d", signo ? signo : code);
    arm(i, &i->end, after_ns);
}

static void on_start(struct timer *t, int64_t now_ns)
{
    struct runtime_instance *i = CONTAINER_OF(t, struct runtime_instance, start);
    if (i->b.cannot_execute) {
        snprintf(i->exit.why, sizeof i->exit.why, "it could not be executed");
        arm(i, &i->end, 0);
        return;
    }
    i->started = true;
    i->listens_at_ns = i->b.listens_ns == NEVER ? INT64_MAX : now_ns + i->b.listens_ns;
    if (i->b.exits_ns != NEVER && !i->exit.signal) /* else it was signalled as it began */
        end_with(i, i->b.exits_ns, i->b.exit_code, 0);
    i->events.on_started(i->arg, 1000 + i->port, i->port);
    if (i->b.says)
        i->events.on_line(i->arg, true, str_of(i->b.says), env_wall(i->rt->env));
}

static int fake_check(struct runtime *rt, const char *image, const char *const *argv, struct err *e)
{
    if (strncmp(image, "exec:///", 8) == 0)
        return 0;
    return err_set(e, ERR_UNIMPLEMENTED, "image '%s': this server runs plain programs only", image);
}

static void keep_env(struct fake_runtime *rt, const char *const *env)
{
    size_t n = 0;
    rt->last_env[0] = '\0';
    for (; *env && n < sizeof rt->last_env; env++)
        n += (size_t)snprintf(rt->last_env + n, sizeof rt->last_env - n, "%s\n", *env);
}

/* Now, not when it was handed over, a test is asked what it does. */
static void begin(struct runtime_instance *i, const struct runtime_spec *spec)
{
    struct fake_runtime *rt = i->rt;
    keep_env(rt, spec->env);
    rt->last_spec = *spec;
    rt->starts++;
    i->b = rt->behaviour;
    if (rt->vary)
        rt->vary(rt->hook_arg, spec, &i->b);
    rt->memory_bytes += i->memory_bytes;
    rt->memory_most = rt->memory_bytes > rt->memory_most ? rt->memory_bytes : rt->memory_most;
    list_append(&rt->running, &i->link);
    arm(i, &i->start, i->b.start_ns);
}

static uint32_t lane_running(const struct fake_runtime *rt, uint64_t lane)
{
    uint32_t n = 0;
    LIST_EACH(&rt->running, node)
        n += CONTAINER_OF(node, struct runtime_instance, link)->lane == lane;
    return n;
}

static void wait_in_lane(struct runtime_instance *i, const struct runtime_spec *spec)
{
    size_t n = 0;
    while (spec->env[n])
        n++;
    fault_hold();
    must(!(i->env = calloc(n + 1, sizeof *i->env)));
    for (size_t k = 0; k < n; k++)
        must(!(i->env[k] = strdup(spec->env[k])));
    fault_release();
    list_append(&i->rt->waiting, &i->link);
}

static void lane_next(struct fake_runtime *rt, uint64_t lane)
{
    LIST_EACH_SAFE(&rt->waiting, node) {
        struct runtime_instance *i = CONTAINER_OF(node, struct runtime_instance, link);
        if (!lane || i->lane != lane || lane_running(rt, lane) >= i->lane_width)
            continue;
        char **env = i->env;
        const struct runtime_spec spec = {.env = (const char *const *)env, .ticket = {i->ticket[0], i->ticket[1]}};
        list_remove(&rt->waiting, node);
        i->env = NULL;
        begin(i, &spec);
        for (char **v = env; *v; v++)
            free(*v);
        free(env);
    }
}

static int fake_start(struct runtime *base, const struct runtime_spec *spec, const struct runtime_events *events, void *arg,
                      struct runtime_instance **out, struct err *e)
{
    struct fake_runtime *rt = CONTAINER_OF(base, struct fake_runtime, base);
    if (rt->behaviour.refuses_start)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "no process could be made");
    struct runtime_instance *i = calloc(1, sizeof *i);
    if (!i)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory");
    i->rt = rt;
    i->ticket[0] = spec->ticket[0];
    i->ticket[1] = spec->ticket[1];
    i->lane = spec->lane;
    i->lane_width = spec->lane_width;
    i->memory_bytes = spec->memory_bytes;
    i->events = *events;
    i->arg = arg;
    i->port = rt->next_port++;
    i->listens_at_ns = INT64_MAX;
    node_init(&i->link);
    timer_init(&i->start, on_start);
    timer_init(&i->end, on_end);
    *out = i;
    if (i->lane && lane_running(rt, i->lane) >= i->lane_width)
        wait_in_lane(i, spec);
    else
        begin(i, spec);
    return 0;
}

static void fake_signal(struct runtime *base, struct runtime_instance *i, int signo)
{
    assert(signo == SIGTERM);
    if (i->env) { /* it waits: it is never started */
        arm(i, &i->end, 0);
        return;
    }
    i->rt->terms++;
    if (!i->b.ignores_term)
        end_with(i, NS_PER_MS, 0, signo);
}

static void fake_kill(struct runtime *base, struct runtime_instance *i)
{
    i->rt->kills++;
    end_with(i, NS_PER_MS, 0, SIGKILL);
}

static struct runtime_usage fake_usage(struct runtime *rt, const struct runtime_instance *i) { return (struct runtime_usage){0}; }

static void fake_close(struct runtime *rt, void (*done)(void *arg), void *arg) { done(arg); }
static void fake_weigh(struct runtime *base, uint64_t group, uint32_t weight)
{
    struct fake_runtime *rt = CONTAINER_OF(base, struct fake_runtime, base);
    rt->last_group = group;
    rt->last_weight = weight;
}

static const struct runtime_ops fake_ops = {"fake", fake_check, fake_start, fake_signal, fake_kill, fake_weigh, fake_usage, fake_close};

void fake_runtime_init(struct fake_runtime *rt, const struct env *env)
{
    *rt = (struct fake_runtime){.base.ops = &fake_ops, .env = env, .next_port = 20000};
    rt->behaviour = (struct fake_behaviour){.start_ns = NS_PER_MS, .listens_ns = NS_PER_MS, .exits_ns = NEVER};
    list_init(&rt->running);
    list_init(&rt->waiting);
}

void fake_runtime_forget(struct fake_runtime *rt)
{
    for (struct node *n; (n = list_pop(&rt->running)) || (n = list_pop(&rt->waiting));)
        instance_free(CONTAINER_OF(n, struct runtime_instance, link));
    rt->memory_bytes = 0;
}

void fake_runtime_exit(struct fake_runtime *rt, int exit_code)
{
    assert(!list_empty(&rt->running));
    end_with(CONTAINER_OF(list_first(&rt->running), struct runtime_instance, link), 0, exit_code, 0);
}

void fake_runtime_say(struct fake_runtime *rt, bool is_stderr, const char *line)
{
    assert(!list_empty(&rt->running));
    struct runtime_instance *i = CONTAINER_OF(list_first(&rt->running), struct runtime_instance, link);
    i->events.on_line(i->arg, is_stderr, str_of(line), env_wall(rt->env));
}

/* ---- prober */

struct fake_probe {
    struct timer timer;
    struct fake_prober *prober;
    struct probe_request *request;
};

static void on_probe(struct timer *t, int64_t now_ns)
{
    struct fake_probe *a = CONTAINER_OF(t, struct fake_probe, timer);
    struct probe_request *r = a->request;
    bool open = false;
    LIST_EACH(&a->prober->runtime->running, n) {
        struct runtime_instance *i = CONTAINER_OF(n, struct runtime_instance, link);
        open = open || (i->port == r->port && i->listens_at_ns <= now_ns);
    }
    free(a);
    r->done(r, open);
}

static void probe_start(struct prober *base, struct probe_request *r)
{
    struct fake_prober *p = CONTAINER_OF(base, struct fake_prober, base);
    fault_hold();
    struct fake_probe *a = calloc(1, sizeof *a);
    must(a == NULL);
    p->probes++;
    a->prober = p;
    a->request = r;
    r->internal = a;
    timer_init(&a->timer, on_probe);
    must(timer_set(p->runtime->env->timers, &a->timer, env_now(p->runtime->env) + PROBE_NS, NULL));
    fault_release();
}

static void probe_cancel(struct prober *base, struct probe_request *r)
{
    struct fake_probe *a = r->internal;
    timer_cancel(a->prober->runtime->env->timers, &a->timer);
    free(a);
}

void fake_prober_init(struct fake_prober *p, struct fake_runtime *rt)
{
    *p = (struct fake_prober){.base = {probe_start, probe_cancel}, .runtime = rt};
}

/* ---- the world */

struct fake_call {
    struct node link;
    struct call call;
    bool answered;
};

/* Those that are answered; or all, which their executor has forgotten. */
static void free_calls(struct world *w, bool all)
{
    LIST_EACH_SAFE(&w->calls, n) {
        struct fake_call *f = CONTAINER_OF(n, struct fake_call, link);
        if (!all && !f->answered)
            continue;
        list_remove(&w->calls, n);
        arena_free(f->call.arena);
        free(f);
    }
}

static void on_change(void *arg) { ((struct world *)arg)->changes++; }

static void open_executor(struct world *w)
{
    struct err e;
    w->operations = operations_new(&w->fe.env, &e);
    w->metrics = metrics_new();
    w->registry = registry_new();
    struct executor_deps d = {&w->fe.env, w->store, &w->runtime.base, &w->prober.base, w->operations, w->metrics, w->engine, w->journal};
    w->x = w->operations && w->metrics && w->registry ? executor_new(&w->config, &d, &e) : NULL;
    if (!w->x || executor_load(w->x, &e) || executor_register(w->x, w->registry, &e) ||
        operations_register(w->operations, w->registry, &e)) {
        fprintf(stderr, "world: %s\n", e.msg);
        abort();
    }
    executor_watch(w->x, on_change, w);
}

static void close_executor(struct world *w)
{
    executor_free(w->x);
    fake_runtime_forget(&w->runtime);
    operations_free(w->operations);
    registry_free(w->registry);
    metrics_free(w->metrics);
}

void world_init(struct world *w, int64_t idle_ns, uint32_t max_instances)
{
    *w = (struct world){0};
    support_env(&w->fe);
    list_init(&w->calls);
    w->engine = mailbox_new(100000, NULL, NULL);
    w->store = store_memory_new();
    must(!w->engine || !w->store);
    fake_runtime_init(&w->runtime, &w->fe.env);
    fake_prober_init(&w->prober, &w->runtime);
    w->config = (struct executor_config){.project = "proj",
                                         .region = "here",
                                         .domain = "localhost",
                                         .port = 8080,
                                         .idle_ns = idle_ns,
                                         .max_instances_host = max_instances,
                                         .host_cpu_millis = 2000,
                                         .host_memory_bytes = UINT64_C(16) << 30};
    open_executor(w);
}

void world_fini(struct world *w)
{
    close_executor(w);
    w->store->ops->close(w->store);
    free_calls(w, true);
    mailbox_deliver(w->engine);
    mailbox_free(w->engine);
    exit_journal_free(w->journal);
    support_env_fini(&w->fe);
}

void world_crash(struct world *w)
{
    store_memory_crash(w->store);
    close_executor(w);
    free_calls(w, true);
    mailbox_deliver(w->engine);
    if (w->journal_path) {
        struct err e;
        exit_journal_free(w->journal);
        w->journal = exit_journal_open(w->journal_path, &e);
        must(!w->journal);
    }
    open_executor(w);
}

static void serve(struct world *w)
{
    for (;;) {
        bool fails = store_memory_queued(w->store) && fault_hits(FAULT_WRITE);
        if (!store_memory_step(w->store, 1, fails ? ERR_UNAVAILABLE : w->store_fails) && !mailbox_deliver(w->engine))
            return;
    }
}

void world_run(struct world *w, int64_t ns)
{
    int64_t end_ns = w->fe.clock.mono_ns + ns;
    serve(w);
    while (w->fe.clock.mono_ns < end_ns) {
        int64_t step_ns = end_ns - w->fe.clock.mono_ns;
        /* Long quiet times in one leap: until the next timer, then in small steps. */
        int64_t next_ns = timers_next_ns(w->fe.env.timers) - w->fe.clock.mono_ns;
        int64_t least_ns = next_ns > STEP_NS && next_ns != TIMER_NEVER ? next_ns : STEP_NS;
        fake_env_advance(&w->fe, step_ns < least_ns ? step_ns : least_ns);
        serve(w);
    }
    fake_env_advance(&w->fe, 0);
    serve(w);
}

/* ---- calls */

static void on_finish(struct call *c)
{
    struct answer *a = c->handler_data;
    CONTAINER_OF(c, struct fake_call, call)->answered = true;
    a->done = true;
    a->code = c->err.code;
    snprintf(a->message, sizeof a->message, "%s", c->err.msg);
    a->json[0] = '\0';
    if (c->err.code)
        return;
    struct buf b;
    struct err e;
    fault_hold();
    buf_init(&b, sizeof a->json - 1);
    if (json_encode(&b, c->reply, 0, &e))
        snprintf(a->json, sizeof a->json, "cannot encode: %s", e.msg);
    else
        snprintf(a->json, sizeof a->json, "%.*s", (int)buf_len(&b), buf_data(&b));
    buf_fini(&b);
    fault_release();
}

void world_call_begin(struct world *w, const char *method, const char *request, struct answer *out)
{
    const struct method *m = NULL;
    free_calls(w, false);
    *out = (struct answer){0};
    for (size_t i = 0; (m = registry_method(w->registry, i)); i++) {
        size_t n = strlen(m->name), k = strlen(method);
        if (n >= k && strcmp(m->name + n - k, method) == 0)
            break;
    }
    fault_hold();
    struct fake_call *f = calloc(1, sizeof *f);
    struct arena *a = arena_new(CALL_ARENA_MAX);
    fault_release();
    must(!m || !a || !f);
    void *service = strstr(m->name, "longrunning") ? (void *)w->operations : (void *)w->x;
    f->call = (struct call){.method = m, .service = service, .arena = a, .finish = on_finish, .handler_data = out};
    list_append(&w->calls, &f->link);
    f->call.request = pb_new(a, m->request);
    if (json_decode(a, str_of(request), f->call.request, &f->call.err)) {
        on_finish(&f->call);
        return;
    }
    f->call.err.code = ERR_OK;
    if (w->fault.nth)
        fault_arm(w->fault.what, w->fault.nth, FAULT_ONCE);
    w->fault.nth = 0;
    registry_dispatch(w->registry, &f->call);
}

void world_call(struct world *w, const char *method, const char *request, struct answer *out)
{
    world_call_begin(w, method, request, out);
    for (int turns = 0; !out->done && turns < 1000; turns++)
        serve(w);
    must(!out->done);
}

const char *json_value(const char *json, const char *key)
{
    static char out[1024];
    char quoted[128];
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *p = strstr(json, quoted);
    out[0] = '\0';
    if (!p)
        return out;
    p += strlen(quoted);
    p += strspn(p, " ");
    size_t n = *p == '"' ? strcspn(++p, "\"") : strcspn(p, ",}]");
    snprintf(out, sizeof out, "%.*s", (int)n, p);
    return out;
}

/* ---- views and requests */

struct looking {
    const char *service;
    struct seen *seen;
};

static void on_view(void *arg, const struct executor_view *v)
{
    struct looking *l = arg;
    struct seen *s = l->seen;
    if (strcmp(v->service, l->service) != 0)
        return;
    s->found = true;
    snprintf(s->uri, sizeof s->uri, "%s", v->uri);
    snprintf(s->not_ready, sizeof s->not_ready, "%s", v->not_ready ? v->not_ready : "");
    snprintf(s->off, sizeof s->off, "%s", v->ingress_off ? v->ingress_off : "");
    for (size_t i = 0; i < v->n_targets && i < ARRAY_LEN(s->pools); i++) {
        s->pools[i] = v->targets[i].pool;
        s->percents[i] = v->targets[i].percent;
        snprintf(s->revisions[i], sizeof s->revisions[i], "%s", v->targets[i].revision);
        snprintf(s->tags[i], sizeof s->tags[i], "%s", v->targets[i].tag);
        s->n_targets++;
    }
}

void world_see(struct world *w, const char *service, struct seen *s)
{
    *s = (struct seen){0};
    struct looking l = {service, s};
    executor_each(w->x, on_view, &l);
}

static void on_granted(struct pool_waiter *waiter, const struct pool_grant *g)
{
    struct fake_request *q = CONTAINER_OF(waiter, struct fake_request, waiter);
    assert(!q->granted && !q->failed);
    q->granted = true;
    q->grant = *g;
}

static void on_failed(struct pool_waiter *waiter, const struct err *e)
{
    struct fake_request *q = CONTAINER_OF(waiter, struct fake_request, waiter);
    assert(!q->granted && !q->failed);
    q->failed = true;
    q->err = *e;
}

void request_start(struct world *w, struct pool *p, struct fake_request *q, int64_t timeout_ns)
{
    *q = (struct fake_request){.waiter = {.granted = on_granted, .failed = on_failed, .due_ns = w->fe.clock.mono_ns + timeout_ns}};
    if (pool_acquire(p, &q->grant))
        q->granted = true;
    else
        pool_wait(p, &q->waiter);
}

void request_end(struct fake_request *q, int64_t busy_ns)
{
    assert(q->granted);
    q->granted = false;
    pool_release(&q->grant, busy_ns);
}

/** support_executor.c: programs that behave as told, and the world around an executor under test. */
#include "tests/support/support_executor.h"

#include "core/rpc/json.h"
#include "core/rpc/pb.h"

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
    uint64_t ticket[2], memory_bytes;
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

static void on_end(struct timer *t, int64_t now_ns)
{
    struct runtime_instance *i = CONTAINER_OF(t, struct runtime_instance, end);
    timer_cancel(i->rt->env->timers, &i->start);
    list_remove(&i->rt->running, &i->link);
    i->rt->exits++;
    i->rt->memory_bytes -= i->memory_bytes;
    i->exit.started = i->started;
    if (i->rt->ended)
        i->rt->ended(i->rt->hook_arg, i->ticket, &i->exit);
    i->events.on_exit(i->arg, &i->exit);
    free(i);
}

static void end_with(struct runtime_instance *i, int64_t after_ns, int code, int signo)
{
    i->exit.exit_code = signo ? -1 : code;
    i->exit.signal = signo;
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
    if (i->b.exits_ns != NEVER)
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

static int fake_start(struct runtime *base, const struct runtime_spec *spec, const struct runtime_events *events, void *arg,
                      struct runtime_instance **out, struct err *e)
{
    struct fake_runtime *rt = CONTAINER_OF(base, struct fake_runtime, base);
    if (rt->behaviour.refuses_start)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "no process could be made");
    struct runtime_instance *i = calloc(1, sizeof *i);
    if (!i)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory");
    keep_env(rt, spec->env);
    rt->last_spec = *spec;
    rt->starts++;
    i->rt = rt;
    i->b = rt->behaviour;
    if (rt->vary)
        rt->vary(rt->hook_arg, spec, &i->b);
    i->memory_bytes = spec->memory_bytes;
    rt->memory_bytes += spec->memory_bytes;
    rt->memory_most = rt->memory_bytes > rt->memory_most ? rt->memory_bytes : rt->memory_most;
    i->ticket[0] = spec->ticket[0];
    i->ticket[1] = spec->ticket[1];
    i->events = *events;
    i->arg = arg;
    i->port = rt->next_port++;
    i->listens_at_ns = INT64_MAX;
    node_init(&i->link);
    timer_init(&i->start, on_start);
    timer_init(&i->end, on_end);
    list_append(&rt->running, &i->link);
    arm(i, &i->start, i->b.start_ns);
    *out = i;
    return 0;
}

static void fake_signal(struct runtime *base, struct runtime_instance *i, int signo)
{
    assert(signo == SIGTERM);
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
}

void fake_runtime_forget(struct fake_runtime *rt)
{
    for (struct node *n; (n = list_pop(&rt->running));) {
        struct runtime_instance *i = CONTAINER_OF(n, struct runtime_instance, link);
        timer_cancel(rt->env->timers, &i->start);
        timer_cancel(rt->env->timers, &i->end);
        free(i);
    }
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
    mailbox_deliver(w->engine);
    mailbox_free(w->engine);
    support_env_fini(&w->fe);
}

void world_crash(struct world *w)
{
    store_memory_crash(w->store);
    close_executor(w);
    mailbox_deliver(w->engine);
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

void world_call(struct world *w, const char *method, const char *request, struct answer *out)
{
    const struct method *m = NULL;
    *out = (struct answer){0};
    for (size_t i = 0; (m = registry_method(w->registry, i)); i++) {
        size_t n = strlen(m->name), k = strlen(method);
        if (n >= k && strcmp(m->name + n - k, method) == 0)
            break;
    }
    struct arena *a = arena_new(CALL_ARENA_MAX);
    must(!m || !a);
    void *service = strstr(m->name, "longrunning") ? (void *)w->operations : (void *)w->x;
    struct call c = {.method = m, .service = service, .arena = a, .finish = on_finish};
    c.request = pb_new(a, m->request);
    if (json_decode(a, str_of(request), c.request, &c.err)) {
        out->done = true;
        out->code = c.err.code;
        snprintf(out->message, sizeof out->message, "%s", c.err.msg);
        arena_free(a);
        return;
    }
    c.err.code = ERR_OK;
    c.handler_data = out;
    if (w->fault.nth)
        fault_arm(w->fault.what, w->fault.nth, FAULT_ONCE);
    w->fault.nth = 0;
    registry_dispatch(w->registry, &c);
    for (int turns = 0; !out->done && turns < 1000; turns++)
        serve(w);
    must(!out->done);
    arena_free(a);
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

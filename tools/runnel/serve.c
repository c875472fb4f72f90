/* serve.c: `runnel serve`: puts the parts of the server together, runs the engine loop, takes it down again in order. */
#include "tools/runnel/serve.h"

#include "broker/broker.h"
#include "core/http/server.h"
#include "core/loop/thread.h"
#include "core/rpc/operation.h"
#include "core/rpc/rest.h"
#include "dispatcher/identity.h"
#include "dispatcher/io.h"
#include "dispatcher/metadata.h"
#include "dispatcher/policy.h"
#include "dispatcher/push.h"
#include "dispatcher/route.h"
#include "executor/executor.h"
#include "tools/runnel/serve_options.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define WORKER_THREADS 2
#define ENGINE_DESCRIPTORS 65536
#define CLIENT_SHARE 3 / 4 /* of the descriptors, for connections that are accepted; the others are for instances, pushes and files */
#define SHUTDOWN_FORCED_EXIT 130
#define DRAIN_MIN_NS NS_PER_S /* for the answers of what was just done, when the grace is used up */

struct server {
    struct serve_options options;
    char url[128], self[512];
    struct rng rng;
    struct env env;
    struct loop *loop;
    struct log *log;
    struct workers *workers;
    struct store *store;
    struct metrics *metrics;
    struct registry *registry;
    struct web *web;
    struct operations *operations;
    struct identity *identity;
    struct policy *policy;
    struct adapter *adapter;
    struct broker *broker;
    struct runtime *runtime;
    struct prober *prober;
    struct executor *executor;
    struct io *io;
    struct pushers *pushers;
    struct routes *routes;     /* the newest, for the engine's own look-ups */
    struct timer routes_timer; /* coalesces changes into one rebuild */
    struct gauges {
        struct metric *services, *starting, *ready, *stopping, *store_commits, *store_bytes, *store_full;
    } gauges;
    int stopping; /* how many times we were asked */
    int64_t grace_due_ns;
};

/* ---- pages ---- */

static void on_healthz(void *arg, struct web_call *w)
{
    struct server *s = arg;
    bool full = s->store->ops->stats(s->store).full;
    if (buf_addz(&w->answer, full ? "disk full: publishes and changes are refused until there is space\n" : "ok\n"))
        web_reply(w, 500, "text/plain");
    else
        web_reply(w, full ? 503 : 200, "text/plain; charset=utf-8");
}

static void on_metrics(void *arg, struct web_call *w)
{
    struct server *s = arg;
    struct executor_counts counts = executor_counts(s->executor);
    struct store_stats store = s->store->ops->stats(s->store);
    metric_set(s->gauges.services, counts.services);
    metric_set(s->gauges.starting, counts.starting);
    metric_set(s->gauges.ready, counts.ready);
    metric_set(s->gauges.stopping, counts.stopping);
    metric_set(s->gauges.store_commits, (int64_t)store.commits);
    metric_set(s->gauges.store_bytes, (int64_t)store.file_bytes);
    metric_set(s->gauges.store_full, store.full);
    if (metrics_render(s->metrics, &w->answer))
        web_reply(w, 500, "text/plain");
    else
        web_reply(w, 200, METRIC_CONTENT_TYPE);
}

static struct metric *gauge(struct server *s, enum metric_kind kind, const char *name, const char *help)
{
    static const char *const none[METRIC_LABELS_MAX];
    return metric_series(metrics_family(s->metrics, kind, name, help, ""), none);
}

static struct metric *instances_gauge(struct metric_family *family, const char *state)
{
    const char *const values[METRIC_LABELS_MAX] = {state};
    return metric_series(family, values);
}

static int make_pages(struct server *s, struct err *e)
{
    const struct web_route pages[] = {
        {VERB_GET, "/healthz", on_healthz, s},
        {VERB_GET, "/metrics", on_metrics, s},
    };
    struct metric_family *instances = metrics_family(s->metrics, METRIC_GAUGE, "runnel_instances", "Instances by state.", "state");
    s->gauges = (struct gauges){
        .services = gauge(s, METRIC_GAUGE, "runnel_services", "Services deployed."),
        .starting = instances_gauge(instances, "starting"),
        .ready = instances_gauge(instances, "ready"),
        .stopping = instances_gauge(instances, "stopping"),
        .store_commits = gauge(s, METRIC_COUNTER, "runnel_store_commits_total", "Groups committed to the store."),
        .store_bytes = gauge(s, METRIC_GAUGE, "runnel_store_file_bytes", "Size of the database file."),
        .store_full = gauge(s, METRIC_GAUGE, "runnel_store_full", "1 while the disk is full and changes are refused."),
    };
    for (size_t i = 0; i < ARRAY_LEN(pages); i++)
        if (web_add(s->web, &pages[i], e))
            return err_wrap(e, "page %s", pages[i].path);
    return 0;
}

/* ---- routing ---- */

static void rebuild_routes(struct timer *t, int64_t now_ns)
{
    struct server *s = CONTAINER_OF(t, struct server, routes_timer);
    struct err e = {0};
    struct routes *fresh =
        routes_build(s->executor, s->policy, identity_keys(s->identity), s->options.domain, s->options.project, s->options.region, &e);
    if (!fresh) {
        log_kv(s->log, LOG_ERROR, "routes.failed", LSTR("error", e.msg), LSTR("do", "trying again in a second"));
        if (timer_set(s->env.timers, t, now_ns + NS_PER_S, &e))
            log_kv(s->log, LOG_ERROR, "routes.stuck", LSTR("error", e.msg));
        return;
    }
    routes_unref(s->routes);
    s->routes = fresh;
    io_routes(s->io, routes_ref(fresh));
}

static void on_routes_changed(void *arg)
{
    struct server *s = arg;
    struct err e = {0};
    if (!timer_armed(&s->routes_timer) && timer_set(s->env.timers, &s->routes_timer, env_now(&s->env), &e))
        log_kv(s->log, LOG_ERROR, "routes.stuck", LSTR("error", e.msg));
}

static void on_push_backlog(void *arg, const struct push_endpoint *ep, uint64_t backlog)
{
    struct server *s = arg;
    struct route_match_host match;
    struct err e = {0};
    if (s->routes && routes_ours(s->routes, ep->url.host) && routes_find(s->routes, ep->url.host, &s->rng, &match, &e) == 0)
        executor_backlog(s->executor, match.service->name, backlog);
}

static void on_resource_gone(void *arg, const char *resource)
{
    struct server *s = arg;
    policy_forget(s->policy, resource);
}

static bool on_policy_exists(void *arg, const char *resource)
{
    struct server *s = arg;
    return executor_has(s->executor, resource) || broker_has(s->broker, resource);
}

/* ---- shutdown: each step calls the next when it is done ---- */

/* The last transaction of all: when it is answered and nothing came after it, nobody waits for the store any more. */
static void on_store_quiet(void *arg, const struct err *e)
{
    struct server *s = arg;
    struct err own = {0};
    struct store_txn *last = NULL;
    if (e || s->store->ops->stats(s->store).bytes_queued == 0 || !(last = store_txn_new()) ||
        store_txn_meta(last, "stopped_wall_s", (uint64_t)(env_wall(&s->env) / NS_PER_S), &own)) {
        store_txn_free(last);
        loop_stop(s->loop);
        return;
    }
    store_submit(s->store, last, on_store_quiet, s);
}

static void on_broker_stopped(void *arg) { on_store_quiet(arg, NULL); }

static void on_runtime_closed(void *arg)
{
    struct server *s = arg;
    broker_stop(s->broker, on_broker_stopped, s);
}

/* Nothing runs any more; the runtime's thread and the warden must not outlive the engine that they write to. */
static void on_executor_stopped(void *arg)
{
    struct server *s = arg;
    s->runtime->ops->close(s->runtime, on_runtime_closed, s);
}

static void on_io_drained(void *arg)
{
    struct server *s = arg;
    executor_stop(s->executor, on_executor_stopped, s);
}

static void on_pushers_stopped(void *arg)
{
    struct server *s = arg;
    int64_t left_ns = s->grace_due_ns - env_now(&s->env); /* one grace for pushes and requests together */
    io_drain(s->io, left_ns > DRAIN_MIN_NS ? left_ns : DRAIN_MIN_NS, on_io_drained, s);
}

static void on_signal(void *arg, int signo)
{
    struct server *s = arg;
    if (s->stopping++ > 0) {
        log_kv(s->log, LOG_WARN, "server.forced", LINT("signal", signo),
               LSTR("note", "asked twice: leaving at once; nothing accepted is lost"));
        _exit(SHUTDOWN_FORCED_EXIT);
    }
    log_kv(s->log, LOG_INFO, "server.stopping", LINT("signal", signo));
    s->grace_due_ns = env_now(&s->env) + s->options.grace_ns;
    broker_end_pulls(s->broker);
    pushers_stop(s->pushers, s->options.grace_ns, on_pushers_stopped, s);
}

/* ---- start ---- */

static int make_ground(struct server *s, struct err *e)
{
    s->log = log_new(STDERR_FILENO, s->options.log_text, s->options.level, clock_real());
    s->loop = loop_new(e);
    if (!s->loop)
        return -ERR_RESOURCE_EXHAUSTED;
    rng_seed_os(&s->rng);
    s->env = (struct env){.clock = loop_clock(s->loop), .rng = &s->rng, .timers = loop_timers(s->loop), .log = s->log};
    timer_init(&s->routes_timer, rebuild_routes);
    s->metrics = metrics_new();
    s->registry = registry_new();
    s->web = web_new();
    if (!s->log || !s->metrics || !s->registry || !s->web)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory at start");
    s->workers = workers_start(WORKER_THREADS, e);
    return s->workers ? 0 : -ERR_RESOURCE_EXHAUSTED;
}

/* The port is needed for URLs before the io threads open it: hold it with a socket of our own until they have. Threads
 * share a port by SO_REUSEPORT, which would let a second server in too: so first without it. */
static int hold_port(struct server *s, int *held, struct err *e)
{
    int alone = http_listen_socket(s->options.host, s->options.port, false, e);
    if (alone == -ERR_ALREADY_EXISTS)
        return err_set(e, ERR_ALREADY_EXISTS,
                       "another program listens on %s:%u already: stop it, or choose another port with --listen (0 picks a free one)",
                       s->options.host, s->options.port);
    if (alone < 0)
        return alone;
    s->options.port = http_socket_port(alone);
    close(alone);
    *held = http_listen_socket(s->options.host, s->options.port, true, e);
    if (*held < 0)
        return *held;
    const char *format = strchr(s->options.host, ':') ? "http://[%s]:%u" : "http://%s:%u";
    bool any = strcmp(s->options.host, "0.0.0.0") == 0 || strcmp(s->options.host, "::") == 0;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(s->url, sizeof s->url, any ? "http://%s:%u" : format, any ? "127.0.0.1" : s->options.host, s->options.port);
#pragma GCC diagnostic pop
    return 0;
}

static int make_identity(struct server *s, struct err *e)
{
    struct mailbox *engine = loop_mailbox(s->loop);
    const struct identity_config identity = {
        .issuer = s->options.issuer ? s->options.issuer : s->url,
        .url = s->url,
        .project = s->options.project,
    };
    const struct policy_config policy = {.auth = s->options.auth};
    s->store = store_sqlite_open(s->options.data_dir, engine, s->log, e);
    if (!s->store)
        return -ERR_FAILED_PRECONDITION;
    s->identity = identity_new(&s->env, &identity, s->store, s->workers, engine, e);
    if (!s->identity || identity_load(s->identity, e) || identity_routes(s->identity, s->web, e))
        return -ERR_INTERNAL;
    s->policy = policy_new(&s->env, &policy, s->store, e);
    if (!s->policy || policy_load(s->policy, e) || policy_register(s->policy, s->registry, e))
        return -ERR_INTERNAL;
    policy_exists(s->policy, on_policy_exists, s);
    return 0;
}

static int make_executor(struct server *s, struct err *e)
{
    const struct executor_config config = {
        .project = s->options.project,
        .region = s->options.region,
        .domain = s->options.domain,
        .port = s->options.port,
        .idle_ns = s->options.idle_ns,
    };
    struct mailbox *engine = loop_mailbox(s->loop);
    s->operations = operations_new(&s->env, e);
    if (!s->operations || operations_register(s->operations, s->registry, e))
        return -ERR_INTERNAL;
    ssize_t n = readlink("/proc/self/exe", s->self, sizeof s->self - 1);
    if (n <= 0)
        return err_set(e, ERR_INTERNAL, "cannot find this program's own path in /proc");
    s->runtime = runtime_exec_new(&s->env, engine, s->self, e);
    s->prober = s->runtime ? prober_tcp_new(s->loop, e) : NULL;
    if (!s->prober)
        return -ERR_INTERNAL;
    const struct executor_deps deps = {
        .env = &s->env,
        .store = s->store,
        .runtime = s->runtime,
        .prober = s->prober,
        .operations = s->operations,
        .metrics = s->metrics,
        .engine = engine,
    };
    s->executor = executor_new(&config, &deps, e);
    return s->executor && executor_register(s->executor, s->registry, e) == 0 ? 0 : -ERR_INTERNAL;
}

static int make_broker(struct server *s, struct err *e)
{
    const struct broker_config config = {.default_project = s->options.project};
    s->adapter = adapter_embedded_new(&s->env, s->store, e);
    if (!s->adapter)
        return -ERR_RESOURCE_EXHAUSTED;
    s->broker = broker_new(&s->env, &config, s->store, s->adapter, s->metrics, e);
    if (!s->broker || broker_register(s->broker, s->registry, e))
        return -ERR_INTERNAL;
    broker_check_endpoint(s->broker, push_endpoint_check, NULL);
    return 0;
}

/* Each io thread's share of what the host lets us open, so that a crowd of clients leaves us able to reach instances. */
static size_t connections_max(uint32_t threads)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return HTTP_CONNECTIONS_MAX;
    size_t each = (size_t)limit.rlim_cur / threads * CLIENT_SHARE;
    return each < HTTP_CONNECTIONS_MAX ? each : HTTP_CONNECTIONS_MAX;
}

static int make_edges(struct server *s, struct err *e)
{
    const struct io_config io = {
        .host = s->options.host,
        .port = s->options.port,
        .threads = s->options.threads,
        .rest = {.registry = s->registry, .web = s->web, .engine = loop_mailbox(s->loop)},
        .engine = loop_mailbox(s->loop),
        .log = s->log,
        .metrics = s->metrics,
        .http = {.connections_max = connections_max(s->options.threads)},
    };
    const struct metadata_config metadata = {
        .project = s->options.project,
        .region = s->options.region,
        .identity = s->identity,
        .policy = s->policy,
    };
    if (metadata_routes(&metadata, s->web, e) || make_pages(s, e))
        return -ERR_INTERNAL;
    s->io = io_start(&io, e);
    if (!s->io)
        return -ERR_UNAVAILABLE;
    s->pushers = pushers_new(&s->env, s->broker, io_transport(s->io), identity_source(s->identity), s->metrics, e);
    if (!s->pushers)
        return -ERR_INTERNAL;
    pushers_backlog(s->pushers, on_push_backlog, s);
    return 0;
}

static int make_all(struct server *s, struct err *e)
{
    int held = -1;
    int rc = hold_port(s, &held, e);
    rc = rc ? rc : make_identity(s, e);
    rc = rc ? rc : make_executor(s, e);
    rc = rc ? rc : make_broker(s, e);
    rc = rc ? rc : make_edges(s, e);
    if (held >= 0)
        close(held);
    if (rc)
        return rc;
    executor_watch(s->executor, on_routes_changed, s);
    policy_watch(s->policy, on_routes_changed, s);
    identity_watch(s->identity, on_routes_changed, s);
    if ((rc = executor_load(s->executor, e)) || (rc = broker_load(s->broker, e)))
        return rc;
    policy_sweep(s->policy);
    executor_on_delete(s->executor, on_resource_gone, s);
    broker_on_delete(s->broker, on_resource_gone, s);
    rebuild_routes(&s->routes_timer, env_now(&s->env)); /* a service's host must not meet the API's 404 */
    if ((rc = loop_signal(s->loop, SIGTERM, on_signal, s, e)) || (rc = loop_signal(s->loop, SIGINT, on_signal, s, e)))
        return rc;
    return 0;
}

/* Only after the loop has ended: nothing calls back any more. */
static void free_all(struct server *s)
{
    io_stop(s->io);
    pushers_free(s->pushers);
    executor_free(s->executor);
    broker_free(s->broker);
    prober_tcp_free(s->prober);
    operations_free(s->operations);
    routes_unref(s->routes);
    workers_stop(s->workers);
    s->store->ops->close(s->store); /* it looks through the engine's mail, and a key that was being made is part of that */
    identity_free(s->identity);
    policy_free(s->policy);
    web_free(s->web);
    registry_free(s->registry);
    metrics_free(s->metrics);
    loop_free(s->loop);
    log_kv(s->log, LOG_INFO, "server.stopped", LSTR("data", s->options.data_dir));
    log_free(s->log);
}

/* Sockets are many: take what the host allows, up to what we can use. */
static void raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < ENGINE_DESCRIPTORS) {
        limit.rlim_cur = limit.rlim_max < ENGINE_DESCRIPTORS ? limit.rlim_max : ENGINE_DESCRIPTORS;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int serve_main(int argc, char **argv)
{
    struct server *s = calloc(1, sizeof *s);
    struct err e = {0};
    if (!s || serve_options_parse(&s->options, argc, argv, &e)) {
        fprintf(stderr, "ERROR: (runnel.serve) %s\n", s ? e.msg : "out of memory");
        free(s);
        return 2;
    }
    if (s->options.help) {
        serve_options_help();
        free(s);
        return 0;
    }
    signal(SIGPIPE, SIG_IGN);
    raise_descriptors();
    if (make_ground(s, &e) || make_all(s, &e)) {
        fprintf(stderr, "ERROR: (runnel.serve) %s\n", e.msg);
        if (e.code == ERR_DATA_LOSS)
            fprintf(
                stderr,
                "The server does not start on data it cannot trust. Bring back a copy of %s; or, when a record is named, remove it from "
                "%s/runnel.db with the program sqlite3 (table resources, by kind and name) and lose what it stands for.\n",
                s->options.data_dir, s->options.data_dir);
        _exit(1); /* half-made threads end with the process; the warden sees it and stops what it started */
    }
    printf("ready %s\n", s->url);
    fflush(stdout);
    log_kv(s->log, LOG_INFO, "server.ready", LSTR("url", s->url), LSTR("data", s->options.data_dir), LSTR("project", s->options.project),
           LSTR("region", s->options.region), LINT("io_threads", s->options.threads));
    loop_run(s->loop);
    free_all(s);
    free(s);
    return 0;
}

/* serve.c: `runnel serve`: puts the parts of the server together, runs the engine loop, takes it down again in order. */
#include "tools/runnel/serve.h"

#include "core/http/server.h"
#include "dispatcher/metadata.h"
#include "executor/cgroup.h"
#include "tools/runnel/serve_int.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORKER_THREADS 2
#define ENGINE_DESCRIPTORS 65536
#define CLIENT_SHARE 3 / 4 /* of the descriptors, for connections that are accepted; the others are for instances, pushes and files */

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

/* ---- backlog: what waits for a service makes instances of it ---- */

static const char *on_backlog_host(void *arg, struct str host)
{
    struct server *s = arg;
    struct route_match_host match;
    struct err e = {0};
    bool ours = s->routes && routes_ours(s->routes, host) && routes_find(s->routes, host, &s->rng, &match, &e) == 0;
    return ours ? match.service->name : NULL;
}

static void on_backlog(void *arg, const char *service, uint64_t count)
{
    struct server *s = arg;
    executor_backlog(s->executor, service, count);
}

static void on_queues_backlog(void *queues, backlog_host_fn fn, void *arg) { queues_backlog(queues, fn, arg); }

/* ---- resources ---- */

static void on_resource_gone(void *arg, const char *resource)
{
    struct server *s = arg;
    policy_forget(s->policy, resource);
}

static bool on_policy_exists(void *arg, const char *resource)
{
    struct server *s = arg;
    return executor_has(s->executor, resource) || broker_has(s->broker, resource) || queues_has(s->queues, resource);
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
    snprintf(s->local_url, sizeof s->local_url, "http://localhost:%u", s->options.port);
    s->invoker = (struct job_invoker){&s->env, s->identity, s->policy, {s->url, identity.issuer, s->local_url}};
    policy_token(s->policy, job_invoker_admits, &s->invoker);
    return 0;
}

/* What jobs have in the data folder beside the database: the journal of exits, and a place for results. */
static int make_job_files(struct server *s, struct err *e)
{
    char path[PATH_MAX];
    char *dir = realpath(s->options.data_dir, NULL); /* programs have other working directories */
    int n = dir ? snprintf(path, sizeof path, "%s/exits.journal", dir) : -1;
    int k = dir ? snprintf(s->scratch, sizeof s->scratch, "%s/results", dir) : -1;
    free(dir);
    if (n <= 0 || k <= 0 || (size_t)n >= sizeof path || (size_t)k >= sizeof s->scratch)
        return err_set(e, ERR_INVALID_ARGUMENT, "--data: %s is not a usable path", s->options.data_dir);
    if (mkdir(s->scratch, 0700) != 0 && errno != EEXIST)
        return err_sys(e, ERR_UNAVAILABLE, errno, "%s cannot be made", s->scratch);
    s->journal = exit_journal_open(path, e);
    return s->journal ? 0 : -ERR_UNAVAILABLE;
}

/* What programs may claim, unless the user says otherwise: all there is, or what the control group around us leaves of it. */
static uint64_t host_memory(void)
{
    uint64_t all = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE), limit = cgroup_memory_limit();
    return limit < all ? limit : all;
}

static int make_executor(struct server *s, struct err *e)
{
    const struct executor_config config = {
        .project = s->options.project,
        .region = s->options.region,
        .domain = s->options.domain,
        .port = s->options.port,
        .idle_ns = s->options.idle_ns,
        .host_cpu_millis = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN) * 1000,
        .host_memory_bytes = s->options.memory_bytes ? s->options.memory_bytes : host_memory(),
        .scratch_dir = s->scratch,
    };
    struct mailbox *engine = loop_mailbox(s->loop);
    s->operations = operations_new(&s->env, e);
    if (!s->operations || operations_register(s->operations, s->registry, e))
        return -ERR_INTERNAL;
    ssize_t n = readlink("/proc/self/exe", s->self, sizeof s->self - 1);
    if (n <= 0)
        return err_set(e, ERR_INTERNAL, "cannot find this program's own path in /proc");
    s->runtime = runtime_exec_new(&s->env, engine, s->self, &s->warden, exit_journal_fd(s->journal), e);
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
        .journal = s->journal,
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

static int make_tasks(struct server *s, struct err *e)
{
    const struct queues_config config = {
        .region = s->options.region,
        .max_schedule_ns = s->options.max_schedule_ns,
        .name_hold_ns = s->options.queue_name_hold_ns,
    };
    s->outcalls = outcalls_new(&s->env, identity_source(s->identity), e);
    s->task_push = s->outcalls ? task_push_new(&s->env, s->outcalls, e) : NULL;
    if (!s->task_push)
        return -ERR_RESOURCE_EXHAUSTED;
    const struct queue_deps deps = {
        .env = &s->env,
        .store = s->store,
        .metrics = s->metrics,
        .consumer = task_push_consumer(s->task_push),
    };
    s->queues = queues_new(&config, &deps, e);
    if (!s->queues || queues_register(s->queues, s->registry, e))
        return -ERR_INTERNAL;
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

static int make_backlog(struct server *s, struct err *e)
{
    const struct backlog_target target = {on_backlog_host, on_backlog, s};
    const struct backlog_source pushes = {pushers_backlog, s->pushers}, tasks = {on_queues_backlog, s->queues};
    s->backlog = backlog_new(&s->env, &target, e);
    if (!s->backlog || backlog_add(s->backlog, &pushes, e) || backlog_add(s->backlog, &tasks, e))
        return -ERR_INTERNAL;
    pushers_watch(s->pushers, backlog_stir, s->backlog);
    task_push_watch(s->task_push, backlog_stir, s->backlog);
    return 0;
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
    if (metadata_routes(&metadata, s->web, e) || serve_pages(s, e))
        return -ERR_INTERNAL;
    s->io = io_start(&io, e);
    if (!s->io)
        return -ERR_UNAVAILABLE;
    s->pushers = pushers_new(&s->env, s->broker, io_transport(s->io), identity_source(s->identity), s->metrics, e);
    if (!s->pushers)
        return -ERR_INTERNAL;
    outcalls_connect(s->outcalls, io_transport(s->io));
    return make_backlog(s, e);
}

static void on_wall_set(void *arg)
{
    struct server *s = arg;
    log_kv(s->log, LOG_INFO, "server.wall_clock_set", LSTR("note", "what waits for a time of day is worked out anew"));
    queues_clock_jumped(s->queues);
    schedules_clock_jumped(s->schedules);
}

static void watch_wall(struct server *s)
{
    struct err e = {0};
    s->wall_watch = loop_wall_watch(s->loop, on_wall_set, s, &e);
    if (!s->wall_watch)
        log_kv(s->log, LOG_WARN, "server.no_wall_watch", LSTR("error", e.msg),
               LSTR("note", "a wall clock that is set is noticed only when something else happens"));
}

static int make_all(struct server *s, struct err *e)
{
    int held = -1;
    int rc = hold_port(s, &held, e);
    rc = rc ? rc : make_identity(s, e);
    rc = rc ? rc : make_job_files(s, e);
    rc = rc ? rc : make_executor(s, e);
    rc = rc ? rc : make_broker(s, e);
    rc = rc ? rc : make_tasks(s, e);
    rc = rc ? rc : serve_schedules(s, e);
    rc = rc ? rc : make_edges(s, e);
    if (held >= 0)
        close(held);
    if (rc)
        return rc;
    executor_watch(s->executor, on_routes_changed, s);
    policy_watch(s->policy, on_routes_changed, s);
    identity_watch(s->identity, on_routes_changed, s);
    if ((rc = executor_load(s->executor, e)) || (rc = broker_load(s->broker, e)) || (rc = queues_load(s->queues, e)) ||
        (rc = schedules_load(s->schedules, e)))
        return rc;
    policy_sweep(s->policy);
    executor_on_delete(s->executor, on_resource_gone, s);
    broker_on_delete(s->broker, on_resource_gone, s);
    queues_on_delete(s->queues, on_resource_gone, s);
    watch_wall(s);
    rebuild_routes(&s->routes_timer, env_now(&s->env)); /* a service's host must not meet the API's 404 */
    if ((rc = loop_signal(s->loop, SIGTERM, serve_on_signal, s, e)) || (rc = loop_signal(s->loop, SIGINT, serve_on_signal, s, e)))
        return rc;
    return 0;
}

/* Only after the loop has ended: nothing calls back any more. */
static void free_all(struct server *s)
{
    io_stop(s->io);
    backlog_free(s->backlog);
    pushers_free(s->pushers);
    outcalls_free(s->outcalls);
    executor_free(s->executor);
    exit_journal_free(s->journal);
    broker_free(s->broker);
    prober_tcp_free(s->prober);
    operations_free(s->operations);
    routes_unref(s->routes);
    workers_stop(s->workers);
    s->store->ops->close(s->store); /* it looks through the engine's mail, and a key that was being made is part of that */
    queues_free(s->queues);         /* as above: its last answers come to the queues */
    task_push_free(s->task_push);
    serve_schedules_free(s);
    identity_free(s->identity);
    policy_free(s->policy);
    web_free(s->web);
    registry_free(s->registry);
    metrics_free(s->metrics);
    loop_wall_unwatch(s->wall_watch);
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

int serve_main(char **all, int argc, char **argv)
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
    /* Before there is a thread, a signal handler, an open file or more than a page of memory. */
    if (warden_fork(&s->warden, all, &e)) {
        fprintf(stderr, "ERROR: (runnel.serve) %s\n", e.msg);
        free(s);
        return 1;
    }
    if (s->warden.pid == 0) {
        int fd = s->warden.sock;
        free(s);
        return warden_main(fd);
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

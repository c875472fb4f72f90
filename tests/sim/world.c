/* world.c: the virtual clock, the steps, and what a crash leaves. */
#include "tests/sim/sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SIM_WALL_START_NS (INT64_C(1767225600) * NS_PER_S) /* 2026-01-01 */
#define SIM_STEPS_MAX 20000000

struct world_event {
    struct timer timer;
    struct sim *sim;
    uint64_t epoch;
    bool engine_bound;
    void (*fn)(struct sim *s, void *arg);
    void *arg;
};

void sim_trace(struct sim *s, const char *fmt, ...)
{
    va_list ap;
    if (!s->trace)
        return;
    printf("%12.6f ", (double)s->now_ns / 1e9);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
    fflush(stdout);
}

void sim_fail(struct sim *s, const char *fmt, ...)
{
    va_list ap;
    fprintf(stderr, "seed %llu, step %llu, at %.6f s: ", (unsigned long long)s->seed, (unsigned long long)s->steps,
            (double)s->now_ns / 1e9);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\n  replay: runnel-sim --seed %llu --trace\n", (unsigned long long)s->seed);
    fflush(NULL);
    _exit(1);
}

int64_t sim_delay(struct sim *s, int64_t min_ns, int64_t max_ns)
{
    return min_ns + (int64_t)rng_below(&s->world_rng, (uint64_t)(max_ns - min_ns + 1));
}

bool sim_chance(struct sim *s, double p) { return rng_chance(&s->world_rng, p); }

static int64_t read_mono(void *ctx) { return ((struct sim *)ctx)->now_ns; }

static int64_t read_wall(void *ctx)
{
    struct sim *s = ctx;
    return SIM_WALL_START_NS + s->now_ns + s->wall_offset_ns;
}

static void fire_event(struct timer *t, int64_t now_ns)
{
    struct world_event *ev = CONTAINER_OF(t, struct world_event, timer);
    struct sim *s = ev->sim;
    bool stale = ev->engine_bound && ev->epoch != s->epoch;
    void (*fn)(struct sim *, void *) = ev->fn;
    void *arg = ev->arg;
    free(ev);
    if (!stale)
        fn(s, arg);
}

void sim_after(struct sim *s, int64_t ns, bool engine_bound, void (*fn)(struct sim *s, void *arg), void *arg)
{
    struct err e = {0};
    struct world_event *ev = malloc(sizeof *ev);
    if (!ev)
        sim_fail(s, "the simulator is out of memory");
    *ev = (struct world_event){.sim = s, .epoch = s->epoch, .engine_bound = engine_bound, .fn = fn, .arg = arg};
    timer_init(&ev->timer, fire_event);
    if (timer_set(s->world, &ev->timer, s->now_ns + ns, &e))
        sim_fail(s, "the world has too many events: %s", e.msg);
}

/* The disk: completes a few requests at a time; sometimes it is full for a while. */
static void disk_works(struct timer *t, int64_t now_ns)
{
    struct sim *s = CONTAINER_OF(t, struct sim, store_timer);
    bool full = !s->healing && (sim_chance(s, 0.004 * s->trouble) ? !s->disk_full : s->disk_full);
    if (full != s->disk_full) {
        sim_trace(s, "disk %s", full ? "full" : "has space");
        facts_disk(s);
        s->disk_full = full;
        s->disk_ok_ns = now_ns;
    }
    store_memory_step(s->store, 1 + (size_t)rng_below(&s->world_rng, 8), full ? ERR_RESOURCE_EXHAUSTED : ERR_OK);
}

static void wake_disk(struct sim *s)
{
    struct err e = {0};
    if (store_memory_queued(s->store) == 0 || timer_armed(&s->store_timer))
        return;
    if (timer_set(s->world, &s->store_timer, s->now_ns + sim_delay(s, 100 * NS_PER_US, 4 * NS_PER_MS), &e))
        sim_fail(s, "%s", e.msg);
}

static void must(struct sim *s, int rc, const struct err *e, const char *what)
{
    if (rc)
        sim_fail(s, "%s: %s", what, e->msg);
}

static void no_wake(void *arg) {}

/* A fresh engine on the store as it is: what the server does at start. */
static void start_engine(struct sim *s)
{
    struct err e = {0};
    const struct broker_config broker = {.default_project = "sim-project"};
    const struct executor_config executor = {
        .project = "sim-project",
        .region = "sim1",
        .domain = "localhost",
        .port = 8080,
        .idle_ns = 30 * NS_PER_S,
    };
    rng_seed(&s->engine_rng, rng_u64(&s->world_rng));
    s->env = (struct env){.clock = &s->clock, .rng = &s->engine_rng, .timers = timers_new(), .log = s->log};
    s->mailbox = mailbox_new(100000, no_wake, NULL);
    s->registry = registry_new();
    s->metrics = metrics_new();
    s->operations = operations_new(&s->env, &e);
    s->adapter = adapter_embedded_new(&s->env, s->store, &e);
    if (!s->operations || !s->adapter)
        sim_fail(s, "the engine does not start: %s", e.msg);
    s->broker = broker_new(&s->env, &broker, s->store, s->adapter, s->metrics, &e);
    sim_transport_init(s);
    sim_runtime_init(s);
    const struct executor_deps deps = {
        .env = &s->env,
        .store = s->store,
        .runtime = &s->runtime,
        .prober = &s->prober,
        .operations = s->operations,
        .metrics = s->metrics,
        .engine = s->mailbox,
    };
    s->executor = executor_new(&executor, &deps, &e);
    if (!s->broker || !s->executor)
        sim_fail(s, "the engine does not start: %s", e.msg);
    s->pushers = pushers_new(&s->env, s->broker, &s->transport, &s->tokens, s->metrics, &e);
    if (!s->pushers)
        sim_fail(s, "the engine does not start: %s", e.msg);
    must(s, operations_register(s->operations, s->registry, &e), &e, "operations");
    must(s, broker_register(s->broker, s->registry, &e), &e, "broker");
    must(s, executor_register(s->executor, s->registry, &e), &e, "executor");
    must(s, executor_load(s->executor, &e), &e, "executor_load");
    must(s, broker_load(s->broker, &e), &e, "broker_load");
}

void sim_world_init(struct sim *s, uint64_t seed, bool trace)
{
    *s = (struct sim){.seed = seed, .trace = trace, .now_ns = NS_PER_S};
    s->clock = (struct clock){read_mono, read_wall, s};
    rng_seed(&s->world_rng, seed);
    s->trouble = (double)rng_below(&s->world_rng, 11) / 10.0;
    s->world = timers_new();
    s->log = trace ? log_new(STDOUT_FILENO, true, LOG_DEBUG, &s->clock) : log_null();
    s->store = store_memory_new();
    if (!s->world || !s->store)
        sim_fail(s, "the simulator is out of memory");
}

void sim_start(struct sim *s, uint64_t seed, bool trace)
{
    sim_world_init(s, seed, trace);
    timer_init(&s->store_timer, disk_works);
    start_engine(s);
    sim_actors_init(s);
}

void sim_crash(struct sim *s)
{
    sim_trace(s, "---- kill -9 ----");
    s->epoch++;
    s->crashes++;
    s->crashed_ns = s->now_ns;
    s->calls_open = 0;
    store_memory_crash(s->store);
    sim_runtime_crashed(s);
    facts_crashed(s);
    start_engine(s);
    sim_actors_restarted(s);
}

void sim_step(struct sim *s)
{
    int64_t world = timers_next_ns(s->world), engine = timers_next_ns(s->env.timers);
    int64_t next = world < engine ? world : engine;
    if (++s->steps > SIM_STEPS_MAX)
        sim_fail(s, "more than %d steps: something goes round in circles", SIM_STEPS_MAX);
    if (next > s->now_ns)
        s->now_ns = next;
    timers_run(s->world, s->now_ns);
    while (mailbox_deliver(s->mailbox))
        ;
    timers_run(s->env.timers, s->now_ns);
    wake_disk(s);
    facts_check_step(s);
}

void sim_run_for(struct sim *s, int64_t ns)
{
    int64_t end = s->now_ns + ns;
    while (s->now_ns < end)
        sim_step(s);
}

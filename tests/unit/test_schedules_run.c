/** test_schedules_run.c: schedules that start executions, both on one store, for virtual hours by seed: kills after any write, downtimes, a
 *  store that refuses, programs that fail or outlast their minute. Each firing has one execution; who forbids or replaces has one at a
 *  time. RUNNEL_SIM_SEED=N runs one seed, RUNNEL_SIM_SEEDS=N so many. */
#include "core/rpc/json.h"
#include "core/rpc/pb.h"
#include "schedules/scheduler.h"
#include "tests/support/support_executor.h"
#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>

#define PARENT "projects/proj/locations/here"
#define MINUTE (60 * NS_PER_S)
#define SEEDS_DEFAULT 12
#define EVENTS 120
#define PAGE 8
#define EXECUTIONS_MAX 2000
#define STEPS_MAX 2000000

static const char *const overlaps[] = {"FORBID", "ALLOW", "REPLACE"};
enum { FORBID, ALLOW, REPLACE, N };

static struct world w;
static struct answer a;
static struct target *run_target;
static struct registry *registry;
static struct schedules *s;

static void open_schedules(void)
{
    struct err e = {0};
    const struct schedules_config config = {0};
    registry = registry_new();
    run_target = target_run_new(w.x);
    const struct schedules_deps deps = {.env = &w.fe.env, .store = w.store, .http = run_target, .pubsub = run_target, .run = run_target};
    s = schedules_new(&config, &deps, &e);
    if (!s || schedules_register(s, registry, &e) || schedules_load(s, &e))
        fail_msg("schedules: %s", e.msg);
}

static void close_schedules(void)
{
    schedules_free(s);
    registry_free(registry);
    run_target->ops->free(run_target);
}

static void crash(void)
{
    store_memory_crash(w.store);
    close_schedules();
    world_crash(&w);
    open_schedules();
}

static void on_finish(struct call *c) { *(bool *)c->handler_data = true; }

/* Of the schedules' methods; the answer, but for its code, does not matter. */
static void schedule_call(const char *method, const char *request)
{
    struct arena *arena = arena_new(CALL_ARENA_MAX);
    const struct method *m = NULL;
    bool done = false;
    for (size_t i = 0; (m = registry_method(registry, i)) && strcmp(strrchr(m->name, '/') + 1, method) != 0; i++)
        ;
    if (!m) {
        fail_msg("there is no %s", method);
        return;
    }
    struct call c = {.method = m, .service = s, .arena = arena, .finish = on_finish, .handler_data = &done};
    c.request = pb_new(arena, m->request);
    struct err e = {0};
    if (json_decode(arena, str_of(request), c.request, &e))
        fail_msg("%s", e.msg);
    registry_dispatch(registry, &c);
    for (int i = 0; i < 300 && !done; i++) /* what the store refused is tried again in a second */
        world_run(&w, 10 * NS_PER_MS);
    if (!done || c.err.code)
        fail_msg("%s %s: %s", method, request, done ? c.err.msg : "no answer");
    arena_free(arena);
}

static void create(int kind)
{
    char request[900];
    snprintf(request, sizeof request,
             "{\"parent\":\"" PARENT "\",\"jobId\":\"job%d\",\"job\":{\"template\":{\"template\":{\"maxRetries\":0,\"containers\":[{"
             "\"image\":\"exec:///srv/work\"}]}}}}",
             kind);
    world_call(&w, "Jobs/CreateJob", request, &a);
    assert_int_equal(a.code, ERR_OK);
    snprintf(request, sizeof request,
             "{\"parent\":\"" PARENT "\",\"job\":{\"name\":\"" PARENT "/jobs/s%d\",\"schedule\":\"* * * * *\",\"httpTarget\":{\"uri\":"
             "\"run:///" PARENT "/jobs/job%d\"},\"retryConfig\":{\"retryCount\":2}}}",
             kind, kind);
    schedule_call("CreateJob", request);
    snprintf(request, sizeof request, "{\"policy\":{\"name\":\"" PARENT "/jobs/s%d\",\"overlap\":\"%s\",\"missed\":\"ALL\"}}", kind,
             overlaps[kind]);
    schedule_call("UpdateJobPolicy", request);
}

/* ---- what there is */

struct found {
    char events[EXECUTIONS_MAX][80]; /* after the @ */
    size_t n, active;                /* active: not ended, and not being cancelled */
    char example[4000];              /* an active one */
};

static void take(struct found *f, const char *from, size_t n)
{
    char *one = strndup(from, n), *at = strstr(one, "\"runnel.dev/event-id\":\""), *time = at ? strchr(at, '@') : NULL;
    assert_non_null(time);
    assert_true(f->n < EXECUTIONS_MAX);
    snprintf(f->events[f->n++], sizeof f->events[0], "%.*s", (int)strcspn(time + 1, "\""), time + 1);
    if (strstr(one, "\"reconciling\":true") && !strstr(one, "\"CANCELLING\"")) {
        f->active++;
        snprintf(f->example, sizeof f->example, "%s", one);
    }
    free(one);
}

static void look(int kind, struct found *f)
{
    char request[400], token[300] = "";
    f->n = f->active = 0;
    do {
        snprintf(request, sizeof request, "{\"parent\":\"" PARENT "/jobs/job%d\",\"pageSize\":%d,\"pageToken\":\"%s\"}", kind, PAGE, token);
        world_call(&w, "Executions/ListExecutions", request, &a);
        assert_int_equal(a.code, ERR_OK);
        snprintf(token, sizeof token, "%s", json_value(a.json, "nextPageToken"));
        for (const char *p = strstr(a.json, "{\"name\":\""), *next; p; p = next) {
            next = strstr(p + 1, "{\"name\":\"" PARENT "/jobs/job");
            take(f, p, next ? (size_t)(next - p) : strlen(p));
        }
    } while (*token);
}

static int by_text(const void *x, const void *y) { return strcmp(x, y); }

static void check_each(uint64_t seed, struct found f[N])
{
    for (int k = 0; k < N; k++) {
        look(k, &f[k]);
        if (k != ALLOW && f[k].active > 1)
            fail_msg("seed %llu: %s runs %zu at once", (unsigned long long)seed, overlaps[k], f[k].active);
        qsort(f[k].events, f[k].n, sizeof f[k].events[0], by_text);
        for (size_t i = 1; i < f[k].n; i++)
            if (strcmp(f[k].events[i - 1], f[k].events[i]) == 0)
                fail_msg("seed %llu: %s of %s ran twice", (unsigned long long)seed, f[k].events[i], overlaps[k]);
    }
}

/* Every minute from the first to the last. */
static void check_minutes(uint64_t seed, const struct found *f, int64_t from_ns, int64_t to_ns)
{
    char text[WALL_TEXT_MAX];
    for (int64_t t = (from_ns / MINUTE + 1) * MINUTE; t < to_ns; t += MINUTE) {
        wall_format(t, text);
        if (!bsearch(text, f->events, f->n, sizeof f->events[0], by_text))
            fail_msg("seed %llu: nothing ran for %s", (unsigned long long)seed, text);
    }
}

/* ---- what happens */

/* Until so many operations of the store were done; then it is killed. */
static void killed_after(size_t writes, int64_t down_ns)
{
    int64_t end_ns = w.fe.clock.mono_ns + 3 * MINUTE;
    for (int steps = 0; steps < STEPS_MAX; steps++) {
        if (store_memory_queued(w.store)) {
            if (writes-- == 0)
                break;
            store_memory_step(w.store, 1, ERR_OK);
        } else if (!mailbox_deliver(w.engine)) {
            int64_t next_ns = timers_next_ns(w.fe.env.timers);
            if (next_ns > end_ns)
                break;
            fake_env_advance(&w.fe, next_ns > w.fe.clock.mono_ns ? next_ns - w.fe.clock.mono_ns : 0);
        }
    }
    fake_clock_move(&w.fe.clock, down_ns);
    crash();
}

static void one_event(struct rng *rng)
{
    char request[200];
    w.runtime.behaviour.exits_ns = (int64_t)rng_below(rng, (uint64_t)(rng_chance(rng, 0.3) ? 100 * NS_PER_S : 5 * NS_PER_S));
    w.runtime.behaviour.exit_code = rng_chance(rng, 0.2);
    w.runtime.behaviour.ignores_term = rng_chance(rng, 0.1);
    switch (rng_below(rng, 8)) {
    case 0:
    case 1:
        killed_after(rng_below(rng, 12), rng_chance(rng, 0.3) ? (int64_t)rng_below(rng, (uint64_t)(5 * MINUTE)) : 0);
        break;
    case 2:
        crash();
        break;
    case 3:
        w.store_fails = ERR_RESOURCE_EXHAUSTED;
        world_run(&w, (int64_t)rng_below(rng, (uint64_t)(20 * NS_PER_S)));
        w.store_fails = ERR_OK;
        break;
    case 4:
        if (rng_chance(rng, 0.3)) {
            snprintf(request, sizeof request, "{\"name\":\"" PARENT "/jobs/s%d\"}", ALLOW);
            world_run(&w, 1 + (int64_t)rng_below(rng, (uint64_t)NS_PER_S));
            schedule_call("RunJob", request);
        }
        break;
    default:
        world_run(&w, (int64_t)rng_below(rng, (uint64_t)(100 * NS_PER_S)));
    }
}

static void one_seed(uint64_t seed)
{
    static struct found f[N];
    struct rng rng;
    rng_seed(&rng, seed);
    world_init(&w, MINUTE, 0);
    open_schedules();
    int64_t began_ns = w.fe.clock.wall_ns;
    for (int k = 0; k < N; k++)
        create(k);
    for (int i = 0; i < EVENTS; i++) {
        one_event(&rng);
        check_each(seed, f);
    }
    w.runtime.behaviour = (struct fake_behaviour){.start_ns = NS_PER_MS, .listens_ns = NEVER, .exits_ns = NS_PER_MS};
    world_run(&w, 20 * MINUTE);
    while (w.fe.clock.wall_ns % MINUTE < NS_PER_S) /* not at the moment when some begin */
        world_run(&w, NS_PER_S / 2);
    check_each(seed, f);
    check_minutes(seed, &f[ALLOW], began_ns, w.fe.clock.wall_ns);
    for (int k = 0; k < N; k++)
        if (f[k].active)
            fail_msg("seed %llu: an execution of %s does not end: %.3000s", (unsigned long long)seed, overlaps[k], f[k].example);
    close_schedules();
    world_fini(&w);
}

static void each_firing_has_one_execution(void **state)
{
    const char *one = getenv("RUNNEL_SIM_SEED"), *many = getenv("RUNNEL_SIM_SEEDS");
    uint64_t from = one ? strtoull(one, NULL, 10) : 1, n = one ? 1 : many ? strtoull(many, NULL, 10) : SEEDS_DEFAULT;
    for (uint64_t seed = from; seed < from + n; seed++)
        one_seed(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_firing_has_one_execution)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

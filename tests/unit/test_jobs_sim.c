/** test_jobs_sim.c: jobs from their API to their programs on a virtual clock: small scenarios with a kill -9 before and after every
 *  request of the store, and long lives by seed with everything at once. What must hold is in support_jobs.c.
 *      RUNNEL_SIM_SEED=N runs one seed, RUNNEL_SIM_SEEDS=N so many. */
#include "tests/support/support_executor.h"
#include "tests/support/support_jobs.h"
#include "tests/support/unit.h"

#include <stdio.h>

#define SEEDS_DEFAULT 60
#define STEPS 6000
#define EVENTS_MAX 4
#define REQUESTS_MAX 400

static struct js *js_new(void)
{
    struct js *js = calloc(1, sizeof *js);
    assert_non_null(js);
    return js;
}

static void js_free(struct js *js)
{
    js_stop(js);
    free(js);
}

/* ---- a kill -9 at every request of the store */

/* What the programs do: its own answer for each task of a scenario. */
static void all_succeed(struct js *js, const struct js_run *r, uint32_t index, uint32_t failures, struct fake_behaviour *b)
{
    b->exits_ns = (int64_t)(index + 1) * 7 * NS_PER_MS;
}

static void some_fail(struct js *js, const struct js_run *r, uint32_t index, uint32_t failures, struct fake_behaviour *b)
{
    b->exits_ns = (int64_t)(index % 3 + 1) * 5 * NS_PER_MS;
    b->exit_code = index == 1 ? 9 : index == 2 && failures == 0 ? 3 : 0;
}

static void none_can_start(struct js *js, const struct js_run *r, uint32_t index, uint32_t failures, struct fake_behaviour *b)
{
    b->cannot_execute = index % 2;
    b->exits_ns = 0;
}

static void some_hang(struct js *js, const struct js_run *r, uint32_t index, uint32_t failures, struct fake_behaviour *b)
{
    b->ignores_term = index == 1;
    b->exits_ns = index < 2 ? NEVER : 20 * NS_PER_MS;
}

struct event {
    int64_t at_ms;
    enum js_what what;
    int of; /* which job to run, or which execution is meant */
    uint32_t tasks;
};
#define TO(ms, thing, whom)                          \
    {                                                \
        .at_ms = (ms), .what = (thing), .of = (whom) \
    }
static const struct scenario {
    const char *name;
    void (*program)(struct js *js, const struct js_run *r, uint32_t index, uint32_t failures, struct fake_behaviour *b);
    struct js_job jobs[2];
    struct event events[EVENTS_MAX]; /* the first runs job 0 */
} scenarios[] = {
    {"tasks that succeed", all_succeed, {{.id = "work", .tasks = 4, .parallelism = 2, .timeout_s = 60}}, {TO(0, JS_RUN, 0)}},
    {"tasks that are tried again, with backoff",
     some_fail,
     {{.id = "work", .tasks = 3, .parallelism = 3, .retries = 2, .timeout_s = 60, .backoff_min_ms = 1000, .backoff_max_ms = 1500}},
     {TO(0, JS_RUN, 0)}},
    {"tasks that hang until their time is over",
     some_hang,
     {{.id = "work", .tasks = 3, .parallelism = 3, .retries = 1, .timeout_s = 5}},
     {TO(0, JS_RUN, 0)}},
    {"programs that cannot be started",
     none_can_start,
     {{.id = "work", .tasks = 3, .parallelism = 2, .retries = 1, .timeout_s = 60}},
     {TO(0, JS_RUN, 0)}},
    {"tasks with inputs",
     some_fail,
     {{.id = "work", .tasks = 1, .parallelism = 2, .retries = 1, .timeout_s = 60}},
     {{.what = JS_RUN_INPUTS, .tasks = 3}}},
    {"cancelled while it runs",
     all_succeed,
     {{.id = "work", .tasks = 6, .parallelism = 2, .timeout_s = 60}},
     {TO(0, JS_RUN, 0), TO(12, JS_CANCEL, 0)}},
    {"cancelled while it waits for a backoff, then its failed tasks again",
     some_fail,
     {{.id = "work", .tasks = 3, .parallelism = 3, .retries = 2, .timeout_s = 60, .backoff_min_ms = 1000, .backoff_max_ms = 1000}},
     {TO(0, JS_RUN, 0), TO(300, JS_CANCEL, 0), TO(2500, JS_RETRY, 0)}},
    {"its failed tasks are taken up again",
     some_fail,
     {{.id = "work", .tasks = 3, .parallelism = 2, .timeout_s = 60}},
     {TO(0, JS_RUN, 0), TO(1000, JS_RETRY, 0)}},
    {"stopped after a failure",
     some_fail,
     {{.id = "work", .tasks = 8, .parallelism = 2, .timeout_s = 60, .stop_after = 1}},
     {TO(0, JS_RUN, 0)}},
    {"deleted while it runs",
     all_succeed,
     {{.id = "work", .tasks = 6, .parallelism = 3, .timeout_s = 60}},
     {TO(0, JS_RUN, 0), TO(10, JS_DELETE, 0)}},
    {"its job is deleted while it runs",
     all_succeed,
     {{.id = "work", .tasks = 6, .parallelism = 3, .timeout_s = 60}},
     {TO(0, JS_RUN, 0), TO(10, JS_DELETE_JOB, 0)}},
    {"a second one waits for the first",
     all_succeed,
     {{.id = "work", .tasks = 2, .parallelism = 2, .timeout_s = 60, .max_concurrent = 1}},
     {TO(0, JS_RUN, 0), TO(3, JS_RUN, 0)}},
    {"what waits is cancelled, and taken up again beside another",
     some_fail,
     {{.id = "work", .tasks = 3, .parallelism = 1, .timeout_s = 60, .max_concurrent = 1}},
     {TO(0, JS_RUN, 0), TO(3, JS_RUN, 0), TO(8, JS_CANCEL, 1), TO(12, JS_RETRY, 1)}},
    {"taken up again while another runs",
     some_fail,
     {{.id = "work", .tasks = 3, .parallelism = 1, .timeout_s = 60, .max_concurrent = 1}},
     {TO(0, JS_RUN, 0), TO(1000, JS_RUN, 0), TO(1003, JS_RETRY, 0), TO(1010, JS_CANCEL, 0)}},
    {"taken up again as another is to run",
     some_fail,
     {{.id = "work", .tasks = 3, .parallelism = 1, .timeout_s = 60, .max_concurrent = 1}},
     {TO(0, JS_RUN, 0), TO(1000, JS_RETRY, 0), TO(1000, JS_RUN, 0)}},
    {"a job that depends on it",
     all_succeed,
     {{.id = "work", .tasks = 2, .parallelism = 2, .timeout_s = 60},
      {.id = "next", .tasks = 1, .parallelism = 1, .timeout_s = 60, .depends_on = "work"}},
     {TO(0, JS_RUN, 0)}},
    {"a job that depends on one that fails at first",
     some_fail,
     {{.id = "work", .tasks = 3, .parallelism = 1, .timeout_s = 60},
      {.id = "next", .tasks = 1, .parallelism = 1, .timeout_s = 60, .depends_on = "work"}},
     {TO(0, JS_RUN, 0), TO(1000, JS_RETRY, 0), TO(1001, JS_CANCEL, 0), TO(2000, JS_RETRY, 0)}},
};

enum when { BEFORE, AFTER };
struct crash {
    size_t at;
    enum when when;
    double exits;
};

/* Requests of the store are counted; false: there were not so many. */
static bool drive(struct js *js, const struct scenario *sc, const struct crash *crashes, size_t n)
{
    size_t done = 0, event = 0, crash = 0;
    int64_t began_ns = js->w.fe.clock.mono_ns;
    for (;;) {
        const struct event *ev = event < EVENTS_MAX && (event == 0 || sc->events[event].at_ms) ? &sc->events[event] : NULL;
        int64_t now_ns = js->w.fe.clock.mono_ns, at_ns = ev ? began_ns + ev->at_ms * NS_PER_MS : INT64_MAX;
        bool request = store_memory_queued(js->w.store) > 0;
        if (crash < n && request && done == crashes[crash].at && crashes[crash].when == BEFORE) {
            js_crash(js, 0, crashes[crash++].exits);
        } else if (crash < n && done == crashes[crash].at + 1 && crashes[crash].when == AFTER) {
            js_crash(js, 0, crashes[crash++].exits);
        } else if (ev && now_ns >= at_ns) {
            bool runs = ev->what == JS_RUN || ev->what == JS_RUN_INPUTS || ev->what == JS_DELETE_JOB;
            if (runs || (size_t)ev->of < js->n_runs) /* an answer that a crash took leaves nobody to cancel */
                js_ask(js, ev->what, runs ? &js->jobs[ev->of] : NULL, runs ? NULL : js->runs[ev->of], ev->tasks);
            event++;
        } else if (request) {
            done++;
            js_next(js);
        } else if (ev && timers_next_ns(js->w.fe.env.timers) > at_ns) {
            fake_env_advance(&js->w.fe, at_ns - now_ns);
        } else if (!js_next(js)) {
            return crash == n;
        }
    }
}

static bool play(const struct scenario *sc, const struct crash *crashes, size_t n)
{
    struct js *js = js_new();
    js->program = sc->program;
    snprintf(js->label, sizeof js->label, "%s, crash %s request %zu (exits %.0f)%s", sc->name,
             crashes[0].when == BEFORE ? "before" : "after", crashes[0].at, crashes[0].exits, n > 1 ? ", and again" : "");
    js_start(js, sc->jobs, sc->jobs[1].id ? 2 : 1, 1);
    bool all = drive(js, sc, crashes, n);
    js_check(js);
    js_free(js);
    return all;
}

static void test_a_crash_at_every_request_of_the_store(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(scenarios); i++) {
        size_t at = 0;
        for (bool more = true; more; at++) {
            more = false;
            assert_true(at < REQUESTS_MAX);
            for (int way = 0; way < 4; way++) {
                const struct crash crash = {at, way / 2 ? AFTER : BEFORE, way % 2};
                more |= play(&scenarios[i], &crash, 1);
            }
        }
        if (at < 6)
            fail_msg("%s: the store was asked %zu times only", scenarios[i].name, at);
    }
}

/* The second one while what the first left is taken up. */
static void test_a_second_crash_while_it_comes_back(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(scenarios); i++) {
        bool more = true;
        for (size_t at = 0; more; at++) {
            more = false;
            for (size_t then = 0; then < 12; then++) {
                const struct crash crashes[] = {{at, at % 2 ? AFTER : BEFORE, at % 3 == 0},
                                                {at + 1 + then, then % 2 ? AFTER : BEFORE, then % 3 == 0}};
                more |= play(&scenarios[i], crashes, 2);
            }
        }
    }
}

/* ---- long lives by seed */

static struct js_job random_job(struct rng *rng, const char *id)
{
    struct js_job j = {.id = id,
                       .tasks = 1 + (uint32_t)rng_below(rng, rng_chance(rng, 0.2) ? 200 : 15),
                       .parallelism = 1 + (uint32_t)rng_below(rng, 8),
                       .retries = (uint32_t)rng_below(rng, 4),
                       .timeout_s = 1 + (uint32_t)rng_below(rng, 8)};
    if (rng_chance(rng, 0.5)) {
        j.backoff_min_ms = (int64_t)rng_below(rng, 3000);
        j.backoff_max_ms = j.backoff_min_ms + (int64_t)rng_below(rng, 5000);
    }
    if (rng_chance(rng, 0.3))
        j.stop_after = 1 + (uint32_t)rng_below(rng, 5);
    if (rng_chance(rng, 0.5)) {
        j.max_concurrent = 1 + (uint32_t)rng_below(rng, 2);
        j.refuse = rng_chance(rng, 0.3);
    }
    return j;
}

static void random_program(struct js *js, const struct js_run *r, uint32_t index, uint32_t failures, struct fake_behaviour *b)
{
    struct rng *rng = &js->rng;
    b->start_ns = (int64_t)rng_below(rng, 20 * NS_PER_MS);
    b->exits_ns = (int64_t)rng_below(rng, (uint64_t)(rng_chance(rng, 0.1) ? 3 * NS_PER_S : 50 * NS_PER_MS));
    b->exit_code = rng_chance(rng, 0.2) ? 1 + (int)rng_below(rng, 100) : 0;
    b->cannot_execute = rng_chance(rng, 0.02);
    if (rng_chance(rng, 0.03)) {
        b->exits_ns = NEVER;
        b->ignores_term = rng_chance(rng, 0.5);
    }
}

static struct js_run *some_run(struct js *js)
{
    /* Rather one of the last. */
    size_t n = js->n_runs < 6 || rng_chance(&js->rng, 0.2) ? js->n_runs : 6;
    return n ? js->runs[js->n_runs - 1 - rng_below(&js->rng, n)] : NULL;
}

static void ask_something(struct js *js)
{
    struct js_job *j = &js->jobs[rng_below(&js->rng, js->n_jobs)];
    struct js_run *r = some_run(js);
    uint64_t which = rng_below(&js->rng, 100);
    if (j->depends_on)
        j = &js->jobs[0]; /* it runs by itself */
    if (!j->made) {
        js_ask(js, JS_CREATE, j, NULL, 0);
    } else if (which < 25 && js->n_runs < JS_RUNS_MAX / 4) {
        js_ask(js, JS_RUN, j, NULL, rng_chance(&js->rng, 0.3) ? 1 + (uint32_t)rng_below(&js->rng, 20) : 0);
    } else if (which < 30 && js->n_runs < JS_RUNS_MAX / 4) {
        js_ask(js, JS_RUN_INPUTS, j, NULL, 1 + (uint32_t)rng_below(&js->rng, 12));
    } else if (which < 32 && j == &js->jobs[2]) {
        js_ask(js, JS_DELETE_JOB, j, NULL, 0);
    } else if (!r) {
        return;
    } else if (which < 40) {
        js_ask(js, JS_CANCEL, NULL, r, 0);
    } else if (which < 50) {
        js_ask(js, JS_RETRY, NULL, r, 0);
    } else if (which < 55 && r->job == &js->jobs[2]) {
        js_ask(js, JS_DELETE, NULL, r, 0);
    } else {
        js_ask(js, JS_LOOK, NULL, r, 0);
    }
}

static void live(uint64_t seed, size_t did[JS_WHAT_N])
{
    struct js *js = js_new();
    struct rng rng;
    rng_seed(&rng, seed * 7919);
    struct js_job jobs[] = {random_job(&rng, "work"), random_job(&rng, "next"), random_job(&rng, "other")};
    jobs[1].depends_on = "work";
    jobs[1].refuse = false; /* it would not run then */
    jobs[1].tasks = 1 + jobs[1].tasks % 3;
    snprintf(js->label, sizeof js->label, "seed %llu", (unsigned long long)seed);
    js->program = random_program;
    js_start(js, jobs, ARRAY_LEN(jobs), seed);
    js->trouble = rng_chance(&js->rng, 0.5) ? 0.01 : 0;
    for (int i = 0; i < STEPS; i++) {
        js_step(js);
        if (rng_chance(&js->rng, 0.02))
            ask_something(js);
        if (rng_chance(&js->rng, 0.002))
            js->w.runtime.behaviour.refuses_start = rng_chance(&js->rng, 0.3);
        if (rng_chance(&js->rng, 0.002))
            js_crash(js, rng_below(&js->rng, 1 + store_memory_queued(js->w.store)), 0.5);
    }
    js->w.runtime.behaviour.refuses_start = false;
    js_rest(js);
    js_check(js);
    for (int i = 0; i < JS_WHAT_N; i++)
        did[i] += js->answered[i];
    js_free(js);
}

static void test_long_lives_by_seed(void **state)
{
    const char *one = getenv("RUNNEL_SIM_SEED"), *many = getenv("RUNNEL_SIM_SEEDS");
    uint64_t from = one ? strtoull(one, NULL, 10) : 1, n = one ? 1 : many ? strtoull(many, NULL, 10) : SEEDS_DEFAULT;
    size_t did[JS_WHAT_N] = {0};
    for (uint64_t seed = from; seed < from + n; seed++)
        live(seed, did);
    for (int i = 0; i < JS_WHAT_N && n >= SEEDS_DEFAULT; i++)
        if (did[i] < n / 4) /* else it shows less than it says */
            fail_msg("what %d was answered %zu times only in %llu lives", i, did[i], (unsigned long long)n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_crash_at_every_request_of_the_store),
        cmocka_unit_test(test_a_second_crash_while_it_comes_back),
        cmocka_unit_test(test_long_lives_by_seed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

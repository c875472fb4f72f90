/** test_schedules_sim.c: schedules for virtual months by seed: kills, clocks set both ways, slow targets, a store that fails; against
 *  a model that walks from firing to firing. RUNNEL_SIM_SEED=N runs one seed, RUNNEL_SIM_SEEDS=N so many. */
#include "schedules/due.h"
#include "tests/support/support_schedules.h"
#include "tests/support/unit.h"

#include <stdio.h>

#define L "projects/p/locations/l"
#define MINUTE (60 * NS_PER_S)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)
#define SEEDS_DEFAULT 40
#define EVENTS 60
#define FIRINGS_MAX 200000

/* ---- quick targets: each firing is where the model says ---- */

struct model_job {
    const char *id, *schedule, *missed;
    int64_t step, offset; /* fires at offset + k * step */
    int limit;
    int64_t last;
    int64_t want[FIRINGS_MAX]; /* scheduled times, in order */
    size_t n;
};
static struct model_job model_jobs[] = {
    {.id = "minutes-once", .schedule = "*/7 * * * *", .missed = "ONCE", .step = 0},
    {.id = "hours-once", .schedule = "0 * * * *", .missed = "ONCE", .step = HOUR},
    {.id = "hours-skip", .schedule = "30 * * * *", .missed = "SKIP", .step = HOUR, .offset = 30 * MINUTE},
    {.id = "hours-all", .schedule = "15 * * * *", .missed = "ALL", .step = HOUR, .offset = 15 * MINUTE, .limit = 100},
    {.id = "days-five", .schedule = "0 3 * * *", .missed = "ALL", .step = DAY, .offset = 3 * HOUR, .limit = 5},
    {.id = "minutes-ten", .schedule = "* * * * *", .missed = "ALL", .step = MINUTE, .limit = 10},
};

/* Every 7th minute of the hour begins anew with the hour. */
static int64_t next_of(const struct model_job *m, int64_t after)
{
    int64_t step = m->step ? m->step : MINUTE, t = after - m->offset;
    int64_t floor = t >= 0 ? t / step : (t - step + 1) / step;
    t = (floor + 1) * step + m->offset;
    while (!m->step && t / MINUTE % 60 % 7)
        t += MINUTE;
    return t;
}

static void want(struct model_job *m, int64_t t)
{
    if (m->n == FIRINGS_MAX)
        fail_msg("%s: too many firings", m->id);
    m->want[m->n++] = t;
}

/* The server looks at the clock, which shows `now`: after a start, or because the clock was set. */
static void model_look(struct model_job *m, int64_t now)
{
    static int64_t due[FIRINGS_MAX];
    size_t n = 0, from = 0;
    for (int64_t t = next_of(m, m->last); t <= now; t = next_of(m, t))
        due[n++] = t;
    if (n && now - due[0] > DUE_LATE_NS) {
        if (strcmp(m->missed, "SKIP") == 0)
            while (from < n && now - due[from] > DUE_LATE_NS)
                from++;
        else
            from = strcmp(m->missed, "ONCE") == 0 ? n - 1 : n > (size_t)m->limit ? n - (size_t)m->limit : 0;
    }
    for (size_t i = from; i < n; i++)
        want(m, due[i]);
    if (n)
        m->last = due[n - 1];
}

/* It runs, and the clock goes on until `now`. */
static void model_run(struct model_job *m, int64_t now)
{
    for (int64_t t = next_of(m, m->last); t <= now; t = next_of(m, t)) {
        want(m, t);
        m->last = t;
    }
}

static void each(void (*fn)(struct model_job *m, int64_t now), int64_t now)
{
    for (size_t i = 0; i < ARRAY_LEN(model_jobs); i++)
        fn(&model_jobs[i], now);
}

static void compare(const struct ts *ts, uint64_t seed)
{
    for (size_t i = 0; i < ARRAY_LEN(model_jobs); i++) {
        const struct model_job *m = &model_jobs[i];
        size_t n = 0;
        for (size_t k = 0; k < ts->n_fired; k++) {
            int64_t t = 0;
            if (strcmp(ts->fired[k].job, m->id) != 0)
                continue;
            assert_int_equal(wall_parse(ts->fired[k].schedule_time, strlen(ts->fired[k].schedule_time), &t, NULL), 0);
            if (n >= m->n || m->want[n] != t)
                fail_msg("seed %llu: %s: firing %zu is %s, the model has %lld (of %zu)", (unsigned long long)seed, m->id, n,
                         ts->fired[k].schedule_time, n < m->n ? (long long)(m->want[n] / NS_PER_S) : -1, m->n);
            n++;
        }
        if (n != m->n)
            fail_msg("seed %llu: %s: %zu firings, the model has %zu", (unsigned long long)seed, m->id, n, m->n);
    }
}

static void create(struct ts *ts, const char *id, const char *schedule, const char *more)
{
    ts_call(ts, ERR_OK, "CreateJob",
            "{\"parent\":\"" L "\",\"job\":{\"name\":\"" L
            "/jobs/%s\",\"schedule\":\"%s\",\"httpTarget\":{\"uri\":\"http://127.0.0.1:9/\"}%s}}",
            id, schedule, more);
}

static void as_the_model(uint64_t seed)
{
    struct ts ts;
    struct rng rng;
    rng_seed(&rng, seed);
    ts_start(&ts);
    ts.answer = 200;
    for (size_t i = 0; i < ARRAY_LEN(model_jobs); i++) {
        struct model_job *m = &model_jobs[i];
        m->n = 0;
        m->last = ts.fe.clock.wall_ns;
        create(&ts, m->id, m->schedule, "");
        ts_call(&ts, ERR_OK, "Schedules/UpdateJobPolicy", "{\"policy\":{\"name\":\"" L "/jobs/%s\",\"missed\":\"%s\",\"missedLimit\":%d}}",
                m->id, m->missed, m->limit);
    }
    for (int i = 0; i < EVENTS; i++) {
        int64_t by = (int64_t)rng_below(&rng, (uint64_t)(rng_chance(&rng, 0.2)   ? 3 * DAY
                                                         : rng_chance(&rng, 0.5) ? 2 * HOUR
                                                                                 : 30 * NS_PER_S));
        switch (rng_below(&rng, 5)) {
        case 0:
            ts_crash_later(&ts, by);
            each(model_look, ts.fe.clock.wall_ns);
            break;
        case 1:
        case 2: /* the clock is set, and somebody tells */
            ts_wall(&ts, ts.fe.clock.wall_ns + (rng_chance(&rng, 0.5) ? by : -by));
            schedules_clock_jumped(ts.s);
            ts_run(&ts);
            each(model_look, ts.fe.clock.wall_ns);
            break;
        default:
            ts_advance(&ts, by);
            each(model_run, ts.fe.clock.wall_ns);
        }
    }
    compare(&ts, seed);
    ts_stop(&ts);
}

/* ---- slow targets, retries, kills anywhere: what must always hold ---- */

struct ended { /* a firing whose end is in the records for certain */
    char job[TS_JOB_MAX], schedule_time[64];
};
static struct ended ended[FIRINGS_MAX];
static size_t n_ended;
static int64_t failed_ns; /* when the store last refused, monotonic */

static void check_new(const struct ts *ts, size_t from, uint64_t seed)
{
    for (size_t i = from; i < ts->n_fired; i++)
        for (size_t k = n_ended > 300 ? n_ended - 300 : 0; k < n_ended; k++)
            if (strcmp(ended[k].job, ts->fired[i].job) == 0 && strcmp(ended[k].schedule_time, ts->fired[i].schedule_time) == 0)
                fail_msg("seed %llu: %s of %s had ended, and fired again", (unsigned long long)seed, ended[k].schedule_time, ended[k].job);
    for (size_t i = 0; i < ts->n_open; i++) /* only the job that allows it runs beside itself */
        for (size_t k = i + 1; k < ts->n_open; k++)
            if (strcmp(ts->open[i]->job->name, ts->open[k]->job->name) == 0 && !strstr(ts->open[i]->job->name, "allow"))
                fail_msg("seed %llu: %s runs twice at once", (unsigned long long)seed, ts->open[i]->job->name);
}

static void answer_one(struct ts *ts, struct rng *rng)
{
    static const int statuses[] = {200, 200, 204, 500, 503, 404, 0};
    int status = statuses[rng_below(rng, ARRAY_LEN(statuses))];
    struct ended e;
    if (!ts->n_open)
        return;
    snprintf(e.job, sizeof e.job, "%s", strrchr(ts->open[0]->job->name, '/') + 1);
    snprintf(e.schedule_time, sizeof e.schedule_time, "%s", ts->open[0]->schedule_time);
    ts_answer(ts, status);
    bool written = !ts->store_stands && !ts->store_fails &&
                   ts->fe.clock.mono_ns - failed_ns > 2 * NS_PER_S; /* what failed is tried again in a second */
    if (status >= 200 && status <= 299 && written && n_ended < FIRINGS_MAX)
        ended[n_ended++] = e;
}

static void what_holds(uint64_t seed)
{
    static const char *const overlap[] = {"FORBID", "ALLOW", "REPLACE"};
    static const char *const missed[] = {"SKIP", "ONCE", "ALL"};
    struct ts ts;
    struct rng rng;
    char id[32];
    rng_seed(&rng, seed);
    n_ended = 0;
    failed_ns = 0;
    ts_start(&ts);
    for (int i = 0; i < 9; i++) {
        snprintf(id, sizeof id, "%s%d", i / 3 == 1 ? "allow" : "job", i);
        create(&ts, id, i % 2 ? "*/3 * * * *" : "* * * * *", ",\"retryConfig\":{\"retryCount\":3,\"minBackoffDuration\":\"4s\"}");
        ts_call(&ts, ERR_OK, "Schedules/UpdateJobPolicy",
                "{\"policy\":{\"name\":\"" L "/jobs/%s\",\"overlap\":\"%s\",\"missed\":\"%s\",\"missedLimit\":7,\"jitter\":\"%ds\"}}", id,
                overlap[i / 3], missed[i % 3], i % 2 * 20);
    }
    for (int i = 0; i < EVENTS * 20; i++) {
        size_t from = ts.n_fired;
        if (ts.store_fails)
            failed_ns = ts.fe.clock.mono_ns;
        switch (rng_below(&rng, 12)) {
        case 0:
            if (rng_chance(&rng, 0.3))
                ts_crash_later(&ts, (int64_t)rng_below(&rng, (uint64_t)(10 * MINUTE)));
            break;
        case 1:
            if (rng_chance(&rng, 0.2)) {
                ts_wall(&ts, ts.fe.clock.wall_ns + ((int64_t)rng_below(&rng, (uint64_t)(2 * HOUR)) - HOUR));
                if (rng_chance(&rng, 0.5))
                    schedules_clock_jumped(ts.s);
            }
            break;
        case 2: /* it is killed in the middle of something soon */
            if (!ts.store_stands && rng_chance(&rng, 0.3))
                ts.store_stops_after = ts.store_steps + 1 + rng_below(&rng, 5);
            else if (ts.store_stands)
                ts_crash(&ts);
            break;
        case 3:
            ts.store_fails = rng_chance(&rng, 0.1) ? ERR_RESOURCE_EXHAUSTED : ERR_OK;
            break;
        case 4:
        case 5:
        case 6:
            answer_one(&ts, &rng);
            break;
        default:
            ts_advance(&ts, (int64_t)rng_below(&rng, (uint64_t)(40 * NS_PER_S)));
        }
        check_new(&ts, from, seed);
    }
    ts.store_fails = ERR_OK;
    ts_crash(&ts);
    while (ts.n_open) /* nothing is stuck: all of them come to an end, and fire again */
        ts_answer(&ts, 200);
    ts.answer = 200;
    ts_wall(&ts, ts.fe.clock.wall_ns + DAY);
    ts_advance(&ts, 4 * MINUTE);
    size_t before = ts.n_fired;
    ts_advance(&ts, 4 * MINUTE);
    for (int i = 0; i < 9; i++) {
        snprintf(id, sizeof id, "%s%d", i / 3 == 1 ? "allow" : "job", i);
        bool fired = false;
        for (size_t k = before; k < ts.n_fired; k++)
            fired |= strcmp(ts.fired[k].job, id) == 0;
        if (!fired)
            fail_msg("seed %llu: %s does not fire any more", (unsigned long long)seed, id);
    }
    ts_stop(&ts);
}

static void seeds(void (*fn)(uint64_t seed))
{
    const char *one = getenv("RUNNEL_SIM_SEED"), *many = getenv("RUNNEL_SIM_SEEDS");
    uint64_t from = one ? strtoull(one, NULL, 10) : 1, n = one ? 1 : many ? strtoull(many, NULL, 10) : SEEDS_DEFAULT;
    for (uint64_t seed = from; seed < from + n; seed++)
        fn(seed);
}

static void fires_as_the_model(void **state) { seeds(as_the_model); }
static void always_holds(void **state) { seeds(what_holds); }

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(fires_as_the_model), cmocka_unit_test(always_holds)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

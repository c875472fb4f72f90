/** test_autoscaler.c: how many instances, and why: a table of situations, stories over time, and properties that hold by chance. */
#include "tests/support/unit.h"

#include "core/base/random.h"
#include "core/scale/autoscaler.h"

#include <math.h>

#define START_NS (INT64_C(1000) * NS_PER_S)
#define TICK_NS (2 * NS_PER_S)

static struct scaler_config config_of(double target, uint32_t min, uint32_t max)
{
    struct scaler_config c;
    scaler_config_default(&c);
    c.target_per_instance = target;
    c.min = min;
    c.max = max;
    return c;
}

/* The same sample every 100 ms for `ns`. */
static int64_t hold(struct scaler *s, int64_t now_ns, int64_t ns, struct scaler_sample m)
{
    for (int64_t end_ns = now_ns + ns; now_ns < end_ns; now_ns += 100 * NS_PER_MS)
        scaler_observe(s, now_ns, &m);
    return now_ns;
}

static const struct {
    const char *name;
    struct scaler_sample past; /* held for 60 s */
    struct scaler_sample now;
    struct scaler_state have;
    double target;
    uint32_t min, max;
    uint32_t want;
    bool panic;
    const char *why; /* is in the reason */
} situations[] = {
    {"nothing ever", {0}, {0}, {0, 0, 100}, 5, 0, 10, 0, false, "no request"},
    {"the minimum without a request", {0}, {0}, {0, 0, 100}, 5, 2, 10, 2, false, "at the minimum of 2"},
    {"a steady load",
     {.running = 12},
     {.running = 12},
     {3, 0, 100},
     5,
     0,
     10,
     3,
     false,
     "12.0 requests at once over 60 s need 3 of 5 each"},
    {"a start under way is told", {.running = 12}, {.running = 12}, {2, 1, 100}, 5, 0, 10, 3, false, "need 3 of 5 each; 1 starting"},
    {"exactly full is not too small", {.running = 15}, {.running = 15}, {3, 0, 100}, 5, 0, 10, 3, false, "need 3"},
    {"more than the maximum", {.running = 100}, {.running = 100}, {10, 0, 100}, 5, 0, 10, 10, true, "at the maximum of 10"},
    {"more than the host holds", {.running = 30}, {.running = 30}, {4, 0, 1}, 5, 0, 10, 5, false, "the host holds only 5"},
    {"the minimum does not fit on the host", {0}, {0}, {1, 0, 2}, 5, 8, 10, 3, false, "the host holds only 3"},
    {"the maximum wins over the minimum", {0}, {0}, {0, 0, 100}, 5, 8, 3, 3, false, "at the maximum of 3"},
    {"from zero, one who waits is enough",
     {0},
     {.waiting = 1},
     {0, 0, 100},
     56,
     0,
     10,
     1,
     false,
     "0 running and 1 waiting requests need 1 of 56 each"},
    {"from zero, many who wait and unknown latency",
     {0},
     {.waiting = 200},
     {0, 0, 100},
     5,
     0,
     100,
     40,
     true,
     "a rush: 0 running and 200 waiting"},
    {"from zero, many who wait but are served fast",
     {0},
     {.waiting = 200, .latency_s = 0.05},
     {0, 0, 100},
     5,
     0,
     100,
     2,
     true,
     "need 2 of 5"},
    {"from zero, one message and unknown latency",
     {0},
     {.backlog = 1},
     {0, 0, 100},
     5,
     0,
     100,
     1,
     false,
     "1 waiting messages, latency unknown, need 1"},
    {"from zero, a backlog of unknown latency starts one to learn",
     {0},
     {.backlog = 1000},
     {0, 0, 100},
     5,
     0,
     100,
     1,
     false,
     "latency unknown"},
    {"a backlog of known latency scales before it is requests",
     {0},
     {.backlog = 1000, .latency_s = 0.5},
     {1, 0, 100},
     5,
     0,
     100,
     10,
     true,
     "1000 waiting messages of 0.5 s each need 10 of 5 each"},
    {"a backlog never needs more than a slot a message",
     {0},
     {.backlog = 10, .latency_s = 100},
     {0, 0, 100},
     1,
     0,
     100,
     10,
     true,
     "need 10 of 1 each"},
    {"arrivals times latency come before the average",
     {.running = 1},
     {.running = 5, .arrivals_per_s = 40, .latency_s = 0.5},
     {3, 0, 100},
     5,
     0,
     100,
     4,
     false,
     "40 requests/s of 0.5 s each need 4 of 5 each"},
    {"going down by half at most", {.running = 1}, {.running = 1}, {10, 0, 100}, 5, 0, 100, 5, false, "going down to 5 first"},
    {"not down when what is left would be nearly full",
     {.running = 10},
     {.running = 10},
     {3, 0, 100},
     5,
     0,
     100,
     3,
     false,
     "3 kept, 2 would be nearly full"},
    {"down when there is room", {.running = 9}, {.running = 9}, {3, 0, 100}, 5, 0, 100, 2, false, "need 2"},
    {"quiet for a moment, the last one stays",
     {0},
     {0},
     {1, 0, 100},
     5,
     0,
     100,
     1,
     false,
     "no request for 60 s, the last one is kept for 15 min"},
    {"no sense in the target", {.running = 3}, {.running = 3}, {3, 0, 100}, -1, 0, 10, 10, true, "at the maximum"},
    {"no sense in the rates",
     {.running = 3},
     {.running = 3, .arrivals_per_s = INFINITY, .latency_s = NAN},
     {1, 0, 100},
     5,
     0,
     10,
     1,
     false,
     "need 1"},
};

static void a_situation_gives_a_number_and_a_reason(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(situations); i++) {
        struct scaler s;
        struct scaler_config c = config_of(situations[i].target, situations[i].min, situations[i].max);
        struct scaler_decision d;
        scaler_init(&s, START_NS);
        int64_t now_ns = hold(&s, START_NS, 60 * NS_PER_S, situations[i].past);
        scaler_decide(&s, &c, now_ns, &situations[i].now, &situations[i].have, &d);
        if (!strstr(d.why, situations[i].why))
            fail_msg("case \"%s\": the reason is \"%s\", wanted \"%s\" in it", situations[i].name, d.why, situations[i].why);
        CASE_INT(situations[i].name, d.want, situations[i].want);
        CASE_INT(situations[i].name, d.panicking, situations[i].panic);
    }
}

static void the_default_is_what_the_header_says(void **state)
{
    struct scaler_config c;
    scaler_config_default(&c);
    assert_true(fabs(c.target_per_instance - 56) < 1e-9);
    assert_int_equal(c.min, 0);
    assert_int_equal(c.max, 100);
    assert_int_equal(c.stable_ns, 60 * NS_PER_S);
    assert_int_equal(c.panic_ns, 6 * NS_PER_S);
    assert_int_equal(c.idle_ns, 900 * NS_PER_S);
}

/* An executor that does at once what it is told. */
struct world {
    struct scaler s;
    struct scaler_config c;
    int64_t now_ns;
    struct scaler_state have;
    struct scaler_decision d;
};

static void tick(struct world *w, struct scaler_sample m)
{
    w->now_ns += TICK_NS;
    scaler_decide(&w->s, &w->c, w->now_ns, &m, &w->have, &w->d);
    uint32_t have = w->have.ready + w->have.starting;
    w->have.ready = w->d.want < have ? (w->d.want < w->have.ready ? w->d.want : w->have.ready) : have;
    w->have.starting = w->d.want > w->have.ready ? w->d.want - w->have.ready : 0; /* ready by the next tick */
}

static struct world world_of(struct scaler_config c)
{
    struct world w = {.c = c, .now_ns = START_NS, .have = {.host_room = 1000}};
    scaler_init(&w.s, START_NS);
    return w;
}

static void zero_only_after_the_idle_time(void **state)
{
    static const struct {
        const char *name;
        int64_t idle_ns;
    } rows[] = {{"shorter than the window", 10 * NS_PER_S}, {"as long", 60 * NS_PER_S}, {"much longer", 900 * NS_PER_S}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct world w = world_of(config_of(5, 0, 10));
        w.c.idle_ns = rows[i].idle_ns;
        for (int n = 0; n < 60; n++)
            tick(&w, (struct scaler_sample){.running = 8});
        CASE_INT(rows[i].name, w.d.want, 2);
        int64_t last_ns = w.now_ns;
        do {
            tick(&w, (struct scaler_sample){0});
            CASE_TRUE(rows[i].name, (w.d.want == 0) == (w.now_ns - last_ns >= rows[i].idle_ns));
        } while (w.d.want);
        CASE_TRUE(rows[i].name, strncmp(w.d.why, "no request for ", 15) == 0);
        for (int n = 0; n < 100; n++) { /* and what the averages remember brings nothing back */
            tick(&w, (struct scaler_sample){0});
            CASE_INT(rows[i].name, w.d.want, 0);
        }
    }
}

static void a_constant_load_does_not_flap(void **state)
{
    struct rng r;
    rng_seed(&r, 1);
    for (uint32_t load = 1; load < 200; load += 7) {
        struct world w = world_of(config_of(5, 0, 1000));
        uint32_t settled = 0;
        for (int n = 0; n < 300; n++) {
            double noise = 0.96 + rng_double(&r) * 0.08;
            tick(&w, (struct scaler_sample){.running = load, .arrivals_per_s = load * 10 * noise, .latency_s = 0.1});
            if (n == 100)
                settled = w.d.want;
            else if (n > 100)
                assert_true(w.d.want >= settled && w.d.want <= settled + 1); /* noise may find the next number once */
            if (n > 100 && w.d.want > settled)
                settled = w.d.want;
        }
        assert_true(settled * 5 >= load && settled <= load * 1.04 * (1 + SCALER_DOWN_MARGIN) / 5 + 1);
    }
}

static void a_rush_raises_at_once_and_is_held_for_the_window(void **state)
{
    struct world w = world_of(config_of(5, 0, 1000));
    for (int n = 0; n < 60; n++)
        tick(&w, (struct scaler_sample){.running = 5});
    assert_int_equal(w.d.want, 1);
    assert_false(w.d.panicking);
    tick(&w, (struct scaler_sample){.running = 5, .waiting = 45});
    assert_int_equal(w.d.want, 10);
    assert_true(w.d.panicking);
    int64_t since_ns = w.now_ns;
    while (w.d.panicking) {
        tick(&w, (struct scaler_sample){.running = 5});
        assert_true(!w.d.panicking || w.d.want == 10);
    }
    assert_true(w.now_ns - since_ns > 60 * NS_PER_S && w.now_ns - since_ns < 80 * NS_PER_S);
    for (int n = 0; n < 40; n++)
        tick(&w, (struct scaler_sample){.running = 5});
    assert_true(w.d.want <= 2);
}

static void a_queue_at_a_cold_start_does_not_start_a_crowd(void **state)
{
    struct world w = world_of(config_of(0.7, 0, 1000));
    /* 100 a second of 50 ms are 5 at once: 8 instances; they wait for 4 s of start-up. */
    for (uint32_t waiting = 0; waiting <= 400; waiting += 100) {
        tick(&w, (struct scaler_sample){.waiting = waiting, .arrivals_per_s = 100, .latency_s = 0.05});
        w.have.starting += w.have.ready;
        w.have.ready = 0;
    }
    assert_true(w.d.want >= 8 && w.d.want <= 30);
}

static void a_long_gap_counts_as_the_last_sample_held(void **state)
{
    struct scaler s;
    struct scaler_config c = config_of(5, 0, 100);
    struct scaler_decision d;
    scaler_init(&s, START_NS);
    scaler_observe(&s, START_NS, &(struct scaler_sample){.running = 20});
    scaler_decide(&s, &c, START_NS + 7200 * NS_PER_S, &(struct scaler_sample){.running = 20}, &(struct scaler_state){4, 0, 100}, &d);
    assert_int_equal(d.want, 4);
    assert_non_null(strstr(d.why, "20.0 requests at once"));
    /* Time that runs backwards is no time. */
    scaler_decide(&s, &c, START_NS, &(struct scaler_sample){.running = 20}, &(struct scaler_state){4, 0, 100}, &d);
    assert_int_equal(d.want, 4);
}

static void the_average_is_weighted_by_time(void **state)
{
    struct scaler s;
    struct scaler_config c = config_of(1, 0, 100);
    struct scaler_decision d;
    scaler_init(&s, START_NS);
    int64_t now_ns = START_NS;
    for (int i = 0; i < 60; i++) { /* 40 for a quarter of each second: 10 on average */
        scaler_observe(&s, now_ns, &(struct scaler_sample){.running = 40});
        scaler_observe(&s, now_ns + NS_PER_S / 4, &(struct scaler_sample){0});
        now_ns += NS_PER_S;
    }
    scaler_decide(&s, &c, now_ns, &(struct scaler_sample){0}, &(struct scaler_state){10, 0, 100}, &d);
    assert_non_null(strstr(d.why, "10.0 requests at once over 60 s need 10 of 1 each"));
    assert_int_equal(d.want, 10);
}

static struct scaler_sample random_sample(struct rng *r)
{
    struct scaler_sample m = {0};
    if (rng_chance(r, 0.3))
        return m;
    m.running = (uint32_t)rng_below(r, rng_chance(r, 0.1) ? UINT32_MAX : 100);
    m.waiting = rng_chance(r, 0.3) ? (uint32_t)rng_below(r, 500) : 0;
    m.backlog = rng_chance(r, 0.2) ? (uint32_t)rng_below(r, rng_chance(r, 0.1) ? UINT32_MAX : 5000) : 0;
    m.arrivals_per_s = rng_chance(r, 0.5) ? rng_double(r) * 1000 : 0;
    m.latency_s = rng_chance(r, 0.7) ? rng_double(r) * 3 : 0;
    return m;
}

static void check(const struct scaler_config *c, const struct scaler_sample *m, const struct scaler_state *have,
                  const struct scaler_decision *d, const struct scaler_decision *before, uint64_t seed)
{
    uint64_t host = (uint64_t)have->ready + have->starting + have->host_room;
    bool demand = m->running || m->waiting || m->backlog;
    const char *broken = NULL;
    if (d->want > c->max || d->want > host)
        broken = "above the maximum or the host";
    else if (d->want < c->min && c->min <= c->max && c->min <= host)
        broken = "below the minimum";
    else if (demand && d->want == 0 && c->max > 0 && host > 0)
        broken = "none though somebody waits";
    else if (before->panicking && d->panicking && d->want < before->want && d->want < host)
        broken = "down in a rush";
    else if (!d->why[0] || strlen(d->why) >= SCALER_WHY_MAX)
        broken = "no reason";
    if (broken)
        fail_msg("seed %" PRIu64 ": %s: want %u of %u..%u, why \"%s\"", seed, broken, d->want, c->min, c->max, d->why);
}

static void promises_hold_for_any_history(void **state)
{
    for (uint64_t seed = 1; seed <= 500; seed++) {
        struct rng r;
        rng_seed(&r, seed);
        struct scaler_config c = config_of(0.1 + rng_double(&r) * 80, (uint32_t)rng_below(&r, 3), (uint32_t)rng_below(&r, 50));
        c.idle_ns = (int64_t)rng_below(&r, 900) * NS_PER_S;
        struct world w = world_of(c);
        w.have.host_room = (uint32_t)rng_below(&r, 60);
        struct scaler_sample m = {0};
        for (int n = 0; n < 200; n++) {
            if (rng_chance(&r, 0.2))
                m = random_sample(&r);
            struct scaler_decision before = w.d;
            struct scaler_state have = w.have;
            w.now_ns += (int64_t)rng_below(&r, (uint64_t)(10 * NS_PER_S));
            scaler_decide(&w.s, &w.c, w.now_ns, &m, &have, &w.d);
            check(&w.c, &m, &have, &w.d, &before, seed);
            uint32_t total = w.have.ready + w.have.starting + w.have.host_room;
            w.have.ready = w.d.want < have.ready ? w.d.want : have.ready + (uint32_t)rng_below(&r, (uint64_t)(w.d.want - have.ready) + 1);
            w.have.starting = w.d.want - w.have.ready;
            w.have.host_room = total - w.d.want;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_situation_gives_a_number_and_a_reason),
        cmocka_unit_test(the_default_is_what_the_header_says),
        cmocka_unit_test(zero_only_after_the_idle_time),
        cmocka_unit_test(a_constant_load_does_not_flap),
        cmocka_unit_test(a_rush_raises_at_once_and_is_held_for_the_window),
        cmocka_unit_test(a_queue_at_a_cold_start_does_not_start_a_crowd),
        cmocka_unit_test(a_long_gap_counts_as_the_last_sample_held),
        cmocka_unit_test(the_average_is_weighted_by_time),
        cmocka_unit_test(promises_hold_for_any_history),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

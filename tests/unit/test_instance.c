/** test_instance.c: the state table of an instance, pair by pair, and its life with a program that behaves as told. */
#include "tests/support/unit.h"
#include "tests/support/support_executor.h"

#include "executor/instance.h"

#include <stdio.h>

static const uint8_t legal[INSTANCE_N][INSTANCE_N] = {
    /* to:               STARTING PROBING READY DRAINING STOPPING GONE */
    [INSTANCE_STARTING] = {0, 1, 0, 0, 1, 1}, [INSTANCE_PROBING] = {0, 0, 1, 0, 1, 1},  [INSTANCE_READY] = {0, 0, 0, 1, 1, 1},
    [INSTANCE_DRAINING] = {0, 0, 1, 0, 1, 1}, [INSTANCE_STOPPING] = {0, 0, 0, 0, 0, 1}, [INSTANCE_GONE] = {0, 0, 0, 0, 0, 0},
};

static void test_every_pair_of_states(void **state)
{
    for (int from = 0; from < INSTANCE_N; from++)
        for (int to = 0; to < INSTANCE_N; to++)
            if (instance_may_move((enum instance_state)from, (enum instance_state)to) != legal[from][to])
                fail_msg("%s -> %s", instance_state_name((enum instance_state)from), instance_state_name((enum instance_state)to));
}

static struct fake_env fe;
static struct mailbox *engine;
static struct fake_runtime rt;
static struct fake_prober prober;
static struct pool *pool;
static struct instance_plan plan;
static char path[200];
static int ready, gone, healthy;

static void on_ready(void *arg, struct instance *i) { ready++; }
static void on_healthy(void *arg, struct instance *i, int64_t ns) { healthy++; }
static void on_line(void *arg, struct instance *i, bool is_stderr, struct str line, int64_t wall_ns) {}
static void on_gone(void *arg, struct instance *i) { gone++; }
static void on_state(void *arg, struct instance *i, enum instance_state from)
{
    size_t n = strlen(path);
    snprintf(path + n, sizeof path - n, "%s%s", n ? " " : "", instance_state_name(i->state));
}
static const struct instance_events events = {on_ready, on_healthy, on_line, on_gone, on_state};

static int setup(void **state)
{
    struct err e;
    support_env(&fe);
    engine = mailbox_new(100, NULL, NULL);
    fake_runtime_init(&rt, &fe.env);
    fake_prober_init(&prober, &rt);
    pool = pool_new(&fe.env, 2, 2, engine, &e);
    static const char *const none[] = {NULL};
    plan = (struct instance_plan){.env = &fe.env,
                                  .runtime = &rt.base,
                                  .prober = &prober.base,
                                  .pool = pool,
                                  .events = &events,
                                  .spec = {.image = "exec:///x", .argv = none, .env = none, .wants_port = true},
                                  .timeout_ns = 30 * NS_PER_S};
    instance_plan_default(&plan);
    path[0] = '\0';
    ready = gone = healthy = 0;
    return engine && pool ? 0 : -1;
}

static int teardown(void **state)
{
    mailbox_deliver(engine);
    pool_unref(pool);
    mailbox_free(engine);
    support_env_fini(&fe);
    return 0;
}

static struct instance *start(void)
{
    struct err e;
    struct instance *i = instance_start(&plan, &e);
    assert_non_null(i);
    assert_int_equal(i->state, INSTANCE_STARTING);
    return i;
}

static void test_a_quick_program_is_ready_within_a_millisecond(void **state)
{
    rt.behaviour = (struct fake_behaviour){.start_ns = 0, .listens_ns = 100 * NS_PER_US, .exits_ns = NEVER};
    struct instance *i = start();
    fake_env_advance(&fe, NS_PER_MS);
    assert_int_equal(i->state, INSTANCE_READY);
    assert_int_equal(ready, 1);
    instance_stop(i);
    fake_env_advance(&fe, NS_PER_S);
    assert_string_equal(path, "probing ready stopping gone");
    instance_free(i);
}

static void test_a_slow_one_is_asked_at_growing_distances(void **state)
{
    rt.behaviour.listens_ns = 10 * NS_PER_S;
    struct instance *i = start();
    fake_env_advance(&fe, 9 * NS_PER_S);
    assert_int_equal(i->state, INSTANCE_PROBING);
    assert_in_range(prober.probes, 90, 110);
    fake_env_advance(&fe, 2 * NS_PER_S);
    assert_int_equal(i->state, INSTANCE_READY);
    fake_env_advance(&fe, 61 * NS_PER_S);
    assert_int_equal(healthy, 2);
    instance_stop(i);
    fake_env_advance(&fe, NS_PER_S);
    instance_free(i);
}

static void test_how_an_instance_goes(void **state)
{
    static const struct {
        const char *name;
        struct fake_behaviour b;
        int64_t run_ns;
        char act; /* d drain, s stop, - nothing */
        int64_t then_ns;
        const char *path, *why;
        bool asked;
    } cases[] = {
        {"it cannot be executed",
         {.cannot_execute = true},
         NS_PER_S,
         '-',
         0,
         "gone",
         "it could not be started: it could not be executed",
         false},
        {"it ends while it is probed",
         {.listens_ns = NEVER, .exits_ns = NS_PER_S, .exit_code = 2, .says = "bad"},
         2 * NS_PER_S,
         '-',
         0,
         "probing gone",
         "it exited with code 2; its last line on stderr: bad",
         false},
        {"it never listens",
         {.listens_ns = NEVER, .exits_ns = NEVER},
         241 * NS_PER_S,
         '-',
         0,
         "probing stopping gone",
         "it did not listen on PORT=20000 within 240 s",
         false},
        {"it ends while it serves",
         {.listens_ns = 0, .exits_ns = NS_PER_S},
         2 * NS_PER_S,
         '-',
         0,
         "probing ready gone",
         "it exited with code 0",
         false},
        {"it is stopped before it ran",
         {.start_ns = NS_PER_S, .listens_ns = 0, .exits_ns = NEVER},
         0,
         's',
         2 * NS_PER_S,
         "stopping gone",
         "it could not be started: ended by signal 15",
         true},
        {"draining before it is ready is stopping",
         {.listens_ns = NEVER, .exits_ns = NEVER},
         NS_PER_S,
         'd',
         NS_PER_S,
         "probing stopping gone",
         "it ended by signal 15",
         true},
        {"draining with nothing in flight is short",
         {.listens_ns = 0, .exits_ns = NEVER},
         NS_PER_S,
         'd',
         NS_PER_S,
         "probing ready draining stopping gone",
         "it ended by signal 15",
         true},
        {"who ignores SIGTERM is killed after 10 s",
         {.listens_ns = 0, .exits_ns = NEVER, .ignores_term = true},
         NS_PER_S,
         's',
         11 * NS_PER_S,
         "probing ready stopping gone",
         "it ended by signal 9",
         true},
    };
    for (size_t k = 0; k < ARRAY_LEN(cases); k++) {
        char why[400];
        if (k)
            setup(state);
        rt.behaviour = cases[k].b;
        struct instance *i = start();
        fake_env_advance(&fe, cases[k].run_ns);
        if (cases[k].act == 'd')
            instance_drain(i);
        else if (cases[k].act == 's')
            instance_stop(i);
        fake_env_advance(&fe, cases[k].then_ns);
        CASE_STR(cases[k].name, path, cases[k].path);
        instance_why(i, why, sizeof why);
        CASE_STR(cases[k].name, why, cases[k].why);
        CASE_INT(cases[k].name, i->asked, cases[k].asked);
        CASE_INT(cases[k].name, gone, 1);
        CASE_TRUE(cases[k].name, instance_settled(i));
        instance_free(i);
        CASE_INT(cases[k].name, timers_next_ns(fe.env.timers), TIMER_NEVER);
        if (k + 1 < ARRAY_LEN(cases))
            teardown(state);
    }
}

static void test_draining_waits_for_requests_but_not_for_ever(void **state)
{
    for (int ends = 0; ends < 2; ends++) {
        struct pool_grant g;
        struct instance *i = start();
        fake_env_advance(&fe, NS_PER_S);
        assert_true(pool_acquire(pool, &g));
        instance_drain(i);
        fake_env_advance(&fe, 29 * NS_PER_S);
        assert_int_equal(i->state, INSTANCE_DRAINING);
        if (ends) {
            pool_release(&g, 0);
            instance_emptied(i);
        }
        fake_env_advance(&fe, 2 * NS_PER_S);
        assert_int_equal(i->state, INSTANCE_GONE);
        assert_int_equal(instance_settled(i), ends);
        if (!ends)
            pool_release(&g, 0); /* its connection broke with the program */
        assert_true(instance_settled(i));
        instance_free(i);
    }
}

static void test_a_draining_one_comes_back_into_service(void **state)
{
    struct pool_grant g, h;
    struct instance *i = start();
    fake_env_advance(&fe, NS_PER_S);
    assert_true(pool_acquire(pool, &g));
    instance_return(i); /* of no consequence: it serves */
    instance_drain(i);
    assert_false(pool_acquire(pool, &h));
    instance_return(i);
    assert_string_equal(path, "probing ready draining ready");
    assert_int_equal(slot_in_flight(i->slot), 1);
    assert_true(pool_acquire(pool, &h));
    assert_int_equal(h.generation, g.generation);
    pool_release(&g, 0);
    pool_release(&h, 0);
    instance_emptied(i);
    fake_env_advance(&fe, 60 * NS_PER_S);
    assert_int_equal(i->state, INSTANCE_READY); /* the draining's end is forgotten */
    assert_int_equal(healthy, 2);               /* at 10 s and at 60 s since it was ready */
    assert_false(i->asked);
    instance_stop(i);
    fake_env_advance(&fe, NS_PER_S);
    instance_return(i);
    assert_int_equal(i->state, INSTANCE_GONE);
    instance_free(i);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_pair_of_states),
        CASE(test_a_quick_program_is_ready_within_a_millisecond),
        CASE(test_a_slow_one_is_asked_at_growing_distances),
        CASE(test_how_an_instance_goes),
        CASE(test_draining_waits_for_requests_but_not_for_ever),
        CASE(test_a_draining_one_comes_back_into_service),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

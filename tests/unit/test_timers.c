/** test_timers.c: order, two-phase firing, and what callbacks may do to other timers of the same run. */
#include "tests/support/unit.h"

#include "core/base/timers.h"

#include <stdio.h>

/* A timer that writes its name down and may then do something to another. */
struct probe {
    struct timer timer;
    char name;
    struct script *script;
    void (*also)(struct probe *self, int64_t now_ns);
    struct probe *other;
};
struct script {
    struct timers *timers;
    struct probe probes[26];
    char fired[256];
    size_t count;
};

static void on_probe(struct timer *t, int64_t now_ns)
{
    struct probe *p = CONTAINER_OF(t, struct probe, timer);
    assert_false(timer_armed(t));
    assert_true(p->script->count < sizeof p->script->fired - 1);
    p->script->fired[p->script->count++] = p->name;
    if (p->also)
        p->also(p, now_ns);
}

static void script_init(struct script *s)
{
    *s = (struct script){.timers = timers_new()};
    for (int i = 0; i < 26; i++) {
        s->probes[i] = (struct probe){.name = (char)('a' + i), .script = s};
        timer_init(&s->probes[i].timer, on_probe);
    }
}

static void arm(struct script *s, char name, int64_t due_ns)
{
    assert_int_equal(timer_set(s->timers, &s->probes[name - 'a'].timer, due_ns, NULL), 0);
}

static void cancel(struct script *s, char name) { timer_cancel(s->timers, &s->probes[name - 'a'].timer); }

static const char *run(struct script *s, int64_t now_ns)
{
    s->count = 0;
    size_t fired = timers_run(s->timers, now_ns);
    assert_int_equal(fired, s->count);
    s->fired[s->count] = '\0';
    return s->fired;
}

static void cancel_other(struct probe *p, int64_t now_ns) { timer_cancel(p->script->timers, &p->other->timer); }
static void arm_other_now(struct probe *p, int64_t now_ns)
{
    assert_int_equal(timer_set(p->script->timers, &p->other->timer, now_ns, NULL), 0);
}
static void arm_other_later(struct probe *p, int64_t now_ns)
{
    assert_int_equal(timer_set(p->script->timers, &p->other->timer, now_ns + 10, NULL), 0);
}
static void arm_other_in_the_past(struct probe *p, int64_t now_ns)
{
    assert_int_equal(timer_set(p->script->timers, &p->other->timer, now_ns - 100, NULL), 0);
}

static void does(struct script *s, char name, void (*also)(struct probe *, int64_t), char other)
{
    s->probes[name - 'a'].also = also;
    s->probes[name - 'a'].other = &s->probes[other - 'a'];
}

static void they_fire_by_deadline_then_by_when_they_were_set(void **state)
{
    struct script s;
    script_init(&s);
    assert_int_equal(timers_next_ns(s.timers), TIMER_NEVER);
    arm(&s, 'c', 30);
    arm(&s, 'a', 10);
    arm(&s, 'b', 20);
    arm(&s, 'd', 20);
    arm(&s, 'e', 10);
    assert_int_equal(timers_next_ns(s.timers), 10);
    assert_string_equal(run(&s, 9), "");
    assert_string_equal(run(&s, 20), "aebd");
    assert_int_equal(timers_next_ns(s.timers), 30);
    assert_string_equal(run(&s, 1000), "c");
    assert_string_equal(run(&s, 1000), "");
    timers_free(s.timers);
}

static void setting_again_moves_and_counts_as_newly_set(void **state)
{
    struct script s;
    script_init(&s);
    arm(&s, 'a', 10);
    arm(&s, 'b', 10);
    arm(&s, 'a', 10);
    assert_string_equal(run(&s, 10), "ba");
    arm(&s, 'a', 10);
    arm(&s, 'a', 50);
    assert_string_equal(run(&s, 49), "");
    arm(&s, 'a', 20);
    assert_string_equal(run(&s, 20), "a");
    timers_free(s.timers);
}

static void a_cancelled_timer_never_fires_and_may_be_set_again(void **state)
{
    struct script s;
    script_init(&s);
    arm(&s, 'a', 10);
    arm(&s, 'b', 10);
    cancel(&s, 'a');
    cancel(&s, 'a');
    assert_false(timer_armed(&s.probes[0].timer));
    assert_string_equal(run(&s, 10), "b");
    arm(&s, 'a', 10);
    assert_string_equal(run(&s, 10), "a");
    timers_free(s.timers);
}

static void a_timer_set_for_now_by_its_callback_waits_for_the_next_run(void **state)
{
    struct script s;
    script_init(&s);
    does(&s, 'a', arm_other_now, 'a');
    arm(&s, 'a', 10);
    arm(&s, 'b', 10);
    assert_string_equal(run(&s, 10), "ab");
    assert_int_equal(timers_next_ns(s.timers), 10);
    assert_string_equal(run(&s, 10), "a");
    does(&s, 'a', arm_other_in_the_past, 'a');
    assert_string_equal(run(&s, 10), "a");
    assert_string_equal(run(&s, 10), "a");
    cancel(&s, 'a');
    assert_string_equal(run(&s, 10), "");
    timers_free(s.timers);
}

static const struct {
    const char *name;
    void (*also)(struct probe *, int64_t);
    char who, other;
    const char *first, *second, *later;
} meddling[] = {
    {"cancelling one whose turn is to come", cancel_other, 'a', 'c', "ab", "", ""},
    {"cancelling one that has fired", cancel_other, 'b', 'a', "abc", "", ""},
    {"cancelling oneself", cancel_other, 'b', 'b', "abc", "", ""},
    {"moving one whose turn is to come to later", arm_other_later, 'a', 'c', "ab", "", "c"},
    {"setting one whose turn is to come to now", arm_other_now, 'a', 'b', "ac", "b", ""},
    {"setting one whose turn is to come to the past", arm_other_in_the_past, 'a', 'b', "ac", "b", ""},
    {"setting one that has fired to now", arm_other_now, 'c', 'a', "abc", "a", ""},
    {"setting one that was not armed to now", arm_other_now, 'a', 'z', "abc", "z", ""},
    {"cancelling one that is not due yet", cancel_other, 'a', 'y', "abc", "", ""},
};

static void callbacks_may_meddle_with_any_timer(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(meddling); i++) {
        struct script s;
        script_init(&s);
        does(&s, meddling[i].who, meddling[i].also, meddling[i].other);
        arm(&s, 'a', 10);
        arm(&s, 'b', 10);
        arm(&s, 'c', 10);
        if (meddling[i].other == 'y')
            arm(&s, 'y', 15);
        CASE_STR(meddling[i].name, run(&s, 10), meddling[i].first);
        s.probes[meddling[i].who - 'a'].also = NULL;
        CASE_STR(meddling[i].name, run(&s, 10), meddling[i].second);
        CASE_STR(meddling[i].name, run(&s, 20), meddling[i].later);
        CASE_INT(meddling[i].name, timers_next_ns(s.timers), TIMER_NEVER);
        timers_free(s.timers);
    }
}

/* A timer whose owner goes away when it fires. */
static void on_owned(struct timer *t, int64_t now_ns) { free(CONTAINER_OF(t, struct probe, timer)); }

static void a_callback_may_free_its_own_timer(void **state)
{
    struct timers *ts = timers_new();
    for (int i = 0; i < 100; i++) {
        struct probe *p = calloc(1, sizeof *p);
        timer_init(&p->timer, on_owned);
        assert_int_equal(timer_set(ts, &p->timer, i, NULL), 0);
    }
    assert_int_equal(timers_run(ts, 100), 100);
    timers_free(ts);
    timers_free(NULL);
}

#define SPAWNED 500
static struct timer spawned[SPAWNED];
static struct timers *spawn_into;
static size_t spawned_fired;
static void on_spawned(struct timer *t, int64_t now_ns) { spawned_fired++; }
static void on_spawner(struct timer *t, int64_t now_ns)
{
    for (int i = 0; i < SPAWNED; i++) {
        timer_init(&spawned[i], on_spawned);
        assert_int_equal(timer_set(spawn_into, &spawned[i], now_ns, NULL), 0);
    }
}

static void a_callback_may_set_more_timers_than_there_was_room_for(void **state)
{
    struct timer first, last;
    spawn_into = timers_new();
    spawned_fired = 0;
    timer_init(&first, on_spawner);
    timer_init(&last, on_spawned);
    assert_int_equal(timer_set(spawn_into, &first, 1, NULL), 0);
    assert_int_equal(timer_set(spawn_into, &last, 2, NULL), 0);
    assert_int_equal(timers_run(spawn_into, 5), 2);
    assert_int_equal(spawned_fired, 1);
    assert_int_equal(timers_run(spawn_into, 5), SPAWNED);
    timers_free(spawn_into);
}

#define CROWD 400
struct crowd {
    struct timer timer[CROWD];
    int64_t due_ns[CROWD]; /* -1: not armed */
    uint64_t seq[CROWD];
    uint64_t next_seq;
    int order[CROWD * 2];
    size_t fired;
};
static struct crowd crowd;
static void on_crowd(struct timer *t, int64_t now_ns) { crowd.order[crowd.fired++] = (int)(t - crowd.timer); }

/* The model: of those due, always the one with the least deadline and then the oldest setting. */
static void check_crowd_run(struct timers *ts, int64_t now_ns)
{
    crowd.fired = 0;
    timers_run(ts, now_ns);
    for (size_t i = 0; i < crowd.fired; i++) {
        int want = -1;
        for (int k = 0; k < CROWD; k++)
            if (crowd.due_ns[k] >= 0 && crowd.due_ns[k] <= now_ns &&
                (want < 0 || crowd.due_ns[k] < crowd.due_ns[want] ||
                 (crowd.due_ns[k] == crowd.due_ns[want] && crowd.seq[k] < crowd.seq[want])))
                want = k;
        assert_int_equal(crowd.order[i], want);
        crowd.due_ns[want] = -1;
    }
    int64_t next = TIMER_NEVER;
    for (int k = 0; k < CROWD; k++) {
        assert_true(crowd.due_ns[k] < 0 || crowd.due_ns[k] > now_ns);
        assert_int_equal(timer_armed(&crowd.timer[k]), crowd.due_ns[k] >= 0);
        if (crowd.due_ns[k] >= 0 && crowd.due_ns[k] < next)
            next = crowd.due_ns[k];
    }
    assert_int_equal(timers_next_ns(ts), next);
}

static void a_crowd_fires_as_a_plain_list_would(void **state)
{
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct rng r;
        rng_seed(&r, seed);
        struct timers *ts = timers_new();
        for (int k = 0; k < CROWD; k++) {
            timer_init(&crowd.timer[k], on_crowd);
            crowd.due_ns[k] = -1;
        }
        for (int64_t now = 0, step = 0; step < 6000; step++) {
            size_t k = rng_below(&r, CROWD);
            if (rng_chance(&r, 0.7)) {
                crowd.due_ns[k] = now + 1 + (int64_t)rng_below(&r, 60);
                crowd.seq[k] = crowd.next_seq++;
                assert_int_equal(timer_set(ts, &crowd.timer[k], crowd.due_ns[k], NULL), 0);
            } else {
                crowd.due_ns[k] = -1;
                timer_cancel(ts, &crowd.timer[k]);
            }
            if (rng_chance(&r, 0.1)) {
                now += (int64_t)rng_below(&r, 20);
                check_crowd_run(ts, now);
            }
        }
        check_crowd_run(ts, 1000000000);
        timers_free(ts);
    }
}

static void without_memory_the_timer_stays_as_it_was(void **state)
{
    support_fail_alloc(1);
    assert_null(timers_new());
    for (size_t nth = 1; nth <= 2; nth++) {
        struct timers *ts = timers_new();
        struct timer many[64], extra;
        for (int i = 0; i < 64; i++) {
            timer_init(&many[i], on_spawned);
            assert_int_equal(timer_set(ts, &many[i], i, NULL), 0);
        }
        timer_init(&extra, on_spawned);
        struct err e = {0};
        support_fail_alloc(nth);
        assert_int_equal(timer_set(ts, &extra, 5, &e), -ERR_RESOURCE_EXHAUSTED);
        assert_true(support_alloc_failed());
        assert_false(timer_armed(&extra));
        assert_int_equal(timer_set(ts, &many[3], 70, &e), 0); /* moving needs none */
        spawned_fired = 0;
        support_fail_alloc(1);
        assert_int_equal(timers_run(ts, 100), 64); /* nor does a run */
        assert_false(support_alloc_failed());
        assert_int_equal(timer_set(ts, &extra, 5, &e), 0);
        timers_free(ts);
    }
}

static void advancing_the_fake_env_stops_at_each_due_instant(void **state)
{
    struct fake_env fe;
    struct script s;
    support_env(&fe);
    script_init(&s);
    timers_free(s.timers);
    s.timers = fe.env.timers;
    int64_t start = env_now(&fe.env);
    does(&s, 'a', arm_other_later, 'b'); /* 10 ns after a fires */
    arm(&s, 'a', start + 100);
    arm(&s, 'c', start + 105);
    arm(&s, 'd', start + 200);
    assert_int_equal(fake_env_advance(&fe, 150), 3);
    s.fired[s.count] = '\0';
    assert_string_equal(s.fired, "acb");
    assert_int_equal(env_now(&fe.env), start + 150);
    assert_int_equal(fake_env_advance(&fe, 50), 1);
    support_env_fini(&fe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(they_fire_by_deadline_then_by_when_they_were_set),
        cmocka_unit_test(setting_again_moves_and_counts_as_newly_set),
        cmocka_unit_test(a_cancelled_timer_never_fires_and_may_be_set_again),
        cmocka_unit_test(a_timer_set_for_now_by_its_callback_waits_for_the_next_run),
        cmocka_unit_test(callbacks_may_meddle_with_any_timer),
        cmocka_unit_test(a_callback_may_free_its_own_timer),
        cmocka_unit_test(a_callback_may_set_more_timers_than_there_was_room_for),
        cmocka_unit_test(a_crowd_fires_as_a_plain_list_would),
        cmocka_unit_test(without_memory_the_timer_stays_as_it_was),
        cmocka_unit_test(advancing_the_fake_env_stops_at_each_due_instant),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

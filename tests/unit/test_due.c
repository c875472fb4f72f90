/** test_due.c: which firings are due, against a plain walk over all of them. */
#include "schedules/due.h"
#include "tests/support/unit.h"

#define AT(s) (FAKE_WALL_NS + (int64_t)(s)*NS_PER_S)

/* Every `arg` seconds; negative: only in the first minute of each hour, every -arg seconds. */
static int64_t every(const void *arg, int64_t after)
{
    int64_t step = *(const int64_t *)arg, s = after / NS_PER_S;
    if (step > 0)
        return (s / step + 1) * step * NS_PER_S;
    for (s++;; s++) {
        if (s % 3600 >= 60)
            s += 3600 - s % 3600;
        if (s % 3600 % -step == 0)
            return s * NS_PER_S;
    }
}

static struct due_policy policy(enum due_missed missed)
{
    return (struct due_policy){.missed = missed, .missed_max = DUE_MISSED_MAX, .end_wall_ns = DUE_NEVER, .seed = 7};
}

static void on_time(void **state)
{
    int64_t step = 60;
    struct due_calendar c = {every, &step};
    struct due_policy p = policy(DUE_ONCE);
    struct due_found f;
    due_find(&c, &p, AT(0), AT(60) - 1, &f);
    assert_int_equal(f.n_fresh + f.n_make_up, 0);
    assert_int_equal(f.last_wall_ns, AT(0));
    due_find(&c, &p, AT(0), AT(60), &f);
    assert_int_equal(f.n_fresh, 1);
    assert_int_equal(f.fresh[0], AT(60));
    assert_int_equal(f.last_wall_ns, AT(60));
    for (int m = DUE_SKIP; m <= DUE_ALL; m++) { /* ten seconds late is late, a nanosecond more is missed */
        p = policy((enum due_missed)m);
        due_find(&c, &p, AT(0), AT(60) + DUE_LATE_NS, &f);
        assert_int_equal(f.n_fresh, 1);
        due_find(&c, &p, AT(0), AT(60) + DUE_LATE_NS + 1, &f);
        assert_int_equal(f.n_fresh, 0);
        assert_int_equal(f.n_make_up, m != DUE_SKIP);
        assert_int_equal(f.skipped, m == DUE_SKIP);
        assert_int_equal(f.last_wall_ns, AT(60));
    }
}

static void missed(void **state)
{
    int64_t step = 60;
    struct due_calendar c = {every, &step};
    struct due_found f;
    struct due_policy p = policy(DUE_SKIP);
    due_find(&c, &p, AT(0), AT(3600) + 1, &f); /* the last one is on time */
    assert_int_equal(f.n_fresh, 1);
    assert_int_equal(f.fresh[0], AT(3600));
    assert_int_equal(f.skipped, 59);
    p = policy(DUE_ONCE);
    due_find(&c, &p, AT(0), AT(3600) + 1, &f);
    assert_int_equal(f.n_make_up, 1);
    assert_int_equal(f.n_fresh, 0);
    assert_int_equal(f.make_up[0], AT(3600));
    assert_int_equal(f.skipped, 59);
    p = policy(DUE_ALL);
    due_find(&c, &p, AT(0), AT(3600) + 1, &f);
    assert_int_equal(f.n_make_up, 60);
    assert_int_equal(f.make_up[0], AT(60));
    assert_int_equal(f.make_up[59], AT(3600));
    assert_int_equal(f.skipped, 0);
    p.missed_max = 3;
    due_find(&c, &p, AT(0), AT(3600) + 1, &f);
    assert_int_equal(f.n_make_up, 3);
    assert_int_equal(f.make_up[0], AT(3480));
    assert_int_equal(f.skipped, 57);
}

/* All that is due by a plain walk. */
static size_t walked(const struct due_calendar *c, const struct due_policy *p, int64_t after, int64_t now, int64_t *out, size_t max)
{
    size_t n = 0;
    for (int64_t t = due_next(c, p, after); t <= now && due_start(c, p, t) <= now; t = due_next(c, p, t)) {
        if (n == max) {
            memmove(out, out + 1, (max - 1) * sizeof *out);
            n--;
        }
        out[n++] = t;
    }
    return n;
}

static void as_a_walk_says(void **state)
{
    static const int64_t steps[] = {1, 7, 60, 3600, 86400, -1, -5, -60};
    struct rng rng;
    rng_seed(&rng, 42);
    for (int round = 0; round < 3000; round++) {
        int64_t step = steps[rng_below(&rng, ARRAY_LEN(steps))], want[DUE_MISSED_MAX];
        struct due_calendar c = {every, &step};
        struct due_policy p = policy(DUE_ALL);
        p.missed_max = 1 + rng_below(&rng, DUE_MISSED_MAX);
        p.jitter_ns = rng_chance(&rng, 0.5) ? (int64_t)rng_below(&rng, DUE_JITTER_MAX_NS) : 0;
        if (rng_chance(&rng, 0.3))
            p.start_wall_ns = AT(rng_below(&rng, 100000));
        if (rng_chance(&rng, 0.3))
            p.end_wall_ns = AT(rng_below(&rng, 200000));
        int64_t after = AT(rng_below(&rng, 1000)) + (int64_t)rng_below(&rng, NS_PER_S);
        int64_t now = after + (int64_t)rng_below(&rng, (uint64_t)(rng_chance(&rng, 0.5) ? 200000 : 30) * NS_PER_S);
        struct due_found f;
        due_find(&c, &p, after, now, &f);
        size_t n = walked(&c, &p, after, now, want, f.n_make_up ? p.missed_max : DUE_MISSED_MAX);
        CASE_INT("how many", f.n_make_up + f.n_fresh, n);
        for (size_t i = 0; i < n; i++)
            CASE_INT("which", f.n_make_up ? f.make_up[i] : f.fresh[i], want[i]);
        CASE_INT("up to", f.last_wall_ns, n ? want[n - 1] : after);
    }
}

static void a_long_time_is_few_steps(void **state)
{
    int64_t step = 1;
    struct due_calendar c = {every, &step};
    struct due_policy p = policy(DUE_ALL);
    struct due_found f;
    due_find(&c, &p, AT(0), AT(3600 * 24 * 3650.0), &f);
    assert_int_equal(f.n_make_up, DUE_MISSED_MAX);
    assert_int_equal(f.skipped, DUE_SKIPPED_COUNT - DUE_MISSED_MAX); /* at least so many */
    assert_true(f.steps < 8000);
}

static void jitter(void **state)
{
    int64_t step = 600, sum = 0, most = 0;
    struct due_calendar c = {every, &step};
    struct due_policy p = policy(DUE_ONCE);
    p.jitter_ns = 100 * NS_PER_S;
    for (int i = 1; i <= 1000; i++) {
        int64_t t = AT(i * 600), late = due_start(&c, &p, t) - t;
        assert_true(late >= 0 && late < p.jitter_ns);
        assert_int_equal(due_start(&c, &p, t) - t, late); /* always the same */
        sum += late;
        most = late > most ? late : most;
    }
    assert_in_range(sum / 1000, 45 * NS_PER_S, 55 * NS_PER_S);
    assert_true(most > 95 * NS_PER_S);
    p.jitter_ns = DUE_JITTER_MAX_NS; /* longer than the schedule's step: never past the next firing */
    for (int i = 1; i <= 1000; i++)
        assert_true(due_start(&c, &p, AT(i * 600)) < AT(i * 600 + 600));
    struct due_policy other = p;
    other.seed = 8;
    assert_int_not_equal(due_start(&c, &p, AT(600)), due_start(&c, &other, AT(600)));
}

static void start_and_end(void **state)
{
    int64_t step = 60;
    struct due_calendar c = {every, &step};
    struct due_policy p = policy(DUE_ALL);
    p.start_wall_ns = AT(120);
    p.end_wall_ns = AT(300);
    assert_int_equal(due_next(&c, &p, AT(0)), AT(120)); /* the start belongs to it */
    assert_int_equal(due_next(&c, &p, AT(200)), AT(240));
    assert_int_equal(due_next(&c, &p, AT(240)), DUE_NEVER); /* the end does not */
    struct due_found f;
    due_find(&c, &p, AT(0), AT(100000), &f);
    assert_int_equal(f.n_make_up, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(on_time),        cmocka_unit_test(missed),
        cmocka_unit_test(as_a_walk_says), cmocka_unit_test(a_long_time_is_few_steps),
        cmocka_unit_test(jitter),         cmocka_unit_test(start_and_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

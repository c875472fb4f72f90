/** test_random.c: the generator is the published one, its choices are fair, its names are names. */
#include "tests/support/unit.h"

#include "core/base/random.h"

static void the_sequence_is_xoshiro256starstar(void **state)
{
    /* By hand from the published step: s1 * 5, rotl 7, * 9. */
    struct rng r = {{1, 2, 3, 4}};
    static const uint64_t want[] = {11520, 0, 1509978240, 1215971899390074240};
    for (size_t i = 0; i < ARRAY_LEN(want); i++)
        assert_true(rng_u64(&r) == want[i]);
}

static void a_seed_gives_the_same_sequence_and_another_another(void **state)
{
    struct rng a, b, c;
    rng_seed(&a, 7);
    rng_seed(&b, 7);
    rng_seed(&c, 8);
    int equal = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t v = rng_u64(&a);
        assert_true(v == rng_u64(&b));
        equal += v == rng_u64(&c);
    }
    assert_int_equal(equal, 0);
    rng_seed(&a, 0);
    assert_true(a.s[0] | a.s[1] | a.s[2] | a.s[3]);
}

static void the_system_s_seed_differs_each_time(void **state)
{
    struct rng a, b;
    rng_seed_os(&a);
    rng_seed_os(&b);
    assert_true(rng_u64(&a) != rng_u64(&b));
}

static void below_stays_below_and_is_fair(void **state)
{
    struct rng r;
    rng_seed(&r, 1);
    size_t seen[10] = {0};
    for (int i = 0; i < 100000; i++)
        seen[rng_below(&r, 10)]++;
    for (size_t i = 0; i < 10; i++)
        assert_in_range(seen[i], 9500, 10500);
    for (int i = 0; i < 100; i++)
        assert_int_equal(rng_below(&r, 1), 0);
    /* A plain remainder would give the lower half of this range twice as often. */
    uint64_t n = UINT64_C(3) << 62;
    size_t low = 0;
    for (int i = 0; i < 30000; i++)
        low += rng_below(&r, n) < n / 3;
    assert_in_range(low, 9500, 10500);
    for (int i = 0; i < 1000; i++)
        assert_true(rng_below(&r, UINT64_MAX) < UINT64_MAX);
}

static void doubles_lie_between_zero_and_one(void **state)
{
    struct rng r;
    rng_seed(&r, 2);
    double sum = 0;
    size_t yes = 0;
    for (int i = 0; i < 100000; i++) {
        double d = rng_double(&r);
        assert_true(d >= 0 && d < 1);
        sum += d;
        yes += rng_chance(&r, 0.25);
        assert_false(rng_chance(&r, 0));
        assert_true(rng_chance(&r, 1));
    }
    assert_true(sum > 49500 && sum < 50500);
    assert_in_range(yes, 24500, 25500);
}

static void names_begin_with_a_letter_and_are_terminated(void **state)
{
    struct rng r;
    rng_seed(&r, 3);
    for (size_t len = 0; len < 200; len++) {
        char out[202];
        memset(out, '!', sizeof out);
        rng_name(&r, out, len);
        assert_int_equal(strlen(out), len);
        assert_int_equal(out[len + 1], '!');
        assert_int_equal(strspn(out, "abcdefghijklmnopqrstuvwxyz0123456789"), len);
        assert_true(len == 0 || (out[0] >= 'a' && out[0] <= 'z'));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_sequence_is_xoshiro256starstar),  cmocka_unit_test(a_seed_gives_the_same_sequence_and_another_another),
        cmocka_unit_test(the_system_s_seed_differs_each_time), cmocka_unit_test(below_stays_below_and_is_fair),
        cmocka_unit_test(doubles_lie_between_zero_and_one),    cmocka_unit_test(names_begin_with_a_letter_and_are_terminated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

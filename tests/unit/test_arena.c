/** test_arena.c: memory that is zeroed, aligned, bounded and dropped whole. */
#include "tests/support/unit.h"

#include "core/base/arena.h"

static void everything_is_zeroed_aligned_and_apart(void **state)
{
    struct arena *a = arena_new(1 << 20);
    struct rng r;
    rng_seed(&r, 5);
    unsigned char *got[500];
    size_t size[500];
    for (size_t i = 0; i < 500; i++) {
        size[i] = rng_below(&r, i % 50 == 0 ? 9000 : 200);
        got[i] = arena_alloc(a, size[i]);
        assert_non_null(got[i]);
        assert_int_equal((uintptr_t)got[i] % 16, 0);
        for (size_t k = 0; k < size[i]; k++)
            assert_int_equal(got[i][k], 0);
        memset(got[i], (int)(i % 251) + 1, size[i]);
    }
    for (size_t i = 0; i < 500; i++)
        for (size_t k = 0; k < size[i]; k++)
            assert_int_equal(got[i][k], i % 251 + 1);
    arena_free(a);
    arena_free(NULL);
}

static void the_maximum_refuses_and_leaves_it_usable(void **state)
{
    struct arena *a = arena_new(160);
    assert_non_null(arena_alloc(a, 100)); /* counts as 112 */
    assert_int_equal(arena_used(a), 112);
    assert_false(arena_short(a));
    assert_null(arena_alloc(a, 49));
    assert_null(arena_alloc(a, SIZE_MAX));
    assert_null(arena_alloc(a, SIZE_MAX - 15));
    assert_null(arena_printf(a, "%060d", 1));
    assert_int_equal(arena_used(a), 112);
    assert_non_null(arena_alloc(a, 48));
    assert_int_equal(arena_used(a), 160);
    assert_true(arena_short(a));
    assert_null(arena_alloc(a, 0));
    arena_free(a);
    a = arena_new(5); /* less than one step of alignment */
    assert_null(arena_alloc(a, 5));
    arena_free(a);
}

static void strings_are_terminated_copies(void **state)
{
    struct arena *a = arena_new(100000);
    assert_string_equal(arena_dup(a, (struct str){"abcdef", 3}), "abc");
    assert_string_equal(arena_dup(a, (struct str){NULL, 0}), "");
    assert_string_equal(arena_strdup(a, "topic"), "topic");
    assert_string_equal(arena_printf(a, "%s/%d", "a", 7), "a/7");
    for (int n = 250; n < 262; n++) { /* around the first try's size */
        char *p = arena_printf(a, "%0*d", n, 9);
        assert_int_equal(strlen(p), n);
        assert_int_equal(p[n - 1], '9');
    }
    arena_free(a);
}

static void a_large_object_does_not_waste_the_chunk_in_use(void **state)
{
    struct arena *a = arena_new(1 << 24);
    char *before = arena_alloc(a, 16);
    assert_non_null(arena_alloc(a, 1 << 20));
    char *after = arena_alloc(a, 16);
    assert_ptr_equal(after, before + 16);
    arena_free(a);
}

static void without_memory_it_says_so_and_goes_on(void **state)
{
    support_fail_alloc(1);
    assert_null(arena_new(10));
    struct arena *a = arena_new(100000);
    support_fail_alloc(1);
    assert_non_null(arena_alloc(a, 100)); /* the chunk may be smaller */
    assert_true(support_alloc_failed());
    support_fail_alloc(1);
    assert_null(arena_alloc(a, 5000));
    assert_true(support_alloc_failed());
    assert_non_null(arena_alloc(a, 5000));
    arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_is_zeroed_aligned_and_apart), cmocka_unit_test(the_maximum_refuses_and_leaves_it_usable),
        cmocka_unit_test(strings_are_terminated_copies),          cmocka_unit_test(a_large_object_does_not_waste_the_chunk_in_use),
        cmocka_unit_test(without_memory_it_says_so_and_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

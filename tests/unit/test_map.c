/** test_map.c: both maps against a plain model, their limits, iteration and lack of memory. */
#include "tests/support/unit.h"

#include "core/base/map.h"

#include <stdio.h>

#define MODEL_KEYS 300

static void *ptr_of(size_t i) { return (void *)(uintptr_t)(i + 1); }

static void a_missing_key_is_null_everywhere(void **state)
{
    struct map *m = map_new(10);
    size_t it = 0;
    assert_null(map_get(m, "a"));
    assert_null(map_get(m, ""));
    assert_null(map_remove(m, "a"));
    assert_false(map_next(m, &it, NULL, NULL));
    assert_int_equal(map_count(m), 0);
    map_free(m);
    map_free(NULL);
    u64map_free(NULL);
}

static void keys_are_copied_and_values_replaced(void **state)
{
    struct map *m = map_new(10);
    char key[] = "topic";
    assert_int_equal(map_put(m, key, ptr_of(1), NULL), 0);
    key[0] = 'x';
    assert_ptr_equal(map_get(m, "topic"), ptr_of(1));
    assert_null(map_get(m, key));
    assert_int_equal(map_put(m, "topic", ptr_of(2), NULL), 0);
    assert_int_equal(map_count(m), 1);
    assert_ptr_equal(map_remove(m, "topic"), ptr_of(2));
    assert_int_equal(map_count(m), 0);
    map_free(m);
}

static void a_key_is_found_by_a_slice_of_exactly_its_length(void **state)
{
    struct map *m = map_new(10);
    assert_int_equal(map_put(m, "projects/p", ptr_of(1), NULL), 0);
    assert_int_equal(map_put(m, "", ptr_of(2), NULL), 0);
    assert_ptr_equal(map_get_n(m, "projects/p/topics/t", 10), ptr_of(1));
    assert_null(map_get_n(m, "projects/p/topics/t", 9));
    assert_null(map_get_n(m, "projects/p/topics/t", 11));
    assert_ptr_equal(map_get_n(m, "anything", 0), ptr_of(2));
    assert_null(map_get_n(m, "projects/p\0z", 12));
    map_free(m);
}

static void the_limit_refuses_new_keys_but_not_new_values(void **state)
{
    struct map *m = map_new(2);
    struct err e = {0};
    assert_int_equal(map_put(m, "a", ptr_of(1), &e), 0);
    assert_int_equal(map_put(m, "b", ptr_of(2), &e), 0);
    assert_int_equal(map_put(m, "c", ptr_of(3), &e), -ERR_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(e.msg, "2 entries"));
    assert_int_equal(map_put(m, "a", ptr_of(4), &e), 0);
    assert_null(map_get(m, "c"));
    map_remove(m, "b");
    assert_int_equal(map_put(m, "c", ptr_of(3), &e), 0);
    map_free(m);
}

/* The whole content, by asking and by walking, equals the model's. */
static void check_model(const struct map *m, void *const *model)
{
    size_t count = 0, walked = 0;
    for (size_t k = 0; k < MODEL_KEYS; k++) {
        char key[24];
        snprintf(key, sizeof key, "key-%zu", k);
        assert_ptr_equal(map_get(m, key), model[k]);
        count += model[k] != NULL;
    }
    assert_int_equal(map_count(m), count);
    const char *key;
    void *value;
    for (size_t it = 0; map_next(m, &it, &key, &value); walked++)
        assert_ptr_equal(model[strtoul(key + 4, NULL, 10)], value);
    assert_int_equal(walked, count);
}

static void it_behaves_like_an_array_under_random_work(void **state)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct rng r;
        rng_seed(&r, seed);
        struct map *m = map_new(MODEL_KEYS);
        void *model[MODEL_KEYS] = {0};
        for (int step = 0; step < 4000; step++) {
            char key[24];
            /* Phases of growing and shrinking, so that holes gather and are squeezed out. */
            size_t k = rng_below(&r, MODEL_KEYS);
            snprintf(key, sizeof key, "key-%zu", k);
            if (rng_chance(&r, step / 800 % 2 ? 0.2 : 0.8)) {
                model[k] = ptr_of((size_t)step);
                assert_int_equal(map_put(m, key, model[k], NULL), 0);
            } else {
                assert_ptr_equal(map_remove(m, key), model[k]);
                model[k] = NULL;
            }
            if (step % 97 == 0)
                check_model(m, model);
        }
        check_model(m, model);
        map_free(m);
    }
}

static void it_is_walked_in_the_order_of_adding(void **state)
{
    struct map *m = map_new(1000);
    char key[16];
    for (int i = 0; i < 200; i++) {
        snprintf(key, sizeof key, "%d", (i * 7919) % 1000);
        assert_int_equal(map_put(m, key, ptr_of((size_t)i), NULL), 0);
    }
    for (int i = 0; i < 200; i += 2) {
        snprintf(key, sizeof key, "%d", (i * 7919) % 1000);
        assert_non_null(map_remove(m, key));
    }
    assert_int_equal(map_put(m, "last", ptr_of(500), NULL), 0);
    size_t want = 1;
    void *value;
    for (size_t it = 0; map_next(m, &it, NULL, &value); want += 2)
        assert_ptr_equal(value, want == 201 ? ptr_of(500) : ptr_of(want));
    assert_int_equal(want, 203);
    map_free(m);
}

static void the_entry_at_hand_may_be_removed_while_walking(void **state)
{
    struct map *m = map_new(1000);
    char name[16];
    for (size_t i = 0; i < 500; i++) {
        snprintf(name, sizeof name, "k%zu", i);
        assert_int_equal(map_put(m, name, ptr_of(i), NULL), 0);
    }
    const char *key;
    void *value;
    size_t seen = 0;
    for (size_t it = 0; map_next(m, &it, &key, &value); seen++) {
        assert_ptr_equal(value, ptr_of(seen));
        if (seen % 3)
            assert_ptr_equal(map_remove(m, key), value);
    }
    assert_int_equal(seen, 500);
    assert_int_equal(map_count(m), 167);
    for (size_t it = 0; map_next(m, &it, &key, &value);)
        map_remove(m, key);
    assert_int_equal(map_count(m), 0);
    map_free(m);
}

static void a_moving_window_of_keys_needs_no_more_room(void **state)
{
    /* A thousand at a time pass through; places of removed ones are used again. */
    struct u64map *m = u64map_new(1001);
    for (uint64_t k = 0; k < 200000; k++) {
        assert_int_equal(u64map_put(m, k, ptr_of(k), NULL), 0);
        if (k >= 1000)
            assert_ptr_equal(u64map_remove(m, k - 1000), ptr_of(k - 1000));
    }
    assert_int_equal(u64map_count(m), 1000);
    uint64_t key, want = 199000;
    for (size_t it = 0; u64map_next(m, &it, &key, NULL); want++)
        assert_int_equal(key, want);
    u64map_free(m);
}

static void sorted_gives_the_values_in_the_order_of_their_keys(void **state)
{
    struct map *m = map_new(10);
    static const char *const keys[] = {"b", "a/1", "", "a", "ab", "\xC3\xA4"};
    static const size_t order[] = {2, 3, 1, 4, 0, 5};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        assert_int_equal(map_put(m, keys[i], ptr_of(i), NULL), 0);
    void **sorted = map_sorted(m);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        assert_ptr_equal(sorted[i], ptr_of(order[i]));
    free(sorted);
    map_free(m);
    m = map_new(10);
    sorted = map_sorted(m);
    assert_non_null(sorted);
    free(sorted);
    map_free(m);
}

static void numbers_of_every_size_are_keys(void **state)
{
    static const uint64_t keys[] = {0, 1, UINT64_MAX, UINT64_MAX - 1, UINT64_C(1) << 63, UINT64_C(1) << 32};
    struct u64map *m = u64map_new(100);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        assert_int_equal(u64map_put(m, keys[i], ptr_of(i), NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        assert_ptr_equal(u64map_get(m, keys[i]), ptr_of(i));
    assert_null(u64map_get(m, 2));
    assert_ptr_equal(u64map_remove(m, 0), ptr_of(0));
    assert_null(u64map_get(m, 0));
    assert_null(u64map_remove(m, 0));
    assert_int_equal(u64map_put(m, 1, NULL, NULL), 0);
    assert_int_equal(u64map_count(m), 5);
    u64map_free(m);
}

static void a_hundred_thousand_entries_come_and_go(void **state)
{
    struct map *m = map_new(100000);
    char key[32];
    for (size_t i = 0; i < 100000; i++) {
        snprintf(key, sizeof key, "projects/p/topics/%zu", i);
        assert_int_equal(map_put(m, key, ptr_of(i), NULL), 0);
    }
    for (size_t i = 0; i < 100000; i++) {
        snprintf(key, sizeof key, "projects/p/topics/%zu", i);
        assert_ptr_equal(map_remove(m, key), ptr_of(i));
    }
    assert_int_equal(map_count(m), 0);
    map_free(m);
}

static void without_memory_a_put_changes_nothing(void **state)
{
    for (size_t nth = 1;; nth++) {
        struct map *m = map_new(100);
        char key[16];
        struct err e = {0};
        int i, rc = 0;
        support_fail_alloc(nth);
        for (i = 0; i < 60; i++) {
            snprintf(key, sizeof key, "k%d", i);
            rc = map_put(m, key, ptr_of((size_t)i), &e);
            if (rc)
                break;
        }
        bool failed = support_alloc_failed();
        if (rc) {
            assert_int_equal(rc, -ERR_RESOURCE_EXHAUSTED);
            assert_null(map_get(m, key));
            assert_int_equal(map_count(m), i);
            assert_int_equal(map_put(m, key, ptr_of((size_t)i), &e), 0); /* it works again */
            i++;
        }
        for (int k = 0; k < i; k++) {
            snprintf(key, sizeof key, "k%d", k);
            assert_ptr_equal(map_get(m, key), ptr_of((size_t)k));
        }
        map_free(m);
        if (!failed) {
            assert_true(nth > 60);
            break;
        }
    }
    support_fail_alloc(1);
    assert_null(map_new(1));
    support_fail_alloc(1);
    assert_null(u64map_new(1));
    support_fail_alloc(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_missing_key_is_null_everywhere),
        cmocka_unit_test(keys_are_copied_and_values_replaced),
        cmocka_unit_test(a_key_is_found_by_a_slice_of_exactly_its_length),
        cmocka_unit_test(the_limit_refuses_new_keys_but_not_new_values),
        cmocka_unit_test(it_behaves_like_an_array_under_random_work),
        cmocka_unit_test(it_is_walked_in_the_order_of_adding),
        cmocka_unit_test(the_entry_at_hand_may_be_removed_while_walking),
        cmocka_unit_test(a_moving_window_of_keys_needs_no_more_room),
        cmocka_unit_test(sorted_gives_the_values_in_the_order_of_their_keys),
        cmocka_unit_test(numbers_of_every_size_are_keys),
        cmocka_unit_test(a_hundred_thousand_entries_come_and_go),
        cmocka_unit_test(without_memory_a_put_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/** test_buf.c: slices, and a buffer that grows, is consumed from the front and never passes its maximum. */
#include "tests/support/unit.h"

#include "core/base/buf.h"

static void slices_compare_by_bytes(void **state)
{
    static const struct {
        const char *name;
        struct str a, b;
        bool eq, ieq;
    } rows[] = {
        {"equal text", STR("Host"), STR("Host"), true, true},
        {"another case", STR("Host"), STR("hOST"), false, true},
        {"a prefix", STR("Host"), STR("Hos"), false, false},
        {"both empty", STR(""), {NULL, 0}, true, true},
        {"empty and not", STR(""), STR("a"), false, false},
        {"a zero byte inside", STR("a\0b"), STR("a\0c"), false, false},
        {"only letters are folded", STR("[]^`@"), STR("{}~@`"), false, false},
        {"bytes above ASCII are not folded", STR("\xC4"), STR("\xE4"), false, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CASE_INT(rows[i].name, str_eq(rows[i].a, rows[i].b), rows[i].eq);
        CASE_INT(rows[i].name, str_ieq(rows[i].a, rows[i].b), rows[i].ieq);
    }
    assert_int_equal(str_of(NULL).n, 0);
    assert_true(str_is(STR("abc"), "abc"));
    assert_false(str_is(STR("abc"), "abcd"));
}

static void what_is_added_comes_out_in_order(void **state)
{
    struct buf b;
    buf_init(&b, 1000);
    assert_int_equal(buf_len(&b), 0);
    assert_int_equal(buf_add(&b, "ab", 2), 0);
    assert_int_equal(buf_addz(&b, "cd"), 0);
    assert_int_equal(buf_addf(&b, "%d-%s", 5, "x"), 0);
    assert_true(str_is(buf_str(&b), "abcd5-x"));
    buf_consume(&b, 3);
    assert_true(str_is(buf_str(&b), "d5-x"));
    buf_truncate(&b, 2);
    assert_true(str_is(buf_str(&b), "d5"));
    buf_clear(&b);
    assert_int_equal(buf_len(&b), 0);
    assert_int_equal(buf_add(&b, NULL, 0), 0);
    buf_fini(&b);
    assert_int_equal(b.max, 1000);
    assert_int_equal(buf_addz(&b, "again"), 0);
    buf_fini(&b);
}

static void the_maximum_is_exact_and_counts_what_is_unread(void **state)
{
    struct buf b;
    char big[600];
    memset(big, 'x', sizeof big);
    buf_init(&b, 600);
    assert_int_equal(buf_add(&b, big, 600), 0);
    assert_int_equal(buf_add(&b, "y", 1), -ERR_RESOURCE_EXHAUSTED);
    assert_int_equal(buf_addf(&b, "y"), -ERR_RESOURCE_EXHAUSTED);
    assert_int_equal(buf_addf(&b, "%s", ""), 0);
    assert_null(buf_reserve(&b, 1));
    assert_int_equal(buf_len(&b), 600);
    assert_true(b.cap <= 601);
    assert_non_null(buf_cstr(&b)); /* a terminator is not content */
    assert_int_equal(strlen(buf_cstr(&b)), 600);
    buf_consume(&b, 10);
    assert_int_equal(buf_add(&b, big, 11), -ERR_RESOURCE_EXHAUSTED);
    assert_int_equal(buf_add(&b, big, 10), 0);
    volatile size_t beyond = SIZE_MAX; /* as a caller would compute it, not as the compiler would know it */
    assert_int_equal(buf_add(&b, big, beyond), -ERR_RESOURCE_EXHAUSTED);
    assert_null(buf_reserve(&b, SIZE_MAX));
    buf_fini(&b);
    buf_init(&b, 0);
    assert_int_equal(buf_addz(&b, "a"), -ERR_RESOURCE_EXHAUSTED);
    assert_int_equal(buf_addz(&b, ""), 0);
    assert_string_equal(buf_cstr(&b), "");
    buf_fini(&b);
    buf_init(&b, SIZE_MAX);
    assert_int_equal(buf_add(&b, big, sizeof big), 0);
    assert_null(buf_reserve(&b, SIZE_MAX - 600));
    assert_int_equal(buf_len(&b), 600);
    buf_fini(&b);
}

static void a_stream_passes_through_in_bounded_memory(void **state)
{
    struct buf b;
    struct rng r;
    rng_seed(&r, 3);
    buf_init(&b, 4096);
    uint8_t written = 0, read = 0;
    size_t total = 0;
    while (total < 2000000) {
        size_t n = rng_below(&r, 700);
        char *to = buf_reserve(&b, n);
        if (to) {
            for (size_t i = 0; i < n; i++)
                to[i] = (char)written++;
            buf_commit(&b, n);
        }
        size_t take = rng_below(&r, buf_len(&b) + 1);
        for (size_t i = 0; i < take; i++)
            assert_int_equal((uint8_t)buf_data(&b)[i], read++);
        buf_consume(&b, take);
        total += take;
        assert_true(b.cap <= 4097);
    }
    buf_fini(&b);
}

static void formatting_fits_at_every_boundary(void **state)
{
    for (size_t n = 0; n < 600; n++) {
        struct buf b;
        buf_init(&b, 2000);
        assert_int_equal(buf_addf(&b, "%*s", (int)n, ""), 0);
        assert_int_equal(buf_len(&b), n);
        assert_int_equal(buf_addf(&b, "%0300d", 7), 0);
        assert_int_equal(buf_len(&b), n + 300);
        assert_int_equal(buf_data(&b)[n + 299], '7');
        buf_fini(&b);
    }
}

static void formatting_that_fills_the_room_exactly_keeps_its_last_byte(void **state)
{
    for (int off = -1; off <= 1; off++) {
        struct buf b;
        buf_init(&b, 5000);
        assert_int_equal(buf_addz(&b, "x"), 0);
        int n = (int)(b.cap - b.end) + off;
        assert_int_equal(buf_addf(&b, "%0*d", n, 7), 0);
        assert_int_equal(buf_len(&b), n + 1);
        assert_int_equal(buf_data(&b)[n], '7');
        buf_fini(&b);
    }
}

static void without_memory_the_content_stays(void **state)
{
    struct buf b;
    buf_init(&b, 100000);
    assert_int_equal(buf_addz(&b, "kept"), 0);
    char big[5000] = {0};
    /* Growing asks for more than is needed at first, so two must fail. */
    support_fail_alloc(1);
    assert_int_equal(buf_add(&b, big, sizeof big), 0);
    assert_true(support_alloc_failed());
    buf_truncate(&b, 4);
    assert_true(str_is(buf_str(&b), "kept"));
    buf_fini(&b);
    buf_init(&b, 3);
    support_fail_alloc(1); /* nothing smaller to try */
    assert_int_equal(buf_addz(&b, "abc"), 0);
    support_alloc_failed();
    buf_fini(&b);
    buf_init(&b, 0);
    support_fail_alloc(1);
    assert_null(buf_cstr(&b));
    assert_true(support_alloc_failed());
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices_compare_by_bytes),
        cmocka_unit_test(what_is_added_comes_out_in_order),
        cmocka_unit_test(the_maximum_is_exact_and_counts_what_is_unread),
        cmocka_unit_test(a_stream_passes_through_in_bounded_memory),
        cmocka_unit_test(formatting_fits_at_every_boundary),
        cmocka_unit_test(formatting_that_fills_the_room_exactly_keeps_its_last_byte),
        cmocka_unit_test(without_memory_the_content_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

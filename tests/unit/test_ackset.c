/** test_ackset.c: the acknowledged set against a plain array of flags, and what of it the store sees. */
#include "broker/ackset.h"
#include "tests/support/unit.h"

#define SPAN 40000
#define ROUNDS 300

/* ---- a model ---- */

static bool model[SPAN];
static uint64_t model_floor(void)
{
    uint64_t i = 0;
    while (i < SPAN && model[i])
        i++;
    return i;
}

static void compare(const struct ackset *a, const char *what)
{
    uint64_t floor = model_floor(), above = 0;
    for (uint64_t i = floor; i < SPAN; i++)
        above += model[i];
    CASE_INT(what, a->floor, floor);
    CASE_INT(what, a->above, above);
    for (uint64_t i = 0; i < SPAN; i += 37)
        CASE_INT(what, ackset_has(a, i), model[i]);
}

static void check_queries(const struct ackset *a, uint64_t at)
{
    uint64_t next = at, count = 0;
    while (next < SPAN && model[next])
        next++;
    for (uint64_t i = at; i < SPAN; i++)
        count += model[i] && i >= a->floor;
    uint64_t end = a->floor;
    for (uint64_t i = 0; i < SPAN; i++)
        end = model[i] && i + 1 > end ? i + 1 : end;
    CASE_INT("end", ackset_end(a), end);
    CASE_INT("next", ackset_next(a, at), next);
    CASE_INT("count", ackset_count_from(a, at), count);
}

static void step(struct ackset *a, struct rng *rng)
{
    struct err e;
    uint64_t at = rng_below(rng, SPAN - 600), n = 1 + rng_below(rng, 500);
    switch (rng_below(rng, 12)) {
    case 0: /* everything below */
        ackset_raise(a, at / 8);
        memset(model, 1, at / 8);
        break;
    case 1: /* nothing above */
        ackset_clear_from(a, at);
        memset(model + at, 0, SPAN - at);
        break;
    case 2: /* from the floor on */
        at = a->floor < SPAN - 600 ? a->floor : 0;
        assert_int_equal(ackset_add_range(a, at, at + n, &e), 0);
        memset(model + at, 1, n);
        break;
    case 3:
        assert_int_equal(ackset_add_range(a, at, at + n, &e), 0);
        memset(model + at, 1, n);
        break;
    default:
        for (uint64_t i = 0; i < n; i++) {
            uint64_t seq = at + rng_below(rng, 600);
            assert_int_equal(ackset_add(a, seq, &e), !model[seq]);
            model[seq] = true;
        }
    }
    check_queries(a, rng_below(rng, SPAN));
}

/* ---- the store ---- */

struct loading {
    struct ackset *a;
};

static int load_chunk(void *arg, uint64_t chunk, const uint8_t *bits, struct err *e)
{
    return ackset_load_chunk(((struct loading *)arg)->a, chunk, bits, e);
}

static void on_saved(void *arg, const struct err *e)
{
    if (e)
        ackset_spoil(arg);
}

static void save_or_fail(struct ackset *a, struct store *s, bool fails)
{
    struct err e;
    struct store_txn *t = store_txn_new();
    assert_int_equal(ackset_store(a, t, 1, false, &e), 0);
    store_submit(s, t, on_saved, a);
    store_memory_step(s, SIZE_MAX, fails ? ERR_UNAVAILABLE : ERR_OK);
    assert_int_equal(ackset_dirty(a), fails);
}

static void expect_stored(struct store *s)
{
    struct ackset loaded;
    struct err e = {0};
    uint64_t floor;
    assert_int_equal(ackset_init(&loaded, 0, &e), 0);
    struct loading l = {&loaded};
    assert_int_equal(s->ops->load_acks(s, 1, &floor, load_chunk, &l, &e), 0);
    ackset_raise(&loaded, floor);
    compare(&loaded, "loaded");
    ackset_fini(&loaded);
}

static void behaves_like_flags(void **state)
{
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct ackset a;
        struct err e;
        struct rng rng;
        struct store *s = store_memory_new();
        rng_seed(&rng, seed);
        memset(model, 0, sizeof model);
        assert_int_equal(ackset_init(&a, 0, &e), 0);
        for (int round = 0; round < ROUNDS; round++) {
            step(&a, &rng);
            compare(&a, "after a step");
            if (rng_chance(&rng, 0.3)) {
                bool fails = rng_chance(&rng, 0.3);
                save_or_fail(&a, s, fails);
                if (!fails)
                    expect_stored(s);
            }
        }
        ackset_fini(&a);
        s->ops->close(s);
    }
}

static void copies_are_apart(void **state)
{
    struct ackset a, b;
    struct err e;
    assert_int_equal(ackset_init(&a, 5, &e), 0);
    assert_int_equal(ackset_init(&b, 0, &e), 0);
    assert_int_equal(ackset_add(&a, 10, &e), 1);
    assert_int_equal(ackset_copy(&b, &a, &e), 0);
    assert_int_equal(ackset_add(&a, 11, &e), 1);
    assert_int_equal(b.floor, 5);
    assert_true(ackset_has(&b, 10));
    assert_false(ackset_has(&b, 11));
    ackset_fini(&a);
    ackset_fini(&b);
}

static void room_is_bounded(void **state)
{
    struct ackset a;
    struct err e;
    assert_int_equal(ackset_init(&a, 0, &e), 0);
    uint64_t end = ackset_room(&a);
    assert_int_equal(ackset_add(&a, end - 1, &e), 1);
    assert_int_equal(ackset_add(&a, end, &e), -ERR_RESOURCE_EXHAUSTED);
    ackset_raise(&a, ACK_CHUNK_BITS);
    assert_int_equal(ackset_add(&a, end, &e), 1);
    ackset_fini(&a);
}

/* As far as there is room, and quickly: a hole may be as long as all that is missing of a topic. */
static void a_range_is_filled_as_far_as_there_is_room(void **state)
{
    struct ackset a;
    struct err e;
    assert_int_equal(ackset_init(&a, 5, &e), 0);
    uint64_t room = ackset_room(&a);
    assert_int_equal(ackset_add(&a, 100, &e), 1);
    assert_int_equal(ackset_add_range(&a, 10, room, &e), 0);
    assert_int_equal(ackset_add_range(&a, 20, STORE_SEQ_MAX, &e), -ERR_RESOURCE_EXHAUSTED);
    assert_int_equal(ackset_next(&a, 10), room);
    assert_int_equal(ackset_next(&a, 5), 5);
    assert_int_equal(a.above, room - 10);
    assert_int_equal(ackset_add_range(&a, 5, 10, &e), 0);
    assert_int_equal(a.floor, room);
    assert_int_equal(a.above, 0);
    ackset_fini(&a);
}

static void failed_allocations_change_nothing(void **state)
{
    for (size_t nth = 1;; nth++) {
        struct ackset a, b;
        struct err e;
        assert_int_equal(ackset_init(&a, 0, &e), 0);
        assert_int_equal(ackset_init(&b, 3, &e), 0);
        assert_int_equal(ackset_add(&b, 5, &e), 1);
        assert_int_equal(ackset_add(&b, 100000, &e), 1);
        support_fail_alloc(nth);
        int rc = ackset_copy(&a, &b, &e);
        bool failed = support_alloc_failed();
        assert_int_equal(a.floor, rc ? 0 : 3);
        assert_int_equal(a.above, rc ? 0 : 2);
        ackset_fini(&a);
        ackset_fini(&b);
        if (!failed)
            break;
        assert_int_equal(rc, -ERR_RESOURCE_EXHAUSTED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(behaves_like_flags),
        cmocka_unit_test(copies_are_apart),
        cmocka_unit_test(room_is_bounded),
        cmocka_unit_test(a_range_is_filled_as_far_as_there_is_room),
        cmocka_unit_test(failed_allocations_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

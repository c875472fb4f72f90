/** test_capacity.c: who gets memory next: situations told one by one, and what holds whatever happens, by chance. */
#include "tests/support/unit.h"

#include "core/base/random.h"
#include "core/scale/capacity.h"

#define TOTAL 24
#define CLAIMS_MAX 24
#define SHARES_MAX 12
#define HELD_MAX 400
#define ROUNDS 300
#define STEPS 2000

static struct capacity c;

/* ---- stories */

static void setup_shares(struct capacity_share *shares, size_t n, enum capacity_kind kind)
{
    capacity_init(&c, TOTAL);
    for (size_t i = 0; i < n; i++)
        capacity_share_init(&shares[i], kind, CAPACITY_WEIGHT_DEFAULT);
}

static void test_what_claims_nothing_is_always_granted(void **state)
{
    struct capacity_share s[2];
    struct capacity_claim none, all;
    setup_shares(s, 2, CAPACITY_JOB);
    capacity_claim_init(&all, &s[0], TOTAL, 0);
    capacity_claim_init(&none, &s[1], 0, 0);
    assert_true(capacity_take(&c, &all));
    for (int i = 0; i < 2000; i++)
        assert_true(capacity_take(&c, &none));
    assert_int_equal(c.held_bytes, TOTAL);
}

static void test_an_unknown_host_holds_everything(void **state)
{
    struct capacity_share s;
    struct capacity_claim k;
    capacity_init(&c, UINT64_MAX);
    capacity_share_init(&s, CAPACITY_JOB, 1);
    capacity_claim_init(&k, &s, UINT64_C(1) << 60, 0);
    for (int i = 0; i < 10; i++)
        assert_true(capacity_take(&c, &k));
}

static void test_what_fits_ever(void **state)
{
    capacity_init(&c, TOTAL);
    assert_true(capacity_fits(&c, 0));
    assert_true(capacity_fits(&c, TOTAL));
    assert_false(capacity_fits(&c, TOTAL + 1));
}

static void test_a_job_alone_uses_all_there_is(void **state)
{
    struct capacity_share s;
    struct capacity_claim k;
    setup_shares(&s, 1, CAPACITY_JOB);
    capacity_claim_init(&k, &s, 4, 0);
    for (int i = 0; i < TOTAL / 4; i++)
        assert_true(capacity_take(&c, &k));
    assert_false(capacity_take(&c, &k));
    assert_false(capacity_take(&c, &k));
    assert_int_equal(s.n_waiting, 1);
    assert_null(capacity_next(&c));
    capacity_give(&c, &s, 4);
    assert_ptr_equal(capacity_next(&c), &k);
    assert_false(capacity_waits(&k));
    assert_int_equal(s.held_bytes, TOTAL);
}

/* A job has everything and wants more; a service comes from zero and gets the first that comes free, then the second. */
static void test_a_service_in_need_is_next(void **state)
{
    struct capacity_share job, web;
    struct capacity_claim task, instance;
    setup_shares(&job, 1, CAPACITY_JOB);
    capacity_share_init(&web, CAPACITY_SERVICE, CAPACITY_WEIGHT_DEFAULT);
    capacity_claim_init(&task, &job, 4, 1000); /* however urgent it is */
    capacity_claim_init(&instance, &web, 6, 0);
    while (capacity_take(&c, &task))
        ;
    assert_false(capacity_take(&c, &instance));
    capacity_give(&c, &job, 4);
    assert_null(capacity_next(&c)); /* a task would fit, and does not go past it */
    capacity_give(&c, &job, 4);
    assert_ptr_equal(capacity_next(&c), &instance);
    assert_null(capacity_next(&c)); /* 2 are left */
    assert_false(capacity_take(&c, &instance));
    capacity_give(&c, &job, 4);
    assert_ptr_equal(capacity_next(&c), &instance); /* 12 of 24: its half */
    /* More than its half is no need: by what they hold for their weight they are equal, and the job waited first. */
    assert_false(capacity_take(&c, &instance));
    capacity_give(&c, &job, 4);
    assert_ptr_equal(capacity_next(&c), &task);
}

static void test_a_job_is_not_starved_by_services(void **state)
{
    struct capacity_share job, web[SHARES_MAX];
    struct capacity_claim task, instance[SHARES_MAX];
    setup_shares(web, SHARES_MAX, CAPACITY_SERVICE);
    capacity_share_init(&job, CAPACITY_JOB, CAPACITY_WEIGHT_DEFAULT);
    capacity_claim_init(&task, &job, 20, 0);
    for (int i = 0; i < SHARES_MAX; i++)
        capacity_claim_init(&instance[i], &web[i], 2, 0);
    for (int i = 0; i < SHARES_MAX; i++)
        assert_true(capacity_take(&c, &instance[i]));
    assert_false(capacity_take(&c, &task));
    /* From now on one ends and another comes, for ever. */
    int grants = 0;
    for (int i = 0; capacity_waits(&task) && i < 1000; i++) {
        int k = i % SHARES_MAX;
        if (web[k].held_bytes)
            capacity_give(&c, &web[k], 2);
        grants += !capacity_waits(&instance[k]) && capacity_take(&c, &instance[k]);
        while (capacity_next(&c))
            grants++;
    }
    assert_false(capacity_waits(&task));
    assert_true(grants <= 2 * CAPACITY_PASSES + 1); /* its own is one */
}

static void test_small_claims_pass_a_large_one_only_so_often(void **state)
{
    struct capacity_share s[2];
    struct capacity_claim small, large;
    setup_shares(s, 2, CAPACITY_JOB);
    capacity_claim_init(&small, &s[0], 1, 0);
    capacity_claim_init(&large, &s[1], 20, 0);
    while (capacity_take(&c, &small))
        ;
    assert_false(capacity_take(&c, &large));
    int passed = 0;
    for (int i = 0; i < TOTAL; i++) {
        capacity_give(&c, &s[0], 1);
        struct capacity_claim *next = capacity_next(&c);
        if (next == &large)
            break;
        if (next == &small) {
            passed++;
            assert_false(capacity_take(&c, &small));
        } else {
            assert_null(next); /* what comes free is kept */
        }
    }
    assert_int_equal(passed, CAPACITY_PASSES);
    while (capacity_waits(&large)) {
        capacity_give(&c, &s[0], 1);
        assert_true(capacity_next(&c) == &large || capacity_waits(&large));
    }
    assert_int_equal(s[1].held_bytes, 20);
}

static void test_a_higher_priority_goes_first(void **state)
{
    struct capacity_share s[3];
    struct capacity_claim low, usual, high;
    setup_shares(s, 3, CAPACITY_JOB);
    capacity_claim_init(&low, &s[0], 8, -5);
    capacity_claim_init(&usual, &s[1], 8, 0);
    capacity_claim_init(&high, &s[2], 8, 5);
    for (int i = 0; i < 3; i++)
        assert_true(capacity_take(&c, &low));
    assert_false(capacity_take(&c, &low));
    assert_false(capacity_take(&c, &usual));
    assert_false(capacity_take(&c, &high));
    for (int i = 0; i < 3 * CAPACITY_PASSES; i++) { /* also one that waits long */
        capacity_give(&c, i ? &s[2] : &s[0], 8);
        assert_ptr_equal(capacity_next(&c), &high);
        assert_false(capacity_take(&c, &high));
    }
    capacity_leave(&c, &high);
    capacity_leave(&c, &high);
    capacity_give(&c, &s[2], 8);
    assert_ptr_equal(capacity_next(&c), &usual);
    capacity_give(&c, &s[0], 8);
    assert_ptr_equal(capacity_next(&c), &low);
}

static void test_a_weight_changes_what_is_due(void **state)
{
    struct capacity_share job, web;
    struct capacity_claim task, instance;
    setup_shares(&job, 1, CAPACITY_JOB);
    capacity_share_init(&web, CAPACITY_SERVICE, CAPACITY_WEIGHT_DEFAULT);
    capacity_claim_init(&task, &job, 4, 0);
    capacity_claim_init(&instance, &web, 4, 0);
    for (int i = 0; i < 3; i++) {
        assert_true(capacity_take(&c, &instance));
        assert_true(capacity_take(&c, &task));
    }
    assert_false(capacity_take(&c, &task));
    assert_false(capacity_take(&c, &instance)); /* both have their half */
    capacity_weigh(&c, &web, 300);
    assert_int_equal(c.weights, 400);
    capacity_give(&c, &job, 4);
    assert_ptr_equal(capacity_next(&c), &instance);
    capacity_leave(&c, &task);
    capacity_give(&c, &job, 8);
    assert_int_equal(c.weights, 300);
    capacity_weigh(&c, &job, 50);
    assert_int_equal(c.weights, 300);
}

/* ---- proportions: everybody always wants more, and programs end by chance */

struct held {
    size_t n;
    struct capacity_share *of[HELD_MAX];
};

static void end_one(struct held *h, struct rng *rng, uint64_t bytes)
{
    size_t i = (size_t)rng_below(rng, h->n);
    capacity_give(&c, h->of[i], bytes);
    h->of[i] = h->of[--h->n];
}

static void test_under_contention_they_hold_by_their_weights(void **state)
{
    static const uint32_t weights[][3] = {{100, 100, 100}, {100, 400, 100}, {1, 10, 100}, {10000, 5000, 2500}};
    for (size_t w = 0; w < ARRAY_LEN(weights); w++) {
        struct rng rng;
        struct capacity_share s[3];
        struct capacity_claim k[3];
        struct held h = {0};
        double sum[3] = {0}, all = 0;
        rng_seed(&rng, w + 1);
        capacity_init(&c, 333);
        for (int i = 0; i < 3; i++) {
            capacity_share_init(&s[i], i == 2 ? CAPACITY_SERVICE : CAPACITY_JOB, weights[w][i]);
            capacity_claim_init(&k[i], &s[i], 1, 0);
            all += weights[w][i];
        }
        for (int step = 0; step < 40000; step++) {
            for (int i = 0; i < 3; i++)
                while (capacity_take(&c, &k[i]))
                    h.of[h.n++] = &s[i];
            end_one(&h, &rng, 1);
            for (struct capacity_claim *next; (next = capacity_next(&c));)
                h.of[h.n++] = next->share;
            for (int i = 0; i < 3 && step >= 20000; i++)
                sum[i] += (double)s[i].held_bytes / 20000;
        }
        for (int i = 0; i < 3; i++) {
            double want = 333 * weights[w][i] / all;
            if (sum[i] < want - 1.5 || sum[i] > want + 1.5)
                fail_msg("weights %zu: share %d holds %.1f, its weight's part is %.1f", w, i, sum[i], want);
        }
    }
}

/* ---- whatever happens */

struct waiter {
    struct capacity_claim claim;
    uint32_t older, seen; /* claims that waited when it came; grants to others since */
    bool had_nothing;     /* its share, all the time */
};
static struct capacity_share shares[SHARES_MAX];
static struct waiter waiters[CLAIMS_MAX];
static struct {
    size_t n;
    size_t of[HELD_MAX]; /* waiters */
} running;

static void note_grant(const struct capacity_claim *granted)
{
    assert_true(c.held_bytes <= c.total_bytes);
    running.of[running.n++] = (size_t)(CONTAINER_OF(granted, struct waiter, claim) - waiters);
    for (size_t i = 0; i < CLAIMS_MAX; i++) {
        struct waiter *w = &waiters[i];
        if (!capacity_waits(&w->claim))
            continue;
        w->had_nothing = w->had_nothing && w->claim.share->held_bytes == 0;
        w->seen++;
        if (w->had_nothing)
            assert_true(w->seen <= 2 * CAPACITY_PASSES + w->older);
    }
}

static void ask(struct waiter *w)
{
    uint32_t older = (uint32_t)c.waiting.count;
    if (running.n == HELD_MAX || capacity_waits(&w->claim))
        return;
    bool had_nothing = w->claim.share->held_bytes == 0;
    if (capacity_take(&c, &w->claim)) {
        note_grant(&w->claim);
        return;
    }
    w->older = older;
    w->seen = 0;
    w->had_nothing = had_nothing;
}

/* What is idle although somebody wants it is kept for who must not be passed. */
static void check_nothing_idles_in_vain(void)
{
    bool fits = false, kept = false;
    uint64_t held = 0, weights = 0;
    uint64_t room = c.total_bytes - c.held_bytes;
    for (size_t i = 0; i < CLAIMS_MAX; i++) {
        const struct capacity_claim *k = &waiters[i].claim;
        if (!capacity_waits(k))
            continue;
        bool service_in_need = k->share->kind == CAPACITY_SERVICE &&
                               (k->share->held_bytes == 0 ||
                                (double)(k->share->held_bytes + k->bytes) <= (double)c.total_bytes * k->share->weight / (double)c.weights);
        fits = fits || k->bytes <= room;
        kept = kept || (k->bytes > room && (k->passed >= CAPACITY_PASSES || service_in_need));
    }
    assert_true(!fits || kept);
    for (size_t i = 0; i < SHARES_MAX; i++) {
        held += shares[i].held_bytes;
        weights += shares[i].held_bytes || shares[i].n_waiting ? shares[i].weight : 0;
    }
    assert_int_equal(held, c.held_bytes);
    assert_int_equal(weights, c.weights);
}

static void settle(void)
{
    for (struct capacity_claim *k; (k = capacity_next(&c));)
        note_grant(k);
    check_nothing_idles_in_vain();
}

static void begin_round(struct rng *rng)
{
    capacity_init(&c, 16 + rng_below(rng, 100));
    running.n = 0;
    for (size_t i = 0; i < SHARES_MAX; i++)
        capacity_share_init(&shares[i], rng_chance(rng, 0.5) ? CAPACITY_SERVICE : CAPACITY_JOB,
                            (uint32_t)(rng_chance(rng, 0.5) ? 100 : 1 + rng_below(rng, CAPACITY_WEIGHT_MAX)));
    for (size_t i = 0; i < CLAIMS_MAX; i++) {
        uint64_t most = rng_chance(rng, 0.2) ? c.total_bytes : c.total_bytes / 8;
        capacity_claim_init(&waiters[i].claim, &shares[rng_below(rng, SHARES_MAX)], 1 + rng_below(rng, most), 0);
    }
}

static void test_whatever_happens(void **state)
{
    for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
        struct rng rng;
        rng_seed(&rng, seed);
        begin_round(&rng);
        for (int step = 0; step < STEPS; step++) {
            struct waiter *w = &waiters[rng_below(&rng, CLAIMS_MAX)];
            double what = rng_double(&rng);
            if (what < 0.6) {
                ask(w);
            } else if (what < 0.95 && running.n) {
                size_t i = (size_t)rng_below(&rng, running.n);
                const struct capacity_claim *k = &waiters[running.of[i]].claim;
                capacity_give(&c, k->share, k->bytes);
                running.of[i] = running.of[--running.n];
            } else if (what < 0.98) {
                capacity_leave(&c, &w->claim);
            } else {
                capacity_weigh(&c, w->claim.share, (uint32_t)(1 + rng_below(&rng, 1000)));
            }
            settle();
        }
        /* All programs end: all that waits is served, nothing stays behind. */
        while (running.n) {
            const struct capacity_claim *k = &waiters[running.of[--running.n]].claim;
            capacity_give(&c, k->share, k->bytes);
            settle();
        }
        assert_true(list_empty(&c.waiting));
        assert_int_equal(c.held_bytes, 0);
        assert_int_equal(c.weights, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_claims_nothing_is_always_granted),
        cmocka_unit_test(test_an_unknown_host_holds_everything),
        cmocka_unit_test(test_what_fits_ever),
        cmocka_unit_test(test_a_job_alone_uses_all_there_is),
        cmocka_unit_test(test_a_service_in_need_is_next),
        cmocka_unit_test(test_a_job_is_not_starved_by_services),
        cmocka_unit_test(test_small_claims_pass_a_large_one_only_so_often),
        cmocka_unit_test(test_a_higher_priority_goes_first),
        cmocka_unit_test(test_a_weight_changes_what_is_due),
        cmocka_unit_test(test_under_contention_they_hold_by_their_weights),
        cmocka_unit_test(test_whatever_happens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

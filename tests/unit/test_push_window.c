/* test_push_window.c: how the window grows and falls, and when a subscription pauses: arithmetic, so without an engine. */
#include "dispatcher/push.h"
#include "dispatcher/push_window.h"
#include "tests/support/unit.h"

static void settle_many(struct push_window *w, int acks, int nacks, int rounds, int64_t latency_ns)
{
    for (int r = 0; r < rounds; r++)
        for (int i = 0; i < acks + nacks; i++)
            push_window_settled(w, push_window_sent(w, 0), i >= nacks, latency_ns);
}

static void the_backoff_follows_the_share_of_failures(void **state)
{
    const struct {
        const char *name;
        int acks, nacks;
        int64_t min_ms, max_ms;
    } cases[] = {
        {"no failure, no pause", 5, 0, 0, 0},
        {"one in a thousand does not count", 999, 1, 0, 200},
        {"one in five is about half a second", 4, 1, 350, 700},
        {"nothing but failures is half a minute to a minute", 0, 5, 30000, 60000},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct push_window w;
        push_window_init(&w);
        w.size = 1;
        for (int r = 0; r < 200; r++) {
            settle_many(&w, cases[i].acks, cases[i].nacks, 1, 0);
            w.size = 1; /* as long as the memory is the shortest */
        }
        int64_t ms = push_window_backoff_ns(&w) / NS_PER_MS;
        CASE_TRUE(cases[i].name, ms >= cases[i].min_ms && ms <= cases[i].max_ms);
    }
}

static void the_backoff_grows_with_each_failure_from_a_tenth_to_a_minute(void **state)
{
    struct push_window w;
    push_window_init(&w);
    int64_t before_ns = 0;
    for (int i = 0; i < 200; i++) {
        push_window_settled(&w, push_window_sent(&w, 0), false, 0);
        int64_t ns = push_window_backoff_ns(&w);
        assert_true(ns >= PUSH_BACKOFF_MIN_NS && ns <= PUSH_BACKOFF_MAX_NS && ns >= before_ns);
        before_ns = ns;
    }
    assert_true(before_ns > 59 * NS_PER_S);
}

static void the_window_grows_and_falls_within_its_bounds(void **state)
{
    const struct {
        const char *name;
        double from;
        int acks, nacks, rounds;
        int64_t latency_ns;
        double min, max;
    } cases[] = {
        {"one more for each ack", 5, 5, 0, 1, 0, 10, 10},
        {"linear above 3000", 3000, 3000, 0, 1, 0, 3000.9, 3001.1},
        {"never above the maximum", 9999.9999, 100000, 0, 1, 0, 10000, 10000},
        {"a failure halves it", 100, 0, 1, 1, 0, 50, 50},
        {"never below one", 1, 0, 20, 1, 0, 1, 1},
        {"slow answers fall back to 3000", 5000, 20000, 0, 1, 2 * NS_PER_S, 3000, 3001},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct push_window w;
        push_window_init(&w);
        w.size = cases[i].from;
        settle_many(&w, cases[i].acks, cases[i].nacks, cases[i].rounds, cases[i].latency_ns);
        CASE_TRUE(cases[i].name, w.size >= cases[i].min && w.size <= cases[i].max);
    }
}

static void a_burst_of_failures_halves_only_once(void **state)
{
    struct push_window w;
    uint64_t tickets[16];
    push_window_init(&w);
    w.size = 16;
    for (int i = 0; i < 16; i++)
        tickets[i] = push_window_sent(&w, 0);
    for (int i = 0; i < 16; i++)
        push_window_settled(&w, tickets[i], false, 0);
    assert_true(w.size == 8);
    push_window_settled(&w, push_window_sent(&w, 0), false, 0);
    assert_true(w.size == 4);
}

static void want_of_our_own_connections_makes_the_window_smaller_but_does_not_pause(void **state)
{
    struct push_window w;
    push_window_init(&w);
    w.size = 64;
    for (int i = 0; i < 32; i++)
        push_window_crowded(&w, push_window_sent(&w, 0));
    assert_true(w.size < 64);
    assert_int_equal(push_window_backoff_ns(&w), 0);
}

/* An endpoint that takes `base_ns` and answers at most `per_s` (0: any number) pushes a second: more under way only queue. */
struct endpoint {
    int64_t base_ns;
    double per_s;
};

static int64_t endpoint_latency_ns(const struct endpoint *ep, double in_flight)
{
    int64_t queued_ns = ep->per_s > 0 ? (int64_t)(in_flight / ep->per_s * (double)NS_PER_S) : 0;
    return queued_ns > ep->base_ns ? queued_ns : ep->base_ns;
}

/* Keep the window full for so long, all of it sent and settled at a time. */
static int64_t drive(struct push_window *w, const struct endpoint *ep, int64_t now_ns, int64_t for_ns)
{
    for (int64_t end_ns = now_ns + for_ns; now_ns < end_ns;) {
        int n = (int)w->size;
        int64_t latency_ns = endpoint_latency_ns(ep, n);
        uint64_t first = w->ticket;
        for (int i = 0; i < n; i++)
            (void)push_window_sent(w, now_ns);
        for (int i = 0; i < n; i++)
            push_window_settled(w, first + (uint64_t)i, true, latency_ns);
        now_ns += latency_ns;
    }
    return now_ns;
}

static void it_grows_while_that_helps_and_no_further(void **state)
{
    const struct {
        const char *name;
        struct endpoint ep;
        int64_t seconds;
        double min, max;
    } cases[] = {
        {"a quick endpoint that is busy is not piled up on", {50 * NS_PER_US, 80000}, 1, 64, 300},
        {"nor after a while", {50 * NS_PER_US, 80000}, 100, 64, 300},
        {"a slow one that takes any number gets them", {50 * NS_PER_MS, 0}, 20, 3000, 3500},
        {"one that is slow and busy gets twice what it can do", {20 * NS_PER_MS, 10000}, 300, 200, 900},
        {"with few at a time it is not held at all", {1 * NS_PER_MS, 20}, 20, 50, 80},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct push_window w;
        push_window_init(&w);
        drive(&w, &cases[i].ep, 0, cases[i].seconds * NS_PER_S);
        CASE_TRUE(cases[i].name, w.size >= cases[i].min && w.size <= cases[i].max);
    }
}

static void an_endpoint_that_became_slower_by_itself_is_found_out(void **state)
{
    struct push_window w;
    push_window_init(&w);
    int64_t now_ns = drive(&w, &(struct endpoint){50 * NS_PER_US, 80000}, 0, 10 * NS_PER_S);
    assert_true(w.size <= 300);
    drive(&w, &(struct endpoint){100 * NS_PER_MS, 0}, now_ns, PUSH_HELD_NS + 30 * NS_PER_S);
    assert_true(w.size >= 2000);
}

static void quick_failures_do_not_make_good_answers_look_slow(void **state)
{
    struct push_window w;
    push_window_init(&w);
    settle_many(&w, 0, 1000, 1, 10 * NS_PER_US);
    drive(&w, &(struct endpoint){20 * NS_PER_MS, 0}, 0, 20 * NS_PER_S);
    assert_true(w.size >= 2000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_backoff_follows_the_share_of_failures),
        cmocka_unit_test(the_backoff_grows_with_each_failure_from_a_tenth_to_a_minute),
        cmocka_unit_test(the_window_grows_and_falls_within_its_bounds),
        cmocka_unit_test(a_burst_of_failures_halves_only_once),
        cmocka_unit_test(want_of_our_own_connections_makes_the_window_smaller_but_does_not_pause),
        cmocka_unit_test(it_grows_while_that_helps_and_no_further),
        cmocka_unit_test(an_endpoint_that_became_slower_by_itself_is_found_out),
        cmocka_unit_test(quick_failures_do_not_make_good_answers_look_slow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/** test_broker.c: the broker over time: restarts, crashes at any moment, and allocations that fail. */
#include "broker/broker.h"
#include "tests/support/support_broker.h"
#include "tests/support/unit.h"

#include <limits.h>
#include <stdio.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
static void leaks_allowed(bool allowed)
{
    if (allowed)
        __lsan_disable();
    else
        __lsan_enable();
}
#else
static void leaks_allowed(bool allowed) {}
#endif

#define P "projects/test-project"
#define T P "/topics/tee"
#define S P "/subscriptions/sub"

/* ---- restart ---- */

static void watchers_hear_of_loaded_subscriptions(void **state)
{
    struct tb tb;
    tb_start(&tb);
    tb_call(&tb, ERR_OK, "Publisher/CreateTopic", "{\"name\":\"" T "\"}");
    tb_call(&tb, ERR_OK, "Subscriber/CreateSubscription",
            "{\"name\":\"" S "\",\"topic\":\"" T "\",\"pushConfig\":{\"pushEndpoint\":\"http://x/\"}}");
    assert_int_equal(tb.watched.calls, 1);
    tb_restart(&tb, true);
    assert_int_equal(tb.watched.calls, 2);
    assert_string_equal(subscription_name(tb.watched.s), S);
    assert_ptr_equal(broker_subscription(tb.broker, S), tb.watched.s);
    assert_true(broker_has(tb.broker, T) && broker_has(tb.broker, S) && !broker_has(tb.broker, P "/topics/other"));
    tb_call(&tb, ERR_OK, "Subscriber/DeleteSubscription", "{\"subscription\":\"" S "\"}");
    assert_true(tb.watched.gone);
    assert_null(broker_subscription(tb.broker, S));
    tb_stop(&tb);
}

static void on_put(void *arg, const struct err *e) { assert_null(e); }

static void put_message(struct tb *tb, uint64_t seq)
{
    struct store_txn *t = store_txn_new();
    assert_int_equal(store_txn_append(t, 1, seq, FAKE_WALL_NS, STR("\x01\x0a\x02hi"), NULL), 0);
    store_submit(tb->store, t, on_put, NULL);
    tb_run(tb);
}

/* More is missing between two messages than an acknowledged set has room for: the first holds up the rest, and nothing runs in circles. */
static void a_hole_of_any_size_is_passed(void **state)
{
    struct tb tb;
    char id[512];
    tb_start(&tb);
    tb_call(&tb, ERR_OK, "Publisher/CreateTopic", "{\"name\":\"" T "\"}");
    tb_call(&tb, ERR_OK, "Subscriber/CreateSubscription", "{\"name\":\"" S "\",\"topic\":\"" T "\"}");
    put_message(&tb, 1);
    put_message(&tb, STORE_SEQ_MAX);
    tb_restart(&tb, true);
    const char *r = tb_call(&tb, ERR_OK, "Subscriber/Pull", "{\"subscription\":\"" S "\",\"maxMessages\":10,\"returnImmediately\":true}");
    assert_int_equal(tb_count(r, "\"ackId\""), 1);
    snprintf(id, sizeof id, "%s", tb_json(r, "ackId", 0));
    tb_call(&tb, ERR_OK, "Subscriber/Acknowledge", "{\"subscription\":\"" S "\",\"ackIds\":[\"%s\"]}", id);
    tb_advance(&tb, NS_PER_S);
    r = tb_call(&tb, ERR_OK, "Subscriber/Pull", "{\"subscription\":\"" S "\",\"maxMessages\":10,\"returnImmediately\":true}");
    assert_int_equal(tb_count(r, "\"ackId\""), 1);
    snprintf(id, sizeof id, "%s", tb_json(r, "ackId", 0));
    tb_call(&tb, ERR_OK, "Subscriber/Acknowledge", "{\"subscription\":\"" S "\",\"ackIds\":[\"%s\"]}", id);
    tb_advance(&tb, 120 * NS_PER_S); /* maintenance trims it all at once */
    tb_call(&tb, ERR_RESOURCE_EXHAUSTED, "Publisher/Publish", "{\"topic\":\"" T "\",\"messages\":[{\"data\":\"eA==\"}]}");
    tb_stop(&tb);
}

/* Ids of topics come round again, and records get lost: what is left under an id is nothing to its next topic. */
static void a_new_topic_has_nothing_of_an_old_one(void **state)
{
    struct tb tb;
    tb_start(&tb);
    put_message(&tb, 5); /* of topic 1, of which there is no record */
    tb_call(&tb, ERR_OK, "Publisher/CreateTopic", "{\"name\":\"" T "\"}");
    tb_call(&tb, ERR_OK, "Subscriber/CreateSubscription", "{\"name\":\"" S "\",\"topic\":\"" T "\",\"retainAckedMessages\":true}");
    tb_call(&tb, ERR_OK, "Publisher/Publish", "{\"topic\":\"" T "\",\"messages\":[{\"data\":\"eA==\"}]}");
    tb_restart(&tb, true);
    tb_call(&tb, ERR_OK, "Subscriber/Seek", "{\"subscription\":\"" S "\",\"time\":\"2000-01-01T00:00:00Z\"}");
    const char *r = tb_call(&tb, ERR_OK, "Subscriber/Pull", "{\"subscription\":\"" S "\",\"maxMessages\":10,\"returnImmediately\":true}");
    assert_int_equal(tb_count(r, "\"ackId\""), 1);
    assert_string_equal(tb_json(r, "data", 0), "eA==");
    assert_string_equal(tb_json(r, "messageId", 0), "1099511627782"); /* the 6th of topic 1 */
    tb_stop(&tb);
}

/* Pull and hold for ten minutes; returns how many came and the lowest count of attempts. */
static size_t hold(struct tb *tb, int max, long *lowest)
{
    size_t n = 0;
    const char *r =
        tb_call(tb, ERR_OK, "Subscriber/Pull", "{\"subscription\":\"" S "\",\"maxMessages\":%d,\"returnImmediately\":true}", max);
    char ids[32768] = "";
    *lowest = LONG_MAX;
    for (; tb_json(r, "ackId", n); n++) {
        long attempt = strtol(tb_json(r, "deliveryAttempt", n), NULL, 10);
        *lowest = attempt < *lowest ? attempt : *lowest;
        snprintf(ids + strlen(ids), sizeof ids - strlen(ids), "%s\"%s\"", *ids ? "," : "", tb_json(r, "ackId", n));
    }
    tb_call(tb, ERR_OK, "Subscriber/ModifyAckDeadline", "{\"subscription\":\"" S "\",\"ackIds\":[%s],\"ackDeadlineSeconds\":600}", ids);
    return n;
}

/* Also of messages that had not been read again when the counts of others were written. */
static void attempts_outlive_two_restarts(void **state)
{
    enum { MANY = 900, FEW = 5 };
    struct tb tb;
    long lowest;
    tb_start(&tb);
    tb_call(&tb, ERR_OK, "Publisher/CreateTopic", "{\"name\":\"" T "\"}");
    tb_call(&tb, ERR_OK, "Subscriber/CreateSubscription",
            "{\"name\":\"" S "\",\"topic\":\"" T "\",\"deadLetterPolicy\":{\"deadLetterTopic\":\"" T "\",\"maxDeliveryAttempts\":100}}");
    for (int i = 0; i < MANY; i++)
        tb_call(&tb, ERR_OK, "Publisher/Publish", "{\"topic\":\"" T "\",\"messages\":[{\"data\":\"eA==\"}]}");
    for (size_t n = 0; n < MANY;)
        n += hold(&tb, MANY, &lowest);
    tb_advance(&tb, 602 * NS_PER_S); /* they come back, and the counts are written */
    tb_restart(&tb, true);
    assert_int_equal(hold(&tb, FEW, &lowest), FEW);
    assert_int_equal(lowest, 2);
    tb_advance(&tb, 602 * NS_PER_S);
    tb_restart(&tb, true);
    for (size_t n = 0; n < MANY;) {
        n += hold(&tb, MANY, &lowest);
        assert_true(lowest >= 2);
    }
    tb_stop(&tb);
}

/* ---- nothing accepted is lost ---- */

#define SEEDS 40
#define MESSAGES 400
struct ledger {
    bool accepted[MESSAGES], acked[MESSAGES];
    size_t delivered[MESSAGES];
};

static struct tb_call *begin_publish(struct tb *tb, size_t number)
{
    char json[256];
    snprintf(json, sizeof json, "{\"topic\":\"" T "\",\"messages\":[{\"attributes\":{\"n\":\"%zu\"}}]}", number);
    return tb_begin(tb, "Publisher/Publish", json);
}

/* The server dies before, while or just after it answers. */
static void killed_publish(struct tb *tb, struct ledger *l, size_t number)
{
    leaks_allowed(true); /* a killed process frees nothing */
    struct tb_call *c = begin_publish(tb, number);
    store_memory_step(tb->store, rng_below(&tb->fe.rng, 3), ERR_OK);
    leaks_allowed(false);
    l->accepted[number] = c->done && c->call.err.code == ERR_OK;
    tb_restart(tb, true);
    tb_end(c);
}

static void chaos_publish(struct tb *tb, struct ledger *l, size_t *next)
{
    size_t number = *next;
    if (number == MESSAGES)
        return;
    (*next)++;
    if (rng_chance(&tb->fe.rng, 0.1)) {
        killed_publish(tb, l, number);
        return;
    }
    tb->store_fails = rng_chance(&tb->fe.rng, 0.2) ? ERR_UNAVAILABLE : ERR_OK;
    struct tb_call *c = begin_publish(tb, number);
    tb_run(tb);
    l->accepted[number] = c->call.err.code == ERR_OK;
    tb_end(c);
    tb->store_fails = ERR_OK;
}

static void chaos_pull(struct tb *tb, struct ledger *l)
{
    char ids[8192] = "";
    const char *r = tb_call(tb, ERR_OK, "Subscriber/Pull", "{\"subscription\":\"" S "\",\"maxMessages\":20,\"returnImmediately\":true}");
    size_t numbers[20], n = 0;
    for (size_t i = 0; tb_json(r, "ackId", i); i++) {
        size_t number = strtoul(tb_json(r, "n", i), NULL, 10);
        l->delivered[number]++;
        if (l->acked[number])
            fail_msg("message %zu came after its acknowledgement was answered", number);
        if (rng_chance(&tb->fe.rng, 0.4))
            continue;
        numbers[n++] = number;
        snprintf(ids + strlen(ids), sizeof ids - strlen(ids), "%s\"%s\"", *ids ? "," : "", tb_json(r, "ackId", i));
    }
    if (n == 0)
        return;
    tb_call(tb, ERR_OK, "Subscriber/Acknowledge", "{\"subscription\":\"" S "\",\"ackIds\":[%s]}", ids);
    for (size_t i = 0; i < n; i++)
        l->acked[numbers[i]] = true;
}

static void nothing_accepted_is_lost(void **state)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct tb tb;
        struct ledger l = {0};
        size_t next = 0;
        tb_start(&tb);
        rng_seed(&tb.fe.rng, seed);
        tb_call(&tb, ERR_OK, "Publisher/CreateTopic", "{\"name\":\"" T "\"}");
        tb_call(&tb, ERR_OK, "Subscriber/CreateSubscription", "{\"name\":\"" S "\",\"topic\":\"" T "\"}");
        for (int round = 0; round < 600; round++) {
            chaos_publish(&tb, &l, &next);
            if (rng_chance(&tb.fe.rng, 0.2))
                chaos_pull(&tb, &l);
            if (rng_chance(&tb.fe.rng, 0.05))
                tb_advance(&tb, 15 * NS_PER_S);
            if (rng_chance(&tb.fe.rng, 0.02))
                tb_restart(&tb, rng_chance(&tb.fe.rng, 0.7));
        }
        for (int i = 0; i < 200; i++) {
            chaos_pull(&tb, &l);
            tb_advance(&tb, 11 * NS_PER_S);
        }
        for (size_t i = 0; i < next; i++)
            if (l.accepted[i] && !l.acked[i])
                fail_msg("seed %d: message %zu was accepted and never came", (int)seed, i);
        tb_stop(&tb);
    }
}

/* ---- push: a consumer takes by itself ---- */

struct taker {
    struct consumer c;
    struct subscription *s;
    size_t taken, expired, dropped;
};

static void taker_ready(struct consumer *c)
{
    struct taker *t = CONTAINER_OF(c, struct taker, c);
    struct lease *l[8];
    for (size_t n; (n = subscription_take(t->s, 8, 1 << 20, l)) > 0; t->taken += n)
        for (size_t i = 0; i < n; i++)
            subscription_ack(t->s, l[i]);
}

static void taker_expired(struct consumer *c, struct lease *l) { CONTAINER_OF(c, struct taker, c)->expired++; }
static void taker_dropped(struct consumer *c, struct lease *l) { CONTAINER_OF(c, struct taker, c)->dropped++; }

static void a_consumer_is_served(void **state)
{
    struct tb tb;
    struct taker t = {.c = {taker_ready, taker_expired, taker_dropped}};
    tb_start(&tb);
    tb_call(&tb, ERR_OK, "Publisher/CreateTopic", "{\"name\":\"" T "\"}");
    tb_call(&tb, ERR_OK, "Subscriber/CreateSubscription",
            "{\"name\":\"" S "\",\"topic\":\"" T "\",\"pushConfig\":{\"pushEndpoint\":\"http://x/\"}}");
    for (int i = 0; i < 100; i++) /* a backlog before it comes */
        tb_call(&tb, ERR_OK, "Publisher/Publish", "{\"topic\":\"" T "\",\"messages\":[{\"data\":\"eA==\"}]}");
    t.s = broker_subscription(tb.broker, S);
    subscription_consume(t.s, &t.c);
    tb_run(&tb);
    assert_int_equal(t.taken, 100);
    for (int i = 0; i < 100; i++)
        tb_call(&tb, ERR_OK, "Publisher/Publish", "{\"topic\":\"" T "\",\"messages\":[{\"data\":\"eA==\"}]}");
    tb_run(&tb);
    assert_int_equal(t.taken, 200);
    assert_int_equal(subscription_stats(t.s).unacked, 0);
    tb_advance(&tb, 60 * NS_PER_S);
    struct buf text;
    buf_init(&text, 1 << 20);
    assert_int_equal(metrics_render(tb.metrics, &text), 0);
    assert_non_null(strstr(buf_cstr(&text), "runnel_published_messages_total{topic=\"" T "\"} 200"));
    assert_non_null(strstr(buf_cstr(&text), "runnel_deliveries_total{subscription=\"" S "\",result=\"ack\"} 200"));
    assert_non_null(strstr(buf_cstr(&text), "runnel_backlog_messages{subscription=\"" S "\"} 0"));
    buf_fini(&text);
    subscription_consume(t.s, NULL);
    tb_stop(&tb);
}

/* ---- allocations that fail ---- */

static const struct {
    const char *method, *json;
} steps[] = {
    {"Publisher/CreateTopic", "{\"name\":\"" T "\",\"labels\":{\"a\":\"b\"}}"},
    {"Publisher/UpdateTopic", "{\"topic\":{\"name\":\"" T "\",\"labels\":{\"a\":\"c\"}},\"updateMask\":\"labels\"}"},
    {"Subscriber/CreateSubscription", "{\"name\":\"" S "\",\"topic\":\"" T "\",\"retryPolicy\":{},\"filter\":\"attributes:k\"}"},
    {"Publisher/Publish", "{\"topic\":\"" T "\",\"messages\":[{\"data\":\"eA==\",\"attributes\":{\"k\":\"v\"},\"orderingKey\":\"o\"}]}"},
    {"Subscriber/UpdateSubscription", "{\"subscription\":{\"name\":\"" S "\",\"labels\":{\"a\":\"c\"}},\"updateMask\":\"labels\"}"},
    {"Subscriber/ModifyPushConfig", "{\"subscription\":\"" S "\",\"pushConfig\":{}}"},
    {"Subscriber/CreateSnapshot", "{\"name\":\"" P "/snapshots/snap\",\"subscription\":\"" S "\"}"},
    {"Subscriber/UpdateSnapshot", "{\"snapshot\":{\"name\":\"" P "/snapshots/snap\",\"labels\":{\"a\":\"c\"}},\"updateMask\":\"labels\"}"},
    {"Subscriber/Seek", "{\"subscription\":\"" S "\",\"snapshot\":\"" P "/snapshots/snap\"}"},
    {"Subscriber/Seek", "{\"subscription\":\"" S "\",\"time\":\"2025-12-31T00:00:00Z\"}"},
    {"Publisher/ListTopics", "{\"project\":\"" P "\"}"},
    {"Publisher/ListTopicSubscriptions", "{\"topic\":\"" T "\"}"},
    {"Publisher/ListTopicSnapshots", "{\"topic\":\"" T "\"}"},
    {"Subscriber/ListSubscriptions", "{\"project\":\"" P "\"}"},
    {"Subscriber/ListSnapshots", "{\"project\":\"" P "\"}"},
    {"Subscriber/GetSubscription", "{\"subscription\":\"" S "\"}"},
    {"Subscriber/GetSnapshot", "{\"snapshot\":\"" P "/snapshots/snap\"}"},
    {"Subscriber/Pull", "{\"subscription\":\"" S "\",\"maxMessages\":5,\"returnImmediately\":true}"},
    {"Publisher/DetachSubscription", "{\"subscription\":\"" S "\"}"},
    {"Subscriber/DeleteSubscription", "{\"subscription\":\"" S "\"}"},
    {"Subscriber/DeleteSnapshot", "{\"snapshot\":\"" P "/snapshots/snap\"}"},
    {"Publisher/DeleteTopic", "{\"topic\":\"" T "\"}"},
};

/* Every allocation of every step fails once; the step answers, and can then be done as if nothing had happened. */
static void failed_allocations_leave_nothing(void **state)
{
    struct tb tb;
    tb_start(&tb);
    for (size_t i = 0; i < ARRAY_LEN(steps); i++)
        for (size_t nth = 1;; nth++) {
            tb.fault.what = FAULT_ALLOC;
            tb.fault.nth = nth;
            tb.fault.times = FAULT_ONCE;
            struct tb_call *c = tb_begin(&tb, steps[i].method, steps[i].json);
            for (int wait = 0; !c->done && wait < 100; wait++)
                tb_advance(&tb, NS_PER_S / 10);
            bool failed = fault_disarm();
            if (!c->done)
                fail_msg("%s: allocation %zu: no answer", steps[i].method, nth);
            enum err_code code = c->call.err.code;
            /* What is durable may be reported as failed when there is no memory for the answer. */
            bool done_already = nth > 1 && (code == ERR_ALREADY_EXISTS || code == ERR_NOT_FOUND);
            if (code != ERR_OK && code != ERR_RESOURCE_EXHAUSTED && !done_already)
                fail_msg("%s: allocation %zu: %s: %s", steps[i].method, nth, err_name(code), c->text);
            tb_end(c);
            tb_run(&tb);
            if (done_already || (code == ERR_OK && !failed))
                break;
            if (code == ERR_OK && strstr(steps[i].method, "/Create")) /* it went through all the same */
                break;
            if (code == ERR_OK && strstr(steps[i].method, "/Delete"))
                break;
        }
    assert_string_equal(tb_call(&tb, ERR_OK, "Publisher/ListTopics", "{\"project\":\"" P "\"}"), "{}");
    tb_stop(&tb);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(watchers_hear_of_loaded_subscriptions), cmocka_unit_test(a_consumer_is_served),
        cmocka_unit_test(a_hole_of_any_size_is_passed),          cmocka_unit_test(a_new_topic_has_nothing_of_an_old_one),
        cmocka_unit_test(attempts_outlive_two_restarts),         cmocka_unit_test(nothing_accepted_is_lost),
        cmocka_unit_test(failed_allocations_leave_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

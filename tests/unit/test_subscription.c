/** test_subscription.c: leases, deadlines, retries and ordering keys against an adapter that only takes notes. */
#include "broker/subscription_int.h"
#include "core/rpc/pb.h"
#include "tests/support/unit.h"

#include <stdio.h>

typedef Google__Pubsub__V1__Subscription PbSubscription;
typedef Google__Pubsub__V1__RetryPolicy PbRetry;

/* ---- an adapter that takes notes ---- */

struct fake {
    struct adapter a;
    size_t credit, acked;
    int64_t bytes;
    uint64_t last_acked;
};

static void fake_credit(struct adapter_sub *s, size_t count, size_t bytes)
{
    struct fake *f = (struct fake *)(void *)s;
    f->credit += count;
    f->bytes += (int64_t)bytes;
}

static void fake_ack(struct adapter_sub *s, const struct msg_pos *pos, size_t n, adapter_done_fn done, void *arg)
{
    struct fake *f = (struct fake *)(void *)s;
    f->acked += n;
    if (n)
        f->last_acked = pos[n - 1].lo;
    if (done)
        done(arg, NULL);
}

static void fake_retention(struct adapter_sub *s, int64_t retention_ns, bool retain_acked) {}
static struct adapter_sub_stats fake_stats(const struct adapter_sub *s) { return (struct adapter_sub_stats){.unread = 7}; }
static const struct adapter_ops fake_ops = {
    .name = "fake", .credit = fake_credit, .ack = fake_ack, .sub_retention = fake_retention, .stats = fake_stats};

/* ---- the subscription under test ---- */

struct fx {
    struct fake_env fe;
    struct fake fake;
    struct subscription_deps deps;
    struct subscription *s;
    struct consumer consumer;
    size_t ready, expired, dropped, dead, served, attempts;
    uint64_t next;
    struct lease *taken[64];
};
static struct fx *the; /* callbacks of the consumer have no argument of their own */

static void on_ready(struct consumer *c) { the->ready++; }
static void on_expired(struct consumer *c, struct lease *l)
{
    assert_int_not_equal(l->state, LEASE_SENT);
    the->expired++;
}
static void on_drop(struct consumer *c, struct lease *l) { the->dropped++; }
static void on_serve(struct subscription *s) { the->served++; }
static void on_dead(struct subscription *s, struct lease *l) { the->dead++; }
static void on_attempts(struct subscription *s) { the->attempts++; }

static void fx_start(struct fx *fx, const PbSubscription *config, bool push)
{
    struct err e;
    *fx = (struct fx){.consumer = {on_ready, on_expired, on_drop}, .next = 1};
    the = fx;
    support_env(&fx->fe);
    fx->fake.a.ops = &fake_ops;
    fx->deps = (struct subscription_deps){
        .env = &fx->fe.env, .adapter = &fx->fake.a, .serve_pulls = on_serve, .dead_letter = on_dead, .attempts_changed = on_attempts};
    fx->s = subscription_new(&fx->deps, config, &e);
    assert_non_null(fx->s);
    subscription_start(fx->s, (struct adapter_sub *)(void *)&fx->fake);
    if (push)
        subscription_consume(fx->s, &fx->consumer);
}

static void fx_stop(struct fx *fx)
{
    subscription_free(fx->s);
    assert_int_equal(fx->deps.lease_bytes, 0);
    support_env_fini(&fx->fe);
}

static PbSubscription plain(void)
{
    PbSubscription c = GOOGLE__PUBSUB__V1__SUBSCRIPTION__INIT;
    c.name = (char *)"projects/p/subscriptions/sub";
    return c;
}

static void deliver(struct fx *fx, const char *key)
{
    Google__Pubsub__V1__PubsubMessage m = GOOGLE__PUBSUB__V1__PUBSUB_MESSAGE__INIT;
    struct err e;
    m.data = (ProtobufCBinaryData){1, (uint8_t *)(uintptr_t) "x"};
    m.ordering_key = (char *)(uintptr_t)key;
    struct message *msg = message_new(&m, 0, &e);
    assert_non_null(msg);
    msg->pos.lo = fx->next++;
    msg->publish_wall_ns = fx->fe.clock.wall_ns;
    assert_int_equal(subscription_events()->on_messages(fx->s, &msg, 1), 1);
}

static size_t take(struct fx *fx, size_t max) { return subscription_take(fx->s, max, 1 << 20, fx->taken); }
static size_t in_state(struct fx *fx, enum lease_state state) { return subscription_stats(fx->s).in_state[state]; }
static void pass(struct fx *fx, int64_t ns) { fake_env_advance(&fx->fe, ns); }

/* ---- cases ---- */

static void take_and_ack(void **state)
{
    struct fx fx;
    PbSubscription c = plain();
    fx_start(&fx, &c, true);
    for (int i = 0; i < 3; i++)
        deliver(&fx, "");
    assert_int_equal(fx.ready, 0); /* never from inside */
    pass(&fx, 0);
    assert_int_equal(fx.ready, 1); /* once for all of them */
    assert_int_equal(take(&fx, 2), 2);
    assert_int_equal(fx.taken[0]->msg->pos.lo, 1);
    assert_int_equal(fx.taken[1]->msg->pos.lo, 2);
    assert_int_equal(in_state(&fx, LEASE_SENT), 2);
    assert_int_equal(fx.taken[0]->attempt, 1);
    subscription_ack(fx.s, fx.taken[1]);
    assert_int_equal(fx.fake.last_acked, 2);
    assert_int_equal(in_state(&fx, LEASE_SENT), 1);
    assert_int_equal(subscription_backlog(fx.s), 1 + 7);
    fx_stop(&fx);
}

static void deadline_expires(void **state)
{
    struct fx fx;
    PbSubscription c = plain();
    c.ack_deadline_seconds = 20;
    fx_start(&fx, &c, true);
    deliver(&fx, "");
    take(&fx, 1);
    pass(&fx, 20 * NS_PER_S - 1);
    assert_int_equal(fx.expired, 0);
    pass(&fx, 1);
    assert_int_equal(fx.expired, 1);
    assert_int_equal(in_state(&fx, LEASE_READY), 1); /* no policy: at once */
    take(&fx, 1);
    assert_int_equal(fx.taken[0]->attempt, 2);
    subscription_extend(fx.s, fx.taken[0], 100 * NS_PER_S);
    pass(&fx, 99 * NS_PER_S);
    assert_int_equal(fx.expired, 1);
    pass(&fx, NS_PER_S);
    assert_int_equal(fx.expired, 2);
    fx_stop(&fx);
}

static const struct {
    const char *name;
    int min_s, max_s; /* -1: left out; min_s -2: no policy at all */
    unsigned attempt;
    int64_t delay_s, want_s;
} backoffs[] = {
    {"without a policy it is ready at once", -2, -2, 1, 0, 0},
    {"without a policy the caller's delay counts", -2, -2, 1, 5, 5},
    {"the first nack waits the minimum", 2, 60, 1, 0, 2},
    {"the second twice as long", 2, 60, 2, 0, 4},
    {"it is capped at the maximum", 2, 60, 20, 0, 60},
    {"the larger of the two counts", 2, 60, 1, 30, 30},
    {"the minimum left out is 10 s", -1, -1, 1, 0, 10},
    {"the maximum left out is 600 s", 100, -1, 10, 0, 600},
    {"no minimum is no wait", 0, 60, 9, 0, 0},
};

static void retry_policy(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(backoffs); i++) {
        struct fx fx;
        PbSubscription c = plain();
        PbRetry r = GOOGLE__PUBSUB__V1__RETRY_POLICY__INIT;
        Google__Protobuf__Duration min = GOOGLE__PROTOBUF__DURATION__INIT, max = min;
        min.seconds = backoffs[i].min_s;
        max.seconds = backoffs[i].max_s;
        r.minimum_backoff = min.seconds >= 0 ? &min : NULL;
        r.maximum_backoff = max.seconds >= 0 ? &max : NULL;
        c.retry_policy = min.seconds == -2 ? NULL : &r;
        fx_start(&fx, &c, true);
        deliver(&fx, "");
        for (unsigned attempt = 1; attempt < backoffs[i].attempt; attempt++) {
            CASE_INT(backoffs[i].name, take(&fx, 1), 1);
            subscription_nack(fx.s, fx.taken[0], 0);
            pass(&fx, 600 * NS_PER_S);
        }
        CASE_INT(backoffs[i].name, take(&fx, 1), 1);
        subscription_nack(fx.s, fx.taken[0], backoffs[i].delay_s * NS_PER_S);
        if (backoffs[i].want_s) {
            pass(&fx, backoffs[i].want_s * NS_PER_S - 1);
            CASE_INT(backoffs[i].name, take(&fx, 1), 0);
            pass(&fx, 1);
        }
        CASE_INT(backoffs[i].name, take(&fx, 1), 1);
        fx_stop(&fx);
    }
}

static void one_per_key_for_push(void **state)
{
    struct fx fx;
    PbSubscription c = plain();
    c.enable_message_ordering = true;
    fx_start(&fx, &c, true);
    deliver(&fx, "a"); /* 1 */
    deliver(&fx, "a"); /* 2 */
    deliver(&fx, "b"); /* 3 */
    deliver(&fx, "");  /* 4 */
    deliver(&fx, "a"); /* 5 */
    assert_int_equal(take(&fx, 10), 3);
    assert_int_equal(fx.taken[0]->msg->pos.lo, 1);
    assert_int_equal(fx.taken[1]->msg->pos.lo, 3);
    assert_int_equal(fx.taken[2]->msg->pos.lo, 4);
    assert_int_equal(in_state(&fx, LEASE_BLOCKED), 2);
    struct lease *first = fx.taken[0];
    subscription_nack(fx.s, first, NS_PER_S); /* its successors wait with it */
    assert_int_equal(take(&fx, 10), 0);
    pass(&fx, NS_PER_S);
    assert_int_equal(take(&fx, 10), 1);
    assert_ptr_equal(fx.taken[0], first);
    subscription_ack(fx.s, first);
    assert_int_equal(take(&fx, 10), 1);
    assert_int_equal(fx.taken[0]->msg->pos.lo, 2);
    subscription_ack(fx.s, fx.taken[0]);
    assert_int_equal(take(&fx, 10), 1);
    assert_int_equal(fx.taken[0]->msg->pos.lo, 5);
    fx_stop(&fx);
}

static void pull_replays_a_key(void **state)
{
    struct fx fx;
    struct lease *got[8];
    PbSubscription c = plain();
    c.enable_message_ordering = true;
    fx_start(&fx, &c, false);
    for (int i = 0; i < 4; i++)
        deliver(&fx, "a");
    assert_int_equal(subscription_pull(fx.s, 3, 1 << 20, got), 3); /* in order, in one answer */
    uint64_t third = got[2]->number;
    assert_int_equal(subscription_pull(fx.s, 8, 1 << 20, got + 3), 0);
    subscription_ack(fx.s, got[0]);
    subscription_nack(fx.s, got[1], 0);
    assert_null(subscription_pulled(fx.s, third)); /* taken back: it comes after its predecessor */
    assert_int_equal(subscription_pull(fx.s, 8, 1 << 20, got), 3);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(got[i]->msg->pos.lo, i + 2);
    subscription_ack(fx.s, got[2]); /* out of order is fine */
    subscription_ack(fx.s, got[0]);
    subscription_ack(fx.s, got[1]);
    assert_int_equal(fx.fake.acked, 4);
    fx_stop(&fx);
}

static void expiry_replays_a_key(void **state)
{
    struct fx fx;
    struct lease *got[8];
    PbSubscription c = plain();
    c.enable_message_ordering = true;
    fx_start(&fx, &c, false);
    for (int i = 0; i < 3; i++)
        deliver(&fx, "a");
    subscription_pull(fx.s, 3, 1 << 20, got);
    subscription_extend(fx.s, got[1], 60 * NS_PER_S);
    subscription_extend(fx.s, got[2], 60 * NS_PER_S);
    pass(&fx, 10 * NS_PER_S);
    assert_int_equal(in_state(&fx, LEASE_READY), 1);
    assert_int_equal(in_state(&fx, LEASE_BLOCKED), 2);
    assert_int_equal(subscription_pull(fx.s, 8, 1 << 20, got), 3);
    assert_int_equal(got[0]->msg->pos.lo, 1);
    fx_stop(&fx);
}

static void credit_follows(void **state)
{
    struct fx fx;
    PbSubscription c = plain();
    fx_start(&fx, &c, false);
    assert_int_equal(fx.fake.credit, PREFETCH_START); /* pulls: a little ahead */
    subscription_consume(fx.s, &fx.consumer);
    assert_int_equal(fx.fake.credit, LEASES_MAX);
    for (size_t i = 0; i < LEASES_MAX; i++)
        deliver(&fx, "");
    assert_int_equal(fx.fake.credit, LEASES_MAX); /* full */
    size_t settled = 0;
    while (settled < LEASES_MAX / 2) {
        size_t n = take(&fx, 64);
        for (size_t i = 0; i < n; i++)
            subscription_ack(fx.s, fx.taken[i]);
        settled += n;
    }
    assert_true(fx.fake.credit >= LEASES_MAX + LEASES_MAX / 4);
    assert_true(fx.fake.credit <= LEASES_MAX + settled);
    fx_stop(&fx);
}

static void prefetch_grows_with_pulls_that_want_more(void **state)
{
    struct fx fx;
    struct lease *got[PREFETCH_MAX];
    PbSubscription c = plain();
    size_t delivered = 0;
    fx_start(&fx, &c, false);
    for (int pulls = 0; pulls < 8; pulls++) {
        for (; delivered < fx.fake.credit; delivered++)
            deliver(&fx, "");
        size_t ahead = in_state(&fx, LEASE_READY);
        assert_true(ahead <= PREFETCH_MAX);
        assert_int_equal(subscription_pull(fx.s, 1, 1 << 20, got), 1); /* all it asked for: no reason to grow */
        size_t n = subscription_pull(fx.s, PREFETCH_MAX, 1 << 20, got);
        assert_int_equal(n, ahead - 1);
    }
    for (; delivered < fx.fake.credit; delivered++)
        deliver(&fx, "");
    assert_int_equal(in_state(&fx, LEASE_READY), PREFETCH_MAX);
    fx_stop(&fx);
}

static void consumer_leaves(void **state)
{
    struct fx fx;
    PbSubscription c = plain();
    fx_start(&fx, &c, true);
    for (int i = 0; i < 5; i++)
        deliver(&fx, "");
    take(&fx, 5);
    subscription_consume(fx.s, NULL);
    assert_int_equal(in_state(&fx, LEASE_READY), 5);
    assert_int_equal(fx.dropped, 0);
    subscription_consume(fx.s, &fx.consumer);
    take(&fx, 5);
    subscription_drop(fx.s);
    assert_int_equal(fx.dropped, 5);
    pass(&fx, 100 * NS_PER_S);
    assert_int_equal(fx.expired, 0);
    fx_stop(&fx);
}

static void attempts_run_out(void **state)
{
    struct fx fx;
    PbSubscription c = plain();
    Google__Pubsub__V1__DeadLetterPolicy d = GOOGLE__PUBSUB__V1__DEAD_LETTER_POLICY__INIT;
    d.dead_letter_topic = (char *)"projects/p/topics/dead";
    c.dead_letter_policy = &d;
    fx_start(&fx, &c, true);
    deliver(&fx, "");
    for (int i = 1; i <= 5; i++) {
        assert_int_equal(take(&fx, 1), 1);
        assert_int_equal(fx.taken[0]->attempt, i);
        if (i % 2)
            subscription_nack(fx.s, fx.taken[0], 0);
        else
            pass(&fx, 10 * NS_PER_S);
    }
    assert_int_equal(fx.dead, 1);
    assert_int_equal(take(&fx, 1), 0);
    subscription_revive(fx.s, fx.taken[0], NS_PER_S);
    pass(&fx, NS_PER_S);
    assert_int_equal(fx.dead, 2); /* tried again, not delivered */
    subscription_bury(fx.s, fx.taken[0]);
    assert_int_equal(fx.fake.acked, 1);
    assert_true(fx.attempts >= 5);
    fx_stop(&fx);
}

static void too_old(void **state)
{
    struct fx fx;
    PbSubscription c = plain();
    Google__Protobuf__Duration keep = GOOGLE__PROTOBUF__DURATION__INIT;
    keep.seconds = 600;
    c.message_retention_duration = &keep;
    fx_start(&fx, &c, true);
    deliver(&fx, "");
    pass(&fx, 601 * NS_PER_S);
    deliver(&fx, "");
    assert_int_equal(take(&fx, 10), 1);
    assert_int_equal(fx.taken[0]->msg->pos.lo, 2);
    assert_int_equal(fx.fake.last_acked, 1);
    fx_stop(&fx);
}

static void filtered(void **state)
{
    struct fx fx;
    PbSubscription c = plain();
    c.filter = (char *)"attributes:wanted";
    fx_start(&fx, &c, true);
    deliver(&fx, "");
    assert_int_equal(take(&fx, 1), 0);
    assert_int_equal(fx.fake.acked, 1);
    fx_stop(&fx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(take_and_ack),
        cmocka_unit_test(deadline_expires),
        cmocka_unit_test(retry_policy),
        cmocka_unit_test(one_per_key_for_push),
        cmocka_unit_test(pull_replays_a_key),
        cmocka_unit_test(expiry_replays_a_key),
        cmocka_unit_test(credit_follows),
        cmocka_unit_test(prefetch_grows_with_pulls_that_want_more),
        cmocka_unit_test(consumer_leaves),
        cmocka_unit_test(attempts_run_out),
        cmocka_unit_test(too_old),
        cmocka_unit_test(filtered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/** test_adapter_conformance.c: what every broker adapter must do, as a table of cases over a table of adapters. */
#include "tests/unit/adapter_readers.h"

#include "broker/adapter.h"

/* ---- cases ---- */

static void in_order(struct fx *fx)
{
    struct adapter_topic *t = make_topic(fx, NULL);
    struct reader r;
    append_range(fx, t, 0, 5);
    make_reader(fx, t, &r);
    credit(fx, &r, 1000);
    append_range(fx, t, 5, 305);
    wait_got(fx, &r, 300);
    expect_numbers(&r, 0, 5, 1);
    for (size_t i = 1; i < r.n; i++) {
        assert_true(r.got[i]->publish_wall_ns >= r.got[i - 1]->publish_wall_ns);
        assert_string_not_equal(r.got[i]->id, r.got[i - 1]->id);
    }
    barrier(fx);
    assert_int_equal(r.n, 300);
    reader_free(&r);
}

static void credit_limits(struct fx *fx)
{
    struct adapter_topic *t = make_topic(fx, NULL);
    struct reader r;
    make_reader(fx, t, &r);
    append_range(fx, t, 0, 100);
    barrier(fx);
    assert_int_equal(r.n, 0);
    credit(fx, &r, 7);
    wait_got(fx, &r, 7);
    barrier(fx);
    assert_int_equal(r.n, 7);
    fx->a->ops->credit(r.sub, 10, 1); /* one message fits any number of bytes */
    barrier(fx);
    assert_true(r.n >= 7 && r.n <= 17);
    credit(fx, &r, 100);
    wait_got(fx, &r, 100);
    expect_numbers(&r, 0, 0, 1);
    reader_free(&r);
}

static void bytes_limit(struct fx *fx)
{
    struct adapter_topic *t = make_topic(fx, NULL);
    struct reader r;
    make_reader(fx, t, &r);
    append_range(fx, t, 0, 10);
    fx->a->ops->credit(r.sub, 10, 1);
    wait_got(fx, &r, 1);
    barrier(fx);
    assert_int_equal(r.n, 1);
    reader_free(&r);
}

static void acks_survive(struct fx *fx, bool crash)
{
    char topic[ADAPTER_HANDLE_MAX + 1];
    struct adapter_topic *t = make_topic(fx, topic);
    struct reader r;
    make_reader(fx, t, &r);
    append_range(fx, t, 0, 100);
    credit(fx, &r, 100);
    wait_got(fx, &r, 100);
    ack(fx, &r, 1, 100, 2);
    struct adapter_sub_stats st = fx->a->ops->stats(r.sub);
    assert_int_equal(st.unacked, 50);
    assert_int_equal(st.unread, 0);
    reader_forget(&r);
    t = reopen(fx, topic, crash);
    reader_open(fx, t, &r);
    st = fx->a->ops->stats(r.sub);
    assert_int_equal(st.unacked, 50);
    assert_int_equal(st.unread, 50);
    credit(fx, &r, 1000);
    wait_got(fx, &r, 50);
    append_range(fx, t, 100, 101);
    wait_got(fx, &r, 51);
    assert_int_equal(number_of(r.got[50]), 100);
    message_unref(r.got[--r.n]);
    expect_numbers(&r, 0, 0, 2);
    reader_free(&r);
}

static void acks_survive_crash(struct fx *fx) { acks_survive(fx, true); }
static void acks_survive_close(struct fx *fx) { acks_survive(fx, false); }

static void far_behind(struct fx *fx)
{
    struct adapter_topic *t = make_topic(fx, NULL);
    struct reader r;
    size_t total = 100000;
    make_reader(fx, t, &r);
    append_range(fx, t, 0, total);
    while (r.n < total) {
        size_t from = r.n, to = from + 20000 < total ? from + 20000 : total;
        credit(fx, &r, to - from);
        wait_got(fx, &r, to);
        assert_int_equal(r.n, to);
        ack(fx, &r, from, to, 1);
    }
    expect_numbers(&r, 0, 0, 1);
    assert_int_equal(fx->a->ops->stats(r.sub).unacked, 0);
    reader_free(&r);
}

static void any_order(struct fx *fx)
{
    char topic[ADAPTER_HANDLE_MAX + 1];
    struct adapter_topic *t = make_topic(fx, topic);
    struct reader r;
    make_reader(fx, t, &r);
    append_range(fx, t, 0, 20000); /* several chunks of bits */
    credit(fx, &r, 20000);
    wait_got(fx, &r, 20000);
    size_t want = fx->done;
    for (size_t i = 20000; i-- > 1; want++)
        fx->a->ops->ack(r.sub, &r.got[i]->pos, 1, on_done, fx);
    wait_done(fx, want, "acknowledgements");
    assert_int_equal(fx->a->ops->stats(r.sub).unacked, 1);
    ack(fx, &r, 0, 1, 1);
    ack(fx, &r, 0, 20000, 7); /* once more: ignored */
    assert_int_equal(fx->a->ops->stats(r.sub).unacked, 0);
    reader_forget(&r);
    t = reopen(fx, topic, true);
    reader_open(fx, t, &r);
    assert_int_equal(fx->a->ops->stats(r.sub).unacked, 0);
    reader_free(&r);
}

static void unknown_positions(struct fx *fx)
{
    struct adapter_topic *t = make_topic(fx, NULL);
    struct reader r;
    struct msg_pos wild[] = {{0, 1000000}, {7, 1}, {0, 5}};
    make_reader(fx, t, &r);
    append_range(fx, t, 0, 10);
    size_t want = fx->done + 1;
    fx->a->ops->ack(r.sub, wild, ARRAY_LEN(wild), on_done, fx); /* nothing was delivered yet */
    wait_done(fx, want, "an acknowledgement");
    assert_int_equal(fx->a->ops->stats(r.sub).unacked, 10);
    credit(fx, &r, 10);
    wait_got(fx, &r, 10);
    reader_free(&r);
}

static void independent(struct fx *fx)
{
    struct adapter_topic *t = make_topic(fx, NULL);
    struct reader a, b;
    make_reader(fx, t, &a);
    make_reader(fx, t, &b);
    append_range(fx, t, 0, 10);
    credit(fx, &a, 10);
    wait_got(fx, &a, 10);
    ack(fx, &a, 0, 10, 1);
    credit(fx, &b, 10);
    wait_got(fx, &b, 10);
    expect_numbers(&b, 0, 0, 1);
    reader_free(&a);
    reader_free(&b);
}

static void seek_back(struct fx *fx, bool retain)
{
    struct adapter_topic *t = make_topic(fx, NULL);
    struct reader r;
    make_reader(fx, t, &r);
    fx->a->ops->sub_retention(r.sub, 7 * DAY_NS, retain);
    append_range(fx, t, 0, 10);
    fake_clock_move(&fx->fe.clock, 60 * NS_PER_S);
    int64_t between_ns = fx->fe.clock.wall_ns - 30 * NS_PER_S;
    append_range(fx, t, 10, 20);
    credit(fx, &r, 100);
    wait_got(fx, &r, 20);
    ack(fx, &r, 0, 18, 1);
    reader_forget(&r);
    size_t want = fx->done + 1;
    fx->a->ops->seek_time(r.sub, between_ns, on_done, fx);
    assert_true(fx->done < want);
    wait_done(fx, want, "a seek");
    barrier(fx);
    assert_int_equal(r.n, 0); /* no credit any more */
    credit(fx, &r, 100);
    wait_got(fx, &r, retain ? 10 : 2);
    barrier(fx);
    assert_int_equal(r.n, retain ? 10 : 2);
    expect_numbers(&r, 0, retain ? 10 : 18, 1);
    reader_free(&r);
}

static void seek_back_retained(struct fx *fx) { seek_back(fx, true); }
static void seek_back_not_retained(struct fx *fx) { seek_back(fx, false); }

static void seek_forward(struct fx *fx)
{
    char topic[ADAPTER_HANDLE_MAX + 1];
    struct adapter_topic *t = make_topic(fx, topic);
    struct reader r;
    make_reader(fx, t, &r);
    append_range(fx, t, 0, 10);
    size_t want = fx->done + 1;
    fx->a->ops->seek_time(r.sub, fx->fe.clock.wall_ns + DAY_NS, on_done, fx);
    wait_done(fx, want, "a seek");
    assert_int_equal(fx->a->ops->stats(r.sub).unacked, 0);
    t = reopen(fx, topic, true);
    reader_open(fx, t, &r);
    credit(fx, &r, 100);
    append_range(fx, t, 10, 12);
    wait_got(fx, &r, 2);
    expect_numbers(&r, 0, 10, 1);
    reader_free(&r);
}

static void snapshots(struct fx *fx)
{
    char topic[ADAPTER_HANDLE_MAX + 1], snapshot[ADAPTER_HANDLE_MAX + 1];
    struct adapter_topic *t = make_topic(fx, topic);
    struct reader r;
    struct err e;
    make_reader(fx, t, &r);
    append_range(fx, t, 0, 10);
    credit(fx, &r, 100);
    wait_got(fx, &r, 10);
    ack(fx, &r, 0, 10, 3); /* 0 3 6 9 */
    size_t want = fx->done + 1;
    fx->a->ops->snapshot_create(r.sub, "projects/p/snapshots/n", on_handle, fx);
    wait_done(fx, want, "a snapshot");
    snprintf(snapshot, sizeof snapshot, "%s", fx->handle);
    append_range(fx, t, 10, 11);
    wait_got(fx, &r, 11);
    ack(fx, &r, 0, 11, 1);
    fx->a->ops->maintain(fx->a, fx->fe.clock.wall_ns); /* the snapshot keeps what it needs */
    barrier(fx);
    reader_forget(&r);
    t = reopen(fx, topic, true);
    reader_open(fx, t, &r);
    assert_int_equal(fx->a->ops->snapshot_open(t, snapshot, &e), 0);
    fx->a->ops->maintain(fx->a, fx->fe.clock.wall_ns);
    want = fx->done + 1;
    fx->a->ops->seek_snapshot(r.sub, snapshot, on_done, fx);
    wait_done(fx, want, "a seek");
    credit(fx, &r, 100);
    wait_got(fx, &r, 7);
    barrier(fx);
    static const size_t wanted[] = {1, 2, 4, 5, 7, 8, 10};
    assert_int_equal(r.n, 7);
    for (size_t i = 0; i < 7; i++)
        assert_int_equal(number_of(r.got[i]), wanted[i]);
    want = fx->done + 1;
    fx->a->ops->snapshot_delete(t, snapshot, on_done, fx);
    wait_done(fx, want, "a deletion");
    assert_int_equal(fx->failed, 0);
    assert_int_not_equal(fx->a->ops->snapshot_open(t, snapshot, &e), 0);
    reader_free(&r);
}

static void retention(struct fx *fx)
{
    struct adapter_topic *t = make_topic(fx, NULL);
    struct reader r;
    make_reader(fx, t, &r);
    fx->a->ops->sub_retention(r.sub, 600 * NS_PER_S, false);
    append_range(fx, t, 0, 10);
    fake_clock_move(&fx->fe.clock, 500 * NS_PER_S);
    append_range(fx, t, 10, 15);
    fx->a->ops->maintain(fx->a, fx->fe.clock.wall_ns);
    barrier(fx);
    assert_int_equal(fx->a->ops->stats(r.sub).unacked, 15);
    fake_clock_move(&fx->fe.clock, 200 * NS_PER_S);
    fx->a->ops->maintain(fx->a, fx->fe.clock.wall_ns);
    barrier(fx);
    assert_int_equal(fx->a->ops->stats(r.sub).unacked, 5);
    credit(fx, &r, 100);
    wait_got(fx, &r, 5);
    expect_numbers(&r, 0, 10, 1);
    reader_free(&r);
}

static void topic_retention(struct fx *fx)
{
    struct adapter_topic *t = make_topic(fx, NULL);
    struct reader r;
    fx->a->ops->topic_retention(t, DAY_NS);
    append_range(fx, t, 0, 10);
    fx->a->ops->maintain(fx->a, fx->fe.clock.wall_ns);
    barrier(fx);
    make_reader(fx, t, &r);
    size_t want = fx->done + 1;
    fx->a->ops->seek_time(r.sub, fx->fe.clock.wall_ns - DAY_NS, on_done, fx); /* to before it was made */
    wait_done(fx, want, "a seek");
    credit(fx, &r, 100);
    wait_got(fx, &r, 10);
    expect_numbers(&r, 0, 0, 1);
    reader_free(&r);
}

static void deleted_topic(struct fx *fx)
{
    char topic[ADAPTER_HANDLE_MAX + 1];
    struct adapter_topic *t = make_topic(fx, topic), *again;
    struct reader r;
    struct err e;
    make_reader(fx, t, &r);
    append_range(fx, t, 0, 10);
    size_t want = fx->done + 1;
    fx->a->ops->topic_delete(t, on_done, fx);
    wait_done(fx, want, "a deletion");
    t = reopen(fx, topic, true);
    reader_open(fx, t, &r);
    fx->a->ops->maintain(fx->a, fx->fe.clock.wall_ns);
    barrier(fx);
    credit(fx, &r, 100);
    wait_got(fx, &r, 10); /* the backlog stays */
    want = fx->done + 1;
    fx->a->ops->sub_delete(r.sub, on_done, fx);
    wait_done(fx, want, "a deletion");
    barrier(fx);
    assert_int_equal(fx->a->ops->topic_open(fx->a, topic, &again, &e), 0); /* it is kept for who has it open */
    assert_ptr_equal(again, t);
    fx->a->ops->topic_close(t);
    barrier(fx);
    barrier(fx);
    assert_int_not_equal(fx->a->ops->topic_open(fx->a, topic, &again, &e), 0); /* and now it is gone */
    reader_free(&r);
}

static void orphans(struct fx *fx)
{
    char topic[ADAPTER_HANDLE_MAX + 1];
    struct adapter_topic *t = make_topic(fx, topic);
    struct reader r;
    struct err e;
    make_reader(fx, t, &r);
    t = reopen(fx, topic, true);
    fx->a->ops->maintain(fx->a, fx->fe.clock.wall_ns); /* nobody opened the reader: its record was never written */
    barrier(fx);
    struct adapter_sub *s;
    assert_int_not_equal(fx->a->ops->sub_open(t, r.handle, &events, &r, &s, &e), 0);
    reader_free(&r);
}

static void no_reuse(struct fx *fx)
{
    char topic[ADAPTER_HANDLE_MAX + 1];
    struct adapter_topic *t = make_topic(fx, topic);
    struct reader r;
    make_reader(fx, t, &r);
    append_range(fx, t, 0, 10);
    credit(fx, &r, 10);
    wait_got(fx, &r, 10);
    ack(fx, &r, 0, 10, 1);
    fx->a->ops->maintain(fx->a, fx->fe.clock.wall_ns);
    barrier(fx);
    struct msg_pos last = r.got[9]->pos;
    reader_forget(&r);
    t = reopen(fx, topic, true); /* the table is empty now */
    reader_open(fx, t, &r);
    credit(fx, &r, 10);
    append_range(fx, t, 10, 11);
    wait_got(fx, &r, 1);
    assert_true(r.got[0]->pos.lo > last.lo);
    reader_free(&r);
}

static void all_or_none(struct fx *fx)
{
    struct adapter_topic *t = make_topic(fx, NULL);
    struct reader r;
    if (!fx->factory->in_memory)
        return; /* only the memory store fails on demand */
    make_reader(fx, t, &r);
    credit(fx, &r, 100);
    append_range(fx, t, 0, 3);
    fx->fail = ERR_RESOURCE_EXHAUSTED;
    append_range(fx, t, 100, 105);
    assert_int_equal(fx->failed, 1);
    assert_int_equal(fx->err.code, ERR_RESOURCE_EXHAUSTED);
    fx->fail = ERR_OK;
    append_range(fx, t, 3, 6);
    wait_got(fx, &r, 6);
    expect_numbers(&r, 0, 0, 1);
    ack(fx, &r, 0, 6, 1);
    assert_int_equal(fx->a->ops->stats(r.sub).unacked, 0); /* the hole does not count */
    fx->failed = 0;
    reader_free(&r);
}

static void hole_at_the_end(struct fx *fx)
{
    char topic[ADAPTER_HANDLE_MAX + 1];
    struct adapter_topic *t = make_topic(fx, topic);
    struct reader r;
    if (!fx->factory->in_memory)
        return;
    make_reader(fx, t, &r);
    credit(fx, &r, 100);
    append_range(fx, t, 0, 3);
    wait_got(fx, &r, 3);
    fx->fail = ERR_RESOURCE_EXHAUSTED;
    append_range(fx, t, 100, 105);
    fx->fail = ERR_OK;
    ack(fx, &r, 1, 3, 1); /* the first stays, so the hole is a bit above the floor */
    reader_forget(&r);
    t = reopen(fx, topic, true);
    reader_open(fx, t, &r);
    credit(fx, &r, 100);
    append_range(fx, t, 3, 10);
    wait_got(fx, &r, 8);
    assert_int_equal(number_of(r.got[0]), 0);
    expect_numbers(&r, 1, 3, 1);
    fx->failed = 0;
    reader_free(&r);
}

static void acks_fail_and_recover(struct fx *fx)
{
    char topic[ADAPTER_HANDLE_MAX + 1];
    struct adapter_topic *t = make_topic(fx, topic);
    struct reader r;
    if (!fx->factory->in_memory)
        return;
    make_reader(fx, t, &r);
    credit(fx, &r, 100);
    append_range(fx, t, 0, 10);
    wait_got(fx, &r, 10);
    fx->fail = ERR_UNAVAILABLE;
    ack(fx, &r, 0, 10, 2);
    assert_int_equal(fx->failed, 1);
    fx->fail = ERR_OK;
    fake_env_advance(&fx->fe, 2 * NS_PER_S); /* it tries again by itself */
    barrier(fx);
    reader_forget(&r);
    t = reopen(fx, topic, true);
    reader_open(fx, t, &r);
    assert_int_equal(fx->a->ops->stats(r.sub).unacked, 5);
    fx->failed = 0;
    reader_free(&r);
}

static void delete_while_acking(struct fx *fx)
{
    struct adapter_topic *t = make_topic(fx, NULL);
    struct reader r;
    make_reader(fx, t, &r);
    credit(fx, &r, 100);
    append_range(fx, t, 0, 10);
    wait_got(fx, &r, 10);
    size_t want = fx->done + 2;
    fx->a->ops->ack(r.sub, &r.got[0]->pos, 1, on_done, fx);
    fx->a->ops->sub_delete(r.sub, on_done, fx);
    wait_done(fx, want, "both answers");
    barrier(fx);
    fx->failed = 0; /* the acknowledgement may have been cancelled */
    reader_free(&r);
}

static void oldest(struct fx *fx)
{
    char topic[ADAPTER_HANDLE_MAX + 1];
    struct adapter_topic *t = make_topic(fx, topic);
    struct reader r;
    make_reader(fx, t, &r);
    int64_t first_ns = fx->fe.clock.wall_ns;
    append_range(fx, t, 0, 1);
    fake_clock_move(&fx->fe.clock, 100 * NS_PER_S);
    append_range(fx, t, 1, 2);
    assert_int_equal(fx->a->ops->stats(r.sub).oldest_wall_ns, first_ns);
    t = reopen(fx, topic, true);
    reader_open(fx, t, &r);
    barrier(fx);
    assert_int_equal(fx->a->ops->stats(r.sub).oldest_wall_ns, first_ns);
    credit(fx, &r, 2);
    wait_got(fx, &r, 2);
    ack(fx, &r, 0, 1, 1);
    assert_true(fx->a->ops->stats(r.sub).oldest_wall_ns >= first_ns);
    reader_free(&r);
}

static const struct {
    const char *name;
    void (*run)(struct fx *fx);
} cases[] = {
    {"a new subscription gets what is appended after it, in order", in_order},
    {"nothing comes without credit, and never more than it", credit_limits},
    {"credit in bytes lets one message through", bytes_limit},
    {"acknowledgements out of order survive a crash", acks_survive_crash},
    {"acknowledgements out of order survive a close", acks_survive_close},
    {"a reader 100,000 messages behind catches up", far_behind},
    {"acknowledgements in any order leave nothing", any_order},
    {"positions that were never delivered are ignored", unknown_positions},
    {"subscriptions do not disturb each other", independent},
    {"a seek to the past brings back what was retained", seek_back_retained},
    {"a seek to the past leaves acknowledged what was not retained", seek_back_not_retained},
    {"a seek to the future drops everything, durably", seek_forward},
    {"a snapshot is what the subscription was, also after a crash", snapshots},
    {"unacknowledged messages fall out of retention", retention},
    {"a topic's own retention serves subscriptions made later", topic_retention},
    {"a deleted topic's backlog is read to the end, then it goes", deleted_topic},
    {"what nobody opened is dropped at the first maintain", orphans},
    {"positions are never used again", no_reuse},
    {"a failed append leaves no trace", all_or_none},
    {"what a failed append left is not taken for acknowledged after a crash", hole_at_the_end},
    {"failed acknowledgements are tried again", acks_fail_and_recover},
    {"a subscription can go while it is acknowledging", delete_while_acking},
    {"the age of the oldest message is known, also after a crash", oldest},
};

struct pair {
    const struct factory *factory;
    size_t c;
};

static void run_case(void **state)
{
    const struct pair *p = *state;
    struct fx fx = {.factory = p->factory};
    support_env(&fx.fe);
    p->factory->open(&fx);
    cases[p->c].run(&fx);
    if (fx.failed)
        fail_msg("a completion failed: %s", fx.err.msg);
    close_adapter(&fx);
    p->factory->close(&fx);
    if (fx.store)
        fx.store->ops->close(fx.store);
    support_env_fini(&fx.fe);
}

int main(void)
{
    enum { N = ARRAY_LEN(cases) * ARRAY_LEN(factories) };
    static struct pair pairs[N];
    static char names[N][160];
    static struct CMUnitTest tests[N];
    for (size_t i = 0; i < N; i++) {
        pairs[i] = (struct pair){&factories[i / ARRAY_LEN(cases)], i % ARRAY_LEN(cases)};
        snprintf(names[i], sizeof names[i], "%s: %s", pairs[i].factory->name, cases[pairs[i].c].name);
        tests[i] = (struct CMUnitTest){.name = names[i], .test_func = run_case, .initial_state = &pairs[i]};
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}

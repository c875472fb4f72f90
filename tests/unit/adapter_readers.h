/** adapter_readers.h: topics and readers of an adapter under test, whose messages are numbered. */
#ifndef TESTS_UNIT_ADAPTER_READERS_H
#define TESTS_UNIT_ADAPTER_READERS_H

#include "tests/unit/adapter_bench.h"

struct reader {
    struct adapter_sub *sub;
    char handle[ADAPTER_HANDLE_MAX + 1];
    struct message **got;
    size_t n, batches, trouble;
};

static inline bool got_is(const void *arg, size_t n) { return ((const struct reader *)arg)->n >= n; }

static inline size_t on_messages(void *arg, struct message **msgs, size_t n)
{
    struct reader *r = arg;
    r->batches++;
    if (r->n + n > GOT_MAX)
        fail_msg("more than %d messages", GOT_MAX);
    memcpy(r->got + r->n, msgs, n * sizeof *msgs);
    r->n += n;
    return n;
}

static inline void on_trouble(void *arg, const struct err *e) { ((struct reader *)arg)->trouble++; }
static const struct adapter_sub_events events = {on_messages, on_trouble};

static inline struct adapter_topic *make_topic(struct fx *fx, char *handle)
{
    struct adapter_topic *t;
    struct err e;
    size_t want = fx->done + 1;
    fx->a->ops->topic_create(fx->a, "projects/p/topics/t", on_handle, fx);
    assert_true(fx->done < want); /* never inside the call */
    wait_done(fx, want, "a topic");
    assert_int_equal(fx->failed, 0);
    if (handle)
        snprintf(handle, ADAPTER_HANDLE_MAX + 1, "%s", fx->handle);
    assert_int_equal(fx->a->ops->topic_open(fx->a, fx->handle, &t, &e), 0);
    return t;
}

static inline void reader_open(struct fx *fx, struct adapter_topic *t, struct reader *r)
{
    struct err e = {0};
    if (!r->got)
        r->got = calloc(GOT_MAX, sizeof *r->got);
    if (fx->a->ops->sub_open(t, r->handle, &events, r, &r->sub, &e))
        fail_msg("sub_open: %s", e.msg);
}

static inline void make_reader(struct fx *fx, struct adapter_topic *t, struct reader *r)
{
    size_t want = fx->done + 1;
    *r = (struct reader){0};
    fx->a->ops->sub_create(t, "projects/p/subscriptions/s", on_handle, fx);
    wait_done(fx, want, "a subscription");
    snprintf(r->handle, sizeof r->handle, "%s", fx->handle);
    reader_open(fx, t, r);
}

static inline void reader_forget(struct reader *r)
{
    for (size_t i = 0; i < r->n; i++)
        message_unref(r->got[i]);
    r->n = 0;
}

static inline void reader_free(struct reader *r)
{
    reader_forget(r);
    free(r->got);
    r->got = NULL;
}

static inline struct message *message_of(size_t number)
{
    Google__Pubsub__V1__PubsubMessage m = GOOGLE__PUBSUB__V1__PUBSUB_MESSAGE__INIT;
    char text[32];
    struct err e;
    snprintf(text, sizeof text, "%zu", number);
    m.data.data = (uint8_t *)text;
    m.data.len = strlen(text);
    struct message *out = message_new(&m, 0, &e);
    assert_non_null(out);
    return out;
}

static inline size_t number_of(const struct message *m)
{
    char text[32];
    snprintf(text, sizeof text, "%.*s", (int)m->data.n, m->data.p);
    return strtoul(text, NULL, 10);
}

/* Append [from, to) in batches and wait until they are durable. */
static inline void append_range(struct fx *fx, struct adapter_topic *t, size_t from, size_t to)
{
    while (from < to) {
        struct message *batch[ADAPTER_APPEND_MAX];
        size_t n = to - from < ADAPTER_APPEND_MAX ? to - from : ADAPTER_APPEND_MAX, want = fx->done + 1;
        for (size_t i = 0; i < n; i++)
            batch[i] = message_of(from + i);
        fx->a->ops->append(t, batch, n, on_done, fx);
        assert_true(fx->done < want);
        for (size_t i = 0; i < n; i++)
            message_unref(batch[i]); /* it holds its own references */
        wait_done(fx, want, "an append");
        from += n;
    }
}

static inline void ack(struct fx *fx, struct reader *r, size_t from, size_t to, size_t every)
{
    size_t want = fx->done + 1, n = 0;
    struct msg_pos *pos = malloc((to - from) * sizeof *pos);
    for (size_t i = from; i < to; i += every)
        pos[n++] = r->got[i]->pos;
    fx->a->ops->ack(r->sub, pos, n, on_done, fx);
    free(pos);
    wait_done(fx, want, "an acknowledgement");
}

static inline void expect_numbers(const struct reader *r, size_t from, size_t first, size_t step)
{
    for (size_t i = from; i < r->n; i++)
        if (number_of(r->got[i]) != first + (i - from) * step)
            fail_msg("message %zu is number %zu, wanted %zu", i, number_of(r->got[i]), first + (i - from) * step);
}

static inline void credit(struct fx *fx, struct reader *r, size_t n) { fx->a->ops->credit(r->sub, n, n * 1000000); }
static inline void wait_got(struct fx *fx, struct reader *r, size_t n) { run_until(fx, got_is, r, n, "messages"); }

static inline void close_adapter(struct fx *fx)
{
    size_t want = fx->done + 1;
    fx->a->ops->close(fx->a, on_done, fx);
    wait_done(fx, want, "the adapter to close");
}

static inline struct adapter_topic *reopen(struct fx *fx, const char *topic, bool crash)
{
    struct adapter_topic *t = NULL;
    struct err e = {0};
    if (crash) {
        fx->factory->kill(fx);
    } else {
        close_adapter(fx);
        fx->factory->close(fx);
    }
    fx->factory->open(fx);
    if (topic && fx->a->ops->topic_open(fx->a, topic, &t, &e))
        fail_msg("topic_open: %s", e.msg);
    return t;
}

#endif

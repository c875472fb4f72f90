/* publish.c: Publish: check everything, then hand the batch to the topic's adapter; the answer waits until it is durable. */
#include "broker/broker_int.h"

#include <stdlib.h>

struct publish {
    struct call *call;
    struct topic *topic;
    struct message **msgs;
    size_t n, bytes;
    ProtobufCMessage *reply;
};

static void drop_messages(struct publish *p)
{
    for (size_t i = 0; i < p->n; i++)
        message_unref(p->msgs[i]);
    p->n = 0;
}

static void make_reply(struct publish *p)
{
    struct call *c = p->call;
    Google__Pubsub__V1__PublishResponse *reply = pb_new(c->arena, &google__pubsub__v1__publish_response__descriptor);
    char **ids = arena_alloc(c->arena, p->n * sizeof *ids);
    bool ok = reply && ids;
    for (size_t i = 0; ok && i < p->n; i++)
        ok = (ids[i] = arena_strdup(c->arena, p->msgs[i]->id)) != NULL;
    if (!ok)
        return;
    reply->message_ids = ids;
    reply->n_message_ids = p->n;
    p->reply = &reply->base;
}

static void on_appended(void *arg, const struct err *e)
{
    struct publish *p = arg;
    struct topic *t = p->topic;
    struct call *c = p->call;
    if (!e) {
        metric_add(t->published, (int64_t)p->n);
        metric_add(t->published_bytes, (int64_t)p->bytes);
        make_reply(p);
    }
    drop_messages(p); /* before the answer, which takes the arena with it */
    if (e)
        call_fail(c, e);
    else if (p->reply)
        call_reply(c, p->reply);
    else
        no_memory(c);
    t->pending--;
    topic_release_if_unused(t);
}

static int check_request(const Google__Pubsub__V1__PublishRequest *q, struct err *e)
{
    const char *key = "";
    if (check_name(q->topic, "topics", "topic", e))
        return -ERR_INVALID_ARGUMENT;
    if (q->n_messages == 0)
        return err_set(e, ERR_INVALID_ARGUMENT, "No messages to publish: messages is empty");
    if (q->n_messages > ADAPTER_APPEND_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "messages: %zu messages; at most %d are allowed in one request", q->n_messages,
                       ADAPTER_APPEND_MAX);
    for (size_t i = 0; i < q->n_messages; i++) {
        const char *own = q->messages[i]->ordering_key;
        if (*key && *own && strcmp(key, own) != 0)
            return err_set(e, ERR_INVALID_ARGUMENT, "messages[%zu].ordering_key: all keys in one request must be the same", i);
        key = *own ? own : key;
    }
    return 0;
}

static int make_messages(struct publish *p, const Google__Pubsub__V1__PublishRequest *q, struct err *e)
{
    for (size_t i = 0; i < q->n_messages; i++) {
        struct message *m = message_new(q->messages[i], i, e);
        if (!m)
            return -(int)e->code;
        p->msgs[p->n++] = m;
        p->bytes += m->record.n - 1; /* the version byte is ours */
        if (p->bytes > PUBLISH_BYTES_MAX)
            return err_set(e, ERR_INVALID_ARGUMENT, "messages: more than %u bytes in one request", PUBLISH_BYTES_MAX);
    }
    return 0;
}

void on_publish(void *service, struct call *c, const ProtobufCMessage *r)
{
    struct broker *b = service;
    const Google__Pubsub__V1__PublishRequest *q = (const void *)r;
    struct err e;
    struct topic *t;
    if (refuse_when_stopping(b, c))
        return;
    if (check_request(q, &e) || !(t = topic_find(b, q->topic, &e))) {
        call_fail(c, &e);
        return;
    }
    struct publish *p = arena_alloc(c->arena, sizeof *p);
    struct message **msgs = arena_alloc(c->arena, q->n_messages * sizeof *msgs);
    if (!p || !msgs) {
        no_memory(c);
        return;
    }
    *p = (struct publish){.call = c, .topic = t, .msgs = msgs};
    if (make_messages(p, q, &e)) {
        drop_messages(p);
        call_fail(c, &e);
        return;
    }
    t->pending++;
    b->adapter->ops->append(t->source, msgs, p->n, on_appended, p);
}

/* ---- for other parts of the server ---- */

struct own_publish {
    struct topic *topic;
    struct message *message;
    void (*done)(void *arg, const struct err *e);
    void *arg;
};

static void on_own_appended(void *arg, const struct err *e)
{
    struct own_publish *p = arg;
    struct topic *t = p->topic;
    if (!e) {
        metric_add(t->published, 1);
        metric_add(t->published_bytes, (int64_t)p->message->record.n - 1);
    }
    message_unref(p->message);
    p->done(p->arg, e);
    free(p);
    t->pending--;
    topic_release_if_unused(t);
}

void broker_publish(struct broker *b, const char *topic, const Google__Pubsub__V1__PubsubMessage *m,
                    void (*done)(void *arg, const struct err *e), void *arg)
{
    struct err e = {0};
    struct topic *t = NULL;
    struct message *message = NULL;
    if (b->stopping)
        err_set(&e, ERR_UNAVAILABLE, "the server is stopping");
    else if ((t = topic_find(b, topic, &e)))
        message = message_new(m, 0, &e);
    struct own_publish *p = message ? calloc(1, sizeof *p) : NULL;
    if (!p) {
        if (message) {
            message_unref(message);
            err_set(&e, ERR_RESOURCE_EXHAUSTED, "out of memory for a message to %.200s", topic);
        }
        done(arg, &e);
        return;
    }
    p->message = message;
    p->topic = t;
    p->done = done;
    p->arg = arg;
    t->pending++;
    b->adapter->ops->append(t->source, &p->message, 1, on_own_appended, p);
}

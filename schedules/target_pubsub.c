/* target_pubsub.c: a firing as a message in a topic of the broker. */
#include "schedules/targets.h"

#include "broker/broker.h"
#include "core/rpc/pb.h"

#include <stdlib.h>

typedef Google__Pubsub__V1__PubsubMessage PbMessage;

struct target_pubsub {
    struct target target;
    struct broker *broker;
};

static void on_published(void *arg, const struct err *e)
{
    struct target_call *c = arg;
    struct target_result out = {.err = e ? *e : (struct err){0}};
    out.undelivered = out.err.code == ERR_RESOURCE_EXHAUSTED || out.err.code == ERR_UNAVAILABLE; /* our store's disk */
    c->done(c, &out);
}

static void start(struct target *t, struct target_call *c)
{
    struct target_pubsub *p = CONTAINER_OF(t, struct target_pubsub, target);
    const Google__Cloud__Scheduler__V1__PubsubTarget *to = c->job->pubsub_target;
    size_t n = to->n_attributes;
    PbMessage m = GOOGLE__PUBSUB__V1__PUBSUB_MESSAGE__INIT;
    Google__Pubsub__V1__PubsubMessage__AttributesEntry *entries = calloc(n + 1, sizeof *entries);
    Google__Pubsub__V1__PubsubMessage__AttributesEntry **all = calloc(n + 1, sizeof *all);
    struct err e = {0};
    for (size_t i = 0; entries && all && i < n; i++) {
        google__pubsub__v1__pubsub_message__attributes_entry__init(&entries[i]);
        entries[i].key = to->attributes[i]->key;
        entries[i].value = to->attributes[i]->value;
        all[i] = &entries[i];
    }
    m.data = to->data;
    m.attributes = all;
    m.n_attributes = n;
    if (entries && all)
        broker_publish(p->broker, to->topic_name, &m, on_published, c);
    else
        err_set(&e, ERR_RESOURCE_EXHAUSTED, "out of memory for a message");
    free(entries);
    free((void *)all);
    if (e.code)
        on_published(c, &e);
}

/* It cannot be called back; the store answers soon. */
static void cancel(struct target *t, struct target_call *c) {}

static void pubsub_free(struct target *t) { free(CONTAINER_OF(t, struct target_pubsub, target)); }

struct target *target_pubsub_new(struct broker *b)
{
    static const struct target_ops ops = {.kind = "PUB_SUB", .start = start, .cancel = cancel, .free = pubsub_free};
    struct target_pubsub *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->target.ops = &ops;
    p->broker = b;
    return &p->target;
}

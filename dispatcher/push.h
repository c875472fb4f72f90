/** push.h: push subscriptions: which messages are sent when, and what becomes of the answers.
 *  Shape:  a pusher per push subscription is the subscription's consumer: takes leases within its window, sends them by the
 *          transport, and settles them by the answer: 102, 200, 201, 202, 204 ack; everything else, an error or the ack deadline nack.
 *  Rules:  the window starts at PUSH_WINDOW_START, doubles per window of acks, halves on failure, grows linearly above
 *          PUSH_WINDOW_LINEAR; push backoff 100 ms..60 s for the whole subscription, the larger of it and the retry policy counts.
 *  Units:  PUSH_BACKOFF_ and grace_ns are durations in ns.
 *  Errors: INVALID_ARGUMENT: an endpoint that cannot be reached by push; RESOURCE_EXHAUSTED: out of memory.
 *  Owner:  pushers_free, once stopped; broker, transport, token source and metrics outlive it.
 *  Thread: engine thread.
 *  Source: wire.md section 1 (ack codes, push backoff, slow start). */
#ifndef DISPATCHER_PUSH_H
#define DISPATCHER_PUSH_H

#include "broker/broker.h"
#include "core/http/url.h"
#include "dispatcher/identity.h"
#include "dispatcher/transport.h"
#include "executor/executor.h"

#define PUSH_WINDOW_START 5
#define PUSH_WINDOW_LINEAR 3000
#define PUSH_WINDOW_MAX 10000
#define PUSH_BACKOFF_MIN_NS (100 * NS_PER_MS)
#define PUSH_BACKOFF_MAX_NS (60 * NS_PER_S)

struct push_endpoint {
    uint32_t refs;      /* engine thread */
    char *text;         /* the endpoint as given */
    struct url url;     /* slices into text */
    char *subscription; /* full name */
    bool no_wrapper, write_metadata;
    char *audience, *account; /* NULL: no token */
};
struct pushers;
struct pushers *pushers_new(const struct env *env, struct broker *b, struct transport *t, struct token_source *ts, struct metrics *m,
                            struct err *e);
/** Is this an endpoint that push can reach? A broker_endpoint_fn; INVALID_ARGUMENT says what is wrong with it. */
MUST_USE int push_endpoint_check(void *arg, const char *endpoint, struct err *e);
/** The hosts to which something waits to be pushed or is under way, each with how many wait: a backlog_source of a struct pushers. */
void pushers_backlog(void *pushers, void (*fn)(void *arg, struct str host, uint64_t count), void *arg);
/** Called whenever a subscription has something to push. */
void pushers_watch(struct pushers *p, void (*on_active)(void *arg), void *arg);
/** No new pushes; done when none is in flight or after `grace_ns` (the rest is cancelled). */
void pushers_stop(struct pushers *p, int64_t grace_ns, void (*done)(void *arg), void *arg);
void pushers_free(struct pushers *p);

#endif

/** push_int.h: the inside of push, shared by push.c and push_endpoint.c. */
#ifndef DISPATCHER_PUSH_INT_H
#define DISPATCHER_PUSH_INT_H

#include "core/base/list.h"
#include "core/observe/metrics.h"
#include "dispatcher/push.h"
#include "dispatcher/push_window.h"

#define PUSH_CODE_CLASSES 6 /* no answer, then 1xx to 5xx */

/* A token and the header line that carries it, written once and not for every push. */
struct bearer {
    uint32_t refs;
    size_t line_n;
    char line[];
};
/* The families, and the series of one subscription. */
struct push_metrics {
    struct metric_family *answers, *latency, *window;
};
struct push_series {
    struct metric *answers[PUSH_CODE_CLASSES], *latency, *window;
};
struct token_wait;
struct pusher {
    struct consumer consumer;
    struct pushers *owner;
    struct subscription *sub; /* NULL: detached */
    struct push_endpoint *endpoint;
    struct push_window window;
    uint32_t in_flight;
    struct timer timer; /* the end of a pause */
    struct bearer *bearer;
    int64_t bearer_ns;
    struct token_wait *token_wait;
    bool getting, pumping; /* a call into the token source, into pump */
    struct node active;    /* in pushers->active while something waits or is under way */
    struct log_seldom log_failed, log_no_token;
    struct push_series metrics;
};
/* One message on its way. Lives until the transport is done with it, whatever became of pusher and lease. */
struct push {
    struct push_request request;
    struct node link; /* in pushers.pushes, then in spare */
    struct pushers *owner;
    struct pusher *pusher; /* NULL: gone */
    struct lease *lease;   /* NULL: expired or dropped */
    struct push_endpoint *endpoint;
    struct bearer *bearer;
    uint64_t ticket;
    int64_t begun_ns; /* the request's times are the transport's until it is done */
};
struct pushers {
    const struct env *env;
    struct broker *broker;
    struct transport *transport;
    struct token_source *tokens;
    struct push_metrics metrics;
    struct map *by_name;
    struct list pushes, active, spare;
    struct timer grace;
    void (*on_active)(void *arg);
    void *on_active_arg;
    bool stopping, stopped;
    void (*stop_done)(void *arg);
    void *stop_arg;
};

/** One reference; NULL and INVALID_ARGUMENT or RESOURCE_EXHAUSTED. */
struct push_endpoint *endpoint_new(const char *subscription, const Google__Pubsub__V1__PushConfig *c, struct err *e);
struct push_endpoint *endpoint_ref(struct push_endpoint *ep);
void endpoint_unref(struct push_endpoint *ep);
bool endpoint_equal(const struct push_endpoint *a, const struct push_endpoint *b);

void push_metrics_init(struct push_metrics *m, struct metrics *all); /* `all` may be NULL */
void push_metrics_of(const struct push_metrics *m, const char *subscription, struct push_series *out);
void push_metrics_drop(const struct push_metrics *m, const char *subscription);

#endif

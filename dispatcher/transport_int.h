/** transport_int.h: a request on its way between the threads, shared by transport_io.c and transport_content.c. */
#ifndef DISPATCHER_TRANSPORT_INT_H
#define DISPATCHER_TRANSPORT_INT_H

#include "dispatcher/ingress_trace.h"
#include "dispatcher/io_int.h"
#include "dispatcher/push.h"

/* One request on its way between the threads. */
struct push_job {
    struct mail mail, cancel;
    struct node link; /* engine: in push_transport->jobs, then in spare */
    struct push_transport *owner;
    struct push_request *request;
    struct io_thread *thread;
    bool answered, cancel_out; /* engine */
    struct delivery *delivery; /* io: NULL before and after */
};
/* The io thread's side of it; reused with its buffers. */
struct delivery {
    struct node link; /* in io_thread->deliveries, then in spare */
    struct io_thread *thread;
    struct push_job *job;
    struct routes *routes;
    struct pool *pool;
    struct slot_wait *wait;
    struct pool_grant grant;
    bool has_slot, enough;
    int64_t slot_ns;
    struct http_call *call;
    int status;
    size_t answer_bytes;
    struct buf body, auth;
    char time[WALL_TEXT_MAX];
    struct trace trace;
    struct str checked; /* the header of an outcall whose token was checked; p NULL: none */
    struct headers headers;
};

static inline const struct url *push_url(const struct push_request *r) { return r->outcall ? &r->outcall->url : &r->endpoint->url; }

/** What is sent: method, target, headers and body, as `spec` borrows them from the delivery and its request. `ours` NULL: to a
 *  stranger. INVALID_ARGUMENT, RESOURCE_EXHAUSTED. */
MUST_USE int delivery_content(struct delivery *d, const struct route_service *ours, struct http_call_spec *spec, struct err *e);

#endif

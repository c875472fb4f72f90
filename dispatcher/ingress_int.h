/** ingress_int.h: a request under way, shared by ingress.c and ingress_head.c. */
#ifndef DISPATCHER_INGRESS_INT_H
#define DISPATCHER_INGRESS_INT_H

#include "core/base/list.h"
#include "core/observe/metrics.h"
#include "dispatcher/ingress.h"
#include "dispatcher/ingress_trace.h"

#define INGRESS_TEXT_MAX (160 * 1024) /* texts of our own beside the client's head of 64 KiB */

struct visit {
    struct node link;
    struct grave grave;
    struct ingress *in;
    struct http_exchange *x; /* NULL: the client is gone or served */
    const struct http_request *req;
    struct routes *routes;
    const struct route_service *service;
    const struct route_target *target;
    struct pool *pool;
    struct slot_wait *wait; /* while no slot is free */
    struct pool_grant grant;
    bool has_slot;
    struct http_call *call; /* while an instance works on it */
    bool head_sent;         /* an answer has begun, its own or ours */
    bool body_seen, ended;  /* of the request */
    bool failed, buried;
    bool upgrade; /* asks for another protocol, one that may be passed on */
    uint32_t tries;
    int status;
    int64_t begin_ns, due_ns, slot_ns;
    struct str host;
    struct trace trace;
    struct buf text; /* what the headers below refer to, reserved at once: it does not move */
    struct headers headers;
};

/** Fills v->headers, v->host: end-to-end headers, X-Forwarded-*, traces; the checked token without its signature. */
MUST_USE int ingress_request_headers(struct visit *v, struct str checked, struct rng *rng, struct err *e);
MUST_USE int ingress_answer_headers(const struct http_response *r, struct headers *h, struct err *e);
/** A method that may be repeated without harm (RFC 9110 9.2.2), for requests without a body. */
bool ingress_method_safe(struct str method);

#endif

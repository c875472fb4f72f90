/** rest_int.h: one request on its way through rest.c (its life), rest_decode.c (into a message) and web.c (plain pages). */
#ifndef CORE_RPC_REST_INT_H
#define CORE_RPC_REST_INT_H

#include "core/base/list.h"
#include "core/rpc/rest.h"

/* A request from its head to the end of its exchange.
 * Thread: the io thread owns it, except that while at_engine is set the engine owns `call` or `web`, and while cancel_out
 *         is set it may read `call`. Both are set and cleared on the io thread only, and the job is freed there when the
 *         exchange is closed and neither is set: so it outlives whichever of answer and cancel comes last. */
struct rest_job {
    struct node link; /* in rest->jobs */
    struct rest *rest;
    struct http_exchange *x; /* NULL once closed */
    struct arena *arena;
    struct buf body;
    size_t body_bytes; /* counted in rest->body_bytes until the job ends: decoded, they are still there */
    struct buf answer;
    struct route_match match; /* an API call: match.method is set */
    unsigned json_flags;
    bool replied;
    bool at_engine, cancel_out;
    bool cancel_sent;   /* at most once */
    bool waits_for_end; /* refused; told when the body has passed by */
    struct err refused;
    struct call call;
    struct web_call web; /* a page: web.route is set */
    struct mail cancel;
};

struct web {
    size_t n;
    struct web_route routes[WEB_ROUTES_MAX];
};
/** The route of a decoded path: exact before prefix, the longest prefix first. NULL with *path_known when only the verb is wrong. */
const struct web_route *web_match(const struct web *w, enum http_verb verb, struct str path, bool *path_known);

/** Body, query and path of an API call into job->call.request. */
MUST_USE int rest_decode(struct rest_job *job, const struct http_request *req, struct err *e);
/** Who calls, from the head of the request. */
MUST_USE int rest_caller(struct arena *a, const struct http_request *req, struct caller *c, struct err *e);

#endif

/** transport.h: how the engine has HTTP requests made: a vtable, so that the simulator can answer them by seed.
 *  Shape:  send -> exactly one done, later on the engine thread, also after cancel.
 *  Units:  due_ns, sent_ns and answered_ns are monotonic ns.
 *  Errors: with status 0, err says why: DEADLINE_EXCEEDED, UNAVAILABLE, RESOURCE_EXHAUSTED (want of connections or room of our
 *          own), CANCELLED after cancel.
 *  Owner:  the request is the sender's until done; what it points at must stay as it is until then.
 *  Thread: engine thread; the real one (transport_io.c) carries it to an io thread and back. */
#ifndef DISPATCHER_TRANSPORT_H
#define DISPATCHER_TRANSPORT_H

#include "broker/message.h"
#include "core/base/buf.h"
#include "core/base/env.h"
#include "core/http/headers.h"
#include "core/http/url.h"
#include "core/loop/mailbox.h"

struct push_endpoint;                             /* a parsed endpoint with its token and headers, see push.h */
#define RETRY_AFTER_MAX_NS (24 * 3600 * NS_PER_S) /* a longer Retry-After counts as this */

/* A request of any kind, beside pushed messages: tasks and schedules. The Host header is the URL's. A redirect is not followed: its
 * status is the answer. 1xx are passed over. */
struct outcall {
    struct url url; /* slices into the sender's text */
    struct str method, user_agent;
    const struct headers *headers; /* without Host, User-Agent and framing; Authorization only where auth_line is empty */
    struct str body;
    const char *account; /* who calls, for the invoker's policy of our own services; NULL: nobody */
};
struct push_request {
    struct mail mail;
    const struct outcall *outcall; /* NULL: a push of msg to endpoint */
    const struct message *msg;
    const struct push_endpoint *endpoint;
    struct str auth_line;      /* PUSH_AUTH, a token and CR LF, fit to be sent; empty: without a token. Counted by the sender */
    uint32_t delivery_attempt; /* 0: not shown */
    int64_t due_ns;
    int64_t sent_ns, answered_ns; /* out, monotonic */
    int status;                   /* out: HTTP status; 0: no answer, see err */
    int64_t retry_after_ns;       /* out: of a 429 or 503 with Retry-After, in seconds or as a date; 0: none */
    struct err err;               /* out */
    void (*done)(struct push_request *r);
    void *arg;
    void *internal; /* the transport's */
    bool cancelled;
};
/* The header line with the token is written once, not for every push. */
#define PUSH_AUTH "Authorization: Bearer "
static inline struct str push_token(const struct push_request *r)
{
    size_t before = sizeof PUSH_AUTH - 1;
    return r->auth_line.n ? (struct str){r->auth_line.p + before, r->auth_line.n - before - 2} : (struct str){0};
}

struct transport {
    const struct transport_ops *ops;
};
struct transport_ops {
    void (*send)(struct transport *t, struct push_request *r);
    void (*cancel)(struct transport *t, struct push_request *r);
};

#endif

/** transport.h: how the engine has HTTP requests made: a vtable, so that the simulator can answer them by seed.
 *  Shape:  send -> exactly one done, later on the engine thread, also after cancel.
 *  Owner:  the request is the sender's until done; what it points at must stay as it is until then.
 *  Thread: engine thread; the real one (transport_io.c) carries it to an io thread and back. */
#ifndef DISPATCHER_TRANSPORT_H
#define DISPATCHER_TRANSPORT_H

#include "broker/message.h"
#include "core/base/env.h"
#include "core/loop/mailbox.h"

struct push_endpoint; /* a parsed endpoint with its token and headers, see push.h */
struct push_request {
    struct mail mail;
    const struct message *msg;
    const struct push_endpoint *endpoint;
    const char *bearer;        /* token or NULL; counted by the sender */
    uint32_t delivery_attempt; /* 0: not shown */
    int64_t due_ns;
    int64_t sent_ns, answered_ns; /* out, monotonic */
    int status;                   /* out: HTTP status; 0: no answer, see err */
    struct err err;               /* out */
    void (*done)(struct push_request *r);
    void *arg;
    void *internal; /* the transport's */
    bool cancelled;
};
struct transport {
    const struct transport_ops *ops;
};
struct transport_ops {
    void (*send)(struct transport *t, struct push_request *r);
    void (*cancel)(struct transport *t, struct push_request *r);
};

#endif

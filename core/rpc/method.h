/** method.h: one table of methods, from which REST (now) and gRPC (later) are served.
 *  Shape:  an io thread finds the row, decodes the request into a `struct call` and mails it to the engine; there the
 *          authorizer is asked and the handler runs; the handler answers, now or later, exactly once, with call_reply or
 *          call_fail; the call travels back and is encoded where it came in. A handler never sees which way it was called.
 *  Errors: registry_add: INTERNAL for a row that is wrong, RESOURCE_EXHAUSTED when the table is full. registry_match: NOT_FOUND,
 *          UNIMPLEMENTED, INVALID_ARGUMENT, RESOURCE_EXHAUSTED. A handler may answer with any code.
 *  Owner:  the request lives in call->arena until the answer. A reply and everything it points to must live in
 *          call->arena or be static/immutable until the call is finished: copy resources with pb_clone(call->arena, …).
 *  Thread: tables are filled before the threads start and never change; handlers run on the engine thread.
 *  Source: google/api/http.proto for path templates and bodies. */
#ifndef CORE_RPC_METHOD_H
#define CORE_RPC_METHOD_H

#include "core/base/arena.h"
#include "core/base/err.h"
#include "core/loop/mailbox.h"
#include <protobuf-c/protobuf-c.h>

#define CALL_ARENA_MAX (64u * 1024 * 1024)
#define CALL_BODY_MAX (14u * 1024 * 1024) /* a 10 MB message in base64, and room for its envelope */

enum http_verb { VERB_GET, VERB_PUT, VERB_POST, VERB_PATCH, VERB_DELETE, VERB_N };

struct call;
typedef void (*method_fn)(void *service, struct call *c, const ProtobufCMessage *request);

struct method {
    const char *name; /* "google.pubsub.v1.Publisher/Publish"; several rows may share it (additional bindings) */
    enum http_verb verb;
    const char *path;       /* "/v1/{topic=projects/ * /topics/ *}:publish" without the spaces */
    const char *body;       /* "*" the whole request, "field", or NULL */
    const char *permission; /* "pubsub.topics.publish" */
    const ProtobufCMessageDescriptor *request, *response;
    method_fn handler;
};

/* Who called, as far as the transport knows; the authorizer makes sense of it. */
struct caller {
    char *bearer;   /* token without "Bearer ", or NULL */
    char *peer;     /* address */
    char *host;     /* Host header, lower case: gcloud run names the region only there */
    char *event_id; /* Runnel-Event-Id header, or NULL: what comes with the same one is the same event, told again */
    bool local;     /* came over loopback */
};

struct call {
    struct mail mail; /* travels to the engine and back */
    const struct method *method;
    void *service;
    struct arena *arena;
    ProtobufCMessage *request;
    struct caller caller;
    /* the answer */
    const ProtobufCMessage *reply;
    struct err err; /* code OK when there is a reply */
    /* set by the transport: takes the call back (posts it to its io thread). Runs on the engine thread. */
    void (*finish)(struct call *c);
    /* set by a handler that waits (a long pull): runs on the engine thread when the client has gone; the handler
     * must still answer once. The transport calls it at most once, never after the answer. */
    void (*on_cancel)(struct call *c);
    void *handler_data;
    bool answered;  /* engine thread: call_reply or call_fail was called */
    bool cancelled; /* engine thread: the client has gone. A handler that is about to wait looks at it first. */
};
void call_reply(struct call *c, const ProtobufCMessage *reply);
void call_fail(struct call *c, const struct err *e);
/** call_fail with a message made in place. */
FMT(3, 4) void call_failf(struct call *c, enum err_code code, const char *fmt, ...);

/** The client has gone: run on_cancel if the call waits. For transports, on the engine thread; at most once has an effect. */
void call_cancel(struct call *c);

/** May this caller do this? 0, or -PERMISSION_DENIED / -UNAUTHENTICATED with a message. Given at start by the policy. */
typedef int (*authorize_fn)(void *arg, const struct call *c, struct err *e);

struct registry;
#define REGISTRY_METHODS_MAX 512
struct registry *registry_new(void);
void registry_free(struct registry *r);
MUST_USE int registry_add(struct registry *r, const struct method *methods, size_t n, void *service, struct err *e);
void registry_authorize(struct registry *r, authorize_fn fn, void *arg);
/** Run the call on the engine thread: authorizer, then handler. */
void registry_dispatch(struct registry *r, struct call *c);
/** Every row in order, NULL at the end (for documentation, tests). */
const struct method *registry_method(const struct registry *r, size_t i);

struct route_match {
    const struct method *method;
    void *service;
    struct {
        const char *field; /* dotted path, e.g. "topic.name" */
        size_t field_len;
        char *value; /* decoded, in the arena */
    } vars[8];
    size_t n_vars;
};
/** Find verb + path (still percent-encoded; ids are decoded after splitting). NOT_FOUND names the path;
 *  UNIMPLEMENTED when the path is known but not with this verb. */
MUST_USE int registry_match(const struct registry *r, enum http_verb verb, struct str path, struct arena *a, struct route_match *m,
                            struct err *e);

#endif

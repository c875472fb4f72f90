/** rest.h: serves the method table as Google's REST, and plain pages beside it, on one io thread.
 *  Shape:  rest_serve(exchange) collects the body (bounded), decodes, mails the call to the engine, and writes what comes back.
 *          If the client goes away first, the engine is told (call->on_cancel).
 *  Query:  $alt, alt, $prettyPrint, prettyPrint, key and other $-parameters are understood or ignored as wire.md says.
 *  Units:  durations in ns.
 *  Errors: every failure is the canonical JSON error body. Unknown paths: 404 with the error body.
 *  Owner:  an exchange and its call are rest's until the answer is written; the handler fills what the call owns. rest_free and
 *          web_free free what theirs made.
 *  Thread: rest objects are per io thread; the registry and web table are shared and read-only. */
#ifndef CORE_RPC_REST_H
#define CORE_RPC_REST_H

#include "core/http/server.h"
#include "core/rpc/method.h"

/* A page that is not an API method: /healthz, /metrics, JWKS. The handler runs on the engine thread and answers once. */
struct web_call {
    struct mail mail;
    struct arena *arena;
    char *path, *query; /* decoded path; raw query */
    struct str body;
    struct caller caller;
    struct str metadata_flavor; /* the header's value, for the metadata server */
    int status;
    const char *content_type;
    struct buf answer;                    /* filled by the handler; at most WEB_ANSWER_MAX */
    const char *extra_name, *extra_value; /* one more header, or NULL */
    void (*finish)(struct web_call *w);
    const struct web_route *route;
};
#define WEB_ANSWER_MAX (16u * 1024 * 1024)
struct web_route {
    enum http_verb verb;
    const char *path; /* exact, or a prefix when it ends in '/' + '*' */
    void (*handler)(void *arg, struct web_call *w);
    void *arg;
};
void web_reply(struct web_call *w, int status, const char *content_type); /* sends w->answer */

#define WEB_ROUTES_MAX 64
struct web;
struct web *web_new(void);
void web_free(struct web *w);
MUST_USE int web_add(struct web *w, const struct web_route *route, struct err *e);

#define REST_BODY_BYTES_MAX (256u * 1024 * 1024) /* bodies of all requests under way on one io thread; above: 503 UNAVAILABLE */
#define REST_BODY_NS (120 * NS_PER_S)            /* for a whole body: the largest over a line of 1 Mbit/s; else 408 */
struct rest_shared {
    struct registry *registry;
    struct web *web;
    struct mailbox *engine; /* calls go here by mailbox_offer; refused = 503 UNAVAILABLE */
    size_t body_bytes_max;  /* 0 = REST_BODY_BYTES_MAX */
    int64_t body_ns;        /* 0 = REST_BODY_NS */
};
struct rest;
struct rest *rest_new(struct loop *l, const struct rest_shared *shared, struct err *e);
/** After http_server_free and after the engine has stopped: drops every call that is still on its way. */
void rest_free(struct rest *r);
/** Requests under way, from their head until the exchange is closed and the engine has let go. */
size_t rest_calls(const struct rest *r);
/** Call from http's on_request: serve `x` whole. */
void rest_serve(struct rest *r, struct http_exchange *x, const struct http_request *req);

#endif

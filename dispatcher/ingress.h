/** ingress.h: a request to a service's host: who may come in, to which instance, and the stream both ways.
 *  Shape:  ingress_serve -> routed, authorized -> a slot, at once or after waiting in the engine's queue -> a call to the
 *          instance; bytes pass as they come, each side stopping the other when it is full -> the slot is released exactly once.
 *  Units:  durations in ns.
 *  Errors: answered as text/plain: 404 no such service; 403 no token or not an invoker; 401 a token that is no good; 429 the queue is
 *          full; 504 the service's timeout; 503 nothing can serve, or the instance broke off; 502 its answer is not HTTP.
 *  Owner:  a request is the ingress's from ingress_serve until on_close. ingress_free comes after the server, the client and
 *          whatever else could still call it.
 *  Thread: one per io thread.
 *  Source: wire.md section 4, invocation and contract. */
#ifndef DISPATCHER_INGRESS_H
#define DISPATCHER_INGRESS_H

#include "core/base/log.h"
#include "core/http/client.h"
#include "core/http/server.h"
#include "dispatcher/route.h"
#include "dispatcher/slot_wait.h"

#define INGRESS_GIVE_UP_NS NS_PER_S /* a client that closes later than this after its request has most likely given up */
#define INGRESS_TRIES_MAX 3         /* instances tried when one refuses the connection before anything was sent */

struct ingress;
struct ingress_deps {
    struct loop *loop;
    struct http_client *client;
    struct slot_waits *waits;
    struct rng *rng;
    struct log *log;
};
struct ingress *ingress_new(const struct ingress_deps *d, struct err *e);
/** After the server and the client were freed. */
void ingress_free(struct ingress *in);
/** `routes` is borrowed for the call; the request keeps a reference. */
void ingress_serve(struct ingress *in, struct routes *routes, struct http_exchange *x, const struct http_request *req);

/** May a request with these headers come in? 0 or the HTTP status with `e`. *checked becomes the name of the header whose token was
 *  checked; p NULL: none was. */
MUST_USE int ingress_admit(const struct key_set *keys, const struct route_service *s, const struct headers *given, int64_t wall_ns,
                           struct str *checked, struct err *e);
#define TOKEN_STRIPPED "SIGNATURE_REMOVED_BY_GOOGLE"
/** Append `bearer` (with or without "Bearer ") with its signature replaced. */
MUST_USE int token_strip_add(struct buf *b, struct str bearer);

#endif

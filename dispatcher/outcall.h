/** outcall.h: HTTP requests that somebody described with a URL, headers and whose token to send: tasks and schedules.
 *  Shape:  outcalls_start -> [the token source] -> the transport -> done, exactly once. outcall_cancel: done (CANCELLED) still follows.
 *  Rules:  headers that frame the message, belong to the connection or are ours to write are dropped, whatever their case: Host,
 *          Content-Length, Transfer-Encoding, Connection and the other hop-by-hop ones, User-Agent, X-Google-*, X-AppEngine-*. A token
 *          overrides an Authorization header; without one that is passed on. Only POST, PUT and PATCH carry a body.
 *          A redirect is not followed: its status is the outcome.
 *  Limits: OUTCALLS_MAX under way, OUTCALL_FIELDS_MAX headers.
 *  Units:  due_ns is monotonic, sent_wall_ns wall time, the others durations; ns.
 *  Errors: from outcalls_start: INVALID_ARGUMENT: a request that cannot be sent, now or later. Everything else is of our own and passes:
 *          RESOURCE_EXHAUSTED, UNAVAILABLE (no token; stopping). In a result with status 0: those of the transport.
 *  Owner:  the text of a spec is copied, but for the body, which stays its owner's and as it is until done. outcalls_free after the
 *          transport has ended: what is still under way then is forgotten, its done never called.
 *  Thread: engine thread.
 *  Source: google/cloud/tasks/v2/target.proto and google/cloud/scheduler/v1/target.proto, HttpRequest and HttpTarget. */
#ifndef DISPATCHER_OUTCALL_H
#define DISPATCHER_OUTCALL_H

#include "dispatcher/identity.h"
#include "dispatcher/transport.h"

#define OUTCALLS_MAX 50000
#define OUTCALL_FIELDS_MAX 112 /* the user's and the caller's; the rest of HEADERS_MAX is for what a service gets besides */

enum outcall_auth { OUTCALL_NO_TOKEN, OUTCALL_OIDC, OUTCALL_OAUTH };
struct outcall_spec {
    const char *url, *method, *user_agent;
    const struct header *fields; /* the user's; reserved ones are dropped */
    size_t n_fields;
    const struct header *own; /* sent as they are, after those */
    size_t n_own;
    const char *own_prefix; /* of their names: the user's that begin with it are dropped */
    struct str body;        /* lent until done */
    enum outcall_auth auth;
    const char *account; /* with a token */
    const char *to;      /* its audience or scope; NULL or "": the URL, or SCOPE_CLOUD_PLATFORM */
    int64_t due_ns;
};
struct outcall_result {
    int status; /* 0: no answer, see err */
    struct err err;
    int64_t retry_after_ns; /* of a 429 or 503; 0: none */
    int64_t sent_wall_ns;   /* when it went out; when it ended, if it never did */
    int64_t took_ns;        /* from then to the answer */
    bool undelivered;       /* for want of something of ours, or called off: nobody's fault */
};
typedef void (*outcall_done_fn)(void *arg, const struct outcall_result *r);

struct outcalls;
struct outcall_job;
struct outcalls *outcalls_new(const struct env *env, struct token_source *ts, struct err *e);
/** Before the first start. Apart from _new, since who is to be called through it must be known before the io threads begin. */
void outcalls_connect(struct outcalls *o, struct transport *t);
/** NULL with an error: done is not called. Otherwise it is, later. */
struct outcall_job *outcalls_start(struct outcalls *o, const struct outcall_spec *s, outcall_done_fn done, void *arg, struct err *e);
/** Call it off. done may run within. */
void outcall_cancel(struct outcall_job *j);
size_t outcalls_running(const struct outcalls *o);
/** Start no more; `done` when none is under way, or after `grace_ns`, when the rest is called off. */
void outcalls_stop(struct outcalls *o, int64_t grace_ns, void (*done)(void *arg), void *arg);
void outcalls_free(struct outcalls *o);

#endif

/** client.h: the HTTP/1.1 client of one io thread: pools of kept-alive connections to instances (plain sockets) and to any
 *          http/https URL (names, TLS and proxies through libcurl's CONNECT_ONLY, in remote.c).
 *  Shape:  http_call -> [request body] -> on_head -> on_body* -> exactly one on_done. Nothing is called back before
 *          http_call_start has returned.
 *  Errors: on_done(err): UNAVAILABLE cannot connect or the peer broke off; DEADLINE_EXCEEDED; INTERNAL a malformed answer;
 *          RESOURCE_EXHAUSTED too many connections or too large; CANCELLED after http_call_cancel.
 *          A kept-alive connection that turns out closed before a byte of the answer came is replaced by a fresh one once when
 *          `replayable` is set (the whole body is in memory and a repeat is allowed), or when the instance reset it, which says
 *          that the request was not read to its end (of a stream, as long as no more than 64 KiB are gone).
 *          A peer that closes while the request body is still being sent is read to its end first: an early refusal is delivered.
 *  Owner:  the call object is the client's and gone after on_done. All slices in the target and the spec must live until
 *          on_done; those of an answer's head only during on_head.
 *          http_client_free ends all calls with CANCELLED; it must not be called from a callback of the client.
 *  Env:    http_proxy, https_proxy, all_proxy, no_proxy (CONNECT tunnels), CURL_CA_BUNDLE or SSL_CERT_FILE for the trusted CAs.
 *  Thread: the loop's thread only.
 *  Units:  monotonic ns. */
#ifndef CORE_HTTP_CLIENT_H
#define CORE_HTTP_CLIENT_H

#include "core/http/headers.h"
#include "core/http/url.h"
#include "core/loop/loop.h"

#define HTTP_CLIENT_CONNECTIONS_MAX 8192 /* per thread */
#define HTTP_CLIENT_PER_TARGET_MAX 5120  /* per thread: a task queue may have 5,000 at once at one target, and there may be one thread */
#define HTTP_CLIENT_IDLE_NS (60 * NS_PER_S)
#define HTTP_CLIENT_CONNECT_NS (10 * NS_PER_S)
#define HTTP_CLIENT_STALE_NS (1 * NS_PER_S) /* closed later than this after the call began: the peer was at work on it, so no repeat */
#define HTTP_CLIENT_OUT_HIGH (256 * 1024)

/* Where to: an instance on this host, or a URL. */
struct http_target {
    bool local; /* true: plain socket to 127.0.0.1:port */
    uint16_t port;
    uint64_t generation; /* local: pools of an older generation of the same port are not reused */
    struct url url;      /* otherwise */
};
struct http_response {
    int status;
    int64_t body_bytes; /* -1 unknown */
    bool upgraded;      /* 101: raw bytes follow both ways */
    struct headers headers;
};
struct http_call_ops {
    void (*on_head)(void *arg, const struct http_response *r); /* the final answer's head, or 101 */
    void (*on_body)(void *arg, struct str bytes);
    void (*on_writable)(void *arg);                  /* may be NULL when the body is given whole */
    void (*on_done)(void *arg, const struct err *e); /* e == NULL: complete */
};
struct http_call_spec {
    struct str method;
    struct str target;             /* path and query */
    struct str host;               /* Host header; empty: from the URL */
    const struct headers *headers; /* Host, Content-Length, Transfer-Encoding, Connection are the client's business */
    struct str fields;             /* more of them, as lines with their CR LF, sent as they are: the caller knows them to be valid */
    struct str body;               /* whole body when !stream */
    bool stream;                   /* the body follows by http_call_write / http_call_end */
    int64_t stream_bytes;          /* its length, -1 chunked */
    bool upgrade;                  /* send Connection: Upgrade (the Upgrade header itself is in headers) */
    bool replayable;
    bool processing_ends; /* 102 Processing is the answer (push: it acknowledges); else it is passed over as 1xx are */
    int64_t due_ns;       /* absolute deadline for the whole call; TIMER_NEVER none */
};
struct http_client;
struct http_call;
struct http_client *http_client_new(struct loop *l, struct err *e);
void http_client_free(struct http_client *c);
/** NULL on error (nothing will be called back). */
struct http_call *http_call_start(struct http_client *c, const struct http_target *t, const struct http_call_spec *s,
                                  const struct http_call_ops *ops, void *arg, struct err *e);
bool http_call_write(struct http_call *x, struct str bytes); /* false: above the high mark, wait for on_writable */
void http_call_end(struct http_call *x);                     /* of the request's body; after an upgrade: half-close (not over TLS) */
void http_call_pause(struct http_call *x);                   /* stop reading the answer */
void http_call_resume(struct http_call *x);
void http_call_cancel(struct http_call *x); /* on_done(CANCELLED) follows from the loop */
struct http_client_stats {
    size_t connections, idle;
    uint64_t opened, reused, replayed;
};
struct http_client_stats http_client_stats(const struct http_client *c);

#endif

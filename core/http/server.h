/** server.h: the HTTP server of one io thread; HTTP/1.1 now, the same exchange will carry HTTP/2 streams.
 *  Shape:  accept -> head -> on_request(exchange) -> on_body* -> on_end; the answer may begin at any time after
 *          on_request: http_respond -> http_write* -> http_finish. on_close comes exactly once, last.
 *  Units:  timeouts are durations, due_ns is monotonic; both ns.
 *  Errors: malformed or ambiguous requests (both lengths, two lengths, bare LF, obsolete folding, space before the
 *          colon) are answered 400 and the connection is closed, without reaching on_request. Too large a head: 431;
 *          target: 414; slow head or body: 408; too many connections with requests, or too much in buffers: 503.
 *          After http_finish neither on_body nor on_end is called any more. A client that half-closes still gets its answers;
 *          one that resets is reported at once by on_close(false).
 *  Calls:  nothing is called back from inside the functions below; on_close and on_writable come from the loop.
 *  Owner:  the request and its slices live until on_close. An exchange is the server's; after on_close it is gone.
 *  Thread: the loop's thread only.
 *  Source: RFC 9110, RFC 9112 (absolute-form targets, pipelining in order, chunked both ways, 100-continue). */
#ifndef CORE_HTTP_SERVER_H
#define CORE_HTTP_SERVER_H

#include "core/http/headers.h"
#include "core/http/url.h"
#include "core/loop/loop.h"

struct http_request {
    struct str method;      /* as sent, e.g. "POST" */
    struct str target;      /* origin form: path and query */
    struct str path, query; /* still percent-encoded */
    struct str host;        /* lower case, without port or final dot; from the absolute target or Host */
    uint16_t host_port;     /* 0 when absent */
    struct str authority;   /* the same as it was sent, with its port: of an absolute target, which outranks Host, else Host */
    int64_t body_bytes;     /* declared length; 0 none; -1 chunked */
    bool upgrade;           /* asks for another protocol (WebSocket) */
    int minor;              /* 0 or 1 */
    char peer[48];          /* textual address of the client, no port */
    struct headers headers;
};
struct http_exchange;
struct http_exchange_ops {
    void (*on_body)(struct http_exchange *x, void *arg, struct str bytes); /* de-chunked; raw after an upgrade */
    /* The request is complete. After an upgrade: the client has half-closed; so for an upgrade that is answered later than in
     * on_request it comes twice, first for the request (always without a body) and then for the raw bytes. */
    void (*on_end)(struct http_exchange *x, void *arg);
    void (*on_writable)(struct http_exchange *x, void *arg);             /* below the low mark again after http_write returned false */
    void (*on_close)(struct http_exchange *x, void *arg, bool complete); /* complete: the whole answer was handed to the kernel */
    void (*on_half_close)(struct http_exchange *x,
                          void *arg); /* the client sends no more: most likely it has gone, yet it may still read. May be NULL */
};

/* The table of limits (defaults; 0 in the config means the default). */
#define HTTP_HEAD_MAX (64 * 1024)
#define HTTP_TARGET_MAX 8192
#define HTTP_CONNECTIONS_MAX 16384            /* when they are used up, one without a request is closed for a new one; else 503 */
#define HTTP_HELD_MAX (256 * 1024 * 1024)     /* bytes in buffers of all connections together; above, the greediest get 503 or the end */
#define HTTP_HEAD_TIMEOUT_NS (20 * NS_PER_S)  /* from the first byte of a request to the end of its head */
#define HTTP_BODY_TIMEOUT_NS (60 * NS_PER_S)  /* without a byte while a body is expected */
#define HTTP_IDLE_TIMEOUT_NS (75 * NS_PER_S)  /* between requests */
#define HTTP_WRITE_TIMEOUT_NS (60 * NS_PER_S) /* without progress while output waits */
#define HTTP_OUT_HIGH (256 * 1024)            /* http_write returns false above this */
#define HTTP_PIPELINE_BYTES_MAX (128 * 1024)  /* unread input kept while an exchange is under way */

struct http_server_config {
    size_t head_max_bytes, connections_max, held_max_bytes;
    int64_t head_timeout_ns, body_timeout_ns, idle_timeout_ns, write_timeout_ns;
};
struct http_server;
/** on_request must call http_accept (ops for the exchange) or answer at once (http_reply needs no ops). */
typedef void (*http_request_fn)(void *arg, struct http_exchange *x, const struct http_request *r);
struct http_server *http_server_new(struct loop *l, const struct http_server_config *c, http_request_fn fn, void *arg, struct err *e);
/** Listen on `fd` (a listening socket, SO_REUSEPORT when several threads share a port); the server closes it. */
MUST_USE int http_server_listen(struct http_server *s, int fd, struct err *e);
/** Stop accepting, let exchanges finish (keep-alive off), close idle connections; done(arg) once none is left or at `due_ns`. */
void http_server_drain(struct http_server *s, int64_t due_ns, void (*done)(void *arg), void *arg);
void http_server_free(struct http_server *s); /* drops what is left */
size_t http_server_connections(const struct http_server *s);

void http_accept(struct http_exchange *x, const struct http_exchange_ops *ops, void *arg);
const struct http_request *http_exchange_request(const struct http_exchange *x);
/** Begin the answer. `body_bytes` -1: chunked (or until close for HTTP/1.0). Content-Length, Transfer-Encoding, Connection and
 *  Keep-Alive are the server's business and left out when `h` holds them; Date is added when it is not there. INTERNAL, and
 *  nothing sent, when a field has a line break or the answer has begun. 1xx statuses other than 101 may be sent before the real one. */
MUST_USE int http_respond(struct http_exchange *x, int status, const struct headers *h, int64_t body_bytes, struct err *e);
/** Queue bytes of the answer; false = above the high mark (they were taken all the same): stop until on_writable. */
bool http_write(struct http_exchange *x, struct str bytes);
/** End of the answer. If the request body was not read to its end the connection is closed after the answer. */
void http_finish(struct http_exchange *x);
/** A whole answer at once, with content type (may be NULL) and Content-Length. */
void http_reply(struct http_exchange *x, int status, const char *content_type, struct str body);
/** Break the connection: the answer cannot be completed honestly. */
void http_abort(struct http_exchange *x);
/** Is the client certainly gone? To be asked before work is begun for one who has waited. One that has only closed its sending
 *  side is sent a 100 Continue, to which a closed socket answers with a reset; from afar that comes later: ask again then. */
bool http_exchange_gone(struct http_exchange *x);
/** The request's body has until `due_ns`, however lively it drips in; else 408. Without this only silence ends it. */
void http_body_due(struct http_exchange *x, int64_t due_ns);
/** Stop / go on delivering on_body (backpressure to the client). */
void http_pause(struct http_exchange *x);
void http_resume(struct http_exchange *x);
/** After http_respond(101): both ways become raw bytes; http_finish half-closes, and the client has 2 s to do the same. */
void http_upgraded(struct http_exchange *x);

/** A listening TCP socket on host:port with SO_REUSEPORT if asked; fd or -code. Port 0 picks one (see http_socket_port). */
MUST_USE int http_listen_socket(const char *host, uint16_t port, bool reuse_port, struct err *e);
uint16_t http_socket_port(int fd);

#endif

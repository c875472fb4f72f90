/** server_int.h: what the parts of the HTTP server share: server.c (listening, draining), server_conn.c (a connection's
 *               input, timeouts and end), server_out.c (answers) and server_limits.c (what all may take together).
 *  Rule:   callbacks run only from the loop. What a handler asks for (finish, abort, resume) is noted and its connection
 *          joins `dirty`; server_flush works through `dirty` at the end of the loop's iteration: one write per answer. */
#ifndef CORE_HTTP_SERVER_INT_H
#define CORE_HTTP_SERVER_INT_H

#include "core/base/list.h"
#include "core/http/h1.h"
#include "core/http/server.h"

#define HTTP_LISTENERS_MAX 8
#define HTTP_ACCEPT_BATCH 64                   /* connections taken per event, so that the others are not starved */
#define HTTP_ACCEPT_PAUSE_NS (100 * NS_PER_MS) /* after accept failed for want of file descriptors */
#define HTTP_REFUSALS_MAX 64                   /* connections above the maximum that are still told 503 */
#define HTTP_READ_BYTES (64 * 1024)
#define HTTP_OUT_LOW (64 * 1024)                /* on_writable below this */
#define HTTP_OUT_MAX (64 * 1024 * 1024)         /* an answer that a handler piles up regardless is broken off here */
#define HTTP_DIRECT_BYTES (16 * 1024)           /* pieces from this size on are not copied when the socket takes them */
#define HTTP_LINGER_NS (2 * NS_PER_S)           /* for the peer to read the last answer before the close */
#define HTTP_LINGER_BYTES_MAX (4 * 1024 * 1024) /* of a rest of a request that is read only to be dropped */
#define HTTP_SPARE_EXCHANGES_MAX 256
#define HTTP_SPARE_BUFFER_BYTES (16 * 1024) /* larger buffers are not kept with a spare exchange */

enum conn_rx {
    RX_HEAD, /* between requests or inside a head */
    RX_BODY,
    RX_WAIT, /* the request is complete; what comes now is the next one, kept for later */
    RX_RAW,  /* after an upgrade */
    RX_DROP, /* the rest is read and dropped */
};
/* What a connection's deadline is about. */
enum conn_wait { WAIT_NOTHING, WAIT_IDLE, WAIT_HEAD, WAIT_BODY, WAIT_WRITE, WAIT_LINGER };

struct http_conn {
    struct node link;  /* in server->conns */
    struct node dirty; /* in server->dirty */
    struct grave grave;
    struct http_server *server;
    struct loop_fd *watch;
    int fd;
    enum conn_rx rx;
    enum conn_wait wait;
    bool progress;      /* bytes moved since the deadline was set */
    bool eof;           /* the client sends no more */
    bool write_full;    /* the socket takes no more for now */
    struct timer timer; /* set no later than due_ns: moving a deadline back costs nothing */
    int64_t due_ns;
    struct http_exchange *x; /* NULL between requests */
    struct buf in;           /* input not taken yet */
    struct h1_scan scan;
    size_t dropped_bytes;
    size_t held_bytes; /* of its buffers, as counted in server->held_bytes */
    char peer[48];
};

enum answer_state { ANSWER_NONE, ANSWER_BEGUN, ANSWER_FINISHED };

struct exchange_state {
    struct http_conn *conn;
    const struct http_exchange_ops *ops; /* NULL: nobody to tell */
    void *arg;
    struct h1_body body;
    enum answer_state answer;
    int64_t answer_left;  /* bytes of the promised length still to come */
    int64_t body_due_ns;  /* TIMER_NEVER: only silence ends it */
    size_t in_hand_bytes; /* bytes after the head that came with it */
    bool keep_alive;      /* as the client wishes */
    bool expects;         /* Expect: 100-continue, not answered yet */
    bool head_only;       /* the answer has no body: HEAD, 204, 304 */
    bool has_length, chunked;
    bool whole; /* http_reply: answer and end at once */
    bool close_after;
    bool paused;
    bool request_done;
    bool aborted;
    bool blocked; /* http_write said false */
    bool raw, raw_shut;
};
struct http_exchange {
    struct exchange_state st;
    struct node spare; /* in http_server.spare, when it is over */
    struct buf head, out;
    struct http_request req;
};

struct http_listener {
    struct http_server *server;
    struct loop_fd *watch;
    int fd;
};
struct http_server {
    struct loop *loop;
    struct http_server_config config;
    http_request_fn fn;
    void *arg;
    struct list conns, dirty, spare;
    size_t held_bytes; /* by all connections in their buffers */
    struct http_listener listeners[HTTP_LISTENERS_MAX];
    size_t listener_count;
    struct timer accept_timer; /* running: accepting is paused */
    struct timer drain_timer;
    bool draining, flush_pending, freed;
    void (*drained)(void *arg);
    void *drained_arg;
    struct grave grave;
    int64_t date_due_ns;
    char date[32]; /* of the Date field, fresh to the second */
    char *scratch; /* HTTP_READ_BYTES for the connection that is being read */
};

/* server_conn.c */
void http_conn_new(struct http_server *s, int fd, const char *peer, bool refuse);
void http_conn_close(struct http_conn *c); /* at once; an exchange hears on_close(false) */
void http_conn_mark(struct http_conn *c);  /* it has work at the end of the iteration */
void http_conn_work(struct http_conn *c);
bool http_conn_is_idle(const struct http_conn *c);
/* End what it does: with this status where an answer has not begun, else by closing. */
void http_conn_turn_away(struct http_conn *c, int status, const char *why);

/* server_limits.c */
bool http_server_make_room(struct http_server *s); /* close a connection that has no request under way, if one is found */
void http_conn_count(struct http_conn *c);         /* its buffers into server->held_bytes */
bool http_conn_within_budget(struct http_conn *c); /* counts; may turn connections away. False: this one is gone */

/* server_out.c */
struct http_exchange *http_exchange_new(struct http_conn *c);
void http_exchange_end(struct http_exchange *x, bool complete); /* on_close, then back to the spare ones */
void http_exchange_spare_free(struct http_server *s);
void http_exchange_refuse(struct http_exchange *x, int status, const char *why); /* a plain answer that ends the connection */
void http_exchange_continue(struct http_exchange *x);                            /* 100 Continue */
/* Write what waits. False: the connection is broken. */
bool http_exchange_flush(struct http_exchange *x);

/* server.c */
void http_server_conn_gone(struct http_server *s);
void http_server_flush_soon(struct http_server *s);
const char *http_server_date(struct http_server *s);

#endif

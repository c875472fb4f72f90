/** client_int.h: what the parts of the HTTP client share: client.c (calls as the user sees them), client_conn.c (a
 *               connection's input, output and end), client_pool.c (which connection a call gets) and remote.c (libcurl).
 *  Rule:   as in the server: user functions only note what is wanted and put the connection into `dirty`; callbacks run from
 *          the loop. A call always has a connection, from http_call_start to on_done, though perhaps not the same one. */
#ifndef CORE_HTTP_CLIENT_INT_H
#define CORE_HTTP_CLIENT_INT_H

#include "core/base/list.h"
#include "core/base/map.h"
#include "core/http/client.h"
#include "core/http/h1.h"
#include "core/http/remote.h"

#define CLIENT_READ_BYTES (64 * 1024)
#define CLIENT_READS_MAX 4                /* of one TLS connection at a time; it may hold bytes that no fd event tells of */
#define CLIENT_OUT_LOW (64 * 1024)        /* on_writable below this */
#define CLIENT_OUT_MAX (64 * 1024 * 1024) /* a streamed body that is piled up regardless fails the call */
#define CLIENT_IN_MAX (H1_HEAD_MAX + 2 * CLIENT_READ_BYTES)
#define CLIENT_INTERIM_MAX 16 /* 1xx answers before the real one */
#define CLIENT_SPARE_CALLS_MAX 256
#define CLIENT_SPARE_BUFFER_BYTES (16 * 1024)
#define CLIENT_KEPT_MAX (64 * 1024) /* of a streamed request on a reused connection: that much can be sent again */
#define CLIENT_HOST_MAX 253
#define CLIENT_POOL_KEY_MAX 288 /* "https://", a host, ":", a port */

/* The connections to one target. */
struct client_pool {
    struct http_client *client;
    struct list idle; /* conn->idle_link, the latest used first */
    size_t connections;
    bool local;
    uint64_t local_key;
    char key[CLIENT_POOL_KEY_MAX]; /* of a remote target */
};

enum client_rx {
    CLIENT_IDLE, /* in the pool: any byte or end from the peer closes it */
    CLIENT_CONNECTING,
    CLIENT_HEAD,
    CLIENT_BODY,
    CLIENT_RAW,
};
struct client_conn {
    struct node link, dirty, idle_link;
    struct node later; /* in client->later: TLS may hold more input than was read in one go */
    struct grave grave;
    struct http_client *client;
    struct client_pool *pool;
    struct http_call *call; /* NULL when idle */
    int fd;                 /* of a local target */
    int plain_fd;           /* where bytes go as they are: fd, or curl's socket of an http URL; -1: through libcurl */
    struct remote_conn *remote;
    struct loop_fd *watch;
    enum client_rx rx;
    bool reused;        /* carried a call before */
    bool write_full;    /* the socket takes no more for now */
    bool write_dead;    /* nor ever: the peer stopped reading */
    bool rx_any;        /* a byte of this call's answer came */
    bool unsent;        /* carried calls before, and nothing of this one has gone out yet: what comes now cannot be its answer */
    struct timer timer; /* set no later than due_ns */
    int64_t due_ns;
    struct buf in;
    struct h1_scan scan;
    struct h1_body body;
};

struct call_state {
    struct http_client *client;
    struct client_conn *conn;
    const struct http_call_ops *ops;
    void *arg;
    struct http_target target;
    struct http_call_spec spec;
    int64_t begun_ns;
    size_t body_sent;    /* of spec.body */
    size_t out_kept;     /* bytes at the front of `out` that were sent and are kept to be sent again */
    bool keeps;          /* all that was sent is kept so far */
    int64_t stream_left; /* of spec.stream_bytes */
    uint32_t interim;
    bool body_ended; /* http_call_end was called, or the body was given whole */
    bool half_close; /* http_call_end after an upgrade */
    bool shut;       /* it was done */
    bool paused, blocked, replayed;
    bool keep_alive; /* the peer's wish in the answer */
    bool stopped;    /* `failure` waits to be told */
    struct err failure;
};
struct http_call {
    struct call_state st;
    struct node spare; /* in http_client.spare, when it is over */
    struct buf out;
};

struct http_client {
    struct loop *loop;
    struct remote *remote; /* made when the first URL is called */
    struct u64map *local_pools;
    struct map *remote_pools;
    struct list conns, dirty, later, spare;
    struct timer later_timer; /* for the next iteration, so that one busy peer does not hold up the loop */
    size_t idle_count;
    struct http_client_stats stats;
    struct grave grave;
    bool flush_pending, freed;
    char *scratch;
    struct http_response response; /* of the head being delivered */
};

/* client.c */
struct str http_call_out(const struct http_call *x); /* what waits to be sent */
void http_call_keep_no_more(struct http_call *x);
void client_flush_soon(struct http_client *c);
void client_read_later(struct client_conn *conn);
int http_call_head_write(struct http_call *x, struct err *e);  /* the request head into x->out */
void http_call_done(struct http_call *x, const struct err *e); /* the last callback; x has no connection any more */

/* client_pool.c */
/** A connection for the call: an idle one unless `fresh`, else a new one that is connecting. */
int http_pool_attach(struct http_call *x, bool fresh, struct err *e);
void http_pool_put(struct client_conn *c);    /* the call is over, the connection good for another one */
void http_pool_forget(struct client_conn *c); /* the connection is gone */

/* client_conn.c */
struct client_conn *client_conn_new(struct client_pool *p, const struct http_target *t, int64_t due_ns, struct err *e);
void client_conn_close(struct client_conn *c);                         /* without telling the call, which must have been detached */
void client_conn_end_call(struct client_conn *c, const struct err *e); /* on_done; with an error the peer sees a reset */
bool client_conn_quiet(struct client_conn *c);                         /* an idle connection that the peer has not closed so far */
void client_conn_mark(struct client_conn *c);
void client_conn_work(struct client_conn *c);
void client_conn_read(struct client_conn *c);
void http_call_fail(struct http_call *x, const struct err *e); /* to be told from the loop */

#endif

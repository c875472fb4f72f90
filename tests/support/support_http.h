/** support_http.h: for tests of HTTP: a loop that runs until a condition holds, raw sockets on it, a small service on our
 *                  server, peers that follow a script, and a record of what a client's call came to. All in one thread. */
#ifndef TESTS_SUPPORT_HTTP_H
#define TESTS_SUPPORT_HTTP_H

#include "core/base/list.h"
#include "core/http/client.h"
#include "core/http/server.h"

#define NET_PATIENCE_NS (20 * NS_PER_S) /* a condition that does not come true by then fails the test */

struct net {
    struct loop *loop;
    struct timer check;
    int64_t give_up_ns;
    bool (*condition)(void *arg);
    void *arg;
    bool held;
};
void net_init(struct net *n);
void net_fini(struct net *n);
/** Run the loop until `condition(arg)`; `what` is printed when it never does. */
void net_until(struct net *n, bool (*condition)(void *arg), void *arg, const char *what);
void net_turns(struct net *n, int iterations); /* let everything that is ready happen */

/* A raw TCP socket on the loop: what came in, and what waits to go out. */
struct wire {
    struct net *net;
    int fd;
    struct loop_fd *watch;
    struct buf in, out;
    bool eof, broken; /* the peer's end; a reset */
    bool deaf;        /* does not read */
    const char *wanted;
    size_t wanted_bytes;
};
void wire_open(struct wire *w, struct net *n, int fd); /* takes the fd */
void wire_connect(struct wire *w, struct net *n, uint16_t port);
void wire_send(struct wire *w, struct str bytes);
void wire_sendz(struct wire *w, const char *text);
void wire_deafen(struct wire *w, bool deaf);
void wire_shut(struct wire *w);  /* half-close */
void wire_close(struct wire *w); /* idempotent */
void wire_reset(struct wire *w); /* close with a reset */
bool wire_has(const struct wire *w, const char *text);
void wire_until_has(struct wire *w, const char *text);
void wire_until_bytes(struct wire *w, size_t n);
void wire_until_closed(struct wire *w);
size_t wire_count(const struct wire *w, const char *text); /* how often */

/* A service on http_server:
 *   /hello   answers at once               /echo    gathers the body, then answers with it
 *   /stream  answers chunked as bytes come /hold    accepts and leaves the rest to the test
 *   /pause   accepts paused                /deny    403 without accepting
 *   /upgrade speaks bytes back, raw        /big     BIG_BYTES of 'x' under backpressure
 *   /lie     promises more than it sends */
#define SERVICE_BIG_BYTES (40 * 1024 * 1024) /* more than the kernel's buffers of two connections in a row */
struct service {
    struct net *net;
    struct http_server *server;
    uint16_t port;
    int requests, ended, closed, complete; /* on_request, on_end, on_close, of these with complete */
    size_t body_bytes;
    struct http_exchange *held; /* of /hold and /pause */
    char seen[256];             /* method, target, host, port and body_bytes of the latest request */
    bool big_blocked;
    size_t big_left;
    struct buf body; /* of /echo and what /hold saw */
};
void service_init(struct service *s, struct net *n, const struct http_server_config *c);
void service_fini(struct service *s);

/* A peer that follows a script: for each connection, wait for a text and send another, step by step. */
enum script_then { THEN_STAY, THEN_CLOSE, THEN_RESET, THEN_SHUT };
struct script_step {
    const char *wait; /* NULL: do not wait */
    const char *send;
    enum script_then then;
};
#define SCRIPT_STEPS_MAX 6
#define SCRIPT_CONNECTIONS_MAX 64
struct script_conn {
    struct script *script;
    struct wire wire;
    const struct script_step *steps;
    size_t step;
};
struct script {
    struct net *net;
    int fd;
    struct loop_fd *watch;
    uint16_t port;
    struct timer turn;
    const struct script_step (*plan)[SCRIPT_STEPS_MAX]; /* one row a connection; the last one is repeated */
    size_t plan_rows, accepted;
    struct script_conn conns[SCRIPT_CONNECTIONS_MAX];
};
void script_init(struct script *s, struct net *n, const struct script_step (*plan)[SCRIPT_STEPS_MAX], size_t rows);
void script_fini(struct script *s);

/* What one call came to. */
struct record {
    struct http_call *call;
    int heads, status, writable, done;
    int64_t body_bytes;
    bool upgraded, ok;
    struct err err;
    struct buf body;
    char type[64]; /* Content-Type of the answer */
};
extern const struct http_call_ops record_ops;
void record_init(struct record *r);
void record_fini(struct record *r);
struct http_target target_local(uint16_t port);
bool record_is_done(void *arg);

#endif

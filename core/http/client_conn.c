/* client_conn.c: one connection of the HTTP client: connecting, sending a call's request, reading its answer, and its end. */
#include "core/http/client_int.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

static void on_event(void *arg, int events);
static void on_timer(struct timer *t, int64_t now_ns);
static void on_remote(void *arg, const struct err *e);

/* The target as people write it, for messages. */
static const char *conn_name(const struct client_conn *c, char out[CLIENT_POOL_KEY_MAX])
{
    if (c->pool->local)
        snprintf(out, CLIENT_POOL_KEY_MAX, "127.0.0.1:%u", (unsigned)(c->pool->local_key & 0xffff));
    else
        snprintf(out, CLIENT_POOL_KEY_MAX, "%s", c->pool->key);
    return out;
}

/* ---- beginning and end ---- */

static int local_connect(struct client_conn *c, uint16_t port, struct err *e)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int on = 1;
    c->fd = c->plain_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        return err_sys(e, ERR_RESOURCE_EXHAUSTED, errno, "cannot make a socket");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS)
        return err_sys(e, ERR_UNAVAILABLE, errno, "cannot connect to 127.0.0.1:%u", (unsigned)port);
    c->watch = loop_fd_new(c->client->loop, c->fd, on_event, c, e);
    if (!c->watch)
        return -ERR_RESOURCE_EXHAUSTED;
    loop_fd_want(c->watch, LOOP_WRITE);
    return 0;
}

static int url_connect(struct client_conn *c, const struct url *u, struct err *e)
{
    struct http_client *client = c->client;
    if (!client->remote)
        client->remote = remote_new(client->loop, e);
    if (client->remote)
        c->remote = remote_connect(client->remote, u, HTTP_CLIENT_CONNECT_NS, on_remote, c, e);
    return c->remote ? 0 : -ERR_UNAVAILABLE;
}

struct client_conn *client_conn_new(struct client_pool *p, const struct http_target *t, int64_t due_ns, struct err *e)
{
    struct http_client *client = p->client;
    struct client_conn *c = calloc(1, sizeof *c);
    if (!c) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for a connection");
        return NULL;
    }
    c->client = client;
    c->fd = c->plain_fd = -1;
    c->rx = CLIENT_CONNECTING;
    node_init(&c->link);
    node_init(&c->dirty);
    node_init(&c->idle_link);
    node_init(&c->later);
    timer_init(&c->timer, on_timer);
    buf_init(&c->in, CLIENT_IN_MAX);
    int64_t connect_due_ns = loop_now(client->loop) + HTTP_CLIENT_CONNECT_NS;
    c->due_ns = due_ns < connect_due_ns ? due_ns : connect_due_ns;
    int rc = t->local ? local_connect(c, t->port, e) : url_connect(c, &t->url, e);
    if (rc == 0)
        rc = timer_set(loop_timers(client->loop), &c->timer, c->due_ns, e);
    if (rc) {
        loop_fd_free(c->watch);
        remote_close(c->remote);
        if (c->fd >= 0)
            close(c->fd);
        free(c);
        return NULL;
    }
    c->pool = p;
    p->connections++;
    list_append(&client->conns, &c->link);
    return c;
}

static void conn_free(void *arg) { free(arg); }

void client_conn_close(struct client_conn *c)
{
    struct http_client *client = c->client;
    timer_cancel(loop_timers(client->loop), &c->timer);
    loop_fd_free(c->watch);
    c->watch = NULL;
    remote_close(c->remote);
    c->remote = NULL;
    if (c->fd >= 0)
        close(c->fd);
    c->fd = c->plain_fd = -1;
    list_remove(&client->dirty, &c->dirty);
    list_remove(&client->later, &c->later);
    list_remove(&client->conns, &c->link);
    http_pool_forget(c);
    buf_fini(&c->in);
    loop_bury(client->loop, &c->grave, conn_free, c);
}

void client_conn_mark(struct client_conn *c)
{
    if (node_linked(&c->dirty))
        return;
    list_append(&c->client->dirty, &c->dirty);
    client_flush_soon(c->client);
}

static ssize_t conn_recv(struct client_conn *c, void *to, size_t n)
{
    return c->plain_fd < 0 ? remote_recv(c->remote, to, n) : recv(c->plain_fd, to, n, 0);
}

bool client_conn_quiet(struct client_conn *c)
{
    char byte;
    ssize_t n = c->plain_fd < 0 ? remote_recv(c->remote, &byte, 1) : recv(c->plain_fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

/* Part the call from its connection, close that, and tell. */
void client_conn_end_call(struct client_conn *c, const struct err *e)
{
    struct http_call *x = c->call;
    struct linger hard = {.l_onoff = 1};
    c->call = NULL;
    /* To a peer that still works on it a plain close would look like a client that waits with its sending side closed. */
    if (e && c->fd >= 0)
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    client_conn_close(c);
    http_call_done(x, e);
}

/* A kept-alive connection that the peer closed at the same moment: nothing of the answer came, so ask again, once. Also what
 * may not be repeated when the peer has closed without having read all of the request (`unread`): it was never carried out. */
static bool conn_replay(struct client_conn *c, bool unread)
{
    struct http_call *x = c->call;
    struct call_state *st = &x->st;
    bool allowed = unread || (st->spec.replayable && !st->spec.stream), possible = !st->spec.stream || st->keeps;
    bool stale = loop_now(st->client->loop) - st->begun_ns <= HTTP_CLIENT_STALE_NS;
    if (!c->reused || c->rx_any || st->replayed || !stale || !allowed || !possible)
        return false;
    struct err e;
    c->call = NULL;
    client_conn_close(c);
    st->replayed = true;
    st->body_sent = 0;
    st->client->stats.replayed++;
    bool rewrite = !st->keeps;
    st->out_kept = 0;
    if (rewrite)
        buf_clear(&x->out);
    if ((rewrite && http_call_head_write(x, &e)) || http_pool_attach(x, true, &e))
        http_call_done(x, &e);
    return true;
}

/* The peer is gone, or speaks nonsense. */
static void conn_lost_unread(struct client_conn *c, const struct err *e, bool unread)
{
    if (!c->call)
        client_conn_close(c);
    else if (!conn_replay(c, unread))
        client_conn_end_call(c, e);
}

static void conn_lost(struct client_conn *c, const struct err *e) { conn_lost_unread(c, e, false); }

/* A peer that closes with input unread, or gets some when it has closed, answers with a reset; one that read all only closes. */
static bool conn_was_reset(const struct client_conn *c, int sys)
{
    socklen_t len = sizeof sys;
    if (c->fd < 0 || (sys == 0 && getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &sys, &len) != 0))
        return false;
    return sys == ECONNRESET || sys == EPIPE;
}

/* ---- the deadline ---- */

static void rearm(struct client_conn *c)
{
    if (c->rx != CLIENT_CONNECTING)
        c->due_ns = c->call ? c->call->st.spec.due_ns : loop_now(c->client->loop) + HTTP_CLIENT_IDLE_NS;
    if (c->due_ns == TIMER_NEVER || (timer_armed(&c->timer) && c->timer.due_ns <= c->due_ns))
        return;
    struct err e;
    if (timer_set(loop_timers(c->client->loop), &c->timer, c->due_ns, &e) == 0)
        return;
    if (c->call)
        http_call_fail(c->call, &e);
    else
        client_conn_close(c);
}

static void on_timer(struct timer *t, int64_t now_ns)
{
    struct client_conn *c = CONTAINER_OF(t, struct client_conn, timer);
    char name[CLIENT_POOL_KEY_MAX];
    struct err e;
    if (c->due_ns > now_ns) {
        if (c->due_ns == TIMER_NEVER || timer_set(loop_timers(c->client->loop), t, c->due_ns, &e) == 0)
            return;
        conn_lost(c, &e);
        return;
    }
    if (!c->call) {
        client_conn_close(c);
        return;
    }
    if (c->rx == CLIENT_CONNECTING && c->call->st.spec.due_ns > now_ns)
        err_set(&e, ERR_UNAVAILABLE, "cannot connect to %s within %d s", conn_name(c, name), (int)(HTTP_CLIENT_CONNECT_NS / NS_PER_S));
    else
        err_set(&e, ERR_DEADLINE_EXCEEDED, "%s did not answer in time", conn_name(c, name));
    client_conn_end_call(c, &e);
}

/* ---- the answer ---- */

static bool request_sent(const struct http_call *x)
{
    const struct client_conn *c = x->st.conn;
    return x->st.body_ended && http_call_out(x).n == 0 && (x->st.spec.stream || x->st.body_sent == x->st.spec.body.n) &&
           !(c->remote && remote_pending(c->remote));
}

/* The answer is complete. Nothing of the connection may be touched after this but its fields. */
static void answer_end(struct client_conn *c, bool reusable)
{
    struct http_call *x = c->call;
    if (!reusable || !x->st.keep_alive || !request_sent(x)) {
        client_conn_end_call(c, NULL);
        return;
    }
    c->call = NULL;
    http_pool_put(c);
    client_conn_mark(c);
    http_call_done(x, NULL);
}

static size_t answer_refuse(struct client_conn *c, const char *why, size_t n)
{
    char name[CLIENT_POOL_KEY_MAX];
    struct err e;
    err_set(&e, ERR_INTERNAL, "the answer of %s is not valid HTTP: %s", conn_name(c, name), why);
    client_conn_end_call(c, &e);
    return n;
}

static void head_deliver(struct client_conn *c, const struct h1_head *h)
{
    struct http_call *x = c->call;
    struct http_response *r = &c->client->response;
    enum h1_framing framing = str_is(x->st.spec.method, "HEAD") ? H1_NO_BODY : h->framing;
    r->status = h->status;
    r->upgraded = h->status == 101;
    bool bodiless = framing == H1_NO_BODY && h->framing == H1_NO_BODY;
    bool meant = h->has_length && h->status >= 200 && h->status != 204; /* of those that never have a body a length says nothing */
    r->body_bytes = meant ? h->body_bytes : bodiless ? 0 : -1;
    x->st.keep_alive = h->keep_alive;
    h1_body_init(&c->body, framing, h->framing == H1_LENGTH ? h->body_bytes : 0);
    c->rx = r->upgraded ? CLIENT_RAW : CLIENT_BODY;
    x->st.ops->on_head(x->st.arg, r);
}

static size_t head_take(struct client_conn *c, const char *p, size_t n)
{
    struct http_call *x = c->call;
    struct err e;
    struct h1_head h;
    size_t head_bytes;
    int refused = h1_head_find(&c->scan, H1_RESPONSE, p, n, H1_HEAD_MAX, &head_bytes, &e);
    if (refused == 0 && head_bytes == 0)
        return 0;
    if (refused == 0)
        refused = h1_response_parse(p, head_bytes, &h, &c->client->response.headers, &e);
    if (refused)
        return answer_refuse(c, e.msg, n);
    c->scan = (struct h1_scan){0};
    if (h.status == 101 && !x->st.spec.upgrade)
        return answer_refuse(c, "status 101 answers a request that asked for no upgrade", n);
    bool ends = h.status == 102 && x->st.spec.processing_ends;
    if (h.status < 200 && h.status != 101 && !ends)
        return ++x->st.interim > CLIENT_INTERIM_MAX ? answer_refuse(c, "too many 1xx answers", n) : head_bytes;
    h.keep_alive = h.keep_alive && !ends; /* another answer may follow: for nobody */
    head_deliver(c, &h);
    if (c->rx == CLIENT_BODY && c->body.done && !x->st.stopped)
        answer_end(c, head_bytes == n);
    return head_bytes;
}

static size_t body_take(struct client_conn *c, const char *p, size_t n)
{
    struct http_call *x = c->call;
    struct err e;
    size_t used;
    struct str data;
    if (h1_body_next(&c->body, p, n, &used, &data, &e))
        return answer_refuse(c, e.msg, n);
    if (data.n && x->st.ops->on_body)
        x->st.ops->on_body(x->st.arg, data);
    if (c->body.done && !x->st.stopped)
        answer_end(c, used == n);
    return used;
}

/* Give the parser what is there until it is used up or has to wait; returns how many bytes are done with. */
static size_t conn_take(struct client_conn *c, const char *p, size_t n)
{
    size_t used = 0;
    while (used < n && c->call && !c->call->st.paused && !c->call->st.stopped) {
        struct http_call *x = c->call;
        size_t took = n - used;
        if (c->rx == CLIENT_HEAD)
            took = head_take(c, p + used, n - used);
        else if (c->rx == CLIENT_BODY)
            took = body_take(c, p + used, n - used);
        else if (x->st.ops->on_body)
            x->st.ops->on_body(x->st.arg, (struct str){p + used, n - used});
        if (took == 0)
            break;
        used += took;
    }
    return c->call ? used : n;
}

static void conn_take_buffered(struct client_conn *c)
{
    size_t used = conn_take(c, buf_data(&c->in), buf_len(&c->in));
    if (c->pool) /* else it was closed meanwhile, and the buffer with it */
        buf_consume(&c->in, used);
}

static void conn_eof(struct client_conn *c)
{
    char name[CLIENT_POOL_KEY_MAX];
    struct err e;
    if (c->call && (c->rx == CLIENT_RAW || (c->rx == CLIENT_BODY && c->body.framing == H1_UNTIL_CLOSE))) {
        client_conn_end_call(c, NULL);
        return;
    }
    err_set(&e, ERR_UNAVAILABLE, "%s closed the connection %s", conn_name(c, name),
            c->rx_any ? "in the middle of its answer" : "without an answer");
    conn_lost_unread(c, &e, conn_was_reset(c, 0));
}

/* It was closed, or a second answer to an earlier call came, when the call had just been given this connection. */
static void conn_spoiled(struct client_conn *c)
{
    char name[CLIENT_POOL_KEY_MAX];
    struct err e;
    err_set(&e, ERR_UNAVAILABLE, "%s closed the connection, or answered what was not asked yet", conn_name(c, name));
    conn_lost_unread(c, &e, true);
}

/* One read. False: nothing more is to be had now. */
static bool conn_read_once(struct client_conn *c)
{
    bool direct = buf_len(&c->in) == 0;
    char *to = direct ? c->client->scratch : buf_reserve(&c->in, CLIENT_READ_BYTES);
    ssize_t n = -1;
    errno = ENOMEM;
    if (to)
        n = conn_recv(c, to, CLIENT_READ_BYTES);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return false;
    if (c->unsent && c->call) {
        conn_spoiled(c);
        return false;
    }
    if (n < 0) {
        char name[CLIENT_POOL_KEY_MAX];
        struct err e;
        int sys = errno;
        err_sys(&e, ERR_UNAVAILABLE, sys, "the connection to %s broke", conn_name(c, name));
        conn_lost_unread(c, &e, conn_was_reset(c, sys));
        return false;
    }
    if (n == 0) {
        conn_eof(c);
        return false;
    }
    if (!c->call) {
        client_conn_close(c); /* bytes that nobody asked for */
        return false;
    }
    c->rx_any = true;
    http_call_keep_no_more(c->call);
    if (direct) {
        size_t used = conn_take(c, to, (size_t)n);
        if (used < (size_t)n && buf_add(&c->in, to + used, (size_t)n - used) != 0)
            answer_refuse(c, "out of memory", 0);
    } else {
        buf_commit(&c->in, (size_t)n);
        conn_take_buffered(c);
    }
    return c->call && !c->call->st.paused && !c->call->st.stopped;
}

void client_conn_read(struct client_conn *c)
{
    int reads = 0;
    if (c->rx == CLIENT_CONNECTING || (c->call && (c->call->st.paused || c->call->st.stopped)))
        return;
    while (conn_read_once(c) && c->plain_fd < 0 && ++reads < CLIENT_READS_MAX)
        ;
    if (c->pool && reads == CLIENT_READS_MAX)
        client_read_later(c);
    if (c->pool)
        client_conn_mark(c);
}

/* ---- the request ---- */

/* Write what waits of the head, the stream or the whole body. */
static ssize_t conn_send(struct client_conn *c, struct str first, struct str second)
{
    if (c->plain_fd < 0) {
        struct str part = first.n ? first : second;
        return remote_send(c->remote, part.p, part.n);
    }
    struct iovec parts[2] = {{(char *)first.p, first.n}, {(char *)second.p, second.n}};
    struct msghdr msg = {.msg_iov = parts, .msg_iovlen = 2};
    return sendmsg(c->plain_fd, &msg, MSG_NOSIGNAL);
}

/* True: something was taken, there may be room for more. */
static bool conn_send_some(struct client_conn *c)
{
    struct http_call *x = c->call;
    struct call_state *st = &x->st;
    struct str head = http_call_out(x), body = {NULL, 0};
    if (!st->spec.stream && c->rx != CLIENT_RAW && st->body_sent < st->spec.body.n)
        body = (struct str){st->spec.body.p + st->body_sent, st->spec.body.n - st->body_sent};
    ssize_t n = conn_send(c, head, body);
    if (n < 0) {
        c->write_full = true;
        /* Broken: its answer or its end will be read, for a peer may refuse a body half way and close. */
        c->write_dead = errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR;
        return false;
    }
    c->unsent = false;
    size_t of_head = (size_t)n < head.n ? (size_t)n : head.n;
    st->out_kept += of_head;
    if (!st->keeps || st->out_kept > CLIENT_KEPT_MAX)
        http_call_keep_no_more(x);
    st->body_sent += (size_t)n - of_head;
    return true;
}

static bool conn_has_output(const struct client_conn *c)
{
    const struct http_call *x = c->call;
    bool body = !x->st.spec.stream && c->rx != CLIENT_RAW && x->st.body_sent < x->st.spec.body.n;
    return http_call_out(x).n || body || (c->remote && remote_pending(c->remote));
}

static void conn_flush(struct client_conn *c)
{
    struct http_call *x = c->call;
    struct call_state *st = &x->st;
    while (conn_has_output(c) && !c->write_full && !c->write_dead && conn_send_some(c))
        ;
    if (st->half_close && !st->shut && !conn_has_output(c)) {
        st->shut = true;
        if (c->plain_fd >= 0) /* TLS cannot be half-closed through libcurl */
            shutdown(c->plain_fd, SHUT_WR);
    }
    if (st->blocked && !st->stopped && http_call_out(x).n <= CLIENT_OUT_LOW) {
        st->blocked = false;
        if (st->ops->on_writable)
            st->ops->on_writable(st->arg);
    }
}

static void conn_want(struct client_conn *c)
{
    const struct http_call *x = c->call;
    if (!c->watch)
        return;
    bool write = c->rx == CLIENT_CONNECTING || (x && !c->write_dead && c->write_full && conn_has_output(c));
    bool read = c->rx != CLIENT_CONNECTING && (!x || !x->st.paused);
    loop_fd_want(c->watch, (read ? LOOP_READ : 0) | (write ? LOOP_WRITE : 0));
}

/* ---- events ---- */

static void conn_connected(struct client_conn *c)
{
    char name[CLIENT_POOL_KEY_MAX];
    struct err e;
    int sys = 0;
    socklen_t len = sizeof sys;
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &sys, &len) != 0)
        sys = errno;
    if (sys) {
        err_sys(&e, ERR_UNAVAILABLE, sys, "cannot connect to %s", conn_name(c, name));
        conn_lost(c, &e);
        return;
    }
    c->rx = CLIENT_HEAD;
    client_conn_mark(c);
}

static void on_remote(void *arg, const struct err *e)
{
    struct client_conn *c = arg;
    struct err bad;
    if (e) {
        conn_lost(c, e);
        return;
    }
    c->plain_fd = remote_plain(c->remote) ? remote_fd(c->remote) : -1;
    c->watch = loop_fd_new(c->client->loop, remote_fd(c->remote), on_event, c, &bad);
    if (!c->watch) {
        conn_lost(c, &bad);
        return;
    }
    c->rx = CLIENT_HEAD;
    client_conn_mark(c);
}

static void on_event(void *arg, int events)
{
    struct client_conn *c = arg;
    if (c->rx == CLIENT_CONNECTING) {
        conn_connected(c);
        return;
    }
    if (events & LOOP_WRITE) {
        c->write_full = false;
        client_conn_mark(c);
    }
    if (events & LOOP_READ)
        client_conn_read(c);
}

void client_conn_work(struct client_conn *c)
{
    struct http_call *x = c->call;
    if (x && x->st.stopped) {
        struct err e = x->st.failure;
        client_conn_end_call(c, &e);
        return;
    }
    bool looked_at = c->rx == CLIENT_HEAD && c->scan.at == buf_len(&c->in);
    if (x && c->rx != CLIENT_CONNECTING && !x->st.paused && buf_len(&c->in) && !looked_at)
        conn_take_buffered(c);
    if (!c->pool)
        return;
    if (c->call && c->rx != CLIENT_CONNECTING)
        conn_flush(c);
    if (c->call && c->call->st.stopped)
        client_conn_mark(c);
    if (buf_len(&c->in) == 0)
        buf_fini(&c->in);
    conn_want(c);
    rearm(c);
}

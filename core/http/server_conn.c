/* server_conn.c: one connection of the HTTP server: its input, its deadline and its end. */
#include "core/http/server_int.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static void on_event(void *arg, int events);
static void on_timer(struct timer *t, int64_t now_ns);

/* ---- beginning and end ---- */

void http_conn_new(struct http_server *s, int fd, const char *peer, bool refuse)
{
    struct http_conn *c = calloc(1, sizeof *c);
    struct loop_fd *watch = c ? loop_fd_new(s->loop, fd, on_event, c, NULL) : NULL;
    if (!watch) {
        free(c);
        close(fd);
        return;
    }
    c->server = s;
    c->fd = fd;
    c->watch = watch;
    node_init(&c->link);
    node_init(&c->dirty);
    timer_init(&c->timer, on_timer);
    buf_init(&c->in, HTTP_PIPELINE_BYTES_MAX + 2 * HTTP_READ_BYTES);
    memcpy(c->peer, peer, sizeof c->peer);
    list_append(&s->conns, &c->link);
    loop_fd_want(c->watch, LOOP_READ);
    if (refuse) {
        struct http_exchange *x = http_exchange_new(c);
        if (!x) {
            http_conn_close(c);
            return;
        }
        http_exchange_refuse(x, 503, "too many connections: try again later");
    }
    http_conn_mark(c);
}

static void conn_free(void *arg) { free(arg); }

void http_conn_close(struct http_conn *c)
{
    struct http_server *s = c->server;
    if (c->x)
        http_exchange_end(c->x, false);
    timer_cancel(loop_timers(s->loop), &c->timer);
    loop_fd_free(c->watch);
    close(c->fd);
    c->fd = -1;
    c->watch = NULL;
    list_remove(&s->dirty, &c->dirty);
    list_remove(&s->conns, &c->link);
    buf_fini(&c->in);
    http_conn_count(c);
    loop_bury(s->loop, &c->grave, conn_free, c);
    http_server_conn_gone(s);
}

/* Broken off by the handler. The peer of an answer without a length would take a plain close for its end: reset. */
static void conn_abort(struct http_conn *c)
{
    const struct exchange_state *st = &c->x->st;
    if (st->answer == ANSWER_BEGUN && !st->has_length && !st->chunked) {
        struct linger hard = {.l_onoff = 1};
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    }
    http_conn_close(c);
}

/* The last answer is in the kernel. Closing while the client still sends would reset the connection under the answer, so
 * say that no more comes and read on for a moment. */
static void conn_linger(struct http_conn *c)
{
    if (c->eof) {
        http_conn_close(c);
        return;
    }
    shutdown(c->fd, SHUT_WR);
    c->rx = RX_DROP;
    c->dropped_bytes = buf_len(&c->in);
    buf_clear(&c->in);
}

bool http_conn_is_idle(const struct http_conn *c) { return !c->x && c->rx == RX_HEAD && buf_len(&c->in) == 0; }

void http_conn_mark(struct http_conn *c)
{
    if (node_linked(&c->dirty))
        return;
    list_append(&c->server->dirty, &c->dirty);
    http_server_flush_soon(c->server);
}

/* ---- the deadline ---- */

static enum conn_wait conn_waits_for(const struct http_conn *c)
{
    const struct http_exchange *x = c->x;
    if (c->rx == RX_DROP && !x)
        return WAIT_LINGER;
    if (!x)
        return buf_len(&c->in) ? WAIT_HEAD : WAIT_IDLE;
    if (buf_len(&x->out))
        return WAIT_WRITE;
    if (x->st.raw)
        return x->st.raw_shut ? WAIT_LINGER : WAIT_NOTHING;
    if (c->rx == RX_BODY && !x->st.paused && x->st.answer != ANSWER_FINISHED)
        return WAIT_BODY;
    return WAIT_NOTHING;
}

static int64_t wait_ns(const struct http_server *s, enum conn_wait wait)
{
    switch (wait) {
    case WAIT_IDLE:
        return s->config.idle_timeout_ns;
    case WAIT_HEAD:
        return s->config.head_timeout_ns;
    case WAIT_BODY:
        return s->config.body_timeout_ns;
    case WAIT_WRITE:
        return s->config.write_timeout_ns;
    case WAIT_LINGER:
        return HTTP_LINGER_NS;
    case WAIT_NOTHING:
        break;
    }
    return TIMER_NEVER;
}

static void conn_rearm(struct http_conn *c)
{
    enum conn_wait wait = conn_waits_for(c);
    bool renews = wait == WAIT_BODY || wait == WAIT_WRITE; /* these only ask for progress; the others for an end */
    if (wait == c->wait && !(renews && c->progress))
        return;
    struct http_server *s = c->server;
    int64_t ns = wait_ns(s, wait);
    c->wait = wait;
    c->progress = false;
    c->due_ns = ns == TIMER_NEVER ? TIMER_NEVER : loop_now(s->loop) + ns;
    if (wait == WAIT_BODY && c->x->st.body_due_ns < c->due_ns)
        c->due_ns = c->x->st.body_due_ns;
    if (c->due_ns == TIMER_NEVER || (timer_armed(&c->timer) && c->timer.due_ns <= c->due_ns))
        return;
    if (timer_set(loop_timers(s->loop), &c->timer, c->due_ns, NULL) != 0)
        http_conn_close(c); /* a connection without a deadline could stay for ever */
}

void http_conn_turn_away(struct http_conn *c, int status, const char *why)
{
    struct http_exchange *x = c->x;
    bool tell = x ? x->st.answer == ANSWER_NONE && !x->st.aborted : c->rx == RX_HEAD && buf_len(&c->in);
    bool head_only = x && x->st.head_only;
    if (tell && x)
        http_exchange_end(x, false);
    x = tell ? http_exchange_new(c) : NULL;
    if (!x) {
        http_conn_close(c);
        return;
    }
    buf_fini(&c->in);
    x->st.head_only = head_only;
    http_exchange_refuse(x, status, why);
    http_conn_count(c);
}

/* Too slow. Before the answer has begun the client can be told. */
static void conn_timed_out(struct http_conn *c)
{
    if (c->wait == WAIT_HEAD)
        http_conn_turn_away(c, 408, "the head of the request did not arrive in time");
    else if (c->wait == WAIT_BODY)
        http_conn_turn_away(c, 408, "the body of the request did not arrive in time");
    else
        http_conn_close(c);
}

static void on_timer(struct timer *t, int64_t now_ns)
{
    struct http_conn *c = CONTAINER_OF(t, struct http_conn, timer);
    if (c->due_ns > now_ns) {
        if (c->due_ns != TIMER_NEVER && timer_set(loop_timers(c->server->loop), t, c->due_ns, NULL) != 0)
            http_conn_close(c);
        return;
    }
    conn_timed_out(c);
}

/* ---- the head ---- */

static struct str tail(struct str s, size_t from) { return (struct str){s.p + from, s.n - from}; }

/* "http://host/path" -> the authority and the origin form. */
static int absolute_read(struct str target, struct str *authority, struct str *origin, struct err *e)
{
    size_t scheme_n = target.n >= 8 && str_ieq((struct str){target.p, 8}, STR("https://")) ? 8 : 7;
    if (scheme_n == 7 && (target.n < 7 || !str_ieq((struct str){target.p, 7}, STR("http://")))) {
        err_set(e, ERR_INVALID_ARGUMENT, "the request target is neither a path nor an http URL");
        return 400;
    }
    struct str rest = tail(target, scheme_n);
    size_t n = 0;
    while (n < rest.n && rest.p[n] != '/' && rest.p[n] != '?')
        n++;
    *authority = (struct str){rest.p, n};
    *origin = n < rest.n ? tail(rest, n) : STR("/");
    if (n > 0 && origin->p[0] == '/')
        return 0;
    err_set(e, ERR_INVALID_ARGUMENT, n ? "the request target has no path before its query" : "the request target has no host");
    return 400;
}

/* Split the target; of the absolute form keep the origin form, and the host, which outranks the Host field. */
static int target_read(struct http_request *r, const struct h1_head *h, struct str *authority, struct err *e)
{
    r->target = h->target;
    bool origin = h->target.p[0] == '/' || (str_is(h->target, "*") && str_is(h->method, "OPTIONS"));
    int refused = origin ? 0 : absolute_read(h->target, authority, &r->target, e);
    if (refused)
        return refused;
    const char *mark = memchr(r->target.p, '?', r->target.n);
    size_t path_n = mark ? (size_t)(mark - r->target.p) : r->target.n;
    r->path = (struct str){r->target.p, path_n};
    r->query = mark ? tail(r->target, path_n + 1) : (struct str){r->target.p + path_n, 0};
    return 0;
}

static int host_read(struct http_request *r, const struct h1_head *h, struct str authority, struct err *e)
{
    if (h->hosts > 1 || (h->hosts == 0 && h->minor == 1)) {
        err_set(e, ERR_INVALID_ARGUMENT, h->hosts ? "there are two Host fields" : "the Host field is missing");
        return 400;
    }
    r->host = (struct str){h->host.p, 0};
    r->host_port = 0;
    if (h->host.n && host_split(h->host, &r->host, &r->host_port, e))
        return 400; /* also beside an absolute target, RFC 9112 3.2 */
    r->authority = h->host;
    if (authority.n) {
        r->authority = authority;
        if (host_split(authority, &r->host, &r->host_port, e))
            return 400;
    }
    if (r->host.n > 1 && r->host.p[r->host.n - 1] == '.')
        r->host.n--; /* a name written to its very end, as resolvers take it, is the same name */
    /* The head is our own copy, so the host can be folded where it stands. */
    char *host = (char *)r->host.p; /* NULL when there is none */
    for (size_t i = 0; i < r->host.n; i++)
        if (host[i] >= 'A' && host[i] <= 'Z')
            host[i] = (char)(host[i] | 0x20);
    return 0;
}

/* Fill the request from the head in x->head. 0 or the status to refuse with. */
static int request_read(struct http_exchange *x, struct err *e)
{
    struct http_request *r = &x->req;
    struct h1_head h;
    struct str authority = {0};
    int refused = h1_request_parse(buf_data(&x->head), buf_len(&x->head), &h, &r->headers, e);
    x->st.head_only = str_is(h.method, "HEAD"); /* also when it is refused for something behind its first line */
    if (refused == 0)
        refused = target_read(r, &h, &authority, e);
    if (refused == 0)
        refused = host_read(r, &h, authority, e);
    if (refused)
        return refused;
    r->method = h.method;
    r->minor = h.minor;
    r->upgrade = h.upgrade;
    r->body_bytes = h.framing == H1_CHUNKED ? -1 : h.body_bytes;
    memcpy(r->peer, x->st.conn->peer, sizeof r->peer);
    h1_body_init(&x->st.body, h.framing, h.body_bytes);
    x->st.keep_alive = h.keep_alive;
    x->st.expects = h.expect_continue && h.minor == 1 && h.framing != H1_NO_BODY;
    return 0;
}

static void request_end(struct http_exchange *x)
{
    struct exchange_state *st = &x->st;
    st->request_done = true;
    st->conn->rx = RX_WAIT;
    if (st->answer != ANSWER_FINISHED && !st->aborted && st->ops && st->ops->on_end)
        st->ops->on_end(x, st->arg);
}

static void request_begin(struct http_conn *c, struct http_exchange *x)
{
    struct http_server *s = c->server;
    c->rx = RX_BODY;
    s->fn(s->arg, x, &x->req);
    if (!x->st.ops && x->st.answer == ANSWER_NONE && !x->st.aborted)
        http_reply(x, 500, "text/plain", STR("nobody took the request\n"));
    if (x->st.body.done && c->x == x && c->rx == RX_BODY)
        request_end(x);
    else
        http_exchange_continue(x);
}

/* Refuse what could not be read as a request, by `x` (NULL: out of memory); everything after it is dropped. */
static size_t refuse(struct http_conn *c, struct http_exchange *x, int status, const struct err *e, size_t n)
{
    if (x)
        http_exchange_refuse(x, status, e->msg);
    else
        c->rx = RX_DROP;
    return n;
}

/* Take a head off the front: its length, 0 when it is not whole yet. */
static size_t head_take(struct http_conn *c, const char *p, size_t n)
{
    struct http_server *s = c->server;
    struct err e = {0};
    size_t head_bytes = 0;
    int refused = h1_head_find(&c->scan, H1_REQUEST, p, n, s->config.head_max_bytes, &head_bytes, &e);
    if (refused)
        return refuse(c, http_exchange_new(c), refused, &e, n);
    if (head_bytes == 0)
        return 0;
    c->scan = (struct h1_scan){0};
    c->wait = WAIT_NOTHING;
    struct http_exchange *x = http_exchange_new(c);
    if (!x || buf_add(&x->head, p, head_bytes) != 0) {
        err_set(&e, ERR_RESOURCE_EXHAUSTED, "out of memory");
        return refuse(c, x, 503, &e, n);
    }
    x->st.in_hand_bytes = n - head_bytes;
    refused = request_read(x, &e);
    if (refused)
        return refuse(c, x, refused, &e, n);
    request_begin(c, x);
    return head_bytes;
}

/* ---- the body ---- */

static size_t body_take(struct http_conn *c, const char *p, size_t n)
{
    struct http_exchange *x = c->x;
    struct exchange_state *st = &x->st;
    struct err e;
    size_t used;
    struct str data;
    int refused = h1_body_next(&st->body, p, n, &used, &data, &e);
    if (refused) {
        if (st->answer != ANSWER_NONE) {
            st->aborted = true;
            return n;
        }
        bool head_only = st->head_only;
        http_exchange_end(x, false);
        x = http_exchange_new(c);
        if (x)
            x->st.head_only = head_only;
        return refuse(c, x, refused, &e, n);
    }
    c->progress = true;
    st->expects = false; /* it came unasked */
    if (data.n && st->answer != ANSWER_FINISHED && st->ops && st->ops->on_body)
        st->ops->on_body(x, st->arg, data);
    if (st->body.done && c->rx == RX_BODY)
        request_end(x);
    return used;
}

static size_t raw_take(struct http_conn *c, const char *p, size_t n)
{
    struct exchange_state *st = &c->x->st;
    if (st->ops && st->ops->on_body)
        st->ops->on_body(c->x, st->arg, (struct str){p, n});
    return n;
}

/* Give the parser what is there until it is used up or has to wait; returns how many bytes are done with. */
static size_t conn_take(struct http_conn *c, const char *p, size_t n)
{
    size_t used = 0;
    while (used < n) {
        struct http_exchange *x = c->x;
        size_t took = 0;
        if (x && x->st.aborted)
            return n;
        switch (c->rx) {
        case RX_HEAD:
            took = head_take(c, p + used, n - used);
            break;
        case RX_BODY:
            assert(x);
            took = x->st.paused ? 0 : body_take(c, p + used, n - used);
            break;
        case RX_RAW:
            assert(x);
            took = x->st.paused ? 0 : raw_take(c, p + used, n - used);
            break;
        case RX_WAIT:
            break;
        case RX_DROP:
            took = n - used;
            c->dropped_bytes += took;
            break;
        }
        if (took == 0)
            break;
        used += took;
    }
    return used;
}

/* ---- reading ---- */

static void conn_take_buffered(struct http_conn *c)
{
    buf_consume(&c->in, conn_take(c, buf_data(&c->in), buf_len(&c->in)));
    if (buf_len(&c->in) == 0)
        buf_fini(&c->in); /* idle connections hold no buffer */
}

/* The client sends no more. Half-closed clients still get their answers. */
static void conn_eof(struct http_conn *c)
{
    struct http_exchange *x = c->x;
    c->eof = true;
    if (!x || c->rx == RX_BODY) {
        http_conn_close(c);
        return;
    }
    if (c->rx == RX_RAW && x->st.ops && x->st.ops->on_end && !x->st.aborted)
        x->st.ops->on_end(x, x->st.arg);
    else if (c->rx != RX_RAW && x->st.ops && x->st.ops->on_half_close && !x->st.aborted)
        x->st.ops->on_half_close(x, x->st.arg);
    http_conn_mark(c);
}

static void conn_read(struct http_conn *c)
{
    /* Most input is used up at once, so it is read into the thread's buffer, and only a rest is kept with the connection. */
    char *to = c->server->scratch;
    ssize_t n = recv(c->fd, to, HTTP_READ_BYTES, 0);
    if (n < 0) {
        if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
            http_conn_close(c);
        return;
    }
    if (n == 0) {
        conn_eof(c);
        return;
    }
    http_conn_mark(c);
    bool direct = buf_len(&c->in) == 0;
    size_t used = direct ? conn_take(c, to, (size_t)n) : 0;
    if (used < (size_t)n && buf_add(&c->in, to + used, (size_t)n - used) != 0)
        http_conn_close(c);
    else if (!direct)
        conn_take_buffered(c);
}

static void conn_want(struct http_conn *c)
{
    const struct http_exchange *x = c->x;
    bool read = !c->eof;
    assert(x || (c->rx != RX_BODY && c->rx != RX_RAW));
    if (c->rx == RX_WAIT)
        read = read && buf_len(&c->in) < HTTP_PIPELINE_BYTES_MAX;
    else if (c->rx == RX_BODY || c->rx == RX_RAW)
        read = read && !x->st.paused;
    bool write = x && c->write_full && buf_len(&x->out);
    loop_fd_want(c->watch, (read ? LOOP_READ : 0) | (write ? LOOP_WRITE : 0));
}

static void on_event(void *arg, int events)
{
    struct http_conn *c = arg;
    if (events & LOOP_WRITE) {
        c->write_full = false;
        http_conn_mark(c);
    }
    if (events & LOOP_READ)
        conn_read(c);
}

/* ---- the end of an iteration ---- */

/* The answer is finished and written. False: the connection is gone. */
static bool conn_next(struct http_conn *c)
{
    struct http_exchange *x = c->x;
    if (x->st.raw) {
        if (!x->st.raw_shut)
            shutdown(c->fd, SHUT_WR);
        x->st.raw_shut = true;
        if (!c->eof)
            return true;
        http_exchange_end(x, true);
        http_conn_close(c);
        return false;
    }
    bool last = x->st.close_after || !x->st.keep_alive || !x->st.request_done || c->server->draining;
    http_exchange_end(x, true);
    if (last) {
        conn_linger(c);
        return c->fd >= 0;
    }
    c->rx = RX_HEAD;
    if (buf_len(&c->in))
        http_conn_mark(c);
    return true;
}

/* The client sends no more, and what it has sent is no whole request. */
static bool conn_starved(const struct http_conn *c)
{
    if (!c->eof)
        return false;
    if (c->x)
        return c->rx == RX_BODY && buf_len(&c->in) == 0;
    return buf_len(&c->in) == 0 || c->scan.at == buf_len(&c->in);
}

void http_conn_work(struct http_conn *c)
{
    if (c->x && c->x->st.aborted) {
        conn_abort(c);
        return;
    }
    if (c->x)
        http_exchange_continue(c->x);
    if (buf_len(&c->in) && !(c->rx == RX_HEAD && c->scan.at == buf_len(&c->in)))
        conn_take_buffered(c);
    if (c->x && !http_exchange_flush(c->x)) {
        http_conn_close(c);
        return;
    }
    struct http_exchange *x = c->x;
    if (x && x->st.answer == ANSWER_FINISHED && buf_len(&x->out) == 0 && !x->st.aborted && !conn_next(c))
        return;
    if (conn_starved(c) || (c->rx == RX_DROP && !c->x && c->dropped_bytes > HTTP_LINGER_BYTES_MAX)) {
        http_conn_close(c);
        return;
    }
    if (!http_conn_within_budget(c))
        return;
    conn_want(c);
    conn_rearm(c);
}

/* server_out.c: the answers of the HTTP server: heads, bodies in each framing, and writing them to the socket. */
#include "core/http/put.h"
#include "core/http/server_int.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>

static const char *reason_of(int status);

#define OWN_FIELDS_MAX 256 /* the status line and the fields that are the server's business */

/* ---- exchanges ---- */

struct http_exchange *http_exchange_new(struct http_conn *c)
{
    struct http_server *s = c->server;
    struct node *n = list_pop(&s->spare);
    struct http_exchange *x = n ? CONTAINER_OF(n, struct http_exchange, spare) : malloc(sizeof *x);
    if (!x)
        return NULL;
    if (!n) {
        buf_init(&x->head, HTTP_HEAD_MAX);
        buf_init(&x->out, HTTP_OUT_MAX);
    }
    x->st = (struct exchange_state){.conn = c, .body_due_ns = TIMER_NEVER};
    x->req.minor = 1;
    x->req.body_bytes = 0;
    x->req.headers.n = 0;
    c->x = x;
    return x;
}

static void exchange_free(struct http_exchange *x)
{
    buf_fini(&x->head);
    buf_fini(&x->out);
    free(x);
}

static void buffer_spare(struct buf *b)
{
    buf_clear(b);
    if (b->cap > HTTP_SPARE_BUFFER_BYTES)
        buf_fini(b);
}

void http_exchange_end(struct http_exchange *x, bool complete)
{
    struct http_conn *c = x->st.conn;
    struct http_server *s = c->server;
    x->st.aborted = true; /* whatever on_close still calls does nothing */
    x->st.answer = ANSWER_FINISHED;
    c->x = NULL;
    if (x->st.ops && x->st.ops->on_close)
        x->st.ops->on_close(x, x->st.arg, complete);
    if (s->freed || s->spare.count >= HTTP_SPARE_EXCHANGES_MAX) {
        exchange_free(x);
        return;
    }
    buffer_spare(&x->head);
    buffer_spare(&x->out);
    list_prepend(&s->spare, &x->spare);
}

void http_exchange_spare_free(struct http_server *s)
{
    for (struct node *n; (n = list_pop(&s->spare));)
        exchange_free(CONTAINER_OF(n, struct http_exchange, spare));
}

void http_accept(struct http_exchange *x, const struct http_exchange_ops *ops, void *arg)
{
    x->st.ops = ops;
    x->st.arg = arg;
}

const struct http_request *http_exchange_request(const struct http_exchange *x) { return &x->req; }

/* ---- the socket ---- */

/* Write `bytes` after what waits; returns how many of both were taken, or -1 when the connection is broken. */
static ssize_t socket_write(struct http_exchange *x, struct str bytes)
{
    struct http_conn *c = x->st.conn;
    struct iovec parts[2] = {{buf_data(&x->out), buf_len(&x->out)}, {(char *)bytes.p, bytes.n}};
    struct msghdr msg = {.msg_iov = parts, .msg_iovlen = 2};
    ssize_t n = bytes.n ? sendmsg(c->fd, &msg, MSG_NOSIGNAL) : send(c->fd, parts[0].iov_base, parts[0].iov_len, MSG_NOSIGNAL);
    if (n < 0) {
        if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
            return -1;
        n = 0;
    }
    c->write_full = (size_t)n < parts[0].iov_len + bytes.n;
    c->progress |= n > 0;
    return n;
}

bool http_exchange_flush(struct http_exchange *x)
{
    struct http_conn *c = x->st.conn;
    if (buf_len(&x->out) && !c->write_full) {
        ssize_t n = socket_write(x, (struct str){NULL, 0});
        if (n < 0)
            return false;
        buf_consume(&x->out, (size_t)n);
    }
    if (x->st.blocked && buf_len(&x->out) <= HTTP_OUT_LOW) {
        x->st.blocked = false;
        if (!x->st.aborted && x->st.answer == ANSWER_BEGUN && x->st.ops && x->st.ops->on_writable) {
            x->st.ops->on_writable(x, x->st.arg);
            http_conn_mark(c); /* what it wrote */
        }
    }
    return true;
}

static void out_add(struct http_exchange *x, struct str bytes)
{
    if (buf_add(&x->out, bytes.p, bytes.n) != 0)
        http_abort(x);
}

/* Large pieces go to the socket from where they are; only what it does not take is copied. */
static void out_add_large(struct http_exchange *x, struct str bytes)
{
    ssize_t n = socket_write(x, bytes);
    if (n < 0) {
        http_abort(x);
        return;
    }
    size_t waiting = buf_len(&x->out), sent = (size_t)n;
    buf_consume(&x->out, sent < waiting ? sent : waiting);
    size_t taken = sent > waiting ? sent - waiting : 0;
    out_add(x, (struct str){bytes.p + taken, bytes.n - taken});
}

/* ---- heads ---- */

static char *put_fields(char *to, const struct headers *h, bool *dated)
{
    for (uint32_t i = 0; h && i < h->n; i++) {
        const struct header *f = &h->v[i];
        if (field_is_framing(f->name))
            continue;
        *dated |= f->name.n == 4 && str_ieq(f->name, STR("date"));
        to = put_field(to, f->name, f->value);
    }
    return to;
}

static char *put_framing(char *to, const struct exchange_state *st, int64_t body_bytes)
{
    if (st->chunked) {
        to = PUT(to, "Transfer-Encoding: chunked\r\n");
    } else if (body_bytes >= 0) {
        to = PUT(to, "Content-Length: ");
        to = put_u64(to, (uint64_t)body_bytes);
        to = PUT(to, "\r\n");
    }
    return to;
}

static char *put_connection(char *to, const struct http_exchange *x, int status)
{
    if (status == 101)
        return PUT(to, "Connection: Upgrade\r\n");
    if (x->st.close_after)
        return PUT(to, "Connection: close\r\n");
    return x->req.minor == 0 ? PUT(to, "Connection: keep-alive\r\n") : to;
}

static void head_write(struct http_exchange *x, char *to, int status, const struct headers *h, int64_t body_bytes)
{
    char *begin = to;
    const char *reason = reason_of(status);
    bool dated = status < 200;
    to = PUT(to, "HTTP/1.1 ");
    to = put_u64(to, (uint64_t)status);
    *to++ = ' ';
    to = put(to, reason, strlen(reason));
    to = PUT(to, "\r\n");
    to = put_fields(to, h, &dated);
    if (!dated) {
        const char *date = http_server_date(x->st.conn->server);
        to = PUT(to, "Date: ");
        to = put(to, date, strlen(date));
        to = PUT(to, "\r\n");
    }
    if (status >= 200)
        to = put_framing(to, &x->st, body_bytes);
    if (status >= 200 || status == 101)
        to = put_connection(to, x, status);
    to = PUT(to, "\r\n");
    buf_commit(&x->out, (size_t)(to - begin));
}

/* How the body is delimited, and whether the connection can live on after it. */
static void framing_choose(struct http_exchange *x, int status, int64_t body_bytes)
{
    struct exchange_state *st = &x->st;
    st->head_only |= status == 204 || status == 304;
    st->has_length = body_bytes >= 0;
    st->answer_left = st->head_only || body_bytes < 0 ? 0 : body_bytes;
    st->chunked = body_bytes < 0 && !st->head_only && x->req.minor == 1;
    bool until_close = body_bytes < 0 && !st->head_only && !st->chunked;
    bool body_here =
        st->request_done || st->body.done || (st->body.framing == H1_LENGTH && !st->paused && st->body.left <= st->in_hand_bytes);
    st->close_after |= !st->keep_alive || until_close || st->conn->server->draining || (st->whole && !body_here);
}

int http_respond(struct http_exchange *x, int status, const struct headers *h, int64_t body_bytes, struct err *e)
{
    struct exchange_state *st = &x->st;
    if (st->answer != ANSWER_NONE)
        return err_set(e, ERR_INTERNAL, "the answer has begun already");
    if (status < 100 || status > 999 || body_bytes < -1)
        return err_set(e, ERR_INTERNAL, "status %d is not one that can be sent", status);
    if (status == 101 && (!x->req.upgrade || !st->body.done))
        return err_set(e, ERR_INTERNAL, "status 101 answers a request that asked for no upgrade");
    size_t size = fields_size(h);
    if (size == SIZE_MAX)
        return err_set(e, ERR_INTERNAL, "a header field of the answer has a character that cannot be sent");
    char *to = buf_reserve(&x->out, size + OWN_FIELDS_MAX);
    if (!to)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the head of an answer");
    bool interim = status < 200 && status != 101;
    if (interim && x->req.minor == 0)
        return 0; /* HTTP/1.0 does not know them */
    if (interim) {
        st->expects &= status != 100;
    } else {
        st->answer = ANSWER_BEGUN;
        if (status != 101)
            framing_choose(x, status, status == 204 ? -1 : body_bytes);
    }
    head_write(x, to, status, h, status == 204 ? -1 : body_bytes);
    http_conn_mark(st->conn);
    return 0;
}

void http_exchange_continue(struct http_exchange *x)
{
    struct exchange_state *st = &x->st;
    bool wanted = st->ops && st->ops->on_body && !st->paused && st->answer == ANSWER_NONE && !st->aborted;
    if (!st->expects || !wanted || st->in_hand_bytes || st->conn->rx != RX_BODY)
        return;
    st->expects = false;
    out_add(x, STR("HTTP/1.1 100 Continue\r\n\r\n"));
    http_conn_mark(st->conn);
}

bool http_exchange_gone(struct http_exchange *x)
{
    static const char probe[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct http_conn *c = x->st.conn;
    char byte;
    ssize_t n = c->eof ? 0 : recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (n != 0)
        return n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR;
    if (x->req.minor == 0 || x->st.answer != ANSWER_NONE || x->st.aborted || buf_len(&x->out))
        return false;
    n = send(c->fd, probe, sizeof probe - 1, MSG_NOSIGNAL);
    int sys = n < 0 ? errno : 0;
    socklen_t len = sizeof sys;
    if (n < 0)
        return sys != EAGAIN && sys != EWOULDBLOCK && sys != EINTR;
    out_add(x, (struct str){probe + n, sizeof probe - 1 - (size_t)n});
    return getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &sys, &len) == 0 && sys != 0;
}

/* ---- bodies ---- */

static void chunk_add(struct http_exchange *x, struct str bytes)
{
    char line[H1_CHUNK_HEAD_MAX];
    out_add(x, (struct str){line, h1_chunk_head(line, bytes.n)});
}

bool http_write(struct http_exchange *x, struct str bytes)
{
    struct exchange_state *st = &x->st;
    if (st->aborted || st->answer != ANSWER_BEGUN || st->head_only || bytes.n == 0)
        return true;
    if (st->has_length) {
        if ((uint64_t)bytes.n > (uint64_t)st->answer_left) {
            http_abort(x); /* longer than the length that was promised */
            return true;
        }
        st->answer_left -= (int64_t)bytes.n;
    }
    if (st->chunked)
        chunk_add(x, bytes);
    if (bytes.n >= HTTP_DIRECT_BYTES && !st->conn->write_full && !st->aborted)
        out_add_large(x, bytes);
    else
        out_add(x, bytes);
    if (st->chunked)
        out_add(x, STR("\r\n"));
    http_conn_mark(st->conn);
    st->blocked = buf_len(&x->out) > HTTP_OUT_HIGH;
    return !st->blocked;
}

void http_finish(struct http_exchange *x)
{
    struct exchange_state *st = &x->st;
    if (st->aborted || st->answer == ANSWER_FINISHED)
        return;
    if (st->answer == ANSWER_NONE || (st->has_length && st->answer_left > 0)) {
        http_abort(x); /* it ends before it was said to */
        return;
    }
    if (st->chunked)
        out_add(x, STR("0\r\n\r\n"));
    st->answer = ANSWER_FINISHED;
    http_conn_mark(st->conn);
}

void http_reply(struct http_exchange *x, int status, const char *content_type, struct str body)
{
    struct headers h;
    struct err e;
    h.n = 0;
    x->st.whole = true;
    if ((content_type && headers_add(&h, STR("Content-Type"), str_of(content_type), &e) != 0) ||
        http_respond(x, status, &h, (int64_t)body.n, &e) != 0) {
        http_abort(x);
        return;
    }
    http_write(x, body);
    http_finish(x);
}

void http_exchange_refuse(struct http_exchange *x, int status, const char *why)
{
    char text[sizeof((struct err *)0)->msg + 2];
    size_t n = strnlen(why, sizeof text - 2);
    memcpy(text, why, n);
    text[n] = '\n';
    x->st.ops = NULL;
    x->st.close_after = true;
    x->st.conn->rx = RX_DROP;
    http_reply(x, status, "text/plain", (struct str){text, n + 1});
}

/* ---- control ---- */

void http_abort(struct http_exchange *x)
{
    x->st.aborted = true;
    if (x->st.conn->x == x)
        http_conn_mark(x->st.conn);
}

void http_body_due(struct http_exchange *x, int64_t due_ns) { x->st.body_due_ns = due_ns; }

void http_pause(struct http_exchange *x) { x->st.paused = true; }

void http_resume(struct http_exchange *x)
{
    if (!x->st.paused)
        return;
    x->st.paused = false;
    http_conn_mark(x->st.conn);
}

void http_upgraded(struct http_exchange *x)
{
    struct exchange_state *st = &x->st;
    if (st->aborted || st->answer != ANSWER_BEGUN || st->conn->rx == RX_RAW)
        return;
    st->raw = true;
    st->conn->rx = RX_RAW;
    http_conn_mark(st->conn);
}

static const char *reason_of(int status)
{
    static const struct {
        int status;
        const char *reason;
    } rows[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {206, "Partial Content"},
        {100, "Continue"},
        {101, "Switching Protocols"},
        {102, "Processing"},
        {103, "Early Hints"},
        {203, "Non-Authoritative Information"},
        {205, "Reset Content"},
        {207, "Multi-Status"},
        {300, "Multiple Choices"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {303, "See Other"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {402, "Payment Required"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {416, "Range Not Satisfiable"},
        {417, "Expectation Failed"},
        {421, "Misdirected Request"},
        {422, "Unprocessable Content"},
        {425, "Too Early"},
        {426, "Upgrade Required"},
        {428, "Precondition Required"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {451, "Unavailable For Legal Reasons"},
        {499, "Client Closed Request"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
        {507, "Insufficient Storage"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].status == status)
            return rows[i].reason;
    return "Status";
}

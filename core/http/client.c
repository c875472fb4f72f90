/* client.c: calls as their users see them: checking and starting them, streaming a body, stopping them. */
#include "core/http/client_int.h"
#include "core/http/put.h"

#include <stdlib.h>

#define OWN_FIELDS_MAX 512 /* the request line but its target, and the fields that are the client's business */

static void read_again(struct timer *t, int64_t now_ns);

/* ---- the client ---- */

struct http_client *http_client_new(struct loop *l, struct err *e)
{
    struct http_client *c = calloc(1, sizeof *c);
    if (!c)
        goto no_memory;
    c->loop = l;
    list_init(&c->conns);
    list_init(&c->dirty);
    list_init(&c->later);
    list_init(&c->spare);
    timer_init(&c->later_timer, read_again);
    c->scratch = malloc(CLIENT_READ_BYTES);
    c->local_pools = u64map_new(HTTP_CLIENT_CONNECTIONS_MAX);
    c->remote_pools = map_new(HTTP_CLIENT_CONNECTIONS_MAX);
    if (!c->scratch || !c->local_pools || !c->remote_pools)
        goto no_memory;
    return c;

no_memory:
    http_client_free(c);
    err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for an HTTP client");
    return NULL;
}

static void call_free(struct http_call *x)
{
    buf_fini(&x->out);
    free(x);
}

void http_client_free(struct http_client *c)
{
    struct err stopping;
    if (!c)
        return;
    c->freed = true;
    err_set(&stopping, ERR_CANCELLED, "the HTTP client is being shut down");
    LIST_EACH_SAFE(&c->conns, n) {
        struct client_conn *conn = CONTAINER_OF(n, struct client_conn, link);
        if (conn->call)
            client_conn_end_call(conn, &stopping);
        else
            client_conn_close(conn);
    }
    for (struct node *n; (n = list_pop(&c->spare));)
        call_free(CONTAINER_OF(n, struct http_call, spare));
    timer_cancel(loop_timers(c->loop), &c->later_timer);
    u64map_free(c->local_pools);
    map_free(c->remote_pools);
    remote_free(c->remote);
    free(c->scratch);
    c->scratch = NULL;
    if (!c->flush_pending)
        free(c);
}

static void client_flush(void *arg)
{
    struct http_client *c = arg;
    struct node *n;
    while ((n = list_pop(&c->dirty)))
        client_conn_work(CONTAINER_OF(n, struct client_conn, dirty));
    c->flush_pending = false;
    if (c->freed)
        free(c);
}

void client_flush_soon(struct http_client *c)
{
    if (c->flush_pending)
        return;
    c->flush_pending = true;
    loop_bury(c->loop, &c->grave, client_flush, c);
}

static void read_again(struct timer *t, int64_t now_ns)
{
    struct http_client *c = CONTAINER_OF(t, struct http_client, later_timer);
    /* Reading may put a connection here again: only those that are here now. */
    for (size_t n = c->later.count; n; n--) {
        struct node *first = list_pop(&c->later);
        if (!first)
            return;
        client_conn_read(CONTAINER_OF(first, struct client_conn, later));
    }
}

void client_read_later(struct client_conn *conn)
{
    struct http_client *c = conn->client;
    if (!node_linked(&conn->later))
        list_append(&c->later, &conn->later);
    if (!timer_armed(&c->later_timer) && timer_set(loop_timers(c->loop), &c->later_timer, loop_now(c->loop), NULL) != 0) {
        struct err e;
        list_remove(&c->later, &conn->later);
        err_set(&e, ERR_RESOURCE_EXHAUSTED, "out of memory while reading an answer");
        if (conn->call)
            http_call_fail(conn->call, &e);
    }
}

struct http_client_stats http_client_stats(const struct http_client *c)
{
    struct http_client_stats s = c->stats;
    s.connections = c->conns.count;
    s.idle = c->idle_count;
    return s;
}

/* ---- calls ---- */

static struct http_call *call_new(struct http_client *c)
{
    struct node *n = list_pop(&c->spare);
    struct http_call *x = n ? CONTAINER_OF(n, struct http_call, spare) : malloc(sizeof *x);
    if (!x)
        return NULL;
    if (!n)
        buf_init(&x->out, CLIENT_OUT_MAX);
    x->st = (struct call_state){.client = c};
    return x;
}

static void call_spare(struct http_call *x)
{
    struct http_client *c = x->st.client;
    buf_clear(&x->out);
    if (c->freed || c->spare.count >= CLIENT_SPARE_CALLS_MAX) {
        call_free(x);
        return;
    }
    if (x->out.cap > CLIENT_SPARE_BUFFER_BYTES)
        buf_fini(&x->out);
    list_prepend(&c->spare, &x->spare);
}

void http_call_done(struct http_call *x, const struct err *e)
{
    x->st.conn = NULL;
    x->st.stopped = true; /* whatever on_done still calls does nothing */
    x->st.ops->on_done(x->st.arg, e);
    call_spare(x);
}

static bool target_valid(struct str s)
{
    bool bad = s.n == 0 || s.n > H1_TARGET_MAX || (s.p[0] != '/' && !str_is(s, "*"));
    for (size_t i = 0; !bad && i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bad = c <= ' ' || c >= 0x7f || c == '#';
    }
    return !bad;
}

static int spec_check(const struct http_target *t, const struct http_call_spec *s, struct err *e)
{
    if (!header_name_valid(s->method) || s->method.n > 32 || str_is(s->method, "CONNECT"))
        return err_set(e, ERR_INVALID_ARGUMENT, "this method cannot be called");
    if (!target_valid(s->target))
        return err_set(e, ERR_INVALID_ARGUMENT,
                       "the request target does not begin with / or holds a character that must be percent-encoded");
    if (!header_value_valid(s->host) || s->host.n > OWN_FIELDS_MAX / 2)
        return err_set(e, ERR_INVALID_ARGUMENT, "the Host of the request is too long or has a line break");
    if (t->local ? t->port == 0 : (t->url.host.n == 0 || t->url.host.n > CLIENT_HOST_MAX))
        return err_set(e, ERR_INVALID_ARGUMENT, "the call has no host or port to go to");
    if (s->stream && s->stream_bytes < -1)
        return err_set(e, ERR_INVALID_ARGUMENT, "the length of the request body is negative");
    return 0;
}

static char *put_host(char *to, const struct http_target *t, struct str host)
{
    to = PUT(to, "Host: ");
    if (host.n) {
        to = put(to, host.p, host.n);
    } else if (t->local) {
        to = PUT(to, "127.0.0.1:");
        to = put_u64(to, t->port);
    } else {
        bool v6 = memchr(t->url.host.p, ':', t->url.host.n) != NULL;
        to = put(to, "[", v6 ? 1 : 0);
        to = put(to, t->url.host.p, t->url.host.n);
        to = put(to, "]", v6 ? 1 : 0);
        if (t->url.port != (t->url.https ? 443 : 80)) {
            to = PUT(to, ":");
            to = put_u64(to, t->url.port);
        }
    }
    return PUT(to, "\r\n");
}

static char *put_framing(char *to, const struct http_call_spec *s)
{
    bool usual = s->body.n || str_is(s->method, "POST") || str_is(s->method, "PUT") || str_is(s->method, "PATCH");
    if (s->stream && s->stream_bytes < 0)
        return PUT(to, "Transfer-Encoding: chunked\r\n");
    if (!s->stream && !usual)
        return to;
    to = PUT(to, "Content-Length: ");
    to = put_u64(to, s->stream ? (uint64_t)s->stream_bytes : s->body.n);
    return PUT(to, "\r\n");
}

static char *put_fields(char *to, const struct headers *h)
{
    for (uint32_t i = 0; h && i < h->n; i++) {
        struct str name = h->v[i].name;
        /* Expect as well: the body is sent without waiting. */
        bool ours = field_is_framing(name) || (name.n == 4 && str_ieq(name, STR("host"))) || (name.n == 6 && str_ieq(name, STR("expect")));
        if (!ours)
            to = put_field(to, name, h->v[i].value);
    }
    return to;
}

int http_call_head_write(struct http_call *x, struct err *e)
{
    const struct http_call_spec *s = &x->st.spec;
    size_t size = fields_size(s->headers);
    if (size == SIZE_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "a header field of the request has a character that cannot be sent");
    char *begin = buf_reserve(&x->out, size + s->fields.n + s->target.n + OWN_FIELDS_MAX);
    if (!begin)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the head of a request");
    char *to = put(begin, s->method.p, s->method.n);
    *to++ = ' ';
    to = put(to, s->target.p, s->target.n);
    to = PUT(to, " HTTP/1.1\r\n");
    to = put_host(to, &x->st.target, s->host);
    to = put(to, s->fields.p, s->fields.n);
    to = put_fields(to, s->headers);
    to = put_framing(to, s);
    if (s->upgrade)
        to = PUT(to, "Connection: Upgrade\r\n");
    to = PUT(to, "\r\n");
    buf_commit(&x->out, (size_t)(to - begin));
    return 0;
}

struct http_call *http_call_start(struct http_client *c, const struct http_target *t, const struct http_call_spec *s,
                                  const struct http_call_ops *ops, void *arg, struct err *e)
{
    if (c->freed || spec_check(t, s, e)) {
        if (c->freed)
            err_set(e, ERR_CANCELLED, "the HTTP client is being shut down");
        return NULL;
    }
    struct http_call *x = call_new(c);
    if (!x) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for an HTTP call");
        return NULL;
    }
    struct call_state *st = &x->st;
    st->ops = ops;
    st->arg = arg;
    st->target = *t;
    st->spec = *s;
    st->begun_ns = loop_now(c->loop);
    st->stream_left = s->stream_bytes;
    st->body_ended = !s->stream;
    if (http_call_head_write(x, e) || http_pool_attach(x, false, e)) {
        call_spare(x);
        return NULL;
    }
    return x;
}

void http_call_fail(struct http_call *x, const struct err *e)
{
    if (x->st.stopped)
        return;
    x->st.stopped = true;
    x->st.failure = *e;
    client_conn_mark(x->st.conn);
}

static void out_add(struct http_call *x, struct str bytes)
{
    struct err e;
    if (x->st.stopped || buf_add(&x->out, bytes.p, bytes.n) == 0)
        return;
    err_set(&e, ERR_RESOURCE_EXHAUSTED, "more than %d bytes of a request body wait to be sent", CLIENT_OUT_MAX);
    http_call_fail(x, &e);
}

static bool stream_admits(struct http_call *x, size_t n)
{
    struct err e;
    if (x->st.spec.stream_bytes < 0)
        return true;
    x->st.stream_left -= (int64_t)n;
    if (x->st.stream_left >= 0)
        return true;
    err_set(&e, ERR_INTERNAL, "the request body is longer than the %lld bytes that were announced", (long long)x->st.spec.stream_bytes);
    http_call_fail(x, &e);
    return false;
}

struct str http_call_out(const struct http_call *x)
{
    struct str all = buf_str(&x->out);
    return (struct str){all.p + x->st.out_kept, all.n - x->st.out_kept};
}

void http_call_keep_no_more(struct http_call *x)
{
    buf_consume(&x->out, x->st.out_kept);
    x->st.out_kept = 0;
    x->st.keeps = false;
}

bool http_call_write(struct http_call *x, struct str bytes)
{
    struct call_state *st = &x->st;
    bool raw = st->conn && st->conn->rx == CLIENT_RAW;
    if (st->stopped || bytes.n == 0 || (raw ? st->half_close : st->body_ended))
        return true;
    if (!raw && !stream_admits(x, bytes.n))
        return true;
    bool chunked = !raw && st->spec.stream_bytes < 0;
    if (chunked) {
        char line[H1_CHUNK_HEAD_MAX];
        out_add(x, (struct str){line, h1_chunk_head(line, bytes.n)});
    }
    out_add(x, bytes);
    if (chunked)
        out_add(x, STR("\r\n"));
    client_conn_mark(st->conn);
    st->blocked = http_call_out(x).n > HTTP_CLIENT_OUT_HIGH;
    return !st->blocked;
}

void http_call_end(struct http_call *x)
{
    struct call_state *st = &x->st;
    struct err e;
    if (st->stopped)
        return;
    if (st->conn->rx == CLIENT_RAW) {
        st->half_close = true;
    } else if (!st->body_ended) {
        if (st->spec.stream_bytes >= 0 && st->stream_left > 0) {
            err_set(&e, ERR_INTERNAL, "the request body ended %lld bytes before the announced length", (long long)st->stream_left);
            http_call_fail(x, &e);
            return;
        }
        st->body_ended = true;
        if (st->spec.stream_bytes < 0)
            out_add(x, STR("0\r\n\r\n"));
    }
    client_conn_mark(st->conn);
}

void http_call_pause(struct http_call *x) { x->st.paused = true; }

void http_call_resume(struct http_call *x)
{
    if (!x->st.paused || x->st.stopped)
        return;
    x->st.paused = false;
    client_conn_mark(x->st.conn);
    if (x->st.conn->plain_fd < 0)
        client_read_later(x->st.conn);
}

void http_call_cancel(struct http_call *x)
{
    struct err e;
    err_set(&e, ERR_CANCELLED, "the call was cancelled");
    http_call_fail(x, &e);
}

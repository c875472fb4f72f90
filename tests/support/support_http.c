/** support_http.c: see support_http.h. */
#include "tests/support/support_http.h"

#include "tests/support/support_fault.h"

#include "tests/support/unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define WIRE_BYTES_MAX (64 * 1024 * 1024)

/* ---- the loop ---- */

static void on_check(struct timer *t, int64_t now_ns)
{
    struct net *n = CONTAINER_OF(t, struct net, check);
    fault_hold();
    n->held = n->condition(n->arg);
    if (n->held || now_ns >= n->give_up_ns)
        loop_stop(n->loop);
    else
        assert_int_equal(timer_set(loop_timers(n->loop), t, now_ns, NULL), 0);
    fault_release();
}

void net_init(struct net *n)
{
    *n = (struct net){.loop = loop_new(NULL)};
    assert_non_null(n->loop);
    timer_init(&n->check, on_check);
}

void net_fini(struct net *n)
{
    net_turns(n, 2); /* graves */
    loop_free(n->loop);
}

void net_until(struct net *n, bool (*condition)(void *arg), void *arg, const char *what)
{
    struct err e;
    n->condition = condition;
    n->arg = arg;
    n->held = false;
    n->give_up_ns = clock_mono_ns(clock_real()) + NET_PATIENCE_NS;
    fault_hold();
    assert_int_equal(timer_set(loop_timers(n->loop), &n->check, loop_now(n->loop), &e), 0);
    fault_release();
    loop_run(n->loop);
    if (!n->held)
        fail_msg("waited in vain: %s", what);
}

static bool turns_over(void *arg) { return --*(int *)arg < 0; }

void net_turns(struct net *n, int iterations) { net_until(n, turns_over, &iterations, "iterations"); }

/* ---- raw sockets ---- */

static void wire_want(struct wire *w)
{
    if (w->watch)
        loop_fd_want(w->watch, (w->deaf || w->eof ? 0 : LOOP_READ) | (buf_len(&w->out) ? LOOP_WRITE : 0));
}

static void wire_flush(struct wire *w)
{
    while (buf_len(&w->out) && w->fd >= 0) {
        ssize_t n = send(w->fd, buf_data(&w->out), buf_len(&w->out), MSG_NOSIGNAL);
        if (n < 0) {
            if (errno != EAGAIN)
                buf_clear(&w->out); /* the peer does not want it */
            break;
        }
        buf_consume(&w->out, (size_t)n);
    }
    wire_want(w);
}

static void wire_read(struct wire *w)
{
    char *to = buf_reserve(&w->in, 65536);
    assert_non_null(to);
    ssize_t n = recv(w->fd, to, 65536, 0);
    if (n > 0)
        buf_commit(&w->in, (size_t)n);
    else if (n == 0 || errno != EAGAIN)
        w->eof = true;
    if (n < 0 && errno == ECONNRESET)
        w->broken = true;
}

static void on_wire(void *arg, int events)
{
    struct wire *w = arg;
    if (events & LOOP_WRITE)
        wire_flush(w);
    if ((events & LOOP_READ) && !w->deaf && !w->eof)
        wire_read(w);
    wire_want(w);
}

void wire_open(struct wire *w, struct net *n, int fd)
{
    *w = (struct wire){.net = n, .fd = fd};
    buf_init(&w->in, WIRE_BYTES_MAX);
    buf_init(&w->out, WIRE_BYTES_MAX);
    w->watch = loop_fd_new(n->loop, fd, on_wire, w, NULL);
    assert_non_null(w->watch);
    wire_want(w);
}

void wire_connect(struct wire *w, struct net *n, uint16_t port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    wire_open(w, n, fd);
}

void wire_send(struct wire *w, struct str bytes)
{
    assert_int_equal(buf_add(&w->out, bytes.p, bytes.n), 0);
    wire_flush(w);
}

void wire_sendz(struct wire *w, const char *text) { wire_send(w, str_of(text)); }

void wire_deafen(struct wire *w, bool deaf)
{
    w->deaf = deaf;
    wire_want(w);
}

void wire_shut(struct wire *w) { shutdown(w->fd, SHUT_WR); }

void wire_close(struct wire *w)
{
    loop_fd_free(w->watch);
    w->watch = NULL;
    if (w->fd >= 0)
        close(w->fd);
    w->fd = -1;
    buf_fini(&w->in);
    buf_fini(&w->out);
}

void wire_reset(struct wire *w)
{
    struct linger hard = {.l_onoff = 1};
    setsockopt(w->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    wire_close(w);
}

bool wire_has(const struct wire *w, const char *text)
{
    return buf_len(&w->in) && memmem(buf_data(&w->in), buf_len(&w->in), text, strlen(text)) != NULL;
}

size_t wire_count(const struct wire *w, const char *text)
{
    size_t n = 0, left = buf_len(&w->in);
    const char *p = left ? buf_data(&w->in) : NULL;
    while (left && (p = memmem(p, left, text, strlen(text)))) {
        n++;
        p += strlen(text);
        left = (size_t)(buf_data(&w->in) + buf_len(&w->in) - p);
    }
    return n;
}

static bool has_wanted(void *arg)
{
    struct wire *w = arg;
    return w->wanted ? wire_has(w, w->wanted) : buf_len(&w->in) >= w->wanted_bytes;
}

void wire_until_has(struct wire *w, const char *text)
{
    w->wanted = text;
    net_until(w->net, has_wanted, w, text);
}

void wire_until_bytes(struct wire *w, size_t n)
{
    w->wanted = NULL;
    w->wanted_bytes = n;
    net_until(w->net, has_wanted, w, "so many bytes");
}

static bool is_closed(void *arg) { return ((struct wire *)arg)->eof; }
void wire_until_closed(struct wire *w) { net_until(w->net, is_closed, w, "the peer closes"); }

/* ---- the service ---- */

static void big_pump(struct service *s, struct http_exchange *x)
{
    static const char block[64 * 1024] = {[0 ... 64 * 1024 - 1] = 'x'};
    bool more = true;
    while (s->big_left && more) {
        size_t n = s->big_left < sizeof block ? s->big_left : sizeof block;
        s->big_left -= n;
        more = http_write(x, (struct str){block, n});
    }
    s->big_blocked = !more;
    if (!s->big_left)
        http_finish(x);
}

static void on_body(struct http_exchange *x, void *arg, struct str bytes)
{
    struct service *s = arg;
    const struct http_request *r = http_exchange_request(x);
    s->body_bytes += bytes.n;
    if (str_is(r->path, "/stream") || str_is(r->path, "/upgrade"))
        http_write(x, bytes);
    else
        assert_int_equal(buf_add(&s->body, bytes.p, bytes.n), 0);
}

static void on_end(struct http_exchange *x, void *arg)
{
    struct service *s = arg;
    const struct http_request *r = http_exchange_request(x);
    s->ended++;
    if (str_is(r->path, "/echo")) {
        http_reply(x, 200, "text/plain", buf_str(&s->body));
        buf_clear(&s->body);
    } else if (str_is(r->path, "/stream") || (str_is(r->path, "/upgrade") && s->ended == 2)) {
        http_finish(x);
    }
}

static void on_writable(struct http_exchange *x, void *arg)
{
    if (str_is(http_exchange_request(x)->path, "/big"))
        big_pump(arg, x);
}

static void on_close(struct http_exchange *x, void *arg, bool complete)
{
    struct service *s = arg;
    s->closed++;
    s->complete += complete;
    if (s->held == x)
        s->held = NULL;
}

static const struct http_exchange_ops service_ops = {
    .on_body = on_body,
    .on_end = on_end,
    .on_writable = on_writable,
    .on_close = on_close,
};

static void service_upgrade(struct service *s, struct http_exchange *x)
{
    struct headers h;
    struct err e;
    h.n = 0;
    assert_int_equal(headers_add(&h, STR("Upgrade"), STR("echo"), &e), 0);
    if (http_respond(x, 101, &h, 0, &e) != 0) {
        http_reply(x, 400, "text/plain", str_of(e.msg));
        return;
    }
    http_upgraded(x);
    s->ended = 1; /* a request that was upgraded at once has no first end */
}

static void on_request(void *arg, struct http_exchange *x, const struct http_request *r)
{
    struct service *s = arg;
    struct err e;
    s->requests++;
    snprintf(s->seen, sizeof s->seen, "%.*s %.*s %.*s %u %lld", (int)r->method.n, r->method.p, (int)(r->target.n < 64 ? r->target.n : 64),
             r->target.p, (int)(r->host.n < 64 ? r->host.n : 64), r->host.p, (unsigned)r->host_port, (long long)r->body_bytes);
    if (str_is(r->path, "/deny")) {
        http_reply(x, 403, "text/plain", STR("no\n"));
        return;
    }
    http_accept(x, &service_ops, s);
    if (str_is(r->path, "/hold") || str_is(r->path, "/pause")) {
        s->held = x;
        if (str_is(r->path, "/pause"))
            http_pause(x);
    } else if (str_is(r->path, "/stream")) {
        assert_int_equal(http_respond(x, 200, NULL, -1, &e), 0);
    } else if (str_is(r->path, "/big")) {
        s->big_left = SERVICE_BIG_BYTES;
        assert_int_equal(http_respond(x, 200, NULL, SERVICE_BIG_BYTES, &e), 0);
        big_pump(s, x);
    } else if (str_is(r->path, "/lie")) {
        assert_int_equal(http_respond(x, 200, NULL, 10, &e), 0);
        http_write(x, STR("short"));
        http_finish(x);
    } else if (str_is(r->path, "/upgrade")) {
        service_upgrade(s, x);
    } else if (!str_is(r->path, "/echo")) {
        http_reply(x, 200, "text/plain", STR("hello\n"));
    }
}

void service_init(struct service *s, struct net *n, const struct http_server_config *c)
{
    struct err e = {0};
    *s = (struct service){.net = n};
    buf_init(&s->body, WIRE_BYTES_MAX);
    s->server = http_server_new(n->loop, c, on_request, s, &e);
    assert_non_null(s->server);
    int fd = http_listen_socket("127.0.0.1", 0, false, &e);
    assert_true(fd >= 0);
    s->port = http_socket_port(fd);
    assert_int_equal(http_server_listen(s->server, fd, &e), 0);
}

void service_fini(struct service *s)
{
    http_server_free(s->server);
    s->server = NULL;
    buf_fini(&s->body);
}

/* ---- scripted peers ---- */

static void script_step_do(struct script_conn *c)
{
    const struct script_step *step = &c->steps[c->step++];
    if (step->send)
        wire_sendz(&c->wire, step->send);
    if (step->wait)
        buf_clear(&c->wire.in);
    if (step->then == THEN_CLOSE)
        wire_close(&c->wire);
    else if (step->then == THEN_RESET)
        wire_reset(&c->wire);
    else if (step->then == THEN_SHUT)
        wire_shut(&c->wire);
}

/* Each turn of the loop every connection does the steps whose wait is over. */
static void on_script_turn(struct timer *t, int64_t now_ns)
{
    struct script *s = CONTAINER_OF(t, struct script, turn);
    for (size_t i = 0; i < s->accepted; i++) {
        struct script_conn *c = &s->conns[i];
        while (c->wire.fd >= 0 && c->step < SCRIPT_STEPS_MAX) {
            const struct script_step *step = &c->steps[c->step];
            bool empty = !step->wait && !step->send && step->then == THEN_STAY;
            if (empty || (step->wait && !wire_has(&c->wire, step->wait)))
                break;
            script_step_do(c);
        }
    }
    assert_int_equal(timer_set(loop_timers(s->net->loop), t, now_ns, NULL), 0);
}

static void on_script_accept(void *arg, int events)
{
    struct script *s = arg;
    int fd = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    assert_true(s->accepted < SCRIPT_CONNECTIONS_MAX);
    size_t row = s->accepted < s->plan_rows ? s->accepted : s->plan_rows - 1;
    struct script_conn *c = &s->conns[s->accepted++];
    *c = (struct script_conn){.script = s, .steps = s->plan[row]};
    wire_open(&c->wire, s->net, fd);
}

void script_init(struct script *s, struct net *n, const struct script_step (*plan)[SCRIPT_STEPS_MAX], size_t rows)
{
    struct err e;
    memset(s, 0, sizeof *s);
    s->net = n;
    s->plan = plan;
    s->plan_rows = rows;
    s->fd = http_listen_socket("127.0.0.1", 0, false, &e);
    assert_true(s->fd >= 0);
    s->port = http_socket_port(s->fd);
    s->watch = loop_fd_new(n->loop, s->fd, on_script_accept, s, NULL);
    loop_fd_want(s->watch, LOOP_READ);
    timer_init(&s->turn, on_script_turn);
    assert_int_equal(timer_set(loop_timers(n->loop), &s->turn, loop_now(n->loop), NULL), 0);
}

void script_fini(struct script *s)
{
    timer_cancel(loop_timers(s->net->loop), &s->turn);
    for (size_t i = 0; i < s->accepted; i++)
        wire_close(&s->conns[i].wire);
    loop_fd_free(s->watch);
    close(s->fd);
}

/* ---- calls ---- */

static void on_call_head(void *arg, const struct http_response *r)
{
    struct record *rec = arg;
    rec->heads++;
    rec->status = r->status;
    rec->upgraded = r->upgraded;
    rec->body_bytes = r->body_bytes;
    struct str type = headers_get(&r->headers, "content-type");
    snprintf(rec->type, sizeof rec->type, "%.*s", (int)(type.n < 60 ? type.n : 60), type.p ? type.p : "");
}

static void on_call_body(void *arg, struct str bytes) { assert_int_equal(buf_add(&((struct record *)arg)->body, bytes.p, bytes.n), 0); }

static void on_call_writable(void *arg) { ((struct record *)arg)->writable++; }

static void on_call_done(void *arg, const struct err *e)
{
    struct record *rec = arg;
    rec->done++;
    rec->ok = e == NULL;
    if (e)
        rec->err = *e;
    rec->call = NULL;
}

const struct http_call_ops record_ops = {on_call_head, on_call_body, on_call_writable, on_call_done};

void record_init(struct record *r)
{
    *r = (struct record){0};
    buf_init(&r->body, WIRE_BYTES_MAX);
}

void record_fini(struct record *r) { buf_fini(&r->body); }
bool record_is_done(void *arg) { return ((struct record *)arg)->done > 0; }
struct http_target target_local(uint16_t port) { return (struct http_target){.local = true, .port = port}; }

/** test_http_relay.c: server and client put together as the ingress does: what one side cannot take stops the other, upgrades
 *                     pass through, and whoever goes away is felt at the far end. */
#include "tests/support/support_http.h"
#include "tests/support/unit.h"

#include <stdio.h>

struct relay {
    struct net net;
    struct service origin;
    struct http_client *client;
    struct http_server *server;
    uint16_t port;
    int live; /* relayed exchanges that have not ended on both sides */
    struct wire wire;
};
/* One request on its way; gone when both its exchange and its call are. */
struct pass {
    struct relay *relay;
    struct http_exchange *x;
    struct http_call *call;
    struct headers fields;
    bool answered;
};

static void pass_done(struct pass *p)
{
    if (p->x || p->call)
        return;
    p->relay->live--;
    free(p);
}

/* ---- from the origin to the client ---- */

static void call_head(void *arg, const struct http_response *r)
{
    struct pass *p = arg;
    struct headers h;
    struct err e;
    h.n = 0;
    for (uint32_t i = 0; i < r->headers.n; i++)
        if (!header_is_hop(&r->headers, r->headers.v[i].name) || (r->upgraded && str_ieq(r->headers.v[i].name, STR("upgrade"))))
            assert_int_equal(headers_add(&h, r->headers.v[i].name, r->headers.v[i].value, &e), 0);
    p->answered = true;
    if (!p->x)
        return;
    if (http_respond(p->x, r->status, &h, r->body_bytes, &e))
        http_abort(p->x);
    else if (r->upgraded)
        http_upgraded(p->x);
}
static void call_body(void *arg, struct str bytes)
{
    struct pass *p = arg;
    if (p->x && !http_write(p->x, bytes))
        http_call_pause(p->call);
}
static void call_writable(void *arg)
{
    struct pass *p = arg;
    if (p->x)
        http_resume(p->x);
}
static void call_done(void *arg, const struct err *e)
{
    struct pass *p = arg;
    p->call = NULL;
    if (p->x && !e)
        http_finish(p->x);
    else if (p->x && p->answered)
        http_abort(p->x);
    else if (p->x)
        http_reply(p->x, 502, "text/plain", str_of(e->msg));
    pass_done(p);
}
static const struct http_call_ops call_ops = {call_head, call_body, call_writable, call_done};

/* ---- from the client to the origin ---- */

static void ex_body(struct http_exchange *x, void *arg, struct str bytes)
{
    struct pass *p = arg;
    if (p->call && !http_call_write(p->call, bytes))
        http_pause(x);
}
static void ex_end(struct http_exchange *x, void *arg)
{
    struct pass *p = arg;
    if (p->call)
        http_call_end(p->call);
}
static void ex_writable(struct http_exchange *x, void *arg)
{
    struct pass *p = arg;
    if (p->call)
        http_call_resume(p->call);
}
static void ex_close(struct http_exchange *x, void *arg, bool complete)
{
    struct pass *p = arg;
    p->x = NULL;
    if (p->call)
        http_call_cancel(p->call);
    pass_done(p);
}
static const struct http_exchange_ops ex_ops = {
    .on_body = ex_body,
    .on_end = ex_end,
    .on_writable = ex_writable,
    .on_close = ex_close,
};

static void on_request(void *arg, struct http_exchange *x, const struct http_request *r)
{
    struct relay *relay = arg;
    struct err e = {0};
    struct pass *p = calloc(1, sizeof *p);
    assert_non_null(p);
    p->relay = relay;
    p->x = x;
    for (uint32_t i = 0; i < r->headers.n; i++)
        if (!header_is_hop(&r->headers, r->headers.v[i].name) || (r->upgrade && str_ieq(r->headers.v[i].name, STR("upgrade"))))
            assert_int_equal(headers_add(&p->fields, r->headers.v[i].name, r->headers.v[i].value, &e), 0);
    struct http_target t = target_local(relay->origin.port);
    struct http_call_spec s = {.method = r->method,
                               .target = r->target,
                               .host = r->host,
                               .headers = &p->fields,
                               .stream = r->body_bytes != 0,
                               .stream_bytes = r->body_bytes,
                               .upgrade = r->upgrade,
                               .due_ns = TIMER_NEVER};
    relay->live++;
    http_accept(x, &ex_ops, p);
    p->call = http_call_start(relay->client, &t, &s, &call_ops, p, &e);
    if (!p->call)
        http_reply(x, 502, "text/plain", str_of(e.msg));
}

static void relay_init(struct relay *r)
{
    struct err e;
    memset(r, 0, sizeof *r);
    net_init(&r->net);
    service_init(&r->origin, &r->net, NULL);
    r->client = http_client_new(r->net.loop, &e);
    r->server = http_server_new(r->net.loop, NULL, on_request, r, &e);
    int fd = http_listen_socket("127.0.0.1", 0, false, &e);
    r->port = http_socket_port(fd);
    assert_int_equal(http_server_listen(r->server, fd, &e), 0);
    wire_connect(&r->wire, &r->net, r->port);
}
static void relay_fini(struct relay *r)
{
    wire_close(&r->wire);
    http_server_free(r->server);
    http_client_free(r->client);
    if (r->origin.server)
        service_fini(&r->origin);
    assert_int_equal(r->live, 0);
    net_fini(&r->net);
}
static bool none_live(void *arg) { return ((struct relay *)arg)->live == 0; }
static bool origin_closed(void *arg) { return ((struct relay *)arg)->origin.closed > 0; }
static bool origin_held(void *arg) { return ((struct relay *)arg)->origin.held != NULL; }
static bool origin_blocked(void *arg) { return ((struct relay *)arg)->origin.big_blocked; }

static void test_exchanges_pass_through(void **state)
{
    static const struct {
        const char *name, *request, *answer;
    } cases[] = {
        {"a GET", "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n", "Content-Length: 6\r\n\r\nhello\n"},
        {"a body with a length", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "Content-Length: 3\r\n\r\nabc"},
        {"chunks both ways", "POST /stream HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
         "chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
        {"an expectation", "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
         "Content-Length: 3\r\n\r\nabc"},
        {"a refusal", "GET /deny HTTP/1.1\r\nHost: a\r\n\r\n", "no\n"},
        {"pipelined", "GET /deny HTTP/1.1\r\nHost: a\r\n\r\nPOST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
         "Content-Length: 3\r\n\r\nabc"},
        {"HTTP/1.0", "GET /hello HTTP/1.0\r\nHost: a\r\n\r\n", "Connection: close\r\n\r\nhello\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct relay r;
        print_message("  %s\n", cases[i].name);
        relay_init(&r);
        wire_sendz(&r.wire, cases[i].request);
        wire_until_has(&r.wire, cases[i].answer);
        net_until(&r.net, none_live, &r, "both sides end");
        relay_fini(&r);
    }
}

static void test_head_passes_through(void **state)
{
    struct relay r;
    relay_init(&r);
    wire_sendz(&r.wire, "HEAD /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    wire_until_has(&r.wire, "Content-Length: 6\r\n");
    wire_until_has(&r.wire, "\r\n\r\n");
    wire_sendz(&r.wire, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    wire_until_has(&r.wire, "\r\n\r\nhello\n");
    assert_int_equal(wire_count(&r.wire, "hello"), 1);
    relay_fini(&r);
}

static void test_a_slow_client_stops_the_origin(void **state)
{
    struct relay r;
    relay_init(&r);
    wire_deafen(&r.wire, true);
    wire_sendz(&r.wire, "GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
    net_until(&r.net, origin_blocked, &r, "the origin is stopped");
    net_turns(&r.net, 200);
    assert_true(r.origin.big_blocked && r.origin.big_left > 0);
    wire_deafen(&r.wire, false);
    wire_until_bytes(&r.wire, SERVICE_BIG_BYTES + 80);
    net_until(&r.net, none_live, &r, "both sides end");
    assert_int_equal(r.origin.complete, 1);
    relay_fini(&r);
}

static void test_a_slow_origin_stops_the_client(void **state)
{
    static char block[1024 * 1024];
    struct relay r;
    relay_init(&r);
    wire_sendz(&r.wire, "POST /pause HTTP/1.1\r\nHost: a\r\nContent-Length: 33554432\r\n\r\n");
    for (int i = 0; i < 32; i++)
        wire_send(&r.wire, (struct str){block, sizeof block});
    net_until(&r.net, origin_held, &r, "the request");
    net_turns(&r.net, 300);
    size_t stuck = buf_len(&r.wire.out);
    assert_true(stuck > 4 * sizeof block);
    net_turns(&r.net, 100);
    assert_int_equal(buf_len(&r.wire.out), stuck);
    http_resume(r.origin.held);
    while (!r.origin.ended)
        net_turns(&r.net, 5);
    assert_int_equal(r.origin.body_bytes, 33554432);
    http_reply(r.origin.held, 200, NULL, STR("done"));
    wire_until_has(&r.wire, "done");
    relay_fini(&r);
}

static void test_an_upgrade_passes_through(void **state)
{
    struct relay r;
    relay_init(&r);
    wire_sendz(&r.wire, "GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
    wire_until_has(&r.wire, "HTTP/1.1 101 Switching Protocols\r\n");
    wire_until_has(&r.wire, "\r\n\r\n");
    buf_clear(&r.wire.in);
    for (int i = 0; i < 10; i++) {
        wire_sendz(&r.wire, "ping-pong!");
        wire_until_bytes(&r.wire, 10 * (size_t)(i + 1));
    }
    wire_shut(&r.wire);
    wire_until_closed(&r.wire);
    net_until(&r.net, none_live, &r, "both sides end");
    assert_int_equal(r.origin.complete, 1);
    relay_fini(&r);
}

static void test_a_client_that_goes_cancels_the_call(void **state)
{
    static const struct {
        const char *name, *request;
    } cases[] = {
        {"while the origin thinks", "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n"},
        {"in the middle of its body", "POST /hold HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\nabc"},
        {"in the middle of the answer", "GET /big HTTP/1.1\r\nHost: a\r\n\r\n"},
        {"in an upgrade", "GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct relay r;
        print_message("  %s\n", cases[i].name);
        relay_init(&r);
        wire_deafen(&r.wire, true);
        wire_sendz(&r.wire, cases[i].request);
        while (!r.origin.requests)
            net_turns(&r.net, 3);
        net_turns(&r.net, 10);
        wire_reset(&r.wire);
        net_until(&r.net, none_live, &r, "both sides end");
        net_until(&r.net, origin_closed, &r, "the origin hears of it");
        relay_fini(&r);
    }
}

static void test_an_origin_that_goes_breaks_the_answer(void **state)
{
    struct relay r;
    relay_init(&r);
    wire_sendz(&r.wire, "POST /stream HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\nabc");
    wire_until_has(&r.wire, "3\r\nabc\r\n");
    service_fini(&r.origin);
    wire_until_closed(&r.wire);
    assert_false(wire_has(&r.wire, "0\r\n\r\n")); /* not made to look complete */
    net_until(&r.net, none_live, &r, "both sides end");
    wire_close(&r.wire);
    wire_connect(&r.wire, &r.net, r.port);
    wire_sendz(&r.wire, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    wire_until_has(&r.wire, "HTTP/1.1 502 Bad Gateway\r\n");
    wire_until_has(&r.wire, "cannot connect to 127.0.0.1:");
    relay_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exchanges_pass_through),
        cmocka_unit_test(test_head_passes_through),
        cmocka_unit_test(test_a_slow_client_stops_the_origin),
        cmocka_unit_test(test_a_slow_origin_stops_the_client),
        cmocka_unit_test(test_an_upgrade_passes_through),
        cmocka_unit_test(test_a_client_that_goes_cancels_the_call),
        cmocka_unit_test(test_an_origin_that_goes_breaks_the_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

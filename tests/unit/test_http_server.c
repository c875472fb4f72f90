/** test_http_server.c: what well-meaning clients see of the HTTP server: kept connections, pipelining, both framings,
 *                      100-continue, upgrades, backpressure, deadlines, draining. */
#include "tests/support/support_http.h"
#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct bench {
    struct net net;
    struct service service;
    struct wire wire;
};

static void bench_init_with(struct bench *b, const struct http_server_config *c)
{
    net_init(&b->net);
    service_init(&b->service, &b->net, c);
    wire_connect(&b->wire, &b->net, b->service.port);
}
static void bench_init(struct bench *b) { bench_init_with(b, NULL); }
static void bench_fini(struct bench *b)
{
    wire_close(&b->wire);
    service_fini(&b->service);
    net_fini(&b->net);
}

static bool none_left(void *arg) { return http_server_connections(((struct service *)arg)->server) == 0; }
static bool is_held(void *arg) { return ((struct service *)arg)->held != NULL; }
static bool has_closed(void *arg) { return ((struct service *)arg)->closed > 0; }
static bool is_blocked(void *arg) { return ((struct service *)arg)->big_blocked; }

/* What a request is answered with on a fresh connection, and whether that stays open. */
struct exchange_case {
    const char *name, *request, *answer, *seen;
    bool closes;
};
static const struct exchange_case exchange_cases[] = {
    {"a plain GET is answered with a length", "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n", "\r\nContent-Length: 6\r\n\r\nhello\n",
     "GET /hello a 0 0", false},
    {"the answer carries a date", "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n", " GMT\r\n", NULL, false},
    {"the host is lower case and without its port", "GET / HTTP/1.1\r\nHost: ExAmple.COM:81\r\n\r\n", "hello", "GET / example.com 81 0",
     false},
    {"an absolute target outranks the Host field", "GET http://B.c:99/x?y=1 HTTP/1.1\r\nHost: a\r\n\r\n", "hello", "GET /x?y=1 b.c 99 0",
     false},
    {"an absolute target without a path is /", "GET http://b HTTP/1.1\r\nHost: a\r\n\r\n", "hello", "GET / b 0 0", false},
    {"an IPv6 host loses its brackets", "GET / HTTP/1.1\r\nHost: [::1]:8\r\n\r\n", "hello", "GET / ::1 8 0", false},
    {"OPTIONS may ask for *", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "hello", "OPTIONS * a 0 0", false},
    {"an empty line before a request is skipped", "\r\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\n", "hello", NULL, false},
    {"spaces around a value are not part of it", "GET / HTTP/1.1\r\nHost: \t a \t\r\n\r\n", "hello", "GET / a 0 0", false},
    {"a body with a length comes back", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde",
     "\r\nContent-Length: 5\r\n\r\nabcde", "POST /echo a 0 5", false},
    {"a chunked body comes back whole",
     "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n002;x=y\r\nde\r\n0\r\nT: v\r\n\r\n",
     "\r\nContent-Length: 5\r\n\r\nabcde", "POST /echo a 0 -1", false},
    {"a streamed answer is chunked", "POST /stream HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
     "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", NULL, false},
    {"an empty streamed answer is one last chunk", "POST /stream HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
     "chunked\r\n\r\n0\r\n\r\n", NULL, false},
    {"Connection: close is honoured and said", "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n",
     "Connection: close\r\n\r\nhello\n", NULL, true},
    {"HTTP/1.0 closes", "GET /hello HTTP/1.0\r\n\r\n", "Connection: close\r\n\r\nhello\n", "GET /hello  0 0", true},
    {"HTTP/1.0 may ask to stay", "GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "Connection: keep-alive\r\n\r\nhello\n", NULL,
     false},
    {"HTTP/1.0 gets a streamed answer until close", "POST /stream HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc", "Connection: close\r\n\r\nabc",
     NULL, true},
    {"a refusal reads the body that came along and stays", "POST /deny HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
     "403 Forbidden\r\n", NULL, false},
    {"a refusal does not wait for the body and closes", "POST /deny HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\n\r\nabc",
     "Connection: close\r\n\r\nno\n", NULL, true},
    {"a refusal of an expected body closes without 100",
     "POST /deny HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 30\r\n\r\n", "Connection: close\r\n\r\nno\n", NULL, true},
    {"no 100 when the body came along", "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
     "\r\n\r\nabc", NULL, false},
    {"an answer shorter than promised breaks off", "GET /lie HTTP/1.1\r\nHost: a\r\n\r\n", "", NULL, true},
};

static void test_exchanges(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(exchange_cases); i++) {
        const struct exchange_case *c = &exchange_cases[i];
        struct bench b;
        print_message("  %s\n", c->name);
        bench_init(&b);
        wire_sendz(&b.wire, c->request);
        if (*c->answer)
            wire_until_has(&b.wire, c->answer);
        if (c->closes)
            wire_until_closed(&b.wire);
        CASE_TRUE(c->name, !wire_has(&b.wire, "100 Continue"));
        if (c->seen)
            assert_string_equal(b.service.seen, c->seen);
        if (!c->closes) {
            wire_sendz(&b.wire, "GET /hello?again HTTP/1.1\r\nHost: again\r\n\r\n");
            buf_clear(&b.wire.in);
            wire_until_has(&b.wire, "hello\n");
            assert_string_equal(b.service.seen, "GET /hello?again again 0 0");
        }
        bench_fini(&b);
    }
}

static void test_head_answers_have_no_body(void **state)
{
    struct bench b;
    bench_init(&b);
    wire_sendz(&b.wire,
               "HEAD /hello HTTP/1.1\r\nHost: a\r\n\r\nHEAD /stream HTTP/1.1\r\nHost: a\r\n\r\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    wire_until_has(&b.wire, "\r\n\r\nhello\n");
    assert_int_equal(wire_count(&b.wire, "HTTP/1.1 200 OK\r\n"), 3);
    assert_int_equal(wire_count(&b.wire, "Content-Length: 6\r\n"), 2);
    assert_int_equal(wire_count(&b.wire, "hello\n"), 1);
    assert_int_equal(wire_count(&b.wire, "0\r\n\r\n"), 0);
    bench_fini(&b);
}

static void test_refusals_of_head_have_no_body_either(void **state)
{
    static const char *const requests[] = {
        "HEAD /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcdeX",
        "HEAD /echo HTTP/1.1\r\n\r\n",
        "HEAD /echo HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        struct bench b;
        bench_init(&b);
        wire_sendz(&b.wire, requests[i]);
        wire_until_closed(&b.wire);
        struct str got = buf_str(&b.wire.in);
        CASE_TRUE(requests[i], wire_count(&b.wire, "HTTP/1.1 400 Bad Request\r\n") == 1);
        CASE_TRUE(requests[i], got.n > 4 && memcmp(got.p + got.n - 4, "\r\n\r\n", 4) == 0);
        bench_fini(&b);
    }
}

/* The same two requests with a pause at every byte boundary: nothing depends on how they are cut. */
static void test_any_split(void **state)
{
    static const char text[] =
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nA;e=1\r\n0123456789\r\n1\r\nx\r\n0\r\nTr: a\r\n\r\n"
        "POST /echo HTTP/1.1\r\nHost: b\r\nContent-Length: 4\r\n\r\nabcd";
    for (size_t cut = 1; cut < sizeof text - 1; cut++) {
        struct bench b;
        bench_init(&b);
        wire_send(&b.wire, (struct str){text, cut});
        net_turns(&b.net, 3);
        wire_send(&b.wire, (struct str){text + cut, sizeof text - 1 - cut});
        wire_until_has(&b.wire, "\r\n\r\nabcd");
        assert_true(wire_has(&b.wire, "\r\n\r\n0123456789x"));
        assert_int_equal(b.service.requests, 2);
        bench_fini(&b);
    }
}

static void test_one_byte_at_a_time(void **state)
{
    static const char text[] =
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET /hello HTTP/1.1\r\nHost: b\r\n\r\n";
    struct bench b;
    bench_init(&b);
    for (size_t i = 0; i < sizeof text - 1; i++) {
        wire_send(&b.wire, (struct str){text + i, 1});
        net_turns(&b.net, 2);
    }
    wire_until_has(&b.wire, "hello\n");
    assert_true(wire_has(&b.wire, "\r\n\r\nabc"));
    bench_fini(&b);
}

static void test_pipelined_answers_come_in_order(void **state)
{
    struct bench b;
    struct err e;
    bench_init(&b);
    wire_sendz(&b.wire, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\nPOST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nsecond"
                        "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    net_until(&b.net, is_held, &b.service, "the first request");
    net_turns(&b.net, 3);
    assert_int_equal(b.service.requests, 1); /* the others wait */
    assert_int_equal(http_respond(b.service.held, 200, NULL, -1, &e), 0);
    http_write(b.service.held, STR("first"));
    http_finish(b.service.held);
    wire_until_has(&b.wire, "hello\n");
    buf_cstr(&b.wire.in);
    const char *all = buf_data(&b.wire.in);
    assert_true(strstr(all, "first") < strstr(all, "second"));
    assert_true(strstr(all, "second") < strstr(all, "hello"));
    assert_int_equal(b.service.requests, 3);
    assert_int_equal(b.service.complete, 3);
    bench_fini(&b);
}

/* Someone sends requests for ever and reads nothing: what is kept of them stays within the limit. */
static void test_pipelined_flood_is_not_read(void **state)
{
    struct bench b;
    static char flood[1024 * 1024];
    static const char one[] = "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n";
    bench_init(&b);
    for (size_t i = 0; i + sizeof one <= sizeof flood; i += sizeof one - 1)
        memcpy(flood + i, one, sizeof one - 1);
    wire_sendz(&b.wire, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
    net_until(&b.net, is_held, &b.service, "the first request");
    for (int i = 0; i < 16; i++)
        wire_send(&b.wire, (struct str){flood, sizeof flood / (sizeof one - 1) * (sizeof one - 1)});
    net_turns(&b.net, 200);
    size_t stuck = buf_len(&b.wire.out);
    assert_true(stuck > 4 * sizeof flood); /* the kernel's buffers hold a few MiB, the server at most 192 KiB */
    net_turns(&b.net, 50);
    assert_int_equal(buf_len(&b.wire.out), stuck);
    bench_fini(&b);
}

static void test_continue_is_sent_when_the_body_is_wanted(void **state)
{
    struct bench b;
    bench_init(&b);
    wire_sendz(&b.wire, "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    wire_until_has(&b.wire, "HTTP/1.1 100 Continue\r\n\r\n");
    wire_sendz(&b.wire, "abc");
    wire_until_has(&b.wire, "\r\n\r\nabc");
    buf_clear(&b.wire.in);

    wire_sendz(&b.wire, "POST /pause HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    net_until(&b.net, is_held, &b.service, "the second request");
    net_turns(&b.net, 5);
    assert_int_equal(buf_len(&b.wire.in), 0); /* paused: not wanted yet */
    http_resume(b.service.held);
    wire_until_has(&b.wire, "HTTP/1.1 100 Continue\r\n\r\n");
    wire_sendz(&b.wire, "def");
    buf_clear(&b.wire.in);
    net_turns(&b.net, 3);
    http_reply(b.service.held, 200, NULL, STR("done"));
    wire_until_has(&b.wire, "done");
    bench_fini(&b);
}

static void test_interim_answers_may_precede(void **state)
{
    struct bench b;
    struct headers h;
    struct err e;
    bench_init(&b);
    wire_sendz(&b.wire, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
    net_until(&b.net, is_held, &b.service, "the request");
    h.n = 0;
    assert_int_equal(headers_add(&h, STR("Link"), STR("</a>"), &e), 0);
    assert_int_equal(http_respond(b.service.held, 103, &h, 0, &e), 0);
    http_reply(b.service.held, 200, NULL, STR("done"));
    wire_until_has(&b.wire, "done");
    assert_true(wire_has(&b.wire, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n"));
    bench_fini(&b);
}

static void test_fields_with_line_breaks_are_not_sent(void **state)
{
    static const struct {
        const char *name, *field, *value;
    } cases[] = {
        {"a value with CR LF", "X", "a\r\nSet-Cookie: b"},
        {"a value with LF", "X", "a\nb"},
        {"a name with a space", "X Y", "a"},
        {"an empty name", "", "a"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct bench b;
        struct headers h;
        struct err e;
        print_message("  %s\n", cases[i].name);
        bench_init(&b);
        wire_sendz(&b.wire, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
        net_until(&b.net, is_held, &b.service, "the request");
        h.n = 0;
        assert_int_equal(headers_add(&h, str_of(cases[i].field), str_of(cases[i].value), &e), 0);
        assert_int_equal(http_respond(b.service.held, 200, &h, 0, &e), -ERR_INTERNAL);
        http_reply(b.service.held, 500, NULL, STR("sorry"));
        wire_until_has(&b.wire, "sorry");
        assert_int_equal(wire_count(&b.wire, "HTTP/1.1"), 1);
        bench_fini(&b);
    }
}

static void test_upgrade_passes_bytes_both_ways(void **state)
{
    struct bench b;
    bench_init(&b);
    wire_sendz(&b.wire, "GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly");
    wire_until_has(&b.wire, "\r\n\r\nearly");
    assert_true(wire_has(&b.wire, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n"));
    wire_send(&b.wire, (struct str){"\0\r\n\xff", 4});
    buf_clear(&b.wire.in);
    wire_until_bytes(&b.wire, 4);
    assert_memory_equal(buf_data(&b.wire.in), "\0\r\n\xff", 4);
    wire_shut(&b.wire);
    wire_until_closed(&b.wire);
    net_until(&b.net, none_left, &b.service, "the connection ends");
    assert_int_equal(b.service.complete, 1);
    bench_fini(&b);
}

static void test_upgrade_that_was_not_asked_for_is_refused(void **state)
{
    struct bench b;
    bench_init(&b);
    wire_sendz(&b.wire, "GET /upgrade HTTP/1.1\r\nHost: a\r\nUpgrade: echo\r\n\r\n");
    wire_until_has(&b.wire, "HTTP/1.1 400 ");
    bench_fini(&b);
}

static void test_slow_reader_stops_the_writer(void **state)
{
    struct bench b;
    bench_init(&b);
    wire_deafen(&b.wire, true);
    wire_sendz(&b.wire, "GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
    net_until(&b.net, is_blocked, &b.service, "the writer is told to stop");
    net_turns(&b.net, 50);
    assert_true(b.service.big_blocked);
    assert_true(b.service.big_left > 0);
    wire_deafen(&b.wire, false);
    wire_until_bytes(&b.wire, SERVICE_BIG_BYTES + 80);
    net_until(&b.net, has_closed, &b.service, "the answer ends");
    assert_int_equal(b.service.complete, 1);
    size_t xs = 0;
    for (const char *p = buf_data(&b.wire.in); p < buf_data(&b.wire.in) + buf_len(&b.wire.in); p++)
        xs += *p == 'x';
    assert_int_equal(xs, SERVICE_BIG_BYTES);
    bench_fini(&b);
}

static void test_paused_handler_stops_the_sender(void **state)
{
    struct bench b;
    static char block[1024 * 1024];
    memset(block, 'y', sizeof block);
    bench_init(&b);
    wire_sendz(&b.wire, "POST /pause HTTP/1.1\r\nHost: a\r\nContent-Length: 16777216\r\n\r\n");
    for (int i = 0; i < 16; i++)
        wire_send(&b.wire, (struct str){block, sizeof block});
    net_until(&b.net, is_held, &b.service, "the request");
    net_turns(&b.net, 100);
    assert_int_equal(b.service.body_bytes, 0);
    assert_true(buf_len(&b.wire.out) > 4 * sizeof block);
    http_resume(b.service.held);
    while (!b.service.ended)
        net_turns(&b.net, 5);
    assert_int_equal(b.service.body_bytes, 16777216);
    http_reply(b.service.held, 200, NULL, STR("done"));
    wire_until_has(&b.wire, "done");
    bench_fini(&b);
}

static void test_half_closed_client_gets_its_answer(void **state)
{
    struct bench b;
    bench_init(&b);
    wire_sendz(&b.wire, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
    wire_shut(&b.wire);
    net_until(&b.net, is_held, &b.service, "the request");
    net_turns(&b.net, 5);
    http_reply(b.service.held, 200, NULL, STR("done"));
    wire_until_has(&b.wire, "done");
    wire_until_closed(&b.wire);
    assert_int_equal(b.service.complete, 1);
    bench_fini(&b);
}

static void test_half_closed_pipeline_is_answered_whole(void **state)
{
    static const struct {
        const char *name, *requests;
        int answers;
    } cases[] = {
        {"three whole requests",
         "GET /hello HTTP/1.1\r\nHost: a\r\n\r\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\n", 3},
        {"one and a half", "GET /hello HTTP/1.1\r\nHost: a\r\n\r\nGET /hello HTTP", 1},
        {"one and one without its body",
         "GET /hello HTTP/1.1\r\nHost: a\r\n\r\nPOST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc", 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct bench b;
        bench_init(&b);
        wire_sendz(&b.wire, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
        wire_sendz(&b.wire, cases[i].requests);
        wire_shut(&b.wire);
        net_until(&b.net, is_held, &b.service, "the first request");
        net_turns(&b.net, 5);
        http_reply(b.service.held, 200, NULL, STR("done"));
        wire_until_closed(&b.wire);
        CASE_INT(cases[i].name, wire_count(&b.wire, "HTTP/1.1 200 OK"), cases[i].answers + 1);
        net_until(&b.net, none_left, &b.service, "the connection ends");
        CASE_INT(cases[i].name, b.service.closed, b.service.requests);
        bench_fini(&b);
    }
}

/* The client goes away at each stage; the handler hears of it exactly once. */
static void test_early_ends(void **state)
{
    static const struct {
        const char *name, *request;
        bool reset;
        int closed; /* handlers that hear of it */
    } cases[] = {
        {"before a byte", "", false, 0},
        {"in the middle of the head", "GET /hold HT", false, 0},
        {"in the middle of the head, by reset", "GET /hold HT", true, 0},
        {"in the middle of a body", "POST /hold HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc", false, 1},
        {"in the middle of a chunk", "POST /hold HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc", false, 1},
        {"before the last chunk", "POST /hold HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", false, 1},
        {"by reset while the handler thinks", "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n", true, 1},
        {"by reset in the middle of an upgrade", "GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n", true,
         1},
        {"in the middle of a large answer", "GET /big HTTP/1.1\r\nHost: a\r\n\r\n", true, 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct bench b;
        print_message("  %s\n", cases[i].name);
        bench_init(&b);
        wire_deafen(&b.wire, true);
        wire_sendz(&b.wire, cases[i].request);
        net_turns(&b.net, 6);
        if (cases[i].reset)
            wire_reset(&b.wire);
        else
            wire_close(&b.wire);
        net_until(&b.net, none_left, &b.service, "the connection is dropped");
        assert_int_equal(b.service.closed, cases[i].closed);
        assert_int_equal(b.service.complete, 0);
        bench_fini(&b);
    }
}

static void test_slow_clients_are_told(void **state)
{
    static const struct {
        const char *name, *request, *answer; /* answer NULL: just closed */
        int closed;
    } cases[] = {
        {"nothing at all", "", NULL, 0},
        {"a head that does not end", "GET /hold HTTP/1.1\r\nHost: a\r\n", "HTTP/1.1 408 Request Timeout\r\n", 0},
        {"a body that does not end", "POST /hold HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc", "HTTP/1.1 408 Request Timeout\r\n",
         1},
        {"a body that does not end under a begun answer", "POST /stream HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc", "abc", 1},
        {"silence after an answer", "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n", "hello", 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct bench b;
        struct http_server_config config = {
            .head_timeout_ns = 20 * NS_PER_MS, .body_timeout_ns = 20 * NS_PER_MS, .idle_timeout_ns = 20 * NS_PER_MS};
        print_message("  %s\n", cases[i].name);
        bench_init_with(&b, &config);
        wire_sendz(&b.wire, cases[i].request);
        wire_until_closed(&b.wire);
        if (cases[i].answer)
            assert_true(wire_has(&b.wire, cases[i].answer));
        else
            assert_int_equal(buf_len(&b.wire.in), 0);
        wire_close(&b.wire);
        net_until(&b.net, none_left, &b.service, "the connection ends");
        assert_int_equal(b.service.closed, cases[i].closed);
        bench_fini(&b);
    }
}

struct instant {
    struct net *net;
    int64_t ns;
};
static bool has_come(void *arg)
{
    struct instant *i = arg;
    return loop_now(i->net->loop) >= i->ns;
}

/* The rest of one request and the beginning of the next in one packet: the clock starts anew. */
static void test_each_head_has_its_own_time(void **state)
{
    struct bench b;
    struct http_server_config config = {.head_timeout_ns = 200 * NS_PER_MS};
    bench_init_with(&b, &config);
    struct instant then = {&b.net, loop_now(b.net.loop)};
    for (int i = 0; i < 4; i++) {
        wire_sendz(&b.wire, i ? " HTTP/1.1\r\nHost: a\r\n\r\nGET /hello" : "GET /hello");
        then.ns += 100 * NS_PER_MS;
        net_until(&b.net, has_come, &then, "half of the time");
    }
    assert_int_equal(b.service.requests, 3);
    assert_false(wire_has(&b.wire, "408"));
    wire_until_has(&b.wire, "HTTP/1.1 408 ");
    bench_fini(&b);
}

static void test_reader_that_stops_is_dropped(void **state)
{
    struct bench b;
    struct http_server_config config = {.write_timeout_ns = 20 * NS_PER_MS};
    bench_init_with(&b, &config);
    wire_deafen(&b.wire, true);
    wire_sendz(&b.wire, "GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
    net_until(&b.net, none_left, &b.service, "the connection is dropped");
    assert_int_equal(b.service.closed, 1);
    assert_int_equal(b.service.complete, 0);
    bench_fini(&b);
}

static void test_too_many_connections_are_told(void **state)
{
    struct bench b;
    struct wire more;
    struct http_server_config config = {.connections_max = 1};
    bench_init_with(&b, &config);
    wire_sendz(&b.wire, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
    net_until(&b.net, is_held, &b.service, "the request");
    wire_connect(&more, &b.net, b.service.port);
    wire_until_has(&more, "HTTP/1.1 503 Service Unavailable\r\n");
    wire_until_closed(&more);
    wire_close(&more);
    http_reply(b.service.held, 200, NULL, STR("done"));
    wire_until_has(&b.wire, "done");
    bench_fini(&b);
}

static void on_drained(void *arg) { ++*(int *)arg; }
static bool is_set(void *arg) { return *(int *)arg > 0; }

static void test_drain_lets_exchanges_finish(void **state)
{
    struct bench b;
    struct wire idle;
    int drained = 0;
    bench_init(&b);
    wire_connect(&idle, &b.net, b.service.port);
    wire_sendz(&b.wire, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
    net_until(&b.net, is_held, &b.service, "the request");
    http_server_drain(b.service.server, TIMER_NEVER, on_drained, &drained);
    wire_until_closed(&idle);
    net_turns(&b.net, 5);
    assert_int_equal(drained, 0);
    http_reply(b.service.held, 200, NULL, STR("done"));
    wire_until_has(&b.wire, "Connection: close\r\n\r\ndone");
    wire_until_closed(&b.wire);
    wire_close(&b.wire);
    net_until(&b.net, is_set, &drained, "drained");
    net_turns(&b.net, 5);
    assert_int_equal(drained, 1);
    wire_close(&idle);
    bench_fini(&b);
}

static void drained_frees(void *arg)
{
    struct service *s = arg;
    http_server_free(s->server);
    s->server = NULL;
}
static bool server_gone(void *arg) { return ((struct service *)arg)->server == NULL; }

static void test_drain_gives_up_at_its_deadline(void **state)
{
    struct bench b;
    bench_init(&b);
    wire_sendz(&b.wire, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
    net_until(&b.net, is_held, &b.service, "the request");
    http_server_drain(b.service.server, loop_now(b.net.loop) + 20 * NS_PER_MS, drained_frees, &b.service);
    net_until(&b.net, server_gone, &b.service, "the deadline");
    assert_int_equal(b.service.closed, 1);
    assert_int_equal(b.service.complete, 0);
    bench_fini(&b);
}

static void nothing_due(struct timer *t, int64_t now_ns) {}

/* Without memory for its deadline it does not wait for what would never end by itself. */
static void test_drain_without_room_for_its_deadline(void **state)
{
    static struct timer others[10000];
    struct bench b;
    size_t n = 0;
    int rc = 0;
    bench_init(&b);
    struct timers *timers = loop_timers(b.net.loop);
    wire_sendz(&b.wire, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
    net_until(&b.net, is_held, &b.service, "the request");
    support_fail_alloc(1);
    for (; !rc && n < ARRAY_LEN(others); n++) {
        timer_init(&others[n], nothing_due);
        rc = timer_set(timers, &others[n], TIMER_NEVER - 1, NULL);
    }
    assert_int_equal(rc, -ERR_RESOURCE_EXHAUSTED); /* the heap is full, and cannot grow */
    assert_true(support_alloc_failed());
    support_fail_alloc(1);
    http_server_drain(b.service.server, loop_now(b.net.loop) + 3600 * NS_PER_S, drained_frees, &b.service);
    assert_true(support_alloc_failed());
    net_until(&b.net, server_gone, &b.service, "no deadline");
    while (n > 0)
        timer_cancel(timers, &others[--n]);
    bench_fini(&b);
}

static void test_listening_sockets(void **state)
{
    struct err e;
    int fd = http_listen_socket("127.0.0.1", 0, false, &e);
    assert_true(fd >= 0);
    uint16_t port = http_socket_port(fd);
    assert_true(port > 0);
    assert_int_equal(http_listen_socket("127.0.0.1", port, false, &e), -ERR_ALREADY_EXISTS);
    assert_non_null(strstr(e.msg, "127.0.0.1"));
    close(fd);
    int a = http_listen_socket("127.0.0.1", 0, true, &e);
    int b = http_listen_socket("127.0.0.1", http_socket_port(a), true, &e);
    assert_true(a >= 0 && b >= 0);
    close(a);
    close(b);
    assert_int_equal(http_listen_socket("not an address", 0, false, &e), -ERR_INVALID_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exchanges),
        cmocka_unit_test(test_head_answers_have_no_body),
        cmocka_unit_test(test_refusals_of_head_have_no_body_either),
        cmocka_unit_test(test_any_split),
        cmocka_unit_test(test_one_byte_at_a_time),
        cmocka_unit_test(test_pipelined_answers_come_in_order),
        cmocka_unit_test(test_pipelined_flood_is_not_read),
        cmocka_unit_test(test_continue_is_sent_when_the_body_is_wanted),
        cmocka_unit_test(test_interim_answers_may_precede),
        cmocka_unit_test(test_fields_with_line_breaks_are_not_sent),
        cmocka_unit_test(test_upgrade_passes_bytes_both_ways),
        cmocka_unit_test(test_upgrade_that_was_not_asked_for_is_refused),
        cmocka_unit_test(test_slow_reader_stops_the_writer),
        cmocka_unit_test(test_paused_handler_stops_the_sender),
        cmocka_unit_test(test_half_closed_client_gets_its_answer),
        cmocka_unit_test(test_half_closed_pipeline_is_answered_whole),
        cmocka_unit_test(test_early_ends),
        cmocka_unit_test(test_slow_clients_are_told),
        cmocka_unit_test(test_each_head_has_its_own_time),
        cmocka_unit_test(test_reader_that_stops_is_dropped),
        cmocka_unit_test(test_too_many_connections_are_told),
        cmocka_unit_test(test_drain_lets_exchanges_finish),
        cmocka_unit_test(test_drain_gives_up_at_its_deadline),
        cmocka_unit_test(test_drain_without_room_for_its_deadline),
        cmocka_unit_test(test_listening_sockets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

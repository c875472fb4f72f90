/** test_http_hostile.c: what the HTTP server answers to those who mean harm. Every refusal must come without the handler having
 *                       seen the request, with the connection closed and nothing after the refusal taken for a request. */
#include "tests/support/support_http.h"
#include "tests/support/unit.h"

#include <stdio.h>

struct bench {
    struct net net;
    struct service service;
    struct wire wire;
};
static void bench_init(struct bench *b, const struct http_server_config *c)
{
    net_init(&b->net);
    service_init(&b->service, &b->net, c);
    wire_connect(&b->wire, &b->net, b->service.port);
}
static void bench_fini(struct bench *b)
{
    wire_close(&b->wire);
    service_fini(&b->service);
    net_fini(&b->net);
}
static bool none_left(void *arg) { return http_server_connections(((struct service *)arg)->server) == 0; }

/* A request that hides behind the hostile one: it must never be answered. */
#define HIDDEN "GET /hello HTTP/1.1\r\nHost: hidden\r\n\r\n"
#define GET "GET /hello HTTP/1.1\r\n"
#define POST "POST /echo HTTP/1.1\r\nHost: a\r\n"

struct refusal {
    const char *name, *bytes;
    size_t n; /* 0: a C string */
    int status;
};
#define WITH_NUL(s) s, sizeof(s) - 1
static const struct refusal refusals[] = {
    {"a length beside chunked", POST "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" HIDDEN, 0, 400},
    {"chunked beside a length", POST "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" HIDDEN, 0, 400},
    {"two different lengths", POST "Content-Length: 4\r\nContent-Length: 0\r\n\r\n" HIDDEN, 0, 400},
    {"two equal lengths", POST "Content-Length: 0\r\nContent-Length: 0\r\n\r\n" HIDDEN, 0, 400},
    {"a list of lengths", POST "Content-Length: 0, 0\r\n\r\n" HIDDEN, 0, 400},
    {"a negative length", POST "Content-Length: -1\r\n\r\n" HIDDEN, 0, 400},
    {"a length with a plus", POST "Content-Length: +0\r\n\r\n" HIDDEN, 0, 400},
    {"a hexadecimal length", POST "Content-Length: 0x0\r\n\r\n" HIDDEN, 0, 400},
    {"a length with a space inside", POST "Content-Length: 1 0\r\n\r\n" HIDDEN, 0, 400},
    {"an empty length", POST "Content-Length: \r\n\r\n" HIDDEN, 0, 400},
    {"a length beyond 64 bits", POST "Content-Length: 18446744073709551616\r\n\r\n" HIDDEN, 0, 400},
    {"a length beyond 63 bits", POST "Content-Length: 9223372036854775808\r\n\r\n" HIDDEN, 0, 400},
    {"another transfer coding", POST "Transfer-Encoding: gzip\r\n\r\n" HIDDEN, 0, 400},
    {"chunked among others", POST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" HIDDEN, 0, 400},
    {"chunked twice in a list", POST "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n" HIDDEN, 0, 400},
    {"chunked twice in two fields", POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" HIDDEN, 0, 400},
    {"identity", POST "Transfer-Encoding: identity\r\n\r\n" HIDDEN, 0, 400},
    {"chunked with a vertical tab",
     POST "Transfer-Encoding: \x0b"
          "chunked\r\n\r\n0\r\n\r\n" HIDDEN,
     0, 400},
    {"chunked in quotes", POST "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n" HIDDEN, 0, 400},
    {"chunked with a parameter", POST "Transfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n" HIDDEN, 0, 400},
    {"an empty transfer coding", POST "Transfer-Encoding:\r\n\r\n" HIDDEN, 0, 400},
    {"chunked in HTTP/1.0", "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" HIDDEN, 0, 400},
    {"a space before the colon", POST "Content-Length : 0\r\n\r\n" HIDDEN, 0, 400},
    {"a tab before the colon", POST "Transfer-Encoding\t: chunked\r\n\r\n" HIDDEN, 0, 400},
    {"a folded field", GET "Host: a\r\nX: a\r\n b\r\n\r\n" HIDDEN, 0, 400},
    {"a folded field by tab", GET "Host: a\r\nX: a\r\n\tb\r\n\r\n" HIDDEN, 0, 400},
    {"a first field that is folded", GET " Host: a\r\n\r\n" HIDDEN, 0, 400},
    {"bare LF after the request line", "GET /hello HTTP/1.1\nHost: a\r\n\r\n" HIDDEN, 0, 400},
    {"bare LF after a field", GET "Host: a\nX: y\r\n\r\n" HIDDEN, 0, 400},
    {"bare LF as the empty line", GET "Host: a\r\n\n" HIDDEN, 0, 400},
    {"only bare LF", "GET /hello HTTP/1.1\nHost: a\n\n" HIDDEN, 0, 400},
    {"bare CR in a value", GET "Host: a\r\nX: a\rY: b\r\n\r\n" HIDDEN, 0, 400},
    {"bare CR in a name", GET "Host: a\r\nX\rY: b\r\n\r\n" HIDDEN, 0, 400},
    {"bare CR in the request line", "GET /hello\r HTTP/1.1\r\nHost: a\r\n\r\n" HIDDEN, 0, 400},
    {"CR CR LF", GET "Host: a\r\r\n\r\n" HIDDEN, 0, 400},
    {"NUL in a value", WITH_NUL(GET "Host: a\r\nX: a\0b\r\n\r\n" HIDDEN), 400},
    {"NUL in a name", WITH_NUL(GET "Host: a\r\nX\0Y: b\r\n\r\n" HIDDEN), 400},
    {"NUL in the target", WITH_NUL("GET /a\0b HTTP/1.1\r\nHost: a\r\n\r\n" HIDDEN), 400},
    {"DEL in a value", GET "Host: a\r\nX: \x7f\r\n\r\n" HIDDEN, 0, 400},
    {"a field without a colon", GET "Host: a\r\nX\r\n\r\n" HIDDEN, 0, 400},
    {"an empty name", GET "Host: a\r\n: x\r\n\r\n" HIDDEN, 0, 400},
    {"a name with a bracket", GET "Host: a\r\nX[: x\r\n\r\n" HIDDEN, 0, 400},
    {"a name above ASCII", GET "Host: a\r\nX\xc3\xa4: x\r\n\r\n" HIDDEN, 0, 400},
    {"no Host", GET "\r\n" HIDDEN, 0, 400},
    {"two Hosts", GET "Host: a\r\nHost: a\r\n\r\n" HIDDEN, 0, 400},
    {"a Host with a path", GET "Host: a/b\r\n\r\n" HIDDEN, 0, 400},
    {"a Host with a user", GET "Host: u@a\r\n\r\n" HIDDEN, 0, 400},
    {"a Host with a space", GET "Host: a b\r\n\r\n" HIDDEN, 0, 400},
    {"a list of Hosts", GET "Host: a, b\r\n\r\n" HIDDEN, 0, 400},
    {"a Host with a wrong port", GET "Host: a:99999\r\n\r\n" HIDDEN, 0, 400},
    {"a Host with an open bracket", GET "Host: [::1\r\n\r\n" HIDDEN, 0, 400},
    {"two spaces in the request line", "GET  /hello HTTP/1.1\r\nHost: a\r\n\r\n" HIDDEN, 0, 400},
    {"a tab in the request line", "GET\t/hello HTTP/1.1\r\nHost: a\r\n\r\n" HIDDEN, 0, 400},
    {"a space at the end of the request line", "GET /hello HTTP/1.1 \r\nHost: a\r\n\r\n" HIDDEN, 0, 400},
    {"a target with a space", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n" HIDDEN, 0, 400},
    {"a target above ASCII", "GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n" HIDDEN, 0, 400},
    {"a target with a fragment", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n" HIDDEN, 0, 400},
    {"an absolute target beside a wrong Host", "GET http://a/ HTTP/1.1\r\nHost: a b\r\n\r\n" HIDDEN, 0, 400},
    {"a target that is no path", "GET hello HTTP/1.1\r\nHost: a\r\n\r\n" HIDDEN, 0, 400},
    {"* for a GET", "GET * HTTP/1.1\r\nHost: a\r\n\r\n" HIDDEN, 0, 400},
    {"an absolute target of another scheme", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n" HIDDEN, 0, 400},
    {"an absolute target without a host", "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n" HIDDEN, 0, 400},
    {"an absolute target with a user", "GET http://u:p@b/ HTTP/1.1\r\nHost: a\r\n\r\n" HIDDEN, 0, 400},
    {"an absolute target with a query for a path", "GET http://b?x HTTP/1.1\r\nHost: a\r\n\r\n" HIDDEN, 0, 400},
    {"HTTP/0.9", "GET /hello\r\n" HIDDEN, 0, 400},
    {"a version without a number", "GET /hello HTTP/x.y\r\nHost: a\r\n\r\n" HIDDEN, 0, 400},
    {"a version in lower case", "GET /hello http/1.1\r\nHost: a\r\n\r\n" HIDDEN, 0, 400},
    {"HTTP/0.9 as a version", "GET /hello HTTP/0.9\r\nHost: a\r\n\r\n" HIDDEN, 0, 505},
    {"a version of two digits", "GET /hello HTTP/1.10\r\nHost: a\r\n\r\n" HIDDEN, 0, 400},
    {"HTTP/2.0", "GET /hello HTTP/2.0\r\nHost: a\r\n\r\n" HIDDEN, 0, 505},
    {"the HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0, 505},
    {"a method nobody knows", "BREW /hello HTTP/1.1\r\nHost: a\r\n\r\n" HIDDEN, 0, 501},
    {"a method in lower case", "get /hello HTTP/1.1\r\nHost: a\r\n\r\n" HIDDEN, 0, 501},
    {"CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n" HIDDEN, 0, 501},
    {"a TLS hello", WITH_NUL("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), 400},
    {"a line of noise", "\x80\x81\x82", 0, 400},
    {"three empty lines", "\r\n\r\n\r\n" HIDDEN, 0, 400},

    {"a chunk size of letters", POST "Transfer-Encoding: chunked\r\n\r\nxyz\r\n" HIDDEN, 0, 400},
    {"an empty chunk size", POST "Transfer-Encoding: chunked\r\n\r\n\r\n0\r\n\r\n" HIDDEN, 0, 400},
    {"a negative chunk size", POST "Transfer-Encoding: chunked\r\n\r\n-1\r\n" HIDDEN, 0, 400},
    {"a chunk size with 0x", POST "Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n" HIDDEN, 0, 400},
    {"a chunk size with a space before", POST "Transfer-Encoding: chunked\r\n\r\n 1\r\na\r\n0\r\n\r\n" HIDDEN, 0, 400},
    {"a chunk size with a space after", POST "Transfer-Encoding: chunked\r\n\r\n1 \r\na\r\n0\r\n\r\n" HIDDEN, 0, 400},
    {"a chunk size beyond 60 bits", POST "Transfer-Encoding: chunked\r\n\r\n1000000000000000\r\na" HIDDEN, 0, 400},
    {"a chunk size that wraps around", POST "Transfer-Encoding: chunked\r\n\r\n10000000000000001\r\na\r\n0\r\n\r\n" HIDDEN, 0, 400},
    {"a chunk size line in bare LF", POST "Transfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n" HIDDEN, 0, 400},
    {"a chunk extension with bare LF", POST "Transfer-Encoding: chunked\r\n\r\n1;a\nb\r\na\r\n0\r\n\r\n" HIDDEN, 0, 400},
    {"a chunk extension with CR", POST "Transfer-Encoding: chunked\r\n\r\n1;a\rb\r\na\r\n0\r\n\r\n" HIDDEN, 0, 400},
    {"a chunk that is longer than its size", POST "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n" HIDDEN, 0, 400},
    {"a chunk that ends in bare LF", POST "Transfer-Encoding: chunked\r\n\r\n1\r\na\n0\r\n\r\n" HIDDEN, 0, 400},
    {"a last chunk that ends in bare LF", POST "Transfer-Encoding: chunked\r\n\r\n0\r\n\n" HIDDEN, 0, 400},
    {"a trailer without a colon", POST "Transfer-Encoding: chunked\r\n\r\n0\r\nab\r\n\r\n" HIDDEN, 0, 400},
    {"a trailer with a folded line", POST "Transfer-Encoding: chunked\r\n\r\n0\r\na: b\r\n c\r\n\r\n" HIDDEN, 0, 400},
    {"a trailer in bare LF", POST "Transfer-Encoding: chunked\r\n\r\n0\r\na: b\n\r\n" HIDDEN, 0, 400},
};

/* At once and byte by byte must come to the same. */
static void refuse_one(const struct refusal *c, bool slowly)
{
    struct bench b;
    char status_line[32];
    struct str bytes = {c->bytes, c->n ? c->n : strlen(c->bytes)};
    bench_init(&b, NULL);
    for (size_t i = 0; slowly && i < bytes.n && !b.wire.eof; i++) {
        wire_send(&b.wire, (struct str){bytes.p + i, 1});
        net_turns(&b.net, 2);
    }
    if (!slowly)
        wire_send(&b.wire, bytes);
    wire_until_closed(&b.wire);
    snprintf(status_line, sizeof status_line, "HTTP/1.1 %d ", c->status);
    if (!wire_has(&b.wire, status_line))
        fail_msg("case \"%s\": wanted %d, got \"%s\"", c->name, c->status, buf_cstr(&b.wire.in));
    CASE_INT(c->name, wire_count(&b.wire, "HTTP/1.1 "), 1);
    CASE_TRUE(c->name, wire_has(&b.wire, "Connection: close\r\n"));
    CASE_INT(c->name, b.service.ended, 0); /* no handler was given a whole request */
    CASE_TRUE(c->name, strstr(b.service.seen, "hidden") == NULL);
    CASE_INT(c->name, b.service.complete, 0);
    bench_fini(&b);
}

static void test_refusals_at_once(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++)
        refuse_one(&refusals[i], false);
}

static void test_refusals_byte_by_byte(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++)
        refuse_one(&refusals[i], true);
}

/* ---- too much of something ---- */

static char *fill(char *to, char c, size_t n)
{
    memset(to, c, n);
    return to + n;
}
static char *text(char *to, const char *z)
{
    size_t n = strlen(z);
    memcpy(to, z, n);
    return to + n;
}

static void sized_request(struct wire *w, size_t target_bytes, size_t field_bytes, int fields)
{
    static char all[512 * 1024];
    char *to = text(all, "GET /");
    to = fill(to, 'a', target_bytes - 1);
    to = text(to, " HTTP/1.1\r\nHost: a\r\n");
    for (int i = 0; i < fields; i++) {
        to = text(to, "X: ");
        to = fill(to, 'b', field_bytes);
        to = text(to, "\r\n");
    }
    to = text(to, "\r\n");
    wire_send(w, (struct str){all, (size_t)(to - all)});
}

static void test_sizes(void **state)
{
    static const struct {
        const char *name;
        size_t target_bytes, field_bytes;
        int fields, status;
        size_t head_max_bytes;
    } cases[] = {
        {"the longest target", HTTP_TARGET_MAX, 1, 1, 200, 0},
        {"one byte longer", HTTP_TARGET_MAX + 1, 1, 1, 414, 0},
        {"a target longer than any buffer", 400000, 1, 1, 414, 0},
        {"a large head", 5, 60000, 1, 200, 0},
        {"a head above 64 KiB", 5, 65536, 1, 431, 0},
        {"a head of many small fields above 64 KiB", 5, 1000, 70, 431, 0},
        {"as many fields as fit", 5, 1, HEADERS_MAX - 1, 200, 0},
        {"one field more", 5, 1, HEADERS_MAX, 431, 0},
        {"thousands of fields", 5, 1, 10000, 431, 0},
        {"a head above a lower limit", 5, 1000, 1, 431, 512},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct bench b;
        struct http_server_config config = {.head_max_bytes = cases[i].head_max_bytes};
        char want[32];
        bench_init(&b, &config);
        sized_request(&b.wire, cases[i].target_bytes, cases[i].field_bytes, cases[i].fields);
        snprintf(want, sizeof want, "HTTP/1.1 %d ", cases[i].status);
        wire_until_has(&b.wire, "\r\n\r\n");
        if (!wire_has(&b.wire, want))
            fail_msg("case \"%s\": %s", cases[i].name, buf_cstr(&b.wire.in));
        CASE_INT(cases[i].name, b.service.requests, cases[i].status == 200);
        if (cases[i].status != 200)
            wire_until_closed(&b.wire);
        bench_fini(&b);
    }
}

static void test_chunk_extensions_and_trailers_are_bounded(void **state)
{
    static const struct {
        const char *name, *before, *piece;
        size_t repeat;
        const char *after;
        int status;
    } cases[] = {
        {"a long extension", "1;", "x", 300, "\r\na\r\n0\r\n\r\n", 400},
        {"an extension without end", "1;", "x", 200000, "", 400},
        {"many chunks with extensions", "", "1;xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\na\r\n", 1000, "0\r\n\r\n", 400},
        {"a few chunks with extensions", "", "1;xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\na\r\n", 100, "0\r\n\r\n", 200},
        {"a hundred thousand chunks of one byte", "", "1\r\na\r\n", 100000, "0\r\n\r\n", 200},
        {"a long trailer", "0\r\n", "T: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n", 400, "\r\n", 431},
        {"a short trailer", "0\r\n", "T: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n", 40, "\r\n", 200},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct bench b;
        char want[32];
        bench_init(&b, NULL);
        wire_sendz(&b.wire, POST "Transfer-Encoding: chunked\r\n\r\n");
        wire_sendz(&b.wire, cases[i].before);
        for (size_t k = 0; k < cases[i].repeat; k++)
            assert_int_equal(buf_add(&b.wire.out, cases[i].piece, strlen(cases[i].piece)), 0);
        wire_sendz(&b.wire, cases[i].after);
        wire_until_has(&b.wire, "\r\n\r\n");
        snprintf(want, sizeof want, "HTTP/1.1 %d ", cases[i].status);
        if (!wire_has(&b.wire, want))
            fail_msg("case \"%s\": %s", cases[i].name, buf_cstr(&b.wire.in));
        if (cases[i].status != 200)
            wire_until_closed(&b.wire);
        bench_fini(&b);
    }
}

/* A refused client that goes on sending is read only so far. */
static void test_refused_flood_is_cut_off(void **state)
{
    static char block[1024 * 1024];
    struct bench b;
    bench_init(&b, NULL);
    wire_sendz(&b.wire, "nonsense\r\n");
    wire_until_has(&b.wire, "HTTP/1.1 400 ");
    for (int i = 0; i < 60; i++)
        assert_int_equal(buf_add(&b.wire.out, block, sizeof block), 0);
    wire_sendz(&b.wire, "");
    net_until(&b.net, none_left, &b.service, "the connection is dropped");
    bench_fini(&b);
}

/* A head sent drop by drop is over after the timeout, however lively the dripping. */
static void test_dripping_head_times_out(void **state)
{
    struct bench b;
    struct http_server_config config = {.head_timeout_ns = 30 * NS_PER_MS};
    bench_init(&b, &config);
    wire_sendz(&b.wire, GET "Host: a\r\nX: ");
    int drops = 0;
    while (!b.wire.eof && drops++ < 10000000) {
        if (drops % 100 == 0 && drops < 1000000)
            wire_sendz(&b.wire, "x");
        net_turns(&b.net, 1);
    }
    assert_true(wire_has(&b.wire, "HTTP/1.1 408 "));
    assert_int_equal(b.service.requests, 0);
    bench_fini(&b);
}

/* Hundreds of half-made requests at once, then all gone: nothing stays behind. */
static void test_many_half_requests(void **state)
{
    enum { N = 300 };
    static struct wire wires[N];
    struct bench b;
    bench_init(&b, NULL);
    for (int i = 0; i < N; i++) {
        wire_connect(&wires[i], &b.net, b.service.port);
        wire_send(&wires[i], (struct str){POST "Content-Length: 10\r\n\r\nabc", (size_t)(i % 54) + 1});
        if (i % 16 == 0)
            net_turns(&b.net, 2);
    }
    net_turns(&b.net, 10);
    assert_int_equal(http_server_connections(b.service.server), N + 1);
    for (int i = 0; i < N; i++)
        i % 2 ? wire_reset(&wires[i]) : wire_close(&wires[i]);
    wire_close(&b.wire);
    net_until(&b.net, none_left, &b.service, "all are dropped");
    assert_int_equal(b.service.complete, 0);
    bench_fini(&b);
}

static bool first_is_closed(void *arg) { return ((struct wire *)arg)->eof; }

/* All places are taken: those that have no request under way give theirs to who comes, and nobody else does. */
static void test_who_only_holds_a_place_gives_it_up(void **state)
{
    static const struct {
        const char *name, *bytes, *until;
        bool gives_up;
    } cases[] = {
        {"never said anything", "", NULL, true},
        {"rests after an answer", "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n", "hello\n", true},
        {"is in the middle of a head", GET "Host: a\r\nX: ", NULL, true},
        {"was refused and lingers", "nonsense\r\n", "HTTP/1.1 400 ", true},
        {"waits for its answer", "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n", NULL, false},
        {"is in the middle of a body", POST "Content-Length: 9\r\n\r\nabc", NULL, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct bench b;
        struct wire more;
        struct http_server_config config = {.connections_max = 1};
        bench_init(&b, &config);
        wire_sendz(&b.wire, cases[i].bytes);
        if (cases[i].until)
            wire_until_has(&b.wire, cases[i].until);
        net_turns(&b.net, 5);
        wire_connect(&more, &b.net, b.service.port);
        wire_sendz(&more, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
        wire_until_has(&more, cases[i].gives_up ? "hello\n" : "HTTP/1.1 503 ");
        if (cases[i].gives_up)
            net_until(&b.net, first_is_closed, &b.wire, cases[i].name);
        CASE_INT(cases[i].name, b.wire.eof, cases[i].gives_up);
        wire_close(&more);
        bench_fini(&b);
    }
}

enum { CROWD = 40 };

/* Long heads without an end, more than the server may hold together: some are told, and others are served meanwhile. */
static void test_heads_share_a_budget(void **state)
{
    static char head[50000];
    static struct wire crowd[CROWD];
    struct bench b;
    struct http_server_config config = {.held_max_bytes = 1024 * 1024};
    memset(head, 'x', sizeof head);
    bench_init(&b, &config);
    for (int i = 0; i < CROWD; i++) {
        wire_connect(&crowd[i], &b.net, b.service.port);
        wire_sendz(&crowd[i], GET "Host: a\r\nX: ");
        wire_send(&crowd[i], (struct str){head, sizeof head});
        net_turns(&b.net, 3);
        wire_sendz(&b.wire, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
        buf_clear(&b.wire.in);
        wire_until_has(&b.wire, "hello\n");
    }
    int told = 0;
    for (int i = 0; i < CROWD; i++)
        told += wire_has(&crowd[i], "HTTP/1.1 503 ");
    assert_in_range(told, CROWD - 1024 * 1024 / 50000 - 1, CROWD - 4); /* a buffer is up to twice as large as what is in it */
    for (int i = 0; i < CROWD; i++)
        wire_close(&crowd[i]);
    bench_fini(&b);
}

/* Answers that nobody reads: their connections are closed when they hold too much together. */
static void test_unread_answers_share_a_budget(void **state)
{
    static struct wire crowd[CROWD];
    struct bench b;
    struct http_server_config config = {.held_max_bytes = 2 * 1024 * 1024};
    bench_init(&b, &config);
    for (int i = 0; i < CROWD; i++) {
        wire_connect(&crowd[i], &b.net, b.service.port);
        wire_deafen(&crowd[i], true);
        wire_sendz(&crowd[i], "GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
        net_turns(&b.net, 5);
    }
    wire_sendz(&b.wire, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    wire_until_has(&b.wire, "hello\n");
    assert_in_range(b.service.closed, CROWD - 8, CROWD - 2); /* each stops at 256 KiB, in a buffer of up to 512 */
    for (int i = 0; i < CROWD; i++)
        wire_close(&crowd[i]);
    bench_fini(&b);
}

/* A body that drips for ever is over when the handler's time for it is, not when the dripping stops. */
static void test_body_has_its_time(void **state)
{
    struct bench b;
    bench_init(&b, NULL);
    wire_sendz(&b.wire, "POST /hold HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
    while (!b.service.held)
        net_turns(&b.net, 1);
    http_body_due(b.service.held, loop_now(b.net.loop) + 30 * NS_PER_MS);
    for (int drops = 0; !b.wire.eof && drops < 10000000; drops++) {
        if (drops % 100 == 0 && drops < 1000000)
            wire_sendz(&b.wire, "x");
        net_turns(&b.net, 1);
    }
    assert_true(wire_has(&b.wire, "HTTP/1.1 408 "));
    assert_int_equal(b.service.closed, 1);
    assert_int_equal(b.service.complete, 0);
    bench_fini(&b);
}

/* Seeded noise, cut anywhere: whatever it is, there is no crash, and a clean request afterwards is answered. */
static void test_noise(void **state)
{
    static const char *const words[] = {"GET ",
                                        "POST ",
                                        "/echo",
                                        "/hello",
                                        " HTTP/1.1",
                                        "\r\n",
                                        "\r",
                                        "\n",
                                        ":",
                                        " ",
                                        "Host: a\r\n",
                                        "Content-Length: 5\r\n",
                                        "Transfer-Encoding: chunked\r\n",
                                        "5\r\nabcde\r\n",
                                        "0\r\n\r\n",
                                        "\r\n\r\n",
                                        "Expect: 100-continue\r\n",
                                        "Connection: upgrade\r\nUpgrade: echo\r\n",
                                        "\xff",
                                        "ffffffffffffffff",
                                        ";x"};
    struct rng rng;
    struct bench b;
    rng_seed(&rng, 42);
    bench_init(&b, NULL);
    for (int round = 0; round < 400; round++) {
        struct wire w;
        wire_connect(&w, &b.net, b.service.port);
        if (round % 2)
            wire_sendz(&w, round % 4 == 1 ? POST : POST "Transfer-Encoding: chunked\r\n\r\n");
        for (int i = 0; i < 12; i++) {
            wire_sendz(&w, words[rng_below(&rng, ARRAY_LEN(words))]);
            if (rng_chance(&rng, 0.5))
                net_turns(&b.net, 2);
        }
        net_turns(&b.net, 2);
        rng_chance(&rng, 0.5) ? wire_close(&w) : wire_reset(&w);
    }
    wire_sendz(&b.wire, HIDDEN);
    wire_until_has(&b.wire, "hello\n");
    bench_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals_at_once),
        cmocka_unit_test(test_refusals_byte_by_byte),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_chunk_extensions_and_trailers_are_bounded),
        cmocka_unit_test(test_refused_flood_is_cut_off),
        cmocka_unit_test(test_dripping_head_times_out),
        cmocka_unit_test(test_many_half_requests),
        cmocka_unit_test(test_who_only_holds_a_place_gives_it_up),
        cmocka_unit_test(test_heads_share_a_budget),
        cmocka_unit_test(test_unread_answers_share_a_budget),
        cmocka_unit_test(test_body_has_its_time),
        cmocka_unit_test(test_noise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

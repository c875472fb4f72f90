/** test_http_client.c: the HTTP client against our own server and against peers that follow a script: garbage, early answers,
 *                      resets, stale connections; and what goes over the wire. */
#include "tests/support/support_http.h"
#include "tests/support/unit.h"

#include <stdio.h>
#include <unistd.h>

struct bench {
    struct net net;
    struct http_client *client;
};
static void bench_init(struct bench *b)
{
    net_init(&b->net);
    b->client = http_client_new(b->net.loop, NULL);
    assert_non_null(b->client);
}
static void bench_fini(struct bench *b)
{
    http_client_free(b->client);
    net_fini(&b->net);
}

static const struct http_call_spec plain_get = {.method = {"GET", 3}, .target = {"/hello", 6}, .replayable = true, .due_ns = TIMER_NEVER};

static void call_start(struct bench *b, struct record *r, uint16_t port, const struct http_call_spec *s)
{
    struct err e = {0};
    struct http_target t = target_local(port);
    record_init(r);
    r->call = http_call_start(b->client, &t, s, &record_ops, r, &e);
    if (!r->call)
        fail_msg("the call did not start: %s", e.msg);
}

static void call_run(struct bench *b, struct record *r, uint16_t port, const struct http_call_spec *s)
{
    call_start(b, r, port, s);
    assert_int_equal(r->done + r->heads, 0); /* nothing is called back from inside */
    net_until(&b->net, record_is_done, r, "the call ends");
    net_turns(&b->net, 2);
    assert_int_equal(r->done, 1);
}

static void body_is(const char *name, const struct record *r, const char *want)
{
    CASE_INT(name, buf_len(&r->body), strlen(want));
    CASE_TRUE(name, buf_len(&r->body) == 0 || memcmp(buf_data(&r->body), want, strlen(want)) == 0);
}

/* ---- answers, as the peer writes them ---- */

struct answer_case {
    const char *name, *answer;
    enum script_then then;
    enum err_code code; /* OK: the call succeeds */
    int status;
    const char *body;
    bool kept; /* the connection goes back to the pool */
};
static const struct answer_case answer_cases[] = {
    {"a length", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", THEN_STAY, ERR_OK, 200, "abc", true},
    {"no length: until close", "HTTP/1.1 200 OK\r\n\r\nabc", THEN_CLOSE, ERR_OK, 200, "abc", false},
    {"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", THEN_STAY, ERR_OK, 200, "abc", true},
    {"chunks with a trailer", "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n", THEN_STAY, ERR_OK, 200,
     "abc", true},
    {"204 has no body", "HTTP/1.1 204 No Content\r\n\r\n", THEN_STAY, ERR_OK, 204, "", true},
    {"204 has none whatever its length", "HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n", THEN_STAY, ERR_OK, 204, "", true},
    {"304 has no body whatever its length", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", THEN_STAY, ERR_OK, 304, "", true},
    {"a 102 that is the answer has no body whatever its length", "HTTP/1.1 102 Wait\r\nContent-Length: 9\r\n\r\n", THEN_STAY, ERR_OK, 102,
     "", false},
    {"an empty body", "HTTP/1.1 503 Later\r\nContent-Length: 0\r\n\r\n", THEN_STAY, ERR_OK, 503, "", true},
    {"no reason phrase", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", THEN_STAY, ERR_OK, 200, "", true},
    {"interim answers are skipped",
     "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", THEN_STAY,
     ERR_OK, 200, "a", true},
    {"Connection: close is respected", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na", THEN_STAY, ERR_OK, 200, "a",
     false},
    {"HTTP/1.0 is not kept", "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", THEN_STAY, ERR_OK, 200, "a", false},
    {"HTTP/1.0 is kept when it says so", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na", THEN_STAY, ERR_OK, 200,
     "a", true},
    {"bytes after the answer spoil the connection, not the answer", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nabc", THEN_STAY, ERR_OK,
     200, "a", false},

    {"not HTTP at all", "SSH-2.0-OpenSSH_9\r\n", THEN_STAY, ERR_INTERNAL, 0, "", false},
    {"binary", "\x15\x03\x01\x02", THEN_STAY, ERR_INTERNAL, 0, "", false},
    {"HTTP/2", "HTTP/2 200 OK\r\n\r\n", THEN_STAY, ERR_INTERNAL, 0, "", false},
    {"a status that is no number", "HTTP/1.1 abc OK\r\n\r\n", THEN_STAY, ERR_INTERNAL, 0, "", false},
    {"a status of four digits", "HTTP/1.1 2000 OK\r\n\r\n", THEN_STAY, ERR_INTERNAL, 0, "", false},
    {"bare LF", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", THEN_STAY, ERR_INTERNAL, 0, "", false},
    {"a folded field", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", THEN_STAY, ERR_INTERNAL, 0, "", false},
    {"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na", THEN_STAY, ERR_INTERNAL, 0, "", false},
    {"a length and chunked", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\na", THEN_STAY, ERR_INTERNAL, 0, "",
     false},
    {"a negative length", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", THEN_STAY, ERR_INTERNAL, 0, "", false},
    {"an unknown coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", THEN_STAY, ERR_INTERNAL, 0, "", false},
    {"an upgrade nobody asked for", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", THEN_STAY,
     ERR_INTERNAL, 0, "", false},
    {"a chunk of nonsense", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", THEN_STAY, ERR_INTERNAL, 200, "", false},
    {"a chunk without its end", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc", THEN_STAY, ERR_INTERNAL, 200, "a", false},
    {"a close before a byte", NULL, THEN_CLOSE, ERR_UNAVAILABLE, 0, "", false},
    {"a reset before a byte", NULL, THEN_RESET, ERR_UNAVAILABLE, 0, "", false},
    {"a close in the middle of the head", "HTTP/1.1 200 OK\r\nConte", THEN_CLOSE, ERR_UNAVAILABLE, 0, "", false},
    {"a close in the middle of the body", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", THEN_CLOSE, ERR_UNAVAILABLE, 200, "abc",
     false},
    {"a close before the last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", THEN_CLOSE, ERR_UNAVAILABLE, 200,
     "abc", false},
};

static void test_answers(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(answer_cases); i++) {
        const struct answer_case *c = &answer_cases[i];
        const struct script_step plan[1][SCRIPT_STEPS_MAX] = {{{"\r\n\r\n", c->answer, c->then}}};
        struct bench b;
        struct script peer;
        struct record r;
        print_message("  %s\n", c->name);
        bench_init(&b);
        script_init(&peer, &b.net, plan, 1);
        struct http_call_spec spec = plain_get;
        spec.processing_ends = c->status == 102;
        call_run(&b, &r, peer.port, &spec);
        CASE_INT(c->name, r.ok ? ERR_OK : r.err.code, c->code);
        CASE_INT(c->name, r.status, c->status);
        CASE_INT(c->name, r.heads, c->status ? 1 : 0);
        CASE_INT(c->name, peer.accepted, 1);
        body_is(c->name, &r, c->body);
        CASE_TRUE(c->name, !r.ok || r.status == 304 || r.body_bytes < 0 || (size_t)r.body_bytes == buf_len(&r.body));
        if (!r.ok) { /* the message says who */
            char who[32];
            snprintf(who, sizeof who, "127.0.0.1:%u", (unsigned)peer.port);
            CASE_TRUE(c->name, strstr(r.err.msg, who) != NULL);
        }
        CASE_INT(c->name, http_client_stats(b.client).idle, c->kept);
        CASE_INT(c->name, http_client_stats(b.client).connections, c->kept);
        record_fini(&r);
        script_fini(&peer);
        bench_fini(&b);
    }
}

/* A reset after part of the answer can overtake that part, so only the outcome is fixed. */
static void test_reset_in_the_middle_of_an_answer(void **state)
{
    static const struct script_step plan[1][SCRIPT_STEPS_MAX] = {
        {{"\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\nabc", THEN_STAY}, {NULL, NULL, THEN_RESET}}};
    struct bench b;
    struct script peer;
    struct record r;
    bench_init(&b);
    script_init(&peer, &b.net, plan, 1);
    call_run(&b, &r, peer.port, &plain_get);
    assert_false(r.ok); /* though it would have ended at a plain close */
    assert_int_equal(r.err.code, ERR_UNAVAILABLE);
    record_fini(&r);
    script_fini(&peer);
    bench_fini(&b);
}

static void test_an_answer_cut_anywhere(void **state)
{
    static const char text[] =
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nT: x\r\n\r\n";
    for (size_t cut = 1; cut < sizeof text - 1; cut++) {
        char head[sizeof text], tail[sizeof text];
        snprintf(head, sizeof head, "%.*s", (int)cut, text);
        snprintf(tail, sizeof tail, "%s", text + cut);
        const struct script_step plan[1][SCRIPT_STEPS_MAX] = {{{"\r\n\r\n", NULL, THEN_STAY}}};
        struct bench b;
        struct script peer;
        struct record r;
        bench_init(&b);
        script_init(&peer, &b.net, plan, 1);
        call_start(&b, &r, peer.port, &plain_get);
        while (peer.accepted == 0 || peer.conns[0].step == 0)
            net_turns(&b.net, 1);
        wire_sendz(&peer.conns[0].wire, head);
        net_turns(&b.net, 4);
        assert_int_equal(r.done, 0);
        wire_sendz(&peer.conns[0].wire, tail);
        net_until(&b.net, record_is_done, &r, "the call ends");
        assert_true(r.ok);
        body_is("cut", &r, "abcde");
        record_fini(&r);
        script_fini(&peer);
        bench_fini(&b);
    }
}

/* ---- requests, as the peer reads them ---- */

static void test_requests_on_the_wire(void **state)
{
    struct headers h;
    struct err e;
    h.n = 0;
    assert_int_equal(headers_add(&h, STR("Host"), STR("not this"), &e), 0);
    assert_int_equal(headers_add(&h, STR("content-length"), STR("999"), &e), 0);
    assert_int_equal(headers_add(&h, STR("Connection"), STR("close"), &e), 0);
    assert_int_equal(headers_add(&h, STR("X-A"), STR("b"), &e), 0);
    const struct {
        const char *name;
        struct http_call_spec spec;
        const char *want;
    } cases[] = {
        {"a GET has no framing",
         {.method = STR("GET"), .target = STR("/a?b"), .host = STR("h.example")},
         "GET /a?b HTTP/1.1\r\nHost: h.example\r\n\r\n"},
        {"framing fields of the caller are replaced",
         {.method = STR("PUT"), .target = STR("/"), .host = STR("h"), .headers = &h, .body = STR("xyz")},
         "PUT / HTTP/1.1\r\nHost: h\r\nX-A: b\r\nContent-Length: 3\r\n\r\nxyz"},
        {"an empty POST says so",
         {.method = STR("POST"), .target = STR("/"), .host = STR("h")},
         "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"},
        {"an upgrade asks for it",
         {.method = STR("GET"), .target = STR("/"), .host = STR("h"), .upgrade = true},
         "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\n\r\n"},
    };
    static const struct script_step plan[1][SCRIPT_STEPS_MAX] = {{{NULL, NULL, THEN_STAY}}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct bench b;
        struct script peer;
        struct record r;
        struct http_call_spec spec = cases[i].spec;
        spec.due_ns = TIMER_NEVER;
        bench_init(&b);
        script_init(&peer, &b.net, plan, 1);
        call_start(&b, &r, peer.port, &spec);
        while (peer.accepted == 0)
            net_turns(&b.net, 1);
        wire_until_bytes(&peer.conns[0].wire, strlen(cases[i].want));
        net_turns(&b.net, 3);
        CASE_STR(cases[i].name, buf_cstr(&peer.conns[0].wire.in), cases[i].want);
        http_call_cancel(r.call);
        assert_int_equal(r.done, 0); /* comes from the loop */
        net_until(&b.net, record_is_done, &r, "cancelled");
        assert_int_equal(r.err.code, ERR_CANCELLED);
        record_fini(&r);
        script_fini(&peer);
        bench_fini(&b);
    }
}

static void test_bad_calls_do_not_start(void **state)
{
    struct headers split, nul;
    struct err e;
    split.n = nul.n = 0;
    assert_int_equal(headers_add(&split, STR("X"), STR("a\r\nY: b"), &e), 0);
    assert_int_equal(headers_add(&nul, STR("X\0"), STR("a"), &e), 0);
    const struct {
        const char *name;
        struct http_call_spec spec;
        struct http_target target;
    } cases[] = {
        {"a method with a space", {.method = STR("GE T"), .target = STR("/")}, target_local(1)},
        {"no method", {.target = STR("/")}, target_local(1)},
        {"CONNECT", {.method = STR("CONNECT"), .target = STR("/")}, target_local(1)},
        {"a target with a space", {.method = STR("GET"), .target = STR("/a b")}, target_local(1)},
        {"a target with a line break", {.method = STR("GET"), .target = STR("/\r\nX: y")}, target_local(1)},
        {"a target that is no path", {.method = STR("GET"), .target = STR("a")}, target_local(1)},
        {"a host with a line break", {.method = STR("GET"), .target = STR("/"), .host = STR("a\r\nX: y")}, target_local(1)},
        {"a field with a line break", {.method = STR("GET"), .target = STR("/"), .headers = &split}, target_local(1)},
        {"a field name with NUL", {.method = STR("GET"), .target = STR("/"), .headers = &nul}, target_local(1)},
        {"no port", {.method = STR("GET"), .target = STR("/")}, target_local(0)},
        {"no host", {.method = STR("GET"), .target = STR("/")}, {.local = false}},
        {"a negative length", {.method = STR("PUT"), .target = STR("/"), .stream = true, .stream_bytes = -2}, target_local(1)},
    };
    struct bench b;
    struct record r;
    bench_init(&b);
    record_init(&r);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err bad = {0};
        CASE_TRUE(cases[i].name, http_call_start(b.client, &cases[i].target, &cases[i].spec, &record_ops, &r, &bad) == NULL);
        CASE_INT(cases[i].name, bad.code, ERR_INVALID_ARGUMENT);
    }
    net_turns(&b.net, 3);
    assert_int_equal(r.done, 0);
    assert_int_equal(http_client_stats(b.client).connections, 0);
    record_fini(&r);
    bench_fini(&b);
}

/* ---- against our own server ---- */

static void test_a_connection_is_used_again(void **state)
{
    struct bench b;
    struct service s;
    bench_init(&b);
    service_init(&s, &b.net, NULL);
    for (int i = 0; i < 20; i++) {
        struct record r;
        call_run(&b, &r, s.port, &plain_get);
        assert_true(r.ok);
        body_is("reuse", &r, "hello\n");
        assert_string_equal(r.type, "text/plain");
        record_fini(&r);
    }
    assert_int_equal(http_client_stats(b.client).opened, 1);
    assert_int_equal(http_client_stats(b.client).reused, 19);
    struct http_target newer = target_local(s.port);
    struct record r;
    struct err e;
    newer.generation = 2;
    record_init(&r);
    r.call = http_call_start(b.client, &newer, &plain_get, &record_ops, &r, &e);
    net_until(&b.net, record_is_done, &r, "the call ends");
    assert_int_equal(http_client_stats(b.client).opened, 2); /* another generation, another pool */
    record_fini(&r);
    service_fini(&s);
    bench_fini(&b);
}

static void test_many_calls_at_once(void **state)
{
    enum { N = 100 };
    static struct record r[N];
    struct bench b;
    struct service s;
    struct http_call_spec spec = {
        .method = STR("POST"), .target = STR("/stream"), .body = STR("payload"), .replayable = true, .due_ns = TIMER_NEVER};
    bench_init(&b);
    service_init(&s, &b.net, NULL);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < N; i++)
            call_start(&b, &r[i], s.port, &spec);
        for (int i = 0; i < N; i++) {
            net_until(&b.net, record_is_done, &r[i], "each call ends");
            assert_true(r[i].ok);
            body_is("many", &r[i], "payload");
            record_fini(&r[i]);
        }
    }
    assert_int_equal(http_client_stats(b.client).opened, N);
    service_fini(&s);
    bench_fini(&b);
}

static bool writable_again(void *arg) { return ((struct record *)arg)->writable > 0; }

static void test_streams_both_ways(void **state)
{
    enum { PIECE = 100000, PIECES = 200 };
    static char piece[PIECE];
    struct bench b;
    struct service s;
    struct record r;
    struct http_call_spec spec = {
        .method = STR("POST"), .target = STR("/stream"), .stream = true, .stream_bytes = -1, .due_ns = TIMER_NEVER};
    memset(piece, 'z', sizeof piece);
    bench_init(&b);
    service_init(&s, &b.net, NULL);
    call_start(&b, &r, s.port, &spec);
    for (int i = 0; i < PIECES; i++) {
        r.writable = 0;
        if (!http_call_write(r.call, (struct str){piece, PIECE}))
            net_until(&b.net, writable_again, &r, "the stream drains");
    }
    assert_true(s.body_bytes > 0); /* the answer began before the request ended */
    http_call_end(r.call);
    net_until(&b.net, record_is_done, &r, "the call ends");
    assert_true(r.ok);
    assert_int_equal(buf_len(&r.body), (size_t)PIECE * PIECES);
    assert_int_equal(s.body_bytes, (size_t)PIECE * PIECES);
    assert_int_equal(http_client_stats(b.client).idle, 1);
    record_fini(&r);
    service_fini(&s);
    bench_fini(&b);
}

static void test_a_paused_call_is_not_read(void **state)
{
    struct bench b;
    struct service s;
    struct record r;
    struct http_call_spec spec = plain_get;
    spec.target = STR("/big");
    bench_init(&b);
    service_init(&s, &b.net, NULL);
    call_start(&b, &r, s.port, &spec);
    http_call_pause(r.call);
    while (!s.big_blocked)
        net_turns(&b.net, 1);
    net_turns(&b.net, 50);
    assert_int_equal(r.heads, 0);
    assert_true(s.big_left > 0);
    http_call_resume(r.call);
    net_until(&b.net, record_is_done, &r, "the call ends");
    assert_int_equal(buf_len(&r.body), SERVICE_BIG_BYTES);
    record_fini(&r);
    service_fini(&s);
    bench_fini(&b);
}

static bool is_upgraded(void *arg) { return ((struct record *)arg)->upgraded; }
static bool body_has_pong(void *arg)
{
    struct buf *body = &((struct record *)arg)->body;
    return buf_len(body) >= 4 && memcmp(buf_data(body), "ping", 4) == 0;
}

static void test_upgrade(void **state)
{
    struct bench b;
    struct service s;
    struct record r;
    struct headers h;
    struct err e;
    struct http_call_spec spec = {.method = STR("GET"), .target = STR("/upgrade"), .headers = &h, .upgrade = true, .due_ns = TIMER_NEVER};
    h.n = 0;
    assert_int_equal(headers_add(&h, STR("Upgrade"), STR("echo"), &e), 0);
    bench_init(&b);
    service_init(&s, &b.net, NULL);
    call_start(&b, &r, s.port, &spec);
    net_until(&b.net, is_upgraded, &r, "101");
    assert_int_equal(r.status, 101);
    http_call_write(r.call, STR("ping"));
    net_until(&b.net, body_has_pong, &r, "the echo");
    assert_int_equal(r.done, 0);
    http_call_end(r.call);
    net_until(&b.net, record_is_done, &r, "both ends close");
    assert_true(r.ok);
    record_fini(&r);
    service_fini(&s);
    bench_fini(&b);
}

static void test_head_calls(void **state)
{
    struct bench b;
    struct service s;
    struct http_call_spec spec = plain_get;
    spec.method = STR("HEAD");
    bench_init(&b);
    service_init(&s, &b.net, NULL);
    for (int i = 0; i < 2; i++) {
        struct record r;
        call_run(&b, &r, s.port, &spec);
        assert_true(r.ok);
        assert_int_equal(r.body_bytes, 6);
        assert_int_equal(buf_len(&r.body), 0);
        record_fini(&r);
    }
    assert_int_equal(http_client_stats(b.client).opened, 1);
    service_fini(&s);
    bench_fini(&b);
}

/* ---- what goes wrong ---- */

static void test_nobody_listens(void **state)
{
    struct bench b;
    struct record r;
    struct err e;
    bench_init(&b);
    int fd = http_listen_socket("127.0.0.1", 0, false, &e);
    uint16_t port = http_socket_port(fd);
    close(fd);
    call_run(&b, &r, port, &plain_get);
    assert_int_equal(r.err.code, ERR_UNAVAILABLE);
    assert_non_null(strstr(r.err.msg, "cannot connect to 127.0.0.1:"));
    assert_int_equal(http_client_stats(b.client).connections, 0);
    record_fini(&r);
    bench_fini(&b);
}

static void test_deadlines(void **state)
{
    static const struct {
        const char *name, *answer;
        int heads;
    } cases[] = {
        {"no answer", NULL, 0},
        {"half a head", "HTTP/1.1 200 O", 0},
        {"half a body", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct script_step plan[1][SCRIPT_STEPS_MAX] = {{{"\r\n\r\n", cases[i].answer, THEN_STAY}}};
        struct bench b;
        struct script peer;
        struct record r;
        struct http_call_spec spec = plain_get;
        bench_init(&b);
        script_init(&peer, &b.net, plan, 1);
        spec.due_ns = loop_now(b.net.loop) + 30 * NS_PER_MS;
        call_run(&b, &r, peer.port, &spec);
        CASE_INT(cases[i].name, r.err.code, ERR_DEADLINE_EXCEEDED);
        CASE_INT(cases[i].name, r.heads, cases[i].heads);
        CASE_TRUE(cases[i].name, loop_now(b.net.loop) >= spec.due_ns);
        CASE_INT(cases[i].name, http_client_stats(b.client).connections, 0);
        record_fini(&r);
        script_fini(&peer);
        bench_fini(&b);
    }
}

/* Every connection answers one request; a second one finds it closed before a byte of the answer. */
static void test_stale_connections(void **state)
{
    static const struct {
        const char *name;
        enum script_then then;
        bool replayable, stream, ok;
        uint64_t replayed;
    } cases[] = {
        {"closed: asked again on a new one", THEN_CLOSE, true, false, true, 1},
        {"reset: asked again on a new one", THEN_RESET, true, false, true, 1},
        {"not repeatable: the error is told", THEN_CLOSE, false, false, false, 0},
        {"a streamed body is not repeatable", THEN_CLOSE, true, true, false, 0},
        {"not repeatable but not read either: asked again", THEN_RESET, false, false, true, 1},
        {"nor was the streamed body: asked again", THEN_RESET, false, true, true, 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na";
        const struct script_step plan[2][SCRIPT_STEPS_MAX] = {
            {{"\r\n\r\n", ok, THEN_STAY}, {"\r\n\r\n", NULL, cases[i].then}},
            {{"\r\n\r\n", ok, THEN_STAY}},
        };
        struct bench b;
        struct script peer;
        struct record first, second;
        struct http_call_spec spec = plain_get;
        print_message("  %s\n", cases[i].name);
        bench_init(&b);
        script_init(&peer, &b.net, plan, 2);
        call_run(&b, &first, peer.port, &spec);
        spec.replayable = cases[i].replayable;
        spec.stream = cases[i].stream;
        call_start(&b, &second, peer.port, &spec);
        if (spec.stream)
            http_call_end(second.call);
        net_until(&b.net, record_is_done, &second, "the second call ends");
        CASE_INT(cases[i].name, second.ok, cases[i].ok);
        CASE_INT(cases[i].name, http_client_stats(b.client).replayed, cases[i].replayed);
        CASE_INT(cases[i].name, peer.accepted, cases[i].ok ? 2 : 1);
        if (!second.ok)
            CASE_INT(cases[i].name, second.err.code, ERR_UNAVAILABLE);
        record_fini(&first);
        record_fini(&second);
        script_fini(&peer);
        bench_fini(&b);
    }
}

/* It is repeated once, not for ever; and not at all once a byte of the answer came. */
static void test_replay_is_bounded(void **state)
{
    static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na";
    static const struct script_step never[2][SCRIPT_STEPS_MAX] = {
        {{"\r\n\r\n", ok, THEN_STAY}, {"\r\n\r\n", NULL, THEN_CLOSE}},
        {{"\r\n\r\n", NULL, THEN_CLOSE}},
    };
    static const struct script_step part[2][SCRIPT_STEPS_MAX] = {
        {{"\r\n\r\n", ok, THEN_STAY}, {"\r\n\r\n", "HTTP", THEN_CLOSE}},
        {{"\r\n\r\n", ok, THEN_STAY}},
    };
    for (int i = 0; i < 2; i++) {
        struct bench b;
        struct script peer;
        struct record first, second;
        bench_init(&b);
        script_init(&peer, &b.net, i ? part : never, 2);
        call_run(&b, &first, peer.port, &plain_get);
        call_run(&b, &second, peer.port, &plain_get);
        assert_int_equal(second.err.code, ERR_UNAVAILABLE);
        assert_int_equal(peer.accepted, i ? 1 : 2);
        record_fini(&first);
        record_fini(&second);
        script_fini(&peer);
        bench_fini(&b);
    }
}

/* The peer closed while the connection was idle: it is gone from the pool, nobody notices. */
static void test_idle_close_is_noticed(void **state)
{
    static const struct script_step plan[1][SCRIPT_STEPS_MAX] = {
        {{"\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", THEN_STAY}, {NULL, NULL, THEN_CLOSE}}};
    struct bench b;
    struct script peer;
    struct http_call_spec spec = plain_get;
    spec.replayable = false;
    bench_init(&b);
    script_init(&peer, &b.net, plan, 1);
    for (int i = 0; i < 5; i++) {
        struct record r;
        call_run(&b, &r, peer.port, &spec);
        assert_true(r.ok);
        record_fini(&r);
    }
    assert_int_equal(peer.accepted, 5);
    assert_int_equal(http_client_stats(b.client).replayed, 0);
    script_fini(&peer);
    bench_fini(&b);
}

/* A refusal before the body has ended is delivered, and the connection is not used again. */
static void test_answer_before_the_request_ends(void **state)
{
    static const struct {
        const char *name;
        enum script_then then;
    } cases[] = {{"the peer stays", THEN_STAY}, {"the peer closes", THEN_CLOSE}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct script_step plan[1][SCRIPT_STEPS_MAX] = {
            {{"\r\n\r\n", "HTTP/1.1 413 No\r\nContent-Length: 3\r\n\r\nbig", cases[i].then}}};
        struct bench b;
        struct script peer;
        struct record r;
        struct http_call_spec spec = {
            .method = STR("POST"), .target = STR("/"), .stream = true, .stream_bytes = 1000000, .due_ns = TIMER_NEVER};
        bench_init(&b);
        script_init(&peer, &b.net, plan, 1);
        call_start(&b, &r, peer.port, &spec);
        http_call_write(r.call, STR("some"));
        net_until(&b.net, record_is_done, &r, "the call ends");
        CASE_TRUE(cases[i].name, r.ok);
        CASE_INT(cases[i].name, r.status, 413);
        body_is(cases[i].name, &r, "big");
        net_turns(&b.net, 2);
        CASE_INT(cases[i].name, http_client_stats(b.client).connections, 0);
        record_fini(&r);
        script_fini(&peer);
        bench_fini(&b);
    }
}

static void test_streams_keep_their_word(void **state)
{
    static const struct {
        const char *name, *bytes;
    } cases[] = {{"shorter than announced", "abc"}, {"longer than announced", "abcdefgh"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct bench b;
        struct service s;
        struct record r;
        struct http_call_spec spec = {
            .method = STR("POST"), .target = STR("/echo"), .stream = true, .stream_bytes = 5, .due_ns = TIMER_NEVER};
        bench_init(&b);
        service_init(&s, &b.net, NULL);
        call_start(&b, &r, s.port, &spec);
        http_call_write(r.call, str_of(cases[i].bytes));
        http_call_end(r.call);
        assert_int_equal(r.done, 0);
        net_until(&b.net, record_is_done, &r, "the call ends");
        CASE_INT(cases[i].name, r.err.code, ERR_INTERNAL);
        net_turns(&b.net, 3);
        CASE_INT(cases[i].name, s.ended, 0);
        record_fini(&r);
        service_fini(&s);
        bench_fini(&b);
    }
}

static void test_head_that_never_ends_is_bounded(void **state)
{
    static char line[4096];
    static const struct script_step plan[1][SCRIPT_STEPS_MAX] = {{{"\r\n\r\n", "HTTP/1.1 200 OK\r\n", THEN_STAY}}};
    struct bench b;
    struct script peer;
    struct record r;
    memset(line, 'a', sizeof line);
    memcpy(line, "X: ", 3);
    memcpy(line + sizeof line - 2, "\r\n", 2);
    bench_init(&b);
    script_init(&peer, &b.net, plan, 1);
    call_start(&b, &r, peer.port, &plain_get);
    for (int i = 0; i < 1000 && !r.done; i++) {
        if (peer.accepted && peer.conns[0].step)
            wire_send(&peer.conns[0].wire, (struct str){line, sizeof line});
        net_turns(&b.net, 1);
    }
    assert_int_equal(r.done, 1);
    assert_int_equal(r.err.code, ERR_INTERNAL);
    assert_non_null(strstr(r.err.msg, "too large"));
    record_fini(&r);
    script_fini(&peer);
    bench_fini(&b);
}

static void test_interim_answers_are_bounded(void **state)
{
    static const struct script_step plan[1][SCRIPT_STEPS_MAX] = {{{"\r\n\r\n", "HTTP/1.1 102 Wait\r\n\r\n", THEN_STAY}}};
    struct bench b;
    struct script peer;
    struct record r;
    bench_init(&b);
    script_init(&peer, &b.net, plan, 1);
    call_start(&b, &r, peer.port, &plain_get);
    for (int i = 0; i < 1000 && !r.done; i++) {
        if (peer.accepted && peer.conns[0].step)
            wire_sendz(&peer.conns[0].wire, "HTTP/1.1 102 Wait\r\n\r\n");
        net_turns(&b.net, 1);
    }
    assert_int_equal(r.err.code, ERR_INTERNAL);
    record_fini(&r);
    script_fini(&peer);
    bench_fini(&b);
}

/* The client goes while calls are under way: each hears of it, once. */
static void test_free_tells_all(void **state)
{
    static const struct script_step plan[1][SCRIPT_STEPS_MAX] = {{{NULL, NULL, THEN_STAY}}};
    struct record r[5];
    struct net net;
    struct script peer;
    struct bench b;
    bench_init(&b);
    net = b.net;
    script_init(&peer, &b.net, plan, 1);
    for (size_t i = 0; i < ARRAY_LEN(r); i++) {
        call_start(&b, &r[i], peer.port, &plain_get);
        net_turns(&b.net, (int)i);
    }
    http_client_free(b.client);
    for (size_t i = 0; i < ARRAY_LEN(r); i++) {
        assert_int_equal(r[i].done, 1);
        assert_int_equal(r[i].err.code, ERR_CANCELLED);
        record_fini(&r[i]);
    }
    script_fini(&peer);
    net_fini(&net);
}

/* ---- a call from the end of another ---- */

struct chain {
    struct bench *b;
    uint16_t port;
    int left, ok;
};
static void chain_next(struct chain *c);
static void chain_head(void *arg, const struct http_response *r) {}
static void chain_done(void *arg, const struct err *e)
{
    struct chain *c = arg;
    c->ok += e == NULL;
    if (--c->left)
        chain_next(c);
}
static const struct http_call_ops chain_ops = {.on_head = chain_head, .on_done = chain_done};
static void chain_next(struct chain *c)
{
    struct err e;
    struct http_target t = target_local(c->port);
    assert_non_null(http_call_start(c->b->client, &t, &plain_get, &chain_ops, c, &e));
}
static bool chain_over(void *arg) { return ((struct chain *)arg)->left == 0; }

static void test_a_call_may_start_the_next(void **state)
{
    struct bench b;
    struct service s;
    bench_init(&b);
    service_init(&s, &b.net, NULL);
    struct chain c = {&b, s.port, 50, 0};
    chain_next(&c);
    net_until(&b.net, chain_over, &c, "fifty calls");
    assert_int_equal(c.ok, 50);
    assert_int_equal(http_client_stats(b.client).opened, 1);
    service_fini(&s);
    bench_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_reset_in_the_middle_of_an_answer),
        cmocka_unit_test(test_an_answer_cut_anywhere),
        cmocka_unit_test(test_requests_on_the_wire),
        cmocka_unit_test(test_bad_calls_do_not_start),
        cmocka_unit_test(test_a_connection_is_used_again),
        cmocka_unit_test(test_many_calls_at_once),
        cmocka_unit_test(test_streams_both_ways),
        cmocka_unit_test(test_a_paused_call_is_not_read),
        cmocka_unit_test(test_upgrade),
        cmocka_unit_test(test_head_calls),
        cmocka_unit_test(test_nobody_listens),
        cmocka_unit_test(test_deadlines),
        cmocka_unit_test(test_stale_connections),
        cmocka_unit_test(test_replay_is_bounded),
        cmocka_unit_test(test_idle_close_is_noticed),
        cmocka_unit_test(test_answer_before_the_request_ends),
        cmocka_unit_test(test_streams_keep_their_word),
        cmocka_unit_test(test_head_that_never_ends_is_bounded),
        cmocka_unit_test(test_interim_answers_are_bounded),
        cmocka_unit_test(test_free_tells_all),
        cmocka_unit_test(test_a_call_may_start_the_next),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

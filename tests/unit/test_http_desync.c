/** test_http_desync.c: answers that nobody asked for: whatever a peer sends beside the one answer to a request, and whenever,
 *                      no later call on its connection takes it for its own. */
#include "tests/support/support_http.h"
#include "tests/support/unit.h"

#define OK_FIRST "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst"
#define OK_OWN "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nown"
#define OK_STALE "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstale"

struct bench {
    struct net net;
    struct http_client *client;
    struct script peer;
};

static void bench_init(struct bench *b, const struct script_step (*plan)[SCRIPT_STEPS_MAX], size_t rows)
{
    struct err e;
    net_init(&b->net);
    b->client = http_client_new(b->net.loop, &e);
    assert_non_null(b->client);
    script_init(&b->peer, &b->net, plan, rows);
}
static void bench_fini(struct bench *b)
{
    script_fini(&b->peer);
    http_client_free(b->client);
    net_fini(&b->net);
}

static void call_start(struct bench *b, struct record *r, bool replayable, bool stream)
{
    struct err e = {0};
    struct http_target t = target_local(b->peer.port);
    struct http_call_spec s = {.method = STR("POST"),
                               .target = STR("/"),
                               .body = stream ? STR("") : STR("body"),
                               .stream = stream,
                               .stream_bytes = stream ? 4 : 0,
                               .replayable = replayable,
                               .due_ns = TIMER_NEVER};
    record_init(r);
    r->call = http_call_start(b->client, &t, &s, &record_ops, r, &e);
    if (!r->call)
        fail_msg("the call did not start: %s", e.msg);
    if (stream) {
        http_call_write(r->call, STR("body"));
        http_call_end(r->call);
    }
}

static void got(const char *name, struct record *r, const char *want)
{
    CASE_TRUE(name, r->ok);
    CASE_INT(name, buf_len(&r->body), strlen(want));
    CASE_TRUE(name, str_is(buf_str(&r->body), want));
    record_fini(r);
}

/* The call is given the connection, and before anything of it is sent the loop finds something there. */
static void test_what_came_before_the_request_is_not_its_answer(void **state)
{
    static const struct {
        const char *name, *unasked;
        enum script_then then;
        bool replayable, stream;
    } cases[] = {
        {"a second answer", OK_STALE, THEN_STAY, true, false},
        {"a second answer, and the call may not be repeated", OK_STALE, THEN_STAY, false, false},
        {"a second answer, and the body is streamed", OK_STALE, THEN_STAY, false, true},
        {"half of a second answer", "HTTP/1.1 200 OK\r\nContent-Le", THEN_STAY, true, false},
        {"one byte", "x", THEN_STAY, true, false},
        {"a close", "", THEN_CLOSE, false, false},
        {"a reset", "", THEN_RESET, false, true},
    };
    static const struct script_step plan[2][SCRIPT_STEPS_MAX] = {
        {{"\r\n\r\nbody", OK_FIRST, THEN_STAY}},
        {{"\r\n\r\nbody", OK_OWN, THEN_STAY}},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct bench b;
        struct record first, second;
        bench_init(&b, plan, 2);
        call_start(&b, &first, true, false);
        net_until(&b.net, record_is_done, &first, "the first call ends");
        got(cases[i].name, &first, "first");
        assert_int_equal(http_client_stats(b.client).idle, 1);
        call_start(&b, &second, cases[i].replayable, cases[i].stream);
        struct wire *w = &b.peer.conns[0].wire;
        wire_sendz(w, cases[i].unasked);
        if (cases[i].then == THEN_CLOSE)
            wire_close(w);
        if (cases[i].then == THEN_RESET)
            wire_reset(w);
        net_until(&b.net, record_is_done, &second, "the second call ends");
        got(cases[i].name, &second, "own");
        CASE_INT(cases[i].name, b.peer.accepted, 2);
        bench_fini(&b);
    }
}

/* In one piece with the answer, or while the connection rests: it is closed, and the next call goes to another. */
static void test_what_comes_after_the_answer_is_nobodys(void **state)
{
    static const struct {
        const char *name, *answer, *want, *later;
    } cases[] = {
        {"a second answer at once", OK_FIRST OK_STALE, "first", ""},
        {"a second answer later", OK_FIRST, "first", OK_STALE},
        {"a byte later", OK_FIRST, "first", "x"},
        {"an answer after the last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\n\r\n" OK_STALE, "first",
         ""},
        {"a body with a 204", "HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\nstale", "", ""},
        {"a body with a 304", "HTTP/1.1 304 Same\r\nContent-Length: 5\r\n\r\nstale", "", ""},
        {"an interim answer after the final one", OK_FIRST "HTTP/1.1 100 Continue\r\n\r\n", "first", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct script_step plan[2][SCRIPT_STEPS_MAX] = {
            {{"\r\n\r\nbody", cases[i].answer, THEN_STAY}},
            {{"\r\n\r\nbody", OK_OWN, THEN_STAY}},
        };
        struct bench b;
        struct record first, second;
        bench_init(&b, plan, 2);
        call_start(&b, &first, true, false);
        net_until(&b.net, record_is_done, &first, "the first call ends");
        got(cases[i].name, &first, cases[i].want);
        wire_sendz(&b.peer.conns[0].wire, cases[i].later);
        net_turns(&b.net, 3);
        CASE_INT(cases[i].name, http_client_stats(b.client).connections, 0);
        call_start(&b, &second, true, false);
        net_until(&b.net, record_is_done, &second, "the second call ends");
        got(cases[i].name, &second, "own");
        bench_fini(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_came_before_the_request_is_not_its_answer),
        cmocka_unit_test(test_what_comes_after_the_answer_is_nobodys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

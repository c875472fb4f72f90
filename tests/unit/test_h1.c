/** test_h1.c: framing by itself: heads found wherever they are cut, what they say, bodies in each framing and every cut. The
 *             table of hostile heads is test_http_hostile.c's, where the whole server must refuse them. */
#include "tests/support/unit.h"

#include "core/base/random.h"
#include "core/http/h1.h"

#include <stdio.h>

static void test_head_is_found_at_every_cut(void **state)
{
    static const char text[] = "\r\nGET /x HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\nrest";
    size_t want = sizeof text - 1 - 4;
    for (size_t first = 0; first <= want; first++) {
        struct h1_scan s = {0};
        struct err e;
        size_t n = 99;
        assert_int_equal(h1_head_find(&s, H1_REQUEST, text, first, H1_HEAD_MAX, &n, &e), 0);
        assert_int_equal(n, first == want ? want : 0);
        if (first < want) {
            assert_int_equal(h1_head_find(&s, H1_REQUEST, text, sizeof text - 1, H1_HEAD_MAX, &n, &e), 0);
            assert_int_equal(n, want);
        }
    }
}

static void test_what_requests_say(void **state)
{
    static const struct {
        const char *name, *text;
        enum h1_framing framing;
        int64_t body_bytes;
        bool keep_alive, upgrade, expects;
    } cases[] = {
        {"nothing special", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", H1_NO_BODY, 0, true, false, false},
        {"a length", "POST / HTTP/1.1\r\nCONTENT-LENGTH:12\r\n\r\n", H1_LENGTH, 12, true, false, false},
        {"a length of zero", "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", H1_NO_BODY, 0, true, false, false},
        {"a length with leading zeros", "POST / HTTP/1.1\r\nContent-Length: 0012\r\n\r\n", H1_LENGTH, 12, true, false, false},
        {"the largest length", "POST / HTTP/1.1\r\nContent-Length: 999999999999999999\r\n\r\n", H1_LENGTH, 999999999999999999, true, false,
         false},
        {"chunked", "POST / HTTP/1.1\r\nTransfer-Encoding: CHUNKED\r\n\r\n", H1_CHUNKED, 0, true, false, false},
        {"a GET may have a body", "GET / HTTP/1.1\r\nContent-Length: 3\r\n\r\n", H1_LENGTH, 3, true, false, false},
        {"1.0", "GET / HTTP/1.0\r\n\r\n", H1_NO_BODY, 0, false, false, false},
        {"1.0 that stays", "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", H1_NO_BODY, 0, true, false, false},
        {"1.0 that stays, behind an empty element", "GET / HTTP/1.0\r\nConnection:,keep-alive\r\n\r\n", H1_NO_BODY, 0, true, false, false},
        {"a later 1.x is 1.1", "GET / HTTP/1.9\r\n\r\n", H1_NO_BODY, 0, true, false, false},
        {"close", "GET / HTTP/1.1\r\nConnection: close\r\n\r\n", H1_NO_BODY, 0, false, false, false},
        {"close wins over keep-alive", "GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", H1_NO_BODY, 0, false, false, false},
        {"an upgrade", "GET / HTTP/1.1\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n", H1_NO_BODY, 0, true, true, false},
        {"an upgrade without the connection's word", "GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", H1_NO_BODY, 0, true, false, false},
        {"the connection's word without an upgrade", "GET / HTTP/1.1\r\nConnection: Upgrade\r\n\r\n", H1_NO_BODY, 0, true, false, false},
        {"an upgrade in 1.0", "GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", H1_NO_BODY, 0, false, false, false},
        {"an expectation", "PUT / HTTP/1.1\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n", H1_LENGTH, 1, true, false, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct h1_head h;
        struct headers fields;
        struct err e = {0};
        const char *name = cases[i].name;
        if (h1_request_parse(cases[i].text, strlen(cases[i].text), &h, &fields, &e))
            fail_msg("case \"%s\": %s", name, e.msg);
        CASE_INT(name, h.framing, cases[i].framing);
        CASE_INT(name, h.body_bytes, cases[i].body_bytes);
        CASE_INT(name, h.keep_alive, cases[i].keep_alive);
        CASE_INT(name, h.upgrade, cases[i].upgrade);
        CASE_INT(name, h.expect_continue, cases[i].expects);
    }
}

/* http_parser, the second reader, refuses most of these too, and may be replaced: ours must not lean on it. */
static void test_our_own_reader_refuses_what_has_two_readings(void **state)
{
    static const struct {
        const char *says, *fields;
    } cases[] = {
        {"both Content-Length and Transfer-Encoding are given", "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"},
        {"both Content-Length and Transfer-Encoding are given", "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n"},
        {"Content-Length is given twice", "Content-Length: 3\r\nContent-Length: 3\r\n"},
        {"Content-Length is not a plain decimal number", "Content-Length: 3, 3\r\n"},
        {"Content-Length is not a length", "Content-Length:\r\n"},
        {"Transfer-Encoding is not exactly: chunked", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"},
        {"Transfer-Encoding is not exactly: chunked", "Transfer-Encoding: chunked, identity\r\n"},
        {"a header field is folded over two lines", "X: a\r\n b\r\n"},
        {"a line of the head ends in LF without CR", "X: a\n"},
        {"a header field's name has a space", "Content-Length : 3\r\n"},
        {"a header field has no colon", "nonsense\r\n"},
        {"a header field's value has a control character", "X: a\rb\r\n"},
    };
    for (size_t i = 0; i < 2 * ARRAY_LEN(cases); i++) {
        enum h1_kind kind = i % 2 ? H1_RESPONSE : H1_REQUEST;
        char text[200];
        struct h1_scan s = {0};
        struct h1_head h;
        struct headers fields;
        struct err e = {0};
        size_t head = 0;
        int n = snprintf(text, sizeof text, "%s\r\n%s\r\n", i % 2 ? "HTTP/1.1 200 OK" : "POST / HTTP/1.1", cases[i / 2].fields);
        int refused = h1_head_find(&s, kind, text, (size_t)n, H1_HEAD_MAX, &head, &e);
        if (!refused)
            refused = i % 2 ? h1_response_parse(text, head, &h, &fields, &e) : h1_request_parse(text, head, &h, &fields, &e);
        CASE_INT(cases[i / 2].fields, refused, 400);
        if (!strstr(e.msg, cases[i / 2].says))
            fail_msg("case \"%s\": it says %s", cases[i / 2].fields, e.msg);
    }
}

/* More framing fields than http_parser is shown one by one: it gets the whole head, with the same outcome. */
static void test_many_framing_fields(void **state)
{
    for (int extra = 0; extra < 2 * H1_FRAMING_LINES_MAX; extra++) {
        char text[1024];
        struct h1_head h;
        struct headers fields;
        struct err e;
        int n = snprintf(text, sizeof text, "POST / HTTP/1.1\r\nHost: a\r\n");
        for (int i = 0; i < extra; i++)
            n += snprintf(text + n, sizeof text - (size_t)n, "Connection: x%d\r\nX: y\r\n", i);
        n += snprintf(text + n, sizeof text - (size_t)n, "Connection: close\r\nContent-Length: 7\r\n\r\n");
        assert_int_equal(h1_request_parse(text, (size_t)n, &h, &fields, &e), 0);
        assert_int_equal(h.body_bytes, 7);
        assert_false(h.keep_alive);
    }
}

/* Every method that http_parser knows but CONNECT is passed on. */
static void test_methods(void **state)
{
    static const char *const methods[] = {"GET",   "HEAD",     "POST",   "PUT",      "DELETE", "OPTIONS", "TRACE",
                                          "PATCH", "PROPFIND", "REPORT", "M-SEARCH", "LINK",   "PURGE"};
    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        char text[64];
        struct h1_head h;
        struct headers fields;
        struct err e;
        int n = snprintf(text, sizeof text, "%s /x HTTP/1.1\r\nHost: a\r\n\r\n", methods[i]);
        CASE_INT(methods[i], h1_request_parse(text, (size_t)n, &h, &fields, &e), 0);
        CASE_TRUE(methods[i], str_is(h.method, methods[i]) && str_is(h.target, "/x"));
    }
}

static void test_what_responses_say(void **state)
{
    static const struct {
        const char *text;
        int status;
        enum h1_framing framing;
    } cases[] = {
        {"HTTP/1.1 200 OK\r\n\r\n", 200, H1_UNTIL_CLOSE},
        {"HTTP/1.1 200 \r\n\r\n", 200, H1_UNTIL_CLOSE},
        {"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, H1_LENGTH},
        {"HTTP/1.1 999 Odd \xe4\r\nTransfer-Encoding: chunked\r\n\r\n", 999, H1_CHUNKED},
        {"HTTP/1.1 204 No\r\n\r\n", 204, H1_NO_BODY},
        {"HTTP/1.1 304 Same\r\nContent-Length: 5\r\n\r\n", 304, H1_NO_BODY},
        {"HTTP/1.1 100 Continue\r\n\r\n", 100, H1_NO_BODY},
        {"HTTP/1.1 101 Switch\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", 101, H1_NO_BODY},
        {"HTTP/1.0 200 OK\r\n\r\n", 200, H1_UNTIL_CLOSE},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct h1_head h;
        struct headers fields;
        struct err e = {0};
        if (h1_response_parse(cases[i].text, strlen(cases[i].text), &h, &fields, &e))
            fail_msg("case \"%s\": %s", cases[i].text, e.msg);
        CASE_INT(cases[i].text, h.status, cases[i].status);
        CASE_INT(cases[i].text, h.framing, cases[i].framing);
    }
}

static void test_a_first_line_that_is_none_is_refused_however_it_comes(void **state)
{
    static const char *const cases[] = {"HT\r\n", "HTTP/1\r\n", "HTTP/1.\r\n", "HTTP/1.1 20\r\n", "ICY 200 OK\r\n"};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (size_t piece = 1; piece <= strlen(cases[i]); piece++) {
            size_t n = strlen(cases[i]), head;
            struct h1_scan s = {0};
            int refused = 0;
            for (size_t have = piece; !refused && have < n + piece; have += piece)
                refused = h1_head_find(&s, H1_RESPONSE, cases[i], have < n ? have : n, H1_HEAD_MAX, &head, NULL);
            CASE_INT(cases[i], refused, 400);
        }
}

/* What came out of a body: the content in `mem`, and where in the input the body ended. */
struct taken {
    char *mem;
    size_t n, end;
};

/* Take `text` in pieces of at most `piece` bytes. Returns the refusal. */
static int body_run(enum h1_framing framing, int64_t length, const char *text, size_t n, size_t piece, struct taken *out)
{
    struct h1_body b;
    struct err e;
    size_t at = 0;
    out->n = 0;
    h1_body_init(&b, framing, length);
    while (at < n && !b.done) {
        size_t have = n - at < piece ? n - at : piece, used = 0;
        for (; have && !b.done; have -= used) {
            struct str data;
            int refused = h1_body_next(&b, text + at, have, &used, &data, &e);
            if (refused)
                return refused;
            memcpy(out->mem + out->n, data.p, data.n);
            out->n += data.n;
            at += used;
            assert_true(used > 0);
        }
    }
    out->end = at;
    return b.done ? 0 : -1;
}

static void test_bodies_at_every_piece_size(void **state)
{
    static const struct {
        const char *name;
        enum h1_framing framing;
        int64_t length;
        const char *text, *content;
    } cases[] = {
        /* each is followed by an X, which is not part of it */
        {"a length", H1_LENGTH, 5, "abcdeX", "abcde"},
        {"nothing", H1_NO_BODY, 0, "X", ""},
        {"one chunk", H1_CHUNKED, 0, "5\r\nabcde\r\n0\r\n\r\nX", "abcde"},
        {"chunks of many sizes", H1_CHUNKED, 0, "1\r\na\r\n0000a\r\n0123456789\r\n2;q=\"x y\"\r\nbc\r\n0\r\n\r\nX", "a0123456789bc"},
        {"only the last chunk", H1_CHUNKED, 0, "000\r\n\r\nX", ""},
        {"trailers", H1_CHUNKED, 0, "1\r\na\r\n0\r\nA: b\r\nC:\r\n\r\nX", "a"},
        {"chunks that hold CR LF", H1_CHUNKED, 0, "4\r\n\r\n0\r\r\n0\r\n\r\nX", "\r\n0\r"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        size_t n = strlen(cases[i].text);
        for (size_t piece = 1; piece <= n; piece++) {
            char mem[64];
            struct taken out = {mem, 0, 0};
            CASE_INT(cases[i].name, body_run(cases[i].framing, cases[i].length, cases[i].text, n, piece, &out), 0);
            CASE_INT(cases[i].name, out.end, n - 1);
            CASE_INT(cases[i].name, out.n, strlen(cases[i].content));
            CASE_TRUE(cases[i].name, memcmp(mem, cases[i].content, out.n) == 0);
        }
    }
}

/* Chunks of random sizes, cut at random: what goes in comes out. */
static void test_chunks_round_trip(void **state)
{
    static char content[200000], wire[400000], mem[200000];
    struct taken out = {mem, 0, 0};
    struct rng rng;
    rng_seed(&rng, 7);
    for (int round = 0; round < 50; round++) {
        size_t content_n = 0, wire_n = 0;
        while (content_n < sizeof content - 5000 && !rng_chance(&rng, 0.02)) {
            size_t n = 1 + rng_below(&rng, rng_chance(&rng, 0.5) ? 20 : 4000);
            for (size_t i = 0; i < n; i++)
                content[content_n + i] = (char)rng_u64(&rng);
            wire_n += h1_chunk_head(wire + wire_n, n);
            memcpy(wire + wire_n, content + content_n, n);
            memcpy(wire + wire_n + n, "\r\n", 2);
            wire_n += n + 2;
            content_n += n;
        }
        memcpy(wire + wire_n, "0\r\n\r\n", 5);
        wire_n += 5;
        assert_int_equal(body_run(H1_CHUNKED, 0, wire, wire_n, 1 + rng_below(&rng, 5000), &out), 0);
        assert_int_equal(out.end, wire_n);
        assert_int_equal(out.n, content_n);
        assert_memory_equal(mem, content, content_n);
    }
}

/* Whatever bytes come: a verdict, and never a byte beyond what was given (the sanitizers watch). */
static void test_noise_gets_a_verdict(void **state)
{
    static const char alphabet[] = "GET /HTP1.0:\r\n\r\n\t ;abcf059Content-Length: chunkedTransfer-Encoding\xff";
    struct rng rng;
    rng_seed(&rng, 11);
    for (int round = 0; round < 20000; round++) {
        size_t n = 1 + rng_below(&rng, 120), head = 0;
        char *text = malloc(n);
        assert_non_null(text);
        for (size_t i = 0; i < n; i++)
            text[i] = alphabet[rng_below(&rng, sizeof alphabet)];
        for (int kind = 0; kind < 2; kind++) {
            struct h1_scan s = {0};
            struct h1_head h;
            struct headers fields;
            struct err e;
            int refused = h1_head_find(&s, kind ? H1_RESPONSE : H1_REQUEST, text, n, H1_HEAD_MAX, &head, &e);
            if (!refused && head)
                refused = kind ? h1_response_parse(text, head, &h, &fields, &e) : h1_request_parse(text, head, &h, &fields, &e);
            assert_true(refused == 0 || (refused >= 400 && refused <= 505));
        }
        struct h1_body b;
        h1_body_init(&b, H1_CHUNKED, 0);
        size_t used = 0;
        for (size_t at = 0; at < n && !b.done; at += used) {
            struct str data;
            if (h1_body_next(&b, text + at, n - at, &used, &data, NULL))
                break;
            assert_true(used <= n - at && data.n <= used);
        }
        free(text);
    }
}

static void test_chunk_heads(void **state)
{
    static const struct {
        size_t n;
        const char *line;
    } cases[] = {{0, "0\r\n"}, {1, "1\r\n"}, {15, "f\r\n"}, {16, "10\r\n"}, {65536, "10000\r\n"}, {SIZE_MAX, "ffffffffffffffff\r\n"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char out[H1_CHUNK_HEAD_MAX];
        size_t n = h1_chunk_head(out, cases[i].n);
        CASE_INT(cases[i].line, n, strlen(cases[i].line));
        CASE_TRUE(cases[i].line, memcmp(out, cases[i].line, n) == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_head_is_found_at_every_cut),
        cmocka_unit_test(test_what_requests_say),
        cmocka_unit_test(test_our_own_reader_refuses_what_has_two_readings),
        cmocka_unit_test(test_many_framing_fields),
        cmocka_unit_test(test_methods),
        cmocka_unit_test(test_what_responses_say),
        cmocka_unit_test(test_a_first_line_that_is_none_is_refused_however_it_comes),
        cmocka_unit_test(test_bodies_at_every_piece_size),
        cmocka_unit_test(test_chunks_round_trip),
        cmocka_unit_test(test_noise_gets_a_verdict),
        cmocka_unit_test(test_chunk_heads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

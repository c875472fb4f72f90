/** test_torture_http.c: the HTTP server and client, talking to each other in one loop, while memory, descriptors and the network fail.
 *  Each request ends exactly once, with its whole answer or an error that says something; no exchange stays open; and the same
 *  client and server then do the same without a fault. */
#include "tests/support/support_fault.h"
#include "tests/support/support_http.h"
#include "tests/support/unit.h"

#include <stdio.h>

#define BODY_BYTES (200 * 1024)
#define PART_BYTES (64 * 1024)
#define PARTS 3
#define DUE_NS (2 * NS_PER_S) /* a lost connection is seen at once; this is for what nobody can tell */

struct bench {
    struct net net;
    struct http_server *server;
    struct http_client *client;
    uint16_t port;
    size_t accepted, closed, got_bytes;
};
struct ask {
    const char *name, *method, *target;
    size_t body_bytes, answer_bytes;
};
static const struct ask asks[] = {
    {"a page", "GET", "/page", 0, 5},
    {"a body", "POST", "/take", BODY_BYTES, 5},
    {"a stream", "GET", "/stream", 0, (size_t)PARTS *PART_BYTES},
};
static char body[BODY_BYTES];

/* ---- the server ---- */

static void on_body(struct http_exchange *x, void *arg, struct str bytes) { ((struct bench *)arg)->got_bytes += bytes.n; }

static void on_end(struct http_exchange *x, void *arg)
{
    struct bench *b = arg;
    if (str_is(http_exchange_request(x)->path, "/take"))
        http_reply(x, b->got_bytes == BODY_BYTES ? 200 : 400, "text/plain", STR("taken"));
}

static void on_close(struct http_exchange *x, void *arg, bool complete) { ((struct bench *)arg)->closed++; }

static const struct http_exchange_ops exchange_ops = {.on_body = on_body, .on_end = on_end, .on_close = on_close};

static void on_request(void *arg, struct http_exchange *x, const struct http_request *r)
{
    struct bench *b = arg;
    struct err e;
    if (str_is(r->path, "/page")) {
        http_reply(x, 200, "text/plain", STR("hello"));
        return;
    }
    b->accepted++;
    b->got_bytes = 0;
    http_accept(x, &exchange_ops, b);
    if (!str_is(r->path, "/stream"))
        return;
    if (http_respond(x, 200, NULL, -1, &e)) {
        http_abort(x);
        return;
    }
    for (int i = 0; i < PARTS; i++)
        http_write(x, (struct str){body, PART_BYTES});
    http_finish(x);
}

/* ---- a call ---- */

struct result {
    int heads, done, status;
    size_t bytes;
    bool ok;
    struct err err;
};

static void on_call_head(void *arg, const struct http_response *r)
{
    struct result *x = arg;
    x->heads++;
    x->status = r->status;
}
static void on_call_body(void *arg, struct str bytes) { ((struct result *)arg)->bytes += bytes.n; }

static void on_call_done(void *arg, const struct err *e)
{
    struct result *x = arg;
    x->done++;
    x->ok = !e;
    if (e)
        x->err = *e;
}
static const struct http_call_ops call_ops = {on_call_head, on_call_body, NULL, on_call_done};

static bool is_done(void *arg) { return ((struct result *)arg)->done > 0; }

static struct result call(struct bench *b, const struct ask *a)
{
    struct result x = {0};
    struct http_target t = target_local(b->port);
    struct http_call_spec s = {
        .method = str_of(a->method),
        .target = str_of(a->target),
        .body = {body, a->body_bytes},
        .due_ns = clock_mono_ns(clock_real()) + DUE_NS,
    };
    if (http_call_start(b->client, &t, &s, &call_ops, &x, &x.err)) {
        net_until(&b->net, is_done, &x, a->name);
        assert_int_equal(x.done, 1);
    }
    return x;
}

/* ---- runs ---- */

static void check(const struct ask *a, enum fault what, size_t nth, const struct result *x, bool failed)
{
    bool whole = x->ok && x->status == 200 && x->bytes == a->answer_bytes;
    bool refused = x->ok && x->status >= 400 && x->status < 600;
    bool broke = !x->ok && x->err.code != ERR_OK && *x->err.msg;
    if (!whole && !(failed && (refused || broke)))
        fail_msg("%s, %s %zu: %s: %s, status %d, %zu bytes", a->name, fault_name(what), nth, x->ok ? "OK" : err_name(x->err.code),
                 x->err.msg, x->status, x->bytes);
}

static bool exchanges_closed(void *arg) { return ((struct bench *)arg)->closed == ((struct bench *)arg)->accepted; }

static bool run(const struct torture *t, enum fault what, size_t nth, size_t times)
{
    struct bench b = {0};
    struct err e = {0};
    net_init(&b.net);
    b.server = http_server_new(b.net.loop, NULL, on_request, &b, &e);
    b.client = http_client_new(b.net.loop, &e);
    assert_true(b.server && b.client);
    int fd = http_listen_socket("127.0.0.1", 0, false, &e);
    assert_true(fd >= 0);
    b.port = http_socket_port(fd);
    assert_int_equal(http_server_listen(b.server, fd, &e), 0);
    const struct ask *warm = t->arg;
    if (warm) { /* over connections that are there already */
        struct result x = call(&b, warm);
        check(warm, what, 0, &x, false);
    }
    struct result x[ARRAY_LEN(asks)];
    fault_arm(what, nth, times);
    for (size_t i = 0; i < ARRAY_LEN(asks); i++)
        x[i] = call(&b, &asks[i]);
    bool failed = fault_disarm();
    for (size_t i = 0; i < ARRAY_LEN(asks); i++)
        check(&asks[i], what, nth, &x[i], failed);
    net_until(&b.net, exchanges_closed, &b, "every exchange is closed");
    for (size_t i = 0; i < ARRAY_LEN(asks); i++) {
        x[i] = call(&b, &asks[i]);
        check(&asks[i], what, nth, &x[i], false);
    }
    http_client_free(b.client);
    net_turns(&b.net, 2);
    http_server_free(b.server);
    net_fini(&b.net);
    return failed;
}

static void torture_both(enum fault what, size_t times)
{
    const struct torture fresh = {.name = "fresh connections", .run = run, .every = true},
                         warm = {.name = "kept connections", .run = run, .arg = &asks[0], .every = true};
    assert_true(torture(&fresh, what, times) > 0);
    torture(&warm, what, times); /* may need nothing of it: neither memory nor descriptors */
}

static void without_memory(void **state) { torture_both(FAULT_ALLOC, FAULT_ONCE); }
static void without_descriptors(void **state) { torture_both(FAULT_DESCRIPTOR, FAULT_ONCE); }
static void when_sending_fails(void **state) { torture_both(FAULT_SEND, FAULT_ONCE); }
static void when_little_fits(void **state) { torture_both(FAULT_SEND_FULL, 3); }
static void when_receiving_fails(void **state) { torture_both(FAULT_RECV, FAULT_ONCE); }

int main(void)
{
    memset(body, 'b', sizeof body);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_memory),   cmocka_unit_test(without_descriptors),  cmocka_unit_test(when_sending_fails),
        cmocka_unit_test(when_little_fits), cmocka_unit_test(when_receiving_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

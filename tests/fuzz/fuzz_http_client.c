/* fuzz_http_client.c: what an instance or a push endpoint answers to the HTTP client, byte by byte or whole. A call's outcome is a
 * function of the bytes alone, on_done comes exactly once, and the next call gets its own answer: nothing that was left over of the
 * one before.
 * Input: a byte that says what is asked, then what the peer sends before it ends. */
#include "core/http/client.h"
#include "core/http/server.h"
#include "tests/fuzz/net.h"

#define ANSWER_MAX (1u << 20)
#define TURNS_MAX 400

struct outcome {
    int heads, done, status;
    bool ok, upgraded;
    int64_t body_bytes;
    enum err_code code;
    struct buf body;
    uint32_t fields;
};

static struct fuzz_net net;
static struct http_client *client;
static int listener = -1;
static uint16_t port;

static void on_head(void *arg, const struct http_response *r)
{
    struct outcome *o = arg;
    FUZZ_CHECK(r->status >= 100 && r->status <= 999, "status %d", r->status);
    o->heads++;
    o->status = r->status;
    o->upgraded = r->upgraded;
    o->body_bytes = r->body_bytes;
    o->fields = r->headers.n;
}
static void on_body(void *arg, struct str bytes)
{
    struct outcome *o = arg;
    FUZZ_CHECK(o->heads == 1 && !o->done, "a body before its head or after the end");
    FUZZ_MUST(buf_add(&o->body, bytes.p, bytes.n) == 0);
}
static void on_done(void *arg, const struct err *e)
{
    struct outcome *o = arg;
    o->done++;
    o->ok = !e;
    o->code = e ? e->code : ERR_OK;
}
static const struct http_call_ops ops = {.on_head = on_head, .on_body = on_body, .on_done = on_done};

static void setup(void)
{
    if (client)
        return;
    fuzz_net_init(&net);
    client = http_client_new(net.loop, NULL);
    listener = http_listen_socket("127.0.0.1", 0, false, NULL);
    FUZZ_MUST(client && listener >= 0);
    port = http_socket_port(listener);
}

static int accept_one(void)
{
    for (int i = 0; i < TURNS_MAX; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            return fd;
        fuzz_net_run(&net, 1);
    }
    return -1;
}

static struct http_call *call(struct outcome *o, const struct http_call_spec *spec, uint64_t generation)
{
    const struct http_target target = {.local = true, .port = port, .generation = generation};
    *o = (struct outcome){0};
    buf_init(&o->body, ANSWER_MAX);
    return http_call_start(client, &target, spec, &ops, o, NULL);
}

/* Let the peer see the request whole before it answers. */
static void read_request(int fd)
{
    struct buf request;
    buf_init(&request, ANSWER_MAX);
    for (int i = 0; i < 3; i++) {
        fuzz_net_run(&net, 1);
        fuzz_net_read(fd, &request);
    }
    buf_fini(&request);
}

static void answer(int fd, struct str in, struct fuzz_dice *dice, size_t piece_max)
{
    for (size_t at = 0; at < in.n;) {
        size_t n = 1 + fuzz_roll(dice, piece_max);
        n = n < in.n - at ? n : in.n - at;
        fuzz_net_send(fd, (struct str){in.p + at, n});
        at += n;
        if (at < in.n)
            fuzz_net_run(&net, (int)fuzz_roll(dice, 3));
    }
    shutdown(fd, SHUT_WR);
}

static void peer_close(int fd)
{
    struct linger hard = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(fd);
}

static void until_done(const struct outcome *o)
{
    for (int i = 0; i < TURNS_MAX && !o->done; i++)
        fuzz_net_run(&net, 1);
    FUZZ_CHECK(o->done == 1, "the peer has ended, and on_done came %d times", o->done);
}

/* The same client, on a fresh connection or the old one if that was whole: a peer that answers as it should. */
static void check_next(uint64_t generation)
{
    static const struct http_call_spec get = {.method = {"GET", 3}, .target = {"/", 1}, .host = {"a", 1}, .due_ns = INT64_MAX};
    struct outcome o;
    fuzz_net_run(&net, 3); /* the end of the old connection is seen */
    FUZZ_MUST(call(&o, &get, generation));
    int fd = accept_one();
    FUZZ_CHECK(fd >= 0 && !o.done, "it went over a connection that had ended");
    read_request(fd);
    fuzz_net_send(fd, STR("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext"));
    until_done(&o);
    FUZZ_CHECK(o.ok && o.status == 200 && str_is(buf_str(&o.body), "next"), "the next call got something else: %d \"%.*s\"", o.status,
               (int)buf_len(&o.body), buf_data(&o.body));
    buf_fini(&o.body);
    peer_close(fd);
    fuzz_net_run(&net, 2);
}

static void run(struct outcome *o, uint8_t flags, struct str in, struct fuzz_dice *dice, size_t piece_max)
{
    static uint64_t generation;
    const struct http_call_spec spec = {
        .method = flags & 1 ? STR("HEAD") : STR("POST"),
        .target = {"/x", 2},
        .host = {"a", 1},
        .body = flags & 1 ? (struct str){0} : STR("body"),
        .upgrade = (flags & 6) == 2,
        .replayable = flags & 8,
        .processing_ends = flags & 16,
        .due_ns = INT64_MAX,
    };
    FUZZ_MUST(call(o, &spec, ++generation));
    int fd = accept_one();
    FUZZ_MUST(fd >= 0);
    read_request(fd);
    answer(fd, in, dice, piece_max);
    until_done(o);
    FUZZ_CHECK(o->heads <= 1 && (!o->ok || o->heads == 1), "%d heads", o->heads);
    FUZZ_CHECK(!o->ok || o->body_bytes < 0 || o->upgraded || (flags & 1) || (uint64_t)o->body_bytes == buf_len(&o->body) ||
                   o->status == 304,
               "%zu of %lld bytes", buf_len(&o->body), (long long)o->body_bytes);
    if (flags & 32)
        check_next(generation);
    peer_close(fd);
    fuzz_net_run(&net, 2);
    FUZZ_CHECK(o->done == 1, "on_done came again");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str in = fuzz_str(data, size);
    struct fuzz_dice dice = fuzz_dice_of(in);
    uint8_t flags = fuzz_byte(&in);
    struct outcome whole, cut;
    setup();
    run(&whole, flags, in, &dice, in.n + 1);
    run(&cut, flags, in, &dice, in.n < 64 ? 4 : in.n / 8);
    FUZZ_CHECK(whole.ok == cut.ok && whole.code == cut.code, "whole: %s, cut: %s", err_name(whole.code), err_name(cut.code));
    FUZZ_CHECK(whole.heads == cut.heads && whole.status == cut.status && whole.fields == cut.fields && whole.body_bytes == cut.body_bytes,
               "another head: %d and %d", whole.status, cut.status);
    FUZZ_CHECK(!whole.ok || str_eq(buf_str(&whole.body), buf_str(&cut.body)), "another body: %zu and %zu bytes", buf_len(&whole.body),
               buf_len(&cut.body));
    buf_fini(&whole.body);
    buf_fini(&cut.body);
    return 0;
}

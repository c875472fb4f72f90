/* fuzz_http_server.c: a connection of the HTTP server from its first byte to its last. How the bytes were cut must not matter: the
 * handlers see the same requests and bodies, and the client gets the same answers, from one segment as from many. And every connection
 * ends once the client has sent all it has.
 * Input: what the client sends. The first letter of a path chooses what its handler does;
 * what depends on time by its nature (an answer before the end of the request, a break) is only looked at for harm. */
#include "core/http/server_int.h"
#include "tests/fuzz/net.h"

#define LOG_MAX (1u << 20)
#define TURNS_MAX 400
#define LATER_NS 0
#define REQUESTS_MAX 512 /* more than fit into an input */

enum behaviour { ANSWER_AT_END, STREAM, ANSWER_EARLY, PAUSE, ABORT, LIE, RAW, BEHAVIOURS };

struct run {
    struct buf seen;   /* what the handlers saw */
    struct buf answer; /* what the client got */
    bool timely;       /* something happened that depends on when bytes come */
    size_t requests;
    bool head_only[REQUESTS_MAX]; /* by request: its answer has no body */
};
struct exchange { /* of a handler */
    struct timer later;
    struct http_exchange *x;
    enum behaviour does;
    struct node link;
};

static struct fuzz_net net;
static struct http_server *server;
static struct run *now; /* the run under way */
static struct list open_exchanges;

static void note(const char *what, struct str s)
{
    FUZZ_MUST(buf_addf(&now->seen, "%s ", what) == 0 && buf_add(&now->seen, s.p, s.n) == 0 && buf_add(&now->seen, "\n", 1) == 0);
}

static void on_later(struct timer *t, int64_t now_ns)
{
    struct exchange *e = CONTAINER_OF(t, struct exchange, later);
    http_resume(e->x);
}

static void on_body(struct http_exchange *x, void *arg, struct str bytes)
{
    struct exchange *e = arg;
    FUZZ_MUST(buf_add(&now->seen, bytes.p, bytes.n) == 0);
    if (e->does == STREAM || e->does == RAW)
        http_write(x, bytes);
    if (e->does == PAUSE) {
        http_pause(x);
        FUZZ_MUST(timer_set(loop_timers(net.loop), &e->later, loop_now(net.loop) + LATER_NS, NULL) == 0);
    }
    if (e->does == ABORT)
        http_abort(x);
}

static void on_end(struct http_exchange *x, void *arg)
{
    struct exchange *e = arg;
    note("\nend", (struct str){"", 0});
    if (e->does == STREAM || e->does == RAW)
        http_finish(x);
    else if (e->does == ABORT)
        http_abort(x);
    else if (e->does != ANSWER_EARLY)
        http_reply(x, 200, "text/plain", STR("fine\n"));
}

static void on_close(struct http_exchange *x, void *arg, bool complete)
{
    struct exchange *e = arg;
    note(complete ? "complete" : "broken", (struct str){"", 0});
    now->timely |= !complete && (e->does == STREAM || e->does == RAW); /* how much of the answer had gone by then */
    timer_cancel(loop_timers(net.loop), &e->later);
    list_remove(&open_exchanges, &e->link);
    free(e);
}

static void on_nothing(struct http_exchange *x, void *arg) {}

static const struct http_exchange_ops ops = {
    .on_body = on_body, .on_end = on_end, .on_writable = on_nothing, .on_close = on_close, .on_half_close = on_nothing};

static void check_request(const struct http_request *r)
{
    FUZZ_CHECK(r->method.n && r->target.n && r->path.n, "a part is missing");
    FUZZ_CHECK(r->path.p[0] == '/' || str_is(r->path, "*"), "a path that is none");
    for (size_t i = 0; i < r->host.n; i++)
        FUZZ_CHECK(!(r->host.p[i] >= 'A' && r->host.p[i] <= 'Z') && !strchr("/@?# ", r->host.p[i]), "the host is not normal");
}

static enum behaviour behaviour_of(const struct http_request *r)
{
    static const char letters[BEHAVIOURS] = {'n', 's', 'e', 'p', 'a', 'l', 'u'};
    const char *at = r->path.n > 1 ? memchr(letters, r->path.p[1], sizeof letters) : NULL;
    enum behaviour does = at ? (enum behaviour)(at - letters) : ANSWER_AT_END;
    return does == RAW && !r->upgrade ? ANSWER_AT_END : does;
}

static void respond(struct http_exchange *x, struct exchange *e)
{
    struct err err;
    struct headers h = {.n = 0};
    if (e->does == STREAM)
        FUZZ_CHECK(http_respond(x, 200, NULL, -1, &err) == 0, "%s", err.msg);
    if (e->does == LIE) {
        FUZZ_CHECK(http_respond(x, 200, NULL, 10, &err) == 0, "%s", err.msg);
        http_write(x, STR("short"));
        http_finish(x);
    }
    if (e->does == ANSWER_EARLY)
        http_reply(x, 403, NULL, STR(""));
    if (e->does != RAW)
        return;
    FUZZ_MUST(headers_add(&h, STR("Upgrade"), STR("raw"), &err) == 0);
    if (http_respond(x, 101, &h, 0, &err) == 0) {
        http_upgraded(x);
    } else { /* to a body, or to HTTP/1.0 */
        e->does = ANSWER_AT_END;
    }
}

static void on_request(void *arg, struct http_exchange *x, const struct http_request *r)
{
    check_request(r);
    now->head_only[now->requests++ % REQUESTS_MAX] = str_is(r->method, "HEAD");
    note("request", r->method);
    note("target", r->target);
    note("host", r->host);
    FUZZ_MUST(buf_addf(&now->seen, "port %u, body %lld, upgrade %d, minor %d\n", r->host_port, (long long)r->body_bytes, r->upgrade,
                       r->minor) == 0);
    for (uint32_t i = 0; i < r->headers.n; i++) {
        note("name", r->headers.v[i].name);
        note("value", r->headers.v[i].value);
    }
    struct exchange *e = calloc(1, sizeof *e);
    FUZZ_MUST(e);
    e->x = x;
    e->does = behaviour_of(r);
    now->timely |= e->does == ANSWER_EARLY || e->does == ABORT || e->does == LIE || (e->does == STREAM && r->minor == 0);
    timer_init(&e->later, on_later);
    node_init(&e->link);
    list_append(&open_exchanges, &e->link);
    http_accept(x, &ops, e);
    respond(x, e);
}

static void setup(void)
{
    static const struct http_server_config config = {.head_max_bytes = 2048};
    if (server)
        return;
    fuzz_net_init(&net);
    list_init(&open_exchanges);
    server = http_server_new(net.loop, &config, on_request, NULL, NULL);
    FUZZ_MUST(server);
}

/* ---- what the client got, without what may differ: the date, the cuts of chunks, and a 100 Continue for a body that was late */

static void tell(struct buf *out, struct str s) { FUZZ_MUST(buf_add(out, s.p, s.n) == 0 && buf_add(out, "\n", 1) == 0); }

/* One answer off the front of `rest`, to a request that no handler saw when `unknown`; false: what follows is no answer. */
static bool answer_take(struct str *rest, bool head_only, bool unknown, struct buf *out, bool *final)
{
    struct h1_scan scan = {0};
    struct h1_head h;
    struct headers fields;
    struct err e = {0};
    size_t head_bytes = 0;
    int refused = h1_head_find(&scan, H1_RESPONSE, rest->p, rest->n, H1_HEAD_MAX, &head_bytes, &e);
    FUZZ_CHECK(!refused && head_bytes, "no answer: %s\n%.*s", e.msg, (int)rest->n, rest->p);
    FUZZ_CHECK(h1_response_parse(rest->p, head_bytes, &h, &fields, &e) == 0, "a malformed answer: %s\n%.*s", e.msg, (int)rest->n, rest->p);
    *rest = (struct str){rest->p + head_bytes, rest->n - head_bytes};
    *final = h.status != 100;
    if (!*final)
        return true;
    bool refusal = h.status >= 400; /* of several faults, which one is told depends on what was seen first */
    FUZZ_MUST(refusal ? buf_addz(out, "refused\n") == 0 : buf_addf(out, "status %d\n", h.status) == 0);
    for (uint32_t i = 0; i < fields.n && !refusal; i++)
        if (!str_ieq(fields.v[i].name, STR("date"))) {
            tell(out, fields.v[i].name);
            tell(out, fields.v[i].value);
        }
    if (refusal && unknown)
        return false; /* nothing follows but its body, if the method has one */
    struct h1_body body;
    h1_body_init(&body, head_only ? H1_NO_BODY : h.framing, h.body_bytes * !head_only);
    while (rest->n && !body.done) {
        size_t used;
        struct str data;
        FUZZ_CHECK(h1_body_next(&body, rest->p, rest->n, &used, &data, &e) == 0, "a malformed answer: %s", e.msg);
        FUZZ_MUST(refusal || buf_add(out, data.p, data.n) == 0);
        *rest = (struct str){rest->p + used, rest->n - used};
    }
    FUZZ_CHECK(body.done || h.framing == H1_UNTIL_CLOSE, "an answer ends in its middle");
    return h.status != 101;
}

static void transcribe(const struct run *r, struct buf *out)
{
    struct str rest = buf_str(&r->answer);
    size_t answers = 0;
    buf_init(out, LOG_MAX);
    for (bool more = true, final; more && rest.n; answers += final)
        more = answer_take(&rest, r->head_only[answers % REQUESTS_MAX], answers >= r->requests, out, &final);
    if (answers <= r->requests)
        tell(out, rest);
}

static void compare(const struct run *whole, const struct run *cut)
{
    struct buf w, c;
    FUZZ_CHECK(str_eq(buf_str(&whole->seen), buf_str(&cut->seen)), "handlers saw in one piece\n%.*s\nin many\n%.*s",
               (int)buf_len(&whole->seen), buf_data(&whole->seen), (int)buf_len(&cut->seen), buf_data(&cut->seen));
    transcribe(whole, &w);
    transcribe(cut, &c);
    FUZZ_CHECK(str_eq(buf_str(&w), buf_str(&c)), "the client got for one piece\n%.*s\nfor many\n%.*s", (int)buf_len(&w), buf_data(&w),
               (int)buf_len(&c), buf_data(&c));
    buf_fini(&w);
    buf_fini(&c);
}

static void run(struct run *r, struct str in, struct fuzz_dice *dice, size_t piece_max)
{
    static const char peer[48] = "192.0.2.1";
    int fds[2];
    bool open = true;
    now = r;
    buf_init(&r->seen, LOG_MAX);
    buf_init(&r->answer, LOG_MAX);
    FUZZ_MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
    http_conn_new(server, fds[0], peer, false);
    for (size_t at = 0; at < in.n && open;) {
        size_t n = 1 + fuzz_roll(dice, piece_max);
        n = n < in.n - at ? n : in.n - at;
        fuzz_net_send(fds[1], (struct str){in.p + at, n});
        at += n;
        if (at < in.n)
            fuzz_net_run(&net, (int)fuzz_roll(dice, 4));
        open = fuzz_net_read(fds[1], &r->answer);
    }
    shutdown(fds[1], SHUT_WR);
    for (int i = 0; i < TURNS_MAX && http_server_connections(server); i++) {
        fuzz_net_run(&net, 1);
        fuzz_net_read(fds[1], &r->answer);
    }
    FUZZ_CHECK(http_server_connections(server) == 0, "the client has sent all and its connection stays");
    fuzz_net_read(fds[1], &r->answer);
    close(fds[1]);
    FUZZ_CHECK(list_empty(&open_exchanges), "an exchange was never closed");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str in = fuzz_str(data, size);
    struct fuzz_dice dice = fuzz_dice_of(in);
    struct run whole = {0}, cut = {0};
    setup();
    run(&whole, in, &dice, in.n + 1);
    run(&cut, in, &dice, in.n < 64 ? 4 : in.n / 8);
    if (!whole.timely && !cut.timely)
        compare(&whole, &cut);
    buf_fini(&whole.seen);
    buf_fini(&whole.answer);
    buf_fini(&cut.seen);
    buf_fini(&cut.answer);
    return 0;
}

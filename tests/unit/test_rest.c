/* test_rest.c: the REST server over real loopback sockets. An io thread serves; the test's own thread is the client and the
 * engine in one, so that it decides when the engine looks at its mailbox, and every order of answer and cancel can be made. */
#include "tests/support/unit.h"

#include "core/loop/thread.h"
#include "core/rpc/pb.h"
#include "core/rpc/rest.h"

#include "tests/support/test_rpc.pb-c.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define ENGINE_MAIL_MAX 4
#define BODIES_MAX (16u * 1024 * 1024)
#define PATIENCE_MS 20000 /* only reached when something is broken */
#define ANSWER_MAX (1 << 20)

typedef Runnel__Test__Everything everything;

static struct {
    struct loop *loop;
    struct http_server *server;
    struct rest *rest;
    struct rest_shared shared;
    struct thread *io;
    int mail_fd; /* readable: the engine has mail */
    uint16_t port;
    struct call *held; /* of on_hold */
    int cancels;
    char answer[ANSWER_MAX];
} fx;

/* --- the methods and pages under test --------------------------------------------------------------------------- */

static void on_echo(void *service, struct call *c, const ProtobufCMessage *request) { call_reply(c, request); }

static void on_fail(void *service, struct call *c, const ProtobufCMessage *request)
{
    call_failf(c, (enum err_code)((const everything *)request)->an_int32, "failed as \"asked\"");
}

static void on_who(void *service, struct call *c, const ProtobufCMessage *request)
{
    everything *m = pb_new(c->arena, &runnel__test__everything__descriptor);
    m->name = arena_printf(c->arena, "%s at %s from %s%s", c->caller.bearer ? c->caller.bearer : "nobody", c->caller.host, c->caller.peer,
                           c->caller.local ? ", local" : "");
    call_reply(c, &m->base);
}

static void cancel_held(struct call *c)
{
    fx.cancels++;
    fx.held = NULL;
    call_failf(c, ERR_CANCELLED, "gone");
}

static void on_hold(void *service, struct call *c, const ProtobufCMessage *request)
{
    fx.held = c;
    if (!c->cancelled)
        c->on_cancel = cancel_held;
}

static void on_bad_reply(void *service, struct call *c, const ProtobufCMessage *request)
{
    everything *m = pb_new(c->arena, &runnel__test__everything__descriptor);
    static Runnel__Test__Item unregistered = RUNNEL__TEST__ITEM__INIT;
    m->whatever = (Google__Protobuf__Any *)pb_any(c->arena, &unregistered.base);
    call_reply(c, &m->base);
}

#define ROW(v, p, b, h)                                                                                                 \
    {                                                                                                                   \
        "test/" p, v, p, b, "test.use", &runnel__test__everything__descriptor, &runnel__test__everything__descriptor, h \
    }
static const struct method table[] = {
    ROW(VERB_GET, "/v1/{name=projects/*/things/*}", NULL, on_echo),
    ROW(VERB_GET, "/v1/{name=projects/*}/things", NULL, on_echo),
    ROW(VERB_PUT, "/v1/{name=projects/*/things/*}", "*", on_echo),
    ROW(VERB_PATCH, "/v1/{item.name=projects/*/things/*}", "item", on_echo),
    ROW(VERB_POST, "/v1/{name=projects/*/things/*}:start", NULL, on_echo),
    ROW(VERB_POST, "/v1/{name=projects/*/things/*}:fail", "*", on_fail),
    ROW(VERB_POST, "/v1/{name=projects/*/things/*}:hold", "*", on_hold),
    ROW(VERB_GET, "/v1/who", NULL, on_who),
    ROW(VERB_GET, "/v1/broken", NULL, on_bad_reply),
};

static void on_page(void *arg, struct web_call *w)
{
    int rc = buf_addf(&w->answer, "%s path=%s query=%s body=%.*s flavor=%.*s", (const char *)arg, w->path, w->query, (int)w->body.n,
                      w->body.n ? w->body.p : "", (int)w->metadata_flavor.n, w->metadata_flavor.n ? w->metadata_flavor.p : "");
    assert_int_equal(rc, 0);
    w->extra_name = "metadata-flavor";
    w->extra_value = "Google";
    web_reply(w, 200, "text/plain");
}
static void on_hold_page(void *arg, struct web_call *w) { web_reply(w, 204, NULL); }

static const struct web_route pages[] = {
    {VERB_GET, "/healthz", on_page, (void *)"health"},
    {VERB_GET, "/console/*", on_page, (void *)"console"},
    {VERB_GET, "/console/deep/*", on_page, (void *)"deep"},
    {VERB_POST, "/hook", on_page, (void *)"hook"},
    {VERB_GET, "/empty", on_hold_page, NULL},
};

/* --- the server -------------------------------------------------------------------------------------------------- */

static void wake_engine(void *arg)
{
    uint64_t one = 1;
    ssize_t n = write(fx.mail_fd, &one, sizeof one);
    (void)n; /* the counter cannot be full */
}

static void serve(void *arg, struct http_exchange *x, const struct http_request *r) { rest_serve(fx.rest, x, r); }
static void run_loop(void *arg) { loop_run(fx.loop); }

static int set_up_with(int64_t body_ns)
{
    struct err e = {0};
    fx.held = NULL;
    fx.cancels = 0;
    fx.mail_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    fx.shared = (struct rest_shared){registry_new(), web_new(), mailbox_new(ENGINE_MAIL_MAX, wake_engine, NULL), BODIES_MAX, body_ns};
    for (size_t i = 0; i < ARRAY_LEN(pages); i++)
        assert_int_equal(web_add(fx.shared.web, &pages[i], &e), 0);
    assert_int_equal(registry_add(fx.shared.registry, table, ARRAY_LEN(table), NULL, &e), 0);
    fx.loop = loop_new(&e);
    fx.rest = rest_new(fx.loop, &fx.shared, &e);
    fx.server = http_server_new(fx.loop, NULL, serve, NULL, &e);
    int fd = http_listen_socket("127.0.0.1", 0, false, &e);
    assert_true(fd >= 0);
    fx.port = http_socket_port(fd);
    assert_int_equal(http_server_listen(fx.server, fd, &e), 0);
    fx.io = thread_start("io", run_loop, NULL, &e);
    assert_non_null(fx.io);
    return 0;
}

static int set_up(void **state) { return set_up_with(0); }
static int set_up_hasty(void **state) { return set_up_with(50 * NS_PER_MS); }

static int stop_with(size_t calls_left)
{
    loop_stop(fx.loop);
    thread_join(fx.io);
    http_server_free(fx.server);
    mailbox_deliver(loop_mailbox(fx.loop)); /* what the engine posted last */
    mailbox_deliver(fx.shared.engine);
    mailbox_deliver(loop_mailbox(fx.loop));
    assert_int_equal(rest_calls(fx.rest), calls_left);
    rest_free(fx.rest);
    loop_free(fx.loop);
    mailbox_free(fx.shared.engine);
    registry_free(fx.shared.registry);
    web_free(fx.shared.web);
    close(fx.mail_fd);
    return 0;
}

/* Every job must have been let go by now. */
static int tear_down(void **state) { return stop_with(0); }

/* --- the client -------------------------------------------------------------------------------------------------- */

static int dial(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(fx.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    return fd;
}

static void send_all(int fd, const char *text, size_t n)
{
    while (n) {
        ssize_t sent = send(fd, text, n, MSG_NOSIGNAL);
        if (sent < 0)
            return; /* the server answered early and closed */
        text += sent;
        n -= (size_t)sent;
    }
}

/* Close so that the peer gets a reset at once. */
static void reset(int fd)
{
    struct linger hard = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(fd);
}

static void clear_mail_fd(void)
{
    uint64_t n;
    ssize_t got = read(fx.mail_fd, &n, sizeof n);
    (void)got; /* nothing there is fine */
}

/* Wait until the engine has mail; take it without delivering. */
static struct mail *take_mail(void)
{
    for (;;) {
        struct mail *m = mailbox_take(fx.shared.engine);
        if (m)
            return m;
        struct pollfd p = {fx.mail_fd, POLLIN, 0};
        if (poll(&p, 1, PATIENCE_MS) <= 0)
            fail_msg("no mail for the engine");
        clear_mail_fd();
    }
}

static void deliver(struct mail *m)
{
    while (m) {
        struct mail *next = m->next;
        m->deliver(m);
        m = next;
    }
}

/* Is the answer whole? By its Content-Length, or at once when it can have none. */
static bool whole(const char *text, size_t n, bool head_only)
{
    const char *end = memmem(text, n, "\r\n\r\n", 4);
    if (!end)
        return false;
    if (head_only || strstr(text, " 204 "))
        return true;
    const char *length = strcasestr(text, "\r\ncontent-length:");
    return length && length < end && n >= (size_t)(end + 4 - text) + strtoull(length + 17, NULL, 10);
}

/* Read one answer, being the engine meanwhile. The text stays in fx.answer. */
static const char *read_answer(int fd, bool head_only)
{
    size_t n = 0;
    fx.answer[0] = '\0';
    while (!whole(fx.answer, n, head_only)) {
        struct pollfd p[] = {{fd, POLLIN, 0}, {fx.mail_fd, POLLIN, 0}};
        if (poll(p, 2, PATIENCE_MS) <= 0)
            fail_msg("no answer; so far: %s", fx.answer);
        if (p[1].revents) {
            clear_mail_fd();
            mailbox_deliver(fx.shared.engine);
        }
        if (!p[0].revents)
            continue;
        ssize_t got = recv(fd, fx.answer + n, ANSWER_MAX - 1 - n, 0);
        if (got <= 0)
            fail_msg("the connection ended; so far: %s", fx.answer);
        n += (size_t)got;
        fx.answer[n] = '\0';
    }
    return fx.answer;
}

static const char *ask_on(int fd, const char *request)
{
    send_all(fd, request, strlen(request));
    return read_answer(fd, !strncmp(request, "HEAD ", 5));
}

static void hang_up(int fd) { close(fd); }

/* "VERB target" and a body as a request. */
static const char *ask(const char *line, const char *headers, const char *body)
{
    static char request[1 << 16];
    char length[64] = "";
    if (body)
        snprintf(length, sizeof length, "Content-Length: %zu\r\n", strlen(body));
    snprintf(request, sizeof request, "%s HTTP/1.1\r\nHost: API.example:8080\r\n%s%s\r\n%s", line, length, headers ? headers : "",
             body ? body : "");
    int fd = dial();
    const char *answer = ask_on(fd, request);
    hang_up(fd);
    return answer;
}

static int status_of(const char *answer) { return (int)strtol(answer + 9, NULL, 10); }
static const char *body_of(const char *answer)
{
    const char *end = strstr(answer, "\r\n\r\n");
    return end ? end + 4 : "";
}

/* --- tests ------------------------------------------------------------------------------------------------------- */

#define THING "/v1/projects/p/things/t"
#define NAME "\"name\":\"projects/p/things/t\""

static void requests_get_their_answers(void **state)
{
    static const struct {
        const char *name, *line, *headers, *body;
        int status;
        const char *want; /* the whole body, or a part of it when it begins with … */
    } cases[] = {
        {"GET", "GET " THING, NULL, NULL, 200, "{" NAME "}"},
        {"GET with a body that nobody asked for", "GET " THING, NULL, "{}", 200, "{" NAME "}"},
        {"PUT with the whole request as body", "PUT " THING, NULL, "{\"anInt32\":5,\"labels\":{}}", 200, "{" NAME ",\"anInt32\":5}"},
        {"the path wins over the body", "PUT " THING, NULL, "{\"name\":\"other\"}", 200, "{" NAME "}"},
        {"an empty body", "PUT " THING, NULL, "", 200, "{" NAME "}"},
        {"no body at all", "PUT " THING, NULL, NULL, 200, "{" NAME "}"},
        {"the two quotes that Node sends", "POST " THING ":start", NULL, "\"\"", 200, "{" NAME "}"},
        {"any content type", "PUT " THING, "Content-Type: text/plain\r\n", "{\"aBool\":true}", 200, "{" NAME ",\"aBool\":true}"},
        {"PATCH with one field as body", "PATCH " THING "?updateMask=labels,some_bytes", NULL, "{\"labels\":{\"a\":\"b\"}}", 200,
         "{\"item\":{" NAME ",\"labels\":{\"a\":\"b\"}},\"updateMask\":\"labels,someBytes\"}"},
        {"an empty body is an empty field", "PATCH " THING, NULL, NULL, 200, "{\"item\":{" NAME "}}"},
        {"a mask in the query beside a whole body", "PUT " THING "?updateMask=name", NULL, "{}", 200, "{" NAME ",\"updateMask\":\"name\"}"},
        {"query parameters", "GET " THING "?anInt32=5&words=a+b&words=c%26d&color=RED&item.child.name=x", NULL, NULL, 200,
         "{" NAME ",\"anInt32\":5,\"color\":\"RED\",\"item\":{\"child\":{\"name\":\"x\"}},\"words\":[\"a b\",\"c&d\"]}"},
        {"a bare question mark", "GET " THING "?", NULL, NULL, 200, "{" NAME "}"},
        {"parameters of the protocol are no fields",
         "GET " THING
         "?alt=json&$alt=json&prettyPrint=false&$prettyPrint=0&key=k&access_token=a&fields=x&quotaUser=u&uploadType=m&upload_protocol=p&callback=c&$x=y",
         NULL, NULL, 200, "{" NAME "}"},
        {"enums as numbers", "GET " THING "?$alt=json%3Benum-encoding=int&color=DARK_BLUE", NULL, NULL, 200, "{" NAME ",\"color\":2}"},
        {"pretty", "GET " THING "?prettyPrint=true", NULL, NULL, 200, "{\n  \"name\": \"projects/p/things/t\"\n}\n"},
        {"an encoded id", "GET /v1/projects/p/things/a%20b%3Astart", NULL, NULL, 200, "{\"name\":\"projects/p/things/a b:start\"}"},
        {"absolute form", "GET http://api.example" THING, NULL, NULL, 200, "{" NAME "}"},
        {"a list", "GET /v1/projects/p/things?pageSize=", NULL, NULL, 400, "…unknown query parameter"},
        {"who calls", "GET /v1/who", "Authorization: Bearer  tok.en\r\n", NULL, 200,
         "{\"name\":\"tok.en at api.example from 127.0.0.1, local\"}"},
        {"the scheme's case does not count", "GET /v1/who", "authorization: bearer x\r\n", NULL, 200,
         "{\"name\":\"x at api.example from 127.0.0.1, local\"}"},
        {"other schemes are nobody", "GET /v1/who", "Authorization: Basic eDp5\r\n", NULL, 200,
         "{\"name\":\"nobody at api.example from 127.0.0.1, local\"}"},
        {"an unknown parameter", "GET " THING "?nobody=1", NULL, NULL, 400, "…unknown query parameter \\\"nobody\\\""},
        {"a wrong parameter", "GET " THING "?anInt32=x", NULL, NULL, 400, "…anInt32: \\\"x\\\" is not a number"},
        {"a torn percent in the query", "GET " THING "?words=%2", NULL, NULL, 400, "…malformed percent-encoding"},
        {"a torn percent in the path", "GET " THING "%2", NULL, NULL, 400, "…malformed percent-encoding"},
        {"a NUL in the query", "GET " THING "?words=%00", NULL, NULL, 400, "…words: the text is not valid UTF-8"},
        {"malformed JSON", "PUT " THING, NULL, "{\"name\":}", 400,
         "{\"error\":{\"code\":400,\"message\":\"the JSON is malformed at line 1, byte 8: expected a value\",\"status\":\"INVALID_ARGUMENT\"}}\n"},
        {"a wrong field", "PUT " THING, NULL, "{\"items\":[{\"data\":\"?\"}]}", 400, "…items[0].data: not base64"},
        {"a compressed body", "PUT " THING, "Content-Encoding: gzip\r\n", "{}", 415, "…Content-Encoding gzip is not supported"},
        {"an error of the handler", "POST " THING ":fail", NULL, "{\"anInt32\":5}", 404,
         "{\"error\":{\"code\":404,\"message\":\"failed as \\\"asked\\\"\",\"status\":\"NOT_FOUND\"}}\n"},
        {"another error", "POST " THING ":fail", NULL, "{\"anInt32\":14}", 503, "…UNAVAILABLE"},
        {"a reply that cannot be written", "GET /v1/broken", NULL, NULL, 500, "…not registered"},
        {"an unknown path", "GET /v1/nothing", NULL, NULL, 404, "…there is no method at GET /v1/nothing"},
        {"an unknown path with a body", "POST /v1/nothing", NULL, "{}", 404, "…NOT_FOUND"},
        {"a known path with another verb", "DELETE " THING, NULL, NULL, 405,
         "…DELETE is not supported at " THING "; it has GET, HEAD, PUT, PATCH"},
        {"OPTIONS", "OPTIONS " THING, NULL, NULL, 405, "…UNIMPLEMENTED"},
        {"an unknown verb at an unknown path", "PROPFIND /v1/nothing", NULL, NULL, 404, "…there is nothing at /v1/nothing"},
        {"a page", "GET /healthz?a=%20b", NULL, NULL, 200, "health path=/healthz query=a=%20b body= flavor="},
        {"a page below a prefix", "GET /console/a%20b", "Metadata-Flavor: Google\r\n", NULL, 200,
         "console path=/console/a b query= body= flavor=Google"},
        {"the longest prefix", "GET /console/deep/x", NULL, NULL, 200, "deep path=/console/deep/x query= body= flavor="},
        {"the prefix itself", "GET /console/", NULL, NULL, 200, "console path=/console/ query= body= flavor="},
        {"not the prefix", "GET /consolex", NULL, NULL, 404, "…NOT_FOUND"},
        {"a page with a body", "POST /hook", NULL, "hello", 200, "hook path=/hook query= body=hello flavor="},
        {"a page with another verb", "POST /healthz", NULL, "", 405, "…it has GET, HEAD"},
        {"a page without an answer's body", "GET /empty", NULL, NULL, 204, ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *answer = ask(cases[i].line, cases[i].headers, cases[i].body), *want = cases[i].want;
        bool part = !strncmp(want, "…", strlen("…"));
        CASE_INT(cases[i].name, status_of(answer), cases[i].status);
        if (part && !strstr(body_of(answer), want + strlen("…")))
            fail_msg("case \"%s\": \"%s\" does not hold \"%s\"", cases[i].name, body_of(answer), want);
        if (!part)
            CASE_STR(cases[i].name, body_of(answer), want);
    }
}

static void answers_carry_the_right_headers(void **state)
{
    static const struct {
        const char *name, *line, *body, *header;
    } cases[] = {
        {"JSON", "GET " THING, NULL, "content-type: application/json; charset=UTF-8\r\n"},
        {"an error is JSON", "GET /nothing", NULL, "content-type: application/json; charset=UTF-8\r\n"},
        {"405 says what is allowed", "DELETE " THING, NULL, "allow: GET, HEAD, PUT, PATCH\r\n"},
        {"401 says how", "POST " THING ":fail", "{\"anInt32\":16}", "www-authenticate: Bearer\r\n"},
        {"a page's own header", "GET /healthz", NULL, "metadata-flavor: Google\r\n"},
        {"a page's type", "GET /healthz", NULL, "content-type: text/plain\r\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *answer = ask(cases[i].line, NULL, cases[i].body);
        if (!strcasestr(answer, cases[i].header))
            fail_msg("case \"%s\": no \"%s\" in %s", cases[i].name, cases[i].header, answer);
    }
}

static void head_is_get_without_the_body(void **state)
{
    static const struct {
        const char *name, *line;
        int status;
    } cases[] = {
        {"a method", "HEAD " THING, 200},
        {"a page", "HEAD /healthz", 200},
        {"nothing", "HEAD /nothing", 404},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *answer = ask(cases[i].line, NULL, NULL);
        CASE_INT(cases[i].name, status_of(answer), cases[i].status);
        CASE_STR(cases[i].name, body_of(answer), "");
    }
}

static void a_connection_is_kept_over_errors(void **state)
{
    int fd = dial();
    for (int i = 0; i < 3; i++) {
        assert_int_equal(status_of(ask_on(fd, "POST /nothing HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello")), 404);
        assert_int_equal(status_of(ask_on(fd, "PUT " THING " HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n{")), 400);
        assert_int_equal(
            status_of(ask_on(fd, "PUT " THING " HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n")),
            200);
        assert_int_equal(status_of(ask_on(fd, "GET " THING " HTTP/1.1\r\nHost: h\r\n\r\n")), 200);
    }
    hang_up(fd);
}

static void a_body_too_large_is_refused(void **state)
{
    char head[200];
    snprintf(head, sizeof head, "PUT " THING " HTTP/1.1\r\nHost: h\r\nContent-Length: %u\r\n\r\n", CALL_BODY_MAX + 1);
    int fd = dial();
    const char *answer = ask_on(fd, head);
    assert_int_equal(status_of(answer), 413);
    char says[100];
    snprintf(says, sizeof says, "larger than %u bytes", CALL_BODY_MAX);
    assert_non_null(strstr(answer, says));
    assert_non_null(strstr(answer, "\"status\":\"INVALID_ARGUMENT\""));
    hang_up(fd);

    /* undeclared: found out on the way */
    static char chunk[1 << 20];
    memset(chunk, ' ', sizeof chunk);
    fd = dial();
    static const char chunked[] = "PUT " THING " HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    send_all(fd, chunked, strlen(chunked));
    for (int i = 0; i < 15; i++) {
        send_all(fd, "100000\r\n", 8);
        send_all(fd, chunk, sizeof chunk);
        send_all(fd, "\r\n", 2);
    }
    assert_int_equal(status_of(read_answer(fd, false)), 413);
    hang_up(fd);
}

/* A large request waits in the engine: another one of that size is too much, a small one is not. */
static void large_requests_together_are_bounded(void **state)
{
    enum { LARGE = 9 * 1024 * 1024 };
    char head[200];
    char *body = malloc(LARGE);
    memset(body, ' ', LARGE);
    snprintf(head, sizeof head, "POST " THING ":hold HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", LARGE);
    int first = dial(), second = dial();
    send_all(first, head, strlen(head));
    send_all(first, body, LARGE);
    deliver(take_mail());
    assert_non_null(fx.held);
    send_all(second, head, strlen(head));
    send_all(second, body, LARGE);
    assert_int_equal(status_of(read_answer(second, false)), 503);
    assert_int_equal(status_of(ask("PUT " THING, NULL, "{}")), 200);
    call_reply(fx.held, fx.held->request);
    assert_int_equal(status_of(read_answer(first, false)), 200);
    hang_up(first);
    hang_up(second);
    second = dial();
    send_all(second, head, strlen(head));
    send_all(second, body, LARGE);
    deliver(take_mail());
    call_reply(fx.held, fx.held->request);
    assert_int_equal(status_of(read_answer(second, false)), 200);
    hang_up(second);
    free(body);
}

static void a_full_engine_is_503(void **state)
{
    int fds[ENGINE_MAIL_MAX + 1];
    static const char get[] = "GET " THING " HTTP/1.1\r\nHost: h\r\n\r\n";
    for (int i = 0; i <= ENGINE_MAIL_MAX; i++) {
        fds[i] = dial();
        send_all(fds[i], get, strlen(get));
    }
    /* Nobody reads the engine's mail, so exactly one is turned away; which, the kernel decides. */
    struct pollfd p[ENGINE_MAIL_MAX + 1];
    for (int i = 0; i <= ENGINE_MAIL_MAX; i++)
        p[i] = (struct pollfd){fds[i], POLLIN, 0};
    assert_int_equal(poll(p, ENGINE_MAIL_MAX + 1, PATIENCE_MS), 1);
    for (int i = 0; i <= ENGINE_MAIL_MAX; i++)
        if (p[i].revents) {
            ssize_t n = recv(fds[i], fx.answer, ANSWER_MAX - 1, 0);
            assert_true(n > 0);
            fx.answer[n] = '\0';
            assert_int_equal(status_of(fx.answer), 503);
            assert_non_null(strstr(fx.answer, "UNAVAILABLE"));
        }
    for (int i = 0; i <= ENGINE_MAIL_MAX; i++) {
        if (!p[i].revents)
            assert_int_equal(status_of(read_answer(fds[i], false)), 200);
        hang_up(fds[i]);
    }
}

static void a_waiting_call_is_answered_later(void **state)
{
    static const char hold[] = "POST " THING ":hold HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}";
    int fd = dial();
    send_all(fd, hold, strlen(hold));
    deliver(take_mail());
    assert_non_null(fx.held);
    call_reply(fx.held, fx.held->request);
    assert_int_equal(status_of(read_answer(fd, false)), 200);
    hang_up(fd);
}

/* --- the client goes -------------------------------------------------------------------------------------------- */

static const char hold_request[] = "POST " THING ":hold HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}";

/* A held call whose client goes; the cancel's mail, undelivered. */
static struct mail *hold_and_go(void)
{
    int fd = dial();
    send_all(fd, hold_request, strlen(hold_request));
    deliver(take_mail());
    assert_non_null(fx.held);
    reset(fd);
    return take_mail();
}

static void a_waiting_call_hears_that_the_client_went(void **state)
{
    deliver(hold_and_go());
    assert_int_equal(fx.cancels, 1);
}

static void an_answer_may_cross_the_cancel(void **state)
{
    struct mail *cancel = hold_and_go();
    call_reply(fx.held, fx.held->request);
    deliver(cancel);
    assert_int_equal(fx.cancels, 0);
}

/* The handler keeps no on_cancel and answers long after. */
static void an_answer_may_come_long_after_the_cancel(void **state)
{
    int fd = dial();
    send_all(fd, hold_request, strlen(hold_request));
    deliver(take_mail());
    fx.held->on_cancel = NULL;
    reset(fd);
    deliver(take_mail());
    assert_true(fx.held->cancelled);
    assert_int_equal(fx.cancels, 0);
    call_reply(fx.held, fx.held->request);
}

static void the_client_may_go_before_the_engine_looks(void **state)
{
    int fd = dial();
    send_all(fd, hold_request, strlen(hold_request));
    struct mail *call = take_mail();
    reset(fd);
    struct mail *cancel = take_mail();
    deliver(call);
    deliver(cancel);
    assert_int_equal(fx.cancels, 1);
}

static void the_client_may_go_during_its_body(void **state)
{
    int fd = dial();
    send_all(fd, hold_request, strlen(hold_request) - 1);
    reset(fd);
    /* a request that comes after it is served as ever */
    assert_int_equal(status_of(ask("GET " THING, NULL, NULL)), 200);
    assert_null(fx.held);
}

static void a_page_survives_its_client(void **state)
{
    int fd = dial();
    static const char get[] = "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n";
    send_all(fd, get, strlen(get));
    struct mail *call = take_mail();
    reset(fd);
    assert_int_equal(status_of(ask("GET " THING, NULL, NULL)), 200);
    deliver(call);
}

/* Clients come and go while the engine answers: nothing is lost, answered twice or freed too early (sanitizers look). */
static void many_clients_go_at_any_moment(void **state)
{
    struct rng rng;
    rng_seed(&rng, 7);
    for (int i = 0; i < 400; i++) {
        int fd = dial();
        bool hold = rng_chance(&rng, 0.5);
        if (hold)
            send_all(fd, hold_request, strlen(hold_request));
        else
            send_all(fd, "GET " THING " HTTP/1.1\r\nHost: h\r\n\r\n", strlen("GET " THING " HTTP/1.1\r\nHost: h\r\n\r\n"));
        if (rng_chance(&rng, 0.3))
            deliver(take_mail());
        if (rng_chance(&rng, 0.3) && fx.held) {
            call_reply(fx.held, fx.held->request);
            fx.held = NULL;
        }
        reset(fd);
        if (rng_chance(&rng, 0.5))
            mailbox_deliver(fx.shared.engine);
        if (fx.held) { /* only one is remembered: answer it before the next may come */
            struct call *held = fx.held;
            fx.held = NULL;
            call_failf(held, ERR_ABORTED, "enough");
        }
    }
    int status;
    do /* the last cancels may still fill the engine's mailbox; asking empties it */
        status = status_of(ask("GET " THING, NULL, NULL));
    while (status == 503);
    assert_int_equal(status, 200);
}

/* Stopped in the middle of a call: the leak checker sees that nothing stays behind. */
static void a_stop_drops_what_waits(void **state)
{
    set_up(NULL);
    int fd = dial();
    send_all(fd, hold_request, strlen(hold_request));
    deliver(take_mail());
    fx.held->on_cancel = NULL;
    stop_with(1);
    hang_up(fd);
}

static void too_many_or_wrong_pages_are_refused(void **state)
{
    struct web *w = web_new();
    struct err e = {0};
    static char paths[WEB_ROUTES_MAX + 1][16];
    struct web_route route = {VERB_GET, "no-slash", on_page, NULL};
    assert_true(web_add(w, &route, &e) < 0);
    for (int i = 0; i <= WEB_ROUTES_MAX; i++) {
        snprintf(paths[i], sizeof paths[i], "/p%d", i);
        route.path = paths[i];
        assert_int_equal(web_add(w, &route, &e), i < WEB_ROUTES_MAX ? 0 : -ERR_RESOURCE_EXHAUSTED);
    }
    web_free(w);
    w = web_new();
    assert_int_equal(web_add(w, &route, &e), 0);
    assert_true(web_add(w, &route, &e) < 0);
    web_free(w);
}

/* Every byte comes soon after the last; the whole does not come in time. */
static void a_body_that_drips_is_given_up(void **state)
{
    int fd = dial();
    const char head[] = "PUT /v1/projects/p/things/t HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";
    struct pollfd p = {fd, POLLIN, 0};
    send_all(fd, head, sizeof head - 1);
    for (int drops = 0; poll(&p, 1, 1) == 0; drops++) {
        assert_true(drops < PATIENCE_MS);
        send_all(fd, " ", 1);
    }
    assert_non_null(strstr(read_answer(fd, false), "HTTP/1.1 408 "));
    hang_up(fd);
}

int main(void)
{
#define SERVED(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        SERVED(requests_get_their_answers),
        SERVED(answers_carry_the_right_headers),
        SERVED(head_is_get_without_the_body),
        SERVED(a_connection_is_kept_over_errors),
        SERVED(a_body_too_large_is_refused),
        SERVED(large_requests_together_are_bounded),
        SERVED(a_full_engine_is_503),
        SERVED(a_waiting_call_is_answered_later),
        SERVED(a_waiting_call_hears_that_the_client_went),
        SERVED(an_answer_may_cross_the_cancel),
        SERVED(an_answer_may_come_long_after_the_cancel),
        SERVED(the_client_may_go_before_the_engine_looks),
        SERVED(the_client_may_go_during_its_body),
        SERVED(a_page_survives_its_client),
        SERVED(many_clients_go_at_any_moment),
        cmocka_unit_test_setup_teardown(a_body_that_drips_is_given_up, set_up_hasty, tear_down),
        cmocka_unit_test(a_stop_drops_what_waits),
        cmocka_unit_test(too_many_or_wrong_pages_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

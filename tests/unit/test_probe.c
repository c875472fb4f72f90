/** test_probe.c: the prober against real sockets: who listens, who does not, who answers what. */
#include "tests/support/unit.h"

#include "core/loop/loop.h"
#include "executor/runtime.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQUEST "GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n"

static struct loop *loop;
static struct prober *prober;

struct outcome {
    struct probe_request r;
    int done;
    bool open;
};

/* A listener that answers one request with `reply` (NULL: accepts nothing) as soon as it can be read. */
struct server {
    int fd, conn;
    const char *reply;
    struct loop_fd *watch, *conn_watch;
};

static void on_request(void *arg, int events)
{
    struct server *s = arg;
    char buf[512];
    ssize_t n = read(s->conn, buf, sizeof buf);
    assert_int_equal(n, sizeof REQUEST - 1);
    assert_memory_equal(buf, REQUEST, sizeof REQUEST - 1);
    assert_int_equal(write(s->conn, s->reply, strlen(s->reply)), (ssize_t)strlen(s->reply));
    loop_fd_want(s->conn_watch, 0);
    shutdown(s->conn, SHUT_WR);
}

static void on_connection(void *arg, int events)
{
    struct server *s = arg;
    struct err e;
    s->conn = accept(s->fd, NULL, NULL);
    assert_true(s->conn >= 0);
    loop_fd_want(s->watch, 0);
    s->conn_watch = loop_fd_new(loop, s->conn, on_request, s, &e);
    loop_fd_want(s->conn_watch, LOOP_READ);
}

static uint16_t listen_on(struct server *s, const char *reply)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    struct err e;
    *s = (struct server){.fd = socket(AF_INET, SOCK_STREAM, 0), .conn = -1, .reply = reply};
    assert_int_equal(bind(s->fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&a, &len), 0);
    assert_int_equal(listen(s->fd, 5), 0);
    if (reply) {
        s->watch = loop_fd_new(loop, s->fd, on_connection, s, &e);
        loop_fd_want(s->watch, LOOP_READ);
    }
    return ntohs(a.sin_port);
}

static void server_close(struct server *s)
{
    if (s->watch)
        loop_fd_free(s->watch);
    if (s->conn_watch)
        loop_fd_free(s->conn_watch);
    if (s->conn >= 0)
        close(s->conn);
    close(s->fd);
}

static void on_done(struct probe_request *p, bool open)
{
    struct outcome *o = p->arg;
    o->done++;
    o->open = open;
    loop_stop(loop);
}

static void ask(struct outcome *o, uint16_t port, const char *http, int64_t timeout_ns)
{
    *o = (struct outcome){.r = {.port = port, .http = http, .timeout_ns = timeout_ns, .done = on_done, .arg = o}};
    prober->start(prober, &o->r);
}

static int setup(void **state)
{
    struct err e;
    loop = loop_new(&e);
    prober = loop ? prober_tcp_new(loop, &e) : NULL;
    return prober ? 0 : -1;
}

static int teardown(void **state)
{
    prober_tcp_free(prober);
    loop_free(loop);
    return 0;
}

static void test_whether_somebody_listens(void **state)
{
    struct server s;
    struct outcome o;
    uint16_t port = listen_on(&s, NULL);
    ask(&o, port, NULL, NS_PER_S);
    assert_int_equal(o.done, 0); /* later, never inside the call */
    loop_run(loop);
    assert_int_equal(o.done, 1);
    assert_true(o.open);
    server_close(&s);
    ask(&o, port, NULL, NS_PER_S);
    assert_int_equal(o.done, 0);
    loop_run(loop);
    assert_false(o.open);
}

static void test_what_is_answered(void **state)
{
    static const struct {
        const char *name, *reply;
        bool open;
    } cases[] = {
        {"200 is fine", "HTTP/1.1 200 OK\r\n\r\n", true},
        {"a redirection too", "HTTP/1.0 302 Found\r\n\r\n", true},
        {"404 is not", "HTTP/1.1 404 Not Found\r\n\r\n", false},
        {"503 is not", "HTTP/1.1 503 Busy\r\n\r\n", false},
        {"another protocol is not", "SSH-2.0-OpenSSH 200\r\n", false},
        {"an end before the status is not", "HTTP/1.1", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct server s;
        struct outcome o;
        ask(&o, listen_on(&s, cases[i].reply), REQUEST, 5 * NS_PER_S);
        loop_run(loop);
        CASE_INT(cases[i].name, o.done, 1);
        CASE_INT(cases[i].name, o.open, cases[i].open);
        server_close(&s);
    }
}

static void test_an_answer_that_does_not_come_and_a_question_taken_back(void **state)
{
    struct server s;
    struct outcome late, cancelled;
    uint16_t port = listen_on(&s, NULL);
    ask(&cancelled, port, NULL, NS_PER_S);
    prober->cancel(prober, &cancelled.r);
    prober->cancel(prober, &cancelled.r);
    ask(&late, port, REQUEST, 30 * NS_PER_MS);
    loop_run(loop);
    assert_int_equal(late.done, 1);
    assert_false(late.open);
    assert_int_equal(cancelled.done, 0);
    server_close(&s);
}

static struct server late_server;

static void listen_now(struct timer *t, int64_t now_ns) { assert_int_equal(listen(late_server.fd, 5), 0); }

static void test_patience_finds_who_begins_to_listen(void **state)
{
    struct outcome o, cancelled, impatient;
    struct timer t;
    struct err e;
    uint16_t port = listen_on(&late_server, NULL);
    close(late_server.fd);
    /* The same port, bound but not listening yet. */
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    late_server.fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(late_server.fd, (struct sockaddr *)&a, sizeof a), 0);
    ask(&impatient, port, NULL, 5 * NS_PER_S);
    loop_run(loop);
    assert_int_equal(impatient.done, 1);
    assert_false(impatient.open);
    o = (struct outcome){.r = {.port = port, .timeout_ns = 5 * NS_PER_S, .patience_ns = 4 * NS_PER_S, .done = on_done, .arg = &o}};
    cancelled =
        (struct outcome){.r = {.port = port, .timeout_ns = 5 * NS_PER_S, .patience_ns = 4 * NS_PER_S, .done = on_done, .arg = &cancelled}};
    prober->start(prober, &cancelled.r);
    prober->start(prober, &o.r);
    prober->cancel(prober, &cancelled.r);
    timer_init(&t, listen_now);
    assert_int_equal(timer_set(loop_timers(loop), &t, loop_now(loop) + 10 * NS_PER_MS, &e), 0);
    loop_run(loop);
    assert_int_equal(o.done, 1);
    assert_true(o.open);
    assert_int_equal(cancelled.done, 0);
    server_close(&late_server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whether_somebody_listens),
        cmocka_unit_test(test_what_is_answered),
        cmocka_unit_test(test_patience_finds_who_begins_to_listen),
        cmocka_unit_test(test_an_answer_that_does_not_come_and_a_question_taken_back),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

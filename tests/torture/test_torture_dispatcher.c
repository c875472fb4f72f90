/** test_torture_dispatcher.c: pushes and requests through a real io thread while memory, descriptors and the network fail in it.
 *  A push is answered exactly once, with a status or an error that says something; a request to a service gets an answer or sees its
 *  connection end; every slot comes back; then the same works without a fault. The peers are threads of the test: nothing of
 *  theirs counts. Which allocation is the nth depends on the threads' order; that all of them end well does not. */
#include "tests/unit/io_fixture.h"

#include "dispatcher/io.h"
#include "tests/support/support_fault.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>

#define ANSWER "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
#define PATIENCE_S 20

/* ---- a peer that answers each request with 200 ---- */

struct peer {
    int fd;
    uint16_t port;
    pthread_t thread;
};

static size_t request_bytes(const char *p, size_t n)
{
    const char *end = memmem(p, n, "\r\n\r\n", 4), *length = memmem(p, n, "Content-Length: ", 16);
    if (!end)
        return 0;
    size_t head = (size_t)(end - p) + 4, content = length && length < end ? strtoul(length + 16, NULL, 10) : 0;
    return head + content <= n ? head + content : 0;
}

static void *peer_talk(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char in[65536];
    size_t n = 0;
    fault_hold();
    for (ssize_t got; (got = recv(fd, in + n, sizeof in - n, 0)) > 0;) {
        n += (size_t)got;
        for (size_t used; (used = request_bytes(in, n)) > 0; n -= used) {
            send(fd, ANSWER, strlen(ANSWER), MSG_NOSIGNAL);
            memmove(in, in + used, n - used);
        }
    }
    close(fd);
    return NULL;
}

static void *peer_run(void *arg)
{
    struct peer *p = arg;
    fault_hold();
    for (int fd; (fd = accept(p->fd, NULL, NULL)) >= 0;) {
        pthread_t t;
        assert_int_equal(pthread_create(&t, NULL, peer_talk, (void *)(intptr_t)fd), 0);
        pthread_detach(t);
    }
    return NULL;
}

static void peer_start(struct peer *p)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    p->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(p->fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(p->fd, 128), 0);
    p->port = http_socket_port(p->fd);
    assert_int_equal(pthread_create(&p->thread, NULL, peer_run, p), 0);
}

static void peer_stop(struct peer *p)
{
    shutdown(p->fd, SHUT_RDWR);
    pthread_join(p->thread, NULL);
    close(p->fd);
}

/* ---- a client with one request, in a thread of its own ---- */

struct client {
    uint16_t port;
    const char *host;
    char answer[8192];
    size_t n;
    _Atomic bool done;
};

static void *client_run(void *arg)
{
    struct client *c = arg;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(c->port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct timeval patience = {.tv_sec = PATIENCE_S};
    char text[256];
    snprintf(text, sizeof text, "GET /page HTTP/1.1\r\nHost: %s\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody", c->host);
    fault_hold();
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0 && send(fd, text, strlen(text), MSG_NOSIGNAL) > 0)
        for (ssize_t got; c->n < sizeof c->answer - 1 && (got = recv(fd, c->answer + c->n, sizeof c->answer - 1 - c->n, 0)) > 0;)
            c->n += (size_t)got;
    c->answer[c->n] = '\0';
    close(fd);
    atomic_store(&c->done, true);
    return NULL;
}

static bool client_done(void *arg) { return atomic_load(&((struct client *)arg)->done); }

static void ask(struct fixture *f, struct client *c, const char *host)
{
    pthread_t t;
    *c = (struct client){.port = io_port(f->io), .host = host};
    fault_hold();
    assert_int_equal(pthread_create(&t, NULL, client_run, c), 0);
    fault_release();
    net_until(&f->net, client_done, c, "the client's request ends");
    pthread_join(t, NULL);
}

/* ---- runs ---- */

enum road { TO_A_STRANGER, TO_OURS, TO_A_SERVICE, TO_THE_API };
static const char *const road_names[] = {"a push to a stranger", "a push to a service", "a request to a service", "a page of ours"};

struct given {
    struct fixture *f;
    struct peer *peer;
    struct message *m;
    enum road road;
};

/* True: it arrived and was answered. */
static bool go(const struct given *g, bool faulty, const char *what, size_t nth)
{
    struct fixture *f = g->f;
    char url[64] = "http://hello.localhost/push";
    if (g->road >= TO_A_SERVICE) {
        struct client c;
        const char *wants = g->road == TO_THE_API ? "\r\n\r\na page" : "\r\n\r\nhello";
        ask(f, &c, g->road == TO_THE_API ? "127.0.0.1" : "hello.localhost");
        bool whole = strncmp(c.answer, "HTTP/1.1 200 ", 13) == 0 && strstr(c.answer, wants);
        bool refused = strncmp(c.answer, "HTTP/1.1 5", 10) == 0;
        bool broke = !strstr(c.answer, wants); /* its connection ended */
        if (!whole && !(faulty && (refused || broke)))
            fail_msg("%s, %s %zu: the answer is: %s", road_names[g->road], what, nth, c.answer);
        return whole;
    }
    if (g->road == TO_A_STRANGER)
        snprintf(url, sizeof url, "http://127.0.0.1:%u/push", g->peer->port);
    push(f, url, g->m);
    net_until(&f->net, is_set, &f->flag, "the push is answered");
    bool whole = f->push.status == 200, refused = f->push.status == 0 && *f->push.err.msg;
    if (!whole && !(faulty && refused))
        fail_msg("%s, %s %zu: status %d %s", road_names[g->road], what, nth, f->push.status, f->push.err.msg);
    return whole;
}

/* Everything is made anew for each: what was used before has its memory and its connections already. */
static bool run(const struct torture *t, enum fault what, size_t nth, size_t times)
{
    struct given g = *(const struct given *)t->arg;
    void *state = NULL;
    setup(&state);
    g.f = state;
    assert_non_null(pool_open(g.f->pool, g.peer->port, INSTANCE));
    fault_arm(what, nth, times);
    go(&g, true, fault_name(what), nth);
    bool failed = fault_disarm();
    all_slots_come_back(g.f);
    for (int i = 0; i < 2; i++) /* over a new connection, over the same */
        assert_true(go(&g, false, fault_name(what), nth));
    all_slots_come_back(g.f);
    teardown(&state);
    return failed;
}

static void torture_all(enum fault what)
{
    size_t failures = 0;
    struct peer peer;
    struct message *m = hello();
    peer_start(&peer);
    for (enum road road = 0; road <= TO_THE_API; road++) {
        struct given g = {.peer = &peer, .m = m, .road = road};
        struct torture t = {.name = road_names[road], .run = run, .arg = &g, .every = true};
        failures += torture(&t, what, FAULT_ONCE);
    }
    peer_stop(&peer);
    message_unref(m);
    assert_true(failures > 3);
}

static void without_memory(void **state) { torture_all(FAULT_ALLOC); }
static void without_descriptors(void **state) { torture_all(FAULT_DESCRIPTOR); }
static void when_sending_fails(void **state) { torture_all(FAULT_SEND); }
static void when_receiving_fails(void **state) { torture_all(FAULT_RECV); }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_memory),
        cmocka_unit_test(without_descriptors),
        cmocka_unit_test(when_sending_fails),
        cmocka_unit_test(when_receiving_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/** probe.c: asks whether somebody listens on 127.0.0.1:port, and if wanted what it answers to one HTTP request. */
#include "core/base/list.h"
#include "core/loop/loop.h"
#include "executor/runtime.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define STATUS_LINE_BYTES 12 /* "HTTP/1.1 200" */

#define RETRY_NS (200 * NS_PER_US)

struct tcp_prober {
    struct prober base;
    struct loop *loop;
    struct list retries; /* attempts that found nobody and have patience */
    int timer_fd;        /* the loop's own timers count in ms */
    struct loop_fd *timer_watch;
};
struct attempt {
    struct tcp_prober *prober;
    struct probe_request *request; /* NULL: cancelled, waits for burial */
    struct node retry;
    int64_t patient_until_ns;
    int fd;
    bool sent;
    size_t got;
    char answer[STATUS_LINE_BYTES + 1];
    struct loop_fd *watch;
    struct timer timer;
    struct grave grave;
};

static void attempt_free(void *arg) { free(arg); }

static void hang_up(struct attempt *a)
{
    if (a->watch)
        loop_fd_free(a->watch);
    if (a->fd >= 0)
        close(a->fd);
    a->watch = NULL;
    a->fd = -1;
}

static void attempt_end(struct attempt *a)
{
    timer_cancel(loop_timers(a->prober->loop), &a->timer);
    list_remove(&a->prober->retries, &a->retry);
    hang_up(a);
    loop_bury(a->prober->loop, &a->grave, attempt_free, a);
}

static void finish(struct attempt *a, bool open)
{
    struct probe_request *r = a->request;
    r->internal = NULL;
    attempt_end(a);
    r->done(r, open);
}

/* Nobody listens: ask again soon, or say so. False: it is to be said. */
static bool ask_again(struct attempt *a)
{
    struct tcp_prober *p = a->prober;
    if (loop_now(p->loop) >= a->patient_until_ns || !p->timer_watch)
        return false;
    hang_up(a);
    if (list_empty(&p->retries)) {
        struct itimerspec in = {.it_value.tv_nsec = RETRY_NS};
        timerfd_settime(p->timer_fd, 0, &in, NULL);
    }
    list_append(&p->retries, &a->retry);
    return true;
}

static void on_probe_timer(struct timer *t, int64_t now_ns) { finish(CONTAINER_OF(t, struct attempt, timer), false); }

/* Sends the request, then reads until the status is there. */
static void converse(struct attempt *a)
{
    const char *http = a->request->http;
    if (!a->sent) {
        ssize_t n = send(a->fd, http, strlen(http), MSG_NOSIGNAL);
        if (n != (ssize_t)strlen(http)) {
            finish(a, false); /* a fresh socket takes so little at once */
            return;
        }
        a->sent = true;
        loop_fd_want(a->watch, LOOP_READ);
        return;
    }
    ssize_t n = recv(a->fd, a->answer + a->got, STATUS_LINE_BYTES - a->got, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        finish(a, false);
        return;
    }
    a->got += (size_t)n;
    if (a->got < STATUS_LINE_BYTES)
        return;
    long status = strtol(a->answer + 9, NULL, 10);
    finish(a, strncmp(a->answer, "HTTP/1.", 7) == 0 && status >= 200 && status < 400);
}

/* A connection to a free port of the ephemeral range can get that very port as its own and then meets itself. */
static bool met_itself(int fd)
{
    struct sockaddr_in own = {0}, peer = {0};
    socklen_t own_len = sizeof own, peer_len = sizeof peer;
    return getsockname(fd, (struct sockaddr *)&own, &own_len) != 0 || getpeername(fd, (struct sockaddr *)&peer, &peer_len) != 0 ||
           own.sin_port == peer.sin_port;
}

static void on_socket(void *arg, int events)
{
    struct attempt *a = arg;
    int failed = 0;
    socklen_t len = sizeof failed;
    if (!a->sent && (getsockopt(a->fd, SOL_SOCKET, SO_ERROR, &failed, &len) != 0 || failed || met_itself(a->fd))) {
        if (!ask_again(a))
            finish(a, false);
        return;
    }
    if (a->request->http)
        converse(a);
    else
        finish(a, true);
}

static void dial(struct attempt *a)
{
    struct tcp_prober *p = a->prober;
    struct err e;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(a->request->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    a->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool trying = a->fd >= 0 && (connect(a->fd, (struct sockaddr *)&to, sizeof to) == 0 || errno == EINPROGRESS);
    if (trying && (a->watch = loop_fd_new(p->loop, a->fd, on_socket, a, &e)))
        loop_fd_want(a->watch, LOOP_WRITE);
    else if (!ask_again(a) && timer_set(loop_timers(p->loop), &a->timer, loop_now(p->loop), &e))
        finish(a, false); /* refused at once; said later, by the timer, unless there is no room for one */
}

static void on_retry_timer(void *arg, int events)
{
    struct tcp_prober *p = arg;
    uint64_t times;
    if (read(p->timer_fd, &times, sizeof times) < 0)
        return;
    struct list now;
    list_init(&now);
    for (struct node *n; (n = list_pop(&p->retries));)
        list_append(&now, n);
    for (struct node *n; (n = list_pop(&now));)
        dial(CONTAINER_OF(n, struct attempt, retry));
}

static void tcp_start(struct prober *base, struct probe_request *r)
{
    struct tcp_prober *p = CONTAINER_OF(base, struct tcp_prober, base);
    struct attempt *a = calloc(1, sizeof *a);
    if (!a) {
        r->done(r, false); /* at once, for want of memory for later; whoever asks tries again */
        return;
    }
    a->prober = p;
    a->request = r;
    r->internal = a;
    timer_init(&a->timer, on_probe_timer);
    node_init(&a->retry);
    a->fd = -1;
    a->patient_until_ns = loop_now(p->loop) + r->patience_ns;
    struct err e;
    if (timer_set(loop_timers(p->loop), &a->timer, loop_now(p->loop) + r->timeout_ns, &e))
        finish(a, false);
    else
        dial(a);
}

static void tcp_cancel(struct prober *base, struct probe_request *r)
{
    struct attempt *a = r->internal;
    if (!a)
        return;
    r->internal = NULL;
    attempt_end(a);
}

struct prober *prober_tcp_new(struct loop *engine, struct err *e)
{
    struct tcp_prober *p = calloc(1, sizeof *p);
    if (!p) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the prober");
        return NULL;
    }
    p->base.start = tcp_start;
    p->base.cancel = tcp_cancel;
    p->loop = engine;
    list_init(&p->retries);
    p->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (p->timer_fd >= 0 && (p->timer_watch = loop_fd_new(engine, p->timer_fd, on_retry_timer, p, e)))
        loop_fd_want(p->timer_watch, LOOP_READ);
    return &p->base; /* without its timer it is only less patient */
}

void prober_tcp_free(struct prober *p)
{
    if (!p)
        return;
    struct tcp_prober *t = CONTAINER_OF(p, struct tcp_prober, base);
    if (t->timer_watch)
        loop_fd_free(t->timer_watch);
    if (t->timer_fd >= 0)
        close(t->timer_fd);
    free(t);
}

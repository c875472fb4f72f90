/* server.c: the HTTP server of one io thread: listening, accepting, draining, and the end-of-iteration flush. */
#include "core/http/server_int.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void accept_again(struct timer *t, int64_t now_ns);
static void drain_fire(struct timer *t, int64_t now_ns);

static void config_defaults(struct http_server_config *c)
{
    if (!c->head_max_bytes || c->head_max_bytes > HTTP_HEAD_MAX)
        c->head_max_bytes = HTTP_HEAD_MAX;
    if (!c->connections_max)
        c->connections_max = HTTP_CONNECTIONS_MAX;
    if (!c->held_max_bytes)
        c->held_max_bytes = HTTP_HELD_MAX;
    if (!c->head_timeout_ns)
        c->head_timeout_ns = HTTP_HEAD_TIMEOUT_NS;
    if (!c->body_timeout_ns)
        c->body_timeout_ns = HTTP_BODY_TIMEOUT_NS;
    if (!c->idle_timeout_ns)
        c->idle_timeout_ns = HTTP_IDLE_TIMEOUT_NS;
    if (!c->write_timeout_ns)
        c->write_timeout_ns = HTTP_WRITE_TIMEOUT_NS;
}

struct http_server *http_server_new(struct loop *l, const struct http_server_config *c, http_request_fn fn, void *arg, struct err *e)
{
    struct http_server *s = calloc(1, sizeof *s);
    char *scratch = malloc(HTTP_READ_BYTES);
    if (!s || !scratch) {
        free(s);
        free(scratch);
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for an HTTP server");
        return NULL;
    }
    s->loop = l;
    s->scratch = scratch;
    s->fn = fn;
    s->arg = arg;
    if (c)
        s->config = *c;
    config_defaults(&s->config);
    list_init(&s->conns);
    list_init(&s->dirty);
    list_init(&s->spare);
    timer_init(&s->accept_timer, accept_again);
    timer_init(&s->drain_timer, drain_fire);
    return s;
}

/* ---- accepting ---- */

static void listeners_want(struct http_server *s, int events)
{
    for (size_t i = 0; i < s->listener_count; i++)
        loop_fd_want(s->listeners[i].watch, events);
}

static void accept_again(struct timer *t, int64_t now_ns) { listeners_want(CONTAINER_OF(t, struct http_server, accept_timer), LOOP_READ); }

/* Out of descriptors: the waiting connection stays readable, so look away for a moment. */
static void accept_pause(struct http_server *s)
{
    if (timer_set(loop_timers(s->loop), &s->accept_timer, loop_now(s->loop) + HTTP_ACCEPT_PAUSE_NS, NULL) == 0)
        listeners_want(s, 0);
}

static void peer_format(const struct sockaddr_storage *a, char out[48])
{
    out[0] = '\0';
    if (a->ss_family == AF_INET) {
        inet_ntop(AF_INET, &((const struct sockaddr_in *)a)->sin_addr, out, 48);
    } else if (a->ss_family == AF_INET6) {
        const struct in6_addr *v6 = &((const struct sockaddr_in6 *)a)->sin6_addr;
        if (IN6_IS_ADDR_V4MAPPED(v6))
            inet_ntop(AF_INET, &v6->s6_addr[12], out, 48);
        else
            inet_ntop(AF_INET6, v6, out, 48);
    }
}

static void on_accept(void *arg, int events)
{
    struct http_listener *listener = arg;
    struct http_server *s = listener->server;
    for (int i = 0; i < HTTP_ACCEPT_BATCH; i++) {
        struct sockaddr_storage addr = {0};
        socklen_t len = sizeof addr;
        int fd = accept4(listener->fd, (struct sockaddr *)&addr, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EINTR || errno == ECONNABORTED || ((errno == EMFILE || errno == ENFILE) && http_server_make_room(s)))
                continue;
            if (errno != EAGAIN && errno != EWOULDBLOCK)
                accept_pause(s);
            return;
        }
        if (s->conns.count >= s->config.connections_max)
            http_server_make_room(s);
        size_t over = s->conns.count < s->config.connections_max ? 0 : s->conns.count - s->config.connections_max + 1;
        if (over > HTTP_REFUSALS_MAX) {
            close(fd);
            continue;
        }
        char peer[48];
        int on = 1;
        peer_format(&addr, peer);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        http_conn_new(s, fd, peer, over > 0);
    }
}

int http_server_listen(struct http_server *s, int fd, struct err *e)
{
    if (s->listener_count == HTTP_LISTENERS_MAX)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "a server listens on at most %d sockets", HTTP_LISTENERS_MAX);
    struct http_listener *listener = &s->listeners[s->listener_count];
    *listener = (struct http_listener){.server = s, .fd = fd};
    listener->watch = loop_fd_new(s->loop, fd, on_accept, listener, e);
    if (!listener->watch)
        return -ERR_RESOURCE_EXHAUSTED;
    s->listener_count++;
    loop_fd_want(listener->watch, LOOP_READ);
    return 0;
}

static void listeners_close(struct http_server *s)
{
    timer_cancel(loop_timers(s->loop), &s->accept_timer);
    for (size_t i = 0; i < s->listener_count; i++) {
        loop_fd_free(s->listeners[i].watch);
        close(s->listeners[i].fd);
    }
    s->listener_count = 0;
}

/* ---- the end of an iteration ---- */

static void server_flush(void *arg)
{
    struct http_server *s = arg;
    struct node *n;
    while ((n = list_pop(&s->dirty)))
        http_conn_work(CONTAINER_OF(n, struct http_conn, dirty));
    s->flush_pending = false;
    if (s->freed)
        free(s);
}

void http_server_flush_soon(struct http_server *s)
{
    if (s->flush_pending)
        return;
    s->flush_pending = true;
    loop_bury(s->loop, &s->grave, server_flush, s);
}

/* ---- draining and the end ---- */

static void drain_fire(struct timer *t, int64_t now_ns)
{
    struct http_server *s = CONTAINER_OF(t, struct http_server, drain_timer);
    void (*drained)(void *arg) = s->drained;
    s->drained = NULL;
    if (drained)
        drained(s->drained_arg); /* may free the server: nothing after this */
}

void http_server_conn_gone(struct http_server *s)
{
    /* From a timer of its own, since `drained` may free the server. Its place in the heap is there already. */
    if (s->draining && !s->freed && s->conns.count == 0 && s->drained &&
        timer_set(loop_timers(s->loop), &s->drain_timer, loop_now(s->loop), NULL) != 0)
        drain_fire(&s->drain_timer, loop_now(s->loop));
}

void http_server_drain(struct http_server *s, int64_t due_ns, void (*done)(void *arg), void *arg)
{
    listeners_close(s);
    s->draining = true;
    s->drained = done;
    s->drained_arg = arg;
    int timed = timer_set(loop_timers(s->loop), &s->drain_timer, due_ns, NULL);
    LIST_EACH_SAFE(&s->conns, n) {
        struct http_conn *c = CONTAINER_OF(n, struct http_conn, link);
        if (http_conn_is_idle(c))
            http_conn_close(c);
    }
    if (timed == 0)
        http_server_conn_gone(s);
    else
        drain_fire(&s->drain_timer, loop_now(s->loop)); /* without a deadline we do not wait at all */
}

void http_server_free(struct http_server *s)
{
    if (!s)
        return;
    s->freed = true;
    listeners_close(s);
    timer_cancel(loop_timers(s->loop), &s->drain_timer);
    LIST_EACH_SAFE(&s->conns, n)
        http_conn_close(CONTAINER_OF(n, struct http_conn, link));
    http_exchange_spare_free(s);
    free(s->scratch);
    s->scratch = NULL;
    if (!s->flush_pending)
        free(s);
}

size_t http_server_connections(const struct http_server *s) { return s->conns.count; }

/* ---- the Date field ---- */

static void date_format(int64_t wall_ns, char *out, size_t n)
{
    static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t seconds = (time_t)(wall_ns / NS_PER_S);
    struct tm tm = {0};
    gmtime_r(&seconds, &tm);
    snprintf(out, n, "%s, %02u %s %04u %02u:%02u:%02u GMT", days[tm.tm_wday % 7], (unsigned)tm.tm_mday % 32u, months[tm.tm_mon % 12],
             (unsigned)(tm.tm_year + 1900) % 10000u, (unsigned)tm.tm_hour % 24u, (unsigned)tm.tm_min % 60u, (unsigned)tm.tm_sec % 61u);
}

const char *http_server_date(struct http_server *s)
{
    int64_t now_ns = loop_now(s->loop);
    if (now_ns >= s->date_due_ns) {
        int64_t wall_ns = clock_wall_ns(loop_clock(s->loop));
        date_format(wall_ns, s->date, sizeof s->date);
        s->date_due_ns = now_ns + NS_PER_S - wall_ns % NS_PER_S;
    }
    return s->date;
}

/* ---- sockets ---- */

static int listen_on(const struct addrinfo *a, bool reuse_port, int *sys)
{
    int on = 1;
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if ((!reuse_port || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0) && bind(fd, a->ai_addr, a->ai_addrlen) == 0 &&
            listen(fd, SOMAXCONN) == 0)
            return fd;
    }
    *sys = errno;
    if (fd >= 0)
        close(fd);
    return -1;
}

int http_listen_socket(const char *host, uint16_t port, bool reuse_port, struct err *e)
{
    char service[8];
    snprintf(service, sizeof service, "%u", (unsigned)port);
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    int rc = getaddrinfo(host, service, &hints, &found);
    if (rc != 0)
        return err_set(e, ERR_INVALID_ARGUMENT, "cannot listen on host \"%s\": %s", host, gai_strerror(rc));
    int sys = 0, fd = -1;
    for (struct addrinfo *a = found; a && fd < 0; a = a->ai_next)
        fd = listen_on(a, reuse_port, &sys);
    freeaddrinfo(found);
    if (fd < 0)
        return err_sys(e, sys == EADDRINUSE ? ERR_ALREADY_EXISTS : ERR_UNAVAILABLE, sys, "cannot listen on %s port %u", host,
                       (unsigned)port);
    return fd;
}

uint16_t http_socket_port(int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } addr = {0};
    socklen_t len = sizeof addr;
    if (getsockname(fd, &addr.any, &len) != 0)
        return 0;
    return ntohs(addr.any.sa_family == AF_INET6 ? addr.v6.sin6_port : addr.v4.sin_port);
}

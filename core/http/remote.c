/* remote.c: connections made by libcurl (CONNECT_ONLY) on our loop. The only file that knows curl's multi interface. */
#include "core/http/remote.h"

#include "core/base/list.h"
#include "core/http/curl.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct remote {
    const struct curl *curl;
    struct loop *loop;
    CURLM *multi;
    struct timer timer; /* curl's own */
};
struct remote_conn {
    struct remote *remote;
    CURL *easy;
    bool ready;
    bool plain; /* bytes go to the socket as they are, past libcurl */
    bool taken; /* the socket is ours: libcurl has let go of it, and `easy` is gone */
    int fd;
    void (*on_ready)(void *arg, const struct err *e);
    void *arg;
    char *out; /* OpenSSL wants a write repeated with the same bytes at the same address, so they are kept here */
    size_t out_off, out_end;
    char why[CURL_ERROR_SIZE];
    char name[320];
};

/* ---- driving curl from the loop ---- */

static void remote_collect(struct remote *r);

static void remote_drive(struct remote *r, curl_socket_t fd, int events)
{
    int running;
    r->curl->multi_socket_action(r->multi, fd, events, &running);
    remote_collect(r);
}

/* One socket that curl watches while it connects. */
struct remote_watch {
    struct remote *remote;
    struct loop_fd *fd_watch;
    curl_socket_t fd;
    struct grave grave;
};

static void on_socket_event(void *arg, int events)
{
    struct remote_watch *w = arg;
    int mask = (events & LOOP_READ ? CURL_CSELECT_IN : 0) | (events & LOOP_WRITE ? CURL_CSELECT_OUT : 0);
    remote_drive(w->remote, w->fd, mask);
}

static struct remote_watch *watch_new(struct remote *r, curl_socket_t fd)
{
    struct remote_watch *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    w->remote = r;
    w->fd = fd;
    w->fd_watch = loop_fd_new(r->loop, fd, on_socket_event, w, NULL);
    if (!w->fd_watch) {
        free(w);
        return NULL;
    }
    r->curl->multi_assign(r->multi, fd, w);
    return w;
}

static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
    struct remote *r = arg;
    struct remote_watch *w = socket_arg;
    if (what == CURL_POLL_REMOVE) {
        if (w) {
            loop_fd_free(w->fd_watch);
            loop_bury(r->loop, &w->grave, free, w);
            r->curl->multi_assign(r->multi, fd, NULL);
        }
        return 0;
    }
    if (!w)
        w = watch_new(r, fd);
    if (!w)
        return 0; /* out of memory: this one runs into its deadline; -1 would be the end of all of them */
    loop_fd_want(w->fd_watch, (what & CURL_POLL_IN ? LOOP_READ : 0) | (what & CURL_POLL_OUT ? LOOP_WRITE : 0));
    return 0;
}

static int on_curl_timer(CURLM *multi, long timeout_ms, void *arg)
{
    struct remote *r = arg;
    if (timeout_ms < 0) {
        timer_cancel(loop_timers(r->loop), &r->timer);
        return 0;
    }
    /* Out of memory: connections run into our own deadline; -1 would be the end of all of them. */
    if (timer_set(loop_timers(r->loop), &r->timer, loop_now(r->loop) + timeout_ms * NS_PER_MS, NULL) != 0)
        timer_cancel(loop_timers(r->loop), &r->timer);
    return 0;
}

static void on_timer(struct timer *t, int64_t now_ns) { remote_drive(CONTAINER_OF(t, struct remote, timer), CURL_SOCKET_TIMEOUT, 0); }

struct remote *remote_new(struct loop *l, struct err *e)
{
    const struct curl *curl = http_curl(e);
    if (!curl)
        return NULL;
    struct remote *r = calloc(1, sizeof *r);
    CURLM *multi = r ? curl->multi_init() : NULL;
    if (!multi) {
        free(r);
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for connections to URLs");
        return NULL;
    }
    r->curl = curl;
    r->loop = l;
    r->multi = multi;
    timer_init(&r->timer, on_timer);
    curl->multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
    curl->multi_setopt(multi, CURLMOPT_SOCKETDATA, r);
    curl->multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
    curl->multi_setopt(multi, CURLMOPT_TIMERDATA, r);
    return r;
}

void remote_free(struct remote *r)
{
    if (!r)
        return;
    r->curl->multi_cleanup(r->multi);
    timer_cancel(loop_timers(r->loop), &r->timer);
    free(r);
}

/* ---- connecting ---- */

static int on_curl_close(void *arg, curl_socket_t fd)
{
    struct remote_conn *c = arg;
    if (fd != c->fd)
        return close(fd); /* of an address that did not answer */
    c->taken = true;
    return 0;
}

/* libcurl thinks that nobody uses a connection of which it hears nothing. When it makes another one it looks for such that the peer
 * has closed or that are older than two minutes, and closes the socket, whose number the next one gets. So a plain socket is
 * taken from it. */
static void conn_take(struct remote_conn *c, int fd)
{
    c->fd = fd;
    c->remote->curl->multi_remove_handle(c->remote->multi, c->easy);
    c->remote->curl->easy_cleanup(c->easy);
    c->easy = NULL;
    assert(c->taken);
}

/* A TLS connection is in use for libcurl from the first read on: so there is one at once, which finds nothing. */
static CURLcode conn_use(struct remote_conn *c)
{
    char byte;
    size_t n;
    CURLcode rc = c->remote->curl->easy_recv(c->easy, &byte, 1, &n);
    if (rc == CURLE_OK)
        snprintf(c->why, sizeof c->why, n ? "it speaks before it is asked" : "it closed the connection");
    return rc == CURLE_AGAIN ? CURLE_OK : rc == CURLE_OK ? CURLE_GOT_NOTHING : rc;
}

static void conn_finish(struct remote_conn *c, CURLcode result)
{
    struct err e;
    curl_socket_t fd = CURL_SOCKET_BAD;
    if (result == CURLE_OK && (c->remote->curl->easy_getinfo(c->easy, CURLINFO_ACTIVESOCKET, &fd) != CURLE_OK || fd == CURL_SOCKET_BAD))
        result = CURLE_COULDNT_CONNECT;
    if (result == CURLE_OK && c->plain)
        conn_take(c, fd);
    else if (result == CURLE_OK)
        result = conn_use(c);
    if (result == CURLE_OK) {
        c->ready = true;
        c->fd = fd;
        c->on_ready(c->arg, NULL);
        return;
    }
    err_set(&e, ERR_UNAVAILABLE, "cannot connect to %s: %s", c->name, c->why[0] ? c->why : c->remote->curl->easy_strerror(result));
    e.sys = (int)result;
    c->on_ready(c->arg, &e);
}

static void remote_collect(struct remote *r)
{
    CURLMsg *msg;
    int left;
    while ((msg = r->curl->multi_info_read(r->multi, &left))) {
        char *private = NULL;
        CURLcode result = msg->data.result; /* the message dies with its handle */
        if (msg->msg == CURLMSG_DONE && r->curl->easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &private) == CURLE_OK && private)
            conn_finish((struct remote_conn *)private, result);
    }
}

static bool easy_configure(struct remote_conn *c, const char *url, int64_t timeout_ns)
{
    const struct curl *curl = c->remote->curl;
    CURL *h = c->easy;
    const char *ca = http_curl_ca_file();
    bool ok = curl->easy_setopt(h, CURLOPT_URL, url) == CURLE_OK;
    ok &= curl->easy_setopt(h, CURLOPT_CONNECT_ONLY, 1L) == CURLE_OK;
    ok &= curl->easy_setopt(h, CURLOPT_PRIVATE, c) == CURLE_OK;
    ok &= curl->easy_setopt(h, CURLOPT_ERRORBUFFER, c->why) == CURLE_OK;
    ok &= curl->easy_setopt(h, CURLOPT_NOSIGNAL, 1L) == CURLE_OK;
    ok &= curl->easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, (long)(timeout_ns / NS_PER_MS)) == CURLE_OK;
    ok &= curl->easy_setopt(h, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK; /* ALPN must not offer h2 */
    ok &= curl->easy_setopt(h, CURLOPT_HTTPPROXYTUNNEL, 1L) == CURLE_OK; /* else a proxy would want other request lines */
    ok &= curl->easy_setopt(h, CURLOPT_FRESH_CONNECT, 1L) == CURLE_OK;
    if (c->plain) {
        ok &= curl->easy_setopt(h, CURLOPT_CLOSESOCKETFUNCTION, on_curl_close) == CURLE_OK;
        ok &= curl->easy_setopt(h, CURLOPT_CLOSESOCKETDATA, c) == CURLE_OK;
    }
    ok &= curl->easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK;
    /* With a CA path besides the CA file curl does not cache the parsed CAs: 20 ms for every connection. */
    ok &= curl->easy_setopt(h, CURLOPT_CAPATH, NULL) == CURLE_OK;
    if (ca)
        ok &= curl->easy_setopt(h, CURLOPT_CAINFO, ca) == CURLE_OK;
    return ok;
}

/* A proxy may want TLS of its own, also below an http URL. */
static bool may_use_proxy(void)
{
    static const char *const names[] = {"http_proxy", "all_proxy", "ALL_PROXY"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const char *proxy = getenv(names[i]);
        if (proxy && *proxy)
            return true;
    }
    return false;
}

struct remote_conn *remote_connect(struct remote *r, const struct url *u, int64_t timeout_ns,
                                   void (*on_ready)(void *arg, const struct err *e), void *arg, struct err *e)
{
    bool v6 = memchr(u->host.p, ':', u->host.n) != NULL;
    struct remote_conn *c = calloc(1, sizeof *c);
    if (c)
        c->easy = r->curl->easy_init();
    if (!c || !c->easy) {
        free(c);
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for a connection to a URL");
        return NULL;
    }
    c->remote = r;
    c->fd = -1;
    /* easy_send and easy_recv look for their connection among all of the multi: 3,000 of them cost 20 us a request. */
    c->plain = !u->https && !may_use_proxy();
    c->on_ready = on_ready;
    c->arg = arg;
    snprintf(c->name, sizeof c->name, "%s://%s%.*s%s:%u", u->https ? "https" : "http", v6 ? "[" : "", (int)u->host.n, u->host.p,
             v6 ? "]" : "", (unsigned)u->port);
    if (easy_configure(c, c->name, timeout_ns) && r->curl->multi_add_handle(r->multi, c->easy) == CURLM_OK)
        return c;
    c->remote->curl->easy_cleanup(c->easy);
    free(c);
    err_set(e, ERR_RESOURCE_EXHAUSTED, "libcurl cannot begin a connection");
    return NULL;
}

int remote_fd(const struct remote_conn *c) { return c->fd; }
bool remote_plain(const struct remote_conn *c) { return c->plain; }

void remote_close(struct remote_conn *c)
{
    if (!c)
        return;
    if (c->easy) {
        c->remote->curl->multi_remove_handle(c->remote->multi, c->easy);
        c->remote->curl->easy_cleanup(c->easy);
    }
    if (c->taken)
        close(c->fd);
    free(c->out);
    free(c);
}

/* ---- bytes ---- */

bool remote_pending(const struct remote_conn *c) { return c->out_off < c->out_end; }

static int out_flush(struct remote_conn *c)
{
    while (remote_pending(c)) {
        size_t n = 0;
        CURLcode rc = c->remote->curl->easy_send(c->easy, c->out + c->out_off, c->out_end - c->out_off, &n);
        if (rc != CURLE_OK) {
            errno = rc == CURLE_AGAIN ? EAGAIN : EPIPE;
            return -1;
        }
        c->out_off += n;
    }
    return 0;
}

ssize_t remote_send(struct remote_conn *c, const void *data, size_t n)
{
    if (out_flush(c) != 0)
        return -1;
    if (!c->out)
        c->out = malloc(REMOTE_SEND_BYTES);
    if (!c->out) {
        errno = ENOMEM;
        return -1;
    }
    if (n > REMOTE_SEND_BYTES)
        n = REMOTE_SEND_BYTES;
    memcpy(c->out, data, n);
    c->out_off = 0;
    c->out_end = n;
    if (out_flush(c) != 0 && errno != EAGAIN)
        return -1;
    return (ssize_t)n;
}

ssize_t remote_recv(struct remote_conn *c, void *data, size_t n)
{
    size_t got = 0;
    CURLcode rc = c->remote->curl->easy_recv(c->easy, data, n, &got);
    if (rc == CURLE_OK)
        return (ssize_t)got;
    errno = rc == CURLE_AGAIN ? EAGAIN : ECONNRESET;
    return -1;
}

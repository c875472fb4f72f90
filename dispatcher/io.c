/* io.c: the io threads: made and taken down by the engine, each otherwise left to its loop. */
#include "dispatcher/io_int.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A snapshot on its way to one thread. */
struct routes_mail {
    struct mail mail;
    struct io_thread *thread;
    struct routes *routes;
};

/* ---- on an io thread ---- */

static void on_request(void *arg, struct http_exchange *x, const struct http_request *req)
{
    struct io_thread *t = arg;
    if (t->routes && routes_ours(t->routes, req->host))
        ingress_serve(t->ingress, t->routes, x, req);
    else
        rest_serve(t->rest, x, req);
}

static void on_routes(struct mail *m)
{
    struct routes_mail *rm = CONTAINER_OF(m, struct routes_mail, mail);
    routes_unref(rm->thread->routes);
    rm->thread->routes = rm->routes;
    free(rm);
}

static void on_thread_drained(struct mail *m);

static void on_server_drained(void *arg)
{
    struct io_thread *t = arg;
    t->drain.deliver = on_thread_drained;
    mailbox_post(t->io->config.engine, &t->drain);
}

static void on_drain(struct mail *m)
{
    struct io_thread *t = CONTAINER_OF(m, struct io_thread, drain);
    http_server_drain(t->server, t->drain_due_ns, on_server_drained, t);
}

static void run(void *arg)
{
    struct io_thread *t = arg;
    loop_run(t->loop);
}

/* ---- starting ---- */

static int thread_parts(struct io_thread *t, struct err *e)
{
    const struct io_config *c = &t->io->config;
    t->loop = loop_new(e);
    t->client = t->loop ? http_client_new(t->loop, e) : NULL;
    if (!t->client)
        return -ERR_RESOURCE_EXHAUSTED;
    slot_waits_init(&t->waits, c->engine, loop_mailbox(t->loop));
    const struct ingress_deps deps = {.loop = t->loop, .client = t->client, .waits = &t->waits, .rng = &t->rng, .log = c->log};
    t->ingress = ingress_new(&deps, e);
    t->rest = rest_new(t->loop, &c->rest, e);
    t->server = http_server_new(t->loop, &c->http, on_request, t, e);
    return t->ingress && t->rest && t->server ? 0 : -ERR_RESOURCE_EXHAUSTED;
}

static int thread_make(struct io *io, struct io_thread *t, uint16_t port, struct err *e)
{
    t->io = io;
    t->fd = -1;
    list_init(&t->deliveries);
    list_init(&t->spare);
    list_init(&t->waits.all);
    rng_seed_os(&t->rng);
    int rc = thread_parts(t, e);
    if (rc)
        return rc;
    t->fd = http_listen_socket(io->config.host, port, true, e);
    if (t->fd < 0) {
        if (e)
            e->code = ERR_UNAVAILABLE;
        return -ERR_UNAVAILABLE;
    }
    if (!io->port)
        io->port = http_socket_port(t->fd);
    rc = http_server_listen(t->server, t->fd, e);
    if (rc == 0)
        t->fd = -1; /* the server's now */
    return rc;
}

static void thread_take_down(struct io_thread *t)
{
    http_server_free(t->server);
    http_client_free(t->client);
    if (t->loop)
        mailbox_deliver(loop_mailbox(t->loop)); /* answers that came too late: what they hold is let go */
    slot_waits_fini(&t->waits);
    ingress_free(t->ingress);
    deliveries_fini(t);
    rest_free(t->rest);
    routes_unref(t->routes);
    if (t->fd >= 0)
        close(t->fd);
    loop_free(t->loop);
}

static void declare_metrics(struct io *io)
{
    struct metrics *m = io->config.metrics;
    if (!m)
        return;
    io->requests = metrics_family(m, METRIC_COUNTER, "runnel_request_count",
                                  "Requests to services by the class of their answer; none: the client went away.", "service,code_class");
    io->latency = metrics_family(m, METRIC_HISTOGRAM, "runnel_request_latencies_seconds", "From a request's head to its end.", "service");
}

struct io *io_start(const struct io_config *c, struct err *e)
{
    assert(c->threads >= 1 && c->threads <= IO_THREADS_MAX);
    struct io *io = calloc(1, sizeof *io);
    if (!io) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the io threads");
        return NULL;
    }
    io->config = *c;
    io->port = c->port;
    declare_metrics(io);
    push_transport_init(&io->transport, io);
    int rc = 0;
    for (; io->n < c->threads && !rc; io->n++) /* all of them before one runs: the port is ours or it is not */
        rc = thread_make(io, &io->threads[io->n], io->port, e);
    for (uint32_t i = 0; i < io->n && !rc; i++) {
        char name[16];
        snprintf(name, sizeof name, "io-%u", i);
        io->threads[i].thread = thread_start(name, run, &io->threads[i], e);
        rc = io->threads[i].thread ? 0 : -ERR_RESOURCE_EXHAUSTED;
    }
    if (!rc)
        return io;
    io_stop(io);
    return NULL;
}

uint16_t io_port(const struct io *io) { return io->port; }
struct transport *io_transport(struct io *io) { return &io->transport.base; }

/* ---- routes ---- */

static void measure_service(void *arg, const struct route_service *s, struct route_metrics *m)
{
    static const char *const classes[ROUTE_CODE_CLASSES] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};
    const struct io *io = arg;
    const char *values[METRIC_LABELS_MAX] = {s->name};
    m->latency = metric_series(io->latency, values);
    for (size_t i = 0; i < ROUTE_CODE_CLASSES; i++) {
        values[1] = classes[i];
        m->requests[i] = metric_series(io->requests, values);
    }
}

void io_routes(struct io *io, struct routes *r)
{
    if (io->requests && io->latency)
        routes_measure(r, measure_service, io);
    for (uint32_t i = 0; i < io->n; i++) {
        struct routes_mail *m = malloc(sizeof *m);
        if (!m) { /* the thread goes on with its old one; the next change brings it along */
            log_kv(io->config.log, LOG_ERROR, "io.routes_lost", LINT("thread", i), LSTR("error", "out of memory"));
            continue;
        }
        *m = (struct routes_mail){.mail = {.deliver = on_routes}, .thread = &io->threads[i], .routes = routes_ref(r)};
        mailbox_post(loop_mailbox(io->threads[i].loop), &m->mail);
    }
    routes_unref(r);
}

/* ---- ending ---- */

static void on_thread_drained(struct mail *m)
{
    struct io *io = CONTAINER_OF(m, struct io_thread, drain)->io;
    if (--io->draining == 0)
        io->drained(io->drained_arg);
}

void io_drain(struct io *io, int64_t grace_ns, void (*done)(void *arg), void *arg)
{
    assert(io->draining == 0);
    io->drained = done;
    io->drained_arg = arg;
    io->draining = io->n;
    int64_t due_ns = clock_mono_ns(clock_real()) + grace_ns;
    for (uint32_t i = 0; i < io->n; i++) {
        struct io_thread *t = &io->threads[i];
        t->drain_due_ns = due_ns;
        t->drain.deliver = on_drain;
        mailbox_post(loop_mailbox(t->loop), &t->drain);
    }
}

void io_stop(struct io *io)
{
    if (!io)
        return;
    for (uint32_t i = 0; i < io->n; i++)
        if (io->threads[i].thread)
            loop_stop(io->threads[i].loop);
    for (uint32_t i = 0; i < io->n; i++)
        thread_join(io->threads[i].thread);
    for (uint32_t i = 0; i < io->n; i++)
        thread_take_down(&io->threads[i]);
    push_transport_fini(&io->transport);
    free(io);
}

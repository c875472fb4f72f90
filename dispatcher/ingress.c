/* ingress.c: the life of a request to a service. Its headers are made in ingress_head.c. */
#include "dispatcher/ingress.h"

#include "dispatcher/ingress_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct ingress {
    struct ingress_deps deps;
    struct list visits;
};

/* ---- the end ---- */

static void visit_free(void *arg)
{
    struct visit *v = arg;
    buf_fini(&v->text);
    pool_unref(v->pool);
    routes_unref(v->routes);
    free(v);
}

/* Gone once client, instance and queue have all let go of it; not from inside one of their callbacks. */
static void visit_release(struct visit *v)
{
    if (v->x || v->call || v->wait || v->buried)
        return;
    v->buried = true;
    list_remove(&v->in->visits, &v->link);
    loop_bury(v->in->deps.loop, &v->grave, visit_free, v);
}

static void slot_release(struct visit *v)
{
    if (!v->has_slot)
        return;
    v->has_slot = false;
    pool_release(&v->grant, loop_now(v->in->deps.loop) - v->slot_ns);
}

static void measure(const struct route_service *s, int status, int64_t latency_ns)
{
    int class = status / 100;
    metric_add(s->metrics.requests[class >= 1 && class <= 5 ? class : 0], 1);
    metric_observe(s->metrics.latency, (double)latency_ns / (double)NS_PER_S);
}

static void reply_text(struct http_exchange *x, int status, const char *text)
{
    char line[sizeof((struct err *)0)->msg + 2];
    int n = snprintf(line, sizeof line, "%s\n", text);
    struct headers h = {.n = 0};
    struct err e;
    struct str body = {line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1};
    if (status != 401 && status != 429) {
        http_reply(x, status, "text/plain; charset=utf-8", body);
        return;
    }
    if (headers_add(&h, STR("content-type"), STR("text/plain; charset=utf-8"), &e) ||
        headers_add(&h, status == 401 ? STR("www-authenticate") : STR("retry-after"),
                    status == 401 ? STR("Bearer error=\"invalid_token\"") : STR("1"), &e) ||
        http_respond(x, status, &h, (int64_t)body.n, &e)) {
        http_abort(x);
        return;
    }
    http_write(x, body);
    http_finish(x);
}

static void fail(struct visit *v, int status, const struct err *e)
{
    if (!v->x || v->failed)
        return;
    v->failed = true;
    log_kv(v->in->deps.log, status >= 500 ? LOG_WARN : LOG_INFO, "ingress.failed", LSTR("service", v->service->name),
           LSTR("revision", v->target->revision), LINT("status", status), LSTR("error", e->msg));
    if (v->head_sent) {
        http_abort(v->x); /* an answer that was begun cannot become an error: only break off */
        return;
    }
    v->status = status;
    v->head_sent = true;
    reply_text(v->x, status, e->msg);
}

/* Why nobody serves, as a status. */
static int queue_status(enum err_code code)
{
    switch (code) {
    case ERR_RESOURCE_EXHAUSTED:
        return 429;
    case ERR_DEADLINE_EXCEEDED:
        return 504;
    default:
        return 503;
    }
}

/* ---- the instance's side ---- */

static void take_slot(struct visit *v);

static void on_head(void *arg, const struct http_response *r)
{
    struct visit *v = arg;
    struct headers h;
    struct err e = {0};
    if (!v->x)
        return;
    int rc = ingress_answer_headers(r, &h, &e);
    rc = rc ? rc : http_respond(v->x, r->status, &h, r->upgraded ? -1 : r->body_bytes, &e);
    v->status = rc ? 502 : r->status;
    if (rc) {
        err_wrap(&e, "the instance's answer cannot be passed on");
        fail(v, 502, &e);
        http_call_cancel(v->call);
        return;
    }
    v->head_sent = true;
    if (r->upgraded)
        http_upgraded(v->x);
}

static void on_answer_body(void *arg, struct str bytes)
{
    struct visit *v = arg;
    if (v->x && v->head_sent && !http_write(v->x, bytes))
        http_call_pause(v->call);
}

static void on_call_writable(void *arg)
{
    struct visit *v = arg;
    if (v->x)
        http_resume(v->x);
}

/* Refused before a byte of the request was read or sent: another instance may have it. */
static bool may_try_again(const struct visit *v, const struct err *e)
{
    return e->sys == ECONNREFUSED && !v->head_sent && !v->body_seen && v->tries < INGRESS_TRIES_MAX &&
           loop_now(v->in->deps.loop) < v->due_ns;
}

static void on_call_done(void *arg, const struct err *e)
{
    struct visit *v = arg;
    v->call = NULL;
    slot_release(v);
    if (v->x && e && may_try_again(v, e)) {
        http_pause(v->x);
        take_slot(v);
    } else if (v->x && e) {
        fail(v, e->code == ERR_DEADLINE_EXCEEDED ? 504 : e->code == ERR_INTERNAL ? 502 : 503, e);
    } else if (v->x && !v->failed) {
        http_finish(v->x);
    }
    visit_release(v);
}

static const struct http_call_ops call_ops = {on_head, on_answer_body, on_call_writable, on_call_done};

static void start_call(struct visit *v)
{
    const struct http_request *req = v->req;
    struct err e = {0};
    struct http_target target = {.local = true, .port = v->grant.port, .generation = v->grant.generation};
    bool has_body = req->body_bytes != 0;
    struct http_call_spec spec = {
        .method = req->method,
        .target = req->target,
        .host = v->host,
        .headers = &v->headers,
        .stream = has_body,
        .stream_bytes = req->body_bytes,
        .upgrade = v->upgrade,
        .replayable = !has_body && ingress_method_safe(req->method),
        .due_ns = v->due_ns,
    };
    v->tries++;
    v->call = http_call_start(v->in->deps.client, &target, &spec, &call_ops, v, &e);
    if (!v->call) {
        slot_release(v);
        fail(v, 503, &e);
        visit_release(v);
        return;
    }
    if (v->ended && has_body)
        http_call_end(v->call);
    http_resume(v->x);
}

static void have_slot(struct visit *v, const struct pool_grant *g)
{
    v->grant = *g;
    v->has_slot = true;
    v->slot_ns = loop_now(v->in->deps.loop);
    start_call(v);
}

/* Whoever waits long may have gone meanwhile; an instance's time is for those who are still there. */
static bool gave_up(const struct visit *v)
{
    return loop_now(v->in->deps.loop) - v->begin_ns >= INGRESS_GIVE_UP_NS && http_exchange_gone(v->x);
}

static void on_slot(void *arg, const struct pool_grant *g, const struct err *e)
{
    struct visit *v = arg;
    v->wait = NULL;
    if (g && gave_up(v)) {
        pool_release(g, 0);
        http_abort(v->x);
        return;
    }
    if (g) {
        have_slot(v, g);
        return;
    }
    fail(v, queue_status(e->code), e);
    visit_release(v);
}

static void take_slot(struct visit *v)
{
    struct pool_grant g;
    struct err e = {0};
    if (v->tries < 2 && pool_acquire(v->pool, &g)) {
        have_slot(v, &g);
        return;
    }
    v->wait = slot_wait_start(v->in->deps.waits, v->pool, v->due_ns, on_slot, v, &e);
    if (!v->wait)
        fail(v, queue_status(e.code), &e);
}

/* ---- the client's side ---- */

static void on_body(struct http_exchange *x, void *arg, struct str bytes)
{
    struct visit *v = arg;
    v->body_seen = true;
    if (v->call && !http_call_write(v->call, bytes))
        http_pause(x);
}

static void on_end(struct http_exchange *x, void *arg)
{
    struct visit *v = arg;
    v->ended = true;
    if (v->call)
        http_call_end(v->call);
}

static void on_writable(struct http_exchange *x, void *arg)
{
    struct visit *v = arg;
    if (v->call)
        http_call_resume(v->call);
}

static void on_half_close(struct http_exchange *x, void *arg)
{
    struct visit *v = arg;
    if (!v->head_sent && gave_up(v))
        http_abort(x);
}

static void on_close(struct http_exchange *x, void *arg, bool complete)
{
    struct visit *v = arg;
    v->x = NULL;
    v->req = NULL;
    if (v->wait)
        slot_wait_abandon(v->wait);
    v->wait = NULL;
    if (v->call)
        http_call_cancel(v->call); /* the slot is free once the call has ended */
    int64_t latency_ns = loop_now(v->in->deps.loop) - v->begin_ns;
    measure(v->service, complete || v->status == 101 ? v->status : 0, latency_ns);
    log_kv(v->in->deps.log, LOG_DEBUG, "ingress.request", LSTR("service", v->service->name), LSTR("revision", v->target->revision),
           LINT("status", v->status), LBOOL("complete", complete), LINT("latency_us", latency_ns / NS_PER_US));
    visit_release(v);
}

static const struct http_exchange_ops exchange_ops = {
    .on_body = on_body,
    .on_end = on_end,
    .on_writable = on_writable,
    .on_close = on_close,
    .on_half_close = on_half_close,
};

/* ---- coming in ---- */

static void refuse(const struct route_service *s, struct http_exchange *x, int status, const struct err *e)
{
    if (s)
        measure(s, status, 0);
    reply_text(x, status, e->msg);
}

static struct visit *visit_new(struct ingress *in, struct routes *routes, const struct route_match_host *m, struct http_exchange *x,
                               const struct http_request *req)
{
    struct visit *v = malloc(sizeof *v);
    if (!v)
        return NULL;
    /* Not zeroed whole: the list of headers is four kilobytes. */
    memset(v, 0, offsetof(struct visit, headers));
    v->headers.n = 0;
    v->in = in;
    v->x = x;
    v->req = req;
    v->routes = routes_ref(routes);
    v->service = m->service;
    v->target = m->target;
    v->pool = pool_ref(m->target->pool);
    v->begin_ns = loop_now(in->deps.loop);
    v->due_ns = v->begin_ns + m->service->timeout_ns;
    buf_init(&v->text, INGRESS_TEXT_MAX);
    node_init(&v->link);
    list_append(&in->visits, &v->link);
    return v;
}

void ingress_serve(struct ingress *in, struct routes *routes, struct http_exchange *x, const struct http_request *req)
{
    struct route_match_host m = {0};
    struct err e = {0};
    int rc = routes_find(routes, req->host, in->deps.rng, &m, &e);
    if (rc == -ERR_NOT_FOUND) {
        refuse(NULL, x, 404, &e);
        return;
    }
    if (m.service->off) {
        err_set(&e, ERR_NOT_FOUND, "%s cannot be reached from here: %s", m.service->name, m.service->off);
        refuse(m.service, x, 404, &e);
        return;
    }
    struct str checked = {0};
    int status = ingress_admit(routes_keys(routes), m.service, &req->headers, clock_wall_ns(loop_clock(in->deps.loop)), &checked, &e);
    if (!status && rc)
        status = 503;
    if (status) {
        refuse(m.service, x, status, &e);
        return;
    }
    struct visit *v = visit_new(in, routes, &m, x, req);
    if (!v || ingress_request_headers(v, checked, in->deps.rng, &e)) {
        refuse(m.service, x, v ? 431 : 503, v ? &e : &(struct err){.msg = "out of memory"});
        if (v) {
            v->x = NULL;
            visit_release(v);
        }
        return;
    }
    http_accept(x, &exchange_ops, v);
    http_pause(x); /* the body stays with the client until there is an instance to give it to */
    take_slot(v);
}

/* ---- life ---- */

struct ingress *ingress_new(const struct ingress_deps *d, struct err *e)
{
    struct ingress *in = calloc(1, sizeof *in);
    if (!in) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the ingress");
        return NULL;
    }
    in->deps = *d;
    list_init(&in->visits);
    return in;
}

void ingress_free(struct ingress *in)
{
    if (!in)
        return;
    /* Server and client have told each that it is over; what was buried goes with the loop. */
    LIST_EACH_SAFE(&in->visits, n) {
        struct visit *v = CONTAINER_OF(n, struct visit, link);
        slot_release(v);
        visit_free(v);
    }
    free(in);
}

/* transport_io.c: the real transport. Engine side: pick an io thread, carry the request there and its answer back. Io side: a
 * delivery, which is a call to an instance of ours or to any URL. What is sent is transport_content.c's business. */
#include "dispatcher/transport_int.h"

#include "core/base/text.h"
#include "core/http/date.h"
#include "dispatcher/envelope.h"

#include <assert.h>
#include <stdlib.h>

#define PUSH_SPREAD 32                /* a thread with this many pushes more than the least busy one is passed over */
#define PUSH_ANSWER_MAX (1024 * 1024) /* bytes of an answer that are read before it is called off: only the status counts */
#define DELIVERY_SPARE_MAX 256
#define JOB_SPARE_MAX 1024
#define DELIVERY_SPARE_BYTES (64 * 1024) /* larger body buffers are not kept */

/* ---- io thread: the end of a delivery ---- */

static void on_answered(struct mail *m);

static void delivery_free(struct delivery *d)
{
    buf_fini(&d->body);
    buf_fini(&d->auth);
    free(d);
}

static void delivery_spare(struct delivery *d)
{
    struct io_thread *t = d->thread;
    list_remove(&t->deliveries, &d->link);
    pool_unref(d->pool);
    routes_unref(d->routes);
    if (t->spare.count >= DELIVERY_SPARE_MAX) {
        delivery_free(d);
        return;
    }
    if (d->body.cap > DELIVERY_SPARE_BYTES)
        buf_fini(&d->body);
    list_prepend(&t->spare, &d->link);
}

static void slot_release(struct delivery *d)
{
    if (!d->has_slot)
        return;
    d->has_slot = false;
    pool_release(&d->grant, loop_now(d->thread->loop) - d->slot_ns);
}

static void send_back(struct push_job *job, int status, const struct err *e)
{
    struct push_request *r = job->request;
    r->status = status;
    if (e)
        r->err = *e;
    r->answered_ns = loop_now(job->thread->loop);
    job->mail.deliver = on_answered;
    loop_post(job->thread->loop, job->thread->io->config.engine, &job->mail);
}

static void finish(struct delivery *d, int status, const struct err *e)
{
    struct push_job *job = d->job;
    slot_release(d);
    job->delivery = NULL;
    delivery_spare(d);
    send_back(job, status, e);
}

/* ---- io thread: the call ---- */

static void on_head(void *arg, const struct http_response *r)
{
    struct delivery *d = arg;
    d->status = r->status;
    if (r->status == 429 || r->status == 503)
        d->job->request->retry_after_ns =
            retry_after_ns(headers_get(&r->headers, "retry-after"), clock_wall_ns(loop_clock(d->thread->loop)), RETRY_AFTER_MAX_NS);
}

static void on_body(void *arg, struct str bytes)
{
    struct delivery *d = arg;
    d->answer_bytes += bytes.n;
    if (d->answer_bytes <= PUSH_ANSWER_MAX || d->enough)
        return;
    d->enough = true;
    http_call_cancel(d->call);
}

static void on_done(void *arg, const struct err *e)
{
    struct delivery *d = arg;
    d->call = NULL;
    if (e && !d->enough)
        finish(d, 0, e);
    else
        finish(d, d->status, NULL);
}

static const struct http_call_ops call_ops = {on_head, on_body, NULL, on_done};

/* Not that a peer cannot be reached, which comes later by on_done: nothing can be sent to any, and only this host can change that. */
static void tell_if_none_can_begin(struct io_thread *t, bool begun, const struct err *e)
{
    if (!begun && e->code == ERR_UNAVAILABLE && !t->told)
        log_kv(t->io->config.log, LOG_ERROR, "io.cannot_call", LSTR("error", e->msg), LSTR("do", "messages and tasks wait until it can"));
    t->told = !begun && (t->told || e->code == ERR_UNAVAILABLE);
}

static void start_call(struct delivery *d, const struct route_service *ours)
{
    struct push_request *r = d->job->request;
    struct err e = {0};
    struct http_target target = {.url = *push_url(r)};
    struct http_call_spec spec;
    if (ours)
        target = (struct http_target){.local = true, .port = d->grant.port, .generation = d->grant.generation};
    if (delivery_content(d, ours, &spec, &e)) {
        finish(d, 0, &e);
        return;
    }
    r->sent_ns = loop_now(d->thread->loop);
    d->call = http_call_start(d->thread->client, &target, &spec, &call_ops, d, &e);
    if (!ours)
        tell_if_none_can_begin(d->thread, d->call != NULL, &e);
    if (!d->call)
        finish(d, 0, &e);
}

/* ---- io thread: to a service of ours ---- */

static const struct route_service *service_of(const struct delivery *d, const struct route_target **target, struct err *e)
{
    struct route_match_host m;
    if (routes_find(d->routes, push_url(d->job->request)->host, &d->thread->rng, &m, e))
        return NULL;
    *target = m.target;
    return m.service;
}

static void on_slot(void *arg, const struct pool_grant *g, const struct err *e)
{
    struct delivery *d = arg;
    struct err gone = {0};
    d->wait = NULL;
    if (!g) {
        finish(d, 0, e);
        return;
    }
    d->grant = *g;
    d->has_slot = true;
    d->slot_ns = loop_now(d->thread->loop);
    const struct route_target *target;
    const struct route_service *s = service_of(d, &target, &gone);
    if (s)
        start_call(d, s);
    else
        finish(d, 0, &gone);
}

/* The invoker policy holds for these as for everybody. The account of a push, or of a token of ours, is known: no signature to check.
 * Somebody else's token among the headers of an outcall is checked as at the ingress. */
static int refusal(struct delivery *d, const struct route_service *s, struct err *e)
{
    const struct push_request *r = d->job->request;
    const char *account = r->outcall ? r->outcall->account : r->endpoint->account;
    if (s->off)
        return 404;
    if (s->public_ || (account && route_invoker(s, account)))
        return 0;
    if (account || !r->outcall)
        return 403;
    return ingress_admit(routes_keys(d->routes), s, r->outcall->headers, clock_wall_ns(loop_clock(d->thread->loop)), &d->checked, e);
}

static void deliver_ours(struct delivery *d)
{
    struct push_request *r = d->job->request;
    struct err e = {0};
    const struct route_target *target = NULL;
    const struct route_service *s = service_of(d, &target, &e);
    if (!s) {
        finish(d, e.code == ERR_NOT_FOUND ? 404 : 0, &e);
        return;
    }
    int status = refusal(d, s, &e);
    if (status) {
        finish(d, status, NULL);
        return;
    }
    d->pool = pool_ref(target->pool);
    struct pool_grant g;
    if (pool_acquire(d->pool, &g)) {
        on_slot(d, &g, NULL);
        return;
    }
    d->wait = slot_wait_start(&d->thread->waits, d->pool, r->due_ns, on_slot, d, &e);
    if (!d->wait)
        finish(d, 0, &e);
}

/* ---- io thread: beginning and calling off ---- */

static struct delivery *delivery_new(struct io_thread *t)
{
    struct node *n = list_pop(&t->spare);
    struct delivery *d = n ? CONTAINER_OF(n, struct delivery, link) : malloc(sizeof *d);
    if (!d)
        return NULL;
    if (n) {
        buf_clear(&d->body);
        buf_clear(&d->auth);
    } else {
        buf_init(&d->body, ENVELOPE_BODY_MAX);
        buf_init(&d->auth, 16 * 1024);
    }
    struct buf body = d->body, auth = d->auth;
    memset(d, 0, offsetof(struct delivery, headers)); /* the rest is four kilobytes of headers */
    d->headers.n = 0;
    d->body = body;
    d->auth = auth;
    d->thread = t;
    node_init(&d->link);
    list_append(&t->deliveries, &d->link);
    return d;
}

static void on_send(struct mail *m)
{
    struct push_job *job = CONTAINER_OF(m, struct push_job, mail);
    struct io_thread *t = job->thread;
    struct delivery *d = delivery_new(t);
    if (!d) {
        struct err e;
        err_set(&e, ERR_RESOURCE_EXHAUSTED, "out of memory for a request");
        send_back(job, 0, &e);
        return;
    }
    d->job = job;
    job->delivery = d;
    d->routes = t->routes ? routes_ref(t->routes) : NULL;
    if (d->routes && routes_ours(d->routes, push_url(job->request)->host))
        deliver_ours(d);
    else
        start_call(d, NULL);
}

static void on_cancel_returned(struct mail *m);

static void on_cancel(struct mail *m)
{
    struct push_job *job = CONTAINER_OF(m, struct push_job, cancel);
    struct delivery *d = job->delivery;
    struct err e;
    err_set(&e, ERR_CANCELLED, "the request was called off");
    if (d && d->wait) {
        slot_wait_abandon(d->wait);
        d->wait = NULL;
        finish(d, 0, &e);
    } else if (d && d->call) {
        http_call_cancel(d->call);
    }
    job->cancel.deliver = on_cancel_returned;
    loop_post(job->thread->loop, job->thread->io->config.engine, &job->cancel);
}

void deliveries_fini(struct io_thread *t)
{
    LIST_EACH_SAFE(&t->deliveries, n) {
        struct delivery *d = CONTAINER_OF(n, struct delivery, link);
        slot_release(d);
        delivery_spare(d);
    }
    for (struct node *n; (n = list_pop(&t->spare));)
        delivery_free(CONTAINER_OF(n, struct delivery, link));
}

/* ---- engine thread ---- */

static struct push_job *job_new(struct push_transport *pt)
{
    struct node *n = list_pop(&pt->spare);
    return n ? memset(CONTAINER_OF(n, struct push_job, link), 0, sizeof(struct push_job)) : calloc(1, sizeof(struct push_job));
}

static void job_release(struct push_job *job)
{
    if (!job->answered || job->cancel_out)
        return;
    struct push_transport *pt = job->owner;
    list_remove(&pt->jobs, &job->link);
    if (pt->spare.count < JOB_SPARE_MAX)
        list_prepend(&pt->spare, &job->link);
    else
        free(job);
}

static void on_answered(struct mail *m)
{
    struct push_job *job = CONTAINER_OF(m, struct push_job, mail);
    struct push_request *r = job->request;
    if (job->thread)
        job->thread->pushes--;
    job->answered = true;
    r->internal = NULL;
    job_release(job);
    r->done(r);
}

static void on_cancel_returned(struct mail *m)
{
    struct push_job *job = CONTAINER_OF(m, struct push_job, cancel);
    job->cancel_out = false;
    job_release(job);
}

/* The same target to the same thread, so that its connections are shared; the next one when that has clearly more to do. */
static struct io_thread *choose(struct io *io, const struct url *to)
{
    uint32_t least = UINT32_MAX;
    assert(io->n > 0);
    for (uint32_t i = 0; i < io->n; i++)
        least = io->threads[i].pushes < least ? io->threads[i].pushes : least;
    uint32_t at = (uint32_t)(hash_bytes(to->host.p, to->host.n, to->port) % io->n);
    while (io->threads[at].pushes > least + PUSH_SPREAD)
        at = (at + 1) % io->n;
    return &io->threads[at];
}

static void on_no_memory(struct mail *m)
{
    struct push_request *r = CONTAINER_OF(m, struct push_request, mail);
    err_set(&r->err, ERR_RESOURCE_EXHAUSTED, "out of memory for a request");
    r->done(r);
}

static void transport_send(struct transport *base, struct push_request *r)
{
    struct push_transport *pt = CONTAINER_OF(base, struct push_transport, base);
    struct push_job *job = job_new(pt);
    r->status = 0;
    r->retry_after_ns = 0;
    r->err.code = ERR_OK;
    r->internal = job;
    r->answered_ns = r->sent_ns; /* until an io thread knows better */
    if (!job) {
        r->mail.deliver = on_no_memory;
        mailbox_post(pt->io->config.engine, &r->mail);
        return;
    }
    job->owner = pt;
    job->request = r;
    job->thread = choose(pt->io, push_url(r));
    job->thread->pushes++;
    job->mail.deliver = on_send;
    node_init(&job->link);
    list_append(&pt->jobs, &job->link);
    mailbox_post(loop_mailbox(job->thread->loop), &job->mail);
}

static void transport_cancel(struct transport *base, struct push_request *r)
{
    struct push_job *job = r->internal;
    if (!job || job->answered || job->cancel_out)
        return;
    job->cancel_out = true;
    job->cancel.deliver = on_cancel;
    mailbox_post(loop_mailbox(job->thread->loop), &job->cancel);
}

static const struct transport_ops transport_ops = {transport_send, transport_cancel};

void push_transport_init(struct push_transport *pt, struct io *io)
{
    pt->base.ops = &transport_ops;
    pt->io = io;
    list_init(&pt->jobs);
    list_init(&pt->spare);
}

void push_transport_fini(struct push_transport *pt)
{
    for (struct node *n; (n = list_pop(&pt->jobs));)
        free(CONTAINER_OF(n, struct push_job, link));
    for (struct node *n; (n = list_pop(&pt->spare));)
        free(CONTAINER_OF(n, struct push_job, link));
}

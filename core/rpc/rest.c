/** rest.c: the life of a REST request on its io thread: head -> body -> engine -> answer.
 *  Why:  the client may go at any moment, while the engine holds the call; rest_int.h says what keeps the job alive. */
#include "core/rpc/rest_int.h"

#include "core/base/text.h"
#include "core/rpc/json.h"

#include <stdio.h>
#include <stdlib.h>

#define REST_ANSWER_MAX (64u * 1024 * 1024) /* a full pull of large messages in base64 */
#define REST_ERROR_MAX 4096
#define JSON_TYPE "application/json; charset=UTF-8"

struct rest {
    struct loop *loop;
    const struct rest_shared *shared;
    struct list jobs;
    size_t body_bytes, body_bytes_max; /* of all jobs */
    int64_t body_ns;
};

/* HTTP says it more closely than the canonical code's own status. */
struct refusal {
    struct err err;
    int status;
    const char *allow; /* for 405 */
};

static const char *const verb_names[VERB_N] = {"GET", "PUT", "POST", "PATCH", "DELETE"};

struct rest *rest_new(struct loop *l, const struct rest_shared *shared, struct err *e)
{
    struct rest *r = calloc(1, sizeof *r);
    if (!r) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the REST server");
        return NULL;
    }
    r->loop = l;
    r->shared = shared;
    r->body_bytes_max = shared->body_bytes_max ? shared->body_bytes_max : REST_BODY_BYTES_MAX;
    r->body_ns = shared->body_ns ? shared->body_ns : REST_BODY_NS;
    list_init(&r->jobs);
    return r;
}

/* --- jobs ----------------------------------------------------------------------------------------------------- */

static void job_free(struct rest_job *job)
{
    list_remove(&job->rest->jobs, &job->link);
    job->rest->body_bytes -= job->body_bytes;
    buf_fini(&job->body);
    buf_fini(&job->answer);
    buf_fini(&job->web.answer);
    arena_free(job->arena);
    free(job);
}

static void job_release(struct rest_job *job)
{
    if (!job->x && !job->at_engine && !job->cancel_out)
        job_free(job);
}

void rest_free(struct rest *r)
{
    if (!r)
        return;
    LIST_EACH_SAFE(&r->jobs, n)
        job_free(CONTAINER_OF(n, struct rest_job, link));
    free(r);
}

size_t rest_calls(const struct rest *r) { return r->jobs.count; }

static struct rest_job *job_new(struct rest *r, struct http_exchange *x)
{
    struct rest_job *job = calloc(1, sizeof *job);
    if (!job)
        return NULL;
    job->arena = arena_new(CALL_ARENA_MAX);
    if (!job->arena) {
        free(job);
        return NULL;
    }
    job->rest = r;
    job->x = x;
    node_init(&job->link);
    list_append(&r->jobs, &job->link);
    buf_init(&job->body, CALL_BODY_MAX);
    buf_init(&job->answer, REST_ANSWER_MAX);
    buf_init(&job->web.answer, WEB_ANSWER_MAX);
    return job;
}

/* --- answers -------------------------------------------------------------------------------------------------- */

/* One answer with up to one header more. Nothing of a job may be touched afterwards: it may be gone. */
static void send_answer(struct http_exchange *x, int status, const char *type, struct str body, const char *name, const char *value)
{
    if (!name) {
        http_reply(x, status, type, body);
        return;
    }
    struct headers h = {.n = 0};
    struct err e;
    if ((type && headers_add(&h, STR("content-type"), str_of(type), &e)) || headers_add(&h, str_of(name), str_of(value), &e) ||
        http_respond(x, status, &h, (int64_t)body.n, &e)) {
        http_abort(x);
        return;
    }
    if (body.n)
        http_write(x, body); /* above the high mark or not: it is all there is */
    http_finish(x);
}

static void send_error(struct http_exchange *x, const struct err *e, int status, const char *allow)
{
    struct buf b;
    buf_init(&b, REST_ERROR_MAX);
    if (json_encode_error_as(&b, e, status)) {
        buf_clear(&b);
        status = 500;
    }
    const char *name = allow ? "allow" : status == 401 ? "www-authenticate" : NULL;
    send_answer(x, status, JSON_TYPE, buf_str(&b), name, allow ? allow : "Bearer");
    buf_fini(&b);
}

static void job_error(struct rest_job *job, const struct err *e)
{
    job->replied = true;
    send_error(job->x, e, err_http(e->code), NULL);
}

static void too_large(struct rest_job *job)
{
    struct err e = {0};
    err_set(&e, ERR_INVALID_ARGUMENT, "the request body is larger than %u bytes", CALL_BODY_MAX);
    job->replied = true;
    send_error(job->x, &e, 413, NULL);
}

static void reply_call(struct rest_job *job)
{
    struct err e = job->call.err;
    if (job->call.reply && json_encode(&job->answer, job->call.reply, job->json_flags, &e) == 0) {
        struct buf answer = job->answer; /* what its reader does not take is copied to the connection, and counted there */
        job->replied = true;
        buf_init(&job->answer, REST_ANSWER_MAX);
        send_answer(job->x, 200, JSON_TYPE, buf_str(&answer), NULL, NULL);
        buf_fini(&answer);
        if (!job->cancel_out) { /* else the engine still looks at the call */
            arena_free(job->arena);
            job->arena = NULL;
        }
        return;
    }
    job_error(job, &e);
}

static void reply_web(struct rest_job *job)
{
    const struct web_call *w = &job->web;
    job->replied = true;
    send_answer(job->x, w->status, w->content_type, buf_str(&w->answer), w->extra_name, w->extra_value);
}

/* --- to the engine and back ----------------------------------------------------------------------------------- */

/* io thread: the answer is here. */
static void on_answer(struct rest_job *job)
{
    job->at_engine = false;
    if (!job->x) {
        job_release(job);
        return;
    }
    if (job->web.route)
        reply_web(job);
    else
        reply_call(job);
}

static void deliver_answered_call(struct mail *m) { on_answer(CONTAINER_OF(m, struct rest_job, call.mail)); }
static void deliver_answered_web(struct mail *m) { on_answer(CONTAINER_OF(m, struct rest_job, web.mail)); }

/* Engine thread: hand it back. The job is the io thread's from the post on. */
static void finish_call(struct call *c)
{
    struct rest_job *job = CONTAINER_OF(c, struct rest_job, call);
    c->mail.deliver = deliver_answered_call;
    mailbox_post(loop_mailbox(job->rest->loop), &c->mail);
}

static void finish_web(struct web_call *w)
{
    struct rest_job *job = CONTAINER_OF(w, struct rest_job, web);
    w->mail.deliver = deliver_answered_web;
    mailbox_post(loop_mailbox(job->rest->loop), &w->mail);
}

/* Engine thread. */
static void deliver_call(struct mail *m)
{
    struct rest_job *job = CONTAINER_OF(m, struct rest_job, call.mail);
    registry_dispatch(job->rest->shared->registry, &job->call);
}

static void deliver_web(struct mail *m)
{
    struct rest_job *job = CONTAINER_OF(m, struct rest_job, web.mail);
    job->web.route->handler(job->web.route->arg, &job->web);
}

/* io thread: the engine has heard that the client is gone. */
static void deliver_cancel_heard(struct mail *m)
{
    struct rest_job *job = CONTAINER_OF(m, struct rest_job, cancel);
    job->cancel_out = false;
    job_release(job);
}

/* Engine thread: the client has gone. The answer may have been posted already; the job is still there. */
static void deliver_cancel(struct mail *m)
{
    struct rest_job *job = CONTAINER_OF(m, struct rest_job, cancel);
    call_cancel(&job->call);
    m->deliver = deliver_cancel_heard;
    mailbox_post(loop_mailbox(job->rest->loop), m);
}

static void offer(struct rest_job *job, struct mail *m, void (*deliver)(struct mail *))
{
    m->deliver = deliver;
    job->at_engine = true;
    if (loop_offer(job->rest->loop, job->rest->shared->engine, m))
        return; /* the engine's from here on */
    job->at_engine = false;
    struct err e = {0};
    err_set(&e, ERR_UNAVAILABLE, "the server has too many calls waiting; try again");
    job_error(job, &e);
}

static void run_call(struct rest_job *job, const struct http_request *req)
{
    struct call *c = &job->call;
    struct err e = {0};
    c->method = job->match.method;
    c->service = job->match.service;
    c->arena = job->arena;
    c->finish = finish_call;
    if (rest_caller(job->arena, req, &c->caller, &e) || rest_decode(job, req, &e)) {
        job_error(job, &e);
        return;
    }
    buf_fini(&job->body); /* decoded: a call may wait long */
    offer(job, &c->mail, deliver_call);
}

static void run_web(struct rest_job *job, const struct http_request *req)
{
    struct web_call *w = &job->web;
    struct err e = {0};
    w->arena = job->arena;
    w->finish = finish_web;
    w->body = buf_str(&job->body);
    w->query = arena_dup(job->arena, req->query);
    struct str flavor = headers_get(&req->headers, "metadata-flavor");
    if (flavor.p)
        w->metadata_flavor = str_of(arena_dup(job->arena, flavor));
    if (!w->query || (flavor.p && !w->metadata_flavor.p))
        err_set(&e, ERR_RESOURCE_EXHAUSTED, "out of memory for the request");
    if (e.code || rest_caller(job->arena, req, &w->caller, &e)) {
        job_error(job, &e);
        return;
    }
    offer(job, &w->mail, deliver_web);
}

/* --- the exchange --------------------------------------------------------------------------------------------- */

static void on_body(struct http_exchange *x, void *arg, struct str bytes)
{
    struct rest_job *job = arg;
    if (job->replied)
        return;
    if (bytes.n > CALL_BODY_MAX - buf_len(&job->body)) {
        too_large(job);
        return;
    }
    struct err e = {0};
    if (bytes.n > job->rest->body_bytes_max - job->rest->body_bytes)
        err_set(&e, ERR_UNAVAILABLE, "the server is busy with other large requests; try again");
    else if (buf_add(&job->body, bytes.p, bytes.n))
        err_set(&e, ERR_RESOURCE_EXHAUSTED, "out of memory for the request body");
    if (e.code) {
        job_error(job, &e);
        return;
    }
    job->body_bytes += bytes.n;
    job->rest->body_bytes += bytes.n;
}

static void on_end(struct http_exchange *x, void *arg)
{
    struct rest_job *job = arg;
    if (job->replied)
        return;
    if (job->waits_for_end)
        job_error(job, &job->refused);
    else if (job->web.route)
        run_web(job, http_exchange_request(x));
    else
        run_call(job, http_exchange_request(x));
}

/* The client has gone, or only sends no more: who waits at the engine for something to happen need not wait on. */
static void cancel_call(struct rest_job *job)
{
    if (!job->at_engine || job->web.route || job->cancel_sent)
        return;
    job->cancel_sent = job->cancel_out = true;
    job->cancel.deliver = deliver_cancel;
    loop_post(job->rest->loop, job->rest->shared->engine, &job->cancel);
}

static void on_half_close(struct http_exchange *x, void *arg) { cancel_call(arg); }

static void on_close(struct http_exchange *x, void *arg, bool complete)
{
    struct rest_job *job = arg;
    job->x = NULL;
    cancel_call(job);
    job_release(job);
}

static const struct http_exchange_ops exchange_ops = {
    .on_body = on_body,
    .on_end = on_end,
    .on_half_close = on_half_close,
    .on_close = on_close,
};

/* --- routing -------------------------------------------------------------------------------------------------- */

/* HEAD is GET without the body, which the server leaves out. -1: none of ours. */
static int verb_of(struct str method)
{
    if (str_is(method, "HEAD"))
        return VERB_GET;
    for (int v = 0; v < VERB_N; v++)
        if (str_is(method, verb_names[v]))
            return v;
    return -1;
}

/* The verbs that this path has, as an Allow header; NULL when it has none. */
static const char *allowed(struct rest_job *job, struct str raw_path, struct str path)
{
    struct buf b;
    buf_init(&b, 64);
    for (int v = 0; v < VERB_N; v++) {
        struct route_match m;
        bool known = false;
        if (registry_match(job->rest->shared->registry, (enum http_verb)v, raw_path, job->arena, &m, NULL) &&
            !web_match(job->rest->shared->web, (enum http_verb)v, path, &known))
            continue;
        if (buf_addf(&b, "%s%s", buf_len(&b) ? ", " : "", verb_names[v]) || (v == VERB_GET && buf_addz(&b, ", HEAD")))
            break;
    }
    const char *list = buf_len(&b) ? arena_dup(job->arena, buf_str(&b)) : NULL;
    buf_fini(&b);
    return list;
}

/* Find the method or the page; on failure `no` says what to answer. */
static bool find_target(struct rest_job *job, const struct http_request *req, struct refusal *no)
{
    const struct rest_shared *shared = job->rest->shared;
    int verb = verb_of(req->method);
    if (verb >= 0 && registry_match(shared->registry, (enum http_verb)verb, req->path, job->arena, &job->match, &no->err) == 0)
        return true;
    char *path = arena_dup(job->arena, req->path);
    int n = path ? percent_decode(path, req->path.n, false) : -1;
    if (n < 0) {
        if (no->err.code == ERR_OK)
            err_set(&no->err, ERR_INVALID_ARGUMENT, "the path has a malformed percent-encoding");
        return false;
    }
    path[n] = '\0';
    bool known = false;
    const struct web_route *route = verb < 0 ? NULL : web_match(shared->web, (enum http_verb)verb, (struct str){path, (size_t)n}, &known);
    if (route) {
        job->web.route = route;
        job->web.path = path;
        job->match.method = NULL;
        return true;
    }
    if (no->err.code && no->err.code != ERR_NOT_FOUND && no->err.code != ERR_UNIMPLEMENTED)
        return false;
    no->allow = allowed(job, req->path, (struct str){path, (size_t)n});
    if (no->allow) {
        no->status = 405;
        err_set(&no->err, ERR_UNIMPLEMENTED, "%.*s is not supported at %.200s; it has %s", (int)(req->method.n > 20 ? 20 : req->method.n),
                req->method.p, path, no->allow);
    } else if (verb < 0) {
        err_set(&no->err, ERR_NOT_FOUND, "there is nothing at %.200s", path);
    }
    return false;
}

/* Bodies that we cannot or will not take. */
static bool body_acceptable(const struct http_request *req, struct refusal *no)
{
    if (req->body_bytes > (int64_t)CALL_BODY_MAX) {
        err_set(&no->err, ERR_INVALID_ARGUMENT, "the request body of %lld bytes is larger than %u bytes", (long long)req->body_bytes,
                CALL_BODY_MAX);
        no->status = 413;
        return false;
    }
    struct str encoding = headers_get(&req->headers, "content-encoding");
    if (encoding.n && !str_ieq(encoding, STR("identity"))) {
        err_set(&no->err, ERR_INVALID_ARGUMENT, "Content-Encoding %.*s is not supported; send the body as it is",
                (int)(encoding.n > 40 ? 40 : encoding.n), encoding.p);
        no->status = 415;
        return false;
    }
    return true;
}

/* Refused: at once when there is no body to wait for or the client asks before it sends one, else after the body, so
 * that the connection can be kept. */
static void refuse(struct rest_job *job, const struct http_request *req, const struct refusal *no)
{
    struct http_exchange *x = job->x;
    int status = no->status ? no->status : err_http(no->err.code);
    if (!no->status && req->body_bytes != 0 && !headers_get(&req->headers, "expect").p) {
        job->refused = no->err;
        job->waits_for_end = true;
        http_accept(x, &exchange_ops, job);
        return;
    }
    send_error(x, &no->err, status, no->allow);
    job->x = NULL;
    job_release(job);
}

void rest_serve(struct rest *r, struct http_exchange *x, const struct http_request *req)
{
    struct refusal no = {0};
    struct rest_job *job = job_new(r, x);
    if (!job) {
        err_set(&no.err, ERR_RESOURCE_EXHAUSTED, "out of memory for the request");
        send_error(x, &no.err, err_http(no.err.code), NULL);
        return;
    }
    http_body_due(x, loop_now(r->loop) + r->body_ns);
    if (find_target(job, req, &no) && body_acceptable(req, &no))
        http_accept(x, &exchange_ops, job);
    else
        refuse(job, req, &no);
}

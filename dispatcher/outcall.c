/* outcall.c: puts requests together from what their owners say, gets them a token, and follows them until they are answered. */
#include "dispatcher/outcall.h"

#include "core/base/list.h"

#include <assert.h>
#include <stdlib.h>

/* A question on its way to the token source, which cannot be called off: the job may be gone when it is answered. */
struct token_wait {
    struct outcall_job *job;
};
struct outcall_job {
    struct push_request request;
    struct outcall call;
    struct headers headers;
    struct node link; /* in outcalls->jobs */
    struct outcalls *owner;
    outcall_done_fn done;
    void *arg;
    bool asking, sent;       /* within the token source's get; with the transport */
    struct token_wait *wait; /* a token has been asked for */
    struct timer due;        /* while it waits for it */
    char *auth_line;
    struct err err;
    char *end;   /* of the text used so far */
    char text[]; /* what call, headers and the request point into */
};
struct outcalls {
    const struct env *env;
    struct transport *transport;
    struct token_source *tokens;
    struct list jobs;
    struct timer grace;
    bool stopping, stopped;
    void (*stop_done)(void *arg);
    void *stop_arg;
};

/* ---- what may be sent ---- */

/* A token that was asked for takes the place of a given one. */
static bool reserved(struct str name, const struct outcall_spec *s)
{
    return header_is_reserved(name, s->own_prefix) || (s->auth && str_ieq(name, STR("authorization")));
}

static bool carries_body(const char *method)
{
    return strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 || strcmp(method, "PATCH") == 0;
}

/* ---- putting a request together ---- */

static size_t fields_bytes(const struct header *fields, size_t n)
{
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += fields[i].name.n + fields[i].value.n;
    return bytes;
}

static struct str keep(struct outcall_job *j, struct str s)
{
    char *at = j->end;
    if (s.n)
        memcpy(at, s.p, s.n);
    j->end += s.n;
    return (struct str){at, s.n};
}

static int add_field(struct outcall_job *j, const struct header *f, struct err *e)
{
    if (!header_name_valid(f->name))
        return err_set(e, ERR_INVALID_ARGUMENT, "\"%.*s\" cannot be the name of a header", (int)(f->name.n < 100 ? f->name.n : 100),
                       f->name.p);
    if (!header_value_valid(f->value))
        return err_set(e, ERR_INVALID_ARGUMENT, "the header %.*s has a line break or a zero byte", (int)(f->name.n < 100 ? f->name.n : 100),
                       f->name.p);
    if (j->headers.n >= OUTCALL_FIELDS_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "more than %d headers", OUTCALL_FIELDS_MAX);
    struct str name = keep(j, f->name);
    return headers_add(&j->headers, name, keep(j, f->value), e);
}

static int fill(struct outcall_job *j, const struct outcall_spec *s, struct err *e)
{
    struct str url = keep(j, str_of(s->url));
    if (url_parse(url, &j->call.url, e))
        return -ERR_INVALID_ARGUMENT;
    j->call.method = keep(j, str_of(s->method));
    j->call.user_agent = keep(j, str_of(s->user_agent));
    j->call.headers = &j->headers;
    j->call.body = carries_body(s->method) ? s->body : (struct str){0};
    if (s->auth) {
        j->call.account = j->end;
        keep(j, (struct str){s->account, strlen(s->account) + 1});
    }
    int rc = 0;
    for (size_t i = 0; i < s->n_fields && !rc; i++)
        rc = reserved(s->fields[i].name, s) ? 0 : add_field(j, &s->fields[i], e);
    for (size_t i = 0; i < s->n_own && !rc; i++)
        rc = add_field(j, &s->own[i], e);
    return rc;
}

static void on_answer(struct push_request *r);
static void on_token_due(struct timer *t, int64_t now_ns);

static struct outcall_job *job_new(struct outcalls *o, const struct outcall_spec *s, struct err *e)
{
    size_t bytes = strlen(s->url) + strlen(s->method) + strlen(s->user_agent) + (s->auth ? strlen(s->account) + 1 : 0) +
                   fields_bytes(s->fields, s->n_fields) + fields_bytes(s->own, s->n_own);
    struct outcall_job *j = calloc(1, sizeof *j + bytes);
    if (!j) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for a request");
        return NULL;
    }
    j->end = j->text;
    j->owner = o;
    node_init(&j->link);
    timer_init(&j->due, on_token_due);
    if (fill(j, s, e)) {
        free(j);
        return NULL;
    }
    assert(j->end <= j->text + bytes);
    j->request.outcall = &j->call;
    j->request.due_ns = s->due_ns;
    j->request.done = on_answer;
    list_append(&o->jobs, &j->link);
    return j;
}

/* ---- ending ---- */

static void maybe_stopped(struct outcalls *o)
{
    if (!o->stopping || o->stopped || !list_empty(&o->jobs))
        return;
    o->stopped = true;
    timer_cancel(o->env->timers, &o->grace);
    o->stop_done(o->stop_arg);
}

static void job_free(struct outcall_job *j)
{
    struct outcalls *o = j->owner;
    if (j->wait)
        j->wait->job = NULL;
    timer_cancel(o->env->timers, &j->due);
    list_remove(&o->jobs, &j->link);
    if (j->auth_line)
        explicit_bzero(j->auth_line, j->request.auth_line.n);
    free(j->auth_line);
    free(j);
}

static void finish(struct outcall_job *j, struct outcall_result *r)
{
    struct outcalls *o = j->owner;
    outcall_done_fn done = j->done;
    void *arg = j->arg;
    job_free(j);
    done(arg, r);
    maybe_stopped(o);
}

static void on_answer(struct push_request *r)
{
    struct outcall_job *j = CONTAINER_OF(r, struct outcall_job, request);
    const struct env *env = j->owner->env;
    struct outcall_result out = {.status = r->status, .retry_after_ns = r->retry_after_ns, .sent_wall_ns = env_wall(env)};
    if (!r->status) {
        out.err = r->err;
        out.undelivered = r->err.code == ERR_RESOURCE_EXHAUSTED || r->err.code == ERR_CANCELLED;
    }
    if (r->sent_ns) {
        out.took_ns = r->answered_ns > r->sent_ns ? r->answered_ns - r->sent_ns : 0;
        out.sent_wall_ns -= env_now(env) > r->sent_ns ? env_now(env) - r->sent_ns : 0;
    }
    finish(j, &out);
}

/* It never got as far as the transport. */
static void finish_unsent(struct outcall_job *j, const struct err *why)
{
    struct outcall_result out = {.err = *why, .sent_wall_ns = env_wall(j->owner->env), .undelivered = why->code != ERR_INVALID_ARGUMENT};
    finish(j, &out);
}

/* ---- tokens ---- */

static void send_now(struct outcall_job *j)
{
    j->sent = true;
    j->owner->transport->ops->send(j->owner->transport, &j->request);
}

static int keep_token(struct outcall_job *j, const char *token, struct err *e)
{
    size_t n = strlen(token), all = sizeof PUSH_AUTH - 1 + n + 2;
    j->auth_line = malloc(all);
    if (!j->auth_line)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for a token");
    char *to = mempcpy(j->auth_line, PUSH_AUTH, sizeof PUSH_AUTH - 1);
    to = mempcpy(to, token, n);
    memcpy(to, "\r\n", 2);
    j->request.auth_line = (struct str){j->auth_line, all};
    return 0;
}

static void on_token(void *arg, const char *token, const struct err *e)
{
    struct token_wait *w = arg;
    struct outcall_job *j = w->job;
    free(w);
    if (!j)
        return;
    j->wait = NULL;
    timer_cancel(j->owner->env->timers, &j->due);
    if (!token)
        j->err = *e;
    else if (keep_token(j, token, &j->err) == 0)
        j->err.code = ERR_OK;
    if (j->asking) /* outcalls_start goes on by itself */
        return;
    struct err why = j->err;
    if (why.code)
        finish_unsent(j, &why);
    else
        send_now(j);
}

static void on_token_due(struct timer *t, int64_t now_ns)
{
    struct outcall_job *j = CONTAINER_OF(t, struct outcall_job, due);
    struct err e;
    err_set(&e, ERR_UNAVAILABLE, "no token for %s in time", j->call.account);
    finish_unsent(j, &e);
}

/* True: go on, with the token or with j->err. False: it comes later. */
static bool ask_token(struct outcall_job *j, const struct outcall_spec *s)
{
    struct outcalls *o = j->owner;
    const char *otherwise = s->auth == OUTCALL_OAUTH ? SCOPE_CLOUD_PLATFORM : s->url;
    struct token_wait *w = malloc(sizeof *w);
    if (!w) {
        err_set(&j->err, ERR_RESOURCE_EXHAUSTED, "out of memory for a token");
        return true;
    }
    *w = (struct token_wait){j};
    j->wait = w;
    j->asking = true;
    o->tokens->get(o->tokens, s->auth == OUTCALL_OAUTH ? TOKEN_ACCESS : TOKEN_IDENTITY, s->account, s->to && *s->to ? s->to : otherwise,
                   on_token, w);
    j->asking = false;
    return !j->wait || timer_set(o->env->timers, &j->due, s->due_ns, &j->err) != 0;
}

/* ---- for those who call ---- */

struct outcall_job *outcalls_start(struct outcalls *o, const struct outcall_spec *s, outcall_done_fn done, void *arg, struct err *e)
{
    assert(o->transport);
    if (o->stopping || o->jobs.count >= OUTCALLS_MAX) {
        if (o->stopping)
            err_set(e, ERR_UNAVAILABLE, "the server is stopping");
        else
            err_set(e, ERR_RESOURCE_EXHAUSTED, "%d requests of tasks and schedules are under way already", OUTCALLS_MAX);
        return NULL;
    }
    struct outcall_job *j = job_new(o, s, e);
    if (!j)
        return NULL;
    j->done = done;
    j->arg = arg;
    if (!s->auth) {
        send_now(j);
    } else if (ask_token(j, s)) {
        if (j->err.code) {
            *e = j->err;
            job_free(j);
            return NULL;
        }
        send_now(j);
    }
    return j;
}

void outcall_cancel(struct outcall_job *j)
{
    struct err e;
    if (j->sent && !j->request.cancelled) {
        j->request.cancelled = true;
        j->owner->transport->ops->cancel(j->owner->transport, &j->request);
    } else if (!j->sent) {
        err_set(&e, ERR_CANCELLED, "called off before it was sent");
        finish_unsent(j, &e);
    }
}

size_t outcalls_running(const struct outcalls *o) { return o->jobs.count; }

static void on_grace(struct timer *t, int64_t now_ns)
{
    struct outcalls *o = CONTAINER_OF(t, struct outcalls, grace);
    /* Those that wait for a token end within; the others when the transport says so. */
    for (bool again = true; again;) {
        again = false;
        LIST_EACH_SAFE(&o->jobs, n) {
            struct outcall_job *j = CONTAINER_OF(n, struct outcall_job, link);
            again = !j->sent;
            outcall_cancel(j);
            if (again) /* its owner may have done anything meanwhile */
                break;
        }
    }
    maybe_stopped(o);
}

void outcalls_stop(struct outcalls *o, int64_t grace_ns, void (*done)(void *arg), void *arg)
{
    struct err e = {0};
    assert(!o->stopping);
    o->stopping = true;
    o->stop_done = done;
    o->stop_arg = arg;
    /* With nothing under way the timer says so at once, but not from within this call. */
    int64_t due_ns = env_now(o->env) + (list_empty(&o->jobs) ? 0 : grace_ns);
    if (timer_set(o->env->timers, &o->grace, due_ns, &e))
        on_grace(&o->grace, due_ns);
}

struct outcalls *outcalls_new(const struct env *env, struct token_source *ts, struct err *e)
{
    struct outcalls *o = calloc(1, sizeof *o);
    if (!o) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the calls of tasks and schedules");
        return NULL;
    }
    o->env = env;
    o->tokens = ts;
    list_init(&o->jobs);
    timer_init(&o->grace, on_grace);
    return o;
}

void outcalls_connect(struct outcalls *o, struct transport *t) { o->transport = t; }

void outcalls_free(struct outcalls *o)
{
    if (!o)
        return;
    for (struct node *n; (n = list_first(&o->jobs));)
        job_free(CONTAINER_OF(n, struct outcall_job, link));
    timer_cancel(o->env->timers, &o->grace);
    free(o);
}

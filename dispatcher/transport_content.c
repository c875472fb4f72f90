/* transport_content.c: what a delivery sends: of a push the envelope, of an outcall what its sender gave; the token; and what a
 * service of ours gets from its ingress, too. */
#include "dispatcher/transport_int.h"

#include "dispatcher/envelope.h"

#define PUSH_USER_AGENT "CloudPubSub-Google"

/* ---- a push ---- */

/* The body and the headers that say what it is. */
static int add_message(struct delivery *d, struct str *body, struct err *e)
{
    const struct push_request *r = d->job->request;
    struct str type = STR("application/json");
    int rc = 0;
    if (!r->endpoint->no_wrapper) {
        rc = envelope_wrap(&d->body, r->msg, r->endpoint->subscription, r->delivery_attempt, e);
        *body = buf_str(&d->body);
    } else {
        type = STR("application/octet-stream");
        *body = r->msg->data;
        if (r->endpoint->write_metadata)
            rc = envelope_headers(&d->headers, r->msg, r->endpoint->subscription, d->time, &type, e);
    }
    return rc ? rc : headers_add(&d->headers, STR("Content-Type"), type, e);
}

static int add_push(struct delivery *d, struct str *body, struct err *e)
{
    int rc = headers_add(&d->headers, STR("User-Agent"), STR(PUSH_USER_AGENT), e);
    rc = rc ? rc : headers_add(&d->headers, STR("Accept"), STR("application/json"), e);
    return rc ? rc : add_message(d, body, e);
}

/* ---- an outcall ---- */

static bool strips(const struct route_service *ours) { return ours && !ours->public_; }

/* `bearer` with or without its "Bearer ". */
static int add_stripped(struct delivery *d, struct str name, struct str bearer, struct err *e)
{
    size_t at = buf_len(&d->auth);
    if (!buf_reserve(&d->auth, bearer.n + sizeof TOKEN_STRIPPED) || token_strip_add(&d->auth, bearer))
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "the token is too long");
    return headers_add(&d->headers, name, (struct str){buf_data(&d->auth) + at, buf_len(&d->auth) - at}, e);
}

static int add_outcall(struct delivery *d, const struct outcall *o, struct err *e)
{
    int rc = o->user_agent.n ? headers_add(&d->headers, STR("User-Agent"), o->user_agent, e) : 0;
    for (uint32_t i = 0; i < o->headers->n && !rc; i++) {
        struct str name = o->headers->v[i].name, value = o->headers->v[i].value;
        if (d->checked.p && str_ieq(name, d->checked))
            rc = add_stripped(d, name, value, e);
        else
            rc = headers_add(&d->headers, name, value, e);
    }
    return rc;
}

/* ---- both ---- */

/* A private service of ours gets the token as from the ingress: without its signature. */
static int add_stripped_token(struct delivery *d, struct err *e)
{
    static const size_t before = sizeof PUSH_AUTH - 1 - (sizeof "Bearer " - 1);
    struct str line = d->job->request->auth_line;
    if (!line.n)
        return 0;
    return add_stripped(d, STR("Authorization"), (struct str){line.p + before, line.n - before - 2}, e);
}

static int add_unless_given(struct delivery *d, const char *name, struct str value, struct err *e)
{
    return headers_get(&d->headers, name).p ? 0 : headers_add(&d->headers, str_of(name), value, e);
}

static int add_ours(struct delivery *d, struct err *e)
{
    trace_make(&d->trace, &d->headers, &d->thread->rng);
    int rc = add_unless_given(d, "traceparent", str_of(d->trace.traceparent), e);
    rc = rc ? rc : add_unless_given(d, "X-Cloud-Trace-Context", str_of(d->trace.cloud), e);
    return rc ? rc : add_unless_given(d, "X-Forwarded-Proto", STR("http"), e);
}

/* The host as the URL writes it, with its port when it has one. */
static struct str host_of(const struct url *u)
{
    const char *end = u->host.p + u->host.n;
    size_t more = 0;
    while (u->port_given && end + more < u->target.p && (end[more] == ':' || (end[more] >= '0' && end[more] <= '9')))
        more++;
    return (struct str){u->host.p, u->host.n + more};
}

int delivery_content(struct delivery *d, const struct route_service *ours, struct http_call_spec *spec, struct err *e)
{
    const struct push_request *r = d->job->request;
    const struct outcall *o = r->outcall;
    struct str body = {0};
    int rc = o ? add_outcall(d, o, e) : add_push(d, &body, e);
    if (!rc && strips(ours))
        rc = add_stripped_token(d, e);
    if (!rc && ours)
        rc = add_ours(d, e);
    *spec = (struct http_call_spec){
        .method = o ? o->method : STR("POST"),
        .target = push_url(r)->target,
        .host = ours ? host_of(push_url(r)) : (struct str){0},
        .headers = &d->headers,
        .fields = strips(ours) ? (struct str){0} : r->auth_line,
        .body = o ? o->body : body,
        .replayable = true, /* delivery is at least once anyway */
        .processing_ends = !o,
        .due_ns = r->due_ns,
    };
    /* As at the ingress; a push has its ack deadline. */
    int64_t timeout_ns = o && ours ? loop_now(d->thread->loop) + ours->timeout_ns : r->due_ns;
    if (timeout_ns < spec->due_ns)
        spec->due_ns = timeout_ns;
    return rc;
}

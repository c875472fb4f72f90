/* ingress_head.c: what of a request's and an answer's head is passed on, what is added, and whether the request may come in. */
#include "dispatcher/ingress_int.h"

/* ---- who may come in ---- */

static bool bearer_of(struct str value, struct str *token)
{
    static const size_t n = sizeof "Bearer " - 1;
    if (value.n <= n || !str_ieq((struct str){value.p, n}, STR("Bearer ")))
        return false;
    *token = (struct str){value.p + n, value.n - n};
    while (token->n && token->p[0] == ' ')
        token->p++, token->n--;
    return token->n > 0;
}

int ingress_admit(const struct key_set *keys, const struct route_service *s, const struct headers *given, int64_t wall_ns,
                  struct str *checked, struct err *e)
{
    if (s->public_)
        return 0;
    /* Where both are given only the first one counts, and Authorization is the application's own. */
    struct str name = STR("x-serverless-authorization"), token;
    struct str value = headers_get(given, name.p);
    if (!value.p) {
        name = STR("authorization");
        value = headers_get(given, name.p);
    }
    if (!value.p || !bearer_of(value, &token)) {
        err_set(e, ERR_PERMISSION_DENIED, "%s is private: send `Authorization: Bearer` with an identity token for %s", s->name, s->uri);
        return 403;
    }
    struct token_claims claims;
    struct err why = {0};
    int rc = identity_verify(keys, token, wall_ns, &claims, &why);
    if (rc) {
        err_set(e, why.code, "%s", why.msg);
        return rc == -ERR_UNAUTHENTICATED ? 401 : 503;
    }
    if (!route_audience(s, claims.audience)) {
        err_set(e, ERR_UNAUTHENTICATED, "the token is for %.150s, not for %s", claims.audience, s->uri);
        return 401;
    }
    if (!route_invoker(s, claims.email)) {
        err_set(e, ERR_PERMISSION_DENIED, "%.150s may not call %s: give it roles/run.invoker", claims.email, s->name);
        return 403;
    }
    *checked = name;
    return 0;
}

int token_strip_add(struct buf *b, struct str bearer)
{
    size_t n = bearer.n;
    while (n > 0 && bearer.p[n - 1] != '.')
        n--;
    int rc = buf_add(b, bearer.p, n);
    return rc ? rc : buf_addz(b, TOKEN_STRIPPED);
}

/* ---- request ---- */

bool ingress_method_safe(struct str method)
{
    static const char *const methods[] = {"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"};
    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        if (str_is(method, methods[i]))
            return true;
    return false;
}

/* Written anew below, or the client's business. */
static bool rewritten(const struct visit *v, struct str name, struct str checked)
{
    static const char *const names[] = {"host", "content-length", "expect", "x-forwarded-for"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_ieq(name, str_of(names[i])))
            return true;
    if (checked.p && str_ieq(name, checked))
        return true;
    return (v->trace.add_traceparent && str_ieq(name, STR("traceparent"))) ||
           (v->trace.add_cloud && str_ieq(name, STR("x-cloud-trace-context")));
}

/* HTTP/2 in place of this connection's HTTP/1.1: more requests would come through it than the one that was let in here. */
static bool upgrade_to_http(const struct headers *h)
{
    return headers_has_token(h, "upgrade", "h2c") || headers_has_token(h, "upgrade", "h2");
}

static int pass_on(struct visit *v, struct str checked, struct err *e)
{
    const struct headers *from = &v->req->headers;
    for (uint32_t i = 0; i < from->n; i++) {
        struct str name = from->v[i].name;
        bool upgrade = v->upgrade && str_ieq(name, STR("upgrade"));
        if ((!upgrade && header_is_hop(from, name)) || rewritten(v, name, checked))
            continue;
        int rc = headers_add(&v->headers, name, from->v[i].value, e);
        if (rc)
            return rc;
    }
    return 0;
}

/* Among what is passed on: a field that the client lists in Connection is not, and must not go missing by that. */
static bool given(const struct visit *v, const char *name) { return headers_get(&v->headers, name).p != NULL; }

/* The slice of v->text from `from` to its end. */
static struct str text_since(const struct visit *v, size_t from)
{
    return (struct str){buf_data(&v->text) + from, buf_len(&v->text) - from};
}

static int add_forwarded(struct visit *v, struct err *e)
{
    size_t at = buf_len(&v->text);
    const struct headers *from = &v->req->headers;
    for (uint32_t i = 0; i < from->n; i++)
        if (str_ieq(from->v[i].name, STR("x-forwarded-for")) && from->v[i].value.n &&
            (buf_add(&v->text, from->v[i].value.p, from->v[i].value.n) || buf_addz(&v->text, ", ")))
            return err_set(e, ERR_RESOURCE_EXHAUSTED, "the header fields are too long");
    if (buf_addz(&v->text, v->req->peer))
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "the header fields are too long");
    int rc = headers_add(&v->headers, STR("X-Forwarded-For"), text_since(v, at), e);
    if (!rc && !given(v, "x-forwarded-proto"))
        rc = headers_add(&v->headers, STR("X-Forwarded-Proto"), STR("http"), e);
    if (!rc && !given(v, "x-forwarded-host"))
        rc = headers_add(&v->headers, STR("X-Forwarded-Host"), v->host, e);
    return rc;
}

static int add_token(struct visit *v, struct str checked, struct err *e)
{
    if (!checked.p)
        return 0;
    size_t at = buf_len(&v->text);
    if (token_strip_add(&v->text, headers_get(&v->req->headers, checked.p)))
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "the header fields are too long");
    return headers_add(&v->headers, checked, text_since(v, at), e);
}

int ingress_request_headers(struct visit *v, struct str checked, struct rng *rng, struct err *e)
{
    const struct http_request *req = v->req;
    size_t room = 256 + sizeof TOKEN_STRIPPED;
    for (uint32_t i = 0; i < req->headers.n; i++)
        if (str_ieq(req->headers.v[i].name, STR("x-forwarded-for")) || (checked.p && str_ieq(req->headers.v[i].name, checked)))
            room += req->headers.v[i].value.n + 2;
    if (!buf_reserve(&v->text, room)) /* once, so that slices stay where they are */
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "the header fields are too long");
    trace_make(&v->trace, &req->headers, rng);
    v->host = req->authority;
    v->upgrade = req->upgrade && !upgrade_to_http(&req->headers);
    int rc = pass_on(v, checked, e);
    rc = rc ? rc : add_token(v, checked, e);
    rc = rc ? rc : add_forwarded(v, e);
    if (!rc && !given(v, "traceparent"))
        rc = headers_add(&v->headers, STR("traceparent"), str_of(v->trace.traceparent), e);
    if (!rc && !given(v, "x-cloud-trace-context"))
        rc = headers_add(&v->headers, STR("X-Cloud-Trace-Context"), str_of(v->trace.cloud), e);
    return rc;
}

/* ---- answer ---- */

int ingress_answer_headers(const struct http_response *r, struct headers *h, struct err *e)
{
    h->n = 0;
    for (uint32_t i = 0; i < r->headers.n; i++) {
        struct str name = r->headers.v[i].name;
        bool upgrade = r->upgraded && str_ieq(name, STR("upgrade"));
        if ((!upgrade && header_is_hop(&r->headers, name)) || str_ieq(name, STR("content-length")) || str_ieq(name, STR("date")))
            continue;
        int rc = headers_add(h, name, r->headers.v[i].value, e);
        if (rc)
            return rc;
    }
    return 0;
}

/** rest_decode.c: a REST request into its message: the body by the row's rule, then the query, then the path.
 *  The later wins: what the path says cannot be contradicted by the body (gcloud repeats `name` there). */
#include "core/rpc/rest_int.h"

#include "core/base/text.h"
#include "core/rpc/json.h"
#include "core/rpc/pb.h"

static int no_room(struct err *e) { return err_set(e, ERR_RESOURCE_EXHAUSTED, "the request needs more memory than a call may use"); }

static int decode_body(struct rest_job *job, ProtobufCMessage *request, struct err *e)
{
    const char *rule = job->match.method->body;
    if (!rule)
        return 0; /* some clients send "" or {} all the same */
    if (!strcmp(rule, "*"))
        return json_decode(job->arena, buf_str(&job->body), request, e);
    const ProtobufCFieldDescriptor *f = pb_field_find(request->descriptor, str_of(rule));
    ProtobufCMessage *resource = pb_new(job->arena, f->descriptor); /* registry_add has checked the field */
    if (!resource)
        return no_room(e);
    int rc = json_decode(job->arena, buf_str(&job->body), resource, e);
    if (rc)
        return rc;
    *(ProtobufCMessage **)pb_member(request, f) = resource;
    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        *pb_case(request, f) = f->id;
    return 0;
}

/* Parameters of the protocol itself, which every Google API takes. */
static bool is_system_parameter(struct str name)
{
    static const char *const names[] = {"alt",       "prettyPrint", "key",         "access_token", "callback",       "fields",
                                        "quotaUser", "userIp",      "oauth_token", "uploadType",   "upload_protocol"};
    if (name.n == 0 || name.p[0] == '$')
        return true;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_is(name, names[i]))
            return true;
    return false;
}

static void system_parameter(struct rest_job *job, struct str name, struct str value)
{
    if (name.n && name.p[0] == '$')
        name = (struct str){name.p + 1, name.n - 1};
    if (str_is(name, "alt") && memmem(value.p, value.n, "enum-encoding=int", 17))
        job->json_flags |= JSON_ENUM_AS_INT;
    if (str_is(name, "prettyPrint") && (str_is(value, "true") || str_is(value, "1")))
        job->json_flags |= JSON_PRETTY;
}

/* A decoded copy in the arena. */
static int decoded(struct arena *a, struct str *s, struct err *e)
{
    char *copy = arena_dup(a, *s);
    if (!copy)
        return no_room(e);
    int n = percent_decode(copy, s->n, true);
    if (n < 0)
        return err_set(e, ERR_INVALID_ARGUMENT, "the query has a malformed percent-encoding at \"%.*s\"", (int)(s->n > 60 ? 60 : s->n),
                       s->p);
    copy[n] = '\0';
    *s = (struct str){copy, (size_t)n};
    return 0;
}

static int decode_query(struct rest_job *job, struct str query, ProtobufCMessage *request, struct err *e)
{
    struct str name, value;
    for (size_t it = 0; query_next(query, &it, &name, &value);) {
        int rc = decoded(job->arena, &name, e);
        if (!rc)
            rc = decoded(job->arena, &value, e);
        if (rc)
            return rc;
        if (is_system_parameter(name)) {
            system_parameter(job, name, value);
            continue;
        }
        struct str first = name;
        const char *dot = memchr(name.p, '.', name.n);
        if (dot)
            first.n = (size_t)(dot - name.p);
        if (!pb_field_find(request->descriptor, first) || !utf8_valid(name.p, name.n))
            return err_set(e, ERR_INVALID_ARGUMENT, "unknown query parameter \"%.60s\" for %s", utf8_valid(name.p, name.n) ? name.p : "?",
                           job->match.method->name);
        rc = json_set_field(job->arena, request, name, value, e);
        if (rc)
            return rc;
    }
    return 0;
}

int rest_decode(struct rest_job *job, const struct http_request *req, struct err *e)
{
    ProtobufCMessage *request = pb_new(job->arena, job->match.method->request);
    if (!request)
        return no_room(e);
    int rc = decode_body(job, request, e);
    if (!rc)
        rc = decode_query(job, req->query, request, e);
    for (size_t i = 0; i < job->match.n_vars && !rc; i++)
        rc = json_set_field(job->arena, request, (struct str){job->match.vars[i].field, job->match.vars[i].field_len},
                            str_of(job->match.vars[i].value), e);
    job->call.request = request;
    return rc;
}

static bool is_loopback(const char *peer) { return !strncmp(peer, "127.", 4) || !strcmp(peer, "::1"); }

int rest_caller(struct arena *a, const struct http_request *req, struct caller *c, struct err *e)
{
    struct str auth = headers_get(&req->headers, "authorization");
    static const struct str scheme = {"Bearer ", 7};
    if (auth.n > scheme.n && str_ieq((struct str){auth.p, scheme.n}, scheme)) {
        while (auth.n > scheme.n && auth.p[scheme.n] == ' ')
            auth = (struct str){auth.p + 1, auth.n - 1};
        c->bearer = arena_dup(a, (struct str){auth.p + scheme.n, auth.n - scheme.n});
        if (!c->bearer)
            return no_room(e);
    }
    struct str event = headers_get(&req->headers, EVENT_ID_HEADER);
    if (event.p && !(c->event_id = arena_dup(a, event)))
        return no_room(e);
    c->peer = arena_strdup(a, req->peer);
    c->host = arena_dup(a, req->host);
    c->local = is_loopback(req->peer);
    return c->peer && c->host ? 0 : no_room(e);
}

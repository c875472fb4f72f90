/* target_http.c: a firing as an HTTP call, with the headers of Cloud Scheduler and the token that the job asks for. */
#include "schedules/targets.h"

#include "dispatcher/outcall.h"

#include <stdlib.h>
#include <string.h>

#define OIDC GOOGLE__CLOUD__SCHEDULER__V1__HTTP_TARGET__AUTHORIZATION_HEADER_OIDC_TOKEN
#define OAUTH GOOGLE__CLOUD__SCHEDULER__V1__HTTP_TARGET__AUTHORIZATION_HEADER_OAUTH_TOKEN

typedef Google__Cloud__Scheduler__V1__HttpTarget PbHttp;

struct target_http {
    struct target target;
    struct outcalls *outcalls;
};

static const char *method_name(Google__Cloud__Scheduler__V1__HttpMethod m)
{
    static const char *const names[] = {"POST", "POST", "GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"};
    return (size_t)m < ARRAY_LEN(names) ? names[m] : names[0];
}

static void on_answer(void *arg, const struct outcall_result *r)
{
    struct target_call *c = arg;
    struct target_result out = {.http_status = r->status, .err = r->err, .undelivered = r->undelivered};
    if (r->status >= 200 && r->status <= 299)
        out.err.code = ERR_OK;
    else if (r->status)
        err_set(&out.err, err_from_http(r->status), "HTTP status code %d", r->status);
    c->internal = NULL;
    c->done(c, &out);
}

static void start(struct target *t, struct target_call *c)
{
    struct target_http *h = CONTAINER_OF(t, struct target_http, target);
    const PbHttp *to = c->job->http_target;
    const struct header own[] = {
        {STR("X-CloudScheduler"), STR("true")},
        {STR("X-CloudScheduler-JobName"), str_of(strrchr(c->job->name, '/') + 1)},
        {STR("X-CloudScheduler-ScheduleTime"), str_of(c->schedule_time)},
        {STR(EVENT_ID_HEADER), str_of(c->event_id)},
    };
    struct target_result failed = {0};
    struct header *fields = malloc((to->n_headers + 1) * sizeof *fields);
    for (size_t i = 0; fields && i < to->n_headers; i++)
        fields[i] = (struct header){str_of(to->headers[i]->key), str_of(to->headers[i]->value)};
    struct outcall_spec spec = {
        .url = to->uri,
        .method = method_name(to->http_method),
        .user_agent = TARGET_USER_AGENT,
        .fields = fields,
        .n_fields = to->n_headers,
        .own = own,
        .n_own = ARRAY_LEN(own),
        .own_prefix = TARGET_OWN_PREFIX,
        .body = {(const char *)to->body.data, to->body.len},
        .due_ns = c->due_ns,
    };
    if (to->authorization_header_case == OIDC) {
        spec.auth = OUTCALL_OIDC;
        spec.account = to->oidc_token->service_account_email;
        spec.to = to->oidc_token->audience;
    } else if (to->authorization_header_case == OAUTH) {
        spec.auth = OUTCALL_OAUTH;
        spec.account = to->oauth_token->service_account_email;
        spec.to = to->oauth_token->scope;
    }
    if (!fields)
        err_set(&failed.err, ERR_RESOURCE_EXHAUSTED, "out of memory for a request");
    else
        c->internal = outcalls_start(h->outcalls, &spec, on_answer, c, &failed.err);
    free(fields);
    if (failed.err.code) {
        failed.undelivered = failed.err.code != ERR_INVALID_ARGUMENT;
        c->done(c, &failed);
    }
}

static void cancel(struct target *t, struct target_call *c)
{
    if (c->internal)
        outcall_cancel(c->internal);
}

static void http_free(struct target *t) { free(CONTAINER_OF(t, struct target_http, target)); }

struct target *target_http_new(struct outcalls *o)
{
    static const struct target_ops ops = {.kind = "HTTP", .start = start, .cancel = cancel, .free = http_free};
    struct target_http *h = calloc(1, sizeof *h);
    if (!h)
        return NULL;
    h->target.ops = &ops;
    h->outcalls = o;
    return &h->target;
}

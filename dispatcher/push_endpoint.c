/* push_endpoint.c: what a push config says, checked and taken apart once; and where pushes are counted. */
#include "dispatcher/push_int.h"

#include <stdlib.h>

static const char *const code_classes[PUSH_CODE_CLASSES] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};

int push_endpoint_check(void *arg, const char *endpoint, struct err *e)
{
    struct url u;
    struct err why = {0};
    size_t n = strlen(endpoint);
    if (n > URL_LEN_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "the push endpoint is longer than %d characters", URL_LEN_MAX);
    if (url_parse(str_of(endpoint), &u, &why))
        return err_set(e, ERR_INVALID_ARGUMENT, "the push endpoint \"%.120s\" cannot be used: %s", endpoint, why.msg);
    return 0;
}

static char *copy(const char *text, bool *ok)
{
    char *c = strdup(text);
    *ok &= c != NULL;
    return c;
}

struct push_endpoint *endpoint_new(const char *subscription, const Google__Pubsub__V1__PushConfig *c, struct err *e)
{
    struct push_endpoint *ep = calloc(1, sizeof *ep);
    bool ok = ep != NULL;
    if (ok) {
        ep->refs = 1;
        ep->text = copy(c->push_endpoint, &ok);
        ep->subscription = copy(subscription, &ok);
    }
    if (ok && c->wrapper_case == GOOGLE__PUBSUB__V1__PUSH_CONFIG__WRAPPER_NO_WRAPPER && c->no_wrapper) {
        ep->no_wrapper = true;
        ep->write_metadata = c->no_wrapper->write_metadata;
    }
    if (ok && c->authentication_method_case == GOOGLE__PUBSUB__V1__PUSH_CONFIG__AUTHENTICATION_METHOD_OIDC_TOKEN && c->oidc_token &&
        *c->oidc_token->service_account_email) {
        ep->account = copy(c->oidc_token->service_account_email, &ok);
        ep->audience = copy(*c->oidc_token->audience ? c->oidc_token->audience : c->push_endpoint, &ok);
    }
    if (!ok)
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the push endpoint of %s", subscription);
    else if (url_parse(str_of(ep->text), &ep->url, e) == 0)
        return ep;
    endpoint_unref(ep);
    return NULL;
}

struct push_endpoint *endpoint_ref(struct push_endpoint *ep)
{
    ep->refs++;
    return ep;
}

void endpoint_unref(struct push_endpoint *ep)
{
    if (!ep || --ep->refs > 0)
        return;
    free(ep->text);
    free(ep->subscription);
    free(ep->account);
    free(ep->audience);
    free(ep);
}

static bool same(const char *a, const char *b) { return a == b || (a && b && strcmp(a, b) == 0); }

bool endpoint_equal(const struct push_endpoint *a, const struct push_endpoint *b)
{
    return same(a->text, b->text) && same(a->account, b->account) && same(a->audience, b->audience) && a->no_wrapper == b->no_wrapper &&
           a->write_metadata == b->write_metadata;
}

void push_metrics_init(struct push_metrics *m, struct metrics *all)
{
    *m = (struct push_metrics){0};
    if (!all)
        return;
    m->answers = metrics_family(all, METRIC_COUNTER, "runnel_push_requests_total",
                                "Push requests by the class of their answer; none: no answer came.", "subscription,code_class");
    m->latency = metrics_family(all, METRIC_HISTOGRAM, "runnel_push_latency_seconds", "From sending a push to its answer.", "subscription");
    m->window = metrics_family(all, METRIC_GAUGE, "runnel_push_window", "Pushes that may be under way at once.", "subscription");
}

void push_metrics_of(const struct push_metrics *m, const char *subscription, struct push_series *out)
{
    const char *values[METRIC_LABELS_MAX] = {subscription};
    *out = (struct push_series){0};
    if (!m->answers || !m->latency || !m->window)
        return;
    out->latency = metric_series(m->latency, values);
    out->window = metric_series(m->window, values);
    metric_set(out->window, PUSH_WINDOW_START);
    for (size_t i = 0; i < PUSH_CODE_CLASSES; i++) {
        values[1] = code_classes[i];
        out->answers[i] = metric_series(m->answers, values);
    }
}

void push_metrics_drop(const struct push_metrics *m, const char *subscription)
{
    const char *values[METRIC_LABELS_MAX] = {subscription};
    if (!m->answers || !m->latency || !m->window)
        return;
    metric_drop(m->latency, values);
    metric_drop(m->window, values);
    for (size_t i = 0; i < PUSH_CODE_CLASSES; i++) {
        values[1] = code_classes[i];
        metric_drop(m->answers, values);
    }
}

/* route.c: builds the routing snapshot and answers from it. */
#include "dispatcher/route.h"

#include "core/base/map.h"
#include "dispatcher/key_set.h"
#include "dispatcher/policy_check.h"

#include <ctype.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define ROUTE_HOSTS_MAX 200000
#define ROUTE_HOST_LEN_MAX 255

/* One host name: a service, or one tagged target of it. */
struct route_host {
    struct route_service *service;
    size_t target; /* index, when tagged */
    bool tagged;
};
struct routes {
    _Atomic uint32_t refs;
    char *domain, *default_project, *default_region;
    struct key_set *keys;
    struct map *hosts; /* lower case -> struct route_host */
    struct route_service **services;
    size_t n_services, cap_services;
};

/* ---- build ---- */

struct build {
    struct routes *r;
    struct policy *policy;
    struct err *e;
    int rc;
};

static char *copy(const char *text, int *rc)
{
    char *c = text ? strdup(text) : NULL;
    if (text && !c)
        *rc = -ERR_RESOURCE_EXHAUSTED;
    return c;
}

static int add_string(char ***list, size_t *n, const char *text, size_t len)
{
    char **longer = realloc(*list, (*n + 1) * sizeof *longer);
    if (!longer)
        return -ERR_RESOURCE_EXHAUSTED;
    *list = longer;
    longer[*n] = strndup(text, len);
    if (!longer[*n])
        return -ERR_RESOURCE_EXHAUSTED;
    (*n)++;
    return 0;
}

static int add_member(struct route_service *s, const char *member)
{
    struct str name;
    char domain[ROUTE_HOST_LEN_MAX + 2];
    switch (policy_member(member, &name)) {
    case MEMBER_ALL:
        s->public_ = true;
        return 0;
    case MEMBER_ALL_AUTHENTICATED:
        s->any_account = true;
        return 0;
    case MEMBER_ACCOUNT:
        return add_string(&s->invokers, &s->n_invokers, name.p, name.n);
    case MEMBER_DOMAIN:
        snprintf(domain, sizeof domain, "@%.*s", (int)(name.n < ROUTE_HOST_LEN_MAX ? name.n : ROUTE_HOST_LEN_MAX), name.p);
        return add_string(&s->invokers, &s->n_invokers, domain, strlen(domain));
    case MEMBER_OTHER:
        break;
    }
    return 0;
}

static int add_invokers(struct route_service *s, const Google__Iam__V1__Policy *policy)
{
    int rc = 0;
    for (size_t i = 0; policy && i < policy->n_bindings && !rc; i++) {
        const Google__Iam__V1__Binding *b = policy->bindings[i];
        for (size_t m = 0; policy_role_invokes(b->role) && m < b->n_members && !rc; m++)
            rc = add_member(s, b->members[m]);
    }
    return rc;
}

static int add_targets(struct route_service *s, const struct executor_view *v)
{
    int rc = 0;
    s->targets = calloc(v->n_targets ? v->n_targets : 1, sizeof *s->targets);
    if (!s->targets)
        return -ERR_RESOURCE_EXHAUSTED;
    for (; s->n_targets < v->n_targets && !rc; s->n_targets++) {
        const struct executor_target *from = &v->targets[s->n_targets];
        s->targets[s->n_targets] = (struct route_target){
            .pool = from->pool ? pool_ref(from->pool) : NULL,
            .revision = copy(from->revision ? from->revision : "", &rc),
            .percent = from->percent,
        };
    }
    return rc;
}

static void service_free(struct route_service *s)
{
    for (size_t i = 0; i < s->n_targets; i++) {
        if (s->targets[i].pool)
            pool_unref(s->targets[i].pool);
        free(s->targets[i].revision);
    }
    for (size_t i = 0; i < s->n_invokers; i++)
        free(s->invokers[i]);
    for (size_t i = 0; i < s->n_audiences; i++)
        free(s->audiences[i]);
    free(s->targets);
    free(s->invokers);
    free(s->audiences);
    free(s->name);
    free(s->uri);
    free(s->off);
    free(s->not_ready);
    free(s);
}

static int add_host(struct routes *r, const char *host, struct route_host what)
{
    char lower[ROUTE_HOST_LEN_MAX + 1];
    size_t n = strlen(host);
    if (n > ROUTE_HOST_LEN_MAX)
        return 0; /* no client can ask for it */
    for (size_t i = 0; i <= n; i++)
        lower[i] = (char)tolower((unsigned char)host[i]);
    if (map_get(r->hosts, lower))
        return 0; /* the first one keeps it */
    struct route_host *h = malloc(sizeof *h);
    if (!h)
        return -ERR_RESOURCE_EXHAUSTED;
    *h = what;
    if (map_put(r->hosts, lower, h, NULL)) {
        free(h);
        return -ERR_RESOURCE_EXHAUSTED;
    }
    return 0;
}

/* `label` is SERVICE or TAG---SERVICE. */
static int add_hosts(struct routes *r, const char *label, const struct executor_view *v, struct route_host what)
{
    char host[2 * ROUTE_HOST_LEN_MAX];
    int rc = 0;
    if (strcmp(v->project, r->default_project) == 0 && strcmp(v->region, r->default_region) == 0) {
        snprintf(host, sizeof host, "%s.%s", label, r->domain);
        rc = add_host(r, host, what);
    }
    snprintf(host, sizeof host, "%s.%s.%s.%s", label, v->region, v->project, r->domain);
    return rc ? rc : add_host(r, host, what);
}

static int name_hosts(struct routes *r, struct route_service *s, const struct executor_view *v)
{
    int rc = add_hosts(r, v->service, v, (struct route_host){.service = s});
    for (size_t i = 0; i < v->n_targets && !rc; i++) {
        char label[ROUTE_HOST_LEN_MAX];
        if (!v->targets[i].tag || !*v->targets[i].tag)
            continue;
        snprintf(label, sizeof label, "%s---%s", v->targets[i].tag, v->service);
        rc = add_hosts(r, label, v, (struct route_host){.service = s, .target = i, .tagged = true});
    }
    return rc;
}

static int keep_service(struct routes *r, struct route_service *s)
{
    if (r->n_services == r->cap_services) {
        size_t cap = r->cap_services ? 2 * r->cap_services : 16;
        struct route_service **longer = realloc(r->services, cap * sizeof *longer);
        if (!longer)
            return -ERR_RESOURCE_EXHAUSTED;
        r->services = longer;
        r->cap_services = cap;
    }
    r->services[r->n_services++] = s;
    return 0;
}

static void on_view(void *arg, const struct executor_view *v)
{
    struct build *b = arg;
    struct route_service *s = b->rc ? NULL : calloc(1, sizeof *s);
    if (!s || keep_service(b->r, s)) {
        free(s);
        b->rc = b->rc ? b->rc : -ERR_RESOURCE_EXHAUSTED;
        return;
    }
    s->name = copy(v->name, &b->rc);
    s->uri = copy(v->uri ? v->uri : "", &b->rc);
    s->off = copy(v->ingress_off, &b->rc);
    s->not_ready = copy(v->not_ready, &b->rc);
    s->timeout_ns = v->timeout_ns;
    s->public_ = v->invoker_iam_disabled;
    for (size_t i = 0; i < v->n_custom_audiences && !b->rc; i++)
        b->rc = add_string(&s->audiences, &s->n_audiences, v->custom_audiences[i], strlen(v->custom_audiences[i]));
    b->rc = b->rc ? b->rc : add_invokers(s, policy_of(b->policy, v->name));
    b->rc = b->rc ? b->rc : add_targets(s, v);
    b->rc = b->rc ? b->rc : name_hosts(b->r, s, v);
}

struct routes *routes_build(struct executor *x, struct policy *p, struct key_set *keys, const char *domain, const char *default_project,
                            const char *default_region, struct err *e)
{
    struct build b = {.r = calloc(1, sizeof *b.r), .policy = p, .e = e};
    if (!b.r) {
        key_set_unref(keys);
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the routes");
        return NULL;
    }
    atomic_init(&b.r->refs, 1);
    b.r->keys = keys;
    b.r->hosts = map_new(ROUTE_HOSTS_MAX);
    b.r->domain = copy(domain, &b.rc);
    b.r->default_project = copy(default_project, &b.rc);
    b.r->default_region = copy(default_region, &b.rc);
    if (!b.rc && b.r->hosts)
        executor_each(x, on_view, &b);
    if (b.rc || !b.r->hosts) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the routes");
        routes_unref(b.r);
        return NULL;
    }
    return b.r;
}

struct routes *routes_ref(struct routes *r)
{
    atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
    return r;
}

void routes_unref(struct routes *r)
{
    if (!r || atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1)
        return;
    const char *host;
    void *h;
    for (size_t it = 0; r->hosts && map_next(r->hosts, &it, &host, &h);)
        free(h);
    map_free(r->hosts);
    for (size_t i = 0; i < r->n_services; i++)
        service_free(r->services[i]);
    free(r->services);
    key_set_unref(r->keys);
    free(r->domain);
    free(r->default_project);
    free(r->default_region);
    free(r);
}

/* ---- look up ---- */

const struct key_set *routes_keys(const struct routes *r) { return r->keys; }

void routes_measure(struct routes *r, void (*fn)(void *arg, const struct route_service *s, struct route_metrics *m), void *arg)
{
    for (size_t i = 0; i < r->n_services; i++)
        fn(arg, r->services[i], &r->services[i]->metrics);
}

bool routes_ours(const struct routes *r, struct str host)
{
    size_t n = strlen(r->domain);
    return host.n > n + 1 && host.p[host.n - n - 1] == '.' && strncasecmp(host.p + host.n - n, r->domain, n) == 0;
}

/* By percent among those that can run; a share whose revision cannot is divided among the others. */
static const struct route_target *choose(const struct route_service *s, struct rng *rng)
{
    uint64_t total = 0;
    for (size_t i = 0; i < s->n_targets; i++)
        total += s->targets[i].pool ? s->targets[i].percent : 0;
    if (total == 0)
        return NULL;
    uint64_t pick = rng_below(rng, total);
    for (size_t i = 0; i < s->n_targets; i++) {
        uint64_t share = s->targets[i].pool ? s->targets[i].percent : 0;
        if (pick < share)
            return &s->targets[i];
        pick -= share;
    }
    return NULL;
}

int routes_find(const struct routes *r, struct str host, struct rng *rng, struct route_match_host *m, struct err *e)
{
    char lower[ROUTE_HOST_LEN_MAX];
    const struct route_host *h = NULL;
    if (host.n < sizeof lower) {
        for (size_t i = 0; i < host.n; i++)
            lower[i] = (char)tolower((unsigned char)host.p[i]);
        h = map_get_n(r->hosts, lower, host.n);
    }
    if (!h)
        return err_set(e, ERR_NOT_FOUND, "no service answers at %.*s; `runnel run services list` shows those there are",
                       (int)(host.n < 200 ? host.n : 200), host.p);
    const struct route_target *t = h->tagged ? &h->service->targets[h->target] : choose(h->service, rng);
    m->service = h->service;
    m->target = t;
    if (!t || !t->pool)
        return err_set(e, ERR_UNAVAILABLE, "%s has no revision that can serve: %s", h->service->name,
                       h->service->not_ready ? h->service->not_ready : "see its conditions");
    return 0;
}

bool route_invoker(const struct route_service *s, const char *email)
{
    if (s->public_ || s->any_account)
        return true;
    const char *domain = strrchr(email, '@');
    for (size_t i = 0; i < s->n_invokers; i++)
        if (strcasecmp(s->invokers[i], email) == 0 || (domain && s->invokers[i][0] == '@' && strcasecmp(s->invokers[i], domain) == 0))
            return true;
    return false;
}

bool route_audience(const struct route_service *s, const char *audience)
{
    size_t n = strlen(s->uri);
    if (n && strncmp(audience, s->uri, n) == 0 && (!audience[n] || audience[n] == '/'))
        return true;
    for (size_t i = 0; i < s->n_audiences; i++)
        if (strcmp(s->audiences[i], audience) == 0)
            return true;
    return false;
}

/** route.h: the immutable routing snapshot that io threads read: host -> service -> revisions, who may call, the keys.
 *  Shape:  the engine builds a new one when services, traffic, policies or keys change (coalesced) and mails a reference to each io
 *          thread, which drops its old one. Instances are not in it: they are slots in the pools it refers to.
 *  Units:  timeout_ns is a duration.
 *  Errors: routes_build: RESOURCE_EXHAUSTED. routes_find: NOT_FOUND names the host, UNAVAILABLE nothing serves yet.
 *  Owner:  routes_build and routes_ref each give a reference, routes_unref drops it. Services and targets live as long as the
 *          snapshot.
 *  Thread: built on the engine thread; read anywhere; atomic references. */
#ifndef DISPATCHER_ROUTE_H
#define DISPATCHER_ROUTE_H

#include "core/base/random.h"
#include "dispatcher/identity.h"
#include "dispatcher/policy.h"
#include "executor/executor.h"

#define ROUTE_CODE_CLASSES 6 /* answers 1xx to 5xx, and none at all at 0 */
struct route_target {
    struct pool *pool; /* NULL: cannot run */
    char *revision;
    uint32_t percent;
};
/* Where the requests of a service are counted; any may be NULL. */
struct route_metrics {
    struct metric *requests[ROUTE_CODE_CLASSES], *latency;
};
struct route_service {
    char *name, *uri; /* full resource name; URL = the expected audience */
    int64_t timeout_ns;
    bool public_;     /* allUsers is invoker, or the check is disabled */
    bool any_account; /* allAuthenticatedUsers */
    char **invokers;  /* emails, or "@domain" */
    size_t n_invokers;
    char **audiences;
    size_t n_audiences;
    char *off, *not_ready;
    struct route_target *targets; /* by percent first; those with percent 0 only by tag */
    size_t n_targets;
    struct route_metrics metrics;
};
struct route_match_host {
    const struct route_service *service;
    const struct route_target *target;
};
struct routes;
struct routes *routes_build(struct executor *x, struct policy *p, struct key_set *keys, const char *domain, const char *default_project,
                            const char *default_region, struct err *e);
struct routes *routes_ref(struct routes *r);
void routes_unref(struct routes *r);
/** Before the snapshot is shared: give every service the series it is counted in. */
void routes_measure(struct routes *r, void (*fn)(void *arg, const struct route_service *s, struct route_metrics *m), void *arg);
const struct key_set *routes_keys(const struct routes *r);
/** Is this host under the services' domain at all? */
bool routes_ours(const struct routes *r, struct str host);
/** NOT_FOUND names the host; UNAVAILABLE when nothing serves yet. */
MUST_USE int routes_find(const struct routes *r, struct str host, struct rng *rng, struct route_match_host *m, struct err *e);
/** Is this account (an email) let in? Also true for a public service. */
bool route_invoker(const struct route_service *s, const char *email);
/** Is a token for this audience meant for the service: its URL, anything below it, or a custom audience? */
bool route_audience(const struct route_service *s, const char *audience);

#endif

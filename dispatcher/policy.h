/** policy.h: who may do what: IAM policies of resources, kept durable, and the authorizer of the admin API.
 *  Shape:  setIamPolicy / getIamPolicy / testIamPermissions for services (Run v2), topics and subscriptions (Pub/Sub).
 *          The admin API is open to all on loopback unless --auth is given (a file of bearer tokens): then it takes one of the file,
 *          or a token that the server signed for itself (policy_token), as tasks, schedules and pushes bring it.
 *  Errors: INVALID_ARGUMENT: --auth or its file; DATA_LOSS: a stored policy that cannot be read; UNAUTHENTICATED: a caller without
 *          a token of the file; RESOURCE_EXHAUSTED: out of memory.
 *  Owner:  policy_free; env and store outlive it. policy_of lends what the next change replaces.
 *  Thread: engine thread. */
#ifndef DISPATCHER_POLICY_H
#define DISPATCHER_POLICY_H

#include "core/base/env.h"
#include "core/rpc/iam.pb-c.h"
#include "core/rpc/method.h"
#include "core/store/store.h"

struct policy;
struct policy_config {
    const char *auth; /* NULL: open (loopback only); "token:FILE": one admin token per line */
};
/* Is there such a resource? (services are the executor's, topics the broker's) */
typedef bool (*policy_exists_fn)(void *arg, const char *resource);

/* Is this call's bearer token, none of the file, let in all the same? 0, or UNAUTHENTICATED, PERMISSION_DENIED with why not. */
typedef int (*policy_token_fn)(void *arg, const struct call *c, struct str token, struct err *e);

struct policy *policy_new(const struct env *env, const struct policy_config *c, struct store *store, struct err *e);
MUST_USE int policy_load(struct policy *p, struct err *e);
MUST_USE int policy_register(struct policy *p, struct registry *r, struct err *e); /* IAM methods, and the authorizer */
void policy_exists(struct policy *p, policy_exists_fn fn, void *arg);
void policy_token(struct policy *p, policy_token_fn fn, void *arg); /* asked for methods, not for pages */
void policy_watch(struct policy *p, void (*on_change)(void *arg), void *arg);
void policy_forget(struct policy *p, const char *resource); /* the resource was deleted */
/** Forget the policies of resources that no longer exist: once, after everything was loaded (a crash between the two deletions). */
void policy_sweep(struct policy *p);
/** May this caller use the admin API? For pages beside the method table (the token endpoint). */
MUST_USE int policy_authorize(const struct policy *p, const struct caller *who, struct err *e);
const Google__Iam__V1__Policy *policy_of(const struct policy *p, const char *resource); /* NULL: empty */
void policy_free(struct policy *p);

#endif

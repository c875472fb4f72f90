/** job_invoker.h: may this token start a job? What a push brings to a job's :trigger, when the server was started with --auth.
 *  Rules:  a push has an identity token, which says who it is and opens nothing of the API. It opens this one method, for a job whose policy
 *          has the token's account among its invokers (roles/run.invoker and the like), and only when the token was made for that: its
 *          audience is this server's URL or issuer, or the method's URL below it. What somebody else's endpoint was sent is for that one.
 *          Any other token, and any other method, is asked of identity_admits.
 *  Errors: UNAUTHENTICATED, PERMISSION_DENIED, with what to do about it.
 *  Owner:  all is the caller's.
 *  Thread: engine thread. */
#ifndef DISPATCHER_JOB_INVOKER_H
#define DISPATCHER_JOB_INVOKER_H

#include "dispatcher/identity.h"
#include "dispatcher/policy.h"

struct job_invoker {
    const struct env *env;
    struct identity *identity;
    const struct policy *policy;
    const char *urls[4]; /* that are this server */
};
/** A policy_token_fn; `arg` is the job_invoker. */
MUST_USE int job_invoker_admits(void *arg, const struct call *c, struct str token, struct err *e);

#endif

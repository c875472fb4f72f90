/* job_invoker.c: the identity token of a push, checked for the one method that it opens. */
#include "dispatcher/job_invoker.h"

#include "dispatcher/policy_check.h"
#include "executor/jobs.pb-c.h"

#include <stdio.h>

#define METHOD_PATH_MAX 600

/* The server, or exactly this path of it; a query may follow. */
static bool meant_for(const char *audience, const char *url, const char *path)
{
    size_t n = strlen(url), m = strlen(path);
    if (n == 0 || strncmp(audience, url, n) != 0)
        return false;
    audience += n;
    if (!*audience || strcmp(audience, "/") == 0)
        return true;
    return strncmp(audience, path, m) == 0 && (!audience[m] || audience[m] == '?');
}

static int check_claims(const struct job_invoker *i, const struct token_claims *claims, const char *job, struct err *e)
{
    char path[METHOD_PATH_MAX];
    bool ours = false;
    snprintf(path, sizeof path, "/runnel/v1/%.500s:trigger", job);
    for (size_t k = 0; k < ARRAY_LEN(i->urls); k++)
        ours |= i->urls[k] && meant_for(claims->audience, i->urls[k], path);
    if (!ours)
        return err_set(e, ERR_UNAUTHENTICATED, "the token is for %.150s; have it made for %s%.150s", claims->audience, i->urls[0], path);
    if (!policy_invokes(policy_of(i->policy, job), claims->email))
        return err_set(e, ERR_PERMISSION_DENIED, "%.100s may not start %.150s: give it roles/run.invoker on the job", claims->email, job);
    return 0;
}

int job_invoker_admits(void *arg, const struct call *c, struct str token, struct err *e)
{
    const struct job_invoker *i = arg;
    struct token_claims claims;
    struct err why = {0};
    if (c->method->request != &runnel__run__v1__trigger_job_request__descriptor)
        return identity_admits(i->identity, token, e);
    if (identity_admits(i->identity, token, &why) == 0)
        return 0;
    struct key_set *keys = identity_keys(i->identity);
    int rc = identity_verify(keys, token, env_wall(i->env), &claims, e);
    key_set_unref(keys);
    return rc ? rc : check_claims(i, &claims, ((const Runnel__Run__V1__TriggerJobRequest *)(const void *)c->request)->name, e);
}

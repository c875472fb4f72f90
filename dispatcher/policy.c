/* policy.c: the policies in memory and in the store, and the authorizer. What a policy may say is policy_check.c. */
#include "dispatcher/policy.h"

#include "core/base/map.h"
#include "core/rpc/pb.h"
#include "dispatcher/policy_check.h"
#include "dispatcher/rsa.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define POLICY_KIND "policy"
#define POLICIES_MAX 300000 /* one for each topic, subscription, snapshot, queue, service and job there may be */
#define AUTH_FILE_MAX (64 * 1024)
#define AUTH_TOKEN_MIN 16 /* bytes; a shorter token could be guessed */
#define AUTH_TOKENS_MAX 256
#define ETAG_BYTES 8

struct policy {
    const struct env *env;
    struct store *store;
    struct map *policies; /* resource -> Google__Iam__V1__Policy on the heap */
    struct map *changing; /* resource -> struct change, until it is durable */
    policy_exists_fn exists;
    void *exists_arg;
    policy_token_fn token;
    void *token_arg;
    void (*on_change)(void *arg);
    void *on_change_arg;
    bool open; /* no --auth */
    struct buf auth_text;
    struct str tokens[AUTH_TOKENS_MAX];
    size_t n_tokens;
};
struct change {
    struct policy *owner; /* NULL: freed before the store was done; nobody waits any more */
    struct call *call;
    char *resource;
    Google__Iam__V1__Policy *fresh;
};

/* What a resource without a policy answers: an etag that stands for "nothing yet". */
static const uint8_t etag_of_nothing[] = {0x00, 0x20, 0x01};

/* ---- who may use the API ---- */

static int read_file(const char *path, struct buf *b, struct err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(e, ERR_INVALID_ARGUMENT, errno, "--auth: cannot read %s", path);
    for (ssize_t n = 1; n > 0;) {
        char *room = buf_reserve(b, 4096);
        if (!room) {
            close(fd);
            return err_set(e, ERR_INVALID_ARGUMENT, "--auth: %s is larger than %d bytes", path, AUTH_FILE_MAX);
        }
        n = read(fd, room, 4096);
        if (n < 0 && errno != EINTR) {
            int sys = errno;
            close(fd);
            return err_sys(e, ERR_INVALID_ARGUMENT, sys, "--auth: cannot read %s", path);
        }
        buf_commit(b, n > 0 ? (size_t)n : 0);
        n = n < 0 ? 1 : n;
    }
    close(fd);
    return 0;
}

static struct str trimmed(struct str s)
{
    for (; s.n && (s.p[0] == ' ' || s.p[0] == '\t'); s.p++, s.n--)
        ;
    for (; s.n && strchr(" \t\r", s.p[s.n - 1]); s.n--)
        ;
    return s;
}

static int read_tokens(struct policy *p, const char *path, struct err *e)
{
    int rc = read_file(path, &p->auth_text, e);
    if (rc)
        return rc;
    struct str rest = buf_str(&p->auth_text);
    for (size_t number = 1; rest.p && rest.n; number++) {
        const char *end = memchr(rest.p, '\n', rest.n);
        size_t n = end ? (size_t)(end - rest.p) : rest.n;
        struct str line = trimmed((struct str){rest.p, n});
        rest = end ? (struct str){end + 1, rest.n - n - 1} : (struct str){rest.p, 0};
        if (line.n == 0 || line.p[0] == '#')
            continue;
        if (line.n < AUTH_TOKEN_MIN)
            return err_set(e, ERR_INVALID_ARGUMENT, "--auth: %s, line %zu: a token has at least %d characters", path, number,
                           AUTH_TOKEN_MIN);
        if (p->n_tokens == AUTH_TOKENS_MAX)
            return err_set(e, ERR_INVALID_ARGUMENT, "--auth: %s has more than %d tokens", path, AUTH_TOKENS_MAX);
        p->tokens[p->n_tokens++] = line;
    }
    return p->n_tokens ? 0 : err_set(e, ERR_INVALID_ARGUMENT, "--auth: %s holds no token: write one per line", path);
}

static int read_auth(struct policy *p, const char *auth, struct err *e)
{
    p->open = !auth;
    if (!auth)
        return 0;
    if (strncmp(auth, "token:", 6) != 0 || !auth[6])
        return err_set(e, ERR_INVALID_ARGUMENT, "--auth: \"%s\" is not known; use token:FILE", auth);
    return read_tokens(p, auth + 6, e);
}

int policy_authorize(const struct policy *p, const struct caller *who, struct err *e)
{
    if (p->open)
        return 0;
    if (!who->bearer)
        return err_set(e, ERR_UNAUTHENTICATED,
                       "this server wants a token: send `Authorization: Bearer TOKEN` with one of the file given to --auth");
    bool known = false;
    for (size_t i = 0; i < p->n_tokens; i++) /* all of them, so that the time does not tell which */
        known |= rsa_same(p->tokens[i], str_of(who->bearer));
    return known ? 0 : err_set(e, ERR_UNAUTHENTICATED, "the bearer token is not one of the file given to --auth");
}

/* A JWT has two dots; what has none of our form is not worth looking into. */
static bool is_jwt(const char *token)
{
    const char *first = strchr(token, '.'), *second = first ? strchr(first + 1, '.') : NULL;
    return second && !strchr(second + 1, '.');
}

static int on_authorize(void *arg, const struct call *c, struct err *e)
{
    const struct policy *p = arg;
    int rc = policy_authorize(p, &c->caller, e);
    if (!rc || !p->token || !c->caller.bearer || !is_jwt(c->caller.bearer))
        return rc;
    return p->token(p->token_arg, c, str_of(c->caller.bearer), e);
}

/* ---- reading ---- */

const Google__Iam__V1__Policy *policy_of(const struct policy *p, const char *resource) { return map_get(p->policies, resource); }

static bool known(struct policy *p, struct call *c, const char *resource)
{
    if (!p->exists || p->exists(p->exists_arg, resource))
        return true;
    call_failf(c, ERR_NOT_FOUND, "Resource not found (resource=%s).", resource);
    return false;
}

static void reply_policy(struct call *c, const Google__Iam__V1__Policy *from)
{
    Google__Iam__V1__Policy *out = from ? pb_clone(c->arena, &from->base) : pb_new(c->arena, &google__iam__v1__policy__descriptor);
    if (!out) {
        call_failf(c, ERR_RESOURCE_EXHAUSTED, "no room for the policy");
        return;
    }
    if (!from) {
        out->etag.data = arena_alloc(c->arena, sizeof etag_of_nothing);
        if (out->etag.data) {
            memcpy(out->etag.data, etag_of_nothing, sizeof etag_of_nothing);
            out->etag.len = sizeof etag_of_nothing;
        }
    }
    call_reply(c, &out->base);
}

static void on_get(void *service, struct call *c, const ProtobufCMessage *request)
{
    const Google__Iam__V1__GetIamPolicyRequest *r = (const Google__Iam__V1__GetIamPolicyRequest *)request;
    struct policy *p = service;
    if (known(p, c, r->resource))
        reply_policy(c, policy_of(p, r->resource));
}

static void on_test(void *service, struct call *c, const ProtobufCMessage *request)
{
    const Google__Iam__V1__TestIamPermissionsRequest *r = (const Google__Iam__V1__TestIamPermissionsRequest *)request;
    const struct policy *p = service;
    struct err e = {0};
    if (policy_check_permissions(r, &e)) {
        call_fail(c, &e);
        return;
    }
    Google__Iam__V1__TestIamPermissionsResponse *out = pb_new(c->arena, &google__iam__v1__test_iam_permissions_response__descriptor);
    if (!out) {
        call_failf(c, ERR_RESOURCE_EXHAUSTED, "no room for the answer");
        return;
    }
    /* Whoever gets here has passed the authorizer, and that lets do everything or nothing; on what is not there, as with Google, nothing.
     * The request lives as long as the reply. */
    if (!p->exists || p->exists(p->exists_arg, r->resource)) {
        out->permissions = r->permissions;
        out->n_permissions = r->n_permissions;
    }
    call_reply(c, &out->base);
}

/* ---- changing ---- */

static void change_free(struct change *ch)
{
    if (ch->resource && ch->owner)
        map_remove(ch->owner->changing, ch->resource);
    pb_free(ch->fresh);
    free(ch->resource);
    free(ch);
}

static void changed(struct policy *p)
{
    if (p->on_change)
        p->on_change(p->on_change_arg);
}

static void on_set_durable(void *arg, const struct err *failed)
{
    struct change *ch = arg;
    struct policy *p = ch->owner;
    struct err e = {0};
    if (!p) {
        change_free(ch);
        return;
    }
    if (failed) {
        e = *failed;
        err_wrap(&e, "the policy of %s was not changed", ch->resource);
        call_fail(ch->call, &e);
        change_free(ch);
        return;
    }
    Google__Iam__V1__Policy *old = map_get(p->policies, ch->resource);
    if (map_put(p->policies, ch->resource, ch->fresh, &e)) {
        call_fail(ch->call, &e);
        change_free(ch);
        return;
    }
    ch->fresh = NULL;
    reply_policy(ch->call, policy_of(p, ch->resource));
    pb_free(old);
    changed(p);
    if (p->exists && !p->exists(p->exists_arg, ch->resource))
        policy_forget(p, ch->resource); /* it went while the policy was being written */
    change_free(ch);
}

static int store_policy(struct policy *p, struct change *ch, struct err *e)
{
    char *bytes = NULL;
    size_t n = 0;
    struct store_txn *t = store_txn_new();
    if (!t)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the policy of %s", ch->resource);
    int rc = pb_pack(&ch->fresh->base, &bytes, &n, e);
    rc = rc ? rc : store_txn_put(t, POLICY_KIND, ch->resource, (struct str){bytes, n}, e);
    free(bytes);
    if (rc)
        store_txn_free(t);
    else
        store_submit(p->store, t, on_set_durable, ch);
    return rc;
}

static int check_etag(const struct policy *p, const char *resource, const ProtobufCBinaryData *given, struct err *e)
{
    const Google__Iam__V1__Policy *now = policy_of(p, resource);
    struct str want = now ? (struct str){(const char *)now->etag.data, now->etag.len}
                          : (struct str){(const char *)etag_of_nothing, sizeof etag_of_nothing};
    if (given->len == 0 || str_eq((struct str){(const char *)given->data, given->len}, want))
        return 0;
    return err_set(e, ERR_ABORTED, "policy.etag is not the current one: the policy of %s was changed meanwhile; read it again", resource);
}

static struct change *change_new(struct policy *p, struct call *c, const Google__Iam__V1__SetIamPolicyRequest *r, struct err *e)
{
    struct change *ch = calloc(1, sizeof *ch);
    Google__Iam__V1__Policy stored = GOOGLE__IAM__V1__POLICY__INIT;
    uint8_t etag[ETAG_BYTES];
    uint64_t random = rng_u64(p->env->rng);
    memcpy(etag, &random, sizeof etag);
    etag[0] |= 1; /* never that of nothing */
    stored.version = 1;
    stored.bindings = r->policy->bindings;
    stored.n_bindings = r->policy->n_bindings;
    stored.etag = (ProtobufCBinaryData){sizeof etag, etag};
    if (ch) {
        ch->owner = p;
        ch->call = c;
        ch->fresh = pb_dup(&stored.base);
        char *name = strdup(r->resource);
        if (ch->fresh && name && map_put(p->changing, name, ch, NULL) == 0) {
            ch->resource = name;
            return ch;
        }
        free(name);
        change_free(ch);
    }
    err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the policy of %s", r->resource);
    return NULL;
}

static void on_set(void *service, struct call *c, const ProtobufCMessage *request)
{
    const Google__Iam__V1__SetIamPolicyRequest *r = (const Google__Iam__V1__SetIamPolicyRequest *)request;
    struct policy *p = service;
    struct err e = {0};
    if (!known(p, c, r->resource))
        return;
    int rc = policy_check(r, &e);
    rc = rc ? rc : check_etag(p, r->resource, &r->policy->etag, &e);
    if (!rc && map_get(p->changing, r->resource))
        rc = err_set(&e, ERR_ABORTED, "another change of the policy of %s is under way: read it again", r->resource);
    struct change *ch = rc ? NULL : change_new(p, c, r, &e);
    if (ch && store_policy(p, ch, &e)) {
        change_free(ch);
        ch = NULL;
    }
    if (!ch)
        call_fail(c, &e);
}

static void on_forgotten(void *arg, const struct err *e)
{
    if (e) /* policy_sweep drops it after the next start */
        log_kv((struct log *)arg, LOG_WARN, "policy.not_forgotten", LSTR("error", e->msg));
}

void policy_forget(struct policy *p, const char *resource)
{
    Google__Iam__V1__Policy *old = map_remove(p->policies, resource);
    if (!old)
        return;
    pb_free(old);
    struct store_txn *t = store_txn_new();
    if (t && store_txn_delete(t, POLICY_KIND, resource, NULL) == 0)
        store_submit(p->store, t, on_forgotten, p->env->log); /* which outlives us */
    else if (t)
        store_txn_free(t);
    changed(p);
}

void policy_sweep(struct policy *p)
{
    const char *resource;
    for (bool again = p->exists != NULL; again;) {
        again = false;
        for (size_t it = 0; map_next(p->policies, &it, &resource, &(void *){0});) {
            if (p->exists(p->exists_arg, resource))
                continue;
            char *name = strdup(resource);
            if (!name)
                return;
            policy_forget(p, name);
            free(name);
            again = true;
            break; /* the iterator's key is gone */
        }
    }
}

/* ---- life ---- */

/* Three methods on each kind of resource; `kind` is its path after the version; Cloud Tasks gets by POST. */
#define IAM_ROWS(service, version, kind, permission, get_verb, get_body)                                                                  \
    {service "/GetIamPolicy",                                                                                                             \
     get_verb,                                                                                                                            \
     "/" version "/{resource=" kind "}:getIamPolicy",                                                                                     \
     get_body,                                                                                                                            \
     permission ".getIamPolicy",                                                                                                          \
     &google__iam__v1__get_iam_policy_request__descriptor,                                                                                \
     &google__iam__v1__policy__descriptor,                                                                                                \
     on_get},                                                                                                                             \
        {service "/SetIamPolicy",                                                                                                         \
         VERB_POST,                                                                                                                       \
         "/" version "/{resource=" kind "}:setIamPolicy",                                                                                 \
         "*",                                                                                                                             \
         permission ".setIamPolicy",                                                                                                      \
         &google__iam__v1__set_iam_policy_request__descriptor,                                                                            \
         &google__iam__v1__policy__descriptor,                                                                                            \
         on_set},                                                                                                                         \
    {                                                                                                                                     \
        service "/TestIamPermissions", VERB_POST, "/" version "/{resource=" kind "}:testIamPermissions", "*", permission ".getIamPolicy", \
            &google__iam__v1__test_iam_permissions_request__descriptor, &google__iam__v1__test_iam_permissions_response__descriptor,      \
            on_test                                                                                                                       \
    }

static const struct method methods[] = {
    IAM_ROWS("google.cloud.run.v2.Services", "v2", "projects/*/locations/*/services/*", "run.services", VERB_GET, NULL),
    IAM_ROWS("google.cloud.run.v2.Services", "v1", "projects/*/locations/*/services/*", "run.services", VERB_GET, NULL), /* gcloud's path */
    IAM_ROWS("google.cloud.run.v2.Jobs", "v2", "projects/*/locations/*/jobs/*", "run.jobs", VERB_GET, NULL),
    IAM_ROWS("google.iam.v1.IAMPolicy", "v1", "projects/*/topics/*", "pubsub.topics", VERB_GET, NULL),
    IAM_ROWS("google.iam.v1.IAMPolicy", "v1", "projects/*/subscriptions/*", "pubsub.subscriptions", VERB_GET, NULL),
    IAM_ROWS("google.iam.v1.IAMPolicy", "v1", "projects/*/snapshots/*", "pubsub.snapshots", VERB_GET, NULL),
    IAM_ROWS("google.cloud.tasks.v2.CloudTasks", "v2", "projects/*/locations/*/queues/*", "cloudtasks.queues", VERB_POST, "*"),
};

int policy_register(struct policy *p, struct registry *r, struct err *e)
{
    registry_authorize(r, on_authorize, p);
    return registry_add(r, methods, ARRAY_LEN(methods), p, e);
}

struct policy *policy_new(const struct env *env, const struct policy_config *c, struct store *store, struct err *e)
{
    struct policy *p = calloc(1, sizeof *p);
    if (!p) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the policies");
        return NULL;
    }
    p->env = env;
    p->store = store;
    buf_init(&p->auth_text, AUTH_FILE_MAX);
    p->policies = map_new(POLICIES_MAX);
    p->changing = map_new(POLICIES_MAX);
    if (!p->policies || !p->changing)
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the policies");
    else if (read_auth(p, c->auth, e) == 0)
        return p;
    policy_free(p);
    return NULL;
}

static int load_one(void *arg, const char *name, struct str body, struct err *e)
{
    struct policy *p = arg;
    Google__Iam__V1__Policy *policy = pb_unpack_heap(&google__iam__v1__policy__descriptor, body);
    if (!policy)
        return err_set(e, ERR_DATA_LOSS, POLICY_KIND " record \"%.150s\": malformed", name);
    if (map_put(p->policies, name, policy, e) == 0)
        return 0;
    pb_free(policy);
    return err_wrap(e, POLICY_KIND " record \"%.150s\"", name);
}

int policy_load(struct policy *p, struct err *e) { return p->store->ops->load_resources(p->store, POLICY_KIND, load_one, p, e); }

void policy_exists(struct policy *p, policy_exists_fn fn, void *arg)
{
    p->exists = fn;
    p->exists_arg = arg;
}

void policy_token(struct policy *p, policy_token_fn fn, void *arg)
{
    p->token = fn;
    p->token_arg = arg;
}

void policy_watch(struct policy *p, void (*on_change)(void *arg), void *arg)
{
    p->on_change = on_change;
    p->on_change_arg = arg;
}

static void free_values(struct map *m, void (*free_fn)(void *))
{
    void *value;
    const char *key;
    for (size_t it = 0; m && map_next(m, &it, &key, &value);)
        free_fn(value);
    map_free(m);
}

void policy_free(struct policy *p)
{
    const char *resource;
    void *ch;
    if (!p)
        return;
    for (size_t it = 0; p->changing && map_next(p->changing, &it, &resource, &ch);)
        ((struct change *)ch)->owner = NULL; /* still in the store's hands */
    free_values(p->policies, pb_free);
    map_free(p->changing);
    if (p->auth_text.mem)
        explicit_bzero(p->auth_text.mem, p->auth_text.cap);
    buf_fini(&p->auth_text);
    free(p);
}

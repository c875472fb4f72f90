/* identity.c: the life of the signing keys, and the pages by which others find them. */
#include "dispatcher/identity.h"

#include "core/base/text.h"
#include "core/rpc/pb.h"
#include "dispatcher/key_set.h"
#include "dispatcher/token.h"

#include <stdio.h>
#include <stdlib.h>

#define KEY_KIND "signing-key"
#define KEY_CHECK_NS (600 * NS_PER_S)  /* how often the age of the keys is looked at */
#define KEY_RETRY_NS (5 * NS_PER_S)    /* after a key could not be made or kept */
#define KEY_AHEAD_NS (3600 * NS_PER_S) /* a new key is published this long before it signs */
#define KEY_RECORD_MAX (2 * RSA_PEM_MAX)
#define PAGES_WAITING_MAX 1000             /* requests for the keys before there is one */
#define CERTS_CACHE "public, max-age=1800" /* half of KEY_AHEAD_NS: who caches sees a key before it signs */

struct signing_key {
    struct rsa_key *key;
    int64_t created_wall_ns;
    char kid[RSA_KID_LEN + 1];
};
/* A key in the store's hands, which may outlive the identity. */
struct key_write {
    struct identity *owner; /* NULL: gone */
};
struct key_job {
    struct job job;
    struct key_write *write; /* while it is being stored */
    struct identity *owner;
    bool busy;           /* being made or stored */
    struct rsa_key *key; /* made, not yet durable */
    int64_t created_wall_ns;
    struct err err;
};
struct identity {
    const struct env *env;
    struct store *store;
    struct workers *workers;
    struct mailbox *engine;
    char *issuer, *url, *account;
    struct signing_key keys[KEY_SET_MAX]; /* oldest first */
    size_t n_keys;
    struct key_set *published;
    struct tokens *tokens;
    struct token_source source;
    struct timer timer;
    struct key_job making;
    struct mail *pages; /* web calls that wait for the first key, newest first */
    size_t n_pages;
    void (*on_change)(void *arg);
    void *on_change_arg;
    void *kept;
};

/* ---- the keys in memory ---- */

static int64_t key_age(const struct identity *id, size_t i) { return env_wall(id->env) - id->keys[i].created_wall_ns; }

/* The newest one that has been published long enough; the oldest when there is none such. */
static struct signing_key *signer(struct identity *id)
{
    for (size_t i = id->n_keys; i-- > 0;)
        if (key_age(id, i) >= KEY_AHEAD_NS)
            return &id->keys[i];
    return id->n_keys ? &id->keys[0] : NULL;
}

static int keep_key(struct identity *id, struct rsa_key *key, int64_t created_wall_ns, struct err *e)
{
    struct signing_key fresh = {.key = key, .created_wall_ns = created_wall_ns};
    if (id->n_keys == KEY_SET_MAX)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "more than %d signing keys", KEY_SET_MAX);
    int rc = rsa_kid(key, fresh.kid, e);
    if (rc)
        return rc;
    size_t at = id->n_keys++;
    for (; at > 0 && id->keys[at - 1].created_wall_ns > created_wall_ns; at--)
        id->keys[at] = id->keys[at - 1];
    id->keys[at] = fresh;
    return 0;
}

static int publish(struct identity *id, struct err *e)
{
    struct rsa_key *keys[KEY_SET_MAX];
    for (size_t i = 0; i < id->n_keys; i++)
        keys[i] = id->keys[i].key;
    struct key_set *set = key_set_new(id->issuer, keys, id->n_keys, e);
    if (!set)
        return -ERR_RESOURCE_EXHAUSTED;
    key_set_unref(id->published);
    id->published = set;
    return 0;
}

static void answer_pages(struct identity *id);

/* The set of keys is another one: publish it, sign with the right one, tell who watches. */
static void keys_changed(struct identity *id)
{
    struct err e = {0};
    if (publish(id, &e))
        log_kv(id->env->log, LOG_ERROR, "identity.publish_failed", LSTR("error", e.msg));
    struct signing_key *s = signer(id);
    if (s)
        tokens_key(id->tokens, s->key, NULL);
    answer_pages(id);
    if (id->on_change)
        id->on_change(id->on_change_arg);
}

/* ---- making and keeping ---- */

static void check_again(struct identity *id, int64_t in_ns)
{
    struct err e = {0};
    if (timer_set(id->env->timers, &id->timer, env_now(id->env) + in_ns, &e))
        log_kv(id->env->log, LOG_ERROR, "identity.no_timer", LSTR("error", e.msg));
}

static void making_failed(struct identity *id, const struct err *why)
{
    log_kv(id->env->log, LOG_ERROR, "identity.key_failed", LSTR("error", why->msg), LSTR("do", "trying again in 5 s"));
    rsa_unref(id->making.key);
    id->making.key = NULL;
    id->making.busy = false;
    struct err e = *why;
    e.code = ERR_UNAVAILABLE;
    err_wrap(&e, "no signing key");
    if (id->n_keys == 0)
        tokens_key(id->tokens, NULL, &e);
    check_again(id, KEY_RETRY_NS);
}

static void on_key_stored(void *arg, const struct err *failed)
{
    struct key_write *w = arg;
    struct identity *id = w->owner;
    free(w);
    if (!id)
        return;
    struct key_job *m = &id->making;
    struct err e = {0};
    m->write = NULL;
    if (failed) {
        making_failed(id, failed);
        return;
    }
    if (keep_key(id, m->key, m->created_wall_ns, &e)) {
        making_failed(id, &e);
        return;
    }
    log_kv(id->env->log, LOG_INFO, "identity.key_made", LINT("keys", id->n_keys));
    m->key = NULL;
    m->busy = false;
    keys_changed(id);
    check_again(id, KEY_CHECK_NS);
}

static int pack_key(const struct key_job *m, struct buf *pem, char **record, size_t *n, struct err *e)
{
    int rc = rsa_private_pem_add(m->key, pem, e);
    if (rc)
        return rc;
    Runnel__Identity__SigningKey r = RUNNEL__IDENTITY__SIGNING_KEY__INIT;
    r.created_wall_ns = m->created_wall_ns;
    r.private_pem = buf_cstr(pem);
    return r.private_pem ? pb_pack(&r.base, record, n, e) : err_set(e, ERR_RESOURCE_EXHAUSTED, "no room for a key");
}

static int store_key(struct identity *id, struct err *e)
{
    struct buf pem;
    char *record = NULL, kid[RSA_KID_LEN + 1];
    size_t n = 0;
    struct store_txn *t = store_txn_new();
    struct key_write *w = malloc(sizeof *w);
    buf_init(&pem, KEY_RECORD_MAX);
    int rc = t && w ? pack_key(&id->making, &pem, &record, &n, e) : err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for a key");
    rc = rc ? rc : rsa_kid(id->making.key, kid, e);
    rc = rc ? rc : store_txn_put(t, KEY_KIND, kid, (struct str){record, n}, e);
    buf_fini(&pem);
    free(record);
    if (rc) {
        if (t)
            store_txn_free(t);
        free(w);
        return rc;
    }
    w->owner = id;
    id->making.write = w;
    store_submit(id->store, t, on_key_stored, w); /* not used before it is durable: a restart must know it */
    return 0;
}

static void on_key_made(struct mail *mail)
{
    struct identity *id = CONTAINER_OF(mail, struct key_job, job.mail)->owner;
    struct err e = id->making.err;
    if (e.code || store_key(id, &e))
        making_failed(id, &e);
}

static void make_on_worker(struct job *job)
{
    struct key_job *m = CONTAINER_OF(job, struct key_job, job);
    m->err = (struct err){0};
    m->key = rsa_generate(&m->err);
}

static void make_key(struct identity *id)
{
    struct key_job *m = &id->making;
    m->busy = true;
    m->created_wall_ns = env_wall(id->env);
    m->job = (struct job){.mail = {.deliver = on_key_made}, .reply = id->engine, .work = make_on_worker};
    if (!workers_submit(id->workers, &m->job)) {
        struct err e;
        err_set(&e, ERR_UNAVAILABLE, "the workers have too much to do");
        making_failed(id, &e);
    }
}

static void on_key_dropped(void *arg, const struct err *e)
{
    if (e) /* it is published again after a restart, and dropped then */
        log_kv((struct log *)arg, LOG_WARN, "identity.key_not_dropped", LSTR("error", e->msg));
}

static bool drop_old_keys(struct identity *id)
{
    size_t before = id->n_keys;
    while (id->n_keys > 1 && key_age(id, 0) > KEY_ROTATE_NS + KEY_KEEP_NS && signer(id) != &id->keys[0]) {
        struct store_txn *t = store_txn_new();
        if (t && store_txn_delete(t, KEY_KIND, id->keys[0].kid, NULL) == 0)
            store_submit(id->store, t, on_key_dropped, id->env->log); /* which outlives us */
        else if (t)
            store_txn_free(t);
        rsa_unref(id->keys[0].key);
        memmove(&id->keys[0], &id->keys[1], --id->n_keys * sizeof id->keys[0]);
    }
    return id->n_keys != before;
}

static void on_check(struct timer *timer, int64_t now_ns)
{
    struct identity *id = CONTAINER_OF(timer, struct identity, timer);
    if (id->making.busy)
        return;
    if (id->n_keys == 0 || key_age(id, id->n_keys - 1) >= KEY_ROTATE_NS) {
        make_key(id);
        return;
    }
    if (drop_old_keys(id))
        keys_changed(id);
    else
        tokens_key(id->tokens, signer(id)->key, NULL); /* its hour may have come */
    check_again(id, KEY_CHECK_NS);
}

/* ---- pages ---- */

static void reply_keys(struct identity *id, struct web_call *w)
{
    struct err e = {0};
    bool pems = strcmp(w->route->path, "/oauth2/v1/certs") == 0;
    w->extra_name = "Cache-Control";
    w->extra_value = CERTS_CACHE;
    int rc = pems ? key_set_pems_add(id->published, &w->answer, &e) : key_set_jwks_add(id->published, &w->answer, &e);
    web_reply(w, rc ? 500 : 200, "application/json; charset=utf-8");
}

static void answer_pages(struct identity *id)
{
    struct mail *m = id->pages;
    id->pages = NULL;
    id->n_pages = 0;
    for (struct mail *next; m; m = next) {
        next = m->next;
        reply_keys(id, CONTAINER_OF(m, struct web_call, mail));
    }
}

/* Before the first key is made an empty set would be cached by whoever asks: it waits instead. */
static void on_certs(void *arg, struct web_call *w)
{
    struct identity *id = arg;
    if (id->n_keys) {
        reply_keys(id, w);
    } else if (id->n_pages < PAGES_WAITING_MAX) {
        w->mail.next = id->pages;
        id->pages = &w->mail;
        id->n_pages++;
    } else {
        web_reply(w, 503, "text/plain");
    }
}

static int discovery_add(const struct identity *id, struct web_call *w)
{
    struct buf *b = &w->answer;
    if (buf_addz(b, "{\"issuer\":") || json_string_add(b, str_of(id->issuer)) ||
        buf_addf(b, ",\"jwks_uri\":\"%s/oauth2/v3/certs\",\"token_endpoint\":\"%s/token\"", id->url, id->url))
        return -ERR_RESOURCE_EXHAUSTED;
    return buf_addz(b, ",\"response_types_supported\":[\"id_token\"],\"subject_types_supported\":[\"public\"],"
                       "\"id_token_signing_alg_values_supported\":[\"RS256\"],\"scopes_supported\":[\"openid\",\"email\"],"
                       "\"claims_supported\":[\"aud\",\"azp\",\"email\",\"email_verified\",\"exp\",\"iat\",\"iss\",\"sub\"]}\n");
}

static void on_discovery(void *arg, struct web_call *w)
{
    int rc = discovery_add(arg, w);
    w->extra_name = "Cache-Control";
    w->extra_value = CERTS_CACHE;
    web_reply(w, rc ? 500 : 200, "application/json; charset=utf-8");
}

int identity_routes(struct identity *id, struct web *w, struct err *e)
{
    const struct web_route routes[] = {
        {VERB_GET, "/.well-known/openid-configuration", on_discovery, id},
        {VERB_GET, "/oauth2/v3/certs", on_certs, id},
        {VERB_GET, "/oauth2/v1/certs", on_certs, id},
    };
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        int rc = web_add(w, &routes[i], e);
        if (rc)
            return rc;
    }
    return 0;
}

/* ---- life ---- */

static void source_get(struct token_source *ts, enum token_kind kind, const char *account, const char *to,
                       void (*done)(void *arg, const char *token, const struct err *e), void *arg)
{
    tokens_get(CONTAINER_OF(ts, struct identity, source)->tokens, kind, account, to, done, arg);
}

struct identity *identity_new(const struct env *env, const struct identity_config *c, struct store *store, struct workers *workers,
                              struct mailbox *engine, struct err *e)
{
    struct identity *id = calloc(1, sizeof *id);
    if (!id) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the identity");
        return NULL;
    }
    id->env = env;
    id->store = store;
    id->workers = workers;
    id->engine = engine;
    id->making.owner = id;
    id->source.get = source_get;
    timer_init(&id->timer, on_check);
    char account[TOKEN_ACCOUNT_MAX + 1];
    snprintf(account, sizeof account, "default@%s.iam.gserviceaccount.com", c->project);
    id->issuer = strdup(c->issuer);
    id->url = strdup(c->url ? c->url : c->issuer);
    id->account = strdup(account);
    if (!id->issuer || !id->url || !id->account)
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the identity");
    else if ((id->tokens = tokens_new(env, id->issuer, workers, engine, e)) && publish(id, e) == 0)
        return id;
    identity_free(id);
    return NULL;
}

static int load_key(void *arg, const char *name, struct str body, struct err *e)
{
    struct identity *id = arg;
    Runnel__Identity__SigningKey *r = pb_unpack_heap(&runnel__identity__signing_key__descriptor, body);
    char kid[RSA_KID_LEN + 1];
    struct rsa_key *key = r ? rsa_from_pem(str_of(r->private_pem), e) : NULL;
    int rc = key ? rsa_kid(key, kid, e) : err_set(e, ERR_DATA_LOSS, "%s", r ? e->msg : "malformed");
    if (rc == 0 && strcmp(kid, name) != 0)
        rc = err_set(e, ERR_DATA_LOSS, "it is one of the key %s", kid);
    rc = rc ? rc : keep_key(id, key, r->created_wall_ns, e);
    if (rc) {
        rsa_unref(key);
        err_wrap(e, KEY_KIND " record \"%.60s\"", name);
    }
    pb_free(r);
    return rc;
}

int identity_load(struct identity *id, struct err *e)
{
    int rc = id->store->ops->load_resources(id->store, KEY_KIND, load_key, id, e);
    rc = rc ? rc : publish(id, e);
    if (rc)
        return rc;
    if (id->n_keys)
        tokens_key(id->tokens, signer(id)->key, NULL);
    /* Not made here: that takes a worker, and storing it must come after everybody has loaded. */
    return timer_set(id->env->timers, &id->timer, env_now(id->env), e);
}

struct token_source *identity_source(struct identity *id) { return &id->source; }
const char *identity_default_account(const struct identity *id) { return id->account; }
struct key_set *identity_keys(struct identity *id) { return key_set_ref(id->published); }

static bool has_scope(const char *scopes, const char *wanted)
{
    size_t n = strlen(wanted);
    for (const char *at = scopes; (at = strstr(at, wanted)); at += n)
        if ((at == scopes || at[-1] == ' ') && (at[n] == ' ' || at[n] == '\0'))
            return true;
    return false;
}

int identity_admits(void *arg, struct str token, struct err *e)
{
    const struct identity *id = arg;
    struct token_claims claims;
    int rc = key_set_verify_access(id->published, token, env_wall(id->env), &claims, e);
    if (rc)
        return rc;
    if (strcmp(claims.email, id->account) != 0)
        return err_set(e, ERR_PERMISSION_DENIED, "the access token is of %.100s; only %s may use this API", claims.email, id->account);
    if (!has_scope(claims.audience, SCOPE_CLOUD_PLATFORM))
        return err_set(e, ERR_PERMISSION_DENIED, "the access token lacks the scope %s", SCOPE_CLOUD_PLATFORM);
    return 0;
}

void identity_watch(struct identity *id, void (*on_change)(void *arg), void *arg)
{
    id->on_change = on_change;
    id->on_change_arg = arg;
}

void identity_keep(struct identity *id, void *block)
{
    free(id->kept);
    id->kept = block;
}

void identity_free(struct identity *id)
{
    if (!id)
        return;
    timer_cancel(id->env->timers, &id->timer);
    if (id->making.write)
        id->making.write->owner = NULL;
    tokens_free(id->tokens);
    for (size_t i = 0; i < id->n_keys; i++)
        rsa_unref(id->keys[i].key);
    rsa_unref(id->making.key);
    key_set_unref(id->published);
    free(id->kept);
    free(id->issuer);
    free(id->url);
    free(id->account);
    free(id);
}

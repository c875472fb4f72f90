/* token.c: the cache of tokens and the one place where claims are written. */
#include "dispatcher/token.h"

#include "core/base/list.h"
#include "core/base/map.h"
#include "core/base/text.h"
#include "dispatcher/key_set.h"

#include <assert.h>
#include <stdlib.h>

#define CACHE_KEY_MAX (TOKEN_ACCOUNT_MAX + TOKEN_AUDIENCE_MAX + 3)

enum entry_state { ENTRY_WAITING_KEY, ENTRY_SIGNING, ENTRY_READY };
struct entry {
    struct node link; /* in tokens->ready (by use) or tokens->busy */
    struct job job;
    struct tokens *owner;
    enum entry_state state;
    struct list waiters;
    enum token_kind kind;
    size_t account_len;
    int64_t iat_s;
    struct rsa_key *key; /* while signing */
    struct buf text;     /* the token being made, then the token */
    struct err err;
    char name[]; /* "Kaccount audience", K the kind's letter */
};
struct waiter {
    struct node link;
    token_done_fn done;
    void *arg;
};
struct tokens {
    const struct env *env;
    struct workers *workers;
    struct mailbox *engine;
    char *issuer;
    struct rsa_key *key;
    struct map *entries;
    struct list ready, busy;
    size_t waiting;
};

struct tokens *tokens_new(const struct env *env, const char *issuer, struct workers *workers, struct mailbox *engine, struct err *e)
{
    struct tokens *t = calloc(1, sizeof *t);
    if (t) {
        *t = (struct tokens){.env = env, .workers = workers, .engine = engine};
        list_init(&t->ready);
        list_init(&t->busy);
        t->entries = map_new(TOKEN_CACHE_MAX);
        t->issuer = strdup(issuer);
    }
    if (!t || !t->entries || !t->issuer) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for tokens");
        tokens_free(t);
        return NULL;
    }
    return t;
}

void token_account_id(const char *account, char out[ACCOUNT_ID_LEN + 1])
{
    size_t n = strlen(account);
    uint64_t high = hash_bytes(account, n, 1), low = hash_bytes(account, n, 2);
    out[0] = '1'; /* as Google's: 21 digits that begin with a 1 */
    for (size_t i = 1; i < ACCOUNT_ID_LEN; i++) {
        uint64_t *from = i <= 10 ? &high : &low;
        out[i] = (char)('0' + *from % 10);
        *from /= 10;
    }
    out[ACCOUNT_ID_LEN] = '\0';
}

/* ---- signing, on a worker ---- */

static struct str account_of(const struct entry *x) { return (struct str){x->name + 1, x->account_len}; }

/* Of an access token the audience is ourselves: it means nothing elsewhere. */
static int claims_add(struct buf *b, const struct entry *x)
{
    char account[TOKEN_ACCOUNT_MAX + 1], sub[ACCOUNT_ID_LEN + 1];
    struct str to = str_of(x->name + 1 + x->account_len + 1), issuer = str_of(x->owner->issuer);
    memcpy(account, x->name + 1, x->account_len);
    account[x->account_len] = '\0';
    token_account_id(account, sub);
    if (x->kind == TOKEN_ACCESS && (buf_addz(b, "{\"scope\":") || json_string_add(b, to)))
        return -ERR_RESOURCE_EXHAUSTED;
    if (buf_addz(b, x->kind == TOKEN_ACCESS ? ",\"iss\":" : "{\"iss\":") || json_string_add(b, issuer) || buf_addz(b, ",\"aud\":") ||
        json_string_add(b, x->kind == TOKEN_ACCESS ? issuer : to) || buf_addf(b, ",\"azp\":\"%s\",\"sub\":\"%s\",\"email\":", sub, sub) ||
        json_string_add(b, str_of(account)))
        return -ERR_RESOURCE_EXHAUSTED;
    return buf_addf(b, ",\"email_verified\":true,\"iat\":%lld,\"exp\":%lld}", (long long)x->iat_s,
                    (long long)x->iat_s + TOKEN_LIFE_NS / NS_PER_S);
}

static int sign(struct entry *x, struct buf *json, struct err *e)
{
    char kid[RSA_KID_LEN + 1];
    uint8_t signature[RSA_SIGNATURE_BYTES];
    int rc = rsa_kid(x->key, kid, e);
    if (rc)
        return rc;
    const char *type = x->kind == TOKEN_ACCESS ? ACCESS_TYPE : TOKEN_TYPE;
    if (buf_addf(json, "{\"alg\":\"RS256\",\"kid\":\"%s\",\"typ\":\"%s\"}", kid, type) ||
        base64url_add(&x->text, buf_data(json), buf_len(json)) || buf_addz(&x->text, "."))
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "no room for a token");
    buf_clear(json);
    if (claims_add(json, x) || base64url_add(&x->text, buf_data(json), buf_len(json)))
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "no room for a token");
    if ((rc = rsa_sign(x->key, buf_str(&x->text), signature, e)))
        return rc;
    if (buf_addz(&x->text, ".") || base64url_add(&x->text, signature, sizeof signature) || !buf_cstr(&x->text))
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "no room for a token");
    return 0;
}

static void on_worker(struct job *job)
{
    struct entry *x = CONTAINER_OF(job, struct entry, job);
    struct buf json;
    buf_init(&json, TOKEN_BYTES_MAX);
    x->err = (struct err){0};
    if (sign(x, &json, &x->err)) {
        x->err.code = ERR_UNAVAILABLE; /* whatever it was: trying again may help */
        err_wrap(&x->err, "token for %.*s", (int)x->account_len, account_of(x).p);
    }
    buf_fini(&json);
}

/* ---- entries ---- */

static void move_to(struct entry *x, enum entry_state to)
{
    struct tokens *t = x->owner;
    if (node_linked(&x->link))
        list_remove(x->state == ENTRY_READY ? &t->ready : &t->busy, &x->link);
    x->state = to;
    list_append(to == ENTRY_READY ? &t->ready : &t->busy, &x->link);
}

static void entry_free(struct entry *x)
{
    struct tokens *t = x->owner;
    list_remove(x->state == ENTRY_READY ? &t->ready : &t->busy, &x->link);
    map_remove(t->entries, x->name);
    rsa_unref(x->key);
    buf_fini(&x->text);
    free(x);
}

/* Tell everybody; more may ask for the same from within, they are answered from the cache or wait anew. */
static void tell(struct tokens *t, struct list *waiters, const char *token, const struct err *e)
{
    for (struct node *n; (n = list_pop(waiters));) {
        struct waiter *w = CONTAINER_OF(n, struct waiter, link);
        t->waiting--;
        w->done(w->arg, token, e);
        free(w);
    }
}

static void take_waiters(struct entry *x, struct list *out)
{
    list_init(out);
    for (struct node *n; (n = list_pop(&x->waiters));)
        list_append(out, n);
}

static void fail_entry(struct entry *x, const struct err *e)
{
    struct tokens *t = x->owner;
    struct list waiters;
    take_waiters(x, &waiters);
    entry_free(x);
    tell(t, &waiters, NULL, e);
}

static void on_signed(struct mail *m)
{
    struct entry *x = CONTAINER_OF(m, struct entry, job.mail);
    struct tokens *t = x->owner;
    rsa_unref(x->key);
    x->key = NULL;
    if (x->err.code) {
        struct err e = x->err;
        fail_entry(x, &e);
        return;
    }
    move_to(x, ENTRY_READY);
    struct list waiters;
    take_waiters(x, &waiters);
    /* The entry may be evicted by whoever asks for other tokens meanwhile: what is handed out must stay. */
    char *token = strdup(buf_data(&x->text));
    struct err e;
    if (!token)
        err_set(&e, ERR_UNAVAILABLE, "out of memory for a token");
    tell(t, &waiters, token, token ? NULL : &e);
    free(token);
}

static void start(struct entry *x)
{
    struct tokens *t = x->owner;
    if (!t->key) {
        move_to(x, ENTRY_WAITING_KEY);
        return;
    }
    move_to(x, ENTRY_SIGNING);
    x->key = rsa_ref(t->key);
    x->iat_s = env_wall(t->env) / NS_PER_S;
    buf_clear(&x->text);
    x->job = (struct job){.mail = {.deliver = on_signed}, .reply = t->engine, .work = on_worker};
    if (!workers_submit(t->workers, &x->job)) {
        struct err e;
        err_set(&e, ERR_UNAVAILABLE, "too many signatures wait; try again");
        fail_entry(x, &e);
    }
}

static struct entry *entry_new(struct tokens *t, enum token_kind kind, const char *name, size_t account_len, struct err *e)
{
    if (map_count(t->entries) >= TOKEN_CACHE_MAX) {
        struct node *oldest = list_first(&t->ready);
        if (!oldest) {
            err_set(e, ERR_RESOURCE_EXHAUSTED, "%d tokens are being signed", TOKEN_CACHE_MAX);
            return NULL;
        }
        entry_free(CONTAINER_OF(oldest, struct entry, link));
    }
    size_t name_n = strlen(name) + 1;
    struct entry *x = calloc(1, sizeof *x + name_n);
    if (!x || map_put(t->entries, name, x, e)) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for a token");
        free(x);
        return NULL;
    }
    x->owner = t;
    x->kind = kind;
    x->account_len = account_len;
    memcpy(x->name, name, name_n);
    node_init(&x->link);
    list_init(&x->waiters);
    buf_init(&x->text, TOKEN_BYTES_MAX);
    move_to(x, ENTRY_WAITING_KEY);
    return x;
}

static bool fresh(const struct tokens *t, const struct entry *x)
{
    int64_t until_ns = x->iat_s * NS_PER_S + TOKEN_LIFE_NS - TOKEN_RENEW_NS;
    int64_t wall_ns = env_wall(t->env);
    return x->state == ENTRY_READY && wall_ns < until_ns && wall_ns + TOKEN_SLACK_NS > x->iat_s * NS_PER_S;
}

static int cache_name(enum token_kind kind, const char *account, const char *to, char out[CACHE_KEY_MAX], struct err *e)
{
    size_t a = strlen(account), b = strlen(to);
    if (a == 0 || a > TOKEN_ACCOUNT_MAX || strchr(account, ' '))
        return err_set(e, ERR_INVALID_ARGUMENT, "not an account: \"%.100s\" (1 to %d bytes, no spaces)", account, TOKEN_ACCOUNT_MAX);
    if (b == 0 || b > TOKEN_AUDIENCE_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "a token's %s has 1 to %d bytes, not %zu", kind == TOKEN_ACCESS ? "scope" : "audience",
                       TOKEN_AUDIENCE_MAX, b);
    out[0] = kind == TOKEN_ACCESS ? 'a' : 'i';
    memcpy(out + 1, account, a);
    out[1 + a] = ' ';
    memcpy(out + 1 + a + 1, to, b + 1);
    return 0;
}

static int wait_for(struct tokens *t, struct entry *x, token_done_fn done, void *arg, struct err *e)
{
    struct waiter *w = t->waiting < TOKEN_WAITERS_MAX ? malloc(sizeof *w) : NULL;
    if (!w)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "%zu requests wait for a token; try again", t->waiting);
    *w = (struct waiter){.done = done, .arg = arg};
    node_init(&w->link);
    list_append(&x->waiters, &w->link);
    t->waiting++;
    return 0;
}

void tokens_get(struct tokens *t, enum token_kind kind, const char *account, const char *to, token_done_fn done, void *arg)
{
    char name[CACHE_KEY_MAX];
    struct err e = {0};
    if (cache_name(kind, account, to, name, &e)) {
        done(arg, NULL, &e);
        return;
    }
    struct entry *x = map_get(t->entries, name);
    if (x && fresh(t, x)) {
        move_to(x, ENTRY_READY); /* to the end: used last */
        done(arg, buf_data(&x->text), NULL);
        return;
    }
    bool idle = !x || x->state == ENTRY_READY;
    if (!x)
        x = entry_new(t, kind, name, strlen(account), &e);
    if (!x || wait_for(t, x, done, arg, &e)) {
        if (x && list_empty(&x->waiters) && x->state == ENTRY_WAITING_KEY)
            entry_free(x);
        done(arg, NULL, &e);
        return;
    }
    if (idle)
        start(x);
}

void tokens_key(struct tokens *t, struct rsa_key *key, const struct err *why)
{
    if (key) {
        rsa_ref(key);
        rsa_unref(t->key);
        t->key = key;
    }
    struct list all;
    list_init(&all);
    for (struct node *n; (n = list_pop(&t->busy));)
        list_append(&all, n);
    for (struct node *n; (n = list_pop(&all));) {
        struct entry *x = CONTAINER_OF(n, struct entry, link);
        list_append(&t->busy, n);
        if (x->state == ENTRY_WAITING_KEY && t->key)
            start(x);
        else if (x->state == ENTRY_WAITING_KEY && why)
            fail_entry(x, why);
    }
}

void tokens_free(struct tokens *t)
{
    if (!t)
        return;
    struct err e;
    err_set(&e, ERR_CANCELLED, "the server is stopping");
    struct list *both[] = {&t->ready, &t->busy};
    for (size_t i = 0; i < ARRAY_LEN(both); i++)
        for (struct node *n; (n = list_first(both[i]));)
            fail_entry(CONTAINER_OF(n, struct entry, link), &e);
    map_free(t->entries);
    rsa_unref(t->key);
    free(t->issuer);
    free(t);
}

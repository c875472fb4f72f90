/* key_set.c: the published keys: taking tokens apart, checking them, and the JWKS and PEM pages. */
#include "dispatcher/key_set.h"

#include "core/base/text.h"
#include "core/rpc/json.h"
#include "core/rpc/pb.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define TOKEN_ARENA_MAX (64 * 1024)

struct key_set {
    _Atomic uint32_t refs;
    char *issuer;
    size_t n;
    struct {
        char kid[RSA_KID_LEN + 1];
        struct rsa_key *key;
    } keys[KEY_SET_MAX];
};

struct key_set *key_set_new(const char *issuer, struct rsa_key *const *keys, size_t n, struct err *e)
{
    assert(n <= KEY_SET_MAX);
    struct key_set *k = calloc(1, sizeof *k);
    if (k) {
        atomic_init(&k->refs, 1);
        k->issuer = strdup(issuer);
    }
    if (!k || !k->issuer) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the signing keys");
        key_set_unref(k);
        return NULL;
    }
    for (; k->n < n; k->n++) {
        if (rsa_kid(keys[k->n], k->keys[k->n].kid, e)) {
            key_set_unref(k);
            return NULL;
        }
        k->keys[k->n].key = rsa_ref(keys[k->n]);
    }
    return k;
}

struct key_set *key_set_ref(struct key_set *k)
{
    atomic_fetch_add_explicit(&k->refs, 1, memory_order_relaxed);
    return k;
}

void key_set_unref(struct key_set *k)
{
    if (!k || atomic_fetch_sub_explicit(&k->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < k->n; i++)
        rsa_unref(k->keys[i].key);
    free(k->issuer);
    free(k);
}

size_t key_set_count(const struct key_set *k) { return k->n; }

/* ---- pages ---- */

static int full(struct err *e) { return err_set(e, ERR_RESOURCE_EXHAUSTED, "no room for the keys"); }

int key_set_jwks_add(const struct key_set *k, struct buf *b, struct err *e)
{
    if (buf_addz(b, "{\"keys\":["))
        return full(e);
    for (size_t i = 0; i < k->n; i++) {
        if (buf_addf(b, "%s{\"kty\":\"RSA\",\"alg\":\"RS256\",\"use\":\"sig\",\"kid\":\"%s\",\"n\":\"", i ? "," : "", k->keys[i].kid))
            return full(e);
        int rc = rsa_n_add(k->keys[i].key, b, e);
        if (rc)
            return rc;
        if (buf_addz(b, "\",\"e\":\""))
            return full(e);
        if ((rc = rsa_e_add(k->keys[i].key, b, e)))
            return rc;
        if (buf_addz(b, "\"}"))
            return full(e);
    }
    return buf_addz(b, "]}\n") ? full(e) : 0;
}

int key_set_pems_add(const struct key_set *k, struct buf *b, struct err *e)
{
    struct buf pem;
    buf_init(&pem, RSA_PEM_MAX);
    int rc = buf_addz(b, "{") ? full(e) : 0;
    for (size_t i = 0; i < k->n && !rc; i++) {
        buf_clear(&pem);
        rc = rsa_public_pem_add(k->keys[i].key, &pem, e);
        if (!rc && (buf_addf(b, "%s\"%s\":", i ? "," : "", k->keys[i].kid) || json_string_add(b, buf_str(&pem))))
            rc = full(e);
    }
    if (!rc && buf_addz(b, "}\n"))
        rc = full(e);
    buf_fini(&pem);
    return rc;
}

/* ---- tokens ---- */

static struct str until_dot(struct str *rest)
{
    const char *dot = rest->n ? memchr(rest->p, '.', rest->n) : NULL;
    struct str part = {rest->p, dot ? (size_t)(dot - rest->p) : rest->n};
    *rest = dot ? (struct str){dot + 1, rest->n - part.n - 1} : (struct str){rest->p + rest->n, 0};
    return part;
}

/* RFC 7515 knows the URL-safe letters only and no padding; base64_decode takes both kinds, and one signature would
 * have many spellings. */
static bool is_base64url(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] == '+' || s.p[i] == '/' || s.p[i] == '=')
            return false;
    return s.n > 0;
}

static int decode_part(struct arena *a, const char *what, struct str in, struct str *out, struct err *e)
{
    char *bytes = arena_alloc(a, BASE64_DECODED_MAX(in.n));
    if (!bytes)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "no room for a token");
    if (!is_base64url(in) || base64_decode(in.p, in.n, bytes, &out->n, NULL))
        return err_set(e, ERR_UNAUTHENTICATED, "the token's %s is not base64url", what);
    out->p = bytes;
    return 0;
}

static int decode_json(struct arena *a, const char *what, struct str part, ProtobufCMessage *m, struct err *e)
{
    struct str json = {0};
    struct err why = {0};
    if (!m)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "no room for a token");
    int rc = decode_part(a, what, part, &json, e);
    if (!rc && json_decode(a, json, m, &why))
        rc = err_set(e, ERR_UNAUTHENTICATED, "the token's %s: %s", what, why.msg);
    return rc;
}

int token_split(struct arena *a, struct str token, struct token_parts *t, struct err *e)
{
    if (token.n > TOKEN_BYTES_MAX)
        return err_set(e, ERR_UNAUTHENTICATED, "the token is longer than %d bytes", TOKEN_BYTES_MAX);
    struct str rest = token;
    struct str header = until_dot(&rest), claims = until_dot(&rest), signature = until_dot(&rest);
    if (rest.n || !signature.n)
        return err_set(e, ERR_UNAUTHENTICATED, "the token is not a JWT: it does not have three parts");
    ProtobufCMessage *h = pb_new(a, &runnel__identity__token_header__descriptor);
    ProtobufCMessage *c = pb_new(a, &runnel__identity__token_claims__descriptor);
    int rc = decode_json(a, "header", header, h, e);
    rc = rc ? rc : decode_json(a, "claims", claims, c, e);
    rc = rc ? rc : decode_part(a, "signature", signature, &t->signature, e);
    if (rc)
        return rc;
    t->header = (const Runnel__Identity__TokenHeader *)h;
    t->claims = (const Runnel__Identity__TokenClaims *)c;
    t->signed_text = (struct str){token.p, header.n + 1 + claims.n};
    return 0;
}

static const struct rsa_key *find_key(const struct key_set *k, const char *kid)
{
    for (size_t i = 0; i < k->n; i++)
        if (strcmp(k->keys[i].kid, kid) == 0)
            return k->keys[i].key;
    return NULL;
}

/* Seconds of a claim as ns, without overflow: year 1677 and 2262 are as far as any other. */
static int64_t claim_ns(int64_t s) { return s > INT64_MAX / NS_PER_S ? INT64_MAX : s < 0 ? 0 : s * NS_PER_S; }

static int check_claims(const struct key_set *k, const Runnel__Identity__TokenClaims *c, int64_t wall_ns, struct err *e)
{
    if (strcmp(c->iss, k->issuer) != 0)
        return err_set(e, ERR_UNAUTHENTICATED, "the token's issuer is \"%.100s\", not %s", c->iss, k->issuer);
    if (wall_ns - TOKEN_SLACK_NS > claim_ns(c->exp))
        return err_set(e, ERR_UNAUTHENTICATED, "the token has expired: get a new one");
    if (wall_ns + TOKEN_SLACK_NS < claim_ns(c->iat) || wall_ns + TOKEN_SLACK_NS < claim_ns(c->nbf))
        return err_set(e, ERR_UNAUTHENTICATED, "the token is not valid yet: is the clock right?");
    if (!*c->email || !c->email_verified)
        return err_set(e, ERR_UNAUTHENTICATED, "the token names no verified email");
    return 0;
}

static int check_kind(const struct token_parts *t, enum token_kind kind, struct err *e)
{
    bool access = strcmp(t->header->typ, ACCESS_TYPE) == 0;
    if (access == (kind == TOKEN_ACCESS))
        return 0;
    return err_set(e, ERR_UNAUTHENTICATED,
                   access ? "this is an access token; an identity token is wanted"
                          : "this is an identity token; an access token is wanted");
}

static int verify(struct arena *a, const struct key_set *k, enum token_kind kind, struct str token, int64_t wall_ns,
                  struct token_claims *out, struct err *e)
{
    struct token_parts t;
    int rc = token_split(a, token, &t, e);
    rc = rc ? rc : check_kind(&t, kind, e);
    if (rc)
        return rc;
    if (strcmp(t.header->alg, "RS256") != 0)
        return err_set(e, ERR_UNAUTHENTICATED, "the token's algorithm is \"%.20s\", not RS256", t.header->alg);
    const struct rsa_key *key = find_key(k, t.header->kid);
    if (!key)
        return err_set(e, ERR_UNAUTHENTICATED, "the token is signed with a key that is not (or no longer) ours");
    if (!rsa_verify(key, t.signed_text, t.signature))
        return err_set(e, ERR_UNAUTHENTICATED, "the token's signature is wrong");
    if ((rc = check_claims(k, t.claims, wall_ns, e)))
        return rc;
    struct token_claims got;
    if ((size_t)snprintf(got.email, sizeof got.email, "%s", t.claims->email) >= sizeof got.email ||
        (size_t)snprintf(got.subject, sizeof got.subject, "%s", t.claims->sub) >= sizeof got.subject ||
        (size_t)snprintf(got.audience, sizeof got.audience, "%s", kind == TOKEN_ACCESS ? t.claims->scope : t.claims->aud) >=
            sizeof got.audience)
        return err_set(e, ERR_UNAUTHENTICATED, "the token's email, subject, audience or scope is too long");
    *out = got;
    return 0;
}

static int verify_kind(const struct key_set *k, enum token_kind kind, struct str token, int64_t wall_ns, struct token_claims *out,
                       struct err *e)
{
    struct arena *a = arena_new(TOKEN_ARENA_MAX);
    if (!a)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory to check a token");
    int rc = verify(a, k, kind, token, wall_ns, out, e);
    arena_free(a);
    return rc;
}

int identity_verify(const struct key_set *k, struct str token, int64_t wall_ns, struct token_claims *out, struct err *e)
{
    return verify_kind(k, TOKEN_IDENTITY, token, wall_ns, out, e);
}

int key_set_verify_access(const struct key_set *k, struct str token, int64_t wall_ns, struct token_claims *out, struct err *e)
{
    return verify_kind(k, TOKEN_ACCESS, token, wall_ns, out, e);
}

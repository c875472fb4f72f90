/** identity.h: who we are: signing keys, OIDC and access tokens, their discovery, and the check of tokens that others bring.
 *  Shape:  RS256 keys are made on a worker thread, live in the store (kind "signing-key"), rotate every KEY_ROTATE_NS and stay
 *          published for KEY_KEEP_NS longer. Tokens are cached per (account, audience or scope) until TOKEN_RENEW_NS before they expire;
 *          one signature at a time per entry, everybody else waits for it.
 *  Units:  TOKEN_ and KEY_ times are durations, wall_ns is wall time; all ns.
 *  Errors: a token source's done gets UNAVAILABLE when signing failed (the caller retries).
 *  Owner:  identity_free; the store, the workers and the mailbox outlive it. identity_keys gives a reference that the caller drops.
 *  Thread: engine thread, except identity_verify, which any thread may call on the immutable key set it was given.
 *  Source: RFC 7515, 7517, 7519; wire.md sections 1 (OIDC) and 12. OpenSSL is included by rsa.c only. */
#ifndef DISPATCHER_IDENTITY_H
#define DISPATCHER_IDENTITY_H

#include "core/base/env.h"
#include "core/loop/thread.h"
#include "core/rpc/rest.h"
#include "core/store/store.h"

#define TOKEN_LIFE_NS (3600 * NS_PER_S)
#define TOKEN_RENEW_NS (300 * NS_PER_S)
#define TOKEN_CACHE_MAX 10000
#define KEY_ROTATE_NS (7 * 24 * 3600 * NS_PER_S)
#define KEY_KEEP_NS (2 * 24 * 3600 * NS_PER_S)

#define SCOPE_CLOUD_PLATFORM "https://www.googleapis.com/auth/cloud-platform"

/* An identity token says who calls and for whom it is meant (OIDC); an access token, what may be done with it (OAuth). */
enum token_kind { TOKEN_IDENTITY, TOKEN_ACCESS };
/* Where push gets its tokens from; the simulator has its own. `to` is the audience of an identity token, the scopes of an access token.
 * `token` is valid during done only; done may run within get. */
struct token_source {
    void (*get)(struct token_source *ts, enum token_kind kind, const char *account, const char *to,
                void (*done)(void *arg, const char *token, const struct err *e), void *arg);
};
struct identity;
struct identity_config {
    const char *issuer; /* default: the server's URL */
    const char *project;
    const char *url; /* the server's own, where the keys are found; NULL: the issuer */
};
struct identity *identity_new(const struct env *env, const struct identity_config *c, struct store *store, struct workers *workers,
                              struct mailbox *engine, struct err *e);
MUST_USE int identity_load(struct identity *id, struct err *e);                  /* makes the first key if there is none */
MUST_USE int identity_routes(struct identity *id, struct web *w, struct err *e); /* discovery, JWKS, PEM map */
struct token_source *identity_source(struct identity *id);
const char *identity_default_account(const struct identity *id); /* default@PROJECT.iam.gserviceaccount.com */
/** Give it a malloc'd block that is to live as long as it does (the context of pages built on it); one per identity. */
void identity_keep(struct identity *id, void *block);
void identity_free(struct identity *id);

/* An immutable set of public keys and the issuer, counted with atomic references, for the routing snapshot. */
struct key_set;
struct key_set *identity_keys(struct identity *id); /* a reference */
void key_set_unref(struct key_set *k);
void identity_watch(struct identity *id, void (*on_change)(void *arg), void *arg); /* keys rotated */
struct token_claims {
    char email[256], subject[64];
    char audience[512];
};
/** Is it an access token of ours that opens this server's API: of the default account, for all of the cloud platform? UNAUTHENTICATED
 *  or PERMISSION_DENIED says why not. Engine thread. `id` is the identity. */
MUST_USE int identity_admits(void *id, struct str token, struct err *e);
/** An identity token: signature, issuer, times (one minute of slack). UNAUTHENTICATED says why. The audience is for the caller to
 *  check. */
MUST_USE int identity_verify(const struct key_set *k, struct str token, int64_t wall_ns, struct token_claims *out, struct err *e);

#endif

/** key_set.h: the making and the pages of a key set; its reading is in identity.h.
 *  Units:  durations in ns.
 *  Errors: UNAUTHENTICATED says what is wrong with a token; RESOURCE_EXHAUSTED when memory, the buffer or the arena is out.
 *  Owner:  counted with atomic references: key_set_new and key_set_ref each give one, key_set_unref (identity.h) drops it.
 *  Thread: made on the engine thread; immutable afterwards. */
#ifndef DISPATCHER_KEY_SET_H
#define DISPATCHER_KEY_SET_H

#include "core/base/arena.h"
#include "dispatcher/identity.h"
#include "dispatcher/identity.pb-c.h"
#include "dispatcher/rsa.h"

#define KEY_SET_MAX 16
#define TOKEN_BYTES_MAX 8192
#define TOKEN_SLACK_NS (60 * NS_PER_S) /* how far two clocks may be apart */

/** Takes a reference to each key. */
struct key_set *key_set_new(const char *issuer, struct rsa_key *const *keys, size_t n, struct err *e);
struct key_set *key_set_ref(struct key_set *k);
size_t key_set_count(const struct key_set *k);
MUST_USE int key_set_jwks_add(const struct key_set *k, struct buf *b, struct err *e);
MUST_USE int key_set_pems_add(const struct key_set *k, struct buf *b, struct err *e);

/** As identity_verify, of an access token; `audience` becomes its scopes. */
MUST_USE int key_set_verify_access(const struct key_set *k, struct str token, int64_t wall_ns, struct token_claims *out, struct err *e);

#define TOKEN_TYPE "JWT"
#define ACCESS_TYPE "at+jwt" /* RFC 9068: so that neither is taken for the other */

/** Header and claims of a token, nothing checked but its form. In the arena. */
struct token_parts {
    const Runnel__Identity__TokenHeader *header;
    const Runnel__Identity__TokenClaims *claims;
    struct str signed_text;
    struct str signature; /* decoded */
};
MUST_USE int token_split(struct arena *a, struct str token, struct token_parts *t, struct err *e);

#endif

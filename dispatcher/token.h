/** token.h: signed tokens per (kind, account, audience or scope), cached until shortly before they expire.
 *  Shape:  tokens_get -> cached: done at once, from within | not: one signature on a worker, everybody who asks meanwhile waits.
 *          Without a key (the first one is still being made) requests wait for tokens_key.
 *  Errors: UNAVAILABLE signing failed; RESOURCE_EXHAUSTED TOKEN_CACHE_MAX pairs are being signed at once; INVALID_ARGUMENT an
 *          account, audience or scope that no claim can hold; CANCELLED at tokens_free.
 *  Owner:  tokens_free; `token` is lent to done only. Keys are counted; the mailbox and the workers outlive it.
 *  Thread: engine thread. */
#ifndef DISPATCHER_TOKEN_H
#define DISPATCHER_TOKEN_H

#include "core/http/url.h"
#include "dispatcher/identity.h"
#include "dispatcher/rsa.h"

#define TOKEN_ACCOUNT_MAX 255
#define TOKEN_AUDIENCE_MAX URL_LEN_MAX /* by default it is the URL that is called */
#define TOKEN_WAITERS_MAX 100000
#define ACCOUNT_ID_LEN 21

struct tokens;
typedef void (*token_done_fn)(void *arg, const char *token, const struct err *e);
struct tokens *tokens_new(const struct env *env, const char *issuer, struct workers *workers, struct mailbox *engine, struct err *e);
void tokens_free(struct tokens *t);
/** From now on sign with this key (a reference is taken). NULL: fail whoever waits, with `why`. */
void tokens_key(struct tokens *t, struct rsa_key *key, const struct err *why);
/** `to`: the audience or the scopes. */
void tokens_get(struct tokens *t, enum token_kind kind, const char *account, const char *to, token_done_fn done, void *arg);
/** The numeric unique id of an account: always the same for the same name. */
void token_account_id(const char *account, char out[ACCOUNT_ID_LEN + 1]);

#endif

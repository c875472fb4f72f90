/** rsa.h: RS256 keys: make, sign, verify, and the two public forms (JWK numbers, SPKI PEM). The adapter over OpenSSL.
 *  Shape:  rsa_generate | rsa_from_pem -> rsa_sign / rsa_verify / rsa_*_add -> rsa_unref. Keys are immutable.
 *  Errors: INTERNAL with OpenSSL's reason; INVALID_ARGUMENT for text that is not a key.
 *  Owner:  rsa_generate, rsa_from_pem and rsa_ref each give a reference, rsa_unref drops it.
 *  Thread: any, also the same key in several at once; references are atomic. Signing takes about a millisecond and making
 *          a key a good part of a second: workers only.
 *  Source: RFC 7517, RFC 7518 section 3.3 and 6.3. */
#ifndef DISPATCHER_RSA_H
#define DISPATCHER_RSA_H

#include "core/base/buf.h"

#define RSA_BITS 2048
#define RSA_SIGNATURE_BYTES (RSA_BITS / 8)
#define RSA_KID_LEN 40 /* hex digits of a key's name */
#define RSA_PEM_MAX 8192

struct rsa_key;
struct rsa_key *rsa_generate(struct err *e);
/** A private or a public key (PKCS #8, SPKI). */
struct rsa_key *rsa_from_pem(struct str pem, struct err *e);
struct rsa_key *rsa_ref(struct rsa_key *k);
void rsa_unref(struct rsa_key *k);

MUST_USE int rsa_sign(const struct rsa_key *k, struct str text, uint8_t signature[RSA_SIGNATURE_BYTES], struct err *e);
bool rsa_verify(const struct rsa_key *k, struct str text, struct str signature);
/** A name made of the public key: the same key has the same name everywhere. */
MUST_USE int rsa_kid(const struct rsa_key *k, char out[RSA_KID_LEN + 1], struct err *e);
/* Appended to `b`; RESOURCE_EXHAUSTED when it is full. */
MUST_USE int rsa_private_pem_add(const struct rsa_key *k, struct buf *b, struct err *e);
MUST_USE int rsa_public_pem_add(const struct rsa_key *k, struct buf *b, struct err *e);
/** The modulus and the exponent as base64url, as a JWK has them. */
MUST_USE int rsa_n_add(const struct rsa_key *k, struct buf *b, struct err *e);
MUST_USE int rsa_e_add(const struct rsa_key *k, struct buf *b, struct err *e);

/** Bytes nobody can guess, for opaque tokens. */
MUST_USE int rsa_random(void *out, size_t n, struct err *e);
/** Compare without telling by time where the difference is. */
bool rsa_same(struct str a, struct str b);

#endif

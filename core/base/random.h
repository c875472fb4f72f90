/** random.h: a seeded generator (xoshiro256**) for jitter, choices and ids. Not for keys: those come from OpenSSL.
 *  Thread: one at a time for each generator; no locks. */
#ifndef CORE_BASE_RANDOM_H
#define CORE_BASE_RANDOM_H

#include "core/compiler.h"

struct rng {
    uint64_t s[4];
};
void rng_seed(struct rng *r, uint64_t seed);
void rng_seed_os(struct rng *r); /* from getrandom(2) */
uint64_t rng_u64(struct rng *r);
uint64_t rng_below(struct rng *r, uint64_t n); /* 0..n-1, unbiased; n > 0 */
double rng_double(struct rng *r);              /* [0,1) */
bool rng_chance(struct rng *r, double probability);
/** `len` letters and digits a-z0-9 starting with a letter, and a terminator: out has len+1 bytes. */
void rng_name(struct rng *r, char *out, size_t len);

#endif

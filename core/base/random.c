/** random.c: xoshiro256** (Blackman and Vigna), seeded through splitmix64. */
#include "core/base/random.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

static uint64_t rotl(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }

static uint64_t splitmix64(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

void rng_seed(struct rng *r, uint64_t seed)
{
    /* Four outputs of splitmix64 are never all zero, the one state xoshiro cannot leave. */
    for (size_t i = 0; i < ARRAY_LEN(r->s); i++)
        r->s[i] = splitmix64(&seed);
}

void rng_seed_os(struct rng *r)
{
    uint64_t seed;
    ssize_t n;
    do
        n = getrandom(&seed, sizeof seed, 0); /* whole up to 256 bytes, once the pool is ready */
    while (n < 0 && errno == EINTR);
    if (n != (ssize_t)sizeof seed)
        abort(); /* a kernel without getrandom cannot run the server: ids would repeat */
    rng_seed(r, seed);
}

uint64_t rng_u64(struct rng *r)
{
    uint64_t *s = r->s;
    uint64_t result = rotl(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

uint64_t rng_below(struct rng *r, uint64_t n)
{
    assert(n > 0);
    uint64_t unfair = -n % n; /* 2^64 mod n: values below it would make some answers likelier */
    uint64_t v;
    do
        v = rng_u64(r);
    while (v < unfair);
    return v % n;
}

double rng_double(struct rng *r) { return (double)(rng_u64(r) >> 11) * 0x1.0p-53; }

bool rng_chance(struct rng *r, double probability) { return rng_double(r) < probability; }

void rng_name(struct rng *r, char *out, size_t len)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    for (size_t i = 0; i < len; i++)
        out[i] = letters[rng_below(r, i == 0 ? 26 : 36)];
    out[len] = '\0';
}

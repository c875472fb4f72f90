/** map.c: both maps over one table: entries in the order they were added, and an index of their places
 *  by open addressing. A removed entry leaves a hole, so an iterator's place stays good; holes are
 *  squeezed out by the next addition that finds too many of them. Iteration never depends on the hash,
 *  which is why the hash may be seeded from the system without the simulator noticing. */
#include "core/base/map.h"

#include "core/base/random.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define TABLE_FIRST 8              /* entries; a power of two */
#define TABLE_MAX (UINT32_MAX / 4) /* places are 32 bits and the index is twice as large */

struct entry {
    uint64_t hash; /* of the string, or the number itself */
    char *key;     /* NULL for a number, `hole` when removed */
    void *value;
};

struct table {
    struct entry *entries;
    uint32_t *index; /* place + 1, 0 = free; twice as many as entries */
    size_t used;     /* entries and holes */
    size_t count;    /* entries */
    size_t cap;
    size_t max;
    uint64_t seed[2];
};

struct map {
    struct table t;
};
struct u64map {
    struct table t;
};

static char hole[1];

/* SipHash-1-3 (Aumasson and Bernstein): resource names and ordering keys are chosen by clients, so
 * nobody outside may be able to pile them onto one place. */
static uint64_t rotl(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotl(v[1], 13) ^ v[0];
    v[3] = rotl(v[3], 16) ^ v[2];
    v[0] = rotl(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotl(v[1], 17) ^ v[2];
    v[3] = rotl(v[3], 21) ^ v[0];
    v[2] = rotl(v[2], 32);
}

static void sip_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
}

static uint64_t sip_hash(const uint64_t seed[2], const char *p, size_t n)
{
    uint64_t v[4] = {seed[0] ^ UINT64_C(0x736f6d6570736575), seed[1] ^ UINT64_C(0x646f72616e646f6d), seed[0] ^ UINT64_C(0x6c7967656e657261),
                     seed[1] ^ UINT64_C(0x7465646279746573)};
    uint64_t last = (uint64_t)n << 56;
    for (; n >= 8; p += 8, n -= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        sip_word(v, word);
    }
    for (size_t i = 0; i < n; i++)
        last |= (uint64_t)(unsigned char)p[i] << (8 * i);
    sip_word(v, last);
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* Where the search for an entry starts. The hash of a string is spread already; numbers often count up. */
static size_t home_of(const struct table *t, const struct entry *en)
{
    uint64_t h = en->hash;
    if (!en->key) {
        h = (h ^ t->seed[0]) * UINT64_C(0x9E3779B97F4A7C15);
        h ^= h >> 32;
        h *= UINT64_C(0xD6E8FEB86659FD93);
        h ^= h >> 32;
    }
    return h & (t->cap * 2 - 1);
}

static void table_init(struct table *t, size_t max)
{
    struct rng rng;
    rng_seed_os(&rng);
    *t = (struct table){.max = max < TABLE_MAX ? max : TABLE_MAX};
    t->seed[0] = rng_u64(&rng);
    t->seed[1] = rng_u64(&rng);
}

static void table_fini(struct table *t)
{
    for (size_t i = 0; i < t->used; i++)
        if (t->entries[i].key != hole)
            free(t->entries[i].key);
    free(t->entries);
    free(t->index);
}

static bool same_key(const struct entry *en, uint64_t hash, const char *key, size_t len)
{
    if (en->hash != hash || !en->key || !key)
        return en->hash == hash && en->key == key; /* numbers: both NULL */
    return strnlen(en->key, len + 1) == len && memcmp(en->key, key, len) == 0;
}

/* The slot of the index that holds the key; false when it holds none. */
static bool find_slot(const struct table *t, uint64_t hash, const char *key, size_t len, size_t *slot)
{
    if (!t->count)
        return false;
    struct entry probe = {.hash = hash, .key = (char *)key};
    size_t mask = t->cap * 2 - 1;
    for (size_t i = home_of(t, &probe); t->index[i]; i = (i + 1) & mask) {
        if (same_key(&t->entries[t->index[i] - 1], hash, key, len)) {
            *slot = i;
            return true;
        }
    }
    return false;
}

static void index_add(struct table *t, size_t place)
{
    size_t mask = t->cap * 2 - 1;
    size_t i = home_of(t, &t->entries[place]);
    while (t->index[i])
        i = (i + 1) & mask;
    t->index[i] = (uint32_t)(place + 1);
}

/* Take a slot out and move the ones behind it forward, so that searches still find them without marks. */
static void index_remove(struct table *t, size_t slot)
{
    size_t mask = t->cap * 2 - 1;
    size_t gap = slot;
    for (size_t i = (slot + 1) & mask; t->index[i]; i = (i + 1) & mask) {
        size_t home = home_of(t, &t->entries[t->index[i] - 1]);
        if (((i - home) & mask) >= ((i - gap) & mask)) {
            t->index[gap] = t->index[i];
            gap = i;
        }
    }
    t->index[gap] = 0;
}

/* Into fresh arrays without the holes. Nothing changes when there is no memory. */
static bool rebuild(struct table *t, size_t cap)
{
    assert(cap > t->count && (cap & (cap - 1)) == 0);
    struct entry *entries = malloc(cap * sizeof *entries);
    uint32_t *index = calloc(cap * 2, sizeof *index);
    if (!entries || !index) {
        free(entries);
        free(index);
        return false;
    }
    size_t n = 0;
    for (size_t i = 0; i < t->used; i++)
        if (t->entries[i].key != hole)
            entries[n++] = t->entries[i];
    assert(n == t->count);
    free(t->entries);
    free(t->index);
    t->entries = entries;
    t->index = index;
    t->cap = cap;
    t->used = n;
    for (size_t i = 0; i < n; i++)
        index_add(t, i);
    return true;
}

/* Room for one more entry: doubles when it is full of entries, and otherwise squeezes or shrinks when
 * more than half are holes, which pays for itself over the removals that made them. */
static bool make_room(struct table *t)
{
    size_t holes = t->used - t->count;
    if (t->used < t->cap && (t->used < TABLE_FIRST || holes <= t->used / 2))
        return true;
    size_t cap = TABLE_FIRST;
    while (cap < t->count + t->count / 2 + 1)
        cap *= 2;
    return rebuild(t, cap) || t->used < t->cap;
}

static int table_put(struct table *t, struct entry en, size_t len, struct err *e)
{
    size_t slot;
    if (find_slot(t, en.hash, en.key, len, &slot)) {
        t->entries[t->index[slot] - 1].value = en.value;
        return 0;
    }
    if (t->count >= t->max)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "the table is full: it holds %zu entries", t->max);
    char *copy = en.key ? malloc(len + 1) : NULL;
    if ((en.key && !copy) || !make_room(t)) {
        free(copy);
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for entry %zu of a table", t->count + 1);
    }
    if (copy) {
        memcpy(copy, en.key, len);
        copy[len] = '\0';
        en.key = copy;
    }
    t->entries[t->used] = en;
    index_add(t, t->used);
    t->used++;
    t->count++;
    return 0;
}

static void *table_remove(struct table *t, uint64_t hash, const char *key, size_t len)
{
    size_t slot;
    if (!find_slot(t, hash, key, len, &slot))
        return NULL;
    struct entry *en = &t->entries[t->index[slot] - 1];
    void *value = en->value;
    index_remove(t, slot);
    free(en->key);
    en->key = hole;
    t->count--;
    while (t->used && t->entries[t->used - 1].key == hole)
        t->used--;
    return value;
}

static struct entry *table_get(const struct table *t, uint64_t hash, const char *key, size_t len)
{
    size_t slot;
    return find_slot(t, hash, key, len, &slot) ? &t->entries[t->index[slot] - 1] : NULL;
}

static struct entry *table_next(const struct table *t, size_t *it)
{
    while (*it < t->used) {
        struct entry *en = &t->entries[(*it)++];
        if (en->key != hole)
            return en;
    }
    return NULL;
}

struct map *map_new(size_t max)
{
    struct map *m = malloc(sizeof *m);
    if (m)
        table_init(&m->t, max);
    return m;
}

void map_free(struct map *m)
{
    if (!m)
        return;
    table_fini(&m->t);
    free(m);
}

int map_put(struct map *m, const char *key, void *value, struct err *e)
{
    size_t len = strlen(key);
    struct entry en = {sip_hash(m->t.seed, key, len), (char *)key, value};
    return table_put(&m->t, en, len, e);
}

void *map_get_n(const struct map *m, const char *key, size_t len)
{
    if (!m->t.count)
        return NULL;
    const struct entry *en = table_get(&m->t, sip_hash(m->t.seed, key, len), key, len);
    return en ? en->value : NULL;
}

void *map_get(const struct map *m, const char *key) { return map_get_n(m, key, strlen(key)); }

void *map_remove(struct map *m, const char *key)
{
    size_t len = strlen(key);
    return table_remove(&m->t, sip_hash(m->t.seed, key, len), key, len);
}

size_t map_count(const struct map *m) { return m->t.count; }

bool map_next(const struct map *m, size_t *it, const char **key, void **value)
{
    const struct entry *en = table_next(&m->t, it);
    if (!en)
        return false;
    if (key)
        *key = en->key;
    if (value)
        *value = en->value;
    return true;
}

static int by_key(const void *a, const void *b)
{
    const struct entry *const *x = a;
    const struct entry *const *y = b;
    return strcmp((*x)->key, (*y)->key);
}

void **map_sorted(const struct map *m)
{
    size_t n = 0;
    void **out = malloc((m->t.count ? m->t.count : 1) * sizeof *out);
    if (!out)
        return NULL;
    /* Sorted as entries first, then each place turned from entry to value. */
    const struct entry *en;
    for (size_t it = 0; (en = table_next(&m->t, &it));)
        out[n++] = (void *)en;
    qsort(out, n, sizeof *out, by_key);
    for (size_t i = 0; i < n; i++)
        out[i] = ((const struct entry *)out[i])->value;
    return out;
}

struct u64map *u64map_new(size_t max)
{
    struct u64map *m = malloc(sizeof *m);
    if (m)
        table_init(&m->t, max);
    return m;
}

void u64map_free(struct u64map *m)
{
    if (!m)
        return;
    table_fini(&m->t);
    free(m);
}

int u64map_put(struct u64map *m, uint64_t key, void *value, struct err *e)
{
    return table_put(&m->t, (struct entry){key, NULL, value}, 0, e);
}

void *u64map_get(const struct u64map *m, uint64_t key)
{
    const struct entry *en = table_get(&m->t, key, NULL, 0);
    return en ? en->value : NULL;
}

void *u64map_remove(struct u64map *m, uint64_t key) { return table_remove(&m->t, key, NULL, 0); }

size_t u64map_count(const struct u64map *m) { return m->t.count; }

bool u64map_next(const struct u64map *m, size_t *it, uint64_t *key, void **value)
{
    const struct entry *en = table_next(&m->t, it);
    if (!en)
        return false;
    if (key)
        *key = en->hash;
    if (value)
        *value = en->value;
    return true;
}

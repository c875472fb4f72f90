/** map.h: hash maps from a string or a 64-bit number to a pointer.
 *  Errors: RESOURCE_EXHAUSTED: full, or out of memory; the map is unchanged.
 *  Owner:  the map copies string keys; values are the caller's.
 *  Limits: `max` entries, set at creation; a put above it fails with RESOURCE_EXHAUSTED.
 *  Thread: whoever owns it; no locks. Iteration order is unspecified but the same for
 *          the same history and seed, so the simulator replays exactly. Removing the
 *          entry under the iterator is allowed; adding while iterating is not. */
#ifndef CORE_BASE_MAP_H
#define CORE_BASE_MAP_H

#include "core/base/err.h"

struct map;    /* string -> pointer */
struct u64map; /* uint64_t -> pointer */

struct map *map_new(size_t max);
void map_free(struct map *m);
MUST_USE int map_put(struct map *m, const char *key, void *value, struct err *e); /* replaces */
void *map_get(const struct map *m, const char *key);
void *map_get_n(const struct map *m, const char *key, size_t len);
void *map_remove(struct map *m, const char *key); /* the value that was there, or NULL */
size_t map_count(const struct map *m);
/** Start with *it = 0; false at the end. */
bool map_next(const struct map *m, size_t *it, const char **key, void **value);
/** The values ordered by key, as a malloc'd array of map_count() pointers (caller frees); NULL when out of memory. */
void **map_sorted(const struct map *m);

struct u64map *u64map_new(size_t max);
void u64map_free(struct u64map *m);
MUST_USE int u64map_put(struct u64map *m, uint64_t key, void *value, struct err *e);
void *u64map_get(const struct u64map *m, uint64_t key);
void *u64map_remove(struct u64map *m, uint64_t key);
size_t u64map_count(const struct u64map *m);
bool u64map_next(const struct u64map *m, size_t *it, uint64_t *key, void **value);

#endif

/** arena.h: memory for one call or one delivery, dropped whole.
 *  Errors: NULL once `max_bytes` is used or memory is out; the arena stays usable.
 *  Owner:  arena_free frees all that came from it; nothing is freed one by one.
 *  Thread: one at a time; it may be handed over with its owner through a mailbox. */
#ifndef CORE_BASE_ARENA_H
#define CORE_BASE_ARENA_H

#include "core/base/buf.h"

struct arena;
struct arena *arena_new(size_t max_bytes);
void arena_free(struct arena *a);
void *arena_alloc(struct arena *a, size_t n);   /* zeroed, 16-byte aligned */
char *arena_dup(struct arena *a, struct str s); /* terminated copy */
char *arena_strdup(struct arena *a, const char *z);
FMT(2, 3) char *arena_printf(struct arena *a, const char *fmt, ...);
size_t arena_used(const struct arena *a);
/** Was anything refused so far? So that what could not be read is told from what there was no room for. */
bool arena_short(const struct arena *a);

#endif

/** store_memory_int.h: the entries of the store in memory (store_memory_entries.c), as store_memory.c uses them.
 *  Shape:  a change is made by prepare, which takes all memory it needs, and then either applied, which frees what it replaced, or
 *          taken back, which needs no memory. Changes are taken back newest first.
 *  Errors: RESOURCE_EXHAUSTED: out of memory; ALREADY_EXISTS: an added key is taken. The change is not made then.
 *  Owner:  `lists` (list_id -> list) is the caller's; what it points to is freed by memory_entries_free.
 *  Thread: the engine's. */
#ifndef CORE_STORE_STORE_MEMORY_INT_H
#define CORE_STORE_STORE_MEMORY_INT_H

#include "core/base/map.h"
#include "core/store/store_int.h"

struct memory_entry;
struct memory_list {
    struct memory_entry **by_key, **by_due; /* the same entries: by key, and by lane, due time and key */
    size_t n, cap;
    bool dropped; /* nothing may be added any more */
};
struct memory_change {
    struct memory_entry *added, *removed;
    struct memory_list before; /* drop: all there was */
    bool did_drop;
};

MUST_USE int memory_entries_prepare(struct u64map *lists, const struct store_op *op, struct memory_change *c, struct err *e);
void memory_entries_take_back(struct u64map *lists, const struct store_op *op, struct memory_change *c);
void memory_entries_apply(struct memory_change *c);
void memory_entries_read(struct u64map *lists, struct store_entries *r);
int memory_entries_lanes(struct u64map *lists, uint64_t list_id, int (*fn)(void *arg, uint32_t lane, uint64_t count, struct err *e),
                         void *arg, struct err *e);
void memory_entries_free(struct u64map *lists);

#endif

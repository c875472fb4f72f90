/** ackset.h: which messages of a topic a reader has acknowledged: everything below a floor, and a set of bits above it.
 *  Shape:  bits live in chunks of ACK_CHUNK_BITS, the unit that the store keeps; a chunk is dropped once the floor has passed it.
 *  Rules:  the floor is the first sequence that is not acknowledged. Dirty chunks and a dirty floor wait for ackset_store.
 *  Limits: ACKSET_CHUNKS_MAX chunks above the floor; ackset_room says how far ahead of the floor a reader may go.
 *  Errors: RESOURCE_EXHAUSTED: no memory, or no room so far ahead of the floor.
 *  Owner:  embedded in its reader; ackset_fini frees the chunks.
 *  Thread: engine thread. */
#ifndef BROKER_ACKSET_H
#define BROKER_ACKSET_H

#include "core/base/map.h"
#include "core/store/store.h"

#define ACKSET_CHUNKS_MAX 65536

struct ackset {
    uint64_t floor;
    uint64_t above;        /* bits set at or above the floor */
    struct u64map *chunks; /* chunk number -> struct ack_chunk */
    bool floor_dirty;
    bool rewrite; /* the floor fell: what the store has above it is stale and is dropped first */
    size_t dirty; /* chunks */
};

MUST_USE int ackset_init(struct ackset *a, uint64_t floor, struct err *e);
void ackset_fini(struct ackset *a);
bool ackset_has(const struct ackset *a, uint64_t seq);
/** Acknowledge one; 1 when it was not before, 0 when it was, -RESOURCE_EXHAUSTED when there is no room. */
MUST_USE int ackset_add(struct ackset *a, uint64_t seq, struct err *e);
/** Acknowledge [from, to); on failure perhaps the beginning of it. */
MUST_USE int ackset_add_range(struct ackset *a, uint64_t from, uint64_t to, struct err *e);
/** Everything below `seq` is acknowledged. */
void ackset_raise(struct ackset *a, uint64_t seq);
/** Nothing at or above `seq` is acknowledged any more (the floor falls if need be). */
void ackset_clear_from(struct ackset *a, uint64_t seq);
/** Become what `from` is; on failure `a` is unchanged. */
MUST_USE int ackset_copy(struct ackset *a, const struct ackset *from, struct err *e);
/** The first sequence at or after `seq` that is not acknowledged. */
uint64_t ackset_next(const struct ackset *a, uint64_t seq);
/** Bits set at or above `seq`. */
uint64_t ackset_count_from(const struct ackset *a, uint64_t seq);
/** One past the last sequence that is acknowledged. */
uint64_t ackset_end(const struct ackset *a);
/** One past the last sequence that has room in the set. */
uint64_t ackset_room(const struct ackset *a);
/** Put what is dirty (or all of it) into the transaction under `id`, and count it as clean. */
MUST_USE int ackset_store(struct ackset *a, struct store_txn *t, uint64_t id, bool all, struct err *e);
/** The transaction failed: everything must be written again. */
void ackset_spoil(struct ackset *a);
bool ackset_dirty(const struct ackset *a);
/** A chunk as the store loaded it. */
MUST_USE int ackset_load_chunk(struct ackset *a, uint64_t chunk, const uint8_t *bits, struct err *e);

#endif

/** store_int.h: what a transaction looks like to the stores themselves: a list of operations in the order they were given.
 *  Owner:  a transaction's operations own their copied bytes; blobs of appended messages are borrowed.
 *  Thread: built on the engine thread, then read by the store thread until its outcome is back. */
#ifndef CORE_STORE_STORE_INT_H
#define CORE_STORE_STORE_INT_H

#include "core/store/store.h"

#define STORE_TXN_OPS_INLINE 4
#define STORE_TXN_OPS_MAX 1000000

enum store_op_kind {
    STORE_OP_PUT,
    STORE_OP_DELETE,
    STORE_OP_META,
    STORE_OP_APPEND,
    STORE_OP_TRIM,
    STORE_OP_FLOOR,
    STORE_OP_CHUNK,
    STORE_OP_DROP_ACKS,
    STORE_OP_ENTRY_ADD,
    STORE_OP_ENTRY_PUT,
    STORE_OP_ENTRY_DELETE,
    STORE_OP_ENTRIES_DROP,
};
enum store_item_kind { STORE_ITEM_TXN, STORE_ITEM_READ, STORE_ITEM_SEEK, STORE_ITEM_ENTRIES };

struct store_op {
    enum store_op_kind kind;
    char *owned;            /* one allocation behind key, name and blob where those are copies */
    const char *key, *name; /* kind and name of a resource; key alone for meta and entries */
    uint64_t id;            /* topic, subscription or list */
    uint64_t num;           /* seq, below_seq, floor, chunk, value or lane */
    int64_t wall_ns;        /* publish or due time */
    struct str blob;        /* body, message or ack bits */
};
struct store_txn {
    struct store_item item;
    store_done_fn done;
    void *arg;
    size_t bytes; /* what it adds to the queue, copies and borrowed blobs alike */
    bool broken;  /* an addition failed: only good for store_txn_free */
    size_t n, cap;
    struct store_op *ops; /* first_ops until it grows */
    struct store_op first_ops[STORE_TXN_OPS_INLINE];
};

static inline struct store_txn *store_item_txn(struct store_item *i) { return CONTAINER_OF(i, struct store_txn, item); }
static inline struct store_read *store_item_read(struct store_item *i) { return CONTAINER_OF(i, struct store_read, item); }
static inline struct store_seek *store_item_seek(struct store_item *i) { return CONTAINER_OF(i, struct store_seek, item); }
static inline struct store_entries *store_item_entries(struct store_item *i) { return CONTAINER_OF(i, struct store_entries, item); }

/** Free the operations and what they copied; the outcome can still be reported. */
void store_txn_drop_ops(struct store_txn *t);
/** Tell the one who submitted, then free what belongs to the store. The engine's thread. */
void store_item_finish(struct store_item *i);
/** Prepare an item for the queue of `s`. */
void store_item_begin(struct store_item *i, struct store *s, enum store_item_kind kind);

/* First sequence number whose chunk a floor leaves alone: chunks below it are wholly acknowledged. */
static inline uint64_t store_floor_chunk(uint64_t floor_seq) { return floor_seq / ACK_CHUNK_BITS; }

#endif

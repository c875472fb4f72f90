/** store.h: durable resources, messages and acknowledgement state behind one vtable: SQLite (store_sqlite.c) for the server,
 *          memory (store_memory.c) for the simulator and tests, which keeps only what was committed when it is "crashed".
 *  Shape:  the engine fills a transaction (all or nothing) and submits it; the store thread commits what has gathered as one
 *          group and reports each transaction's outcome on the engine's mailbox, in order of submission, exactly once.
 *          Reads are asynchronous too and see at least what was submitted before them; answers of all kinds are told in the order
 *          in which they were carried out, so what a read did not see is told after it. The load_* calls and topic_bounds are
          synchronous; use them before the first submit (later they wait for the group that is being committed).
 *  Units:  wall_ns is wall time; last_commit_ns a duration.
 *  Errors: RESOURCE_EXHAUSTED disk full (appends and added entries already when it is nearly full) or too much queued (STORE_QUEUE_BYTES_MAX); UNAVAILABLE other I/O errors; the
 *          transaction changed nothing then. ALREADY_EXISTS: an append to a sequence number, or an added entry of a key,
          that is taken; only that transaction fails, the others of its group are committed. FAILED_PRECONDITION at open: another server has the directory, or a newer schema.
 *  Owner:  a txn copies names, entries and small blobs; message blobs are borrowed until done.
 *  Thread: engine thread (mem and sqlite).
 *  Trim:   at once for readers and after a restart; the rows themselves go in the background, so that dropping a million
 *          messages stalls nobody. topic_bounds keeps `next` when all messages are gone: a sequence number is never used again.
 *  Layout: messages have the rowid topic_id << 40 | seq: one table, contiguous per topic, no second index. */
#ifndef CORE_STORE_STORE_H
#define CORE_STORE_STORE_H

#include "core/base/buf.h"
#include "core/base/env.h"
#include "core/loop/mailbox.h"

#define STORE_TOPIC_ID_MAX ((UINT64_C(1) << 22) - 1)
#define STORE_SEQ_MAX ((UINT64_C(1) << 40) - 1)
#define STORE_QUEUE_BYTES_MAX (256u * 1024 * 1024)
#define STORE_ENTRY_KEY_MAX 512
#define STORE_LANE_MAX 255
#define STORE_BLOB_MAX (12u * 1024 * 1024)
#define ACK_CHUNK_BITS 8192 /* seq / 8192 = chunk number; bit set = acknowledged */
#define ACK_CHUNK_BYTES (ACK_CHUNK_BITS / 8)

struct store;
struct store_txn;
/* The store's own part of everything that travels to its thread and back; leave it zeroed. */
struct store_item {
    struct mail mail;
    struct store_item *next; /* in the queue of the store, then in the group that is reported together */
    struct store *store;
    int kind;
    struct err err; /* the outcome; code OK: done */
};
typedef void (*store_done_fn)(void *arg, const struct err *e); /* e NULL: durable */

struct store_row {
    uint64_t seq;
    int64_t wall_ns; /* publish time */
    struct str blob;
};
struct store_read {
    uint64_t topic_id, from_seq;
    size_t max_count, max_bytes;                             /* at least one row comes back if there is one */
    void (*done)(struct store_read *r, const struct err *e); /* rows are valid only during done */
    struct store_row *rows;
    size_t n;
    void *arg;
    struct store_item item; /* the store's */
};
struct store_seek {
    uint64_t topic_id;
    int64_t wall_ns;
    uint64_t
        seq; /* out: the first message published at or after wall_ns; one past the last when none. Publish times must not fall with seq. */
    void (*done)(struct store_seek *s, const struct err *e);
    void *arg;
    struct store_item item; /* the store's */
};
/* Entries: what waits for its time (tasks), or is remembered until then (names). An entry has a key (1 to STORE_ENTRY_KEY_MAX bytes) that
 * is unique in its list, a lane (to STORE_LANE_MAX) and a due time; in a lane entries are in the order (due, key), keys by their bytes.
 * Lists have numbers from a counter of the store, from 1 on (store_list_new). It is as durable as what uses them, since the transaction
 * that first names a list takes it along (store_txn_lists). */
struct store_entry {
    const char *key;
    uint32_t lane;
    int64_t due_wall_ns;
    struct str body;
};
enum store_entries_by {
    STORE_BY_KEY, /* the one entry `key`, of any lane: n is 0 or 1 */
    STORE_BY_DUE, /* of one lane (lane_min), those after (due_wall_ns, key) in its order */
    STORE_KEYS,   /* of lanes lane_min to lane_max, those whose key comes after `key`, in the order of keys */
};
struct store_entries {
    enum store_entries_by by;
    uint64_t list_id;
    uint32_t lane_min, lane_max;
    const char *key; /* borrowed until done, never NULL: "" is before all */
    int64_t due_wall_ns;
    size_t max_count, max_bytes;                                /* of keys and bodies; at least one comes back if there is one */
    void (*done)(struct store_entries *r, const struct err *e); /* rows are valid only during done */
    struct store_entry *rows;
    size_t n;
    void *arg;
    struct store_item item; /* the store's */
};
struct store_stats {
    uint64_t commits, transactions, bytes_queued, file_bytes;
    int64_t last_commit_ns; /* how long the last group's commit took */
    bool full;              /* the last commit failed, or appends are refused, for want of space */
};

struct store_ops {
    void (*submit)(struct store *s, struct store_txn *t, store_done_fn done, void *arg);
    void (*read)(struct store *s, struct store_read *r);
    void (*seek)(struct store *s, struct store_seek *q);
    void (*entries)(struct store *s, struct store_entries *r);
    struct store_stats (*stats)(struct store *s);
    void (*close)(struct store *s); /* commits what is queued (done runs for all of it), then frees */
    int (*load_resources)(struct store *s, const char *kind, int (*fn)(void *arg, const char *name, struct str body, struct err *e),
                          void *arg, struct err *e);
    int (*load_meta)(struct store *s, const char *key, uint64_t *value, struct err *e); /* 0 when absent */
    int (*topic_bounds)(struct store *s, uint64_t topic_id, uint64_t *first, uint64_t *next,
                        struct err *e); /* first == next: empty, both 0 if never used */
    int (*load_acks)(struct store *s, uint64_t sub_id, uint64_t *floor,
                     int (*fn)(void *arg, uint64_t chunk, const uint8_t *bits, struct err *e), void *arg, struct err *e);
    /* The lanes of a list that have entries, each with how many. Counts a million in a tenth of a second. */
    int (*load_lanes)(struct store *s, uint64_t list_id, int (*fn)(void *arg, uint32_t lane, uint64_t count, struct err *e), void *arg,
                      struct err *e);
};
struct store {
    const struct store_ops *ops;
    uint64_t next_list; /* store_list_new's */
};

struct store_txn *store_txn_new(void);    /* NULL: out of memory */
void store_txn_free(struct store_txn *t); /* only when it was not submitted */
/* Each returns -RESOURCE_EXHAUSTED when memory is out; the txn is then only good for store_txn_free. */
MUST_USE int store_txn_put(struct store_txn *t, const char *kind, const char *name, struct str body, struct err *e);
MUST_USE int store_txn_delete(struct store_txn *t, const char *kind, const char *name, struct err *e);
MUST_USE int store_txn_meta(struct store_txn *t, const char *key, uint64_t value, struct err *e);
MUST_USE int store_txn_append(struct store_txn *t, uint64_t topic_id, uint64_t seq, int64_t wall_ns, struct str blob, struct err *e);
/** Drop messages of the topic with seq < below. */
MUST_USE int store_txn_trim(struct store_txn *t, uint64_t topic_id, uint64_t below_seq, struct err *e);
MUST_USE int store_txn_floor(struct store_txn *t, uint64_t sub_id, uint64_t floor_seq,
                             struct err *e); /* also drops chunks wholly below it */
MUST_USE int store_txn_chunk(struct store_txn *t, uint64_t sub_id, uint64_t chunk, const uint8_t bits[ACK_CHUNK_BYTES], struct err *e);
MUST_USE int store_txn_drop_acks(struct store_txn *t, uint64_t sub_id, struct err *e); /* floor and all chunks */
/** A new entry. ALREADY_EXISTS (of the whole transaction, as with an append) when the list has the key, in whatever lane. */
MUST_USE int store_txn_entry_add(struct store_txn *t, uint64_t list_id, const struct store_entry *entry, struct err *e);
/** Add or replace: lane, due time and body. */
MUST_USE int store_txn_entry_put(struct store_txn *t, uint64_t list_id, const struct store_entry *entry, struct err *e);
MUST_USE int store_txn_entry_delete(struct store_txn *t, uint64_t list_id, const char *key, struct err *e); /* none: nothing happens */
/** All entries of the list, at once for readers; the rows themselves go in the background. A list_id is never used again: what is added
 *  to it later may vanish (the store in memory asserts that nobody does); deleting from it is harmless. */
MUST_USE int store_txn_entries_drop(struct store_txn *t, uint64_t list_id, struct err *e);

/** Read the counter of lists; whoever uses lists does it once, before all else. DATA_LOSS: it is no number of a list. */
MUST_USE int store_lists_load(struct store *s, struct err *e);
static inline uint64_t store_list_new(struct store *s) { return s->next_list++; }
static inline bool store_list_given(const struct store *s, uint64_t id) { return id > 0 && id < s->next_list; }
/** The counter, into a transaction that names a new list. */
MUST_USE int store_txn_lists(struct store_txn *t, const struct store *s, struct err *e);

static inline void store_submit(struct store *s, struct store_txn *t, store_done_fn done, void *arg) { s->ops->submit(s, t, done, arg); }

/** Open or create `dir`/runnel.db with its own store thread; answers come through `engine`. Upgrades older schemas in place. */
struct store *store_sqlite_open(const char *dir, struct mailbox *engine, struct log *log, struct err *e);

/** In memory. Completions are delivered by store_memory_step (the simulator decides when). */
struct store *store_memory_new(void);
/** Complete the oldest `n` queued requests; returns how many. `fail` non-OK makes transactions fail with it, changing nothing. */
size_t store_memory_step(struct store *s, size_t n, enum err_code fail);
size_t store_memory_queued(const struct store *s);
/** Forget what is queued (no done is called) and everything the engine held: what a kill -9 leaves. */
void store_memory_crash(struct store *s);

#endif

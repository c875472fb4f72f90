/** embedded_int.h: the inside of the embedded adapter: topics, readers and the operations under way.
 *  Shape:  a topic is a run of sequences [first, next) in the store; `visible` is one past the last durable one. A reader (a
 *          subscription or a snapshot) is an ackset over it. New messages pass through the topic's tail cache; who is further
 *          behind reads pages from the store. One pump timer runs everything that must not happen inside a call.
 *  Ids:    a message's id is topic id << 40 | sequence, in decimal: unique in the server.
 *  Files:  adapter_embedded.c (life, loading, vtable), embedded_topic.c (append, cache, trim), embedded_sub.c (read, acknowledge),
 *          embedded_seek.c (seeks and snapshots). */
#ifndef BROKER_EMBEDDED_INT_H
#define BROKER_EMBEDDED_INT_H

#include "broker/ackset.h"
#include "broker/adapter.h"
#include "core/base/list.h"

#define CACHE_BYTES_MAX (64u * 1024 * 1024)      /* all topics' tails */
#define CACHE_TOPIC_BYTES_MAX (8u * 1024 * 1024) /* one topic's */
#define PAGE_COUNT_MAX 256
#define PAGE_BYTES_MAX (1024u * 1024)
#define BATCH_MAX 256         /* messages in one on_messages */
#define WORK_SUBS_MAX 32      /* readers served by one turn of the pump, so that a topic's many hold up nobody else */
#define PAGES_MAX 32          /* pages asked of the store at a time: its answers come in one batch, and others ask too */
#define FLUSH_SUBS_MAX 256    /* readers in one acknowledgement transaction */
#define TRIM_EARLY_ROWS 65536 /* trim without waiting for maintain */
#define SAMPLES_MAX 256
#define SAMPLE_MIN_NS NS_PER_S
#define ACK_GATHER_NS (5 * NS_PER_MS) /* acknowledgements of pushes are flushed that often: a kill -9 repeats those of one pause */
#define RETRY_NS NS_PER_S             /* after the store failed */
#define HANDLE_BYTES 24
#define READER_ID_MAX ((UINT64_C(1) << 62) - 1)

struct embedded;
struct adapter_topic;
struct op;
typedef void (*op_fn)(struct op *op, const struct err *e);

/* Something asked of the store, or a completion that waits for the pump. */
struct op {
    struct node link;
    struct embedded *a; /* NULL: abandoned */
    op_fn then;         /* NULL: just complete */
    adapter_done_fn done;
    adapter_handle_fn handle_done;
    void *arg;
    struct adapter_topic *topic;
    struct adapter_sub *sub;
    struct reader *reader;
    struct list *acks; /* of a flush: the completions that wait for it */
    struct message **msgs;
    size_t n;
    uint64_t seq;
    int64_t wall_ns;
    uint32_t epoch;
    char handle[HANDLE_BYTES];
    struct err err; /* of a waiting completion; code OK: success */
    union {
        struct store_read read;
        struct store_seek seek;
    };
};

struct reader {
    struct node link; /* in its topic */
    uint64_t id;
    struct adapter_topic *topic;
    struct ackset acks;
    uint64_t start_seq;
    bool snapshot, opened;
};

struct adapter_sub {
    struct reader r;
    const struct adapter_sub_events *events;
    void *arg;
    uint64_t read_seq;     /* the next to look at */
    uint64_t acked_unread; /* bits set at or above read_seq */
    uint64_t credit_count;
    int64_t credit_bytes; /* may go below 0 by one message */
    struct node work;     /* in embedded.work, .paging or .stalled */
    struct list *work_list;
    struct node dirty; /* in embedded.dirty or .flushing */
    struct list *dirty_list;
    struct list ack_ops; /* completions for the next flush */
    struct op *page;     /* the read under way */
    bool look_up, behind, seeking, expiring, retain_acked;
    uint32_t epoch; /* of seeks */
    int64_t retention_ns;
};

struct sample {
    uint64_t seq;
    int64_t wall_ns;
};

struct adapter_topic {
    struct embedded *a;
    uint64_t id, first, next, visible;
    int64_t last_wall_ns;
    struct list readers;
    size_t n_subs, n_behind;
    bool opened, deleted, trimming;
    int64_t retention_ns;
    size_t under_way; /* whatever points at it: it stays until they are answered */
    /* the tail: every visible message from cache_from on, oldest at ring[head] */
    struct message **ring;
    size_t ring_cap, ring_head, ring_count, cache_bytes;
    uint64_t cache_from;
    /* publish times here and there, by sequence */
    struct sample *samples;
    size_t n_samples;
    int64_t sample_every_ns;
};

struct embedded {
    struct adapter base;
    const struct env *env;
    struct store *store;
    struct u64map *topics, *readers;
    uint64_t next_topic, next_reader;
    size_t cache_bytes;
    struct timer pump, retry;
    struct timer gather; /* the end of a pause between flushes that nobody waits for */
    struct list ops;     /* at the store */
    struct list waiting; /* completions for the pump */
    struct list work, stalled, dirty, flushing;
    struct list paging; /* want a page; PAGES_MAX are under way */
    size_t pages;       /* under way */
    bool flush_running, loaded, swept;
    bool hurry;             /* somebody waits for the next flush */
    int64_t flushed_ns;     /* when the last flush began */
    int64_t flush_after_ns; /* the store failed: not before */
    adapter_done_fn close_done;
    void *close_arg;
    bool closing;
};

/* adapter_embedded.c */
static inline struct embedded *embedded_of(struct adapter *a) { return CONTAINER_OF(a, struct embedded, base); }
/** A zeroed operation, not yet linked; NULL: out of memory. */
struct op *op_new(struct embedded *a, op_fn then, void *arg);
void op_submit(struct op *op, struct store_txn *t);
void op_read(struct op *op);
void op_seek(struct op *op);
/** Complete `op` from the pump; e NULL: success. */
void op_later(struct op *op, const struct err *e);
/** Complete a request that cannot be begun. */
void fail_later(struct embedded *a, adapter_done_fn done, adapter_handle_fn handle_done, void *arg, const struct err *e);
void op_complete(struct op *op, const struct err *e); /* calls done or handle_done; does not free */
void pump_arm(struct embedded *a);
void retry_arm(struct embedded *a);
MUST_USE int parse_handle(const char *handle, char kind, uint64_t *id, struct err *e);
/** Enters a new reader under its number; an error when there are no more numbers. */
MUST_USE int reader_join(struct reader *r, struct adapter_topic *t, uint64_t id, struct err *e);
void reader_handle(const struct reader *r, char out[HANDLE_BYTES]);
MUST_USE int reader_put(struct store_txn *t, const struct reader *r, struct err *e);

/* embedded_topic.c */
struct adapter_topic *topic_make(struct embedded *a, uint64_t id, struct err *e);
/** Where the numbers of its messages stand, at the start. */
MUST_USE int topic_load(struct adapter_topic *t, struct err *e);
void topic_free(struct adapter_topic *t);
void embedded_topic_create(struct adapter *a, const char *name, adapter_handle_fn done, void *arg);
int embedded_topic_open(struct adapter *a, const char *handle, struct adapter_topic **out, struct err *e);
void embedded_topic_close(struct adapter_topic *t);
void embedded_topic_delete(struct adapter_topic *t, adapter_done_fn done, void *arg);
void embedded_append(struct adapter_topic *t, struct message **msgs, size_t n, adapter_done_fn done, void *arg);
void embedded_topic_retention(struct adapter_topic *t, int64_t retention_ns);
void topic_sample(struct adapter_topic *t, uint64_t seq, int64_t wall_ns);
int64_t topic_wall_of(const struct adapter_topic *t, uint64_t seq);
/** Index into the ring of the first cached message at or after `seq`; ring_count when none. */
size_t cache_find(const struct adapter_topic *t, uint64_t seq);
static inline struct message *cache_at(const struct adapter_topic *t, size_t i) { return t->ring[(t->ring_head + i) & (t->ring_cap - 1)]; }
void cache_clear(struct adapter_topic *t);
void topic_trim(struct adapter_topic *t, int64_t wall_ns);
void topic_reader_gone(struct adapter_topic *t);
/** Something under way was answered. */
void topic_release(struct adapter_topic *t);

/* embedded_sub.c */
struct adapter_sub *sub_make(struct adapter_topic *t, uint64_t id, uint64_t start_seq, struct err *e);
void sub_free(struct adapter_sub *s);
void embedded_sub_create(struct adapter_topic *t, const char *name, adapter_handle_fn done, void *arg);
int embedded_sub_open(struct adapter_topic *t, const char *handle, const struct adapter_sub_events *events, void *arg,
                      struct adapter_sub **out, struct err *e);
void embedded_sub_close(struct adapter_sub *s);
void embedded_sub_delete(struct adapter_sub *s, adapter_done_fn done, void *arg);
void embedded_credit(struct adapter_sub *s, size_t count, size_t bytes);
void embedded_ack(struct adapter_sub *s, const struct msg_pos *pos, size_t n, adapter_done_fn done, void *arg);
void embedded_sub_retention(struct adapter_sub *s, int64_t retention_ns, bool retain_acked);
struct adapter_sub_stats embedded_stats(const struct adapter_sub *s);
void sub_wake(struct adapter_sub *s);
void sub_pump(struct adapter_sub *s);
void sub_mark_dirty(struct adapter_sub *s); /* flush as soon as can be */
void sub_restart(struct adapter_sub *s);    /* the ackset was changed by a seek: read again from its floor */
void sub_expire(struct adapter_sub *s, int64_t wall_ns);
void flush_acks(struct embedded *a);

/* embedded_seek.c */
struct reader *snapshot_make(struct adapter_topic *t, uint64_t id, struct err *e);
void snapshot_free(struct reader *r);
void embedded_seek_time(struct adapter_sub *s, int64_t wall_ns, adapter_done_fn done, void *arg);
void embedded_seek_snapshot(struct adapter_sub *s, const char *snapshot, adapter_done_fn done, void *arg);
void embedded_snapshot_create(struct adapter_sub *s, const char *name, adapter_handle_fn done, void *arg);
void embedded_snapshot_delete(struct adapter_topic *t, const char *snapshot, adapter_done_fn done, void *arg);
int embedded_snapshot_open(struct adapter_topic *t, const char *snapshot, struct err *e);

#endif

/** adapter.h: where messages wait: one vtable over embedded (SQLite), and later redis and kafka.
 *  Shape:  a topic is a log (embedded rows, a Redis stream, a Kafka topic); a subscription is a reader of it with its own
 *          acknowledgements (floor and set, a consumer group, offsets and metadata). The engine gives credit; messages come as
 *          events, each once, in order; the engine acknowledges them in any order. Leases, deadlines, retries and ordering keys are
 *          the engine's (subscription.h): an adapter never redelivers by itself, only after open, seek or a broker's rebalance.
 *  Rules:  every slot is mandatory. Completions and events always come later from the loop, never inside the call, and each
 *          `done` exactly once, also on close (CANCELLED). Only when there is no memory left even to remember a completion does
 *          it come inside the call, with RESOURCE_EXHAUSTED.
 *  Units:  wall_ns and publish times are wall time, retention_ns are durations.
 *  Errors: RESOURCE_EXHAUSTED out of memory or space, NOT_FOUND a handle that is not there, DATA_LOSS a record that cannot be read,
 *          CANCELLED at close; else what the store said.
 *  Owner:  handles (text of at most ADAPTER_HANDLE_MAX) are what the broker stores to open a topic, subscription or snapshot again.
 *  Thread: engine thread; an adapter's own threads end inside it. */
#ifndef BROKER_ADAPTER_H
#define BROKER_ADAPTER_H

#include "broker/message.h"
#include "core/base/env.h"
#include "core/store/store.h"

#define ADAPTER_ABI 1
#define ADAPTER_HANDLE_MAX 255
#define ADAPTER_APPEND_MAX 1000

struct adapter {
    const struct adapter_ops *ops;
};
struct adapter_topic;
struct adapter_sub;

typedef void (*adapter_done_fn)(void *arg, const struct err *e); /* e NULL: done and durable. May be NULL everywhere. */
typedef void (*adapter_handle_fn)(void *arg, const char *handle, const struct err *e);

struct adapter_sub_events {
    /* New messages, oldest first, never more than the credit given. Returns how many were taken, whose references are the receiver's
     * then; the rest comes again, with its credit, when there may be memory. */
    size_t (*on_messages)(void *arg, struct message **msgs, size_t n);
    /* Reading failed (already logged by the adapter); credit stays, the adapter tries again by itself. */
    void (*on_trouble)(void *arg, const struct err *e);
};
struct adapter_sub_stats {
    uint64_t unacked;       /* waiting or delivered, not acknowledged */
    uint64_t unread;        /* not yet given to the engine */
    int64_t oldest_wall_ns; /* publish time of the oldest unacknowledged one; 0 none */
};

struct adapter_ops {
    const char *name;
    unsigned abi;
    /* Topics. `name` is the resource name, for adapters that show it (stream keys). */
    void (*topic_create)(struct adapter *a, const char *name, adapter_handle_fn done, void *arg);
    int (*topic_open)(struct adapter *a, const char *handle, struct adapter_topic **out, struct err *e);
    void (*topic_close)(struct adapter_topic *t); /* forget the handle, keep the messages */
    /* Closes; the topic goes with its messages once no subscription or snapshot needs them and nobody has opened it again. */
    void (*topic_delete)(struct adapter_topic *t, adapter_done_fn done, void *arg);
    /* Accept all or none. Fills pos, id and publish_wall_ns of each in order; the adapter holds its own references. */
    void (*append)(struct adapter_topic *t, struct message **msgs, size_t n, adapter_done_fn done, void *arg);
    /* How long the topic itself keeps messages (0: only as long as a subscription needs them). */
    void (*topic_retention)(struct adapter_topic *t, int64_t retention_ns);
    /* Subscriptions: a new one starts at the end of the topic. */
    void (*sub_create)(struct adapter_topic *t, const char *name, adapter_handle_fn done, void *arg);
    int (*sub_open)(struct adapter_topic *t, const char *handle, const struct adapter_sub_events *events, void *arg,
                    struct adapter_sub **out, struct err *e);
    void (*sub_close)(struct adapter_sub *s);
    void (*sub_delete)(struct adapter_sub *s, adapter_done_fn done, void *arg); /* closes */
    /* Deliver up to this many and this many bytes more than was already asked for and not delivered. At least one message fits. */
    void (*credit)(struct adapter_sub *s, size_t count, size_t bytes);
    /* Acknowledge; positions that are unknown or already acknowledged are ignored. */
    void (*ack)(struct adapter_sub *s, const struct msg_pos *pos, size_t n, adapter_done_fn done, void *arg);
    /* Unacknowledged messages older than this are dropped; acknowledged ones are kept this long when retain_acked. */
    void (*sub_retention)(struct adapter_sub *s, int64_t retention_ns, bool retain_acked);
    /* After either seek has started, nothing of before is delivered any more; credit is back at nothing. */
    void (*seek_time)(struct adapter_sub *s, int64_t wall_ns, adapter_done_fn done, void *arg);
    void (*seek_snapshot)(struct adapter_sub *s, const char *snapshot, adapter_done_fn done, void *arg);
    void (*snapshot_create)(struct adapter_sub *s, const char *name, adapter_handle_fn done, void *arg);
    void (*snapshot_delete)(struct adapter_topic *t, const char *snapshot, adapter_done_fn done, void *arg);
    /* After a restart the broker opens every handle it knows before the first maintain; an adapter may drop what nobody opened
     * by then: a crash came between its record and the broker's. */
    int (*snapshot_open)(struct adapter_topic *t, const char *snapshot, struct err *e);
    struct adapter_sub_stats (*stats)(const struct adapter_sub *s);
    /* Retention and trimming; the engine calls it about once a minute. */
    void (*maintain)(struct adapter *a, int64_t wall_ns);
    /* Settle what is under way, then done, then free. */
    void (*close)(struct adapter *a, adapter_done_fn done, void *arg);
    /* Free at once; no done runs any more. For a start that failed. */
    void (*abandon)(struct adapter *a);
};

/** The embedded adapter on the server's store. The store outlives it. */
struct adapter *adapter_embedded_new(const struct env *env, struct store *store, struct err *e);
/** Free it after store_memory_crash: what the store has forgotten goes too. For tests. */
void adapter_embedded_crash(struct adapter *a);

#endif

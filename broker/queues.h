/** queues.h: the task queues by name, their durable records, and the Cloud Tasks API over the method table.
 *  Shape:  queues_new -> queues_load (from the store, synchronous) -> queues_register -> runs -> queues_stop -> the store is closed ->
 *          queues_free.
 *  Units:  durations in ns.
 *  Errors: queues_load: DATA_LOSS for a record that cannot be read. Clients get theirs in the answer to the call.
 *  Owner:  store, metrics and consumer are the caller's and outlive it.
 *  Thread: engine thread.
 *  Source: google/cloud/tasks/v2/cloudtasks.proto. Ours is under /runnel/v1: settings, batches, timeline, dead letters. */
#ifndef BROKER_QUEUES_H
#define BROKER_QUEUES_H

#include "broker/queue.h"
#include "core/rpc/method.h"

#define QUEUES_MAX 10000
#define TASKS_BATCH_MAX 1000

struct queues;
struct queues_config {
    const char *region;      /* the server's, for who asks which locations there are; NULL: only those of queues */
    int64_t max_schedule_ns; /* how far ahead scheduleTime may lie; 0: 30 days, Google's rule; negative: any */
    int64_t name_hold_ns;    /* how long the name of a deleted queue stays taken; 0: not at all (Google: 7 days) */
};

struct queues *queues_new(const struct queues_config *c, const struct queue_deps *d, struct err *e);
MUST_USE int queues_load(struct queues *qs, struct err *e);
MUST_USE int queues_register(struct queues *qs, struct registry *r, struct err *e);
bool queues_has(const struct queues *qs, const char *resource); /* a queue's full name */
void queues_on_delete(struct queues *qs, void (*gone)(void *arg, const char *resource), void *arg);
/** Hosts of due and running tasks of all queues. */
void queues_backlog(const struct queues *qs, void (*each)(void *arg, struct str host, uint64_t count), void *arg);
void queues_clock_jumped(struct queues *qs);
void queues_stop(struct queues *qs); /* start nothing more */
/** After the store was closed: nothing it answers may come later. */
void queues_free(struct queues *qs);

#endif

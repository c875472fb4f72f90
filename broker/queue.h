/** queue.h: one task queue: which of its tasks run when, and what becomes of their answers.
 *  Shape of a task:  WAITING (not due) -> READY (due) -> RUNNING (with the consumer) -> gone | WAITING (a retry) | dead letter.
 *          State == list; only the mover touches links. What is not near lies in the store only: see Memory.
 *  Rules:  a task is durable before its creator is told. It runs at least once: a kill -9 repeats what was running. Rate: a token
 *          bucket; concurrency: RUNNING tasks, in all and by fair key; a queue that is slowed (task_throttle.h) gives less.
 *          READY tasks go by priority, then by turns among the fair keys, then by due time.
 *          A name that was given stays taken for TASK_NAME_HOLD_NS after the task's end; one that we gave is never given again.
 *  Memory: per lane (priority and bucket of the fair key) the tasks that are due first, at most QUEUE_WINDOW_TASKS; all that is due
 *          before the lane's horizon is in memory, the rest is read by due time when room comes. A million delayed tasks cost none.
 *  Units:  *_wall_ns is wall time (that is what scheduleTime means), all else monotonic ns and durations in ns.
 *  Errors: done gets OK (e NULL) or ALREADY_EXISTS (a name that is taken), NOT_FOUND, RESOURCE_EXHAUSTED, UNAVAILABLE (the store, or the
 *          server stops), CANCELLED (the queue is deleted); it is called exactly once, later or within.
 *  Owner:  the records given to done are lent; a queue owns its tasks in memory.
 *  Thread: engine thread.
 *  Source: google/cloud/tasks/v2/queue.proto (RateLimits, RetryConfig), task.proto; wire.md section 2. */
#ifndef BROKER_QUEUE_H
#define BROKER_QUEUE_H

#include "broker/records.pb-c.h"
#include "core/base/env.h"
#include "core/base/list.h"
#include "core/observe/metrics.h"
#include "core/store/store.h"

#define QUEUE_WINDOW_TASKS 10000               /* in memory, per lane */
#define QUEUE_WINDOW_BYTES (32u * 1024 * 1024) /* ... and in bytes, per queue */
#define QUEUE_PRIORITIES 10                    /* 0..9, larger first */
#define QUEUE_KEY_BUCKETS 16                   /* lanes per priority: 0 without a fair key, 1..15 by its hash */
#define QUEUE_TIMELINE_MAX 32                  /* events kept with a task; the oldest but the first go first */
#define TASK_NAME_HOLD_NS (3600 * NS_PER_S)
#define TASK_LIFE_NS (31 * 24 * 3600 * NS_PER_S) /* after which a task is dead whatever it still waits for */

typedef Runnel__Broker__TaskRecord TaskRecord; /* the Google task, and ours: key, priority, counts, timeline */

struct queue_config {
    double rate_per_s;
    uint32_t burst, concurrent, key_concurrent; /* key_concurrent 0: no limit of its own */
    int32_t max_attempts;                       /* -1: unlimited */
    int64_t max_retry_ns;                       /* 0: unlimited */
    int64_t min_backoff_ns, max_backoff_ns;
    uint32_t max_doublings;
    bool paused;
    int64_t purged_wall_ns; /* tasks created before it are gone; 0: never purged */
    int64_t dead_keep_ns;   /* dead letters stay this long; 0: they are not kept */
    uint32_t dead_max;
};

struct queue;
/* A task with its consumer. `record` says all; the consumer may read it until it settles. */
struct task_run {
    struct queue *queue;
    const TaskRecord *record;
    uint32_t attempt;    /* 1 at first */
    int64_t deadline_ns; /* monotonic: the attempt is to be over */
    void *consumer_data; /* the consumer's */
};
/* What came of an attempt. */
struct task_outcome {
    int status; /* HTTP; 0: no answer, see err (DEADLINE_EXCEEDED counts as 504) */
    struct err err;
    int64_t retry_after_ns; /* asked for by the target with 429 or 503; 0: not */
    int64_t sent_wall_ns;   /* when it really went out */
    bool undelivered;       /* it never went out, for want of something of ours: the attempt does not count */
};
/* The one who runs tasks (dispatcher/task_push). start may settle at once. cancel: its queue or task is gone: settle it soon, with
 * any outcome. */
struct task_consumer {
    void (*start)(struct task_consumer *c, struct task_run *run);
    void (*cancel)(struct task_consumer *c, struct task_run *run);
};
struct queue_deps {
    const struct env *env;
    struct store *store;
    struct metrics *metrics;
    struct task_consumer *consumer;
};
struct queue_stats {
    uint64_t tasks;                 /* alive, in memory or not */
    uint64_t dead;                  /* dead letters */
    size_t waiting, ready, running; /* in memory */
    int64_t oldest_due_wall_ns;     /* of what is due or will be; 0: none */
    double rate_per_s;              /* at present: the limit, less what it is slowed by */
    uint64_t ended_last_minute;
};

/** `name` is the full resource name, `list_id` its list in the store, never used again after it. */
struct queue *queue_new(const struct queue_deps *d, const char *name, uint64_t list_id, const struct queue_config *c, struct err *e);
MUST_USE int queue_load(struct queue *q, struct err *e); /* synchronous, before anything runs */
void queue_configure(struct queue *q, const struct queue_config *c);
/** The tasks too. What runs is cancelled; done when the store has forgotten all; then the queue is freed. */
void queue_delete(struct queue *q, void (*done)(void *arg, const struct err *e), void *arg);
/** Start nothing more. Running ones may still settle. */
void queue_stop(struct queue *q);
void queue_free(struct queue *q); /* keeps what is stored */
const char *queue_name(const struct queue *q);
struct queue_stats queue_stats(const struct queue *q);
/** Now; or, when the clock was set back since, when the last of its tasks came: a purge at this time takes them all. */
int64_t queue_latest_wall(const struct queue *q);
/** The wall clock was set: look anew at what is due. */
void queue_clock_jumped(struct queue *q);

/* r NULL with an error; of queue_remove always. */
typedef void (*queue_done_fn)(void *arg, const TaskRecord *r, const struct err *e);
/** Borrows the record until done, which is given it; after a purge that the clock has not reached yet its first event is moved behind
 *  that. All or none is not promised for several: each has its own done. */
void queue_create(struct queue *q, TaskRecord *r, queue_done_fn done, void *arg);
/** A task that is alive: of a dead letter NOT_FOUND, as of one that is gone. queue_list has those. */
void queue_get(struct queue *q, const char *id, queue_done_fn done, void *arg);
void queue_remove(struct queue *q, const char *id, queue_done_fn done, void *arg);
/** Run now, also when paused or over its rate. done has the task as it is before the delivery. */
void queue_run(struct queue *q, const char *id, queue_done_fn done, void *arg);

/* A page of tasks (or of dead letters) in the order of their ids, after `after` ("" from the beginning). */
typedef void (*queue_page_fn)(void *arg, const TaskRecord *const *records, size_t n, bool more, const struct err *e);
void queue_list(struct queue *q, bool dead, const char *after, size_t max, queue_page_fn done, void *arg);
/** Dead letters back into the queue, due now, with their counts at zero: those of `ids`, or all when n is 0. Tells how many. */
void queue_redrive(struct queue *q, const char *const *ids, size_t n, void (*done)(void *arg, uint64_t count, const struct err *e),
                   void *arg);
void queue_dead_remove(struct queue *q, const char *const *ids, size_t n, void (*done)(void *arg, uint64_t count, const struct err *e),
                       void *arg);

/** The consumer's answer, exactly once for each start. */
void queue_settle(struct task_run *run, const struct task_outcome *o);
/** The hosts of tasks that are due or running, with how many: for who scales. */
void queue_backlog(const struct queue *q, void (*each)(void *arg, struct str host, uint64_t count), void *arg);

#endif

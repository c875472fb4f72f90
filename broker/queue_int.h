/** queue_int.h: the parts of a task queue among themselves: the task in memory, its lane, its turn, its attempt.
 *  Shape:  NEW -> WAITING -> READY -> RUNNING -> WAITING | ENDING -> gone; WAITING, READY -> ENDING. task_move is the only one who links.
 *  Owner:  queue->tasks has every task in memory by its id, but those being created; task_drop frees it.
 *  Thread: engine thread. */
#ifndef BROKER_QUEUE_INT_H
#define BROKER_QUEUE_INT_H

#include "broker/due_tree.h"
#include "broker/queue.h"
#include "broker/task_policy.h"
#include "core/base/map.h"
#include "core/rpc/pb.h"

#define QUEUE_LANES (QUEUE_PRIORITIES * QUEUE_KEY_BUCKETS)
#define LANE_DEAD 200 /* dead letters; due: when they go */
#define LANE_MARK 254 /* how far the last purge has been swept */
#define LANE_NAME 255 /* a name that is held; due: when it is free */
#define QUEUE_TASKS_IN_MEMORY_MAX 4000000
#define QUEUE_PAGE_TASKS 2000 /* of a read into a window: with a slow disk, too, more than are started until the next one */
#define QUEUE_STEP_TASKS 500  /* of a step of a sweep */
#define QUEUE_PAGE_BYTES ((size_t)1024 * 1024) /* the same in bytes */
#define QUEUE_LIST_BYTES ((size_t)16 * 1024 * 1024)
#define QUEUE_RUNNING_BYTES ((size_t)64 * 1024 * 1024) /* of what runs; then nothing more starts, but one always may */
#define QUEUE_AGAIN_NS NS_PER_S                        /* until what failed for want of something of ours is tried again */
#define QUEUE_SLEEP_NS (600 * NS_PER_S)                /* then it looks at the clock in any case */
#define QUEUE_SWEEP_NS (60 * NS_PER_S)                 /* names and dead letters go this much late, together */
#define QUEUE_DEADLINE_NS (600 * NS_PER_S)             /* of an attempt whose task says none */

enum task_state { TASK_NEW, TASK_WAITING, TASK_READY, TASK_RUNNING, TASK_ENDING, TASK_STATES };
/* What a task ends as. EXHAUSTED: like DEAD, but dead letters are not kept. */
enum task_end { END_NONE, END_DONE, END_REMOVED, END_PURGED, END_EXHAUSTED, END_DEAD, ENDS };

struct fair { /* a fair key that has ready or running tasks; "" is all tasks without one */
    char *key;
    uint32_t running;
    struct turn *turns[QUEUE_PRIORITIES]; /* NULL where nothing is ready */
};
struct turn {         /* the ready tasks of a key and a priority */
    struct node link; /* in the ring of its priority, when one of them may run */
    struct fair *fair;
    uint32_t priority;
    struct due_tree ready;
};
struct host {
    char *name;
    size_t tasks, due; /* in memory; of them READY or RUNNING */
};
struct attempt {
    struct task_run run;
    struct task *task;
    struct arena *arena; /* of the record */
    TaskRecord *record;
    bool forced;
    int64_t start_ns, start_wall_ns, requested_wall_ns;
    Google__Cloud__Tasks__V2__Attempt first, last; /* part of record while it runs */
    Google__Cloud__Tasks__V2__Attempt *last_before;
    Google__Protobuf__Timestamp scheduled, dispatched;
};
struct task {
    struct queue *queue;
    enum task_state state;
    enum task_end end;
    struct lane *lane;
    struct due_node in_lane, in_turn; /* both by its due time and id */
    int64_t created_wall_ns, dead_until_wall_ns;
    uint32_t priority;
    bool named, tried;
    bool overwrite;        /* NEW: of a name that is not held any more */
    bool writing, again;   /* a transaction is under way; after it another one is needed */
    bool gone;             /* RUNNING, but the store knows it no more */
    struct node unwritten; /* the store has an older version, to be written soon */
    char *body;            /* the packed record */
    size_t body_n;
    struct host *host;
    struct fair *fair;       /* READY, RUNNING */
    struct attempt *attempt; /* RUNNING */
    const TaskRecord *made;  /* NEW: of who creates it */
    queue_done_fn done;      /* of who creates or removes it */
    void *done_arg;
    char *fair_key;
    char id[];
};
struct lane {
    struct queue *queue;
    uint32_t number;
    struct due_tree waiting, ready;
    bool whole;           /* nothing of it is in the store alone */
    int64_t edge_wall_ns; /* else: all up to here is in memory */
    char edge_key[STORE_ENTRY_KEY_MAX + 1];
    bool reading, spoiled; /* spoiled: what comes is not to be used */
    struct store_entries read;
};
struct job;  /* queue_jobs.c */
struct ask { /* a read for somebody; the first member of what goes with it */
    struct node link;
    struct queue *queue;
    struct store_entries read;
};

struct queue_metrics {
    struct metric_family *tasks, *ended, *attempts, *undelivered, *late, *dead;
    struct metric *states[3], *ends[ENDS], *classes[6], *not_sent, *lateness, *letters;
};
struct queue {
    const struct env *env;
    struct store *store;
    struct task_consumer *consumer;
    struct queue_metrics metrics;
    char *name;
    uint64_t list_id;
    struct queue_config config;
    struct map *tasks;    /* id -> struct task */
    struct map *creating; /* the same of tasks that may be refused: a task in the store may have the id already */
    struct map *fairs, *hosts;
    struct lane *lanes[QUEUE_LANES];
    struct list rings[QUEUE_PRIORITIES];
    size_t window_tasks, page_tasks; /* QUEUE_WINDOW_TASKS, QUEUE_PAGE_TASKS; fewer in tests, also of a step */
    size_t states[TASK_STATES], bytes, running_bytes;
    uint64_t live, doomed, dead; /* in the store: tasks, those of them that are purged, dead letters */
    struct task_bucket bucket;
    struct task_throttle throttle;
    struct timer timer;
    int64_t came_wall_ns; /* when the latest of the tasks seen in this life was made or redriven */
    int64_t blocked_ns;   /* nothing starts before; 0: nothing keeps it */
    int64_t again_ns;     /* when what failed is tried again; 0: nothing did */
    struct list unwritten;
    struct list asks; /* reads on behalf of somebody */
    size_t in_store;  /* transactions and reads under way, all together */
    /* jobs */
    struct list jobs;
    struct job *job; /* the one that is in the store at present */
    bool sweeping_names, sweeping_dead, sweeping_purge;
    int64_t names_wall_ns, dead_wall_ns; /* when the first goes; INT64_MAX: none */
    uint32_t ended[60];
    int64_t ended_s; /* the second of the last one */
    struct log_seldom log_undelivered, log_failed;
    bool stopped, deleting, dropped;
    void (*deleted)(void *arg, const struct err *e);
    void *deleted_arg;
};

static inline struct task *task_in_lane(struct due_node *n) { return n ? CONTAINER_OF(n, struct task, in_lane) : NULL; }
static inline int64_t task_due(const struct task *t) { return t->in_lane.due_wall_ns; }
/* When what comes now came: not before the last purge, which would take it, though the clock may have been set back since. */
static inline int64_t not_purged(const struct queue *q, int64_t wall_ns)
{
    return wall_ns > q->config.purged_wall_ns ? wall_ns : q->config.purged_wall_ns;
}
static inline bool task_pinned(const struct task *t) { return t->writing || node_linked((struct node *)(uintptr_t)&t->unwritten); }

/* queue.c */
void queue_wake(struct queue *q);       /* look at everything soon: what is due, what may start, what is to be read */
void queue_again(struct queue *q);      /* something failed: wake in a while */
void queue_maybe_free(struct queue *q); /* a deleted one, when nothing is under way any more */
void queue_name_taken(struct task *t);  /* NEW, and ALREADY_EXISTS: is it only a name whose time is over? */
void queue_read_begin(struct queue *q, struct store_entries *r);
void queue_read_end(struct queue *q); /* the last that is done with its answer */
/* What is not done any more, and why: who asks again when the server stops does well. */
static inline int queue_ending(const struct queue *q, struct err *e)
{
    return q->deleting ? err_set(e, ERR_CANCELLED, "the queue is being deleted")
                       : err_set(e, ERR_UNAVAILABLE, "the server is shutting down; try again");
}

/* queue_task.c: the task, its record, and writing it. */
/** In queue->tasks, or in `creating`. */
struct task *task_new(struct queue *q, struct map *into, const TaskRecord *r, int64_t due_wall_ns, struct err *e);
/** The record in a row, in an arena of its own, which is freed for it. NULL, RESOURCE_EXHAUSTED: ask again; DATA_LOSS: it is damaged; it
 *  stays where it is, for who may repair it. */
TaskRecord *task_read(const struct queue *q, const struct store_entry *row, struct arena **a, struct err *e);
/** A task that the store has: `row` is taken into memory, in no list yet. NULL with *e OK: it is purged. */
struct task *task_load(struct queue *q, const struct store_entry *row, struct err *e);
void task_drop(struct task *t); /* out of memory, and freed */
void task_move(struct task *t, enum task_state to);
void task_set_due(struct task *t, int64_t due_wall_ns);
MUST_USE int task_set_body(struct task *t, const TaskRecord *r, struct err *e);
/** For one record that is `packed_n` bytes when it is packed: one allocation, mostly, instead of twenty. */
struct arena *task_arena(size_t packed_n);
TaskRecord *task_record(const struct task *t); /* unpacked, to be freed with pb_free; NULL: out of memory */
void task_write(struct task *t);
void task_born(struct task *t);                             /* NEW, and the store knows it now */
void task_not_created(struct task *t, const struct err *e); /* tells, frees */
void task_end(struct task *t, enum task_end end);           /* for good, once the store knows */
void tasks_write_again(struct queue *q);
int64_t record_created(const TaskRecord *r);
bool record_purged(const struct queue *q, const TaskRecord *r);
const char *record_id(const TaskRecord *r);
int64_t task_life_end(const struct task *t);
/** Add an entry that takes the place of a task or dead letter that ended at `wall_ns`: its name is held, or all is gone. */
MUST_USE int txn_end(struct queue *q, struct store_txn *t, const char *id, bool named, int64_t wall_ns, struct err *e);
uint32_t task_lane(uint32_t priority, const char *fair_key);
/* The timeline: `r` is a copy on somebody's stack, `room` gets the pointers that it then has. */
void record_add_event(TaskRecord *r, Runnel__Broker__TaskEvent *event, Runnel__Broker__TaskEvent *room[QUEUE_TIMELINE_MAX]);

/* queue_window.c: lanes. */
struct lane *lane_need(struct queue *q, uint32_t number);    /* NULL: out of memory */
void window_leave(struct lane *l, const struct due_node *n); /* it stays in the store, though it may be before the edge */
void window_admit(struct task *t);                           /* it is to run when it is due: WAITING, or left to the store when it is far */
void window_settled(struct task *t);                         /* it has been written */
void window_refill(struct queue *q);
void window_promote(struct queue *q);
int64_t window_next_due(const struct queue *q);               /* wall; INT64_MAX: none */
bool window_hungry(const struct queue *q, uint32_t priority); /* what of it is in memory has run, and the next page may have more */

/* queue_ready.c: whose turn it is. */
MUST_USE int ready_join(struct task *t, struct err *e);
void ready_leave(struct task *t);
MUST_USE int fair_hold(struct task *t, struct err *e); /* make its fair key known; then fair_enter cannot fail */
void fair_enter(struct task *t);                       /* RUNNING counts */
void fair_leave(struct task *t);
void ready_limits_changed(struct queue *q);
void ready_pump(struct queue *q);
void ready_free(struct queue *q);

/* queue_settle.c: attempts. */
MUST_USE int attempt_begin(struct task *t, bool forced, struct err *e); /* it is RUNNING; the consumer is not told yet */
void attempt_free(struct attempt *a);                                   /* NULL is fine */
/** Out of attempts or too old: a dead letter, or gone. `r` as it is now. */
void task_die(struct task *t, const TaskRecord *r, const char *reason);

/* queue_jobs.c: redrive, and what is swept in steps. */
void jobs_go(struct queue *q);
void jobs_cancel(struct queue *q);
void jobs_free(struct queue *q);
void jobs_purge(struct queue *q, bool ask_first);

/* queue_metrics.c */
void queue_metrics_init(struct queue *q, struct metrics *m);
void queue_metrics_drop(struct queue *q);
void queue_metrics_state(struct queue *q);
void queue_metrics_end(struct queue *q, enum task_end end);
void queue_metrics_attempt(struct queue *q, int status);
void queue_metrics_undelivered(struct queue *q);
void queue_metrics_late(struct queue *q, int64_t late_ns);

#endif

/** support_queue.h: a task queue on the in-memory store and a clock that stands still, and a consumer that does as told.
 *  Shape:  tq_start -> tq_create, tq_advance, tq_settle ... -> tq_crash (as a kill -9) ... -> tq_stop.
 *  Errors: anything the helper itself cannot do aborts the test.
 *  Thread: one. */
#ifndef TESTS_SUPPORT_SUPPORT_QUEUE_H
#define TESTS_SUPPORT_SUPPORT_QUEUE_H

#include "broker/queue_int.h"
#include "tests/support/support.h"

#define TQ_STARTS_MAX 60000
#define TQ_HOLD (-1)        /* an answer: none yet */
#define TQ_UNDELIVERED (-2) /* ... for want of something of ours */
#define TQ_TIMEOUT (-3)
#define TQ_HELD_MAX 1000
#define TQ_QUEUE "projects/p/locations/l/queues/q"

struct tq_start {
    char id[48];
    int64_t wall_ns, mono_ns;
    uint32_t attempt;
    struct task_run *run; /* NULL: settled */
};
/* Stands before the store: reads wait until they are let through, so that later transactions overtake them, as they do in the real one. */
struct tq_gate {
    struct store store;
    struct store_ops ops;
    struct store *behind;
    struct store_entries *held[TQ_HELD_MAX];
    size_t n;
};
struct tq {
    struct fake_env fe;
    struct store *store;
    struct tq_gate gate;
    struct metrics *metrics;
    struct queue *queue;
    struct queue_config config;
    struct task_consumer consumer;
    size_t window_tasks, page_tasks; /* 0: as in the product */
    enum err_code store_fails;
    size_t store_steps;                                        /* completed requests */
    int answer;                                                /* of the consumer, at once: a status, or one of TQ_ */
    int (*answer_of)(struct tq *tq, const struct tq_start *s); /* instead */
    void (*check)(struct tq *tq);                              /* after every step */
    struct tq_start *starts;
    TaskRecord **records; /* of tq_record: they live as long as this */
    size_t n_records;
    size_t n_starts, cancelled, running_max;
    void *model;
};
/* How something asked for ended. */
struct tq_done {
    bool done;
    enum err_code code;
    TaskRecord *record; /* a copy; freed by the next use */
    uint64_t count;
};
struct tq_task {
    const char *id;
    int64_t in_ns; /* due, from now on */
    const char *key;
    uint32_t priority;
    bool unnamed;
    const char *url;
    size_t body_n;
};

struct queue_config tq_config(void); /* 500 a second, burst 100, 1000 at once, retries 10 20 40 80 160 240 300 */
void tq_init(struct tq *tq, const struct queue_config *c);
void tq_stop(struct tq *tq);
/* The same for cmocka: *state is a struct tq. */
int tq_setup(void **state);
int tq_teardown(void **state);
struct tq *tq_begin(void **state, const struct queue_config *c); /* NULL: tq_config */
void tq_crash(struct tq *tq);
/** Let `n` held reads through, oldest first. */
void tq_let_through(struct tq *tq, size_t n);
/** Let the store answer and due timers fire until nothing moves. */
void tq_run(struct tq *tq);
void tq_advance(struct tq *tq, int64_t ns);
TaskRecord *tq_record(struct tq *tq, const struct tq_task *t); /* it lives until tq_stop */
/** Each begins something; *d tells, at once or after tq_run. */
void tq_create(struct tq *tq, const struct tq_task *t, struct tq_done *d);
void tq_done(void *arg, const TaskRecord *r, const struct err *e);
void tq_counted(void *arg, uint64_t count, const struct err *e);
/** Create one and run: must be accepted. */
void tq_add(struct tq *tq, const struct tq_task *t);
/** Ids are the prefix and 0000, 0001 ... */
void tq_add_many(struct tq *tq, const char *prefix, size_t n, struct tq_task t);
struct tq_start *tq_running(struct tq *tq, const char *id); /* NULL: it is not */
size_t tq_count(const struct tq *tq, const char *id);       /* starts of it */
void tq_settle(struct tq *tq, struct tq_start *s, int answer);
/** Ids of a list, joined by spaces; of dead letters. Good until the next call. */
const char *tq_list(struct tq *tq, bool dead);
enum err_code tq_get(struct tq *tq, const char *id, struct tq_done *d);

#endif

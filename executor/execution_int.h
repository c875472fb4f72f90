/** execution_int.h: an execution and its tasks, shared by the files of jobs: what they are, and what execution.c, execution_change.c
 *                   and attempt.c do.
 *  Rules:  what a client is told is durable. A task that has not begun costs one bit of memory, one that has ended too.
 *          An attempt is in exactly one of its execution's lists; its mover keeps the counts.
 *  Thread: engine thread. */
#ifndef EXECUTOR_EXECUTION_INT_H
#define EXECUTOR_EXECUTION_INT_H

#include "executor/executor_int.h"
#include "executor/exit_journal.h"
#include "executor/jobs.pb-c.h"
#include "executor/run_jobs.pb-c.h"
#include "executor/task_state.h"

#define RECORD(message) Runnel__Run__V1__##message
#define RECORD_DESC(message) (&runnel__run__v1__##message##__descriptor)
#define OUTCOME(name) RUNNEL__RUN__V1__TASK_ATTEMPT__OUTCOME__##name
#define RUN_EXECUTION_REASON(name) GOOGLE__CLOUD__RUN__V2__CONDITION__EXECUTION_REASON__##name

#define RUN_KIND_JOB "run.job"
#define RUN_KIND_EXECUTION "run.execution"

/* Limits in one place. */
#define JOBS_MAX 10000
#define JOB_TASKS_MAX 1000000
#define JOB_RETRIES_MAX 10
#define JOB_RETRIES_DEFAULT 3
#define JOB_TIMEOUT_DEFAULT_S 600
#define JOB_TIMEOUT_MAX_S (168 * 3600)
#define JOB_EXECUTIONS_KEPT 1000     /* ended ones of a job; the oldest go */
#define EXECUTIONS_MAX 50000         /* of all jobs */
#define JOBS_RUNNING_MAX 2000        /* programs of tasks at once; those of services have their own bound */
#define JOBS_OPEN_MAX 8000           /* tasks in memory: begun, running, ending */
#define EXECUTION_BACKOFFS_MAX 10000 /* tasks of an execution that wait for their next attempt; then no new ones begin */
#define ATTEMPTS_LOST_MAX 10         /* of a task, by ends of the server */
#define ATTEMPTS_BYTES_MAX 16384     /* what is kept of earlier attempts; then the oldest are forgotten */
#define ATTEMPT_GRACE_NS (10 * NS_PER_S)
#define ATTEMPT_AGAIN_NS NS_PER_S /* after a store or a host that had no room */
#define TASK_INPUT_MAX 65536
#define TASK_RESULT_MAX 65536
#define TASK_KEY_SIZE 12
#define EXECUTION_OPERATIONS_MAX 16
#define EVENT_ID_MAX 1024

struct run_jobs;
struct job;
struct execution;

/* How its job counts an execution. */
enum execution_count {
    COUNTED_NOT, /* being stored, or deleted */
    COUNTED_QUEUED,
    COUNTED_ACTIVE, /* also while it is being stored that it runs again */
    COUNTED_ENDED,
    COUNTED_N
};

/* What the annotations runnel.dev/… say. */
struct job_settings {
    uint32_t max_concurrent; /* executions; 0: no limit */
    bool refuse;             /* above it; else they queue */
    int32_t priority;
    int64_t backoff_min_ns, backoff_max_ns;
    uint32_t stop_after; /* failed tasks; 0: never */
    const char *depends_on;
};

/* A task that is open, or waits to be again. */
struct run_attempt {
    struct node link; /* of the list of its state: e->open, ready, again, waiting */
    struct execution *e;
    enum task_state state;
    uint32_t index, number; /* number: of the attempt, from 0 */
    uint32_t failures, lost;
    bool retried, stop, timed_out, stored_late, writing, held, past_read;
    bool admitted; /* it has memory that is to be given back */
    struct runtime_instance *run;
    struct timer timer; /* RUNNING: its timeout; STOPPING: SIGKILL; BACKOFF: the next attempt */
    int64_t begun_wall_ns, ended_wall_ns, started_ns;
    enum task_state next; /* ENDING: what follows when it is durable */
    int outcome, exit_code, signal;
    enum err_code code;
    struct buf past; /* TaskRecord of the attempts before, packed */
    char *input, *result;
    size_t result_len;
    bool result_cut;
    struct store_entries read;
    char why[200];
    char id[INSTANCE_ID_LEN + 1];
};

/* An operation that ends with the execution: as it does, or, when it is a cancellation's, always well. */
struct execution_operation {
    struct operation *op;
    bool cancels;
};
/* A change that is being stored. `done` once: when it is durable, or with what was in the way. */
struct execution_change {
    struct operation *op;
    void (*done)(void *arg, const struct err *err);
    void *arg;
    bool queues; /* it must wait for other executions of its job */
};

struct execution {
    struct node link;        /* job->executions; or jobs->leaving's */
    struct node active_link; /* jobs->active */
    struct run_jobs *jobs;
    struct job *job; /* NULL: deleted */
    char *name, *parts;
    const char *id, *project, *region, *job_id;
    RECORD(ExecutionRecord) * rec; /* as it was made; what changes is in the fields below */
    struct job_settings settings;  /* points into rec */
    bool storing;                  /* its creation: it is nobody's to find */
    enum execution_count counted;
    enum execution_state state;
    enum execution_state ends_as; /* CANCELLING: CANCELLED, or FAILED after so many failures */
    enum err_code code;
    char why[300];
    uint32_t round;
    int64_t started_wall_ns, ended_wall_ns;
    uint32_t task_count, parallelism, max_retries;
    int64_t timeout_ns;
    /* its program */
    struct runtime_spec spec;
    char **argv, **vars;
    size_t n_vars;
    struct admission_share *share; /* the job's, which may go first */
    struct admission_claim claim;
    bool short_said; /* that it waits for memory */
    /* tasks */
    uint8_t *taken;         /* a bit for each task that has begun */
    uint32_t next, n_taken; /* where to look for the next that has not */
    uint32_t count[TASK_N];
    uint32_t retried;
    struct list open;    /* all that have memory but those in BACKOFF and READY */
    struct list ready;   /* READY, in order */
    struct list again;   /* BACKOFF and due, in order */
    struct list waiting; /* BACKOFF */
    struct run_attempt *held;
    int64_t mean_run_ns; /* of its attempts; -1: none has ended */
    uint32_t busy;       /* transactions and reads under way */
    bool loading, deleted, ending;
    bool frozen;   /* its deletion is being stored: nothing more is written to its lists */
    bool changing; /* `change` is being stored: nothing begins, and it does not end */
    struct execution_change change;
    struct timer again_timer;    /* what could not be stored is tried again */
    struct execution_scan *scan; /* while its tasks are loaded */
    bool scan_waits;             /* it is gone on with when it is tried again */
    struct execution_operation operations[EXECUTION_OPERATIONS_MAX];
    size_t n_operations;
    struct execution **launched; /* with the record of its end: what runs after it */
    size_t n_launched;
    struct list followers; /* job_start, that wait for its end */
};

/* execution.c */
/** Takes `rec`, also on failure. */
struct execution *execution_new(struct job *j, RECORD(ExecutionRecord) * rec, struct err *e);
void execution_free(struct execution *e);
/** Its record as it is now, ended as `state` says, into the transaction; with this attempt's outcome, which goes along. */
MUST_USE int execution_store(struct execution *e, struct store_txn *t, enum execution_state state, const struct run_attempt *with,
                             struct err *err);
/** The same at its end, with what runs after it; execution_end_undo when that is not stored. */
MUST_USE int execution_store_end(struct execution *e, struct store_txn *t, enum execution_state state, const struct run_attempt *with,
                                 struct err *err);
void execution_end_undo(struct execution *e);
void execution_failure(struct execution *e, const struct run_attempt *a); /* the first one says why it fails */
void execution_install(struct execution *e);                              /* its creation is durable */
void execution_count(struct execution *e);                                /* what its job counts may have changed */
void execution_stop(struct execution *e); /* all its open tasks: it is being cancelled, or deleted, or the server stops */
void execution_go(struct execution *e);   /* it waits for no other any more */
bool execution_step(struct execution *e); /* begin or start one attempt; false: nothing can be done now */
bool execution_quiet(const struct execution *e);
void execution_moved(struct execution *e, enum task_state from, enum task_state to);
void execution_attempt_ended(struct execution *e, struct run_attempt *a); /* durably; frees it when it is at its end */
/** Would storing this outcome of `a` end the execution? Then as what; else EXECUTION_N. */
enum execution_state execution_end_with(const struct execution *e, const struct run_attempt *a);
bool execution_only_ending(const struct execution *e, const struct run_attempt *but);
void execution_try_later(struct execution *e);
void execution_say(const struct execution *e, const struct run_attempt *a, int severity, const char *text);

bool execution_has_taken(const struct execution *e, uint32_t index); /* the task has begun */
void execution_take_up(struct execution *e, uint32_t index);
void execution_activate(struct execution *e); /* it takes part in the turns */

/* execution_load.c */
void execution_load(struct execution *e);    /* after a restart: find its tasks */
void execution_load_on(struct execution *e); /* where it had to stop */

void execution_try_again(struct execution *e);
void execution_move(struct execution *e, enum execution_state to);

/* execution_change.c */
/** Stop it: what runs ends, nothing begins. Its operation ends with it. */
MUST_USE int execution_cancel(struct execution *e, const struct execution_change *ch, struct err *err);
/** Its failed and cancelled tasks once more, when its job has room for it. */
MUST_USE int execution_retry(struct execution *e, const struct execution_change *ch, struct err *err);
MUST_USE int execution_wait(struct execution *e, struct operation *op, struct err *err);
void execution_freeze(struct execution *e, bool frozen);
void execution_removed(struct execution *e); /* its deletion is durable */

/* attempt.c */
struct run_attempt *run_attempt_new(struct execution *e, uint32_t index);
void run_attempt_free(struct run_attempt *a);
void run_attempt_begin(struct run_attempt *a);
void run_attempt_start(struct run_attempt *a);
void run_attempt_stop(struct run_attempt *a); /* the execution is being cancelled, or deleted, or the server stops */
void run_attempt_backoff(struct run_attempt *a, int64_t due_wall_ns);
void run_attempt_store(struct run_attempt *a); /* what could not be stored before */
/** After a restart: it had begun. Ended since, as the journal says, or lost. */
void run_attempt_recover(struct run_attempt *a, const struct exit_record *exit);
void run_attempt_key(uint32_t index, char key[TASK_KEY_SIZE]);
/** Which task has this key; its count of tasks when none has. */
uint32_t run_attempt_index(const struct execution *e, const char *key);

#endif

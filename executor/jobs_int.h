/** jobs_int.h: the inside of jobs, shared by its files.
 *  Shape:  jobs -> jobs by full name -> executions (newest first) -> tasks that are open. job.c holds jobs and says which execution
 *          may go on; execution.c which of its tasks; execution_change.c what clients do to it; attempt.c lives through one attempt of
 *          one task; job_settings.c and job_validate.c read and refuse; execution_show.c, task_show.c make messages; job_start.c
 *          follows what events start; jobs_api.c, executions_api.c, tasks_api.c, jobs_more_api.c and trigger_api.c speak the API.
 *  Rules:  what a client is told is durable. A task that has not begun costs one bit of memory, one that has ended too.
 *  Thread: engine thread. */
#ifndef EXECUTOR_JOBS_INT_H
#define EXECUTOR_JOBS_INT_H

#include "executor/execution_int.h"

#define OUTCOMES_N (OUTCOME(LOST) + 1)

struct job {
    struct run_jobs *jobs;
    char *name, *parts;
    const char *project, *region, *id;
    RUN(Job) * msg; /* NULL while its creation is being stored */
    bool busy;      /* a change of it is being stored */
    bool deleting;
    uint32_t seen;            /* by run_jobs.walk: when dependencies are followed */
    struct list launching;    /* executions that are being stored */
    struct list executions;   /* newest first */
    size_t counts[COUNTED_N]; /* of them; of COUNTED_NOT without a meaning */
    struct map *events;       /* those that events started, by the event's id, also while they are being stored; NULL: none yet */
    struct list starts;       /* job_start, that wait for others to end */
    int32_t count;            /* executions that there ever were */
    struct operation *ready_operation;
    const struct execution *ready_when; /* its token's execution, which ready_operation waits for */
    struct admission_share *share;
};

struct run_jobs {
    struct executor *x;
    const struct env *env;
    struct map *jobs;       /* by full name */
    struct map *executions; /* by full name, also those that are being stored */
    struct list active, leaving;
    struct list starts; /* all of them */
    struct timer pump, reap;
    uint32_t n_running, n_open; /* n_running: handed to the runtime, so that some may still wait there */
    uint32_t n_up;              /* those of them that are known to run */
    uint32_t running_max, walk;
    struct u64map *loaded_lists;                      /* while records are loaded */
    struct metric *m_running, *m_outcome[OUTCOMES_N]; /* by TaskAttempt.Outcome */
};

/* job.c */
struct run_jobs *run_jobs_new(struct executor *x, struct err *e);
void run_jobs_free(struct run_jobs *js);
MUST_USE int run_jobs_load(struct run_jobs *js, struct err *e);
void run_jobs_resume(struct run_jobs *js); /* once all is loaded: from the loop */
void run_jobs_stop(struct run_jobs *js);
bool run_jobs_quiet(const struct run_jobs *js);
void run_jobs_count_program(struct run_jobs *js, bool begins); /* or has ended */
void run_jobs_pump_soon(struct run_jobs *js);
void run_jobs_reap_soon(struct run_jobs *js);
struct job *job_new(struct run_jobs *js, const char *name, struct err *e);
void job_free(struct job *j);
struct job *job_find(const struct run_jobs *js, const char *name);
struct execution *run_jobs_execution(const struct run_jobs *js, const char *name); /* NULL: there is none */
/** From now on it is found, and no other may have its name; execution_removed or job_unlist ends that. */
MUST_USE int job_list(struct job *j, struct execution *e, struct err *err);
void job_unlist(struct job *j, struct execution *e);
/** Its executions beyond what may run at once wait; one that ended lets the next go on. */
void job_advance(struct job *j);
void job_weigh(struct job *j); /* its message is another one */
void job_execution_ended(struct job *j, struct execution *e);
void job_execution_started(struct job *j, struct execution *e);
/** Forget job and executions; what runs is stopped. Their deletion is durable. */
void job_removed(struct job *j);
MUST_USE int job_store(struct store_txn *t, const RUN(Job) * m, struct err *e);
MUST_USE int execution_store_deletion(const struct execution *x, struct store_txn *t, struct err *e);
MUST_USE int job_store_deletion(const struct job *j, struct store_txn *t, struct err *e);
/** As many run as may at once. */
bool job_full(const struct job *j, const struct job_settings *s);
/** Not full, or what is above it queues: else -FAILED_PRECONDITION. */
MUST_USE int job_admits(const struct job *j, const struct job_settings *s, struct err *e);
/** Room for one more execution of this job: -FAILED_PRECONDITION, -RESOURCE_EXHAUSTED. */
MUST_USE int job_may_run(const struct job *j, const struct job_settings *s, struct err *e);

/* job_settings.c */
MUST_USE int job_settings_read(struct job_settings *s, void *annotations, size_t n, struct err *e);
/** The jobs that it depends on, as its template says, or else it; "" none. */
const char *job_dependencies(const RUN(Job) * m);
bool job_depends_on(const char *list, const char *id);

/* job_validate.c */
MUST_USE int validate_job_id(const char *id, struct err *e);
MUST_USE int validate_job(struct executor *x, struct arena *a, RUN(Job) * m, const char *id, struct err *e);
MUST_USE int validate_overrides(struct executor *x, struct arena *a, RUN(Execution) * m, const RUN(RunJobRequest__Overrides) * o,
                                struct err *e);
/** Could a task of it ever have its memory on this host? */
MUST_USE int job_check_memory(struct executor *x, const RUN(Container) * c, struct err *e);
MUST_USE int validate_inputs(RUN(Execution) * m, char **inputs, size_t n, bool count_given, struct err *e);

/* execution_show.c */
RUN(Execution) * execution_show(const struct execution *e, struct arena *a);
RUN(Job) * job_show(const struct job *j, struct arena *a);
/** Where its lines are read, or those of its task `index` (LOG_NO_TASK: of all). */
char *execution_log_uri(const struct execution *e, struct arena *a, uint32_t index);
/** How the execution's end is told to who waits for it: 0, or the error. */
MUST_USE int execution_error(const struct execution *e, struct err *err);

/* task_show.c */
/** `row` NULL: it has not begun. */
RUN(Task) * task_show(const struct execution *e, struct arena *a, uint32_t index, const struct store_entry *row);
RECORD(TaskAttempts) * task_attempts_show(const struct execution *e, struct arena *a, uint32_t index, const struct store_entry *row);

/* launch.c */
struct launch {
    const RUN(RunJobRequest__Overrides) * overrides;
    char **inputs;
    size_t n_inputs;
    const char *token;    /* NULL: a name by chance */
    bool no_operation;    /* nobody waits for its end: the answer is the execution */
    const char *event_id; /* NULL: nobody's but the caller's; else what of it has run is not run again (job_run_of) */
};
/** A new execution of the job, built, checked and added to the transaction; not yet known to anybody. NULL on errors. */
struct execution *launch_new(struct job *j, struct arena *a, const struct launch *l, struct store_txn *t, struct err *e);
/** It is durable. */
void launch_done(struct execution *e);
/** It is not. */
void launch_undo(struct execution *e);
/** Those jobs that run when this execution's job has succeeded, into the transaction of its end and e->launched. */
MUST_USE int launch_dependents(struct execution *e, struct store_txn *t, struct err *err);
#define LAUNCH_DEPENDENTS_MAX 100

/* job_start.c */
/** The execution that this event started; `storing`: it is not durable yet. NULL: none is there. */
struct execution *job_run_of(struct job *j, const char *event_id, bool *storing);
void job_starts_ended(struct execution *e); /* or it was deleted: those that follow it are told */
void job_starts_wake(struct job *j);        /* one of its executions ended: who waits looks again */
void job_starts_free(struct run_jobs *js);
/** A JobStart out of JSON. What says neither is refused: it was meant for somebody else. */
RECORD(JobStart) * job_start_read(struct arena *a, struct str body, struct err *e);
MUST_USE int check_event_id(const char *id, struct err *e);

/* jobs_api.c, executions_api.c, tasks_api.c, jobs_more_api.c, trigger_api.c */
MUST_USE int jobs_api_register(struct executor *x, struct registry *r, struct err *e);
MUST_USE int executions_api_register(struct executor *x, struct registry *r, struct err *e);
MUST_USE int tasks_api_register(struct executor *x, struct registry *r, struct err *e);
MUST_USE int jobs_more_api_register(struct executor *x, struct registry *r, struct err *e);
MUST_USE int trigger_api_register(struct executor *x, struct registry *r, struct err *e);
void run_jobs_run(struct executor *x, struct call *c, const char *name, const char *etag, bool dry, const struct launch *l);
void tasks_ask(struct executor *x, struct call *c, const char *name, bool attempts); /* one task, or its attempts */
/** Start an operation, and answer with it once `change` is durable; `dry`: as if. */
void executions_change(struct executor *x, struct call *c, struct execution *run, bool dry,
                       int (*change)(struct execution *e, const struct execution_change *ch, struct err *err));
struct execution *run_jobs_find_execution(struct executor *x, struct call *c, const char *name);

#endif

/** support_jobs.h: jobs in a world that is driven step by step, the programs of their tasks, clients that do not wait for their
 *                  answers, kill -9, and what must hold of executions and tasks whatever happens. It knows nothing of how jobs work:
 *                  only what a client is told, and what its programs see.
 *  Shape:  js_start -> js_ask, js_step, js_crash … -> js_rest -> js_check -> js_stop. Each start and end of a program is checked as it
 *          happens, each answer as it comes, the whole at the end.
 *  Errors: what does not hold fails the test and says `js->label`.
 *  Thread: one. */
#ifndef TESTS_SUPPORT_SUPPORT_JOBS_H
#define TESTS_SUPPORT_SUPPORT_JOBS_H

#include "tests/support/support_executor.h"

#define JS_PARENT "projects/proj/locations/here"
#define JS_JOBS_MAX 4
#define JS_RUNS_MAX 400
#define JS_TASKS_MAX 250
#define JS_CALLS_MAX 12

struct js_job {
    const char *id;
    uint32_t tasks, parallelism, retries, timeout_s, stop_after, max_concurrent;
    int64_t backoff_min_ms, backoff_max_ms;
    bool refuse;            /* above max_concurrent; else they queue */
    const char *depends_on; /* the id of one job, or NULL */
    bool made;
};
struct js_task {
    bool begun, runs, good;        /* good: its program ended by itself, with 0 */
    uint32_t number;               /* of the last attempt */
    uint32_t failures;             /* of its own, since its failed tasks were last taken up again */
    int64_t started_ns, failed_ns; /* failed_ns 0: the last attempt has not */
    bool unsure; /* the journal does not say that it failed (its time was over, it could not be started): a crash may make it lost */
    struct fake_behaviour does;
};
struct js_run { /* an execution that is known by its answer or by a program */
    char name[128], operation[128], ended[64], *shown;
    const struct js_job *job;
    uint32_t epoch; /* of its operation: how many crashes there were */
    uint64_t list;
    uint32_t n_tasks, n_running;
    bool cancelled, deleted, unsure; /* answered; unsure: its deletion may have been carried out */
    struct js_task tasks[JS_TASKS_MAX];
};
enum js_what { JS_CREATE, JS_RUN, JS_RUN_INPUTS, JS_CANCEL, JS_RETRY, JS_DELETE, JS_LOOK, JS_DELETE_JOB, JS_WHAT_N };
struct js_call {
    bool open;
    enum js_what what;
    struct js_job *job;
    struct js_run *run;
    struct answer answer;
};
struct js {
    struct world w;
    struct rng rng;
    char label[200], journal[300];
    struct js_job jobs[JS_JOBS_MAX];
    size_t n_jobs;
    struct js_run *runs[JS_RUNS_MAX];
    size_t n_runs;
    struct js_call calls[JS_CALLS_MAX];
    uint64_t journal_seq;
    uint32_t crashes;
    double trouble; /* how often the store fails a transaction */
    size_t starts, refused, answered[JS_WHAT_N];
    /* What the program of this task does, which has failed so often. */
    void (*program)(struct js *js, const struct js_run *r, uint32_t index, uint32_t failures, struct fake_behaviour *b);
};

/** The jobs are made at once, without trouble. */
void js_start(struct js *js, const struct js_job *jobs, size_t n, uint64_t seed);
void js_stop(struct js *js);
/** Ask for something; `run` and `job` as it needs. False: too many answers are waited for. */
bool js_ask(struct js *js, enum js_what what, struct js_job *job, struct js_run *run, uint32_t tasks);
/** By chance one of: some requests of the store are carried out, one of them may fail; time passes. */
void js_step(struct js *js);
/** What comes next, the store always first. False: nothing will happen any more. */
bool js_next(struct js *js);
/** kill -9 and a new start. Of what the store has not carried out the first `commits` still are; nobody hears of it. Programs that would
 *  end by themselves do so in the last moment with this chance: the warden has seen it, the server has not. */
void js_crash(struct js *js, size_t commits, double exits);
void js_rest(struct js *js); /* nothing fails any more, until nothing happens any more */
/** All has ended as it must; then delete all, and nothing is left. */
void js_check(struct js *js);

#endif

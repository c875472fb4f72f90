/** scheduler.h: scheduled jobs by name, their durable records, when they fire, and the Cloud Scheduler API over the method table.
 *  Shape:  schedules_new -> schedules_load (from the store, synchronous) -> schedules_register -> runs -> schedules_stop ->
 *          schedules_free after the store was closed.
 *  Shape of a firing: due -> BEGUN (in the record, not yet sent) -> RUNNING (with its target) -> gone | WAITING (a retry) -> BEGUN.
 *  Rules:  a firing happens at least once: what was under way when the server died is repeated with the same schedule time. A firing
 *          time is not used twice: the record says up to which they are used, before the call goes out. README.md has the policy, and
 *          the exception.
 *  Units:  durations and wall times in ns.
 *  Errors: schedules_load: DATA_LOSS for a record that cannot be read. Clients get theirs in the answer to the call. While the
 *          store refuses (disk full) nothing fires; it is tried again every second.
 *  Owner:  store, metrics, targets and workers are the caller's and outlive it.
 *  Thread: engine thread.
 *  Source: google/cloud/scheduler/v1/{cloudscheduler,job,target}.proto; wire.md section 3. */
#ifndef SCHEDULES_SCHEDULER_H
#define SCHEDULES_SCHEDULER_H

#include "core/base/env.h"
#include "core/loop/thread.h"
#include "core/observe/metrics.h"
#include "core/rpc/method.h"
#include "core/store/store.h"
#include "schedules/targets.h"

#define SCHEDULES_MAX 100000
#define SCHEDULES_RUNNING_MAX 10000 /* attempts under way at once; more wait for their turn */
#define SCHEDULE_RUNS_MAX 16        /* firings of one job under way at once, with overlap allowed or run by hand */
#define SCHEDULES_STEP_JOBS 256     /* looked at in one iteration, written in one transaction */

struct schedules;
struct schedules_config {
    const char *region; /* listed among the locations; may be NULL */
};
struct schedules_deps {
    const struct env *env;
    struct store *store;
    struct metrics *metrics;
    struct target *http, *pubsub, *run;
    struct workers *workers; /* look at the time-zone files; NULL: nobody does */
    struct mailbox *engine;  /* where their answers go */
};

struct schedules *schedules_new(const struct schedules_config *c, const struct schedules_deps *d, struct err *e);
MUST_USE int schedules_load(struct schedules *s, struct err *e);
MUST_USE int schedules_register(struct schedules *s, struct registry *r, struct err *e);
/** The wall clock was set, or the machine woke up: look anew at what is due. */
void schedules_clock_jumped(struct schedules *s);
/** Begin nothing more; what is under way may end for `grace_ns`, then it is called off (and repeated at the next start); executions at
 *  once, since they are found again. */
void schedules_stop(struct schedules *s, int64_t grace_ns, void (*done)(void *arg), void *arg);
void schedules_free(struct schedules *s);

#endif

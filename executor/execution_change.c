/** execution_change.c: what clients do to an execution: wait for its end, cancel it, have its failed tasks taken up again, delete it. What
 *                      they are told is durable: until it is, nothing begins and nothing ends the execution (`changing`). */
#include "executor/jobs_int.h"

#include <stdio.h>
#include <stdlib.h>

static int may_wait(const struct execution *e, struct err *err)
{
    if (e->n_operations == EXECUTION_OPERATIONS_MAX)
        return err_set(err, ERR_RESOURCE_EXHAUSTED, "%d operations wait for the end of %s already", EXECUTION_OPERATIONS_MAX, e->id);
    return 0;
}

int execution_wait(struct execution *e, struct operation *op, struct err *err)
{
    int rc = may_wait(e, err);
    if (rc == 0)
        e->operations[e->n_operations++] = (struct execution_operation){op, false};
    return rc;
}

static int may_change(const struct execution *e, struct err *err)
{
    if (e->frozen)
        return err_set(err, ERR_ABORTED, "execution %s is being deleted", e->id);
    if (e->changing)
        return err_set(err, ERR_ABORTED, "another change of execution %s is being stored; try again", e->id);
    return may_wait(e, err); /* for later, too: only changes add to them once it is known */
}

/* Its record as it will be, to the store; until that is done nothing else is written of it. */
static int submit(struct execution *e, enum execution_state state, const struct execution_change *ch, store_done_fn done, struct err *err)
{
    struct store_txn *t = store_txn_new();
    int rc = t ? execution_store(e, t, state, NULL, err) : err_set(err, ERR_RESOURCE_EXHAUSTED, "out of memory for a change of %s", e->id);
    if (rc) {
        if (t)
            store_txn_free(t);
        return rc;
    }
    e->change = *ch;
    e->changing = true;
    execution_count(e);
    e->busy++;
    store_submit(e->jobs->x->deps.store, t, done, e);
    return 0;
}

static void tell(const struct execution *e, const struct err *err)
{
    if (e->change.done)
        e->change.done(e->change.arg, err);
}

/* The store has answered. False: nothing has changed, and the one who asked has been told. */
static bool taken(struct execution *e, bool cancels, const struct err *err)
{
    struct err gone;
    e->busy--;
    e->changing = false;
    execution_count(e);
    if (e->deleted)
        err_set(&gone, ERR_ABORTED, "Execution %s was deleted.", e->id);
    if (err || e->deleted) {
        tell(e, e->deleted ? &gone : err);
        return false;
    }
    if (e->change.op)
        e->operations[e->n_operations++] = (struct execution_operation){e->change.op, cancels};
    return true;
}

/* ---- cancelling */

static void cancelled(struct execution *e)
{
    e->code = ERR_CANCELLED;
    snprintf(e->why, sizeof e->why, "Execution %s was cancelled.", e->id);
}

static void on_cancel_stored(void *arg, const struct err *err)
{
    struct execution *e = arg;
    if (!taken(e, true, err)) {
        if (e->deleted) {
            run_jobs_reap_soon(e->jobs);
            return;
        }
        execution_try_again(e);
        job_starts_wake(e->job); /* who wanted it out of the way looks again */
        return;
    }
    bool queued = e->state == EXECUTION_QUEUED;
    cancelled(e);
    e->ends_as = EXECUTION_CANCELLED;
    if (e->state != EXECUTION_CANCELLING)
        execution_move(e, EXECUTION_CANCELLING);
    tell(e, NULL);
    execution_stop(e);
    if (queued)
        execution_go(e);
    execution_try_again(e);
}

int execution_cancel(struct execution *e, const struct execution_change *ch, struct err *err)
{
    if (may_change(e, err))
        return -(int)err->code;
    enum err_code code = e->code;
    char why[sizeof e->why];
    memcpy(why, e->why, sizeof why);
    cancelled(e);
    int rc = submit(e, EXECUTION_CANCELLING, ch, on_cancel_stored, err);
    e->code = code;
    memcpy(e->why, why, sizeof why);
    return rc;
}

/* ---- another go for its failed tasks */

static void next_round(struct execution *e)
{
    e->round++;
    e->code = ERR_OK;
    e->why[0] = '\0';
}

static void on_retry_stored(void *arg, const struct err *err)
{
    struct execution *e = arg;
    if (!taken(e, false, err)) {
        free(e->taken);
        e->taken = NULL;
        if (e->deleted)
            run_jobs_reap_soon(e->jobs);
        else
            job_advance(e->job);
        return;
    }
    next_round(e);
    e->ended_wall_ns = 0;
    e->count[TASK_FAILED] = e->count[TASK_CANCELLED] = 0;
    execution_move(e, e->change.queues ? EXECUTION_QUEUED : EXECUTION_PENDING);
    tell(e, NULL);
    if (e->state == EXECUTION_QUEUED)
        job_advance(e->job);
    else
        execution_go(e);
}

int execution_retry(struct execution *e, const struct execution_change *ch, struct err *err)
{
    if (may_change(e, err) || job_admits(e->job, &e->settings, err))
        return -(int)err->code;
    struct execution_change change = *ch;
    change.queues = job_full(e->job, &e->settings);
    if (!(e->taken = calloc(1, e->task_count / 8 + 1)))
        return err_set(err, ERR_RESOURCE_EXHAUSTED, "out of memory for the tasks of %s", e->id);
    enum err_code code = e->code;
    char why[sizeof e->why];
    memcpy(why, e->why, sizeof why);
    next_round(e);
    int rc = submit(e, change.queues ? EXECUTION_QUEUED : EXECUTION_PENDING, &change, on_retry_stored, err);
    e->round--;
    e->code = code;
    memcpy(e->why, why, sizeof why);
    if (rc) {
        free(e->taken);
        e->taken = NULL;
    }
    return rc;
}

/* ---- deletion */

void execution_freeze(struct execution *e, bool frozen)
{
    e->frozen = frozen;
    admission_leave(&e->jobs->x->admission, &e->claim);
    if (!frozen)
        execution_try_later(e);
}

void execution_removed(struct execution *e)
{
    struct err err;
    struct job *j = e->job;
    e->deleted = true;
    execution_count(e);
    job_unlist(j, e);
    list_remove(&e->jobs->active, &e->active_link);
    list_remove(&j->executions, &e->link);
    e->job = NULL;
    list_append(&e->jobs->leaving, &e->link);
    err_set(&err, ERR_ABORTED, "Execution %s was deleted.", e->id);
    for (size_t i = 0; i < e->n_operations; i++)
        operation_fail(e->operations[i].op, &err);
    e->n_operations = 0;
    job_starts_ended(e);
    job_starts_wake(j);
    execution_stop(e);
    run_jobs_reap_soon(e->jobs);
}

/** execution_load.c: an execution's tasks found again after a restart, or when its failed ones are taken up again: what its entries say. */
#include "executor/jobs_int.h"

#include <stdio.h>
#include <stdlib.h>

#define SCAN_ROWS 1000
#define SCAN_BYTES (4u << 20)

/* A walk through the entries of an execution. */
struct execution_scan {
    struct store_entries read;
    char key[STORE_ENTRY_KEY_MAX + 1]; /* of the last, whatever is there: cut, it would be read again and again */
};

/* False: out of memory. */
static bool recover(struct execution *e, const struct store_entry *row, const RECORD(TaskRecord) * r, struct arena *arena)
{
    /* What is written after this begins with all that was there, but for the attempt that is going on. */
    const RECORD(TaskAttempt) *last = r->attempts[r->n_attempts - 1];
    bool running = run_task_lane_state(row->lane) == TASK_RUNNING;
    RECORD(TaskRecord) past = *r;
    past.n_attempts -= running;
    past.result.len = 0;
    past.result_cut = false;
    char *bytes = arena_alloc(arena, runnel__run__v1__task_record__get_packed_size(&past) + 1);
    struct run_attempt *a = bytes ? run_attempt_new(e, run_attempt_index(e, row->key)) : NULL;
    if (!a)
        return false;
    a->number = last->attempt + !running;
    a->failures = r->round == e->round ? r->failures : 0;
    a->lost = r->lost;
    a->retried = run_task_lane_retried(row->lane) || !running;
    if (buf_add(&a->past, bytes, runnel__run__v1__task_record__pack(&past, (uint8_t *)bytes)))
        buf_clear(&a->past);
    a->begun_wall_ns = pb_timestamp_ns(last->start_time);
    execution_take_up(e, a->index);
    if (!running) {
        a->outcome = (int)last->outcome;
        execution_moved(e, TASK_WAITING, a->state = TASK_BACKOFF);
        run_attempt_backoff(a, row->due_wall_ns);
        return true;
    }
    struct exit_record exit;
    const uint64_t ticket[2] = {e->rec->list_id, (uint64_t)a->index << 32 | a->number};
    const struct exit_journal *journal = e->jobs->x->deps.journal;
    execution_moved(e, TASK_WAITING, a->state = TASK_RUNNING);
    run_attempt_recover(a, journal && exit_journal_find(journal, ticket, &exit) ? &exit : NULL);
    return true;
}

static bool ended_before(const struct execution *e, enum task_state s, const RECORD(TaskRecord) * r)
{
    return s == TASK_SUCCEEDED || ((s == TASK_FAILED || s == TASK_CANCELLED) && r->round == e->round);
}

static void take_ended(struct execution *e, enum task_state s, uint32_t index, const RECORD(TaskRecord) * r)
{
    execution_take_up(e, index);
    e->count[s]++;
    if (s != TASK_FAILED || e->code || r->n_attempts == 0)
        return;
    const RECORD(TaskAttempt) *last = r->attempts[r->n_attempts - 1];
    struct run_attempt like = {
        .index = index, .exit_code = last->exit_code, .code = last->outcome == OUTCOME(TIMED_OUT) ? ERR_DEADLINE_EXCEEDED : ERR_ABORTED};
    snprintf(like.why, sizeof like.why, "%s", last->message);
    execution_failure(e, &like);
}

/* False: out of memory. */
static bool take_row(struct execution *e, const struct store_entry *row)
{
    uint32_t index = run_attempt_index(e, row->key);
    struct arena *a = arena_new(4u << 20);
    RECORD(TaskRecord) *r = a ? pb_unpack(a, RECORD_DESC(task_record), row->body) : NULL;
    enum task_state s = run_task_lane_state(row->lane);
    bool ok = a != NULL;
    if (r && index < e->task_count && !execution_has_taken(e, index)) {
        if (ended_before(e, s, r))
            take_ended(e, s, index, r);
        else if ((s == TASK_RUNNING || s == TASK_BACKOFF) && r->n_attempts)
            ok = recover(e, row, r, a);
        e->retried += ok && (run_task_lane_retried(row->lane) || s == TASK_BACKOFF);
    } else if (ok && !r) { /* damaged: it begins again */
        log_kv(e->jobs->env->log, LOG_ERROR, "task.not_loaded", LSTR("execution", e->name), LSTR("task", row->key));
    }
    if (a)
        arena_free(a);
    return ok;
}

static void try_later(struct execution *e, const char *why)
{
    log_kv(e->jobs->env->log, LOG_ERROR, "execution.not_loaded", LSTR("execution", e->name), LSTR("error", why),
           LSTR("do", "trying again in a second"));
    e->scan_waits = true;
    execution_try_later(e);
}

static void finish(struct execution *e)
{
    free(e->scan);
    e->scan = NULL;
}

static void scan(struct execution *e);

static void on_scan(struct store_entries *s, const struct err *err)
{
    struct execution *e = s->arg;
    e->busy--;
    if (e->deleted || e->jobs->x->stopping) {
        finish(e);
        run_jobs_reap_soon(e->jobs);
        return;
    }
    size_t i = 0;
    for (; !err && i < s->n && take_row(e, &s->rows[i]); i++)
        snprintf(e->scan->key, sizeof e->scan->key, "%s", s->rows[i].key);
    if (err || i < s->n) {
        try_later(e, err ? err->msg : "out of memory");
        return;
    }
    if (s->n > 0) {
        scan(e);
        return;
    }
    finish(e);
    e->loading = false;
    if (e->state == EXECUTION_CANCELLING)
        execution_stop(e);
    execution_attempt_ended(e, NULL);
}

/* The tasks behind the last one that was read. */
static void scan(struct execution *e)
{
    e->scan_waits = false;
    if (!e->scan && !(e->scan = calloc(1, sizeof *e->scan))) {
        try_later(e, "out of memory");
        return;
    }
    e->scan->read = (struct store_entries){.by = STORE_KEYS,
                                           .list_id = e->rec->list_id,
                                           .lane_max = TASK_LANE_MAX,
                                           .key = e->scan->key,
                                           .max_count = SCAN_ROWS,
                                           .max_bytes = SCAN_BYTES,
                                           .done = on_scan,
                                           .arg = e};
    e->busy++;
    e->jobs->x->deps.store->ops->entries(e->jobs->x->deps.store, &e->scan->read);
}

void execution_load_on(struct execution *e)
{
    if (e->scan_waits)
        scan(e);
}

void execution_load(struct execution *e)
{
    e->loading = true;
    e->retried = e->n_taken = e->next = 0;
    memset(e->count, 0, sizeof e->count);
    execution_activate(e);
    scan(e);
}

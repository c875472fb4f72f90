/* queue_settle.c: an attempt of a task: begun, answered, and what follows: the end, a retry, a dead letter. */
#include "broker/queue_int.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define NOTE_MAX 400
#define REASON_MAX 500
typedef Google__Cloud__Tasks__V2__Attempt Attempt;
typedef Google__Protobuf__Timestamp Timestamp;
typedef Runnel__Broker__TaskEvent TaskEvent;

/* Microseconds, as Google has them. */
static Timestamp timestamp(int64_t wall_ns)
{
    Timestamp ts = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
    ts.seconds = wall_ns / NS_PER_S;
    ts.nanos = (int32_t)(wall_ns % NS_PER_S / NS_PER_US * NS_PER_US);
    return ts;
}

static TaskEvent event(int kind, int64_t wall_ns)
{
    TaskEvent ev = RUNNEL__BROKER__TASK_EVENT__INIT;
    ev.kind = (Runnel__Broker__TaskEvent__Kind)kind;
    ev.wall_ns = wall_ns;
    return ev;
}

/* ---- begun ---- */

/* What readers see while it runs. */
static void record_begin(struct attempt *a)
{
    Google__Cloud__Tasks__V2__Task *task = a->record->task;
    google__cloud__tasks__v2__attempt__init(&a->last);
    google__cloud__tasks__v2__attempt__init(&a->first);
    a->scheduled = timestamp(task_due(a->task));
    a->dispatched = timestamp(a->start_wall_ns);
    a->last.schedule_time = &a->scheduled;
    a->last.dispatch_time = &a->dispatched;
    a->first.dispatch_time = &a->dispatched;
    a->last_before = task->last_attempt;
    task->last_attempt = &a->last;
    if (!task->first_attempt)
        task->first_attempt = &a->first;
    task->dispatch_count++;
}

static void record_restore(struct attempt *a)
{
    Google__Cloud__Tasks__V2__Task *task = a->record->task;
    task->last_attempt = a->last_before;
    if (task->first_attempt == &a->first)
        task->first_attempt = NULL;
    task->dispatch_count--;
}

static int64_t deadline_of(const TaskRecord *r)
{
    int64_t ns = pb_duration_ns(r->task->dispatch_deadline);
    return ns > 0 ? ns : QUEUE_DEADLINE_NS;
}

int attempt_begin(struct task *t, bool forced, struct err *e)
{
    struct queue *q = t->queue;
    struct attempt *a = calloc(1, sizeof *a);
    struct arena *arena = task_arena(t->body_n);
    TaskRecord *r = arena ? pb_unpack(arena, &runnel__broker__task_record__descriptor, (struct str){t->body, t->body_n}) : NULL;
    if (!a || !r || fair_hold(t, e)) {
        free(a);
        arena_free(arena);
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory to run task %s", t->id);
    }
    a->task = t;
    a->arena = arena;
    a->record = r;
    a->forced = forced;
    a->start_ns = env_now(q->env);
    a->start_wall_ns = a->requested_wall_ns = env_wall(q->env);
    record_begin(a);
    a->run = (struct task_run){q, r, (uint32_t)r->task->dispatch_count, a->start_ns + deadline_of(r), NULL};
    t->attempt = a;
    q->running_bytes += t->body_n;
    task_move(t, TASK_RUNNING);
    return 0;
}

void attempt_free(struct attempt *a)
{
    if (!a)
        return;
    arena_free(a->arena);
    free(a);
}

/* ---- the record after an attempt ---- */

/* How it is said to clients: UNAVAILABLE(14): HTTP status code 503. */
static int status_of(const struct task_outcome *o, char message[NOTE_MAX])
{
    bool timeout = o->status == 0 && o->err.code == ERR_DEADLINE_EXCEEDED;
    int http = timeout ? 504 : o->status;
    if (http) {
        int code = task_status_code(http);
        snprintf(message, NOTE_MAX, "%s(%d): HTTP status code %d", task_status_name(code), code, http);
        return code;
    }
    int code = o->err.code == ERR_OK ? ERR_UNAVAILABLE : (int)o->err.code;
    snprintf(message, NOTE_MAX, "%s(%d): %s", task_status_name(code), code, o->err.msg);
    return code;
}

/* Everything that the new record has of its own, for as long as it takes to pack it. */
struct retold {
    TaskRecord record;
    Google__Cloud__Tasks__V2__Task task;
    Attempt first, last;
    Timestamp dispatched, responded, scheduled;
    Google__Rpc__Status status;
    TaskEvent requested, attempt, dead;
    TaskEvent *events[QUEUE_TIMELINE_MAX];
    char note[NOTE_MAX];
};

static void retell_task(struct retold *n, const struct attempt *a, const struct task_outcome *o)
{
    n->record = *a->record;
    n->task = *a->record->task;
    n->record.task = &n->task;
    n->first = a->first;
    n->last = a->last;
    n->dispatched = o->sent_wall_ns ? timestamp(o->sent_wall_ns) : a->dispatched;
    n->first.dispatch_time = n->last.dispatch_time = &n->dispatched;
    n->responded = timestamp(env_wall(a->run.queue->env));
    n->last.response_time = &n->responded;
    google__rpc__status__init(&n->status);
    n->status.code = status_of(o, n->note);
    n->status.message = n->note;
    n->last.response_status = &n->status;
    n->task.last_attempt = &n->last;
    if (n->task.first_attempt == &a->first)
        n->task.first_attempt = &n->first;
    n->task.response_count += o->status != 0;
    n->record.executions += task_counts_as_execution(o->status);
    n->record.last_status = o->status == 0 && o->err.code == ERR_DEADLINE_EXCEEDED ? 504 : o->status;
}

static void retell_events(struct retold *n, const struct attempt *a)
{
    if (a->forced) {
        n->requested = event(RUNNEL__BROKER__TASK_EVENT__KIND__RUN_REQUESTED, a->requested_wall_ns);
        record_add_event(&n->record, &n->requested, n->events);
    }
    n->attempt = event(RUNNEL__BROKER__TASK_EVENT__KIND__ATTEMPT, a->start_wall_ns);
    n->attempt.attempt = a->run.attempt;
    n->attempt.status = n->record.last_status;
    n->attempt.took_ns = env_now(a->run.queue->env) - a->start_ns;
    n->attempt.note = n->note;
    record_add_event(&n->record, &n->attempt, n->events);
}

/* ---- what follows ---- */

void task_die(struct task *t, const TaskRecord *r, const char *reason)
{
    struct queue *q = t->queue;
    struct err e;
    int64_t wall_ns = env_wall(q->env);
    bool kept = q->config.dead_keep_ns > 0 && q->config.dead_max > 0;
    TaskRecord dead = *r;
    TaskEvent ev = event(RUNNEL__BROKER__TASK_EVENT__KIND__DEAD, wall_ns), *room[QUEUE_TIMELINE_MAX];
    ev.note = dead.dead_reason = (char *)(uintptr_t)reason;
    ev.attempt = (uint32_t)r->task->dispatch_count;
    dead.dead_wall_ns = wall_ns;
    record_add_event(&dead, &ev, room);
    log_kv(q->env->log, LOG_WARN, "task.dead", LSTR("queue", q->name), LSTR("task", t->id), LSTR("reason", reason),
           LINT("attempts", r->task->dispatch_count), LINT("last_status", r->last_status), LBOOL("kept", kept));
    t->dead_until_wall_ns = wall_ns + q->config.dead_keep_ns;
    if (kept && task_set_body(t, &dead, &e))
        log_kv(q->env->log, LOG_ERROR, "queue.memory", LSTR("queue", q->name), LSTR("error", e.msg),
               LSTR("what", "a dead letter without its last attempt"));
    task_end(t, kept ? END_DEAD : END_EXHAUSTED);
}

static void retry_at(struct task *t, TaskRecord *r, int64_t due_wall_ns)
{
    struct err e;
    Timestamp scheduled = timestamp(due_wall_ns), *before = r->task->schedule_time;
    r->task->schedule_time = &scheduled;
    if (task_set_body(t, r, &e)) /* it comes again all the same, and has forgotten this attempt */
        log_kv(t->queue->env->log, LOG_ERROR, "queue.memory", LSTR("queue", t->queue->name), LSTR("error", e.msg));
    r->task->schedule_time = before;
    task_set_due(t, due_wall_ns);
}

/* Back to the tasks that wait, written; or to its end, when somebody ended it while it ran. */
static void wait_again(struct task *t)
{
    if (t->end) {
        if (!t->writing)
            task_write(t);
        return;
    }
    task_write(t);
    task_move(t, TASK_WAITING);
}

static bool dies(const struct task *t, const struct retold *n, char reason[REASON_MAX])
{
    const struct queue_config *c = &t->queue->config;
    int64_t wall_ns = env_wall(t->queue->env), first_wall_ns = pb_timestamp_ns(n->task.first_attempt->dispatch_time);
    uint32_t attempts = (uint32_t)n->task.dispatch_count;
    if (task_exhausted(c->max_attempts, c->max_retry_ns, attempts, wall_ns - first_wall_ns))
        snprintf(reason, REASON_MAX, "out of attempts after %u; the last: %s", attempts, n->note);
    else if (wall_ns >= task_life_end(t))
        snprintf(reason, REASON_MAX, "older than 31 days; the last attempt: %s", n->note);
    else
        return false;
    return true;
}

static void tell_failed(struct task *t, const struct retold *n)
{
    struct queue *q = t->queue;
    uint64_t failures = log_seldom(&q->log_failed, env_now(q->env));
    if (failures)
        log_kv(q->env->log, LOG_WARN, "task.failing", LSTR("queue", q->name), LSTR("task", t->id), LSTR("error", n->note),
               LINT("attempt", n->task.dispatch_count), LINT("failures", failures));
}

static void failed(struct task *t, struct attempt *a, const struct task_outcome *o)
{
    const struct queue_config *c = &t->queue->config;
    struct retold n = {0};
    char reason[REASON_MAX];
    retell_task(&n, a, o);
    retell_events(&n, a);
    t->tried = true;
    if (!t->end)
        tell_failed(t, &n);
    if (!t->end && dies(t, &n, reason)) {
        task_die(t, &n.record, reason);
        return;
    }
    int64_t wait_ns = task_backoff_ns(c->min_backoff_ns, c->max_backoff_ns, c->max_doublings, (uint32_t)n.task.dispatch_count);
    /* Google's rule: of a run that was asked for, it counts from when it was asked. */
    n.attempt.next_wall_ns = (a->forced ? a->requested_wall_ns : env_wall(t->queue->env)) + wait_ns;
    retry_at(t, &n.record, n.attempt.next_wall_ns);
    wait_again(t);
}

static void count_ended(struct queue *q)
{
    int64_t now_s = env_now(q->env) / NS_PER_S;
    for (int64_t s = now_s - q->ended_s < 60 ? q->ended_s + 1 : now_s - 59; s <= now_s; s++)
        q->ended[s % 60] = 0;
    q->ended_s = now_s;
    q->ended[now_s % 60]++;
}

static void succeeded(struct task *t)
{
    count_ended(t->queue);
    t->end = END_DONE; /* whoever removes it has what they wanted, too */
    task_write(t);
}

/* It leaves nothing in the task, so it must be seen elsewhere; but not what was called off. */
static void tell_undelivered(struct task *t, const struct err *why)
{
    struct queue *q = t->queue;
    if (q->stopped || t->end)
        return;
    queue_metrics_undelivered(q);
    uint64_t attempts = log_seldom(&q->log_undelivered, env_now(q->env));
    if (attempts)
        log_kv(q->env->log, LOG_WARN, "task.undelivered", LSTR("queue", q->name), LSTR("task", t->id), LSTR("error", why->msg),
               LINT("attempts", attempts), LSTR("note", "tried again each second; none of these counts as an attempt"));
}

static void undelivered(struct task *t, struct attempt *a, const struct err *why)
{
    tell_undelivered(t, why);
    record_restore(a);
    retry_at(t, a->record, env_wall(t->queue->env) + QUEUE_AGAIN_NS);
    record_begin(a); /* attempt_free expects it so */
    wait_again(t);
}

static void follow(struct task *t, struct attempt *a, const struct task_outcome *o)
{
    if (o->undelivered)
        undelivered(t, a, &o->err);
    else if (o->status >= 200 && o->status <= 299)
        succeeded(t);
    else
        failed(t, a, o);
}

void queue_settle(struct task_run *run, const struct task_outcome *o)
{
    struct attempt *a = CONTAINER_OF(run, struct attempt, run);
    struct task *t = a->task;
    struct queue *q = run->queue;
    assert(t->state == TASK_RUNNING && t->attempt == a);
    q->running_bytes -= t->body_n;
    if (!o->undelivered) {
        queue_metrics_attempt(q, o->status);
        task_throttle_answer(&q->throttle, o->status, o->retry_after_ns, env_now(q->env));
    }
    task_move(t, TASK_ENDING); /* until it is decided */
    t->attempt = NULL;
    if (t->gone || (q->deleting && !t->writing))
        task_drop(t);
    else if (!q->deleting) /* else it goes when its write is done */
        follow(t, a, o);
    attempt_free(a);
    queue_wake(q);
    queue_maybe_free(q);
}

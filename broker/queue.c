/* queue.c: a task queue from outside: made, loaded, configured, deleted; tasks created, removed, run; the one timer. */
#include "broker/queue_int.h"

#include <assert.h>
#include <stdlib.h>

/* ---- one look at everything ---- */

static int64_t sooner(int64_t a, int64_t b) { return a < b ? a : b; }

static int64_t mono_of(const struct queue *q, int64_t wall_ns)
{
    int64_t wait_ns;
    if (__builtin_sub_overflow(wall_ns, env_wall(q->env), &wait_ns) || wait_ns > QUEUE_SLEEP_NS)
        wait_ns = QUEUE_SLEEP_NS;
    return env_now(q->env) + (wait_ns > 0 ? wait_ns : 0);
}

static int64_t next_sweep(const struct queue *q)
{
    int64_t wall_ns = sooner(q->names_wall_ns, q->dead_wall_ns);
    return wall_ns < INT64_MAX - QUEUE_SWEEP_NS ? mono_of(q, wall_ns + QUEUE_SWEEP_NS) : TIMER_NEVER;
}

static void set_timer(struct queue *q, int64_t due_ns)
{
    struct err e;
    if (timer_set(q->env->timers, &q->timer, due_ns, &e))
        log_kv(q->env->log, LOG_ERROR, "queue.timer", LSTR("queue", q->name), LSTR("error", e.msg));
}

static void sleep_until_next(struct queue *q)
{
    if (timer_armed(&q->timer))
        return; /* something wants another look at once */
    int64_t next_ns = q->job || q->again_ns ? TIMER_NEVER : next_sweep(q);
    int64_t due_wall_ns = q->config.paused ? INT64_MAX : window_next_due(q);
    if (q->again_ns)
        next_ns = sooner(next_ns, q->again_ns);
    if (q->blocked_ns)
        next_ns = sooner(next_ns, q->blocked_ns);
    bool stuck = q->again_ns && due_wall_ns <= env_wall(q->env); /* it is due, but there was no memory for it */
    if (due_wall_ns < INT64_MAX && !stuck)
        next_ns = sooner(next_ns, mono_of(q, due_wall_ns));
    if (next_ns != TIMER_NEVER)
        set_timer(q, next_ns);
}

static void look(struct timer *t, int64_t now_ns)
{
    struct queue *q = CONTAINER_OF(t, struct queue, timer);
    if (q->deleting) {
        queue_maybe_free(q);
        return;
    }
    if (q->again_ns && now_ns >= q->again_ns) {
        q->again_ns = 0;
        tasks_write_again(q);
    }
    if (q->stopped)
        return;
    if (!q->config.paused)
        window_promote(q);
    ready_pump(q);
    window_refill(q);
    jobs_go(q);
    sleep_until_next(q);
}

void queue_wake(struct queue *q)
{
    if (!timer_armed(&q->timer) || q->timer.due_ns > env_now(q->env))
        set_timer(q, env_now(q->env));
}

void queue_again(struct queue *q)
{
    if (!q->again_ns)
        q->again_ns = env_now(q->env) + QUEUE_AGAIN_NS;
}

void queue_clock_jumped(struct queue *q) { queue_wake(q); }

/* ---- lifecycle ---- */

static void lanes_free(struct queue *q)
{
    for (size_t i = 0; i < QUEUE_LANES; i++)
        free(q->lanes[i]);
}

static void map_of_tasks_free(struct map *tasks)
{
    size_t it = 0;
    void *v;
    while (tasks && map_next(tasks, &it, NULL, &v)) {
        struct task *t = v;
        attempt_free(t->attempt);
        free(t->body);
        free(t);
    }
    map_free(tasks);
}

static void tasks_free(struct queue *q)
{
    map_of_tasks_free(q->tasks);
    map_of_tasks_free(q->creating);
    size_t it = 0;
    void *v;
    for (it = 0; q->hosts && map_next(q->hosts, &it, NULL, &v);)
        free(v);
    map_free(q->hosts);
}

void queue_free(struct queue *q)
{
    if (!q)
        return;
    timer_cancel(q->env->timers, &q->timer);
    tasks_free(q);
    ready_free(q);
    lanes_free(q);
    jobs_free(q);
    for (struct node *n; (n = list_pop(&q->asks));)
        free(CONTAINER_OF(n, struct ask, link));
    queue_metrics_drop(q);
    free(q->name);
    free(q);
}

static void lists_init(struct queue *q)
{
    for (size_t i = 0; i < QUEUE_PRIORITIES; i++)
        list_init(&q->rings[i]);
    list_init(&q->unwritten);
    list_init(&q->asks);
    list_init(&q->jobs);
}

struct queue *queue_new(const struct queue_deps *d, const char *name, uint64_t list_id, const struct queue_config *c, struct err *e)
{
    struct queue *q = calloc(1, sizeof *q);
    if (!q) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for queue %s", name);
        return NULL;
    }
    q->env = d->env;
    q->store = d->store;
    q->consumer = d->consumer;
    q->list_id = list_id;
    q->config = *c;
    q->names_wall_ns = q->dead_wall_ns = INT64_MAX;
    q->window_tasks = QUEUE_WINDOW_TASKS;
    q->page_tasks = QUEUE_PAGE_TASKS;
    timer_init(&q->timer, look);
    lists_init(q);
    q->name = strdup(name);
    q->tasks = map_new(QUEUE_TASKS_IN_MEMORY_MAX);
    q->creating = map_new(QUEUE_TASKS_IN_MEMORY_MAX);
    q->fairs = map_new(QUEUE_TASKS_IN_MEMORY_MAX);
    q->hosts = map_new(QUEUE_TASKS_IN_MEMORY_MAX);
    if (!q->name || !q->tasks || !q->creating || !q->fairs || !q->hosts) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for queue %s", name);
        queue_free(q);
        return NULL;
    }
    task_bucket_init(&q->bucket, c->burst, env_now(q->env));
    task_throttle_init(&q->throttle, env_now(q->env));
    queue_metrics_init(q, d->metrics);
    return q;
}

static int on_lane(void *arg, uint32_t number, uint64_t count, struct err *e)
{
    struct queue *q = arg;
    if (number == LANE_DEAD) {
        q->dead = count;
        q->dead_wall_ns = 0; /* the sweep finds out when the first one goes */
    }
    if (number == LANE_NAME)
        q->names_wall_ns = 0;
    if (number >= QUEUE_LANES)
        return 0;
    struct lane *l = lane_need(q, number);
    if (!l)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the tasks of queue %s", q->name);
    l->whole = false;
    l->edge_wall_ns = INT64_MIN;
    q->live += count;
    return 0;
}

int queue_load(struct queue *q, struct err *e)
{
    int rc = q->store->ops->load_lanes(q->store, q->list_id, on_lane, q, e);
    if (rc == 0 && q->config.purged_wall_ns && q->live)
        jobs_purge(q, true);
    queue_wake(q);
    return rc;
}

/* Those in memory that the purge takes: what the store has just as it is here goes with the sweep. */
static void purge_memory(struct queue *q)
{
    size_t it = 0;
    void *v;
    uint64_t kept = 0;
    while (map_next(q->tasks, &it, NULL, &v)) {
        struct task *t = v;
        bool waits = t->state == TASK_WAITING || t->state == TASK_READY;
        if (t->state == TASK_NEW || t->end)
            continue;
        if (t->created_wall_ns >= q->config.purged_wall_ns) {
            kept++;
        } else if (waits && !task_pinned(t)) {
            task_drop(t);
        } else {
            if (waits)
                task_move(t, TASK_ENDING);
            task_end(t, END_PURGED);
        }
    }
    q->doomed = q->live > kept ? q->live - kept : 0;
}

void queue_configure(struct queue *q, const struct queue_config *c)
{
    struct queue_config before = q->config;
    q->config = *c;
    if (before.paused && !c->paused)
        task_throttle_cool(&q->throttle, env_now(q->env));
    if (c->purged_wall_ns > before.purged_wall_ns) {
        purge_memory(q);
        jobs_purge(q, false);
    }
    if (q->dead > c->dead_max)
        q->dead_wall_ns = 0;
    ready_limits_changed(q);
    queue_wake(q);
}

void queue_stop(struct queue *q)
{
    q->stopped = true;
    jobs_cancel(q);
}

const char *queue_name(const struct queue *q) { return q->name; }

int64_t queue_latest_wall(const struct queue *q)
{
    int64_t wall_ns = env_wall(q->env), came_ns = not_purged(q, q->came_wall_ns);
    return wall_ns > came_ns ? wall_ns : came_ns;
}

/* ---- deletion ---- */

static void submit_drop(struct queue *q);

static void on_dropped(void *arg, const struct err *e)
{
    struct queue *q = arg;
    q->in_store--;
    if (e) {
        log_kv(q->env->log, LOG_WARN, "queue.delete", LSTR("queue", q->name), LSTR("error", e->msg),
               LSTR("do", "trying again in a second"));
        set_timer(q, env_now(q->env) + QUEUE_AGAIN_NS);
        return;
    }
    q->dropped = true;
    q->deleted(q->deleted_arg, NULL);
    queue_maybe_free(q);
}

static void submit_drop(struct queue *q)
{
    struct err e;
    struct store_txn *t = store_txn_new();
    q->in_store++;
    if (t && store_txn_entries_drop(t, q->list_id, &e) == 0) {
        store_submit(q->store, t, on_dropped, q);
        return;
    }
    store_txn_free(t);
    on_dropped(q, &(struct err){.code = ERR_RESOURCE_EXHAUSTED, .msg = "out of memory to delete a queue"});
}

/* Freed from its own timer only, so that nobody up the stack holds it. */
void queue_maybe_free(struct queue *q)
{
    bool busy = q->in_store || q->states[TASK_RUNNING] || timer_armed(&q->timer);
    if (!q->deleting || busy)
        return;
    if (!q->dropped)
        submit_drop(q);
    else
        queue_free(q);
}

static void cancel_tasks(struct queue *q)
{
    size_t it = 0;
    void *v;
    struct err e = {0};
    queue_ending(q, &e);
    while (map_next(q->tasks, &it, NULL, &v)) {
        struct task *t = v;
        queue_done_fn done = t->state == TASK_NEW ? NULL : t->done;
        if (done) {
            t->done = NULL;
            done(t->done_arg, NULL, &e);
        }
        if (t->state == TASK_RUNNING)
            q->consumer->cancel(q->consumer, &t->attempt->run);
        else if (!t->writing && t->state != TASK_NEW) /* a new one is of the job that brings it back */
            task_drop(t);
    }
}

void queue_delete(struct queue *q, void (*done)(void *arg, const struct err *e), void *arg)
{
    assert(!q->deleting);
    q->deleting = q->stopped = true;
    q->deleted = done;
    q->deleted_arg = arg;
    timer_cancel(q->env->timers, &q->timer);
    jobs_cancel(q);
    submit_drop(q);
    cancel_tasks(q);
}

/* ---- tasks ---- */

static bool refused(struct queue *q, queue_done_fn done, void *arg)
{
    struct err e = {0};
    if (q->stopped && queue_ending(q, &e))
        done(arg, NULL, &e);
    return q->stopped;
}

static struct task *prepare(struct queue *q, const TaskRecord *r, struct err *e)
{
    const char *id = record_id(r);
    if (map_get(q->tasks, id) || map_get(q->creating, id)) {
        err_set(e, ERR_ALREADY_EXISTS, "Requested entity already exists");
        return NULL;
    }
    struct task *t = task_new(q, q->creating, r, pb_timestamp_ns(r->task->schedule_time), e);
    if (t && task_set_body(t, r, e)) {
        task_drop(t);
        return NULL;
    }
    return t;
}

void queue_create(struct queue *q, TaskRecord *r, queue_done_fn done, void *arg)
{
    struct err e = {0};
    if (refused(q, done, arg))
        return;
    if (r->n_events)
        r->events[0]->wall_ns = not_purged(q, r->events[0]->wall_ns);
    struct task *t = prepare(q, r, &e);
    if (!t) {
        done(arg, NULL, &e);
        return;
    }
    t->made = r;
    t->done = done;
    t->done_arg = arg;
    task_write(t);
}

struct queue_stats queue_stats(const struct queue *q)
{
    const int64_t now_ns = env_now(q->env), now_s = now_ns / NS_PER_S;
    struct queue_stats s = {
        .tasks = q->live - q->doomed,
        .dead = q->dead,
        .waiting = q->states[TASK_WAITING],
        .ready = q->states[TASK_READY],
        .running = q->states[TASK_RUNNING],
        .rate_per_s = now_ns < q->throttle.paused_until_ns ? 0 : q->config.rate_per_s * q->throttle.factor,
    };
    int64_t oldest = window_next_due(q);
    for (size_t i = 0; i < QUEUE_LANES; i++) {
        const struct due_node *n = q->lanes[i] ? due_first(&q->lanes[i]->ready) : NULL;
        oldest = n && n->due_wall_ns < oldest ? n->due_wall_ns : oldest;
    }
    s.oldest_due_wall_ns = oldest < INT64_MAX ? oldest : 0;
    for (int64_t at = now_s - 59; at <= q->ended_s && at <= now_s; at++)
        s.ended_last_minute += at < 0 ? 0 : q->ended[at % 60];
    return s;
}

void queue_backlog(const struct queue *q, void (*each)(void *arg, struct str host, uint64_t count), void *arg)
{
    size_t it = 0;
    void *v;
    while (map_next(q->hosts, &it, NULL, &v)) {
        const struct host *h = v;
        if (h->due && *h->name)
            each(arg, str_of(h->name), h->due);
    }
}

/* queue_ready.c: whose turn it is: priorities strictly, inside one its fair keys in a ring, inside a key by due time; and how many
 * may start: rate, concurrency, what slows the queue. */
#include "broker/queue_int.h"

#include <assert.h>
#include <stdlib.h>

/* ---- keys and turns ---- */

static struct fair *fair_need(struct queue *q, const char *key)
{
    struct fair *f = map_get(q->fairs, key);
    if (f)
        return f;
    size_t n = strlen(key) + 1;
    f = calloc(1, sizeof *f + n);
    if (!f)
        return NULL;
    f->key = memcpy(f + 1, key, n);
    if (map_put(q->fairs, key, f, NULL)) {
        free(f);
        return NULL;
    }
    return f;
}

static void fair_drop_unused(struct queue *q, struct fair *f)
{
    if (f->running)
        return;
    for (size_t i = 0; i < QUEUE_PRIORITIES; i++)
        if (f->turns[i])
            return;
    map_remove(q->fairs, f->key);
    free(f);
}

static bool limited(const struct queue *q, const struct fair *f)
{
    return *f->key && q->config.key_concurrent && f->running >= q->config.key_concurrent;
}

/* In the ring exactly when it has a task that its key allows to run. */
static void turn_update(struct queue *q, struct turn *turn)
{
    struct list *ring = &q->rings[turn->priority];
    bool wanted = turn->ready.count && !limited(q, turn->fair);
    if (wanted && !node_linked(&turn->link))
        list_append(ring, &turn->link);
    if (!wanted)
        list_remove(ring, &turn->link);
    if (turn->ready.count)
        return;
    turn->fair->turns[turn->priority] = NULL;
    free(turn);
}

static void fair_update(struct queue *q, struct fair *f)
{
    for (size_t i = 0; i < QUEUE_PRIORITIES; i++)
        if (f->turns[i])
            turn_update(q, f->turns[i]);
    fair_drop_unused(q, f);
}

static int join_fair(struct task *t, struct err *e)
{
    if (!t->fair)
        t->fair = fair_need(t->queue, t->fair_key);
    return t->fair ? 0 : err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the fair key of task %s", t->id);
}

static struct turn *turn_need(struct fair *f, uint32_t priority)
{
    struct turn *turn = f->turns[priority];
    if (turn)
        return turn;
    turn = calloc(1, sizeof *turn);
    if (!turn)
        return NULL;
    node_init(&turn->link);
    turn->fair = f;
    turn->priority = priority;
    return f->turns[priority] = turn;
}

int ready_join(struct task *t, struct err *e)
{
    int rc = join_fair(t, e);
    if (rc)
        return rc;
    struct turn *turn = turn_need(t->fair, t->priority);
    if (!turn) {
        fair_drop_unused(t->queue, t->fair);
        t->fair = NULL;
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the turn of task %s", t->id);
    }
    due_insert(&turn->ready, &t->in_turn, rng_u64(t->queue->env->rng));
    turn_update(t->queue, turn);
    return 0;
}

void ready_leave(struct task *t)
{
    struct turn *turn = t->fair->turns[t->priority];
    due_remove(&turn->ready, &t->in_turn);
    turn_update(t->queue, turn);
    struct fair *f = t->fair;
    if (!t->attempt)
        t->fair = NULL;
    fair_drop_unused(t->queue, f);
}

int fair_hold(struct task *t, struct err *e) { return join_fair(t, e); }

void fair_enter(struct task *t)
{
    assert(t->fair && t->attempt);
    t->fair->running++;
    fair_update(t->queue, t->fair);
}

void fair_leave(struct task *t)
{
    struct fair *f = t->fair;
    assert(f->running);
    f->running--;
    t->fair = NULL;
    fair_update(t->queue, f);
}

void ready_limits_changed(struct queue *q)
{
    size_t it = 0;
    void *f;
    while (map_next(q->fairs, &it, NULL, &f))
        fair_update(q, f);
}

void ready_free(struct queue *q)
{
    size_t it = 0;
    void *v;
    while (q->fairs && map_next(q->fairs, &it, NULL, &v)) {
        struct fair *f = v;
        for (size_t i = 0; i < QUEUE_PRIORITIES; i++)
            free(f->turns[i]);
        free(f);
    }
    map_free(q->fairs);
}

/* ---- starting ---- */

/* The next one by priority and turn; NULL: none, or a page may have one that goes before. */
static struct turn *next_turn(struct queue *q)
{
    for (uint32_t p = QUEUE_PRIORITIES; p-- > 0;) {
        struct node *n = list_first(&q->rings[p]);
        if (n)
            return CONTAINER_OF(n, struct turn, link);
        if (window_hungry(q, p))
            return NULL;
    }
    return NULL;
}

/* False: nothing may start now; blocked_ns says when it may, if time alone helps. */
static bool may_start(struct queue *q, int64_t now_ns)
{
    double factor;
    uint32_t warm_max;
    int64_t until_ns;
    size_t running = q->states[TASK_RUNNING];
    if (running >= q->config.concurrent || (running && q->running_bytes >= QUEUE_RUNNING_BYTES))
        return false;
    if (!task_throttle_allows(&q->throttle, now_ns, &factor, &warm_max, &until_ns)) {
        q->blocked_ns = until_ns;
        return false;
    }
    if (running >= warm_max) {
        q->blocked_ns = now_ns + TASK_WARM_STEP_NS;
        return false;
    }
    return task_bucket_take(&q->bucket, q->config.rate_per_s * factor, q->config.burst, now_ns, &q->blocked_ns);
}

/* Its turn ends: the next key. */
static void rotate(struct queue *q, struct turn *turn)
{
    struct list *ring = &q->rings[turn->priority];
    list_remove(ring, &turn->link);
    list_append(ring, &turn->link);
}

void ready_pump(struct queue *q)
{
    int64_t now_ns = env_now(q->env);
    struct turn *turn;
    struct err e;
    q->blocked_ns = 0;
    while (!q->stopped && !q->config.paused && (turn = next_turn(q)) && may_start(q, now_ns)) {
        struct task *t = CONTAINER_OF(due_first(&turn->ready), struct task, in_turn);
        rotate(q, turn);
        queue_metrics_late(q, env_wall(q->env) - task_due(t));
        if (attempt_begin(t, false, &e)) {
            log_kv(q->env->log, LOG_ERROR, "queue.memory", LSTR("queue", q->name), LSTR("error", e.msg));
            q->blocked_ns = now_ns + QUEUE_AGAIN_NS;
            return;
        }
        q->consumer->start(q->consumer, &t->attempt->run);
    }
}

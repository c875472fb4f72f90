/* queue_window.c: what of a lane is in memory: all that is due up to its edge; the rest is read when room comes.
 * A task beyond the edge is in memory only while it must be: it runs, the store has an older version of it, or a page that may
 * or may not have it is on its way. While a page is on its way nothing of its lane leaves memory but by ending. */
#include "broker/queue_int.h"

#include <assert.h>
#include <stdlib.h>

#define EVICT_LOOKS_MAX 64 /* at tasks that must stay, before it is given up until the next one comes */

static size_t count(const struct lane *l) { return l->waiting.count + l->ready.count; }

struct lane *lane_need(struct queue *q, uint32_t number)
{
    assert(number < QUEUE_LANES);
    struct lane *l = q->lanes[number];
    if (!l && (l = calloc(1, sizeof *l))) {
        l->queue = q;
        l->number = number;
        l->whole = true; /* nothing of it is in the store: queue_load says otherwise */
        q->lanes[number] = l;
    }
    return l;
}

static bool within(const struct lane *l, const struct due_node *n)
{
    return l->whole || due_compare(n->due_wall_ns, n->key, l->edge_wall_ns, l->edge_key) <= 0;
}

static void set_edge(struct lane *l, int64_t due_wall_ns, const char *key)
{
    size_t n = strlen(key);
    assert(n <= STORE_ENTRY_KEY_MAX);
    l->whole = false;
    l->edge_wall_ns = due_wall_ns;
    memcpy(l->edge_key, key, n + 1);
}

/* ---- out of memory again ---- */

static struct due_node *later(struct due_node *a, struct due_node *b)
{
    if (!a || !b)
        return a ? a : b;
    return due_compare(a->due_wall_ns, a->key, b->due_wall_ns, b->key) > 0 ? a : b;
}

static struct due_node *last_below(const struct lane *l, const struct due_node *n)
{
    return later(due_last_below(&l->waiting, n->due_wall_ns, n->key), due_last_below(&l->ready, n->due_wall_ns, n->key));
}

void window_leave(struct lane *l, const struct due_node *n)
{
    if (l->reading)
        l->spoiled = true;
    if (!within(l, n))
        return;
    const struct due_node *before = last_below(l, n);
    set_edge(l, before ? before->due_wall_ns : INT64_MIN, before ? before->key : "");
}

/* The last one that the store knows as well as we do goes; the edge is before it then. */
static bool evict(struct lane *l)
{
    struct due_node *n = l->reading ? NULL : later(due_last(&l->waiting), due_last(&l->ready));
    for (int looks = 0; n && task_pinned(task_in_lane(n)); n = last_below(l, n))
        if (++looks == EVICT_LOOKS_MAX)
            return false;
    if (!n)
        return false;
    window_leave(l, n);
    task_drop(task_in_lane(n));
    return true;
}

/* Too many bytes: the lane with most tasks gives; each keeps one, so that all go on. */
static struct lane *fattest(struct queue *q)
{
    struct lane *most = NULL;
    for (size_t i = 0; i < QUEUE_LANES; i++) {
        struct lane *l = q->lanes[i];
        if (l && !l->reading && count(l) > 1 && (!most || count(l) > count(most)))
            most = l;
    }
    return most;
}

static void trim(struct lane *l)
{
    while (count(l) > l->queue->window_tasks && evict(l))
        ;
    struct queue *q = l->queue;
    struct lane *fat;
    while (q->bytes > QUEUE_WINDOW_BYTES && (fat = fattest(q)) && evict(fat))
        ;
}

/* What is in memory only because of a page that has come, or of a write that is done. */
static void leave_beyond(struct lane *l)
{
    for (struct due_node *n; !l->reading && (n = later(due_last(&l->waiting), due_last(&l->ready)));) {
        if (within(l, n) || task_pinned(task_in_lane(n)))
            return;
        task_drop(task_in_lane(n));
    }
}

/* ---- into memory ---- */

void window_admit(struct task *t)
{
    struct lane *l = t->lane;
    if (!l->reading && !within(l, &t->in_lane) && !task_pinned(t)) {
        task_drop(t);
    } else {
        task_move(t, TASK_WAITING);
        trim(l); /* perhaps this one */
    }
    queue_wake(l->queue);
}

void window_settled(struct task *t)
{
    struct lane *l = t->lane;
    bool waits = t->state == TASK_WAITING || t->state == TASK_READY;
    if (waits && !l->reading && !within(l, &t->in_lane))
        task_drop(t);
    trim(l);
}

/* A row of a page. False: out of memory for it. */
static bool take_row(struct lane *l, const struct store_entry *row)
{
    struct queue *q = l->queue;
    struct err e = {0};
    if (map_get(q->tasks, row->key))
        return true; /* memory knows better */
    struct task *t = task_load(q, row, &e);
    if (t)
        task_move(t, TASK_WAITING);
    else if (e.code != ERR_OK)
        log_kv(q->env->log, LOG_ERROR, "queue.load", LSTR("queue", q->name), LSTR("task", row->key), LSTR("error", e.msg));
    return e.code != ERR_RESOURCE_EXHAUSTED;
}

static void take_page(struct lane *l, const struct store_entries *r)
{
    if (r->n == 0)
        l->whole = true;
    for (size_t i = 0; i < r->n; i++) {
        if (!take_row(l, &r->rows[i])) {
            queue_again(l->queue);
            break;
        }
        set_edge(l, r->rows[i].due_wall_ns, r->rows[i].key);
    }
}

static void on_page(struct store_entries *r, const struct err *e)
{
    struct lane *l = r->arg;
    struct queue *q = l->queue;
    l->reading = false;
    if (e && !q->deleting) {
        log_kv(q->env->log, LOG_WARN, "queue.read", LSTR("queue", q->name), LSTR("error", e->msg), LSTR("do", "trying again in a second"));
        queue_again(q);
    } else if (!q->deleting && !l->spoiled) {
        take_page(l, r);
        leave_beyond(l);
        trim(l);
    }
    queue_read_end(q);
}

static void refill(struct lane *l)
{
    struct queue *q = l->queue;
    bool room = count(l) < q->window_tasks / 2 && (q->bytes < QUEUE_WINDOW_BYTES / 2 || count(l) == 0);
    if (l->whole || l->reading || !room)
        return;
    l->reading = true;
    l->spoiled = false;
    l->read = (struct store_entries){
        .by = STORE_BY_DUE,
        .list_id = q->list_id,
        .lane_min = l->number,
        .lane_max = l->number,
        .due_wall_ns = l->edge_wall_ns,
        .key = l->edge_key,
        .max_count = q->page_tasks,
        .max_bytes = QUEUE_PAGE_BYTES,
        .done = on_page,
        .arg = l,
    };
    queue_read_begin(q, &l->read);
}

void window_refill(struct queue *q)
{
    for (size_t i = 0; i < QUEUE_LANES && !q->again_ns; i++)
        if (q->lanes[i])
            refill(q->lanes[i]);
}

/* ---- due ---- */

static bool too_old(struct task *t, int64_t wall_ns)
{
    if (wall_ns < task_life_end(t))
        return false;
    TaskRecord *r = task_record(t);
    if (!r)
        return false;
    task_move(t, TASK_ENDING);
    task_die(t, r, "older than 31 days");
    pb_free(r);
    return true;
}

void window_promote(struct queue *q)
{
    int64_t wall_ns = env_wall(q->env);
    struct err e;
    for (size_t i = QUEUE_LANES; i-- > 0;)
        for (struct task *t; q->lanes[i] && (t = task_in_lane(due_first(&q->lanes[i]->waiting))) && task_due(t) <= wall_ns;) {
            if (too_old(t, wall_ns))
                continue;
            if (ready_join(t, &e)) {
                log_kv(q->env->log, LOG_ERROR, "queue.memory", LSTR("queue", q->name), LSTR("error", e.msg));
                queue_again(q);
                return;
            }
            task_move(t, TASK_READY);
        }
}

int64_t window_next_due(const struct queue *q)
{
    int64_t next = INT64_MAX;
    for (size_t i = 0; i < QUEUE_LANES; i++) {
        const struct due_node *n = q->lanes[i] ? due_first(&q->lanes[i]->waiting) : NULL;
        if (n && n->due_wall_ns < next)
            next = n->due_wall_ns;
    }
    return next;
}

bool window_hungry(const struct queue *q, uint32_t priority)
{
    for (size_t i = priority * QUEUE_KEY_BUCKETS; i < (priority + 1) * QUEUE_KEY_BUCKETS && !q->again_ns; i++)
        if (q->lanes[i] && !q->lanes[i]->whole && count(q->lanes[i]) == 0)
            return true;
    return false;
}

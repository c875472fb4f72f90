/* queue_task.c: a task in memory and its record: made, loaded, moved, written, forgotten. */
#include "broker/queue_int.h"

#include "core/base/text.h"
#include "core/http/url.h"

#include <assert.h>
#include <stdlib.h>

/* The most that a record takes in memory: a field that nobody knows is two bytes when it is packed, and up to two hundred when not. */
#define RECORD_ROOM_BYTES ((size_t)64 * 1024)
#define RECORD_GROWS 100

/* ---- records ---- */

const char *record_id(const TaskRecord *r)
{
    const char *slash = strrchr(r->task->name, '/');
    return slash ? slash + 1 : r->task->name;
}

/* A task counts from its redrive, if there was one: for its age, and for purges before it. */
int64_t record_created(const TaskRecord *r)
{
    for (size_t i = r->n_events; i-- > 0;)
        if (r->events[i]->kind == RUNNEL__BROKER__TASK_EVENT__KIND__REDRIVEN || (i == 0 && r->events[i]->kind == 0))
            return r->events[i]->wall_ns;
    return pb_timestamp_ns(r->task->create_time);
}

bool record_purged(const struct queue *q, const TaskRecord *r) { return record_created(r) < q->config.purged_wall_ns; }

void record_add_event(TaskRecord *r, Runnel__Broker__TaskEvent *event, Runnel__Broker__TaskEvent *room[QUEUE_TIMELINE_MAX])
{
    size_t n = r->n_events < QUEUE_TIMELINE_MAX ? r->n_events : QUEUE_TIMELINE_MAX;
    if (r->events != room && n)
        memcpy(room, r->events, n * sizeof room[0]);
    if (n == QUEUE_TIMELINE_MAX) {
        size_t victim = 1; /* a redrive stays: record_created wants it */
        while (victim < n - 1 && room[victim]->kind == RUNNEL__BROKER__TASK_EVENT__KIND__REDRIVEN)
            victim++;
        memmove(&room[victim], &room[victim + 1], (--n - victim) * sizeof room[0]);
    }
    room[n++] = event;
    r->events = room;
    r->n_events = n;
}

uint32_t task_lane(uint32_t priority, const char *fair_key)
{
    uint32_t bucket = *fair_key ? 1 + (uint32_t)(hash_bytes(fair_key, strlen(fair_key), 0) % (QUEUE_KEY_BUCKETS - 1)) : 0;
    return priority * QUEUE_KEY_BUCKETS + bucket;
}

/* ---- hosts ---- */

static struct str url_host(const TaskRecord *r)
{
    struct url u;
    struct err e;
    bool has_url = r->task->message_type_case == GOOGLE__CLOUD__TASKS__V2__TASK__MESSAGE_TYPE_HTTP_REQUEST;
    return has_url && url_parse(str_of(r->task->http_request->url), &u, &e) == 0 ? u.host : STR("");
}

static struct host *host_need(struct queue *q, struct str name)
{
    struct host *h = map_get_n(q->hosts, name.p, name.n);
    if (h)
        return h;
    h = calloc(1, sizeof *h + name.n + 1);
    if (!h)
        return NULL;
    h->name = memcpy(h + 1, name.p, name.n);
    if (map_put(q->hosts, h->name, h, NULL)) {
        free(h);
        return NULL;
    }
    return h;
}

static void host_leave(struct queue *q, struct host *h)
{
    if (!h || --h->tasks > 0)
        return;
    map_remove(q->hosts, h->name);
    free(h);
}

/* ---- made and forgotten ---- */

int task_set_body(struct task *t, const TaskRecord *r, struct err *e)
{
    char *body;
    size_t n;
    int rc = pb_pack(&r->base, &body, &n, e);
    if (rc)
        return rc;
    free(t->body);
    t->queue->bytes += n - t->body_n;
    t->body = body;
    t->body_n = n;
    return 0;
}

struct arena *task_arena(size_t packed_n) { return arena_new(RECORD_ROOM_BYTES + RECORD_GROWS * packed_n); }

TaskRecord *task_record(const struct task *t)
{
    return pb_unpack_heap(&runnel__broker__task_record__descriptor, (struct str){t->body, t->body_n});
}

static void task_free(struct task *t)
{
    attempt_free(t->attempt);
    t->queue->bytes -= sizeof *t + t->body_n;
    host_leave(t->queue, t->host);
    free(t->body);
    free(t);
}

static struct task *task_make(struct queue *q, const char *id, const TaskRecord *r, int64_t due_wall_ns)
{
    size_t id_n = strlen(id) + 1, key_n = strlen(r->fair_key) + 1;
    struct task *t = calloc(1, sizeof *t + id_n + key_n);
    if (!t)
        return NULL;
    memcpy(t->id, id, id_n);
    t->fair_key = memcpy(t->id + id_n, r->fair_key, key_n);
    t->queue = q;
    t->priority = r->priority < QUEUE_PRIORITIES ? r->priority : QUEUE_PRIORITIES - 1;
    t->named = r->named;
    t->tried = r->task->first_attempt != NULL;
    t->created_wall_ns = record_created(r);
    if (t->created_wall_ns > q->came_wall_ns)
        q->came_wall_ns = t->created_wall_ns;
    t->in_lane.key = t->in_turn.key = t->id;
    t->in_lane.due_wall_ns = t->in_turn.due_wall_ns = due_wall_ns;
    node_init(&t->unwritten);
    q->bytes += sizeof *t;
    q->states[TASK_NEW]++;
    return t;
}

static int no_memory(const struct task *t, const char *id, struct err *e)
{
    return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for task %s", t ? t->id : id);
}

struct task *task_new(struct queue *q, struct map *into, const TaskRecord *r, int64_t due_wall_ns, struct err *e)
{
    const char *id = record_id(r);
    struct task *t = task_make(q, id, r, due_wall_ns);
    if (!t) {
        no_memory(NULL, id, e);
        return NULL;
    }
    t->lane = lane_need(q, task_lane(t->priority, t->fair_key));
    t->host = host_need(q, url_host(r));
    if (t->host)
        t->host->tasks++;
    if (!t->lane || !t->host || map_put(into, t->id, t, NULL)) {
        no_memory(t, id, e);
        q->states[TASK_NEW]--;
        task_free(t);
        return NULL;
    }
    return t;
}

/* A wall time with which one may reckon. */
static bool sane(int64_t wall_ns) { return wall_ns >= 0 && wall_ns <= INT64_MAX - 12 * TASK_LIFE_NS; }

static bool sane_attempt(const Google__Cloud__Tasks__V2__Attempt *a) { return !a || sane(pb_timestamp_ns(a->dispatch_time)); }

/* Is it what was written under this key, in this lane? */
static bool record_fits(const TaskRecord *r, const struct store_entry *row)
{
    if (!r || !r->task || strcmp(record_id(r), row->key) != 0 || r->priority >= QUEUE_PRIORITIES ||
        r->task->message_type_case != GOOGLE__CLOUD__TASKS__V2__TASK__MESSAGE_TYPE_HTTP_REQUEST)
        return false;
    const Google__Cloud__Tasks__V2__Task *t = r->task;
    bool fits = (row->lane == LANE_DEAD || row->lane == task_lane(r->priority, r->fair_key)) && sane(row->due_wall_ns) &&
                sane(r->dead_wall_ns) && sane(pb_timestamp_ns(t->create_time)) && sane_attempt(t->first_attempt) &&
                sane_attempt(t->last_attempt) && t->dispatch_count >= 0 && t->dispatch_count < INT32_MAX &&
                pb_duration_ns(t->dispatch_deadline) <= TASK_LIFE_NS;
    for (size_t i = 0; fits && i < r->n_events; i++)
        fits = sane(r->events[i]->wall_ns);
    return fits;
}

TaskRecord *task_read(const struct queue *q, const struct store_entry *row, struct arena **a, struct err *e)
{
    *a = task_arena(row->body.n);
    TaskRecord *r = *a ? pb_unpack(*a, &runnel__broker__task_record__descriptor, row->body) : NULL;
    if (record_fits(r, row))
        return r;
    if (!*a || (!r && arena_short(*a)))
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for task %s", row->key);
    else
        err_set(e, ERR_DATA_LOSS, "task record \"%.120s\" in %.120s cannot be read", row->key, q->name);
    arena_free(*a);
    *a = NULL;
    return NULL;
}

struct task *task_load(struct queue *q, const struct store_entry *row, struct err *e)
{
    struct arena *a;
    TaskRecord *r = task_read(q, row, &a, e);
    if (!r)
        return NULL;
    struct task *t = NULL;
    e->code = ERR_OK;
    if (!record_purged(q, r) && (t = task_new(q, q->tasks, r, row->due_wall_ns, e)) != NULL) {
        t->body = malloc(row->body.n + 1);
        if (t->body) {
            memcpy(t->body, row->body.p, row->body.n);
            t->body_n = row->body.n;
            q->bytes += t->body_n;
        } else {
            no_memory(t, t->id, e);
            task_drop(t);
            t = NULL;
        }
    }
    arena_free(a);
    return t;
}

static void unlink_state(struct task *t)
{
    if (t->state == TASK_WAITING)
        due_remove(&t->lane->waiting, &t->in_lane);
    if (t->state == TASK_READY) {
        due_remove(&t->lane->ready, &t->in_lane);
        ready_leave(t);
    }
    if (t->state == TASK_RUNNING)
        fair_leave(t);
    if (t->state == TASK_READY || t->state == TASK_RUNNING)
        t->host->due--;
    t->queue->states[t->state]--;
}

/* To READY only after ready_join; to RUNNING only after attempt_begin has its memory. */
void task_move(struct task *t, enum task_state to)
{
#define TO(s) (1u << TASK_##s)
    static const uint32_t next[TASK_STATES] = {
        [TASK_NEW] = TO(WAITING) | TO(ENDING),
        [TASK_WAITING] = TO(READY) | TO(RUNNING) | TO(ENDING),
        [TASK_READY] = TO(RUNNING) | TO(ENDING),
        [TASK_RUNNING] = TO(WAITING) | TO(ENDING),
        [TASK_ENDING] = TO(WAITING), /* its removal could not be written */
    };
#undef TO
    assert(next[t->state] >> to & 1);
    struct queue *q = t->queue;
    if (to == TASK_RUNNING)
        fair_enter(t); /* before it leaves its turn: a key stays known */
    unlink_state(t);
    t->state = to;
    q->states[to]++;
    if (to == TASK_WAITING)
        due_insert(&t->lane->waiting, &t->in_lane, rng_u64(q->env->rng));
    if (to == TASK_READY)
        due_insert(&t->lane->ready, &t->in_lane, rng_u64(q->env->rng));
    if (to == TASK_READY || to == TASK_RUNNING)
        t->host->due++;
    queue_metrics_state(q);
}

void task_set_due(struct task *t, int64_t due_wall_ns)
{
    assert(!t->in_lane.weight && !t->in_turn.weight);
    t->in_lane.due_wall_ns = t->in_turn.due_wall_ns = due_wall_ns;
}

void task_drop(struct task *t)
{
    struct queue *q = t->queue;
    unlink_state(t);
    if (node_linked(&t->unwritten))
        list_remove(&q->unwritten, &t->unwritten);
    map_remove(map_get(q->tasks, t->id) == t ? q->tasks : q->creating, t->id);
    task_free(t);
    queue_metrics_state(q);
}

/* It dies when it is 31 days old; one that was made further ahead than that has a day from when it is due first. */
int64_t task_life_end(const struct task *t)
{
    int64_t life, day;
    if (__builtin_add_overflow(t->created_wall_ns, TASK_LIFE_NS, &life))
        life = INT64_MAX;
    if (__builtin_add_overflow(task_due(t), 24 * 3600 * NS_PER_S, &day))
        day = INT64_MAX;
    return t->tried || life > day ? life : day;
}

/* ---- writing ---- */

int txn_end(struct queue *q, struct store_txn *t, const char *id, bool named, int64_t wall_ns, struct err *e)
{
    int64_t until = wall_ns + TASK_NAME_HOLD_NS;
    if (!named || until <= env_wall(q->env))
        return store_txn_entry_delete(t, q->list_id, id, e);
    if (until < q->names_wall_ns)
        q->names_wall_ns = until;
    return store_txn_entry_put(t, q->list_id, &(struct store_entry){.key = id, .lane = LANE_NAME, .due_wall_ns = until}, e);
}

static int fill(struct task *t, struct store_txn *txn, struct err *e)
{
    struct queue *q = t->queue;
    struct store_entry entry = {t->id, t->lane->number, task_due(t), {t->body, t->body_n}};
    if (t->end == END_DEAD) {
        entry.lane = LANE_DEAD;
        entry.due_wall_ns = t->dead_until_wall_ns;
    } else if (t->end) {
        return txn_end(q, txn, t->id, t->named, env_wall(q->env), e);
    }
    if (t->state == TASK_NEW && !t->overwrite)
        return store_txn_entry_add(txn, q->list_id, &entry, e);
    return store_txn_entry_put(txn, q->list_id, &entry, e);
}

static void on_written(void *arg, const struct err *e);

void task_write(struct task *t)
{
    struct queue *q = t->queue;
    if (t->writing || q->deleting) {
        t->again = true;
        return;
    }
    struct err e = {0};
    struct store_txn *txn = store_txn_new();
    if (node_linked(&t->unwritten))
        list_remove(&q->unwritten, &t->unwritten);
    t->writing = true;
    q->in_store++;
    if (txn && fill(t, txn, &e) == 0) {
        store_submit(q->store, txn, on_written, t);
        return;
    }
    store_txn_free(txn);
    on_written(t, &(struct err){.code = ERR_RESOURCE_EXHAUSTED, .msg = "out of memory to write a task"});
}

void tasks_write_again(struct queue *q)
{
    for (size_t n = q->unwritten.count; n > 0 && !list_empty(&q->unwritten); n--)
        task_write(CONTAINER_OF(list_first(&q->unwritten), struct task, unwritten));
}

static void tell(struct task *t, const TaskRecord *r, const struct err *e)
{
    queue_done_fn done = t->done;
    t->done = NULL;
    if (done)
        done(t->done_arg, r, e);
}

/* The store knows it. */
void task_born(struct task *t)
{
    struct queue *q = t->queue;
    q->live++;
    if (t->created_wall_ns >= q->config.purged_wall_ns) {
        window_admit(t); /* it may be left to the store */
        return;
    }
    q->doomed++;
    task_move(t, TASK_ENDING);
    task_end(t, END_PURGED);
}

static void created(struct task *t)
{
    struct queue *q = t->queue;
    const TaskRecord *r = t->made;
    queue_done_fn done = t->done;
    void *arg = t->done_arg;
    struct err e = {0};
    t->made = NULL;
    t->done = NULL;
    map_remove(q->creating, t->id);
    if (map_put(q->tasks, t->id, t, NULL) == 0) {
        task_born(t);
    } else { /* no memory: it is read again */
        q->live++;
        window_leave(t->lane, &t->in_lane);
        queue_again(q);
        task_drop(t);
    }
    if (q->deleting)
        queue_ending(q, &e);
    done(arg, q->deleting ? NULL : r, q->deleting ? &e : NULL);
}

void task_not_created(struct task *t, const struct err *e)
{
    queue_done_fn done = t->done;
    void *arg = t->done_arg;
    struct err why = *e;
    task_drop(t);
    done(arg, NULL, &why);
}

/* As if nobody had asked; but a purge may have come meanwhile. */
static void remove_failed(struct task *t, const struct err *e)
{
    bool was_purged = t->created_wall_ns < t->queue->config.purged_wall_ns;
    t->end = was_purged ? END_PURGED : END_NONE;
    if (t->state == TASK_ENDING || was_purged) { /* what the store has may be older */
        list_append(&t->queue->unwritten, &t->unwritten);
        queue_again(t->queue);
    }
    if (t->state == TASK_ENDING && !was_purged)
        task_move(t, TASK_WAITING);
    tell(t, NULL, e);
}

/* The store knows its end. */
static void ended(struct task *t)
{
    struct queue *q = t->queue;
    q->live--;
    if (t->created_wall_ns < q->config.purged_wall_ns && q->doomed)
        q->doomed--;
    queue_metrics_end(q, t->end);
    if (t->end == END_DEAD) {
        q->dead++;
        if (q->dead > q->config.dead_max)
            q->dead_wall_ns = 0; /* the oldest goes now */
        else if (t->dead_until_wall_ns < q->dead_wall_ns)
            q->dead_wall_ns = t->dead_until_wall_ns;
    }
    tell(t, NULL, NULL);
    if (t->state == TASK_RUNNING) {
        t->gone = true;
        q->consumer->cancel(q->consumer, &t->attempt->run); /* may settle it at once */
    } else {
        task_drop(t);
    }
}

static void write_failed(struct task *t, const struct err *e)
{
    struct queue *q = t->queue;
    t->again = false;
    if (t->end == END_REMOVED) {
        remove_failed(t, e);
        return;
    }
    list_append(&q->unwritten, &t->unwritten);
    log_kv(q->env->log, LOG_WARN, "queue.write", LSTR("queue", q->name), LSTR("task", t->id), LSTR("error", e->msg),
           LSTR("do", "trying again in a second"));
    queue_again(q);
}

static void on_written(void *arg, const struct err *e)
{
    struct task *t = arg;
    struct queue *q = t->queue;
    t->writing = false;
    q->in_store--;
    if (q->deleting && t->state != TASK_RUNNING && t->state != TASK_NEW) {
        struct err why = {0};
        queue_ending(q, &why);
        tell(t, NULL, &why);
        task_drop(t);
    } else if (t->state == TASK_NEW) {
        if (!e)
            created(t);
        else if (e->code == ERR_ALREADY_EXISTS && !t->overwrite)
            queue_name_taken(t);
        else
            task_not_created(t, e);
    } else if (e) {
        write_failed(t, e);
    } else if (t->again && !q->deleting) {
        t->again = false;
        task_write(t);
    } else if (t->end) {
        ended(t);
    } else {
        window_settled(t);
    }
    queue_wake(q);
    queue_maybe_free(q);
}

void task_end(struct task *t, enum task_end end)
{
    t->end = end;
    task_write(t);
}

/* queue_ask.c: one task by its id, from memory or the store: get, remove, run; and pages of tasks or dead letters. */
#include "broker/queue_int.h"

#include <stdlib.h>

#define ROW_BYTES_MAX ((size_t)2 * 1024 * 1024) /* of a task, with its timeline */

enum want { WANT_GET, WANT_REMOVE, WANT_RUN, WANT_NAME };
struct fetch {
    struct ask ask;
    enum want want;
    queue_done_fn done;
    void *arg;
    struct task *task; /* WANT_NAME: the one that wants it */
    char key[STORE_ENTRY_KEY_MAX + 1];
};
struct listing {
    struct ask ask;
    size_t max;
    queue_page_fn done;
    void *arg;
    char after[STORE_ENTRY_KEY_MAX + 1];
};

/* ---- reads ---- */

void queue_read_begin(struct queue *q, struct store_entries *r)
{
    q->in_store++;
    q->store->ops->entries(q->store, r);
}

void queue_read_end(struct queue *q)
{
    q->in_store--;
    queue_wake(q);
    queue_maybe_free(q);
}

static void ask_end(struct ask *a)
{
    struct queue *q = a->queue;
    list_remove(&q->asks, &a->link);
    free(a);
    queue_read_end(q);
}

static int not_found(struct err *e) { return err_set(e, ERR_NOT_FOUND, "Requested entity was not found."); }

/* ---- with the task in memory ---- */

static void get(struct task *t, queue_done_fn done, void *arg)
{
    struct err e = {0};
    if (t->attempt) {
        done(arg, t->attempt->record, NULL);
        return;
    }
    TaskRecord *r = task_record(t);
    if (!r)
        err_set(&e, ERR_RESOURCE_EXHAUSTED, "out of memory to read task %s", t->id);
    done(arg, r, r ? NULL : &e);
    pb_free(r);
}

static void take_away(struct task *t, queue_done_fn done, void *arg)
{
    t->done = done;
    t->done_arg = arg;
    if (t->state != TASK_RUNNING)
        task_move(t, TASK_ENDING);
    task_end(t, END_REMOVED);
}

static void run(struct task *t, queue_done_fn done, void *arg)
{
    struct queue *q = t->queue;
    struct err e = {0};
    if (t->state == TASK_RUNNING) { /* the attempt under way is the run */
        done(arg, t->attempt->record, NULL);
    } else if (attempt_begin(t, true, &e)) {
        done(arg, NULL, &e);
    } else {
        done(arg, t->attempt->record, NULL);
        q->consumer->start(q->consumer, &t->attempt->run);
    }
    queue_wake(q);
}

static void serve(struct task *t, enum want want, queue_done_fn done, void *arg)
{
    if (want == WANT_GET)
        get(t, done, arg);
    else if (want == WANT_REMOVE)
        take_away(t, done, arg);
    else
        run(t, done, arg);
}

/* ---- with the task in the store ---- */

static void serve_row(struct fetch *f, const struct store_entries *r)
{
    struct queue *q = f->ask.queue;
    struct err e = {0};
    struct task *t = NULL;
    if (r->n && r->rows[0].lane < QUEUE_LANES)
        t = task_load(q, &r->rows[0], &e);
    if (!t) {
        if (e.code == ERR_OK)
            not_found(&e);
        f->done(f->arg, NULL, &e);
        return;
    }
    if (f->want == WANT_GET) {
        get(t, f->done, f->arg);
        task_drop(t); /* it stays where it was */
        return;
    }
    task_move(t, TASK_WAITING);
    serve(t, f->want, f->done, f->arg);
}

static void on_fetched(struct store_entries *r, const struct err *e)
{
    struct fetch *f = r->arg;
    struct queue *q = f->ask.queue;
    struct task *t = map_get(q->tasks, f->key);
    struct err why = {0};
    if (q->deleting)
        queue_ending(q, &why);
    else if (e)
        why = *e;
    else if (t && (t->end || t->state == TASK_NEW))
        not_found(&why);
    if (why.code != ERR_OK)
        f->done(f->arg, NULL, &why);
    else if (t)
        serve(t, f->want, f->done, f->arg);
    else
        serve_row(f, r);
    ask_end(&f->ask);
}

static struct fetch *fetch_new(struct queue *q, const char *id, enum want want, void (*done)(struct store_entries *r, const struct err *e))
{
    size_t n = strlen(id);
    struct fetch *f = n <= STORE_ENTRY_KEY_MAX ? calloc(1, sizeof *f) : NULL;
    if (!f)
        return NULL;
    f->want = want;
    memcpy(f->key, id, n + 1);
    f->ask.queue = q;
    f->ask.read = (struct store_entries){
        .by = STORE_BY_KEY, .list_id = q->list_id, .lane_max = STORE_LANE_MAX, .key = f->key, .max_count = 1, .max_bytes = ROW_BYTES_MAX};
    f->ask.read.done = done;
    f->ask.read.arg = f;
    list_append(&q->asks, &f->ask.link);
    return f;
}

static void fetch(struct queue *q, const char *id, enum want want, queue_done_fn done, void *arg)
{
    struct err e = {0};
    struct task *t = map_get(q->tasks, id);
    struct fetch *f = NULL;
    if (q->stopped)
        queue_ending(q, &e);
    else if (t ? t->end || t->state == TASK_NEW : strlen(id) > STORE_ENTRY_KEY_MAX || !*id)
        not_found(&e);
    else if (!t && !(f = fetch_new(q, id, want, on_fetched)))
        err_set(&e, ERR_RESOURCE_EXHAUSTED, "out of memory to read task %s", id);
    if (e.code != ERR_OK) {
        done(arg, NULL, &e);
    } else if (t) {
        serve(t, want, done, arg);
    } else if (f) {
        f->done = done;
        f->arg = arg;
        queue_read_begin(q, &f->ask.read);
    }
}

void queue_get(struct queue *q, const char *id, queue_done_fn done, void *arg) { fetch(q, id, WANT_GET, done, arg); }
void queue_remove(struct queue *q, const char *id, queue_done_fn done, void *arg) { fetch(q, id, WANT_REMOVE, done, arg); }
void queue_run(struct queue *q, const char *id, queue_done_fn done, void *arg) { fetch(q, id, WANT_RUN, done, arg); }

/* ---- a name that is taken: until when? ---- */

static void on_name(struct store_entries *r, const struct err *e)
{
    struct fetch *f = r->arg;
    struct queue *q = f->ask.queue;
    struct task *t = f->task;
    struct err taken = {0};
    bool free_again = !e && (r->n == 0 || (r->rows[0].lane == LANE_NAME && r->rows[0].due_wall_ns <= env_wall(q->env)));
    if (free_again && !q->deleting) {
        t->overwrite = true;
        task_write(t);
    } else {
        if (q->deleting)
            queue_ending(q, &taken);
        else
            err_set(&taken, ERR_ALREADY_EXISTS, "Requested entity already exists");
        task_not_created(t, e ? e : &taken);
    }
    ask_end(&f->ask);
}

void queue_name_taken(struct task *t)
{
    struct fetch *f = fetch_new(t->queue, t->id, WANT_NAME, on_name);
    if (!f) {
        task_not_created(t, &(struct err){.code = ERR_RESOURCE_EXHAUSTED, .msg = "out of memory to create a task"});
        return;
    }
    f->task = t;
    queue_read_begin(t->queue, &f->ask.read);
}

/* ---- pages ---- */

/* The record in a row that memory has nothing newer of, on the heap. NULL with DATA_LOSS, or out of memory. */
static TaskRecord *stored_record(const struct queue *q, const struct store_entry *row, struct err *e)
{
    struct arena *a;
    const TaskRecord *r = task_read(q, row, &a, e);
    TaskRecord *own = r ? pb_dup(&r->base) : NULL;
    arena_free(a);
    return own;
}

/* The record of a row as it is now. NULL: it is not there any more, it is damaged, which is logged; or there is *no_memory. */
static TaskRecord *record_of(struct listing *l, const struct store_entry *row, bool *no_memory)
{
    struct queue *q = l->ask.queue;
    struct err why = {0};
    struct task *t = map_get(q->tasks, row->key);
    bool dead = row->lane == LANE_DEAD;
    if ((t && (t->end || dead)) || (dead && row->due_wall_ns <= env_wall(q->env)))
        return NULL;
    TaskRecord *r;
    if (t && t->attempt)
        r = pb_dup(&t->attempt->record->base);
    else if (t && t->state != TASK_NEW)
        r = task_record(t);
    else
        r = stored_record(q, row, &why);
    if (why.code == ERR_DATA_LOSS)
        log_kv(q->env->log, LOG_ERROR, "queue.load", LSTR("queue", q->name), LSTR("task", row->key), LSTR("error", why.msg));
    else if (!r)
        *no_memory = true;
    if (r && !dead && record_purged(q, r)) {
        pb_free(r);
        return NULL;
    }
    return r;
}

static void page_done(struct listing *l, TaskRecord **records, size_t n, bool more, const struct err *e)
{
    l->done(l->arg, (const TaskRecord *const *)records, e ? 0 : n, more, e);
    for (size_t i = 0; i < n; i++)
        pb_free(records[i]);
    free(records);
    ask_end(&l->ask);
}

static void on_listed(struct store_entries *r, const struct err *e)
{
    struct listing *l = r->arg;
    struct queue *q = l->ask.queue;
    struct err why = {0};
    size_t n = 0, at = 0, bytes = 0;
    bool no_memory = false;
    if (q->deleting && queue_ending(q, &why))
        e = &why;
    TaskRecord **records = e ? NULL : calloc(r->n + 1, sizeof(TaskRecord *));
    for (; records && at < r->n && n < l->max; at++) {
        TaskRecord *record = record_of(l, &r->rows[at], &no_memory);
        if (record)
            records[n++] = record;
        bytes += r->rows[at].body.n;
    }
    if (!e && (!records || no_memory) && err_set(&why, ERR_RESOURCE_EXHAUSTED, "out of memory for a page of %zu tasks", r->n))
        e = &why;
    bool more = !e && r->n && (at < r->n || r->n >= l->max + 1 || bytes + ROW_BYTES_MAX > QUEUE_LIST_BYTES);
    if (more && n == 0) {
        free(records);
        memcpy(l->after, r->rows[at - 1].key, strlen(r->rows[at - 1].key) + 1);
        q->in_store--;
        queue_read_begin(q, &l->ask.read);
        return;
    }
    page_done(l, records, n, more, e);
}

void queue_list(struct queue *q, bool dead, const char *after, size_t max, queue_page_fn done, void *arg)
{
    struct err e = {0};
    size_t after_n = strlen(after);
    struct listing *l = q->stopped || after_n > STORE_ENTRY_KEY_MAX ? NULL : calloc(1, sizeof *l);
    if (!l) {
        if (q->stopped)
            queue_ending(q, &e);
        else if (after_n > STORE_ENTRY_KEY_MAX)
            err_set(&e, ERR_INVALID_ARGUMENT, "a task id has at most %d characters", STORE_ENTRY_KEY_MAX);
        else
            err_set(&e, ERR_RESOURCE_EXHAUSTED, "out of memory to list tasks");
        done(arg, NULL, 0, false, &e);
        return;
    }
    memcpy(l->after, after, after_n + 1);
    l->max = max;
    l->done = done;
    l->arg = arg;
    l->ask.queue = q;
    l->ask.read = (struct store_entries){
        .by = STORE_KEYS,
        .list_id = q->list_id,
        .lane_min = dead ? LANE_DEAD : 0,
        .lane_max = dead ? LANE_DEAD : QUEUE_LANES - 1,
        .key = l->after,
        .max_count = max + 1,
        .max_bytes = QUEUE_LIST_BYTES,
        .done = on_listed,
        .arg = l,
    };
    list_append(&q->asks, &l->ask.link);
    queue_read_begin(q, &l->ask.read);
}

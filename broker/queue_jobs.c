/* queue_jobs.c: what goes through the stored entries of a queue in bounded steps: dead letters brought back or removed for a client,
 * and three sweeps: purged tasks, dead letters whose time is over or that are too many, names that are not held any more.
 * Shape:  one job is in the store at a time; a step is a page, then a transaction of what it found; then the next job has its turn.
 * A sweep that a failure or a crash ends begins anew. */
#include "broker/queue_int.h"

#include <assert.h>
#include <stdlib.h>

#define MARK_KEY ":purged" /* no task's id: those have no colon */
#define JOBS_MAX 100       /* of clients, waiting */

typedef Runnel__Broker__TaskEvent TaskEvent;
enum job_kind { JOB_REDRIVE, JOB_DEAD_REMOVE, JOB_SWEEP_DEAD, JOB_SWEEP_NAMES, JOB_SWEEP_PURGE };
struct job {
    struct node link;
    struct queue *queue;
    enum job_kind kind;
    char **ids; /* of clients, NULL: all */
    size_t n_ids, next_id;
    uint64_t left; /* of all: as many as there were at first; later ones are not meant, and times say nothing when the clock was set back */
    int64_t purged_wall_ns;
    bool skipped;         /* SWEEP_PURGE: of a task in memory, that is on its way out itself */
    bool asking, restart; /* SWEEP_PURGE: perhaps it has been done; another purge came meanwhile */
    uint64_t count;
    void (*done)(void *arg, uint64_t count, const struct err *e);
    void *arg;
    /* where the next page begins */
    int64_t due_wall_ns;
    char key[STORE_ENTRY_KEY_MAX + 1];
    /* the step */
    struct store_entries read;
    struct store_txn *txn;
    size_t changes, bytes;
    bool last;                           /* nothing comes after it */
    struct task *back[QUEUE_STEP_TASKS]; /* redriven, in no list yet */
    size_t n_back;
};

static bool is_client(const struct job *j) { return j->kind == JOB_REDRIVE || j->kind == JOB_DEAD_REMOVE; }

/* ---- begin and end ---- */

static void job_free(struct job *j)
{
    for (size_t i = 0; i < j->n_ids; i++)
        free(j->ids[i]);
    free(j->ids);
    store_txn_free(j->txn);
    free(j);
}

static void unflag(struct job *j)
{
    struct queue *q = j->queue;
    if (j->kind == JOB_SWEEP_DEAD)
        q->sweeping_dead = false;
    if (j->kind == JOB_SWEEP_NAMES)
        q->sweeping_names = false;
    if (j->kind == JOB_SWEEP_PURGE)
        q->sweeping_purge = false;
}

static void job_end(struct job *j, const struct err *e)
{
    struct queue *q = j->queue;
    list_remove(&q->jobs, &j->link);
    unflag(j);
    if (j->done)
        j->done(j->arg, j->count, e);
    job_free(j);
}

static void job_failed(struct job *j, const struct err *e)
{
    struct queue *q = j->queue;
    for (size_t i = 0; i < j->n_back; i++)
        task_drop(j->back[i]);
    j->n_back = 0;
    store_txn_free(j->txn);
    j->txn = NULL;
    if (is_client(j) || q->deleting) {
        job_end(j, e);
        return;
    }
    log_kv(q->env->log, LOG_WARN, "queue.sweep", LSTR("queue", q->name), LSTR("error", e->msg), LSTR("do", "trying again in a second"));
    queue_again(q);
    if (j->kind == JOB_SWEEP_PURGE) {
        j->restart = true;
        return;
    }
    if (j->kind == JOB_SWEEP_DEAD)
        q->dead_wall_ns = 0;
    else
        q->names_wall_ns = 0;
    job_end(j, e);
}

static struct job *job_new(struct queue *q, enum job_kind kind)
{
    struct job *j = calloc(1, sizeof *j);
    if (!j)
        return NULL;
    j->queue = q;
    j->kind = kind;
    j->due_wall_ns = INT64_MIN;
    j->left = q->dead;
    list_append(&q->jobs, &j->link);
    return j;
}

void jobs_purge(struct queue *q, bool ask_first)
{
    struct job *j = NULL;
    LIST_EACH(&q->jobs, n)
        if (CONTAINER_OF(n, struct job, link)->kind == JOB_SWEEP_PURGE)
            j = CONTAINER_OF(n, struct job, link);
    if (!j && !(j = job_new(q, JOB_SWEEP_PURGE))) {
        log_kv(q->env->log, LOG_ERROR, "queue.memory", LSTR("queue", q->name), LSTR("what", "purged tasks stay on disk until a restart"));
        return;
    }
    q->sweeping_purge = true;
    j->asking = ask_first;
    j->restart = true;
}

/* ---- rows ---- */

/* Counts at zero, due now. */
static struct task *brought_back(struct job *j, TaskRecord *r, struct err *e)
{
    struct queue *q = j->queue;
    Google__Cloud__Tasks__V2__Task *task = r->task;
    const TaskRecord before = *r;
    const Google__Cloud__Tasks__V2__Task task_before = *task;
    int64_t wall_ns = not_purged(q, env_wall(q->env));
    Google__Protobuf__Timestamp now = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
    TaskEvent ev = RUNNEL__BROKER__TASK_EVENT__INIT, *room[QUEUE_TIMELINE_MAX];
    now.seconds = wall_ns / NS_PER_S;
    now.nanos = (int32_t)(wall_ns % NS_PER_S / NS_PER_US * NS_PER_US);
    ev.kind = RUNNEL__BROKER__TASK_EVENT__KIND__REDRIVEN;
    ev.wall_ns = wall_ns;
    task->dispatch_count = task->response_count = 0;
    task->first_attempt = task->last_attempt = NULL;
    task->schedule_time = &now;
    r->executions = 0;
    r->last_status = 0;
    r->dead_wall_ns = 0;
    r->dead_reason = (char *)(uintptr_t)protobuf_c_empty_string;
    record_add_event(r, &ev, room);
    struct task *t = task_new(q, q->tasks, r, wall_ns, e);
    if (t && task_set_body(t, r, e)) {
        task_drop(t);
        t = NULL;
    }
    *r = before;
    *task = task_before;
    return t;
}

static int redrive(struct job *j, TaskRecord *r, struct err *e)
{
    struct queue *q = j->queue;
    struct task *t = brought_back(j, r, e);
    if (!t)
        return -(int)e->code;
    j->back[j->n_back++] = t;
    j->changes++;
    const struct store_entry entry = {t->id, t->lane->number, task_due(t), {t->body, t->body_n}};
    return store_txn_entry_put(j->txn, q->list_id, &entry, e);
}

static int end_row(struct job *j, const char *id, const TaskRecord *r, int64_t ended_wall_ns, struct err *e)
{
    j->changes++;
    return txn_end(j->queue, j->txn, id, r->named, ended_wall_ns, e);
}

static int dead_row(struct job *j, const struct store_entry *row, TaskRecord *r, struct err *e)
{
    struct queue *q = j->queue;
    if (j->kind == JOB_SWEEP_DEAD) {
        bool goes = row->due_wall_ns <= env_wall(q->env) || q->dead > q->config.dead_max + j->changes;
        j->last = !goes;
        if (!goes && row->due_wall_ns < q->dead_wall_ns)
            q->dead_wall_ns = row->due_wall_ns;
        return goes ? end_row(j, row->key, r, r->dead_wall_ns, e) : 0;
    }
    j->last = !j->ids && j->left == 0;
    if (j->last)
        return 0;
    j->left--;
    if (map_get(q->tasks, row->key))
        return 0;
    return j->kind == JOB_REDRIVE ? redrive(j, r, e) : end_row(j, row->key, r, r->dead_wall_ns, e);
}

static int name_row(struct job *j, const struct store_entry *row, struct err *e)
{
    struct queue *q = j->queue;
    if (map_get(q->creating, row->key))
        return 0; /* somebody is taking it */
    if (row->due_wall_ns > env_wall(q->env)) {
        if (row->due_wall_ns < q->names_wall_ns)
            q->names_wall_ns = row->due_wall_ns;
        j->last = true;
        return 0;
    }
    j->changes++;
    return store_txn_entry_delete(j->txn, q->list_id, row->key, e);
}

static int purged_row(struct job *j, const struct store_entry *row, const TaskRecord *r, struct err *e)
{
    struct queue *q = j->queue;
    bool sees_to_itself = map_get(q->tasks, row->key) != NULL;
    if (record_created(r) >= j->purged_wall_ns)
        return 0;
    j->skipped |= sees_to_itself;
    if (sees_to_itself)
        return 0;
    return end_row(j, row->key, r, env_wall(q->env), e);
}

static int job_row(struct job *j, const struct store_entry *row, struct err *e)
{
    if (j->kind == JOB_SWEEP_NAMES)
        return name_row(j, row, e);
    if (is_client(j) && row->lane != LANE_DEAD)
        return 0; /* of this id there is no dead letter */
    struct err why = {0};
    struct arena *a;
    TaskRecord *r = task_read(j->queue, row, &a, &why);
    if (!r && why.code != ERR_DATA_LOSS) {
        *e = why;
        return -(int)why.code;
    }
    if (!r) {
        log_kv(j->queue->env->log, LOG_ERROR, "queue.load", LSTR("queue", j->queue->name), LSTR("task", row->key), LSTR("error", why.msg));
        return 0;
    }
    int rc = j->kind == JOB_SWEEP_PURGE ? purged_row(j, row, r, e) : dead_row(j, row, r, e);
    arena_free(a);
    return rc;
}

/* ---- steps ---- */

static void on_page(struct store_entries *r, const struct err *e);
static void on_committed(void *arg, const struct err *e);

static void read_step(struct job *j)
{
    struct queue *q = j->queue;
    if (j->restart) {
        j->restart = j->skipped = false;
        j->key[0] = '\0';
        j->purged_wall_ns = q->config.purged_wall_ns;
    }
    uint32_t lane = j->kind == JOB_SWEEP_NAMES ? LANE_NAME : j->kind == JOB_SWEEP_PURGE ? 0 : LANE_DEAD;
    j->read = (struct store_entries){
        .by = j->ids || j->asking          ? STORE_BY_KEY
              : j->kind == JOB_SWEEP_PURGE ? STORE_KEYS
                                           : STORE_BY_DUE,
        .list_id = q->list_id,
        .lane_min = lane,
        .lane_max = j->kind == JOB_SWEEP_PURGE ? QUEUE_LANES - 1 : lane,
        .due_wall_ns = j->due_wall_ns,
        .key = j->asking ? MARK_KEY
               : j->ids  ? j->ids[j->next_id]
                         : j->key,
        .max_count = q->page_tasks < QUEUE_STEP_TASKS ? q->page_tasks : QUEUE_STEP_TASKS,
        .max_bytes = QUEUE_PAGE_BYTES,
        .done = on_page,
        .arg = j,
    };
    queue_read_begin(q, &j->read);
}

static void step_begin(struct job *j)
{
    struct queue *q = j->queue;
    assert(!q->job && !j->txn && !j->n_back);
    q->job = j;
    j->changes = j->bytes = 0;
    j->last = false;
    j->txn = store_txn_new();
    if (j->txn) {
        read_step(j);
        return;
    }
    q->job = NULL;
    job_failed(j, &(struct err){.code = ERR_RESOURCE_EXHAUSTED, .msg = "out of memory for a change to the store"});
}

/* Ended, or behind the others. */
static void step_end(struct job *j)
{
    struct queue *q = j->queue;
    q->job = NULL;
    store_txn_free(j->txn);
    j->txn = NULL;
    struct err e = {0};
    if (j->last && !j->restart) {
        job_end(j, NULL);
    } else if (q->stopped && is_client(j)) { /* nobody goes on with it */
        queue_ending(q, &e);
        job_end(j, &e);
    } else {
        list_remove(&q->jobs, &j->link);
        list_append(&q->jobs, &j->link);
    }
}

static void submit(struct job *j)
{
    struct queue *q = j->queue;
    struct store_txn *t = j->txn;
    j->txn = NULL;
    q->in_store++;
    store_submit(q->store, t, on_committed, j);
}

/* The purge is swept: remember it for the next start. Or look once more, when those who go by themselves have gone. */
static int mark(struct job *j, struct err *e)
{
    if (j->skipped) {
        j->restart = true;
        j->last = false;
        queue_again(j->queue);
        return 0;
    }
    j->changes++;
    j->queue->doomed = 0;
    const struct store_entry entry = {.key = MARK_KEY, .lane = LANE_MARK, .due_wall_ns = j->purged_wall_ns};
    return store_txn_entry_put(j->txn, j->queue->list_id, &entry, e);
}

static void advance(struct job *j, const struct store_entries *r)
{
    if (r->n) {
        const struct store_entry *last = &r->rows[r->n - 1];
        j->due_wall_ns = last->due_wall_ns;
        memcpy(j->key, last->key, strlen(last->key) + 1);
    }
    if (j->ids)
        j->last = ++j->next_id == j->n_ids;
    else if (r->n == 0)
        j->last = true;
}

/* The page of the mark. */
static void marked(struct job *j, const struct store_entries *r)
{
    j->asking = false;
    j->last = r->n && r->rows[0].lane == LANE_MARK && r->rows[0].due_wall_ns >= j->purged_wall_ns;
    step_end(j);
}

static int take_page(struct job *j, const struct store_entries *r, struct err *e)
{
    int rc = 0;
    for (size_t i = 0; i < r->n && rc == 0 && !j->last; i++) {
        j->bytes += r->rows[i].body.n;
        rc = job_row(j, &r->rows[i], e);
    }
    advance(j, r);
    if (rc == 0 && j->last && j->kind == JOB_SWEEP_PURGE)
        rc = mark(j, e);
    return rc;
}

static void page(struct job *j, const struct store_entries *r, const struct err *failed)
{
    struct queue *q = j->queue;
    struct err e = {0};
    if (q->deleting && queue_ending(q, &e))
        failed = &e;
    bool again = !failed && j->restart;
    if (!failed && !again && j->asking) {
        marked(j, r);
        return;
    }
    if (!failed && !again && take_page(j, r, &e))
        failed = &e;
    if (failed) {
        q->job = NULL;
        job_failed(j, failed);
    } else if (again || (j->ids && !j->last && j->changes < QUEUE_STEP_TASKS && j->bytes < QUEUE_PAGE_BYTES)) {
        read_step(j);
    } else if (j->changes) {
        submit(j);
    } else {
        step_end(j);
    }
}

static void on_page(struct store_entries *r, const struct err *e)
{
    struct job *j = r->arg;
    struct queue *q = j->queue;
    page(j, r, e);
    queue_read_end(q);
}

static void account(struct job *j)
{
    struct queue *q = j->queue;
    if (j->kind == JOB_SWEEP_PURGE) {
        uint64_t n = j->changes - j->last; /* the mark is none */
        q->live -= n < q->live ? n : q->live;
        q->doomed -= n < q->doomed ? n : q->doomed;
        for (; n > 0; n--)
            queue_metrics_end(q, END_PURGED);
    } else if (j->kind != JOB_SWEEP_NAMES) {
        q->dead -= j->changes < q->dead ? j->changes : q->dead;
    }
    j->count += j->changes;
    for (size_t i = 0; i < j->n_back; i++)
        task_born(j->back[i]);
    j->n_back = 0;
    queue_metrics_state(q);
}

static void on_committed(void *arg, const struct err *e)
{
    struct job *j = arg;
    struct queue *q = j->queue;
    struct err why = {0};
    q->in_store--;
    if (q->deleting && queue_ending(q, &why))
        e = &why;
    if (e) {
        q->job = NULL;
        job_failed(j, e);
    } else {
        account(j);
        step_end(j);
    }
    queue_wake(q);
    queue_maybe_free(q);
}

/* ---- when ---- */

static bool is_due(const struct queue *q, int64_t wall_ns) { return wall_ns <= env_wall(q->env) - QUEUE_SWEEP_NS; }

/* Sweeps that are due become jobs; what comes due while one runs is told by the next rows it sees, or by whoever writes it. */
static void need_sweeps(struct queue *q)
{
    if (!q->sweeping_names && is_due(q, q->names_wall_ns) && job_new(q, JOB_SWEEP_NAMES)) {
        q->sweeping_names = true;
        q->names_wall_ns = INT64_MAX;
    }
    if (!q->sweeping_dead && is_due(q, q->dead_wall_ns) && job_new(q, JOB_SWEEP_DEAD)) {
        q->sweeping_dead = true;
        q->dead_wall_ns = INT64_MAX;
    }
}

void jobs_go(struct queue *q)
{
    if (q->job || q->again_ns)
        return;
    need_sweeps(q);
    struct node *n = list_first(&q->jobs);
    if (n)
        step_begin(CONTAINER_OF(n, struct job, link));
}

void jobs_cancel(struct queue *q)
{
    struct err e = {0};
    queue_ending(q, &e);
    LIST_EACH_SAFE(&q->jobs, n) {
        struct job *j = CONTAINER_OF(n, struct job, link);
        if (j != q->job)
            job_end(j, &e);
    }
}

void jobs_free(struct queue *q)
{
    for (struct node *n; (n = list_pop(&q->jobs));)
        job_free(CONTAINER_OF(n, struct job, link));
}

/* ---- for clients ---- */

static bool copy_ids(struct job *j, const char *const *ids, size_t n)
{
    j->ids = n ? calloc(n, sizeof(char *)) : NULL;
    for (; j->ids && j->n_ids < n; j->n_ids++)
        if (!(j->ids[j->n_ids] = strdup(ids[j->n_ids])))
            return false;
    return !n || j->ids;
}

static void client_job(struct queue *q, enum job_kind kind, const char *const *ids, size_t n,
                       void (*done)(void *arg, uint64_t count, const struct err *e), void *arg)
{
    struct err e = {0};
    struct job *j = NULL;
    if (q->stopped)
        queue_ending(q, &e);
    else if (q->jobs.count >= JOBS_MAX)
        err_set(&e, ERR_RESOURCE_EXHAUSTED, "%d redrives and removals of dead letters wait already; try again later", JOBS_MAX);
    else if (!(j = job_new(q, kind)) || !copy_ids(j, ids, n))
        err_set(&e, ERR_RESOURCE_EXHAUSTED, "out of memory for %zu dead letters", n);
    if (j && e.code == ERR_OK) {
        j->done = done;
        j->arg = arg;
        queue_wake(q);
        return;
    }
    if (j)
        job_end(j, NULL);
    done(arg, 0, &e);
}

void queue_redrive(struct queue *q, const char *const *ids, size_t n, void (*done)(void *arg, uint64_t count, const struct err *e),
                   void *arg)
{
    client_job(q, JOB_REDRIVE, ids, n, done, arg);
}

void queue_dead_remove(struct queue *q, const char *const *ids, size_t n, void (*done)(void *arg, uint64_t count, const struct err *e),
                       void *arg)
{
    client_job(q, JOB_DEAD_REMOVE, ids, n, done, arg);
}

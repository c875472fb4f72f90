/* queues.c: the task queues' life: making, loading, changes under way, what is left of deleted queues, stopping. */
#include "broker/queues_int.h"

#include <stdio.h>
#include <stdlib.h>

#define QUEUE_KIND "queue"
#define GONE_KIND "deleted-queue" /* by list id: a name may be given again before the tasks are gone */
#define LIST_ID_TEXT 24
#define LOAD_ARENA_MAX ((size_t)4 * 1024 * 1024)

void tasks_no_memory(struct call *c) { call_failf(c, ERR_RESOURCE_EXHAUSTED, "out of memory; try again"); }

struct tq *queues_find(struct queues *qs, struct call *c, const char *name)
{
    struct tq *t = map_get(qs->by_name, name);
    if (!t) /* Google's words */
        call_failf(c, ERR_NOT_FOUND,
                   "Queue does not exist. If you just created the queue, wait at least a minute for the queue to initialize.");
    return t;
}

bool queues_refuse(struct queues *qs, struct call *c)
{
    if (qs->stopping)
        call_failf(c, ERR_UNAVAILABLE, "the server is shutting down; try again");
    return qs->stopping;
}

/* ---- changes ---- */

static void change_free(struct queue_change *ch)
{
    pb_free(ch->record);
    free(ch->name);
    free(ch);
}

static struct queue_change *change_alloc(struct queues *qs, const char *name, const QueueRecord *record, struct err *e)
{
    struct queue_change *ch = calloc(1, sizeof *ch);
    char *copy = strdup(name);
    if (ch && copy) {
        node_init(&ch->link);
        ch->name = copy;
        ch->record = pb_dup(&record->base);
        if (ch->record && map_put(qs->busy, name, ch, NULL) == 0) {
            ch->qs = qs;
            list_append(&qs->changes, &ch->link);
            return ch;
        }
        change_free(ch);
    } else {
        free(copy);
        free(ch);
    }
    err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory; try again");
    return NULL;
}

struct queue_change *queue_change_new(struct queues *qs, struct call *c, const char *name, const QueueRecord *record)
{
    struct err e = {0};
    struct queue_change *ch = NULL;
    if (queues_refuse(qs, c))
        return NULL;
    if (map_get(qs->busy, name))
        err_set(&e, ERR_ABORTED, "another change to %.200s is under way; try again", name);
    else
        ch = change_alloc(qs, name, record, &e);
    if (ch)
        ch->call = c;
    else
        call_fail(c, &e);
    return ch;
}

void queue_change_end(struct queue_change *ch)
{
    list_remove(&ch->qs->changes, &ch->link);
    map_remove(ch->qs->busy, ch->name);
    change_free(ch);
}

void queue_change_fail(struct queue_change *ch, const struct err *e)
{
    call_fail(ch->call, e);
    queue_change_end(ch);
}

static void on_committed(void *arg, const struct err *e)
{
    struct queue_change *ch = arg;
    ch->then(ch, e);
}

static const char *list_id_text(uint64_t id, char text[LIST_ID_TEXT])
{
    snprintf(text, LIST_ID_TEXT, "%llu", (unsigned long long)id);
    return text;
}

static int put_record(struct store_txn *txn, const char *kind, const char *name, const QueueRecord *r, struct err *e)
{
    char *bytes;
    size_t len;
    if (pb_pack(&r->base, &bytes, &len, e))
        return -ERR_RESOURCE_EXHAUSTED;
    int rc = store_txn_put(txn, kind, name, (struct str){bytes, len}, e);
    free(bytes);
    return rc;
}

static int fill_txn(const struct queue_change *ch, struct store_txn *txn, bool deleting, struct err *e)
{
    char id[LIST_ID_TEXT];
    if (deleting) {
        int rc = store_txn_delete(txn, QUEUE_KIND, ch->name, e);
        return rc ? rc : put_record(txn, GONE_KIND, list_id_text(ch->record->list_id, id), ch->record, e);
    }
    int rc = put_record(txn, QUEUE_KIND, ch->name, ch->record, e);
    if (!rc && !map_get(ch->qs->by_name, ch->name)) /* a new one */
        rc = store_txn_lists(txn, ch->qs->deps.store, e);
    return rc;
}

void queue_change_commit(struct queue_change *ch, bool deleting, void (*then)(struct queue_change *ch, const struct err *e))
{
    struct err e = {0};
    struct store_txn *txn = store_txn_new();
    if (txn && fill_txn(ch, txn, deleting, &e) == 0) {
        ch->then = then;
        store_submit(ch->qs->deps.store, txn, on_committed, ch);
        return;
    }
    store_txn_free(txn);
    err_set(&e, ERR_RESOURCE_EXHAUSTED, "out of memory; try again");
    queue_change_fail(ch, &e);
}

static void on_undone(void *arg, const struct err *e) {}

void queues_undo(struct queues *qs, const char *name)
{
    struct store_txn *txn = store_txn_new();
    struct err e;
    if (txn && store_txn_delete(txn, QUEUE_KIND, name, &e) == 0) {
        store_submit(qs->deps.store, txn, on_undone, NULL);
        return;
    }
    store_txn_free(txn);
    log_kv(qs->deps.env->log, LOG_ERROR, "queues.undo", LSTR("resource", name),
           LSTR("error", "out of memory: it shows up after a restart"));
}

/* ---- queues ---- */

int queues_open(struct queues *qs, QueueRecord *record, struct err *e)
{
    struct queue_config config = queue_config_of(record);
    struct tq *t = calloc(1, sizeof *t);
    if (!t)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "queue: out of memory");
    t->queue = queue_new(&qs->deps, record->queue->name, record->list_id, &config, e);
    if (t->queue && map_put(qs->by_name, record->queue->name, t, e) == 0) {
        t->record = record;
        return 0;
    }
    if (t->queue)
        queue_free(t->queue);
    free(t);
    return -(int)ERR_RESOURCE_EXHAUSTED;
}

/* ---- what is left of deleted queues ---- */

static void gone_free(struct gone_queue *g)
{
    list_remove(&g->qs->gone, &g->link);
    pb_free(g->record);
    free(g);
}

static bool hold_over(const struct queues *qs, const struct gone_queue *g)
{
    return env_wall(qs->deps.env) - g->record->deleted_wall_ns >= qs->config.name_hold_ns;
}

bool queues_name_held(const struct queues *qs, const char *name)
{
    LIST_EACH(&qs->gone, node) {
        const struct gone_queue *g = CONTAINER_OF(node, struct gone_queue, link);
        if (strcmp(g->record->queue->name, name) == 0 && !hold_over(qs, g))
            return true;
    }
    return false;
}

static void on_forgotten(void *arg, const struct err *e)
{
    struct gone_queue *g = arg;
    g->under_way = false;
    if (!e)
        gone_free(g); /* else the next tick tries again */
}

static void forget(struct gone_queue *g)
{
    struct store_txn *txn = store_txn_new();
    char id[LIST_ID_TEXT];
    if (txn && store_txn_delete(txn, GONE_KIND, list_id_text(g->record->list_id, id), NULL) == 0) {
        g->under_way = true;
        store_submit(g->qs->deps.store, txn, on_forgotten, g);
        return;
    }
    store_txn_free(txn);
}

static void on_dropped(void *arg, const struct err *e)
{
    struct gone_queue *g = arg;
    g->under_way = false;
    g->queue = NULL;
    g->dropped = !e;
    if (e)
        log_kv(g->qs->deps.env->log, LOG_WARN, "queues.drop", LSTR("resource", g->record->queue->name), LSTR("error", e->msg));
    else if (hold_over(g->qs, g))
        forget(g);
}

/* Its tasks, once more: the server ended before the queue had done it. */
static void drop_tasks(struct gone_queue *g)
{
    struct store_txn *txn = store_txn_new();
    if (txn && store_txn_entries_drop(txn, g->record->list_id, NULL) == 0) {
        g->under_way = true;
        store_submit(g->qs->deps.store, txn, on_dropped, g);
        return;
    }
    store_txn_free(txn);
}

static struct gone_queue *gone_new(struct queues *qs, QueueRecord *record)
{
    struct gone_queue *g = calloc(1, sizeof *g);
    if (!g)
        return NULL;
    g->qs = qs;
    g->record = record;
    node_init(&g->link);
    list_append(&qs->gone, &g->link);
    return g;
}

static void on_dropped_unseen(void *arg, const struct err *e) {} /* the record that the next start finds does the rest */

void queues_close(struct queues *qs, QueueRecord *record)
{
    struct tq *t = map_remove(qs->by_name, record->queue->name);
    struct gone_queue *g = gone_new(qs, record);
    if (g) {
        g->under_way = true;
        g->queue = t->queue;
    } else {
        pb_free(record);
    }
    queue_delete(t->queue, g ? on_dropped : on_dropped_unseen, g);
    pb_free(t->record);
    free(t);
}

static void on_tick(struct timer *timer, int64_t now_ns)
{
    struct queues *qs = CONTAINER_OF(timer, struct queues, tick);
    struct err e;
    LIST_EACH_SAFE(&qs->gone, node) {
        struct gone_queue *g = CONTAINER_OF(node, struct gone_queue, link);
        if (g->under_way)
            continue;
        if (!g->dropped)
            drop_tasks(g);
        else if (hold_over(qs, g))
            forget(g);
    }
    if (timer_set(qs->deps.env->timers, timer, now_ns + QUEUES_TICK_NS, &e))
        log_kv(qs->deps.env->log, LOG_ERROR, "queues.tick", LSTR("error", e.msg));
}

/* ---- life ---- */

struct queues *queues_new(const struct queues_config *c, const struct queue_deps *d, struct err *e)
{
    struct queues *qs = calloc(1, sizeof *qs);
    if (!qs) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "queues: out of memory");
        return NULL;
    }
    qs->config = *c;
    qs->deps = *d;
    if (qs->config.max_schedule_ns == 0)
        qs->config.max_schedule_ns = TASK_SCHEDULE_MAX_NS;
    list_init(&qs->changes);
    list_init(&qs->gone);
    timer_init(&qs->tick, on_tick);
    qs->by_name = map_new(QUEUES_MAX);
    qs->busy = map_new(QUEUES_MAX);
    if (qs->by_name && qs->busy)
        return qs;
    queues_free(qs);
    err_set(e, ERR_RESOURCE_EXHAUSTED, "queues: out of memory");
    return NULL;
}

/* What could not have been written is damage. A list that is not counted yet would be given to another queue, too. */
static QueueRecord *read_record(const struct queues *qs, const char *kind, const char *name, struct str body, struct err *e)
{
    QueueRecord *record = pb_unpack_heap(&runnel__broker__queue_record__descriptor, body);
    const char *why = NULL;
    if (!record || !record->queue || check_queue_name(record->queue->name, "queue.name", NULL))
        why = "malformed";
    else if (!store_list_given(qs->deps.store, record->list_id))
        why = "the list of its tasks has a number that was never given";
    else if (record->deleted_wall_ns < 0)
        why = "deleted before 1970";
    if (!why)
        return record;
    pb_free(record);
    err_set(e, ERR_DATA_LOSS, "%s record \"%.120s\": %s", kind, name, why);
    return NULL;
}

static int bad_record(const char *name, const char *why, struct err *e)
{
    return err_set(e, ERR_DATA_LOSS, "queue record \"%.120s\": %s", name, why);
}

/* The queue of a record, as if users gave it. */
static int check_record(const char *name, QueueRecord *record, struct err *e)
{
    const Runnel__Broker__QueueSettings *s = record->settings;
    struct err why = {0};
    if (strcmp(record->queue->name, name) != 0)
        return bad_record(name, "it is one of another queue", e);
    if (s &&
        (s->key_concurrent > KEY_CONCURRENT_MAX || s->dead_max > DEAD_MAX_MAX || s->dead_keep_ns < 0 || s->dead_keep_ns > DEAD_KEEP_MAX_NS))
        return bad_record(name, "its settings are out of range", e);
    /* New tasks are made after it, and must have a life ahead of them. */
    if (record->queue->purge_time && pb_timestamp_ns(record->queue->purge_time) > INT64_MAX - 24 * TASK_LIFE_NS)
        return bad_record(name, "it was purged at the end of all time", e);
    struct arena *a = arena_new(LOAD_ARENA_MAX);
    PbQueue *checked = a ? pb_clone(a, &record->queue->base) : NULL;
    int rc = checked ? check_queue(a, checked, &why) : -(int)ERR_RESOURCE_EXHAUSTED;
    PbQueue *own = rc ? NULL : pb_dup(&checked->base);
    if (own) {
        pb_free(record->queue);
        record->queue = own;
    }
    arena_free(a);
    if (own)
        return 0;
    return rc && why.code && why.code != ERR_RESOURCE_EXHAUSTED
               ? bad_record(name, why.msg, e)
               : err_set(e, ERR_RESOURCE_EXHAUSTED, "queue record \"%.120s\": out of memory", name);
}

static int load_live(void *arg, const char *name, struct str body, struct err *e)
{
    struct queues *qs = arg;
    QueueRecord *record = read_record(qs, QUEUE_KIND, name, body, e);
    if (!record)
        return -ERR_DATA_LOSS;
    int rc = check_record(name, record, e);
    if (!rc && (rc = queues_open(qs, record, e)))
        rc = err_wrap(e, "queue record \"%.120s\"", name);
    if (rc)
        pb_free(record);
    return rc;
}

static int load_gone(void *arg, const char *name, struct str body, struct err *e)
{
    struct queues *qs = arg;
    char id[LIST_ID_TEXT];
    QueueRecord *record = read_record(qs, GONE_KIND, name, body, e);
    if (!record)
        return -ERR_DATA_LOSS;
    int rc = 0;
    if (strcmp(list_id_text(record->list_id, id), name) != 0)
        rc = err_set(e, ERR_DATA_LOSS, "deleted-queue record \"%.120s\": it is one of another list", name);
    else if (!gone_new(qs, record))
        rc = err_set(e, ERR_RESOURCE_EXHAUSTED, "deleted-queue record \"%.120s\": out of memory", name);
    if (rc)
        pb_free(record);
    return rc;
}

static int load_tasks(struct queues *qs, struct err *e)
{
    size_t it = 0;
    const char *name;
    void *t;
    while (map_next(qs->by_name, &it, &name, &t))
        if (queue_load(((struct tq *)t)->queue, e))
            return err_wrap(e, "queue record \"%.120s\"", name);
    return 0;
}

static int by_list(const void *a, const void *b)
{
    uint64_t x = (*(const QueueRecord *const *)a)->list_id, y = (*(const QueueRecord *const *)b)->list_id;
    return x < y ? -1 : x > y;
}

/* The tasks of a list that two queues had would run in both, and go with either. */
static int check_lists(const struct queues *qs, struct err *e)
{
    size_t n = 0, it = 0;
    void *t;
    const QueueRecord **all = calloc(map_count(qs->by_name) + qs->gone.count + 1, sizeof(QueueRecord *));
    int rc = all ? 0 : err_set(e, ERR_RESOURCE_EXHAUSTED, "queues: out of memory");
    while (all && map_next(qs->by_name, &it, NULL, &t))
        all[n++] = ((struct tq *)t)->record;
    if (all)
        LIST_EACH((struct list *)(uintptr_t)&qs->gone, node)
            all[n++] = CONTAINER_OF(node, struct gone_queue, link)->record;
    if (n)
        qsort(all, n, sizeof *all, by_list);
    for (size_t i = 1; i < n && !rc; i++)
        if (all[i - 1]->list_id == all[i]->list_id)
            rc = bad_record(all[i]->queue->name, "the list of its tasks is another queue's, too", e);
    free(all);
    return rc;
}

int queues_load(struct queues *qs, struct err *e)
{
    struct store *store = qs->deps.store;
    int rc = store_lists_load(store, e);
    rc = rc ? rc : store->ops->load_resources(store, QUEUE_KIND, load_live, qs, e);
    rc = rc ? rc : store->ops->load_resources(store, GONE_KIND, load_gone, qs, e);
    rc = rc ? rc : check_lists(qs, e);
    rc = rc ? rc : load_tasks(qs, e);
    rc = rc ? rc : timer_set(qs->deps.env->timers, &qs->tick, env_now(qs->deps.env), e);
    if (rc)
        return rc;
    log_kv(qs->deps.env->log, LOG_INFO, "queues.loaded", LINT("queues", map_count(qs->by_name)));
    return 0;
}

bool queues_has(const struct queues *qs, const char *resource) { return map_get(qs->by_name, resource) != NULL; }

void queues_on_delete(struct queues *qs, void (*gone)(void *arg, const char *resource), void *arg)
{
    qs->on_gone = gone;
    qs->on_gone_arg = arg;
}

void queues_backlog(const struct queues *qs, void (*each)(void *arg, struct str host, uint64_t count), void *arg)
{
    size_t it = 0;
    const char *name;
    void *t;
    while (map_next(qs->by_name, &it, &name, &t))
        queue_backlog(((struct tq *)t)->queue, each, arg);
}

void queues_clock_jumped(struct queues *qs)
{
    size_t it = 0;
    const char *name;
    void *t;
    while (map_next(qs->by_name, &it, &name, &t))
        queue_clock_jumped(((struct tq *)t)->queue);
}

void queues_stop(struct queues *qs)
{
    size_t it = 0;
    const char *name;
    void *t;
    qs->stopping = true;
    timer_cancel(qs->deps.env->timers, &qs->tick);
    while (map_next(qs->by_name, &it, &name, &t))
        queue_stop(((struct tq *)t)->queue);
}

void queues_free(struct queues *qs)
{
    size_t it = 0;
    const char *name;
    void *p;
    if (!qs)
        return;
    timer_cancel(qs->deps.env->timers, &qs->tick);
    for (struct node *n; (n = list_pop(&qs->changes));)
        change_free(CONTAINER_OF(n, struct queue_change, link));
    LIST_EACH_SAFE(&qs->gone, node) {
        struct gone_queue *g = CONTAINER_OF(node, struct gone_queue, link);
        queue_free(g->queue);
        gone_free(g);
    }
    while (qs->by_name && map_next(qs->by_name, &it, &name, &p)) {
        struct tq *t = p;
        queue_free(t->queue);
        pb_free(t->record);
        free(t);
    }
    map_free(qs->by_name);
    map_free(qs->busy);
    free(qs);
}

/* support_queue.c: a queue under test: its store, its clock, its consumer. */
#include "tests/support/support_queue.h"

#include "tests/support/support_fault.h"

#include <stdio.h>
#include <stdlib.h>

static void die(const char *what, const char *why)
{
    fprintf(stderr, "support_queue: %s%s%s\n", what, why ? ": " : "", why ? why : "");
    abort();
}

struct queue_config tq_config(void)
{
    return (struct queue_config){
        .rate_per_s = 500,
        .burst = 100,
        .concurrent = 1000,
        .max_attempts = 100,
        .min_backoff_ns = 10 * NS_PER_S,
        .max_backoff_ns = 300 * NS_PER_S,
        .max_doublings = 3,
        .dead_keep_ns = 7 * 24 * 3600 * NS_PER_S,
        .dead_max = 1000,
    };
}

static void start(struct task_consumer *c, struct task_run *run)
{
    struct tq *tq = CONTAINER_OF(c, struct tq, consumer);
    if (tq->n_starts == TQ_STARTS_MAX)
        die("too many starts", NULL);
    struct tq_start *s = &tq->starts[tq->n_starts++];
    *s = (struct tq_start){.wall_ns = tq->fe.clock.wall_ns, .mono_ns = tq->fe.clock.mono_ns, .attempt = run->attempt, .run = run};
    snprintf(s->id, sizeof s->id, "%s", record_id(run->record));
    size_t running = queue_stats(tq->queue).running;
    tq->running_max = running > tq->running_max ? running : tq->running_max;
    int answer = tq->answer_of ? tq->answer_of(tq, s) : tq->answer;
    if (answer != TQ_HOLD)
        tq_settle(tq, s, answer);
}

static void cancel(struct task_consumer *c, struct task_run *run)
{
    struct tq *tq = CONTAINER_OF(c, struct tq, consumer);
    tq->cancelled++;
    for (size_t i = tq->n_starts; i-- > 0;)
        if (tq->starts[i].run == run) {
            tq_settle(tq, &tq->starts[i], TQ_UNDELIVERED);
            return;
        }
    die("cancelled what does not run", NULL);
}

static struct tq_gate *gate_of(struct store *s) { return CONTAINER_OF(s, struct tq_gate, store); }

static void gate_submit(struct store *s, struct store_txn *t, store_done_fn done, void *arg)
{
    store_submit(gate_of(s)->behind, t, done, arg);
}

static void gate_entries(struct store *s, struct store_entries *r)
{
    struct tq_gate *g = gate_of(s);
    if (g->n == TQ_HELD_MAX)
        die("too many reads wait", NULL);
    g->held[g->n++] = r;
}

static int gate_lanes(struct store *s, uint64_t list_id, int (*fn)(void *arg, uint32_t lane, uint64_t count, struct err *e), void *arg,
                      struct err *e)
{
    struct store *behind = gate_of(s)->behind;
    return behind->ops->load_lanes(behind, list_id, fn, arg, e);
}

void tq_let_through(struct tq *tq, size_t n)
{
    struct tq_gate *g = &tq->gate;
    n = n < g->n ? n : g->n;
    for (size_t i = 0; i < n; i++)
        g->behind->ops->entries(g->behind, g->held[i]);
    g->n -= n;
    memmove(g->held, g->held + n, g->n * sizeof g->held[0]);
}

static void open_queue(struct tq *tq)
{
    struct err e = {0};
    const struct queue_deps deps = {&tq->fe.env, &tq->gate.store, tq->metrics, &tq->consumer};
    tq->queue = queue_new(&deps, TQ_QUEUE, 7, &tq->config, &e);
    if (!tq->queue)
        die("queue_new", e.msg);
    if (tq->window_tasks)
        tq->queue->window_tasks = tq->window_tasks;
    if (tq->page_tasks)
        tq->queue->page_tasks = tq->page_tasks;
    if (queue_load(tq->queue, &e))
        die("queue_load", e.msg);
}

void tq_init(struct tq *tq, const struct queue_config *c)
{
    size_t window_tasks = tq->window_tasks, page_tasks = tq->page_tasks;
    *tq = (struct tq){.config = *c, .consumer = {start, cancel}, .answer = TQ_HOLD, .window_tasks = window_tasks, .page_tasks = page_tasks};
    support_env(&tq->fe);
    tq->store = store_memory_new();
    tq->metrics = metrics_new();
    tq->starts = calloc(TQ_STARTS_MAX, sizeof *tq->starts);
    if (!tq->store || !tq->metrics || !tq->starts)
        die("out of memory", NULL);
    tq->gate.behind = tq->store;
    tq->gate.ops = (struct store_ops){.submit = gate_submit, .entries = gate_entries, .load_lanes = gate_lanes};
    tq->gate.store.ops = &tq->gate.ops;
    open_queue(tq);
}

void tq_stop(struct tq *tq)
{
    tq_run(tq);
    if (tq->queue)
        queue_stop(tq->queue);
    tq->store->ops->close(tq->store);
    queue_free(tq->queue);
    metrics_free(tq->metrics);
    support_env_fini(&tq->fe);
    free(tq->starts);
    tq->starts = NULL;
    while (tq->n_records)
        pb_free(tq->records[--tq->n_records]);
    free(tq->records);
    tq->records = NULL;
}

int tq_setup(void **state)
{
    *state = calloc(1, sizeof(struct tq));
    return *state ? 0 : -1;
}

int tq_teardown(void **state)
{
    struct tq *tq = *state;
    if (tq->starts)
        tq_stop(tq);
    free(tq);
    return 0;
}

struct tq *tq_begin(void **state, const struct queue_config *c)
{
    const struct queue_config standard = tq_config();
    tq_init(*state, c ? c : &standard);
    return *state;
}

void tq_crash(struct tq *tq)
{
    store_memory_crash(tq->store);
    tq->gate.n = 0;
    queue_free(tq->queue);
    for (size_t i = 0; i < tq->n_starts; i++)
        tq->starts[i].run = NULL;
    open_queue(tq);
}

static void check(struct tq *tq)
{
    if (tq->check)
        tq->check(tq);
}

void tq_run(struct tq *tq)
{
    for (size_t moved = 1, turns = 0; moved; turns++) {
        if (turns > 1000000)
            die("it does not come to rest", NULL);
        tq_let_through(tq, TQ_HELD_MAX);
        moved = store_memory_step(tq->store, 1, tq->store_fails);
        tq->store_steps += moved;
        if (timers_next_ns(tq->fe.env.timers) <= tq->fe.clock.mono_ns)
            moved += timers_run(tq->fe.env.timers, tq->fe.clock.mono_ns);
        check(tq);
    }
}

void tq_advance(struct tq *tq, int64_t ns)
{
    int64_t end_ns = tq->fe.clock.mono_ns + ns;
    tq_run(tq);
    for (int64_t due_ns; (due_ns = timers_next_ns(tq->fe.env.timers)) <= end_ns;) {
        if (due_ns > tq->fe.clock.mono_ns)
            fake_clock_move(&tq->fe.clock, due_ns - tq->fe.clock.mono_ns);
        tq_run(tq);
    }
    fake_clock_move(&tq->fe.clock, end_ns - tq->fe.clock.mono_ns);
    tq_run(tq);
}

static void set_time(Google__Protobuf__Timestamp *t, int64_t wall_ns)
{
    google__protobuf__timestamp__init(t);
    t->seconds = wall_ns / NS_PER_S;
    t->nanos = (int32_t)(wall_ns % NS_PER_S);
}

TaskRecord *tq_record(struct tq *tq, const struct tq_task *t)
{
    char name[200], url[200];
    TaskRecord r = RUNNEL__BROKER__TASK_RECORD__INIT;
    Google__Cloud__Tasks__V2__Task task = GOOGLE__CLOUD__TASKS__V2__TASK__INIT;
    Google__Cloud__Tasks__V2__HttpRequest http = GOOGLE__CLOUD__TASKS__V2__HTTP_REQUEST__INIT;
    Google__Protobuf__Timestamp due, created;
    Runnel__Broker__TaskEvent ev = RUNNEL__BROKER__TASK_EVENT__INIT, *evs[] = {&ev};
    snprintf(name, sizeof name, TQ_QUEUE "/tasks/%s", t->id);
    snprintf(url, sizeof url, "%s", t->url ? t->url : "http://hello.localhost:8080/x");
    set_time(&due, tq->fe.clock.wall_ns + t->in_ns);
    set_time(&created, tq->fe.clock.wall_ns / NS_PER_S * NS_PER_S);
    ev.wall_ns = tq->fe.clock.wall_ns;
    task.name = name;
    task.schedule_time = &due;
    task.create_time = &created;
    http.url = url;
    if (t->body_n) {
        http.body.data = calloc(1, t->body_n);
        http.body.len = t->body_n;
    }
    task.http_request = &http;
    task.message_type_case = GOOGLE__CLOUD__TASKS__V2__TASK__MESSAGE_TYPE_HTTP_REQUEST;
    r.task = &task;
    r.named = !t->unnamed;
    r.fair_key = (char *)(uintptr_t)(t->key ? t->key : "");
    r.priority = t->priority;
    r.n_events = 1;
    r.events = evs;
    fault_hold();
    TaskRecord **records = realloc(tq->records, (tq->n_records + 1) * sizeof *records), *copy = pb_dup(&r.base);
    fault_release();
    free(http.body.data);
    if (!copy || !records)
        die("out of memory", NULL);
    tq->records = records;
    return records[tq->n_records++] = copy;
}

void tq_done(void *arg, const TaskRecord *r, const struct err *e)
{
    struct tq_done *d = arg;
    if (!d)
        return;
    if (d->done)
        die("told twice", NULL);
    pb_free(d->record);
    fault_hold();
    *d = (struct tq_done){.done = true, .code = e ? e->code : ERR_OK, .record = r ? pb_dup(&r->base) : NULL};
    fault_release();
}

void tq_counted(void *arg, uint64_t count, const struct err *e)
{
    *(struct tq_done *)arg = (struct tq_done){.done = true, .code = e ? e->code : ERR_OK, .count = count};
}

void tq_create(struct tq *tq, const struct tq_task *t, struct tq_done *d) { queue_create(tq->queue, tq_record(tq, t), tq_done, d); }

void tq_add(struct tq *tq, const struct tq_task *t)
{
    struct tq_done d = {0};
    tq_create(tq, t, &d);
    tq_run(tq);
    if (!d.done || d.code != ERR_OK)
        die("the task was not accepted", t->id);
    pb_free(d.record);
}

void tq_add_many(struct tq *tq, const char *prefix, size_t n, struct tq_task t)
{
    char id[40];
    for (size_t i = 0; i < n; i++) {
        snprintf(id, sizeof id, "%s%04zu", prefix, i);
        t.id = id;
        tq_create(tq, &t, NULL);
    }
}

struct tq_start *tq_running(struct tq *tq, const char *id)
{
    for (size_t i = tq->n_starts; i-- > 0;)
        if (tq->starts[i].run && strcmp(tq->starts[i].id, id) == 0)
            return &tq->starts[i];
    return NULL;
}

size_t tq_count(const struct tq *tq, const char *id)
{
    size_t n = 0;
    for (size_t i = 0; i < tq->n_starts; i++)
        n += strcmp(tq->starts[i].id, id) == 0;
    return n;
}

void tq_settle(struct tq *tq, struct tq_start *s, int answer)
{
    struct task_run *run = s->run;
    struct task_outcome o = {.status = answer > 0 ? answer : 0, .undelivered = answer == TQ_UNDELIVERED};
    if (answer == TQ_TIMEOUT)
        err_set(&o.err, ERR_DEADLINE_EXCEEDED, "no answer in time");
    else if (answer <= 0)
        err_set(&o.err, ERR_UNAVAILABLE, "connection refused");
    s->run = NULL;
    queue_settle(run, &o);
}

struct text {
    char *p;
    size_t n;
    bool done, more;
    char last[64];
};

static void on_page(void *arg, const TaskRecord *const *records, size_t n, bool more, const struct err *e)
{
    struct text *t = arg;
    if (e)
        die("queue_list", e->msg);
    for (size_t i = 0; i < n; i++) {
        snprintf(t->last, sizeof t->last, "%s", record_id(records[i]));
        t->n += (size_t)snprintf(t->p + t->n, (1 << 20) - t->n, "%s%s", t->n ? " " : "", t->last);
    }
    t->done = true;
    t->more = more;
}

const char *tq_list(struct tq *tq, bool dead)
{
    static char text[1 << 20];
    struct text t = {.p = text, .more = true};
    text[0] = '\0';
    while (t.more) {
        t.done = false;
        queue_list(tq->queue, dead, t.last, 3, on_page, &t);
        tq_run(tq);
        if (!t.done)
            die("no page", NULL);
    }
    return text;
}

enum err_code tq_get(struct tq *tq, const char *id, struct tq_done *d)
{
    d->done = false;
    queue_get(tq->queue, id, tq_done, d);
    tq_run(tq);
    if (!d->done)
        die("no answer", id);
    return d->code;
}

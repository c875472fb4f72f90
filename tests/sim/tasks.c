/* tasks.c: a task queue through virtual days. */
#include "tests/sim/tasks.h"

#include "broker/queue_int.h"
#include "core/base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TASKS_MAX 400
#define TROUBLE_NS (3 * 24 * 3600 * NS_PER_S)
#define HEAL_NS (60 * 24 * 3600 * NS_PER_S)
#define HOUR_NS (3600 * NS_PER_S)
#define QUEUE_NAME "projects/p/locations/l/queues/days"
#define STEPS_MAX 5000000

struct days;
struct chore { /* a task as the world knows it */
    struct days *days;
    enum { CHORE_NONE, CHORE_SENT, CHORE_LIVE, CHORE_RUNS, CHORE_DONE, CHORE_DEAD, CHORE_REMOVED } is;
    uint32_t number, failed, key;
    int64_t due_wall_ns, start_wall_ns;
    bool forced, asked_to_run, removing;
    bool durable;   /* the disk has it just so */
    bool unsettled; /* a crash took back what was not on disk: it is as one of the two says */
    uint32_t failed_before;
    int64_t due_before_wall_ns;
    struct task_run *run;
    TaskRecord *made; /* of its creation, until that is answered */
};
struct days {
    struct sim sim; /* the world only: its clock, its events, its chance */
    struct queue *queue;
    struct queue_config config;
    struct task_consumer consumer;
    struct chore chores[TASKS_MAX];
    size_t n, open; /* accepted and not at an end */
    double tokens;
    int64_t tokens_ns, latest_wall_ns; /* the latest that the queue has seen in this life */
    uint64_t starts, retries, jumps;
    size_t since_write; /* chores that are not durable */
};

static struct days *of(struct sim *s) { return CONTAINER_OF(s, struct days, sim); }
static int64_t wall_ns(struct days *d) { return clock_wall_ns(&d->sim.clock); }

/* ---- facts ---- */

static void check_rate(struct days *d)
{
    d->tokens += (double)(d->sim.now_ns - d->tokens_ns) / 1e9 * d->config.rate_per_s;
    d->tokens = d->tokens < d->config.burst ? d->tokens : d->config.burst;
    d->tokens_ns = d->sim.now_ns;
    d->tokens -= 1;
    if (d->tokens < -0.01)
        sim_fail(&d->sim, "more tasks were started than the rate allows");
}

static void check_concurrency(struct days *d, const struct chore *c)
{
    uint32_t all = 0, of_key = 0;
    for (size_t i = 0; i < d->n; i++) {
        all += d->chores[i].run != NULL;
        of_key += d->chores[i].run && d->chores[i].key == c->key;
    }
    if (all > d->config.concurrent)
        sim_fail(&d->sim, "%u tasks run, at most %u may", all, d->config.concurrent);
    if (c->key && of_key > d->config.key_concurrent)
        sim_fail(&d->sim, "%u tasks of key %u run, at most %u may", of_key, c->key, d->config.key_concurrent);
}

/* As the API and the records have it. */
static int64_t to_us(int64_t wall_ns) { return wall_ns / NS_PER_US * NS_PER_US; }

/* After a crash it is as the disk had it: before or after what was last asked of the disk. */
static void settle_doubt(struct days *d, struct chore *c, const struct task_run *run, int64_t due)
{
    if (!c->unsettled)
        return;
    c->unsettled = false;
    if (run->attempt == c->failed_before + 1 && due == to_us(c->due_before_wall_ns) && c->is != CHORE_RUNS) {
        d->open += c->is == CHORE_DONE || c->is == CHORE_DEAD || c->is == CHORE_REMOVED;
        c->is = CHORE_LIVE;
        c->failed = c->failed_before;
        c->due_wall_ns = c->due_before_wall_ns;
    }
}

static void check_start(struct days *d, struct chore *c, const struct task_run *run)
{
    struct sim *s = &d->sim;
    int64_t due = pb_timestamp_ns(run->record->task->schedule_time);
    settle_doubt(d, c, run, due);
    if (c->is != CHORE_LIVE)
        sim_fail(s, "task %u runs although it is %d (ended, refused, or running already)", c->number, c->is);
    if (run->attempt != c->failed + 1)
        sim_fail(s, "task %u: attempt %u after %u failed ones", c->number, run->attempt, c->failed);
    if (due != to_us(c->due_wall_ns))
        sim_fail(s, "task %u was due %.3f s beside what the formula says", c->number, (double)(due - c->due_wall_ns) / 1e9);
    if (c->forced)
        return;
    if (due > d->latest_wall_ns)
        sim_fail(s, "task %u runs %.3f s early", c->number, (double)(due - d->latest_wall_ns) / 1e9);
    if (d->config.paused)
        sim_fail(s, "task %u runs although its queue is paused", c->number);
    check_rate(d);
    check_concurrency(d, c);
}

/* ---- the target ---- */

static void answer(struct sim *s, void *arg)
{
    struct chore *c = arg;
    struct days *d = of(s);
    struct task_run *run = c->run;
    if (!run)
        return;
    struct task_outcome o = {.status = 200};
    bool calm = s->healing;
    if (!calm && sim_chance(s, 0.5)) {
        static const int statuses[] = {500, 503, 404, 429, 0};
        o.status = statuses[rng_below(&s->world_rng, ARRAY_LEN(statuses))];
        o.retry_after_ns = sim_chance(s, 0.1) ? sim_delay(s, NS_PER_S, 100 * NS_PER_S) : 0;
        o.undelivered = o.status == 0 && sim_chance(s, 0.3);
    }
    c->run = NULL;
    if (c->is == CHORE_RUNS) { /* else it has been removed meanwhile */
        if (c->durable) {      /* what the disk has until the next write is done */
            c->failed_before = c->failed;
            c->due_before_wall_ns = c->due_wall_ns;
        }
        d->since_write += c->durable;
        /* Google's rule: the retry of a run that was asked for counts from when it was asked. */
        int64_t from_ns = c->forced && !o.undelivered ? c->start_wall_ns : wall_ns(d);
        c->durable = c->forced = false;
        bool ok = o.status == 200 && !o.undelivered;
        c->failed += !ok && !o.undelivered;
        int64_t wait = o.undelivered
                           ? NS_PER_S
                           : task_backoff_ns(d->config.min_backoff_ns, d->config.max_backoff_ns, d->config.max_doublings, c->failed);
        bool dead = !ok && !o.undelivered && task_exhausted(d->config.max_attempts, 0, c->failed, 0);
        c->is = ok ? CHORE_DONE : dead ? CHORE_DEAD : CHORE_LIVE;
        c->due_wall_ns = c->is == CHORE_LIVE ? from_ns + wait : c->due_wall_ns;
        d->open -= c->is != CHORE_LIVE;
        sim_trace(s, "task %u answered %d", c->number, o.undelivered ? -1 : o.status);
    }
    queue_settle(run, &o);
}

static void on_start(struct task_consumer *tc, struct task_run *run)
{
    struct days *d = CONTAINER_OF(tc, struct days, consumer);
    struct sim *s = &d->sim;
    uint64_t number = 0;
    const char *id = strrchr(run->record->task->name, '/') + 2;
    if (parse_u64(str_of(id), d->n - 1, &number, NULL))
        sim_fail(s, "a task that nobody made: %s", id);
    struct chore *c = &d->chores[number];
    sim_trace(s, "task %u starts, attempt %u", c->number, run->attempt);
    c->run = run;
    d->starts++;
    d->retries += run->attempt > 1;
    check_start(d, c, run);
    c->is = CHORE_RUNS;
    c->start_wall_ns = wall_ns(d);
    sim_after(s, sim_chance(s, 0.1) ? sim_delay(s, NS_PER_S, 600 * NS_PER_S) : sim_delay(s, NS_PER_MS, 2 * NS_PER_S), true, answer, c);
}

static void on_cancel(struct task_consumer *tc, struct task_run *run) {} /* it answers all the same */

/* ---- clients ---- */

static void on_created(void *arg, const TaskRecord *r, const struct err *e)
{
    struct chore *c = arg;
    sim_trace(&c->days->sim, "task %u %s", c->number, e ? e->msg : "accepted");
    pb_free(c->made);
    c->made = NULL;
    if (c->is != CHORE_SENT)
        return;
    c->is = e ? CHORE_NONE : CHORE_LIVE;
    c->days->open += !e;
    c->durable = true;
}

static TaskRecord *make_record(struct days *d, const struct chore *c)
{
    char name[100], key[16];
    TaskRecord r = RUNNEL__BROKER__TASK_RECORD__INIT;
    Google__Cloud__Tasks__V2__Task task = GOOGLE__CLOUD__TASKS__V2__TASK__INIT;
    Google__Cloud__Tasks__V2__HttpRequest http = GOOGLE__CLOUD__TASKS__V2__HTTP_REQUEST__INIT;
    Google__Protobuf__Timestamp due = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
    Runnel__Broker__TaskEvent made = RUNNEL__BROKER__TASK_EVENT__INIT, *events[] = {&made};
    snprintf(name, sizeof name, QUEUE_NAME "/tasks/t%u", c->number);
    snprintf(key, sizeof key, "k%u", c->key);
    due.seconds = c->due_wall_ns / NS_PER_S;
    due.nanos = (int32_t)(c->due_wall_ns % NS_PER_S);
    made.wall_ns = wall_ns(d);
    task.name = name;
    task.schedule_time = &due;
    http.url = (char *)(uintptr_t) "http://127.0.0.1:9/";
    task.http_request = &http;
    task.message_type_case = GOOGLE__CLOUD__TASKS__V2__TASK__MESSAGE_TYPE_HTTP_REQUEST;
    r.task = &task;
    r.named = c->number % 2;
    r.fair_key = (char *)(uintptr_t)(c->key ? key : "");
    r.priority = c->number % 3;
    r.n_events = 1;
    r.events = events;
    return pb_dup(&r.base);
}

static void create_one(struct sim *s, void *arg)
{
    struct days *d = of(s);
    if (d->n == TASKS_MAX || s->healing)
        return;
    for (uint64_t burst = 1 + (sim_chance(s, 0.1) ? rng_below(&s->world_rng, 20) : 0); burst > 0 && d->n < TASKS_MAX; burst--) {
        struct chore *c = &d->chores[d->n];
        *c = (struct chore){.days = d, .is = CHORE_SENT, .number = (uint32_t)d->n, .key = (uint32_t)rng_below(&s->world_rng, 4)};
        c->due_wall_ns = c->due_before_wall_ns = to_us(wall_ns(d) + (sim_chance(s, 0.5) ? 0 : sim_delay(s, 0, 24 * HOUR_NS)));
        d->n++;
        c->made = make_record(d, c);
        queue_create(d->queue, c->made, on_created, c);
    }
    sim_after(s, sim_delay(s, NS_PER_S, 2 * 900 * NS_PER_S), false, create_one, NULL);
}

static void on_run(void *arg, const TaskRecord *r, const struct err *e)
{
    struct chore *c = arg;
    c->asked_to_run = false;
    c->forced = !e && c->is == CHORE_LIVE;
    if (c->unsettled && r)
        c->forced = true;
}

static void on_removed(void *arg, const TaskRecord *r, const struct err *e)
{
    struct chore *c = arg;
    bool alive = c->is == CHORE_LIVE || c->is == CHORE_RUNS;
    c->removing = false;
    if (e || !alive)
        return;
    c->is = CHORE_REMOVED;
    c->days->open--;
    c->durable = true;
    c->unsettled = false;
}

static void meddle(struct sim *s, void *arg)
{
    struct days *d = of(s);
    char id[16];
    struct chore *c = d->n ? &d->chores[rng_below(&s->world_rng, d->n)] : NULL;
    if (s->healing)
        return;
    snprintf(id, sizeof id, "t%u", c ? c->number : 0);
    if (c && c->is == CHORE_LIVE && !c->removing && !c->asked_to_run && sim_chance(s, 0.5)) {
        if (sim_chance(s, 0.3) && !c->unsettled) {
            c->removing = true;
            queue_remove(d->queue, id, on_removed, c);
        } else {
            c->asked_to_run = true;
            queue_run(d->queue, id, on_run, c);
        }
    } else if (sim_chance(s, 0.3)) {
        d->config.paused = !d->config.paused;
        queue_configure(d->queue, &d->config);
    } else if (sim_chance(s, 0.3)) {
        int64_t jump = sim_delay(s, -4 * HOUR_NS, 5 * HOUR_NS);
        s->wall_offset_ns += jump;
        d->jumps++;
        sim_trace(s, "the clock jumps by %.0f s", (double)jump / 1e9);
        if (sim_chance(s, 0.7))
            queue_clock_jumped(d->queue);
    }
    sim_after(s, sim_delay(s, 60 * NS_PER_S, HOUR_NS), false, meddle, NULL);
}

/* ---- the disk, and the plug ---- */

static void disk(struct timer *t, int64_t now_ns)
{
    struct sim *s = CONTAINER_OF(t, struct sim, store_timer);
    struct days *d = of(s);
    /* A full disk is made room on soon, or nothing would be accepted for days. */
    s->disk_full = !s->healing && (s->disk_full ? !sim_chance(s, 0.05) : sim_chance(s, 0.02 * s->trouble));
    store_memory_step(s->store, 1 + (size_t)rng_below(&s->world_rng, 8), s->disk_full ? ERR_RESOURCE_EXHAUSTED : ERR_OK);
    if (store_memory_queued(s->store) || d->queue->unwritten.count || !d->since_write)
        return;
    for (size_t i = 0; i < d->n; i++)
        d->chores[i].durable |= d->chores[i].is != CHORE_SENT; /* nothing is left to be written */
    d->since_write = 0;
}

static void open_queue(struct days *d)
{
    struct sim *s = &d->sim;
    struct err e = {0};
    rng_seed(&s->engine_rng, rng_u64(&s->world_rng));
    s->env = (struct env){.clock = &s->clock, .rng = &s->engine_rng, .timers = timers_new(), .log = s->log};
    const struct queue_deps deps = {&s->env, s->store, NULL, &d->consumer};
    d->queue = s->env.timers ? queue_new(&deps, QUEUE_NAME, 1, &d->config, &e) : NULL;
    if (!d->queue)
        sim_fail(s, "the queue does not start: %s", e.msg);
    d->queue->window_tasks = 4 + (size_t)rng_below(&s->world_rng, 30);
    d->queue->page_tasks = 1 + (size_t)rng_below(&s->world_rng, 10);
    if (queue_load(d->queue, &e))
        sim_fail(s, "the queue does not load: %s", e.msg);
    d->tokens = d->config.burst;
    d->tokens_ns = s->now_ns;
    d->latest_wall_ns = wall_ns(d);
}

static void crash(struct sim *s, void *arg)
{
    struct days *d = of(s);
    if (s->healing)
        return;
    sim_trace(s, "---- kill -9 ----");
    s->epoch++;
    s->crashes++;
    store_memory_crash(s->store);
    for (size_t i = 0; i < d->n; i++) {
        struct chore *c = &d->chores[i];
        if (c->is == CHORE_SENT) { /* nobody was told: it may be there */
            c->is = CHORE_REMOVED;
            c->unsettled = true;
        }
        c->unsettled |= !c->durable || c->removing;
        c->is = c->is == CHORE_RUNS ? CHORE_LIVE : c->is;
        c->run = NULL;
        pb_free(c->made);
        c->made = NULL;
        c->forced = c->asked_to_run = c->removing = false;
    }
    open_queue(d);
    sim_after(s, sim_delay(s, HOUR_NS, 20 * HOUR_NS), false, crash, NULL);
}

static void step(struct days *d)
{
    struct sim *s = &d->sim;
    struct err e;
    int64_t world = timers_next_ns(s->world), engine = timers_next_ns(s->env.timers), next = world < engine ? world : engine;
    if (next == TIMER_NEVER || ++s->steps > STEPS_MAX)
        sim_fail(s, "%zu tasks are left, and nothing happens any more", d->open);
    s->now_ns = next > s->now_ns ? next : s->now_ns;
    timers_run(s->world, s->now_ns); /* the clock may have jumped in it */
    d->latest_wall_ns = wall_ns(d) > d->latest_wall_ns ? wall_ns(d) : d->latest_wall_ns;
    timers_run(s->env.timers, s->now_ns);
    bool wanted = store_memory_queued(s->store) && !timer_armed(&s->store_timer);
    if (wanted && timer_set(s->world, &s->store_timer, s->now_ns + sim_delay(s, 100 * NS_PER_US, 20 * NS_PER_MS), &e))
        sim_fail(s, "%s", e.msg);
}

/* ---- all of it ---- */

static void begin(struct days *d, uint64_t seed, bool trace)
{
    struct sim *s = &d->sim;
    sim_world_init(s, seed, trace);
    d->consumer = (struct task_consumer){on_start, on_cancel};
    d->config = (struct queue_config){
        .rate_per_s = 0.05 + (double)rng_below(&s->world_rng, 100) / 10,
        .burst = 1 + (uint32_t)rng_below(&s->world_rng, 20),
        .concurrent = 1 + (uint32_t)rng_below(&s->world_rng, 12),
        .key_concurrent = 1 + (uint32_t)rng_below(&s->world_rng, 3),
        .max_attempts = sim_chance(s, 0.5) ? -1 : 3 + (int32_t)rng_below(&s->world_rng, 4),
        .min_backoff_ns = sim_delay(s, NS_PER_S / 10, 20 * NS_PER_S),
        .max_backoff_ns = sim_delay(s, 30 * NS_PER_S, 2 * HOUR_NS),
        .max_doublings = (uint32_t)rng_below(&s->world_rng, 10),
        .dead_keep_ns = 300 * 24 * HOUR_NS,
        .dead_max = TASKS_MAX,
    };
    timer_init(&s->store_timer, disk);
    open_queue(d);
    sim_after(s, 0, false, create_one, NULL);
    sim_after(s, HOUR_NS, false, meddle, NULL);
    sim_after(s, sim_delay(s, HOUR_NS, 20 * HOUR_NS), false, crash, NULL);
}

static size_t count_dead(const struct days *d)
{
    size_t n = 0;
    for (size_t i = 0; i < d->n; i++)
        n += d->chores[i].is == CHORE_DEAD;
    return n;
}

void sim_tasks(uint64_t seed, bool trace)
{
    struct days *d = calloc(1, sizeof *d);
    if (!d)
        _exit(1);
    struct sim *s = &d->sim;
    begin(d, seed, trace);
    while (s->now_ns < TROUBLE_NS)
        step(d);
    sim_trace(s, "---- nothing fails any more ----");
    s->healing = true;
    d->config.paused = false;
    queue_configure(d->queue, &d->config);
    int64_t end = s->now_ns + HEAL_NS;
    while ((d->open || queue_stats(d->queue).tasks) && s->now_ns < end)
        step(d);
    struct queue_stats stats = queue_stats(d->queue);
    if (d->open || stats.tasks)
        sim_fail(s, "%zu accepted tasks did not come to an end; the queue has %llu", d->open, (unsigned long long)stats.tasks);
    if (stats.dead > count_dead(d) + d->sim.crashes * d->config.concurrent || (stats.dead && d->config.max_attempts < 0))
        sim_fail(s, "%llu dead letters, %zu were due to be", (unsigned long long)stats.dead, count_dead(d));
    sim_trace(s, "%zu tasks, %llu starts, %llu retries, %llu jumps, %llu crashes", d->n, (unsigned long long)d->starts,
              (unsigned long long)d->retries, (unsigned long long)d->jumps, (unsigned long long)s->crashes);
    if (!d->starts || !d->retries || !s->crashes)
        sim_fail(s, "nothing happened: the simulation of tasks is not testing anything");
}

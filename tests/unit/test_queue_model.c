/* test_queue_model.c: random operations on a task queue with small windows, on a store that answers when chance wants, fails, and is
 * killed; after each step what is in memory and what runs is compared with a model of a few lines.
 *     QUEUE_MODEL_SEEDS=2000 build/tests/test_queue_model      a long run; QUEUE_MODEL_FIRST=17 begins there */
#include "broker/queue.h"
#include "tests/support/support_queue.h"
#include "tests/support/unit.h"

#include <stdio.h>

#define S NS_PER_S
#define IDS 60
#define STEPS 1500
#define SEEDS_DEFAULT 60

enum is { NOT_THERE, CREATING, LIVE, RUNS };
struct thing {
    char id[8];
    enum is is;
    bool running_now, forced, sure;                      /* sure: the store has it just so */
    bool removing, unsure_ended;                         /* a removal is under way; or it failed while the task ran */
    int64_t due_wall_ns, created_wall_ns, asked_wall_ns; /* asked: of a run that was */
    uint32_t failed, priority;
    const char *key;
    struct model *model;
};
struct model {
    struct tq tq;
    struct rng rng;
    struct thing things[IDS];
    double tokens;
    int64_t tokens_ns;
    uint64_t seed, step, keys, priorities;
    size_t crashes, starts, pages;
};

#define MUST(m, cond, t)                                                                                                            \
    do {                                                                                                                            \
        if (!(cond))                                                                                                                \
            fail_msg("seed %llu step %llu: task %s: not true: %s", (unsigned long long)(m)->seed, (unsigned long long)(m)->step, t, \
                     #cond);                                                                                                        \
    } while (0)

static bool chance(struct model *m, uint64_t one_in) { return rng_below(&m->rng, one_in) == 0; }

static struct thing *thing_of(struct model *m, const char *id)
{
    for (size_t i = 0; i < IDS; i++)
        if (strcmp(m->things[i].id, id) == 0)
            return &m->things[i];
    return NULL;
}

static bool purged(const struct model *m, const struct thing *t) { return t->created_wall_ns < m->tq.config.purged_wall_ns; }

/* ---- what the queue does ---- */

static void take_token(struct model *m, const char *id)
{
    const struct queue_config *c = &m->tq.config;
    m->tokens += (double)(m->tq.fe.clock.mono_ns - m->tokens_ns) / 1e9 * c->rate_per_s;
    m->tokens = m->tokens < c->burst ? m->tokens : c->burst;
    m->tokens_ns = m->tq.fe.clock.mono_ns;
    m->tokens -= 1;
    MUST(m, m->tokens > -0.001, id);
}

static void check_limits(struct model *m, const struct thing *started)
{
    size_t all = 0, of_key = 0;
    for (size_t i = 0; i < m->tq.n_starts; i++) {
        const struct thing *t = thing_of(m, m->tq.starts[i].id);
        if (!m->tq.starts[i].run)
            continue;
        all++;
        of_key += t->key && started->key && strcmp(t->key, started->key) == 0;
    }
    MUST(m, all <= m->tq.config.concurrent, started->id);
    MUST(m, !started->key || of_key <= m->tq.config.key_concurrent, started->id);
}

static int on_start(struct tq *tq, const struct tq_start *s)
{
    struct model *m = tq->model;
    struct thing *t = thing_of(m, s->id);
    m->starts++;
    MUST(m, t->is == LIVE, s->id);
    MUST(m, !purged(m, t), s->id);
    MUST(m, s->attempt == t->failed + 1, s->id);
    t->is = RUNS;
    if (t->forced) {
        t->asked_wall_ns = s->wall_ns;
        return TQ_HOLD;
    }
    MUST(m, s->wall_ns >= t->due_wall_ns, s->id);
    MUST(m, !tq->config.paused, s->id);
    take_token(m, s->id);
    check_limits(m, t);
    return TQ_HOLD;
}

/* All that is due up to a lane's edge is in memory. */
static void check_memory(struct tq *tq)
{
    struct model *m = tq->model;
    for (size_t i = 0; i < IDS; i++) {
        const struct thing *t = &m->things[i];
        const struct lane *l = tq->queue->lanes[task_lane(t->priority, t->key ? t->key : "")];
        if (t->is != LIVE || purged(m, t) || !l)
            continue;
        bool within = l->whole || due_compare(t->due_wall_ns, t->id, l->edge_wall_ns, l->edge_key) <= 0;
        if (within)
            MUST(m, map_get(tq->queue->tasks, t->id), t->id);
    }
    for (size_t i = 0; i < QUEUE_LANES; i++) {
        const struct lane *l = tq->queue->lanes[i];
        if (l && !tq->queue->unwritten.count && !l->reading && !tq->queue->in_store)
            MUST(m, l->waiting.count + l->ready.count <= tq->queue->window_tasks, "all");
    }
}

/* ---- what happens ---- */

static void on_created(void *arg, const TaskRecord *r, const struct err *e)
{
    struct thing *t = arg;
    if (t->is != CREATING)
        return; /* a crash came between */
    t->is = e || purged(t->model, t) ? NOT_THERE : LIVE;
    t->sure = !e;
}

static void create(struct model *m, struct thing *t)
{
    static const char *const keys[] = {NULL, "a", "b", "c"};
    if (t->is != NOT_THERE || t->unsure_ended)
        return;
    t->key = keys[rng_below(&m->rng, m->keys)];
    t->priority = (uint32_t)rng_below(&m->rng, m->priorities);
    t->failed = 0;
    t->forced = t->removing = false;
    int64_t in_ns = chance(m, 3) ? 0 : (int64_t)rng_below(&m->rng, chance(m, 4) ? 3600 : 20) * S;
    t->created_wall_ns = m->tq.fe.clock.wall_ns;
    t->due_wall_ns = t->created_wall_ns + in_ns;
    t->is = CREATING;
    const struct tq_task task = {.id = t->id, .in_ns = in_ns, .key = t->key, .priority = t->priority, .unnamed = true};
    queue_create(m->tq.queue, tq_record(&m->tq, &task), on_created, t);
}

static void settle(struct model *m, struct thing *t)
{
    if (t->is != RUNS)
        return;
    struct tq_start *s = tq_running(&m->tq, t->id);
    int answer = chance(m, 2) ? 200 : chance(m, 5) ? TQ_UNDELIVERED : 404;
    const struct queue_config *c = &m->tq.config;
    if (!s || purged(m, t)) {
        if (s)
            tq_settle(&m->tq, s, answer);
        t->is = NOT_THERE;
        t->unsure_ended = true; /* what the removal came to decides */
        return;
    }
    int64_t from_ns = t->forced && answer == 404 ? t->asked_wall_ns : m->tq.fe.clock.wall_ns;
    t->forced = t->sure = false;
    t->is = answer == 200 ? NOT_THERE : LIVE;
    t->failed += answer == 404;
    int64_t wait_ns = answer == 404 ? task_backoff_ns(c->min_backoff_ns, c->max_backoff_ns, c->max_doublings, t->failed) : QUEUE_AGAIN_NS;
    t->due_wall_ns = from_ns + wait_ns;
    t->unsure_ended = answer == 200;
    tq_settle(&m->tq, s, answer);
}

static void on_removed(void *arg, const TaskRecord *r, const struct err *e)
{
    struct thing *t = arg;
    if (!t->removing)
        return;
    t->removing = false;
    if (!e || e->code == ERR_NOT_FOUND)
        t->is = NOT_THERE;
}

static void take_away(struct model *m, struct thing *t)
{
    if (t->is != LIVE || t->removing)
        return;
    t->removing = true;
    queue_remove(m->tq.queue, t->id, on_removed, t);
}

static void on_run(void *arg, const TaskRecord *r, const struct err *e)
{
    struct thing *t = arg;
    t->running_now = false;
    t->forced = !e && t->is == LIVE; /* it starts next */
}

static void run_now(struct model *m, struct thing *t)
{
    if (t->is != LIVE || t->removing || t->running_now)
        return;
    t->running_now = true;
    queue_run(m->tq.queue, t->id, on_run, t);
}

static void on_got(void *arg, const TaskRecord *r, const struct err *e)
{
    struct thing *t = arg;
    bool there = t->is == LIVE || t->is == RUNS;
    if (there && !t->removing && !purged(t->model, t) && e)
        MUST(t->model, e->code == ERR_UNAVAILABLE || e->code == ERR_CANCELLED, t->id);
}

static void pause_or_resume(struct model *m)
{
    m->tq.config.paused = !m->tq.config.paused;
    queue_configure(m->tq.queue, &m->tq.config);
}

static void purge(struct model *m)
{
    fake_clock_move(&m->tq.fe.clock, 1);
    m->tq.config.purged_wall_ns = m->tq.fe.clock.wall_ns;
    for (size_t i = 0; i < IDS; i++) {
        struct thing *t = &m->things[i];
        if (t->is == LIVE) {
            t->is = NOT_THERE;
            t->unsure_ended = true;
        }
    }
    queue_configure(m->tq.queue, &m->tq.config);
}

/* ---- a crash: the model becomes what the store has ---- */

static void on_rows(struct store_entries *r, const struct err *e)
{
    struct model *m = r->arg;
    bool seen[IDS] = {false};
    for (size_t i = 0; i < r->n; i++) {
        struct thing *t = thing_of(m, r->rows[i].key);
        TaskRecord *record = pb_unpack_heap(&runnel__broker__task_record__descriptor, r->rows[i].body);
        if (!record)
            abort(); /* what the queue wrote can be read */
        bool is_purged = record_created(record) < m->tq.config.purged_wall_ns;
        seen[t - m->things] = !is_purged;
        if (!is_purged) {
            MUST(m, t->is != NOT_THERE || t->unsure_ended, t->id);
            if (t->is == LIVE && t->sure && !t->removing)
                MUST(m, r->rows[i].due_wall_ns == t->due_wall_ns && record->task->dispatch_count == (int32_t)t->failed, t->id);
            t->is = LIVE;
            t->due_wall_ns = r->rows[i].due_wall_ns;
            t->created_wall_ns = record_created(record);
            t->failed = (uint32_t)record->task->dispatch_count;
        }
        pb_free(record);
    }
    for (size_t i = 0; i < IDS; i++) {
        struct thing *t = &m->things[i];
        MUST(m, seen[i] || t->is == NOT_THERE || t->is == CREATING || t->removing || purged(m, t), t->id);
        t->is = seen[i] ? LIVE : NOT_THERE;
        t->sure = true;
        t->running_now = t->forced = t->removing = t->unsure_ended = false;
    }
}

static void crash(struct model *m)
{
    m->crashes++;
    store_memory_crash(m->tq.store);
    struct store_entries all = {.by = STORE_KEYS, .list_id = 7, .lane_max = QUEUE_LANES - 1, .key = "", .max_count = 1000};
    all.max_bytes = SIZE_MAX;
    all.done = on_rows;
    all.arg = m;
    m->tq.store->ops->entries(m->tq.store, &all);
    store_memory_step(m->tq.store, 1, ERR_OK);
    tq_crash(&m->tq);
    m->tokens = m->tq.config.burst;
    m->tokens_ns = m->tq.fe.clock.mono_ns;
}

/* ---- at rest, model and queue agree ---- */

static void check_rest(struct model *m)
{
    struct tq *tq = &m->tq;
    tq->store_fails = ERR_OK;
    tq_advance(tq, 4 * S); /* what could not be written is, and a purge is swept */
    char want[IDS * 9] = "";
    size_t n = 0, alive = 0;
    for (size_t i = 0; i < IDS; i++) {
        struct thing *t = &m->things[i];
        t->unsure_ended = false;
        t->sure = true;
        if (t->is == RUNS && purged(m, t))
            t->is = NOT_THERE;
        if (t->is == NOT_THERE)
            continue;
        alive++;
        n += (size_t)snprintf(want + n, sizeof want - n, "%s%s", n ? " " : "", t->id);
    }
    const char *got = tq_list(tq, false);
    if (strcmp(got, want) != 0)
        fail_msg("seed %llu step %llu: listed \"%s\", wanted \"%s\"", (unsigned long long)m->seed, (unsigned long long)m->step, got, want);
    if (queue_stats(tq->queue).tasks != alive)
        fail_msg("seed %llu step %llu: live %llu doomed %llu alive %zu jobs %zu sweeping %d", (unsigned long long)m->seed,
                 (unsigned long long)m->step, (unsigned long long)tq->queue->live, (unsigned long long)tq->queue->doomed, alive,
                 tq->queue->jobs.count, tq->queue->sweeping_purge);
    m->pages++;
}

static void one_step(struct model *m)
{
    struct thing *t = &m->things[rng_below(&m->rng, IDS)];
    switch (rng_below(&m->rng, 14)) {
    case 0:
    case 1:
    case 2:
        create(m, t);
        break;
    case 3:
    case 4:
    case 5:
        settle(m, t);
        break;
    case 6:
        take_away(m, t);
        break;
    case 7:
        run_now(m, t);
        break;
    case 8:
        queue_get(m->tq.queue, t->id, on_got, t);
        break;
    case 9:
        if (chance(m, 8))
            pause_or_resume(m);
        break;
    case 10:
        if (chance(m, 60))
            purge(m);
        else if (chance(m, 30))
            crash(m);
        else if (chance(m, 20))
            check_rest(m);
        break;
    case 11:
        m->tq.store_fails = chance(m, 8) ? ERR_UNAVAILABLE : ERR_OK;
        break;
    default:
        fake_clock_move(&m->tq.fe.clock, (int64_t)rng_below(&m->rng, (uint64_t)(chance(m, 10) ? 60 : 2) * S));
    }
}

static void end_all(struct model *m)
{
    m->tq.config.paused = false;
    queue_configure(m->tq.queue, &m->tq.config);
    check_rest(m);
    for (size_t left = 1, turns = 0; left; turns++) {
        tq_advance(&m->tq, 30 * S);
        left = 0;
        for (size_t i = 0; i < IDS; i++) {
            struct thing *t = &m->things[i];
            struct tq_start *s = t->is == RUNS ? tq_running(&m->tq, t->id) : NULL;
            left += t->is != NOT_THERE;
            if (s) {
                t->is = NOT_THERE;
                tq_settle(&m->tq, s, 200);
            }
        }
        MUST(m, turns < 1000, "all");
    }
    check_rest(m);
}

static void run_seed(struct model *m, uint64_t seed)
{
    struct queue_config c = tq_config();
    c.rate_per_s = 3;
    c.burst = 4;
    c.concurrent = 6;
    c.key_concurrent = 2;
    c.max_attempts = -1;
    *m = (struct model){.seed = seed, .tokens = c.burst, .tokens_ns = FAKE_MONO_NS};
    rng_seed(&m->rng, seed);
    m->keys = 1 + rng_below(&m->rng, 4);
    m->priorities = 1 + rng_below(&m->rng, 2);
    m->tq.window_tasks = 4 + (size_t)rng_below(&m->rng, 8);
    m->tq.page_tasks = 1 + (size_t)rng_below(&m->rng, 4);
    tq_init(&m->tq, &c);
    m->tq.model = m;
    m->tq.answer_of = on_start;
    m->tq.check = check_memory;
    for (size_t i = 0; i < IDS; i++) {
        m->things[i] = (struct thing){.model = m};
        snprintf(m->things[i].id, sizeof m->things[i].id, "t%02zu", i);
    }
    for (m->step = 0; m->step < STEPS; m->step++) {
        one_step(m);
        if (chance(m, 3))
            tq_let_through(&m->tq, 1);
        store_memory_step(m->tq.store, (size_t)rng_below(&m->rng, 3), m->tq.store_fails);
        check_memory(&m->tq);
        if (timers_next_ns(m->tq.fe.env.timers) <= m->tq.fe.clock.mono_ns)
            timers_run(m->tq.fe.env.timers, m->tq.fe.clock.mono_ns);
        check_memory(&m->tq);
    }
    end_all(m);
    tq_stop(&m->tq);
}

static uint64_t number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

static void memory_and_store_agree_whatever_happens(void **state)
{
    struct model *m = calloc(1, sizeof *m);
    assert_non_null(m);
    size_t crashes = 0, starts = 0, pages = 0;
    uint64_t first = number("QUEUE_MODEL_FIRST", 1), n = number("QUEUE_MODEL_SEEDS", SEEDS_DEFAULT);
    for (uint64_t seed = first; seed < first + n; seed++) {
        run_seed(m, seed);
        crashes += m->crashes;
        starts += m->starts;
        pages += m->pages;
    }
    print_message("%llu seeds: %zu starts, %zu crashes, %zu times at rest\n", (unsigned long long)n, starts, crashes, pages);
    assert_true(starts > 50 * n && pages > n);
    free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(memory_and_store_agree_whatever_happens)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

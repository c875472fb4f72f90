/* test_torture_queue.c: the engine of task queues while memory fails under each thing that a task can live through.
 *  A queue with small windows; then one act with one allocation somewhere failing; then, at once or after a kill -9, everything is let
 *  run to its end. What was accepted has run, what was refused has not, an answer is never told twice or not at all, no success is
 *  repeated but after the crash, and in the end nothing is left: no task, no byte, no key. */
#include "broker/queue.h"
#include "tests/support/support_fault.h"
#include "tests/support/support_queue.h"
#include "tests/support/unit.h"

#include <stdio.h>

#define S NS_PER_S
#define HOUR (3600 * S)
#define THINGS 24
#define DEADS 3

struct thing { /* a task that the act makes, or finds */
    char id[16];
    struct tq_done made, removed;
    bool purged, succeeded;
};
struct life;
struct act {
    const char *name;
    void (*before)(struct life *l); /* nothing fails */
    void (*go)(struct life *l);
    bool pauses;       /* the queue is left paused */
    uint32_t attempts; /* of the queue; 0: plenty */
};
struct life {
    struct tq tq;
    const struct act *act;
    struct thing things[THINGS];
    size_t n;
    struct tq_done asked[4];
    size_t nth;
    bool crash, gone, deleted;
};

FMT(2, 3) static void broken(const struct life *l, const char *fmt, ...)
{
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    fail_msg("%s, allocation %zu%s: %s", l->act->name, l->nth, l->crash ? ", then a crash" : "", text);
}

/* ---- what an act is made of ---- */

static struct thing *make(struct life *l, struct tq_task t)
{
    struct thing *thing = &l->things[l->n++];
    assert_true(l->n <= THINGS);
    snprintf(thing->id, sizeof thing->id, "t%02zu", l->n - 1);
    t.id = thing->id;
    tq_create(&l->tq, &t, &thing->made);
    return thing;
}

static void make_some(struct life *l, size_t n, struct tq_task t)
{
    static const char *const keys[] = {NULL, "a"};
    for (size_t i = 0; i < n; i++) {
        t.key = keys[i % 2];
        t.priority = (uint32_t)i % 2;
        t.unnamed = i % 4 == 3;
        make(l, t);
    }
}

static void settle_all(struct life *l, int answer)
{
    for (size_t i = 0; i < l->tq.n_starts; i++) {
        struct tq_start *s = &l->tq.starts[i];
        for (size_t k = 0; s->run && k < l->n; k++)
            if (strcmp(s->id, l->things[k].id) == 0)
                l->things[k].succeeded |= answer == 200;
        if (s->run)
            tq_settle(&l->tq, s, answer);
    }
}

static void take_away(struct life *l, struct thing *t) { queue_remove(l->tq.queue, t->id, tq_done, &t->removed); }

static void pause(struct life *l, bool paused)
{
    l->tq.config.paused = paused;
    queue_configure(l->tq.queue, &l->tq.config);
}

/* ---- before ---- */

static void some_wait(struct life *l)
{
    make_some(l, 12, (struct tq_task){.in_ns = 60 * S}); /* more than fit into memory */
    tq_run(&l->tq);
}

static void some_run(struct life *l)
{
    make_some(l, 6, (struct tq_task){0});
    tq_run(&l->tq);
}

static void some_of_each(struct life *l)
{
    some_run(l);
    some_wait(l);
}

static void some_are_dead(struct life *l)
{
    make_some(l, DEADS, (struct tq_task){.body_n = 100});
    tq_run(&l->tq);
    settle_all(l, 500);
    tq_run(&l->tq);
    assert_int_equal(queue_stats(l->tq.queue).dead, DEADS);
}

static void a_name_is_held(struct life *l)
{
    tq_add(&l->tq, &(struct tq_task){.id = "t00"});
    settle_all(l, 200);
    tq_advance(&l->tq, HOUR + S);
    l->tq.n_starts = 0;
}

/* ---- the acts ---- */

static void comes_and_succeeds(struct life *l)
{
    make_some(l, 4, (struct tq_task){0});
    tq_run(&l->tq);
    settle_all(l, 200);
    tq_run(&l->tq);
}

static void fails_and_comes_again(struct life *l)
{
    settle_all(l, 503);
    tq_advance(&l->tq, 11 * S);
}

static void is_not_delivered(struct life *l)
{
    settle_all(l, TQ_UNDELIVERED);
    tq_advance(&l->tq, 2 * S);
}

static void comes_later(struct life *l)
{
    make_some(l, 12, (struct tq_task){.in_ns = 60 * S});
    tq_run(&l->tq);
}

static void becomes_due(struct life *l) { tq_advance(&l->tq, 61 * S); }

static void is_removed(struct life *l)
{
    take_away(l, &l->things[0]);
    take_away(l, &l->things[l->n - 1]);
    tq_run(&l->tq);
}

static void is_removed_while_it_fails(struct life *l)
{
    take_away(l, &l->things[0]);
    settle_all(l, 404);
    tq_run(&l->tq);
}

static void is_run_now(struct life *l)
{
    pause(l, true);
    queue_run(l->tq.queue, l->things[0].id, tq_done, &l->asked[0]);
    queue_run(l->tq.queue, l->things[l->n - 1].id, tq_done, &l->asked[1]);
    tq_run(&l->tq);
}

static void is_purged(struct life *l)
{
    fake_clock_move(&l->tq.fe.clock, 1);
    l->tq.config.purged_wall_ns = l->tq.fe.clock.wall_ns;
    for (size_t i = 0; i < l->n; i++)
        l->things[i].purged = true;
    queue_configure(l->tq.queue, &l->tq.config);
    make(l, (struct tq_task){.in_ns = S});
    tq_advance(&l->tq, 3 * S);
}

static void dies(struct life *l)
{
    settle_all(l, 500);
    tq_run(&l->tq);
}

static void all_come_back(struct life *l)
{
    queue_redrive(l->tq.queue, NULL, 0, tq_counted, &l->asked[0]);
    tq_run(&l->tq);
}

static void one_comes_back_and_one_goes(struct life *l)
{
    const char *const one[] = {"t00", "unknown"}, *const other[] = {"t01"};
    queue_redrive(l->tq.queue, one, ARRAY_LEN(one), tq_counted, &l->asked[0]);
    queue_dead_remove(l->tq.queue, other, ARRAY_LEN(other), tq_counted, &l->asked[1]);
    tq_run(&l->tq);
}

static void is_asked_for(struct life *l)
{
    queue_get(l->tq.queue, l->things[0].id, tq_done, &l->asked[0]);
    queue_get(l->tq.queue, l->things[l->n - 1].id, tq_done, &l->asked[1]);
    tq_run(&l->tq);
}

static void on_page(void *arg, const TaskRecord *const *records, size_t n, bool more, const struct err *e)
{
    struct life *l = arg;
    l->asked[0] = (struct tq_done){.done = true, .code = e ? e->code : ERR_OK, .count = n};
    if (!e && n != l->n)
        broken(l, "a page of %zu tasks has %zu", l->n, n);
}

static void is_listed(struct life *l)
{
    queue_list(l->tq.queue, false, "", 100, on_page, l);
    tq_run(&l->tq);
}

static void takes_a_name_that_is_free_again(struct life *l)
{
    make(l, (struct tq_task){0});
    tq_run(&l->tq);
}

static void is_resumed(struct life *l)
{
    pause(l, true);
    make_some(l, 4, (struct tq_task){0});
    tq_run(&l->tq);
    pause(l, false);
    tq_run(&l->tq);
}

static void on_deleted(void *arg, const struct err *e)
{
    struct life *l = arg;
    l->gone = !e;
}

static void goes_with_its_queue(struct life *l)
{
    l->deleted = true;
    make(l, (struct tq_task){0});
    take_away(l, &l->things[1]);
    queue_delete(l->tq.queue, on_deleted, l);
    tq_run(&l->tq);
}

static const struct act acts[] = {
    {.name = "comes, runs, and is gone", .go = comes_and_succeeds},
    {.name = "comes for later", .go = comes_later},
    {.name = "becomes due", .before = some_wait, .go = becomes_due},
    {.name = "fails and comes again", .before = some_run, .go = fails_and_comes_again},
    {.name = "is not delivered", .before = some_run, .go = is_not_delivered},
    {.name = "is removed while it waits", .before = some_wait, .go = is_removed},
    {.name = "is removed while it runs", .before = some_run, .go = is_removed},
    {.name = "is removed while it fails", .before = some_run, .go = is_removed_while_it_fails},
    {.name = "is run now", .before = some_wait, .go = is_run_now},
    {.name = "is purged", .before = some_of_each, .go = is_purged},
    {.name = "is out of attempts", .before = some_run, .go = dies, .attempts = 1},
    {.name = "comes back from the dead", .before = some_are_dead, .go = all_come_back, .attempts = 1},
    {.name = "comes back, another goes", .before = some_are_dead, .go = one_comes_back_and_one_goes, .attempts = 1},
    {.name = "is asked for", .before = some_wait, .go = is_asked_for},
    {.name = "is listed", .before = some_of_each, .go = is_listed},
    {.name = "takes a name that is free again", .before = a_name_is_held, .go = takes_a_name_that_is_free_again},
    {.name = "waits in a paused queue", .go = is_resumed},
    {.name = "goes with its queue", .before = some_of_each, .go = goes_with_its_queue},
};

/* ---- what must hold ---- */

static bool asked_is_well(const struct tq_done *d) { return d->code == ERR_OK || d->code == ERR_RESOURCE_EXHAUSTED; }

static void check_answers(struct life *l)
{
    for (size_t i = 0; i < l->n; i++) {
        const struct thing *t = &l->things[i];
        if (!t->made.done)
            broken(l, "the creator of %s got no answer", t->id);
        bool well = t->made.code == ERR_OK || t->made.code == ERR_RESOURCE_EXHAUSTED || (l->deleted && t->made.code == ERR_CANCELLED);
        if (!well)
            broken(l, "the creation of %s was answered with %s", t->id, err_name(t->made.code));
        if (t->removed.done && !asked_is_well(&t->removed) && !l->deleted)
            broken(l, "the removal of %s was answered with %s", t->id, err_name(t->removed.code));
    }
    for (size_t i = 0; i < ARRAY_LEN(l->asked); i++)
        if (l->asked[i].done && !asked_is_well(&l->asked[i]))
            broken(l, "question %zu was answered with %s", i, err_name(l->asked[i].code));
}

/* From here on everything is answered with 200, until nothing moves. */
static void run_out(struct life *l)
{
    struct tq *tq = &l->tq;
    struct tq_done redriven = {0};
    tq->n_starts = 0;
    tq->answer = 200;
    pause(l, false);
    tq_advance(tq, 10 * S);
    queue_redrive(tq->queue, NULL, 0, tq_counted, &redriven);
    for (int i = 0; i < 8; i++)
        tq_advance(tq, 600 * S);
    if (!redriven.done || redriven.code != ERR_OK)
        broken(l, "dead letters cannot be redriven in the end");
}

static void check_nothing_is_left(struct life *l)
{
    const struct queue *q = l->tq.queue;
    const struct queue_stats s = queue_stats(q);
    if (map_count(q->tasks) || map_count(q->creating) || map_count(q->fairs) || map_count(q->hosts))
        broken(l, "in memory: %zu tasks, %zu new ones, %zu keys, %zu hosts", map_count(q->tasks), map_count(q->creating),
               map_count(q->fairs), map_count(q->hosts));
    if (q->bytes || q->running_bytes || q->in_store || q->unwritten.count || q->asks.count || q->jobs.count)
        broken(l, "left: %zu bytes, %zu running, %zu in the store, %zu unwritten, %zu asks, %zu jobs", q->bytes, q->running_bytes,
               q->in_store, q->unwritten.count, q->asks.count, q->jobs.count);
    if (s.tasks || s.dead || s.waiting || s.ready || s.running)
        broken(l, "counted: %zu tasks, %zu dead, %zu waiting, %zu ready, %zu running", (size_t)s.tasks, (size_t)s.dead, s.waiting, s.ready,
               s.running);
    if (*tq_list(&l->tq, false))
        broken(l, "listed: %s", tq_list(&l->tq, false));
}

/* `before`: the starts until the faults were over, by thing. */
static void check_runs(struct life *l, const size_t before[THINGS])
{
    for (size_t i = 0; i < l->n; i++) {
        const struct thing *t = &l->things[i];
        size_t after = tq_count(&l->tq, t->id);
        bool made = t->made.code == ERR_OK, removed = t->removed.done && t->removed.code == ERR_OK;
        if (!made && before[i] + after)
            broken(l, "%s was refused and has run", t->id);
        if (made && !removed && !t->purged && !t->succeeded && !after)
            broken(l, "%s was accepted and has not run to its end", t->id);
        if (after > 1 || (removed && after) || (t->purged && after) || (t->succeeded && after && !l->crash))
            broken(l, "%s ran %zu times after its end", t->id, after);
    }
}

static void at_the_end(struct life *l, const size_t before[THINGS])
{
    if (l->deleted) {
        tq_advance(&l->tq, 5 * S);
        if (!l->gone)
            broken(l, "the queue was not deleted");
        l->tq.queue = NULL;
        check_answers(l);
        return;
    }
    run_out(l);
    if (l->act->go == one_comes_back_and_one_goes && l->asked[1].count)
        l->things[1].removed = (struct tq_done){.done = true};
    check_answers(l);
    check_runs(l, before);
    check_nothing_is_left(l);
}

static bool live(const struct act *act, bool crash, enum fault what, size_t nth, size_t times)
{
    static struct life l;
    struct queue_config c = tq_config();
    size_t before[THINGS] = {0};
    c.max_attempts = act->attempts ? (int32_t)act->attempts : 100;
    c.concurrent = 20;
    l = (struct life){.act = act, .nth = nth, .crash = crash};
    l.tq.window_tasks = 4;
    l.tq.page_tasks = 2;
    tq_init(&l.tq, &c);
    if (act->before)
        act->before(&l);
    fault_arm(what, nth, times);
    act->go(&l);
    bool failed = fault_disarm();
    for (size_t i = 0; i < l.n; i++)
        before[i] = tq_count(&l.tq, l.things[i].id);
    if (crash && !l.deleted)
        tq_crash(&l.tq);
    else
        settle_all(&l, 404);
    at_the_end(&l, before);
    for (size_t i = 0; i < l.n; i++) {
        pb_free(l.things[i].made.record);
        pb_free(l.things[i].removed.record);
    }
    for (size_t i = 0; i < ARRAY_LEN(l.asked); i++)
        pb_free(l.asked[i].record);
    tq_stop(&l.tq);
    return failed;
}

static bool run_act(const struct torture *t, enum fault what, size_t nth, size_t times)
{
    bool failed = live(t->arg, false, what, nth, times);
    return live(t->arg, true, what, nth, times) || failed;
}

static void whatever_a_task_lives_through(void **state)
{
    size_t failures = 0;
    for (size_t i = 0; i < ARRAY_LEN(acts); i++) {
        struct torture t = {.name = acts[i].name, .run = run_act, .arg = &acts[i], .every = true};
        failures += torture(&t, FAULT_ALLOC, FAULT_ONCE);
    }
    assert_true(failures > 600);
}

/* Not one, but ten in a row: what is tried again at once fails again. */
static void for_a_while(void **state)
{
    size_t failures = 0;
    for (size_t i = 0; i < ARRAY_LEN(acts); i++) {
        struct torture t = {.name = acts[i].name, .run = run_act, .arg = &acts[i], .every = true};
        failures += torture(&t, FAULT_ALLOC, 10);
    }
    assert_true(failures > 600);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(whatever_a_task_lives_through), cmocka_unit_test(for_a_while)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

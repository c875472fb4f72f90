/* test_queue_end.c: how tasks and queues end: dead letters, age, purge, deletion; and what trouble with store and clock does. */
#include "broker/queue.h"
#include "tests/support/support_queue.h"
#include "tests/support/unit.h"

#include <stdio.h>

#define S NS_PER_S
#define HOUR (3600 * S)

static void assert_metric(struct tq *tq, const char *line)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    assert_int_equal(metrics_render(tq->metrics, &b), 0);
    if (!strstr(buf_cstr(&b), line))
        fail_msg("no \"%s\" in:\n%s", line, buf_cstr(&b));
    buf_fini(&b);
}

/* ---- the end ---- */

static void retries_end_in_a_dead_letter_that_can_be_browsed_and_brought_back(void **state)
{
    struct queue_config c = tq_config();
    c.max_attempts = 3;
    struct tq *tq = tq_begin(state, &c);
    struct tq_done d = {0};
    tq->answer = 404;
    tq_add(tq, &(struct tq_task){.id = "a"});
    tq_add(tq, &(struct tq_task){.id = "b"});
    tq_advance(tq, 31 * S);
    assert_int_equal(tq->n_starts, 6);
    assert_string_equal(tq_list(tq, false), "");
    assert_string_equal(tq_list(tq, true), "a b");
    assert_int_equal(queue_stats(tq->queue).dead, 2);
    assert_int_equal(tq_get(tq, "a", &d), ERR_NOT_FOUND);
    assert_metric(tq, "runnel_task_dead_letters{queue=\"" TQ_QUEUE "\"} 2");
    d.done = false;
    tq_create(tq, &(struct tq_task){.id = "a"}, &d);
    tq_run(tq);
    assert_int_equal(d.code, ERR_ALREADY_EXISTS);
    tq_crash(tq);
    static const char *const ids[] = {"b", "nothing"};
    queue_redrive(tq->queue, ids, 2, tq_counted, &d);
    tq->answer = TQ_HOLD;
    tq_run(tq);
    assert_int_equal(d.count, 1);
    assert_int_equal(tq->starts[6].attempt, 1);
    assert_string_equal(tq_list(tq, true), "a");
    assert_int_equal(tq_get(tq, "b", &d), ERR_OK);
    assert_int_equal(d.record->executions, 0);
    assert_null(d.record->dead_reason[0] ? d.record->dead_reason : NULL);
    pb_free(d.record);
    d.record = NULL;
    queue_dead_remove(tq->queue, NULL, 0, tq_counted, &d);
    tq_run(tq);
    assert_int_equal(d.count, 1);
    assert_string_equal(tq_list(tq, true), "");
    assert_int_equal(queue_stats(tq->queue).dead, 0);
    assert_int_equal(queue_stats(tq->queue).tasks, 1);
}

static void both_limits_must_be_used_up(void **state)
{
    struct queue_config c = tq_config();
    c.max_attempts = 2;
    c.max_retry_ns = 100 * S;
    struct tq *tq = tq_begin(state, &c);
    tq->answer = 404;
    tq_add(tq, &(struct tq_task){.id = "a"});
    tq_advance(tq, HOUR);
    assert_int_equal(tq->n_starts, 5); /* at 0, 10, 30, 70, 150 s */
    assert_string_equal(tq_list(tq, true), "a");
}

static void dead_letters_go_by_age_and_by_number(void **state)
{
    struct queue_config c = tq_config();
    c.max_attempts = 1;
    c.dead_keep_ns = 2 * HOUR;
    c.dead_max = 3;
    struct tq *tq = tq_begin(state, &c);
    tq->answer = 500;
    for (int i = 0; i < 5; i++) {
        char id[2] = {(char)('a' + i), 0};
        tq_add(tq, &(struct tq_task){.id = id});
        tq_advance(tq, 60 * S);
    }
    assert_string_equal(tq_list(tq, true), "c d e");
    tq_advance(tq, 2 * HOUR - 3 * 60 * S);
    assert_string_equal(tq_list(tq, true), "d e"); /* at its time for readers */
    tq_advance(tq, 3 * 60 * S + QUEUE_SWEEP_NS);
    assert_int_equal(queue_stats(tq->queue).dead, 0);
    assert_true(timers_next_ns(tq->fe.env.timers) == TIMER_NEVER || tq->queue->names_wall_ns < INT64_MAX);
    c.dead_keep_ns = 0;
    queue_configure(tq->queue, &c);
    tq_add(tq, &(struct tq_task){.id = "z"});
    tq_run(tq);
    assert_int_equal(queue_stats(tq->queue).dead, 0);
    assert_int_equal(queue_stats(tq->queue).tasks, 0);
}

static void a_task_dies_at_31_days(void **state)
{
    struct queue_config c = tq_config();
    c.max_attempts = -1;
    c.max_backoff_ns = c.min_backoff_ns = 24 * HOUR;
    struct tq *tq = tq_begin(state, &c);
    tq->answer = 404;
    tq_add(tq, &(struct tq_task){.id = "a"});
    tq_advance(tq, 40 * 24 * HOUR);
    assert_in_range(tq->n_starts, 31, 32);
    assert_string_equal(tq_list(tq, true), ""); /* it was kept 7 days */
    tq->config.paused = true;
    queue_configure(tq->queue, &tq->config);
    tq_add(tq, &(struct tq_task){.id = "b"});
    tq_add(tq, &(struct tq_task){.id = "ahead", .in_ns = 60 * 24 * HOUR});
    tq_advance(tq, 32 * 24 * HOUR);
    tq->config.paused = false;
    queue_configure(tq->queue, &tq->config);
    tq_run(tq);
    assert_int_equal(tq_count(tq, "b"), 0);
    assert_string_equal(tq_list(tq, true), "b");
    tq->answer = 200;
    tq_advance(tq, 28 * 24 * HOUR);
    assert_int_equal(tq_count(tq, "ahead"), 1); /* as it was asked for */
}

/* ---- purge, delete ---- */

static void a_purge_takes_all_that_was_there(void **state)
{
    struct tq *tq = *state;
    tq->window_tasks = 8;
    tq->page_tasks = 5;
    tq_begin(state, NULL);
    tq_add_many(tq, "t", 60, (struct tq_task){.in_ns = HOUR});
    tq_add(tq, &(struct tq_task){.id = "r"});
    tq_advance(tq, S);
    tq->config.purged_wall_ns = tq->fe.clock.wall_ns;
    queue_configure(tq->queue, &tq->config);
    assert_int_equal(queue_stats(tq->queue).tasks, 0);
    tq_create(tq, &(struct tq_task){.id = "new", .in_ns = HOUR}, NULL);
    store_memory_step(tq->store, 9, ERR_OK);
    tq_crash(tq); /* in the middle of the sweep */
    struct tq_done d = {0};
    assert_int_equal(tq_get(tq, "t0059", &d), ERR_NOT_FOUND);
    assert_string_equal(tq_list(tq, false), "new");
    d.done = false;
    tq_create(tq, &(struct tq_task){.id = "t0003"}, &d);
    tq_run(tq);
    assert_int_equal(d.code, ERR_ALREADY_EXISTS);
    tq_crash(tq);
    size_t steps = tq->store_steps;
    tq_run(tq);
    assert_true(tq->store_steps - steps < 6); /* it is known that it has been swept */
    assert_int_equal(queue_stats(tq->queue).tasks, 1);
    tq->answer = 200;
    tq_advance(tq, 2 * HOUR);
    assert_int_equal(tq->n_starts, 2);
    assert_int_equal(tq_count(tq, "new"), 1);
}

static void a_purge_cancels_what_runs_and_what_is_being_written(void **state)
{
    struct tq *tq = tq_begin(state, NULL);
    struct tq_done d = {0};
    tq_add(tq, &(struct tq_task){.id = "r"});
    tq_create(tq, &(struct tq_task){.id = "w"}, &d);
    fake_clock_move(&tq->fe.clock, 1);
    tq->config.purged_wall_ns = tq->fe.clock.wall_ns;
    queue_configure(tq->queue, &tq->config);
    tq_run(tq);
    assert_int_equal(d.code, ERR_OK);
    assert_int_equal(tq->cancelled, 1);
    assert_int_equal(tq->n_starts, 1);
    assert_int_equal(queue_stats(tq->queue).tasks, 0);
    assert_string_equal(tq_list(tq, false), "");
    pb_free(d.record);
}

static void deleted(void *arg, const struct err *e) { *(bool *)arg = true; }

static void a_deleted_queue_forgets_all_and_answers_everybody(void **state)
{
    struct tq *tq = tq_begin(state, NULL);
    struct tq_done d[4] = {0};
    bool gone = false;
    tq_add_many(tq, "t", 30, (struct tq_task){.in_ns = HOUR});
    tq_add(tq, &(struct tq_task){.id = "r"});
    tq_create(tq, &(struct tq_task){.id = "x"}, &d[0]);
    queue_remove(tq->queue, "t0001", tq_done, &d[1]);
    queue_get(tq->queue, "unknown", tq_done, &d[2]);
    queue_redrive(tq->queue, NULL, 0, tq_counted, &d[3]);
    queue_delete(tq->queue, deleted, &gone);
    tq->store_fails = ERR_UNAVAILABLE;
    tq_run(tq);
    assert_false(gone);
    tq->store_fails = ERR_OK;
    tq_advance(tq, S);
    assert_true(gone);
    for (size_t i = 0; i < ARRAY_LEN(d); i++) {
        CASE_TRUE("answered", d[i].done);
        CASE_TRUE("refused", d[i].code != ERR_OK);
    }
    assert_int_equal(tq->cancelled, 1);
    tq->queue = NULL;
    struct err e;
    assert_int_equal(tq->store->ops->load_lanes(tq->store, 7, NULL, NULL, &e), 0);
    struct buf b;
    buf_init(&b, 1 << 20);
    assert_int_equal(metrics_render(tq->metrics, &b), 0);
    assert_null(strstr(buf_cstr(&b), TQ_QUEUE));
    buf_fini(&b);
}

/* Three dead letters, out of their only attempt. */
static struct tq *with_dead_letters(void **state, size_t body_n)
{
    struct queue_config c = tq_config();
    c.max_attempts = 1;
    struct tq *tq = tq_begin(state, &c);
    tq->answer = 500;
    tq_add_many(tq, "d", 3, (struct tq_task){.body_n = body_n});
    tq_run(tq);
    assert_int_equal(queue_stats(tq->queue).dead, 3);
    tq->answer = TQ_HOLD;
    return tq;
}

static void all_come_back_though_the_clock_was_set_back(void **state)
{
    struct tq *tq = with_dead_letters(state, 0);
    struct tq_done d = {0};
    tq->fe.clock.wall_ns -= HOUR;
    queue_redrive(tq->queue, NULL, 0, tq_counted, &d);
    tq_run(tq);
    assert_true(d.done && d.code == ERR_OK);
    assert_int_equal(d.count, 3);
    assert_int_equal(queue_stats(tq->queue).dead, 0);
}

static int dies_a_moment_later(struct tq *tq, const struct tq_start *s)
{
    fake_clock_move(&tq->fe.clock, 1);
    return tq->n_starts < 100 ? 500 : 200;
}

/* A redrive that took them again would have no end. */
static void what_dies_while_all_come_back_stays_dead(void **state)
{
    struct tq *tq = with_dead_letters(state, 0);
    struct tq_done d = {0};
    tq->answer_of = dies_a_moment_later;
    tq->queue->page_tasks = 1;
    queue_redrive(tq->queue, NULL, 0, tq_counted, &d);
    tq_run(tq);
    assert_true(d.done && d.code == ERR_OK);
    assert_int_equal(d.count, 3);
    assert_int_equal(queue_stats(tq->queue).dead, 3);
}

static size_t new_max;
static void watch_new(struct tq *tq) { new_max = tq->queue->states[TASK_NEW] > new_max ? tq->queue->states[TASK_NEW] : new_max; }

static void a_redrive_takes_as_many_large_ones_at_once_as_a_step_may(void **state)
{
    static const char *const ids[] = {"d0000", "d0001", "d0002"};
    struct tq *tq = with_dead_letters(state, 600 * 1024);
    struct tq_done d = {0};
    new_max = 0;
    tq->check = watch_new;
    queue_redrive(tq->queue, ids, ARRAY_LEN(ids), tq_counted, &d);
    tq_run(tq);
    assert_true(d.done && d.code == ERR_OK);
    assert_int_equal(d.count, 3);
    assert_int_equal(new_max, 2); /* a megabyte, and the one that goes over it */
}

static void a_redrive_that_a_stop_interrupts_is_answered(void **state)
{
    struct tq *tq = with_dead_letters(state, 0);
    struct tq_done d = {0};
    tq->queue->page_tasks = 1;
    queue_redrive(tq->queue, NULL, 0, tq_counted, &d);
    timers_run(tq->fe.env.timers, tq->fe.clock.mono_ns); /* its first page is asked for */
    assert_int_equal(tq->gate.n, 1);
    queue_stop(tq->queue);
    tq_run(tq);
    assert_true(d.done);
    assert_int_equal(d.code, ERR_UNAVAILABLE);
}

static void a_stopped_queue_starts_nothing_but_takes_answers(void **state)
{
    struct tq *tq = tq_begin(state, NULL);
    struct tq_done d = {0};
    tq_add(tq, &(struct tq_task){.id = "a"});
    tq_add(tq, &(struct tq_task){.id = "b", .in_ns = S});
    queue_stop(tq->queue);
    tq_advance(tq, 2 * S);
    assert_int_equal(tq->n_starts, 1);
    tq_create(tq, &(struct tq_task){.id = "c"}, &d);
    assert_int_equal(d.code, ERR_UNAVAILABLE);
    assert_int_equal(tq_get(tq, "b", &d), ERR_UNAVAILABLE);
    tq_settle(tq, tq_running(tq, "a"), 200);
    tq_run(tq);
    tq_crash(tq);
    tq_run(tq);
    assert_int_equal(tq_count(tq, "a"), 1);
    assert_int_equal(tq_count(tq, "b"), 1);
}

/* ---- trouble ---- */

/* A page that is on its way has been asked for by the lane's edge: what comes meanwhile stays beside it, however full the window is. */
static void nothing_leaves_memory_while_a_page_is_read(void **state)
{
    struct tq *tq = *state;
    struct queue_config c = tq_config();
    c.paused = true;
    tq->window_tasks = 8;
    tq->page_tasks = 2;
    tq_init(tq, &c);
    tq_add_many(tq, "t", 20, (struct tq_task){.in_ns = HOUR});
    tq_run(tq);
    assert_int_equal(tq->queue->states[TASK_WAITING], 8);
    for (int i = 0; i < 4; i++) {
        char id[16];
        snprintf(id, sizeof id, "t%04d", i);
        queue_remove(tq->queue, id, tq_done, NULL);
    }
    for (int i = 0; i < 100 && !tq->gate.n; i++) { /* until the next page is asked for */
        store_memory_step(tq->store, 1, ERR_OK);
        timers_run(tq->fe.env.timers, tq->fe.clock.mono_ns);
    }
    assert_int_equal(tq->gate.n, 1);
    tq_add_many(tq, "new", 9, (struct tq_task){.in_ns = S});
    for (int i = 0; i < 100; i++)
        store_memory_step(tq->store, 1, ERR_OK);
    assert_true(tq->queue->states[TASK_WAITING] > 8 + 4);
    tq_let_through(tq, 1);
    tq_run(tq);
    assert_int_equal(tq->queue->states[TASK_WAITING], 8); /* and then it is trimmed */
    tq->config.paused = false;
    tq->answer = 200;
    queue_configure(tq->queue, &tq->config);
    tq_advance(tq, 2 * HOUR);
    assert_int_equal(tq->n_starts, 20 - 4 + 9);
    assert_int_equal(queue_stats(tq->queue).tasks, 0);
}

static void a_success_that_cannot_be_written_is_not_repeated(void **state)
{
    struct tq *tq = tq_begin(state, NULL);
    struct tq_done d = {0};
    tq_add(tq, &(struct tq_task){.id = "a"});
    tq->store_fails = ERR_RESOURCE_EXHAUSTED;
    tq_settle(tq, tq_running(tq, "a"), 200);
    tq_create(tq, &(struct tq_task){.id = "b"}, &d);
    tq_advance(tq, HOUR);
    assert_int_equal(d.code, ERR_RESOURCE_EXHAUSTED);
    assert_int_equal(tq->n_starts, 1);
    assert_int_equal(tq_get(tq, "a", &d), ERR_NOT_FOUND);
    tq->store_fails = ERR_OK;
    tq_advance(tq, 2 * S);
    assert_int_equal(queue_stats(tq->queue).tasks, 0);
    tq_crash(tq);
    tq_advance(tq, S);
    assert_int_equal(tq->n_starts, 1);
}

static void a_retry_that_cannot_be_written_comes_all_the_same(void **state)
{
    struct tq *tq = tq_begin(state, NULL);
    tq->answer = 500;
    tq_add(tq, &(struct tq_task){.id = "a"});
    tq->store_fails = ERR_UNAVAILABLE;
    tq_advance(tq, 30 * S);
    assert_int_equal(tq->n_starts, 3);
    tq->store_fails = ERR_OK;
    tq_advance(tq, 2 * S);
    tq_crash(tq);
    tq_advance(tq, 38 * S);
    assert_int_equal(tq->n_starts, 4);
    assert_int_equal(tq->starts[3].attempt, 4);
}

static void the_wall_clock_may_jump(void **state)
{
    struct tq *tq = tq_begin(state, NULL);
    tq->answer = 200;
    tq_add(tq, &(struct tq_task){.id = "a", .in_ns = 3 * HOUR});
    tq_add(tq, &(struct tq_task){.id = "b", .in_ns = 3 * HOUR});
    tq->fe.clock.wall_ns += 3 * HOUR;
    queue_clock_jumped(tq->queue);
    tq_run(tq);
    assert_int_equal(tq->n_starts, 2);
    tq_add(tq, &(struct tq_task){.id = "c", .in_ns = S});
    tq->fe.clock.wall_ns -= 5 * HOUR;
    queue_clock_jumped(tq->queue);
    tq_advance(tq, 5 * HOUR);
    assert_int_equal(tq->n_starts, 2);
    tq_advance(tq, S);
    assert_int_equal(tq->n_starts, 3);
    tq_add(tq, &(struct tq_task){.id = "d", .in_ns = HOUR});
    tq->fe.clock.wall_ns += 2 * HOUR; /* nobody says so */
    tq_advance(tq, QUEUE_SLEEP_NS);
    assert_int_equal(tq->n_starts, 4);
}

static size_t crash_point;
static void crash_at(struct tq *tq)
{
    if (tq->store_steps == crash_point) {
        crash_point = SIZE_MAX;
        tq_crash(tq);
    }
}

static int fail_first(struct tq *tq, const struct tq_start *s) { return s->attempt < 3 ? 503 : 200; }

static void a_crash_after_any_write_loses_nothing(void **state)
{
    size_t last = 0; /* of a run without a crash: the first */
    for (size_t at = 0; at <= last; at++) {
        struct tq *tq = *state;
        tq->window_tasks = 4;
        tq->page_tasks = 2;
        tq_begin(state, NULL);
        struct tq_done d[6] = {0};
        crash_point = at ? at : SIZE_MAX;
        tq->answer_of = fail_first;
        tq->check = crash_at;
        for (size_t i = 0; i < ARRAY_LEN(d); i++) {
            char id[2] = {(char)('a' + i), 0};
            tq_create(tq, &(struct tq_task){.id = id, .in_ns = (int64_t)i * S}, &d[i]);
        }
        tq_advance(tq, HOUR);
        last = at ? last : tq->store_steps;
        for (size_t i = 0; i < ARRAY_LEN(d); i++) {
            char id[2] = {(char)('a' + i), 0};
            CASE_TRUE("a task that was accepted ran to its end", !d[i].done || tq_count(tq, id) >= 3);
            pb_free(d[i].record);
        }
        assert_string_equal(tq_list(tq, false), "");
        assert_int_equal(queue_stats(tq->queue).tasks, 0);
        tq_stop(tq);
    }
    assert_true(last > 20);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, tq_setup, tq_teardown)
    const struct CMUnitTest tests[] = {
        TEST(retries_end_in_a_dead_letter_that_can_be_browsed_and_brought_back),
        TEST(both_limits_must_be_used_up),
        TEST(dead_letters_go_by_age_and_by_number),
        TEST(a_task_dies_at_31_days),
        TEST(a_purge_takes_all_that_was_there),
        TEST(a_purge_cancels_what_runs_and_what_is_being_written),
        TEST(a_deleted_queue_forgets_all_and_answers_everybody),
        TEST(all_come_back_though_the_clock_was_set_back),
        TEST(what_dies_while_all_come_back_stays_dead),
        TEST(a_redrive_takes_as_many_large_ones_at_once_as_a_step_may),
        TEST(a_redrive_that_a_stop_interrupts_is_answered),
        TEST(a_stopped_queue_starts_nothing_but_takes_answers),
        TEST(a_success_that_cannot_be_written_is_not_repeated),
        TEST(a_retry_that_cannot_be_written_comes_all_the_same),
        TEST(nothing_leaves_memory_while_a_page_is_read),
        TEST(the_wall_clock_may_jump),
        TEST(a_crash_after_any_write_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

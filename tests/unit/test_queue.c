/* test_queue.c: what a task queue promises, one promise a case. Random operations against a model: test_queue_model.c. */
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

/* ---- when tasks run ---- */

static void a_task_runs_once_it_is_durable_and_due_and_is_gone_after_success(void **state)
{
    struct tq *tq = tq_begin(state, NULL);
    struct tq_done d = {0};
    tq_create(tq, &(struct tq_task){.id = "a", .in_ns = 5 * S}, &d);
    assert_false(d.done);
    tq_run(tq);
    assert_true(d.done && d.code == ERR_OK);
    assert_string_equal(d.record->task->name, TQ_QUEUE "/tasks/a");
    assert_string_equal(tq_list(tq, false), "a");
    tq_advance(tq, 5 * S - 1);
    assert_int_equal(tq->n_starts, 0);
    int64_t due_wall_ns = tq->fe.clock.wall_ns + 1;
    tq_advance(tq, 1);
    assert_int_equal(tq->n_starts, 1);
    assert_true(tq->starts[0].wall_ns == due_wall_ns);
    assert_int_equal(tq->starts[0].attempt, 1);
    assert_true(tq->starts[0].run->deadline_ns == tq->fe.clock.mono_ns + 600 * S);
    tq_settle(tq, &tq->starts[0], 204);
    tq_run(tq);
    assert_int_equal(tq_get(tq, "a", &d), ERR_NOT_FOUND);
    assert_string_equal(tq_list(tq, false), "");
    assert_int_equal(queue_stats(tq->queue).tasks, 0);
    assert_int_equal(queue_stats(tq->queue).ended_last_minute, 1);
    assert_metric(tq, "runnel_tasks_ended_total{queue=\"" TQ_QUEUE "\",outcome=\"done\"} 1");
    assert_metric(tq, "runnel_task_attempts_total{queue=\"" TQ_QUEUE "\",code=\"2xx\"} 1");
    assert_metric(tq, "runnel_task_lateness_seconds_count{queue=\"" TQ_QUEUE "\"} 1");
}

static void a_sleeping_queue_has_one_timer_and_an_empty_or_paused_one_none(void **state)
{
    struct tq *tq = tq_begin(state, NULL);
    tq_run(tq);
    assert_true(timers_next_ns(tq->fe.env.timers) == TIMER_NEVER);
    tq_add_many(tq, "t", 300, (struct tq_task){.in_ns = 60 * S});
    tq_run(tq);
    assert_true(timers_next_ns(tq->fe.env.timers) == tq->fe.clock.mono_ns + 60 * S);
    size_t steps = tq->store_steps;
    assert_int_equal(fake_env_advance(&tq->fe, 60 * S - 1), 0);
    assert_int_equal(tq->store_steps, steps);
    tq->config.paused = true;
    queue_configure(tq->queue, &tq->config);
    tq_run(tq);
    assert_true(timers_next_ns(tq->fe.env.timers) == TIMER_NEVER);
}

static void retries_come_exactly_when_the_formula_says(void **state)
{
    static const int64_t wait_s[] = {10, 20, 40, 80, 160, 240, 300, 300};
    struct tq *tq = tq_begin(state, NULL);
    tq->answer = 404;
    tq_add(tq, &(struct tq_task){.id = "a"});
    assert_int_equal(tq->n_starts, 1);
    for (size_t i = 0; i < ARRAY_LEN(wait_s); i++) {
        tq_advance(tq, wait_s[i] * S - 1);
        CASE_INT("not before", tq->n_starts, i + 1);
        tq_advance(tq, 1);
        CASE_INT("but then", tq->n_starts, i + 2);
        CASE_INT("attempt", tq->starts[i + 1].attempt, i + 2);
    }
}

static void counts_and_attempts_are_told_as_google_does(void **state)
{
    static const struct {
        int answer;
        uint32_t executions, responses;
        int32_t last_status;
        int code;
        const char *message;
    } cases[] = {
        {503, 0, 1, 503, 14, "UNAVAILABLE(14): HTTP status code 503"},
        {404, 1, 2, 404, 5, "NOT_FOUND(5): HTTP status code 404"},
        {429, 2, 3, 429, 8, "RESOURCE_EXHAUSTED(8): HTTP status code 429"},
        {500, 2, 4, 500, 13, "INTERNAL(13): HTTP status code 500"},
        {302, 3, 5, 302, 2, "UNKNOWN(2): HTTP status code 302"},
        {TQ_TIMEOUT, 3, 5, 504, 4, "DEADLINE_EXCEEDED(4): HTTP status code 504"},
        {0, 3, 5, 0, 14, "UNAVAILABLE(14): connection refused"},
    };
    struct tq *tq = tq_begin(state, NULL);
    struct tq_done d = {0};
    int64_t first_ns = 0;
    tq_add(tq, &(struct tq_task){.id = "a"});
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *name = cases[i].message;
        struct tq_start *s = tq_running(tq, "a");
        CASE_TRUE(name, s != NULL);
        int64_t began_ns = s->wall_ns;
        first_ns = first_ns ? first_ns : began_ns;
        tq_advance(tq, S);
        int64_t answered_ns = tq->fe.clock.wall_ns;
        tq_settle(tq, s, cases[i].answer);
        CASE_INT(name, tq_get(tq, "a", &d), ERR_OK);
        const Google__Cloud__Tasks__V2__Task *t = d.record->task;
        CASE_INT(name, t->dispatch_count, i + 1);
        CASE_INT(name, t->response_count, cases[i].responses);
        CASE_INT(name, d.record->executions, cases[i].executions);
        CASE_INT(name, d.record->last_status, cases[i].last_status);
        CASE_INT(name, pb_timestamp_ns(t->first_attempt->dispatch_time), first_ns);
        CASE_TRUE(name, !t->first_attempt->schedule_time && !t->first_attempt->response_status);
        CASE_INT(name, pb_timestamp_ns(t->last_attempt->dispatch_time), began_ns);
        CASE_INT(name, pb_timestamp_ns(t->last_attempt->schedule_time), began_ns);
        CASE_INT(name, pb_timestamp_ns(t->last_attempt->response_time), answered_ns);
        CASE_INT(name, t->last_attempt->response_status->code, cases[i].code);
        CASE_STR(name, t->last_attempt->response_status->message, cases[i].message);
        CASE_INT(name, d.record->n_events, i + 2);
        const Runnel__Broker__TaskEvent *ev = d.record->events[i + 1];
        CASE_INT(name, ev->kind, RUNNEL__BROKER__TASK_EVENT__KIND__ATTEMPT);
        CASE_INT(name, ev->attempt, i + 1);
        CASE_INT(name, ev->status, cases[i].last_status);
        CASE_INT(name, ev->took_ns, S);
        CASE_INT(name, ev->next_wall_ns, pb_timestamp_ns(t->schedule_time));
        if (i % 2)
            tq_crash(tq); /* it is all durable */
        tq_advance(tq, pb_timestamp_ns(t->schedule_time) - tq->fe.clock.wall_ns);
    }
    tq_run(tq);
    assert_int_equal(tq_get(tq, "a", &d), ERR_OK); /* it runs: counts of the attempt under way */
    assert_int_equal(d.record->task->dispatch_count, ARRAY_LEN(cases) + 1);
    assert_null(d.record->task->last_attempt->response_time);
    pb_free(d.record);
}

static void the_timeline_keeps_its_beginning_and_its_end(void **state)
{
    struct queue_config c = tq_config();
    c.min_backoff_ns = c.max_backoff_ns = S;
    struct tq *tq = tq_begin(state, &c);
    struct tq_done d = {0};
    tq->answer = 404;
    tq_add(tq, &(struct tq_task){.id = "a"});
    tq_advance(tq, 50 * S);
    assert_int_equal(tq_get(tq, "a", &d), ERR_OK);
    assert_int_equal(d.record->n_events, QUEUE_TIMELINE_MAX);
    assert_int_equal(d.record->events[0]->kind, RUNNEL__BROKER__TASK_EVENT__KIND__CREATED);
    assert_int_equal(d.record->events[QUEUE_TIMELINE_MAX - 1]->attempt, 51);
    assert_int_equal(d.record->events[1]->attempt, 51 - QUEUE_TIMELINE_MAX + 2);
    pb_free(d.record);
}

static void what_was_not_delivered_does_not_count(void **state)
{
    struct tq *tq = tq_begin(state, NULL);
    struct tq_done d = {0};
    tq->answer = TQ_UNDELIVERED;
    tq_add(tq, &(struct tq_task){.id = "a"});
    tq_advance(tq, 3 * S);
    assert_int_equal(tq->n_starts, 4);
    assert_int_equal(tq->starts[3].attempt, 1);
    assert_int_equal(tq_get(tq, "a", &d), ERR_OK);
    assert_int_equal(d.record->task->dispatch_count, 0);
    assert_null(d.record->task->first_attempt);
    assert_null(d.record->task->last_attempt);
    assert_int_equal(d.record->n_events, 1);
    pb_free(d.record);
}

static void what_does_not_arrive_is_told_seldom_and_counted(void **state)
{
    struct tq *tq = tq_begin(state, NULL);
    struct tq_done d = {0}, other = {0};
    support_log(&tq->fe);
    tq->answer = TQ_UNDELIVERED;
    tq_add_many(tq, "u", 5, (struct tq_task){0});
    tq_advance(tq, LOG_SELDOM_NS / 2);
    assert_int_equal(fake_log(&tq->fe, "\"task.undelivered\""), 1);
    assert_int_equal(
        fake_log(&tq->fe, "\"severity\":\"WARNING\",\"event\":\"task.undelivered\",\"queue\":\"" TQ_QUEUE "\",\"task\":\"u0000\""), 1);
    assert_int_equal(fake_log(&tq->fe, "\"attempts\":1,"), 1);
    tq_advance(tq, LOG_SELDOM_NS / 2 + S);
    assert_int_equal(fake_log(&tq->fe, "\"task.undelivered\""), 2);
    assert_int_equal(fake_log(&tq->fe, "\"attempts\":300,"), 1);
    char line[100];
    snprintf(line, sizeof line, "runnel_task_undelivered_total{queue=\"%s\"} %zu", TQ_QUEUE, tq->n_starts);
    assert_metric(tq, line);
    /* what somebody called off is no want of ours */
    size_t before = tq->n_starts;
    tq->answer = TQ_HOLD;
    tq_advance(tq, S);
    queue_remove(tq->queue, "u0001", tq_done, &d);
    tq_run(tq);
    assert_true(d.done && tq->cancelled == 1);
    assert_true(tq->n_starts > before);
    queue_remove(tq->queue, "u0002", tq_done, &other); /* and comes to nothing while its end is being written */
    tq_settle(tq, tq_running(tq, "u0002"), TQ_UNDELIVERED);
    tq_run(tq);
    queue_stop(tq->queue);
    tq_settle(tq, tq_running(tq, "u0003"), TQ_UNDELIVERED);
    assert_metric(tq, line);
}

static void failures_are_told_seldom(void **state)
{
    struct tq *tq = tq_begin(state, NULL);
    support_log(&tq->fe);
    tq->answer = 503;
    tq_add(tq, &(struct tq_task){.id = "a"});
    tq_add(tq, &(struct tq_task){.id = "b"});
    tq_advance(tq, 50 * S);
    assert_true(tq->n_starts > 4);
    assert_int_equal(fake_log(&tq->fe, "\"task.failing\""), 1);
    assert_int_equal(fake_log(&tq->fe, "\"error\":\"UNAVAILABLE(14): HTTP status code 503\",\"attempt\":1,\"failures\":1"), 1);
    tq_advance(tq, 300 * S);
    assert_in_range(fake_log(&tq->fe, "\"task.failing\""), 3, 5);
}

/* ---- limits ---- */

static void the_burst_and_then_the_rate(void **state)
{
    struct queue_config c = tq_config();
    c.rate_per_s = 20;
    c.burst = 5;
    struct tq *tq = tq_begin(state, &c);
    tq->answer = 200;
    tq_add_many(tq, "t", 200, (struct tq_task){0});
    tq_run(tq);
    assert_int_equal(tq->n_starts, 5);
    tq_advance(tq, 1 * S);
    assert_in_range(tq->n_starts, 24, 25);
    tq_advance(tq, 4 * S);
    assert_in_range(tq->n_starts, 104, 105);
}

static void overload_slows_the_queue(void **state)
{
    struct queue_config c = tq_config();
    c.rate_per_s = 20;
    c.burst = 1;
    struct tq *tq = tq_begin(state, &c);
    tq->answer = 503;
    tq_add_many(tq, "t", 400, (struct tq_task){0});
    tq_advance(tq, 4 * S);
    assert_true(tq->n_starts > 10 && tq->n_starts < 40);
    assert_true(queue_stats(tq->queue).rate_per_s < 10);
}

static void retry_after_holds_all_tasks(void **state)
{
    struct tq *tq = tq_begin(state, NULL);
    tq_add(tq, &(struct tq_task){.id = "a"});
    queue_settle(tq_running(tq, "a")->run, &(struct task_outcome){.status = 429, .retry_after_ns = 100 * S});
    tq->starts[0].run = NULL;
    tq_add(tq, &(struct tq_task){.id = "b"});
    assert_true(queue_stats(tq->queue).rate_per_s <= 0);
    tq_advance(tq, 100 * S - 1);
    assert_int_equal(tq->n_starts, 1);
    tq_advance(tq, 1);
    assert_int_equal(tq->n_starts, 3); /* a's retry was due after 10 s */
}

static void concurrency_is_kept_and_freed_when_an_answer_comes(void **state)
{
    struct queue_config c = tq_config();
    c.concurrent = 3;
    struct tq *tq = tq_begin(state, &c);
    tq_add_many(tq, "t", 10, (struct tq_task){0});
    tq_run(tq);
    assert_int_equal(tq->n_starts, 3);
    tq->store_fails = ERR_UNAVAILABLE; /* the slot is free although the end cannot be written */
    tq_settle(tq, &tq->starts[1], 200);
    tq_run(tq);
    assert_int_equal(tq->n_starts, 4);
    c.concurrent = 6;
    queue_configure(tq->queue, &c);
    tq_run(tq);
    assert_int_equal(tq->n_starts, 7);
    tq->store_fails = ERR_OK;
}

static void a_new_queue_warms_up(void **state)
{
    struct tq *tq = tq_begin(state, NULL);
    tq_add_many(tq, "t", 90, (struct tq_task){0});
    tq_run(tq);
    assert_int_equal(tq->n_starts, TASK_WARM_START);
    tq_settle(tq, &tq->starts[0], 200);
    tq_run(tq);
    assert_int_equal(tq->n_starts, TASK_WARM_START + 2);
    tq_advance(tq, 1 * S);
    assert_int_equal(queue_stats(tq->queue).running, 2 * (TASK_WARM_START + 1));
}

static void a_fair_key_has_its_own_limit(void **state)
{
    struct queue_config c = tq_config();
    c.key_concurrent = 2;
    struct tq *tq = tq_begin(state, &c);
    tq_add_many(tq, "a", 5, (struct tq_task){.key = "a"});
    tq_add_many(tq, "b", 1, (struct tq_task){.key = "b"});
    tq_add_many(tq, "n", 4, (struct tq_task){0});
    tq_run(tq);
    assert_int_equal(tq->n_starts, 2 + 1 + 4); /* without a key there is no such limit */
    tq_settle(tq, tq_running(tq, "a0000"), 404);
    tq_run(tq);
    assert_non_null(tq_running(tq, "a0002"));
    c.key_concurrent = 0;
    queue_configure(tq->queue, &c);
    tq_run(tq);
    assert_int_equal(queue_stats(tq->queue).ready, 0);
}

static void keys_take_turns_and_priorities_go_first(void **state)
{
    struct queue_config c = tq_config();
    c.concurrent = 1;
    struct tq *tq = tq_begin(state, &c);
    const char *want[] = {"n0000", "h0000", "h0001", "a0000", "b0000", "n0001", "a0001", "n0002", "a0002", "a0003"};
    tq_add_many(tq, "n", 1, (struct tq_task){0});
    tq_run(tq); /* it is under way as the others come */
    tq_add_many(tq, "a", 4, (struct tq_task){.key = "a"});
    tq_add_many(tq, "b", 1, (struct tq_task){.key = "b"});
    tq_run(tq);
    tq_add(tq, &(struct tq_task){.id = "n0001"});
    tq_add(tq, &(struct tq_task){.id = "n0002"});
    tq_add_many(tq, "h", 2, (struct tq_task){.priority = 9});
    tq_run(tq);
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        CASE_INT(want[i], tq->n_starts, i + 1);
        CASE_STR(want[i], tq->starts[i].id, want[i]);
        tq_settle(tq, &tq->starts[i], 200);
        tq_run(tq);
    }
}

static void inside_a_key_the_earlier_due_goes_first(void **state)
{
    struct queue_config c = tq_config();
    c.concurrent = 1;
    struct tq *tq = tq_begin(state, &c);
    tq->config.paused = true;
    queue_configure(tq->queue, &tq->config);
    tq_add(tq, &(struct tq_task){.id = "third", .in_ns = 3 * S});
    tq_add(tq, &(struct tq_task){.id = "first", .in_ns = 1 * S});
    tq_add(tq, &(struct tq_task){.id = "second", .in_ns = 2 * S});
    tq_advance(tq, 10 * S);
    assert_int_equal(tq->n_starts, 0);
    tq->answer = 200;
    tq->config.paused = false;
    queue_configure(tq->queue, &tq->config);
    tq_run(tq);
    assert_string_equal(tq->starts[0].id, "first");
    assert_string_equal(tq->starts[1].id, "second");
    assert_string_equal(tq->starts[2].id, "third");
}

/* ---- names ---- */

static void a_name_is_taken_while_it_lives_and_an_hour_longer(void **state)
{
    struct tq *tq = tq_begin(state, NULL);
    struct tq_done d = {0};
    const struct tq_task a = {.id = "a"}, generated = {.id = "g", .unnamed = true};
    tq_create(tq, &a, NULL);
    tq_create(tq, &a, &d); /* while the first is being written */
    assert_int_equal(d.code, ERR_ALREADY_EXISTS);
    tq_add(tq, &generated);
    for (int crashed = 0; crashed < 2; crashed++) {
        d.done = false;
        tq_create(tq, &a, &d);
        tq_run(tq);
        assert_int_equal(d.code, ERR_ALREADY_EXISTS);
        tq_crash(tq);
        tq_run(tq);
    }
    tq_settle(tq, tq_running(tq, "a"), 200);
    tq_settle(tq, tq_running(tq, "g"), 200);
    tq_run(tq);
    tq_add(tq, &generated); /* nothing holds it: we never give one twice ourselves */
    tq_advance(tq, TASK_NAME_HOLD_NS - 1);
    d.done = false;
    tq_create(tq, &a, &d);
    tq_run(tq);
    assert_int_equal(d.code, ERR_ALREADY_EXISTS);
    tq_advance(tq, 1);
    tq_add(tq, &a);
    assert_int_equal(tq_count(tq, "a"), 4);
}

static void a_second_of_the_name_leaves_the_first_alone_that_is_on_disk(void **state)
{
    struct tq *tq = *state;
    tq->window_tasks = 4;
    tq->page_tasks = 3;
    tq_begin(state, NULL);
    struct tq_done twice[12] = {0}, got = {0};
    char id[12];
    tq_add_many(tq, "t", 12, (struct tq_task){.in_ns = HOUR});
    tq_run(tq);
    tq_crash(tq); /* and while all is read again: */
    for (size_t i = 0; i < ARRAY_LEN(twice); i++) {
        snprintf(id, sizeof id, "t%04zu", i);
        tq_create(tq, &(struct tq_task){.id = id}, &twice[i]);
        queue_get(tq->queue, id, tq_done, &got);
        tq_run(tq);
        CASE_INT(id, twice[i].code, ERR_ALREADY_EXISTS);
        CASE_INT(id, got.code, ERR_OK);
        got.done = false;
    }
    pb_free(got.record);
    tq->answer = 200;
    tq_advance(tq, HOUR);
    assert_int_equal(tq->n_starts, 12);
}

static void held_names_are_swept_later(void **state)
{
    struct tq *tq = tq_begin(state, NULL);
    tq->answer = 200;
    tq_add_many(tq, "t", 1200, (struct tq_task){0});
    tq_advance(tq, 60 * S);
    assert_int_equal(tq->n_starts, 1200);
    tq_crash(tq); /* it is found out again when they end */
    tq_advance(tq, TASK_NAME_HOLD_NS + 2 * QUEUE_SWEEP_NS);
    struct err e;
    uint64_t lanes = 0;
    assert_int_equal(tq->store->ops->load_lanes(tq->store, 7, NULL, &lanes, &e), 0); /* would call NULL for any lane */
    assert_true(timers_next_ns(tq->fe.env.timers) == TIMER_NEVER);
}

/* ---- pause, run, remove ---- */

static void pause_holds_and_resume_goes_on(void **state)
{
    struct tq *tq = tq_begin(state, NULL);
    tq_add(tq, &(struct tq_task){.id = "running"});
    tq->config.paused = true;
    queue_configure(tq->queue, &tq->config);
    tq_add(tq, &(struct tq_task){.id = "a"});
    tq_settle(tq, tq_running(tq, "running"), 500); /* what runs may end */
    tq_advance(tq, HOUR);
    assert_int_equal(tq->n_starts, 1);
    tq_crash(tq);
    tq_advance(tq, HOUR);
    assert_int_equal(tq->n_starts, 1);
    tq->config.paused = false;
    queue_configure(tq->queue, &tq->config);
    tq_run(tq);
    assert_int_equal(tq->n_starts, 3);
}

static void run_now_ignores_time_pause_rate_and_concurrency(void **state)
{
    struct queue_config c = tq_config();
    c.concurrent = 1;
    c.burst = 1;
    c.rate_per_s = 0.001;
    c.paused = true;
    struct tq *tq = tq_begin(state, &c);
    struct tq_done d = {0}, again = {0};
    tq_add(tq, &(struct tq_task){.id = "a", .in_ns = HOUR});
    tq_add(tq, &(struct tq_task){.id = "b", .in_ns = HOUR});
    queue_run(tq->queue, "a", tq_done, &d);
    queue_run(tq->queue, "b", tq_done, NULL);
    assert_true(d.done);
    assert_int_equal(d.record->task->dispatch_count, 1); /* dispatched, and the target has it not yet */
    assert_null(d.record->task->last_attempt->response_time);
    assert_int_equal(tq->n_starts, 2);
    queue_run(tq->queue, "a", tq_done, &again); /* while it runs: that is the run */
    assert_int_equal(again.code, ERR_OK);
    assert_int_equal(tq->n_starts, 2);
    int64_t asked_ns = tq->fe.clock.wall_ns;
    tq_advance(tq, 7 * S);
    tq_settle(tq, tq_running(tq, "a"), 500);
    assert_int_equal(tq_get(tq, "a", &d), ERR_OK);
    assert_true(pb_timestamp_ns(d.record->task->schedule_time) == asked_ns + 10 * S); /* Google's rule: from when it was asked */
    assert_int_equal(d.record->n_events, 3);
    assert_int_equal(d.record->events[1]->kind, RUNNEL__BROKER__TASK_EVENT__KIND__RUN_REQUESTED);
    tq_settle(tq, tq_running(tq, "b"), 200);
    tq_run(tq);
    again.done = false;
    queue_run(tq->queue, "b", tq_done, &again);
    tq_run(tq);
    assert_int_equal(again.code, ERR_NOT_FOUND);
    pb_free(d.record);
    pb_free(again.record);
}

static void removing_works_in_memory_on_disk_and_while_running(void **state)
{
    struct tq *tq = *state;
    tq->window_tasks = 4;
    tq_begin(state, NULL);
    struct tq_done d = {0};
    tq_add_many(tq, "t", 20, (struct tq_task){.in_ns = HOUR});
    tq_run(tq);
    assert_int_equal(queue_stats(tq->queue).waiting, 4);
    assert_int_equal(queue_stats(tq->queue).tasks, 20);
    tq_add(tq, &(struct tq_task){.id = "r"});
    static const char *const ids[] = {"t0000", "t0019", "r"};
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        d = (struct tq_done){0};
        queue_remove(tq->queue, ids[i], tq_done, &d);
        CASE_INT(ids[i], d.done, false);
        struct tq_done second = {0};
        queue_remove(tq->queue, ids[i], tq_done, &second);
        tq_run(tq);
        CASE_TRUE(ids[i], d.done && second.done);
        CASE_INT(ids[i], d.code, ERR_OK);
        CASE_INT(ids[i], second.code, ERR_NOT_FOUND);
        CASE_INT(ids[i], tq_get(tq, ids[i], &d), ERR_NOT_FOUND);
    }
    assert_int_equal(tq->cancelled, 1);
    assert_int_equal(queue_stats(tq->queue).tasks, 18);
    assert_int_equal(queue_stats(tq->queue).running, 0);
    tq->answer = 200;
    tq_advance(tq, 2 * HOUR);
    assert_int_equal(tq->n_starts, 19);
    d = (struct tq_done){0};
    queue_remove(tq->queue, "never", tq_done, &d);
    tq_run(tq);
    assert_int_equal(d.code, ERR_NOT_FOUND);
}

static void a_removal_that_fails_changes_nothing(void **state)
{
    struct tq *tq = tq_begin(state, NULL);
    struct tq_done d = {0};
    tq_add(tq, &(struct tq_task){.id = "w", .in_ns = 5 * S});
    tq_add(tq, &(struct tq_task){.id = "r"});
    tq->store_fails = ERR_UNAVAILABLE;
    queue_remove(tq->queue, "w", tq_done, &d);
    tq_run(tq);
    assert_int_equal(d.code, ERR_UNAVAILABLE);
    d = (struct tq_done){0};
    queue_remove(tq->queue, "r", tq_done, &d);
    tq_settle(tq, tq_running(tq, "r"), 500); /* before the store has answered */
    tq_run(tq);
    assert_int_equal(d.code, ERR_UNAVAILABLE);
    tq->store_fails = ERR_OK;
    tq->answer = 200;
    tq_advance(tq, 10 * S);
    assert_int_equal(tq_count(tq, "w"), 1);
    assert_int_equal(tq_count(tq, "r"), 2);
}

/* ---- memory ---- */

static void more_than_fits_stays_on_disk_and_comes_in_time(void **state)
{
    struct queue_config c = tq_config();
    c.rate_per_s = 1000000;
    c.burst = c.concurrent = 1000000;
    struct tq *tq = tq_begin(state, &c);
    const size_t n = 30000;
    char id[40];
    for (size_t i = 0; i < n; i++) { /* in an order that is not that of their times */
        size_t k = i * 7919 % n;
        snprintf(id, sizeof id, "t%05zu", k);
        tq_create(tq, &(struct tq_task){.id = id, .in_ns = HOUR + (int64_t)k * NS_PER_MS}, NULL);
        if (i % 100 == 0)
            tq_run(tq);
    }
    tq_run(tq);
    assert_int_equal(queue_stats(tq->queue).tasks, n);
    assert_true(queue_stats(tq->queue).waiting <= QUEUE_WINDOW_TASKS);
    tq_crash(tq);
    tq_run(tq);
    assert_true(queue_stats(tq->queue).waiting <= QUEUE_WINDOW_TASKS);
    tq->answer = 200;
    int64_t due_wall_ns = FAKE_WALL_NS + HOUR;
    tq_advance(tq, 2 * HOUR);
    assert_int_equal(tq->n_starts, n);
    for (size_t i = 0; i < n; i++)
        CASE_INT("each at its millisecond", tq->starts[i].wall_ns, due_wall_ns + (int64_t)i * NS_PER_MS);
}

static void large_tasks_are_bounded_by_bytes(void **state)
{
    struct tq *tq = tq_begin(state, NULL);
    for (int i = 0; i < 100; i++) {
        char id[40];
        snprintf(id, sizeof id, "t%03d", i);
        tq_add(tq, &(struct tq_task){.id = id, .in_ns = HOUR + i, .body_n = 1000000, .key = i % 2 ? "a" : NULL});
    }
    assert_true(tq->queue->bytes <= QUEUE_WINDOW_BYTES);
    tq_crash(tq);
    tq_run(tq);
    assert_true(tq->queue->bytes <= QUEUE_WINDOW_BYTES);
    tq_advance(tq, HOUR + S);
    assert_true(tq->queue->running_bytes <= QUEUE_RUNNING_BYTES + 1100000);
    tq->answer = 200;
    for (size_t i = 0; i < tq->n_starts; i++)
        if (tq->starts[i].run)
            tq_settle(tq, &tq->starts[i], 200);
    tq_advance(tq, 60 * S);
    assert_int_equal(tq->n_starts, 100);
}

static void backlog_of(void *arg, struct str host, uint64_t count)
{
    char *text = arg;
    size_t n = strlen(text);
    snprintf(text + n, 200 - n, "%.*s=%u ", (int)host.n, host.p, (unsigned)count);
}

static void the_backlog_names_hosts_of_due_tasks(void **state)
{
    struct queue_config c = tq_config();
    c.concurrent = 1;
    struct tq *tq = tq_begin(state, &c);
    tq_add(tq, &(struct tq_task){.id = "a"});
    tq_add(tq, &(struct tq_task){.id = "b"});
    tq_add(tq, &(struct tq_task){.id = "c", .url = "https://example.com/x?y"});
    tq_add(tq, &(struct tq_task){.id = "d", .in_ns = S, .url = "https://later.example/"});
    char text[200] = "";
    queue_backlog(tq->queue, backlog_of, text);
    assert_string_equal(text, "hello.localhost=2 example.com=1 ");
    struct queue_stats s = queue_stats(tq->queue);
    assert_int_equal(s.running, 1);
    assert_int_equal(s.ready, 2);
    assert_int_equal(s.waiting, 1);
    assert_true(s.oldest_due_wall_ns == tq->fe.clock.wall_ns);
    tq_settle(tq, tq_running(tq, "a"), 200);
    tq->answer = 200;
    tq_advance(tq, 2 * S);
    text[0] = '\0';
    queue_backlog(tq->queue, backlog_of, text);
    assert_string_equal(text, "");
}

static void a_higher_priority_on_disk_goes_first_too(void **state)
{
    struct queue_config c = tq_config();
    c.concurrent = 1;
    c.paused = true;
    struct tq *tq = *state;
    tq->window_tasks = 4;
    tq->page_tasks = 2;
    tq_begin(state, &c);
    tq_add_many(tq, "low", 12, (struct tq_task){0});
    tq_run(tq);
    tq_add_many(tq, "top", 12, (struct tq_task){.priority = 3});
    tq_run(tq);
    tq_crash(tq);
    tq->answer = 200;
    tq->config.paused = false;
    queue_configure(tq->queue, &tq->config);
    tq_advance(tq, S);
    assert_int_equal(tq->n_starts, 24);
    for (size_t i = 0; i < 12; i++)
        CASE_TRUE("the first twelve", tq->starts[i].id[0] == 't');
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, tq_setup, tq_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_task_runs_once_it_is_durable_and_due_and_is_gone_after_success),
        TEST(a_sleeping_queue_has_one_timer_and_an_empty_or_paused_one_none),
        TEST(retries_come_exactly_when_the_formula_says),
        TEST(counts_and_attempts_are_told_as_google_does),
        TEST(the_timeline_keeps_its_beginning_and_its_end),
        TEST(what_was_not_delivered_does_not_count),
        TEST(what_does_not_arrive_is_told_seldom_and_counted),
        TEST(failures_are_told_seldom),
        TEST(the_burst_and_then_the_rate),
        TEST(overload_slows_the_queue),
        TEST(retry_after_holds_all_tasks),
        TEST(concurrency_is_kept_and_freed_when_an_answer_comes),
        TEST(a_new_queue_warms_up),
        TEST(a_fair_key_has_its_own_limit),
        TEST(keys_take_turns_and_priorities_go_first),
        TEST(inside_a_key_the_earlier_due_goes_first),
        TEST(a_name_is_taken_while_it_lives_and_an_hour_longer),
        TEST(a_second_of_the_name_leaves_the_first_alone_that_is_on_disk),
        TEST(held_names_are_swept_later),
        TEST(pause_holds_and_resume_goes_on),
        TEST(run_now_ignores_time_pause_rate_and_concurrency),
        TEST(removing_works_in_memory_on_disk_and_while_running),
        TEST(a_removal_that_fails_changes_nothing),
        TEST(more_than_fits_stays_on_disk_and_comes_in_time),
        TEST(large_tasks_are_bounded_by_bytes),
        TEST(the_backlog_names_hosts_of_due_tasks),
        TEST(a_higher_priority_on_disk_goes_first_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

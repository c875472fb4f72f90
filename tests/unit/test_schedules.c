/** test_schedules.c: when jobs fire: overlap, misses, retries, restarts and kills at every write, users' changes; on a virtual clock. */
#include "tests/support/support_schedules.h"
#include "tests/unit/schedules_fixture.h"

#include "core/base/text.h"

static int64_t metric_of(const struct ts *ts, const char *reason)
{
    const char *const labels[METRIC_LABELS_MAX] = {reason};
    return metric_value(metric_series(metrics_family(ts->metrics, METRIC_COUNTER, "runnel_schedule_skipped_total", "", "reason"), labels));
}

/* ---- on time ---- */

static void fires_on_time(void **state)
{
    struct ts ts;
    ts_start(&ts);
    ts.answer = 200;
    create(&ts, "job", "*/5 * * * *", "");
    ts_advance(&ts, 20 * MINUTE);
    assert_int_equal(ts.n_fired, 4);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(ts.fired[i].wall_ns, FAKE_WALL_NS + (int64_t)(i + 1) * 5 * MINUTE);
    assert_string_equal(ts.fired[0].schedule_time, "2026-01-01T00:05:00+00:00");
    const char *r = ts_call(&ts, ERR_OK, "GetJob", "{\"name\":\"" J "\"}");
    assert_string_equal(ts_json(r, "scheduleTime"), "2026-01-01T00:25:00Z");
    assert_string_equal(ts_json(r, "lastAttemptTime"), "2026-01-01T00:20:00Z");
    assert_non_null(strstr(r, "\"status\":{}"));
    ts_stop(&ts);
}

static void in_its_zone(void **state)
{
    struct ts ts;
    ts_start(&ts);
    ts.answer = 200;
    create(&ts, "job", "0 9 * * *", ",\"timeZone\":\"Europe/Berlin\"");
    ts_advance(&ts, 24 * HOUR);
    assert_int_equal(ts.n_fired, 1);
    assert_int_equal(ts.fired[0].wall_ns, FAKE_WALL_NS + 8 * HOUR);
    assert_string_equal(ts.fired[0].schedule_time, "2026-01-01T09:00:00+01:00");
    ts_stop(&ts);
}

static void nothing_goes_out_before_the_record(void **state)
{
    struct ts ts;
    ts_start(&ts);
    create(&ts, "job", "* * * * *", "");
    ts.store_stands = true;
    ts_advance(&ts, MINUTE + 5 * NS_PER_S);
    assert_int_equal(ts.n_fired, 0);
    ts.store_stands = false;
    ts_run(&ts);
    assert_int_equal(ts.n_fired, 1);
    ts.store_fails = ERR_RESOURCE_EXHAUSTED; /* a full disk: later, not never */
    ts_answer(&ts, 200);
    ts_advance(&ts, MINUTE);
    assert_int_equal(ts.n_fired, 1);
    ts.store_fails = ERR_OK;
    ts_advance(&ts, 2 * NS_PER_S);
    assert_int_equal(ts.n_fired, 2);
    assert_string_equal(clock_of(last(&ts)), "00:02:00");
    ts_stop(&ts);
}

/* ---- overlap ---- */

static void forbid_delays(void **state)
{
    struct ts ts;
    ts_start(&ts);
    create(&ts, "job", "* * * * *", "");
    ts_advance(&ts, 3 * MINUTE + 30 * NS_PER_S); /* 00:01 runs, 00:02 and 00:03 come meanwhile */
    assert_int_equal(ts.n_fired, 1);
    ts_answer(&ts, 200);
    assert_int_equal(ts.n_fired, 2);
    assert_string_equal(clock_of(last(&ts)), "00:03:00"); /* of several one, the latest */
    assert_int_equal(metric_of(&ts, "overlap"), 1);
    ts_answer(&ts, 200);
    assert_int_equal(ts.n_fired, 2);
    ts_advance(&ts, 30 * NS_PER_S);
    assert_string_equal(clock_of(last(&ts)), "00:04:00");
    ts_stop(&ts);
}

static void allow_runs_beside(void **state)
{
    struct ts ts;
    ts_start(&ts);
    create(&ts, "job", "* * * * *", "");
    policy(&ts, "\"overlap\":\"ALLOW\"");
    ts_advance(&ts, 3 * MINUTE);
    assert_int_equal(ts.n_open, 3);
    ts_advance(&ts, 30 * MINUTE); /* up to SCHEDULE_RUNS_MAX */
    assert_int_equal(ts.n_open, SCHEDULE_RUNS_MAX);
    ts_answer(&ts, 200);
    assert_int_equal(ts.n_open, SCHEDULE_RUNS_MAX);
    assert_string_equal(clock_of(last(&ts)), "00:33:00");
    ts_stop(&ts);
}

static void replace_cancels(void **state)
{
    struct ts ts;
    ts_start(&ts);
    create(&ts, "job", "* * * * *", "");
    policy(&ts, "\"overlap\":\"REPLACE\"");
    ts_advance(&ts, 3 * MINUTE);
    assert_int_equal(ts.n_fired, 3);
    assert_int_equal(ts.n_open, 1);
    assert_int_equal(ts.cancelled, 2);
    ts_answer(&ts, 200);
    const char *r = ts_call(&ts, ERR_OK, "GetJob", "{\"name\":\"" J "\"}");
    assert_non_null(strstr(r, "\"status\":{}"));
    ts_call(&ts, ERR_OK, "RunJob", "{\"name\":\"" J "\"}"); /* a run by hand, too */
    ts_advance(&ts, MINUTE);
    assert_int_equal(ts.cancelled, 3);
    assert_int_equal(ts.n_open, 1);
    ts_stop(&ts);
}

/* ---- what was missed, by overlap policy ---- */

static const struct {
    const char *name, *policy;
    bool running; /* a firing is under way as the server dies */
    size_t fired; /* at once after the start; then each answered with 200 */
    size_t in_all;
    const char *first, *last;
} missed_cases[] = {
    {"skip", "\"missed\":\"SKIP\"", false, 0, 0, NULL, NULL},
    {"once", "\"missed\":\"ONCE\"", false, 1, 1, "00:59:00", "00:59:00"},
    {"all", "\"missed\":\"ALL\"", false, 1, 59, "00:01:00", "00:59:00"},
    {"the last five", "\"missed\":\"ALL\",\"missedLimit\":5", false, 1, 5, "00:55:00", "00:59:00"},
    {"skip, allow", "\"missed\":\"SKIP\",\"overlap\":\"ALLOW\"", false, 0, 0, NULL, NULL},
    {"once, allow", "\"missed\":\"ONCE\",\"overlap\":\"ALLOW\"", false, 1, 1, "00:59:00", "00:59:00"},
    {"all, allow: one after the other", "\"missed\":\"ALL\",\"overlap\":\"ALLOW\"", false, 1, 59, "00:01:00", "00:59:00"},
    {"once, replace", "\"missed\":\"ONCE\",\"overlap\":\"REPLACE\"", false, 1, 1, "00:59:00", "00:59:00"},
    {"all, replace: one after the other", "\"missed\":\"ALL\",\"overlap\":\"REPLACE\"", false, 1, 59, "00:01:00", "00:59:00"},
    /* what was under way is repeated in any case, with its own time, and delays the rest */
    {"skip, under way", "\"missed\":\"SKIP\"", true, 1, 1, "00:01:00", "00:01:00"},
    {"once, under way", "\"missed\":\"ONCE\"", true, 1, 2, "00:01:00", "00:59:00"},
    {"all, under way", "\"missed\":\"ALL\"", true, 1, 59, "00:01:00", "00:59:00"},
};

static void missed_and_overlap(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(missed_cases); i++) {
        struct ts ts;
        const char *name = missed_cases[i].name;
        ts_start(&ts);
        create(&ts, "job", "* * * * *", "");
        policy(&ts, missed_cases[i].policy);
        if (missed_cases[i].running)
            ts_advance(&ts, MINUTE);
        ts.n_fired = 0;
        ts_crash_later(&ts, FAKE_WALL_NS + 59 * MINUTE + 30 * NS_PER_S - ts.fe.clock.wall_ns);
        CASE_INT(name, ts.n_fired, missed_cases[i].fired);
        while (ts.n_open)
            ts_answer(&ts, 200);
        CASE_INT(name, ts.n_fired, missed_cases[i].in_all);
        if (ts.n_fired) {
            CASE_STR(name, clock_of(&ts.fired[0]), missed_cases[i].first);
            CASE_STR(name, clock_of(last(&ts)), missed_cases[i].last);
        }
        ts_advance(&ts, 30 * NS_PER_S); /* and it goes on as ever */
        CASE_INT(name, ts.n_fired, missed_cases[i].in_all + 1);
        CASE_STR(name, clock_of(last(&ts)), "01:00:00");
        ts_stop(&ts);
    }
}

static void a_backlog_survives(void **state)
{
    struct ts ts;
    ts_start(&ts);
    create(&ts, "job", "* * * * *", "");
    policy(&ts, "\"missed\":\"ALL\"");
    ts_crash_later(&ts, 10 * MINUTE + 30 * NS_PER_S);
    for (int i = 0; i < 4; i++)
        ts_answer(&ts, 200);
    assert_int_equal(ts.n_fired, 5); /* the fifth is under way */
    ts_crash(&ts);
    while (ts.n_open)
        ts_answer(&ts, 200);
    assert_int_equal(ts.n_fired, 11); /* ten, one of them twice */
    assert_string_equal(ts.fired[4].schedule_time, ts.fired[5].schedule_time);
    assert_string_equal(clock_of(last(&ts)), "00:10:00");
    ts_stop(&ts);
}

static void what_is_held_survives(void **state)
{
    struct ts ts;
    ts_start(&ts);
    create(&ts, "job", "0 * * * *", "");
    policy(&ts, "\"missed\":\"SKIP\"");
    ts_advance(&ts, 2 * HOUR + MINUTE); /* 02:00 waits for 01:00 */
    ts_crash(&ts);
    assert_int_equal(ts.n_fired, 2);
    assert_string_equal(clock_of(last(&ts)), "01:00:00"); /* repeated */
    ts_answer(&ts, 200);
    assert_int_equal(ts.n_fired, 3);
    assert_string_equal(clock_of(last(&ts)), "02:00:00");
    ts_stop(&ts);
}

/* ---- restarts around a firing ---- */

static void a_restart_around_a_firing(void **state)
{
    static const char *const policies[] = {"SKIP", "ONCE", "ALL"};
    for (size_t p = 0; p < ARRAY_LEN(policies); p++)
        for (int64_t at = -2; at <= 2; at++) {
            struct ts ts;
            char fields[64];
            ts_start(&ts);
            ts.answer = 200;
            create(&ts, "job", "0 1 * * *", "");
            snprintf(fields, sizeof fields, "\"missed\":\"%s\"", policies[p]);
            policy(&ts, fields);
            ts_advance(&ts, HOUR + at * NS_PER_S);
            if (at & 1)
                ts_crash(&ts);
            else
                ts_restart(&ts);
            ts_advance(&ts, 23 * HOUR);
            CASE_INT(policies[p], ts.n_fired, 1);
            CASE_STR(policies[p], clock_of(&ts.fired[0]), "01:00:00");
            ts_stop(&ts);
        }
    /* down from one second before it to one second after */
    for (size_t p = 0; p < ARRAY_LEN(policies); p++) {
        struct ts ts;
        char fields[64];
        ts_start(&ts);
        ts.answer = 200;
        create(&ts, "job", "0 1 * * *", "");
        snprintf(fields, sizeof fields, "\"missed\":\"%s\"", policies[p]);
        policy(&ts, fields);
        ts_advance(&ts, HOUR - NS_PER_S);
        ts_crash_later(&ts, 2 * NS_PER_S);
        CASE_INT(policies[p], ts.n_fired, 1);
        ts_stop(&ts);
    }
}

/* Killed as the store has done n of its steps; whatever n is, each firing that was due takes place, and none twice that had ended. */
static void killed_at_every_write(void **state)
{
    size_t steps = 1000, kills = 0;
    for (size_t n = 0; n <= steps; n++) {
        struct ts ts;
        ts_start(&ts);
        create(&ts, "job", "* * * * *", ",\"retryConfig\":{\"retryCount\":2}");
        size_t before = ts.store_steps;
        ts.store_stops_after = n ? before + n : 0;
        ts.store_stands = false;
        for (int64_t minute = 1; minute <= 4; minute++) {
            ts_advance(&ts, FAKE_WALL_NS + minute * MINUTE - ts.fe.clock.wall_ns);
            if (ts.n_open && minute == 2) { /* with a retry */
                ts_answer(&ts, 500);
                ts_advance(&ts, 6 * NS_PER_S);
            }
            if (ts.n_open)
                ts_answer(&ts, 200);
            if (ts.store_stands) {
                kills++;
                ts_crash(&ts);
                if (ts.n_open)
                    ts_answer(&ts, 200);
            }
        }
        if (n == 0)
            steps = ts.store_steps - before;
        size_t fired[5] = {0};
        for (size_t i = 0; i < ts.n_fired; i++)
            fired[clock_of(&ts.fired[i])[4] - '0']++;
        for (int minute = 1; minute <= 4; minute++)
            if (fired[minute] < 1 || fired[minute] > 1u + (minute == 2) + 1u)
                fail_msg("killed after %zu writes: 00:0%d fired %zu times", n, minute, fired[minute]);
        ts_stop(&ts);
    }
    assert_true(steps >= 10);
    assert_true(kills >= steps - 1);
}

/* ---- retries ---- */

static void retries_at_exact_times(void **state)
{
    static const int64_t gaps_s[] = {10, 20, 40, 80, 160}; /* the fifth retry is the last */
    struct ts ts;
    ts_start(&ts);
    ts.answer = 503;
    create(&ts, "job", "0 * * * *",
           ",\"retryConfig\":{\"retryCount\":5,\"minBackoffDuration\":\"10s\",\"maxBackoffDuration\":\"300s\",\"maxDoublings\":3}");
    ts_advance(&ts, HOUR);
    const char *r = ts_call(&ts, ERR_OK, "GetJob", "{\"name\":\"" J "\"}");
    assert_string_equal(ts_json(r, "scheduleTime"), "2026-01-01T01:00:10Z"); /* the retry */
    assert_string_equal(ts_json(r, "code"), "14");
    ts_advance(&ts, 59 * MINUTE);
    assert_int_equal(ts.n_fired, 6);
    for (size_t i = 0; i < ARRAY_LEN(gaps_s); i++) {
        assert_int_equal(ts.fired[i + 1].wall_ns - ts.fired[i].wall_ns, gaps_s[i] * NS_PER_S);
        assert_string_equal(ts.fired[i + 1].schedule_time, ts.fired[0].schedule_time);
    }
    r = ts_call(&ts, ERR_OK, "GetJob", "{\"name\":\"" J "\"}");
    assert_string_equal(ts_json(r, "scheduleTime"), "2026-01-01T02:00:00Z");
    assert_string_equal(ts_json(r, "message"), "URL_UNREACHABLE-UNREACHABLE_5xx. Original HTTP response code number = 503");
    ts_stop(&ts);
}

static void no_retries_by_default(void **state)
{
    struct ts ts;
    ts_start(&ts);
    ts.answer = 500;
    create(&ts, "job", "0 * * * *", "");
    ts_advance(&ts, HOUR + 59 * MINUTE);
    assert_int_equal(ts.n_fired, 1);
    ts_stop(&ts);
}

static void retries_end_at_the_next_scheduled_time(void **state)
{
    struct ts ts;
    ts_start(&ts);
    ts.answer = 500;
    create(&ts, "job", "* * * * *", ",\"retryConfig\":{\"retryCount\":5,\"minBackoffDuration\":\"25s\",\"maxDoublings\":1}");
    ts_advance(&ts, 3 * MINUTE - 1); /* 1:00, 1:25, (2:15 would be after 2:00), 2:00, 2:25 */
    assert_int_equal(ts.n_fired, 4);
    assert_string_equal(clock_of(&ts.fired[1]), "00:01:00");
    assert_string_equal(clock_of(&ts.fired[2]), "00:02:00");
    assert_int_equal(ts.fired[2].wall_ns, FAKE_WALL_NS + 2 * MINUTE);
    ts_stop(&ts);
}

/* A firing that ran over the next one's time is not retried: the next one goes instead. */
static void a_late_failure_is_not_retried(void **state)
{
    struct ts ts;
    ts_start(&ts);
    create(&ts, "job", "* * * * *", ",\"retryConfig\":{\"retryCount\":5,\"minBackoffDuration\":\"1s\"}");
    ts_advance(&ts, 2 * MINUTE + NS_PER_S);
    ts_answer(&ts, 500);
    assert_int_equal(ts.n_fired, 2);
    assert_string_equal(clock_of(last(&ts)), "00:02:00");
    ts_stop(&ts);
}

static void both_limits_must_be_reached(void **state)
{
    struct ts ts;
    ts_start(&ts);
    ts.answer = 500;
    create(
        &ts, "job", "0 0 * * *",
        ",\"retryConfig\":{\"retryCount\":1,\"maxRetryDuration\":\"100s\",\"minBackoffDuration\":\"30s\",\"maxBackoffDuration\":\"30s\"}");
    ts_advance(&ts, 25 * HOUR); /* at 0, 30, 60, 90 and 120 s: then it is longer than 100 s */
    assert_int_equal(ts.n_fired, 5);
    ts_stop(&ts);
}

static void a_retry_survives(void **state)
{
    struct ts ts;
    ts_start(&ts);
    create(&ts, "job", "0 * * * *", ",\"retryConfig\":{\"retryCount\":1,\"minBackoffDuration\":\"60s\"}");
    ts_advance(&ts, HOUR);
    ts_answer(&ts, 500);
    ts_crash_later(&ts, 10 * NS_PER_S);
    assert_int_equal(ts.n_fired, 1);
    ts_advance(&ts, 50 * NS_PER_S);
    assert_int_equal(ts.n_fired, 2);
    assert_int_equal(ts.fired[1].wall_ns, FAKE_WALL_NS + HOUR + MINUTE);
    ts_answer(&ts, 500); /* it was the last one */
    ts_advance(&ts, 30 * MINUTE);
    assert_int_equal(ts.n_fired, 2);
    ts_stop(&ts);
}

static void a_firing_is_known_by_its_id(void **state)
{
    struct ts ts;
    ts_start(&ts);
    create(&ts, "job", "0 * * * *", ",\"retryConfig\":{\"retryCount\":1,\"minBackoffDuration\":\"10s\"}");
    ts_advance(&ts, HOUR);
    assert_string_equal(last(&ts)->event_id, "//cloudscheduler.googleapis.com/" J "@2026-01-01T01:00:00Z");
    assert_int_equal(last(&ts)->series_len, strlen("//cloudscheduler.googleapis.com/" J "@"));
    assert_int_equal(last(&ts)->overlap, TARGET_AFTER);
    ts_crash(&ts);
    assert_int_equal(ts.n_fired, 2);
    assert_string_equal(ts.fired[1].event_id, ts.fired[0].event_id); /* repeated */
    ts_answer(&ts, 500);
    policy(&ts, "\"overlap\":\"REPLACE\"");
    ts_advance(&ts, 10 * NS_PER_S);
    assert_int_equal(ts.n_fired, 3);
    assert_string_equal(ts.fired[2].event_id, ts.fired[0].event_id); /* tried again */
    assert_int_equal(last(&ts)->overlap, TARGET_INSTEAD);
    ts_answer(&ts, 200);
    policy(&ts, "\"overlap\":\"ALLOW\"");
    ts_advance(&ts, HOUR);
    assert_string_equal(last(&ts)->event_id, "//cloudscheduler.googleapis.com/" J "@2026-01-01T02:00:00Z");
    assert_int_equal(last(&ts)->overlap, TARGET_BESIDE);
    ts_stop(&ts);
}

/* What goes on without us is not waited for at a stop, and asked about again after the next start; a bad end of it is no failed attempt. */
static void what_lasts_is_found_again(void **state)
{
    struct ts ts;
    ts_start(&ts);
    ts.target_ops.lasts = true;
    create(&ts, "job", "0 * * * *", ",\"retryConfig\":{\"retryCount\":3,\"minBackoffDuration\":\"10s\"}");
    ts_advance(&ts, HOUR);
    int64_t at = ts.fe.clock.mono_ns;
    ts_restart(&ts);
    assert_int_equal(ts.cancelled, 1);
    assert_true(ts.n_fired == 2 && ts.n_open == 1);
    assert_string_equal(ts.fired[1].event_id, ts.fired[0].event_id);
    assert_true(ts.fired[1].mono_ns - at < 3 * NS_PER_S);
    ts.final = true;
    ts_answer(&ts, 409);
    const char *r = ts_call(&ts, ERR_OK, "GetJob", "{\"name\":\"" J "\"}");
    assert_non_null(strstr(r, "\"status\":{\"code\":"));
    ts_advance(&ts, 30 * MINUTE);
    assert_int_equal(ts.n_fired, 2);
    ts_stop(&ts);
}

/* An attempt that is repeated because the server died is no retry. */
static void a_repeated_attempt_is_not_counted(void **state)
{
    struct ts ts;
    ts_start(&ts);
    create(&ts, "job", "0 0 1 6 *", ",\"retryConfig\":{\"retryCount\":1,\"minBackoffDuration\":\"10s\"}");
    ts_call(&ts, ERR_OK, "RunJob", "{\"name\":\"" J "\"}");
    for (int i = 0; i < 3; i++)
        ts_crash(&ts);
    assert_int_equal(ts.n_fired, 4);
    ts_answer(&ts, 500);
    ts_advance(&ts, 10 * NS_PER_S);
    assert_int_equal(ts.n_fired, 5); /* the retry */
    ts_answer(&ts, 500);
    ts_advance(&ts, HOUR);
    assert_int_equal(ts.n_fired, 5);
    ts_stop(&ts);
}

/* ---- pause, resume, run, update ---- */

static void pause_and_resume(void **state)
{
    struct ts ts;
    ts_start(&ts);
    create(&ts, "job", "* * * * *", ",\"retryConfig\":{\"retryCount\":5,\"minBackoffDuration\":\"1s\"}");
    ts_advance(&ts, MINUTE);
    ts_answer(&ts, 500);
    const char *r = ts_call(&ts, ERR_OK, "PauseJob", "{\"name\":\"" J "\"}");
    assert_string_equal(ts_json(r, "state"), "PAUSED");
    assert_null(ts_json(r, "scheduleTime"));
    ts_advance(&ts, 10 * MINUTE); /* no firing, and no retry */
    assert_int_equal(ts.n_fired, 1);
    ts_crash(&ts);
    ts_advance(&ts, MINUTE);
    assert_int_equal(ts.n_fired, 1);
    ts_call(&ts, ERR_FAILED_PRECONDITION, "PauseJob", "{\"name\":\"" J "\"}");
    ts_call(&ts, ERR_OK, "RunJob", "{\"name\":\"" J "\"}"); /* also when paused */
    assert_int_equal(ts.n_fired, 2);
    ts_answer(&ts, 200);
    ts_advance(&ts, 30 * NS_PER_S);
    r = ts_call(&ts, ERR_OK, "ResumeJob", "{\"name\":\"" J "\"}");
    assert_string_equal(ts_json(r, "state"), "ENABLED");
    assert_int_equal(ts.n_fired, 2); /* what went by while it was paused was not missed */
    ts_call(&ts, ERR_FAILED_PRECONDITION, "ResumeJob", "{\"name\":\"" J "\"}");
    ts_advance(&ts, 30 * NS_PER_S);
    assert_int_equal(ts.n_fired, 3);
    ts_stop(&ts);
}

static void paused_while_it_runs(void **state)
{
    struct ts ts;
    ts_start(&ts);
    create(&ts, "job", "* * * * *", ",\"retryConfig\":{\"retryCount\":5,\"minBackoffDuration\":\"1s\"}");
    ts_advance(&ts, MINUTE);
    ts_call(&ts, ERR_OK, "PauseJob", "{\"name\":\"" J "\"}");
    ts_answer(&ts, 500);
    ts_advance(&ts, 10 * MINUTE);
    assert_int_equal(ts.n_fired, 1);
    ts_stop(&ts);
}

/* What had still to be written as a pause was asked for does not bring back what the pause dropped. */
static void paused_while_another_is_written(void **state)
{
    struct ts ts;
    char id[TS_JOB_MAX], json[256];
    const char *retries = ",\"retryConfig\":{\"retryCount\":5,\"minBackoffDuration\":\"5s\"}";
    ts_start(&ts);
    create(&ts, "job", "* * * * *", retries);
    create(&ts, "other", "* * * * *", retries);
    ts_advance(&ts, MINUTE);
    ts.store_stands = true;
    ts_answer(&ts, 200); /* is being written */
    snprintf(id, sizeof id, "%s", strrchr(ts.open[0]->job->name, '/') + 1);
    ts_answer(&ts, 500); /* waits to be written */
    snprintf(json, sizeof json, "{\"name\":\"" L "/jobs/%s\"}", id);
    ts_begin(&ts, "PauseJob", json);
    ts.store_stands = false;
    ts_run(&ts);
    ts_crash(&ts);
    ts_advance(&ts, 30 * NS_PER_S);
    assert_int_equal(ts.n_fired, 2);
    ts_stop(&ts);
}

static void run_now(void **state)
{
    struct ts ts;
    ts_start(&ts);
    create(&ts, "job", "0 * * * *", "");
    ts_advance(&ts, HOUR);
    assert_int_equal(ts.n_open, 1);
    ts_advance(&ts, 90 * NS_PER_S + 5 * NS_PER_US);
    for (int i = 1; i < SCHEDULE_RUNS_MAX; i++) /* also while it runs */
        ts_call(&ts, ERR_OK, "RunJob", "{\"name\":\"" J "\"}");
    assert_int_equal(ts.n_open, SCHEDULE_RUNS_MAX);
    assert_string_equal(ts.fired[1].schedule_time, "2026-01-01T01:01:30.000005+00:00");
    assert_string_equal(last(&ts)->schedule_time, "2026-01-01T01:01:30.000019+00:00"); /* never two of one time */
    assert_string_not_equal(last(&ts)->event_id, ts.fired[ts.n_fired - 2].event_id);
    ts_call(&ts, ERR_RESOURCE_EXHAUSTED, "RunJob", "{\"name\":\"" J "\"}");
    ts.store_fails = ERR_UNAVAILABLE; /* who is told no may rely on it */
    while (ts.n_open)
        ts_answer(&ts, 200);
    size_t fired = ts.n_fired;
    ts_advance(&ts, 2 * NS_PER_S);
    ts.store_fails = ERR_OK;
    ts_advance(&ts, 2 * NS_PER_S);
    ts.store_fails = ERR_UNAVAILABLE;
    ts_call(&ts, ERR_UNAVAILABLE, "RunJob", "{\"name\":\"" J "\"}");
    ts.store_fails = ERR_OK;
    ts_advance(&ts, 10 * NS_PER_S);
    assert_int_equal(ts.n_fired, fired);
    ts_stop(&ts);
}

static void a_run_survives(void **state)
{
    struct ts ts;
    ts_start(&ts);
    create(&ts, "job", "0 0 1 6 *", "");
    ts_call(&ts, ERR_OK, "RunJob", "{\"name\":\"" J "\"}");
    ts_crash(&ts);
    assert_int_equal(ts.n_fired, 2);
    assert_string_equal(ts.fired[0].schedule_time, ts.fired[1].schedule_time);
    ts_answer(&ts, 200);
    ts_crash(&ts);
    assert_int_equal(ts.n_fired, 2);
    ts_stop(&ts);
}

static void an_update_starts_anew(void **state)
{
    struct ts ts;
    ts_start(&ts);
    ts.answer = 200;
    create(&ts, "job", "0 0 1 6 *", "");
    ts_advance(&ts, 3 * HOUR + 30 * NS_PER_S);
    ts_call(&ts, ERR_OK, "UpdateJob", "{\"job\":{\"name\":\"" J "\",\"schedule\":\"* * * * *\"},\"updateMask\":\"schedule\"}");
    assert_int_equal(ts.n_fired, 0); /* nothing of the time before it */
    ts_advance(&ts, 30 * NS_PER_S);
    assert_int_equal(ts.n_fired, 1);
    assert_string_equal(clock_of(last(&ts)), "03:01:00");
    ts_crash(&ts);
    ts_advance(&ts, MINUTE);
    assert_int_equal(ts.n_fired, 2);
    ts_stop(&ts);
}

static void deleted_while_it_runs(void **state)
{
    struct ts ts;
    ts_start(&ts);
    create(&ts, "job", "* * * * *", "");
    ts_advance(&ts, MINUTE);
    ts_call(&ts, ERR_OK, "DeleteJob", "{\"name\":\"" J "\"}");
    assert_int_equal(ts.cancelled, 1);
    ts_advance(&ts, 10 * MINUTE);
    assert_int_equal(ts.n_fired, 1);
    ts_crash(&ts);
    ts_call(&ts, ERR_NOT_FOUND, "GetJob", "{\"name\":\"" J "\"}");
    create(&ts, "job", "0 0 1 6 *", ""); /* the name is free */
    ts_stop(&ts);
}

/* ---- start, end, jitter ---- */

static void start_and_end(void **state)
{
    struct ts ts;
    ts_start(&ts);
    ts.answer = 200;
    create(&ts, "job", "* * * * *", "");
    policy(&ts, "\"startTime\":\"2026-01-01T00:10:00Z\",\"endTime\":\"2026-01-01T00:12:00Z\"");
    ts_advance(&ts, 30 * MINUTE);
    assert_int_equal(ts.n_fired, 2);
    assert_string_equal(clock_of(&ts.fired[0]), "00:10:00");
    assert_string_equal(clock_of(&ts.fired[1]), "00:11:00");
    const char *r = ts_call(&ts, ERR_OK, "GetJob", "{\"name\":\"" J "\"}");
    assert_null(ts_json(r, "scheduleTime"));
    ts_call(&ts, ERR_OK, "Schedules/UpdateJobPolicy", "{\"policy\":{\"name\":\"" J "\"},\"updateMask\":\"endTime\"}");
    assert_int_equal(ts.n_fired, 2); /* what the end kept back was not missed */
    ts_advance(&ts, MINUTE);
    assert_int_equal(ts.n_fired, 3);
    assert_string_equal(clock_of(last(&ts)), "00:31:00");
    ts_stop(&ts);
}

static void jitter_is_kept(void **state)
{
    struct ts ts;
    ts_start(&ts);
    ts.answer = 200;
    create(&ts, "job", "*/10 * * * *", "");
    policy(&ts, "\"jitter\":\"120s\"");
    ts_advance(&ts, 24 * HOUR);
    assert_int_equal(ts.n_fired, 143); /* the one of 00:00 is still to start */
    bool differ = false;
    for (size_t i = 0; i < ts.n_fired; i++) {
        int64_t late = ts.fired[i].wall_ns - (FAKE_WALL_NS + (int64_t)(i + 1) * 10 * MINUTE);
        assert_in_range(late, 0, 120 * NS_PER_S);
        differ |= i && late != ts.fired[0].wall_ns - FAKE_WALL_NS - 10 * MINUTE;
    }
    assert_true(differ);
    ts_stop(&ts);
}

/* ---- many ---- */

static void ten_thousand(void **state)
{
    struct ts ts;
    char id[32];
    ts_start(&ts);
    for (int i = 0; i < 10000; i++) {
        snprintf(id, sizeof id, "job%d", i);
        create(&ts, id, i % 2 ? "0 * * * *" : "30 12 * * *", "");
    }
    size_t fired = 0;
    ts_run(&ts);
    for (int64_t s = 0; s < 59 * 60; s++) /* at rest: at most one look a minute */
        fired += fake_env_advance(&ts.fe, NS_PER_S);
    assert_true(fired <= 60);
    assert_int_equal(ts.n_fired, 0);
    size_t steps = ts.store_steps;
    ts_advance(&ts, MINUTE);
    assert_int_equal(ts.n_fired, 5000);
    assert_int_equal(ts.n_open, 5000);
    assert_true(ts.store_steps - steps <= 5000 / SCHEDULES_STEP_JOBS + 2); /* in groups */
    for (size_t i = 1; i < 5000; i++)
        assert_int_equal(ts.fired[i].wall_ns, ts.fired[0].wall_ns);
    while (ts.n_open)
        ts_answer(&ts, 200);
    ts_crash(&ts);
    assert_int_equal(ts.n_fired, 5000);
    ts_stop(&ts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fires_on_time),
        cmocka_unit_test(in_its_zone),
        cmocka_unit_test(nothing_goes_out_before_the_record),
        cmocka_unit_test(forbid_delays),
        cmocka_unit_test(allow_runs_beside),
        cmocka_unit_test(replace_cancels),
        cmocka_unit_test(missed_and_overlap),
        cmocka_unit_test(a_backlog_survives),
        cmocka_unit_test(what_is_held_survives),
        cmocka_unit_test(a_restart_around_a_firing),
        cmocka_unit_test(killed_at_every_write),
        cmocka_unit_test(retries_at_exact_times),
        cmocka_unit_test(no_retries_by_default),
        cmocka_unit_test(retries_end_at_the_next_scheduled_time),
        cmocka_unit_test(a_late_failure_is_not_retried),
        cmocka_unit_test(both_limits_must_be_reached),
        cmocka_unit_test(a_retry_survives),
        cmocka_unit_test(a_firing_is_known_by_its_id),
        cmocka_unit_test(what_lasts_is_found_again),
        cmocka_unit_test(a_repeated_attempt_is_not_counted),
        cmocka_unit_test(pause_and_resume),
        cmocka_unit_test(paused_while_it_runs),
        cmocka_unit_test(paused_while_another_is_written),
        cmocka_unit_test(run_now),
        cmocka_unit_test(a_run_survives),
        cmocka_unit_test(an_update_starts_anew),
        cmocka_unit_test(deleted_while_it_runs),
        cmocka_unit_test(start_and_end),
        cmocka_unit_test(jitter_is_kept),
        cmocka_unit_test(ten_thousand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

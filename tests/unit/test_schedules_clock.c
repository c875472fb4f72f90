/** test_schedules_clock.c: schedules while the clock is set, the machine sleeps, and the time zones change. */
#include "tests/support/support_schedules.h"
#include "tests/unit/schedules_fixture.h"

#include "tests/support/support_dispatcher.h"

#include <unistd.h>

#define ZONE_BYTES_MAX 65536

/* ---- clocks ---- */

static void the_clock_is_set(void **state)
{
    struct ts ts;
    ts_start(&ts);
    ts.answer = 200;
    create(&ts, "job", "*/10 * * * *", "");
    ts_advance(&ts, 65 * MINUTE);
    assert_int_equal(ts.n_fired, 6);
    /* back by five hours: these times are used up */
    ts_wall(&ts, ts.fe.clock.wall_ns - 5 * HOUR);
    schedules_clock_jumped(ts.s);
    ts_advance(&ts, 4 * HOUR + 50 * MINUTE);
    assert_int_equal(ts.n_fired, 6);
    ts_advance(&ts, 15 * MINUTE); /* the clock is past 01:00 again: 01:10 */
    assert_int_equal(ts.n_fired, 7);
    assert_string_equal(clock_of(last(&ts)), "01:10:00");
    /* forwards by five hours: missed ones become one */
    ts_wall(&ts, ts.fe.clock.wall_ns + 5 * HOUR);
    schedules_clock_jumped(ts.s);
    ts_run(&ts);
    assert_int_equal(ts.n_fired, 8);
    assert_string_equal(clock_of(last(&ts)), "06:10:00");
    ts_advance(&ts, 10 * MINUTE);
    assert_int_equal(ts.n_fired, 9);
    ts_stop(&ts);
}

/* Without anybody telling: it is noticed within a minute. */
static void a_jump_that_nobody_tells(void **state)
{
    struct ts ts;
    ts_start(&ts);
    ts.answer = 200;
    create(&ts, "job", "0 12 * * *", "");
    ts_advance(&ts, MINUTE + 1);
    ts_wall(&ts, FAKE_WALL_NS + 12 * HOUR + 30 * MINUTE);
    ts_advance(&ts, MINUTE);
    assert_int_equal(ts.n_fired, 1);
    ts_stop(&ts);
}

/* Asleep: the wall clock went on, the monotonic one did not. */
static void the_machine_slept(void **state)
{
    struct ts ts;
    ts_start(&ts);
    ts.answer = 200;
    create(&ts, "job", "0 * * * *", "");
    ts_advance(&ts, 30 * MINUTE);
    ts_wall(&ts, ts.fe.clock.wall_ns + 8 * HOUR);
    ts_advance(&ts, MINUTE);
    assert_int_equal(ts.n_fired, 1);
    assert_string_equal(clock_of(last(&ts)), "08:00:00");
    ts_stop(&ts);
}

/* Pausing and resuming does not give used times back. */
static void resumed_with_the_clock_behind(void **state)
{
    struct ts ts;
    ts_start(&ts);
    ts.answer = 200;
    create(&ts, "job", "0 * * * *", "");
    ts_advance(&ts, 3 * HOUR);
    assert_int_equal(ts.n_fired, 3);
    ts_wall(&ts, ts.fe.clock.wall_ns - 2 * HOUR);
    schedules_clock_jumped(ts.s);
    ts_call(&ts, ERR_OK, "PauseJob", "{\"name\":\"" J "\"}");
    ts_call(&ts, ERR_OK, "ResumeJob", "{\"name\":\"" J "\"}");
    ts_advance(&ts, 2 * HOUR);
    assert_int_equal(ts.n_fired, 3);
    ts_advance(&ts, HOUR);
    assert_int_equal(ts.n_fired, 4);
    assert_string_equal(clock_of(last(&ts)), "04:00:00");
    ts_stop(&ts);
}

/* Only a new schedule or zone is worth that times are used again. */
static void updated_with_the_clock_behind(void **state)
{
    struct ts ts;
    ts_start(&ts);
    ts.answer = 200;
    create(&ts, "job", "0 * * * *", "");
    ts_advance(&ts, 3 * HOUR);
    ts_wall(&ts, ts.fe.clock.wall_ns - 2 * HOUR);
    schedules_clock_jumped(ts.s);
    ts_call(&ts, ERR_OK, "UpdateJob", "{\"job\":{\"name\":\"" J "\",\"description\":\"x\",\"schedule\":\"0 * * * *\"}}");
    ts_advance(&ts, HOUR + MINUTE);
    assert_int_equal(ts.n_fired, 3);
    ts_call(&ts, ERR_OK, "UpdateJob", "{\"job\":{\"name\":\"" J "\",\"schedule\":\"0 */1 * * *\"},\"updateMask\":\"schedule\"}");
    ts_advance(&ts, HOUR);
    assert_int_equal(ts.n_fired, 4);
    assert_string_equal(clock_of(last(&ts)), "03:00:00");
    ts_stop(&ts);
}

static void a_retry_waits_real_time(void **state)
{
    struct ts ts;
    ts_start(&ts);
    create(&ts, "job", "0 0 1 6 *", ",\"retryConfig\":{\"retryCount\":1,\"minBackoffDuration\":\"60s\"}");
    ts_call(&ts, ERR_OK, "RunJob", "{\"name\":\"" J "\"}");
    ts_answer(&ts, 500);
    ts_wall(&ts, ts.fe.clock.wall_ns - 5 * HOUR);
    schedules_clock_jumped(ts.s);
    ts_advance(&ts, MINUTE - 1);
    assert_int_equal(ts.n_fired, 1);
    ts_advance(&ts, 1);
    assert_int_equal(ts.n_fired, 2);
    ts_stop(&ts);
}

/* ---- time zones ---- */

static void copy_zone(const char *from, const char *dir)
{
    char path[512], bytes[ZONE_BYTES_MAX];
    snprintf(path, sizeof path, "/usr/share/zoneinfo/%s", from);
    FILE *f = fopen(path, "rbe");
    assert_non_null(f);
    size_t n = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    snprintf(path, sizeof path, "%s/Here.new", dir);
    f = fopen(path, "wbe");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
    char to[512];
    snprintf(to, sizeof to, "%s/Here", dir);
    assert_int_equal(rename(path, to), 0); /* as packages do it */
}

static void tzdata_is_updated(void **state)
{
    const char *dir = support_tmpdir();
    struct engine_box box;
    struct err e;
    struct ts ts;
    copy_zone("Europe/Berlin", dir);
    setenv("TZDIR", dir, 1);
    engine_box_init(&box);
    struct workers *workers = workers_start(1, &e);
    assert_non_null(workers);
    ts_start_with(&ts, workers, box.mailbox);
    ts.answer = 200;
    create(&ts, "job", "0 12 * * *", ",\"timeZone\":\"Here\"");
    assert_string_equal(ts_json(ts_call(&ts, ERR_OK, "GetJob", "{\"name\":\"" J "\"}"), "scheduleTime"), "2026-01-01T11:00:00Z");
    ts_advance(&ts, 2 * MINUTE); /* nothing has changed */
    engine_box_once(&box);
    assert_string_equal(ts_json(ts_call(&ts, ERR_OK, "GetJob", "{\"name\":\"" J "\"}"), "scheduleTime"), "2026-01-01T11:00:00Z");
    ts.store_stands = true; /* an update is being written, by the old rules */
    ts_begin(&ts, "UpdateJob", "{\"job\":{\"name\":\"" J "\",\"description\":\"x\"},\"updateMask\":\"description\"}");
    copy_zone("Asia/Tokyo", dir);
    ts_advance(&ts, 2 * MINUTE);
    engine_box_once(&box);
    ts.store_stands = false;
    ts_run(&ts);
    assert_string_equal(ts_json(ts_call(&ts, ERR_OK, "GetJob", "{\"name\":\"" J "\"}"), "scheduleTime"), "2026-01-01T03:00:00Z");
    unsetenv("TZDIR");
    ts_advance(&ts, 3 * HOUR);
    assert_int_equal(ts.n_fired, 1);
    assert_string_equal(last(&ts)->schedule_time, "2026-01-01T12:00:00+09:00");
    engine_box_once(&box); /* the last look: its worker must be done before the end */
    ts_stop(&ts);
    workers_stop(workers);
    engine_box_fini(&box);
}

/* Its zone is not known as the server starts, and comes later: nothing else would wake the only job. */
static void tzdata_is_installed(void **state)
{
    const char *dir = support_tmpdir();
    char path[512];
    struct engine_box box;
    struct err e;
    struct ts ts;
    snprintf(path, sizeof path, "%s/Here", dir);
    copy_zone("Europe/Berlin", dir);
    setenv("TZDIR", dir, 1);
    engine_box_init(&box);
    struct workers *workers = workers_start(1, &e);
    assert_non_null(workers);
    ts_start_with(&ts, workers, box.mailbox);
    ts.answer = 200;
    create(&ts, "job", "0 12 * * *", ",\"timeZone\":\"Here\"");
    assert_int_equal(unlink(path), 0);
    ts_crash(&ts);
    assert_string_equal(ts_json(ts_call(&ts, ERR_OK, "GetJob", "{\"name\":\"" J "\"}"), "state"), "DISABLED");
    copy_zone("Europe/Berlin", dir);
    ts_advance(&ts, 2 * MINUTE);
    engine_box_once(&box);
    const char *r = ts_call(&ts, ERR_OK, "GetJob", "{\"name\":\"" J "\"}");
    assert_string_equal(ts_json(r, "state"), "ENABLED");
    assert_string_equal(ts_json(r, "scheduleTime"), "2026-01-01T11:00:00Z");
    unsetenv("TZDIR");
    ts_advance(&ts, 12 * HOUR);
    assert_int_equal(ts.n_fired, 1);
    engine_box_once(&box); /* the last look: its worker must be done before the end */
    ts_stop(&ts);
    workers_stop(workers);
    engine_box_fini(&box);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_clock_is_set),
        cmocka_unit_test(a_jump_that_nobody_tells),
        cmocka_unit_test(the_machine_slept),
        cmocka_unit_test(resumed_with_the_clock_behind),
        cmocka_unit_test(updated_with_the_clock_behind),
        cmocka_unit_test(a_retry_waits_real_time),
        cmocka_unit_test(tzdata_is_updated),
        cmocka_unit_test(tzdata_is_installed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/** test_torture_core.c: what everything stands on, growing while one allocation fails: map, buffer, arena, timers, metrics, JSON; and the
 *  log while one write fails. What was taken is there afterwards and whole, what was refused is not there, and the second try works.
 *  The same for a single call of each module is with its unit test. */
#include "tests/support/support_fault.h"
#include "tests/support/unit.h"

#include "core/base/arena.h"
#include "core/base/log.h"
#include "core/base/map.h"
#include "core/observe/metrics.h"
#include "core/rpc/json.h"
#include "core/rpc/pb.h"
#include "tests/support/test_rpc.pb-c.h"

#include <stdio.h>
#include <unistd.h>

#define STEPS 300

static bool must_say(bool ok, const struct err *e)
{
    if (!ok && (e->code != ERR_RESOURCE_EXHAUSTED || !strstr(e->msg, "memory")))
        fail_msg("it says %s: %s", err_name(e->code), e->msg);
    return ok;
}

static bool maps(const struct torture *t, enum fault what, size_t nth, size_t times)
{
    struct map *m = map_new(STEPS);
    struct u64map *u = u64map_new(STEPS);
    struct err e = {0};
    bool in[STEPS], in_u[STEPS];
    char key[32];
    fault_arm(what, nth, times);
    for (size_t i = 0; i < STEPS; i++) {
        snprintf(key, sizeof key, "key-%zu", i);
        in[i] = must_say(map_put(m, key, &in[i], &e) == 0, &e);
        in_u[i] = must_say(u64map_put(u, i * 977, &in_u[i], &e) == 0, &e);
    }
    bool failed = fault_disarm();
    for (int again = 0; again < 2; again++)
        for (size_t i = 0; i < STEPS; i++) {
            snprintf(key, sizeof key, "key-%zu", i);
            assert_ptr_equal(map_get(m, key), in[i] || again ? &in[i] : NULL);
            assert_ptr_equal(u64map_get(u, i * 977), in_u[i] || again ? &in_u[i] : NULL);
            assert_int_equal(map_put(m, key, &in[i], &e), 0);
            assert_int_equal(u64map_put(u, i * 977, &in_u[i], &e), 0);
        }
    map_free(m);
    u64map_free(u);
    return failed;
}

static bool bytes(const struct torture *t, enum fault what, size_t nth, size_t times)
{
    struct arena *a = arena_new(1 << 20);
    struct buf b;
    const char *kept[STEPS];
    size_t expect = 0;
    char text[64];
    buf_init(&b, 1 << 20);
    fault_arm(what, nth, times);
    for (size_t i = 0; i < STEPS; i++) {
        snprintf(text, sizeof text, "a text that is number %zu of all", i);
        if (buf_addf(&b, "%03zu,", i) == 0)
            expect += 4;
        kept[i] = arena_strdup(a, text);
    }
    bool failed = fault_disarm();
    assert_int_equal(buf_len(&b), expect);
    for (size_t at = 0; at < expect; at += 4)
        assert_int_equal(buf_data(&b)[at + 3], ',');
    for (size_t i = 0; i < STEPS; i++) {
        snprintf(text, sizeof text, "a text that is number %zu of all", i);
        assert_true(kept[i] ? strcmp(kept[i], text) == 0 : failed);
    }
    assert_int_equal(buf_addz(&b, "more"), 0);
    assert_non_null(arena_strdup(a, "more"));
    buf_fini(&b);
    arena_free(a);
    return failed;
}

struct alarm {
    struct timer timer;
    bool armed, fired;
};
static int64_t latest_ns;

static void on_alarm(struct timer *t, int64_t now_ns)
{
    struct alarm *a = CONTAINER_OF(t, struct alarm, timer);
    assert_true(a->armed && !a->fired);
    assert_true(t->due_ns >= latest_ns);
    latest_ns = t->due_ns;
    a->fired = true;
}

static bool alarms(const struct torture *t, enum fault what, size_t nth, size_t times)
{
    static struct alarm all[STEPS];
    struct timers *ts = timers_new();
    struct err e = {0};
    memset(all, 0, sizeof all);
    latest_ns = 0;
    fault_arm(what, nth, times);
    for (size_t i = 0; i < STEPS; i++) {
        timer_init(&all[i].timer, on_alarm);
        all[i].armed = must_say(timer_set(ts, &all[i].timer, (int64_t)(i * 7919 % 1000), &e) == 0, &e);
    }
    bool failed = fault_disarm();
    timers_run(ts, 500);
    timers_run(ts, 1000);
    for (size_t i = 0; i < STEPS; i++)
        assert_int_equal(all[i].fired, all[i].armed);
    timers_free(ts);
    return failed;
}

/* Counts must not get lost, even if no memory is left to tell them apart. */
static bool counts(const struct torture *t, enum fault what, size_t nth, size_t times)
{
    struct metrics *m = metrics_new();
    struct buf out;
    char label[16];
    size_t own = 0;
    fault_arm(what, nth, times);
    struct metric_family *f = metrics_family(m, METRIC_COUNTER, "things_total", "Things.", "kind");
    for (size_t i = 0; i < 50; i++) {
        snprintf(label, sizeof label, "k%zu", i);
        const char *const values[METRIC_LABELS_MAX] = {label};
        metric_add(metric_series(f, values), 1);
    }
    bool failed = fault_disarm();
    buf_init(&out, 1 << 20);
    assert_int_equal(metrics_render(m, &out), 0);
    for (const char *p = buf_cstr(&out); (p = strstr(p, "} ")); p++)
        own += strtoul(p + 2, NULL, 10);
    assert_int_equal(own, f ? 50 : 0);
    assert_true(f || failed);
    buf_fini(&out);
    metrics_free(m);
    return failed;
}

static bool json(const struct torture *t, enum fault what, size_t nth, size_t times)
{
    static const char text[] =
        "{\"name\":\"n\",\"items\":[{\"labels\":{\"a\":\"b\"}},{\"data\":\"aGk=\"}],\"words\":[\"x\",\"y\"],\"when\":\"2026-01-01T00:00:00Z\"}";
    static char *want;
    struct arena *a = arena_new(1 << 20);
    struct err e = {0};
    struct buf b;
    buf_init(&b, 1 << 16);
    fault_arm(what, nth, times);
    Runnel__Test__Everything *m = pb_new(a, &runnel__test__everything__descriptor);
    int rc = m ? json_decode(a, str_of(text), &m->base, &e) : err_set(&e, ERR_RESOURCE_EXHAUSTED, "out of memory");
    rc = rc ? rc : json_encode(&b, &m->base, 0, &e);
    bool failed = fault_disarm();
    must_say(rc == 0, &e);
    if (rc == 0) { /* the whole message, or an error; never a part */
        want = want ? want : strdup(buf_cstr(&b));
        assert_string_equal(buf_cstr(&b), want);
    }
    buf_fini(&b);
    arena_free(a);
    return failed;
}

static bool lines(const struct torture *t, enum fault what, size_t nth, size_t times)
{
    char path[256], line[512];
    int number = 0, found = 0;
    snprintf(path, sizeof path, "%s", (const char *)t->arg);
    FILE *f = fopen(path, "w+");
    struct fake_clock clock;
    fake_clock_init(&clock);
    struct log *l = log_new(fileno(f), false, LOG_INFO, &clock.clock);
    fault_arm(what, nth, times);
    for (int i = 0; i < 20; i++)
        log_kv(l, LOG_INFO, "event", LINT("number", i));
    bool failed = fault_disarm();
    rewind(f);
    for (; fgets(line, sizeof line, f); found++) {
        const char *at = strstr(line, "\"number\":");
        assert_true(at && line[strlen(line) - 2] == '}');
        assert_true(strtol(at + 9, NULL, 10) >= number);
        number = (int)strtol(at + 9, NULL, 10);
    }
    assert_int_equal(found, failed ? 19 : 20);
    log_free(l);
    fclose(f);
    return failed;
}

static void everything_grows_without_memory(void **state)
{
    static const struct torture all[] = {
        {"maps", maps, NULL, true},     {"buffers and arenas", bytes, NULL, true},
        {"timers", alarms, NULL, true}, {"metrics", counts, NULL, true},
        {"JSON", json, NULL, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        CASE_TRUE(all[i].name, torture(&all[i], FAULT_ALLOC, FAULT_ONCE) > 1);
        CASE_TRUE(all[i].name, torture(&all[i], FAULT_ALLOC, FAULT_FOR_EVER) > 1);
    }
}

static void a_line_that_cannot_be_written_is_the_only_one_missing(void **state)
{
    char path[256];
    snprintf(path, sizeof path, "%s/log", support_tmpdir());
    const struct torture t = {"log", lines, path, true};
    assert_int_equal(torture(&t, FAULT_WRITE, FAULT_ONCE), 20);
    assert_int_equal(torture(&t, FAULT_FULL, FAULT_ONCE), 20);
}

int main(void)
{
    pb_register(&runnel__test__item__descriptor);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_grows_without_memory),
        cmocka_unit_test(a_line_that_cannot_be_written_is_the_only_one_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

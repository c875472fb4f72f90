/** test_metrics.c: what is counted comes out as Prometheus text, also from many threads, with odd labels and past the limit. */
#include "tests/support/unit.h"

#include "core/loop/thread.h"
#include "core/observe/metrics.h"

#include <math.h>
#include <stdio.h>

static void expect_text(const struct metrics *m, const char *want)
{
    struct buf b;
    buf_init(&b, 1 << 22);
    assert_int_equal(metrics_render(m, &b), 0);
    assert_string_equal(buf_cstr(&b), want);
    buf_fini(&b);
}

static bool has_line(const struct metrics *m, const char *line)
{
    struct buf b;
    buf_init(&b, 1 << 24);
    assert_int_equal(metrics_render(m, &b), 0);
    bool found = strstr(buf_cstr(&b), line) != NULL;
    buf_fini(&b);
    return found;
}

static struct metric *series(struct metric_family *f, const char *a, const char *b)
{
    return metric_series(f, (const char *const[]){a, b});
}

static void counters_and_gauges_are_printed_in_order_with_their_labels(void **state)
{
    struct metrics *m = metrics_new();
    struct metric_family *pushes = metrics_family(m, METRIC_COUNTER, "runnel_pushes_total", "Pushes by outcome.", "subscription,outcome");
    struct metric_family *open = metrics_family(m, METRIC_GAUGE, "runnel_open", "Open things.\nSecond \\ line.", "");
    metrics_family(m, METRIC_GAUGE, "runnel_silent", "Never touched.", "a");
    expect_text(m, "");
    metric_add(series(pushes, "s2", "ok"), 3);
    metric_add(series(pushes, "s1", "ok"), 1);
    metric_add(series(pushes, "s1", "ok"), 1); /* the same series again */
    metric_add(series(pushes, "s1", "error"), 0);
    metric_set(metric_series(open, NULL), -5);
    assert_int_equal(metric_value(series(pushes, "s1", "ok")), 2);
    assert_ptr_equal(metrics_family(m, METRIC_COUNTER, "runnel_pushes_total", "again", "subscription,outcome"), pushes);
    expect_text(m, "# HELP runnel_pushes_total Pushes by outcome.\n# TYPE runnel_pushes_total counter\n"
                   "runnel_pushes_total{subscription=\"s1\",outcome=\"error\"} 0\n"
                   "runnel_pushes_total{subscription=\"s1\",outcome=\"ok\"} 2\n"
                   "runnel_pushes_total{subscription=\"s2\",outcome=\"ok\"} 3\n"
                   "# HELP runnel_open Open things.\\nSecond \\\\ line.\n# TYPE runnel_open gauge\nrunnel_open -5\n");
    metric_drop(pushes, (const char *const[]){"s1", "ok"});
    metric_drop(pushes, (const char *const[]){"s9", "ok"});
    assert_false(has_line(m, "subscription=\"s1\",outcome=\"ok\""));
    assert_int_equal(metric_value(series(pushes, "s1", "ok")), 0); /* begins anew */
    metrics_free(m);
}

static void label_values_are_escaped(void **state)
{
    static const struct {
        const char *name, *value, *want;
    } rows[] = {
        {"plain", "projects/p/topics/t", "projects/p/topics/t"},
        {"quotes", "a\"b", "a\\\"b"},
        {"backslashes", "a\\b", "a\\\\b"},
        {"line ends", "a\nb", "a\\nb"},
        {"empty", "", ""},
        {"missing", NULL, ""},
        {"letters of others", "gr\xC3\xBC\xC3\x9F", "gr\xC3\xBC\xC3\x9F"},
        {"no UTF-8", "a\xFFz", "a\xEF\xBF\xBDz"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct metrics *m = metrics_new();
        char line[256];
        metric_add(metric_series(metrics_family(m, METRIC_COUNTER, "c", "h", "l"), &rows[i].value), 1);
        snprintf(line, sizeof line, "\nc{l=\"%s\"} 1\n", rows[i].want);
        CASE_TRUE(rows[i].name, has_line(m, line));
        metrics_free(m);
    }
}

static void observations_fall_into_buckets_up_to_their_limit(void **state)
{
    static const struct {
        const char *name;
        double seconds;
        const char *below, *in; /* the last bucket without it, the first with it */
    } rows[] = {
        {"nothing", 0, NULL, "0.0005"},
        {"negative counts as nothing", -3, NULL, "0.0005"},
        {"exactly the first limit", 0.0005, NULL, "0.0005"},
        {"just above", 0.0006, "0.0005", "0.001"},
        {"a tenth", 0.1, "0.05", "0.1"},
        {"a minute", 60, "30", "60"},
        {"longer than all", 61, "60", "+Inf"},
        {"infinite", INFINITY, "60", "+Inf"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct metrics *m = metrics_new();
        char line[64];
        struct metric *s = metric_series(metrics_family(m, METRIC_HISTOGRAM, "h", "h", ""), NULL);
        metric_observe(s, rows[i].seconds);
        metric_observe(s, NAN);
        if (rows[i].below) {
            snprintf(line, sizeof line, "\nh_bucket{le=\"%s\"} 0\n", rows[i].below);
            CASE_TRUE(rows[i].name, has_line(m, line));
        }
        snprintf(line, sizeof line, "\nh_bucket{le=\"%s\"} 1\n", rows[i].in);
        CASE_TRUE(rows[i].name, has_line(m, line));
        CASE_TRUE(rows[i].name, has_line(m, "\nh_bucket{le=\"+Inf\"} 1\n"));
        CASE_TRUE(rows[i].name, has_line(m, "\nh_count 1\n"));
        CASE_INT(rows[i].name, metric_value(s), 1);
        metrics_free(m);
    }
}

static void a_histogram_with_labels_has_sum_and_count(void **state)
{
    struct metrics *m = metrics_new();
    struct metric *s = metric_series(metrics_family(m, METRIC_HISTOGRAM, "lat", "h", "x"), (const char *const[]){"a"});
    metric_observe(s, 0.25);
    metric_observe(s, 1.5);
    assert_true(has_line(m, "\nlat_bucket{x=\"a\",le=\"0.25\"} 1\n"));
    assert_true(has_line(m, "\nlat_bucket{x=\"a\",le=\"+Inf\"} 2\n"));
    assert_true(has_line(m, "\nlat_sum{x=\"a\"} 1.750000000\n"));
    assert_true(has_line(m, "\nlat_count{x=\"a\"} 2\n"));
    metrics_free(m);
}

static void beyond_the_limit_everything_goes_to_one_series(void **state)
{
    struct metrics *m = metrics_new();
    struct metric_family *f = metrics_family(m, METRIC_COUNTER, "c", "h", "n");
    char value[METRIC_VALUE_MAX + 2];
    const char *const values[] = {value};
    for (int i = 0; i < METRICS_SERIES_MAX; i++) {
        snprintf(value, sizeof value, "%d", i);
        metric_add(metric_series(f, values), 1);
    }
    assert_false(has_line(m, "overflow"));
    struct metric *over = NULL;
    for (int i = 0; i < 10; i++) {
        snprintf(value, sizeof value, "more %d", i);
        over = metric_series(f, values);
        metric_add(over, 1);
    }
    assert_true(has_line(m, "\nc{n=\"overflow\"} 10\n"));
    metric_drop(f, (const char *const[]){"7"}); /* makes room for one */
    snprintf(value, sizeof value, "new");
    assert_ptr_not_equal(metric_series(f, values), over);
    memset(value, 'x', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    assert_ptr_equal(metric_series(f, values), over); /* too long a value */
    metrics_free(m);
}

static void nothing_is_asked_of_what_could_not_be_made(void **state)
{
    assert_null(metrics_family(NULL, METRIC_COUNTER, "c", "h", ""));
    assert_null(metric_series(NULL, NULL));
    metric_add(NULL, 1);
    metric_set(NULL, 1);
    metric_observe(NULL, 1);
    metric_drop(NULL, NULL);
    assert_int_equal(metric_value(NULL), 0);
    metrics_free(NULL);
}

static void out_of_memory_leaves_the_text_as_it_was(void **state)
{
    bool failed = true;
    for (size_t n = 1; failed; n++) {
        struct metrics *m = metrics_new();
        struct buf b;
        buf_init(&b, 1 << 20);
        assert_int_equal(buf_addz(&b, "before"), 0);
        support_fail_alloc(n);
        struct metric_family *f = metrics_family(m, METRIC_HISTOGRAM, "lat", "h", "x");
        metric_observe(metric_series(f, (const char *const[]){"a"}), 1);
        int rc = metrics_render(m, &b);
        failed = support_alloc_failed();
        assert_true(failed || rc == 0);
        assert_true(rc == 0 || buf_len(&b) == 6);
        buf_fini(&b);
        metrics_free(m);
    }
}

static void a_full_buffer_is_told(void **state)
{
    struct metrics *m = metrics_new();
    metric_set(metric_series(metrics_family(m, METRIC_GAUGE, "g", "h", ""), NULL), 1);
    struct buf b;
    buf_init(&b, 10);
    assert_int_equal(metrics_render(m, &b), -ERR_RESOURCE_EXHAUSTED);
    assert_int_equal(buf_len(&b), 0);
    buf_fini(&b);
    metrics_free(m);
}

#define TOUCHES 20000
struct touched {
    struct metric *counter, *histogram;
};

static void touch(void *arg)
{
    struct touched *t = arg;
    for (int i = 0; i < TOUCHES; i++) {
        metric_add(t->counter, 1);
        metric_observe(t->histogram, 0.001);
    }
}

static void many_threads_lose_no_count(void **state)
{
    struct metrics *m = metrics_new();
    struct touched t = {
        metric_series(metrics_family(m, METRIC_COUNTER, "c", "h", ""), NULL),
        metric_series(metrics_family(m, METRIC_HISTOGRAM, "h", "h", ""), NULL),
    };
    struct thread *threads[4];
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_non_null(threads[i] = thread_start("touch", touch, &t, NULL));
    assert_true(has_line(m, "h_count ")); /* printing meanwhile is safe */
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        thread_join(threads[i]);
    assert_int_equal(metric_value(t.counter), 4 * TOUCHES);
    assert_true(has_line(m, "\nh_count 80000\n"));
    assert_true(has_line(m, "\nh_sum 80.000000000\n"));
    metrics_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counters_and_gauges_are_printed_in_order_with_their_labels),
        cmocka_unit_test(label_values_are_escaped),
        cmocka_unit_test(observations_fall_into_buckets_up_to_their_limit),
        cmocka_unit_test(a_histogram_with_labels_has_sum_and_count),
        cmocka_unit_test(beyond_the_limit_everything_goes_to_one_series),
        cmocka_unit_test(nothing_is_asked_of_what_could_not_be_made),
        cmocka_unit_test(out_of_memory_leaves_the_text_as_it_was),
        cmocka_unit_test(a_full_buffer_is_told),
        cmocka_unit_test(many_threads_lose_no_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

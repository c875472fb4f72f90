/** test_logs.c: what is kept of programs' lines, what is lifted out of JSON, and which entries a filter finds. */
#include "tests/support/unit.h"
#include "tests/support/support_executor.h"

#include "executor/exec_lines.h"
#include "executor/log_filter.h"
#include "executor/logs.h"

#include <stdio.h>

static struct fake_env fe;
static struct logs *logs;
static const struct log_where web = {"proj", "here", "web", "web-1", "i1", false, 0, 0};
static const struct log_where api = {"proj", "there", "api", "api-1", "i2", false, 0, 0};

static int setup(void **state)
{
    struct err e;
    support_env(&fe);
    logs = logs_new(&fe.env, &e);
    return logs ? 0 : -1;
}

static int teardown(void **state)
{
    logs_free(logs);
    support_env_fini(&fe);
    return 0;
}

static const struct log_entry *last(void) { return CONTAINER_OF(logs_all(logs)->head.prev, struct log_entry, link); }

static void test_what_is_lifted_from_a_line(void **state)
{
    static const struct {
        const char *name, *line, *text, *trace;
        int severity;
    } cases[] = {
        {"plain text stays", "hello", "hello", "", SEVERITY_DEFAULT},
        {"an empty line", "", "", "", SEVERITY_DEFAULT},
        {"severity and message", "{\"severity\":\"ERROR\",\"message\":\"no \\\"db\\\"\",\"n\":1}", "no \"db\"", "", SEVERITY_ERROR},
        {"severity in lower case", "{\"severity\":\"warning\",\"message\":\"m\"}", "m", "", SEVERITY_WARNING},
        {"an unknown severity", "{\"severity\":\"loud\",\"message\":\"m\"}", "m", "", SEVERITY_DEFAULT},
        {"without a message the line is the text", "{\"severity\":\"INFO\",\"x\":{}}", "{\"severity\":\"INFO\",\"x\":{}}", "",
         SEVERITY_INFO},
        {"the trace", "{\"message\":\"m\",\"logging.googleapis.com/trace\": \"projects/p/traces/06\"}", "m", "projects/p/traces/06",
         SEVERITY_DEFAULT},
        {"broken JSON is text", "{\"severity\":\"ERROR\",}", "{\"severity\":\"ERROR\",}", "", SEVERITY_DEFAULT},
        {"a message of another type makes it text", "{\"message\":{\"a\":1}}", "{\"message\":{\"a\":1}}", "", SEVERITY_DEFAULT},
        {"an array is text", "[1]", "[1]", "", SEVERITY_DEFAULT},
        {"spaces before it do not matter", "  {\"message\":\"m\"}", "m", "", SEVERITY_DEFAULT},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        logs_line(logs, &web, LOG_STDOUT, str_of(cases[i].line), FAKE_WALL_NS);
        CASE_STR(cases[i].name, last()->text, cases[i].text);
        CASE_STR(cases[i].name, last()->trace, cases[i].trace);
        CASE_INT(cases[i].name, last()->severity, cases[i].severity);
    }
    assert_string_equal(last()->source->service, "web");
    assert_string_equal(last()->source->region, "here");
    assert_string_equal(last()->revision, "web-1");
    assert_string_equal(last()->instance, "i1");
}

static void test_the_oldest_go_first_and_one_service_cannot_push_out_another(void **state)
{
    static char big[RUNTIME_LINE_MAX];
    memset(big, 'x', sizeof big);
    logs_line(logs, &api, LOG_STDOUT, STR("keep me"), FAKE_WALL_NS);
    for (int i = 0; i < 1000; i++)
        logs_line(logs, &web, LOG_STDOUT, (struct str){big, sizeof big}, FAKE_WALL_NS);
    assert_true(last()->source->bytes <= LOGS_BYTES_PER_SERVICE_MAX);
    assert_in_range(last()->source->entries.count, 200, 260);
    assert_string_equal(CONTAINER_OF(list_first(logs_all(logs)), struct log_entry, link)->text, "keep me");
    for (int i = 0; i < LOGS_PER_SERVICE_MAX + 10; i++)
        logs_line(logs, &web, LOG_STDOUT, STR("s"), FAKE_WALL_NS);
    assert_int_equal(last()->source->entries.count, LOGS_PER_SERVICE_MAX);
}

static void test_filters(void **state)
{
    static const struct {
        const char *name, *filter;
        int want; /* of the four below; -code for an error */
    } cases[] = {
        {"nothing asked is everything", "", 4},
        {"gcloud's own words",
         "resource.type = cloud_run_revision \n AND resource.labels.service_name = web \n AND resource.labels.location = here \n AND severity >= DEFAULT",
         3},
        {"quotes", "resource.labels.service_name=\"web\" AND severity>=\"WARNING\"", 1},
        {"no AND is the same", "resource.labels.service_name=web severity=ERROR", 1},
        {"a time", "timestamp>=\"2026-01-01T00:00:02Z\"", 2},
        {"a span of time", "timestamp >= \"2026-01-01T00:00:01Z\" AND timestamp<\"2026-01-01T00:00:03Z\"", 2},
        {"text within", "textPayload:\"TWO\"", 1},
        {"a whole text", "textPayload=\"line one\"", 1},
        {"not", "resource.labels.service_name != web", 1},
        {"a revision", "resource.labels.revision_name=api-1", 1},
        {"a stream", "logName=\"projects/proj/logs/run.googleapis.com%2Fstderr\"", 1},
        {"part of a name", "logName:varlog", 1},
        {"an instance", "labels.instanceId=i2", 1},
        {"a label nobody has", "labels.nobody=x", 0},
        {"a comment", "-- only a comment\nseverity=ERROR", 1},
        {"behind an entry", "insertId > \"00000000000000000002\"", 2},
        {"up to an entry", "insertId <= 00000000000000000002", 2},
        {"another type", "resource.type=cloud_run_job", 0},
        {"OR", "severity=ERROR OR severity=INFO", -ERR_UNIMPLEMENTED},
        {"parentheses", "(severity=ERROR)", -ERR_UNIMPLEMENTED},
        {"a regular expression", "textPayload=~\"x.*\"", -ERR_UNIMPLEMENTED},
        {"another field", "httpRequest.status=500", -ERR_UNIMPLEMENTED},
        {"no value", "severity>=", -ERR_INVALID_ARGUMENT},
        {"no comparison", "severity", -ERR_INVALID_ARGUMENT},
        {"open quotes", "textPayload=\"x", -ERR_INVALID_ARGUMENT},
        {"no such severity", "severity>=LOUD", -ERR_INVALID_ARGUMENT},
        {"no time", "timestamp>=yesterday", -ERR_INVALID_ARGUMENT},
        {"no order", "resource.type>x", -ERR_INVALID_ARGUMENT},
        {"a lone quote", "\"", -ERR_INVALID_ARGUMENT},
        {"only an operator", ">=", -ERR_INVALID_ARGUMENT},
    };
    logs_line(logs, &web, LOG_STDOUT, STR("line one"), FAKE_WALL_NS);
    logs_line(logs, &web, LOG_STDERR, STR("{\"severity\":\"ERROR\",\"message\":\"line two\"}"), FAKE_WALL_NS + NS_PER_S);
    logs_line(logs, &api, LOG_STDOUT, STR("line three"), FAKE_WALL_NS + 2 * NS_PER_S);
    fake_clock_move(&fe.clock, 3 * NS_PER_S);
    logs_system(logs, &web, SEVERITY_INFO, "number %d", 4);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena *a = arena_new(1 << 20);
        struct err e = {0};
        struct log_filter *f = log_filter_parse(a, str_of(cases[i].filter), &e);
        int found = f ? 0 : -(int)e.code;
        LIST_EACH(logs_all(logs), n)
            found += f && log_filter_matches(f, CONTAINER_OF(n, struct log_entry, link));
        CASE_INT(cases[i].name, found, cases[i].want);
        arena_free(a);
    }
}

static void test_a_line_about_an_execution_is_of_no_task(void **state)
{
    static const struct log_where task = {"proj", "here", "work", "work-1", "i3", true, 0, 0};
    static const struct log_where all = {"proj", "here", "work", "work-1", "", true, LOG_NO_TASK, 0};
    static const struct {
        const char *filter;
        int want;
    } cases[] = {
        {"labels.\"run.googleapis.com/task_index\" = 0", 1},
        {"labels.\"run.googleapis.com/task_attempt\" = 0", 1},
        {"labels.\"run.googleapis.com/execution_name\" = work-1", 2},
    };
    logs_line(logs, &task, LOG_STDOUT, STR("of the task"), FAKE_WALL_NS);
    logs_system(logs, &all, SEVERITY_INFO, "of all");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena *a = arena_new(1 << 20);
        struct err e;
        struct log_filter *f = log_filter_parse(a, str_of(cases[i].filter), &e);
        int found = 0;
        assert_non_null(f);
        LIST_EACH(logs_all(logs), n)
            found += log_filter_matches(f, CONTAINER_OF(n, struct log_entry, link));
        CASE_INT(cases[i].filter, found, cases[i].want);
        arena_free(a);
    }
}

static void test_a_filter_ends_where_its_text_ends(void **state)
{
    struct arena *a = arena_new(1 << 20);
    struct err e = {0};
    assert_null(log_filter_parse(a, (struct str){"severity ~ behind it", 10}, &e));
    assert_non_null(strstr(e.msg, "'~'"));
    arena_free(a);
}

static void test_the_api(void **state)
{
    static struct world w;
    static struct answer a;
    char token[600], request[1000];
    world_init(&w, 60 * NS_PER_S, 0);
    world_call(
        &w, "Services/CreateService",
        "{\"parent\":\"projects/proj/locations/here\",\"serviceId\":\"web\",\"service\":{\"template\":{\"containers\":[{\"image\":\"exec:///x\"}]}}}",
        &a);
    world_run(&w, NS_PER_S);
    fake_runtime_say(&w.runtime, true, "first");
    fake_runtime_say(&w.runtime, false, "second");
    world_call(&w, "ListLogEntries", "{\"resourceNames\":[\"projects/proj\"],\"orderBy\":\"timestamp desc\",\"pageSize\":1}", &a);
    assert_string_equal(json_value(a.json, "textPayload"), "second");
    assert_string_equal(json_value(a.json, "type"), "cloud_run_revision");
    assert_string_equal(json_value(a.json, "logName"), "projects/proj/logs/run.googleapis.com%2Fstdout");
    snprintf(token, sizeof token, "%s", json_value(a.json, "nextPageToken"));
    snprintf(request, sizeof request,
             "{\"resourceNames\":[\"projects/proj\"],\"orderBy\":\"timestamp desc\",\"pageSize\":1,\"pageToken\":\"%s\"}", token);
    world_call(&w, "ListLogEntries", request, &a);
    assert_string_equal(json_value(a.json, "textPayload"), "first");
    world_call(&w, "ListLogEntries", "{\"resourceNames\":[\"projects/proj\"]}", &a);
    assert_non_null(strstr(json_value(a.json, "textPayload"), "Starting new instance. Reason: DEPLOYMENT_ROLLOUT"));
    assert_non_null(strstr(a.json, "STARTUP TCP probe succeeded"));
    world_call(&w, "ListLogEntries", "{\"resourceNames\":[\"projects/other\"]}", &a);
    assert_string_equal(a.json, "{}");
    static const char *const bad[] = {
        "{}", "{\"resourceNames\":[\"proj\"]}", "{\"resourceNames\":[\"projects/proj\"],\"orderBy\":\"size\"}",
        "{\"resourceNames\":[\"projects/proj\"],\"pageToken\":\"x\"}", "{\"resourceNames\":[\"projects/proj\"],\"pageSize\":-1}"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        world_call(&w, "ListLogEntries", bad[i], &a);
        CASE_INT(bad[i], a.code, ERR_INVALID_ARGUMENT);
    }
    world_fini(&w);
}

/* ---- cutting bytes into lines */

static char got[4096];

static void on_line(void *arg, bool is_stderr, struct str line, int64_t wall_ns)
{
    size_t n = strlen(got);
    snprintf(got + n, sizeof got - n, "%s%.*s|", is_stderr ? "!" : "", (int)(line.n < 60 ? line.n : 60), line.p);
}

static void no_delivery(struct mail *m) {}

static void test_bytes_become_lines_however_they_come(void **state)
{
    static const char text[] = "one\ntwo\r\n\nthree";
    for (size_t piece = 1; piece <= sizeof text - 1; piece++) {
        struct line_stream s;
        struct line_budget b;
        line_stream_init(&s, false);
        line_budget_init(&b, 0);
        struct line_batch *batch = line_batch_new(&b, NULL, no_delivery);
        for (size_t at = 0; at < sizeof text - 1; at += piece) {
            size_t n = sizeof text - 1 - at < piece ? sizeof text - 1 - at : piece;
            assert_true(lines_add(&s, &b, batch, (struct str){text + at, n}, 0, 0));
        }
        lines_end(&s, &b, batch, 0, 0);
        got[0] = '\0';
        lines_each(batch, on_line, NULL);
        assert_string_equal(got, "one|two||three|");
        line_batch_free(batch);
        assert_int_equal(atomic_load(&b.unread), 0);
        line_stream_fini(&s);
    }
}

static void test_above_the_budget_lines_are_dropped_and_counted(void **state)
{
    struct line_stream s;
    struct line_budget b;
    line_stream_init(&s, false);
    line_budget_init(&b, 0);
    struct line_batch *batch = line_batch_new(&b, NULL, no_delivery);
    bool within = true;
    for (int i = 0; i < RUNTIME_LINES_PER_S * RUNTIME_BURST_S + 25; i++)
        within = lines_add(&s, &b, batch, STR("x\n"), 0, 0);
    assert_false(within);
    assert_int_equal(b.dropped, 25);
    line_batch_free(batch);
    batch = line_batch_new(&b, NULL, no_delivery);
    assert_true(lines_add(&s, &b, batch, STR("later\n"), NS_PER_S, 0));
    got[0] = '\0';
    lines_each(batch, on_line, NULL);
    assert_string_equal(got, "![25 lines dropped: written faster than they are kept]|later|");
    line_batch_free(batch);
    assert_false(lines_add(&s, &b, NULL, STR("no memory\n"), NS_PER_S, 0) && b.dropped == 0);
    line_stream_fini(&s);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_what_is_lifted_from_a_line),
        CASE(test_the_oldest_go_first_and_one_service_cannot_push_out_another),
        CASE(test_filters),
        cmocka_unit_test_setup_teardown(test_a_line_about_an_execution_is_of_no_task, setup, teardown),
        cmocka_unit_test(test_a_filter_ends_where_its_text_ends),
        cmocka_unit_test(test_the_api),
        cmocka_unit_test(test_bytes_become_lines_however_they_come),
        cmocka_unit_test(test_above_the_budget_lines_are_dropped_and_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/** test_log.c: lines as JSON and as text: fields, escapes, levels, and cutting that leaves valid JSON. */
#include "tests/support/unit.h"

#include "core/base/log.h"
#include "core/base/text.h"

#include <cjson/cJSON.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/* 1970-01-02T12:34:56.789012345Z */
#define LOG_AT_NS ((INT64_C(86400) + 12 * 3600 + 34 * 60 + 56) * NS_PER_S + 789012345)

struct capture {
    struct fake_clock clock;
    struct log *log;
    int fd;
    char text[4 * LOG_LINE_MAX];
};

static void capture_init(struct capture *c, bool text, enum log_level level)
{
    char path[300];
    snprintf(path, sizeof path, "%s/log", support_tmpdir());
    fake_clock_init(&c->clock);
    c->clock.wall_ns = LOG_AT_NS;
    c->fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(c->fd >= 0);
    c->log = log_new(c->fd, text, level, &c->clock.clock);
}

/* What has been written since the last time. */
static const char *written(struct capture *c)
{
    off_t end = lseek(c->fd, 0, SEEK_END);
    assert_true(end < (off_t)sizeof c->text);
    assert_int_equal(pread(c->fd, c->text, (size_t)end, 0), end);
    c->text[end] = '\0';
    assert_int_equal(ftruncate(c->fd, 0), 0);
    lseek(c->fd, 0, SEEK_SET);
    return c->text;
}

static void capture_fini(struct capture *c)
{
    log_free(c->log);
    close(c->fd);
}

static void a_json_line_has_time_severity_event_and_typed_fields(void **state)
{
    struct capture c;
    capture_init(&c, false, LOG_DEBUG);
    log_kv(c.log, LOG_WARN, "push.retry", LSTR("subscription", "s"), LINT("attempt", -3), LDBL("load", 0.5), LBOOL("last", true),
           LSTR("none", NULL));
    assert_string_equal(written(&c), "{\"time\":\"1970-01-02T12:34:56.789012Z\",\"severity\":\"WARNING\",\"event\":\"push.retry\","
                                     "\"subscription\":\"s\",\"attempt\":-3,\"load\":0.5,\"last\":true,\"none\":null}\n");
    log_fields(c.log, LOG_INFO, "ready", NULL, 0);
    assert_string_equal(written(&c), "{\"time\":\"1970-01-02T12:34:56.789012Z\",\"severity\":\"INFO\",\"event\":\"ready\"}\n");
    log_kv(c.log, LOG_ERROR, "x", LDBL("a", 0.0 / 0.0), LDBL("b", 1 / 0.0), LDBL("c", -1 / 0.0), LINT("d", INT64_MIN));
    assert_non_null(strstr(written(&c), "\"a\":\"NaN\",\"b\":\"Infinity\",\"c\":\"-Infinity\",\"d\":-9223372036854775808}"));
    capture_fini(&c);
}

static void text_is_aligned_and_quotes_only_what_needs_it(void **state)
{
    struct capture c;
    capture_init(&c, true, LOG_DEBUG);
    log_kv(c.log, LOG_WARN, "push.retry", LSTR("subscription", "projects/p/subscriptions/s"), LINT("attempt", 3));
    assert_string_equal(written(&c), "12:34:56.789 WARN  push.retry             subscription=projects/p/subscriptions/s attempt=3\n");
    log_kv(c.log, LOG_INFO, "e", LSTR("a", "two words"), LSTR("b", ""), LSTR("c", "x\"y"), LSTR("d", NULL), LBOOL("e", false),
           LSTR("f", "\x1b[2J"), LSTR("g", "\xC3\xA4"), LSTR("h", "\xC3"));
    assert_non_null(
        strstr(written(&c), " a=\"two words\" b=\"\" c=\"x\\\"y\" d=- e=false f=\"\\u001b[2J\" g=\xC3\xA4 h=\"\xEF\xBF\xBD\"\n"));
    capture_fini(&c);
}

static void levels_below_the_chosen_one_are_silent(void **state)
{
    for (int level = LOG_DEBUG; level <= LOG_ERROR; level++) {
        struct capture c;
        capture_init(&c, false, (enum log_level)level);
        for (int at = LOG_DEBUG; at <= LOG_ERROR; at++) {
            log_kv(c.log, (enum log_level)at, "e", LINT("a", 1));
            log_fields(c.log, (enum log_level)at, "e", NULL, 0);
            assert_int_equal(log_enabled(c.log, (enum log_level)at), at >= level);
            size_t lines = 0;
            for (const char *p = written(&c); *p; p++)
                lines += *p == '\n';
            assert_int_equal(lines, at >= level ? 2 : 0);
        }
        capture_fini(&c);
    }
}

static void the_null_log_and_no_log_swallow_everything(void **state)
{
    assert_false(log_enabled(log_null(), LOG_ERROR));
    assert_false(log_enabled(NULL, LOG_ERROR));
    log_kv(log_null(), LOG_ERROR, "e", LINT("a", 1));
    log_fields(NULL, LOG_ERROR, "e", NULL, 0);
    log_free(log_null());
    log_free(NULL);
    assert_false(log_enabled(log_null(), LOG_ERROR));
}

static void hostile_strings_stay_one_line_of_valid_json(void **state)
{
    static const char *const hostile[] = {"\n{\"severity\":\"ERROR\"}", "\"},{",        "\\",      "\xFF\xFE", "\xE2\x82",
                                          "\x01\x02\x1F\x7F",           "\xED\xA0\x80", "\r\n\r\n"};
    struct capture c;
    capture_init(&c, false, LOG_INFO);
    for (size_t i = 0; i < ARRAY_LEN(hostile); i++) {
        log_kv(c.log, LOG_INFO, "e", LSTR("a", hostile[i]), LINT("b", 1));
        const char *line = written(&c);
        CASE_TRUE(hostile[i], strchr(line, '\n') == line + strlen(line) - 1);
        CASE_TRUE(hostile[i], utf8_valid(line, strlen(line)));
        cJSON *json = cJSON_Parse(line);
        CASE_TRUE(hostile[i], json && cJSON_GetObjectItem(json, "b"));
        cJSON_Delete(json);
    }
    capture_fini(&c);
}

/* Strings of every length around the limit, of letters that take one, two, three and six bytes in the line. */
static void long_lines_are_cut_at_the_limit_and_stay_valid(void **state)
{
    static const char *const letters[] = {"x", "\n", "\xE2\x82\xAC", "\x01"};
    struct capture c;
    capture_init(&c, false, LOG_INFO);
    static char value[LOG_LINE_MAX * 2];
    for (size_t k = 0; k < ARRAY_LEN(letters); k++) {
        size_t len = strlen(letters[k]);
        size_t n = 0;
        for (size_t wide = 1; n + len < 4200; wide++) {
            memcpy(value + n, letters[k], len);
            n += len;
            value[n] = '\0';
            if (n * (k == 1 ? 2 : k == 3 ? 6 : 1) < 3900)
                continue;
            log_kv(c.log, LOG_INFO, "e", LINT("before", 1), LSTR("long", value), LINT("after", 2));
            const char *line = written(&c);
            size_t line_n = strlen(line);
            assert_true(line_n <= LOG_LINE_MAX);
            assert_true(utf8_valid(line, line_n));
            assert_int_equal(line[line_n - 1], '\n');
            cJSON *json = cJSON_Parse(line);
            assert_non_null(json);
            const cJSON *got = cJSON_GetObjectItem(json, "long");
            const cJSON *after = cJSON_GetObjectItem(json, "after");
            assert_non_null(cJSON_GetObjectItem(json, "before"));
            if (got && strcmp(got->valuestring, value) != 0) {
                size_t got_n = strlen(got->valuestring);
                assert_true(got_n > 600);
                assert_string_equal(got->valuestring + got_n - 3, "\xE2\x80\xA6");
                assert_memory_equal(got->valuestring, value, got_n - 3);
                assert_null(after);
            }
            cJSON_Delete(json);
        }
    }
    capture_fini(&c);
}

static void fields_that_do_not_fit_are_left_out_whole(void **state)
{
    struct capture c;
    char key[500][8];
    struct log_field fields[500];
    for (int text = 0; text <= 1; text++) {
        capture_init(&c, text, LOG_INFO);
        for (size_t i = 0; i < 500; i++) {
            snprintf(key[i], sizeof key[i], "k%zu", i);
            fields[i] = LINT(key[i], (int64_t)i * 1000003);
        }
        log_fields(c.log, LOG_INFO, "many", fields, 500);
        const char *line = written(&c);
        assert_true(strlen(line) <= LOG_LINE_MAX && strlen(line) > LOG_LINE_MAX - 64);
        if (!text) {
            cJSON *json = cJSON_Parse(line);
            assert_non_null(json);
            int last = cJSON_GetArraySize(json) - 3 - 1;
            assert_true(last > 150);
            const cJSON *item = cJSON_GetObjectItem(json, key[last]);
            assert_true(item && (int64_t)item->valuedouble == (int64_t)last * 1000003);
            cJSON_Delete(json);
        }
        /* An event longer than a line is a mistake, not a crash. */
        static char event[LOG_LINE_MAX * 2];
        memset(event, 'e', sizeof event - 1);
        log_fields(c.log, LOG_INFO, event, fields, 3);
        line = written(&c);
        assert_true(strlen(line) <= LOG_LINE_MAX);
        assert_int_equal(line[strlen(line) - 1], '\n');
        capture_fini(&c);
    }
}

static void a_terminal_gets_colours_and_a_file_does_not(void **state)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    assert_true(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    int fd = open(ptsname(master), O_RDWR | O_NOCTTY);
    assert_true(fd >= 0);
    struct fake_clock clock;
    fake_clock_init(&clock);
    static const struct {
        bool text;
        enum log_level level;
        const char *want;
    } rows[] = {
        {true, LOG_WARN, "00:00:00.000 \x1b[33mWARN \x1b[0m e"},
        {true, LOG_ERROR, "00:00:00.000 \x1b[31mERROR\x1b[0m e"},
        {true, LOG_INFO, "00:00:00.000 INFO  e"},
        {false, LOG_ERROR, "{\"time\":\"2026-01-01T00:00:00Z\",\"severity\":\"ERROR\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char got[200] = {0};
        struct log *l = log_new(fd, rows[i].text, LOG_DEBUG, &clock.clock);
        log_kv(l, rows[i].level, "e", LINT("a", 1));
        assert_true(read(master, got, sizeof got - 1) > 0);
        CASE_TRUE(rows[i].want, strncmp(got, rows[i].want, strlen(rows[i].want)) == 0);
        log_free(l);
    }
    close(fd);
    close(master);
}

static void a_log_that_cannot_be_written_stops_nobody(void **state)
{
    int fd = open("/dev/full", O_WRONLY);
    struct fake_clock clock;
    fake_clock_init(&clock);
    struct log *l = log_new(fd, false, LOG_INFO, &clock.clock);
    log_kv(l, LOG_INFO, "e", LINT("a", 1));
    log_free(l);
    close(fd);
    support_fail_alloc(1);
    assert_null(log_new(2, false, LOG_INFO, &clock.clock));
    support_alloc_failed();
}

static void what_happens_often_is_told_seldom(void **state)
{
    struct log_seldom s = {0};
    const int64_t began = 5 * NS_PER_S;
    assert_int_equal(log_seldom(&s, began), 1);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(log_seldom(&s, began + i), 0);
    assert_int_equal(log_seldom(&s, began + LOG_SELDOM_NS - 1), 0);
    assert_int_equal(log_seldom(&s, began + LOG_SELDOM_NS), 1002);
    assert_int_equal(log_seldom(&s, began + LOG_SELDOM_NS + 1), 0);
    assert_int_equal(log_seldom(&s, began + 9 * LOG_SELDOM_NS), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_json_line_has_time_severity_event_and_typed_fields),
        cmocka_unit_test(text_is_aligned_and_quotes_only_what_needs_it),
        cmocka_unit_test(levels_below_the_chosen_one_are_silent),
        cmocka_unit_test(the_null_log_and_no_log_swallow_everything),
        cmocka_unit_test(hostile_strings_stay_one_line_of_valid_json),
        cmocka_unit_test(long_lines_are_cut_at_the_limit_and_stay_valid),
        cmocka_unit_test(fields_that_do_not_fit_are_left_out_whole),
        cmocka_unit_test(a_terminal_gets_colours_and_a_file_does_not),
        cmocka_unit_test(a_log_that_cannot_be_written_stops_nobody),
        cmocka_unit_test(what_happens_often_is_told_seldom),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

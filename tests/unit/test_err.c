/** test_err.c: filling, wrapping and cutting errors; the code tables. */
#include "tests/support/unit.h"

#include "core/base/text.h"

#include <errno.h>

static void setting_fills_every_field_and_returns_minus_the_code(void **state)
{
    struct err e = {.sys = 7};
    assert_int_equal(err_set(&e, ERR_NOT_FOUND, "no topic \"%s\"", "a"), -5);
    assert_int_equal(e.code, ERR_NOT_FOUND);
    assert_int_equal(e.sys, 0);
    assert_string_equal(e.msg, "no topic \"a\"");
}

static void an_errno_is_kept_and_spelled_out(void **state)
{
    struct err e = {0};
    assert_int_equal(err_sys(&e, ERR_UNAVAILABLE, ECONNREFUSED, "connect to %s", "x:1"), -14);
    assert_int_equal(e.sys, ECONNREFUSED);
    assert_string_equal(e.msg, "connect to x:1: Connection refused");
}

static void wrapping_puts_context_first_and_keeps_code_and_errno(void **state)
{
    struct err e = {0};
    err_sys(&e, ERR_UNAVAILABLE, EPIPE, "write");
    assert_int_equal(err_wrap(&e, "push %d", 3), -14);
    assert_int_equal(err_wrap(&e, "subscription s"), -14);
    assert_string_equal(e.msg, "subscription s: push 3: write: Broken pipe");
    assert_int_equal(e.sys, EPIPE);
}

static void nobody_has_to_ask_for_the_error(void **state)
{
    assert_int_equal(err_set(NULL, ERR_ABORTED, "x"), -10);
    assert_int_equal(err_sys(NULL, ERR_INTERNAL, EIO, "x"), -13);
    assert_true(err_wrap(NULL, "x") < 0);
}

static void a_message_may_quote_the_one_it_replaces(void **state)
{
    struct err e = {0};
    err_set(&e, ERR_NOT_FOUND, "inner");
    err_set(&e, ERR_INTERNAL, "outer(%s)", e.msg);
    assert_string_equal(e.msg, "outer(inner)");
    err_wrap(&e, "%s again", e.msg);
    assert_string_equal(e.msg, "outer(inner) again: outer(inner)");
}

static void long_messages_are_cut_between_characters(void **state)
{
    static const char *const letters[] = {"a", "\xC3\xA4", "\xE2\x82\xAC", "\xF0\x9F\x98\x80"};
    for (size_t i = 0; i < ARRAY_LEN(letters); i++) {
        for (size_t shift = 0; shift < 5; shift++) {
            char text[800];
            memset(text, 'x', shift);
            size_t n = shift;
            size_t len = strlen(letters[i]);
            while (n + len < sizeof text) {
                memcpy(text + n, letters[i], len);
                n += len;
            }
            text[n] = '\0';
            struct err e;
            err_set(&e, ERR_INTERNAL, "%s", text);
            assert_true(strlen(e.msg) >= sizeof e.msg - 4);
            assert_true(utf8_valid(e.msg, strlen(e.msg)));
            assert_memory_equal(e.msg, text, strlen(e.msg));
            err_wrap(&e, "outer");
            err_sys(NULL, ERR_INTERNAL, EIO, "%s", text);
            assert_true(utf8_valid(e.msg, strlen(e.msg)));
            err_sys(&e, ERR_INTERNAL, EIO, "%s", text);
            assert_true(utf8_valid(e.msg, strlen(e.msg)));
        }
    }
}

static void a_message_of_stray_continuation_bytes_is_not_touched(void **state)
{
    struct err e;
    err_set(&e, ERR_INTERNAL, "\x80\x80");
    assert_string_equal(e.msg, "\x80\x80");
}

static const struct {
    const char *name;
    enum err_code code;
    int number, http;
    enum err_retry retry;
} codes[] = {
    {"OK", ERR_OK, 0, 200, RETRY_NEVER},
    {"CANCELLED", ERR_CANCELLED, 1, 499, RETRY_NEVER},
    {"UNKNOWN", ERR_UNKNOWN, 2, 500, RETRY_NEVER},
    {"INVALID_ARGUMENT", ERR_INVALID_ARGUMENT, 3, 400, RETRY_NEVER},
    {"DEADLINE_EXCEEDED", ERR_DEADLINE_EXCEEDED, 4, 504, RETRY_LATER},
    {"NOT_FOUND", ERR_NOT_FOUND, 5, 404, RETRY_NEVER},
    {"ALREADY_EXISTS", ERR_ALREADY_EXISTS, 6, 409, RETRY_NEVER},
    {"PERMISSION_DENIED", ERR_PERMISSION_DENIED, 7, 403, RETRY_NEVER},
    {"RESOURCE_EXHAUSTED", ERR_RESOURCE_EXHAUSTED, 8, 429, RETRY_LATER},
    {"FAILED_PRECONDITION", ERR_FAILED_PRECONDITION, 9, 400, RETRY_NEVER},
    {"ABORTED", ERR_ABORTED, 10, 409, RETRY_LATER},
    {"OUT_OF_RANGE", ERR_OUT_OF_RANGE, 11, 400, RETRY_NEVER},
    {"UNIMPLEMENTED", ERR_UNIMPLEMENTED, 12, 501, RETRY_NEVER},
    {"INTERNAL", ERR_INTERNAL, 13, 500, RETRY_NEVER},
    {"UNAVAILABLE", ERR_UNAVAILABLE, 14, 503, RETRY_LATER},
    {"DATA_LOSS", ERR_DATA_LOSS, 15, 500, RETRY_NEVER},
    {"UNAUTHENTICATED", ERR_UNAUTHENTICATED, 16, 401, RETRY_NEVER},
};

static void every_code_has_google_s_number_and_status(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        CASE_INT(codes[i].name, codes[i].code, codes[i].number);
        CASE_STR(codes[i].name, err_name(codes[i].code), codes[i].name);
        CASE_INT(codes[i].name, err_http(codes[i].code), codes[i].http);
        CASE_INT(codes[i].name, err_retry(codes[i].code), codes[i].retry);
    }
    assert_string_equal(err_name((enum err_code)17), "UNKNOWN");
    assert_string_equal(err_name((enum err_code) - 1), "UNKNOWN");
    assert_int_equal(err_http((enum err_code)99), 500);
}

static void http_statuses_map_as_cloud_tasks_maps_them(void **state)
{
    static const int rows[][2] = {
        {200, 0},  {204, 0},  {299, 0},  {400, 3}, {401, 16}, {403, 7}, {404, 5}, {409, 6}, {429, 8}, {499, 1},
        {500, 13}, {501, 12}, {503, 14}, {504, 4}, {302, 2},  {418, 2}, {502, 2}, {0, 2},   {-1, 2},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(err_from_http(rows[i][0]), rows[i][1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(setting_fills_every_field_and_returns_minus_the_code),
        cmocka_unit_test(an_errno_is_kept_and_spelled_out),
        cmocka_unit_test(wrapping_puts_context_first_and_keeps_code_and_errno),
        cmocka_unit_test(nobody_has_to_ask_for_the_error),
        cmocka_unit_test(a_message_may_quote_the_one_it_replaces),
        cmocka_unit_test(long_messages_are_cut_between_characters),
        cmocka_unit_test(a_message_of_stray_continuation_bytes_is_not_touched),
        cmocka_unit_test(every_code_has_google_s_number_and_status),
        cmocka_unit_test(http_statuses_map_as_cloud_tasks_maps_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

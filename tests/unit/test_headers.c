/** test_headers.c: the field list, tokens in lists, which characters are fit, which fields stay on one hop. */
#include "tests/support/unit.h"

#include "core/http/headers.h"

static struct headers list_of(const char *const (*rows)[2], size_t n)
{
    struct headers h;
    h.n = 0;
    for (size_t i = 0; i < n && rows[i][0]; i++)
        assert_int_equal(headers_add(&h, str_of(rows[i][0]), str_of(rows[i][1]), NULL), 0);
    return h;
}

static void test_get(void **state)
{
    static const char *const rows[][2] = {{"Content-Type", "a/b"}, {"X", ""}, {"content-type", "second"}};
    struct headers h = list_of(rows, ARRAY_LEN(rows));
    assert_true(str_is(headers_get(&h, "CONTENT-TYPE"), "a/b"));
    assert_non_null(headers_get(&h, "x").p);
    assert_int_equal(headers_get(&h, "x").n, 0);
    assert_null(headers_get(&h, "y").p);
    assert_null(headers_get(&h, "content-typ").p);
}

static void test_limit(void **state)
{
    struct headers h;
    struct err e;
    h.n = 0;
    for (int i = 0; i < HEADERS_MAX; i++)
        assert_int_equal(headers_add(&h, STR("a"), STR("b"), &e), 0);
    assert_int_equal(headers_add(&h, STR("a"), STR("b"), &e), -ERR_RESOURCE_EXHAUSTED);
    assert_int_equal(h.n, HEADERS_MAX);
}

static void test_tokens(void **state)
{
    static const struct {
        const char *value, *token;
        bool has;
    } cases[] = {
        {"close", "close", true},
        {"Close", "close", true},
        {"keep-alive, close", "close", true},
        {"keep-alive,close", "close", true},
        {" \tclose\t ", "close", true},
        {",,close,", "close", true},
        {"", "close", false},
        {"closed", "close", false},
        {"not close", "close", false},
        {"clos", "close", false},
        {"close;a=b", "close", false},
        {"a, b, c", "b", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *const rows[][2] = {{"connection", cases[i].value}};
        struct headers h = list_of(rows, 1);
        CASE_INT(cases[i].value, headers_has_token(&h, "Connection", cases[i].token), cases[i].has);
    }
    static const char *const two[][2] = {{"Connection", "a"}, {"X", "c"}, {"Connection", "b"}};
    struct headers h = list_of(two, 3);
    assert_true(headers_has_token(&h, "connection", "b")); /* also in a second field */
    assert_false(headers_has_token(&h, "connection", "c"));
}

static void test_names_and_values(void **state)
{
    for (int c = 0; c < 256; c++) {
        char one[1] = {(char)c};
        struct str s = {one, 1};
        bool token = c > ' ' && c < 0x7f && !strchr("\"(),/:;<=>?@[\\]{}", c);
        assert_int_equal(header_name_valid(s), token);
        assert_int_equal(header_value_valid(s), c != '\r' && c != '\n' && c != '\0');
    }
    assert_false(header_name_valid(STR("")));
    assert_false(header_name_valid(STR("a b")));
    assert_true(header_value_valid(STR("")));
    assert_false(header_value_valid(STR("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nb")));
}

static void test_hops(void **state)
{
    static const char *const rows[][2] = {{"Connection", "X-Mine, close"}, {"X-Mine", "1"}, {"X-Other", "1"}};
    static const struct {
        const char *name;
        bool hop;
    } cases[] = {
        {"connection", true},
        {"Keep-Alive", true},
        {"Proxy-Connection", true},
        {"TE", true},
        {"Trailer", true},
        {"Transfer-Encoding", true},
        {"Upgrade", true},
        {"x-mine", true},
        {"Proxy-Authenticate", true},
        {"Proxy-Authorization", true},
        {"Host", false},
        {"Content-Length", false},
        {"X-Other", false},
        {"Date", false},
        {"Expect", false},
        {"Tf", false},
        {"A-Name-Much-Longer-Than-Any-Of-Those", false},
    };
    struct headers h = list_of(rows, ARRAY_LEN(rows));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        CASE_INT(cases[i].name, header_is_hop(&h, str_of(cases[i].name)), cases[i].hop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_get),  cmocka_unit_test(test_limit), cmocka_unit_test(test_tokens), cmocka_unit_test(test_names_and_values),
        cmocka_unit_test(test_hops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

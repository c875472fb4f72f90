/* test_page.c: page sizes and tokens. */
#include "tests/support/unit.h"

#include "core/rpc/page.h"

static void sizes_have_a_default_and_a_maximum(void **state)
{
    static const struct {
        const char *name;
        int32_t size;
        size_t want;
    } cases[] = {
        {"0 is the default", 0, PAGE_SIZE_DEFAULT},
        {"1 is 1", 1, 1},
        {"the maximum", PAGE_SIZE_MAX, PAGE_SIZE_MAX},
        {"more is the maximum", PAGE_SIZE_MAX + 1, PAGE_SIZE_MAX},
        {"much more is the maximum", INT32_MAX, PAGE_SIZE_MAX},
    };
    struct arena *a = arena_new(1 << 16);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct page p;
        CASE_INT(cases[i].name, page_open(a, cases[i].size, "", "projects/p", &p, NULL), 0);
        CASE_INT(cases[i].name, p.size, cases[i].want);
        CASE_STR(cases[i].name, p.after, "");
    }
    struct page p;
    struct err e = {0};
    assert_int_equal(page_open(a, -1, NULL, "projects/p", &p, &e), -ERR_INVALID_ARGUMENT);
    assert_non_null(strstr(e.msg, "pageSize: -1"));
    arena_free(a);
}

static void a_token_comes_back(void **state)
{
    static const char *const names[] = {"a", "projects/p/topics/some-long-name", "\xc3\xa9"};
    struct arena *a = arena_new(1 << 16);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char *token = page_token(a, "projects/p", names[i]);
        struct page p;
        CASE_TRUE(names[i], token && strspn(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") == strlen(token));
        CASE_INT(names[i], page_open(a, 5, token, "projects/p", &p, NULL), 0);
        CASE_STR(names[i], p.after, names[i]);
        CASE_INT(names[i], p.size, 5);
    }
    arena_free(a);
}

static void foreign_tokens_are_refused(void **state)
{
    struct arena *a = arena_new(1 << 16);
    char *token = page_token(a, "projects/p", "name"), *changed = arena_strdup(a, token);
    changed[3] = changed[3] == 'A' ? 'B' : 'A';
    char longest[6000];
    memset(longest, 'A', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    const struct {
        const char *name, *list, *token;
    } cases[] = {
        {"of another list", "projects/q", token},
        {"changed", "projects/p", changed},
        {"not base64", "projects/p", "!!"},
        {"too short", "projects/p", "AAAA"},
        {"only a check value", "projects/p", "AAAAAAAAAAA"},
        {"too long", "projects/p", longest},
        {"cut", "projects/p", token + 4},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct page p;
        struct err e = {0};
        CASE_INT(cases[i].name, page_open(a, 0, cases[i].token, cases[i].list, &p, &e), -ERR_INVALID_ARGUMENT);
        CASE_TRUE(cases[i].name, strstr(e.msg, "pageToken"));
    }
    arena_free(a);
}

static void a_full_arena_gives_no_token(void **state)
{
    struct arena *a = arena_new(16);
    assert_null(page_token(a, "projects/p", "a-name-that-does-not-fit"));
    arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_have_a_default_and_a_maximum),
        cmocka_unit_test(a_token_comes_back),
        cmocka_unit_test(foreign_tokens_are_refused),
        cmocka_unit_test(a_full_arena_gives_no_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

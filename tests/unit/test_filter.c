/** test_filter.c: subscription filters: what they match, and what is no filter. */
#include "broker/filter.h"
#include "tests/support/unit.h"

#include <stdio.h>

/* Messages to match: 0 {}, 1 {a:1}, 2 {a:1 b:2}, 3 {b:two}, 4 {"my key":"x\"y"}, 5 {lang:"é"} */
static const char *const pairs[][4] = {{NULL}, {"a", "1"}, {"a", "1", "b", "2"}, {"b", "two"}, {"my key", "x\"y"}, {"lang", "\xc3\xa9"}};
enum { MESSAGES = ARRAY_LEN(pairs) };

static const struct {
    const char *filter, *matches; /* one character a message: 1 or 0 */
} cases[] = {
    {"attributes:a", "011000"},
    {"NOT attributes:a", "100111"},
    {"-attributes:a", "100111"},
    {"attributes.a = \"1\"", "011000"},
    {"attributes.a=\"1\"", "011000"},
    {"attributes.a = \"2\"", "000000"},
    {"attributes.b != \"2\"", "110111"},
    {"hasPrefix(attributes.b, \"t\")", "000100"},
    {"hasPrefix(attributes.b, \"\")", "001100"},
    {"attributes:a AND attributes:b", "001000"},
    {"attributes:a OR attributes:b", "011100"},
    {"attributes:a AND NOT attributes:b", "010000"},
    {"attributes:a AND (attributes.b=\"2\" OR attributes:c)", "001000"},
    {"NOT (attributes:a OR attributes:b)", "100011"},
    {"attributes:\"my key\"", "000010"},
    {"attributes.\"my key\" = \"x\\\"y\"", "000010"},
    {"attributes.lang = \"\\u00e9\"", "000001"},
    {"attributes.lang = \"\\351\"", "000001"},
    {"attributes.a = \"\\x31\"", "011000"},
    {"attributes:A", "000000"},
    {"  attributes:a\tAND attributes:b ", "001000"},
};

static struct message *message_of(size_t i)
{
    static struct attribute attributes[MESSAGES][2];
    static struct message messages[MESSAGES];
    struct message *m = &messages[i];
    *m = (struct message){.attributes = attributes[i]};
    for (size_t k = 0; k < 4 && pairs[i][k]; k += 2)
        attributes[i][m->n_attributes++] = (struct attribute){str_of(pairs[i][k]), str_of(pairs[i][k + 1])};
    return m;
}

static void matches(void **state)
{
    for (size_t c = 0; c < ARRAY_LEN(cases); c++) {
        struct err e;
        struct filter *f = filter_parse(cases[c].filter, &e);
        if (!f)
            fail_msg("%s: %s", cases[c].filter, e.msg);
        for (size_t i = 0; i < MESSAGES; i++)
            CASE_INT(cases[c].filter, filter_match(f, message_of(i)), cases[c].matches[i] == '1');
        filter_free(f);
    }
}

static const struct {
    const char *filter, *says;
} bad[] = {
    {"", "character 1"},
    {"attributes", "attributes:KEY"},
    {"attributes:", "key"},
    {"attributes.a", "= or !="},
    {"attributes.a = 1", "double quotes"},
    {"attributes.a = \"1", "does not end"},
    {"attributes.a = \"\\q\"", "escape"},
    {"attributes.a = \"\\u00\"", "escape"},
    {"attributes:a attributes:b", "AND, OR or the end"},
    {"attributes:a AND attributes:b OR attributes:c", "parentheses"},
    {"(attributes:a", "closing"},
    {"attributes:a and attributes:b", "AND, OR or the end"},
    {"NOT NOT attributes:a", "wanted"},
    {"hasPrefix(attributes:a, \"x\")", "hasPrefix"},
    {"hasprefix(attributes.a, \"x\")", "wanted"},
    {"data = \"x\"", "wanted"},
    {"((((((((((((((((((((((((((((((((((((((((attributes:a))))))))))))))))))))))))))))))))))))))))", "too many"},
};

static void refuses(void **state)
{
    for (size_t c = 0; c < ARRAY_LEN(bad); c++) {
        struct err e = {0};
        struct filter *f = filter_parse(bad[c].filter, &e);
        CASE_TRUE(bad[c].filter, f == NULL);
        CASE_INT(bad[c].filter, e.code, ERR_INVALID_ARGUMENT);
        if (!strstr(e.msg, bad[c].says))
            fail_msg("%s: \"%s\" does not say \"%s\"", bad[c].filter, e.msg, bad[c].says);
    }
    char longer[FILTER_BYTES_MAX + 20] = "attributes:";
    memset(longer + 11, 'a', FILTER_BYTES_MAX + 1 - 11);
    struct err e;
    assert_null(filter_parse(longer, &e));
    longer[FILTER_BYTES_MAX] = '\0';
    struct filter *f = filter_parse(longer, &e);
    assert_non_null(f);
    filter_free(f);
}

static void random_text_does_no_harm(void **state)
{
    static const char *const words[] = {"attributes", ":", ".", "a", "\"b\"",     "=", "!=",   "AND", "OR",
                                        "NOT",        "-", "(", ")", "hasPrefix", ",", "\"\\", " "};
    struct rng rng;
    rng_seed(&rng, 7);
    for (int i = 0; i < 20000; i++) {
        char text[FILTER_BYTES_MAX + 32] = "";
        struct err e;
        int at = 0;
        for (uint64_t n = rng_below(&rng, 20); n > 0; n--)
            at += snprintf(text + at, sizeof text - (size_t)at, "%s", words[rng_below(&rng, ARRAY_LEN(words))]);
        struct filter *f = filter_parse(text, &e);
        if (f)
            filter_match(f, message_of(2));
        filter_free(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches),
        cmocka_unit_test(refuses),
        cmocka_unit_test(random_text_does_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

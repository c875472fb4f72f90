/** test_cli_inputs.c: what is a task in a file of --tasks-from, and which line is blamed for what is wrong. */
#include "tests/support/unit.h"
#include "tools/runnel/cli_inputs.h"
#include "tools/runnel/cli_json.h"

#include <stdlib.h>

static struct cli *cli_make(void)
{
    struct cli *c = calloc(1, sizeof *c);
    assert_non_null(c);
    c->mem = arena_new(CLI_MEMORY_MAX);
    assert_non_null(c->mem);
    jv_use(c);
    return c;
}

/* The inputs with a bar behind each; or the error. */
static char *joined(struct cli *c, const char *text, size_t text_len, struct err *e)
{
    struct inputs in;
    char *out = cli_printf(c, "%s", "");
    if (inputs_parse(c, "F", cli_copy(c, (struct str){text, text_len}), text_len, &in, e))
        return cli_printf(c, "%s", e->msg);
    for (size_t i = 0; i < in.n; i++)
        out = cli_printf(c, "%s%s|", out, in.v[i]);
    return out;
}

static void a_file_is_lines_or_objects(void **state)
{
    static const struct {
        const char *name, *text, *want;
    } cases[] = {
        {"lines", "a\nb c\n", "a|b c|"},
        {"no end of the last line", "a\nb", "a|b|"},
        {"line ends of Windows", "a\r\nb\r\n", "a|b|"},
        {"empty lines are no tasks", "\n\na\n\r\n\nb\n\n", "a|b|"},
        {"blanks are kept", "  a \n\t\n", "  a |\t|"},
        {"the mark of an editor",
         "\xef\xbb\xbf"
         "a\n",
         "a|"},
        {"a brace later on is text", "a\n{\n", "a|{|"},
        {"an array is text", "[1,2]\n", "[1,2]|"},
        {"one object a line", "{\"a\":1}\n{}\n", "{\"a\":1}|{}|"},
        {"objects over lines, their line ends as blanks", " {\n\"a\":\n[1]}\n\n{\r\n}", "{ \"a\": [1]}|{  }|"},
        {"commas between them", "{},\n{}", "{}|{}|"},
        {"braces and quotes in strings", "{\"a\":\"}{\\\"\"} {\"\\\\\":1}", "{\"a\":\"}{\\\"\"}|{\"\\\\\":1}|"},
        {"nothing", "", "--tasks-from: F has no tasks: it is empty"},
        {"only line ends", "\n\r\n", "--tasks-from: F has no tasks: it is empty"},
        {"bytes that are no text", "ok\n\xff\n", "--tasks-from: F, line 2: not UTF-8"},
        {"an object without end", "{}\n\n{\"a\":\n1", "--tasks-from: F, line 3: this JSON object has no end"},
        {"a string without end", "{\"a}\n", "--tasks-from: F, line 1: this JSON object has no end"},
        {"no JSON", "{}\n{a}", "--tasks-from: F, line 2: this is not JSON"},
        {"text after objects", "{\n}\nx", "--tasks-from: F, line 3: a JSON object was expected, as the file begins with one"},
        {"nothing between objects", "{}{}", "--tasks-from: F, line 1: a blank or a line end must stand between two objects"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct cli *c = cli_make();
        struct err e = {0};
        const char *got = joined(c, cases[i].text, strlen(cases[i].text), &e);
        if (strcmp(got, cases[i].want) != 0)
            fail_msg("%s: got '%s'", cases[i].name, got);
        arena_free(c->mem);
        free(c);
    }
}

static void limits_are_exact(void **state)
{
    struct cli *c = cli_make();
    struct err e = {0};
    char *line = cli_alloc(c, INPUT_BYTES_MAX + 2);
    memset(line, 'x', INPUT_BYTES_MAX + 1);
    assert_int_equal(strlen(joined(c, line, INPUT_BYTES_MAX, &e)), INPUT_BYTES_MAX + 1);
    assert_non_null(strstr(joined(c, line, INPUT_BYTES_MAX + 1, &e), "one may have 65536"));
    assert_non_null(strstr(joined(c, "a\nb\0c", 5, &e), "line 2: a byte of value 0"));
    char *many = cli_alloc(c, 2 * (INPUTS_MAX + 1) + 1);
    struct inputs in;
    for (size_t i = 0; i <= INPUTS_MAX; i++)
        memcpy(many + 2 * i, "y\n", 2);
    char *again = cli_copy(c, (struct str){many, 2 * (INPUTS_MAX + 1)});
    assert_int_equal(inputs_parse(c, "F", many, 2 * INPUTS_MAX, &in, &e), 0);
    assert_int_equal(in.n, INPUTS_MAX);
    assert_int_not_equal(inputs_parse(c, "F", again, 2 * (INPUTS_MAX + 1), &in, &e), 0);
    assert_non_null(strstr(e.msg, "more than 1000000 tasks"));
    arena_free(c->mem);
    free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_lines_or_objects),
        cmocka_unit_test(limits_are_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

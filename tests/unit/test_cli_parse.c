/** test_cli_parse.c: words to commands and flags, what is refused, and the advice that goes with it. */
#include "tests/support/unit.h"
#include "tools/runnel/cli.h"
#include "tools/runnel/cli_json.h"
#include "tools/runnel/cli_output.h"

#include <stdlib.h>

#define WORDS_MAX 16

static struct cli *cli_make(void)
{
    struct cli *c = calloc(1, sizeof *c);
    assert_non_null(c);
    c->mem = arena_new(CLI_MEMORY_MAX);
    assert_non_null(c->mem);
    jv_use(c);
    return c;
}

static void cli_drop(struct cli *c)
{
    arena_free(c->mem);
    free(c);
}

/* The word at hand with what the shell leaves of it: a blank ends it outside of single quotes, and the quotes go. */
static char *shell_word(struct cli *c, const char **line)
{
    char *word = cli_alloc(c, strlen(*line) + 1), *to = word;
    bool quoted = false;
    for (; **line && (quoted || **line != ' '); ++*line) {
        if (**line == '\'')
            quoted = !quoted;
        else
            *to++ = **line;
    }
    *line += **line == ' ';
    return word;
}

static int parse(struct cli *c, const char *line)
{
    char *argv[WORDS_MAX + 1] = {cli_printf(c, "runnel")};
    int argc = 1;
    while (*line && argc < WORDS_MAX)
        argv[argc++] = shell_word(c, &line);
    char **kept = cli_alloc(c, sizeof argv);
    memcpy(kept, argv, sizeof argv);
    return cli_parse(c, argc, kept);
}

static void usage_is_checked(void **state)
{
    static const struct {
        const char *name, *line;
        int want;
    } cases[] = {
        {"a command with an argument", "pubsub topics create orders", 0},
        {"several arguments where the usage says so", "pubsub topics create a b c", 0},
        {"a missing argument", "pubsub topics create", CLI_USAGE},
        {"one argument too many", "pubsub topics describe a b", CLI_USAGE},
        {"an argument that is empty", "pubsub topics create  x", CLI_USAGE},
        {"a group alone is no command", "pubsub topics", CLI_USAGE},
        {"a word that is no command", "pubsub topic create a", CLI_USAGE},
        {"a flag with =", "pubsub subscriptions create s --topic=t", 0},
        {"a flag with its value apart", "pubsub subscriptions create s --topic t", 0},
        {"flags before the arguments", "pubsub subscriptions create --topic=t s", 0},
        {"a required flag left out", "pubsub subscriptions create s", CLI_USAGE},
        {"a flag without its value", "pubsub subscriptions create s --topic", CLI_USAGE},
        {"a flag where a value should be", "pubsub subscriptions create s --topic --ack-deadline=10", CLI_USAGE},
        {"an unknown flag", "pubsub topics create a --lable=x=y", CLI_USAGE},
        {"a flag of another command", "pubsub topics create a --topic=t", CLI_USAGE},
        {"a global flag in front", "--project=p-1 pubsub topics list", 0},
        {"a global flag between the words", "pubsub --project p-1 topics list", 0},
        {"a project that is a path", "pubsub topics list --project=a/b", CLI_USAGE},
        {"a number in range", "run deploy s --port=8080", 0},
        {"a number out of range", "run deploy s --port=65536", CLI_USAGE},
        {"a number with letters", "run deploy s --port=80x", CLI_USAGE},
        {"a duration", "run deploy s --timeout=1.5m", 0},
        {"a duration in bare seconds", "run deploy s --timeout=30", 0},
        {"a duration that is none", "run deploy s --timeout=soon", CLI_USAGE},
        {"a negative duration", "run deploy s --timeout=-3s", CLI_USAGE},
        {"a pair without =", "run deploy s --set-env-vars=A", CLI_USAGE},
        {"a pair without a key", "run deploy s --set-env-vars==1", CLI_USAGE},
        {"no- before a yes-or-no flag", "run deploy s --no-allow-unauthenticated", 0},
        {"no- before another flag", "run deploy s --no-image", CLI_USAGE},
        {"a yes-or-no flag with a word", "run deploy s --allow-unauthenticated=maybe", CLI_USAGE},
        {"a switch with a value", "run deploy s --async=5", CLI_USAGE},
        {"a choice", "pubsub topics list --verbosity=debug", 0},
        {"no choice", "pubsub topics list --verbosity=loud", CLI_USAGE},
        {"a time", "pubsub subscriptions seek s --time=2026-01-02T03:04:05Z", 0},
        {"a time ago", "pubsub subscriptions seek s --time=-10m", 0},
        {"a time that is none", "pubsub subscriptions seek s --time=yesterday", CLI_USAGE},
        {"a format", "pubsub topics list --format=value(name,labels)", 0},
        {"a format that is none", "pubsub topics list --format=xml", CLI_USAGE},
        {"a format that names no field", "pubsub topics list --format=value()", CLI_USAGE},
        {"a format without its end", "pubsub topics list --format=value(name", CLI_USAGE},
        {"arguments after --", "pubsub topics create -- --odd", 0},
        {"a command after -- with an argument that is empty", "run jobs execute --local -- printf %s  x --tasks=0", 0},
        {"an empty argument before --", "run jobs execute  -- x", CLI_USAGE},
        {"help needs no arguments", "pubsub topics create --help", 0},
        {"a task's URL left out", "--url=http://server/ tasks create-http-task --queue=q", CLI_USAGE},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct cli *c = cli_make();
        const int got = parse(c, cases[i].line);
        if (got != cases[i].want)
            fail_msg("%s: `%s` gave %d, not %d", cases[i].name, cases[i].line, got, cases[i].want);
        cli_drop(c);
    }
}

static void values_are_read(void **state)
{
    struct cli *c = cli_make();
    size_t n = 0;
    assert_int_equal(
        parse(c,
              "run deploy s --set-env-vars=A=1,B=2 --set-env-vars ^;^C=x,y;D=4 --timeout=90 --allow-unauthenticated --port 80 --port 81"),
        0);
    const char *const *pairs = cli_list(c, "set-env-vars", &n);
    assert_int_equal(n, 4);
    assert_string_equal(pairs[0], "A=1");
    assert_string_equal(pairs[2], "C=x,y");
    assert_string_equal(pairs[3], "D=4");
    assert_null(pairs[4]);
    assert_string_equal(cli_duration(c, "timeout"), "90s");
    assert_true(cli_bool(c, "allow-unauthenticated"));
    assert_int_equal(cli_int(c, "port"), 81); /* the last one counts */
    assert_false(cli_given(c, "image"));
    assert_null(cli_text(c, "image"));
    assert_string_equal(c->region, "europe-west1");
    cli_drop(c);
}

static void a_command_may_have_a_global_flags_name(void **state)
{
    struct cli *c = cli_make();
    assert_int_equal(parse(c, "--url=http://server:1/ tasks create-http-task --queue=q --url=http://target/"), 0);
    assert_string_equal(c->url, "http://server:1/");
    assert_string_equal(cli_text(c, "url"), "http://target/");
    cli_drop(c);
    c = cli_make();
    assert_int_equal(parse(c, "tasks list --queue=q --url=http://server:2/"), 0);
    assert_string_equal(c->url, "http://server:2/");
    assert_string_equal(cli_text(c, "url"), "http://server:2/");
    cli_drop(c);
}

static void durations_are_read(void **state)
{
    static const struct {
        const char *text;
        int64_t want_ms;
    } cases[] = {
        {"10", 10000}, {"10s", 10000}, {"250ms", 250}, {"2m", 120000}, {"1h", 3600000}, {"7d", 604800000}, {"0.5s", 500},
        {"", -1},      {"s", -1},      {"1w", -1},     {"-1s", -1},    {"1e400d", -1},  {"nan", -1},       {"5 s", -1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t ms = -1;
        struct err e = {0};
        const int rc = cli_duration_parse(cases[i].text, &ms, &e);
        if ((rc == 0) != (cases[i].want_ms >= 0) || ms != cases[i].want_ms)
            fail_msg("'%s' gave %lld ms", cases[i].text, (long long)ms);
    }
}

static void the_nearest_word_is_found(void **state)
{
    static const char *const words[] = {"image", "command", "args", "set-env-vars", "no-allow-unauthenticated", "allow-unauthenticated"};
    static const struct {
        const char *word, *want;
    } cases[] = {
        {"imag", "image"},
        {"imgae", "image"},
        {"comand", "command"},
        {"set-env-var", "set-env-vars"},
        {"allow-unauth", "allow-unauthenticated"},
        {"xyz", NULL},
        {"zzzzzzzzzzzz", NULL},
        {"a", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *got = near_word(cases[i].word, words, ARRAY_LEN(words));
        if (!got != !cases[i].want || (got && strcmp(got, cases[i].want)))
            fail_msg("'%s' gave %s", cases[i].word, got ? got : "nothing");
    }
    assert_int_equal(near_distance("", ""), 0);
    assert_int_equal(near_distance("ab", "ba"), 1);
    assert_int_equal(near_distance("kitten", "sitting"), 3);
}

/* What a shell would read as more than a word, outside of quotes. */
static bool is_plain_shell(const char *line)
{
    bool quoted = false;
    for (; *line; line++) {
        if (*line == '\'')
            quoted = !quoted;
        else if (!quoted && strchr(";&|<>()*?`\"\\#~!", *line))
            return false;
    }
    return !quoted;
}

static void every_command_has_help_and_an_example_that_parses(void **state)
{
    const struct cli_command *cmd;
    for (size_t i = 0; (cmd = cli_command_at(i)); i++) {
        assert_true(cmd->summary && *cmd->summary);
        assert_true(cmd->examples && cmd->examples[0]);
        assert_non_null(cmd->run);
        for (size_t k = 0; cmd->examples[k]; k++) {
            struct cli *c = cli_make();
            assert_int_equal(strncmp(cmd->examples[k], "runnel ", 7), 0);
            if (parse(c, cmd->examples[k] + 7) || c->command != cmd)
                fail_msg("the example `%s` is refused", cmd->examples[k]);
            if (!is_plain_shell(cmd->examples[k]))
                fail_msg("a shell would not read the example `%s` as it is meant", cmd->examples[k]);
            cli_drop(c);
        }
    }
}

static void arguments_fit_their_usage(void **state)
{
    static const struct {
        const char *usage;
        size_t n;
        bool want;
        const char *missing;
    } cases[] = {
        {"", 0, true, NULL},     {"", 1, false, NULL},    {"A", 0, false, "A"},      {"A", 1, true, NULL},      {"A", 2, false, NULL},
        {"A...", 0, false, "A"}, {"A...", 5, true, NULL}, {"[A...]", 0, true, NULL}, {"[A...]", 3, true, NULL}, {"A B", 1, false, "B"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct str missing;
        if (cli_args_fit(cases[i].usage, cases[i].n, &missing) != cases[i].want)
            fail_msg("'%s' with %zu", cases[i].usage, cases[i].n);
        assert_true(cases[i].missing ? str_is(missing, cases[i].missing) : !missing.p);
    }
}

static void json_paths_are_put_and_found(void **state)
{
    struct cli *c = cli_make();
    struct jv *o = jv_object(), *parsed = NULL;
    jv_put_text(o, "a.b.c", "x");
    jv_put(o, "a.n", jv_number(3));
    jv_put_text(o, "absent", NULL);
    jv_add(jv_need_array(o, "list"), jv_string("one"));
    jv_set(jv_need_object(o, "labels"), "dotted.key", jv_string("v"));
    assert_string_equal(jv_write(o, false), "{\"a\":{\"b\":{\"c\":\"x\"},\"n\":3},\"list\":[\"one\"],\"labels\":{\"dotted.key\":\"v\"}}");
    assert_string_equal(jv_text(o, "a.b.c"), "x");
    assert_int_equal(jv_int(o, "a.n"), 3);
    assert_string_equal(jv_text(o, "list[0]"), "one");
    assert_null(jv_at(o, "list[1]"));
    assert_null(jv_at(o, "a.b.c.d"));
    jv_drop(o, "a.b");
    jv_drop(o, "no.such.thing");
    assert_null(jv_at(o, "a.b"));
    assert_int_not_equal(jv_parse(STR("{nonsense"), &parsed, NULL), 0);
    assert_int_equal(jv_parse(STR("{\"generation\":\"12\"}"), &parsed, NULL), 0);
    assert_int_equal(jv_int(parsed, "generation"), 12);
    cli_drop(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(usage_is_checked),
        cmocka_unit_test(values_are_read),
        cmocka_unit_test(a_command_may_have_a_global_flags_name),
        cmocka_unit_test(durations_are_read),
        cmocka_unit_test(the_nearest_word_is_found),
        cmocka_unit_test(every_command_has_help_and_an_example_that_parses),
        cmocka_unit_test(arguments_fit_their_usage),
        cmocka_unit_test(json_paths_are_put_and_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* cli_parse.c: from words to a command with checked flags. Everything wrong is said here, before any request is made. */
#include "tools/runnel/cli.h"
#include "core/base/clock.h"
#include "core/base/text.h"
#include "tools/runnel/cli_output.h"
#include "tools/runnel/serve_options.h"

#include <errno.h>
#include <stdlib.h>

#define NEAR_MAX 128
#define DURATION_MAX_NS (INT64_C(3650) * 24 * 3600 * NS_PER_S)

/* ---- looking things up ---- */

/* A flag of the command, or a global one. */
static const struct cli_flag *find_flag(const struct cli_command *cmd, struct str name)
{
    const struct cli_flag *lists[] = {cmd ? cmd->flags : NULL, cli_global_flags};
    for (size_t l = 0; l < ARRAY_LEN(lists); l++)
        for (const struct cli_flag *f = lists[l]; f && f->name; f++)
            if (str_is(name, f->name))
                return f;
    return NULL;
}

static int unknown_flag(struct cli *c, struct str name)
{
    const char *names[NEAR_MAX];
    size_t n = 0;
    const struct cli_flag *lists[] = {c->command ? c->command->flags : NULL, cli_global_flags};
    for (size_t l = 0; l < ARRAY_LEN(lists); l++)
        for (const struct cli_flag *f = lists[l]; f && f->name && n + 2 < NEAR_MAX; f++) {
            names[n++] = f->name;
            if (f->type == CLI_BOOL)
                names[n++] = cli_printf(c, "no-%s", f->name);
        }
    names[n++] = "help";
    const char *near = near_word(cli_copy(c, name), names, n);
    if (near)
        return cli_usage_error(c, "unknown flag --%.*s; did you mean --%s?", (int)name.n, name.p, near);
    return cli_usage_error(c, "unknown flag --%.*s", (int)name.n, name.p);
}

/* ---- checking values ---- */

int cli_duration_parse(const char *text, int64_t *ms, struct err *e)
{
    const size_t n = strlen(text);
    int64_t ns = 0;
    if (n > 1 && text[n - 1] == 'd') { /* what the API knows and the server's own options do not need */
        char *end = NULL;
        const double days = strtod(text, &end);
        if (end == text + n - 1 && days >= 0 && days <= 3650) {
            *ms = (int64_t)(days * 86400000.0);
            return 0;
        }
    }
    struct err inner = {0};
    if (duration_parse(text, 0, DURATION_MAX_NS, &ns, &inner))
        return err_set(e, ERR_INVALID_ARGUMENT, "'%s' is not a duration; write for example 500ms, 10s, 15m, 1h or 7d", text);
    *ms = ns / NS_PER_MS;
    return 0;
}

static int parse_time(const char *text, int64_t *wall_ns, struct err *e)
{
    int64_t ms = 0;
    if (text[0] == '-' && text[1] && cli_duration_parse(text + 1, &ms, e) == 0) {
        *wall_ns = clock_wall_ns(clock_real()) - ms * NS_PER_MS;
        return 0;
    }
    struct err why = {0};
    int64_t seconds = 0;
    int32_t nanos = 0;
    if (wall_parse(text, strlen(text), wall_ns, &why) == 0)
        return 0;
    if (wall_parse_parts(text, strlen(text), &seconds, &nanos, NULL) == 0) /* a time, but none of ours */
        return err_set(e, why.code, "%s", why.msg);
    return err_set(e, ERR_INVALID_ARGUMENT, "'%s' is not a time; write 2026-01-31T12:00:00Z, or -10m for ten minutes ago", text);
}

static int check_int(const struct cli_flag *f, const char *text, struct err *e)
{
    char *end = NULL;
    errno = 0;
    const long long v = strtoll(text, &end, 10);
    if (end == text || *end || errno)
        return err_set(e, ERR_INVALID_ARGUMENT, "'%s' is not a number", text);
    if (v < f->min || v > f->max)
        return err_set(e, ERR_INVALID_ARGUMENT, "%lld is outside %lld to %lld", v, (long long)f->min, (long long)f->max);
    return 0;
}

static int check_choice(struct cli *c, const struct cli_flag *f, const char *text, struct err *e)
{
    const char *words[NEAR_MAX];
    size_t n = 0;
    for (const char *p = f->values; n < NEAR_MAX;) {
        const size_t len = strcspn(p, "|");
        words[n++] = cli_copy(c, (struct str){p, len});
        if (!p[len])
            break;
        p += len + 1;
    }
    for (size_t i = 0; i < n; i++)
        if (strcmp(words[i], text) == 0)
            return 0;
    const char *near = near_word(text, words, n);
    if (near)
        return err_set(e, ERR_INVALID_ARGUMENT, "'%s' is none of %s; did you mean %s?", text, f->values, near);
    return err_set(e, ERR_INVALID_ARGUMENT, "'%s' is none of %s", text, f->values);
}

/* Split at commas, or at X in ^X^aXb. Calls `item` for each part. */
static int each_item(const char *text, int (*item)(void *arg, struct str s, struct err *e), void *arg, struct err *e)
{
    char delimiter = ',';
    if (text[0] == '^' && text[1] && text[2] == '^') {
        delimiter = text[1];
        text += 3;
    }
    for (int rc; *text;) {
        const char *end = strchr(text, delimiter);
        const size_t n = end ? (size_t)(end - text) : strlen(text);
        if ((rc = item(arg, (struct str){text, n}, e)))
            return rc;
        text += n + (end ? 1 : 0);
    }
    return 0;
}

static int check_pair(void *arg, struct str s, struct err *e)
{
    const char *equals = memchr(s.p, '=', s.n);
    if (equals && equals > s.p)
        return 0;
    return err_set(e, ERR_INVALID_ARGUMENT, "'%.*s' is not KEY=VALUE (for values with commas write '^;^K=a,b;L=c', with the quotes)",
                   (int)s.n, s.p);
}

static int check_value(struct cli *c, const struct cli_flag *f, const char *text, struct err *e)
{
    int64_t unused;
    switch (f->type) {
    case CLI_INT:
        return check_int(f, text, e);
    case CLI_CHOICE:
        return check_choice(c, f, text, e);
    case CLI_DURATION:
        return cli_duration_parse(text, &unused, e);
    case CLI_TIME:
        return parse_time(text, &unused, e);
    case CLI_MAP:
        return each_item(text, check_pair, NULL, e);
    case CLI_FORMAT:
        return cli_format_check(c, text, e);
    case CLI_BOOL:
        if (strcmp(text, "true") && strcmp(text, "false"))
            return err_set(e, ERR_INVALID_ARGUMENT, "'%s' is neither true nor false", text);
        return 0;
    case CLI_SWITCH:
        return strcmp(text, "true") ? err_set(e, ERR_INVALID_ARGUMENT, "it takes no value") : 0;
    case CLI_TEXT:
    case CLI_LIST:
        return 0;
    }
    return 0;
}

/* ---- parsing ---- */

static int give(struct cli *c, const struct cli_flag *f, const char *value)
{
    struct err e = {0};
    if (check_value(c, f, value, &e))
        return cli_usage_error(c, "--%s: %s", f->name, e.msg);
    if (c->n_given == CLI_FLAGS_GIVEN_MAX)
        return cli_usage_error(c, "more than %d flags", CLI_FLAGS_GIVEN_MAX);
    c->given[c->n_given++] = (struct cli_given){f, value};
    return 0;
}

/* argv[*i] is a flag: take it, and its value if that stands apart. */
static int take_flag(struct cli *c, int argc, char **argv, int *i)
{
    const char *word = argv[*i] + 2, *equals = strchr(word, '=');
    const struct str name = {word, equals ? (size_t)(equals - word) : strlen(word)};
    if (str_is(name, "help")) {
        c->help = true;
        return 0;
    }
    const struct cli_flag *f = find_flag(c->command, name);
    if (!f && name.n > 3 && strncmp(word, "no-", 3) == 0) {
        f = find_flag(c->command, (struct str){name.p + 3, name.n - 3});
        if (f && f->type == CLI_BOOL)
            return equals ? cli_usage_error(c, "--%.*s takes no value", (int)name.n, name.p) : give(c, f, "false");
        f = NULL;
    }
    if (!f)
        return unknown_flag(c, name);
    if (equals)
        return give(c, f, equals + 1);
    if (f->type == CLI_BOOL || f->type == CLI_SWITCH)
        return give(c, f, "true");
    if (*i + 1 >= argc || strncmp(argv[*i + 1], "--", 2) == 0)
        return cli_usage_error(c, "--%s needs a value: --%s=%s", f->name, f->name, f->values);
    return give(c, f, argv[++*i]);
}

/* Does the table hold `words` as a whole command (exact) or as the beginning of some? */
static const struct cli_command *find_command(const char *words, bool *prefix)
{
    const size_t n = strlen(words);
    *prefix = false;
    const struct cli_command *cmd;
    for (size_t i = 0; (cmd = cli_command_at(i)); i++) {
        if (strcmp(cmd->words, words) == 0)
            return cmd;
        if (n == 0 || (strncmp(cmd->words, words, n) == 0 && cmd->words[n] == ' '))
            *prefix = true;
    }
    return NULL;
}

static int unknown_command(struct cli *c, const char *group, const char *word)
{
    const char *names[NEAR_MAX];
    size_t n = 0;
    const size_t len = strlen(group);
    const struct cli_command *cmd;
    for (size_t i = 0; n < NEAR_MAX && (cmd = cli_command_at(i)); i++) {
        if (len && (strncmp(cmd->words, group, len) || cmd->words[len] != ' '))
            continue;
        const char *next = cmd->words + len + (len ? 1 : 0);
        names[n++] = cli_copy(c, (struct str){next, strcspn(next, " ")});
    }
    const char *near = near_word(word, names, n), *space = len ? " " : "";
    if (near)
        return cli_usage_error(c, "unknown command 'runnel %s%s%s'; did you mean 'runnel %s%s%s'?", group, space, word, group, space, near);
    return cli_usage_error(c, "unknown command 'runnel %s%s%s'; 'runnel %s%s--help' lists what there is", group, space, word, group, space);
}

/* Take words until they name a command. Global flags may stand between them. `group` is what was read so far. */
static int take_words(struct cli *c, int argc, char **argv, int *i, const char **group)
{
    *group = "";
    for (; *i < argc && !c->command; ++*i) {
        if (strncmp(argv[*i], "--", 2) == 0) {
            const int rc = take_flag(c, argc, argv, i);
            if (rc)
                return rc;
            continue;
        }
        bool prefix;
        const char *words = **group ? cli_printf(c, "%s %s", *group, argv[*i]) : argv[*i];
        c->command = find_command(words, &prefix);
        if (!c->command && strcmp(argv[*i], "-h") == 0)
            c->help = true;
        else if (!c->command && !prefix)
            return unknown_command(c, *group, argv[*i]);
        else
            *group = words;
    }
    return 0;
}

static int take_rest(struct cli *c, int argc, char **argv, int i)
{
    bool only_args = false;
    for (; i < argc; i++) {
        int rc = 0;
        if (!only_args && strcmp(argv[i], "--") == 0) {
            only_args = true;
            if (c->command->args && strstr(c->command->args, "COMMAND"))
                c->n_before_command = c->n_args;
        } else if (!only_args && strcmp(argv[i], "-h") == 0)
            c->help = true;
        else if (!only_args && strncmp(argv[i], "--", 2) == 0)
            rc = take_flag(c, argc, argv, &i);
        else if (c->n_args == CLI_ARGS_MAX)
            rc = cli_usage_error(c, "more than %d arguments", CLI_ARGS_MAX);
        else
            c->args[c->n_args++] = argv[i];
        if (rc)
            return rc;
    }
    return 0;
}

bool cli_args_fit(const char *usage, size_t n, struct str *name)
{
    size_t seen = 0;
    *name = (struct str){NULL, 0};
    bool many = false;
    for (const char *p = usage ? usage : ""; *p; seen++) {
        const size_t len = strcspn(p, " ");
        many = len > 3 && (strncmp(p + len - 3, "...", 3) == 0 || strncmp(p + len - 4, "...]", 4) == 0);
        if (*p != '[' && seen >= n && !name->p)
            *name = (struct str){p, many ? len - 3 : len};
        p += len;
        p += strspn(p, " ");
    }
    return !name->p && (n <= seen || many);
}

static int check_args(struct cli *c)
{
    struct str missing;
    if (!cli_args_fit(c->command->args, c->n_args, &missing)) {
        if (missing.p)
            return cli_usage_error(c, "%.*s is missing: runnel %s %s", (int)missing.n, missing.p, c->command->words, c->command->args);
        return cli_usage_error(c, "unexpected '%s' at the end", c->args[c->n_args - 1]);
    }
    for (const struct cli_flag *f = c->command->flags; f && f->name; f++)
        if (f->required && !cli_given(c, f->name))
            return cli_usage_error(c, "--%s is missing: --%s=%s", f->name, f->name, f->values);
    for (size_t i = 0; i < c->n_args && i < c->n_before_command; i++)
        if (!*c->args[i])
            return cli_usage_error(c, "an argument is empty");
    return 0;
}

static const char *global_text(const struct cli *c, const char *flag);

static int resolve_globals(struct cli *c)
{
    c->project = global_text(c, "project");
    c->region = global_text(c, "region");
    c->url = global_text(c, "url");
    c->token = global_text(c, "token");
    c->format = global_text(c, "format");
    c->quiet = cli_bool(c, "quiet");
    static const char *const levels[] = {"none", "error", "warning", "info", "debug"};
    for (size_t i = 0; i < ARRAY_LEN(levels); i++)
        if (strcmp(cli_text(c, "verbosity"), levels[i]) == 0)
            c->verbosity = (enum cli_verbosity)i;
    const struct {
        const char *value, *flag;
    } in_path[] = {{c->project, "project"}, {c->region, "region"}};
    for (size_t i = 0; i < ARRAY_LEN(in_path); i++)
        if (!*in_path[i].value || strpbrk(in_path[i].value, "/ ?#"))
            return cli_usage_error(c, "--%s: '%s' is not a name", in_path[i].flag, in_path[i].value);
    return 0;
}

int cli_parse(struct cli *c, int argc, char **argv)
{
    int i = 1, rc;
    const char *group;
    c->n_before_command = CLI_ARGS_MAX;
    if ((rc = take_words(c, argc, argv, &i, &group)))
        return rc;
    if (!c->command) {
        if (c->help || argc <= 1)
            return 0;
        cli_help_group(group);
        return CLI_USAGE;
    }
    if ((rc = take_rest(c, argc, argv, i)) || c->help)
        return rc;
    if ((rc = check_args(c)))
        return rc;
    return resolve_globals(c);
}

/* ---- asking for what was given ---- */

static const struct cli_flag *flag_of(const struct cli *c, const char *name) { return find_flag(c->command, str_of(name)); }

/* The last value given for `f`; NULL: none. A command may have a flag of its own with a global one's name (create-http-task --url): then
 * the global one stands before the command's words. */
static const char *value_of(const struct cli *c, const struct cli_flag *f)
{
    for (size_t i = c->n_given; i-- > 0;)
        if (c->given[i].flag == f)
            return c->given[i].value;
    return NULL;
}

bool cli_given(const struct cli *c, const char *flag)
{
    const struct cli_flag *f = flag_of(c, flag);
    return f && value_of(c, f);
}

/* Global flags may also come from the environment: --project from RUNNEL_PROJECT. */
static const char *from_environment(const char *flag)
{
    static const struct {
        const char *flag, *name;
    } names[] = {{"project", "RUNNEL_PROJECT"}, {"region", "RUNNEL_REGION"}, {"url", "RUNNEL_URL"}, {"token", "RUNNEL_TOKEN"}};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const char *v = strcmp(flag, names[i].flag) ? NULL : getenv(names[i].name);
        if (v && *v)
            return v;
    }
    return NULL;
}

static const char *global_text(const struct cli *c, const char *flag)
{
    const struct cli_flag *f = find_flag(NULL, str_of(flag));
    const char *value = value_of(c, f);
    value = value ? value : from_environment(flag);
    return value ? value : f->dflt;
}

const char *cli_text(const struct cli *c, const char *flag)
{
    const struct cli_flag *f = flag_of(c, flag);
    if (f && f == find_flag(NULL, str_of(flag)))
        return global_text(c, flag);
    const char *value = f ? value_of(c, f) : NULL;
    return value || !f ? value : f->dflt;
}

int64_t cli_int(const struct cli *c, const char *flag)
{
    const char *v = cli_text(c, flag);
    return v ? strtoll(v, NULL, 10) : 0;
}

bool cli_bool(const struct cli *c, const char *flag)
{
    const char *v = cli_text(c, flag);
    return v && strcmp(v, "true") == 0;
}

const char *cli_duration(struct cli *c, const char *flag)
{
    const char *v = cli_text(c, flag);
    int64_t ms = 0;
    if (!v || cli_duration_parse(v, &ms, NULL))
        return NULL;
    if (ms % 1000 == 0)
        return cli_printf(c, "%llds", (long long)(ms / 1000));
    return cli_printf(c, "%lld.%03llds", (long long)(ms / 1000), (long long)(ms % 1000));
}

const char *cli_time(struct cli *c, const char *flag)
{
    const char *v = cli_text(c, flag);
    int64_t wall_ns = 0;
    char text[WALL_TEXT_MAX];
    if (!v || parse_time(v, &wall_ns, NULL))
        return NULL;
    return cli_printf(c, "%s", wall_format(wall_ns, text));
}

struct items {
    struct cli *c;
    const char **v; /* NULL while counting */
    size_t n;
};

static int add_item(void *arg, struct str s, struct err *e)
{
    struct items *it = arg;
    if (it->v)
        it->v[it->n] = cli_copy(it->c, s);
    it->n++;
    return 0;
}

const char *const *cli_list(struct cli *c, const char *flag, size_t *n)
{
    struct items it = {.c = c};
    for (int pass = 0; pass < 2; pass++) {
        if (pass == 1)
            it.v = cli_alloc(c, (it.n + 1) * sizeof *it.v);
        it.n = 0;
        for (size_t i = 0; i < c->n_given; i++)
            if (strcmp(c->given[i].flag->name, flag) == 0)
                (void)each_item(c->given[i].value, add_item, &it, NULL);
    }
    if (n)
        *n = it.n;
    return it.v;
}

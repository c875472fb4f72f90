/* cli.c: the frame of the command line: memory, what is said to people, version and help. */
#include "tools/runnel/cli.h"
#include "tools/runnel/cli_commands.h"
#include "tools/runnel/cli_json.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- memory ---- */

/* The server holds all state, so a client that is out of memory may simply end. */
static _Noreturn void out_of_memory(void)
{
    fputs("ERROR: out of memory\n", stderr);
    exit(CLI_FAILED);
}

void *cli_alloc(struct cli *c, size_t n)
{
    void *p = n < CLI_MEMORY_MAX ? arena_alloc(c->mem, n) : NULL;
    if (!p)
        out_of_memory();
    return p;
}

char *cli_printf(struct cli *c, const char *fmt, ...)
{
    va_list ap, again;
    assert(fmt);
    va_start(ap, fmt);
    va_copy(again, ap);
    const int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *p = cli_alloc(c, (size_t)(n < 0 ? 0 : n) + 1);
    vsnprintf(p, (size_t)(n < 0 ? 0 : n) + 1, fmt, again);
    va_end(again);
    return p;
}

char *cli_copy(struct cli *c, struct str s)
{
    char *p = cli_alloc(c, s.n + 1);
    if (s.n)
        memcpy(p, s.p, s.n);
    return p;
}

struct arena *cli_scratch_begin(struct cli *c)
{
    struct arena *kept = c->mem;
    if (!(c->mem = arena_new(CLI_MEMORY_MAX)))
        out_of_memory();
    return kept;
}

void cli_scratch_end(struct cli *c, struct arena *kept)
{
    arena_free(c->mem);
    c->mem = kept;
}

/* ---- what people are told ---- */

/* "runnel.pubsub.topics.create", as gcloud names the command in its errors. */
static void print_place(const struct cli *c)
{
    fputs("(runnel", stderr);
    if (c->command)
        fputc('.', stderr);
    for (const char *p = c->command ? c->command->words : ""; *p; p++)
        fputc(*p == ' ' ? '.' : *p, stderr);
    fputs(") ", stderr);
}

int cli_usage_error(const struct cli *c, const char *fmt, ...)
{
    va_list ap;
    fputs("ERROR: ", stderr);
    print_place(c);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    if (c->command)
        fprintf(stderr, "\nUsage and examples: runnel %s --help\n", c->command->words);
    else
        fprintf(stderr, "\nAll commands: runnel --help\n");
    return CLI_USAGE;
}

void cli_say(const struct cli *c, const char *fmt, ...)
{
    if (c->verbosity < CLI_INFO)
        return;
    va_list ap;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
}

/* What to do about an error, or NULL when its message says it all. */
static const char *hint_of(const struct err *e)
{
    switch (e->code) {
    case ERR_UNAUTHENTICATED:
        return "the server was started with --auth: give its token with --token or RUNNEL_TOKEN";
    case ERR_PERMISSION_DENIED:
        return "this token may not do that: another one goes in --token or RUNNEL_TOKEN";
    case ERR_RESOURCE_EXHAUSTED:
        return "wait a little, or remove something that is no longer needed";
    default:
        return NULL;
    }
}

int cli_fail(const struct cli *c, const struct err *e)
{
    if (c->verbosity < CLI_ERROR)
        return CLI_FAILED;
    fputs("ERROR: ", stderr);
    print_place(c);
    if (e->code == ERR_UNAVAILABLE && e->sys != 0) { /* nobody answered at all */
        fprintf(stderr, "cannot reach the server at %s: %s\nStart it with `runnel serve`, or say where it is with --url or RUNNEL_URL.\n",
                c->url, e->msg);
        return CLI_FAILED;
    }
    fprintf(stderr, "%s: %s\n", err_name(e->code), e->msg);
    if (hint_of(e))
        fprintf(stderr, "Hint: %s.\n", hint_of(e));
    return CLI_FAILED;
}

bool cli_confirm(const struct cli *c, const char *fmt, ...)
{
    if (c->quiet || !isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
        return true;
    va_list ap;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputs("\nDo you want to continue (Y/n)? ", stderr);
    char answer[16];
    if (fgets(answer, sizeof answer, stdin) && (*answer == 'y' || *answer == 'Y' || *answer == '\n'))
        return true;
    fputs("Aborted: nothing was changed.\n", stderr);
    return false;
}

/* ---- our own commands ---- */

static int run_version(struct cli *c)
{
    printf("runnel %s\n", RUNNEL_VERSION);
    return CLI_DONE;
}

static int run_help(struct cli *c)
{
    const char *words = "";
    for (size_t i = 0; i < c->n_args; i++)
        words = cli_printf(c, "%s%s%s", words, *words ? " " : "", c->args[i]);
    const struct cli_command *cmd;
    bool group = !*words;
    for (size_t i = 0; (cmd = cli_command_at(i)); i++) {
        if (strcmp(cmd->words, words) == 0) {
            cli_help_command(cmd);
            return CLI_DONE;
        }
        group = group || (strncmp(cmd->words, words, strlen(words)) == 0 && cmd->words[strlen(words)] == ' ');
    }
    if (!group)
        return cli_usage_error(c, "there is no command '%s'", words);
    cli_help_group(words);
    return CLI_DONE;
}

const struct cli_command cli_own_commands[] = {
    {"version", "", "print the version", NULL, NULL, (const char *const[]){"runnel version", NULL}, run_version},
    {"help", "[COMMAND...]", "help for a command or a group of commands", NULL, NULL,
     (const char *const[]){"runnel help", "runnel help run deploy", NULL}, run_help},
    {0},
};

/* What --help is about when no command was found: the words that are there. */
static const char *group_words(struct cli *c, int argc, char **argv)
{
    const char *words = "";
    for (int i = 1; i < argc; i++)
        if (argv[i][0] != '-')
            words = cli_printf(c, "%s%s%s", words, *words ? " " : "", argv[i]);
    return words;
}

static int run(struct cli *c, int argc, char **argv)
{
    const int rc = cli_parse(c, argc, argv);
    if (rc)
        return rc;
    if (c->help && c->command)
        cli_help_command(c->command);
    else if (!c->command)
        cli_help_group(group_words(c, argc, argv));
    else
        return c->command->run(c);
    return CLI_DONE;
}

int cli_main(int argc, char **argv)
{
    struct cli *c = calloc(1, sizeof *c);
    if (!c || !(c->mem = arena_new(CLI_MEMORY_MAX)))
        out_of_memory();
    c->verbosity = CLI_INFO;
    jv_use(c);
    static char version[] = "version";
    if (argc == 2 && strcmp(argv[1], "--version") == 0)
        argv[1] = version;
    int rc = run(c, argc, argv);
    if (fflush(stdout) != 0 || ferror(stdout)) { /* a full disk, a closed pipe */
        fputs("ERROR: cannot write to stdout\n", stderr);
        rc = CLI_FAILED;
    }
    arena_free(c->mem);
    free(c);
    return rc;
}

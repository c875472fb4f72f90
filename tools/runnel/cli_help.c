/* cli_help.c: help for the program, for a group of commands, and for one command, all from the table. */
#include "tools/runnel/cli.h"

#include <stdio.h>

#define LEFT 34
#define WIDTH 100

/* `text` from column LEFT on, broken between words; `used` columns are already written. */
static void print_wrapped(size_t used, const char *text)
{
    if (used + 2 > LEFT) {
        putchar('\n');
        used = 0;
    }
    printf("%*s", (int)(LEFT - used), "");
    size_t col = LEFT;
    while (*text) {
        const size_t n = strcspn(text, " ");
        if (col + n > WIDTH && col > LEFT) {
            printf("\n%*s", LEFT, "");
            col = LEFT;
        }
        printf("%.*s", (int)n, text);
        col += n + 1;
        text += n;
        if (*text == ' ') {
            text++;
            if (col + strcspn(text, " ") <= WIDTH)
                putchar(' ');
        }
    }
    putchar('\n');
}

static void print_flag(const struct cli_flag *f)
{
    char left[96], help[512];
    if (f->type == CLI_BOOL)
        snprintf(left, sizeof left, "  --[no-]%s", f->name);
    else if (f->type == CLI_SWITCH)
        snprintf(left, sizeof left, "  --%s", f->name);
    else
        snprintf(left, sizeof left, "  --%s=%s", f->name, f->values);
    snprintf(help, sizeof help, "%s%s%s%s%s", f->help, f->required ? " (required)" : "", f->dflt ? " (default: " : "",
             f->dflt ? f->dflt : "", f->dflt ? ")" : "");
    printf("%s", left);
    print_wrapped(strlen(left), help);
}

static void print_flags(const char *title, const struct cli_flag *flags)
{
    if (!flags || !flags->name)
        return;
    printf("\n%s\n", title);
    for (; flags->name; flags++)
        print_flag(flags);
}

void cli_help_command(const struct cli_command *cmd)
{
    printf("runnel %s - %s\n", cmd->words, cmd->summary);
    printf("\nUSAGE\n  runnel %s%s%s [FLAGS]\n", cmd->words, cmd->args && *cmd->args ? " " : "", cmd->args ? cmd->args : "");
    print_flags("FLAGS", cmd->flags);
    print_flags("FLAGS OF EVERY COMMAND", cli_global_flags);
    printf("\nEXAMPLES\n");
    for (const char *const *x = cmd->examples; x && *x; x++)
        printf("  %s\n", *x);
}

static bool under(const char *words, const char *group)
{
    const size_t n = strlen(group);
    return n == 0 || (strncmp(words, group, n) == 0 && words[n] == ' ');
}

void cli_help_group(const char *words)
{
    const char *summary = "run programs when something happens: a request, a published event";
    for (const struct cli_group *g = cli_groups; g->words; g++)
        if (strcmp(g->words, words) == 0)
            summary = g->summary;
    printf("runnel%s%s - %s\n", *words ? " " : "", words, summary);
    printf("\nUSAGE\n  runnel%s%s COMMAND [ARGUMENTS] [FLAGS]\n\nCOMMANDS\n", *words ? " " : "", words);
    if (!*words)
        print_wrapped((size_t)printf("  serve"), "start the server (runnel serve --help lists its flags)");
    const struct cli_command *cmd;
    for (size_t i = 0; (cmd = cli_command_at(i)); i++)
        if (under(cmd->words, words))
            print_wrapped((size_t)printf("  %s", *words ? cmd->words + strlen(words) + 1 : cmd->words), cmd->summary);
    if (!*words)
        print_flags("FLAGS OF EVERY COMMAND", cli_global_flags);
    printf("\nFlags and examples of one command: runnel %s%sCOMMAND --help\n", words, *words ? " " : "");
}

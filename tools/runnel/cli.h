/** cli.h: the command line: every command but `serve` and `__warden` is a client of the server's API; `scheduler explain` needs no server.
 *  Shape:  one const table of commands (cli_table.c joins its parts); from a row come parsing, help with examples, and near-miss advice.
 *          cli_main -> find the command -> parse its flags -> run it -> exit code 0 done, 1 refused or failed, 2 wrong usage,
 *          130 interrupted while it waited for tasks.
 *  Owner:  everything a command makes lives in cli->mem until the program ends.
 *  Errors: out of memory ends the program with exit code 1: nothing half-done is left, the server holds all state.
 *  Thread: one. */
#ifndef TOOLS_RUNNEL_CLI_H
#define TOOLS_RUNNEL_CLI_H

#include "core/base/arena.h"
#include "core/base/near.h"

#define CLI_MEMORY_MAX (512u * 1024 * 1024)
#define CLI_FLAGS_GIVEN_MAX 256
#define CLI_ARGS_MAX 1024

enum cli_exit { CLI_DONE = 0, CLI_FAILED = 1, CLI_USAGE = 2, CLI_INTERRUPTED = 130 };

enum cli_type {
    CLI_TEXT,
    CLI_INT,      /* min..max */
    CLI_BOOL,     /* --x, --no-x, --x=true|false */
    CLI_SWITCH,   /* --x only */
    CLI_DURATION, /* 90s, 10m, 1.5h, 7d; a bare number is seconds */
    CLI_TIME,     /* RFC 3339, or -10m before now */
    CLI_LIST,     /* a,b,c; repeated flags append; ^;^a;b picks another delimiter, as gcloud's */
    CLI_MAP,      /* k=v,k=v; the same */
    CLI_CHOICE,   /* one of `values` "a|b|c" */
    CLI_FORMAT,   /* --format's little language */
};
struct cli_flag {
    const char *name;
    enum cli_type type;
    const char *values; /* placeholder in help; for CLI_CHOICE the choices */
    const char *help;
    const char *dflt; /* shown in help and used when the flag is absent; may be NULL */
    int64_t min, max; /* CLI_INT */
    bool required;
};
/* One row of a table of flags; further fields by name: CLI_FLAG("limit", CLI_INT, "N", "at most so many", .dflt = "1", .min = 1, .max = 9) */
#define CLI_FLAG(name_, type_, values_, help_, ...)                                   \
    {                                                                                 \
        .name = name_, .type = type_, .values = values_, .help = help_, ##__VA_ARGS__ \
    }

struct cli;
struct cli_command {
    const char *words;            /* "pubsub topics create" */
    const char *args;             /* "TOPIC..." as in usage; see cli_args_fit */
    const char *summary;          /* one line, lower case, no full stop */
    const char *columns;          /* of the default table, "HEADER=path,…"; NULL: shown as readable text */
    const struct cli_flag *flags; /* ends with a NULL name; may be NULL */
    const char *const *examples;  /* ends with NULL; at least one */
    int (*run)(struct cli *c);
};
struct cli_group {
    const char *words, *summary;
};
/** All commands one after the other, NULL at the end; each file of commands holds its part of the table. */
const struct cli_command *cli_command_at(size_t i);
extern const struct cli_group cli_groups[]; /* ends with NULL words */
extern const struct cli_flag cli_global_flags[];

struct cli_given {
    const struct cli_flag *flag;
    const char *value;
};
enum cli_verbosity { CLI_NONE, CLI_ERROR, CLI_WARNING, CLI_INFO, CLI_DEBUG };
struct cli {
    struct arena *mem;
    const struct cli_command *command;
    struct cli_given given[CLI_FLAGS_GIVEN_MAX];
    size_t n_given;
    const char *args[CLI_ARGS_MAX + 1];
    size_t n_args;
    size_t n_before_command; /* arguments before a "--" after which a command follows; those of the command may be empty */
    bool help;
    /* global flags, resolved */
    const char *project, *region, *url, *token, *format;
    bool quiet;
    enum cli_verbosity verbosity;
};

/** The program, argv[0] included. */
int cli_main(int argc, char **argv);

/* cli_parse.c */
/** Fill `c` from the arguments. 0, or CLI_USAGE after saying what is wrong. c->command is NULL for help of a group. */
int cli_parse(struct cli *c, int argc, char **argv);
bool cli_given(const struct cli *c, const char *flag);
/** The last value given, else the default, else NULL. */
const char *cli_text(const struct cli *c, const char *flag);
int64_t cli_int(const struct cli *c, const char *flag);
bool cli_bool(const struct cli *c, const char *flag);
/** A duration as the API writes it: "1.500s"; NULL when absent. */
const char *cli_duration(struct cli *c, const char *flag);
/** A time as RFC 3339; NULL when absent. */
const char *cli_time(struct cli *c, const char *flag);
/** The items of a list or map over all repetitions, NULL-terminated; `n` may be NULL. */
const char *const *cli_list(struct cli *c, const char *flag, size_t *n);
/** Duration text to milliseconds; INVALID_ARGUMENT says what is allowed. */
MUST_USE int cli_duration_parse(const char *text, int64_t *ms, struct err *e);
/** Does a usage string like "SERVICE [REVISION...]" allow `n` arguments? `name` is the first one missing, or NULL. */
bool cli_args_fit(const char *usage, size_t n, struct str *name);

/* cli_help.c */
void cli_help_command(const struct cli_command *cmd);
void cli_help_group(const char *words); /* "" for the whole program */

/* cli.c: memory that cannot fail, and what is said to people (on stderr). */
void *cli_alloc(struct cli *c, size_t n);
FMT(2, 3) char *cli_printf(struct cli *c, const char *fmt, ...);
char *cli_copy(struct cli *c, struct str s);
/** What is made between the two is gone afterwards: for a loop that may go on for days. Nothing of it may be kept. */
struct arena *cli_scratch_begin(struct cli *c);
void cli_scratch_end(struct cli *c, struct arena *kept);
FMT(2, 3) int cli_usage_error(const struct cli *c, const char *fmt, ...); /* returns CLI_USAGE */
FMT(2, 3) void cli_say(const struct cli *c, const char *fmt, ...);        /* a status line */
int cli_fail(const struct cli *c, const struct err *e);                   /* returns CLI_FAILED */
/** Ask on a terminal; true without asking when --quiet or nobody is there to ask. */
FMT(2, 3) bool cli_confirm(const struct cli *c, const char *fmt, ...);

#endif

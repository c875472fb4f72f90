/** cli_output.h: what a command shows on stdout, by --format: json, yaml, table, table(FIELD,…), value(FIELD,…), none.
 *  A FIELD is a path such as `pushConfig.pushEndpoint` or `conditions[0].type`, then optionally `.basename()` and
 *  `:label=HEADER`, as gcloud writes them.
 *  Errors: INVALID_ARGUMENT: a --format that is not understood.
 *  Thread: one. */
#ifndef TOOLS_RUNNEL_CLI_OUTPUT_H
#define TOOLS_RUNNEL_CLI_OUTPUT_H

#include "tools/runnel/cli_json.h"

/** INVALID_ARGUMENT when --format's text cannot be understood. */
MUST_USE int cli_format_check(struct cli *c, const char *text, struct err *e);
/** True unless --format was given: then a command may add what only people need. */
bool cli_format_default(const struct cli *c);
/** True when the command shows things its own way: by default, or for a bare `table`. Then rows may be made readable for people. */
bool cli_format_own(const struct cli *c);
/** One resource. `cli_show_made` shows it only when a format was asked for (after create, update, delete). */
void cli_show(struct cli *c, const struct jv *resource);
void cli_show_made(struct cli *c, const struct jv *resource);
/** A list, by default as the command's table. */
void cli_show_list(struct cli *c, const struct jv *array);
/** The last part of a resource name. */
const char *cli_basename(const char *name);

#endif

/** cli_inputs.h: --tasks-from: what each task of an array is given as RUNNEL_TASK_INPUT.
 *  Shape:  a file of lines, one a task (empty ones are left out); or, when it begins with {, of JSON objects, one a task, each on as
 *          many lines as it likes. "-" is standard input.
 *  Limits: INPUTS_MAX tasks, INPUT_BYTES_MAX a task, INPUTS_BYTES_MAX in all.
 *  Errors: INVALID_ARGUMENT names the file, the line and the limit.
 *  Owner:  all is in the command's arena.
 *  Thread: one. */
#ifndef TOOLS_RUNNEL_CLI_INPUTS_H
#define TOOLS_RUNNEL_CLI_INPUTS_H

#include "tools/runnel/cli.h"

#define INPUTS_MAX 1000000
#define INPUT_BYTES_MAX 65536
#define INPUTS_BYTES_MAX (64u * 1024 * 1024)

struct inputs {
    const char **v; /* INPUTS_MAX at most */
    size_t n;
};
/** `name` is for messages. The bytes of `text` are changed, and belong to `out` afterwards. */
MUST_USE int inputs_parse(struct cli *c, const char *name, char *text, size_t text_len, struct inputs *out, struct err *e);
MUST_USE int inputs_read(struct cli *c, const char *path, struct inputs *out, struct err *e);

#endif

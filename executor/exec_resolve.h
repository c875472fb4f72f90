/** exec_resolve.h: from `exec:///path` and a command to the program to execute and the directory it starts in.
 *  Errors: INVALID_ARGUMENT says which path is wrong and what to do; UNIMPLEMENTED for other kinds of images.
 *  Thread: any; looks at the file system. */
#ifndef EXECUTOR_EXEC_RESOLVE_H
#define EXECUTOR_EXEC_RESOLVE_H

#include "core/base/err.h"
#include <limits.h>

#define EXEC_PATH_DEFAULT "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
struct exec_program {
    char program[PATH_MAX];
    char dir[PATH_MAX];
    bool own; /* the image's own program: argv[0] is not its name */
};
/** `argv` as in runtime_spec; `working_dir` may be NULL. */
MUST_USE int exec_resolve(const char *image, const char *const *argv, const char *working_dir, struct exec_program *out, struct err *e);

#endif

/** cli_local.h: an array of tasks run on this machine, without a server: what `run jobs execute --local` does.
 *  Shape:  local_run: waiting -> running -> (SIGTERM, LOCAL_GRACE_NS later SIGKILL) -> succeeded | failed | backoff -> running ...
 *          Each attempt is a process group of its own; what is left of it goes when its first process ends, as a container would.
 *  Limits: LOCAL_PARALLELISM_MAX programs at once, RUN_TASKS_MAX tasks, LOCAL_LINE_MAX bytes of a line (then it is cut in two).
 *  Units:  *_ns are durations.
 *  Errors: FAILED_PRECONDITION, RESOURCE_EXHAUSTED: this machine lacks something; what fails in a task is counted and told.
 *  Owner:  `job` is the caller's until local_run returns.
 *  Thread: one. It takes SIGINT, SIGTERM and SIGCHLD for itself. */
#ifndef TOOLS_RUNNEL_CLI_LOCAL_H
#define TOOLS_RUNNEL_CLI_LOCAL_H

#include "tools/runnel/cli_live.h"

#define LOCAL_PARALLELISM_MAX 1000
#define LOCAL_LINE_MAX 65536
#define LOCAL_GRACE_NS (10 * NS_PER_S)
#define LOCAL_FAILED_TOLD_MAX 20 /* failed tasks in the summary */
#define LOCAL_RETRIES_DEFAULT 3  /* as the server's */
#define LOCAL_RETRIES_MAX 100
#define LOCAL_BACKOFF_MAX_NS (600 * NS_PER_S)

struct local_job {
    const char *program;                                  /* its path */
    char *const *argv;                                    /* ends with NULL */
    const char *const *inputs;                            /* one a task, or NULL */
    const char *const *vars;                              /* KEY=VALUE, ends with NULL: above those of this process */
    const char *execution;                                /* CLOUD_RUN_EXECUTION */
    const char *results;                                  /* the folder of the files RUNNEL_RESULT; NULL: nobody wants to see them */
    uint32_t tasks, parallelism, max_retries, stop_after; /* stop_after 0: never */
    int64_t timeout_ns, backoff_min_ns, backoff_max_ns;   /* timeout 0: none */
};
/** The exit code of the command, after telling how it went. */
int local_run(struct cli *c, const struct local_job *job);

#endif

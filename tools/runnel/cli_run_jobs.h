/** cli_run_jobs.h: what the commands of jobs share: their names, an execution started and followed, what it writes.
 *  Errors: the server's own, by its code. What returns an exit code has said what went wrong.
 *  Owner:  all is in the command's arena.
 *  Thread: one. */
#ifndef TOOLS_RUNNEL_CLI_RUN_JOBS_H
#define TOOLS_RUNNEL_CLI_RUN_JOBS_H

#include "tools/runnel/cli_json.h"

#define RUN_TASKS_MAX 1000000
/* What is otherwise than the job says, for one execution. */
#define JOB_OVERRIDE_FLAGS                                                                                                       \
    CLI_FLAG("tasks", CLI_INT, "N", "how many tasks the execution has", .min = 1, .max = RUN_TASKS_MAX),                         \
        CLI_FLAG("task-timeout", CLI_DURATION, "DURATION", "an attempt may take so long, then SIGTERM, and SIGKILL 10 s later"), \
        CLI_FLAG("args", CLI_LIST, "WORD,...", "arguments in place of the job's; empty: none"),                                  \
        CLI_FLAG("update-env-vars", CLI_MAP, "KEY=VALUE,...", "variables above the job's")
#define JOB_FOLLOW_FLAGS                                                                                                        \
    CLI_FLAG("async", CLI_SWITCH, "", "do not wait at all"),                                                                    \
        CLI_FLAG("wait", CLI_SWITCH, "", "wait until the execution has ended; the exit code is 0 when it succeeded, 1 if not"), \
        CLI_FLAG("tail", CLI_SWITCH, "", "the same, and print what the tasks write as it comes"),                               \
        CLI_FLAG("tasks-from", CLI_TEXT, "FILE",                                                                                \
                 "one task for each line, or for each JSON object, of FILE, given to it as RUNNEL_TASK_INPUT; - is standard input")

/** The full name from a full or a short one; NULL after saying what is wrong with it. */
const char *run_job_name(struct cli *c, const char *given);
/** The text of a condition's field, "" when it has none. */
const char *run_condition(const struct jv *resource, const char *type, const char *field);
/** Of an execution or a task, in a word: queued, pending, running, cancelling, succeeded, failed, cancelled. */
const char *run_state(const struct jv *resource);

/* cli_run_execute.c */
/** Start an execution with what the flags say, and follow it as they say. The exit code. */
int run_job_now(struct cli *c, const char *job, struct jv *overrides);
/** JOB_OVERRIDE_FLAGS as the API has them; NULL: nothing is otherwise. */
struct jv *run_job_overrides(struct cli *c);
/** --async with --wait or --tail, and the like. */
int run_job_flags_check(struct cli *c);

/* cli_run_follow.c */
/** Until it has started, or has ended (`to_end`), with what it writes (`tail`). `operation` ends with it; "" when none is known. The
 *  exit code. */
int execution_follow(struct cli *c, const char *name, const char *operation, bool to_end, bool tail);

/* cli_tail.c */
struct tail;
struct tail *tail_new(struct cli *c, const char *execution_name);
/** Print what came since. `numbered`: each line says whose task's it is; `before` is called ahead of the first line. */
MUST_USE int tail_print(struct tail *t, bool numbered, void (*before)(void *arg), void *arg, struct err *e);

#endif

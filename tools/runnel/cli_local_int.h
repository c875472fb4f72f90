/** cli_local_int.h: the inside of local arrays, shared by cli_local.c (which task, when, how it went) and cli_local_run.c (processes).
 *  Thread: one. */
#ifndef TOOLS_RUNNEL_CLI_LOCAL_INT_H
#define TOOLS_RUNNEL_CLI_LOCAL_INT_H

#include "core/base/timers.h"
#include "tools/runnel/cli_local.h"

#include <signal.h>
#include <stdio.h>
#include <sys/types.h>

struct local;
struct stream {
    int fd; /* -1: its end has come, or there is none */
    FILE *to;
    struct buf buf; /* a line whose end has not come */
};
/* One attempt that runs. */
struct slot {
    struct local *l;
    pid_t pid; /* 0: free */
    uint32_t index;
    bool stopping, timed_out;
    struct stream out, err;
    struct timer timer; /* its timeout, then SIGKILL */
};
enum local_state { LOCAL_WAITING, LOCAL_RUNNING, LOCAL_BACKOFF, LOCAL_SUCCEEDED, LOCAL_FAILED, LOCAL_CANCELLED };
struct local_task {
    uint8_t state, attempts; /* attempts that have begun */
    bool timed_out;
    int status; /* of the last attempt, as waitpid gives it; or a negative errno: it could not be started */
};
struct retry { /* a task that waits for its next attempt */
    struct timer timer;
    struct local *l;
    struct retry *next_spare;
    uint32_t index;
};
struct local {
    struct cli *c;
    const struct local_job *job;
    struct local_task *tasks;
    uint32_t next; /* the first that never began */
    struct slot *slots;
    uint32_t n_running;
    struct timers *timers;
    struct retry *spare; /* those that are over, to be used again */
    uint32_t *due;       /* tasks whose backoff is over: a ring of job->tasks */
    uint32_t due_first, n_due;
    struct live_counts counts;
    struct live live;
    bool stopping, interrupted, broken; /* broken: nobody reads what we print */
    char **environment;                 /* with room for what changes from task to task */
    size_t n_fixed;
    const char *results;      /* the folder of their results, absolute */
    sigset_t signals, before; /* what we take, and the mask that programs get */
    int signal_fd, null_fd;
};

/* cli_local_run.c: processes */
/** Starts an attempt in a free slot; a negative errno: it could not. */
MUST_USE int slot_start(struct local *l, uint32_t index, int64_t now_ns);
/** SIGTERM now, SIGKILL when its grace is over. */
void slot_stop(struct slot *s, int64_t now_ns);
void slot_read(struct slot *s);
/** Did its first process end? Then all of it is gone, its last lines are printed, and `status` says how. */
bool slot_ended(struct slot *s, int *status);

/* cli_local.c */
void local_timed_out(struct slot *s);

#endif

/** warden.h: the small process that starts the programs, so that the server's big heap never forks and nothing outlives it.
 *  Shape:  the server forks it as the first thing it does, and starts itself again as `SELF __warden FD` when it was lost. Over
 *          FD (SOCK_SEQPACKET) come frames: START with three descriptors (a memfd with the spec, the writing ends for stdout
 *          and stderr), SIGNAL, KILL, JOURNAL with one, WEIGH. Back go HELLO once, then for each key STARTED | FAILED, and after STARTED one EXITED
 *          when nothing of the instance runs any more.
 *  Rules:  a program leads its own session and is killed with the warden (PR_SET_PDEATHSIG); whatever it left behind is
 *          adopted (PR_SET_CHILD_SUBREAPER) and found by cgroup, by session or by RUNNEL_INSTANCE_ID in its environment.
 *          When FD reports its end, everything below the warden is killed, and then the warden ends.
 *  Lanes:  a start whose lane is full is kept, and made in the moment when one of the lane has ended: a short task is followed by
 *          the next without asking the server. SIGNAL or KILL for one that waits is answered with FAILED.
 *  Limits: WARDEN_INSTANCES_MAX at once, those that wait included; a spec of WARDEN_SPEC_MAX bytes; a frame that is not understood is dropped.
 *  Errors: RESOURCE_EXHAUSTED: no descriptors; UNAVAILABLE: no process could be made, or `self` not executed; else INTERNAL.
 *  Thread: the warden has one that decides, and some that make the processes of short tasks. */
#ifndef EXECUTOR_WARDEN_H
#define EXECUTOR_WARDEN_H

#include "core/base/buf.h"

#include <sys/types.h>

#define WARDEN_INSTANCES_MAX 4096
#define WARDEN_SPEC_MAX (4u * 1024 * 1024)
#define WARDEN_ARGS_MAX 4096              /* arguments, and as many variables */
#define WARDEN_MAGIC UINT32_C(0x52574431) /* RWD1 */
#define WARDEN_MARK "RUNNEL_INSTANCE_ID="
#define WARDEN_WORD "__warden" /* what the process is told to be, and shows in `ps` */

enum warden_op {
    WARDEN_START = 1, /* in: key + fds spec, out, err; lane and a = its width: it waits while so many of the lane run */
    WARDEN_SIGNAL,    /* in: a = signal, to the process group */
    WARDEN_KILL,      /* in: SIGKILL to all that belongs to it */
    WARDEN_JOURNAL,   /* in: + the file of exit_journal.h, where it goes on writing */
    WARDEN_WEIGH,     /* in: key = a group, a = its weight from now on */
    WARDEN_HELLO,     /* out: a = 1 when limits can be set; text says why not */
    WARDEN_STARTED,   /* out: a = pid */
    WARDEN_FAILED,    /* out: a = errno; text says what could not be done */
    WARDEN_EXITED,    /* out: a = exit code or -1, b = signal or 0, c = 1 out of memory */
};
struct warden_frame {
    uint32_t magic;
    uint32_t op;
    uint64_t key, lane;
    int32_t a, b, c;
    char text[228];
};
/* What the memfd holds: this, then terminated strings: program, directory, instance id, `argc` arguments, `envc` variables
 * (the first of them WARDEN_MARK + id). */
struct warden_spec {
    uint32_t magic;
    uint32_t argc, envc;
    uint32_t cpu_millis, weight;
    uint64_t memory_bytes, group;
    uint64_t ticket[2]; /* runtime_spec's; [0] 0: its exit is not journaled */
};

struct warden_process {
    int sock; /* the server's end, CLOEXEC; whoever starts the warden owns it, and closing it ends the warden */
    pid_t pid;
};

/** Forks this process, which has just begun: one thread, nothing open that the warden should not hold. In the fork `out->pid` is 0:
 *  it frees what it has, calls warden_main(out->sock) and ends with what that returns. It shares its pages with the server, where a
 *  program started again loads all libraries a second time. `argv` is main's whole vector; the fork overwrites it to say in
 *  `ps` what it is. */
MUST_USE int warden_fork(struct warden_process *out, char **argv, struct err *e);
/** `self __warden FD`: for a server that has threads by now. */
MUST_USE int warden_spawn(struct warden_process *out, const char *self, struct err *e);
/** SIGKILL to every process whose environment has `mark` ("RUNNEL_INSTANCE_ID=…"); how many there were. For the server, after
 *  its warden was lost: then nobody has adopted them. */
size_t warden_kill_marked(const char *mark);
/** Runs the warden on `fd` until it ends; the process's exit code. */
int warden_main(int fd);

#endif

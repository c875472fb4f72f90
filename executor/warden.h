/** warden.h: the small process that starts the programs, so that the server's big heap never forks and nothing outlives it.
 *  Shape:  the server starts itself again as `SELF __warden FD`, WARDEN_JOURNAL_FD open when there is a journal. Over FD (SOCK_SEQPACKET) come frames: START with three
 *          descriptors (a memfd with the spec, the writing ends for stdout and stderr), SIGNAL, KILL. Back go HELLO once,
 *          then for each key STARTED | FAILED, and after STARTED one EXITED when nothing of the instance runs any more.
 *  Rules:  a program leads its own session and is killed with the warden (PR_SET_PDEATHSIG); whatever it left behind is
 *          adopted (PR_SET_CHILD_SUBREAPER) and found by cgroup, by session or by RUNNEL_INSTANCE_ID in its environment.
 *          When FD reports its end, everything below the warden is killed, and then the warden ends.
 *  Limits: WARDEN_INSTANCES_MAX at once; a spec of WARDEN_SPEC_MAX bytes; a frame that is not understood is dropped.
 *  Thread: the warden has one. */
#ifndef EXECUTOR_WARDEN_H
#define EXECUTOR_WARDEN_H

#include "core/base/buf.h"

#define WARDEN_INSTANCES_MAX 4096
#define WARDEN_SPEC_MAX (4u * 1024 * 1024)
#define WARDEN_ARGS_MAX 4096              /* arguments, and as many variables */
#define WARDEN_MAGIC UINT32_C(0x52574431) /* RWD1 */
#define WARDEN_MARK "RUNNEL_INSTANCE_ID="

enum warden_op {
    WARDEN_START = 1, /* in: key + fds spec, out, err */
    WARDEN_SIGNAL,    /* in: a = signal, to the process group */
    WARDEN_KILL,      /* in: SIGKILL to all that belongs to it */
    WARDEN_HELLO,     /* out: a = 1 when limits can be set; text says why not */
    WARDEN_STARTED,   /* out: a = pid */
    WARDEN_FAILED,    /* out: a = errno; text says what could not be done */
    WARDEN_EXITED,    /* out: a = exit code or -1, b = signal or 0, c = 1 out of memory */
};
struct warden_frame {
    uint32_t magic;
    uint32_t op;
    uint64_t key;
    int32_t a, b, c;
    char text[228];
};
/* What the memfd holds: this, then terminated strings: program, directory, instance id, `argc` arguments, `envc` variables
 * (the first of them WARDEN_MARK + id). */
struct warden_spec {
    uint32_t magic;
    uint32_t argc, envc;
    uint32_t cpu_millis;
    uint64_t memory_bytes;
    uint64_t ticket[2]; /* runtime_spec's; [0] 0: its exit is not journaled */
};

/** SIGKILL to every process whose environment has `mark` ("RUNNEL_INSTANCE_ID=…"); how many there were. For the server, after
 *  its warden was lost: then nobody has adopted them. */
size_t warden_kill_marked(const char *mark);
#define WARDEN_JOURNAL_FD 4
/** Runs the warden on `fd` until it ends; the process's exit code. */
int warden_main(int fd);

#endif

/** cgroup.h: a control group for each instance, on hosts with cgroup v2, v1 or both: to find what belongs to it, to kill
 *            it, and to limit its memory and CPU; and one around all instances of a service or tasks of a job, by whose weight the
 *            kernel shares the CPU among those that want it.
 *  Shape:  cgroups_open -> cgroup_make -> cgroup_fork -> (the child) cgroup_enter -> cgroup_kill … -> cgroup_drop.
 *          A share is made with its first instance and stays a while when it is empty: the next start finds it there.
 *  Units:  a weight of 100 is the kernel's usual one. All programs together weigh as much as 100 for each CPU, like a thread that always
 *          runs on each, so that a crowd of them leaves the server and the rest of the host their part.
 *  Limits: CGROUP_SHARES_MAX shares at once, CGROUP_SHARES_IDLE of them empty; an instance beyond that shares with nobody's weight.
 *  Errors: where the host does not let us, cgroups_open says so once in `why`, and the rest does nothing.
 *  Owner:  the structs are the caller's; cgroups_close and cgroup_drop give back their descriptors and directories.
 *  Thread: the warden's; cgroup_fork in any of its threads. cgroup_enter runs between fork and exec: only system calls.
 *          cgroup_memory_limit: any. */
#ifndef EXECUTOR_CGROUP_H
#define EXECUTOR_CGROUP_H

#include "core/compiler.h"
#include <sys/types.h>

#define CGROUP_PATH_MAX 512
#define CGROUP_STACK (256u << 10) /* a sanitizer's frames are large */
#define CGROUP_SHARES_MAX 4096
#define CGROUP_SHARES_IDLE 64
enum cgroup_role { CGROUP_TRACK, CGROUP_MEMORY, CGROUP_CPU, CGROUP_ROLES };
struct cgroup_share {
    uint64_t id; /* of the service or job, as the server numbers them */
    uint32_t weight, n_groups;
    uint64_t emptied; /* counts: the least has been empty for longest */
};
struct cgroups {
    char base[CGROUP_ROLES][CGROUP_PATH_MAX]; /* "" = not possible; the same path twice on v2 */
    bool v2[CGROUP_ROLES];
    char why[200]; /* what is not possible and why; "" = all is */
    size_t n_shares, n_idle;
    uint64_t n_emptied;
    struct cgroup_share shares[CGROUP_SHARES_MAX]; /* last: the pages of those that are not used are never touched */
};
struct cgroup_wish {
    uint64_t share; /* 0: none */
    uint32_t weight;
    uint32_t cpu_millis;   /* 0: no limit */
    uint64_t memory_bytes; /* 0: no limit */
};
struct cgroup {
    char name[64];
    uint64_t share;             /* 0: none */
    int dir_fd;                 /* to be born in it; -1 */
    int procs_fd[CGROUP_ROLES]; /* what a process enters by, open until the program runs; -1 */
    bool made[CGROUP_ROLES];
};
void cgroups_open(struct cgroups *cs);
void cgroups_close(struct cgroups *cs);
bool cgroups_limits(const struct cgroups *cs); /* memory and CPU both */
void cgroup_make(struct cgroups *cs, struct cgroup *g, const char *name, const struct cgroup_wish *wish);
/** Of what runs already, too; nothing happens when nothing of it has started lately. */
void cgroups_weigh(struct cgroups *cs, uint64_t share, uint32_t weight);
struct cgroup_child {
    int (*run)(void *arg); /* must execute a program or _exit, and change nothing of ours */
    void *arg;
    char *stack; /* CGROUP_STACK bytes, its own until then */
    pid_t *pid;  /* its number, written before it begins; -1: there is none */
};
/** A child, in its group from the start where the kernel can do that. The calling thread may stand still until it has executed. */
void cgroup_fork(struct cgroup *g, const struct cgroup_child *c);
void cgroup_enter(const struct cgroup *g); /* in the child: the other groups */
void cgroup_entered(struct cgroup *g);     /* in the parent: close the descriptors */
/** SIGKILL to all in it; how many there were. */
size_t cgroup_kill(const struct cgroups *cs, const struct cgroup *g);
bool cgroup_oom(const struct cgroups *cs, const struct cgroup *g);
void cgroup_drop(struct cgroups *cs, struct cgroup *g);
/** The least memory that the control groups around this process leave it; UINT64_MAX: they do not say. */
uint64_t cgroup_memory_limit(void);

#endif

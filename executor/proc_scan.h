/** proc_scan.h: all processes there are, and which of them descend from this one: to find what programs left behind.
 *  Shape:  procs_scan again and again into the same struct -> proc_has_mark for those in doubt.
 *  Errors: false: out of memory, or no /proc.
 *  Owner:  `all` is the caller's to free.
 *  Thread: the warden's. */
#ifndef EXECUTOR_PROC_SCAN_H
#define EXECUTOR_PROC_SCAN_H

#include "core/compiler.h"

#include <sys/types.h>

struct proc {
    pid_t pid, ppid, sid;
    char state;
    bool ours;
};
struct procs {
    struct proc *all;
    size_t n, cap;
};
bool procs_scan(struct procs *ps);
/** Is `mark` ("K=V") among the first variables of its environment? */
bool proc_has_mark(pid_t pid, const char *mark);

#endif

/** wall_int.h: the parts of loop_wall_watch (wall.c), so that a test can say what the kernel would: setting the clock needs a
 *          privilege, and everybody on the machine would notice.
 *  Errors: as loop_wall_watch.
 *  Owner:  the watch closes its fd, also when it cannot be made.
 *  Thread: the loop's. */
#ifndef CORE_LOOP_WALL_INT_H
#define CORE_LOOP_WALL_INT_H

#include "core/loop/loop.h"

#include <errno.h>
#include <sys/types.h>

/** Tell fn each time that reading `fd` says so. */
struct wall_watch *wall_watch_over(struct loop *l, int fd, void (*fn)(void *arg), void *arg, struct err *e);

/** What reading the timer came to: n bytes, or -1 and errno. ECANCELED is the kernel's word for a clock that was set; expiring, far
 *  away as it is, means that too. */
static inline bool wall_was_set(ssize_t n, int sys) { return n > 0 || (n < 0 && sys == ECANCELED); }

#endif

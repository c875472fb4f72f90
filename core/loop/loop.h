/** loop.h: one event loop per thread, on libev (the only file that includes ev.h is loop.c).
 *  Shape:  an iteration: sample now -> ready fds -> the mailbox's batch -> due timers -> the graveyard.
 *  Units:  monotonic ns; loop_clock() answers the sampled instant for mono and the real wall clock.
 *  Errors: RESOURCE_EXHAUSTED: no memory, no descriptors, or the limit of watched signals; ALREADY_EXISTS, INVALID_ARGUMENT:
 *          the signal has a watcher, or can have none.
 *  Owner:  loop_fd objects belong to their creator; after loop_fd_free its callback is never called again,
 *          even when the event was already pending.
 *  Thread: everything but loop_stop and the mailbox is for the loop's own thread. */
#ifndef CORE_LOOP_LOOP_H
#define CORE_LOOP_LOOP_H

#include "core/base/clock.h"
#include "core/base/err.h"
#include "core/base/timers.h"
#include "core/loop/mailbox.h"

#define LOOP_MAIL_MAX 65536 /* mails that mailbox_offer lets wait in loop_mailbox() */
#define LOOP_SIGNALS_MAX 8

enum { LOOP_READ = 1, LOOP_WRITE = 2 };
struct loop;
struct loop_fd;
typedef void (*loop_fd_fn)(void *arg, int events); /* LOOP_READ | LOOP_WRITE; errors show up as both */

struct loop *loop_new(struct err *e);
void loop_free(struct loop *l);
void loop_run(struct loop *l);  /* until loop_stop */
void loop_stop(struct loop *l); /* any thread, also from a signal watcher */
int64_t loop_now(const struct loop *l);
const struct clock *loop_clock(const struct loop *l);
struct timers *loop_timers(struct loop *l);
struct mailbox *loop_mailbox(struct loop *l);

/** Post to another thread's mailbox from this loop: its owner is woken at the end of the iteration, once for all that was posted in it. */
void loop_post(struct loop *from, struct mailbox *to, struct mail *m);
MUST_USE bool loop_offer(struct loop *from, struct mailbox *to, struct mail *m);

/** Starts with no interest; loop_fd_want sets it (0 = none). Does not own `fd`: free the loop_fd before closing it. */
struct loop_fd *loop_fd_new(struct loop *l, int fd, loop_fd_fn fn, void *arg, struct err *e);
void loop_fd_want(struct loop_fd *w, int events);
void loop_fd_free(struct loop_fd *w);

/** `free_fn(arg)` after the current iteration: nothing is freed inside its own callback. */
struct grave {
    struct grave *next;
    void (*free_fn)(void *arg);
    void *arg;
};
void loop_bury(struct loop *l, struct grave *g, void (*free_fn)(void *), void *arg);

/** Call `fn(arg, signo)` on the loop when the process gets `signo`. A signal has one watcher and one loop in the whole
 *  process; at most LOOP_SIGNALS_MAX a loop. */
MUST_USE int loop_signal(struct loop *l, int signo, void (*fn)(void *arg, int signo), void *arg, struct err *e);

/** Call `fn(arg)` on the loop when the wall clock is set, forwards or backwards, by a leap second too, or the machine wakes from
 *  suspend: deadlines that mean wall time are to be worked out anew. Slewing (what NTP does with small errors) is not a jump. Several
 *  jumps may come as one call; the watch may be freed inside it. NULL: RESOURCE_EXHAUSTED (no memory, no descriptors) or
 *  UNIMPLEMENTED (a kernel that is not Linux's own may lack it): the caller can go on, and then sees a jump only when it looks at the
 *  clock again. */
struct wall_watch;
struct wall_watch *loop_wall_watch(struct loop *l, void (*fn)(void *arg), void *arg, struct err *e);
void loop_wall_unwatch(struct wall_watch *w); /* before loop_free */

#endif

/** thread.h: a named thread running a loop, and a small pool for work that blocks (RSA signatures, key making, file reads).
 *  Errors: RESOURCE_EXHAUSTED: out of memory, or the system starts no more threads.
 *  Owner:  thread_join and workers_stop free. A job is its submitter's, embedded in what it works for, and must live until its mail
 *          is delivered.
 *  Thread: start and stop from the owner's thread. */
#ifndef CORE_LOOP_THREAD_H
#define CORE_LOOP_THREAD_H

#include "core/loop/loop.h"

struct thread;
/** Start a thread that runs fn(arg). `name` is shown by ps, at most 15 bytes. All signals but faults are blocked
 *  in it, and in a child process it starts unless that is given its own mask. */
struct thread *thread_start(const char *name, void (*fn)(void *arg), void *arg, struct err *e);
void thread_join(struct thread *t); /* waits, then frees */

/** A job for the pool: `work` runs on a pool thread, then the mail is posted to `reply` and `mail.deliver` runs there. */
struct job {
    struct mail mail;
    struct mailbox *reply;
    void (*work)(struct job *job);
};
struct workers;
#define WORKERS_QUEUE_MAX 4096
#define WORKERS_THREADS_MAX 64
struct workers *workers_start(size_t threads, struct err *e); /* 1 to WORKERS_THREADS_MAX */
/** False when WORKERS_QUEUE_MAX jobs wait; the job was not taken. */
MUST_USE bool workers_submit(struct workers *w, struct job *job);
void workers_stop(struct workers *w); /* finishes what is queued, joins, frees */

#endif

/** slot_wait.h: waiting on an io thread for a free slot of a pool, whose queue is the engine's.
 *  Shape:  slot_wait_start -> mail to the engine -> pool_wait -> mail back -> done once, on the io thread; or slot_wait_abandon, after
 *          which done is not called and a slot that is granted all the same goes back.
 *  Units:  due_ns is monotonic ns.
 *  Errors: RESOURCE_EXHAUSTED from slot_wait_start; done gets those of pool_waiter.failed.
 *  Owner:  the object frees itself once both threads are through with it. It holds a reference to the pool.
 *  Thread: start, abandon, done: the io thread. Inside, the engine thread. */
#ifndef DISPATCHER_SLOT_WAIT_H
#define DISPATCHER_SLOT_WAIT_H

#include "core/base/list.h"
#include "executor/pool.h"

struct slot_wait;
/* Where they are counted, so that a thread that ends can free those that nobody answers any more. */
struct slot_waits {
    struct list all;
    struct mailbox *engine, *io;
};
void slot_waits_init(struct slot_waits *ws, struct mailbox *engine, struct mailbox *io);
/** After both threads have stopped. */
void slot_waits_fini(struct slot_waits *ws);

/** `grant` NULL: `e` says why not (as pool_waiter.failed). RESOURCE_EXHAUSTED from start itself: out of memory or the engine is busy. */
typedef void (*slot_wait_fn)(void *arg, const struct pool_grant *grant, const struct err *e);
struct slot_wait *slot_wait_start(struct slot_waits *ws, struct pool *p, int64_t due_ns, slot_wait_fn done, void *arg, struct err *e);
void slot_wait_abandon(struct slot_wait *w);

#endif

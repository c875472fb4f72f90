/** timers.h: a heap of absolute deadlines.
 *  Shape:  expired timers are collected first and fired afterwards in (due, seq) order, so a
 *          timer armed again for "now" by its own callback waits for the next run.
 *  Units:  monotonic ns.
 *  Errors: RESOURCE_EXHAUSTED from timer_set: too many, or out of memory; the timer stays as it was. Moving one that is not
 *          due yet cannot fail.
 *  Owner:  timers are embedded in what they belong to; cancel before freeing that. A timer
 *          must be zeroed (or timer_init'ed) before its first use. Setting an armed timer moves it.
 *  Limits: TIMERS_MAX armed at once; timer_set beyond that returns RESOURCE_EXHAUSTED.
 *  Thread: the thread of the loop (or of the simulator) that runs them. */
#ifndef CORE_BASE_TIMERS_H
#define CORE_BASE_TIMERS_H

#include "core/base/err.h"

#define TIMERS_MAX 8000000
#define TIMER_NEVER INT64_MAX

struct timer {
    size_t slot; /* place in the heap + 1; 0 = not armed */
    int64_t due_ns;
    uint64_t seq;
    void (*fire)(struct timer *t, int64_t now_ns);
};
struct timers;

struct timers *timers_new(void);
void timers_free(struct timers *ts);
static inline void timer_init(struct timer *t, void (*fire)(struct timer *, int64_t)) { *t = (struct timer){.fire = fire}; }
static inline bool timer_armed(const struct timer *t) { return t->slot != 0; }
MUST_USE int timer_set(struct timers *ts, struct timer *t, int64_t due_ns, struct err *e);
void timer_cancel(struct timers *ts, struct timer *t);
/** TIMER_NEVER when none is armed. */
int64_t timers_next_ns(const struct timers *ts);
/** Fire everything due at `now_ns`; returns how many fired. */
size_t timers_run(struct timers *ts, int64_t now_ns);

#endif

/** due.h: which firings of a schedule are due: what is on time, what was missed, what a policy makes of it. Pure.
 *  Shape:  a firing has its scheduled time (from the calendar, a whole second), which names it, and its start: later by its jitter,
 *          which is a hash of the job and that time, and never reaches the next firing.
 *          A firing that is found more than DUE_LATE_NS after its start was missed: the server was down, asleep, or its clock was set.
 *          skip: it is gone. once: all that is due becomes one firing, the latest. all: the latest `missed_max` of them.
 *  Units:  wall time in ns. DUE_NEVER: no such time.
 *  Limits: looking back takes a bounded number of steps however long ago the last firing was; `steps` counts them.
 *  Thread: any; nothing is kept. */
#ifndef SCHEDULES_DUE_H
#define SCHEDULES_DUE_H

#include "core/base/clock.h"

#define DUE_NEVER INT64_MAX
#define DUE_LATE_NS (10 * NS_PER_S)
#define DUE_MISSED_MAX 100
#define DUE_FRESH_MAX 16       /* on time at once: one a second for DUE_LATE_NS, and some */
#define DUE_SKIPPED_COUNT 1000 /* how far skipped ones are counted */
#define DUE_JITTER_MAX_NS (3600 * NS_PER_S)

/* The first scheduled time after `after_wall_ns`, DUE_NEVER when there is none. */
struct due_calendar {
    int64_t (*next)(const void *arg, int64_t after_wall_ns);
    const void *arg;
};
enum due_missed { DUE_SKIP, DUE_ONCE, DUE_ALL };
struct due_policy {
    enum due_missed missed;
    size_t missed_max; /* 1..DUE_MISSED_MAX */
    int64_t jitter_ns;
    int64_t start_wall_ns, end_wall_ns; /* DUE_NEVER as the end: none; as the start 0 */
    uint64_t seed;
};
struct due_found {
    int64_t last_wall_ns;                                  /* up to here they are used up */
    int64_t make_up[DUE_MISSED_MAX], fresh[DUE_FRESH_MAX]; /* oldest first */
    size_t n_make_up, n_fresh;
    size_t skipped; /* that will not take place, at least */
    size_t steps;   /* of the calendar */
};

/** The first scheduled time after `after_wall_ns` that the policy's start and end let take place. */
int64_t due_next(const struct due_calendar *c, const struct due_policy *p, int64_t after_wall_ns);
/** When the firing of that scheduled time starts. */
int64_t due_start(const struct due_calendar *c, const struct due_policy *p, int64_t scheduled_wall_ns);
/** What is due at `now_wall_ns` of what comes after `after_wall_ns`. */
void due_find(const struct due_calendar *c, const struct due_policy *p, int64_t after_wall_ns, int64_t now_wall_ns, struct due_found *out);

#endif

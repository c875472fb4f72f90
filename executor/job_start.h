/** job_start.h: an execution that an event starts, and its end: for the firings of schedules. The same event never starts two.
 *  Shape:  job_start_new -> [earlier ones of its series end] -> the execution is stored -> it ends -> done, exactly once and later; or
 *          job_start_leave at any time before: done is not called, and what was started goes on.
 *  Rules:  the id of the event is kept with its execution. An event that comes again, also after a restart, finds that one and follows it,
 *          as long as it is kept: until it is deleted, or a thousand others of its job have ended after it.
 *  Errors: job_start_new: RESOURCE_EXHAUSTED. In a result: NOT_FOUND: no such job; RESOURCE_EXHAUSTED: no room for one more execution, or
 *          the job's own limit refuses it; INVALID_ARGUMENT: the body; that of the execution, when it has ended otherwise than well.
 *  Owner:  what the spec points to is copied. What has not ended by executor_free is freed, done is not called.
 *  Thread: engine thread. */
#ifndef EXECUTOR_JOB_START_H
#define EXECUTOR_JOB_START_H

#include "executor/executor.h"

enum job_start_mode {
    JOB_START_BESIDE,  /* at once */
    JOB_START_AFTER,   /* when no other execution of its series is left that has not ended */
    JOB_START_INSTEAD, /* the same, and those are cancelled */
};
struct job_start_spec {
    const char *job;      /* full name */
    const char *event_id; /* printable ASCII, at most 1,024 bytes */
    size_t series_len;    /* so much of it is the same for all of the series */
    enum job_start_mode mode;
    struct str body; /* JSON with overrides and inputs, as :runWithInputs takes them; may be empty */
};
struct job_start_result {
    struct err err; /* code OK: the execution has succeeded */
    bool ran;       /* there was an execution; else it was not started */
    bool ours;      /* not started for want of memory or disk of ours */
};
struct job_start;

struct job_start *job_start_new(struct executor *x, const struct job_start_spec *s,
                                void (*done)(void *arg, const struct job_start_result *r), void *arg, struct err *e);
void job_start_leave(struct job_start *s);
/** Could this be the body of a start? INVALID_ARGUMENT says why not. */
MUST_USE int job_start_check(struct str body, struct err *e);

#endif

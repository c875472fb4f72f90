/** targets.h: what a firing calls: a vtable with a file for each kind of target.
 *  Shape:  start -> done exactly once, later or within, also after cancel.
 *  Units:  due_ns is monotonic.
 *  Errors: in the result: with status 0, err says why. `undelivered`: for want of something of ours, or called off; the attempt does
 *          not count. `final`: it was delivered and came to a bad end, which is no reason to deliver it again.
 *  Owner:  the call and what it points at are the caller's and stay as they are until done.
 *  Thread: engine thread. */
#ifndef SCHEDULES_TARGETS_H
#define SCHEDULES_TARGETS_H

#include "core/base/err.h"
#include "schedules/scheduler.pb-c.h"

#define TARGET_USER_AGENT "Google-Cloud-Scheduler"
#define TARGET_OWN_PREFIX "X-CloudScheduler" /* of the headers that are ours */

#define TARGET_RUN_URI "run:///" /* and the full name of a job of the executor: an http_target that is no HTTP */

typedef Google__Cloud__Scheduler__V1__Job PbJob;

struct target_result {
    int http_status; /* 0: none */
    struct err err;  /* code OK: it was taken */
    bool undelivered, final;
};
/* What a firing does about earlier ones whose effect lasts. */
enum target_overlap { TARGET_BESIDE, TARGET_AFTER, TARGET_INSTEAD };
struct target_call {
    const PbJob *job;
    const char *schedule_time; /* RFC 3339 with the zone's offset */
    const char *event_id;      /* the same for each attempt of a firing, another for any other */
    size_t series_len;         /* so much of it is the job's */
    enum target_overlap overlap;
    int64_t due_ns;
    void (*done)(struct target_call *c, const struct target_result *r);
    void *internal; /* the target's */
};
struct target;
struct target_ops {
    const char *kind; /* "HTTP", as attempts are logged */
    bool lasts;       /* what was started goes on without us, and is found again: at a stop it is not waited for */
    void (*start)(struct target *t, struct target_call *c);
    void (*cancel)(struct target *t, struct target_call *c); /* done is still called */
    void (*free)(struct target *t);
};
struct target {
    const struct target_ops *ops;
};

struct outcalls;
struct broker;
struct executor;
/** Through the dispatcher's calls. NULL: out of memory. */
struct target *target_http_new(struct outcalls *o);
/** Into topics of the broker. */
struct target *target_pubsub_new(struct broker *b);
/** As executions of jobs. */
struct target *target_run_new(struct executor *x);
bool target_is_run(const PbJob *job);

#endif

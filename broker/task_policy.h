/** task_policy.h: the formulas of task queues: backoff, when retries end, what counts as an execution, rates. Pure.
 *  Units:  ns; `attempt` counts from 1.
 *  Owner:  the structs are embedded in whoever has a queue; they hold no memory.
 *  Thread: any; nothing is kept but in the structs given.
 *  Source: google/cloud/tasks/v2/queue.proto RetryConfig and RateLimits; wire.md section 2 (recorded examples). */
#ifndef BROKER_TASK_POLICY_H
#define BROKER_TASK_POLICY_H

#include "core/base/timers.h"

/** The wait before the next attempt after `failed` ones: doubles max_doublings times, then grows by 2^max_doublings times the minimum,
 *  then stays at the maximum: 10 20 40 80 160 240 300 300 for min 10, max 300, doublings 3. */
int64_t task_backoff_ns(int64_t min_ns, int64_t max_ns, uint32_t max_doublings, uint32_t failed);
/** Are retries over? Only when both limits that are set are used up: attempts (-1: never by count) and the time since the first. */
bool task_exhausted(int32_t max_attempts, int64_t max_retry_ns, uint32_t attempts, int64_t since_first_ns);
/** Does this answer count in X-CloudTasks-TaskExecutionCount? 5xx and no answer do not. */
bool task_counts_as_execution(int status);
/** The google.rpc code of an HTTP status, e.g. 503: 14; its name, e.g. "UNAVAILABLE". 0 for 2xx. */
int task_status_code(int http_status);
const char *task_status_name(int code);

/* A token bucket: full at first; `rate` a second up to `burst`. */
struct task_bucket {
    double tokens;
    int64_t at_ns;
};
void task_bucket_init(struct task_bucket *b, uint32_t burst, int64_t now_ns);
/** Take one if there is one. Else *next_ns is when there will be (TIMER_NEVER at rate 0). */
bool task_bucket_take(struct task_bucket *b, double rate_per_s, uint32_t burst, int64_t now_ns, int64_t *next_ns);

/* How a queue is slowed by what its targets answer, and warms up after creation, resume and idleness. */
struct task_throttle {
    double factor; /* of the rate: 1 not slowed */
    uint32_t warm; /* how many may run at once while it warms up */
    int64_t paused_until_ns, changed_ns, warm_ns, active_ns;
    uint32_t answers, failures; /* of late: halved when there are many */
};
void task_throttle_init(struct task_throttle *t, int64_t now_ns);
/** An answer of an attempt. 429, 503 and many errors slow the queue; Retry-After (it comes with these two) holds it back whole, at
 *  most TASK_RETRY_AFTER_MAX_NS. */
void task_throttle_answer(struct task_throttle *t, int status, int64_t retry_after_ns, int64_t now_ns);
/** What it may do now: the factor of its rate, and how many may run at once while it warms up. False: nothing before *until_ns. */
bool task_throttle_allows(struct task_throttle *t, int64_t now_ns, double *factor, uint32_t *warm_max, int64_t *until_ns);
/** It begins anew: created, resumed. Idleness it notices by itself. */
void task_throttle_cool(struct task_throttle *t, int64_t now_ns);

#define TASK_RETRY_AFTER_MAX_NS (3600 * NS_PER_S)
#define TASK_WARM_START 10 /* in flight at first; one more for each success, and twice as many each second */
#define TASK_WARM_STEP_NS NS_PER_S
#define TASK_IDLE_NS (60 * NS_PER_S) /* without an attempt: warm up again */
#define TASK_SLOWEST (1.0 / 64)      /* of the rate; halved at most once a second, doubled after each TASK_CALM_NS without cause */
#define TASK_CALM_NS (5 * NS_PER_S)

#endif

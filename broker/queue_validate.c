/* queue_validate.c: names of queues and tasks, and every field of a queue: what is allowed, what is refused, what is filled in. */
#include "broker/queues_int.h"

#include <math.h>

#define DURATION_MAX_NS (3660 * 24 * 3600 * NS_PER_S) /* ten years */
#define BURST_MIN 10
#define BURST_MAX 100
#define BURST_PER_RATE 5 /* a burst of a fifth of a second's tasks: 100 at 500/s */

/* ---- names ---- */

static const struct name_part parts[] = {NAME_PROJECT, NAME_LOCATION, {"/queues/", 100, "-"}, {"/tasks/", 500, "-_"}};

int check_queue_name(const char *name, const char *field, struct err *e)
{
    return name_fits(name, parts, 3)
               ? 0
               : err_set(e, ERR_INVALID_ARGUMENT,
                         "%s: \"%.140s\" is not of the form projects/PROJECT/locations/LOCATION/queues/QUEUE with a QUEUE of 1 to %zu "
                         "letters, digits or hyphens",
                         field, name, parts[2].id_max);
}

int check_task_name(const char *name, const char *field, struct err *e)
{
    return name_fits(name, parts, 4)
               ? 0
               : err_set(e, ERR_INVALID_ARGUMENT,
                         "%s: \"%.120s\" is not of the form projects/PROJECT/locations/LOCATION/queues/QUEUE/tasks/TASK "
                         "with a TASK of 1 to %zu letters, digits, hyphens or underscores",
                         field, name, parts[3].id_max);
}

bool task_id_fits(const char *id) { return name_id_fits(id, strlen(id), &parts[3]); }

/* ---- queues ---- */

/* Whole seconds, as Google keeps them; what is below one stays, or the default of a tenth of a second would become none. */
static int cut_duration(const char *field, Google__Protobuf__Duration *d, struct err *e)
{
    if (!d)
        return 0;
    int64_t ns = pb_duration_ns(d);
    if (d->nanos < 0 || d->nanos > 999999999 || ns < 0 || ns > DURATION_MAX_NS)
        return err_set(e, ERR_INVALID_ARGUMENT, "%s: %.10gs is out of range; 0s to %llds are allowed", field,
                       (double)d->seconds + (double)d->nanos / NS_PER_S, (long long)(DURATION_MAX_NS / NS_PER_S));
    if (d->seconds > 0)
        d->nanos = 0;
    return 0;
}

static int refuse(const PbQueue *q, struct err *e)
{
    if (q->app_engine_routing_override)
        return err_set(e, ERR_UNIMPLEMENTED,
                       "app_engine_routing_override: there is no App Engine here; leave it out and give tasks an http_request with the URL "
                       "of a service");
    if (q->http_target)
        return err_set(e, ERR_UNIMPLEMENTED, "http_target: not implemented in this server; give each task its own http_request");
    if (q->stackdriver_logging_config && q->stackdriver_logging_config->sampling_ratio != 0)
        return err_set(
            e, ERR_UNIMPLEMENTED,
            "stackdriver_logging_config: not implemented in this server; leave it out: each task keeps a timeline of its attempts");
    return 0;
}

static int check_rates(Google__Cloud__Tasks__V2__RateLimits *r, struct err *e)
{
    if (isnan(r->max_dispatches_per_second) || r->max_dispatches_per_second < 0 || r->max_dispatches_per_second > QUEUE_RATE_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT,
                       "rate_limits.max_dispatches_per_second: %.10g; above 0 to %g are allowed (0 means %g; to stop a queue pause it)",
                       r->max_dispatches_per_second, QUEUE_RATE_MAX, QUEUE_RATE_MAX);
    if (r->max_concurrent_dispatches < 0 || r->max_concurrent_dispatches > QUEUE_CONCURRENT_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "rate_limits.max_concurrent_dispatches: %d; 1 to %d are allowed (0 means %d)",
                       r->max_concurrent_dispatches, QUEUE_CONCURRENT_MAX, QUEUE_CONCURRENT_DEFAULT);
    if (r->max_dispatches_per_second == 0)
        r->max_dispatches_per_second = QUEUE_RATE_MAX;
    if (r->max_concurrent_dispatches == 0)
        r->max_concurrent_dispatches = QUEUE_CONCURRENT_DEFAULT;
    double burst = r->max_dispatches_per_second / BURST_PER_RATE;
    r->max_burst_size = burst < BURST_MIN ? BURST_MIN : burst > BURST_MAX ? BURST_MAX : (int32_t)burst;
    return 0;
}

static int check_backoff(struct arena *a, Google__Cloud__Tasks__V2__RetryConfig *r, struct err *e)
{
    if (cut_duration("retry_config.max_retry_duration", r->max_retry_duration, e) ||
        cut_duration("retry_config.min_backoff", r->min_backoff, e) || cut_duration("retry_config.max_backoff", r->max_backoff, e))
        return -ERR_INVALID_ARGUMENT;
    int64_t min_ns = r->min_backoff ? pb_duration_ns(r->min_backoff) : QUEUE_MIN_BACKOFF_NS;
    int64_t max_ns = r->max_backoff ? pb_duration_ns(r->max_backoff) : QUEUE_MAX_BACKOFF_NS;
    if (!r->min_backoff && min_ns > max_ns)
        min_ns = max_ns;
    if (!r->max_backoff && max_ns < min_ns)
        max_ns = min_ns;
    if (min_ns > max_ns)
        return err_set(e, ERR_INVALID_ARGUMENT, "retry_config: min_backoff (%gs) is longer than max_backoff (%gs)",
                       (double)min_ns / NS_PER_S, (double)max_ns / NS_PER_S);
    r->min_backoff = (void *)pb_duration(a, min_ns);
    r->max_backoff = (void *)pb_duration(a, max_ns);
    return r->min_backoff && r->max_backoff ? 0 : err_set(e, ERR_RESOURCE_EXHAUSTED, "queue: out of memory");
}

static int check_retries(struct arena *a, Google__Cloud__Tasks__V2__RetryConfig *r, struct err *e)
{
    if (r->max_attempts < -1)
        return err_set(e, ERR_INVALID_ARGUMENT, "retry_config.max_attempts: %d; 1 or more, or -1 for no limit (0 means %d)",
                       r->max_attempts, QUEUE_ATTEMPTS_DEFAULT);
    if (r->max_doublings < 0)
        return err_set(e, ERR_INVALID_ARGUMENT, "retry_config.max_doublings: %d; 1 or more (0 means %d)", r->max_doublings,
                       QUEUE_DOUBLINGS_DEFAULT);
    if (r->max_attempts == 0)
        r->max_attempts = QUEUE_ATTEMPTS_DEFAULT;
    if (r->max_doublings == 0)
        r->max_doublings = QUEUE_DOUBLINGS_DEFAULT;
    return check_backoff(a, r, e);
}

int check_queue(struct arena *a, PbQueue *q, struct err *e)
{
    int rc = check_queue_name(q->name, "queue.name", e);
    rc = rc ? rc : refuse(q, e);
    if (rc)
        return rc;
    if (!q->rate_limits)
        q->rate_limits = pb_new(a, &google__cloud__tasks__v2__rate_limits__descriptor);
    if (!q->retry_config)
        q->retry_config = pb_new(a, &google__cloud__tasks__v2__retry_config__descriptor);
    if (!q->rate_limits || !q->retry_config)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "queue: out of memory");
    q->stackdriver_logging_config = NULL;
    rc = check_rates(q->rate_limits, e);
    return rc ? rc : check_retries(a, q->retry_config, e);
}

/* A purge takes what was created before the microsecond after its time, so that what was answered before it is gone for certain. */
static int64_t purged_ns(const PbQueue *q)
{
    int64_t at_ns = q->purge_time ? pb_timestamp_ns(q->purge_time) : 0;
    return at_ns > 0 && at_ns < INT64_MAX - 1000 ? at_ns + 1000 : at_ns;
}

struct queue_config queue_config_of(const QueueRecord *r)
{
    const PbQueue *q = r->queue;
    const Runnel__Broker__QueueSettings *s = r->settings;
    return (struct queue_config){
        .rate_per_s = q->rate_limits ? q->rate_limits->max_dispatches_per_second : QUEUE_RATE_MAX,
        .burst = q->rate_limits ? (uint32_t)q->rate_limits->max_burst_size : BURST_MAX,
        .concurrent = q->rate_limits ? (uint32_t)q->rate_limits->max_concurrent_dispatches : QUEUE_CONCURRENT_DEFAULT,
        .key_concurrent = s ? s->key_concurrent : 0,
        .max_attempts = q->retry_config ? q->retry_config->max_attempts : QUEUE_ATTEMPTS_DEFAULT,
        .max_retry_ns = q->retry_config ? pb_duration_ns(q->retry_config->max_retry_duration) : 0,
        .min_backoff_ns = q->retry_config ? pb_duration_ns(q->retry_config->min_backoff) : QUEUE_MIN_BACKOFF_NS,
        .max_backoff_ns = q->retry_config ? pb_duration_ns(q->retry_config->max_backoff) : QUEUE_MAX_BACKOFF_NS,
        .max_doublings = q->retry_config ? (uint32_t)q->retry_config->max_doublings : QUEUE_DOUBLINGS_DEFAULT,
        .paused = q->state == GOOGLE__CLOUD__TASKS__V2__QUEUE__STATE__PAUSED,
        .purged_wall_ns = purged_ns(q),
        .dead_keep_ns = s && s->_dead_keep_ns_case ? s->dead_keep_ns : DEAD_KEEP_DEFAULT_NS,
        .dead_max = s && s->dead_max ? s->dead_max : DEAD_MAX_DEFAULT,
    };
}

/* attempts.c: what is told about attempts: log lines in the words of Cloud Scheduler's own, metrics, the status of the job. */
#include "schedules/scheduler_int.h"

#include "broker/task_policy.h"

#include <stdio.h>

#define LOG_TYPE "type.googleapis.com/google.cloud.scheduler.logging."

static const char *where(const PbJob *job)
{
    if (job->target_case == GOOGLE__CLOUD__SCHEDULER__V1__JOB__TARGET_PUBSUB_TARGET)
        return job->pubsub_target->topic_name;
    return job->http_target->uri;
}

/* The server's log has no room for bodies, and none is wanted there. */
void attempt_log_started(const struct attempt *a)
{
    log_kv(a->s->env->log, LOG_INFO, "scheduler.attempt_started", LSTR("@type", LOG_TYPE "AttemptStarted"), LSTR("jobName", a->job->name),
           LSTR("targetType", a->target->ops->kind), LSTR("url", where(a->job)), LSTR("scheduledTime", a->schedule_time));
}

/* "URL_ERROR-ERROR_NOT_FOUND. Original HTTP response code number = 404" */
const char *attempt_debug_info(const struct target_result *r, char *out, size_t n)
{
    if (r->err.code == ERR_OK)
        out[0] = '\0';
    else if (r->http_status >= 500 && r->http_status <= 599)
        snprintf(out, n, "URL_UNREACHABLE-UNREACHABLE_5xx. Original HTTP response code number = %d", r->http_status);
    else if (r->http_status)
        snprintf(out, n, "URL_ERROR-ERROR_%s. Original HTTP response code number = %d", task_status_name(task_status_code(r->http_status)),
                 r->http_status);
    else
        snprintf(out, n, "%s", r->err.msg);
    return out;
}

void attempt_log_finished(const struct attempt *a, const struct target_result *r)
{
    char debug[sizeof r->err.msg + 128];
    const char *const labels[METRIC_LABELS_MAX] = {a->target->ops->kind, err_name(r->err.code)};
    attempt_debug_info(r, debug, sizeof debug);
    metric_add(metric_series(a->s->m.attempts, labels), 1);
    log_kv(a->s->env->log, r->err.code ? LOG_WARN : LOG_INFO, "scheduler.attempt_finished", LSTR("@type", LOG_TYPE "AttemptFinished"),
           LSTR("jobName", a->job->name), LSTR("targetType", a->target->ops->kind), LSTR("url", where(a->job)),
           LSTR("scheduledTime", a->schedule_time), LSTR("status", err_name(r->err.code)), LINT("httpStatus", r->http_status),
           LSTR("debugInfo", debug), LINT("tookMs", (env_now(a->s->env) - a->begun_ns) / NS_PER_MS));
}

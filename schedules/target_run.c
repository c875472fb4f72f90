/* target_run.c: a firing as an execution of a job of the executor: it lasts until that has ended. */
#include "schedules/targets.h"

#include "executor/job_start.h"

#include <stdlib.h>
#include <string.h>

struct target_run {
    struct target target;
    struct executor *executor;
};

bool target_is_run(const PbJob *job)
{
    return job->target_case == GOOGLE__CLOUD__SCHEDULER__V1__JOB__TARGET_HTTP_TARGET &&
           strncmp(job->http_target->uri, TARGET_RUN_URI, sizeof TARGET_RUN_URI - 1) == 0;
}

static void on_end(void *arg, const struct job_start_result *r)
{
    struct target_call *c = arg;
    const struct target_result out = {.err = r->err, .undelivered = r->ours, .final = r->ran};
    c->internal = NULL;
    c->done(c, &out);
}

static void start(struct target *t, struct target_call *c)
{
    static const enum job_start_mode modes[] = {
        [TARGET_BESIDE] = JOB_START_BESIDE, [TARGET_AFTER] = JOB_START_AFTER, [TARGET_INSTEAD] = JOB_START_INSTEAD};
    const Google__Cloud__Scheduler__V1__HttpTarget *to = c->job->http_target;
    const struct job_start_spec spec = {
        .job = to->uri + sizeof TARGET_RUN_URI - 1,
        .event_id = c->event_id,
        .series_len = c->series_len,
        .mode = modes[c->overlap],
        .body = {(const char *)to->body.data, to->body.len},
    };
    struct target_result failed = {0};
    c->internal = job_start_new(CONTAINER_OF(t, struct target_run, target)->executor, &spec, on_end, c, &failed.err);
    if (c->internal)
        return;
    failed.undelivered = failed.err.code != ERR_INVALID_ARGUMENT;
    c->done(c, &failed);
}

/* Only its being waited for is called off: whoever takes its place cancels it. */
static void cancel(struct target *t, struct target_call *c)
{
    struct target_result r = {.undelivered = true};
    err_set(&r.err, ERR_CANCELLED, "no longer waited for");
    job_start_leave(c->internal);
    c->internal = NULL;
    c->done(c, &r);
}

static void run_free(struct target *t) { free(CONTAINER_OF(t, struct target_run, target)); }

struct target *target_run_new(struct executor *x)
{
    static const struct target_ops ops = {.kind = "RUN_JOB", .lasts = true, .start = start, .cancel = cancel, .free = run_free};
    struct target_run *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->target.ops = &ops;
    r->executor = x;
    return &r->target;
}

/* jobs.c: the methods of jobs: create, get, list, update, delete, pause, resume, run. */
#include "schedules/scheduler_int.h"

#include "core/rpc/mask.h"
#include "core/rpc/page.h"
#include "google/protobuf/empty.pb-c.h"

#include <stdlib.h>

#define LIST_PAGE_MAX 500
#define LIST_BYTES_MAX ((size_t)16 * 1024 * 1024) /* a page of more ends early, as Google's may */
#define JOB_ID_LETTERS 20
#define STATE(name) GOOGLE__CLOUD__SCHEDULER__V1__JOB__STATE__##name

void jobs_no_memory(struct call *c) { call_failf(c, ERR_RESOURCE_EXHAUSTED, "job: out of memory"); }

/* ---- as clients see it ---- */

static int64_t next_attempt(const struct schedule *j)
{
    struct schedule *from = (struct schedule *)(uintptr_t)j;
    int64_t at = job_enabled(j) ? j->next_wall_ns : DUE_NEVER;
    LIST_EACH(&from->runs, n) {
        const struct run *r = CONTAINER_OF(n, struct run, link);
        if (r->state == RUN_WAITING && r->due_wall_ns > 0 && r->due_wall_ns < at)
            at = r->due_wall_ns;
    }
    return at;
}

static PbJob *job_message(struct arena *a, const struct schedule *j)
{
    PbJob *m = pb_clone(a, &j->config->base);
    if (!m)
        return NULL;
    int64_t next = next_attempt(j);
    if (!j->calendar && m->state == STATE(ENABLED))
        m->state = STATE(DISABLED);
    m->schedule_time = next == DUE_NEVER ? NULL : (void *)pb_timestamp(a, next);
    m->last_attempt_time = j->last_attempt_wall_ns ? (void *)pb_timestamp(a, j->last_attempt_wall_ns / NS_PER_US * NS_PER_US) : NULL;
    m->status = j->attempted ? pb_new(a, &google__rpc__status__descriptor) : NULL;
    if ((next != DUE_NEVER && !m->schedule_time) || (j->last_attempt_wall_ns && !m->last_attempt_time) || (j->attempted && !m->status))
        return NULL;
    if (m->status) {
        m->status->code = j->status;
        if (j->status_message && !(m->status->message = arena_strdup(a, j->status_message)))
            return NULL;
    }
    return m;
}

void reply_job(struct call *c, const struct schedule *j)
{
    PbJob *m = job_message(c->arena, j);
    if (m)
        call_reply(c, &m->base);
    else
        jobs_no_memory(c);
}

struct schedule *schedule_find(struct schedules *s, const char *name, struct err *e)
{
    if (check_job_name(name, "name", e))
        return NULL;
    struct schedule *j = map_get(s->jobs, name);
    if (j && j->visible)
        return j;
    err_set(e, ERR_NOT_FOUND, "Job not found: %.200s", name);
    return NULL;
}

/* ---- create ---- */

static char *new_name(struct schedules *s, struct arena *a, const char *parent)
{
    char id[JOB_ID_LETTERS + 1];
    rng_name(s->env->rng, id, JOB_ID_LETTERS);
    return arena_printf(a, "%s/jobs/%s", parent, id);
}

/* What only the server says is not taken from anybody. */
static int keep_ours(struct arena *a, PbJob *job, const PbJob *old, int64_t now, struct err *e)
{
    job->state = old ? old->state : STATE(ENABLED);
    job->status = NULL;
    job->schedule_time = job->last_attempt_time = NULL;
    job->user_update_time = (void *)pb_timestamp(a, now / NS_PER_S * NS_PER_S);
    return job->user_update_time ? 0 : err_set(e, ERR_RESOURCE_EXHAUSTED, "job: out of memory");
}

static int check_new(struct schedules *s, struct call *c, const Google__Cloud__Scheduler__V1__CreateJobRequest *q, PbJob **job,
                     struct calendar **calendar, struct err *e)
{
    int rc = check_location_name(q->parent, "parent", e);
    if (rc)
        return rc;
    if (!q->job)
        return err_set(e, ERR_INVALID_ARGUMENT, "job: must be given");
    *job = pb_clone(c->arena, &q->job->base);
    if (!*job || (!*(*job)->name && !((*job)->name = new_name(s, c->arena, q->parent))))
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "job: out of memory");
    size_t n = strlen(q->parent);
    if (strncmp((*job)->name, q->parent, n) != 0 || strncmp((*job)->name + n, "/jobs/", strlen("/jobs/")) != 0)
        return err_set(e, ERR_INVALID_ARGUMENT, "job.name: \"%.120s\" is not in %.120s", (*job)->name, q->parent);
    if ((rc = keep_ours(c->arena, *job, NULL, env_wall(s->env), e)) || (rc = check_job_name((*job)->name, "job.name", e)))
        return rc;
    const struct schedule *there = map_get(s->jobs, (*job)->name);
    if (there && there->visible)
        return err_set(e, ERR_ALREADY_EXISTS, "Job already exists: %.200s", (*job)->name);
    if (there)
        return err_set(e, ERR_ABORTED, "%.200s is being created; try again", (*job)->name);
    if (map_count(s->jobs) >= SCHEDULES_MAX)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "there are %d jobs already; delete some", SCHEDULES_MAX);
    return check_job(c->arena, s->zones, *job, calendar, e);
}

void on_create_job(void *service, struct call *c, const ProtobufCMessage *r)
{
    struct schedules *s = service;
    struct calendar *calendar = NULL;
    struct err e;
    PbJob *job;
    if (check_new(s, c, (const void *)r, &job, &calendar, &e)) {
        call_fail(c, &e);
        return;
    }
    PbJob *config = pb_dup(&job->base);
    PbPolicy *policy = policy_default();
    struct schedule *j = NULL;
    if (!config || !policy)
        err_set(&e, ERR_RESOURCE_EXHAUSTED, "job: out of memory");
    else
        j = schedule_new(s, config, policy, &e);
    if (!j) {
        pb_free(config);
        pb_free(policy);
        calendar_free(calendar);
        call_fail(c, &e);
        return;
    }
    j->calendar = calendar;
    j->seed = rng_u64(s->env->rng);
    j->last_wall_ns = env_wall(s->env);
    struct edit *ch = edit_new(c, j, reply_job);
    if (ch)
        edit_commit(ch);
    else
        job_end(j);
}

/* ---- get, list ---- */

void on_get_job(void *service, struct call *c, const ProtobufCMessage *r)
{
    const Google__Cloud__Scheduler__V1__GetJobRequest *q = (const void *)r;
    struct err e;
    struct schedule *j = schedule_find(service, q->name, &e);
    if (j)
        reply_job(c, j);
    else
        call_fail(c, &e);
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(struct schedule *const *)a)->config->name, (*(struct schedule *const *)b)->config->name);
}

/* Those under `prefix` after `after`, in order; malloc'd. */
static struct schedule **jobs_after(const struct schedules *s, const char *prefix, const char *after, size_t *n)
{
    struct schedule **all = malloc((map_count(s->jobs) + 1) * sizeof(struct schedule *));
    size_t it = 0;
    const char *name;
    void *j;
    *n = 0;
    while (all && map_next(s->jobs, &it, &name, &j))
        if (((struct schedule *)j)->visible && strncmp(name, prefix, strlen(prefix)) == 0 && strcmp(name, after) > 0)
            all[(*n)++] = j;
    if (all)
        qsort((void *)all, *n, sizeof *all, by_name);
    return all;
}

static int fill_page(struct schedules *s, struct arena *a, const char *prefix, const struct page *p,
                     Google__Cloud__Scheduler__V1__ListJobsResponse *reply)
{
    size_t n, bytes = 0;
    struct schedule **all = jobs_after(s, prefix, p->after, &n);
    int rc = all && (reply->jobs = arena_alloc(a, (p->size + 1) * sizeof *reply->jobs)) ? 0 : -ERR_RESOURCE_EXHAUSTED;
    while (!rc && reply->n_jobs < n && reply->n_jobs < p->size && bytes < LIST_BYTES_MAX) {
        PbJob *job = reply->jobs[reply->n_jobs] = job_message(a, all[reply->n_jobs]);
        rc = job ? 0 : -ERR_RESOURCE_EXHAUSTED;
        reply->n_jobs += job != NULL;
        bytes += job ? protobuf_c_message_get_packed_size(&job->base) : 0;
    }
    if (!rc && reply->n_jobs < n && !(reply->next_page_token = page_token(a, prefix, all[reply->n_jobs - 1]->config->name)))
        rc = -ERR_RESOURCE_EXHAUSTED;
    free((void *)all);
    return rc;
}

void on_list_jobs(void *service, struct call *c, const ProtobufCMessage *r)
{
    const Google__Cloud__Scheduler__V1__ListJobsRequest *q = (const void *)r;
    Google__Cloud__Scheduler__V1__ListJobsResponse *reply = pb_new(c->arena, &google__cloud__scheduler__v1__list_jobs_response__descriptor);
    struct page p;
    struct err e;
    char *prefix = arena_printf(c->arena, "%s/jobs/", q->parent);
    int32_t size = q->page_size == 0 || q->page_size > LIST_PAGE_MAX ? LIST_PAGE_MAX : q->page_size;
    if (!reply || !prefix) {
        jobs_no_memory(c);
        return;
    }
    if (check_location_name(q->parent, "parent", &e) || page_open(c->arena, size, q->page_token, prefix, &p, &e)) {
        call_fail(c, &e);
        return;
    }
    if (fill_page(service, c->arena, prefix, &p, reply))
        jobs_no_memory(c);
    else
        call_reply(c, &reply->base);
}

/* ---- update ---- */

static PbJob *updated(struct schedules *s, struct call *c, const struct schedule *j,
                      const Google__Cloud__Scheduler__V1__UpdateJobRequest *q, struct calendar **calendar, struct err *e)
{
    PbJob *fresh = pb_clone(c->arena, &j->config->base);
    char **paths = q->update_mask ? q->update_mask->paths : NULL;
    size_t n = q->update_mask ? q->update_mask->n_paths : 0;
    if (!fresh) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "job: out of memory");
        return NULL;
    }
    if (mask_apply(c->arena, &fresh->base, &q->job->base, paths, n, true, e))
        return NULL;
    fresh->name = j->config->name;
    if (keep_ours(c->arena, fresh, j->config, env_wall(s->env), e) || check_job(c->arena, s->zones, fresh, calendar, e))
        return NULL;
    return fresh;
}

void on_update_job(void *service, struct call *c, const ProtobufCMessage *r)
{
    struct schedules *s = service;
    const Google__Cloud__Scheduler__V1__UpdateJobRequest *q = (const void *)r;
    struct calendar *calendar = NULL;
    struct schedule *j = NULL;
    struct err e;
    PbJob *fresh = NULL;
    if (!q->job)
        err_set(&e, ERR_INVALID_ARGUMENT, "job: must be given");
    else if ((j = schedule_find(s, q->job->name, &e)))
        fresh = updated(s, c, j, q, &calendar, &e);
    if (!fresh) {
        call_fail(c, &e);
        return;
    }
    struct edit *ch = edit_new(c, j, reply_job);
    if (!ch) {
        calendar_free(calendar);
        return;
    }
    ch->calendar = calendar;
    ch->config = pb_dup(&fresh->base);
    if (strcmp(fresh->schedule, j->config->schedule) != 0 || strcmp(fresh->time_zone, j->config->time_zone) != 0)
        ch->edit = (struct state_edit){.last_wall_ns = env_wall(s->env), .drop_waiting = true};
    if (ch->config) {
        edit_commit(ch);
        return;
    }
    err_set(&e, ERR_RESOURCE_EXHAUSTED, "job: out of memory");
    edit_fail(ch, &e);
}

/* ---- delete, pause, resume ---- */

static void reply_empty(struct call *c, const struct schedule *j)
{
    ProtobufCMessage *m = pb_new(c->arena, &google__protobuf__empty__descriptor);
    if (m)
        call_reply(c, m);
    else
        jobs_no_memory(c);
}

void on_delete_job(void *service, struct call *c, const ProtobufCMessage *r)
{
    const Google__Cloud__Scheduler__V1__DeleteJobRequest *q = (const void *)r;
    struct err e;
    struct schedule *j = schedule_find(service, q->name, &e);
    if (!j) {
        call_fail(c, &e);
        return;
    }
    struct edit *ch = edit_new(c, j, reply_empty);
    if (!ch)
        return;
    ch->remove = true;
    edit_commit(ch);
}

static void switch_state(struct schedules *s, struct call *c, const char *name, Google__Cloud__Scheduler__V1__Job__State from,
                         Google__Cloud__Scheduler__V1__Job__State to)
{
    struct err e;
    struct schedule *j = schedule_find(s, name, &e);
    if (!j) {
        call_fail(c, &e);
        return;
    }
    if (j->config->state != from) {
        call_failf(c, ERR_FAILED_PRECONDITION, "the job must be %s for that; it is %s: %.200s",
                   from == STATE(ENABLED) ? "ENABLED" : "PAUSED", from == STATE(ENABLED) ? "PAUSED" : "ENABLED", name);
        return;
    }
    struct edit *ch = edit_new(c, j, reply_job);
    if (!ch)
        return;
    int64_t now = env_wall(s->env);
    ch->config = pb_dup(&j->config->base);
    ch->edit = (struct state_edit){.last_wall_ns = now > j->last_wall_ns ? now : j->last_wall_ns, .drop_waiting = true};
    if (ch->config) {
        ch->config->state = to;
        edit_commit(ch);
        return;
    }
    err_set(&e, ERR_RESOURCE_EXHAUSTED, "job: out of memory");
    edit_fail(ch, &e);
}

void on_pause_job(void *service, struct call *c, const ProtobufCMessage *r)
{
    switch_state(service, c, ((const Google__Cloud__Scheduler__V1__PauseJobRequest *)(const void *)r)->name, STATE(ENABLED), STATE(PAUSED));
}

void on_resume_job(void *service, struct call *c, const ProtobufCMessage *r)
{
    switch_state(service, c, ((const Google__Cloud__Scheduler__V1__ResumeJobRequest *)(const void *)r)->name, STATE(PAUSED),
                 STATE(ENABLED));
}

/* ---- run ---- */

void on_run_job(void *service, struct call *c, const ProtobufCMessage *r)
{
    struct schedules *s = service;
    const Google__Cloud__Scheduler__V1__RunJobRequest *q = (const void *)r;
    struct err e;
    struct schedule *j = schedule_find(s, q->name, &e);
    if (j && s->stopping) {
        err_set(&e, ERR_UNAVAILABLE, "the server is stopping");
        j = NULL;
    }
    struct run *run = j ? run_by_hand(j, &e) : NULL;
    if (!run) {
        call_fail(c, &e);
        return;
    }
    run->call = c; /* answered when the record says so */
    schedules_write(s);
}

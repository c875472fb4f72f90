/* policies.c: what a job promises beyond Google's fields, and what it will do next: our own methods. */
#include "schedules/scheduler_int.h"

#include "core/rpc/mask.h"

#define NEXT_DEFAULT 10
#define NEXT_MAX 1000
#define TEXT_MAX 4096

static PbPolicy *policy_message(struct arena *a, const struct schedule *j)
{
    PbPolicy *m = pb_clone(a, &j->policy->base);
    if (m)
        m->name = arena_strdup(a, j->config->name);
    return m && m->name ? m : NULL;
}

static void reply_policy(struct call *c, const struct schedule *j)
{
    PbPolicy *m = policy_message(c->arena, j);
    if (m)
        call_reply(c, &m->base);
    else
        jobs_no_memory(c);
}

void on_get_policy(void *service, struct call *c, const ProtobufCMessage *r)
{
    const Runnel__Scheduler__V1__GetJobPolicyRequest *q = (const void *)r;
    struct err e;
    struct schedule *j = schedule_find(service, q->name, &e);
    if (j)
        reply_policy(c, j);
    else
        call_fail(c, &e);
}

static PbPolicy *updated(struct call *c, const struct schedule *j, const Runnel__Scheduler__V1__UpdateJobPolicyRequest *q, struct err *e)
{
    PbPolicy *fresh = policy_message(c->arena, j);
    char **paths = q->update_mask ? q->update_mask->paths : NULL;
    size_t n = q->update_mask ? q->update_mask->n_paths : 0;
    if (!fresh) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "policy: out of memory");
        return NULL;
    }
    if (mask_apply(c->arena, &fresh->base, &q->policy->base, paths, n, true, e) || check_policy(fresh, e))
        return NULL;
    fresh->name = j->config->name;
    return fresh;
}

/* Firings that the old start and end kept from taking place were not missed. */
static struct state_edit between(const struct schedule *j, const PbPolicy *fresh, int64_t now)
{
    struct due_policy rules = job_rules(fresh, j->seed);
    bool moved = rules.start_wall_ns != j->rules.start_wall_ns || rules.end_wall_ns != j->rules.end_wall_ns;
    return (struct state_edit){.last_wall_ns = moved && now < j->next_wall_ns && now > j->last_wall_ns ? now : 0};
}

void on_update_policy(void *service, struct call *c, const ProtobufCMessage *r)
{
    struct schedules *s = service;
    const Runnel__Scheduler__V1__UpdateJobPolicyRequest *q = (const void *)r;
    struct schedule *j = NULL;
    struct err e;
    PbPolicy *fresh = NULL;
    if (!q->policy)
        err_set(&e, ERR_INVALID_ARGUMENT, "policy: must be given");
    else if ((j = schedule_find(s, q->policy->name, &e)))
        fresh = updated(c, j, q, &e);
    if (!fresh) {
        call_fail(c, &e);
        return;
    }
    struct edit *ch = edit_new(c, j, reply_policy);
    if (!ch)
        return;
    ch->policy = pb_dup(&fresh->base);
    ch->edit = between(j, fresh, env_wall(s->env));
    if (ch->policy) {
        edit_commit(ch);
        return;
    }
    err_set(&e, ERR_RESOURCE_EXHAUSTED, "policy: out of memory");
    edit_fail(ch, &e);
}

/* ---- what comes next ---- */

/* `write` appends to a buffer; the text goes into the arena. "" when there is none. */
static char *words(struct arena *a, const struct schedule *j, int64_t at, int (*write)(const struct calendar *, int64_t, struct buf *))
{
    struct buf b;
    buf_init(&b, TEXT_MAX);
    char *text = write(j->calendar, at, &b) ? NULL : arena_dup(a, buf_str(&b));
    buf_fini(&b);
    return text;
}

static Runnel__Scheduler__V1__Firing *firing(struct arena *a, const struct schedule *j, int64_t t)
{
    struct due_calendar calendar = job_calendar(j);
    char text[CALENDAR_TIME_MAX];
    Runnel__Scheduler__V1__Firing *f = pb_new(a, &runnel__scheduler__v1__firing__descriptor);
    if (!f)
        return NULL;
    f->schedule_time = (void *)pb_timestamp(a, t);
    f->start_time = (void *)pb_timestamp(a, due_start(&calendar, &j->rules, t));
    f->local_time = arena_strdup(a, calendar_format(j->calendar, t, text));
    f->note = words(a, j, t, calendar_explain_firing);
    return f->schedule_time && f->start_time && f->local_time && f->note ? f : NULL;
}

static int fill(struct arena *a, const struct schedule *j, size_t count, Runnel__Scheduler__V1__NextFiringsResponse *m)
{
    struct due_calendar calendar = job_calendar(j);
    int64_t now = env_wall(j->s->env), t = j->last_wall_ns;
    if (j->config->state != GOOGLE__CLOUD__SCHEDULER__V1__JOB__STATE__ENABLED && now > t)
        t = now; /* paused: what it would do */
    m->firings = arena_alloc(a, (count + 1) * sizeof *m->firings);
    m->time_zone = arena_strdup(a, j->config->time_zone);
    m->text = words(a, j, now, calendar_explain);
    while (m->firings && m->n_firings < count && (t = due_next(&calendar, &j->rules, t)) != DUE_NEVER) {
        if (!(m->firings[m->n_firings] = firing(a, j, t)))
            return -ERR_RESOURCE_EXHAUSTED;
        m->n_firings++;
    }
    return m->firings && m->time_zone && m->text ? 0 : -ERR_RESOURCE_EXHAUSTED;
}

void on_next_firings(void *service, struct call *c, const ProtobufCMessage *r)
{
    const Runnel__Scheduler__V1__NextFiringsRequest *q = (const void *)r;
    struct err e;
    struct schedule *j = schedule_find(service, q->name, &e);
    if (j && (q->count < 0 || q->count > NEXT_MAX)) {
        err_set(&e, ERR_INVALID_ARGUMENT, "count: %d; 1 to %d are allowed (0 means %d)", q->count, NEXT_MAX, NEXT_DEFAULT);
        j = NULL;
    } else if (j && !j->calendar) {
        err_set(&e, ERR_FAILED_PRECONDITION, "the job is DISABLED: its schedule or time zone is not understood any more; update it");
        j = NULL;
    }
    if (!j) {
        call_fail(c, &e);
        return;
    }
    Runnel__Scheduler__V1__NextFiringsResponse *m = pb_new(c->arena, &runnel__scheduler__v1__next_firings_response__descriptor);
    if (m && fill(c->arena, j, q->count ? (size_t)q->count : NEXT_DEFAULT, m) == 0)
        call_reply(c, &m->base);
    else
        jobs_no_memory(c);
}

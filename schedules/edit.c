/* edit.c: a user's change of one job: written whole, then made so, then answered. */
#include "schedules/scheduler_int.h"

#include <stdlib.h>

struct edit *edit_new(struct call *c, struct schedule *j, void (*reply)(struct call *c, const struct schedule *j))
{
    struct schedules *s = j->s;
    struct edit *ch = NULL;
    if (s->stopping)
        call_failf(c, ERR_UNAVAILABLE, "the server is stopping");
    else if (j->changing)
        call_failf(c, ERR_ABORTED, "another change of %.200s is under way; try again", j->config->name);
    else if (!(ch = calloc(1, sizeof *ch)))
        jobs_no_memory(c);
    if (!ch)
        return NULL;
    *ch = (struct edit){.s = s, .call = c, .job = j, .reply = reply};
    j->changing = true;
    list_remove(&s->dirty, &j->dirty);
    node_init(&ch->link);
    list_append(&s->changes, &ch->link);
    return ch;
}

void edit_free(struct edit *ch)
{
    list_remove(&ch->s->changes, &ch->link);
    pb_free(ch->config);
    pb_free(ch->policy);
    calendar_free(ch->calendar);
    free(ch);
}

/* The job is as it was, or as it shall be. */
static void end(struct edit *ch)
{
    struct schedules *s = ch->s;
    struct schedule *j = ch->job;
    edit_free(ch);
    if (j) {
        j->changing = false;
        job_settled(j);
    }
    schedules_maybe_stopped(s);
}

void edit_fail(struct edit *ch, const struct err *e)
{
    struct schedule *j = ch->job;
    call_fail(ch->call, e);
    if (!j->visible) { /* it was never made */
        ch->job = NULL;
        job_end(j);
    }
    end(ch);
}

static void apply(struct edit *ch)
{
    struct schedule *j = ch->job;
    if (ch->config) {
        pb_free(j->config);
        j->config = ch->config;
        ch->config = NULL;
    }
    if (ch->calendar) {
        calendar_free(j->calendar);
        j->calendar = ch->calendar;
        ch->calendar = NULL;
        (void)calendar_rezone(j->calendar, j->s->zones); /* tzdata may have changed while it was written */
    }
    if (ch->policy) {
        pb_free(j->policy);
        j->policy = ch->policy;
        ch->policy = NULL;
    }
    j->rules = job_rules(j->policy, j->seed);
    job_apply_edit(j, &ch->edit);
    if (!j->visible)
        metric_add(j->s->m.jobs, 1);
    j->visible = true;
    j->changing = false; /* so that it shows when it fires next */
    job_arm(j);
}

static void on_stored(void *arg, const struct err *e)
{
    struct edit *ch = arg;
    struct schedule *j = ch->job;
    if (e) {
        edit_fail(ch, e);
        return;
    }
    if (ch->remove) {
        ch->job = NULL;
        ch->reply(ch->call, NULL);
        job_end(j);
    } else {
        apply(ch);
        ch->reply(ch->call, j);
    }
    end(ch);
}

void edit_commit(struct edit *ch)
{
    struct schedule *j = ch->job;
    struct err e = {0};
    const char *name = j->config->name;
    const PbJob *config = ch->config ? ch->config : j->config;
    const PbPolicy *policy = ch->policy ? ch->policy : j->policy;
    struct store_txn *t = store_txn_new();
    int rc = t ? 0 : err_set(&e, ERR_RESOURCE_EXHAUSTED, "job: out of memory");
    if (!rc && ch->remove) {
        rc = store_txn_delete(t, "schedule", name, &e);
        rc = rc ? rc : store_txn_delete(t, "schedule-state", name, &e);
    } else if (!rc) {
        rc = job_put(t, config, policy, j->seed, &e);
        rc = rc ? rc : state_put(t, j, name, &ch->edit, &e);
    }
    if (!rc) {
        store_submit(ch->s->store, t, on_stored, ch);
        return;
    }
    store_txn_free(t);
    edit_fail(ch, &e);
}

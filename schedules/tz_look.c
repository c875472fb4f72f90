/* tz_look.c: notices that tzdata was updated, and moves every job to the new rules. */
#include "schedules/tz_look.h"

#include <stdlib.h>

#define TZ_LOOK_NS (60 * NS_PER_S)

struct tz_look {
    struct job job; /* on the worker */
    struct schedules *s;
    bool under_way;
    size_t changed;
    int rc;
    struct err err;
};

static void on_worker(struct job *job)
{
    struct tz_look *tz = CONTAINER_OF(job, struct tz_look, job);
    tz->rc = zone_cache_refresh(tz->s->zones, &tz->changed, &tz->err);
}

static void renew(struct schedule *j)
{
    struct schedules *s = j->s;
    struct err why = {0};
    if (j->calendar && !calendar_rezone(j->calendar, s->zones))
        return;
    if (!j->calendar && !(j->calendar = calendar_new(s->zones, j->config->schedule, j->config->time_zone, &why)))
        return;
    job_arm(j);
}

static void on_looked(struct mail *m)
{
    struct tz_look *tz = CONTAINER_OF(m, struct tz_look, job.mail);
    struct schedules *s = tz->s;
    size_t it = 0;
    void *j;
    tz->under_way = false;
    if (tz->rc)
        log_kv(s->env->log, LOG_WARN, "schedules.time_zones", LSTR("error", tz->err.msg),
               LSTR("note", "jobs keep the rules that they had"));
    if (tz->changed)
        log_kv(s->env->log, LOG_INFO, "schedules.time_zones", LINT("changed", tz->changed));
    while (map_next(s->jobs, &it, NULL, &j)) {
        const struct schedule *disabled = ((struct schedule *)j)->calendar ? NULL : j;
        if (tz->changed || (disabled && zone_cache_sees(s->zones, disabled->config->time_zone))) /* it may have come */
            renew(j);
    }
    schedules_maybe_stopped(s);
}

void tz_look_maybe(struct schedules *s, int64_t now_ns)
{
    if (!s->workers || (s->tz && (s->tz->under_way || now_ns - s->tz_looked_ns < TZ_LOOK_NS)))
        return;
    if (!s->tz && !(s->tz = calloc(1, sizeof *s->tz)))
        return;
    *s->tz = (struct tz_look){.job = {.mail = {.deliver = on_looked}, .reply = s->engine, .work = on_worker}, .s = s};
    s->tz_looked_ns = now_ns;
    s->tz->under_way = workers_submit(s->workers, &s->tz->job);
}

bool tz_look_busy(const struct schedules *s) { return s->tz && s->tz->under_way; }

void tz_look_free(struct schedules *s)
{
    if (!tz_look_busy(s)) /* else a worker still writes into it */
        free(s->tz);
}

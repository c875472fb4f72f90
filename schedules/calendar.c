/* calendar.c: a cron schedule and a time zone, put together; nanoseconds outside, seconds inside. */
#include "schedules/calendar.h"

#include "schedules/cron.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define LAST_S (INT64_MAX / NS_PER_S)

struct calendar {
    struct cron *cron;
    struct zone *zone;
    const char *zone_name; /* "UTC", or the text below */
    char text[];
};

static int64_t seconds(int64_t wall_ns)
{
    int64_t s = wall_ns / NS_PER_S;
    return wall_ns % NS_PER_S < 0 ? s - 1 : s;
}

struct calendar *calendar_new(struct zone_cache *zones, const char *schedule, const char *time_zone, struct err *e)
{
    size_t n = strlen(time_zone);
    struct calendar *c = calloc(1, sizeof *c + n + 1);
    if (!c) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "schedule: out of memory");
        return NULL;
    }
    memcpy(c->text, time_zone, n + 1);
    c->zone_name = n == 0 || strcasecmp(time_zone, "utc") == 0 ? "UTC" : c->text;
    struct err why = {0};
    if (zone_cache_get(zones, c->zone_name, &c->zone, &why))
        /* A file that is no zone is for who named it what a name without a file is. */
        err_set(e, why.code == ERR_DATA_LOSS ? ERR_INVALID_ARGUMENT : why.code, "time_zone: %s", why.msg);
    else if (!(c->cron = cron_parse(schedule, &why)))
        err_set(e, why.code, "%s", why.msg);
    else
        return c;
    calendar_free(c);
    return NULL;
}

void calendar_free(struct calendar *c)
{
    if (!c)
        return;
    cron_free(c->cron);
    zone_unref(c->zone);
    free(c);
}

bool calendar_rezone(struct calendar *c, struct zone_cache *zones)
{
    struct zone *now;
    if (zone_cache_get(zones, c->zone_name, &now, NULL))
        return false;
    bool changed = now != c->zone;
    zone_unref(c->zone);
    c->zone = now;
    return changed;
}

int64_t calendar_next(const void *calendar, int64_t after_wall_ns)
{
    const struct calendar *c = calendar;
    struct cron_firing f;
    if (!cron_next(c->cron, c->zone, seconds(after_wall_ns), &f) || f.at_s > LAST_S)
        return CALENDAR_NEVER;
    return f.at_s * NS_PER_S;
}

char *calendar_format(const struct calendar *c, int64_t wall_ns, char out[CALENDAR_TIME_MAX])
{
    char text[ZONE_TEXT_MAX], fraction[16] = "";
    int64_t s = seconds(wall_ns), ns = wall_ns - s * NS_PER_S;
    zone_format(c->zone, s, text);
    if (ns % NS_PER_US)
        snprintf(fraction, sizeof fraction, ".%09d", (int)ns);
    else if (ns)
        snprintf(fraction, sizeof fraction, ".%06d", (int)(ns / NS_PER_US));
    size_t date = strlen("2026-03-29T03:00:00");
    snprintf(out, CALENDAR_TIME_MAX, "%.*s%s%s", (int)date, text, fraction, text + date);
    return out;
}

int calendar_explain(const struct calendar *c, int64_t from_wall_ns, struct buf *out)
{
    return cron_explain(c->cron, c->zone, seconds(from_wall_ns), out);
}

int calendar_explain_firing(const struct calendar *c, int64_t scheduled_wall_ns, struct buf *out)
{
    struct cron_firing f;
    if (!cron_next(c->cron, c->zone, seconds(scheduled_wall_ns) - 1, &f))
        return 0;
    return cron_explain_firing(c->zone, &f, out);
}

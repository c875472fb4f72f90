/* cron.c: the search for the next firing: by months and days of the local calendar, within the spans of the zone. The policy for clock
 * changes (cron.h) is in next_by_fields: what it needs of a span is how far the local clock had come before it. */
#include "core/base/clock.h"
#include "schedules/cron_int.h"

#include <assert.h>
#include <stdlib.h>

/* Two days from the ends of what can be written, so that local times can be written, too. */
#define FIRST_S (WALL_SECONDS_MIN + 2 * DAY_S)
#define LAST_S (WALL_SECONDS_MAX - 2 * DAY_S)
#define INTERVAL_ANCHOR_LOCAL_S INT64_C(946684800) /* 2000-01-01T00:00:00 */

void cron_free(struct cron *c) { free(c); }

static int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0); }

/* ---- the fields against a calendar ---- */

/* Sunday is 0; 1970-01-01 was a Thursday. */
static int weekday_of(int64_t days) { return (int)(((days + 4) % 7 + 7) % 7); }

static int nearest_workday(int day, int last, int weekday)
{
    if (weekday == 6)
        return day > 1 ? day - 1 : day + 2;
    if (weekday == 0)
        return day < last ? day + 1 : day - 2;
    return day;
}

static uint32_t day_bit(int day)
{
    assert(day >= 1 && day <= 31);
    return 1u << day;
}

static uint32_t days_by_month(const struct cron *c, int last, int first_weekday)
{
    uint32_t days = c->days;
    for (int back = 0; c->from_last >> back && back < last; back++)
        if (c->from_last >> back & 1)
            days |= day_bit(last - back);
    for (int day = 1; c->nearest && day <= last; day++)
        if (c->nearest >> day & 1)
            days |= day_bit(nearest_workday(day, last, (first_weekday + day - 1) % 7));
    if (c->last_workday) {
        int weekday = (first_weekday + last - 1) % 7;
        days |= day_bit(weekday == 6 ? last - 1 : weekday == 0 ? last - 2 : last);
    }
    return days;
}

static uint32_t days_by_week(const struct cron *c, int last, int first_weekday)
{
    if (c->weekdays == WEEKDAYS_ALL)
        return DAYS_ALL;
    uint32_t days = 0;
    for (int day = 1; day <= last; day++) {
        unsigned held = c->weekdays | c->nth_weekdays[(day - 1) / 7] | (day + 7 > last ? c->last_weekdays : 0u);
        days |= (held >> (first_weekday + day - 1) % 7 & 1) << day;
    }
    return days;
}

uint32_t cron_days(const struct cron *c, int year, int month)
{
    if (!(c->months >> month & 1))
        return 0;
    int last = month_days(year, month), first_weekday = weekday_of(days_from_civil(year, month, 1));
    uint32_t by_month = days_by_month(c, last, first_weekday), by_week = days_by_week(c, last, first_weekday);
    uint32_t days = c->days_star || c->weekdays_star ? by_month & by_week : by_month | by_week;
    return days & (DAYS_ALL >> (31 - last));
}

/* The first bit of a set from `from` on, or -1. */
static int next_bit(uint64_t set, int from)
{
    uint64_t rest = from < 64 ? set >> from : 0;
    return rest ? from + __builtin_ctzll(rest) : -1;
}

/* The first time of the day from `from_s` on, in seconds from midnight, or -1. */
static int next_time(const struct cron *c, int from_s)
{
    int hour = from_s / 3600, minute = from_s / 60 % 60, second = next_bit(c->seconds, from_s % 60);
    if (second < 0)
        minute++;
    int at_hour = next_bit(c->hours, hour), at_minute = next_bit(c->minutes, minute);
    if (at_hour == hour && at_minute < 0)
        at_hour = next_bit(c->hours, hour + 1);
    if (at_hour < 0)
        return -1;
    if (at_hour > hour)
        at_minute = next_bit(c->minutes, 0);
    bool same_minute = at_hour == hour && at_minute == from_s / 60 % 60;
    return at_hour * 3600 + at_minute * 60 + (same_minute ? second : next_bit(c->seconds, 0));
}

bool cron_find_local(const struct cron *c, int64_t from_s, int64_t before_s, int64_t *local_s)
{
    int year, month, day;
    int64_t today = floor_div(from_s, DAY_S);
    int time_s = (int)(from_s - today * DAY_S);
    civil_from_days(today, &year, &month, &day);
    while (days_from_civil(year, month, day) * DAY_S < before_s) {
        int64_t first = days_from_civil(year, month, 1);
        uint32_t days = cron_days(c, year, month);
        for (int d = next_bit(days, day); d > 0; d = next_bit(days, d + 1)) {
            int at = next_time(c, d == day ? time_s : 0);
            if (at < 0)
                continue;
            *local_s = (first + d - 1) * DAY_S + at;
            return *local_s < before_s;
        }
        day = 1;
        time_s = 0;
        year += month == 12;
        month = month % 12 + 1;
    }
    return false;
}

/* ---- the next firing ---- */

/* How a firing at the clock's own time stands to a fold around it. */
static enum cron_how how_of(const struct cron *c, const struct zone *z, const struct zone_span *s, int64_t at_s, int64_t local_s)
{
    int64_t both[2];
    if (at_s - s->start_s > 2 * DAY_S && s->end_s - at_s > 2 * DAY_S)
        return CRON_PLAIN; /* no fold is so long */
    if (zone_instants(z, local_s, both) < 2)
        return CRON_PLAIN;
    return c->kind == CRON_TIMES_OF_DAY ? CRON_ONCE : CRON_TWICE;
}

/* The first firing from `from_s` on within a span. */
static bool next_in_span(const struct cron *c, const struct zone *z, const struct zone_span *s, int64_t from_s, struct cron_firing *out)
{
    int64_t missed_s = 0, local_s = 0, local_from_s = from_s + s->offset_s;
    /* Times from where the clock had come to where it is now were jumped over. */
    bool moved = c->kind != CRON_EVERY_HOUR && from_s == s->start_s && s->reached_s < local_from_s &&
                 cron_find_local(c, s->reached_s, local_from_s, &missed_s);
    /* And what is before where it had come has fired already. */
    if (c->kind == CRON_TIMES_OF_DAY && local_from_s < s->reached_s)
        local_from_s = s->reached_s;
    int64_t end_s = s->end_s < LAST_S ? s->end_s : LAST_S;
    bool found = cron_find_local(c, local_from_s, end_s + s->offset_s, &local_s);
    if (moved) {
        bool merged = found && local_s - s->offset_s == from_s;
        *out = (struct cron_firing){from_s, missed_s, merged ? CRON_MERGED : CRON_MOVED};
        return true;
    }
    if (found)
        *out = (struct cron_firing){local_s - s->offset_s, local_s, how_of(c, z, s, local_s - s->offset_s, local_s)};
    return found;
}

static bool next_by_fields(const struct cron *c, const struct zone *z, int64_t after_s, struct cron_firing *out)
{
    struct zone_span s;
    for (int64_t from_s = after_s + 1; from_s < LAST_S; from_s = s.end_s) {
        zone_span(z, from_s, &s);
        if (next_in_span(c, z, &s, from_s, out))
            return true;
    }
    return false;
}

/* The instant at which the local clock first shows a time or passes it. */
static int64_t instant_of(const struct zone *z, int64_t local_s, bool *exists)
{
    int64_t at[2];
    *exists = zone_instants(z, local_s, at) > 0;
    return at[0];
}

/* The first of start, start + period, start + 2 * period... that is after an instant. */
static int64_t step_after(int64_t start_s, int64_t period_s, int64_t after_s)
{
    return start_s > after_s ? start_s : start_s + ((after_s - start_s) / period_s + 1) * period_s;
}

static bool next_by_interval(const struct cron *c, const struct zone *z, int64_t after_s, struct cron_firing *out)
{
    bool exists;
    int64_t anchor_s = instant_of(z, INTERVAL_ANCHOR_LOCAL_S, &exists);
    if (after_s < anchor_s) /* it has gone on since ever */
        anchor_s -= ((anchor_s - after_s) / c->period_s + 1) * c->period_s;
    int64_t at_s = step_after(anchor_s, c->period_s, after_s);
    *out = (struct cron_firing){at_s, zone_local(z, at_s), CRON_PLAIN};
    return true;
}

static bool next_by_range(const struct cron *c, const struct zone *z, int64_t after_s, struct cron_firing *out)
{
    /* From the day before, whose range may go on after midnight; a day that is left out as a whole has no range of its own. */
    int64_t today = floor_div(zone_local(z, after_s), DAY_S);
    for (int64_t day = today - 1; day <= today + 3; day++) {
        bool exists, unused;
        int64_t local_s = day * DAY_S + c->start_s;
        int64_t start_s = instant_of(z, local_s, &exists), next_s = instant_of(z, local_s + DAY_S, &unused);
        int64_t end_s = instant_of(z, (c->end_s < c->start_s ? day + 1 : day) * DAY_S + c->end_s, &unused);
        int64_t at_s = step_after(start_s, c->period_s, after_s);
        if (at_s > end_s || at_s >= next_s)
            continue;
        bool moved = at_s == start_s && !exists;
        *out = (struct cron_firing){at_s, moved ? local_s : zone_local(z, at_s), moved ? CRON_MOVED : CRON_PLAIN};
        return true;
    }
    return false;
}

bool cron_next(const struct cron *c, const struct zone *z, int64_t after_s, struct cron_firing *out)
{
    bool found;
    if (after_s < FIRST_S)
        after_s = FIRST_S;
    if (after_s >= LAST_S)
        return false;
    if (c->kind == CRON_INTERVAL)
        found = next_by_interval(c, z, after_s, out);
    else if (c->kind == CRON_DAILY_RANGE)
        found = next_by_range(c, z, after_s, out);
    else
        found = next_by_fields(c, z, after_s, out);
    return found && out->at_s < LAST_S;
}

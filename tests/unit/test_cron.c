/** test_cron.c: schedules: what they mean, what they refuse, what clock changes make of them, and the words for them. */
#include "core/base/clock.h"
#include "schedules/cron.h"
#include "tests/support/unit.h"

#include <stdio.h>

#define FIRINGS_MAX 8

static struct zone *load(const char *name)
{
    struct err e;
    struct zone *z = NULL;
    if (zone_load(name, &z, &e))
        fail_msg("%s", e.msg);
    return z;
}

static struct cron *parse(const char *text)
{
    struct err e;
    struct cron *c = cron_parse(text, &e);
    if (!c)
        fail_msg("%s: %s", text, e.msg);
    return c;
}

static int64_t instant(const char *text)
{
    int64_t s;
    int32_t ns;
    struct err e;
    if (wall_parse_parts(text, strlen(text), &s, &ns, &e))
        fail_msg("%s", e.msg);
    return s;
}

/* ---- when it fires ---- */

struct firing_case {
    const char *schedule, *after;
    const char *want[FIRINGS_MAX]; /* the firings, up to the first NULL; local times of UTC without seconds and offset */
};

/* In UTC, where nothing but the calendar plays a role. 2026-01-01 is a Thursday. */
static const struct firing_case calendar[] = {
    {"* * * * *", "2026-01-01T00:00:00Z", {"2026-01-01T00:01", "2026-01-01T00:02"}},
    {"* * * * *", "2026-12-31T23:59:59Z", {"2027-01-01T00:00", "2027-01-01T00:01"}},
    {"*/15 * * * *", "2026-01-01T00:01:00Z", {"2026-01-01T00:15", "2026-01-01T00:30", "2026-01-01T00:45", "2026-01-01T01:00"}},
    {"*/7 * * * *", "2026-01-01T00:50:00Z", {"2026-01-01T00:56", "2026-01-01T01:00", "2026-01-01T01:07"}},
    {"3/20 0 * * *", "2026-01-01T00:00:00Z", {"2026-01-01T00:03", "2026-01-01T00:23", "2026-01-01T00:43", "2026-01-02T00:03"}},
    {"50-10/5 0 * * *", "2026-01-01T00:10:00Z", {"2026-01-01T00:50", "2026-01-01T00:55", "2026-01-02T00:00", "2026-01-02T00:05"}},
    {"0 22-2 * * *", "2026-01-01T02:00:00Z", {"2026-01-01T22:00", "2026-01-01T23:00", "2026-01-02T00:00", "2026-01-02T01:00"}},
    {"0 22-4/3 * * *", "2026-01-01T04:00:00Z", {"2026-01-01T22:00", "2026-01-02T01:00", "2026-01-02T04:00", "2026-01-02T22:00"}},
    {"0 0 1 NOV-FEB *", "2026-01-02T00:00:00Z", {"2026-02-01T00:00", "2026-11-01T00:00", "2026-12-01T00:00", "2027-01-01T00:00"}},
    {"0 9 * * MON-FRI", "2026-01-02T09:00:00Z", {"2026-01-05T09:00", "2026-01-06T09:00"}},
    {"0 9 * * fri-mon",
     "2026-01-01T00:00:00Z",
     {"2026-01-02T09:00", "2026-01-03T09:00", "2026-01-04T09:00", "2026-01-05T09:00", "2026-01-09T09:00"}},
    {"0 0 * * 7", "2026-01-01T00:00:00Z", {"2026-01-04T00:00", "2026-01-11T00:00"}},
    {"0 0 * * 0", "2026-01-01T00:00:00Z", {"2026-01-04T00:00", "2026-01-11T00:00"}},
    {"0 0 * * 5-7", "2026-01-01T00:00:00Z", {"2026-01-02T00:00", "2026-01-03T00:00", "2026-01-04T00:00", "2026-01-09T00:00"}},
    {"0 0 * * 7-1", "2026-01-01T00:00:00Z", {"2026-01-04T00:00", "2026-01-05T00:00", "2026-01-11T00:00"}},
    {"0 0 * * 1/2", "2026-01-01T00:00:00Z", {"2026-01-02T00:00", "2026-01-05T00:00", "2026-01-07T00:00", "2026-01-09T00:00"}},
    {"0 0 13 * FRI", "2026-01-10T00:00:00Z", {"2026-01-13T00:00", "2026-01-16T00:00", "2026-01-23T00:00"}},  /* either */
    {"0 0 */2 * MON", "2026-01-01T00:00:00Z", {"2026-01-05T00:00", "2026-01-19T00:00", "2026-02-09T00:00"}}, /* both */
    {"0 0 13 * */2", "2026-01-01T00:00:00Z", {"2026-01-13T00:00", "2026-06-13T00:00", "2026-08-13T00:00"}},  /* both: Sun Tue Thu Sat */
    {"0 0 ? * FRI", "2026-01-01T00:00:00Z", {"2026-01-02T00:00", "2026-01-09T00:00"}},
    {"0 0 13 * ?", "2026-01-01T00:00:00Z", {"2026-01-13T00:00", "2026-02-13T00:00"}},
    {"0 0 *,13 * FRI", "2026-01-01T00:00:00Z", {"2026-01-02T00:00", "2026-01-09T00:00"}}, /* begins with *: both */
    {"0 0 13,* * FRI", "2026-01-01T00:00:00Z", {"2026-01-02T00:00", "2026-01-03T00:00"}}, /* does not: either */
    {"0 0 L * *", "2028-01-31T00:00:00Z", {"2028-02-29T00:00", "2028-03-31T00:00", "2028-04-30T00:00"}},
    {"0 0 L-3 * *", "2026-01-01T00:00:00Z", {"2026-01-28T00:00", "2026-02-25T00:00"}},
    {"0 0 L-30 * *", "2026-01-02T00:00:00Z", {"2026-03-01T00:00", "2026-05-01T00:00"}},
    {"0 0 1,L * *", "2026-01-01T00:00:00Z", {"2026-01-31T00:00", "2026-02-01T00:00", "2026-02-28T00:00"}},
    {"0 0 LW * *", "2026-01-01T00:00:00Z", {"2026-01-30T00:00", "2026-02-27T00:00", "2026-03-31T00:00"}},
    {"0 0 15W * *", "2026-01-01T00:00:00Z", {"2026-01-15T00:00", "2026-02-16T00:00", "2026-03-16T00:00"}},
    {"0 0 1W * *", "2026-01-02T00:00:00Z", {"2026-02-02T00:00", "2026-03-02T00:00", "2026-04-01T00:00"}}, /* never in another month */
    {"0 0 1W 8 *", "2026-01-01T00:00:00Z", {"2026-08-03T00:00", "2027-08-02T00:00"}},
    {"0 0 31w * *", "2026-01-01T00:00:00Z", {"2026-01-30T00:00", "2026-03-31T00:00", "2026-05-29T00:00"}},
    {"0 0 * * FRIL", "2026-01-01T00:00:00Z", {"2026-01-30T00:00", "2026-02-27T00:00"}},
    {"0 0 * * 5l", "2026-01-01T00:00:00Z", {"2026-01-30T00:00", "2026-02-27T00:00"}},
    {"0 0 * * 7L", "2026-01-01T00:00:00Z", {"2026-01-25T00:00", "2026-02-22T00:00"}},
    {"0 0 * * MON#2", "2026-01-01T00:00:00Z", {"2026-01-12T00:00", "2026-02-09T00:00"}},
    {"0 0 * * 4#5", "2026-01-01T00:00:00Z", {"2026-01-29T00:00", "2026-04-30T00:00"}},
    {"0 0 * * MON#1,FRIL,3", "2026-01-26T00:00:00Z", {"2026-01-28T00:00", "2026-01-30T00:00", "2026-02-02T00:00", "2026-02-04T00:00"}},
    {"0 0 15 * MON#2", "2026-01-01T00:00:00Z", {"2026-01-12T00:00", "2026-01-15T00:00", "2026-02-09T00:00"}},
    {"0 0 29 2 *", "2026-01-01T00:00:00Z", {"2028-02-29T00:00", "2032-02-29T00:00"}},
    {"0 0 29 2 *", "2096-03-01T00:00:00Z", {"2104-02-29T00:00"}},
    {"0 0 */28 2 MON#5", "2026-01-01T00:00:00Z", {"2044-02-29T00:00", "2072-02-29T00:00", "2112-02-29T00:00"}},
    {"0 0 31 * *", "2026-01-31T00:00:00Z", {"2026-03-31T00:00", "2026-05-31T00:00"}},
    {"0 30 2 * * *", "2026-01-01T00:00:00Z", {"2026-01-01T02:30", "2026-01-02T02:30"}},
    {"  0\t12  *  * * ", "2026-01-01T00:00:00Z", {"2026-01-01T12:00", "2026-01-02T12:00"}},
    {"@yearly", "2026-01-01T00:00:00Z", {"2027-01-01T00:00"}},
    {"@annually", "2026-01-01T00:00:00Z", {"2027-01-01T00:00"}},
    {"@monthly", "2026-01-01T00:00:00Z", {"2026-02-01T00:00"}},
    {"@weekly", "2026-01-01T00:00:00Z", {"2026-01-04T00:00"}},
    {"@daily", "2026-01-01T00:00:00Z", {"2026-01-02T00:00"}},
    {"@midnight", "2026-01-01T00:00:00Z", {"2026-01-02T00:00"}},
    {"@Hourly ", "2026-01-01T00:00:00Z", {"2026-01-01T01:00"}},
    {"every 5 minutes", "2026-01-01T00:02:00Z", {"2026-01-01T00:05", "2026-01-01T00:10"}},
    {"every 1 minute", "2026-01-01T00:02:00Z", {"2026-01-01T00:03"}},
    {"every hour", "2026-01-01T00:02:00Z", {"2026-01-01T01:00", "2026-01-01T02:00"}},
    {"every 24 hours", "2026-01-01T00:00:00Z", {"2026-01-02T00:00", "2026-01-03T00:00"}},
    {"every 7 hours", "2000-01-01T00:00:00Z", {"2000-01-01T07:00", "2000-01-01T14:00", "2000-01-01T21:00", "2000-01-02T04:00"}},
    {"every 7 hours", "1999-12-31T10:00:00Z", {"1999-12-31T17:00", "2000-01-01T00:00"}},
    {"every 2 hours synchronized", "2026-01-01T21:00:00Z", {"2026-01-01T22:00", "2026-01-02T00:00", "2026-01-02T02:00"}},
    {"every 2 hours from 10:00 to 14:00",
     "2026-01-01T09:00:00Z",
     {"2026-01-01T10:00", "2026-01-01T12:00", "2026-01-01T14:00", "2026-01-02T10:00"}},
    {"every 45 mins from 10:00 to 11:00", "2026-01-01T09:00:00Z", {"2026-01-01T10:00", "2026-01-01T10:45", "2026-01-02T10:00"}},
    {"every 90 minutes from 22:00 to 01:00",
     "2026-01-01T00:00:00Z",
     {"2026-01-01T01:00", "2026-01-01T22:00", "2026-01-01T23:30", "2026-01-02T01:00"}},
    {"every 3 hours from 9:00 to 9:00", "2026-01-01T00:00:00Z", {"2026-01-01T09:00", "2026-01-02T09:00"}},
    {"every day 00:00", "2026-01-01T00:00:00Z", {"2026-01-02T00:00"}},
    {"Every Monday 09:00", "2026-01-01T00:00:00Z", {"2026-01-05T09:00", "2026-01-12T09:00"}},
    {"every mon,wed,fri 09:00", "2026-01-01T00:00:00Z", {"2026-01-02T09:00", "2026-01-05T09:00", "2026-01-07T09:00"}},
    {"2nd,third mon,wed,thu of march 17:00",
     "2026-01-01T00:00:00Z",
     {"2026-03-09T17:00", "2026-03-11T17:00", "2026-03-12T17:00", "2026-03-16T17:00", "2026-03-18T17:00", "2026-03-19T17:00",
      "2027-03-08T17:00"}},
    {"1st monday of sep,oct,nov 17:00",
     "2026-01-01T00:00:00Z",
     {"2026-09-07T17:00", "2026-10-05T17:00", "2026-11-02T17:00", "2027-09-06T17:00"}},
    {"1 of jan,april,july,oct 00:00", "2026-01-01T00:00:00Z", {"2026-04-01T00:00", "2026-07-01T00:00", "2026-10-01T00:00"}},
    {"1,15 of month 4:05", "2026-01-01T05:00:00Z", {"2026-01-15T04:05", "2026-02-01T04:05"}},
    {"first sunday of quarter 00:00", "2026-01-05T00:00:00Z", {"2026-04-05T00:00", "2026-07-05T00:00"}},
    {"every tue of 2nd,third month of quarter 12:00", "2026-01-30T00:00:00Z", {"2026-02-03T12:00", "2026-02-10T12:00"}},
    {"2nd day of month 06:00", "2026-01-01T00:00:00Z", {"2026-01-02T06:00", "2026-02-02T06:00"}},
    {"third fri 10:00", "2026-01-01T00:00:00Z", {"2026-01-16T10:00", "2026-02-20T10:00"}},
};

static void fires_by_the_calendar(void **state)
{
    struct zone *z = load("UTC");
    for (size_t i = 0; i < ARRAY_LEN(calendar); i++) {
        struct cron *c = parse(calendar[i].schedule);
        struct cron_firing f = {.at_s = instant(calendar[i].after)};
        for (size_t k = 0; k < FIRINGS_MAX && calendar[i].want[k]; k++) {
            char text[ZONE_TEXT_MAX], want[ZONE_TEXT_MAX];
            CASE_TRUE(calendar[i].schedule, cron_next(c, z, f.at_s, &f));
            snprintf(want, sizeof want, "%s:00+00:00", calendar[i].want[k]);
            CASE_STR(calendar[i].schedule, zone_format(z, f.at_s, text), want);
            CASE_INT(calendar[i].schedule, f.how, CRON_PLAIN);
            CASE_INT(calendar[i].schedule, f.local_s, f.at_s);
        }
        cron_free(c);
    }
    zone_unref(z);
}

static void fires_by_the_second(void **state)
{
    static const char *const want[] = {"2026-01-01T00:00:30+00:00", "2026-01-01T00:00:45+00:00", "2026-01-01T00:05:30+00:00"};
    struct zone *z = load("UTC");
    struct cron *c = parse("30,45 */5 * * * *");
    struct cron_firing f = {.at_s = instant("2026-01-01T00:00:00Z")};
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        char text[ZONE_TEXT_MAX];
        assert_true(cron_next(c, z, f.at_s, &f));
        assert_string_equal(zone_format(z, f.at_s, text), want[i]);
    }
    cron_free(c);
    zone_unref(z);
}

/* ---- the policy ---- */

static const char how_letters[] = {[CRON_PLAIN] = ' ', [CRON_MOVED] = 'v', [CRON_MERGED] = 'm', [CRON_ONCE] = '1', [CRON_TWICE] = '2'};

/* After each time a letter for how: v moved, m merged, 1 once, 2 twice. */
static const struct {
    const char *zone, *schedule, *after;
    const char *want[FIRINGS_MAX];
} changes[] = {
    /* times of the day in the gap: once, at its end */
    {"Europe/Berlin",
     "30 2 * * *",
     "2026-03-28T00:00:00Z",
     {"2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00v", "2026-03-30T02:30:00+02:00"}},
    {"Europe/Berlin", "0,20,40 2 * * *", "2026-03-28T12:00:00Z", {"2026-03-29T03:00:00+02:00v", "2026-03-30T02:00:00+02:00"}},
    {"Europe/Berlin",
     "30 2,3 * * *",
     "2026-03-28T12:00:00Z",
     {"2026-03-29T03:00:00+02:00v", "2026-03-29T03:30:00+02:00", "2026-03-30T02:30:00+02:00"}},
    {"Europe/Berlin", "0 2,3 * * *", "2026-03-28T12:00:00Z", {"2026-03-29T03:00:00+02:00m", "2026-03-30T02:00:00+02:00"}},
    {"Europe/Berlin",
     "0 */2 * * *",
     "2026-03-28T23:00:00Z",
     {"2026-03-29T03:00:00+02:00v", "2026-03-29T04:00:00+02:00", "2026-03-29T06:00:00+02:00"}},
    {"Europe/Berlin", "0 3 * * *", "2026-03-28T12:00:00Z", {"2026-03-29T03:00:00+02:00", "2026-03-30T03:00:00+02:00"}},
    {"Europe/Berlin", "59 1 * * *", "2026-03-28T12:00:00Z", {"2026-03-29T01:59:00+01:00", "2026-03-30T01:59:00+02:00"}},
    {"Europe/Berlin", "30 2 * * MON", "2026-03-28T12:00:00Z", {"2026-03-30T02:30:00+02:00"}},
    {"America/Santiago", "0 0 * * SUN", "2026-09-01T00:00:00Z", {"2026-09-06T01:00:00-03:00v", "2026-09-13T00:00:00-03:00"}},
    {"America/Santiago", "0 */12 * * *", "2026-09-05T17:00:00Z", {"2026-09-06T01:00:00-03:00v", "2026-09-06T12:00:00-03:00"}},
    {"Australia/Lord_Howe", "15 2 * * *", "2026-10-03T00:00:00Z", {"2026-10-04T02:30:00+11:00v", "2026-10-05T02:15:00+11:00"}},
    {"Pacific/Apia",
     "0 9 * * *",
     "2011-12-29T12:00:00Z",
     {"2011-12-29T09:00:00-10:00", "2011-12-31T00:00:00+14:00v", "2011-12-31T09:00:00+14:00"}},
    {"Pacific/Apia", "0 9 30 12 *", "2011-01-01T00:00:00Z", {"2011-12-31T00:00:00+14:00v", "2012-12-30T09:00:00+14:00"}},
    /* and in the fold: once, at the first of the two */
    {"Europe/Berlin", "30 2 * * *", "2026-10-24T12:00:00Z", {"2026-10-25T02:30:00+02:001", "2026-10-26T02:30:00+01:00"}},
    {"Europe/Berlin", "30 2 * * *", "2026-10-25T00:30:00Z", {"2026-10-26T02:30:00+01:00"}},
    {"Europe/Berlin", "30 2 * * *", "2026-10-25T00:29:59Z", {"2026-10-25T02:30:00+02:001", "2026-10-26T02:30:00+01:00"}},
    {"Europe/Berlin", "0 2,3 * * *", "2026-10-24T12:00:00Z", {"2026-10-25T02:00:00+02:001", "2026-10-25T03:00:00+01:00"}},
    {"Europe/Berlin", "0 */2 * * *", "2026-10-24T22:00:00Z", {"2026-10-25T02:00:00+02:001", "2026-10-25T04:00:00+01:00"}},
    {"America/New_York", "30 1 * * *", "2026-11-01T00:00:00Z", {"2026-11-01T01:30:00-04:001", "2026-11-02T01:30:00-05:00"}},
    {"Australia/Lord_Howe", "45 1 * * *", "2026-04-04T00:00:00Z", {"2026-04-05T01:45:00+11:001", "2026-04-06T01:45:00+10:30"}},
    {"Pacific/Kwajalein", "0 12 * * *", "1969-09-29T12:00:00Z", {"1969-09-30T12:00:00+11:001", "1969-10-01T12:00:00-12:00"}},
    /* every hour: by the clock */
    {"Europe/Berlin",
     "30 * * * *",
     "2026-03-28T23:59:00Z",
     {"2026-03-29T01:30:00+01:00", "2026-03-29T03:30:00+02:00", "2026-03-29T04:30:00+02:00"}},
    {"Europe/Berlin",
     "*/30 * * * *",
     "2026-03-29T00:00:00Z",
     {"2026-03-29T01:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-29T03:30:00+02:00"}},
    {"Europe/Berlin",
     "30 * * * *",
     "2026-10-24T23:30:00Z",
     {"2026-10-25T02:30:00+02:002", "2026-10-25T02:30:00+01:002", "2026-10-25T03:30:00+01:00"}},
    {"Europe/Berlin", "30 0-23 * * *", "2026-10-24T23:30:00Z", {"2026-10-25T02:30:00+02:002", "2026-10-25T02:30:00+01:002"}},
    {"Australia/Lord_Howe",
     "45 * * * *",
     "2026-04-04T14:00:00Z",
     {"2026-04-05T01:45:00+11:002", "2026-04-05T01:45:00+10:302", "2026-04-05T02:45:00+10:30"}},
    {"Pacific/Apia", "0 * 30 12 *", "2011-01-01T00:00:00Z", {"2012-12-30T00:00:00+14:00"}},
    /* within hours: both in the fold, once after the gap */
    {"Europe/Berlin", "*/30 2 * * *", "2026-03-28T12:00:00Z", {"2026-03-29T03:00:00+02:00v", "2026-03-30T02:00:00+02:00"}},
    {"Europe/Berlin",
     "*/30 1-2 * * *",
     "2026-03-29T00:00:00Z",
     {"2026-03-29T01:30:00+01:00", "2026-03-29T03:00:00+02:00v", "2026-03-30T01:00:00+02:00"}},
    {"Europe/Berlin", "*/30 2-3 * * *", "2026-03-28T12:00:00Z", {"2026-03-29T03:00:00+02:00m", "2026-03-29T03:30:00+02:00"}},
    {"Europe/Berlin",
     "*/30 2 * * *",
     "2026-10-24T12:00:00Z",
     {"2026-10-25T02:00:00+02:002", "2026-10-25T02:30:00+02:002", "2026-10-25T02:00:00+01:002", "2026-10-25T02:30:00+01:002",
      "2026-10-26T02:00:00+01:00"}},
    /* intervals: real time */
    {"Europe/Berlin", "every 2 hours", "2026-03-28T23:00:00Z", {"2026-03-29T03:00:00+02:00", "2026-03-29T05:00:00+02:00"}},
    {"Europe/Berlin", "every 24 hours", "2026-03-28T12:00:00Z", {"2026-03-29T00:00:00+01:00", "2026-03-30T01:00:00+02:00"}},
    {"Europe/Berlin", "every 2 hours synchronized", "2026-03-28T23:00:00Z", {"2026-03-29T03:00:00+02:00", "2026-03-29T05:00:00+02:00"}},
    {"Europe/Berlin",
     "every 12 hours synchronized",
     "2026-03-28T22:00:00Z",
     {"2026-03-29T00:00:00+01:00", "2026-03-29T13:00:00+02:00", "2026-03-30T00:00:00+02:00", "2026-03-30T12:00:00+02:00"}},
    {"Europe/Berlin",
     "every 12 hours synchronized",
     "2026-10-24T21:00:00Z",
     {"2026-10-25T00:00:00+02:00", "2026-10-25T11:00:00+01:00", "2026-10-25T23:00:00+01:00", "2026-10-26T00:00:00+01:00"}},
    {"Europe/Berlin",
     "every 30 minutes from 02:15 to 04:00",
     "2026-03-28T12:00:00Z",
     {"2026-03-29T03:00:00+02:00v", "2026-03-29T03:30:00+02:00", "2026-03-29T04:00:00+02:00", "2026-03-30T02:15:00+02:00"}},
    {"Pacific/Apia",
     "every 1 hours from 10:00 to 12:00",
     "2011-12-29T22:30:00Z",
     {"2011-12-31T00:00:00+14:00v", "2011-12-31T10:00:00+14:00"}},
    {"Pacific/Apia", "every 12 hours synchronized", "2011-12-29T22:30:00Z", {"2011-12-31T00:00:00+14:00", "2011-12-31T12:00:00+14:00"}},
};

static void keeps_to_the_policy(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
        struct zone *z = load(changes[i].zone);
        struct cron *c = parse(changes[i].schedule);
        struct cron_firing f = {.at_s = instant(changes[i].after)};
        for (size_t k = 0; k < FIRINGS_MAX && changes[i].want[k]; k++) {
            char text[ZONE_TEXT_MAX + 2];
            CASE_TRUE(changes[i].schedule, cron_next(c, z, f.at_s, &f));
            zone_format(z, f.at_s, text);
            size_t n = strlen(text);
            if (f.how != CRON_PLAIN)
                text[n++] = how_letters[f.how];
            text[n] = '\0';
            CASE_STR(changes[i].schedule, text, changes[i].want[k]);
        }
        cron_free(c);
        zone_unref(z);
    }
}

static void ends_with_the_years(void **state)
{
    struct cron_firing f;
    struct zone *z = load("Europe/Berlin");
    struct cron *c = parse("0 0 29 2 *"), *every = parse("every 5 minutes");
    assert_true(cron_next(c, z, INT64_MIN, &f));
    assert_true(f.at_s < instant("0005-01-01T00:00:00Z"));
    assert_true(cron_next(c, z, instant("9996-01-01T00:00:00Z"), &f));
    assert_false(cron_next(c, z, f.at_s, &f));
    assert_false(cron_next(c, z, INT64_MAX, &f));
    assert_false(cron_next(every, z, INT64_MAX, &f));
    assert_false(cron_next(every, z, instant("9999-12-31T23:59:00Z"), &f));
    cron_free(c);
    cron_free(every);
    zone_unref(z);
}

/* ---- what is refused ---- */

static const struct {
    const char *schedule, *says[3];
} refused[] = {
    {"", {"empty"}},
    {"   ", {"empty"}},
    {"* * * *", {"4 fields", "MINUTE HOUR DAY-OF-MONTH MONTH DAY-OF-WEEK"}},
    {"* * * * * * *", {"7 fields", "no field for years"}},
    {"hello", {"1 field;"}},
    {"60 * * * *", {"field 1 (minute), character 1: \"60\" is too large", "0-59"}},
    {"0 24 * * *", {"field 2 (hour), character 3: \"24\" is too large", "0-23"}},
    {"0 0 0 * *", {"field 3 (day of month), character 5: \"0\" is too small", "1-31"}},
    {"0 0 1,32 * *", {"field 3 (day of month), character 7: \"32\" is too large"}},
    {"0 0 * 13 *", {"field 4 (month), character 7: \"13\"", "JAN-DEC"}},
    {"0 0 * FOO *", {"field 4 (month), character 7: \"FOO\" is not understood"}},
    {"0 0 * JANUARY *", {"field 4 (month)"}},
    {"0 0 * * 8", {"field 5 (day of week), character 9: \"8\" is too large", "0-7 (0 and 7 are Sunday)"}},
    {"60 0 0 * * *", {"field 1 (second), character 1: \"60\""}},
    {"0 0 0 * * 8", {"field 6 (day of week), character 11"}},
    {"*/0 * * * *", {"field 1 (minute), character 2: \"/0\" is no step here: steps of this field are 1-60"}},
    {"*/61 * * * *", {"\"/61\" is no step here"}},
    {"0 */25 * * *", {"field 2 (hour)", "1-24"}},
    {"*/ * * * *", {"lacks the number of its step"}},
    {"1- * * * *", {"character 3: \"\" lacks a value"}},
    {"1, * * * *", {"character 3: \"\" lacks a value"}},
    {",1 * * * *", {"character 1: \"\" lacks a value"}},
    {"1-2-3 * * * *", {"\"1-2-3\" is not understood"}},
    {"1x * * * *", {"\"1x\" is not understood"}},
    {"? * * * *", {"field 1 (minute), character 1: \"?\" is not understood"}},
    {"-5 * * * *", {"\"-5\" is not understood"}},
    {"99999999999 * * * *", {"is too large"}},
    {"0 0 28-3 * *", {"field 3 (day of month), character 5: \"28-3\" runs over the end of the month", "28-31,1-3"}},
    {"0 0 L-31 * *", {"L-1 to L-30"}},
    {"0 0 L-3W * *", {"is not understood"}},
    {"0 0 1-5W * *", {"is not understood"}},
    {"0 0 W * *", {"is not understood"}},
    {"0 0 * * L", {"field 5 (day of week)", "does not say which day", "FRIL or 5L"}},
    {"0 0 * * MON#6", {"\"MON#6\" is not understood", "1-5"}},
    {"0 0 * * MON#", {"is not understood"}},
    {"0 0 * * MON-FRI#1", {"is not understood"}},
    {"0 0 * L *", {"field 4 (month)"}},
    {"0 0 30 2 *", {"\"0 0 30 2 *\" would never fire"}},
    {"0 0 31 2,4,6,9,11 *", {"would never fire"}},
    {"0 0 31W 2 *", {"would never fire"}},
    {"@reboot", {"character 1: \"@reboot\" is not known", "@hourly"}},
    {"@daily 5", {"is not known"}},
    {"every", {"character 6: \"\" stands where \"day\" or a day of the week is wanted"}},
    {"every 5", {"\"hours\" or \"minutes\""}},
    {"every 0 minutes", {"a number from 1 to 99999"}},
    {"every 100000 minutes", {"a number from 1 to 99999"}},
    {"every 5 parsecs", {"character 9: \"parsecs\""}},
    {"every 5 minutes or so", {"character 17: \"or\""}},
    {"every 5 minutes from 10:00", {"\"to\" is wanted"}},
    {"every 5 minutes from 10:00 to 25:00", {"character 31: \"25:00\" stands where a time such as 09:00 is wanted"}},
    {"every 5 minutes from 10:00 to 11:00 daily", {"\"daily\" stands where the end is wanted"}},
    {"every 7 hours synchronized", {"character 9: \"hours synchronized\"", "divide 24 hours evenly"}},
    {"every 48 hours synchronized", {"divide 24 hours evenly"}},
    {"every fridy 09:00", {"character 7: \"fridy\" stands where"}},
    {"every monday", {"character 13: \"\" stands where a time"}},
    {"every monday 9:5", {"a time such as 09:00"}},
    {"every monday 09:60", {"a time such as 09:00"}},
    {"every monday of smarch 09:00", {"\"smarch\" stands where a month"}},
    {"every monday 09:00 please", {"the end"}},
    {"6th monday 09:00", {"character 1: \"6th\""}},
    {"1st,2 monday 09:00", {"a day of the week"}},
    {"1 09:00", {"\"of\" and a month"}},
    {"32 of jan 09:00", {"character 1: \"32\""}},
    {"31 of feb 09:00", {"would never fire"}},
    {"4th month of quarter 09:00", {"a day of the week"}},
    {"1 of 4th month of quarter 09:00", {"the first to the third month"}},
};

static void refuses_and_says_why(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        struct err e = {0};
        CASE_TRUE(refused[i].schedule, cron_parse(refused[i].schedule, &e) == NULL);
        CASE_INT(refused[i].schedule, e.code, ERR_INVALID_ARGUMENT);
        for (size_t k = 0; k < ARRAY_LEN(refused[i].says) && refused[i].says[k]; k++)
            if (!strstr(e.msg, refused[i].says[k]))
                fail_msg("\"%s\": \"%s\" does not say \"%s\"", refused[i].schedule, e.msg, refused[i].says[k]);
    }
    char longer[CRON_TEXT_MAX + 2];
    struct err e = {0};
    memset(longer, '1', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_null(cron_parse(longer, &e));
    assert_non_null(strstr(e.msg, "longer than 500 bytes"));
}

/* ---- in words ---- */

static const struct {
    const char *schedule, *words;
} described[] = {
    {"* * * * *", "Every minute"},
    {"*/5 * * * *", "Every 5 minutes"},
    {"*/7 * * * *", "At minutes 0, 7, 14 and so on up to 56 of every hour"},
    {"0 * * * *", "Every hour"},
    {"30 * * * *", "At minute 30 of every hour"},
    {"5,20,35 * * * *", "At minutes 5, 20 and 35 of every hour"},
    {"0-10 * * * *", "At minutes 0 through 10 of every hour"},
    {"0 9 * * *", "At 09:00 every day"},
    {"0 9 * * MON-FRI", "At 09:00 on Monday through Friday"},
    {"0 9 * * FRI-MON", "At 09:00 on Friday through Monday"},
    {"0 9 * * 0", "At 09:00 on Sunday"},
    {"0 9 * * SAT,SUN", "At 09:00 on Saturday and Sunday"},
    {"0 9 * * MON,WED,FRI", "At 09:00 on Monday, Wednesday and Friday"},
    {"0 9,12 * * *", "At 09:00 and 12:00 every day"},
    {"0,30 9,12 1 * *", "At 09:00, 09:30, 12:00 and 12:30 on day 1 of the month"},
    {"*/5 9-17 * * MON-FRI", "Every 5 minutes from 09:00 to 17:55 on Monday through Friday"},
    {"*/5 22-2 * * *", "Every 5 minutes from 22:00 to 02:55"},
    {"0 */2 * * *", "Every 2 hours from 00:00 to 22:00"},
    {"15 */3 * * *", "Every 3 hours from 00:15 to 21:15"},
    {"0 */5 * * *", "At 00:00, 05:00, 10:00, 15:00 and 20:00 every day"},
    {"*/10 9,11,17 * * *", "Every 10 minutes past hours 9, 11 and 17"},
    {"0 0 1,15 * *", "At 00:00 on days 1 and 15 of the month"},
    {"0 0 L * *", "At 00:00 on the last day of the month"},
    {"0 0 L-3 * *", "At 00:00 on the day 3 days before the last of the month"},
    {"0 0 LW * *", "At 00:00 on the last of Monday to Friday in the month"},
    {"0 0 15W * *", "At 00:00 on the day of Monday to Friday nearest to day 15 of the month"},
    {"0 0 * * MON#2", "At 00:00 on the second Monday of the month"},
    {"0 0 * * MON#1,MON#3", "At 00:00 on the first and third Monday of the month"},
    {"0 0 * * FRIL", "At 00:00 on the last Friday of the month"},
    {"0 0 13 * FRI", "At 00:00 on day 13 of the month, and also on Friday"},
    {"0 0 */2 * MON", "At 00:00 on days 1, 3, 5 and so on up to 31 of the month, but only if it is Monday"},
    {"0 0 * 1,7 *", "At 00:00 every day in January and July"},
    {"0 0 1 JUN-AUG *", "At 00:00 on day 1 of the month in June through August"},
    {"*/10 * * * * *", "Every 10 seconds of the minute, every minute"},
    {"30 0 9 * * *", "At second 30 of the minute, at 09:00 every day"},
    {"@weekly", "At 00:00 on Sunday"},
    {"every 5 minutes", "Every 5 minutes of real time"},
    {"every 60 minutes", "Every hour of real time"},
    {"every 12 hours", "Every 12 hours of real time"},
    {"every 2 hours synchronized", "Every 2 hours of real time, counted each day from 00:00 to 23:59"},
    {"every 30 minutes from 22:00 to 01:30", "Every 30 minutes of real time, counted each day from 22:00 to 01:30 of the next day"},
    {"1st monday of sep 17:00", "At 17:00 on the first Monday of the month in September"},
};

static void says_it_in_words(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(described); i++) {
        struct buf b;
        struct cron *c = parse(described[i].schedule);
        buf_init(&b, 4096);
        CASE_INT(described[i].schedule, cron_describe(c, &b), 0);
        CASE_STR(described[i].schedule, buf_cstr(&b), described[i].words);
        buf_fini(&b);
        buf_init(&b, 5); /* no room: nothing half-said */
        CASE_INT(described[i].schedule, cron_describe(c, &b), -ERR_RESOURCE_EXHAUSTED);
        CASE_INT(described[i].schedule, buf_len(&b), 0);
        buf_fini(&b);
        cron_free(c);
    }
}

static const struct {
    const char *zone, *schedule, *from, *end;
} explained[] = {
    {"Europe/Berlin", "30 2 * * *", "2026-01-01T00:00:00Z",
     "in Europe/Berlin. On Sunday 29 March 2026 at 02:00 the clocks go forward to 03:00 (from +01:00 to +02:00); 02:30 does not exist then, so it "
     "fires at 03:00."},
    {"Europe/Berlin", "30 2 * * *", "2026-05-01T00:00:00Z",
     "On Sunday 25 October 2026 at 03:00 the clocks go back to 02:00 (from +02:00 to +01:00); 02:30 comes twice then, and it fires only at the first."},
    {"Europe/Berlin", "0,30 2 * * *", "2026-01-01T00:00:00Z",
     "; 02:00 and its other times in between do not exist then: for all of them it fires once, at 03:00."},
    {"Europe/Berlin", "*/5 * * * *", "2026-01-01T00:00:00Z",
     "; it goes by the clock, so nothing fires for the times that do not exist then."},
    {"Europe/Berlin", "*/5 * * * *", "2026-05-01T00:00:00Z", "; 02:00 and its other times up to then come twice, and it fires both times."},
    {"Europe/Berlin", "0 9 * * *", "2026-05-01T00:00:00Z", ", which touches none of its times."},
    {"Europe/Berlin", "every 5 minutes", "2026-05-01T00:00:00Z", ", which changes nothing: what is counted is real time."},
    {"Pacific/Apia", "0 9 * * *", "2011-12-01T00:00:00Z",
     "On Friday 30 December 2011 at 00:00 the clocks go forward to 00:00 on Saturday 31 December 2011 (from -10:00 to +14:00); 09:00 does not "
     "exist then, so it fires at 00:00."},
    {"Asia/Tokyo", "0 9 * * *", "2026-05-01T00:00:00Z", "At 09:00 every day, in Asia/Tokyo. The clocks do not change there."},
};

static void explains_the_next_clock_change(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(explained); i++) {
        struct buf b;
        struct zone *z = load(explained[i].zone);
        struct cron *c = parse(explained[i].schedule);
        buf_init(&b, 4096);
        CASE_INT(explained[i].schedule, cron_explain(c, z, instant(explained[i].from), &b), 0);
        size_t n = strlen(explained[i].end);
        CASE_TRUE(explained[i].schedule, buf_len(&b) >= n);
        CASE_STR(explained[i].schedule, buf_cstr(&b) + buf_len(&b) - n, explained[i].end);
        buf_fini(&b);
        cron_free(c);
        zone_unref(z);
    }
}

static const struct {
    const char *zone, *schedule, *after, *note;
} noted[] = {
    {"Europe/Berlin", "30 2 * * *", "2026-03-28T12:00:00Z", "for 02:30, which does not exist"},
    {"Europe/Berlin", "0 2,3 * * *", "2026-03-28T12:00:00Z", "also for 02:00, which does not exist"},
    {"Pacific/Apia", "0 9 * * *", "2011-12-30T00:00:00Z", "for 09:00 on Friday 30 December 2011, which does not exist"},
    {"Europe/Berlin", "30 2 * * *", "2026-10-24T12:00:00Z", "the first 02:30 of two, and the only one"},
    {"Europe/Berlin", "30 * * * *", "2026-10-25T00:00:00Z", "the first 02:30 of two"},
    {"Europe/Berlin", "30 * * * *", "2026-10-25T00:30:00Z", "the second 02:30 of two"},
    {"Europe/Berlin", "30 * * * *", "2026-10-25T02:00:00Z", ""},
};

static void explains_a_firing(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(noted); i++) {
        struct buf b;
        struct cron_firing f;
        struct zone *z = load(noted[i].zone);
        struct cron *c = parse(noted[i].schedule);
        buf_init(&b, 4096);
        CASE_TRUE(noted[i].schedule, cron_next(c, z, instant(noted[i].after), &f));
        CASE_INT(noted[i].schedule, cron_explain_firing(z, &f, &b), 0);
        CASE_STR(noted[i].schedule, buf_cstr(&b), noted[i].note);
        buf_fini(&b);
        cron_free(c);
        zone_unref(z);
    }
}

static void out_of_memory_is_told(void **state)
{
    struct err e = {0};
    support_fail_alloc(1);
    assert_null(cron_parse("* * * * *", &e));
    assert_true(support_alloc_failed());
    assert_int_equal(e.code, ERR_RESOURCE_EXHAUSTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fires_by_the_calendar),
        cmocka_unit_test(fires_by_the_second),
        cmocka_unit_test(keeps_to_the_policy),
        cmocka_unit_test(ends_with_the_years),
        cmocka_unit_test(refuses_and_says_why),
        cmocka_unit_test(says_it_in_words),
        cmocka_unit_test(explains_the_next_clock_change),
        cmocka_unit_test(explains_a_firing),
        cmocka_unit_test(out_of_memory_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

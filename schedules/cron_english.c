/* cron_english.c: the schedules of App Engine's cron.yaml, which Cloud Scheduler still takes:
 *     every N hours|minutes|mins [from TIME to TIME | synchronized]
 *     every|ORDINALS day|WEEKDAYS [of MONTHS] TIME
 *     DAYS of MONTHS TIME
 * where ORDINALS are 1st or first to 5th or fifth, MONTHS also `month`, `quarter` or `1st,3rd month of quarter`, TIME is HH:MM. Lists have
 * commas, and case does not matter. Ours beyond Google's grammar: `every minute`, `every 1 hour`. */
#include "schedules/cron_int.h"

#include <ctype.h>
#include <strings.h>

#define INTERVAL_MAX 99999

static const char *const ordinals[] = {"1st", "first", "2nd", "second", "3rd", "third", "4th", "fourth", "5th", "fifth"};

static void skip_space(struct cron_text *t) { t->p += strspn(t->p, " \t"); }

/* The word at hand: up to a space or a comma; a comma is a word. */
static struct str peek(struct cron_text *t)
{
    skip_space(t);
    size_t n = *t->p == ',' ? 1 : strcspn(t->p, " \t,");
    return (struct str){t->p, n};
}

static bool take(struct cron_text *t, const char *word)
{
    struct str have = peek(t);
    if (!str_ieq(have, str_of(word)))
        return false;
    t->p += have.n;
    return true;
}

static bool at(struct cron_text *t, const char *word) { return str_ieq(peek(t), str_of(word)); }

static int wanted(struct cron_text *t, const char *what)
{
    struct str have = peek(t);
    return cron_bad(t, NULL, have.p, have.n, "stands where %s is wanted", what);
}

static bool take_ordinal(struct cron_text *t, int *n)
{
    for (size_t i = 0; i < ARRAY_LEN(ordinals); i++)
        if (take(t, ordinals[i])) {
            *n = (int)i / 2 + 1;
            return true;
        }
    return false;
}

/* "mon" or "monday", "jan" or "january": the number in the table. */
static bool take_name(struct cron_text *t, const char *const *names, int count, int *n)
{
    struct str have = peek(t);
    int i = have.n >= 3 ? cron_name(have.p, names, count) : -1;
    if (i < 0 || (have.n != 3 && !str_ieq(have, str_of(names[i]))))
        return false;
    t->p += have.n;
    *n = i;
    return true;
}

static bool take_number(struct cron_text *t, int max, int *n)
{
    struct str have = peek(t);
    *n = 0;
    for (size_t i = 0; i < have.n; i++) {
        if (!isdigit((unsigned char)have.p[i]) || (*n = *n * 10 + (have.p[i] - '0')) > max)
            return false;
    }
    if (have.n)
        t->p += have.n;
    return have.n > 0;
}

/* HH:MM or H:MM, in seconds from midnight */
static int take_time(struct cron_text *t, int32_t *out)
{
    static const char *const digits = "0123456789";
    struct str have = peek(t);
    size_t hour_digits = have.n ? strspn(have.p, digits) : 0;
    int hour = 0, minute = 0;
    for (size_t i = 0; i < hour_digits && i < 2; i++)
        hour = hour * 10 + (have.p[i] - '0');
    bool ok = (hour_digits == 1 || hour_digits == 2) && have.n == hour_digits + 3 && have.p[hour_digits] == ':' &&
              strspn(have.p + hour_digits + 1, digits) == 2;
    if (ok)
        minute = (have.p[hour_digits + 1] - '0') * 10 + (have.p[hour_digits + 2] - '0');
    if (!ok || hour > 23 || minute > 59)
        return wanted(t, "a time such as 09:00");
    t->p += have.n;
    *out = hour * 3600 + minute * 60;
    return 0;
}

/* ---- intervals ---- */

static int take_period(struct cron_text *t, struct cron *c, int n)
{
    if (take(t, "hours") || take(t, "hour"))
        c->period_s = n * INT64_C(3600);
    else if (take(t, "minutes") || take(t, "mins") || take(t, "minute") || take(t, "min"))
        c->period_s = n * INT64_C(60);
    else
        return wanted(t, "\"hours\" or \"minutes\"");
    return 0;
}

static int take_interval(struct cron_text *t, struct cron *c, int n)
{
    const char *from = peek(t).p;
    int rc = take_period(t, c, n);
    if (rc)
        return rc;
    c->kind = CRON_INTERVAL;
    if (take(t, "synchronized")) {
        if (DAY_S % c->period_s)
            return cron_bad(t, NULL, from, (size_t)(t->p - from), "cannot be kept: synchronized periods divide 24 hours evenly");
        c->synchronized = true;
        c->end_s = 23 * 3600 + 59 * 60;
    } else if (take(t, "from")) {
        if ((rc = take_time(t, &c->start_s)))
            return rc;
        if (!take(t, "to"))
            return wanted(t, "\"to\"");
        if ((rc = take_time(t, &c->end_s)))
            return rc;
    } else {
        return peek(t).n ? wanted(t, "\"from\", \"synchronized\" or the end") : 0;
    }
    c->kind = CRON_DAILY_RANGE;
    return peek(t).n ? wanted(t, "the end") : 0;
}

/* ---- times of days ---- */

static int take_months(struct cron_text *t, struct cron *c)
{
    int n;
    c->months = 0;
    if (take(t, "month")) {
        c->months = MONTHS_ALL;
    } else if (take(t, "quarter")) {
        c->months = 1u << 1 | 1u << 4 | 1u << 7 | 1u << 10;
    } else if (take_ordinal(t, &n)) {
        do {
            if (n > 3)
                return wanted(t, "the first to the third month of a quarter");
            c->months |= (1u << 1 | 1u << 4 | 1u << 7 | 1u << 10) << (n - 1);
        } while (take(t, ",") && take_ordinal(t, &n));
        if (!take(t, "month") || !take(t, "of") || !take(t, "quarter"))
            return wanted(t, "\"month of quarter\"");
    } else {
        do {
            if (!take_name(t, cron_months, 12, &n))
                return wanted(t, "a month, \"month\" or \"quarter\"");
            c->months |= 1u << (n + 1);
        } while (take(t, ","));
    }
    return 0;
}

/* `which`: bits 1 to 5, or 0 for every. */
static int take_weekdays(struct cron_text *t, struct cron *c, unsigned which)
{
    uint8_t days = 0;
    int n;
    if (take(t, "day")) { /* the second day is one of the month */
        c->days = which ? which : DAYS_ALL;
        c->days_star = !which;
        c->weekdays = WEEKDAYS_ALL;
        c->weekdays_star = true;
        return 0;
    }
    do {
        if (!take_name(t, cron_weekdays, 7, &n))
            return wanted(t, "\"day\" or a day of the week");
        days |= (uint8_t)(1u << n);
    } while (take(t, ","));
    c->days = DAYS_ALL;
    c->days_star = true;
    c->weekdays = which ? 0 : days;
    for (int i = 0; i < 5; i++)
        c->nth_weekdays[i] = which >> (i + 1) & 1 ? days : 0;
    return 0;
}

static int take_days_of_month(struct cron_text *t, struct cron *c)
{
    int n;
    do {
        if (!take_number(t, 31, &n) || n == 0)
            return wanted(t, "\"every\", an ordinal such as 1st, or a day of the month");
        c->days |= 1u << n;
    } while (take(t, ","));
    c->weekdays = WEEKDAYS_ALL;
    c->weekdays_star = true;
    return at(t, "of") ? 0 : wanted(t, "\"of\" and a month");
}

static int take_days(struct cron_text *t, struct cron *c, bool every)
{
    unsigned which = 0;
    int n;
    if (every)
        return take_weekdays(t, c, 0);
    if (!take_ordinal(t, &n))
        return take_days_of_month(t, c);
    do
        which |= 1u << n;
    while (take(t, ",") && take_ordinal(t, &n));
    return take_weekdays(t, c, which);
}

static int take_times_of_days(struct cron_text *t, struct cron *c, bool every)
{
    int32_t time_s = 0;
    int rc = take_days(t, c, every);
    c->kind = CRON_TIMES_OF_DAY;
    c->months = MONTHS_ALL;
    if (!rc && take(t, "of"))
        rc = take_months(t, c);
    if (rc || (rc = take_time(t, &time_s)))
        return rc;
    c->seconds = 1;
    c->minutes = UINT64_C(1) << time_s / 60 % 60;
    c->hours = 1u << time_s / 3600;
    return peek(t).n ? wanted(t, "the end") : 0;
}

int cron_parse_english(struct cron_text *t, struct cron *c)
{
    int n;
    bool every = take(t, "every");
    if (every && (at(t, "minute") || at(t, "hour")))
        return take_interval(t, c, 1);
    if (every && isdigit((unsigned char)*peek(t).p)) {
        if (!take_number(t, INTERVAL_MAX, &n) || n == 0)
            return wanted(t, "a number from 1 to 99999");
        return take_interval(t, c, n);
    }
    return take_times_of_days(t, c, every);
}

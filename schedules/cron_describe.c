/* cron_describe.c: a schedule in words. What cannot be said shortly is listed: the words are never less exact than the fields. */
#include "schedules/cron_int.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>

#define TIMES_LISTED_MAX 6

/* Everything is added to one buffer; what did not fit is told at the end. */
struct words {
    struct buf *b;
    int rc;
};

FMT(2, 3) static void say(struct words *w, const char *fmt, ...)
{
    char text[200];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (!w->rc)
        w->rc = buf_addz(w->b, text);
}

/* ---- sets ---- */

static int count(uint64_t set) { return __builtin_popcountll(set); }
static int first(uint64_t set) { return __builtin_ctzll(set); }
static int last(uint64_t set) { return 63 - __builtin_clzll(set); }
static bool is_run(uint64_t set) { return count(set) == last(set) - first(set) + 1; }

/* The step of 0, n, 2n... up to the end of `size` values, which n divides; else 0. */
static int step_of(uint64_t set, int size)
{
    if (!(set & 1) || count(set) < 2)
        return 0;
    int step = first(set & ~UINT64_C(1));
    uint64_t want = 0;
    for (int i = 0; i < size; i += step)
        want |= UINT64_C(1) << i;
    return size % step == 0 && set == want ? step : 0;
}

/* Between items of a list: nothing, a comma, or the last word. */
static const char *between(int i, int n, const char *and) { return i == 0 ? "" : i + 1 == n ? and : ", "; }

/* The distance of the values of an even row of five and more; else 0. */
static int even_step(uint64_t set)
{
    int from = first(set), step = first(set & (set - 1)) - from;
    uint64_t want = 0;
    for (int v = from; v <= last(set); v += step)
        want |= UINT64_C(1) << v;
    return set == want ? step : 0;
}

/* "1, 3 and 5", "10 through 20" for three and more in a row, "1, 3, 5 and so on up to 31" for five and more; `number` writes one. */
static void say_set(struct words *w, uint64_t set, void (*number)(struct words *w, int v))
{
    int n = count(set), i = 0;
    if (is_run(set) && n > 2) {
        number(w, first(set));
        say(w, " through ");
        number(w, last(set));
        return;
    }
    bool row = n >= 5 && even_step(set);
    for (uint64_t rest = set; rest && !(row && i == 3); rest &= rest - 1, i++) {
        say(w, "%s", row && i ? ", " : between(i, n, " and "));
        number(w, first(rest));
    }
    if (row) {
        say(w, " and so on up to ");
        number(w, last(set));
    }
}

static void say_number(struct words *w, int v) { say(w, "%d", v); }
static void say_month(struct words *w, int v) { say(w, "%s", cron_months[v - 1]); }
static void say_weekday(struct words *w, int v) { say(w, "%s", cron_weekdays[v % 7]); }

/* ---- days ---- */

/* Monday first, and a run over Saturday and Sunday is a run. */
static void say_weekdays(struct words *w, unsigned days)
{
    unsigned doubled = days | days << 7;
    for (int from = 0; from < 7 && count(days) > 2; from++) {
        unsigned run = ((1u << count(days)) - 1) << from;
        if ((doubled & run) != run)
            continue;
        say(w, "%s through %s", cron_weekdays[from], cron_weekdays[(from + count(days) - 1) % 7]);
        return;
    }
    say_set(w, (days & ~1u) | (days & 1u) << 7, say_weekday);
}

static void say_ordinal(struct words *w, int n)
{
    static const char *const names[] = {"first", "second", "third", "fourth", "fifth"};
    say(w, "%s", names[n]);
}

/* The days of the week, with what # and L say. */
static void say_by_week(struct words *w, const struct cron *c)
{
    bool more = false;
    if (c->weekdays) {
        say_weekdays(w, c->weekdays);
        more = true;
    }
    for (int i = 0; i < 5; i++) {
        unsigned days = c->nth_weekdays[i];
        uint64_t which = 0; /* those of the same days are told together */
        bool told = false;
        for (int k = 0; k < 5; k++) {
            which |= (uint64_t)(c->nth_weekdays[k] == days) << k;
            told = told || (k < i && c->nth_weekdays[k] == days);
        }
        if (!days || told)
            continue;
        say(w, "%sthe ", more ? " and " : "");
        say_set(w, which, say_ordinal);
        say(w, " ");
        say_weekdays(w, days);
        say(w, " of the month");
        more = true;
    }
    if (c->last_weekdays) {
        say(w, "%sthe last ", more ? " and " : "");
        say_weekdays(w, c->last_weekdays);
        say(w, " of the month");
    }
}

static void say_days_before_last(struct words *w, int back)
{
    if (back == 0)
        say(w, "the last day of the month");
    else
        say(w, "the day %d day%s before the last of the month", back, back == 1 ? "" : "s");
}

static void say_by_month(struct words *w, const struct cron *c)
{
    const char *more = "";
    if (c->days) {
        say(w, "day%s ", count(c->days) > 1 ? "s" : "");
        say_set(w, c->days, say_number);
        say(w, " of the month");
        more = " and ";
    }
    for (uint32_t rest = c->from_last; rest; rest &= rest - 1) {
        say(w, "%s", more);
        say_days_before_last(w, first(rest));
        more = " and ";
    }
    if (c->nearest) {
        say(w, "%sthe day of Monday to Friday nearest to day ", more);
        say_set(w, c->nearest, say_number);
        say(w, " of the month");
        more = " and ";
    }
    if (c->last_workday)
        say(w, "%sthe last of Monday to Friday in the month", more);
}

/* `daily`: whether "every day" is to be said where nothing limits the days. */
static void say_days(struct words *w, const struct cron *c, bool daily)
{
    bool any_day = c->days == DAYS_ALL, any_weekday = c->weekdays == WEEKDAYS_ALL;
    bool both = c->days_star || c->weekdays_star;
    if (both ? any_day && any_weekday : any_day || any_weekday) {
        say(w, "%s", daily ? " every day" : "");
        return;
    }
    say(w, " on ");
    if (both && any_day) {
        say_by_week(w, c);
    } else if (both && any_weekday) {
        say_by_month(w, c);
    } else {
        say_by_month(w, c);
        say(w, both ? ", but only if it is " : ", and also on ");
        say_by_week(w, c);
    }
}

static void say_months(struct words *w, const struct cron *c)
{
    if (c->months == MONTHS_ALL)
        return;
    say(w, " in ");
    say_set(w, c->months, say_month);
}

/* ---- times ---- */

static void say_time(struct words *w, int hour, int minute) { say(w, "%02d:%02d", hour, minute); }

/* Every hour and minute that is meant, one by one. */
static void say_times(struct words *w, const struct cron *c, int n)
{
    int i = 0;
    say(w, "At ");
    for (uint64_t hours = c->hours; hours; hours &= hours - 1)
        for (uint64_t minutes = c->minutes; minutes; minutes &= minutes - 1, i++) {
            say(w, "%s", between(i, n, " and "));
            say_time(w, first(hours), first(minutes));
        }
}

/* "from 09:00 to 17:55": the hours that are one run, also over midnight. */
static void say_hours(struct words *w, const struct cron *c)
{
    int n = count(c->hours);
    uint64_t doubled = c->hours | (uint64_t)c->hours << 24;
    for (int from = 0; from < 24; from++) {
        uint64_t run = ((UINT64_C(1) << n) - 1) << from;
        if ((doubled & run) != run)
            continue;
        say(w, " from ");
        say_time(w, from, first(c->minutes));
        say(w, " to ");
        say_time(w, (from + n - 1) % 24, last(c->minutes));
        return;
    }
    say(w, " past hour%s ", n > 1 ? "s" : "");
    say_set(w, c->hours, say_number);
}

static void say_minutes(struct words *w, const struct cron *c)
{
    int step = step_of(c->minutes, 60);
    if (step == 1)
        say(w, "Every minute");
    else if (step)
        say(w, "Every %d minutes", step);
    else if (c->minutes == 1 && c->kind == CRON_EVERY_HOUR)
        say(w, "Every hour");
    else {
        say(w, "At minute%s ", count(c->minutes) > 1 ? "s" : "");
        say_set(w, c->minutes, say_number);
        say(w, "%s", c->kind == CRON_EVERY_HOUR ? " of every hour" : "");
    }
}

/* True when times of the day were said, so that "every day" completes them. */
static bool say_clock(struct words *w, const struct cron *c)
{
    int n = count(c->hours) * count(c->minutes), step = step_of(c->hours, 24);
    if (n <= TIMES_LISTED_MAX) {
        say_times(w, c, n);
        return true;
    }
    if (c->kind == CRON_EVERY_HOUR || step <= 1 || count(c->minutes) > 1) {
        say_minutes(w, c);
        if (c->kind != CRON_EVERY_HOUR)
            say_hours(w, c);
        return false;
    }
    say(w, "Every %d hours from ", step);
    say_time(w, 0, first(c->minutes));
    say(w, " to ");
    say_time(w, last(c->hours), first(c->minutes));
    return false;
}

/* Before the rest of the sentence; nothing for the seconds of five fields. */
static void say_seconds(struct words *w, const struct cron *c)
{
    int step = step_of(c->seconds, 60);
    if (c->seconds == 1)
        return;
    if (step == 1)
        say(w, "Every second of the minute, ");
    else if (step)
        say(w, "Every %d seconds of the minute, ", step);
    else {
        say(w, "At second%s ", count(c->seconds) > 1 ? "s" : "");
        say_set(w, c->seconds, say_number);
        say(w, " of the minute, ");
    }
}

static void say_interval(struct words *w, const struct cron *c)
{
    bool hours = c->period_s % 3600 == 0;
    int64_t n = c->period_s / (hours ? 3600 : 60);
    const char *unit = hours ? "hour" : "minute";
    if (n == 1)
        say(w, "Every %s of real time", unit);
    else
        say(w, "Every %lld %ss of real time", (long long)n, unit);
    if (c->kind == CRON_INTERVAL)
        return;
    say(w, ", counted each day from %02d:%02d", (int)c->start_s / 3600, (int)c->start_s / 60 % 60);
    say(w, " to %02d:%02d%s", (int)c->end_s / 3600, (int)c->end_s / 60 % 60, c->end_s < c->start_s ? " of the next day" : "");
}

int cron_describe(const struct cron *c, struct buf *out)
{
    struct words w = {out, 0};
    size_t before = buf_len(out);
    if (c->kind == CRON_INTERVAL || c->kind == CRON_DAILY_RANGE) {
        say_interval(&w, c);
    } else {
        say_seconds(&w, c);
        size_t rest = buf_len(out);
        bool daily = say_clock(&w, c);
        if (rest > before && !w.rc) /* it is not the first word of the sentence */
            buf_data(out)[rest] = (char)tolower((unsigned char)buf_data(out)[rest]);
        say_days(&w, c, daily);
        say_months(&w, c);
    }
    if (w.rc)
        buf_truncate(out, before);
    return w.rc;
}

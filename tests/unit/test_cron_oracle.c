/** test_cron_oracle.c: ten years of firings of 200 schedules in 20 zones against a walk over every minute of libc's local time.
 *  The oracle knows nothing of the product: it reads the fields by itself, asks localtime_r for each minute, and applies the policy of
 *  cron.h as it is worded: local minutes that the clock jumps over, and those that it has shown before. Every firing must be there, at its
 *  minute, and none besides. With a sanitizer, fewer zones and years: the walk is libc's, and slow there. */
#include "core/base/clock.h"
#include "schedules/cron.h"
#include "tests/support/unit.h"

#include <ctype.h>
#include <stdio.h>
#include <strings.h>
#include <time.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLOW 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define SLOW 1
#endif
#endif
#ifndef SLOW
#define SLOW 0
#endif

/* Ten years each, chosen so that what is special in the zone lies in them. */
static const struct {
    const char *name;
    int from_year;
} zones[] = {
    {"Europe/Berlin", 2020},  {"Australia/Lord_Howe", 2020}, {"Pacific/Apia", 2008},    {"Africa/Casablanca", 2016},
    {"Europe/Dublin", 2020},  {"America/New_York", 2031},    {"Africa/El_Aaiun", 2020}, {"Antarctica/Troll", 2020},
    {"Asia/Kathmandu", 2020}, {"America/St_Johns", 2005},    {"Pacific/Chatham", 2020}, {"America/Sao_Paulo", 2010},
    {"Asia/Tehran", 2015},    {"Asia/Gaza", 2020},           {"Africa/Cairo", 2008},    {"America/Santiago", 2020},
    {"Asia/Pyongyang", 2012}, {"America/Havana", 2038},      {"Europe/Istanbul", 2010}, {"UTC", 2020},
};
#define YEARS (SLOW ? 2 : 10)
#define ZONES (SLOW ? 5 : (int)ARRAY_LEN(zones))

/* Schedules; `fields` says the same to the oracle where it is English. */
static const struct {
    const char *text, *fields;
} schedules[] = {
#include "tests/unit/cron_schedules.h"
};
#define SCHEDULES ((int)ARRAY_LEN(schedules))
#define WORDS ((SCHEDULES + 63) / 64)

/* ---- the oracle's own reading of the fields ---- */

static const char *const month_names[] = {"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"};
static const char *const weekday_names[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};

/* One schedule, a flag for each value. */
struct plain {
    bool minute[60], hour[24], day[32], month[13], weekday[7];
    bool before_last[31], near[32], last_workday, nth[6][7], last_weekday[7];
    bool minute_star, day_star, weekday_star, all_hours;
};

static int value_of(const char **p, const char *const *names, int n_names, int base)
{
    for (int i = 0; i < n_names; i++)
        if (!strncasecmp(*p, names[i], 3)) {
            *p += 3;
            return i + base;
        }
    return (int)strtol(*p, (char **)(uintptr_t)p, 10);
}

/* A list of *, a, a-b, each with /n, of the values [min, max]. */
static void read_list(const char *text, bool *flags, int min, int max, const char *const *names, int n_names)
{
    for (const char *p = text; *p;) {
        int first = min, last = max, step = 1, wrap = max - min + 1;
        if (*p == '*' || *p == '?') {
            p++;
        } else {
            first = last = value_of(&p, names, n_names, min);
            if (*p == '-') {
                p++;
                last = value_of(&p, names, n_names, min);
            } else if (*p == '/') {
                last = max;
            }
        }
        if (*p == '/') {
            p++;
            step = (int)strtol(p, (char **)(uintptr_t)&p, 10);
        }
        while (last < first)
            last += wrap;
        for (int v = first; v <= last; v += step)
            flags[(v - min) % wrap + min] = true;
        assert_true(*p == '\0' || *p == ',');
        p += *p == ',';
    }
}

/* The items that only days of the month have are taken out of the list. */
static void read_days(const char *text, struct plain *s)
{
    char item[64];
    for (const char *p = text; *p; p += *p == ',') {
        size_t n = strcspn(p, ",");
        assert_true(n < sizeof item);
        snprintf(item, sizeof item, "%.*s", (int)n, p);
        p += n;
        if (!strcmp(item, "LW"))
            s->last_workday = true;
        else if (item[0] == 'L')
            s->before_last[item[1] == '-' ? strtol(item + 2, NULL, 10) : 0] = true;
        else if (item[n - 1] == 'W')
            s->near[strtol(item, NULL, 10)] = true;
        else
            read_list(item, s->day, 1, 31, NULL, 0);
    }
}

static void read_weekdays(const char *text, struct plain *s)
{
    char item[64];
    bool eight[8] = {false};
    for (const char *p = text; *p; p += *p == ',') {
        size_t n = strcspn(p, ",");
        assert_true(n < sizeof item);
        snprintf(item, sizeof item, "%.*s", (int)n, p);
        p += n;
        const char *q = item, *hash = strchr(item, '#');
        if (hash)
            s->nth[hash[1] - '0'][value_of(&q, weekday_names, 7, 0) % 7] = true;
        else if (item[n - 1] == 'L')
            s->last_weekday[value_of(&q, weekday_names, 7, 0) % 7] = true;
        else if (strchr(item, '7')) {
            read_list(item, eight, 0, 7, weekday_names, 7);
            for (int i = 0; i < 8; i++)
                s->weekday[i % 7] = s->weekday[i % 7] || eight[i];
        } else {
            read_list(item, s->weekday, 0, 6, weekday_names, 7);
        }
    }
}

static void read_schedule(const char *text, struct plain *s)
{
    char minute[400], hour[100], day[100], month[100], weekday[100];
    *s = (struct plain){0};
    assert_int_equal(sscanf(text, "%399s %99s %99s %99s %99s", minute, hour, day, month, weekday), 5);
    read_list(minute, s->minute, 0, 59, NULL, 0);
    read_list(hour, s->hour, 0, 23, NULL, 0);
    read_days(day, s);
    read_list(month, s->month, 1, 12, month_names, 12);
    read_weekdays(weekday, s);
    s->minute_star = minute[0] == '*';
    s->day_star = day[0] == '*' || day[0] == '?';
    s->weekday_star = weekday[0] == '*' || weekday[0] == '?';
    s->all_hours = true;
    for (int h = 0; h < 24; h++)
        s->all_hours = s->all_hours && s->hour[h];
}

static bool workday(int weekday) { return weekday >= 1 && weekday <= 5; }

static bool day_fits(const struct plain *s, int month, int day, int weekday, int last)
{
    bool by_month = s->day[day] || s->before_last[last - day];
    for (int d = 1; d <= last; d++) { /* is this day of Monday to Friday the nearest to d? */
        int of = ((weekday + d - day) % 7 + 7) % 7;
        int nearest = workday(of) ? d : of == 6 ? (d == 1 ? 3 : d - 1) : (d == last ? last - 2 : d + 1);
        by_month = by_month || (s->near[d] && nearest == day);
    }
    bool later_workday = false;
    for (int d = day + 1; d <= last; d++)
        later_workday = later_workday || workday((weekday + d - day) % 7);
    by_month = by_month || (s->last_workday && workday(weekday) && !later_workday);
    bool by_week = s->weekday[weekday] || s->nth[(day + 6) / 7][weekday] || (s->last_weekday[weekday] && day + 7 > last);
    return s->month[month] && (s->day_star || s->weekday_star ? by_month && by_week : by_month || by_week);
}

/* ---- all schedules at once: a bit for each ---- */

typedef uint64_t set[8];
static struct {
    set minute[60], hour[24];
    set every_hour, within_hours, times_of_day;
} all;
static struct plain plain[512];

static void put(set to, int i) { to[i / 64] |= UINT64_C(1) << i % 64; }

static void read_all(void)
{
    assert_true(SCHEDULES <= 512);
    for (int i = 0; i < SCHEDULES; i++) {
        struct plain *s = &plain[i];
        read_schedule(schedules[i].fields ? schedules[i].fields : schedules[i].text, s);
        for (int m = 0; m < 60; m++)
            if (s->minute[m])
                put(all.minute[m], i);
        for (int h = 0; h < 24; h++)
            if (s->hour[h])
                put(all.hour[h], i);
        put(s->all_hours ? all.every_hour : s->minute_star ? all.within_hours : all.times_of_day, i);
    }
}

/* Which fit a day; `day` counts from 1970. */
static void fit_day(int64_t day, set out)
{
    int year, month, d;
    civil_from_days(day, &year, &month, &d);
    memset(out, 0, sizeof(set));
    for (int i = 0; i < SCHEDULES; i++)
        if (day_fits(&plain[i], month, d, (int)((day + 4) % 7), month_days(year, month)))
            put(out, i);
}

/* ---- the walk ---- */

struct walk {
    const char *zone;
    struct zone *z;
    struct cron *cron[512];
    struct cron_firing next[512];       /* what the product says comes next */
    uint64_t seen[10 * 366 * 24 + 100]; /* local minutes that the clock has shown, from `seen_from` on; a word holds 64 */
    int64_t seen_from, day;             /* `fits` is of this day */
    set fits;
    uint64_t firings;
};

static void fit_minute(struct walk *w, int64_t local_minute, set out)
{
    int64_t day = local_minute / 1440;
    int in_day = (int)(local_minute % 1440);
    if (day != w->day) {
        fit_day(day, w->fits);
        w->day = day;
    }
    for (int k = 0; k < WORDS; k++)
        out[k] = w->fits[k] & all.hour[in_day / 60][k] & all.minute[in_day % 60][k];
}

static void check_firing(struct walk *w, int i, int64_t at_s)
{
    char want[ZONE_TEXT_MAX], got[ZONE_TEXT_MAX];
    if (w->next[i].at_s != at_s)
        fail_msg("%s, \"%s\": the oracle fires at %s, cron_next at %s", w->zone, schedules[i].text, zone_format(w->z, at_s, want),
                 zone_format(w->z, w->next[i].at_s, got));
    w->firings++;
    if (!cron_next(w->cron[i], w->z, at_s, &w->next[i]))
        fail_msg("%s, \"%s\": no firing after the one at %s", w->zone, schedules[i].text, zone_format(w->z, at_s, want));
}

static bool seen(struct walk *w, int64_t local_minute, bool mark)
{
    int64_t i = local_minute - w->seen_from;
    assert_true(i >= 0 && i / 64 < (int64_t)ARRAY_LEN(w->seen));
    uint64_t bit = UINT64_C(1) << i % 64;
    bool was = w->seen[i / 64] & bit;
    w->seen[i / 64] |= mark ? bit : 0;
    return was;
}

/* One minute of real time: `local` is what the clock shows, `before` what it showed a minute ago. */
static void step(struct walk *w, int64_t at_s, int64_t before, int64_t local, bool check)
{
    set fire = {0}, fit;
    for (int64_t missing = before + 1; missing < local; missing++) { /* never shown: once, now, unless it was shown before */
        if (seen(w, missing, true))
            continue;
        fit_minute(w, missing, fit);
        for (int k = 0; k < WORDS; k++)
            fire[k] |= fit[k] & (all.within_hours[k] | all.times_of_day[k]);
    }
    fit_minute(w, local, fit);
    bool again = seen(w, local, true);
    for (int k = 0; k < WORDS; k++)
        fire[k] |= fit[k] & (again ? all.every_hour[k] | all.within_hours[k] : UINT64_MAX);
    for (int k = 0; k < WORDS && check; k++)
        for (uint64_t rest = fire[k]; rest; rest &= rest - 1)
            check_firing(w, k * 64 + __builtin_ctzll(rest), at_s);
}

static int64_t libc_minute(int64_t at_s)
{
    struct tm tm;
    time_t t = (time_t)at_s;
    assert_non_null(localtime_r(&t, &tm));
    return days_from_civil(tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday) * 1440 + tm.tm_hour * 60 + tm.tm_min;
}

static void walk_zone(int which, struct walk *w)
{
    struct err e;
    int64_t from_s = days_from_civil(zones[which].from_year, 1, 1) * 86400,
            to_s = days_from_civil(zones[which].from_year + YEARS, 1, 1) * 86400;
    memset(w, 0, sizeof *w);
    w->zone = zones[which].name;
    w->day = -1;
    if (zone_load(w->zone, &w->z, &e))
        fail_msg("%s", e.msg);
    setenv("TZ", w->zone, 1);
    tzset();
    /* Three days before nothing is checked yet, so that the clock has a past. */
    int64_t begin_s = from_s - 3 * 86400, before = libc_minute(begin_s - 60);
    w->seen_from = before - 4 * 1440;
    for (int i = 0; i < SCHEDULES; i++) {
        if (!(w->cron[i] = cron_parse(schedules[i].text, &e)))
            fail_msg("%s: %s", schedules[i].text, e.msg);
        assert_true(cron_next(w->cron[i], w->z, from_s - 1, &w->next[i]));
    }
    for (int64_t at_s = begin_s; at_s < to_s; at_s += 60) {
        int64_t local = libc_minute(at_s);
        step(w, at_s, before, local, at_s >= from_s);
        before = local;
    }
    for (int i = 0; i < SCHEDULES; i++) {
        if (w->next[i].at_s < to_s)
            fail_msg("%s, \"%s\": cron_next fires at %lld, the oracle does not", w->zone, schedules[i].text, (long long)w->next[i].at_s);
        cron_free(w->cron[i]);
    }
    zone_unref(w->z);
}

static void agrees_with_every_minute(void **state)
{
    struct walk *w = malloc(sizeof *w);
    uint64_t firings = 0;
    assert_non_null(w);
    read_all();
    for (int i = 0; i < ZONES; i++) {
        walk_zone(i, w);
        firings += w->firings;
    }
    free(w);
    printf("%d schedules, %d zones, %d years: %llu firings\n", SCHEDULES, ZONES, YEARS, (unsigned long long)firings);
    assert_true(SCHEDULES >= 200 && firings > (SLOW ? 1000000 : 20000000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_every_minute),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* zone_rule.c: the rule at the end of a TZif file, in the form of POSIX's TZ with the extensions of RFC 9636 (hours beyond a day, and
 * negative ones), and the changes that it makes in the years after those of the file. */
#include "core/base/clock.h"
#include "schedules/zone_int.h"

#include <ctype.h>

#define RULE_HOURS_MAX 167

struct scan {
    const char *p, *end;
};

static bool take(struct scan *s, char c)
{
    if (s->p == s->end || *s->p != c)
        return false;
    s->p++;
    return true;
}

static bool at_digit(const struct scan *s) { return s->p < s->end && isdigit((unsigned char)*s->p); }

/* Up to three digits, within [min, max]. */
static bool take_number(struct scan *s, int min, int max, int *out)
{
    int v = 0, digits = 0;
    for (; at_digit(s) && digits < 3; digits++)
        v = v * 10 + (*s->p++ - '0');
    *out = v;
    return digits && v >= min && v <= max;
}

/* "CET" or "<+03>" */
static bool take_abbreviation(struct scan *s, char out[ZONE_ABBREVIATION_MAX + 1])
{
    size_t n = 0;
    bool quoted = take(s, '<');
    for (; s->p < s->end && n < ZONE_ABBREVIATION_MAX; n++) {
        unsigned char c = (unsigned char)*s->p;
        if (!(isalpha(c) || (quoted && (isdigit(c) || c == '+' || c == '-'))))
            break;
        out[n] = *s->p++;
    }
    out[n] = '\0';
    return n > 0 && (!quoted || take(s, '>'));
}

/* [+-]h[hh][:mm[:ss]] in seconds */
static bool take_time(struct scan *s, int hours_max, int32_t *out)
{
    int hours, minutes = 0, seconds = 0;
    int sign = take(s, '-') ? -1 : 1;
    if (sign > 0)
        (void)take(s, '+');
    if (!take_number(s, 0, hours_max, &hours))
        return false;
    if (take(s, ':') && (!take_number(s, 0, 59, &minutes) || (take(s, ':') && !take_number(s, 0, 59, &seconds))))
        return false;
    *out = sign * (hours * 3600 + minutes * 60 + seconds);
    return true;
}

/* ",M3.5.0/2", ",J60", ",59/-1:30" */
static bool take_day(struct scan *s, struct zone_day *d)
{
    *d = (struct zone_day){.kind = DAY_OF_YEAR, .time_s = 2 * 3600};
    if (!take(s, ','))
        return false;
    if (take(s, 'M')) {
        d->kind = DAY_OF_WEEK;
        if (!take_number(s, 1, 12, &d->month) || !take(s, '.') || !take_number(s, 1, 5, &d->week) || !take(s, '.') ||
            !take_number(s, 0, 6, &d->day))
            return false;
    } else {
        if (take(s, 'J'))
            d->kind = DAY_JULIAN;
        if (!take_number(s, d->kind == DAY_JULIAN, 365, &d->day))
            return false;
    }
    return !take(s, '/') || take_time(s, RULE_HOURS_MAX, &d->time_s);
}

static bool take_rule(struct scan *s, struct zone_rule *r)
{
    int32_t west;
    if (!take_abbreviation(s, r->standard.abbreviation) || !take_time(s, 24, &west))
        return false;
    r->standard.offset_s = -west;
    if (s->p == s->end)
        return true;
    r->has_summer = r->summer.dst = true;
    if (!take_abbreviation(s, r->summer.abbreviation))
        return false;
    r->summer.offset_s = r->standard.offset_s + 3600;
    if (s->p < s->end && *s->p != ',') {
        if (!take_time(s, 24, &west))
            return false;
        r->summer.offset_s = -west;
    }
    return take_day(s, &r->start) && take_day(s, &r->end) && s->p == s->end;
}

int zone_rule_parse(struct str text, struct zone_rule *out, struct err *e)
{
    struct scan s = {text.p, text.p + text.n};
    *out = (struct zone_rule){0};
    if (take_rule(&s, out))
        return 0;
    return err_set(e, ERR_DATA_LOSS, "the rule at its end cannot be understood (\"%.*s\")", (int)(text.n < 60 ? text.n : 60), text.p);
}

/* The local midnight of the day that is meant, as days since 1970. */
static int64_t day_in(const struct zone_day *d, int year)
{
    int64_t first = days_from_civil(year, 1, 1);
    bool leap = month_days(year, 2) == 29;
    if (d->kind == DAY_OF_YEAR)
        return first + d->day;
    if (d->kind == DAY_JULIAN) /* 1 to 365: 60 is 1 March in every year */
        return first + d->day - 1 + (leap && d->day >= 60);
    int64_t month = days_from_civil(year, d->month, 1);
    int weekday = (int)((((month + 4) % 7) + 7) % 7); /* 1970-01-01 was a Thursday */
    int day = (d->day - weekday + 7) % 7 + 7 * (d->week - 1);
    while (day >= month_days(year, d->month)) /* week 5 is the last one */
        day -= 7;
    return month + day;
}

static void add(struct zone *z, int64_t at_s, size_t type, int64_t after_s)
{
    if (at_s <= after_s)
        return;
    /* Nearly always at the end. Of two at one instant the later made is what holds from then on: summer time all year is written as
     * one that ends when the next begins. */
    size_t i = z->n;
    while (i > 0 && z->at_s[i - 1] > at_s)
        i--;
    if (i > 0 && z->at_s[i - 1] == at_s) {
        z->type_at[i - 1] = (uint16_t)type;
        return;
    }
    for (size_t k = z->n++; k > i; k--) {
        z->at_s[k] = z->at_s[k - 1];
        z->type_at[k] = z->type_at[k - 1];
    }
    z->at_s[i] = at_s;
    z->type_at[i] = (uint16_t)type;
}

int zone_rule_apply(struct zone *z, const struct zone_rule *rule, struct err *e)
{
    if (z->n_types + 2 > ZONE_TYPES_MAX)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "it has too many kinds of local time");
    size_t standard = z->n_types, summer = standard + 1;
    z->types[standard] = rule->standard;
    z->types[summer] = rule->summer;
    if (!rule->has_summer) {
        /* A file with changes ends them with the one to this time. */
        if (z->n == 0)
            z->types[0] = rule->standard;
        return 0;
    }
    z->n_types += 2;
    int64_t after_s = z->n ? z->at_s[z->n - 1] : -ZONE_FOREVER_S;
    int year = 1970, month, day;
    if (z->n) /* before the year 1 stands only the beginning of the world */
        civil_from_days((after_s < WALL_SECONDS_MIN ? WALL_SECONDS_MIN : after_s) / DAY_S, &year, &month, &day);
    else
        z->always_rules = true;
    for (int y = year - 1; y < year - 1 + ZONE_RULE_YEARS; y++) { /* one before: its summer may end in the first */
        int64_t start = day_in(&rule->start, y) * DAY_S + rule->start.time_s - rule->standard.offset_s;
        int64_t end = day_in(&rule->end, y) * DAY_S + rule->end.time_s - rule->summer.offset_s;
        add(z, start <= end ? start : end, start <= end ? summer : standard, after_s);
        add(z, start <= end ? end : start, start <= end ? standard : summer, after_s);
    }
    z->repeats = true;
    z->cycle_s = days_from_civil(year + 2, 1, 1) * DAY_S;
    return 0;
}

/* date.c: reads the three forms of an HTTP date by a pattern each, and Retry-After. */
#include "core/http/date.h"

#include "core/base/text.h"

#define CENTURY_AHEAD 50 /* years; a two-digit year further ahead is one of the past */

/* What a pattern's letters mean; anything else stands for itself. */
static const char *const patterns[] = {
    "W, D M Y T GMT", /* Sun, 06 Nov 1994 08:49:37 GMT */
    "L, D-M-y T GMT", /* Sunday, 06-Nov-94 08:49:37 GMT */
    "W M d T Y",      /* Sun Nov  6 08:49:37 1994 */
};
struct when {
    int year, month, day, hour, minute, second;
};

static bool take_digits(struct str *s, size_t n, int *out)
{
    int value = 0;
    for (size_t i = 0; i < n; i++) {
        if (i >= s->n || s->p[i] < '0' || s->p[i] > '9')
            return false;
        value = value * 10 + (s->p[i] - '0');
    }
    *out = value;
    *s = (struct str){s->p + n, s->n - n};
    return true;
}

static bool take_text(struct str *s, const char *text, size_t n)
{
    if (s->n < n || memcmp(s->p, text, n) != 0)
        return false;
    *s = (struct str){s->p + n, s->n - n};
    return true;
}

static bool take_day_name(struct str *s, bool whole)
{
    static const char *const days[] = {"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"};
    for (size_t i = 0; i < ARRAY_LEN(days); i++)
        if (take_text(s, days[i], whole ? strlen(days[i]) : 3))
            return true;
    return false;
}

static bool take_month(struct str *s, int *month)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    for (*month = 1; *month <= 12; ++*month)
        if (take_text(s, months + 3 * (*month - 1), 3))
            return true;
    return false;
}

static bool take_time(struct str *s, struct when *w)
{
    return take_digits(s, 2, &w->hour) && take_text(s, ":", 1) && take_digits(s, 2, &w->minute) && take_text(s, ":", 1) &&
           take_digits(s, 2, &w->second);
}

static bool take_short_year(struct str *s, int64_t now_wall_ns, int *year)
{
    int now_year, month, day;
    civil_from_days(now_wall_ns / NS_PER_S / 86400, &now_year, &month, &day);
    if (!take_digits(s, 2, year))
        return false;
    *year += now_year / 100 * 100;
    if (*year > now_year + CENTURY_AHEAD)
        *year -= 100;
    else if (*year <= now_year + CENTURY_AHEAD - 100)
        *year += 100;
    return true;
}

static bool take(struct str *s, char letter, int64_t now_wall_ns, struct when *w)
{
    switch (letter) {
    case 'W':
    case 'L':
        return take_day_name(s, letter == 'L');
    case 'D':
        return take_digits(s, 2, &w->day);
    case 'd':
        return take_text(s, " ", 1) ? take_digits(s, 1, &w->day) : take_digits(s, 2, &w->day);
    case 'M':
        return s->n > 0 && take_month(s, &w->month);
    case 'Y':
        return take_digits(s, 4, &w->year);
    case 'y':
        return take_short_year(s, now_wall_ns, &w->year);
    default:
        return take_text(s, &letter, 1);
    }
}

static bool fits(struct str s, const char *pattern, int64_t now_wall_ns, struct when *w)
{
    for (; *pattern; pattern++) {
        bool zone = strcmp(pattern, "GMT") == 0; /* letters of its own */
        if (zone ? !take_text(&s, "GMT", 3) : *pattern == 'T' ? !take_time(&s, w) : !take(&s, *pattern, now_wall_ns, w))
            return false;
        if (zone)
            break;
    }
    return s.n == 0;
}

/* 60 is a leap second. */
static bool real(const struct when *w)
{
    return w->year >= 1970 && w->year <= 2261 && w->day >= 1 && w->day <= month_days(w->year, w->month) && w->hour <= 23 &&
           w->minute <= 59 && w->second <= 60;
}

int http_date_parse(struct str s, int64_t now_wall_ns, int64_t *wall_ns, struct err *e)
{
    struct when w = {0};
    for (size_t i = 0; i < ARRAY_LEN(patterns); i++)
        if (fits(s, patterns[i], now_wall_ns, &w) && real(&w)) {
            *wall_ns = (days_from_civil(w.year, w.month, w.day) * 86400 + w.hour * 3600 + w.minute * 60 + w.second) * NS_PER_S;
            return 0;
        }
    return err_set(e, ERR_INVALID_ARGUMENT, "not a date of HTTP, such as Sun, 06 Nov 1994 08:49:37 GMT");
}

int64_t retry_after_ns(struct str value, int64_t now_wall_ns, int64_t max_ns)
{
    uint64_t seconds;
    int64_t at_ns;
    bool number = value.n > 0;
    for (size_t i = 0; i < value.n; i++)
        number = number && value.p[i] >= '0' && value.p[i] <= '9';
    if (number) /* one that is too large fails */
        return parse_u64(value, (uint64_t)(max_ns / NS_PER_S), &seconds, NULL) == 0 ? (int64_t)seconds * NS_PER_S : max_ns;
    if (http_date_parse(value, now_wall_ns, &at_ns, NULL) || at_ns <= now_wall_ns)
        return 0;
    return at_ns - now_wall_ns < max_ns ? at_ns - now_wall_ns : max_ns;
}

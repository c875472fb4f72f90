/** clock.c: RFC 3339 text to and from instants, in the proleptic Gregorian calendar, without libc's time zones. */
#include "core/base/clock.h"

#include <string.h>

#define DAY_S INT64_C(86400)

int64_t days_from_civil(int year, int month, int day)
{
    /* Years start in March, so the leap day is the last of its year and month lengths repeat. */
    int64_t y = (int64_t)year - (month <= 2);
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t march_month = (month + 9) % 12;
    int64_t day_of_year = (153 * march_month + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

void civil_from_days(int64_t days, int *year, int *month, int *day)
{
    int64_t z = days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t day_of_era = z - era * 146097;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t march_month = (5 * day_of_year + 2) / 153;
    *day = (int)(day_of_year - (153 * march_month + 2) / 5 + 1);
    *month = (int)(march_month < 10 ? march_month + 3 : march_month - 9);
    *year = (int)(year_of_era + era * 400 + (*month <= 2));
}

int month_days(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && leap);
}

/* `n` digits of a number that has no more, and what follows them. By hand: it is written into every pushed message. */
static char *put_digits(char *to, int n, int v, char then)
{
    for (int i = n; i-- > 0; v /= 10)
        to[i] = (char)('0' + v % 10);
    to[n] = then;
    return to + n + 1;
}

char *wall_format_parts(int64_t seconds, int32_t nanos, char out[WALL_TEXT_MAX])
{
    int64_t days = seconds / DAY_S;
    int64_t rest = seconds % DAY_S;
    if (rest < 0) {
        rest += DAY_S;
        days--;
    }
    int year, month, day;
    civil_from_days(days, &year, &month, &day);
    char *to = put_digits(out, 4, year, '-');
    to = put_digits(to, 2, month, '-');
    to = put_digits(to, 2, day, 'T');
    to = put_digits(to, 2, (int)(rest / 3600), ':');
    to = put_digits(to, 2, (int)(rest / 60 % 60), ':');
    to = put_digits(to, 2, (int)(rest % 60), nanos ? '.' : 'Z');
    if (nanos % 1000)
        to = put_digits(to, 9, nanos, 'Z');
    else if (nanos % 1000000)
        to = put_digits(to, 6, nanos / 1000, 'Z');
    else if (nanos)
        to = put_digits(to, 3, nanos / 1000000, 'Z');
    *to = '\0';
    return out;
}

char *wall_format(int64_t wall_ns, char out[WALL_TEXT_MAX])
{
    int64_t seconds = wall_ns / NS_PER_S;
    int64_t nanos = wall_ns % NS_PER_S;
    if (nanos < 0) {
        nanos += NS_PER_S;
        seconds--;
    }
    return wall_format_parts(seconds, (int32_t)nanos, out);
}

/* What is left to read; every taker moves it forward or fails. */
struct scan {
    const char *p, *end;
};

static bool take_digits(struct scan *s, int count, int *out)
{
    int v = 0;
    if (s->end - s->p < count)
        return false;
    for (int i = 0; i < count; i++, s->p++) {
        if (*s->p < '0' || *s->p > '9')
            return false;
        v = v * 10 + (*s->p - '0');
    }
    *out = v;
    return true;
}

static bool take_char(struct scan *s, char a, char b)
{
    if (s->p == s->end || (*s->p != a && *s->p != b))
        return false;
    s->p++;
    return true;
}

static bool take_fraction(struct scan *s, int32_t *nanos)
{
    *nanos = 0;
    if (!take_char(s, '.', '.'))
        return true;
    int digits = 0;
    for (; s->p < s->end && *s->p >= '0' && *s->p <= '9'; s->p++, digits++) {
        if (digits == 9)
            return false;
        *nanos = *nanos * 10 + (*s->p - '0');
    }
    if (digits == 0)
        return false;
    for (; digits < 9; digits++)
        *nanos *= 10;
    return true;
}

static bool take_offset(struct scan *s, int64_t *offset_s)
{
    *offset_s = 0;
    if (take_char(s, 'Z', 'z'))
        return true;
    int sign = take_char(s, '+', '+') ? 1 : take_char(s, '-', '-') ? -1 : 0;
    int hours, minutes;
    if (sign == 0 || !take_digits(s, 2, &hours) || !take_char(s, ':', ':') || !take_digits(s, 2, &minutes) || hours > 23 || minutes > 59)
        return false;
    *offset_s = sign * (hours * INT64_C(3600) + minutes * INT64_C(60));
    return true;
}

static bool parse_parts(struct scan *s, int64_t *seconds, int32_t *nanos)
{
    int year, month, day, hour, minute, second;
    int64_t offset_s;
    if (!take_digits(s, 4, &year) || !take_char(s, '-', '-') || !take_digits(s, 2, &month) || !take_char(s, '-', '-') ||
        !take_digits(s, 2, &day) || !take_char(s, 'T', 't') || !take_digits(s, 2, &hour) || !take_char(s, ':', ':') ||
        !take_digits(s, 2, &minute) || !take_char(s, ':', ':') || !take_digits(s, 2, &second) || !take_fraction(s, nanos) ||
        !take_offset(s, &offset_s) || s->p != s->end)
        return false;
    /* 60 is a leap second, which neither Timestamp nor our clock can hold. */
    if (year < 1 || month < 1 || month > 12 || day < 1 || day > month_days(year, month) || hour > 23 || minute > 59 || second > 59)
        return false;
    *seconds = days_from_civil(year, month, day) * DAY_S + hour * INT64_C(3600) + minute * INT64_C(60) + second - offset_s;
    return *seconds >= WALL_SECONDS_MIN && *seconds <= WALL_SECONDS_MAX;
}

int wall_parse_parts(const char *text, size_t len, int64_t *seconds, int32_t *nanos, struct err *e)
{
    struct scan s = {text, text + len};
    int64_t got_s;
    int32_t got_ns;
    if (!parse_parts(&s, &got_s, &got_ns))
        return err_set(e, ERR_INVALID_ARGUMENT,
                       "\"%.*s\" is not a time: write it as 2026-10-05T01:41:00Z, with years from "
                       "0001 to 9999, an optional fraction of up to 9 digits, and Z or an offset "
                       "such as +02:00",
                       (int)(len < 64 ? len : 64), text);
    *seconds = got_s;
    *nanos = got_ns;
    return 0;
}

int wall_parse(const char *text, size_t len, int64_t *wall_ns, struct err *e)
{
    int64_t seconds = 0;
    int32_t nanos = 0;
    int rc = wall_parse_parts(text, len, &seconds, &nanos, e);
    if (rc)
        return rc;
    int64_t ns;
    if (seconds < 0 && nanos > 0) { /* towards zero, or the earliest instants overflow on the way */
        seconds++;
        nanos -= (int32_t)NS_PER_S;
    }
    if (__builtin_mul_overflow(seconds, NS_PER_S, &ns) || __builtin_add_overflow(ns, nanos, &ns))
        return err_set(e, ERR_INVALID_ARGUMENT, "\"%.*s\" is out of range: times here lie between the years 1678 and 2261",
                       (int)(len < 64 ? len : 64), text);
    *wall_ns = ns;
    return 0;
}

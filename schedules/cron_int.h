/** cron_int.h: the inside of a schedule: sets of bits, made by the two parsers, read by the search and by the words.
 *  Thread: any; after parsing nothing changes. */
#ifndef SCHEDULES_CRON_INT_H
#define SCHEDULES_CRON_INT_H

#include "schedules/cron.h"

#define DAY_S INT64_C(86400)
#define WEEKDAYS_ALL 0x7fu
#define DAYS_ALL 0xfffffffeu /* bits 1 to 31 */
#define MONTHS_ALL 0x1ffeu   /* bits 1 to 12 */
#define HOURS_ALL 0xffffffu

enum cron_kind {
    CRON_EVERY_HOUR,   /* fields, all 24 hours */
    CRON_WITHIN_HOURS, /* fields, some hours, the minute field begins with * */
    CRON_TIMES_OF_DAY, /* fields, anything else */
    CRON_INTERVAL,     /* every period_s of real time */
    CRON_DAILY_RANGE,  /* every period_s of real time from start_s to end_s, anew each day */
};
struct cron {
    enum cron_kind kind;
    uint64_t seconds, minutes;
    uint32_t hours, months;
    /* days of the month */
    uint32_t days, nearest; /* bits 1 to 31; nearest: of Monday to Friday */
    uint32_t from_last;     /* bit n: n days before the last */
    bool last_workday, days_star;
    /* days of the week: bit 0 is Sunday */
    uint8_t weekdays, last_weekdays, nth_weekdays[5];
    bool weekdays_star;
    /* intervals */
    int64_t period_s;
    int32_t start_s, end_s; /* local, from midnight */
    bool synchronized;
};

/** The first local time in [from_s, before_s) that the fields hold. */
bool cron_find_local(const struct cron *c, int64_t from_s, int64_t before_s, int64_t *local_s);
/** The days of a month that the fields hold, as bits 1 to 31. */
uint32_t cron_days(const struct cron *c, int year, int month);

/* What the parsers share: a place in the text. */
struct cron_text {
    const char *all, *p;
    struct err *e;
};
/** INVALID_ARGUMENT: "schedule: WHERE, character N: "TEXT" WHY". `field` NULL: no field. */
FMT(5, 6) int cron_bad(const struct cron_text *t, const char *field, const char *at, size_t n, const char *fmt, ...);
/** App Engine's English into `c`. */
MUST_USE int cron_parse_english(struct cron_text *t, struct cron *c);
/** The number of the name at `p` of `names` (three letters each), in any case; -1 when it is none. */
int cron_name(const char *p, const char *const *names, int count);
extern const char *const cron_months[12], *const cron_weekdays[7]; /* "January", "Sunday" */

#endif

/** clock.h: the two clocks. Monotonic for every deadline; wall time only for people, cron and tokens.
 *  Units:  ns; wall since 1970-01-01T00:00:00Z.
 *  Only clock_real.c reads the system's clocks.
 *  Errors: INVALID_ARGUMENT for text that is no time, or one that does not fit.
 *  Thread: any. */
#ifndef CORE_BASE_CLOCK_H
#define CORE_BASE_CLOCK_H

#include "core/base/err.h"

struct clock {
    int64_t (*mono_ns)(void *ctx);
    int64_t (*wall_ns)(void *ctx);
    void *ctx;
};
static inline int64_t clock_mono_ns(const struct clock *c) { return c->mono_ns(c->ctx); }
static inline int64_t clock_wall_ns(const struct clock *c) { return c->wall_ns(c->ctx); }
const struct clock *clock_real(void);

#define WALL_TEXT_MAX 36
/** RFC 3339 in UTC with 0, 3, 6 or 9 digits as proto3 JSON wants; returns `out`. */
char *wall_format(int64_t wall_ns, char out[WALL_TEXT_MAX]);
/** RFC 3339 with any offset and up to 9 digits. INVALID_ARGUMENT for anything else, and for instants
 *  that 64 bits of ns cannot hold (outside 1677-09-21 to 2262-04-11). */
MUST_USE int wall_parse(const char *text, size_t len, int64_t *wall_ns, struct err *e);

/* The same for google.protobuf.Timestamp, which reaches from year 1 to 9999. */
#define WALL_SECONDS_MIN INT64_C(-62135596800) /* 0001-01-01T00:00:00Z */
#define WALL_SECONDS_MAX INT64_C(253402300799) /* 9999-12-31T23:59:59Z */
/** `nanos` is 0..999,999,999 and counts forward, also before 1970; seconds within the two limits. */
char *wall_format_parts(int64_t seconds, int32_t nanos, char out[WALL_TEXT_MAX]);
MUST_USE int wall_parse_parts(const char *text, size_t len, int64_t *seconds, int32_t *nanos, struct err *e);

/* The calendar below it, for cron. Proleptic Gregorian; months and days count from 1; days since 1970-01-01. */
int64_t days_from_civil(int year, int month, int day);
void civil_from_days(int64_t days, int *year, int *month, int *day);
int month_days(int year, int month);

#endif

/** calendar.h: a job's schedule in its time zone: when it fires next, and how its times are written.
 *  Shape:  calendar_new -> calendar_next, calendar_format; calendar_rezone when the zone's file has changed.
 *  Units:  wall time in ns; CALENDAR_NEVER.
 *  Errors: INVALID_ARGUMENT names the part of the schedule that is wrong and what is allowed, or the zone that nobody knows;
 *          RESOURCE_EXHAUSTED: out of memory; those of zone.h.
 *  Owner:  calendar_free; the zones may go before it.
 *  Thread: one at a time. */
#ifndef SCHEDULES_CALENDAR_H
#define SCHEDULES_CALENDAR_H

#include "core/base/buf.h"
#include "core/base/clock.h"
#include "schedules/zone_cache.h"

#define CALENDAR_NEVER INT64_MAX
#define CALENDAR_TIME_MAX 64

struct calendar;
/** `time_zone` may be "utc" in any case, as Google's API takes it. */
struct calendar *calendar_new(struct zone_cache *zones, const char *schedule, const char *time_zone, struct err *e);
void calendar_free(struct calendar *c);
/** Take the zone as it is now; false: it is the same as before, or cannot be had. */
bool calendar_rezone(struct calendar *c, struct zone_cache *zones);
/** The first firing after `after_wall_ns` of this struct calendar; CALENDAR_NEVER: none. A function of struct due_calendar. */
int64_t calendar_next(const void *calendar, int64_t after_wall_ns);
/** RFC 3339 with the zone's offset; digits after the second only if there are any. */
char *calendar_format(const struct calendar *c, int64_t wall_ns, char out[CALENDAR_TIME_MAX]);
/** In words: the schedule from `from_wall_ns` on; and what is to be said about one firing (nothing for a plain one). */
MUST_USE int calendar_explain(const struct calendar *c, int64_t from_wall_ns, struct buf *out);
MUST_USE int calendar_explain_firing(const struct calendar *c, int64_t scheduled_wall_ns, struct buf *out);

#endif

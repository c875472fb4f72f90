/** zone.h: a time zone of the tz database: from an instant to the local clock and back.
 *  Shape:  a zone is a line of spans, in each of which the local clock runs a fixed offset from UTC. Between two of them it jumps:
 *          forwards over a gap of local times that do not exist, or backwards into a fold of local times that come twice.
 *  Units:  instants are seconds since 1970-01-01T00:00:00Z; local times are counted the same way, as if the local clock showed UTC.
 *  Limits: files of ZONE_FILE_BYTES_MAX, ZONE_TIMES_MAX changes in a file, names of ZONE_NAME_MAX.
 *  Errors: INVALID_ARGUMENT: no time zone has this name; it names the zone and a near one. FAILED_PRECONDITION: tzdata is not installed.
 *          DATA_LOSS: the file is broken. UNAVAILABLE: it cannot be read. RESOURCE_EXHAUSTED: out of memory.
 *  Owner:  zone_load and zone_parse give one reference; the last zone_unref frees. Who holds a zone may use it for ever.
 *  Thread: any: a zone never changes, and its references are atomic. zone_load reads a file of a few KB (for a name that is not there
 *          also the names in the folder), so it blocks: a thread that serves requests loads when a schedule is made, not when it fires.
 *  Source: RFC 9636 (TZif), POSIX.1-2024 chapter 8 (TZ). libc's time zones are not used: they are one for the whole process. */
#ifndef SCHEDULES_ZONE_H
#define SCHEDULES_ZONE_H

#include "core/base/err.h"

#define ZONE_NAME_MAX 64
#define ZONE_FILE_BYTES_MAX 65536
#define ZONE_TIMES_MAX 2048
#define ZONE_ABBREVIATION_MAX 15
#define ZONE_FOREVER_S (INT64_C(1) << 60) /* where the last span ends; the first begins at its negative */

struct zone;

/** By name, from the folder $TZDIR, else /usr/share/zoneinfo. UTC and Etc/UTC need no file. */
MUST_USE int zone_load(const char *name, struct zone **out, struct err *e);
/** The same from `dir`. */
MUST_USE int zone_load_from(const char *dir, const char *name, struct zone **out, struct err *e);
/** From the bytes of a TZif file. DATA_LOSS says what is wrong with them. */
MUST_USE int zone_parse(const char *name, const void *data, size_t n, struct zone **out, struct err *e);
struct zone *zone_ref(struct zone *z);
void zone_unref(struct zone *z); /* NULL is nothing */
const char *zone_name(const struct zone *z);

struct zone_span {
    int64_t start_s, end_s; /* instants; the end belongs to the next span */
    int64_t reached_s;      /* local: how far the local clock had come before the start, at its furthest */
    int32_t offset_s;       /* local minus UTC */
    bool dst;
    const char *abbreviation; /* lives as long as the zone */
};
/** The span that holds an instant. Where start_s + offset_s > reached_s a gap lies before it; where it is less, a fold begins it. */
void zone_span(const struct zone *z, int64_t at_s, struct zone_span *out);
static inline int64_t zone_local(const struct zone *z, int64_t at_s)
{
    struct zone_span s;
    zone_span(z, at_s, &s);
    return at_s + s.offset_s;
}
/** The instants at which the local clock shows `local_s`: how many, in order; more than two are not told.
 *  For none, in a gap, at[0] is the first instant after the gap. */
int zone_instants(const struct zone *z, int64_t local_s, int64_t at[2]);

struct zone_change {
    struct zone_span before, after; /* after.start_s is the instant */
};
/** The next change of the offset after an instant (not of the name alone); false when there is none any more. */
bool zone_next_change(const struct zone *z, int64_t after_s, struct zone_change *out);

#define ZONE_TEXT_MAX 48
/** "2026-03-29T03:00:00+02:00"; returns `out`. Offsets that are no whole minutes lose their seconds, as RFC 3339 has none. Years 1 to 9999. */
char *zone_format(const struct zone *z, int64_t at_s, char out[ZONE_TEXT_MAX]);

#endif

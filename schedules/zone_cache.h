/** zone_cache.h: the zones in use, each read once, and read again when tzdata has changed.
 *  Shape:  zone_cache_get hands out references; zone_cache_refresh replaces what has another file now. Who holds the old zone keeps it:
 *          whoever asks again gets the new one, so a schedule compares the two pointers.
 *  Limits: ZONE_CACHE_MAX zones; when it is full, those that nobody else holds are dropped first.
 *  Errors: those of zone_load; RESOURCE_EXHAUSTED: ZONE_CACHE_MAX zones are in use, or out of memory.
 *  Owner:  zone_cache_free drops the cache's own references only.
 *  Thread: any; a lock is held while a file is read, so it blocks as zone_load does. */
#ifndef SCHEDULES_ZONE_CACHE_H
#define SCHEDULES_ZONE_CACHE_H

#include "schedules/zone.h"

#define ZONE_CACHE_MAX 1024

struct zone_cache;
/** `dir` NULL: $TZDIR, else the system's. NULL when out of memory. */
struct zone_cache *zone_cache_new(const char *dir);
void zone_cache_free(struct zone_cache *c);
/** A reference for the caller. */
MUST_USE int zone_cache_get(struct zone_cache *c, const char *name, struct zone **out, struct err *e);
/** Is there such a file? (stat(2)) */
bool zone_cache_sees(const struct zone_cache *c, const char *name);
/** Look at each zone's file (one stat(2) each) and read those that have changed, also when a folder or a link above them was replaced.
 *  `*changed`: how many zones say something else now. A zone whose file is gone or broken stays as it was; the first such is the error,
 *  after all were looked at. */
MUST_USE int zone_cache_refresh(struct zone_cache *c, size_t *changed, struct err *e);

#endif

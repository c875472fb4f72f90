/** tz_look.h: once a minute a worker looks whether the time-zone files have changed; if so every job's calendar is made anew.
 *  Units:  now_ns is monotonic.
 *  Errors: a file that cannot be read is logged; jobs keep the rules that they had.
 *  Owner:  tz_look_free, once no worker is at it.
 *  Thread: engine thread; the files are read on a worker. */
#ifndef SCHEDULES_TZ_LOOK_H
#define SCHEDULES_TZ_LOOK_H

#include "schedules/scheduler_int.h"

/** If it is time. */
void tz_look_maybe(struct schedules *s, int64_t now_ns);
/** A worker is at it. */
bool tz_look_busy(const struct schedules *s);
void tz_look_free(struct schedules *s);

#endif

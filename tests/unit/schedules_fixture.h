/** schedules_fixture.h: jobs, policies and times that the tests of schedules share.
 *  Thread: one. */
#ifndef TESTS_UNIT_SCHEDULES_FIXTURE_H
#define TESTS_UNIT_SCHEDULES_FIXTURE_H

#include "tests/support/support_schedules.h"
#include "tests/support/unit.h"

#include <stdio.h>

#define L "projects/p/locations/l"
#define J L "/jobs/job"
#define MINUTE (60 * NS_PER_S)
#define HOUR (60 * MINUTE)
#define HTTP "\"httpTarget\":{\"uri\":\"http://127.0.0.1:9/\"}"

static inline void create(struct ts *ts, const char *id, const char *schedule, const char *more)
{
    ts_call(ts, ERR_OK, "CreateJob", "{\"parent\":\"" L "\",\"job\":{\"name\":\"" L "/jobs/%s\",\"schedule\":\"%s\"," HTTP "%s}}", id,
            schedule, more);
}

static inline void policy(struct ts *ts, const char *fields) /* {"missed":"ALL"} without the braces */
{
    ts_call(ts, ERR_OK, "Schedules/UpdateJobPolicy", "{\"policy\":{\"name\":\"" J "\",%s}}", fields);
}

static inline const struct ts_fired *last(const struct ts *ts) { return &ts->fired[ts->n_fired - 1]; }

/* "00:05:00" of the day the clock starts at. */
static inline const char *clock_of(const struct ts_fired *f)
{
    static char text[16];
    snprintf(text, sizeof text, "%.8s", f->schedule_time + strlen("2026-01-01T"));
    return text;
}

#endif

/** zone_int.h: the inside of a zone: its table of changes, and what makes one.
 *  Thread: a zone under construction belongs to its maker. */
#ifndef SCHEDULES_ZONE_INT_H
#define SCHEDULES_ZONE_INT_H

#include "core/base/buf.h"
#include "schedules/zone.h"

#include <stdatomic.h>

#define DAY_S INT64_C(86400)
#define ZONE_TYPES_MAX 258            /* 256 of a file and two of its rule */
#define ZONE_OFFSET_MAX_S (26 * 3600) /* RFC 9636: the furthest that a clock may be from UTC */
/* After so long a calendar repeats, weekdays and all; so does a rule. */
#define ZONE_CYCLE_YEARS 400
#define ZONE_CYCLE_S (INT64_C(146097) * DAY_S)
/* A rule's changes of its first years: a cycle, two years before it and two after, since what is near an instant belongs to it, too. */
#define ZONE_RULE_YEARS (ZONE_CYCLE_YEARS + 4)
#define ZONE_CHANGES_MAX (ZONE_TIMES_MAX + 2 * ZONE_RULE_YEARS)

struct zone_type {
    int32_t offset_s;
    bool dst;
    char abbreviation[ZONE_ABBREVIATION_MAX + 1];
};
struct zone {
    atomic_uint refs;
    char name[ZONE_NAME_MAX + 1];
    uint64_t hash; /* of the bytes it was made from */
    /* Before at_s[0] type 0 holds, from at_s[i] on types[type_at[i]]. */
    size_t n, n_types;
    int64_t at_s[ZONE_CHANGES_MAX];
    uint16_t type_at[ZONE_CHANGES_MAX];
    struct zone_type types[ZONE_TYPES_MAX];
    bool repeats; /* the cycle of the table that begins at cycle_s goes on for ever */
    int64_t cycle_s;
    bool always_rules; /* and also backwards: there is nothing but the rule */
};

/* A rule as in TZ: "CET-1CEST,M3.5.0,M10.5.0/3". */
struct zone_day {
    enum { DAY_JULIAN, DAY_OF_YEAR, DAY_OF_WEEK } kind; /* Jn without 29 February, n with it, Mm.w.d */
    int day, month, week;
    int32_t time_s; /* local, from midnight; may be negative or beyond a day */
};
struct zone_rule {
    struct zone_type standard, summer; /* offsets east of UTC */
    bool has_summer;
    struct zone_day start, end; /* of summer time */
};
/** DATA_LOSS says what cannot be understood. */
MUST_USE int zone_rule_parse(struct str text, struct zone_rule *out, struct err *e);
/** Let the rule hold after the changes that the zone has. RESOURCE_EXHAUSTED: too many types. */
MUST_USE int zone_rule_apply(struct zone *z, const struct zone_rule *rule, struct err *e);
/** INVALID_ARGUMENT: it could not be a zone's. */
MUST_USE int zone_name_check(const char *name, struct err *e);
bool zone_is_utc(const char *name);
/** The path of a zone's file into `out`, in `dir`, else $TZDIR, else the system's folder; false when it is too long. */
bool zone_path(const char *dir, const char *name, char *out, size_t room);

#endif

/** date.h: the dates of HTTP, and Retry-After, which may be one. Pure.
 *  Units:  wall_ns is wall time; what retry_after_ns gives is a duration.
 *  Errors: INVALID_ARGUMENT for a text that is none of the three forms of a date.
 *  Thread: any; nothing is kept.
 *  Source: RFC 9110 5.6.7 (a reader takes all three forms) and 10.2.3. */
#ifndef CORE_HTTP_DATE_H
#define CORE_HTTP_DATE_H

#include "core/base/buf.h"
#include "core/base/clock.h"

/** `now_wall_ns` tells the century of a year of two digits: at most 50 years from now. */
MUST_USE int http_date_parse(struct str s, int64_t now_wall_ns, int64_t *wall_ns, struct err *e);
/** How long a Retry-After asks to wait, at most `max_ns`. 0: not at all, or it cannot be read. */
int64_t retry_after_ns(struct str value, int64_t now_wall_ns, int64_t max_ns);

#endif

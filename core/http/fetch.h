/** fetch.h: one blocking HTTP request through libcurl's easy interface, for the command line. Never on a loop's thread.
 *  Units:  timeout_ms is a duration.
 *  Errors: UNAVAILABLE no answer, DEADLINE_EXCEEDED too late, INVALID_ARGUMENT a URL that is none, RESOURCE_EXHAUSTED out of
 *          memory.
 *  Thread: any that may block. */
#ifndef CORE_HTTP_FETCH_H
#define CORE_HTTP_FETCH_H

#include "core/base/buf.h"

struct fetch {
    const char *method, *url, *content_type; /* content_type may be NULL */
    const char *bearer;                      /* may be NULL */
    struct str body;
    int64_t timeout_ms;
    int status;        /* out */
    struct buf answer; /* out; buf_fini it */
};
/** UNAVAILABLE with the reason when there was no answer at all; any HTTP status is success. */
MUST_USE int fetch_run(struct fetch *f, struct err *e);

#endif

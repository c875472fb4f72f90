/** headers.h: an ordered list of header fields as borrowed slices.
 *  Limits: HEADERS_MAX fields; adding more fails with RESOURCE_EXHAUSTED.
 *  Errors: RESOURCE_EXHAUSTED from headers_add when the list is full.
 *  Owner:  names and values belong to whoever filled the list (a connection's head buffer, an arena).
 *  Thread: whoever owns the list. */
#ifndef CORE_HTTP_HEADERS_H
#define CORE_HTTP_HEADERS_H

#include "core/base/buf.h"

#define HEADERS_MAX 128
/* Of the calls of tasks and schedules: the same for each attempt at the same thing, another for anything else. */
#define EVENT_ID_HEADER "Runnel-Event-Id"
struct header {
    struct str name, value;
};
struct headers {
    uint32_t n;
    struct header v[HEADERS_MAX];
};
MUST_USE int headers_add(struct headers *h, struct str name, struct str value, struct err *e);
/** First value of `name` (ASCII case folded); p == NULL when absent. */
struct str headers_get(const struct headers *h, const char *name);
/** Does a comma-separated header hold `token`? e.g. Connection: upgrade. */
bool headers_has_token(const struct headers *h, const char *name, const char *token);
bool header_name_valid(struct str s);  /* RFC 9110 token */
bool header_text_plain(struct str s);  /* no control character, not even a tab: the quick answer for most values */
bool header_value_valid(struct str s); /* no CR, LF, NUL */
/** Hop-by-hop (RFC 9110 7.6.1) or named by the message's Connection header: not to be forwarded. */
bool header_is_hop(const struct headers *h, struct str name);
/** In a request that somebody has us make: the connection's, ours to write, or a claim that only Google's own may make (X-Google-*,
 *  X-AppEngine-*), or beginning with `own_prefix` (NULL: none), which we write, too. Dropped, as Google drops it. */
bool header_is_reserved(struct str name, const char *own_prefix);

#endif

/** filter.h: which messages a subscription wants, by their attributes.
 *  Grammar: attributes:KEY | attributes.KEY = "v" | attributes.KEY != "v" | hasPrefix(attributes.KEY, "p"), with NOT or -, AND, OR
 *           and parentheses. NOT binds tightest; AND and OR may not be mixed without parentheses; all is case-sensitive.
 *           Keys may be quoted. In quotes: \\ \" \' \n \r \t, \uXXXX, \xXX, \OOO.
 *  Limits:  FILTER_BYTES_MAX bytes.
 *  Errors:  INVALID_ARGUMENT says where and why; RESOURCE_EXHAUSTED out of memory.
 *  Owner:   filter_free frees what filter_parse made; it keeps nothing of the text.
 *  Thread:  any; a filter never changes.
 *  Source:  wire.md section 1. */
#ifndef BROKER_FILTER_H
#define BROKER_FILTER_H

#include "broker/message.h"

#define FILTER_BYTES_MAX 256
#define FILTER_DEPTH_MAX 32

struct filter;
/** INVALID_ARGUMENT says where and why. */
struct filter *filter_parse(const char *text, struct err *e);
void filter_free(struct filter *f);
bool filter_match(const struct filter *f, const struct message *m);

#endif

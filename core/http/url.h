/** url.h: http and https URLs, split and checked, and hosts.
 *  Errors: INVALID_ARGUMENT names what is wrong; the struct is then not to be used.
 *  Thread: any; nothing is kept.
 *  Source: RFC 3986; WHATWG rules are not followed: what is ambiguous is refused.
 *  Owner:  a struct url borrows the text it was parsed from. */
#ifndef CORE_HTTP_URL_H
#define CORE_HTTP_URL_H

#include "core/base/arena.h"

#define URL_LEN_MAX 2083
struct url {
    bool https;
    struct str host; /* without brackets for IPv6; no user-info allowed */
    uint16_t port;   /* 80 or 443 when absent */
    bool port_given;
    struct str target; /* path and query, at least "/"; the fragment is dropped */
    struct str path, query;
};
/** INVALID_ARGUMENT names what is wrong. */
MUST_USE int url_parse(struct str text, struct url *u, struct err *e);
/** A URL as people write it: what a path, a query or a fragment may not hold, but for control characters, is percent-encoded, in the arena.
 *  What is fit already comes back as it was. NULL: the arena is full. */
char *url_encode(struct arena *a, const char *text);
/** Split "host", "host:port", "[::1]:port"; port 0 when absent. */
MUST_USE int host_split(struct str text, struct str *host, uint16_t *port, struct err *e);

/** Find `name` in a query string; value is still percent-encoded. Start with *it = 0; false at the end. */
bool query_next(struct str query, size_t *it, struct str *name, struct str *value);

#endif

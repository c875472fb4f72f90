/** put.h: writing a message's head into room that was reserved for it: each put_* returns where the next one goes.
 *  Only for the files of core/http. The caller asks fields_size first, so nothing here checks for room.
 *  Thread: any; nothing is kept. */
#ifndef CORE_HTTP_PUT_H
#define CORE_HTTP_PUT_H

#include "core/http/headers.h"

#define PUT(to, literal) put(to, literal, sizeof(literal) - 1)

static inline char *put(char *to, const char *from, size_t n)
{
    if (n)
        memcpy(to, from, n);
    return to + n;
}

static inline char *put_u64(char *to, uint64_t v)
{
    char digits[20];
    size_t n = 0;
    do {
        digits[n++] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    while (n)
        *to++ = digits[--n];
    return to;
}

static inline char *put_field(char *to, struct str name, struct str value)
{
    to = put(to, name.p, name.n);
    to = PUT(to, ": ");
    to = put(to, value.p, value.n);
    return PUT(to, "\r\n");
}

/* How much room the fields need at most; SIZE_MAX when one of them is not fit to be sent. */
static inline size_t fields_size(const struct headers *h)
{
    size_t n = 0;
    for (uint32_t i = 0; h && i < h->n; i++) {
        if (!header_name_valid(h->v[i].name) || !header_value_valid(h->v[i].value))
            return SIZE_MAX;
        n += h->v[i].name.n + h->v[i].value.n + 4;
    }
    return n;
}

/* Fields that frame the message on this connection: its sender writes them, whatever a forwarded list holds. */
static inline bool field_is_framing(struct str name)
{
    switch (name.n) {
    case 10:
        return str_ieq(name, STR("connection")) || str_ieq(name, STR("keep-alive"));
    case 14:
        return str_ieq(name, STR("content-length"));
    case 17:
        return str_ieq(name, STR("transfer-encoding"));
    default:
        return false;
    }
}

#endif

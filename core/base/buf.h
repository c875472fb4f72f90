/** buf.h: a growable byte buffer with a maximum, consumed from the front; and `str`, a borrowed slice.
 *  Errors: growing past `max` or out of memory returns -RESOURCE_EXHAUSTED and changes nothing.
 *  Owner:  buf_fini frees the bytes; a str never owns what it points at.
 *  Thread: whoever owns it; no locks. */
#ifndef CORE_BASE_BUF_H
#define CORE_BASE_BUF_H

#include "core/base/err.h"
#include <string.h>

struct str {
    const char *p;
    size_t n;
};
#define STR(literal) ((struct str){literal, sizeof(literal) - 1})
static inline struct str str_of(const char *z) { return (struct str){z, z ? strlen(z) : 0}; }
bool str_eq(struct str a, struct str b);
bool str_ieq(struct str a, struct str b); /* ASCII case folded */
static inline bool str_is(struct str a, const char *z) { return str_eq(a, str_of(z)); }

struct buf {
    char *mem;
    size_t off; /* first unread byte */
    size_t end; /* one past the last */
    size_t cap;
    size_t max;
};
void buf_init(struct buf *b, size_t max);
void buf_fini(struct buf *b); /* may be used again afterwards with the same max */
static inline char *buf_data(const struct buf *b) { return b->mem ? b->mem + b->off : NULL; }
static inline size_t buf_len(const struct buf *b) { return b->end - b->off; }
static inline struct str buf_str(const struct buf *b) { return (struct str){buf_data(b), buf_len(b)}; }
MUST_USE int buf_add_slow(struct buf *b, const void *data, size_t n); /* buf_add where the room may have to be made */
MUST_USE static inline int buf_add(struct buf *b, const void *data, size_t n)
{
    if (n > b->cap - b->end || n > b->max - buf_len(b) || !b->mem)
        return buf_add_slow(b, data, n);
    if (n)
        memcpy(b->mem + b->end, data, n);
    b->end += n;
    return 0;
}
MUST_USE static inline int buf_addz(struct buf *b, const char *z) { return buf_add(b, z, strlen(z)); }
FMT(2, 3) MUST_USE int buf_addf(struct buf *b, const char *fmt, ...);
/** Room for at least `n` more bytes after the end; NULL past max or out of memory. May move the bytes. Fill, then buf_commit what was written. */
char *buf_reserve(struct buf *b, size_t n);
void buf_commit(struct buf *b, size_t n);
void buf_consume(struct buf *b, size_t n);
void buf_clear(struct buf *b);
/** Drop what is after the first `len` unread bytes: takes back a half-written addition. */
void buf_truncate(struct buf *b, size_t len);
/** The bytes as a terminated string, not counted in the length; NULL when out of room. */
char *buf_cstr(struct buf *b);

#endif

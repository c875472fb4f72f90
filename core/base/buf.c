/** buf.c: growing, compacting and filling the byte buffer. */
#include "core/base/buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define BUF_FIRST_BYTES 256

bool str_eq(struct str a, struct str b) { return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0); }

static unsigned char fold(char c)
{
    unsigned char u = (unsigned char)c;
    return u >= 'A' && u <= 'Z' ? (unsigned char)(u | 0x20) : u;
}

bool str_ieq(struct str a, struct str b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (fold(a.p[i]) != fold(b.p[i]))
            return false;
    return true;
}

void buf_init(struct buf *b, size_t max) { *b = (struct buf){.max = max}; }

void buf_fini(struct buf *b)
{
    free(b->mem);
    buf_init(b, b->max);
}

/* Room for `n` bytes after the end, whatever the maximum says: a terminator is not content. */
static char *make_room(struct buf *b, size_t n)
{
    assert(b->off <= b->end && b->end <= b->cap);
    if (b->cap - b->end >= n && b->mem)
        return b->mem + b->end;
    size_t len = buf_len(b);
    /* Moving costs `len`, so do it only when at least as much was consumed. */
    if (b->mem && b->cap - len >= n && b->off >= len) {
        memmove(b->mem, b->mem + b->off, len);
        b->off = 0;
        b->end = len;
        return b->mem + len;
    }
    if (n > SIZE_MAX / 2 - len)
        return NULL;
    size_t need = len + n;
    size_t cap = b->cap < BUF_FIRST_BYTES ? BUF_FIRST_BYTES : b->cap * 2;
    while (cap < need)
        cap *= 2;
    if (cap > b->max) /* the last step: no more than the maximum and a terminator */
        cap = need > b->max ? need : b->max + (b->max < SIZE_MAX / 2);
    char *mem = malloc(cap);
    if (!mem && cap > need) {
        cap = need; /* memory is short: what is asked for may still fit */
        mem = malloc(cap);
    }
    if (!mem)
        return NULL;
    assert(b->mem || len == 0);
    if (len)
        memcpy(mem, b->mem + b->off, len);
    free(b->mem);
    b->mem = mem;
    b->off = 0;
    b->end = len;
    b->cap = cap;
    return mem + len;
}

char *buf_reserve(struct buf *b, size_t n)
{
    size_t len = buf_len(b);
    if (len > b->max || n > b->max - len)
        return NULL;
    return make_room(b, n ? n : 1);
}

void buf_commit(struct buf *b, size_t n)
{
    assert(n <= b->cap - b->end);
    b->end += n;
}

int buf_add_slow(struct buf *b, const void *data, size_t n)
{
    if (n == 0)
        return 0;
    char *to = buf_reserve(b, n);
    if (!to)
        return -ERR_RESOURCE_EXHAUSTED;
    memcpy(to, data, n);
    b->end += n;
    return 0;
}

int buf_addf(struct buf *b, const char *fmt, ...)
{
    /* Most texts fit in what is free already: then they are formatted once. */
    size_t room = b->mem ? b->cap - b->end : 0;
    va_list ap;
    va_start(ap, fmt);
    int need = vsnprintf(room ? b->mem + b->end : NULL, room, fmt, ap);
    va_end(ap);
    if (need < 0)
        return -ERR_RESOURCE_EXHAUSTED;
    size_t n = (size_t)need;
    if (n > b->max || buf_len(b) > b->max - n)
        return -ERR_RESOURCE_EXHAUSTED;
    if (n >= room) {
        char *to = make_room(b, n + 1);
        if (!to)
            return -ERR_RESOURCE_EXHAUSTED;
        va_start(ap, fmt);
        vsnprintf(to, n + 1, fmt, ap);
        va_end(ap);
    }
    b->end += n;
    return 0;
}

void buf_consume(struct buf *b, size_t n)
{
    assert(n <= buf_len(b));
    b->off += n;
    if (b->off == b->end)
        b->off = b->end = 0;
}

void buf_clear(struct buf *b) { b->off = b->end = 0; }

void buf_truncate(struct buf *b, size_t len)
{
    assert(len <= buf_len(b));
    b->end = b->off + len;
}

char *buf_cstr(struct buf *b)
{
    char *end = make_room(b, 1);
    if (!end)
        return NULL;
    *end = '\0';
    return buf_data(b);
}

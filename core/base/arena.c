/** arena.c: chunks that grow from small to large, freed together. */
#include "core/base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define ARENA_ALIGN 16
#define ARENA_CHUNK_MIN 1024
#define ARENA_CHUNK_MAX (64 * 1024)

struct chunk {
    struct chunk *older;
    size_t used, cap;
    _Alignas(ARENA_ALIGN) char bytes[];
};

struct arena {
    struct chunk *newest;
    size_t max, used, next_cap;
    bool refused;
};

struct arena *arena_new(size_t max_bytes)
{
    struct arena *a = malloc(sizeof *a);
    if (a)
        *a = (struct arena){.max = max_bytes, .next_cap = ARENA_CHUNK_MIN};
    return a;
}

void arena_free(struct arena *a)
{
    if (!a)
        return;
    for (struct chunk *c = a->newest; c;) {
        struct chunk *older = c->older;
        free(c);
        c = older;
    }
    free(a);
}

static struct chunk *add_chunk(struct arena *a, size_t n)
{
    size_t cap = n > a->next_cap ? n : a->next_cap;
    struct chunk *c = malloc(sizeof *c + cap);
    if (!c && cap > n) {
        cap = n;
        c = malloc(sizeof *c + cap);
    }
    if (!c)
        return NULL;
    c->used = 0;
    c->cap = cap;
    if (a->next_cap < ARENA_CHUNK_MAX)
        a->next_cap *= 2;
    /* A chunk made for one large object is full at once: the one before keeps serving small ones. */
    if (a->newest && cap == n && a->newest->cap - a->newest->used >= ARENA_ALIGN) {
        c->older = a->newest->older;
        a->newest->older = c;
    } else {
        c->older = a->newest;
        a->newest = c;
    }
    return c;
}

static void *refuse(struct arena *a)
{
    a->refused = true;
    return NULL;
}

void *arena_alloc(struct arena *a, size_t n)
{
    if (n > a->max - a->used)
        return refuse(a);
    size_t size = n ? (n + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1) : ARENA_ALIGN;
    if (size < n || size > a->max - a->used)
        return refuse(a);
    struct chunk *c = a->newest;
    if (!c || c->cap - c->used < size)
        c = add_chunk(a, size);
    if (!c)
        return refuse(a);
    void *p = c->bytes + c->used;
    c->used += size;
    a->used += size;
    return memset(p, 0, size);
}

char *arena_dup(struct arena *a, struct str s)
{
    if (s.n == SIZE_MAX)
        return NULL;
    char *p = arena_alloc(a, s.n + 1);
    if (p && s.n)
        memcpy(p, s.p, s.n);
    return p;
}

char *arena_strdup(struct arena *a, const char *z) { return arena_dup(a, str_of(z)); }

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    char first[256];
    va_list ap;
    va_start(ap, fmt);
    int need = vsnprintf(first, sizeof first, fmt, ap);
    va_end(ap);
    if (need < 0)
        return NULL;
    if ((size_t)need < sizeof first)
        return arena_dup(a, (struct str){first, (size_t)need});
    char *p = arena_alloc(a, (size_t)need + 1);
    if (!p)
        return NULL;
    va_start(ap, fmt);
    vsnprintf(p, (size_t)need + 1, fmt, ap);
    va_end(ap);
    return p;
}

size_t arena_used(const struct arena *a) { return a->used; }

bool arena_short(const struct arena *a) { return a->refused; }

/** fuzz.h: what the fuzz targets share: the entry that libFuzzer and replay.c call, a check that says what did not hold, copies
 *          that end where their bytes end (so that reading on is found), and taking an input apart.
 *  Shape:  one target a file; every input is a test by itself, whatever ran before it.
 *  Thread: one. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include "core/base/buf.h"
#include "core/base/err.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must hold of every input; the message ends the program, and with it the input is kept. */
#define FUZZ_CHECK(cond, ...)                                                    \
    do {                                                                         \
        if (!(cond)) {                                                           \
            fprintf(stderr, "%s:%d: not true: %s: ", __FILE__, __LINE__, #cond); \
            fprintf(stderr, __VA_ARGS__);                                        \
            fputc('\n', stderr);                                                 \
            abort();                                                             \
        }                                                                        \
    } while (0)

/* What no input may be blamed for: the target itself could not be set up. */
#define FUZZ_MUST(cond) FUZZ_CHECK(cond, "the target cannot be set up")

static inline struct str fuzz_str(const uint8_t *data, size_t n) { return (struct str){(const char *)data, n}; }

/** A copy on the heap without a byte after its last one; free it. */
static inline char *fuzz_exact(struct str s)
{
    char *p = malloc(s.n ? s.n : 1);
    FUZZ_MUST(p);
    if (s.n)
        memcpy(p, s.p, s.n);
    return p;
}

/** A terminated copy without what is behind the first NUL; free it. */
static inline char *fuzz_text(struct str s)
{
    size_t n = s.n ? strnlen(s.p, s.n) : 0;
    char *p = malloc(n + 1);
    FUZZ_MUST(p);
    if (n)
        memcpy(p, s.p, n);
    p[n] = '\0';
    return p;
}

/** The first byte, taken off; 0 when nothing is left. */
static inline uint8_t fuzz_byte(struct str *in)
{
    if (!in->n)
        return 0;
    uint8_t b = (uint8_t)in->p[0];
    *in = (struct str){in->p + 1, in->n - 1};
    return b;
}

/** What is before the next line feed, taken off with it; all of it when there is none. */
static inline struct str fuzz_line(struct str *in)
{
    const char *lf = in->n ? memchr(in->p, '\n', in->n) : NULL;
    struct str line = {in->p, lf ? (size_t)(lf - in->p) : in->n};
    *in = lf ? (struct str){lf + 1, in->n - line.n - 1} : (struct str){in->p + in->n, 0};
    return line;
}

/* Where to cut an input is not part of it, so that corpora hold plain requests and the like: it follows from the bytes. */
struct fuzz_dice {
    uint64_t state;
};
static inline struct fuzz_dice fuzz_dice_of(struct str s)
{
    struct fuzz_dice d = {UINT64_C(0xcbf29ce484222325)};
    for (size_t i = 0; i < s.n; i++)
        d.state = (d.state ^ (uint8_t)s.p[i]) * UINT64_C(0x100000001b3);
    return d;
}
/** A number below `n`. */
static inline size_t fuzz_roll(struct fuzz_dice *d, size_t n)
{
    d->state = d->state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return n ? (size_t)((d->state >> 33) % n) : 0;
}

#endif

/* support_zone.c: writes TZif files. */
#include "tests/support/support_zone.h"

#include <assert.h>

static void put(struct buf *b, const void *data, size_t n)
{
    int rc = buf_add(b, data, n);
    assert(rc == 0);
}

void support_put32(struct buf *b, uint32_t v)
{
    const unsigned char bytes[] = {(unsigned char)(v >> 24), (unsigned char)(v >> 16), (unsigned char)(v >> 8), (unsigned char)v};
    put(b, bytes, sizeof bytes);
}

void support_tzif_head(struct buf *b, char version, uint32_t times, uint32_t types, uint32_t characters)
{
    const char zeros[15] = {0};
    const uint32_t counts[] = {0, 0, 0, times, types, characters};
    put(b, "TZif", 4);
    put(b, &version, 1);
    put(b, zeros, sizeof zeros);
    for (size_t i = 0; i < ARRAY_LEN(counts); i++)
        support_put32(b, counts[i]);
}

void support_tzif(struct buf *b, const char *rule)
{
    for (int block = 0; block < 2; block++) {
        support_tzif_head(b, '2', 0, 1, 4);
        support_put32(b, 0);
        put(b, "\0\0LMT", 6);
    }
    put(b, "\n", 1);
    put(b, rule, strlen(rule));
    put(b, "\n", 1);
}

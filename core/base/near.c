/* near.c: the nearest right word for a wrong one, by edit distance with swaps. */
#include "core/base/near.h"

#include <string.h>

#define WORD_MAX 63

static size_t min3(size_t a, size_t b, size_t c)
{
    const size_t ab = a < b ? a : b;
    return ab < c ? ab : c;
}

size_t near_distance(const char *a, const char *b)
{
    const size_t n = strlen(a), m = strlen(b);
    if (n > WORD_MAX || m > WORD_MAX)
        return n > m ? n : m;
    /* three rows: swaps of neighbours look two back */
    size_t row[3][WORD_MAX + 1];
    for (size_t j = 0; j <= m; j++)
        row[0][j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t *now = row[i % 3], *up = row[(i - 1) % 3], *up2 = row[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= m; j++) {
            const size_t same = a[i - 1] == b[j - 1] ? 0 : 1;
            now[j] = min3(up[j] + 1, now[j - 1] + 1, up[j - 1] + same);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && up2[j - 2] + 1 < now[j])
                now[j] = up2[j - 2] + 1;
        }
    }
    return row[n % 3][m];
}

const char *near_word(const char *word, const char *const *candidates, size_t n)
{
    const char *best = NULL;
    size_t best_distance = SIZE_MAX;
    const size_t len = strlen(word);
    for (size_t i = 0; i < n; i++) {
        size_t d = near_distance(word, candidates[i]);
        /* a beginning of the right word is nearer than its letters say */
        if (len >= 2 && strncmp(word, candidates[i], len) == 0 && d > 1)
            d = 1;
        if (d < best_distance) {
            best_distance = d;
            best = candidates[i];
        }
    }
    return best && best_distance <= 1 + len / 3 ? best : NULL;
}

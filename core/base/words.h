/** words.h: questions about eight bytes at once, for the loops that look at every byte that passes through.
 *  Shape:  each takes a word from word_load and answers whether some byte in it is meant. Exact: the borrow of a subtraction
 *          runs only past a byte that is a hit itself.
 *  Thread: any.
 *  Source: Warren, Hacker's Delight, 6-1 (finding a zero byte). */
#ifndef CORE_BASE_WORDS_H
#define CORE_BASE_WORDS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define WORD_ONES UINT64_C(0x0101010101010101)
#define WORD_TOPS (WORD_ONES << 7)

static inline uint64_t word_load(const char *p)
{
    uint64_t w;
    memcpy(&w, p, sizeof w);
    return w;
}
/* Nonzero when a byte is below `limit` (at most 128); bytes from 128 on are none. */
static inline uint64_t word_below(uint64_t w, unsigned char limit) { return (w - WORD_ONES * limit) & ~w & WORD_TOPS; }
static inline uint64_t word_equal(uint64_t w, unsigned char byte) { return word_below(w ^ WORD_ONES * byte, 1); }
static inline uint64_t word_above_ascii(uint64_t w) { return w & WORD_TOPS; }

#endif

/* hist.c: counting latencies into steps that grow with them. */
#include "tools/bench/hist.h"

#include <stddef.h>

#define SLOTS (sizeof((struct hist *)0)->at / sizeof((struct hist *)0)->at[0])

static size_t slot_of(uint64_t ns)
{
    if (ns < HIST_STEPS)
        return ns;
    unsigned doubling = 63u - (unsigned)__builtin_clzll(ns) - HIST_STEP_BITS;
    size_t slot = (size_t)(doubling + 1) * HIST_STEPS + ((ns >> doubling) & (HIST_STEPS - 1));
    return slot < SLOTS ? slot : SLOTS - 1;
}

/* The middle of a slot. */
static double value_of(size_t slot)
{
    if (slot < HIST_STEPS)
        return (double)slot;
    size_t doubling = slot / HIST_STEPS - 1;
    double low = (double)((uint64_t)(HIST_STEPS + slot % HIST_STEPS) << doubling);
    return low + (double)((uint64_t)1 << doubling) / 2;
}

void hist_add(struct hist *h, int64_t ns)
{
    uint64_t v = ns < 0 ? 0 : (uint64_t)ns;
    h->count++;
    h->at[slot_of(v)]++;
    if (v > h->max)
        h->max = v;
}

double hist_percentile(const struct hist *h, double share)
{
    uint64_t seen = 0, want = (uint64_t)(share * (double)h->count + 0.5);
    if (!h->count)
        return 0;
    for (size_t i = 0; i < SLOTS; i++) {
        seen += h->at[i];
        if (h->at[i] && seen >= want) {
            double v = value_of(i);
            return v < (double)h->max ? v : (double)h->max;
        }
    }
    return (double)h->max;
}

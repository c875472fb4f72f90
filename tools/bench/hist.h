/** hist.h: a histogram of latencies: 32 steps to each doubling, so a percentile is right to about 3 %.
 *  Units:  ns; from 0 to some 18 minutes, above that the last step.
 *  Thread: whoever owns it; no locks. */
#ifndef TOOLS_BENCH_HIST_H
#define TOOLS_BENCH_HIST_H

#include <stdint.h>

#define HIST_STEP_BITS 5
#define HIST_STEPS (1u << HIST_STEP_BITS)
#define HIST_DOUBLINGS 36

struct hist {
    uint64_t count, max;
    uint64_t at[HIST_STEPS * HIST_DOUBLINGS];
};
void hist_add(struct hist *h, int64_t ns);
/** The latency that `share` (0..1) of all do not exceed; 0 when there are none. */
double hist_percentile(const struct hist *h, double share);

#endif

/** cli_live.h: what is said while many tasks run: one line that is rewritten on a terminal, now and then a line of its own elsewhere.
 *  Shape:  live_show with the counts as often as they are known -> live_clear before anything else is printed -> live_clear or live_end.
 *  Units:  *_ns are monotonic.
 *  Owner:  embedded; nothing to free.
 *  Thread: one. */
#ifndef TOOLS_RUNNEL_CLI_LIVE_H
#define TOOLS_RUNNEL_CLI_LIVE_H

#include "tools/runnel/cli.h"

#define LIVE_SAMPLES 16
#define LIVE_TEXT_MAX 200

struct live_counts {
    int64_t total, running, succeeded, failed, cancelled, retried;
};
struct live {
    bool quiet, terminal, shown;
    const char *what; /* before the counts: "Execution [x]" */
    struct live_counts last;
    char state[64]; /* as shown last */
    int64_t plain_due_ns, plain_every_ns;
    struct { /* what was done when: the rate is that of the last LIVE_SAMPLES seconds */
        int64_t at_ns, done;
    } samples[LIVE_SAMPLES];
    unsigned n_samples;
};

/** `what` must live as long as `l`. */
void live_init(struct live *l, const struct cli *c, const char *what, int64_t now_ns);
/** `state` is a word for what it does: "pending", "running"; a change of it is told at once, one of the counts in its time. */
void live_show(struct live *l, const char *state, const struct live_counts *n, int64_t now_ns);
void live_clear(struct live *l);
/** The line stays as it is. */
void live_end(struct live *l);
/** "8 running, 118 succeeded, 2 failed, 3 retried of 1000; 12.4/s, 1m 10s left"; `rate` < 0: unknown. Returns `out`. */
char *live_text(const struct live_counts *n, double rate, char out[LIVE_TEXT_MAX]);

#endif

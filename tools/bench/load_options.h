/** load_options.h: what the load generator is asked to do.
 *  Units:  seconds_ns, pause_ms and timeout_ms are durations.
 *  Thread: one. */
#ifndef TOOLS_BENCH_LOAD_OPTIONS_H
#define TOOLS_BENCH_LOAD_OPTIONS_H

#include "tools/bench/request.h"

#include <stdbool.h>

struct load_options {
    struct request_options request;
    uint64_t clients, requests, warmup;
    int64_t seconds_ns; /* 0: a number of requests instead */
    int64_t pause_ms, timeout_ms;
    int64_t rate; /* requests a second; 0: as many as are answered */
    bool print;
};
/** Wrong usage ends the program with 2. */
void load_options_parse(struct load_options *o, int argc, char **argv);

#endif

/** pull.h: from the answer of a pull the request that acknowledges all of it.
 *  Thread: one. */
#ifndef TOOLS_BENCH_PULL_H
#define TOOLS_BENCH_PULL_H

#include "tools/bench/request.h"

/** How many messages `ack` then acknowledges; 0 and no request when the answer holds none. */
size_t pull_write_ack(struct request *ack, const struct request_options *o, const char *answer, size_t n);

#endif

/** task.h: what creates a task, or a batch of them, each with a time of its own.
 *  Shape:  request number N creates the tasks N * batch, N * batch + 1 and so on, in queue N modulo `queues`; task I is due at
 *          due_ms + I * step_us.
 *  Units:  due_ms since 1970; 0: the tasks name no time.
 *  Thread: one. */
#ifndef TOOLS_BENCH_TASK_H
#define TOOLS_BENCH_TASK_H

#include "tools/bench/request.h"

/** The path; its %d is the number of the queue. */
const char *task_path(const struct request_options *o);
/** The body of request `number`, for xfree. */
char *task_body(const struct request_options *o, const char *data, uint64_t number);

#endif

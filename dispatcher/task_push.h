/** task_push.h: runs tasks: the one to whom every queue gives its tasks when their turn has come (a task_consumer).
 *  Shape:  start -> the headers of Cloud Tasks are added -> outcall.h -> queue_settle, exactly once for each start, perhaps within it.
 *  Rules:  2xx is success; what anything else means is the queue's to decide. No answer by the attempt's deadline: DEADLINE_EXCEEDED.
 *          A request that cannot be made as the task describes it: INVALID_ARGUMENT, an attempt like any other.
 *  Errors: task_push_new: RESOURCE_EXHAUSTED.
 *  Owner:  task_push_free once the queues have stopped; outcalls outlive it. A run is the queue's; its record is read until it settles.
 *  Thread: engine thread.
 *  Source: wire.md section 2 (headers and counts as recorded from the real service). */
#ifndef DISPATCHER_TASK_PUSH_H
#define DISPATCHER_TASK_PUSH_H

#include "broker/queue.h"
#include "dispatcher/outcall.h"

struct task_push;
struct task_push *task_push_new(const struct env *env, struct outcalls *o, struct err *e);
struct task_consumer *task_push_consumer(struct task_push *tp);
/** Called whenever a task begins: there is a backlog to look at. */
void task_push_watch(struct task_push *tp, void (*on_start)(void *arg), void *arg);
void task_push_free(struct task_push *tp);

#endif

/** task_state.h: the states of a task and of an execution, as tables; who may follow whom.
 *  Shape:  task:      WAITING (it has no memory and no entry) -> READING (its input) -> BEGINNING (the attempt's record is being
 *                     stored) -> READY (durable, waits for room) -> STARTING (handed to the runtime) -> RUNNING -> (STOPPING: SIGTERM, then SIGKILL) -> ENDING (its
 *                     outcome is being stored) -> SUCCEEDED | FAILED | CANCELLED | BACKOFF (another attempt follows).
 *          execution: QUEUED -> PENDING -> RUNNING -> (CANCELLING) -> SUCCEEDED | FAILED | CANCELLED; its failed tasks may be taken
 *                     up again: FAILED | CANCELLED -> QUEUED | PENDING.
 *  Lanes:  what is durable of a task is an entry in one of five states, each with two lanes: retried or not.
 *  Thread: any. */
#ifndef EXECUTOR_TASK_STATE_H
#define EXECUTOR_TASK_STATE_H

#include "core/compiler.h"

enum task_state {
    TASK_WAITING,
    TASK_READING,
    TASK_BEGINNING,
    TASK_READY,
    TASK_STARTING,
    TASK_RUNNING,
    TASK_STOPPING,
    TASK_ENDING,
    TASK_BACKOFF,
    TASK_SUCCEEDED,
    TASK_FAILED,
    TASK_CANCELLED,
    TASK_N
};
/* These numbers are in databases. */
enum execution_state {
    EXECUTION_QUEUED,
    EXECUTION_PENDING,
    EXECUTION_RUNNING,
    EXECUTION_CANCELLING,
    EXECUTION_SUCCEEDED,
    EXECUTION_FAILED,
    EXECUTION_CANCELLED,
    EXECUTION_N
};

const char *run_task_state_name(enum task_state s);
bool run_task_may_move(enum task_state from, enum task_state to);
const char *execution_state_name(enum execution_state s);
bool execution_may_move(enum execution_state from, enum execution_state to);
bool execution_state_ended(enum execution_state s);

/** The lane of an entry in this state: RUNNING, BACKOFF, SUCCEEDED, FAILED or CANCELLED. */
uint32_t run_task_lane(enum task_state s, bool retried);
/** The state of a lane; TASK_WAITING for a number that is none. */
enum task_state run_task_lane_state(uint32_t lane);
bool run_task_lane_retried(uint32_t lane);
#define TASK_LANE_MAX 11

#endif

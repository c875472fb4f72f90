/** task_state.c: the two tables. */
#include "executor/task_state.h"

#include <assert.h>

#define TO(s) (1u << TASK_##s)
static const struct {
    const char *name;
    uint32_t next;
} tasks[TASK_N] = {
    [TASK_WAITING] = {"waiting", TO(READING) | TO(BEGINNING)},
    [TASK_READING] = {"reading", TO(BEGINNING) | TO(ENDING) | TO(WAITING)},
    [TASK_BEGINNING] = {"beginning", TO(READY) | TO(ENDING)},
    [TASK_READY] = {"ready", TO(STARTING) | TO(ENDING)},
    [TASK_STARTING] = {"starting", TO(RUNNING) | TO(STOPPING) | TO(ENDING)},
    [TASK_RUNNING] = {"running", TO(STOPPING) | TO(ENDING)},
    [TASK_STOPPING] = {"stopping", TO(ENDING)},
    [TASK_ENDING] = {"ending", TO(BACKOFF) | TO(SUCCEEDED) | TO(FAILED) | TO(CANCELLED)},
    [TASK_BACKOFF] = {"backoff", TO(READING) | TO(BEGINNING) | TO(ENDING)},
    [TASK_SUCCEEDED] = {"succeeded", 0},
    [TASK_FAILED] = {"failed", TO(WAITING)}, /* taken up again */
    [TASK_CANCELLED] = {"cancelled", TO(WAITING)},
};
#undef TO

#define TO(s) (1u << EXECUTION_##s)
static const struct {
    const char *name;
    uint32_t next;
} executions[EXECUTION_N] = {
    [EXECUTION_QUEUED] = {"queued", TO(PENDING) | TO(CANCELLING)},
    [EXECUTION_PENDING] = {"pending", TO(RUNNING) | TO(CANCELLING) | TO(SUCCEEDED) | TO(FAILED)},
    [EXECUTION_RUNNING] = {"running", TO(CANCELLING) | TO(SUCCEEDED) | TO(FAILED)},
    [EXECUTION_CANCELLING] = {"cancelling", TO(CANCELLED) | TO(FAILED) | TO(SUCCEEDED)}, /* FAILED: stopped after so many failures */
    [EXECUTION_SUCCEEDED] = {"succeeded", 0},
    [EXECUTION_FAILED] = {"failed", TO(QUEUED) | TO(PENDING)}, /* its failed tasks are taken up again */
    [EXECUTION_CANCELLED] = {"cancelled", TO(QUEUED) | TO(PENDING)},
};
#undef TO

const char *run_task_state_name(enum task_state s) { return tasks[s].name; }

bool run_task_may_move(enum task_state from, enum task_state to) { return tasks[from].next & (1u << to); }

const char *execution_state_name(enum execution_state s) { return executions[s].name; }

bool execution_may_move(enum execution_state from, enum execution_state to) { return executions[from].next & (1u << to); }

bool execution_state_ended(enum execution_state s) { return s >= EXECUTION_SUCCEEDED; }

/* These numbers are in databases. */
static const enum task_state durable[] = {TASK_WAITING, TASK_RUNNING, TASK_BACKOFF, TASK_SUCCEEDED, TASK_FAILED, TASK_CANCELLED};

uint32_t run_task_lane(enum task_state s, bool retried)
{
    uint32_t i = 1;
    while (i < ARRAY_LEN(durable) && durable[i] != s)
        i++;
    assert(i < ARRAY_LEN(durable)); /* a state that is not stored */
    return 2 * i + retried;
}

enum task_state run_task_lane_state(uint32_t lane) { return lane / 2 < ARRAY_LEN(durable) ? durable[lane / 2] : TASK_WAITING; }

bool run_task_lane_retried(uint32_t lane) { return lane & 1; }

/** tasks.h: virtual days of one task queue: slow and failing targets, a full disk, clock jumps of hours, kill -9.
 *  Shape:  the world's clock and events are those of sim.h, of a `struct sim` of its own that has no engine but the queue.
 *  Facts:  none runs before its time, when paused, over the rate, the concurrency or its key's; a retry is due exactly when the
 *          formula says; an accepted task is never lost; a success that the disk has is never repeated, nor in one life any other;
 *          who is out of attempts is a dead letter, and nobody else is. */
#ifndef TESTS_SIM_TASKS_H
#define TESTS_SIM_TASKS_H

#include "tests/sim/sim.h"

/** Run it all; ends the process when a fact does not hold. */
void sim_tasks(uint64_t seed, bool trace);

#endif

/** env.h: what the engine is given from outside: time, randomness, timers and the log.
 *  The real server fills it from its loop; the simulator from its virtual clock.
 *  Store, transport, runtime and prober are passed to the parts that use them.
 *  Units:  env_now is monotonic ns, env_wall wall time in ns.
 *  Thread: engine thread only. */
#ifndef CORE_BASE_ENV_H
#define CORE_BASE_ENV_H

#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/base/random.h"
#include "core/base/timers.h"

struct env {
    const struct clock *clock; /* mono is sampled once an iteration by the loop */
    struct rng *rng;
    struct timers *timers;
    struct log *log;
};
static inline int64_t env_now(const struct env *env) { return clock_mono_ns(env->clock); }
static inline int64_t env_wall(const struct env *env) { return clock_wall_ns(env->clock); }

#endif

/** support.h: what the tests share: a clock that stands still, a whole `struct env` on it, and directories that remove themselves.
 *  Thread: one; every test is its own process. */
#ifndef TESTS_SUPPORT_SUPPORT_H
#define TESTS_SUPPORT_SUPPORT_H

#include "core/base/env.h"

/* 2026-01-01T00:00:00Z and a monotonic start that shows it is not wall time. */
#define FAKE_WALL_NS (INT64_C(1767225600) * NS_PER_S)
#define FAKE_MONO_NS (INT64_C(1000) * NS_PER_S)

/** Moves only when a test says so; set the two fields at will, also apart from each other. */
struct fake_clock {
    int64_t mono_ns, wall_ns;
    struct clock clock;
};
void fake_clock_init(struct fake_clock *fc);             /* at FAKE_MONO_NS and FAKE_WALL_NS */
void fake_clock_move(struct fake_clock *fc, int64_t ns); /* both */

/** Everything the engine is given from outside, seeded and silent. Do not copy it: env points into it. */
struct fake_env {
    struct fake_clock clock;
    struct rng rng;
    struct env env;
    int log_fd; /* of support_log; -1: none */
};
void support_env(struct fake_env *fe); /* aborts when out of memory */
void support_env_fini(struct fake_env *fe);
/** From now on what is logged, from warnings on, is kept for fake_log. */
void support_log(struct fake_env *fe);
/** How many lines have been logged that hold this text. */
size_t fake_log(struct fake_env *fe, const char *text);
/** Let `ns` pass timer by timer: the clock stands at each due instant while its timers fire, also those armed on the
 *  way. Returns how many fired. */
size_t fake_env_advance(struct fake_env *fe, int64_t ns);

/** Let the `nth` malloc, calloc or realloc from now on fail, once; 1 is the next, 0 means none. Counts those of our own
 *  code and of what is linked into the program, not those inside shared libraries. For torture loops:
 *      for (size_t n = 1; ; n++) { support_fail_alloc(n); run(); if (!support_alloc_failed()) break; }
 *  More kinds of failure: support_fault.h. */
void support_fail_alloc(size_t nth);
/** Whether it has failed since; disarms. */
bool support_alloc_failed(void);

/** A fresh empty directory; it and all in it are removed when the test program ends. */
const char *support_tmpdir(void);
/** Remove a directory and all in it now. */
void support_remove(const char *path);

#endif

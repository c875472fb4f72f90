/** admission.h: memory for programs: core/scale/capacity between the services and jobs of this server, and the words and metrics to it.
 *  Shape:  a share for each service and job, counted, since a deleted job's executions go on for a while; a claim in each revision and
 *          execution. admission_take for one program: true, or later `granted`, which takes it with admission_take; what it does
 *          not take is given back. admission_give when the program has ended.
 *  Rules:  What waits is looked through when something was given back, not by the clock.
 *  Units:  bytes.
 *  Errors: admission_check: INVALID_ARGUMENT; admission_share_new: NULL when out of memory.
 *  Owner:  claims are embedded in what wants something, which leaves before it goes; shares by their references.
 *  Thread: engine thread. */
#ifndef EXECUTOR_ADMISSION_H
#define EXECUTOR_ADMISSION_H

#include "core/base/env.h"
#include "core/observe/metrics.h"
#include "core/scale/capacity.h"
#include "executor/runtime.h"

struct admission {
    const struct env *env;
    struct runtime *runtime;
    struct capacity capacity;
    struct timer pump;
    uint64_t last_group;
    uint32_t waiting[CAPACITY_KINDS];
    struct metric *m_granted[CAPACITY_KINDS], *m_refused[CAPACITY_KINDS], *m_waiting[CAPACITY_KINDS], *m_claimed;
};
struct admission_share {
    struct capacity_share memory;
    uint64_t group; /* runtime_spec's */
    uint32_t refs;
};
struct admission_claim {
    struct capacity_claim memory;
    struct admission_share *share;
    void (*granted)(struct admission_claim *k);
    bool in_hand; /* granted, and not yet taken */
};

/** `memory_bytes` 0: not known, so that everything fits. */
void admission_init(struct admission *a, const struct env *env, struct runtime *rt, struct metrics *m, uint64_t memory_bytes);
void admission_fini(struct admission *a);
struct admission_share *admission_share_new(struct admission *a, enum capacity_kind kind);
struct admission_share *admission_share_ref(struct admission_share *s);
void admission_share_unref(struct admission_share *s); /* NULL is fine */
/** Its part of memory and CPU from now on. */
void admission_weigh(struct admission *a, struct admission_share *s, uint32_t weight);

/** A program that could never run is refused at once: `container` is the field that has it. */
MUST_USE int admission_check(struct admission *a, enum capacity_kind kind, const char *container, uint64_t bytes, struct err *e);
void admission_claim_init(struct admission_claim *k, struct admission_share *s, uint64_t bytes, int32_t priority,
                          void (*granted)(struct admission_claim *k));
MUST_USE bool admission_take(struct admission *a, struct admission_claim *k);
void admission_give(struct admission *a, struct admission_claim *k);
void admission_leave(struct admission *a, struct admission_claim *k);
/** Does anybody wait for memory? */
bool admission_is_short(const struct admission *a);
/** For people: what this claim waits for. */
#define ADMISSION_WHY_MAX 200
void admission_why(const struct admission *a, const struct admission_claim *k, char out[ADMISSION_WHY_MAX]);

#endif

/** instance.h: one running copy of a revision's program, from its start to its end.
 *  Shape:  STARTING (handed to the runtime) -> PROBING (executed; not listening yet) -> READY (its slot is open)
 *          -> DRAINING (slot closed, requests finishing) -> STOPPING (SIGTERM, 10 s, SIGKILL) -> GONE.
 *          DRAINING -> READY when it is wanted after all.
 *          Any of them may go to GONE when the program ends by itself. on_gone comes once; the owner frees the instance
 *          with instance_free once instance_settled says so (a request may still be on its slot).
 *  Limits: draining lasts at most plan->timeout_ns.
 *  Units:  started_ns, executed_ns, ready_ns and probe_due_ns are monotonic, wall_ns is wall time, the rest durations; all ns.
 *  Errors: instance_start: RESOURCE_EXHAUSTED, or what the runtime's start said. Later failures come by on_gone, see instance_why.
 *  Owner:  the plan outlives its instances. Events may come from within a call of the pool, the runtime or a timer, never
 *          from within instance_start.
 *  Thread: engine thread. */
#ifndef EXECUTOR_INSTANCE_H
#define EXECUTOR_INSTANCE_H

#include "executor/pool.h"
#include "executor/runtime.h"

#define INSTANCE_ID_LEN 24
#define INSTANCE_STOP_GRACE_NS (10 * NS_PER_S)
#define INSTANCE_STARTUP_MAX_NS (240 * NS_PER_S)  /* default startup probe */
#define INSTANCE_PROBE_FIRST_NS (300 * NS_PER_US) /* then doubled up to INSTANCE_PROBE_EVERY_NS */
#define INSTANCE_PROBE_EVERY_NS (100 * NS_PER_MS)
#define INSTANCE_PROBE_PATIENCE_NS (5 * NS_PER_MS) /* the first probe, which begins at once, asks all the time */
#define INSTANCE_SETTLED_NS (10 * NS_PER_S)        /* ends sooner after it was ready count as crashes */
#define INSTANCE_HEALTHY_NS (60 * NS_PER_S)        /* ready this long: earlier crashes are forgotten */

#define INSTANCE_STATES(X) \
    X(STARTING, "starting") X(PROBING, "probing") X(READY, "ready") X(DRAINING, "draining") X(STOPPING, "stopping") X(GONE, "gone")
enum instance_state {
#define INSTANCE_ENUM(name, text) INSTANCE_##name,
    INSTANCE_STATES(INSTANCE_ENUM)
#undef INSTANCE_ENUM
        INSTANCE_N
};
const char *instance_state_name(enum instance_state s);
bool instance_may_move(enum instance_state from, enum instance_state to);

struct instance;
struct instance_events {
    void (*on_ready)(void *arg, struct instance *i);
    void (*on_healthy)(void *arg, struct instance *i, int64_t ready_for_ns); /* at INSTANCE_SETTLED_NS and _HEALTHY_NS */
    void (*on_line)(void *arg, struct instance *i, bool is_stderr, struct str line, int64_t wall_ns);
    void (*on_gone)(void *arg, struct instance *i);
    void (*on_state)(void *arg, struct instance *i, enum instance_state from); /* for counting, before the others */
};
/* What a revision's instances have in common. */
struct instance_plan {
    const struct env *env;
    struct runtime *runtime;
    struct prober *prober;
    struct pool *pool;
    const struct instance_events *events;
    void *arg;
    struct runtime_spec spec;                                                 /* without the id */
    int64_t timeout_ns;                                                       /* of a request */
    int64_t probe_delay_ns, probe_timeout_ns, probe_total_ns, probe_every_ns; /* instance_plan_default, then the template's (plan.c) */
    const char *probe_http;                                                   /* the request of an HTTP probe, or NULL for TCP */
};
struct instance {
    struct node link; /* the owner's */
    const struct instance_plan *plan;
    enum instance_state state;
    char id[INSTANCE_ID_LEN + 1];
    struct runtime_instance *run;
    struct slot *slot;
    int64_t pid;
    uint16_t port;
    int64_t started_ns, executed_ns, ready_ns, probe_due_ns;
    uint32_t probes;
    bool asked; /* we wanted it to end */
    bool probe_failed, probing;
    struct timer timer; /* of the state: next probe, healthy, end of draining, SIGKILL */
    struct probe_request probe;
    struct runtime_exit exit; /* when GONE */
    char last_stderr[200];
};

/** The default startup probe: TCP, as soon as it listens, within INSTANCE_STARTUP_MAX_NS. */
void instance_plan_default(struct instance_plan *p);
struct instance *instance_start(const struct instance_plan *p, struct err *e);
/** Finish what is in flight, then end. From STARTING and PROBING it ends at once. */
void instance_drain(struct instance *i);
/** From DRAINING back into service, with what is in flight. */
void instance_return(struct instance *i);
/** End now: SIGTERM. */
void instance_stop(struct instance *i);
/** The pool says that closed slots emptied: go on if that is ours. */
void instance_emptied(struct instance *i);
bool instance_settled(const struct instance *i);
void instance_free(struct instance *i);
/** Free it in whatever state it is, when runtime and io threads are gone and will not speak of it again. */
void instance_abandon(struct instance *i);
/** Why it ended, for people: "exited with code 3; last words: …". */
void instance_why(const struct instance *i, char *out, size_t size);

#endif

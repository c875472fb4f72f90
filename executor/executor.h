/** executor.h: services and revisions by name, their instances, and the Run Admin v2 API over the method table.
 *  Shape:  executor_new -> executor_load -> executor_register -> runs -> executor_stop -> executor_free.
 *  Units:  durations in ns.
 *  Errors: executor_new: RESOURCE_EXHAUSTED. executor_load: also DATA_LOSS for a record that cannot be read, and what the store
 *          said. Clients get theirs in the answer to the call.
 *  Owner:  executor_free; the names of the config are copied, the deps are the caller's and outlive it. A view is lent to its
 *          callback.
 *  Thread: engine thread; the pools inside a view may be used from io threads (see pool.h). */
#ifndef EXECUTOR_EXECUTOR_H
#define EXECUTOR_EXECUTOR_H

#include "core/observe/metrics.h"
#include "core/rpc/method.h"
#include "core/rpc/operation.h"
#include "core/store/store.h"
#include "executor/pool.h"
#include "executor/runtime.h"

#define EXECUTOR_SERVICES_MAX 10000
#define EXECUTOR_REVISIONS_PER_SERVICE_MAX 1000
#define EXECUTOR_INSTANCES_MAX 2000 /* on this host */

struct executor;
struct exit_journal;
struct executor_config {
    const char *project, *region; /* defaults */
    const char *domain;           /* "localhost" */
    uint16_t port;                /* the server's, for URLs and the metadata server */
    int64_t idle_ns;              /* an instance without requests is stopped after this; default 15 min */
    uint32_t max_instances_host;  /* 0: EXECUTOR_INSTANCES_MAX */
    uint32_t max_tasks_host;    /* programs of jobs' tasks at once; 0: 2000. Apart from the instances, so that neither starves the other */
    uint32_t host_cpu_millis;   /* 0: not known */
    uint64_t host_memory_bytes; /* what memory limits of programs that run may add up to; 0: not known, so that all fit */
    const char *scratch_dir;    /* for the files of RUNNEL_RESULT; NULL: there are none */
};
struct executor_deps {
    const struct env *env;
    struct store *store;
    struct runtime *runtime;
    struct prober *prober;
    struct operations *operations;
    struct metrics *metrics;
    struct mailbox *engine;
    struct exit_journal *journal; /* NULL: none */
};

/* What the ingress needs to know of one service, valid only during the callback (pools may be referenced). */
struct executor_target {
    struct pool *pool;    /* NULL: the revision is not there or cannot run */
    const char *revision; /* short name */
    uint32_t percent;
    const char *tag; /* "" none */
};
struct executor_view {
    const char *name; /* full resource name */
    const char *project, *region, *service;
    const char *uri; /* http://SERVICE.DOMAIN:PORT */
    int64_t timeout_ns;
    bool invoker_iam_disabled;
    const char *ingress_off; /* why nobody may come in (INGRESS_TRAFFIC_NONE, no default URL), or NULL */
    const char *const *custom_audiences;
    size_t n_custom_audiences;
    const struct executor_target *targets;
    size_t n_targets;
    const char *not_ready; /* why no revision serves yet, or NULL */
};
typedef void (*executor_view_fn)(void *arg, const struct executor_view *v);

struct executor *executor_new(const struct executor_config *c, const struct executor_deps *d, struct err *e);
MUST_USE int executor_load(struct executor *x, struct err *e);
MUST_USE int executor_register(struct executor *x, struct registry *r, struct err *e);
/** Called (coalesced, from the loop) after anything in the views changed. */
void executor_watch(struct executor *x, void (*on_change)(void *arg), void *arg);
void executor_each(struct executor *x, executor_view_fn fn, void *arg);
/** A hint from the dispatcher: this many messages are ready to be pushed to the service and are not requests yet. */
void executor_backlog(struct executor *x, const char *service_full_name, uint64_t messages);
/** Stop taking requests, SIGTERM all instances, wait (10 s), SIGKILL; then done. */
void executor_stop(struct executor *x, void (*done)(void *arg), void *arg);
/** After executor_stop; or without, when the runtime will say nothing any more (the simulator's kill -9). */
void executor_free(struct executor *x);

/** Is there a service or a job of this full resource name? */
bool executor_has(const struct executor *x, const char *resource);
/** Called with the full resource name of each service and job once its deletion is durable (its IAM policy is then forgotten). */
void executor_on_delete(struct executor *x, void (*gone)(void *arg, const char *resource), void *arg);

/** "512Mi", "1G", as in a limit; 0: not such. */
uint64_t executor_memory_bytes(const char *text);

struct executor_counts {
    uint32_t services, revisions, starting, ready, stopping;
    uint32_t jobs, executions, tasks; /* tasks: those that run */
};
struct executor_counts executor_counts(const struct executor *x);

#endif

/** executor_int.h: the inside of the executor, shared by its files.
 *  Shape:  executor -> services by full name -> revisions (newest first) -> instances.
 *          service.c changes services and rolls out; revision.c scales; traffic.c says who gets what; validate.c refuses;
 *          run_api.c and logging_api.c speak the API; executor.c holds it together.
 *  Rules:  API messages are heap copies that are never edited in place: a change is made on a clone in an arena, and the
 *          heap copy replaced. Nothing is freed inside a callback: what has gone waits in executor->leaving for `reap`.
 *  Thread: engine thread. */
#ifndef EXECUTOR_EXECUTOR_INT_H
#define EXECUTOR_EXECUTOR_INT_H

#include "core/base/map.h"
#include "core/rpc/pb.h"
#include "core/scale/autoscaler.h"
#include "executor/admission.h"
#include "executor/executor.h"
#include "executor/instance.h"
#include "executor/logs.h"
#include "executor/run.pb-c.h"
#include "google/protobuf/duration.pb-c.h"
#include "google/protobuf/timestamp.pb-c.h"

/* protoc-c's names, made short enough to read. */
#define RUN(message) Google__Cloud__Run__V2__##message
#define RUN_DESC(message) (&google__cloud__run__v2__##message##__descriptor)
#define RUN_REASON(name) GOOGLE__CLOUD__RUN__V2__CONDITION__COMMON_REASON__##name
#define RUN_REVISION_REASON(name) GOOGLE__CLOUD__RUN__V2__CONDITION__REVISION_REASON__##name
#define RUN_LATEST GOOGLE__CLOUD__RUN__V2__TRAFFIC_TARGET_ALLOCATION_TYPE__TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST
#define RUN_REVISION GOOGLE__CLOUD__RUN__V2__TRAFFIC_TARGET_ALLOCATION_TYPE__TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION
#define RUN_MANUAL GOOGLE__CLOUD__RUN__V2__SERVICE_SCALING__SCALING_MODE__MANUAL

enum run_condition {
    CONDITION_PENDING = GOOGLE__CLOUD__RUN__V2__CONDITION__STATE__CONDITION_PENDING,
    CONDITION_RECONCILING = GOOGLE__CLOUD__RUN__V2__CONDITION__STATE__CONDITION_RECONCILING,
    CONDITION_FAILED = GOOGLE__CLOUD__RUN__V2__CONDITION__STATE__CONDITION_FAILED,
    CONDITION_SUCCEEDED = GOOGLE__CLOUD__RUN__V2__CONDITION__STATE__CONDITION_SUCCEEDED,
};

/* Limits and times in one place. */
#define RUN_ARENA_MAX (8u << 20) /* one resource and its changes */
#define RUN_NAME_MAX 512
#define RUN_TARGETS_MAX 100 /* entries of traffic[] */
#define RUN_CONCURRENCY_DEFAULT 80
#define RUN_CONCURRENCY_MAX 1000
#define RUN_TIMEOUT_DEFAULT_S 300
#define RUN_TIMEOUT_MAX_S 3600
#define RUN_INSTANCES_DEFAULT 100
#define RUN_VERIFY_ATTEMPTS 2               /* starts of a new revision before it has failed: its port may have been taken */
#define RUN_ROLLOUT_MAX_NS (600 * NS_PER_S) /* e.g. while the host has no room */
#define RUN_RETIRE_AFTER_NS NS_PER_S        /* a revision that lost its traffic: routing snapshots catch up first */
#define RUN_TICK_NS NS_PER_S
#define RUN_TICK_MIN_NS (20 * NS_PER_MS)
#define RUN_BACKOFF_MIN_NS NS_PER_S
#define RUN_BACKOFF_MAX_NS (60 * NS_PER_S)
#define RUN_IDLE_SHORT_NS (10 * NS_PER_S) /* how long an idle instance is kept that has memory somebody else waits for */
#define RUN_WATCHERS_MAX 4

struct service;
struct revision;
struct run_jobs;
enum revision_state { REVISION_PENDING, REVISION_READY, REVISION_FAILED };

struct target {
    struct revision *revision; /* NULL: named but not there, or nothing is ready yet */
    uint32_t percent;
    int type;
    char tag[48]; /* "" none */
};
struct revision {
    struct node link; /* service->revisions, newest first; or executor->leaving's */
    struct executor *x;
    struct service *service;
    char *name;     /* full */
    const char *id; /* the last part of it */
    RUN(Revision) * msg;
    enum revision_state state;
    bool verifying, deleted, forgets; /* forgets: a retire timer runs out */
    uint32_t percent;                 /* of the service's traffic, summed over targets */
    bool serving;                     /* is a target, also with 0 percent */
    uint32_t verify_failures;
    /* running */
    struct pool *pool;
    struct instance_plan plan;
    char **argv, **vars;
    char *probe_http;
    struct list instances;
    uint32_t count[INSTANCE_N];
    /* scaling */
    struct scaler scaler;
    struct timer tick, retire;
    uint64_t seen_started, seen_finished, seen_busy_ns;
    int64_t seen_ns;
    double arrivals_per_s, latency_s;
    char why[160];
    bool scaling; /* inside revision_scale */
    struct admission_claim claim;
    bool short_said; /* that it waits for memory */
    /* crash loop */
    uint32_t crashes;
    int64_t backoff_until_ns;
    struct timer backoff;
    char crash_why[320];
    struct metric *m_instances, *m_starts, *m_crashes;
};
struct rollout {
    bool active;
    struct operation *operation; /* NULL after a restart */
    struct timer deadline;
};
struct service {
    struct node link; /* executor->leaving's */
    struct executor *x;
    char *name; /* full; the three below point into `parts` */
    char *parts;
    const char *project, *region, *id;
    char *uri;
    RUN(Service) * msg; /* NULL while its creation is being stored */
    bool busy;          /* a change is being stored */
    bool deleted;
    bool crash_shown;
    struct list revisions;
    struct revision *latest_ready, *latest_created;
    struct target *targets;
    size_t n_targets;
    uint64_t backlog;
    struct rollout rollout;
    struct admission_share *share;
};
struct watcher {
    void (*fn)(void *arg);
    void *arg;
};
struct executor {
    struct executor_config config; /* strings owned */
    struct executor_deps deps;
    const struct env *env;
    struct map *services; /* by full name, those being created too */
    struct logs *logs;
    struct run_jobs *jobs;
    struct admission admission;
    struct list gone;    /* instances that ended; freed when no request is on their slot */
    struct list leaving; /* deleted services whose instances are ending */
    struct list leaving_revisions;
    struct timer reap, changed, resume;
    struct watcher watchers[RUN_WATCHERS_MAX];
    size_t n_watchers;
    void (*on_gone)(void *arg, const char *resource); /* a service's deletion is durable */
    void *on_gone_arg;
    uint32_t count[INSTANCE_N]; /* instances by state; GONE is not counted */
    uint32_t n_instances;
    bool stopping;
    void (*stopped)(void *arg);
    void *stopped_arg;
    bool no_room_said;
    struct metric_family *f_instances, *f_starts, *f_crashes, *f_startup;
    struct metric *m_startup;
};

/* executor.c */
void executor_changed(struct executor *x); /* the watchers are told, coalesced */
void executor_reap_soon(struct executor *x);
uint32_t executor_room(const struct executor *x);
void executor_arm(struct executor *x, struct timer *t, int64_t due_ns);
/** DATA_LOSS: a stored record that this server cannot have written. */
MUST_USE int executor_damaged(const char *kind, const char *name, const char *why, struct err *e);

/* service.c */
struct service *service_new(struct executor *x, const char *name, struct err *e);
void service_free(struct service *s);
struct service *service_find(const struct executor *x, const char *name); /* NULL also while it is being created or gone */
struct revision *service_revision(const struct service *s, const char *id);
/** Take in what is durable now: the new message and perhaps a new revision (both become the service's), and roll out. */
void service_install(struct service *s, RUN(Service) * msg, struct revision *added, struct operation *op);
void service_removed(struct service *s); /* its deletion is durable */
void service_revision_ready(struct service *s, struct revision *r);
void service_revision_failed(struct service *s, struct revision *r, const char *why);
void service_crash_news(struct service *s); /* a revision began or ended backing off */
/** A revision of it waits for memory, as `why` says, or no longer does: NULL. */
void service_short_news(struct service *s, struct revision *r, const char *why);
void service_weigh(struct service *s);   /* its message is another one */
void service_rollout(struct service *s); /* go on with what is not finished */
void service_loaded(struct service *s);  /* its revisions are there again after a restart */
void service_revision_removed(struct service *s, struct revision *r);
MUST_USE int service_store(struct executor *x, struct store_txn *t, const RUN(Service) * m, struct err *e);
MUST_USE int revision_store(struct executor *x, struct store_txn *t, const RUN(Revision) * m, struct err *e);
#define RUN_KIND_SERVICE "run.service"
#define RUN_KIND_REVISION "run.revision"

/* condition.c */
RUN(Condition) * condition_new(struct arena *a, const struct env *env, const char *type, enum run_condition state, const char *message);
/** Put it in place of the one of its type (keeping the time when the state is the same), or add it. */
void condition_set(struct arena *a, RUN(Condition) * **list, size_t *n, RUN(Condition) * c);

/* revision.c */
struct revision *revision_new(struct service *s, RUN(Revision) * msg, struct err *e); /* takes msg, also on failure */
void revision_free(struct revision *r);
void revision_verify(struct revision *r); /* start one instance; service_revision_ready or _failed follows */
void revision_serve(struct revision *r, bool serving, uint32_t percent);
void revision_scale(struct revision *r);
void revision_end(struct revision *r, const struct err *why);   /* deleted: nobody may wait any more; instances end */
bool revision_quiet(const struct revision *r);                  /* no instance is left */
void revision_replace(struct revision *r, RUN(Revision) * msg); /* takes it */
void revision_instance_freed(struct revision *r);
void revision_waits_no_more(struct revision *r); /* it is to have no further instance for now */

/* plan.c */
MUST_USE int plan_build(struct revision *r, struct err *e);
void plan_free(struct revision *r);
void plan_point(struct revision *r); /* the revision's message was replaced: point into the new one */
/** Arguments and variables of a container, NULL-terminated lists to be freed with all they hold. `fixed`: K=V that come first. */
MUST_USE int plan_argv(const RUN(Container) * c, char ***argv);
MUST_USE int plan_vars(const struct executor *x, const RUN(Container) * c, const char *const *fixed, char ***vars);
void plan_limits(const RUN(Container) * c, uint32_t *cpu_millis, uint64_t *memory_bytes);
uint32_t plan_cpu_millis(const char *text); /* "1", "500m", "0.5"; 0: not such */

/* traffic.c */
/** Resolve msg->traffic against the revisions there are; tell them what they serve. */
MUST_USE int traffic_resolve(struct service *s, struct err *e);
/** The statuses for the API, in the arena of `m`. */
MUST_USE int traffic_statuses(const struct service *s, struct arena *a, RUN(Service) * m, struct err *e);
MUST_USE int traffic_check_percents(const RUN(Service) * m, struct err *e);
MUST_USE int traffic_check(const struct service *s, const RUN(Service) * m, const char *new_revision, struct err *e);

/* validate.c */
MUST_USE int validate_parent(const char *parent, struct err *e);
/** "template.containers[0]…" is what its refusals begin with. */
MUST_USE int validate_container(struct executor *x, struct arena *a, const RUN(Container) * c, struct err *e);
/** Labels or annotations, which it puts in order. */
MUST_USE int validate_map(const char *field, void *entries, size_t n, struct err *e);
bool validate_is_id(const char *id, size_t max);
MUST_USE int validate_service_id(const char *id, struct err *e);
/** Refuse what cannot be done, naming the field; fill in defaults and put maps in order, so that equal templates are equal bytes. */
MUST_USE int validate_service(struct executor *x, struct arena *a, RUN(Service) * m, const char *id, struct err *e);

/* job_settings.c */
/** What a service's or a revision's annotations runnel.dev/… say is well said. */
MUST_USE int service_settings_check(void *annotations, size_t n, struct err *e);
/** runnel.dev/weight among annotations that have been checked; `otherwise` when it is not there. */
uint32_t settings_weight(void *annotations, size_t n, uint32_t otherwise);

/* run_api.c, logging_api.c */
#define LOGGING_LINK_PATH "/runnel/v1/entries"
MUST_USE int run_api_register(struct executor *x, struct registry *r, struct err *e);
MUST_USE int logging_api_register(struct executor *x, struct registry *r, struct err *e);

#endif

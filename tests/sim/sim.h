/** sim.h: the simulator: the whole engine on a virtual clock, in a world that fails by seed.
 *  Shape:  two timer heaps share one clock: the engine's own, and the world's (store, network, programs, clients).
 *          A step: advance to the next instant -> world timers -> the engine's mailbox -> engine timers -> checks.
 *          A crash abandons the engine as a kill -9 would (its memory is left alone; every seed is a process of its own)
 *          and starts a new one on what the store had committed.
 *  Seeds:  a run is a function of its seed alone; `runnel-sim --seed N --trace` replays it. */
#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

#include "broker/broker.h"
#include "core/base/map.h"
#include "dispatcher/push.h"
#include "executor/executor.h"

#define SIM_TOPICS 3
#define SIM_SUBS 8
#define SIM_SERVICES 2
#define SIM_MESSAGES_MAX 4000

enum sub_kind {
    SUB_PULL,
    SUB_PULL_ORDERED,
    SUB_PUSH,
    SUB_PUSH_ORDERED,
    SUB_PUSH_SERVICE,
    SUB_PULL_SLOW,
    SUB_PULL_SOUGHT, /* somebody seeks it, to times and to snapshots */
    SUB_PULL_REMADE, /* somebody deletes it and makes it again */
};

/* What the world knows of one published message. */
struct fact {
    uint32_t topic, key; /* key 0: no ordering key */
    int64_t sent_ns;
    enum { FACT_SENT, FACT_ACCEPTED, FACT_REFUSED, FACT_UNKNOWN } state; /* UNKNOWN: the answer died in a crash */
    struct {
        bool acked;
        bool repeatable;                     /* acked, but that may not have counted: its answer is not there, or a crash took it back */
        bool optional;                       /* may come or not: a seek or a deletion was under way, or its outcome is not known */
        bool in_snapshot, acked_in_snapshot; /* certainly unacknowledged, certainly acknowledged in the latest snapshot */
        int64_t acked_ns, leased_until_ns;   /* not before that again, unless it goes back earlier */
        uint32_t deliveries, in_flight;
    } sub[SIM_SUBS];
};
struct sim_sub {
    enum sub_kind kind;
    uint32_t topic, ack_deadline_s;
    char name[96];
    int64_t quiet_ns; /* what was delivered until then says nothing; INT64_MAX: a seek or a deletion is under way */
    bool push_off;    /* certainly without an endpoint */
};
struct sim_service {
    char name[96], short_name[16];
    uint32_t max, concurrency;
};

struct sim {
    uint64_t seed, epoch, steps;
    bool trace, healing;
    int64_t now_ns, wall_offset_ns, crashed_ns, healed_ns;
    struct clock clock;
    struct rng world_rng, engine_rng;
    struct timers *world;
    struct log *log;

    struct env env; /* the engine's, new after each crash */
    struct mailbox *mailbox;
    struct store *store;
    struct registry *registry;
    struct metrics *metrics;
    struct operations *operations;
    struct adapter *adapter;
    struct broker *broker;
    struct executor *executor;
    struct pushers *pushers;
    struct transport transport;
    struct token_source tokens;
    struct runtime runtime;
    struct prober prober;

    struct timer store_timer;
    bool disk_full;
    int64_t disk_ok_ns, flushed_ns; /* since when it works; see facts_disk */
    double trouble;                 /* how often things fail, by seed */
    struct fact facts[SIM_MESSAGES_MAX];
    size_t n_facts;
    size_t missing; /* accepted messages not yet acknowledged, over all subscriptions */
    bool key_busy[SIM_TOPICS][8], deployed;
    uint32_t snapshot, snapshots_made; /* the number of the one there is; 0: none */
    size_t snapshot_facts;             /* what was published when it was made */
    bool snapshotting, remaking, push_restored;
    struct sim_sub subs[SIM_SUBS];
    struct sim_service services[SIM_SERVICES];
    uint64_t calls_open, pushes, pulls, crashes, instances_started, seeks, remakes, extensions;
};

/* world.c */
void sim_world_init(struct sim *s, uint64_t seed, bool trace); /* clock, chance, store; no engine */
void sim_start(struct sim *s, uint64_t seed, bool trace);
void sim_step(struct sim *s);
void sim_run_for(struct sim *s, int64_t ns);
void sim_crash(struct sim *s);
/** One-shot world event; not called any more after a crash when `engine_bound`. */
void sim_after(struct sim *s, int64_t ns, bool engine_bound, void (*fn)(struct sim *s, void *arg), void *arg);
FMT(2, 3) void sim_trace(struct sim *s, const char *fmt, ...);
/** A property does not hold: say which, how to replay, and end the process. */
FMT(2, 3) _Noreturn void sim_fail(struct sim *s, const char *fmt, ...);
int64_t sim_delay(struct sim *s, int64_t min_ns, int64_t max_ns);
bool sim_chance(struct sim *s, double p);

/* calls.c: API calls as JSON, as a client makes them. */
typedef void (*sim_reply_fn)(struct sim *s, void *arg, const struct call *c);
void sim_call(struct sim *s, const char *method, const char *json, sim_reply_fn fn, void *arg);

/* transport_sim.c, runtime_sim.c */
void sim_transport_init(struct sim *s);
void sim_runtime_init(struct sim *s);
void sim_runtime_crashed(struct sim *s);
void sim_runtime_check(struct sim *s);
/** A request reaches / leaves the instance at `port`. */
void sim_instance_enter(struct sim *s, uint16_t port);
void sim_instance_leave(struct sim *s, uint16_t port);
bool sim_instance_alive(struct sim *s, uint16_t port);
struct pool *sim_service_pool(struct sim *s, const char *short_name);

/* actors.c: clients that publish, pull, settle, deploy and call services. */
void sim_actors_init(struct sim *s);      /* create everything, with no trouble yet */
void sim_actors_go(struct sim *s);        /* start the traffic */
void sim_actors_restarted(struct sim *s); /* the server came back */
void sim_make_sub(struct sim *s, int k);

/* admins.c: those who change subscriptions: seeks and snapshots, push configuration, deletion. */
void sim_admins_go(struct sim *s);
void sim_admins_restarted(struct sim *s);
void sim_sub_made(struct sim *s, const char *name); /* a creation was answered */

/* facts.c: what must hold. */
uint32_t fact_new(struct sim *s, uint32_t topic, uint32_t key);
void fact_published(struct sim *s, uint32_t number, bool accepted);
void fact_delivered(struct sim *s, uint32_t sub, struct str data);
/** A puller holds it until then (0: it gave it back); `delivery` is which one it holds. */
void fact_leased(struct sim *s, uint32_t sub, struct str data, uint32_t delivery, int64_t until_ns);
uint32_t fact_deliveries(struct sim *s, uint32_t sub, struct str data);
/** What a message is to a subscription from now on, after a seek or the like. */
enum fact_is { FACT_WANTED, FACT_DONE, FACT_OPTIONAL };
void fact_mark(struct sim *s, uint32_t number, int sub, enum fact_is is);
void fact_returned(struct sim *s, uint32_t sub, struct str data); /* a push failed, was cancelled or timed out */
void fact_acked(struct sim *s, uint32_t sub, struct str data, bool certain);
int sim_sub_index(struct sim *s, const char *name);
void facts_disk(struct sim *s);
void facts_crashed(struct sim *s);
void facts_check_step(struct sim *s);
void facts_check_end(struct sim *s);

#endif

/** autoscaler.h: how many instances a revision should have. Pure functions over numbers: no clock, no I/O.
 *  Shape:  scaler_observe(sample) as often as there is news -> scaler_decide(now, limits) -> count and the reason as text.
 *  Rules:  Knative's KPA windows (wire.md section 7) made better: the backlog counts before it becomes requests, demand is
 *          predicted from arrivals x latency, starts under way count as capacity, and nothing exceeds `max` or the host.
 *          A request that waits counts as what it takes to clear the queue within SCALER_WAIT_NS once its latency is known,
 *          so the queue of a cold start does not start a crowd; unknown, it counts as one.
 *          Down only when the load fits into the smaller number with SCALER_DOWN_MARGIN to spare: no flapping.
 *          Zero: only after `idle_ns` without demand and when min is 0. From zero: one observation of demand is enough.
 *  Units:  monotonic ns; concurrency is a time-weighted average of requests running and waiting.
 *  Owner:  the struct is embedded in its revision and holds no memory of its own.
 *  Thread: whoever owns the struct. */
#ifndef CORE_SCALE_AUTOSCALER_H
#define CORE_SCALE_AUTOSCALER_H

#include "core/compiler.h"

#define SCALER_BUCKETS 60
#define SCALER_BUCKET_NS NS_PER_S       /* longer windows than all buckets are cut to them */
#define SCALER_WAIT_NS NS_PER_S         /* waiting requests are to be served within this */
#define SCALER_DRAIN_NS (10 * NS_PER_S) /* a backlog is to be worked off within this */
#define SCALER_DOWN_MARGIN 0.1
#define SCALER_TARGET_MIN 0.01
#define SCALER_WHY_MAX 160
struct scaler_config {
    double target_per_instance;  /* container concurrency x utilization, > 0 */
    uint32_t min, max;           /* instances; max wins where they cross */
    int64_t stable_ns, panic_ns; /* 60 s, 6 s */
    double panic_threshold;      /* 2.0 */
    int64_t idle_ns;             /* keep the last instances this long without demand */
    double max_up_rate;          /* per decision, times ready; 1000 */
    double max_down_rate;        /* 2 */
};
struct scaler {
    struct {
        int64_t start_ns;
        double area; /* concurrency x ns */
        int64_t span_ns;
    } buckets[SCALER_BUCKETS];
    int64_t last_ns; /* last observation */
    double last_concurrency;
    int64_t panic_since_ns; /* 0 = not panicking */
    uint32_t panic_max;
    int64_t last_demand_ns;
};
struct scaler_sample {
    uint32_t running, waiting; /* requests now */
    uint32_t backlog;          /* messages ready to be pushed that are not requests yet */
    double arrivals_per_s;     /* recent; 0 unknown */
    double latency_s;          /* recent mean; 0 unknown */
};
struct scaler_state {
    uint32_t ready, starting;
    uint32_t host_room; /* how many more the host can hold */
};
struct scaler_decision {
    uint32_t want; /* in all: ready, starting and still to be started */
    bool panicking;
    char why[SCALER_WHY_MAX]; /* for people: metrics, logs, console */
};
void scaler_init(struct scaler *s, int64_t now_ns);
/** Target 56 (80 at 70 %), 0 to 100 instances, Knative's windows, 15 min idle. */
void scaler_config_default(struct scaler_config *c);
/** The sample holds from now on until the next one. */
void scaler_observe(struct scaler *s, int64_t now_ns, const struct scaler_sample *sample);
/** Observes the sample, too. */
void scaler_decide(struct scaler *s, const struct scaler_config *c, int64_t now_ns, const struct scaler_sample *sample,
                   const struct scaler_state *state, struct scaler_decision *out);

#endif

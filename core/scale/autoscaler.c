/** autoscaler.c: averages over ring buckets, then Knative's stable and panic rules on the larger of past and predicted demand. */
#include "core/scale/autoscaler.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define COUNT_MAX 1000000.0
#define ROUNDING 1e-6 /* a load of exactly n targets needs n, whatever the last bit says */

void scaler_config_default(struct scaler_config *c)
{
    *c = (struct scaler_config){
        .target_per_instance = 80 * 0.7,
        .min = 0,
        .max = 100,
        .stable_ns = 60 * NS_PER_S,
        .panic_ns = 6 * NS_PER_S,
        .panic_threshold = 2.0,
        .idle_ns = 15 * 60 * NS_PER_S,
        .max_up_rate = 1000,
        .max_down_rate = 2,
    };
}

void scaler_init(struct scaler *s, int64_t now_ns) { *s = (struct scaler){.last_ns = now_ns, .last_demand_ns = now_ns}; }

/* ---- demand ---- */

static double known(double v) { return isfinite(v) && v > 0 ? v : 0; }

/* How much concurrency it takes to serve `n` requests of this latency within `within_ns`; never more than n. */
static double to_clear(uint32_t n, double latency_s, int64_t within_ns)
{
    double c = n * latency_s * (double)NS_PER_S / (double)within_ns;
    return c < n ? c : n;
}

static double requests_now(const struct scaler_sample *m)
{
    double latency_s = known(m->latency_s);
    return m->running + (latency_s > 0 ? to_clear(m->waiting, latency_s, SCALER_WAIT_NS) : m->waiting);
}

/* Before the first answer nobody knows how long a message takes: one is enough to learn it. */
static double backlog_now(const struct scaler_sample *m)
{
    double latency_s = known(m->latency_s);
    if (m->backlog == 0)
        return 0;
    return latency_s > 0 ? to_clear(m->backlog, latency_s, SCALER_DRAIN_NS) : 1;
}

static bool is_demand(const struct scaler_sample *m) { return m->running || m->waiting || m->backlog; }

/* ---- the windows ---- */

/* Add `concurrency` over [from, to), cut at the buckets' borders. */
static void fill(struct scaler *s, int64_t from_ns, int64_t to_ns, double concurrency)
{
    const int64_t all_ns = SCALER_BUCKETS * SCALER_BUCKET_NS;
    if (to_ns - from_ns > all_ns)
        from_ns = to_ns - all_ns;
    while (from_ns < to_ns) {
        int64_t start_ns = from_ns - from_ns % SCALER_BUCKET_NS;
        int64_t end_ns = start_ns + SCALER_BUCKET_NS < to_ns ? start_ns + SCALER_BUCKET_NS : to_ns;
        size_t i = (size_t)(start_ns / SCALER_BUCKET_NS % SCALER_BUCKETS);
        if (s->buckets[i].start_ns != start_ns) {
            s->buckets[i].start_ns = start_ns;
            s->buckets[i].area = 0;
            s->buckets[i].span_ns = 0;
        }
        s->buckets[i].area += concurrency * (double)(end_ns - from_ns);
        s->buckets[i].span_ns += end_ns - from_ns;
        from_ns = end_ns;
    }
}

void scaler_observe(struct scaler *s, int64_t now_ns, const struct scaler_sample *sample)
{
    if (now_ns > s->last_ns) {
        fill(s, s->last_ns, now_ns, s->last_concurrency);
        s->last_ns = now_ns;
    }
    s->last_concurrency = requests_now(sample);
    if (is_demand(sample))
        s->last_demand_ns = s->last_ns;
}

/* Over the time that was observed within the window; the bucket the window begins in counts in part. */
static double average(const struct scaler *s, int64_t now_ns, int64_t window_ns)
{
    double area = 0, span = 0;
    for (size_t i = 0; i < SCALER_BUCKETS; i++) {
        int64_t age_ns = now_ns - s->buckets[i].start_ns;
        if (s->buckets[i].span_ns == 0 || age_ns < 0 || age_ns - SCALER_BUCKET_NS >= window_ns)
            continue;
        double part = age_ns > window_ns ? (double)(window_ns - (age_ns - SCALER_BUCKET_NS)) / (double)SCALER_BUCKET_NS : 1;
        area += part * s->buckets[i].area;
        span += part * (double)s->buckets[i].span_ns;
    }
    return span > 0 ? area / span : 0;
}

/* ---- the reason, as it grows ---- */

FMT(2, 3) static void say(struct scaler_decision *d, const char *fmt, ...)
{
    size_t n = strlen(d->why);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(d->why + n, sizeof d->why - n, fmt, ap);
    va_end(ap);
}

static const char *duration(char out[32], int64_t ns)
{
    if (ns >= 120 * NS_PER_S)
        snprintf(out, 32, "%" PRId64 " min", ns / (60 * NS_PER_S));
    else if (ns % NS_PER_S && ns < 10 * NS_PER_S)
        snprintf(out, 32, "%.1f s", (double)ns / (double)NS_PER_S);
    else
        snprintf(out, 32, "%" PRId64 " s", ns / NS_PER_S);
    return out;
}

enum source { FROM_AVERAGE, FROM_ARRIVALS, FROM_BACKLOG, FROM_NOW };
struct demand {
    double concurrency;
    enum source source;
    int64_t window_ns;
};

static void say_demand(struct scaler_decision *d, const struct demand *m, const struct scaler_sample *sample, double target, uint32_t need)
{
    char window[32];
    switch (m->source) {
    case FROM_AVERAGE:
        say(d, "%.1f requests at once over %s", m->concurrency, duration(window, m->window_ns));
        break;
    case FROM_ARRIVALS:
        say(d, "%.4g requests/s of %.3g s each", sample->arrivals_per_s, sample->latency_s);
        break;
    case FROM_BACKLOG:
        if (known(sample->latency_s) > 0)
            say(d, "%" PRIu32 " waiting messages of %.3g s each", sample->backlog, sample->latency_s);
        else
            say(d, "%" PRIu32 " waiting messages, latency unknown,", sample->backlog);
        break;
    case FROM_NOW:
        say(d, "%" PRIu32 " running and %" PRIu32 " waiting requests", sample->running, sample->waiting);
        break;
    }
    say(d, " need %" PRIu32 " of %.4g each", need, target);
}

/* ---- the decision ---- */

static uint32_t ceil_count(double v)
{
    v = ceil(v - ROUNDING);
    return v <= 0 ? 0 : v >= COUNT_MAX ? (uint32_t)COUNT_MAX : (uint32_t)v;
}

static void raise_to(struct demand *m, double concurrency, enum source source)
{
    if (concurrency > m->concurrency + ROUNDING)
        *m = (struct demand){concurrency, source, m->window_ns};
}

/* The larger of what was and what is known to come; `now` adds what stands there this moment. */
static struct demand measure(const struct scaler *s, int64_t now_ns, int64_t window_ns, const struct scaler_sample *m, bool now)
{
    struct demand d = {average(s, now_ns, window_ns), FROM_AVERAGE, window_ns};
    double arrivals = known(m->arrivals_per_s) * known(m->latency_s), backlog = backlog_now(m);
    if (is_demand(m)) /* a rate from before the end of the load predicts nothing */
        raise_to(&d, arrivals, FROM_ARRIVALS);
    if (backlog > 0)
        d = (struct demand){d.concurrency + backlog, backlog > d.concurrency ? FROM_BACKLOG : d.source, window_ns};
    if (now)
        raise_to(&d, requests_now(m) + backlog, backlog > 0 ? FROM_BACKLOG : FROM_NOW);
    return d;
}

struct inputs {
    const struct scaler_config *config;
    const struct scaler_sample *sample;
    const struct scaler_state *state;
    int64_t now_ns;
    double target;
};

/* Not below what one step may drop, not above what one may add. */
static uint32_t within_rates(const struct inputs *in, uint32_t n)
{
    double ready = in->state->ready ? in->state->ready : 1;
    uint32_t up = in->config->max_up_rate > 0 ? ceil_count(in->config->max_up_rate * ready) : UINT32_MAX;
    uint32_t down = in->config->max_down_rate > 1 ? (uint32_t)(in->state->ready / in->config->max_down_rate) : 0;
    n = n > up ? up : n;
    return n < down ? down : n;
}

/* Going down is worth it only when what is left is not at once too small again. */
static uint32_t keep_margin(const struct inputs *in, const struct demand *m, uint32_t need)
{
    uint32_t have = in->state->ready + in->state->starting;
    if (need == 0 || need >= have)
        return need;
    uint32_t roomy = ceil_count(m->concurrency * (1 + SCALER_DOWN_MARGIN) / in->target);
    return roomy < have ? roomy : have;
}

static uint32_t decide_stable(const struct inputs *in, const struct demand *m, struct scaler_decision *out)
{
    uint32_t need = ceil_count(m->concurrency / in->target);
    uint32_t kept = keep_margin(in, m, need), want = within_rates(in, kept);
    say_demand(out, m, in->sample, in->target, need);
    if (want > kept)
        say(out, "; going down to %" PRIu32 " first", want);
    else if (kept > need)
        say(out, "; %" PRIu32 " kept, %" PRIu32 " would be nearly full", kept, kept - 1);
    return want;
}

static uint32_t decide_panic(struct scaler *s, const struct inputs *in, const struct demand *m, uint32_t stable,
                             struct scaler_decision *out)
{
    uint32_t need = ceil_count(m->concurrency / in->target), rush = within_rates(in, need);
    uint32_t most = rush > stable ? rush : stable;
    out->why[0] = '\0';
    if (most >= s->panic_max) {
        s->panic_max = most;
        say(out, "a rush: ");
        say_demand(out, m, in->sample, in->target, need);
    } else {
        char ago[32];
        say(out, "%" PRIu32 " kept after a rush %s ago", s->panic_max, duration(ago, in->now_ns - s->panic_since_ns));
    }
    out->panicking = true;
    return s->panic_max;
}

static uint32_t decide_by_load(struct scaler *s, const struct inputs *in, struct scaler_decision *out)
{
    const struct scaler_config *c = in->config;
    struct demand calm = measure(s, in->now_ns, c->stable_ns, in->sample, in->state->ready == 0);
    struct demand rush = measure(s, in->now_ns, c->panic_ns, in->sample, true);
    uint32_t want = decide_stable(in, &calm, out);
    double ready = in->state->ready ? in->state->ready : 1;
    if (ceil_count(rush.concurrency / in->target) >= c->panic_threshold * ready) {
        if (!s->panic_since_ns)
            s->panic_max = in->state->ready + in->state->starting; /* what is under way is not called back in a rush */
        s->panic_since_ns = in->now_ns ? in->now_ns : 1;
    } else if (s->panic_since_ns && in->now_ns - s->panic_since_ns > c->stable_ns) {
        s->panic_since_ns = 0;
    }
    if (!s->panic_since_ns) {
        s->panic_max = 0;
        return want;
    }
    return decide_panic(s, in, &rush, want, out);
}

/* Nobody has wanted anything for idle_ns: whatever the averages still remember, nothing is needed, and no rush either. */
static uint32_t decide_idle(struct scaler *s, const struct inputs *in, struct scaler_decision *out)
{
    char idle[32];
    s->panic_since_ns = 0;
    s->panic_max = 0;
    say(out, "no request for %s", duration(idle, in->now_ns - s->last_demand_ns));
    return 0;
}

/* The last instance stays for idle_ns; the first one comes with the first request. */
static uint32_t at_least_one(const struct scaler *s, const struct inputs *in, uint32_t want, struct scaler_decision *out)
{
    uint32_t have = in->state->ready + in->state->starting;
    char quiet[32], idle[32];
    if (want)
        return want;
    out->why[0] = '\0';
    if (is_demand(in->sample)) {
        say(out, "the first request needs one");
        return 1;
    }
    if (have)
        say(out, "no request for %s, the last one is kept for %s", duration(quiet, in->now_ns - s->last_demand_ns),
            duration(idle, in->config->idle_ns));
    else
        say(out, "no request");
    return have ? 1 : 0;
}

static uint32_t within_limits(const struct inputs *in, uint32_t want, struct scaler_decision *out)
{
    uint64_t host = (uint64_t)in->state->ready + in->state->starting + in->state->host_room;
    uint32_t min = in->config->min, max = in->config->max;
    if (want < min) {
        say(out, "; at the minimum of %" PRIu32, min);
        want = min;
    }
    if (want > max) {
        say(out, "; at the maximum of %" PRIu32, max);
        want = max;
    }
    if (want > host) {
        say(out, "; the host holds only %" PRIu64, host);
        want = (uint32_t)host;
    }
    return want;
}

void scaler_decide(struct scaler *s, const struct scaler_config *c, int64_t now_ns, const struct scaler_sample *sample,
                   const struct scaler_state *state, struct scaler_decision *out)
{
    scaler_observe(s, now_ns, sample);
    double target = known(c->target_per_instance);
    const struct inputs in = {c, sample, state, s->last_ns, target > SCALER_TARGET_MIN ? target : SCALER_TARGET_MIN};
    *out = (struct scaler_decision){0};
    uint32_t want;
    if (!is_demand(sample) && s->last_ns - s->last_demand_ns >= c->idle_ns)
        want = decide_idle(s, &in, out);
    else
        want = at_least_one(s, &in, decide_by_load(s, &in, out), out);
    out->want = within_limits(&in, want, out);
    if (state->starting)
        say(out, "; %" PRIu32 " starting", state->starting);
}

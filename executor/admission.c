/** admission.c: grants of memory passed on to those who waited for it, and what is said and counted of them. */
#include "executor/admission.h"

#include <stdio.h>
#include <stdlib.h>

#define SIZE_TEXT 32

static const char *const kind_names[CAPACITY_KINDS] = {[CAPACITY_SERVICE] = "service", [CAPACITY_JOB] = "job"};

/* ---- words */

/* "512 MiB", "1.5 GiB": as a limit is written, or nearly. */
static const char *size_text(char out[SIZE_TEXT], uint64_t bytes)
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double v = (double)bytes;
    size_t i = 0;
    for (; v >= 1024 && i + 1 < ARRAY_LEN(units); i++)
        v /= 1024;
    snprintf(out, SIZE_TEXT, "%.4g %s", v, units[i]);
    return out;
}

int admission_check(struct admission *a, enum capacity_kind kind, const char *container, uint64_t bytes, struct err *e)
{
    char asked[SIZE_TEXT], all[SIZE_TEXT];
    if (capacity_fits(&a->capacity, bytes))
        return 0;
    metric_add(a->m_refused[kind], 1);
    return err_set(e, ERR_INVALID_ARGUMENT,
                   "%s.resources.limits.memory: %s is more than the %s that there are for all programs of this host, so no %s of it could "
                   "ever run; ask for less, or start the server with a larger --memory",
                   container, size_text(asked, bytes), size_text(all, a->capacity.total_bytes), kind == CAPACITY_JOB ? "task" : "instance");
}

void admission_why(const struct admission *a, const struct admission_claim *k, char out[ADMISSION_WHY_MAX])
{
    char asked[SIZE_TEXT], held[SIZE_TEXT], all[SIZE_TEXT];
    snprintf(out, ADMISSION_WHY_MAX,
             "Waiting for memory: the next %s asks for %s, and programs that run have claimed %s of the %s there are.",
             k->share->memory.kind == CAPACITY_JOB ? "task" : "instance", size_text(asked, k->memory.bytes),
             size_text(held, a->capacity.held_bytes), size_text(all, a->capacity.total_bytes));
}

/* ---- shares */

struct admission_share *admission_share_new(struct admission *a, enum capacity_kind kind)
{
    struct admission_share *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    capacity_share_init(&s->memory, kind, CAPACITY_WEIGHT_DEFAULT);
    s->group = ++a->last_group;
    s->refs = 1;
    return s;
}

struct admission_share *admission_share_ref(struct admission_share *s)
{
    s->refs++;
    return s;
}

void admission_share_unref(struct admission_share *s)
{
    if (s && --s->refs == 0)
        free(s);
}

static void pump_soon(struct admission *a);

void admission_weigh(struct admission *a, struct admission_share *s, uint32_t weight)
{
    if (s->memory.weight == weight)
        return;
    capacity_weigh(&a->capacity, &s->memory, weight);
    a->runtime->ops->weigh(a->runtime, s->group, weight);
    pump_soon(a);
}

/* ---- claims */

/* Whether it waits may have changed. */
static void count(struct admission *a, const struct admission_claim *k, bool waited)
{
    enum capacity_kind kind = k->share->memory.kind;
    bool waits = capacity_waits(&k->memory);
    a->waiting[kind] += waits && !waited;
    a->waiting[kind] -= waited && !waits;
    metric_set(a->m_waiting[kind], a->waiting[kind]);
    metric_set(a->m_claimed, (int64_t)a->capacity.held_bytes);
}

void admission_claim_init(struct admission_claim *k, struct admission_share *s, uint64_t bytes, int32_t priority,
                          void (*granted)(struct admission_claim *k))
{
    *k = (struct admission_claim){.share = s, .granted = granted};
    capacity_claim_init(&k->memory, &s->memory, bytes, priority);
}

bool admission_take(struct admission *a, struct admission_claim *k)
{
    if (k->memory.bytes == 0)
        return true;
    bool has = k->in_hand, waited = capacity_waits(&k->memory);
    k->in_hand = false;
    has = has || capacity_take(&a->capacity, &k->memory);
    if (has)
        metric_add(a->m_granted[k->share->memory.kind], 1);
    else if (!waited)
        pump_soon(a); /* its coming may make another's way free: shares are smaller now */
    count(a, k, waited);
    return has;
}

void admission_give(struct admission *a, struct admission_claim *k)
{
    if (k->memory.bytes == 0)
        return;
    capacity_give(&a->capacity, &k->share->memory, k->memory.bytes);
    count(a, k, capacity_waits(&k->memory));
    pump_soon(a);
}

void admission_leave(struct admission *a, struct admission_claim *k)
{
    if (!capacity_waits(&k->memory))
        return;
    capacity_leave(&a->capacity, &k->memory);
    count(a, k, true);
    pump_soon(a);
}

bool admission_is_short(const struct admission *a) { return !list_empty(&a->capacity.waiting); }

/* ---- the pump */

static void on_pump(struct timer *t, int64_t now_ns)
{
    struct admission *a = CONTAINER_OF(t, struct admission, pump);
    for (struct capacity_claim *c; (c = capacity_next(&a->capacity));) {
        struct admission_claim *k = CONTAINER_OF(c, struct admission_claim, memory);
        k->in_hand = true;
        count(a, k, true);
        k->granted(k);
        if (!k->in_hand)
            continue;
        k->in_hand = false; /* it wants nothing any more */
        admission_give(a, k);
    }
}

static void pump_soon(struct admission *a)
{
    struct err e;
    if (admission_is_short(a) && !timer_armed(&a->pump) && timer_set(a->env->timers, &a->pump, env_now(a->env), &e))
        log_kv(a->env->log, LOG_ERROR, "admission.no_timer", LSTR("error", e.msg));
}

/* ---- lifecycle */

void admission_init(struct admission *a, const struct env *env, struct runtime *rt, struct metrics *m, uint64_t memory_bytes)
{
    *a = (struct admission){.env = env, .runtime = rt};
    capacity_init(&a->capacity, memory_bytes ? memory_bytes : UINT64_MAX);
    timer_init(&a->pump, on_pump);
    if (!m)
        return;
    struct metric_family *granted =
        metrics_family(m, METRIC_COUNTER, "runnel_run_memory_granted_total", "programs with a memory limit that got their memory", "kind");
    struct metric_family *refused =
        metrics_family(m, METRIC_COUNTER, "runnel_run_memory_refused_total", "what was refused for asking for more than there is", "kind");
    struct metric_family *waiting =
        metrics_family(m, METRIC_GAUGE, "runnel_run_memory_waiting", "revisions and executions that wait for memory", "kind");
    for (int k = 0; k < CAPACITY_KINDS; k++) {
        a->m_granted[k] = metric_series(granted, &kind_names[k]);
        a->m_refused[k] = metric_series(refused, &kind_names[k]);
        a->m_waiting[k] = metric_series(waiting, &kind_names[k]);
    }
    struct metric_family *claimed =
        metrics_family(m, METRIC_GAUGE, "runnel_run_memory_claimed_bytes", "memory limits of the programs that run, together", "");
    struct metric_family *all =
        metrics_family(m, METRIC_GAUGE, "runnel_run_memory_bytes", "memory that programs with a limit may claim together", "");
    a->m_claimed = metric_series(claimed, &(const char *){NULL});
    metric_set(metric_series(all, &(const char *){NULL}), (int64_t)memory_bytes);
}

void admission_fini(struct admission *a) { timer_cancel(a->env->timers, &a->pump); }

/** instance.c: the state table of an instance, its one mover, and what each state waits for. */
#include "executor/instance.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define KILL_AGAIN_NS (5 * NS_PER_S)
#define TO(s) (1u << INSTANCE_##s)

static const struct {
    const char *name;
    uint32_t next;
} states[INSTANCE_N] = {
    [INSTANCE_STARTING] = {"starting", TO(PROBING) | TO(STOPPING) | TO(GONE)},
    [INSTANCE_PROBING] = {"probing", TO(READY) | TO(STOPPING) | TO(GONE)},
    [INSTANCE_READY] = {"ready", TO(DRAINING) | TO(STOPPING) | TO(GONE)},
    [INSTANCE_DRAINING] = {"draining", TO(READY) | TO(STOPPING) | TO(GONE)},
    [INSTANCE_STOPPING] = {"stopping", TO(GONE)},
    [INSTANCE_GONE] = {"gone", 0},
};

const char *instance_state_name(enum instance_state s) { return states[s].name; }

bool instance_may_move(enum instance_state from, enum instance_state to) { return states[from].next & (1u << to); }

static void arm(struct instance *i, int64_t due_ns)
{
    struct err e;
    if (timer_set(i->plan->env->timers, &i->timer, due_ns, &e))
        log_kv(i->plan->env->log, LOG_ERROR, "instance.no_timer", LSTR("instance", i->id), LSTR("error", e.msg));
}

static void move(struct instance *i, enum instance_state to)
{
    enum instance_state from = i->state;
    assert(instance_may_move(from, to));
    i->state = to;
    timer_cancel(i->plan->env->timers, &i->timer);
    if (i->probing && to != INSTANCE_PROBING) {
        i->plan->prober->cancel(i->plan->prober, &i->probe);
        i->probing = false;
    }
    if (i->slot && to != INSTANCE_READY)
        pool_close(i->plan->pool, i->slot);
    log_kv(i->plan->env->log, LOG_DEBUG, "instance.state", LSTR("instance", i->id), LSTR("from", states[from].name),
           LSTR("to", states[to].name));
    i->plan->events->on_state(i->plan->arg, i, from);
}

/* ---- probing */

static void probe_later(struct instance *i)
{
    int64_t wait_ns = INSTANCE_PROBE_FIRST_NS;
    for (uint32_t n = 0; n < i->probes && wait_ns < i->plan->probe_every_ns; n++)
        wait_ns *= 2;
    if (wait_ns > i->plan->probe_every_ns)
        wait_ns = i->plan->probe_every_ns;
    if (i->probes == 0 && i->plan->probe_delay_ns > wait_ns)
        wait_ns = i->plan->probe_delay_ns;
    arm(i, env_now(i->plan->env) + wait_ns);
}

static void on_probe(struct probe_request *p, bool open);

static void probe_now(struct instance *i)
{
    i->probing = true;
    i->probe = (struct probe_request){.port = i->port,
                                      .timeout_ns = i->plan->probe_timeout_ns,
                                      .patience_ns = i->probes ? 0 : INSTANCE_PROBE_PATIENCE_NS,
                                      .http = i->plan->probe_http,
                                      .done = on_probe,
                                      .arg = i};
    i->plan->prober->start(i->plan->prober, &i->probe);
}

static void on_probe(struct probe_request *p, bool open)
{
    struct instance *i = p->arg;
    i->probing = false;
    i->probes++;
    if (!open && env_now(i->plan->env) >= i->probe_due_ns) {
        i->probe_failed = true;
        instance_stop(i);
        i->asked = false;
        return;
    }
    if (!open) {
        probe_later(i);
        return;
    }
    move(i, INSTANCE_READY);
    i->ready_ns = env_now(i->plan->env);
    arm(i, i->ready_ns + INSTANCE_SETTLED_NS);
    i->slot = pool_open(i->plan->pool, i->port, i);
    if (i->slot)
        i->plan->events->on_ready(i->plan->arg, i);
    else
        instance_stop(i); /* slots of instances that are ending are all taken: another start follows when they are free */
}

/* ---- timers of the states */

/* Its time in service is counted from when it was first ready, also after a return from draining. */
static void arm_healthy(struct instance *i)
{
    int64_t for_ns = env_now(i->plan->env) - i->ready_ns;
    if (for_ns < INSTANCE_HEALTHY_NS)
        arm(i, i->ready_ns + (for_ns < INSTANCE_SETTLED_NS ? INSTANCE_SETTLED_NS : INSTANCE_HEALTHY_NS));
}

static void on_timer(struct timer *t, int64_t now_ns)
{
    struct instance *i = CONTAINER_OF(t, struct instance, timer);
    switch (i->state) {
    case INSTANCE_PROBING:
        probe_now(i);
        break;
    case INSTANCE_READY:
        arm_healthy(i);
        i->plan->events->on_healthy(i->plan->arg, i, now_ns - i->ready_ns);
        break;
    case INSTANCE_DRAINING:
        instance_stop(i); /* requests had their time */
        break;
    case INSTANCE_STOPPING:
        i->plan->runtime->ops->kill(i->plan->runtime, i->run);
        arm(i, now_ns + KILL_AGAIN_NS);
        break;
    case INSTANCE_STARTING:
    case INSTANCE_GONE:
    case INSTANCE_N:
        break;
    }
}

/* ---- what the runtime says */

static void on_started(void *arg, int64_t pid, uint16_t port)
{
    struct instance *i = arg;
    i->pid = pid;
    i->port = port;
    i->executed_ns = env_now(i->plan->env);
    if (i->state != INSTANCE_STARTING)
        return; /* it is to end already */
    move(i, INSTANCE_PROBING);
    i->probe_due_ns = i->executed_ns + i->plan->probe_total_ns;
    if (i->plan->probe_delay_ns == 0)
        probe_now(i);
    else
        probe_later(i);
}

static void on_line(void *arg, bool is_stderr, struct str line, int64_t wall_ns)
{
    struct instance *i = arg;
    if (is_stderr && line.n > 0)
        snprintf(i->last_stderr, sizeof i->last_stderr, "%.*s", (int)(line.n < sizeof i->last_stderr ? line.n : sizeof i->last_stderr - 1),
                 line.p);
    i->plan->events->on_line(i->plan->arg, i, is_stderr, line, wall_ns);
}

static void on_exit_event(void *arg, const struct runtime_exit *x)
{
    struct instance *i = arg;
    i->exit = *x;
    i->run = NULL;
    move(i, INSTANCE_GONE);
    i->plan->events->on_gone(i->plan->arg, i);
}
static const struct runtime_events runtime_events = {on_started, on_line, on_exit_event};

/* ---- lifecycle */

void instance_plan_default(struct instance_plan *p)
{
    p->probe_delay_ns = 0;
    p->probe_timeout_ns = NS_PER_S;
    p->probe_total_ns = INSTANCE_STARTUP_MAX_NS;
    p->probe_every_ns = INSTANCE_PROBE_EVERY_NS;
    p->probe_http = NULL;
}

struct instance *instance_start(const struct instance_plan *p, struct err *e)
{
    struct instance *i = calloc(1, sizeof *i);
    if (!i) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for an instance");
        return NULL;
    }
    node_init(&i->link);
    i->plan = p;
    i->state = INSTANCE_STARTING;
    i->started_ns = env_now(p->env);
    timer_init(&i->timer, on_timer);
    rng_name(p->env->rng, i->id, INSTANCE_ID_LEN);
    struct runtime_spec spec = p->spec;
    spec.id = i->id;
    if (p->runtime->ops->start(p->runtime, &spec, &runtime_events, i, &i->run, e)) {
        free(i);
        return NULL;
    }
    return i;
}

void instance_drain(struct instance *i)
{
    if (i->state == INSTANCE_STARTING || i->state == INSTANCE_PROBING) {
        instance_stop(i);
        return;
    }
    if (i->state != INSTANCE_READY)
        return;
    i->asked = true;
    move(i, INSTANCE_DRAINING);
    if (slot_in_flight(i->slot) == 0)
        instance_stop(i);
    else
        arm(i, env_now(i->plan->env) + i->plan->timeout_ns);
}

void instance_return(struct instance *i)
{
    if (i->state != INSTANCE_DRAINING)
        return;
    i->asked = false;
    move(i, INSTANCE_READY);
    arm_healthy(i);
    pool_reopen(i->plan->pool, i->slot);
}

void instance_stop(struct instance *i)
{
    if (i->state == INSTANCE_STOPPING || i->state == INSTANCE_GONE)
        return;
    i->asked = true;
    move(i, INSTANCE_STOPPING);
    i->plan->runtime->ops->signal(i->plan->runtime, i->run, SIGTERM);
    arm(i, env_now(i->plan->env) + INSTANCE_STOP_GRACE_NS);
}

void instance_emptied(struct instance *i)
{
    if (i->state == INSTANCE_DRAINING && slot_in_flight(i->slot) == 0)
        instance_stop(i);
}

bool instance_settled(const struct instance *i) { return i->state == INSTANCE_GONE && (!i->slot || slot_in_flight(i->slot) == 0); }

void instance_free(struct instance *i)
{
    assert(instance_settled(i) && !timer_armed(&i->timer));
    if (i->slot)
        pool_vacate(i->plan->pool, i->slot);
    free(i);
}

void instance_abandon(struct instance *i)
{
    timer_cancel(i->plan->env->timers, &i->timer);
    if (i->probing)
        i->plan->prober->cancel(i->plan->prober, &i->probe);
    free(i);
}

void instance_why(const struct instance *i, char *out, size_t size)
{
    if (i->probe_failed)
        snprintf(out, size, "it did not listen on PORT=%u within %lld s%s%s", i->port, (long long)(i->plan->probe_total_ns / NS_PER_S),
                 i->last_stderr[0] ? "; its last line on stderr: " : "", i->last_stderr);
    else if (!i->exit.started)
        snprintf(out, size, "it could not be started: %s", i->exit.why);
    else
        snprintf(out, size, "it %s%s%s", i->exit.why, i->last_stderr[0] ? "; its last line on stderr: " : "", i->last_stderr);
}

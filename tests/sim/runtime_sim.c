/* runtime_sim.c: programs that start slowly, crash, ignore SIGTERM, or never listen, by seed; and a prober that knows them. */
#include "tests/sim/sim.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROGRAMS_MAX 256

struct runtime_instance {
    struct sim *sim;
    const struct runtime_events *events;
    void *arg;
    char revision[80];
    uint16_t port;
    uint32_t in_flight;
    bool running, listening, ending, deaf; /* deaf: ignores SIGTERM */
    struct runtime_exit exit;
};
/* The programs of this run; those of an engine that died are gone (the warden's work). */
static struct runtime_instance *programs[PROGRAMS_MAX];
static uint16_t next_port;
static bool changed; /* since the last check */

static struct sim *sim_of_runtime(struct runtime *rt) { return CONTAINER_OF(rt, struct sim, runtime); }

static struct runtime_instance *by_port(uint16_t port)
{
    for (size_t i = 0; i < PROGRAMS_MAX; i++)
        if (programs[i] && programs[i]->port == port)
            return programs[i];
    return NULL;
}

static void forget(struct runtime_instance *i)
{
    for (size_t k = 0; k < PROGRAMS_MAX; k++)
        if (programs[k] == i)
            programs[k] = NULL;
    free(i);
}

static void gone(struct sim *s, void *arg)
{
    struct runtime_instance *i = arg;
    sim_trace(s, "program of %s at %u has ended", i->revision, i->port);
    i->running = i->listening = false;
    i->events->on_exit(i->arg, &i->exit);
    forget(i);
}

static void end(struct runtime_instance *i, int64_t in_ns, int code, int signo)
{
    if (i->ending)
        return;
    i->ending = true;
    i->exit = (struct runtime_exit){.started = i->running, .exit_code = signo ? -1 : code, .signal = signo};
    snprintf(i->exit.why, sizeof i->exit.why, "simulated end");
    sim_after(i->sim, in_ns, true, gone, i);
}

static void listens(struct sim *s, void *arg)
{
    struct runtime_instance *i = by_port((uint16_t)(uintptr_t)arg);
    if (i && !i->ending)
        i->listening = true;
}

static void crashes(struct sim *s, void *arg)
{
    struct runtime_instance *i = by_port((uint16_t)(uintptr_t)arg);
    if (i && !s->healing)
        end(i, 0, 1, 0);
}

static void started(struct sim *s, void *arg)
{
    struct runtime_instance *i = arg;
    if (i->ending)
        return;
    if (!s->healing && sim_chance(s, 0.05 * s->trouble)) {
        i->exit.started = false;
        end(i, 0, 127, 0);
        return;
    }
    i->running = true;
    i->events->on_started(i->arg, 1000 + i->port, i->port);
    if (s->healing || !sim_chance(s, 0.02 * s->trouble))
        sim_after(s, sim_delay(s, NS_PER_MS, 3 * NS_PER_S), true, listens, (void *)(uintptr_t)i->port);
    if (!s->healing && sim_chance(s, 0.2 * s->trouble))
        sim_after(s, sim_delay(s, NS_PER_MS, 60 * NS_PER_S), true, crashes, (void *)(uintptr_t)i->port);
}

static int check(struct runtime *rt, const char *image, const char *const *argv, struct err *e) { return 0; }

static int start(struct runtime *rt, const struct runtime_spec *spec, const struct runtime_events *events, void *arg,
                 struct runtime_instance **out, struct err *e)
{
    struct sim *s = sim_of_runtime(rt);
    struct runtime_instance *i = calloc(1, sizeof *i);
    size_t k = 0;
    while (k < PROGRAMS_MAX && programs[k])
        k++;
    if (!i || k == PROGRAMS_MAX)
        sim_fail(s, "%d programs at once", PROGRAMS_MAX);
    i->sim = s;
    i->events = events;
    i->arg = arg;
    do
        i->port = next_port = next_port < 1024 || next_port == UINT16_MAX ? 1024 : (uint16_t)(next_port + 1);
    while (by_port(i->port));
    i->deaf = sim_chance(s, 0.1);
    for (const char *const *v = spec->env; v && *v; v++)
        if (strncmp(*v, "K_REVISION=", 11) == 0)
            snprintf(i->revision, sizeof i->revision, "%s", *v + 11);
    programs[k] = i;
    changed = true;
    s->instances_started++;
    sim_after(s, sim_delay(s, NS_PER_MS, 50 * NS_PER_MS), true, started, i);
    *out = i;
    return 0;
}

static void send_signal(struct runtime *rt, struct runtime_instance *i, int signo)
{
    if (!i->deaf)
        end(i, sim_delay(i->sim, NS_PER_MS, 2 * NS_PER_S), 0, signo);
}

static void kill_program(struct runtime *rt, struct runtime_instance *i) { end(i, sim_delay(i->sim, 0, 10 * NS_PER_MS), 0, SIGKILL); }

static struct runtime_usage usage(struct runtime *rt, const struct runtime_instance *i) { return (struct runtime_usage){0}; }

static void close_runtime(struct runtime *rt, void (*done)(void *arg), void *arg) { done(arg); }

static void weigh(struct runtime *rt, uint64_t group, uint32_t weight) {} /* nothing here takes time by its weight */

static const struct runtime_ops ops = {"simulated", check, start, send_signal, kill_program, weigh, usage, close_runtime};

static void probed(struct sim *s, void *arg)
{
    struct probe_request *r = arg;
    if (!r->internal)
        return; /* cancelled: the request object is only kept alive by the engine until then, so see cancel below */
    struct runtime_instance *i = by_port(r->port);
    free(r->internal);
    r->internal = NULL;
    r->done(r, i && i->listening);
}

struct probe {
    struct probe_request *r;
};

static void probe_due(struct sim *s, void *arg)
{
    struct probe *p = arg;
    if (p->r)
        probed(s, p->r);
    else
        free(p);
}

static void probe_start(struct prober *pr, struct probe_request *r)
{
    struct sim *s = CONTAINER_OF(pr, struct sim, prober);
    struct probe *p = malloc(sizeof *p);
    if (!p)
        sim_fail(s, "the simulator is out of memory");
    p->r = r;
    r->internal = p;
    sim_after(s, sim_delay(s, 10 * NS_PER_US, NS_PER_MS), true, probe_due, p);
}

static void probe_cancel(struct prober *pr, struct probe_request *r)
{
    struct probe *p = r->internal;
    if (p)
        p->r = NULL;
    r->internal = NULL;
}

void sim_runtime_init(struct sim *s)
{
    s->runtime.ops = &ops;
    s->prober = (struct prober){probe_start, probe_cancel};
}

void sim_runtime_crashed(struct sim *s)
{
    for (size_t k = 0; k < PROGRAMS_MAX; k++)
        programs[k] = NULL; /* memory of a dead engine's world is left: the seed's process ends soon */
}

void sim_instance_enter(struct sim *s, uint16_t port)
{
    struct runtime_instance *i = by_port(port);
    if (!i)
        return; /* it ended between the grant and now: the request fails */
    i->in_flight++;
    for (int k = 0; k < SIM_SERVICES; k++)
        if (strncmp(i->revision, s->services[k].short_name, strlen(s->services[k].short_name)) == 0 &&
            i->in_flight > s->services[k].concurrency)
            sim_fail(s, "%u requests at once on an instance of %s that takes %u", i->in_flight, i->revision, s->services[k].concurrency);
}

void sim_instance_leave(struct sim *s, uint16_t port)
{
    struct runtime_instance *i = by_port(port);
    if (i && i->in_flight > 0)
        i->in_flight--;
}

bool sim_instance_alive(struct sim *s, uint16_t port)
{
    struct runtime_instance *i = by_port(port);
    return i && i->listening && !i->ending;
}

/* Never more instances of a revision than its maximum (those already told to end do not count). */
void sim_runtime_check(struct sim *s)
{
    if (!changed)
        return;
    changed = false;
    for (int k = 0; k < SIM_SERVICES; k++) {
        uint32_t live = 0;
        const char *revision = NULL;
        for (size_t i = 0; i < PROGRAMS_MAX; i++) {
            struct runtime_instance *p = programs[i];
            if (!p || p->ending || strncmp(p->revision, s->services[k].short_name, strlen(s->services[k].short_name)) != 0)
                continue;
            if (!revision)
                revision = p->revision;
            if (strcmp(revision, p->revision) == 0 && !p->deaf)
                live++;
        }
        if (live > s->services[k].max)
            sim_fail(s, "%u instances of %s, which may have %u", live, revision, s->services[k].max);
    }
}

struct pool_search {
    const char *service;
    struct pool *found;
};

static void look(void *arg, const struct executor_view *v)
{
    struct pool_search *q = arg;
    if (strcmp(v->service, q->service) == 0)
        for (size_t i = 0; i < v->n_targets && !q->found; i++)
            if (v->targets[i].percent > 0)
                q->found = v->targets[i].pool;
}

struct pool *sim_service_pool(struct sim *s, const char *short_name)
{
    struct pool_search q = {.service = short_name};
    executor_each(s->executor, look, &q);
    return q.found;
}

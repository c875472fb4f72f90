/* backlog.c: asks the sources, sums by service, tells. */
#include "dispatcher/backlog.h"

#include "core/base/map.h"

#include <stdlib.h>

struct waiting {
    uint64_t count;
    uint64_t round; /* in which it was last named */
};
struct backlog {
    const struct env *env;
    struct backlog_target target;
    struct backlog_source sources[BACKLOG_SOURCES_MAX];
    size_t n_sources;
    struct map *services; /* name -> struct waiting */
    struct timer tick;
    uint64_t round;
    bool any, stopped; /* a host was named in this round */
};

static void on_host(void *arg, struct str host, uint64_t count)
{
    struct backlog *b = arg;
    b->any = true;
    const char *service = b->target.service(b->target.arg, host);
    if (!service)
        return;
    struct waiting *w = map_get(b->services, service);
    if (!w) {
        w = calloc(1, sizeof *w);
        if (!w || map_put(b->services, service, w, NULL)) { /* a hint that is missed: the next round is soon */
            free(w);
            return;
        }
    }
    if (w->round != b->round)
        w->count = 0;
    w->round = b->round;
    w->count += count;
}

static void tell_all(struct backlog *b)
{
    const char *service;
    void *value;
    for (size_t it = 0; map_next(b->services, &it, &service, &value);) {
        struct waiting *w = value;
        bool named = w->round == b->round;
        b->target.tell(b->target.arg, service, named ? w->count : 0);
        if (!named) {
            map_remove(b->services, service);
            free(w);
        }
    }
}

static void set_tick(struct backlog *b, int64_t due_ns)
{
    struct err e = {0};
    if (timer_set(b->env->timers, &b->tick, due_ns, &e))
        log_kv(b->env->log, LOG_ERROR, "backlog.no_timer", LSTR("error", e.msg));
}

static void on_tick(struct timer *t, int64_t now_ns)
{
    struct backlog *b = CONTAINER_OF(t, struct backlog, tick);
    b->round++;
    b->any = false;
    for (size_t i = 0; i < b->n_sources; i++)
        b->sources[i].each(b->sources[i].source, on_host, b);
    tell_all(b);
    if (b->any)
        set_tick(b, now_ns + BACKLOG_TICK_NS);
}

void backlog_stir(void *arg)
{
    struct backlog *b = arg;
    if (!b->stopped && !timer_armed(&b->tick))
        set_tick(b, env_now(b->env));
}

struct backlog *backlog_new(const struct env *env, const struct backlog_target *t, struct err *e)
{
    struct backlog *b = calloc(1, sizeof *b);
    if (b)
        b->services = map_new(BACKLOG_SERVICES_MAX);
    if (!b || !b->services) {
        free(b);
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the backlog");
        return NULL;
    }
    b->env = env;
    b->target = *t;
    timer_init(&b->tick, on_tick);
    return b;
}

int backlog_add(struct backlog *b, const struct backlog_source *s, struct err *e)
{
    if (b->n_sources == BACKLOG_SOURCES_MAX)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "more than %d sources of backlog", BACKLOG_SOURCES_MAX);
    b->sources[b->n_sources++] = *s;
    return 0;
}

void backlog_stop(struct backlog *b)
{
    b->stopped = true;
    timer_cancel(b->env->timers, &b->tick);
}

void backlog_free(struct backlog *b)
{
    const char *service;
    void *w;
    if (!b)
        return;
    backlog_stop(b);
    for (size_t it = 0; map_next(b->services, &it, &service, &w);)
        free(w);
    map_free(b->services);
    free(b);
}

/* calls.c: API calls made as a client makes them: by method name, with JSON. */
#include "core/rpc/json.h"
#include "core/rpc/method_int.h"
#include "core/rpc/pb.h"
#include "tests/sim/sim.h"

#include <stdlib.h>
#include <string.h>

struct sim_request {
    struct call call;
    struct sim *sim;
    uint64_t epoch;
    sim_reply_fn fn;
    void *arg;
};

static void drop_request(struct sim *s, void *arg)
{
    struct sim_request *r = arg;
    r->fn(s, r->arg, &r->call);
    arena_free(r->call.arena);
    free(r);
}

/* The answer travels: never inside the handler. */
static void finish_call(struct call *c)
{
    struct sim_request *r = CONTAINER_OF(c, struct sim_request, call);
    struct sim *s = r->sim;
    if (r->epoch != s->epoch)
        sim_fail(s, "%s was answered by an engine that is dead", c->method->name);
    s->calls_open--;
    sim_after(s, sim_delay(s, 0, NS_PER_MS), true, drop_request, r);
}

static const struct registry_row *find_row(struct sim *s, const char *name)
{
    for (size_t i = 0; i < s->registry->n; i++)
        if (strcmp(s->registry->rows[i].method->name, name) == 0)
            return &s->registry->rows[i];
    sim_fail(s, "no such method: %s", name);
}

void sim_call(struct sim *s, const char *method, const char *json, sim_reply_fn fn, void *arg)
{
    struct err e = {0};
    struct sim_request *r = calloc(1, sizeof *r);
    struct arena *a = arena_new(CALL_ARENA_MAX);
    const struct registry_row *row = find_row(s, method);
    if (!r || !a)
        sim_fail(s, "the simulator is out of memory");
    r->sim = s;
    r->epoch = s->epoch;
    r->fn = fn;
    r->arg = arg;
    r->call.method = row->method;
    r->call.service = row->service;
    r->call.arena = a;
    r->call.finish = finish_call;
    r->call.request = pb_new(a, row->method->request);
    if (json_decode(a, str_of(json), r->call.request, &e))
        sim_fail(s, "%s %s: %s", method, json, e.msg);
    s->calls_open++;
    registry_dispatch(s->registry, &r->call);
}

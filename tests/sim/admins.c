/* admins.c: those who change subscriptions while messages move: seeks, snapshots, push configuration, deletion. */
#include "tests/sim/sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROJECT "projects/sim-project"
#define SEEK_EVERY_NS (15 * NS_PER_S)
#define RECONFIGURE_EVERY_NS (15 * NS_PER_S)
#define REMAKE_EVERY_NS (30 * NS_PER_S)
#define RETRY_NS (200 * NS_PER_MS)
#define SEEK_BACK_MAX_NS (20 * NS_PER_S)
#define CLOCK_MARGIN_NS NS_PER_MS /* of a publish time against the instant of the call */

/* From now on, and until `end`, nothing that this subscription does says anything. */
static void begin_quiet(struct sim *s, int k)
{
    s->subs[k].quiet_ns = INT64_MAX;
    for (uint32_t i = 0; i < s->n_facts; i++)
        fact_mark(s, i, k, FACT_OPTIONAL);
}

static void end_quiet(struct sim *s, int k) { s->subs[k].quiet_ns = s->now_ns; }

/* ---- seeks and snapshots ---- */

struct seek {
    bool to_snapshot;
    int64_t time_ns; /* of the virtual clock */
    size_t n_facts;  /* published before */
};

static enum fact_is after_seek(const struct sim *s, const struct seek *q, size_t i)
{
    const struct fact *f = &s->facts[i];
    if (f->state != FACT_ACCEPTED)
        return FACT_OPTIONAL;
    if (q->to_snapshot) {
        if (i >= s->snapshot_facts || f->sub[SUB_PULL_SOUGHT].in_snapshot)
            return FACT_WANTED;
        return f->sub[SUB_PULL_SOUGHT].acked_in_snapshot ? FACT_DONE : FACT_OPTIONAL;
    }
    if (f->sent_ns < q->time_ns - CLOCK_MARGIN_NS)
        return FACT_DONE;
    return f->sent_ns > q->time_ns + CLOCK_MARGIN_NS ? FACT_WANTED : FACT_OPTIONAL;
}

static void on_sought(struct sim *s, void *arg, const struct call *c)
{
    struct seek *q = arg;
    sim_trace(s, "seek: %s", c->err.code == ERR_OK ? "done" : c->err.msg);
    end_quiet(s, SUB_PULL_SOUGHT);
    for (uint32_t i = 0; c->err.code == ERR_OK && i < q->n_facts; i++)
        fact_mark(s, i, SUB_PULL_SOUGHT, after_seek(s, q, i));
    s->seeks += c->err.code == ERR_OK;
    free(q);
}

static void seek(struct sim *s, bool to_snapshot)
{
    char json[256], time[WALL_TEXT_MAX];
    int64_t back_ns = sim_chance(s, 0.3) ? 0 : sim_delay(s, 0, SEEK_BACK_MAX_NS);
    struct seek *q = malloc(sizeof *q);
    if (!q)
        sim_fail(s, "the simulator is out of memory");
    *q = (struct seek){to_snapshot, s->now_ns - back_ns, s->n_facts};
    if (to_snapshot)
        snprintf(json, sizeof json, "{\"subscription\":\"%s\",\"snapshot\":\"" PROJECT "/snapshots/snap-%u\"}",
                 s->subs[SUB_PULL_SOUGHT].name, s->snapshot);
    else
        snprintf(json, sizeof json, "{\"subscription\":\"%s\",\"time\":\"%s\"}", s->subs[SUB_PULL_SOUGHT].name,
                 wall_format(env_wall(&s->env) - back_ns, time));
    sim_trace(s, "seek %s", json);
    begin_quiet(s, SUB_PULL_SOUGHT);
    sim_call(s, "google.pubsub.v1.Subscriber/Seek", json, on_sought, q);
}

static void on_snapshot(struct sim *s, void *arg, const struct call *c)
{
    sim_trace(s, "snapshot: %s", c->err.code == ERR_OK ? "done" : c->err.msg);
    s->snapshotting = false;
    if (c->err.code != ERR_OK)
        return;
    for (size_t i = 0; i < s->n_facts; i++) {
        struct fact *f = &s->facts[i];
        f->sub[SUB_PULL_SOUGHT].in_snapshot =
            f->state == FACT_ACCEPTED && !f->sub[SUB_PULL_SOUGHT].acked && !f->sub[SUB_PULL_SOUGHT].optional;
    }
    s->snapshot = s->snapshots_made;
    s->snapshot_facts = s->n_facts;
}

static void take_snapshot(struct sim *s)
{
    char json[256];
    s->snapshotting = true;
    for (size_t i = 0; i < s->n_facts; i++) {
        struct fact *f = &s->facts[i];
        f->sub[SUB_PULL_SOUGHT].acked_in_snapshot = f->sub[SUB_PULL_SOUGHT].acked && !f->sub[SUB_PULL_SOUGHT].repeatable;
    }
    snprintf(json, sizeof json, "{\"name\":\"" PROJECT "/snapshots/snap-%u\",\"subscription\":\"%s\"}", ++s->snapshots_made,
             s->subs[SUB_PULL_SOUGHT].name);
    sim_call(s, "google.pubsub.v1.Subscriber/CreateSnapshot", json, on_snapshot, NULL);
}

static void on_done(struct sim *s, void *arg, const struct call *c) {}

static void drop_snapshot(struct sim *s)
{
    char json[128];
    snprintf(json, sizeof json, "{\"snapshot\":\"" PROJECT "/snapshots/snap-%u\"}", s->snapshot);
    s->snapshot = 0;
    sim_call(s, "google.pubsub.v1.Subscriber/DeleteSnapshot", json, on_done, NULL);
}

static void seeks(struct sim *s, void *arg)
{
    if (s->healing)
        return;
    sim_after(s, sim_delay(s, NS_PER_S, SEEK_EVERY_NS), false, seeks, NULL);
    if (s->subs[SUB_PULL_SOUGHT].quiet_ns == INT64_MAX || s->snapshotting)
        return;
    if (!s->snapshot && sim_chance(s, 0.5))
        take_snapshot(s);
    else if (s->snapshot && sim_chance(s, 0.2))
        drop_snapshot(s);
    else
        seek(s, s->snapshot && sim_chance(s, 0.6));
}

/* ---- push configuration ---- */

static void on_reconfigured(struct sim *s, void *arg, const struct call *c)
{
    bool off = arg != NULL;
    sim_trace(s, "push configuration: %s", c->err.code == ERR_OK ? "done" : c->err.msg);
    s->subs[SUB_PUSH].push_off = c->err.code == ERR_OK && off;
    s->push_restored = s->healing && c->err.code == ERR_OK && !off;
}

static void reconfigures(struct sim *s, void *arg)
{
    static const char *const configs[] = {
        "{\"pushEndpoint\":\"http://10.0.0.1/push\",\"oidcToken\":{\"serviceAccountEmail\":\"p@sim.iam.gserviceaccount.com\"}}",
        "{\"pushEndpoint\":\"http://10.0.0.3/other\"}",
        "{}",
    };
    char json[512];
    size_t which = s->healing ? 0 : rng_below(&s->world_rng, ARRAY_LEN(configs));
    if (s->push_restored)
        return;
    snprintf(json, sizeof json, "{\"subscription\":\"%s\",\"pushConfig\":%s}", s->subs[SUB_PUSH].name, configs[which]);
    sim_trace(s, "push configuration %s", configs[which]);
    s->subs[SUB_PUSH].push_off = false;
    sim_call(s, "google.pubsub.v1.Subscriber/ModifyPushConfig", json, on_reconfigured, which == 2 ? s : NULL);
    sim_after(s, sim_delay(s, NS_PER_S, s->healing ? 2 * NS_PER_S : RECONFIGURE_EVERY_NS), false, reconfigures, NULL);
}

/* ---- deletion, and the same name again ---- */

void sim_sub_made(struct sim *s, const char *name)
{
    if (!s->remaking || strcmp(name, s->subs[SUB_PULL_REMADE].name) != 0)
        return;
    s->remaking = false;
    s->remakes++;
    end_quiet(s, SUB_PULL_REMADE);
}

static void delete_sub(struct sim *s, void *arg);

static void on_deleted(struct sim *s, void *arg, const struct call *c)
{
    sim_trace(s, "deletion: %s", c->err.code == ERR_OK ? "done" : c->err.msg);
    if (c->err.code == ERR_RESOURCE_EXHAUSTED || c->err.code == ERR_UNAVAILABLE || c->err.code == ERR_ABORTED) {
        sim_after(s, RETRY_NS, true, delete_sub, NULL);
        return;
    }
    if (c->err.code != ERR_OK)
        sim_fail(s, "%s is not deleted: %s", s->subs[SUB_PULL_REMADE].name, c->err.msg);
    for (uint32_t i = 0; i < s->n_facts; i++) /* the next one begins behind them */
        if (s->facts[i].state != FACT_SENT)
            fact_mark(s, i, SUB_PULL_REMADE, FACT_DONE);
    sim_make_sub(s, SUB_PULL_REMADE);
}

static void delete_sub(struct sim *s, void *arg)
{
    char json[160];
    snprintf(json, sizeof json, "{\"subscription\":\"%s\"}", s->subs[SUB_PULL_REMADE].name);
    sim_call(s, "google.pubsub.v1.Subscriber/DeleteSubscription", json, on_deleted, NULL);
}

static void remakes(struct sim *s, void *arg)
{
    if (s->healing)
        return;
    sim_after(s, sim_delay(s, NS_PER_S, REMAKE_EVERY_NS), false, remakes, NULL);
    if (s->remaking)
        return;
    s->remaking = true;
    begin_quiet(s, SUB_PULL_REMADE);
    delete_sub(s, NULL);
}

/* ---- all of them ---- */

/* Answers that died in the crash: whether it was done is not known. */
void sim_admins_restarted(struct sim *s)
{
    s->snapshotting = false;
    if (s->subs[SUB_PULL_SOUGHT].quiet_ns == INT64_MAX)
        end_quiet(s, SUB_PULL_SOUGHT);
    if (s->remaking) {
        begin_quiet(s, SUB_PULL_REMADE);
        sim_make_sub(s, SUB_PULL_REMADE);
    }
}

void sim_admins_go(struct sim *s)
{
    seeks(s, NULL);
    if (sim_chance(s, 0.5))
        reconfigures(s, NULL);
    if (sim_chance(s, 0.5))
        remakes(s, NULL);
}

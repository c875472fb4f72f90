/* facts.c: what must hold whatever fails: no accepted message lost, none repeated outside the promise, order kept, bounds kept. */
#include "core/base/text.h"
#include "tests/sim/sim.h"

#include <stdio.h>
#include <string.h>

/* Settlements of pushes are flushed within this, as long as the disk works. */
#define FLUSH_BOUND_NS (5 * NS_PER_S)

static bool is_push(enum sub_kind k) { return k == SUB_PUSH || k == SUB_PUSH_ORDERED || k == SUB_PUSH_SERVICE; }

static bool is_ordered(enum sub_kind k) { return k == SUB_PULL_ORDERED || k == SUB_PUSH_ORDERED; }

int sim_sub_index(struct sim *s, const char *name)
{
    for (int k = 0; k < SIM_SUBS; k++)
        if (strcmp(s->subs[k].name, name) == 0)
            return k;
    return -1;
}

static uint32_t fact_number(struct sim *s, struct str data)
{
    uint64_t number;
    struct err e = {0};
    if (data.n < 2 || data.p[0] != 'm' || parse_u64((struct str){data.p + 1, data.n - 1}, s->n_facts - 1, &number, &e))
        sim_fail(s, "a message came out that nobody published: '%.*s'", (int)data.n, data.p);
    return (uint32_t)number;
}

/* Must it still come (again) and be acknowledged? */
static bool is_missing(const struct sim *s, const struct fact *f, int k)
{
    return f->state == FACT_ACCEPTED && f->topic == s->subs[k].topic && !f->sub[k].acked && !f->sub[k].optional;
}

static void set_acked(struct sim *s, struct fact *f, int k, bool acked, bool optional)
{
    s->missing -= is_missing(s, f, k);
    f->sub[k].acked = acked;
    f->sub[k].optional = optional;
    s->missing += is_missing(s, f, k);
}

uint32_t fact_new(struct sim *s, uint32_t topic, uint32_t key)
{
    struct fact *f = &s->facts[s->n_facts];
    *f = (struct fact){.topic = topic, .key = key, .sent_ns = s->now_ns, .state = FACT_SENT};
    for (int k = 0; k < SIM_SUBS; k++)
        f->sub[k].optional = s->subs[k].quiet_ns == INT64_MAX;
    return (uint32_t)s->n_facts++;
}

void fact_published(struct sim *s, uint32_t number, bool accepted)
{
    struct fact *f = &s->facts[number];
    f->state = accepted ? FACT_ACCEPTED : FACT_REFUSED;
    for (int k = 0; k < SIM_SUBS; k++) {
        if (s->subs[k].topic != f->topic)
            continue;
        if (!accepted && f->sub[k].deliveries > 0)
            sim_fail(s, "message %u was refused but delivered to %s", number, s->subs[k].name);
        s->missing += is_missing(s, f, k);
    }
}

void fact_mark(struct sim *s, uint32_t number, int sub, enum fact_is is)
{
    struct fact *f = &s->facts[number];
    set_acked(s, f, sub, is == FACT_DONE, is == FACT_OPTIONAL);
    f->sub[sub].repeatable = false;
    f->sub[sub].acked_ns = s->now_ns;
    f->sub[sub].leased_until_ns = 0;
}

void fact_leased(struct sim *s, uint32_t sub, struct str data, uint32_t delivery, int64_t until_ns)
{
    struct fact *f = &s->facts[fact_number(s, data)];
    bool recalled = s->subs[sub].kind == SUB_PULL_ORDERED && f->key; /* an earlier one of its key takes it back */
    if (!recalled && f->sub[sub].deliveries == delivery)
        f->sub[sub].leased_until_ns = until_ns;
}

uint32_t fact_deliveries(struct sim *s, uint32_t sub, struct str data) { return s->facts[fact_number(s, data)].sub[sub].deliveries; }

/* Every earlier message of its key must have gone before: settled for push, at least delivered for pull. */
static void check_order(struct sim *s, uint32_t sub, uint32_t number)
{
    const struct fact *f = &s->facts[number];
    for (uint32_t i = number; i-- > 0;) {
        const struct fact *g = &s->facts[i];
        if (g->topic != f->topic || g->key != f->key || g->state != FACT_ACCEPTED)
            continue;
        if (!g->sub[sub].acked && g->sub[sub].deliveries == 0)
            sim_fail(s, "%s: message %u of key %u came before %u", s->subs[sub].name, number, f->key, i);
        if (is_push(s->subs[sub].kind) && !g->sub[sub].acked)
            sim_fail(s, "%s: message %u of key %u was pushed while %u was not settled", s->subs[sub].name, number, f->key, i);
        return; /* the nearest earlier one answers for those before it */
    }
}

void fact_delivered(struct sim *s, uint32_t sub, struct str data)
{
    uint32_t number = fact_number(s, data);
    struct fact *f = &s->facts[number];
    sim_trace(s, "%s gets m%u (delivery %u)", s->subs[sub].name, number, f->sub[sub].deliveries + 1);
    if (f->topic != s->subs[sub].topic)
        sim_fail(s, "%s got message %u of another topic", s->subs[sub].name, number);
    if (f->state == FACT_REFUSED)
        sim_fail(s, "message %u was refused but delivered to %s", number, s->subs[sub].name);
    if (s->now_ns < f->sub[sub].leased_until_ns)
        sim_fail(s, "%s got message %u again although it is held until %.6f s", s->subs[sub].name, number,
                 (double)f->sub[sub].leased_until_ns / 1e9);
    if (f->sub[sub].acked && f->sub[sub].repeatable) {
        f->sub[sub].repeatable = false;
        set_acked(s, f, (int)sub, false, f->sub[sub].optional);
    }
    if (f->sub[sub].acked)
        sim_fail(s, "%s got message %u again although it was acknowledged at %.6f s", s->subs[sub].name, number,
                 (double)f->sub[sub].acked_ns / 1e9);
    if (is_push(s->subs[sub].kind) && f->sub[sub].in_flight > 0)
        sim_fail(s, "%s: message %u is in flight twice", s->subs[sub].name, number);
    if (is_ordered(s->subs[sub].kind) && f->key)
        check_order(s, sub, number);
    f->sub[sub].deliveries++;
    if (is_push(s->subs[sub].kind))
        f->sub[sub].in_flight++;
}

void fact_returned(struct sim *s, uint32_t sub, struct str data)
{
    struct fact *f = &s->facts[fact_number(s, data)];
    if (f->sub[sub].in_flight > 0)
        f->sub[sub].in_flight--;
}

void fact_acked(struct sim *s, uint32_t sub, struct str data, bool certain)
{
    uint32_t number = fact_number(s, data);
    struct fact *f = &s->facts[number];
    sim_trace(s, "%s acks m%u%s", s->subs[sub].name, number, certain ? "" : " (on its way)");
    f->sub[sub].in_flight = 0;
    /* A puller's ack comes too late when an earlier message of the key went back meanwhile: that replays this one. */
    f->sub[sub].repeatable = !certain || (s->subs[sub].kind == SUB_PULL_ORDERED && f->key != 0);
    bool optional = f->sub[sub].optional && !certain; /* a seek that failed may have been done in memory, until a crash */
    if (f->sub[sub].acked) {
        f->sub[sub].optional = optional;
        return;
    }
    set_acked(s, f, (int)sub, true, optional);
    f->sub[sub].acked_ns = s->now_ns;
}

/* Called when the disk changes and at a crash: what was acknowledged before flushed_ns is durable. */
void facts_disk(struct sim *s)
{
    if (!s->disk_full && s->now_ns - s->disk_ok_ns >= FLUSH_BOUND_NS)
        s->flushed_ns = s->now_ns - FLUSH_BOUND_NS;
}

/* What a kill -9 may take back: acknowledgements of pushes that were not yet flushed, nothing else. */
void facts_crashed(struct sim *s)
{
    facts_disk(s);
    int64_t flushed = s->flushed_ns;
    for (size_t i = 0; i < s->n_facts; i++) {
        struct fact *f = &s->facts[i];
        if (f->state == FACT_SENT)
            f->state = FACT_UNKNOWN;
        for (int k = 0; k < SIM_SUBS; k++) {
            f->sub[k].in_flight = 0;
            f->sub[k].leased_until_ns = 0;
            if (is_push(s->subs[k].kind) && f->sub[k].acked && f->sub[k].acked_ns >= flushed)
                f->sub[k].repeatable = true;
        }
    }
}

void facts_check_step(struct sim *s) { sim_runtime_check(s); }

/* Healed and quiet: everything accepted has arrived, no lease is left, every call was answered. */
void facts_check_end(struct sim *s)
{
    for (uint32_t i = 0; i < s->n_facts; i++)
        for (int k = 0; k < SIM_SUBS; k++)
            if (is_missing(s, &s->facts[i], k))
                sim_fail(s, "message %u was accepted but never reached %s (%u deliveries)", i, s->subs[k].name,
                         s->facts[i].sub[k].deliveries);
    for (int k = 0; k < SIM_SUBS; k++) {
        struct subscription *sub = broker_subscription(s->broker, s->subs[k].name);
        if (!sub)
            sim_fail(s, "%s is gone", s->subs[k].name);
        struct subscription_stats stats = subscription_stats(sub);
        for (int state = 0; state < LEASE_N; state++)
            if (stats.in_state[state] > 0)
                sim_fail(s, "%s: %zu leases are left in state %d", s->subs[k].name, stats.in_state[state], state);
        if (stats.unacked > 0)
            sim_fail(s, "%s: %llu messages count as unacknowledged", s->subs[k].name, (unsigned long long)stats.unacked);
    }
    if (s->calls_open > 0)
        sim_fail(s, "%llu calls were never answered", (unsigned long long)s->calls_open);
}

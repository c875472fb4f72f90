/** capacity.c: one walk over those who wait: the first in order that fits, unless somebody before it is not to be passed. */
#include "core/scale/capacity.h"

#include <assert.h>

/* What comes before what: claims of a lower rank, whoever they are. */
enum rank { WAITED_TOO_LONG, IN_NEED, OTHERS };

void capacity_init(struct capacity *c, uint64_t total_bytes)
{
    *c = (struct capacity){.total_bytes = total_bytes};
    list_init(&c->waiting);
}

void capacity_share_init(struct capacity_share *s, enum capacity_kind kind, uint32_t weight)
{
    assert(weight >= CAPACITY_WEIGHT_MIN && weight <= CAPACITY_WEIGHT_MAX);
    *s = (struct capacity_share){.kind = kind, .weight = weight};
}

void capacity_claim_init(struct capacity_claim *k, struct capacity_share *s, uint64_t bytes, int32_t priority)
{
    *k = (struct capacity_claim){.share = s, .bytes = bytes, .priority = priority};
    node_init(&k->link);
}

bool capacity_fits(const struct capacity *c, uint64_t bytes) { return bytes <= c->total_bytes; }

bool capacity_waits(const struct capacity_claim *k) { return node_linked(&k->link); }

/* ---- shares */

static bool counts(const struct capacity_share *s) { return s->held_bytes > 0 || s->n_waiting > 0; }

static void change(struct capacity *c, struct capacity_share *s, uint64_t held_bytes, uint32_t n_waiting)
{
    c->weights -= counts(s) ? s->weight : 0;
    c->held_bytes = c->held_bytes - s->held_bytes + held_bytes;
    s->held_bytes = held_bytes;
    s->n_waiting = n_waiting;
    c->weights += counts(s) ? s->weight : 0;
}

void capacity_weigh(struct capacity *c, struct capacity_share *s, uint32_t weight)
{
    assert(weight >= CAPACITY_WEIGHT_MIN && weight <= CAPACITY_WEIGHT_MAX);
    if (counts(s))
        c->weights = c->weights - s->weight + weight;
    s->weight = weight;
}

static double held_for_weight(const struct capacity_share *s) { return (double)s->held_bytes / s->weight; }

/* It has nothing, or will have no more than its part of all. */
static bool is_due(const struct capacity *c, const struct capacity_claim *k)
{
    const struct capacity_share *s = k->share;
    double part = (double)c->total_bytes * s->weight / (double)c->weights;
    return s->held_bytes == 0 || (double)(s->held_bytes + k->bytes) <= part;
}

/* ---- order */

static enum rank rank_of(const struct capacity *c, const struct capacity_claim *k)
{
    if (k->passed >= 2 * CAPACITY_PASSES)
        return WAITED_TOO_LONG;
    return k->share->kind == CAPACITY_SERVICE && is_due(c, k) ? IN_NEED : OTHERS;
}

static bool has_waited(const struct capacity_claim *k) { return k->passed >= CAPACITY_PASSES; }

/* Does `a`, which arrived first, go first? */
static bool goes_first(const struct capacity *c, const struct capacity_claim *a, const struct capacity_claim *b)
{
    enum rank ra = rank_of(c, a), rb = rank_of(c, b);
    if (ra != rb || ra == WAITED_TOO_LONG)
        return ra <= rb;
    if (ra == OTHERS && a->priority != b->priority)
        return a->priority > b->priority;
    if (has_waited(a) || has_waited(b))
        return has_waited(a);
    return held_for_weight(a->share) <= held_for_weight(b->share);
}

static bool has_room(const struct capacity *c, const struct capacity_claim *k) { return k->bytes <= c->total_bytes - c->held_bytes; }

static bool is_before(const struct capacity *c, const struct capacity_claim *k, const struct capacity_claim *than, bool arrived_first)
{
    return arrived_first ? goes_first(c, k, than) : !goes_first(c, than, k);
}

/* Does `k`, which has no room, keep those behind it from passing? */
static bool is_barrier(const struct capacity *c, const struct capacity_claim *k, const struct capacity_claim *best, bool arrived_first)
{
    if (rank_of(c, k) == IN_NEED && rank_of(c, best) == OTHERS)
        return true;
    return has_waited(k) && is_before(c, k, best, arrived_first);
}

/* The first in order that has room, if those before it let it pass. */
static struct capacity_claim *choose(const struct capacity *c)
{
    struct capacity_claim *best = NULL;
    LIST_EACH(&c->waiting, n) {
        struct capacity_claim *k = CONTAINER_OF(n, struct capacity_claim, link);
        if (has_room(c, k) && (!best || !goes_first(c, best, k)))
            best = k;
    }
    bool arrived_first = true;
    LIST_EACH(&c->waiting, n) {
        const struct capacity_claim *k = CONTAINER_OF(n, struct capacity_claim, link);
        if (!best || k == best)
            arrived_first = false;
        else if (!has_room(c, k) && is_barrier(c, k, best, arrived_first))
            return NULL;
    }
    return best;
}

/* Is `k`, who waits on, passed when `granted` is served? Who merely has its turn later is not; nor who has its share already. */
static bool is_passed(const struct capacity *c, const struct capacity_claim *k, const struct capacity_claim *granted, bool arrived_first)
{
    if (!is_due(c, k) || (granted->share->kind == CAPACITY_JOB && granted->priority > k->priority))
        return false;
    return is_before(c, k, granted, arrived_first) || (rank_of(c, granted) == IN_NEED && rank_of(c, k) == OTHERS);
}

static void grant(struct capacity *c, struct capacity_claim *k)
{
    bool arrived_first = true;
    LIST_EACH(&c->waiting, n) {
        struct capacity_claim *other = CONTAINER_OF(n, struct capacity_claim, link);
        if (other == k)
            arrived_first = false;
        else if (is_passed(c, other, k, arrived_first))
            other->passed++;
    }
    list_remove(&c->waiting, &k->link);
    change(c, k->share, k->share->held_bytes + k->bytes, k->share->n_waiting - 1);
    assert(c->held_bytes <= c->total_bytes);
}

/* ---- taking and giving */

bool capacity_take(struct capacity *c, struct capacity_claim *k)
{
    if (k->bytes == 0)
        return true;
    if (capacity_waits(k))
        return false;
    assert(capacity_fits(c, k->bytes));
    k->passed = 0;
    list_append(&c->waiting, &k->link);
    change(c, k->share, k->share->held_bytes, k->share->n_waiting + 1);
    if (choose(c) != k)
        return false;
    grant(c, k);
    return true;
}

struct capacity_claim *capacity_next(struct capacity *c)
{
    struct capacity_claim *k = choose(c);
    if (k)
        grant(c, k);
    return k;
}

void capacity_give(struct capacity *c, struct capacity_share *s, uint64_t bytes)
{
    assert(s->held_bytes >= bytes);
    change(c, s, s->held_bytes - bytes, s->n_waiting);
}

void capacity_leave(struct capacity *c, struct capacity_claim *k)
{
    if (!capacity_waits(k))
        return;
    list_remove(&c->waiting, &k->link);
    change(c, k->share, k->share->held_bytes, k->share->n_waiting - 1);
}

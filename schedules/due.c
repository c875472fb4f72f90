/* due.c: firings that are due, found without walking through all that went by. */
#include "schedules/due.h"

#include "core/base/text.h"

#include <assert.h>
#include <string.h>

int64_t due_next(const struct due_calendar *c, const struct due_policy *p, int64_t after_wall_ns)
{
    if (after_wall_ns < p->start_wall_ns - 1)
        after_wall_ns = p->start_wall_ns - 1;
    int64_t t = after_wall_ns == DUE_NEVER ? DUE_NEVER : c->next(c->arg, after_wall_ns);
    return t < p->end_wall_ns ? t : DUE_NEVER;
}

int64_t due_start(const struct due_calendar *c, const struct due_policy *p, int64_t scheduled_wall_ns)
{
    if (p->jitter_ns <= 0 || scheduled_wall_ns == DUE_NEVER)
        return scheduled_wall_ns;
    int64_t next = c->next(c->arg, scheduled_wall_ns);
    int64_t room = next == DUE_NEVER ? p->jitter_ns : next - scheduled_wall_ns;
    uint64_t below = (uint64_t)(room < p->jitter_ns ? room : p->jitter_ns);
    int64_t start;
    uint64_t late = hash_bytes(&scheduled_wall_ns, sizeof scheduled_wall_ns, p->seed) % below;
    return __builtin_add_overflow(scheduled_wall_ns, (int64_t)late, &start) ? DUE_NEVER : start;
}

/* ---- looking back ---- */

struct look {
    const struct due_calendar *c;
    const struct due_policy *p;
    size_t steps;
};

static int64_t step(struct look *l, int64_t after)
{
    l->steps++;
    return due_next(l->c, l->p, after);
}

/* Those in (after, until], at most `max`, into `out` when it is given; returns how many. */
static size_t walk(struct look *l, int64_t after, int64_t until, size_t max, int64_t *out)
{
    size_t n = 0;
    for (int64_t t = after; n < max && (t = step(l, t)) <= until; n++)
        if (out)
            out[n] = t;
    return n;
}

/* The last `k` in (after, until], oldest first. Scheduled times are whole seconds, so halving down to a second finds where they begin. */
static size_t last_of(struct look *l, int64_t after, int64_t until, size_t k, int64_t *out)
{
    assert(k > 0);
    size_t n = walk(l, after, until, k, out);
    if (n < k || step(l, out[n - 1]) > until)
        return n;
    int64_t low = after, high = until; /* more than k after low, at most k after high */
    while (high - low > NS_PER_S) {
        int64_t mid = low + (high - low) / 2;
        if (walk(l, mid, until, k + 1, NULL) > k)
            low = mid;
        else
            high = mid;
    }
    return walk(l, high, until, k, out);
}

/* The last `k` that have started by `now`; `k` is below DUE_MISSED_MAX + 1. */
static size_t last_started(struct look *l, int64_t after, int64_t now, size_t k, int64_t *out)
{
    int64_t found[DUE_MISSED_MAX + 1];
    size_t n = last_of(l, after, now, k + 1, found);
    if (n && due_start(l->c, l->p, found[n - 1]) > now)
        n--;
    size_t from = n > k ? n - k : 0;
    memcpy(out, found + from, (n - from) * sizeof *out);
    return n - from;
}

/* ---- what is due ---- */

static bool late(const struct look *l, int64_t t, int64_t now) { return now - due_start(l->c, l->p, t) > DUE_LATE_NS; }

static void add_fresh(struct look *l, int64_t now, struct due_found *out)
{
    for (int64_t t; (t = step(l, out->last_wall_ns)) <= now && due_start(l->c, l->p, t) <= now; out->last_wall_ns = t) {
        if (out->n_fresh == DUE_FRESH_MAX) { /* no calendar has so many in so short a time */
            memmove(out->fresh, out->fresh + 1, (DUE_FRESH_MAX - 1) * sizeof *out->fresh);
            out->n_fresh--;
            out->skipped++;
        }
        out->fresh[out->n_fresh++] = t;
    }
}

static void count_skipped(struct look *l, int64_t after, struct due_found *out)
{
    size_t all = walk(l, after, out->last_wall_ns, DUE_SKIPPED_COUNT, NULL);
    out->skipped = all > out->n_make_up ? all - out->n_make_up : 0;
}

void due_find(const struct due_calendar *c, const struct due_policy *p, int64_t after_wall_ns, int64_t now_wall_ns, struct due_found *out)
{
    struct look l = {.c = c, .p = p};
    out->last_wall_ns = after_wall_ns;
    out->n_make_up = out->n_fresh = out->skipped = 0;
    int64_t first = step(&l, after_wall_ns);
    if (first <= now_wall_ns && due_start(c, p, first) <= now_wall_ns) {
        if (!late(&l, first, now_wall_ns)) {
            add_fresh(&l, now_wall_ns, out);
        } else if (p->missed == DUE_SKIP) {
            last_started(&l, after_wall_ns, now_wall_ns - DUE_LATE_NS - 1, 1, &out->last_wall_ns);
            count_skipped(&l, after_wall_ns, out);
            add_fresh(&l, now_wall_ns, out);
        } else {
            out->n_make_up = last_started(&l, after_wall_ns, now_wall_ns, p->missed == DUE_ONCE ? 1 : p->missed_max, out->make_up);
            out->last_wall_ns = out->make_up[out->n_make_up - 1];
            count_skipped(&l, after_wall_ns, out);
        }
    }
    out->steps = l.steps;
}

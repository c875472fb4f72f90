/** timers.c: a 4-ary heap (half the depth of a binary one, and four children share a cache line). */
#include "core/base/timers.h"

#include <assert.h>
#include <stdlib.h>

#define TIMERS_FIRST 64
#define CHILDREN 4
/* A slot with this bit is the timer's place in `expired`: collected, waiting for its turn in this run. */
#define IN_EXPIRED ((size_t)1 << (sizeof(size_t) * 8 - 1))

struct timers {
    struct timer **heap;
    struct timer **expired; /* as large as the heap, so that a run never needs memory */
    size_t count, cap, expired_count;
    uint64_t seq;
    bool running;
};

struct timers *timers_new(void) { return calloc(1, sizeof(struct timers)); }

void timers_free(struct timers *ts)
{
    if (!ts)
        return;
    free(ts->heap);
    free(ts->expired);
    free(ts);
}

static bool before(const struct timer *a, const struct timer *b)
{
    return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->seq < b->seq;
}

static void place(struct timers *ts, size_t i, struct timer *t)
{
    ts->heap[i] = t;
    t->slot = i + 1;
}

static void sift_up(struct timers *ts, size_t i, struct timer *t)
{
    while (i > 0) {
        size_t parent = (i - 1) / CHILDREN;
        if (!before(t, ts->heap[parent]))
            break;
        place(ts, i, ts->heap[parent]);
        i = parent;
    }
    place(ts, i, t);
}

static void sift_down(struct timers *ts, size_t i, struct timer *t)
{
    for (;;) {
        size_t first = i * CHILDREN + 1;
        if (first >= ts->count)
            break;
        size_t least = first;
        for (size_t c = first + 1; c < first + CHILDREN && c < ts->count; c++)
            if (before(ts->heap[c], ts->heap[least]))
                least = c;
        if (!before(ts->heap[least], t))
            break;
        place(ts, i, ts->heap[least]);
        i = least;
    }
    place(ts, i, t);
}

static void sift(struct timers *ts, size_t i, struct timer *t)
{
    if (i > 0 && before(t, ts->heap[(i - 1) / CHILDREN]))
        sift_up(ts, i, t);
    else
        sift_down(ts, i, t);
}

static void heap_remove(struct timers *ts, size_t i)
{
    assert(i < ts->count);
    ts->heap[i]->slot = 0;
    struct timer *last = ts->heap[--ts->count];
    if (i < ts->count)
        sift(ts, i, last);
}

static bool grow(struct timers *ts)
{
    size_t cap = ts->cap ? ts->cap * 2 : TIMERS_FIRST;
    struct timer **heap = realloc(ts->heap, cap * sizeof(struct timer *));
    if (!heap)
        return false;
    ts->heap = heap;
    struct timer **expired = realloc(ts->expired, cap * sizeof(struct timer *));
    if (!expired)
        return false;
    ts->expired = expired;
    ts->cap = cap;
    return true;
}

int timer_set(struct timers *ts, struct timer *t, int64_t due_ns, struct err *e)
{
    bool in_heap = t->slot && !(t->slot & IN_EXPIRED);
    if (!in_heap) {
        if (ts->count >= TIMERS_MAX)
            return err_set(e, ERR_RESOURCE_EXHAUSTED, "all %d timers are in use", TIMERS_MAX);
        if (ts->count == ts->cap && !grow(ts))
            return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for timer %zu", ts->count + 1);
        timer_cancel(ts, t); /* out of the run it was collected for */
        t->slot = ++ts->count;
    }
    t->due_ns = due_ns;
    t->seq = ts->seq++;
    if (in_heap)
        sift(ts, t->slot - 1, t);
    else
        sift_up(ts, t->slot - 1, t);
    return 0;
}

void timer_cancel(struct timers *ts, struct timer *t)
{
    if (t->slot & IN_EXPIRED) {
        ts->expired[t->slot & ~IN_EXPIRED] = NULL;
        t->slot = 0;
    } else if (t->slot) {
        heap_remove(ts, t->slot - 1);
    }
}

int64_t timers_next_ns(const struct timers *ts) { return ts->count ? ts->heap[0]->due_ns : TIMER_NEVER; }

size_t timers_run(struct timers *ts, int64_t now_ns)
{
    assert(!ts->running && "a timer's callback must not run the timers");
    ts->running = true;
    ts->expired_count = 0;
    while (ts->count && ts->heap[0]->due_ns <= now_ns) {
        struct timer *t = ts->heap[0];
        heap_remove(ts, 0);
        t->slot = ts->expired_count | IN_EXPIRED;
        ts->expired[ts->expired_count++] = t;
    }
    size_t fired = 0;
    for (size_t i = 0; i < ts->expired_count; i++) {
        struct timer *t = ts->expired[i];
        if (!t)
            continue; /* cancelled or moved by an earlier one of this run */
        t->slot = 0;
        t->fire(t, now_ns); /* may free t */
        fired++;
    }
    ts->running = false;
    return fired;
}

/* push_window.c: slow start, fall back and backoff as arithmetic. */
#include "dispatcher/push_window.h"

#include "core/base/timers.h"
#include "dispatcher/push.h"

#include <math.h>

/* 0.2 ** 0.857 of the way from 100 ms to 60 s, taken by powers, is 500 ms. */
#define BACKOFF_BEND 0.857

void push_window_init(struct push_window *w)
{
    *w = (struct push_window){.size = PUSH_WINDOW_START, .last_sent_ns = INT64_MIN / 2, .held_ns = INT64_MAX};
}

int64_t push_window_backoff_ns(const struct push_window *w)
{
    if (w->failing < PUSH_FAILING_MIN)
        return 0;
    double ratio = (double)PUSH_BACKOFF_MAX_NS / (double)PUSH_BACKOFF_MIN_NS;
    double ns = (double)PUSH_BACKOFF_MIN_NS * pow(ratio, pow(w->failing, BACKOFF_BEND));
    return ns >= (double)PUSH_BACKOFF_MAX_NS ? PUSH_BACKOFF_MAX_NS : (int64_t)ns;
}

uint32_t push_window_open(const struct push_window *w, uint32_t in_flight, int64_t now_ns, int64_t *again_ns)
{
    int64_t open_ns = w->last_sent_ns + push_window_backoff_ns(w);
    *again_ns = TIMER_NEVER;
    if (in_flight >= (uint32_t)w->size)
        return 0;
    if (push_window_backoff_ns(w) && now_ns < open_ns) {
        *again_ns = open_ns;
        return 0;
    }
    return (uint32_t)w->size - in_flight;
}

uint64_t push_window_sent(struct push_window *w, int64_t now_ns)
{
    w->last_sent_ns = now_ns;
    return w->ticket++;
}

/* What an acknowledged push says of the endpoint's speed. */
static void learn(struct push_window *w, int64_t latency_ns)
{
    w->acked_ns += ((double)latency_ns - w->acked_ns) / (w->acked_ns > 0 ? PUSH_WINDOW_QUICK : 1);
    if (w->quickest_ns <= 0 || w->acked_ns < w->quickest_ns)
        w->quickest_ns = w->acked_ns;
}

/* Does a larger window only lengthen the endpoint's queue? */
static bool held(struct push_window *w)
{
    double enough_ns = w->quickest_ns * 2 > PUSH_LATENCY_QUICK_NS ? w->quickest_ns * 2 : PUSH_LATENCY_QUICK_NS;
    if (w->size < PUSH_WINDOW_QUICK || w->acked_ns <= enough_ns) {
        w->held_ns = INT64_MAX;
        return false;
    }
    if (w->held_ns == INT64_MAX)
        w->held_ns = w->last_sent_ns;
    if (w->last_sent_ns - w->held_ns >= PUSH_HELD_NS) {
        w->size = PUSH_WINDOW_QUICK;
        w->acked_ns = w->quickest_ns = 0;
        w->held_ns = INT64_MAX;
        w->anew_at = w->ticket;
    }
    return true;
}

static void grow(struct push_window *w)
{
    if (held(w))
        return;
    w->size += w->size < PUSH_WINDOW_LINEAR ? 1 : 1 / w->size;
    if (w->size > PUSH_WINDOW_MAX)
        w->size = PUSH_WINDOW_MAX;
}

/* Once per window: the failures of one burst are one piece of news. */
static void halve(struct push_window *w, uint64_t ticket)
{
    if (ticket < w->halved_at)
        return;
    w->size = w->size / 2 > 1 ? w->size / 2 : 1;
    w->halved_at = w->ticket;
}

void push_window_crowded(struct push_window *w, uint64_t ticket) { halve(w, ticket); }

void push_window_settled(struct push_window *w, uint64_t ticket, bool acked, int64_t latency_ns)
{
    double memory = w->size > PUSH_WINDOW_MEMORY ? w->size : PUSH_WINDOW_MEMORY;
    w->failing += ((acked ? 0 : 1) - w->failing) / memory;
    w->latency_ns += ((double)latency_ns - w->latency_ns) / memory;
    if (!acked) {
        halve(w, ticket);
    } else if (ticket >= w->anew_at) {
        learn(w, latency_ns);
        grow(w);
    }
    bool poor = w->latency_ns > (double)PUSH_LATENCY_SLOW_NS || w->failing > 1 - PUSH_ACKED_MIN;
    if (poor && w->size > PUSH_WINDOW_LINEAR)
        w->size = PUSH_WINDOW_LINEAR;
}

bool push_acks(int status) { return status == 102 || status == 200 || status == 201 || status == 202 || status == 204; }

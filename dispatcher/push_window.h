/** push_window.h: how many pushes of a subscription may be under way, and how long it pauses. Pure: no clock, no memory.
 *  Shape:  push_window_open -> push_window_sent per push -> push_window_settled with its ticket.
 *  Rules:  slow start: one more for each ack (so it doubles per window), above PUSH_WINDOW_LINEAR one more per window; a failure
 *          halves it, once per window of pushes. Above PUSH_WINDOW_LINEAR it falls back there when the mean latency passes 1 s or less than
 *          99 % are acknowledged.
 *          Held: from PUSH_WINDOW_QUICK on it grows only while answers take at most twice as long as they took at their quickest
 *          (or PUSH_LATENCY_QUICK_NS): beyond that the endpoint only queues, and a larger window buys nothing but memory, connections and
 *          waiting for everybody. An endpoint that became slower by itself looks the same, so after PUSH_HELD_NS the window begins
 *          again at PUSH_WINDOW_QUICK and the quickest is measured anew: whoever only queued is as busy with that, and is held again.
 *          Backoff: follows the share of failures among the last ten (or a window of) answers: 100 ms where it begins, 60 s
 *          when everything fails. While it is not 0 a batch of at most the window goes out once per backoff.
 *  Units:  now_ns, *again_ns, held_ns and last_sent_ns are monotonic; latencies and backoffs are durations; all ns.
 *  Owner:  embedded in its pusher; it holds no memory of its own.
 *  Thread: whoever owns the struct.
 *  Source: wire.md section 1. Its calibration: one nack in five -> about 500 ms; only nacks -> 30 to 60 s. */
#ifndef DISPATCHER_PUSH_WINDOW_H
#define DISPATCHER_PUSH_WINDOW_H

#include "core/compiler.h"

#define PUSH_WINDOW_MEMORY 10 /* answers that the share of failures looks back on, at least */
#define PUSH_FAILING_MIN 0.02 /* below this share nothing pauses */
#define PUSH_LATENCY_SLOW_NS NS_PER_S
#define PUSH_ACKED_MIN 0.99
#define PUSH_WINDOW_QUICK 64
#define PUSH_LATENCY_QUICK_NS (1 * NS_PER_MS)
#define PUSH_HELD_NS (30 * NS_PER_S)

struct push_window {
    double size;
    double failing;     /* share of answers that were failures, 0..1 */
    double latency_ns;  /* mean, exponentially forgotten */
    double acked_ns;    /* the mean of those that were acknowledged; 0: none yet */
    double quickest_ns; /* the least that acked_ns was; 0: not known */
    int64_t held_ns;    /* since when; INT64_MAX: not held */
    uint64_t anew_at;   /* what was sent before this one tells of another window */
    uint64_t ticket;    /* of the next push */
    uint64_t halved_at; /* failures of pushes before this one do not halve again */
    int64_t last_sent_ns;
};
void push_window_init(struct push_window *w);
/** How many more may go now with `in_flight` under way; 0 and *again_ns (TIMER_NEVER or an instant) when it is to pause. */
uint32_t push_window_open(const struct push_window *w, uint32_t in_flight, int64_t now_ns, int64_t *again_ns);
uint64_t push_window_sent(struct push_window *w, int64_t now_ns);
void push_window_settled(struct push_window *w, uint64_t ticket, bool acked, int64_t latency_ns);
/** It could not even be sent, for want of connections or room in a queue of our own: a smaller window, but no fault of the endpoint. */
void push_window_crowded(struct push_window *w, uint64_t ticket);
/** The delay of a failed message and between batches; 0 while (nearly) nothing fails. */
int64_t push_window_backoff_ns(const struct push_window *w);
/** 102, 200, 201, 202, 204 */
bool push_acks(int status);

#endif

/** subscription.h: one subscription: its leases and who may take them.
 *  Shape of a lease:  READY -> SENT -> (acked: gone) | WAIT -> READY; BLOCKED while an earlier message of its ordering key is unsettled.
 *          State == list; only the mover touches links; settled leases are freed at once, so never keep one past its settlement.
 *  Rules:  at most LEASES_MAX leases and LEASE_BYTES_MAX bytes in memory; the adapter gets credit for what is free, so a
 *          million waiting messages stay on disk. A lease that is not settled by its deadline goes to WAIT as if nacked
 *          (consumer->on_expired tells). delivery_attempt = 1 + nacks + expiries, from memory (a restart starts at 1 again
 *          unless a dead-letter policy makes it matter).
 *  Units:  monotonic ns.
 *  Thread: engine thread.
 *  Source: google/pubsub/v1/pubsub.proto: Subscription.ack_deadline_seconds (10..600 s; 0 means 10; for push also the request timeout),
 *          retry_policy (absent: redeliver at once). */
#ifndef BROKER_SUBSCRIPTION_H
#define BROKER_SUBSCRIPTION_H

#include "broker/message.h"
#include "core/base/list.h"
#include "core/base/timers.h"

#define LEASES_MAX 20000
#define LEASE_BYTES_MAX (64u * 1024 * 1024)

enum lease_state { LEASE_READY, LEASE_SENT, LEASE_WAIT, LEASE_BLOCKED, LEASE_N };
struct subscription;
struct lease {
    struct node link;   /* in the list of its state */
    struct timer timer; /* SENT: ack deadline; WAIT: when it is ready again */
    struct subscription *sub;
    struct message *msg;
    enum lease_state state;
    uint32_t attempt;     /* deliveries begun */
    uint64_t number;      /* unique in the process; part of the ack id, so an old id cannot settle a later delivery */
    struct node key_link; /* in its ordering key's queue */
    struct key_queue *key;
    void *consumer_data;        /* whoever took it */
    bool pulled;                /* SENT to a pull: its consumer, if any, does not know it */
    bool dead;                  /* WAIT: it is on its way to the dead-letter topic, not to be delivered again */
    struct dead_letter *letter; /* that journey */
};

/* The one who takes leases by itself (the push dispatcher). Pull requests need no consumer. */
struct consumer {
    void (*on_ready)(struct consumer *c);                    /* something may be taken; never called from inside subscription_* */
    void (*on_expired)(struct consumer *c, struct lease *l); /* its deadline passed: forget it (it has left SENT) */
    void (*on_drop)(struct consumer *c, struct lease *l);    /* taken away by seek, detach or delete: forget it */
};
void subscription_consume(struct subscription *s, struct consumer *c); /* NULL: detach; what it had taken is nacked without delay */

const char *subscription_name(const struct subscription *s);
const Google__Pubsub__V1__Subscription *subscription_config(const struct subscription *s);
/** Move up to `max` READY leases (and about max_bytes) to SENT with the ack deadline, oldest first. Returns how many. */
size_t subscription_take(struct subscription *s, size_t max, size_t max_bytes, struct lease **out);
void subscription_ack(struct subscription *s, struct lease *l);
/** WAIT for the larger of the retry policy's backoff and `delay_ns`; 0 and no policy: READY again at once. */
void subscription_nack(struct subscription *s, struct lease *l, int64_t delay_ns);
/** New deadline from now; the message stays SENT. */
void subscription_extend(struct subscription *s, struct lease *l, int64_t ns);
/** READY and WAIT due now, plus unread in the adapter: what push still has to do. */
uint64_t subscription_backlog(const struct subscription *s);
int64_t subscription_ack_deadline_ns(const struct subscription *s);
/** Leases per state, totals, the publish time of the oldest unacknowledged message: for metrics and status. */
struct subscription_stats {
    size_t in_state[LEASE_N];
    uint64_t unacked, acked_total, nacked_total, expired_total;
    int64_t oldest_wall_ns;
};
struct subscription_stats subscription_stats(const struct subscription *s);

#endif

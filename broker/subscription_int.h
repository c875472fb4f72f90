/** subscription_int.h: what the rest of the broker does with a subscription: make it, attach it to its adapter, pull from it.
 *  Thread: engine thread. */
#ifndef BROKER_SUBSCRIPTION_INT_H
#define BROKER_SUBSCRIPTION_INT_H

#include "broker/adapter.h"
#include "broker/filter.h"
#include "broker/keys.h"
#include "broker/subscription.h"
#include "core/observe/metrics.h"

#define PREFETCH_MAX 1000  /* leases of a pull subscription that nobody has taken yet */
#define PREFETCH_START 100 /* the same until pulls have shown that they want more */
#define PREFETCH_BYTES_MAX (4u * 1024 * 1024)
#define PREFETCH_TIGHT 16 /* the same while all subscriptions together hold LEASES_BYTES_TOTAL_MAX */
#define LEASES_BYTES_TOTAL_MAX ((size_t)128 * 1024 * 1024)
#define RETRY_MIN_DEFAULT_NS (10 * NS_PER_S)
#define RETRY_MAX_DEFAULT_NS (600 * NS_PER_S)
#define ACK_DEADLINE_DEFAULT_S 10
#define DEAD_LETTER_ATTEMPTS_DEFAULT 5

/* What all subscriptions of a broker share. */
struct subscription_deps {
    const struct env *env;
    struct adapter *adapter;
    size_t lease_bytes;  /* of all subscriptions: messages, and the leases themselves */
    uint64_t deliveries; /* numbers them over all, so that an ack id fits no later subscription of the same name */
    /* Messages are ready and pulls may wait. */
    void (*serve_pulls)(struct subscription *s);
    /* The lease has used up its attempts (it is WAIT and dead): bring it to the dead-letter topic. */
    void (*dead_letter)(struct subscription *s, struct lease *l);
    /* Attempt counts of a subscription with a dead-letter policy changed. */
    void (*attempts_changed)(struct subscription *s);
};

struct subscription_metrics {
    struct metric *acked, *nacked, *expired, *dead, *filtered;
};

struct subscription {
    struct subscription_deps *deps;
    Google__Pubsub__V1__Subscription *config; /* the heap's */
    struct adapter_sub *source;
    struct list states[LEASE_N];
    size_t bytes, sent_bytes, leases;
    size_t prefetch;    /* PREFETCH_START to PREFETCH_MAX */
    size_t asked_count; /* credit given and not used, as the adapter counts it */
    int64_t asked_bytes;
    struct map *keys;
    struct u64map *pulled; /* SENT to pulls, by number */
    struct consumer *consumer;
    struct timer wake;
    struct filter *filter; /* NULL: everything matches */
    int64_t ack_deadline_ns, retry_min_ns, retry_max_ns, retention_ns, active_ns;
    uint32_t max_attempts; /* 0: no dead-letter policy */
    uint64_t acked, nacked, expired;
    bool dropping; /* leases are going: wake nobody */
    struct subscription_metrics metrics;
    struct u64map *attempts; /* loaded attempt counts by position (lo), until their message comes; NULL: none */
    /* the broker's */
    void *owner;
    struct list pulls; /* waiting pulls */
};

struct subscription *subscription_new(struct subscription_deps *deps, const Google__Pubsub__V1__Subscription *config, struct err *e);
void subscription_free(struct subscription *s);
const struct adapter_sub_events *subscription_events(void);
/** Begin to read from `source` (opened with subscription_events() and this subscription as arg). */
void subscription_start(struct subscription *s, struct adapter_sub *source);
/** Take over a changed configuration (validated; copied before by the caller: it becomes ours). */
void subscription_configure(struct subscription *s, Google__Pubsub__V1__Subscription *config);
/** Forget all leases (seek, detach, delete); the consumer hears on_drop. */
void subscription_drop(struct subscription *s);
/** After a seek has ended: ask for messages again. */
void subscription_resume(struct subscription *s);
/** For pull: also messages behind the first of their ordering key, in order. */
size_t subscription_pull(struct subscription *s, size_t max, size_t max_bytes, struct lease **out);
/** The lease that was pulled under this number; NULL when it is not out any more. */
struct lease *subscription_pulled(const struct subscription *s, uint64_t number);
/** The same, and from now on the number is not known: the caller is about to acknowledge it. */
struct lease *subscription_unpull(struct subscription *s, uint64_t number);
/** Acknowledge several; done once durable. */
void subscription_ack_all(struct subscription *s, struct lease **leases, size_t n, adapter_done_fn done, void *arg);
/** The dead letter is durable: the lease is settled. */
void subscription_bury(struct subscription *s, struct lease *l);
/** The dead letter could not be brought: try again after `delay_ns`. */
void subscription_revive(struct subscription *s, struct lease *l, int64_t delay_ns);
void subscription_touch(struct subscription *s);

#endif

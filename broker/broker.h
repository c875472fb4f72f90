/** broker.h: topics and subscriptions by name, their durable records, and the Pub/Sub API over the method table.
 *  Shape:  broker_new -> broker_load (from the store, synchronous, before anything runs) -> broker_register -> runs.
 *  Units:  durations in ns.
 *  Errors: broker_new and broker_register: RESOURCE_EXHAUSTED. broker_load: also DATA_LOSS for a record that cannot be read, and
 *          what the store said. Clients get theirs in the answer to the call.
 *  Owner:  the broker takes over the adapter once broker_new has succeeded; store and metrics are the caller's and outlive it.
 *          broker_free ends what broker_stop has not.
 *  Thread: engine thread. */
#ifndef BROKER_BROKER_H
#define BROKER_BROKER_H

#include "broker/adapter.h"
#include "broker/subscription.h"
#include "core/observe/metrics.h"
#include "core/rpc/method.h"

#define BROKER_TOPICS_MAX 100000
#define BROKER_SUBSCRIPTIONS_MAX 100000
#define BROKER_SUBSCRIPTIONS_PER_TOPIC_MAX 10000
#define BROKER_SNAPSHOTS_MAX 10000

struct broker;
struct broker_config {
    const char *default_project;
    int64_t pull_wait_ns; /* how long a pull without messages waits; 0: 20 s */
};
/* Told about push: a subscription appeared, its push config changed, or it is about to go (gone: true). Also called for each loaded one. */
typedef void (*broker_watch_fn)(void *arg, struct subscription *s, bool gone);
/* May this push endpoint be used? 0 or INVALID_ARGUMENT. Given by the dispatcher, which knows URLs. */
typedef int (*broker_endpoint_fn)(void *arg, const char *endpoint, struct err *e);

struct broker *broker_new(const struct env *env, const struct broker_config *c, struct store *store, struct adapter *adapter,
                          struct metrics *metrics, struct err *e);
MUST_USE int broker_load(struct broker *b, struct err *e);
MUST_USE int broker_register(struct broker *b, struct registry *r, struct err *e);
void broker_watch(struct broker *b, broker_watch_fn fn, void *arg);
void broker_check_endpoint(struct broker *b, broker_endpoint_fn fn, void *arg);
/** Stop: pulls waiting are answered, settlements flushed; done once the adapter has closed. Then broker_free. */
void broker_stop(struct broker *b, void (*done)(void *arg), void *arg);
void broker_free(struct broker *b);
/** Publish one message for another part of the server. done, later or within: NULL once it is durable; NOT_FOUND: no such topic;
 *  INVALID_ARGUMENT: past a limit; what the store says. The message is copied before it returns. */
void broker_publish(struct broker *b, const char *topic, const Google__Pubsub__V1__PubsubMessage *m,
                    void (*done)(void *arg, const struct err *e), void *arg);
struct subscription *broker_subscription(struct broker *b, const char *name);
/** Answer the pulls that wait, and let none wait for long any more: the server is about to end. */
void broker_end_pulls(struct broker *b);
/** Is there a topic, subscription or snapshot of this full resource name? */
bool broker_has(const struct broker *b, const char *resource);
/** Called with the full resource name of each topic, subscription or snapshot once its deletion is durable. */
void broker_on_delete(struct broker *b, void (*gone)(void *arg, const char *resource), void *arg);
/** IAM policies of topics and subscriptions are kept as records of kind "policy" by the dispatcher's policy.h, not here. */

#endif

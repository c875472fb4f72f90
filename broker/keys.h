/** keys.h: ordering keys of one subscription: per key the queue of its unsettled leases, in publish order.
 *  Rules:  the head of a queue may be READY, SENT or WAIT; behind it follow those sent together with it (pull) and then only
 *          BLOCKED ones. A key is there as long as it has leases.
 *  Errors: RESOURCE_EXHAUSTED: out of memory; the lease is in no queue then.
 *  Thread: engine thread. */
#ifndef BROKER_KEYS_H
#define BROKER_KEYS_H

#include "broker/subscription.h"
#include "core/base/map.h"

struct key_queue {
    struct list leases; /* by key_link */
    char *name;
};
/** Put the lease at the end of its key's queue. RESOURCE_EXHAUSTED when out of memory. */
MUST_USE int keys_join(struct map *keys, struct lease *l, struct err *e);
/** Take it out; returns the new head if the lease was the head, else NULL. The queue may be gone after that. */
struct lease *keys_leave(struct map *keys, struct lease *l);
bool keys_is_head(const struct lease *l);
/** The lease behind `l` in its key; NULL at the end. */
struct lease *keys_after(const struct lease *l);

#endif

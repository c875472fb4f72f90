/** message.h: one published message, immutable after it was accepted.
 *  Shape:  made from a publish request (or a stored record) as one allocation: the versioned record bytes and slices into them.
 *  Units:  publish_wall_ns is wall time.
 *  Errors: INVALID_ARGUMENT past a limit, RESOURCE_EXHAUSTED out of memory, DATA_LOSS a stored record that is torn or of a newer
 *          version.
 *  Owner:  counted references, engine thread only. Other threads may read a message that the engine keeps alive for them.
 *  Limits: those of Pub/Sub (wire.md section 1): 10 MB, 100 attributes, key 256 B, value 1,024 B, ordering key 1,024 B.
 *  Record: byte 0 = MESSAGE_RECORD_VERSION, then google.pubsub.v1.PubsubMessage without id and publish time.
 *  Thread: made and counted on the engine thread; read on any. */
#ifndef BROKER_MESSAGE_H
#define BROKER_MESSAGE_H

#include "broker/pubsub.pb-c.h"
#include "core/base/buf.h"

#define MESSAGE_RECORD_VERSION 1
#define MESSAGE_BYTES_MAX (10u * 1000 * 1000)
#define MESSAGE_ATTRIBUTES_MAX 100
#define MESSAGE_KEY_MAX 256
#define MESSAGE_VALUE_MAX 1024
#define MESSAGE_ORDERING_KEY_MAX 1024

/* Where a message stands in its topic. Embedded: lo = sequence. Redis: hi = ms, lo = sequence. Kafka: hi = partition, lo = offset. */
struct msg_pos {
    uint64_t hi, lo;
};
struct attribute {
    struct str key, value;
};
struct message {
    uint32_t refs;
    struct msg_pos pos;
    int64_t publish_wall_ns;
    char id[48];
    struct str data, ordering_key;
    struct attribute *attributes;
    uint32_t n_attributes;
    struct str record; /* what the store keeps */
    size_t bytes;      /* what it counts for in limits and windows */
};
/** Check against the limits and encode; INVALID_ARGUMENT names the field (`messages[3].attributes["k"]`). */
struct message *message_new(const Google__Pubsub__V1__PubsubMessage *m, size_t index, struct err *e);
struct message *message_from_record(struct str record, struct err *e); /* DATA_LOSS when malformed */
struct message *message_ref(struct message *m);
void message_unref(struct message *m);

#endif

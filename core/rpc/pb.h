/** pb.h: protobuf-c messages in arenas: allocate, clone, pack, look into; and a registry of types for google.protobuf.Any.
 *  Units:  wall_ns is wall time; durations in ns.
 *  Errors: RESOURCE_EXHAUSTED when memory or the arena is out. What returns a pointer returns NULL then, and for malformed bytes.
 *  Owner:  everything made here lives in the arena given, except pb_pack's bytes (malloc'd) and pb_dup (pb_free).
 *  Thread: any; a message belongs to one thread at a time. Types are registered before threads start. */
#ifndef CORE_RPC_PB_H
#define CORE_RPC_PB_H

#include "core/base/arena.h"
#include <protobuf-c/protobuf-c.h>

/** A zeroed, initialised message; NULL when the arena is full. */
void *pb_new(struct arena *a, const ProtobufCMessageDescriptor *d);
void *pb_clone(struct arena *a, const ProtobufCMessage *m);
/** Deep copy on the heap, freed by pb_free. */
void *pb_dup(const ProtobufCMessage *m);
void pb_free(void *m);
bool pb_equal(const ProtobufCMessage *a, const ProtobufCMessage *b); /* same type and same packed bytes */
MUST_USE int pb_pack(const ProtobufCMessage *m, char **out, size_t *len, struct err *e);
void *pb_unpack(struct arena *a, const ProtobufCMessageDescriptor *d, struct str bytes); /* NULL: malformed or full */
void *pb_unpack_heap(const ProtobufCMessageDescriptor *d, struct str bytes);

/** A packed Any ("type.googleapis.com/" + full name) holding `m`. */
ProtobufCMessage *pb_any(struct arena *a, const ProtobufCMessage *m);
/** Types that may appear inside an Any in JSON. Fill before threads start; at most 256. */
void pb_register(const ProtobufCMessageDescriptor *d);
const ProtobufCMessageDescriptor *pb_registered(const char *full_name);

/* google.protobuf.Timestamp and Duration as ns, in the arena. */
ProtobufCMessage *pb_timestamp(struct arena *a, int64_t wall_ns);
ProtobufCMessage *pb_duration(struct arena *a, int64_t ns);
int64_t pb_timestamp_ns(const void *timestamp); /* 0 for NULL; saturates */
int64_t pb_duration_ns(const void *duration);

/* Looking at messages through their descriptors (for json, mask and the like). */
size_t pb_type_size(ProtobufCType type); /* bytes of one value in the C struct */
bool pb_field_is_map(const ProtobufCFieldDescriptor *f);
/** Present: a oneof member that is the chosen one, a message that is there, a list that is not empty, a scalar that is not its default. */
bool pb_field_is_set(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f);
/** A field by its name in snake_case or lowerCamelCase; NULL when there is none. */
const ProtobufCFieldDescriptor *pb_field_find(const ProtobufCMessageDescriptor *d, struct str name);
/** Make `f` of `to` what it is in `from` (also: unset), copied into the arena. Both are of one type. */
MUST_USE int pb_field_copy(struct arena *a, ProtobufCMessage *to, const ProtobufCMessage *from, const ProtobufCFieldDescriptor *f,
                           struct err *e);
static inline void *pb_member(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f) { return (char *)m + f->offset; }
/* The count of a repeated field. */
static inline size_t *pb_count(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    return (size_t *)(void *)((char *)m + f->quantifier_offset);
}
/* The number of the chosen member of the oneof that `f` belongs to; 0 = none. */
static inline uint32_t *pb_case(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    return (uint32_t *)(void *)((char *)m + f->quantifier_offset);
}

#endif

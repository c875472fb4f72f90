/** mask.h: google.protobuf.FieldMask: check the paths against a type and apply an update.
 *  Paths are accepted in snake_case and lowerCamelCase; "*" names everything, also what is not set.
 *  Errors: INVALID_ARGUMENT names a path that is unknown; RESOURCE_EXHAUSTED when the arena is full.
 *  Thread: any; nothing is kept. */
#ifndef CORE_RPC_MASK_H
#define CORE_RPC_MASK_H

#include "core/base/arena.h"
#include <protobuf-c/protobuf-c.h>

/** Check all paths, then copy the fields named by `paths` from `from` into `to` (all that are set, when n == 0 and
 *  `all_when_empty`); both arena messages of one type. A path that names a message replaces it whole; maps and repeated
 *  fields are replaced. INVALID_ARGUMENT names an unknown path. Paths are accepted in snake_case and lowerCamelCase; "*"
 *  names everything, also what is not set. */
MUST_USE int mask_apply(struct arena *a, ProtobufCMessage *to, const ProtobufCMessage *from, char **paths, size_t n, bool all_when_empty,
                        struct err *e);
/** Is `path` (snake_case) named by the mask, itself or by a parent? */
bool mask_has(char **paths, size_t n, const char *path);

#endif

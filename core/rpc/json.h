/** json.h: proto3 JSON both ways over protobuf-c descriptors.
 *  Rules:  reads lowerCamelCase and snake_case, int64 as string or number, enums by name or number, base64 standard or
 *          URL-safe, null = absent; unknown fields are ignored, unknown enum strings are an error. Writes lowerCamelCase,
 *          omits defaults, int64 as string; maps as objects; Timestamp, Duration, FieldMask, Empty and Any as proto3 JSON says.
 *  Errors: INVALID_ARGUMENT naming the field by its path: `messages[2].data: not base64`.
 *  Limits: JSON_DEPTH_MAX nested values, JSON_VALUES_MAX in all. A raw number beyond 2^53 is refused for a 64-bit field:
 *          it must be written as a string.
 *  Thread: any; a message belongs to one thread at a time.
 *  Source: protobuf.dev/programming-guides/json. */
#ifndef CORE_RPC_JSON_H
#define CORE_RPC_JSON_H

#include "core/base/arena.h"
#include <protobuf-c/protobuf-c.h>

#define JSON_DEPTH_MAX 64
#define JSON_VALUES_MAX 500000 /* in one text: keeps the tree of a small text small */
#define JSON_APPEND_MAX 1000   /* elements of a list given by json_set_field */
#define JSON_PATH_MAX 16       /* steps of its path */
enum json_flags { JSON_ENUM_AS_INT = 1, JSON_PRETTY = 2 };

/** Merge the object `text` into `m` (an arena message). Empty text, `""` and {} leave it as it is. */
MUST_USE int json_decode(struct arena *a, struct str text, ProtobufCMessage *m, struct err *e);
/** Set one field by dotted path from text (a path variable or query parameter; repeated fields append). */
MUST_USE int json_set_field(struct arena *a, ProtobufCMessage *m, struct str path, struct str value, struct err *e);
MUST_USE int json_encode(struct buf *b, const ProtobufCMessage *m, unsigned flags, struct err *e);
/** {"error":{"code":404,"message":…,"status":"NOT_FOUND"}}; the status is err_http()'s, or HTTP's closer word (405, 413). */
MUST_USE int json_encode_error_as(struct buf *b, const struct err *err, int http_status);

#endif

/** json_int.h: what the reading and the writing half of JSON share: the syntax, as a tree, and the text forms of the
 *  well-known types. */
#ifndef CORE_RPC_JSON_INT_H
#define CORE_RPC_JSON_INT_H

#include "core/rpc/json.h"

#define JSON_NUMBER_MAX 63 /* bytes of a number as written */
#define JSON_TREE_BYTES_MAX (64u * 1024 * 1024)

enum json_kind { JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };
struct json_value {
    enum json_kind kind;
    uint32_t count; /* children */
    struct json_value *next;
    struct str name; /* of an object's member */
    union {
        struct str text;          /* of a string, without escapes; of a number, as written */
        struct json_value *child; /* the first */
    };
};

/** One JSON value by RFC 8259, within the limits. The tree lives in `nodes`, its slices point there or into `text`. The error names the
 *  line and the byte. Strings may hold invalid UTF-8 (the field is named later) but no \u0000 and no lone surrogates. */
MUST_USE int json_parse(struct str text, struct arena *nodes, struct json_value *root, struct err *e);
/** The first member of that name; NULL when there is none or it is no object. */
const struct json_value *json_member(const struct json_value *object, const char *name);

enum wkt { WKT_NONE, WKT_TIMESTAMP, WKT_DURATION, WKT_FIELD_MASK, WKT_EMPTY, WKT_ANY };
enum wkt json_wkt(const ProtobufCMessageDescriptor *d);

/** Read the text form into `m`; returns a word on what is wrong ("not a time…"), NULL when all is well. `*full` is set when
 *  the arena was. */
const char *wkt_read(struct arena *a, enum wkt kind, struct str text, ProtobufCMessage *m, bool *full);
/** Write the text form without quotes. INTERNAL when the message holds no valid value. */
MUST_USE int wkt_write(struct buf *b, enum wkt kind, const ProtobufCMessage *m, struct err *e);

#define JSON_NAME_MAX 128
/** `name` in lowerCamelCase, terminated; returns `out`. */
char *json_name(const char *name, char out[JSON_NAME_MAX]);

#endif

/** json_int.h: what the reading and the writing half of JSON share: the strict syntax check and the text forms of the
 *  well-known types. */
#ifndef CORE_RPC_JSON_INT_H
#define CORE_RPC_JSON_INT_H

#include "core/rpc/json.h"

/** Is `text` one JSON value by RFC 8259, within the limits? The error names the line and the byte. Strings may hold invalid
 *  UTF-8 (the field is named later) but no \u0000 and no lone surrogates. */
MUST_USE int json_scan(struct str text, struct err *e);

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

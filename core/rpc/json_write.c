/** json_write.c: messages and errors as proto3 JSON, written straight into a buffer. */
#include "core/rpc/json.h"

#include "core/base/text.h"
#include "core/rpc/json_int.h"
#include "core/rpc/pb.h"

#include "google/protobuf/any.pb-c.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct writer {
    struct buf *b;
    struct err *e;
    unsigned flags;
    unsigned depth;
    bool bad; /* out of room: told once at the end */
};

static int write_object(struct writer *w, const ProtobufCMessage *m);

static void put(struct writer *w, const char *text) { w->bad |= buf_addz(w->b, text) != 0; }

static void put_break(struct writer *w)
{
    if (!(w->flags & JSON_PRETTY))
        return;
    put(w, "\n");
    for (unsigned i = 0; i < w->depth; i++)
        put(w, "  ");
}

/* The comma before all but the first, and the line break. */
static void put_next(struct writer *w, bool *first)
{
    if (!*first)
        put(w, ",");
    *first = false;
    put_break(w);
}

static void put_open(struct writer *w, const char *bracket)
{
    put(w, bracket);
    w->depth++;
}

static void put_close(struct writer *w, bool empty, const char *bracket)
{
    w->depth--;
    if (!empty)
        put_break(w);
    put(w, bracket);
}

static void put_string(struct writer *w, struct str s) { w->bad |= json_string_add(w->b, s) != 0; }

static void put_name(struct writer *w, const char *name)
{
    char text[JSON_NAME_MAX];
    put(w, "\"");
    put(w, json_name(name, text));
    put(w, w->flags & JSON_PRETTY ? "\": " : "\":");
}

/* The shortest decimal that reads back as the same number; JSON has no word for the special values, so they are strings. */
static void put_double(struct writer *w, double d, bool is_float)
{
    if (isnan(d) || isinf(d)) {
        put(w, isnan(d) ? "\"NaN\"" : d > 0 ? "\"Infinity\"" : "\"-Infinity\"");
        return;
    }
    char text[40];
    for (int digits = is_float ? 6 : 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, d);
        if (is_float ? strtof(text, NULL) == (float)d : strtod(text, NULL) == d)
            break;
    }
    put(w, text);
}

static void put_enum(struct writer *w, const ProtobufCEnumDescriptor *d, int32_t n)
{
    const ProtobufCEnumValue *v = w->flags & JSON_ENUM_AS_INT ? NULL : protobuf_c_enum_descriptor_get_value(d, n);
    w->bad |= v ? buf_addf(w->b, "\"%s\"", v->name) != 0 : buf_addf(w->b, "%d", n) != 0;
}

static void put_bytes(struct writer *w, const ProtobufCBinaryData *bytes)
{
    put(w, "\"");
    w->bad |= base64_add(w->b, bytes->data, bytes->len) != 0;
    put(w, "\"");
}

static int write_value(struct writer *w, const ProtobufCFieldDescriptor *f, const void *p)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        w->bad |= buf_addf(w->b, "%d", *(const int32_t *)p) != 0;
        break;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        w->bad |= buf_addf(w->b, "%u", *(const uint32_t *)p) != 0;
        break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        w->bad |= buf_addf(w->b, "\"%lld\"", (long long)*(const int64_t *)p) != 0;
        break;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        w->bad |= buf_addf(w->b, "\"%llu\"", (unsigned long long)*(const uint64_t *)p) != 0;
        break;
    case PROTOBUF_C_TYPE_FLOAT:
        put_double(w, (double)*(const float *)p, true);
        break;
    case PROTOBUF_C_TYPE_DOUBLE:
        put_double(w, *(const double *)p, false);
        break;
    case PROTOBUF_C_TYPE_BOOL:
        put(w, *(const protobuf_c_boolean *)p ? "true" : "false");
        break;
    case PROTOBUF_C_TYPE_ENUM:
        put_enum(w, f->descriptor, *(const int32_t *)p);
        break;
    case PROTOBUF_C_TYPE_STRING:
        put_string(w, *(char *const *)p ? str_of(*(char *const *)p) : STR(""));
        break;
    case PROTOBUF_C_TYPE_BYTES:
        put_bytes(w, p);
        break;
    case PROTOBUF_C_TYPE_MESSAGE:
        return write_object(w, *(ProtobufCMessage *const *)p);
    }
    return 0;
}

static int write_list(struct writer *w, const ProtobufCFieldDescriptor *f, const ProtobufCMessage *m)
{
    size_t n = *pb_count(m, f), size = pb_type_size(f->type);
    const char *values = *(char *const *)pb_member(m, f);
    bool first = true;
    int rc = 0;
    put_open(w, "[");
    for (size_t i = 0; i < n && !rc && !w->bad; i++) {
        put_next(w, &first);
        rc = write_value(w, f, values + i * size);
    }
    put_close(w, first, "]");
    return rc;
}

static void put_key(struct writer *w, const ProtobufCFieldDescriptor *f, const void *p)
{
    bool quoted = f->type == PROTOBUF_C_TYPE_STRING || pb_type_size(f->type) == 8;
    if (!quoted)
        put(w, "\"");
    int rc = write_value(w, f, p); /* a key is never a message */
    (void)rc;
    if (!quoted)
        put(w, "\"");
    put(w, w->flags & JSON_PRETTY ? ": " : ":");
}

static int write_map(struct writer *w, const ProtobufCFieldDescriptor *f, const ProtobufCMessage *m)
{
    ProtobufCMessage *const *entries = *(ProtobufCMessage * *const *)pb_member(m, f);
    const ProtobufCFieldDescriptor *fields = ((const ProtobufCMessageDescriptor *)f->descriptor)->fields;
    bool first = true;
    int rc = 0;
    put_open(w, "{");
    for (size_t i = 0; i < *pb_count(m, f) && !rc && !w->bad; i++) {
        const void *value = pb_member(entries[i], &fields[1]);
        put_next(w, &first);
        put_key(w, &fields[0], pb_member(entries[i], &fields[0]));
        if (fields[1].type == PROTOBUF_C_TYPE_MESSAGE && !*(void *const *)value)
            put(w, "{}"); /* unpacked from an entry without a value */
        else
            rc = write_value(w, &fields[1], value);
    }
    put_close(w, first, "}");
    return rc;
}

static int write_fields(struct writer *w, const ProtobufCMessage *m, bool *first)
{
    for (unsigned i = 0; i < m->descriptor->n_fields && !w->bad; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        if (!pb_field_is_set(m, f))
            continue;
        if (f->type == PROTOBUF_C_TYPE_MESSAGE && f->label != PROTOBUF_C_LABEL_REPEATED && !*(void **)pb_member(m, f))
            continue; /* a chosen oneof member without its message */
        put_next(w, first);
        put_name(w, f->name);
        int rc = pb_field_is_map(f)                      ? write_map(w, f, m)
                 : f->label == PROTOBUF_C_LABEL_REPEATED ? write_list(w, f, m)
                                                         : write_value(w, f, pb_member(m, f));
        if (rc)
            return rc;
    }
    return 0;
}

static int write_any_fields(struct writer *w, const Google__Protobuf__Any *any, const ProtobufCMessage *inner)
{
    bool first = true;
    put_open(w, "{");
    put_next(w, &first);
    put(w, w->flags & JSON_PRETTY ? "\"@type\": " : "\"@type\":");
    put_string(w, str_of(any->type_url));
    int rc;
    if (json_wkt(inner->descriptor) == WKT_NONE) {
        rc = write_fields(w, inner, &first);
    } else {
        put_next(w, &first);
        put_name(w, "value");
        rc = write_object(w, inner);
    }
    put_close(w, false, "}");
    return rc;
}

static int write_any(struct writer *w, const Google__Protobuf__Any *any)
{
    if (!any->type_url || !any->type_url[0]) {
        put(w, "{}");
        return 0;
    }
    const char *slash = strrchr(any->type_url, '/');
    const ProtobufCMessageDescriptor *d = slash ? pb_registered(slash + 1) : NULL;
    if (!d)
        return err_set(w->e, ERR_INTERNAL, "an Any holds the type %.200s, which is not registered", any->type_url);
    struct str bytes = {(const char *)any->value.data, any->value.len};
    ProtobufCMessage *inner = pb_unpack_heap(d, bytes);
    if (!inner)
        return err_set(w->e, ERR_INTERNAL, "an Any of type %.200s is malformed", any->type_url);
    int rc = write_any_fields(w, any, inner);
    pb_free(inner);
    return rc;
}

static int write_object(struct writer *w, const ProtobufCMessage *m)
{
    if (w->depth >= JSON_DEPTH_MAX)
        return err_set(w->e, ERR_INTERNAL, "a %s is nested too deeply", m->descriptor->name);
    enum wkt kind = json_wkt(m->descriptor);
    if (kind == WKT_ANY)
        return write_any(w, (const Google__Protobuf__Any *)m);
    if (kind == WKT_TIMESTAMP || kind == WKT_DURATION || kind == WKT_FIELD_MASK) {
        put(w, "\"");
        int rc = wkt_write(w->b, kind, m, w->e);
        put(w, "\"");
        return rc;
    }
    bool first = true;
    put_open(w, "{");
    int rc = write_fields(w, m, &first);
    put_close(w, first, "}");
    return rc;
}

int json_encode(struct buf *b, const ProtobufCMessage *m, unsigned flags, struct err *e)
{
    struct writer w = {.b = b, .e = e, .flags = flags};
    int rc = write_object(&w, m);
    if (rc)
        return rc;
    if (flags & JSON_PRETTY)
        put(&w, "\n");
    return w.bad ? err_set(e, ERR_RESOURCE_EXHAUSTED, "the answer is larger than %zu bytes, or memory is out", b->max) : 0;
}

int json_encode_error_as(struct buf *b, const struct err *err, int http_status)
{
    int rc = buf_addf(b, "{\"error\":{\"code\":%d,\"message\":", http_status);
    if (!rc)
        rc = json_string_add(b, str_of(err->msg));
    return rc ? rc : buf_addf(b, ",\"status\":\"%s\"}}\n", err_name(err->code));
}

/** json.c: reading proto3 JSON into messages.
 *  Shape:  json_parse (a tree of slices of the text) -> the fields of the descriptor, depth first. Where a value stands is
 *          a chain of `struct place` on the stack, made into text only for an error.
 *  Thread: any.
 *  Why:    a raw number is read as a double, as JavaScript wrote it, so it is taken for a 64-bit field only up to 2^53 - 1,
 *          where that is exact. */
#include "core/rpc/json.h"

#include "core/base/text.h"
#include "core/rpc/json_int.h"
#include "core/rpc/pb.h"

#include "google/protobuf/any.pb-c.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define NUMBER_EXACT_MAX 9007199254740991.0 /* 2^53 - 1 */

/* Where we are: a field, an element of a list (index), or a key of a map. */
struct place {
    const struct place *up;
    const char *name; /* of a field, as in the .proto */
    struct str key;
    size_t index;
    enum { PLACE_FIELD, PLACE_ELEMENT, PLACE_KEY } kind;
};

struct reader {
    struct arena *a;
    struct err *e;
    bool loose; /* text of a path or query: "5" is a number, "true" a bool, "2" an enum */
};

/* A scalar: from the tree or from plain text. */
struct scalar {
    enum { SCALAR_TEXT, SCALAR_NUMBER, SCALAR_BOOL, SCALAR_OTHER } kind;
    struct str text;
    double number;
    bool yes;
};

static int read_object(struct reader *r, const struct json_value *o, ProtobufCMessage *m, const struct place *at);

static void place_write(struct buf *b, const struct place *at)
{
    if (!at)
        return;
    place_write(b, at->up);
    char name[JSON_NAME_MAX];
    int rc = 0;
    switch (at->kind) {
    case PLACE_FIELD:
        rc = buf_addf(b, "%s%s", at->up ? "." : "", json_name(at->name, name));
        break;
    case PLACE_ELEMENT:
        rc = buf_addf(b, "[%zu]", at->index);
        break;
    case PLACE_KEY:
        rc = buf_addf(b, "[\"%.*s\"]", (int)(at->key.n < 60 ? at->key.n : 60), at->key.p);
        break;
    }
    (void)rc; /* a path that does not fit is cut */
}

/* INVALID_ARGUMENT "messages[2].data: what". */
FMT(3, 4) static int fail(const struct reader *r, const struct place *at, const char *fmt, ...)
{
    char what[240];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    if (!at)
        return err_set(r->e, ERR_INVALID_ARGUMENT, "%s", what);
    struct buf b;
    buf_init(&b, 256);
    place_write(&b, at);
    const char *path = buf_cstr(&b);
    int rc = err_set(r->e, ERR_INVALID_ARGUMENT, "%s: %s", path ? path : "a field", what);
    buf_fini(&b);
    return rc;
}

static int full(const struct reader *r)
{
    return err_set(r->e, ERR_RESOURCE_EXHAUSTED, "the request needs more memory than a call may use");
}

/* The syntax was checked and the text is short. */
static double number_of(struct str s)
{
    char text[JSON_NUMBER_MAX + 1];
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    return strtod(text, NULL);
}

static struct scalar scalar_of(const struct json_value *v)
{
    switch (v->kind) {
    case JSON_STRING:
        return (struct scalar){.kind = SCALAR_TEXT, .text = v->text};
    case JSON_NUMBER:
        return (struct scalar){.kind = SCALAR_NUMBER, .number = number_of(v->text)};
    case JSON_TRUE:
    case JSON_FALSE:
        return (struct scalar){.kind = SCALAR_BOOL, .yes = v->kind == JSON_TRUE};
    default:
        return (struct scalar){.kind = SCALAR_OTHER};
    }
}

/* At most 40 bytes of a value, for messages; cut between characters. */
static struct str shown(struct str s)
{
    if (s.n > 40) {
        s.n = 40;
        while (s.n && ((unsigned char)s.p[s.n] & 0xC0) == 0x80)
            s.n--;
    }
    return utf8_valid(s.p, s.n) ? s : STR("?");
}

/* --- numbers -------------------------------------------------------------------------------------------------- */

/* A decimal number of the whole text as a double: optional sign, digits, fraction, exponent, nothing else. */
static bool parse_double(struct str s, double *out)
{
    char text[64];
    if (s.n == 0 || s.n >= sizeof text || s.p[0] == '+')
        return false;
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    if (strspn(text, "0123456789+-.eE") < s.n)
        return false;
    char *end;
    *out = strtod(text, &end);
    return *end == '\0';
}

/* Sign and magnitude of a whole number. 0, or why not. */
static const char *parse_integer(const struct scalar *v, bool *negative, uint64_t *magnitude)
{
    double d = v->number;
    if (v->kind == SCALAR_TEXT) {
        struct str s = v->text;
        *negative = s.n && s.p[0] == '-';
        if (*negative)
            s = (struct str){s.p + 1, s.n - 1};
        if (parse_u64(s, UINT64_MAX, magnitude, NULL) == 0)
            return NULL;
        if (!parse_double(v->text, &d))
            return "is not a number";
    } else if (v->kind != SCALAR_NUMBER) {
        return "is not a number";
    }
    if (!isfinite(d))
        return "is out of range";
    if (d != floor(d))
        return "is not a whole number";
    if (fabs(d) > NUMBER_EXACT_MAX)
        return "is too large for a plain number; write it as a string of digits";
    *negative = d < 0;
    *magnitude = (uint64_t)fabs(d);
    return NULL;
}

static const char *read_signed(const struct scalar *v, int64_t min, int64_t max, int64_t *out)
{
    bool negative;
    uint64_t magnitude;
    const char *wrong = parse_integer(v, &negative, &magnitude);
    if (wrong)
        return wrong;
    if (negative ? magnitude > (uint64_t)max + 1 : magnitude > (uint64_t)max)
        return "is out of range";
    *out = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return *out < min ? "is out of range" : NULL;
}

static const char *read_unsigned(const struct scalar *v, uint64_t max, uint64_t *out)
{
    bool negative;
    const char *wrong = parse_integer(v, &negative, out);
    if (wrong)
        return wrong;
    return (negative && *out) || *out > max ? "is out of range" : NULL;
}

static const char *read_double(const struct scalar *v, double *out)
{
    if (v->kind == SCALAR_NUMBER)
        *out = v->number;
    else if (v->kind != SCALAR_TEXT)
        return "is not a number";
    else if (str_is(v->text, "NaN"))
        return *out = NAN, NULL;
    else if (str_is(v->text, "Infinity"))
        return *out = INFINITY, NULL;
    else if (str_is(v->text, "-Infinity"))
        return *out = -INFINITY, NULL;
    else if (!parse_double(v->text, out))
        return "is not a number";
    return isfinite(*out) ? NULL : "is out of range";
}

static const char *read_float(const struct scalar *v, float *out)
{
    double d;
    const char *wrong = read_double(v, &d);
    if (wrong)
        return wrong;
    *out = (float)d;
    return isinf(*out) && !isinf(d) ? "is out of range" : NULL;
}

static const char *read_bool(const struct reader *r, const struct scalar *v, protobuf_c_boolean *out)
{
    if (v->kind == SCALAR_BOOL)
        return *out = v->yes, NULL;
    if (r->loose && v->kind == SCALAR_TEXT && (str_is(v->text, "true") || str_is(v->text, "false")))
        return *out = str_is(v->text, "true"), NULL;
    return "is not true or false";
}

/* The number types; NULL when `out` was filled. */
static const char *read_number(const struct reader *r, ProtobufCType type, const struct scalar *v, void *out)
{
    int64_t i = 0;
    uint64_t u = 0;
    const char *wrong;
    switch (type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        wrong = read_signed(v, INT32_MIN, INT32_MAX, &i);
        *(int32_t *)out = (int32_t)i;
        return wrong;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return read_signed(v, INT64_MIN, INT64_MAX, out);
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        wrong = read_unsigned(v, UINT32_MAX, &u);
        *(uint32_t *)out = (uint32_t)u;
        return wrong;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return read_unsigned(v, UINT64_MAX, out);
    case PROTOBUF_C_TYPE_FLOAT:
        return read_float(v, out);
    case PROTOBUF_C_TYPE_DOUBLE:
        return read_double(v, out);
    default:
        return read_bool(r, v, out);
    }
}

/* --- other scalars -------------------------------------------------------------------------------------------- */

static int read_enum(struct reader *r, const ProtobufCEnumDescriptor *d, const struct scalar *v, int32_t *out, const struct place *at)
{
    int64_t n;
    if (v->kind == SCALAR_TEXT) {
        char name[JSON_NAME_MAX];
        if (v->text.n < sizeof name) {
            memcpy(name, v->text.p, v->text.n);
            name[v->text.n] = '\0';
            const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value_by_name(d, name);
            if (value) {
                *out = value->value;
                return 0;
            }
        }
        if (!r->loose || read_signed(v, INT32_MIN, INT32_MAX, &n)) {
            struct str s = shown(v->text);
            return fail(r, at, "\"%.*s\" is not a value of %s, e.g. %s", (int)s.n, s.p, d->short_name,
                        d->n_values ? d->values[d->n_values - 1].name : "none");
        }
        *out = (int32_t)n;
        return 0;
    }
    const char *wrong = read_signed(v, INT32_MIN, INT32_MAX, &n);
    if (wrong)
        return fail(r, at, "%s or the name of a %s", wrong, d->short_name);
    *out = (int32_t)n;
    return 0;
}

static int read_bytes(struct reader *r, struct str text, ProtobufCBinaryData *out, const struct place *at)
{
    uint8_t *bytes = arena_alloc(r->a, BASE64_DECODED_MAX(text.n) + 1);
    if (!bytes)
        return full(r);
    size_t n;
    if (base64_decode(text.p, text.n, bytes, &n, NULL))
        return fail(r, at, "not base64");
    *out = (ProtobufCBinaryData){n, bytes};
    return 0;
}

/* Any scalar but a message into `out`, which has the field's type. */
static int read_scalar(struct reader *r, const ProtobufCFieldDescriptor *f, const struct scalar *v, void *out, const struct place *at)
{
    if (f->type == PROTOBUF_C_TYPE_ENUM)
        return read_enum(r, f->descriptor, v, out, at);
    if (f->type != PROTOBUF_C_TYPE_STRING && f->type != PROTOBUF_C_TYPE_BYTES) {
        const char *wrong = read_number(r, f->type, v, out);
        if (!wrong)
            return 0;
        struct str s = shown(v->kind == SCALAR_TEXT ? v->text : STR(""));
        return s.n ? fail(r, at, "\"%.*s\" %s", (int)s.n, s.p, wrong) : fail(r, at, "the value %s", wrong);
    }
    if (v->kind != SCALAR_TEXT)
        return fail(r, at, f->type == PROTOBUF_C_TYPE_STRING ? "not a string" : "not a string of base64");
    if (f->type == PROTOBUF_C_TYPE_BYTES)
        return read_bytes(r, v->text, out, at);
    if (v->text.n && (!utf8_valid(v->text.p, v->text.n) || memchr(v->text.p, 0, v->text.n)))
        return fail(r, at, "the text is not valid UTF-8");
    char *copy = arena_dup(r->a, v->text);
    if (!copy)
        return full(r);
    *(char **)out = copy;
    return 0;
}

/* --- messages ------------------------------------------------------------------------------------------------- */

/* {"@type": "type.googleapis.com/a.B", fields…}; well-known types stand under "value". */
static int read_any(struct reader *r, const struct json_value *o, ProtobufCMessage *m, const struct place *at)
{
    if (o->kind != JSON_OBJECT)
        return fail(r, at, "not an object");
    const struct json_value *type = json_member(o, "@type");
    if (!o->child)
        return 0;
    if (!type || type->kind != JSON_STRING)
        return fail(r, at, "the \"@type\" is missing");
    const char *url = arena_dup(r->a, type->text);
    if (!url)
        return full(r);
    const char *slash = strrchr(url, '/');
    const ProtobufCMessageDescriptor *d = slash ? pb_registered(slash + 1) : NULL;
    if (!d) {
        struct str s = shown(type->text);
        return fail(r, at, "the type \"%.*s\" is not known here", (int)s.n, s.p);
    }
    ProtobufCMessage *inner = pb_new(r->a, d);
    if (!inner)
        return full(r);
    enum wkt kind = json_wkt(d);
    const struct json_value *source = kind == WKT_NONE ? o : json_member(o, "value");
    int rc = 0;
    if (kind == WKT_TIMESTAMP || kind == WKT_DURATION || kind == WKT_FIELD_MASK) {
        bool arena_full = false;
        const char *wrong = source && source->kind == JSON_STRING ? wkt_read(r->a, kind, source->text, inner, &arena_full)
                                                                  : "the \"value\" is not a string";
        rc = wrong ? fail(r, at, "%s", wrong) : arena_full ? full(r) : 0;
    } else if (kind != WKT_EMPTY) {
        rc = source ? read_object(r, source, inner, at) : fail(r, at, "the \"value\" is missing");
    }
    if (rc)
        return rc;
    const Google__Protobuf__Any *packed = (Google__Protobuf__Any *)pb_any(r->a, inner);
    if (!packed)
        return full(r);
    *(Google__Protobuf__Any *)m = *packed;
    return 0;
}

static int read_text_message(struct reader *r, enum wkt kind, struct str text, ProtobufCMessage *m, const struct place *at)
{
    bool arena_full;
    const char *wrong = wkt_read(r->a, kind, text, m, &arena_full);
    struct str s = shown(text);
    if (wrong)
        return fail(r, at, "\"%.*s\" is %s", (int)s.n, s.p, wrong);
    return arena_full ? full(r) : 0;
}

/* A new message of the field's type from `v`. */
static int read_message(struct reader *r, const ProtobufCMessageDescriptor *d, const struct json_value *v, ProtobufCMessage **out,
                        const struct place *at)
{
    ProtobufCMessage *m = pb_new(r->a, d);
    if (!m)
        return full(r);
    int rc;
    enum wkt kind = json_wkt(d);
    switch (kind) {
    case WKT_TIMESTAMP:
    case WKT_DURATION:
    case WKT_FIELD_MASK:
        rc = v->kind == JSON_STRING ? read_text_message(r, kind, v->text, m, at) : fail(r, at, "not a string");
        break;
    case WKT_ANY:
        rc = read_any(r, v, m, at);
        break;
    default:
        rc = read_object(r, v, m, at);
        break;
    }
    if (!rc)
        *out = m;
    return rc;
}

static int read_value(struct reader *r, const ProtobufCFieldDescriptor *f, const struct json_value *v, void *out, const struct place *at)
{
    if (f->type == PROTOBUF_C_TYPE_MESSAGE)
        return read_message(r, f->descriptor, v, out, at);
    struct scalar s = scalar_of(v);
    return read_scalar(r, f, &s, out, at);
}

static int read_list(struct reader *r, const ProtobufCFieldDescriptor *f, const struct json_value *v, ProtobufCMessage *m,
                     const struct place *at)
{
    if (v->kind != JSON_ARRAY)
        return fail(r, at, "not a list");
    size_t n = v->count, size = pb_type_size(f->type), i = 0;
    char *values = arena_alloc(r->a, (n + 1) * size);
    if (!values)
        return full(r);
    for (const struct json_value *c = v->child; c; c = c->next, i++) {
        struct place here = {.up = at, .index = i, .kind = PLACE_ELEMENT};
        int rc = c->kind == JSON_NULL ? fail(r, &here, "null is not allowed in a list") : read_value(r, f, c, values + i * size, &here);
        if (rc)
            return rc;
    }
    *pb_count(m, f) = n;
    *(char **)pb_member(m, f) = values;
    return 0;
}

/* A map's key is always a string in JSON, whatever its type. */
static int read_entry(struct reader *r, const ProtobufCMessageDescriptor *d, const struct json_value *v, ProtobufCMessage **out,
                      const struct place *at)
{
    ProtobufCMessage *entry = pb_new(r->a, d);
    if (!entry)
        return full(r);
    struct scalar key = {.kind = SCALAR_TEXT, .text = v->name};
    struct reader loose = {r->a, r->e, true};
    if (!utf8_valid(key.text.p, key.text.n))
        return fail(r, at->up, "a key is not valid UTF-8");
    int rc = read_scalar(&loose, &d->fields[0], &key, pb_member(entry, &d->fields[0]), at);
    if (!rc)
        rc = v->kind == JSON_NULL ? fail(r, at, "null is not allowed in a map")
                                  : read_value(r, &d->fields[1], v, pb_member(entry, &d->fields[1]), at);
    *out = entry;
    return rc;
}

struct map_key {
    struct str key;
    size_t at;
};

static int key_order(const void *a, const void *b)
{
    const struct map_key *x = a, *y = b;
    size_t n = x->key.n < y->key.n ? x->key.n : y->key.n;
    int order = memcmp(x->key.p, y->key.p, n);
    if (!order && x->key.n != y->key.n)
        order = x->key.n < y->key.n ? -1 : 1;
    return order ? order : (x->at < y->at ? -1 : 1);
}

/* Drop all but the last of entries with the same text as key; the order of the others stays. */
static bool drop_doubles(const struct json_value *v, ProtobufCMessage **entries, size_t *n)
{
    struct map_key *keys = malloc((*n + 1) * sizeof *keys);
    if (!keys)
        return false;
    size_t i = 0;
    for (const struct json_value *c = v->child; c; c = c->next, i++)
        keys[i] = (struct map_key){c->name, i};
    qsort(keys, *n, sizeof *keys, key_order);
    for (i = 0; i + 1 < *n; i++)
        if (str_eq(keys[i].key, keys[i + 1].key))
            entries[keys[i].at] = NULL;
    free(keys);
    size_t kept = 0;
    for (i = 0; i < *n; i++)
        if (entries[i])
            entries[kept++] = entries[i];
    *n = kept;
    return true;
}

static int read_map(struct reader *r, const ProtobufCFieldDescriptor *f, const struct json_value *v, ProtobufCMessage *m,
                    const struct place *at)
{
    if (v->kind != JSON_OBJECT)
        return fail(r, at, "not an object of keys and values");
    size_t n = v->count, i = 0;
    ProtobufCMessage **entries = arena_alloc(r->a, (n + 1) * sizeof *entries);
    if (!entries)
        return full(r);
    for (const struct json_value *c = v->child; c; c = c->next, i++) {
        struct place here = {.up = at, .key = c->name, .kind = PLACE_KEY};
        int rc = read_entry(r, f->descriptor, c, &entries[i], &here);
        if (rc)
            return rc;
    }
    if (n > 1 && !drop_doubles(v, entries, &n))
        return full(r);
    *pb_count(m, f) = n;
    *(void **)pb_member(m, f) = entries;
    return 0;
}

/* Choose `f` in its oneof; an error when this object has already chosen another. */
static int choose(struct reader *r, ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, const struct place *at)
{
    if (!(f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF))
        return 0;
    uint32_t chosen = *pb_case(m, f);
    if (chosen && chosen != f->id) {
        const ProtobufCFieldDescriptor *other = protobuf_c_message_descriptor_get_field(m->descriptor, chosen);
        char name[JSON_NAME_MAX];
        return fail(r, at, "only one of this and `%s` may be given", json_name(other->name, name));
    }
    memset(pb_member(m, f), 0, pb_type_size(f->type));
    *pb_case(m, f) = f->id;
    return 0;
}

static int read_field(struct reader *r, const ProtobufCFieldDescriptor *f, const struct json_value *v, ProtobufCMessage *m,
                      const struct place *up)
{
    struct place at = {.up = up, .name = f->name, .kind = PLACE_FIELD};
    if (v->kind == JSON_NULL)
        return 0;
    if (pb_field_is_map(f))
        return read_map(r, f, v, m, &at);
    if (f->label == PROTOBUF_C_LABEL_REPEATED)
        return read_list(r, f, v, m, &at);
    int rc = choose(r, m, f, &at);
    return rc ? rc : read_value(r, f, v, pb_member(m, f), &at);
}

static int read_object(struct reader *r, const struct json_value *o, ProtobufCMessage *m, const struct place *at)
{
    if (o->kind != JSON_OBJECT)
        return at ? fail(r, at, "not an object") : fail(r, at, "the JSON is not an object");
    for (const struct json_value *c = o->child; c; c = c->next) {
        const ProtobufCFieldDescriptor *f = pb_field_find(m->descriptor, c->name);
        int rc = f ? read_field(r, f, c, m, at) : 0;
        if (rc)
            return rc;
    }
    return 0;
}

static struct str trim_space(struct str s)
{
    while (s.n && strchr(" \t\r\n", s.p[0]) && s.p[0])
        s = (struct str){s.p + 1, s.n - 1};
    while (s.n && strchr(" \t\r\n", s.p[s.n - 1]) && s.p[s.n - 1])
        s.n--;
    return s;
}

static int read_root(struct reader *r, const struct json_value *tree, ProtobufCMessage *m)
{
    ProtobufCMessage *out = m;
    switch (json_wkt(m->descriptor)) {
    case WKT_TIMESTAMP:
    case WKT_DURATION:
    case WKT_FIELD_MASK:
    case WKT_ANY: {
        int rc = read_message(r, m->descriptor, tree, &out, NULL);
        if (!rc)
            memcpy(m, out, m->descriptor->sizeof_message);
        return rc;
    }
    default:
        return read_object(r, tree, m, NULL);
    }
}

int json_decode(struct arena *a, struct str text, ProtobufCMessage *m, struct err *e)
{
    struct str trimmed = trim_space(text);
    if (trimmed.n == 0 || str_is(trimmed, "\"\""))
        return 0;
    struct arena *nodes = arena_new(JSON_TREE_BYTES_MAX);
    if (!nodes)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the JSON");
    struct json_value tree;
    int rc = json_parse(text, nodes, &tree, e);
    struct reader r = {.a = a, .e = e};
    rc = rc ? rc : read_root(&r, &tree, m);
    arena_free(nodes);
    return rc;
}

/* --- one field from text -------------------------------------------------------------------------------------- */

/* Append one element; lists from queries are short, so each append makes a new array. */
static int append(struct reader *r, const ProtobufCFieldDescriptor *f, ProtobufCMessage *m, struct scalar v, const struct place *at)
{
    size_t n = *pb_count(m, f), size = pb_type_size(f->type);
    if (f->type == PROTOBUF_C_TYPE_MESSAGE)
        return fail(r, at, "cannot be given as text");
    if (n >= JSON_APPEND_MAX)
        return fail(r, at, "given more than %d times", JSON_APPEND_MAX);
    char *values = arena_alloc(r->a, (n + 1) * size);
    if (!values)
        return full(r);
    if (n)
        memcpy(values, *(char **)pb_member(m, f), n * size);
    int rc = read_scalar(r, f, &v, values + n * size, at);
    if (rc)
        return rc;
    *(char **)pb_member(m, f) = values;
    *pb_count(m, f) = n + 1;
    return 0;
}

static int set_last(struct reader *r, const ProtobufCFieldDescriptor *f, ProtobufCMessage *m, struct str value, const struct place *at)
{
    struct scalar v = {.kind = SCALAR_TEXT, .text = value};
    if (f->label == PROTOBUF_C_LABEL_REPEATED)
        return append(r, f, m, v, at);
    if (f->type != PROTOBUF_C_TYPE_MESSAGE) {
        int rc = choose(r, m, f, at);
        return rc ? rc : read_scalar(r, f, &v, pb_member(m, f), at);
    }
    enum wkt kind = json_wkt(f->descriptor);
    if (kind != WKT_TIMESTAMP && kind != WKT_DURATION && kind != WKT_FIELD_MASK)
        return fail(r, at, "cannot be given as text; name a field of it");
    ProtobufCMessage *inner = pb_new(r->a, f->descriptor);
    if (!inner)
        return full(r);
    int rc = read_text_message(r, kind, value, inner, at);
    if (!rc)
        rc = choose(r, m, f, at);
    if (!rc)
        *(void **)pb_member(m, f) = inner;
    return rc;
}

/* Go into the message field `f`, making it if it is not there. */
static int step_into(struct reader *r, const ProtobufCFieldDescriptor *f, ProtobufCMessage **m, const struct place *at)
{
    if (f->type != PROTOBUF_C_TYPE_MESSAGE || f->label == PROTOBUF_C_LABEL_REPEATED)
        return fail(r, at, "has no fields inside");
    ProtobufCMessage **slot = pb_member(*m, f);
    bool oneof = f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF;
    if (oneof && *pb_case(*m, f) != f->id) {
        int rc = choose(r, *m, f, at);
        if (rc)
            return rc;
    }
    if (!*slot && !(*slot = pb_new(r->a, f->descriptor)))
        return full(r);
    *m = *slot;
    return 0;
}

int json_set_field(struct arena *a, ProtobufCMessage *m, struct str path, struct str value, struct err *e)
{
    struct reader r = {.a = a, .e = e, .loose = true};
    struct place places[JSON_PATH_MAX], *at = NULL;
    for (size_t depth = 0; depth < JSON_PATH_MAX; depth++) {
        const char *dot = memchr(path.p, '.', path.n);
        struct str name = {path.p, dot ? (size_t)(dot - path.p) : path.n};
        const ProtobufCFieldDescriptor *f = pb_field_find(m->descriptor, name);
        struct str s = shown(name);
        if (!f)
            return fail(&r, at, "%.*s is not a field of %s", (int)s.n, s.p, m->descriptor->short_name);
        places[depth] = (struct place){.up = at, .name = f->name, .kind = PLACE_FIELD};
        at = &places[depth];
        if (!dot)
            return set_last(&r, f, m, value, at);
        int rc = step_into(&r, f, &m, at);
        if (rc)
            return rc;
        path = (struct str){dot + 1, path.n - name.n - 1};
    }
    return fail(&r, at, "too long a path");
}

/** pb.c: protobuf-c messages in arenas, and the registry of types for Any. */
#include "core/rpc/pb.h"

#include "google/protobuf/any.pb-c.h"
#include "google/protobuf/duration.pb-c.h"
#include "google/protobuf/timestamp.pb-c.h"

#include <assert.h>
#include <stdlib.h>

#define PB_REGISTERED_MAX 256
#define PB_ANY_PREFIX "type.googleapis.com/"

/* Filled before the threads start and read-only from then on (pb.h). */
static const ProtobufCMessageDescriptor *registered[PB_REGISTERED_MAX];
static size_t n_registered;

static void *allocator_alloc(void *arena, size_t n) { return arena_alloc(arena, n); }
static void allocator_free(void *arena, void *p) { (void)arena, (void)p; }

void *pb_new(struct arena *a, const ProtobufCMessageDescriptor *d)
{
    ProtobufCMessage *m = arena_alloc(a, d->sizeof_message);
    if (m)
        protobuf_c_message_init(d, m);
    return m;
}

void *pb_unpack(struct arena *a, const ProtobufCMessageDescriptor *d, struct str bytes)
{
    ProtobufCAllocator allocator = {allocator_alloc, allocator_free, a};
    return protobuf_c_message_unpack(d, &allocator, bytes.n, (const uint8_t *)bytes.p);
}

void *pb_unpack_heap(const ProtobufCMessageDescriptor *d, struct str bytes)
{
    return protobuf_c_message_unpack(d, NULL, bytes.n, (const uint8_t *)bytes.p);
}

int pb_pack(const ProtobufCMessage *m, char **out, size_t *len, struct err *e)
{
    size_t n = protobuf_c_message_get_packed_size(m);
    char *bytes = malloc(n ? n : 1);
    if (!bytes)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for a %s of %zu bytes", m->descriptor->short_name, n);
    protobuf_c_message_pack(m, (uint8_t *)bytes);
    *out = bytes;
    *len = n;
    return 0;
}

void *pb_clone(struct arena *a, const ProtobufCMessage *m)
{
    char *bytes = NULL;
    size_t n = 0;
    if (pb_pack(m, &bytes, &n, NULL))
        return NULL;
    void *copy = pb_unpack(a, m->descriptor, (struct str){bytes, n});
    free(bytes);
    return copy;
}

void *pb_dup(const ProtobufCMessage *m)
{
    char *bytes = NULL;
    size_t n = 0;
    if (pb_pack(m, &bytes, &n, NULL))
        return NULL;
    void *copy = pb_unpack_heap(m->descriptor, (struct str){bytes, n});
    free(bytes);
    return copy;
}

void pb_free(void *m) { protobuf_c_message_free_unpacked(m, NULL); }

bool pb_equal(const ProtobufCMessage *a, const ProtobufCMessage *b)
{
    if (a->descriptor != b->descriptor)
        return false;
    char *pa = NULL, *pb = NULL;
    size_t na = 0, nb = 0;
    bool same = pb_pack(a, &pa, &na, NULL) == 0 && pb_pack(b, &pb, &nb, NULL) == 0 && na == nb && !memcmp(pa, pb, na);
    free(pa);
    free(pb);
    return same;
}

ProtobufCMessage *pb_any(struct arena *a, const ProtobufCMessage *m)
{
    Google__Protobuf__Any *any = pb_new(a, &google__protobuf__any__descriptor);
    if (!any)
        return NULL;
    any->type_url = arena_printf(a, PB_ANY_PREFIX "%s", m->descriptor->name);
    any->value.len = protobuf_c_message_get_packed_size(m);
    any->value.data = arena_alloc(a, any->value.len + 1);
    if (!any->type_url || !any->value.data)
        return NULL;
    protobuf_c_message_pack(m, any->value.data);
    return &any->base;
}

void pb_register(const ProtobufCMessageDescriptor *d)
{
    if (pb_registered(d->name))
        return;
    assert(n_registered < PB_REGISTERED_MAX);
    registered[n_registered++] = d;
}

const ProtobufCMessageDescriptor *pb_registered(const char *full_name)
{
    for (size_t i = 0; i < n_registered; i++)
        if (!strcmp(registered[i]->name, full_name))
            return registered[i];
    return NULL;
}

/* Seconds and nanoseconds with 0 <= nanos < 1e9, as Timestamp wants. */
ProtobufCMessage *pb_timestamp(struct arena *a, int64_t wall_ns)
{
    Google__Protobuf__Timestamp *t = pb_new(a, &google__protobuf__timestamp__descriptor);
    if (!t)
        return NULL;
    t->seconds = wall_ns / NS_PER_S;
    t->nanos = (int32_t)(wall_ns % NS_PER_S);
    if (t->nanos < 0) {
        t->nanos += (int32_t)NS_PER_S;
        t->seconds--;
    }
    return &t->base;
}

/* Duration's parts have the same sign, as C division gives them. */
ProtobufCMessage *pb_duration(struct arena *a, int64_t ns)
{
    Google__Protobuf__Duration *d = pb_new(a, &google__protobuf__duration__descriptor);
    if (!d)
        return NULL;
    d->seconds = ns / NS_PER_S;
    d->nanos = (int32_t)(ns % NS_PER_S);
    return &d->base;
}

static int64_t join_ns(int64_t seconds, int32_t nanos)
{
    int64_t ns;
    if (__builtin_mul_overflow(seconds, NS_PER_S, &ns) || __builtin_add_overflow(ns, (int64_t)nanos, &ns))
        return seconds < 0 ? INT64_MIN : INT64_MAX;
    return ns;
}

int64_t pb_timestamp_ns(const void *timestamp)
{
    const Google__Protobuf__Timestamp *t = timestamp;
    return t ? join_ns(t->seconds, t->nanos) : 0;
}

int64_t pb_duration_ns(const void *duration)
{
    const Google__Protobuf__Duration *d = duration;
    return d ? join_ns(d->seconds, d->nanos) : 0;
}

size_t pb_type_size(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_ENUM:
        return 4;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 8;
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    }
    return 0;
}

/* protoc-c makes a repeated message `LabelsEntry {key = 1, value = 2}` of `map<K, V> labels`. */
bool pb_field_is_map(const ProtobufCFieldDescriptor *f)
{
    if (f->label != PROTOBUF_C_LABEL_REPEATED || f->type != PROTOBUF_C_TYPE_MESSAGE)
        return false;
    const ProtobufCMessageDescriptor *d = f->descriptor;
    if (d->n_fields != 2 || strcmp(d->fields[0].name, "key") || strcmp(d->fields[1].name, "value"))
        return false;
    const char *entry = d->short_name;
    bool upper = true;
    for (const char *p = f->name; *p; p++) {
        if (*p == '_') {
            upper = true;
            continue;
        }
        char want = upper && *p >= 'a' && *p <= 'z' ? (char)(*p - 'a' + 'A') : *p;
        upper = false;
        if (*entry++ != want)
            return false;
    }
    return !strcmp(entry, "Entry");
}

bool pb_field_is_set(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    if (f->label == PROTOBUF_C_LABEL_REPEATED)
        return *pb_count(m, f) > 0;
    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        return *pb_case(m, f) == f->id;
    const void *p = pb_member(m, f);
    static const char zero[8];
    switch (f->type) {
    case PROTOBUF_C_TYPE_STRING:
        return *(char *const *)p && **(char *const *)p;
    case PROTOBUF_C_TYPE_BYTES:
        return ((const ProtobufCBinaryData *)p)->len > 0;
    case PROTOBUF_C_TYPE_MESSAGE:
        return *(ProtobufCMessage *const *)p != NULL;
    default: /* the bits, so that -0.0 counts as set, as protobuf has it */
        return memcmp(p, zero, pb_type_size(f->type)) != 0;
    }
}

/* Is `name` the field's own name, or the same in lowerCamelCase? */
static bool name_matches(const char *field, struct str name)
{
    if (str_is(name, field))
        return true;
    size_t i = 0;
    bool upper = false;
    for (const char *p = field; *p; p++) {
        if (*p == '_') {
            upper = true;
            continue;
        }
        char want = upper && *p >= 'a' && *p <= 'z' ? (char)(*p - 'a' + 'A') : *p;
        upper = false;
        if (i == name.n || name.p[i++] != want)
            return false;
    }
    return i == name.n && name.n > 0;
}

const ProtobufCFieldDescriptor *pb_field_find(const ProtobufCMessageDescriptor *d, struct str name)
{
    if (name.n == 0)
        return NULL;
    for (unsigned i = 0; i < d->n_fields; i++)
        if (d->fields[i].name[0] == name.p[0] && name_matches(d->fields[i].name, name))
            return &d->fields[i];
    return NULL;
}

/* Copy one value of the field's type; false when the arena is full. */
static bool value_copy(struct arena *a, const ProtobufCFieldDescriptor *f, void *to, const void *from)
{
    memcpy(to, from, pb_type_size(f->type));
    if (f->type == PROTOBUF_C_TYPE_STRING) {
        const char *s = *(char *const *)from;
        return !s || (*(char **)to = arena_strdup(a, s)) != NULL;
    }
    if (f->type == PROTOBUF_C_TYPE_BYTES) {
        ProtobufCBinaryData *b = to;
        uint8_t *bytes = arena_alloc(a, b->len + 1);
        if (!bytes)
            return false;
        if (b->len)
            memcpy(bytes, b->data, b->len);
        b->data = bytes;
        return true;
    }
    if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
        const ProtobufCMessage *m = *(ProtobufCMessage *const *)from;
        return !m || (*(void **)to = pb_clone(a, m)) != NULL;
    }
    return true;
}

static bool list_copy(struct arena *a, ProtobufCMessage *to, const ProtobufCMessage *from, const ProtobufCFieldDescriptor *f)
{
    size_t n = *pb_count(from, f), size = pb_type_size(f->type);
    char *values = arena_alloc(a, (n + 1) * size);
    const char *source = *(char *const *)pb_member(from, f);
    if (!values)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!value_copy(a, f, values + i * size, source + i * size))
            return false;
    *pb_count(to, f) = n;
    *(char **)pb_member(to, f) = values;
    return true;
}

int pb_field_copy(struct arena *a, ProtobufCMessage *to, const ProtobufCMessage *from, const ProtobufCFieldDescriptor *f, struct err *e)
{
    assert(to->descriptor == from->descriptor);
    bool done;
    if (f->label == PROTOBUF_C_LABEL_REPEATED) {
        done = list_copy(a, to, from, f);
    } else if (!(f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)) {
        done = value_copy(a, f, pb_member(to, f), pb_member(from, f));
    } else if (*pb_case(from, f) == f->id) {
        done = value_copy(a, f, pb_member(to, f), pb_member(from, f));
        if (done)
            *pb_case(to, f) = f->id;
    } else {
        if (*pb_case(to, f) == f->id)
            *pb_case(to, f) = 0;
        done = true;
    }
    return done ? 0 : err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory copying `%s`", f->name);
}

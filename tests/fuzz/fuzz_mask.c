/* fuzz_mask.c: field masks: what is named is changed to what it is in the source, what is not named stays, twice is as good as once,
 * and a mask with an unknown path changes nothing.
 * Input: a byte that chooses the type; then lines: the mask, the message to change, the message to take from, the last two as JSON. */
#include "broker/pubsub.pb-c.h"
#include "core/rpc/json.h"
#include "core/rpc/json_int.h"
#include "core/rpc/mask.h"
#include "core/rpc/pb.h"
#include "executor/run.pb-c.h"
#include "google/protobuf/field_mask.pb-c.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/test_rpc.pb-c.h"

static const ProtobufCMessageDescriptor *const types[] = {
    &runnel__test__everything__descriptor,
    &google__pubsub__v1__subscription__descriptor,
    &google__pubsub__v1__topic__descriptor,
    &google__cloud__run__v2__service__descriptor,
};

static void check_text(const Google__Protobuf__FieldMask *mask)
{
    struct buf b;
    struct err e = {0};
    struct arena *a = arena_new(1 << 20);
    Google__Protobuf__FieldMask again = GOOGLE__PROTOBUF__FIELD_MASK__INIT;
    bool full;
    buf_init(&b, 1 << 20);
    FUZZ_MUST(a);
    FUZZ_CHECK(wkt_write(&b, WKT_FIELD_MASK, &mask->base, &e) == 0, "%s", e.msg);
    const char *wrong = wkt_read(a, WKT_FIELD_MASK, buf_str(&b), &again.base, &full);
    FUZZ_CHECK(!wrong && again.n_paths == mask->n_paths, "%.*s is %s", (int)buf_len(&b), buf_data(&b), wrong ? wrong : "of another length");
    for (size_t i = 0; i < mask->n_paths; i++)
        FUZZ_CHECK(!strcmp(again.paths[i], mask->paths[i]), "%s became %s", mask->paths[i], again.paths[i]);
    arena_free(a);
    buf_fini(&b);
}

/* Is `field`, or something within it, or all, named? */
static bool touches(const Google__Protobuf__FieldMask *mask, const ProtobufCMessageDescriptor *d, const ProtobufCFieldDescriptor *field)
{
    for (size_t i = 0; i < mask->n_paths; i++) {
        struct str first = {mask->paths[i], strcspn(mask->paths[i], ".")};
        if (str_is(first, "*") || pb_field_find(d, first) == field)
            return true;
    }
    return false;
}

/* One field of a message as bytes: the field alone in a message of its type. */
static bool same_field(struct arena *a, const ProtobufCMessage *m, const ProtobufCMessage *n, const ProtobufCFieldDescriptor *f)
{
    ProtobufCMessage *x = pb_new(a, m->descriptor), *y = pb_new(a, m->descriptor);
    FUZZ_MUST(x && y && pb_field_copy(a, x, m, f, NULL) == 0 && pb_field_copy(a, y, n, f, NULL) == 0);
    return pb_equal(x, y);
}

static void check_apply(struct arena *a, ProtobufCMessage *to, const ProtobufCMessage *from, const Google__Protobuf__FieldMask *mask)
{
    const ProtobufCMessage *before = pb_clone(a, to);
    struct err e = {0};
    FUZZ_MUST(before);
    int rc = mask_apply(a, to, from, mask->paths, mask->n_paths, true, &e);
    if (rc) {
        FUZZ_CHECK(rc == -ERR_INVALID_ARGUMENT, "%s", e.msg);
        FUZZ_CHECK(pb_equal(before, to), "a refused mask has changed something: %s", e.msg);
        return;
    }
    for (unsigned i = 0; i < to->descriptor->n_fields && mask->n_paths; i++) {
        const ProtobufCFieldDescriptor *f = &to->descriptor->fields[i];
        bool oneof = f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF; /* its siblings change it too */
        if (!touches(mask, to->descriptor, f))
            FUZZ_CHECK(oneof || same_field(a, before, to, f), "`%s` was not named and has changed", f->name);
        else if (mask_has(mask->paths, mask->n_paths, f->name) && !oneof)
            FUZZ_CHECK(same_field(a, from, to, f), "`%s` was named and is not the source's", f->name);
    }
    const ProtobufCMessage *once = pb_clone(a, to);
    FUZZ_MUST(once && mask_apply(a, to, from, mask->paths, mask->n_paths, true, &e) == 0);
    FUZZ_CHECK(pb_equal(once, to), "the second time changes more");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str in = fuzz_str(data, size);
    const ProtobufCMessageDescriptor *d = types[fuzz_byte(&in) % ARRAY_LEN(types)];
    struct str text = fuzz_line(&in), to_text = fuzz_line(&in), from_text = fuzz_line(&in);
    struct arena *a = arena_new(256u << 20);
    Google__Protobuf__FieldMask mask = GOOGLE__PROTOBUF__FIELD_MASK__INIT;
    ProtobufCMessage *to = pb_new(a, d), *from = pb_new(a, d);
    bool full;
    FUZZ_MUST(a && to && from);
    if (!wkt_read(a, WKT_FIELD_MASK, text, &mask.base, &full)) {
        check_text(&mask);
        if (json_decode(a, to_text, to, NULL) == 0 && json_decode(a, from_text, from, NULL) == 0)
            check_apply(a, to, from, &mask);
    }
    arena_free(a);
    return 0;
}

/* fuzz_json.c: JSON of requests, log lines and tokens into messages. What we accept is written and read again without a change, in
 * each way of writing; what we write is JSON to another reader too; and a small text makes no large message.
 * Input: a byte that chooses the type and the way of writing, then the text. */
#include "broker/pubsub.pb-c.h"
#include "core/base/arena.h"
#include "core/rpc/iam.pb-c.h"
#include "core/rpc/json.h"
#include "core/rpc/pb.h"
#include "dispatcher/identity.pb-c.h"
#include "executor/log_line.pb-c.h"
#include "executor/logging.pb-c.h"
#include "executor/run.pb-c.h"
#include "google/protobuf/any.pb-c.h"
#include "google/protobuf/duration.pb-c.h"
#include "google/protobuf/empty.pb-c.h"
#include "google/protobuf/field_mask.pb-c.h"
#include "google/protobuf/timestamp.pb-c.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/test_rpc.pb-c.h"

#include <cjson/cJSON.h>

#define TEXT_MAX (16u * 1024 * 1024)
#define ARENA_MAX (64u * 1024 * 1024)
/* A message costs at most this much above its text: the shortest text of a large message is `{},` in a list of them. */
#define BYTES_PER_BYTE 512
#define BYTES_ABOVE 65536

static const ProtobufCMessageDescriptor *const types[] = {
    &runnel__test__everything__descriptor,
    &google__pubsub__v1__publish_request__descriptor,
    &google__pubsub__v1__subscription__descriptor,
    &google__pubsub__v1__topic__descriptor,
    &google__pubsub__v1__seek_request__descriptor,
    &google__pubsub__v1__update_subscription_request__descriptor,
    &google__cloud__run__v2__service__descriptor,
    &google__cloud__run__v2__revision__descriptor,
    &google__logging__v2__list_log_entries_request__descriptor,
    &google__logging__v2__log_entry__descriptor,
    &google__iam__v1__set_iam_policy_request__descriptor,
    &runnel__log_line__descriptor,
    &runnel__identity__token_claims__descriptor,
    &google__protobuf__any__descriptor,
    &google__protobuf__timestamp__descriptor,
    &google__protobuf__duration__descriptor,
};

static void register_types(void)
{
    static bool done;
    if (done)
        return;
    done = true;
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        pb_register(types[i]);
    pb_register(&google__protobuf__empty__descriptor);
    pb_register(&google__protobuf__field_mask__descriptor);
}

static ProtobufCMessage *decode(struct arena *a, const ProtobufCMessageDescriptor *d, struct str text, struct err *e)
{
    ProtobufCMessage *m = pb_new(a, d);
    FUZZ_MUST(m);
    return json_decode(a, text, m, e) ? NULL : m;
}

static void encode(struct buf *b, const ProtobufCMessage *m, unsigned flags)
{
    struct err e = {0};
    buf_init(b, TEXT_MAX);
    FUZZ_CHECK(json_encode(b, m, flags, &e) == 0, "what was read cannot be written: %s", e.msg);
}

static void check_round_trip(const ProtobufCMessage *m, unsigned flags)
{
    struct arena *a = arena_new(ARENA_MAX);
    struct err e = {0};
    struct buf first, second;
    FUZZ_MUST(a);
    encode(&first, m, flags);
    ProtobufCMessage *again = decode(a, m->descriptor, buf_str(&first), &e);
    FUZZ_CHECK(again, "what was written cannot be read: %s\n%.*s", e.msg, (int)buf_len(&first), buf_data(&first));
    FUZZ_CHECK(pb_equal(m, again), "read again it is another message:\n%.*s", (int)buf_len(&first), buf_data(&first));
    encode(&second, again, flags);
    FUZZ_CHECK(str_eq(buf_str(&first), buf_str(&second)), "written again it is another text");
    cJSON *tree = cJSON_ParseWithLength(buf_data(&first), buf_len(&first));
    FUZZ_CHECK(tree, "cJSON cannot read what was written:\n%.*s", (int)buf_len(&first), buf_data(&first));
    cJSON_Delete(tree);
    buf_fini(&first);
    buf_fini(&second);
    arena_free(a);
}

/* With little memory there is an error, and the same text is still right with enough of it. */
static void check_small_arena(const ProtobufCMessageDescriptor *d, struct str text, size_t max)
{
    struct arena *a = arena_new(max);
    struct err e = {0};
    ProtobufCMessage *m = a ? pb_new(a, d) : NULL;
    if (m && json_decode(a, text, m, &e))
        FUZZ_CHECK(e.code == ERR_RESOURCE_EXHAUSTED, "%s with an arena of %zu bytes", e.msg, max);
    arena_free(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    register_types();
    struct str in = fuzz_str(data, size);
    uint8_t choice = fuzz_byte(&in);
    const ProtobufCMessageDescriptor *d = types[choice % ARRAY_LEN(types)];
    char *exact = fuzz_exact(in);
    struct str text = {exact, in.n};
    struct arena *a = arena_new(ARENA_MAX);
    struct err e = {0};
    FUZZ_MUST(a);
    ProtobufCMessage *m = decode(a, d, text, &e);
    FUZZ_CHECK(arena_used(a) <= BYTES_ABOVE + BYTES_PER_BYTE * in.n, "%zu bytes for a text of %zu", arena_used(a), in.n);
    FUZZ_CHECK(m || e.code == ERR_INVALID_ARGUMENT, "refused with %s: %s", err_name(e.code), e.msg);
    if (m) {
        check_round_trip(m, 0);
        check_round_trip(m, choice & 0x80 ? JSON_ENUM_AS_INT : JSON_PRETTY);
        check_small_arena(d, text, 1024 + fuzz_roll(&(struct fuzz_dice){choice + in.n}, 4096));
    }
    arena_free(a);
    free(exact);
    return 0;
}

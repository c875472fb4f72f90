/* test_pb.c: messages in arenas, copies, packing, Any, and looking at fields. */
#include "tests/support/unit.h"

#include "core/rpc/pb.h"

#include "core/rpc/iam.pb-c.h"
#include "google/protobuf/any.pb-c.h"
#include "google/protobuf/duration.pb-c.h"
#include "google/protobuf/timestamp.pb-c.h"
#include "tests/support/test_rpc.pb-c.h"

#define EVERYTHING (&runnel__test__everything__descriptor)
#define ITEM (&runnel__test__item__descriptor)

static int open_arena(void **state) { return (*state = arena_new(1 << 20)) ? 0 : -1; }
static int close_arena(void **state)
{
    arena_free(*state);
    return 0;
}

/* A message with something in most kinds of fields. */
static Runnel__Test__Everything *sample(struct arena *a)
{
    Runnel__Test__Everything *m = pb_new(a, EVERYTHING);
    Runnel__Test__Item *item = pb_new(a, ITEM);
    Runnel__Test__Everything__LabelsEntry *label = pb_new(a, &runnel__test__everything__labels_entry__descriptor);
    assert_non_null(m);
    item->name = arena_strdup(a, "thing");
    item->data = (ProtobufCBinaryData){3, (uint8_t *)arena_strdup(a, "a\0b")};
    label->key = arena_strdup(a, "k");
    label->value = arena_strdup(a, "v");
    m->name = arena_strdup(a, "all");
    m->an_int64 = INT64_MIN;
    m->a_double = 1.5;
    m->item = item;
    m->n_labels = 1;
    m->labels = arena_alloc(a, sizeof *m->labels);
    m->labels[0] = label;
    m->n_words = 2;
    m->words = arena_alloc(a, 2 * sizeof *m->words);
    m->words[0] = arena_strdup(a, "one");
    m->words[1] = arena_strdup(a, "");
    m->n_numbers = 2;
    m->numbers = arena_alloc(a, 2 * sizeof *m->numbers);
    m->numbers[1] = -7;
    m->choice_case = RUNNEL__TEST__EVERYTHING__CHOICE_COUNT;
    m->count = 0;
    return m;
}

static void a_clone_is_equal_and_apart(void **state)
{
    struct arena *other = arena_new(1 << 20);
    Runnel__Test__Everything *m = sample(*state), *copy = pb_clone(other, &m->base);
    assert_non_null(copy);
    assert_true(pb_equal(&m->base, &copy->base));
    assert_ptr_not_equal(m->name, copy->name);
    assert_ptr_not_equal(m->item, copy->item);
    assert_int_equal(copy->choice_case, RUNNEL__TEST__EVERYTHING__CHOICE_COUNT);
    copy->item->name[0] = 'X';
    assert_false(pb_equal(&m->base, &copy->base));
    assert_string_equal(m->item->name, "thing");
    arena_free(other);
}

static void a_heap_copy_stands_alone(void **state)
{
    Runnel__Test__Everything *m = sample(*state), *copy = pb_dup(&m->base);
    assert_true(pb_equal(&m->base, &copy->base));
    pb_free(copy);
}

static void packed_bytes_come_back(void **state)
{
    Runnel__Test__Everything *m = sample(*state);
    char *bytes;
    size_t n;
    assert_int_equal(pb_pack(&m->base, &bytes, &n, NULL), 0);
    Runnel__Test__Everything *back = pb_unpack(*state, EVERYTHING, (struct str){bytes, n});
    Runnel__Test__Everything *heap = pb_unpack_heap(EVERYTHING, (struct str){bytes, n});
    assert_true(pb_equal(&m->base, &back->base));
    assert_true(pb_equal(&m->base, &heap->base));
    pb_free(heap);
    assert_null(pb_unpack(*state, EVERYTHING, (struct str){bytes, n - 1}));
    free(bytes);
    assert_null(pb_unpack(*state, EVERYTHING, STR("\xff\xff\xff")));
}

static void different_types_are_never_equal(void **state)
{
    Runnel__Test__Everything *m = pb_new(*state, EVERYTHING);
    Runnel__Test__Item *i = pb_new(*state, ITEM);
    assert_false(pb_equal(&m->base, &i->base));
}

static void a_full_arena_gives_null(void **state)
{
    Runnel__Test__Everything *m = sample(*state);
    struct arena *small = arena_new(64);
    assert_null(pb_new(small, EVERYTHING));
    assert_null(pb_clone(small, &m->base));
    assert_null(pb_any(small, &m->base));
    arena_free(small);
}

static void an_any_holds_type_and_bytes(void **state)
{
    Runnel__Test__Everything *m = sample(*state);
    Google__Protobuf__Any *any = (Google__Protobuf__Any *)pb_any(*state, &m->base);
    assert_string_equal(any->type_url, "type.googleapis.com/runnel.test.Everything");
    Runnel__Test__Everything *back = pb_unpack(*state, EVERYTHING, (struct str){(char *)any->value.data, any->value.len});
    assert_true(pb_equal(&m->base, &back->base));
}

static void types_are_found_by_name(void **state)
{
    assert_null(pb_registered("runnel.test.Item"));
    pb_register(ITEM);
    pb_register(ITEM);
    assert_ptr_equal(pb_registered("runnel.test.Item"), ITEM);
    assert_null(pb_registered("runnel.test.Nobody"));
}

static void times_and_durations_are_nanoseconds(void **state)
{
    static const struct {
        const char *name;
        int64_t ns, stamp_s;
        int32_t stamp_ns;
        int64_t duration_s;
        int32_t duration_ns;
    } cases[] = {
        {"zero", 0, 0, 0, 0, 0},
        {"a second and a half", 1500000000, 1, 500000000, 1, 500000000},
        {"before the epoch a time's nanos stay positive", -1, -1, 999999999, 0, -1},
        {"minus a second and a half", -1500000000, -2, 500000000, -1, -500000000},
        {"the greatest", INT64_MAX, 9223372036, 854775807, 9223372036, 854775807},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Google__Protobuf__Timestamp *t = (Google__Protobuf__Timestamp *)pb_timestamp(*state, cases[i].ns);
        Google__Protobuf__Duration *d = (Google__Protobuf__Duration *)pb_duration(*state, cases[i].ns);
        CASE_INT(cases[i].name, t->seconds, cases[i].stamp_s);
        CASE_INT(cases[i].name, t->nanos, cases[i].stamp_ns);
        CASE_INT(cases[i].name, d->seconds, cases[i].duration_s);
        CASE_INT(cases[i].name, d->nanos, cases[i].duration_ns);
        CASE_INT(cases[i].name, pb_timestamp_ns(t), cases[i].ns);
        CASE_INT(cases[i].name, pb_duration_ns(d), cases[i].ns);
    }
    Google__Protobuf__Timestamp far = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
    far.seconds = 253402300799;
    assert_int_equal(pb_timestamp_ns(&far), INT64_MAX);
    far.seconds = -62135596800;
    assert_int_equal(pb_timestamp_ns(&far), INT64_MIN);
    assert_int_equal(pb_timestamp_ns(NULL), 0);
    assert_int_equal(pb_duration_ns(NULL), 0);
}

static const ProtobufCFieldDescriptor *field(const char *name)
{
    const ProtobufCFieldDescriptor *f = pb_field_find(EVERYTHING, str_of(name));
    if (!f)
        fail_msg("no field %s", name);
    return f;
}

static void fields_are_found_in_both_spellings(void **state)
{
    static const struct {
        const char *name, *text, *want;
    } cases[] = {
        {"snake_case", "a_sfixed64", "a_sfixed64"},
        {"camelCase", "aSfixed64", "a_sfixed64"},
        {"one word", "name", "name"},
        {"three words", "byNumber", "by_number"},
        {"a trailing underscore is not a name", "a_bool_", NULL},
        {"a first capital is not a name", "ABool", NULL},
        {"a prefix is not a name", "a_boo", NULL},
        {"more is not a name", "aBoolX", NULL},
        {"empty is not a name", "", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const ProtobufCFieldDescriptor *f = pb_field_find(EVERYTHING, str_of(cases[i].text));
        if (cases[i].want)
            CASE_STR(cases[i].name, f ? f->name : NULL, cases[i].want);
        else
            CASE_TRUE(cases[i].name, f == NULL);
    }
}

static void maps_are_told_from_lists(void **state)
{
    assert_true(pb_field_is_map(field("labels")));
    assert_true(pb_field_is_map(field("by_number")));
    assert_false(pb_field_is_map(field("items")));
    assert_false(pb_field_is_map(field("item")));
    assert_false(pb_field_is_map(field("words")));
}

static void presence_is_by_kind(void **state)
{
    Runnel__Test__Everything *m = pb_new(*state, EVERYTHING);
    for (unsigned i = 0; i < EVERYTHING->n_fields; i++)
        CASE_TRUE(EVERYTHING->fields[i].name, !pb_field_is_set(&m->base, &EVERYTHING->fields[i]));
    m->maybe = 0;
    m->_maybe_case = RUNNEL__TEST__EVERYTHING___MAYBE_MAYBE;
    assert_true(pb_field_is_set(&m->base, field("maybe")));
    m->a_double = -0.0;
    assert_true(pb_field_is_set(&m->base, field("a_double")));
    m->item = pb_new(*state, ITEM);
    assert_true(pb_field_is_set(&m->base, field("item")));
}

static void one_field_is_copied(void **state)
{
    static const char *const names[] = {"name", "an_int64", "item", "labels", "words", "numbers", "count", "text", "some_bytes"};
    Runnel__Test__Everything *from = sample(*state);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        Runnel__Test__Everything *to = pb_new(*state, EVERYTHING);
        to->choice_case = RUNNEL__TEST__EVERYTHING__CHOICE_TEXT;
        to->text = (char *)protobuf_c_empty_string;
        to->some_bytes = (ProtobufCBinaryData){1, (uint8_t *)arena_strdup(*state, "x")};
        CASE_INT(names[i], pb_field_copy(*state, &to->base, &from->base, field(names[i]), NULL), 0);
        CASE_INT(names[i], pb_field_is_set(&to->base, field(names[i])), pb_field_is_set(&from->base, field(names[i])));
    }
    Runnel__Test__Everything *to = pb_clone(*state, &from->base);
    from->n_words = 0;
    assert_int_equal(pb_field_copy(*state, &to->base, &from->base, field("words"), NULL), 0);
    assert_int_equal(to->n_words, 0);
}

int main(void)
{
#define WITH_ARENA(fn) cmocka_unit_test_setup_teardown(fn, open_arena, close_arena)
    const struct CMUnitTest tests[] = {
        WITH_ARENA(a_clone_is_equal_and_apart),
        WITH_ARENA(a_heap_copy_stands_alone),
        WITH_ARENA(packed_bytes_come_back),
        WITH_ARENA(different_types_are_never_equal),
        WITH_ARENA(a_full_arena_gives_null),
        WITH_ARENA(an_any_holds_type_and_bytes),
        WITH_ARENA(types_are_found_by_name),
        WITH_ARENA(times_and_durations_are_nanoseconds),
        WITH_ARENA(fields_are_found_in_both_spellings),
        WITH_ARENA(maps_are_told_from_lists),
        WITH_ARENA(presence_is_by_kind),
        WITH_ARENA(one_field_is_copied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

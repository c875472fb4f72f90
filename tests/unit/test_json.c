/* test_json.c: proto3 JSON both ways, and what malformed input is told. */
#include "tests/support/unit.h"

#include "core/rpc/json.h"
#include "core/rpc/pb.h"

#include "google/protobuf/any.pb-c.h"
#include "google/protobuf/duration.pb-c.h"
#include "google/protobuf/empty.pb-c.h"
#include "google/protobuf/field_mask.pb-c.h"
#include "google/protobuf/timestamp.pb-c.h"
#include "tests/support/test_rpc.pb-c.h"

#include <stdio.h>

#define EVERYTHING (&runnel__test__everything__descriptor)

static int register_types(void **state)
{
    pb_register(&runnel__test__item__descriptor);
    pb_register(&google__protobuf__duration__descriptor);
    pb_register(&google__protobuf__empty__descriptor);
    return 0;
}

/* Decode, encode, compare; and what was encoded decodes to the same message. */
static void check_round(const char *name, const char *in, const char *want, unsigned flags)
{
    struct arena *a = arena_new(1 << 22);
    Runnel__Test__Everything *m = pb_new(a, EVERYTHING), *again = pb_new(a, EVERYTHING);
    struct buf b;
    struct err e = {0};
    buf_init(&b, 1 << 20);
    if (json_decode(a, str_of(in), &m->base, &e))
        fail_msg("case \"%s\": %s", name, e.msg);
    if (json_encode(&b, &m->base, flags, &e))
        fail_msg("case \"%s\": %s", name, e.msg);
    CASE_STR(name, buf_cstr(&b), want);
    if (json_decode(a, buf_str(&b), &again->base, &e))
        fail_msg("case \"%s\": again: %s", name, e.msg);
    CASE_TRUE(name, pb_equal(&m->base, &again->base));
    buf_fini(&b);
    arena_free(a);
}

static void values_go_both_ways(void **state)
{
    static const struct {
        const char *name, *in, *want;
    } cases[] = {
        {"nothing", "", "{}"},
        {"two quotes", "\"\"", "{}"},
        {"two quotes and a line end", " \"\"\n", "{}"},
        {"an empty object", " {} ", "{}"},
        {"defaults are left out",
         "{\"name\":\"\",\"aBool\":false,\"anInt32\":0,\"anInt64\":\"0\",\"aDouble\":0,\"color\":\"COLOR_UNSPECIFIED\",\"words\":[],\"labels\":{}}",
         "{}"},
        {"null is absent", "{\"name\":null,\"item\":null,\"items\":null,\"labels\":null,\"text\":null,\"when\":null}", "{}"},
        {"unknown fields are ignored", "{\"nobody\":{\"x\":[1,2]},\"name\":\"n\"}", "{\"name\":\"n\"}"},
        {"snake_case is read", "{\"an_int32\":1,\"some_bytes\":\"AQ==\"}", "{\"anInt32\":1,\"someBytes\":\"AQ==\"}"},
        {"the last of doubles wins", "{\"name\":\"a\",\"name\":\"b\"}", "{\"name\":\"b\"}"},
        {"a string with escapes", "{\"name\":\"\\u00e9\\n\\\"\\\\\\/\\ud83d\\ude00\"}",
         "{\"name\":\"\xc3\xa9\\n\\\"\\\\/\xf0\x9f\x98\x80\"}"},
        {"bool", "{\"aBool\":true}", "{\"aBool\":true}"},
        {"int32 at its ends", "{\"anInt32\":-2147483648,\"aSint32\":2147483647}", "{\"anInt32\":-2147483648,\"aSint32\":2147483647}"},
        {"int32 as a string", "{\"aSfixed32\":\"-5\"}", "{\"aSfixed32\":-5}"},
        {"int32 with an exponent", "{\"anInt32\":1.2e3}", "{\"anInt32\":1200}"},
        {"int32 with a zero fraction", "{\"anInt32\":7.0}", "{\"anInt32\":7}"},
        {"int32 as a string with an exponent", "{\"anInt32\":\"1e2\"}", "{\"anInt32\":100}"},
        {"uint32 at its end", "{\"aUint32\":4294967295,\"aFixed32\":\"4294967295\"}", "{\"aUint32\":4294967295,\"aFixed32\":4294967295}"},
        {"int64 is a string", "{\"anInt64\":\"9223372036854775807\",\"aSint64\":\"-9223372036854775808\",\"aSfixed64\":12}",
         "{\"anInt64\":\"9223372036854775807\",\"aSint64\":\"-9223372036854775808\",\"aSfixed64\":\"12\"}"},
        {"the largest exact raw number", "{\"anInt64\":9007199254740991}", "{\"anInt64\":\"9007199254740991\"}"},
        {"uint64 at its end", "{\"aUint64\":\"18446744073709551615\",\"aFixed64\":\"1\"}",
         "{\"aUint64\":\"18446744073709551615\",\"aFixed64\":\"1\"}"},
        {"float is short", "{\"aFloat\":0.1}", "{\"aFloat\":0.1}"},
        {"double is exact", "{\"aDouble\":0.1}", "{\"aDouble\":0.1}"},
        {"double in full", "{\"aDouble\":3.141592653589793}", "{\"aDouble\":3.141592653589793}"},
        {"double as a string", "{\"aDouble\":\"1.5e3\"}", "{\"aDouble\":1500}"},
        {"not a number", "{\"aDouble\":\"NaN\"}", "{\"aDouble\":\"NaN\"}"},
        {"infinities", "{\"aDouble\":\"Infinity\",\"aFloat\":\"-Infinity\"}", "{\"aFloat\":\"-Infinity\",\"aDouble\":\"Infinity\"}"},
        {"bytes", "{\"someBytes\":\"aGk=\"}", "{\"someBytes\":\"aGk=\"}"},
        {"URL-safe bytes without padding", "{\"someBytes\":\"_-8\"}", "{\"someBytes\":\"/+8=\"}"},
        {"an enum by name", "{\"color\":\"DARK_BLUE\"}", "{\"color\":\"DARK_BLUE\"}"},
        {"an enum by number", "{\"color\":1}", "{\"color\":\"RED\"}"},
        {"an unknown enum number is kept", "{\"color\":99}", "{\"color\":99}"},
        {"a message", "{\"item\":{\"name\":\"x\"}}", "{\"item\":{\"name\":\"x\"}}"},
        {"an empty message is there", "{\"item\":{}}", "{\"item\":{}}"},
        {"lists",
         "{\"words\":[\"a\",\"\"],\"numbers\":[1,-2],\"longs\":[\"3\"],\"blobs\":[\"\",\"AA==\"],\"colors\":[\"RED\",0],\"flags\":[true,false],\"doubles\":[1.5,\"NaN\"]}",
         "{\"words\":[\"a\",\"\"],\"numbers\":[1,-2],\"longs\":[\"3\"],\"blobs\":[\"\",\"AA==\"],\"colors\":[\"RED\",\"COLOR_UNSPECIFIED\"],\"flags\":[true,false],\"doubles\":[1.5,\"NaN\"]}"},
        {"a list of messages", "{\"items\":[{\"name\":\"a\"},{}]}", "{\"items\":[{\"name\":\"a\"},{}]}"},
        {"a map of strings", "{\"labels\":{\"b\":\"1\",\"a\":\"\"}}", "{\"labels\":{\"b\":\"1\",\"a\":\"\"}}"},
        {"the last of a map's doubles wins", "{\"labels\":{\"a\":\"1\",\"b\":\"2\",\"a\":\"3\"}}",
         "{\"labels\":{\"b\":\"2\",\"a\":\"3\"}}"},
        {"a map of messages by number", "{\"byNumber\":{\"-7\":{\"name\":\"x\"}}}", "{\"byNumber\":{\"-7\":{\"name\":\"x\"}}}"},
        {"a map by bool", "{\"byFlag\":{\"true\":\"5\",\"false\":0}}", "{\"byFlag\":{\"true\":\"5\",\"false\":\"0\"}}"},
        {"a map of enums", "{\"shades\":{\"k\":\"RED\"}}", "{\"shades\":{\"k\":\"RED\"}}"},
        {"a chosen empty string has presence", "{\"text\":\"\"}", "{\"text\":\"\"}"},
        {"a chosen zero has presence", "{\"count\":0}", "{\"count\":0}"},
        {"a chosen false has presence", "{\"yes\":false}", "{\"yes\":false}"},
        {"a chosen message", "{\"thing\":{}}", "{\"thing\":{}}"},
        {"an optional zero has presence", "{\"maybe\":0}", "{\"maybe\":0}"},
        {"a time", "{\"when\":\"2026-01-31T09:00:00Z\"}", "{\"when\":\"2026-01-31T09:00:00Z\"}"},
        {"a time in milliseconds", "{\"when\":\"2026-01-31T09:00:00.5Z\"}", "{\"when\":\"2026-01-31T09:00:00.500Z\"}"},
        {"a time in microseconds", "{\"when\":\"2026-01-31T09:00:00.000001Z\"}", "{\"when\":\"2026-01-31T09:00:00.000001Z\"}"},
        {"a time in nanoseconds", "{\"when\":\"2026-01-31T09:00:00.123456789Z\"}", "{\"when\":\"2026-01-31T09:00:00.123456789Z\"}"},
        {"a time with an offset", "{\"when\":\"2026-01-01T00:30:00+01:00\"}", "{\"when\":\"2025-12-31T23:30:00Z\"}"},
        {"the first time", "{\"when\":\"0001-01-01T00:00:00Z\"}", "{\"when\":\"0001-01-01T00:00:00Z\"}"},
        {"the last time", "{\"when\":\"9999-12-31T23:59:59.999999999Z\"}", "{\"when\":\"9999-12-31T23:59:59.999999999Z\"}"},
        {"a leap day", "{\"when\":\"2000-02-29T12:00:00Z\"}", "{\"when\":\"2000-02-29T12:00:00Z\"}"},
        {"the epoch is there", "{\"when\":\"1970-01-01T00:00:00Z\"}", "{\"when\":\"1970-01-01T00:00:00Z\"}"},
        {"a list of times", "{\"times\":[\"1969-12-31T23:59:59.250Z\"]}", "{\"times\":[\"1969-12-31T23:59:59.250Z\"]}"},
        {"a duration", "{\"howLong\":\"10s\"}", "{\"howLong\":\"10s\"}"},
        {"a fraction", "{\"howLong\":\"2.5s\"}", "{\"howLong\":\"2.500s\"}"},
        {"a negative fraction", "{\"howLong\":\"-0.1s\"}", "{\"howLong\":\"-0.100s\"}"},
        {"no time at all", "{\"howLong\":\"0s\"}", "{\"howLong\":\"0s\"}"},
        {"the longest duration", "{\"howLong\":\"315576000000s\"}", "{\"howLong\":\"315576000000s\"}"},
        {"a mask in either spelling", "{\"updateMask\":\"ackDeadlineSeconds, retry_policy.minimumBackoff\"}",
         "{\"updateMask\":\"ackDeadlineSeconds,retryPolicy.minimumBackoff\"}"},
        {"an empty mask", "{\"updateMask\":\"\"}", "{\"updateMask\":\"\"}"},
        {"a mask that has no other spelling", "{\"updateMask\":\"a__b,a_1,c_\"}", "{\"updateMask\":\"a__b,a_1,c_\"}"},
        {"empty", "{\"nothing\":{}}", "{\"nothing\":{}}"},
        {"an any", "{\"whatever\":{\"@type\":\"type.googleapis.com/runnel.test.Item\",\"name\":\"x\"}}",
         "{\"whatever\":{\"@type\":\"type.googleapis.com/runnel.test.Item\",\"name\":\"x\"}}"},
        {"an any of a type with a form of its own",
         "{\"whatever\":{\"@type\":\"type.googleapis.com/google.protobuf.Duration\",\"value\":\"1.500s\"}}",
         "{\"whatever\":{\"@type\":\"type.googleapis.com/google.protobuf.Duration\",\"value\":\"1.500s\"}}"},
        {"an any of nothing", "{\"whatever\":{\"value\":{},\"@type\":\"type.googleapis.com/google.protobuf.Empty\"}}",
         "{\"whatever\":{\"@type\":\"type.googleapis.com/google.protobuf.Empty\",\"value\":{}}}"},
        {"an empty any", "{\"whatever\":{}}", "{\"whatever\":{}}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        check_round(cases[i].name, cases[i].in, cases[i].want, 0);
}

static void enums_can_be_numbers(void **state)
{
    check_round("a number", "{\"color\":\"DARK_BLUE\",\"colors\":[\"RED\"],\"shades\":{\"a\":\"RED\"}}",
                "{\"color\":2,\"colors\":[1],\"shades\":{\"a\":1}}", JSON_ENUM_AS_INT);
}

static void pretty_text_is_for_people(void **state)
{
    check_round("pretty", "{\"name\":\"n\",\"item\":{\"labels\":{\"a\":\"b\"}},\"words\":[\"x\",\"y\"],\"thing\":{}}",
                "{\n  \"name\": \"n\",\n  \"item\": {\n    \"labels\": {\n      \"a\": \"b\"\n    }\n  },\n"
                "  \"words\": [\n    \"x\",\n    \"y\"\n  ],\n  \"thing\": {}\n}\n",
                JSON_PRETTY);
}

static void malformed_input_is_told_where(void **state)
{
    static const struct {
        const char *name, *in, *says;
    } cases[] = {
        {"not an object", "[1]", "the JSON is not an object"},
        {"a number alone", "5", "the JSON is not an object"},
        {"not closed", "{\"name\":\"x\"", "line 1, byte 11: expected ',' or '}'"},
        {"text after the end", "{} x", "byte 3: text after the end"},
        {"two objects", "{}{}", "byte 2: text after the end"},
        {"the line counts", "{\n\n\"name\":}", "line 3, byte 10: expected a value"},
        {"a comma too many", "{\"name\":\"x\",}", "expected a name in quotes"},
        {"a name without quotes", "{name:1}", "byte 1: expected a name in quotes"},
        {"no colon", "{\"name\" 1}", "expected ':'"},
        {"single quotes", "{'name':1}", "expected a name in quotes"},
        {"a control character", "{\"name\":\"a\nb\"}", "must be escaped"},
        {"a string not closed", "{\"name\":\"abc", "a string is not closed"},
        {"an escape not closed", "{\"name\":\"abc\\", "a string is not closed"},
        {"an unknown escape", "{\"name\":\"\\x\"}", "unknown escape"},
        {"a NUL in a string", "{\"name\":\"a\\u0000b\"}", "\\u0000"},
        {"half a pair", "{\"name\":\"\\ud800\"}", "surrogate"},
        {"the other half", "{\"name\":\"\\udc00\"}", "surrogate"},
        {"short hexadecimal", "{\"name\":\"\\u12\"}", "four hexadecimal"},
        {"a leading zero", "{\"anInt32\":01}", "malformed number"},
        {"a bare minus", "{\"anInt32\":-}", "malformed number"},
        {"a bare point", "{\"anInt32\":1.}", "malformed number"},
        {"a bare exponent", "{\"anInt32\":1e}", "malformed number"},
        {"NaN without quotes", "{\"aDouble\":NaN}", "expected a value"},
        {"a very long number", "{\"aDouble\":1111111111111111111111111111111111111111111111111111111111111111}", "too many digits"},
        {"a wrong word", "{\"aBool\":tru}", "expected a value"},
        {"a string for a bool", "{\"aBool\":\"true\"}", "aBool: \"true\" is not true or false"},
        {"a number for a bool", "{\"aBool\":1}", "aBool: the value is not true or false"},
        {"a number for a string", "{\"name\":5}", "name: not a string"},
        {"text for a number", "{\"anInt32\":\"five\"}", "anInt32: \"five\" is not a number"},
        {"an empty string for a number", "{\"anInt32\":\"\"}", "anInt32: the value is not a number"},
        {"spaces around a number", "{\"anInt32\":\" 5\"}", "is not a number"},
        {"hexadecimal", "{\"anInt32\":\"0x10\"}", "is not a number"},
        {"a plus sign", "{\"anInt32\":\"+5\"}", "is not a number"},
        {"a fraction for an int", "{\"anInt32\":1.5}", "anInt32: the value is not a whole number"},
        {"beyond int32", "{\"anInt32\":2147483648}", "anInt32: the value is out of range"},
        {"below int32", "{\"anInt32\":-2147483649}", "out of range"},
        {"negative for unsigned", "{\"aUint32\":-1}", "aUint32: the value is out of range"},
        {"beyond uint32", "{\"aFixed32\":4294967296}", "out of range"},
        {"beyond int64", "{\"anInt64\":\"9223372036854775808\"}", "anInt64: \"9223372036854775808\" is out of range"},
        {"below int64", "{\"anInt64\":\"-9223372036854775809\"}", "out of range"},
        {"beyond uint64", "{\"aUint64\":\"18446744073709551616\"}", "too large"},
        {"a raw number that is not exact", "{\"anInt64\":9007199254740993}", "write it as a string"},
        {"beyond double", "{\"aDouble\":1e999}", "aDouble: the value is out of range"},
        {"beyond float", "{\"aFloat\":1e39}", "aFloat: the value is out of range"},
        {"not base64", "{\"items\":[{},{},{\"data\":\"a!b\"}]}", "items[2].data: not base64"},
        {"a number for bytes", "{\"someBytes\":1}", "someBytes: not a string of base64"},
        {"an unknown enum", "{\"color\":\"PINK\"}", "color: \"PINK\" is not a value of Color, e.g. DARK_BLUE"},
        {"an enum number in quotes", "{\"color\":\"1\"}", "color: \"1\" is not a value of Color"},
        {"a bool for an enum", "{\"color\":true}", "color: is not a number or the name of a Color"},
        {"a string for a message", "{\"item\":\"x\"}", "item: not an object"},
        {"an object for a list", "{\"words\":{}}", "words: not a list"},
        {"null in a list", "{\"words\":[\"a\",null]}", "words[1]: null"},
        {"a list for a map", "{\"labels\":[]}", "labels: not an object of keys"},
        {"null in a map", "{\"labels\":{\"a\":null}}", "labels[\"a\"]: null"},
        {"a wrong value in a map", "{\"byNumber\":{\"1\":{\"data\":\"?\"}}}", "byNumber[\"1\"].data: not base64"},
        {"a wrong key in a map", "{\"byNumber\":{\"x\":{}}}", "byNumber[\"x\"]: \"x\" is not a number"},
        {"deep inside", "{\"item\":{\"child\":{\"child\":{\"name\":1}}}}", "item.child.child.name: not a string"},
        {"two of a oneof", "{\"text\":\"a\",\"count\":1}", "count: only one of this and `text`"},
        {"bad UTF-8 in a field", "{\"name\":\"\xff\"}", "name: the text is not valid UTF-8"},
        {"bad UTF-8 in a key", "{\"labels\":{\"\xff\":\"x\"}}", "labels: a key is not valid UTF-8"},
        {"a time without a zone", "{\"when\":\"2026-01-31T09:00:00\"}", "when: \"2026-01-31T09:00:00\" is not a time"},
        {"a time that is a number", "{\"when\":5}", "when: not a string"},
        {"no such day", "{\"when\":\"2026-02-29T00:00:00Z\"}", "not a time"},
        {"no such hour", "{\"when\":\"2026-02-01T24:00:00Z\"}", "not a time"},
        {"a time of the year 0", "{\"when\":\"0000-12-31T00:00:00Z\"}", "not a time"},
        {"a time pushed out by its offset", "{\"when\":\"0001-01-01T00:00:00+01:00\"}", "outside the years"},
        {"ten digits", "{\"when\":\"2026-01-01T00:00:00.1234567890Z\"}", "not a time"},
        {"a duration without its s", "{\"howLong\":\"10\"}", "howLong: \"10\" is not a duration"},
        {"a duration in minutes", "{\"howLong\":\"1m\"}", "not a duration"},
        {"too long a duration", "{\"howLong\":\"315576000001s\"}", "more than 315576000000s"},
        {"a mask with an empty path", "{\"updateMask\":\"a,,b\"}", "updateMask: \"a,,b\" is not a field mask"},
        {"a mask too long to be written", "{\"updateMask\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}",
         "not a field mask"},
        {"a mask with odd characters", "{\"updateMask\":\"a b\"}", "not a field mask"},
        {"an any without its type", "{\"whatever\":{\"name\":\"x\"}}", "whatever: the \"@type\" is missing"},
        {"an any of an unknown type", "{\"whatever\":{\"@type\":\"type.googleapis.com/no.Such\"}}",
         "whatever: the type \"type.googleapis.com/no.Such\" is not known"},
        {"an any of wrong content", "{\"whatever\":{\"@type\":\"type.googleapis.com/runnel.test.Item\",\"data\":\"!\"}}",
         "whatever.data: not base64"},
        {"an any without its value", "{\"whatever\":{\"@type\":\"type.googleapis.com/google.protobuf.Duration\"}}",
         "\"value\" is not a string"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena *a = arena_new(1 << 20);
        Runnel__Test__Everything *m = pb_new(a, EVERYTHING);
        struct err e = {0};
        CASE_INT(cases[i].name, json_decode(a, str_of(cases[i].in), &m->base, &e), -ERR_INVALID_ARGUMENT);
        if (!strstr(e.msg, cases[i].says))
            fail_msg("case \"%s\": \"%s\" does not say \"%s\"", cases[i].name, e.msg, cases[i].says);
        arena_free(a);
    }
}

static char *nested(size_t depth)
{
    char *text = malloc(depth * 10 + 16), *p = text;
    for (size_t i = 0; i < depth; i++)
        p += snprintf(p, 11, "%s", i ? "{\"child\":" : "{\"item\":");
    p += snprintf(p, 3, "{}");
    memset(p, '}', depth);
    p[depth] = '\0';
    return text;
}

static void depth_is_limited(void **state)
{
    struct arena *a = arena_new(1 << 20);
    Runnel__Test__Everything *m = pb_new(a, EVERYTHING);
    struct err e = {0};
    char *ok = nested(JSON_DEPTH_MAX - 1), *deep = nested(JSON_DEPTH_MAX), *very_deep = nested(100000);
    assert_int_equal(json_decode(a, str_of(ok), &m->base, &e), 0);
    assert_int_equal(json_decode(a, str_of(deep), &m->base, &e), -ERR_INVALID_ARGUMENT);
    assert_non_null(strstr(e.msg, "nested too deeply"));
    assert_int_equal(json_decode(a, str_of(very_deep), &m->base, &e), -ERR_INVALID_ARGUMENT);
    free(ok);
    free(deep);
    free(very_deep);
    arena_free(a);
}

static void the_count_of_values_is_limited(void **state)
{
    size_t n = (size_t)(JSON_VALUES_MAX + 1) * 2 + 20;
    char *text = malloc(n), *p = text + snprintf(text, n, "{\"numbers\":[0");
    for (size_t i = 0; i < JSON_VALUES_MAX; i++, p += 2)
        memcpy(p, ",0", 2);
    memcpy(p, "]}", 3);
    struct arena *a = arena_new(1 << 24);
    Runnel__Test__Everything *m = pb_new(a, EVERYTHING);
    struct err e = {0};
    assert_int_equal(json_decode(a, str_of(text), &m->base, &e), -ERR_INVALID_ARGUMENT);
    assert_non_null(strstr(e.msg, "too many values"));
    free(text);
    arena_free(a);
}

static void a_body_may_hold_zero_bytes_only_as_an_error(void **state)
{
    struct arena *a = arena_new(1 << 20);
    Runnel__Test__Everything *m = pb_new(a, EVERYTHING);
    assert_int_equal(json_decode(a, STR("{\"name\":\"a\0b\"}"), &m->base, NULL), -ERR_INVALID_ARGUMENT);
    assert_int_equal(json_decode(a, STR("{\"name\":\"a\\\0\"}"), &m->base, NULL), -ERR_INVALID_ARGUMENT);
    assert_int_equal(json_decode(a, STR("{}\0"), &m->base, NULL), -ERR_INVALID_ARGUMENT);
    arena_free(a);
}

static void decoding_merges_into_what_is_there(void **state)
{
    struct arena *a = arena_new(1 << 20);
    Runnel__Test__Everything *m = pb_new(a, EVERYTHING);
    assert_int_equal(json_decode(a, STR("{\"name\":\"a\",\"anInt32\":1}"), &m->base, NULL), 0);
    assert_int_equal(json_decode(a, STR("{\"name\":\"b\"}"), &m->base, NULL), 0);
    assert_string_equal(m->name, "b");
    assert_int_equal(m->an_int32, 1);
    arena_free(a);
}

static void a_well_known_type_can_be_the_whole_text(void **state)
{
    struct arena *a = arena_new(1 << 20);
    Google__Protobuf__Duration *d = pb_new(a, &google__protobuf__duration__descriptor);
    struct buf b;
    buf_init(&b, 100);
    assert_int_equal(json_decode(a, STR("\"1.25s\""), &d->base, NULL), 0);
    assert_int_equal(pb_duration_ns(d), 1250000000);
    assert_int_equal(json_encode(&b, &d->base, 0, NULL), 0);
    assert_string_equal(buf_cstr(&b), "\"1.250s\"");
    buf_fini(&b);
    arena_free(a);
}

static void fields_are_set_from_text(void **state)
{
    static const struct {
        const char *name, *path, *value, *want, *says;
    } cases[] = {
        {"a string", "name", "x y", "{\"name\":\"x y\"}", NULL},
        {"an empty string", "name", "", "{}", NULL},
        {"a number", "anInt32", "-5", "{\"anInt32\":-5}", NULL},
        {"a long", "an_int64", "9007199254740993", "{\"anInt64\":\"9007199254740993\"}", NULL},
        {"a bool", "aBool", "true", "{\"aBool\":true}", NULL},
        {"a double", "aDouble", "2.5", "{\"aDouble\":2.5}", NULL},
        {"an enum by name", "color", "RED", "{\"color\":\"RED\"}", NULL},
        {"an enum by number", "color", "2", "{\"color\":\"DARK_BLUE\"}", NULL},
        {"bytes", "someBytes", "aGk=", "{\"someBytes\":\"aGk=\"}", NULL},
        {"inside a message", "item.child.name", "x", "{\"item\":{\"child\":{\"name\":\"x\"}}}", NULL},
        {"inside a chosen message", "thing.name", "x", "{\"thing\":{\"name\":\"x\"}}", NULL},
        {"a mask", "updateMask", "labels,someBytes", "{\"updateMask\":\"labels,someBytes\"}", NULL},
        {"a mask's paths", "updateMask.paths", "labels", "{\"updateMask\":\"labels\"}", NULL},
        {"a time", "when", "2026-01-01T00:00:00Z", "{\"when\":\"2026-01-01T00:00:00Z\"}", NULL},
        {"a duration", "howLong", "3s", "{\"howLong\":\"3s\"}", NULL},
        {"a list of one", "words", "x", "{\"words\":[\"x\"]}", NULL},
        {"an optional", "maybe", "0", "{\"maybe\":0}", NULL},
        {"an unknown field", "nobody", "x", NULL, "nobody is not a field of Everything"},
        {"an unknown field inside", "item.nobody", "x", NULL, "item: nobody is not a field of Item"},
        {"inside a scalar", "name.x", "x", NULL, "name: has no fields inside"},
        {"inside a list", "items.name", "x", NULL, "items: has no fields inside"},
        {"a whole message", "item", "x", NULL, "item: cannot be given as text"},
        {"a list of messages", "items", "x", NULL, "items: cannot be given as text"},
        {"a map", "labels", "x", NULL, "labels: cannot be given as text"},
        {"not a number", "anInt32", "five", NULL, "anInt32: \"five\" is not a number"},
        {"not a bool", "aBool", "yes", NULL, "aBool: \"yes\" is not true or false"},
        {"not a time", "when", "now", NULL, "when: \"now\" is not a time"},
        {"not UTF-8", "name", "\xff", NULL, "name: the text is not valid UTF-8"},
        {"an empty path", "", "x", NULL, "is not a field"},
        {"a point at the end", "item.", "x", NULL, "is not a field"},
        {"a very deep path", "item.child.child.child.child.child.child.child.child.child.child.child.child.child.child.child.child.name",
         "x", NULL, "too long a path"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena *a = arena_new(1 << 20);
        Runnel__Test__Everything *m = pb_new(a, EVERYTHING);
        struct buf b;
        struct err e = {0};
        buf_init(&b, 1 << 16);
        int rc = json_set_field(a, &m->base, str_of(cases[i].path), str_of(cases[i].value), &e);
        if (cases[i].want) {
            if (rc)
                fail_msg("case \"%s\": %s", cases[i].name, e.msg);
            CASE_INT(cases[i].name, json_encode(&b, &m->base, 0, &e), 0);
            CASE_STR(cases[i].name, buf_cstr(&b), cases[i].want);
        } else {
            CASE_INT(cases[i].name, rc, -ERR_INVALID_ARGUMENT);
            if (!strstr(e.msg, cases[i].says))
                fail_msg("case \"%s\": \"%s\" does not say \"%s\"", cases[i].name, e.msg, cases[i].says);
        }
        buf_fini(&b);
        arena_free(a);
    }
}

static void setting_a_list_appends(void **state)
{
    struct arena *a = arena_new(1 << 22);
    Runnel__Test__Everything *m = pb_new(a, EVERYTHING);
    assert_int_equal(json_set_field(a, &m->base, STR("words"), STR("a"), NULL), 0);
    assert_int_equal(json_set_field(a, &m->base, STR("words"), STR("b"), NULL), 0);
    assert_int_equal(json_set_field(a, &m->base, STR("words"), STR("a\0b"), NULL), -ERR_INVALID_ARGUMENT);
    assert_int_equal(m->n_words, 2);
    assert_string_equal(m->words[1], "b");
    arena_free(a);
}

static void what_cannot_be_written_is_an_error(void **state)
{
    Google__Protobuf__Any unknown = GOOGLE__PROTOBUF__ANY__INIT;
    Google__Protobuf__Any torn = GOOGLE__PROTOBUF__ANY__INIT;
    Google__Protobuf__Timestamp late = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
    Google__Protobuf__Duration mixed = GOOGLE__PROTOBUF__DURATION__INIT;
    uint8_t bytes[] = {0xff};
    unknown.type_url = (char *)"type.googleapis.com/no.Such";
    torn.type_url = (char *)"type.googleapis.com/runnel.test.Item";
    torn.value = (ProtobufCBinaryData){1, bytes};
    late.seconds = INT64_MAX;
    mixed.seconds = 1;
    mixed.nanos = -1;
    const ProtobufCMessage *const bad[] = {&unknown.base, &torn.base, &late.base, &mixed.base};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct buf b;
        struct err e = {0};
        buf_init(&b, 1000);
        CASE_INT(bad[i]->descriptor->name, json_encode(&b, bad[i], 0, &e), -ERR_INTERNAL);
        buf_fini(&b);
    }
}

static void an_answer_beyond_the_buffer_is_an_error(void **state)
{
    struct arena *a = arena_new(1 << 20);
    Runnel__Test__Everything *m = pb_new(a, EVERYTHING);
    struct buf b;
    struct err e = {0};
    buf_init(&b, 64);
    m->name = arena_alloc(a, 1000);
    memset(m->name, 'x', 999);
    assert_int_equal(json_encode(&b, &m->base, 0, &e), -ERR_RESOURCE_EXHAUSTED);
    buf_fini(&b);
    arena_free(a);
}

static void an_error_has_googles_shape(void **state)
{
    struct buf b;
    struct err e = {0};
    buf_init(&b, 1000);
    err_set(&e, ERR_NOT_FOUND, "no \"x\"");
    assert_int_equal(json_encode_error_as(&b, &e, err_http(e.code)), 0);
    assert_string_equal(buf_cstr(&b), "{\"error\":{\"code\":404,\"message\":\"no \\\"x\\\"\",\"status\":\"NOT_FOUND\"}}\n");
    buf_fini(&b);
}

static const char rich[] = "{\"name\":\"n\",\"items\":[{\"labels\":{\"a\":\"b\",\"a\":\"c\"},\"data\":\"aGk=\"}],\"words\":[\"x\"],"
                           "\"whatever\":{\"@type\":\"type.googleapis.com/runnel.test.Item\",\"name\":\"x\"},\"updateMask\":\"a,b\"}";

static const char rich_written[] =
    "{\"name\":\"n\",\"items\":[{\"data\":\"aGk=\",\"labels\":{\"a\":\"c\"}}],\"words\":[\"x\"],"
    "\"updateMask\":\"a,b\",\"whatever\":{\"@type\":\"type.googleapis.com/runnel.test.Item\",\"name\":\"x\"}}";

static void running_out_of_memory_is_an_error(void **state)
{
    size_t refused = 0;
    for (size_t n = 1;; n++) {
        support_fail_alloc(n);
        struct arena *a = arena_new(1 << 20);
        Runnel__Test__Everything *m = a ? pb_new(a, EVERYTHING) : NULL;
        struct err e = {0};
        struct buf b;
        buf_init(&b, 1 << 16);
        int rc = m ? json_decode(a, str_of(rich), &m->base, &e) : -1;
        if (!rc)
            rc = json_encode(&b, &m->base, 0, &e);
        bool failed = support_alloc_failed();
        assert_true(rc == 0 || failed); /* a smaller allocation may have served instead */
        if (rc == 0)
            assert_int_equal(buf_len(&b), strlen(rich_written));
        refused += rc != 0;
        buf_fini(&b);
        arena_free(a);
        if (!failed)
            break;
    }
    assert_true(refused >= 2);
}

/* The arena is full at any point: told, not crashed. */
static void a_full_arena_is_an_error(void **state)
{
    bool ok = false;
    for (size_t size = 16; size < 1 << 16 && !ok; size += 16) {
        struct arena *a = arena_new(size);
        Runnel__Test__Everything *m = pb_new(a, EVERYTHING);
        struct err e = {0};
        int rc = m ? json_decode(a, str_of(rich), &m->base, &e) : -ERR_RESOURCE_EXHAUSTED;
        assert_true(rc == 0 || rc == -ERR_RESOURCE_EXHAUSTED);
        ok = rc == 0;
        arena_free(a);
    }
    assert_true(ok);
}

/* Every text cut short, and every text with one byte changed, is either read or refused, never worse. */
static void torn_texts_are_survived(void **state)
{
    char text[sizeof rich];
    for (size_t cut = 0; cut < sizeof rich; cut++)
        for (int change = -1; change < 8; change++) {
            static const char bytes[] = "\"\\{}[],\xff";
            size_t n = change < 0 ? cut : sizeof rich - 1;
            memcpy(text, rich, sizeof rich);
            if (change >= 0 && cut < n)
                text[cut] = bytes[change];
            struct arena *a = arena_new(1 << 18);
            Runnel__Test__Everything *m = pb_new(a, EVERYTHING);
            char *exact = malloc(n ? n : 1); /* so that reading past the end is seen */
            memcpy(exact, text, n);
            int rc = json_decode(a, (struct str){exact, n}, &m->base, NULL);
            assert_true(rc == 0 || rc == -ERR_INVALID_ARGUMENT);
            free(exact);
            arena_free(a);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_go_both_ways),
        cmocka_unit_test(enums_can_be_numbers),
        cmocka_unit_test(pretty_text_is_for_people),
        cmocka_unit_test(malformed_input_is_told_where),
        cmocka_unit_test(depth_is_limited),
        cmocka_unit_test(the_count_of_values_is_limited),
        cmocka_unit_test(a_body_may_hold_zero_bytes_only_as_an_error),
        cmocka_unit_test(decoding_merges_into_what_is_there),
        cmocka_unit_test(a_well_known_type_can_be_the_whole_text),
        cmocka_unit_test(fields_are_set_from_text),
        cmocka_unit_test(setting_a_list_appends),
        cmocka_unit_test(what_cannot_be_written_is_an_error),
        cmocka_unit_test(an_answer_beyond_the_buffer_is_an_error),
        cmocka_unit_test(an_error_has_googles_shape),
        cmocka_unit_test(running_out_of_memory_is_an_error),
        cmocka_unit_test(a_full_arena_is_an_error),
        cmocka_unit_test(torn_texts_are_survived),
    };
    return cmocka_run_group_tests(tests, register_types, NULL);
}

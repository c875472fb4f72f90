/** test_message.c: limits of published messages, and records that read back or are refused. */
#include "broker/message.h"
#include "tests/support/unit.h"

#include <stdio.h>

typedef Google__Pubsub__V1__PubsubMessage PbMessage;
typedef Google__Pubsub__V1__PubsubMessage__AttributesEntry PbAttribute;

static char *letters(size_t n)
{
    char *s = malloc(n + 1);
    memset(s, 'x', n);
    s[n] = '\0';
    return s;
}

/* A message with so many bytes of each. */
struct shape {
    size_t data, attributes, key, value, ordering_key;
};

static struct message *make(const struct shape *sh, struct err *e)
{
    PbMessage m = GOOGLE__PUBSUB__V1__PUBSUB_MESSAGE__INIT;
    PbAttribute *entries = calloc(sh->attributes + 1, sizeof *entries), **list = calloc(sh->attributes + 1, sizeof *list);
    char *data = letters(sh->data), *value = letters(sh->value), *ordering_key = letters(sh->ordering_key);
    m.data = (ProtobufCBinaryData){sh->data, (uint8_t *)data};
    m.ordering_key = ordering_key;
    for (size_t i = 0; i < sh->attributes; i++) {
        google__pubsub__v1__pubsub_message__attributes_entry__init(&entries[i]);
        entries[i].key = letters(sh->key);
        if (sh->key >= 3)
            entries[i].key[0] = (char)('a' + i / 26), entries[i].key[1] = (char)('a' + i % 26);
        entries[i].value = value;
        list[i] = &entries[i];
    }
    m.attributes = list;
    m.n_attributes = sh->attributes;
    m.message_id = (char *)(uintptr_t) "not kept";
    struct message *out = message_new(&m, 3, e);
    for (size_t i = 0; i < sh->attributes; i++)
        free(entries[i].key);
    free(entries);
    free(list);
    free(data);
    free(value);
    free(ordering_key);
    return out;
}

static const struct {
    const char *name;
    struct shape shape;
    const char *says; /* NULL: accepted */
} limits[] = {
    {"data only", {1, 0, 0, 0, 0}, NULL},
    {"an attribute only", {0, 1, 3, 0, 0}, NULL},
    {"nothing at all", {0, 0, 0, 0, 5}, "Some messages are empty: messages[3]"},
    {"100 attributes", {1, 100, 3, 1, 0}, NULL},
    {"101 attributes", {1, 101, 3, 1, 0}, "messages[3].attributes: 101"},
    {"a key of 256 bytes", {1, 1, 256, 1, 0}, NULL},
    {"a key of 257 bytes", {1, 1, 257, 1, 0}, "messages[3].attributes: key"},
    {"an empty key", {1, 1, 0, 1, 0}, "a key is empty"},
    {"a value of 1,024 bytes", {1, 1, 3, 1024, 0}, NULL},
    {"a value of 1,025 bytes", {1, 1, 3, 1025, 0}, "messages[3].attributes[\"aax\"]"},
    {"an ordering key of 1,024 bytes", {1, 0, 0, 0, 1024}, NULL},
    {"an ordering key of 1,025 bytes", {1, 0, 0, 0, 1025}, "messages[3].ordering_key"},
    {"just under 10 MB", {10 * 1000 * 1000 - 8, 0, 0, 0, 0}, NULL},
    {"10 MB and its framing", {10 * 1000 * 1000, 0, 0, 0, 0}, "messages[3]: 1000000"},
};

static void limits_hold(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        struct err e = {0};
        struct message *m = make(&limits[i].shape, &e);
        CASE_INT(limits[i].name, m == NULL, limits[i].says != NULL);
        if (!m) {
            CASE_INT(limits[i].name, e.code, ERR_INVALID_ARGUMENT);
            if (!strstr(e.msg, limits[i].says))
                fail_msg("case \"%s\": \"%s\" does not say \"%s\"", limits[i].name, e.msg, limits[i].says);
        }
        message_unref(m);
    }
}

static void record_reads_back(void **state)
{
    struct err e;
    struct message *m = make(&(struct shape){1000, 7, 20, 30, 5}, &e);
    struct message *copy = message_from_record(m->record, &e);
    assert_non_null(copy);
    assert_true(str_eq(copy->data, m->data));
    assert_true(str_eq(copy->ordering_key, m->ordering_key));
    assert_int_equal(copy->n_attributes, 7);
    for (size_t i = 0; i < 7; i++) {
        assert_true(str_eq(copy->attributes[i].key, m->attributes[i].key));
        assert_true(str_eq(copy->attributes[i].value, m->attributes[i].value));
    }
    assert_int_equal(copy->record.p[0], MESSAGE_RECORD_VERSION);
    message_unref(message_ref(copy));
    message_unref(copy);
    message_unref(m);
}

/* A record of version 1 as it was first written: it must be readable for ever. */
static void first_record_stays_readable(void **state)
{
    static const char record[] = "\x01\x0a\x02hi\x12\x06\x0a\x01k\x12\x01v\x2a\x03key";
    struct err e;
    struct message *m = message_from_record((struct str){record, sizeof record - 1}, &e);
    assert_non_null(m);
    assert_true(str_is(m->data, "hi"));
    assert_true(str_is(m->ordering_key, "key"));
    assert_true(str_is(m->attributes[0].key, "k"));
    assert_true(str_is(m->attributes[0].value, "v"));
    message_unref(m);
}

static void torn_records_are_refused(void **state)
{
    struct err e;
    struct message *m = make(&(struct shape){20, 2, 5, 5, 5}, &e);
    for (size_t cut = 0; cut < m->record.n; cut++) {
        char *torn = malloc(cut + 1); /* exactly as long, so that a read beyond it is seen */
        memcpy(torn, m->record.p, cut);
        struct message *t = message_from_record((struct str){torn, cut}, &e);
        if (!t)
            assert_int_equal(e.code, ERR_DATA_LOSS);
        message_unref(t); /* cut between two fields it is a shorter message */
        free(torn);
    }
    char *newer = malloc(m->record.n + 1);
    memcpy(newer, m->record.p, m->record.n);
    newer[0] = MESSAGE_RECORD_VERSION + 1;
    assert_null(message_from_record((struct str){newer, m->record.n}, &e));
    assert_int_equal(e.code, ERR_DATA_LOSS);
    free(newer);
    message_unref(m);
}

static void random_records_do_no_harm(void **state)
{
    struct rng rng;
    struct err e;
    rng_seed(&rng, 1);
    for (int i = 0; i < 20000; i++) {
        size_t n = 1 + rng_below(&rng, 40);
        char *bytes = malloc(n);
        for (size_t k = 0; k < n; k++)
            bytes[k] = (char)rng_u64(&rng);
        bytes[0] = MESSAGE_RECORD_VERSION;
        message_unref(message_from_record((struct str){bytes, n}, &e));
        free(bytes);
    }
}

static void out_of_memory(void **state)
{
    struct err e;
    PbMessage m = GOOGLE__PUBSUB__V1__PUBSUB_MESSAGE__INIT;
    m.data = (ProtobufCBinaryData){1, (uint8_t *)(uintptr_t) "x"};
    support_fail_alloc(1);
    assert_null(message_new(&m, 0, &e));
    assert_true(support_alloc_failed());
    assert_int_equal(e.code, ERR_RESOURCE_EXHAUSTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(record_reads_back),
        cmocka_unit_test(first_record_stays_readable),
        cmocka_unit_test(torn_records_are_refused),
        cmocka_unit_test(random_records_do_no_harm),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

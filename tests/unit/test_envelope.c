/** test_envelope.c: what a pushed message looks like, wrapped and unwrapped. */
#include "tests/support/unit.h"

#include "dispatcher/envelope.h"

#include <stdio.h>

#define SUB "projects/proj-test/subscriptions/s1"
#define WALL_NS (INT64_C(1614366835) * NS_PER_S + 749 * NS_PER_MS)

static struct message *make(const char *data, const char *ordering_key, size_t n, const char *const (*attributes)[2])
{
    struct err e = {0};
    Google__Pubsub__V1__PubsubMessage m = GOOGLE__PUBSUB__V1__PUBSUB_MESSAGE__INIT;
    Google__Pubsub__V1__PubsubMessage__AttributesEntry entries[MESSAGE_ATTRIBUTES_MAX], *list[MESSAGE_ATTRIBUTES_MAX];
    for (size_t i = 0; i < n; i++) {
        google__pubsub__v1__pubsub_message__attributes_entry__init(&entries[i]);
        entries[i].key = (char *)attributes[i][0];
        entries[i].value = (char *)attributes[i][1];
        list[i] = &entries[i];
    }
    m.data = (ProtobufCBinaryData){strlen(data), (uint8_t *)data};
    m.ordering_key = (char *)ordering_key;
    m.n_attributes = n;
    m.attributes = list;
    struct message *out = message_new(&m, 0, &e);
    assert_non_null(out);
    snprintf(out->id, sizeof out->id, "2070443601311540");
    out->publish_wall_ns = WALL_NS;
    return out;
}

static void the_wrapped_body_has_both_spellings_and_nothing_that_is_absent(void **state)
{
    static const char *const one[][2] = {{"k", "v"}};
    static const char *const odd[][2] = {{"\"q\"", "line\nbreak \xc3\xa4"}};
    const struct {
        const char *name, *data, *key;
        size_t n;
        const char *const (*attributes)[2];
        uint32_t attempt;
        const char *want;
    } cases[] = {
        {"only data", "hello", "", 0, NULL, 0,
         "{\"message\":{\"data\":\"aGVsbG8=\",\"messageId\":\"2070443601311540\",\"message_id\":\"2070443601311540\","
         "\"publishTime\":\"2021-02-26T19:13:55.749Z\",\"publish_time\":\"2021-02-26T19:13:55.749Z\"},\"subscription\":\"" SUB "\"}"},
        {"everything", "a", "key", 1, one, 5,
         "{\"message\":{\"attributes\":{\"k\":\"v\"},\"data\":\"YQ==\",\"messageId\":\"2070443601311540\",\"message_id\":\"2070443601311540\","
         "\"orderingKey\":\"key\",\"publishTime\":\"2021-02-26T19:13:55.749Z\",\"publish_time\":\"2021-02-26T19:13:55.749Z\"},"
         "\"subscription\":\"" SUB "\",\"deliveryAttempt\":5}"},
        {"no data, odd attributes", "", "", 1, odd, 0,
         "{\"message\":{\"attributes\":{\"\\\"q\\\"\":\"line\\nbreak \xc3\xa4\"},\"messageId\":\"2070443601311540\",\"message_id\":\"2070443601311540\","
         "\"publishTime\":\"2021-02-26T19:13:55.749Z\",\"publish_time\":\"2021-02-26T19:13:55.749Z\"},\"subscription\":\"" SUB "\"}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err e = {0};
        struct buf b;
        struct message *m = make(cases[i].data, cases[i].key, cases[i].n, cases[i].attributes);
        buf_init(&b, ENVELOPE_BODY_MAX);
        CASE_INT(cases[i].name, envelope_wrap(&b, m, SUB, cases[i].attempt, &e), 0);
        CASE_STR(cases[i].name, buf_cstr(&b), cases[i].want);
        buf_fini(&b);
        message_unref(m);
    }
}

static void a_body_that_is_too_large_is_refused(void **state)
{
    struct err e = {0};
    struct buf b;
    struct message *m = make("hello", "", 0, NULL);
    for (size_t max = 0; max < 760; max += 40) {
        buf_init(&b, max);
        int rc = envelope_wrap(&b, m, SUB, 0, &e);
        assert_true(rc == 0 || rc == -ERR_RESOURCE_EXHAUSTED);
        buf_fini(&b);
    }
    message_unref(m);
}

static void the_unwrapped_one_says_it_in_headers(void **state)
{
    static const char *const attributes[][2] = {
        {"color", "red"},
        {"Content-Type", "text/csv"},
        {"Authorization", "Bearer stolen"},
        {"Content-Length", "3"},
        {"Host", "evil"},
        {"bad name", "x"},
        {"bad-value", "a\r\nX-Evil: 1"},
        {"x-goog-pubsub-message-id", "forged"},
        {"Transfer-Encoding", "chunked"},
    };
    struct err e = {0};
    struct headers h = {.n = 0};
    struct str type = {0};
    char time[WALL_TEXT_MAX];
    struct message *m = make("raw", "key", ARRAY_LEN(attributes), attributes);
    assert_int_equal(envelope_headers(&h, m, SUB, time, &type, &e), 0);
    const struct {
        const char *name, *value; /* NULL: must not be there */
    } wants[] = {
        {"x-goog-pubsub-subscription-name", SUB},
        {"x-goog-pubsub-message-id", "2070443601311540"},
        {"x-goog-pubsub-publish-time", "2021-02-26T19:13:55.749Z"},
        {"x-goog-pubsub-ordering-key", "key"},
        {"color", "red"},
        {"authorization", NULL},
        {"content-length", NULL},
        {"host", NULL},
        {"bad name", NULL},
        {"bad-value", NULL},
        {"transfer-encoding", NULL},
        {"content-type", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(wants); i++) {
        struct str got = headers_get(&h, wants[i].name);
        CASE_TRUE(wants[i].name, wants[i].value ? str_is(got, wants[i].value) : got.p == NULL);
    }
    assert_true(str_is(type, "text/csv"));
    assert_int_equal(h.n, 5);
    message_unref(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_wrapped_body_has_both_spellings_and_nothing_that_is_absent),
        cmocka_unit_test(a_body_that_is_too_large_is_refused),
        cmocka_unit_test(the_unwrapped_one_says_it_in_headers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

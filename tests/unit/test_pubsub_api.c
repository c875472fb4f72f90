/** test_pubsub_api.c: the Pub/Sub methods through the registry, on a fake clock and an in-memory store. */
#include "tests/support/support_broker.h"
#include "tests/support/unit.h"

#define P "projects/test-project"

static void publish_pull_acknowledge(void **state)
{
    struct tb tb;
    tb_start(&tb);
    const char *r = tb_call(&tb, ERR_OK, "Publisher/CreateTopic", "{\"name\":\"" P "/topics/tee\",\"labels\":{\"a\":\"b\"}}");
    assert_string_equal(tb_json(r, "name", 0), P "/topics/tee");
    r = tb_call(&tb, ERR_OK, "Subscriber/CreateSubscription", "{\"name\":\"" P "/subscriptions/sub\",\"topic\":\"" P "/topics/tee\"}");
    assert_string_equal(tb_json(r, "ackDeadlineSeconds", 0), "10");
    assert_string_equal(tb_json(r, "messageRetentionDuration", 0), "604800s");
    assert_string_equal(tb_json(r, "ttl", 0), "2678400s");
    assert_string_equal(tb_json(r, "state", 0), "ACTIVE");
    assert_non_null(strstr(r, "\"pushConfig\":{}"));
    r = tb_call(&tb, ERR_OK, "Publisher/Publish",
                "{\"topic\":\"" P "/topics/tee\",\"messages\":[{\"data\":\"b25l\",\"attributes\":{\"k\":\"v\"}},{\"data\":\"dHdv\"}]}");
    assert_int_equal(tb_count(r, "\","), 1);
    r = tb_call(&tb, ERR_OK, "Subscriber/Pull", "{\"subscription\":\"" P "/subscriptions/sub\",\"maxMessages\":10}");
    assert_int_equal(tb_count(r, "\"ackId\""), 2);
    assert_string_equal(tb_json(r, "data", 0), "b25l");
    assert_string_equal(tb_json(r, "k", 0), "v");
    char *one = strdup(tb_json(r, "ackId", 0)), *two = strdup(tb_json(r, "ackId", 1));
    tb_call(&tb, ERR_OK, "Subscriber/Acknowledge", "{\"subscription\":\"" P "/subscriptions/sub\",\"ackIds\":[\"%s\",\"%s\",\"%s\"]}", one,
            two, one);
    free(one);
    free(two);
    r = tb_call(&tb, ERR_OK, "Subscriber/Pull",
                "{\"subscription\":\"" P "/subscriptions/sub\",\"maxMessages\":10,\"returnImmediately\":true}");
    assert_string_equal(r, "{}");
    tb_stop(&tb);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(publish_pull_acknowledge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

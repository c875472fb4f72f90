/** test_pubsub_api.c: the Pub/Sub methods through the registry, on a fake clock and an in-memory store. */
#include "broker/broker.h"
#include "tests/support/support_broker.h"
#include "tests/support/unit.h"

#include <stdio.h>

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

/* ---- helpers ---- */

#define T P "/topics/tee"
#define S P "/subscriptions/sub"

static void setup(struct tb *tb, const char *more)
{
    tb_start(tb);
    tb_call(tb, ERR_OK, "Publisher/CreateTopic", "{\"name\":\"" T "\"}");
    tb_call(tb, ERR_OK, "Subscriber/CreateSubscription", "{\"name\":\"" S "\",\"topic\":\"" T "\"%s}", more);
}

static void publish(struct tb *tb, const char *data, const char *key)
{
    tb_call(tb, ERR_OK, "Publisher/Publish", "{\"topic\":\"" T "\",\"messages\":[{\"data\":\"%s\",\"orderingKey\":\"%s\"}]}", data, key);
}

static const char *pull(struct tb *tb, int max)
{
    return tb_call(tb, ERR_OK, "Subscriber/Pull", "{\"subscription\":\"" S "\",\"maxMessages\":%d,\"returnImmediately\":true}", max);
}

static size_t pulled(struct tb *tb, int max) { return tb_count(pull(tb, max), "\"ackId\""); }

static void acknowledge_all(struct tb *tb, const char *answer)
{
    char ids[4096] = "";
    for (size_t i = 0; tb_json(answer, "ackId", i); i++)
        snprintf(ids + strlen(ids), sizeof ids - strlen(ids), "%s\"%s\"", i ? "," : "", tb_json(answer, "ackId", i));
    tb_call(tb, ERR_OK, "Subscriber/Acknowledge", "{\"subscription\":\"" S "\",\"ackIds\":[%s]}", ids);
}

/* ---- bad input ---- */

static const struct {
    const char *name, *method, *json;
    enum err_code want;
    const char *says;
} refused[] = {
    {"an id that starts with a digit", "Publisher/CreateTopic", "{\"name\":\"" P "/topics/1x\"}", ERR_INVALID_ARGUMENT,
     "Invalid [topics] name: (name=" P "/topics/1x)"},
    {"an id that is too short", "Publisher/CreateTopic", "{\"name\":\"" P "/topics/t1\"}", ERR_INVALID_ARGUMENT, "Invalid [topics] name"},
    {"an id that starts with goog", "Publisher/CreateTopic", "{\"name\":\"" P "/topics/google\"}", ERR_INVALID_ARGUMENT, "goog"},
    {"another collection", "Publisher/CreateTopic", "{\"name\":\"" P "/subscriptions/tee\"}", ERR_INVALID_ARGUMENT, "Invalid [topics]"},
    {"a topic that is there", "Publisher/CreateTopic", "{\"name\":\"" T "\"}", ERR_ALREADY_EXISTS, "Topic already exists"},
    {"a schema", "Publisher/CreateTopic", "{\"name\":\"" T "2\",\"schemaSettings\":{\"schema\":\"x\"}}", ERR_UNIMPLEMENTED,
     "schema_settings"},
    {"a key of a key service", "Publisher/CreateTopic", "{\"name\":\"" T "2\",\"kmsKeyName\":\"x\"}", ERR_UNIMPLEMENTED, "kms_key_name"},
    {"a transform", "Publisher/CreateTopic", "{\"name\":\"" T "2\",\"messageTransforms\":[{}]}", ERR_UNIMPLEMENTED, "message_transforms"},
    {"topic retention below 10 minutes", "Publisher/CreateTopic", "{\"name\":\"" T "2\",\"messageRetentionDuration\":\"599s\"}",
     ERR_INVALID_ARGUMENT, "message_retention_duration"},
    {"an unknown topic", "Publisher/GetTopic", "{\"topic\":\"" T "x\"}", ERR_NOT_FOUND, "Topic not found"},
    {"an update without a mask", "Publisher/UpdateTopic", "{\"topic\":{\"name\":\"" T "\"}}", ERR_INVALID_ARGUMENT, "update_mask"},
    {"an update of the name", "Publisher/UpdateTopic", "{\"topic\":{\"name\":\"" T "\"},\"updateMask\":\"name\"}", ERR_INVALID_ARGUMENT,
     "name"},
    {"an update of nothing known", "Publisher/UpdateTopic", "{\"topic\":{\"name\":\"" T "\"},\"updateMask\":\"colour\"}",
     ERR_INVALID_ARGUMENT, "colour"},
    {"an update without a topic", "Publisher/UpdateTopic", "{\"updateMask\":\"labels\"}", ERR_INVALID_ARGUMENT, "topic"},
    {"no messages", "Publisher/Publish", "{\"topic\":\"" T "\"}", ERR_INVALID_ARGUMENT, "No messages to publish"},
    {"an empty message", "Publisher/Publish", "{\"topic\":\"" T "\",\"messages\":[{\"data\":\"eA==\"},{}]}", ERR_INVALID_ARGUMENT,
     "messages[1]"},
    {"an empty attribute key", "Publisher/Publish", "{\"topic\":\"" T "\",\"messages\":[{\"attributes\":{\"\":\"x\"}}]}",
     ERR_INVALID_ARGUMENT, "messages[0].attributes"},
    {"two ordering keys", "Publisher/Publish",
     "{\"topic\":\"" T "\",\"messages\":[{\"data\":\"eA==\",\"orderingKey\":\"a\"},{\"data\":\"eA==\",\"orderingKey\":\"b\"}]}",
     ERR_INVALID_ARGUMENT, "messages[1].ordering_key"},
    {"publishing to no topic", "Publisher/Publish", "{\"topic\":\"" T "x\",\"messages\":[{\"data\":\"eA==\"}]}", ERR_NOT_FOUND,
     "Topic not found"},
    {"bad base64", "Publisher/Publish", "{\"topic\":\"" T "\",\"messages\":[{\"data\":\"%%%\"}]}", ERR_INVALID_ARGUMENT, "data"},
    {"a subscription to no topic", "Subscriber/CreateSubscription", "{\"name\":\"" S "2\",\"topic\":\"" T "x\"}", ERR_NOT_FOUND,
     "Topic not found"},
    {"a subscription that is there", "Subscriber/CreateSubscription", "{\"name\":\"" S "\",\"topic\":\"" T "\"}", ERR_ALREADY_EXISTS,
     "Subscription already exists"},
    {"an ack deadline of 9 s", "Subscriber/CreateSubscription", "{\"name\":\"" S "2\",\"topic\":\"" T "\",\"ackDeadlineSeconds\":9}",
     ERR_INVALID_ARGUMENT, "ack_deadline_seconds"},
    {"an ack deadline of 601 s", "Subscriber/CreateSubscription", "{\"name\":\"" S "2\",\"topic\":\"" T "\",\"ackDeadlineSeconds\":601}",
     ERR_INVALID_ARGUMENT, "ack_deadline_seconds"},
    {"retention of 32 days", "Subscriber/CreateSubscription",
     "{\"name\":\"" S "2\",\"topic\":\"" T "\",\"messageRetentionDuration\":\"2764800s\"}", ERR_INVALID_ARGUMENT,
     "message_retention_duration"},
    {"a ttl of an hour", "Subscriber/CreateSubscription",
     "{\"name\":\"" S "2\",\"topic\":\"" T "\",\"expirationPolicy\":{\"ttl\":\"3600s\"}}", ERR_INVALID_ARGUMENT, "expiration_policy.ttl"},
    {"a backoff of 601 s", "Subscriber/CreateSubscription",
     "{\"name\":\"" S "2\",\"topic\":\"" T "\",\"retryPolicy\":{\"maximumBackoff\":\"601s\"}}", ERR_INVALID_ARGUMENT, "maximum_backoff"},
    {"a minimum above the maximum", "Subscriber/CreateSubscription",
     "{\"name\":\"" S "2\",\"topic\":\"" T "\",\"retryPolicy\":{\"minimumBackoff\":\"20s\",\"maximumBackoff\":\"10s\"}}",
     ERR_INVALID_ARGUMENT, "minimum_backoff"},
    {"a negative backoff", "Subscriber/CreateSubscription",
     "{\"name\":\"" S "2\",\"topic\":\"" T "\",\"retryPolicy\":{\"minimumBackoff\":\"-1s\"}}", ERR_INVALID_ARGUMENT, "minimum_backoff"},
    {"exactly-once", "Subscriber/CreateSubscription", "{\"name\":\"" S "2\",\"topic\":\"" T "\",\"enableExactlyOnceDelivery\":true}",
     ERR_UNIMPLEMENTED, "enable_exactly_once_delivery"},
    {"BigQuery", "Subscriber/CreateSubscription", "{\"name\":\"" S "2\",\"topic\":\"" T "\",\"bigqueryConfig\":{\"table\":\"x\"}}",
     ERR_UNIMPLEMENTED, "bigquery_config"},
    {"a filter that is no filter", "Subscriber/CreateSubscription", "{\"name\":\"" S "2\",\"topic\":\"" T "\",\"filter\":\"colour = red\"}",
     ERR_INVALID_ARGUMENT, "filter"},
    {"a dead letter topic that is not there", "Subscriber/CreateSubscription",
     "{\"name\":\"" S "2\",\"topic\":\"" T "\",\"deadLetterPolicy\":{\"deadLetterTopic\":\"" T "x\"}}", ERR_NOT_FOUND,
     "Dead letter topic not found"},
    {"four delivery attempts", "Subscriber/CreateSubscription",
     "{\"name\":\"" S "2\",\"topic\":\"" T "\",\"deadLetterPolicy\":{\"deadLetterTopic\":\"" T "\",\"maxDeliveryAttempts\":4}}",
     ERR_INVALID_ARGUMENT, "max_delivery_attempts"},
    {"a token without an endpoint", "Subscriber/CreateSubscription",
     "{\"name\":\"" S "2\",\"topic\":\"" T "\",\"pushConfig\":{\"oidcToken\":{\"serviceAccountEmail\":\"a@b\"}}}", ERR_INVALID_ARGUMENT,
     "push_config"},
    {"a token without an account", "Subscriber/ModifyPushConfig",
     "{\"subscription\":\"" S "\",\"pushConfig\":{\"pushEndpoint\":\"http://x/\",\"oidcToken\":{}}}", ERR_INVALID_ARGUMENT,
     "service_account_email"},
    {"an unknown push attribute", "Subscriber/ModifyPushConfig",
     "{\"subscription\":\"" S "\",\"pushConfig\":{\"pushEndpoint\":\"http://x/\",\"attributes\":{\"a\":\"b\"}}}", ERR_INVALID_ARGUMENT,
     "push_config.attributes"},
    {"an update of the filter", "Subscriber/UpdateSubscription", "{\"subscription\":{\"name\":\"" S "\"},\"updateMask\":\"filter\"}",
     ERR_INVALID_ARGUMENT, "filter"},
    {"an update of the topic", "Subscriber/UpdateSubscription", "{\"subscription\":{\"name\":\"" S "\"},\"updateMask\":\"topic\"}",
     ERR_INVALID_ARGUMENT, "topic"},
    {"an update to a bad value", "Subscriber/UpdateSubscription",
     "{\"subscription\":{\"name\":\"" S "\",\"ackDeadlineSeconds\":1},\"updateMask\":\"ack_deadline_seconds\"}", ERR_INVALID_ARGUMENT,
     "ack_deadline_seconds"},
    {"a pull of nothing", "Subscriber/Pull", "{\"subscription\":\"" S "\"}", ERR_INVALID_ARGUMENT, "No max_messages specified"},
    {"a pull from nowhere", "Subscriber/Pull", "{\"subscription\":\"" S "x\",\"maxMessages\":1}", ERR_NOT_FOUND,
     "Subscription does not exist"},
    {"a bad ack id", "Subscriber/Acknowledge", "{\"subscription\":\"" S "\",\"ackIds\":[\"bad\"]}", ERR_INVALID_ARGUMENT,
     "Invalid ack id (ack_id=bad)"},
    {"no ack ids", "Subscriber/Acknowledge", "{\"subscription\":\"" S "\"}", ERR_INVALID_ARGUMENT, "No ack ids specified."},
    {"a long ack id", "Subscriber/ModifyAckDeadline",
     "{\"subscription\":\"" S "\",\"ackDeadlineSeconds\":10,\"ackIds\":[\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"]}", ERR_INVALID_ARGUMENT,
     "Invalid ack id"},
    {"an extension of 601 s", "Subscriber/ModifyAckDeadline", "{\"subscription\":\"" S "\",\"ackDeadlineSeconds\":601,\"ackIds\":[\"x\"]}",
     ERR_INVALID_ARGUMENT, "ack_deadline_seconds"},
    {"a seek to nothing", "Subscriber/Seek", "{\"subscription\":\"" S "\"}", ERR_INVALID_ARGUMENT, "target"},
    {"a seek to no snapshot", "Subscriber/Seek", "{\"subscription\":\"" S "\",\"snapshot\":\"" P "/snapshots/none\"}", ERR_NOT_FOUND,
     "Snapshot not found"},
    {"a snapshot of nothing", "Subscriber/CreateSnapshot", "{\"name\":\"" P "/snapshots/snap\",\"subscription\":\"" S "x\"}", ERR_NOT_FOUND,
     "Subscription does not exist"},
    {"a page token of another list", "Publisher/ListTopics", "{\"project\":\"" P "\",\"pageToken\":\"xyz\"}", ERR_INVALID_ARGUMENT,
     "pageToken"},
    {"a negative page", "Publisher/ListTopics", "{\"project\":\"" P "\",\"pageSize\":-1}", ERR_INVALID_ARGUMENT, "pageSize"},
    {"a project that is none", "Subscriber/ListSubscriptions", "{\"project\":\"test\"}", ERR_INVALID_ARGUMENT, "projects/PROJECT"},
    {"a deletion of nothing", "Subscriber/DeleteSnapshot", "{\"snapshot\":\"" P "/snapshots/none\"}", ERR_NOT_FOUND, "Snapshot not found"},
};

static void bad_input_is_refused(void **state)
{
    struct tb tb;
    setup(&tb, "");
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        const char *r = tb_call(&tb, refused[i].want, refused[i].method, "%s", refused[i].json);
        if (!strstr(r, refused[i].says))
            fail_msg("case \"%s\": \"%s\" does not say \"%s\"", refused[i].name, r, refused[i].says);
    }
    /* and nothing was made of it */
    assert_int_equal(tb_count(tb_call(&tb, ERR_OK, "Publisher/ListTopics", "{\"project\":\"" P "\"}"), "\"name\""), 1);
    assert_int_equal(tb_count(tb_call(&tb, ERR_OK, "Subscriber/ListSubscriptions", "{\"project\":\"" P "\"}"), "\"name\""), 1);
    tb_restart(&tb, true);
    assert_int_equal(tb_count(tb_call(&tb, ERR_OK, "Publisher/ListTopics", "{\"project\":\"" P "\"}"), "\"name\""), 1);
    tb_stop(&tb);
}

/* ---- pulling ---- */

static void a_pull_waits(void **state)
{
    struct tb tb;
    setup(&tb, "");
    struct tb_call *c = tb_begin(&tb, "Subscriber/Pull", "{\"subscription\":\"" S "\",\"maxMessages\":10}");
    tb_advance(&tb, 5 * NS_PER_S);
    assert_false(c->done);
    publish(&tb, "eA==", "");
    assert_true(c->done);
    assert_int_equal(tb_count(c->text, "\"ackId\""), 1);
    acknowledge_all(&tb, c->text);
    tb_end(c);
    c = tb_begin(&tb, "Subscriber/Pull", "{\"subscription\":\"" S "\",\"maxMessages\":10}");
    tb_advance(&tb, 19 * NS_PER_S);
    assert_false(c->done);
    tb_advance(&tb, NS_PER_S);
    assert_true(c->done);
    assert_string_equal(c->text, "{}");
    tb_end(c);
    c = tb_begin(&tb, "Subscriber/Pull", "{\"subscription\":\"" S "\",\"maxMessages\":10}");
    call_cancel(&c->call);
    assert_true(c->done);
    tb_end(c);
    publish(&tb, "eA==", ""); /* the one that left takes nothing */
    assert_int_equal(pulled(&tb, 10), 1);
    tb_stop(&tb);
}

static void stopping_answers_everybody(void **state)
{
    struct tb tb;
    setup(&tb, "");
    struct tb_call *calls[] = {
        tb_begin(&tb, "Subscriber/Pull", "{\"subscription\":\"" S "\",\"maxMessages\":10}"),
        tb_begin(&tb, "Publisher/Publish", "{\"topic\":\"" T "\",\"messages\":[{\"data\":\"eA==\"}]}"),
        tb_begin(&tb, "Subscriber/CreateSubscription", "{\"name\":\"" S "2\",\"topic\":\"" T "\"}"),
        tb_begin(&tb, "Publisher/CreateTopic", "{\"name\":\"" T "2\"}"),
        tb_begin(&tb, "Subscriber/CreateSnapshot", "{\"name\":\"" P "/snapshots/snap\",\"subscription\":\"" S "\"}"),
        tb_begin(&tb, "Subscriber/Seek", "{\"subscription\":\"" S "\",\"time\":\"2025-12-31T00:00:00Z\"}"),
    };
    tb_stop(&tb);
    for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
        assert_true(calls[i]->done);
        assert_int_equal(calls[i]->call.err.code, ERR_OK);
        tb_end(calls[i]);
    }
}

static void pulls_do_not_hold_up_the_end(void **state)
{
    struct tb tb;
    setup(&tb, "");
    struct tb_call *waits = tb_begin(&tb, "Subscriber/Pull", "{\"subscription\":\"" S "\",\"maxMessages\":10}");
    assert_false(waits->done);
    broker_end_pulls(tb.broker);
    assert_true(waits->done);
    struct tb_call *late = tb_begin(&tb, "Subscriber/Pull", "{\"subscription\":\"" S "\",\"maxMessages\":10}");
    assert_false(late->done);
    tb_advance(&tb, NS_PER_S);
    assert_true(late->done);
    tb_end(waits);
    tb_end(late);
    publish(&tb, "eA==", "");
    assert_int_equal(pulled(&tb, 1), 1); /* what is there is still given */
    tb_stop(&tb);
}

static void nack_and_expiry(void **state)
{
    struct tb tb;
    setup(&tb, "");
    publish(&tb, "eA==", "");
    const char *r = pull(&tb, 10);
    assert_null(strstr(r, "deliveryAttempt"));
    char *id = strdup(tb_json(r, "ackId", 0));
    assert_int_equal(pulled(&tb, 10), 0);
    tb_call(&tb, ERR_OK, "Subscriber/ModifyAckDeadline", "{\"subscription\":\"" S "\",\"ackIds\":[\"%s\"],\"ackDeadlineSeconds\":0}", id);
    assert_int_equal(pulled(&tb, 10), 1);
    tb_call(&tb, ERR_OK, "Subscriber/Acknowledge", "{\"subscription\":\"" S "\",\"ackIds\":[\"%s\"]}", id); /* too late: ignored */
    free(id);
    tb_advance(&tb, 9 * NS_PER_S);
    assert_int_equal(pulled(&tb, 10), 0);
    tb_advance(&tb, 2 * NS_PER_S);
    r = pull(&tb, 10);
    assert_int_equal(tb_count(r, "\"ackId\""), 1);
    id = strdup(tb_json(r, "ackId", 0));
    tb_call(&tb, ERR_OK, "Subscriber/ModifyAckDeadline", "{\"subscription\":\"" S "\",\"ackIds\":[\"%s\"],\"ackDeadlineSeconds\":60}", id);
    tb_advance(&tb, 30 * NS_PER_S);
    assert_int_equal(pulled(&tb, 10), 0);
    tb_call(&tb, ERR_OK, "Subscriber/Acknowledge", "{\"subscription\":\"" S "\",\"ackIds\":[\"%s\"]}", id);
    free(id);
    tb_advance(&tb, 600 * NS_PER_S);
    assert_int_equal(pulled(&tb, 10), 0);
    tb_stop(&tb);
}

static void ordered_pull(void **state)
{
    struct tb tb;
    setup(&tb, ",\"enableMessageOrdering\":true");
    static const char *const data[] = {"MQ==", "Mg==", "Mw=="};
    for (size_t i = 0; i < 3; i++)
        publish(&tb, data[i], "key");
    const char *r = pull(&tb, 10);
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(tb_json(r, "data", i), data[i]);
    tb_call(&tb, ERR_OK, "Subscriber/ModifyAckDeadline", "{\"subscription\":\"" S "\",\"ackIds\":[\"%s\"],\"ackDeadlineSeconds\":0}",
            tb_json(r, "ackId", 1));
    assert_int_equal(pulled(&tb, 10), 0); /* the first is still out */
    tb_advance(&tb, 11 * NS_PER_S);
    r = pull(&tb, 10);
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(tb_json(r, "data", i), data[i]);
    tb_stop(&tb);
}

static void nothing_is_lost_when_full(void **state)
{
    struct tb tb;
    setup(&tb, "");
    tb.store_fails = ERR_RESOURCE_EXHAUSTED;
    tb_call(&tb, ERR_RESOURCE_EXHAUSTED, "Publisher/Publish", "{\"topic\":\"" T "\",\"messages\":[{\"data\":\"bm8=\"}]}");
    tb_call(&tb, ERR_RESOURCE_EXHAUSTED, "Publisher/CreateTopic", "{\"name\":\"" T "2\"}");
    tb_call(&tb, ERR_RESOURCE_EXHAUSTED, "Publisher/DeleteTopic", "{\"topic\":\"" T "\"}");
    tb_call(&tb, ERR_RESOURCE_EXHAUSTED, "Subscriber/UpdateSubscription",
            "{\"subscription\":{\"name\":\"" S "\",\"ackDeadlineSeconds\":99},\"updateMask\":\"ackDeadlineSeconds\"}");
    tb.store_fails = ERR_OK;
    assert_null(strstr(tb_call(&tb, ERR_OK, "Subscriber/GetSubscription", "{\"subscription\":\"" S "\"}"), "99"));
    tb_call(&tb, ERR_NOT_FOUND, "Publisher/GetTopic", "{\"topic\":\"" T "2\"}");
    publish(&tb, "eWVz", "");
    const char *r = pull(&tb, 10);
    assert_int_equal(tb_count(r, "\"ackId\""), 1);
    assert_string_equal(tb_json(r, "data", 0), "eWVz");
    tb_stop(&tb);
}

/* ---- resources ---- */

static void updates(void **state)
{
    struct tb tb;
    setup(&tb, "");
    const char *r = tb_call(&tb, ERR_OK, "Publisher/UpdateTopic",
                            "{\"topic\":{\"name\":\"" T "\",\"labels\":{\"a\":\"c\"},\"messageRetentionDuration\":\"600s\"},"
                            "\"updateMask\":\"labels\"}");
    assert_string_equal(tb_json(r, "a", 0), "c");
    assert_null(tb_json(r, "messageRetentionDuration", 0));
    r = tb_call(&tb, ERR_OK, "Subscriber/UpdateSubscription",
                "{\"subscription\":{\"name\":\"" S "\",\"ackDeadlineSeconds\":33,\"retainAckedMessages\":true},"
                "\"updateMask\":\"ack_deadline_seconds\"}");
    assert_string_equal(tb_json(r, "ackDeadlineSeconds", 0), "33");
    assert_null(tb_json(r, "retainAckedMessages", 0));
    r = tb_call(&tb, ERR_OK, "Subscriber/UpdateSubscription",
                "{\"subscription\":{\"name\":\"" S "\"},\"updateMask\":\"ackDeadlineSeconds,expirationPolicy\"}");
    assert_string_equal(tb_json(r, "ackDeadlineSeconds", 0), "10"); /* back to the defaults */
    tb_restart(&tb, true);
    r = tb_call(&tb, ERR_OK, "Publisher/GetTopic", "{\"topic\":\"" T "\"}");
    assert_string_equal(tb_json(r, "a", 0), "c");
    tb_stop(&tb);
}

static void push_configuration(void **state)
{
    struct tb tb;
    setup(&tb, "");
    tb_call(&tb, ERR_OK, "Subscriber/ModifyPushConfig",
            "{\"subscription\":\"" S
            "\",\"pushConfig\":{\"pushEndpoint\":\"http://127.0.0.1:9/\",\"attributes\":{\"x-goog-version\":\"v1\"},"
            "\"oidcToken\":{\"serviceAccountEmail\":\"a@b\",\"audience\":\"aud\"}}}");
    assert_string_equal(subscription_config(tb.watched.s)->push_config->push_endpoint, "http://127.0.0.1:9/");
    assert_false(tb.watched.gone);
    tb_call(&tb, ERR_FAILED_PRECONDITION, "Subscriber/Pull", "{\"subscription\":\"" S "\",\"maxMessages\":1}");
    const char *r = tb_call(&tb, ERR_OK, "Subscriber/GetSubscription", "{\"subscription\":\"" S "\"}");
    assert_string_equal(tb_json(r, "audience", 0), "aud");
    tb_call(&tb, ERR_OK, "Subscriber/ModifyPushConfig", "{\"subscription\":\"" S "\",\"pushConfig\":{}}");
    r = tb_call(&tb, ERR_OK, "Subscriber/GetSubscription", "{\"subscription\":\"" S "\"}");
    assert_non_null(strstr(r, "\"pushConfig\":{}"));
    tb_stop(&tb);
}

static void detach(void **state)
{
    struct tb tb;
    setup(&tb, "");
    publish(&tb, "eA==", "");
    struct tb_call *c = tb_begin(&tb, "Subscriber/Pull", "{\"subscription\":\"" S "\",\"maxMessages\":10}");
    tb_run(&tb);
    tb_end(c);
    c = tb_begin(&tb, "Subscriber/Pull", "{\"subscription\":\"" S "\",\"maxMessages\":10}");
    tb_run(&tb);
    tb_call(&tb, ERR_OK, "Publisher/DetachSubscription", "{\"subscription\":\"" S "\"}");
    assert_int_equal(c->call.err.code, ERR_FAILED_PRECONDITION);
    tb_end(c);
    for (int restarted = 0; restarted < 2; restarted++) {
        const char *r = tb_call(&tb, ERR_OK, "Subscriber/GetSubscription", "{\"subscription\":\"" S "\"}");
        assert_string_equal(tb_json(r, "detached", 0), "true");
        tb_call(&tb, ERR_FAILED_PRECONDITION, "Subscriber/Pull", "{\"subscription\":\"" S "\",\"maxMessages\":1}");
        tb_call(&tb, ERR_FAILED_PRECONDITION, "Subscriber/Seek", "{\"subscription\":\"" S "\",\"time\":\"2026-01-01T00:00:00Z\"}");
        tb_call(&tb, ERR_FAILED_PRECONDITION, "Subscriber/CreateSnapshot",
                "{\"name\":\"" P "/snapshots/snap\",\"subscription\":\"" S "\"}");
        publish(&tb, "eA==", "");
        tb_restart(&tb, restarted);
    }
    tb_call(&tb, ERR_OK, "Subscriber/DeleteSubscription", "{\"subscription\":\"" S "\"}");
    tb_stop(&tb);
}

static void deleted_topic(void **state)
{
    struct tb tb;
    setup(&tb, "");
    publish(&tb, "eA==", "");
    publish(&tb, "eQ==", "");
    tb_call(&tb, ERR_OK, "Publisher/DeleteTopic", "{\"topic\":\"" T "\"}");
    assert_string_equal(tb.gone, T);
    tb_call(&tb, ERR_NOT_FOUND, "Publisher/GetTopic", "{\"topic\":\"" T "\"}");
    tb_call(&tb, ERR_OK, "Publisher/CreateTopic", "{\"name\":\"" T "\"}"); /* an entirely new one */
    const char *r = tb_call(&tb, ERR_OK, "Publisher/ListTopicSubscriptions", "{\"topic\":\"" T "\"}");
    assert_string_equal(r, "{}");
    tb_restart(&tb, true);
    publish(&tb, "eg==", "");
    r = tb_call(&tb, ERR_OK, "Subscriber/GetSubscription", "{\"subscription\":\"" S "\"}");
    assert_string_equal(tb_json(r, "topic", 0), "_deleted-topic_");
    r = pull(&tb, 10);
    assert_int_equal(tb_count(r, "\"ackId\""), 2);
    tb_call(&tb, ERR_OK, "Subscriber/DeleteSubscription", "{\"subscription\":\"" S "\"}");
    assert_string_equal(tb.gone, S);
    tb_restart(&tb, false);
    tb_call(&tb, ERR_OK, "Publisher/GetTopic", "{\"topic\":\"" T "\"}");
    tb_stop(&tb);
}

static void lists_in_pages(void **state)
{
    struct tb tb;
    tb_start(&tb);
    for (int i = 0; i < 7; i++)
        tb_call(&tb, ERR_OK, "Publisher/CreateTopic", "{\"name\":\"" P "/topics/topic-%d\"}", i);
    tb_call(&tb, ERR_OK, "Publisher/CreateTopic", "{\"name\":\"projects/other/topics/topic-9\"}");
    char token[512] = "";
    size_t total = 0;
    for (int page = 0; page < 10; page++) {
        const char *r = tb_call(&tb, ERR_OK, "Publisher/ListTopics", "{\"project\":\"" P "\",\"pageSize\":3,\"pageToken\":\"%s\"}", token);
        for (size_t i = 0; tb_json(r, "name", i); i++) {
            char want[64];
            snprintf(want, sizeof want, P "/topics/topic-%zu", total++);
            assert_string_equal(tb_json(r, "name", i), want);
        }
        if (!tb_json(r, "nextPageToken", 0))
            break;
        snprintf(token, sizeof token, "%s", tb_json(r, "nextPageToken", 0));
    }
    assert_int_equal(total, 7);
    assert_string_equal(tb_call(&tb, ERR_OK, "Publisher/ListTopics", "{\"project\":\"projects/empty\"}"), "{}");
    tb_stop(&tb);
}

static void two_changes_at_once(void **state)
{
    struct tb tb;
    tb_start(&tb);
    struct tb_call *a = tb_begin(&tb, "Publisher/CreateTopic", "{\"name\":\"" T "\"}");
    struct tb_call *b = tb_begin(&tb, "Publisher/CreateTopic", "{\"name\":\"" T "\"}");
    assert_int_equal(b->call.err.code, ERR_ABORTED);
    assert_false(a->done);
    struct tb_call *c = tb_begin(&tb, "Publisher/GetTopic", "{\"topic\":\"" T "\"}"); /* not visible yet */
    assert_int_equal(c->call.err.code, ERR_NOT_FOUND);
    tb_run(&tb);
    assert_true(a->done);
    tb_end(a);
    tb_end(b);
    tb_end(c);
    tb_stop(&tb);
}

/* ---- seek and snapshots ---- */

static void seek_and_snapshots(void **state)
{
    struct tb tb;
    setup(&tb, ",\"retainAckedMessages\":true");
    publish(&tb, "MQ==", "");
    publish(&tb, "Mg==", "");
    const char *r = pull(&tb, 1);
    acknowledge_all(&tb, r);
    r = tb_call(&tb, ERR_OK, "Subscriber/CreateSnapshot",
                "{\"name\":\"" P "/snapshots/snap\",\"subscription\":\"" S "\",\"labels\":{\"a\":\"b\"}}");
    assert_string_equal(tb_json(r, "topic", 0), T);
    assert_string_equal(tb_json(r, "expireTime", 0), "2026-01-08T00:00:00Z");
    tb_call(&tb, ERR_ALREADY_EXISTS, "Subscriber/CreateSnapshot", "{\"name\":\"" P "/snapshots/snap\",\"subscription\":\"" S "\"}");
    acknowledge_all(&tb, pull(&tb, 10));
    assert_int_equal(pulled(&tb, 10), 0);
    tb_call(&tb, ERR_OK, "Subscriber/Seek", "{\"subscription\":\"" S "\",\"snapshot\":\"" P "/snapshots/snap\"}");
    r = pull(&tb, 10);
    assert_int_equal(tb_count(r, "\"ackId\""), 1);
    assert_string_equal(tb_json(r, "data", 0), "Mg==");
    tb_call(&tb, ERR_OK, "Subscriber/Seek", "{\"subscription\":\"" S "\",\"time\":\"2025-12-31T23:00:00Z\"}");
    assert_int_equal(pulled(&tb, 10), 2);
    tb_call(&tb, ERR_OK, "Subscriber/Seek", "{\"subscription\":\"" S "\",\"time\":\"2027-01-01T00:00:00Z\"}");
    assert_int_equal(pulled(&tb, 10), 0);
    tb_restart(&tb, true);
    assert_int_equal(pulled(&tb, 10), 0);
    r = tb_call(&tb, ERR_OK, "Publisher/ListTopicSnapshots", "{\"topic\":\"" T "\"}");
    assert_non_null(strstr(r, P "/snapshots/snap"));
    r = tb_call(&tb, ERR_OK, "Subscriber/UpdateSnapshot",
                "{\"snapshot\":{\"name\":\"" P "/snapshots/snap\",\"labels\":{\"a\":\"z\"}},\"updateMask\":\"labels\"}");
    assert_string_equal(tb_json(r, "a", 0), "z");
    tb_call(&tb, ERR_OK, "Subscriber/Seek", "{\"subscription\":\"" S "\",\"snapshot\":\"" P "/snapshots/snap\"}");
    assert_int_equal(pulled(&tb, 10), 1);
    tb_advance(&tb, (7 * 24 * 3600 + 120) * NS_PER_S);
    tb_call(&tb, ERR_NOT_FOUND, "Subscriber/GetSnapshot", "{\"snapshot\":\"" P "/snapshots/snap\"}"); /* it expired */
    tb_stop(&tb);
}

static void old_backlog_has_no_snapshot(void **state)
{
    struct tb tb;
    setup(&tb, "");
    publish(&tb, "MQ==", "");
    tb_advance(&tb, (7 * 24 - 2) * 3600 * NS_PER_S);
    const char *r = tb_call(&tb, ERR_OK, "Subscriber/CreateSnapshot", "{\"name\":\"" P "/snapshots/snap\",\"subscription\":\"" S "\"}");
    assert_string_equal(tb_json(r, "expireTime", 0), "2026-01-08T00:00:00Z");
    tb_advance(&tb, 5400 * NS_PER_S);
    tb_call(&tb, ERR_FAILED_PRECONDITION, "Subscriber/CreateSnapshot", "{\"name\":\"" P "/snapshots/two\",\"subscription\":\"" S "\"}");
    tb_stop(&tb);
}

/* ---- dead letters, filters, expiry ---- */

static void dead_letters(void **state)
{
    struct tb tb;
    tb_start(&tb);
    tb_call(&tb, ERR_OK, "Publisher/CreateTopic", "{\"name\":\"" T "\"}");
    tb_call(&tb, ERR_OK, "Publisher/CreateTopic", "{\"name\":\"" P "/topics/dead\"}");
    tb_call(&tb, ERR_OK, "Subscriber/CreateSubscription", "{\"name\":\"" P "/subscriptions/dead\",\"topic\":\"" P "/topics/dead\"}");
    tb_call(&tb, ERR_OK, "Subscriber/CreateSubscription",
            "{\"name\":\"" S "\",\"topic\":\"" T "\",\"deadLetterPolicy\":{\"deadLetterTopic\":\"" P "/topics/dead\"}}");
    tb_call(&tb, ERR_OK, "Publisher/Publish", "{\"topic\":\"" T "\",\"messages\":[{\"data\":\"eA==\",\"attributes\":{\"k\":\"v\"}}]}");
    for (int attempt = 1; attempt <= 5; attempt++) {
        const char *r = pull(&tb, 10);
        char want[16];
        snprintf(want, sizeof want, "%d", attempt);
        assert_string_equal(tb_json(r, "deliveryAttempt", 0), want);
        tb_call(&tb, ERR_OK, "Subscriber/ModifyAckDeadline", "{\"subscription\":\"" S "\",\"ackIds\":[\"%s\"],\"ackDeadlineSeconds\":0}",
                tb_json(r, "ackId", 0));
        tb_advance(&tb, NS_PER_S);
        if (attempt == 3)
            tb_restart(&tb, true); /* the count outlives it */
    }
    assert_int_equal(pulled(&tb, 10), 0);
    const char *r = tb_call(&tb, ERR_OK, "Subscriber/Pull", "{\"subscription\":\"" P "/subscriptions/dead\",\"maxMessages\":10}");
    assert_string_equal(tb_json(r, "data", 0), "eA==");
    assert_string_equal(tb_json(r, "k", 0), "v");
    assert_string_equal(tb_json(r, "CloudPubSubDeadLetterSourceDeliveryCount", 0), "5");
    assert_string_equal(tb_json(r, "CloudPubSubDeadLetterSourceSubscription", 0), "sub");
    assert_string_equal(tb_json(r, "CloudPubSubDeadLetterSourceSubscriptionProject", 0), "test-project");
    assert_string_equal(tb_json(r, "CloudPubSubDeadLetterSourceTopicPublishTime", 0), "2026-01-01T00:00:00.000+00:00");
    /* Without the dead-letter topic nothing is lost: delivery just goes on, and other changes are possible. */
    tb_call(&tb, ERR_OK, "Publisher/DeleteTopic", "{\"topic\":\"" P "/topics/dead\"}");
    tb_call(&tb, ERR_OK, "Subscriber/UpdateSubscription",
            "{\"subscription\":{\"name\":\"" S "\",\"ackDeadlineSeconds\":11},\"updateMask\":\"ackDeadlineSeconds\"}");
    tb_call(&tb, ERR_OK, "Publisher/Publish", "{\"topic\":\"" T "\",\"messages\":[{\"data\":\"eA==\"}]}");
    for (int attempt = 1; attempt <= 8; attempt++) {
        r = pull(&tb, 10);
        assert_int_equal(tb_count(r, "\"ackId\""), 1);
        tb_call(&tb, ERR_OK, "Subscriber/ModifyAckDeadline", "{\"subscription\":\"" S "\",\"ackIds\":[\"%s\"],\"ackDeadlineSeconds\":0}",
                tb_json(r, "ackId", 0));
        tb_advance(&tb, 6 * NS_PER_S);
    }
    tb_stop(&tb);
}

static void filters(void **state)
{
    struct tb tb;
    setup(&tb, ",\"filter\":\"attributes.kind = \\\"a\\\"\"");
    tb_call(&tb, ERR_OK, "Publisher/Publish",
            "{\"topic\":\"" T "\",\"messages\":[{\"data\":\"MQ==\",\"attributes\":{\"kind\":\"b\"}},"
            "{\"data\":\"Mg==\",\"attributes\":{\"kind\":\"a\"}},{\"data\":\"Mw==\"}]}");
    const char *r = pull(&tb, 10);
    assert_int_equal(tb_count(r, "\"ackId\""), 1);
    assert_string_equal(tb_json(r, "data", 0), "Mg==");
    tb_stop(&tb);
}

static void unused_subscriptions_expire(void **state)
{
    struct tb tb;
    setup(&tb, ",\"expirationPolicy\":{\"ttl\":\"86400s\"}");
    tb_call(&tb, ERR_OK, "Subscriber/CreateSubscription",
            "{\"name\":\"" P "/subscriptions/ever\",\"topic\":\"" T "\",\"expirationPolicy\":{}}");
    tb_advance(&tb, 20 * 3600 * NS_PER_S);
    assert_int_equal(pulled(&tb, 10), 0); /* activity */
    struct tb_call *c = tb_begin(&tb, "Subscriber/Pull", "{\"subscription\":\"" S "\",\"maxMessages\":1}");
    tb_advance(&tb, 23 * 3600 * NS_PER_S);
    tb_end(c);
    tb_restart(&tb, true); /* does not start the clock again */
    tb_call(&tb, ERR_OK, "Subscriber/GetSubscription", "{\"subscription\":\"" S "\"}");
    tb_advance(&tb, 2 * 3600 * NS_PER_S);
    tb_call(&tb, ERR_NOT_FOUND, "Subscriber/GetSubscription", "{\"subscription\":\"" S "\"}");
    assert_string_equal(tb.gone, S);
    tb_advance(&tb, (int64_t)400 * 24 * 3600 * NS_PER_S);
    tb_call(&tb, ERR_OK, "Subscriber/GetSubscription", "{\"subscription\":\"" P "/subscriptions/ever\"}");
    tb_stop(&tb);
}

static void ack_ids_end_with_their_subscription(void **state)
{
    struct tb tb;
    setup(&tb, "");
    publish(&tb, "b25l", "");
    char *old = strdup(tb_json(pull(&tb, 1), "ackId", 0));
    tb_call(&tb, ERR_OK, "Subscriber/DeleteSubscription", "{\"subscription\":\"" S "\"}");
    tb_call(&tb, ERR_OK, "Subscriber/CreateSubscription", "{\"name\":\"" S "\",\"topic\":\"" T "\"}");
    publish(&tb, "dHdv", "");
    assert_int_equal(pulled(&tb, 1), 1);
    tb_call(&tb, ERR_OK, "Subscriber/Acknowledge", "{\"subscription\":\"" S "\",\"ackIds\":[\"%s\"]}", old);
    free(old);
    tb_advance(&tb, 11 * NS_PER_S);
    assert_int_equal(pulled(&tb, 1), 1); /* it was never acknowledged */
    tb_stop(&tb);
}

/* ---- from other parts of the server ---- */

struct told {
    size_t calls;
    enum err_code code;
};

static void on_told(void *arg, const struct err *e)
{
    struct told *t = arg;
    t->calls++;
    t->code = e ? e->code : ERR_OK;
}

static void published_from_within(void **state)
{
    struct tb tb;
    struct told told = {0};
    Google__Pubsub__V1__PubsubMessage m = GOOGLE__PUBSUB__V1__PUBSUB_MESSAGE__INIT;
    m.data = (ProtobufCBinaryData){2, (uint8_t *)"hi"};
    setup(&tb, "");
    broker_publish(tb.broker, T, &m, on_told, &told);
    assert_int_equal(told.calls, 0); /* not before it is durable */
    tb_run(&tb);
    assert_int_equal(told.calls, 1);
    assert_int_equal(told.code, ERR_OK);
    assert_string_equal(tb_json(pull(&tb, 1), "data", 0), "aGk=");
    broker_publish(tb.broker, T "x", &m, on_told, &told);
    assert_int_equal(told.code, ERR_NOT_FOUND);
    m.data.len = 0; /* neither data nor attributes */
    broker_publish(tb.broker, T, &m, on_told, &told);
    assert_int_equal(told.code, ERR_INVALID_ARGUMENT);
    m.data.len = 2;
    tb.store_fails = ERR_UNAVAILABLE;
    broker_publish(tb.broker, T, &m, on_told, &told);
    tb_run(&tb);
    tb.store_fails = ERR_OK;
    assert_int_equal(told.calls, 4);
    assert_int_equal(told.code, ERR_UNAVAILABLE);
    broker_publish(tb.broker, T, &m, on_told, &told); /* its topic goes meanwhile */
    tb_call(&tb, ERR_OK, "Publisher/DeleteTopic", "{\"topic\":\"" T "\"}");
    assert_int_equal(told.calls, 5);
    tb_stop(&tb);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(publish_pull_acknowledge),
        cmocka_unit_test(published_from_within),
        cmocka_unit_test(bad_input_is_refused),
        cmocka_unit_test(a_pull_waits),
        cmocka_unit_test(stopping_answers_everybody),
        cmocka_unit_test(pulls_do_not_hold_up_the_end),
        cmocka_unit_test(nack_and_expiry),
        cmocka_unit_test(ordered_pull),
        cmocka_unit_test(nothing_is_lost_when_full),
        cmocka_unit_test(updates),
        cmocka_unit_test(push_configuration),
        cmocka_unit_test(detach),
        cmocka_unit_test(deleted_topic),
        cmocka_unit_test(lists_in_pages),
        cmocka_unit_test(two_changes_at_once),
        cmocka_unit_test(seek_and_snapshots),
        cmocka_unit_test(old_backlog_has_no_snapshot),
        cmocka_unit_test(dead_letters),
        cmocka_unit_test(filters),
        cmocka_unit_test(unused_subscriptions_expire),
        cmocka_unit_test(ack_ids_end_with_their_subscription),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

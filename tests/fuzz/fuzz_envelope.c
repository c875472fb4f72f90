/* fuzz_envelope.c: from a published message, or a stored record, to what is pushed. The wrapped body read by another reader (cJSON) has
 * the same data, attributes, key, id, time and attempt; the unwrapped one's headers are a request that reads as exactly those headers,
 * so that no attribute can speak for the connection.
 * Input: a byte with the attempt; then the record: 1 and a PubsubMessage as protobuf bytes. The same bytes are tried as a publish. */
#include "core/base/text.h"
#include "core/http/h1.h"
#include "core/rpc/pb.h"
#include "dispatcher/envelope.h"
#include "tests/fuzz/fuzz.h"

#include <cjson/cJSON.h>

#define SUBSCRIPTION "projects/p/subscriptions/s"

static bool is_text(struct str s) { return utf8_valid(s.p, s.n) && !memchr(s.p, 0, s.n); }

static void check_string(const cJSON *o, const char *name, struct str want)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, name);
    FUZZ_CHECK(cJSON_IsString(v) || want.n == 0, "\"%s\" is missing", name);
    /* cJSON cuts at a NUL, and what is no UTF-8 was replaced. */
    FUZZ_CHECK(!is_text(want) || want.n == 0 || str_is(want, v->valuestring), "\"%s\" is \"%s\"", name, v->valuestring);
}

static void check_data(const cJSON *message, struct str want)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(message, "data");
    FUZZ_CHECK(cJSON_IsString(v) == (want.n > 0), "data is %s", v ? "there" : "missing");
    if (!v)
        return;
    size_t n = strlen(v->valuestring), got;
    char *bytes = malloc(BASE64_DECODED_MAX(n));
    FUZZ_MUST(bytes);
    FUZZ_CHECK(base64_decode(v->valuestring, n, bytes, &got, NULL) == 0 && str_eq((struct str){bytes, got}, want), "other data");
    free(bytes);
}

static void check_attributes(const cJSON *message, const struct message *m)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(message, "attributes");
    FUZZ_CHECK(cJSON_IsObject(v) == (m->n_attributes > 0), "attributes are %s", v ? "there" : "missing");
    const cJSON *at = v ? v->child : NULL;
    for (uint32_t i = 0; i < m->n_attributes; i++, at = at->next) {
        FUZZ_CHECK(at && cJSON_IsString(at), "attribute %u is missing", i);
        FUZZ_CHECK(!is_text(m->attributes[i].key) || str_is(m->attributes[i].key, at->string), "attribute %u is %s", i, at->string);
        FUZZ_CHECK(!is_text(m->attributes[i].value) || str_is(m->attributes[i].value, at->valuestring), "attribute %u is %s", i,
                   at->valuestring);
    }
    FUZZ_CHECK(!at, "there are more attributes");
}

static void check_time(const cJSON *message, const char *name, int64_t wall_ns)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(message, name);
    int64_t got;
    FUZZ_CHECK(cJSON_IsString(v) && wall_parse(v->valuestring, strlen(v->valuestring), &got, NULL) == 0 && got == wall_ns, "%s is not %lld",
               name, (long long)wall_ns);
}

static void check_wrapped(const struct message *m, uint32_t attempt)
{
    struct buf b;
    struct err e = {0};
    buf_init(&b, ENVELOPE_BODY_MAX);
    FUZZ_CHECK(envelope_wrap(&b, m, SUBSCRIPTION, attempt, &e) == 0, "%s", e.msg);
    cJSON *root = cJSON_ParseWithLength(buf_data(&b), buf_len(&b));
    FUZZ_CHECK(root, "not JSON: %.*s", (int)buf_len(&b), buf_data(&b));
    const cJSON *message = cJSON_GetObjectItemCaseSensitive(root, "message");
    const cJSON *tries = cJSON_GetObjectItemCaseSensitive(root, "deliveryAttempt");
    check_string(root, "subscription", STR(SUBSCRIPTION));
    FUZZ_CHECK(attempt ? cJSON_IsNumber(tries) && tries->valuedouble == attempt : !tries, "another attempt than %u", attempt);
    check_data(message, m->data);
    check_attributes(message, m);
    check_string(message, "orderingKey", m->ordering_key);
    check_string(message, "messageId", str_of(m->id));
    check_string(message, "message_id", str_of(m->id));
    check_time(message, "publishTime", m->publish_wall_ns);
    check_time(message, "publish_time", m->publish_wall_ns);
    cJSON_Delete(root);
    buf_fini(&b);
}

/* The headers as a request, read again. */
static void check_unwrapped(const struct message *m)
{
    struct headers h = {.n = 0}, again;
    struct h1_head head;
    struct str content_type = {NULL, 0};
    char time[WALL_TEXT_MAX];
    struct err e = {0};
    struct buf b;
    if (envelope_headers(&h, m, SUBSCRIPTION, time, &content_type, &e)) {
        FUZZ_CHECK(e.code == ERR_RESOURCE_EXHAUSTED, "%s", e.msg); /* a record may hold more attributes than there are headers */
        return;
    }
    FUZZ_CHECK(!content_type.p || header_value_valid(content_type), "a content type with a line break");
    buf_init(&b, 64u * 1024 * 1024);
    FUZZ_MUST(buf_addz(&b, "POST / HTTP/1.1\r\n") == 0);
    for (uint32_t i = 0; i < h.n; i++)
        FUZZ_MUST(buf_addf(&b, "%.*s: ", (int)h.v[i].name.n, h.v[i].name.p) == 0 && buf_add(&b, h.v[i].value.p, h.v[i].value.n) == 0 &&
                  buf_addz(&b, "\r\n") == 0);
    FUZZ_MUST(buf_addz(&b, "\r\n") == 0);
    if (h1_request_parse(buf_data(&b), buf_len(&b), &head, &again, &e) == 0) {
        FUZZ_CHECK(again.n == h.n, "%u headers read as %u", h.n, again.n);
        FUZZ_CHECK(head.framing == H1_NO_BODY && !head.hosts && !head.upgrade && head.keep_alive && !head.expect_continue,
                   "an attribute changes how the request is read");
    } else {
        FUZZ_CHECK(strstr(e.msg, "control character"), "the headers are no request: %s", e.msg); /* which values may hold */
    }
    buf_fini(&b);
}

static void check_same(const struct message *m, const struct message *n)
{
    FUZZ_CHECK(str_eq(m->record, n->record) && str_eq(m->data, n->data) && str_eq(m->ordering_key, n->ordering_key) &&
                   m->n_attributes == n->n_attributes,
               "the record reads as another message");
    for (uint32_t i = 0; i < m->n_attributes; i++)
        FUZZ_CHECK(str_eq(m->attributes[i].key, n->attributes[i].key) && str_eq(m->attributes[i].value, n->attributes[i].value),
                   "attribute %u has changed", i);
}

/* As a publish: what is accepted reads back from its record as it was given. */
static void check_published(struct str bytes)
{
    Google__Pubsub__V1__PubsubMessage *pb = pb_unpack_heap(&google__pubsub__v1__pubsub_message__descriptor, bytes);
    struct err e = {0};
    struct message *m = pb ? message_new(pb, 0, &e) : NULL;
    if (m) {
        struct message *again = message_from_record(m->record, &e);
        FUZZ_CHECK(again, "its record cannot be read: %s", e.msg);
        check_same(m, again);
        FUZZ_CHECK(m->n_attributes == pb->n_attributes && m->data.n == pb->data.len && str_is(m->ordering_key, pb->ordering_key),
                   "the message is not what was published");
        for (uint32_t i = 0; i < m->n_attributes; i++)
            FUZZ_CHECK(str_is(m->attributes[i].key, pb->attributes[i]->key) && str_is(m->attributes[i].value, pb->attributes[i]->value),
                       "attribute %u is not what was published", i);
        message_unref(again);
    }
    message_unref(m);
    pb_free(pb);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str in = fuzz_str(data, size);
    uint8_t attempt = fuzz_byte(&in);
    struct err e = {0};
    char *exact = fuzz_exact(in);
    struct message *m = message_from_record((struct str){exact, in.n}, &e);
    free(exact); /* the message has a copy of its own */
    if (in.n)
        check_published((struct str){in.p + 1, in.n - 1});
    if (!m) {
        FUZZ_CHECK(e.code == ERR_DATA_LOSS, "%s", e.msg);
        return 0;
    }
    snprintf(m->id, sizeof m->id, "%zu", size * 1000003);
    m->publish_wall_ns = (int64_t)(fuzz_dice_of(in).state >> 1);
    check_wrapped(m, attempt);
    check_unwrapped(m);
    message_unref(m);
    return 0;
}

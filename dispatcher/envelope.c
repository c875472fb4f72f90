/* envelope.c: builds push bodies straight into the buffer that is sent: no tree, no copy in between. */
#include "dispatcher/envelope.h"

#include "core/base/text.h"

static int full(struct err *e) { return err_set(e, ERR_RESOURCE_EXHAUSTED, "the push body is larger than %u bytes", ENVELOPE_BODY_MAX); }

static int add_attributes(struct buf *b, const struct message *m)
{
    if (m->n_attributes == 0)
        return 0;
    int rc = buf_addz(b, "\"attributes\":{");
    for (uint32_t i = 0; i < m->n_attributes && !rc; i++) {
        rc = i ? buf_add(b, ",", 1) : 0;
        rc = rc ? rc : json_string_add(b, m->attributes[i].key);
        rc = rc ? rc : buf_add(b, ":", 1);
        rc = rc ? rc : json_string_add(b, m->attributes[i].value);
    }
    return rc ? rc : buf_addz(b, "},");
}

/* Ids are ours and times are digits: neither needs escapes. */
static inline int add_quoted(struct buf *b, const char *before, const char *text)
{
    int rc = buf_addz(b, before);
    rc = rc ? rc : buf_addz(b, text);
    return rc ? rc : buf_addz(b, "\"");
}

static int add_message(struct buf *b, const struct message *m)
{
    char time[WALL_TEXT_MAX];
    wall_format(m->publish_wall_ns, time);
    int rc = add_attributes(b, m);
    if (!rc && m->data.n) {
        rc = buf_addz(b, "\"data\":\"");
        rc = rc ? rc : base64_add(b, m->data.p, m->data.n);
        rc = rc ? rc : buf_addz(b, "\",");
    }
    rc = rc ? rc : add_quoted(b, "\"messageId\":\"", m->id);
    rc = rc ? rc : add_quoted(b, ",\"message_id\":\"", m->id);
    rc = rc ? rc : buf_addz(b, ",");
    if (!rc && m->ordering_key.n) {
        rc = buf_addz(b, "\"orderingKey\":");
        rc = rc ? rc : json_string_add(b, m->ordering_key);
        rc = rc ? rc : buf_add(b, ",", 1);
    }
    rc = rc ? rc : add_quoted(b, "\"publishTime\":\"", time);
    rc = rc ? rc : add_quoted(b, ",\"publish_time\":\"", time);
    return rc ? rc : buf_addz(b, "}");
}

int envelope_wrap(struct buf *b, const struct message *m, const char *subscription, uint32_t attempt, struct err *e)
{
    /* One growth instead of a dozen: most bodies are data. */
    if (!buf_reserve(b, m->data.n / 3 * 4 + 512))
        return full(e);
    int rc = buf_addz(b, "{\"message\":{");
    rc = rc ? rc : add_message(b, m);
    rc = rc ? rc : buf_addz(b, ",\"subscription\":");
    rc = rc ? rc : json_string_add(b, str_of(subscription));
    if (!rc && attempt)
        rc = buf_addf(b, ",\"deliveryAttempt\":%u", attempt);
    rc = rc ? rc : buf_add(b, "}", 1);
    return rc ? full(e) : 0;
}

/* Headers that belong to the connection, to framing or to us: an attribute must not speak for them. */
static bool reserved(struct str name)
{
    static const char *const names[] = {
        "host",    "content-length",   "transfer-encoding",   "connection", "keep-alive",    "te",         "trailer",
        "upgrade", "proxy-connection", "proxy-authorization", "expect",     "authorization", "user-agent", "content-type",
    };
    static const struct str ours = {"x-goog-pubsub-", sizeof "x-goog-pubsub-" - 1};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_ieq(name, str_of(names[i])))
            return true;
    return name.n >= ours.n && str_ieq((struct str){name.p, ours.n}, ours);
}

int envelope_headers(struct headers *h, const struct message *m, const char *subscription, char time[WALL_TEXT_MAX],
                     struct str *content_type, struct err *e)
{
    int rc = headers_add(h, STR("x-goog-pubsub-subscription-name"), str_of(subscription), e);
    rc = rc ? rc : headers_add(h, STR("x-goog-pubsub-message-id"), str_of(m->id), e);
    rc = rc ? rc : headers_add(h, STR("x-goog-pubsub-publish-time"), str_of(wall_format(m->publish_wall_ns, time)), e);
    if (!rc && m->ordering_key.n && header_value_valid(m->ordering_key))
        rc = headers_add(h, STR("x-goog-pubsub-ordering-key"), m->ordering_key, e);
    for (uint32_t i = 0; i < m->n_attributes && !rc; i++) {
        const struct attribute *a = &m->attributes[i];
        if (!header_name_valid(a->key) || !header_value_valid(a->value))
            continue;
        if (str_ieq(a->key, STR("content-type")))
            *content_type = a->value;
        else if (!reserved(a->key))
            rc = headers_add(h, a->key, a->value, e);
    }
    return rc;
}

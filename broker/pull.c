/* pull.c: Pull, Acknowledge, ModifyAckDeadline: ack ids, and pulls that wait for messages. */
#include "broker/broker_int.h"

#include "core/base/text.h"
#include "google/protobuf/empty.pb-c.h"

#include <stdlib.h>

#define UNREAD_WAIT_NS (200 * NS_PER_MS) /* returnImmediately, but messages are just being read */
#define EXTEND_MAX_S 600

/* ---- ack ids ---- */

/* Opaque to clients: which life of the server, which delivery, and a check that it is of this subscription. */
struct ack_id {
    uint64_t boot, number, check;
};
#define ACK_ID_TEXT 32 /* base64 of 24 bytes */

static uint64_t ack_check(const char *subscription, const struct ack_id *id)
{
    return hash_bytes(id, offsetof(struct ack_id, check), hash_bytes(subscription, strlen(subscription), 0));
}

static char *ack_id_text(struct arena *a, const struct broker *b, const char *subscription, uint64_t number)
{
    struct ack_id id = {b->boot, number, 0};
    struct buf text;
    id.check = ack_check(subscription, &id);
    buf_init(&text, ACK_ID_TEXT + 1);
    char *out = base64url_add(&text, &id, sizeof id) ? NULL : arena_dup(a, buf_str(&text));
    buf_fini(&text);
    return out;
}

/* 0 with number 0 when it was a delivery in an earlier life. */
static int ack_id_parse(const struct broker *b, const char *subscription, const char *text, uint64_t *number, struct err *e)
{
    struct ack_id id;
    unsigned char raw[BASE64_DECODED_MAX(ACK_ID_TEXT)];
    size_t n = strlen(text), len;
    if (n != ACK_ID_TEXT || base64_decode(text, n, raw, &len, NULL) || len != sizeof id)
        return err_set(e, ERR_INVALID_ARGUMENT, "Invalid ack id (ack_id=%.100s)", text);
    memcpy(&id, raw, sizeof id);
    if (id.check != ack_check(subscription, &id))
        return err_set(e, ERR_INVALID_ARGUMENT, "Invalid ack id (ack_id=%.100s): it is not of this subscription", text);
    *number = id.boot == b->boot ? id.number : 0;
    return 0;
}

/* ---- answers ---- */

typedef Google__Pubsub__V1__PubsubMessage PbMessage;
typedef Google__Pubsub__V1__PubsubMessage__AttributesEntry PbAttribute;

static bool copy_attributes(struct arena *a, PbMessage *m, const struct message *from)
{
    if (from->n_attributes == 0)
        return true;
    m->attributes = arena_alloc(a, from->n_attributes * sizeof *m->attributes);
    for (size_t i = 0; m->attributes && i < from->n_attributes; i++) {
        PbAttribute *at = m->attributes[i] = pb_new(a, &google__pubsub__v1__pubsub_message__attributes_entry__descriptor);
        if (!at || !(at->key = arena_dup(a, from->attributes[i].key)) || !(at->value = arena_dup(a, from->attributes[i].value)))
            return false;
    }
    m->n_attributes = from->n_attributes;
    return m->attributes != NULL;
}

/* A copy: the answer is encoded on another thread, when the message may be gone. */
static PbMessage *copy_message(struct arena *a, const struct message *from)
{
    PbMessage *m = pb_new(a, &google__pubsub__v1__pubsub_message__descriptor);
    if (!m)
        return NULL;
    m->data.data = (uint8_t *)arena_dup(a, from->data);
    m->data.len = from->data.n;
    m->message_id = arena_strdup(a, from->id);
    m->ordering_key = arena_dup(a, from->ordering_key);
    m->publish_time = (void *)pb_timestamp(a, from->publish_wall_ns);
    return m->data.data && m->message_id && m->ordering_key && m->publish_time && copy_attributes(a, m, from) ? m : NULL;
}

static Google__Pubsub__V1__ReceivedMessage *received(struct arena *a, const struct sub *sub, const struct lease *l)
{
    Google__Pubsub__V1__ReceivedMessage *m = pb_new(a, &google__pubsub__v1__received_message__descriptor);
    if (!m)
        return NULL;
    m->ack_id = ack_id_text(a, sub->b, subscription_name(sub->s), l->number);
    m->message = copy_message(a, l->msg);
    m->delivery_attempt = sub->s->max_attempts ? (int32_t)l->attempt : 0;
    return m->ack_id && m->message ? m : NULL;
}

/* Answer with up to `max` messages; false when there are none. */
static bool answer(struct sub *sub, struct call *c, size_t max)
{
    struct lease *leases[PULL_MESSAGES_MAX];
    size_t n = subscription_pull(sub->s, max < PULL_MESSAGES_MAX ? max : PULL_MESSAGES_MAX, PULL_BYTES_MAX, leases);
    if (n == 0)
        return false;
    Google__Pubsub__V1__PullResponse *reply = pb_new(c->arena, &google__pubsub__v1__pull_response__descriptor);
    if (reply)
        reply->received_messages = arena_alloc(c->arena, n * sizeof *reply->received_messages);
    bool ok = reply && reply->received_messages;
    for (size_t i = 0; ok && i < n; i++)
        ok = (reply->received_messages[reply->n_received_messages++] = received(c->arena, sub, leases[i])) != NULL;
    if (ok) {
        call_reply(c, &reply->base);
        return true;
    }
    for (size_t i = n; i-- > 0;)
        if (leases[i]->state == LEASE_SENT)
            subscription_nack(sub->s, leases[i], 0);
    no_memory(c);
    return true;
}

/* ---- pulls that wait ---- */

struct pull {
    struct node link;
    struct timer timer;
    struct sub *sub;
    struct call *call;
    size_t max;
};

static void pull_leave(struct pull *p)
{
    list_remove(&p->sub->s->pulls, &p->link);
    p->sub->b->n_pulls--;
    timer_cancel(p->sub->b->env->timers, &p->timer);
    p->call->on_cancel = NULL;
}

static void pull_end_empty(struct pull *p)
{
    struct call *c = p->call;
    pull_leave(p);
    call_reply_empty(c, &google__pubsub__v1__pull_response__descriptor);
}

static void on_pull_timeout(struct timer *t, int64_t now_ns) { pull_end_empty(CONTAINER_OF(t, struct pull, timer)); }
static void on_pull_cancel(struct call *c) { pull_end_empty(c->handler_data); }

void pulls_serve(struct subscription *s)
{
    struct sub *sub = s->owner;
    for (struct node *n; s->states[LEASE_READY].count && (n = list_first(&s->pulls));) {
        struct pull *p = CONTAINER_OF(n, struct pull, link);
        struct call *c = p->call;
        size_t max = p->max;
        pull_leave(p);
        if (!answer(sub, c, max)) /* what was ready had grown too old */
            call_reply_empty(c, &google__pubsub__v1__pull_response__descriptor);
    }
}

void pulls_end(struct sub *sub, const struct err *e)
{
    for (struct node *n; (n = list_first(&sub->s->pulls));) {
        struct pull *p = CONTAINER_OF(n, struct pull, link);
        struct call *c = p->call;
        pull_leave(p);
        if (e)
            call_fail(c, e);
        else
            call_reply_empty(c, &google__pubsub__v1__pull_response__descriptor);
    }
}

static void wait_for_messages(struct sub *sub, struct call *c, size_t max, int64_t wait_ns)
{
    struct broker *b = sub->b;
    struct err e;
    struct pull *p = arena_alloc(c->arena, sizeof *p);
    if (sub->s->pulls.count >= PULLS_PER_SUBSCRIPTION_MAX || b->n_pulls >= PULLS_MAX) {
        call_failf(c, ERR_UNAVAILABLE, "too many pull requests wait already (%zu for this subscription); try again", sub->s->pulls.count);
        return;
    }
    if (!p || (timer_init(&p->timer, on_pull_timeout), timer_set(b->env->timers, &p->timer, env_now(b->env) + wait_ns, &e))) {
        no_memory(c);
        return;
    }
    p->sub = sub;
    p->call = c;
    p->max = max;
    node_init(&p->link);
    list_append(&sub->s->pulls, &p->link);
    b->n_pulls++;
    c->handler_data = p;
    c->on_cancel = on_pull_cancel;
    subscription_touch(sub->s);
}

static int check_pull(struct broker *b, const Google__Pubsub__V1__PullRequest *q, struct sub **sub, struct err *e)
{
    if (check_name(q->subscription, "subscriptions", "subscription", e))
        return -ERR_INVALID_ARGUMENT;
    if (q->max_messages <= 0)
        return err_set(e, ERR_INVALID_ARGUMENT, "No max_messages specified: it must be at least 1");
    if (!(*sub = sub_find(b, q->subscription, e)))
        return -ERR_NOT_FOUND;
    const PbSubscription *config = subscription_config((*sub)->s);
    if (config->detached)
        return err_set(e, ERR_FAILED_PRECONDITION, "The subscription is detached from its topic (resource=%.200s)", q->subscription);
    if (*config->push_config->push_endpoint)
        return err_set(e, ERR_FAILED_PRECONDITION,
                       "This method is not supported for this subscription type (resource=%.150s): it pushes to an endpoint",
                       q->subscription);
    return 0;
}

void on_pull(void *service, struct call *c, const ProtobufCMessage *r)
{
    struct broker *b = service;
    const Google__Pubsub__V1__PullRequest *q = (const void *)r;
    struct err e;
    struct sub *sub;
    if (refuse_when_stopping(b, c))
        return;
    if (check_pull(b, q, &sub, &e)) {
        call_fail(c, &e);
        return;
    }
    if (!c->cancelled && answer(sub, c, (size_t)q->max_messages))
        return;
    bool reading = subscription_backlog(sub->s) > 0;
    if (c->cancelled || (q->return_immediately && !reading)) {
        call_reply_empty(c, &google__pubsub__v1__pull_response__descriptor);
        return;
    }
    bool briefly = q->return_immediately || b->no_waiting; /* not at once: clients that ask again would do it without a pause */
    wait_for_messages(sub, c, (size_t)q->max_messages, briefly ? UNREAD_WAIT_NS : b->pull_wait_ns);
}

/* ---- acknowledge, modify ---- */

/* All ids are read before anything changes. */
static uint64_t *parse_ids(struct broker *b, struct arena *a, const char *subscription, char **ids, size_t n, struct err *e)
{
    if (n == 0) {
        err_set(e, ERR_INVALID_ARGUMENT, "No ack ids specified.");
        return NULL;
    }
    if (n > ACK_IDS_MAX) {
        err_set(e, ERR_INVALID_ARGUMENT, "ack_ids: %zu ids; at most %d are allowed", n, ACK_IDS_MAX);
        return NULL;
    }
    uint64_t *numbers = arena_alloc(a, n * sizeof *numbers);
    if (!numbers)
        err_set(e, ERR_RESOURCE_EXHAUSTED, "ack_ids: out of memory");
    for (size_t i = 0; numbers && i < n; i++)
        if (ack_id_parse(b, subscription, ids[i], &numbers[i], e))
            return NULL;
    return numbers;
}

static void on_acked(void *arg, const struct err *e)
{
    struct call *c = arg;
    if (e)
        call_fail(c, e);
    else
        call_reply_empty(c, &google__protobuf__empty__descriptor);
}

void on_acknowledge(void *service, struct call *c, const ProtobufCMessage *r)
{
    struct broker *b = service;
    const Google__Pubsub__V1__AcknowledgeRequest *q = (const void *)r;
    struct err e;
    struct sub *sub;
    uint64_t *numbers = NULL;
    if (refuse_when_stopping(b, c))
        return;
    if (check_name(q->subscription, "subscriptions", "subscription", &e) || !(sub = sub_find(b, q->subscription, &e)) ||
        !(numbers = parse_ids(b, c->arena, q->subscription, q->ack_ids, q->n_ack_ids, &e))) {
        call_fail(c, &e);
        return;
    }
    struct lease **leases = arena_alloc(c->arena, q->n_ack_ids * sizeof *leases);
    size_t n = 0;
    for (size_t i = 0; leases && i < q->n_ack_ids; i++) {
        struct lease *l = subscription_unpull(sub->s, numbers[i]); /* unknown, expired, or named twice: ignored */
        if (l)
            leases[n++] = l;
    }
    if (!leases)
        no_memory(c);
    else /* also none: those of an earlier try may be settled here and not be durable yet */
        subscription_ack_all(sub->s, leases, n, on_acked, c);
}

void on_modify_ack_deadline(void *service, struct call *c, const ProtobufCMessage *r)
{
    struct broker *b = service;
    const Google__Pubsub__V1__ModifyAckDeadlineRequest *q = (const void *)r;
    struct err e;
    struct sub *sub;
    uint64_t *numbers;
    if (refuse_when_stopping(b, c))
        return;
    if (q->ack_deadline_seconds < 0 || q->ack_deadline_seconds > EXTEND_MAX_S) {
        call_failf(c, ERR_INVALID_ARGUMENT, "ack_deadline_seconds: %d; 0 to %d are allowed", q->ack_deadline_seconds, EXTEND_MAX_S);
        return;
    }
    if (check_name(q->subscription, "subscriptions", "subscription", &e) || !(sub = sub_find(b, q->subscription, &e)) ||
        !(numbers = parse_ids(b, c->arena, q->subscription, q->ack_ids, q->n_ack_ids, &e))) {
        call_fail(c, &e);
        return;
    }
    for (size_t i = 0; i < q->n_ack_ids; i++) {
        struct lease *l = subscription_pulled(sub->s, numbers[i]);
        if (l && q->ack_deadline_seconds)
            subscription_extend(sub->s, l, q->ack_deadline_seconds * NS_PER_S);
        else if (l)
            subscription_nack(sub->s, l, 0);
    }
    subscription_touch(sub->s);
    call_reply_empty(c, &google__protobuf__empty__descriptor);
}

/* subs_update.c: changes to a subscription that exists: update by mask, push configuration, detach. */
#include "broker/broker_int.h"

#include "core/rpc/mask.h"
#include "google/protobuf/empty.pb-c.h"

#include <stdlib.h>

void tell_watchers(struct sub *sub, bool gone)
{
    gone |= subscription_config(sub->s)->detached;
    for (size_t i = 0; i < sub->b->n_watchers; i++)
        sub->b->watchers[i].fn(sub->b->watchers[i].arg, sub->s, gone);
}

/* Write the record of the changed configuration, then continue with `then`. */
static void commit_config(struct broker *b, struct call *c, struct sub *sub, const PbSubscription *fresh,
                          void (*then)(struct change *ch, const struct err *e))
{
    struct err e;
    struct change *ch = change_new(b, c, fresh->name);
    struct store_txn *txn = ch ? change_txn(ch) : NULL;
    if (!txn)
        return;
    ch->sub = sub;
    ch->wall_ns = env_wall(b->env);
    ch->config = pb_dup(&fresh->base);
    if (ch->config && sub_record_put(txn, sub, fresh, ch->wall_ns, &e) == 0) {
        change_commit(ch, txn, then);
        return;
    }
    store_txn_free(txn);
    err_set(&e, ERR_RESOURCE_EXHAUSTED, "subscription: out of memory");
    change_fail(ch, &e);
}

static void take_config(struct change *ch)
{
    subscription_configure(ch->sub->s, ch->config);
    ch->config = NULL;
    ch->sub->recorded_wall_ns = ch->wall_ns;
    subscription_touch(ch->sub->s);
    tell_watchers(ch->sub, false);
}

/* ---- update ---- */

static void updated(struct change *ch, const struct err *e)
{
    if (e) {
        change_fail(ch, e);
        return;
    }
    take_config(ch);
    PbSubscription *reply = sub_message(ch->call->arena, ch->sub);
    if (reply)
        call_reply(ch->call, &reply->base);
    else
        no_memory(ch->call);
    change_end(ch);
}

static PbSubscription *apply_update(struct broker *b, struct arena *a, const struct sub *sub,
                                    const Google__Pubsub__V1__UpdateSubscriptionRequest *q, struct err *e)
{
    static const char *const fixed[] = {"name",
                                        "topic",
                                        "filter",
                                        "enable_message_ordering",
                                        "detached",
                                        "state",
                                        "tags",
                                        "topic_message_retention_duration",
                                        "analytics_hub_subscription_info"};
    if (!q->update_mask || q->update_mask->n_paths == 0) {
        err_set(e, ERR_INVALID_ARGUMENT, "update_mask: must be specified and non-empty: name the fields to change");
        return NULL;
    }
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++)
        if (mask_has(q->update_mask->paths, q->update_mask->n_paths, fixed[i])) {
            err_set(e, ERR_INVALID_ARGUMENT, "update_mask: %s cannot be changed", fixed[i]);
            return NULL;
        }
    PbSubscription *fresh = pb_clone(a, &subscription_config(sub->s)->base);
    if (!fresh) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "subscription: out of memory");
        return NULL;
    }
    if (mask_apply(a, &fresh->base, &q->subscription->base, q->update_mask->paths, q->update_mask->n_paths, false, e) ||
        check_subscription(b, a, fresh, e))
        return NULL;
    return fresh;
}

void on_update_subscription(void *service, struct call *c, const ProtobufCMessage *r)
{
    struct broker *b = service;
    const Google__Pubsub__V1__UpdateSubscriptionRequest *q = (const void *)r;
    struct err e;
    struct sub *sub = NULL;
    PbSubscription *fresh = NULL;
    if (!q->subscription)
        err_set(&e, ERR_INVALID_ARGUMENT, "subscription: must be given");
    else if (check_name(q->subscription->name, "subscriptions", "subscription.name", &e) == 0 &&
             (sub = sub_find(b, q->subscription->name, &e)) != NULL)
        fresh = apply_update(b, c->arena, sub, q, &e);
    if (fresh)
        commit_config(b, c, sub, fresh, updated);
    else
        call_fail(c, &e);
}

/* ---- push configuration ---- */

static void push_changed(struct change *ch, const struct err *e)
{
    if (e) {
        change_fail(ch, e);
        return;
    }
    take_config(ch);
    call_reply_empty(ch->call, &google__protobuf__empty__descriptor);
    change_end(ch);
}

void on_modify_push_config(void *service, struct call *c, const ProtobufCMessage *r)
{
    struct broker *b = service;
    const Google__Pubsub__V1__ModifyPushConfigRequest *q = (const void *)r;
    struct err e;
    struct sub *sub;
    if (check_name(q->subscription, "subscriptions", "subscription", &e) || !(sub = sub_find(b, q->subscription, &e))) {
        call_fail(c, &e);
        return;
    }
    PbSubscription *fresh = pb_clone(c->arena, &subscription_config(sub->s)->base);
    if (!fresh) {
        no_memory(c);
        return;
    }
    fresh->push_config = q->push_config; /* absent: filled in as empty, which means pull */
    if (check_subscription(b, c->arena, fresh, &e))
        call_fail(c, &e);
    else
        commit_config(b, c, sub, fresh, push_changed);
}

/* ---- detach: no delivery any more, and what waits is dropped ---- */

static void detached(struct change *ch, const struct err *e)
{
    struct err why;
    struct sub *sub = ch->sub;
    if (e) {
        change_fail(ch, e);
        return;
    }
    err_set(&why, ERR_FAILED_PRECONDITION, "The subscription is detached from its topic (resource=%.200s)", ch->name);
    take_config(ch);
    pulls_end(sub, &why);
    subscription_drop(sub->s);
    if (sub->s->source)
        ch->b->adapter->ops->sub_delete(sub->s->source, NULL, NULL);
    sub->s->source = NULL;
    call_reply_empty(ch->call, &google__pubsub__v1__detach_subscription_response__descriptor);
    change_end(ch);
}

void on_detach_subscription(void *service, struct call *c, const ProtobufCMessage *r)
{
    struct broker *b = service;
    const Google__Pubsub__V1__DetachSubscriptionRequest *q = (const void *)r;
    struct err e;
    struct sub *sub;
    if (check_name(q->subscription, "subscriptions", "subscription", &e) || !(sub = sub_find(b, q->subscription, &e))) {
        call_fail(c, &e);
        return;
    }
    PbSubscription *fresh = pb_clone(c->arena, &subscription_config(sub->s)->base);
    if (!fresh) {
        no_memory(c);
        return;
    }
    fresh->detached = true;
    commit_config(b, c, sub, fresh, detached);
}

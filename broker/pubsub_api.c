/* pubsub_api.c: the method table of google.pubsub.v1.Publisher and Subscriber. IAM methods are the policy's. */
#include "broker/broker_int.h"

#include "google/protobuf/empty.pb-c.h"

#define PUBLISHER "google.pubsub.v1.Publisher/"
#define SUBSCRIBER "google.pubsub.v1.Subscriber/"
#define TOPIC "projects/*/topics/*"
#define SUBSCRIPTION "projects/*/subscriptions/*"
#define SNAPSHOT "projects/*/snapshots/*"
#define MSG(name) &google__pubsub__v1__##name##__descriptor
#define EMPTY &google__protobuf__empty__descriptor

static const struct method methods[] = {
    {PUBLISHER "CreateTopic", VERB_PUT, "/v1/{name=" TOPIC "}", "*", "pubsub.topics.create", MSG(topic), MSG(topic), on_create_topic},
    {PUBLISHER "UpdateTopic", VERB_PATCH, "/v1/{topic.name=" TOPIC "}", "*", "pubsub.topics.update", MSG(update_topic_request), MSG(topic),
     on_update_topic},
    {PUBLISHER "Publish", VERB_POST, "/v1/{topic=" TOPIC "}:publish", "*", "pubsub.topics.publish", MSG(publish_request),
     MSG(publish_response), on_publish},
    {PUBLISHER "GetTopic", VERB_GET, "/v1/{topic=" TOPIC "}", NULL, "pubsub.topics.get", MSG(get_topic_request), MSG(topic), on_get_topic},
    {PUBLISHER "ListTopics", VERB_GET, "/v1/{project=projects/*}/topics", NULL, "pubsub.topics.list", MSG(list_topics_request),
     MSG(list_topics_response), on_list_topics},
    {PUBLISHER "ListTopicSubscriptions", VERB_GET, "/v1/{topic=" TOPIC "}/subscriptions", NULL, "pubsub.topics.get",
     MSG(list_topic_subscriptions_request), MSG(list_topic_subscriptions_response), on_list_topic_subscriptions},
    {PUBLISHER "ListTopicSnapshots", VERB_GET, "/v1/{topic=" TOPIC "}/snapshots", NULL, "pubsub.topics.get",
     MSG(list_topic_snapshots_request), MSG(list_topic_snapshots_response), on_list_topic_snapshots},
    {PUBLISHER "DeleteTopic", VERB_DELETE, "/v1/{topic=" TOPIC "}", NULL, "pubsub.topics.delete", MSG(delete_topic_request), EMPTY,
     on_delete_topic},
    {PUBLISHER "DetachSubscription", VERB_POST, "/v1/{subscription=" SUBSCRIPTION "}:detach", NULL, "pubsub.topics.detachSubscription",
     MSG(detach_subscription_request), MSG(detach_subscription_response), on_detach_subscription},
    {SUBSCRIBER "CreateSubscription", VERB_PUT, "/v1/{name=" SUBSCRIPTION "}", "*", "pubsub.subscriptions.create", MSG(subscription),
     MSG(subscription), on_create_subscription},
    {SUBSCRIBER "GetSubscription", VERB_GET, "/v1/{subscription=" SUBSCRIPTION "}", NULL, "pubsub.subscriptions.get",
     MSG(get_subscription_request), MSG(subscription), on_get_subscription},
    {SUBSCRIBER "UpdateSubscription", VERB_PATCH, "/v1/{subscription.name=" SUBSCRIPTION "}", "*", "pubsub.subscriptions.update",
     MSG(update_subscription_request), MSG(subscription), on_update_subscription},
    {SUBSCRIBER "ListSubscriptions", VERB_GET, "/v1/{project=projects/*}/subscriptions", NULL, "pubsub.subscriptions.list",
     MSG(list_subscriptions_request), MSG(list_subscriptions_response), on_list_subscriptions},
    {SUBSCRIBER "DeleteSubscription", VERB_DELETE, "/v1/{subscription=" SUBSCRIPTION "}", NULL, "pubsub.subscriptions.delete",
     MSG(delete_subscription_request), EMPTY, on_delete_subscription},
    {SUBSCRIBER "ModifyAckDeadline", VERB_POST, "/v1/{subscription=" SUBSCRIPTION "}:modifyAckDeadline", "*",
     "pubsub.subscriptions.consume", MSG(modify_ack_deadline_request), EMPTY, on_modify_ack_deadline},
    {SUBSCRIBER "Acknowledge", VERB_POST, "/v1/{subscription=" SUBSCRIPTION "}:acknowledge", "*", "pubsub.subscriptions.consume",
     MSG(acknowledge_request), EMPTY, on_acknowledge},
    {SUBSCRIBER "Pull", VERB_POST, "/v1/{subscription=" SUBSCRIPTION "}:pull", "*", "pubsub.subscriptions.consume", MSG(pull_request),
     MSG(pull_response), on_pull},
    {SUBSCRIBER "ModifyPushConfig", VERB_POST, "/v1/{subscription=" SUBSCRIPTION "}:modifyPushConfig", "*", "pubsub.subscriptions.update",
     MSG(modify_push_config_request), EMPTY, on_modify_push_config},
    {SUBSCRIBER "GetSnapshot", VERB_GET, "/v1/{snapshot=" SNAPSHOT "}", NULL, "pubsub.snapshots.get", MSG(get_snapshot_request),
     MSG(snapshot), on_get_snapshot},
    {SUBSCRIBER "ListSnapshots", VERB_GET, "/v1/{project=projects/*}/snapshots", NULL, "pubsub.snapshots.list", MSG(list_snapshots_request),
     MSG(list_snapshots_response), on_list_snapshots},
    {SUBSCRIBER "CreateSnapshot", VERB_PUT, "/v1/{name=" SNAPSHOT "}", "*", "pubsub.snapshots.create", MSG(create_snapshot_request),
     MSG(snapshot), on_create_snapshot},
    {SUBSCRIBER "UpdateSnapshot", VERB_PATCH, "/v1/{snapshot.name=" SNAPSHOT "}", "*", "pubsub.snapshots.update",
     MSG(update_snapshot_request), MSG(snapshot), on_update_snapshot},
    {SUBSCRIBER "DeleteSnapshot", VERB_DELETE, "/v1/{snapshot=" SNAPSHOT "}", NULL, "pubsub.snapshots.delete", MSG(delete_snapshot_request),
     EMPTY, on_delete_snapshot},
    {SUBSCRIBER "Seek", VERB_POST, "/v1/{subscription=" SUBSCRIPTION "}:seek", "*", "pubsub.subscriptions.consume", MSG(seek_request),
     MSG(seek_response), on_seek},
};

int broker_register(struct broker *b, struct registry *r, struct err *e) { return registry_add(r, methods, ARRAY_LEN(methods), b, e); }

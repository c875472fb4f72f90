/** broker_int.h: the broker's inside: topics, subscriptions and snapshots by name, and the changes to them under way.
 *  Shape of a change: change_new (one at a time per resource) -> adapter and store answer -> the maps change -> reply -> change_end.
 *          Until then nobody sees it. A topic that is deleted stays, nameless, while subscriptions or snapshots read from it.
 *  Thread: engine thread. */
#ifndef BROKER_BROKER_INT_H
#define BROKER_BROKER_INT_H

#include "broker/broker.h"
#include "broker/records.pb-c.h"
#include "broker/subscription_int.h"
#include "core/rpc/pb.h"

#define BROKER_WATCHERS_MAX 4
#define BROKER_CHANGES_MAX 10000 /* under way at once */
#define BROKER_PULL_WAIT_NS (20 * NS_PER_S)
#define BROKER_TICK_NS (10 * NS_PER_S)
#define BROKER_MAINTAIN_NS (60 * NS_PER_S)
#define BROKER_ACTIVE_RECORD_NS (3600 * NS_PER_S) /* how exactly the last activity is kept */
#define BROKER_EXPIRATION_DEFAULT_NS (31 * 24 * 3600 * NS_PER_S)
#define BROKER_SNAPSHOT_LIFE_NS (7 * 24 * 3600 * NS_PER_S)
#define BROKER_SNAPSHOT_LIFE_MIN_NS (3600 * NS_PER_S)
#define PUBLISH_BYTES_MAX (10u * 1000 * 1000)
#define PULL_MESSAGES_MAX 1000
#define PULL_BYTES_MAX (10u * 1024 * 1024)
#define PULLS_PER_SUBSCRIPTION_MAX 1000
#define PULLS_MAX 50000
#define ACK_IDS_MAX 100000
#define DELETED_TOPIC "_deleted-topic_"
#define NAME_MAX_BYTES 512

typedef Google__Pubsub__V1__Topic PbTopic;
typedef Google__Pubsub__V1__Subscription PbSubscription;
typedef Google__Pubsub__V1__Snapshot PbSnapshot;

struct topic {
    struct node link; /* in broker.deleted once its name is gone */
    struct broker *b;
    PbTopic *config;
    char handle[ADAPTER_HANDLE_MAX + 1];
    struct adapter_topic *source;
    struct list subs, snapshots;
    size_t pending; /* creations of readers and appends of dead letters under way */
    bool deleted;
    struct metric *published, *published_bytes;
};
/* A write of attempt counts; outlives its subscription. */
struct attempts_write {
    struct sub *sub; /* NULL: gone */
};
struct sub {
    struct node link; /* in its topic */
    struct broker *b;
    struct topic *topic;
    struct subscription *s;
    char handle[ADAPTER_HANDLE_MAX + 1];
    int64_t recorded_wall_ns; /* the last activity as the record has it */
    struct timer attempts_timer;
    struct attempts_write *attempts_write; /* under way */
    bool attempts_dirty;
    struct metric *backlog, *oldest, *leases;
};
struct snapshot {
    struct node link; /* in its topic */
    struct topic *topic;
    PbSnapshot *config;
    char handle[ADAPTER_HANDLE_MAX + 1];
};

struct broker {
    const struct env *env;
    struct store *store;
    struct adapter *adapter;
    struct subscription_deps deps;
    struct map *topics, *subs, *snapshots, *busy;
    struct list deleted, changes;
    struct {
        broker_watch_fn fn;
        void *arg;
    } watchers[BROKER_WATCHERS_MAX];
    size_t n_watchers, n_pulls;
    broker_endpoint_fn endpoint;
    void *endpoint_arg;
    void (*gone)(void *arg, const char *resource);
    void *gone_arg;
    int64_t pull_wait_ns, maintained_ns;
    bool no_waiting; /* pulls with nothing to give are answered soon */
    uint64_t boot;   /* in every ack id, so that ids of an earlier life are known as such */
    struct timer tick;
    bool stopping, adapter_closing;
    void (*stopped)(void *arg);
    void *stopped_arg;
    struct {
        struct metric_family *published, *published_bytes, *deliveries, *backlog, *oldest, *leases;
        struct metric *pulls_waiting, *topics, *subs;
    } m;
};

/* A change to one resource. */
struct change {
    struct node link;
    struct broker *b;
    struct call *call; /* NULL: nobody waits (expiry) */
    char *name;        /* of the resource, busy until the end */
    void (*then)(struct change *ch, const struct err *e);
    struct topic *topic;
    struct sub *sub;
    struct snapshot *snapshot;
    void *config; /* a heap message, freed at the end unless taken */
    int64_t wall_ns;
    char handle[ADAPTER_HANDLE_MAX + 1];
};
/** Begins a change of `name`; NULL: the call was failed (ABORTED: another one is under way). */
struct change *change_new(struct broker *b, struct call *call, const char *name);
/** Submit and continue with `then`. Takes the transaction. */
void change_commit(struct change *ch, struct store_txn *txn, void (*then)(struct change *ch, const struct err *e));
void change_fail(struct change *ch, const struct err *e); /* answers and ends */
void change_end(struct change *ch);
/** A transaction for `ch`; NULL: the change was failed. */
struct store_txn *change_txn(struct change *ch);
MUST_USE int record_put(struct store_txn *txn, const char *kind, const char *name, const ProtobufCMessage *m, struct err *e);
/** A stored record that cannot be used: say which before why. DATA_LOSS, unless it was for want of room or of its adapter. */
int record_refuse(const char *kind, const char *name, struct err *e);
/** A record says in its body whose it is, too. */
MUST_USE int record_check_name(const char *name, const char *within, struct err *e);
/** Take back a record whose resource could not be made after all. */
void record_undo(struct broker *b, const char *kind, const char *name);
/** The server stops: refuse. True: the call was failed. */
bool refuse_when_stopping(struct broker *b, struct call *call);
void call_reply_empty(struct call *call, const ProtobufCMessageDescriptor *d);
void no_memory(struct call *call);

/* topic.c */
struct topic *topic_find(struct broker *b, const char *name, struct err *e); /* NOT_FOUND */
void topic_release_if_unused(struct topic *t);
/** By the handle in a record; `name` is what it was called then. NULL: no such topic. */
struct topic *topic_of_handle(struct broker *b, const char *handle, const char *name);
void topic_drop(struct topic *t); /* frees the struct only */
MUST_USE int topics_load(struct broker *b, struct err *e);
void on_create_topic(void *b, struct call *c, const ProtobufCMessage *r);
void on_get_topic(void *b, struct call *c, const ProtobufCMessage *r);
void on_update_topic(void *b, struct call *c, const ProtobufCMessage *r);
void on_delete_topic(void *b, struct call *c, const ProtobufCMessage *r);
void on_list_topics(void *b, struct call *c, const ProtobufCMessage *r);
void on_list_topic_subscriptions(void *b, struct call *c, const ProtobufCMessage *r);
void on_list_topic_snapshots(void *b, struct call *c, const ProtobufCMessage *r);
/* publish.c */
void on_publish(void *b, struct call *c, const ProtobufCMessage *r);
/* subs.c */
struct sub *sub_find(struct broker *b, const char *name, struct err *e); /* NOT_FOUND */
void sub_drop(struct sub *sub);
MUST_USE int sub_record_put(struct store_txn *txn, const struct sub *sub, const PbSubscription *config, int64_t active_wall_ns,
                            struct err *e);
PbSubscription *sub_message(struct arena *a, const struct sub *sub); /* as clients see it */
MUST_USE int subs_load(struct broker *b, struct err *e);
void sub_tick(struct sub *sub, int64_t wall_ns); /* expiration and the record of activity */
void on_create_subscription(void *b, struct call *c, const ProtobufCMessage *r);
void on_get_subscription(void *b, struct call *c, const ProtobufCMessage *r);
void on_delete_subscription(void *b, struct call *c, const ProtobufCMessage *r);
void on_list_subscriptions(void *b, struct call *c, const ProtobufCMessage *r);
/* subs_update.c */
void on_update_subscription(void *b, struct call *c, const ProtobufCMessage *r);
void on_modify_push_config(void *b, struct call *c, const ProtobufCMessage *r);
void on_detach_subscription(void *b, struct call *c, const ProtobufCMessage *r);
void tell_watchers(struct sub *sub, bool gone);
/* snapshot.c */
MUST_USE int snapshots_load(struct broker *b, struct err *e);
void snapshot_drop(struct snapshot *n);
void snapshots_tick(struct broker *b, int64_t wall_ns);
void on_create_snapshot(void *b, struct call *c, const ProtobufCMessage *r);
void on_get_snapshot(void *b, struct call *c, const ProtobufCMessage *r);
void on_update_snapshot(void *b, struct call *c, const ProtobufCMessage *r);
void on_delete_snapshot(void *b, struct call *c, const ProtobufCMessage *r);
void on_list_snapshots(void *b, struct call *c, const ProtobufCMessage *r);
void on_seek(void *b, struct call *c, const ProtobufCMessage *r);
/* pull.c */
void on_pull(void *b, struct call *c, const ProtobufCMessage *r);
void on_acknowledge(void *b, struct call *c, const ProtobufCMessage *r);
void on_modify_ack_deadline(void *b, struct call *c, const ProtobufCMessage *r);
void pulls_serve(struct subscription *s);
/** Answer every waiting pull: `e` NULL with nothing. */
void pulls_end(struct sub *sub, const struct err *e);
/* deadletter.c */
void dead_letter_send(struct subscription *s, struct lease *l);
void attempts_changed(struct subscription *s);
MUST_USE int attempts_load(struct broker *b, struct err *e);
void attempts_fini(struct sub *sub);
/* validate.c */
MUST_USE int check_name(const char *name, const char *collection, const char *field, struct err *e);
MUST_USE int check_project(const char *name, struct err *e);
MUST_USE int check_topic(const PbTopic *t, struct err *e);
/** Also fills in the defaults. */
/** A subscription as it was stored. */
MUST_USE int check_stored(const PbSubscription *s, struct err *e);
MUST_USE int check_subscription(struct broker *b, struct arena *a, PbSubscription *s, struct err *e);
/* list.c */
/* What a list method was asked for: the names that begin with `parent`, a page of them. */
struct list_ask {
    const char *parent, *token;
    int32_t size;
};
struct listing {
    void **items; /* in the arena */
    size_t n;
    const char *next_token; /* "" at the end */
};
/** The values of `m` whose names come after the page's token, in order, at most a page. */
MUST_USE int list_page(struct arena *a, const struct map *m, const struct list_ask *ask, struct listing *out, struct err *e);
/** The same of `names`, which it sorts. */
MUST_USE int list_names(struct arena *a, char **names, size_t n, const struct list_ask *ask, struct listing *out, struct err *e);

#endif

/** test_broker_load.c: a broker is loaded from records that are not what it wrote: it says which one and why, and does not start. */
#include "tests/support/unit.h"

#include "broker/broker.h"
#include "broker/records.pb-c.h"
#include "broker/subscription.h"
#include "core/rpc/json.h"
#include "core/rpc/pb.h"

#define ROWS_MAX 6
#define TOPIC "projects/p/topics/"
#define SUB "projects/p/subscriptions/"
#define SNAPSHOT "projects/p/snapshots/"
#define TOPIC_OF(name, handle) "{\"topic\":{\"name\":\"" TOPIC name "\"},\"handle\":\"" handle "\",\"adapter\":\"embedded\"}"
#define FILLED ",\"pushConfig\":{},\"messageRetentionDuration\":\"600s\",\"expirationPolicy\":{}"
#define SUB_WITH(name, handle, more)                                                                      \
    "{\"subscription\":{\"name\":\"" SUB name "\",\"topic\":\"" TOPIC "a\"" more "},\"handle\":\"" handle \
    "\",\"topicHandle\":\"t1\",\"activeWallNs\":1}"
#define SUB_OF(name, handle) SUB_WITH(name, handle, FILLED)
#define SNAPSHOT_OF(name) \
    "{\"snapshot\":{\"name\":\"" SNAPSHOT name "\",\"topic\":\"" TOPIC "a\"},\"handle\":\"n5\",\"topicHandle\":\"t1\"}"

struct row {
    const char *kind, *name, *json;
};
static const struct {
    const char *name;
    struct row rows[ROWS_MAX];
    const char *says; /* NULL: it loads */
} cases[] = {
    {"a topic, a subscription and a snapshot",
     {{"embedded-topic", "t1", "{}"},
      {"topic", TOPIC "a", TOPIC_OF("a", "t1")},
      {"embedded-sub", "s1", "{\"topicId\":1}"},
      {"subscription", SUB "s", SUB_OF("s", "s1")},
      {"embedded-snapshot", "n5", "{\"topicId\":1}"},
      {"snapshot", SNAPSHOT "n", SNAPSHOT_OF("n")}},
     NULL},
    {"a topic under another's name",
     {{"embedded-topic", "t1", "{}"}, {"topic", TOPIC "b", TOPIC_OF("a", "t1")}},
     "topic record \"projects/p/topics/b\": it is one of \"projects/p/topics/a\""},
    {"two topics with the messages of one",
     {{"embedded-topic", "t1", "{}"}, {"topic", TOPIC "a", TOPIC_OF("a", "t1")}, {"topic", TOPIC "b", TOPIC_OF("b", "t1")}},
     "another topic has its messages"},
    {"a deleted topic with the messages of a living one",
     {{"embedded-topic", "t1", "{}"}, {"topic", TOPIC "a", TOPIC_OF("a", "t1")}, {"deleted-topic", "t1", TOPIC_OF("b", "t1")}},
     "another topic has its messages"},
    {"a topic that is kept elsewhere", {{"topic", TOPIC "a", "{\"topic\":{\"name\":\"" TOPIC "a\"},\"adapter\":\"kafka\"}"}}, "--broker"},
    {"a handle written in another way", {{"embedded-topic", "t01", "{}"}}, "no topic has such a handle"},
    {"a topic beyond the last number", {{"embedded-topic", "t4194304", "{}"}}, "no topic has such a handle"},
    {"a subscription under another's name",
     {{"embedded-topic", "t1", "{}"},
      {"topic", TOPIC "a", TOPIC_OF("a", "t1")},
      {"embedded-sub", "s1", "{\"topicId\":1}"},
      {"subscription", SUB "r", SUB_OF("s", "s1")}},
     "subscription record \"projects/p/subscriptions/r\": it is one of \"projects/p/subscriptions/s\""},
    {"two subscriptions with one reader",
     {{"embedded-topic", "t1", "{}"},
      {"topic", TOPIC "a", TOPIC_OF("a", "t1")},
      {"embedded-sub", "s1", "{\"topicId\":1}"},
      {"subscription", SUB "r", SUB_OF("r", "s1")},
      {"subscription", SUB "s", SUB_OF("s", "s1")}},
     "has a reader already"},
    {"a subscription and a snapshot with one number",
     {{"embedded-topic", "t1", "{}"}, {"embedded-sub", "s5", "{\"topicId\":1}"}, {"embedded-snapshot", "n5", "{\"topicId\":1}"}},
     "have this number"},
    {"a snapshot under another's name",
     {{"embedded-topic", "t1", "{}"},
      {"topic", TOPIC "a", TOPIC_OF("a", "t1")},
      {"embedded-snapshot", "n5", "{\"topicId\":1}"},
      {"snapshot", SNAPSHOT "m", SNAPSHOT_OF("n")}},
     "snapshot record \"projects/p/snapshots/m\": it is one of \"projects/p/snapshots/n\""},
    {"two snapshots that are one",
     {{"embedded-topic", "t1", "{}"},
      {"topic", TOPIC "a", TOPIC_OF("a", "t1")},
      {"embedded-snapshot", "n5", "{\"topicId\":1}"},
      {"snapshot", SNAPSHOT "m", SNAPSHOT_OF("m")},
      {"snapshot", SNAPSHOT "n", SNAPSHOT_OF("n")}},
     "another snapshot's"},
    {"a subscription whose reader is gone",
     {{"embedded-topic", "t1", "{}"}, {"topic", TOPIC "a", TOPIC_OF("a", "t1")}, {"subscription", SUB "s", SUB_OF("s", "s1")}},
     "subscription record \"projects/p/subscriptions/s\": embedded subscription \"s1\" does not exist"},
    {"a subscription that lacks what each has",
     {{"embedded-topic", "t1", "{}"},
      {"topic", TOPIC "a", TOPIC_OF("a", "t1")},
      {"embedded-sub", "s1", "{\"topicId\":1}"},
      {"subscription", SUB "s", SUB_WITH("s", "s1", "")}},
     "subscription record \"projects/p/subscriptions/s\": push_config, message_retention_duration or expiration_policy is missing"},
    {"a subscription with a deadline that cannot be",
     {{"embedded-topic", "t1", "{}"},
      {"topic", TOPIC "a", TOPIC_OF("a", "t1")},
      {"embedded-sub", "s1", "{\"topicId\":1}"},
      {"subscription", SUB "s", SUB_WITH("s", "s1", FILLED ",\"ackDeadlineSeconds\":-1")}},
     "ack_deadline_seconds: -1"},
    {"a subscription that was never used",
     {{"embedded-topic", "t1", "{}"},
      {"topic", TOPIC "a", TOPIC_OF("a", "t1")},
      {"embedded-sub", "s1", "{\"topicId\":1}"},
      {"subscription", SUB "s", "{\"subscription\":{\"name\":\"" SUB "s\"" FILLED "},\"handle\":\"s1\",\"topicHandle\":\"t1\"}"}},
     "the time of its last use is missing"},
    {"a snapshot whose topic is gone", {{"snapshot", SNAPSHOT "n", SNAPSHOT_OF("n")}}, "its topic has no record"},
    {"a deleted topic whose messages are gone",
     {{"deleted-topic", "t1", TOPIC_OF("a", "t1")}},
     "deleted-topic record \"t1\": embedded topic \"t1\" does not exist"},
    {"the last message there can be", {{"embedded-topic", "t1", "{}"}, {"meta", "embedded.next.1", "1099511627776"}}, NULL},
    {"a message after the last there can be",
     {{"embedded-topic", "t1", "{}"}, {"meta", "embedded.next.1", "1099511627777"}},
     "embedded-topic record \"t1\": the number of its next message is too large"},
    {"a floor beyond the last message",
     {{"embedded-topic", "t1", "{}"}, {"embedded-sub", "s1", "{\"topicId\":1}"}, {"floor", "1", "1099511627777"}},
     "embedded-sub record \"s1\": acknowledgements of messages that it cannot have had"},
    {"acknowledgements too far ahead",
     {{"embedded-topic", "t1", "{}"}, {"embedded-sub", "s1", "{\"topicId\":1}"}, {"chunk", "1", "65536"}},
     "embedded-sub record \"s1\": acknowledgements of messages that it cannot have had"},
    {"a reader beyond the last number",
     {{"embedded-topic", "t1", "{}"}, {"embedded-sub", "s4611686018427387904", "{\"topicId\":1}"}},
     "no reader has such a handle"},
    {"a next reader beyond the last number", {{"meta", "embedded.next_reader", "4611686018427387905"}}, "embedded.next_reader"},
    {"too many attempts",
     {{"embedded-topic", "t1", "{}"},
      {"topic", TOPIC "a", TOPIC_OF("a", "t1")},
      {"embedded-sub", "s1", "{\"topicId\":1}"},
      {"subscription", SUB "s", SUB_OF("s", "s1")},
      {"attempts", "s1", NULL}},
     "attempts record \"s1\": 20001 messages"},
    {"attempts of nobody", {{"attempts", "s1", NULL}}, NULL},
};

static const ProtobufCMessageDescriptor *type_of(const char *kind)
{
    if (strstr(kind, "topic"))
        return strstr(kind, "embedded") ? &runnel__broker__embedded_topic__descriptor : &runnel__broker__topic_record__descriptor;
    if (strstr(kind, "embedded"))
        return &runnel__broker__embedded_reader__descriptor;
    if (strcmp(kind, "attempts") == 0)
        return &runnel__broker__attempts_record__descriptor;
    return strcmp(kind, "snapshot") ? &runnel__broker__subscription_record__descriptor : &runnel__broker__snapshot_record__descriptor;
}

static void on_put(void *arg, const struct err *e) { assert_null(e); }

static void put_resource(struct store_txn *t, const struct row *r)
{
    struct arena *a = arena_new(8 << 20);
    ProtobufCMessage *m = pb_new(a, type_of(r->kind));
    struct err e = {0};
    char *bytes;
    size_t n;
    if (!r->json) { /* one more than there can be */
        Runnel__Broker__AttemptsRecord *record = (Runnel__Broker__AttemptsRecord *)m;
        record->n_entries = LEASES_MAX + 1;
        record->entries = arena_alloc(a, record->n_entries * sizeof *record->entries);
        for (size_t i = 0; i < record->n_entries; i++)
            record->entries[i] = (void *)pb_new(a, &runnel__broker__attempts_record__entry__descriptor);
    } else if (json_decode(a, str_of(r->json), m, &e)) {
        fail_msg("%s: %s", r->json, e.msg);
    }
    assert_int_equal(pb_pack(m, &bytes, &n, NULL), 0);
    assert_int_equal(store_txn_put(t, r->kind, r->name, (struct str){bytes, n}, NULL), 0);
    free(bytes);
    arena_free(a);
}

/* A row of another table: what of, and a number. */
static bool put_number(struct store_txn *t, const struct row *r)
{
    static const uint8_t bits[ACK_CHUNK_BYTES] = {1};
    uint64_t of = strtoull(r->name, NULL, 10), n = r->json ? strtoull(r->json, NULL, 10) : 0;
    if (strcmp(r->kind, "meta") == 0)
        return store_txn_meta(t, r->name, n, NULL) == 0;
    if (strcmp(r->kind, "floor") == 0)
        return store_txn_floor(t, of, n, NULL) == 0;
    return strcmp(r->kind, "chunk") == 0 && store_txn_chunk(t, of, n, bits, NULL) == 0;
}

static void put(struct store *store, const struct row *r)
{
    struct store_txn *t = store_txn_new();
    if (!put_number(t, r))
        put_resource(t, r);
    store_submit(store, t, on_put, NULL);
    store_memory_step(store, 1, ERR_OK);
}

/* As the server does it: the adapter first. */
static int load(struct fake_env *fe, struct store *store, struct err *e)
{
    static const struct broker_config config = {.default_project = "p"};
    struct adapter *adapter = adapter_embedded_new(&fe->env, store, e);
    if (!adapter)
        return -(int)e->code;
    struct broker *b = broker_new(&fe->env, &config, store, adapter, NULL, e);
    assert_non_null(b);
    int rc = broker_load(b, e);
    broker_free(b);
    return rc;
}

static void records_that_it_did_not_write_are_named(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fake_env fe;
        struct err e = {0};
        support_env(&fe);
        struct store *store = store_memory_new();
        for (size_t k = 0; k < ROWS_MAX && cases[i].rows[k].kind; k++)
            put(store, &cases[i].rows[k]);
        int rc = load(&fe, store, &e);
        CASE_INT(cases[i].name, rc, -(int)e.code);
        if (cases[i].says ? !strstr(e.msg, cases[i].says) : rc != 0)
            fail_msg("case \"%s\": \"%s\" does not say \"%s\"", cases[i].name, e.msg, cases[i].says ? cases[i].says : "");
        store->ops->close(store);
        support_env_fini(&fe);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(records_that_it_did_not_write_are_named)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

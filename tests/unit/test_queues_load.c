/** test_queues_load.c: task queues are loaded from records that are not what they wrote: they say which one and why, and do not start.
 *  Tasks that cannot be read are told to the log and left where they are; the others run. */
#include "tests/support/unit.h"

#include "broker/queues.h"
#include "core/base/text.h"
#include "core/rpc/json.h"
#include "core/rpc/pb.h"
#include "tests/support/support.h"

#include <stdio.h>

#define ROWS_MAX 3
#define Q "projects/p/locations/l/queues/"
#define NEXT                     \
    {                            \
        "meta", "next-list", "5" \
    }
#define QUEUE(name, id, fields, more) "{\"queue\":{\"name\":\"" Q name "\",\"state\":\"RUNNING\"" fields "},\"listId\":\"" id "\"" more "}"
#define TASK(id, fields, more)               \
    "{\"task\":{\"name\":\"" Q "q/tasks/" id \
    "\",\"httpRequest\":{\"url\":\"http://127.0.0.1:9/\"},\"createTime\":\"2026-01-01T00:00:00Z\"" fields "}" more "}"

struct row {
    const char *kind, *name, *json; /* NULL: bytes that are no message */
};
static const struct {
    const char *name;
    struct row rows[ROWS_MAX];
    const char *says; /* NULL: it loads */
} cases[] = {
    {"a queue", {NEXT, {"queue", Q "q", QUEUE("q", "1", "", "")}}, NULL},
    {"a queue and one that is gone",
     {NEXT, {"queue", Q "q", QUEUE("q", "1", "", "")}, {"deleted-queue", "2", QUEUE("q", "2", "", "")}},
     NULL},
    {"bytes", {NEXT, {"queue", Q "q", NULL}}, "queue record \"" Q "q\": malformed"},
    {"no queue", {NEXT, {"queue", Q "q", "{\"listId\":\"1\"}"}}, "queue record \"" Q "q\": malformed"},
    {"a name that is none", {NEXT, {"queue", "q", "{\"queue\":{\"name\":\"q\"},\"listId\":\"1\"}"}}, "queue record \"q\": malformed"},
    {"another queue", {NEXT, {"queue", Q "r", QUEUE("q", "1", "", "")}}, "queue record \"" Q "r\": it is one of another queue"},
    {"no list", {NEXT, {"queue", Q "q", QUEUE("q", "0", "", "")}}, "queue record \"" Q "q\": the list of its tasks"},
    {"a list that the next queue would get",
     {NEXT, {"queue", Q "q", QUEUE("q", "5", "", "")}},
     "queue record \"" Q "q\": the list of its tasks"},
    {"a list of two",
     {NEXT, {"queue", Q "q", QUEUE("q", "1", "", "")}, {"queue", Q "r", QUEUE("r", "1", "", "")}},
     "the list of its tasks is another queue's, too"},
    {"a list of one that is gone",
     {NEXT, {"queue", Q "q", QUEUE("q", "1", "", "")}, {"deleted-queue", "1", QUEUE("r", "1", "", "")}},
     "the list of its tasks is another queue's, too"},
    {"a negative rate",
     {NEXT, {"queue", Q "q", QUEUE("q", "1", ",\"rateLimits\":{\"maxDispatchesPerSecond\":-1}", "")}},
     "queue record \"" Q "q\": rate_limits.max_dispatches_per_second: -1"},
    {"a backoff of ages",
     {NEXT, {"queue", Q "q", QUEUE("q", "1", ",\"retryConfig\":{\"maxBackoff\":\"315576000000s\"}", "")}},
     "retry_config.max_backoff"},
    {"purged at the end of all time",
     {NEXT, {"queue", Q "q", QUEUE("q", "1", ",\"purgeTime\":\"9999-12-31T23:59:59Z\"", "")}},
     "queue record \"" Q "q\": it was purged at the end of all time"},
    {"dead letters for ages",
     {NEXT, {"queue", Q "q", QUEUE("q", "1", "", ",\"settings\":{\"deadKeepNs\":\"9223372036854775807\"}")}},
     "queue record \"" Q "q\": its settings are out of range"},
    {"one that is gone of another list",
     {NEXT, {"deleted-queue", "3", QUEUE("q", "2", "", "")}},
     "deleted-queue record \"3\": it is one of another list"},
    {"gone before all time",
     {NEXT, {"deleted-queue", "2", QUEUE("q", "2", "", ",\"deletedWallNs\":\"-1\"")}},
     "deleted-queue record \"2\": deleted before 1970"},
    {"bytes of one that is gone", {NEXT, {"deleted-queue", "2", NULL}}, "deleted-queue record \"2\": malformed"},
    {"a next list that there cannot be", {{"meta", "next-list", "18446744073709551615"}}, "meta \"next-list\""},
};

/* Each in a queue with a good task, which runs all the same. */
static const struct {
    const char *name, *json; /* of the row "t" in the lane of no fair key and priority 0; NULL: bytes that are no message */
    bool runs;
} tasks[] = {
    {"a task", TASK("t", "", ""), true},
    {"bytes", NULL, false},
    {"no task", "{}", false},
    {"another task", TASK("x", "", ""), false},
    {"a task of another lane", TASK("t", "", ",\"priority\":3"), false},
    {"a priority that there is not", TASK("t", "", ",\"priority\":4294967295"), false},
    {"no target", "{\"task\":{\"name\":\"" Q "q/tasks/t\"}}", false},
    {"created before all time",
     "{\"task\":{\"name\":\"" Q "q/tasks/t\",\"httpRequest\":{\"url\":\"http://127.0.0.1:9/\"},\"createTime\":\"0001-01-01T00:00:00Z\"}}",
     false},
    {"tried before all time", TASK("t", ",\"dispatchCount\":1,\"firstAttempt\":{\"dispatchTime\":\"0001-01-01T00:00:00Z\"}", ""), false},
    {"a deadline of ages", TASK("t", ",\"dispatchDeadline\":\"315576000000s\"", ""), false},
    {"tried less than never", TASK("t", ",\"dispatchCount\":-1", ""), false},
};

static void on_put(void *arg, const struct err *e) { assert_null(e); }

static void finish(struct store *store, struct store_txn *t)
{
    store_submit(store, t, on_put, NULL);
    store_memory_step(store, 1, ERR_OK);
}

static struct str packed(const ProtobufCMessageDescriptor *type, const char *json, char **bytes)
{
    struct arena *a = arena_new(1 << 20);
    ProtobufCMessage *m = pb_new(a, type);
    struct err e = {0};
    size_t n;
    if (json && json_decode(a, str_of(json), m, &e))
        fail_msg("%s: %s", json, e.msg);
    assert_int_equal(pb_pack(m, bytes, &n, NULL), 0);
    arena_free(a);
    return json ? (struct str){*bytes, n} : STR("\xff");
}

static void put(struct store *store, const struct row *r)
{
    struct store_txn *t = store_txn_new();
    char *bytes = NULL;
    uint64_t number = 0;
    if (strcmp(r->kind, "meta") == 0) {
        assert_int_equal(parse_u64(str_of(r->json), UINT64_MAX, &number, NULL), 0);
        assert_int_equal(store_txn_meta(t, r->name, number, NULL), 0);
    } else {
        struct str body = packed(&runnel__broker__queue_record__descriptor, r->json, &bytes);
        assert_int_equal(store_txn_put(t, r->kind, r->name, body, NULL), 0);
    }
    finish(store, t);
    free(bytes);
}

struct world {
    struct fake_env fe;
    struct store *store;
    struct task_consumer consumer;
    char started[64]; /* ids, each with a space */
    struct queues *queues;
};

static void on_start(struct task_consumer *c, struct task_run *run)
{
    struct world *w = CONTAINER_OF(c, struct world, consumer);
    size_t n = strlen(w->started);
    snprintf(w->started + n, sizeof w->started - n, "%s ", strrchr(run->record->task->name, '/') + 1);
    queue_settle(run, &(struct task_outcome){.status = 200});
}

static void on_cancel(struct task_consumer *c, struct task_run *run) { fail_msg("nothing is called off here"); }

static void world_init(struct world *w)
{
    memset(w, 0, sizeof *w);
    support_env(&w->fe);
    w->store = store_memory_new();
    w->consumer = (struct task_consumer){on_start, on_cancel};
    assert_non_null(w->store);
}

static int load(struct world *w, struct err *e)
{
    const struct queues_config config = {0};
    const struct queue_deps deps = {&w->fe.env, w->store, NULL, &w->consumer};
    w->queues = queues_new(&config, &deps, e);
    assert_non_null(w->queues);
    return queues_load(w->queues, e);
}

static void until_quiet(struct world *w)
{
    for (int i = 0; i < 100; i++) {
        store_memory_step(w->store, SIZE_MAX, ERR_OK);
        fake_env_advance(&w->fe, NS_PER_S / 10);
    }
}

static void world_fini(struct world *w)
{
    queues_stop(w->queues);
    w->store->ops->close(w->store);
    queues_free(w->queues);
    support_env_fini(&w->fe);
}

static void records_that_they_did_not_write_are_named(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct world w;
        struct err e = {0};
        world_init(&w);
        for (size_t k = 0; k < ROWS_MAX && cases[i].rows[k].kind; k++)
            put(w.store, &cases[i].rows[k]);
        CASE_INT(cases[i].name, load(&w, &e), cases[i].says ? -ERR_DATA_LOSS : 0);
        if (cases[i].says && !strstr(e.msg, cases[i].says))
            fail_msg("case \"%s\": \"%s\" does not say \"%s\"", cases[i].name, e.msg, cases[i].says);
        if (!cases[i].says)
            until_quiet(&w);
        world_fini(&w);
    }
}

static void put_task(struct store *store, const char *id, const char *json)
{
    struct store_txn *t = store_txn_new();
    char *bytes = NULL;
    const struct store_entry entry = {id, 0, FAKE_WALL_NS, packed(&runnel__broker__task_record__descriptor, json, &bytes)};
    assert_int_equal(store_txn_entry_put(t, 1, &entry, NULL), 0);
    finish(store, t);
    free(bytes);
}

static int count_lane(void *arg, uint32_t lane, uint64_t count, struct err *e)
{
    *(uint64_t *)arg += count;
    return 0;
}

static void tasks_that_cannot_be_read_stay(void **state)
{
    static const struct row rows[] = {NEXT, {"queue", Q "q", QUEUE("q", "1", "", "")}};
    for (size_t i = 0; i < ARRAY_LEN(tasks); i++) {
        struct world w;
        struct err e = {0};
        uint64_t left = 0;
        world_init(&w);
        put(w.store, &rows[0]);
        put(w.store, &rows[1]);
        put_task(w.store, "t", tasks[i].json);
        put_task(w.store, "u", TASK("u", "", ""));
        CASE_INT(tasks[i].name, load(&w, &e), 0);
        until_quiet(&w);
        CASE_STR(tasks[i].name, w.started, tasks[i].runs ? "t u " : "u ");
        assert_int_equal(w.store->ops->load_lanes(w.store, 1, count_lane, &left, NULL), 0);
        CASE_INT(tasks[i].name, left, tasks[i].runs ? 0 : 1);
        world_fini(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_that_they_did_not_write_are_named),
        cmocka_unit_test(tasks_that_cannot_be_read_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

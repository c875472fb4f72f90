/* fuzz_records.c: what the rows of a data folder may hold when the server starts: records of topics, subscriptions, snapshots, attempts,
 * services, revisions, jobs, executions, policies, keys, queues and schedules, acknowledgements, numbers, messages and tasks. Everything is loaded by those who load it in the
 * server, on the store in memory. What is refused is refused with a sentence that names a record. What is accepted has to live: minutes
 * of maintenance, lists, creations, a publish, a pull, a seek, programs that start. What was written meanwhile is loaded
 * again, and is the same. (SQLite's own side of it: tests/unit/test_store.c.)
 * Input: a row a line: KIND NAME BODY; a body is the JSON of the record, or its bytes percent-encoded. Also `meta KEY N`,
 * `floor ID N`, `chunk ID N BYTES`, `message TOPIC SEQ BYTES` and `entry LIST LANE DUE KEY BODY`, the body a queue's task, or
 * `run-entry` and the same, the body an execution's task. */
#include "broker/ackset.h"
#include "broker/queues.h"
#include "broker/records.pb-c.h"
#include "core/base/text.h"
#include "core/rpc/json.h"
#include "core/rpc/pb.h"
#include "dispatcher/identity.h"
#include "dispatcher/identity.pb-c.h"
#include "dispatcher/policy.h"
#include "executor/jobs.pb-c.h"
#include "executor/run.pb-c.h"
#include "executor/run_jobs.pb-c.h"
#include "schedules/records.pb-c.h"
#include "schedules/scheduler.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/support_broker.h"
#include "tests/support/support_executor.h"

#define ROWS_MAX 64
#define ANSWER_MAX (64u << 20)
#define FAR_MAX (UINT64_C(1) << 24)
#define STEPS_MAX 100000
#define MAINTAIN_NS (61 * NS_PER_S)
#define PROGRAMS_NS (200 * NS_PER_MS)

static const struct {
    const char *kind;
    const ProtobufCMessageDescriptor *type;
} kinds[] = {
    {"topic", &runnel__broker__topic_record__descriptor},
    {"deleted-topic", &runnel__broker__topic_record__descriptor},
    {"subscription", &runnel__broker__subscription_record__descriptor},
    {"snapshot", &runnel__broker__snapshot_record__descriptor},
    {"attempts", &runnel__broker__attempts_record__descriptor},
    {"embedded-topic", &runnel__broker__embedded_topic__descriptor},
    {"embedded-sub", &runnel__broker__embedded_reader__descriptor},
    {"embedded-snapshot", &runnel__broker__embedded_reader__descriptor},
    {"run.service", &google__cloud__run__v2__service__descriptor},
    {"run.revision", &google__cloud__run__v2__revision__descriptor},
    {"run.job", &google__cloud__run__v2__job__descriptor},
    {"run.execution", &runnel__run__v1__execution_record__descriptor},
    {"policy", &google__iam__v1__policy__descriptor},
    {"signing-key", &runnel__identity__signing_key__descriptor},
    {"queue", &runnel__broker__queue_record__descriptor},
    {"deleted-queue", &runnel__broker__queue_record__descriptor},
    {"schedule", &runnel__schedules__job_record__descriptor},
    {"schedule-state", &runnel__schedules__job_state__descriptor},
};

/* ---- the rows ---- */

static struct str word(struct str *line)
{
    const char *space = line->n ? memchr(line->p, ' ', line->n) : NULL;
    struct str w = {line->p, space ? (size_t)(space - line->p) : line->n};
    *line = space ? (struct str){space + 1, line->n - w.n - 1} : (struct str){line->p + line->n, 0};
    return w;
}

static uint64_t number(struct str *line)
{
    uint64_t n = 0;
    return parse_u64(word(line), UINT64_MAX, &n, NULL) ? 0 : n;
}

/* A sequence number that leaves no hole of more than FAR_MAX, which would only be a trial of patience; or one that there cannot be. */
static uint64_t sequence(struct str *line)
{
    uint64_t n = number(line);
    return n > STORE_SEQ_MAX + 1 ? n : n % FAR_MAX;
}

/* Percent-encoded bytes; what is no encoding stands for itself. In the arena. */
static struct str bytes_of(struct arena *a, struct str text)
{
    char *copy = arena_dup(a, text);
    FUZZ_MUST(copy);
    int n = percent_decode(copy, text.n, false);
    return (struct str){copy, n < 0 ? text.n : (size_t)n};
}

static struct str body_of(struct arena *a, const ProtobufCMessageDescriptor *type, struct str text)
{
    ProtobufCMessage *m = pb_new(a, type);
    char *packed;
    size_t n;
    if (text.n == 0 || text.p[0] != '{' || json_decode(a, text, m, NULL))
        return bytes_of(a, text);
    FUZZ_MUST(pb_pack(m, &packed, &n, NULL) == 0);
    char *kept = arena_dup(a, (struct str){packed, n});
    FUZZ_MUST(kept);
    free(packed);
    return (struct str){kept, n};
}

/* Due times are seconds from the time of the clock, which stands at the beginning of 2026; what has no list is none. */
static int put_entry(struct store_txn *t, struct arena *a, const ProtobufCMessageDescriptor *type, struct str rest)
{
    uint64_t list = number(&rest), lane = number(&rest), due_s = number(&rest);
    char *key = arena_dup(a, word(&rest));
    FUZZ_MUST(key);
    size_t n = strlen(key);
    if (list == 0 || list > INT64_MAX || lane > STORE_LANE_MAX || n == 0 || n > STORE_ENTRY_KEY_MAX)
        return 0;
    int64_t due_ns = due_s > UINT32_MAX ? (int64_t)(due_s / 2) : FAKE_WALL_NS + (int64_t)due_s * NS_PER_S;
    const struct store_entry entry = {key, (uint32_t)lane, due_ns, body_of(a, type, rest)};
    return store_txn_entry_put(t, list, &entry, NULL);
}

static int put_other(struct store_txn *t, struct arena *a, struct str kind, struct str rest)
{
    if (str_is(kind, "meta")) {
        char *key = arena_dup(a, word(&rest));
        bool next = strncmp(key, "embedded.next.", 14) == 0;
        return *key ? store_txn_meta(t, key, next ? sequence(&rest) : number(&rest), NULL) : 0;
    }
    if (str_is(kind, "entry"))
        return put_entry(t, a, &runnel__broker__task_record__descriptor, rest);
    if (str_is(kind, "run-entry"))
        return put_entry(t, a, &runnel__run__v1__task_record__descriptor, rest);
    uint64_t id = number(&rest), n = str_is(kind, "chunk") ? number(&rest) : sequence(&rest);
    if (str_is(kind, "floor"))
        return store_txn_floor(t, id, n, NULL);
    if (str_is(kind, "message"))
        return id > STORE_TOPIC_ID_MAX || n > STORE_SEQ_MAX ? 0 : store_txn_append(t, id, n, FAKE_WALL_NS, bytes_of(a, rest), NULL);
    if (!str_is(kind, "chunk"))
        return 0;
    uint8_t bits[ACK_CHUNK_BYTES] = {0};
    struct str bytes = bytes_of(a, rest);
    for (size_t i = 0; bytes.n && i < sizeof bits; i++)
        bits[i] = (uint8_t)bytes.p[i % bytes.n];
    n = n > 2 * ACKSET_CHUNKS_MAX ? n : n % (FAR_MAX / ACK_CHUNK_BITS); /* as above */
    return store_txn_chunk(t, id, n, bits, NULL);
}

static void on_put(void *arg, const struct err *e) {}

static void put_row(struct store *store, struct arena *a, struct str line)
{
    struct store_txn *t = store_txn_new();
    struct str kind = word(&line);
    int rc = -1;
    FUZZ_MUST(t);
    for (size_t i = 0; i < ARRAY_LEN(kinds) && rc; i++)
        if (str_is(kind, kinds[i].kind)) {
            char *name = arena_dup(a, word(&line));
            rc = *name ? store_txn_put(t, kinds[i].kind, name, body_of(a, kinds[i].type, line), NULL) : 0;
        }
    if (rc)
        rc = put_other(t, a, kind, line);
    if (rc) {
        store_txn_free(t); /* what no row can be */
        return;
    }
    store_submit(store, t, on_put, NULL);
    while (store_memory_step(store, SIZE_MAX, ERR_OK))
        ;
}

/* ---- those who load ---- */

struct server {
    struct fake_env fe;
    struct store *store;
    struct mailbox *engine;
    struct registry *registry;
    struct metrics *metrics;
    struct operations *operations;
    struct fake_runtime runtime;
    struct fake_prober prober;
};

static bool refused(const char *who, int rc, const struct err *e)
{
    if (rc == 0)
        return false;
    FUZZ_CHECK(rc == -(int)e->code && (e->code == ERR_DATA_LOSS || e->code == ERR_FAILED_PRECONDITION || e->code == ERR_RESOURCE_EXHAUSTED),
               "%s: refused with %d and %d", who, rc, (int)e->code);
    FUZZ_CHECK(strstr(e->msg, " record \"") || strstr(e->msg, "meta \""), "%s: refused without a record: %s", who, e->msg);
    return true;
}

static void until_quiet(struct server *s, int64_t ns)
{
    int64_t end_ns = s->fe.clock.mono_ns + ns;
    size_t steps = 0;
    for (;;) {
        size_t moved = store_memory_step(s->store, SIZE_MAX, ERR_OK) + mailbox_deliver(s->engine);
        moved += fake_env_advance(&s->fe, 0);
        FUZZ_CHECK(++steps < STEPS_MAX, "it does not come to rest");
        if (moved || store_memory_queued(s->store))
            continue;
        int64_t due_ns = timers_next_ns(s->fe.env.timers);
        if (due_ns > end_ns)
            break;
        fake_clock_move(&s->fe.clock, due_ns - s->fe.clock.mono_ns);
    }
    if (s->fe.clock.mono_ns < end_ns)
        fake_clock_move(&s->fe.clock, end_ns - s->fe.clock.mono_ns);
}

static void on_finish(struct call *c) { *(bool *)c->handler_data = true; }

/* Ask as a client does; whatever the answer says, there is one, and it can be written: into `out`, when it is asked for. */
static void ask_for(struct server *s, void *service, const char *method, const char *json, struct buf *out)
{
    const struct method *m = NULL;
    bool answered = false;
    for (size_t i = 0; (m = registry_method(s->registry, i)) && !strstr(m->name, method); i++)
        ;
    FUZZ_MUST(m);
    struct arena *a = arena_new(CALL_ARENA_MAX);
    struct call c = {.method = m, .service = service, .arena = a, .finish = on_finish, .handler_data = &answered};
    FUZZ_MUST(a && (c.request = pb_new(a, m->request)) && json_decode(a, str_of(json), c.request, NULL) == 0);
    registry_dispatch(s->registry, &c);
    for (int i = 0; i < 100 && !answered; i++)
        until_quiet(s, i ? NS_PER_S : 0);
    FUZZ_CHECK(answered, "%s is not answered", method);
    FUZZ_CHECK(c.err.code == ERR_OK || c.err.msg[0], "%s fails without a word", method);
    struct err e = {0};
    if (c.err.code == ERR_OK && json_encode(out, c.reply, 0, &e))
        FUZZ_CHECK(e.msg[0], "an answer that cannot be written");
    arena_free(a);
}

static void ask(struct server *s, void *service, const char *method, const char *json)
{
    struct buf b;
    buf_init(&b, ANSWER_MAX);
    ask_for(s, service, method, json, &b);
    buf_fini(&b);
}

static void on_stopped(void *arg) { *(bool *)arg = true; }

static const struct {
    const char *method, *json;
} questions[] = {
    {"Publisher/Publish", "{\"topic\":\"projects/p/topics/top\",\"messages\":[{\"data\":\"aGk=\",\"attributes\":{\"a\":\"b\"}}]}"},
    {"Subscriber/Pull", "{\"subscription\":\"projects/p/subscriptions/sub\",\"maxMessages\":10,\"returnImmediately\":true}"},
    {"Subscriber/Pull", "{\"subscription\":\"projects/p/subscriptions/two\",\"maxMessages\":10,\"returnImmediately\":true}"},
    {"Publisher/CreateTopic", "{\"name\":\"projects/p/topics/fresh\"}"},
    {"Publisher/UpdateTopic", "{\"topic\":{\"name\":\"projects/p/topics/top\",\"labels\":{\"a\":\"b\"}},\"updateMask\":\"labels\"}"},
    {"Subscriber/CreateSubscription", "{\"name\":\"projects/p/subscriptions/fresh\",\"topic\":\"projects/p/topics/top\"}"},
    {"Subscriber/UpdateSubscription",
     "{\"subscription\":{\"name\":\"projects/p/subscriptions/sub\",\"labels\":{\"a\":\"b\"}},\"updateMask\":\"labels\"}"},
    {"Subscriber/CreateSnapshot", "{\"name\":\"projects/p/snapshots/fresh\",\"subscription\":\"projects/p/subscriptions/sub\"}"},
    {"Subscriber/Seek", "{\"subscription\":\"projects/p/subscriptions/sub\",\"snapshot\":\"projects/p/snapshots/snap\"}"},
    {"Publisher/DeleteTopic", "{\"topic\":\"projects/p/topics/use\"}"},
};

static void list_broker(struct server *s, struct broker *b, struct buf *out)
{
    ask_for(s, b, "Publisher/ListTopics", "{\"project\":\"projects/p\"}", out);
    ask_for(s, b, "Subscriber/ListSubscriptions", "{\"project\":\"projects/p\"}", out);
    ask_for(s, b, "Subscriber/ListSnapshots", "{\"project\":\"projects/p\"}", out);
}

/* What it has in the end comes into `list`. */
static void use_broker(struct server *s, struct broker *b, struct buf *list)
{
    bool stopped = false;
    until_quiet(s, MAINTAIN_NS);
    for (size_t i = 0; i < ARRAY_LEN(questions); i++)
        ask(s, b, questions[i].method, questions[i].json);
    until_quiet(s, MAINTAIN_NS);
    list_broker(s, b, list);
    broker_stop(b, on_stopped, &stopped);
    until_quiet(s, 0);
    FUZZ_CHECK(stopped, "the broker does not stop");
}

/* NULL: refused. */
static struct broker *load_broker(struct server *s, struct err *e)
{
    static const struct broker_config config = {.default_project = "p", .pull_wait_ns = NS_PER_S};
    struct adapter *adapter = adapter_embedded_new(&s->fe.env, s->store, e);
    if (refused("the adapter", adapter ? 0 : -(int)e->code, e))
        return NULL;
    struct broker *b = broker_new(&s->fe.env, &config, s->store, adapter, s->metrics, e);
    FUZZ_MUST(b);
    if (!refused("the broker", broker_load(b, e), e))
        return b;
    broker_free(b);
    return NULL;
}

static void check_broker(struct server *s)
{
    struct err e = {0};
    struct buf before, after;
    struct broker *b = load_broker(s, &e);
    if (!b)
        return;
    buf_init(&before, ANSWER_MAX);
    buf_init(&after, ANSWER_MAX);
    FUZZ_MUST(broker_register(b, s->registry, &e) == 0);
    use_broker(s, b, &before);
    broker_free(b);
    b = load_broker(s, &e);
    FUZZ_CHECK(b, "what it wrote is refused: %s", e.msg);
    list_broker(s, b, &after);
    FUZZ_CHECK(str_eq(buf_str(&before), buf_str(&after)), "it was\n%.*s and is\n%.*s", (int)buf_len(&before), buf_data(&before),
               (int)buf_len(&after), buf_data(&after));
    broker_free(b);
    buf_fini(&before);
    buf_fini(&after);
}

#define R "projects/p/locations/r/jobs/"
static const struct {
    const char *method, *json;
} job_questions[] = {
    {"v1.Jobs/TriggerJob", /* the event of some in the corpus */
     "{\"name\":\"projects/p/locations/r/jobs/j\",\"subscription\":\"projects/p/subscriptions/s\",\"message\":{\"messageId\":\"1\"}}"},
    {"v2.Tasks/ListTasks", "{\"parent\":\"" R "j/executions/x\"}"},
    {"v2.Tasks/GetTask", "{\"name\":\"" R "j/executions/x/tasks/x-0\"}"},
    {"v1.Jobs/GetTaskAttempts", "{\"name\":\"" R "j/executions/x/tasks/x-1\"}"},
    {"v2.Jobs/RunJob", "{\"name\":\"" R "j\"}"},
    {"v1.Jobs/RunWithInputs", "{\"name\":\"" R "j\",\"inputs\":[\"a\",\"b\"]}"},
    {"v1.Jobs/RetryFailed", "{\"name\":\"" R "j/executions/x\"}"},
    {"v2.Executions/CancelExecution", "{\"name\":\"" R "j/executions/y\"}"},
    {"v2.Jobs/UpdateJob", "{\"job\":{\"name\":\"" R "j\",\"template\":{\"template\":{\"containers\":[{\"image\":\"exec:///y\"}]}}}}"},
    {"v2.Jobs/CreateJob", "{\"parent\":\"projects/p/locations/r\",\"jobId\":\"fresh\",\"job\":{\"template\":{\"taskCount\":3,"
                          "\"template\":{\"containers\":[{\"image\":\"exec:///y\"}]}}}}"},
    {"v2.Jobs/RunJob", "{\"name\":\"" R "fresh\"}"},
    {"v2.Executions/DeleteExecution", "{\"name\":\"" R "j/executions/z\"}"},
    {"v2.Jobs/DeleteJob", "{\"name\":\"" R "use\"}"},
};

/* Services run on; of the tasks every third attempt fails. */
static void vary(void *arg, const struct runtime_spec *spec, struct fake_behaviour *b)
{
    const struct fake_runtime *rt = arg;
    if (spec->wants_port)
        return;
    b->exits_ns = NS_PER_MS;
    b->exit_code = rt->starts % 3 == 0;
}

static void list_executor(struct server *s, struct executor *x, struct buf *out)
{
    ask_for(s, x, "v2.Jobs/ListJobs", "{\"parent\":\"projects/p/locations/r\"}", out);
    ask_for(s, x, "v2.Executions/ListExecutions", "{\"parent\":\"" R "j\"}", out);
    ask_for(s, x, "v2.Tasks/ListTasks", "{\"parent\":\"" R "j/executions/x\"}", out);
    ask_for(s, x, "Services/ListServices", "{\"parent\":\"projects/p/locations/r\"}", out);
    ask_for(s, x, "Revisions/ListRevisions", "{\"parent\":\"projects/p/locations/r/services/s\"}", out);
}

/* How many resources a list has: what is said of them, conditions and times, is found out anew at each start. */
static size_t named(const struct buf *list)
{
    static const char name[] = "\"name\":\"projects/";
    struct str rest = buf_str(list);
    size_t n = 0;
    for (const char *at; rest.n && (at = memmem(rest.p, rest.n, name, sizeof name - 1)); n++) {
        rest.n -= (size_t)(at + 1 - rest.p);
        rest.p = at + 1;
    }
    return n;
}

static struct executor *load_executor(struct server *s, struct err *e)
{
    static const struct executor_config config = {
        .project = "p", .region = "r", .domain = "localhost", .port = 8080, .idle_ns = 60 * NS_PER_S, .max_instances_host = 20};
    const struct executor_deps deps = {.env = &s->fe.env,
                                       .store = s->store,
                                       .runtime = &s->runtime.base,
                                       .prober = &s->prober.base,
                                       .operations = s->operations,
                                       .metrics = s->metrics,
                                       .engine = s->engine};
    fake_runtime_init(&s->runtime, &s->fe.env);
    fake_prober_init(&s->prober, &s->runtime);
    s->runtime.vary = vary;
    s->runtime.hook_arg = &s->runtime;
    struct executor *x = executor_new(&config, &deps, e);
    FUZZ_MUST(x);
    if (!refused("the executor", executor_load(x, e), e))
        return x;
    executor_free(x);
    fake_runtime_forget(&s->runtime);
    return NULL;
}

static void free_executor(struct server *s, struct executor *x)
{
    executor_free(x);
    fake_runtime_forget(&s->runtime);
}

static void check_executor(struct server *s)
{
    struct err e = {0};
    struct buf before, after;
    struct executor *x = load_executor(s, &e);
    if (!x)
        return;
    buf_init(&before, ANSWER_MAX);
    buf_init(&after, ANSWER_MAX);
    FUZZ_MUST(executor_register(x, s->registry, &e) == 0);
    until_quiet(s, PROGRAMS_NS);
    ask(s, x, "Services/UpdateService",
        "{\"service\":{\"name\":\"projects/p/locations/r/services/s\",\"template\":{\"containers\":[{\"image\":\"exec:///y\"}]}}}");
    for (size_t i = 0; i < ARRAY_LEN(job_questions); i++)
        ask(s, x, job_questions[i].method, job_questions[i].json);
    until_quiet(s, MAINTAIN_NS);
    list_executor(s, x, &before);
    free_executor(s, x);
    x = load_executor(s, &e);
    FUZZ_CHECK(x, "what it wrote is refused: %s", e.msg);
    list_executor(s, x, &after);
    FUZZ_CHECK(named(&before) == named(&after), "it was\n%.*s and is\n%.*s", (int)buf_len(&before), buf_data(&before), (int)buf_len(&after),
               buf_data(&after));
    free_executor(s, x);
    buf_fini(&before);
    buf_fini(&after);
}

/* ---- queues ---- */

#define Q "projects/p/locations/l/queues/"
static const struct {
    const char *method, *json;
} queue_questions[] = {
    {"CloudTasks/ListTasks", "{\"parent\":\"" Q "q\",\"responseView\":\"FULL\"}"},
    {"CloudTasks/GetTask", "{\"name\":\"" Q "q/tasks/t\",\"responseView\":\"FULL\"}"},
    {"CloudTasks/RunTask", "{\"name\":\"" Q "q/tasks/t\"}"},
    {"v1.Tasks/GetTaskTimeline", "{\"name\":\"" Q "q/tasks/t\"}"},
    {"v1.Tasks/ListDeadTasks", "{\"parent\":\"" Q "q\"}"},
    {"v1.Tasks/RedriveDeadTasks", "{\"parent\":\"" Q "q\",\"all\":true}"},
    {"CloudTasks/CreateTask",
     "{\"parent\":\"" Q "q\",\"task\":{\"name\":\"" Q "q/tasks/t2\",\"httpRequest\":{\"url\":\"http://127.0.0.1:9/\"}}}"},
    {"CloudTasks/CreateQueue", "{\"parent\":\"projects/p/locations/l\",\"queue\":{\"name\":\"" Q "fresh\"}}"},
    {"CloudTasks/CreateTask", "{\"parent\":\"" Q "fresh\",\"task\":{\"httpRequest\":{\"url\":\"http://127.0.0.1:9/\"}}}"},
    {"CloudTasks/ResumeQueue", "{\"name\":\"" Q "q\"}"},
    {"CloudTasks/DeleteTask", "{\"name\":\"" Q "q/tasks/t\"}"},
    {"CloudTasks/PurgeQueue", "{\"name\":\"" Q "purged\"}"},
    {"CloudTasks/DeleteQueue", "{\"name\":\"" Q "use\"}"},
};

/* The first attempt of a task fails, the second is not even sent, the third succeeds; and so on. */
static void on_task(struct task_consumer *c, struct task_run *run)
{
    struct task_outcome o = {.status = run->attempt % 3 == 0 ? 200 : 503, .undelivered = run->attempt % 3 == 2};
    queue_settle(run, &o);
}

static void on_task_cancelled(struct task_consumer *c, struct task_run *run) {}

static struct queues *load_queues(struct server *s, struct err *e)
{
    static const struct queues_config config = {.region = "l"};
    static struct task_consumer consumer = {on_task, on_task_cancelled};
    const struct queue_deps deps = {&s->fe.env, s->store, s->metrics, &consumer};
    struct queues *qs = queues_new(&config, &deps, e);
    FUZZ_MUST(qs);
    if (!refused("the queues", queues_load(qs, e), e))
        return qs;
    queues_free(qs);
    return NULL;
}

static void list_queues(struct server *s, struct queues *qs, struct buf *out)
{
    ask_for(s, qs, "CloudTasks/ListQueues", "{\"parent\":\"projects/p/locations/l\"}", out);
    ask_for(s, qs, "CloudTasks/ListTasks", "{\"parent\":\"" Q "q\",\"responseView\":\"FULL\"}", out);
    ask_for(s, qs, "v1.Tasks/ListDeadTasks", "{\"parent\":\"" Q "q\"}", out);
}

static void check_queues(struct server *s)
{
    struct err e = {0};
    struct buf before, after;
    struct queues *qs = load_queues(s, &e);
    if (!qs)
        return;
    buf_init(&before, ANSWER_MAX);
    buf_init(&after, ANSWER_MAX);
    FUZZ_MUST(queues_register(qs, s->registry, &e) == 0);
    until_quiet(s, NS_PER_S);
    for (size_t i = 0; i < ARRAY_LEN(queue_questions); i++)
        ask(s, qs, queue_questions[i].method, queue_questions[i].json);
    until_quiet(s, NS_PER_S);
    queues_stop(qs);
    until_quiet(s, 0);
    queues_free(qs);
    qs = load_queues(s, &e);
    FUZZ_CHECK(qs, "what it wrote is refused: %s", e.msg);
    list_queues(s, qs, &before);
    queues_stop(qs);
    until_quiet(s, 0);
    queues_free(qs);
    qs = load_queues(s, &e);
    FUZZ_CHECK(qs, "what it wrote is refused: %s", e.msg);
    list_queues(s, qs, &after);
    FUZZ_CHECK(named(&before) == named(&after), "it was\n%.*s and is\n%.*s", (int)buf_len(&before), buf_data(&before), (int)buf_len(&after),
               buf_data(&after));
    queues_stop(qs);
    until_quiet(s, 0);
    queues_free(qs);
    buf_fini(&before);
    buf_fini(&after);
}

/* ---- schedules ---- */

#define J "projects/p/locations/l/jobs/"
static const struct {
    const char *method, *json;
} schedule_questions[] = {
    {"CloudScheduler/GetJob", "{\"name\":\"" J "j\"}"},
    {"Schedules/NextFirings", "{\"name\":\"" J "j\",\"count\":20}"},
    {"CloudScheduler/RunJob", "{\"name\":\"" J "j\"}"},
    {"CloudScheduler/PauseJob", "{\"name\":\"" J "j\"}"},
    {"CloudScheduler/RunJob", "{\"name\":\"" J "j\"}"},
    {"CloudScheduler/ResumeJob", "{\"name\":\"" J "j\"}"},
    {"Schedules/UpdateJobPolicy", "{\"policy\":{\"name\":\"" J "j\",\"jitter\":\"30s\"},\"updateMask\":\"jitter\"}"},
    {"CloudScheduler/UpdateJob", "{\"job\":{\"name\":\"" J "j\",\"description\":\"x\"},\"updateMask\":\"description\"}"},
    {"CloudScheduler/CreateJob", "{\"parent\":\"projects/p/locations/l\",\"job\":{\"name\":\"" J
                                 "fresh\",\"schedule\":\"* * * * *\",\"httpTarget\":{\"uri\":\"http://127.0.0.1:9/\"}}}"},
    {"CloudScheduler/DeleteJob", "{\"name\":\"" J "use\"}"},
};

/* Every second call fails. */
static void on_firing(struct target *t, struct target_call *c)
{
    static unsigned calls;
    struct target_result result = {.http_status = ++calls % 2 ? 503 : 200};
    if (result.http_status == 503)
        err_set(&result.err, ERR_UNAVAILABLE, "503");
    c->done(c, &result);
}

static void on_firing_cancelled(struct target *t, struct target_call *c) {}

static void free_schedules(struct server *s, struct schedules *sch)
{
    bool stopped = false;
    schedules_stop(sch, NS_PER_S, on_stopped, &stopped);
    until_quiet(s, 2 * NS_PER_S);
    FUZZ_CHECK(stopped, "the schedules do not stop");
    schedules_free(sch);
}

static struct schedules *load_schedules(struct server *s, struct err *e)
{
    static const struct schedules_config config = {.region = "l"};
    static const struct target_ops ops = {.kind = "HTTP", .start = on_firing, .cancel = on_firing_cancelled};
    static struct target target = {.ops = &ops};
    const struct schedules_deps deps = {.env = &s->fe.env, .store = s->store, .metrics = s->metrics, .http = &target, .pubsub = &target};
    struct schedules *sch = schedules_new(&config, &deps, e);
    FUZZ_MUST(sch);
    if (!refused("the schedules", schedules_load(sch, e), e))
        return sch;
    schedules_free(sch);
    return NULL;
}

static void check_schedules(struct server *s)
{
    static const char list[] = "{\"parent\":\"projects/p/locations/l\"}";
    struct err e = {0};
    struct buf before, after;
    struct schedules *sch = load_schedules(s, &e);
    if (!sch)
        return;
    buf_init(&before, ANSWER_MAX);
    buf_init(&after, ANSWER_MAX);
    FUZZ_MUST(schedules_register(sch, s->registry, &e) == 0);
    until_quiet(s, MAINTAIN_NS);
    for (size_t i = 0; i < ARRAY_LEN(schedule_questions); i++)
        ask(s, sch, schedule_questions[i].method, schedule_questions[i].json);
    until_quiet(s, MAINTAIN_NS);
    ask_for(s, sch, "CloudScheduler/ListJobs", list, &before);
    free_schedules(s, sch);
    sch = load_schedules(s, &e);
    FUZZ_CHECK(sch, "what it wrote is refused: %s", e.msg);
    ask_for(s, sch, "CloudScheduler/ListJobs", list, &after);
    FUZZ_CHECK(named(&before) == named(&after), "it was\n%.*s and is\n%.*s", (int)buf_len(&before), buf_data(&before), (int)buf_len(&after),
               buf_data(&after));
    free_schedules(s, sch);
    buf_fini(&before);
    buf_fini(&after);
}

static void check_dispatcher(struct server *s)
{
    static const struct policy_config open_to_all = {0};
    static const struct identity_config issuer = {.issuer = "http://issuer", .project = "p"};
    struct err e = {0};
    struct policy *p = policy_new(&s->fe.env, &open_to_all, s->store, &e);
    FUZZ_MUST(p);
    refused("the policy", policy_load(p, &e), &e);
    policy_free(p);
    struct identity *id = identity_new(&s->fe.env, &issuer, s->store, NULL, s->engine, &e);
    FUZZ_MUST(id);
    refused("the identity", identity_load(id, &e), &e);
    identity_free(id);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str in = fuzz_str(data, size);
    struct server s = {0};
    struct arena *a = arena_new(64u << 20);
    support_env(&s.fe);
    s.store = store_memory_new();
    s.engine = mailbox_new(100000, NULL, NULL);
    s.registry = registry_new();
    s.metrics = metrics_new();
    s.operations = operations_new(&s.fe.env, NULL);
    FUZZ_MUST(a && s.store && s.engine && s.registry && s.metrics && s.operations);
    for (size_t rows = 0; in.n && rows < ROWS_MAX; rows++)
        put_row(s.store, a, fuzz_line(&in));
    check_dispatcher(&s);
    check_broker(&s);
    check_executor(&s);
    check_queues(&s);
    check_schedules(&s);
    operations_free(s.operations);
    s.store->ops->close(s.store);
    mailbox_deliver(s.engine);
    mailbox_free(s.engine);
    registry_free(s.registry);
    metrics_free(s.metrics);
    support_env_fini(&s.fe);
    arena_free(a);
    return 0;
}

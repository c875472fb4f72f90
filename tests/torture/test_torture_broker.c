/** test_torture_broker.c: the broker while memory, writes and syncs fail under each of its methods, on both stores.
 *  A topic with three accepted messages, one of them delivered, a snapshot, and a queue with a task; then one method with one fault somewhere; then the
 *  same again without. What was answered with OK holds, also after a proper restart and after a power cut; what was refused left
 *  nothing half made, and works at the second try. */
#include "tests/support/support_broker.h"
#include "tests/support/support_sqlite.h"
#include "tests/support/unit.h"

#include <stdio.h>
#include <sys/stat.h>

#define P "projects/test-project"
#define T P "/topics/tee"
#define S P "/subscriptions/sub"
#define SNAP P "/snapshots/"
#define L P "/locations/here"
#define Q L "/queues/q"
#define FIRST 3 /* messages n = 0, 1, 2 */
#define NUMBERS 64
#define HALF_HOUR_NS (1800 * NS_PER_S)

enum kind { CREATES, DELETES, PUBLISHES, ACKS, CHANGES };
struct step {
    const char *name;
    enum kind kind;
    const char *method, *json;  /* %s: the ack id of message 0 */
    const char *get, *get_json; /* shows whether it is there; none: nothing to look at */
};
static const struct step steps[] = {
    {"create a topic", CREATES, "Publisher/CreateTopic", "{\"name\":\"" P "/topics/two\",\"labels\":{\"a\":\"b\"}}", "Publisher/GetTopic",
     "{\"topic\":\"" P "/topics/two\"}"},
    {"create a subscription", CREATES, "Subscriber/CreateSubscription",
     "{\"name\":\"" P "/subscriptions/two\",\"topic\":\"" T "\",\"filter\":\"attributes:k\"}", "Subscriber/GetSubscription",
     "{\"subscription\":\"" P "/subscriptions/two\"}"},
    {"create a snapshot", CREATES, "Subscriber/CreateSnapshot", "{\"name\":\"" SNAP "two\",\"subscription\":\"" S "\"}",
     "Subscriber/GetSnapshot", "{\"snapshot\":\"" SNAP "two\"}"},
    {"publish", PUBLISHES, "Publisher/Publish",
     "{\"topic\":\"" T "\",\"messages\":[{\"attributes\":{\"n\":\"10\"}},{\"attributes\":{\"n\":\"11\"},\"data\":\"eA==\"}]}", NULL, NULL},
    {"acknowledge", ACKS, "Subscriber/Acknowledge", "{\"subscription\":\"" S "\",\"ackIds\":[\"%s\"]}", NULL, NULL},
    {"nack", CHANGES, "Subscriber/ModifyAckDeadline", "{\"subscription\":\"" S "\",\"ackIds\":[\"%s\"],\"ackDeadlineSeconds\":0}", NULL,
     NULL},
    {"lease", CHANGES, "Subscriber/Pull", "{\"subscription\":\"" S "\",\"maxMessages\":10,\"returnImmediately\":true}", NULL, NULL},
    {"seek to a time", CHANGES, "Subscriber/Seek", "{\"subscription\":\"" S "\",\"time\":\"2025-12-31T00:00:00Z\"}", NULL, NULL},
    {"seek to a snapshot", CHANGES, "Subscriber/Seek", "{\"subscription\":\"" S "\",\"snapshot\":\"" SNAP "one\"}", NULL, NULL},
    {"update a topic", CHANGES, "Publisher/UpdateTopic",
     "{\"topic\":{\"name\":\"" T "\",\"labels\":{\"a\":\"c\"}},\"updateMask\":\"labels\"}", NULL, NULL},
    {"update a subscription", CHANGES, "Subscriber/UpdateSubscription",
     "{\"subscription\":{\"name\":\"" S "\",\"labels\":{\"a\":\"c\"}},\"updateMask\":\"labels\"}", NULL, NULL},
    {"change where to push", CHANGES, "Subscriber/ModifyPushConfig", "{\"subscription\":\"" S "\",\"pushConfig\":{}}", NULL, NULL},
    {"delete a snapshot", DELETES, "Subscriber/DeleteSnapshot", "{\"snapshot\":\"" SNAP "one\"}", "Subscriber/GetSnapshot",
     "{\"snapshot\":\"" SNAP "one\"}"},
    {"delete a subscription", DELETES, "Subscriber/DeleteSubscription", "{\"subscription\":\"" S "\"}", "Subscriber/GetSubscription",
     "{\"subscription\":\"" S "\"}"},
    {"create a queue", CREATES, "CloudTasks/CreateQueue", "{\"parent\":\"" L "\",\"queue\":{\"name\":\"" L "/queues/two\"}}",
     "CloudTasks/GetQueue", "{\"name\":\"" L "/queues/two\"}"},
    {"pause a queue", CHANGES, "CloudTasks/PauseQueue", "{\"name\":\"" Q "\"}", NULL, NULL},
    {"update a queue", CHANGES, "CloudTasks/UpdateQueue", "{\"queue\":{\"name\":\"" Q "\"},\"updateMask\":\"retryConfig.maxAttempts\"}",
     NULL, NULL},
    {"set a queue's settings", CHANGES, "Tasks/UpdateQueueSettings", "{\"settings\":{\"name\":\"" Q "/settings\",\"keyConcurrent\":2}}",
     NULL, NULL},
    {"list queues", CHANGES, "CloudTasks/ListQueues", "{\"parent\":\"" L "\",\"pageSize\":1,\"filter\":\"state:RUNNING\"}", NULL, NULL},
    {"create a task", CREATES, "CloudTasks/CreateTask",
     "{\"parent\":\"" Q "\",\"task\":{\"name\":\"" Q "/tasks/two\",\"scheduleTime\":\"2026-01-20T00:00:00Z\","
     "\"httpRequest\":{\"url\":\"http://a/\"}}}",
     "CloudTasks/GetTask", "{\"name\":\"" Q "/tasks/two\"}"},
    {"list tasks", CHANGES, "CloudTasks/ListTasks", "{\"parent\":\"" Q "\"}", NULL, NULL},
    {"tell a task's story", CHANGES, "Tasks/GetTaskTimeline", "{\"name\":\"" Q "/tasks/one\"}", NULL, NULL},
    {"delete a task", DELETES, "CloudTasks/DeleteTask", "{\"name\":\"" Q "/tasks/one\"}", "CloudTasks/GetTask",
     "{\"name\":\"" Q "/tasks/one\"}"},
    {"create tasks at once", CREATES, "Tasks/BatchCreateTasks",
     "{\"parent\":\"" Q "\",\"tasks\":[{\"name\":\"" Q "/tasks/two\",\"scheduleTime\":\"2026-01-20T00:00:00Z\","
     "\"httpRequest\":{\"url\":\"http://a/\"}}]}",
     NULL, NULL},
    {"run a task", CHANGES, "CloudTasks/RunTask", "{\"name\":\"" Q "/tasks/one\"}", NULL, NULL},
    {"redrive dead letters", CHANGES, "Tasks/RedriveDeadTasks", "{\"parent\":\"" Q "\",\"all\":true}", NULL, NULL},
    {"purge a queue", DELETES, "CloudTasks/PurgeQueue", "{\"name\":\"" Q "\"}", "CloudTasks/GetTask", "{\"name\":\"" Q "/tasks/one\"}"},
    {"delete a queue", DELETES, "CloudTasks/DeleteQueue", "{\"name\":\"" Q "\"}", "CloudTasks/GetQueue", "{\"name\":\"" Q "\"}"},
    {"delete a topic", DELETES, "Publisher/DeleteTopic", "{\"topic\":\"" T "\"}", "Publisher/GetTopic", "{\"topic\":\"" T "\"}"},
};

enum after { AFTER_NOTHING, AFTER_RESTART, AFTER_CRASH, AFTER_N };
static const char *const after_names[] = {"at once", "after a restart", "after a crash"};

struct run {
    struct tb tb;
    const struct step *step;
    enum fault what;
    size_t nth;
    enum after after;
    bool sqlite, second_try;
    char dir[256], cut[256], ack_id[256];
};

FMT(2, 3) static void broken(const struct run *r, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    fail_msg("%s, %s %zu (%s), %s: %s", r->step->name, fault_name(r->what), r->nth, r->sqlite ? "SQLite" : "memory", after_names[r->after],
             text);
}

static void begin(struct run *r)
{
    static const char *base;
    static unsigned count;
    if (r->sqlite) {
        base = base ? base : support_tmpdir();
        snprintf(r->dir, sizeof r->dir, "%.200s/%u", base, count);
        snprintf(r->cut, sizeof r->cut, "%.200s/%u-cut", base, count++);
        tb_start_sqlite(&r->tb, r->dir);
    } else {
        tb_start(&r->tb);
    }
    tb_call(&r->tb, ERR_OK, "Publisher/CreateTopic", "{\"name\":\"" T "\"}");
    tb_call(&r->tb, ERR_OK, "Subscriber/CreateSubscription",
            "{\"name\":\"" S "\",\"topic\":\"" T "\",\"ackDeadlineSeconds\":600,\"retainAckedMessages\":true}");
    for (int n = 0; n < FIRST; n++)
        tb_call(&r->tb, ERR_OK, "Publisher/Publish", "{\"topic\":\"" T "\",\"messages\":[{\"attributes\":{\"n\":\"%d\"}}]}", n);
    tb_call(&r->tb, ERR_OK, "Subscriber/CreateSnapshot", "{\"name\":\"" SNAP "one\",\"subscription\":\"" S "\"}");
    tb_call(&r->tb, ERR_OK, "CloudTasks/CreateQueue", "{\"parent\":\"" L "\",\"queue\":{\"name\":\"" Q "\"}}");
    tb_call(&r->tb, ERR_OK, "CloudTasks/CreateTask",
            "{\"parent\":\"" Q "\",\"task\":{\"name\":\"" Q "/tasks/one\",\"scheduleTime\":\"2026-01-20T00:00:00Z\","
            "\"httpRequest\":{\"url\":\"http://a/\"}}}");
    const char *got = tb_call(&r->tb, ERR_OK, "Subscriber/Pull", "{\"subscription\":\"" S "\",\"maxMessages\":1}");
    assert_string_equal(tb_json(got, "n", 0), "0");
    snprintf(r->ack_id, sizeof r->ack_id, "%s", tb_json(got, "ackId", 0));
}

static void end(struct run *r)
{
    tb_stop(&r->tb);
    if (!r->sqlite)
        return;
    sqlite_disk_forget(r->dir);
    sqlite_disk_forget(r->cut);
    support_remove(r->dir);
    support_remove(r->cut);
}

static enum err_code call_code(struct run *r, const char *method, const char *json, char *text, size_t size)
{
    char request[1024];
    const char *hole = strstr(json, "%s");
    snprintf(request, sizeof request, "%.*s%s%s", (int)(hole ? hole - json : (long)strlen(json)), json, hole ? r->ack_id : "",
             hole ? hole + 2 : "");
    struct tb_call *c = tb_begin(&r->tb, method, request);
    for (int wait = 0; !c->done && wait < 100; wait++)
        tb_advance(&r->tb, NS_PER_S / 10);
    if (!c->done)
        broken(r, "%s: no answer", method);
    enum err_code code = c->call.err.code;
    snprintf(text, size, "%s", c->text);
    tb_end(c);
    return code;
}

/* ---- looking ---- */

static bool exists(struct run *r)
{
    char text[8192];
    enum err_code code = call_code(r, r->step->get, r->step->get_json, text, sizeof text);
    if (code != ERR_OK && code != ERR_NOT_FOUND)
        broken(r, "%s says %s: %s", r->step->get, err_name(code), text);
    return code == ERR_OK;
}

/* All that the subscription still has to give. */
static void drain(struct run *r, size_t came[NUMBERS])
{
    tb_advance(&r->tb, HALF_HOUR_NS); /* what is delivered comes back */
    for (int round = 0; round < 20; round++) {
        const char *got =
            tb_call(&r->tb, ERR_OK, "Subscriber/Pull", "{\"subscription\":\"" S "\",\"maxMessages\":100,\"returnImmediately\":true}");
        for (size_t i = 0; tb_json(got, "n", i); i++)
            came[strtoul(tb_json(got, "n", i), NULL, 10) % NUMBERS]++;
        tb_run(&r->tb);
    }
}

static void check_messages(struct run *r, bool published, bool perhaps, bool acked)
{
    size_t came[NUMBERS] = {0};
    drain(r, came);
    for (size_t n = 0; n < FIRST; n++)
        if (!came[n] && !(n == 0 && r->step->kind == ACKS))
            broken(r, "message %zu was accepted and is gone", n);
    if (acked && came[0])
        broken(r, "message 0 came again after its acknowledgement was answered");
    if ((came[10] != 0) != (came[11] != 0))
        broken(r, "half of a batch is there");
    if (published && !came[10])
        broken(r, "a batch was accepted and is gone");
    if (!published && !perhaps && came[10])
        broken(r, "a batch was refused and is there");
}

/* ---- one run ---- */

static void check_refusal(const struct run *r, enum err_code code, const char *text)
{
    bool memory = code == ERR_RESOURCE_EXHAUSTED && strstr(text, "memory");
    bool disk =
        r->sqlite && ((code == ERR_RESOURCE_EXHAUSTED && strstr(text, "is full")) || (code == ERR_UNAVAILABLE && strstr(text, r->dir)));
    if (!memory && !disk)
        broken(r, "refused with %s: %s", err_name(code), text);
}

/* The second try, without a fault. What the first one did in spite of its answer may show. */
static enum err_code again(struct run *r, enum err_code first, bool memory)
{
    char text[8192];
    enum err_code code = call_code(r, r->step->method, r->step->json, text, sizeof text);
    bool did = first == ERR_OK || memory;
    if (code != ERR_OK && !(did && r->step->kind == CREATES && code == ERR_ALREADY_EXISTS) &&
        !(did && r->step->kind == DELETES && code == ERR_NOT_FOUND))
        broken(r, "the second try says %s: %s", err_name(code), text);
    return code;
}

static void go_on(struct run *r)
{
    if (r->after == AFTER_RESTART)
        tb_restart(&r->tb, false);
    if (r->after != AFTER_CRASH)
        return;
    if (!r->sqlite) {
        tb_restart(&r->tb, true);
        return;
    }
    assert_int_equal(mkdir(r->cut, 0700), 0);
    sqlite_power_cut(r->dir, r->cut, CUT_KEEPS_NONE);
    tb_restart_in(&r->tb, r->cut);
}

static bool run_once(struct run *r, size_t times)
{
    char text[8192];
    begin(r);
    r->tb.fault.what = r->what;
    r->tb.fault.nth = r->nth;
    r->tb.fault.times = times;
    enum err_code code = call_code(r, r->step->method, r->step->json, text, sizeof text);
    tb_run(&r->tb);
    bool failed = fault_disarm();
    if (code != ERR_OK && !failed)
        broken(r, "nothing failed, yet it says %s: %s", err_name(code), text);
    if (code != ERR_OK)
        check_refusal(r, code, text);
    /* Memory may run out after all is durable, when the answer is made. */
    bool memory = r->what == FAULT_ALLOC || r->what == FAULT_SQLITE_ALLOC;
    bool ok = code == ERR_OK;
    if (!r->second_try) {
        go_on(r); /* a fault, then at once the end */
        if (r->step->get && (ok || !memory) && exists(r) != (ok == (r->step->kind == CREATES)))
            broken(r, "answered with %s, and it is %s", err_name(code), exists(r) ? "there" : "not there");
        if (r->step->kind != DELETES)
            check_messages(r, ok && r->step->kind == PUBLISHES, memory, ok && r->step->kind == ACKS);
    } else {
        again(r, code, memory);
        go_on(r);
        if (r->step->get && exists(r) != (r->step->kind == CREATES))
            broken(r, "done at the second try, and not so");
        if (r->step->kind != DELETES)
            check_messages(r, r->step->kind == PUBLISHES, false, r->step->kind == ACKS);
    }
    end(r);
    return failed;
}

struct given {
    const struct step *step;
    enum after after;
    bool sqlite;
};

static bool run_step(const struct torture *t, enum fault what, size_t nth, size_t times)
{
    const struct given *g = t->arg;
    struct run r = {.step = g->step, .what = what, .nth = nth, .after = g->after, .sqlite = g->sqlite};
    bool failed = run_once(&r, times);
    r.second_try = true;
    failed |= run_once(&r, times);
    return failed;
}

static size_t torture_all(bool sqlite, enum fault what, size_t times)
{
    size_t failures = 0;
    for (size_t i = 0; i < ARRAY_LEN(steps); i++)
        for (enum after after = 0; after < AFTER_N; after++) {
            struct given g = {&steps[i], after, sqlite};
            struct torture t = {.name = steps[i].name, .run = run_step, .arg = &g};
            failures += torture(&t, what, times);
        }
    return failures;
}

static void without_memory(void **state) { assert_true(torture_all(false, FAULT_ALLOC, FAULT_ONCE) > 500); }
static void without_memory_in_the_store(void **state) { assert_true(torture_all(true, FAULT_SQLITE_ALLOC, FAULT_ONCE) > 100); }
static void with_writes_that_fail(void **state) { assert_true(torture_all(true, FAULT_WRITE, FAULT_ONCE) > 50); }
static void with_syncs_that_fail(void **state) { assert_true(torture_all(true, FAULT_SYNC, FAULT_ONCE) > 20); }
static void with_a_disk_that_is_full(void **state) { assert_true(torture_all(true, FAULT_FULL, FAULT_FOR_EVER) > 50); }

int main(void)
{
    sqlite_faults_install();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_memory),       cmocka_unit_test(without_memory_in_the_store), cmocka_unit_test(with_writes_that_fail),
        cmocka_unit_test(with_syncs_that_fail), cmocka_unit_test(with_a_disk_that_is_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/** support_broker.c: a broker to test, see support_broker.h. */
#include "tests/support/support_broker.h"

#include "core/rpc/json.h"
#include "core/rpc/pb.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define RUN_ROUNDS_MAX 1000000
#define REQUEST_MAX (32u * 1024 * 1024)

static void die(const char *what, const struct err *e)
{
    fprintf(stderr, "support_broker: %s: %s\n", what, e ? e->msg : "");
    abort();
}

static void on_watch(void *arg, struct subscription *s, bool gone)
{
    struct tb *tb = arg;
    tb->watched.s = s;
    tb->watched.gone = gone;
    tb->watched.calls++;
}

static void on_gone(void *arg, const char *resource)
{
    struct tb *tb = arg;
    snprintf(tb->gone, sizeof tb->gone, "%s", resource);
}

/* ---- the consumer of task queues ---- */

void tb_settle(struct tb *tb, size_t i, int status)
{
    const struct task_outcome outcome = {.status = status, .sent_wall_ns = env_wall(&tb->fe.env)};
    if (i >= tb->tasks.n)
        die("no such task runs", NULL);
    struct task_run *run = tb->tasks.runs[i];
    tb->tasks.runs[i] = tb->tasks.runs[--tb->tasks.n];
    queue_settle(run, &outcome);
}

static void on_start(struct task_consumer *c, struct task_run *run)
{
    struct tb *tb = CONTAINER_OF(c, struct tb, tasks.consumer);
    if (tb->tasks.n == TB_RUNS_MAX)
        die("too many tasks run", NULL);
    tb->tasks.started++;
    tb->tasks.runs[tb->tasks.n++] = run;
    if (tb->tasks.status)
        tb_settle(tb, tb->tasks.n - 1, tb->tasks.status);
}

static void on_cancel(struct task_consumer *c, struct task_run *run)
{
    struct tb *tb = CONTAINER_OF(c, struct tb, tasks.consumer);
    for (size_t i = 0; i < tb->tasks.n; i++)
        if (tb->tasks.runs[i] == run) {
            tb_settle(tb, i, 503);
            return;
        }
}

static void open_queues(struct tb *tb)
{
    const struct queue_deps deps = {.env = &tb->fe.env, .store = tb->store, .metrics = tb->metrics, .consumer = &tb->tasks.consumer};
    struct err e = {0};
    tb->tasks.consumer = (struct task_consumer){.start = on_start, .cancel = on_cancel};
    tb->tasks.n = 0;
    tb->queues = queues_new(&tb->queues_config, &deps, &e);
    if (!tb->queues || queues_register(tb->queues, tb->registry, &e))
        die("queues", &e);
    queues_on_delete(tb->queues, on_gone, tb);
    if (queues_load(tb->queues, &e))
        die("load", &e);
}

static void open_broker(struct tb *tb)
{
    static const struct broker_config config = {.default_project = "test-project"};
    struct err e = {0};
    tb->metrics = metrics_new();
    tb->registry = registry_new();
    tb->adapter = adapter_embedded_new(&tb->fe.env, tb->store, &e);
    if (!tb->adapter)
        die("adapter", &e);
    tb->broker = broker_new(&tb->fe.env, &config, tb->store, tb->adapter, tb->metrics, &e);
    if (!tb->broker || broker_register(tb->broker, tb->registry, &e))
        die("broker", &e);
    broker_watch(tb->broker, on_watch, tb);
    broker_on_delete(tb->broker, on_gone, tb);
    if (broker_load(tb->broker, &e))
        die("load", &e);
    open_queues(tb);
    tb_run(tb);
}

void tb_start(struct tb *tb) { tb_start_with(tb, &(struct queues_config){0}); }

void tb_start_with(struct tb *tb, const struct queues_config *c)
{
    *tb = (struct tb){.queues_config = *c};
    support_env(&tb->fe);
    tb->store = store_memory_new();
    if (!tb->store)
        die("store", NULL);
    open_broker(tb);
}

static void on_wake(void *arg) { sem_post(arg); }

static void open_sqlite(struct tb *tb)
{
    struct err e = {0};
    sem_init(&tb->woken, 0, 0);
    tb->mailbox = mailbox_new(SIZE_MAX, on_wake, &tb->woken);
    tb->store = tb->mailbox ? store_sqlite_open(tb->dir, tb->mailbox, log_null(), &e) : NULL;
    if (!tb->store)
        die("store", &e);
    open_broker(tb);
}

void tb_start_sqlite(struct tb *tb, const char *dir)
{
    *tb = (struct tb){.dir = dir};
    support_env(&tb->fe);
    open_sqlite(tb);
}

static void free_queues(struct tb *tb)
{
    queues_free(tb->queues);
    metrics_free(tb->metrics);
}

/* The queues wait for the store's last answers. */
static void close_store(struct tb *tb)
{
    tb->store->ops->close(tb->store);
    if (tb->dir) {
        mailbox_free(tb->mailbox);
        sem_destroy(&tb->woken);
    }
    free_queues(tb);
}

static void on_barrier(struct store_seek *q, const struct err *e) { *(bool *)q->arg = true; }

/* Let the SQLite store answer all it was asked until now: it answers in order, and a question of ours comes last. */
static size_t serve_sqlite(struct tb *tb)
{
    bool passed = false;
    size_t mails = 0;
    struct store_seek q = {.done = on_barrier, .arg = &passed};
    tb->store->ops->seek(tb->store, &q);
    while (!passed) {
        while (sem_wait(&tb->woken)) {}
        mails += mailbox_deliver(tb->mailbox);
    }
    return mails - 1;
}

static void on_stopped(void *arg) { *(bool *)arg = true; }

static void close_broker(struct tb *tb)
{
    bool stopped = false;
    queues_stop(tb->queues);
    broker_stop(tb->broker, on_stopped, &stopped);
    tb_run(tb);
    if (!stopped)
        die("the broker did not stop", NULL);
    broker_free(tb->broker);
    registry_free(tb->registry);
}

void tb_stop(struct tb *tb)
{
    close_broker(tb);
    close_store(tb);
    support_env_fini(&tb->fe);
}

/* What a kill leaves in memory does not matter; this only keeps the leak checker content. */
static void drop_broker(struct tb *tb)
{
    broker_free(tb->broker);
    registry_free(tb->registry);
}

void tb_restart_in(struct tb *tb, const char *dir)
{
    drop_broker(tb);
    close_store(tb);
    tb->dir = dir;
    open_sqlite(tb);
}

void tb_restart(struct tb *tb, bool crash)
{
    if (crash) {
        if (!tb->dir)
            store_memory_crash(tb->store);
        drop_broker(tb);
    } else {
        close_broker(tb);
    }
    if (!tb->dir) {
        free_queues(tb);
        open_broker(tb);
        return;
    }
    close_store(tb);
    open_sqlite(tb);
}

void tb_run(struct tb *tb)
{
    for (size_t round = 0; round < RUN_ROUNDS_MAX; round++) {
        size_t moved = tb->dir ? serve_sqlite(tb) : store_memory_step(tb->store, SIZE_MAX, tb->store_fails);
        moved += fake_env_advance(&tb->fe, 0);
        if (!moved && (tb->dir || !store_memory_queued(tb->store)))
            return;
    }
    die("it does not come to rest", NULL);
}

void tb_advance(struct tb *tb, int64_t ns)
{
    int64_t end_ns = tb->fe.clock.mono_ns + ns;
    tb_run(tb);
    while (tb->fe.clock.mono_ns < end_ns) {
        int64_t due_ns = timers_next_ns(tb->fe.env.timers);
        int64_t to_ns = due_ns < end_ns ? due_ns : end_ns;
        if (to_ns > tb->fe.clock.mono_ns)
            fake_clock_move(&tb->fe.clock, to_ns - tb->fe.clock.mono_ns);
        tb_run(tb);
    }
}

/* ---- calls ---- */

/* The row, and the service that it belongs to. */
static void find_method(struct tb *tb, const char *name, struct call *call)
{
    const struct {
        const char *package;
        void *service;
    } packages[] = {{"google.pubsub.v1", tb->broker},
                    {"google.cloud.tasks.v2", tb->queues},
                    {"google.cloud.location", tb->queues},
                    {"runnel.tasks.v1", tb->queues}};
    for (size_t p = 0; p < ARRAY_LEN(packages); p++) {
        char full[128];
        snprintf(full, sizeof full, "%s.%s", packages[p].package, name);
        for (size_t i = 0; registry_method(tb->registry, i); i++)
            if (strcmp(registry_method(tb->registry, i)->name, full) == 0) {
                call->method = registry_method(tb->registry, i);
                call->service = packages[p].service;
                return;
            }
    }
    die(name, NULL);
}

static void on_finish(struct call *call)
{
    struct tb_call *c = CONTAINER_OF(call, struct tb_call, call);
    struct err e = {0};
    struct buf text;
    fault_hold(); /* what follows is the helper's */
    if (c->done)
        die("a call was answered twice", NULL);
    c->done = true;
    buf_init(&text, REQUEST_MAX);
    if (call->err.code == ERR_OK ? json_encode(&text, call->reply, 0, &e) : buf_addz(&text, call->err.msg))
        die("encode", &e);
    c->text = strdup(buf_cstr(&text) ? buf_cstr(&text) : "");
    buf_fini(&text);
    fault_release();
}

struct tb_call *tb_begin(struct tb *tb, const char *method, const char *json)
{
    struct tb_call *c = calloc(1, sizeof *c);
    struct err e = {0};
    if (!c || !(c->call.arena = arena_new(CALL_ARENA_MAX)))
        die("memory", NULL);
    c->tb = tb;
    find_method(tb, method, &c->call);
    c->call.finish = on_finish;
    c->call.request = pb_new(c->call.arena, c->call.method->request);
    if (!c->call.request || json_decode(c->call.arena, str_of(json), c->call.request, &e)) {
        call_fail(&c->call, &e);
        return c;
    }
    if (tb->fault.nth)
        fault_arm(tb->fault.what, tb->fault.nth, tb->fault.times);
    tb->fault.nth = 0;
    registry_dispatch(tb->registry, &c->call);
    return c;
}

void tb_end(struct tb_call *c)
{
    arena_free(c->call.arena);
    free(c->text);
    free(c);
}

const char *tb_call(struct tb *tb, enum err_code want, const char *method, const char *json, ...)
{
    static char *last;
    char *request = NULL;
    va_list ap;
    va_start(ap, json);
    if (vasprintf(&request, json, ap) < 0)
        die("memory", NULL);
    va_end(ap);
    struct tb_call *c = tb_begin(tb, method, request);
    for (int64_t waited = 0; !c->done && waited < 60 * NS_PER_S; waited += NS_PER_S / 10) {
        tb_run(tb);
        if (!c->done)
            tb_advance(tb, NS_PER_S / 10);
    }
    free(last);
    last = c->text;
    c->text = NULL;
    enum err_code got = c->call.err.code;
    if (!c->done || got != want) {
        fprintf(stderr, "%s %.300s\n  -> %s: %.300s (wanted %s)\n", method, request, c->done ? err_name(got) : "no answer",
                last ? last : "", err_name(want));
        abort();
    }
    free(request);
    tb_end(c);
    return last;
}

/* ---- looking into JSON without a parser: enough for flat answers ---- */

const char *tb_json(const char *json, const char *key, size_t nth)
{
    static char values[8][4096];
    static size_t turn;
    char quoted[128];
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *p = json;
    for (size_t i = 0; (p = strstr(p, quoted)) != NULL; i++) {
        p += strlen(quoted);
        if (i < nth)
            continue;
        char *out = values[turn = (turn + 1) % 8];
        size_t n = *p == '"' ? strcspn(p + 1, "\"") : strcspn(p, ",}]");
        snprintf(out, sizeof values[0], "%.*s", (int)n, *p == '"' ? p + 1 : p);
        return out;
    }
    return NULL;
}

size_t tb_count(const char *json, const char *needle)
{
    size_t n = 0;
    for (const char *p = json; (p = strstr(p, needle)) != NULL; p += strlen(needle))
        n++;
    return n;
}

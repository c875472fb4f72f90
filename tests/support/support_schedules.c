/** support_schedules.c: schedules to test, see support_schedules.h. */
#include "tests/support/support_schedules.h"

#include "core/rpc/json.h"
#include "core/rpc/pb.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define RUN_ROUNDS_MAX 1000000
#define FIRED_MAX 2000000

struct ts_pending {
    struct call call;
    struct ts_pending *next;
    bool done;
    char *text;
};
static struct ts_pending *begun; /* by ts_begin */

static void die(const char *what, const struct err *e)
{
    fprintf(stderr, "support_schedules: %s: %s\n", what, e ? e->msg : "");
    abort();
}

/* ---- the target ---- */

static struct ts *of(struct target *t) { return CONTAINER_OF(t, struct ts, target); }

static void settle(const struct ts *ts, struct target_call *c, int status)
{
    struct target_result r = {.http_status = status, .final = ts->final};
    if (status == 0)
        err_set(&r.err, ERR_DEADLINE_EXCEEDED, "no answer in time");
    else if (status < 200 || status > 299)
        err_set(&r.err, err_from_http(status), "HTTP status code %d", status);
    c->done(c, &r);
}

static void target_start(struct target *t, struct target_call *c)
{
    struct ts *ts = of(t);
    fault_hold(); /* the helper's own */
    if (ts->n_fired == FIRED_MAX || ts->n_open == ARRAY_LEN(ts->open))
        die("too many calls", NULL);
    if (ts->n_fired == ts->fired_max) {
        ts->fired_max = ts->fired_max ? 2 * ts->fired_max : 1024;
        struct ts_fired *more = realloc(ts->fired, ts->fired_max * sizeof *ts->fired);
        if (!more)
            die("memory", NULL);
        ts->fired = more;
    }
    struct ts_fired *f = &ts->fired[ts->n_fired++];
    snprintf(f->job, sizeof f->job, "%s", strrchr(c->job->name, '/') + 1);
    snprintf(f->schedule_time, sizeof f->schedule_time, "%s", c->schedule_time);
    snprintf(f->event_id, sizeof f->event_id, "%s", c->event_id);
    f->series_len = c->series_len;
    f->overlap = c->overlap;
    f->wall_ns = ts->fe.clock.wall_ns;
    f->mono_ns = ts->fe.clock.mono_ns;
    fault_release();
    if (ts->answer)
        settle(ts, c, ts->answer);
    else
        ts->open[ts->n_open++] = c;
}

static void take(struct ts *ts, size_t i)
{
    ts->n_open--;
    memmove(ts->open + i, ts->open + i + 1, (ts->n_open - i) * sizeof *ts->open);
}

static void target_cancel(struct target *t, struct target_call *c)
{
    struct ts *ts = of(t);
    struct target_result r = {.undelivered = true};
    err_set(&r.err, ERR_CANCELLED, "called off");
    for (size_t i = 0; i < ts->n_open; i++)
        if (ts->open[i] == c) {
            take(ts, i);
            ts->cancelled++;
            c->done(c, &r);
            return;
        }
}

void ts_answer(struct ts *ts, int status)
{
    if (!ts->n_open)
        die("no call is open", NULL);
    struct target_call *c = ts->open[0];
    take(ts, 0);
    settle(ts, c, status);
    ts_run(ts);
}

/* ---- life ---- */

static void open_schedules(struct ts *ts)
{
    struct err e = {0};
    ts->target_ops = (struct target_ops){.kind = "FAKE", .lasts = ts->target_ops.lasts, .start = target_start, .cancel = target_cancel};
    ts->target.ops = &ts->target_ops;
    ts->metrics = metrics_new();
    ts->registry = registry_new();
    const struct schedules_config config = {.region = "europe-west1"};
    const struct schedules_deps deps = {
        .env = &ts->fe.env,
        .store = ts->store,
        .metrics = ts->metrics,
        .http = &ts->target,
        .pubsub = &ts->target,
        .run = &ts->target,
        .workers = ts->workers,
        .engine = ts->engine,
    };
    ts->s = schedules_new(&config, &deps, &e);
    if (!ts->s || schedules_register(ts->s, ts->registry, &e) || schedules_load(ts->s, &e))
        die("schedules", &e);
    ts_run(ts);
}

void ts_start(struct ts *ts) { ts_start_with(ts, NULL, NULL); }

void ts_start_with(struct ts *ts, struct workers *workers, struct mailbox *engine)
{
    memset(ts, 0, sizeof *ts);
    ts->workers = workers;
    ts->engine = engine;
    support_env(&ts->fe);
    ts->store = store_memory_new();
    if (!ts->store)
        die("store", NULL);
    open_schedules(ts);
}

static void pending_free(struct ts_pending *p)
{
    arena_free(p->call.arena);
    free(p->text);
    free(p);
}

static void drop_schedules(struct ts *ts)
{
    schedules_free(ts->s);
    registry_free(ts->registry);
    metrics_free(ts->metrics);
    ts->n_open = 0;
    while (begun) {
        struct ts_pending *p = begun;
        begun = p->next;
        pending_free(p);
    }
}

static void on_stopped(void *arg) { *(bool *)arg = true; }

static void stop(struct ts *ts)
{
    bool stopped = false;
    schedules_stop(ts->s, NS_PER_S, on_stopped, &stopped);
    ts_advance(ts, 2 * NS_PER_S);
    if (!stopped)
        die("schedules did not stop", NULL);
}

void ts_stop(struct ts *ts)
{
    ts->store_stops_after = 0;
    ts->store_stands = false;
    stop(ts);
    ts->store->ops->close(ts->store);
    drop_schedules(ts);
    support_env_fini(&ts->fe);
    free(ts->fired);
}

void ts_restart(struct ts *ts)
{
    stop(ts);
    drop_schedules(ts);
    open_schedules(ts);
}

void ts_crash_later(struct ts *ts, int64_t wall_ns)
{
    store_memory_crash(ts->store);
    drop_schedules(ts);
    ts->store_stands = false;
    ts->store_stops_after = 0;
    fake_clock_move(&ts->fe.clock, wall_ns);
    open_schedules(ts);
}

void ts_crash(struct ts *ts) { ts_crash_later(ts, 0); }

/* ---- time ---- */

static size_t store_step(struct ts *ts)
{
    size_t n = 0;
    for (;;) {
        bool fails = !ts->store_stands && store_memory_queued(ts->store) && fault_hits(FAULT_WRITE);
        if (ts->store_stands || !store_memory_step(ts->store, 1, fails ? ERR_UNAVAILABLE : ts->store_fails))
            break;
        n++;
        ts->store_steps++;
        if (ts->store_stops_after && ts->store_steps >= ts->store_stops_after)
            ts->store_stands = true;
    }
    return n;
}

void ts_run(struct ts *ts)
{
    for (size_t round = 0; round < RUN_ROUNDS_MAX; round++)
        if (store_step(ts) + fake_env_advance(&ts->fe, 0) == 0)
            return;
    die("it does not come to rest", NULL);
}

void ts_advance(struct ts *ts, int64_t ns)
{
    int64_t end_ns = ts->fe.clock.mono_ns + ns;
    ts_run(ts);
    while (ts->fe.clock.mono_ns < end_ns) {
        int64_t due_ns = timers_next_ns(ts->fe.env.timers);
        int64_t to_ns = due_ns < end_ns ? due_ns : end_ns;
        if (to_ns > ts->fe.clock.mono_ns)
            fake_clock_move(&ts->fe.clock, to_ns - ts->fe.clock.mono_ns);
        ts_run(ts);
    }
}

void ts_wall(struct ts *ts, int64_t wall_ns) { ts->fe.clock.wall_ns = wall_ns; }

/* ---- calls ---- */

static const struct method *find_method(struct ts *ts, const char *name)
{
    char full[160];
    const char *prefix = *name == '@' ? "" : strchr(name, '/') ? "runnel.scheduler.v1." : "google.cloud.scheduler.v1.CloudScheduler/";
    snprintf(full, sizeof full, "%s%s", prefix, name + (*name == '@'));
    for (size_t i = 0; registry_method(ts->registry, i); i++)
        if (strcmp(registry_method(ts->registry, i)->name, full) == 0)
            return registry_method(ts->registry, i);
    die(name, NULL);
    return NULL;
}

static void on_finish(struct call *call)
{
    struct ts_pending *p = CONTAINER_OF(call, struct ts_pending, call);
    struct err e = {0};
    struct buf text;
    fault_hold();
    if (p->done)
        die("a call was answered twice", NULL);
    p->done = true;
    buf_init(&text, 32u << 20);
    if (call->err.code == ERR_OK ? json_encode(&text, call->reply, 0, &e) : buf_addz(&text, call->err.msg))
        die("encode", &e);
    p->text = strdup(buf_cstr(&text) ? buf_cstr(&text) : "");
    buf_fini(&text);
    fault_release();
}

static struct ts_pending *begin(struct ts *ts, const char *method, const char *json)
{
    struct ts_pending *p = calloc(1, sizeof *p);
    struct err e = {0};
    if (!p || !(p->call.arena = arena_new(CALL_ARENA_MAX)))
        die("memory", NULL);
    p->call.method = find_method(ts, method);
    p->call.service = ts->s;
    p->call.finish = on_finish;
    p->call.request = pb_new(p->call.arena, p->call.method->request);
    if (!p->call.request || json_decode(p->call.arena, str_of(json), p->call.request, &e))
        call_fail(&p->call, &e);
    if (p->done)
        return p;
    if (ts->fault.nth)
        fault_arm(ts->fault.what, ts->fault.nth, ts->fault.times);
    ts->fault.nth = 0;
    registry_dispatch(ts->registry, &p->call);
    return p;
}

void ts_begin(struct ts *ts, const char *method, const char *json)
{
    struct ts_pending *p = begin(ts, method, json);
    p->next = begun;
    begun = p;
}

const char *ts_call(struct ts *ts, enum err_code want, const char *method, const char *json, ...)
{
    static char *last;
    char *request = NULL;
    va_list ap;
    va_start(ap, json);
    if (vasprintf(&request, json, ap) < 0)
        die("memory", NULL);
    va_end(ap);
    struct ts_pending *p = begin(ts, method, request);
    ts_run(ts);
    free(last);
    last = p->text;
    p->text = NULL;
    enum err_code got = p->call.err.code;
    if (!p->done || got != want) {
        fprintf(stderr, "%s %.300s\n  -> %s: %.300s (wanted %s)\n", method, request, p->done ? err_name(got) : "no answer",
                last ? last : "", err_name(want));
        abort();
    }
    free(request);
    pending_free(p);
    return last;
}

enum err_code ts_try(struct ts *ts, const char *method, const char *json, char *text, size_t size)
{
    struct ts_pending *p = begin(ts, method, json);
    ts_run(ts);
    for (int wait = 0; !p->done && wait < 200; wait++)
        ts_advance(ts, NS_PER_S / 10); /* for a store that is asked again */
    if (!p->done)
        die("no answer", NULL);
    enum err_code code = p->call.err.code;
    snprintf(text, size, "%s", p->text);
    pending_free(p);
    return code;
}

const char *ts_json(const char *json, const char *key)
{
    static char values[8][4096];
    static size_t turn;
    char quoted[128];
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *p = strstr(json, quoted);
    if (!p)
        return NULL;
    p += strlen(quoted);
    char *out = values[turn = (turn + 1) % 8];
    size_t n = *p == '"' ? strcspn(p + 1, "\"") : strcspn(p, ",}]");
    snprintf(out, sizeof values[0], "%.*s", (int)n, *p == '"' ? p + 1 : p);
    return out;
}

/** support_jobs.c: what is known of each execution and task from outside, and what follows from it. */
#include "tests/support/support_jobs.h"

#include "executor/exit_journal.h"
#include "tests/support/unit.h"

#include <signal.h>
#include <stdio.h>

#define REST_NS (600 * NS_PER_S) /* a timer beyond this is nobody's that we wait for */
#define STEPS_MAX 2000000

FMT(3, 4) static void broken(const struct js *js, const char *cond, const char *fmt, ...)
{
    char text[1000];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    fail_msg("%s, after %u crashes: %s: not true: %s", js->label, js->crashes, text, cond);
}

#define MUST(js, cond, ...)                   \
    do {                                      \
        if (!(cond))                          \
            broken((js), #cond, __VA_ARGS__); \
    } while (0)

static int64_t now(const struct js *js) { return js->w.fe.clock.mono_ns; }

/* ---- executions by name */

static const char *short_name(const struct js_run *r) { return strrchr(r->name, '/') + 1; }

static struct js_run *run_named(struct js *js, const struct js_job *job, const char *id)
{
    for (size_t i = 0; i < js->n_runs; i++)
        if (strcmp(short_name(js->runs[i]), id) == 0)
            return js->runs[i];
    MUST(js, js->n_runs < JS_RUNS_MAX, "execution %s", id);
    struct js_run *r = calloc(1, sizeof *r);
    assert_non_null(r);
    snprintf(r->name, sizeof r->name, JS_PARENT "/jobs/%s/executions/%s", job->id, id);
    r->job = job;
    return js->runs[js->n_runs++] = r;
}

static struct js_job *job_named(struct js *js, const char *id)
{
    for (size_t i = 0; i < js->n_jobs; i++)
        if (strcmp(js->jobs[i].id, id) == 0)
            return &js->jobs[i];
    fail_msg("no job %s", id);
    return NULL;
}

/* ---- programs */

static const char *variable(const struct runtime_spec *spec, const char *name)
{
    size_t n = strlen(name);
    for (const char *const *v = spec->env; *v; v++)
        if (strncmp(*v, name, n) == 0 && (*v)[n] == '=')
            return *v + n + 1;
    return NULL;
}

static uint32_t number_of(const char *text) { return text ? (uint32_t)strtoul(text, NULL, 10) : UINT32_MAX; }

static int64_t backoff_ns(const struct js_job *j, uint32_t failures)
{
    int64_t ns = j->backoff_min_ms * NS_PER_MS, max_ns = j->backoff_max_ms * NS_PER_MS;
    for (uint32_t i = 1; i < failures && ns < max_ns; i++)
        ns *= 2;
    return ns < max_ns ? ns : max_ns;
}

static void check_limits(struct js *js, const struct js_run *r)
{
    uint32_t beside = 0;
    MUST(js, r->n_running < r->job->parallelism, "%s", short_name(r));
    for (size_t i = 0; i < js->n_runs; i++)
        beside += js->runs[i] != r && js->runs[i]->job == r->job && js->runs[i]->n_running > 0 && !js->runs[i]->deleted;
    MUST(js, !r->job->max_concurrent || beside < r->job->max_concurrent, "%s", short_name(r));
}

static void on_start(void *arg, const struct runtime_spec *spec, struct fake_behaviour *b)
{
    struct js *js = arg;
    struct js_run *r = run_named(js, job_named(js, variable(spec, "CLOUD_RUN_JOB")), variable(spec, "CLOUD_RUN_EXECUTION"));
    uint32_t index = number_of(variable(spec, "CLOUD_RUN_TASK_INDEX")), number = number_of(variable(spec, "CLOUD_RUN_TASK_ATTEMPT"));
    const char *input = variable(spec, "RUNNEL_TASK_INPUT");
    char at[200];
    snprintf(at, sizeof at, "%s task %u attempt %u", short_name(r), index, number);
    r->n_tasks = number_of(variable(spec, "CLOUD_RUN_TASK_COUNT"));
    r->list = spec->ticket[0];
    MUST(js, index < r->n_tasks && r->n_tasks <= JS_TASKS_MAX, "%s", at);
    MUST(js, spec->ticket[1] == ((uint64_t)index << 32 | number), "%s", at);
    MUST(js, !input || (number_of(input) == index && strlen(input) > 0), "%s, its input %s", at, input);
    struct js_task *t = &r->tasks[index];
    MUST(js, !r->deleted, "%s", at);
    MUST(js, !r->cancelled, "%s", at);
    MUST(js, !t->runs, "%s", at);
    MUST(js, !t->good, "%s", at);
    MUST(js, t->begun ? number > t->number : true, "%s, after %u", at, t->number);
    MUST(js, t->failures <= r->job->retries, "%s", at);
    MUST(js, !t->failed_ns || now(js) >= t->failed_ns + backoff_ns(r->job, t->failures), "%s, %lld ms after its failure", at,
         (long long)(now(js) - t->failed_ns) / NS_PER_MS);
    check_limits(js, r);
    t->begun = t->runs = true;
    t->number = number;
    t->started_ns = now(js) + b->start_ns;
    t->failed_ns = 0;
    r->n_running++;
    js->starts++;
    js->program(js, r, index, t->failures, b);
    t->does = *b;
}

static void ended(struct js *js, struct js_run *r, struct js_task *t, const struct runtime_exit *x)
{
    bool ours = x->signal == SIGTERM || x->signal == SIGKILL;
    t->runs = false;
    r->n_running--;
    t->good = x->started && !x->signal && x->exit_code == 0;
    if (!t->good && (!ours || now(js) - t->started_ns >= r->job->timeout_s * NS_PER_S)) {
        t->failures++;
        t->failed_ns = now(js);
        t->unsure = ours || !x->started;
    }
}

static void journal(struct js *js, const uint64_t ticket[2], const struct runtime_exit *x)
{
    const struct exit_record rec = {{ticket[0], ticket[1]}, x->exit_code, x->signal, x->out_of_memory};
    if (x->started)
        assert_true(exit_journal_write(exit_journal_fd(js->w.journal), js->journal_seq++, &rec));
}

static void on_end(void *arg, const uint64_t ticket[2], const struct runtime_exit *x)
{
    struct js *js = arg;
    for (size_t i = 0; i < js->n_runs; i++)
        if (js->runs[i]->list == ticket[0]) {
            ended(js, js->runs[i], &js->runs[i]->tasks[ticket[1] >> 32], x);
            journal(js, ticket, x); /* as the warden: before the server hears of it */
            return;
        }
    fail_msg("%s: the end of nobody's program", js->label);
}

/* ---- clients */

static const char *const methods[JS_WHAT_N] = {
    [JS_CREATE] = "Jobs/CreateJob",         [JS_RUN] = "google.cloud.run.v2.Jobs/RunJob",
    [JS_RUN_INPUTS] = "Jobs/RunWithInputs", [JS_CANCEL] = "Executions/CancelExecution",
    [JS_RETRY] = "Jobs/RetryFailed",        [JS_DELETE] = "Executions/DeleteExecution",
    [JS_LOOK] = "Executions/GetExecution",  [JS_DELETE_JOB] = "Jobs/DeleteJob",
};

static void request_create(const struct js_job *j, char *out, size_t size)
{
    char more[300] = "";
    if (j->depends_on)
        snprintf(more, sizeof more, "\"runnel.dev/depends-on\":\"%s\",", j->depends_on);
    if (j->stop_after)
        snprintf(more + strlen(more), sizeof more - strlen(more), "\"runnel.dev/stop-after-failures\":\"%u\",", j->stop_after);
    if (j->max_concurrent)
        snprintf(more + strlen(more), sizeof more - strlen(more),
                 "\"runnel.dev/max-concurrent-executions\":\"%u\",\"runnel.dev/concurrency-policy\":\"%s\",", j->max_concurrent,
                 j->refuse ? "refuse" : "queue");
    snprintf(
        out, size,
        "{\"parent\":\"" JS_PARENT "\",\"jobId\":\"%s\",\"job\":{\"annotations\":{%s\"runnel.dev/backoff-min\":\"%lld.%03llds\","
        "\"runnel.dev/backoff-max\":\"%lld.%03llds\"},\"template\":{\"taskCount\":%u,\"parallelism\":%u,\"template\":{\"maxRetries\":%u,"
        "\"timeout\":\"%us\",\"containers\":[{\"image\":\"exec:///x\"}]}}}}",
        j->id, more, (long long)j->backoff_min_ms / 1000, (long long)j->backoff_min_ms % 1000, (long long)j->backoff_max_ms / 1000,
        (long long)j->backoff_max_ms % 1000, j->tasks, j->parallelism, j->retries, j->timeout_s);
}

static void request_inputs(const struct js_job *j, uint32_t tasks, char *out, size_t size)
{
    size_t n = (size_t)snprintf(out, size, "{\"name\":\"" JS_PARENT "/jobs/%s\",\"inputs\":[", j->id);
    for (uint32_t i = 0; i < tasks; i++)
        n += (size_t)snprintf(out + n, size - n, "%s\"%u\"", i ? "," : "", i);
    snprintf(out + n, size - n, "]}");
}

static void request_of(enum js_what what, const struct js_job *job, const struct js_run *run, uint32_t tasks, char *out, size_t size)
{
    switch (what) {
    case JS_CREATE:
        request_create(job, out, size);
        return;
    case JS_RUN:
        if (tasks)
            snprintf(out, size, "{\"name\":\"" JS_PARENT "/jobs/%s\",\"overrides\":{\"taskCount\":%u}}", job->id, tasks);
        else
            snprintf(out, size, "{\"name\":\"" JS_PARENT "/jobs/%s\"}", job->id);
        return;
    case JS_RUN_INPUTS:
        request_inputs(job, tasks, out, size);
        return;
    case JS_DELETE_JOB:
        snprintf(out, size, "{\"name\":\"" JS_PARENT "/jobs/%s\"}", job->id);
        return;
    case JS_CANCEL:
    case JS_RETRY:
    case JS_DELETE:
    case JS_LOOK:
    case JS_WHAT_N:
        snprintf(out, size, "{\"name\":\"%s\"}", run->name);
    }
}

/* The failed tasks are taken up again, or may be. */
static void new_round(struct js_run *r)
{
    r->cancelled = false;
    r->ended[0] = '\0';
    for (uint32_t i = 0; i < JS_TASKS_MAX; i++)
        r->tasks[i].failures = 0, r->tasks[i].failed_ns = 0;
}

static void job_deleted(struct js *js, struct js_job *j, bool sure)
{
    j->made = j->made && !sure;
    for (size_t i = 0; i < js->n_runs; i++)
        if (js->runs[i]->job == j) {
            js->runs[i]->deleted |= sure;
            js->runs[i]->unsure |= !sure;
        }
}

static void accepted_run(struct js *js, const struct js_job *job, const struct answer *a)
{
    const char *at = strstr(a->json, "/executions/");
    MUST(js, at, "an answer without an execution: %.100s", a->json);
    char id[64];
    snprintf(id, sizeof id, "%.*s", (int)strcspn(at + 12, "\""), at + 12);
    struct js_run *r = run_named(js, job, id);
    snprintf(r->operation, sizeof r->operation, "%s", json_value(a->json, "name"));
    r->epoch = js->crashes;
    if (!r->n_tasks)
        r->n_tasks = number_of(json_value(a->json, "taskCount"));
}

/* Of one that is there: what adds up at any time. */
static void check_look(struct js *js, struct js_run *r, const char *json)
{
    uint32_t good = 0, n = number_of(json_value(json, "taskCount"));
    uint32_t succeeded = 0, others = 0;
    static const char *const counts[] = {"runningCount", "failedCount", "cancelledCount"};
    const char *v = json_value(json, "succeededCount");
    succeeded = *v ? number_of(v) : 0;
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        v = json_value(json, counts[i]);
        others += *v ? number_of(v) : 0;
    }
    for (uint32_t i = 0; i < JS_TASKS_MAX; i++)
        good += r->tasks[i].good;
    MUST(js, succeeded <= good, "%s: %u succeeded, and %u have", short_name(r), succeeded, good);
    MUST(js, succeeded + others <= n, "%s: %u and %u of %u", short_name(r), succeeded, others, n);
    v = json_value(json, "completionTime");
    if (*v && !*r->ended)
        snprintf(r->ended, sizeof r->ended, "%s", v);
    MUST(js, strcmp(r->ended, v) == 0, "%s ended at %s, and now at %s", short_name(r), r->ended, v);
    MUST(js, !*v || succeeded + others == n, "%s has ended: %u and %u of %u", short_name(r), succeeded, others, n);
}

static bool may_refuse(enum err_code code)
{
    return code == ERR_UNAVAILABLE || code == ERR_ABORTED || code == ERR_FAILED_PRECONDITION || code == ERR_NOT_FOUND ||
           code == ERR_ALREADY_EXISTS;
}

static void answered(struct js *js, struct js_call *c)
{
    const struct answer *a = &c->answer;
    c->open = false;
    if (a->code) {
        MUST(js, may_refuse(a->code), "%s: %s", methods[c->what], a->message);
        js->refused++;
        if (c->what == JS_CREATE && a->code == ERR_ALREADY_EXISTS)
            c->job->made = true;
        if (c->what == JS_LOOK && a->code == ERR_NOT_FOUND)
            MUST(js, c->run->deleted || c->run->unsure, "%s is not there", short_name(c->run));
        return;
    }
    js->answered[c->what]++;
    switch (c->what) {
    case JS_CREATE:
        c->job->made = true;
        break;
    case JS_RUN:
    case JS_RUN_INPUTS:
        accepted_run(js, c->job, a);
        break;
    case JS_CANCEL:
        c->run->cancelled = true;
        break;
    case JS_RETRY:
        new_round(c->run);
        break;
    case JS_DELETE:
        c->run->deleted = true;
        break;
    case JS_LOOK:
        MUST(js, !c->run->deleted, "%s is there", short_name(c->run));
        check_look(js, c->run, a->json);
        break;
    case JS_DELETE_JOB:
        job_deleted(js, c->job, true);
        break;
    case JS_WHAT_N:
        break;
    }
}

static void take_answers(struct js *js)
{
    for (size_t i = 0; i < JS_CALLS_MAX; i++)
        if (js->calls[i].open && js->calls[i].answer.done)
            answered(js, &js->calls[i]);
}

bool js_ask(struct js *js, enum js_what what, struct js_job *job, struct js_run *run, uint32_t tasks)
{
    static char request[16384];
    for (size_t i = 0; i < JS_CALLS_MAX; i++) {
        struct js_call *c = &js->calls[i];
        if (c->open)
            continue;
        *c = (struct js_call){.open = true, .what = what, .job = job, .run = run};
        request_of(what, job, run, tasks, request, sizeof request);
        world_call_begin(&js->w, methods[what], request, &c->answer);
        take_answers(js);
        return true;
    }
    return false;
}

/* ---- going on */

void js_step(struct js *js)
{
    struct world *w = &js->w;
    if (store_memory_queued(w->store) && rng_chance(&js->rng, 0.6)) {
        for (uint64_t n = 1 + rng_below(&js->rng, 6); n > 0 && store_memory_queued(w->store); n--) {
            store_memory_step(w->store, 1, rng_chance(&js->rng, js->trouble) ? ERR_UNAVAILABLE : ERR_OK);
            take_answers(js);
        }
        return;
    }
    int64_t next_ns = timers_next_ns(w->fe.env.timers) - now(js);
    int64_t ns = (int64_t)rng_below(&js->rng, (uint64_t)(rng_chance(&js->rng, 0.1) ? NS_PER_S : 3 * NS_PER_MS));
    if (next_ns > ns && next_ns < REST_NS && rng_chance(&js->rng, 0.5))
        ns = next_ns;
    fake_env_advance(&w->fe, ns);
    mailbox_deliver(w->engine);
    take_answers(js);
}

bool js_next(struct js *js)
{
    struct world *w = &js->w;
    if (!store_memory_step(w->store, 1, ERR_OK) && !mailbox_deliver(w->engine)) {
        int64_t next_ns = timers_next_ns(w->fe.env.timers);
        if (next_ns > now(js) + REST_NS)
            return false;
        fake_env_advance(&w->fe, next_ns > now(js) ? next_ns - now(js) : 0);
    }
    take_answers(js);
    return true;
}

/* Asked, and never to be answered. */
static void forget_call(struct js *js, struct js_call *c)
{
    c->open = false;
    if (c->what == JS_RETRY)
        new_round(c->run);
    else if (c->what == JS_DELETE)
        c->run->unsure = true;
    else if (c->what == JS_DELETE_JOB)
        job_deleted(js, c->job, false);
}

static void kill_programs(struct js *js, double exits)
{
    for (size_t i = 0; i < js->n_runs; i++)
        for (uint32_t k = 0; k < JS_TASKS_MAX; k++) {
            struct js_task *t = &js->runs[i]->tasks[k];
            const uint64_t ticket[2] = {js->runs[i]->list, (uint64_t)k << 32 | t->number};
            const struct runtime_exit x = {.started = true, .exit_code = t->does.exit_code};
            if (t->failed_ns && t->unsure) {
                t->failures--;
                t->failed_ns = 0;
            }
            if (!t->runs)
                continue;
            bool itself = !t->does.cannot_execute && t->does.exits_ns != NEVER && now(js) >= t->started_ns;
            if (itself && rng_chance(&js->rng, exits)) {
                ended(js, js->runs[i], t, &x);
                journal(js, ticket, &x);
                continue;
            }
            t->runs = false;
            js->runs[i]->n_running--;
        }
}

void js_crash(struct js *js, size_t commits, double exits)
{
    struct world *w = &js->w;
    for (size_t i = 0; i < JS_CALLS_MAX; i++)
        if (js->calls[i].open)
            forget_call(js, &js->calls[i]);
    /* What the engine still does about its answers is done by one that is dead: it must only free what it holds. */
    store_memory_step(w->store, commits, ERR_OK);
    for (int turns = 0; turns < STEPS_MAX && store_memory_queued(w->store); turns++)
        store_memory_step(w->store, 1, ERR_ABORTED);
    kill_programs(js, exits);
    js->crashes++;
    world_crash(w);
}

void js_rest(struct js *js)
{
    js->trouble = 0;
    for (int steps = 0; js_next(js); steps++)
        MUST(js, steps < STEPS_MAX, "it does not come to rest");
}

/* ---- at the end */

static struct answer told;

/* NULL: it is not there. */
static const char *ask_now(struct js *js, const char *method, const char *name)
{
    char request[300];
    snprintf(request, sizeof request, "{\"name\":\"%s\"}", name);
    world_call(&js->w, method, request, &told);
    MUST(js, told.code == ERR_OK || told.code == ERR_NOT_FOUND, "%s: %s", method, told.message);
    return told.code ? NULL : told.json;
}

static uint32_t occurrences(const char *text, const char *what)
{
    uint32_t n = 0;
    for (const char *p = text; (p = strstr(p, what)); p++)
        n++;
    return n;
}

/* Its attempts are what its programs did; whether there was more than one. */
static bool check_task(struct js *js, const struct js_run *r, uint32_t index)
{
    const struct js_task *t = &r->tasks[index];
    char name[200];
    snprintf(name, sizeof name, "%s/tasks/%s-task%u", r->name, short_name(r), index);
    const char *json = ask_now(js, "Tasks/GetTask", name), *completed = json ? strstr(json, "\"Completed\"") : NULL;
    MUST(js, completed, "%s", name);
    bool succeeded = strcmp(json_value(completed, "state"), "CONDITION_SUCCEEDED") == 0;
    MUST(js, succeeded == t->good, "%s is %s", name, json_value(completed, "state"));
    MUST(js, succeeded || strcmp(json_value(completed, "state"), "CONDITION_FAILED") == 0, "%s", name);
    json = ask_now(js, "Jobs/GetTaskAttempts", name);
    uint32_t n = occurrences(json, "\"startTime\""), good = occurrences(json, "\"SUCCEEDED\"");
    MUST(js, good == succeeded, "%s", json);
    MUST(js, n == occurrences(json, "\"outcome\""), "one that has no end: %s", json);
    MUST(js, occurrences(json, "\"LOST\"") <= js->crashes, "%s", json);
    char last[32];
    snprintf(last, sizeof last, "\"attempt\":%u", n - 1);
    MUST(js, n < 2 || strstr(json, last), "attempts are numbered: %s", json);
    return n > 1;
}

static void check_operation(struct js *js, const struct js_run *r, bool succeeded)
{
    if (!*r->operation || r->epoch != js->crashes)
        return; /* operations live as long as the server */
    const char *json = ask_now(js, "Operations/GetOperation", r->operation);
    MUST(js, json && strcmp(json_value(json, "done"), "true") == 0, "%s: %.200s", short_name(r), json ? json : "no operation");
    /* Its failed tasks may have been taken up again with success. */
    MUST(js, (strstr(json, "\"response\"") != NULL) <= succeeded, "%s: %.200s", short_name(r), json);
}

/* Whether it is there and has succeeded; the second time, that nothing is other than the first time. */
static bool check_run(struct js *js, struct js_run *r)
{
    const char *json = ask_now(js, "Executions/GetExecution", r->name);
    if (!json || r->deleted) {
        MUST(js, !json, "%s is there", short_name(r));
        MUST(js, r->deleted || r->unsure, "%s is not there", short_name(r));
        return false;
    }
    static char shown[sizeof told.json];
    snprintf(shown, sizeof shown, "%s", json);
    check_look(js, r, shown);
    MUST(js, *r->ended, "%s has not ended: %.300s", short_name(r), shown);
    uint32_t good = 0, retried = 0;
    for (uint32_t i = 0; i < r->n_tasks; i++) {
        good += r->tasks[i].good;
        retried += check_task(js, r, i);
    }
    const char *v = json_value(shown, "succeededCount");
    MUST(js, good == (*v ? number_of(v) : 0), "%s: %u are good: %.300s", short_name(r), good, shown);
    v = json_value(shown, "retriedCount");
    MUST(js, retried == (*v ? number_of(v) : 0), "%s: %u were retried: %.300s", short_name(r), retried, shown);
    check_operation(js, r, good == r->n_tasks);
    MUST(js, !r->shown || strcmp(r->shown, shown) == 0, "it was %s and is %s", r->shown, shown);
    r->shown = r->shown ? r->shown : strdup(shown);
    return good == r->n_tasks;
}

static uint32_t count_executions(struct js *js, const struct js_job *j)
{
    char request[400], token[200] = "";
    uint32_t n = 0;
    do {
        snprintf(request, sizeof request, "{\"parent\":\"" JS_PARENT "/jobs/%s\",\"pageSize\":8,\"pageToken\":\"%s\"}", j->id, token);
        world_call(&js->w, "Executions/ListExecutions", request, &told);
        MUST(js, !told.code, "%s", told.message);
        n += occurrences(told.json, "\"uid\"");
        snprintf(token, sizeof token, "%s", json_value(told.json, "nextPageToken"));
    } while (*token);
    return n;
}

static void check_dependants(struct js *js, const uint32_t *succeeded)
{
    for (size_t i = 0; i < js->n_jobs; i++) {
        const struct js_job *j = &js->jobs[i];
        if (!j->depends_on)
            continue;
        uint32_t want = succeeded[job_named(js, j->depends_on) - js->jobs], got = count_executions(js, j);
        MUST(js, want == got, "%s ran %u times after %u successes", j->id, got, want);
    }
}

static int on_record(void *arg, const char *name, struct str body, struct err *e)
{
    MUST((struct js *)arg, false, "%s is left", name);
    return 0;
}

static void on_left(struct store_entries *r, const struct err *e)
{
    MUST((struct js *)r->arg, !e && r->n == 0, "list %llu has entries", (unsigned long long)r->list_id);
}

static void check_nothing_left(struct js *js)
{
    struct store *s = js->w.store;
    struct err e;
    assert_int_equal(s->ops->load_resources(s, "run.job", on_record, js, &e), 0);
    assert_int_equal(s->ops->load_resources(s, "run.execution", on_record, js, &e), 0);
    for (uint64_t id = 1; store_list_given(s, id); id++) {
        struct store_entries r = {
            .by = STORE_KEYS, .list_id = id, .lane_max = STORE_LANE_MAX, .key = "", .max_count = 1, .done = on_left, .arg = js};
        s->ops->entries(s, &r);
        while (store_memory_step(s, 1, ERR_OK))
            ;
    }
}

void js_check(struct js *js)
{
    uint32_t succeeded[JS_JOBS_MAX] = {0};
    take_answers(js);
    for (size_t i = 0; i < JS_CALLS_MAX; i++)
        MUST(js, !js->calls[i].open, "%s is not answered", methods[js->calls[i].what]);
    for (size_t i = 0; i < js->n_runs; i++)
        succeeded[js->runs[i]->job - js->jobs] += check_run(js, js->runs[i]);
    check_dependants(js, succeeded);
    size_t starts = js->starts;
    js_crash(js, 0, 0); /* an end is an end */
    js_rest(js);
    MUST(js, js->starts == starts, "programs were started after all had ended");
    for (size_t i = 0; i < js->n_runs; i++)
        check_run(js, js->runs[i]);
    for (size_t i = 0; i < js->n_jobs; i++)
        js_ask(js, JS_DELETE_JOB, &js->jobs[i], NULL, 0);
    js_rest(js);
    check_nothing_left(js);
    js_crash(js, 0, 0);
    js_rest(js);
    check_nothing_left(js);
}

void js_start(struct js *js, const struct js_job *jobs, size_t n, uint64_t seed)
{
    static const char *folder;
    folder = folder ? folder : support_tmpdir();
    snprintf(js->journal, sizeof js->journal, "%s/exits", folder);
    rng_seed(&js->rng, seed);
    world_init(&js->w, 60 * NS_PER_S, 0);
    js->w.journal_path = js->journal;
    world_crash(&js->w);
    js->journal_seq = exit_journal_end(exit_journal_fd(js->w.journal));
    js->w.runtime.vary = on_start;
    js->w.runtime.ended = on_end;
    js->w.runtime.hook_arg = js;
    for (size_t i = 0; i < n; i++) {
        js->jobs[i] = jobs[i];
        js_ask(js, JS_CREATE, &js->jobs[i], NULL, 0);
        while (!js->jobs[i].made)
            assert_true(js_next(js));
    }
    js->n_jobs = n;
}

void js_stop(struct js *js)
{
    world_fini(&js->w);
    for (size_t i = 0; i < js->n_runs; i++) {
        free(js->runs[i]->shown);
        free(js->runs[i]);
    }
    remove(js->journal);
}

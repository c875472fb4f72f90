/** attempt.c: one attempt of a task: its input, the record of its beginning, the program, the record of its end.
 *             Each record goes to the store by itself; the store makes one commit of what comes together. */
#include "core/base/text.h"
#include "executor/jobs_int.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define RECORD_MAX (ATTEMPTS_BYTES_MAX + TASK_RESULT_MAX + 8192)
#define TASK_VARS 5
#define VAR_MAX 64

void run_attempt_key(uint32_t index, char key[TASK_KEY_SIZE]) { snprintf(key, TASK_KEY_SIZE, "%07u", index); }

uint32_t run_attempt_index(const struct execution *e, const char *key)
{
    uint64_t index = 0;
    bool good = strlen(key) == 7 && parse_u64(str_of(key), e->task_count, &index, NULL) == 0;
    return good ? (uint32_t)index : e->task_count;
}

/* Its program has ended, or will never run. */
static void release(struct run_attempt *a)
{
    if (a->admitted)
        admission_give(&a->e->jobs->x->admission, &a->e->claim);
    a->admitted = false;
}

static void move(struct run_attempt *a, enum task_state to)
{
    enum task_state from = a->state;
    assert(run_task_may_move(from, to));
    a->state = to;
    if (to == TASK_ENDING)
        release(a);
    timer_cancel(a->e->jobs->env->timers, &a->timer);
    log_kv(a->e->jobs->env->log, LOG_DEBUG, "task.state", LSTR("execution", a->e->id), LINT("task", a->index), LINT("attempt", a->number),
           LSTR("from", run_task_state_name(from)), LSTR("to", run_task_state_name(to)));
    execution_moved(a->e, from, to);
}

static void relist(struct run_attempt *a, struct list *from, struct list *to)
{
    list_remove(from, &a->link);
    list_append(to, &a->link);
}

static void on_timer(struct timer *t, int64_t now_ns);

struct run_attempt *run_attempt_new(struct execution *e, uint32_t index)
{
    struct run_attempt *a = calloc(1, sizeof *a);
    if (!a)
        return NULL;
    node_init(&a->link);
    timer_init(&a->timer, on_timer);
    buf_init(&a->past, ATTEMPTS_BYTES_MAX);
    a->e = e;
    a->index = index;
    a->state = TASK_WAITING;
    list_append(&e->open, &a->link);
    return a;
}

void run_attempt_free(struct run_attempt *a)
{
    timer_cancel(a->e->jobs->env->timers, &a->timer);
    buf_fini(&a->past);
    free(a->input);
    free(a->result);
    free(a);
}

/* ---- records */

/* The attempt that is going on, added to those before. */
static int pack_record(const struct run_attempt *a, bool ended, bool with_result, struct buf *out)
{
    RECORD(TaskRecord) r = RUNNEL__RUN__V1__TASK_RECORD__INIT;
    RECORD(TaskAttempt) t = RUNNEL__RUN__V1__TASK_ATTEMPT__INIT, *list[] = {&t};
    Google__Protobuf__Timestamp begun = GOOGLE__PROTOBUF__TIMESTAMP__INIT, end = begun;
    begun.seconds = a->begun_wall_ns / NS_PER_S;
    begun.nanos = (int32_t)(a->begun_wall_ns % NS_PER_S);
    end.seconds = a->ended_wall_ns / NS_PER_S;
    end.nanos = (int32_t)(a->ended_wall_ns % NS_PER_S);
    r.round = a->e->round;
    r.failures = a->failures;
    r.lost = a->lost;
    r.attempts = list;
    r.n_attempts = 1;
    t.attempt = a->number;
    t.start_time = &begun;
    if (ended) {
        t.outcome = (RECORD(TaskAttempt__Outcome))a->outcome;
        t.completion_time = &end;
        t.exit_code = a->exit_code;
        t.term_signal = a->signal;
        t.message = (char *)(uintptr_t)a->why;
    }
    if (with_result) {
        r.result = (ProtobufCBinaryData){a->result_len, (uint8_t *)a->result};
        r.result_cut = a->result_cut;
    }
    size_t n = runnel__run__v1__task_record__get_packed_size(&r);
    if (buf_add(out, buf_data(&a->past), buf_len(&a->past)))
        return -ERR_RESOURCE_EXHAUSTED;
    char *at = buf_reserve(out, n);
    if (!at)
        return -ERR_RESOURCE_EXHAUSTED;
    buf_commit(out, runnel__run__v1__task_record__pack(&r, (uint8_t *)at));
    return 0;
}

/* It becomes one of those before. Its result does not stay: a task has that of its last attempt. */
static void keep_past(struct run_attempt *a)
{
    struct buf b;
    buf_init(&b, RECORD_MAX);
    if (pack_record(a, true, false, &b) == 0) {
        if (buf_len(&b) > ATTEMPTS_BYTES_MAX)
            buf_consume(&b, buf_len(&a->past));
        buf_clear(&a->past);
        if (buf_add(&a->past, buf_data(&b), buf_len(&b)))
            buf_clear(&a->past); /* too large even alone: it is forgotten */
    }
    buf_fini(&b);
}

static int put_record(struct run_attempt *a, struct store_txn *t, enum task_state lane, int64_t due_wall_ns, struct err *e)
{
    struct buf b;
    char key[TASK_KEY_SIZE];
    buf_init(&b, RECORD_MAX);
    run_attempt_key(a->index, key);
    struct store_entry entry = {key, run_task_lane(lane, a->retried), due_wall_ns, {NULL, 0}};
    int rc = pack_record(a, a->state == TASK_ENDING, true, &b);
    entry.body = buf_str(&b);
    rc = rc ? err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory") : store_txn_entry_put(t, a->e->rec->list_id, &entry, e);
    buf_fini(&b);
    return rc;
}

/* ---- leaving without a trace: the execution is gone, or the server stops before it began */

static void drop(struct run_attempt *a)
{
    struct execution *e = a->e;
    if (e->held == a)
        e->held = NULL;
    release(a);
    execution_moved(e, a->state, TASK_WAITING);
    struct list *lists[] = {&e->open, &e->ready, &e->again, &e->waiting};
    struct list *own = a->state == TASK_READY     ? lists[1]
                       : a->state == TASK_BACKOFF ? (timer_armed(&a->timer) ? lists[3] : lists[2])
                                                  : lists[0];
    list_remove(own, &a->link);
    run_attempt_free(a);
    run_jobs_reap_soon(e->jobs);
}

/* ---- the end */

static void on_end_stored(void *arg, const struct err *err);

/* When the next attempt may start: at once when this one was lost. */
static int64_t again_wall_ns(const struct run_attempt *a)
{
    const struct job_settings *s = &a->e->settings;
    int64_t ns = s->backoff_min_ns;
    if (a->outcome == (int)OUTCOME(LOST))
        return a->ended_wall_ns;
    for (uint32_t i = 1; i < a->failures && ns < s->backoff_max_ns; i++)
        ns *= 2;
    return a->ended_wall_ns + (ns < s->backoff_max_ns ? ns : s->backoff_max_ns);
}

static void end_submit(struct run_attempt *a)
{
    struct execution *e = a->e;
    struct err err;
    if (!a->held && execution_only_ending(e, a)) {
        /* The last one's outcome and the execution's are one transaction; so it lets the others go first. */
        a->held = true;
        e->held = a;
        return;
    }
    a->held = false;
    enum execution_state end = execution_end_with(e, a);
    struct store_txn *t = e->frozen ? NULL : store_txn_new();
    int64_t due_ns = a->next == TASK_BACKOFF ? again_wall_ns(a) : 0;
    int rc = t ? put_record(a, t, a->next, due_ns, &err) : -ERR_RESOURCE_EXHAUSTED;
    if (a->next == TASK_FAILED)
        execution_failure(e, a);
    if (rc == 0 && end != EXECUTION_N)
        rc = execution_store_end(e, t, end, a, &err);
    if (rc) {
        if (t)
            store_txn_free(t);
        a->stored_late = true;
        execution_try_later(e);
        return;
    }
    a->writing = true;
    e->busy++;
    store_submit(e->jobs->x->deps.store, t, on_end_stored, a);
}

static void on_end_stored(void *arg, const struct err *err)
{
    struct run_attempt *a = arg;
    struct execution *e = a->e;
    e->busy--;
    a->writing = false;
    if (e->deleted || err)
        execution_end_undo(e);
    if (e->deleted) {
        drop(a);
        return;
    }
    if (err) {
        if (e->jobs->x->stopping) {
            drop(a);
            return;
        }
        log_kv(e->jobs->env->log, LOG_ERROR, "task.not_stored", LSTR("execution", e->name), LINT("task", a->index), LSTR("error", err->msg),
               LSTR("do", "trying again in a second"));
        a->stored_late = true;
        execution_try_later(e);
        return;
    }
    if (a->next == TASK_BACKOFF) {
        keep_past(a);
        if (!a->retried)
            e->retried++;
        a->retried = true;
        a->number++;
        a->timed_out = false;
        free(a->result);
        a->result = NULL;
        a->result_len = 0;
        a->result_cut = false;
        run_attempt_backoff(a, again_wall_ns(a));
        execution_attempt_ended(e, NULL);
        return;
    }
    move(a, a->next);
    execution_attempt_ended(e, a);
}

/* What became of it, into the record and what follows. */
static void end_as(struct run_attempt *a, int outcome, enum task_state next)
{
    a->outcome = outcome;
    a->next = next;
    metric_add(a->e->jobs->m_outcome[outcome], 1);
    a->ended_wall_ns = env_wall(a->e->jobs->env);
    if (a->begun_wall_ns == 0)
        a->begun_wall_ns = a->ended_wall_ns;
    if (a->state == TASK_READY)
        relist(a, &a->e->ready, &a->e->open);
    if (a->state != TASK_ENDING)
        move(a, TASK_ENDING);
    end_submit(a);
}

static void end_cancelled(struct run_attempt *a)
{
    a->code = ERR_CANCELLED;
    snprintf(a->why, sizeof a->why, "It was cancelled.");
    end_as(a, OUTCOME(CANCELLED), TASK_CANCELLED);
}

static void end_lost(struct run_attempt *a, const char *why)
{
    a->lost++;
    a->code = ERR_ABORTED;
    if (a->lost > ATTEMPTS_LOST_MAX) {
        snprintf(a->why, sizeof a->why, "It was lost %u times, as the server or its warden ended, which is once more than is tried again.",
                 a->lost);
        end_as(a, OUTCOME(LOST), TASK_FAILED);
        return;
    }
    snprintf(a->why, sizeof a->why, "%s", why);
    end_as(a, OUTCOME(LOST), TASK_BACKOFF);
}

static void end_failed(struct run_attempt *a, int outcome)
{
    a->failures++;
    execution_say(a->e, a, SEVERITY_ERROR, a->why);
    bool again = a->failures <= a->e->max_retries && a->e->state != EXECUTION_CANCELLING;
    end_as(a, outcome, again ? TASK_BACKOFF : TASK_FAILED);
}

static void read_result(struct run_attempt *a);

/* The program has ended, and nothing of it runs. */
static void ended(struct run_attempt *a, const struct runtime_exit *x)
{
    struct execution *e = a->e;
    a->exit_code = x->exit_code > 0 ? x->exit_code : 0;
    a->signal = x->signal;
    read_result(a);
    if (a->stop && e->state == EXECUTION_CANCELLING) {
        end_cancelled(a);
    } else if (a->stop) {
        end_lost(a, "The server stopped.");
    } else if (a->timed_out) {
        a->code = ERR_DEADLINE_EXCEEDED;
        snprintf(a->why, sizeof a->why, "The configured timeout was reached.");
        end_failed(a, OUTCOME(TIMED_OUT));
    } else if (x->lost) {
        execution_say(e, a, SEVERITY_WARNING, "It was lost, since the warden, which holds all programs, ended.");
        end_lost(a, "The warden, which holds all programs, ended, and it with the warden.");
    } else if (!x->started) {
        a->code = ERR_FAILED_PRECONDITION;
        snprintf(a->why, sizeof a->why, "The container could not be started: %.150s", x->why);
        end_failed(a, OUTCOME(NOT_STARTED));
    } else if (x->out_of_memory) {
        a->code = ERR_RESOURCE_EXHAUSTED;
        snprintf(a->why, sizeof a->why, "The container was ended because it used more memory than its limit.");
        end_failed(a, OUTCOME(FAILED));
    } else if (x->signal) {
        a->code = ERR_ABORTED;
        snprintf(a->why, sizeof a->why, "The container was ended by signal %d (%s).", x->signal, strsignal(x->signal));
        end_failed(a, OUTCOME(FAILED));
    } else if (x->exit_code) {
        a->code = ERR_ABORTED;
        snprintf(a->why, sizeof a->why, "The container exited with an error.");
        end_failed(a, OUTCOME(FAILED));
    } else {
        a->code = ERR_OK;
        a->why[0] = '\0';
        end_as(a, OUTCOME(SUCCEEDED), TASK_SUCCEEDED);
    }
}

/* ---- the beginning */

static void on_begun(void *arg, const struct err *err);

static void begin_submit(struct run_attempt *a)
{
    struct execution *e = a->e;
    struct err err;
    struct store_txn *t = e->frozen || e->changing ? NULL : store_txn_new();
    int rc = t ? put_record(a, t, TASK_RUNNING, 0, &err) : -ERR_RESOURCE_EXHAUSTED;
    if (rc == 0 && e->state == EXECUTION_PENDING)
        rc = execution_store(e, t, EXECUTION_RUNNING, NULL, &err);
    if (rc) {
        if (t)
            store_txn_free(t);
        a->stored_late = true;
        execution_try_later(e);
        return;
    }
    a->writing = true;
    e->busy++;
    store_submit(e->jobs->x->deps.store, t, on_begun, a);
}

static void on_begun(void *arg, const struct err *err)
{
    struct run_attempt *a = arg;
    struct execution *e = a->e;
    e->busy--;
    a->writing = false;
    if (e->deleted) {
        drop(a);
    } else if (err && !e->jobs->x->stopping) {
        log_kv(e->jobs->env->log, LOG_ERROR, "task.not_stored", LSTR("execution", e->name), LINT("task", a->index), LSTR("error", err->msg),
               LSTR("do", "trying again in a second"));
        a->stored_late = true;
        execution_try_later(e);
    } else if (e->jobs->x->stopping) {
        end_lost(a, "The server stopped.");
    } else if (e->state == EXECUTION_CANCELLING) {
        end_cancelled(a);
    } else {
        move(a, TASK_READY);
        relist(a, &e->open, &e->ready);
        run_jobs_pump_soon(e->jobs);
    }
}

static void begin(struct run_attempt *a)
{
    a->begun_wall_ns = env_wall(a->e->jobs->env);
    a->outcome = OUTCOME(RUNNING);
    move(a, TASK_BEGINNING);
    begin_submit(a);
}

/* Before it begins it may need its input, and, in an execution whose failed tasks are taken up again, what it did before. */
static bool wants_past(const struct run_attempt *a) { return a->e->round > 0 && a->number == 0 && !a->past_read; }

static bool wants_input(const struct run_attempt *a) { return a->e->rec->inputs_list && !a->input; }

static int take_past(struct run_attempt *a, const struct store_entry *row)
{
    struct arena *arena = arena_new(1u << 20);
    RECORD(TaskRecord) *r = arena ? pb_unpack(arena, RECORD_DESC(task_record), row->body) : NULL;
    int rc = r ? 0 : -1;
    if (r && r->n_attempts) {
        a->number = r->attempts[r->n_attempts - 1]->attempt + 1;
        a->lost = 0;
        a->retried = true;
        if (!run_task_lane_retried(row->lane))
            a->e->retried++;
        /* Only its attempts: what is counted is counted anew, and the result is that of the last attempt. */
        RECORD(TaskRecord) past = RUNNEL__RUN__V1__TASK_RECORD__INIT;
        past.n_attempts = r->n_attempts;
        past.attempts = r->attempts;
        char *at = buf_reserve(&a->past, runnel__run__v1__task_record__get_packed_size(&past));
        if (at) /* else it is too much: what it did before is forgotten, but for its number */
            buf_commit(&a->past, runnel__run__v1__task_record__pack(&past, (uint8_t *)at));
    }
    if (arena)
        arena_free(arena);
    return rc;
}

static int take_row(struct run_attempt *a, const struct store_entry *row, bool is_input, struct err *e)
{
    if (is_input && !(a->input = strndup(row->body.p, row->body.n)))
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory");
    if (!is_input && take_past(a, row))
        return err_set(e, ERR_DATA_LOSS, "its record cannot be read");
    return 0;
}

static void read_row(struct run_attempt *a);

static void on_row(struct store_entries *r, const struct err *err)
{
    struct run_attempt *a = r->arg;
    struct execution *e = a->e;
    e->busy--;
    if (e->deleted) {
        drop(a);
        return;
    }
    struct err failed;
    if (!err && r->n == 1 && take_row(a, &r->rows[0], r->list_id == e->rec->inputs_list, &failed))
        err = &failed;
    if (e->jobs->x->stopping) {
        drop(a);
    } else if (e->state == EXECUTION_CANCELLING) {
        end_cancelled(a);
    } else if (err) {
        log_kv(e->jobs->env->log, LOG_ERROR, "task.not_read", LSTR("execution", e->name), LINT("task", a->index), LSTR("error", err->msg));
        a->stored_late = true;
        execution_try_later(e);
    } else {
        a->past_read = true;
        if (wants_input(a) && r->list_id != e->rec->inputs_list)
            read_row(a);
        else
            begin(a);
    }
}

static void read_row(struct run_attempt *a)
{
    struct execution *e = a->e;
    a->read = (struct store_entries){.by = STORE_BY_KEY,
                                     .list_id = wants_past(a) ? e->rec->list_id : e->rec->inputs_list,
                                     .lane_max = STORE_LANE_MAX,
                                     .max_count = 1,
                                     .max_bytes = 2 * ATTEMPTS_BYTES_MAX + 2 * TASK_RESULT_MAX,
                                     .done = on_row,
                                     .arg = a};
    run_attempt_key(a->index, a->id); /* the id has not been made yet; the key must live until done */
    a->read.key = a->id;
    e->busy++;
    e->jobs->x->deps.store->ops->entries(e->jobs->x->deps.store, &a->read);
}

void run_attempt_begin(struct run_attempt *a)
{
    if (wants_input(a) || wants_past(a)) {
        move(a, TASK_READING);
        read_row(a);
    } else {
        begin(a);
    }
}

void run_attempt_store(struct run_attempt *a)
{
    a->stored_late = false;
    if (a->e->state == EXECUTION_CANCELLING && (a->state == TASK_READING || a->state == TASK_BEGINNING))
        end_cancelled(a);
    else if (a->state == TASK_READING)
        read_row(a);
    else if (a->state == TASK_BEGINNING)
        begin_submit(a);
    else if (a->state == TASK_ENDING)
        end_submit(a);
}

/* ---- results */

static bool result_path(const struct run_attempt *a, char *path, size_t size)
{
    const char *dir = a->e->jobs->x->config.scratch_dir;
    if (!dir)
        return false;
    int n = snprintf(path, size, "%s/%llx-%u-%u", dir, (unsigned long long)a->e->rec->list_id, a->index, a->number);
    return n > 0 && (size_t)n < size;
}

/* What the program left in RUNNEL_RESULT: a small file, nearly always in memory. */
static void read_result(struct run_attempt *a)
{
    char path[PATH_MAX];
    int fd = result_path(a, path, sizeof path) ? open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    char *text = malloc(TASK_RESULT_MAX + 1);
    ssize_t n, len = 0;
    while (text && len <= TASK_RESULT_MAX && (n = read(fd, text + len, (size_t)(TASK_RESULT_MAX + 1 - len))) > 0)
        len += n;
    close(fd);
    unlink(path);
    a->result_cut = len > TASK_RESULT_MAX;
    a->result_len = (size_t)(a->result_cut ? TASK_RESULT_MAX : len);
    if (a->result_len == 0) {
        free(text);
        return;
    }
    char *fit = realloc(text, a->result_len);
    a->result = fit ? fit : text;
}

/* ---- running */

static void on_started(void *arg, int64_t pid, uint16_t port)
{
    struct run_attempt *a = arg;
    if (a->state != TASK_STARTING)
        return; /* it is to end already */
    a->started_ns = env_now(a->e->jobs->env);
    move(a, TASK_RUNNING);
    executor_arm(a->e->jobs->x, &a->timer, a->started_ns + a->e->timeout_ns);
}

static void on_line(void *arg, bool is_stderr, struct str line, int64_t wall_ns)
{
    const struct run_attempt *a = arg;
    const struct execution *e = a->e;
    const struct log_where w = {e->project, e->region, e->job_id, e->id, a->id, true, a->index, a->number};
    logs_line(e->jobs->x->logs, &w, is_stderr ? LOG_STDERR : LOG_STDOUT, line, wall_ns);
}

static void on_exit_event(void *arg, const struct runtime_exit *x)
{
    struct run_attempt *a = arg;
    struct execution *e = a->e;
    a->run = NULL;
    run_jobs_count_program(e->jobs, false);
    int64_t ran_ns = env_now(e->jobs->env) - a->started_ns;
    e->mean_run_ns = e->mean_run_ns < 0 ? ran_ns : (7 * e->mean_run_ns + ran_ns) / 8;
    run_jobs_pump_soon(e->jobs);
    if (e->deleted) {
        read_result(a);
        drop(a);
        return;
    }
    ended(a, x);
}
static const struct runtime_events runtime_events = {on_started, on_line, on_exit_event};

/* The fixed variables, and those of this attempt. */
static int start_program(struct run_attempt *a, struct err *err)
{
    struct execution *e = a->e;
    char index[VAR_MAX], number[VAR_MAX], path[PATH_MAX], *result = NULL, *input = NULL;
    const char **vars = calloc(e->n_vars + TASK_VARS, sizeof *vars);
    int rc = vars ? 0 : -1;
    size_t n = e->n_vars;
    snprintf(index, sizeof index, "CLOUD_RUN_TASK_INDEX=%u", a->index);
    snprintf(number, sizeof number, "CLOUD_RUN_TASK_ATTEMPT=%u", a->number);
    if (vars) {
        memcpy(vars, e->vars, n * sizeof *vars);
        vars[n++] = index;
        vars[n++] = number;
        if (result_path(a, path, sizeof path) && (rc = asprintf(&result, "RUNNEL_RESULT=%s", path)) > 0)
            vars[n++] = result;
        if (rc >= 0 && a->input && (rc = asprintf(&input, "RUNNEL_TASK_INPUT=%s", a->input)) > 0)
            vars[n++] = input;
    }
    rng_name(e->jobs->env->rng, a->id, INSTANCE_ID_LEN);
    struct runtime_spec spec = e->spec;
    spec.id = a->id;
    spec.weight = e->share->memory.weight;
    spec.env = vars;
    spec.lane = e->rec->list_id;
    spec.lane_width = e->parallelism;
    spec.ticket[0] = e->rec->list_id;
    spec.ticket[1] = (uint64_t)a->index << 32 | a->number;
    struct runtime *rt = e->jobs->x->deps.runtime;
    rc = rc < 0 ? err_set(err, ERR_RESOURCE_EXHAUSTED, "out of memory") : rt->ops->start(rt, &spec, &runtime_events, a, &a->run, err);
    free(result);
    free(input);
    free(vars);
    return rc;
}

void run_attempt_start(struct run_attempt *a)
{
    struct execution *e = a->e;
    struct err err;
    if (start_program(a, &err)) {
        if (err.code == ERR_RESOURCE_EXHAUSTED) {
            execution_try_later(e); /* no room on this host for the moment */
            return;
        }
        a->code = err.code;
        snprintf(a->why, sizeof a->why, "The container could not be started: %.150s", err.msg);
        end_failed(a, OUTCOME(NOT_STARTED));
        return;
    }
    relist(a, &e->ready, &e->open);
    move(a, TASK_STARTING);
    run_jobs_count_program(e->jobs, true);
    a->started_ns = env_now(e->jobs->env);
}

static void signal_stop(struct run_attempt *a)
{
    struct runtime *rt = a->e->jobs->x->deps.runtime;
    move(a, TASK_STOPPING);
    rt->ops->signal(rt, a->run, SIGTERM);
    executor_arm(a->e->jobs->x, &a->timer, env_now(a->e->jobs->env) + ATTEMPT_GRACE_NS);
}

static void on_timer(struct timer *t, int64_t now_ns)
{
    struct run_attempt *a = CONTAINER_OF(t, struct run_attempt, timer);
    struct runtime *rt = a->e->jobs->x->deps.runtime;
    if (a->state == TASK_RUNNING) {
        a->timed_out = true;
        signal_stop(a);
    } else if (a->state == TASK_STOPPING) {
        rt->ops->kill(rt, a->run);
        executor_arm(a->e->jobs->x, &a->timer, now_ns + ATTEMPT_GRACE_NS); /* an order may be lost for want of memory */
    } else if (a->state == TASK_BACKOFF) {
        relist(a, &a->e->waiting, &a->e->again);
        run_jobs_pump_soon(a->e->jobs);
    }
}

void run_attempt_stop(struct run_attempt *a)
{
    struct execution *e = a->e;
    bool cancelled = e->state == EXECUTION_CANCELLING;
    if (a->state == TASK_RUNNING || a->state == TASK_STARTING) {
        a->stop = true;
        signal_stop(a);
    } else if (a->state == TASK_STOPPING) {
        a->stop = a->stop || cancelled || e->deleted;
    } else if (e->deleted && !a->writing && a->state != TASK_READING) {
        drop(a);
    } else if (a->state == TASK_BACKOFF && cancelled) {
        struct list *own = timer_armed(&a->timer) ? &e->waiting : &e->again;
        relist(a, own, &e->open);
        a->begun_wall_ns = env_wall(e->jobs->env);
        end_cancelled(a);
    } else if (a->state == TASK_READY && cancelled) {
        end_cancelled(a);
    } else if (a->state == TASK_READY) {
        end_lost(a, "The server stopped.");
    }
    /* READING, BEGINNING and ENDING look when the store has answered. */
}

void run_attempt_backoff(struct run_attempt *a, int64_t due_wall_ns)
{
    struct execution *e = a->e;
    if (a->state != TASK_BACKOFF)
        move(a, TASK_BACKOFF);
    int64_t wait_ns = due_wall_ns - env_wall(e->jobs->env);
    if (wait_ns > e->settings.backoff_max_ns)
        wait_ns = e->settings.backoff_max_ns; /* the wall clock was set back */
    if (wait_ns > 0) {
        relist(a, &e->open, &e->waiting);
        executor_arm(e->jobs->x, &a->timer, env_now(e->jobs->env) + wait_ns);
    } else {
        relist(a, &e->open, &e->again);
    }
    run_jobs_pump_soon(e->jobs);
    if (e->state == EXECUTION_CANCELLING)
        run_attempt_stop(a);
}

void run_attempt_recover(struct run_attempt *a, const struct exit_record *exit)
{
    bool known = exit && (exit->out_of_memory || (exit->signal != SIGTERM && exit->signal != SIGKILL));
    if (known) {
        const struct runtime_exit x = {
            .started = true, .exit_code = exit->code, .signal = exit->signal, .out_of_memory = exit->out_of_memory != 0};
        ended(a, &x);
        return;
    }
    read_result(a); /* of a program that was ended on the way: not its result, and nobody else's */
    free(a->result);
    a->result = NULL;
    a->result_len = 0;
    a->result_cut = false;
    end_lost(a, "The server was killed while it ran, and it with the server.");
}

/* writer.c: what jobs have come to, made durable in groups: one transaction at a time with all that gathered meanwhile. */
#include "schedules/scheduler_int.h"

#include <stdlib.h>

/* ---- records ---- */

static int put(struct store_txn *t, const char *kind, const char *name, const ProtobufCMessage *m, struct err *e)
{
    char *bytes;
    size_t n;
    if (pb_pack(m, &bytes, &n, e))
        return -(int)e->code;
    int rc = store_txn_put(t, kind, name, (struct str){bytes, n}, e);
    free(bytes);
    return rc;
}

int job_put(struct store_txn *t, const PbJob *config, const PbPolicy *policy, uint64_t seed, struct err *e)
{
    JobRecord record = RUNNEL__SCHEDULES__JOB_RECORD__INIT;
    record.job = (PbJob *)(uintptr_t)config;
    record.policy = (PbPolicy *)(uintptr_t)policy;
    record.seed = seed;
    return put(t, "schedule", config->name, &record.base, e);
}

static Runnel__Schedules__RunRecord run_record(const struct run *r)
{
    Runnel__Schedules__RunRecord out = RUNNEL__SCHEDULES__RUN_RECORD__INIT;
    out.schedule_wall_ns = r->schedule_wall_ns;
    out.attempts = r->attempts;
    out.first_wall_ns = r->first_wall_ns;
    out.due_wall_ns = r->due_wall_ns;
    out.under_way = r->state != RUN_WAITING || r->repeat;
    out.manual = r->manual;
    out.last = r->last;
    return out;
}

int state_put(struct store_txn *t, const struct schedule *j, const char *name, const struct state_edit *edit, struct err *e)
{
    Google__Rpc__Status status = GOOGLE__RPC__STATUS__INIT;
    JobState st = RUNNEL__SCHEDULES__JOB_STATE__INIT;
    struct schedule *from = (struct schedule *)(uintptr_t)j;
    Runnel__Schedules__RunRecord *records = calloc(j->runs.count + 1, sizeof *records);
    Runnel__Schedules__RunRecord **runs = calloc(j->runs.count + 1, sizeof *runs);
    int rc = -ERR_RESOURCE_EXHAUSTED;
    if (!records || !runs) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "schedule: out of memory");
        goto out;
    }
    LIST_EACH(&from->runs, n) {
        const struct run *r = CONTAINER_OF(n, struct run, link);
        if (edit && edit->drop_waiting && r->state == RUN_WAITING)
            continue;
        records[st.n_runs] = run_record(r);
        records[st.n_runs].last |= edit && edit->drop_waiting;
        runs[st.n_runs] = &records[st.n_runs];
        st.n_runs++;
    }
    st.runs = runs;
    st.last_wall_ns = edit && edit->last_wall_ns ? edit->last_wall_ns : j->last_wall_ns;
    if (!edit || !edit->drop_waiting) {
        st.held_wall_ns = j->held_wall_ns;
        st.backlog_wall_ns = from->backlog;
        st.n_backlog_wall_ns = j->n_backlog;
    }
    st.last_attempt_wall_ns = j->last_attempt_wall_ns;
    if (j->attempted) {
        status.code = j->status;
        status.message = j->status_message ? j->status_message : status.message;
        st.status = &status;
    }
    rc = put(t, "schedule-state", name, &st.base, e);
out:
    free(records);
    free(runs);
    return rc;
}

void job_apply_edit(struct schedule *j, const struct state_edit *edit)
{
    if (edit->last_wall_ns)
        j->last_wall_ns = edit->last_wall_ns;
    if (!edit->drop_waiting)
        return;
    j->held_wall_ns = 0;
    j->n_backlog = 0;
    LIST_EACH_SAFE(&j->runs, n) {
        struct run *r = CONTAINER_OF(n, struct run, link);
        if (r->state == RUN_WAITING)
            run_drop(r);
        else
            r->last = true;
    }
}

static int apply_run(struct schedule *j, const Runnel__Schedules__RunRecord *record, struct err *e)
{
    struct run *r = calloc(1, sizeof *r);
    if (!r)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "schedule %.200s: out of memory", j->config->name);
    *r = (struct run){
        .job = j,
        .schedule_wall_ns = record->schedule_wall_ns,
        .first_wall_ns = record->first_wall_ns,
        .due_wall_ns = record->under_way ? 0 : record->due_wall_ns,
        .attempts = record->attempts,
        .manual = record->manual,
        .last = record->last,
        .repeat = record->under_way,
    };
    node_init(&r->line);
    node_init(&r->link);
    list_append(&j->runs, &r->link);
    return 0;
}

bool job_state_fits(const JobState *st)
{
    bool fits = st->last_wall_ns > 0 && st->held_wall_ns >= 0 && st->last_attempt_wall_ns >= 0 && st->n_backlog_wall_ns <= DUE_MISSED_MAX &&
                st->n_runs <= SCHEDULE_RUNS_MAX;
    for (size_t i = 0; fits && i < st->n_backlog_wall_ns; i++)
        fits = st->backlog_wall_ns[i] > 0;
    for (size_t i = 0; fits && i < st->n_runs; i++) {
        const Runnel__Schedules__RunRecord *r = st->runs[i];
        fits = r->schedule_wall_ns > 0 && r->first_wall_ns >= 0 && r->due_wall_ns >= 0;
    }
    return fits;
}

int job_apply_state(struct schedule *j, const JobState *st, struct err *e)
{
    int rc = 0;
    j->last_wall_ns = st->last_wall_ns;
    j->held_wall_ns = st->held_wall_ns;
    j->last_attempt_wall_ns = st->last_attempt_wall_ns;
    for (size_t i = 0; i < st->n_backlog_wall_ns; i++)
        j->backlog[j->n_backlog++] = st->backlog_wall_ns[i];
    if (st->status) {
        j->attempted = true;
        j->status = st->status->code;
        if (*st->status->message && !(j->status_message = strdup(st->status->message)))
            return err_set(e, ERR_RESOURCE_EXHAUSTED, "schedule %.200s: out of memory", j->config->name);
    }
    for (size_t i = 0; i < st->n_runs && !rc; i++)
        rc = apply_run(j, st->runs[i], e);
    return rc;
}

/* ---- groups ---- */

static void link_dirty(struct schedule *j)
{
    if (j->unsaved && !j->in_group && !j->changing && !j->gone && !node_linked(&j->dirty))
        list_append(&j->s->dirty, &j->dirty);
}

void job_save(struct schedule *j)
{
    j->unsaved = true;
    link_dirty(j);
}

void job_settled(struct schedule *j)
{
    link_dirty(j);
    job_look(j);
    schedules_write(j->s);
}

/* It is in the record: attempts that have begun may go out, and who asked for one is told. */
static void job_written(struct schedule *j)
{
    LIST_EACH_SAFE(&j->runs, n) {
        struct run *r = CONTAINER_OF(n, struct run, link);
        if (!r->written)
            continue;
        r->written = false;
        struct call *c = r->call;
        r->call = NULL;
        if (c)
            reply_job(c, j);
        run_send(r);
    }
}

static void job_unwritten(struct schedule *j, const struct err *e)
{
    bool dropped = false;
    LIST_EACH_SAFE(&j->runs, n) {
        struct run *r = CONTAINER_OF(n, struct run, link);
        bool tried = r->written;
        r->written = false;
        if (tried && r->call) { /* nothing happens that its caller was told would not */
            call_fail(r->call, e);
            r->call = NULL;
            run_drop(r);
            dropped = true;
        }
    }
    j->unsaved = true;
    if (dropped)
        job_arm(j);
}

static void on_written(void *arg, const struct err *e)
{
    struct group *g = arg;
    struct schedules *s = g->s;
    struct err own = {0};
    size_t n = g->n;
    s->writing = false;
    g->n = 0;
    for (size_t i = 0; i < n; i++) {
        struct schedule *j = g->jobs[i];
        j->in_group = false;
        if (j->gone) {
            schedule_free(j);
            continue;
        }
        if (e)
            job_unwritten(j, e);
        else
            job_written(j);
        link_dirty(j);
    }
    runs_line(s);
    if (!e) {
        schedules_write(s);
    } else if (s->stopping) { /* the next start repeats what the records do not say has ended */
        while (list_pop(&s->dirty)) {}
    } else {
        log_kv(s->env->log, LOG_WARN, "schedules.not_written", LINT("jobs", n), LSTR("error", e->msg),
               LSTR("do", "nothing fires until the store takes it; tried again every second"));
        if (timer_set(s->env->timers, &s->write_again, env_now(s->env) + WRITE_AGAIN_NS, &own))
            log_kv(s->env->log, LOG_ERROR, "schedules.no_timer", LSTR("error", own.msg));
    }
    schedules_maybe_stopped(s);
}

static void mark_written(struct schedule *j)
{
    j->unsaved = false;
    j->in_group = true;
    LIST_EACH(&j->runs, n) {
        struct run *r = CONTAINER_OF(n, struct run, link);
        r->written = r->state == RUN_BEGUN && !node_linked(&r->line);
    }
}

void schedules_write(struct schedules *s)
{
    struct group *g = &s->group;
    struct err e = {0};
    if (s->writing || list_empty(&s->dirty) || timer_armed(&s->write_again))
        return;
    struct store_txn *t = store_txn_new();
    while (t && g->n < SCHEDULES_STEP_JOBS && !list_empty(&s->dirty)) {
        struct schedule *j = CONTAINER_OF(list_first(&s->dirty), struct schedule, dirty);
        if (state_put(t, j, j->config->name, NULL, &e)) {
            store_txn_free(t);
            t = NULL;
            break;
        }
        list_remove(&s->dirty, &j->dirty);
        g->jobs[g->n++] = j;
    }
    for (size_t i = 0; i < g->n; i++)
        mark_written(g->jobs[i]);
    s->writing = true;
    if (t) {
        store_submit(s->store, t, on_written, g);
        return;
    }
    err_set(&e, ERR_RESOURCE_EXHAUSTED, "schedules: out of memory for the records");
    on_written(g, &e);
}

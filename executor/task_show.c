/** task_show.c: tasks as clients see them, from their entries. */
#include "executor/jobs_int.h"

#define TASK_ARENA_MAX (4u << 20)

static RUN(Condition) * condition_at(struct arena *a, const struct execution *e, const char *type, enum run_condition state,
                                     const char *text, const Google__Protobuf__Timestamp *at)
{
    RUN(Condition) *c = condition_new(a, e->jobs->env, type, state, text);
    if (c && at)
        c->last_transition_time = pb_clone(a, &at->base);
    return c;
}

static int code_of(const RECORD(TaskAttempt) * t)
{
    switch (t->outcome) {
    case OUTCOME(SUCCEEDED):
    case OUTCOME(RUNNING):
        return ERR_OK;
    case OUTCOME(TIMED_OUT):
        return ERR_DEADLINE_EXCEEDED;
    case OUTCOME(CANCELLED):
        return ERR_CANCELLED;
    case OUTCOME(NOT_STARTED):
        return ERR_FAILED_PRECONDITION;
    case OUTCOME(FAILED):
    case OUTCOME(LOST):
    default:
        return ERR_ABORTED;
    }
}

/* The last attempt that has ended. */
static const RECORD(TaskAttempt) * last_ended(const RECORD(TaskRecord) * r)
{
    for (size_t i = r ? r->n_attempts : 0; i-- > 0;)
        if (r->attempts[i]->outcome != OUTCOME(RUNNING))
            return r->attempts[i];
    return NULL;
}

static RUN(TaskAttemptResult) * result_of(struct arena *a, const RECORD(TaskAttempt) * t)
{
    RUN(TaskAttemptResult) *m = pb_new(a, RUN_DESC(task_attempt_result));
    if (!m || !(m->status = pb_new(a, &google__rpc__status__descriptor)))
        return NULL;
    m->status->code = code_of(t);
    m->status->message = arena_strdup(a, t->message);
    m->exit_code = t->exit_code;
    m->term_signal = t->term_signal;
    return m;
}

struct seen {
    enum task_state state;
    RECORD(TaskRecord) * record; /* NULL: it has not begun */
};

static struct seen look(const struct execution *e, struct arena *a, const struct store_entry *row)
{
    struct seen s = {TASK_WAITING, row ? pb_unpack(a, RECORD_DESC(task_record), row->body) : NULL};
    if (s.record)
        s.state = run_task_lane_state(row->lane);
    if (s.record && s.record->round < e->round && (s.state == TASK_FAILED || s.state == TASK_CANCELLED))
        s.state = TASK_BACKOFF; /* it is to be taken up again */
    if ((s.state == TASK_WAITING || s.state == TASK_BACKOFF) && execution_state_ended(e->state))
        s.state = TASK_CANCELLED; /* it ended before their turn came */
    return s;
}

static void add_conditions(const struct execution *e, struct arena *a, RUN(Task) * m, const struct seen *s)
{
    static const struct {
        enum run_condition state;
        const char *text;
    } texts[TASK_N] = {
        [TASK_WAITING] = {CONDITION_PENDING, "Waiting for its turn."},
        [TASK_RUNNING] = {CONDITION_RECONCILING, "Running."},
        [TASK_BACKOFF] = {CONDITION_RECONCILING, "Waiting for its next attempt."},
        [TASK_SUCCEEDED] = {CONDITION_SUCCEEDED, ""},
        [TASK_FAILED] = {CONDITION_FAILED, ""},
        [TASK_CANCELLED] = {CONDITION_FAILED, "It was cancelled."},
    };
    const RECORD(TaskAttempt) *last = last_ended(s->record);
    const char *text = s->state == TASK_FAILED && last ? last->message : texts[s->state].text;
    RUN(Condition) *done =
        condition_at(a, e, "Completed", texts[s->state].state, text, m->completion_time ? m->completion_time : m->create_time);
    if (done && (s->state == TASK_FAILED || s->state == TASK_CANCELLED)) {
        done->reasons_case = GOOGLE__CLOUD__RUN__V2__CONDITION__REASONS_EXECUTION_REASON;
        done->execution_reason = s->state == TASK_FAILED ? RUN_EXECUTION_REASON(NON_ZERO_EXIT_CODE) : RUN_EXECUTION_REASON(CANCELLED);
    }
    condition_set(a, &m->conditions, &m->n_conditions, done);
    condition_set(a, &m->conditions, &m->n_conditions,
                  condition_at(a, e, "Started", m->start_time ? CONDITION_SUCCEEDED : CONDITION_PENDING,
                               m->start_time ? "" : "Not started yet.", m->start_time ? m->start_time : m->create_time));
}

/* Not random: a task that has not begun is nowhere but here. */
static char *uid_of(struct arena *a, const char *execution_uid, uint32_t index)
{
    return arena_printf(a, "%.24s%012x", execution_uid, index);
}

/* Shares its parts with the execution. */
static RUN(Task) * build(const struct execution *e, struct arena *a, uint32_t index, const struct store_entry *row)
{
    const RUN(Execution) *x = e->rec->execution;
    const RUN(TaskTemplate) *t = x->template_;
    RUN(Task) *m = pb_new(a, RUN_DESC(task));
    if (!m)
        return NULL;
    struct seen s = look(e, a, row);
    const RECORD(TaskRecord) *r = s.record;
    bool over = s.state >= TASK_SUCCEEDED;
    m->name = arena_printf(a, "%s/tasks/%s-task%u", e->name, e->id, index);
    m->uid = uid_of(a, x->uid, index);
    m->generation = m->observed_generation = 1;
    m->n_labels = x->n_labels;
    m->labels = (RUN(Task__LabelsEntry) **)x->labels;
    m->n_annotations = x->n_annotations;
    m->annotations = (RUN(Task__AnnotationsEntry) **)x->annotations;
    m->create_time = x->create_time;
    m->job = x->job;
    m->execution = e->name;
    m->n_containers = t->n_containers;
    m->containers = t->containers;
    m->max_retries = t->max_retries;
    m->timeout = t->timeout;
    m->service_account = t->service_account;
    m->execution_environment = t->execution_environment;
    m->index = (int32_t)index;
    m->reconciling = !over;
    if (r && r->n_attempts) {
        const RECORD(TaskAttempt) *first = r->attempts[0], *last = r->attempts[r->n_attempts - 1], *done = last_ended(r);
        m->scheduled_time = m->start_time = first->start_time;
        m->completion_time = over ? last->completion_time : NULL;
        m->retried = (int32_t)last->attempt;
        if (done && !(m->last_attempt_result = result_of(a, done)))
            return NULL;
    }
    m->update_time = m->completion_time ? m->completion_time : m->start_time ? m->start_time : m->create_time;
    m->etag = arena_printf(a, "\"%.8s-%u-%d\"", x->uid, index, (int)s.state);
    m->log_uri = execution_log_uri(e, a, index);
    add_conditions(e, a, m, &s);
    return m->name && m->uid && m->etag && m->log_uri ? m : NULL;
}

RUN(Task) * task_show(const struct execution *e, struct arena *a, uint32_t index, const struct store_entry *row)
{
    struct arena *scratch = arena_new(TASK_ARENA_MAX); /* its result may be large, and is not shown here */
    RUN(Task) *m = scratch ? build(e, scratch, index, row) : NULL;
    m = m ? pb_clone(a, &m->base) : NULL;
    if (scratch)
        arena_free(scratch);
    return m;
}

RECORD(TaskAttempts) * task_attempts_show(const struct execution *e, struct arena *a, uint32_t index, const struct store_entry *row)
{
    RECORD(TaskAttempts) *m = pb_new(a, RECORD_DESC(task_attempts));
    RECORD(TaskRecord) *r = row ? pb_unpack(a, RECORD_DESC(task_record), row->body) : NULL;
    if (!m || (row && !r))
        return NULL;
    m->name = arena_printf(a, "%s/tasks/%s-task%u", e->name, e->id, index);
    if (r) {
        m->attempts = r->attempts;
        m->n_attempts = r->n_attempts;
        m->result = arena_dup(a, (struct str){(const char *)r->result.data, r->result.len});
        m->result_cut = r->result_cut;
    }
    return m->name && m->result ? m : NULL;
}

/** execution_show.c: jobs and executions as clients see them: what is stored, and what follows from where they stand. */
#include "core/base/text.h"
#include "executor/jobs_int.h"
#include "executor/log_filter.h"

#include <stdio.h>

#define EVENT_ANNOTATION "runnel.dev/event-id"
#define STATUS(name) GOOGLE__CLOUD__RUN__V2__EXECUTION_REFERENCE__COMPLETION_STATUS__EXECUTION_##name

static int completion_status(enum execution_state s)
{
    switch (s) {
    case EXECUTION_QUEUED:
    case EXECUTION_PENDING:
        return STATUS(PENDING);
    case EXECUTION_SUCCEEDED:
        return STATUS(SUCCEEDED);
    case EXECUTION_FAILED:
        return STATUS(FAILED);
    case EXECUTION_CANCELLED:
        return STATUS(CANCELLED);
    case EXECUTION_RUNNING:
    case EXECUTION_CANCELLING:
    case EXECUTION_N:
        break;
    }
    return STATUS(RUNNING);
}

int execution_error(const struct execution *e, struct err *err)
{
    if (e->state == EXECUTION_SUCCEEDED)
        return 0;
    return err_set(err, e->code ? e->code : ERR_ABORTED, "%s", *e->why ? e->why : "The execution did not complete.");
}

static void reason(RUN(Condition) * c, int execution_reason)
{
    if (!c || !execution_reason)
        return;
    c->reasons_case = GOOGLE__CLOUD__RUN__V2__CONDITION__REASONS_EXECUTION_REASON;
    c->execution_reason = (RUN(Condition__ExecutionReason))execution_reason;
}

/* A condition that is what it is since `at_ns`. */
static RUN(Condition) *
    since(struct arena *a, const struct env *env, const char *type, enum run_condition state, const char *text, int64_t at_ns)
{
    RUN(Condition) *c = condition_new(a, env, type, state, text);
    if (c && at_ns)
        c->last_transition_time = (Google__Protobuf__Timestamp *)pb_timestamp(a, at_ns);
    return c;
}

static RUN(Condition) * completed(const struct execution *e, struct arena *a, int64_t created_ns)
{
    const struct env *env = e->jobs->env;
    char text[400];
    RUN(Condition) *c = NULL;
    switch (e->state) {
    case EXECUTION_SUCCEEDED:
        snprintf(text, sizeof text, "Execution completed successfully in %.2fs.",
                 (double)(e->ended_wall_ns - created_ns) / (double)NS_PER_S);
        return since(a, env, "Completed", CONDITION_SUCCEEDED, text, e->ended_wall_ns);
    case EXECUTION_FAILED:
        c = since(a, env, "Completed", CONDITION_FAILED, e->why, e->ended_wall_ns);
        reason(c, e->code == ERR_ABORTED ? RUN_EXECUTION_REASON(NON_ZERO_EXIT_CODE) : 0);
        return c;
    case EXECUTION_CANCELLED:
        c = since(a, env, "Completed", CONDITION_FAILED, e->why, e->ended_wall_ns);
        reason(c, RUN_EXECUTION_REASON(CANCELLED));
        return c;
    case EXECUTION_CANCELLING:
        c = since(a, env, "Completed", CONDITION_RECONCILING, e->why, 0);
        reason(c, e->ends_as == EXECUTION_CANCELLED ? RUN_EXECUTION_REASON(CANCELLING) : 0);
        return c;
    case EXECUTION_QUEUED:
        c = since(a, env, "Completed", CONDITION_PENDING, "Waiting for other executions of the job to end.", created_ns);
        reason(c, RUN_EXECUTION_REASON(DELAYED_START_PENDING));
        return c;
    case EXECUTION_PENDING:
    case EXECUTION_RUNNING:
    case EXECUTION_N:
        break;
    }
    return since(a, env, "Completed", CONDITION_RECONCILING, "Waiting for the execution to complete.",
                 e->started_wall_ns ? e->started_wall_ns : created_ns);
}

static void add_conditions(const struct execution *e, struct arena *a, RUN(Execution) * m)
{
    const struct env *env = e->jobs->env;
    int64_t created_ns = pb_timestamp_ns(m->create_time);
    bool started = e->started_wall_ns != 0, over = execution_state_ended(e->state), waits = capacity_waits(&e->claim.memory);
    char text[100], room[ADMISSION_WHY_MAX];
    snprintf(room, sizeof room, "%s", started || over ? "Room was found." : "Waiting for room on this host.");
    if (waits)
        admission_why(&e->jobs->x->admission, &e->claim, room);
    snprintf(text, sizeof text, "Started in %.2fs.", (double)(e->started_wall_ns - created_ns) / (double)NS_PER_S);
    m->n_conditions = 0;
    condition_set(a, &m->conditions, &m->n_conditions, completed(e, a, created_ns));
    condition_set(a, &m->conditions, &m->n_conditions,
                  since(a, env, "ResourcesAvailable", (started || over) && !waits ? CONDITION_SUCCEEDED : CONDITION_PENDING, room,
                        started ? e->started_wall_ns : created_ns));
    condition_set(a, &m->conditions, &m->n_conditions,
                  since(a, env, "Started",
                        started ? CONDITION_SUCCEEDED
                        : over  ? CONDITION_FAILED
                                : CONDITION_PENDING,
                        started ? text
                        : over  ? "It ended before it began."
                                : "Not started yet.",
                        started ? e->started_wall_ns : created_ns));
}

char *execution_log_uri(const struct execution *e, struct arena *a, uint32_t index)
{
    char filter[400], task[80] = "", *uri = NULL;
    struct buf b;
    if (index != LOG_NO_TASK)
        snprintf(task, sizeof task, " AND labels.\"" LOG_LABEL_TASK "\" = \"%u\"", index);
    snprintf(filter, sizeof filter, "resource.labels.location = \"%s\" AND labels.\"" LOG_LABEL_EXECUTION "\" = \"%s\"%s", e->region, e->id,
             task);
    buf_init(&b, 4 * sizeof filter);
    if (percent_add(&b, str_of(filter)) == 0)
        uri = arena_printf(a, "http://%s:%u" LOGGING_LINK_PATH "?resourceNames=projects/%s&filter=%.*s", e->jobs->x->config.domain,
                           e->jobs->x->config.port, e->project, (int)buf_len(&b), buf_data(&b));
    buf_fini(&b);
    return uri;
}

/* What started it, among the annotations: nobody can have given one of this name (job_settings.c). */
static int add_event(const struct execution *e, struct arena *a, RUN(Execution) * m)
{
    if (!*e->rec->event_id)
        return 0;
    RUN(Execution__AnnotationsEntry) **all = arena_alloc(a, (m->n_annotations + 1) * sizeof *all);
    RUN(Execution__AnnotationsEntry) *entry = pb_new(a, &google__cloud__run__v2__execution__annotations_entry__descriptor);
    if (!all || !entry || !(entry->value = arena_strdup(a, e->rec->event_id)) || !(entry->key = arena_strdup(a, EVENT_ANNOTATION)))
        return -1;
    if (m->n_annotations)
        memcpy(all, m->annotations, m->n_annotations * sizeof *all);
    all[m->n_annotations++] = entry;
    m->annotations = all;
    return 0;
}

RUN(Execution) * execution_show(const struct execution *e, struct arena *a)
{
    RUN(Execution) *m = pb_clone(a, &e->rec->execution->base);
    if (!m)
        return NULL;
    bool over = execution_state_ended(e->state);
    m->start_time = e->started_wall_ns ? (Google__Protobuf__Timestamp *)pb_timestamp(a, e->started_wall_ns) : NULL;
    m->completion_time = over ? (Google__Protobuf__Timestamp *)pb_timestamp(a, e->ended_wall_ns) : NULL;
    int64_t updated_ns = over ? e->ended_wall_ns : e->started_wall_ns;
    if (updated_ns)
        m->update_time = (Google__Protobuf__Timestamp *)pb_timestamp(a, updated_ns);
    m->reconciling = !over;
    m->observed_generation = m->generation;
    /* A task whose outcome is being stored still counts as running: what is shown is durable. */
    m->running_count = (int32_t)(over ? 0 : e->count[TASK_RUNNING] + e->count[TASK_STOPPING] + e->count[TASK_ENDING]);
    m->succeeded_count = (int32_t)e->count[TASK_SUCCEEDED];
    m->failed_count = (int32_t)e->count[TASK_FAILED];
    m->cancelled_count = (int32_t)e->count[TASK_CANCELLED];
    m->retried_count = (int32_t)e->retried;
    m->etag = arena_printf(a, "\"%.8s-%u-%u\"", m->uid, e->round + 1, (unsigned)e->state);
    m->log_uri = execution_log_uri(e, a, LOG_NO_TASK);
    add_conditions(e, a, m);
    return m->etag && m->log_uri && add_event(e, a, m) == 0 ? m : NULL;
}

static RUN(ExecutionReference) * execution_reference(const struct execution *e, struct arena *a)
{
    RUN(ExecutionReference) *r = pb_new(a, RUN_DESC(execution_reference));
    if (!r)
        return NULL;
    r->name = arena_strdup(a, e->id);
    r->create_time = pb_clone(a, &e->rec->execution->create_time->base);
    if (execution_state_ended(e->state))
        r->completion_time = (Google__Protobuf__Timestamp *)pb_timestamp(a, e->ended_wall_ns);
    r->completion_status = (RUN(ExecutionReference__CompletionStatus))completion_status(e->state);
    return r->name && r->create_time ? r : NULL;
}

RUN(Job) * job_show(const struct job *j, struct arena *a)
{
    RUN(Job) *m = pb_clone(a, &j->msg->base);
    if (!m)
        return NULL;
    struct node *newest = list_first((struct list *)(uintptr_t)&j->executions);
    m->execution_count = j->count;
    m->latest_created_execution = newest ? execution_reference(CONTAINER_OF(newest, struct execution, link), a) : NULL;
    m->reconciling = j->ready_operation != NULL;
    m->observed_generation = m->generation;
    m->terminal_condition = since(a, j->jobs->env, "Ready", m->reconciling ? CONDITION_RECONCILING : CONDITION_SUCCEEDED,
                                  m->reconciling ? "Waiting for the execution of its token." : "", pb_timestamp_ns(m->update_time));
    return m;
}

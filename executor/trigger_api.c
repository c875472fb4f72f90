/** trigger_api.c: an execution started by a pushed message: its overrides and inputs out of the data, its attributes as variables. */
#include "executor/jobs_int.h"

#include "core/base/text.h"

#include <ctype.h>
#include <stdio.h>

#define VARIABLE "RUNNEL_MESSAGE_"
#define DATA_AS(name) RUNNEL__RUN__V1__TRIGGER_JOB_REQUEST__DATA_AS__##name

typedef RECORD(TriggerJobRequest) Request;
typedef RECORD(TriggerJobRequest__Message) Message;
typedef RUN(RunJobRequest__Overrides) Overrides;
typedef RUN(RunJobRequest__Overrides__ContainerOverride) ContainerOverride;

/* ---- variables */

struct vars {
    struct arena *a;
    RUN(EnvVar) * *v;
    size_t n;
};

static bool has(const struct vars *to, const char *name)
{
    for (size_t i = 0; i < to->n; i++)
        if (strcmp(to->v[i]->name, name) == 0)
            return true;
    return false;
}

/* What the message's own overrides say stays. */
static int add(struct vars *to, const char *name, const char *value)
{
    RUN(EnvVar) *v = has(to, name) ? NULL : pb_new(to->a, RUN_DESC(env_var));
    if (!v)
        return has(to, name) ? 0 : -1;
    v->name = arena_strdup(to->a, name);
    v->values_case = GOOGLE__CLOUD__RUN__V2__ENV_VAR__VALUES_VALUE;
    v->value = arena_strdup(to->a, value);
    to->v[to->n++] = v;
    return v->name && v->value ? 0 : -1;
}

/* "trace-id" is RUNNEL_MESSAGE_ATTRIBUTE_TRACE_ID. */
static char *variable_of(struct arena *a, const char *attribute)
{
    char *name = arena_printf(a, VARIABLE "ATTRIBUTE_%s", attribute);
    for (char *p = name; p && *p; p++)
        *p = isalnum((unsigned char)*p) ? (char)toupper((unsigned char)*p) : '_';
    return name;
}

static int no_memory(struct err *e) { return err_set(e, ERR_RESOURCE_EXHAUSTED, "the message needs more memory than a call may use"); }

static int add_attributes(struct vars *to, const Message *m, struct err *e)
{
    char **names = arena_alloc(to->a, (m->n_attributes + 1) * sizeof *names);
    for (size_t i = 0; names && i < m->n_attributes; i++) {
        if (!(names[i] = variable_of(to->a, m->attributes[i]->key)))
            return no_memory(e);
        for (size_t k = 0; k < i; k++)
            if (strcmp(names[k], names[i]) == 0)
                return err_set(e, ERR_INVALID_ARGUMENT, "message.attributes: '%.100s' and '%.100s' would both be the variable %.150s",
                               m->attributes[k]->key, m->attributes[i]->key, names[i]);
        if (add(to, names[i], m->attributes[i]->value))
            return no_memory(e);
    }
    return names ? 0 : no_memory(e);
}

static int add_variables(struct arena *a, const Request *q, ContainerOverride *c, struct err *e)
{
    const Message *m = q->message;
    struct vars to = {.a = a, .v = arena_alloc(a, (c->n_env + m->n_attributes + 8) * sizeof *to.v)};
    if (!to.v)
        return no_memory(e);
    for (; to.n < c->n_env; to.n++)
        to.v[to.n] = c->env[to.n];
    if (add(&to, VARIABLE "ID", m->message_id) || add(&to, VARIABLE "SUBSCRIPTION", q->subscription) ||
        (*m->publish_time && add(&to, VARIABLE "PUBLISH_TIME", m->publish_time)) ||
        (*m->ordering_key && add(&to, VARIABLE "ORDERING_KEY", m->ordering_key)))
        return no_memory(e);
    int rc = add_attributes(&to, m, e);
    c->env = to.v;
    c->n_env = to.n;
    return rc;
}

/* The one container's overrides, made if there are none. */
static ContainerOverride *container_of(struct arena *a, RECORD(JobStart) * s)
{
    if (!s->overrides && !(s->overrides = pb_new(a, &google__cloud__run__v2__run_job_request__overrides__descriptor)))
        return NULL;
    Overrides *o = s->overrides;
    if (o->n_container_overrides)
        return o->container_overrides[0];
    o->container_overrides = arena_alloc(a, sizeof *o->container_overrides);
    ContainerOverride *c = pb_new(a, &google__cloud__run__v2__run_job_request__overrides__container_override__descriptor);
    if (!o->container_overrides || !c)
        return NULL;
    o->n_container_overrides = 1;
    return o->container_overrides[0] = c;
}

/* ---- data */

static RECORD(JobStart) * as_input(struct arena *a, struct str data, struct err *e)
{
    RECORD(JobStart) *s = pb_new(a, RECORD_DESC(job_start));
    if (!utf8_valid(data.p, data.n) || (data.n && memchr(data.p, '\0', data.n))) {
        err_set(e, ERR_INVALID_ARGUMENT, "message.data: it is no text in UTF-8, and dataAs is INPUT");
        return NULL;
    }
    if (!s || !(s->inputs = arena_alloc(a, sizeof *s->inputs)) || !(s->inputs[0] = arena_dup(a, data))) {
        no_memory(e);
        return NULL;
    }
    s->n_inputs = 1;
    return s;
}

static RECORD(JobStart) * read_data(struct arena *a, const Request *q, struct err *e)
{
    const struct str data = {(const char *)q->message->data.data, q->message->data.len};
    struct err why = {0};
    if (q->data_as == DATA_AS(INPUT))
        return as_input(a, data, e);
    RECORD(JobStart) *s = job_start_read(a, data, &why);
    if (!s)
        err_set(e, why.code, "message.data: %.300s%s", why.msg,
                why.code == ERR_INVALID_ARGUMENT ? "; with ?dataAs=INPUT in the push endpoint the data is the task's input as it is" : "");
    return s;
}

static int check(const Request *q, struct err *e)
{
    if (!q->message)
        return err_set(e, ERR_INVALID_ARGUMENT, "message: required; is the body that of a Pub/Sub push, wrapped?");
    if (!*q->message->message_id || !*q->subscription)
        return err_set(e, ERR_INVALID_ARGUMENT,
                       "message.messageId and subscription: required: by these a message that is delivered again is known");
    if (q->data_as < DATA_AS(DATA_AS_UNSPECIFIED) || q->data_as > DATA_AS(INPUT))
        return err_set(e, ERR_INVALID_ARGUMENT, "dataAs: %d is neither START nor INPUT", (int)q->data_as);
    return 0;
}

static void on_trigger(void *service, struct call *c, const ProtobufCMessage *request)
{
    const Request *q = (const void *)request;
    struct err e;
    if (check(q, &e)) {
        call_fail(c, &e);
        return;
    }
    RECORD(JobStart) *s = read_data(c->arena, q, &e);
    ContainerOverride *container = s ? container_of(c->arena, s) : NULL;
    char *id = arena_printf(c->arena, "//pubsub.googleapis.com/%s@%s", q->subscription, q->message->message_id);
    if (s && (!container || !id))
        no_memory(&e);
    if (!container || !id || add_variables(c->arena, q, container, &e)) {
        call_fail(c, &e);
        return;
    }
    const struct launch l = {.overrides = s->overrides, .inputs = s->inputs, .n_inputs = s->n_inputs, .no_operation = true, .event_id = id};
    run_jobs_run(service, c, q->name, "", false, &l);
}

static const struct method methods[] = {
    {"runnel.run.v1.Jobs/TriggerJob", VERB_POST, "/runnel/v1/{name=projects/*/locations/*/jobs/*}:trigger", "*", "run.jobs.run",
     RECORD_DESC(trigger_job_request), RUN_DESC(execution), on_trigger},
};

int trigger_api_register(struct executor *x, struct registry *r, struct err *e)
{
    return registry_add(r, methods, ARRAY_LEN(methods), x, e);
}

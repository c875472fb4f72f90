/** job_validate.c: what a job and overrides may say. Each refusal names the field; what cannot be done is refused. Kept for information
 *                  only, as with services: labels, client, launchStage, serviceAccount, executionEnvironment. */
#include "executor/jobs_int.h"

#include <stdio.h>

#define JOB_ID_MAX 49
#define NAME_MAX_BYTES 63 /* of an execution */

int validate_job_id(const char *id, struct err *e)
{
    if (!id || !*id)
        return err_set(e, ERR_INVALID_ARGUMENT, "jobId: required; it becomes the job's name");
    if (!validate_is_id(id, JOB_ID_MAX))
        return err_set(
            e, ERR_INVALID_ARGUMENT,
            "jobId: '%.80s' must be lower case letters, digits and hyphens, begin with a letter, not end with a hyphen, and have "
            "fewer than %d characters",
            id, JOB_ID_MAX + 1);
    return 0;
}

static int unimplemented(struct err *e, const char *field)
{
    return err_set(e, ERR_UNIMPLEMENTED, "%s: not supported by this server; leave it out", field);
}

static int check_task_count(const char *field, int32_t n, struct err *e)
{
    if (n < 0 || n > JOB_TASKS_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "%s: %d is not between 1 and %d", field, n, JOB_TASKS_MAX);
    return 0;
}

static int check_timeout(const char *field, struct arena *a, Google__Protobuf__Duration **timeout, int64_t otherwise_ns, struct err *e)
{
    int64_t ns = pb_duration_ns(*timeout);
    if (ns < 0 || ns > JOB_TIMEOUT_MAX_S * NS_PER_S)
        return err_set(e, ERR_INVALID_ARGUMENT, "%s: must be between 0s (the default, %ds) and %ds", field, JOB_TIMEOUT_DEFAULT_S,
                       JOB_TIMEOUT_MAX_S);
    if (ns == 0)
        *timeout = (Google__Protobuf__Duration *)pb_duration(a, otherwise_ns);
    return *timeout ? 0 : err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory");
}

int job_check_memory(struct executor *x, const RUN(Container) * c, struct err *e)
{
    uint32_t cpu_millis;
    uint64_t memory_bytes;
    plan_limits(c, &cpu_millis, &memory_bytes);
    return admission_check(&x->admission, CAPACITY_JOB, "template.template.containers[0]", memory_bytes, e);
}

static int check_task_container(struct executor *x, struct arena *a, const RUN(Container) * c, struct err *e)
{
    struct err inner;
    if (c->n_ports)
        return err_set(e, ERR_INVALID_ARGUMENT, "template.template.containers[0].ports: a task serves no port");
    if (c->startup_probe)
        return unimplemented(e, "template.template.containers[0].startupProbe");
    if (validate_container(x, a, c, &inner))
        return err_set(e, inner.code, "template.%.300s", inner.msg);
    return job_check_memory(x, c, e);
}

static int refuse_task(const RUN(TaskTemplate) * t, struct err *e)
{
    if (t->vpc_access)
        return unimplemented(e, "template.template.vpcAccess");
    if (t->n_volumes)
        return unimplemented(e, "template.template.volumes");
    if (*t->encryption_key)
        return unimplemented(e, "template.template.encryptionKey");
    if (t->node_selector || t->gpu_zonal_redundancy_disabled)
        return unimplemented(e, "template.template.nodeSelector");
    if (t->n_containers == 0)
        return err_set(e, ERR_INVALID_ARGUMENT, "template.template.containers: required, with the image to run");
    if (t->n_containers > 1)
        return err_set(e, ERR_UNIMPLEMENTED, "template.template.containers: one container; sidecars are not supported by this server");
    return 0;
}

static int check_task(struct executor *x, struct arena *a, RUN(TaskTemplate) * t, struct err *e)
{
    if (refuse_task(t, e) || check_task_container(x, a, t->containers[0], e) ||
        check_timeout("template.template.timeout", a, &t->timeout, JOB_TIMEOUT_DEFAULT_S * NS_PER_S, e))
        return -(int)e->code;
    if (t->retries_case != GOOGLE__CLOUD__RUN__V2__TASK_TEMPLATE__RETRIES_MAX_RETRIES) {
        t->retries_case = GOOGLE__CLOUD__RUN__V2__TASK_TEMPLATE__RETRIES_MAX_RETRIES;
        t->max_retries = JOB_RETRIES_DEFAULT;
    }
    if (t->max_retries < 0 || t->max_retries > JOB_RETRIES_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "template.template.maxRetries: %d is not between 0 and %d", t->max_retries,
                       JOB_RETRIES_MAX);
    return 0;
}

static int check_template(struct executor *x, struct arena *a, RUN(ExecutionTemplate) * t, const char *id, struct err *e)
{
    struct job_settings settings;
    if (!t->template_)
        return err_set(e, ERR_INVALID_ARGUMENT, "template.template: required, with the container to run");
    if (check_task_count("template.taskCount", t->task_count, e))
        return -(int)e->code;
    if (t->task_count == 0)
        t->task_count = 1;
    if (t->parallelism < 0 || t->parallelism > JOBS_RUNNING_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "template.parallelism: %d is not between 0 (as many as this host can well run) and %d",
                       t->parallelism, JOBS_RUNNING_MAX);
    if (validate_map("template.labels", t->labels, t->n_labels, e) ||
        validate_map("template.annotations", t->annotations, t->n_annotations, e) ||
        job_settings_read(&settings, t->annotations, t->n_annotations, e))
        return -(int)e->code;
    if (job_depends_on(settings.depends_on, id))
        return err_set(e, ERR_INVALID_ARGUMENT, "template.annotations: runnel.dev/depends-on names the job itself");
    return check_task(x, a, t->template_, e);
}

static int check_tokens(const RUN(Job) * m, const char *id, struct err *e)
{
    bool start = m->create_execution_case == GOOGLE__CLOUD__RUN__V2__JOB__CREATE_EXECUTION_START_EXECUTION_TOKEN;
    if (m->create_execution_case == GOOGLE__CLOUD__RUN__V2__JOB__CREATE_EXECUTION__NOT_SET)
        return 0;
    const char *field = start ? "startExecutionToken" : "runExecutionToken",
               *token = start ? m->start_execution_token : m->run_execution_token;
    size_t n = strlen(token);
    bool good = n > 0 && strlen(id) + 1 + n <= NAME_MAX_BYTES && token[n - 1] != '-';
    for (size_t i = 0; i < n && good; i++)
        good = (token[i] >= 'a' && token[i] <= 'z') || (token[i] >= '0' && token[i] <= '9') || token[i] == '-';
    return good
               ? 0
               : err_set(
                     e, ERR_INVALID_ARGUMENT,
                     "%s: '%.80s' must be lower case letters, digits and hyphens, not end with a hyphen, and with the job's name have fewer "
                     "than %d characters",
                     field, token, NAME_MAX_BYTES);
}

/* Jobs that depend on each other in a circle would run for ever. Each is looked at once. */
static int check_circle(struct executor *x, struct arena *a, const RUN(Job) * m, const char *id, struct err *e)
{
    struct run_jobs *js = x->jobs;
    size_t prefix = strlen(m->name) - strlen(id), n = 0, done = 0;
    struct job **found = arena_alloc(a, (map_count(js->jobs) + 1) * sizeof(struct job *));
    char name[RUN_NAME_MAX];
    if (!found)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory");
    js->walk++;
    for (const char *list = job_dependencies(m);; list = job_dependencies(found[done++]->msg)) {
        if (n > 0 && job_depends_on(list, id))
            return err_set(
                e, ERR_INVALID_ARGUMENT,
                "annotations: runnel.dev/depends-on: job '%s' depends on this one, so that they would run after each other for ever",
                found[done - 1]->id);
        for (const char *p = list; *p;) {
            size_t len = strcspn(p, ",");
            snprintf(name, sizeof name, "%.*s%.*s", (int)prefix, m->name, (int)len, p);
            p += len + (p[len] == ',');
            struct job *on = job_find(js, name);
            if (!on || on->seen == js->walk)
                continue;
            on->seen = js->walk;
            found[n++] = on;
        }
        if (done == n)
            return 0;
    }
}

int validate_job(struct executor *x, struct arena *a, RUN(Job) * m, const char *id, struct err *e)
{
    struct job_settings settings;
    if (!m->template_)
        return err_set(e, ERR_INVALID_ARGUMENT, "template: required, with the task to run");
    if (m->binary_authorization)
        return unimplemented(e, "binaryAuthorization");
    if (validate_map("labels", m->labels, m->n_labels, e) || validate_map("annotations", m->annotations, m->n_annotations, e) ||
        job_settings_read(&settings, m->annotations, m->n_annotations, e) || check_tokens(m, id, e))
        return -(int)e->code;
    if (job_depends_on(settings.depends_on, id))
        return err_set(e, ERR_INVALID_ARGUMENT, "annotations: runnel.dev/depends-on names the job itself");
    if (m->launch_stage == 0)
        m->launch_stage = GOOGLE__CLOUD__RUN__V2__LAUNCH_STAGE__GA;
    return check_template(x, a, m->template_, id, e) ? -(int)e->code : check_circle(x, a, m, id, e);
}

/* ---- overrides */

static int merge_env(struct arena *a, RUN(Container) * c, const RUN(RunJobRequest__Overrides__ContainerOverride) * o)
{
    RUN(EnvVar) **all = arena_alloc(a, (c->n_env + o->n_env + 1) * sizeof *all);
    if (!all)
        return -1;
    size_t n = 0;
    for (size_t i = 0; i < c->n_env; i++)
        all[n++] = c->env[i];
    for (size_t i = 0; i < o->n_env; i++) {
        size_t at = n;
        for (size_t k = 0; k < c->n_env; k++)
            if (strcmp(all[k]->name, o->env[i]->name) == 0)
                at = k;
        all[at] = o->env[i];
        n += at == n;
    }
    c->env = all;
    c->n_env = n;
    return 0;
}

int validate_overrides(struct executor *x, struct arena *a, RUN(Execution) * m, const RUN(RunJobRequest__Overrides) * o, struct err *e)
{
    RUN(Container) *c = m->template_->containers[0];
    if (!o)
        return 0;
    if (o->n_container_overrides > 1)
        return err_set(e, ERR_INVALID_ARGUMENT, "overrides.containerOverrides: there is one container");
    if (check_task_count("overrides.taskCount", o->task_count, e))
        return -(int)e->code;
    if (o->task_count)
        m->task_count = o->task_count;
    if (o->timeout) {
        Google__Protobuf__Duration *timeout = o->timeout;
        if (check_timeout("overrides.timeout", a, &timeout, pb_duration_ns(m->template_->timeout), e))
            return -(int)e->code;
        m->template_->timeout = timeout;
    }
    if (o->n_container_overrides == 0)
        return 0;
    const RUN(RunJobRequest__Overrides__ContainerOverride) *over = o->container_overrides[0];
    if (*over->name && *c->name && strcmp(over->name, c->name) != 0)
        return err_set(e, ERR_INVALID_ARGUMENT, "overrides.containerOverrides[0].name: the container is called '%.60s'", c->name);
    if (over->clear_args && over->n_args)
        return err_set(e, ERR_INVALID_ARGUMENT, "overrides.containerOverrides[0].clearArgs: not together with args");
    if (over->clear_args || over->n_args) {
        c->args = over->args;
        c->n_args = over->n_args;
    }
    if (merge_env(a, c, over))
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory");
    return check_task_container(x, a, c, e);
}

int validate_inputs(RUN(Execution) * m, char **inputs, size_t n, bool count_given, struct err *e)
{
    if (n == 0)
        return 0;
    if (n > JOB_TASKS_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "inputs: %zu; at most %d", n, JOB_TASKS_MAX);
    if (count_given && (size_t)m->task_count != n)
        return err_set(e, ERR_INVALID_ARGUMENT, "overrides.taskCount: %d, but there are %zu inputs; leave it out", m->task_count, n);
    for (size_t i = 0; i < n; i++)
        if (strlen(inputs[i]) > TASK_INPUT_MAX)
            return err_set(e, ERR_INVALID_ARGUMENT, "inputs[%zu]: more than %d bytes", i, TASK_INPUT_MAX);
    m->task_count = (int32_t)n;
    return 0;
}

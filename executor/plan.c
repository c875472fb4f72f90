/** plan.c: from a revision's container to what the runtime is told: arguments, environment, limits, probe. */
#include "executor/executor_int.h"
#include "executor/exec_resolve.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define DEFAULT_VARS 4
#define MEMORY_MAX 1e18
#define PROBE_TOTAL_MAX_S 3600 /* far beyond the end of any rollout */

uint32_t plan_cpu_millis(const char *text)
{
    char *end;
    double v = strtod(text, &end);
    if (end == text || !(v > 0) || v > 1e6)
        return 0;
    if (strcmp(end, "m") == 0)
        return (uint32_t)v;
    return *end ? 0 : (uint32_t)(v * 1000 + 0.5);
}

uint64_t executor_memory_bytes(const char *text)
{
    static const struct {
        const char *suffix;
        double factor;
    } units[] = {{"", 1},           {"k", 1e3},           {"M", 1e6},
                 {"G", 1e9},        {"T", 1e12},          {"Ki", 1024.0},
                 {"Mi", 1048576.0}, {"Gi", 1073741824.0}, {"Ti", 1099511627776.0}};
    char *end;
    double v = strtod(text, &end);
    if (end == text || !(v > 0) || v > 1e15)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (strcmp(end, units[i].suffix) == 0)
            return v * units[i].factor < MEMORY_MAX ? (uint64_t)(v * units[i].factor) : 0;
    return 0;
}

void plan_free(struct revision *r)
{
    for (char **v = r->vars; v && *v; v++)
        free(*v);
    for (char **v = r->argv; v && *v; v++)
        free(*v);
    free(r->vars);
    free(r->argv);
    free(r->probe_http);
    r->vars = r->argv = NULL;
    r->probe_http = NULL;
}

int plan_argv(const RUN(Container) * c, char ***argv)
{
    size_t n = 0;
    char **v = calloc(c->n_command + c->n_args + 2, sizeof *v);
    *argv = v;
    if (!v)
        return -ERR_RESOURCE_EXHAUSTED;
    if (c->n_command == 0 && !(v[n++] = strdup(""))) /* the image's own program */
        return -ERR_RESOURCE_EXHAUSTED;
    for (size_t i = 0; i < c->n_command + c->n_args; i++)
        if (!(v[n++] = strdup(i < c->n_command ? c->command[i] : c->args[i - c->n_command])))
            return -ERR_RESOURCE_EXHAUSTED;
    return 0;
}

static const char *user_value(const RUN(Container) * c, const char *name)
{
    for (size_t i = 0; i < c->n_env; i++)
        if (strcmp(c->env[i]->name, name) == 0)
            return c->env[i]->value ? c->env[i]->value : "";
    return NULL;
}

FMT(3, 4) static int add_var(char **vars, size_t *n, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int len = vasprintf(&vars[*n], fmt, ap);
    va_end(ap);
    if (len < 0) {
        vars[*n] = NULL;
        return -ERR_RESOURCE_EXHAUSTED;
    }
    (*n)++;
    return 0;
}

/* What a program expects of any machine, unless the user says otherwise. */
static int add_default(char **vars, size_t *n, const RUN(Container) * c, const char *name, const char *fallback)
{
    const char *v = getenv(name);
    if (user_value(c, name))
        return 0;
    return add_var(vars, n, "%s=%s", name, v && *v ? v : fallback);
}

int plan_vars(const struct executor *x, const RUN(Container) * c, const char *const *fixed, char ***vars)
{
    size_t n = 0, n_fixed = 0;
    int rc = 0;
    while (fixed[n_fixed])
        n_fixed++;
    char **v = calloc(n_fixed + DEFAULT_VARS + c->n_env + 1, sizeof *v);
    *vars = v;
    if (!v)
        return -ERR_RESOURCE_EXHAUSTED;
    for (size_t i = 0; i < n_fixed && !rc; i++)
        rc = add_var(v, &n, "%s", fixed[i]);
    if (!rc && !user_value(c, "GCE_METADATA_HOST"))
        rc = add_var(v, &n, "GCE_METADATA_HOST=127.0.0.1:%u", x->config.port);
    rc = rc ? rc : add_default(v, &n, c, "PATH", EXEC_PATH_DEFAULT);
    rc = rc ? rc : add_default(v, &n, c, "HOME", "/");
    rc = rc ? rc : add_default(v, &n, c, "LANG", "C.UTF-8");
    for (size_t i = 0; i < c->n_env && !rc; i++)
        rc = add_var(v, &n, "%s=%s", c->env[i]->name, c->env[i]->value ? c->env[i]->value : "");
    return rc;
}

static int build_vars(struct revision *r, const RUN(Container) * c)
{
    char service[RUN_NAME_MAX], revision[RUN_NAME_MAX], configuration[RUN_NAME_MAX];
    const char *const fixed[] = {service, revision, configuration, NULL};
    snprintf(service, sizeof service, "K_SERVICE=%s", r->service->id);
    snprintf(revision, sizeof revision, "K_REVISION=%s", r->id);
    snprintf(configuration, sizeof configuration, "K_CONFIGURATION=%s", r->service->id);
    return plan_vars(r->x, c, fixed, &r->vars);
}

static int build_http(struct revision *r, const RUN(HTTPGetAction) * get)
{
    struct buf b;
    buf_init(&b, 64 << 10);
    int rc = buf_addf(&b, "GET %s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: runnel-probe\r\nConnection: close\r\n",
                      get->path && *get->path ? get->path : "/");
    for (size_t i = 0; i < get->n_http_headers && !rc; i++)
        rc = buf_addf(&b, "%s: %s\r\n", get->http_headers[i]->name, get->http_headers[i]->value);
    rc = rc ? rc : buf_addz(&b, "\r\n");
    const char *text = rc ? NULL : buf_cstr(&b);
    r->probe_http = text ? strdup(text) : NULL;
    buf_fini(&b);
    return r->probe_http ? 0 : -ERR_RESOURCE_EXHAUSTED;
}

/* A given startup probe says how long a start may take; we ask more often, so that a quick start stays quick. */
static int build_probe(struct revision *r, const RUN(Probe) * p)
{
    instance_plan_default(&r->plan);
    if (!p)
        return 0;
    int64_t period_s = p->period_seconds > 0 ? p->period_seconds : 10, threshold = p->failure_threshold > 0 ? p->failure_threshold : 3;
    r->plan.probe_delay_ns = p->initial_delay_seconds * NS_PER_S;
    r->plan.probe_timeout_ns = (p->timeout_seconds > 0 ? p->timeout_seconds : 1) * NS_PER_S;
    int64_t total_s = period_s * threshold < PROBE_TOTAL_MAX_S ? period_s * threshold : PROBE_TOTAL_MAX_S;
    r->plan.probe_total_ns = r->plan.probe_delay_ns + total_s * NS_PER_S;
    if (p->probe_type_case != GOOGLE__CLOUD__RUN__V2__PROBE__PROBE_TYPE_HTTP_GET)
        return 0;
    r->plan.probe_every_ns = NS_PER_S; /* requests are work for the program */
    int rc = build_http(r, p->http_get);
    r->plan.probe_http = r->probe_http;
    return rc;
}

static const char *limit_of(const RUN(Container) * c, const char *name)
{
    for (size_t i = 0; c->resources && i < c->resources->n_limits; i++)
        if (strcmp(c->resources->limits[i]->key, name) == 0)
            return c->resources->limits[i]->value;
    return NULL;
}

void plan_limits(const RUN(Container) * c, uint32_t *cpu_millis, uint64_t *memory_bytes)
{
    const char *cpu = limit_of(c, "cpu"), *memory = limit_of(c, "memory");
    *cpu_millis = cpu ? plan_cpu_millis(cpu) : 0;
    *memory_bytes = memory ? executor_memory_bytes(memory) : 0;
}

int plan_build(struct revision *r, struct err *e)
{
    const RUN(Container) *c = r->msg->containers[0];
    struct instance_plan *p = &r->plan;
    p->env = r->x->env;
    p->runtime = r->x->deps.runtime;
    p->prober = r->x->deps.prober;
    p->timeout_ns = pb_duration_ns(r->msg->timeout);
    p->arg = r;
    if (plan_argv(c, &r->argv) || build_vars(r, c) || build_probe(r, c->startup_probe))
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for revision %s", r->id);
    p->spec = (struct runtime_spec){
        .argv = (const char *const *)r->argv,
        .env = (const char *const *)r->vars,
        .wants_port = true,
        .group = r->service->share->group,
    };
    plan_limits(c, &p->spec.cpu_millis, &p->spec.memory_bytes);
    plan_point(r);
    return 0;
}

void plan_point(struct revision *r)
{
    const RUN(Container) *c = r->msg->containers[0];
    r->plan.spec.image = c->image;
    r->plan.spec.working_dir = c->working_dir && *c->working_dir ? c->working_dir : NULL;
}

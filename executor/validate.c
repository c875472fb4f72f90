/** validate.c: what a service may say. Each refusal names the field and what to do; what this server cannot do is refused
 *              rather than kept and ignored. Kept for information only: labels, annotations, description, client,
 *              launchStage, serviceAccount, executionEnvironment, resources.cpuIdle and startupCpuBoost. */
#include "executor/executor_int.h"

#include <stdio.h>
#include <stdlib.h>

#define SERVICE_ID_MAX 49
#define REVISION_ID_MAX 63
#define DESCRIPTION_MAX 512
#define LABELS_MAX 64
#define AUDIENCES_MAX 50
#define ENV_MAX 1000
#define MEMORY_MIN_BYTES (1u << 20)
#define ENV_TEXT_MAX 32768
#define ARGS_TEXT_MAX 32768
#define ARGS_MAX 1000

bool validate_is_id(const char *id, size_t max)
{
    size_t n = strlen(id);
    if (n == 0 || n > max || id[0] < 'a' || id[0] > 'z' || id[n - 1] == '-')
        return false;
    for (size_t i = 0; i < n; i++)
        if (!((id[i] >= 'a' && id[i] <= 'z') || (id[i] >= '0' && id[i] <= '9') || id[i] == '-'))
            return false;
    return true;
}

int validate_service_id(const char *id, struct err *e)
{
    if (!id || !*id)
        return err_set(e, ERR_INVALID_ARGUMENT, "serviceId: required; it becomes the service's name");
    if (!validate_is_id(id, SERVICE_ID_MAX) || strstr(id, "---"))
        return err_set(e, ERR_INVALID_ARGUMENT,
                       "serviceId: '%.80s' must be lower case letters, digits and hyphens, begin with a letter, "
                       "not end with a hyphen nor have three in a row, and have fewer than %d characters",
                       id, SERVICE_ID_MAX + 1);
    return 0;
}

/* projects/P/locations/L */
int validate_parent(const char *parent, struct err *e)
{
    static const char middle[] = "/locations/";
    const char *location = parent && strncmp(parent, "projects/", 9) == 0 ? strstr(parent + 9, middle) : NULL;
    if (!location || location == parent + 9 || !location[sizeof middle - 1] || strchr(location + sizeof middle - 1, '/') ||
        strlen(parent) > RUN_NAME_MAX / 2)
        return err_set(e, ERR_INVALID_ARGUMENT, "parent: '%.150s' must be projects/PROJECT/locations/REGION", parent ? parent : "");
    if (strcmp(location + sizeof middle - 1, "-") == 0)
        return err_set(e, ERR_INVALID_ARGUMENT, "parent: name one region; '-' for all of them is not possible here");
    return 0;
}

/* ---- maps, as every message with labels has them */

struct pair {
    ProtobufCMessage base;
    char *key, *value;
};

static int by_key(const void *a, const void *b) { return strcmp((*(struct pair *const *)a)->key, (*(struct pair *const *)b)->key); }

/* protoc-c makes a type of its own for each map, all laid out like struct pair. In order, equal maps are equal bytes. */
static void sort_map(void *entries, size_t n)
{
    _Static_assert(sizeof(struct pair) == sizeof(RUN(Service__LabelsEntry)) &&
                       offsetof(struct pair, key) == offsetof(RUN(Service__LabelsEntry), key) &&
                       offsetof(struct pair, value) == offsetof(RUN(Service__LabelsEntry), value),
                   "a map entry is a message with key and value");
    if (n)
        qsort(entries, n, sizeof(void *), by_key);
}

int validate_map(const char *field, void *entries, size_t n, struct err *e)
{
    static const char *const reserved[] = {"run.googleapis.com/", "cloud.googleapis.com/", "serving.knative.dev/",
                                           "autoscaling.knative.dev/"};
    struct pair **pairs = entries;
    if (n > LABELS_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "%s: %zu entries; at most %d", field, n, LABELS_MAX);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < ARRAY_LEN(reserved); k++)
            if (strncmp(pairs[i]->key, reserved[k], strlen(reserved[k])) == 0)
                return err_set(e, ERR_INVALID_ARGUMENT, "%s: '%.100s' is in a namespace of the system; use the field that stands for it",
                               field, pairs[i]->key);
    sort_map(entries, n);
    return 0;
}

static int unimplemented(struct err *e, const char *field)
{
    return err_set(e, ERR_UNIMPLEMENTED, "%s: not supported by this server; leave it out", field);
}

/* ---- the container */

static bool reserved_var(const char *name)
{
    static const char *const names[] = {
        "PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION", "RUNNEL_INSTANCE_ID", "RUNNEL_TASK_INPUT", "RUNNEL_RESULT"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return strncmp(name, "X_GOOGLE_", 9) == 0 || strncmp(name, "CLOUD_RUN_", 10) == 0;
}

static int check_env(const RUN(Container) * c, struct err *e)
{
    static const char at[] = "template.containers[0].env";
    if (c->n_env > ENV_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "%s: %zu variables; at most %d", at, c->n_env, ENV_MAX);
    for (size_t i = 0; i < c->n_env; i++) {
        const RUN(EnvVar) *v = c->env[i];
        if (!*v->name || strchr(v->name, '=') || strlen(v->name) > ENV_TEXT_MAX)
            return err_set(e, ERR_INVALID_ARGUMENT, "%s[%zu].name: '%.80s' is empty, too long or has a '='", at, i, v->name);
        if (reserved_var(v->name))
            return err_set(e, ERR_INVALID_ARGUMENT, "%s[%zu].name: '%.80s' is set by the server and reserved", at, i, v->name);
        if (v->values_case == GOOGLE__CLOUD__RUN__V2__ENV_VAR__VALUES_VALUE_SOURCE)
            return err_set(e, ERR_UNIMPLEMENTED, "%s[%zu].valueSource: secrets are not supported by this server yet; give a value", at, i);
        if (v->value && strlen(v->value) > ENV_TEXT_MAX)
            return err_set(e, ERR_INVALID_ARGUMENT, "%s[%zu].value: more than %d bytes", at, i, ENV_TEXT_MAX);
        for (size_t k = 0; k < i; k++)
            if (strcmp(c->env[k]->name, v->name) == 0)
                return err_set(e, ERR_INVALID_ARGUMENT, "%s[%zu].name: '%.80s' is given twice", at, i, v->name);
    }
    return 0;
}

static int check_limits(const RUN(ResourceRequirements) * r, struct err *e)
{
    static const char at[] = "template.containers[0].resources.limits";
    for (size_t i = 0; r && i < r->n_limits; i++) {
        const char *key = r->limits[i]->key, *value = r->limits[i]->value;
        if (strcmp(key, "cpu") != 0 && strcmp(key, "memory") != 0)
            return err_set(e, ERR_INVALID_ARGUMENT, "%s: '%.60s' is neither cpu nor memory", at, key);
        if (strcmp(key, "cpu") == 0 && plan_cpu_millis(value) == 0)
            return err_set(e, ERR_INVALID_ARGUMENT, "%s.cpu: '%.60s' is not a number of CPUs like 1, 0.5 or 500m", at, value);
        if (strcmp(key, "memory") == 0 && executor_memory_bytes(value) == 0)
            return err_set(e, ERR_INVALID_ARGUMENT, "%s.memory: '%.60s' is not a size like 512Mi or 1G", at, value);
        if (strcmp(key, "memory") == 0 && executor_memory_bytes(value) < MEMORY_MIN_BYTES)
            return err_set(e, ERR_INVALID_ARGUMENT,
                           "%s.memory: '%.60s' is less than %u MiB, in which no program starts; a size like 512Mi or 1G is meant", at,
                           value, MEMORY_MIN_BYTES >> 20);
    }
    if (r)
        sort_map(r->limits, r->n_limits);
    return 0;
}

static int check_header_text(const char *text)
{
    for (const char *p = text; *p; p++)
        if (*p == '\r' || *p == '\n')
            return -1;
    return 0;
}

static int check_probe(const RUN(Container) * c, struct err *e)
{
    static const char at[] = "template.containers[0].startupProbe";
    const RUN(Probe) *p = c->startup_probe;
    if (!p)
        return 0;
    if (p->probe_type_case == GOOGLE__CLOUD__RUN__V2__PROBE__PROBE_TYPE_GRPC)
        return err_set(e, ERR_UNIMPLEMENTED, "%s.grpc: not supported by this server; use tcpSocket or httpGet", at);
    if (p->initial_delay_seconds < 0 || p->initial_delay_seconds > 240 || p->timeout_seconds < 0 || p->timeout_seconds > 3600 ||
        p->period_seconds < 0 || p->period_seconds > 240 || p->failure_threshold < 0)
        return err_set(e, ERR_INVALID_ARGUMENT,
                       "%s: initialDelaySeconds is 0..240, timeoutSeconds 1..3600, periodSeconds 1..240, failureThreshold at least 1", at);
    if (p->period_seconds && p->timeout_seconds > p->period_seconds)
        return err_set(e, ERR_INVALID_ARGUMENT, "%s.timeoutSeconds: longer than periodSeconds", at);
    int32_t port = 0, own = c->n_ports ? c->ports[0]->container_port : 0;
    if (p->probe_type_case == GOOGLE__CLOUD__RUN__V2__PROBE__PROBE_TYPE_TCP_SOCKET)
        port = p->tcp_socket->port;
    if (p->probe_type_case == GOOGLE__CLOUD__RUN__V2__PROBE__PROBE_TYPE_HTTP_GET) {
        const RUN(HTTPGetAction) *get = p->http_get;
        port = get->port;
        if ((*get->path && get->path[0] != '/') || check_header_text(get->path) || strchr(get->path, ' '))
            return err_set(e, ERR_INVALID_ARGUMENT, "%s.httpGet.path: '%.80s' must begin with '/' and have no spaces", at, get->path);
        for (size_t i = 0; i < get->n_http_headers; i++)
            if (!*get->http_headers[i]->name || check_header_text(get->http_headers[i]->name) ||
                check_header_text(get->http_headers[i]->value))
                return err_set(e, ERR_INVALID_ARGUMENT, "%s.httpGet.httpHeaders[%zu]: no name, or a line break in it", at, i);
    }
    if (port && port != own && port != 8080)
        return err_set(e, ERR_UNIMPLEMENTED, "%s: port %d is not the container's; other ports cannot be probed", at, port);
    return 0;
}

static int check_command(const RUN(Container) * c, struct err *e)
{
    size_t bytes = 0;
    for (size_t i = 0; i < c->n_command; i++)
        bytes += strlen(c->command[i]) + 1;
    for (size_t i = 0; i < c->n_args; i++)
        bytes += strlen(c->args[i]) + 1;
    if (c->n_command + c->n_args > ARGS_MAX || bytes > ARGS_TEXT_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "template.containers[0].command and args: more than %d or longer than %d bytes together",
                       ARGS_MAX, ARGS_TEXT_MAX);
    if (c->n_command && !*c->command[0])
        return err_set(e, ERR_INVALID_ARGUMENT, "template.containers[0].command[0]: empty");
    return 0;
}

/* Can the runtime run it? */
static int check_image(struct executor *x, struct arena *a, const RUN(Container) * c, struct err *e)
{
    if (!*c->image)
        return err_set(e, ERR_INVALID_ARGUMENT, "template.containers[0].image: required");
    const char **argv = arena_alloc(a, (c->n_command + c->n_args + 2) * sizeof *argv);
    size_t n = 0;
    if (!argv)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory");
    if (c->n_command == 0)
        argv[n++] = "";
    for (size_t i = 0; i < c->n_command; i++)
        argv[n++] = c->command[i];
    for (size_t i = 0; i < c->n_args; i++)
        argv[n++] = c->args[i];
    if (x->deps.runtime->ops->check(x->deps.runtime, c->image, argv, e))
        return err_wrap(e, "template.containers[0]");
    return 0;
}

int validate_container(struct executor *x, struct arena *a, const RUN(Container) * c, struct err *e)
{
    if (c->liveness_probe)
        return unimplemented(e, "template.containers[0].livenessProbe");
    if (c->readiness_probe)
        return unimplemented(e, "template.containers[0].readinessProbe");
    if (c->n_volume_mounts)
        return unimplemented(e, "template.containers[0].volumeMounts");
    if (c->n_depends_on)
        return unimplemented(e, "template.containers[0].dependsOn");
    if (c->n_ports > 1)
        return err_set(e, ERR_INVALID_ARGUMENT, "template.containers[0].ports: at most one");
    if (c->n_ports && strcmp(c->ports[0]->name, "h2c") == 0)
        return err_set(e, ERR_UNIMPLEMENTED, "template.containers[0].ports[0].name: h2c is not supported by this server yet; use http1");
    if (c->n_ports && *c->ports[0]->name && strcmp(c->ports[0]->name, "http1") != 0)
        return err_set(e, ERR_INVALID_ARGUMENT, "template.containers[0].ports[0].name: '%.40s' is neither http1 nor h2c",
                       c->ports[0]->name);
    if (c->n_ports && (c->ports[0]->container_port < 0 || c->ports[0]->container_port > 65535))
        return err_set(e, ERR_INVALID_ARGUMENT, "template.containers[0].ports[0].containerPort: %d is not a port",
                       c->ports[0]->container_port);
    int rc = check_command(c, e);
    rc = rc ? rc : check_env(c, e);
    rc = rc ? rc : check_limits(c->resources, e);
    rc = rc ? rc : check_probe(c, e);
    return rc ? rc : check_image(x, a, c, e);
}

/* ---- the template */

static int refuse_template(const RUN(RevisionTemplate) * t, struct err *e)
{
    if (t->vpc_access)
        return unimplemented(e, "template.vpcAccess");
    if (t->n_volumes)
        return unimplemented(e, "template.volumes");
    if (*t->encryption_key)
        return unimplemented(e, "template.encryptionKey");
    if (t->encryption_key_revocation_action || t->encryption_key_shutdown_duration)
        return unimplemented(e, "template.encryptionKeyRevocationAction");
    if (t->service_mesh)
        return unimplemented(e, "template.serviceMesh");
    if (t->node_selector)
        return unimplemented(e, "template.nodeSelector");
    if (t->session_affinity)
        return unimplemented(e, "template.sessionAffinity");
    if (t->n_containers == 0)
        return err_set(e, ERR_INVALID_ARGUMENT, "template.containers: required, with the image to run");
    if (t->n_containers > 1)
        return err_set(e, ERR_UNIMPLEMENTED, "template.containers: one container; sidecars are not supported by this server");
    return 0;
}

static int default_timeout(struct arena *a, RUN(RevisionTemplate) * t, struct err *e)
{
    int64_t ns = pb_duration_ns(t->timeout);
    if (ns < 0 || ns > RUN_TIMEOUT_MAX_S * NS_PER_S)
        return err_set(e, ERR_INVALID_ARGUMENT, "template.timeout: must be between 0s (the default, %ds) and %ds", RUN_TIMEOUT_DEFAULT_S,
                       RUN_TIMEOUT_MAX_S);
    if (ns == 0)
        t->timeout = (Google__Protobuf__Duration *)pb_duration(a, RUN_TIMEOUT_DEFAULT_S * NS_PER_S);
    return t->timeout ? 0 : err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory");
}

static int default_scaling(struct arena *a, RUN(RevisionTemplate) * t, struct err *e)
{
    if (!t->scaling && !(t->scaling = pb_new(a, RUN_DESC(revision_scaling))))
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory");
    RUN(RevisionScaling) *s = t->scaling;
    if (s->min_instance_count < 0 || s->min_instance_count > POOL_SLOTS_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "template.scaling.minInstanceCount: %d is not between 0 and %d", s->min_instance_count,
                       POOL_SLOTS_MAX);
    if (s->max_instance_count < 0 || s->max_instance_count > POOL_SLOTS_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "template.scaling.maxInstanceCount: %d is not between 0 (the default, %d) and %d",
                       s->max_instance_count, RUN_INSTANCES_DEFAULT, POOL_SLOTS_MAX);
    if (s->max_instance_count == 0)
        s->max_instance_count = s->min_instance_count > RUN_INSTANCES_DEFAULT ? s->min_instance_count : RUN_INSTANCES_DEFAULT;
    if (s->min_instance_count > s->max_instance_count)
        return err_set(e, ERR_INVALID_ARGUMENT, "template.scaling.minInstanceCount: %d is more than maxInstanceCount, %d",
                       s->min_instance_count, s->max_instance_count);
    return 0;
}

static int default_concurrency(RUN(RevisionTemplate) * t, struct err *e)
{
    const RUN(ResourceRequirements) *r = t->containers[0]->resources;
    uint32_t cpu = 1000;
    for (size_t i = 0; r && i < r->n_limits; i++)
        if (strcmp(r->limits[i]->key, "cpu") == 0)
            cpu = plan_cpu_millis(r->limits[i]->value);
    int32_t n = t->max_instance_request_concurrency;
    if (n < 0 || n > RUN_CONCURRENCY_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "template.maxInstanceRequestConcurrency: %d is not between 0 (the default) and %d", n,
                       RUN_CONCURRENCY_MAX);
    if (n == 0)
        t->max_instance_request_concurrency = cpu >= 1000 ? RUN_CONCURRENCY_DEFAULT : 1;
    return 0;
}

static int check_memory(struct executor *x, const RUN(Container) * c, struct err *e)
{
    uint32_t cpu_millis;
    uint64_t memory_bytes;
    plan_limits(c, &cpu_millis, &memory_bytes);
    return admission_check(&x->admission, CAPACITY_SERVICE, "template.containers[0]", memory_bytes, e);
}

static int check_template(struct executor *x, struct arena *a, RUN(RevisionTemplate) * t, const char *id, struct err *e)
{
    size_t n = strlen(id);
    if (refuse_template(t, e) || validate_map("template.labels", t->labels, t->n_labels, e) ||
        validate_map("template.annotations", t->annotations, t->n_annotations, e) ||
        service_settings_check(t->annotations, t->n_annotations, e) || validate_container(x, a, t->containers[0], e) ||
        check_memory(x, t->containers[0], e) || default_timeout(a, t, e) || default_scaling(a, t, e) || default_concurrency(t, e))
        return -(int)e->code;
    if (*t->revision && (!validate_is_id(t->revision, REVISION_ID_MAX) || strncmp(t->revision, id, n) != 0 || t->revision[n] != '-'))
        return err_set(e, ERR_INVALID_ARGUMENT,
                       "template.revision: '%.80s' must begin with '%s-', be lower case letters, digits and hyphens, "
                       "and have at most %d characters",
                       t->revision, id, REVISION_ID_MAX);
    return 0;
}

/* ---- the service */

static int check_scaling(const RUN(ServiceScaling) * s, struct err *e)
{
    if (!s)
        return 0;
    bool manual_given =
        s->_manual_instance_count_case == GOOGLE__CLOUD__RUN__V2__SERVICE_SCALING___MANUAL_INSTANCE_COUNT_MANUAL_INSTANCE_COUNT;
    if (s->min_instance_count < 0 || s->max_instance_count < 0 || (manual_given && s->manual_instance_count < 0))
        return err_set(e, ERR_INVALID_ARGUMENT, "scaling: a number of instances is negative");
    if (s->max_instance_count && s->min_instance_count > s->max_instance_count)
        return err_set(e, ERR_INVALID_ARGUMENT, "scaling.minInstanceCount: %d is more than maxInstanceCount, %d", s->min_instance_count,
                       s->max_instance_count);
    if (manual_given && s->manual_instance_count && s->scaling_mode != RUN_MANUAL)
        return err_set(e, ERR_INVALID_ARGUMENT, "scaling.manualInstanceCount: only with scalingMode MANUAL");
    if (s->min_instance_count > POOL_SLOTS_MAX || (manual_given && s->manual_instance_count > POOL_SLOTS_MAX))
        return err_set(e, ERR_INVALID_ARGUMENT, "scaling: at most %d instances", POOL_SLOTS_MAX);
    return 0;
}

static int refuse_service(const RUN(Service) * m, struct err *e)
{
    if (m->binary_authorization)
        return unimplemented(e, "binaryAuthorization");
    if (m->iap_enabled)
        return unimplemented(e, "iapEnabled");
    if (m->build_config)
        return unimplemented(e, "buildConfig");
    if (m->ingress == GOOGLE__CLOUD__RUN__V2__INGRESS_TRAFFIC__INGRESS_TRAFFIC_INTERNAL_ONLY ||
        m->ingress == GOOGLE__CLOUD__RUN__V2__INGRESS_TRAFFIC__INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER)
        return err_set(e, ERR_UNIMPLEMENTED,
                       "ingress: this server knows INGRESS_TRAFFIC_ALL and INGRESS_TRAFFIC_NONE; it cannot tell internal callers");
    if (m->ingress < 0 || m->ingress > GOOGLE__CLOUD__RUN__V2__INGRESS_TRAFFIC__INGRESS_TRAFFIC_NONE)
        return err_set(e, ERR_INVALID_ARGUMENT, "ingress: %d is not a kind of ingress", m->ingress);
    return 0;
}

int validate_service(struct executor *x, struct arena *a, RUN(Service) * m, const char *id, struct err *e)
{
    if (!m->template_)
        return err_set(e, ERR_INVALID_ARGUMENT, "template: required, with the container to run");
    if (strlen(m->description) > DESCRIPTION_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "description: more than %d characters", DESCRIPTION_MAX);
    if (m->n_custom_audiences > AUDIENCES_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "customAudiences: more than %d", AUDIENCES_MAX);
    for (size_t i = 0; i < m->n_custom_audiences; i++)
        if (!*m->custom_audiences[i])
            return err_set(e, ERR_INVALID_ARGUMENT, "customAudiences[%zu]: empty", i);
    if (refuse_service(m, e) || validate_map("labels", m->labels, m->n_labels, e) ||
        validate_map("annotations", m->annotations, m->n_annotations, e) || service_settings_check(m->annotations, m->n_annotations, e) ||
        check_scaling(m->scaling, e))
        return -(int)e->code;
    if (m->ingress == 0)
        m->ingress = GOOGLE__CLOUD__RUN__V2__INGRESS_TRAFFIC__INGRESS_TRAFFIC_ALL;
    if (m->launch_stage == 0)
        m->launch_stage = GOOGLE__CLOUD__RUN__V2__LAUNCH_STAGE__GA;
    return check_template(x, a, m->template_, id, e);
}

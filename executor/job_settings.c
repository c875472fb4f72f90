/** job_settings.c: what the annotations runnel.dev/… of a job, and of a service, say. */
#include "executor/jobs_int.h"

#include <errno.h>
#include <stdlib.h>

#define PREFIX "runnel.dev/"
#define WEIGHT "weight"
#define BACKOFF_MAX_S 86400
#define BACKOFF_DEFAULT_MAX_NS (600 * NS_PER_S)

struct pair { /* as protoc-c lays out every map entry of strings, see validate.c */
    ProtobufCMessage base;
    char *key, *value;
};

static int number(const char *key, const char *value, int64_t min, int64_t max, int64_t *out, struct err *e)
{
    char *end;
    errno = 0;
    *out = strtoll(value, &end, 10);
    if (errno || end == value || *end || *out < min || *out > max)
        return err_set(e, ERR_INVALID_ARGUMENT, "annotations: %s is '%.40s', which is no number from %lld to %lld", key, value,
                       (long long)min, (long long)max);
    return 0;
}

/* "0.5s", "10s". */
static int duration(const char *key, const char *value, int64_t *ns, struct err *e)
{
    char *end;
    double s = strtod(value, &end);
    if (end == value || strcmp(end, "s") != 0 || !(s >= 0) || s > BACKOFF_MAX_S)
        return err_set(e, ERR_INVALID_ARGUMENT, "annotations: %s is '%.40s', which is no time like 0.5s or 10s up to %ds", key, value,
                       BACKOFF_MAX_S);
    *ns = (int64_t)(s * (double)NS_PER_S + 0.5);
    return 0;
}

static int check_list(const char *value, struct err *e)
{
    for (const char *p = value; *p;) {
        size_t n = strcspn(p, ",");
        if (n == 0 || n > 63)
            return err_set(e, ERR_INVALID_ARGUMENT,
                           "annotations: " PREFIX "depends-on is '%.60s', which is no list of jobs like job-a,job-b", value);
        p += n + (p[n] == ',');
    }
    return 0;
}

static int check_weight(const char *key, const char *value, struct err *e)
{
    int64_t n;
    return number(key, value, CAPACITY_WEIGHT_MIN, CAPACITY_WEIGHT_MAX, &n, e);
}

static int read_one(struct job_settings *s, const char *key, const char *value, struct err *e)
{
    const char *name = key + strlen(PREFIX);
    int64_t n = 0;
    int rc;
    if (strcmp(name, "max-concurrent-executions") == 0) {
        rc = number(key, value, 1, 10000, &n, e);
        s->max_concurrent = (uint32_t)n;
        return rc;
    }
    if (strcmp(name, "concurrency-policy") == 0) {
        s->refuse = strcmp(value, "refuse") == 0;
        return s->refuse || strcmp(value, "queue") == 0
                   ? 0
                   : err_set(e, ERR_INVALID_ARGUMENT, "annotations: %s is '%.40s', which is neither queue nor refuse", key, value);
    }
    if (strcmp(name, "priority") == 0) {
        rc = number(key, value, -1000, 1000, &n, e);
        s->priority = (int32_t)n;
        return rc;
    }
    if (strcmp(name, WEIGHT) == 0)
        return check_weight(key, value, e); /* it is the job's, not the execution's: settings_weight reads it */
    if (strcmp(name, "stop-after-failures") == 0) {
        rc = number(key, value, 1, JOB_TASKS_MAX, &n, e);
        s->stop_after = (uint32_t)n;
        return rc;
    }
    if (strcmp(name, "backoff-min") == 0)
        return duration(key, value, &s->backoff_min_ns, e);
    if (strcmp(name, "backoff-max") == 0)
        return duration(key, value, &s->backoff_max_ns, e);
    if (strcmp(name, "depends-on") == 0) {
        s->depends_on = value;
        return check_list(value, e);
    }
    return err_set(
        e, ERR_INVALID_ARGUMENT,
        "annotations: '%.80s' is none of runnel.dev/max-concurrent-executions, concurrency-policy, priority, weight, stop-after-failures, "
        "backoff-min, backoff-max, depends-on",
        key);
}

int job_settings_read(struct job_settings *s, void *annotations, size_t n, struct err *e)
{
    struct pair **pairs = annotations;
    *s = (struct job_settings){.backoff_max_ns = BACKOFF_DEFAULT_MAX_NS, .depends_on = ""};
    for (size_t i = 0; i < n; i++)
        if (strncmp(pairs[i]->key, PREFIX, strlen(PREFIX)) == 0 && read_one(s, pairs[i]->key, pairs[i]->value, e))
            return -(int)e->code;
    if (s->backoff_min_ns > s->backoff_max_ns)
        return err_set(e, ERR_INVALID_ARGUMENT, "annotations: runnel.dev/backoff-min is longer than runnel.dev/backoff-max");
    return 0;
}

const char *job_dependencies(const RUN(Job) * m)
{
    struct job_settings s, own;
    struct err e;
    const RUN(ExecutionTemplate) *t = m->template_;
    if (job_settings_read(&s, t->annotations, t->n_annotations, &e) || job_settings_read(&own, m->annotations, m->n_annotations, &e))
        return "";
    return *s.depends_on ? s.depends_on : own.depends_on;
}

int service_settings_check(void *annotations, size_t n, struct err *e)
{
    struct pair **pairs = annotations;
    for (size_t i = 0; i < n; i++) {
        const char *key = pairs[i]->key;
        if (strncmp(key, PREFIX, strlen(PREFIX)) != 0)
            continue;
        if (strcmp(key, PREFIX WEIGHT) != 0)
            return err_set(e, ERR_INVALID_ARGUMENT, "annotations: '%.80s' is nothing that a service has; " PREFIX WEIGHT " is", key);
        if (check_weight(key, pairs[i]->value, e))
            return -(int)e->code;
    }
    return 0;
}

uint32_t settings_weight(void *annotations, size_t n, uint32_t otherwise)
{
    struct pair **pairs = annotations;
    struct err e;
    int64_t weight = otherwise;
    for (size_t i = 0; i < n; i++)
        if (strcmp(pairs[i]->key, PREFIX WEIGHT) == 0 &&
            number(PREFIX WEIGHT, pairs[i]->value, CAPACITY_WEIGHT_MIN, CAPACITY_WEIGHT_MAX, &weight, &e))
            weight = otherwise; /* kept by a version that did not read it */
    return (uint32_t)weight;
}

bool job_depends_on(const char *list, const char *id)
{
    size_t len = strlen(id);
    for (const char *p = list; *p;) {
        size_t n = strcspn(p, ",");
        if (n == len && memcmp(p, id, n) == 0)
            return true;
        p += n + (p[n] == ',');
    }
    return false;
}

/** traffic.c: which revision gets how much: resolves traffic[] against the revisions that are ready, checks it, reports it. */
#include "executor/executor_int.h"

#include <stdio.h>
#include <stdlib.h>

static const char *short_name(const char *name)
{
    const char *slash = strrchr(name, '/');
    return slash ? slash + 1 : name;
}

static void mark_serving(struct service *s)
{
    LIST_EACH(&s->revisions, n) {
        struct revision *r = CONTAINER_OF(n, struct revision, link);
        uint32_t percent = 0;
        bool serving = false;
        for (size_t i = 0; i < s->n_targets; i++)
            if (s->targets[i].revision == r) {
                percent += s->targets[i].percent;
                serving = true;
            }
        revision_serve(r, serving, percent);
    }
}

int traffic_resolve(struct service *s, struct err *e)
{
    size_t n = s->msg->n_traffic ? s->msg->n_traffic : 1;
    struct target *targets = calloc(n, sizeof *targets);
    if (!targets)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the traffic of %s", s->id);
    if (s->msg->n_traffic == 0)
        targets[0] = (struct target){.revision = s->latest_ready, .percent = 100, .type = RUN_LATEST};
    for (size_t i = 0; i < s->msg->n_traffic; i++) {
        const RUN(TrafficTarget) *t = s->msg->traffic[i];
        struct revision *r = t->type == RUN_REVISION ? service_revision(s, short_name(t->revision)) : s->latest_ready;
        if (r && r->state != REVISION_READY)
            r = NULL;
        targets[i] = (struct target){.revision = r, .percent = (uint32_t)t->percent, .type = (int)t->type};
        snprintf(targets[i].tag, sizeof targets[i].tag, "%s", t->tag);
    }
    free(s->targets);
    s->targets = targets;
    s->n_targets = n;
    mark_serving(s);
    executor_changed(s->x);
    return 0;
}

/* http://TAG---SERVICE.… from http://SERVICE.… */
static char *tag_uri(struct arena *a, const char *uri, const char *tag)
{
    static const char scheme[] = "http://";
    return arena_printf(a, "%s%s---%s", scheme, tag, uri + sizeof scheme - 1);
}

int traffic_statuses(const struct service *s, struct arena *a, RUN(Service) * m, struct err *e)
{
    m->n_traffic_statuses = 0;
    m->traffic_statuses = arena_alloc(a, (s->n_targets + 1) * sizeof *m->traffic_statuses);
    if (!m->traffic_statuses)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the traffic of %s", s->id);
    for (size_t i = 0; i < s->n_targets; i++) {
        const struct target *t = &s->targets[i];
        RUN(TrafficTargetStatus) *st = pb_new(a, RUN_DESC(traffic_target_status));
        if (!st)
            return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the traffic of %s", s->id);
        st->type = t->type == RUN_REVISION ? RUN_REVISION : RUN_LATEST;
        st->percent = (int32_t)t->percent;
        if (t->revision && t->type == RUN_REVISION)
            st->revision = arena_strdup(a, t->revision->id);
        if (t->tag[0]) {
            st->tag = arena_strdup(a, t->tag);
            st->uri = tag_uri(a, s->uri, t->tag);
        }
        if (!st->revision || !st->tag || !st->uri)
            return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the traffic of %s", s->id);
        m->traffic_statuses[m->n_traffic_statuses++] = st;
    }
    return 0;
}

static bool tag_ok(const char *tag)
{
    size_t n = strlen(tag);
    if (n == 0 || n > 46 || tag[0] < 'a' || tag[0] > 'z' || tag[n - 1] == '-' || strstr(tag, "---"))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!((tag[i] >= 'a' && tag[i] <= 'z') || (tag[i] >= '0' && tag[i] <= '9') || tag[i] == '-'))
            return false;
    return true;
}

static int check_target(const struct service *s, const RUN(Service) * m, size_t i, const char *new_revision, struct err *e)
{
    const RUN(TrafficTarget) *t = m->traffic[i];
    if (t->tag && *t->tag && !tag_ok(t->tag))
        return err_set(e, ERR_INVALID_ARGUMENT,
                       "traffic[%zu].tag: '%.60s' must be lower case letters, digits and single hyphens, "
                       "begin with a letter, not end with a hyphen, and have at most 46 characters",
                       i, t->tag);
    for (size_t k = 0; k < i && t->tag && *t->tag; k++)
        if (m->traffic[k]->tag && strcmp(m->traffic[k]->tag, t->tag) == 0)
            return err_set(e, ERR_INVALID_ARGUMENT, "traffic[%zu].tag: '%.60s' is given twice", i, t->tag);
    bool named = t->revision && *t->revision;
    if (t->type != RUN_REVISION)
        return named ? err_set(e, ERR_INVALID_ARGUMENT,
                               "traffic[%zu].revision: only with type "
                               "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION",
                               i)
                     : 0;
    if (!named)
        return err_set(e, ERR_INVALID_ARGUMENT,
                       "traffic[%zu].revision: name the revision, or use type "
                       "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST",
                       i);
    const char *id = short_name(t->revision);
    if (new_revision && strcmp(id, new_revision) == 0)
        return 0;
    if (!s || !service_revision(s, id))
        return err_set(e, ERR_INVALID_ARGUMENT, "traffic[%zu].revision: there is no revision '%.100s' of this service", i, id);
    return 0;
}

int traffic_check_percents(const RUN(Service) * m, struct err *e)
{
    int sum = 0;
    if (m->n_traffic > RUN_TARGETS_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "traffic: %zu entries; at most %d", m->n_traffic, RUN_TARGETS_MAX);
    for (size_t i = 0; i < m->n_traffic; i++) {
        if (m->traffic[i]->percent < 0 || m->traffic[i]->percent > 100)
            return err_set(e, ERR_INVALID_ARGUMENT, "traffic[%zu].percent: %d is not between 0 and 100", i, m->traffic[i]->percent);
        sum += m->traffic[i]->percent;
    }
    if (m->n_traffic && sum != 100)
        return err_set(e, ERR_INVALID_ARGUMENT, "traffic: the percents add up to %d instead of 100", sum);
    return 0;
}

int traffic_check(const struct service *s, const RUN(Service) * m, const char *new_revision, struct err *e)
{
    int rc = traffic_check_percents(m, e);
    for (size_t i = 0; i < m->n_traffic && rc == 0; i++)
        rc = check_target(s, m, i, new_revision, e);
    return rc;
}

/* queue_list.c: lists of queues and of locations, and pages whose tokens are good for two hours. */
#include "broker/queues_int.h"

#include "core/base/text.h"
#include "core/rpc/location.pb-c.h"
#include "core/rpc/page.h"

#include <stdlib.h>

#define TOKEN_TIME_DIGITS 16

/* ---- pages: of page.h, with the time in the token, before the name ---- */

static int64_t wall_s(const struct queues *qs) { return env_wall(qs->deps.env) / NS_PER_S; }

static int read_token(const struct queues *qs, const char *after, struct task_page *p, struct err *e)
{
    uint64_t made_s;
    p->after = after;
    if (!*after)
        return 0;
    if (strlen(after) < TOKEN_TIME_DIGITS || parse_u64((struct str){after, TOKEN_TIME_DIGITS}, INT64_MAX, &made_s, NULL))
        return err_set(e, ERR_INVALID_ARGUMENT, "pageToken: not a token of this list; start again without one");
    if (wall_s(qs) - (int64_t)made_s > TASK_PAGE_TOKEN_S)
        return err_set(e, ERR_INVALID_ARGUMENT, "pageToken: expired: it is older than %d hours; start again without one",
                       TASK_PAGE_TOKEN_S / 3600);
    p->after = after + TOKEN_TIME_DIGITS;
    return 0;
}

int task_page_open(const struct queues *qs, struct arena *a, const struct task_page_ask *ask, struct task_page *p, struct err *e)
{
    struct page page;
    if (ask->size < 0)
        return err_set(e, ERR_INVALID_ARGUMENT, "pageSize: %d is negative; 0 means %zu", ask->size, ask->max);
    if (page_open(a, ask->size, ask->token, ask->list, &page, e))
        return -(int)e->code;
    p->size = ask->size == 0 || (size_t)ask->size > ask->max ? ask->max : (size_t)ask->size;
    return read_token(qs, page.after, p, e);
}

char *task_page_token(const struct queues *qs, struct arena *a, const char *list, const char *last)
{
    char *timed = arena_printf(a, "%0*llu%s", TOKEN_TIME_DIGITS, (unsigned long long)wall_s(qs), last);
    return timed ? page_token(a, list, timed) : NULL;
}

/* ---- queues ---- */

struct queue_search {
    const char *parent;
    const struct queue_filter *filter;
    struct task_page page;
};

/* The queues that fit, in order; one more than the page, when there is one. */
static int find_queues(const struct queues *qs, struct arena *a, const struct queue_search *s, PbQueue **out, size_t *n, struct err *e)
{
    size_t prefix = strlen(s->parent);
    void **all = map_sorted(qs->by_name);
    *n = 0;
    if (!all)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the list");
    for (size_t i = 0; i < map_count(qs->by_name) && *n <= s->page.size; i++) {
        PbQueue *q = ((struct tq *)all[i])->record->queue;
        if (strncmp(q->name, s->parent, prefix) == 0 && q->name[prefix] == '/' && strcmp(q->name, s->page.after) > 0 &&
            queue_filter_fits(s->filter, q))
            out[(*n)++] = q;
    }
    free(all);
    for (size_t i = 0; i < *n; i++)
        if (!(out[i] = pb_clone(a, &out[i]->base)))
            return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the list");
    return 0;
}

static int list_queues(const struct queues *qs, struct arena *a, const Google__Cloud__Tasks__V2__ListQueuesRequest *q,
                       Google__Cloud__Tasks__V2__ListQueuesResponse *reply, struct err *e)
{
    struct queue_filter *filter = NULL;
    struct queue_search s = {.parent = q->parent};
    size_t n;
    char *list = arena_printf(a, "%s?%s", q->parent, q->filter);
    if (!list)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the list");
    const struct task_page_ask ask = {.size = q->page_size, .max = QUEUE_PAGE_MAX, .token = q->page_token, .list = list};
    int rc = check_location_name(q->parent, "parent", e);
    rc = rc ? rc : queue_filter_parse(a, q->filter, &filter, e);
    rc = rc ? rc : task_page_open(qs, a, &ask, &s.page, e);
    if (rc)
        return rc;
    s.filter = filter;
    reply->queues = arena_alloc(a, (s.page.size + 1) * sizeof *reply->queues);
    if (!reply->queues)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the list");
    rc = find_queues(qs, a, &s, reply->queues, &n, e);
    if (rc)
        return rc;
    reply->n_queues = n > s.page.size ? s.page.size : n;
    if (n > s.page.size && !(reply->next_page_token = task_page_token(qs, a, list, reply->queues[s.page.size - 1]->name)))
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the list");
    return 0;
}

void on_list_queues(void *service, struct call *c, const ProtobufCMessage *r)
{
    Google__Cloud__Tasks__V2__ListQueuesResponse *reply = pb_new(c->arena, &google__cloud__tasks__v2__list_queues_response__descriptor);
    struct err e;
    if (!reply)
        tasks_no_memory(c);
    else if (list_queues(service, c->arena, (const void *)r, reply, &e))
        call_fail(c, &e);
    else
        call_reply(c, &reply->base);
}

/* ---- locations: any name is one; listed are the server's region and those where queues are ---- */

static Google__Cloud__Location__Location *location_of(struct arena *a, const char *project, struct str id)
{
    Google__Cloud__Location__Location *l = pb_new(a, &google__cloud__location__location__descriptor);
    Google__Cloud__Location__Location__LabelsEntry *label = pb_new(a, &google__cloud__location__location__labels_entry__descriptor);
    void **labels = arena_alloc(a, sizeof *labels);
    char *name = arena_printf(a, "%s/locations/%.*s", project, (int)id.n, id.p), *text = arena_dup(a, id);
    if (!l || !label || !labels || !name || !text)
        return NULL;
    label->key = arena_strdup(a, "cloud.googleapis.com/region");
    label->value = text;
    labels[0] = label;
    l->name = name;
    l->location_id = text;
    l->labels = (void *)labels;
    l->n_labels = 1;
    return label->key ? l : NULL;
}

static bool listed(const Google__Cloud__Location__ListLocationsResponse *r, struct str id)
{
    for (size_t i = 0; i < r->n_locations; i++)
        if (str_is(id, r->locations[i]->location_id))
            return true;
    return false;
}

static int add_location(struct arena *a, const char *project, struct str id, Google__Cloud__Location__ListLocationsResponse *r)
{
    if (listed(r, id))
        return 0;
    r->locations[r->n_locations] = location_of(a, project, id);
    return r->locations[r->n_locations++] ? 0 : -ERR_RESOURCE_EXHAUSTED;
}

static int list_locations(const struct queues *qs, struct arena *a, const char *project, Google__Cloud__Location__ListLocationsResponse *r)
{
    char *prefix = arena_printf(a, "%s/locations/", project);
    void **all = map_sorted(qs->by_name);
    r->locations = arena_alloc(a, (map_count(qs->by_name) + 1) * sizeof *r->locations);
    int rc = prefix && all && r->locations ? 0 : -ERR_RESOURCE_EXHAUSTED;
    if (!rc && qs->config.region)
        rc = add_location(a, project, str_of(qs->config.region), r);
    for (size_t i = 0; !rc && i < map_count(qs->by_name); i++) {
        const char *name = ((struct tq *)all[i])->record->queue->name;
        if (strncmp(name, prefix, strlen(prefix)) == 0)
            rc = add_location(a, project, (struct str){name + strlen(prefix), strcspn(name + strlen(prefix), "/")}, r);
    }
    free(all);
    return rc;
}

void on_list_locations(void *service, struct call *c, const ProtobufCMessage *r)
{
    const Google__Cloud__Location__ListLocationsRequest *q = (const void *)r;
    Google__Cloud__Location__ListLocationsResponse *reply = pb_new(c->arena, &google__cloud__location__list_locations_response__descriptor);
    struct err e = {0};
    if (check_project_name(q->name, "name", &e) == 0 && *q->filter)
        err_set(&e, ERR_INVALID_ARGUMENT, "filter: not supported for locations; leave it out");
    else if (!e.code && *q->page_token)
        err_set(&e, ERR_INVALID_ARGUMENT, "pageToken: not a token of this list; start again without one");
    if (e.code)
        call_fail(c, &e);
    else if (!reply || list_locations(service, c->arena, q->name, reply))
        tasks_no_memory(c);
    else
        call_reply(c, &reply->base);
}

void on_get_location(void *service, struct call *c, const ProtobufCMessage *r)
{
    const Google__Cloud__Location__GetLocationRequest *q = (const void *)r;
    struct err e;
    if (check_location_name(q->name, "name", &e)) {
        call_fail(c, &e);
        return;
    }
    const char *middle = strstr(q->name, "/locations/"), *id = strrchr(q->name, '/') + 1;
    char *project = arena_dup(c->arena, (struct str){q->name, (size_t)(middle - q->name)});
    Google__Cloud__Location__Location *l = project ? location_of(c->arena, project, str_of(id)) : NULL;
    if (l)
        call_reply(c, &l->base);
    else
        tasks_no_memory(c);
}

/* queue_list.c: lists of queues and of locations, and pages whose tokens are good for two hours. */
#include "broker/queues_int.h"

#include "core/base/text.h"
#include "core/rpc/location.h"
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

/* ---- locations ---- */

void on_list_locations(void *service, struct call *c, const ProtobufCMessage *r)
{
    const struct queues *qs = service;
    struct locations *l = locations_begin(c, r, qs->config.region);
    void **all = l ? map_sorted(qs->by_name) : NULL;
    if (l && !all)
        tasks_no_memory(c);
    for (size_t i = 0; all && i < map_count(qs->by_name); i++)
        locations_add(l, ((struct tq *)all[i])->record->queue->name);
    if (all)
        locations_end(l);
    free(all);
}

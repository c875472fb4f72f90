/* location.c: which locations there are. */
#include "core/rpc/location.h"

#include "core/rpc/name.h"
#include "core/rpc/pb.h"

#define LABEL "cloud.googleapis.com/region"

typedef Google__Cloud__Location__Location PbLocation;
typedef Google__Cloud__Location__Location__LabelsEntry PbLabel;

struct locations {
    struct call *call;
    const char *project;
    char *prefix; /* of names in the project */
    Google__Cloud__Location__ListLocationsResponse *reply;
    size_t cap;
    bool full; /* the arena is */
};

static void no_room(struct call *c) { call_failf(c, ERR_RESOURCE_EXHAUSTED, "out of memory; try again"); }

static PbLocation *location_of(struct arena *a, const char *project, struct str id)
{
    PbLocation *l = pb_new(a, &google__cloud__location__location__descriptor);
    PbLabel *label = pb_new(a, &google__cloud__location__location__labels_entry__descriptor), **labels = arena_alloc(a, sizeof *labels);
    char *text = arena_dup(a, id), *name = arena_printf(a, "%s/locations/%.*s", project, (int)id.n, id.p);
    if (!l || !label || !labels || !text || !name || !(label->key = arena_strdup(a, LABEL)))
        return NULL;
    label->value = l->location_id = l->display_name = text;
    labels[0] = label;
    l->labels = labels;
    l->n_labels = 1;
    l->name = name;
    return l;
}

static bool make_room(struct locations *l)
{
    Google__Cloud__Location__ListLocationsResponse *r = l->reply;
    if (r->n_locations < l->cap)
        return true;
    size_t cap = l->cap ? l->cap * 2 : 8;
    PbLocation **all = arena_alloc(l->call->arena, cap * sizeof *all);
    if (!all)
        return false;
    if (r->n_locations)
        memcpy(all, r->locations, r->n_locations * sizeof *all);
    r->locations = all;
    l->cap = cap;
    return true;
}

static void add(struct locations *l, struct str id)
{
    Google__Cloud__Location__ListLocationsResponse *r = l->reply;
    for (size_t i = 0; i < r->n_locations; i++)
        if (str_is(id, r->locations[i]->location_id))
            return;
    PbLocation *made = make_room(l) ? location_of(l->call->arena, l->project, id) : NULL;
    if (made)
        r->locations[r->n_locations++] = made;
    else
        l->full = true;
}

struct locations *locations_begin(struct call *c, const ProtobufCMessage *request, const char *region)
{
    const Google__Cloud__Location__ListLocationsRequest *q = (const void *)request;
    struct err e = {0};
    if (check_project_name(q->name, "name", &e) == 0 && *q->filter)
        err_set(&e, ERR_INVALID_ARGUMENT, "filter: not supported for locations; leave it out");
    else if (!e.code && *q->page_token)
        err_set(&e, ERR_INVALID_ARGUMENT, "pageToken: not a token of this list; start again without one");
    if (e.code) {
        call_fail(c, &e);
        return NULL;
    }
    struct locations *l = arena_alloc(c->arena, sizeof *l);
    if (l) {
        *l = (struct locations){.call = c, .project = q->name, .prefix = arena_printf(c->arena, "%s/locations/", q->name)};
        l->reply = pb_new(c->arena, &google__cloud__location__list_locations_response__descriptor);
    }
    if (!l || !l->prefix || !l->reply) {
        no_room(c);
        return NULL;
    }
    if (region)
        add(l, str_of(region));
    return l;
}

void locations_add(struct locations *l, const char *resource)
{
    size_t n = strlen(l->prefix);
    if (strncmp(resource, l->prefix, n) == 0)
        add(l, (struct str){resource + n, strcspn(resource + n, "/")});
}

void locations_end(struct locations *l)
{
    if (l->full)
        no_room(l->call);
    else
        call_reply(l->call, &l->reply->base);
}

void on_get_location(void *service, struct call *c, const ProtobufCMessage *request)
{
    const Google__Cloud__Location__GetLocationRequest *q = (const void *)request;
    struct err e;
    if (check_location_name(q->name, "name", &e)) {
        call_fail(c, &e);
        return;
    }
    char *project = arena_dup(c->arena, (struct str){q->name, (size_t)(strstr(q->name, "/locations/") - q->name)});
    PbLocation *l = project ? location_of(c->arena, project, str_of(strrchr(q->name, '/') + 1)) : NULL;
    if (l)
        call_reply(c, &l->base);
    else
        no_room(c);
}

/* scheduler_api.c: the method tables of google.cloud.scheduler.v1.CloudScheduler, of its locations, and of our own settings. */
#include "schedules/scheduler_int.h"

#include "core/rpc/location.pb-c.h"
#include "google/protobuf/empty.pb-c.h"

#include <stdlib.h>

#define SCHEDULER "google.cloud.scheduler.v1.CloudScheduler/"
#define OURS "runnel.scheduler.v1.Schedules/"
#define LOCATION "projects/*/locations/*"
#define JOB LOCATION "/jobs/*"
#define MSG(name) &google__cloud__scheduler__v1__##name##__descriptor
#define OUR_MSG(name) &runnel__scheduler__v1__##name##__descriptor
#define LOCATION_MSG(name) &google__cloud__location__##name##__descriptor

/* ---- locations: any name is one; listed are the server's region and those where jobs are ---- */

typedef Google__Cloud__Location__Location PbLocation;

static PbLocation *location_of(struct arena *a, const char *name, const char *id)
{
    PbLocation *l = pb_new(a, LOCATION_MSG(location));
    Google__Cloud__Location__Location__LabelsEntry *label = pb_new(a, LOCATION_MSG(location__labels_entry));
    Google__Cloud__Location__Location__LabelsEntry **labels = arena_alloc(a, sizeof *labels);
    if (!l || !label || !labels)
        return NULL;
    label->key = arena_strdup(a, "cloud.googleapis.com/region");
    label->value = l->location_id = l->display_name = arena_strdup(a, id);
    labels[0] = label;
    l->labels = labels;
    l->n_labels = 1;
    l->name = arena_strdup(a, name);
    return label->key && label->value && l->name ? l : NULL;
}

static int add_location(struct arena *a, const char *project, struct str id, Google__Cloud__Location__ListLocationsResponse *m)
{
    for (size_t i = 0; i < m->n_locations; i++)
        if (str_is(id, m->locations[i]->location_id))
            return 0;
    char *text = arena_dup(a, id), *name = text ? arena_printf(a, "%s/locations/%s", project, text) : NULL;
    PbLocation **all = arena_alloc(a, (m->n_locations + 1) * sizeof *all), *l = name ? location_of(a, name, text) : NULL;
    if (!l || !all)
        return -ERR_RESOURCE_EXHAUSTED;
    if (m->n_locations)
        memcpy(all, m->locations, m->n_locations * sizeof *all);
    all[m->n_locations++] = l;
    m->locations = all;
    return 0;
}

static void on_list_locations(void *service, struct call *c, const ProtobufCMessage *r)
{
    struct schedules *s = service;
    const Google__Cloud__Location__ListLocationsRequest *q = (const void *)r;
    Google__Cloud__Location__ListLocationsResponse *m = pb_new(c->arena, LOCATION_MSG(list_locations_response));
    char *prefix = arena_printf(c->arena, "%s/locations/", q->name);
    int rc = m && prefix ? 0 : -ERR_RESOURCE_EXHAUSTED;
    size_t it = 0;
    const char *name;
    if (!rc && s->region)
        rc = add_location(c->arena, q->name, str_of(s->region), m);
    while (!rc && map_next(s->jobs, &it, &name, NULL))
        if (strncmp(name, prefix, strlen(prefix)) == 0) {
            const char *id = name + strlen(prefix);
            rc = add_location(c->arena, q->name, (struct str){id, strcspn(id, "/")}, m);
        }
    if (rc)
        jobs_no_memory(c);
    else
        call_reply(c, &m->base);
}

static void on_get_location(void *service, struct call *c, const ProtobufCMessage *r)
{
    const Google__Cloud__Location__GetLocationRequest *q = (const void *)r;
    struct err e;
    if (check_location(q->name, "name", &e)) {
        call_fail(c, &e);
        return;
    }
    PbLocation *l = location_of(c->arena, q->name, strrchr(q->name, '/') + 1);
    if (l)
        call_reply(c, &l->base);
    else
        jobs_no_memory(c);
}

/* ---- the tables ---- */

static const struct method methods[] = {
    {SCHEDULER "ListJobs", VERB_GET, "/v1/{parent=" LOCATION "}/jobs", NULL, "cloudscheduler.jobs.list", MSG(list_jobs_request),
     MSG(list_jobs_response), on_list_jobs},
    {SCHEDULER "GetJob", VERB_GET, "/v1/{name=" JOB "}", NULL, "cloudscheduler.jobs.get", MSG(get_job_request), MSG(job), on_get_job},
    {SCHEDULER "CreateJob", VERB_POST, "/v1/{parent=" LOCATION "}/jobs", "job", "cloudscheduler.jobs.create", MSG(create_job_request),
     MSG(job), on_create_job},
    {SCHEDULER "UpdateJob", VERB_PATCH, "/v1/{job.name=" JOB "}", "job", "cloudscheduler.jobs.update", MSG(update_job_request), MSG(job),
     on_update_job},
    {SCHEDULER "DeleteJob", VERB_DELETE, "/v1/{name=" JOB "}", NULL, "cloudscheduler.jobs.delete", MSG(delete_job_request),
     &google__protobuf__empty__descriptor, on_delete_job},
    {SCHEDULER "PauseJob", VERB_POST, "/v1/{name=" JOB "}:pause", "*", "cloudscheduler.jobs.pause", MSG(pause_job_request), MSG(job),
     on_pause_job},
    {SCHEDULER "ResumeJob", VERB_POST, "/v1/{name=" JOB "}:resume", "*", "cloudscheduler.jobs.enable", MSG(resume_job_request), MSG(job),
     on_resume_job},
    {SCHEDULER "RunJob", VERB_POST, "/v1/{name=" JOB "}:run", "*", "cloudscheduler.jobs.run", MSG(run_job_request), MSG(job), on_run_job},
    {"google.cloud.location.Locations/ListLocations", VERB_GET, "/v1/{name=projects/*}/locations", NULL, "cloudscheduler.locations.list",
     LOCATION_MSG(list_locations_request), LOCATION_MSG(list_locations_response), on_list_locations},
    {"google.cloud.location.Locations/GetLocation", VERB_GET, "/v1/{name=" LOCATION "}", NULL, "cloudscheduler.locations.get",
     LOCATION_MSG(get_location_request), LOCATION_MSG(location), on_get_location},
    {OURS "GetJobPolicy", VERB_GET, "/runnel/v1/{name=" JOB "}", NULL, "cloudscheduler.jobs.get", OUR_MSG(get_job_policy_request),
     OUR_MSG(job_policy), on_get_policy},
    {OURS "UpdateJobPolicy", VERB_PATCH, "/runnel/v1/{policy.name=" JOB "}", "policy", "cloudscheduler.jobs.update",
     OUR_MSG(update_job_policy_request), OUR_MSG(job_policy), on_update_policy},
    {OURS "NextFirings", VERB_GET, "/runnel/v1/{name=" JOB "}:next", NULL, "cloudscheduler.jobs.get", OUR_MSG(next_firings_request),
     OUR_MSG(next_firings_response), on_next_firings},
};

int schedules_register(struct schedules *s, struct registry *r, struct err *e)
{
    return registry_add(r, methods, ARRAY_LEN(methods), s, e);
}

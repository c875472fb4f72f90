/* scheduler_api.c: the method tables of google.cloud.scheduler.v1.CloudScheduler, of its locations, and of our own settings. */
#include "schedules/scheduler_int.h"

#include "core/rpc/location.h"
#include "google/protobuf/empty.pb-c.h"

#define SCHEDULER "google.cloud.scheduler.v1.CloudScheduler/"
#define OURS "runnel.scheduler.v1.Schedules/"
#define LOCATION "projects/*/locations/*"
#define JOB LOCATION "/jobs/*"
#define MSG(name) &google__cloud__scheduler__v1__##name##__descriptor
#define OUR_MSG(name) &runnel__scheduler__v1__##name##__descriptor
#define LOCATION_MSG(name) &google__cloud__location__##name##__descriptor

static void on_list_locations(void *service, struct call *c, const ProtobufCMessage *r)
{
    struct schedules *s = service;
    struct locations *l = locations_begin(c, r, s->region);
    size_t it = 0;
    const char *name;
    while (l && map_next(s->jobs, &it, &name, NULL))
        locations_add(l, name);
    if (l)
        locations_end(l);
}

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

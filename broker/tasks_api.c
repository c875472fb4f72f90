/* tasks_api.c: the method tables of google.cloud.tasks.v2.CloudTasks and of our own runnel.tasks.v1. IAM methods are the policy's. */
#include "broker/queues_int.h"

#include "core/rpc/location.h"
#include "google/protobuf/empty.pb-c.h"

#define TASKS "google.cloud.tasks.v2.CloudTasks/"
#define LOCATIONS "google.cloud.location.Locations/"
#define OURS "runnel.tasks.v1.Tasks/"
#define LOCATION "projects/*/locations/*"
#define QUEUE LOCATION "/queues/*"
#define TASK QUEUE "/tasks/*"
#define MSG(name) &google__cloud__tasks__v2__##name##__descriptor
#define PLACE(name) &google__cloud__location__##name##__descriptor
#define OWN(name) &runnel__tasks__v1__##name##__descriptor
#define EMPTY &google__protobuf__empty__descriptor

static const struct method methods[] = {
    {TASKS "ListQueues", VERB_GET, "/v2/{parent=" LOCATION "}/queues", NULL, "cloudtasks.queues.list", MSG(list_queues_request),
     MSG(list_queues_response), on_list_queues},
    {TASKS "GetQueue", VERB_GET, "/v2/{name=" QUEUE "}", NULL, "cloudtasks.queues.get", MSG(get_queue_request), MSG(queue), on_get_queue},
    {TASKS "CreateQueue", VERB_POST, "/v2/{parent=" LOCATION "}/queues", "queue", "cloudtasks.queues.create", MSG(create_queue_request),
     MSG(queue), on_create_queue},
    {TASKS "UpdateQueue", VERB_PATCH, "/v2/{queue.name=" QUEUE "}", "queue", "cloudtasks.queues.update", MSG(update_queue_request),
     MSG(queue), on_update_queue},
    {TASKS "DeleteQueue", VERB_DELETE, "/v2/{name=" QUEUE "}", NULL, "cloudtasks.queues.delete", MSG(delete_queue_request), EMPTY,
     on_delete_queue},
    {TASKS "PurgeQueue", VERB_POST, "/v2/{name=" QUEUE "}:purge", "*", "cloudtasks.queues.purge", MSG(purge_queue_request), MSG(queue),
     on_purge_queue},
    {TASKS "PauseQueue", VERB_POST, "/v2/{name=" QUEUE "}:pause", "*", "cloudtasks.queues.pause", MSG(pause_queue_request), MSG(queue),
     on_pause_queue},
    {TASKS "ResumeQueue", VERB_POST, "/v2/{name=" QUEUE "}:resume", "*", "cloudtasks.queues.resume", MSG(resume_queue_request), MSG(queue),
     on_resume_queue},
    {TASKS "ListTasks", VERB_GET, "/v2/{parent=" QUEUE "}/tasks", NULL, "cloudtasks.tasks.list", MSG(list_tasks_request),
     MSG(list_tasks_response), on_list_tasks},
    {TASKS "GetTask", VERB_GET, "/v2/{name=" TASK "}", NULL, "cloudtasks.tasks.get", MSG(get_task_request), MSG(task), on_get_task},
    {TASKS "CreateTask", VERB_POST, "/v2/{parent=" QUEUE "}/tasks", "*", "cloudtasks.tasks.create", MSG(create_task_request), MSG(task),
     on_create_task},
    {TASKS "DeleteTask", VERB_DELETE, "/v2/{name=" TASK "}", NULL, "cloudtasks.tasks.delete", MSG(delete_task_request), EMPTY,
     on_delete_task},
    {TASKS "RunTask", VERB_POST, "/v2/{name=" TASK "}:run", "*", "cloudtasks.tasks.run", MSG(run_task_request), MSG(task), on_run_task},

    {LOCATIONS "ListLocations", VERB_GET, "/v2/{name=projects/*}/locations", NULL, "cloudtasks.locations.list",
     PLACE(list_locations_request), PLACE(list_locations_response), on_list_locations},
    {LOCATIONS "GetLocation", VERB_GET, "/v2/{name=" LOCATION "}", NULL, "cloudtasks.locations.get", PLACE(get_location_request),
     PLACE(location), on_get_location},

    {OURS "GetQueueSettings", VERB_GET, "/runnel/v1/{name=" QUEUE "/settings}", NULL, "cloudtasks.queues.get",
     OWN(get_queue_settings_request), OWN(queue_settings), on_get_queue_settings},
    {OURS "UpdateQueueSettings", VERB_PATCH, "/runnel/v1/{settings.name=" QUEUE "/settings}", "settings", "cloudtasks.queues.update",
     OWN(update_queue_settings_request), OWN(queue_settings), on_update_queue_settings},
    {OURS "GetQueueStats", VERB_GET, "/runnel/v1/{name=" QUEUE "}:stats", NULL, "cloudtasks.queues.get", OWN(get_queue_stats_request),
     OWN(queue_stats), on_get_queue_stats},
    {OURS "BatchCreateTasks", VERB_POST, "/runnel/v1/{parent=" QUEUE "}/tasks:batchCreate", "*", "cloudtasks.tasks.create",
     OWN(batch_create_tasks_request), OWN(batch_create_tasks_response), on_batch_create_tasks},
    {OURS "GetTaskTimeline", VERB_GET, "/runnel/v1/{name=" TASK "}:timeline", NULL, "cloudtasks.tasks.get", OWN(get_task_timeline_request),
     OWN(task_timeline), on_get_task_timeline},
    {OURS "ListDeadTasks", VERB_GET, "/runnel/v1/{parent=" QUEUE "}/deadTasks", NULL, "cloudtasks.tasks.fullView",
     OWN(list_dead_tasks_request), OWN(list_dead_tasks_response), on_list_dead_tasks},
    {OURS "RedriveDeadTasks", VERB_POST, "/runnel/v1/{parent=" QUEUE "}/deadTasks:redrive", "*", "cloudtasks.tasks.run",
     OWN(redrive_dead_tasks_request), OWN(redrive_dead_tasks_response), on_redrive_dead_tasks},
    {OURS "DeleteDeadTasks", VERB_POST, "/runnel/v1/{parent=" QUEUE "}/deadTasks:delete", "*", "cloudtasks.tasks.delete",
     OWN(delete_dead_tasks_request), OWN(delete_dead_tasks_response), on_delete_dead_tasks},
};

int queues_register(struct queues *qs, struct registry *r, struct err *e) { return registry_add(r, methods, ARRAY_LEN(methods), qs, e); }

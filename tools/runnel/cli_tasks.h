/** cli_tasks.h: what the commands of queues and tasks share. All that return int return an exit code, having said what went wrong.
 *  Thread: one. */
#ifndef TOOLS_RUNNEL_CLI_TASKS_H
#define TOOLS_RUNNEL_CLI_TASKS_H

#include "tools/runnel/cli_json.h"

#define LOCATION_FLAG CLI_FLAG("location", CLI_TEXT, "LOCATION", "where the queue is; --region by default")
#define QUEUE_FLAG CLI_FLAG("queue", CLI_TEXT, "QUEUE", "the queue of the task", .required = true)
#define LIMIT_FLAG CLI_FLAG("limit", CLI_INT, "N", "at most so many", .min = 1, .max = 1000000)

/** The full name from what the user gave and --location; NULL after saying what is wrong with it. */
const char *tasks_queue_name(struct cli *c, const char *given);
/** The items of `field` over as many pages as --limit asks for, shown as the command's table. */
int tasks_list(struct cli *c, const char *path, const char *field);
/** One request without a body in the answer that anybody would read. */
int tasks_post(struct cli *c, const char *version, const char *name, const char *suffix, const struct jv *body, struct jv **answer);

#endif

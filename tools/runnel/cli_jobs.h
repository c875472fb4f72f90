/** cli_jobs.h: what the commands of scheduled jobs share. All that return int return an exit code, having said what went wrong.
 *  Thread: one. */
#ifndef TOOLS_RUNNEL_CLI_JOBS_H
#define TOOLS_RUNNEL_CLI_JOBS_H

#include "tools/runnel/cli_json.h"

#define JOB_LOCATION_FLAG CLI_FLAG("location", CLI_TEXT, "LOCATION", "where the job is; --region by default")

/** The full name from a full or a short one; NULL after saying what is wrong with it. */
const char *jobs_name(struct cli *c, const char *given);
/** The flags of the command line as fields of `job`; their names are added to `mask`, separated by commas, when it is not NULL. */
int jobs_put(struct cli *c, struct jv *job, char **mask);
extern const struct cli_flag cli_job_create_http_flags[], cli_job_update_http_flags[];
extern const struct cli_flag cli_job_create_pubsub_flags[], cli_job_update_pubsub_flags[];
extern const struct cli_flag cli_job_create_run_flags[], cli_job_update_run_flags[];

#endif

/** cli_commands.h: the parts of the command table; each ends with NULL words. */
#ifndef TOOLS_RUNNEL_CLI_COMMANDS_H
#define TOOLS_RUNNEL_CLI_COMMANDS_H

#include "tools/runnel/cli.h"

#define EXAMPLES(...) ((const char *const[]){__VA_ARGS__, NULL})

extern const struct cli_command cli_run_commands[];           /* cli_deploy.c */
extern const struct cli_command cli_service_commands[];       /* cli_services.c */
extern const struct cli_command cli_traffic_commands[];       /* cli_traffic.c */
extern const struct cli_command cli_revision_commands[];      /* cli_revisions.c */
extern const struct cli_command cli_run_job_commands[];       /* cli_run_jobs.c */
extern const struct cli_command cli_run_execute_commands[];   /* cli_run_execute.c */
extern const struct cli_command cli_run_execution_commands[]; /* cli_run_executions.c */
extern const struct cli_command cli_topic_commands[];         /* cli_topics.c */
extern const struct cli_command cli_subscription_commands[];  /* cli_subscriptions.c */
extern const struct cli_command cli_lease_commands[];         /* cli_leases.c: pull, ack, seek */
extern const struct cli_command cli_snapshot_commands[];      /* cli_topics.c */
extern const struct cli_command cli_queue_commands[];         /* cli_queues.c */
extern const struct cli_command cli_task_commands[];          /* cli_tasks.c */
extern const struct cli_command cli_log_commands[];           /* cli_logs.c */
extern const struct cli_command cli_scheduler_commands[];     /* cli_scheduler.c */
extern const struct cli_command cli_job_commands[];           /* cli_jobs.c */
extern const struct cli_command cli_own_commands[];           /* cli.c: version, help */

#endif

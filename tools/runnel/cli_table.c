/* cli_table.c: joins the parts of the command table; the groups; the flags that every command has. */
#include "tools/runnel/cli_commands.h"

const struct cli_flag cli_global_flags[] = {
    CLI_FLAG("project", CLI_TEXT, "ID", "the project; also RUNNEL_PROJECT", .dflt = "local-project"),
    CLI_FLAG("region", CLI_TEXT, "REGION", "the region of services; also RUNNEL_REGION", .dflt = "europe-west1"),
    CLI_FLAG("url", CLI_TEXT, "URL", "the server; also RUNNEL_URL", .dflt = "http://127.0.0.1:8080"),
    CLI_FLAG("token", CLI_TEXT, "TOKEN", "bearer token for a server started with --auth; also RUNNEL_TOKEN"),
    CLI_FLAG("format", CLI_FORMAT, "FORMAT", "json, yaml, table, table(FIELD,...), value(FIELD,...) or none"),
    CLI_FLAG("quiet", CLI_SWITCH, "", "ask nothing: yes to every question"),
    CLI_FLAG("verbosity", CLI_CHOICE, "none|error|warning|info|debug", "how much is said on stderr; debug shows the requests",
             .dflt = "info"),
    {0},
};

const struct cli_group cli_groups[] = {
    {"run", "services and their revisions; jobs"},
    {"run services", "deployed services"},
    {"run services logs", "what services write to stdout and stderr"},
    {"run revisions", "the immutable versions of a service"},
    {"run jobs", "programs that run to their end, once or as an array of tasks"},
    {"run jobs executions", "the runs of a job"},
    {"run jobs executions tasks", "the single programs of a run"},
    {"run jobs logs", "what jobs write to stdout and stderr"},
    {"pubsub", "publish events and subscribe to them"},
    {"pubsub topics", "topics, where events are published"},
    {"pubsub subscriptions", "subscriptions, by which events are delivered"},
    {"pubsub snapshots", "snapshots of what a subscription has acknowledged"},
    {"tasks", "tasks: HTTP requests that are made later, and retried until they succeed"},
    {"tasks queues", "queues of tasks, with their rates and retries"},
    {"tasks queues dead-letters", "tasks that are out of attempts"},
    {"scheduler", "schedules: when something is to happen"},
    {"scheduler jobs", "jobs: HTTP requests, messages and executions, when their schedule says so"},
    {0},
};

static const struct cli_command *const parts[] = {
    cli_run_commands,     cli_service_commands,     cli_traffic_commands,       cli_log_commands,   cli_revision_commands,
    cli_run_job_commands, cli_run_execute_commands, cli_run_execution_commands, cli_topic_commands, cli_subscription_commands,
    cli_lease_commands,   cli_snapshot_commands,    cli_queue_commands,         cli_task_commands,  cli_scheduler_commands,
    cli_job_commands,     cli_own_commands,
};

const struct cli_command *cli_command_at(size_t i)
{
    for (size_t p = 0; p < ARRAY_LEN(parts); p++)
        for (const struct cli_command *cmd = parts[p]; cmd->words; cmd++)
            if (i-- == 0)
                return cmd;
    return NULL;
}

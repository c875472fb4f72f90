/** cli_logs.h: log entries as the commands that show them need them.
 *  Thread: one. */
#ifndef TOOLS_RUNNEL_CLI_LOGS_H
#define TOOLS_RUNNEL_CLI_LOGS_H

#include "tools/runnel/cli_json.h"

/** What the programs of a job, one of its executions and one of its tasks write; each may be NULL. */
const char *logs_job_filter(struct cli *c, const char *job, const char *execution, const char *task);
const char *logs_label(const struct jv *entry, const char *name); /* "" when it has none */
const char *logs_text(const struct jv *entry);

#endif

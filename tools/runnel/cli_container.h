/** cli_container.h: what the flags of services and jobs have in common, as fields of the API.
 *  Thread: one. */
#ifndef TOOLS_RUNNEL_CLI_CONTAINER_H
#define TOOLS_RUNNEL_CLI_CONTAINER_H

#include "tools/runnel/cli_json.h"

#define CONTAINER_FLAGS                                                                                            \
    CLI_FLAG("image", CLI_TEXT, "IMAGE", "what to run: exec:///DIR runs a program of this machine, found in DIR"), \
        CLI_FLAG("command", CLI_LIST, "WORD,...", "the program, and its first arguments"),                         \
        CLI_FLAG("args", CLI_LIST, "WORD,...", "arguments of the program"),                                        \
        CLI_FLAG("set-env-vars", CLI_MAP, "KEY=VALUE,...", "the variables, in place of all there were"),           \
        CLI_FLAG("update-env-vars", CLI_MAP, "KEY=VALUE,...", "variables to add or change"),                       \
        CLI_FLAG("remove-env-vars", CLI_LIST, "KEY,...", "variables to take away"),                                \
        CLI_FLAG("clear-env-vars", CLI_SWITCH, "", "take all variables away"),                                     \
        CLI_FLAG("cpu", CLI_TEXT, "CPU", "CPUs for each instance: 1, 0.5 or 500m"),                                \
        CLI_FLAG("memory", CLI_TEXT, "SIZE", "memory for each instance: 512Mi, 2Gi")
#define WEIGHT_FLAG                                                                                                                 \
    CLI_FLAG("weight", CLI_INT, "N", "its part of CPU and memory when others want them too; 100 is usual, 0: that again", .min = 0, \
             .max = 10000)
#define LABEL_FLAGS                                                          \
    CLI_FLAG("labels", CLI_MAP, "KEY=VALUE,...", "labels to add or change"), \
        CLI_FLAG("update-labels", CLI_MAP, "KEY=VALUE,...", "the same"), CLI_FLAG("clear-labels", CLI_SWITCH, "", "take all labels away")

/** CONTAINER_FLAGS into the first container of a template, made when there is none. Returns it. */
struct jv *container_put(struct cli *c, struct jv *tmpl);
/** The pairs of a flag into a list of variables: those of the same name are replaced. */
void flag_put_variables(struct cli *c, struct jv *env, const char *flag);
/** LABEL_FLAGS into `labels`. */
void flags_put_labels(struct cli *c, struct jv *resource);
/** A number, when the flag was given. */
void flag_put_number(struct cli *c, struct jv *o, const char *field, const char *flag);

#endif

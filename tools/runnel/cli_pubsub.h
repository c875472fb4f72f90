/** cli_pubsub.h: what the commands of topics, subscriptions and snapshots share. All return an exit code, having said what went wrong.
 *  Thread: one. */
#ifndef TOOLS_RUNNEL_CLI_PUBSUB_H
#define TOOLS_RUNNEL_CLI_PUBSUB_H

#include "tools/runnel/cli_json.h"

/** The pairs of a map flag as an object under `key`; nothing when the flag was not given. */
void pubsub_put_map(struct cli *c, struct jv *o, const char *key, const char *flag);
/** `resource`.labels = the labels it has now, changed by --update-labels, --remove-labels, --clear-labels. */
int pubsub_merge_labels(struct cli *c, const char *collection, struct jv *resource);
/** One request for each argument; goes on after an error. */
int pubsub_each(struct cli *c, const char *collection, const char *method, const char *suffix, const char *done);
int pubsub_create(struct cli *c, const char *collection, const char *what, const struct jv *body);
int pubsub_update(struct cli *c, const char *collection, const char *field, struct jv *resource, const char *mask);
int pubsub_delete(struct cli *c, const char *collection, const char *what);
int pubsub_list(struct cli *c, const char *collection);
int pubsub_describe(struct cli *c, const char *collection);

#endif

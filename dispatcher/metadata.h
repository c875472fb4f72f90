/** metadata.h: the metadata server that Google's libraries ask for the project, the account and its tokens.
 *  Rules:  paths under /computeMetadata/v1/ need the request header Metadata-Flavor: Google (403 without) and answer with it.
 *  Thread: engine thread.
 *  Source: wire.md sections 4 and 12. */
#ifndef DISPATCHER_METADATA_H
#define DISPATCHER_METADATA_H

#include "dispatcher/identity.h"

struct metadata_config {
    const char *project, *region; /* live as long as the routes */
    struct identity *identity;
};
/** Adds the routes; the config is copied. */
MUST_USE int metadata_routes(const struct metadata_config *c, struct web *w, struct err *e);

#endif

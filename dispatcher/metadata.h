/** metadata.h: the metadata server that Google's libraries ask for the project, the account and its tokens.
 *  Rules:  only for callers on this machine: the tokens are those of the programs that run here. Paths under
 *          /computeMetadata/v1/ need the request header Metadata-Flavor: Google (403 without) and answer with it.
 *          POST /token (JWT-bearer grant) gives tokens for the account that an assertion names, to who may use the admin API; the
 *          assertion's signature is not checked, since nobody registers keys here.
 *  Errors: RESOURCE_EXHAUSTED: out of memory, or too many routes.
 *  Thread: engine thread.
 *  Source: wire.md sections 4 and 12. */
#ifndef DISPATCHER_METADATA_H
#define DISPATCHER_METADATA_H

#include "dispatcher/identity.h"
#include "dispatcher/policy.h"

struct metadata_config {
    const char *project, *region; /* live as long as the routes */
    struct identity *identity;
    const struct policy *policy; /* who may have tokens from /token; NULL: nobody */
};
/** Adds the routes; the config is copied. */
MUST_USE int metadata_routes(const struct metadata_config *c, struct web *w, struct err *e);

#endif

/** cli_api.h: calls of the server's API: names, requests, pages, long-running operations with a progress line.
 *  Units:  API_TIMEOUT_MS is a duration.
 *  Errors: the server's own error with its code; UNAVAILABLE with sys != 0 when nobody answered.
 *  Thread: one. */
#ifndef TOOLS_RUNNEL_CLI_API_H
#define TOOLS_RUNNEL_CLI_API_H

#include "tools/runnel/cli_json.h"

#define API_TIMEOUT_MS 120000
#define API_PAGES_MAX 10000

/** One request; `path` starts with "/" and is already encoded, `body` may be NULL. The answer, {} when it is empty. */
MUST_USE int api_call(struct cli *c, const char *method, const char *path, const struct jv *body, struct jv **out, struct err *e);
/** All pages of a list: the items of `field` in one array. */
MUST_USE int api_list(struct cli *c, const char *path, const char *field, struct jv **array, struct err *e);
/** Wait for an operation, showing `what` (and a service's state) on a terminal. `*out` is the operation's response. */
MUST_USE int api_wait(struct cli *c, const char *what, const struct jv *operation, struct jv **out, struct err *e);
/** The same pages, but only items that `keep` takes (NULL: all), and `limit` of them at most. */
MUST_USE int api_list_some(struct cli *c, const char *path, const char *field, size_t limit,
                           bool (*keep)(struct cli *c, const struct jv *item), struct jv **array, struct err *e);
/** Sleeps. False: a signal came before it was over. */
bool api_pause(int64_t ms);

/** Full names from what the user gave: a full name or a short one. NULL after saying what is wrong with it. */
const char *api_pubsub_name(struct cli *c, const char *collection, const char *given);
const char *api_service_name(struct cli *c, const char *given);
/** "projects/P/locations/R" */
const char *api_location(struct cli *c);
/** "/v1/" + name with its ids encoded + suffix. */
const char *api_path(struct cli *c, const char *version, const char *name, const char *suffix);

#endif

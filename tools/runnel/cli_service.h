/** cli_service.h: a service as the commands of `runnel run` see it: read, change, roll out; its traffic and its policy.
 *  Errors: the server's own, by its code; FAILED_PRECONDITION when there is nothing to pin.
 *  Thread: one. */
#ifndef TOOLS_RUNNEL_CLI_SERVICE_H
#define TOOLS_RUNNEL_CLI_SERVICE_H

#include "tools/runnel/cli_json.h"

#define INVOKER_ROLE "roles/run.invoker"

/** GET; NOT_FOUND when it is not there. */
MUST_USE int service_get(struct cli *c, const char *name, struct jv **service, struct err *e);
/** PATCH what changed (`mask` NULL: all), wait unless --async, and tell how it ended. Returns the exit code. */
int service_roll_out(struct cli *c, const char *name, struct jv *body, const char *mask);

/* cli_traffic.c */
/** The service's traffic with every target named: an empty list is 100 % of the latest. */
struct jv *traffic_of(const struct jv *service);
/** Targets that follow the latest revision stay at the one that serves now. FAILED_PRECONDITION when none does. */
MUST_USE int traffic_pin(struct jv *traffic, const struct jv *service, struct err *e);
/** The tag leads to this revision ("" = the latest) and to no other. */
void traffic_tag(struct jv *traffic, const char *tag, const char *revision);
/** The short name of the revision that a target of `trafficStatuses` leads to now; the latest has no name there. */
const char *traffic_revision(const struct jv *service, const struct jv *target);
int64_t traffic_percent(const struct jv *service, const char *revision);
void traffic_show(struct cli *c, const struct jv *service);

/* cli_services.c */
/** Add or remove one member of a role; `policy` is what it is then. */
MUST_USE int policy_change(struct cli *c, const char *resource, const char *member, const char *role, bool add, struct jv **policy,
                           struct err *e);

#endif

/** location.h: google.cloud.location.Locations for any service. A location is part of a name here and nothing else: any is one;
 *  listed are the server's region and those where the service has resources.
 *  Shape:  locations_begin -> locations_add with the name of each resource -> locations_end answers the call.
 *  Errors: INVALID_ARGUMENT: no project, a filter, a page token; RESOURCE_EXHAUSTED: the call's arena is full.
 *  Owner:  the list lives in the call's arena.
 *  Thread: engine thread. */
#ifndef CORE_RPC_LOCATION_H
#define CORE_RPC_LOCATION_H

#include "core/rpc/location.pb-c.h"
#include "core/rpc/method.h"

struct locations;
/** NULL: the call was answered with what is wrong with it. `region` may be NULL. */
struct locations *locations_begin(struct call *c, const ProtobufCMessage *request, const char *region);
void locations_add(struct locations *l, const char *resource);
void locations_end(struct locations *l);
void on_get_location(void *service, struct call *c, const ProtobufCMessage *request);

#endif

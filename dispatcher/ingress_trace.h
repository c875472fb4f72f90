/** ingress_trace.h: the trace headers of a request: kept when they were given, made when not, each from the other. Pure.
 *  Owner:  the texts are in the struct; nothing is borrowed from the headers.
 *  Thread: any; nothing is kept. The generator is its owner's thread's.
 *  Source: W3C Trace Context (traceparent, version 00); Cloud Trace's X-Cloud-Trace-Context: TRACE/SPAN;o=1. */
#ifndef DISPATCHER_INGRESS_TRACE_H
#define DISPATCHER_INGRESS_TRACE_H

#include "core/base/random.h"
#include "core/http/headers.h"

#define TRACEPARENT_LEN 55
#define CLOUD_TRACE_MAX 64

struct trace {
    char traceparent[TRACEPARENT_LEN + 1];
    char cloud[CLOUD_TRACE_MAX];
    bool add_traceparent, add_cloud; /* not given, or not readable: to be sent instead */
};
/** From the request's headers, or by `rng`. Always leaves both texts filled. */
void trace_make(struct trace *t, const struct headers *h, struct rng *rng);

#endif

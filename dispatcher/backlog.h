/** backlog.h: what waits for each of our services and is not a request yet, summed over everybody who has some: the push
 *          subscriptions, the task queues.
 *  Shape:  backlog_add (a source) ... -> backlog_stir when there may be something -> the sources are asked, at once and then every
 *          BACKLOG_TICK_NS, while one of them names a host -> each service is told its sum; 0 once when nothing waits any more.
 *  Errors: backlog_new, backlog_add: RESOURCE_EXHAUSTED.
 *  Owner:  sources, and what is told, outlive the object or its backlog_stop.
 *  Thread: engine thread. */
#ifndef DISPATCHER_BACKLOG_H
#define DISPATCHER_BACKLOG_H

#include "core/base/buf.h"
#include "core/base/env.h"

#define BACKLOG_TICK_NS (1 * NS_PER_S)
#define BACKLOG_SOURCES_MAX 4
#define BACKLOG_SERVICES_MAX 10000

typedef void (*backlog_host_fn)(void *arg, struct str host, uint64_t count);
struct backlog_source {
    /* Each host for which something waits or is under way, also with 0 and also several times. */
    void (*each)(void *source, backlog_host_fn fn, void *arg);
    void *source;
};
struct backlog_target {
    const char *(*service)(void *arg, struct str host); /* its full name, lent until the next call; NULL: none of ours */
    void (*tell)(void *arg, const char *service, uint64_t count);
    void *arg;
};
struct backlog;
struct backlog *backlog_new(const struct env *env, const struct backlog_target *t, struct err *e);
MUST_USE int backlog_add(struct backlog *b, const struct backlog_source *s, struct err *e);
void backlog_stir(void *b); /* a struct backlog */
void backlog_stop(struct backlog *b);
void backlog_free(struct backlog *b);

#endif

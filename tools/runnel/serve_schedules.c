/* serve_schedules.c: the schedules' part of the server: they call through the same calls as tasks, publish into the broker, and
 * start executions. */
#include "tools/runnel/serve_int.h"

int serve_schedules(struct server *s, struct err *e)
{
    const struct schedules_config config = {.region = s->options.region};
    s->target_http = target_http_new(s->outcalls);
    s->target_pubsub = target_pubsub_new(s->broker);
    s->target_run = target_run_new(s->executor);
    if (!s->target_http || !s->target_pubsub || !s->target_run)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "schedules: out of memory");
    const struct schedules_deps deps = {
        .env = &s->env,
        .store = s->store,
        .metrics = s->metrics,
        .http = s->target_http,
        .pubsub = s->target_pubsub,
        .run = s->target_run,
        .workers = s->workers,
        .engine = loop_mailbox(s->loop),
    };
    s->schedules = schedules_new(&config, &deps, e);
    return s->schedules ? schedules_register(s->schedules, s->registry, e) : -ERR_RESOURCE_EXHAUSTED;
}

void serve_schedules_free(struct server *s)
{
    schedules_free(s->schedules);
    if (s->target_http)
        s->target_http->ops->free(s->target_http);
    if (s->target_pubsub)
        s->target_pubsub->ops->free(s->target_pubsub);
    if (s->target_run)
        s->target_run->ops->free(s->target_run);
}

/* serve_pages.c: the pages of the server itself, beside the API: is it well, and in what numbers. */
#include "tools/runnel/serve_int.h"

static void on_healthz(void *arg, struct web_call *w)
{
    struct server *s = arg;
    bool full = s->store->ops->stats(s->store).full;
    if (buf_addz(&w->answer, full ? "disk full: publishes and changes are refused until there is space\n" : "ok\n"))
        web_reply(w, 500, "text/plain");
    else
        web_reply(w, full ? 503 : 200, "text/plain; charset=utf-8");
}

static void on_metrics(void *arg, struct web_call *w)
{
    struct server *s = arg;
    struct executor_counts counts = executor_counts(s->executor);
    struct store_stats store = s->store->ops->stats(s->store);
    metric_set(s->gauges.services, counts.services);
    metric_set(s->gauges.starting, counts.starting);
    metric_set(s->gauges.ready, counts.ready);
    metric_set(s->gauges.stopping, counts.stopping);
    metric_set(s->gauges.store_commits, (int64_t)store.commits);
    metric_set(s->gauges.store_bytes, (int64_t)store.file_bytes);
    metric_set(s->gauges.store_full, store.full);
    if (metrics_render(s->metrics, &w->answer))
        web_reply(w, 500, "text/plain");
    else
        web_reply(w, 200, METRIC_CONTENT_TYPE);
}

static struct metric *gauge(struct server *s, enum metric_kind kind, const char *name, const char *help)
{
    static const char *const none[METRIC_LABELS_MAX];
    return metric_series(metrics_family(s->metrics, kind, name, help, ""), none);
}

static struct metric *instances_gauge(struct metric_family *family, const char *state)
{
    const char *const values[METRIC_LABELS_MAX] = {state};
    return metric_series(family, values);
}

int serve_pages(struct server *s, struct err *e)
{
    const struct web_route pages[] = {
        {VERB_GET, "/healthz", on_healthz, s},
        {VERB_GET, "/metrics", on_metrics, s},
    };
    struct metric_family *instances = metrics_family(s->metrics, METRIC_GAUGE, "runnel_instances", "Instances by state.", "state");
    s->gauges = (struct gauges){
        .services = gauge(s, METRIC_GAUGE, "runnel_services", "Services deployed."),
        .starting = instances_gauge(instances, "starting"),
        .ready = instances_gauge(instances, "ready"),
        .stopping = instances_gauge(instances, "stopping"),
        .store_commits = gauge(s, METRIC_COUNTER, "runnel_store_commits_total", "Groups committed to the store."),
        .store_bytes = gauge(s, METRIC_GAUGE, "runnel_store_file_bytes", "Size of the database file."),
        .store_full = gauge(s, METRIC_GAUGE, "runnel_store_full", "1 while the disk is full and changes are refused."),
    };
    for (size_t i = 0; i < ARRAY_LEN(pages); i++)
        if (web_add(s->web, &pages[i], e))
            return err_wrap(e, "page %s", pages[i].path);
    return 0;
}

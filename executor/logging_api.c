/** logging_api.c: google.logging.v2 ListLogEntries over what logs.c keeps. */
#include "executor/executor_int.h"
#include "executor/log_filter.h"
#include "executor/logging.pb-c.h"

#include "core/rpc/page.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define LOGGING(message) Google__Logging__V2__##message
#define LOGGING_DESC(message) (&google__logging__v2__##message##__descriptor)
#define RESOURCE_NAMES_MAX 100
#define LABELS_MAX 4

static LOGGING(MonitoredResource__LabelsEntry) * label(struct arena *a, const char *key, const char *value)
{
    LOGGING(MonitoredResource__LabelsEntry) *l = pb_new(a, LOGGING_DESC(monitored_resource__labels_entry));
    if (l) {
        l->key = (char *)(uintptr_t)key;
        l->value = arena_strdup(a, value);
    }
    return l && l->value ? l : NULL;
}

static LOGGING(MonitoredResource) * resource_of(struct arena *a, const struct log_entry *entry)
{
    const struct log_source *s = entry->source;
    const struct {
        const char *key, *value;
    } labels[] = {{"project_id", s->project},
                  {"location", s->region},
                  {s->job ? "job_name" : "service_name", s->service},
                  {"configuration_name", s->service},
                  {"revision_name", entry->revision}};
    size_t n = s->job ? 3 : ARRAY_LEN(labels);
    LOGGING(MonitoredResource) *r = pb_new(a, LOGGING_DESC(monitored_resource));
    if (!r || !(r->labels = arena_alloc(a, sizeof *r->labels * ARRAY_LEN(labels))))
        return NULL;
    r->type = (char *)(uintptr_t)(s->job ? "cloud_run_job" : "cloud_run_revision");
    for (size_t i = 0; i < n; i++, r->n_labels++)
        if (!(r->labels[i] = label(a, labels[i].key, labels[i].value)))
            return NULL;
    return r;
}

static bool add_label(struct arena *a, LOGGING(LogEntry) * m, const char *key, const char *value)
{
    LOGGING(LogEntry__LabelsEntry) *l = value ? pb_new(a, LOGGING_DESC(log_entry__labels_entry)) : NULL;
    if (!l)
        return false;
    l->key = (char *)(uintptr_t)key;
    l->value = (char *)(uintptr_t)value;
    m->labels[m->n_labels++] = l;
    return true;
}

static bool add_labels(struct arena *a, LOGGING(LogEntry) * m, const struct log_entry *entry)
{
    if (!(m->labels = arena_alloc(a, sizeof *m->labels * LABELS_MAX)))
        return false;
    bool ok = !*entry->instance || add_label(a, m, "instanceId", arena_strdup(a, entry->instance));
    if (entry->source->job)
        ok = ok && add_label(a, m, LOG_LABEL_EXECUTION, arena_strdup(a, entry->revision));
    if (entry->source->job && entry->task != LOG_NO_TASK)
        ok = ok && add_label(a, m, LOG_LABEL_TASK, arena_printf(a, "%u", entry->task)) &&
             add_label(a, m, LOG_LABEL_ATTEMPT, arena_printf(a, "%u", entry->attempt));
    return ok;
}

static LOGGING(LogEntry) * entry_message(struct arena *a, const struct log_entry *entry)
{
    LOGGING(LogEntry) *m = pb_new(a, LOGGING_DESC(log_entry));
    if (!m)
        return NULL;
    char id[LOG_INSERT_ID_MAX];
    log_insert_id(entry, id);
    m->log_name = arena_printf(a, "projects/%s/logs/%s", entry->source->project, log_stream_id(entry->stream));
    m->resource = resource_of(a, entry);
    m->payload_case = GOOGLE__LOGGING__V2__LOG_ENTRY__PAYLOAD_TEXT_PAYLOAD;
    m->text_payload = arena_strdup(a, entry->text);
    m->timestamp = m->receive_timestamp = (Google__Protobuf__Timestamp *)pb_timestamp(a, entry->wall_ns);
    m->severity = (LOGGING(LogSeverity))entry->severity;
    m->insert_id = arena_strdup(a, id);
    m->trace = arena_strdup(a, entry->trace);
    m->span_id = arena_strdup(a, entry->span_id);
    m->trace_sampled = entry->trace_sampled;
    return add_labels(a, m, entry) && m->log_name && m->resource && m->text_payload && m->timestamp && m->insert_id && m->trace &&
                   m->span_id
               ? m
               : NULL;
}

/* What the request asks for, worked out. */
struct query {
    const LOGGING(ListLogEntriesRequest) * request;
    struct log_filter *filter;
    bool newest_first;
    struct page page;
    const char *list; /* what the page token is for */
};

static bool project_asked(const struct query *q, const struct log_entry *entry)
{
    const LOGGING(ListLogEntriesRequest) *r = q->request;
    for (size_t i = 0; i < r->n_resource_names; i++)
        if (strcmp(r->resource_names[i] + strlen("projects/"), entry->source->project) == 0)
            return true;
    for (size_t i = 0; i < r->n_project_ids; i++)
        if (strcmp(r->project_ids[i], entry->source->project) == 0)
            return true;
    return false;
}

static int open_query(struct call *c, const LOGGING(ListLogEntriesRequest) * r, struct query *q, struct err *e)
{
    *q = (struct query){.request = r};
    if (r->n_resource_names + r->n_project_ids == 0)
        return err_set(e, ERR_INVALID_ARGUMENT, "resourceNames: required, e.g. projects/PROJECT");
    if (r->n_resource_names + r->n_project_ids > RESOURCE_NAMES_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "resourceNames: more than %d", RESOURCE_NAMES_MAX);
    for (size_t i = 0; i < r->n_resource_names; i++)
        if (strncmp(r->resource_names[i], "projects/", 9) != 0 || strchr(r->resource_names[i] + 9, '/') || !r->resource_names[i][9])
            return err_set(e, ERR_INVALID_ARGUMENT, "resourceNames[%zu]: '%.100s' must be projects/PROJECT", i, r->resource_names[i]);
    if (strcmp(r->order_by, "timestamp desc") == 0)
        q->newest_first = true;
    else if (*r->order_by && strcmp(r->order_by, "timestamp asc") != 0 && strcmp(r->order_by, "timestamp") != 0)
        return err_set(e, ERR_INVALID_ARGUMENT, "orderBy: '%.60s' is neither 'timestamp asc' nor 'timestamp desc'", r->order_by);
    q->filter = log_filter_parse(c->arena, str_of(r->filter), e);
    q->list = arena_printf(c->arena, "%s|%s", r->order_by, r->filter);
    if (!q->filter)
        return -(int)e->code;
    if (!q->list)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory");
    return page_open(c->arena, r->page_size, r->page_token, q->list, &q->page, e);
}

/* Is it beyond the last one of the page before? Entries stand in the order of their numbers. */
static bool after_page(const struct query *q, const struct log_entry *entry)
{
    assert(q->page.after);
    if (!*q->page.after)
        return true;
    uint64_t last = strtoull(q->page.after, NULL, 10);
    return q->newest_first ? entry->seq < last : entry->seq > last;
}

static bool fill(struct call *c, struct list *all, const struct query *q, LOGGING(ListLogEntriesResponse) * m)
{
    const struct log_entry *last = NULL;
    m->entries = arena_alloc(c->arena, (q->page.size + 1) * sizeof *m->entries);
    if (!m->entries)
        return false;
    struct node *n = q->newest_first ? all->head.prev : all->head.next;
    for (; n != &all->head; n = q->newest_first ? n->prev : n->next) {
        const struct log_entry *entry = CONTAINER_OF(n, struct log_entry, link);
        if (!after_page(q, entry) || !project_asked(q, entry) || !log_filter_matches(q->filter, entry))
            continue;
        if (m->n_entries == q->page.size) {
            char id[LOG_INSERT_ID_MAX];
            log_insert_id(last, id);
            m->next_page_token = page_token(c->arena, q->list, id);
            return m->next_page_token != NULL;
        }
        if (!(m->entries[m->n_entries] = entry_message(c->arena, entry)))
            return false;
        m->n_entries++;
        last = entry;
    }
    return true;
}

static void on_list(void *service, struct call *c, const ProtobufCMessage *request)
{
    struct executor *x = service;
    struct query q;
    struct err e;
    if (open_query(c, (const void *)request, &q, &e)) {
        call_fail(c, &e);
        return;
    }
    LOGGING(ListLogEntriesResponse) *m = pb_new(c->arena, LOGGING_DESC(list_log_entries_response));
    if (m && fill(c, logs_all(x->logs), &q, m))
        call_reply(c, &m->base);
    else
        call_failf(c, ERR_RESOURCE_EXHAUSTED, "the answer is too large, or memory is out; ask for a smaller pageSize");
}

static const struct method methods[] = {
    {"google.logging.v2.LoggingServiceV2/ListLogEntries", VERB_POST, "/v2/entries:list", "*", "logging.logEntries.list",
     LOGGING_DESC(list_log_entries_request), LOGGING_DESC(list_log_entries_response), on_list},
    /* The same for a link, which logUri of an execution or a task is. */
    {"google.logging.v2.LoggingServiceV2/ListLogEntries", VERB_GET, LOGGING_LINK_PATH, NULL, "logging.logEntries.list",
     LOGGING_DESC(list_log_entries_request), LOGGING_DESC(list_log_entries_response), on_list},
};

int logging_api_register(struct executor *x, struct registry *r, struct err *e)
{
    return registry_add(r, methods, ARRAY_LEN(methods), x, e);
}

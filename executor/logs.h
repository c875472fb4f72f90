/** logs.h: the last lines of every service's and job's programs and what the server did with them, in memory, for entries:list.
 *  Shape:  logs_line, logs_system -> a list per service within a list of all -> logs_all, which logging_api filters and turns.
 *  Limits: LOGS_BYTES_MAX in all, LOGS_BYTES_PER_SERVICE_MAX a service, LOGS_PER_SERVICE_MAX entries a service: the oldest go.
 *          Nothing is on disk: a restart forgets them (they are in the server's own log too).
 *  Units:  wall_ns is wall time.
 *  Errors: RESOURCE_EXHAUSTED from logs_new alone; a line for which there is no memory is lost.
 *  Owner:  everything is copied.
 *  Thread: engine thread.
 *  Source: cloud.google.com/logging/docs/structured-logging for the fields lifted from JSON lines. */
#ifndef EXECUTOR_LOGS_H
#define EXECUTOR_LOGS_H

#include "core/base/buf.h"
#include "core/base/env.h"
#include "core/base/list.h"

#define LOGS_BYTES_MAX (64u << 20)
#define LOGS_BYTES_PER_SERVICE_MAX (4u << 20)
#define LOGS_PER_SERVICE_MAX 10000
#define LOGS_SOURCES_MAX 20000

enum log_stream { LOG_STDOUT, LOG_STDERR, LOG_SYSTEM };
/* As Cloud Logging numbers them. */
enum severity {
    SEVERITY_DEFAULT = 0,
    SEVERITY_DEBUG = 100,
    SEVERITY_INFO = 200,
    SEVERITY_NOTICE = 300,
    SEVERITY_WARNING = 400,
    SEVERITY_ERROR = 500,
    SEVERITY_CRITICAL = 600,
    SEVERITY_ALERT = 700,
    SEVERITY_EMERGENCY = 800,
};
/** By name in any case; -1 when there is none such. */
int severity_parse(struct str name);

struct log_where { /* names; instance may be "" */
    const char *project, *region, *service, *revision, *instance;
    bool job;               /* then service is the job, revision its execution, and: */
    uint32_t task, attempt; /* task LOG_NO_TASK: it is about the whole execution */
};
#define LOG_NO_TASK UINT32_MAX
struct log_source;
struct log_entry {
    struct node link, source_link;
    struct log_source *source;
    uint64_t seq; /* counts all entries */
    int64_t wall_ns;
    int severity;
    enum log_stream stream;
    bool trace_sampled;
    uint32_t task, attempt; /* of a job */
    size_t bytes;
    const char *revision, *instance, *text, *trace, *span_id; /* into `mem` */
    char mem[];
};
struct log_source {
    const char *project, *region, *service;
    bool job;
    struct list entries; /* oldest first */
    size_t bytes;
    char *key;
};
struct logs;
struct logs *logs_new(const struct env *env, struct err *e);
void logs_free(struct logs *l);
/** A line a program wrote. A line that is a JSON object lifts severity, message, trace, spanId and the sampled flag; out of
 *  memory the line is lost. */
void logs_line(struct logs *l, const struct log_where *w, enum log_stream stream, struct str line, int64_t wall_ns);
/** A line about the instance from the server. */
FMT(4, 5) void logs_system(struct logs *l, const struct log_where *w, int severity, const char *fmt, ...);
/** All entries, oldest first. */
struct list *logs_all(struct logs *l);

#endif

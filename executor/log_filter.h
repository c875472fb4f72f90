/** log_filter.h: the part of Cloud Logging's query language that clients of these services send.
 *  Shape:  comparisons joined by AND or a new line: resource.type, resource.labels.NAME, labels.NAME, logName, severity,
 *          timestamp, textPayload, trace, insertId, each with = != and, for severity, timestamp and insertId, < <= > >=; `:` finds text
 *          within. Values are bare or quoted; a line may be a comment (--). OR, NOT and parentheses are refused.
 *  Errors: INVALID_ARGUMENT shows the place; UNIMPLEMENTED for what the language has and this has not.
 *  Thread: any; a filter never changes. It lives in the arena it was parsed into.
 *  Source: cloud.google.com/logging/docs/view/logging-query-language. */
#ifndef EXECUTOR_LOG_FILTER_H
#define EXECUTOR_LOG_FILTER_H

#include "core/base/arena.h"
#include "executor/logs.h"

/* Labels of a job's entries. */
#define LOG_LABEL_EXECUTION "run.googleapis.com/execution_name"
#define LOG_LABEL_TASK "run.googleapis.com/task_index"
#define LOG_LABEL_ATTEMPT "run.googleapis.com/task_attempt"
#define LOG_FILTER_TERMS_MAX 64
#define LOG_FILTER_TEXT_MAX 20000
struct log_filter;
/** In the arena; NULL on errors. */
struct log_filter *log_filter_parse(struct arena *a, struct str text, struct err *e);
bool log_filter_matches(const struct log_filter *f, const struct log_entry *entry);

/** "run.googleapis.com%2Fstdout" and its like. */
const char *log_stream_id(enum log_stream s);
#define LOG_INSERT_ID_MAX 24
void log_insert_id(const struct log_entry *entry, char out[LOG_INSERT_ID_MAX]);

#endif

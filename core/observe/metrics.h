/** metrics.h: counters, gauges and histograms in Prometheus text.
 *  Shape:  families are declared once; a series is found by its label values and then only touched by its handle.
 *          Declaring a family again gives the same one.
 *  Limits: METRICS_SERIES_MAX series; beyond it, out of memory, or with a label value longer than METRIC_VALUE_MAX,
 *          metric_series returns the family's "overflow" series.
 *  Owner:  handles live until metric_drop or metrics_free: whoever drops a series lets go of its handle first.
 *  Thread: declare, find, drop and render on the engine thread; metric_add / metric_set / metric_observe from any (relaxed atomics).
 *  Source: Prometheus text exposition format 0.0.4. */
#ifndef CORE_OBSERVE_METRICS_H
#define CORE_OBSERVE_METRICS_H

#include "core/base/buf.h"

#define METRICS_SERIES_MAX 20000
#define METRIC_LABELS_MAX 4
#define METRIC_VALUE_MAX 1024
#define METRIC_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"
enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };
struct metrics;
struct metric_family;
struct metric; /* one series */

struct metrics *metrics_new(void);
void metrics_free(struct metrics *m);
/** `labels` are names separated by "," ("" none); histograms have fixed latency buckets in seconds from 0.5 ms to 60 s.
 *  NULL out of memory: its series are then NULL, which every metric_* call takes. */
struct metric_family *metrics_family(struct metrics *m, enum metric_kind kind, const char *name, const char *help, const char *labels);
/** The series of these label values (as many as the family has labels). Never NULL unless `f` is NULL. */
struct metric *metric_series(struct metric_family *f, const char *const *values);
/** Drop the series (a deleted subscription). */
void metric_drop(struct metric_family *f, const char *const *values);
void metric_add(struct metric *s, int64_t n); /* NULL is fine */
void metric_set(struct metric *s, int64_t value);
void metric_observe(struct metric *s, double seconds); /* below 0 counts as 0; not a number is ignored */
int64_t metric_value(const struct metric *s);          /* of a histogram: how many observations */
/** Append all families in the order they were declared, series by label text. On failure `b` is as before. */
MUST_USE int metrics_render(const struct metrics *m, struct buf *b);

#endif

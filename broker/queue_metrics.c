/* queue_metrics.c: what a queue tells Prometheus. A series exists from its first use until its queue goes. */
#include "broker/queue_int.h"

static const char *const state_names[] = {"waiting", "ready", "running"};
static const char *const end_names[ENDS] = {"", "done", "removed", "purged", "exhausted", "dead"};
static const char *const class_names[] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};

void queue_metrics_init(struct queue *q, struct metrics *m)
{
    struct queue_metrics *qm = &q->metrics;
    if (!m)
        return;
    qm->tasks = metrics_family(m, METRIC_GAUGE, "runnel_tasks", "Tasks by state: not due, due, with their target.", "queue,state");
    qm->ended = metrics_family(m, METRIC_COUNTER, "runnel_tasks_ended_total", "Tasks that ended, by how.", "queue,outcome");
    qm->attempts = metrics_family(m, METRIC_COUNTER, "runnel_task_attempts_total", "Attempts by the class of their answer.", "queue,code");
    qm->undelivered = metrics_family(m, METRIC_COUNTER, "runnel_task_undelivered_total",
                                     "Attempts that never went out for want of something of ours, and do not count.", "queue");
    qm->late =
        metrics_family(m, METRIC_HISTOGRAM, "runnel_task_lateness_seconds", "From when a task was due to when its attempt began.", "queue");
    qm->dead = metrics_family(m, METRIC_GAUGE, "runnel_task_dead_letters", "Dead letters that are kept.", "queue");
}

static struct metric *find(struct queue *q, struct metric_family *f, struct metric **series, const char *value)
{
    if (!*series && f)
        *series = metric_series(f, (const char *const[]){q->name, value});
    return *series;
}

static void drop(struct queue *q, struct metric_family *f, struct metric **series, const char *value)
{
    if (*series)
        metric_drop(f, (const char *const[]){q->name, value});
    *series = NULL;
}

void queue_metrics_drop(struct queue *q)
{
    struct queue_metrics *m = &q->metrics;
    for (size_t i = 0; i < ARRAY_LEN(state_names); i++)
        drop(q, m->tasks, &m->states[i], state_names[i]);
    for (size_t i = 0; i < ENDS; i++)
        drop(q, m->ended, &m->ends[i], end_names[i]);
    for (size_t i = 0; i < ARRAY_LEN(class_names); i++)
        drop(q, m->attempts, &m->classes[i], class_names[i]);
    drop(q, m->undelivered, &m->not_sent, NULL);
    drop(q, m->late, &m->lateness, NULL);
    drop(q, m->dead, &m->letters, NULL);
}

void queue_metrics_state(struct queue *q)
{
    struct queue_metrics *m = &q->metrics;
    uint64_t ready = q->states[TASK_READY], running = q->states[TASK_RUNNING], alive = q->live - q->doomed;
    uint64_t waiting = alive > ready + running ? alive - ready - running : 0;
    metric_set(find(q, m->tasks, &m->states[0], state_names[0]), (int64_t)waiting);
    metric_set(find(q, m->tasks, &m->states[1], state_names[1]), (int64_t)ready);
    metric_set(find(q, m->tasks, &m->states[2], state_names[2]), (int64_t)running);
    if (q->dead || m->letters)
        metric_set(find(q, m->dead, &m->letters, NULL), (int64_t)q->dead);
}

void queue_metrics_end(struct queue *q, enum task_end end)
{
    metric_add(find(q, q->metrics.ended, &q->metrics.ends[end], end_names[end]), 1);
}

void queue_metrics_attempt(struct queue *q, int status)
{
    size_t i = status >= 100 && status < 600 ? (size_t)status / 100 : 0;
    metric_add(find(q, q->metrics.attempts, &q->metrics.classes[i], class_names[i]), 1);
}

void queue_metrics_undelivered(struct queue *q) { metric_add(find(q, q->metrics.undelivered, &q->metrics.not_sent, NULL), 1); }

void queue_metrics_late(struct queue *q, int64_t late_ns)
{
    metric_observe(find(q, q->metrics.late, &q->metrics.lateness, NULL), (double)late_ns / 1e9);
}

/** serve_int.h: the server and its parts, shared by serve.c (start), serve_pages.c and serve_stop.c. */
#ifndef TOOLS_RUNNEL_SERVE_INT_H
#define TOOLS_RUNNEL_SERVE_INT_H

#include "broker/broker.h"
#include "broker/queues.h"
#include "core/loop/loop.h"
#include "core/loop/thread.h"
#include "core/rpc/operation.h"
#include "core/rpc/rest.h"
#include "dispatcher/backlog.h"
#include "dispatcher/identity.h"
#include "dispatcher/io.h"
#include "dispatcher/job_invoker.h"
#include "dispatcher/policy.h"
#include "dispatcher/push.h"
#include "dispatcher/route.h"
#include "dispatcher/task_push.h"
#include "executor/executor.h"
#include "executor/exit_journal.h"
#include "executor/warden.h"
#include "schedules/scheduler.h"
#include "tools/runnel/serve_options.h"

#include <limits.h>

struct server {
    struct serve_options options;
    char url[128], local_url[64], self[512], scratch[PATH_MAX]; /* scratch: for the results of tasks */
    struct warden_process warden;
    struct exit_journal *journal;
    struct rng rng;
    struct env env;
    struct loop *loop;
    struct log *log;
    struct workers *workers;
    struct store *store;
    struct metrics *metrics;
    struct registry *registry;
    struct web *web;
    struct operations *operations;
    struct identity *identity;
    struct policy *policy;
    struct job_invoker invoker;
    struct adapter *adapter;
    struct broker *broker;
    struct runtime *runtime;
    struct prober *prober;
    struct executor *executor;
    struct io *io;
    struct pushers *pushers;
    struct outcalls *outcalls; /* the calls of tasks and schedules */
    struct task_push *task_push;
    struct queues *queues;
    struct target *target_http, *target_pubsub, *target_run;
    struct schedules *schedules;
    struct wall_watch *wall_watch; /* NULL: this kernel tells nobody */
    struct backlog *backlog;
    struct routes *routes;     /* the newest, for the engine's own look-ups */
    struct timer routes_timer; /* coalesces changes into one rebuild */
    struct gauges {
        struct metric *services, *starting, *ready, *stopping, *store_commits, *store_bytes, *store_full;
    } gauges;
    int stopping;       /* how many times we were asked */
    int calls_stopping; /* pushes, schedules, outcalls: those that have not ended */
    int64_t grace_due_ns;
};

/** /healthz and /metrics. */
MUST_USE int serve_pages(struct server *s, struct err *e);
/** Made after the broker and the outcalls. */
MUST_USE int serve_schedules(struct server *s, struct err *e);
void serve_schedules_free(struct server *s);
/** Stops in order; asked a second time, leaves at once. */
void serve_on_signal(void *arg, int signo);

#endif

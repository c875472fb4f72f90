/* serve_stop.c: taking the server down: each step calls the next one when it is done. */
#include "tools/runnel/serve_int.h"

#include <unistd.h>

#define SHUTDOWN_FORCED_EXIT 130
#define DRAIN_MIN_NS NS_PER_S /* for the answers of what was just done, when the grace is used up */

/* The last transaction of all: when it is answered and nothing came after it, nobody waits for the store any more. */
static void on_store_quiet(void *arg, const struct err *e)
{
    struct server *s = arg;
    struct err own = {0};
    struct store_txn *last = NULL;
    if (e || s->store->ops->stats(s->store).bytes_queued == 0 || !(last = store_txn_new()) ||
        store_txn_meta(last, "stopped_wall_s", (uint64_t)(env_wall(&s->env) / NS_PER_S), &own)) {
        store_txn_free(last);
        loop_stop(s->loop);
        return;
    }
    store_submit(s->store, last, on_store_quiet, s);
}

static void on_broker_stopped(void *arg) { on_store_quiet(arg, NULL); }

static void on_runtime_closed(void *arg)
{
    struct server *s = arg;
    broker_stop(s->broker, on_broker_stopped, s);
}

/* Nothing runs any more; the runtime's thread and the warden must not outlive the engine that they write to. */
static void on_executor_stopped(void *arg)
{
    struct server *s = arg;
    s->runtime->ops->close(s->runtime, on_runtime_closed, s);
}

static void on_io_drained(void *arg)
{
    struct server *s = arg;
    executor_stop(s->executor, on_executor_stopped, s);
}

/* The pushes, the schedules, and the calls of both tasks and schedules. */
static void on_calls_stopped(void *arg)
{
    struct server *s = arg;
    if (--s->calls_stopping > 0)
        return;
    int64_t left_ns = s->grace_due_ns - env_now(&s->env); /* one grace for all that is under way */
    io_drain(s->io, left_ns > DRAIN_MIN_NS ? left_ns : DRAIN_MIN_NS, on_io_drained, s);
}

void serve_on_signal(void *arg, int signo)
{
    struct server *s = arg;
    if (s->stopping++ > 0) {
        log_kv(s->log, LOG_WARN, "server.forced", LINT("signal", signo),
               LSTR("note", "asked twice: leaving at once; nothing accepted is lost"));
        _exit(SHUTDOWN_FORCED_EXIT);
    }
    log_kv(s->log, LOG_INFO, "server.stopping", LINT("signal", signo));
    s->grace_due_ns = env_now(&s->env) + s->options.grace_ns;
    broker_end_pulls(s->broker);
    backlog_stop(s->backlog);
    queues_stop(s->queues);
    s->calls_stopping = 3;
    schedules_stop(s->schedules, s->options.grace_ns, on_calls_stopped, s);
    pushers_stop(s->pushers, s->options.grace_ns, on_calls_stopped, s);
    outcalls_stop(s->outcalls, s->options.grace_ns, on_calls_stopped, s);
}

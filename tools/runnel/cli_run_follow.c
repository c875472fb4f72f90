/* cli_run_follow.c: an execution followed until it has started, or ended: a live line, what its tasks write, the exit code. */
#include "core/base/clock.h"
#include "tools/runnel/cli_api.h"
#include "tools/runnel/cli_live.h"
#include "tools/runnel/cli_output.h"
#include "tools/runnel/cli_run_jobs.h"

#include <signal.h>
#include <stdio.h>

#define POLL_START_MS 100
#define POLL_MAX_MS 1000
#define SERVER_GONE_NS (60 * NS_PER_S) /* how long a server may be away: it may be starting anew */
#define MESSAGE_MAX 512

/* What of an execution is looked at, kept outside of the memory of one look. */
struct seen {
    struct live_counts counts;
    char state[32], message[MESSAGE_MAX];
    bool started, over, succeeded;
};
struct following {
    struct cli *c;
    const char *name, *brief, *operation; /* operation: "" or one that ends with it */
    bool to_end;
    struct tail *tail; /* NULL: nobody asked */
    struct live live;
    struct seen seen;
    int64_t gone_ns; /* since when nobody answers; 0: they do */
};

static volatile sig_atomic_t interrupted;
static void on_interrupt(int number) { interrupted = number; }

static int64_t now(void) { return clock_mono_ns(clock_real()); }

static void read_seen(const struct jv *x, struct seen *s)
{
    *s = (struct seen){.counts = {.total = jv_int(x, "taskCount"),
                                  .running = jv_int(x, "runningCount"),
                                  .succeeded = jv_int(x, "succeededCount"),
                                  .failed = jv_int(x, "failedCount"),
                                  .cancelled = jv_int(x, "cancelledCount"),
                                  .retried = jv_int(x, "retriedCount")}};
    snprintf(s->state, sizeof s->state, "%s", run_state(x));
    snprintf(s->message, sizeof s->message, "%s", run_condition(x, "Completed", "message"));
    s->succeeded = strcmp(s->state, "succeeded") == 0;
    s->over = s->succeeded || strcmp(s->state, "failed") == 0 || strcmp(s->state, "cancelled") == 0;
    s->started = s->over || *jv_text(x, "startTime");
}

static void clear(void *arg)
{
    struct following *f = arg;
    live_clear(&f->live);
}

/* An execution whose failed tasks are taken up again still looks ended until that is stored: its operation knows. */
static int ask_operation(struct following *f, struct err *e)
{
    struct jv *operation = NULL;
    struct err inner = {0};
    if (!f->seen.over || !*f->operation)
        return 0;
    const int rc = api_call(f->c, "GET", api_path(f->c, "v2", f->operation, ""), NULL, &operation, &inner);
    if (rc && inner.code == ERR_NOT_FOUND) /* a server that was started anew does not know it any more */
        return 0;
    if (rc) {
        *e = inner;
        return rc;
    }
    if (!jv_true(operation, "done")) {
        f->seen.over = f->seen.succeeded = false;
        snprintf(f->seen.state, sizeof f->seen.state, "pending");
    }
    return 0;
}

/* One look at it; what it wrote until then comes first, so that nothing of it is missing at the end. */
static int look(struct following *f, struct err *e)
{
    struct jv *x = NULL;
    struct arena *kept = cli_scratch_begin(f->c);
    int rc = api_call(f->c, "GET", api_path(f->c, "v2", f->name, ""), NULL, &x, e);
    if (rc == 0)
        read_seen(x, &f->seen);
    rc = rc ? rc : ask_operation(f, e);
    if (rc == 0 && f->tail)
        rc = tail_print(f->tail, f->seen.counts.total > 1, clear, f, e);
    cli_scratch_end(f->c, kept);
    return rc;
}

/* A server that went away may come back, and its executions with it. */
static bool may_come_back(struct following *f, const struct err *e)
{
    if (e->code != ERR_UNAVAILABLE && e->code != ERR_DEADLINE_EXCEEDED)
        return false;
    if (!f->gone_ns) {
        f->gone_ns = now();
        live_clear(&f->live);
        cli_say(f->c, "The server does not answer (%s); trying again for %d s.", e->msg, (int)(SERVER_GONE_NS / NS_PER_S));
    }
    return now() - f->gone_ns < SERVER_GONE_NS;
}

/* Ctrl-C ends the looking, not what is looked at. */
static int left_alone(struct following *f)
{
    live_clear(&f->live);
    cli_say(f->c, "Execution [%s] goes on. Follow it again: runnel run jobs executions wait %s", f->brief, f->brief);
    cli_say(f->c, "End it: runnel run jobs executions cancel %s", f->brief);
    return CLI_INTERRUPTED;
}

static int tell(struct following *f)
{
    struct cli *c = f->c;
    const struct seen *s = &f->seen;
    struct err e = {0};
    if (s->succeeded) {
        cli_say(c, "Execution [%s] has successfully completed.", f->brief);
        return CLI_DONE;
    }
    if (!s->over) {
        cli_say(c, "Execution [%s] has successfully started running.", f->brief);
        cli_say(c, "Follow it: runnel run jobs executions wait %s", f->brief);
        return CLI_DONE;
    }
    const bool was_cancelled = strcmp(s->state, "cancelled") == 0;
    err_set(&e, was_cancelled ? ERR_CANCELLED : ERR_ABORTED, "execution [%s] %s: %s", f->brief, was_cancelled ? "was cancelled" : "failed",
            s->message);
    cli_fail(c, &e);
    if (!was_cancelled && c->verbosity >= CLI_INFO) {
        cli_say(c, "Its failed tasks: runnel run jobs executions tasks list --execution=%s --failed", f->brief);
        cli_say(c, "What they wrote:  runnel run jobs executions logs %s", f->brief);
        cli_say(c, "Only those again: runnel run jobs executions retry-failed %s --wait", f->brief);
    }
    return CLI_FAILED;
}

int execution_follow(struct cli *c, const char *name, const char *operation, bool to_end, bool tail)
{
    /* The second Ctrl-C ends us at once. */
    const struct sigaction take = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};
    struct following f = {.c = c,
                          .name = name,
                          .brief = cli_basename(name),
                          .operation = operation,
                          .to_end = to_end,
                          .tail = tail ? tail_new(c, name) : NULL};
    int64_t pause_ms = POLL_START_MS;
    live_init(&f.live, c, cli_printf(c, "Execution [%s]", f.brief), now());
    if (f.live.terminal)
        cli_say(c, "Execution [%s]:", f.brief);
    sigaction(SIGINT, &take, NULL);
    for (;;) {
        struct err e = {0};
        const int rc = look(&f, &e);
        if (interrupted)
            return left_alone(&f);
        if (rc && !may_come_back(&f, &e)) {
            live_clear(&f.live);
            return cli_fail(c, &e);
        }
        if (rc == 0) {
            f.gone_ns = 0;
            if (!f.to_end && f.seen.started)
                break;
            live_show(&f.live, f.seen.state, &f.seen.counts, now());
            if (f.seen.over)
                break;
        }
        if (!api_pause(pause_ms) && interrupted)
            return left_alone(&f);
        pause_ms += pause_ms < POLL_MAX_MS ? pause_ms / 3 : 0;
    }
    if (f.seen.over)
        live_end(&f.live);
    else
        live_clear(&f.live);
    return tell(&f);
}

/* cli_local.c: which task of a local array runs when, what follows on its end, and how it is told. */
#include "tools/runnel/cli_local_int.h"
#include "core/base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define REDRAW_NS (NS_PER_S / 4)
#define DESCRIPTORS_BESIDES 32 /* what we need apart from two for each program */
#define VARS_OF_A_TASK 5
#define TOLD_BYTES_MAX 120

static int64_t now(void) { return clock_mono_ns(clock_real()); }

/* ---- the fate of a task ---- */

void local_timed_out(struct slot *s)
{
    s->timed_out = true;
    s->l->tasks[s->index].timed_out = true;
}

static void on_retry(struct timer *t, int64_t now_ns)
{
    struct retry *r = CONTAINER_OF(t, struct retry, timer);
    struct local *l = r->l;
    l->due[(l->due_first + l->n_due++) % l->job->tasks] = r->index;
    r->next_spare = l->spare;
    l->spare = r;
}

static int64_t backoff_ns(const struct local_job *job, uint32_t failures)
{
    int64_t ns = job->backoff_min_ns;
    for (uint32_t i = 1; i < failures && ns < job->backoff_max_ns; i++)
        ns *= 2;
    return ns < job->backoff_max_ns ? ns : job->backoff_max_ns;
}

/* False: there is no memory for it, so there is no next attempt. */
static bool try_again(struct local *l, uint32_t index)
{
    struct err e = {0};
    struct retry *r = l->spare ? l->spare : cli_alloc(l->c, sizeof *r);
    l->spare = r->next_spare;
    *r = (struct retry){.l = l, .index = index};
    timer_init(&r->timer, on_retry);
    if (timer_set(l->timers, &r->timer, now() + backoff_ns(l->job, l->tasks[index].attempts), &e))
        return false;
    l->tasks[index].state = LOCAL_BACKOFF;
    return true;
}

static void stop_all(struct local *l)
{
    l->stopping = true;
    for (uint32_t i = 0; i < l->job->parallelism; i++)
        if (l->slots[i].pid)
            slot_stop(&l->slots[i], now());
}

static void attempt_ended(struct local *l, uint32_t index, int status, bool stopped)
{
    struct local_task *t = &l->tasks[index];
    t->status = status;
    if (status == 0 && !t->timed_out) {
        t->state = LOCAL_SUCCEEDED;
        l->counts.succeeded++;
    } else if (stopped) {
        t->state = LOCAL_CANCELLED;
        l->counts.cancelled++;
    } else if (l->stopping || t->attempts > l->job->max_retries || !try_again(l, index)) {
        t->state = LOCAL_FAILED;
        l->counts.failed++;
        if (l->job->stop_after && l->counts.failed >= l->job->stop_after && !l->stopping)
            stop_all(l);
    }
}

static void begin(struct local *l, uint32_t index)
{
    struct local_task *t = &l->tasks[index];
    t->state = LOCAL_RUNNING;
    t->timed_out = false;
    l->counts.retried += t->attempts == 1;
    const int rc = slot_start(l, index, now());
    t->attempts++;
    if (rc) {
        attempt_ended(l, index, rc, false);
        return;
    }
    l->n_running++;
}

static void begin_more(struct local *l)
{
    while (!l->stopping && l->n_running < l->job->parallelism) {
        if (l->n_due) {
            const uint32_t index = l->due[l->due_first];
            l->due_first = (l->due_first + 1) % l->job->tasks;
            l->n_due--;
            begin(l, index);
        } else if (l->next < l->job->tasks) {
            begin(l, l->next++);
        } else {
            return;
        }
    }
}

static void collect(struct local *l)
{
    for (uint32_t i = 0; i < l->job->parallelism; i++) {
        struct slot *s = &l->slots[i];
        int status = 0;
        if (!s->pid || !slot_ended(s, &status))
            continue;
        l->n_running--;
        attempt_ended(l, s->index, status, s->stopping && !s->timed_out);
    }
}

/* ---- waiting ---- */

static void take_signals(struct local *l)
{
    struct signalfd_siginfo info;
    while (read(l->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGCHLD)
            continue;
        if (l->interrupted) { /* the second time: at once */
            for (uint32_t i = 0; i < l->job->parallelism; i++)
                if (l->slots[i].pid)
                    kill(-l->slots[i].pid, SIGKILL);
            continue;
        }
        l->interrupted = true;
        live_clear(&l->live);
        cli_say(l->c, "Stopping %u running tasks; those that have not ended in %d s are killed. Once more: at once.", l->n_running,
                (int)(LOCAL_GRACE_NS / NS_PER_S));
        stop_all(l);
    }
}

static int wait_ms(const struct local *l, int64_t now_ns)
{
    int64_t until = timers_next_ns(l->timers), redraw = now_ns + REDRAW_NS;
    if (l->job->tasks > 1 && redraw < until)
        until = redraw;
    if (until == TIMER_NEVER)
        return -1;
    const int64_t ms = (until - now_ns + NS_PER_MS - 1) / NS_PER_MS;
    return ms < 0 ? 0 : ms > 60000 ? 60000 : (int)ms;
}

static void listen_to_all(struct local *l, struct pollfd *fds, struct slot **owners)
{
    nfds_t n = 0;
    fds[n++] = (struct pollfd){l->signal_fd, POLLIN, 0};
    for (uint32_t i = 0; i < l->job->parallelism; i++) {
        struct slot *s = &l->slots[i];
        const int of_it[] = {s->pid ? s->out.fd : -1, s->pid ? s->err.fd : -1};
        for (size_t k = 0; k < ARRAY_LEN(of_it); k++) {
            owners[n] = s;
            if (of_it[k] >= 0)
                fds[n++] = (struct pollfd){of_it[k], POLLIN, 0};
        }
    }
    if (poll(fds, n, wait_ms(l, now())) < 0)
        return; /* EINTR: look again */
    for (nfds_t i = 1; i < n; i++)
        if (fds[i].revents)
            slot_read(owners[i]);
    take_signals(l);
}

static bool over(const struct local *l)
{
    const bool more = l->counts.succeeded + l->counts.failed + l->counts.cancelled < l->job->tasks;
    return l->n_running == 0 && (l->stopping || !more);
}

static void run_all(struct local *l, struct pollfd *fds, struct slot **owners)
{
    int64_t shown_ns = 0;
    for (;;) {
        begin_more(l);
        if (over(l))
            return;
        listen_to_all(l, fds, owners);
        collect(l);
        timers_run(l->timers, now());
        if (l->job->tasks > 1 && now() - shown_ns >= REDRAW_NS) {
            shown_ns = now();
            l->counts.running = l->n_running;
            live_show(&l->live, l->stopping ? "stopping" : "running", &l->counts, shown_ns);
        }
        if (!l->broken && (fflush(stdout) != 0 || ferror(stdout))) { /* `| head` has seen enough */
            l->broken = true;
            stop_all(l);
        }
    }
}

/* ---- telling ---- */

static const char *how(struct cli *c, const struct local_job *job, const struct local_task *t)
{
    const char *end;
    if (t->status < 0)
        end = cli_printf(c, "could not be started: %s", strerror(-t->status));
    else if (t->timed_out)
        end = cli_printf(c, "timed out after %.3gs", (double)job->timeout_ns / (double)NS_PER_S);
    else if (WIFSIGNALED(t->status))
        end = cli_printf(c, "ended by signal %d (%s)", WTERMSIG(t->status), strsignal(WTERMSIG(t->status)));
    else
        end = cli_printf(c, "exit code %d", WEXITSTATUS(t->status));
    return t->attempts > 1 ? cli_printf(c, "%s, %d attempts", end, t->attempts) : end;
}

static void tell_failed(const struct local *l)
{
    struct cli *c = l->c;
    int64_t told = 0;
    for (uint32_t i = 0; i < l->job->tasks && told < LOCAL_FAILED_TOLD_MAX; i++) {
        if (l->tasks[i].state != LOCAL_FAILED)
            continue;
        const char *input = l->job->inputs ? l->job->inputs[i] : NULL;
        cli_say(c, "  task %u: %s%s%.*s%s", i, how(c, l->job, &l->tasks[i]), input ? "; its input: " : "", TOLD_BYTES_MAX,
                input ? input : "", input && strlen(input) > TOLD_BYTES_MAX ? "..." : "");
        told++;
    }
    if (l->counts.failed > told)
        cli_say(c, "  and %lld more", (long long)(l->counts.failed - told));
}

static int tell(struct local *l, int64_t took_ns)
{
    const int64_t left = l->job->tasks - l->counts.succeeded - l->counts.failed - l->counts.cancelled;
    live_clear(&l->live);
    const char *others = "";
    if (l->counts.cancelled)
        others = cli_printf(l->c, ", %lld cancelled", (long long)l->counts.cancelled);
    if (left)
        others = cli_printf(l->c, "%s, %lld not run", others, (long long)left);
    if (l->job->tasks > 1 || l->counts.succeeded == 0) /* one that succeeded speaks for itself */
        cli_say(l->c, "%u task%s: %lld succeeded, %lld failed%s, %lld retried, in %.1fs.", l->job->tasks, l->job->tasks == 1 ? "" : "s",
                (long long)l->counts.succeeded, (long long)l->counts.failed, others, (long long)l->counts.retried,
                (double)took_ns / (double)NS_PER_S);
    tell_failed(l);
    if (l->interrupted)
        return CLI_INTERRUPTED;
    return l->counts.succeeded == l->job->tasks && !l->broken ? CLI_DONE : CLI_FAILED;
}

/* ---- before and after ---- */

/* Ours, without what is set anew; then what is the same for all tasks. */
static void make_environment(struct local *l)
{
    size_t n = 0, given = 0, k = 0;
    const char *own[] = {cli_printf(l->c, "CLOUD_RUN_JOB=local"), cli_printf(l->c, "CLOUD_RUN_EXECUTION=%s", l->job->execution),
                         cli_printf(l->c, "CLOUD_RUN_TASK_COUNT=%u", l->job->tasks)};
    while (environ[n])
        n++;
    while (l->job->vars[given])
        given++;
    l->environment = cli_alloc(l->c, (n + given + ARRAY_LEN(own) + VARS_OF_A_TASK) * sizeof *l->environment);
    for (size_t i = 0; i < n; i++) {
        bool kept = strncmp(environ[i], "CLOUD_RUN_", 10) != 0 && strncmp(environ[i], "RUNNEL_TASK_INPUT=", 18) != 0 &&
                    strncmp(environ[i], "RUNNEL_RESULT=", 14) != 0;
        for (size_t v = 0; v < given && kept; v++) {
            const size_t name = strcspn(l->job->vars[v], "=") + 1;
            kept = strncmp(environ[i], l->job->vars[v], name) != 0;
        }
        if (kept)
            l->environment[k++] = environ[i];
    }
    for (size_t i = 0; i < given; i++)
        l->environment[k++] = cli_copy(l->c, str_of(l->job->vars[i]));
    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        l->environment[k++] = cli_copy(l->c, str_of(own[i]));
    l->n_fixed = k;
}

static int check_descriptors(const struct local_job *job, struct err *e)
{
    struct rlimit limit;
    const rlim_t need = 2 * (rlim_t)job->parallelism + DESCRIPTORS_BESIDES;
    if (job->tasks == 1 || getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= need)
        return 0;
    return err_set(e, ERR_FAILED_PRECONDITION,
                   "%u tasks at once need %llu open files, and %llu are allowed: lower --parallelism, or `ulimit -n %llu`",
                   job->parallelism, (unsigned long long)need, (unsigned long long)limit.rlim_cur, (unsigned long long)need);
}

/* A program that writes a result must be able to, whether anybody wants to see it or not. */
static int open_results(struct local *l, struct err *e)
{
    const char *dir = l->job->results, *tmp = getenv("TMPDIR");
    char path[PATH_MAX];
    if (dir && mkdir(dir, 0777) != 0 && errno != EEXIST)
        return err_sys(e, ERR_FAILED_PRECONDITION, errno, "the folder %.200s of the results cannot be made", dir);
    if (!dir) {
        char *made = cli_copy(l->c, str_of(cli_printf(l->c, "%s/runnel-results-XXXXXX", tmp && *tmp ? tmp : "/tmp")));
        if (!(dir = mkdtemp(made)))
            return err_sys(e, ERR_FAILED_PRECONDITION, errno, "no folder for results can be made in %.200s", made);
    }
    if (!realpath(dir, path) || access(path, W_OK) != 0)
        return err_sys(e, ERR_FAILED_PRECONDITION, errno, "results cannot be written into %.200s", dir);
    l->results = cli_copy(l->c, str_of(path));
    return 0;
}

static int open_all(struct local *l, struct err *e)
{
    const struct sigaction ignore = {.sa_handler = SIG_IGN};
    if (check_descriptors(l->job, e) || open_results(l, e))
        return -(int)e->code;
    if (!(l->timers = timers_new()))
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory");
    sigemptyset(&l->signals);
    sigaddset(&l->signals, SIGCHLD);
    sigaddset(&l->signals, SIGINT);
    sigaddset(&l->signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &l->signals, &l->before);
    sigaction(SIGPIPE, &ignore, NULL); /* our programs do not end because nobody reads */
    l->signal_fd = signalfd(-1, &l->signals, SFD_CLOEXEC | SFD_NONBLOCK);
    l->null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (l->signal_fd < 0 || l->null_fd < 0)
        return err_sys(e, ERR_RESOURCE_EXHAUSTED, errno, "cannot open what is needed to run programs");
    return 0;
}

static void close_all(struct local *l)
{
    if (l->results && !l->job->results)
        rmdir(l->results);
    if (l->signal_fd >= 0)
        close(l->signal_fd);
    if (l->null_fd >= 0)
        close(l->null_fd);
    timers_free(l->timers);
}

int local_run(struct cli *c, const struct local_job *job)
{
    struct local l = {.c = c, .job = job, .signal_fd = -1, .null_fd = -1, .counts = {.total = job->tasks}};
    struct err e = {0};
    const int64_t began_ns = now();
    if (open_all(&l, &e)) {
        close_all(&l);
        return cli_fail(c, &e);
    }
    l.tasks = cli_alloc(c, job->tasks * sizeof *l.tasks);
    l.due = cli_alloc(c, job->tasks * sizeof *l.due);
    l.slots = cli_alloc(c, job->parallelism * sizeof *l.slots);
    struct pollfd *fds = cli_alloc(c, (2 * job->parallelism + 1) * sizeof *fds);
    struct slot **owners = cli_alloc(c, (2 * job->parallelism + 2) * sizeof(struct slot *));
    make_environment(&l);
    live_init(&l.live, c, "Local execution", began_ns);
    snprintf(l.live.state, sizeof l.live.state, "running"); /* which nobody needs to be told */
    run_all(&l, fds, owners);
    close_all(&l);
    return tell(&l, now() - began_ns);
}

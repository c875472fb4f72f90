/* cli_local_run.c: one attempt of a local task as processes: started, listened to, stopped, all of it ended. */
#include "tools/runnel/cli_local_int.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- what it says ---- */

static void print_line(struct slot *s, struct stream *st, struct str line)
{
    live_clear(&s->l->live);
    fprintf(st->to, "[%u] ", s->index);
    if (line.n)
        fwrite(line.p, 1, line.n, st->to);
    putc('\n', st->to);
}

static void print_whole_lines(struct slot *s, struct stream *st, bool all)
{
    for (;;) {
        const struct str text = buf_str(&st->buf);
        const char *stop = text.n ? memchr(text.p, '\n', text.n) : NULL;
        if (!stop && text.n < (all ? 1 : LOCAL_LINE_MAX))
            return;
        const size_t n = stop ? (size_t)(stop - text.p) : text.n;
        print_line(s, st, (struct str){text.p, n});
        buf_consume(&st->buf, n + (stop ? 1 : 0));
    }
}

static void stream_close(struct slot *s, struct stream *st)
{
    if (st->fd < 0)
        return;
    print_whole_lines(s, st, true);
    close(st->fd);
    st->fd = -1;
    buf_fini(&st->buf);
}

/* As much as there is; no program keeps us from the others by writing without end. */
static void stream_read(struct slot *s, struct stream *st)
{
    for (int turns = 0; st->fd >= 0 && turns < 4; turns++) {
        char *room = buf_reserve(&st->buf, LOCAL_LINE_MAX - buf_len(&st->buf));
        if (!room) {
            print_whole_lines(s, st, true); /* out of memory: what we have goes out */
            return;
        }
        const ssize_t n = read(st->fd, room, LOCAL_LINE_MAX - buf_len(&st->buf));
        if (n > 0) {
            buf_commit(&st->buf, (size_t)n);
            print_whole_lines(s, st, false);
        } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            stream_close(s, st);
        } else {
            return;
        }
    }
}

void slot_read(struct slot *s)
{
    stream_read(s, &s->out);
    stream_read(s, &s->err);
}

/* ---- starting ---- */

static const char *local_result(struct local *l, uint32_t index) { return cli_printf(l->c, "%s/%u", l->results, index); }

/* Of the attempt before, or of one that nobody wants to see. */
static void drop_result(struct local *l, uint32_t index)
{
    struct arena *kept = cli_scratch_begin(l->c);
    unlink(local_result(l, index));
    cli_scratch_end(l->c, kept);
}

/* What a task is told about itself, above what all of them get. */
static char **environment_of(struct local *l, uint32_t index)
{
    struct cli *c = l->c;
    size_t n = l->n_fixed;
    l->environment[n++] = cli_printf(c, "CLOUD_RUN_TASK_INDEX=%u", index);
    l->environment[n++] = cli_printf(c, "CLOUD_RUN_TASK_ATTEMPT=%u", l->tasks[index].attempts);
    l->environment[n++] = cli_printf(c, "RUNNEL_RESULT=%s", local_result(l, index));
    if (l->job->inputs)
        l->environment[n++] = cli_printf(c, "RUNNEL_TASK_INPUT=%s", l->job->inputs[index]);
    l->environment[n] = NULL;
    return l->environment;
}

static int spawn_with(struct local *l, uint32_t index, int out, int err, pid_t *pid)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t how;
    sigset_t defaults;
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    int rc = posix_spawn_file_actions_init(&files);
    if (rc)
        return rc;
    if ((rc = posix_spawnattr_init(&how))) {
        posix_spawn_file_actions_destroy(&files);
        return rc;
    }
    rc = posix_spawn_file_actions_adddup2(&files, l->null_fd, STDIN_FILENO);
    rc = rc || out < 0 ? rc : posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO);
    rc = rc || err < 0 ? rc : posix_spawn_file_actions_adddup2(&files, err, STDERR_FILENO);
    rc = rc ? rc : posix_spawnattr_setflags(&how, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    rc = rc ? rc : posix_spawnattr_setpgroup(&how, 0);
    rc = rc ? rc : posix_spawnattr_setsigmask(&how, &l->before);
    rc = rc ? rc : posix_spawnattr_setsigdefault(&how, &defaults);
    struct arena *kept = cli_scratch_begin(l->c);
    rc = rc ? rc : posix_spawn(pid, l->job->program, &files, &how, l->job->argv, environment_of(l, index));
    cli_scratch_end(l->c, kept);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&how);
    return rc;
}

static int pipe_to_us(int ends[2])
{
    if (pipe2(ends, O_CLOEXEC))
        return errno;
    if (fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0)
        return 0;
    const int rc = errno;
    close(ends[0]);
    close(ends[1]);
    return rc;
}

static void close_both(const int ends[2])
{
    if (ends[0] >= 0)
        close(ends[0]);
    if (ends[1] >= 0)
        close(ends[1]);
}

/* A task alone writes where we do; of several, each line must say whose it is. */
static int spawn_piped(struct local *l, uint32_t index, struct slot *s, pid_t *pid)
{
    int out[2] = {-1, -1}, err[2] = {-1, -1};
    int rc = l->job->tasks > 1 ? pipe_to_us(out) : 0;
    rc = rc || l->job->tasks == 1 ? rc : pipe_to_us(err);
    rc = rc ? rc : spawn_with(l, index, out[1], err[1], pid);
    if (rc) {
        close_both(out);
        close_both(err);
        return rc;
    }
    if (out[1] >= 0) {
        close(out[1]);
        close(err[1]);
        buf_init(&s->out.buf, LOCAL_LINE_MAX);
        buf_init(&s->err.buf, LOCAL_LINE_MAX);
    }
    s->out.fd = out[0];
    s->err.fd = err[0];
    return 0;
}

static struct slot *free_slot(struct local *l)
{
    for (uint32_t i = 0; i < l->job->parallelism; i++)
        if (!l->slots[i].pid)
            return &l->slots[i];
    return NULL;
}

static void on_time(struct timer *t, int64_t now_ns)
{
    struct slot *s = CONTAINER_OF(t, struct slot, timer);
    if (s->stopping) {
        kill(-s->pid, SIGKILL);
        return;
    }
    local_timed_out(s);
    slot_stop(s, now_ns);
}

int slot_start(struct local *l, uint32_t index, int64_t now_ns)
{
    struct slot *s = free_slot(l);
    pid_t pid = 0;
    *s = (struct slot){.l = l, .index = index, .out = {.fd = -1, .to = stdout}, .err = {.fd = -1, .to = stderr}};
    drop_result(l, index);
    const int rc = spawn_piped(l, index, s, &pid);
    if (rc)
        return -rc;
    timer_init(&s->timer, on_time);
    s->pid = pid;
    struct err e = {0};
    if (l->job->timeout_ns && timer_set(l->timers, &s->timer, now_ns + l->job->timeout_ns, &e))
        slot_stop(s, now_ns); /* out of memory: nothing runs without its timeout */
    return 0;
}

/* ---- ending ---- */

void slot_stop(struct slot *s, int64_t now_ns)
{
    struct err e = {0};
    if (s->stopping)
        return;
    s->stopping = true;
    kill(-s->pid, SIGTERM);
    if (timer_set(s->l->timers, &s->timer, now_ns + LOCAL_GRACE_NS, &e))
        kill(-s->pid, SIGKILL);
}

bool slot_ended(struct slot *s, int *status)
{
    siginfo_t info = {0};
    if (waitid(P_PID, (id_t)s->pid, &info, WEXITED | WNOHANG | WNOWAIT) || info.si_pid == 0)
        return false;
    kill(-s->pid, SIGKILL); /* before it is waited for: so long nobody else can have its number */
    while (waitpid(s->pid, status, 0) < 0 && errno == EINTR)
        ;
    timer_cancel(s->l->timers, &s->timer);
    if (!s->l->job->results)
        drop_result(s->l, s->index);
    slot_read(s);
    stream_close(s, &s->out);
    stream_close(s, &s->err);
    s->pid = 0;
    return true;
}

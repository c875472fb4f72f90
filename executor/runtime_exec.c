/** runtime_exec.c: programs as plain processes: a thread that talks to the warden, reads what the programs write and passes
 *                  the events on to the engine.
 *  Shape:  engine: start -> mail -> thread: frame to the warden … frame from it -> mail -> engine: events. An instance's
 *          batches and its exit are posted in order, and nothing after the exit: then the engine frees it.
 *          When the warden dies, all its instances have exited; another is started for the next program. */
#include "executor/exec_lines.h"
#include "executor/exec_resolve.h"
#include "executor/runtime.h"
#include "executor/warden.h"

#include "core/base/list.h"
#include "core/base/map.h"
#include "core/loop/thread.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define READ_BYTES 65536
#define FLOOD_PAUSE_NS (10 * NS_PER_MS) /* a stream above its budget is read again after this */
#define USAGE_EVERY_NS NS_PER_S
#define PORT_TRIES 64
#define ORPHAN_TRIES 100

struct exec_runtime;
struct stream {
    struct runtime_instance *inst;
    struct line_stream lines;
    int fd; /* -1 closed */
    struct loop_fd *watch;
    struct timer pause;
};
struct runtime_instance {
    struct exec_runtime *rt;
    uint64_t key, lane;
    uint32_t lane_width;
    /* engine's */
    struct node link;
    struct runtime_events events;
    void *arg;
    uint16_t port;
    char mark[96]; /* in its environment */
    /* given over with the start mail, then the thread's */
    struct mail start_mail, started_mail, exit_mail;
    int spec_fd, write_fds[2];
    struct stream streams[2];
    struct line_budget budget;
    struct runtime_exit exit;
    int64_t pid;
    _Atomic int64_t cpu_ns;
    _Atomic uint64_t memory_bytes;
};
struct order {
    struct mail mail;
    struct exec_runtime *rt;
    uint64_t key; /* of an instance; WEIGH: a group */
    enum warden_op op;
    int number; /* a signal; a weight */
};
struct exec_runtime {
    struct runtime base;
    const struct env *env;
    struct mailbox *engine;
    struct thread *thread;
    struct loop *loop;
    char *self;
    int journal_fd; /* the warden's; -1 none */
    /* engine's */
    uint64_t next_key;
    struct list instances;
    uint8_t ports[65536 / 8]; /* given to an instance that is not gone */
    bool closing;
    void (*closed)(void *arg);
    void *closed_arg;
    struct mail close_mail, closed_mail;
    /* thread's */
    int sock; /* to the warden; -1 none */
    pid_t warden_pid;
    struct loop_fd *sock_watch;
    struct u64map *by_key;
    struct timer usage_timer;
    bool limits_said;
    char read_buf[READ_BYTES];
};

static struct exec_runtime *exec_of(struct runtime *rt) { return CONTAINER_OF(rt, struct exec_runtime, base); }

/* ---- what comes to the engine */

static void on_started(struct mail *m)
{
    struct runtime_instance *i = CONTAINER_OF(m, struct runtime_instance, started_mail);
    i->events.on_started(i->arg, i->pid, i->port);
}

static void on_batch(struct mail *m)
{
    struct line_batch *b = CONTAINER_OF(m, struct line_batch, mail);
    struct runtime_instance *i = b->arg;
    lines_each(b, i->events.on_line, i->arg);
    line_batch_free(b);
}

static void instance_free(struct runtime_instance *i)
{
    int fds[] = {i->spec_fd, i->write_fds[0], i->write_fds[1], i->streams[0].fd, i->streams[1].fd};
    for (size_t k = 0; k < ARRAY_LEN(fds); k++)
        if (fds[k] >= 0)
            close(fds[k]);
    line_stream_fini(&i->streams[0].lines);
    line_stream_fini(&i->streams[1].lines);
    free(i);
}

static void on_exit_mail(struct mail *m)
{
    struct runtime_instance *i = CONTAINER_OF(m, struct runtime_instance, exit_mail);
    struct exec_runtime *rt = i->rt;
    list_remove(&rt->instances, &i->link);
    rt->ports[i->port / 8] &= (uint8_t) ~(1u << (i->port % 8));
    i->events.on_exit(i->arg, &i->exit);
    instance_free(i);
}

/* ---- thread: streams */

static void stream_close(struct stream *s)
{
    timer_cancel(loop_timers(s->inst->rt->loop), &s->pause);
    if (s->watch)
        loop_fd_free(s->watch);
    s->watch = NULL;
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
}

static void batch_post(struct exec_runtime *rt, struct line_batch *b)
{
    if (b && buf_len(&b->records) > 0)
        mailbox_post(rt->engine, &b->mail);
    else
        line_batch_free(b);
}

/* Reads once; false when there is nothing more now (then it may be closed). */
static bool stream_read(struct stream *s, bool *within_budget)
{
    struct runtime_instance *i = s->inst;
    struct exec_runtime *rt = i->rt;
    const struct clock *clock = loop_clock(rt->loop);
    ssize_t n = s->fd < 0 ? -1 : read(s->fd, rt->read_buf, READ_BYTES);
    if (n < 0)
        return s->fd >= 0 && errno == EINTR;
    struct line_batch *b = line_batch_new(&i->budget, i, on_batch);
    if (n == 0) {
        lines_end(&s->lines, &i->budget, b, loop_now(rt->loop), clock_wall_ns(clock));
        stream_close(s);
    } else {
        *within_budget =
            lines_add(&s->lines, &i->budget, b, (struct str){rt->read_buf, (size_t)n}, loop_now(rt->loop), clock_wall_ns(clock));
    }
    batch_post(rt, b);
    return n > 0;
}

static void on_readable(void *arg, int events)
{
    struct stream *s = arg;
    bool within = true;
    stream_read(s, &within);
    struct err e;
    /* The program then waits for its pipe instead of this thread turning what it writes into nothing. */
    if (!within && s->watch && timer_set(loop_timers(s->inst->rt->loop), &s->pause, loop_now(s->inst->rt->loop) + FLOOD_PAUSE_NS, &e) == 0)
        loop_fd_want(s->watch, 0);
}

static void on_pause_over(struct timer *t, int64_t now_ns)
{
    struct stream *s = CONTAINER_OF(t, struct stream, pause);
    if (s->watch)
        loop_fd_want(s->watch, LOOP_READ);
}

/* ---- thread: instances */

/* The end of an instance, whatever it was: take what it still wrote, then tell the engine. */
static void instance_gone(struct runtime_instance *i)
{
    struct exec_runtime *rt = i->rt;
    u64map_remove(rt->by_key, i->key);
    if (u64map_count(rt->by_key) == 0)
        timer_cancel(loop_timers(rt->loop), &rt->usage_timer);
    for (int k = 0; k < 2; k++) {
        struct stream *s = &i->streams[k];
        bool within = true;
        /* A pipe holds little; the bound is for what might still write into it. */
        for (int reads = 0; reads < 64 && s->fd >= 0 && stream_read(s, &within); reads++)
            ;
        if (s->fd >= 0) {
            struct line_batch *b = line_batch_new(&i->budget, i, on_batch);
            lines_end(&s->lines, &i->budget, b, loop_now(rt->loop), clock_wall_ns(loop_clock(rt->loop)));
            batch_post(rt, b);
        }
        stream_close(s);
    }
    mailbox_post(rt->engine, &i->exit_mail);
}

FMT(2, 3) static void instance_failed(struct runtime_instance *i, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(i->exit.why, sizeof i->exit.why, fmt, ap);
    va_end(ap);
    i->exit.exit_code = -1;
    instance_gone(i);
}

static bool take_frames(struct exec_runtime *rt);

static bool send_frame(struct exec_runtime *rt, const struct warden_frame *f, const int *fds, size_t n_fds)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(3 * sizeof(int))];
    } control = {0};
    struct iovec iov = {(void *)(uintptr_t)f, sizeof *f};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    if (n_fds) {
        m.msg_control = control.bytes;
        m.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
    }
    ssize_t n;
    /* Waits while the warden is behind: it does nothing slow. But it may be waiting for us to read what it has to say. */
    while ((n = sendmsg(rt->sock, &m, MSG_NOSIGNAL | MSG_DONTWAIT)) < 0 && (errno == EINTR || errno == EAGAIN)) {
        struct pollfd p = {.fd = rt->sock, .events = POLLIN | POLLOUT};
        if (errno == EAGAIN && poll(&p, 1, -1) > 0 && p.revents & POLLIN)
            take_frames(rt);
    }
    return n == sizeof *f;
}

/* ---- thread: the warden */

static void on_warden(void *arg, int events);

/* Where it writes the ends of tasks. Without it they are lost with the server, and run again. */
static void send_journal(struct exec_runtime *rt)
{
    struct warden_frame f = {.magic = WARDEN_MAGIC, .op = WARDEN_JOURNAL};
    if (rt->journal_fd >= 0 && !send_frame(rt, &f, &rt->journal_fd, 1))
        log_kv(rt->env->log, LOG_WARN, "warden.no_journal", LINT("errno", errno));
}

static int warden_watch(struct exec_runtime *rt, const struct warden_process *w, struct err *e)
{
    rt->sock = w->sock;
    rt->warden_pid = w->pid;
    rt->sock_watch = loop_fd_new(rt->loop, rt->sock, on_warden, rt, e);
    if (!rt->sock_watch) {
        close(rt->sock); /* ends the warden */
        rt->sock = -1;
        waitpid(rt->warden_pid, NULL, 0);
        return -(int)e->code;
    }
    loop_fd_want(rt->sock_watch, LOOP_READ);
    send_journal(rt);
    return 0;
}

static int warden_up(struct exec_runtime *rt, struct err *e)
{
    struct warden_process w;
    if (rt->sock >= 0)
        return 0;
    int rc = warden_spawn(&w, rt->self, e);
    return rc ? rc : warden_watch(rt, &w, e);
}

/* Close the connection, which makes the warden kill everything and end, and wait for that. */
static void warden_down(struct exec_runtime *rt)
{
    if (rt->sock < 0)
        return;
    loop_fd_free(rt->sock_watch);
    close(rt->sock);
    rt->sock = -1;
    while (waitpid(rt->warden_pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

static void fail_all(struct exec_runtime *rt, bool lost, const char *why)
{
    size_t it = 0;
    uint64_t key;
    void *v;
    while (u64map_next(rt->by_key, &it, &key, &v)) {
        struct runtime_instance *i = v;
        i->exit.started = i->pid > 0;
        i->exit.signal = i->pid > 0 ? SIGKILL : 0;
        i->exit.lost = lost;
        instance_failed(i, "%s", why);
    }
}

/* The kernel killed the programs with the warden, but not what they had started. */
static void kill_orphans(struct exec_runtime *rt)
{
    size_t it = 0;
    uint64_t key;
    void *v;
    while (u64map_next(rt->by_key, &it, &key, &v))
        for (int tries = 0; tries < ORPHAN_TRIES && warden_kill_marked(((struct runtime_instance *)v)->mark) > 0; tries++)
            poll(NULL, 0, 1);
}

static void frame_exited(struct runtime_instance *i, const struct warden_frame *f)
{
    i->exit = (struct runtime_exit){.started = true, .exit_code = f->a, .signal = f->b, .out_of_memory = f->c != 0};
    if (f->c)
        snprintf(i->exit.why, sizeof i->exit.why, "killed: it used more memory than its limit");
    else if (f->b)
        snprintf(i->exit.why, sizeof i->exit.why, "ended by signal %d (%s)", f->b, strsignal(f->b));
    else
        snprintf(i->exit.why, sizeof i->exit.why, "exited with code %d", f->a);
    instance_gone(i);
}

static void take_frame(struct exec_runtime *rt, const struct warden_frame *f)
{
    if (f->op == WARDEN_HELLO && !f->a && !rt->limits_said) {
        rt->limits_said = true;
        log_kv(rt->env->log, LOG_WARN, "executor.no_limits",
               LSTR("message", "this host gives us no control groups for these: programs run without such limits, and without cpu "
                               "runnel.dev/weight has no effect on who gets the CPU"),
               LSTR("missing", f->text));
    }
    struct runtime_instance *i = u64map_get(rt->by_key, f->key);
    if (!i)
        return;
    if (f->op == WARDEN_STARTED && !i->pid) {
        i->pid = f->a;
        mailbox_post(rt->engine, &i->started_mail);
    } else if (f->op == WARDEN_FAILED) {
        struct err e;
        err_sys(&e, ERR_UNAVAILABLE, f->a, "%s", f->text);
        instance_failed(i, "%s", e.msg);
    } else if (f->op == WARDEN_EXITED) {
        frame_exited(i, f);
    }
}

/* All that has come. False: the warden ended. */
static bool take_frames(struct exec_runtime *rt)
{
    for (;;) {
        struct warden_frame f;
        ssize_t n = recv(rt->sock, &f, sizeof f, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return true;
        if (n <= 0)
            return false;
        if (n == sizeof f && f.magic == WARDEN_MAGIC) {
            f.text[sizeof f.text - 1] = '\0';
            take_frame(rt, &f);
        }
    }
}

static void on_warden(void *arg, int events)
{
    struct exec_runtime *rt = arg;
    if (take_frames(rt))
        return;
    log_kv(rt->env->log, LOG_ERROR, "executor.warden_lost", LINT("pid", rt->warden_pid), LINT("instances", u64map_count(rt->by_key)),
           LSTR("message", "the warden ended; its programs were killed with it"));
    warden_down(rt);
    kill_orphans(rt);
    fail_all(rt, true, "was killed: the warden process ended unexpectedly");
}

/* ---- thread: orders */

static int stream_open(struct exec_runtime *rt, struct stream *s, struct err *e)
{
    s->watch = loop_fd_new(rt->loop, s->fd, on_readable, s, e);
    if (!s->watch)
        return -(int)e->code;
    loop_fd_want(s->watch, LOOP_READ);
    return 0;
}

static void close_fds(int *fds, size_t n)
{
    for (size_t k = 0; k < n; k++) {
        if (fds[k] >= 0)
            close(fds[k]);
        fds[k] = -1;
    }
}

static void on_start(struct mail *m)
{
    struct runtime_instance *i = CONTAINER_OF(m, struct runtime_instance, start_mail);
    struct exec_runtime *rt = i->rt;
    struct err e;
    line_budget_init(&i->budget, loop_now(rt->loop));
    int rc = warden_up(rt, &e);
    rc = rc ? rc : u64map_put(rt->by_key, i->key, i, &e);
    rc = rc ? rc : stream_open(rt, &i->streams[0], &e);
    rc = rc ? rc : stream_open(rt, &i->streams[1], &e);
    int fds[3] = {i->spec_fd, i->write_fds[0], i->write_fds[1]};
    struct warden_frame f = {.magic = WARDEN_MAGIC, .op = WARDEN_START, .key = i->key, .lane = i->lane, .a = (int32_t)i->lane_width};
    if (rc == 0 && (i->exit.lost = !send_frame(rt, &f, fds, 3)))
        rc = err_sys(&e, ERR_UNAVAILABLE, errno, "the warden could not be reached");
    close_fds(&i->spec_fd, 1);
    close_fds(i->write_fds, 2);
    if (rc) {
        instance_failed(i, "%.240s", e.msg);
        return;
    }
    if (!timer_armed(&rt->usage_timer) && timer_set(loop_timers(rt->loop), &rt->usage_timer, loop_now(rt->loop) + USAGE_EVERY_NS, &e))
        log_kv(rt->env->log, LOG_WARN, "executor.no_usage", LSTR("error", e.msg));
}

static void on_order(struct mail *m)
{
    struct order *o = CONTAINER_OF(m, struct order, mail);
    if (o->rt->sock >= 0 && (o->op == WARDEN_WEIGH || u64map_get(o->rt->by_key, o->key))) {
        struct warden_frame f = {.magic = WARDEN_MAGIC, .op = o->op, .key = o->key, .a = o->number};
        send_frame(o->rt, &f, NULL, 0); /* a failure shows as the warden's end */
    }
    free(o);
}

static void on_close(struct mail *m)
{
    struct exec_runtime *rt = CONTAINER_OF(m, struct exec_runtime, close_mail);
    warden_down(rt);
    fail_all(rt, false, "killed: the server stops");
    mailbox_post(rt->engine, &rt->closed_mail);
    loop_stop(rt->loop);
}

/* ---- thread: usage */

static void sample_usage(struct runtime_instance *i)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%lld/stat", (long long)i->pid);
    int fd = i->pid > 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    const char *after = strrchr(text, ')');
    unsigned long user, system;
    long rss;
    /* Fields 14, 15 (clock ticks) and 24 (pages) of proc(5). */
    if (!after || sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %*d %*d %*u %*u %ld", &user,
                         &system, &rss) != 3)
        return;
    atomic_store(&i->cpu_ns, (int64_t)(user + system) * (NS_PER_S / sysconf(_SC_CLK_TCK)));
    atomic_store(&i->memory_bytes, (uint64_t)(rss > 0 ? rss : 0) * (uint64_t)sysconf(_SC_PAGESIZE));
}

static void on_usage_timer(struct timer *t, int64_t now_ns)
{
    struct exec_runtime *rt = CONTAINER_OF(t, struct exec_runtime, usage_timer);
    size_t it = 0;
    uint64_t key;
    void *v;
    while (u64map_next(rt->by_key, &it, &key, &v))
        sample_usage(v);
    struct err e;
    if (u64map_count(rt->by_key) > 0 && timer_set(loop_timers(rt->loop), t, now_ns + USAGE_EVERY_NS, &e))
        log_kv(rt->env->log, LOG_WARN, "executor.no_usage", LSTR("error", e.msg));
}

/* ---- engine: start */

static int pick_port(struct exec_runtime *rt, uint16_t *port, struct err *e)
{
    for (int tries = 0; tries < PORT_TRIES; tries++) {
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t len = sizeof a;
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        bool ok = fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && getsockname(fd, (struct sockaddr *)&a, &len) == 0;
        int sys = errno;
        if (fd >= 0)
            close(fd);
        if (!ok)
            return err_sys(e, ERR_RESOURCE_EXHAUSTED, sys, "no free port for the instance");
        uint16_t p = ntohs(a.sin_port);
        /* The kernel may offer one again that an instance was told but has not bound yet. */
        if (rt->ports[p / 8] & (1u << (p % 8)))
            continue;
        rt->ports[p / 8] |= (uint8_t)(1u << (p % 8));
        *port = p;
        return 0;
    }
    return err_set(e, ERR_RESOURCE_EXHAUSTED, "no free port for the instance");
}

static int add_string(struct buf *b, const char *z) { return buf_add(b, z, strlen(z) + 1); }

static int build_spec(struct buf *b, const struct runtime_instance *i, const struct runtime_spec *spec, const struct exec_program *x)
{
    struct warden_spec head = {.magic = WARDEN_MAGIC,
                               .cpu_millis = spec->cpu_millis,
                               .weight = spec->weight,
                               .memory_bytes = spec->memory_bytes,
                               .group = spec->group,
                               .ticket = {spec->ticket[0], spec->ticket[1]}};
    size_t first = x->own && spec->argv && spec->argv[0] ? 1 : 0;
    char port_text[16];
    snprintf(port_text, sizeof port_text, "PORT=%u", i->port);
    int rc = buf_add(b, &head, sizeof head);
    const char *const start[] = {x->program, x->dir, spec->id};
    for (size_t k = 0; k < 3 && !rc; k++)
        rc = add_string(b, start[k]);
    if (x->own && !rc) {
        rc = add_string(b, x->program);
        head.argc++;
    }
    for (size_t k = first; spec->argv && spec->argv[k] && !rc; k++, head.argc++)
        rc = add_string(b, spec->argv[k]);
    rc = rc ? rc : add_string(b, i->mark);
    head.envc = 1;
    if (spec->wants_port && !rc) {
        rc = add_string(b, port_text);
        head.envc++;
    }
    for (size_t k = 0; spec->env && spec->env[k] && !rc; k++, head.envc++)
        rc = add_string(b, spec->env[k]);
    if (!rc)
        memcpy(buf_data(b), &head, sizeof head);
    return rc;
}

static int write_spec(struct runtime_instance *i, const struct runtime_spec *spec, struct err *e)
{
    struct exec_program *x = malloc(sizeof *x); /* two paths: large for a stack */
    if (!x)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory");
    struct buf b;
    buf_init(&b, WARDEN_SPEC_MAX);
    int rc = exec_resolve(spec->image, spec->argv, spec->working_dir, x, e);
    if (rc == 0 && build_spec(&b, i, spec, x))
        rc = err_set(e, ERR_INVALID_ARGUMENT, "arguments and environment are larger than %u bytes", WARDEN_SPEC_MAX);
    if (rc == 0) {
        i->spec_fd = memfd_create("runnel-spec", MFD_CLOEXEC);
        if (i->spec_fd < 0 || write(i->spec_fd, buf_data(&b), buf_len(&b)) != (ssize_t)buf_len(&b))
            rc = err_sys(e, ERR_RESOURCE_EXHAUSTED, errno, "no memory for the program's description");
    }
    buf_fini(&b);
    free(x);
    return rc;
}

static int open_pipes(struct runtime_instance *i, struct err *e)
{
    for (int k = 0; k < 2; k++) {
        int fds[2];
        if (pipe2(fds, O_CLOEXEC) != 0)
            return err_sys(e, ERR_RESOURCE_EXHAUSTED, errno, "no pipe for the program's output");
        i->streams[k].fd = fds[0];
        i->write_fds[k] = fds[1];
        fcntl(fds[0], F_SETFL, O_NONBLOCK);
    }
    return 0;
}

static int exec_start(struct runtime *base, const struct runtime_spec *spec, const struct runtime_events *events, void *arg,
                      struct runtime_instance **out, struct err *e)
{
    struct exec_runtime *rt = exec_of(base);
    assert(!rt->closing);
    struct runtime_instance *i = calloc(1, sizeof *i);
    if (!i)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory");
    i->rt = rt;
    i->key = ++rt->next_key;
    i->lane = spec->lane;
    i->lane_width = spec->lane_width;
    snprintf(i->mark, sizeof i->mark, "%s%s", WARDEN_MARK, spec->id);
    i->events = *events;
    i->arg = arg;
    i->spec_fd = i->write_fds[0] = i->write_fds[1] = -1;
    node_init(&i->link);
    for (int k = 0; k < 2; k++) {
        i->streams[k].inst = i;
        i->streams[k].fd = -1;
        line_stream_init(&i->streams[k].lines, k == 1);
        timer_init(&i->streams[k].pause, on_pause_over);
    }
    i->start_mail.deliver = on_start;
    i->started_mail.deliver = on_started;
    i->exit_mail.deliver = on_exit_mail;
    int rc = spec->wants_port ? pick_port(rt, &i->port, e) : 0;
    rc = rc ? rc : write_spec(i, spec, e);
    rc = rc ? rc : open_pipes(i, e);
    if (rc) {
        rt->ports[i->port / 8] &= (uint8_t) ~(1u << (i->port % 8));
        instance_free(i);
        return rc;
    }
    list_append(&rt->instances, &i->link);
    *out = i;
    mailbox_post(loop_mailbox(rt->loop), &i->start_mail);
    return 0;
}

/* ---- engine: the rest of the vtable */

static int exec_check(struct runtime *rt, const char *image, const char *const *argv, struct err *e)
{
    struct exec_program *x = malloc(sizeof *x);
    if (!x)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory");
    int rc = exec_resolve(image, argv, NULL, x, e);
    free(x);
    return rc;
}

static void order(struct exec_runtime *rt, uint64_t key, enum warden_op op, int number)
{
    struct order *o = malloc(sizeof *o);
    if (!o) {
        log_kv(rt->env->log, LOG_ERROR, "executor.order_lost", LSTR("error", "out of memory"), LINT("key", key));
        return;
    }
    *o = (struct order){{NULL, on_order}, rt, key, op, number};
    mailbox_post(loop_mailbox(rt->loop), &o->mail);
}

static void exec_signal(struct runtime *rt, struct runtime_instance *i, int signo) { order(exec_of(rt), i->key, WARDEN_SIGNAL, signo); }

static void exec_kill(struct runtime *rt, struct runtime_instance *i) { order(exec_of(rt), i->key, WARDEN_KILL, 0); }

static void exec_weigh(struct runtime *rt, uint64_t group, uint32_t weight) { order(exec_of(rt), group, WARDEN_WEIGH, (int)weight); }

static struct runtime_usage exec_usage(struct runtime *rt, const struct runtime_instance *i)
{
    return (struct runtime_usage){atomic_load(&i->cpu_ns), atomic_load(&i->memory_bytes)};
}

static void runtime_fini(struct exec_runtime *rt)
{
    if (rt->loop)
        loop_free(rt->loop);
    if (rt->by_key)
        u64map_free(rt->by_key);
    free(rt->self);
    free(rt);
}

static void on_closed(struct mail *m)
{
    struct exec_runtime *rt = CONTAINER_OF(m, struct exec_runtime, closed_mail);
    void (*closed)(void *) = rt->closed;
    void *arg = rt->closed_arg;
    thread_join(rt->thread);
    assert(list_empty(&rt->instances));
    runtime_fini(rt);
    if (closed)
        closed(arg);
}

static void exec_close(struct runtime *base, void (*done)(void *arg), void *arg)
{
    struct exec_runtime *rt = exec_of(base);
    rt->closing = true;
    rt->closed = done;
    rt->closed_arg = arg;
    mailbox_post(loop_mailbox(rt->loop), &rt->close_mail);
}

static const struct runtime_ops exec_ops = {
    .name = "exec",
    .check = exec_check,
    .start = exec_start,
    .signal = exec_signal,
    .kill = exec_kill,
    .weigh = exec_weigh,
    .usage = exec_usage,
    .close = exec_close,
};

static void thread_main(void *arg) { loop_run(((struct exec_runtime *)arg)->loop); }

struct runtime *runtime_exec_new(const struct env *env, struct mailbox *engine, const char *self, const struct warden_process *first,
                                 int journal_fd, struct err *e)
{
    struct exec_runtime *rt = calloc(1, sizeof *rt);
    if (!rt) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the exec runtime");
        return NULL;
    }
    rt->base.ops = &exec_ops;
    rt->env = env;
    rt->engine = engine;
    rt->sock = -1;
    rt->journal_fd = journal_fd;
    list_init(&rt->instances);
    timer_init(&rt->usage_timer, on_usage_timer);
    rt->close_mail.deliver = on_close;
    rt->closed_mail.deliver = on_closed;
    rt->self = strdup(self);
    rt->by_key = u64map_new(WARDEN_INSTANCES_MAX);
    rt->loop = loop_new(e);
    if (!rt->loop)
        goto fail;
    if (!rt->self || !rt->by_key) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the exec runtime");
        goto fail;
    }
    if (first ? warden_watch(rt, first, e) : warden_up(rt, e))
        goto fail;
    rt->thread = thread_start("exec", thread_main, rt, e);
    if (rt->thread)
        return &rt->base;
    warden_down(rt);
fail:
    runtime_fini(rt);
    return NULL;
}

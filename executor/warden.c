/** warden.c: the warden's loop: take orders, start programs, reap them, and sweep up whatever they left behind. */
#include "executor/warden.h"
#include "executor/cgroup.h"
#include "executor/exit_journal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SWEEP_MIN_MS 1
#define SWEEP_MAX_MS 50
#define ENVIRON_READ_MAX 4096 /* the mark is the first variable */
#define FRAME_FDS 3
#define FRAMES_A_TURN 16

struct charge { /* one program under the warden's care */
    uint64_t key;
    pid_t pid;   /* leader; kept after it was reaped: it is also the session's id */
    int status;  /* waitpid's */
    int exec_fd; /* reports that exec failed; -1 after exec */
    bool reaped, dying;
    size_t found;       /* in this sweep */
    uint64_t ticket[2]; /* [0] 0: not journaled */
    struct cgroup cgroup;
    char mark[96]; /* WARDEN_MARK + id */
};
struct proc {
    pid_t pid, ppid, sid;
    char state;
    bool ours;
};
struct warden {
    int fd, signal_fd, journal_fd; /* journal_fd -1: none */
    int children_fd;               /* the list of our children, where the kernel has it; -1 */
    uint64_t journal_seq;
    bool server_gone;
    int sweep_ms; /* until the next sweep; 0: none is due */
    size_t n, n_procs, procs_cap;
    struct charge *charges[WARDEN_INSTANCES_MAX];
    struct proc *procs;
    struct cgroups cgroups;
};

/* The server gave us the default for all others. */
static const int quiet_signals[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};

/* ---- frames */

FMT(6, 7) static void report(struct warden *w, uint64_t key, enum warden_op op, int a, int b, const char *fmt, ...)
{
    struct warden_frame f = {.magic = WARDEN_MAGIC, .op = op, .key = key, .a = a, .b = b};
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(f.text, sizeof f.text, fmt, ap);
    va_end(ap);
    while (send(w->fd, &f, sizeof f, MSG_NOSIGNAL) < 0)
        if (errno != EINTR) {
            w->server_gone = true;
            return;
        }
}

static void close_all(int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

/* One frame and its descriptors. False: nothing to read now, or the server is gone. */
static bool take_frame(struct warden *w, struct warden_frame *f, int fds[FRAME_FDS])
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(8 * sizeof(int))];
    } control;
    struct iovec iov = {f, sizeof *f};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    for (int i = 0; i < FRAME_FDS; i++)
        fds[i] = -1;
    ssize_t n = recvmsg(w->fd, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (n <= 0) {
        if (n == 0 || (errno != EAGAIN && errno != EINTR))
            w->server_gone = true;
        return false;
    }
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (i < FRAME_FDS && fds[i] < 0)
                fds[i] = fd;
            else
                close(fd);
        }
    }
    if (n != sizeof *f || f->magic != WARDEN_MAGIC || (m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
        f->op = 0; /* not understood: dropped by the caller */
    f->text[sizeof f->text - 1] = '\0';
    return true;
}

static struct charge *find_key(struct warden *w, uint64_t key)
{
    for (size_t i = 0; i < w->n; i++)
        if (w->charges[i]->key == key)
            return w->charges[i];
    return NULL;
}

static void charge_remove(struct warden *w, struct charge *c)
{
    for (size_t i = 0; i < w->n; i++)
        if (w->charges[i] == c)
            w->charges[i] = w->charges[--w->n];
    if (c->exec_fd >= 0)
        close(c->exec_fd);
    cgroup_drop(&w->cgroups, &c->cgroup);
    free(c);
}

/* ---- starting */

struct spec {
    char *bytes; /* owned */
    struct warden_spec head;
    const char *program, *dir, *id;
    char **argv, **envp; /* owned arrays into bytes */
};

static void spec_fini(struct spec *s)
{
    free(s->bytes);
    free(s->argv);
    free(s->envp);
}

static int spec_read(int fd, struct spec *s)
{
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0 || st.st_size <= (off_t)sizeof s->head || st.st_size > WARDEN_SPEC_MAX)
        return -EINVAL;
    size_t size = (size_t)st.st_size, len = 0;
    if (!(s->bytes = malloc(size + 1)))
        return -ENOMEM;
    for (ssize_t n; len < size && (n = pread(fd, s->bytes + len, size - len, (off_t)len)) > 0;)
        len += (size_t)n;
    s->bytes[len] = '\0';
    if (len != size)
        return -EIO;
    memcpy(&s->head, s->bytes, sizeof s->head);
    if (s->head.magic != WARDEN_MAGIC || s->head.argc == 0 || s->head.argc > WARDEN_ARGS_MAX || s->head.envc > WARDEN_ARGS_MAX)
        return -EINVAL;
    s->argv = calloc(s->head.argc + 1, sizeof *s->argv);
    s->envp = calloc(s->head.envc + 1, sizeof *s->envp);
    if (!s->argv || !s->envp)
        return -ENOMEM;
    char *p = s->bytes + sizeof s->head, *end = s->bytes + size;
    for (size_t i = 0; i < 3 + (size_t)s->head.argc + s->head.envc; i++) {
        if (p >= end)
            return -EINVAL;
        if (i < 3)
            *(i == 0 ? &s->program : i == 1 ? &s->dir : &s->id) = p;
        else if (i < 3 + s->head.argc)
            s->argv[i - 3] = p;
        else
            s->envp[i - 3 - s->head.argc] = p;
        p += strlen(p) + 1;
    }
    return 0;
}

/* Between fork and exec: tell what failed and go. */
static void child_fails(int exec_fd, int step)
{
    int what[2] = {errno, step};
    ssize_t ignored = write(exec_fd, what, sizeof what);
    (void)ignored;
    _exit(127);
}
static const char *const step_names[] = {"standard input could not be opened", "its directory could not be entered",
                                         "it could not be executed", "the warden is gone"};

struct birth {
    const struct charge *charge;
    const struct spec *spec;
    const int *fds;
    int exec_fd;
    pid_t parent;
};

static int child_run(void *arg)
{
    const struct birth *b = arg;
    const struct charge *c = b->charge;
    const struct spec *s = b->spec;
    const int *fds = b->fds, exec_fd = b->exec_fd;
    sigset_t none;
    /* Before setsid: each of the two changes who shares the CPU with this process, which then has to wait for it, and the warden for
     * the process. In a group setsid changes nothing of that. */
    cgroup_enter(&c->cgroup);
    sigemptyset(&none);
    for (size_t i = 0; i < ARRAY_LEN(quiet_signals); i++)
        signal(quiet_signals[i], SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != b->parent)
        child_fails(exec_fd, 3); /* the warden ended before it could be tied to us */
    int null_fd = open("/dev/null", O_RDONLY);
    if (null_fd < 0 || dup2(null_fd, 0) < 0 || dup2(fds[1], 1) < 0 || dup2(fds[2], 2) < 0)
        child_fails(exec_fd, 0);
    close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
    umask(022);
    if (chdir(s->dir) != 0)
        child_fails(exec_fd, 1);
    execve(s->program, s->argv, s->envp);
    child_fails(exec_fd, 2);
    return 127;
}

static void start(struct warden *w, uint64_t key, int fds[FRAME_FDS])
{
    struct spec s = {0};
    struct charge *c = NULL;
    int exec_fds[2] = {-1, -1}, rc = spec_read(fds[0], &s);
    if (rc || fds[1] < 0 || fds[2] < 0) {
        report(w, key, WARDEN_FAILED, rc ? -rc : EINVAL, 0, "its description did not arrive whole");
        goto out;
    }
    if (find_key(w, key) || w->n >= WARDEN_INSTANCES_MAX || !(c = calloc(1, sizeof *c)) || pipe2(exec_fds, O_CLOEXEC) != 0) {
        report(w, key, WARDEN_FAILED, EAGAIN, 0, "the warden has no room for it");
        free(c);
        goto out;
    }
    *c = (struct charge){.key = key, .exec_fd = exec_fds[0], .ticket = {s.head.ticket[0], s.head.ticket[1]}};
    snprintf(c->mark, sizeof c->mark, "%s%s", WARDEN_MARK, s.id);
    char name[32];
    snprintf(name, sizeof name, "i-%llx", (unsigned long long)key);
    const struct cgroup_wish wish = {s.head.group, s.head.weight, s.head.cpu_millis, s.head.memory_bytes};
    cgroup_make(&w->cgroups, &c->cgroup, name, &wish);
    struct birth birth = {c, &s, fds, exec_fds[1], getpid()};
    c->pid = cgroup_fork(&c->cgroup, child_run, &birth);
    cgroup_entered(&c->cgroup);
    w->charges[w->n++] = c;
    if (c->pid < 0) {
        report(w, key, WARDEN_FAILED, errno, 0, "no process could be made for it");
        charge_remove(w, c);
    }
out:
    if (exec_fds[1] >= 0)
        close(exec_fds[1]);
    spec_fini(&s);
}

/* The child has executed its program (the pipe closed) or says why not. */
static void finish_exec(struct warden *w, struct charge *c)
{
    int what[2];
    ssize_t n;
    while ((n = read(c->exec_fd, what, sizeof what)) < 0 && errno == EINTR)
        ;
    close(c->exec_fd);
    c->exec_fd = -1;
    if (n == sizeof what && what[1] >= 0 && (size_t)what[1] < ARRAY_LEN(step_names)) {
        report(w, c->key, WARDEN_FAILED, what[0], 0, "%s", step_names[what[1]]);
        waitpid(c->pid, NULL, 0);
        charge_remove(w, c);
        return;
    }
    report(w, c->key, WARDEN_STARTED, c->pid, 0, "%s", "");
}

/* ---- ending */

static void condemn(struct warden *w, struct charge *c)
{
    c->dying = true;
    if (!c->reaped)
        kill(-c->pid, SIGKILL); /* later the number may be somebody else's */
    cgroup_kill(&w->cgroups, &c->cgroup);
    w->sweep_ms = SWEEP_MIN_MS;
}

static void reap(struct warden *w)
{
    for (;;) {
        siginfo_t si = {0};
        if (waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT) != 0 || si.si_pid == 0)
            return;
        struct charge *c = NULL;
        for (size_t i = 0; i < w->n && !c; i++)
            if (w->charges[i]->pid == si.si_pid && !w->charges[i]->reaped)
                c = w->charges[i];
        if (c && c->exec_fd >= 0) {
            uint64_t key = c->key;
            finish_exec(w, c);
            if (!(c = find_key(w, key)))
                continue; /* the exec had failed: reaped there */
        }
        if (c)
            condemn(w, c); /* while the number is still its own */
        int status;
        waitpid(si.si_pid, &status, 0);
        if (c) {
            c->status = status;
            c->reaped = true;
        }
    }
}

static bool proc_read(const char *pid, struct proc *p)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return false;
    text[n] = '\0';
    char *after = strrchr(text, ')'); /* the name may hold anything, also ')' */
    int ppid, pgrp, sid;
    if (!after || sscanf(after + 1, " %c %d %d %d", &p->state, &ppid, &pgrp, &sid) != 4)
        return false;
    p->pid = (pid_t)strtol(pid, NULL, 10);
    p->ppid = ppid;
    p->sid = sid;
    p->ours = false;
    return true;
}

static int by_pid(const void *a, const void *b)
{
    pid_t x = ((const struct proc *)a)->pid, y = ((const struct proc *)b)->pid;
    return (x > y) - (x < y);
}

/* All processes, and which of them descend from this one. False: out of memory or no /proc. */
static bool procs_scan(struct warden *w)
{
    DIR *d = opendir("/proc");
    if (!d)
        return false;
    w->n_procs = 0;
    for (struct dirent *ent; (ent = readdir(d));) {
        if (ent->d_name[0] < '1' || ent->d_name[0] > '9')
            continue;
        if (w->n_procs == w->procs_cap) {
            size_t cap = w->procs_cap ? w->procs_cap * 2 : 256;
            struct proc *grown = realloc(w->procs, cap * sizeof *grown);
            if (!grown) {
                closedir(d);
                return false;
            }
            w->procs = grown;
            w->procs_cap = cap;
        }
        if (proc_read(ent->d_name, &w->procs[w->n_procs]))
            w->n_procs++;
    }
    closedir(d);
    qsort(w->procs, w->n_procs, sizeof *w->procs, by_pid);
    pid_t self = getpid();
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < w->n_procs; i++) {
            struct proc *p = &w->procs[i], key = {.pid = p->ppid};
            if (p->ours)
                continue;
            const struct proc *parent = bsearch(&key, w->procs, w->n_procs, sizeof key, by_pid);
            p->ours = p->ppid == self || (parent && parent->ours);
            more = more || p->ours;
        }
    }
    return true;
}

static bool has_mark(pid_t pid, const char *mark)
{
    char path[64], text[ENVIRON_READ_MAX];
    snprintf(path, sizeof path, "/proc/%d/environ", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return false;
    text[n] = '\0';
    for (const char *p = text; p < text + n; p += strlen(p) + 1)
        if (strcmp(p, mark) == 0)
            return true;
    return false;
}

size_t warden_kill_marked(const char *mark)
{
    DIR *d = opendir("/proc");
    size_t n = 0;
    for (struct dirent *ent; d && (ent = readdir(d));) {
        struct proc p;
        if (ent->d_name[0] >= '1' && ent->d_name[0] <= '9' && proc_read(ent->d_name, &p) && p.state != 'Z' && has_mark(p.pid, mark) &&
            kill(p.pid, SIGKILL) == 0)
            n++;
    }
    if (d)
        closedir(d);
    return n;
}

/* Before the server hears of it, which may be killed any moment. */
static void journal(struct warden *w, const struct charge *c, const struct warden_frame *f)
{
    const struct exit_record r = {{c->ticket[0], c->ticket[1]}, f->a, f->b, f->c};
    if (w->journal_fd >= 0 && c->ticket[0])
        exit_journal_write(w->journal_fd, w->journal_seq++, &r); /* a full disk: then it is lost with the server, and runs again */
}

/* Has this process other children than the leaders that live? What a leader leaves behind is given to us in the moment it ends, so
 * when there is nothing else, nothing is left of those that were reaped, and the whole of /proc need not be read. */
static bool only_leaders(const struct warden *w)
{
    char text[4096];
    size_t n_leaders = 0, n_children = 0;
    for (size_t i = 0; i < w->n; i++)
        n_leaders += !w->charges[i]->reaped;
    if (w->children_fd < 0 || lseek(w->children_fd, 0, SEEK_SET) != 0)
        return false;
    for (ssize_t n; (n = read(w->children_fd, text, sizeof text)) != 0;) {
        if (n < 0)
            return false;
        for (ssize_t i = 0; i < n; i++)
            n_children += text[i] == ' '; /* one after each */
    }
    return n_children == n_leaders;
}

/* Kill what is left of the dying; report those of whom nothing is left. */
static void sweep(struct warden *w)
{
    w->n_procs = 0;
    bool scanned = only_leaders(w) || procs_scan(w);
    for (size_t i = 0; i < w->n; i++)
        if (w->charges[i]->dying)
            w->charges[i]->found = cgroup_kill(&w->cgroups, &w->charges[i]->cgroup);
    for (size_t k = 0; scanned && k < w->n_procs; k++) {
        const struct proc *p = &w->procs[k];
        if (!p->ours || p->state == 'Z')
            continue;
        for (size_t i = 0; i < w->n; i++) {
            struct charge *c = w->charges[i];
            if (!c->dying || (p->sid != c->pid && !has_mark(p->pid, c->mark)))
                continue;
            kill(p->pid, SIGKILL);
            c->found++;
            break;
        }
    }
    bool left = false;
    for (size_t i = 0; i < w->n;) {
        struct charge *c = w->charges[i];
        if (!c->dying || !scanned || !c->reaped || c->found) {
            left = left || c->dying;
            i++;
            continue;
        }
        struct warden_frame f = {.magic = WARDEN_MAGIC, .op = WARDEN_EXITED, .key = c->key};
        f.a = WIFEXITED(c->status) ? WEXITSTATUS(c->status) : -1;
        f.b = WIFSIGNALED(c->status) ? WTERMSIG(c->status) : 0;
        f.c = cgroup_oom(&w->cgroups, &c->cgroup);
        journal(w, c, &f);
        charge_remove(w, c);
        if (send(w->fd, &f, sizeof f, MSG_NOSIGNAL) < 0 && errno != EINTR)
            w->server_gone = true;
    }
    w->sweep_ms = !left ? 0 : w->sweep_ms * 2 < SWEEP_MAX_MS ? w->sweep_ms * 2 : SWEEP_MAX_MS;
}

/* The server is gone: nothing of what was started may stay. What loses its parent meanwhile comes to us and is found next time. */
static void kill_everything(struct warden *w)
{
    for (size_t i = 0; i < w->n; i++)
        if (!w->charges[i]->reaped)
            kill(-w->charges[i]->pid, SIGKILL);
    for (;;) {
        for (size_t i = 0; i < w->n; i++)
            cgroup_kill(&w->cgroups, &w->charges[i]->cgroup);
        if (procs_scan(w))
            for (size_t k = 0; k < w->n_procs; k++)
                if (w->procs[k].ours && w->procs[k].state != 'Z')
                    kill(w->procs[k].pid, SIGKILL);
        pid_t pid;
        while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
            ;
        if (pid < 0 && errno == ECHILD)
            break;
        poll(NULL, 0, SWEEP_MIN_MS);
    }
    while (w->n > 0)
        charge_remove(w, w->charges[w->n - 1]);
}

/* ---- the loop */

static void take_journal(struct warden *w, int fds[FRAME_FDS])
{
    if (fds[0] < 0 || w->journal_fd >= 0) /* one is enough; the caller closes what is not taken */
        return;
    w->journal_fd = fds[0];
    fds[0] = -1;
    w->journal_seq = exit_journal_end(w->journal_fd);
}

static void obey(struct warden *w, const struct warden_frame *f, int fds[FRAME_FDS])
{
    struct charge *c = f->op == WARDEN_SIGNAL || f->op == WARDEN_KILL ? find_key(w, f->key) : NULL;
    if (f->op == WARDEN_START)
        start(w, f->key, fds);
    else if (f->op == WARDEN_JOURNAL)
        take_journal(w, fds);
    else if (f->op == WARDEN_WEIGH && f->a > 0)
        cgroups_weigh(&w->cgroups, f->key, (uint32_t)f->a);
    else if (c && f->op == WARDEN_KILL)
        condemn(w, c);
    else if (c && f->op == WARDEN_SIGNAL && !c->reaped && f->a > 0 && f->a < NSIG)
        kill(-c->pid, f->a);
}

static int set_up(struct warden *w)
{
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_SETMASK, &child, NULL);
    /* A terminal's Ctrl-C is for the server, which then tells us. */
    for (size_t i = 0; i < ARRAY_LEN(quiet_signals); i++)
        signal(quiet_signals[i], SIG_IGN);
    fcntl(w->fd, F_SETFD, FD_CLOEXEC);
    w->journal_fd = -1;
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    prctl(PR_SET_NAME, "runnel-warden");
    w->signal_fd = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    w->children_fd = open(path, O_RDONLY | O_CLOEXEC);
    return w->signal_fd < 0 ? -1 : 0;
}

/* Wait for news: orders, ends of children, programs that were executed. */
static void turn(struct warden *w, struct pollfd *polls)
{
    size_t n = 2;
    polls[0] = (struct pollfd){w->fd, POLLIN, 0};
    polls[1] = (struct pollfd){w->signal_fd, POLLIN, 0};
    for (size_t i = 0; i < w->n; i++)
        if (w->charges[i]->exec_fd >= 0)
            polls[n++] = (struct pollfd){w->charges[i]->exec_fd, POLLIN, 0};
    int ready = poll(polls, n, w->sweep_ms ? w->sweep_ms : -1);
    for (size_t k = 2; ready > 0 && k < n; k++)
        for (size_t i = 0; polls[k].revents && i < w->n; i++)
            if (w->charges[i]->exec_fd == polls[k].fd) {
                finish_exec(w, w->charges[i]);
                break;
            }
    struct signalfd_siginfo si;
    while (ready > 0 && read(w->signal_fd, &si, sizeof si) > 0)
        ;
    reap(w);
    struct warden_frame f;
    int fds[FRAME_FDS];
    /* Not all that has come: who ends meanwhile is not to wait for a thousand starts. */
    for (int n_frames = 0; n_frames < FRAMES_A_TURN && !w->server_gone && take_frame(w, &f, fds); n_frames++) {
        obey(w, &f, fds);
        close_all(fds, FRAME_FDS);
    }
    if (w->sweep_ms)
        sweep(w);
}

int warden_main(int fd)
{
    struct warden *w = calloc(1, sizeof *w);
    struct pollfd *polls = calloc(WARDEN_INSTANCES_MAX + 2, sizeof *polls);
    if (!w || !polls) {
        free(w);
        free(polls);
        return 1;
    }
    w->fd = fd;
    int rc = set_up(w);
    if (rc == 0) {
        cgroups_open(&w->cgroups);
        report(w, 0, WARDEN_HELLO, cgroups_limits(&w->cgroups), 0, "%s", w->cgroups.why);
        while (!w->server_gone)
            turn(w, polls);
        kill_everything(w);
        cgroups_close(&w->cgroups);
        close(w->signal_fd);
        if (w->children_fd >= 0)
            close(w->children_fd);
        if (w->journal_fd >= 0)
            close(w->journal_fd); /* a server that begins waits for this */
    }
    close(w->fd);
    free(w->procs);
    free(polls);
    free(w);
    return rc ? 1 : 0;
}

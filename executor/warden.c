/** warden.c: the warden's loop: take orders, start programs, reap them, and sweep up whatever they left behind. */
#include "executor/warden.h"
#include "executor/cgroup.h"
#include "executor/exit_journal.h"
#include "executor/proc_scan.h"

#include "core/base/list.h"
#include "core/loop/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SWEEP_MIN_MS 1
#define SWEEP_MAX_MS 50
#define FRAME_FDS 3
#define FRAMES_A_TURN 16
#define STARTERS 4

struct charge { /* one program under the warden's care */
    uint64_t key, lane;
    pid_t pid;   /* leader; kept after it was reaped: it is also the session's id */
    int status;  /* waitpid's */
    int exec_fd; /* reports that exec failed; -1 after exec */
    bool reaped, dying;
    bool unborn; /* its process is being made; pid is not ours to use */
    int signal_at_birth;
    size_t found;       /* in this sweep */
    uint64_t ticket[2]; /* [0] 0: not journaled */
    struct cgroup cgroup;
    char mark[96]; /* WARDEN_MARK + id */
};
struct waiting { /* a start whose lane is full */
    struct node link;
    uint64_t key, lane;
    size_t width;
    int fds[FRAME_FDS];
};
/* A thread that makes processes, and what is its own: a process that borrows our memory needs a stack, and a thread has the list of the
 * children that it made. */
struct starter {
    char *stack;
    _Atomic int children_fd; /* where the kernel has it; -1: not open */
};
struct warden {
    int fd, signal_fd, journal_fd; /* journal_fd -1: none */
    uint64_t journal_seq;
    bool server_gone;
    int sweep_ms; /* until the next sweep; 0: none is due */
    size_t n;
    struct charge *charges[WARDEN_INSTANCES_MAX];
    struct list waiting;                   /* in the order they came */
    struct starter starters[STARTERS + 1]; /* [0]: the main thread, to which all that has lost its parent comes */
    _Atomic size_t n_starters;
    struct workers *workers; /* from the first short task on */
    struct mailbox *born;
    int born_fd;
    struct procs procs;
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

struct birth { /* a process on its way */
    struct job job;
    struct warden *w;
    struct charge *charge;
    struct spec spec;
    int fds[FRAME_FDS], exec_fd;
    pid_t parent;
    int error;
};

static int child_run(void *arg)
{
    const struct birth *b = arg;
    const struct charge *c = b->charge;
    const struct spec *s = &b->spec;
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

static _Thread_local struct starter *me;

static void become_starter(struct warden *w)
{
    me = &w->starters[atomic_fetch_add(&w->n_starters, 1)];
    atomic_store(&me->children_fd, open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC));
    me->stack = malloc(CGROUP_STACK);
}

/* In the thread that makes it: it stands still until the program is executed, which takes long when others want the processors. */
static void birth_work(struct job *job)
{
    struct birth *b = CONTAINER_OF(job, struct birth, job);
    struct charge *c = b->charge;
    if (!me)
        become_starter(b->w);
    if (me->stack)
        cgroup_fork(&c->cgroup, &(struct cgroup_child){child_run, b, me->stack, &c->pid});
    else
        __atomic_store_n(&c->pid, -1, __ATOMIC_RELEASE);
    b->error = errno;
}

static void birth_free(struct birth *b)
{
    close_all(b->fds, FRAME_FDS);
    close_all(&b->exec_fd, 1);
    spec_fini(&b->spec);
    free(b);
}

static void lane_next(struct warden *w, uint64_t lane);

static void on_born(struct mail *m)
{
    struct birth *b = CONTAINER_OF(m, struct birth, job.mail);
    struct warden *w = b->w;
    struct charge *c = b->charge;
    c->unborn = false;
    cgroup_entered(&c->cgroup);
    if (c->pid < 0) {
        uint64_t lane = c->lane;
        report(w, c->key, WARDEN_FAILED, b->error, 0, "no process could be made for it");
        charge_remove(w, c);
        lane_next(w, lane);
    } else if (c->dying || c->signal_at_birth) {
        kill(-c->pid, c->dying ? SIGKILL : c->signal_at_birth);
    }
    birth_free(b);
}

static void on_births(void *arg)
{
    struct warden *w = arg;
    uint64_t one = 1;
    ssize_t ignored = write(w->born_fd, &one, sizeof one);
    (void)ignored; /* it is only full when there is much to read */
}

/* For tasks: what starts one of them must not keep the ends of the others waiting. The race detector's runtime takes the descriptors of a
 * process that is made by a thread for those of the thread, so under it the main one does it all. */
static bool workers_up(struct warden *w)
{
#ifndef __SANITIZE_THREAD__
    struct err e;
    if (!w->workers)
        w->workers = workers_start(STARTERS, &e);
#endif
    return w->workers != NULL;
}

/* Takes the descriptors. */
static void start(struct warden *w, uint64_t key, uint64_t lane, int fds[FRAME_FDS])
{
    struct charge *c = calloc(1, sizeof *c);
    struct birth *b = calloc(1, sizeof *b);
    int exec_fds[2], rc = b ? spec_read(fds[0], &b->spec) : 0;
    if (rc || fds[1] < 0 || fds[2] < 0) {
        report(w, key, WARDEN_FAILED, rc ? -rc : EINVAL, 0, "its description did not arrive whole");
        goto fail;
    }
    if (!b || !c || find_key(w, key) || w->n + w->waiting.count >= WARDEN_INSTANCES_MAX || pipe2(exec_fds, O_CLOEXEC) != 0) {
        report(w, key, WARDEN_FAILED, EAGAIN, 0, "the warden has no room for it");
        goto fail;
    }
    *c = (struct charge){
        .key = key, .lane = lane, .exec_fd = exec_fds[0], .unborn = true, .ticket = {b->spec.head.ticket[0], b->spec.head.ticket[1]}};
    snprintf(c->mark, sizeof c->mark, "%s%s", WARDEN_MARK, b->spec.id);
    char name[32];
    snprintf(name, sizeof name, "i-%llx", (unsigned long long)key);
    const struct cgroup_wish wish = {b->spec.head.group, b->spec.head.weight, b->spec.head.cpu_millis, b->spec.head.memory_bytes};
    cgroup_make(&w->cgroups, &c->cgroup, name, &wish);
    b->job = (struct job){.mail.deliver = on_born, .reply = w->born, .work = birth_work};
    b->w = w;
    b->charge = c;
    b->exec_fd = exec_fds[1];
    b->parent = getpid();
    memcpy(b->fds, fds, sizeof b->fds);
    for (int i = 0; i < FRAME_FDS; i++)
        fds[i] = -1;
    w->charges[w->n++] = c;
    if (lane && workers_up(w) && workers_submit(w->workers, &b->job))
        return;
    birth_work(&b->job);
    on_born(&b->job.mail);
    return;
fail:
    if (b)
        spec_fini(&b->spec);
    free(b);
    free(c);
}

/* ---- lanes */

static size_t lane_running(const struct warden *w, uint64_t lane)
{
    size_t n = 0;
    for (size_t i = 0; i < w->n; i++)
        n += w->charges[i]->lane == lane;
    return n;
}

static struct waiting *lane_first(struct warden *w, uint64_t lane)
{
    LIST_EACH(&w->waiting, n)
        if (CONTAINER_OF(n, struct waiting, link)->lane == lane)
            return CONTAINER_OF(n, struct waiting, link);
    return NULL;
}

static void waiting_free(struct warden *w, struct waiting *s)
{
    list_remove(&w->waiting, &s->link);
    close_all(s->fds, FRAME_FDS);
    free(s);
}

/* One of the lane has ended: those behind it, whose turn it is. */
static void lane_next(struct warden *w, uint64_t lane)
{
    for (struct waiting *s; lane && (s = lane_first(w, lane)) && lane_running(w, lane) < s->width; waiting_free(w, s)) {
        list_remove(&w->waiting, &s->link); /* it takes its own place */
        start(w, s->key, lane, s->fds);
    }
}

/* At once, or when its lane has room. Takes the descriptors. */
static void start_in_turn(struct warden *w, const struct warden_frame *f, int fds[FRAME_FDS])
{
    struct waiting *s = NULL;
    bool waits = f->lane && f->a > 0 && (lane_running(w, f->lane) >= (size_t)f->a || lane_first(w, f->lane));
    if (waits && w->n + w->waiting.count < WARDEN_INSTANCES_MAX)
        s = calloc(1, sizeof *s);
    if (s) {
        *s = (struct waiting){.key = f->key, .lane = f->lane, .width = (size_t)f->a, .fds = {fds[0], fds[1], fds[2]}};
        node_init(&s->link);
        list_append(&w->waiting, &s->link);
        for (int i = 0; i < FRAME_FDS; i++)
            fds[i] = -1;
    } else if (waits) {
        report(w, f->key, WARDEN_FAILED, EAGAIN, 0, "the warden has no room for it");
    } else {
        start(w, f->key, f->lane, fds);
    }
}

/* SIGNAL or KILL for one that waits. False: there is no such. */
static bool waiting_stop(struct warden *w, uint64_t key)
{
    LIST_EACH(&w->waiting, n) {
        struct waiting *s = CONTAINER_OF(n, struct waiting, link);
        if (s->key != key)
            continue;
        waiting_free(w, s);
        report(w, key, WARDEN_FAILED, ECANCELED, 0, "it was stopped before its turn came");
        return true;
    }
    return false;
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
        uint64_t lane = c->lane;
        report(w, c->key, WARDEN_FAILED, what[0], 0, "%s", step_names[what[1]]);
        waitpid(c->pid, NULL, 0);
        charge_remove(w, c);
        lane_next(w, lane);
        return;
    }
    report(w, c->key, WARDEN_STARTED, c->pid, 0, "%s", "");
}

/* ---- ending */

static void condemn(struct warden *w, struct charge *c)
{
    c->dying = true;
    if (!c->reaped && !c->unborn)
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
            if (__atomic_load_n(&w->charges[i]->pid, __ATOMIC_ACQUIRE) == si.si_pid && !w->charges[i]->reaped)
                c = w->charges[i];
        if (c && c->unborn)
            return; /* it has ended before we were told that it began, which is next */
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

/* Before the server hears of it, which may be killed any moment. */
static void journal(struct warden *w, const struct charge *c, const struct warden_frame *f)
{
    const struct exit_record r = {{c->ticket[0], c->ticket[1]}, f->a, f->b, f->c};
    if (w->journal_fd >= 0 && c->ticket[0])
        exit_journal_write(w->journal_fd, w->journal_seq++, &r); /* a full disk: then it is lost with the server, and runs again */
}

/* Has this process other children than the leaders that live? What a leader leaves behind is given to us in the moment it ends, so
 * when there is nothing else, nothing is left of those that were reaped, and the whole of /proc need not be read. */
static bool only_leaders(struct warden *w)
{
    char text[4096];
    size_t n_leaders = 0, n_children = 0;
    /* First these: one that is born meanwhile is then a child too many, which costs a look at /proc, and not one too few. */
    for (size_t i = 0; i < w->n; i++)
        n_leaders += !w->charges[i]->reaped && __atomic_load_n(&w->charges[i]->pid, __ATOMIC_ACQUIRE) > 0;
    for (size_t k = 0; k < ARRAY_LEN(w->starters) && k < atomic_load(&w->n_starters); k++) {
        int fd = atomic_load(&w->starters[k].children_fd);
        if (fd < 0 || lseek(fd, 0, SEEK_SET) != 0)
            return false;
        for (ssize_t n; (n = read(fd, text, sizeof text)) != 0;) {
            if (n < 0)
                return false;
            for (ssize_t i = 0; i < n; i++)
                n_children += text[i] == ' '; /* one after each */
        }
    }
    return n_children == n_leaders;
}

/* Kill what is left of the dying; report those of whom nothing is left. */
static void sweep(struct warden *w)
{
    w->procs.n = 0;
    bool scanned = only_leaders(w) || procs_scan(&w->procs);
    for (size_t i = 0; i < w->n; i++)
        if (w->charges[i]->dying)
            w->charges[i]->found = cgroup_kill(&w->cgroups, &w->charges[i]->cgroup);
    for (size_t k = 0; scanned && k < w->procs.n; k++) {
        const struct proc *p = &w->procs.all[k];
        if (!p->ours || p->state == 'Z')
            continue;
        for (size_t i = 0; i < w->n; i++) {
            struct charge *c = w->charges[i];
            if (!c->dying || c->unborn || (p->sid != c->pid && !proc_has_mark(p->pid, c->mark)))
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
        uint64_t lane = c->lane;
        journal(w, c, &f);
        charge_remove(w, c);
        lane_next(w, lane);
        if (send(w->fd, &f, sizeof f, MSG_NOSIGNAL) < 0 && errno != EINTR)
            w->server_gone = true;
    }
    w->sweep_ms = !left ? 0 : w->sweep_ms * 2 < SWEEP_MAX_MS ? w->sweep_ms * 2 : SWEEP_MAX_MS;
}

/* The server is gone: nothing of what was started may stay. What loses its parent meanwhile comes to us and is found next time. */
static void kill_everything(struct warden *w)
{
    for (struct node *n; (n = list_first(&w->waiting));)
        waiting_free(w, CONTAINER_OF(n, struct waiting, link));
    if (w->workers)
        workers_stop(w->workers);
    mailbox_deliver(w->born);
    for (size_t i = 0; i < w->n; i++)
        if (!w->charges[i]->reaped)
            kill(-w->charges[i]->pid, SIGKILL);
    for (;;) {
        for (size_t i = 0; i < w->n; i++)
            cgroup_kill(&w->cgroups, &w->charges[i]->cgroup);
        if (procs_scan(&w->procs))
            for (size_t k = 0; k < w->procs.n; k++)
                if (w->procs.all[k].ours && w->procs.all[k].state != 'Z')
                    kill(w->procs.all[k].pid, SIGKILL);
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
        start_in_turn(w, f, fds);
    else if (f->op == WARDEN_JOURNAL)
        take_journal(w, fds);
    else if (f->op == WARDEN_WEIGH && f->a > 0)
        cgroups_weigh(&w->cgroups, f->key, (uint32_t)f->a);
    else if (!c && (f->op == WARDEN_KILL || f->op == WARDEN_SIGNAL))
        waiting_stop(w, f->key);
    else if (c && f->op == WARDEN_KILL)
        condemn(w, c);
    else if (c && f->op == WARDEN_SIGNAL && c->unborn)
        c->signal_at_birth = f->a > 0 && f->a < NSIG ? f->a : 0;
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
    list_init(&w->waiting);
    for (size_t k = 0; k < ARRAY_LEN(w->starters); k++)
        w->starters[k].children_fd = -1;
    become_starter(w); /* before any other thread does */
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    prctl(PR_SET_NAME, "runnel-warden");
    w->signal_fd = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    w->born_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    w->born = mailbox_new(WARDEN_INSTANCES_MAX, on_births, w);
    return w->signal_fd < 0 || w->born_fd < 0 || !w->born ? -1 : 0;
}

/* Wait for news: orders, ends of children, programs that were executed. */
static void turn(struct warden *w, struct pollfd *polls)
{
    size_t n = 3;
    uint64_t births;
    polls[0] = (struct pollfd){w->fd, POLLIN, 0};
    polls[1] = (struct pollfd){w->signal_fd, POLLIN, 0};
    polls[2] = (struct pollfd){w->born_fd, POLLIN, 0};
    for (size_t i = 0; i < w->n; i++)
        if (w->charges[i]->exec_fd >= 0 && !w->charges[i]->unborn)
            polls[n++] = (struct pollfd){w->charges[i]->exec_fd, POLLIN, 0};
    int ready = poll(polls, n, w->sweep_ms ? w->sweep_ms : -1);
    if (ready > 0 && polls[2].revents && read(w->born_fd, &births, sizeof births) > 0)
        mailbox_deliver(w->born);
    for (size_t k = 3; ready > 0 && k < n; k++)
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
    struct pollfd *polls = calloc(WARDEN_INSTANCES_MAX + 3, sizeof *polls);
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
        close(w->born_fd);
        mailbox_free(w->born);
        for (size_t k = 0; k < atomic_load(&w->n_starters); k++) {
            free(w->starters[k].stack);
            close(w->starters[k].children_fd);
        }
        if (w->journal_fd >= 0)
            close(w->journal_fd); /* a server that begins waits for this */
    }
    close(w->fd);
    free(w->procs.all);
    free(polls);
    free(w);
    return rc ? 1 : 0;
}

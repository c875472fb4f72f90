/** cgroup.c: finds where this process may make control groups (v2, v1, hybrid) and works them through their files. */
#include "executor/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CPU_PERIOD_US 100000
#define KILL_PIDS_MAX 4096 /* in one go; what is left is found at the next */
#define GROUP_LEVELS 3     /* ours, a share in it, an instance in that */
#define WEIGHT_USUAL 100
#define WEIGHT_MAX 10000
#define SHARES_USUAL 1024 /* v1 has other numbers for the same */

static const char *const role_names[CGROUP_ROLES] = {"grouping", "memory", "cpu"};

static int write_file(const char *dir, const char *file, const char *text)
{
    char path[CGROUP_PATH_MAX + 64];
    snprintf(path, sizeof path, "%s/%s", dir, file);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t n = write(fd, text, strlen(text));
    int rc = n < 0 ? -errno : 0;
    close(fd);
    return rc;
}

static size_t read_file(const char *path, char *out, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    out[0] = '\0';
    if (fd < 0)
        return 0;
    size_t len = 0;
    for (ssize_t n; len < size - 1 && (n = read(fd, out + len, size - 1 - len)) > 0;)
        len += (size_t)n;
    close(fd);
    out[len] = '\0';
    return len;
}

/* Is `word` one of the comma-separated words of `list`? */
static bool has_word(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = list; *p; p++) {
        size_t len = strcspn(p, ",");
        if (len == n && memcmp(p, word, n) == 0)
            return true;
        p += len;
        if (!*p)
            return false;
    }
    return false;
}

/* Our own group in the hierarchy with `controller` (NULL: v2), from /proc/self/cgroup: "4:memory:/path", "0::/path". */
static bool own_path(const char *controller, char out[CGROUP_PATH_MAX])
{
    char text[8192];
    read_file("/proc/self/cgroup", text, sizeof text);
    for (char *line = text, *next; *line; line = next) {
        next = line + strcspn(line, "\n");
        if (*next)
            *next++ = '\0';
        char *names = strchr(line, ':'), *path = names ? strchr(names + 1, ':') : NULL;
        if (!path)
            continue;
        *path++ = '\0';
        names++;
        if (controller ? !has_word(names, controller) : *names != '\0')
            continue;
        snprintf(out, CGROUP_PATH_MAX, "%s", path);
        return true;
    }
    return false;
}

/* Where that hierarchy is mounted: a line of /proc/self/mounts "cgroup2 /sys/fs/cgroup cgroup2 rw,…". */
static bool mount_point(const char *controller, char out[CGROUP_PATH_MAX])
{
    FILE *f = fopen("/proc/self/mounts", "re");
    if (!f)
        return false;
    char line[4096], where[CGROUP_PATH_MAX], type[64], options[2048];
    bool found = false;
    while (!found && fgets(line, sizeof line, f)) {
        if (sscanf(line, "%*s %511s %63s %2047s", where, type, options) != 3)
            continue;
        if (controller ? strcmp(type, "cgroup") == 0 && has_word(options, controller) : strcmp(type, "cgroup2") == 0) {
            snprintf(out, CGROUP_PATH_MAX, "%s", where);
            found = true;
        }
    }
    fclose(f);
    return found;
}

/* Groups of ours without processes, and those in them. */
static void remove_groups(const char *dir, int levels)
{
    DIR *d = levels ? opendir(dir) : NULL;
    for (struct dirent *ent; d && (ent = readdir(d));) {
        char path[CGROUP_PATH_MAX];
        if (strncmp(ent->d_name, "i-", 2) != 0 && strncmp(ent->d_name, "g-", 2) != 0)
            continue;
        int n = snprintf(path, sizeof path, "%s/%s", dir, ent->d_name);
        if (n > 0 && (size_t)n < sizeof path)
            remove_groups(path, levels - 1);
    }
    if (d)
        closedir(d);
    rmdir(dir);
}

/* What a warden that was killed left behind: groups named after one that is no more. */
static void remove_stale(const char *dir)
{
    DIR *d = opendir(dir);
    for (struct dirent *ent; d && (ent = readdir(d));) {
        long pid = strncmp(ent->d_name, "runnel-", 7) == 0 ? strtol(ent->d_name + 7, NULL, 10) : 0;
        char path[CGROUP_PATH_MAX];
        if (pid <= 1 || kill((pid_t)pid, 0) == 0 || errno != ESRCH)
            continue;
        int n = snprintf(path, sizeof path, "%s/%s", dir, ent->d_name);
        if (n > 0 && (size_t)n < sizeof path)
            remove_groups(path, GROUP_LEVELS);
    }
    if (d)
        closedir(d);
}

/* A directory of our own below where this process is; "" when that is not allowed. */
static bool make_base(const char *controller, char base[CGROUP_PATH_MAX])
{
    char mount[CGROUP_PATH_MAX], own[CGROUP_PATH_MAX];
    base[0] = '\0';
    if (!mount_point(controller, mount) || !own_path(controller, own))
        return false;
    char path[2 * CGROUP_PATH_MAX + 32];
    int n = snprintf(path, sizeof path, "%s%s/runnel-%d", mount, strcmp(own, "/") == 0 ? "" : own, (int)getpid());
    if (n < 0 || n >= CGROUP_PATH_MAX)
        return false;
    /* In a container the path of /proc/self/cgroup may not be visible below the mount: then the mount itself is ours. */
    if (mkdir(path, 0755) != 0 && errno != EEXIST) {
        snprintf(path, sizeof path, "%s/runnel-%d", mount, (int)getpid());
        if (mkdir(path, 0755) != 0 && errno != EEXIST)
            return false;
    }
    memcpy(base, path, strlen(path) + 1);
    *strrchr(path, '/') = '\0';
    remove_stale(path);
    return true;
}

/* v2 gives controllers to a group's children only when its parent hands them down. */
static bool hand_down(const char *base)
{
    char parent[CGROUP_PATH_MAX], have[512], path[CGROUP_PATH_MAX + 32];
    snprintf(parent, sizeof parent, "%s", base);
    char *slash = strrchr(parent, '/');
    if (slash)
        *slash = '\0';
    write_file(parent, "cgroup.subtree_control", "+memory +cpu");
    if (write_file(base, "cgroup.subtree_control", "+memory +cpu"))
        return false;
    snprintf(path, sizeof path, "%s/cgroup.subtree_control", base);
    read_file(path, have, sizeof have);
    return strstr(have, "memory") && strstr(have, "cpu");
}

static void set_weight(const char *dir, bool v2, uint32_t weight)
{
    char text[32];
    snprintf(text, sizeof text, "%u", v2 ? weight : weight * SHARES_USUAL / WEIGHT_USUAL);
    write_file(dir, v2 ? "cpu.weight" : "cpu.shares", text);
}

void cgroups_open(struct cgroups *cs)
{
    memset(cs, 0, offsetof(struct cgroups, shares));
    static const char *const controllers[CGROUP_ROLES] = {NULL, "memory", "cpu"};
    cs->v2[CGROUP_TRACK] = make_base(NULL, cs->base[CGROUP_TRACK]);
    bool all_v2 = cs->v2[CGROUP_TRACK] && hand_down(cs->base[CGROUP_TRACK]);
    for (int r = CGROUP_MEMORY; r < CGROUP_ROLES; r++) {
        if (all_v2) {
            memcpy(cs->base[r], cs->base[CGROUP_TRACK], CGROUP_PATH_MAX);
            cs->v2[r] = true;
        } else {
            make_base(controllers[r], cs->base[r]);
        }
    }
    for (int r = CGROUP_MEMORY; r < CGROUP_ROLES && !cs->base[CGROUP_TRACK][0]; r++)
        memcpy(cs->base[CGROUP_TRACK], cs->base[r], CGROUP_PATH_MAX);
    for (int r = 0; r < CGROUP_ROLES; r++)
        if (!cs->base[r][0])
            snprintf(cs->why + strlen(cs->why), sizeof cs->why - strlen(cs->why), "%s%s", cs->why[0] ? ", " : "", role_names[r]);
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    uint32_t weight = cpus > 0 && cpus < WEIGHT_MAX / WEIGHT_USUAL ? (uint32_t)cpus * WEIGHT_USUAL : cpus > 0 ? WEIGHT_MAX : WEIGHT_USUAL;
    if (cs->base[CGROUP_CPU][0] && weight != WEIGHT_USUAL)
        set_weight(cs->base[CGROUP_CPU], cs->v2[CGROUP_CPU], weight);
}

bool cgroups_limits(const struct cgroups *cs) { return cs->base[CGROUP_MEMORY][0] && cs->base[CGROUP_CPU][0]; }

static bool same_base(const struct cgroups *cs, int a, int b) { return strcmp(cs->base[a], cs->base[b]) == 0; }

/* Earlier roles with the same directory have done it already. */
static bool is_repeat(const struct cgroups *cs, int r)
{
    for (int i = 0; i < r; i++)
        if (same_base(cs, i, r))
            return true;
    return false;
}

void cgroups_close(struct cgroups *cs)
{
    for (int r = 0; r < CGROUP_ROLES; r++)
        if (cs->base[r][0] && !is_repeat(cs, r))
            remove_groups(cs->base[r], GROUP_LEVELS);
}

/* ---- shares */

static bool share_dir(const struct cgroups *cs, uint64_t id, char out[CGROUP_PATH_MAX])
{
    int n = snprintf(out, CGROUP_PATH_MAX, "%s/g-%llx", cs->base[CGROUP_CPU], (unsigned long long)id);
    return n > 0 && n < CGROUP_PATH_MAX;
}

static struct cgroup_share *share_find(struct cgroups *cs, uint64_t id)
{
    for (size_t i = 0; i < cs->n_shares; i++)
        if (cs->shares[i].id == id)
            return &cs->shares[i];
    return NULL;
}

void cgroups_weigh(struct cgroups *cs, uint64_t id, uint32_t weight)
{
    char dir[CGROUP_PATH_MAX];
    struct cgroup_share *s = share_find(cs, id);
    if (!s || s->weight == weight || !share_dir(cs, id, dir))
        return;
    s->weight = weight;
    set_weight(dir, cs->v2[CGROUP_CPU], weight);
}

/* The one that has been empty for longest goes. */
static void share_forget(struct cgroups *cs)
{
    char dir[CGROUP_PATH_MAX];
    struct cgroup_share *oldest = NULL;
    for (size_t i = 0; i < cs->n_shares; i++)
        if (cs->shares[i].n_groups == 0 && (!oldest || cs->shares[i].emptied < oldest->emptied))
            oldest = &cs->shares[i];
    if (!oldest)
        return;
    if (share_dir(cs, oldest->id, dir))
        rmdir(dir);
    *oldest = cs->shares[--cs->n_shares];
    cs->n_idle--;
}

/* False: it cannot be had, and the instance runs beside all shares. */
static bool share_join(struct cgroups *cs, uint64_t id, uint32_t weight)
{
    char dir[CGROUP_PATH_MAX];
    struct cgroup_share *s = share_find(cs, id);
    if (!s) {
        if (cs->n_shares == CGROUP_SHARES_MAX)
            share_forget(cs);
        if (cs->n_shares == CGROUP_SHARES_MAX || !share_dir(cs, id, dir) || (mkdir(dir, 0755) != 0 && errno != EEXIST))
            return false;
        if (cs->v2[CGROUP_CPU])
            write_file(dir, "cgroup.subtree_control", "+memory +cpu");
        s = &cs->shares[cs->n_shares++];
        *s = (struct cgroup_share){.id = id, .weight = WEIGHT_USUAL};
        cs->n_idle++;
    }
    cs->n_idle -= s->n_groups++ == 0;
    cgroups_weigh(cs, id, weight);
    return true;
}

static void share_part(struct cgroups *cs, uint64_t id)
{
    struct cgroup_share *s = share_find(cs, id);
    if (!s || --s->n_groups > 0)
        return;
    s->emptied = ++cs->n_emptied;
    if (++cs->n_idle > CGROUP_SHARES_IDLE)
        share_forget(cs);
}

/* ---- groups */

static bool group_dir(const struct cgroups *cs, const struct cgroup *g, int r, char out[CGROUP_PATH_MAX])
{
    char outer[CGROUP_PATH_MAX];
    if (!g->share || !same_base(cs, r, CGROUP_CPU) || !share_dir(cs, g->share, outer))
        memcpy(outer, cs->base[r], sizeof outer);
    int n = snprintf(out, CGROUP_PATH_MAX, "%s/%s", outer, g->name);
    return n > 0 && n < CGROUP_PATH_MAX;
}

static void set_memory(const char *dir, bool v2, uint64_t bytes)
{
    char text[32];
    snprintf(text, sizeof text, "%llu", (unsigned long long)bytes);
    write_file(dir, v2 ? "memory.max" : "memory.limit_in_bytes", text);
    if (v2)
        write_file(dir, "memory.oom.group", "1"); /* a half-killed program serves nobody */
}

static void set_cpu(const char *dir, bool v2, uint32_t millis)
{
    char text[64];
    unsigned quota_us = millis * (CPU_PERIOD_US / 1000);
    if (v2) {
        snprintf(text, sizeof text, "%u %d", quota_us, CPU_PERIOD_US);
        write_file(dir, "cpu.max", text);
        return;
    }
    snprintf(text, sizeof text, "%d", CPU_PERIOD_US);
    write_file(dir, "cpu.cfs_period_us", text);
    snprintf(text, sizeof text, "%u", quota_us);
    write_file(dir, "cpu.cfs_quota_us", text);
}

/* By writing 0 to `tasks` a process that has one thread moves itself in 20 us; by cgroup.procs, which waits until no process forks, it
 * takes 10 ms and more. v2 has only the latter, but there a process is born in its group. */
static int open_entrance(const char *dir, bool v2)
{
    char path[CGROUP_PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/%s", dir, v2 ? "cgroup.procs" : "tasks");
    return open(path, O_WRONLY | O_CLOEXEC);
}

static void make_role(struct cgroups *cs, struct cgroup *g, int r)
{
    char dir[CGROUP_PATH_MAX];
    if (!group_dir(cs, g, r, dir) || (mkdir(dir, 0755) != 0 && errno != EEXIST))
        return;
    g->made[r] = true;
    if (r == CGROUP_TRACK)
        g->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    else
        g->procs_fd[r] = open_entrance(dir, cs->v2[r]);
}

void cgroup_make(struct cgroups *cs, struct cgroup *g, const char *name, const struct cgroup_wish *wish)
{
    const bool wanted[CGROUP_ROLES] = {cs->v2[CGROUP_TRACK], wish->memory_bytes > 0, wish->cpu_millis > 0};
    memset(g, 0, sizeof *g);
    snprintf(g->name, sizeof g->name, "%s", name);
    g->dir_fd = -1;
    for (int r = 0; r < CGROUP_ROLES; r++)
        g->procs_fd[r] = -1;
    if (wish->share && cs->base[CGROUP_CPU][0] && share_join(cs, wish->share, wish->weight))
        g->share = wish->share;
    for (int r = 0; r < CGROUP_ROLES; r++) {
        char dir[CGROUP_PATH_MAX];
        if (!wanted[r] || !cs->base[r][0] || !group_dir(cs, g, r, dir))
            continue;
        if (!(r != CGROUP_TRACK && g->made[CGROUP_TRACK] && same_base(cs, CGROUP_TRACK, r)))
            make_role(cs, g, r);
        if (r == CGROUP_MEMORY)
            set_memory(dir, cs->v2[r], wish->memory_bytes);
        if (r == CGROUP_CPU)
            set_cpu(dir, cs->v2[r], wish->cpu_millis);
    }
    char share[CGROUP_PATH_MAX];
    if (g->share && !wanted[CGROUP_CPU] && !cs->v2[CGROUP_CPU] && share_dir(cs, g->share, share))
        g->procs_fd[CGROUP_CPU] = open_entrance(share, false); /* without a limit it needs no group of its own for this */
}

/* Starts are like vfork(2): the child borrows our memory until it executes, which spares copying the page tables, most of the cost of a
 * start. It has a stack of its own, so it cannot disturb ours, and the calling thread stands still meanwhile. The race detector's runtime does not bear a
 * second process in its memory, so under it nothing is borrowed. */
#ifdef __SANITIZE_THREAD__
#define BORROW 0
#else
#define BORROW (CLONE_VM | CLONE_VFORK)
#endif

static pid_t start_anywhere(const struct cgroup_child *c)
{
    return clone(c->run, c->stack + CGROUP_STACK, BORROW | CLONE_PARENT_SETTID | SIGCHLD, c->arg, c->pid);
}

#if defined(__x86_64__) && BORROW
/* The C library has no clone3 that begins in a function. Without one the child would return from the call on a stack that is empty, or,
 * were it ours, overwrite the address that we return to: so syscall(SYS_clone3, …) is only right for a child with memory of its own. */
static long clone3_run(struct clone_args *args, int (*run)(void *arg), void *arg)
{
    long rc = SYS_clone3;
    register int (*in_child)(void *) __asm__("r8") = run;
    register void *with __asm__("r9") = arg;
    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xor %%ebp, %%ebp\n\t"
                     "mov %%r9, %%rdi\n\t"
                     "call *%%r8\n\t"
                     "mov %%eax, %%edi\n\t"
                     "mov %[exit], %%eax\n\t"
                     "syscall\n\t"
                     "1:"
                     : "+a"(rc)
                     : "D"(args), "S"(sizeof *args), "r"(in_child), "r"(with), [exit] "i"(SYS_exit)
                     : "rcx", "r11", "cc", "memory");
    return rc;
}

static pid_t start_in(const struct cgroup *g, const struct cgroup_child *c)
{
    struct clone_args args = {.flags = CLONE_INTO_CGROUP | CLONE_PARENT_SETTID | BORROW,
                              .exit_signal = SIGCHLD,
                              .parent_tid = (uintptr_t)c->pid,
                              .stack = (uintptr_t)c->stack,
                              .stack_size = CGROUP_STACK,
                              .cgroup = (unsigned)g->dir_fd};
    return (pid_t)clone3_run(&args, c->run, c->arg);
}
#else
static pid_t start_in(const struct cgroup *g, const struct cgroup_child *c)
{
    struct clone_args args = {.flags = CLONE_INTO_CGROUP | CLONE_PARENT_SETTID,
                              .exit_signal = SIGCHLD,
                              .parent_tid = (uintptr_t)c->pid,
                              .cgroup = (unsigned)g->dir_fd};
    pid_t rc = (pid_t)syscall(SYS_clone3, &args, sizeof args);
    if (rc == 0)
        _exit(c->run(c->arg));
    return rc;
}
#endif

void cgroup_fork(struct cgroup *g, const struct cgroup_child *c)
{
    if (g->dir_fd >= 0 && start_in(g, c) >= 0)
        return;
    if (g->dir_fd >= 0)
        g->procs_fd[CGROUP_TRACK] = openat(g->dir_fd, "cgroup.procs", O_WRONLY | O_CLOEXEC); /* an old kernel: by hand */
    if (start_anywhere(c) < 0)
        __atomic_store_n(c->pid, -1, __ATOMIC_RELEASE);
}

void cgroup_enter(const struct cgroup *g)
{
    for (int r = 0; r < CGROUP_ROLES; r++)
        if (g->procs_fd[r] >= 0 && write(g->procs_fd[r], "0", 1) < 0)
            continue; /* then it runs without: never a reason not to run */
}

void cgroup_entered(struct cgroup *g)
{
    if (g->dir_fd >= 0)
        close(g->dir_fd);
    g->dir_fd = -1;
    for (int r = 0; r < CGROUP_ROLES; r++) {
        if (g->procs_fd[r] >= 0)
            close(g->procs_fd[r]);
        g->procs_fd[r] = -1;
    }
}

size_t cgroup_kill(const struct cgroups *cs, const struct cgroup *g)
{
    char dir[CGROUP_PATH_MAX], path[CGROUP_PATH_MAX + 32], line[64];
    size_t n = 0;
    if (!g->made[CGROUP_TRACK] || !group_dir(cs, g, CGROUP_TRACK, dir))
        return 0;
    snprintf(path, sizeof path, "%s/cgroup.procs", dir);
    FILE *f = fopen(path, "re");
    if (!f)
        return 0;
    while (n < KILL_PIDS_MAX && fgets(line, sizeof line, f)) {
        long pid = strtol(line, NULL, 10);
        if (pid > 1 && pid != getpid() && kill((pid_t)pid, SIGKILL) == 0)
            n++;
    }
    fclose(f);
    return n;
}

bool cgroup_oom(const struct cgroups *cs, const struct cgroup *g)
{
    char dir[CGROUP_PATH_MAX], path[CGROUP_PATH_MAX + 32], text[1024];
    if (!cs->base[CGROUP_MEMORY][0] || !group_dir(cs, g, CGROUP_MEMORY, dir))
        return false;
    snprintf(path, sizeof path, "%s/%s", dir, cs->v2[CGROUP_MEMORY] ? "memory.events" : "memory.oom_control");
    read_file(path, text, sizeof text);
    const char *kills = strstr(text, "oom_kill ");
    return kills && strtol(kills + strlen("oom_kill "), NULL, 10) > 0;
}

void cgroup_drop(struct cgroups *cs, struct cgroup *g)
{
    char dir[CGROUP_PATH_MAX];
    cgroup_entered(g);
    for (int r = 0; r < CGROUP_ROLES; r++)
        if (g->made[r] && group_dir(cs, g, r, dir))
            rmdir(dir);
    if (g->share)
        share_part(cs, g->share);
    g->share = 0;
}

/* ---- what the host leaves us */

static uint64_t read_limit(const char *dir, bool v2)
{
    char path[CGROUP_PATH_MAX + 32], text[64], *end;
    snprintf(path, sizeof path, "%s/%s", dir, v2 ? "memory.max" : "memory.limit_in_bytes");
    if (read_file(path, text, sizeof text) == 0)
        return UINT64_MAX;
    unsigned long long bytes = strtoull(text, &end, 10);
    return end == text ? UINT64_MAX : bytes; /* "max" */
}

uint64_t cgroup_memory_limit(void)
{
    uint64_t least = UINT64_MAX;
    for (int v2 = 0; v2 < 2; v2++) {
        const char *controller = v2 ? NULL : "memory";
        char mount[CGROUP_PATH_MAX], own[CGROUP_PATH_MAX], dir[CGROUP_PATH_MAX];
        if (!mount_point(controller, mount) || !own_path(controller, own))
            continue;
        int n = snprintf(dir, sizeof dir, "%s%s", mount, strcmp(own, "/") == 0 ? "" : own);
        /* From our own group outwards: each of them holds. */
        for (bool more = n > 0 && (size_t)n < sizeof dir; more;) {
            uint64_t bytes = read_limit(dir, v2);
            least = bytes < least ? bytes : least;
            char *slash = strrchr(dir, '/');
            more = slash && (size_t)(slash - dir) >= strlen(mount);
            if (more)
                *slash = '\0';
        }
    }
    return least;
}

/** proc_scan.c: /proc read and put in order of numbers, so that parents are found. */
#include "executor/proc_scan.h"
#include "executor/warden.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ENVIRON_READ_MAX 4096 /* the mark is the first variable */

/* How much of it there is, as text; 0: the process is gone. */
static size_t read_text(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, size - 1);
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    return n > 0 ? (size_t)n : 0;
}

static bool proc_read(const char *pid, struct proc *p)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
    if (read_text(path, text, sizeof text) == 0)
        return false;
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

bool procs_scan(struct procs *ps)
{
    DIR *d = opendir("/proc");
    if (!d)
        return false;
    ps->n = 0;
    for (struct dirent *ent; (ent = readdir(d));) {
        if (ent->d_name[0] < '1' || ent->d_name[0] > '9')
            continue;
        if (ps->n == ps->cap) {
            size_t cap = ps->cap ? ps->cap * 2 : 256;
            struct proc *grown = realloc(ps->all, cap * sizeof *grown);
            if (!grown) {
                closedir(d);
                return false;
            }
            ps->all = grown;
            ps->cap = cap;
        }
        if (proc_read(ent->d_name, &ps->all[ps->n]))
            ps->n++;
    }
    closedir(d);
    qsort(ps->all, ps->n, sizeof *ps->all, by_pid);
    pid_t self = getpid();
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < ps->n; i++) {
            struct proc *p = &ps->all[i], key = {.pid = p->ppid};
            if (p->ours)
                continue;
            const struct proc *parent = bsearch(&key, ps->all, ps->n, sizeof key, by_pid);
            p->ours = p->ppid == self || (parent && parent->ours);
            more = more || p->ours;
        }
    }
    return true;
}

bool proc_has_mark(pid_t pid, const char *mark)
{
    char path[64], text[ENVIRON_READ_MAX];
    snprintf(path, sizeof path, "/proc/%d/environ", (int)pid);
    size_t n = read_text(path, text, sizeof text);
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
        if (ent->d_name[0] >= '1' && ent->d_name[0] <= '9' && proc_read(ent->d_name, &p) && p.state != 'Z' && proc_has_mark(p.pid, mark) &&
            kill(p.pid, SIGKILL) == 0)
            n++;
    }
    if (d)
        closedir(d);
    return n;
}

/* warden_start.c: how the warden comes to be: as a fork of the server that has just begun, or, when that one was lost, as this
 * program started again. */
#include "executor/warden.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define WARDEN_FD 3

/* What `ps` shows of a process are the bytes of its arguments: let it say what this copy of the server is. */
static void take_title(char **argv)
{
    char *end = argv[0];
    for (char **a = argv; *a && *a == end; a++) /* they lie one behind the other */
        end = *a + strlen(*a) + 1;
    size_t room = (size_t)(end - argv[0]), program = strlen(argv[0]) + 1;
    if (room <= program + sizeof WARDEN_WORD)
        return;
    memset(argv[0] + program, 0, room - program);
    memcpy(argv[0] + program, WARDEN_WORD, sizeof WARDEN_WORD);
}

/* Signals that the warden does not set itself: whoever started the server may have had ends of children ignored. */
static int become_warden(int fd, char **argv, struct err *e)
{
    const struct sigaction usual = {.sa_handler = SIG_DFL};
    sigaction(SIGCHLD, &usual, NULL);
    setsid();
    take_title(argv);
    if (dup2(fd, WARDEN_FD) < 0 || close_range(WARDEN_FD + 1, ~0U, 0) != 0)
        return err_sys(e, ERR_INTERNAL, errno, "the warden's descriptors");
    return 0;
}

static int make_pair(int sv[2], struct err *e)
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) != 0)
        return err_sys(e, ERR_RESOURCE_EXHAUSTED, errno, "no socket for the warden");
    return 0;
}

int warden_fork(struct warden_process *out, char **argv, struct err *e)
{
    int sv[2], rc = make_pair(sv, e);
    if (rc)
        return rc;
    pid_t pid = fork();
    *out = (struct warden_process){.sock = pid == 0 ? WARDEN_FD : sv[0], .pid = pid};
    if (pid == 0)
        return become_warden(sv[1], argv, e);
    close(sv[1]);
    if (pid < 0) {
        close(sv[0]);
        return err_sys(e, ERR_UNAVAILABLE, errno, "the warden could not be started");
    }
    return 0;
}

static int spawn(const char *self, int fd, pid_t *pid)
{
    char number[16], word[] = WARDEN_WORD, *path = strdup(self);
    snprintf(number, sizeof number, "%d", WARDEN_FD);
    if (!path)
        return ENOMEM;
    char *argv[] = {path, word, number, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attr);
    posix_spawn_file_actions_adddup2(&actions, fd, WARDEN_FD);
    posix_spawn_file_actions_addclosefrom_np(&actions, WARDEN_FD + 1);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    int rc = posix_spawn(pid, path, &actions, &attr, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    free(path);
    return rc;
}

int warden_spawn(struct warden_process *out, const char *self, struct err *e)
{
    int sv[2], rc = make_pair(sv, e);
    if (rc)
        return rc;
    pid_t pid;
    rc = spawn(self, sv[1], &pid);
    close(sv[1]);
    if (rc) {
        close(sv[0]);
        return err_sys(e, ERR_UNAVAILABLE, rc, "the warden (%s " WARDEN_WORD ") could not be started", self);
    }
    *out = (struct warden_process){.sock = sv[0], .pid = pid};
    return 0;
}

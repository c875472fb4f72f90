/* spawn.c: how long a program needs from posix_spawn to its first answer when nobody is in between: what a cold start is compared
 * with. `spawn --rounds N PROGRAM [ARGS...]` starts it with a free PORT, connects again and again without a pause until it
 * listens, and sends one GET. The result is one line of JSON: from just before posix_spawn to the answer's first byte. */
#include "tools/bench/hist.h"
#include "tools/bench/util.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_NS (10 * INT64_C(1000000000))

static pid_t start(char **argv, const char *port, posix_spawn_file_actions_t *quiet)
{
    char *env[256];
    size_t n = 0;
    pid_t pid;
    for (char **e = environ; *e && n < sizeof env / sizeof *env - 2; e++)
        if (strncmp(*e, "PORT=", 5) != 0)
            env[n++] = *e;
    env[n++] = (char *)port;
    env[n] = NULL;
    int error = posix_spawn(&pid, argv[0], quiet, NULL, argv, env);
    if (error)
        die("cannot start %s: %s", argv[0], strerror(error));
    return pid;
}

static uint16_t free_port(void)
{
    uint16_t port = 0;
    close(listen_local(&port));
    return port;
}

static void first_answer(uint16_t port, pid_t pid, int64_t give_up_ns)
{
    static const char ask[] = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    char byte;
    int fd;
    while ((fd = connect_local(port)) < 0) {
        if (now_ns() > give_up_ns || waitpid(pid, NULL, WNOHANG) == pid)
            die("the program did not listen on its PORT");
        sched_yield();
    }
    if (send(fd, ask, sizeof ask - 1, MSG_NOSIGNAL) != (ssize_t)sizeof ask - 1 || recv(fd, &byte, 1, 0) != 1)
        die("the program did not answer: %s", strerror(errno));
    close(fd);
}

int main(int argc, char **argv)
{
    static struct hist times;
    posix_spawn_file_actions_t quiet;
    if (argc < 4 || strcmp(argv[1], "--rounds") != 0)
        die_usage("usage: spawn --rounds N PROGRAM [ARGS...]");
    int64_t rounds = parse_number("--rounds", argv[2], 1, 10000);
    posix_spawn_file_actions_init(&quiet);
    posix_spawn_file_actions_addopen(&quiet, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    for (int64_t i = 0; i < rounds; i++) {
        char port_text[32];
        uint16_t port = free_port();
        snprintf(port_text, sizeof port_text, "PORT=%u", port);
        int64_t begin = now_ns();
        pid_t pid = start(argv + 3, port_text, &quiet);
        first_answer(port, pid, begin + PATIENCE_NS);
        hist_add(&times, now_ns() - begin);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
    printf("{\"rounds\":%lld,\"p50_us\":%.1f,\"p90_us\":%.1f,\"max_us\":%.1f}\n", (long long)rounds, hist_percentile(&times, 0.5) / 1e3,
           hist_percentile(&times, 0.9) / 1e3, (double)times.max / 1e3);
    return 0;
}

/* util.c: clock, sockets and memory of the benchmark's programs. */
#include "tools/bench/util.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

BENCH_VPRINTF static void complain(const char *fmt, va_list args)
{
    fprintf(stderr, "%s: ", program_invocation_short_name);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
}

void die(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    complain(fmt, args);
    va_end(args);
    exit(1);
}

void die_usage(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    complain(fmt, args);
    va_end(args);
    exit(2);
}

static int64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

int64_t now_ns(void) { return clock_ns(CLOCK_MONOTONIC); }
int64_t wall_ns(void) { return clock_ns(CLOCK_REALTIME); }

struct cpu cpu_used(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (struct cpu){(double)r.ru_utime.tv_sec * 1e6 + (double)r.ru_utime.tv_usec,
                        (double)r.ru_stime.tv_sec * 1e6 + (double)r.ru_stime.tv_usec};
}

void *xzalloc(size_t bytes)
{
    void *p = calloc(1, bytes ? bytes : 1);
    if (!p)
        die("out of memory for %zu bytes", bytes);
    return p;
}

void *xrealloc(void *p, size_t bytes)
{
    void *moved = realloc(p, bytes ? bytes : 1);
    if (!moved)
        die("out of memory for %zu bytes", bytes);
    return moved;
}

void xfree(void *p) { free(p); }

int64_t parse_number(const char *option, const char *text, int64_t min, int64_t max)
{
    char *end;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    if (end == text || *end || errno || n < min || n > max)
        die_usage("%s: '%s' is not a whole number from %lld to %lld", option, text, (long long)min, (long long)max);
    return n;
}

static struct sockaddr_in local_address(uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

int listen_local(uint16_t *port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in a = local_address(*port);
    socklen_t n = sizeof a;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) || bind(fd, (struct sockaddr *)&a, sizeof a) ||
        listen(fd, 4096) || getsockname(fd, (struct sockaddr *)&a, &n))
        die("cannot listen on 127.0.0.1:%u: %s", *port, strerror(errno));
    *port = ntohs(a.sin_port);
    return fd;
}

int connect_local(uint16_t port)
{
    struct sockaddr_in a = local_address(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0)
        die("cannot make a socket: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

void set_nonblocking(int fd)
{
    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) != 0)
        die("cannot set a socket to non-blocking: %s", strerror(errno));
}

void raise_fd_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

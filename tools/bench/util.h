/** util.h: what the programs of the benchmark share: the clock, sockets of this host, memory that is there or ends the program.
 *  Units:  ns of CLOCK_MONOTONIC, so that times of several processes of one machine may be compared.
 *  Errors: say what is wrong on stderr and exit with 1 (2 for a wrong option): these are short-lived programs.
 *  Thread: one a program.
 *  Nothing here is used by the server, and nothing of the server is used here: an instrument must not change with what it measures. */
#ifndef TOOLS_BENCH_UTIL_H
#define TOOLS_BENCH_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_PRINTF __attribute__((format(printf, 1, 2)))
#define BENCH_VPRINTF __attribute__((format(printf, 1, 0)))
#define NS_PER_S INT64_C(1000000000)
#define BENCH_NORETURN __attribute__((noreturn))

/** CPU time, as getrusage counts it */
struct cpu {
    double user_us, system_us;
};
BENCH_NORETURN BENCH_PRINTF void die(const char *fmt, ...);
BENCH_NORETURN BENCH_PRINTF void die_usage(const char *fmt, ...);
int64_t now_ns(void);
/** Since 1970, by the clock that people see. */
int64_t wall_ns(void);
/** CPU time of this process so far. */
struct cpu cpu_used(void);
void *xzalloc(size_t bytes);
void *xrealloc(void *p, size_t bytes);
void xfree(void *p);
/** A whole number within [min, max], or die_usage naming the option. */
int64_t parse_number(const char *option, const char *text, int64_t min, int64_t max);

/** Listening on 127.0.0.1:port, non-blocking; port 0 picks one, *port then says which. */
int listen_local(uint16_t *port);
/** A blocking connect to 127.0.0.1:port without Nagle; -1 and errno when nobody is there. */
int connect_local(uint16_t port);
void set_nonblocking(int fd);
/** Let this process have as many descriptors as its hard limit allows. */
void raise_fd_limit(void);

#endif

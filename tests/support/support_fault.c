/** support_fault.c: counts the calls that the linker sends here (--wrap in tests/CMakeLists.txt) and fails one of them. */
#include "tests/support/support_fault.h"

#include "tests/support/support.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static _Atomic int armed = -1;
static _Atomic size_t to_failure, left_to_fail;
static _Atomic bool failed, skip_syncs;
static _Thread_local int held;

static const struct {
    const char *name;
    int sys;
} kinds[FAULT_N] = {
    [FAULT_ALLOC] = {"allocation", ENOMEM},
    [FAULT_SQLITE_ALLOC] = {"allocation of SQLite", ENOMEM},
    [FAULT_WRITE] = {"write", EIO},
    [FAULT_FULL] = {"write to a full disk", ENOSPC},
    [FAULT_SYNC] = {"sync", EIO},
    [FAULT_SEND] = {"send", ECONNRESET},
    [FAULT_SEND_FULL] = {"short send", 0},
    [FAULT_RECV] = {"receive", ECONNRESET},
    [FAULT_DESCRIPTOR] = {"descriptor", EMFILE},
};

const char *fault_name(enum fault what) { return kinds[what].name; }

void fault_arm(enum fault what, size_t nth, size_t times)
{
    atomic_store(&armed, -1);
    atomic_store(&failed, false);
    atomic_store(&to_failure, nth);
    atomic_store(&left_to_fail, times);
    atomic_store(&armed, nth ? (int)what : -1);
}

bool fault_disarm(void)
{
    atomic_store(&armed, -1);
    return atomic_load(&failed);
}

void fault_hold(void) { held++; }
void fault_release(void) { held--; }

/* Counts down to the nth; from there on the others that are to fail. */
static bool is_due(void)
{
    size_t left = atomic_load(&to_failure);
    while (left > 1)
        if (atomic_compare_exchange_weak(&to_failure, &left, left - 1))
            return false;
    left = atomic_load(&left_to_fail);
    while (left && left != FAULT_FOR_EVER)
        if (atomic_compare_exchange_weak(&left_to_fail, &left, left - 1))
            return true;
    return left == FAULT_FOR_EVER;
}

bool fault_hits(enum fault what)
{
    if (atomic_load_explicit(&armed, memory_order_relaxed) != (int)what || held || !is_due())
        return false;
    atomic_store(&failed, true);
    errno = kinds[what].sys;
    return true;
}

void support_fail_alloc(size_t nth) { fault_arm(FAULT_ALLOC, nth, FAULT_ONCE); }
bool support_alloc_failed(void) { return fault_disarm(); }

size_t torture(const struct torture *t, enum fault what, size_t times)
{
    size_t failures = 0;
    bool every = t->every || getenv("TORTURE_EVERY");
    for (size_t nth = 1; t->run(t, what, nth, times); nth += every || nth < TORTURE_EACH ? 1 : nth / 4) {
        failures++;
        if (nth > TORTURE_NTH_MAX) {
            fprintf(stderr, "torture: %s: %s %zu still fails: it never ends\n", t->name, fault_name(what), nth);
            abort();
        }
    }
    if (getenv("TORTURE_COUNTS"))
        fprintf(stderr, "%s: %s: %zu failures, %s\n", t->name, fault_name(what), failures, times == FAULT_ONCE ? "once" : "for ever");
    return failures;
}

/* ---- what the linker sends here ---- */

void *__real_malloc(size_t n);
void *__real_calloc(size_t count, size_t n);
void *__real_realloc(void *p, size_t n);
char *__real_strdup(const char *z);
int __real_vasprintf(char **out, const char *fmt, va_list ap);
ssize_t __real_write(int fd, const void *p, size_t n);
ssize_t __real_pwrite(int fd, const void *p, size_t n, off_t at);
int __real_ftruncate(int fd, off_t n);
int __real_fsync(int fd);
int __real_fdatasync(int fd);
ssize_t __real_send(int fd, const void *p, size_t n, int flags);
ssize_t __real_sendmsg(int fd, const struct msghdr *m, int flags);
ssize_t __real_recv(int fd, void *p, size_t n, int flags);
int __real_accept4(int fd, struct sockaddr *a, socklen_t *n, int flags);
int __real_socket(int domain, int type, int protocol);

void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t count, size_t n);
void *__wrap_realloc(void *p, size_t n);
char *__wrap_strdup(const char *z);
int __wrap_vasprintf(char **out, const char *fmt, va_list ap);
int __wrap_asprintf(char **out, const char *fmt, ...);
ssize_t __wrap_write(int fd, const void *p, size_t n);
ssize_t __wrap_pwrite(int fd, const void *p, size_t n, off_t at);
int __wrap_ftruncate(int fd, off_t n);
int __wrap_fsync(int fd);
int __wrap_fdatasync(int fd);
ssize_t __wrap_send(int fd, const void *p, size_t n, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *m, int flags);
ssize_t __wrap_recv(int fd, void *p, size_t n, int flags);
int __wrap_accept4(int fd, struct sockaddr *a, socklen_t *n, int flags);
int __wrap_socket(int domain, int type, int protocol);

void *__wrap_malloc(size_t n) { return fault_hits(FAULT_ALLOC) ? NULL : __real_malloc(n); }
void *__wrap_calloc(size_t count, size_t n) { return fault_hits(FAULT_ALLOC) ? NULL : __real_calloc(count, n); }
void *__wrap_realloc(void *p, size_t n) { return fault_hits(FAULT_ALLOC) ? NULL : __real_realloc(p, n); }
char *__wrap_strdup(const char *z) { return fault_hits(FAULT_ALLOC) ? NULL : __real_strdup(z); }

int __wrap_vasprintf(char **out, const char *fmt, va_list ap) { return fault_hits(FAULT_ALLOC) ? -1 : __real_vasprintf(out, fmt, ap); }

int __wrap_asprintf(char **out, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = __wrap_vasprintf(out, fmt, ap);
    va_end(ap);
    return n;
}

static bool write_fails(void) { return fault_hits(FAULT_WRITE) || fault_hits(FAULT_FULL); }

ssize_t __wrap_write(int fd, const void *p, size_t n) { return write_fails() ? -1 : __real_write(fd, p, n); }
ssize_t __wrap_pwrite(int fd, const void *p, size_t n, off_t at) { return write_fails() ? -1 : __real_pwrite(fd, p, n, at); }
int __wrap_ftruncate(int fd, off_t n) { return write_fails() ? -1 : __real_ftruncate(fd, n); }
void fault_skip_syncs(void) { atomic_store(&skip_syncs, true); }
int __wrap_fsync(int fd) { return fault_hits(FAULT_SYNC) ? -1 : atomic_load(&skip_syncs) ? 0 : __real_fsync(fd); }
int __wrap_fdatasync(int fd) { return fault_hits(FAULT_SYNC) ? -1 : atomic_load(&skip_syncs) ? 0 : __real_fdatasync(fd); }

/* As after a real reset, nothing goes over it any more. */
static bool reset_now(int fd, enum fault what)
{
    if (!fault_hits(what))
        return false;
    int sys = errno;
    shutdown(fd, SHUT_RDWR);
    errno = sys;
    return true;
}

ssize_t __wrap_send(int fd, const void *p, size_t n, int flags)
{
    if (reset_now(fd, FAULT_SEND))
        return -1;
    return __real_send(fd, p, n > 1 && fault_hits(FAULT_SEND_FULL) ? 1 : n, flags);
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *m, int flags)
{
    if (reset_now(fd, FAULT_SEND))
        return -1;
    if (m->msg_iovlen && m->msg_iov[0].iov_len && fault_hits(FAULT_SEND_FULL))
        return __real_send(fd, m->msg_iov[0].iov_base, 1, flags);
    return __real_sendmsg(fd, m, flags);
}

ssize_t __wrap_recv(int fd, void *p, size_t n, int flags) { return reset_now(fd, FAULT_RECV) ? -1 : __real_recv(fd, p, n, flags); }

int __wrap_accept4(int fd, struct sockaddr *a, socklen_t *n, int flags)
{
    return fault_hits(FAULT_DESCRIPTOR) ? -1 : __real_accept4(fd, a, n, flags);
}

int __wrap_socket(int domain, int type, int protocol) { return fault_hits(FAULT_DESCRIPTOR) ? -1 : __real_socket(domain, type, protocol); }

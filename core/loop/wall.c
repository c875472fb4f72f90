/** wall.c: noticing that the wall clock was set, or the machine slept: a timer that never comes, which the kernel cancels then. */
#include "core/loop/wall_int.h"

#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define NEVER_S (INT64_MAX / NS_PER_S) /* the year 2262 */

struct wall_watch {
    struct loop_fd *ready;
    int fd;
    void (*fn)(void *arg);
    void *arg;
};

static void on_ready(void *arg, int events)
{
    struct wall_watch *w = arg;
    uint64_t times;
    ssize_t n = read(w->fd, &times, sizeof times); /* it stays armed for the next jump */
    if (wall_was_set(n, errno))
        w->fn(w->arg); /* may free w */
}

struct wall_watch *wall_watch_over(struct loop *l, int fd, void (*fn)(void *arg), void *arg, struct err *e)
{
    struct wall_watch *w = calloc(1, sizeof *w);
    struct loop_fd *ready = w ? loop_fd_new(l, fd, on_ready, w, e) : NULL;
    if (!ready) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory to watch the wall clock");
        free(w);
        close(fd);
        return NULL;
    }
    *w = (struct wall_watch){ready, fd, fn, arg};
    loop_fd_want(ready, LOOP_READ);
    return w;
}

struct wall_watch *loop_wall_watch(struct loop *l, void (*fn)(void *arg), void *arg, struct err *e)
{
    int fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    if (fd < 0) {
        err_sys(e, ERR_RESOURCE_EXHAUSTED, errno, "cannot watch the wall clock");
        return NULL;
    }
    struct itimerspec never = {.it_value.tv_sec = NEVER_S};
    if (timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL)) {
        err_sys(e, ERR_UNIMPLEMENTED, errno, "this kernel does not tell when the wall clock is set");
        close(fd);
        return NULL;
    }
    return wall_watch_over(l, fd, fn, arg, e);
}

void loop_wall_unwatch(struct wall_watch *w)
{
    if (!w)
        return;
    loop_fd_free(w->ready);
    close(w->fd);
    free(w);
}

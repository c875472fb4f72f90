/** net.h: one loop for a fuzz target that speaks over sockets: made once, turned by hand, and set so that no run leaves anything to
 *         the next one.
 *  Thread: one. */
#ifndef TESTS_FUZZ_NET_H
#define TESTS_FUZZ_NET_H

#include "core/loop/loop.h"
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

struct fuzz_net {
    struct loop *loop;
    struct timer turn;
    int turns_left;
};

static inline void fuzz_net_turn(struct timer *t, int64_t now_ns)
{
    struct fuzz_net *n = CONTAINER_OF(t, struct fuzz_net, turn);
    if (--n->turns_left < 0)
        loop_stop(n->loop);
    else
        FUZZ_MUST(timer_set(loop_timers(n->loop), t, now_ns, NULL) == 0);
}

static inline void fuzz_net_init(struct fuzz_net *n)
{
    n->loop = loop_new(NULL);
    FUZZ_MUST(n->loop);
    timer_init(&n->turn, fuzz_net_turn);
}

/** `turns` iterations: whatever is ready happens. */
static inline void fuzz_net_run(struct fuzz_net *n, int turns)
{
    n->turns_left = turns;
    FUZZ_MUST(timer_set(loop_timers(n->loop), &n->turn, loop_now(n->loop), NULL) == 0);
    loop_run(n->loop);
}

/** Send what fits; the rest is dropped with the connection, as when the peer does not want it. */
static inline void fuzz_net_send(int fd, struct str bytes)
{
    ssize_t n = send(fd, bytes.p, bytes.n, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)n;
}

/** Take what is there; false at the peer's end. */
static inline bool fuzz_net_read(int fd, struct buf *into)
{
    for (;;) {
        char bytes[16384];
        ssize_t n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        if (n == 0)
            return false;
        FUZZ_MUST(buf_add(into, bytes, (size_t)n) == 0);
    }
}

#endif

/** loop.c: the libev adapter. libev waits and says which fds are ready; time, mail and graves are ours. */
#include "core/loop/loop.h"

#include <assert.h>
#include <ev.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define LOOP_OWED_MAX 8 /* mailboxes posted to in one iteration; further ones are woken at once */
#define LOOP_OWN_FDS 4  /* libev's epoll, wake-up and timer, and one to spare */
/* libev's timer counts from a reading a little before ours: without this it could wake just too early. */
#define LOOP_TIMER_SLACK_NS INT64_C(1000)
/* The longest wait that is handed to libev, whose times are doubles; waking once a day costs nothing. */
#define LOOP_WAIT_MAX_NS (86400 * NS_PER_S)

struct loop_signal {
    ev_signal ev;
    struct loop *loop;
    void (*fn)(void *arg, int signo);
    void *arg;
};

struct loop {
    struct ev_loop *ev;
    ev_async wake;
    ev_timer timer;
    int64_t timer_due_ns; /* what `timer` is set to; TIMER_NEVER when it is not started */
    _Atomic bool stop;
    int64_t now_ns;
    struct clock clock;
    struct timers *timers;
    struct mailbox *mailbox;
    struct grave *first_grave;
    struct grave **last_grave;           /* where the next one is linked */
    struct mailbox *owed[LOOP_OWED_MAX]; /* whose owners are to be woken */
    size_t owed_count;
    struct loop_signal signals[LOOP_SIGNALS_MAX];
    size_t signal_count;
};

struct loop_fd {
    ev_io ev;
    struct loop *loop;
    loop_fd_fn fn;
    void *arg;
    int want;
};

static int64_t sampled_mono_ns(void *ctx) { return ((struct loop *)ctx)->now_ns; }
static int64_t system_wall_ns(void *ctx) { return clock_wall_ns(clock_real()); }

static void sample_now(struct loop *l) { l->now_ns = clock_mono_ns(clock_real()); }

static void wake_loop(void *arg)
{
    struct loop *l = arg;
    ev_async_send(l->ev, &l->wake);
}

/* The loop looks at its mailbox and its timers after every wait, whatever ended it. */
static void on_wake(struct ev_loop *ev, ev_async *w, int events) {}
static void on_timer(struct ev_loop *ev, ev_timer *w, int events)
{
    ((struct loop *)w->data)->timer_due_ns = TIMER_NEVER; /* libev stopped it */
}

/* libev calls this once it has waited, before any callback: the one moment to look at the clock. */
static void after_wait(struct ev_loop *ev)
{
    sample_now(ev_userdata(ev));
    ev_invoke_pending(ev);
}

/* libev aborts when it cannot open what it needs, so see first whether it could. */
static bool fds_to_spare(void)
{
    int fds[LOOP_OWN_FDS];
    size_t n = 0;
    while (n < LOOP_OWN_FDS && (fds[n] = eventfd(0, EFD_CLOEXEC)) >= 0)
        n++;
    for (size_t i = 0; i < n; i++)
        close(fds[i]);
    return n == LOOP_OWN_FDS;
}

struct loop *loop_new(struct err *e)
{
    struct loop *l = calloc(1, sizeof *l);
    if (!l)
        goto no_memory;
    l->last_grave = &l->first_grave;
    l->timer_due_ns = TIMER_NEVER;
    l->clock = (struct clock){sampled_mono_ns, system_wall_ns, l};
    atomic_init(&l->stop, false);
    sample_now(l);
    l->timers = timers_new();
    l->mailbox = mailbox_new(LOOP_MAIL_MAX, wake_loop, l);
    if (!l->timers || !l->mailbox)
        goto no_memory;
    l->ev = fds_to_spare() ? ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV) : NULL;
    if (!l->ev) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "cannot make an event loop: is the limit of open files reached?");
        loop_free(l);
        return NULL;
    }
    ev_set_userdata(l->ev, l);
    ev_set_invoke_pending_cb(l->ev, after_wait);
    ev_async_init(&l->wake, on_wake);
    ev_async_start(l->ev, &l->wake);
    ev_timer_init(&l->timer, on_timer, 0., 0.);
    l->timer.data = l;
    return l;

no_memory:
    err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for an event loop");
    loop_free(l);
    return NULL;
}

static void dig_graves(struct loop *l)
{
    /* Freeing one thing may bury another: go on until there is none. */
    while (l->first_grave) {
        struct grave *g = l->first_grave;
        l->first_grave = g->next;
        if (!l->first_grave)
            l->last_grave = &l->first_grave;
        g->free_fn(g->arg);
    }
}

static void wake_owed(struct loop *l)
{
    while (l->owed_count)
        mailbox_wake(l->owed[--l->owed_count]);
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    dig_graves(l);
    wake_owed(l);
    if (l->ev) {
        for (size_t i = 0; i < l->signal_count; i++)
            ev_signal_stop(l->ev, &l->signals[i].ev);
        ev_timer_stop(l->ev, &l->timer);
        ev_async_stop(l->ev, &l->wake);
        ev_loop_destroy(l->ev);
    }
    mailbox_free(l->mailbox);
    timers_free(l->timers);
    free(l);
}

/* Point libev's one timer at the next deadline. True when that has passed already: then do not wait. */
static bool arm_timer(struct loop *l)
{
    int64_t due_ns = timers_next_ns(l->timers);
    if (due_ns == TIMER_NEVER || due_ns != l->timer_due_ns) {
        ev_timer_stop(l->ev, &l->timer);
        l->timer_due_ns = TIMER_NEVER;
    }
    if (due_ns == TIMER_NEVER || due_ns == l->timer_due_ns)
        return false;
    int64_t now_ns = clock_mono_ns(clock_real());
    if (due_ns <= now_ns)
        return true;
    int64_t wait_ns = due_ns - now_ns < LOOP_WAIT_MAX_NS ? due_ns - now_ns : LOOP_WAIT_MAX_NS;
    ev_now_update(l->ev);
    ev_timer_set(&l->timer, (double)(wait_ns + LOOP_TIMER_SLACK_NS) / (double)NS_PER_S, 0.);
    ev_timer_start(l->ev, &l->timer);
    l->timer_due_ns = due_ns;
    return false;
}

void loop_run(struct loop *l)
{
    while (!atomic_load_explicit(&l->stop, memory_order_acquire)) {
        bool overdue = arm_timer(l);
        ev_run(l->ev, overdue ? EVRUN_NOWAIT : EVRUN_ONCE);
        mailbox_deliver(l->mailbox);
        timers_run(l->timers, l->now_ns);
        wake_owed(l); /* they can begin while the graves, which hold all that is to be sent, are dug */
        dig_graves(l);
        wake_owed(l);
    }
    atomic_store_explicit(&l->stop, false, memory_order_relaxed); /* it may be run again */
}

void loop_stop(struct loop *l)
{
    atomic_store_explicit(&l->stop, true, memory_order_release);
    wake_loop(l);
}

int64_t loop_now(const struct loop *l) { return l->now_ns; }
const struct clock *loop_clock(const struct loop *l) { return &l->clock; }
struct timers *loop_timers(struct loop *l) { return l->timers; }
struct mailbox *loop_mailbox(struct loop *l) { return l->mailbox; }

static void owe(struct loop *l, struct mailbox *to)
{
    for (size_t i = 0; i < l->owed_count; i++)
        if (l->owed[i] == to)
            return; /* its owner was quick and emptied it meanwhile */
    if (l->owed_count == LOOP_OWED_MAX)
        mailbox_wake(to);
    else
        l->owed[l->owed_count++] = to;
}

void loop_post(struct loop *from, struct mailbox *to, struct mail *m)
{
    if (mailbox_post_quietly(to, m))
        owe(from, to);
}

bool loop_offer(struct loop *from, struct mailbox *to, struct mail *m)
{
    bool owed;
    if (!mailbox_offer_quietly(to, m, &owed))
        return false;
    if (owed)
        owe(from, to);
    return true;
}

static void on_fd(struct ev_loop *ev, ev_io *w, int events)
{
    struct loop_fd *f = w->data;
    int ready = (events & EV_READ ? LOOP_READ : 0) | (events & EV_WRITE ? LOOP_WRITE : 0);
    if (events & EV_ERROR)
        ready = LOOP_READ | LOOP_WRITE;
    f->fn(f->arg, ready); /* may free f */
}

struct loop_fd *loop_fd_new(struct loop *l, int fd, loop_fd_fn fn, void *arg, struct err *e)
{
    assert(fd >= 0);
    struct loop_fd *f = calloc(1, sizeof *f);
    if (!f) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory to watch fd %d", fd);
        return NULL;
    }
    f->loop = l;
    f->fn = fn;
    f->arg = arg;
    ev_io_init(&f->ev, on_fd, fd, 0);
    f->ev.data = f;
    return f;
}

void loop_fd_want(struct loop_fd *f, int events)
{
    if (events == f->want)
        return;
    f->want = events;
    ev_io_stop(f->loop->ev, &f->ev);
    if (!events)
        return;
    ev_io_set(&f->ev, f->ev.fd, (events & LOOP_READ ? EV_READ : 0) | (events & LOOP_WRITE ? EV_WRITE : 0));
    ev_io_start(f->loop->ev, &f->ev);
}

void loop_fd_free(struct loop_fd *f)
{
    if (!f)
        return;
    ev_io_stop(f->loop->ev, &f->ev); /* also drops an event that waits to be called */
    free(f);
}

void loop_bury(struct loop *l, struct grave *g, void (*free_fn)(void *), void *arg)
{
    *g = (struct grave){NULL, free_fn, arg};
    *l->last_grave = g;
    l->last_grave = &g->next;
}

static void on_signal(struct ev_loop *ev, ev_signal *w, int events)
{
    struct loop_signal *s = w->data;
    s->fn(s->arg, w->signum);
}

int loop_signal(struct loop *l, int signo, void (*fn)(void *arg, int signo), void *arg, struct err *e)
{
    if (signo <= 0 || signo >= NSIG || signo == SIGKILL || signo == SIGSTOP)
        return err_set(e, ERR_INVALID_ARGUMENT, "signal %d cannot be watched", signo);
    for (size_t i = 0; i < l->signal_count; i++)
        if (l->signals[i].ev.signum == signo)
            return err_set(e, ERR_ALREADY_EXISTS, "signal %d is watched already", signo);
    if (l->signal_count == LOOP_SIGNALS_MAX)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "a loop watches at most %d signals", LOOP_SIGNALS_MAX);
    struct loop_signal *s = &l->signals[l->signal_count++];
    *s = (struct loop_signal){.loop = l, .fn = fn, .arg = arg};
    ev_signal_init(&s->ev, on_signal, signo);
    s->ev.data = s;
    ev_signal_start(l->ev, &s->ev);
    return 0;
}

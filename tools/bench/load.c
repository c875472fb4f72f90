/* load.c: the load generator: one thread, N clients on a connection each, every client with one request under way, as fast as
 * the answers come. `load --help` lists the modes; the result is one line of JSON. In mode `push` against the responder it is
 * the "raw client" that Runnel's push is compared with: nobody can send the same bytes with fewer system calls. */
#include "tools/bench/load_options.h"
#include "tools/bench/hist.h"
#include "tools/bench/pull.h"
#include "tools/bench/reply.h"
#include "tools/bench/request.h"
#include "tools/bench/util.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EVENTS 256
#define IN_BYTES_FIRST 4096
#define IN_BYTES_MAX (64u << 20)
#define RECONNECTS_MAX 10000
#define CATCH_UP_NS (NS_PER_S / 10) /* with --rate: what was missed for longer stays missed */

struct client {
    int fd;
    bool writing, acking; /* waits for EPOLLOUT; the request under way acknowledges what a pull gave */
    struct reply reply;
    char *in;
    size_t in_n, in_room;
    const char *out; /* the request under way */
    size_t out_n, out_at;
    int64_t sent_ns;
    struct request request, ack;
    uint64_t pulled; /* messages that `ack` acknowledges */
};

static struct {
    struct load_options o;
    int epoll;
    struct request request;
    struct client *clients; /* they live as long as the program */
    struct hist latency;
    uint64_t issued, answered, failed, messages, reconnects, in_flight;
    int64_t begin_ns, end_ns, stop_ns;
    struct client **resting; /* with --rate: they wait for their turn */
    size_t n_resting;
    int64_t turn_ns; /* of the next request */
    struct cpu begin_cpu, end_cpu;
    char first_failure[256];
} l;

static void client_connect(struct client *c)
{
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    c->fd = connect_local(l.o.request.port);
    if (c->fd < 0)
        die("cannot connect to 127.0.0.1:%u: %s", l.o.request.port, strerror(errno));
    set_nonblocking(c->fd);
    if (epoll_ctl(l.epoll, EPOLL_CTL_ADD, c->fd, &e) != 0)
        die("epoll_ctl: %s", strerror(errno));
    c->writing = false;
}

static void client_watch(struct client *c, bool writing)
{
    struct epoll_event e = {.events = writing ? EPOLLOUT : EPOLLIN, .data.ptr = c};
    if (c->writing != writing && epoll_ctl(l.epoll, EPOLL_CTL_MOD, c->fd, &e) != 0)
        die("epoll_ctl: %s", strerror(errno));
    c->writing = writing;
}

/* Send what is left of the request. A connection that is gone is noticed by the read. */
static void client_write(struct client *c)
{
    ssize_t n = send(c->fd, c->out + c->out_at, c->out_n - c->out_at, MSG_NOSIGNAL);
    if (n > 0)
        c->out_at += (size_t)n;
    client_watch(c, c->out_at < c->out_n && (n >= 0 || errno == EAGAIN));
}

/* The server closed an idle connection (some do after so many requests): once more on a new one. */
static void client_again(struct client *c)
{
    if (c->in_n || ++l.reconnects > RECONNECTS_MAX)
        die("127.0.0.1:%u closed a connection %s", l.o.request.port, c->in_n ? "in the middle of an answer" : "again and again");
    close(c->fd);
    client_connect(c);
    c->out_at = 0;
    client_write(c);
}

static void pause_ms(int64_t ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&t, &t) != 0 && errno == EINTR)
        ;
}

static bool may_issue(int64_t at_ns)
{
    if (l.o.seconds_ns)
        return !l.stop_ns || at_ns < l.stop_ns;
    if (l.o.request.mode == MODE_PULL)
        return l.messages < l.o.requests;
    return l.issued < l.o.requests + l.o.warmup;
}

static void begin(int64_t at_ns)
{
    l.begin_ns = at_ns;
    l.begin_cpu = cpu_used();
    l.stop_ns = at_ns + l.o.seconds_ns;
}

/* With --rate: true when it must wait for its turn. */
static bool client_rests(struct client *c, int64_t at_ns)
{
    if (!l.o.rate)
        return false;
    if (at_ns < l.turn_ns) {
        l.resting[l.n_resting++] = c;
        return true;
    }
    l.turn_ns = (l.turn_ns > at_ns - CATCH_UP_NS ? l.turn_ns : at_ns - CATCH_UP_NS) + NS_PER_S / l.o.rate;
    return false;
}

/* The next request of a client whose last one was answered at `at_ns`; none when the run is over. */
static void client_next(struct client *c, int64_t at_ns)
{
    reply_reset(&c->reply);
    c->in_n = 0;
    if (!c->acking && (!may_issue(at_ns) || client_rests(c, at_ns)))
        return;
    if (l.o.pause_ms) {
        pause_ms(l.o.pause_ms);
        at_ns = now_ns();
    }
    if (c->acking) {
        c->out = request_bytes(&c->ack, 0, &c->out_n);
    } else {
        c->out = request_bytes(&c->request, l.issued, &c->out_n);
        l.issued++;
    }
    c->sent_ns = at_ns;
    c->out_at = 0;
    l.in_flight++;
    client_write(c);
}

static void count_answer(struct client *c, int64_t at_ns)
{
    if (++l.answered == l.o.warmup) {
        begin(at_ns);
    } else if (l.answered > l.o.warmup) {
        hist_add(&l.latency, at_ns - c->sent_ns);
        l.end_ns = at_ns;
    }
    if (c->reply.status / 100 != 2 && !l.failed++)
        snprintf(l.first_failure, sizeof l.first_failure, "%d %.*s", c->reply.status,
                 (int)(c->in_n - c->reply.head < 200 ? c->in_n - c->reply.head : 200), c->in + c->reply.head);
}

static void client_answered(struct client *c, int64_t at_ns)
{
    l.in_flight--;
    count_answer(c, at_ns);
    if (l.o.request.mode == MODE_PULL) {
        if (c->acking) {
            l.messages += c->pulled;
            c->acking = false;
        } else if (c->reply.status == 200) {
            c->pulled = pull_write_ack(&c->ack, &l.o.request, c->in + c->reply.head, c->reply.length - c->reply.head);
            c->acking = c->pulled > 0;
        }
    }
    client_next(c, at_ns);
}

static void client_read(struct client *c)
{
    if (c->in_n == c->in_room) {
        c->in_room = c->in_room ? c->in_room * 2 : IN_BYTES_FIRST;
        if (c->in_room > IN_BYTES_MAX)
            die("an answer is longer than %u bytes", IN_BYTES_MAX);
        c->in = xrealloc(c->in, c->in_room);
    }
    ssize_t n = recv(c->fd, c->in + c->in_n, c->in_room - c->in_n, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        client_again(c);
        return;
    }
    c->in_n += (size_t)n;
    enum reply_state state = reply_feed(&c->reply, c->in, c->in_n);
    if (state == REPLY_BAD)
        die("this is no answer: %.*s", (int)(c->in_n < 200 ? c->in_n : 200), c->in);
    if (state == REPLY_DONE)
        client_answered(c, now_ns());
}

static bool all_done(void)
{
    if (l.o.request.mode == MODE_PULL && !l.o.seconds_ns)
        return l.messages >= l.o.requests; /* some may still wait for messages that will not come */
    return l.in_flight == 0 && l.n_resting == 0;
}

/* Those whose turn has come go on; ms until the next one's, or until it has been silent for too long. */
static int64_t wake_resting(void)
{
    int64_t at_ns = now_ns();
    while (l.n_resting && (at_ns >= l.turn_ns || !may_issue(at_ns)))
        client_next(l.resting[--l.n_resting], at_ns);
    return l.n_resting ? (l.turn_ns - at_ns) / 1000000 + 1 : l.o.timeout_ms;
}

static void run(void)
{
    struct epoll_event events[EVENTS];
    struct client *clients = l.clients = xzalloc(l.o.clients * sizeof *clients);
    l.resting = xzalloc(l.o.clients * sizeof *l.resting);
    for (uint64_t i = 0; i < l.o.clients; i++) {
        clients[i].request = l.request;
        if (l.request.numbered) { /* each writes its own again and again */
            clients[i].request.bytes = NULL;
            clients[i].request.room = 0;
        }
        client_connect(&clients[i]);
    }
    if (!l.o.warmup)
        begin(now_ns());
    l.turn_ns = now_ns();
    for (uint64_t i = 0; i < l.o.clients; i++)
        client_next(&clients[i], now_ns());
    for (int64_t wait_ms; wait_ms = wake_resting(), !all_done();) {
        int n = epoll_wait(l.epoll, events, EVENTS, (int)wait_ms);
        if (n < 0 && errno != EINTR)
            die("epoll_wait: %s", strerror(errno));
        if (n == 0 && wait_ms == l.o.timeout_ms)
            die("127.0.0.1:%u gave no answer within %lld ms; %llu were answered", l.o.request.port, (long long)l.o.timeout_ms,
                (unsigned long long)l.answered);
        for (int i = 0; i < n; i++) {
            struct client *c = events[i].data.ptr;
            if (c->writing)
                client_write(c);
            else
                client_read(c);
        }
    }
    l.end_cpu = cpu_used();
}

static void print_text(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            printf("\\%c", *text);
        else
            putchar((unsigned char)*text < ' ' ? ' ' : *text);
    }
    putchar('"');
}

static void report(void)
{
    enum mode mode = l.o.request.mode;
    uint64_t n = l.latency.count, each = mode == MODE_PUBLISH || mode == MODE_TASK ? l.o.request.batch : 1;
    uint64_t units = mode == MODE_PULL ? l.messages : n * each;
    double seconds = (double)(l.end_ns - l.begin_ns) / 1e9, per = n ? (double)n : 1;
    printf("{\"requests\":%llu,\"messages\":%llu,\"failed\":%llu,\"reconnects\":%llu,\"seconds\":%.6f,\"per_second\":%.1f,"
           "\"messages_per_second\":%.1f,\"user_us\":%.3f,\"system_us\":%.3f",
           (unsigned long long)n, (unsigned long long)units, (unsigned long long)l.failed, (unsigned long long)l.reconnects, seconds,
           seconds > 0 ? per / seconds : 0, seconds > 0 ? (double)units / seconds : 0, (l.end_cpu.user_us - l.begin_cpu.user_us) / per,
           (l.end_cpu.system_us - l.begin_cpu.system_us) / per);
    static const struct {
        const char *name;
        double share;
    } percentiles[] = {{"p50_us", 0.5}, {"p90_us", 0.9}, {"p99_us", 0.99}, {"p999_us", 0.999}};
    for (size_t i = 0; i < sizeof percentiles / sizeof *percentiles; i++)
        printf(",\"%s\":%.1f", percentiles[i].name, hist_percentile(&l.latency, percentiles[i].share) / 1e3);
    printf(",\"max_us\":%.1f,\"begin_ns\":%lld,\"end_ns\":%lld,\"first_failure\":", (double)l.latency.max / 1e3, (long long)l.begin_ns,
           (long long)l.end_ns);
    print_text(l.first_failure);
    puts("}");
}

int main(int argc, char **argv)
{
    load_options_parse(&l.o, argc, argv);
    request_make(&l.request, &l.o.request);
    if (l.o.print) {
        size_t n;
        const char *bytes = request_bytes(&l.request, 0, &n);
        return fwrite(bytes, 1, n, stdout) == n ? 0 : 1;
    }
    raise_fd_limit();
    l.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (l.epoll < 0)
        die("epoll_create1: %s", strerror(errno));
    run();
    report();
    return 0;
}

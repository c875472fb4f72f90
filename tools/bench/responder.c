/* responder.c: a program that answers every HTTP/1.1 request at once and counts: the target of pushes, and what stands
 * behind the ingress and behind the proxies that it is compared with. One thread, epoll, nothing but the C library.
 *
 * `responder [--port N] [--status 204|200] [--body BYTES] [--due HEADER]` listens on N (or $PORT, else a free port), prints
 * `listening PORT`, and ends by SIGTERM with its counts as a line of JSON. Not counted: `GET /-/stats` answers the counts,
 * `POST /-/reset` sets them to zero. Request bodies need a Content-Length; they are read and dropped.
 * HEADER says when a request was due, in seconds since 1970 or as a time in UTC: then it is counted how late each arrives. */
#include "tools/bench/hist.h"
#include "tools/bench/util.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define IN_BYTES (16 * 1024) /* a head, or as much of a body as comes at once */
#define OUT_BYTES (16 * 1024)
#define BODY_MAX (8 * 1024)
#define CONTROL_BYTES 1024 /* an answer to the script */
#define EVENTS 256
#define STATS_BYTES 768

struct peer {
    int fd;
    bool writing;   /* waits for EPOLLOUT: the answers of pipelined requests did not fit */
    uint64_t skip;  /* of a request's body, still to come */
    size_t in, out; /* bytes held */
    char in_bytes[IN_BYTES], out_bytes[OUT_BYTES];
};

static struct {
    int epoll, listener, signals;
    int64_t now_ns; /* of this turn of the loop */
    char answer[BODY_MAX + 256];
    size_t answer_n;
    uint64_t count, body_bytes, peers, peers_peak;
    int64_t first_ns, last_ns;
    const char *due; /* name of the header; NULL: none */
    struct hist late;
    uint64_t early; /* before they were due */
} r;

static void write_stats(char *to, size_t n)
{
    struct cpu cpu = cpu_used();
    snprintf(to, n,
             "{\"count\":%llu,\"body_bytes\":%llu,\"first_ns\":%lld,\"last_ns\":%lld,\"connections\":%llu,\"connections_peak\":%llu,"
             "\"user_us\":%.0f,\"system_us\":%.0f,\"due\":%llu,\"early\":%llu,\"late_p50_us\":%.1f,\"late_p99_us\":%.1f,"
             "\"late_p999_us\":%.1f,\"late_max_us\":%.1f}\n",
             (unsigned long long)r.count, (unsigned long long)r.body_bytes, (long long)r.first_ns, (long long)r.last_ns,
             (unsigned long long)r.peers, (unsigned long long)r.peers_peak, cpu.user_us, cpu.system_us, (unsigned long long)r.late.count,
             (unsigned long long)r.early, hist_percentile(&r.late, 0.5) / 1e3, hist_percentile(&r.late, 0.99) / 1e3,
             hist_percentile(&r.late, 0.999) / 1e3, (double)r.late.max / 1e3);
}

static void peer_close(struct peer *p)
{
    close(p->fd);
    free(p);
    r.peers--;
}

static void wait_for(struct peer *p, bool writing)
{
    struct epoll_event e = {.events = writing ? EPOLLOUT : EPOLLIN, .data.ptr = p};
    if (p->writing != writing && epoll_ctl(r.epoll, EPOLL_CTL_MOD, p->fd, &e) != 0)
        die("epoll_ctl: %s", strerror(errno));
    p->writing = writing;
}

/* The value of Content-Length in a head, 0 when there is none; -1 when it or the framing is not for us. */
static int64_t body_length(const char *head, const char *end)
{
    for (const char *line = memchr(head, '\n', (size_t)(end - head)); line && line + 1 < end;
         line = memchr(line, '\n', (size_t)(end - line))) {
        line++;
        if ((*line | 0x20) == 'c' && end - line > 15 && strncasecmp(line, "content-length:", 15) == 0)
            return strtoll(line + 15, NULL, 10);
        if ((*line | 0x20) == 't' && end - line > 18 && strncasecmp(line, "transfer-encoding:", 18) == 0)
            return -1;
    }
    return 0;
}

/* Seconds since 1970 with a fraction, or 2026-01-02T03:04:05 in UTC; -1: neither. */
static int64_t due_time(const char *text)
{
    struct tm tm = {0};
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    if (rest)
        return *rest == 'Z' || strncmp(rest, "+00:00", 6) == 0 ? timegm(&tm) * NS_PER_S : -1;
    char *end;
    int64_t ns = strtoll(text, &end, 10) * NS_PER_S, unit = NS_PER_S / 10;
    if (end == text || *end != '.')
        return -1;
    for (end++; *end >= '0' && *end <= '9'; end++, unit /= 10)
        ns += (*end - '0') * unit;
    return ns;
}

/* How late the request is whose head is [head, end), if it says when it was due. */
static void count_late(const char *head, const char *end)
{
    size_t name_n = strlen(r.due);
    for (const char *line = memchr(head, '\n', (size_t)(end - head)); line && (size_t)(end - line) > name_n + 3;
         line = memchr(line, '\n', (size_t)(end - line))) {
        line++;
        if (strncasecmp(line, r.due, name_n) != 0 || line[name_n] != ':')
            continue;
        int64_t due_ns = due_time(line + name_n + 2), late_ns = wall_ns() - due_ns;
        if (due_ns < 0)
            die("%s is no time: %.40s", r.due, line);
        r.early += late_ns < 0;
        hist_add(&r.late, late_ns);
        return;
    }
}

static void put(struct peer *p, const char *text, size_t n)
{
    memcpy(p->out_bytes + p->out, text, n);
    p->out += n;
}

/* The requests of the script itself. */
static void control(struct peer *p, const char *head)
{
    char body[STATS_BYTES] = "", text[CONTROL_BYTES];
    if (strncmp(head, "POST /-/reset ", 14) == 0) {
        r.count = r.body_bytes = r.early = 0;
        r.late = (struct hist){0};
        r.first_ns = r.last_ns = 0;
        r.peers_peak = r.peers;
    } else {
        write_stats(body, sizeof body);
    }
    int n = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", strlen(body),
                     body);
    put(p, text, (size_t)n);
}

/* Answer the request whose head is [head, end). False: the connection cannot go on. */
static bool answer(struct peer *p, const char *head, const char *end)
{
    int64_t length = body_length(head, end);
    if (length < 0) {
        static const char refuse[] = "HTTP/1.1 411 Length Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        (void)!send(p->fd, refuse, sizeof refuse - 1, MSG_NOSIGNAL);
        return false;
    }
    p->skip = (uint64_t)length;
    const char *path = memchr(head, ' ', (size_t)(end - head));
    if (path && strncmp(path + 1, "/-/", 3) == 0) {
        control(p, head);
        return true;
    }
    if (!r.count++)
        r.first_ns = r.now_ns;
    r.last_ns = r.now_ns;
    if (r.due)
        count_late(head, end);
    r.body_bytes += (uint64_t)length;
    put(p, r.answer, r.answer_n);
    return true;
}

static bool flush(struct peer *p)
{
    size_t sent = 0;
    while (sent < p->out) {
        ssize_t n = send(p->fd, p->out_bytes + sent, p->out - sent, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            return false;
        if (n <= 0)
            break;
        sent += (size_t)n;
    }
    memmove(p->out_bytes, p->out_bytes + sent, p->out - sent);
    p->out -= sent;
    return true;
}

/* Take every whole request that is held, as long as its answer finds room. */
static bool take_requests(struct peer *p)
{
    size_t at = 0;
    while (at < p->in) {
        size_t skipped = p->skip < p->in - at ? (size_t)p->skip : p->in - at;
        p->skip -= skipped;
        at += skipped;
        if (OUT_BYTES - p->out < r.answer_n + CONTROL_BYTES && !flush(p))
            return false;
        if (OUT_BYTES - p->out < r.answer_n + CONTROL_BYTES || at == p->in)
            break;
        const char *head = p->in_bytes + at, *end = memmem(head, p->in - at, "\r\n\r\n", 4);
        if (!end)
            break;
        if (!answer(p, head, end + 2))
            return false;
        at = (size_t)(end + 4 - p->in_bytes);
    }
    memmove(p->in_bytes, p->in_bytes + at, p->in - at);
    p->in -= at;
    return p->in < IN_BYTES; /* else the head is longer than anything we send */
}

/* False: the peer is gone. */
static bool serve(struct peer *p)
{
    if (p->writing) {
        if (!flush(p) || (p->out == 0 && !take_requests(p)) || !flush(p))
            return false;
        wait_for(p, p->out > 0);
        return true;
    }
    ssize_t n = recv(p->fd, p->in_bytes + p->in, IN_BYTES - p->in, 0);
    if (n <= 0)
        return n < 0 && errno == EAGAIN;
    p->in += (size_t)n;
    if (!take_requests(p) || !flush(p))
        return false;
    wait_for(p, p->out > 0);
    return true;
}

static void accept_peers(void)
{
    int fd;
    while ((fd = accept4(r.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct peer *p = xzalloc(sizeof *p);
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = p};
        p->fd = fd;
        if (epoll_ctl(r.epoll, EPOLL_CTL_ADD, fd, &e) != 0)
            die("epoll_ctl: %s", strerror(errno));
        if (++r.peers > r.peers_peak)
            r.peers_peak = r.peers;
    }
}

static void prepare_answer(int status, size_t body)
{
    int n = status == 204 ? snprintf(r.answer, sizeof r.answer, "HTTP/1.1 204 No Content\r\n\r\n")
                          : snprintf(r.answer, sizeof r.answer, "HTTP/1.1 %d OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n",
                                     status, body);
    r.answer_n = (size_t)n;
    if (status != 204) {
        memset(r.answer + n, 'x', body);
        r.answer_n += body;
    }
}

static void prepare(int argc, char **argv)
{
    const char *env = getenv("PORT");
    uint16_t port = env && *env ? (uint16_t)parse_number("PORT", env, 0, 65535) : 0;
    int status = 204;
    size_t body = 0;
    for (int i = 1; i + 1 < argc || i < argc; i += 2) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(name, "--port") == 0)
            port = (uint16_t)parse_number(name, value, 0, 65535);
        else if (strcmp(name, "--status") == 0)
            status = (int)parse_number(name, value, 200, 599);
        else if (strcmp(name, "--body") == 0)
            body = (size_t)parse_number(name, value, 0, BODY_MAX);
        else if (strcmp(name, "--due") == 0)
            r.due = value;
        else
            die_usage("unknown option %s; see the first lines of responder.c", name);
    }
    prepare_answer(status, body);
    raise_fd_limit();
    r.listener = listen_local(&port);
    printf("listening %u\n", port);
    fflush(stdout);
}

static void watch(int fd, void *key)
{
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = key};
    if (fd < 0 || epoll_ctl(r.epoll, EPOLL_CTL_ADD, fd, &e) != 0)
        die("cannot watch a descriptor: %s", strerror(errno));
}

int main(int argc, char **argv)
{
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    prepare(argc, argv);
    r.epoll = epoll_create1(EPOLL_CLOEXEC);
    r.signals = signalfd(-1, &ends, SFD_CLOEXEC);
    watch(r.listener, &r.listener);
    watch(r.signals, &r.signals);
    for (;;) {
        struct epoll_event events[EVENTS];
        int n = epoll_wait(r.epoll, events, EVENTS, -1);
        if (n < 0 && errno != EINTR)
            die("epoll_wait: %s", strerror(errno));
        r.now_ns = now_ns();
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == &r.signals) {
                char text[STATS_BYTES];
                write_stats(text, sizeof text);
                fputs(text, stdout);
                return 0;
            }
            if (events[i].data.ptr == &r.listener)
                accept_peers();
            else if (!serve(events[i].data.ptr))
                peer_close(events[i].data.ptr);
        }
    }
}

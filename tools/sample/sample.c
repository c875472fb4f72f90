/* sample.c: the service that the quickstart deploys and the tests call: a small HTTP/1.1 server on PORT, C library only.
 * GET / greets; POST / takes a Pub/Sub push, logs what came as one JSON line, and answers 204.
 * Any path is served; ?sleep=MS answers later.
 * Environment: PORT, K_SERVICE, K_REVISION; START_DELAY_MS (listen later), SLEEP_MS (answer later),
 *              FAIL_PERCENT (so many of 100 requests get a 500).
 *              As a task of a job (CLOUD_RUN_JOB) it says which it is and with what arguments, and ends.
 * Thread: one per connection, all detached; SIGTERM stops listening and lets running requests end. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HEAD_MAX 65536
#define BODY_MAX (12 * 1024 * 1024)
#define DRAIN_MS 9000   /* the platform kills after 10 s */
#define REFUSED_MS 2000 /* for a refused body to be read to nowhere, so that the refusal arrives */

static volatile sig_atomic_t stopping;
static atomic_int running;
static atomic_uint requests;
static const char *service, *revision;
static long sleep_ms, fail_percent;

struct input {
    char *mem; /* cap bytes and a terminator */
    size_t len, cap;
};
struct request {
    char method[16], path[1024];
    const char *head, *body; /* both terminated, except a body that a pipelined request follows */
    size_t whole_len;        /* of head and body */
    bool keep_alive;
};

static void on_term(int sig)
{
    (void)sig;
    stopping = 1;
}

static const char *env_text(const char *name, const char *otherwise)
{
    const char *v = getenv(name);
    return v && *v ? v : otherwise;
}

static long env_number(const char *name, long otherwise)
{
    const char *v = getenv(name);
    return v && *v ? strtol(v, NULL, 10) : otherwise;
}

static void wait_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    while (ms > 0 && nanosleep(&t, &t) < 0 && errno == EINTR)
        ;
}

/* One JSON string, escaped, to `f`. Bytes below 0x20 are shown as \u00xx, all else as it is. */
static void put_json(FILE *f, const char *s, size_t n)
{
    fputc('"', f);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c == '"' || c == '\\')
            fprintf(f, "\\%c", c);
        else if (c < 0x20)
            fprintf(f, "\\u%04x", c);
        else
            fputc(c, f);
    }
    fputc('"', f);
}

/* Log {"severity":…,"message":…, key: value…}; the list of key, value pairs of strings ends with NULL. */
static void log_line(const char *severity, const char *message, ...)
{
    va_list ap;
    flockfile(stdout);
    printf("{\"severity\":\"%s\",\"message\":", severity);
    put_json(stdout, message, strlen(message));
    va_start(ap, message);
    for (const char *k; (k = va_arg(ap, const char *));) {
        const char *v = va_arg(ap, const char *);
        printf(",\"%s\":", k);
        if (v && *v == '{') /* already JSON: a token's claims */
            fputs(v, stdout);
        else
            put_json(stdout, v ? v : "", v ? strlen(v) : 0);
    }
    va_end(ap);
    puts("}");
    fflush(stdout);
    funlockfile(stdout);
}

/* Base64, standard or URL-safe, as a new string; NULL if it is none. */
static char *base64_text(const char *in, size_t n)
{
    static const char *digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *out = malloc(n / 4 * 3 + 4);
    size_t len = 0;
    unsigned bits = 0, held = 0;
    for (size_t i = 0; out && i < n && in[i] != '='; i++) {
        const char c = in[i] == '-' ? '+' : in[i] == '_' ? '/' : in[i];
        const char *d = c ? strchr(digits, c) : NULL;
        if (!d) {
            free(out);
            return NULL;
        }
        held = (held << 6 | (unsigned)(d - digits)) & 0xffff;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            out[len++] = (char)(held >> bits);
        }
    }
    if (out)
        out[len] = 0;
    return out;
}

/* The first "key":"value" in JSON text, copied without unescaping; enough for an envelope. NULL when absent. */
static char *json_field(const char *json, const char *key)
{
    char pattern[64];
    snprintf(pattern, sizeof pattern, "\"%s\"", key);
    const char *at = strstr(json, pattern);
    if (!at)
        return NULL;
    at += strlen(pattern);
    at += strspn(at, " \t\r\n:");
    if (*at++ != '"')
        return NULL;
    size_t n = 0;
    while (at[n] && at[n] != '"')
        n += at[n] == '\\' && at[n + 1] ? 2 : 1;
    return strndup(at, n);
}

/* The value of a header, copied; NULL when absent. */
static char *header(const struct request *r, const char *name)
{
    const size_t n = strlen(name);
    for (const char *line = strstr(r->head, "\r\n"); line; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, n) == 0 && line[n] == ':') {
            line += n + 1;
            line += strspn(line, " \t");
            return strndup(line, strcspn(line, "\r\n"));
        }
    }
    return NULL;
}

/* What the Bearer token claims. The signature was checked and taken off before the request came here. */
static char *token_claims(const struct request *r)
{
    char *auth = header(r, "authorization");
    const char *dot = auth && strncasecmp(auth, "bearer ", 7) == 0 ? strchr(auth, '.') : NULL;
    char *claims = dot ? base64_text(dot + 1, strcspn(dot + 1, ".")) : NULL;
    if (claims && *claims != '{') {
        free(claims);
        claims = NULL;
    }
    free(auth);
    return claims;
}

static void take_push(const struct request *r)
{
    char *id = json_field(r->body, "messageId"), *data = json_field(r->body, "data");
    char *text = data ? base64_text(data, strlen(data)) : NULL, *claims = token_claims(r);
    char *message = NULL; /* all in the message, for those who show nothing else of a line */
    if (asprintf(&message, "event %s: %s | token %s%s", id ? id : "?", text ? text : "", claims ? "verified by the ingress: " : "none",
                 claims ? claims : "") < 0)
        message = NULL;
    log_line("INFO", message ? message : "event", "messageId", id ? id : "", "data", text ? text : "", "claims", claims ? claims : "{}",
             (char *)NULL);
    free(message);
    free(id);
    free(data);
    free(text);
    free(claims);
}

static bool send_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t k = send(fd, p, n, MSG_NOSIGNAL);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return false;
        p += k;
        n -= (size_t)k;
    }
    return true;
}

static bool answer(int fd, const struct request *r, int status, const char *reason, const char *body)
{
    char out[2048];
    int n = snprintf(out, sizeof out, "HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\n%s", status, reason,
                     r->keep_alive ? "" : "Connection: close\r\n");
    if (status == 204)
        n += snprintf(out + n, sizeof out - (size_t)n, "\r\n");
    else
        n +=
            snprintf(out + n, sizeof out - (size_t)n, "Content-Length: %zu\r\n\r\n%s", strlen(body), strcmp(r->method, "HEAD") ? body : "");
    return send_all(fd, out, (size_t)n);
}

static bool serve_one(int fd, struct request *r)
{
    const unsigned n = atomic_fetch_add(&requests, 1);
    const char *asked = strstr(r->path, "sleep=");
    char text[512];
    atomic_fetch_add(&running, 1);
    wait_ms(asked ? strtol(asked + 6, NULL, 10) : sleep_ms);
    bool ok;
    if (n % 100 * 37 % 100 < (unsigned)fail_percent) { /* spread over the hundred, the same in each run */
        log_line("WARNING", "failing on purpose", "method", r->method, "path", r->path, (char *)NULL);
        ok = answer(fd, r, 500, "Internal Server Error", "failing on purpose\n");
    } else if (strcmp(r->method, "POST") == 0) {
        take_push(r);
        ok = answer(fd, r, 204, "No Content", "");
    } else {
        snprintf(text, sizeof text, "Hello from %s, revision %s.\n", service, revision);
        log_line("INFO", "request", "method", r->method, "path", r->path, (char *)NULL);
        ok = answer(fd, r, 200, "OK", text);
    }
    atomic_fetch_sub(&running, 1);
    return ok && r->keep_alive;
}

/* Receive until `in` holds `need` bytes. False when the peer is gone, or while it says nothing and we are stopping. */
static bool read_until(int fd, struct input *in, size_t need)
{
    while (in->len < need) {
        struct pollfd p = {fd, POLLIN, 0};
        if ((stopping && in->len == 0) || poll(&p, 1, 500) < 0)
            return false;
        const ssize_t k = p.revents ? recv(fd, in->mem + in->len, in->cap - in->len, 0) : 0;
        if (p.revents && k <= 0)
            return false;
        in->len += (size_t)k;
    }
    in->mem[in->len] = 0;
    return true;
}

static bool grow(struct input *in, size_t cap)
{
    char *m = cap <= HEAD_MAX + BODY_MAX ? realloc(in->mem, cap + 1) : NULL;
    if (m) {
        in->mem = m;
        in->cap = cap;
    }
    return m != NULL;
}

/* Closing while the body still comes would reset the connection under the answer. False, for the caller's ease. */
static bool refuse(int fd, struct request *r, int status, const char *reason, const char *body)
{
    char nowhere[65536];
    r->keep_alive = false;
    struct pollfd p = {fd, POLLIN, 0};
    if (!answer(fd, r, status, reason, body) || shutdown(fd, SHUT_WR) != 0)
        return false;
    while (poll(&p, 1, REFUSED_MS) > 0 && recv(fd, nowhere, sizeof nowhere, 0) > 0)
        ;
    return false;
}

/* One request at the front of `in`; `r` points into it. What cannot be taken is refused here. */
static bool read_request(int fd, struct input *in, struct request *r)
{
    char *end = NULL;
    for (size_t have = 0; !end; have = in->len) {
        if (have >= HEAD_MAX || !read_until(fd, in, have + 1))
            return false;
        end = strstr(in->mem, "\r\n\r\n");
    }
    const size_t head_len = (size_t)(end - in->mem) + 4;
    in->mem[head_len - 1] = 0; /* a head for itself; its last line feed is not missed */
    *r = (struct request){.head = in->mem};
    char *length = header(r, "content-length"), *close_it = header(r, "connection"), *chunked = header(r, "transfer-encoding");
    const bool unknown = chunked != NULL;
    const size_t body_len = length ? strtoul(length, NULL, 10) : 0;
    r->keep_alive = !(close_it && strcasecmp(close_it, "close") == 0) && !stopping;
    free(length);
    free(close_it);
    free(chunked);
    if (unknown)
        return refuse(fd, r, 411, "Length Required", "this sample takes no chunked body\n");
    if (body_len > BODY_MAX)
        return refuse(fd, r, 413, "Content Too Large", "this sample takes bodies of up to 12 MiB\n");
    if (head_len + body_len > in->cap && !grow(in, head_len + body_len))
        return false;
    r->head = in->mem;
    r->whole_len = head_len + body_len;
    if (!read_until(fd, in, r->whole_len) || sscanf(in->mem, "%15s %1023s", r->method, r->path) != 2)
        return false;
    r->body = in->mem + head_len;
    return true;
}

static void *serve_connection(void *arg)
{
    const int fd = (int)(intptr_t)arg;
    struct request r;
    struct input in = {0};
    if (grow(&in, HEAD_MAX))
        in.mem[0] = 0;
    while (in.mem && read_request(fd, &in, &r) && serve_one(fd, &r)) {
        in.len -= r.whole_len;
        memmove(in.mem, in.mem + r.whole_len, in.len + 1);
    }
    free(in.mem);
    close(fd);
    return NULL;
}

static int listen_on(int port)
{
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_ANY)}};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(fd, 512) < 0) {
        log_line("ERROR", "cannot listen", "reason", strerror(errno), (char *)NULL);
        return -1;
    }
    return fd;
}

/* SLEEP_MS: how long it works. The result is what it was given to work on. */
static int run_as_task(int argc, char **argv)
{
    const char *input = env_text("RUNNEL_TASK_INPUT", ""), *result = env_text("RUNNEL_RESULT", "");
    wait_ms(env_number("SLEEP_MS", 0));
    log_line("INFO", "task", "index", env_text("CLOUD_RUN_TASK_INDEX", "0"), "of", env_text("CLOUD_RUN_TASK_COUNT", "1"), "attempt",
             env_text("CLOUD_RUN_TASK_ATTEMPT", "0"), "argument", argc > 1 ? argv[1] : "", "input", input, (char *)NULL);
    FILE *f = *result && *input ? fopen(result, "we") : NULL;
    if (f) {
        fputs(input, f);
        fclose(f);
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct sigaction term = {.sa_handler = on_term};
    sigaction(SIGTERM, &term, NULL);
    sigaction(SIGINT, &term, NULL);
    signal(SIGPIPE, SIG_IGN);
    service = env_text("K_SERVICE", "nobody");
    revision = env_text("K_REVISION", "none");
    sleep_ms = env_number("SLEEP_MS", 0);
    fail_percent = env_number("FAIL_PERCENT", 0);
    wait_ms(env_number("START_DELAY_MS", 0));
    if (*env_text("CLOUD_RUN_JOB", ""))
        return run_as_task(argc, argv);

    const int listener = listen_on((int)env_number("PORT", 8080));
    if (listener < 0)
        return 1;
    log_line("INFO", "listening", "port", env_text("PORT", "8080"), (char *)NULL);
    while (!stopping) {
        struct pollfd p = {listener, POLLIN, 0};
        const int fd = poll(&p, 1, 1000) > 0 ? accept4(listener, NULL, NULL, SOCK_CLOEXEC) : -1;
        pthread_t t;
        if (fd >= 0 && pthread_create(&t, NULL, serve_connection, (void *)(intptr_t)fd) == 0)
            pthread_detach(t);
        else if (fd >= 0)
            close(fd);
    }
    close(listener);
    for (long waited = 0; atomic_load(&running) > 0 && waited < DRAIN_MS; waited += 10)
        wait_ms(10);
    log_line("INFO", "stopped by SIGTERM", (char *)NULL);
    return 0;
}

/* request.c: writes the requests of each mode. */
#include "tools/bench/request.h"
#include "tools/bench/task.h"
#include "tools/bench/util.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PATH_MAX_BYTES 1024

static BENCH_PRINTF char *text_of(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    char *out = xzalloc((size_t)n + 1);
    va_start(args, fmt);
    vsnprintf(out, (size_t)n + 1, fmt, args);
    va_end(args);
    return out;
}

/* As many letters as asked; they look like base64 or a token, without '='. */
static char *letters(size_t n)
{
    static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    char *out = xzalloc(n + 1);
    uint32_t x = 12345;
    for (size_t i = 0; i < n; i++) {
        x = x * 1664525u + 1013904223u;
        out[i] = set[(x >> 16) % (sizeof set - 1)];
    }
    return out;
}

/* What base64 makes of `bytes` bytes, apart from its value. */
static char *base64_like(size_t bytes)
{
    char *out = letters((bytes + 2) / 3 * 4);
    size_t n = strlen(out), pad = (3 - bytes % 3) % 3;
    for (size_t i = 0; i < pad; i++)
        out[n - 1 - i] = '=';
    if (pad) /* the bits beyond the last byte are zero */
        out[n - 1 - pad] = 'A';
    return out;
}

static const char *envelope(size_t data_bytes)
{
    char *data = base64_like(data_bytes);
    const char *out = text_of("{\"message\":{\"data\":\"%s\",\"messageId\":\"1099511627777\",\"message_id\":\"1099511627777\","
                              "\"publishTime\":\"2026-01-02T03:04:05.123456789Z\",\"publish_time\":\"2026-01-02T03:04:05.123456789Z\"},"
                              "\"subscription\":\"projects/local-project/subscriptions/bench\"}",
                              data);
    xfree(data);
    return out;
}

static const char *publish_body(size_t data_bytes, size_t batch)
{
    char *data = base64_like(data_bytes), *message = text_of("{\"data\":\"%s\"},", data);
    size_t each = strlen(message), n = 0;
    char *out = xzalloc(batch * each + 64);
    memcpy(out, "{\"messages\":[", n = strlen("{\"messages\":["));
    for (size_t i = 0; i < batch; i++, n += each)
        memcpy(out + n, message, each);
    memcpy(out + n - 1, "]}", 3); /* over the last comma */
    xfree(message);
    xfree(data);
    return out;
}

static void write_request(struct request *r, const char *path, const char *body, size_t body_n)
{
    size_t room = strlen(path) + strlen(r->host) + body_n + (r->token ? strlen(r->token) : 0) + 512;
    if (room > r->room) {
        r->bytes = xrealloc(r->bytes, room);
        r->room = room;
    }
    int n = snprintf(r->bytes, r->room, "%s %s HTTP/1.1\r\nHost: %s\r\n", r->method, path, r->host);
    if (r->agent)
        n += snprintf(r->bytes + n, r->room - (size_t)n, "User-Agent: %s\r\nAccept: application/json\r\n", r->agent);
    if (r->token)
        n += snprintf(r->bytes + n, r->room - (size_t)n, "Authorization: Bearer %s\r\n", r->token);
    if (body_n)
        n += snprintf(r->bytes + n, r->room - (size_t)n, "Content-Type: %s\r\n", r->type);
    if (body_n || strcmp(r->method, "GET") != 0)
        n += snprintf(r->bytes + n, r->room - (size_t)n, "Content-Length: %zu\r\n", body_n);
    n += snprintf(r->bytes + n, r->room - (size_t)n, "\r\n");
    memcpy(r->bytes + n, body, body_n);
    r->n = (size_t)n + body_n;
}

/* `text` with the first %d replaced, into out. */
static void fill_number(char *out, size_t room, const char *text, uint64_t number)
{
    const char *at = strstr(text, "%d");
    if (at)
        snprintf(out, room, "%.*s%llu%s", (int)(at - text), text, (unsigned long long)number, at + 2);
    else
        snprintf(out, room, "%s", text);
}

void request_make(struct request *r, const struct request_options *o)
{
    *r = (struct request){
        .method = "POST", .host = o->host ? o->host : text_of("127.0.0.1:%u", o->port), .type = "application/json", .body = ""};
    switch (o->mode) {
    case MODE_PUSH:
        r->path = "/push";
        r->agent = "CloudPubSub-Google";
        r->token = o->token_bytes ? letters(o->token_bytes) : NULL;
        r->body = envelope(o->data_bytes);
        break;
    case MODE_PUBLISH:
        r->path = text_of("/v1/projects/local-project/topics/%s:publish", o->topic);
        r->body = publish_body(o->data_bytes, o->batch);
        break;
    case MODE_POST:
        r->path = "/";
        r->type = "application/octet-stream";
        r->body = letters(o->data_bytes);
        break;
    case MODE_PULL:
        r->path = text_of("/v1/projects/local-project/subscriptions/%s:pull", o->subscription);
        r->body = text_of("{\"maxMessages\":%zu}", o->batch);
        break;
    case MODE_TASK:
        r->path = task_path(o);
        r->body = base64_like(o->data_bytes);
        r->tasks = o;
        break;
    case MODE_HTTP:
        r->method = "GET";
        r->path = "/";
        break;
    }
    r->method = o->method ? o->method : r->method;
    r->path = o->path ? o->path : r->path;
    r->body = o->body && !r->tasks ? o->body : r->body;
    r->numbered = strstr(r->path, "%d") || strstr(r->body, "%d");
    if (strlen(r->path) >= PATH_MAX_BYTES - 24)
        die_usage("--path is longer than %d bytes", PATH_MAX_BYTES - 24);
    if (!r->numbered)
        write_request(r, r->path, r->body, strlen(r->body));
}

/* `text` with its number, for xfree. */
static char *filled(const char *text, uint64_t number)
{
    size_t room = strlen(text) + 24;
    char *out = xzalloc(room);
    fill_number(out, room, text, number);
    return out;
}

const char *request_bytes(struct request *r, uint64_t number, size_t *n)
{
    if (r->numbered) {
        char path[PATH_MAX_BYTES];
        char *body = r->tasks ? task_body(r->tasks, r->body, number) : filled(r->body, number);
        fill_number(path, sizeof path, r->path, r->tasks ? number % r->tasks->queues : number);
        write_request(r, path, body, strlen(body));
        xfree(body);
    }
    *n = r->n;
    return r->bytes;
}

void request_post(struct request *r, const char *host, const char *path, const char *body, size_t body_n)
{
    r->method = "POST";
    r->host = host;
    r->type = "application/json";
    write_request(r, path, body, body_n);
}

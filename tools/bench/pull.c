/* pull.c: collects the ackIds of a pull's answer. It looks for the text `"ackId":"…"`: our data holds no quotes. */
#include "tools/bench/pull.h"
#include "tools/bench/util.h"

#include <stdio.h>
#include <string.h>

size_t pull_write_ack(struct request *ack, const struct request_options *o, const char *answer, size_t n)
{
    static const char key[] = "\"ackId\":";
    static const char open[] = "{\"ackIds\":[";
    const char *at = answer, *end = answer + n;
    char *body = xzalloc(n + sizeof open + 8), path[512];
    size_t length = sizeof open - 1, count = 0;
    memcpy(body, open, length);
    while ((at = memmem(at, (size_t)(end - at), key, sizeof key - 1))) {
        const char *from = memchr(at + sizeof key - 1, '"', (size_t)(end - at) - sizeof key + 1);
        const char *to = from ? memchr(from + 1, '"', (size_t)(end - from - 1)) : NULL;
        if (!to)
            break;
        if (count++)
            body[length++] = ',';
        memcpy(body + length, from, (size_t)(to + 1 - from));
        length += (size_t)(to + 1 - from);
        at = to;
    }
    memcpy(body + length, "]}", 2);
    if (count) {
        char host[64];
        snprintf(host, sizeof host, "127.0.0.1:%u", o->port);
        snprintf(path, sizeof path, "/v1/projects/local-project/subscriptions/%s:acknowledge", o->subscription);
        request_post(ack, host, path, body, length + 2);
    }
    xfree(body);
    return count;
}

/* reply.c: reads one HTTP/1.1 answer. */
#include "tools/bench/reply.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

void reply_reset(struct reply *r) { *r = (struct reply){0}; }

static void read_headers(struct reply *r, const char *head, const char *end)
{
    for (const char *line = memchr(head, '\n', (size_t)(end - head)); line && line + 1 < end;
         line = memchr(line, '\n', (size_t)(end - line))) {
        line++;
        if ((*line | 0x20) == 'c' && end - line > 15 && strncasecmp(line, "content-length:", 15) == 0) {
            r->length = r->head + strtoull(line + 15, NULL, 10);
            r->sized = true;
        } else if ((*line | 0x20) == 't' && end - line > 18 && strncasecmp(line, "transfer-encoding:", 18) == 0) {
            r->chunked = true;
            r->scanned = r->head;
        }
    }
}

static enum reply_state read_head(struct reply *r, const char *bytes, size_t n)
{
    const char *end = memmem(bytes, n, "\r\n\r\n", 4);
    if (!end)
        return REPLY_MORE;
    if (strncmp(bytes, "HTTP/1.1 ", 9) != 0)
        return REPLY_BAD;
    r->head = (size_t)(end + 4 - bytes);
    r->status = (bytes[9] - '0') * 100 + (bytes[10] - '0') * 10 + (bytes[11] - '0');
    if (r->status < 200 || r->status == 204 || r->status == 304) {
        r->length = r->head;
        r->sized = true;
        return REPLY_DONE;
    }
    read_headers(r, bytes, end + 2);
    return r->sized != r->chunked ? REPLY_DONE : REPLY_BAD;
}

/* From r->scanned on: whole chunks, then the last one and its (empty) trailer. */
static enum reply_state read_chunks(struct reply *r, const char *bytes, size_t n)
{
    for (;;) {
        const char *line = bytes + r->scanned, *end = memmem(line, n - r->scanned, "\r\n", 2);
        if (!end)
            return REPLY_MORE;
        size_t data = strtoull(line, NULL, 16), next = (size_t)(end + 2 - bytes) + data + 2;
        if (next > n)
            return REPLY_MORE;
        if (memcmp(bytes + next - 2, "\r\n", 2) != 0)
            return REPLY_BAD;
        r->scanned = next;
        if (!data) {
            r->length = next;
            return REPLY_DONE;
        }
    }
}

enum reply_state reply_feed(struct reply *r, const char *bytes, size_t n)
{
    if (!r->head) {
        enum reply_state state = read_head(r, bytes, n);
        if (state != REPLY_DONE)
            return state;
    }
    if (r->chunked)
        return read_chunks(r, bytes, n);
    return n >= r->length ? REPLY_DONE : REPLY_MORE;
}

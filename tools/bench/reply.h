/** reply.h: reads one HTTP/1.1 answer from bytes as they come. Only what our own servers and the proxies send: a Content-Length, or
 *  chunks, or no body (204, 304); 1xx answers are skipped.
 *  Shape:  reply_reset -> reply_feed with all bytes received so far, until it says done.
 *  Owner:  body points into the caller's bytes; chunks are not joined, so a body is only given where it came whole.
 *  Thread: whoever owns the struct. */
#ifndef TOOLS_BENCH_REPLY_H
#define TOOLS_BENCH_REPLY_H

#include <stdbool.h>
#include <stddef.h>

struct reply {
    int status;
    size_t head, length; /* bytes of the head; of the whole answer, once known */
    size_t scanned;      /* chunks up to here are whole */
    bool chunked, sized;
};
enum reply_state { REPLY_MORE, REPLY_DONE, REPLY_BAD };
void reply_reset(struct reply *r);
/** DONE: the answer is the first r->length bytes. BAD: this is no answer that we understand. */
enum reply_state reply_feed(struct reply *r, const char *bytes, size_t n);

#endif

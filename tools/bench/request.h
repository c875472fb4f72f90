/** request.h: the bytes that a mode of the load generator sends.
 *  Shape:  request_make once; request_bytes for each request: the same bytes again, or with `%d` in path and body replaced by a
 *          number, so that one run can create s-0, s-1, s-2 and so on.
 *  Sizes:  `push` is what Runnel pushes for a message of `data_bytes`, header for header: an envelope with both spellings, and a token
 *          of `token_bytes`; tests/e2e/test_bench.py compares the two.
 *  Units:  due_ms since 1970 by the wall clock.
 *  Owner:  a request keeps its bytes until it is made anew or the program ends; the options and texts are borrowed.
 *  Thread: one. */
#ifndef TOOLS_BENCH_REQUEST_H
#define TOOLS_BENCH_REQUEST_H

#include <stddef.h>
#include <stdint.h>

enum mode { MODE_PUSH, MODE_PUBLISH, MODE_POST, MODE_PULL, MODE_TASK, MODE_HTTP };
struct request_options {
    enum mode mode;
    const char *host, *method, *path, *body; /* NULL: what the mode says */
    const char *topic, *subscription, *queue;
    size_t data_bytes, token_bytes, batch; /* of a message or a plain body; messages of one publish or pull, tasks of one creation */
    int64_t due_ms, step_us;               /* task.h */
    uint64_t queues;
    uint16_t port, target;
};
struct request {
    char *bytes;
    size_t n, room;
    const char *method, *path, *host, *type, *agent, *body; /* numbered requests are written from these again */
    char *token;
    int numbered;
    const struct request_options *tasks; /* each body is written anew, with `body` as the data; NULL: no tasks */
};
void request_make(struct request *r, const struct request_options *o);
/** Valid until the next call; *n is how many. */
const char *request_bytes(struct request *r, uint64_t number, size_t *n);
/** A POST of `body` to `path`, for requests that depend on an answer. */
void request_post(struct request *r, const char *host, const char *path, const char *body, size_t body_n);

#endif

/** exec_lines.h: what a program writes, cut into lines and carried to the engine in batches, within a budget.
 *  Shape:  lines_add of what each stream brought -> batches of records by mail -> lines_each on the engine thread.
 *  Limits: RUNTIME_LINE_MAX a line (cut and marked), RUNTIME_LINES_PER_S and RUNTIME_BYTES_PER_S an instance with a burst of
 *          RUNTIME_BURST_S, RUNTIME_UNREAD_MAX on the way. What is above is dropped; one line says how many.
 *  Units:  now_ns is monotonic, wall_ns wall time.
 *  Owner:  streams and budgets are embedded in their instance; a batch is whoever's has it, and line_batch_free comes after
 *          lines_each.
 *  Thread: the runtime's, but for lines_each. */
#ifndef EXECUTOR_EXEC_LINES_H
#define EXECUTOR_EXEC_LINES_H

#include "core/base/buf.h"
#include "core/loop/mailbox.h"
#include <stdatomic.h>

struct line_stream {
    struct buf partial;       /* a line whose end has not come */
    bool is_stderr, skipping; /* skipping: the rest of a line that was cut */
};
struct line_budget {
    double lines, bytes; /* left */
    int64_t last_ns;
    uint64_t dropped;
    _Atomic size_t unread; /* bytes of batches that the engine has not taken */
};
struct line_batch {
    struct mail mail;
    void *arg; /* whose it is */
    struct line_budget *budget;
    struct buf records;
};
typedef void (*line_fn)(void *arg, bool is_stderr, struct str line, int64_t wall_ns);

void line_stream_init(struct line_stream *s, bool is_stderr);
void line_stream_fini(struct line_stream *s);
void line_budget_init(struct line_budget *b, int64_t now_ns);
struct line_batch *line_batch_new(struct line_budget *b, void *arg, void (*deliver)(struct mail *));
void line_batch_free(struct line_batch *b); /* gives its bytes back to the budget */
/** Bytes came. `batch` may be NULL (out of memory): they are counted as dropped. False: the budget is used up, read later. */
bool lines_add(struct line_stream *s, struct line_budget *b, struct line_batch *batch, struct str bytes, int64_t now_ns, int64_t wall_ns);
/** The stream has ended: what is there is the last line. */
void lines_end(struct line_stream *s, struct line_budget *b, struct line_batch *batch, int64_t now_ns, int64_t wall_ns);
void lines_each(const struct line_batch *b, line_fn fn, void *arg);

#endif

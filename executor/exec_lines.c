/** exec_lines.c: cutting into lines, the budget, and the records of a batch. */
#include "executor/exec_lines.h"
#include "executor/runtime.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define BATCH_BYTES_MAX (1u << 20)
static const char cut_mark[] = " [cut]";

struct record {
    uint32_t len;
    bool is_stderr;
    int64_t wall_ns;
};

void line_stream_init(struct line_stream *s, bool is_stderr)
{
    buf_init(&s->partial, RUNTIME_LINE_MAX);
    s->is_stderr = is_stderr;
    s->skipping = false;
}

void line_stream_fini(struct line_stream *s) { buf_fini(&s->partial); }

void line_budget_init(struct line_budget *b, int64_t now_ns)
{
    b->lines = RUNTIME_LINES_PER_S * RUNTIME_BURST_S;
    b->bytes = (double)RUNTIME_BYTES_PER_S * RUNTIME_BURST_S;
    b->last_ns = now_ns;
    b->dropped = 0;
    atomic_init(&b->unread, 0);
}

static void refill(struct line_budget *b, int64_t now_ns)
{
    double s = (double)(now_ns - b->last_ns) / (double)NS_PER_S;
    if (s <= 0)
        return;
    b->last_ns = now_ns;
    b->lines += s * RUNTIME_LINES_PER_S;
    b->bytes += s * RUNTIME_BYTES_PER_S;
    if (b->lines > RUNTIME_LINES_PER_S * RUNTIME_BURST_S)
        b->lines = RUNTIME_LINES_PER_S * RUNTIME_BURST_S;
    if (b->bytes > (double)RUNTIME_BYTES_PER_S * RUNTIME_BURST_S)
        b->bytes = (double)RUNTIME_BYTES_PER_S * RUNTIME_BURST_S;
}

struct line_batch *line_batch_new(struct line_budget *budget, void *arg, void (*deliver)(struct mail *))
{
    struct line_batch *b = calloc(1, sizeof *b);
    if (!b)
        return NULL;
    b->mail.deliver = deliver;
    b->arg = arg;
    b->budget = budget;
    buf_init(&b->records, BATCH_BYTES_MAX);
    return b;
}

void line_batch_free(struct line_batch *b)
{
    if (!b)
        return;
    if (b->budget)
        atomic_fetch_sub(&b->budget->unread, buf_len(&b->records));
    buf_fini(&b->records);
    free(b);
}

static bool record_add(struct line_budget *b, struct line_batch *batch, bool is_stderr, struct str line, int64_t wall_ns)
{
    if (!batch)
        return false;
    struct record r = {(uint32_t)line.n, is_stderr, wall_ns};
    size_t before = buf_len(&batch->records), need = sizeof r + line.n;
    if (atomic_load(&b->unread) + need > RUNTIME_UNREAD_MAX)
        return false;
    if (buf_add(&batch->records, &r, sizeof r) || buf_add(&batch->records, line.p, line.n)) {
        buf_truncate(&batch->records, before);
        return false;
    }
    atomic_fetch_add(&b->unread, need);
    return true;
}

/* Say how many are missing, before the next one or at the end. */
static bool note_dropped(struct line_budget *b, struct line_batch *batch, int64_t wall_ns)
{
    if (!b->dropped)
        return true;
    char note[96];
    int n = snprintf(note, sizeof note, "[%llu lines dropped: written faster than they are kept]", (unsigned long long)b->dropped);
    if (!record_add(b, batch, true, (struct str){note, (size_t)n}, wall_ns))
        return false;
    b->dropped = 0;
    return true;
}

static void emit(struct line_stream *s, struct line_budget *b, struct line_batch *batch, struct str line, int64_t wall_ns)
{
    assert(line.p || line.n == 0);
    if (line.n > 0 && line.p[line.n - 1] == '\r')
        line.n--;
    if (b->lines < 1 || b->bytes < (double)line.n) {
        b->dropped++;
        return;
    }
    if (!note_dropped(b, batch, wall_ns)) {
        b->dropped++;
        return;
    }
    if (!record_add(b, batch, s->is_stderr, line, wall_ns)) {
        b->dropped++;
        return;
    }
    b->lines -= 1;
    b->bytes -= (double)line.n;
}

/* The line is too long: give what fits, marked, and skip to its end. */
static void emit_cut(struct line_stream *s, struct line_budget *b, struct line_batch *batch, struct str more, int64_t wall_ns)
{
    size_t room = RUNTIME_LINE_MAX - (sizeof cut_mark - 1);
    if (buf_len(&s->partial) > room)
        buf_truncate(&s->partial, room);
    size_t take = room - buf_len(&s->partial);
    if (take > more.n)
        take = more.n;
    if (buf_add(&s->partial, more.p, take) || buf_addz(&s->partial, cut_mark))
        b->dropped++;
    else
        emit(s, b, batch, buf_str(&s->partial), wall_ns);
    buf_clear(&s->partial);
    s->skipping = true;
}

bool lines_add(struct line_stream *s, struct line_budget *b, struct line_batch *batch, struct str bytes, int64_t now_ns, int64_t wall_ns)
{
    refill(b, now_ns);
    while (bytes.n > 0) {
        const char *end = memchr(bytes.p, '\n', bytes.n);
        struct str piece = {bytes.p, end ? (size_t)(end - bytes.p) : bytes.n};
        if (s->skipping)
            ;
        else if (buf_len(&s->partial) + piece.n > RUNTIME_LINE_MAX)
            emit_cut(s, b, batch, piece, wall_ns);
        else if (end && buf_len(&s->partial) == 0)
            emit(s, b, batch, piece, wall_ns);
        else if (buf_add(&s->partial, piece.p, piece.n))
            emit_cut(s, b, batch, (struct str){"", 0}, wall_ns);
        else if (end)
            emit(s, b, batch, buf_str(&s->partial), wall_ns);
        if (end) {
            buf_clear(&s->partial);
            s->skipping = false;
        }
        size_t used = piece.n + (end != NULL);
        bytes.p += used;
        bytes.n -= used;
    }
    return b->lines >= 1 && b->bytes >= RUNTIME_LINE_MAX && atomic_load(&b->unread) < RUNTIME_UNREAD_MAX / 2;
}

void lines_end(struct line_stream *s, struct line_budget *b, struct line_batch *batch, int64_t now_ns, int64_t wall_ns)
{
    refill(b, now_ns);
    if (buf_len(&s->partial) > 0)
        emit(s, b, batch, buf_str(&s->partial), wall_ns);
    buf_clear(&s->partial);
    note_dropped(b, batch, wall_ns);
}

void lines_each(const struct line_batch *b, line_fn fn, void *arg)
{
    struct str rest = buf_str(&b->records);
    while (rest.p && rest.n >= sizeof(struct record)) {
        struct record r;
        memcpy(&r, rest.p, sizeof r);
        fn(arg, r.is_stderr, (struct str){rest.p + sizeof r, r.len}, r.wall_ns);
        rest.p += sizeof r + r.len;
        rest.n -= sizeof r + r.len;
    }
}

/* fuzz_lines.c: what programs write, cut into lines. However the bytes come, the lines are those of a reader that has them all at once:
 * nothing lost, nothing twice, a line that is too long cut once and marked.
 * Input: what is written; 0x01, a byte and a number stand for so many times 64 of that byte. */
#include "executor/exec_lines.h"
#include "executor/runtime.h"
#include "tests/fuzz/fuzz.h"

#define WRITTEN_MAX ((size_t)512 * 1024) /* within the budget, which is not what is tested here */
#define LINES_MAX 3000
#define MARK " [cut]"

struct seen {
    struct buf text; /* the lines, each behind its length */
    size_t n;
};

static void put(struct seen *s, const char *p, size_t n)
{
    FUZZ_MUST(buf_addf(&s->text, "%zu:", n) == 0 && buf_add(&s->text, p, n) == 0);
    s->n++;
}

static void on_line(void *arg, bool is_stderr, struct str line, int64_t wall_ns)
{
    FUZZ_CHECK(is_stderr && wall_ns == 7, "another stream, or another time");
    put(arg, line.p, line.n);
}

/* All at once, by the rules of exec_lines.h. */
static void read_whole(struct seen *s, struct str all)
{
    char cut[RUNTIME_LINE_MAX];
    while (all.n) {
        const char *lf = memchr(all.p, '\n', all.n);
        size_t n = lf ? (size_t)(lf - all.p) : all.n, used = n + (lf != NULL);
        if (n > RUNTIME_LINE_MAX) {
            memcpy(cut, all.p, RUNTIME_LINE_MAX - strlen(MARK));
            memcpy(cut + RUNTIME_LINE_MAX - strlen(MARK), MARK, strlen(MARK));
            put(s, cut, RUNTIME_LINE_MAX);
        } else {
            put(s, all.p, n && all.p[n - 1] == '\r' ? n - 1 : n);
        }
        all = (struct str){all.p + used, all.n - used};
    }
}

static void read_in_pieces(struct seen *s, struct str all, struct fuzz_dice *dice)
{
    static const size_t sizes[] = {1, 7, 100, 5000, 40000};
    size_t most = sizes[fuzz_roll(dice, ARRAY_LEN(sizes))]; /* of one piece */
    struct line_stream stream;
    struct line_budget budget;
    line_stream_init(&stream, true);
    line_budget_init(&budget, 0);
    struct line_batch *batch = line_batch_new(&budget, NULL, NULL);
    FUZZ_MUST(batch);
    while (all.n) {
        size_t n = 1 + fuzz_roll(dice, most);
        n = n < all.n ? n : all.n;
        char *piece = fuzz_exact((struct str){all.p, n});
        lines_add(&stream, &budget, batch, (struct str){piece, n}, 0, 7);
        free(piece);
        all = (struct str){all.p + n, all.n - n};
    }
    lines_end(&stream, &budget, batch, 0, 7);
    lines_each(batch, on_line, s);
    FUZZ_CHECK(budget.dropped == 0, "%llu lines were dropped", (unsigned long long)budget.dropped);
    line_batch_free(batch);
    FUZZ_CHECK(atomic_load(&budget.unread) == 0, "%zu bytes are still on their way", atomic_load(&budget.unread));
    line_stream_fini(&stream);
}

/* False: more than the budget. */
static bool expand(struct buf *out, struct str in)
{
    size_t lines = 0;
    while (in.n) {
        uint8_t c = fuzz_byte(&in);
        size_t n = 1;
        if (c == 1) {
            c = fuzz_byte(&in);
            n = (size_t)fuzz_byte(&in) * 64;
        }
        lines += c == '\n' ? n : 0;
        char *to = buf_reserve(out, n + 1);
        if (!to || lines > LINES_MAX)
            return false;
        memset(to, c, n);
        buf_commit(out, n);
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str in = fuzz_str(data, size);
    struct fuzz_dice dice = fuzz_dice_of(in);
    struct seen whole = {.n = 0}, pieces = {.n = 0};
    struct buf all;
    buf_init(&all, WRITTEN_MAX);
    buf_init(&whole.text, 4 * WRITTEN_MAX);
    buf_init(&pieces.text, 4 * WRITTEN_MAX);
    if (expand(&all, in)) {
        read_whole(&whole, buf_str(&all));
        read_in_pieces(&pieces, buf_str(&all), &dice);
        FUZZ_CHECK(whole.n == pieces.n, "%zu lines, and %zu in pieces", whole.n, pieces.n);
        FUZZ_CHECK(buf_len(&whole.text) == buf_len(&pieces.text) &&
                       (!whole.n || memcmp(buf_data(&whole.text), buf_data(&pieces.text), buf_len(&whole.text)) == 0),
                   "the lines are others in pieces");
    }
    buf_fini(&all);
    buf_fini(&whole.text);
    buf_fini(&pieces.text);
    return 0;
}

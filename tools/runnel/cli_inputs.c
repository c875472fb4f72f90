/* cli_inputs.c: a file cut into the inputs of tasks: lines, or JSON objects. */
#include "tools/runnel/cli_inputs.h"
#include "core/base/text.h"
#include "tools/runnel/cli_json.h"

#include <errno.h>
#include <stdio.h>

struct reader {
    struct cli *c;
    const char *name;
    struct inputs *out;
    size_t cap;
    size_t line; /* counts from 1 */
};

static int refuse(const struct reader *r, struct err *e, const char *what)
{
    return err_set(e, ERR_INVALID_ARGUMENT, "--tasks-from: %.80s, line %zu: %s", r->name, r->line, what);
}

static int add(struct reader *r, char *text, size_t n, struct err *e)
{
    if (n > INPUT_BYTES_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "--tasks-from: %.80s, line %zu: an input of %zu bytes; one may have %d", r->name, r->line,
                       n, INPUT_BYTES_MAX);
    if (memchr(text, 0, n))
        return refuse(r, e, "a byte of value 0, which no environment variable can hold");
    if (!utf8_valid(text, n))
        return refuse(r, e, "not UTF-8");
    if (r->out->n == INPUTS_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "--tasks-from: %.80s has more than %d tasks", r->name, INPUTS_MAX);
    if (r->out->n == r->cap) {
        r->cap = r->cap ? 2 * r->cap : 256;
        const char **grown = cli_alloc(r->c, r->cap * sizeof *grown);
        for (size_t i = 0; i < r->out->n; i++)
            grown[i] = r->out->v[i];
        r->out->v = grown;
    }
    text[n] = 0;
    r->out->v[r->out->n++] = text;
    return 0;
}

static int take_lines(struct reader *r, char *p, const char *end, struct err *e)
{
    for (; p < end; r->line++) {
        char *stop = memchr(p, '\n', (size_t)(end - p));
        stop = stop ? stop : p + (end - p);
        size_t n = (size_t)(stop - p);
        n -= n && p[n - 1] == '\r';
        const int rc = n ? add(r, p, n, e) : 0;
        if (rc)
            return rc;
        p = stop + 1;
    }
    return 0;
}

/* The end of the object at `p`: one past its last brace; NULL: it has none. Its line ends become blanks, which mean the same there. */
static char *object_end(struct reader *r, char *p, const char *end)
{
    int depth = 0;
    bool quoted = false;
    for (; p < end; p++) {
        if (*p == '\n') {
            r->line++;
            if (!quoted)
                *p = ' ';
        } else if (quoted) {
            if (*p == '\\' && p + 1 < end && p[1] != '\n')
                p++;
            else if (*p == '"')
                quoted = false;
        } else if (*p == '"') {
            quoted = true;
        } else if (*p == '\r') {
            *p = ' ';
        } else if (*p == '{') {
            depth++;
        } else if (*p == '}' && --depth == 0) {
            return p + 1;
        }
    }
    return NULL;
}

static bool is_json(struct cli *c, struct str text)
{
    struct jv *unused = NULL;
    struct arena *kept = cli_scratch_begin(c);
    const bool ok = jv_parse(text, &unused, NULL) == 0;
    cli_scratch_end(c, kept);
    return ok;
}

static int take_objects(struct reader *r, char *p, const char *end, struct err *e)
{
    while (p < end) {
        if (*p == '\n')
            r->line++;
        if (strchr(" \t\r\n,", *p) && *p) { /* a comma between objects does no harm */
            p++;
            continue;
        }
        if (*p != '{')
            return refuse(r, e, "a JSON object was expected, as the file begins with one");
        const size_t from = r->line;
        char *stop = object_end(r, p, end);
        const size_t to = r->line;
        r->line = from; /* for messages */
        if (!stop)
            return refuse(r, e, "this JSON object has no end");
        if (!is_json(r->c, (struct str){p, (size_t)(stop - p)}))
            return refuse(r, e, "this is not JSON");
        const char after = stop < end ? *stop : ' '; /* what the terminator takes the place of */
        const int rc = add(r, p, (size_t)(stop - p), e);
        if (rc)
            return rc;
        r->line = to;
        if (after == '{')
            return refuse(r, e, "a blank or a line end must stand between two objects");
        r->line += after == '\n';
        p = stop + 1;
    }
    return 0;
}

int inputs_parse(struct cli *c, const char *name, char *text, size_t text_len, struct inputs *out, struct err *e)
{
    struct reader r = {.c = c, .name = name, .out = out, .line = 1};
    *out = (struct inputs){0};
    const char *end = text + text_len;
    char *p = text;
    if (text_len >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0) /* the mark that some editors put first */
        p += 3;
    const char *first = p;
    while (first < end && strchr(" \t\r\n", *first) && *first)
        first++;
    const int rc = first < end && *first == '{' ? take_objects(&r, p, end, e) : take_lines(&r, p, end, e);
    if (rc == 0 && out->n == 0)
        return err_set(e, ERR_INVALID_ARGUMENT, "--tasks-from: %.80s has no tasks: it is empty", name);
    return rc;
}

int inputs_read(struct cli *c, const char *path, struct inputs *out, struct err *e)
{
    const bool standard = strcmp(path, "-") == 0;
    FILE *f = standard ? stdin : fopen(path, "rbe");
    if (!f)
        return err_sys(e, ERR_INVALID_ARGUMENT, errno, "--tasks-from: cannot read %.100s", path);
    struct buf b;
    buf_init(&b, INPUTS_BYTES_MAX);
    char chunk[16384];
    bool fits = true;
    for (size_t n; fits && (n = fread(chunk, 1, sizeof chunk, f)) > 0;)
        fits = buf_add(&b, chunk, n) == 0;
    int rc = 0;
    if (!fits)
        rc = err_set(e, ERR_INVALID_ARGUMENT, "--tasks-from: %.100s is longer than %u MiB; put the data in files and list their names",
                     path, INPUTS_BYTES_MAX >> 20);
    else if (ferror(f))
        rc = err_set(e, ERR_INVALID_ARGUMENT, "--tasks-from: cannot read %.100s to its end", path);
    else
        rc = inputs_parse(c, standard ? "standard input" : path, cli_copy(c, buf_str(&b)), buf_len(&b), out, e);
    if (!standard)
        fclose(f);
    buf_fini(&b);
    return rc;
}

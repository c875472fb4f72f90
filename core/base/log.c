/** log.c: one line per event into a buffer on the stack, then one write. */
#include "core/base/log.h"

#include "core/base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ELLIPSIS "\xE2\x80\xA6"
/* Kept free while fields are added, so that a cut line can still be ended: the ellipsis, a quote, a
 * brace or the colour's end, and the newline. */
#define LINE_TAIL 16
#define EVENT_COLUMNS 22

struct log {
    int fd;
    bool text, colour;
    int level;
    const struct clock *clock;
};

static const struct {
    const char *severity; /* as Google's logging spells it */
    const char *label;
    const char *colour;
} levels[] = {
    [LOG_DEBUG] = {"DEBUG", "DEBUG", "\x1b[2m"},
    [LOG_INFO] = {"INFO", "INFO ", ""},
    [LOG_WARN] = {"WARNING", "WARN ", "\x1b[33m"},
    [LOG_ERROR] = {"ERROR", "ERROR", "\x1b[31m"},
};

static struct log null_log = {.fd = -1, .level = LOG_ERROR + 1};

struct log *log_new(int fd, bool text, enum log_level level, const struct clock *clock)
{
    struct log *l = malloc(sizeof *l);
    if (l)
        *l = (struct log){fd, text, text && isatty(fd), (int)level, clock};
    return l;
}

struct log *log_null(void) { return &null_log; }

void log_free(struct log *l)
{
    if (l != &null_log)
        free(l);
}

bool log_enabled(const struct log *l, enum log_level level) { return l && (int)level >= l->level; }

struct line {
    char bytes[LOG_LINE_MAX];
    size_t n, max;
};

/* All or nothing. */
static bool put_n(struct line *ln, const char *p, size_t n)
{
    if (ln->n > ln->max || n > ln->max - ln->n)
        return false;
    memcpy(ln->bytes + ln->n, p, n);
    ln->n += n;
    return true;
}

static bool put(struct line *ln, const char *z) { return put_n(ln, z, strlen(z)); }

FMT(2, 3) static bool put_f(struct line *ln, const char *fmt, ...)
{
    if (ln->n >= ln->max)
        return false;
    size_t room = ln->max - ln->n;
    va_list ap;
    va_start(ap, fmt);
    int need = vsnprintf(ln->bytes + ln->n, room, fmt, ap);
    va_end(ap);
    if (need < 0 || (size_t)need >= room)
        return false;
    ln->n += (size_t)need;
    return true;
}

/* The string in quotes; false when it had to be cut, which it then shows. The closing quote and the
 * ellipsis go into the tail that every line keeps. */
static bool put_quoted(struct line *ln, const char *s)
{
    size_t n = strlen(s);
    bool whole = true;
    if (!put(ln, "\""))
        return false;
    for (size_t i = 0; i < n && whole;) {
        char one[JSON_ESCAPE_MAX];
        size_t len;
        i += json_escape_next(s + i, n - i, one, &len);
        whole = put_n(ln, one, len);
    }
    ln->max += LINE_TAIL / 2;
    if (!whole)
        put(ln, ELLIPSIS);
    put(ln, "\"");
    ln->max -= LINE_TAIL / 2;
    return whole;
}

static bool bare_word(const char *s)
{
    if (!*s)
        return false;
    for (; *s; s++)
        if ((unsigned char)*s <= ' ' || *s == '"' || *s == '=' || *s == '\\' || (unsigned char)*s == 0x7F)
            return false;
    return true;
}

/* In readable text a plain word needs no quotes. */
static bool put_string(struct line *ln, const char *s, bool text)
{
    if (!s)
        return put(ln, text ? "-" : "null");
    size_t n = strlen(s);
    if (text && bare_word(s) && utf8_valid(s, n) && n <= ln->max - ln->n)
        return put_n(ln, s, n);
    return put_quoted(ln, s);
}

static bool put_value(struct line *ln, const struct log_field *f, bool text)
{
    switch (f->kind) {
    case LOG_KIND_STR:
        return put_string(ln, f->s, text);
    case LOG_KIND_INT:
        return put_f(ln, "%" PRId64, f->i);
    case LOG_KIND_BOOL:
        return put(ln, f->b ? "true" : "false");
    case LOG_KIND_DOUBLE: /* JSON has no word for the others */
        return isfinite(f->d) ? put_f(ln, "%.9g", f->d) : put_string(ln, isnan(f->d) ? "NaN" : f->d > 0 ? "Infinity" : "-Infinity", text);
    case LOG_KIND_END:
        break;
    }
    return put(ln, text ? "-" : "null");
}

/* The fields that fit; a string may be cut, anything else is left out whole. */
static void put_fields(struct line *ln, const struct log_field *fields, size_t n, bool text)
{
    for (size_t i = 0; i < n && fields[i].kind != LOG_KIND_END; i++) {
        size_t mark = ln->n;
        bool key = text ? put_f(ln, " %s=", fields[i].key) : put_f(ln, ",\"%s\":", fields[i].key);
        size_t value_at = ln->n;
        if (key && put_value(ln, &fields[i], text))
            continue;
        /* A cut string has at least its opening quote and the ellipsis; anything else is half a field. */
        if (!key || ln->n <= value_at)
            ln->n = mark;
        return;
    }
}

static void build_json(struct line *ln, enum log_level level, const char *event, int64_t wall_ns)
{
    char when[WALL_TEXT_MAX];
    put_f(ln, "{\"time\":\"%s\",\"severity\":\"%s\",\"event\":", wall_format(wall_ns - wall_ns % NS_PER_US, when), levels[level].severity);
    put_quoted(ln, event);
}

static void build_text(struct line *ln, const struct log *l, enum log_level level, const char *event, int64_t wall_ns)
{
    int64_t ms = wall_ns / NS_PER_MS;
    put_f(ln, "%02d:%02d:%02d.%03d ", (int)(ms / 3600000 % 24), (int)(ms / 60000 % 60), (int)(ms / 1000 % 60), (int)(ms % 1000));
    if (l->colour)
        put(ln, levels[level].colour);
    put(ln, levels[level].label);
    if (l->colour && levels[level].colour[0])
        put(ln, "\x1b[0m");
    put_f(ln, " %-*s", EVENT_COLUMNS, event);
}

void log_fields(struct log *l, enum log_level level, const char *event, const struct log_field *fields, size_t n)
{
    if (!log_enabled(l, level))
        return;
    struct line ln;
    ln.n = 0;
    ln.max = sizeof ln.bytes - LINE_TAIL;
    int64_t wall_ns = clock_wall_ns(l->clock);
    if (l->text)
        build_text(&ln, l, level, event, wall_ns);
    else
        build_json(&ln, level, event, wall_ns);
    put_fields(&ln, fields, n, l->text);
    ln.max = sizeof ln.bytes;
    put(&ln, l->text ? "\n" : "}\n");
    ssize_t rc;
    do
        rc = write(l->fd, ln.bytes, ln.n);
    while (rc < 0 && errno == EINTR);
    /* Nobody can be told that the log cannot be written, and the server goes on without it. */
}

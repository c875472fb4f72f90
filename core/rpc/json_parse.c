/** json_parse.c: JSON by the strict syntax of RFC 8259, read in one pass into a tree of slices.
 *  Strings stay where they stand in the text unless they hold escapes. Why not cJSON: it accepts control characters in
 *  strings, cuts them at \u0000 without a word, does not say where a text went wrong, keeps numbers as doubles, and with its
 *  tree of copies was a quarter of the instructions of a publish. */
#include "core/base/words.h"
#include "core/rpc/json_int.h"

struct scan {
    const char *start, *p, *end;
    struct arena *nodes;
    size_t values;
    struct err *e;
};

static int scan_fail(const struct scan *s, const char *what)
{
    size_t line = 1;
    for (const char *p = s->start; p < s->p; p++)
        line += *p == '\n';
    return err_set(s->e, ERR_INVALID_ARGUMENT, "the JSON is malformed at line %zu, byte %zu: %s", line, (size_t)(s->p - s->start), what);
}

static int scan_full(const struct scan *s)
{
    return err_set(s->e, ERR_RESOURCE_EXHAUSTED, "the JSON needs more memory than a call may use");
}

static void skip_space(struct scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
        s->p++;
}

/* Four hex digits at s->p; -1 when they are not. */
static int hex4(const struct scan *s)
{
    int v = 0;
    if (s->end - s->p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        char c = s->p[i];
        int d = c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : -1;
        if (d < 0)
            return -1;
        v = v * 16 + d;
    }
    return v;
}

/* s->p is just after "\u". The code point, or 0 when it was refused. */
static uint32_t scan_unicode(struct scan *s)
{
    int v = hex4(s);
    if (v <= 0)
        return scan_fail(s, v ? "\\u wants four hexadecimal digits" : "a string may not hold \\u0000"), 0;
    s->p += 4;
    if (v < 0xD800 || v > 0xDFFF)
        return (uint32_t)v;
    if (v < 0xDC00 && s->end - s->p >= 6 && s->p[0] == '\\' && s->p[1] == 'u') {
        s->p += 2;
        int low = hex4(s);
        if (low >= 0xDC00 && low <= 0xDFFF) {
            s->p += 4;
            return 0x10000 + (((uint32_t)v - 0xD800) << 10 | ((uint32_t)low - 0xDC00));
        }
    }
    return scan_fail(s, "half of a surrogate pair"), 0;
}

static char *put_utf8(char *to, uint32_t c)
{
    if (c < 0x80) {
        *to++ = (char)c;
        return to;
    }
    int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    *to++ = (char)((0xFF00 >> (more + 1) & 0xFF) | c >> 6 * more);
    while (more--)
        *to++ = (char)(0x80 | (c >> 6 * more & 0x3F));
    return to;
}

/* To the next byte that is not simply part of the string. */
static void skip_plain(struct scan *s)
{
    for (; s->end - s->p >= (ptrdiff_t)sizeof(uint64_t); s->p += sizeof(uint64_t)) {
        uint64_t w = word_load(s->p);
        if (word_below(w, 0x20) | word_equal(w, '"') | word_equal(w, '\\'))
            break;
    }
    while (s->p < s->end && (unsigned char)*s->p >= 0x20 && *s->p != '"' && *s->p != '\\')
        s->p++;
}

/* s->p is on a backslash; what it stands for goes to `*to`. */
static int scan_escape(struct scan *s, char **to)
{
    static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
    if (++s->p == s->end)
        return scan_fail(s, "a string is not closed");
    char x = *s->p++;
    if (x == 'u') {
        uint32_t c = scan_unicode(s);
        if (c)
            *to = put_utf8(*to, c);
        return c ? 0 : -ERR_INVALID_ARGUMENT;
    }
    const char *at = x ? strchr(from, x) : NULL;
    if (!at) {
        s->p--;
        return scan_fail(s, "unknown escape in a string");
    }
    *(*to)++ = into[at - from];
    return 0;
}

/* The string goes on behind its first escape. What it stands for is no longer than what is written, so the rest of the
 * text is room enough; a text of many such strings would need too much if each took that, so the end is looked for first. */
static int scan_escaped(struct scan *s, const char *begin, struct str *out)
{
    const char *q = s->p;
    while (q < s->end && *q != '"')
        q += *q == '\\' && s->end - q > 1 ? 2 : 1;
    char *copy = arena_alloc(s->nodes, (size_t)(q - begin) + 1), *to = copy;
    if (!copy)
        return scan_full(s);
    const char *from = begin;
    for (;;) {
        memcpy(to, from, (size_t)(s->p - from));
        to += s->p - from;
        if (s->p == s->end)
            return scan_fail(s, "a string is not closed");
        if (*s->p == '"')
            break;
        if (*s->p != '\\')
            return scan_fail(s, "a control character in a string must be escaped");
        int rc = scan_escape(s, &to);
        if (rc)
            return rc;
        from = s->p;
        skip_plain(s);
    }
    s->p++;
    *out = (struct str){copy, (size_t)(to - copy)};
    return 0;
}

static int scan_string(struct scan *s, struct str *out)
{
    const char *begin = ++s->p;
    skip_plain(s);
    if (s->p == s->end)
        return scan_fail(s, "a string is not closed");
    if (*s->p != '"')
        return scan_escaped(s, begin, out);
    *out = (struct str){begin, (size_t)(s->p - begin)};
    s->p++;
    return 0;
}

static size_t skip_digits(struct scan *s)
{
    const char *from = s->p;
    while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
        s->p++;
    return (size_t)(s->p - from);
}

static int scan_number(struct scan *s, struct str *out)
{
    const char *from = s->p;
    if (*s->p == '-')
        s->p++;
    bool zero = s->p < s->end && *s->p == '0';
    size_t n = skip_digits(s);
    if (n == 0 || (zero && n > 1))
        return scan_fail(s, "malformed number");
    if (s->p < s->end && *s->p == '.') {
        s->p++;
        if (!skip_digits(s))
            return scan_fail(s, "malformed number");
    }
    if (s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
        s->p++;
        if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
            s->p++;
        if (!skip_digits(s))
            return scan_fail(s, "malformed number");
    }
    *out = (struct str){from, (size_t)(s->p - from)};
    return out->n < JSON_NUMBER_MAX ? 0 : scan_fail(s, "a number has too many digits");
}

static bool skip_word(struct scan *s, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n))
        return false;
    s->p += n;
    return true;
}

static int scan_value(struct scan *s, unsigned depth, struct json_value *v);

/* An object's name and colon. */
static int scan_name(struct scan *s, struct str *name)
{
    skip_space(s);
    if (s->p == s->end || *s->p != '"')
        return scan_fail(s, "expected a name in quotes");
    int rc = scan_string(s, name);
    if (rc)
        return rc;
    skip_space(s);
    if (s->p == s->end || *s->p != ':')
        return scan_fail(s, "expected ':'");
    s->p++;
    return 0;
}

static int scan_members(struct scan *s, unsigned depth, char close, struct json_value *v)
{
    struct json_value **last = &v->child;
    s->p++;
    if (depth == JSON_DEPTH_MAX)
        return scan_fail(s, "nested too deeply");
    skip_space(s);
    if (s->p < s->end && *s->p == close) {
        s->p++;
        return 0;
    }
    for (;;) {
        struct json_value *child = arena_alloc(s->nodes, sizeof *child);
        if (!child)
            return scan_full(s);
        int rc = close == '}' ? scan_name(s, &child->name) : 0;
        if (!rc)
            rc = scan_value(s, depth + 1, child);
        if (rc)
            return rc;
        *last = child;
        last = &child->next;
        v->count++;
        skip_space(s);
        if (s->p == s->end || (*s->p != ',' && *s->p != close))
            return scan_fail(s, close == '}' ? "expected ',' or '}'" : "expected ',' or ']'");
        if (*s->p++ == close)
            return 0;
    }
}

static int scan_word(struct scan *s, struct json_value *v)
{
    if (skip_word(s, "true"))
        v->kind = JSON_TRUE;
    else if (skip_word(s, "false"))
        v->kind = JSON_FALSE;
    else if (skip_word(s, "null"))
        v->kind = JSON_NULL;
    else
        return scan_fail(s, "expected a value");
    return 0;
}

static int scan_value(struct scan *s, unsigned depth, struct json_value *v)
{
    if (++s->values > JSON_VALUES_MAX)
        return scan_fail(s, "too many values");
    skip_space(s);
    if (s->p == s->end)
        return scan_fail(s, "expected a value, found the end");
    char c = *s->p;
    if (c == '{' || c == '[') {
        v->kind = c == '{' ? JSON_OBJECT : JSON_ARRAY;
        return scan_members(s, depth, c == '{' ? '}' : ']', v);
    }
    if (c == '"') {
        v->kind = JSON_STRING;
        return scan_string(s, &v->text);
    }
    if (c == '-' || (c >= '0' && c <= '9')) {
        v->kind = JSON_NUMBER;
        return scan_number(s, &v->text);
    }
    return scan_word(s, v);
}

int json_parse(struct str text, struct arena *nodes, struct json_value *root, struct err *e)
{
    struct scan s = {text.p, text.p, text.p + text.n, nodes, 0, e};
    *root = (struct json_value){0};
    int rc = scan_value(&s, 0, root);
    if (rc)
        return rc;
    skip_space(&s);
    return s.p == s.end ? 0 : scan_fail(&s, "text after the end of the value");
}

const struct json_value *json_member(const struct json_value *object, const char *name)
{
    struct str want = str_of(name);
    for (const struct json_value *c = object->kind == JSON_OBJECT ? object->child : NULL; c; c = c->next)
        if (str_eq(c->name, want))
            return c;
    return NULL;
}

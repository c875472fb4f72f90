/** json_scan.c: the strict syntax of JSON (RFC 8259), checked before cJSON builds its tree.
 *  cJSON alone accepts control characters in strings, cuts strings at \u0000 without a word, and does not say where a
 *  text went wrong; here it is found out, with line and byte, before anything is allocated. */
#include "core/rpc/json_int.h"

struct scan {
    const char *start, *p, *end;
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

/* s->p is just after "\u". */
static int scan_unicode(struct scan *s)
{
    int v = hex4(s);
    if (v < 0)
        return scan_fail(s, "\\u wants four hexadecimal digits");
    if (v == 0)
        return scan_fail(s, "a string may not hold \\u0000");
    s->p += 4;
    if (v < 0xD800 || v > 0xDFFF)
        return 0;
    if (v < 0xDC00 && s->end - s->p >= 6 && s->p[0] == '\\' && s->p[1] == 'u') {
        s->p += 2;
        int low = hex4(s);
        if (low >= 0xDC00 && low <= 0xDFFF) {
            s->p += 4;
            return 0;
        }
    }
    return scan_fail(s, "half of a surrogate pair");
}

static int scan_string(struct scan *s)
{
    s->p++;
    while (s->p < s->end) {
        unsigned char c = (unsigned char)*s->p;
        if (c == '"') {
            s->p++;
            return 0;
        }
        if (c < 0x20)
            return scan_fail(s, "a control character in a string must be escaped");
        s->p++;
        if (c != '\\')
            continue;
        if (s->p == s->end)
            break;
        char x = *s->p++;
        if (x == 'u') {
            int rc = scan_unicode(s);
            if (rc)
                return rc;
        } else if (!x || !strchr("\"\\/bfnrt", x)) {
            s->p--;
            return scan_fail(s, "unknown escape in a string");
        }
    }
    return scan_fail(s, "a string is not closed");
}

static size_t skip_digits(struct scan *s)
{
    const char *from = s->p;
    while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
        s->p++;
    return (size_t)(s->p - from);
}

static int scan_number(struct scan *s)
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
    /* cJSON reads a number through a buffer of 64 bytes */
    return s->p - from < 63 ? 0 : scan_fail(s, "a number has too many digits");
}

static bool skip_word(struct scan *s, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n))
        return false;
    s->p += n;
    return true;
}

static int scan_value(struct scan *s, unsigned depth);

/* An object's name and colon. */
static int scan_name(struct scan *s)
{
    skip_space(s);
    if (s->p == s->end || *s->p != '"')
        return scan_fail(s, "expected a name in quotes");
    int rc = scan_string(s);
    if (rc)
        return rc;
    skip_space(s);
    if (s->p == s->end || *s->p != ':')
        return scan_fail(s, "expected ':'");
    s->p++;
    return 0;
}

static int scan_members(struct scan *s, unsigned depth, char close)
{
    s->p++;
    if (depth == JSON_DEPTH_MAX)
        return scan_fail(s, "nested too deeply");
    skip_space(s);
    if (s->p < s->end && *s->p == close) {
        s->p++;
        return 0;
    }
    for (;;) {
        int rc = close == '}' ? scan_name(s) : 0;
        if (!rc)
            rc = scan_value(s, depth + 1);
        if (rc)
            return rc;
        skip_space(s);
        if (s->p == s->end || (*s->p != ',' && *s->p != close))
            return scan_fail(s, close == '}' ? "expected ',' or '}'" : "expected ',' or ']'");
        if (*s->p++ == close)
            return 0;
    }
}

static int scan_value(struct scan *s, unsigned depth)
{
    if (++s->values > JSON_VALUES_MAX)
        return scan_fail(s, "too many values");
    skip_space(s);
    if (s->p == s->end)
        return scan_fail(s, "expected a value, found the end");
    char c = *s->p;
    if (c == '{' || c == '[')
        return scan_members(s, depth, c == '{' ? '}' : ']');
    if (c == '"')
        return scan_string(s);
    if (c == '-' || (c >= '0' && c <= '9'))
        return scan_number(s);
    if (skip_word(s, "true") || skip_word(s, "false") || skip_word(s, "null"))
        return 0;
    return scan_fail(s, "expected a value");
}

int json_scan(struct str text, struct err *e)
{
    struct scan s = {text.p, text.p, text.p + text.n, 0, e};
    int rc = scan_value(&s, 0);
    if (rc)
        return rc;
    skip_space(&s);
    return s.p == s.end ? 0 : scan_fail(&s, "text after the end of the value");
}

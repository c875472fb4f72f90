/** text.c: base64, percent-encoding, JSON strings, UTF-8, numbers and a hash. */
#include "core/base/text.h"

#include "core/base/words.h"

#include <endian.h>

static const char base64_std[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char base64_url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static int encode64(struct buf *b, const unsigned char *in, size_t n, const char *letters, bool pad)
{
    if (n > SIZE_MAX / 2)
        return -ERR_RESOURCE_EXHAUSTED;
    size_t rest = n % 3;
    size_t need = n / 3 * 4 + (rest == 0 ? 0 : pad ? 4 : rest + 1);
    if (need == 0)
        return 0;
    char *out = buf_reserve(b, need);
    if (!out)
        return -ERR_RESOURCE_EXHAUSTED;
    const unsigned char *end = in + (n - rest);
    for (; end - in >= 6; in += 6, out += 8) { /* eight letters from one load: two thirds of the instructions */
        uint64_t v = 0;
        memcpy(&v, in, 6);
        v = be64toh(v);
        out[0] = letters[v >> 58];
        out[1] = letters[v >> 52 & 63];
        out[2] = letters[v >> 46 & 63];
        out[3] = letters[v >> 40 & 63];
        out[4] = letters[v >> 34 & 63];
        out[5] = letters[v >> 28 & 63];
        out[6] = letters[v >> 22 & 63];
        out[7] = letters[v >> 16 & 63];
    }
    for (; in < end; in += 3) {
        uint32_t v = (uint32_t)in[0] << 16 | (uint32_t)in[1] << 8 | in[2];
        *out++ = letters[v >> 18];
        *out++ = letters[v >> 12 & 63];
        *out++ = letters[v >> 6 & 63];
        *out++ = letters[v & 63];
    }
    if (rest) {
        uint32_t v = (uint32_t)in[0] << 16 | (rest == 2 ? (uint32_t)in[1] << 8 : 0);
        *out++ = letters[v >> 18];
        *out++ = letters[v >> 12 & 63];
        if (rest == 2)
            *out++ = letters[v >> 6 & 63];
        else if (pad)
            *out++ = '=';
        if (pad)
            *out++ = '=';
    }
    buf_commit(b, need);
    return 0;
}

int base64_add(struct buf *b, const void *data, size_t n) { return encode64(b, data, n, base64_std, true); }

int base64url_add(struct buf *b, const void *data, size_t n) { return encode64(b, data, n, base64_url, false); }

/* One more than its value for each character of either alphabet; 0: no base64. A table, since comparing costs a
 * mispredicted branch per character: it was two thirds of the CPU of a publish. */
static const unsigned char value64_plus_1[256] = {
    ['A'] = 1,  ['B'] = 2,  ['C'] = 3,  ['D'] = 4,  ['E'] = 5,  ['F'] = 6,  ['G'] = 7,  ['H'] = 8,  ['I'] = 9,  ['J'] = 10, ['K'] = 11,
    ['L'] = 12, ['M'] = 13, ['N'] = 14, ['O'] = 15, ['P'] = 16, ['Q'] = 17, ['R'] = 18, ['S'] = 19, ['T'] = 20, ['U'] = 21, ['V'] = 22,
    ['W'] = 23, ['X'] = 24, ['Y'] = 25, ['Z'] = 26, ['a'] = 27, ['b'] = 28, ['c'] = 29, ['d'] = 30, ['e'] = 31, ['f'] = 32, ['g'] = 33,
    ['h'] = 34, ['i'] = 35, ['j'] = 36, ['k'] = 37, ['l'] = 38, ['m'] = 39, ['n'] = 40, ['o'] = 41, ['p'] = 42, ['q'] = 43, ['r'] = 44,
    ['s'] = 45, ['t'] = 46, ['u'] = 47, ['v'] = 48, ['w'] = 49, ['x'] = 50, ['y'] = 51, ['z'] = 52, ['0'] = 53, ['1'] = 54, ['2'] = 55,
    ['3'] = 56, ['4'] = 57, ['5'] = 58, ['6'] = 59, ['7'] = 60, ['8'] = 61, ['9'] = 62, ['+'] = 63, ['-'] = 63, ['/'] = 64, ['_'] = 64,
};

static uint32_t value64(char c) { return value64_plus_1[(unsigned char)c] - 1u; }

/* Nothing is written before all of it is known to be good: `out` may be `in`. Looked at in pieces without a branch; the
 * value of a stranger is all ones. */
static int check64(const char *in, size_t n, struct err *e)
{
    size_t i = 0;
    uint32_t all = 0;
    for (; i + 16 <= n; i += 16) {
        for (size_t j = 0; j < 16; j++)
            all |= value64(in[i + j]);
        if (all > 63)
            break;
    }
    while (i < n && value64(in[i]) <= 63)
        i++;
    if (i < n)
        return err_set(e, ERR_INVALID_ARGUMENT, "not base64: byte 0x%02x at offset %zu", (unsigned char)in[i], i);
    return 0;
}

int base64_decode(const char *in, size_t n, void *out, size_t *out_len, struct err *e)
{
    size_t whole = n, i = 0;
    if (n % 4 == 0)
        for (int pads = 0; pads < 2 && n > 0 && in[n - 1] == '='; pads++)
            n--;
    if (n % 4 == 1)
        return err_set(e, ERR_INVALID_ARGUMENT, "not base64: its length of %zu cannot be", whole);
    if (check64(in, n, e))
        return -ERR_INVALID_ARGUMENT;
    unsigned char *to = out;
    for (; i + 4 <= n; i += 4) {
        uint32_t bits = value64(in[i]) << 18 | value64(in[i + 1]) << 12 | value64(in[i + 2]) << 6 | value64(in[i + 3]);
        *to++ = (unsigned char)(bits >> 16);
        *to++ = (unsigned char)(bits >> 8);
        *to++ = (unsigned char)bits;
    }
    if (n - i >= 2) {
        uint32_t bits = value64(in[i]) << 18 | value64(in[i + 1]) << 12 | (n - i == 3 ? value64(in[i + 2]) << 6 : 0);
        *to++ = (unsigned char)(bits >> 16);
        if (n - i == 3)
            *to++ = (unsigned char)(bits >> 8);
    }
    *out_len = (size_t)(to - (unsigned char *)out);
    return 0;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int percent_decode(char *s, size_t n, bool plus)
{
    if (n > INT32_MAX)
        return -ERR_INVALID_ARGUMENT;
    for (size_t i = 0; i < n; i++) /* bad input changes nothing */
        if (s[i] == '%' && (n - i < 3 || hex_value(s[i + 1]) < 0 || hex_value(s[i + 2]) < 0))
            return -ERR_INVALID_ARGUMENT;
    size_t to = 0;
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '%') {
            s[to++] = (char)(hex_value(s[i + 1]) << 4 | hex_value(s[i + 2]));
            i += 2;
        } else {
            s[to++] = plus && s[i] == '+' ? ' ' : s[i];
        }
    }
    return (int)to;
}

static bool unreserved(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~';
}

int percent_add(struct buf *b, struct str s)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t before = buf_len(b);
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        char coded[3] = {'%', hex[c >> 4], hex[c & 15]};
        int rc = unreserved(c) ? buf_add(b, &s.p[i], 1) : buf_add(b, coded, 3);
        if (rc) {
            buf_truncate(b, before);
            return rc;
        }
    }
    return 0;
}

size_t utf8_next(const char *s, size_t n, uint32_t *code)
{
    const unsigned char *p = (const unsigned char *)s;
    *code = UTF8_BAD;
    if (p[0] < 0x80) {
        *code = p[0];
        return 1;
    }
    size_t more = p[0] >= 0xF0 ? 3 : p[0] >= 0xE0 ? 2 : 1;
    if (p[0] < 0xC2 || p[0] > 0xF4)
        return 1;
    /* The second byte excludes overlong forms, surrogates and what is above U+10FFFF. */
    unsigned char low = p[0] == 0xE0 ? 0xA0 : p[0] == 0xF0 ? 0x90 : 0x80;
    unsigned char high = p[0] == 0xED ? 0x9F : p[0] == 0xF4 ? 0x8F : 0xBF;
    uint32_t v = p[0] & (0x3Fu >> more);
    for (size_t i = 1; i <= more; i++) {
        if (i >= n || p[i] < low || p[i] > high)
            return i;
        v = v << 6 | (p[i] & 0x3Fu);
        low = 0x80;
        high = 0xBF;
    }
    *code = v;
    return more + 1;
}

bool utf8_valid(const char *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        uint32_t code;
        i += utf8_next(s + i, n - i, &code);
        if (code == UTF8_BAD)
            return false;
    }
    return true;
}

size_t json_escape_next(const char *s, size_t n, char out[JSON_ESCAPE_MAX], size_t *out_len)
{
    static const char hex[] = "0123456789abcdef";
    uint32_t code;
    size_t used = utf8_next(s, n, &code);
    if (code == UTF8_BAD) {
        memcpy(out, "\xEF\xBF\xBD", 3);
        *out_len = 3;
        return used;
    }
    const char *short_form = code == '"'    ? "\""
                             : code == '\\' ? "\\"
                             : code == '\n' ? "n"
                             : code == '\r' ? "r"
                             : code == '\t' ? "t"
                             : code == '\b' ? "b"
                             : code == '\f' ? "f"
                                            : NULL;
    if (short_form) {
        out[0] = '\\';
        out[1] = short_form[0];
        *out_len = 2;
    } else if (code < 0x20 || code == 0x7F) {
        char coded[6] = {'\\', 'u', '0', '0', hex[code >> 4], hex[code & 15]};
        memcpy(out, coded, sizeof coded);
        *out_len = sizeof coded;
    } else {
        memcpy(out, s, used);
        *out_len = used;
    }
    return used;
}

/* How many bytes from here on are copied as they are: the common case, taken in one step. */
static size_t plain_run(const char *s, size_t n)
{
    size_t i = 0;
    for (; n - i >= sizeof(uint64_t); i += sizeof(uint64_t)) {
        uint64_t w = word_load(s + i);
        if (word_above_ascii(w) | word_below(w, 0x20) | word_equal(w, 0x7F) | word_equal(w, '"') | word_equal(w, '\\'))
            break;
    }
    while (i < n && (unsigned char)s[i] >= 0x20 && (unsigned char)s[i] < 0x7F && s[i] != '"' && s[i] != '\\')
        i++;
    return i;
}

static int json_body_add(struct buf *b, struct str s)
{
    for (size_t i = 0; i < s.n;) {
        size_t run = plain_run(s.p + i, s.n - i);
        int rc = buf_add(b, s.p + i, run);
        i += run;
        if (rc)
            return rc;
        if (i == s.n)
            break;
        char one[JSON_ESCAPE_MAX];
        size_t len;
        i += json_escape_next(s.p + i, s.n - i, one, &len);
        rc = buf_add(b, one, len);
        if (rc)
            return rc;
    }
    return 0;
}

int json_string_add(struct buf *b, struct str s)
{
    size_t before = buf_len(b);
    int rc = buf_add(b, "\"", 1);
    if (!rc)
        rc = json_body_add(b, s);
    if (!rc)
        rc = buf_add(b, "\"", 1);
    if (rc)
        buf_truncate(b, before);
    return rc;
}

uint64_t hash_bytes(const void *data, size_t n, uint64_t seed)
{
    const unsigned char *p = data;
    uint64_t h = UINT64_C(0xCBF29CE484222325) ^ seed;
    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * UINT64_C(0x100000001B3);
    /* FNV's low bits depend on few of the input's: spread them. */
    h ^= h >> 33;
    h *= UINT64_C(0xFF51AFD7ED558CCD);
    h ^= h >> 33;
    h *= UINT64_C(0xC4CEB9FE1A85EC53);
    return h ^ h >> 33;
}

int parse_u64(struct str s, uint64_t max, uint64_t *out, struct err *e)
{
    int shown = (int)(s.n < 40 ? s.n : 40);
    uint64_t v = 0;
    bool over = false;
    if (s.n == 0)
        return err_set(e, ERR_INVALID_ARGUMENT, "a number is missing");
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return err_set(e, ERR_INVALID_ARGUMENT, "\"%.*s\" is not a whole number of 0 or more", shown, s.p);
        over = over || __builtin_mul_overflow(v, UINT64_C(10), &v) || __builtin_add_overflow(v, (uint64_t)(s.p[i] - '0'), &v);
    }
    if (over || v > max)
        return err_set(e, ERR_INVALID_ARGUMENT, "%.*s is too large: at most %llu", shown, s.p, (unsigned long long)max);
    *out = v;
    return 0;
}

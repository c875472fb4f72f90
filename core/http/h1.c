/* h1.c: HTTP/1.x framing. What decides it is read twice: by our own strict scan of the whole head, and by http_parser (this
 * is the only file that knows it). Both must come to the same, so that neither's gap is a way to smuggle a request past us. */
#include "core/http/h1.h"

#include <assert.h>
#include <http_parser.h>

static int refuse(struct err *e, int status, const char *why)
{
    err_set(e, status == 431 || status == 414 ? ERR_RESOURCE_EXHAUSTED : ERR_INVALID_ARGUMENT, "%s", why);
    return status;
}

/* ---- the end of the head ---- */

#define H1_STATUS_LINE_MIN (sizeof "HTTP/1.1 200" - 1)

/* Can a message begin like this? A TLS hello or another protocol is told so at once and not after a timeout. */
static bool first_line_possible(enum h1_kind kind, const char *p, size_t n)
{
    if (kind == H1_REQUEST)
        return n == 0 || p[0] == '\r' || header_name_valid((struct str){p, 1});
    return memcmp(p, "HTTP/1.", n < 7 ? n : 7) == 0;
}

/* One whole line, without its CR LF, was found. 1: it ends the head. */
static int line_ends_head(struct h1_scan *s, enum h1_kind kind, const char *line, size_t n, int *refused, struct err *e)
{
    *refused = 0;
    if (n == 0) {
        if (s->lines > 0)
            return 1;
        if (kind == H1_RESPONSE || ++s->blank_lines > H1_BLANK_LINES_MAX)
            *refused = refuse(e, 400, "empty lines where a message should begin");
        return 0;
    }
    if (line[0] == ' ' || line[0] == '\t')
        *refused = refuse(e, 400, s->lines ? "a header field is folded over two lines" : "the first line begins with a space");
    else if (s->lines == 0 && (!first_line_possible(kind, line, n) || (kind == H1_RESPONSE && n < H1_STATUS_LINE_MIN)))
        *refused = refuse(e, 400, "this is not HTTP");
    else if (s->lines == 0 && kind == H1_REQUEST && (n < 9 || memcmp(line + n - 9, " HTTP/", 6) != 0))
        *refused = refuse(e, 400, "the request line does not end in an HTTP version");
    s->lines++;
    return 0;
}

int h1_head_find(struct h1_scan *s, enum h1_kind kind, const char *p, size_t n, size_t head_max_bytes, size_t *head_bytes, struct err *e)
{
    *head_bytes = 0;
    const char *lf;
    while (s->at < n && (lf = memchr(p + s->at, '\n', n - s->at))) {
        size_t end = (size_t)(lf - p);
        int refused;
        if (end == s->line || p[end - 1] != '\r')
            return refuse(e, 400, "a line of the head ends in LF without CR");
        int last = line_ends_head(s, kind, p + s->line, end - 1 - s->line, &refused, e);
        if (refused)
            return refused;
        s->at = s->line = end + 1;
        if (last) {
            if (s->at > head_max_bytes)
                return refuse(e, 431, "the head is too large");
            *head_bytes = s->at;
            return 0;
        }
    }
    s->at = n;
    if (s->lines == 0 && !first_line_possible(kind, p + s->line, n - s->line))
        return refuse(e, 400, "this is not HTTP");
    if (kind == H1_REQUEST && s->lines == 0 && n - s->line > H1_TARGET_MAX + 64)
        return refuse(e, 414, "the request target is too long");
    if (n >= head_max_bytes)
        return refuse(e, 431, "the head is too large");
    return 0;
}

/* ---- our reading of the head ---- */

/* The next line without CR LF; the head is known to end with an empty one. */
static struct str line_take(struct str *rest)
{
    const char *lf = memchr(rest->p, '\n', rest->n);
    assert(lf && lf > rest->p && lf[-1] == '\r');
    struct str line = {rest->p, (size_t)(lf - rest->p) - 1};
    rest->n -= line.n + 2;
    rest->p = lf + 1;
    return line;
}

/* Visible characters, spaces, tabs and bytes above ASCII; no CR, so a bare one is found here. */
static bool text_valid(struct str s)
{
    if (header_text_plain(s))
        return true;
    bool bad = false;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bad |= (c < ' ' && c != '\t') || c == 0x7f;
    }
    return !bad;
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* "HTTP/1.x": 0, what is later than 1.1 being read as 1.1 (RFC 9110 2.5); another version of HTTP: 505. */
static int version_read(struct str s, int *minor, struct err *e)
{
    if (s.n != 8 || memcmp(s.p, "HTTP/", 5) != 0 || !is_digit(s.p[5]) || s.p[6] != '.' || !is_digit(s.p[7]))
        return refuse(e, 400, "the HTTP version is malformed");
    if (s.p[5] != '1')
        return refuse(e, 505, "the version of HTTP is not 1.x");
    *minor = s.p[7] > '0';
    return 0;
}

static int request_line_read(struct str line, struct h1_head *h, struct err *e)
{
    const char *a = memchr(line.p, ' ', line.n);
    size_t method_n = a ? (size_t)(a - line.p) : line.n;
    struct str rest = {line.p + method_n + 1, a ? line.n - method_n - 1 : 0};
    const char *b = rest.n ? memchr(rest.p, ' ', rest.n) : NULL;
    if (!a || !b || !header_name_valid((struct str){line.p, method_n}))
        return refuse(e, 400, "the request line is not: method, target, version");
    h->method = (struct str){line.p, method_n};
    h->target = (struct str){rest.p, (size_t)(b - rest.p)};
    if (h->target.n > H1_TARGET_MAX)
        return refuse(e, 414, "the request target is too long");
    int refused = version_read((struct str){b + 1, rest.n - h->target.n - 1}, &h->minor, e);
    if (refused)
        return refused;
    bool bad = h->target.n == 0;
    for (size_t i = 0; i < h->target.n; i++) {
        unsigned char c = (unsigned char)h->target.p[i];
        bad |= c <= ' ' || c >= 0x7f || c == '#';
    }
    return bad ? refuse(e, 400, "the request target has a character that must be percent-encoded") : 0;
}

static int status_line_read(struct str line, struct h1_head *h, struct err *e)
{
    if (line.n < H1_STATUS_LINE_MIN || line.p[8] != ' ' || !is_digit(line.p[9]) || !is_digit(line.p[10]) || !is_digit(line.p[11]) ||
        (line.n > 12 && line.p[12] != ' ') || !text_valid(line))
        return refuse(e, 400, "the status line is malformed");
    h->status = (line.p[9] - '0') * 100 + (line.p[10] - '0') * 10 + (line.p[11] - '0');
    if (h->status < 100)
        return refuse(e, 400, "the status is below 100");
    return version_read((struct str){line.p, 8}, &h->minor, e);
}

static int length_read(struct str v, struct h1_head *h, struct err *e)
{
    if (h->has_length)
        return refuse(e, 400, "Content-Length is given twice");
    if (v.n == 0 || v.n > 18)
        return refuse(e, 400, "Content-Length is not a length");
    int64_t n = 0;
    for (size_t i = 0; i < v.n; i++) {
        if (!is_digit(v.p[i]))
            return refuse(e, 400, "Content-Length is not a plain decimal number");
        n = n * 10 + (v.p[i] - '0');
    }
    h->has_length = true;
    h->body_bytes = n;
    return 0;
}

/* What the fields say about this connection, gathered while they are read. */
struct notes {
    bool chunked, upgrade, connection;
    struct str start;                         /* the first line, with its CR LF, as the framing lines are */
    struct str framing[H1_FRAMING_LINES_MAX]; /* the lines that framing depends on */
    size_t framing_count;
};

/* One of the few fields that framing depends on; http_parser will be shown its line. */
static bool is_framing(struct notes *k, struct str line, struct str name, struct str want)
{
    if (!str_ieq(name, want))
        return false;
    if (k->framing_count < H1_FRAMING_LINES_MAX)
        k->framing[k->framing_count] = (struct str){line.p, line.n + 2};
    k->framing_count++;
    return true;
}

static int field_note(struct str line, struct str name, struct str value, struct h1_head *h, struct notes *k, struct err *e)
{
    switch (name.n) {
    case 4:
        if (str_ieq(name, STR("host")) && h->hosts++ == 0)
            h->host = value;
        return 0;
    case 6:
        if (str_ieq(name, STR("expect")))
            h->expect_continue = str_ieq(value, STR("100-continue"));
        return 0;
    case 7:
        if (is_framing(k, line, name, STR("upgrade")))
            k->upgrade = value.n > 0;
        return 0;
    case 10:
        k->connection |= is_framing(k, line, name, STR("connection"));
        return 0;
    case 14:
        return is_framing(k, line, name, STR("content-length")) ? length_read(value, h, e) : 0;
    case 17:
        if (!is_framing(k, line, name, STR("transfer-encoding")))
            return 0;
        if (k->chunked || !str_ieq(value, STR("chunked")))
            return refuse(e, 400, "Transfer-Encoding is not exactly: chunked");
        k->chunked = true;
        return 0;
    default:
        return 0;
    }
}

static int field_read(struct str line, struct h1_head *h, struct headers *fields, struct notes *k, struct err *e)
{
    const char *colon = memchr(line.p, ':', line.n);
    struct str name = {line.p, colon ? (size_t)(colon - line.p) : line.n};
    if (!colon)
        return refuse(e, 400, "a header field has no colon");
    if (!header_name_valid(name))
        return refuse(e, 400, "a header field's name has a space or another character that names may not have");
    struct str value = {colon + 1, line.n - name.n - 1};
    while (value.n && (value.p[0] == ' ' || value.p[0] == '\t'))
        value.p++, value.n--;
    while (value.n && (value.p[value.n - 1] == ' ' || value.p[value.n - 1] == '\t'))
        value.n--;
    if (!text_valid(value))
        return refuse(e, 400, "a header field's value has a control character");
    if (headers_add(fields, name, value, e))
        return refuse(e, 431, "too many header fields");
    return field_note(line, name, value, h, k, e);
}

static int fields_read(struct str rest, struct h1_head *h, struct headers *fields, struct notes *k, struct err *e)
{
    for (struct str line = line_take(&rest); line.n; line = line_take(&rest)) {
        int refused = field_read(line, h, fields, k, e);
        if (refused)
            return refused;
    }
    if (rest.n)
        return refuse(e, 400, "the head goes on after its end");
    if (k->chunked && h->has_length)
        return refuse(e, 400, "both Content-Length and Transfer-Encoding are given");
    if (k->chunked && h->minor == 0)
        return refuse(e, 400, "Transfer-Encoding is given in HTTP/1.0");
    bool closes = k->connection && headers_has_token(fields, "connection", "close");
    h->keep_alive = !closes && (h->minor == 1 || (k->connection && headers_has_token(fields, "connection", "keep-alive")));
    h->upgrade = k->upgrade && k->connection && h->minor == 1 && headers_has_token(fields, "connection", "upgrade");
    return 0;
}

/* ---- the second reading, by http_parser ---- */

static int stop_after_head(http_parser *parser)
{
    *(bool *)parser->data = true;
    return parser->type == HTTP_RESPONSE ? 1 : 0;
}

/* Show http_parser the first line, the lines that framing depends on, and the end. The others were found to be whole and
 * harmless lines, and http_parser spends 20 instructions on each of their bytes. */
static bool second_execute(http_parser *parser, const struct notes *k, struct str head)
{
    static const http_parser_settings settings = {.on_headers_complete = stop_after_head};
    if (k->framing_count > H1_FRAMING_LINES_MAX)
        return http_parser_execute(parser, &settings, head.p, head.n) == head.n;
    size_t left = k->start.n - http_parser_execute(parser, &settings, k->start.p, k->start.n);
    for (size_t i = 0; i < k->framing_count && left == 0; i++)
        left = k->framing[i].n - http_parser_execute(parser, &settings, k->framing[i].p, k->framing[i].n);
    return left == 0 && http_parser_execute(parser, &settings, "\r\n", 2) == 2;
}

/* Does http_parser see the same message? 501 for a method it does not know. */
static int second_reading(enum http_parser_type type, struct str head, const struct h1_head *h, const struct notes *k, struct err *e)
{
    bool complete = false;
    http_parser parser;
    http_parser_init(&parser, type);
    parser.data = &complete;
    bool used = second_execute(&parser, k, head);
    enum http_errno bad = HTTP_PARSER_ERRNO(&parser);
    if (bad == HPE_INVALID_METHOD)
        return refuse(e, 501, "the method is not known here");
    if (bad == HPE_HEADER_OVERFLOW)
        return refuse(e, 431, "the head is too large");
    if (bad != HPE_OK)
        return refuse(e, 400, http_errno_description(bad));
    bool chunked = parser.flags & F_CHUNKED, length = parser.flags & F_CONTENTLENGTH;
    if (!complete || !used || parser.http_major != 1 || (parser.http_minor > 0) != h->minor || chunked != k->chunked ||
        length != h->has_length || (type == HTTP_RESPONSE && parser.status_code != (unsigned)h->status))
        return refuse(e, 400, "the head can be read in two ways");
    return 0;
}

int h1_request_parse(const char *p, size_t n, struct h1_head *h, struct headers *fields, struct err *e)
{
    struct str rest = {p, n};
    struct notes k = {0};
    *h = (struct h1_head){0};
    fields->n = 0;
    while (rest.n > 2 && rest.p[0] == '\r' && rest.p[1] == '\n') /* blank lines that h1_head_find let pass */
        rest.p += 2, rest.n -= 2;
    struct str line = line_take(&rest);
    k.start = (struct str){line.p, line.n + 2};
    int refused = request_line_read(line, h, e);
    if (refused == 0)
        refused = fields_read(rest, h, fields, &k, e);
    if (refused)
        return refused;
    /* http_parser would read a CONNECT target by other rules; nobody here is a forward proxy. */
    if (str_is(h->method, "CONNECT"))
        return refuse(e, 501, "CONNECT is not served here");
    refused = second_reading(HTTP_REQUEST, (struct str){line.p, (size_t)(p + n - line.p)}, h, &k, e);
    if (refused)
        return refused;
    h->framing = k.chunked ? H1_CHUNKED : h->body_bytes ? H1_LENGTH : H1_NO_BODY;
    return 0;
}

int h1_response_parse(const char *p, size_t n, struct h1_head *h, struct headers *fields, struct err *e)
{
    struct str rest = {p, n};
    struct notes k = {0};
    *h = (struct h1_head){0};
    fields->n = 0;
    struct str line = line_take(&rest);
    k.start = (struct str){line.p, line.n + 2};
    int refused = status_line_read(line, h, e);
    if (refused == 0)
        refused = fields_read(rest, h, fields, &k, e);
    if (refused == 0)
        refused = second_reading(HTTP_RESPONSE, (struct str){p, n}, h, &k, e);
    if (refused)
        return refused;
    if (h->status < 200 || h->status == 204 || h->status == 304)
        h->framing = H1_NO_BODY;
    else
        h->framing = k.chunked ? H1_CHUNKED : h->has_length ? H1_LENGTH : H1_UNTIL_CLOSE;
    return 0;
}

/* ---- bodies ---- */

enum chunk_state {
    CHUNK_SIZE,      /* hex digits */
    CHUNK_EXTENSION, /* after ";" */
    CHUNK_SIZE_LF,
    CHUNK_DATA,
    CHUNK_DATA_CR,
    CHUNK_DATA_LF,
    TRAILER_LINE, /* at the beginning of a line after the last chunk */
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    CHUNKED_END_LF,
};

void h1_body_init(struct h1_body *b, enum h1_framing framing, int64_t length)
{
    assert(length >= 0);
    *b = (struct h1_body){.framing = framing, .state = CHUNK_SIZE};
    if (framing == H1_LENGTH)
        b->left = (uint64_t)length;
    b->done = framing == H1_NO_BODY || (framing == H1_LENGTH && length == 0);
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int chunk_size_step(struct h1_body *b, char c, struct err *e)
{
    int digit = hex_value(c);
    if (digit >= 0) {
        if (++b->digits > H1_CHUNK_DIGITS_MAX)
            return refuse(e, 400, "a chunk's size is too large");
        b->left = b->left * 16 + (uint64_t)digit;
        return 0;
    }
    if (b->digits == 0 || (c != ';' && c != '\r'))
        return refuse(e, 400, "a chunk's size is malformed");
    b->line_bytes = 0;
    b->state = c == ';' ? CHUNK_EXTENSION : CHUNK_SIZE_LF;
    return 0;
}

static int chunk_extension_step(struct h1_body *b, char c, struct err *e)
{
    if (c == '\r') {
        b->state = CHUNK_SIZE_LF;
        return 0;
    }
    if (!text_valid((struct str){&c, 1}))
        return refuse(e, 400, "a chunk's extension has a control character");
    if (++b->line_bytes > H1_CHUNK_EXTENSION_MAX || ++b->extension_bytes > H1_EXTENSIONS_MAX)
        return refuse(e, 400, "chunk extensions are too long");
    return 0;
}

static int trailer_step(struct h1_body *b, char c, struct err *e)
{
    if (++b->trailer_bytes > H1_TRAILERS_MAX)
        return refuse(e, 431, "the trailer is too large");
    if (b->state == TRAILER_LINE && c == '\r') {
        b->state = CHUNKED_END_LF;
        return 0;
    }
    if (b->state == TRAILER_VALUE) {
        if (c == '\r')
            b->state = TRAILER_LF;
        else if (!text_valid((struct str){&c, 1}))
            return refuse(e, 400, "a trailer's value has a control character");
        return 0;
    }
    if (b->state == TRAILER_NAME && c == ':') {
        b->state = TRAILER_VALUE;
        return 0;
    }
    if (!header_name_valid((struct str){&c, 1}))
        return refuse(e, 400, "a trailer is malformed");
    b->state = TRAILER_NAME;
    return 0;
}

/* The one byte that may stand here. */
static int expect_byte(struct h1_body *b, char c, char want, enum chunk_state next, struct err *e)
{
    if (c != want)
        return refuse(e, 400, "a chunk does not end in CR LF");
    b->state = (uint8_t)next;
    return 0;
}

static int chunk_step(struct h1_body *b, char c, struct err *e)
{
    switch ((enum chunk_state)b->state) {
    case CHUNK_SIZE:
        return chunk_size_step(b, c, e);
    case CHUNK_EXTENSION:
        return chunk_extension_step(b, c, e);
    case CHUNK_SIZE_LF:
        return expect_byte(b, c, '\n', b->left ? CHUNK_DATA : TRAILER_LINE, e);
    case CHUNK_DATA:
        break; /* not reached: data is taken whole */
    case CHUNK_DATA_CR:
        return expect_byte(b, c, '\r', CHUNK_DATA_LF, e);
    case CHUNK_DATA_LF:
        b->digits = 0;
        return expect_byte(b, c, '\n', CHUNK_SIZE, e);
    case TRAILER_LINE:
    case TRAILER_NAME:
    case TRAILER_VALUE:
        return trailer_step(b, c, e);
    case TRAILER_LF:
        return expect_byte(b, c, '\n', TRAILER_LINE, e);
    case CHUNKED_END_LF:
        b->done = c == '\n';
        return expect_byte(b, c, '\n', CHUNKED_END_LF, e);
    }
    return refuse(e, 400, "a chunk is malformed");
}

/* As much content as is left and there. */
static void content_take(struct h1_body *b, const char *p, size_t n, size_t *used, struct str *data)
{
    size_t take = n < b->left ? n : (size_t)b->left;
    *data = (struct str){p, take};
    *used += take;
    b->left -= take;
}

int h1_body_next(struct h1_body *b, const char *p, size_t n, size_t *used, struct str *data, struct err *e)
{
    *used = 0;
    *data = (struct str){p, 0};
    if (b->done)
        return 0;
    if (b->framing == H1_UNTIL_CLOSE) {
        *data = (struct str){p, n};
        *used = n;
        return 0;
    }
    if (b->framing == H1_LENGTH) {
        content_take(b, p, n, used, data);
        b->done = b->left == 0;
        return 0;
    }
    while (*used < n && !b->done) {
        if (b->state == CHUNK_DATA) {
            content_take(b, p + *used, n - *used, used, data);
            if (b->left == 0)
                b->state = CHUNK_DATA_CR;
            return 0;
        }
        int refused = chunk_step(b, p[*used], e);
        if (refused)
            return refused;
        ++*used;
    }
    return 0;
}

size_t h1_chunk_head(char out[H1_CHUNK_HEAD_MAX], size_t n)
{
    char digits[16];
    size_t count = 0;
    do {
        digits[count++] = "0123456789abcdef"[n & 15];
        n >>= 4;
    } while (n);
    for (size_t i = 0; i < count; i++)
        out[i] = digits[count - 1 - i];
    out[count] = '\r';
    out[count + 1] = '\n';
    return count + 2;
}

/** h1.h: HTTP/1.x framing: where a head ends, what it says, and where the body that follows ends.
 *  Shape:  h1_head_find until it gives a length -> h1_request_parse or h1_response_parse -> h1_body_init -> h1_body_next*.
 *          All of them are fed from a caller's buffer, hold no bytes themselves and may stop after any byte.
 *  Errors: 0, or the HTTP status with which a server refuses (400, 414, 431, 501, 505) and `e` saying why. Whatever two
 *          programs on the way could read in two ways is refused: a length beside chunked, two lengths, bare LF or CR,
 *          folded lines, spaces around names, control characters.
 *  Owner:  parsed slices point into the head that was given.
 *  Thread: any; all state is the caller's.
 *  Source: RFC 9112 sections 2 to 7. */
#ifndef CORE_HTTP_H1_H
#define CORE_HTTP_H1_H

#include "core/http/headers.h"

#define H1_TARGET_MAX 8192            /* bytes of a request target; above: 414 */
#define H1_HEAD_MAX (64 * 1024)       /* bytes of a head; above: 431. http_parser's own limit is 80 KiB */
#define H1_FRAMING_LINES_MAX 8        /* framing fields up to which http_parser is shown only those */
#define H1_BLANK_LINES_MAX 2          /* before a request line, RFC 9112 2.2 */
#define H1_CHUNK_DIGITS_MAX 15        /* hex digits of a chunk's size: below 2^60 */
#define H1_CHUNK_EXTENSION_MAX 256    /* bytes in one chunk's line */
#define H1_EXTENSIONS_MAX (16 * 1024) /* bytes in all chunks' lines of a message */
#define H1_TRAILERS_MAX (8 * 1024)    /* bytes of all trailer fields; they are checked and dropped */

enum h1_kind { H1_REQUEST, H1_RESPONSE };

/* How far the search for the end of a head has come; zeroed for each message. */
struct h1_scan {
    size_t at;   /* looked at up to here */
    size_t line; /* where the current line begins */
    unsigned blank_lines, lines;
};
/** *head_bytes becomes the head's length with its blank line, 0 when more bytes are needed. Give the same bytes and more. */
MUST_USE int h1_head_find(struct h1_scan *s, enum h1_kind kind, const char *p, size_t n, size_t head_max_bytes, size_t *head_bytes,
                          struct err *e);

enum h1_framing { H1_NO_BODY, H1_LENGTH, H1_CHUNKED, H1_UNTIL_CLOSE };
struct h1_head {
    struct str method, target; /* requests */
    int status;                /* responses */
    int minor;                 /* of HTTP/1.x */
    enum h1_framing framing;   /* of a response: before looking at the request's method (HEAD) */
    int64_t body_bytes;        /* with H1_LENGTH, else 0 */
    bool has_length;           /* Content-Length was given */
    bool keep_alive;           /* the sender wants the connection to live on */
    bool upgrade;              /* Connection: upgrade and an Upgrade field */
    bool expect_continue;      /* Expect: 100-continue */
    uint32_t hosts;            /* how many Host fields */
    struct str host;           /* the first one's value */
};
MUST_USE int h1_request_parse(const char *p, size_t n, struct h1_head *h, struct headers *fields, struct err *e);
MUST_USE int h1_response_parse(const char *p, size_t n, struct h1_head *h, struct headers *fields, struct err *e);

struct h1_body {
    enum h1_framing framing;
    bool done;
    uint8_t state;  /* of chunked */
    uint8_t digits; /* of the chunk's size so far */
    uint64_t left;  /* bytes of the length or the chunk still to come */
    uint32_t line_bytes, extension_bytes, trailer_bytes;
};
void h1_body_init(struct h1_body *b, enum h1_framing framing, int64_t length);
/** Take bytes off the front: *used of them, of which *data (maybe empty) is content. Call again while *used < n and not done. */
MUST_USE int h1_body_next(struct h1_body *b, const char *p, size_t n, size_t *used, struct str *data, struct err *e);

#define H1_CHUNK_HEAD_MAX 18
/** The line before a chunk of `n` bytes; returns its length. */
size_t h1_chunk_head(char out[H1_CHUNK_HEAD_MAX], size_t n);

#endif

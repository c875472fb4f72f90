/** h1_other.h: a message of HTTP/1 as a whole http_parser reads it: the reader that core/http/h1 is compared with. */
#ifndef TESTS_FUZZ_H1_OTHER_H
#define TESTS_FUZZ_H1_OTHER_H

#include "core/http/h1.h"
#include "tests/fuzz/fuzz.h"

#include <http_parser.h>

struct h1_other {
    http_parser parser;
    struct str names[HEADERS_MAX + 1], values[HEADERS_MAX + 1];
    size_t n;
    bool in_value, head, complete;
    bool chunked, length, keep_alive;
    uint64_t length_bytes;
    struct buf body;
    size_t used;
    enum http_errno error;
};

static inline void h1_other_grow(struct str *s, const char *p, size_t n)
{
    if (!s->p)
        s->p = p;
    s->n = (size_t)(p - s->p) + n;
}

static inline int h1_other_field(http_parser *p, const char *at, size_t n)
{
    struct h1_other *o = p->data;
    if (o->head) /* a trailer */
        return 0;
    if (o->in_value && o->n < HEADERS_MAX)
        o->n++;
    o->in_value = false;
    h1_other_grow(&o->names[o->n], at, n);
    return 0;
}

static inline int h1_other_value(http_parser *p, const char *at, size_t n)
{
    struct h1_other *o = p->data;
    if (o->head)
        return 0;
    o->in_value = true;
    h1_other_grow(&o->values[o->n], at, n);
    return 0;
}

static inline int h1_other_head(http_parser *p)
{
    struct h1_other *o = p->data;
    o->n += o->in_value;
    o->head = true;
    o->chunked = p->flags & F_CHUNKED;
    o->length = p->flags & F_CONTENTLENGTH;
    o->length_bytes = o->length ? p->content_length : 0;
    o->keep_alive = http_should_keep_alive(p) != 0;
    bool bodiless = p->type == HTTP_RESPONSE && (p->status_code < 200 || p->status_code == 204 || p->status_code == 304);
    return bodiless ? 1 : 0;
}

static inline int h1_other_body(http_parser *p, const char *at, size_t n) { return buf_add(&((struct h1_other *)p->data)->body, at, n); }

static inline int h1_other_complete(http_parser *p)
{
    ((struct h1_other *)p->data)->complete = true;
    http_parser_pause(p, 1);
    return 0;
}

static inline void h1_other_run(struct h1_other *o, enum h1_kind kind, struct str in)
{
    static const http_parser_settings settings = {
        .on_header_field = h1_other_field,
        .on_header_value = h1_other_value,
        .on_headers_complete = h1_other_head,
        .on_body = h1_other_body,
        .on_message_complete = h1_other_complete,
    };
    memset(o, 0, sizeof *o);
    buf_init(&o->body, in.n + 1);
    http_parser_init(&o->parser, kind == H1_REQUEST ? HTTP_REQUEST : HTTP_RESPONSE);
    o->parser.data = o;
    o->used = http_parser_execute(&o->parser, &settings, in.p, in.n);
    o->error = HTTP_PARSER_ERRNO(&o->parser);
    if (o->error == HPE_PAUSED)
        o->error = HPE_OK;
}

#endif

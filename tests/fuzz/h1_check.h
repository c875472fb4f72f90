/** h1_check.h: what must hold of core/http/h1 for any bytes, of requests and of answers alike.
 *  1. Cutting the bytes anywhere changes nothing: not the verdict, the length of the head, the content, nor where the message ends.
 *  2. What we accept a whole http_parser reads in the same way: fields, framing, content, end. It is the second reader of the
 *     product too, but there it is shown only the lines that framing depends on.
 *  3. Every slice lies in the head that was given. (That no byte behind it is read, the address sanitizer sees.) */
#ifndef TESTS_FUZZ_H1_CHECK_H
#define TESTS_FUZZ_H1_CHECK_H

#include "core/http/h1.h"
#include "tests/fuzz/h1_other.h"

#define H1_CHECK_HEAD_MAX 1024 /* small, so that inputs get there */

/* ---- where the head ends ---- */

struct h1_verdict {
    int refused;
    size_t head_bytes;
};

static inline bool h1_scan_step(struct h1_scan *s, enum h1_kind kind, struct str bytes, struct h1_verdict *v)
{
    struct err e;
    char *exact = fuzz_exact(bytes);
    v->refused = h1_head_find(s, kind, exact, bytes.n, H1_CHECK_HEAD_MAX, &v->head_bytes, &e);
    free(exact);
    return v->refused || v->head_bytes;
}

static inline int h1_parse(enum h1_kind kind, struct str head, struct h1_head *h, struct headers *fields)
{
    struct err e;
    return kind == H1_REQUEST ? h1_request_parse(head.p, head.n, h, fields, &e) : h1_response_parse(head.p, head.n, h, fields, &e);
}

/* What becomes of the head when its bytes come `first`, then by `step`. Malformed lines may be found by the scan or by the parser. */
static inline struct h1_verdict h1_scan_cut(enum h1_kind kind, struct str in, size_t first, size_t step)
{
    struct h1_scan s = {0};
    struct h1_verdict v = {0};
    for (size_t n = first < in.n ? first : in.n;; n = n + step < in.n ? n + step : in.n)
        if (h1_scan_step(&s, kind, (struct str){in.p, n}, &v) || n == in.n)
            break;
    struct h1_head h;
    struct headers fields;
    if (v.head_bytes)
        v.refused = h1_parse(kind, (struct str){in.p, v.head_bytes}, &h, &fields);
    return v;
}

static inline struct h1_verdict h1_check_scan(enum h1_kind kind, struct str in, struct fuzz_dice *dice)
{
    struct h1_verdict whole = h1_scan_cut(kind, in, in.n, 1);
    for (int i = 0; i < 3; i++) {
        size_t first = i == 0 ? 0 : fuzz_roll(dice, in.n + 1), step = i == 0 && in.n <= 256 ? 1 : 1 + fuzz_roll(dice, in.n + 1);
        struct h1_verdict cut = h1_scan_cut(kind, in, first, step);
        FUZZ_CHECK(whole.refused || cut.head_bytes == whole.head_bytes, "head of %zu bytes whole, of %zu cut (%zu, %zu)", whole.head_bytes,
                   cut.head_bytes, first, step);
        /* Of a head that is both too large and malformed, either may be said. */
        bool same = in.n >= H1_CHECK_HEAD_MAX ? !cut.refused == !whole.refused : cut.refused == whole.refused;
        FUZZ_CHECK(same, "refused with %d whole, with %d cut (%zu, %zu)", whole.refused, cut.refused, first, step);
    }
    return whole;
}

/* ---- the body ---- */

struct h1_content {
    int refused;
    bool done;
    size_t used;
    struct buf bytes;
};

static inline void h1_body_run(struct h1_content *c, const struct h1_head *h, struct str in, struct fuzz_dice *dice, size_t piece_max)
{
    struct h1_body b;
    *c = (struct h1_content){0};
    buf_init(&c->bytes, in.n + 1);
    h1_body_init(&b, h->framing, h->body_bytes);
    while (c->used < in.n && !b.done && !c->refused) {
        size_t n = 1 + fuzz_roll(dice, piece_max), used = 0;
        struct str data, piece = {in.p + c->used, n < in.n - c->used ? n : in.n - c->used};
        struct err e;
        char *exact = fuzz_exact(piece);
        c->refused = h1_body_next(&b, exact, piece.n, &used, &data, &e);
        if (!c->refused) {
            FUZZ_CHECK(used > 0 && used <= piece.n, "took %zu of %zu", used, piece.n);
            FUZZ_CHECK(data.n <= used && data.p >= exact && data.p + data.n <= exact + piece.n, "content outside of what was given");
            FUZZ_MUST(buf_add(&c->bytes, data.p, data.n) == 0);
            c->used += used;
        }
        free(exact);
    }
    c->done = b.done;
}

static inline void h1_check_body(const struct h1_head *h, struct str in, struct fuzz_dice *dice, struct h1_content *whole)
{
    h1_body_run(whole, h, in, dice, 1);
    for (int i = 0; i < 2; i++) {
        struct h1_content cut;
        h1_body_run(&cut, h, in, dice, i == 0 ? in.n + 1 : 24);
        FUZZ_CHECK(cut.refused == whole->refused && cut.done == whole->done, "refused %d and %d, done %d and %d", cut.refused,
                   whole->refused, cut.done, whole->done);
        /* Up to where it was refused, pieces may have given more or less. */
        FUZZ_CHECK(cut.refused || (cut.used == whole->used && str_eq(buf_str(&cut.bytes), buf_str(&whole->bytes))),
                   "%zu and %zu bytes of content", buf_len(&cut.bytes), buf_len(&whole->bytes));
        buf_fini(&cut.bytes);
    }
}

/* ---- against the other reader ---- */

static inline struct str h1_trimmed(struct str s)
{
    while (s.n && (s.p[0] == ' ' || s.p[0] == '\t'))
        s = (struct str){s.p + 1, s.n - 1};
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

static inline void h1_check_fields(const struct h1_other *o, const struct headers *fields)
{
    FUZZ_CHECK(o->n == fields->n, "%zu fields, not %u", o->n, fields->n);
    for (uint32_t i = 0; i < fields->n; i++) {
        FUZZ_CHECK(str_eq(o->names[i], fields->v[i].name), "name of field %u", i);
        FUZZ_CHECK(str_eq(h1_trimmed(o->values[i]), fields->v[i].value), "value of field %u", i);
    }
}

/* http_parser 2.9.4 takes a name that only begins with "Transfer-Encoding" for that field, as far as refusing goes: it is no judge then. */
static inline bool h1_other_mistakes(const struct headers *fields)
{
    static const struct str te = {"transfer-encoding", 17};
    for (uint32_t i = 0; i < fields->n; i++)
        if (fields->v[i].name.n > te.n && str_ieq((struct str){fields->v[i].name.p, te.n}, te))
            return true;
    return false;
}

/* The head as we read it and, from `in`, as it is read by the other. */
static inline void h1_check_other(enum h1_kind kind, struct str in, const struct h1_head *h, const struct headers *fields,
                                  const struct h1_content *c, size_t head_bytes)
{
    struct h1_other o;
    if (h1_other_mistakes(fields))
        return;
    h1_other_run(&o, kind, in);
    FUZZ_CHECK(o.head, "http_parser refuses the head: %s", http_errno_description(o.error));
    h1_check_fields(&o, fields);
    /* What is later than 1.1 counts as 1.1 (RFC 9110 2.5). */
    FUZZ_CHECK(o.parser.http_major == 1 && (o.parser.http_minor > 0) == h->minor, "version 1.%d", h->minor);
    FUZZ_CHECK(o.length == h->has_length && (!o.length || o.length_bytes == (uint64_t)h->body_bytes), "length %lld",
               (long long)h->body_bytes);
    /* In 1.0, where keep-alive must be said, it misses the word behind an empty element of the list. */
    bool may_differ = h->minor == 0 || h->framing == H1_UNTIL_CLOSE;
    FUZZ_CHECK(!h->keep_alive || o.keep_alive || may_differ, "only we would keep the connection");
    if (c->refused || h->framing == H1_UNTIL_CLOSE || o.error) {
        /* It minds lengths among the trailers too, which mean nothing there; we drop them. */
        bool trailer =
            h->framing == H1_CHUNKED && str_eq(buf_str(&o.body), buf_str(&c->bytes)) &&
            (o.error == HPE_INVALID_CONTENT_LENGTH || o.error == HPE_UNEXPECTED_CONTENT_LENGTH || o.error == HPE_INVALID_TRANSFER_ENCODING);
        FUZZ_CHECK(c->refused || !o.error || trailer || h->framing == H1_UNTIL_CLOSE, "only we accept the body: %s",
                   http_errno_description(o.error));
        buf_fini(&o.body);
        return;
    }
    FUZZ_CHECK(o.complete == c->done, "complete only for one");
    FUZZ_CHECK(str_eq(buf_str(&o.body), buf_str(&c->bytes)), "another content: %zu bytes, not %zu", buf_len(&o.body), buf_len(&c->bytes));
    FUZZ_CHECK(!c->done || o.used == head_bytes + c->used, "it ends at %zu, not at %zu", o.used, head_bytes + c->used);
    buf_fini(&o.body);
}

static inline void h1_check_slice(struct str head, struct str s)
{
    FUZZ_CHECK(s.n == 0 || (s.p >= head.p && s.p + s.n <= head.p + head.n), "a slice outside of the head");
}

static inline void h1_check_slices(struct str head, const struct h1_head *h, const struct headers *fields)
{
    h1_check_slice(head, h->method);
    h1_check_slice(head, h->target);
    h1_check_slice(head, h->host);
    for (uint32_t i = 0; i < fields->n; i++) {
        h1_check_slice(head, fields->v[i].name);
        h1_check_slice(head, fields->v[i].value);
        FUZZ_CHECK(header_name_valid(fields->v[i].name) && header_value_valid(fields->v[i].value), "field %u", i);
    }
}

/** All of it. */
static inline void h1_check(enum h1_kind kind, struct str in)
{
    struct fuzz_dice dice = fuzz_dice_of(in);
    struct h1_verdict v = h1_check_scan(kind, in, &dice);
    if (v.refused || !v.head_bytes)
        return;
    struct str head = {fuzz_exact((struct str){in.p, v.head_bytes}), v.head_bytes};
    struct headers fields;
    struct h1_head h;
    struct h1_content content;
    FUZZ_CHECK(h1_parse(kind, head, &h, &fields) == 0, "the same head is refused the second time");
    h1_check_slices(head, &h, &fields);
    h1_check_body(&h, (struct str){in.p + v.head_bytes, in.n - v.head_bytes}, &dice, &content);
    h1_check_other(kind, in, &h, &fields, &content, v.head_bytes);
    buf_fini(&content.bytes);
    free((char *)head.p);
}

#endif

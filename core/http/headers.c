/* headers.c: the field list, and which characters fields may hold (RFC 9110 5.1, 5.5, 5.6.2). */
#include "core/http/headers.h"

#include "core/base/words.h"

/* tchar of RFC 9110 5.6.2. */
static const bool token_char[256] = {
    ['0' ... '9'] = true, ['A' ... 'Z'] = true, ['a' ... 'z'] = true, ['!'] = true, ['#'] = true, ['$'] = true,
    ['%'] = true,         ['&'] = true,         ['\''] = true,        ['*'] = true, ['+'] = true, ['-'] = true,
    ['.'] = true,         ['^'] = true,         ['_'] = true,         ['`'] = true, ['|'] = true, ['~'] = true,
};

int headers_add(struct headers *h, struct str name, struct str value, struct err *e)
{
    if (h->n >= HEADERS_MAX)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "more than %d header fields", HEADERS_MAX);
    h->v[h->n++] = (struct header){name, value};
    return 0;
}

struct str headers_get(const struct headers *h, const char *name)
{
    struct str want = str_of(name);
    for (uint32_t i = 0; i < h->n; i++)
        if (h->v[i].name.n == want.n && str_ieq(h->v[i].name, want))
            return h->v[i].value;
    return (struct str){NULL, 0};
}

/* Cut the next element off a comma-separated list, without the spaces around it. */
static bool list_next(struct str *rest, struct str *item)
{
    if (rest->n == 0)
        return false;
    const char *comma = memchr(rest->p, ',', rest->n);
    size_t n = comma ? (size_t)(comma - rest->p) : rest->n;
    size_t skip = comma ? n + 1 : n;
    *item = (struct str){rest->p, n};
    *rest = (struct str){rest->p + skip, rest->n - skip};
    while (item->n && (item->p[0] == ' ' || item->p[0] == '\t'))
        item->p++, item->n--;
    while (item->n && (item->p[item->n - 1] == ' ' || item->p[item->n - 1] == '\t'))
        item->n--;
    return true;
}

static bool field_has_token(const struct headers *h, struct str name, struct str token)
{
    for (uint32_t i = 0; i < h->n; i++) {
        if (h->v[i].name.n != name.n || !str_ieq(h->v[i].name, name))
            continue;
        struct str rest = h->v[i].value, item;
        while (list_next(&rest, &item))
            if (item.n == token.n && str_ieq(item, token))
                return true;
    }
    return false;
}

bool headers_has_token(const struct headers *h, const char *name, const char *token)
{
    return field_has_token(h, str_of(name), str_of(token));
}

bool header_name_valid(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!token_char[(unsigned char)s.p[i]])
            return false;
    return s.n > 0;
}

bool header_text_plain(struct str s)
{
    /* Eight at a time: every value that passes through is looked at here. */
    for (; s.n >= sizeof(uint64_t); s.p += sizeof(uint64_t), s.n -= sizeof(uint64_t)) {
        uint64_t w = word_load(s.p);
        if (word_below(w, ' ') | word_equal(w, 0x7f))
            return false;
    }
    bool bad = false;
    for (size_t i = 0; i < s.n; i++)
        bad |= (unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f;
    return !bad;
}

bool header_value_valid(struct str s)
{
    if (header_text_plain(s))
        return true;
    bool bad = false;
    for (size_t i = 0; i < s.n; i++)
        bad |= s.p[i] == '\r' || s.p[i] == '\n' || s.p[i] == '\0';
    return !bad;
}

/* The fixed ones, found by length first: this runs for every field of every forwarded message. */
static bool name_is_hop(struct str name)
{
    static const struct str by_length[20] = {
        [2] = {"te", 2},
        [7] = {"trailer", 7},
        [10] = {"connection", 10},
        [16] = {"proxy-connection", 16},
        [17] = {"transfer-encoding", 17},
        [18] = {"proxy-authenticate", 18},
        [19] = {"proxy-authorization", 19},
    };
    if (name.n >= ARRAY_LEN(by_length))
        return false;
    if (by_length[name.n].n && str_ieq(name, by_length[name.n]))
        return true;
    return (name.n == 7 && str_ieq(name, STR("upgrade"))) || (name.n == 10 && str_ieq(name, STR("keep-alive")));
}

bool header_is_hop(const struct headers *h, struct str name) { return name_is_hop(name) || field_has_token(h, STR("connection"), name); }

static bool begins(struct str name, struct str prefix) { return name.n >= prefix.n && str_ieq((struct str){name.p, prefix.n}, prefix); }

bool header_is_reserved(struct str name, const char *own_prefix)
{
    static const char *const names[] = {"host", "content-length", "user-agent", "expect", EVENT_ID_HEADER};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_ieq(name, str_of(names[i])))
            return true;
    return name_is_hop(name) || begins(name, STR("x-google-")) || begins(name, STR("x-appengine-")) ||
           (own_prefix && begins(name, str_of(own_prefix)));
}

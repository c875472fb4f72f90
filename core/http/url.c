/* url.c: splitting and checking http and https URLs, hosts and query strings. */
#include "core/http/url.h"

#include <arpa/inet.h>

#define HOST_LEN_MAX 253
#define UNFIT "\"<>\\^`{|}" /* of the printable ones */

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_alpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
static bool is_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

static int port_parse(struct str text, uint16_t *port, struct err *e)
{
    uint32_t v = 0;
    if (text.n == 0 || text.n > 5)
        return err_set(e, ERR_INVALID_ARGUMENT, "port \"%.*s\" is not a number from 1 to 65535", (int)(text.n < 20 ? text.n : 20), text.p);
    for (size_t i = 0; i < text.n; i++) {
        if (!is_digit(text.p[i]))
            return err_set(e, ERR_INVALID_ARGUMENT, "port \"%.*s\" is not a number from 1 to 65535", (int)text.n, text.p);
        v = v * 10 + (uint32_t)(text.p[i] - '0');
    }
    if (v == 0 || v > 65535)
        return err_set(e, ERR_INVALID_ARGUMENT, "port %u is not from 1 to 65535", v);
    *port = (uint16_t)v;
    return 0;
}

static int name_check(struct str host, struct err *e)
{
    if (host.n == 0)
        return err_set(e, ERR_INVALID_ARGUMENT, "the host is empty");
    if (host.n > HOST_LEN_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "the host is longer than %d characters", HOST_LEN_MAX);
    for (size_t i = 0; i < host.n; i++) {
        char c = host.p[i];
        if (!is_alpha(c) && !is_digit(c) && c != '-' && c != '.' && c != '_' && c != '~')
            return err_set(e, ERR_INVALID_ARGUMENT, "the host has a character at position %zu that hosts may not have", i + 1);
    }
    return 0;
}

static int ipv6_check(struct str host, struct err *e)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr addr;
    if (host.n == 0 || host.n >= sizeof text)
        return err_set(e, ERR_INVALID_ARGUMENT, "the brackets do not hold an IPv6 address");
    memcpy(text, host.p, host.n);
    text[host.n] = '\0';
    if (strlen(text) != host.n || inet_pton(AF_INET6, text, &addr) != 1)
        return err_set(e, ERR_INVALID_ARGUMENT, "the brackets do not hold an IPv6 address");
    return 0;
}

int host_split(struct str text, struct str *host, uint16_t *port, struct err *e)
{
    struct str name = text, rest = {text.p + text.n, 0};
    bool bracket = text.n && text.p[0] == '[';
    const char *stop = text.n ? memchr(text.p, bracket ? ']' : ':', text.n) : NULL;
    if (bracket && !stop)
        return err_set(e, ERR_INVALID_ARGUMENT, "the host has an opening bracket without a closing one");
    if (stop) {
        const char *begin = bracket ? text.p + 1 : text.p;
        const char *after = bracket ? stop + 1 : stop;
        name = (struct str){begin, (size_t)(stop - begin)};
        rest = (struct str){after, (size_t)(text.p + text.n - after)};
    }
    int rc = bracket ? ipv6_check(name, e) : name_check(name, e);
    uint16_t number = 0;
    if (rc == 0 && rest.n && rest.p[0] != ':')
        rc = err_set(e, ERR_INVALID_ARGUMENT, "the host goes on after the closing bracket");
    if (rc == 0 && rest.n)
        rc = port_parse((struct str){rest.p + 1, rest.n - 1}, &number, e);
    if (rc)
        return rc;
    *host = name;
    *port = number;
    return 0;
}

/* What RFC 3986 lets stand in a path, a query or a fragment. */
static int target_check(struct str s, struct err *e)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c <= ' ' || c >= 0x7f || strchr(UNFIT, c))
            return err_set(e, ERR_INVALID_ARGUMENT, "the path, query or fragment has a character (code %u) that must be percent-encoded",
                           c);
        if (c == '%' && (s.n - i < 3 || !is_hex(s.p[i + 1]) || !is_hex(s.p[i + 2])))
            return err_set(e, ERR_INVALID_ARGUMENT, "the path, query or fragment has a %% that is not followed by two hex digits");
    }
    return 0;
}

char *url_encode(struct arena *a, const char *text)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t n = strlen(text);
    const char *scheme = strstr(text, "://"), *from = scheme ? scheme + 3 + strcspn(scheme + 3, "/?#") : text + n;
    char *out = arena_alloc(a, n * 3 + 1), *to = out;
    if (!out)
        return NULL;
    to = mempcpy(to, text, (size_t)(from - text));
    for (const char *p = from; *p; p++) {
        unsigned char c = (unsigned char)*p;
        bool escape = c == '%' && is_hex(p[1]) && is_hex(p[2]);
        if (!escape && (c == ' ' || c == '%' || c >= 0x80 || (c > ' ' && c < 0x7f && strchr(UNFIT, c)))) {
            *to++ = '%';
            *to++ = digits[c >> 4];
            *to++ = digits[c & 15];
        } else {
            *to++ = *p;
        }
    }
    return out;
}

static bool scheme_take(struct str *rest, const char *scheme)
{
    struct str want = str_of(scheme);
    if (rest->n < want.n || !str_ieq((struct str){rest->p, want.n}, want))
        return false;
    rest->p += want.n;
    rest->n -= want.n;
    return true;
}

/* Cut `rest` at the first of `marks`; what was before it is returned. */
static struct str cut_before(struct str *rest, const char *marks)
{
    size_t n = 0;
    while (n < rest->n && (rest->p[n] == '\0' || !strchr(marks, rest->p[n])))
        n++;
    struct str head = {rest->p, n};
    rest->p += n;
    rest->n -= n;
    return head;
}

int url_parse(struct str text, struct url *u, struct err *e)
{
    struct url v = {0};
    struct str rest = text;
    if (text.n > URL_LEN_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "the URL is longer than %d characters", URL_LEN_MAX);
    v.https = scheme_take(&rest, "https://");
    if (!v.https && !scheme_take(&rest, "http://"))
        return err_set(e, ERR_INVALID_ARGUMENT, "the URL does not begin with http:// or https://");
    struct str authority = cut_before(&rest, "/?#");
    if (authority.n && memchr(authority.p, '@', authority.n))
        return err_set(e, ERR_INVALID_ARGUMENT, "the URL holds a user name or password, which is not accepted");
    int rc = host_split(authority, &v.host, &v.port, e);
    if (rc)
        return rc;
    v.port_given = v.port != 0;
    if (!v.port_given)
        v.port = v.https ? 443 : 80;
    v.target = cut_before(&rest, "#");
    if (v.target.n && v.target.p[0] == '?')
        return err_set(e, ERR_INVALID_ARGUMENT, "the URL has no path: put a / before the ?");
    if (v.target.n == 0)
        v.target = STR("/");
    rc = target_check(v.target, e);
    if (rc == 0 && rest.n) /* nobody is sent the fragment, but the whole text may be shown or stored */
        rc = target_check((struct str){rest.p + 1, rest.n - 1}, e);
    if (rc)
        return rc;
    struct str query = v.target;
    v.path = cut_before(&query, "?");
    v.query = query.n ? (struct str){query.p + 1, query.n - 1} : query;
    *u = v;
    return 0;
}

bool query_next(struct str query, size_t *it, struct str *name, struct str *value)
{
    while (*it < query.n) {
        struct str rest = {query.p + *it, query.n - *it};
        struct str pair = cut_before(&rest, "&");
        *it += pair.n + 1;
        if (pair.n == 0)
            continue;
        *value = pair;
        *name = cut_before(value, "=");
        if (value->n)
            value->p++, value->n--;
        return true;
    }
    return false;
}

/* fuzz_url.c: URLs that people give as push endpoints. What we accept is put together and read again without a change, and libcurl,
 * which connects to it, finds the same host, port, path and query in it: else we would check one URL and call another. */
#include "core/http/url.h"
#include "tests/fuzz/fuzz.h"

#include <curl/curl.h>
#include <strings.h>

static bool inside(struct str all, struct str s) { return s.n == 0 || (s.p >= all.p && s.p + s.n <= all.p + all.n); }
static bool is_ipv6(struct str host) { return memchr(host.p, ':', host.n) != NULL; }

static void check_again(const struct url *u)
{
    struct url v;
    struct err e;
    struct buf b;
    buf_init(&b, 4 * URL_LEN_MAX);
    bool v6 = is_ipv6(u->host);
    FUZZ_MUST(buf_addf(&b, "%s://%s%.*s%s:%u", u->https ? "https" : "http", v6 ? "[" : "", (int)u->host.n, u->host.p, v6 ? "]" : "",
                       u->port) == 0 &&
              buf_add(&b, u->target.p, u->target.n) == 0);
    if (buf_len(&b) <= URL_LEN_MAX) {
        FUZZ_CHECK(url_parse(buf_str(&b), &v, &e) == 0, "what we wrote ourselves is refused: %s", e.msg);
        FUZZ_CHECK(v.https == u->https && v.port == u->port && v.port_given, "scheme or port changed");
        FUZZ_CHECK(str_eq(v.host, u->host) && str_eq(v.target, u->target) && str_eq(v.path, u->path) && str_eq(v.query, u->query),
                   "host or target changed");
    }
    buf_fini(&b);
}

/* Names that are numbers, which libcurl writes as the address they mean: 127.1 is 127.0.0.1. */
static bool maybe_number(struct str host)
{
    for (size_t i = 0; i < host.n; i++)
        if (!strchr("0123456789abcdefABCDEFxX.:", host.p[i]))
            return false;
    return true;
}

static bool part_is(CURLU *c, CURLUPart part, struct str want, bool ignore_case)
{
    char *got = NULL;
    CURLUcode rc = curl_url_get(c, part, &got, 0);
    bool same = rc == CURLUE_OK ? strlen(got) == want.n && (ignore_case ? !strncasecmp(got, want.p, want.n) : !memcmp(got, want.p, want.n))
                                : rc == CURLUE_NO_QUERY && want.n == 0;
    if (!same)
        fprintf(stderr, "libcurl has \"%s\" (%d), we have \"%.*s\"\n", rc == CURLUE_OK ? got : "", (int)rc, (int)want.n, want.p);
    curl_free(got);
    return same;
}

static void check_curl(struct str text, const struct url *u)
{
    char *z = fuzz_text(text);
    CURLU *c = curl_url();
    FUZZ_MUST(c);
    CURLUcode rc = curl_url_set(c, CURLUPART_URL, z, CURLU_PATH_AS_IS);
    FUZZ_CHECK(rc == CURLUE_OK, "libcurl refuses %s: %s", z, curl_url_strerror(rc));
    char host[300], port[8];
    bool v6 = is_ipv6(u->host);
    snprintf(host, sizeof host, "%s%.*s%s", v6 ? "[" : "", (int)u->host.n, u->host.p, v6 ? "]" : "");
    snprintf(port, sizeof port, "%u", u->port);
    FUZZ_CHECK(maybe_number(u->host) || part_is(c, CURLUPART_HOST, str_of(host), true), "another host in %s", z);
    FUZZ_CHECK(!u->port_given || part_is(c, CURLUPART_PORT, str_of(port), false), "another port in %s", z);
    FUZZ_CHECK(part_is(c, CURLUPART_PATH, u->path, false), "another path in %s", z);
    FUZZ_CHECK(part_is(c, CURLUPART_QUERY, u->query, false), "another query in %s", z);
    curl_url_cleanup(c);
    free(z);
}

static void check_query(struct str query)
{
    struct str name, value;
    size_t pairs = 0, it = 0;
    while (query_next(query, &it, &name, &value)) {
        FUZZ_CHECK(inside(query, name) && inside(query, value), "a pair outside of the query");
        FUZZ_CHECK(!name.n || (!memchr(name.p, '&', name.n) && !memchr(name.p, '=', name.n)), "a name with a separator");
        FUZZ_CHECK(!value.n || !memchr(value.p, '&', value.n), "a value with a separator");
        FUZZ_CHECK(++pairs <= query.n, "more pairs than bytes");
    }
}

static void check_host(struct str text)
{
    struct str host;
    uint16_t port;
    struct err e;
    if (host_split(text, &host, &port, &e))
        return;
    char again[300];
    struct str host2;
    uint16_t port2;
    FUZZ_CHECK(inside(text, host) && host.n, "an empty host, or one outside of the text");
    bool v6 = is_ipv6(host);
    int n = snprintf(again, sizeof again, port ? "%s%.*s%s:%u" : "%s%.*s%s", v6 ? "[" : "", (int)host.n, host.p, v6 ? "]" : "", port);
    FUZZ_CHECK(n > 0 && n < (int)sizeof again, "a host of %zu bytes", host.n);
    FUZZ_CHECK(host_split(str_of(again), &host2, &port2, &e) == 0 && str_eq(host, host2) && port == port2, "%s is read in another way",
               again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = {fuzz_exact(fuzz_str(data, size)), size};
    struct url u;
    struct err e;
    check_host(text);
    check_query(text);
    if (url_parse(text, &u, &e) == 0) {
        bool root = u.target.n == 1 && u.target.p[0] == '/'; /* when there is no path: not of the text */
        FUZZ_CHECK(inside(text, u.host) && (root || (inside(text, u.path) && inside(text, u.query))), "a slice outside of the URL");
        FUZZ_CHECK(u.host.n && u.port && u.path.n && u.path.p[0] == '/' && u.target.n >= u.path.n, "a part is missing");
        check_query(u.query);
        check_again(&u);
        check_curl(text, &u);
    }
    free((char *)text.p);
    return 0;
}

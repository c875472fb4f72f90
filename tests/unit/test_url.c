/** test_url.c: URLs, hosts and query strings, good and bad. */
#include "tests/support/unit.h"

#include "core/http/url.h"

#include <stdio.h>

static const struct {
    const char *text;
    bool https;
    const char *host;
    uint16_t port;
    bool port_given;
    const char *target, *path, *query;
} good[] = {
    {"http://a", false, "a", 80, false, "/", "/", ""},
    {"https://a/", true, "a", 443, false, "/", "/", ""},
    {"HTTPS://A.b-c_d.Example/", true, "A.b-c_d.Example", 443, false, "/", "/", ""},
    {"http://a:8080/x/y?z=1&w", false, "a", 8080, true, "/x/y?z=1&w", "/x/y", "z=1&w"},
    {"http://a:443", false, "a", 443, true, "/", "/", ""},
    {"http://127.0.0.1:1/x#frag?no", false, "127.0.0.1", 1, true, "/x", "/x", ""},
    {"http://a#frag", false, "a", 80, false, "/", "/", ""},
    {"http://[::1]:65535/", false, "::1", 65535, true, "/", "/", ""},
    {"https://[fe80::1]", true, "fe80::1", 443, false, "/", "/", ""},
    {"http://a/?", false, "a", 80, false, "/?", "/", ""},
    {"http://a/%20%aF/~!$&'()*+,;=:@-._", false, "a", 80, false, "/%20%aF/~!$&'()*+,;=:@-._", "/%20%aF/~!$&'()*+,;=:@-._", ""},
    {"http://a/x?y?z/", false, "a", 80, false, "/x?y?z/", "/x", "y?z/"},
    {"http://a/b@c", false, "a", 80, false, "/b@c", "/b@c", ""},
};

static char *dup(struct str s, char out[200])
{
    snprintf(out, 200, "%.*s", (int)s.n, s.p ? s.p : "(null)");
    return out;
}

static void test_good_urls(void **state)
{
    char out[200];
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct url u;
        struct err e;
        const char *name = good[i].text;
        CASE_INT(name, url_parse(str_of(name), &u, &e), 0);
        CASE_INT(name, u.https, good[i].https);
        CASE_STR(name, dup(u.host, out), good[i].host);
        CASE_INT(name, u.port, good[i].port);
        CASE_INT(name, u.port_given, good[i].port_given);
        CASE_STR(name, dup(u.target, out), good[i].target);
        CASE_STR(name, dup(u.path, out), good[i].path);
        CASE_STR(name, dup(u.query, out), good[i].query);
    }
}

static const struct {
    const char *text, *says;
} bad[] = {
    {"", "http://"},
    {"a", "http://"},
    {"//a/", "http://"},
    {"ftp://a/", "http://"},
    {"http:/a", "http://"},
    {"http:a", "http://"},
    {" http://a", "http://"},
    {"http://", "host is empty"},
    {"http:///x", "host is empty"},
    {"http://:80/", "host is empty"},
    {"http://u@a/", "user name"},
    {"http://u:p@a/", "user name"},
    {"http://a b/", "character"},
    {"http://a\\b/", "character"},
    {"http://a%41/", "character"},
    {"http://\xc3\xa4/", "character"},
    {"http://a:/", "port"},
    {"http://a:0/", "port"},
    {"http://a:65536/", "port"},
    {"http://a:123456/", "port"},
    {"http://a:8x/", "port"},
    {"http://a:-1/", "port"},
    {"http://a:1:2/", "port"},
    {"http://::1/", "host is empty"},
    {"http://[::1/", "bracket"},
    {"http://[]/", "IPv6"},
    {"http://[1.2.3.4]/", "IPv6"},
    {"http://[::1]x/", "bracket"},
    {"http://[::1%25eth0]/", "IPv6"},
    {"http://a?x", "put a /"},
    {"http://a/ b", "percent-encoded"},
    {"http://a/\r\nX: y", "percent-encoded"},
    {"http://a/\xc3\xa4", "percent-encoded"},
    {"http://a/<", "percent-encoded"},
    {"http://a/%", "hex digits"},
    {"http://a/%4", "hex digits"},
    {"http://a/%4g", "hex digits"},
    {"http://a/?%zz", "hex digits"},
    {"http://a/#\x1e", "percent-encoded"},
    {"http://a#b#c%", "hex digits"},
};

static void test_bad_urls(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct url u = {.port = 7};
        struct err e = {0};
        CASE_INT(bad[i].text, url_parse(str_of(bad[i].text), &u, &e), -ERR_INVALID_ARGUMENT);
        if (!strstr(e.msg, bad[i].says))
            fail_msg("\"%s\": \"%s\" does not say \"%s\"", bad[i].text, e.msg, bad[i].says);
        CASE_INT(bad[i].text, u.port, 7); /* nothing was changed */
    }
}

static void test_lengths(void **state)
{
    static char text[URL_LEN_MAX + 2];
    struct url u;
    struct err e;
    memset(text, 'a', sizeof text);
    memcpy(text, "http://a/", 9);
    assert_int_equal(url_parse((struct str){text, URL_LEN_MAX}, &u, &e), 0);
    assert_int_equal(url_parse((struct str){text, URL_LEN_MAX + 1}, &u, &e), -ERR_INVALID_ARGUMENT);
    memset(text + 7, 'a', 254);
    assert_int_equal(url_parse((struct str){text, 7 + 253}, &u, &e), 0);
    assert_int_equal(url_parse((struct str){text, 7 + 254}, &u, &e), -ERR_INVALID_ARGUMENT);
    assert_int_equal(url_parse(((struct str){"http://a/\0b", 11}), &u, &e), -ERR_INVALID_ARGUMENT);
    assert_int_equal(url_parse(((struct str){"http://a\0b/", 11}), &u, &e), -ERR_INVALID_ARGUMENT);
}

static void test_hosts(void **state)
{
    static const struct {
        const char *text, *host; /* host NULL: refused */
        uint16_t port;
    } cases[] = {
        {"a", "a", 0},       {"a.b:80", "a.b", 80}, {"[::1]", "::1", 0}, {"[::1]:8", "::1", 8}, {"127.0.0.1:65535", "127.0.0.1", 65535},
        {"", NULL, 0},       {":80", NULL, 0},      {"a:", NULL, 0},     {"a:b", NULL, 0},      {"[::1", NULL, 0},
        {"[::1]8", NULL, 0}, {"a b", NULL, 0},      {"a/b", NULL, 0},    {"u@a", NULL, 0},      {"a,b", NULL, 0},
    };
    char out[200];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct str host = {NULL, 0};
        uint16_t port = 0;
        struct err e;
        int rc = host_split(str_of(cases[i].text), &host, &port, &e);
        CASE_INT(cases[i].text, rc, cases[i].host ? 0 : -ERR_INVALID_ARGUMENT);
        CASE_INT(cases[i].text, port, cases[i].port);
        if (cases[i].host)
            CASE_STR(cases[i].text, dup(host, out), cases[i].host);
    }
}

static void test_queries(void **state)
{
    static const struct {
        const char *query, *pairs;
    } cases[] = {
        {"", ""},
        {"a=1", "[a|1]"},
        {"a=1&b=2", "[a|1][b|2]"},
        {"a", "[a|]"},
        {"a=", "[a|]"},
        {"=1", "[|1]"},
        {"a=b=c", "[a|b=c]"},
        {"&&a=1&&", "[a|1]"},
        {"a=1&a=2", "[a|1][a|2]"},
        {"a=%20+", "[a|%20+]"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char all[200] = "";
        size_t it = 0, n = 0;
        struct str name, value;
        while (query_next(str_of(cases[i].query), &it, &name, &value))
            n += (size_t)snprintf(all + n, sizeof all - n, "[%.*s|%.*s]", (int)name.n, name.p, (int)value.n, value.p);
        CASE_STR(cases[i].query, all, cases[i].pairs);
    }
}

static void what_people_write_is_encoded(void **state)
{
    static const struct {
        const char *name, *text, *want;
    } cases[] = {
        {"nothing to do", "https://a.b:8080/x/y?z=%20&w=1#f", "https://a.b:8080/x/y?z=%20&w=1#f"},
        {"only a host", "http://a", "http://a"},
        {"spaces", "http://a/b c?d e#f g", "http://a/b%20c?d%20e#f%20g"},
        {"letters of other scripts", "http://a/\xc3\xbc?q=\xe6\x97\xa5", "http://a/%C3%BC?q=%E6%97%A5"},
        {"JSON in a query", "http://a/?q={\"a\":[1|2]}", "http://a/?q=%7B%22a%22:[1%7C2]%7D"},
        {"a percent sign that encodes nothing", "http://a/100%?x=5%2&y=%zz", "http://a/100%25?x=5%252&y=%25zz"},
        {"at the end", "http://a/%", "http://a/%25"},
        {"control characters stay, to be refused", "http://a/\nb\x7f", "http://a/\nb\x7f"},
        {"the host stays as it is, too", "http://b c\xc3\xbc/d e", "http://b c\xc3\xbc/d%20e"},
        {"no URL at all", "a b", "a b"},
    };
    struct arena *a = arena_new(4096);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *once = url_encode(a, cases[i].text);
        if (strcmp(once, cases[i].want) != 0 || strcmp(url_encode(a, once), once) != 0)
            fail_msg("%s: \"%s\" becomes \"%s\"", cases[i].name, cases[i].text, once);
    }
    assert_null(url_encode(a, memset(arena_alloc(a, 2000), 'x', 1999)));
    arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_urls), cmocka_unit_test(test_bad_urls), cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_hosts),     cmocka_unit_test(test_queries),  cmocka_unit_test(what_people_write_is_encoded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

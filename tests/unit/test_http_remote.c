/** test_http_remote.c: calls to URLs: TLS with a CA of our own making, stale TLS connections, names, a proxy. The TLS peer is a
 *                      thread with blocking sockets, so that nothing of it depends on the loop under test. */
#include "tests/support/support_http.h"
#include "tests/support/unit.h"

#include "core/http/fetch.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define BIG_BYTES ((size_t)2 * 1024 * 1024)

/* ---- a TLS peer ---- */

struct tls_peer {
    SSL_CTX *ctx;
    int fd;
    uint16_t port;
    pthread_t thread;
    atomic_int accepted, handshakes, h2;
    char ca_path[64];
    char last[4096]; /* the latest request; to be read once the thread is joined */
};

static X509 *cert_new(EVP_PKEY *key)
{
    X509 *cert = X509_new();
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_set_version(cert, X509_VERSION_3);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
    X509_set_pubkey(cert, key);
    X509_NAME *name = X509_get_subject_name(cert);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"localhost", -1, -1, 0);
    X509_set_issuer_name(cert, name);
    X509_EXTENSION *alt = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "DNS:localhost");
    X509_add_ext(cert, alt, -1);
    X509_EXTENSION_free(alt);
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    return cert;
}

/* What a client offers: take h2 if it is there, to see that ours never offers it. */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_n, const unsigned char *in, unsigned in_n, void *arg)
{
    struct tls_peer *p = arg;
    if (memmem(in, in_n, "\x02h2", 3))
        p->h2++;
    return SSL_TLSEXT_ERR_NOACK;
}

static bool tls_write(SSL *ssl, const char *data, size_t n)
{
    while (n) {
        int k = SSL_write(ssl, data, n > 100000 ? 100000 : (int)n);
        if (k <= 0)
            return false;
        data += k;
        n -= (size_t)k;
    }
    return true;
}

static void tls_end(SSL *ssl, int fd, bool notify, bool reset)
{
    struct linger hard = {.l_onoff = 1};
    if (notify)
        SSL_shutdown(ssl);
    if (reset)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
}

static bool answer_big(SSL *ssl)
{
    static char big[BIG_BYTES];
    char head[80];
    memset(big, 'b', sizeof big);
    int n = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", sizeof big);
    return tls_write(ssl, head, (size_t)n) && tls_write(ssl, big, sizeof big);
}

/* Read until BIG_BYTES of body are there, then say so. */
static bool take_big(SSL *ssl, size_t had)
{
    static char sink[65536];
    while (had < BIG_BYTES) {
        int k = SSL_read(ssl, sink, sizeof sink);
        if (k <= 0)
            return false;
        had += (size_t)k;
    }
    static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nall";
    return tls_write(ssl, ok, sizeof ok - 1);
}

/* One connection. A second request on the same one meets what its path names. */
static void tls_serve(struct tls_peer *p, SSL *ssl, int fd)
{
    static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    char in[65536 + 1];
    for (int requests = 0;; requests++) {
        size_t n = 0;
        char *end = NULL;
        while (!end) {
            int k = SSL_read(ssl, in + n, (int)(sizeof in - 1 - n));
            if (k <= 0)
                return;
            n += (size_t)k;
            in[n] = '\0';
            end = strstr(in, "\r\n\r\n");
        }
        snprintf(p->last, sizeof p->last, "%.4000s", in);
        bool stale = requests > 0 && p->accepted == 1;
        if (stale && strstr(in, " /notify "))
            return tls_end(ssl, fd, true, false);
        if (stale && strstr(in, " /fin "))
            return tls_end(ssl, fd, false, false);
        if (stale && strstr(in, " /reset "))
            return tls_end(ssl, fd, false, true);
        bool fine = strstr(in, " /big ")    ? answer_big(ssl)
                    : strstr(in, " /take ") ? take_big(ssl, n - (size_t)(end + 4 - in))
                                            : tls_write(ssl, ok, sizeof ok - 1);
        if (!fine)
            return;
    }
}

static void *tls_run(void *arg)
{
    struct tls_peer *p = arg;
    sigset_t broken_pipe; /* OpenSSL's own sockets raise it; the client under test must not need this */
    sigemptyset(&broken_pipe);
    sigaddset(&broken_pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &broken_pipe, NULL);
    for (;;) {
        int fd = accept(p->fd, NULL, NULL);
        if (fd < 0)
            return NULL;
        SSL *ssl = SSL_new(p->ctx);
        SSL_set_fd(ssl, fd);
        p->accepted++;
        if (SSL_accept(ssl) == 1) {
            p->handshakes++;
            tls_serve(p, ssl, fd);
        }
        SSL_free(ssl);
        close(fd);
    }
}

static void tls_init(struct tls_peer *p)
{
    struct err e;
    *p = (struct tls_peer){.ca_path = "/tmp/runnel-test-ca-XXXXXX"};
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = cert_new(key);
    int ca = mkstemp(p->ca_path);
    FILE *f = fdopen(ca, "w");
    PEM_write_X509(f, cert);
    fclose(f);
    p->ctx = SSL_CTX_new(TLS_server_method());
    SSL_CTX_use_certificate(p->ctx, cert);
    SSL_CTX_use_PrivateKey(p->ctx, key);
    SSL_CTX_set_alpn_select_cb(p->ctx, on_alpn, p);
    X509_free(cert);
    EVP_PKEY_free(key);
    p->fd = http_listen_socket("127.0.0.1", 0, false, &e);
    assert_true(p->fd >= 0);
    int flags = fcntl(p->fd, F_GETFL);
    fcntl(p->fd, F_SETFL, flags & ~O_NONBLOCK);
    p->port = http_socket_port(p->fd);
    assert_int_equal(pthread_create(&p->thread, NULL, tls_run, p), 0);
}

/* The client's connections must be closed by now, or its thread would still read from one. */
static void tls_fini(struct tls_peer *p)
{
    shutdown(p->fd, SHUT_RDWR);
    pthread_join(p->thread, NULL);
    close(p->fd);
    SSL_CTX_free(p->ctx);
    unlink(p->ca_path);
}

/* ---- calls ---- */

struct bench {
    struct net net;
    struct http_client *client;
};
static void bench_init(struct bench *b)
{
    net_init(&b->net);
    b->client = http_client_new(b->net.loop, NULL);
    assert_non_null(b->client);
}
static void bench_fini(struct bench *b)
{
    http_client_free(b->client);
    net_fini(&b->net);
}

static void url_start(struct bench *b, struct record *r, const char *text, struct http_call_spec s)
{
    struct err e = {0};
    struct http_target t = {.local = false};
    if (url_parse(str_of(text), &t.url, &e))
        fail_msg("%s: %s", text, e.msg);
    record_init(r);
    s.target = t.url.target;
    s.due_ns = TIMER_NEVER;
    r->call = http_call_start(b->client, &t, &s, &record_ops, r, &e);
    if (!r->call)
        fail_msg("%s: %s", text, e.msg);
    assert_int_equal(r->done, 0);
}

static void url_get(struct bench *b, struct record *r, const char *text)
{
    url_start(b, r, text, (struct http_call_spec){.method = STR("GET"), .replayable = true});
    net_until(&b->net, record_is_done, r, text);
}

static char *at(char out[80], const char *base, uint16_t port, const char *path)
{
    snprintf(out, 80, "%s:%u%s", base, (unsigned)port, path);
    return out;
}

static void test_tls_calls_share_a_connection(void **state)
{
    struct tls_peer p;
    struct bench b;
    char url[80];
    tls_init(&p);
    setenv("CURL_CA_BUNDLE", p.ca_path, 1);
    bench_init(&b);
    for (int i = 0; i < 5; i++) {
        struct record r;
        url_get(&b, &r, at(url, "https://LocalHost", p.port, "/hello"));
        if (!r.ok)
            fail_msg("%s", r.err.msg);
        assert_int_equal(r.status, 200);
        assert_true(str_is(buf_str(&r.body), "hello"));
        record_fini(&r);
    }
    assert_int_equal(http_client_stats(b.client).opened, 1);
    assert_int_equal(p.handshakes, 1);
    assert_int_equal(p.h2, 0);
    bench_fini(&b);
    tls_fini(&p);
}

static void test_tls_carries_much_both_ways(void **state)
{
    static char big[BIG_BYTES];
    struct tls_peer p;
    struct bench b;
    struct record r;
    char url[80];
    memset(big, 'q', sizeof big);
    tls_init(&p);
    setenv("CURL_CA_BUNDLE", p.ca_path, 1);
    bench_init(&b);
    url_get(&b, &r, at(url, "https://localhost", p.port, "/big"));
    assert_true(r.ok);
    assert_int_equal(buf_len(&r.body), BIG_BYTES);
    record_fini(&r);
    url_start(&b, &r, at(url, "https://localhost", p.port, "/take"),
              (struct http_call_spec){.method = STR("POST"), .body = {big, sizeof big}});
    net_until(&b.net, record_is_done, &r, "the large request");
    if (!r.ok)
        fail_msg("%s", r.err.msg);
    assert_true(str_is(buf_str(&r.body), "all"));
    record_fini(&r);
    url_start(&b, &r, at(url, "https://localhost", p.port, "/take"),
              (struct http_call_spec){.method = STR("POST"), .stream = true, .stream_bytes = BIG_BYTES});
    for (size_t i = 0; i < BIG_BYTES; i += BIG_BYTES / 64)
        http_call_write(r.call, (struct str){big + i, BIG_BYTES / 64});
    http_call_end(r.call);
    net_until(&b.net, record_is_done, &r, "the streamed request");
    assert_true(r.ok);
    record_fini(&r);
    assert_int_equal(http_client_stats(b.client).opened, 1);
    bench_fini(&b);
    tls_fini(&p);
}

/* TLS may hold bytes that no event tells of; a pause must not lose them. */
static void test_tls_answers_survive_pauses(void **state)
{
    struct tls_peer p;
    struct bench b;
    struct record r;
    char url[80];
    int pauses = 0;
    tls_init(&p);
    setenv("CURL_CA_BUNDLE", p.ca_path, 1);
    bench_init(&b);
    url_start(&b, &r, at(url, "https://localhost", p.port, "/big"), (struct http_call_spec){.method = STR("GET")});
    while (!r.done) {
        http_call_pause(r.call);
        net_turns(&b.net, 3);
        size_t before = buf_len(&r.body);
        http_call_resume(r.call);
        while (!r.done && buf_len(&r.body) == before)
            net_turns(&b.net, 1);
        pauses++;
    }
    assert_true(r.ok && pauses > 3);
    assert_int_equal(buf_len(&r.body), BIG_BYTES);
    record_fini(&r);
    bench_fini(&b);
    tls_fini(&p);
}

static void test_stale_tls_connections_are_replaced(void **state)
{
    static const char *const paths[] = {"/notify", "/fin", "/reset"};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        struct tls_peer p;
        struct bench b;
        char url[80];
        print_message("  %s\n", paths[i]);
        tls_init(&p);
        setenv("CURL_CA_BUNDLE", p.ca_path, 1);
        bench_init(&b);
        for (int k = 0; k < 2; k++) {
            struct record r;
            url_get(&b, &r, at(url, "https://localhost", p.port, paths[i]));
            if (!r.ok)
                fail_msg("%s: %s", paths[i], r.err.msg);
            assert_true(str_is(buf_str(&r.body), "hello"));
            record_fini(&r);
        }
        assert_int_equal(http_client_stats(b.client).replayed, 1);
        assert_int_equal(p.accepted, 2);
        bench_fini(&b);
        tls_fini(&p);
    }
}

static void test_tls_peers_are_verified(void **state)
{
    static const struct {
        const char *name, *base;
        bool trusted;
    } cases[] = {
        {"a certificate that nobody vouches for", "https://localhost", false},
        {"a certificate of another name", "https://127.0.0.1", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct tls_peer p;
        struct bench b;
        struct record r;
        char url[80];
        tls_init(&p);
        if (cases[i].trusted)
            setenv("CURL_CA_BUNDLE", p.ca_path, 1);
        else
            unsetenv("CURL_CA_BUNDLE");
        bench_init(&b);
        url_get(&b, &r, at(url, cases[i].base, p.port, "/hello"));
        CASE_INT(cases[i].name, r.err.code, ERR_UNAVAILABLE);
        CASE_TRUE(cases[i].name, strstr(r.err.msg, "cannot connect to https://") && strstr(r.err.msg, "SSL"));
        net_turns(&b.net, 2);
        CASE_INT(cases[i].name, http_client_stats(b.client).connections, 0);
        record_fini(&r);
        bench_fini(&b);
        tls_fini(&p);
    }
}

static void test_plain_urls(void **state)
{
    struct bench b;
    struct service s;
    struct record r;
    char url[80], want[32];
    bench_init(&b);
    service_init(&s, &b.net, NULL);
    url_get(&b, &r, at(url, "http://localhost", s.port, "/hello?x=1"));
    if (!r.ok)
        fail_msg("%s", r.err.msg);
    snprintf(want, sizeof want, " localhost %u 0", (unsigned)s.port);
    assert_non_null(strstr(s.seen, want));
    record_fini(&r);
    service_fini(&s);
    bench_fini(&b);
}

static bool is_answered(void *arg) { return ((struct script *)arg)->conns[0].step > 0; }

struct moment {
    struct loop *loop;
    int64_t due_ns;
};
static bool is_over(void *arg) { return loop_now(((struct moment *)arg)->loop) >= ((struct moment *)arg)->due_ns; }

/* libcurl closes connections of which it thinks that nobody uses them: those that the peer closed, and any after two minutes. It looks at most
 * once a second, whenever it makes another one; that one gets the same descriptor, and then two calls share it. */
static void test_a_new_connection_leaves_the_others_alone(void **state)
{
    static const struct script_step plan[][SCRIPT_STEPS_MAX] = {
        {{"GET /one", NULL, THEN_CLOSE}},
        {{"GET /two", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo", THEN_STAY}},
    };
    const struct http_call_spec get = {.method = STR("GET")};
    struct bench b;
    struct script peer;
    struct record one, two;
    char url[80];
    bench_init(&b);
    script_init(&peer, &b.net, plan, ARRAY_LEN(plan));
    url_start(&b, &one, at(url, "http://localhost", peer.port, "/one"), get);
    http_call_pause(one.call);
    net_until(&b.net, is_answered, &peer, "the first connection is closed");
    struct moment later = {b.net.loop, loop_now(b.net.loop) + 1100 * NS_PER_MS};
    net_until(&b.net, is_over, &later, "libcurl looks again");
    url_start(&b, &two, at(url, "http://localhost", peer.port, "/two"), get);
    while (peer.accepted < 2)
        net_turns(&b.net, 1);
    if (one.call)
        http_call_resume(one.call);
    net_until(&b.net, record_is_done, &one, "the first call ends");
    net_until(&b.net, record_is_done, &two, "the second call ends");
    assert_false(one.ok);
    assert_true(two.ok);
    assert_memory_equal(buf_data(&two.body), "two", 3);
    record_fini(&one);
    record_fini(&two);
    script_fini(&peer);
    bench_fini(&b);
}

static void test_connections_that_fail(void **state)
{
    static const char *const urls[] = {"http://no.such.host.invalid/", "http://localhost:1/", "https://localhost:1/"};
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        struct bench b;
        struct record r;
        bench_init(&b);
        url_get(&b, &r, urls[i]);
        CASE_INT(urls[i], r.err.code, ERR_UNAVAILABLE);
        CASE_TRUE(urls[i], strstr(r.err.msg, "cannot connect to ") != NULL);
        record_fini(&r);
        bench_fini(&b);
    }
}

static void test_cancel_while_connecting(void **state)
{
    struct bench b;
    struct record r;
    bench_init(&b);
    for (int turns = 0; turns < 4; turns++) {
        url_start(&b, &r, "https://localhost:1/", (struct http_call_spec){.method = STR("GET")});
        net_turns(&b.net, turns);
        if (r.call)
            http_call_cancel(r.call);
        net_until(&b.net, record_is_done, &r, "cancelled");
        record_fini(&r);
    }
    url_start(&b, &r, "https://localhost:1/", (struct http_call_spec){.method = STR("GET")});
    bench_fini(&b); /* and freed while connecting */
    assert_int_equal(r.done, 1);
    record_fini(&r);
}

/* The proxy sees a CONNECT and then the bytes of the call itself. */
static void test_a_proxy_is_tunnelled_through(void **state)
{
    static const struct script_step plan[1][SCRIPT_STEPS_MAX] = {{
        {"CONNECT far.example:80 HTTP/1.1\r\n", "HTTP/1.1 200 Go ahead\r\n\r\n", THEN_STAY},
        {"GET /x HTTP/1.1\r\nHost: far.example\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", THEN_STAY},
    }};
    struct bench b;
    struct script proxy;
    struct record r;
    char url[80];
    bench_init(&b);
    script_init(&proxy, &b.net, plan, 1);
    setenv("http_proxy", at(url, "http://127.0.0.1", proxy.port, ""), 1);
    url_get(&b, &r, "http://far.example/x");
    unsetenv("http_proxy");
    if (!r.ok)
        fail_msg("%s", r.err.msg);
    assert_true(str_is(buf_str(&r.body), "hi"));
    record_fini(&r);
    script_fini(&proxy);
    bench_fini(&b);
}

/* ---- the command line's blocking request ---- */

static void test_fetch(void **state)
{
    struct tls_peer p;
    struct err e = {0};
    char url[80];
    tls_init(&p);
    setenv("CURL_CA_BUNDLE", p.ca_path, 1);
    struct fetch f = {.method = "PATCH",
                      .url = at(url, "https://localhost", p.port, "/v1/x"),
                      .content_type = "application/json",
                      .bearer = "token",
                      .body = STR("{}"),
                      .timeout_ms = 10000};
    if (fetch_run(&f, &e))
        fail_msg("%s", e.msg);
    assert_int_equal(f.status, 200);
    assert_true(str_is(buf_str(&f.answer), "hello"));
    buf_fini(&f.answer);
    tls_fini(&p);
    assert_true(strncmp(p.last, "PATCH /v1/x HTTP/", 17) == 0);
    assert_non_null(strstr(p.last, "Authorization: Bearer token\r\n"));
    assert_non_null(strstr(p.last, "Content-Type: application/json\r\n"));
    assert_non_null(strstr(p.last, "Content-Length: 2\r\n"));
}

static void test_fetch_without_an_answer(void **state)
{
    static const struct {
        const char *url;
        enum err_code code;
    } cases[] = {
        {"http://localhost:1/", ERR_UNAVAILABLE},
        {"http://no.such.host.invalid/", ERR_UNAVAILABLE},
        {"gopher://localhost/", ERR_INVALID_ARGUMENT},
        {"http://localhost:99999/", ERR_INVALID_ARGUMENT},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fetch f = {.method = "GET", .url = cases[i].url, .timeout_ms = 10000};
        struct err e = {0};
        CASE_INT(cases[i].url, fetch_run(&f, &e), -(int)cases[i].code);
        CASE_TRUE(cases[i].url, strstr(e.msg, cases[i].url) != NULL);
    }
}

int main(void)
{
    /* Whatever proxy and CAs the machine is set up with are not what is tested. */
    static const char *const env[] = {"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy",
                                      "ALL_PROXY",  "no_proxy",    "NO_PROXY",    "SSL_CERT_FILE"};
    for (size_t i = 0; i < ARRAY_LEN(env); i++)
        unsetenv(env[i]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tls_calls_share_a_connection),
        cmocka_unit_test(test_tls_carries_much_both_ways),
        cmocka_unit_test(test_tls_answers_survive_pauses),
        cmocka_unit_test(test_stale_tls_connections_are_replaced),
        cmocka_unit_test(test_tls_peers_are_verified),
        cmocka_unit_test(test_plain_urls),
        cmocka_unit_test(test_a_new_connection_leaves_the_others_alone),
        cmocka_unit_test(test_connections_that_fail),
        cmocka_unit_test(test_cancel_while_connecting),
        cmocka_unit_test(test_a_proxy_is_tunnelled_through),
        cmocka_unit_test(test_fetch),
        cmocka_unit_test(test_fetch_without_an_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/** test_identity.c: keys, tokens and their pages; signatures are checked by the openssl program as well. */
#include "tests/support/unit.h"

#include "core/base/text.h"
#include "dispatcher/identity.h"
#include "dispatcher/key_set.h"
#include "dispatcher/token.h"
#include "tests/support/support_dispatcher.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define ISSUER "http://127.0.0.1:8080"
#define ACCOUNT "pusher@proj-test.iam.gserviceaccount.com"

struct fixture {
    struct fake_env fe;
    struct engine_box box;
    struct workers *workers;
    struct store *store;
    struct identity *id;
    int changes;
};

static void on_change(void *arg) { ((struct fixture *)arg)->changes++; }

static void open_identity(struct fixture *f)
{
    struct err e = {0};
    const struct identity_config c = {.issuer = ISSUER, .project = "proj-test"};
    f->id = identity_new(&f->fe.env, &c, f->store, f->workers, f->box.mailbox, &e);
    assert_non_null(f->id);
    identity_watch(f->id, on_change, f);
    assert_int_equal(identity_load(f->id, &e), 0);
    fake_env_advance(&f->fe, 0);
}

/* A key is made on a worker, then stored: take both steps. */
static void make_key(struct fixture *f)
{
    while (store_memory_queued(f->store) == 0)
        engine_box_once(&f->box);
    store_memory_step(f->store, 10, ERR_OK);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    support_env(&f->fe);
    engine_box_init(&f->box);
    f->workers = workers_start(1, NULL);
    f->store = store_memory_new();
    open_identity(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    workers_stop(f->workers);
    identity_free(f->id);
    f->store->ops->close(f->store);
    engine_box_fini(&f->box);
    support_env_fini(&f->fe);
    free(f);
    return 0;
}

struct got {
    bool done;
    int count;
    char token[TOKEN_BYTES_MAX];
    struct err err;
};

static void on_token(void *arg, const char *token, const struct err *e)
{
    struct got *g = arg;
    g->done = true;
    g->count++;
    snprintf(g->token, sizeof g->token, "%s", token ? token : "");
    if (e)
        g->err = *e;
}

static void get(struct fixture *f, const char *account, const char *audience, struct got *g)
{
    *g = (struct got){0};
    identity_source(f->id)->get(identity_source(f->id), TOKEN_IDENTITY, account, audience, on_token, g);
}

static void fetch(struct fixture *f, const char *audience, struct got *g)
{
    get(f, ACCOUNT, audience, g);
    engine_box_until(&f->box, &g->done);
    assert_int_equal(g->err.code, ERR_OK);
}

static int verify(struct fixture *f, const char *token, int64_t wall_ns, struct token_claims *c, struct err *e)
{
    struct key_set *keys = identity_keys(f->id);
    int rc = identity_verify(keys, str_of(token), wall_ns, c, e);
    key_set_unref(keys);
    return rc;
}

static void a_token_says_who_for_whom_and_until_when(void **state)
{
    struct fixture *f = *state;
    struct got g;
    struct token_claims c;
    struct err e = {0};
    make_key(f);
    fetch(f, "my-aud", &g);
    assert_int_equal(verify(f, g.token, env_wall(&f->fe.env), &c, &e), 0);
    assert_string_equal(c.email, ACCOUNT);
    assert_string_equal(c.audience, "my-aud");
    assert_int_equal(strlen(c.subject), ACCOUNT_ID_LEN);
    struct arena *a = arena_new(65536);
    struct token_parts t;
    assert_int_equal(token_split(a, str_of(g.token), &t, &e), 0);
    assert_string_equal(t.claims->iss, ISSUER);
    assert_string_equal(t.claims->azp, t.claims->sub);
    assert_true(t.claims->email_verified);
    assert_int_equal(t.claims->exp - t.claims->iat, 3600);
    assert_string_equal(t.header->alg, "RS256");
    arena_free(a);
}

static void get_access(struct fixture *f, const char *account, const char *scope, struct got *g)
{
    *g = (struct got){0};
    identity_source(f->id)->get(identity_source(f->id), TOKEN_ACCESS, account, scope, on_token, g);
    engine_box_until(&f->box, &g->done);
}

static void an_access_token_says_what_may_be_done_with_it(void **state)
{
    struct fixture *f = *state;
    struct got g, same, identity;
    struct token_parts t;
    struct err e = {0};
    struct arena *a = arena_new(65536);
    make_key(f);
    get_access(f, ACCOUNT, SCOPE_CLOUD_PLATFORM, &g);
    assert_int_equal(token_split(a, str_of(g.token), &t, &e), 0);
    assert_string_equal(t.header->typ, "at+jwt");
    assert_string_equal(t.claims->scope, SCOPE_CLOUD_PLATFORM);
    assert_string_equal(t.claims->email, ACCOUNT);
    assert_string_equal(t.claims->iss, ISSUER);
    assert_string_equal(t.claims->aud, ISSUER);
    assert_int_equal(t.claims->exp - t.claims->iat, 3600);
    get_access(f, ACCOUNT, SCOPE_CLOUD_PLATFORM, &same);
    assert_string_equal(g.token, same.token); /* from the cache */
    fetch(f, SCOPE_CLOUD_PLATFORM, &identity);
    assert_string_not_equal(g.token, identity.token); /* an audience of the same text is another thing */
    arena_free(a);
}

static void neither_kind_of_token_passes_for_the_other(void **state)
{
    struct fixture *f = *state;
    struct got access, identity;
    struct token_claims c;
    struct err e = {0};
    make_key(f);
    get_access(f, identity_default_account(f->id), SCOPE_CLOUD_PLATFORM, &access);
    get(f, identity_default_account(f->id), ISSUER, &identity);
    engine_box_until(&f->box, &identity.done);
    assert_int_equal(verify(f, access.token, env_wall(&f->fe.env), &c, &e), -ERR_UNAUTHENTICATED);
    assert_non_null(strstr(e.msg, "access token"));
    assert_int_equal(identity_admits(f->id, str_of(identity.token), &e), -ERR_UNAUTHENTICATED);
    assert_non_null(strstr(e.msg, "identity token"));
    assert_int_equal(identity_admits(f->id, str_of(access.token), &e), 0);
}

static void only_the_default_account_with_the_whole_scope_may_use_the_api(void **state)
{
    struct fixture *f = *state;
    const char *ours = identity_default_account(f->id);
    const struct {
        const char *name, *account, *scope;
        int rc;
    } cases[] = {
        {"all of it", ours, SCOPE_CLOUD_PLATFORM, 0},
        {"among others, first", ours, SCOPE_CLOUD_PLATFORM " openid", 0},
        {"among others, last", ours, "openid " SCOPE_CLOUD_PLATFORM, 0},
        {"another account", ACCOUNT, SCOPE_CLOUD_PLATFORM, -ERR_PERMISSION_DENIED},
        {"less", ours, SCOPE_CLOUD_PLATFORM ".read-only", -ERR_PERMISSION_DENIED},
        {"something that ends like it", ours, "x" SCOPE_CLOUD_PLATFORM, -ERR_PERMISSION_DENIED},
        {"something else", ours, "openid", -ERR_PERMISSION_DENIED},
    };
    make_key(f);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct got g;
        struct err e = {0};
        get_access(f, cases[i].account, cases[i].scope, &g);
        CASE_INT(cases[i].name, identity_admits(f->id, str_of(g.token), &e), cases[i].rc);
    }
    struct got g;
    struct err e = {0};
    get_access(f, ours, SCOPE_CLOUD_PLATFORM, &g);
    char *last = strrchr(g.token, '.') + 5;
    *last = *last == 'A' ? 'B' : 'A';
    assert_int_equal(identity_admits(f->id, str_of(g.token), &e), -ERR_UNAUTHENTICATED);
    get_access(f, ours, SCOPE_CLOUD_PLATFORM, &g);
    fake_clock_move(&f->fe.clock, 3662 * NS_PER_S);
    assert_int_equal(identity_admits(f->id, str_of(g.token), &e), -ERR_UNAUTHENTICATED);
}

static void tokens_that_are_no_good_are_refused_with_the_reason(void **state)
{
    struct fixture *f = *state;
    struct got g;
    make_key(f);
    fetch(f, "a", &g);
    char bad_signature[TOKEN_BYTES_MAX], bad_claims[TOKEN_BYTES_MAX], stripped[TOKEN_BYTES_MAX];
    snprintf(bad_signature, sizeof bad_signature, "%s", g.token);
    char *last = strrchr(bad_signature, '.') + 5;
    *last = *last == 'A' ? 'B' : 'A';
    snprintf(bad_claims, sizeof bad_claims, "%s", g.token);
    char *middle = strchr(bad_claims, '.') + 20;
    *middle = *middle == 'A' ? 'B' : 'A';
    snprintf(stripped, sizeof stripped, "%.*s.SIGNATURE_REMOVED_BY_GOOGLE", (int)(strrchr(g.token, '.') - g.token), g.token);
    int64_t now_ns = env_wall(&f->fe.env);
    const struct {
        const char *name, *token;
        int64_t wall_ns;
        const char *says;
    } cases[] = {
        {"a changed signature", bad_signature, now_ns, "signature is wrong"},
        {"changed claims", bad_claims, now_ns, "token's"},
        {"one without its signature", stripped, now_ns, "signature"},
        {"an expired one", g.token, now_ns + 3662 * NS_PER_S, "expired"},
        {"one from the future", g.token, now_ns - 62 * NS_PER_S, "not valid yet"},
        {"no JWT at all", "abc", now_ns, "three parts"},
        {"an empty one", "", now_ns, "three parts"},
        {"four parts", "a.b.c.d", now_ns, "three parts"},
        {"alg none", "eyJhbGciOiJub25lIn0.e30.AAAA", now_ns, "RS256"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct token_claims c;
        struct err e = {0};
        CASE_INT(cases[i].name, verify(f, cases[i].token, cases[i].wall_ns, &c, &e), -ERR_UNAUTHENTICATED);
        CASE_TRUE(cases[i].name, strstr(e.msg, cases[i].says) != NULL);
    }
    struct token_claims c;
    struct err e = {0};
    assert_int_equal(verify(f, g.token, now_ns + 3659 * NS_PER_S, &c, &e), 0); /* within the slack */
}

static void no_change_of_a_token_is_ever_accepted(void **state)
{
    struct fixture *f = *state;
    struct got g;
    struct rng rng;
    make_key(f);
    fetch(f, "a", &g);
    size_t n = strlen(g.token);
    struct key_set *keys = identity_keys(f->id);
    rng_seed(&rng, 42);
    for (int i = 0; i < 3000; i++) {
        char changed[TOKEN_BYTES_MAX];
        struct token_claims c;
        struct err e = {0};
        memcpy(changed, g.token, n);
        size_t len = rng_chance(&rng, 0.2) ? rng_below(&rng, n) : n;
        /* The last letter of each part may hold bits that are not part of a byte: leave it. */
        size_t at = rng_below(&rng, n - 2);
        if (g.token[at + 1] != '.')
            changed[at] = (char)rng_u64(&rng);
        if (len == n && changed[at] == g.token[at])
            continue;
        assert_int_equal(identity_verify(keys, (struct str){changed, len}, env_wall(&f->fe.env), &c, &e), -ERR_UNAUTHENTICATED);
    }
    key_set_unref(keys);
}

static void a_token_is_signed_once_and_again_shortly_before_it_expires(void **state)
{
    struct fixture *f = *state;
    struct got first, same, other, later;
    make_key(f);
    get(f, ACCOUNT, "a", &first);
    get(f, ACCOUNT, "a", &same); /* while the first is being signed */
    engine_box_until(&f->box, &first.done);
    assert_true(same.done);
    assert_string_equal(first.token, same.token);
    get(f, ACCOUNT, "a", &same);
    assert_true(same.done); /* from the cache, at once */
    assert_string_equal(first.token, same.token);
    fetch(f, "b", &other);
    assert_string_not_equal(first.token, other.token);
    fake_clock_move(&f->fe.clock, TOKEN_LIFE_NS - TOKEN_RENEW_NS - NS_PER_S);
    get(f, ACCOUNT, "a", &same);
    assert_true(same.done);
    assert_string_equal(first.token, same.token);
    fake_clock_move(&f->fe.clock, 2 * NS_PER_S);
    fetch(f, "a", &later);
    assert_string_not_equal(first.token, later.token);
}

static void accounts_and_audiences_that_cannot_be_are_refused(void **state)
{
    struct fixture *f = *state;
    char long_text[URL_LEN_MAX + 2];
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    const struct {
        const char *name, *account, *audience;
    } cases[] = {
        {"no account", "", "a"},      {"a space in the account", "a b", "a"},       {"too long an account", long_text, "a"},
        {"no audience", ACCOUNT, ""}, {"too long an audience", ACCOUNT, long_text},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct got g;
        get(f, cases[i].account, cases[i].audience, &g);
        CASE_TRUE(cases[i].name, g.done);
        CASE_INT(cases[i].name, g.err.code, ERR_INVALID_ARGUMENT);
    }
}

/* By default the audience is the URL that is called, and that may be long. */
static void an_audience_may_be_as_long_as_a_url(void **state)
{
    struct fixture *f = *state;
    char url[URL_LEN_MAX + 1] = "https://a/";
    struct got g;
    struct token_parts t;
    struct err e = {0};
    struct arena *a = arena_new(65536);
    memset(url + strlen(url), 'x', sizeof url - 1 - strlen(url));
    make_key(f);
    fetch(f, url, &g);
    assert_int_equal(token_split(a, str_of(g.token), &t, &e), 0);
    assert_string_equal(t.claims->aud, url);
    arena_free(a);
}

static void who_asks_before_there_is_a_key_waits_for_it(void **state)
{
    struct fixture *f = *state;
    struct got g;
    struct web *w = web_new();
    struct fake_page page;
    struct err e = {0};
    assert_int_equal(identity_routes(f->id, w, &e), 0);
    fake_page_init(&page, "/oauth2/v3/certs", "");
    get(f, ACCOUNT, "a", &g);
    assert_true(fake_page_run(&page, w, VERB_GET));
    assert_false(g.done);
    assert_false(page.answered);
    make_key(f);
    assert_true(page.answered);
    assert_non_null(strstr(fake_page_text(&page), "\"kty\":\"RSA\""));
    engine_box_until(&f->box, &g.done);
    assert_int_equal(g.err.code, ERR_OK);
    fake_page_fini(&page);
    web_free(w);
}

static void a_key_that_cannot_be_stored_is_not_used_and_made_again(void **state)
{
    struct fixture *f = *state;
    struct got g;
    get(f, ACCOUNT, "a", &g);
    while (store_memory_queued(f->store) == 0)
        engine_box_once(&f->box);
    store_memory_step(f->store, 1, ERR_RESOURCE_EXHAUSTED);
    assert_true(g.done);
    assert_int_equal(g.err.code, ERR_UNAVAILABLE);
    fake_env_advance(&f->fe, 6 * NS_PER_S);
    make_key(f);
    fetch(f, "a", &g);
}

static void the_store_may_finish_after_the_identity_is_gone(void **state)
{
    struct fixture *f = *state;
    while (store_memory_queued(f->store) == 0)
        engine_box_once(&f->box);
    identity_free(f->id);
    store_memory_step(f->store, 10, ERR_OK);
    open_identity(f); /* and the key is there */
    struct key_set *keys = identity_keys(f->id);
    assert_int_equal(key_set_count(keys), 1);
    key_set_unref(keys);
}

static void keys_rotate_with_overlap_and_survive_a_restart(void **state)
{
    struct fixture *f = *state;
    struct got old, fresh;
    struct token_claims c;
    struct err e = {0};
    make_key(f);
    fetch(f, "a", &old);
    int changes = f->changes;
    fake_env_advance(&f->fe, KEY_ROTATE_NS + 600 * NS_PER_S);
    make_key(f);
    assert_int_equal(f->changes, changes + 1);
    struct key_set *keys = identity_keys(f->id);
    assert_int_equal(key_set_count(keys), 2);
    key_set_unref(keys);
    /* Published, but not used at once: who caches the keys has to see it first. */
    fetch(f, "a", &fresh);
    assert_memory_equal(old.token, fresh.token, 90);
    identity_free(f->id);
    open_identity(f);
    fake_env_advance(&f->fe, 2 * 3600 * NS_PER_S);
    fetch(f, "a", &fresh);
    assert_memory_not_equal(old.token, fresh.token, 90); /* the header with the kid */
    assert_int_equal(verify(f, fresh.token, env_wall(&f->fe.env), &c, &e), 0);
    fake_env_advance(&f->fe, KEY_KEEP_NS);
    store_memory_step(f->store, 10, ERR_OK);
    keys = identity_keys(f->id);
    assert_int_equal(key_set_count(keys), 1);
    key_set_unref(keys);
    identity_free(f->id);
    open_identity(f);
    keys = identity_keys(f->id);
    assert_int_equal(key_set_count(keys), 1);
    key_set_unref(keys);
}

static void on_put(void *arg, const struct err *e) { assert_null(e); }

static int take_key(void *arg, const char *name, struct str body, struct err *e)
{
    struct buf *b = arg;
    buf_clear(b);
    return buf_add(b, body.p, body.n);
}

static void a_stored_key_that_is_none_is_named(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};
    struct buf key;
    buf_init(&key, 1 << 16);
    make_key(f);
    assert_int_equal(f->store->ops->load_resources(f->store, "signing-key", take_key, &key, &e), 0);
    const struct {
        const char *name;
        struct str body;
        const char *says;
    } cases[] = {
        {"cut off", {buf_data(&key), buf_len(&key) - 1}, "signing-key record \"0\": malformed"},
        {"no key", STR("\x12\x01x"), "signing-key record \"0\": "},
        {"another's", buf_str(&key), "signing-key record \"0\": it is one of the key "},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct identity_config c = {.issuer = ISSUER, .project = "proj-test"};
        struct store_txn *t = store_txn_new();
        assert_int_equal(store_txn_put(t, "signing-key", "0", cases[i].body, &e), 0);
        store_submit(f->store, t, on_put, NULL);
        store_memory_step(f->store, 10, ERR_OK);
        struct identity *id = identity_new(&f->fe.env, &c, f->store, f->workers, f->box.mailbox, &e);
        CASE_INT(cases[i].name, identity_load(id, &e), -ERR_DATA_LOSS);
        if (!strstr(e.msg, cases[i].says))
            fail_msg("case \"%s\": \"%s\" does not say \"%s\"", cases[i].name, e.msg, cases[i].says);
        identity_free(id);
    }
    buf_fini(&key);
}

static void the_pages_are_what_verifiers_expect(void **state)
{
    struct fixture *f = *state;
    const struct {
        const char *path, *wants[5];
    } cases[] = {
        {"/.well-known/openid-configuration", {"\"issuer\":\"" ISSUER "\"", "\"jwks_uri\":\"" ISSUER "/oauth2/v3/certs\"", "RS256"}},
        {"/oauth2/v3/certs", {"\"alg\":\"RS256\"", "\"use\":\"sig\"", "\"kid\":\"", "\"n\":\"", "\"e\":\"AQAB\""}},
        {"/oauth2/v1/certs", {"-----BEGIN PUBLIC KEY-----\\n", "-----END PUBLIC KEY-----\\n"}},
    };
    struct web *w = web_new();
    struct err e = {0};
    make_key(f);
    assert_int_equal(identity_routes(f->id, w, &e), 0);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fake_page page;
        fake_page_init(&page, cases[i].path, "");
        CASE_TRUE(cases[i].path, fake_page_run(&page, w, VERB_GET));
        CASE_INT(cases[i].path, page.call.status, 200);
        CASE_STR(cases[i].path, page.call.extra_name, "Cache-Control");
        for (size_t n = 0; n < ARRAY_LEN(cases[i].wants) && cases[i].wants[n]; n++)
            CASE_TRUE(cases[i].path, strstr(fake_page_text(&page), cases[i].wants[n]) != NULL);
        fake_page_fini(&page);
    }
    web_free(w);
}

static void write_file(const char *dir, const char *name, const void *bytes, size_t n, char path[512])
{
    snprintf(path, 512, "%s/%s", dir, name);
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    assert_int_equal(fwrite(bytes, 1, n, out), n);
    fclose(out);
}

/* Run a program of the path; its exit code, and the first line of what it says on either stream. */
static int first_line_of(const char *const *argv, char *line, size_t n)
{
    posix_spawn_file_actions_t actions;
    pid_t pid;
    int out[2], status;
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out[1], STDERR_FILENO);
    assert_int_equal(posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *)argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(out[1]);
    FILE *said = fdopen(out[0], "r");
    assert_non_null(said);
    assert_non_null(fgets(line, (int)n, said));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    fclose(said);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void the_openssl_program_agrees_with_the_signature(void **state)
{
    struct err e = {0};
    struct rsa_key *key = rsa_generate(&e);
    uint8_t signature[RSA_SIGNATURE_BYTES];
    struct buf pem;
    char pem_path[512], text_path[512], signature_path[512], line[256];
    const char *dir = support_tmpdir();
    assert_non_null(key);
    buf_init(&pem, RSA_PEM_MAX);
    assert_int_equal(rsa_public_pem_add(key, &pem, &e), 0);
    assert_int_equal(rsa_sign(key, STR("what is signed"), signature, &e), 0);
    write_file(dir, "key.pem", buf_data(&pem), buf_len(&pem), pem_path);
    write_file(dir, "text", "what is signed", 14, text_path);
    write_file(dir, "signature", signature, sizeof signature, signature_path);
    const char *const argv[] = {"openssl", "dgst", "-sha256", "-verify", pem_path, "-signature", signature_path, text_path, NULL};
    assert_int_equal(first_line_of(argv, line, sizeof line), 0);
    assert_string_equal(line, "Verified OK\n");
    /* And what is public reads back as the same key. */
    struct rsa_key *public = rsa_from_pem(buf_str(&pem), &e);
    char kid[RSA_KID_LEN + 1], kid_public[RSA_KID_LEN + 1];
    assert_non_null(public);
    assert_int_equal(rsa_kid(key, kid, &e), 0);
    assert_int_equal(rsa_kid(public, kid_public, &e), 0);
    assert_string_equal(kid, kid_public);
    assert_true(rsa_verify(public, STR("what is signed"), (struct str){(char *)signature, sizeof signature}));
    assert_false(rsa_verify(public, STR("what is not"), (struct str){(char *)signature, sizeof signature}));
    rsa_unref(public);
    rsa_unref(key);
    buf_fini(&pem);
}

static void text_that_is_no_key_is_refused(void **state)
{
    const char *const cases[] = {"", "hello", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err e = {0};
        CASE_TRUE(cases[i], rsa_from_pem(str_of(cases[i]), &e) == NULL);
        CASE_INT(cases[i], e.code, ERR_INVALID_ARGUMENT);
    }
}

static void an_account_has_one_number_of_21_digits(void **state)
{
    char a[ACCOUNT_ID_LEN + 1], again[ACCOUNT_ID_LEN + 1], b[ACCOUNT_ID_LEN + 1];
    token_account_id("a@x", a);
    token_account_id("a@x", again);
    token_account_id("b@x", b);
    assert_string_equal(a, again);
    assert_string_not_equal(a, b);
    assert_int_equal(strspn(a, "0123456789"), ACCOUNT_ID_LEN);
}

int main(void)
{
#define WITH(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH(a_token_says_who_for_whom_and_until_when),
        WITH(an_access_token_says_what_may_be_done_with_it),
        WITH(neither_kind_of_token_passes_for_the_other),
        WITH(only_the_default_account_with_the_whole_scope_may_use_the_api),
        WITH(tokens_that_are_no_good_are_refused_with_the_reason),
        WITH(no_change_of_a_token_is_ever_accepted),
        WITH(a_token_is_signed_once_and_again_shortly_before_it_expires),
        WITH(accounts_and_audiences_that_cannot_be_are_refused),
        WITH(an_audience_may_be_as_long_as_a_url),
        WITH(who_asks_before_there_is_a_key_waits_for_it),
        WITH(a_key_that_cannot_be_stored_is_not_used_and_made_again),
        WITH(the_store_may_finish_after_the_identity_is_gone),
        WITH(keys_rotate_with_overlap_and_survive_a_restart),
        WITH(a_stored_key_that_is_none_is_named),
        WITH(the_pages_are_what_verifiers_expect),
        cmocka_unit_test(the_openssl_program_agrees_with_the_signature),
        cmocka_unit_test(text_that_is_no_key_is_refused),
        cmocka_unit_test(an_account_has_one_number_of_21_digits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

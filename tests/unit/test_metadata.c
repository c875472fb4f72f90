/** test_metadata.c: the metadata server path by path, and the token endpoint. */
#include "tests/support/unit.h"

#include "core/base/text.h"
#include "dispatcher/metadata.h"
#include "tests/support/support_dispatcher.h"

#include <stdio.h>

#define BASE "/computeMetadata/v1"
#define EMAIL "default@proj-test.iam.gserviceaccount.com"
#define TOKENS_FILE "0123456789abcdef-admin\n"

struct fixture {
    struct fake_env fe;
    struct engine_box box;
    struct workers *workers;
    struct store *store;
    struct identity *id;
    struct policy *policy;
    struct web *web;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct err e = {0};
    const struct identity_config ic = {.issuer = "http://issuer", .project = "proj-test"};
    const struct policy_config pc = {0};
    support_env(&f->fe);
    engine_box_init(&f->box);
    f->workers = workers_start(1, NULL);
    f->store = store_memory_new();
    f->web = web_new();
    f->id = identity_new(&f->fe.env, &ic, f->store, f->workers, f->box.mailbox, &e);
    f->policy = policy_new(&f->fe.env, &pc, f->store, &e);
    assert_true(f->id && f->policy);
    const struct metadata_config mc = {.project = "proj-test", .region = "europe-west1", .identity = f->id, .policy = f->policy};
    assert_int_equal(identity_load(f->id, &e), 0);
    assert_int_equal(metadata_routes(&mc, f->web, &e), 0);
    fake_env_advance(&f->fe, 0);
    while (store_memory_queued(f->store) == 0)
        engine_box_once(&f->box);
    store_memory_step(f->store, 1, ERR_OK);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    workers_stop(f->workers);
    identity_free(f->id);
    policy_free(f->policy);
    web_free(f->web);
    f->store->ops->close(f->store);
    engine_box_fini(&f->box);
    support_env_fini(&f->fe);
    free(f);
    return 0;
}

static void every_path_answers_what_libraries_expect(void **state)
{
    struct fixture *f = *state;
    const struct {
        const char *path, *query;
        int status;
        const char *wants;
    } cases[] = {
        {"/", "", 200, "Ok"},
        {BASE, "", 200, "instance/"},
        {BASE "/", "", 200, "project/"},
        {BASE "/instance", "", 200, "service-accounts/"},
        {BASE "/instance/region", "", 200, "/regions/europe-west1"},
        {BASE "/instance/zone", "", 200, "/zones/europe-west1-1"},
        {BASE "/instance/id", "", 200, ""},
        {BASE "/project/project-id", "", 200, "proj-test"},
        {BASE "/project/numeric-project-id", "", 200, ""},
        {BASE "/instance/service-accounts", "", 200, "default/\n" EMAIL "/\n"},
        {BASE "/instance/service-accounts/", "recursive=true", 200, "{\"default\":{"},
        {BASE "/instance/service-accounts/default", "", 200, "identity\n"},
        {BASE "/instance/service-accounts/default/", "recursive=true", 200, "\"email\":\"" EMAIL "\""},
        {BASE "/instance/service-accounts/default/email", "", 200, EMAIL},
        {BASE "/instance/service-accounts/" EMAIL "/email", "", 200, EMAIL},
        {BASE "/instance/service-accounts/default/scopes", "", 200, "cloud-platform"},
        {BASE "/instance/service-accounts/default/token", "scopes=x", 200, "\"expires_in\":3600"},
        {BASE "/instance/service-accounts/default/identity", "", 400, "audience"},
        {BASE "/instance/service-accounts/default/identity", "audience=", 400, "audience"},
        {BASE "/instance/service-accounts/default/identity", "audience=a&format=x", 400, "format"},
        {BASE "/instance/service-accounts/default/identity", "audience=%zz", 400, "audience"},
        {BASE "/instance/service-accounts/defaulter/email", "", 404, "not found"},
        {BASE "/instance/service-accounts/other@x/email", "", 404, "not found"},
        {BASE "/nothing", "", 404, "not found"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fake_page p;
        char name[256];
        snprintf(name, sizeof name, "%s?%s", cases[i].path, cases[i].query);
        fake_page_init(&p, cases[i].path, cases[i].query);
        CASE_TRUE(name, fake_page_run(&p, f->web, VERB_GET));
        CASE_INT(name, p.call.status, cases[i].status);
        CASE_TRUE(name, strstr(fake_page_text(&p), cases[i].wants) != NULL);
        CASE_STR(name, p.call.extra_name, "Metadata-Flavor");
        CASE_STR(name, p.call.extra_value, "Google");
        fake_page_fini(&p);
    }
}

static void an_identity_token_is_for_the_audience(void **state)
{
    struct fixture *f = *state;
    struct fake_page p;
    struct token_claims c;
    struct err e = {0};
    fake_page_init(&p, BASE "/instance/service-accounts/default/identity", "format=full&audience=https%3A%2F%2Fsvc.example%2Faud");
    assert_true(fake_page_run(&p, f->web, VERB_GET));
    engine_box_until(&f->box, &p.answered);
    assert_int_equal(p.call.status, 200);
    struct key_set *keys = identity_keys(f->id);
    assert_int_equal(identity_verify(keys, str_of(fake_page_text(&p)), env_wall(&f->fe.env), &c, &e), 0);
    assert_string_equal(c.audience, "https://svc.example/aud");
    assert_string_equal(c.email, EMAIL);
    key_set_unref(keys);
    fake_page_fini(&p);
}

static void only_callers_here_that_know_what_they_ask_are_answered(void **state)
{
    struct fixture *f = *state;
    const struct {
        const char *name;
        bool local;
        struct str flavor;
        int status;
    } cases[] = {
        {"from here with the header", true, STR("Google"), 200},
        {"the header in small letters", true, STR("google"), 200},
        {"without the header", true, {NULL, 0}, 403},
        {"with another header", true, STR("Acme"), 403},
        {"from elsewhere", false, STR("Google"), 403},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fake_page p;
        fake_page_init(&p, BASE "/project/project-id", "");
        p.call.caller.local = cases[i].local;
        p.call.metadata_flavor = cases[i].flavor;
        CASE_TRUE(cases[i].name, fake_page_run(&p, f->web, VERB_GET));
        CASE_INT(cases[i].name, p.call.status, cases[i].status);
        fake_page_fini(&p);
    }
}

#define GRANT "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer"

/* header {"alg":"RS256"} and a signature that nobody can check */
static void assertion(struct buf *b, const char *claims)
{
    int rc = buf_addz(b, GRANT "&assertion=");
    rc = rc ? rc : base64url_add(b, "{\"alg\":\"RS256\"}", 15);
    rc = rc ? rc : buf_addz(b, ".");
    rc = rc ? rc : base64url_add(b, claims, strlen(claims));
    assert_int_equal(rc ? rc : buf_addz(b, ".AAAA"), 0);
}

static void the_token_endpoint_gives_tokens_for_assertions(void **state)
{
    struct fixture *f = *state;
    const struct {
        const char *name, *claims, *raw;
        int status;
        const char *wants;
    } cases[] = {
        {"an access token", "{\"iss\":\"sa@p.iam\",\"scope\":\"x\"}", NULL, 200, "\"access_token\":\"ya29."},
        {"an identity token", "{\"iss\":\"sa@p.iam\",\"target_audience\":\"a\"}", NULL, 200, "\"id_token\":\"ey"},
        {"no account", "{\"iss\":\"nobody\"}", NULL, 400, "invalid_grant"},
        {"no JSON in it", "}{", NULL, 400, "invalid_grant"},
        {"no assertion", NULL, GRANT, 400, "assertion is missing"},
        {"an assertion that is no JWT", NULL, GRANT "&assertion=abc", 400, "invalid_grant"},
        {"another grant", NULL, "grant_type=password", 400, "unsupported_grant_type"},
        {"nothing", NULL, "", 400, "unsupported_grant_type"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fake_page p;
        struct buf body;
        buf_init(&body, 65536);
        fake_page_init(&p, "/token", "");
        if (cases[i].claims)
            assertion(&body, cases[i].claims);
        p.call.body = cases[i].claims ? buf_str(&body) : str_of(cases[i].raw);
        CASE_TRUE(cases[i].name, fake_page_run(&p, f->web, VERB_POST));
        engine_box_until(&f->box, &p.answered);
        CASE_INT(cases[i].name, p.call.status, cases[i].status);
        CASE_TRUE(cases[i].name, strstr(fake_page_text(&p), cases[i].wants) != NULL);
        fake_page_fini(&p);
        buf_fini(&body);
    }
}

static void with_auth_the_token_endpoint_wants_an_admin(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};
    char path[512], auth[600];
    snprintf(path, sizeof path, "%s/tokens", support_tmpdir());
    snprintf(auth, sizeof auth, "token:%s", path);
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    fputs(TOKENS_FILE, out);
    fclose(out);
    const struct policy_config pc = {.auth = auth};
    struct policy *strict = policy_new(&f->fe.env, &pc, f->store, &e);
    struct web *web = web_new();
    assert_non_null(strict);
    const struct metadata_config mc = {.project = "proj-test", .region = "r", .identity = f->id, .policy = strict};
    assert_int_equal(metadata_routes(&mc, web, &e), 0);
    const char *const bearers[] = {NULL, "wrong-token-of-some-length", "0123456789abcdef-admin"};
    for (size_t i = 0; i < ARRAY_LEN(bearers); i++) {
        struct fake_page p;
        struct buf body;
        buf_init(&body, 65536);
        assertion(&body, "{\"iss\":\"sa@p.iam\"}");
        fake_page_init(&p, "/token", "");
        p.call.body = buf_str(&body);
        p.call.caller.bearer = (char *)bearers[i];
        assert_true(fake_page_run(&p, web, VERB_POST));
        assert_int_equal(p.call.status, i == 2 ? 200 : 401);
        fake_page_fini(&p);
        buf_fini(&body);
    }
    web_free(web);
    policy_free(strict);
}

int main(void)
{
#define WITH(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH(every_path_answers_what_libraries_expect),
        WITH(an_identity_token_is_for_the_audience),
        WITH(only_callers_here_that_know_what_they_ask_are_answered),
        WITH(the_token_endpoint_gives_tokens_for_assertions),
        WITH(with_auth_the_token_endpoint_wants_an_admin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

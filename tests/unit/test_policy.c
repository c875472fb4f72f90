/** test_policy.c: IAM policies through the method table, what they may say, and who may use the API. */
#include "tests/support/unit.h"

#include "core/rpc/json.h"
#include "core/rpc/pb.h"
#include "dispatcher/policy.h"
#include "dispatcher/policy_check.h"

#include <stdio.h>

#define SERVICE "projects/proj-test/locations/europe-west1/services/hello"
#define TOPIC "projects/proj-test/topics/t1"

struct fixture {
    struct fake_env fe;
    struct store *store;
    struct policy *policy;
    struct registry *registry;
    int changes;
    bool there;
};

static void on_change(void *arg) { ((struct fixture *)arg)->changes++; }
static bool on_exists(void *arg, const char *resource)
{
    struct fixture *f = arg;
    return f->there && strstr(resource, "missing") == NULL;
}

static void open_policy(struct fixture *f)
{
    struct err e = {0};
    const struct policy_config c = {0};
    f->policy = policy_new(&f->fe.env, &c, f->store, &e);
    f->registry = registry_new();
    assert_true(f->policy && f->registry);
    assert_int_equal(policy_load(f->policy, &e), 0);
    assert_int_equal(policy_register(f->policy, f->registry, &e), 0);
    policy_exists(f->policy, on_exists, f);
    policy_watch(f->policy, on_change, f);
}

static void close_policy(struct fixture *f)
{
    policy_free(f->policy);
    registry_free(f->registry);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    support_env(&f->fe);
    f->store = store_memory_new();
    f->there = true;
    open_policy(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    f->store->ops->close(f->store);
    close_policy(f);
    support_env_fini(&f->fe);
    free(f);
    return 0;
}

struct asked {
    struct call call;
    struct buf answer; /* JSON of the reply, or the error's message */
    bool done;
};

static void on_finish(struct call *c)
{
    struct asked *a = CONTAINER_OF(c, struct asked, call);
    struct err e;
    a->done = true;
    assert_int_equal(c->reply ? json_encode(&a->answer, c->reply, 0, &e) : buf_addz(&a->answer, c->err.msg), 0);
    assert_non_null(buf_cstr(&a->answer));
}

/* One call as REST would make it; its body is JSON. */
static void ask(struct fixture *f, struct asked *a, enum http_verb verb, const char *path, const char *body)
{
    struct err e = {0};
    struct route_match m;
    *a = (struct asked){.call = {.arena = arena_new(1024 * 1024), .finish = on_finish}};
    buf_init(&a->answer, 65536);
    assert_int_equal(registry_match(f->registry, verb, str_of(path), a->call.arena, &m, &e), 0);
    a->call.method = m.method;
    a->call.service = m.service;
    a->call.request = pb_new(a->call.arena, m.method->request);
    assert_int_equal(json_decode(a->call.arena, str_of(body), a->call.request, &e), 0);
    for (size_t i = 0; i < m.n_vars; i++)
        assert_int_equal(
            json_set_field(a->call.arena, a->call.request, (struct str){m.vars[i].field, m.vars[i].field_len}, str_of(m.vars[i].value), &e),
            0);
    registry_dispatch(f->registry, &a->call);
}

static void asked_fini(struct asked *a)
{
    buf_fini(&a->answer);
    arena_free(a->call.arena);
}

/* Returns the error's code; `says` must be in the answer. */
static enum err_code run(struct fixture *f, enum http_verb verb, const char *path, const char *body, const char *says)
{
    struct asked a;
    ask(f, &a, verb, path, body);
    store_memory_step(f->store, 10, ERR_OK);
    assert_true(a.done);
    enum err_code code = a.call.reply ? ERR_OK : a.call.err.code;
    CASE_TRUE(buf_data(&a.answer), strstr(buf_data(&a.answer), says) != NULL);
    asked_fini(&a);
    return code;
}

#define ALL_USERS "{\"policy\":{\"bindings\":[{\"role\":\"roles/run.invoker\",\"members\":[\"allUsers\"]}]}}"

static void what_was_set_is_read_again_on_every_kind_of_resource(void **state)
{
    struct fixture *f = *state;
    const char *const resources[] = {
        "/v2/" SERVICE,
        "/v1/projects/proj-test/locations/europe-west1/services/other",
        "/v1/" TOPIC,
        "/v1/projects/proj-test/subscriptions/s1",
        "/v1/projects/proj-test/snapshots/n1",
        "/v2/projects/proj-test/locations/europe-west1/queues/q",
    };
    for (size_t i = 0; i < ARRAY_LEN(resources); i++) {
        char get[256], set[256], test[256];
        snprintf(get, sizeof get, "%s:getIamPolicy", resources[i]);
        snprintf(set, sizeof set, "%s:setIamPolicy", resources[i]);
        snprintf(test, sizeof test, "%s:testIamPermissions", resources[i]);
        const enum http_verb get_verb = strstr(resources[i], "/queues/") ? VERB_POST : VERB_GET; /* Cloud Tasks is the odd one */
        CASE_INT(get, run(f, get_verb, get, "{}", "\"etag\":\"ACAB\""), ERR_OK);
        CASE_INT(set, run(f, VERB_POST, set, ALL_USERS, "allUsers"), ERR_OK);
        CASE_INT(get, run(f, get_verb, get, "{}", "\"members\":[\"allUsers\"]"), ERR_OK);
        CASE_INT(test, run(f, VERB_POST, test, "{\"permissions\":[\"a.b.c\"]}", "{\"permissions\":[\"a.b.c\"]}"), ERR_OK);
    }
    assert_int_equal(f->changes, ARRAY_LEN(resources));
    close_policy(f);
    open_policy(f); /* a restart */
    assert_non_null(policy_of(f->policy, SERVICE));
    assert_int_equal(run(f, VERB_GET, "/v2/" SERVICE ":getIamPolicy", "{}", "allUsers"), ERR_OK);
}

static void bad_input_names_the_field_and_changes_nothing(void **state)
{
    struct fixture *f = *state;
#define BINDING(b) "{\"policy\":{\"bindings\":[" b "]}}"
    const struct {
        const char *body, *says;
    } cases[] = {
        {"{}", "policy: missing"},
        {BINDING("{\"role\":\"invoker\",\"members\":[\"allUsers\"]}"), "policy.bindings[0].role"},
        {BINDING("{\"role\":\"\",\"members\":[\"allUsers\"]}"), "policy.bindings[0].role"},
        {BINDING("{\"role\":\"roles/\",\"members\":[\"allUsers\"]}"), "policy.bindings[0].role"},
        {BINDING("{\"role\":\"projects/p/x\",\"members\":[\"allUsers\"]}"), "policy.bindings[0].role"},
        {BINDING("{\"role\":\"roles/run.invoker\"}"), "policy.bindings[0].members"},
        {BINDING("{\"role\":\"roles/run.invoker\",\"members\":[\"allUsers\",\"bob\"]}"), "policy.bindings[0].members[1]"},
        {BINDING("{\"role\":\"roles/run.invoker\",\"members\":[\"user:bob\"]}"), "members[0]"},
        {BINDING("{\"role\":\"roles/run.invoker\",\"members\":[\"user:a@b@c\"]}"), "members[0]"},
        {BINDING("{\"role\":\"roles/run.invoker\",\"members\":[\"serviceAccount:\"]}"), "members[0]"},
        {BINDING("{\"role\":\"roles/run.invoker\",\"members\":[\"domain:nodot\"]}"), "members[0]"},
        {BINDING("{\"role\":\"roles/run.invoker\",\"members\":[\"ALLUSERS\"]}"), "members[0]"},
        {BINDING("{\"role\":\"roles/run.invoker\",\"members\":[\"allUsers\"],\"condition\":{\"expression\":\"true\"}}"),
         "policy.bindings[0].condition"},
        {"{\"policy\":{\"version\":2}}", "policy.version"},
        {"{\"policy\":{},\"updateMask\":\"name\"}", "updateMask"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        CASE_INT(cases[i].body, run(f, VERB_POST, "/v1/" TOPIC ":setIamPolicy", cases[i].body, cases[i].says), ERR_INVALID_ARGUMENT);
    assert_null(policy_of(f->policy, TOPIC));
    assert_int_equal(f->changes, 0);
    assert_int_equal(run(f, VERB_POST, "/v1/" TOPIC ":testIamPermissions", "{\"permissions\":[\"pubsub.*\"]}", "permissions[0]"),
                     ERR_INVALID_ARGUMENT);
}

static void unknown_resources_are_not_found(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(run(f, VERB_GET, "/v1/projects/proj-test/topics/missing:getIamPolicy", "{}", "topics/missing"), ERR_NOT_FOUND);
    assert_int_equal(run(f, VERB_POST, "/v1/projects/proj-test/topics/missing:setIamPolicy", ALL_USERS, "topics/missing"), ERR_NOT_FOUND);
    /* but nobody has a permission on what is not there */
    assert_int_equal(run(f, VERB_POST, "/v1/projects/proj-test/topics/missing:testIamPermissions", "{\"permissions\":[\"a.b.c\"]}", "{}"),
                     ERR_OK);
}

static void an_old_etag_is_refused(void **state)
{
    struct fixture *f = *state;
    struct asked a;
    char body[512], etag[64];
    ask(f, &a, VERB_POST, "/v1/" TOPIC ":setIamPolicy", ALL_USERS);
    store_memory_step(f->store, 10, ERR_OK);
    const char *at = strstr(buf_data(&a.answer), "\"etag\":\"");
    assert_non_null(at);
    assert_int_equal(sscanf(at, "\"etag\":\"%63[^\"]", etag), 1);
    asked_fini(&a);
    snprintf(body, sizeof body, "{\"policy\":{\"etag\":\"%s\"}}", etag);
    assert_int_equal(run(f, VERB_POST, "/v1/" TOPIC ":setIamPolicy", body, "etag"), ERR_OK);
    assert_int_equal(run(f, VERB_POST, "/v1/" TOPIC ":setIamPolicy", body, "policy.etag"), ERR_ABORTED);
    assert_int_equal(run(f, VERB_POST, "/v1/" TOPIC ":setIamPolicy", "{\"policy\":{\"etag\":\"ACAB\"}}", "policy.etag"), ERR_ABORTED);
}

static void two_changes_at_once_do_not_overwrite_each_other(void **state)
{
    struct fixture *f = *state;
    struct asked a;
    ask(f, &a, VERB_POST, "/v1/" TOPIC ":setIamPolicy", ALL_USERS);
    assert_false(a.done); /* not before it is durable */
    assert_null(policy_of(f->policy, TOPIC));
    struct asked b;
    ask(f, &b, VERB_POST, "/v1/" TOPIC ":setIamPolicy", ALL_USERS);
    assert_true(b.done);
    assert_int_equal(b.call.err.code, ERR_ABORTED);
    store_memory_step(f->store, 10, ERR_OK);
    assert_true(a.done && a.call.reply);
    asked_fini(&a);
    asked_fini(&b);
}

static void what_cannot_be_stored_is_not_set(void **state)
{
    struct fixture *f = *state;
    struct asked a;
    ask(f, &a, VERB_POST, "/v1/" TOPIC ":setIamPolicy", ALL_USERS);
    store_memory_step(f->store, 1, ERR_RESOURCE_EXHAUSTED);
    assert_true(a.done);
    assert_int_equal(a.call.err.code, ERR_RESOURCE_EXHAUSTED);
    assert_null(policy_of(f->policy, TOPIC));
    asked_fini(&a);
    assert_int_equal(run(f, VERB_POST, "/v1/" TOPIC ":setIamPolicy", ALL_USERS, "allUsers"), ERR_OK);
}

static void the_store_may_finish_after_the_policies_are_gone(void **state)
{
    struct fixture *f = *state;
    struct asked a;
    run(f, VERB_POST, "/v1/" TOPIC ":setIamPolicy", ALL_USERS, "allUsers");
    policy_forget(f->policy, TOPIC);
    ask(f, &a, VERB_POST, "/v1/" TOPIC ":setIamPolicy", ALL_USERS);
    close_policy(f);
    store_memory_step(f->store, 10, ERR_OK);
    assert_false(a.done); /* whoever asked is gone as well */
    asked_fini(&a);
    open_policy(f);
    assert_non_null(policy_of(f->policy, TOPIC));
}

static void policies_go_with_their_resource(void **state)
{
    struct fixture *f = *state;
    struct asked a;
    run(f, VERB_POST, "/v1/" TOPIC ":setIamPolicy", ALL_USERS, "allUsers");
    policy_forget(f->policy, TOPIC);
    store_memory_step(f->store, 10, ERR_OK);
    assert_null(policy_of(f->policy, TOPIC));
    /* Deleted while a policy is being written. */
    ask(f, &a, VERB_POST, "/v2/" SERVICE ":setIamPolicy", ALL_USERS);
    f->there = false;
    policy_forget(f->policy, SERVICE);
    store_memory_step(f->store, 10, ERR_OK);
    assert_null(policy_of(f->policy, SERVICE));
    asked_fini(&a);
    close_policy(f);
    open_policy(f);
    assert_null(policy_of(f->policy, TOPIC));
    assert_null(policy_of(f->policy, SERVICE));
}

static void a_sweep_forgets_what_a_crash_left(void **state)
{
    struct fixture *f = *state;
    run(f, VERB_POST, "/v1/" TOPIC ":setIamPolicy", ALL_USERS, "allUsers");
    run(f, VERB_POST, "/v2/" SERVICE ":setIamPolicy", ALL_USERS, "allUsers");
    policy_sweep(f->policy);
    assert_non_null(policy_of(f->policy, TOPIC));
    f->there = false;
    policy_sweep(f->policy);
    assert_null(policy_of(f->policy, TOPIC));
    assert_null(policy_of(f->policy, SERVICE));
    store_memory_step(f->store, 10, ERR_OK);
}

static void on_put(void *arg, const struct err *e) { assert_null(e); }

static void a_stored_policy_that_is_none_is_named(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};
    const struct policy_config c = {0};
    struct store_txn *t = store_txn_new();
    assert_int_equal(store_txn_put(t, "policy", TOPIC, STR("\xff"), &e), 0);
    store_submit(f->store, t, on_put, NULL);
    store_memory_step(f->store, 10, ERR_OK);
    struct policy *p = policy_new(&f->fe.env, &c, f->store, &e);
    assert_int_equal(policy_load(p, &e), -ERR_DATA_LOSS);
    assert_string_equal(e.msg, "policy record \"" TOPIC "\": malformed");
    policy_free(p);
}

static void no_failed_allocation_leaves_half_a_policy(void **state)
{
    struct fixture *f = *state;
    for (size_t n = 1;; n++) {
        struct asked a;
        struct err e = {0};
        struct route_match m;
        a = (struct asked){.call = {.arena = arena_new(1024 * 1024), .finish = on_finish}};
        buf_init(&a.answer, 65536);
        assert_int_equal(registry_match(f->registry, VERB_POST, STR("/v1/" TOPIC ":setIamPolicy"), a.call.arena, &m, &e), 0);
        a.call.method = m.method;
        a.call.service = m.service;
        a.call.request = pb_new(a.call.arena, m.method->request);
        assert_int_equal(json_decode(a.call.arena, STR(ALL_USERS), a.call.request, &e), 0);
        assert_int_equal(json_set_field(a.call.arena, a.call.request, STR("resource"), STR(TOPIC), &e), 0);
        support_fail_alloc(n);
        registry_dispatch(f->registry, &a.call);
        store_memory_step(f->store, 10, ERR_OK);
        bool failed = support_alloc_failed();
        if (!a.done) /* the store could not take it in: it is done now */
            store_memory_step(f->store, 10, ERR_OK);
        assert_true(a.done);
        assert_true(a.call.reply || policy_of(f->policy, TOPIC) == NULL || failed);
        policy_forget(f->policy, TOPIC);
        store_memory_step(f->store, 10, ERR_OK);
        asked_fini(&a);
        if (!failed)
            break;
    }
}

/* ---- who may use the API ---- */

static const char *token_file(const char *text, char out[600])
{
    char path[512];
    snprintf(path, sizeof path, "%s/tokens", support_tmpdir());
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    snprintf(out, 600, "token:%s", path);
    return out;
}

static void tokens_of_the_file_are_let_in(void **state)
{
    struct fixture *f = *state;
    char auth[600];
    struct err e = {0};
    const struct policy_config c = {.auth = token_file("# admins\n\n  first-token-0123456789  \r\nsecond-token-012345678", auth)};
    struct policy *p = policy_new(&f->fe.env, &c, f->store, &e);
    const struct {
        const char *name, *bearer;
        int rc;
    } cases[] = {
        {"the first", "first-token-0123456789", 0},
        {"the last, without a line end", "second-token-012345678", 0},
        {"none", NULL, -ERR_UNAUTHENTICATED},
        {"empty", "", -ERR_UNAUTHENTICATED},
        {"a part of one", "first-token", -ERR_UNAUTHENTICATED},
        {"more than one", "first-token-0123456789x", -ERR_UNAUTHENTICATED},
        {"a comment", "# admins", -ERR_UNAUTHENTICATED},
    };
    assert_non_null(p);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct caller who = {.bearer = (char *)cases[i].bearer, .local = true};
        CASE_INT(cases[i].name, policy_authorize(p, &who, &e), cases[i].rc);
    }
    policy_free(p);
}

static int admit(void *arg, const struct call *c, struct str token, struct err *e)
{
    ++*(int *)arg;
    return str_is(token, "head.claims.good") ? 0 : err_set(e, ERR_PERMISSION_DENIED, "not this one");
}

static void on_answered(struct call *c) { *(bool *)c->handler_data = true; }

/* What a method of the API answers to this bearer token. */
static enum err_code called_with(struct policy *p, const char *bearer)
{
    struct err e = {0};
    struct route_match match;
    struct arena *a = arena_new(65536);
    struct registry *r = registry_new();
    Google__Iam__V1__GetIamPolicyRequest request = GOOGLE__IAM__V1__GET_IAM_POLICY_REQUEST__INIT;
    bool answered = false;
    request.resource = (char *)"projects/p/topics/t";
    assert_int_equal(policy_register(p, r, &e), 0);
    assert_int_equal(registry_match(r, VERB_GET, STR("/v1/projects/p/topics/t:getIamPolicy"), a, &match, &e), 0);
    struct call c = {.method = match.method,
                     .service = match.service,
                     .arena = a,
                     .request = &request.base,
                     .caller = {.bearer = (char *)bearer, .local = true},
                     .finish = on_answered,
                     .handler_data = &answered};
    registry_dispatch(r, &c);
    assert_true(answered);
    registry_free(r);
    arena_free(a);
    return c.err.code;
}

static void an_access_token_of_ours_opens_methods_but_not_pages(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};
    char auth[600];
    int asked = 0;
    const struct policy_config c = {.auth = token_file("first-token-0123456789", auth)};
    const struct caller who = {.bearer = (char *)"head.claims.good", .local = true};
    struct policy *p = policy_new(&f->fe.env, &c, f->store, &e);
    assert_non_null(p);
    assert_int_equal(called_with(p, "head.claims.good"), ERR_UNAUTHENTICATED); /* nobody to ask */
    policy_token(p, admit, &asked);
    assert_int_equal(called_with(p, "head.claims.good"), ERR_OK);
    assert_int_equal(called_with(p, "head.claims.bad"), ERR_PERMISSION_DENIED);
    assert_int_equal(asked, 2);
    assert_int_equal(called_with(p, "first-token-0123456789"), ERR_OK);
    assert_int_equal(called_with(p, "ya29.runnel.0123456789abcdef.and.more"), ERR_UNAUTHENTICATED);
    assert_int_equal(called_with(p, "ya29-runnel"), ERR_UNAUTHENTICATED);
    assert_int_equal(called_with(p, NULL), ERR_UNAUTHENTICATED);
    assert_int_equal(asked, 2); /* none of those has the form */
    assert_int_equal(policy_authorize(p, &who, &e), -ERR_UNAUTHENTICATED);
    policy_free(p);
}

static void a_bad_auth_option_is_refused_with_the_reason(void **state)
{
    struct fixture *f = *state;
    char empty[600], shortened[600];
    const struct {
        const char *auth, *says;
    } cases[] = {
        {"oidc", "token:FILE"},
        {"token:", "token:FILE"},
        {"token:/nonexistent/file", "/nonexistent/file"},
        {token_file("# nothing\n", empty), "holds no token"},
        {token_file("short\n", shortened), "line 1"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err e = {0};
        const struct policy_config c = {.auth = cases[i].auth};
        CASE_TRUE(cases[i].auth, policy_new(&f->fe.env, &c, f->store, &e) == NULL);
        CASE_INT(cases[i].auth, e.code, ERR_INVALID_ARGUMENT);
        CASE_TRUE(cases[i].auth, strstr(e.msg, cases[i].says) != NULL);
    }
}

static void members_and_roles_mean_what_they_say(void **state)
{
    const struct {
        const char *member;
        enum member_kind kind;
        const char *name;
    } cases[] = {
        {"allUsers", MEMBER_ALL, ""},
        {"allAuthenticatedUsers", MEMBER_ALL_AUTHENTICATED, ""},
        {"user:a@b.c", MEMBER_ACCOUNT, "a@b.c"},
        {"serviceAccount:a@b.c", MEMBER_ACCOUNT, "a@b.c"},
        {"domain:b.c", MEMBER_DOMAIN, "b.c"},
        {"group:g@b.c", MEMBER_OTHER, ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct str name;
        CASE_INT(cases[i].member, policy_member(cases[i].member, &name), cases[i].kind);
        CASE_TRUE(cases[i].member, str_is(name, cases[i].name));
    }
    assert_true(policy_role_invokes("roles/run.invoker"));
    assert_false(policy_role_invokes("roles/viewer"));
}

static void who_may_start_a_job(void **state)
{
    static const struct {
        const char *role, *member, *email;
        bool may;
    } cases[] = {
        {"roles/run.invoker", "serviceAccount:a@b.c", "A@b.c", true},
        {"roles/run.admin", "user:a@b.c", "a@b.c", true},
        {"roles/run.invoker", "domain:b.c", "a@b.c", true},
        {"roles/run.invoker", "allUsers", "a@b.c", true},
        {"roles/run.invoker", "allAuthenticatedUsers", "a@b.c", true},
        {"roles/run.invoker", "serviceAccount:a@b.c", "a@b.cc", false},
        {"roles/run.invoker", "domain:b.c", "a@x.b.c", false},
        {"roles/viewer", "serviceAccount:a@b.c", "a@b.c", false},
        {"roles/run.invoker", "group:a@b.c", "a@b.c", false},
        {"roles/run.invoker", "serviceAccount:a@b.c", "b.c", false},
    };
    assert_false(policy_invokes(NULL, "a@b.c"));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *member = (char *)cases[i].member;
        Google__Iam__V1__Binding b = GOOGLE__IAM__V1__BINDING__INIT, *all = &b;
        Google__Iam__V1__Policy p = GOOGLE__IAM__V1__POLICY__INIT;
        b.role = (char *)cases[i].role;
        b.members = &member;
        b.n_members = 1;
        p.bindings = &all;
        p.n_bindings = 1;
        CASE_INT(cases[i].member, policy_invokes(&p, cases[i].email), cases[i].may);
    }
}

int main(void)
{
#define WITH(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH(what_was_set_is_read_again_on_every_kind_of_resource),
        WITH(bad_input_names_the_field_and_changes_nothing),
        WITH(unknown_resources_are_not_found),
        WITH(an_old_etag_is_refused),
        WITH(two_changes_at_once_do_not_overwrite_each_other),
        WITH(what_cannot_be_stored_is_not_set),
        WITH(the_store_may_finish_after_the_policies_are_gone),
        WITH(policies_go_with_their_resource),
        WITH(a_sweep_forgets_what_a_crash_left),
        WITH(a_stored_policy_that_is_none_is_named),
        WITH(no_failed_allocation_leaves_half_a_policy),
        WITH(tokens_of_the_file_are_let_in),
        WITH(an_access_token_of_ours_opens_methods_but_not_pages),
        WITH(a_bad_auth_option_is_refused_with_the_reason),
        cmocka_unit_test(members_and_roles_mean_what_they_say),
        cmocka_unit_test(who_may_start_a_job),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

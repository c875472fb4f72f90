/* test_method.c: path templates, what they match, and calls through the registry. */
#include "tests/support/unit.h"

#include "core/rpc/method.h"

#include "tests/support/test_rpc.pb-c.h"

static void ignore(void *service, struct call *c, const ProtobufCMessage *request) { call_reply(c, request); }

#define ROW(v, p, b)                                                                                                         \
    {                                                                                                                        \
        "test/" p, v, p, b, "test.use", &runnel__test__everything__descriptor, &runnel__test__everything__descriptor, ignore \
    }

static const struct method table[] = {
    ROW(VERB_PUT, "/v1/{name=projects/*/topics/*}", "*"),
    ROW(VERB_GET, "/v1/{name=projects/*/topics/*}", NULL),
    ROW(VERB_GET, "/v1/{name=projects/*}/topics", NULL),
    ROW(VERB_POST, "/v1/{name=projects/*/topics/*}:publish", "*"),
    ROW(VERB_PATCH, "/v1/{item.name=projects/*/topics/*}", "*"),
    ROW(VERB_GET, "/v1/{name=projects/*/topics/*}:getIamPolicy", NULL),
    ROW(VERB_GET, "/v1/{name=projects/*/special/list}", NULL),
    ROW(VERB_GET, "/v1/{name=projects/*/special/*}", NULL),
    ROW(VERB_POST, "/v1/{name=**}:wait", "*"),
    ROW(VERB_GET, "/v1/files/{name=**}", NULL),
    ROW(VERB_GET, "/v1/plain/{name}/of/{text}", NULL),
    ROW(VERB_GET, "/v1/plain/literal/of/{text}", NULL),
};

static struct registry *filled(void)
{
    struct registry *r = registry_new();
    struct err e = {0};
    assert_non_null(r);
    if (registry_add(r, table, ARRAY_LEN(table), NULL, &e))
        fail_msg("%s", e.msg);
    return r;
}

static void paths_match_their_templates(void **state)
{
    static const struct {
        const char *name;
        enum http_verb verb;
        const char *path;
        const char *want; /* the template, or NULL */
        enum err_code code;
        const char *value; /* of the first variable */
    } cases[] = {
        {"a name of four segments", VERB_GET, "/v1/projects/p/topics/t", "/v1/{name=projects/*/topics/*}", 0, "projects/p/topics/t"},
        {"the list under its parent", VERB_GET, "/v1/projects/p/topics", "/v1/{name=projects/*}/topics", 0, "projects/p"},
        {"a verb after the colon", VERB_POST, "/v1/projects/p/topics/t:publish", "/v1/{name=projects/*/topics/*}:publish", 0,
         "projects/p/topics/t"},
        {"a variable inside a field", VERB_PATCH, "/v1/projects/p/topics/t", "/v1/{item.name=projects/*/topics/*}", 0,
         "projects/p/topics/t"},
        {"the last colon counts", VERB_POST, "/v1/projects/p/topics/a:b:publish", "/v1/{name=projects/*/topics/*}:publish", 0,
         "projects/p/topics/a:b"},
        {"an unknown verb is part of the id", VERB_PUT, "/v1/projects/p/topics/a:b", "/v1/{name=projects/*/topics/*}", 0,
         "projects/p/topics/a:b"},
        {"an encoded colon is part of the id", VERB_POST, "/v1/projects/p/topics/t%3Apublish", NULL, ERR_UNIMPLEMENTED, NULL},
        {"an encoded colon before a verb", VERB_POST, "/v1/projects/p/topics/a%3Ab:publish", "/v1/{name=projects/*/topics/*}:publish", 0,
         "projects/p/topics/a:b"},
        {"an encoded slash stays in a name of several segments", VERB_GET, "/v1/projects/p/topics/a%2Fb", "/v1/{name=projects/*/topics/*}",
         0, "projects/p/topics/a%2Fb"},
        {"an encoded slash is decoded in one segment", VERB_GET, "/v1/plain/a%2Fb/of/x", "/v1/plain/{name}/of/{text}", 0, "a/b"},
        {"a colon in a middle segment", VERB_GET, "/v1/projects/example.com:p/topics/t", "/v1/{name=projects/*/topics/*}", 0,
         "projects/example.com:p/topics/t"},
        {"UTF-8 in an id", VERB_GET, "/v1/projects/p/topics/%C3%A9", "/v1/{name=projects/*/topics/*}", 0, "projects/p/topics/\xc3\xa9"},
        {"plus is a plus in a path", VERB_GET, "/v1/projects/p/topics/a+b", "/v1/{name=projects/*/topics/*}", 0, "projects/p/topics/a+b"},
        {"an encoded literal", VERB_GET, "/v1/%70rojects/p/topics/t", "/v1/{name=projects/*/topics/*}", 0, "projects/p/topics/t"},
        {"a literal wins over a wildcard", VERB_GET, "/v1/projects/p/special/list", "/v1/{name=projects/*/special/list}", 0,
         "projects/p/special/list"},
        {"the wildcard takes the others", VERB_GET, "/v1/projects/p/special/other", "/v1/{name=projects/*/special/*}", 0,
         "projects/p/special/other"},
        {"a literal before a variable", VERB_GET, "/v1/plain/literal/of/x", "/v1/plain/literal/of/{text}", 0, "x"},
        {"** takes many segments", VERB_GET, "/v1/files/a/b/c", "/v1/files/{name=**}", 0, "a/b/c"},
        {"** takes none", VERB_GET, "/v1/files", "/v1/files/{name=**}", 0, ""},
        {"** with a verb", VERB_POST, "/v1/a/b/c:wait", "/v1/{name=**}:wait", 0, "a/b/c"},
        {"** is the last resort", VERB_POST, "/v1/projects/p/topics/t:wait", "/v1/{name=**}:wait", 0, "projects/p/topics/t"},
        {"another verb", VERB_DELETE, "/v1/projects/p/topics/t", NULL, ERR_UNIMPLEMENTED, NULL},
        {"an unknown collection", VERB_GET, "/v1/projects/p/nothing/t", NULL, ERR_NOT_FOUND, NULL},
        {"too few segments", VERB_GET, "/v1/projects", NULL, ERR_NOT_FOUND, NULL},
        {"a slash at the end", VERB_GET, "/v1/projects/p/topics/", NULL, ERR_NOT_FOUND, NULL},
        {"an empty segment", VERB_GET, "/v1/projects//topics/t", NULL, ERR_NOT_FOUND, NULL},
        {"an empty id before a verb", VERB_POST, "/v1/projects/p/topics/:publish", NULL, ERR_NOT_FOUND, NULL},
        {"the root", VERB_GET, "/", NULL, ERR_NOT_FOUND, NULL},
        {"no slash", VERB_GET, "v1", NULL, ERR_NOT_FOUND, NULL},
        {"nothing", VERB_GET, "", NULL, ERR_NOT_FOUND, NULL},
        {"a torn percent", VERB_GET, "/v1/projects/p/topics/t%2", NULL, ERR_INVALID_ARGUMENT, NULL},
        {"not hexadecimal", VERB_GET, "/v1/projects/p/topics/t%zz", NULL, ERR_INVALID_ARGUMENT, NULL},
        {"a NUL", VERB_GET, "/v1/projects/p/topics/t%00", NULL, ERR_INVALID_ARGUMENT, NULL},
        {"not UTF-8", VERB_GET, "/v1/projects/p/topics/t%ff", NULL, ERR_INVALID_ARGUMENT, NULL},
    };
    struct registry *r = filled();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena *a = arena_new(1 << 20);
        struct route_match m = {0};
        struct err e = {0};
        int rc = registry_match(r, cases[i].verb, str_of(cases[i].path), a, &m, &e);
        CASE_INT(cases[i].name, rc, -(int)cases[i].code);
        if (cases[i].want) {
            CASE_STR(cases[i].name, m.method->path, cases[i].want);
            CASE_STR(cases[i].name, m.vars[0].value, cases[i].value);
        } else {
            CASE_TRUE(cases[i].name, strlen(e.msg) > 10);
        }
        arena_free(a);
    }
    registry_free(r);
}

static void variables_name_their_fields(void **state)
{
    struct registry *r = filled();
    struct arena *a = arena_new(1 << 20);
    struct route_match m;
    assert_int_equal(registry_match(r, VERB_PATCH, STR("/v1/projects/p/topics/t"), a, &m, NULL), 0);
    assert_int_equal(m.n_vars, 1);
    assert_int_equal(m.vars[0].field_len, strlen("item.name"));
    assert_memory_equal(m.vars[0].field, "item.name", 9);
    assert_int_equal(registry_match(r, VERB_GET, STR("/v1/plain/x/of/y"), a, &m, NULL), 0);
    assert_int_equal(m.n_vars, 2);
    assert_string_equal(m.vars[0].value, "x");
    assert_string_equal(m.vars[1].value, "y");
    arena_free(a);
    registry_free(r);
}

static void a_very_long_path_is_only_not_found(void **state)
{
    struct registry *r = filled();
    struct arena *a = arena_new(1 << 20);
    char path[2 * 100 + 1];
    for (size_t i = 0; i < 100; i++)
        memcpy(path + 2 * i, "/a", 3);
    struct route_match m;
    struct err e = {0};
    assert_int_equal(registry_match(r, VERB_GET, str_of(path), a, &m, &e), -ERR_NOT_FOUND);
    arena_free(a);
    registry_free(r);
}

static void bad_rows_are_refused(void **state)
{
    static const struct {
        const char *name;
        struct method row;
        const char *says;
    } cases[] = {
        {"no slash first", ROW(VERB_GET, "v1/x", NULL), "malformed"},
        {"an open brace", ROW(VERB_GET, "/v1/{name=projects/*", NULL), "malformed"},
        {"an empty variable", ROW(VERB_GET, "/v1/{}", NULL), "malformed"},
        {"something after **", ROW(VERB_GET, "/v1/{name=**}/x", NULL), "malformed"},
        {"a wildcard that is not the whole segment", ROW(VERB_GET, "/v1/x*", NULL), "malformed"},
        {"a variable after **", ROW(VERB_GET, "/v1/**/{name}", NULL), "malformed"},
        {"a variable that ends in a dot", ROW(VERB_GET, "/v1/{name.}", NULL), "not a field"},
        {"an empty verb", ROW(VERB_GET, "/v1/x:", NULL), "malformed"},
        {"an empty segment", ROW(VERB_GET, "/v1//x", NULL), "malformed"},
        {"an unknown field", ROW(VERB_GET, "/v1/{nobody=x/*}", NULL), "`nobody`"},
        {"a field inside a scalar", ROW(VERB_GET, "/v1/{name.more=x/*}", NULL), "`name.more`"},
        {"an unknown body", ROW(VERB_PUT, "/v1/y/{name}", "nobody"), "`nobody`"},
        {"a body that is no message", ROW(VERB_PUT, "/v1/y/{name}", "an_int32"), "`an_int32`"},
        {"the same path twice", ROW(VERB_GET, "/v1/{name=projects/*/topics/*}", NULL), "same as the path"},
        {"the same path with other variables", ROW(VERB_GET, "/v1/projects/{name}/topics/{text}", NULL), "same as the path"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct registry *r = filled();
        struct err e = {0};
        CASE_TRUE(cases[i].name, registry_add(r, &cases[i].row, 1, NULL, &e) < 0);
        if (!strstr(e.msg, cases[i].says))
            fail_msg("case \"%s\": \"%s\" does not say \"%s\"", cases[i].name, e.msg, cases[i].says);
        CASE_TRUE(cases[i].name, registry_method(r, ARRAY_LEN(table)) == NULL);
        registry_free(r);
    }
}

static void rows_can_be_walked(void **state)
{
    struct registry *r = filled();
    size_t n = 0;
    while (registry_method(r, n))
        n++;
    assert_int_equal(n, ARRAY_LEN(table));
    registry_free(r);
}

/* --- calls ---------------------------------------------------------------------------------------------------- */

static int finished;
static int cancels;
static void count_finish(struct call *c) { finished++; }
static void fail_on_cancel(struct call *c)
{
    cancels++;
    call_failf(c, ERR_CANCELLED, "gone");
}
static void note_cancel(struct call *c) { cancels++; }

static int refuse_bearer(void *arg, const struct call *c, struct err *e)
{
    if (c->caller.bearer)
        return err_set(e, ERR_PERMISSION_DENIED, "%s may not %s", c->caller.bearer, c->method->permission);
    return 0;
}

static void the_authorizer_is_asked_first(void **state)
{
    struct registry *r = filled();
    registry_authorize(r, refuse_bearer, NULL);
    Runnel__Test__Everything request = RUNNEL__TEST__EVERYTHING__INIT;
    struct call c = {.method = &table[0], .request = &request.base, .finish = count_finish};
    finished = 0;
    registry_dispatch(r, &c);
    assert_int_equal(finished, 1);
    assert_ptr_equal(c.reply, &request);
    struct call denied = {.method = &table[0], .request = &request.base, .finish = count_finish, .caller.bearer = (char *)"eve"};
    registry_dispatch(r, &denied);
    assert_int_equal(finished, 2);
    assert_null(denied.reply);
    assert_int_equal(denied.err.code, ERR_PERMISSION_DENIED);
    assert_string_equal(denied.err.msg, "eve may not test.use");
    registry_free(r);
}

static void a_cancel_reaches_a_waiting_call_once(void **state)
{
    struct call c = {.finish = count_finish, .on_cancel = fail_on_cancel};
    finished = cancels = 0;
    call_cancel(&c);
    call_cancel(&c);
    assert_int_equal(cancels, 1);
    assert_int_equal(finished, 1);
    assert_int_equal(c.err.code, ERR_CANCELLED);
}

static void a_cancel_after_the_answer_does_nothing(void **state)
{
    struct call c = {.finish = count_finish, .on_cancel = note_cancel};
    finished = cancels = 0;
    call_failf(&c, ERR_NOT_FOUND, "no %s", "such thing");
    call_cancel(&c);
    assert_int_equal(cancels, 0);
    assert_int_equal(finished, 1);
    assert_string_equal(c.err.msg, "no such thing");
    assert_false(c.cancelled);
}

static void a_cancel_before_the_wait_is_remembered(void **state)
{
    struct call c = {.finish = count_finish};
    finished = 0;
    call_cancel(&c);
    assert_true(c.cancelled);
    assert_int_equal(finished, 0);
}

/* Every allocation may fail: the registry stays usable and nothing leaks. */
static void running_out_of_memory_is_an_error(void **state)
{
    for (size_t n = 1;; n++) {
        support_fail_alloc(n);
        struct registry *r = registry_new();
        struct err e = {0};
        int rc = r ? registry_add(r, table, ARRAY_LEN(table), NULL, &e) : -1;
        bool failed = support_alloc_failed();
        assert_int_equal(rc != 0, failed);
        registry_free(r);
        if (!failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_match_their_templates),
        cmocka_unit_test(variables_name_their_fields),
        cmocka_unit_test(a_very_long_path_is_only_not_found),
        cmocka_unit_test(bad_rows_are_refused),
        cmocka_unit_test(rows_can_be_walked),
        cmocka_unit_test(the_authorizer_is_asked_first),
        cmocka_unit_test(a_cancel_reaches_a_waiting_call_once),
        cmocka_unit_test(a_cancel_after_the_answer_does_nothing),
        cmocka_unit_test(a_cancel_before_the_wait_is_remembered),
        cmocka_unit_test(running_out_of_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/** test_ingress.c: the pure parts of the ingress: traces, tokens without their signature, who may come in. */
#include "tests/support/unit.h"

#include "dispatcher/ingress_int.h"

#include <stdio.h>

#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define PARENT "00-" TRACE "-b7ad6b7169203331-01"

static void traces_are_kept_when_given_and_made_when_not(void **state)
{
    const struct {
        const char *name, *parent, *cloud;
        bool add_parent, add_cloud;
        const char *want_parent, *want_cloud; /* NULL: any */
    } cases[] = {
        {"both given", PARENT, TRACE "/1;o=1", false, false, PARENT, NULL},
        {"only traceparent", PARENT, NULL, false, true, PARENT, TRACE "/13235353014750950193;o=1"},
        {"only the cloud's", NULL, TRACE "/1;o=1", true, false, "00-" TRACE "-0000000000000001-01", NULL},
        {"the cloud's, not sampled", NULL, TRACE "/255;o=0", true, false, "00-" TRACE "-00000000000000ff-00", NULL},
        {"the cloud's in capitals", NULL, "0AF7651916CD43DD8448EB211C80319C/1", true, false, "00-" TRACE "-0000000000000001-00", NULL},
        {"none", NULL, NULL, true, true, NULL, NULL},
        {"one that is not hex", "00-xxf7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", NULL, true, true, NULL, NULL},
        {"one of zeros", "00-00000000000000000000000000000000-b7ad6b7169203331-01", NULL, true, true, NULL, NULL},
        {"one that is too short", "00-" TRACE "-b7ad", NULL, true, true, NULL, NULL},
        {"one that is too long for its version", PARENT "-x", NULL, true, true, NULL, NULL},
        {"a later version may be longer", "01-" TRACE "-b7ad6b7169203331-01-more", NULL, false, true, NULL, NULL},
        {"the version that may not be", "ff-" TRACE "-b7ad6b7169203331-01", NULL, true, true, NULL, NULL},
        {"not sampled", "00-" TRACE "-b7ad6b7169203331-00", NULL, false, true, NULL, TRACE "/13235353014750950193;o=0"},
        {"a broken cloud header", NULL, "abc/1;o=1", true, true, NULL, NULL},
        {"a span that is no number", NULL, TRACE "/x;o=1", true, true, NULL, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct headers h = {.n = 0};
        struct trace t;
        struct rng rng;
        struct err e;
        rng_seed(&rng, i);
        if (cases[i].parent)
            assert_int_equal(headers_add(&h, STR("Traceparent"), str_of(cases[i].parent), &e), 0);
        if (cases[i].cloud)
            assert_int_equal(headers_add(&h, STR("X-Cloud-Trace-Context"), str_of(cases[i].cloud), &e), 0);
        trace_make(&t, &h, &rng);
        CASE_INT(cases[i].name, t.add_traceparent, cases[i].add_parent);
        CASE_INT(cases[i].name, t.add_cloud, cases[i].add_cloud);
        CASE_INT(cases[i].name, strlen(t.traceparent), TRACEPARENT_LEN);
        CASE_TRUE(cases[i].name, strncmp(t.traceparent + 3, t.cloud, 32) == 0); /* the same trace in both */
        if (cases[i].want_parent)
            CASE_STR(cases[i].name, t.traceparent, cases[i].want_parent);
        if (cases[i].want_cloud)
            CASE_STR(cases[i].name, t.cloud, cases[i].want_cloud);
    }
}

static void a_token_loses_its_signature_and_nothing_else(void **state)
{
    const struct {
        const char *in, *want;
    } cases[] = {
        {"Bearer a.b.c", "Bearer a.b.SIGNATURE_REMOVED_BY_GOOGLE"},
        {"a.b.c", "a.b.SIGNATURE_REMOVED_BY_GOOGLE"},
        {"a.b.", "a.b.SIGNATURE_REMOVED_BY_GOOGLE"},
        {"opaque", "SIGNATURE_REMOVED_BY_GOOGLE"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf b;
        buf_init(&b, 1000);
        CASE_INT(cases[i].in, token_strip_add(&b, str_of(cases[i].in)), 0);
        CASE_STR(cases[i].in, buf_cstr(&b), cases[i].want);
        buf_fini(&b);
    }
}

static void an_invoker_is_who_the_policy_names(void **state)
{
    char *invokers[] = {(char *)"Bob@Example.com", (char *)"@corp.example"};
    const struct route_service closed = {.uri = (char *)"http://h"};
    const struct route_service some = {.uri = (char *)"http://h", .invokers = invokers, .n_invokers = 2};
    const struct route_service any = {.uri = (char *)"http://h", .any_account = true};
    const struct route_service public = {.uri = (char *)"http://h", .public_ = true};
    const struct {
        const char *name;
        const struct route_service *s;
        const char *email;
        bool in;
    } cases[] = {
        {"nobody", &closed, "bob@example.com", false}, {"by name", &some, "bob@example.com", true},
        {"by domain", &some, "x@corp.example", true},  {"a longer domain", &some, "x@evilcorp.example", false},
        {"another", &some, "eve@example.com", false},  {"any account", &any, "x@y.z", true},
        {"everybody", &public, "x@y.z", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        CASE_INT(cases[i].name, route_invoker(cases[i].s, cases[i].email), cases[i].in);
}

static void an_audience_is_the_url_what_is_below_it_or_a_custom_one(void **state)
{
    char *audiences[] = {(char *)"my-aud"};
    const struct route_service s = {.uri = (char *)"http://h.localhost:8080", .audiences = audiences, .n_audiences = 1};
    const struct {
        const char *audience;
        bool good;
    } cases[] = {
        {"http://h.localhost:8080", true},
        {"http://h.localhost:8080/", true},
        {"http://h.localhost:8080/push", true},
        {"my-aud", true},
        {"http://h.localhost:80801", false},
        {"http://h.localhost", false},
        {"", false},
        {"my-aud2", false},
        {"http://other.localhost:8080", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        CASE_INT(cases[i].audience, route_audience(&s, cases[i].audience), cases[i].good);
}

static void only_methods_without_harm_are_repeated(void **state)
{
    const struct {
        const char *method;
        bool safe;
    } cases[] = {{"GET", true},     {"HEAD", true},  {"PUT", true},    {"DELETE", true},
                 {"OPTIONS", true}, {"POST", false}, {"PATCH", false}, {"get", false}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        CASE_INT(cases[i].method, ingress_method_safe(str_of(cases[i].method)), cases[i].safe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(traces_are_kept_when_given_and_made_when_not),
        cmocka_unit_test(a_token_loses_its_signature_and_nothing_else),
        cmocka_unit_test(an_invoker_is_who_the_policy_names),
        cmocka_unit_test(an_audience_is_the_url_what_is_below_it_or_a_custom_one),
        cmocka_unit_test(only_methods_without_harm_are_repeated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

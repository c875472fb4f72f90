/** test_traffic.c: what traffic[] leads to: latest and named revisions, percents, tags, and minimums shared by percent. */
#include "tests/support/unit.h"
#include "tests/support/support_executor.h"

#include "executor/executor.h"

#include <stdio.h>

#define PARENT "projects/proj/locations/here"
#define NAME PARENT "/services/web"
#define LATEST(more) "{\"type\":\"TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST\"" more "}"
#define NAMED(revision, more) "{\"type\":\"TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION\",\"revision\":\"" revision "\"" more "}"

static struct world w;
static struct answer a;

/* Deploys web-a, then web-b; both are ready. */
static int setup(void **state)
{
    world_init(&w, 60 * NS_PER_S, 0);
    world_call(&w, "Services/CreateService",
               "{\"parent\":\"" PARENT "\",\"serviceId\":\"web\",\"service\":{\"template\":"
               "{\"revision\":\"web-a\",\"containers\":[{\"image\":\"exec:///x\"}]}}}",
               &a);
    world_run(&w, NS_PER_S);
    world_call(&w, "Services/UpdateService",
               "{\"service\":{\"name\":\"" NAME "\",\"template\":"
               "{\"revision\":\"web-b\",\"containers\":[{\"image\":\"exec:///x\"}]}}}",
               &a);
    world_run(&w, NS_PER_S);
    return (int)a.code;
}

static int teardown(void **state)
{
    world_fini(&w);
    return 0;
}

static void send(const char *traffic, const char *scaling)
{
    char request[1500];
    snprintf(request, sizeof request,
             "{\"updateMask\":\"traffic,scaling\",\"service\":{\"name\":\"" NAME "\",\"traffic\":[%s],\"scaling\":{%s}}}", traffic,
             scaling);
    world_call(&w, "Services/UpdateService", request, &a);
    world_run(&w, 5 * NS_PER_S);
}

static void test_where_traffic_goes(void **state)
{
    static const struct {
        const char *name, *traffic, *want; /* revision percent tag, in order */
    } cases[] = {
        {"nothing said is the latest", "", "web-b 100 ;"},
        {"the latest", LATEST(",\"percent\":100"), "web-b 100 ;"},
        {"back to the one before", NAMED("web-a", ",\"percent\":100"), "web-a 100 ;"},
        {"a full name will do", NAMED(NAME "/revisions/web-a", ",\"percent\":100"), "web-a 100 ;"},
        {"a split", NAMED("web-a", ",\"percent\":10") "," LATEST(",\"percent\":90"), "web-a 10 ;web-b 90 ;"},
        {"a tag without traffic", LATEST(",\"percent\":100") "," NAMED("web-a", ",\"tag\":\"old\""), "web-b 100 ;web-a 0 old;"},
        {"a revision twice", NAMED("web-a", ",\"percent\":50") "," NAMED("web-a", ",\"percent\":50,\"tag\":\"t\""),
         "web-a 50 ;web-a 50 t;"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct seen s;
        char got[200] = "";
        send(cases[i].traffic, "");
        if (a.code)
            fail_msg("case \"%s\": %s", cases[i].name, a.message);
        CASE_TRUE(cases[i].name, strstr(a.json, "\"done\":true"));
        world_see(&w, "web", &s);
        for (size_t k = 0; k < s.n_targets; k++)
            snprintf(got + strlen(got), sizeof got - strlen(got), "%s %u %s;", s.revisions[k], s.percents[k], s.tags[k]);
        CASE_STR(cases[i].name, got, cases[i].want);
    }
    assert_int_equal(executor_counts(w.x).revisions, 2);
}

static void test_a_bad_split_changes_nothing(void **state)
{
    static const struct {
        const char *name, *traffic;
    } cases[] = {
        {"less than all", LATEST(",\"percent\":99")},
        {"more than all", LATEST(",\"percent\":60") "," NAMED("web-a", ",\"percent\":60")},
        {"a negative part", LATEST(",\"percent\":110") "," NAMED("web-a", ",\"percent\":-10")},
        {"a revision that is not there", NAMED("web-z", ",\"percent\":100")},
        {"no name", "{\"type\":\"TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION\",\"percent\":100}"},
        {"the latest by name", LATEST(",\"percent\":100,\"revision\":\"web-a\"")},
        {"a tag twice", LATEST(",\"percent\":100,\"tag\":\"t\"") "," NAMED("web-a", ",\"tag\":\"t\"")},
        {"a tag that would part a host name", LATEST(",\"percent\":100,\"tag\":\"a---b\"")},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct seen s;
        send(cases[i].traffic, "");
        CASE_INT(cases[i].name, a.code, ERR_INVALID_ARGUMENT);
        CASE_TRUE(cases[i].name, strstr(a.message, "traffic"));
        world_see(&w, "web", &s);
        CASE_STR(cases[i].name, s.revisions[0], "web-b");
    }
}

static void test_a_services_minimum_is_shared_by_percent(void **state)
{
    static const struct {
        const char *name, *traffic, *scaling;
        uint32_t want;
    } cases[] = {
        {"half and half", NAMED("web-a", ",\"percent\":50") "," LATEST(",\"percent\":50"), "\"minInstanceCount\":4", 4},
        {"parts are rounded up", NAMED("web-a", ",\"percent\":10") "," LATEST(",\"percent\":90"), "\"minInstanceCount\":2", 3},
        {"a tag alone has no part", LATEST(",\"percent\":100") "," NAMED("web-a", ",\"tag\":\"t\""), "\"minInstanceCount\":2", 2},
        {"a number by hand", NAMED("web-a", ",\"percent\":50") "," LATEST(",\"percent\":50"),
         "\"scalingMode\":\"MANUAL\",\"manualInstanceCount\":6", 6},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        send(cases[i].traffic, cases[i].scaling);
        CASE_INT(cases[i].name, a.code, 0);
        world_run(&w, 300 * NS_PER_S);
        CASE_INT(cases[i].name, executor_counts(w.x).ready, cases[i].want);
    }
}

static void test_a_service_scaled_to_nothing_by_hand_says_so(void **state)
{
    struct seen s;
    struct fake_request q;
    send("", "\"scalingMode\":\"MANUAL\",\"manualInstanceCount\":0");
    assert_int_equal(a.code, 0);
    world_run(&w, 5 * NS_PER_S);
    assert_int_equal(executor_counts(w.x).ready, 0);
    world_see(&w, "web", &s);
    request_start(&w, s.pools[0], &q, 10 * NS_PER_S);
    assert_true(q.failed);
    assert_int_equal(q.err.code, ERR_UNAVAILABLE);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_where_traffic_goes),
        CASE(test_a_bad_split_changes_nothing),
        CASE(test_a_services_minimum_is_shared_by_percent),
        CASE(test_a_service_scaled_to_nothing_by_hand_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

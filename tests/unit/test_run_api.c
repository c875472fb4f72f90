/** test_run_api.c: the API's edges: what is refused, naming the field, and changes nothing; lists, pages, masks, etags. */
#include "tests/support/unit.h"
#include "tests/support/support_executor.h"

#include "executor/executor.h"

#include <stdio.h>

#define PARENT "projects/proj/locations/here"
#define NAME PARENT "/services/web"
#define CONTAINER "\"image\":\"exec:///srv/web\""

static struct world w;
static struct answer a;

static int setup(void **state)
{
    world_init(&w, 60 * NS_PER_S, 0);
    return 0;
}

static int teardown(void **state)
{
    world_fini(&w);
    return 0;
}

static void call(const char *method, const char *request)
{
    world_call(&w, method, request, &a);
    if (a.code)
        fail_msg("%s: %s", method, a.message);
}

static void create(const char *id)
{
    char request[400];
    snprintf(request, sizeof request,
             "{\"parent\":\"" PARENT "\",\"serviceId\":\"%s\",\"service\":{\"template\":{\"containers\":[{" CONTAINER "}]}}}", id);
    call("Services/CreateService", request);
    world_run(&w, NS_PER_S);
}

/* `service` is the body of a creation and must be refused. */
static const struct {
    const char *name, *service, *says;
    enum err_code code;
} refused[] = {
#define T(inside) "{\"template\":{" inside "}}"
#define TEMPLATE_PLAIN "\"template\":{\"containers\":[{" CONTAINER "}]}"
#define C(inside) T("\"containers\":[{" CONTAINER "," inside "}]")
    {"no template", "{}", "template: required", ERR_INVALID_ARGUMENT},
    {"no container", T("\"containers\":[]"), "template.containers: required", ERR_INVALID_ARGUMENT},
    {"two containers", T("\"containers\":[{" CONTAINER "},{" CONTAINER "}]"), "template.containers", ERR_UNIMPLEMENTED},
    {"no image", T("\"containers\":[{}]"), "template.containers[0].image", ERR_INVALID_ARGUMENT},
    {"another kind of image", T("\"containers\":[{\"image\":\"nginx\"}]"), "template.containers[0]: image 'nginx'", ERR_UNIMPLEMENTED},
    {"a reserved variable", C("\"env\":[{\"name\":\"PORT\",\"value\":\"1\"}]"), "env[0].name: 'PORT'", ERR_INVALID_ARGUMENT},
    {"a reserved prefix", C("\"env\":[{\"name\":\"A\"},{\"name\":\"X_GOOGLE_Y\"}]"), "env[1].name", ERR_INVALID_ARGUMENT},
    {"a variable without a name", C("\"env\":[{\"value\":\"1\"}]"), "env[0].name", ERR_INVALID_ARGUMENT},
    {"a variable given twice", C("\"env\":[{\"name\":\"A\"},{\"name\":\"A\"}]"), "given twice", ERR_INVALID_ARGUMENT},
    {"a variable from a secret", C("\"env\":[{\"name\":\"A\",\"valueSource\":{\"secretKeyRef\":{\"secret\":\"s\"}}}]"),
     "env[0].valueSource", ERR_UNIMPLEMENTED},
    {"a wrong cpu", C("\"resources\":{\"limits\":{\"cpu\":\"many\"}}"), "limits.cpu: 'many'", ERR_INVALID_ARGUMENT},
    {"a wrong size", C("\"resources\":{\"limits\":{\"memory\":\"-1Gi\"}}"), "limits.memory", ERR_INVALID_ARGUMENT},
    {"more memory than there is", C("\"resources\":{\"limits\":{\"memory\":\"17Gi\"}}"),
     "template.containers[0].resources.limits.memory: 17 GiB is more than the 16 GiB", ERR_INVALID_ARGUMENT},
    {"more memory than anybody has", C("\"resources\":{\"limits\":{\"memory\":\"1000000000Ti\"}}"), "is not a size", ERR_INVALID_ARGUMENT},
    {"a weight that is none", "{\"annotations\":{\"runnel.dev/weight\":\"much\"}," TEMPLATE_PLAIN "}", "runnel.dev/weight is 'much'",
     ERR_INVALID_ARGUMENT},
    {"a setting of jobs", T("\"annotations\":{\"runnel.dev/priority\":\"1\"},\"containers\":[{" CONTAINER "}]"),
     "'runnel.dev/priority' is nothing that a service has", ERR_INVALID_ARGUMENT},
    {"memory without its unit", C("\"resources\":{\"limits\":{\"memory\":\"512\"}}"), "'512' is less than 1 MiB", ERR_INVALID_ARGUMENT},
    {"another limit", C("\"resources\":{\"limits\":{\"nvidia.com/gpu\":\"1\"}}"), "neither cpu nor memory", ERR_INVALID_ARGUMENT},
    {"two ports", C("\"ports\":[{\"containerPort\":1},{\"containerPort\":2}]"), "ports: at most one", ERR_INVALID_ARGUMENT},
    {"no such port", C("\"ports\":[{\"containerPort\":70000}]"), "70000", ERR_INVALID_ARGUMENT},
    {"h2c", C("\"ports\":[{\"name\":\"h2c\"}]"), "ports[0].name", ERR_UNIMPLEMENTED},
    {"a liveness probe", C("\"livenessProbe\":{}"), "livenessProbe", ERR_UNIMPLEMENTED},
    {"a gRPC probe", C("\"startupProbe\":{\"grpc\":{}}"), "startupProbe.grpc", ERR_UNIMPLEMENTED},
    {"a probe slower than its period", C("\"startupProbe\":{\"timeoutSeconds\":9,\"periodSeconds\":3}"), "timeoutSeconds",
     ERR_INVALID_ARGUMENT},
    {"a probe with a line break", C("\"startupProbe\":{\"httpGet\":{\"path\":\"/a\\r\\nX: y\"}}"), "httpGet.path", ERR_INVALID_ARGUMENT},
    {"mounts", C("\"volumeMounts\":[{\"name\":\"v\"}]"), "volumeMounts", ERR_UNIMPLEMENTED},
    {"volumes", T("\"containers\":[{" CONTAINER "}],\"volumes\":[{\"name\":\"v\"}]"), "template.volumes", ERR_UNIMPLEMENTED},
    {"a VPC", T("\"containers\":[{" CONTAINER "}],\"vpcAccess\":{}"), "template.vpcAccess", ERR_UNIMPLEMENTED},
    {"too long a timeout", T("\"containers\":[{" CONTAINER "}],\"timeout\":\"3601s\""), "template.timeout", ERR_INVALID_ARGUMENT},
    {"a negative timeout", T("\"containers\":[{" CONTAINER "}],\"timeout\":\"-1s\""), "template.timeout", ERR_INVALID_ARGUMENT},
    {"too much concurrency", T("\"containers\":[{" CONTAINER "}],\"maxInstanceRequestConcurrency\":1001"), "maxInstanceRequestConcurrency",
     ERR_INVALID_ARGUMENT},
    {"minimum above maximum", T("\"containers\":[{" CONTAINER "}],\"scaling\":{\"minInstanceCount\":3,\"maxInstanceCount\":2}"),
     "minInstanceCount", ERR_INVALID_ARGUMENT},
    {"a negative minimum", T("\"containers\":[{" CONTAINER "}],\"scaling\":{\"minInstanceCount\":-1}"), "minInstanceCount",
     ERR_INVALID_ARGUMENT},
    {"another service's revision name", T("\"containers\":[{" CONTAINER "}],\"revision\":\"api-1\""), "template.revision",
     ERR_INVALID_ARGUMENT},
    {"manual without its mode", "{\"template\":{\"containers\":[{" CONTAINER "}]},\"scaling\":{\"manualInstanceCount\":2}}",
     "manualInstanceCount", ERR_INVALID_ARGUMENT},
    {"a system label", "{\"template\":{\"containers\":[{" CONTAINER "}]},\"labels\":{\"run.googleapis.com/x\":\"y\"}}", "labels",
     ERR_INVALID_ARGUMENT},
    {"internal ingress", "{\"template\":{\"containers\":[{" CONTAINER "}]},\"ingress\":\"INGRESS_TRAFFIC_INTERNAL_ONLY\"}", "ingress",
     ERR_UNIMPLEMENTED},
    {"an unknown ingress", "{\"template\":{\"containers\":[{" CONTAINER "}]},\"ingress\":\"SOME\"}", "ingress", ERR_INVALID_ARGUMENT},
    {"traffic that is not 100",
     "{\"template\":{\"containers\":[{" CONTAINER "}]},\"traffic\":[{\"type\":\"TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST\",\"percent\":99}]}",
     "add up to 99", ERR_INVALID_ARGUMENT},
    {"traffic for a revision that is not there",
     "{\"template\":{\"containers\":[{" CONTAINER
     "}]},\"traffic\":[{\"type\":\"TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION\",\"revision\":\"web-9\",\"percent\":100}]}",
     "traffic[0].revision", ERR_INVALID_ARGUMENT},
    {"a bad tag", "{\"template\":{\"containers\":[{" CONTAINER "}]},\"traffic\":[{\"percent\":100,\"tag\":\"A_B\"}]}", "traffic[0].tag",
     ERR_INVALID_ARGUMENT},
    {"a wrong type", "{\"template\":7}", "template", ERR_INVALID_ARGUMENT},
};

static void test_what_is_refused_names_the_field_and_changes_nothing(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        char request[2000];
        snprintf(request, sizeof request, "{\"parent\":\"" PARENT "\",\"serviceId\":\"web\",\"service\":%s}", refused[i].service);
        world_call(&w, "Services/CreateService", request, &a);
        CASE_INT(refused[i].name, a.code, refused[i].code);
        if (!strstr(a.message, refused[i].says))
            fail_msg("case \"%s\": \"%s\" does not say \"%s\"", refused[i].name, a.message, refused[i].says);
        CASE_INT(refused[i].name, executor_counts(w.x).services, 0);
    }
    create("web");
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        char request[2000];
        snprintf(request, sizeof request, "{\"service\":{\"name\":\"" NAME "\",%s}", refused[i].service + 1);
        world_call(&w, "Services/UpdateService", request, &a);
        CASE_INT(refused[i].name, a.code, refused[i].code);
    }
    call("Services/GetService", "{\"name\":\"" NAME "\"}");
    assert_string_equal(json_value(a.json, "generation"), "1");
}

static void test_names(void **state)
{
    static const struct {
        const char *name, *parent, *id;
        enum err_code code;
    } cases[] = {
        {"49 characters are the most", PARENT, "a234567890123456789012345678901234567890123456789", ERR_OK},
        {"50 are too many", PARENT, "a2345678901234567890123456789012345678901234567890", ERR_INVALID_ARGUMENT},
        {"none", PARENT, "", ERR_INVALID_ARGUMENT},
        {"upper case", PARENT, "Web", ERR_INVALID_ARGUMENT},
        {"a digit first", PARENT, "1web", ERR_INVALID_ARGUMENT},
        {"a hyphen last", PARENT, "web-", ERR_INVALID_ARGUMENT},
        {"three hyphens, which part a tag", PARENT, "a---b", ERR_INVALID_ARGUMENT},
        {"a slash", PARENT, "a/b", ERR_INVALID_ARGUMENT},
        {"all regions", "projects/p/locations/-", "web", ERR_INVALID_ARGUMENT},
        {"no region", "projects/p", "web", ERR_INVALID_ARGUMENT},
        {"no project", "projects//locations/here", "web", ERR_INVALID_ARGUMENT},
        {"too much", "projects/p/locations/here/services", "web", ERR_INVALID_ARGUMENT},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char request[600];
        snprintf(request, sizeof request,
                 "{\"parent\":\"%s\",\"serviceId\":\"%s\",\"service\":{\"template\":{\"containers\":[{" CONTAINER "}]}}}", cases[i].parent,
                 cases[i].id);
        world_call(&w, "Services/CreateService", request, &a);
        CASE_INT(cases[i].name, a.code, cases[i].code);
    }
}

static void test_what_is_not_there(void **state)
{
    static const char *const requests[][2] = {
        {"Services/GetService", "{\"name\":\"" NAME "\"}"},
        {"Services/DeleteService", "{\"name\":\"" NAME "\"}"},
        {"Services/UpdateService", "{\"service\":{\"name\":\"" NAME "\",\"template\":{\"containers\":[{" CONTAINER "}]}}}"},
        {"Revisions/GetRevision", "{\"name\":\"" NAME "/revisions/web-1\"}"},
        {"Revisions/DeleteRevision", "{\"name\":\"" NAME "/revisions/web-1\"}"},
        {"Revisions/ListRevisions", "{\"parent\":\"" NAME "\"}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        world_call(&w, requests[i][0], requests[i][1], &a);
        CASE_INT(requests[i][0], a.code, ERR_NOT_FOUND);
        CASE_TRUE(requests[i][0], strstr(a.message, "web"));
    }
}

static void test_dry_runs_change_nothing(void **state)
{
    call("Services/CreateService",
         "{\"parent\":\"" PARENT "\",\"serviceId\":\"web\",\"validateOnly\":true,\"service\":{\"template\":{\"containers\":[{" CONTAINER
         "}]}}}");
    assert_non_null(strstr(a.json, "\"done\":true"));
    assert_string_equal(json_value(a.json, "timeout"), "300s");
    assert_int_equal(executor_counts(w.x).services, 0);
    create("web");
    call("Services/UpdateService",
         "{\"validateOnly\":true,\"service\":{\"name\":\"" NAME "\",\"template\":{\"containers\":[{" CONTAINER ",\"args\":[\"x\"]}]}}}");
    call("Services/DeleteService", "{\"name\":\"" NAME "\",\"validateOnly\":true}");
    world_run(&w, NS_PER_S);
    assert_int_equal(executor_counts(w.x).services, 1);
    assert_int_equal(executor_counts(w.x).revisions, 1);
}

static void test_an_update_may_make_what_is_missing(void **state)
{
    call("Services/UpdateService",
         "{\"allowMissing\":true,\"service\":{\"name\":\"" NAME "\",\"template\":{\"containers\":[{" CONTAINER "}]}}}");
    world_run(&w, NS_PER_S);
    assert_int_equal(executor_counts(w.x).ready, 1);
}

static void test_masks_and_etags(void **state)
{
    char request[500], etag[100];
    create("web");
    call("Services/GetService", "{\"name\":\"" NAME "\"}");
    const char *at = strstr(a.json, "\"etag\":\"");
    snprintf(etag, sizeof etag, "%.*s", (int)strcspn(at + 8, ",}"), at + 8); /* with its escaped quotes and the last one */
    call("Services/UpdateService",
         "{\"updateMask\":\"description\",\"service\":{\"name\":\"" NAME "\",\"description\":\"mine\",\"labels\":{\"no\":\"no\"}}}");
    call("Services/GetService", "{\"name\":\"" NAME "\"}");
    assert_string_equal(json_value(a.json, "description"), "mine");
    assert_string_equal(json_value(a.json, "no"), "");
    assert_int_equal(executor_counts(w.x).revisions, 1);
    snprintf(request, sizeof request, "{\"updateMask\":\"description\",\"service\":{\"name\":\"" NAME "\",\"etag\":\"%s}}", etag);
    world_call(&w, "Services/UpdateService", request, &a);
    assert_int_equal(a.code, ERR_ABORTED);
    world_call(&w, "Services/UpdateService", "{\"updateMask\":\"no.such\",\"service\":{\"name\":\"" NAME "\"}}", &a);
    assert_int_equal(a.code, ERR_INVALID_ARGUMENT);
    world_call(&w, "Services/DeleteService", "{\"name\":\"" NAME "\",\"etag\":\"old\"}", &a);
    assert_int_equal(a.code, ERR_ABORTED);
}

static void test_lists_are_newest_first_and_come_in_pages(void **state)
{
    char token[1024] = "", seen[100] = "", request[1400];
    static const char *const ids[] = {"bb", "aa", "cc", "dd", "ee"};
    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        create(ids[i]);
    for (int page = 0; page < 3; page++) {
        snprintf(request, sizeof request, "{\"parent\":\"" PARENT "\",\"pageSize\":2,\"pageToken\":\"%s\"}", token);
        call("Services/ListServices", request);
        for (const char *p = a.json; (p = strstr(p, "{\"name\":\"" PARENT "/services/")); p++)
            snprintf(seen + strlen(seen), sizeof seen - strlen(seen), "%.2s ", p + strlen("{\"name\":\"" PARENT "/services/"));
        snprintf(token, sizeof token, "%s", json_value(a.json, "nextPageToken"));
    }
    assert_string_equal(seen, "ee dd cc aa bb ");
    assert_string_equal(token, "");
    world_call(&w, "Services/ListServices", "{\"parent\":\"" PARENT "\",\"pageToken\":\"bad\"}", &a);
    assert_int_equal(a.code, ERR_INVALID_ARGUMENT);
    world_call(&w, "Services/ListServices", "{\"parent\":\"projects/p/locations/-\"}", &a);
    assert_int_equal(a.code, ERR_INVALID_ARGUMENT);
    call("Services/ListServices", "{\"parent\":\"projects/other/locations/here\"}");
    assert_string_equal(a.json, "{}");
    call("Revisions/ListRevisions", "{\"parent\":\"" PARENT "/services/-\"}");
    assert_non_null(strstr(a.json, "aa-00001-"));
    assert_non_null(strstr(a.json, "ee-00001-"));
}

static void test_an_old_revision_can_be_deleted(void **state)
{
    char request[300], name[200];
    create("web");
    call("Revisions/ListRevisions", "{\"parent\":\"" NAME "\"}");
    snprintf(name, sizeof name, "%s", json_value(a.json, "name"));
    call("Services/UpdateService",
         "{\"service\":{\"name\":\"" NAME "\",\"template\":{\"containers\":[{" CONTAINER ",\"args\":[\"x\"]}]}}}");
    world_run(&w, 5 * NS_PER_S);
    snprintf(request, sizeof request, "{\"name\":\"%s\"}", name);
    call("Revisions/GetRevision", request);
    assert_non_null(strstr(a.json, "RETIRED"));
    call("Revisions/DeleteRevision", request);
    world_run(&w, NS_PER_S);
    world_call(&w, "Revisions/GetRevision", request, &a);
    assert_int_equal(a.code, ERR_NOT_FOUND);
    world_crash(&w);
    assert_int_equal(executor_counts(w.x).revisions, 1);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_what_is_refused_names_the_field_and_changes_nothing),
        CASE(test_names),
        CASE(test_what_is_not_there),
        CASE(test_dry_runs_change_nothing),
        CASE(test_an_update_may_make_what_is_missing),
        CASE(test_masks_and_etags),
        CASE(test_lists_are_newest_first_and_come_in_pages),
        CASE(test_an_old_revision_can_be_deleted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

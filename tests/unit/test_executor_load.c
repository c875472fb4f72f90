/** test_executor_load.c: an executor is loaded from records that are not what it wrote: it says which one and why, and does not start. */
#include "tests/support/unit.h"

#include "core/rpc/json.h"
#include "core/rpc/pb.h"
#include "executor/run.pb-c.h"
#include "tests/support/support_executor.h"

#define SERVICE "projects/p/locations/r/services/s"
#define REVISION SERVICE "/revisions/s-00001-abc"
#define TEMPLATE "\"template\":{\"containers\":[{\"image\":\"exec:///x\"}]}"
#define SERVICE_ROW(more)                                                      \
    {                                                                          \
        "run.service", SERVICE, "{\"name\":\"" SERVICE "\"," TEMPLATE more "}" \
    }
#define REVISION_ROW(containers)                                                                \
    {                                                                                           \
        "run.revision", REVISION, "{\"name\":\"" REVISION "\",\"containers\":[" containers "]}" \
    }
#define ROWS_MAX 2

struct row {
    const char *kind, *name, *json; /* NULL: bytes that are no message */
};
static const struct {
    const char *name;
    struct row rows[ROWS_MAX];
    const char *says; /* NULL: it loads */
} cases[] = {
    {"a service and its revision", {SERVICE_ROW(""), REVISION_ROW("{\"image\":\"exec:///x\"}")}, NULL},
    {"a service that is none", {{"run.service", SERVICE, NULL}}, "run.service record \"" SERVICE "\": malformed"},
    {"a service under another's name",
     {{"run.service", "projects/p/locations/r/services/t", "{\"name\":\"" SERVICE "\"," TEMPLATE "}"}},
     "run.service record \"projects/p/locations/r/services/t\": it is another one's"},
    {"a service that is nowhere", {{"run.service", "s", "{\"name\":\"s\"," TEMPLATE "}"}}, "that is no name of a service"},
    {"a service with too long a name",
     {{"run.service", SERVICE "/t", "{\"name\":\"" SERVICE "/t\"," TEMPLATE "}"}},
     "that is no name of a service"},
    {"a service without a template", {{"run.service", SERVICE, "{\"name\":\"" SERVICE "\"}"}}, "it has no template"},
    {"traffic below nothing", {SERVICE_ROW(",\"traffic\":[{\"percent\":-1},{\"percent\":101}]")}, "traffic[0].percent: -1 is not"},
    {"traffic for more than all", {SERVICE_ROW(",\"traffic\":[{\"percent\":60},{\"percent\":60}]")}, "add up to 120"},
    {"a revision that is none", {SERVICE_ROW(""), {"run.revision", REVISION, NULL}}, "run.revision record \"" REVISION "\": malformed"},
    {"a revision under another's name",
     {SERVICE_ROW(""), {"run.revision", SERVICE "/revisions/t", "{\"name\":\"" REVISION "\",\"containers\":[{\"image\":\"exec:///x\"}]}"}},
     "it is another one's"},
    {"a revision of a service that is gone", {REVISION_ROW("{\"image\":\"exec:///x\"}")}, "its service has no record"},
    {"a revision of nothing", {{"run.revision", "r", "{\"name\":\"r\"}"}}, "its service has no record"},
    {"a revision below a revision",
     {SERVICE_ROW(""), {"run.revision", REVISION "/x", "{\"name\":\"" REVISION "/x\",\"containers\":[{\"image\":\"exec:///x\"}]}"}},
     "that is no name of a revision"},
    {"a revision that runs nothing", {SERVICE_ROW(""), REVISION_ROW("")}, "one container"},
    {"a probe of all time",
     {SERVICE_ROW(",\"reconciling\":true"),
      REVISION_ROW("{\"image\":\"exec:///x\",\"startupProbe\":{\"periodSeconds\":2147483647,\"failureThreshold\":2147483647}}")},
     NULL},
};

static void on_put(void *arg, const struct err *e) { assert_null(e); }

static void put(struct store *store, const struct row *r)
{
    struct arena *a = arena_new(1 << 20);
    bool service = strcmp(r->kind, "run.service") == 0;
    ProtobufCMessage *m = pb_new(a, service ? &google__cloud__run__v2__service__descriptor : &google__cloud__run__v2__revision__descriptor);
    struct store_txn *t = store_txn_new();
    struct err e = {0};
    char *bytes;
    size_t n;
    if (r->json && json_decode(a, str_of(r->json), m, &e))
        fail_msg("%s: %s", r->json, e.msg);
    assert_int_equal(pb_pack(m, &bytes, &n, NULL), 0);
    struct str body = r->json ? (struct str){bytes, n} : STR("\xff");
    assert_int_equal(store_txn_put(t, r->kind, r->name, body, NULL), 0);
    store_submit(store, t, on_put, NULL);
    store_memory_step(store, 1, ERR_OK);
    free(bytes);
    arena_free(a);
}

static void records_that_it_did_not_write_are_named(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct world w;
        struct err e = {0};
        world_init(&w, 60 * NS_PER_S, 10);
        for (size_t k = 0; k < ROWS_MAX && cases[i].rows[k].kind; k++)
            put(w.store, &cases[i].rows[k]);
        const struct executor_deps deps = {.env = &w.fe.env,
                                           .store = w.store,
                                           .runtime = &w.runtime.base,
                                           .prober = &w.prober.base,
                                           .operations = w.operations,
                                           .metrics = w.metrics,
                                           .engine = w.engine};
        struct executor *x = executor_new(&w.config, &deps, &e);
        assert_non_null(x);
        int rc = executor_load(x, &e);
        CASE_INT(cases[i].name, rc, cases[i].says ? -ERR_DATA_LOSS : 0);
        if (cases[i].says && !strstr(e.msg, cases[i].says))
            fail_msg("case \"%s\": \"%s\" does not say \"%s\"", cases[i].name, e.msg, cases[i].says);
        executor_free(x);
        world_fini(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(records_that_it_did_not_write_are_named)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

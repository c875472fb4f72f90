/** test_schedules_load.c: schedules are loaded from records that are not what they wrote: they say which one and why, and do not start;
 *  and what loads, fires. */
#include "tests/support/unit.h"

#include "core/rpc/json.h"
#include "core/rpc/pb.h"
#include "schedules/records.pb-c.h"
#include "tests/support/support_schedules.h"

#define ROWS_MAX 2
#define J "projects/p/locations/l/jobs/job"
#define URI "\"httpTarget\":{\"uri\":\"http://127.0.0.1:9/\"}"
#define POLICY(fields) ",\"policy\":{" fields "}"
#define JOB(fields, more) "{\"job\":{\"name\":\"" J "\",\"schedule\":\"* * * * *\",\"state\":\"ENABLED\"," fields "}" more "}"
#define NOW "1767225600000000000"
#define JOB_ROW(fields, more)            \
    {                                    \
        "schedule", J, JOB(fields, more) \
    }
#define STATE_ROW(more)                                             \
    {                                                               \
        "schedule-state", J, "{\"lastWallNs\":\"" NOW "\"" more "}" \
    }
#define RUN "{\"scheduleWallNs\":\"" NOW "\",\"attempts\":1,\"firstWallNs\":\"" NOW "\"}"
#define RUNS_4 RUN "," RUN "," RUN "," RUN

struct row {
    const char *kind, *name, *json; /* NULL: bytes that are no message */
};
static const struct {
    const char *name;
    struct row rows[ROWS_MAX];
    const char *says; /* NULL: it loads */
    size_t fires;     /* ... and within two minutes fires so often */
} cases[] = {
    {"a job", {JOB_ROW(URI, ""), STATE_ROW("")}, NULL, 2},
    {"a paused job",
     {{"schedule", J, "{\"job\":{\"name\":\"" J "\",\"schedule\":\"* * * * *\",\"state\":\"PAUSED\"," URI "}}"}, STATE_ROW("")},
     NULL,
     0},
    {"a job whose state is lost", {JOB_ROW(URI, "")}, NULL, 2},
    {"a state of no job", {STATE_ROW("")}, NULL, 0},
    {"a schedule that is not understood is DISABLED",
     {{"schedule", J, "{\"job\":{\"name\":\"" J "\",\"schedule\":\"x\",\"state\":\"ENABLED\"," URI "}}"}, STATE_ROW("")},
     NULL,
     0},
    {"a start before all time", {JOB_ROW(URI, POLICY("\"startTime\":\"0001-01-01T00:00:00Z\"")), STATE_ROW("")}, NULL, 2},
    {"what was under way",
     {JOB_ROW(URI, ""), STATE_ROW(",\"runs\":[{\"scheduleWallNs\":\"" NOW "\",\"attempts\":1,\"underWay\":true}]")},
     NULL,
     3},
    {"bytes", {{"schedule", J, NULL}}, "schedule record \"" J "\": malformed", 0},
    {"no job", {{"schedule", J, "{\"seed\":\"1\"}"}}, "schedule record \"" J "\": malformed", 0},
    {"another job",
     {{"schedule", "projects/p/locations/l/jobs/k", JOB(URI, "")}},
     "schedule record \"projects/p/locations/l/jobs/k\": malformed",
     0},
    {"neither enabled nor paused",
     {{"schedule", J, "{\"job\":{\"name\":\"" J "\",\"schedule\":\"* * * * *\"," URI "}}"}},
     "\": its state is neither",
     0},
    {"no target", {JOB_ROW("\"description\":\"x\"", "")}, "schedule record \"" J "\": target: ", 0},
    {"App Engine", {JOB_ROW("\"appEngineHttpTarget\":{\"relativeUri\":\"/\"}", "")}, "schedule record \"" J "\": app_engine", 0},
    {"six retries", {JOB_ROW(URI ",\"retryConfig\":{\"retryCount\":6}", "")}, "schedule record \"" J "\": retry_config.retry_count: 6", 0},
    {"1000 to make up",
     {JOB_ROW(URI, POLICY("\"missed\":\"ALL\",\"missedLimit\":1000"))},
     "schedule record \"" J "\": policy.missed_limit: 1000",
     0},
    {"a jitter of ages", {JOB_ROW(URI, POLICY("\"jitter\":\"315576000000s\""))}, "policy.jitter", 0},
    {"bytes for a state", {JOB_ROW(URI, ""), {"schedule-state", J, NULL}}, "schedule-state record \"" J "\": malformed", 0},
    {"a state of no time", {JOB_ROW(URI, ""), {"schedule-state", J, "{}"}}, "schedule-state record \"" J "\": malformed", 0},
    {"a state before all time", {JOB_ROW(URI, ""), {"schedule-state", J, "{\"lastWallNs\":\"-1\"}"}}, "schedule-state record", 0},
    {"17 runs",
     {JOB_ROW(URI, ""), STATE_ROW(",\"runs\":[" RUNS_4 "," RUNS_4 "," RUNS_4 "," RUNS_4 "," RUN "]")},
     "schedule-state record",
     0},
    {"a run before all time",
     {JOB_ROW(URI, ""), STATE_ROW(",\"runs\":[{\"scheduleWallNs\":\"" NOW "\",\"firstWallNs\":\"-9223372036854775808\"}]")},
     "schedule-state record",
     0},
    {"a missed one before all time", {JOB_ROW(URI, ""), STATE_ROW(",\"backlogWallNs\":[\"-1\"]")}, "schedule-state record", 0},
};

static void on_put(void *arg, const struct err *e) { assert_null(e); }

static void put(struct store *store, const struct row *r)
{
    struct arena *a = arena_new(1 << 20);
    bool job = strcmp(r->kind, "schedule") == 0;
    ProtobufCMessage *m = pb_new(a, job ? &runnel__schedules__job_record__descriptor : &runnel__schedules__job_state__descriptor);
    struct store_txn *t = store_txn_new();
    struct err e = {0};
    char *bytes;
    size_t n;
    if (r->json && json_decode(a, str_of(r->json), m, &e))
        fail_msg("%s: %s", r->json, e.msg);
    assert_int_equal(pb_pack(m, &bytes, &n, NULL), 0);
    assert_int_equal(store_txn_put(t, r->kind, r->name, r->json ? (struct str){bytes, n} : STR("\xff"), NULL), 0);
    store_submit(store, t, on_put, NULL);
    store_memory_step(store, 1, ERR_OK);
    free(bytes);
    arena_free(a);
}

/* Loaded beside the schedules of the fixture, which have no jobs. */
static void refused(struct ts *ts, const char *name, const char *says)
{
    const struct schedules_config config = {0};
    const struct schedules_deps deps = {.env = &ts->fe.env, .store = ts->store, .http = &ts->target, .pubsub = &ts->target};
    struct err e = {0};
    struct schedules *s = schedules_new(&config, &deps, &e);
    assert_non_null(s);
    CASE_INT(name, schedules_load(s, &e), -ERR_DATA_LOSS);
    if (!strstr(e.msg, says))
        fail_msg("case \"%s\": \"%s\" does not say \"%s\"", name, e.msg, says);
    schedules_free(s);
}

static void records_that_they_did_not_write_are_named(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct ts ts;
        ts_start(&ts);
        for (size_t k = 0; k < ROWS_MAX && cases[i].rows[k].kind; k++)
            put(ts.store, &cases[i].rows[k]);
        if (cases[i].says) {
            refused(&ts, cases[i].name, cases[i].says);
        } else {
            ts.answer = 200;
            ts_crash(&ts);
            ts_advance(&ts, 120 * NS_PER_S);
            CASE_INT(cases[i].name, ts.n_fired, cases[i].fires);
        }
        ts_stop(&ts);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(records_that_they_did_not_write_are_named)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/** test_scheduler_api.c: the methods of scheduled jobs and of their policies: JSON in, JSON out, and each of their errors. */
#include "tests/support/support_schedules.h"
#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>

#define P "projects/p"
#define L P "/locations/l"
#define J L "/jobs/job"
#define HTTP "\"httpTarget\":{\"uri\":\"http://127.0.0.1:9/\"}"
#define PUBSUB "\"pubsubTarget\":{\"topicName\":\"" P "/topics/top\",\"data\":\"aGk=\"}"
#define CRON "\"schedule\":\"* * * * *\""

/* The largest that a field may be, and more. */
static char *letters(size_t n)
{
    static char text[2 << 20];
    memset(text, 'x', n);
    text[n] = '\0';
    return text;
}

static const char *create(struct ts *ts, const char *id, const char *fields)
{
    return ts_call(ts, ERR_OK, "CreateJob", "{\"parent\":\"" L "\",\"job\":{\"name\":\"" L "/jobs/%s\",%s}}", id, fields);
}

/* ---- what is filled in ---- */

static void http_defaults(void **state)
{
    struct ts ts;
    ts_start(&ts);
    const char *r = create(&ts, "job", CRON "," HTTP);
    assert_string_equal(r, "{\"name\":\"" J "\",\"httpTarget\":{\"uri\":\"http://127.0.0.1:9/\",\"httpMethod\":\"POST\",\"headers\":"
                           "{\"User-Agent\":\"Google-Cloud-Scheduler\"}},\"userUpdateTime\":\"2026-01-01T00:00:00Z\",\"state\":\"ENABLED\","
                           "\"scheduleTime\":\"2026-01-01T00:01:00Z\",\"retryConfig\":{\"maxRetryDuration\":\"0s\",\"minBackoffDuration\":"
                           "\"5s\",\"maxBackoffDuration\":\"3600s\",\"maxDoublings\":5},\"schedule\":\"* * * * *\",\"timeZone\":\"UTC\","
                           "\"attemptDeadline\":\"180s\"}");
    ts_stop(&ts);
}

static void pubsub_defaults(void **state)
{
    struct ts ts;
    ts_start(&ts);
    const char *r = create(&ts, "job", CRON "," PUBSUB ",\"attemptDeadline\":\"1s\""); /* ignored: kept, not looked at */
    assert_string_equal(ts_json(r, "topicName"), P "/topics/top");
    assert_string_equal(ts_json(r, "data"), "aGk=");
    assert_string_equal(ts_json(r, "attemptDeadline"), "1s");
    ts_stop(&ts);
}

static void headers_and_body(void **state)
{
    struct ts ts;
    ts_start(&ts);
    const char *r = create(&ts, "a",
                           CRON ",\"httpTarget\":{\"uri\":\"http://127.0.0.1:9/\",\"httpMethod\":\"PUT\",\"body\":\"aGk=\",\"headers\":"
                                "{\"X-Kept\":\"1\",\"host\":\"x\",\"Content-Length\":\"5\",\"x-google-a\":\"x\",\"X-AppEngine-B\":\"x\","
                                "\"X-CloudScheduler-JobName\":\"x\",\"user-agent\":\"x\",\"Connection\":\"close\"}}");
    assert_non_null(strstr(r, "\"headers\":{\"X-Kept\":\"1\",\"User-Agent\":\"Google-Cloud-Scheduler\",\"Content-Type\":"
                              "\"application/octet-stream\"}"));
    r = create(&ts, "b",
               CRON ",\"httpTarget\":{\"uri\":\"http://127.0.0.1:9/\",\"body\":\"aGk=\",\"headers\":{\"content-type\":\"text/plain\"}}");
    assert_null(strstr(r, "octet-stream"));
    ts_stop(&ts);
}

static void ids_are_made(void **state)
{
    struct ts ts;
    ts_start(&ts);
    char first[128];
    snprintf(first, sizeof first, "%s",
             ts_json(ts_call(&ts, ERR_OK, "CreateJob", "{\"parent\":\"" L "\",\"job\":{" CRON "," HTTP "}}"), "name"));
    assert_true(strncmp(first, L "/jobs/", strlen(L "/jobs/")) == 0 && strlen(first) > strlen(L "/jobs/") + 10);
    assert_string_not_equal(ts_json(ts_call(&ts, ERR_OK, "CreateJob", "{\"parent\":\"" L "\",\"job\":{" CRON "," HTTP "}}"), "name"),
                            first);
    ts_call(&ts, ERR_OK, "GetJob", "{\"name\":\"%s\"}", first);
    ts_stop(&ts);
}

static void what_only_we_say_is_not_taken(void **state)
{
    struct ts ts;
    ts_start(&ts);
    const char *r = create(&ts, "job",
                           CRON "," HTTP ",\"state\":\"PAUSED\",\"userUpdateTime\":\"2000-01-01T00:00:00Z\",\"scheduleTime\":"
                                "\"2000-01-01T00:00:00Z\",\"lastAttemptTime\":\"2000-01-01T00:00:00Z\",\"status\":{\"code\":5}");
    assert_string_equal(ts_json(r, "state"), "ENABLED");
    assert_string_equal(ts_json(r, "userUpdateTime"), "2026-01-01T00:00:00Z");
    assert_string_equal(ts_json(r, "scheduleTime"), "2026-01-01T00:01:00Z");
    assert_null(ts_json(r, "lastAttemptTime"));
    assert_null(ts_json(r, "code"));
    r = ts_call(&ts, ERR_OK, "UpdateJob",
                "{\"job\":{\"name\":\"" J
                "\",\"state\":\"PAUSED\",\"description\":\"d\"},\"updateMask\":\"state,description,userUpdateTime,name\"}");
    assert_string_equal(ts_json(r, "state"), "ENABLED");
    assert_string_equal(ts_json(r, "description"), "d");
    ts_stop(&ts);
}

/* ---- update ---- */

static void update_with_a_mask(void **state)
{
    struct ts ts;
    ts_start(&ts);
    create(
        &ts, "job",
        CRON
        ",\"description\":\"d\",\"timeZone\":\"Europe/Berlin\",\"retryConfig\":{\"retryCount\":3},\"attemptDeadline\":\"30s\",\"httpTarget\":"
        "{\"uri\":\"http://127.0.0.1:9/\",\"body\":\"aGk=\",\"headers\":{\"a\":\"b\"},\"oidcToken\":{\"serviceAccountEmail\":\"a@b\"}}");
    fake_clock_move(&ts.fe.clock, 1500 * NS_PER_MS);
    const char *r = ts_call(&ts, ERR_OK, "UpdateJob",
                            "{\"job\":{\"name\":\"" J "\",\"schedule\":\"0 9 * * *\",\"description\":\"no\"},\"updateMask\":\"schedule\"}");
    assert_string_equal(ts_json(r, "schedule"), "0 9 * * *");
    assert_string_equal(ts_json(r, "description"), "d");
    assert_string_equal(ts_json(r, "scheduleTime"), "2026-01-01T08:00:00Z");
    assert_string_equal(ts_json(r, "userUpdateTime"), "2026-01-01T00:00:01Z");
    r = ts_call(
        &ts, ERR_OK, "UpdateJob",
        "{\"job\":{\"name\":\"" J
        "\",\"httpTarget\":{\"uri\":\"https://example.com/\"}},\"updateMask\":\"httpTarget.uri,http_target.headers,timeZone,attempt_deadline,retryConfig.retryCount\"}");
    assert_string_equal(ts_json(r, "uri"), "https://example.com/");
    assert_string_equal(ts_json(r, "body"), "aGk="); /* not named */
    assert_null(ts_json(r, "a"));                    /* named, and not given */
    assert_string_equal(ts_json(r, "timeZone"), "UTC");
    assert_string_equal(ts_json(r, "attemptDeadline"), "180s");
    assert_null(ts_json(r, "retryCount"));
    assert_string_equal(ts_json(r, "serviceAccountEmail"), "a@b");
    /* as gcloud's --clear-auth-token says it */
    r = ts_call(
        &ts, ERR_OK, "UpdateJob",
        "{\"job\":{\"name\":\"" J
        "\"},\"updateMask\":\"httpTarget.oauthToken.scope,httpTarget.oauthToken.serviceAccountEmail,httpTarget.oidcToken.audience,httpTarget.oidcToken.serviceAccountEmail\"}");
    assert_null(ts_json(r, "oidcToken"));
    /* to another kind of target */
    r = ts_call(&ts, ERR_OK, "UpdateJob", "{\"job\":{\"name\":\"" J "\"," PUBSUB "},\"updateMask\":\"pubsubTarget\"}");
    assert_null(ts_json(r, "uri"));
    assert_string_equal(ts_json(r, "topicName"), P "/topics/top");
    ts_crash(&ts);
    assert_string_equal(ts_json(ts_call(&ts, ERR_OK, "GetJob", "{\"name\":\"" J "\"}"), "topicName"), P "/topics/top");
    ts_stop(&ts);
}

static void update_without_a_mask(void **state)
{
    struct ts ts;
    ts_start(&ts);
    create(&ts, "job", CRON ",\"description\":\"d\"," HTTP);
    const char *r = ts_call(&ts, ERR_OK, "UpdateJob", "{\"job\":{\"name\":\"" J "\",\"timeZone\":\"utc\"}}"); /* what is given, no more */
    assert_string_equal(ts_json(r, "timeZone"), "utc");
    assert_string_equal(ts_json(r, "description"), "d");
    assert_string_equal(ts_json(r, "schedule"), "* * * * *");
    ts_stop(&ts);
}

/* ---- lists ---- */

static void pages(void **state)
{
    struct ts ts;
    char id[16], token[512] = "";
    ts_start(&ts);
    assert_string_equal(ts_call(&ts, ERR_OK, "ListJobs", "{\"parent\":\"" L "\"}"), "{}");
    for (int i = 0; i < 25; i++) {
        snprintf(id, sizeof id, "j%02d", i);
        create(&ts, id, CRON "," HTTP);
    }
    ts_call(&ts, ERR_OK, "CreateJob",
            "{\"parent\":\"" P "/locations/l2\",\"job\":{\"name\":\"" P "/locations/l2/jobs/x\"," CRON "," HTTP "}}");
    int seen = 0;
    do {
        const char *r = ts_call(&ts, ERR_OK, "ListJobs", "{\"parent\":\"" L "\",\"pageSize\":10,\"pageToken\":\"%s\"}", token);
        for (const char *p = r; (p = strstr(p, "\"name\":\"" L "/jobs/j")); p++, seen++) {
            snprintf(id, sizeof id, "/j%02d\"", seen);
            assert_true(strncmp(p + strlen("\"name\":\"" L "/jobs"), id, strlen(id)) == 0);
        }
        snprintf(token, sizeof token, "%s", ts_json(r, "nextPageToken") ? ts_json(r, "nextPageToken") : "");
    } while (*token);
    assert_int_equal(seen, 25);
    for (int i = 25; i < 502; i++) {
        snprintf(id, sizeof id, "j%02d", i);
        create(&ts, id, CRON "," HTTP);
    }
    const char *r = ts_call(&ts, ERR_OK, "ListJobs", "{\"parent\":\"" L "\",\"pageSize\":1000}"); /* at most 500 */
    int n = 0;
    for (const char *p = r; (p = strstr(p, "\"state\":")); p++)
        n++;
    assert_int_equal(n, 500);
    ts_stop(&ts);
}

/* A thousand jobs of a megabyte are no page: it ends early, and the next one goes on. */
static void pages_of_large_jobs_end_early(void **state)
{
    struct ts ts;
    char id[16], token[512] = "", *big;
    ts_start(&ts);
    assert_true(asprintf(&big, CRON ",\"httpTarget\":{\"uri\":\"http://127.0.0.1:9/\",\"body\":\"%s\"}", letters(1300000)) > 0);
    for (int i = 0; i < 60; i++) {
        snprintf(id, sizeof id, "j%02d", i);
        create(&ts, id, big);
    }
    free(big);
    int seen = 0, calls = 0;
    do {
        const char *r = ts_call(&ts, ERR_OK, "ListJobs", "{\"parent\":\"" L "\",\"pageToken\":\"%s\"}", token);
        for (const char *p = r; (p = strstr(p, "\"state\":")); p++)
            seen++;
        snprintf(token, sizeof token, "%s", ts_json(r, "nextPageToken") ? ts_json(r, "nextPageToken") : "");
        calls++;
    } while (*token);
    assert_int_equal(seen, 60);
    assert_in_range(calls, 3, 6);
    ts_stop(&ts);
}

static void locations(void **state)
{
    struct ts ts;
    ts_start(&ts);
    create(&ts, "job", CRON "," HTTP);
    const char *r = ts_call(&ts, ERR_OK, "@google.cloud.location.Locations/ListLocations", "{\"name\":\"" P "\"}");
    assert_non_null(strstr(r, "\"locationId\":\"europe-west1\"")); /* the server's own first */
    assert_non_null(strstr(r, "\"locationId\":\"l\""));
    assert_non_null(strstr(r, "cloud.googleapis.com/region"));
    ts_call(&ts, ERR_OK, "@google.cloud.location.Locations/GetLocation", "{\"name\":\"" L "\"}");
    ts_call(&ts, ERR_INVALID_ARGUMENT, "@google.cloud.location.Locations/GetLocation", "{\"name\":\"" P "\"}");
    ts_call(&ts, ERR_INVALID_ARGUMENT, "@google.cloud.location.Locations/ListLocations", "{\"name\":\"" P "\",\"filter\":\"x\"}");
    ts_stop(&ts);
}

/* ---- errors ---- */

#define NEW(fields) "{\"parent\":\"" L "\",\"job\":{\"name\":\"" L "/jobs/new\"," fields "}}"
#define TO(fields) "\"httpTarget\":{\"uri\":\"http://127.0.0.1:9/\"," fields "}"
#define RETRY(fields) NEW(CRON "," HTTP ",\"retryConfig\":{" fields "}")
#define UPDATE(fields, mask) "{\"job\":{\"name\":\"" J "\"" fields "},\"updateMask\":\"" mask "\"}"
#define POLICY(fields) "{\"policy\":{\"name\":\"" J "\"," fields "}}"

static const struct {
    const char *name, *method, *json;
    enum err_code want;
    const char *says;
} refused[] = {
    {"no parent", "CreateJob", "{\"job\":{" CRON "}}", ERR_INVALID_ARGUMENT, "parent"},
    {"a parent that is none", "CreateJob", "{\"parent\":\"projects/p\",\"job\":{" CRON "}}", ERR_INVALID_ARGUMENT,
     "parent: \"projects/p\""},
    {"no job", "CreateJob", "{\"parent\":\"" L "\"}", ERR_INVALID_ARGUMENT, "job: must be given"},
    {"a name elsewhere", "CreateJob", "{\"parent\":\"" L "\",\"job\":{\"name\":\"" L "2/jobs/x\"," CRON "," HTTP "}}", ERR_INVALID_ARGUMENT,
     "is not in " L},
    {"a bad id", "CreateJob", "{\"parent\":\"" L "\",\"job\":{\"name\":\"" L "/jobs/a.b\"," CRON "," HTTP "}}", ERR_INVALID_ARGUMENT,
     "letters"},
    {"a job that is there", "CreateJob", "{\"parent\":\"" L "\",\"job\":{\"name\":\"" J "\"," CRON "," HTTP "}}", ERR_ALREADY_EXISTS, J},
    {"no schedule", "CreateJob", NEW(HTTP), ERR_INVALID_ARGUMENT, "schedule: must be given"},
    {"a bad minute", "CreateJob", NEW("\"schedule\":\"61 * * * *\"," HTTP), ERR_INVALID_ARGUMENT, "minute"},
    {"four fields", "CreateJob", NEW("\"schedule\":\"* * * *\"," HTTP), ERR_INVALID_ARGUMENT, "schedule: "},
    {"an unknown zone", "CreateJob", NEW(CRON ",\"timeZone\":\"Europe/Berlim\"," HTTP), ERR_INVALID_ARGUMENT, "Europe/Berlin"},
    {"a zone that is another file", "CreateJob", NEW(CRON ",\"timeZone\":\"leapseconds\"," HTTP), ERR_INVALID_ARGUMENT,
     "time_zone: time zone 'leapseconds'"},
    {"the zone of the machine", "CreateJob", NEW(CRON ",\"timeZone\":\"localtime\"," HTTP), ERR_INVALID_ARGUMENT, "time_zone: 'localtime'"},
    {"no target", "CreateJob", NEW(CRON), ERR_INVALID_ARGUMENT, "target"},
    {"App Engine", "CreateJob", NEW(CRON ",\"appEngineHttpTarget\":{\"relativeUri\":\"/\"}"), ERR_UNIMPLEMENTED, "app_engine_http_target"},
    {"no uri", "CreateJob", NEW(CRON ",\"httpTarget\":{}"), ERR_INVALID_ARGUMENT, "http_target.uri"},
    {"an execution of no job", "CreateJob", NEW(CRON ",\"httpTarget\":{\"uri\":\"run:///jobs/j\"}"), ERR_INVALID_ARGUMENT,
     "run:///projects/PROJECT/locations/LOCATION/jobs/JOB"},
    {"an execution by GET", "CreateJob", NEW(CRON ",\"httpTarget\":{\"uri\":\"run:///" L "/jobs/j\",\"httpMethod\":\"GET\"}"),
     ERR_INVALID_ARGUMENT, "http_target.http_method"},
    {"an execution with headers", "CreateJob", NEW(CRON ",\"httpTarget\":{\"uri\":\"run:///" L "/jobs/j\",\"headers\":{\"a\":\"b\"}}"),
     ERR_INVALID_ARGUMENT, "http_target.headers"},
    {"an execution with a token", "CreateJob",
     NEW(CRON ",\"httpTarget\":{\"uri\":\"run:///" L "/jobs/j\",\"oidcToken\":{\"serviceAccountEmail\":\"a@b.c\"}}"), ERR_INVALID_ARGUMENT,
     "takes no token"},
    {"an execution of nonsense", "CreateJob", NEW(CRON ",\"httpTarget\":{\"uri\":\"run:///" L "/jobs/j\",\"body\":\"Ww==\"}"),
     ERR_INVALID_ARGUMENT, "http_target.body"},
    {"a uri of another kind", "CreateJob", NEW(CRON ",\"httpTarget\":{\"uri\":\"ftp://x/\"}"), ERR_INVALID_ARGUMENT, "http_target.uri"},
    {"an unknown method", "CreateJob", NEW(CRON "," TO("\"httpMethod\":\"TRACE\"")), ERR_INVALID_ARGUMENT, "TRACE"},
    {"a method by a number that is none", "CreateJob", NEW(CRON "," TO("\"httpMethod\":99")), ERR_INVALID_ARGUMENT, "http_method"},
    {"a body with GET", "CreateJob", NEW(CRON "," TO("\"httpMethod\":\"GET\",\"body\":\"aGk=\"")), ERR_INVALID_ARGUMENT,
     "http_target.body"},
    {"a body with DELETE", "CreateJob", NEW(CRON "," TO("\"httpMethod\":\"DELETE\",\"body\":\"aGk=\"")), ERR_INVALID_ARGUMENT,
     "http_target.body"},
    {"a header with a space", "CreateJob", NEW(CRON "," TO("\"headers\":{\"a b\":\"c\"}")), ERR_INVALID_ARGUMENT, "\"a b\""},
    {"a header with a line break", "CreateJob", NEW(CRON "," TO("\"headers\":{\"a\":\"c\\r\\nd\"}")), ERR_INVALID_ARGUMENT,
     "headers[\"a\"]"},
    {"a token of nobody", "CreateJob", NEW(CRON "," TO("\"oidcToken\":{\"audience\":\"x\"}")), ERR_INVALID_ARGUMENT, "oidc_token"},
    {"an access token of no account", "CreateJob", NEW(CRON "," TO("\"oauthToken\":{\"serviceAccountEmail\":\"x\"}")), ERR_INVALID_ARGUMENT,
     "oauth_token"},
    {"a deadline of 14 s", "CreateJob", NEW(CRON "," HTTP ",\"attemptDeadline\":\"14.9s\""), ERR_INVALID_ARGUMENT,
     "attempt_deadline: 14.9s"},
    {"a deadline of 31 min", "CreateJob", NEW(CRON "," HTTP ",\"attemptDeadline\":\"1801s\""), ERR_INVALID_ARGUMENT, "attempt_deadline"},
    {"six retries", "CreateJob", RETRY("\"retryCount\":6"), ERR_INVALID_ARGUMENT, "retry_config.retry_count: 6; 0 to 5"},
    {"minus one retry", "CreateJob", RETRY("\"retryCount\":-1"), ERR_INVALID_ARGUMENT, "retry_config.retry_count"},
    {"a negative backoff", "CreateJob", RETRY("\"minBackoffDuration\":\"-1s\""), ERR_INVALID_ARGUMENT, "min_backoff_duration"},
    {"a negative longest backoff", "CreateJob", RETRY("\"maxBackoffDuration\":\"-1s\""), ERR_INVALID_ARGUMENT, "max_backoff_duration"},
    {"a negative retry duration", "CreateJob", RETRY("\"maxRetryDuration\":\"-1s\""), ERR_INVALID_ARGUMENT, "max_retry_duration"},
    {"a minimum above the maximum", "CreateJob", RETRY("\"minBackoffDuration\":\"20s\",\"maxBackoffDuration\":\"10s\""),
     ERR_INVALID_ARGUMENT, "longer than"},
    {"negative doublings", "CreateJob", RETRY("\"maxDoublings\":-1"), ERR_INVALID_ARGUMENT, "max_doublings"},
    {"a topic of another project", "CreateJob", NEW(CRON ",\"pubsubTarget\":{\"topicName\":\"projects/q/topics/t\",\"data\":\"aGk=\"}"),
     ERR_INVALID_ARGUMENT, P "/topics/TOPIC"},
    {"no topic", "CreateJob", NEW(CRON ",\"pubsubTarget\":{\"data\":\"aGk=\"}"), ERR_INVALID_ARGUMENT, "topic_name"},
    {"no data", "CreateJob", NEW(CRON ",\"pubsubTarget\":{\"topicName\":\"" P "/topics/t\"}"), ERR_INVALID_ARGUMENT, "data"},
    {"get nothing", "GetJob", "{\"name\":\"" L "/jobs/no\"}", ERR_NOT_FOUND, L "/jobs/no"},
    {"get a bad name", "GetJob", "{\"name\":\"x\"}", ERR_INVALID_ARGUMENT, "name: \"x\""},
    {"delete nothing", "DeleteJob", "{\"name\":\"" L "/jobs/no\"}", ERR_NOT_FOUND, "not found"},
    {"pause nothing", "PauseJob", "{\"name\":\"" L "/jobs/no\"}", ERR_NOT_FOUND, "not found"},
    {"resume nothing", "ResumeJob", "{\"name\":\"" L "/jobs/no\"}", ERR_NOT_FOUND, "not found"},
    {"resume what runs", "ResumeJob", "{\"name\":\"" J "\"}", ERR_FAILED_PRECONDITION, "must be PAUSED"},
    {"run nothing", "RunJob", "{\"name\":\"" L "/jobs/no\"}", ERR_NOT_FOUND, "not found"},
    {"list nowhere", "ListJobs", "{\"parent\":\"x\"}", ERR_INVALID_ARGUMENT, "parent"},
    {"list everywhere", "ListJobs", "{\"parent\":\"" P "/locations/-\"}", ERR_INVALID_ARGUMENT,
     "Location '-' is not a valid location. Use ListLocations"},
    {"a job everywhere", "CreateJob", "{\"parent\":\"" P "/locations/-\",\"job\":{" CRON "," HTTP "}}", ERR_INVALID_ARGUMENT,
     "Location '-'"},
    {"a negative page", "ListJobs", "{\"parent\":\"" L "\",\"pageSize\":-1}", ERR_INVALID_ARGUMENT, "pageSize"},
    {"a token of another list", "ListJobs", "{\"parent\":\"" L "\",\"pageToken\":\"xxxx\"}", ERR_INVALID_ARGUMENT, "pageToken"},
    {"update nothing", "UpdateJob", "{\"job\":{\"name\":\"" L "/jobs/no\"}}", ERR_NOT_FOUND, "not found"},
    {"update no job", "UpdateJob", "{}", ERR_INVALID_ARGUMENT, "job: must be given"},
    {"an unknown field", "UpdateJob", UPDATE("", "colour"), ERR_INVALID_ARGUMENT, "colour"},
    {"no schedule any more", "UpdateJob", UPDATE("", "schedule"), ERR_INVALID_ARGUMENT, "schedule: must be given"},
    {"a bad schedule", "UpdateJob", UPDATE(",\"schedule\":\"x\"", "schedule"), ERR_INVALID_ARGUMENT, "schedule: "},
    {"no target any more", "UpdateJob", UPDATE("", "httpTarget"), ERR_INVALID_ARGUMENT, "target"},
    {"a policy of nothing", "Schedules/GetJobPolicy", "{\"name\":\"" L "/jobs/no\"}", ERR_NOT_FOUND, "not found"},
    {"no policy", "Schedules/UpdateJobPolicy", "{}", ERR_INVALID_ARGUMENT, "policy: must be given"},
    {"update a policy of nothing", "Schedules/UpdateJobPolicy", "{\"policy\":{\"name\":\"" L "/jobs/no\"}}", ERR_NOT_FOUND, "not found"},
    {"an unknown policy", "Schedules/UpdateJobPolicy", POLICY("\"missed\":\"MAYBE\""), ERR_INVALID_ARGUMENT, "MAYBE"},
    {"a policy by a number that is none", "Schedules/UpdateJobPolicy", POLICY("\"missed\":9"), ERR_INVALID_ARGUMENT, "policy.missed"},
    {"an overlap by a number that is none", "Schedules/UpdateJobPolicy", POLICY("\"overlap\":9"), ERR_INVALID_ARGUMENT, "policy.overlap"},
    {"101 made up", "Schedules/UpdateJobPolicy", POLICY("\"missedLimit\":101"), ERR_INVALID_ARGUMENT, "missed_limit: 101"},
    {"a jitter of more than an hour", "Schedules/UpdateJobPolicy", POLICY("\"jitter\":\"3601s\""), ERR_INVALID_ARGUMENT, "policy.jitter"},
    {"an end before the start", "Schedules/UpdateJobPolicy",
     POLICY("\"startTime\":\"2026-02-01T00:00:00Z\",\"endTime\":\"2026-01-01T00:00:00Z\""), ERR_INVALID_ARGUMENT, "end_time"},
    {"next of nothing", "Schedules/NextFirings", "{\"name\":\"" L "/jobs/no\"}", ERR_NOT_FOUND, "not found"},
    {"too many next", "Schedules/NextFirings", "{\"name\":\"" J "\",\"count\":1001}", ERR_INVALID_ARGUMENT, "count: 1001"},
    {"less than none", "Schedules/NextFirings", "{\"name\":\"" J "\",\"count\":-1}", ERR_INVALID_ARGUMENT, "count: -1"},
};

static void each_error(void **state)
{
    struct ts ts;
    ts_start(&ts);
    create(&ts, "job", CRON "," HTTP);
    size_t steps = ts.store_steps;
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        const char *r = ts_call(&ts, refused[i].want, refused[i].method, "%s", refused[i].json);
        if (!strstr(r, refused[i].says))
            fail_msg("case \"%s\": \"%s\" does not say \"%s\"", refused[i].name, r, refused[i].says);
    }
    assert_int_equal(ts.store_steps, steps); /* nothing was half made */
    ts_stop(&ts);
}

static void sizes(void **state)
{
    struct ts ts;
    ts_start(&ts);
    ts_call(&ts, ERR_OK, "CreateJob", NEW(CRON "," HTTP ",\"description\":\"%s\""), letters(500));
    ts_call(&ts, ERR_INVALID_ARGUMENT, "UpdateJob", "{\"job\":{\"name\":\"" L "/jobs/new\",\"description\":\"%s\"}}", letters(501));
    ts_call(&ts, ERR_OK, "CreateJob", "{\"parent\":\"" L "\",\"job\":{\"name\":\"" L "/jobs/%s\"," CRON "," HTTP "}}", letters(500));
    ts_call(&ts, ERR_INVALID_ARGUMENT, "CreateJob", "{\"parent\":\"" L "\",\"job\":{\"name\":\"" L "/jobs/%s\"," CRON "," HTTP "}}",
            letters(501));
    ts_call(&ts, ERR_INVALID_ARGUMENT, "UpdateJob", "{\"job\":{\"name\":\"" L "/jobs/new\"," TO("\"headers\":{\"a\":\"%s\"}") "}}",
            letters(80 * 1024));
    ts_call(&ts, ERR_OK, "UpdateJob", "{\"job\":{\"name\":\"" L "/jobs/new\"," TO("\"headers\":{\"a\":\"%s\"}") "}}",
            letters(80 * 1024 - 2));
    ts_call(&ts, ERR_INVALID_ARGUMENT, "UpdateJob", "{\"job\":{\"name\":\"" L "/jobs/new\",\"httpTarget\":{\"uri\":\"http://x/%s\"}}}",
            letters(2083));
    const char *r = ts_call(&ts, ERR_INVALID_ARGUMENT, "UpdateJob", "{\"job\":{\"name\":\"" L "/jobs/new\"," TO("\"body\":\"%s\"") "}}",
                            letters(1500000));
    assert_non_null(strstr(r, "1 MB"));
    ts_call(&ts, ERR_OK, "UpdateJob", "{\"job\":{\"name\":\"" L "/jobs/new\"," TO("\"body\":\"%s\"") "}}", letters(1300000));
    ts_stop(&ts);
}

static void one_change_at_a_time(void **state)
{
    struct ts ts;
    ts_start(&ts);
    create(&ts, "job", CRON "," HTTP);
    ts.store_stands = true;
    ts_begin(&ts, "PauseJob", "{\"name\":\"" J "\"}");
    ts_begin(&ts, "CreateJob", "{\"parent\":\"" L "\",\"job\":{\"name\":\"" L "/jobs/new\"," CRON "," HTTP "}}");
    ts_call(&ts, ERR_ABORTED, "DeleteJob", "{\"name\":\"" J "\"}");
    ts_call(&ts, ERR_NOT_FOUND, "GetJob", "{\"name\":\"" L "/jobs/new\"}");
    ts_call(&ts, ERR_ABORTED, "CreateJob", NEW(CRON "," HTTP));
    assert_string_equal(ts_json(ts_call(&ts, ERR_OK, "GetJob", "{\"name\":\"" J "\"}"), "state"), "ENABLED"); /* nobody sees it yet */
    ts.store_stands = false;
    ts_run(&ts);
    assert_string_equal(ts_json(ts_call(&ts, ERR_OK, "GetJob", "{\"name\":\"" J "\"}"), "state"), "PAUSED");
    ts_call(&ts, ERR_OK, "GetJob", "{\"name\":\"" L "/jobs/new\"}");
    ts_stop(&ts);
}

static void a_full_disk(void **state)
{
    struct ts ts;
    ts_start(&ts);
    create(&ts, "job", CRON "," HTTP);
    ts.store_fails = ERR_RESOURCE_EXHAUSTED;
    ts_call(&ts, ERR_RESOURCE_EXHAUSTED, "CreateJob", NEW(CRON "," HTTP));
    ts_call(&ts, ERR_RESOURCE_EXHAUSTED, "PauseJob", "{\"name\":\"" J "\"}");
    ts_call(&ts, ERR_RESOURCE_EXHAUSTED, "DeleteJob", "{\"name\":\"" J "\"}");
    ts_call(&ts, ERR_RESOURCE_EXHAUSTED, "RunJob", "{\"name\":\"" J "\"}");
    ts.store_fails = ERR_OK;
    ts_call(&ts, ERR_NOT_FOUND, "GetJob", "{\"name\":\"" L "/jobs/new\"}");
    assert_string_equal(ts_json(ts_call(&ts, ERR_OK, "GetJob", "{\"name\":\"" J "\"}"), "state"), "ENABLED");
    ts_call(&ts, ERR_OK, "CreateJob", NEW(CRON "," HTTP));
    ts_stop(&ts);
}

/* ---- ours ---- */

static void policies(void **state)
{
    struct ts ts;
    ts_start(&ts);
    create(&ts, "job", CRON "," HTTP);
    assert_string_equal(ts_call(&ts, ERR_OK, "Schedules/GetJobPolicy", "{\"name\":\"" J "\"}"),
                        "{\"name\":\"" J "\",\"missed\":\"ONCE\",\"missedLimit\":100,\"overlap\":\"FORBID\"}");
    ts_call(&ts, ERR_OK, "Schedules/UpdateJobPolicy",
            POLICY("\"missed\":\"ALL\",\"jitter\":\"30s\",\"startTime\":\"2026-01-02T00:00:00Z\""));
    const char *want = "{\"name\":\"" J "\",\"missed\":\"ALL\",\"missedLimit\":100,\"overlap\":\"FORBID\",\"jitter\":\"30s\","
                       "\"startTime\":\"2026-01-02T00:00:00Z\"}";
    assert_string_equal(ts_call(&ts, ERR_OK, "Schedules/GetJobPolicy", "{\"name\":\"" J "\"}"), want);
    ts_crash(&ts);
    assert_string_equal(ts_call(&ts, ERR_OK, "Schedules/GetJobPolicy", "{\"name\":\"" J "\"}"), want);
    const char *r = ts_call(&ts, ERR_OK, "Schedules/UpdateJobPolicy",
                            "{\"policy\":{\"name\":\"" J "\",\"overlap\":\"ALLOW\"},\"updateMask\":\"missed,overlap,start_time\"}");
    assert_string_equal(r, "{\"name\":\"" J "\",\"missed\":\"ONCE\",\"missedLimit\":100,\"overlap\":\"ALLOW\",\"jitter\":\"30s\"}");
    ts_call(&ts, ERR_OK, "DeleteJob", "{\"name\":\"" J "\"}"); /* and the policy with it */
    create(&ts, "job", CRON "," HTTP);
    assert_string_equal(ts_json(ts_call(&ts, ERR_OK, "Schedules/GetJobPolicy", "{\"name\":\"" J "\"}"), "overlap"), "FORBID");
    ts_stop(&ts);
}

static void what_comes_next(void **state)
{
    struct ts ts;
    ts_start(&ts);
    create(&ts, "job", "\"schedule\":\"30 2 28-30 3 *\",\"timeZone\":\"Europe/Berlin\"," HTTP);
    const char *r = ts_call(&ts, ERR_OK, "Schedules/NextFirings", "{\"name\":\"" J "\",\"count\":3}");
    assert_non_null(strstr(r, "\"localTime\":\"2026-03-28T02:30:00+01:00\""));
    assert_non_null(strstr(r, "\"localTime\":\"2026-03-29T03:00:00+02:00\"")); /* 02:30 does not exist on that day */
    assert_non_null(strstr(r, "\"note\":\"for 02:30, which does not exist"));
    assert_non_null(strstr(r, "\"localTime\":\"2026-03-30T02:30:00+02:00\""));
    assert_non_null(strstr(r, "\"text\":\"At 02:30"));
    assert_string_equal(ts_json(r, "timeZone"), "Europe/Berlin");
    ts_call(&ts, ERR_OK, "Schedules/UpdateJobPolicy", POLICY("\"endTime\":\"2026-03-29T00:00:00Z\",\"jitter\":\"10s\""));
    r = ts_call(&ts, ERR_OK, "Schedules/NextFirings", "{\"name\":\"" J "\"}");
    assert_null(strstr(r, "2026-03-30"));
    assert_string_not_equal(ts_json(r, "startTime"), ts_json(r, "scheduleTime"));
    ts_call(&ts, ERR_OK, "PauseJob", "{\"name\":\"" J "\"}"); /* what it would do */
    assert_non_null(strstr(ts_call(&ts, ERR_OK, "Schedules/NextFirings", "{\"name\":\"" J "\"}"), "2026-03-28"));
    ts_stop(&ts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(http_defaults),
        cmocka_unit_test(pubsub_defaults),
        cmocka_unit_test(headers_and_body),
        cmocka_unit_test(ids_are_made),
        cmocka_unit_test(what_only_we_say_is_not_taken),
        cmocka_unit_test(update_with_a_mask),
        cmocka_unit_test(update_without_a_mask),
        cmocka_unit_test(pages),
        cmocka_unit_test(pages_of_large_jobs_end_early),
        cmocka_unit_test(locations),
        cmocka_unit_test(each_error),
        cmocka_unit_test(sizes),
        cmocka_unit_test(one_change_at_a_time),
        cmocka_unit_test(a_full_disk),
        cmocka_unit_test(policies),
        cmocka_unit_test(what_comes_next),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

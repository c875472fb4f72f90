/** test_task_api.c: the methods of tasks, and ours: batches, dead letters, timelines, settings, figures. Through the registry, on a fake
 *  clock and an in-memory store. */
#include "broker/queues.h"
#include "tests/unit/tasks_fixture.h"

/* ---- tasks ---- */

static void a_task_is_kept_as_it_was_given(void **state)
{
    struct tb tb;
    setup(&tb, "");
    fake_clock_move(&tb.fe.clock, 1234567890);
    const char *r = tb_call(
        &tb, ERR_OK, CREATE_TASK,
        NEW_TASK("\"name\":\"" TASKS "t-1_A\",\"scheduleTime\":\"2026-01-01T02:00:00.123456789Z\",\"dispatchDeadline\":\"30.000999999s\","
                 "\"dispatchCount\":7,\"responseCount\":7,\"view\":\"FULL\",\"createTime\":\"2020-01-01T00:00:00Z\","
                 "\"httpRequest\":{\"url\":\"http://127.0.0.1:9/hook\",\"httpMethod\":\"PUT\",\"body\":\"eyJhIjoxfQ==\","
                 "\"headers\":{\"X-Mixed-Case\":\"b\",\"Host\":\"evil\",\"content-length\":\"3\",\"X-Google-Foo\":\"1\","
                 "\"x-appengine-bar\":\"1\",\"X-CloudTasks-TaskName\":\"x\",\"Transfer-Encoding\":\"chunked\","
                 "\"User-Agent\":\"mine\"},"
                 "\"oidcToken\":{\"serviceAccountEmail\":\"sa@p\",\"audience\":\"aud\"}}"));
    assert_string_equal(
        r, "{\"name\":\"" TASKS "t-1_A\",\"httpRequest\":{\"url\":\"http://127.0.0.1:9/hook\",\"httpMethod\":\"PUT\","
           "\"headers\":{\"X-Mixed-Case\":\"b\",\"User-Agent\":\"Google-Cloud-Tasks\"},"
           "\"oidcToken\":{\"serviceAccountEmail\":\"sa@p\",\"audience\":\"aud\"}},\"scheduleTime\":\"2026-01-01T02:00:00.123456Z\","
           "\"createTime\":\"2026-01-01T00:00:01Z\",\"dispatchDeadline\":\"30s\",\"view\":\"BASIC\"}");
    says(tb_call(&tb, ERR_OK, CREATE_TASK, NEW_TASK("\"httpRequest\":{\"url\":\"http://a/\u00fc b?q={}%%\"}")),
         "\"url\":\"http://a/%C3%BC%20b?q=%7B%7D%25\"");
    tb_restart(&tb, true);
    r = tb_call(&tb, ERR_OK, "CloudTasks/GetTask", "{\"name\":\"" TASKS "t-1_A\",\"responseView\":\"FULL\"}");
    assert_string_equal(tb_json(r, "body", 0), "eyJhIjoxfQ==");
    assert_string_equal(tb_json(r, "view", 0), "FULL");
    assert_null(tb_json(tb_call(&tb, ERR_OK, "CloudTasks/GetTask", "{\"name\":\"" TASKS "t-1_A\"}"), "body", 0));
    assert_null(tb_json(tb_call(&tb, ERR_OK, "CloudTasks/ListTasks", "{\"parent\":\"" QUEUE "\"}"), "body", 0));
    assert_non_null(
        tb_json(tb_call(&tb, ERR_OK, "CloudTasks/ListTasks", "{\"parent\":\"" QUEUE "\",\"responseView\":\"FULL\"}"), "body", 0));
    r = tb_call(&tb, ERR_ALREADY_EXISTS, CREATE_TASK, NEW_TASK("\"name\":\"" TASKS "t-1_A\"," HTTP));
    assert_string_equal(r, "Requested entity already exists");
    tb_stop(&tb);
}

static void a_task_without_a_name_gets_a_number(void **state)
{
    struct tb tb;
    setup(&tb, "");
    tb_call(&tb, ERR_OK, "CloudTasks/PauseQueue", "{\"name\":\"" QUEUE "\"}");
    fake_clock_move(&tb.fe.clock, 1500);
    const char *r = tb_call(&tb, ERR_OK, CREATE_TASK, NEW_TASK("\"scheduleTime\":\"2020-01-01T00:00:00Z\"," HTTP));
    const char *id = strrchr(tb_json(r, "name", 0), '/') + 1;
    assert_true(strlen(id) >= 18 && strspn(id, "0123456789") == strlen(id));
    assert_string_equal(tb_json(r, "scheduleTime", 0), "2026-01-01T00:00:00.000001Z"); /* the past is now */
    assert_string_equal(tb_json(r, "dispatchDeadline", 0), "600s");
    assert_string_equal(tb_json(r, "httpMethod", 0), "POST");
    r = tb_call(&tb, ERR_OK, CREATE_TASK,
                "{\"parent\":\"" QUEUE "\",\"responseView\":\"FULL\",\"task\":{\"httpRequest\":{\"url\":"
                "\"http://127.0.0.1:9/\",\"body\":\"eA==\"}}}");
    assert_string_equal(tb_json(r, "body", 0), "eA==");
    assert_int_equal(tb_count(tb_call(&tb, ERR_OK, "CloudTasks/ListTasks", "{\"parent\":\"" QUEUE "\"}"), "\"name\""), 2);
    tb_stop(&tb);
}

/* A base64 body of `n` bytes of zero. */
static char *big_body(size_t n)
{
    size_t len = (n + 2) / 3 * 4;
    char *text = malloc(len + 1);
    assert_non_null(text);
    memset(text, 'A', len);
    if (n % 3)
        memset(text + len - (3 - n % 3), '=', 3 - n % 3);
    text[len] = '\0';
    return text;
}

static void sizes_have_limits(void **state)
{
    struct tb tb;
    setup(&tb, "");
    tb_call(&tb, ERR_OK, "CloudTasks/PauseQueue", "{\"name\":\"" QUEUE "\"}");
    /* What the stored proto takes beside the body is found by trying: the limit is sharp. */
    size_t low = 1000000, high = 1048569;
    while (low < high) {
        size_t mid = (low + high + 1) / 2;
        char *body = big_body(mid), *json;
        assert_true(asprintf(&json, NEW_TASK("\"name\":\"" TASKS "big%zu\",\"httpRequest\":{\"url\":\"http://a/\",\"body\":\"%s\"}"), mid,
                             body) > 0);
        struct tb_call *c = tb_begin(&tb, CREATE_TASK, json);
        tb_run(&tb);
        assert_true(c->done);
        if (c->call.err.code == ERR_OK)
            low = mid;
        else
            high = mid - 1;
        if (c->call.err.code != ERR_OK)
            says(c->text, "Task size too large");
        tb_end(c);
        free(body);
        free(json);
    }
    assert_true(low > 1048569 - 300 && low < 1048569 - 100);
    char url[2100] = "http://a/", value[82000];
    memset(url + 9, 'x', 2083 - 9);
    tb_call(&tb, ERR_OK, CREATE_TASK, NEW_TASK("\"httpRequest\":{\"url\":\"%s\"}"), url);
    url[2083] = 'x';
    says(tb_call(&tb, ERR_INVALID_ARGUMENT, CREATE_TASK, NEW_TASK("\"httpRequest\":{\"url\":\"%s\"}"), url),
         "2084 characters when encoded; at most 2083");
    memset(value, 'v', sizeof value);
    value[80 * 1024 - 2] = '\0'; /* and the name has one byte */
    tb_call(&tb, ERR_OK, CREATE_TASK, NEW_HTTP("\"headers\":{\"a\":\"%s\"}"), value);
    value[80 * 1024 - 2] = 'v';
    value[80 * 1024 - 1] = '\0';
    says(tb_call(&tb, ERR_INVALID_ARGUMENT, CREATE_TASK, NEW_HTTP("\"headers\":{\"a\":\"%s\"}"), value), "81920 bytes");
    char id[502];
    memset(id, 'i', sizeof id);
    id[500] = '\0';
    tb_call(&tb, ERR_OK, CREATE_TASK, NEW_TASK("\"name\":\"" TASKS "%s\"," HTTP), id);
    id[500] = 'i';
    id[501] = '\0';
    says(tb_call(&tb, ERR_INVALID_ARGUMENT, CREATE_TASK, NEW_TASK("\"name\":\"" TASKS "%s\"," HTTP), id), "task.name");
    id[100] = '\0';
    tb_call(&tb, ERR_OK, CREATE_QUEUE, "{\"parent\":\"" LOC "\",\"queue\":{\"name\":\"" LOC "/queues/%s\"}}", id);
    id[100] = 'i';
    id[101] = '\0';
    says(tb_call(&tb, ERR_INVALID_ARGUMENT, CREATE_QUEUE, "{\"parent\":\"" LOC "\",\"queue\":{\"name\":\"" LOC "/queues/%s\"}}", id),
         "1 to 100");
    tb_stop(&tb);
}

static void too_many_headers(void **state)
{
    struct tb tb;
    setup(&tb, "");
    char headers[4096] = "";
    for (size_t i = 0; i < 101; i++)
        snprintf(headers + strlen(headers), sizeof headers - strlen(headers), "%s\"h%zu\":\"v\"", i ? "," : "", i);
    says(tb_call(&tb, ERR_INVALID_ARGUMENT, CREATE_TASK, NEW_HTTP("\"headers\":{%s}"), headers), "101 headers; at most 100");
    char key[300];
    memset(key, 'k', sizeof key);
    key[257] = '\0';
    says(tb_call(&tb, ERR_INVALID_ARGUMENT, CREATE_TASK, NEW_HTTP("\"headers\":{\"Runnel-Fair-Key\":\"%s\"}"), key), "at most 256");
    key[256] = '\0';
    tb_call(&tb, ERR_OK, CREATE_TASK, NEW_HTTP("\"headers\":{\"Runnel-Fair-Key\":\"%s\"}"), key);
    tb_stop(&tb);
}

static void key_and_priority_come_from_headers(void **state)
{
    struct tb tb;
    setup(&tb, "");
    tb_call(&tb, ERR_OK, CREATE_TASK, NEW_HTTP("\"headers\":{\"runnel-fair-key\":\"customer 7\",\"RUNNEL-PRIORITY\":\"9\"}"));
    tb_advance(&tb, NS_PER_S);
    assert_int_equal(tb.tasks.n, 1);
    const TaskRecord *r = tb.tasks.runs[0]->record;
    assert_string_equal(r->fair_key, "customer 7");
    assert_int_equal(r->priority, 9);
    assert_false(r->named);
    assert_int_equal(r->task->http_request->n_headers, 3); /* they travel on */
    assert_string_equal(r->task->http_request->headers[0]->key, "runnel-fair-key");
    tb_settle(&tb, 0, 200);
    tb_stop(&tb);
}

static void the_future_may_be_made_longer(void **state)
{
    static const struct {
        const char *name;
        int64_t max_ns;
        const char *time;
        enum err_code want;
    } cases[] = {
        {"30 days are allowed", 0, "2026-01-31T00:00:00Z", ERR_OK},
        {"and no more", 0, "2026-01-31T00:00:01Z", ERR_INVALID_ARGUMENT},
        {"60 days when so told", 60 * DAY_NS, "2026-03-02T00:00:00Z", ERR_OK},
        {"and no more either", 60 * DAY_NS, "2026-03-02T00:00:01Z", ERR_INVALID_ARGUMENT},
        {"any time when so told", -1, "2199-01-01T00:00:00Z", ERR_OK},
        {"an hour when so told", 3600 * NS_PER_S, "2026-01-01T01:00:01Z", ERR_INVALID_ARGUMENT},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct tb tb;
        tb_start_with(&tb, &(struct queues_config){.max_schedule_ns = cases[i].max_ns});
        make_queue(&tb, "");
        tb_call(&tb, cases[i].want, CREATE_TASK, NEW_TASK("\"scheduleTime\":\"%s\"," HTTP), cases[i].time);
        tb_stop(&tb);
    }
}

static void tasks_are_listed_run_and_deleted(void **state)
{
    struct tb tb;
    setup(&tb, "");
    static const char *const ids[] = {"a", "b", "c", "d", "e"};
    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        make_task(&tb, ids[i]);
    char seen[512];
    list_all(&tb, "CloudTasks/ListTasks", QUEUE, seen, sizeof seen);
    assert_string_equal(seen, "/a/b/c/d/e");
    const char *r = tb_call(&tb, ERR_OK, "CloudTasks/RunTask", "{\"name\":\"" TASKS "b\"}");
    assert_string_equal(tb_json(r, "name", 0), TASKS "b");
    tb_advance(&tb, NS_PER_S);
    assert_int_equal(tb.tasks.n, 1);
    tb_settle(&tb, 0, 200);
    tb_run(&tb);
    assert_string_equal(tb_call(&tb, ERR_OK, "CloudTasks/DeleteTask", "{\"name\":\"" TASKS "c\"}"), "{}");
    tb_call(&tb, ERR_NOT_FOUND, "CloudTasks/DeleteTask", "{\"name\":\"" TASKS "c\"}");
    tb_call(&tb, ERR_NOT_FOUND, "CloudTasks/RunTask", "{\"name\":\"" TASKS "b\"}");
    tb_call(&tb, ERR_ALREADY_EXISTS, CREATE_TASK, NEW_TASK("\"name\":\"" TASKS "c\"," HTTP)); /* remembered for an hour */
    assert_int_equal(tb_count(tb_call(&tb, ERR_OK, "CloudTasks/ListTasks", "{\"parent\":\"" QUEUE "\"}"), "\"name\""), 3);
    tb_stop(&tb);
}

static void pages_of_large_tasks_end_early(void **state)
{
    struct tb tb;
    setup(&tb, "");
    tb_call(&tb, ERR_OK, "CloudTasks/PauseQueue", "{\"name\":\"" QUEUE "\"}");
    char *body = big_body(1000000);
    for (int i = 0; i < 30; i++)
        tb_call(&tb, ERR_OK, CREATE_TASK, NEW_TASK("\"name\":\"" TASKS "t%02d\",\"httpRequest\":{\"url\":\"http://a/\",\"body\":\"%s\"}"),
                i, body);
    free(body);
    size_t seen = 0, pages = 0;
    for (char *token = strdup(""); token; pages++) {
        const char *r = tb_call(&tb, ERR_OK, "CloudTasks/ListTasks",
                                "{\"parent\":\"" QUEUE "\",\"responseView\":\"FULL\",\"pageToken\":\"%s\"}", token);
        seen += tb_count(r, "\"name\"");
        free(token);
        token = tb_json(r, "nextPageToken", 0) ? strdup(tb_json(r, "nextPageToken", 0)) : NULL;
    }
    assert_int_equal(seen, 30);
    assert_true(pages > 1 && pages < 10);
    tb_stop(&tb);
}

static void a_batch_has_a_result_for_each(void **state)
{
    struct tb tb;
    setup(&tb, "");
    make_task(&tb, "taken");
    struct tb_call *c = tb_begin(&tb, "Tasks/BatchCreateTasks",
                                 "{\"parent\":\"" QUEUE "\",\"tasks\":[{\"name\":\"" TASKS "one\"," HTTP "},{\"name\":\"" TASKS
                                 "taken\"," HTTP "},{\"dispatchDeadline\":\"1s\"," HTTP "},{},{" HTTP "}]}");
    assert_false(c->done); /* only when all are durable */
    tb_run(&tb);
    assert_true(c->done);
    assert_int_equal(c->call.err.code, ERR_OK);
    says(c->text, "{\"results\":[{\"task\":{\"name\":\"" TASKS "one\"");
    says(c->text, "},{\"error\":{\"code\":6,\"message\":\"Requested entity already exists\"}},"
                  "{\"error\":{\"code\":3,\"message\":\"task.dispatch_deadline: 1s; 15s to 1800s are allowed\"}},"
                  "{\"error\":{\"code\":3,\"message\":\"task.http_request: must be given\"}},{\"task\":{\"name\":\"" TASKS);
    assert_int_equal(tb_count(c->text, "\"task\":"), 2);
    tb_end(c);
    struct buf b;
    buf_init(&b, 1 << 20);
    assert_int_equal(buf_addz(&b, "{\"parent\":\"" QUEUE "\",\"tasks\":["), 0);
    for (int i = 0; i < 1001; i++)
        assert_int_equal(buf_addz(&b, i ? ",{" HTTP "}" : "{" HTTP "}"), 0);
    assert_int_equal(buf_addz(&b, "]}"), 0);
    says(tb_call(&tb, ERR_INVALID_ARGUMENT, "Tasks/BatchCreateTasks", "%s", buf_cstr(&b)), "tasks: 1001; 1 to 1000");
    buf_fini(&b);
    c = tb_begin(&tb, "Tasks/BatchCreateTasks", "{\"parent\":\"" QUEUE "\",\"tasks\":[{},{}]}");
    assert_true(c->done); /* nothing to wait for */
    assert_int_equal(tb_count(c->text, "\"code\":3"), 2);
    tb_end(c);
    tb_stop(&tb);
}

/* ---- dead letters, timelines, settings, figures ---- */

static void kill_task(struct tb *tb, const char *id)
{
    tb->tasks.status = 503;
    tb_call(tb, ERR_OK, CREATE_TASK, NEW_TASK("\"name\":\"" TASKS "%s\",\"httpRequest\":{\"url\":\"http://a/\",\"body\":\"eA==\"}"), id);
    tb_advance(tb, 600 * NS_PER_S);
    tb_call(tb, ERR_NOT_FOUND, "CloudTasks/GetTask", "{\"name\":\"" TASKS "%s\"}", id);
    tb->tasks.status = 0;
}

static void dead_letters_are_kept_and_put_back(void **state)
{
    struct tb tb;
    setup(&tb, ",\"retryConfig\":{\"maxAttempts\":2,\"minBackoff\":\"1s\"}");
    kill_task(&tb, "abc");
    kill_task(&tb, "abd");
    const char *r = tb_call(&tb, ERR_OK, "Tasks/ListDeadTasks", "{\"parent\":\"" QUEUE "\"}");
    assert_int_equal(tb_count(r, "\"deadTime\""), 2);
    assert_string_equal(tb_json(r, "name", 0), TASKS "abc");
    assert_string_equal(tb_json(r, "body", 0), "eA==");
    assert_string_equal(tb_json(r, "view", 0), "FULL");
    says(r, "\"expireTime\":\"2026-01-08T");
    r = tb_call(&tb, ERR_OK, "Tasks/ListDeadTasks", "{\"parent\":\"" QUEUE "\",\"pageSize\":1}");
    char *token = strdup(tb_json(r, "nextPageToken", 0));
    says(tb_call(&tb, ERR_INVALID_ARGUMENT, "CloudTasks/ListTasks", "{\"parent\":\"" QUEUE "\",\"pageToken\":\"%s\"}", token), "pageToken");
    r = tb_call(&tb, ERR_OK, "Tasks/ListDeadTasks", "{\"parent\":\"" QUEUE "\",\"pageSize\":1,\"pageToken\":\"%s\"}", token);
    free(token);
    assert_string_equal(tb_json(r, "name", 0), TASKS "abd");
    assert_null(tb_json(r, "nextPageToken", 0));
    r = tb_call(&tb, ERR_OK, "Tasks/GetTaskTimeline", "{\"name\":\"" TASKS "abc\"}");
    says(r, "\"dead\":true");
    assert_int_equal(tb_count(r, "\"type\":\"CREATED\""), 1);
    assert_int_equal(tb_count(r, "\"type\":\"ATTEMPT\""), 2);
    assert_int_equal(tb_count(r, "\"httpStatus\":503"), 2);
    assert_int_equal(tb_count(r, "\"type\":\"DEAD\""), 1);
    tb_call(&tb, ERR_NOT_FOUND, "Tasks/GetTaskTimeline", "{\"name\":\"" TASKS "abb\"}");
    tb_call(&tb, ERR_NOT_FOUND, "Tasks/GetTaskTimeline", "{\"name\":\"" TASKS "ab\"}");
    r = tb_call(&tb, ERR_OK, "Tasks/GetQueueStats", "{\"name\":\"" QUEUE "\"}");
    assert_string_equal(tb_json(r, "deadCount", 0), "2");
    r = tb_call(&tb, ERR_OK, "Tasks/RedriveDeadTasks", "{\"parent\":\"" QUEUE "\",\"ids\":[\"abc\",\"none\"]}");
    assert_string_equal(tb_json(r, "redrivenCount", 0), "1");
    tb_advance(&tb, 100 * NS_PER_S);
    assert_int_equal(tb.tasks.n, 1);
    assert_string_equal(tb.tasks.runs[0]->record->task->name, TASKS "abc");
    r = tb_call(&tb, ERR_OK, "Tasks/GetTaskTimeline", "{\"name\":\"" TASKS "abc\"}");
    assert_null(strstr(r, "\"dead\""));
    assert_int_equal(tb_count(r, "\"type\":\"REDRIVEN\""), 1);
    tb_settle(&tb, 0, 200);
    tb_run(&tb);
    r = tb_call(&tb, ERR_OK, "Tasks/DeleteDeadTasks", "{\"parent\":\"" QUEUE "\",\"all\":true}");
    assert_string_equal(tb_json(r, "deletedCount", 0), "1");
    assert_string_equal(tb_call(&tb, ERR_OK, "Tasks/ListDeadTasks", "{\"parent\":\"" QUEUE "\"}"), "{}");
    tb_stop(&tb);
}

static void settings(void **state)
{
    struct tb tb;
    setup(&tb, "");
    const char *r = tb_call(&tb, ERR_OK, "Tasks/GetQueueSettings", "{\"name\":\"" QUEUE "/settings\"}");
    assert_string_equal(r, "{\"name\":\"" QUEUE "/settings\",\"deadKeep\":\"604800s\",\"deadMax\":10000}");
    r = tb_call(&tb, ERR_OK, "Tasks/UpdateQueueSettings",
                "{\"settings\":{\"name\":\"" QUEUE "/settings\",\"keyConcurrent\":2,\"deadMax\":5},\"updateMask\":\"keyConcurrent\"}");
    assert_string_equal(r, "{\"name\":\"" QUEUE "/settings\",\"keyConcurrent\":2,\"deadKeep\":\"604800s\",\"deadMax\":10000}");
    r = tb_call(&tb, ERR_OK, "Tasks/UpdateQueueSettings",
                "{\"settings\":{\"name\":\"" QUEUE "/settings\",\"deadKeep\":\"0s\"},\"updateMask\":\"dead_keep\"}");
    assert_string_equal(r, "{\"name\":\"" QUEUE "/settings\",\"keyConcurrent\":2,\"deadKeep\":\"0s\",\"deadMax\":10000}");
    tb_call(&tb, ERR_OK, "CloudTasks/UpdateQueue", "{\"queue\":{\"name\":\"" QUEUE "\"}}"); /* Google's update leaves ours alone */
    tb_restart(&tb, true);
    r = tb_call(&tb, ERR_OK, "Tasks/GetQueueSettings", "{\"name\":\"" QUEUE "/settings\"}");
    assert_string_equal(r, "{\"name\":\"" QUEUE "/settings\",\"keyConcurrent\":2,\"deadKeep\":\"0s\",\"deadMax\":10000}");
    r = tb_call(&tb, ERR_OK, "Tasks/UpdateQueueSettings", "{\"settings\":{\"name\":\"" QUEUE "/settings\",\"deadMax\":5}}");
    assert_string_equal(r, "{\"name\":\"" QUEUE "/settings\",\"deadKeep\":\"604800s\",\"deadMax\":5}"); /* without a mask: all */
    tb_stop(&tb);
}

static void figures(void **state)
{
    struct tb tb;
    setup(&tb, "");
    make_task(&tb, "later");
    tb_call(&tb, ERR_OK, CREATE_TASK, NEW_TASK("\"name\":\"" TASKS "now\"," HTTP));
    tb_advance(&tb, NS_PER_S);
    const char *r = tb_call(&tb, ERR_OK, "Tasks/GetQueueStats", "{\"name\":\"" QUEUE "\"}");
    assert_string_equal(tb_json(r, "name", 0), QUEUE);
    assert_string_equal(tb_json(r, "waitingCount", 0), "1");
    assert_string_equal(tb_json(r, "runningCount", 0), "1");
    assert_null(tb_json(r, "deadCount", 0));
    assert_non_null(tb_json(r, "dispatchesPerSecond", 0));
    assert_non_null(tb_json(r, "oldestDueTime", 0));
    tb_settle(&tb, 0, 204);
    tb_run(&tb);
    r = tb_call(&tb, ERR_OK, "Tasks/GetQueueStats", "{\"name\":\"" QUEUE "\"}");
    assert_null(tb_json(r, "runningCount", 0));
    assert_string_equal(tb_json(r, "endedLastMinuteCount", 0), "1");
    tb_stop(&tb);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_task_is_kept_as_it_was_given),
        cmocka_unit_test(a_task_without_a_name_gets_a_number),
        cmocka_unit_test(sizes_have_limits),
        cmocka_unit_test(too_many_headers),
        cmocka_unit_test(key_and_priority_come_from_headers),
        cmocka_unit_test(the_future_may_be_made_longer),
        cmocka_unit_test(tasks_are_listed_run_and_deleted),
        cmocka_unit_test(pages_of_large_tasks_end_early),
        cmocka_unit_test(a_batch_has_a_result_for_each),
        cmocka_unit_test(dead_letters_are_kept_and_put_back),
        cmocka_unit_test(settings),
        cmocka_unit_test(figures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

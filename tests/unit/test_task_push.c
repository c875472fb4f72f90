/* test_task_push.c: a task as a request: headers to the letter, as recorded from the real service, tokens, and what is settled. The
 * queue is a fake that counts as broker/queue.h says. */
#include "tests/support/unit.h"

#include "broker/queues_int.h"
#include "core/http/client.h"
#include "dispatcher/task_push.h"

#include <stdio.h>

#define TASK "projects/proj-test/locations/europe-west1/queues/my-queue/tasks/my-task"
#define ACCOUNT "caller@proj-test.iam.gserviceaccount.com"

/* ---- a queue of one task ---- */

struct queue {
    struct task_outcome outcome;
    int settled;
};
void queue_settle(struct task_run *run, const struct task_outcome *o)
{
    run->queue->outcome = *o;
    run->queue->settled++;
}

struct fixture {
    struct fake_env fe;
    struct transport transport;
    struct token_source tokens;
    struct outcalls *outcalls;
    struct task_push *tp;
    struct push_request *sent;
    int n_sent, cancelled, started;
    enum token_kind kind;
    char account[128], to[256];
    struct queue queue;
    TaskRecord record;
    Google__Cloud__Tasks__V2__Task task;
    Google__Cloud__Tasks__V2__HttpRequest http;
    Google__Cloud__Tasks__V2__OidcToken oidc;
    Google__Cloud__Tasks__V2__OAuthToken oauth;
    Google__Protobuf__Timestamp schedule, create;
    struct task_run run;
};

static void fake_send(struct transport *t, struct push_request *r)
{
    struct fixture *f = CONTAINER_OF(t, struct fixture, transport);
    f->sent = r;
    f->n_sent++;
}
static void fake_cancel(struct transport *t, struct push_request *r) { CONTAINER_OF(t, struct fixture, transport)->cancelled++; }
static const struct transport_ops fake_ops = {fake_send, fake_cancel};

static void fake_get(struct token_source *ts, enum token_kind kind, const char *account, const char *to,
                     void (*done)(void *arg, const char *token, const struct err *e), void *arg)
{
    struct fixture *f = CONTAINER_OF(ts, struct fixture, tokens);
    struct err e;
    f->kind = kind;
    snprintf(f->account, sizeof f->account, "%s", account);
    snprintf(f->to, sizeof f->to, "%s", to);
    err_set(&e, strchr(account, '@') ? ERR_UNAVAILABLE : ERR_INVALID_ARGUMENT, "no token");
    done(arg, strcmp(account, ACCOUNT) == 0 ? "a.b.c" : NULL, &e);
}

static void on_start(void *arg) { ((struct fixture *)arg)->started++; }

static void make_task(struct fixture *f)
{
    runnel__broker__task_record__init(&f->record);
    google__cloud__tasks__v2__task__init(&f->task);
    google__cloud__tasks__v2__http_request__init(&f->http);
    google__cloud__tasks__v2__oidc_token__init(&f->oidc);
    google__cloud__tasks__v2__oauth_token__init(&f->oauth);
    google__protobuf__timestamp__init(&f->schedule);
    google__protobuf__timestamp__init(&f->create);
    f->schedule.seconds = 1602727873;
    f->schedule.nanos = 950779321;
    f->create.seconds = 1602727000;
    f->http.url = (char *)"http://example.com/run";
    f->task.name = (char *)TASK;
    f->task.message_type_case = GOOGLE__CLOUD__TASKS__V2__TASK__MESSAGE_TYPE_HTTP_REQUEST;
    f->task.http_request = &f->http;
    f->task.schedule_time = &f->schedule;
    f->task.create_time = &f->create;
    f->record.task = &f->task;
    f->run = (struct task_run){.queue = &f->queue, .record = &f->record, .attempt = 1, .deadline_ns = env_now(&f->fe.env) + 600 * NS_PER_S};
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct err e = {0};
    support_env(&f->fe);
    f->transport.ops = &fake_ops;
    f->tokens.get = fake_get;
    f->outcalls = outcalls_new(&f->fe.env, &f->tokens, &e);
    f->tp = f->outcalls ? task_push_new(&f->fe.env, f->outcalls, &e) : NULL;
    assert_non_null(f->tp);
    outcalls_connect(f->outcalls, &f->transport);
    task_push_watch(f->tp, on_start, f);
    make_task(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    outcalls_free(f->outcalls);
    task_push_free(f->tp);
    support_env_fini(&f->fe);
    free(f);
    return 0;
}

static const struct outcall *start(struct fixture *f)
{
    int before = f->n_sent;
    task_push_consumer(f->tp)->start(task_push_consumer(f->tp), &f->run);
    return f->n_sent > before ? f->sent->outcall : NULL;
}

static void answer(struct fixture *f, int status, enum err_code code)
{
    f->sent->status = status;
    f->sent->sent_ns = f->sent->answered_ns = env_now(&f->fe.env);
    if (code)
        err_set(&f->sent->err, code, "no answer");
    f->sent->done(f->sent);
}

static void has_header(const char *what, const struct outcall *o, const char *name, const char *value)
{
    size_t found = 0;
    for (uint32_t i = 0; i < o->headers->n; i++)
        if (str_is(o->headers->v[i].name, name)) { /* the case counts: it is Google's */
            found++;
            CASE_TRUE(what, value && str_is(o->headers->v[i].value, value));
        }
    CASE_INT(what, found, value ? 1 : 0);
}

/* ---- headers ---- */

static void the_first_attempt_brings_six_headers(void **state)
{
    struct fixture *f = *state;
    const struct outcall *o = start(f);
    assert_non_null(o);
    assert_int_equal(f->started, 1);
    assert_true(str_is(o->method, "POST"));
    assert_true(str_is(o->user_agent, "Google-Cloud-Tasks"));
    assert_int_equal(o->headers->n, 6); /* no Content-Type of our own either */
    has_header("queue", o, "X-CloudTasks-QueueName", "my-queue");
    has_header("task", o, "X-CloudTasks-TaskName", "my-task");
    has_header("retries", o, "X-CloudTasks-TaskRetryCount", "0");
    has_header("executions", o, "X-CloudTasks-TaskExecutionCount", "0");
    has_header("eta", o, "X-CloudTasks-TaskETA", "1602727873.950779");
    has_header("event", o, "Runnel-Event-Id", "//cloudtasks.googleapis.com/" TASK "@1602727000");
    assert_int_equal(f->sent->due_ns, f->run.deadline_ns);
}

static void the_eta_is_the_schedule_time_else_when_it_was_created(void **state)
{
    struct fixture *f = *state;
    f->task.schedule_time = NULL;
    has_header("created", start(f), "X-CloudTasks-TaskETA", "1602727000.000000");
}

/* Recorded from the real service: the answers 503, 404, 429, 500, 302, and then 200. */
static void the_counts_are_those_that_the_real_service_showed(void **state)
{
    static const struct {
        const char *name;
        int answer; /* to this attempt; 0: none */
        const char *retries, *executions, *previous;
    } rows[] = {
        {"at first", 503, "0", "0", NULL},          {"a 503 does not count", 404, "1", "0", "503"},
        {"a 404 counts", 429, "2", "1", "404"},     {"a 429 counts", 500, "3", "2", "429"},
        {"a 500 does not", 302, "4", "2", "500"},   {"a redirect counts", 0, "5", "3", "302"},
        {"no answer does not", 200, "6", "3", "0"},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        f->run.attempt = (uint32_t)i + 1;
        const struct outcall *o = start(f);
        CASE_TRUE(rows[i].name, o != NULL);
        has_header(rows[i].name, o, "X-CloudTasks-TaskRetryCount", rows[i].retries);
        has_header(rows[i].name, o, "X-CloudTasks-TaskExecutionCount", rows[i].executions);
        has_header(rows[i].name, o, "X-CloudTasks-TaskPreviousResponse", rows[i].previous);
        has_header(rows[i].name, o, "X-CloudTasks-TaskRetryReason", i ? "" : NULL); /* there, and empty */
        answer(f, rows[i].answer, rows[i].answer ? ERR_OK : ERR_UNAVAILABLE);
        CASE_INT(rows[i].name, f->queue.settled, i + 1);
        CASE_INT(rows[i].name, f->queue.outcome.status, rows[i].answer);
        f->record.last_status = rows[i].answer;
        f->record.executions += rows[i].answer != 0 && rows[i].answer < 500;
    }
}

static void the_tasks_own_headers_go_along_but_not_those_that_are_ours(void **state)
{
    struct fixture *f = *state;
    Google__Cloud__Tasks__V2__HttpRequest__HeadersEntry e[] = {
        GOOGLE__CLOUD__TASKS__V2__HTTP_REQUEST__HEADERS_ENTRY__INIT, GOOGLE__CLOUD__TASKS__V2__HTTP_REQUEST__HEADERS_ENTRY__INIT,
        GOOGLE__CLOUD__TASKS__V2__HTTP_REQUEST__HEADERS_ENTRY__INIT, GOOGLE__CLOUD__TASKS__V2__HTTP_REQUEST__HEADERS_ENTRY__INIT,
        GOOGLE__CLOUD__TASKS__V2__HTTP_REQUEST__HEADERS_ENTRY__INIT};
    static const char *const given[][2] = {{"content-type", "text/plain"},
                                           {"X-Mine", "yes"},
                                           {"User-Agent", "Google-Cloud-Tasks"},
                                           {"x-cloudtasks-taskretryreason", "faked"},
                                           {"runnel-event-id", "faked"}};
    Google__Cloud__Tasks__V2__HttpRequest__HeadersEntry *list[ARRAY_LEN(e)];
    for (size_t i = 0; i < ARRAY_LEN(e); i++) {
        e[i].key = (char *)given[i][0];
        e[i].value = (char *)given[i][1];
        list[i] = &e[i];
    }
    f->http.headers = list;
    f->http.n_headers = ARRAY_LEN(e);
    f->http.http_method = GOOGLE__CLOUD__TASKS__V2__HTTP_METHOD__PUT;
    f->http.body = (ProtobufCBinaryData){5, (uint8_t *)"hello"};
    const struct outcall *o = start(f);
    assert_true(str_is(o->method, "PUT"));
    assert_true(str_is(o->body, "hello"));
    assert_int_equal(o->headers->n, 2 + 6);
    has_header("its type", o, "content-type", "text/plain");
    has_header("its own", o, "X-Mine", "yes");
}

static void every_method_of_the_interface_is_called_by_its_name(void **state)
{
    static const char *const names[] = {"POST", "POST", "GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"};
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        f->http.http_method = (Google__Cloud__Tasks__V2__HttpMethod)i;
        const struct outcall *o = start(f);
        CASE_TRUE(names[i], o && str_is(o->method, names[i]));
        answer(f, 200, ERR_OK);
    }
}

/* ---- tokens ---- */

static void tokens_are_asked_for_as_the_task_says(void **state)
{
    struct fixture *f = *state;
    f->oidc.service_account_email = f->oauth.service_account_email = (char *)ACCOUNT;
    f->http.oidc_token = &f->oidc;
    f->http.authorization_header_case = GOOGLE__CLOUD__TASKS__V2__HTTP_REQUEST__AUTHORIZATION_HEADER_OIDC_TOKEN;
    const struct outcall *o = start(f);
    assert_int_equal(f->kind, TOKEN_IDENTITY);
    assert_string_equal(f->to, "http://example.com/run");
    assert_string_equal(o->account, ACCOUNT);
    assert_true(str_is(f->sent->auth_line, PUSH_AUTH "a.b.c\r\n"));
    answer(f, 200, ERR_OK);
    f->oidc.audience = (char *)"aud";
    start(f);
    assert_string_equal(f->to, "aud");
    answer(f, 200, ERR_OK);
    f->http.oauth_token = &f->oauth;
    f->http.authorization_header_case = GOOGLE__CLOUD__TASKS__V2__HTTP_REQUEST__AUTHORIZATION_HEADER_OAUTH_TOKEN;
    start(f);
    assert_int_equal(f->kind, TOKEN_ACCESS);
    assert_string_equal(f->to, SCOPE_CLOUD_PLATFORM);
    answer(f, 200, ERR_OK);
    f->oauth.scope = (char *)"a b";
    start(f);
    assert_string_equal(f->to, "a b");
    answer(f, 200, ERR_OK);
}

static void no_token_yet_is_not_an_attempt_and_a_bad_account_is(void **state)
{
    struct fixture *f = *state;
    f->http.oidc_token = &f->oidc;
    f->http.authorization_header_case = GOOGLE__CLOUD__TASKS__V2__HTTP_REQUEST__AUTHORIZATION_HEADER_OIDC_TOKEN;
    f->oidc.service_account_email = (char *)"other@example.com";
    assert_null(start(f));
    assert_int_equal(f->queue.settled, 1);
    assert_true(f->queue.outcome.undelivered);
    f->oidc.service_account_email = (char *)"nobody";
    assert_null(start(f));
    assert_int_equal(f->queue.settled, 2);
    assert_false(f->queue.outcome.undelivered);
    assert_int_equal(f->queue.outcome.status, 0);
    assert_int_equal(f->queue.outcome.err.code, ERR_INVALID_ARGUMENT);
    assert_int_equal(f->queue.outcome.sent_wall_ns, FAKE_WALL_NS);
}

/* ---- what is settled ---- */

static void the_answer_is_told_as_it_came(void **state)
{
    struct fixture *f = *state;
    start(f);
    fake_env_advance(&f->fe, 3 * NS_PER_S);
    f->sent->retry_after_ns = 9 * NS_PER_S;
    answer(f, 429, ERR_OK);
    assert_int_equal(f->queue.settled, 1);
    assert_int_equal(f->queue.outcome.status, 429);
    assert_int_equal(f->queue.outcome.retry_after_ns, 9 * NS_PER_S);
    assert_int_equal(f->queue.outcome.sent_wall_ns, FAKE_WALL_NS + 3 * NS_PER_S);
    assert_false(f->queue.outcome.undelivered);
    assert_null(f->run.consumer_data);
}

static void a_timeout_is_told_and_what_we_lack_does_not_count(void **state)
{
    struct fixture *f = *state;
    start(f);
    answer(f, 0, ERR_DEADLINE_EXCEEDED); /* the queue takes it as a 504 */
    assert_int_equal(f->queue.outcome.err.code, ERR_DEADLINE_EXCEEDED);
    assert_false(f->queue.outcome.undelivered);
    start(f);
    answer(f, 0, ERR_RESOURCE_EXHAUSTED);
    assert_true(f->queue.outcome.undelivered);
    support_fail_alloc(1);
    assert_null(start(f));
    assert_true(support_alloc_failed());
    assert_int_equal(f->queue.settled, 3);
    assert_true(f->queue.outcome.undelivered);
}

static void a_task_that_cannot_be_made_into_a_request_has_failed(void **state)
{
    struct fixture *f = *state;
    Google__Cloud__Tasks__V2__HttpRequest__HeadersEntry one = GOOGLE__CLOUD__TASKS__V2__HTTP_REQUEST__HEADERS_ENTRY__INIT;
    Google__Cloud__Tasks__V2__HttpRequest__HeadersEntry *many[OUTCALL_FIELDS_MAX];
    one.key = (char *)"X-Mine";
    one.value = (char *)"";
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        many[i] = &one;
    f->http.headers = many;
    f->http.n_headers = ARRAY_LEN(many);
    assert_null(start(f));
    assert_int_equal(f->queue.settled, 1);
    assert_false(f->queue.outcome.undelivered);
    f->http.n_headers = 0;
    f->http.url = (char *)"http://me:pw@example.com/";
    assert_null(start(f));
    assert_int_equal(f->queue.settled, 2);
    assert_false(f->queue.outcome.undelivered);
    f->task.message_type_case = GOOGLE__CLOUD__TASKS__V2__TASK__MESSAGE_TYPE_APP_ENGINE_HTTP_REQUEST;
    assert_null(start(f));
    assert_int_equal(f->queue.settled, 3);
    assert_int_equal(f->queue.outcome.err.code, ERR_INVALID_ARGUMENT);
}

static void a_task_whose_queue_is_gone_is_called_off_and_settled_once(void **state)
{
    struct fixture *f = *state;
    struct task_consumer *c = task_push_consumer(f->tp);
    start(f);
    c->cancel(c, &f->run);
    assert_int_equal(f->cancelled, 1);
    assert_int_equal(f->queue.settled, 0);
    answer(f, 0, ERR_CANCELLED);
    assert_int_equal(f->queue.settled, 1);
    assert_true(f->queue.outcome.undelivered);
    c->cancel(c, &f->run); /* too late: nothing */
    assert_int_equal(f->queue.settled, 1);
}

static void a_queue_gets_all_the_connections_that_it_may_use(void **state)
{
    assert_true(HTTP_CLIENT_PER_TARGET_MAX > QUEUE_CONCURRENT_MAX); /* at one target, with one io thread */
    assert_true(HTTP_CLIENT_CONNECTIONS_MAX > QUEUE_CONCURRENT_MAX);
    assert_true(OUTCALLS_MAX > QUEUE_CONCURRENT_MAX);
}

int main(void)
{
#define WITH(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH(the_first_attempt_brings_six_headers),
        WITH(the_eta_is_the_schedule_time_else_when_it_was_created),
        WITH(the_counts_are_those_that_the_real_service_showed),
        WITH(the_tasks_own_headers_go_along_but_not_those_that_are_ours),
        WITH(every_method_of_the_interface_is_called_by_its_name),
        WITH(tokens_are_asked_for_as_the_task_says),
        WITH(no_token_yet_is_not_an_attempt_and_a_bad_account_is),
        WITH(the_answer_is_told_as_it_came),
        WITH(a_timeout_is_told_and_what_we_lack_does_not_count),
        WITH(a_task_that_cannot_be_made_into_a_request_has_failed),
        WITH(a_task_whose_queue_is_gone_is_called_off_and_settled_once),
        cmocka_unit_test(a_queue_gets_all_the_connections_that_it_may_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

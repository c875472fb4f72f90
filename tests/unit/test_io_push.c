/* test_io_push.c: pushes and outcalls through the io threads on real sockets: to any URL, to our own services, called off. */
#include "tests/unit/io_fixture.h"

#include "dispatcher/io.h"

static void on_policy_set(struct call *c)
{
    assert_non_null(c->reply);
    *(bool *)c->handler_data = true;
}

/* Makes the service private, and `member` its only invoker. */
static void let_in(struct fixture *f, const char *member)
{
    struct err e = {0};
    struct route_match match;
    struct arena *a = arena_new(65536);
    Google__Iam__V1__Binding binding = GOOGLE__IAM__V1__BINDING__INIT, *bindings[] = {&binding};
    Google__Iam__V1__Policy policy = GOOGLE__IAM__V1__POLICY__INIT;
    Google__Iam__V1__SetIamPolicyRequest request = GOOGLE__IAM__V1__SET_IAM_POLICY_REQUEST__INIT;
    char *members[] = {(char *)member};
    bool done = false;
    binding.role = (char *)"roles/run.invoker";
    binding.n_members = 1;
    binding.members = members;
    policy.n_bindings = 1;
    policy.bindings = bindings;
    request.resource = (char *)SERVICE;
    request.policy = &policy;
    assert_int_equal(policy_register(f->policy, f->registry, &e), 0);
    assert_int_equal(registry_match(f->registry, VERB_POST, STR("/v2/" SERVICE ":setIamPolicy"), a, &match, &e), 0);
    struct call c = {.method = match.method,
                     .service = match.service,
                     .arena = a,
                     .request = &request.base,
                     .finish = on_policy_set,
                     .handler_data = &done};
    registry_dispatch(f->registry, &c);
    store_memory_step(f->store, 1, ERR_OK);
    assert_true(done);
    arena_free(a);
    f->executor.view.invoker_iam_disabled = false;
    show_routes(f);
}

static void a_push_reaches_any_url_and_brings_its_status(void **state)
{
    struct fixture *f = *state;
    static const char *const wants[] = {
        "POST /push?x=1 HTTP/1.1\r\n",
        "Authorization: Bearer a.b.c\r\n",
        "Content-Type: application/json\r\n",
        "User-Agent: CloudPubSub-Google\r\n",
        "\"data\":\"aGVsbG8=\",\"messageId\":\"77\",\"message_id\":\"77\"",
    };
    struct instance in;
    char url[64];
    struct message *m = hello();
    instance_open(&in);
    snprintf(url, sizeof url, "http://127.0.0.1:%u/push?x=1", in.port);
    f->push.auth_line = STR(PUSH_AUTH "a.b.c\r\n");
    push(f, url, m);
    instance_accept(&in, f);
    wire_until_has(&in.wire, "s1\"}");
    for (size_t i = 0; i < ARRAY_LEN(wants); i++)
        CASE_TRUE(wants[i], wire_has(&in.wire, wants[i]));
    wire_sendz(&in.wire, "HTTP/1.1 204 No Content\r\n\r\n");
    net_until(&f->net, is_set, &f->flag, "the push is answered");
    assert_int_equal(f->push.status, 204);
    assert_true(f->push.answered_ns >= f->push.sent_ns);
    buf_clear(&in.wire.in);
    push(f, url, m);
    wire_until_has(&in.wire, "s1\"}"); /* over the same connection */
    wire_sendz(&in.wire, "HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno");
    net_until(&f->net, is_set, &f->flag, "the push is answered");
    assert_int_equal(f->push.status, 500);
    buf_clear(&in.wire.in);
    push(f, url, m);
    wire_until_has(&in.wire, "s1\"}");
    wire_sendz(&in.wire, "HTTP/1.1 102 Processing\r\n\r\n"); /* acknowledges: nothing else is waited for */
    net_until(&f->net, is_set, &f->flag, "the push is answered");
    assert_int_equal(f->push.status, 102);
    instance_close(&in);
    message_unref(m);
}

static void a_push_to_our_own_service_waits_for_its_instance(void **state)
{
    struct fixture *f = *state;
    struct instance in;
    struct message *m = hello();
    instance_open(&in);
    push(f, "http://hello.localhost:8080/events", m);
    net_until(&f->net, one_waits, f, "the push waits");
    pool_open(f->pool, in.port, INSTANCE);
    instance_accept(&in, f);
    wire_until_has(&in.wire, "s1\"}");
    assert_true(wire_has(&in.wire, "POST /events HTTP/1.1\r\n"));
    assert_true(wire_has(&in.wire, "Host: hello.localhost:8080\r\n"));
    assert_true(wire_has(&in.wire, "traceparent: 00-"));
    wire_sendz(&in.wire, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    net_until(&f->net, is_set, &f->flag, "the push is answered");
    assert_int_equal(f->push.status, 200);
    all_slots_come_back(f);
    instance_close(&in);
    message_unref(m);
}

static void a_push_of_our_invoker_comes_without_its_signature(void **state)
{
    struct fixture *f = *state;
    struct instance in;
    struct message *m = hello();
    instance_open(&in);
    pool_open(f->pool, in.port, INSTANCE);
    let_in(f, "serviceAccount:pusher@proj-test.iam.gserviceaccount.com");
    f->endpoint.account = (char *)"pusher@proj-test.iam.gserviceaccount.com";
    f->push.auth_line = STR(PUSH_AUTH "head.claims.signature\r\n");
    push(f, "http://hello.localhost/", m);
    instance_accept(&in, f);
    wire_until_has(&in.wire, "s1\"}");
    assert_true(wire_has(&in.wire, "Authorization: Bearer head.claims.SIGNATURE_REMOVED_BY_GOOGLE\r\n"));
    wire_sendz(&in.wire, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    net_until(&f->net, is_set, &f->flag, "the push is answered");
    assert_int_equal(f->push.status, 200);
    instance_close(&in);
    message_unref(m);
}

static void a_private_service_takes_pushes_of_its_invokers_only(void **state)
{
    struct fixture *f = *state;
    struct message *m = hello();
    f->executor.view.invoker_iam_disabled = false;
    show_routes(f);
    push(f, "http://hello.localhost/", m);
    net_until(&f->net, is_set, &f->flag, "the push is answered");
    assert_int_equal(f->push.status, 403);
    push(f, "http://nobody.localhost/", m);
    net_until(&f->net, is_set, &f->flag, "the push is answered");
    assert_int_equal(f->push.status, 404);
    message_unref(m);
}

struct made {
    bool done;
    char token[TOKEN_BYTES_MAX];
};

static void on_token(void *arg, const char *token, const struct err *e)
{
    struct made *m = arg;
    m->done = true;
    snprintf(m->token, sizeof m->token, "%s", token ? token : e->msg);
}

static bool key_waits_to_be_stored(void *arg) { return store_memory_queued(arg) > 0; }

static void an_invoker_with_a_good_token_comes_in(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};
    struct workers *workers = workers_start(1, &e);
    const struct identity_config c = {.issuer = "http://issuer", .project = "proj-test"};
    struct made good = {0}, other_audience = {0}, other_account = {0};
    f->identity = identity_new(&f->env, &c, f->store, workers, loop_mailbox(f->net.loop), &e);
    assert_true(f->identity && identity_load(f->identity, &e) == 0);
    net_until(&f->net, key_waits_to_be_stored, f->store, "a key is made");
    store_memory_step(f->store, 1, ERR_OK);
    struct token_source *ts = identity_source(f->identity);
    ts->get(ts, TOKEN_IDENTITY, "bob@example.com", "http://hello.localhost", on_token, &good);
    ts->get(ts, TOKEN_IDENTITY, "bob@example.com", "http://other.localhost", on_token, &other_audience);
    ts->get(ts, TOKEN_IDENTITY, "eve@example.com", "http://hello.localhost", on_token, &other_account);
    net_until(&f->net, is_set, &other_account.done, "the tokens are made");
    let_in(f, "user:bob@example.com");
    struct instance in;
    instance_open(&in);
    pool_open(f->pool, in.port, INSTANCE);
    const struct {
        const char *name, *header, *token, *more, *wants; /* `wants` NULL: it comes in */
    } cases[] = {
        {"another audience", "Authorization", other_audience.token, "", "HTTP/1.1 401"},
        {"another account", "Authorization", other_account.token, "", "HTTP/1.1 403"},
        {"the serverless header goes first", "X-Serverless-Authorization", other_account.token, "Authorization: Bearer x\r\n",
         "HTTP/1.1 403"},
        {"a good one", "X-Serverless-Authorization", good.token, "Authorization: Basic mine\r\n", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct wire w;
        char request[TOKEN_BYTES_MAX + 512];
        snprintf(request, sizeof request, "GET / HTTP/1.1\r\nHost: hello.localhost\r\n%s: Bearer %s\r\n%s\r\n", cases[i].header,
                 cases[i].token, cases[i].more);
        wire_connect(&w, &f->net, io_port(f->io));
        wire_sendz(&w, request);
        if (cases[i].wants) {
            wire_until_has(&w, cases[i].wants);
        } else {
            instance_accept(&in, f);
            wire_until_has(&in.wire, "\r\n\r\n");
            CASE_TRUE(cases[i].name, wire_has(&in.wire, ".SIGNATURE_REMOVED_BY_GOOGLE\r\n"));
            CASE_TRUE(cases[i].name, wire_has(&in.wire, "Authorization: Basic mine\r\n")); /* the application's own stays */
            CASE_TRUE(cases[i].name, !wire_has(&in.wire, strrchr(good.token, '.')));
            wire_sendz(&in.wire, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            wire_until_has(&w, "200 OK");
        }
        wire_close(&w);
    }
    all_slots_come_back(f);
    instance_close(&in);
    workers_stop(workers);
    identity_free(f->identity);
    f->identity = NULL;
}

static void a_push_can_be_called_off_while_it_waits_and_while_it_runs(void **state)
{
    struct fixture *f = *state;
    static const struct script_step plan[][SCRIPT_STEPS_MAX] = {{{"s1\"}", NULL, THEN_STAY}, {"never", NULL, THEN_STAY}}};
    struct script s;
    struct message *m = hello();
    struct transport *t = io_transport(f->io);
    script_init(&s, &f->net, plan, 1);
    push(f, "http://hello.localhost/", m);
    net_until(&f->net, one_waits, f, "the push waits");
    t->ops->cancel(t, &f->push);
    net_until(&f->net, is_set, &f->flag, "the push is over");
    assert_int_equal(f->push.status, 0);
    assert_int_equal(f->push.err.code, ERR_CANCELLED);
    net_until(&f->net, none_waits, f, "the queue is empty");
    pool_open(f->pool, s.port, INSTANCE);
    push(f, "http://hello.localhost/", m);
    net_until(&f->net, one_runs, f, "the push runs");
    t->ops->cancel(t, &f->push);
    net_until(&f->net, is_set, &f->flag, "the push is over");
    assert_int_equal(f->push.err.code, ERR_CANCELLED);
    all_slots_come_back(f);
    script_fini(&s);
    message_unref(m);
}

/* ---- outcalls ---- */

struct asked {
    struct outcall call;
    struct headers headers;
};

static void ask(struct fixture *f, struct asked *a, const char *method, const char *url, struct str body)
{
    struct err e = {0};
    a->call.method = str_of(method);
    a->call.user_agent = STR("Asker");
    a->call.headers = &a->headers;
    a->call.body = body;
    assert_int_equal(url_parse(str_of(url), &a->call.url, &e), 0);
    f->flag = false;
    f->push = (struct push_request){
        .outcall = &a->call, .due_ns = loop_now(f->net.loop) + 5 * NS_PER_S, .done = on_pushed, .arg = f, .auth_line = f->push.auth_line};
    io_transport(f->io)->ops->send(io_transport(f->io), &f->push);
}

static void add(struct asked *a, const char *name, const char *value)
{
    struct err e = {0};
    assert_int_equal(headers_add(&a->headers, str_of(name), str_of(value), &e), 0);
}

static void answered(struct fixture *f, int status)
{
    net_until(&f->net, is_set, &f->flag, "the call is answered");
    assert_int_equal(f->push.status, status);
}

static void an_outcall_is_sent_as_it_is(void **state)
{
    static const struct {
        const char *method, *body, *answer;
        int status;
        bool length; /* Content-Length is sent */
    } cases[] = {
        {"POST", "hello", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, true},
        {"POST", "", "HTTP/1.1 204 No Content\r\n\r\n", 204, true},
        {"PUT", "hello", "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 201, true},
        {"PATCH", "x", "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", 404, true},
        {"GET", "", "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n", 302, false},
        {"HEAD", "", "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", 200, false}, /* and no such body */
        {"DELETE", "", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, false},
        {"OPTIONS", "", "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", 500, false},
        {"POST", "", "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, true},
    };
    struct fixture *f = *state;
    struct asked a = {0};
    struct instance in;
    char url[64], line[64];
    instance_open(&in);
    snprintf(url, sizeof url, "http://127.0.0.1:%u/run?x=1#part", in.port);
    add(&a, "X-Mine", "yes");
    add(&a, "X-Empty", "");
    add(&a, "Authorization", "Basic mine");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ask(f, &a, cases[i].method, url, str_of(cases[i].body));
        if (i == 0)
            instance_accept(&in, f);
        else
            buf_clear(&in.wire.in); /* the same connection: each answer was read to its end */
        wire_until_has(&in.wire, "\r\n\r\n");
        if (*cases[i].body)
            wire_until_has(&in.wire, cases[i].body);
        snprintf(line, sizeof line, "%s /run?x=1 HTTP/1.1\r\n", cases[i].method);
        CASE_TRUE(cases[i].method, wire_has(&in.wire, line));
        CASE_TRUE(cases[i].method, wire_has(&in.wire, "User-Agent: Asker\r\n"));
        CASE_TRUE(cases[i].method, wire_has(&in.wire, "X-Mine: yes\r\nX-Empty: \r\n"));
        CASE_TRUE(cases[i].method, wire_has(&in.wire, "Authorization: Basic mine\r\n"));
        CASE_TRUE(cases[i].method, !wire_has(&in.wire, "Content-Type"));
        CASE_INT(cases[i].method, wire_has(&in.wire, "Content-Length"), cases[i].length);
        wire_sendz(&in.wire, cases[i].answer);
        answered(f, cases[i].status);
        assert_true(f->push.sent_ns > 0 && f->push.answered_ns >= f->push.sent_ns);
    }
    instance_close(&in);
}

static void retry_after_counts_where_it_slows(void **state)
{
    static const struct {
        const char *answer;
        int status;
        int64_t least_ns, most_ns;
    } cases[] = {
        {"429 Slow\r\nRetry-After: 7\r\n", 429, 7 * NS_PER_S, 7 * NS_PER_S},
        {"503 Slow\r\nretry-after: 120\r\n", 503, 120 * NS_PER_S, 120 * NS_PER_S},
        {"503 Slow\r\nRetry-After: 99999999999\r\n", 503, RETRY_AFTER_MAX_NS, RETRY_AFTER_MAX_NS},
        {"503 Slow\r\nRetry-After: Fri, 01 Jan 2100 00:00:00 GMT\r\n", 503, RETRY_AFTER_MAX_NS, RETRY_AFTER_MAX_NS},
        {"503 Slow\r\nRetry-After: soon\r\n", 503, 0, 0},
        {"503 Slow\r\n", 503, 0, 0},
        {"500 No\r\nRetry-After: 7\r\n", 500, 0, 0},
        {"301 There\r\nRetry-After: 7\r\n", 301, 0, 0},
    };
    struct fixture *f = *state;
    struct asked a = {0};
    struct instance in;
    char url[64], answer[160];
    instance_open(&in);
    snprintf(url, sizeof url, "http://127.0.0.1:%u/", in.port);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ask(f, &a, "POST", url, STR(""));
        if (i == 0)
            instance_accept(&in, f);
        else
            buf_clear(&in.wire.in);
        wire_until_has(&in.wire, "\r\n\r\n");
        snprintf(answer, sizeof answer, "HTTP/1.1 %sContent-Length: 0\r\n\r\n", cases[i].answer);
        wire_sendz(&in.wire, answer);
        answered(f, cases[i].status);
        CASE_TRUE(cases[i].answer, f->push.retry_after_ns >= cases[i].least_ns && f->push.retry_after_ns <= cases[i].most_ns);
    }
    instance_close(&in);
}

static void bodies_are_large_both_ways(void **state)
{
    static const size_t up = 1024 * 1024, down = 8 * 1024 * 1024;
    struct fixture *f = *state;
    struct asked a = {0};
    struct instance in;
    char url[64], *bytes = malloc(down);
    assert_non_null(bytes);
    memset(bytes, 'x', down);
    instance_open(&in);
    snprintf(url, sizeof url, "http://127.0.0.1:%u/", in.port);
    ask(f, &a, "POST", url, (struct str){bytes, up});
    instance_accept(&in, f);
    wire_until_bytes(&in.wire, up);
    wire_sendz(&in.wire, "HTTP/1.1 200 OK\r\nContent-Length: 8388608\r\n\r\n");
    wire_send(&in.wire, (struct str){bytes, down}); /* more than is read: only the status counts */
    answered(f, 200);
    instance_close(&in);
    free(bytes);
}

static void an_outcall_to_our_own_service_waits_for_its_instance(void **state)
{
    struct fixture *f = *state;
    struct asked a = {0};
    struct instance in;
    instance_open(&in);
    add(&a, "traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    ask(f, &a, "DELETE", "http://hello.localhost:8080/things/1", STR(""));
    net_until(&f->net, one_waits, f, "the call waits");
    pool_open(f->pool, in.port, INSTANCE);
    instance_accept(&in, f);
    wire_until_has(&in.wire, "\r\n\r\n");
    assert_true(wire_has(&in.wire, "DELETE /things/1 HTTP/1.1\r\n"));
    assert_true(wire_has(&in.wire, "Host: hello.localhost:8080\r\n"));
    assert_int_equal(wire_count(&in.wire, "traceparent: "), 1); /* the one that was given */
    assert_true(wire_has(&in.wire, "X-Cloud-Trace-Context: 0af7651916cd43dd8448eb211c80319c/"));
    wire_sendz(&in.wire, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    answered(f, 200);
    all_slots_come_back(f);
    instance_close(&in);
}

static void the_timeout_of_a_service_ends_an_outcall_too(void **state)
{
    struct fixture *f = *state;
    struct asked a = {0};
    struct instance in;
    instance_open(&in);
    pool_open(f->pool, in.port, INSTANCE);
    f->executor.view.timeout_ns = 50 * NS_PER_MS;
    show_routes(f);
    ask(f, &a, "POST", "http://hello.localhost/", STR(""));
    instance_accept(&in, f);
    answered(f, 0);
    assert_int_equal(f->push.err.code, ERR_DEADLINE_EXCEEDED);
    all_slots_come_back(f);
    instance_close(&in);
}

static void an_outcall_is_let_in_by_its_account_only(void **state)
{
    struct fixture *f = *state;
    struct asked a = {0};
    struct instance in;
    instance_open(&in);
    pool_open(f->pool, in.port, INSTANCE);
    let_in(f, "serviceAccount:caller@proj-test.iam.gserviceaccount.com");
    ask(f, &a, "POST", "http://hello.localhost/", STR(""));
    answered(f, 403);
    a.call.account = "eve@proj-test.iam.gserviceaccount.com";
    ask(f, &a, "POST", "http://hello.localhost/", STR(""));
    answered(f, 403);
    a.call.account = "caller@proj-test.iam.gserviceaccount.com";
    f->push.auth_line = STR(PUSH_AUTH "head.claims.signature\r\n");
    ask(f, &a, "POST", "http://hello.localhost/", STR(""));
    instance_accept(&in, f);
    wire_until_has(&in.wire, "\r\n\r\n");
    assert_true(wire_has(&in.wire, "Authorization: Bearer head.claims.SIGNATURE_REMOVED_BY_GOOGLE\r\n"));
    assert_int_equal(wire_count(&in.wire, "Authorization"), 1);
    wire_sendz(&in.wire, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    answered(f, 200);
    instance_close(&in);
}

/* Somebody who wrote a token of his own into the headers is judged as he would be at the door. */
static void a_token_among_the_headers_is_checked_as_at_the_ingress(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};
    struct workers *workers = workers_start(1, &e);
    const struct identity_config c = {.issuer = "http://issuer", .project = "proj-test"};
    struct made good = {0}, bad = {0};
    char line[TOKEN_BYTES_MAX + 16];
    f->identity = identity_new(&f->env, &c, f->store, workers, loop_mailbox(f->net.loop), &e);
    assert_true(f->identity && identity_load(f->identity, &e) == 0);
    net_until(&f->net, key_waits_to_be_stored, f->store, "a key is made");
    store_memory_step(f->store, 1, ERR_OK);
    struct token_source *ts = identity_source(f->identity);
    ts->get(ts, TOKEN_IDENTITY, "bob@example.com", "http://hello.localhost", on_token, &good);
    ts->get(ts, TOKEN_ACCESS, "bob@example.com", "http://hello.localhost", on_token, &bad);
    net_until(&f->net, is_set, &bad.done, "the tokens are made");
    let_in(f, "user:bob@example.com");
    struct asked a = {0};
    struct instance in;
    instance_open(&in);
    pool_open(f->pool, in.port, INSTANCE);
    snprintf(line, sizeof line, "Bearer %s", bad.token);
    add(&a, "authorization", line);
    ask(f, &a, "POST", "http://hello.localhost/", STR(""));
    answered(f, 401);
    snprintf(line, sizeof line, "Bearer %s", good.token);
    a.headers.n = 0;
    add(&a, "authorization", line);
    ask(f, &a, "POST", "http://hello.localhost/", STR(""));
    instance_accept(&in, f);
    wire_until_has(&in.wire, "\r\n\r\n");
    assert_true(wire_has(&in.wire, ".SIGNATURE_REMOVED_BY_GOOGLE\r\n"));
    assert_false(wire_has(&in.wire, strrchr(good.token, '.')));
    wire_sendz(&in.wire, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    answered(f, 200);
    instance_close(&in);
    workers_stop(workers);
    identity_free(f->identity);
    f->identity = NULL;
}

static void an_outcall_can_be_called_off_while_it_waits_and_while_it_runs(void **state)
{
    struct fixture *f = *state;
    struct asked a = {0};
    struct instance in;
    struct transport *t = io_transport(f->io);
    instance_open(&in);
    ask(f, &a, "GET", "http://hello.localhost/", STR(""));
    net_until(&f->net, one_waits, f, "the call waits");
    t->ops->cancel(t, &f->push);
    answered(f, 0);
    assert_int_equal(f->push.err.code, ERR_CANCELLED);
    pool_open(f->pool, in.port, INSTANCE);
    ask(f, &a, "GET", "http://hello.localhost/", STR(""));
    instance_accept(&in, f);
    t->ops->cancel(t, &f->push);
    answered(f, 0);
    assert_int_equal(f->push.err.code, ERR_CANCELLED);
    all_slots_come_back(f);
    instance_close(&in);
}

int main(void)
{
#define WITH(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_push_reaches_any_url_and_brings_its_status, setup_two_threads, teardown),
        WITH(a_push_to_our_own_service_waits_for_its_instance),
        WITH(a_push_of_our_invoker_comes_without_its_signature),
        WITH(a_private_service_takes_pushes_of_its_invokers_only),
        WITH(an_invoker_with_a_good_token_comes_in),
        WITH(a_push_can_be_called_off_while_it_waits_and_while_it_runs),
        cmocka_unit_test_setup_teardown(an_outcall_is_sent_as_it_is, setup_two_threads, teardown),
        WITH(retry_after_counts_where_it_slows),
        WITH(bodies_are_large_both_ways),
        WITH(an_outcall_to_our_own_service_waits_for_its_instance),
        WITH(the_timeout_of_a_service_ends_an_outcall_too),
        WITH(an_outcall_is_let_in_by_its_account_only),
        WITH(a_token_among_the_headers_is_checked_as_at_the_ingress),
        WITH(an_outcall_can_be_called_off_while_it_waits_and_while_it_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

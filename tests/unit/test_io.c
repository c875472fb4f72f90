/** test_io.c: real io threads on real sockets: the API and the ingress on one port, instances played by scripts, and pushes by
 *            the real transport. The engine's loop is the test's. */
#include "tests/support/unit.h"

#include "dispatcher/ingress.h"
#include "dispatcher/io.h"
#include "dispatcher/key_set.h"
#include "dispatcher/push.h"
#include "tests/support/support_http.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define SERVICE "projects/proj-test/locations/europe-west1/services/hello"
#define INSTANCE ((void *)1)

/* ---- the executor's part: one service, made of what a test says ---- */

struct executor {
    struct executor_view view;
    struct executor_target targets[2];
};
void executor_each(struct executor *x, executor_view_fn fn, void *arg)
{
    x->view.targets = x->targets;
    fn(arg, &x->view);
}

struct fixture {
    struct net net;
    struct rng rng;
    struct env env;
    struct store *store;
    struct registry *registry;
    struct web *web;
    struct metrics *metrics;
    struct policy *policy;
    struct identity *identity; /* only where a test wants tokens */
    struct executor executor;
    struct pool *pool;
    struct io *io;
    bool flag;
    struct push_endpoint endpoint;
    struct push_request push;
};

static void on_page(void *arg, struct web_call *w)
{
    if (buf_addz(&w->answer, "a page"))
        abort();
    web_reply(w, 200, "text/plain");
}

static void show_routes(struct fixture *f)
{
    struct err e = {0};
    struct key_set *keys = f->identity ? identity_keys(f->identity) : key_set_new("http://issuer", NULL, 0, &e);
    struct routes *r = routes_build(&f->executor, f->policy, keys, "localhost", "proj-test", "europe-west1", &e);
    assert_non_null(r);
    io_routes(f->io, r);
}

static int setup_threads(void **state, uint32_t threads, uint32_t concurrency)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct err e = {0};
    const struct policy_config open_to_all = {0};
    const struct web_route page = {VERB_GET, "/page", on_page, NULL};
    net_init(&f->net);
    rng_seed(&f->rng, 7);
    f->env = (struct env){loop_clock(f->net.loop), &f->rng, loop_timers(f->net.loop), log_null()};
    f->store = store_memory_new();
    f->registry = registry_new();
    f->web = web_new();
    f->metrics = metrics_new();
    f->policy = policy_new(&f->env, &open_to_all, f->store, &e);
    assert_non_null(f->policy);
    assert_int_equal(web_add(f->web, &page, &e), 0);
    f->pool = pool_new(&f->env, 4, concurrency, loop_mailbox(f->net.loop), &e);
    f->executor = (struct executor){
        .view = {.name = SERVICE, .project = "proj-test", .region = "europe-west1", .service = "hello", .uri = "http://hello.localhost",
                 .timeout_ns = 5 * NS_PER_S, .invoker_iam_disabled = true, .n_targets = 1},
        .targets = {{.pool = f->pool, .revision = "hello-00001", .percent = 100, .tag = ""}},
    };
    const struct io_config c = {
        .host = "127.0.0.1", .threads = threads, .engine = loop_mailbox(f->net.loop), .log = log_null(), .metrics = f->metrics,
        .rest = {.registry = f->registry, .web = f->web, .engine = loop_mailbox(f->net.loop)},
    };
    f->io = io_start(&c, &e);
    assert_non_null(f->io);
    show_routes(f);
    *state = f;
    return 0;
}

static int setup(void **state) { return setup_threads(state, 1, 4); }
static int setup_one_at_a_time(void **state) { return setup_threads(state, 1, 1); }
static int setup_two_threads(void **state) { return setup_threads(state, 2, 4); }

static int teardown(void **state)
{
    struct fixture *f = *state;
    if (f->io)
        net_turns(&f->net, 20); /* releases that wake the engine */
    io_stop(f->io);
    pool_unref(f->pool);
    policy_free(f->policy);
    web_free(f->web);
    registry_free(f->registry);
    metrics_free(f->metrics);
    f->store->ops->close(f->store);
    loop_free(f->net.loop); /* not net_fini: after io_stop the engine's loop must not run again */
    free(f);
    return 0;
}

static bool pool_idle(void *arg) { return pool_running(((struct fixture *)arg)->pool) == 0; }
static bool one_waits(void *arg) { return atomic_load(&((struct fixture *)arg)->pool->waiting) == 1; }
static bool none_waits(void *arg) { return atomic_load(&((struct fixture *)arg)->pool->waiting) == 0; }
static bool one_runs(void *arg) { return pool_running(((struct fixture *)arg)->pool) == 1; }
static bool is_set(void *arg) { return *(bool *)arg; }

static void all_slots_come_back(struct fixture *f)
{
    net_until(&f->net, pool_idle, f, "every slot released");
    assert_int_equal(atomic_load(&f->pool->started), atomic_load(&f->pool->finished));
}

/* An instance in the test's own hands, of one connection: what it was sent stays to be looked at. */
struct instance {
    int fd;
    uint16_t port;
    int accepted;
    struct wire wire;
};

static void instance_open(struct instance *in)
{
    struct err e = {0};
    *in = (struct instance){.fd = http_listen_socket("127.0.0.1", 0, false, &e), .accepted = -1};
    assert_true(in->fd >= 0);
    in->port = http_socket_port(in->fd);
}

static bool instance_called(void *arg)
{
    struct instance *in = arg;
    in->accepted = accept4(in->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    return in->accepted >= 0;
}

static void instance_accept(struct instance *in, struct fixture *f)
{
    net_until(&f->net, instance_called, in, "the instance is called");
    wire_open(&in->wire, &f->net, in->accepted);
}

static void instance_close(struct instance *in)
{
    wire_close(&in->wire);
    close(in->fd);
}

#define GET(host) "GET /a/b?c=d HTTP/1.1\r\nHost: " host "\r\n"

/* ---- routed and streamed ---- */

static void the_host_tells_a_service_from_the_api(void **state)
{
    struct fixture *f = *state;
    const struct {
        const char *name, *send, *wants;
    } cases[] = {
        {"a page of ours", "GET /page HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "a page"},
        {"an unknown path of the API", "GET /v9/x HTTP/1.1\r\nHost: localhost\r\n\r\n", "NOT_FOUND"},
        {"an unknown service", GET("nobody.localhost") "\r\n", "no service answers at nobody.localhost"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct wire w;
        wire_connect(&w, &f->net, io_port(f->io));
        wire_sendz(&w, cases[i].send);
        wire_until_has(&w, cases[i].wants);
        wire_close(&w);
    }
}

static void a_request_goes_to_the_instance_with_the_headers_it_needs(void **state)
{
    struct fixture *f = *state;
    static const char *const wants[] = {
        "GET /a/b?c=d HTTP/1.1\r\n", "Host: hello.localhost:1234\r\n", "X-Forwarded-For: 10.0.0.1, 127.0.0.1\r\n", "X-Forwarded-Proto: http\r\n",
        "X-Forwarded-Host: hello.localhost:1234\r\n", "traceparent: 00-", "X-Cloud-Trace-Context: ", "X-Mine: kept\r\n",
    };
    static const char *const unwanted[] = {"X-Secret-Hop", "Keep-Alive", "Proxy-Authorization", "TE:"};
    struct instance in;
    struct wire w;
    instance_open(&in);
    pool_open(f->pool, in.port, INSTANCE);
    wire_connect(&w, &f->net, io_port(f->io));
    wire_sendz(&w, GET("hello.localhost:1234") "X-Forwarded-For: 10.0.0.1\r\nX-Mine: kept\r\nConnection: X-Secret-Hop\r\n"
                   "X-Secret-Hop: 1\r\nKeep-Alive: 1\r\nProxy-Authorization: x\r\nTE: trailers\r\n\r\n");
    instance_accept(&in, f);
    wire_until_has(&in.wire, "\r\n\r\n");
    for (size_t i = 0; i < ARRAY_LEN(wants); i++)
        CASE_TRUE(wants[i], wire_has(&in.wire, wants[i]));
    for (size_t i = 0; i < ARRAY_LEN(unwanted); i++)
        CASE_TRUE(unwanted[i], !wire_has(&in.wire, unwanted[i]));
    wire_sendz(&in.wire, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-App: yes\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\nhello");
    wire_until_has(&w, "\r\n\r\nhello");
    assert_true(wire_has(&w, "HTTP/1.1 200 OK") && wire_has(&w, "X-App: yes"));
    assert_false(wire_has(&w, "X-Hop"));
    all_slots_come_back(f);
    wire_close(&w);
    instance_close(&in);
}

static void bodies_pass_both_ways_as_they_come(void **state)
{
    struct fixture *f = *state;
    static const struct script_step plan[][SCRIPT_STEPS_MAX] = {
        {{"first", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n", THEN_STAY},
         {"second", "3\r\ntwo\r\n0\r\n\r\n", THEN_STAY}}};
    struct script s;
    struct wire w;
    script_init(&s, &f->net, plan, 1);
    pool_open(f->pool, s.port, INSTANCE);
    wire_connect(&w, &f->net, io_port(f->io));
    wire_sendz(&w, "POST /up HTTP/1.1\r\nHost: hello.localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    wire_until_has(&w, "one"); /* the answer begins before the request ends */
    wire_sendz(&w, "6\r\nsecond\r\n0\r\n\r\n");
    wire_until_has(&w, "two");
    wire_until_has(&w, "0\r\n\r\n");
    all_slots_come_back(f);
    wire_close(&w);
    script_fini(&s);
}

/* Far more than all sockets on the way can hold. */
#define HUGE_BYTES ((size_t)48 * 1024 * 1024)

static void send_huge(struct fixture *f, struct wire *from, struct wire *to)
{
    static const char block[1024 * 1024];
    size_t before = HUGE_BYTES + 1;
    for (size_t i = 0; i < HUGE_BYTES / sizeof block; i++)
        wire_send(from, (struct str){block, sizeof block});
    while (buf_len(&from->out) < before) { /* until nothing moves any more */
        before = buf_len(&from->out);
        for (int64_t until_ns = loop_now(f->net.loop) + 200 * NS_PER_MS; loop_now(f->net.loop) < until_ns;)
            net_turns(&f->net, 10);
    }
    assert_true(before > HUGE_BYTES / 4); /* most of it is still where it comes from: nobody gathers it */
    wire_deafen(to, false);
    wire_until_bytes(to, HUGE_BYTES);
}

static void a_huge_answer_to_a_client_that_does_not_read_is_held_back(void **state)
{
    struct fixture *f = *state;
    struct instance in;
    struct wire w;
    char head[128];
    instance_open(&in);
    pool_open(f->pool, in.port, INSTANCE);
    wire_connect(&w, &f->net, io_port(f->io));
    wire_sendz(&w, GET("hello.localhost") "\r\n");
    instance_accept(&in, f);
    snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", HUGE_BYTES);
    wire_deafen(&w, true);
    wire_sendz(&in.wire, head);
    send_huge(f, &in.wire, &w);
    all_slots_come_back(f);
    wire_close(&w);
    instance_close(&in);
}

static void a_huge_request_to_an_instance_that_does_not_read_is_held_back(void **state)
{
    struct fixture *f = *state;
    struct instance in;
    struct wire w;
    char head[128];
    instance_open(&in);
    pool_open(f->pool, in.port, INSTANCE);
    wire_connect(&w, &f->net, io_port(f->io));
    snprintf(head, sizeof head, "PUT / HTTP/1.1\r\nHost: hello.localhost\r\nContent-Length: %zu\r\n\r\n", HUGE_BYTES);
    wire_sendz(&w, head);
    instance_accept(&in, f);
    wire_deafen(&in.wire, true);
    send_huge(f, &w, &in.wire);
    wire_sendz(&in.wire, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone");
    wire_until_has(&w, "done");
    all_slots_come_back(f);
    wire_close(&w);
    instance_close(&in);
}

static void a_websocket_is_bytes_both_ways(void **state)
{
    struct fixture *f = *state;
    struct service peer;
    struct wire w;
    service_init(&peer, &f->net, NULL);
    pool_open(f->pool, peer.port, INSTANCE);
    wire_connect(&w, &f->net, io_port(f->io));
    wire_sendz(&w, "GET /upgrade HTTP/1.1\r\nHost: hello.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    wire_until_has(&w, "HTTP/1.1 101");
    wire_sendz(&w, "ping-over-raw");
    wire_until_has(&w, "ping-over-raw");
    net_until(&f->net, one_runs, f, "the slot is held");
    wire_close(&w);
    all_slots_come_back(f);
    service_fini(&peer);
}

/* ---- waiting and failing ---- */

static void a_request_waits_for_an_instance_that_starts(void **state)
{
    struct fixture *f = *state;
    static const struct script_step plan[][SCRIPT_STEPS_MAX] = {
        {{"body", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", THEN_STAY}}};
    struct script s;
    struct wire w;
    script_init(&s, &f->net, plan, 1);
    wire_connect(&w, &f->net, io_port(f->io));
    wire_sendz(&w, "POST / HTTP/1.1\r\nHost: hello.localhost\r\nContent-Length: 4\r\n\r\nbody");
    net_until(&f->net, one_waits, f, "the request waits");
    pool_open(f->pool, s.port, INSTANCE);
    wire_until_has(&w, "\r\n\r\nok");
    all_slots_come_back(f);
    wire_close(&w);
    script_fini(&s);
}

static void who_leaves_while_waiting_leaves_the_queue(void **state)
{
    struct fixture *f = *state;
    struct wire w;
    wire_connect(&w, &f->net, io_port(f->io));
    wire_sendz(&w, GET("hello.localhost") "\r\n");
    net_until(&f->net, one_waits, f, "the request waits");
    wire_reset(&w);
    net_until(&f->net, none_waits, f, "the queue is empty");
}

static void one_finished_request_lets_the_next_one_in(void **state)
{
    struct fixture *f = *state;
    static const struct script_step plan[][SCRIPT_STEPS_MAX] = {
        {{"/one", NULL, THEN_STAY}, {"never", NULL, THEN_STAY}},
        {{"/two", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo", THEN_STAY}}};
    struct script s;
    struct wire one, two;
    script_init(&s, &f->net, plan, 2);
    pool_open(f->pool, s.port, INSTANCE);
    wire_connect(&one, &f->net, io_port(f->io));
    wire_sendz(&one, "GET /one HTTP/1.1\r\nHost: hello.localhost\r\n\r\n");
    net_until(&f->net, one_runs, f, "the first runs");
    wire_connect(&two, &f->net, io_port(f->io));
    wire_sendz(&two, "GET /two HTTP/1.1\r\nHost: hello.localhost\r\n\r\n");
    net_until(&f->net, one_waits, f, "the second waits");
    wire_reset(&one); /* an aborted request frees its slot */
    wire_until_has(&two, "\r\n\r\ntwo");
    all_slots_come_back(f);
    wire_close(&two);
    script_fini(&s);
}

static void failures_have_their_status(void **state)
{
    static const struct script_step plans[][SCRIPT_STEPS_MAX] = {
        {{"\r\n\r\n", NULL, THEN_CLOSE}},
        {{"\r\n\r\n", "nonsense\r\n\r\n", THEN_CLOSE}},
        {{"\r\n\r\n", NULL, THEN_STAY}, {"never", NULL, THEN_STAY}},
    };
    const struct {
        const char *name;
        size_t plan;
        int64_t timeout_ns;
        const char *wants;
    } cases[] = {
        {"the instance breaks off", 0, 5 * NS_PER_S, "HTTP/1.1 503"},
        {"the instance does not speak HTTP", 1, 5 * NS_PER_S, "HTTP/1.1 502"},
        {"the instance is too slow", 2, 100 * NS_PER_MS, "HTTP/1.1 504"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        void *inner = NULL;
        setup(&inner);
        struct fixture *f = inner;
        struct script s;
        struct wire w;
        script_init(&s, &f->net, &plans[cases[i].plan], 1);
        f->executor.view.timeout_ns = cases[i].timeout_ns;
        show_routes(f);
        pool_open(f->pool, s.port, INSTANCE);
        wire_connect(&w, &f->net, io_port(f->io));
        wire_sendz(&w, "POST / HTTP/1.1\r\nHost: hello.localhost\r\nContent-Length: 0\r\n\r\n");
        wire_until_has(&w, cases[i].wants);
        all_slots_come_back(f);
        wire_close(&w);
        script_fini(&s);
        teardown(&inner);
    }
}

static void an_answer_that_breaks_off_is_not_completed(void **state)
{
    struct fixture *f = *state;
    static const struct script_step plan[][SCRIPT_STEPS_MAX] = {
        {{"\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart", THEN_CLOSE}}};
    struct script s;
    struct wire w;
    script_init(&s, &f->net, plan, 1);
    pool_open(f->pool, s.port, INSTANCE);
    wire_connect(&w, &f->net, io_port(f->io));
    wire_sendz(&w, GET("hello.localhost") "\r\n");
    wire_until_closed(&w);
    assert_true(wire_has(&w, "200 OK"));
    assert_false(wire_has(&w, "503"));
    all_slots_come_back(f);
    wire_close(&w);
    script_fini(&s);
}

static void waiting_too_long_or_in_vain_is_said(void **state)
{
    struct fixture *f = *state;
    struct wire w;
    struct err e;
    f->executor.view.timeout_ns = 50 * NS_PER_MS;
    show_routes(f);
    wire_connect(&w, &f->net, io_port(f->io));
    wire_sendz(&w, GET("hello.localhost") "\r\n");
    wire_until_has(&w, "HTTP/1.1 504");
    wire_close(&w);
    f->executor.view.timeout_ns = 5 * NS_PER_S;
    show_routes(f);
    err_set(&e, ERR_UNAVAILABLE, "the program exits at once");
    pool_block(f->pool, &e);
    wire_connect(&w, &f->net, io_port(f->io));
    wire_sendz(&w, GET("hello.localhost") "\r\n");
    wire_until_has(&w, "HTTP/1.1 503");
    wire_until_has(&w, "the program exits at once");
    wire_close(&w);
    f->executor.targets[0].pool = NULL;
    f->executor.view.not_ready = "no revision is ready";
    show_routes(f);
    wire_connect(&w, &f->net, io_port(f->io));
    wire_sendz(&w, GET("hello.localhost") "\r\n");
    wire_until_has(&w, "no revision is ready");
    wire_close(&w);
}

static void a_dead_port_is_tried_no_more_often_than_makes_sense(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};
    int fd = http_listen_socket("127.0.0.1", 0, false, &e);
    uint16_t port = http_socket_port(fd);
    struct wire w;
    close(fd); /* nobody listens there any more */
    wire_connect(&w, &f->net, io_port(f->io));
    pool_open(f->pool, port, INSTANCE);
    wire_sendz(&w, GET("hello.localhost") "\r\n");
    wire_until_has(&w, "HTTP/1.1 503");
    all_slots_come_back(f);
    assert_true(atomic_load(&f->pool->started) <= INGRESS_TRIES_MAX);
    wire_close(&w);
}

static void private_services_want_a_token(void **state)
{
    struct fixture *f = *state;
    const struct {
        const char *name, *header, *wants;
    } cases[] = {
        {"none", "", "HTTP/1.1 403"},
        {"no bearer", "Authorization: Basic abc\r\n", "HTTP/1.1 403"},
        {"one that is no good", "Authorization: Bearer a.b.c\r\n", "HTTP/1.1 401"},
        {"the serverless one is the one that counts", "X-Serverless-Authorization: Bearer a.b.c\r\nAuthorization: Basic x\r\n", "HTTP/1.1 401"},
    };
    f->executor.view.invoker_iam_disabled = false;
    show_routes(f);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct wire w;
        char request[512];
        snprintf(request, sizeof request, "GET / HTTP/1.1\r\nHost: hello.localhost\r\n%s\r\n", cases[i].header);
        wire_connect(&w, &f->net, io_port(f->io));
        wire_sendz(&w, request);
        wire_until_has(&w, cases[i].wants);
        wire_close(&w);
    }
    assert_int_equal(atomic_load(&f->pool->started), 0);
}

/* ---- pushes ---- */

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
    struct call c = {.method = match.method, .service = match.service, .arena = a, .request = &request.base,
                     .finish = on_policy_set, .handler_data = &done};
    registry_dispatch(f->registry, &c);
    store_memory_step(f->store, 1, ERR_OK);
    assert_true(done);
    arena_free(a);
    f->executor.view.invoker_iam_disabled = false;
    show_routes(f);
}

static void on_pushed(struct push_request *r) { ((struct fixture *)r->arg)->flag = true; }

static void push(struct fixture *f, const char *endpoint, const struct message *m)
{
    struct err e = {0};
    f->endpoint.text = (char *)endpoint;
    f->endpoint.subscription = (char *)"projects/proj-test/subscriptions/s1";
    assert_int_equal(url_parse(str_of(endpoint), &f->endpoint.url, &e), 0);
    f->flag = false;
    f->push = (struct push_request){.msg = m, .endpoint = &f->endpoint, .due_ns = loop_now(f->net.loop) + 5 * NS_PER_S,
                                    .sent_ns = loop_now(f->net.loop), .done = on_pushed, .arg = f, .bearer = f->push.bearer};
    io_transport(f->io)->ops->send(io_transport(f->io), &f->push);
}

static struct message *hello(void)
{
    struct err e = {0};
    Google__Pubsub__V1__PubsubMessage m = GOOGLE__PUBSUB__V1__PUBSUB_MESSAGE__INIT;
    m.data = (ProtobufCBinaryData){5, (uint8_t *)"hello"};
    struct message *out = message_new(&m, 0, &e);
    assert_non_null(out);
    snprintf(out->id, sizeof out->id, "77");
    return out;
}

static void a_push_reaches_any_url_and_brings_its_status(void **state)
{
    struct fixture *f = *state;
    static const char *const wants[] = {
        "POST /push?x=1 HTTP/1.1\r\n", "Authorization: Bearer a.b.c\r\n", "Content-Type: application/json\r\n",
        "User-Agent: CloudPubSub-Google\r\n", "\"data\":\"aGVsbG8=\",\"messageId\":\"77\",\"message_id\":\"77\"",
    };
    struct instance in;
    char url[64];
    struct message *m = hello();
    instance_open(&in);
    snprintf(url, sizeof url, "http://127.0.0.1:%u/push?x=1", in.port);
    f->push.bearer = "a.b.c";
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
    f->push.bearer = "head.claims.signature";
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
    ts->get(ts, "bob@example.com", "http://hello.localhost", on_token, &good);
    ts->get(ts, "bob@example.com", "http://other.localhost", on_token, &other_audience);
    ts->get(ts, "eve@example.com", "http://hello.localhost", on_token, &other_account);
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
        {"the serverless header goes first", "X-Serverless-Authorization", other_account.token, "Authorization: Bearer x\r\n", "HTTP/1.1 403"},
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

/* ---- ending ---- */

static void on_drained(void *arg) { ((struct fixture *)arg)->flag = true; }

static void draining_lets_requests_end(void **state)
{
    struct fixture *f = *state;
    static const struct script_step plan[][SCRIPT_STEPS_MAX] = {
        {{"\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nso", THEN_STAY}, {"go", "on", THEN_STAY}}};
    struct script s;
    struct wire w;
    script_init(&s, &f->net, plan, 1);
    pool_open(f->pool, s.port, INSTANCE);
    wire_connect(&w, &f->net, io_port(f->io));
    wire_sendz(&w, "POST / HTTP/1.1\r\nHost: hello.localhost\r\nContent-Length: 2\r\n\r\n");
    wire_until_has(&w, "so");
    io_drain(f->io, 10 * NS_PER_S, on_drained, f);
    net_turns(&f->net, 5);
    assert_false(f->flag);
    wire_sendz(&w, "go");
    wire_until_has(&w, "soon");
    net_until(&f->net, is_set, &f->flag, "drained");
    wire_close(&w);
    script_fini(&s);
}

static void what_is_under_way_at_the_end_is_dropped_cleanly(void **state)
{
    struct fixture *f = *state;
    struct wire w;
    struct message *m = hello();
    wire_connect(&w, &f->net, io_port(f->io));
    wire_sendz(&w, GET("hello.localhost") "\r\n");
    net_until(&f->net, one_waits, f, "the request waits");
    push(f, "http://127.0.0.1:9/", m);
    io_stop(f->io);
    f->io = NULL;
    assert_true(none_waits(f));
    wire_close(&w);
    message_unref(m);
}

static void a_port_that_is_taken_is_named(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};
    int fd = http_listen_socket("127.0.0.1", 0, false, &e);
    const struct io_config c = {
        .host = "127.0.0.1", .port = http_socket_port(fd), .threads = 2, .engine = loop_mailbox(f->net.loop), .log = log_null(),
        .rest = {.registry = f->registry, .web = f->web, .engine = loop_mailbox(f->net.loop)},
    };
    char want[64];
    snprintf(want, sizeof want, "127.0.0.1 port %u", c.port);
    assert_null(io_start(&c, &e));
    assert_int_equal(e.code, ERR_UNAVAILABLE);
    assert_non_null(strstr(e.msg, want));
    close(fd);
}

int main(void)
{
#define WITH(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH(the_host_tells_a_service_from_the_api),
        WITH(a_request_goes_to_the_instance_with_the_headers_it_needs),
        cmocka_unit_test_setup_teardown(bodies_pass_both_ways_as_they_come, setup_two_threads, teardown),
        WITH(a_huge_answer_to_a_client_that_does_not_read_is_held_back),
        WITH(a_huge_request_to_an_instance_that_does_not_read_is_held_back),
        WITH(a_websocket_is_bytes_both_ways),
        WITH(a_request_waits_for_an_instance_that_starts),
        WITH(who_leaves_while_waiting_leaves_the_queue),
        cmocka_unit_test_setup_teardown(one_finished_request_lets_the_next_one_in, setup_one_at_a_time, teardown),
        cmocka_unit_test(failures_have_their_status),
        WITH(an_answer_that_breaks_off_is_not_completed),
        WITH(waiting_too_long_or_in_vain_is_said),
        WITH(a_dead_port_is_tried_no_more_often_than_makes_sense),
        WITH(private_services_want_a_token),
        cmocka_unit_test_setup_teardown(a_push_reaches_any_url_and_brings_its_status, setup_two_threads, teardown),
        WITH(a_push_to_our_own_service_waits_for_its_instance),
        WITH(a_push_of_our_invoker_comes_without_its_signature),
        WITH(a_private_service_takes_pushes_of_its_invokers_only),
        WITH(an_invoker_with_a_good_token_comes_in),
        WITH(a_push_can_be_called_off_while_it_waits_and_while_it_runs),
        cmocka_unit_test_setup_teardown(draining_lets_requests_end, setup_two_threads, teardown),
        WITH(what_is_under_way_at_the_end_is_dropped_cleanly),
        WITH(a_port_that_is_taken_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

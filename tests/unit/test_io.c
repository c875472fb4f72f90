/** test_io.c: real io threads on real sockets: the API and the ingress on one port, instances played by scripts. The
 *            engine's loop is the test's. Pushes are in test_io_push.c. */
#include "tests/unit/io_fixture.h"

#include "dispatcher/io.h"

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
        "GET /a/b?c=d HTTP/1.1\r\n",
        "Host: hello.localhost:1234\r\n",
        "X-Forwarded-For: 10.0.0.1, 127.0.0.1\r\n",
        "X-Forwarded-Proto: http\r\n",
        "X-Forwarded-Host: hello.localhost:1234\r\n",
        "traceparent: 00-",
        "X-Cloud-Trace-Context: ",
        "X-Mine: kept\r\n",
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
    static const struct script_step plan[][SCRIPT_STEPS_MAX] = {{{"body", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", THEN_STAY}}};
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
    static const struct script_step plan[][SCRIPT_STEPS_MAX] = {{{"/one", NULL, THEN_STAY}, {"never", NULL, THEN_STAY}},
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
        {"the serverless one is the one that counts", "X-Serverless-Authorization: Bearer a.b.c\r\nAuthorization: Basic x\r\n",
         "HTTP/1.1 401"},
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
        .host = "127.0.0.1",
        .port = http_socket_port(fd),
        .threads = 2,
        .engine = loop_mailbox(f->net.loop),
        .log = log_null(),
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
        cmocka_unit_test_setup_teardown(draining_lets_requests_end, setup_two_threads, teardown),
        WITH(what_is_under_way_at_the_end_is_dropped_cleanly),
        WITH(a_port_that_is_taken_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

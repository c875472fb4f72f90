/** io_fixture.h: io threads on real sockets, with a service made of what a test says and instances played by the test.
 *  For test_io.c (requests and endings) and test_io_push.c (pushes). */
#ifndef TESTS_UNIT_IO_FIXTURE_H
#define TESTS_UNIT_IO_FIXTURE_H

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

static inline void on_page(void *arg, struct web_call *w) { web_reply(w, buf_addz(&w->answer, "a page") ? 500 : 200, "text/plain"); }

static inline void show_routes(struct fixture *f)
{
    struct err e = {0};
    struct key_set *keys = f->identity ? identity_keys(f->identity) : key_set_new("http://issuer", NULL, 0, &e);
    struct routes *r = routes_build(&f->executor, f->policy, keys, "localhost", "proj-test", "europe-west1", &e);
    assert_non_null(r);
    io_routes(f->io, r);
}

static inline int setup_threads(void **state, uint32_t threads, uint32_t concurrency)
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
        .view = {.name = SERVICE,
                 .project = "proj-test",
                 .region = "europe-west1",
                 .service = "hello",
                 .uri = "http://hello.localhost",
                 .timeout_ns = 5 * NS_PER_S,
                 .invoker_iam_disabled = true,
                 .n_targets = 1},
        .targets = {{.pool = f->pool, .revision = "hello-00001", .percent = 100, .tag = ""}},
    };
    const struct io_config c = {
        .host = "127.0.0.1",
        .threads = threads,
        .engine = loop_mailbox(f->net.loop),
        .log = log_null(),
        .metrics = f->metrics,
        .rest = {.registry = f->registry, .web = f->web, .engine = loop_mailbox(f->net.loop)},
    };
    f->io = io_start(&c, &e);
    assert_non_null(f->io);
    show_routes(f);
    *state = f;
    return 0;
}

static inline int setup(void **state) { return setup_threads(state, 1, 4); }
static inline int setup_one_at_a_time(void **state) { return setup_threads(state, 1, 1); }
static inline int setup_two_threads(void **state) { return setup_threads(state, 2, 4); }

static inline int teardown(void **state)
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

static inline bool pool_idle(void *arg) { return pool_running(((struct fixture *)arg)->pool) == 0; }
static inline bool one_waits(void *arg) { return atomic_load(&((struct fixture *)arg)->pool->waiting) == 1; }
static inline bool none_waits(void *arg) { return atomic_load(&((struct fixture *)arg)->pool->waiting) == 0; }
static inline bool one_runs(void *arg) { return pool_running(((struct fixture *)arg)->pool) == 1; }
static inline bool is_set(void *arg) { return *(bool *)arg; }

static inline void all_slots_come_back(struct fixture *f)
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

static inline void instance_open(struct instance *in)
{
    struct err e = {0};
    *in = (struct instance){.fd = http_listen_socket("127.0.0.1", 0, false, &e), .accepted = -1};
    assert_true(in->fd >= 0);
    in->port = http_socket_port(in->fd);
}

static inline bool instance_called(void *arg)
{
    struct instance *in = arg;
    in->accepted = accept4(in->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    return in->accepted >= 0;
}

static inline void instance_accept(struct instance *in, struct fixture *f)
{
    net_until(&f->net, instance_called, in, "the instance is called");
    wire_open(&in->wire, &f->net, in->accepted);
}

static inline void instance_close(struct instance *in)
{
    wire_close(&in->wire);
    close(in->fd);
}

#define GET(host) "GET /a/b?c=d HTTP/1.1\r\nHost: " host "\r\n"

static inline void on_pushed(struct push_request *r) { ((struct fixture *)r->arg)->flag = true; }

static inline void push(struct fixture *f, const char *endpoint, const struct message *m)
{
    struct err e = {0};
    f->endpoint.text = (char *)endpoint;
    f->endpoint.subscription = (char *)"projects/proj-test/subscriptions/s1";
    assert_int_equal(url_parse(str_of(endpoint), &f->endpoint.url, &e), 0);
    f->flag = false;
    f->push = (struct push_request){.msg = m,
                                    .endpoint = &f->endpoint,
                                    .due_ns = loop_now(f->net.loop) + 5 * NS_PER_S,
                                    .sent_ns = loop_now(f->net.loop),
                                    .done = on_pushed,
                                    .arg = f,
                                    .auth_line = f->push.auth_line};
    io_transport(f->io)->ops->send(io_transport(f->io), &f->push);
}

static inline struct message *hello(void)
{
    struct err e = {0};
    Google__Pubsub__V1__PubsubMessage m = GOOGLE__PUBSUB__V1__PUBSUB_MESSAGE__INIT;
    m.data = (ProtobufCBinaryData){5, (uint8_t *)"hello"};
    struct message *out = message_new(&m, 0, &e);
    assert_non_null(out);
    snprintf(out->id, sizeof out->id, "77");
    return out;
}

#endif

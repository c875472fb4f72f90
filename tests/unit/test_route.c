/** test_route.c: hosts to services and targets, from an executor that says what a test wants. */
#include "tests/support/unit.h"

#include "dispatcher/key_set.h"
#include "dispatcher/route.h"
#include "tests/support/support_dispatcher.h"

#include <stdio.h>

#define VIEWS 4
struct executor {
    struct executor_view views[VIEWS];
    size_t n;
};
void executor_each(struct executor *x, executor_view_fn fn, void *arg)
{
    for (size_t i = 0; i < x->n; i++)
        fn(arg, &x->views[i]);
}

struct fixture {
    struct fake_env fe;
    struct engine_box box;
    struct store *store;
    struct policy *policy;
    struct pool *pools[2];
    struct executor x;
    struct executor_target split[3];
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct err e = {0};
    const struct policy_config c = {0};
    support_env(&f->fe);
    engine_box_init(&f->box);
    f->store = store_memory_new();
    f->policy = policy_new(&f->fe.env, &c, f->store, &e);
    f->pools[0] = pool_new(&f->fe.env, 1, 1, f->box.mailbox, &e);
    f->pools[1] = pool_new(&f->fe.env, 1, 1, f->box.mailbox, &e);
    f->split[0] = (struct executor_target){.pool = f->pools[0], .revision = "r1", .percent = 25, .tag = "blue"};
    f->split[1] = (struct executor_target){.pool = f->pools[1], .revision = "r2", .percent = 75, .tag = ""};
    f->split[2] = (struct executor_target){.pool = NULL, .revision = "r3", .percent = 0, .tag = "broken"};
    f->x.n = 2;
    f->x.views[0] = (struct executor_view){.name = "projects/proj-test/locations/europe-west1/services/hello",
                                           .project = "proj-test",
                                           .region = "europe-west1",
                                           .service = "hello",
                                           .uri = "http://hello.localhost",
                                           .timeout_ns = NS_PER_S,
                                           .targets = f->split,
                                           .n_targets = 3};
    f->x.views[1] = (struct executor_view){.name = "projects/other/locations/us-east1/services/hello",
                                           .project = "other",
                                           .region = "us-east1",
                                           .service = "hello",
                                           .uri = "http://hello.us-east1.other.localhost",
                                           .timeout_ns = NS_PER_S,
                                           .not_ready = "the program exits at once"};
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    pool_unref(f->pools[0]);
    pool_unref(f->pools[1]);
    f->store->ops->close(f->store);
    policy_free(f->policy);
    engine_box_fini(&f->box);
    support_env_fini(&f->fe);
    free(f);
    return 0;
}

static struct routes *build(struct fixture *f, struct err *e)
{
    struct key_set *keys = key_set_new("http://issuer", NULL, 0, NULL);
    return keys ? routes_build(&f->x, f->policy, keys, "localhost", "proj-test", "europe-west1", e) : NULL;
}

static void hosts_lead_to_services_and_tags(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};
    struct routes *r = build(f, &e);
    assert_non_null(r);
    const struct {
        const char *host;
        bool ours;
        int rc;
        const char *project, *revision; /* NULL: any */
    } cases[] = {
        {"hello.localhost", true, 0, "proj-test", NULL},
        {"HELLO.LocalHost", true, 0, "proj-test", NULL},
        {"hello.europe-west1.proj-test.localhost", true, 0, "proj-test", NULL},
        {"blue---hello.localhost", true, 0, "proj-test", "r1"},
        {"blue---hello.europe-west1.proj-test.localhost", true, 0, "proj-test", "r1"},
        {"broken---hello.localhost", true, -ERR_UNAVAILABLE, "proj-test", NULL},
        {"hello.us-east1.other.localhost", true, -ERR_UNAVAILABLE, "other", NULL},
        {"red---hello.localhost", true, -ERR_NOT_FOUND, NULL, NULL},
        {"hello.us-east1.proj-test.localhost", true, -ERR_NOT_FOUND, NULL, NULL},
        {"x.hello.localhost", true, -ERR_NOT_FOUND, NULL, NULL},
        {"localhost", false, -ERR_NOT_FOUND, NULL, NULL},
        {".localhost", false, -ERR_NOT_FOUND, NULL, NULL},
        {"hellolocalhost", false, -ERR_NOT_FOUND, NULL, NULL},
        {"127.0.0.1", false, -ERR_NOT_FOUND, NULL, NULL},
        {"", false, -ERR_NOT_FOUND, NULL, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct route_match_host m = {0};
        struct err why = {0};
        CASE_INT(cases[i].host, routes_ours(r, str_of(cases[i].host)), cases[i].ours);
        CASE_INT(cases[i].host, routes_find(r, str_of(cases[i].host), &f->fe.rng, &m, &why), cases[i].rc);
        CASE_TRUE(cases[i].host, !cases[i].project || strstr(m.service->name, cases[i].project));
        CASE_TRUE(cases[i].host, !cases[i].revision || strcmp(m.target->revision, cases[i].revision) == 0);
    }
    struct route_match_host m;
    struct err why = {0};
    assert_int_equal(routes_find(r, STR("hello.us-east1.other.localhost"), &f->fe.rng, &m, &why), -ERR_UNAVAILABLE);
    assert_non_null(strstr(why.msg, "the program exits at once"));
    routes_unref(r);
}

static void requests_are_shared_by_percent(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};
    struct routes *r = build(f, &e);
    int first = 0;
    for (int i = 0; i < 4000; i++) {
        struct route_match_host m;
        assert_int_equal(routes_find(r, STR("hello.localhost"), &f->fe.rng, &m, &e), 0);
        first += m.target->pool == f->pools[0];
    }
    assert_true(first > 850 && first < 1150);
    routes_unref(r);
    f->split[1].pool = NULL; /* its share goes to who can serve */
    r = build(f, &e);
    for (int i = 0; i < 100; i++) {
        struct route_match_host m;
        assert_int_equal(routes_find(r, STR("hello.localhost"), &f->fe.rng, &m, &e), 0);
        assert_ptr_equal(m.target->pool, f->pools[0]);
    }
    routes_unref(r);
}

static void a_snapshot_keeps_its_pools(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};
    struct routes *r = build(f, &e), *again = routes_ref(r);
    assert_int_equal(atomic_load(&f->pools[0]->refs), 2);
    routes_unref(r);
    assert_int_equal(atomic_load(&f->pools[0]->refs), 2);
    routes_unref(again);
    assert_int_equal(atomic_load(&f->pools[0]->refs), 1);
}

static void no_failed_allocation_leaves_half_a_snapshot(void **state)
{
    struct fixture *f = *state;
    for (size_t n = 1;; n++) {
        struct err e = {0};
        struct key_set *keys = key_set_new("http://issuer", NULL, 0, &e);
        support_fail_alloc(n);
        struct routes *r = routes_build(&f->x, f->policy, keys, "localhost", "proj-test", "europe-west1", &e);
        bool failed = support_alloc_failed();
        assert_true(r != NULL || (failed && e.code == ERR_RESOURCE_EXHAUSTED));
        routes_unref(r);
        assert_int_equal(atomic_load(&f->pools[0]->refs), 1);
        if (!failed)
            break;
    }
}

int main(void)
{
#define WITH(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH(hosts_lead_to_services_and_tags),
        WITH(requests_are_shared_by_percent),
        WITH(a_snapshot_keeps_its_pools),
        WITH(no_failed_allocation_leaves_half_a_snapshot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_backlog.c: what waits for a service, summed over sources and hosts, and told until nothing is left. */
#include "tests/support/unit.h"

#include "dispatcher/backlog.h"

#include <stdio.h>

#define HOSTS 4

struct source {
    struct {
        const char *host;
        uint64_t count;
    } hosts[HOSTS];
    int asked;
};
struct told {
    char text[256]; /* "a=5 b=0 " since it was last looked at, in any order */
};
struct fixture {
    struct fake_env fe;
    struct source pushes, tasks;
    struct told told;
    struct backlog *backlog;
};

static void each(void *arg, backlog_host_fn fn, void *fn_arg)
{
    struct source *s = arg;
    s->asked++;
    for (size_t i = 0; i < HOSTS && s->hosts[i].host; i++)
        fn(fn_arg, str_of(s->hosts[i].host), s->hosts[i].count);
}

/* NAME.localhost and TAG---NAME.localhost are ours. */
static const char *service(void *arg, struct str host)
{
    static const char *const names[] = {"a", "b"};
    if (host.n < 11)
        return NULL;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (host.p[host.n - 11] == names[i][0] && memcmp(host.p + host.n - 10, ".localhost", 10) == 0)
            return names[i];
    return NULL;
}

static void tell(void *arg, const char *name, uint64_t count)
{
    struct told *t = arg;
    size_t n = strlen(t->text);
    snprintf(t->text + n, sizeof t->text - n, "%s=%llu ", name, (unsigned long long)count);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct err e = {0};
    support_env(&f->fe);
    const struct backlog_target target = {service, tell, &f->told};
    const struct backlog_source sources[] = {{each, &f->pushes}, {each, &f->tasks}};
    f->backlog = backlog_new(&f->fe.env, &target, &e);
    assert_non_null(f->backlog);
    for (size_t i = 0; i < ARRAY_LEN(sources); i++)
        assert_int_equal(backlog_add(f->backlog, &sources[i], &e), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    backlog_free(f->backlog);
    support_env_fini(&f->fe);
    free(f);
    return 0;
}

static bool told(const struct fixture *f, const char *what) { return strstr(f->told.text, what) != NULL; }
static void forget(struct fixture *f) { f->told.text[0] = '\0'; }

static void both_sources_and_all_hosts_of_a_service_count_together(void **state)
{
    struct fixture *f = *state;
    f->pushes = (struct source){.hosts = {{"a.localhost", 3}, {"blue---a.localhost", 4}, {"elsewhere.example", 9}, {"b.localhost", 1}}};
    f->tasks = (struct source){.hosts = {{"a.localhost", 10}}};
    backlog_stir(f->backlog);
    assert_int_equal(f->tasks.asked, 0); /* not from within */
    fake_env_advance(&f->fe, 0);
    assert_true(told(f, "a=17 "));
    assert_true(told(f, "b=1 "));
}

static void one_source_that_runs_dry_does_not_take_the_other_along(void **state)
{
    struct fixture *f = *state;
    f->pushes.hosts[0].host = f->tasks.hosts[0].host = "a.localhost";
    f->pushes.hosts[0].count = 5;
    f->tasks.hosts[0].count = 7;
    backlog_stir(f->backlog);
    fake_env_advance(&f->fe, 0);
    assert_true(told(f, "a=12 "));
    forget(f);
    f->pushes.hosts[0].host = NULL;
    fake_env_advance(&f->fe, BACKLOG_TICK_NS);
    assert_string_equal(f->told.text, "a=7 ");
}

static void the_end_is_told_once_and_then_nobody_is_asked(void **state)
{
    struct fixture *f = *state;
    f->tasks.hosts[0].host = "a.localhost";
    f->tasks.hosts[0].count = 7;
    backlog_stir(f->backlog);
    fake_env_advance(&f->fe, 0);
    f->tasks.hosts[0].host = NULL;
    forget(f);
    fake_env_advance(&f->fe, BACKLOG_TICK_NS);
    assert_string_equal(f->told.text, "a=0 ");
    int asked = f->tasks.asked;
    fake_env_advance(&f->fe, 100 * BACKLOG_TICK_NS);
    assert_string_equal(f->told.text, "a=0 ");
    assert_int_equal(f->tasks.asked, asked);
    f->tasks.hosts[0].host = "a.localhost"; /* and again */
    forget(f);
    backlog_stir(f->backlog);
    backlog_stir(f->backlog);
    fake_env_advance(&f->fe, 0);
    assert_string_equal(f->told.text, "a=7 ");
    assert_int_equal(f->tasks.asked, asked + 1);
}

static void a_strangers_host_is_asked_about_again_it_may_become_ours(void **state)
{
    struct fixture *f = *state;
    f->tasks.hosts[0].host = "c.localhost";
    f->tasks.hosts[0].count = 2;
    backlog_stir(f->backlog);
    fake_env_advance(&f->fe, 0);
    assert_string_equal(f->told.text, "");
    f->tasks.hosts[0].host = "b.localhost";
    fake_env_advance(&f->fe, BACKLOG_TICK_NS);
    assert_string_equal(f->told.text, "b=2 ");
}

static void after_the_stop_nothing_is_told(void **state)
{
    struct fixture *f = *state;
    f->tasks.hosts[0].host = "a.localhost";
    backlog_stir(f->backlog);
    backlog_stop(f->backlog);
    backlog_stir(f->backlog);
    fake_env_advance(&f->fe, 10 * BACKLOG_TICK_NS);
    assert_string_equal(f->told.text, "");
}

static void sources_are_bounded_and_a_lost_allocation_is_made_up_for(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};
    const struct backlog_source more = {each, &f->pushes};
    int added = 2;
    while (backlog_add(f->backlog, &more, &e) == 0)
        added++;
    assert_int_equal(added, BACKLOG_SOURCES_MAX);
    assert_int_equal(e.code, ERR_RESOURCE_EXHAUSTED);
    f->tasks.hosts[0].host = "a.localhost";
    f->tasks.hosts[0].count = 3;
    backlog_stir(f->backlog);
    for (size_t n = 1; n < 3; n++) {
        support_fail_alloc(n);
        fake_env_advance(&f->fe, n == 1 ? 0 : BACKLOG_TICK_NS);
        support_alloc_failed();
    }
    fake_env_advance(&f->fe, BACKLOG_TICK_NS);
    assert_true(told(f, "a=3 "));
}

int main(void)
{
#define WITH(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH(both_sources_and_all_hosts_of_a_service_count_together),
        WITH(one_source_that_runs_dry_does_not_take_the_other_along),
        WITH(the_end_is_told_once_and_then_nobody_is_asked),
        WITH(a_strangers_host_is_asked_about_again_it_may_become_ours),
        WITH(after_the_stop_nothing_is_told),
        WITH(sources_are_bounded_and_a_lost_allocation_is_made_up_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

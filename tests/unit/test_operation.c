/* test_operation.c: long-running operations on a virtual clock: their life, waiting, listing, the limits. */
#include "tests/support/unit.h"

#include "core/rpc/operation.h"
#include "core/rpc/pb.h"

#include "core/rpc/longrunning.pb-c.h"
#include "google/protobuf/duration.pb-c.h"
#include "tests/support/test_rpc.pb-c.h"

#include <stdio.h>

#define PARENT "projects/p/locations/l"

struct fixture {
    struct fake_env fe;
    struct operations *ops;
    struct registry *registry;
    struct arena *arena;
    struct call call; /* the last one made */
    int answers;
};
static struct fixture *fx;

static int set_up(void **state)
{
    *state = fx = calloc(1, sizeof *fx);
    support_env(&fx->fe);
    fx->ops = operations_new(&fx->fe.env, NULL);
    fx->registry = registry_new();
    fx->arena = arena_new(64 << 20);
    return operations_register(fx->ops, fx->registry, NULL);
}

static int tear_down(void **state)
{
    registry_free(fx->registry);
    operations_free(fx->ops);
    arena_free(fx->arena);
    support_env_fini(&fx->fe);
    free(fx);
    return 0;
}

static void count_answer(struct call *c) { fx->answers++; }

/* Call the method whose name ends so. */
static struct call *run(struct call *c, const char *method, const void *request)
{
    for (size_t i = 0; registry_method(fx->registry, i); i++) {
        const struct method *m = registry_method(fx->registry, i);
        if (strcmp(strrchr(m->name, '/') + 1, method))
            continue;
        *c = (struct call){
            .method = m, .service = fx->ops, .arena = fx->arena, .finish = count_answer, .request = (ProtobufCMessage *)request};
        registry_dispatch(fx->registry, c);
        return c;
    }
    fail_msg("no method %s", method);
    return NULL;
}

static const Google__Longrunning__Operation *get(const char *name)
{
    Google__Longrunning__GetOperationRequest r = GOOGLE__LONGRUNNING__GET_OPERATION_REQUEST__INIT;
    r.name = (char *)name;
    return (const void *)run(&fx->call, "GetOperation", &r)->reply;
}

static struct call *wait_for(struct call *c, const char *name, int64_t timeout_ns)
{
    Google__Longrunning__WaitOperationRequest r = GOOGLE__LONGRUNNING__WAIT_OPERATION_REQUEST__INIT;
    r.name = (char *)name;
    if (timeout_ns)
        r.timeout = (Google__Protobuf__Duration *)pb_duration(fx->arena, timeout_ns);
    return run(c, "WaitOperation", &r);
}

static Runnel__Test__Item *item(const char *name)
{
    Runnel__Test__Item *i = pb_new(fx->arena, &runnel__test__item__descriptor);
    i->name = arena_strdup(fx->arena, name);
    return i;
}

static struct operation *start(void)
{
    struct err e = {0};
    struct operation *op = operation_start(fx->ops, PARENT, NULL, &e);
    if (!op)
        fail_msg("%s", e.msg);
    return op;
}

static void it_runs_and_finishes(void **state)
{
    struct operation *op = operation_start(fx->ops, PARENT, &item("working")->base, NULL);
    char *name = arena_strdup(fx->arena, operation_name(op));
    assert_int_equal(strncmp(name, PARENT "/operations/", strlen(PARENT "/operations/")), 0);
    assert_false(operation_done(op));
    const Google__Longrunning__Operation *m = get(name);
    assert_string_equal(m->name, name);
    assert_false(m->done);
    assert_string_equal(m->metadata->type_url, "type.googleapis.com/runnel.test.Item");
    assert_int_equal(m->result_case, GOOGLE__LONGRUNNING__OPERATION__RESULT__NOT_SET);
    operation_finish(op, &item("made")->base);
    m = get(name);
    assert_true(m->done);
    assert_int_equal(m->result_case, GOOGLE__LONGRUNNING__OPERATION__RESULT_RESPONSE);
    Runnel__Test__Item *made =
        pb_unpack(fx->arena, &runnel__test__item__descriptor, (struct str){(char *)m->response->value.data, m->response->value.len});
    assert_string_equal(made->name, "made");
}

static void it_runs_and_fails(void **state)
{
    struct operation *op = start();
    char *name = arena_strdup(fx->arena, operation_name(op));
    struct err e = {0};
    err_set(&e, ERR_FAILED_PRECONDITION, "the image does not start");
    operation_fail(op, &e);
    const Google__Longrunning__Operation *m = get(name);
    assert_true(m->done);
    assert_int_equal(m->result_case, GOOGLE__LONGRUNNING__OPERATION__RESULT_ERROR);
    assert_int_equal(m->error->code, 9);
    assert_string_equal(m->error->message, "the image does not start");
}

static void an_unknown_name_is_not_found(void **state)
{
    assert_null(get(PARENT "/operations/nobody"));
    assert_int_equal(fx->call.err.code, ERR_NOT_FOUND);
    assert_non_null(strstr(fx->call.err.msg, PARENT "/operations/nobody"));
}

static void a_finished_one_is_dropped_in_time(void **state)
{
    struct operation *op = start();
    char *name = arena_strdup(fx->arena, operation_name(op));
    operation_finish(op, &item("x")->base);
    fake_env_advance(&fx->fe, OPERATION_KEEP_NS - 1);
    assert_non_null(get(name));
    fake_env_advance(&fx->fe, 1);
    assert_null(get(name));
}

static void a_running_one_is_never_dropped(void **state)
{
    char *name = arena_strdup(fx->arena, operation_name(start()));
    fake_env_advance(&fx->fe, 10 * OPERATION_KEEP_NS);
    assert_non_null(get(name));
}

static void waiting_ends_with_the_operation(void **state)
{
    struct operation *op = start();
    struct call waiting[2];
    wait_for(&waiting[0], operation_name(op), 0);
    wait_for(&waiting[1], operation_name(op), 20 * NS_PER_S);
    fake_env_advance(&fx->fe, NS_PER_S);
    assert_int_equal(fx->answers, 0);
    operation_finish(op, &item("x")->base);
    assert_int_equal(fx->answers, 2);
    assert_true(((const Google__Longrunning__Operation *)waiting[0].reply)->done);
    assert_true(((const Google__Longrunning__Operation *)waiting[1].reply)->done);
    fake_env_advance(&fx->fe, 60 * NS_PER_S);
    assert_int_equal(fx->answers, 2);
}

static void waiting_ends_at_its_timeout(void **state)
{
    static const struct {
        const char *name;
        int64_t timeout_ns, want_ns;
    } cases[] = {
        {"as asked", 5 * NS_PER_S, 5 * NS_PER_S},
        {"by default", 0, OPERATION_WAIT_MAX_NS},
        {"at most", 3600 * NS_PER_S, OPERATION_WAIT_MAX_NS},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct call waiting;
        fx->answers = 0;
        wait_for(&waiting, operation_name(start()), cases[i].timeout_ns);
        fake_env_advance(&fx->fe, cases[i].want_ns - 1);
        CASE_INT(cases[i].name, fx->answers, 0);
        fake_env_advance(&fx->fe, 1);
        CASE_INT(cases[i].name, fx->answers, 1);
        CASE_TRUE(cases[i].name, !((const Google__Longrunning__Operation *)waiting.reply)->done);
    }
}

static void waiting_for_a_done_one_answers_at_once(void **state)
{
    struct operation *op = start();
    char *name = arena_strdup(fx->arena, operation_name(op));
    operation_finish(op, &item("x")->base);
    struct call waiting;
    wait_for(&waiting, name, 0);
    assert_int_equal(fx->answers, 1);
    wait_for(&waiting, name, -NS_PER_S);
    assert_int_equal(waiting.err.code, ERR_INVALID_ARGUMENT);
}

static void a_waiter_whose_client_goes_is_let_go(void **state)
{
    struct operation *op = start();
    struct call waiting;
    wait_for(&waiting, operation_name(op), 0);
    call_cancel(&waiting);
    assert_int_equal(fx->answers, 1);
    assert_int_equal(waiting.err.code, ERR_CANCELLED);
    operation_finish(op, &item("x")->base);
    fake_env_advance(&fx->fe, 60 * NS_PER_S);
    assert_int_equal(fx->answers, 1);
}

static void deleting_forgets_it(void **state)
{
    struct operation *done = start(), *running = start();
    Google__Longrunning__DeleteOperationRequest r = GOOGLE__LONGRUNNING__DELETE_OPERATION_REQUEST__INIT;
    struct call c, waiting = {0};
    r.name = arena_strdup(fx->arena, operation_name(done));
    operation_finish(done, &item("x")->base);
    assert_non_null(run(&c, "DeleteOperation", &r)->reply);
    assert_null(get(r.name));
    r.name = arena_strdup(fx->arena, operation_name(running));
    wait_for(&waiting, r.name, 0);
    assert_non_null(run(&c, "DeleteOperation", &r)->reply);
    assert_int_equal(waiting.err.code, ERR_NOT_FOUND);
    assert_null(get(r.name));
    operation_finish(running, &item("x")->base); /* its owner knows nothing of it */
    assert_int_equal(run(&c, "DeleteOperation", &r)->err.code, ERR_NOT_FOUND);
}

static void lists_come_in_pages(void **state)
{
    enum { N = 25 };
    for (int i = 0; i < N; i++)
        start();
    assert_non_null(operation_start(fx->ops, "projects/p/locations/other", NULL, NULL));
    Google__Longrunning__ListOperationsRequest r = GOOGLE__LONGRUNNING__LIST_OPERATIONS_REQUEST__INIT;
    r.name = (char *)PARENT;
    r.page_size = 10;
    size_t pages = 0, seen = 0;
    const char *last = "";
    for (bool more = true; more; pages++) {
        const Google__Longrunning__ListOperationsResponse *page = (const void *)run(&fx->call, "ListOperations", &r)->reply;
        assert_non_null(page);
        for (size_t i = 0; i < page->n_operations; i++, seen++) {
            assert_true(strcmp(page->operations[i]->name, last) > 0);
            last = page->operations[i]->name;
        }
        r.page_token = page->next_page_token;
        more = page->next_page_token[0] != '\0';
    }
    assert_int_equal(seen, N);
    assert_int_equal(pages, 3);
    r.page_token = (char *)"AAAAAAAAAAAAAAAA";
    assert_int_equal(run(&fx->call, "ListOperations", &r)->err.code, ERR_INVALID_ARGUMENT);
    r.page_token = (char *)"";
    r.filter = (char *)"done=true";
    assert_int_equal(run(&fx->call, "ListOperations", &r)->err.code, ERR_INVALID_ARGUMENT);
}

static void the_number_is_bounded(void **state)
{
    struct operation *first = start();
    char *first_name = arena_strdup(fx->arena, operation_name(first));
    for (int i = 1; i < OPERATIONS_MAX; i++)
        start();
    struct err e = {0};
    assert_null(operation_start(fx->ops, PARENT, NULL, &e));
    assert_int_equal(e.code, ERR_RESOURCE_EXHAUSTED);
    operation_finish(first, &item("x")->base);
    assert_non_null(get(first_name));
    assert_non_null(operation_start(fx->ops, PARENT, NULL, NULL));
    assert_null(get(first_name));
}

static void running_out_of_memory_is_an_error(void **state)
{
    Runnel__Test__Item *metadata = item("x");
    for (size_t n = 1;; n++) {
        struct err e = {0};
        support_fail_alloc(n);
        struct operation *op = operation_start(fx->ops, PARENT, &metadata->base, &e);
        bool failed = support_alloc_failed();
        assert_true(op || (failed && e.code == ERR_RESOURCE_EXHAUSTED));
        if (op)
            operation_finish(op, &metadata->base);
        if (!failed)
            break;
    }
}

int main(void)
{
#define WITH_FIXTURE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(it_runs_and_finishes),
        WITH_FIXTURE(it_runs_and_fails),
        WITH_FIXTURE(an_unknown_name_is_not_found),
        WITH_FIXTURE(a_finished_one_is_dropped_in_time),
        WITH_FIXTURE(a_running_one_is_never_dropped),
        WITH_FIXTURE(waiting_ends_with_the_operation),
        WITH_FIXTURE(waiting_ends_at_its_timeout),
        WITH_FIXTURE(waiting_for_a_done_one_answers_at_once),
        WITH_FIXTURE(a_waiter_whose_client_goes_is_let_go),
        WITH_FIXTURE(deleting_forgets_it),
        WITH_FIXTURE(lists_come_in_pages),
        WITH_FIXTURE(the_number_is_bounded),
        WITH_FIXTURE(running_out_of_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

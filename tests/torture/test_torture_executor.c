/** test_torture_executor.c: services while memory runs out and the store refuses: deploy, change, scale from zero, delete.
 *  A service that serves; then one method, or a request that needs an instance, with one fault somewhere in all that it sets off;
 *  then half a minute without. What serves goes on, whatever failed says why, and works at the second try; a kill -9 and a start find
 *  what was answered. */
#include "tests/support/support_executor.h"
#include "tests/support/unit.h"

#include <stdio.h>

#define IDLE_NS (60 * NS_PER_S)
#define PARENT "projects/proj/locations/here"
#define WEB PARENT "/services/web"
#define TEMPLATE(more) "\"template\":{\"containers\":[{\"image\":\"exec:///srv/web\"" more "}]}"
#define CREATE(id) \
    "{\"parent\":\"" PARENT "\",\"serviceId\":\"" id "\",\"service\":{" TEMPLATE(",\"env\":[{\"name\":\"A\",\"value\":\"1\"}]") "}}"

enum kind { CREATES, CHANGES, DELETES, LOOKS, SCALES };
struct step {
    const char *name;
    enum kind kind;
    const char *method, *json;
};
static const struct step steps[] = {
    {"create a service", CREATES, "Services/CreateService", CREATE("two")},
    {"a new revision", CHANGES, "Services/UpdateService",
     "{\"service\":{\"name\":\"" WEB "\"," TEMPLATE(",\"env\":[{\"name\":\"A\",\"value\":\"2\"}]") "}}"},
    {"change labels", CHANGES, "Services/UpdateService", "{\"service\":{\"name\":\"" WEB "\",\"labels\":{\"a\":\"b\"}," TEMPLATE("") "}}"},
    {"delete a service", DELETES, "Services/DeleteService", "{\"name\":\"" WEB "\"}"},
    {"list services", LOOKS, "Services/ListServices", "{\"parent\":\"" PARENT "\"}"},
    {"list revisions", LOOKS, "Revisions/ListRevisions", "{\"parent\":\"" WEB "\"}"},
    {"a request from zero", SCALES, NULL, NULL},
};

struct run {
    struct world w;
    const struct step *step;
    enum fault what;
    size_t nth;
    bool crash;
};

FMT(2, 3) static void broken(const struct run *r, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    fail_msg("%s, %s %zu: %s", r->step->name, fault_name(r->what), r->nth, text);
}

static bool has(struct run *r, const char *service)
{
    struct answer a;
    char request[200];
    snprintf(request, sizeof request, "{\"name\":\"" PARENT "/services/%s\"}", service);
    world_call(&r->w, "Services/GetService", request, &a);
    if (a.code != ERR_OK && a.code != ERR_NOT_FOUND)
        broken(r, "GetService %s: %s", service, a.message);
    return a.code == ERR_OK;
}

/* It has an instance for a request; started from zero it may take its backoff. */
static bool serves(struct run *r, const char *service)
{
    struct seen s;
    struct fake_request q;
    world_see(&r->w, service, &s);
    if (!s.found || !s.n_targets || !s.pools[0])
        return false;
    request_start(&r->w, s.pools[0], &q, 120 * NS_PER_S);
    for (int i = 0; i < 130 && !q.granted && !q.failed; i++)
        world_run(&r->w, NS_PER_S);
    if (q.granted)
        request_end(&q, NS_PER_MS);
    return !q.failed;
}

static void check_refusal(const struct run *r, const struct answer *a)
{
    bool memory = a->code == ERR_RESOURCE_EXHAUSTED && strstr(a->message, "memory");
    bool store = a->code == ERR_UNAVAILABLE && *a->message;
    if (r->what == FAULT_ALLOC ? !memory : !store)
        broken(r, "refused with %s: %s", err_name(a->code), a->message);
}

/* A request that comes while nothing runs: the fault is somewhere on the way to its instance. */
static bool run_request(struct run *r)
{
    struct seen s;
    struct fake_request q;
    world_run(&r->w, 3 * IDLE_NS);
    assert_int_equal(executor_counts(r->w.x).ready, 0);
    world_see(&r->w, "web", &s);
    fault_arm(r->what, r->nth, FAULT_ONCE);
    request_start(&r->w, s.pools[0], &q, 100 * NS_PER_S);
    world_run(&r->w, 30 * NS_PER_S);
    bool failed = fault_disarm();
    world_run(&r->w, 75 * NS_PER_S);
    if (!q.granted && !q.failed)
        broken(r, "a request is neither served nor refused");
    if (q.failed && (!failed || !*q.err.msg))
        broken(r, "a request is refused: %s", q.err.msg);
    if (q.granted)
        request_end(&q, NS_PER_MS);
    return failed;
}

static void check_after(struct run *r, bool ok)
{
    enum kind kind = r->step->kind;
    if (r->crash)
        world_crash(&r->w);
    world_run(&r->w, 30 * NS_PER_S);
    bool memory = r->what == FAULT_ALLOC; /* may run out after all is durable, when the answer is made */
    if (kind == CREATES && (ok || !memory) && has(r, "two") != ok)
        broken(r, "answered %s, and it is %s", ok ? "OK" : "with an error", ok ? "not there" : "there");
    if (kind == DELETES && ok && has(r, "web"))
        broken(r, "deleted, and it is there");
    if (kind != DELETES && !serves(r, "web"))
        broken(r, "what served before does not any more");
    if (kind == DELETES && !ok && has(r, "web") && !serves(r, "web"))
        broken(r, "not deleted, and not served");
}

/* The second try. */
static void check_again(struct run *r)
{
    struct answer a;
    if (!r->step->method)
        return;
    world_call(&r->w, r->step->method, r->step->json, &a);
    enum kind kind = r->step->kind;
    if (a.code && !(kind == CREATES && a.code == ERR_ALREADY_EXISTS) && !(kind == DELETES && a.code == ERR_NOT_FOUND))
        broken(r, "the second try says %s: %s", err_name(a.code), a.message);
    world_run(&r->w, 30 * NS_PER_S);
    if (kind == CREATES && !serves(r, "two")) {
        /* Its first rollout may have failed with the fault: that is said, and another one does it. */
        struct seen s;
        world_see(&r->w, "two", &s);
        if (!*s.not_ready)
            broken(r, "it does not serve and does not say why");
        world_call(&r->w, "Services/UpdateService", "{\"service\":{\"name\":\"" PARENT "/services/two\"," TEMPLATE("") "}}", &a);
        world_run(&r->w, 30 * NS_PER_S);
        if (a.code || !serves(r, "two"))
            broken(r, "it does not serve after another deployment: %s", a.message);
    }
    if (kind == DELETES && has(r, "web"))
        broken(r, "it cannot be deleted");
    if (kind != DELETES && !serves(r, "web"))
        broken(r, "it does not serve after the second try");
}

static bool run_once(struct run *r)
{
    struct answer a = {0};
    bool failed;
    world_init(&r->w, IDLE_NS, 0);
    world_call(&r->w, "Services/CreateService", CREATE("web"), &a);
    assert_int_equal(a.code, ERR_OK);
    world_run(&r->w, NS_PER_S);
    if (r->step->method) {
        r->w.fault.what = r->what;
        r->w.fault.nth = r->nth;
        world_call(&r->w, r->step->method, r->step->json, &a);
        world_run(&r->w, 20 * NS_PER_S);
        failed = fault_disarm();
        if (a.code && !failed)
            broken(r, "nothing failed, yet it says %s: %s", err_name(a.code), a.message);
        if (a.code)
            check_refusal(r, &a);
    } else {
        failed = run_request(r);
    }
    check_after(r, a.code == ERR_OK);
    check_again(r);
    world_fini(&r->w);
    return failed;
}

static bool run_step(const struct torture *t, enum fault what, size_t nth, size_t times)
{
    bool failed = false;
    for (int crash = 0; crash < 2; crash++) {
        struct run r = {.step = t->arg, .what = what, .nth = nth, .crash = crash};
        failed |= run_once(&r);
    }
    return failed;
}

static size_t torture_all(enum fault what)
{
    size_t failures = 0;
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        struct torture t = {.name = steps[i].name, .run = run_step, .arg = &steps[i], .every = true};
        failures += torture(&t, what, FAULT_ONCE);
    }
    return failures;
}

static void without_memory(void **state) { assert_true(torture_all(FAULT_ALLOC) > 200); }
static void with_a_store_that_refuses(void **state) { assert_true(torture_all(FAULT_WRITE) > 3); }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_memory),
        cmocka_unit_test(with_a_store_that_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

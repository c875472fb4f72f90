/** test_torture_schedules.c: schedules while memory runs out and the store refuses.
 *  Two jobs that fire every minute, one of which is nobody's business: then one method, or a firing that fails and comes again, with a
 *  fault somewhere in it or in the three minutes that follow; then five minutes without, at once or after a kill -9. The other job fires
 *  at every minute, once, what was answered holds, what was refused says why, is not half done, and works at the second try. */
#include "tests/support/support_schedules.h"
#include "tests/support/unit.h"

#include <stdio.h>

#define L "projects/p/locations/l"
#define J L "/jobs/job"
#define TWO L "/jobs/two"
#define HTTP "\"httpTarget\":{\"uri\":\"http://127.0.0.1:9/\"}"
#define EVERY_MINUTE "\"schedule\":\"* * * * *\"," HTTP
#define MINUTE (60 * NS_PER_S)
#define FAULTY 3 /* minutes with a fault in them */
#define MINUTES 8
#define TEXT_MAX 8192

enum kind { CREATES, CHANGES, DELETES, LOOKS, RUNS, FIRES };
struct act {
    const char *name;
    enum kind kind;
    const char *method, *json;
    const char *shows; /* what GetJob shows when a change was made */
    bool paused;       /* the job is, before */
};
static const struct act acts[] = {
    {"create a job", CREATES, "CreateJob", "{\"parent\":\"" L "\",\"job\":{\"name\":\"" TWO "\"," EVERY_MINUTE "}}", NULL, false},
    {"change a job", CHANGES, "UpdateJob", "{\"job\":{\"name\":\"" J "\",\"description\":\"new\"," EVERY_MINUTE "}}",
     "\"description\":\"new\"", false},
    {"pause a job", CHANGES, "PauseJob", "{\"name\":\"" J "\"}", "\"state\":\"PAUSED\"", false},
    {"resume a job", CHANGES, "ResumeJob", "{\"name\":\"" J "\"}", "\"state\":\"ENABLED\"", true},
    {"change a policy", CHANGES, "Schedules/UpdateJobPolicy", "{\"policy\":{\"name\":\"" J "\",\"overlap\":\"ALLOW\",\"missed\":\"ALL\"}}",
     NULL, false},
    {"delete a job", DELETES, "DeleteJob", "{\"name\":\"" J "\"}", NULL, false},
    {"list jobs", LOOKS, "ListJobs", "{\"parent\":\"" L "\",\"pageSize\":1}", NULL, false},
    {"look at the next firings", LOOKS, "Schedules/NextFirings", "{\"name\":\"" J "\",\"count\":5}", NULL, false},
    {"run a job", RUNS, "RunJob", "{\"name\":\"" J "\"}", NULL, true},
    {"a firing that fails and comes again", FIRES, "Schedules/NextFirings", "{\"name\":\"" J "\",\"count\":1}", NULL, false},
};

struct run {
    struct ts ts;
    const struct act *act;
    enum fault what;
    size_t nth, times, calls; /* calls: of the target, answered so far */
    bool crash;
};

FMT(2, 3) static void broken(const struct run *r, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    fail_msg("%s, %s %zu%s: %s", r->act->name, fault_name(r->what), r->nth, r->crash ? ", then a crash" : "", text);
}

/* Until minute `to` and a half; the target says 500 to every other call, if the act is about that. */
static void let_pass(struct run *r, int to)
{
    while (r->ts.fe.clock.wall_ns < FAKE_WALL_NS + to * MINUTE + MINUTE / 2) {
        ts_advance(&r->ts, NS_PER_S);
        while (r->ts.n_open)
            ts_answer(&r->ts, r->act->kind == FIRES && r->calls++ % 2 == 0 ? 500 : 200);
    }
}

static bool get(struct run *r, const char *name, char text[TEXT_MAX])
{
    char request[200];
    snprintf(request, sizeof request, "{\"name\":\"%s\"}", name);
    enum err_code code = ts_try(&r->ts, "GetJob", request, text, TEXT_MAX);
    if (code != ERR_OK && code != ERR_NOT_FOUND)
        broken(r, "GetJob %s: %s", name, text);
    return code == ERR_OK;
}

/* How often the job fired for each minute of the clock; by hand it is between two. */
static size_t fired(const struct run *r, const char *job, size_t count[MINUTES + 1])
{
    size_t by_hand = 0;
    memset(count, 0, (MINUTES + 1) * sizeof *count);
    for (size_t i = 0; i < r->ts.n_fired; i++) {
        const struct ts_fired *f = &r->ts.fired[i];
        int64_t t = 0;
        if (strcmp(f->job, job) != 0)
            continue;
        assert_int_equal(wall_parse(f->schedule_time, strlen(f->schedule_time), &t, NULL), 0);
        by_hand += (t - FAKE_WALL_NS) % MINUTE != 0;
        if ((t - FAKE_WALL_NS) % MINUTE == 0)
            count[(t - FAKE_WALL_NS) / MINUTE]++;
    }
    return by_hand;
}

static void check_witness(const struct run *r)
{
    size_t count[MINUTES + 1];
    fired(r, "other", count);
    for (size_t i = 1; i <= MINUTES; i++) {
        bool fails = r->act->kind == FIRES; /* then it comes again */
        if (count[i] == 0)
            broken(r, "the other job did not fire at minute %zu", i);
        if (count[i] > 1 && !r->crash && !fails)
            broken(r, "the other job fired %zu times at minute %zu", count[i], i);
    }
}

static void check_refusal(const struct run *r, enum err_code code, const char *text)
{
    bool memory = code == ERR_RESOURCE_EXHAUSTED && strstr(text, "memory");
    if (r->what == FAULT_ALLOC ? !memory : code != ERR_UNAVAILABLE || !*text)
        broken(r, "refused with %s: %s", err_name(code), text);
}

/* What was answered holds, and what was refused is not done: but the answer itself may have had no memory. */
static void check_effect(struct run *r, bool ok, bool perhaps)
{
    char text[TEXT_MAX];
    const struct act *a = r->act;
    bool there = get(r, a->kind == CREATES ? TWO : J, text);
    if (a->kind == CREATES && there != ok && !(there && perhaps))
        broken(r, "the job is %s", there ? "there" : "not there");
    if (a->kind == DELETES && there == ok && !(!there && perhaps))
        broken(r, "the job is %s", there ? "there" : "gone");
    if (a->kind != DELETES && a->kind != CREATES && !there)
        broken(r, "the job is gone");
    bool shown = a->shows && strstr(text, a->shows);
    if (a->shows && shown != ok && !(shown && perhaps))
        broken(r, "it is %s: %s", ok ? "not changed" : "changed", text);
}

static void check_firings(const struct run *r, int from)
{
    size_t count[MINUTES + 1];
    const char *job = r->act->kind == CREATES ? "two" : "job";
    size_t by_hand = fired(r, job, count);
    bool fires = r->act->kind != DELETES && !(r->act->shows && strstr(r->act->shows, "PAUSED")) && r->act->kind != RUNS;
    for (int i = from; i <= MINUTES; i++)
        if ((count[i] != 0) != fires)
            broken(r, "%s %s at minute %d", job, fires ? "did not fire" : "fired", i);
    if (r->act->kind == RUNS && !by_hand)
        broken(r, "it was run by hand, and did not run");
}

static bool live(struct run *r)
{
    char text[TEXT_MAX];
    ts_start(&r->ts);
    ts_call(&r->ts, ERR_OK, "CreateJob",
            "{\"parent\":\"" L "\",\"job\":{\"name\":\"" J "\",\"retryConfig\":{\"retryCount\":2}," EVERY_MINUTE "}}");
    ts_call(&r->ts, ERR_OK, "CreateJob",
            "{\"parent\":\"" L "\",\"job\":{\"name\":\"" L "/jobs/other\",\"retryConfig\":{\"retryCount\":2}," EVERY_MINUTE "}}");
    if (r->act->paused)
        ts_call(&r->ts, ERR_OK, "PauseJob", "{\"name\":\"" J "\"}");
    ts_advance(&r->ts, MINUTE / 2);
    r->ts.fault.what = r->what;
    r->ts.fault.nth = r->nth;
    r->ts.fault.times = r->times;
    enum err_code code = ts_try(&r->ts, r->act->method, r->act->json, text, sizeof text);
    let_pass(r, FAULTY);
    bool failed = fault_disarm();
    if (code != ERR_OK && !failed)
        broken(r, "nothing failed, yet it says %s: %s", err_name(code), text);
    if (code != ERR_OK)
        check_refusal(r, code, text);
    if (r->crash)
        ts_crash(&r->ts);
    check_effect(r, code == ERR_OK, r->what == FAULT_ALLOC);
    let_pass(r, FAULTY + 1);
    enum err_code again = ts_try(&r->ts, r->act->method, r->act->json, text, sizeof text);
    bool did = again == ERR_ALREADY_EXISTS || again == ERR_NOT_FOUND || again == ERR_FAILED_PRECONDITION;
    if (again != ERR_OK && !((code == ERR_OK || r->what == FAULT_ALLOC) && did))
        broken(r, "the second try says %s: %s", err_name(again), text);
    check_effect(r, true, false);
    let_pass(r, MINUTES);
    check_firings(r, FAULTY + 2);
    check_witness(r);
    ts_stop(&r->ts);
    return failed;
}

static bool run_act(const struct torture *t, enum fault what, size_t nth, size_t times)
{
    bool failed = false;
    for (int crash = 0; crash < 2; crash++) {
        static struct run r;
        memset(&r, 0, sizeof r);
        r.act = t->arg;
        r.what = what;
        r.nth = nth;
        r.times = times;
        r.crash = crash;
        failed |= live(&r);
    }
    return failed;
}

static size_t torture_all(enum fault what, size_t times)
{
    size_t failures = 0;
    for (size_t i = 0; i < ARRAY_LEN(acts); i++) {
        struct torture t = {.name = acts[i].name, .run = run_act, .arg = &acts[i], .every = true};
        failures += torture(&t, what, times);
    }
    return failures;
}

static void without_memory(void **state) { assert_true(torture_all(FAULT_ALLOC, FAULT_ONCE) > 500); }
/* What is tried again at once fails again. */
static void without_memory_for_a_while(void **state) { assert_true(torture_all(FAULT_ALLOC, 10) > 500); }
static void with_a_store_that_refuses(void **state) { assert_true(torture_all(FAULT_WRITE, FAULT_ONCE) > 50); }
static void with_a_store_that_refuses_for_a_while(void **state) { assert_true(torture_all(FAULT_WRITE, 10) > 50); }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_memory),
        cmocka_unit_test(without_memory_for_a_while),
        cmocka_unit_test(with_a_store_that_refuses),
        cmocka_unit_test(with_a_store_that_refuses_for_a_while),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

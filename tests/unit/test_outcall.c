/* test_outcall.c: what a described request becomes, whose token it brings, and how it ends, over a fake transport and token source. */
#include "tests/support/unit.h"

#include "dispatcher/outcall.h"

#include <stdio.h>

#define URL "http://example.com:81/run?x=1#part"
#define ACCOUNT "caller@proj-test.iam.gserviceaccount.com"
#define SENT_MAX 32
#define DEADLINE_NS (30 * NS_PER_S)

struct fixture {
    struct fake_env fe;
    struct transport transport;
    struct token_source tokens;
    struct outcalls *outcalls;
    /* the transport */
    struct push_request *sent[SENT_MAX];
    size_t n_sent, cancelled;
    /* the token source */
    bool tokens_wait;
    struct err refusal; /* code OK: a token is given */
    int asked;
    enum token_kind kind;
    char account[128], to[256];
    struct {
        void (*done)(void *arg, const char *token, const struct err *e);
        void *arg;
    } waiting[SENT_MAX];
    size_t n_waiting;
    /* what came of it */
    struct outcall_result result;
    int done, stopped;
};

static void fake_send(struct transport *t, struct push_request *r)
{
    struct fixture *f = CONTAINER_OF(t, struct fixture, transport);
    assert_true(f->n_sent < SENT_MAX);
    f->sent[f->n_sent++] = r;
}
static void fake_cancel(struct transport *t, struct push_request *r) { CONTAINER_OF(t, struct fixture, transport)->cancelled++; }
static const struct transport_ops fake_ops = {fake_send, fake_cancel};

static void fake_get(struct token_source *ts, enum token_kind kind, const char *account, const char *to,
                     void (*done)(void *arg, const char *token, const struct err *e), void *arg)
{
    struct fixture *f = CONTAINER_OF(ts, struct fixture, tokens);
    f->asked++;
    f->kind = kind;
    snprintf(f->account, sizeof f->account, "%s", account);
    snprintf(f->to, sizeof f->to, "%s", to);
    if (f->tokens_wait) {
        assert_true(f->n_waiting < SENT_MAX);
        f->waiting[f->n_waiting].done = done;
        f->waiting[f->n_waiting++].arg = arg;
    } else {
        done(arg, f->refusal.code ? NULL : "a.b.c", f->refusal.code ? &f->refusal : NULL);
    }
}

/* Answers the one who asked last. */
static void give_token(struct fixture *f, const char *token, const struct err *e)
{
    assert_true(f->n_waiting > 0);
    f->n_waiting--;
    f->waiting[f->n_waiting].done(f->waiting[f->n_waiting].arg, token, e);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct err e = {0};
    support_env(&f->fe);
    f->transport.ops = &fake_ops;
    f->tokens.get = fake_get;
    f->outcalls = outcalls_new(&f->fe.env, &f->tokens, &e);
    assert_non_null(f->outcalls);
    outcalls_connect(f->outcalls, &f->transport);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    struct err e;
    outcalls_free(f->outcalls);
    err_set(&e, ERR_CANCELLED, "the server is stopping");
    while (f->n_waiting) /* a source of tokens answers everybody in the end */
        give_token(f, NULL, &e);
    support_env_fini(&f->fe);
    free(f);
    return 0;
}

static void on_done(void *arg, const struct outcall_result *r)
{
    struct fixture *f = arg;
    f->result = *r;
    f->done++;
}
static void on_stopped(void *arg) { ((struct fixture *)arg)->stopped++; }

static struct outcall_spec spec(struct fixture *f)
{
    return (struct outcall_spec){
        .url = URL, .method = "POST", .user_agent = "Tester", .body = STR("hello"), .due_ns = env_now(&f->fe.env) + DEADLINE_NS};
}

static struct outcall_job *start(struct fixture *f, const struct outcall_spec *s, struct err *e)
{
    *e = (struct err){0};
    return outcalls_start(f->outcalls, s, on_done, f, e);
}

static const struct outcall *last(const struct fixture *f) { return f->sent[f->n_sent - 1]->outcall; }

static void answer(struct fixture *f, int status, enum err_code code)
{
    struct push_request *r = f->sent[f->n_sent - 1];
    r->sent_ns = env_now(&f->fe.env);
    fake_env_advance(&f->fe, 20 * NS_PER_MS);
    r->answered_ns = env_now(&f->fe.env);
    r->status = status;
    if (code)
        err_set(&r->err, code, "no answer");
    fake_env_advance(&f->fe, 5 * NS_PER_MS);
    r->done(r);
}

/* Is there exactly one header of this name, with this value? NULL: none at all. */
static void has_header(const char *name, const struct outcall *o, const char *value)
{
    size_t found = 0;
    for (uint32_t i = 0; i < o->headers->n; i++)
        if (str_ieq(o->headers->v[i].name, str_of(name))) {
            found++;
            CASE_TRUE(name, value && str_is(o->headers->v[i].value, value));
        }
    CASE_INT(name, found, value ? 1 : 0);
}

static void a_request_is_as_it_was_described(void **state)
{
    struct fixture *f = *state;
    struct err e;
    char url[] = URL, name[] = "X-Mine", value[] = "1";
    struct header fields[] = {{str_of(name), str_of(value)}, {STR("X-Empty"), STR("")}}, own[] = {{STR("X-Own"), STR("2")}};
    struct outcall_spec s = spec(f);
    s.url = url;
    s.fields = fields;
    s.n_fields = 2;
    s.own = own;
    s.n_own = 1;
    assert_non_null(start(f, &s, &e));
    memset(url, 'z', strlen(url)); /* its own copies */
    memset(name, 'z', strlen(name));
    memset(value, 'z', strlen(value));
    const struct outcall *o = last(f);
    assert_true(str_is(o->method, "POST"));
    assert_true(str_is(o->url.host, "example.com"));
    assert_int_equal(o->url.port, 81);
    assert_true(str_is(o->url.target, "/run?x=1"));
    assert_true(str_is(o->user_agent, "Tester"));
    assert_true(str_is(o->body, "hello"));
    assert_null(o->account);
    assert_int_equal(o->headers->n, 3);
    has_header("X-Mine", o, "1");
    has_header("X-Empty", o, "");
    has_header("X-Own", o, "2");
    assert_int_equal(f->sent[0]->auth_line.n, 0);
    assert_int_equal(f->sent[0]->due_ns, s.due_ns);
    assert_int_equal(f->done, 0);
    int64_t sent_wall_ns = env_wall(&f->fe.env);
    f->sent[0]->retry_after_ns = 7 * NS_PER_S;
    answer(f, 503, ERR_OK);
    assert_int_equal(f->done, 1);
    assert_int_equal(f->result.status, 503);
    assert_int_equal(f->result.retry_after_ns, 7 * NS_PER_S);
    assert_int_equal(f->result.sent_wall_ns, sent_wall_ns);
    assert_int_equal(f->result.took_ns, 20 * NS_PER_MS);
    assert_false(f->result.undelivered);
    assert_int_equal(outcalls_running(f->outcalls), 0);
}

static void reserved_headers_are_dropped_whatever_their_case(void **state)
{
    static const struct {
        const char *name;
        bool goes;
    } cases[] = {
        {"Host", false},
        {"hOST", false},
        {"Content-Length", false},
        {"content-length", false},
        {"Transfer-Encoding", false},
        {"Connection", false},
        {"Keep-Alive", false},
        {"Proxy-Authorization", false},
        {"TE", false},
        {"Trailer", false},
        {"Upgrade", false},
        {"Expect", false},
        {"User-Agent", false},
        {"X-Google-Anything", false},
        {"x-google-anything", false},
        {"X-AppEngine-QueueName", false},
        {"X-APPENGINE-", false},
        {"X-CloudTasks-TaskName", false},
        {"x-cloudtasks-taskname", false},
        {"X-Googler", true},
        {"X-Goog-Meta", true},
        {"Content-Type", true},
        {"Content-Lengths", true},
        {"Cookie", true},
        {"Authorization", true},
        {"X-CloudTasks", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        void *inner = NULL;
        struct err e;
        setup(&inner);
        struct fixture *f = inner;
        struct outcall_spec s = spec(f);
        const struct header field = {str_of(cases[i].name), STR("v")};
        s.fields = &field;
        s.n_fields = 1;
        s.own_prefix = "X-CloudTasks-";
        CASE_TRUE(cases[i].name, start(f, &s, &e) != NULL);
        has_header(cases[i].name, last(f), cases[i].goes ? "v" : NULL);
        teardown(&inner);
    }
}

static void only_three_methods_carry_a_body(void **state)
{
    static const struct {
        const char *method;
        bool body;
    } cases[] = {{"POST", true}, {"PUT", true}, {"PATCH", true}, {"GET", false}, {"HEAD", false}, {"DELETE", false}, {"OPTIONS", false}};
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err e;
        struct outcall_spec s = spec(f);
        s.method = cases[i].method;
        CASE_TRUE(cases[i].method, start(f, &s, &e) != NULL);
        CASE_TRUE(cases[i].method, str_is(last(f)->method, cases[i].method));
        CASE_INT(cases[i].method, last(f)->body.n, cases[i].body ? 5 : 0);
        answer(f, 200, ERR_OK);
    }
}

static void tokens_are_of_the_kind_and_for_whom_they_should_be(void **state)
{
    static const struct {
        const char *name;
        enum outcall_auth auth;
        const char *to;
        enum token_kind kind;
        const char *want;
    } cases[] = {
        {"an audience", OUTCALL_OIDC, "my-aud", TOKEN_IDENTITY, "my-aud"},
        {"the audience is the URL when none is given", OUTCALL_OIDC, "", TOKEN_IDENTITY, URL},
        {"none at all", OUTCALL_OIDC, NULL, TOKEN_IDENTITY, URL},
        {"a scope", OUTCALL_OAUTH, "https://example.com/scope", TOKEN_ACCESS, "https://example.com/scope"},
        {"the whole platform when none is given", OUTCALL_OAUTH, "", TOKEN_ACCESS, SCOPE_CLOUD_PLATFORM},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err e;
        struct outcall_spec s = spec(f);
        const struct header given = {STR("authorization"), STR("Basic mine")};
        s.fields = &given;
        s.n_fields = 1;
        s.auth = cases[i].auth;
        s.account = ACCOUNT;
        s.to = cases[i].to;
        CASE_TRUE(cases[i].name, start(f, &s, &e) != NULL);
        CASE_INT(cases[i].name, f->kind, cases[i].kind);
        CASE_STR(cases[i].name, f->to, cases[i].want);
        CASE_STR(cases[i].name, f->account, ACCOUNT);
        CASE_STR(cases[i].name, last(f)->account, ACCOUNT);
        CASE_TRUE(cases[i].name, str_is(f->sent[f->n_sent - 1]->auth_line, PUSH_AUTH "a.b.c\r\n"));
        has_header("Authorization", last(f), NULL); /* the token overrides it */
        answer(f, 200, ERR_OK);
    }
    assert_int_equal(f->done, ARRAY_LEN(cases));
}

static void what_cannot_be_sent_is_refused_with_a_reason(void **state)
{
    static const struct {
        const char *name, *url, *field, *value, *says;
    } cases[] = {
        {"no URL", "", NULL, NULL, "http://"},
        {"another scheme", "ftp://example.com/", NULL, NULL, "http://"},
        {"user-info", "http://me:pw@example.com/", NULL, NULL, "user name"},
        {"a name with a space", URL, "X Y", "v", "\"X Y\""},
        {"no name", URL, "", "v", "\"\""},
        {"a line break", URL, "X-Y", "a\r\nHost: b", "X-Y"},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err e;
        struct outcall_spec s = spec(f);
        const struct header field = {str_of(cases[i].field), str_of(cases[i].value)};
        s.url = cases[i].url;
        s.fields = &field;
        s.n_fields = cases[i].field ? 1 : 0;
        CASE_TRUE(cases[i].name, start(f, &s, &e) == NULL);
        CASE_INT(cases[i].name, e.code, ERR_INVALID_ARGUMENT);
        CASE_TRUE(cases[i].name, strstr(e.msg, cases[i].says) != NULL);
    }
    struct header many[OUTCALL_FIELDS_MAX + 1];
    struct outcall_spec s = spec(f);
    struct err e;
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        many[i] = (struct header){STR("X-Many"), STR("v")};
    s.fields = many;
    s.n_fields = ARRAY_LEN(many);
    assert_null(start(f, &s, &e));
    assert_int_equal(e.code, ERR_INVALID_ARGUMENT);
    s.n_fields--;
    assert_non_null(start(f, &s, &e));
    char longest[URL_LEN_MAX + 2] = "http://example.com/";
    memset(longest + strlen(longest), 'a', sizeof longest - 1 - strlen(longest));
    longest[URL_LEN_MAX + 1] = '\0';
    s.url = longest;
    assert_null(start(f, &s, &e));
    assert_int_equal(e.code, ERR_INVALID_ARGUMENT);
    longest[URL_LEN_MAX] = '\0';
    assert_non_null(start(f, &s, &e));
    assert_int_equal(f->done, 0);
}

static struct outcall_spec with_token(struct fixture *f)
{
    struct outcall_spec s = spec(f);
    s.auth = OUTCALL_OIDC;
    s.account = ACCOUNT;
    return s;
}

static void without_a_token_nothing_goes_out(void **state)
{
    struct fixture *f = *state;
    struct outcall_spec s = with_token(f);
    struct err e, why;
    err_set(&f->refusal, ERR_UNAVAILABLE, "no key yet");
    assert_null(start(f, &s, &e)); /* at once */
    assert_int_equal(e.code, ERR_UNAVAILABLE);
    f->tokens_wait = true;
    assert_non_null(start(f, &s, &e)); /* later */
    err_set(&why, ERR_UNAVAILABLE, "no key");
    give_token(f, NULL, &why);
    assert_int_equal(f->done, 1);
    assert_int_equal(f->result.status, 0);
    assert_true(f->result.undelivered);
    assert_non_null(start(f, &s, &e)); /* never */
    fake_env_advance(&f->fe, DEADLINE_NS);
    assert_int_equal(f->done, 2);
    assert_int_equal(f->result.err.code, ERR_UNAVAILABLE);
    assert_true(f->result.undelivered);
    give_token(f, "too.la.te", NULL); /* for nobody */
    assert_int_equal(f->n_sent, 0);
    s = with_token(f);
    assert_non_null(start(f, &s, &e)); /* an account that cannot be: the task's fault */
    err_set(&why, ERR_INVALID_ARGUMENT, "no account");
    give_token(f, NULL, &why);
    assert_false(f->result.undelivered);
    assert_non_null(start(f, &s, &e)); /* it came */
    give_token(f, "a.b.c", NULL);
    assert_int_equal(f->n_sent, 1);
    answer(f, 204, ERR_OK);
    assert_int_equal(f->result.status, 204);
}

static void what_is_our_fault_does_not_count(void **state)
{
    static const struct {
        enum err_code code;
        bool undelivered;
    } cases[] = {{ERR_RESOURCE_EXHAUSTED, true}, {ERR_CANCELLED, true}, {ERR_UNAVAILABLE, false},
                 {ERR_DEADLINE_EXCEEDED, false}, {ERR_INTERNAL, false}, {ERR_INVALID_ARGUMENT, false}};
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err e;
        struct outcall_spec s = spec(f);
        assert_non_null(start(f, &s, &e));
        answer(f, 0, cases[i].code);
        CASE_INT(err_name(cases[i].code), f->result.status, 0);
        CASE_INT(err_name(cases[i].code), f->result.err.code, cases[i].code);
        CASE_INT(err_name(cases[i].code), f->result.undelivered, cases[i].undelivered);
    }
}

static void a_request_can_be_called_off_at_any_time(void **state)
{
    struct fixture *f = *state;
    struct err e;
    struct outcall_spec s = with_token(f);
    f->tokens_wait = true;
    outcall_cancel(start(f, &s, &e)); /* while it waits for its token */
    assert_int_equal(f->done, 1);
    assert_int_equal(f->result.err.code, ERR_CANCELLED);
    assert_true(f->result.undelivered);
    give_token(f, "a.b.c", NULL);
    assert_int_equal(f->n_sent, 0);
    s = spec(f);
    struct outcall_job *j = start(f, &s, &e); /* while it runs */
    outcall_cancel(j);
    outcall_cancel(j);
    assert_int_equal(f->cancelled, 1);
    assert_int_equal(f->done, 1);
    answer(f, 200, ERR_OK); /* it was answered all the same */
    assert_int_equal(f->done, 2);
    assert_int_equal(f->result.status, 200);
}

static void it_stops_when_all_are_answered_or_the_grace_is_over(void **state)
{
    struct fixture *f = *state;
    struct err e;
    struct outcall_spec s = spec(f), t = with_token(f);
    f->tokens_wait = true;
    assert_non_null(start(f, &t, &e));
    assert_non_null(start(f, &t, &e));
    assert_non_null(start(f, &s, &e));
    outcalls_stop(f->outcalls, 2 * NS_PER_S, on_stopped, f);
    assert_null(start(f, &s, &e));
    assert_int_equal(e.code, ERR_UNAVAILABLE);
    fake_env_advance(&f->fe, 2 * NS_PER_S - 1);
    assert_int_equal(f->done + f->stopped, 0);
    fake_env_advance(&f->fe, 1);
    assert_int_equal(f->done, 2);
    assert_int_equal(f->cancelled, 1);
    assert_int_equal(f->stopped, 0);
    answer(f, 0, ERR_CANCELLED);
    assert_int_equal(f->stopped, 1);
}

static void with_nothing_under_way_it_stops_at_once_but_not_within(void **state)
{
    struct fixture *f = *state;
    outcalls_stop(f->outcalls, 100 * NS_PER_S, on_stopped, f);
    assert_int_equal(f->stopped, 0);
    fake_env_advance(&f->fe, 0);
    assert_int_equal(f->stopped, 1);
}

static void no_failed_allocation_loses_a_request(void **state)
{
    for (size_t n = 1;; n++) {
        void *inner = NULL;
        struct err e;
        setup(&inner);
        struct fixture *f = inner;
        struct outcall_spec s = with_token(f);
        f->tokens_wait = n % 2;
        support_fail_alloc(n / 2);
        struct outcall_job *j = start(f, &s, &e);
        if (j && f->tokens_wait)
            give_token(f, "a.b.c", NULL);
        bool failed = support_alloc_failed();
        assert_int_equal(j != NULL, f->done || f->n_sent);
        assert_true(j || e.code == ERR_RESOURCE_EXHAUSTED);
        if (f->done)
            assert_true(f->result.undelivered);
        teardown(&inner);
        if (!failed && n > 3)
            break;
    }
}

int main(void)
{
#define WITH(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH(a_request_is_as_it_was_described),
        cmocka_unit_test(reserved_headers_are_dropped_whatever_their_case),
        WITH(only_three_methods_carry_a_body),
        WITH(tokens_are_of_the_kind_and_for_whom_they_should_be),
        WITH(what_cannot_be_sent_is_refused_with_a_reason),
        WITH(without_a_token_nothing_goes_out),
        WITH(what_is_our_fault_does_not_count),
        WITH(a_request_can_be_called_off_at_any_time),
        WITH(it_stops_when_all_are_answered_or_the_grace_is_over),
        WITH(with_nothing_under_way_it_stops_at_once_but_not_within),
        cmocka_unit_test(no_failed_allocation_loses_a_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/** test_push.c: the window's arithmetic row by row, and pushers over a fake subscription and a fake transport on the virtual clock. */
#include "tests/support/unit.h"

#include "core/base/map.h"
#include "dispatcher/push.h"

#include <stdio.h>

#define SUB "projects/proj-test/subscriptions/s1"
#define ENDPOINT "http://127.0.0.1:9/push?x=1"
#define DEADLINE_NS (10 * NS_PER_S)
#define LEASES 64

/* ---- a subscription as simple as can be: it stands in for the broker's ---- */

struct subscription {
    struct consumer *consumer;
    Google__Pubsub__V1__Subscription config;
    Google__Pubsub__V1__PushConfig push;
    Google__Pubsub__V1__PushConfig__OidcToken oidc;
    struct lease leases[LEASES];
    size_t n, taken, acked, nacked;
    int64_t last_delay_ns;
};
struct broker {
    broker_watch_fn fn;
    void *arg;
};

void broker_watch(struct broker *b, broker_watch_fn fn, void *arg)
{
    b->fn = fn;
    b->arg = arg;
}
const char *subscription_name(const struct subscription *s) { return SUB; }
const Google__Pubsub__V1__Subscription *subscription_config(const struct subscription *s) { return &s->config; }
int64_t subscription_ack_deadline_ns(const struct subscription *s) { return DEADLINE_NS; }

static size_t count_ready(const struct subscription *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++)
        n += s->leases[i].state == LEASE_READY;
    return n;
}
uint64_t subscription_backlog(const struct subscription *s) { return count_ready(s); }

struct subscription_stats subscription_stats(const struct subscription *s)
{
    return (struct subscription_stats){.in_state = {[LEASE_READY] = count_ready(s)}};
}

size_t subscription_take(struct subscription *s, size_t max, size_t max_bytes, struct lease **out)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n && n < max; i++) {
        if (s->leases[i].state != LEASE_READY)
            continue;
        s->leases[i].state = LEASE_SENT;
        s->leases[i].attempt++;
        out[n++] = &s->leases[i];
    }
    s->taken += n;
    return n;
}

/* LEASE_N stands for settled, so that a second settlement shows. */
static void settle_lease(struct lease *l, enum lease_state to)
{
    assert_int_equal(l->state, LEASE_SENT);
    l->state = to;
}

void subscription_ack(struct subscription *s, struct lease *l)
{
    settle_lease(l, LEASE_N);
    s->acked++;
}

void subscription_nack(struct subscription *s, struct lease *l, int64_t delay_ns)
{
    settle_lease(l, LEASE_WAIT);
    s->nacked++;
    s->last_delay_ns = delay_ns;
}

void subscription_consume(struct subscription *s, struct consumer *c)
{
    for (size_t i = 0; !c && i < s->n; i++)
        if (s->leases[i].state == LEASE_SENT)
            s->leases[i].state = LEASE_READY;
    s->consumer = c;
}

/* ---- a transport and a source of tokens that wait for the test ---- */

struct fake_transport {
    struct transport base;
    struct push_request *sent[LEASES * 4];
    size_t n, done, cancelled;
};

static void fake_send(struct transport *t, struct push_request *r)
{
    struct fake_transport *ft = CONTAINER_OF(t, struct fake_transport, base);
    ft->sent[ft->n++] = r;
}
static void fake_cancel(struct transport *t, struct push_request *r) { CONTAINER_OF(t, struct fake_transport, base)->cancelled++; }
static const struct transport_ops fake_ops = {fake_send, fake_cancel};

struct fake_tokens {
    struct token_source base;
    bool at_once;
    int asked;
    void (*done)(void *arg, const char *token, const struct err *e);
    void *arg;
    char account[128], audience[128];
};

static void fake_get(struct token_source *ts, enum token_kind kind, const char *account, const char *audience,
                     void (*done)(void *arg, const char *token, const struct err *e), void *arg)
{
    struct fake_tokens *ft = CONTAINER_OF(ts, struct fake_tokens, base);
    ft->asked++;
    snprintf(ft->account, sizeof ft->account, "%s", account);
    snprintf(ft->audience, sizeof ft->audience, "%s", audience);
    if (ft->at_once) {
        done(arg, "tok", NULL);
        return;
    }
    ft->done = done;
    ft->arg = arg;
}

struct fixture {
    struct fake_env fe;
    struct broker broker;
    struct subscription sub;
    struct fake_transport transport;
    struct fake_tokens tokens;
    struct metrics *metrics;
    struct pushers *pushers;
    bool stopped;
};

static void config_reset(struct fixture *f)
{
    google__pubsub__v1__subscription__init(&f->sub.config);
    google__pubsub__v1__push_config__init(&f->sub.push);
    google__pubsub__v1__push_config__oidc_token__init(&f->sub.oidc);
    f->sub.push.push_endpoint = (char *)ENDPOINT;
    f->sub.config.push_config = &f->sub.push;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct err e = {0};
    support_env(&f->fe);
    config_reset(f);
    f->transport.base.ops = &fake_ops;
    f->tokens.base.get = fake_get;
    f->metrics = metrics_new();
    f->pushers = pushers_new(&f->fe.env, &f->broker, &f->transport.base, &f->tokens.base, f->metrics, &e);
    assert_non_null(f->pushers);
    *state = f;
    return 0;
}

static void answer(struct fixture *f, int status);

static int teardown(void **state)
{
    struct fixture *f = *state;
    pushers_free(f->pushers);
    metrics_free(f->metrics);
    support_env_fini(&f->fe);
    for (size_t i = 0; i < f->sub.n; i++)
        message_unref(f->sub.leases[i].msg);
    free(f);
    return 0;
}

static void add_messages(struct fixture *f, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct err e = {0};
        Google__Pubsub__V1__PubsubMessage m = GOOGLE__PUBSUB__V1__PUBSUB_MESSAGE__INIT;
        m.data = (ProtobufCBinaryData){2, (uint8_t *)"hi"};
        struct lease *l = &f->sub.leases[f->sub.n++];
        *l = (struct lease){.sub = &f->sub, .msg = message_new(&m, 0, &e), .state = LEASE_READY};
        assert_non_null(l->msg);
    }
}

static void watch(struct fixture *f, bool gone) { f->broker.fn(f->broker.arg, &f->sub, gone); }
static void ready(struct fixture *f) { f->sub.consumer->on_ready(f->sub.consumer); }

/* Answer the oldest unanswered push. */
static void answer(struct fixture *f, int status)
{
    assert_true(f->transport.done < f->transport.n);
    struct push_request *r = f->transport.sent[f->transport.done++];
    r->status = status;
    r->answered_ns = r->sent_ns + NS_PER_MS;
    if (!status)
        err_set(&r->err, ERR_UNAVAILABLE, "no answer");
    r->done(r);
}

static void start(struct fixture *f, size_t messages)
{
    add_messages(f, messages);
    watch(f, false);
    ready(f);
}

/* ---- pushers ---- */

static void it_starts_slowly_and_doubles_with_acks(void **state)
{
    struct fixture *f = *state;
    start(f, 40);
    assert_int_equal(f->transport.n, PUSH_WINDOW_START);
    for (int i = 0; i < PUSH_WINDOW_START; i++)
        answer(f, 204);
    assert_int_equal(f->sub.acked, PUSH_WINDOW_START);
    assert_int_equal(f->transport.n - f->transport.done, 2 * PUSH_WINDOW_START);
}

static void only_five_answers_are_acks(void **state)
{
    const struct {
        int status;
        bool acks;
    } cases[] = {{102, true},  {200, true},  {201, true},  {202, true},  {204, true},  {203, false}, {206, false}, {100, false},
                 {301, false}, {400, false}, {404, false}, {429, false}, {500, false}, {503, false}, {0, false}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", cases[i].status);
        void *inner = NULL;
        setup(&inner);
        struct fixture *f = inner;
        start(f, 1);
        answer(f, cases[i].status);
        CASE_INT(name, f->sub.acked, cases[i].acks);
        CASE_INT(name, f->sub.nacked, !cases[i].acks);
        CASE_TRUE(name, cases[i].acks || f->sub.last_delay_ns >= PUSH_BACKOFF_MIN_NS);
        teardown(&inner);
    }
}

static void failures_pause_the_whole_subscription(void **state)
{
    struct fixture *f = *state;
    start(f, 20);
    for (int i = 0; i < PUSH_WINDOW_START; i++)
        answer(f, 500);
    size_t sent = f->transport.n;
    assert_int_equal(sent, PUSH_WINDOW_START); /* nothing new while it pauses */
    fake_env_advance(&f->fe, PUSH_BACKOFF_MAX_NS);
    assert_true(f->transport.n > sent);
    assert_true(f->transport.n - sent < PUSH_WINDOW_START); /* and fewer than before */
}

static void a_failing_endpoint_is_told_seldom(void **state)
{
    struct fixture *f = *state;
    support_log(&f->fe);
    start(f, 20);
    answer(f, 500);
    answer(f, 0);
    assert_int_equal(fake_log(&f->fe, "\"push.failing\""), 1);
    assert_int_equal(fake_log(&f->fe, "\"WARNING\",\"event\":\"push.failing\",\"subscription\":\"" SUB "\""), 1);
    assert_int_equal(fake_log(&f->fe, "\"status\":500"), 1);
    assert_int_equal(fake_log(&f->fe, "x=1"), 0); /* the query may be a secret */
    fake_clock_move(&f->fe.clock, LOG_SELDOM_NS);
    answer(f, 0);
    assert_int_equal(fake_log(&f->fe, "\"status\":0,\"error\":\"no answer\",\"failures\":2"), 1);
    fake_clock_move(&f->fe.clock, LOG_SELDOM_NS);
    struct lease *l = &f->sub.leases[3]; /* nothing comes at all */
    l->state = LEASE_WAIT;
    f->sub.consumer->on_expired(f->sub.consumer, l);
    assert_int_equal(fake_log(&f->fe, "\"error\":\"no answer within the ack deadline\",\"failures\":1"), 1);
    answer(f, 204); /* what succeeds, and what comes too late, is not worth a word */
    assert_int_equal(fake_log(&f->fe, "push."), 3);
}

static void a_token_is_fetched_first_and_shown(void **state)
{
    struct fixture *f = *state;
    f->sub.oidc.service_account_email = (char *)"a@b.c";
    f->sub.push.oidc_token = &f->sub.oidc;
    f->sub.push.authentication_method_case = GOOGLE__PUBSUB__V1__PUSH_CONFIG__AUTHENTICATION_METHOD_OIDC_TOKEN;
    start(f, 2);
    assert_int_equal(f->transport.n, 0);
    assert_int_equal(f->tokens.asked, 1);
    assert_string_equal(f->tokens.audience, ENDPOINT); /* its default */
    f->tokens.done(f->tokens.arg, "tok", NULL);
    assert_int_equal(f->transport.n, 2);
    assert_true(str_is(push_token(f->transport.sent[0]), "tok"));
    answer(f, 200);
    answer(f, 200);
    f->tokens.at_once = true;
    fake_env_advance(&f->fe, 61 * NS_PER_S);
    add_messages(f, 1);
    ready(f);
    assert_int_equal(f->tokens.asked, 2); /* asked again now and then */
    assert_int_equal(f->transport.n, 3);
    answer(f, 200);
}

static void without_a_token_nothing_is_sent_and_it_is_asked_again(void **state)
{
    struct fixture *f = *state;
    struct err e = {0};
    err_set(&e, ERR_UNAVAILABLE, "no key");
    f->sub.oidc.service_account_email = (char *)"a@b.c";
    f->sub.push.oidc_token = &f->sub.oidc;
    f->sub.push.authentication_method_case = GOOGLE__PUBSUB__V1__PUSH_CONFIG__AUTHENTICATION_METHOD_OIDC_TOKEN;
    support_log(&f->fe);
    start(f, 1);
    for (int i = 0; i < 20; i++) {
        f->tokens.done(f->tokens.arg, NULL, &e);
        fake_env_advance(&f->fe, NS_PER_S);
    }
    assert_int_equal(f->tokens.asked, 21);
    assert_int_equal(fake_log(&f->fe, "\"push.no_token\""), 1);
    assert_int_equal(f->sub.taken, 0);
    f->tokens.done(f->tokens.arg, NULL, &e);
    f->tokens.at_once = true;
    fake_env_advance(&f->fe, 2 * NS_PER_S);
    assert_int_equal(f->transport.n, 1);
    answer(f, 200);
}

static void a_pusher_that_goes_while_its_token_is_made_is_not_missed(void **state)
{
    struct fixture *f = *state;
    f->sub.oidc.service_account_email = (char *)"a@b.c";
    f->sub.push.oidc_token = &f->sub.oidc;
    f->sub.push.authentication_method_case = GOOGLE__PUBSUB__V1__PUSH_CONFIG__AUTHENTICATION_METHOD_OIDC_TOKEN;
    start(f, 1);
    watch(f, true);
    assert_null(f->sub.consumer);
    f->tokens.done(f->tokens.arg, "late", NULL);
    assert_int_equal(f->transport.n, 0);
}

static void an_expired_lease_is_called_off_and_its_late_answer_ignored(void **state)
{
    struct fixture *f = *state;
    start(f, 1);
    struct lease *l = &f->sub.leases[0];
    l->state = LEASE_WAIT;
    f->sub.consumer->on_expired(f->sub.consumer, l);
    assert_int_equal(f->transport.cancelled, 1);
    assert_null(l->consumer_data);
    answer(f, 200);
    assert_int_equal(f->sub.acked, 0);
    assert_int_equal(f->sub.nacked, 0);
}

static void what_seek_takes_away_is_forgotten(void **state)
{
    struct fixture *f = *state;
    start(f, 1);
    f->sub.leases[0].state = LEASE_N;
    f->sub.consumer->on_drop(f->sub.consumer, &f->sub.leases[0]);
    answer(f, 500);
    assert_int_equal(f->sub.nacked, 0);
}

static void changing_the_config_keeps_what_is_under_way(void **state)
{
    struct fixture *f = *state;
    start(f, 5);
    f->sub.push.push_endpoint = (char *)"http://127.0.0.1:9/other";
    watch(f, false);
    assert_int_equal(f->transport.cancelled, 0);
    assert_string_equal(f->transport.sent[0]->endpoint->text, ENDPOINT);
    add_messages(f, 1);
    answer(f, 200);
    fake_env_advance(&f->fe, 0);
    assert_string_equal(f->transport.sent[5]->endpoint->text, "http://127.0.0.1:9/other");
    assert_int_equal(f->sub.acked, 1);
    while (f->transport.done < f->transport.n)
        answer(f, 200);
}

static void detaching_or_turning_to_pull_calls_everything_off(void **state)
{
    for (int how = 0; how < 3; how++) {
        void *inner = NULL;
        setup(&inner);
        struct fixture *f = inner;
        start(f, 3);
        f->sub.config.detached = how == 0;
        if (how == 1)
            f->sub.push.push_endpoint = (char *)"";
        watch(f, how == 2);
        assert_null(f->sub.consumer);
        assert_int_equal(f->transport.cancelled, 3);
        for (int i = 0; i < 3; i++)
            answer(f, 0);
        assert_int_equal(f->sub.nacked, 0);
        teardown(&inner);
    }
}

static void attempts_are_shown_only_with_a_dead_letter_policy(void **state)
{
    struct fixture *f = *state;
    Google__Pubsub__V1__DeadLetterPolicy dead = GOOGLE__PUBSUB__V1__DEAD_LETTER_POLICY__INIT;
    start(f, 1);
    assert_int_equal(f->transport.sent[0]->delivery_attempt, 0);
    assert_int_equal(f->transport.sent[0]->due_ns, FAKE_MONO_NS + DEADLINE_NS);
    f->sub.config.dead_letter_policy = &dead;
    add_messages(f, 1);
    ready(f);
    assert_int_equal(f->transport.sent[1]->delivery_attempt, 1);
    answer(f, 200);
    answer(f, 200);
    f->sub.config.dead_letter_policy = NULL;
}

static void on_stopped(void *arg) { ((struct fixture *)arg)->stopped = true; }

static void stopping_waits_for_what_is_under_way(void **state)
{
    struct fixture *f = *state;
    start(f, 7);
    pushers_stop(f->pushers, 5 * NS_PER_S, on_stopped, f);
    answer(f, 200);
    assert_int_equal(f->transport.n, PUSH_WINDOW_START); /* nothing new */
    assert_false(f->stopped);
    fake_env_advance(&f->fe, 5 * NS_PER_S);
    assert_int_equal(f->transport.cancelled, PUSH_WINDOW_START - 1);
    while (f->transport.done < f->transport.n) {
        assert_false(f->stopped);
        answer(f, 0);
    }
    assert_true(f->stopped);
    assert_null(f->sub.consumer);
}

static void stopping_with_nothing_under_way_is_done_soon(void **state)
{
    struct fixture *f = *state;
    watch(f, false);
    pushers_stop(f->pushers, 5 * NS_PER_S, on_stopped, f);
    assert_false(f->stopped);
    fake_env_advance(&f->fe, 0);
    assert_true(f->stopped);
}

static void what_gets_ready_while_stopping_wakes_nobody(void **state)
{
    struct fixture *f = *state;
    watch(f, false);
    pushers_stop(f->pushers, 5 * NS_PER_S, on_stopped, f);
    add_messages(f, 3);
    ready(f);
    fake_env_advance(&f->fe, 10 * NS_PER_S); /* the tick must not look at a subscription that was let go */
    assert_true(f->stopped);
    assert_int_equal(f->transport.n, 0);
    watch(f, false); /* made, or changed, by a call that was under way */
    fake_env_advance(&f->fe, 10 * NS_PER_S);
    assert_null(f->sub.consumer);
    assert_int_equal(f->transport.n, 0);
}

struct told {
    uint64_t count;
    int times, stirred;
};
static void on_host(void *arg, struct str host, uint64_t count)
{
    struct told *t = arg;
    assert_true(str_is(host, "127.0.0.1"));
    t->count = count;
    t->times++;
}
static void on_active(void *arg) { ((struct told *)arg)->stirred++; }

static void the_backlog_is_told_until_it_is_gone(void **state)
{
    struct fixture *f = *state;
    struct told told = {0};
    pushers_watch(f->pushers, on_active, &told);
    pushers_backlog(f->pushers, on_host, &told);
    assert_int_equal(told.times + told.stirred, 0);
    start(f, 12);
    assert_int_equal(told.stirred, 1);
    pushers_backlog(f->pushers, on_host, &told);
    assert_int_equal(told.count, 12 - PUSH_WINDOW_START);
    while (f->transport.done < f->transport.n)
        answer(f, 200);
    pushers_backlog(f->pushers, on_host, &told); /* for the last time */
    assert_int_equal(told.times, 2);
    assert_int_equal(told.count, 0);
    pushers_backlog(f->pushers, on_host, &told);
    assert_int_equal(told.times, 2);
    ready(f);
    assert_int_equal(told.stirred, 2);
}

static void no_failed_allocation_loses_a_lease(void **state)
{
    for (size_t n = 1;; n++) {
        void *inner = NULL;
        setup(&inner);
        struct fixture *f = inner;
        add_messages(f, 3);
        f->tokens.at_once = true;
        f->sub.oidc.service_account_email = (char *)"a@b.c";
        f->sub.push.oidc_token = &f->sub.oidc;
        f->sub.push.authentication_method_case = GOOGLE__PUBSUB__V1__PUSH_CONFIG__AUTHENTICATION_METHOD_OIDC_TOKEN;
        support_fail_alloc(n);
        watch(f, false);
        if (f->sub.consumer)
            ready(f);
        bool failed = support_alloc_failed();
        /* Every lease that was taken is either on its way or was given back. */
        assert_int_equal(f->sub.taken, f->transport.n + f->sub.nacked);
        fake_env_advance(&f->fe, 5 * NS_PER_S);
        while (f->transport.done < f->transport.n)
            answer(f, 200);
        assert_true(!f->sub.consumer || f->sub.acked + f->sub.nacked >= 3);
        teardown(&inner);
        if (!failed)
            break;
    }
}

static void endpoints_are_checked_with_a_reason(void **state)
{
    const struct {
        const char *endpoint;
        bool good;
    } cases[] = {
        {"http://127.0.0.1:8080/push?x=1", true},
        {"https://example.com", true},
        {"http://svc.localhost:8080/", true},
        {"ftp://example.com/", false},
        {"example.com", false},
        {"http://", false},
        {"http://u:p@example.com/", false},
        {"http://example.com:99999/", false},
        {"http://exa mple.com/", false},
        {"javascript:alert(1)", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err e = {0};
        CASE_INT(cases[i].endpoint, push_endpoint_check(NULL, cases[i].endpoint, &e), cases[i].good ? 0 : -ERR_INVALID_ARGUMENT);
        CASE_TRUE(cases[i].endpoint, cases[i].good || strstr(e.msg, "push endpoint"));
    }
    char long_url[4000] = "http://example.com/";
    memset(long_url + 19, 'a', sizeof long_url - 20);
    struct err e = {0};
    assert_int_equal(push_endpoint_check(NULL, long_url, &e), -ERR_INVALID_ARGUMENT);
}

int main(void)
{
#define WITH(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH(it_starts_slowly_and_doubles_with_acks),
        cmocka_unit_test(only_five_answers_are_acks),
        WITH(failures_pause_the_whole_subscription),
        WITH(a_failing_endpoint_is_told_seldom),
        WITH(a_token_is_fetched_first_and_shown),
        WITH(without_a_token_nothing_is_sent_and_it_is_asked_again),
        WITH(a_pusher_that_goes_while_its_token_is_made_is_not_missed),
        WITH(an_expired_lease_is_called_off_and_its_late_answer_ignored),
        WITH(what_seek_takes_away_is_forgotten),
        WITH(changing_the_config_keeps_what_is_under_way),
        cmocka_unit_test(detaching_or_turning_to_pull_calls_everything_off),
        WITH(attempts_are_shown_only_with_a_dead_letter_policy),
        WITH(stopping_waits_for_what_is_under_way),
        WITH(stopping_with_nothing_under_way_is_done_soon),
        WITH(what_gets_ready_while_stopping_wakes_nobody),
        WITH(the_backlog_is_told_until_it_is_gone),
        cmocka_unit_test(no_failed_allocation_loses_a_lease),
        cmocka_unit_test(endpoints_are_checked_with_a_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* fuzz_route.c: paths and queries of API calls, against the real method tables, and templates of any kind.
 *  1. What a path gives to its variables, put back into the template percent-encoded, is found again with the same values.
 *  2. The message that a request becomes is written as JSON and read again without a change.
 *  3. A template that is accepted finds the path made of itself.
 * Input: a verb (`0` to `4`) or `t`; then the path with its query up to the line feed, and the body; or a template and a path. */
#include "broker/broker_int.h"
#include "core/base/text.h"
#include "core/rpc/json.h"
#include "core/rpc/method_int.h"
#include "core/rpc/operation.h"
#include "core/rpc/pb.h"
#include "core/rpc/rest_int.h"
#include "dispatcher/policy.h"
#include "executor/executor_int.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/support.h"
#include "tests/support/test_rpc.pb-c.h"

#define PATH_MAX_BYTES 16384

/* The tables of the server, with nothing behind them that could be called. */
static struct registry *real_tables(void)
{
    static struct registry *r;
    static struct fake_env fe;
    static const struct policy_config open_to_all = {0};
    static const struct executor_config run = {.project = "p", .region = "r", .domain = "localhost"};
    static const struct broker_config pubsub = {.default_project = "p"};
    if (r)
        return r;
    support_env(&fe);
    struct store *store = store_memory_new();
    struct adapter *adapter = adapter_embedded_new(&fe.env, store, NULL);
    struct broker *b = broker_new(&fe.env, &pubsub, store, adapter, NULL, NULL);
    struct operations *ops = operations_new(&fe.env, NULL);
    const struct executor_deps deps = {.env = &fe.env, .store = store, .operations = ops};
    struct executor *x = executor_new(&run, &deps, NULL);
    struct policy *policy = policy_new(&fe.env, &open_to_all, store, NULL);
    r = registry_new();
    FUZZ_MUST(r && b && ops && x && policy);
    FUZZ_MUST(!broker_register(b, r, NULL) && !executor_register(x, r, NULL) && !operations_register(ops, r, NULL) &&
              !policy_register(policy, r, NULL));
    return r;
}

/* `value` as it would be sent: each byte that could mean something encoded; a %2F that a value of many segments kept stays. */
static void put_value(struct buf *b, const char *value, bool many)
{
    for (const char *p = value; *p; p++) {
        bool kept = many && p[0] == '%' && p[1] == '2' && (p[2] == 'F' || p[2] == 'f');
        bool slash = many && *p == '/';
        FUZZ_MUST(kept || slash ? buf_add(b, p, kept ? 3 : 1) == 0 : percent_add(b, (struct str){p, 1}) == 0);
        p += kept ? 2 : 0;
    }
}

static bool is_many(const char *template)
{
    size_t n = strcspn(template, "}");
    return memchr(template, '/', n) || (n >= 2 && memmem(template, n, "**", 2));
}

/* A path that the template matches: variables by what they were given, wildcards outside of them by x. */
static void build_path(struct buf *b, const struct route_match *m)
{
    size_t var = 0;
    for (const char *p = m->method->path; *p; p++)
        if (*p == '{') {
            put_value(b, m->vars[var++].value, is_many(p));
            p += strcspn(p, "}");
        } else {
            FUZZ_MUST(buf_add(b, *p == '*' ? "x" : p, 1) == 0);
        }
}

static void check_again(const struct registry *r, enum http_verb verb, const struct route_match *m, struct arena *a)
{
    struct buf b;
    struct route_match n;
    struct err e = {0};
    buf_init(&b, PATH_MAX_BYTES * 4);
    build_path(&b, m);
    FUZZ_CHECK(registry_match(r, verb, buf_str(&b), a, &n, &e) == 0, "%.*s of %s is not found: %s", (int)buf_len(&b), buf_data(&b),
               m->method->path, e.msg);
    FUZZ_CHECK(n.method == m->method && n.n_vars == m->n_vars, "%.*s of %s is %s", (int)buf_len(&b), buf_data(&b), m->method->path,
               n.method->path);
    for (size_t i = 0; i < m->n_vars; i++)
        FUZZ_CHECK(!strcmp(n.vars[i].value, m->vars[i].value), "\"%s\" became \"%s\"", m->vars[i].value, n.vars[i].value);
    buf_fini(&b);
}

static void check_message(struct arena *a, const ProtobufCMessage *m)
{
    struct buf b;
    struct err e = {0};
    ProtobufCMessage *again = pb_new(a, m->descriptor);
    buf_init(&b, 16u * 1024 * 1024);
    FUZZ_CHECK(json_encode(&b, m, 0, &e) == 0, "the request cannot be written: %s", e.msg);
    FUZZ_CHECK(again && json_decode(a, buf_str(&b), again, &e) == 0, "%.*s cannot be read: %s", (int)buf_len(&b), buf_data(&b), e.msg);
    FUZZ_CHECK(pb_equal(m, again), "read again it is another request: %.*s", (int)buf_len(&b), buf_data(&b));
    buf_fini(&b);
}

/* The server lets no other bytes through (core/http/h1.c). */
static bool is_target(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= ' ' || (unsigned char)s.p[i] >= 0x7f || s.p[i] == '#')
            return false;
    return true;
}

static void check_request(enum http_verb verb, struct str target, struct str body)
{
    struct registry *r = real_tables();
    const char *mark = target.n ? memchr(target.p, '?', target.n) : NULL;
    struct str path = {target.p, mark ? (size_t)(mark - target.p) : target.n};
    struct http_request req = {.path = path, .query = mark ? (struct str){mark + 1, target.n - path.n - 1} : (struct str){"", 0}};
    struct rest_job job = {.arena = arena_new(CALL_ARENA_MAX)};
    struct err e = {0};
    FUZZ_MUST(job.arena);
    if (registry_match(r, verb, path, job.arena, &job.match, &e) == 0) {
        check_again(r, verb, &job.match, job.arena);
        buf_init(&job.body, CALL_BODY_MAX);
        FUZZ_MUST(buf_add(&job.body, body.p, body.n) == 0);
        if (rest_decode(&job, &req, &e) == 0)
            check_message(job.arena, job.call.request);
        else
            FUZZ_CHECK(e.code == ERR_INVALID_ARGUMENT, "refused with %s: %s", err_name(e.code), e.msg);
        buf_fini(&job.body);
    } else {
        FUZZ_CHECK(e.code == ERR_NOT_FOUND || e.code == ERR_UNIMPLEMENTED || e.code == ERR_INVALID_ARGUMENT, "%s: %s", err_name(e.code),
                   e.msg);
    }
    arena_free(job.arena);
}

static void check_template(struct str template, struct str path)
{
    char *z = fuzz_text(template);
    const struct method m = {.name = "a.B/C", .verb = VERB_GET, .path = z, .request = &runnel__test__everything__descriptor};
    struct registry *r = registry_new();
    struct arena *a = arena_new(1 << 20);
    struct route_match match;
    struct err e;
    FUZZ_MUST(r && a);
    r->rows[0].method = &m;
    r->n = 1;
    if (route_add(r->routes, &m, 0, &e) == 0) {
        struct buf b;
        size_t vars = 0;
        buf_init(&b, PATH_MAX_BYTES * 4);
        for (const char *p = z; *p; p++) {
            if (*p == '{' && p[strcspn(p, "=}")] == '=')
                p += strcspn(p, "=");
            else if (*p == '{')
                FUZZ_MUST(buf_add(&b, "x", 1) == 0 && (p += strcspn(p, "}")));
            else if (*p != '}')
                FUZZ_MUST(buf_add(&b, *p == '*' ? "x" : p, 1) == 0);
            vars += *p == '}';
        }
        FUZZ_CHECK(memchr(z, '%', strlen(z)) || registry_match(r, VERB_GET, buf_str(&b), a, &match, &e) == 0, "%.*s is not found by %s: %s",
                   (int)buf_len(&b), buf_data(&b), z, e.msg);
        if (registry_match(r, VERB_GET, path, a, &match, &e) == 0)
            FUZZ_CHECK(match.method == &m && match.n_vars == vars, "%zu variables of %zu", match.n_vars, vars);
        buf_fini(&b);
    }
    arena_free(a);
    registry_free(r);
    free(z);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str in = fuzz_str(data, size);
    uint8_t what = fuzz_byte(&in);
    struct str line = fuzz_line(&in);
    char *exact = fuzz_exact(line);
    if (what == 't' && is_target(line))
        check_template((struct str){exact, line.n}, in);
    else if (what != 't' && is_target(line))
        check_request((enum http_verb)(what % VERB_N), (struct str){exact, line.n}, in);
    free(exact);
    return 0;
}

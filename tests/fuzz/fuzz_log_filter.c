/* fuzz_log_filter.c: the query language of entries:list over the lines of a program, which are as strange as they like. A filter joined
 * with itself says the same; one more comparison never finds more; a line is kept or lifted, but never lost.
 * Input: the filter up to a NUL, then the line. */
#include "core/base/arena.h"
#include "executor/log_filter.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/support.h"

#define ARENA_MAX (1u << 20)

static const struct log_entry *entry_of(struct logs *l, struct str line)
{
    static const struct log_where where = {"proj-test", "europe-west1", "hello", "hello-00001", "instance-1", false, 0, 0};
    logs_line(l, &where, LOG_STDERR, line, FAKE_WALL_NS);
    struct list *all = logs_all(l);
    FUZZ_CHECK(all->count == 1, "%zu entries of one line", all->count);
    return CONTAINER_OF(list_first(all), struct log_entry, link);
}

static struct log_filter *parse(struct arena *a, struct str text, struct err *e)
{
    char *exact = fuzz_exact(text);
    struct log_filter *f = log_filter_parse(a, (struct str){exact, text.n}, e);
    free(exact);
    return f;
}

static bool joined(struct arena *a, struct str text, const char *join, struct str more, const struct log_entry *entry, bool *yes)
{
    struct buf b;
    struct err e = {0};
    buf_init(&b, 3 * LOG_FILTER_TEXT_MAX);
    FUZZ_MUST(buf_add(&b, text.p, text.n) == 0 && buf_addz(&b, join) == 0 && buf_add(&b, more.p, more.n) == 0);
    struct log_filter *f = parse(a, buf_str(&b), &e);
    FUZZ_CHECK(f || strstr(e.msg, "more than") || strstr(e.msg, "longer than"), "refused only when joined: %s: %.*s", e.msg,
               (int)buf_len(&b), buf_data(&b));
    if (f)
        *yes = log_filter_matches(f, entry);
    buf_fini(&b);
    return f != NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str in = fuzz_str(data, size), text = in;
    const char *nul = in.n ? memchr(in.p, 0, in.n) : NULL;
    text.n = nul ? (size_t)(nul - in.p) : in.n;
    struct str line = nul ? (struct str){nul + 1, in.n - text.n - 1} : (struct str){in.p, 0};
    struct fake_env fe;
    struct err e = {0};
    support_env(&fe);
    struct logs *l = logs_new(&fe.env, NULL);
    struct arena *a = arena_new(ARENA_MAX);
    FUZZ_MUST(l && a);
    const struct log_entry *entry = entry_of(l, line);
    struct log_filter *f = parse(a, text, &e);
    if (f) {
        bool yes = log_filter_matches(f, entry), again;
        if (joined(a, text, "\n", text, entry, &again))
            FUZZ_CHECK(again == yes, "joined with itself it says something else");
        if (joined(a, text, "\n", STR("severity=ERROR"), entry, &again))
            FUZZ_CHECK(yes || !again, "one more comparison finds more");
    } else {
        FUZZ_CHECK((e.code == ERR_INVALID_ARGUMENT || e.code == ERR_UNIMPLEMENTED || e.code == ERR_RESOURCE_EXHAUSTED) && e.msg[0], "%s",
                   e.msg);
    }
    arena_free(a);
    logs_free(l);
    support_env_fini(&fe);
    return 0;
}

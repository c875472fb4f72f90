/* fuzz_page.c: page tokens that come back. One is taken only for the list that it was made for, and then means the name that it was
 * made of; whatever else it is, it is refused with a word about the field.
 * Input: the list, the name, and the token, each on a line; the first two also make a token, which is looked at whole, and cut. */
#include "core/rpc/page.h"
#include "tests/fuzz/fuzz.h"

#define ARENA_BYTES (1u << 20)

/* What the token means for the list; NULL: it was refused. */
static const char *after(struct arena *a, const char *token, const char *list)
{
    struct page p;
    struct err e = {0};
    if (page_open(a, 7, token, list, &p, &e) == 0) {
        FUZZ_CHECK(p.size == 7 && p.after, "size %zu", p.size);
        return p.after;
    }
    FUZZ_CHECK(e.code == ERR_INVALID_ARGUMENT && strstr(e.msg, "pageToken"), "%s: %s", err_name(e.code), e.msg);
    return NULL;
}

static void check_made(struct arena *a, const char *list, const char *name)
{
    char *token = page_token(a, list, name);
    if (!token) {
        FUZZ_CHECK(strlen(name) > 1000, "no token for \"%s\"", name);
        return;
    }
    const char *back = after(a, token, list);
    FUZZ_CHECK(*name ? back && strcmp(back, name) == 0 : !back, "\"%s\" became \"%s\"", name, back ? back : "nothing");
    char *other = arena_printf(a, "%s/", list);
    FUZZ_MUST(other);
    FUZZ_CHECK(!after(a, token, other), "a token of %s is one of %s", list, other);
    token[strlen(token) - 2] = '\0';
    FUZZ_CHECK(!after(a, token, list), "a token of \"%s\" that is cut is one", name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str in = fuzz_str(data, size);
    struct arena *a = arena_new(ARENA_BYTES);
    FUZZ_MUST(a);
    char *list = fuzz_text(fuzz_line(&in)), *name = fuzz_text(fuzz_line(&in)), *token = fuzz_text(in);
    check_made(a, list, name);
    const char *got = *token ? after(a, token, list) : NULL;
    if (got) {
        const char *again = after(a, page_token(a, list, got), list);
        FUZZ_CHECK(*got && again && strcmp(again, got) == 0, "\"%s\" became \"%s\"", got, again ? again : "nothing");
    }
    free(list);
    free(name);
    free(token);
    arena_free(a);
    return 0;
}

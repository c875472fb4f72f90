/* fuzz_filter.c: subscription filters. A filter in parentheses says the same, one behind NOT the opposite, one joined with itself the
 * same; of an expression that is accepted nothing is left unread.
 * Input: the filter up to the line feed, then lines with the attributes of a message, key=value. */
#include "broker/filter.h"
#include "tests/fuzz/fuzz.h"

#define ATTRIBUTES_MAX 16

static struct message *message_of(struct str in)
{
    static struct attribute attributes[ATTRIBUTES_MAX];
    static struct message m;
    m = (struct message){.refs = 1, .attributes = attributes};
    while (in.n && m.n_attributes < ATTRIBUTES_MAX) {
        struct str value = fuzz_line(&in);
        const char *eq = value.n ? memchr(value.p, '=', value.n) : NULL;
        size_t n = eq ? (size_t)(eq - value.p) : value.n;
        attributes[m.n_attributes++] =
            (struct attribute){{value.p, n}, eq ? (struct str){eq + 1, value.n - n - 1} : (struct str){value.p + n, 0}};
    }
    return &m;
}

/* Does `before` text `after` say `want`? Where there is no room or no depth for more, nothing is known. */
static void check_variant(const char *before, const char *text, const char *after, const struct message *m, bool want)
{
    char variant[4 * FILTER_BYTES_MAX];
    struct err e = {0};
    snprintf(variant, sizeof variant, "%s%s%s", before, text, after);
    if (strlen(variant) > FILTER_BYTES_MAX)
        return;
    struct filter *f = filter_parse(variant, &e);
    FUZZ_CHECK(f || strstr(e.msg, "too many"), "%s is refused: %s", variant, e.msg);
    FUZZ_CHECK(!f || filter_match(f, m) == want, "%s is %s", variant, want ? "false" : "true");
    filter_free(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str in = fuzz_str(data, size);
    char *text = fuzz_text(fuzz_line(&in));
    struct err e = {0};
    struct filter *f = filter_parse(text, &e);
    if (f) {
        const struct message *m = message_of(in);
        bool yes = filter_match(f, m);
        check_variant("(", text, ")", m, yes);
        check_variant("NOT (", text, ")", m, !yes);
        check_variant(" -(NOT(", text, ") ) ", m, yes);
        char twice[4 * FILTER_BYTES_MAX];
        snprintf(twice, sizeof twice, ") AND (%s)", text);
        check_variant("(", text, twice, m, yes);
        snprintf(twice, sizeof twice, ") OR (NOT (%s))", text);
        check_variant("(", text, twice, m, true);
        filter_free(f);
    } else {
        FUZZ_CHECK(e.code == ERR_INVALID_ARGUMENT && e.msg[0], "refused without a word");
    }
    free(text);
    return 0;
}

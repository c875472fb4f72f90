/* fuzz_date.c: dates of HTTP and Retry-After. What is read as a date libc reads as the same instant, written anew it is the same; a
 * wait is never negative nor longer than what is allowed.
 * Input: the value of a Retry-After. */
#include "core/http/date.h"
#include "tests/fuzz/fuzz.h"

#include <time.h>

#define NOW_NS (INT64_C(1767225600) * NS_PER_S) /* 2026-01-01 */
#define MOST_NS (3600 * NS_PER_S)

/* Of the two forms with a year of four digits; the third one's century is our own rule. */
static bool read_by_libc(const char *text, int64_t *seconds)
{
    static const char *const forms[] = {"%a, %d %b %Y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"};
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        struct tm tm = {0};
        const char *end = strptime(text, forms[i], &tm);
        if (end && !*end) {
            *seconds = timegm(&tm);
            return true;
        }
    }
    return false;
}

static void check_date(const char *text, int64_t wall_ns)
{
    char anew[64];
    int64_t seconds = wall_ns / NS_PER_S, again_ns = 0;
    time_t at = (time_t)seconds;
    struct tm tm;
    FUZZ_CHECK(wall_ns >= 0 && wall_ns % NS_PER_S == 0, "%s", text);
    FUZZ_MUST(gmtime_r(&at, &tm) && strftime(anew, sizeof anew, "%a, %d %b %Y %H:%M:%S GMT", &tm));
    FUZZ_CHECK(http_date_parse(str_of(anew), NOW_NS, &again_ns, NULL) == 0 && again_ns == wall_ns, "%s became %s", text, anew);
    if (!strchr(text, '-'))
        FUZZ_CHECK(read_by_libc(text, &seconds) && seconds == wall_ns / NS_PER_S, "libc reads %s as %lld", text, (long long)seconds);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str in = fuzz_str(data, size);
    char *exact = fuzz_exact(in), *text = fuzz_text(in);
    struct str value = {exact, in.n};
    int64_t wall_ns = 0, wait_ns = retry_after_ns(value, NOW_NS, MOST_NS);
    struct err e = {0};
    FUZZ_CHECK(wait_ns >= 0 && wait_ns <= MOST_NS, "%lld", (long long)wait_ns);
    if (http_date_parse(value, NOW_NS, &wall_ns, &e) == 0) {
        check_date(text, wall_ns);
        FUZZ_CHECK((wait_ns > 0) == (wall_ns > NOW_NS), "%s: wait %lld", text, (long long)wait_ns);
    } else {
        FUZZ_CHECK(e.code == ERR_INVALID_ARGUMENT && e.msg[0], "refused without a word");
    }
    free(exact);
    free(text);
    return 0;
}

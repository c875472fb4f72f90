/* fuzz_trace.c: the trace headers that strangers send. Whatever they are, both that go on are well-formed and say the same trace and
 * span; one that could be read goes on as it came, and what we write is read again as it was written.
 * Input: the value of traceparent, and on a second line that of X-Cloud-Trace-Context; an empty one was not sent. */
#include "dispatcher/ingress_trace.h"
#include "tests/fuzz/fuzz.h"

#include <ctype.h>
#include <inttypes.h>

static bool is_hex(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isdigit((unsigned char)p[i]) && !(p[i] >= 'a' && p[i] <= 'f'))
            return false;
    return strspn(p, "0") < n;
}

static void check_well_formed(const struct trace *t)
{
    char cloud[CLOUD_TRACE_MAX], span[17];
    const char *p = t->traceparent;
    FUZZ_CHECK(strlen(p) == TRACEPARENT_LEN && memcmp(p, "00-", 3) == 0 && p[35] == '-' && p[52] == '-', "%s", p);
    FUZZ_CHECK(is_hex(p + 3, 32) && is_hex(p + 36, 16) && (strcmp(p + 53, "00") == 0 || strcmp(p + 53, "01") == 0), "%s", p);
    snprintf(span, sizeof span, "%.16s", p + 36);
    snprintf(cloud, sizeof cloud, "%.32s/%" PRIu64 ";o=%c", p + 3, (uint64_t)strtoull(span, NULL, 16), p[54]);
    FUZZ_CHECK(strcmp(cloud, t->cloud) == 0, "%s beside %s", t->cloud, p);
}

static void make(struct trace *t, struct str parent, struct str cloud, uint64_t seed)
{
    struct headers h;
    struct rng rng;
    struct err e = {0};
    h.n = 0;
    rng_seed(&rng, seed);
    if (parent.n)
        FUZZ_MUST(headers_add(&h, STR("traceparent"), parent, &e) == 0);
    if (cloud.n)
        FUZZ_MUST(headers_add(&h, STR("x-cloud-trace-context"), cloud, &e) == 0);
    trace_make(t, &h, &rng);
}

/* The same digits, whatever their case. */
static bool same(const char *given, const char *made, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (tolower((unsigned char)given[i]) != made[i])
            return false;
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str in = fuzz_str(data, size), line = fuzz_line(&in);
    char *parent = fuzz_exact(line), *cloud = fuzz_exact(in);
    struct trace t, other, again;
    make(&t, (struct str){parent, line.n}, (struct str){cloud, in.n}, 1);
    check_well_formed(&t);
    if (!t.add_traceparent)
        FUZZ_CHECK(line.n >= TRACEPARENT_LEN && (line.n == TRACEPARENT_LEN || parent[TRACEPARENT_LEN] == '-') &&
                       same(parent + 3, t.traceparent + 3, 49),
                   "%.*s became %s", (int)line.n, parent, t.traceparent);
    else if (!t.add_cloud)
        FUZZ_CHECK(in.n >= 32 && same(cloud, t.cloud, 32), "%.*s became %s", (int)in.n, cloud, t.cloud);
    make(&other, (struct str){parent, line.n}, (struct str){cloud, in.n}, 2);
    FUZZ_CHECK(t.add_traceparent == other.add_traceparent && t.add_cloud == other.add_cloud, "what can be read depends on chance");
    FUZZ_CHECK((t.add_traceparent && t.add_cloud) == (memcmp(t.traceparent, other.traceparent, 35) != 0),
               "a trace that is made is made by chance");
    make(&again, (struct str){t.traceparent, TRACEPARENT_LEN}, (struct str){t.cloud, strlen(t.cloud)}, 3);
    FUZZ_CHECK(!again.add_traceparent && !again.add_cloud && strcmp(again.traceparent, t.traceparent) == 0, "%s became %s", t.traceparent,
               again.traceparent);
    make(&again, (struct str){0}, (struct str){t.cloud, strlen(t.cloud)}, 3);
    FUZZ_CHECK(!again.add_cloud && strcmp(again.traceparent, t.traceparent) == 0, "%s became %s", t.cloud, again.traceparent);
    free(parent);
    free(cloud);
    return 0;
}

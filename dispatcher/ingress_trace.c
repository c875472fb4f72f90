/* ingress_trace.c: reads and writes the two trace headers. */
#include "dispatcher/ingress_trace.h"

#include "core/base/text.h"

#include <inttypes.h>
#include <stdio.h>

#define TRACE_LEN 32
#define SPAN_LEN 16

struct ids {
    char trace[TRACE_LEN + 1], span[SPAN_LEN + 1];
    bool sampled;
};

/* `len` lower-case hex digits that are not all zero. */
static bool take_hex(const char *p, size_t len, char *out)
{
    bool some = false;
    for (size_t i = 0; i < len; i++) {
        char c = p[i] >= 'A' && p[i] <= 'F' ? (char)(p[i] - 'A' + 'a') : p[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
        some |= c != '0';
        out[i] = c;
    }
    out[len] = '\0';
    return some;
}

/* 00-TRACE-SPAN-FLAGS; later versions may be longer, by fields behind another dash. */
static bool read_traceparent(struct str s, struct ids *ids)
{
    char flags[3] = "00", version[3];
    if (s.n < TRACEPARENT_LEN || s.p[2] != '-' || s.p[35] != '-' || s.p[52] != '-')
        return false;
    bool v0 = s.p[0] == '0' && s.p[1] == '0';
    if (s.n > TRACEPARENT_LEN && (v0 || s.p[TRACEPARENT_LEN] != '-'))
        return false;
    if (!v0 && (!take_hex(s.p, 2, version) || str_eq((struct str){version, 2}, STR("ff"))))
        return false;
    if (!take_hex(s.p + 3, TRACE_LEN, ids->trace) || !take_hex(s.p + 36, SPAN_LEN, ids->span))
        return false;
    if (!take_hex(s.p + 53, 2, flags) && !(s.p[53] == '0' && s.p[54] == '0'))
        return false;
    ids->sampled = strchr("13579bdf", flags[1]) && flags[1];
    return true;
}

/* TRACE[/SPAN][;o=N], the span in decimal */
static bool read_cloud(struct str s, struct ids *ids, struct rng *rng)
{
    uint64_t span = 0;
    if (s.n < TRACE_LEN || !take_hex(s.p, TRACE_LEN, ids->trace))
        return false;
    struct str rest = {s.p + TRACE_LEN, s.n - TRACE_LEN};
    if (rest.n && rest.p[0] == '/') {
        size_t n = 1;
        while (n < rest.n && rest.p[n] != ';')
            n++;
        if (parse_u64((struct str){rest.p + 1, n - 1}, UINT64_MAX, &span, NULL))
            return false;
        rest = (struct str){rest.p + n, rest.n - n};
    }
    if (rest.n && rest.p[0] != ';')
        return false;
    ids->sampled = rest.n >= 4 && memcmp(rest.p, ";o=", 3) == 0 && rest.p[3] == '1';
    snprintf(ids->span, sizeof ids->span, "%016" PRIx64, span ? span : rng_u64(rng) | 1);
    return true;
}

static void make_ids(struct ids *ids, struct rng *rng)
{
    snprintf(ids->trace, sizeof ids->trace, "%016" PRIx64 "%016" PRIx64, rng_u64(rng), rng_u64(rng) | 1);
    snprintf(ids->span, sizeof ids->span, "%016" PRIx64, rng_u64(rng) | 1);
    ids->sampled = true;
}

static uint64_t span_number(const char *span)
{
    uint64_t n = 0;
    for (; *span; span++)
        n = n << 4 | (uint64_t)(*span <= '9' ? *span - '0' : *span - 'a' + 10);
    return n;
}

void trace_make(struct trace *t, const struct headers *h, struct rng *rng)
{
    struct ids ids = {.sampled = false};
    struct str parent = h ? headers_get(h, "traceparent") : (struct str){0};
    struct str cloud = h ? headers_get(h, "x-cloud-trace-context") : (struct str){0};
    struct ids of_cloud = {.sampled = false};
    bool has_parent = parent.p && read_traceparent(parent, &ids);
    bool has_cloud = cloud.p && read_cloud(cloud, has_parent ? &of_cloud : &ids, rng);
    if (!has_parent && !has_cloud)
        make_ids(&ids, rng);
    snprintf(t->traceparent, sizeof t->traceparent, "00-%s-%s-%s", ids.trace, ids.span, ids.sampled ? "01" : "00");
    snprintf(t->cloud, sizeof t->cloud, "%s/%" PRIu64 "%s", ids.trace, span_number(ids.span), ids.sampled ? ";o=1" : ";o=0");
    t->add_traceparent = !has_parent;
    t->add_cloud = !has_cloud;
}

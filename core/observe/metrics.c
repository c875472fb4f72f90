/** metrics.c: families in the order of declaration; each finds its series by their labels as they are printed. */
#include "core/observe/metrics.h"

#include "core/base/map.h"
#include "core/base/text.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>

#define LABELS_TEXT_MAX (METRIC_LABELS_MAX * (2 * METRIC_VALUE_MAX + 128)) /* an escape doubles a byte */
#define OBSERVATION_MAX_S 1e6                                              /* keeps the sum of 9,000 of the longest within 64 bits of ns */
#define OVERFLOW_VALUE "overflow"

/* Upper bounds in ns; the text is what `le` shows. The last bucket is +Inf. */
#define BUCKETS(X)       \
    X(500000, "0.0005")  \
    X(1000000, "0.001")  \
    X(2500000, "0.0025") \
    X(5000000, "0.005")  \
    X(10000000, "0.01")  \
    X(25000000, "0.025") \
    X(50000000, "0.05")  \
    X(100000000, "0.1")  \
    X(250000000, "0.25") \
    X(500000000, "0.5")  \
    X(1000000000, "1")   \
    X(2500000000, "2.5") \
    X(5000000000, "5")   \
    X(10000000000, "10") \
    X(30000000000, "30") \
    X(60000000000, "60")
static const struct {
    int64_t ns;
    const char *text;
} buckets[] = {
#define BUCKET_ROW(limit_ns, text) {INT64_C(limit_ns), text},
    BUCKETS(BUCKET_ROW)
#undef BUCKET_ROW
};
#define BUCKET_COUNT ARRAY_LEN(buckets)

struct histogram {
    _Atomic int64_t sum_ns;
    _Atomic int64_t counts[BUCKET_COUNT + 1];
};
struct metric {
    _Atomic int64_t value;
    struct histogram *histogram; /* of that kind only */
    char *labels;                /* a="x",b="y"; NULL of the overflow series until it is first used */
};
struct metric_family {
    struct metric_family *next;
    struct metrics *owner;
    enum metric_kind kind;
    const char *name, *help;
    char *text; /* owns name, help and label names */
    const char *label[METRIC_LABELS_MAX];
    size_t n_labels;
    struct map *series;
    struct metric overflow; /* also the only one of a family without labels */
    bool overflowed;
};
struct metrics {
    struct metric_family *first, **tail;
    size_t n_series;
};

struct metrics *metrics_new(void)
{
    struct metrics *m = calloc(1, sizeof *m);
    if (m)
        m->tail = &m->first;
    return m;
}

static void series_fini(struct metric *s)
{
    free(s->histogram);
    free(s->labels);
}

static void family_free(struct metric_family *f)
{
    size_t it = 0;
    const char *key;
    void *s;
    while (f->series && map_next(f->series, &it, &key, &s)) {
        series_fini(s);
        free(s);
    }
    map_free(f->series);
    series_fini(&f->overflow);
    free(f->text);
    free(f);
}

void metrics_free(struct metrics *m)
{
    if (!m)
        return;
    for (struct metric_family *f = m->first, *next; f; f = next) {
        next = f->next;
        family_free(f);
    }
    free(m);
}

/* ---- declaring ---- */

static bool valid_name(const char *p, size_t n, bool colon)
{
    for (size_t i = 0; i < n; i++) {
        char c = p[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (colon && c == ':');
        if (!letter && !(i && c >= '0' && c <= '9'))
            return false;
    }
    return n > 0;
}

/* Cut "a,b,c" in place. */
static void split_labels(struct metric_family *f, char *labels)
{
    while (*labels) {
        assert(f->n_labels < METRIC_LABELS_MAX);
        f->label[f->n_labels++] = labels;
        size_t n = strcspn(labels, ",");
        assert(valid_name(labels, n, false));
        char end = labels[n];
        labels[n] = '\0';
        labels += end ? n + 1 : n;
    }
}

static struct metric_family *find_family(const struct metrics *m, const char *name)
{
    struct metric_family *f = m->first;
    while (f && strcmp(f->name, name) != 0)
        f = f->next;
    return f;
}

struct metric_family *metrics_family(struct metrics *m, enum metric_kind kind, const char *name, const char *help, const char *labels)
{
    if (!m)
        return NULL;
    assert(valid_name(name, strlen(name), true));
    struct metric_family *f = find_family(m, name);
    if (f) {
        assert(f->kind == kind);
        return f;
    }
    size_t name_n = strlen(name) + 1, help_n = strlen(help) + 1, labels_n = strlen(labels) + 1;
    f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->owner = m;
    f->kind = kind;
    f->series = map_new(METRICS_SERIES_MAX);
    f->text = malloc(name_n + help_n + labels_n);
    f->overflow.histogram = kind == METRIC_HISTOGRAM ? calloc(1, sizeof *f->overflow.histogram) : NULL;
    if (!f->series || !f->text || (kind == METRIC_HISTOGRAM && !f->overflow.histogram)) {
        family_free(f);
        return NULL;
    }
    f->name = memcpy(f->text, name, name_n);
    f->help = memcpy(f->text + name_n, help, help_n);
    split_labels(f, memcpy(f->text + name_n + help_n, labels, labels_n));
    *m->tail = f;
    m->tail = &f->next;
    return f;
}

/* ---- finding ---- */

/* A label value as it stands between its quotes; what is no UTF-8 becomes U+FFFD. */
static int add_value(struct buf *b, const char *value)
{
    size_t n = strlen(value), step;
    if (n > METRIC_VALUE_MAX)
        return -ERR_RESOURCE_EXHAUSTED;
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i += step) {
        uint32_t code;
        step = utf8_next(value + i, n - i, &code);
        if (code == UTF8_BAD)
            rc = buf_addz(b, "\xEF\xBF\xBD");
        else if (code == '\\' || code == '"')
            rc = buf_addf(b, "\\%c", (char)code);
        else if (code == '\n')
            rc = buf_addz(b, "\\n");
        else
            rc = buf_add(b, value + i, step);
    }
    return rc;
}

/* The labels as printed, which is also the key. NULL: too long or out of memory. */
static const char *labels_text(const struct metric_family *f, const char *const *values, struct buf *b)
{
    for (size_t i = 0; i < f->n_labels; i++)
        if (buf_addf(b, "%s%s=\"", i ? "," : "", f->label[i]) || add_value(b, values[i] ? values[i] : "") || buf_addz(b, "\""))
            return NULL;
    return buf_cstr(b);
}

static struct metric *series_add(struct metric_family *f, const char *key)
{
    if (f->owner->n_series >= METRICS_SERIES_MAX)
        return NULL;
    struct metric *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->labels = strdup(key);
    s->histogram = f->kind == METRIC_HISTOGRAM ? calloc(1, sizeof *s->histogram) : NULL;
    if (!s->labels || (f->kind == METRIC_HISTOGRAM && !s->histogram) || map_put(f->series, key, s, NULL)) {
        series_fini(s);
        free(s);
        return NULL;
    }
    f->owner->n_series++;
    return s;
}

struct metric *metric_series(struct metric_family *f, const char *const *values)
{
    if (!f)
        return NULL;
    struct metric *s = NULL;
    if (f->n_labels) {
        struct buf b;
        buf_init(&b, LABELS_TEXT_MAX);
        const char *key = labels_text(f, values, &b);
        if (key && !(s = map_get(f->series, key)))
            s = series_add(f, key);
        buf_fini(&b);
    }
    if (s)
        return s;
    f->overflowed = true; /* it is printed from now on */
    return &f->overflow;
}

void metric_drop(struct metric_family *f, const char *const *values)
{
    if (!f || !f->n_labels)
        return;
    struct buf b;
    buf_init(&b, LABELS_TEXT_MAX);
    const char *key = labels_text(f, values, &b);
    struct metric *s = key ? map_remove(f->series, key) : NULL;
    buf_fini(&b);
    if (!s)
        return;
    f->owner->n_series--;
    series_fini(s);
    free(s);
}

/* ---- touching ---- */

void metric_add(struct metric *s, int64_t n)
{
    if (s)
        atomic_fetch_add_explicit(&s->value, n, memory_order_relaxed);
}

void metric_set(struct metric *s, int64_t value)
{
    if (s)
        atomic_store_explicit(&s->value, value, memory_order_relaxed);
}

void metric_observe(struct metric *s, double seconds)
{
    if (!s || isnan(seconds))
        return;
    assert(s->histogram);
    seconds = seconds < 0 ? 0 : seconds > OBSERVATION_MAX_S ? OBSERVATION_MAX_S : seconds;
    int64_t ns = (int64_t)(seconds * (double)NS_PER_S + 0.5);
    size_t i = 0;
    while (i < BUCKET_COUNT && ns > buckets[i].ns)
        i++;
    atomic_fetch_add_explicit(&s->histogram->counts[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->histogram->sum_ns, ns, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->value, 1, memory_order_relaxed);
}

int64_t metric_value(const struct metric *s) { return s ? atomic_load_explicit(&s->value, memory_order_relaxed) : 0; }

/* ---- printing ---- */

static int render_histogram(const struct metric_family *f, const struct metric *s, const char *labels, struct buf *b)
{
    const char *comma = *labels ? "," : "", *open = *labels ? "{" : "", *close = *labels ? "}" : "";
    int64_t sum_ns = atomic_load_explicit(&s->histogram->sum_ns, memory_order_relaxed), count = 0;
    for (size_t i = 0; i <= BUCKET_COUNT; i++) {
        count += atomic_load_explicit(&s->histogram->counts[i], memory_order_relaxed);
        int rc = buf_addf(b, "%s_bucket{%s%sle=\"%s\"} %" PRId64 "\n", f->name, labels, comma, i < BUCKET_COUNT ? buckets[i].text : "+Inf",
                          count);
        if (rc)
            return rc;
    }
    int rc = buf_addf(b, "%s_sum%s%s%s %" PRId64 ".%09" PRId64 "\n", f->name, open, labels, close, sum_ns / NS_PER_S, sum_ns % NS_PER_S);
    /* Counted from the buckets, so that the two agree whatever was observed meanwhile. */
    return rc ? rc : buf_addf(b, "%s_count%s%s%s %" PRId64 "\n", f->name, open, labels, close, count);
}

static int render_series(const struct metric_family *f, const struct metric *s, const char *labels, struct buf *b)
{
    if (f->kind == METRIC_HISTOGRAM)
        return render_histogram(f, s, labels, b);
    return buf_addf(b, "%s%s%s%s %" PRId64 "\n", f->name, *labels ? "{" : "", labels, *labels ? "}" : "", metric_value(s));
}

static int render_overflow(const struct metric_family *f, struct buf *b)
{
    struct buf labels;
    static const char *const values[METRIC_LABELS_MAX] = {OVERFLOW_VALUE, OVERFLOW_VALUE, OVERFLOW_VALUE, OVERFLOW_VALUE};
    buf_init(&labels, LABELS_TEXT_MAX);
    const char *text = f->n_labels ? labels_text(f, values, &labels) : "";
    int rc = text ? render_series(f, &f->overflow, text, b) : -ERR_RESOURCE_EXHAUSTED;
    buf_fini(&labels);
    return rc;
}

static int render_help(const struct metric_family *f, struct buf *b)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    int rc = buf_addf(b, "# HELP %s ", f->name);
    for (const char *p = f->help; *p && rc == 0; p++)
        rc = *p == '\\' ? buf_addz(b, "\\\\") : *p == '\n' ? buf_addz(b, "\\n") : buf_add(b, p, 1);
    return rc ? rc : buf_addf(b, "\n# TYPE %s %s\n", f->name, kinds[f->kind]);
}

static int render_family(const struct metric_family *f, struct buf *b)
{
    size_t n = map_count(f->series);
    if (n == 0 && !f->overflowed)
        return 0; /* nothing of it has happened yet */
    struct metric **all = (struct metric **)map_sorted(f->series);
    int rc = all ? render_help(f, b) : -ERR_RESOURCE_EXHAUSTED;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = render_series(f, all[i], all[i]->labels, b);
    free(all);
    return rc || !f->overflowed ? rc : render_overflow(f, b);
}

int metrics_render(const struct metrics *m, struct buf *b)
{
    size_t before = buf_len(b);
    for (const struct metric_family *f = m->first; f; f = f->next) {
        int rc = render_family(f, b);
        if (rc) {
            buf_truncate(b, before);
            return rc;
        }
    }
    return 0;
}

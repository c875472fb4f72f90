/** log.h: structured log lines: an event name and typed fields, JSON, or readable text on a terminal.
 *  Shape:  {"time":…,"severity":"WARNING","event":"push.retry","subscription":…,"attempt":3}
 *  Rules:  payloads and secrets never; log once, where handled; at most LOG_LINE_MAX bytes a line (cut with "…").
 *  Units:  of log_seldom monotonic ns.
 *  Owner:  log_free frees the log, not its descriptor. Fields are read during the call only.
 *  Thread: any; a line is written with one write(2). Lines above the level cost one compare. */
#ifndef CORE_BASE_LOG_H
#define CORE_BASE_LOG_H

#include "core/base/clock.h"

#define LOG_LINE_MAX 4096
enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_kind { LOG_KIND_END, LOG_KIND_STR, LOG_KIND_INT, LOG_KIND_DOUBLE, LOG_KIND_BOOL };
struct log_field {
    const char *key;
    enum log_kind kind;
    union {
        const char *s;
        int64_t i;
        double d;
        bool b;
    };
};
#define LSTR(k, v) ((struct log_field){.key = (k), .kind = LOG_KIND_STR, .s = (v)})
#define LINT(k, v) ((struct log_field){.key = (k), .kind = LOG_KIND_INT, .i = (int64_t)(v)})
#define LDBL(k, v) ((struct log_field){.key = (k), .kind = LOG_KIND_DOUBLE, .d = (v)})
#define LBOOL(k, v) ((struct log_field){.key = (k), .kind = LOG_KIND_BOOL, .b = (v)})

struct log;
/** Writes to `fd`. `text` picks readable text instead of JSON. */
struct log *log_new(int fd, bool text, enum log_level level, const struct clock *clock);
struct log *log_null(void); /* swallows everything; for tests; log_free is a no-op on it */
void log_free(struct log *l);
bool log_enabled(const struct log *l, enum log_level level);
void log_fields(struct log *l, enum log_level level, const char *event, const struct log_field *fields, size_t n);
/* log_kv(log, LOG_WARN, "push.retry", LSTR("subscription", name), LINT("attempt", 3)); at least one field */
#define log_kv(l, level, event, ...)                                            \
    do {                                                                        \
        if (log_enabled(l, level)) {                                            \
            const struct log_field log_f[] = {__VA_ARGS__};                     \
            log_fields(l, level, event, log_f, sizeof log_f / sizeof log_f[0]); \
        }                                                                       \
    } while (0)

/* What may happen a thousand times a second is told when it begins and then at most once in LOG_SELDOM_NS. Embedded, zero at first. */
#define LOG_SELDOM_NS (60 * NS_PER_S)
struct log_seldom {
    int64_t next_ns;
    uint64_t held;
};
/** It has happened once more, at a monotonic time. 0: nothing is to be said now; else how often it happened since it was last said. */
static inline uint64_t log_seldom(struct log_seldom *s, int64_t now_ns)
{
    uint64_t n = ++s->held;
    if (s->next_ns && now_ns < s->next_ns)
        return 0;
    *s = (struct log_seldom){.next_ns = now_ns + LOG_SELDOM_NS};
    return n;
}

#endif

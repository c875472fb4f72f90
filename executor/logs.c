/** logs.c: keeps entries in order of arrival, all of them and by service, and lifts fields out of JSON lines. */
#include "executor/logs.h"

#include "core/base/map.h"
#include "core/rpc/json.h"
#include "core/rpc/pb.h"
#include "executor/log_line.pb-c.h"

#include <stdio.h>
#include <stdarg.h>
#include <stdlib.h>
#include <strings.h>

#define LINE_ARENA_MAX (256u << 10)
#define SYSTEM_LINE_MAX 1024

static const struct {
    const char *name;
    int value;
} severities[] = {
    {"DEFAULT", SEVERITY_DEFAULT},     {"DEBUG", SEVERITY_DEBUG},  {"INFO", SEVERITY_INFO},         {"NOTICE", SEVERITY_NOTICE},
    {"WARNING", SEVERITY_WARNING},     {"ERROR", SEVERITY_ERROR},  {"CRITICAL", SEVERITY_CRITICAL}, {"ALERT", SEVERITY_ALERT},
    {"EMERGENCY", SEVERITY_EMERGENCY}, {"WARN", SEVERITY_WARNING}, {"FATAL", SEVERITY_CRITICAL},    {"TRACE", SEVERITY_DEBUG},
};

int severity_parse(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(severities); i++)
        if (str_ieq(name, str_of(severities[i].name)))
            return severities[i].value;
    return -1;
}

struct logs {
    const struct env *env;
    struct map *sources;
    struct list all;
    size_t bytes;
    uint64_t seq;
};

struct logs *logs_new(const struct env *env, struct err *e)
{
    struct logs *l = calloc(1, sizeof *l);
    if (l)
        l->sources = map_new(LOGS_SOURCES_MAX);
    if (!l || !l->sources) {
        free(l);
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for logs");
        return NULL;
    }
    l->env = env;
    list_init(&l->all);
    return l;
}

static void drop(struct logs *l, struct log_entry *entry)
{
    struct log_source *s = entry->source;
    list_remove(&l->all, &entry->link);
    list_remove(&s->entries, &entry->source_link);
    l->bytes -= entry->bytes;
    s->bytes -= entry->bytes;
    free(entry);
    if (!list_empty(&s->entries))
        return;
    map_remove(l->sources, s->key);
    free(s->key);
    free(s);
}

void logs_free(struct logs *l)
{
    if (!l)
        return;
    while (!list_empty(&l->all))
        drop(l, CONTAINER_OF(list_first(&l->all), struct log_entry, link));
    map_free(l->sources);
    free(l);
}

static struct log_source *source_of(struct logs *l, const struct log_where *w)
{
    char key[512];
    int n = snprintf(key, sizeof key, "%c%s/%s/%s", w->job ? 'j' : 's', w->project, w->region, w->service);
    if (n < 0 || (size_t)n >= sizeof key)
        return NULL;
    struct log_source *s = map_get(l->sources, key);
    if (s)
        return s;
    /* The key, and the three names split. */
    s = calloc(1, sizeof *s);
    char *mem = malloc(2 * ((size_t)n + 1));
    struct err e;
    if (!s || !mem || map_put(l->sources, key, s, &e)) {
        free(s);
        free(mem);
        return NULL;
    }
    memcpy(mem, key, (size_t)n + 1);
    char *parts = mem + n + 1;
    memcpy(parts, key, (size_t)n + 1);
    s->key = mem;
    s->job = w->job;
    s->project = parts + 1;
    s->region = s->project + strlen(w->project) + 1;
    s->service = s->region + strlen(w->region) + 1;
    parts[1 + strlen(w->project)] = '\0';
    parts[1 + strlen(w->project) + 1 + strlen(w->region)] = '\0';
    list_init(&s->entries);
    return s;
}

struct draft {
    enum log_stream stream;
    int severity;
    int64_t wall_ns;
    struct str text, trace, span_id;
    bool trace_sampled;
};

static const char *put(char **at, struct str s)
{
    char *start = *at;
    memcpy(start, s.p, s.n);
    start[s.n] = '\0';
    *at += s.n + 1;
    return start;
}

static void add(struct logs *l, const struct log_where *w, const struct draft *d)
{
    struct str revision = str_of(w->revision), instance = str_of(w->instance);
    size_t bytes = sizeof(struct log_entry) + revision.n + instance.n + d->text.n + d->trace.n + d->span_id.n + 5;
    struct log_source *s = source_of(l, w);
    struct log_entry *entry = s ? malloc(bytes) : NULL;
    if (!entry) {
        if (s && list_empty(&s->entries)) {
            map_remove(l->sources, s->key);
            free(s->key);
            free(s);
        }
        return;
    }
    *entry = (struct log_entry){.source = s,
                                .seq = ++l->seq,
                                .wall_ns = d->wall_ns,
                                .severity = d->severity,
                                .stream = d->stream,
                                .trace_sampled = d->trace_sampled,
                                .task = w->task,
                                .attempt = w->attempt,
                                .bytes = bytes};
    char *at = entry->mem;
    entry->revision = put(&at, revision);
    entry->instance = put(&at, instance);
    entry->text = put(&at, d->text);
    entry->trace = put(&at, d->trace);
    entry->span_id = put(&at, d->span_id);
    node_init(&entry->link);
    node_init(&entry->source_link);
    list_append(&l->all, &entry->link);
    list_append(&s->entries, &entry->source_link);
    l->bytes += bytes;
    s->bytes += bytes;
    while (s->bytes > LOGS_BYTES_PER_SERVICE_MAX || s->entries.count > LOGS_PER_SERVICE_MAX)
        drop(l, CONTAINER_OF(list_first(&s->entries), struct log_entry, source_link));
    while (l->bytes > LOGS_BYTES_MAX)
        drop(l, CONTAINER_OF(list_first(&l->all), struct log_entry, link));
}

/* The value after `key` (with its quotes): what is between the next quotes, or a bare word. These never have escapes in them. */
static struct str special_field(struct str line, const char *key)
{
    const char *p = memmem(line.p, line.n, key, strlen(key)), *end = line.p + line.n;
    if (!p)
        return (struct str){"", 0};
    p += strlen(key);
    while (p < end && (*p == ' ' || *p == ':'))
        p++;
    bool quoted = p < end && *p == '"';
    p += quoted;
    const char *from = p;
    while (p < end && (quoted ? *p != '"' : *p >= 'a' && *p <= 'z'))
        p++;
    return (struct str){from, (size_t)(p - from)};
}

/* {"severity":"ERROR","message":"…","logging.googleapis.com/trace":"…"}: what is lifted points into the arena. */
static bool lift(struct arena *a, struct str line, struct draft *d)
{
    while (line.n > 0 && (line.p[0] == ' ' || line.p[0] == '\t')) {
        line.p++;
        line.n--;
    }
    if (line.n < 2 || line.p[0] != '{' || line.p[line.n - 1] != '}')
        return false;
    Runnel__LogLine *m = a ? pb_new(a, &runnel__log_line__descriptor) : NULL;
    struct err e;
    /* A field of another type than these have makes it a plain line. */
    if (!m || json_decode(a, line, &m->base, &e))
        return false;
    int severity = severity_parse(str_of(m->severity));
    if (severity >= 0)
        d->severity = severity;
    if (m->message && m->message[0])
        d->text = str_of(m->message);
    d->trace = special_field(line, "\"logging.googleapis.com/trace\"");
    d->span_id = special_field(line, "\"logging.googleapis.com/spanId\"");
    struct str sampled = special_field(line, "\"logging.googleapis.com/trace_sampled\"");
    d->trace_sampled = str_is(sampled, "true");
    return true;
}

void logs_line(struct logs *l, const struct log_where *w, enum log_stream stream, struct str line, int64_t wall_ns)
{
    struct draft d = {stream, SEVERITY_DEFAULT, wall_ns, line, {"", 0}, {"", 0}, false};
    struct arena *a = line.n > 0 && memchr(line.p, '{', line.n) ? arena_new(LINE_ARENA_MAX) : NULL;
    lift(a, line, &d);
    add(l, w, &d);
    if (log_enabled(l->env->log, LOG_INFO)) {
        enum log_level level = d.severity >= SEVERITY_ERROR ? LOG_ERROR : d.severity >= SEVERITY_WARNING ? LOG_WARN : LOG_INFO;
        char text[LOG_LINE_MAX];
        snprintf(text, sizeof text, "%.*s", (int)(d.text.n < sizeof text ? d.text.n : sizeof text - 1), d.text.p);
        log_kv(l->env->log, level, stream == LOG_STDERR ? "program.stderr" : "program.stdout", LSTR("message", text),
               LSTR(w->job ? "job" : "service", w->service), LSTR(w->job ? "execution" : "revision", w->revision),
               LSTR("instance", w->instance));
    }
    if (a)
        arena_free(a);
}

void logs_system(struct logs *l, const struct log_where *w, int severity, const char *fmt, ...)
{
    char text[SYSTEM_LINE_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    struct draft d = {LOG_SYSTEM, severity, env_wall(l->env), str_of(text), {"", 0}, {"", 0}, false};
    add(l, w, &d);
    log_kv(l->env->log,
           severity >= SEVERITY_ERROR     ? LOG_ERROR
           : severity >= SEVERITY_WARNING ? LOG_WARN
                                          : LOG_INFO,
           "program.system", LSTR("message", text), LSTR(w->job ? "job" : "service", w->service),
           LSTR(w->job ? "execution" : "revision", w->revision), LSTR("instance", w->instance));
}

struct list *logs_all(struct logs *l) { return &l->all; }

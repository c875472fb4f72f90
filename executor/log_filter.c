/** log_filter.c: parses and applies a filter over log entries. */
#include "executor/log_filter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum op { OP_EQ, OP_NE, OP_LT, OP_LE, OP_GT, OP_GE, OP_HAS };
struct term {
    char *field;
    enum op op;
    char *value;
    int64_t number; /* severity or ns */
};
struct log_filter {
    size_t n;
    struct term terms[LOG_FILTER_TERMS_MAX];
};
struct parser {
    const char *start, *p, *end;
    struct arena *a;
    struct err *e;
};

const char *log_stream_id(enum log_stream s)
{
    static const char *const ids[] = {"run.googleapis.com%2Fstdout", "run.googleapis.com%2Fstderr", "run.googleapis.com%2Fvarlog%2Fsystem"};
    return ids[s];
}

void log_insert_id(const struct log_entry *entry, char out[LOG_INSERT_ID_MAX])
{
    snprintf(out, LOG_INSERT_ID_MAX, "%020llu", (unsigned long long)entry->seq);
}

/* ---- parsing */

static int bad(struct parser *p, const char *what)
{
    struct str rest = p->p < p->end ? (struct str){p->p, (size_t)(p->end - p->p)} : STR("(the end)");
    return err_set(p->e, ERR_INVALID_ARGUMENT, "filter: %s at character %td: '%.*s'", what, p->p - p->start + 1,
                   (int)(rest.n < 40 ? rest.n : 40), rest.p);
}

static void skip_space(struct parser *p)
{
    for (;;) {
        while (p->p < p->end && strchr(" \t\r\n", *p->p) && *p->p)
            p->p++;
        if (p->end - p->p < 2 || p->p[0] != '-' || p->p[1] != '-')
            return;
        while (p->p < p->end && *p->p != '\n')
            p->p++;
    }
}

static bool word_char(char c) { return c && !strchr(" \t\r\n\"()=!<>", c); }

/* "quoted \" text" or a bare word (a field may not have a ':' in it, a value may). */
static char *take_text(struct parser *p, bool is_field)
{
    char out[2048];
    size_t n = 0;
    if (p->p < p->end && *p->p == '"') {
        for (p->p++; p->p < p->end && *p->p != '"' && n < sizeof out; p->p++) {
            if (*p->p == '\\' && p->p + 1 < p->end)
                p->p++;
            out[n++] = *p->p;
        }
        if (p->p >= p->end || n >= sizeof out) {
            bad(p, "the quotes are not closed");
            return NULL;
        }
        p->p++;
        /* labels."a/b".c goes on */
    } else {
        while (p->p < p->end && word_char(*p->p) && !(is_field && *p->p == ':') && n < sizeof out)
            out[n++] = *p->p++;
    }
    if (is_field && p->p < p->end && *p->p == '"' && n > 0 && out[n - 1] == '.') {
        char *rest = take_text(p, false);
        return rest ? arena_printf(p->a, "%.*s%s", (int)n, out, rest) : NULL;
    }
    if (n == 0 && is_field) {
        bad(p, "a field was expected");
        return NULL;
    }
    return arena_dup(p->a, (struct str){out, n});
}

static int take_op(struct parser *p, enum op *op)
{
    static const struct {
        const char *text;
        enum op op;
    } ops[] = {{"!=", OP_NE}, {"<=", OP_LE}, {">=", OP_GE}, {"=~", OP_HAS}, {"!~", OP_HAS},
               {"=", OP_EQ},  {"<", OP_LT},  {">", OP_GT},  {":", OP_HAS}};
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        size_t n = strlen(ops[i].text);
        if ((size_t)(p->end - p->p) < n || memcmp(p->p, ops[i].text, n) != 0)
            continue;
        if (ops[i].text[n - 1] == '~')
            return err_set(p->e, ERR_UNIMPLEMENTED, "filter: regular expressions (%s) are not supported; use ':' to find text within",
                           ops[i].text);
        *op = ops[i].op;
        p->p += n;
        return 0;
    }
    return bad(p, "a comparison (= != < <= > >= :) was expected");
}

static bool is_insert_id(const char *field) { return strcmp(field, "insertId") == 0 || strcmp(field, "insert_id") == 0; }

static bool is_label(const char *field) { return strncmp(field, "resource.labels.", 16) == 0 || strncmp(field, "labels.", 7) == 0; }

static int check_term(struct parser *p, struct term *t)
{
    static const char *const fields[] = {"resource.type", "logName", "log_name", "textPayload",
                                         "text_payload",  "trace",   "insertId", "insert_id"};
    bool ordered = strcmp(t->field, "severity") == 0 || strcmp(t->field, "timestamp") == 0 || is_insert_id(t->field);
    if (strcmp(t->field, "severity") == 0) {
        t->number = severity_parse(str_of(t->value));
        if (t->number < 0)
            return err_set(p->e, ERR_INVALID_ARGUMENT,
                           "filter: severity '%.40s' is none of DEFAULT DEBUG INFO NOTICE WARNING ERROR CRITICAL ALERT EMERGENCY",
                           t->value);
    } else if (strcmp(t->field, "timestamp") == 0) {
        if (wall_parse(t->value, strlen(t->value), &t->number, p->e))
            return err_wrap(p->e, "filter: timestamp");
    } else if (!is_label(t->field)) {
        bool known = false;
        for (size_t i = 0; i < ARRAY_LEN(fields); i++)
            known = known || strcmp(t->field, fields[i]) == 0;
        if (!known)
            return err_set(p->e, ERR_UNIMPLEMENTED,
                           "filter: field '%.80s' is not supported; those are resource.type, resource.labels.*, "
                           "labels.*, logName, severity, timestamp, textPayload, trace, insertId",
                           t->field);
    }
    if (!ordered && t->op >= OP_LT && t->op <= OP_GE)
        return err_set(p->e, ERR_INVALID_ARGUMENT, "filter: '%.80s' has no order; compare it with = != or :", t->field);
    return 0;
}

static int parse_term(struct parser *p, struct log_filter *f)
{
    if (f->n == LOG_FILTER_TERMS_MAX)
        return err_set(p->e, ERR_INVALID_ARGUMENT, "filter: more than %d comparisons", LOG_FILTER_TERMS_MAX);
    struct term *t = &f->terms[f->n];
    if (*p->p == '(' || *p->p == ')' || *p->p == '-')
        return err_set(p->e, ERR_UNIMPLEMENTED, "filter: parentheses and negation are not supported; join comparisons with AND");
    if (!(t->field = take_text(p, true)))
        return -(int)ERR_INVALID_ARGUMENT;
    if (strcmp(t->field, "OR") == 0 || strcmp(t->field, "NOT") == 0)
        return err_set(p->e, ERR_UNIMPLEMENTED, "filter: %s is not supported; join comparisons with AND", t->field);
    skip_space(p);
    if (take_op(p, &t->op))
        return -(int)p->e->code;
    skip_space(p);
    if (p->p >= p->end || !(t->value = take_text(p, false)))
        return p->p >= p->end ? bad(p, "a value was expected") : -(int)p->e->code;
    if (check_term(p, t))
        return -(int)p->e->code;
    f->n++;
    return 0;
}

struct log_filter *log_filter_parse(struct arena *a, struct str text, struct err *e)
{
    struct log_filter *f = arena_alloc(a, sizeof *f);
    struct parser p = {text.p, text.p, text.p + text.n, a, e};
    if (!f) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory");
        return NULL;
    }
    if (text.n > LOG_FILTER_TEXT_MAX) {
        err_set(e, ERR_INVALID_ARGUMENT, "filter: longer than %d characters", LOG_FILTER_TEXT_MAX);
        return NULL;
    }
    err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory");
    for (skip_space(&p); p.p < p.end; skip_space(&p)) {
        if (p.end - p.p > 3 && memcmp(p.p, "AND", 3) == 0 && !word_char(p.p[3]) && f->n > 0) {
            p.p += 3;
            continue;
        }
        if (parse_term(&p, f))
            return NULL;
    }
    return f;
}

/* ---- matching */

/* The value of a text field of `entry`; NULL: it has no such field. `scratch` holds one that is put together. */
static const char *field_of(const struct log_entry *entry, const char *field, char *scratch, size_t size)
{
    const struct log_source *s = entry->source;
    const struct {
        const char *name, *value;
    } simple[] = {
        {"resource.type", s->job ? "cloud_run_job" : "cloud_run_revision"},
        {"resource.labels.job_name", s->job ? s->service : NULL},
        {"labels." LOG_LABEL_EXECUTION, s->job ? entry->revision : NULL},
        {"resource.labels.service_name", s->job ? NULL : s->service},
        {"resource.labels.configuration_name", s->job ? NULL : s->service},
        {"resource.labels.revision_name", s->job ? NULL : entry->revision},
        {"resource.labels.location", s->region},
        {"resource.labels.project_id", s->project},
        {"labels.instanceId", entry->instance},
        {"labels.instance_id", entry->instance},
        {"textPayload", entry->text},
        {"text_payload", entry->text},
        {"trace", entry->trace},
    };
    for (size_t i = 0; i < ARRAY_LEN(simple); i++)
        if (strcmp(field, simple[i].name) == 0)
            return simple[i].value;
    bool task = strcmp(field, "labels." LOG_LABEL_TASK) == 0;
    if (s->job && entry->task != LOG_NO_TASK && (task || strcmp(field, "labels." LOG_LABEL_ATTEMPT) == 0)) {
        snprintf(scratch, size, "%u", task ? entry->task : entry->attempt);
        return scratch;
    }
    if (strcmp(field, "logName") == 0 || strcmp(field, "log_name") == 0) {
        snprintf(scratch, size, "projects/%s/logs/%s", s->project, log_stream_id(entry->stream));
        return scratch;
    }
    if (is_insert_id(field)) {
        snprintf(scratch, size, "%020llu", (unsigned long long)entry->seq);
        return scratch;
    }
    return NULL;
}

static bool ordered(enum op op, int64_t have, int64_t want)
{
    switch (op) {
    case OP_EQ:
    case OP_HAS:
        return have == want;
    case OP_NE:
        return have != want;
    case OP_LT:
        return have < want;
    case OP_LE:
        return have <= want;
    case OP_GT:
        return have > want;
    case OP_GE:
        return have >= want;
    }
    return false;
}

static bool term_matches(const struct term *t, const struct log_entry *entry)
{
    char scratch[512];
    if (strcmp(t->field, "severity") == 0)
        return ordered(t->op, entry->severity, t->number);
    if (strcmp(t->field, "timestamp") == 0)
        return ordered(t->op, entry->wall_ns, t->number);
    const char *have = field_of(entry, t->field, scratch, sizeof scratch);
    if (t->op >= OP_LT && t->op <= OP_GE) /* insertId, which is padded: the order of the text is that of the numbers */
        return ordered(t->op, strcmp(have ? have : "", t->value), 0);
    if (t->op == OP_HAS)
        return have && (strcmp(t->value, "*") == 0 ? *have != '\0' : strcasestr(have, t->value) != NULL);
    /* Equality in this language does not look at case. */
    bool equal = have && strcasecmp(have, t->value) == 0;
    return t->op == OP_EQ ? equal : !equal;
}

bool log_filter_matches(const struct log_filter *f, const struct log_entry *entry)
{
    for (size_t i = 0; i < f->n; i++)
        if (!term_matches(&f->terms[i], entry))
            return false;
    return true;
}

/* queue_filter.c: the filter of ListQueues, in the language of logging filters: `state: PAUSED`, `rateLimits.maxDispatchesPerSecond < 10 AND
 * NOT name:old`. Any field of a queue, the operators : = != < <= > >=, AND (also by standing beside each other), OR, NOT and -, parentheses.
 * As there, OR binds tighter than AND, text is compared whatever its case, and FIELD:* asks whether it is set. Regular expressions are
 * refused. */
#include "broker/queues_int.h"

#include "core/rpc/json.h"

#include <ctype.h>
#include <math.h>
#include <strings.h>

#define FILTER_BYTES_MAX 1000
#define FILTER_TERMS_MAX 64
#define FILTER_DEPTH_MAX 16 /* of parentheses */
#define FILTER_STEPS_MAX 3  /* of a field's path */

enum kind { FILTER_TERM, FILTER_AND, FILTER_OR };
enum op { OP_HAS, OP_EQ, OP_NE, OP_LT, OP_LE, OP_GT, OP_GE, OP_SET };
struct queue_filter {
    enum kind kind;
    bool negated;
    const struct queue_filter *left, *right; /* of AND and OR */
    /* of a term */
    const ProtobufCFieldDescriptor *path[FILTER_STEPS_MAX];
    size_t steps;
    enum op op;
    const char *text;
    const ProtobufCMessage *value; /* a queue that has it where the path leads; NULL: the text is all */
};
struct parser {
    struct arena *a;
    struct err *e;
    const char *p;
    int depth, terms;
};

/* ---- words ---- */

static void skip_space(struct parser *s)
{
    while (isspace((unsigned char)*s->p))
        s->p++;
}

static bool take_keyword(struct parser *s, const char *word)
{
    size_t n = strlen(word);
    skip_space(s);
    if (strncmp(s->p, word, n) != 0 || !(isspace((unsigned char)s->p[n]) || s->p[n] == '(' || !s->p[n]))
        return false;
    s->p += n;
    return true;
}

/* In the arena; "" when there is none. NULL: `e` says why. */
static char *take_word(struct parser *s, const char *ends)
{
    bool quoted = *s->p == '"';
    size_t n = 0, out = 0;
    if (quoted)
        s->p++;
    while (s->p[n] && (quoted ? s->p[n] != '"' : !strchr(ends, s->p[n])))
        n += quoted && s->p[n] == '\\' && s->p[n + 1] ? 2 : 1;
    if (quoted && !s->p[n]) {
        err_set(s->e, ERR_INVALID_ARGUMENT, "filter: the closing quote of \"%.60s\" is missing", s->p);
        return NULL;
    }
    char *word = arena_dup(s->a, (struct str){s->p, n});
    if (!word) {
        err_set(s->e, ERR_RESOURCE_EXHAUSTED, "filter: out of memory");
        return NULL;
    }
    for (size_t i = 0; quoted && i < n; i++) { /* without the backslashes */
        i += word[i] == '\\' && i + 1 < n;
        word[out++] = word[i];
    }
    word[quoted ? out : n] = '\0';
    s->p += n + quoted;
    return word;
}

static int take_op(struct parser *s, enum op *op)
{
    static const struct {
        const char *text;
        enum op op;
    } ops[] = {{"!=", OP_NE}, {"<=", OP_LE}, {">=", OP_GE}, {"=", OP_EQ}, {":", OP_HAS}, {"<", OP_LT}, {">", OP_GT}};
    skip_space(s);
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        size_t n = strlen(ops[i].text);
        if (strncmp(s->p, ops[i].text, n) != 0 || s->p[n] == '~')
            continue;
        *op = ops[i].op;
        s->p += n;
        skip_space(s);
        return 0;
    }
    return err_set(s->e, ERR_INVALID_ARGUMENT, "filter: \"%.60s\": one of the operators : = != < <= > >= is wanted here", s->p);
}

/* ---- terms ---- */

static bool is_duration(const ProtobufCFieldDescriptor *f) { return f->descriptor == &google__protobuf__duration__descriptor; }
static bool is_time(const ProtobufCFieldDescriptor *f) { return f->descriptor == &google__protobuf__timestamp__descriptor; }

static int find_field(struct parser *s, const char *name, struct queue_filter *t)
{
    const ProtobufCMessageDescriptor *d = &google__cloud__tasks__v2__queue__descriptor;
    for (const char *step = name;; step += strcspn(step, ".") + 1) {
        const ProtobufCFieldDescriptor *f =
            d && t->steps < FILTER_STEPS_MAX ? pb_field_find(d, (struct str){step, strcspn(step, ".")}) : NULL;
        if (!f)
            return err_set(s->e, ERR_INVALID_ARGUMENT,
                           "filter: \"%.60s\" is no field of a queue; state and rateLimits.maxBurstSize are two", name);
        t->path[t->steps++] = f;
        d = f->type == PROTOBUF_C_TYPE_MESSAGE ? f->descriptor : NULL;
        if (!step[strcspn(step, ".")])
            return 0;
    }
}

/* The message that has the term's field, or NULL. */
static const ProtobufCMessage *holder(const struct queue_filter *t, const ProtobufCMessage *m)
{
    for (size_t i = 0; m && i + 1 < t->steps; i++)
        m = pb_field_is_set(m, t->path[i]) ? *(ProtobufCMessage **)pb_member(m, t->path[i]) : NULL;
    return m;
}

/* The value, as the field's JSON would have it. */
static int read_value(struct parser *s, const char *name, char *text, struct queue_filter *t)
{
    const ProtobufCFieldDescriptor *f = t->path[t->steps - 1];
    if (f->type == PROTOBUF_C_TYPE_MESSAGE && !is_duration(f) && !is_time(f))
        return err_set(s->e, ERR_INVALID_ARGUMENT, "filter: \"%.60s\" has fields; name one of them, or ask whether it is set by %.60s:*",
                       name, name);
    if (f->type == PROTOBUF_C_TYPE_ENUM && t->op >= OP_LT)
        return err_set(s->e, ERR_INVALID_ARGUMENT, "filter: \"%.60s\" has no order; the operators : = != are for it", name);
    if (f->type == PROTOBUF_C_TYPE_STRING)
        return 0;
    for (char *c = text; f->type == PROTOBUF_C_TYPE_ENUM && *c; c++)
        *c = (char)toupper((unsigned char)*c);
    ProtobufCMessage *value = pb_new(s->a, &google__cloud__tasks__v2__queue__descriptor);
    if (!value)
        return err_set(s->e, ERR_RESOURCE_EXHAUSTED, "filter: out of memory");
    t->value = value;
    if (json_set_field(s->a, value, str_of(name), str_of(text), s->e))
        return err_wrap(s->e, "filter");
    if (f->type == PROTOBUF_C_TYPE_DOUBLE && isnan(*(double *)pb_member(holder(t, value), f)))
        return err_set(s->e, ERR_INVALID_ARGUMENT, "filter: \"%.60s\": NaN cannot be compared", name);
    return 0;
}

static struct queue_filter *node_new(struct parser *s, enum kind kind, const struct queue_filter *left, const struct queue_filter *right)
{
    struct queue_filter *f = arena_alloc(s->a, sizeof *f);
    if (f)
        *f = (struct queue_filter){.kind = kind, .left = left, .right = right};
    else
        err_set(s->e, ERR_RESOURCE_EXHAUSTED, "filter: out of memory");
    return f;
}

static struct queue_filter *parse_term(struct parser *s)
{
    struct queue_filter *t = node_new(s, FILTER_TERM, NULL, NULL);
    char *name = t ? take_word(s, " \t\r\n:=<>!()\"") : NULL, *text = NULL;
    if (!name || find_field(s, name, t) || take_op(s, &t->op) || !(text = take_word(s, " \t\r\n=<>!()\"")))
        return NULL;
    if (!*text) {
        err_set(s->e, ERR_INVALID_ARGUMENT, "filter: a value is missing; write for example `state: PAUSED`");
        return NULL;
    }
    if (++s->terms > FILTER_TERMS_MAX) {
        err_set(s->e, ERR_INVALID_ARGUMENT, "filter: more than %d terms", FILTER_TERMS_MAX);
        return NULL;
    }
    t->text = text;
    if (t->op == OP_HAS && strcmp(text, "*") == 0)
        t->op = OP_SET;
    else if (read_value(s, name, text, t))
        return NULL;
    return t;
}

/* ---- how terms are joined ---- */

static struct queue_filter *parse_all(struct parser *s);

static struct queue_filter *parse_one(struct parser *s)
{
    bool negated = false;
    struct queue_filter *f;
    for (;; negated = !negated) {
        if (take_keyword(s, "NOT"))
            continue;
        if (*s->p != '-')
            break;
        s->p++;
    }
    if (*s->p == '(') {
        s->p++;
        if (++s->depth > FILTER_DEPTH_MAX) {
            err_set(s->e, ERR_INVALID_ARGUMENT, "filter: more than %d parentheses in each other", FILTER_DEPTH_MAX);
            return NULL;
        }
        f = parse_all(s);
        s->depth--;
        if (f && *s->p++ != ')') {
            err_set(s->e, ERR_INVALID_ARGUMENT, "filter: a closing parenthesis is missing");
            return NULL;
        }
    } else {
        f = parse_term(s);
    }
    if (f)
        f->negated ^= negated;
    return f;
}

static struct queue_filter *parse_any(struct parser *s)
{
    struct queue_filter *f = parse_one(s);
    while (f && take_keyword(s, "OR")) {
        const struct queue_filter *other = parse_one(s);
        f = other ? node_new(s, FILTER_OR, f, other) : NULL;
    }
    return f;
}

/* Up to the end or a closing parenthesis. */
static struct queue_filter *parse_all(struct parser *s)
{
    struct queue_filter *f = parse_any(s);
    for (; f; skip_space(s)) {
        bool joined = take_keyword(s, "AND");
        if (!joined && (!*s->p || *s->p == ')'))
            break;
        const struct queue_filter *other = parse_any(s);
        f = other ? node_new(s, FILTER_AND, f, other) : NULL;
    }
    return f;
}

int queue_filter_parse(struct arena *a, const char *text, struct queue_filter **out, struct err *e)
{
    struct err own;
    struct parser s = {.a = a, .e = e ? e : &own, .p = text};
    *out = NULL;
    if (strlen(text) > FILTER_BYTES_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "filter: longer than %d bytes", FILTER_BYTES_MAX);
    skip_space(&s);
    if (!*s.p)
        return 0;
    struct queue_filter *f = parse_all(&s);
    if (f && *s.p == ')')
        return err_set(e, ERR_INVALID_ARGUMENT, "filter: a closing parenthesis without an opening one");
    *out = f;
    return f ? 0 : -(int)s.e->code;
}

/* ---- does it hold? ---- */

static double number(const ProtobufCFieldDescriptor *f, const void *member)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_DOUBLE:
        return *(const double *)member;
    case PROTOBUF_C_TYPE_INT64:
        return (double)*(const int64_t *)member;
    case PROTOBUF_C_TYPE_MESSAGE:
        return (double)(is_duration(f) ? pb_duration_ns(*(void *const *)member) : pb_timestamp_ns(*(void *const *)member));
    default: /* int32, enum */
        return *(const int32_t *)member;
    }
}

static int compare(const struct queue_filter *t, const ProtobufCFieldDescriptor *f, const void *member)
{
    if (f->type == PROTOBUF_C_TYPE_STRING)
        return strcasecmp(*(char *const *)member, t->text);
    double a = number(f, member), b = number(f, pb_member(holder(t, t->value), f));
    return (a > b) - (a < b);
}

static bool term_holds(const struct queue_filter *t, const PbQueue *q)
{
    const ProtobufCFieldDescriptor *f = t->path[t->steps - 1];
    const ProtobufCMessage *m = holder(t, &q->base);
    bool there = m && (f->type != PROTOBUF_C_TYPE_MESSAGE || pb_field_is_set(m, f));
    if (t->op == OP_SET)
        return m && pb_field_is_set(m, f);
    if (!there)
        return t->op == OP_NE;
    if (t->op == OP_HAS && f->type == PROTOBUF_C_TYPE_STRING)
        return strcasestr(*(char *const *)pb_member(m, f), t->text) != NULL;
    int c = compare(t, f, pb_member(m, f));
    static const struct {
        bool less, equal, more;
    } holds[] = {
        [OP_HAS] = {false, true, false}, [OP_EQ] = {false, true, false}, [OP_NE] = {true, false, true}, [OP_LT] = {true, false, false},
        [OP_LE] = {true, true, false},   [OP_GT] = {false, false, true}, [OP_GE] = {false, true, true},
    };
    return c < 0 ? holds[t->op].less : c > 0 ? holds[t->op].more : holds[t->op].equal;
}

bool queue_filter_fits(const struct queue_filter *f, const PbQueue *q)
{
    if (!f)
        return true;
    bool holds = f->kind == FILTER_TERM  ? term_holds(f, q)
                 : f->kind == FILTER_AND ? queue_filter_fits(f->left, q) && queue_filter_fits(f->right, q)
                                         : queue_filter_fits(f->left, q) || queue_filter_fits(f->right, q);
    return holds != f->negated;
}

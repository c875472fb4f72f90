/* queue_filter.c: the filter of ListQueues: terms like `state: PAUSED` or `-name:old`, all of which must hold.
 * A small part of the language of logging filters: the fields state and name, the operators : = !=, AND, NOT. The rest is refused. */
#include "broker/queues_int.h"

#include <ctype.h>

#define FILTER_BYTES_MAX 1000
#define FILTER_TERMS_MAX 16

enum field { FIELD_STATE, FIELD_NAME };
enum compare { COMPARE_HAS, COMPARE_EQUAL };
struct term {
    enum field field;
    enum compare compare;
    bool negated;
    char *value;
};
struct queue_filter {
    struct term terms[FILTER_TERMS_MAX];
    size_t n;
};

static const char *skip_space(const char *p)
{
    while (isspace((unsigned char)*p))
        p++;
    return p;
}

/* The word at *p, with its quotes taken off; moves past it. Empty: there is none, or its closing quote is missing. */
static struct str take_word(const char **p)
{
    struct str w;
    if (**p == '"') {
        w = (struct str){*p + 1, strcspn(*p + 1, "\"")};
        if (!w.p[w.n])
            return (struct str){w.p, 0};
        *p = w.p + w.n + 1;
    } else {
        w = (struct str){*p, strcspn(*p, " \t\r\n:=<>!()\"")};
        *p += w.n;
    }
    *p = skip_space(*p);
    return w;
}

static int parse_operator(const char **p, struct term *t, struct err *e)
{
    static const struct {
        const char *text;
        enum compare compare;
        bool negates;
    } operators[] = {{"!=", COMPARE_EQUAL, true}, {"=", COMPARE_EQUAL, false}, {":", COMPARE_HAS, false}};
    for (size_t i = 0; i < ARRAY_LEN(operators); i++) {
        size_t n = strlen(operators[i].text);
        if (strncmp(*p, operators[i].text, n) != 0)
            continue;
        t->compare = operators[i].compare;
        t->negated ^= operators[i].negates;
        *p = skip_space(*p + n);
        return 0;
    }
    return err_set(e, ERR_INVALID_ARGUMENT, "filter: \"%.60s\": one of the operators : = != is wanted here", *p);
}

static int parse_term(struct arena *a, const char **p, struct term *t, struct err *e)
{
    if (**p == '-') {
        t->negated = true;
        *p = skip_space(*p + 1);
    }
    struct str field = take_word(p);
    if (str_is(field, "NOT")) {
        t->negated ^= true;
        field = take_word(p);
    }
    if (str_is(field, "state"))
        t->field = FIELD_STATE;
    else if (str_is(field, "name"))
        t->field = FIELD_NAME;
    else
        return err_set(e, ERR_INVALID_ARGUMENT, "filter: \"%.*s\" cannot be filtered by; state and name can, as in `state: PAUSED`",
                       (int)(field.n < 60 ? field.n : 60), field.p);
    int rc = parse_operator(p, t, e);
    if (rc)
        return rc;
    struct str value = take_word(p);
    if (value.n == 0)
        return err_set(e, ERR_INVALID_ARGUMENT, "filter: a value, or its closing quote, is missing; write for example `state: PAUSED`");
    t->value = arena_dup(a, value);
    return t->value ? 0 : err_set(e, ERR_RESOURCE_EXHAUSTED, "filter: out of memory");
}

int queue_filter_parse(struct arena *a, const char *text, struct queue_filter **out, struct err *e)
{
    struct queue_filter *f = arena_alloc(a, sizeof *f);
    const char *p = skip_space(text);
    if (!f)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "filter: out of memory");
    if (strlen(text) > FILTER_BYTES_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "filter: longer than %d bytes", FILTER_BYTES_MAX);
    while (*p) {
        if (f->n == FILTER_TERMS_MAX)
            return err_set(e, ERR_INVALID_ARGUMENT, "filter: more than %d terms", FILTER_TERMS_MAX);
        int rc = parse_term(a, &p, &f->terms[f->n++], e);
        if (rc)
            return rc;
        if (strncmp(p, "AND", 3) == 0 && isspace((unsigned char)p[3]))
            p = skip_space(p + 3);
        else if (strncmp(p, "OR", 2) == 0)
            return err_set(e, ERR_INVALID_ARGUMENT, "filter: OR is not supported; terms beside each other must all hold");
    }
    *out = f;
    return 0;
}

static bool term_holds(const struct term *t, const PbQueue *q)
{
    const ProtobufCEnumValue *state =
        protobuf_c_enum_descriptor_get_value(&google__cloud__tasks__v2__queue__state__descriptor, (int)q->state);
    if (t->field == FIELD_STATE)
        return strcasecmp(state->name, t->value) == 0;
    return t->compare == COMPARE_EQUAL ? strcmp(q->name, t->value) == 0 : strstr(q->name, t->value) != NULL;
}

bool queue_filter_fits(const struct queue_filter *f, const PbQueue *q)
{
    for (size_t i = 0; i < f->n; i++)
        if (term_holds(&f->terms[i], q) == f->terms[i].negated)
            return false;
    return true;
}

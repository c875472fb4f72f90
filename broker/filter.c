/* filter.c: a recursive-descent parser of subscription filters into a small tree, and the walk over it. */
#include "broker/filter.h"

#include <ctype.h>
#include <stdlib.h>

enum node_kind { NODE_HAS, NODE_EQUAL, NODE_PREFIX, NODE_NOT, NODE_AND, NODE_OR };
struct filter_node {
    enum node_kind kind;
    struct str key, value;
    struct filter_node *left, *right;
};
struct filter {
    size_t n_nodes, text_used;
    struct filter_node *root;
    struct filter_node nodes[FILTER_BYTES_MAX];
    char text[FILTER_BYTES_MAX * 4]; /* decoded keys and values: an escape of 6 bytes gives at most 3 */
};
struct parser {
    struct filter *f;
    const char *text, *p;
    unsigned depth;
    struct err *e;
};

/* ---- words ---- */

static void *fail(struct parser *p, const char *wanted)
{
    err_set(p->e, ERR_INVALID_ARGUMENT, "filter: at character %zu: %s (\"%.32s\")", (size_t)(p->p - p->text) + 1, wanted, p->p);
    return NULL;
}

static void skip_space(struct parser *p)
{
    while (*p->p == ' ' || *p->p == '\t' || *p->p == '\n' || *p->p == '\r')
        p->p++;
}

static bool word_char(char c) { return isalnum((unsigned char)c) || c == '_'; }

static bool take_word(struct parser *p, const char *word)
{
    size_t n = strlen(word);
    skip_space(p);
    if (strncmp(p->p, word, n) != 0 || (word_char(word[n - 1]) && word_char(p->p[n])))
        return false;
    p->p += n;
    return true;
}

static struct filter_node *node_new(struct parser *p, enum node_kind kind)
{
    if (p->f->n_nodes == FILTER_BYTES_MAX)
        return fail(p, "the filter has too many parts");
    struct filter_node *n = &p->f->nodes[p->f->n_nodes++];
    *n = (struct filter_node){.kind = kind};
    return n;
}

static bool put(struct parser *p, char c)
{
    if (p->f->text_used == sizeof p->f->text)
        return false;
    p->f->text[p->f->text_used++] = c;
    return true;
}

static bool put_code(struct parser *p, unsigned code)
{
    if (code < 0x80)
        return put(p, (char)code);
    if (code < 0x800)
        return put(p, (char)(0xc0 | code >> 6)) && put(p, (char)(0x80 | (code & 63)));
    return put(p, (char)(0xe0 | code >> 12)) && put(p, (char)(0x80 | (code >> 6 & 63))) && put(p, (char)(0x80 | (code & 63)));
}

/* `digits` characters in `base`, exactly. */
static bool take_number(struct parser *p, unsigned digits, unsigned base, unsigned *out)
{
    *out = 0;
    for (unsigned i = 0; i < digits; i++, p->p++) {
        char c = (char)tolower((unsigned char)*p->p);
        unsigned v = c >= '0' && c <= '9' ? (unsigned)(c - '0') : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10) : 99;
        if (v >= base)
            return false;
        *out = *out * base + v;
    }
    return true;
}

static bool take_escape(struct parser *p)
{
    static const char from[] = "\\\"'nrt", to[] = "\\\"'\n\r\t";
    unsigned code;
    const char *plain = *p->p ? strchr(from, *p->p) : NULL;
    if (plain) {
        p->p++;
        return put(p, to[plain - from]);
    }
    if (*p->p == 'u' || *p->p == 'x') {
        unsigned digits = *p->p++ == 'u' ? 4 : 2;
        return take_number(p, digits, 16, &code) && code && put_code(p, code);
    }
    return take_number(p, 3, 8, &code) && code && code < 256 && put_code(p, code);
}

static bool take_string(struct parser *p, struct str *out)
{
    skip_space(p);
    if (*p->p != '"')
        return fail(p, "a string in double quotes is wanted") != NULL;
    size_t start = p->f->text_used;
    for (p->p++; *p->p != '"';) {
        if (*p->p == '\0')
            return fail(p, "the string does not end") != NULL;
        if (*p->p == '\\' ? (p->p++, !take_escape(p)) : !put(p, *p->p++))
            return fail(p, "this escape is not known") != NULL;
    }
    p->p++;
    *out = (struct str){p->f->text + start, p->f->text_used - start};
    return true;
}

static bool take_key(struct parser *p, struct str *out)
{
    skip_space(p);
    if (*p->p == '"')
        return take_string(p, out);
    const char *start = p->p;
    while (word_char(*p->p) || (*p->p == '-' && p->p > start))
        p->p++;
    *out = (struct str){p->f->text + p->f->text_used, (size_t)(p->p - start)};
    for (const char *c = start; c < p->p; c++)
        put(p, *c);
    return out->n ? true : fail(p, "an attribute key is wanted") != NULL;
}

/* ---- the grammar ---- */

static struct filter_node *parse_or_and(struct parser *p);

static struct filter_node *parse_prefix(struct parser *p)
{
    struct filter_node *n = node_new(p, NODE_PREFIX);
    if (!n)
        return NULL;
    if (!take_word(p, "(") || !take_word(p, "attributes") || !take_word(p, "."))
        return fail(p, "hasPrefix(attributes.KEY, \"PREFIX\") is wanted");
    if (!take_key(p, &n->key))
        return NULL;
    if (!take_word(p, ","))
        return fail(p, "a comma is wanted");
    if (!take_string(p, &n->value))
        return NULL;
    return take_word(p, ")") ? n : fail(p, "a closing parenthesis is wanted");
}

static struct filter_node *parse_compare(struct parser *p)
{
    struct filter_node *n = node_new(p, NODE_EQUAL);
    if (!n || !take_key(p, &n->key))
        return NULL;
    bool unequal = take_word(p, "!=");
    if (!unequal && !take_word(p, "="))
        return fail(p, "= or != is wanted");
    if (!take_string(p, &n->value))
        return NULL;
    if (!unequal)
        return n;
    struct filter_node *not = node_new(p, NODE_NOT);
    if (not )
        not ->left = n;
    return not ;
}

static struct filter_node *parse_attribute(struct parser *p)
{
    if (take_word(p, "."))
        return parse_compare(p);
    if (!take_word(p, ":"))
        return fail(p, "attributes:KEY or attributes.KEY is wanted");
    struct filter_node *n = node_new(p, NODE_HAS);
    return n && take_key(p, &n->key) ? n : NULL;
}

static struct filter_node *parse_factor(struct parser *p)
{
    if (take_word(p, "(")) {
        struct filter_node *n = parse_or_and(p);
        return !n || take_word(p, ")") ? n : fail(p, "a closing parenthesis is wanted");
    }
    if (take_word(p, "hasPrefix"))
        return parse_prefix(p);
    if (take_word(p, "attributes"))
        return parse_attribute(p);
    return fail(p, "attributes, hasPrefix, NOT or a parenthesis is wanted");
}

static struct filter_node *parse_not(struct parser *p)
{
    if (!take_word(p, "NOT") && !take_word(p, "-"))
        return parse_factor(p);
    struct filter_node *n = node_new(p, NODE_NOT);
    if (!n)
        return NULL;
    n->left = parse_factor(p);
    return n->left ? n : NULL;
}

static struct filter_node *parse_or_and(struct parser *p)
{
    if (++p->depth > FILTER_DEPTH_MAX)
        return fail(p, "too many parentheses");
    struct filter_node *left = parse_not(p);
    bool any_and = false, any_or = false;
    while (left) {
        bool and_here = take_word(p, "AND"), or_here = !and_here && take_word(p, "OR");
        if (!and_here && !or_here)
            break;
        any_and |= and_here;
        any_or |= or_here;
        if (any_and && any_or)
            return fail(p, "AND and OR need parentheses to be mixed");
        struct filter_node *n = node_new(p, and_here ? NODE_AND : NODE_OR);
        if (!n)
            return NULL;
        n->left = left;
        n->right = parse_not(p);
        left = n->right ? n : NULL;
    }
    p->depth--;
    return left;
}

struct filter *filter_parse(const char *text, struct err *e)
{
    if (strlen(text) > FILTER_BYTES_MAX) {
        err_set(e, ERR_INVALID_ARGUMENT, "filter: %zu bytes; at most %d are allowed", strlen(text), FILTER_BYTES_MAX);
        return NULL;
    }
    struct filter *f = calloc(1, sizeof *f);
    if (!f) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "filter: out of memory");
        return NULL;
    }
    struct parser p = {.f = f, .text = text, .p = text, .e = e};
    f->root = parse_or_and(&p);
    skip_space(&p);
    if (f->root && *p.p)
        f->root = fail(&p, "AND, OR or the end is wanted");
    if (!f->root) {
        free(f);
        return NULL;
    }
    return f;
}

void filter_free(struct filter *f) { free(f); }

/* ---- matching ---- */

static const struct attribute *find(const struct message *m, struct str key)
{
    for (size_t i = 0; i < m->n_attributes; i++)
        if (str_eq(m->attributes[i].key, key))
            return &m->attributes[i];
    return NULL;
}

static bool match(const struct filter_node *n, const struct message *m)
{
    const struct attribute *at = n->kind <= NODE_PREFIX ? find(m, n->key) : NULL;
    switch (n->kind) {
    case NODE_HAS:
        return at != NULL;
    case NODE_EQUAL:
        return at && str_eq(at->value, n->value);
    case NODE_PREFIX:
        return at && at->value.n >= n->value.n && memcmp(at->value.p, n->value.p, n->value.n) == 0;
    case NODE_NOT:
        return !match(n->left, m);
    case NODE_AND:
        return match(n->left, m) && match(n->right, m);
    case NODE_OR:
        return match(n->left, m) || match(n->right, m);
    }
    return false;
}

bool filter_match(const struct filter *f, const struct message *m) { return match(f->root, m); }

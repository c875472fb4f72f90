/** route.c: google.api.http path templates as a tree of segments, and finding a path in it.
 *  Shape:  every template is a way from the root: a literal, `*` (one segment) or `**` (the rest, last only) per step; at its
 *          end stands a leaf per `:verb`, holding a row of the method table per HTTP verb. Literals are tried before wildcards.
 *  Rules:  a path is split first and decoded afterwards, so an id may hold an encoded slash or colon. A colon in the last
 *          segment starts a verb only when some template has that verb; otherwise it belongs to the id. */
#include "core/rpc/method_int.h"
#include "core/rpc/pb.h"
#include "core/base/text.h"

#include <stdlib.h>

#define ROUTE_SEGMENTS_MAX 32
#define ROUTE_VARS_MAX 8
#define ROUTE_VERBS_MAX 128

enum step { STEP_LITERAL, STEP_ONE, STEP_MANY };

struct route_var {
    struct str field;
    size_t first, count; /* segments; the last one takes the rest when it is `**` */
    bool many;           /* spans several segments or `**`: %2F stays as it is */
};
/* A compiled template. */
struct route {
    const struct method *method;
    struct {
        enum step step;
        struct str literal;
    } segments[ROUTE_SEGMENTS_MAX];
    size_t n_segments;
    struct route_var vars[ROUTE_VARS_MAX];
    size_t n_vars;
    struct str verb; /* after the colon; empty = none */
};
struct leaf {
    struct leaf *next;
    struct str verb;
    struct route *routes[VERB_N];
    size_t rows[VERB_N];
};
struct route_node {
    struct route_node *sibling, *literals, *one, *many;
    struct str literal;
    struct leaf *leaves;
};
struct route_tree {
    struct route_node root;
    struct str verbs[ROUTE_VERBS_MAX];
    size_t n_verbs;
};

static const char *const verb_names[VERB_N] = {"GET", "PUT", "POST", "PATCH", "DELETE"};

struct route_tree *route_new(void) { return calloc(1, sizeof(struct route_tree)); }

static void node_free_below(struct route_node *n)
{
    for (struct leaf *l = n->leaves, *next; l; l = next) {
        next = l->next;
        for (size_t v = 0; v < VERB_N; v++)
            free(l->routes[v]);
        free(l);
    }
    struct route_node *below[] = {n->one, n->many};
    for (size_t i = 0; i < ARRAY_LEN(below); i++) {
        if (below[i])
            node_free_below(below[i]);
        free(below[i]);
    }
    for (struct route_node *c = n->literals, *next; c; c = next) {
        next = c->sibling;
        node_free_below(c);
        free(c);
    }
}

void route_free(struct route_tree *t)
{
    if (!t)
        return;
    node_free_below(&t->root);
    free(t);
}

/* --- compiling ------------------------------------------------------------------------------------------------ */

/* Nothing may follow `**`. */
static bool segment_fits(const struct route *r)
{
    return r->n_segments < ROUTE_SEGMENTS_MAX && (r->n_segments == 0 || r->segments[r->n_segments - 1].step != STEP_MANY);
}

/* Take one segment at *p up to `/`, `}`, `:` or the end. */
static bool compile_segment(struct route *r, const char **p)
{
    size_t n = strcspn(*p, "/}:{=");
    if (n == 0 || !segment_fits(r))
        return false;
    struct str s = {*p, n};
    enum step step = str_is(s, "**") ? STEP_MANY : str_is(s, "*") ? STEP_ONE : STEP_LITERAL;
    if (step == STEP_LITERAL && memchr(s.p, '*', s.n))
        return false;
    r->segments[r->n_segments].step = step;
    r->segments[r->n_segments].literal = s;
    r->n_segments++;
    *p += n;
    return true;
}

/* "{field}" or "{field=a/ * /b}", *p just after the brace. */
static bool compile_var(struct route *r, const char **p)
{
    size_t n = strcspn(*p, "=}");
    if (n == 0 || !(*p)[n] || r->n_vars == ROUTE_VARS_MAX)
        return false;
    struct route_var *v = &r->vars[r->n_vars++];
    *v = (struct route_var){.field = {*p, n}, .first = r->n_segments};
    *p += n;
    if (**p == '}') {
        if (!segment_fits(r))
            return false;
        r->segments[r->n_segments++].step = STEP_ONE;
    } else {
        do {
            ++*p;
            if (!compile_segment(r, p))
                return false;
        } while (**p == '/');
    }
    if (**p != '}')
        return false;
    ++*p;
    v->count = r->n_segments - v->first;
    v->many = v->count > 1 || r->segments[v->first].step == STEP_MANY;
    return true;
}

static bool compile(struct route *r)
{
    const char *p = r->method->path;
    if (*p != '/')
        return false;
    do {
        ++p;
        if (*p == '{') {
            ++p;
            if (!compile_var(r, &p))
                return false;
        } else if (!compile_segment(r, &p)) {
            return false;
        }
    } while (*p == '/');
    if (*p == ':') {
        r->verb = str_of(p + 1);
        return r->verb.n > 0 && !strpbrk(r->verb.p, "/{}*:");
    }
    return *p == '\0';
}

/* Every variable must be a field of the request, or the row could never be called. */
static int check_vars(const struct route *r, struct err *e)
{
    for (size_t i = 0; i < r->n_vars; i++) {
        const ProtobufCMessageDescriptor *d = r->method->request;
        struct str rest = r->vars[i].field;
        while (rest.p) {
            const char *dot = memchr(rest.p, '.', rest.n);
            struct str name = {rest.p, dot ? (size_t)(dot - rest.p) : rest.n};
            const ProtobufCFieldDescriptor *f = d ? pb_field_find(d, name) : NULL;
            if (!f)
                return err_set(e, ERR_INTERNAL, "%s: the variable `%.*s` of %s is not a field of %s", r->method->name,
                               (int)r->vars[i].field.n, r->vars[i].field.p, r->method->path,
                               r->method->request ? r->method->request->name : "no message");
            d = f->type == PROTOBUF_C_TYPE_MESSAGE ? f->descriptor : NULL;
            rest = dot ? (struct str){dot + 1, rest.n - name.n - 1} : (struct str){NULL, 0};
        }
    }
    return 0;
}

static struct route_node *node_at(struct route_node **slot)
{
    if (!*slot)
        *slot = calloc(1, sizeof **slot);
    return *slot;
}

static struct route_node *node_literal(struct route_node *n, struct str literal)
{
    struct route_node **slot = &n->literals;
    while (*slot && !str_eq((*slot)->literal, literal))
        slot = &(*slot)->sibling;
    struct route_node *c = node_at(slot);
    if (c)
        c->literal = literal;
    return c;
}

static struct leaf *leaf_find(const struct route_node *n, struct str verb)
{
    for (struct leaf *l = n->leaves; l; l = l->next)
        if (str_eq(l->verb, verb))
            return l;
    return NULL;
}

static bool verb_known(const struct route_tree *t, struct str verb)
{
    for (size_t i = 0; i < t->n_verbs; i++)
        if (str_eq(t->verbs[i], verb))
            return true;
    return false;
}

/* The leaf that a compiled template ends at, made if need be; NULL when out of memory or of verbs. */
static struct leaf *leaf_for(struct route_tree *t, const struct route *r)
{
    struct route_node *n = &t->root;
    for (size_t i = 0; i < r->n_segments && n; i++)
        switch (r->segments[i].step) {
        case STEP_LITERAL:
            n = node_literal(n, r->segments[i].literal);
            break;
        case STEP_ONE:
            n = node_at(&n->one);
            break;
        case STEP_MANY:
            n = node_at(&n->many);
            break;
        }
    if (!n)
        return NULL;
    struct leaf *l = leaf_find(n, r->verb);
    if (l)
        return l;
    bool new_verb = r->verb.n && !verb_known(t, r->verb);
    if (new_verb && t->n_verbs == ROUTE_VERBS_MAX)
        return NULL;
    l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    if (new_verb)
        t->verbs[t->n_verbs++] = r->verb;
    l->verb = r->verb;
    l->next = n->leaves;
    n->leaves = l;
    return l;
}

int route_add(struct route_tree *t, const struct method *m, size_t row, struct err *e)
{
    struct route *r = calloc(1, sizeof *r);
    if (!r)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "%s: out of memory for the path template", m->name);
    r->method = m;
    int rc = 0;
    if (!compile(r))
        rc = err_set(e, ERR_INTERNAL, "%s: the path template %s is malformed", m->name, m->path);
    if (!rc)
        rc = check_vars(r, e);
    struct leaf *l = rc ? NULL : leaf_for(t, r);
    if (!rc && !l)
        rc = err_set(e, ERR_RESOURCE_EXHAUSTED, "%s: no room for the path template %s", m->name, m->path);
    if (!rc && l->routes[m->verb])
        rc = err_set(e, ERR_INTERNAL, "%s: %s %s is the same as the path of %s", m->name, verb_names[m->verb], m->path,
                     l->routes[m->verb]->method->name);
    if (rc) {
        free(r);
        return rc;
    }
    l->routes[m->verb] = r;
    l->rows[m->verb] = row;
    return 0;
}

/* --- matching ------------------------------------------------------------------------------------------------- */

struct search {
    struct str raw[ROUTE_SEGMENTS_MAX]; /* as sent, the last one without its verb */
    struct str decoded[ROUTE_SEGMENTS_MAX];
    size_t n;
    struct str verb;
    enum http_verb http;
    bool path_known; /* some template fits, with another HTTP verb */
};

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decode `s` to `out` (s.n bytes are enough); %2F stays when `keep_slash`. The length, or -1 when malformed. */
static int decode_segment(struct str s, bool keep_slash, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] != '%') {
            out[n++] = s.p[i];
            continue;
        }
        int hi = i + 2 < s.n ? hex_value(s.p[i + 1]) : -1, lo = i + 2 < s.n ? hex_value(s.p[i + 2]) : -1;
        if (hi < 0 || lo < 0 || hi * 16 + lo == 0)
            return -1;
        if (keep_slash && hi * 16 + lo == '/') {
            memcpy(out + n, s.p + i, 3);
            n += 3;
        } else {
            out[n++] = (char)(hi * 16 + lo);
        }
        i += 2;
    }
    return (int)n;
}

static int malformed_path(struct str path, struct err *e)
{
    return err_set(e, ERR_INVALID_ARGUMENT, "the path %.*s has a malformed percent-encoding or is not UTF-8",
                   (int)(path.n > 200 ? 200 : path.n), path.p);
}

/* Split at the slashes, cut a known verb off the last segment, decode each. */
static int split_path(const struct route_tree *t, struct str path, struct arena *a, struct search *s, struct err *e)
{
    if (path.n == 0 || path.p[0] != '/')
        return -ERR_NOT_FOUND;
    size_t at = 1;
    for (bool more = true; more;) {
        const char *slash = memchr(path.p + at, '/', path.n - at);
        size_t end = slash ? (size_t)(slash - path.p) : path.n;
        if (s->n == ROUTE_SEGMENTS_MAX)
            return -ERR_NOT_FOUND;
        s->raw[s->n++] = (struct str){path.p + at, end - at};
        at = end + 1;
        more = slash != NULL;
    }
    struct str *last = &s->raw[s->n - 1];
    const char *colon = memrchr(last->p, ':', last->n);
    if (colon) {
        struct str verb = {colon + 1, last->n - (size_t)(colon + 1 - last->p)};
        if (verb_known(t, verb)) {
            s->verb = verb;
            last->n = (size_t)(colon - last->p);
        }
    }
    for (size_t i = 0; i < s->n; i++) {
        s->decoded[i] = s->raw[i];
        if (!s->raw[i].n || !memchr(s->raw[i].p, '%', s->raw[i].n))
            continue;
        char *out = arena_alloc(a, s->raw[i].n + 1);
        if (!out)
            return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the path");
        int n = decode_segment(s->raw[i], false, out);
        if (n < 0)
            return malformed_path(path, e);
        s->decoded[i] = (struct str){out, (size_t)n};
    }
    return 0;
}

static const struct leaf *leaf_here(struct search *s, const struct route_node *n)
{
    const struct leaf *l = leaf_find(n, s->verb);
    if (!l)
        return NULL;
    if (l->routes[s->http])
        return l;
    s->path_known = true;
    return NULL;
}

static const struct leaf *search_node(struct search *s, const struct route_node *n, size_t i)
{
    const struct leaf *l = NULL;
    if (i == s->n)
        l = leaf_here(s, n);
    if (!l && i < s->n && s->raw[i].n) {
        for (const struct route_node *c = n->literals; c && !l; c = c->sibling)
            if (str_eq(c->literal, s->decoded[i]))
                l = search_node(s, c, i + 1);
        if (!l && n->one)
            l = search_node(s, n->one, i + 1);
    }
    if (!l && n->many)
        l = leaf_here(s, n->many);
    return l;
}

static int bind_var(const struct search *s, const struct route *r, const struct route_var *v, struct str path, struct arena *a,
                    char **value, struct err *e)
{
    bool rest = r->segments[v->first + v->count - 1].step == STEP_MANY;
    size_t end = rest ? s->n : v->first + v->count, room = 1;
    for (size_t i = v->first; i < end; i++)
        room += s->raw[i].n + 1;
    char *out = arena_alloc(a, room);
    if (!out)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the path");
    size_t n = 0;
    for (size_t i = v->first; i < end; i++) {
        if (i > v->first)
            out[n++] = '/';
        int got = decode_segment(s->raw[i], v->many, out + n);
        if (got < 0)
            return malformed_path(path, e);
        n += (size_t)got;
    }
    out[n] = '\0';
    if (!utf8_valid(out, n))
        return malformed_path(path, e);
    *value = out;
    return 0;
}

int registry_match(const struct registry *r, enum http_verb verb, struct str path, struct arena *a, struct route_match *m, struct err *e)
{
    struct search s = {.http = verb};
    int shown = (int)(path.n > 200 ? 200 : path.n);
    int rc = split_path(r->routes, path, a, &s, e);
    if (rc && rc != -ERR_NOT_FOUND)
        return rc;
    const struct leaf *l = rc ? NULL : search_node(&s, &r->routes->root, 0);
    if (!l && s.path_known)
        return err_set(e, ERR_UNIMPLEMENTED, "%s is not supported at %.*s", verb_names[verb], shown, path.p);
    if (!l)
        return err_set(e, ERR_NOT_FOUND, "there is no method at %s %.*s", verb_names[verb], shown, path.p);
    const struct route *route = l->routes[verb];
    const struct registry_row *row = &r->rows[l->rows[verb]];
    *m = (struct route_match){.method = row->method, .service = row->service, .n_vars = route->n_vars};
    for (size_t i = 0; i < route->n_vars; i++) {
        m->vars[i].field = route->vars[i].field.p;
        m->vars[i].field_len = route->vars[i].field.n;
        rc = bind_var(&s, route, &route->vars[i], path, a, &m->vars[i].value, e);
        if (rc)
            return rc;
    }
    return 0;
}

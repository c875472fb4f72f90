/* cli_json.c: the one place of the command line that knows cJSON. Its memory comes from the command's arena and goes with it. */
#include "tools/runnel/cli_json.h"
#include "core/base/text.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>

/* cJSON's hooks carry no context, so the arena is kept here: one per process, set once. */
static struct cli *owner;

static void *hook_malloc(size_t n) { return cli_alloc(owner, n); }

static void hook_free(void *p) { (void)p; }

void jv_use(struct cli *c)
{
    cJSON_Hooks hooks = {hook_malloc, hook_free};
    owner = c;
    cJSON_InitHooks(&hooks);
}

static struct jv *jv(cJSON *v) { return (struct jv *)v; }
static cJSON *cj(const struct jv *v) { return (cJSON *)(uintptr_t)v; }

int jv_parse(struct str text, struct jv **out, struct err *e)
{
    cJSON *v = cJSON_ParseWithLength(text.p ? text.p : "", text.n);
    if (!v)
        return err_set(e, ERR_INVALID_ARGUMENT, "not JSON: %.60s", text.p ? text.p : "");
    *out = jv(v);
    return 0;
}

/* cJSON's own pretty form uses tabs; people and gcloud expect two blanks. */
static void write_value(struct cli *c, struct buf *b, const cJSON *v, int depth)
{
    bool ok = true;
    if (cJSON_IsObject(v) || cJSON_IsArray(v)) {
        const bool object = cJSON_IsObject(v);
        ok = buf_addz(b, object ? "{" : "[") == 0;
        for (const cJSON *i = v->child; i; i = i->next) {
            ok = ok && buf_addf(b, "\n%*s", (depth + 1) * 2, "") == 0;
            if (object)
                ok = ok && json_string_add(b, str_of(i->string)) == 0 && buf_addz(b, ": ") == 0;
            write_value(c, b, i, depth + 1);
            ok = ok && buf_addz(b, i->next ? "," : "") == 0;
        }
        if (v->child)
            ok = ok && buf_addf(b, "\n%*s", depth * 2, "") == 0;
        ok = ok && buf_addz(b, object ? "}" : "]") == 0;
    } else if (cJSON_IsString(v)) {
        ok = json_string_add(b, str_of(v->valuestring)) == 0;
    } else {
        ok = buf_addz(b, cJSON_PrintUnformatted(v)) == 0;
    }
    if (!ok)
        (void)cli_alloc(c, SIZE_MAX); /* says out of memory and ends */
}

char *jv_write(const struct jv *v, bool pretty)
{
    if (!pretty)
        return cJSON_PrintUnformatted(cj(v));
    struct buf b;
    buf_init(&b, CLI_MEMORY_MAX);
    write_value(owner, &b, cj(v), 0);
    char *text = cli_copy(owner, buf_str(&b));
    buf_fini(&b);
    return text;
}

struct jv *jv_object(void) { return jv(cJSON_CreateObject()); }
struct jv *jv_array(void) { return jv(cJSON_CreateArray()); }
struct jv *jv_copy(const struct jv *v) { return v ? jv(cJSON_Duplicate(cj(v), 1)) : NULL; }
struct jv *jv_string(const char *text) { return jv(cJSON_CreateString(text)); }
struct jv *jv_number(double v) { return jv(cJSON_CreateNumber(v)); }
struct jv *jv_bool(bool v) { return jv(cJSON_CreateBool(v)); }

static const char *next_piece(const char *path, char *piece, size_t cap)
{
    const size_t n = strcspn(path, ".[");
    snprintf(piece, cap, "%.*s", (int)n, path);
    return path + n;
}

/* The object that holds the last piece of the path; objects on the way are made when `make`. */
static cJSON *parent_of(cJSON *o, const char *path, char *last, size_t cap, bool make)
{
    for (;;) {
        const char *rest = next_piece(path, last, cap);
        if (*rest != '.')
            return o;
        cJSON *child = cJSON_GetObjectItemCaseSensitive(o, last);
        if (!cJSON_IsObject(child)) {
            if (!make)
                return NULL;
            cJSON_DeleteItemFromObjectCaseSensitive(o, last);
            child = cJSON_AddObjectToObject(o, last);
        }
        o = child;
        path = rest + 1;
    }
}

struct jv *jv_set(struct jv *o, const char *key, struct jv *value)
{
    cJSON_DeleteItemFromObjectCaseSensitive(cj(o), key);
    if (value)
        cJSON_AddItemToObject(cj(o), key, cj(value));
    return value;
}

struct jv *jv_put(struct jv *o, const char *path, struct jv *value)
{
    char last[128];
    if (!value)
        return NULL;
    cJSON *at = parent_of(cj(o), path, last, sizeof last, true);
    cJSON_DeleteItemFromObjectCaseSensitive(at, last);
    cJSON_AddItemToObject(at, last, cj(value));
    return value;
}

void jv_put_text(struct jv *o, const char *path, const char *text)
{
    if (text)
        jv_put(o, path, jv_string(text));
}

void jv_drop(struct jv *o, const char *path)
{
    char last[128];
    cJSON *at = parent_of(cj(o), path, last, sizeof last, false);
    if (at)
        cJSON_DeleteItemFromObjectCaseSensitive(at, last);
}

void jv_add(struct jv *array, struct jv *value) { cJSON_AddItemToArray(cj(array), cj(value)); }

void jv_remove(struct jv *parent, struct jv *item) { cJSON_Delete(cJSON_DetachItemViaPointer(cj(parent), cj(item))); }

struct jv *jv_need_object(struct jv *o, const char *path)
{
    struct jv *v = jv_at(o, path);
    return jv_is_object(v) ? v : jv_put(o, path, jv_object());
}

struct jv *jv_need_array(struct jv *o, const char *path)
{
    struct jv *v = jv_at(o, path);
    return jv_is_array(v) ? v : jv_put(o, path, jv_array());
}

struct jv *jv_at(const struct jv *v, const char *path)
{
    cJSON *at = cj(v);
    while (at && *path) {
        if (*path == '[') {
            at = cJSON_IsArray(at) ? cJSON_GetArrayItem(at, (int)strtol(path + 1, NULL, 10)) : NULL;
            path += strcspn(path, "]");
            path += *path == ']';
        } else {
            char piece[128];
            path = next_piece(path, piece, sizeof piece);
            at = cJSON_IsObject(at) ? cJSON_GetObjectItemCaseSensitive(at, piece) : NULL;
        }
        path += *path == '.';
    }
    return jv(at);
}

const char *jv_text(const struct jv *v, const char *path)
{
    const cJSON *at = cj(jv_at(v, path));
    return cJSON_IsString(at) ? at->valuestring : "";
}

int64_t jv_int(const struct jv *v, const char *path)
{
    const cJSON *at = cj(jv_at(v, path));
    if (cJSON_IsNumber(at))
        return (int64_t)at->valuedouble;
    return cJSON_IsString(at) ? strtoll(at->valuestring, NULL, 10) : 0;
}

bool jv_true(const struct jv *v, const char *path) { return cJSON_IsTrue(cj(jv_at(v, path))); }
bool jv_is_object(const struct jv *v) { return cJSON_IsObject(cj(v)); }
bool jv_is_array(const struct jv *v) { return cJSON_IsArray(cj(v)); }
struct jv *jv_first(const struct jv *v) { return v ? jv(cj(v)->child) : NULL; }
struct jv *jv_next(const struct jv *v) { return jv(cj(v)->next); }
const char *jv_key(const struct jv *v) { return cj(v)->string ? cj(v)->string : ""; }
size_t jv_count(const struct jv *v) { return v ? (size_t)cJSON_GetArraySize(cj(v)) : 0; }

const char *jv_show(const struct jv *v)
{
    const cJSON *at = cj(v);
    if (!at || cJSON_IsNull(at))
        return "";
    return cJSON_IsString(at) ? at->valuestring : cJSON_PrintUnformatted(at);
}

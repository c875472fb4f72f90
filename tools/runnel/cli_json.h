/** cli_json.h: JSON values for the command line: what the API answered, and bodies to send. cJSON is included by cli_json.c only.
 *  Owner:  all values live in the arena given to jv_use, until the program ends; nothing is freed one by one.
 *  Errors: out of memory ends the program, as everywhere in the command line (cli.h).
 *  Thread: one. */
#ifndef TOOLS_RUNNEL_CLI_JSON_H
#define TOOLS_RUNNEL_CLI_JSON_H

#include "tools/runnel/cli.h"

struct jv;
/** Once, before anything else. */
void jv_use(struct cli *c);
/** INVALID_ARGUMENT when it is not JSON. */
MUST_USE int jv_parse(struct str text, struct jv **out, struct err *e);
char *jv_write(const struct jv *v, bool pretty);

struct jv *jv_object(void);
struct jv *jv_array(void);
struct jv *jv_copy(const struct jv *v);
struct jv *jv_string(const char *text);
struct jv *jv_number(double v);
struct jv *jv_bool(bool v);
/** Put `value` under a dotted path, making the objects on the way; replaces what was there. NULL values are left out. Returns `value`. */
struct jv *jv_put(struct jv *o, const char *path, struct jv *value);
/** The same under one key taken literally: labels, variables. */
struct jv *jv_set(struct jv *o, const char *key, struct jv *value);
void jv_put_text(struct jv *o, const char *path, const char *text); /* NULL: nothing is put */
void jv_drop(struct jv *o, const char *path);
void jv_add(struct jv *array, struct jv *value);
void jv_remove(struct jv *parent, struct jv *item);
/** The object or array at a path; made when it is not there. */
struct jv *jv_need_object(struct jv *o, const char *path);
struct jv *jv_need_array(struct jv *o, const char *path);

/** "a.b[0].c"; NULL when absent. */
struct jv *jv_at(const struct jv *v, const char *path);
const char *jv_text(const struct jv *v, const char *path); /* "" when absent or no string */
int64_t jv_int(const struct jv *v, const char *path);      /* numbers and strings of digits; 0 otherwise */
bool jv_true(const struct jv *v, const char *path);
bool jv_is_object(const struct jv *v);
bool jv_is_array(const struct jv *v);
/** Items of an array or object: `for (struct jv *i = jv_first(v); i; i = jv_next(i))`. */
struct jv *jv_first(const struct jv *v);
struct jv *jv_next(const struct jv *v);
const char *jv_key(const struct jv *v); /* of an object's item */
size_t jv_count(const struct jv *v);
/** A scalar as people read it: strings as they are, true/false, numbers; objects and arrays as JSON on one line. */
const char *jv_show(const struct jv *v);

#endif

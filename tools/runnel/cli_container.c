/* cli_container.c: flags into the parts that services and jobs have in common: container, variables, labels. */
#include "tools/runnel/cli_container.h"

/* A list flag into an array of strings; an empty value clears it. */
static void put_list(struct cli *c, struct jv *o, const char *field, const char *flag)
{
    if (!cli_given(c, flag))
        return;
    const char *const *items = cli_list(c, flag, NULL);
    struct jv *array = jv_put(o, field, jv_array());
    for (size_t i = 0; items[i]; i++)
        jv_add(array, jv_string(items[i]));
}

static struct jv *variable(struct jv *env, const char *name)
{
    for (struct jv *i = jv_first(env); i; i = jv_next(i))
        if (strcmp(jv_text(i, "name"), name) == 0)
            return i;
    return NULL;
}

void flag_put_variables(struct cli *c, struct jv *env, const char *flag)
{
    const char *const *pairs = cli_list(c, flag, NULL);
    for (size_t i = 0; pairs[i]; i++) {
        const char *equals = strchr(pairs[i], '=');
        const char *name = cli_copy(c, (struct str){pairs[i], (size_t)(equals - pairs[i])});
        struct jv *v = variable(env, name);
        if (!v) {
            v = jv_object();
            jv_put_text(v, "name", name);
            jv_add(env, v);
        }
        jv_drop(v, "valueSource");
        jv_put_text(v, "value", equals + 1);
    }
}

static void put_env(struct cli *c, struct jv *container)
{
    struct jv *env = jv_need_array(container, "env");
    if (cli_given(c, "set-env-vars") || cli_given(c, "clear-env-vars"))
        env = jv_put(container, "env", jv_array());
    flag_put_variables(c, env, "set-env-vars");
    flag_put_variables(c, env, "update-env-vars");
    const char *const *gone = cli_list(c, "remove-env-vars", NULL);
    struct jv *left = jv_array();
    for (const struct jv *i = jv_first(env); i; i = jv_next(i)) {
        bool keep = true;
        for (size_t k = 0; gone[k]; k++)
            keep = keep && strcmp(gone[k], jv_text(i, "name"));
        if (keep)
            jv_add(left, jv_copy(i));
    }
    jv_put(container, "env", left);
}

struct jv *container_put(struct cli *c, struct jv *tmpl)
{
    struct jv *containers = jv_need_array(tmpl, "containers");
    if (!jv_first(containers))
        jv_add(containers, jv_object());
    struct jv *container = jv_first(containers);
    jv_put_text(container, "image", cli_text(c, "image"));
    put_list(c, container, "command", "command");
    put_list(c, container, "args", "args");
    put_env(c, container);
    jv_put_text(container, "resources.limits.cpu", cli_text(c, "cpu"));
    jv_put_text(container, "resources.limits.memory", cli_text(c, "memory"));
    return container;
}

void flag_put_number(struct cli *c, struct jv *o, const char *field, const char *flag)
{
    if (cli_given(c, flag))
        jv_put(o, field, jv_number((double)cli_int(c, flag)));
}

static void put_labels(struct cli *c, struct jv *resource, const char *flag)
{
    const char *const *pairs = cli_list(c, flag, NULL);
    for (size_t i = 0; pairs[i]; i++) {
        const char *equals = strchr(pairs[i], '=');
        jv_set(jv_need_object(resource, "labels"), cli_copy(c, (struct str){pairs[i], (size_t)(equals - pairs[i])}), jv_string(equals + 1));
    }
}

void flags_put_labels(struct cli *c, struct jv *resource)
{
    put_labels(c, resource, "labels");
    put_labels(c, resource, "update-labels");
    if (cli_given(c, "clear-labels"))
        jv_put(resource, "labels", jv_object());
}

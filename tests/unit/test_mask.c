/* test_mask.c: field masks applied to messages. Messages are written as JSON so that a row can be read. */
#include "tests/support/unit.h"

#include "core/rpc/json.h"
#include "core/rpc/mask.h"
#include "core/rpc/pb.h"

#include "tests/support/test_rpc.pb-c.h"

static Runnel__Test__Everything *parse(struct arena *a, const char *name, const char *text)
{
    Runnel__Test__Everything *m = pb_new(a, &runnel__test__everything__descriptor);
    struct err e = {0};
    if (json_decode(a, str_of(text), &m->base, &e))
        fail_msg("case \"%s\": %s", name, e.msg);
    return m;
}

/* "a,b" into an array. */
static size_t split(struct arena *a, const char *mask, char *paths[8])
{
    size_t n = 0;
    char *text = arena_strdup(a, mask), *save = NULL;
    for (char *p = strtok_r(text, ",", &save); p && n < 8; p = strtok_r(NULL, ",", &save))
        paths[n++] = p;
    return n;
}

static void named_fields_are_copied(void **state)
{
    static const struct {
        const char *name, *to, *from, *mask, *want;
    } cases[] = {
        {"one field", "{\"name\":\"a\",\"anInt32\":1}", "{\"name\":\"b\",\"anInt32\":2}", "name", "{\"name\":\"b\",\"anInt32\":1}"},
        {"two fields", "{\"name\":\"a\",\"anInt32\":1}", "{\"name\":\"b\",\"anInt32\":2}", "name,an_int32",
         "{\"name\":\"b\",\"anInt32\":2}"},
        {"camelCase", "{\"anInt32\":1}", "{\"anInt32\":2}", "anInt32", "{\"anInt32\":2}"},
        {"what is not set is cleared", "{\"name\":\"a\"}", "{}", "name", "{}"},
        {"a message is replaced whole", "{\"item\":{\"name\":\"a\",\"data\":\"AA==\"}}", "{\"item\":{\"name\":\"b\"}}", "item",
         "{\"item\":{\"name\":\"b\"}}"},
        {"a message is removed", "{\"item\":{\"name\":\"a\"}}", "{}", "item", "{}"},
        {"inside a message the rest stays", "{\"item\":{\"name\":\"a\",\"data\":\"AA==\"}}", "{\"item\":{\"name\":\"b\"}}", "item.name",
         "{\"item\":{\"name\":\"b\",\"data\":\"AA==\"}}"},
        {"inside a message that is not there yet", "{}", "{\"item\":{\"child\":{\"name\":\"b\",\"data\":\"AA==\"}}}", "item.child.name",
         "{\"item\":{\"child\":{\"name\":\"b\"}}}"},
        {"inside a message that is not given", "{\"item\":{\"name\":\"a\",\"data\":\"AA==\"}}", "{}", "item.name",
         "{\"item\":{\"data\":\"AA==\"}}"},
        {"nothing is made only to be empty", "{}", "{}", "item.child.name", "{}"},
        {"a list is replaced", "{\"words\":[\"a\",\"b\"]}", "{\"words\":[\"c\"]}", "words", "{\"words\":[\"c\"]}"},
        {"a list is emptied", "{\"words\":[\"a\",\"b\"]}", "{}", "words", "{}"},
        {"a map is replaced", "{\"labels\":{\"a\":\"1\"}}", "{\"labels\":{\"b\":\"2\"}}", "labels", "{\"labels\":{\"b\":\"2\"}}"},
        {"a oneof is switched", "{\"text\":\"x\"}", "{\"count\":3}", "count", "{\"count\":3}"},
        {"a oneof is cleared", "{\"text\":\"x\"}", "{}", "text", "{}"},
        {"the other of a oneof stays", "{\"text\":\"x\"}", "{}", "count", "{\"text\":\"x\"}"},
        {"inside a message of a oneof", "{\"text\":\"x\"}", "{\"thing\":{\"name\":\"b\"}}", "thing.name", "{\"thing\":{\"name\":\"b\"}}"},
        {"an optional", "{}", "{\"maybe\":0}", "maybe", "{\"maybe\":0}"},
        {"a star is everything", "{\"name\":\"a\",\"anInt32\":1}", "{\"name\":\"b\"}", "*", "{\"name\":\"b\"}"},
        {"no path is what is set", "{\"name\":\"a\",\"anInt32\":1}", "{\"name\":\"b\"}", "", "{\"name\":\"b\",\"anInt32\":1}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena *a = arena_new(1 << 20), *b = arena_new(1 << 20);
        Runnel__Test__Everything *to = parse(a, cases[i].name, cases[i].to);
        Runnel__Test__Everything *from = parse(b, cases[i].name, cases[i].from);
        char *paths[8];
        size_t n = split(b, cases[i].mask, paths);
        struct err e = {0};
        struct buf out;
        if (mask_apply(a, &to->base, &from->base, paths, n, true, &e))
            fail_msg("case \"%s\": %s", cases[i].name, e.msg);
        arena_free(b); /* the result must not need it */
        buf_init(&out, 1 << 16);
        CASE_INT(cases[i].name, json_encode(&out, &to->base, 0, &e), 0);
        CASE_STR(cases[i].name, buf_cstr(&out), cases[i].want);
        buf_fini(&out);
        arena_free(a);
    }
}

static void an_empty_mask_may_mean_nothing(void **state)
{
    struct arena *a = arena_new(1 << 20);
    Runnel__Test__Everything *to = parse(a, "to", "{\"name\":\"a\"}"), *from = parse(a, "from", "{\"name\":\"b\"}");
    assert_int_equal(mask_apply(a, &to->base, &from->base, NULL, 0, false, NULL), 0);
    assert_string_equal(to->name, "a");
    arena_free(a);
}

static void a_wrong_path_changes_nothing(void **state)
{
    static const struct {
        const char *name, *mask, *says;
    } cases[] = {
        {"unknown", "name,nobody", "\"nobody\" is not a field of Everything"},
        {"unknown inside", "name,item.nobody", "\"item.nobody\" is not a field of Item"},
        {"inside a scalar", "name,name.x", "`name` can only be named whole"},
        {"inside a map", "name,labels.a", "`labels` can only be named whole"},
        {"inside a list", "name,items.name", "`items` can only be named whole"},
        {"a point at the end", "name,item.", "not a field"},
        {"a point at the start", "name,.item", "not a field"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena *a = arena_new(1 << 20);
        Runnel__Test__Everything *to = parse(a, "to", "{\"name\":\"a\"}"), *from = parse(a, "from", "{\"name\":\"b\"}");
        char *paths[8];
        size_t n = split(a, cases[i].mask, paths);
        struct err e = {0};
        CASE_INT(cases[i].name, mask_apply(a, &to->base, &from->base, paths, n, true, &e), -ERR_INVALID_ARGUMENT);
        if (!strstr(e.msg, cases[i].says))
            fail_msg("case \"%s\": \"%s\" does not say \"%s\"", cases[i].name, e.msg, cases[i].says);
        CASE_STR(cases[i].name, to->name, "a");
        arena_free(a);
    }
}

static void a_mask_names_a_path_or_its_parent(void **state)
{
    static const struct {
        const char *name, *mask, *path;
        bool want;
    } cases[] = {
        {"itself", "push_config", "push_config", true},
        {"a parent", "push_config", "push_config.push_endpoint", true},
        {"not a child", "push_config.push_endpoint", "push_config", false},
        {"not a longer word", "push", "push_config", false},
        {"not a shorter word", "push_config", "push", false},
        {"camelCase", "pushConfig", "push_config.push_endpoint", true},
        {"a camelCase child", "pushConfig.pushEndpoint", "push_config.push_endpoint", true},
        {"the second", "labels,name", "name", true},
        {"a star", "*", "name", true},
        {"none", "", "name", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena *a = arena_new(1 << 16);
        char *paths[8];
        size_t n = split(a, cases[i].mask, paths);
        CASE_INT(cases[i].name, mask_has(paths, n, cases[i].path), cases[i].want);
        arena_free(a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(named_fields_are_copied),
        cmocka_unit_test(an_empty_mask_may_mean_nothing),
        cmocka_unit_test(a_wrong_path_changes_nothing),
        cmocka_unit_test(a_mask_names_a_path_or_its_parent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

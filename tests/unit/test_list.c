/** test_list.c: the intrusive list keeps order and count, and removal is idempotent. */
#include "tests/support/unit.h"

#include "core/base/list.h"

struct item {
    char name;
    struct node link;
};

static const char *spelled(struct list *l)
{
    static char out[32];
    size_t n = 0;
    LIST_EACH(l, at)
        out[n++] = CONTAINER_OF(at, struct item, link)->name;
    out[n] = '\0';
    assert_int_equal(n, l->count);
    return out;
}

static void fill(struct list *l, struct item *items, const char *names)
{
    list_init(l);
    for (size_t i = 0; names[i]; i++) {
        items[i].name = names[i];
        node_init(&items[i].link);
        list_append(l, &items[i].link);
    }
}

static void items_keep_the_order_they_are_added_in(void **state)
{
    struct list l;
    struct item items[4];
    fill(&l, items, "abc");
    assert_string_equal(spelled(&l), "abc");
    items[3].name = 'd';
    node_init(&items[3].link);
    list_prepend(&l, &items[3].link);
    assert_string_equal(spelled(&l), "dabc");
    list_remove(&l, &items[3].link);
    list_link_before(&l, &items[2].link, &items[3].link);
    assert_string_equal(spelled(&l), "abdc");
}

static void removing_twice_changes_nothing_more(void **state)
{
    struct list l;
    struct item items[3];
    fill(&l, items, "abc");
    list_remove(&l, &items[1].link);
    assert_false(node_linked(&items[1].link));
    list_remove(&l, &items[1].link);
    assert_string_equal(spelled(&l), "ac");
    assert_true(node_linked(&items[0].link));
}

static void popping_takes_from_the_front_until_empty(void **state)
{
    struct list l;
    struct item items[3];
    fill(&l, items, "abc");
    for (size_t i = 0; i < 3; i++)
        assert_ptr_equal(list_pop(&l), &items[i].link);
    assert_null(list_pop(&l));
    assert_null(list_first(&l));
    assert_true(list_empty(&l));
    assert_int_equal(l.count, 0);
}

static void the_item_at_hand_may_be_removed_while_walking(void **state)
{
    struct list l;
    struct item items[6];
    fill(&l, items, "abcdef");
    LIST_EACH_SAFE(&l, at)
        if (strchr("acef", CONTAINER_OF(at, struct item, link)->name))
            list_remove(&l, at);
    assert_string_equal(spelled(&l), "bd");
    LIST_EACH_SAFE(&l, at)
        list_remove(&l, at);
    assert_true(list_empty(&l));
}

static void an_item_moves_between_lists(void **state)
{
    struct list from, to;
    struct item items[2], none[1];
    fill(&from, items, "ab");
    fill(&to, none, "");
    while (!list_empty(&from))
        list_prepend(&to, list_pop(&from));
    assert_string_equal(spelled(&to), "ba");
    assert_string_equal(spelled(&from), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_keep_the_order_they_are_added_in),
        cmocka_unit_test(removing_twice_changes_nothing_more),
        cmocka_unit_test(popping_takes_from_the_front_until_empty),
        cmocka_unit_test(the_item_at_hand_may_be_removed_while_walking),
        cmocka_unit_test(an_item_moves_between_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

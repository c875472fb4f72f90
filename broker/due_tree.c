/* due_tree.c: the treap: a search tree by (due, key) that is a heap by random weights. */
#include "broker/due_tree.h"

#include <assert.h>
#include <string.h>

int due_compare(int64_t a_wall_ns, const char *a_key, int64_t b_wall_ns, const char *b_key)
{
    if (a_wall_ns != b_wall_ns)
        return a_wall_ns < b_wall_ns ? -1 : 1;
    return strcmp(a_key, b_key);
}

static struct due_node **link_of(struct due_tree *t, struct due_node *n)
{
    if (!n->up)
        return &t->root;
    return n->up->left == n ? &n->up->left : &n->up->right;
}

static void set(struct due_node **link, struct due_node *child, struct due_node *up)
{
    *link = child;
    if (child)
        child->up = up;
}

/* `n` takes the place of its parent, which becomes its child. */
static void rotate_up(struct due_tree *t, struct due_node *n)
{
    struct due_node *up = n->up;
    set(link_of(t, up), n, up->up);
    if (up->left == n) {
        set(&up->left, n->right, up);
        set(&n->right, up, n);
    } else {
        set(&up->right, n->left, up);
        set(&n->left, up, n);
    }
}

void due_insert(struct due_tree *t, struct due_node *n, uint64_t random)
{
    assert(!n->weight);
    n->weight = random | 1;
    n->left = n->right = NULL;
    struct due_node **link = &t->root, *up = NULL;
    while (*link) {
        up = *link;
        link = due_compare(n->due_wall_ns, n->key, up->due_wall_ns, up->key) < 0 ? &up->left : &up->right;
    }
    set(link, n, up);
    while (n->up && n->up->weight < n->weight)
        rotate_up(t, n);
    t->count++;
}

void due_remove(struct due_tree *t, struct due_node *n)
{
    assert(n->weight && t->count);
    while (n->left && n->right)
        rotate_up(t, n->left->weight > n->right->weight ? n->left : n->right);
    set(link_of(t, n), n->left ? n->left : n->right, n->up);
    n->left = n->right = n->up = NULL;
    n->weight = 0;
    t->count--;
}

static struct due_node *leftmost(struct due_node *n)
{
    while (n && n->left)
        n = n->left;
    return n;
}

static struct due_node *rightmost(struct due_node *n)
{
    while (n && n->right)
        n = n->right;
    return n;
}

struct due_node *due_first(const struct due_tree *t) { return leftmost(t->root); }
struct due_node *due_last(const struct due_tree *t) { return rightmost(t->root); }

struct due_node *due_last_below(const struct due_tree *t, int64_t due_wall_ns, const char *key)
{
    struct due_node *below = NULL;
    for (struct due_node *n = t->root; n;) {
        bool is_below = due_compare(n->due_wall_ns, n->key, due_wall_ns, key) < 0;
        if (is_below)
            below = n;
        n = is_below ? n->right : n->left;
    }
    return below;
}

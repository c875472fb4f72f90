/** due_tree.h: tasks in the order in which they are due: (due, key), as the store orders the entries of a lane.
 *  Shape:  an intrusive treap: expected O(log n) for every call.
 *  Owner:  owns nothing: nodes are embedded in what is ordered, and `key` points into it.
 *  Units:  due is wall time in ns.
 *  Thread: whoever owns it; no locks. */
#ifndef BROKER_DUE_TREE_H
#define BROKER_DUE_TREE_H

#include "core/compiler.h"

struct due_node {
    struct due_node *left, *right, *up;
    uint64_t weight; /* random: it keeps the tree flat; 0: in no tree */
    int64_t due_wall_ns;
    const char *key;
};
struct due_tree {
    struct due_node *root;
    size_t count;
};

/** Below 0, 0 or above, as with strcmp. */
int due_compare(int64_t a_wall_ns, const char *a_key, int64_t b_wall_ns, const char *b_key);
/** `n` is in no tree; its due time and key are set, no other with both is in the tree. */
void due_insert(struct due_tree *t, struct due_node *n, uint64_t random);
void due_remove(struct due_tree *t, struct due_node *n);
struct due_node *due_first(const struct due_tree *t); /* NULL: empty */
struct due_node *due_last(const struct due_tree *t);
/** The last that is before (due, key). */
struct due_node *due_last_below(const struct due_tree *t, int64_t due_wall_ns, const char *key);

#endif

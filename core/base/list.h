/** list.h: intrusive, circular, doubly linked lists. Removal is idempotent.
 *  An object is in at most one list per node; only its mover touches the links.
 *  Owner:  a list owns nothing: the nodes are embedded in what is listed.
 *  Thread: whoever owns the list; no locks. */
#ifndef CORE_BASE_LIST_H
#define CORE_BASE_LIST_H

#include "core/compiler.h"

struct node {
    struct node *prev, *next;
};
/* A list that counts; the head is a node in the circle. */
struct list {
    struct node head;
    size_t count;
};

static inline void node_init(struct node *n) { n->prev = n->next = n; }
static inline bool node_linked(const struct node *n) { return n->next != n; }
static inline void list_init(struct list *l)
{
    node_init(&l->head);
    l->count = 0;
}
static inline bool list_empty(const struct list *l) { return l->head.next == &l->head; }

static inline void list_link_before(struct list *l, struct node *at, struct node *n)
{
    n->prev = at->prev;
    n->next = at;
    at->prev->next = n;
    at->prev = n;
    l->count++;
}
static inline void list_append(struct list *l, struct node *n) { list_link_before(l, &l->head, n); }
static inline void list_prepend(struct list *l, struct node *n) { list_link_before(l, l->head.next, n); }
/** Take `n` out of `l`; nothing happens when it is in no list. */
static inline void list_remove(struct list *l, struct node *n)
{
    if (!node_linked(n))
        return;
    n->prev->next = n->next;
    n->next->prev = n->prev;
    node_init(n);
    l->count--;
}
static inline struct node *list_first(struct list *l) { return list_empty(l) ? NULL : l->head.next; }
static inline struct node *list_pop(struct list *l)
{
    struct node *n = list_first(l);
    if (n)
        list_remove(l, n);
    return n;
}

#define LIST_EACH(l, n) for (struct node *n = (l)->head.next; n != &(l)->head; n = n->next)
/* `n` may be removed inside the loop. */
#define LIST_EACH_SAFE(l, n) for (struct node *n = (l)->head.next, *n##_next = n->next; n != &(l)->head; n = n##_next, n##_next = n->next)

#endif

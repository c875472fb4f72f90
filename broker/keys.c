/* keys.c: the queues of ordering keys. */
#include "broker/keys.h"

#include <stdlib.h>

static struct lease *lease_of(struct node *n) { return CONTAINER_OF(n, struct lease, key_link); }

static struct key_queue *queue_new(struct map *keys, struct str name, struct err *e)
{
    struct key_queue *q = malloc(sizeof *q + name.n + 1);
    if (!q) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "ordering key: out of memory");
        return NULL;
    }
    q->name = (char *)(q + 1);
    memcpy(q->name, name.p, name.n);
    q->name[name.n] = '\0';
    list_init(&q->leases);
    if (map_put(keys, q->name, q, e)) {
        free(q);
        return NULL;
    }
    return q;
}

int keys_join(struct map *keys, struct lease *l, struct err *e)
{
    struct str name = l->msg->ordering_key;
    struct key_queue *q = map_get_n(keys, name.p, name.n);
    if (!q && !(q = queue_new(keys, name, e)))
        return -ERR_RESOURCE_EXHAUSTED;
    l->key = q;
    list_append(&q->leases, &l->key_link);
    return 0;
}

struct lease *keys_leave(struct map *keys, struct lease *l)
{
    struct key_queue *q = l->key;
    bool head = keys_is_head(l);
    list_remove(&q->leases, &l->key_link);
    l->key = NULL;
    if (list_empty(&q->leases)) {
        map_remove(keys, q->name);
        free(q);
        return NULL;
    }
    return head ? lease_of(list_first(&q->leases)) : NULL;
}

bool keys_is_head(const struct lease *l) { return l->key->leases.head.next == &l->key_link; }

struct lease *keys_after(const struct lease *l)
{
    struct node *n = l->key_link.next;
    return n == &l->key->leases.head ? NULL : lease_of(n);
}

/** method_int.h: the registry's inside, shared by method.c and route.c. */
#ifndef CORE_RPC_METHOD_INT_H
#define CORE_RPC_METHOD_INT_H

#include "core/rpc/method.h"

struct route_tree;
struct registry_row {
    const struct method *method;
    void *service;
};
struct registry {
    struct route_tree *routes;
    authorize_fn authorize;
    void *authorize_arg;
    size_t n;
    struct registry_row rows[REGISTRY_METHODS_MAX];
};

/** route.c: path templates as a tree of segments; every row is a leaf under its verb. */
struct route_tree *route_new(void);
void route_free(struct route_tree *t);
/** Compile m->path; `row` is its place in the registry. INTERNAL for a malformed template or one that is there already. */
MUST_USE int route_add(struct route_tree *t, const struct method *m, size_t row, struct err *e);

#endif

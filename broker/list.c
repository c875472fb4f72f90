/* list.c: pages of names, in order, for every list method. */
#include "broker/broker_int.h"

#include "core/rpc/page.h"

#include <stdlib.h>

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* The names after the page's start, cut to its size; the token when there are more. */
static int cut(struct arena *a, char **names, size_t n, const char *list, const struct page *p, struct listing *out, struct err *e)
{
    size_t from = 0, high = n;
    while (from < high) {
        size_t mid = (from + high) / 2;
        if (strcmp(names[mid], p->after) <= 0)
            from = mid + 1;
        else
            high = mid;
    }
    out->n = n - from < p->size ? n - from : p->size;
    out->items = arena_alloc(a, (out->n + 1) * sizeof *out->items);
    out->next_token = "";
    if (out->items && from + out->n < n)
        out->next_token = page_token(a, list, names[from + out->n - 1]);
    if (!out->items || !out->next_token)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the list");
    memcpy(out->items, names + from, out->n * sizeof *out->items);
    return 0;
}

int list_names(struct arena *a, char **names, size_t n, const struct list_ask *ask, struct listing *out, struct err *e)
{
    struct page p;
    if (page_open(a, ask->size, ask->token, ask->parent, &p, e))
        return -(int)e->code;
    qsort(names, n, sizeof *names, by_name);
    return cut(a, names, n, ask->parent, &p, out, e);
}

int list_page(struct arena *a, const struct map *m, const struct list_ask *ask, struct listing *out, struct err *e)
{
    size_t it = 0, n = 0, prefix_len = strlen(ask->parent);
    const char *name;
    void *value;
    char **names = malloc((map_count(m) + 1) * sizeof *names);
    if (!names)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the list");
    while (map_next(m, &it, &name, &value))
        if (strncmp(name, ask->parent, prefix_len) == 0)
            names[n++] = (char *)name;
    int rc = list_names(a, names, n, ask, out, e);
    free(names);
    for (size_t i = 0; rc == 0 && i < out->n; i++)
        out->items[i] = map_get(m, out->items[i]);
    return rc;
}

/** api_common.c: what the methods of services and of jobs have in common: ids, etags, parents, pages that are newest first, dry runs. */
#include "executor/api_common.h"

#include "core/rpc/page.h"

#include <stdio.h>
#include <stdlib.h>

void api_reply(struct call *c, const void *m)
{
    if (m)
        call_reply(c, m);
    else
        call_failf(c, ERR_RESOURCE_EXHAUSTED, "the answer is too large, or memory is out");
}

char *api_uid(struct arena *a, struct rng *rng)
{
    uint64_t hi = (rng_u64(rng) & ~UINT64_C(0xf000)) | 0x4000, lo = (rng_u64(rng) & ~(UINT64_C(3) << 62)) | (UINT64_C(1) << 63);
    return arena_printf(a, "%08x-%04x-%04x-%04x-%012llx", (unsigned)(hi >> 32), (unsigned)(hi >> 16 & 0xffff), (unsigned)(hi & 0xffff),
                        (unsigned)(lo >> 48), (unsigned long long)(lo & UINT64_C(0xffffffffffff)));
}

char *api_etag(struct arena *a, const char *uid, int64_t generation)
{
    return arena_printf(a, "\"%.8s-%lld\"", uid, (long long)generation);
}

char *api_parent(struct arena *a, const char *name)
{
    const char *at = strstr(name, "/locations/"), *end = at ? strchr(at + strlen("/locations/"), '/') : NULL;
    return arena_dup(a, (struct str){name, end ? (size_t)(end - name) : 0});
}

void api_reply_done(struct executor *x, struct call *c, const char *parent, const ProtobufCMessage *m)
{
    struct err e;
    struct operation *op = operation_start(x->deps.operations, parent, m, &e);
    if (!op) {
        call_fail(c, &e);
        return;
    }
    operation_finish(op, m);
    api_reply(c, operation_message(c->arena, op));
}

static int by_list_key(const void *a, const void *b) { return strcmp(((const struct listed *)a)->key, ((const struct listed *)b)->key); }

void api_list_key(struct listed *l, int64_t created_ns, const char *name, const void *item)
{
    snprintf(l->key, sizeof l->key, "%019lld %s", (long long)(INT64_MAX - created_ns), name);
    l->item = item;
}

size_t api_page_cut(struct arena *a, struct listed *items, size_t n, const struct page *p, const char *list, size_t *first, char **next)
{
    *first = 0;
    *next = (char *)(uintptr_t) "";
    qsort(items, n, sizeof *items, by_list_key);
    while (*first < n && *p->after && strcmp(items[*first].key, p->after) <= 0)
        (*first)++;
    size_t left = n - *first;
    if (left <= p->size)
        return left;
    *next = page_token(a, list, items[*first + p->size - 1].key);
    return p->size;
}

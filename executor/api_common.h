/** api_common.h: what the methods of services and jobs have in common: pages of lists, ids, answers.
 *  Units:  created_ns is wall time.
 *  Thread: engine thread. */
#ifndef EXECUTOR_API_COMMON_H
#define EXECUTOR_API_COMMON_H

#include "executor/executor_int.h"

struct listed {
    char key[RUN_NAME_MAX + 24];
    const void *item;
};
/** A key that falls as time goes on: lists are newest first. */
void api_list_key(struct listed *l, int64_t created_ns, const char *name, const void *item);
struct page;
/** Order the items and keep the page's; `next` is the token of the following page or "". */
size_t api_page_cut(struct arena *a, struct listed *items, size_t n, const struct page *p, const char *list, size_t *first, char **next);
char *api_uid(struct arena *a, struct rng *rng);
char *api_etag(struct arena *a, const char *uid, int64_t generation);
/** "projects/P/locations/L" of a resource below it. */
char *api_parent(struct arena *a, const char *name);
void api_reply(struct call *c, const void *m); /* or fail, when it is NULL */
/** A dry run: the operation as it would be, done at once. */
void api_reply_done(struct executor *x, struct call *c, const char *parent, const ProtobufCMessage *m);

#endif

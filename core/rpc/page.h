/** page.h: pages of a list ordered by name: sizes and tokens.
 *  A token is base64url of a check value and the last name given out; INVALID_ARGUMENT when it was not made for this list.
 *  Errors: INVALID_ARGUMENT: a negative size, or a token of another list; RESOURCE_EXHAUSTED: the arena is full.
 *  Owner:  tokens and names are in the arena given.
 *  Thread: any; nothing is kept. */
#ifndef CORE_RPC_PAGE_H
#define CORE_RPC_PAGE_H

#include "core/base/arena.h"

#define PAGE_SIZE_DEFAULT 100
#define PAGE_SIZE_MAX 1000
struct page {
    size_t size;
    const char *after; /* give names greater than this; "" = from the start */
};
/** Read what a List request says. size 0 = the default, above the maximum = the maximum, negative is INVALID_ARGUMENT.
 *  `list` names the list (its parent). */
MUST_USE int page_open(struct arena *a, int32_t size, const char *token, const char *list, struct page *p, struct err *e);
/** The token after `last_name`; NULL when the arena is full. */
char *page_token(struct arena *a, const char *list, const char *last_name);

#endif

/** web.c: the table of plain pages beside the API. */
#include "core/rpc/rest_int.h"

#include <assert.h>
#include <stdlib.h>

struct web *web_new(void) { return calloc(1, sizeof(struct web)); }
void web_free(struct web *w) { free(w); }

int web_add(struct web *w, const struct web_route *route, struct err *e)
{
    if (w->n == WEB_ROUTES_MAX)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "%s: there are %d pages already", route->path, WEB_ROUTES_MAX);
    if (!route->handler || route->path[0] != '/')
        return err_set(e, ERR_INTERNAL, "a page needs a handler and a path that begins with a slash");
    for (size_t i = 0; i < w->n; i++)
        if (w->routes[i].verb == route->verb && !strcmp(w->routes[i].path, route->path))
            return err_set(e, ERR_INTERNAL, "the page %s is there already", route->path);
    w->routes[w->n++] = *route;
    return 0;
}

/* How well a route's path fits: 0 not, SIZE_MAX exactly, else the length of the prefix. */
static size_t fit(const char *pattern, struct str path)
{
    size_t n = strlen(pattern);
    if (n >= 2 && pattern[n - 1] == '*' && pattern[n - 2] == '/')
        return path.n >= n - 1 && !memcmp(path.p, pattern, n - 1) ? n - 1 : 0;
    return str_is(path, pattern) ? SIZE_MAX : 0;
}

const struct web_route *web_match(const struct web *w, enum http_verb verb, struct str path, bool *path_known)
{
    const struct web_route *best = NULL;
    size_t best_fit = 0;
    for (size_t i = 0; i < w->n; i++) {
        size_t f = fit(w->routes[i].path, path);
        *path_known |= f > 0;
        if (f > best_fit && w->routes[i].verb == verb) {
            best = &w->routes[i];
            best_fit = f;
        }
    }
    return best;
}

void web_reply(struct web_call *w, int status, const char *content_type)
{
    assert(w->status == 0); /* answered once */
    w->status = status;
    w->content_type = content_type;
    w->finish(w);
}

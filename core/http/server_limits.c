/* server_limits.c: what all connections of a server may take together: places and bytes in buffers. When either is used up,
 * those give way that cost others most and lose least: who rests or has not asked yet, and who holds most. */
#include "core/http/server_int.h"

#define LOOKS_MAX 64 /* connections looked at to find one that gives way: a full server stays quick */

/* The connection that was looked at longest ago; those in use go round, so that the search moves on. */
static struct http_conn *look_at_next(struct http_server *s)
{
    struct node *n = list_pop(&s->conns);
    if (!n)
        return NULL;
    list_append(&s->conns, n);
    return CONTAINER_OF(n, struct http_conn, link);
}

bool http_server_make_room(struct http_server *s)
{
    for (int i = 0; i < LOOKS_MAX; i++) {
        struct http_conn *c = look_at_next(s);
        if (!c)
            return false;
        if (c->x)
            continue;
        http_conn_close(c); /* at rest, in the middle of a head, or answered and lingering: nothing was promised */
        return true;
    }
    return false;
}

static size_t held_now(const struct http_conn *c)
{
    size_t bytes = c->in.cap;
    if (c->x)
        bytes += c->x->head.cap + c->x->out.cap;
    return bytes;
}

void http_conn_count(struct http_conn *c)
{
    size_t now = c->fd < 0 ? 0 : held_now(c);
    c->server->held_bytes += now - c->held_bytes;
    c->held_bytes = now;
}

/* Of some connections the one that holds most, of which the one that grew is one. */
static struct http_conn *find_greediest(struct http_conn *grew)
{
    struct http_conn *most = grew;
    for (size_t i = 0; i < LOOKS_MAX && i < grew->server->conns.count; i++) {
        struct http_conn *c = look_at_next(grew->server);
        if (c->held_bytes > most->held_bytes)
            most = c;
    }
    return most;
}

bool http_conn_within_budget(struct http_conn *c)
{
    struct http_server *s = c->server;
    size_t before = c->held_bytes;
    http_conn_count(c);
    while (c->fd >= 0 && s->held_bytes > s->config.held_max_bytes && c->held_bytes > before) {
        struct http_conn *most = find_greediest(c);
        if (most->held_bytes <= HTTP_SPARE_BUFFER_BYTES)
            break;
        http_conn_turn_away(most, 503, "too much waits to be read or sent here: try again later");
    }
    return c->fd >= 0;
}

/* client_pool.c: which connection a call gets: pools of kept-alive connections, one per target, made and dropped as needed. */
#include "core/http/client_int.h"
#include "core/http/put.h"

#include <stdlib.h>

static uint64_t local_key(const struct http_target *t) { return t->generation << 16 | t->port; }

static void remote_key(const struct url *u, char key[CLIENT_POOL_KEY_MAX])
{
    char *to = u->https ? PUT(key, "https://") : PUT(key, "http://");
    for (size_t i = 0; i < u->host.n && i < CLIENT_HOST_MAX; i++)
        *to++ = u->host.p[i] >= 'A' && u->host.p[i] <= 'Z' ? (char)(u->host.p[i] | 0x20) : u->host.p[i];
    *to++ = ':';
    *put_u64(to, u->port) = '\0';
}

static struct client_pool *pool_find(struct http_client *c, const struct http_target *t, struct err *e)
{
    char key[CLIENT_POOL_KEY_MAX] = "";
    if (!t->local)
        remote_key(&t->url, key);
    struct client_pool *p = t->local ? u64map_get(c->local_pools, local_key(t)) : map_get(c->remote_pools, key);
    if (p)
        return p;
    p = calloc(1, sizeof *p);
    if (!p) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for a pool of connections");
        return NULL;
    }
    p->client = c;
    p->local = t->local;
    p->local_key = t->local ? local_key(t) : 0;
    memcpy(p->key, key, sizeof key);
    list_init(&p->idle);
    int rc = t->local ? u64map_put(c->local_pools, p->local_key, p, e) : map_put(c->remote_pools, p->key, p, e);
    if (rc) {
        free(p);
        return NULL;
    }
    return p;
}

static void pool_drop_empty(struct client_pool *p)
{
    if (p->connections)
        return;
    if (p->local)
        u64map_remove(p->client->local_pools, p->local_key);
    else
        map_remove(p->client->remote_pools, p->key);
    free(p);
}

static void idle_remove(struct client_conn *c)
{
    if (!node_linked(&c->idle_link))
        return;
    list_remove(&c->pool->idle, &c->idle_link);
    c->client->idle_count--;
}

/* When all places are taken, an idle connection to another target makes room. */
static void client_make_room(struct http_client *c)
{
    if (c->conns.count < HTTP_CLIENT_CONNECTIONS_MAX || c->idle_count == 0)
        return;
    LIST_EACH(&c->conns, n) {
        struct client_conn *conn = CONTAINER_OF(n, struct client_conn, link);
        if (node_linked(&conn->idle_link)) {
            client_conn_close(conn);
            return;
        }
    }
}

static struct client_conn *conn_open(struct http_client *c, struct http_call *x, struct err *e)
{
    client_make_room(c);
    if (c->conns.count >= HTTP_CLIENT_CONNECTIONS_MAX) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "all %d connections are in use", HTTP_CLIENT_CONNECTIONS_MAX);
        return NULL;
    }
    struct client_pool *p = pool_find(c, &x->st.target, e);
    if (!p)
        return NULL;
    struct client_conn *conn = NULL;
    if (p->connections >= HTTP_CLIENT_PER_TARGET_MAX)
        err_set(e, ERR_RESOURCE_EXHAUSTED, "all %d connections to this target are in use", HTTP_CLIENT_PER_TARGET_MAX);
    else
        conn = client_conn_new(p, &x->st.target, x->st.spec.due_ns, e);
    if (!conn) {
        pool_drop_empty(p);
        return NULL;
    }
    c->stats.opened++;
    return conn;
}

static struct client_conn *conn_reuse(struct http_client *c, struct http_call *x)
{
    struct client_pool *p = pool_find(c, &x->st.target, NULL);
    struct node *n;
    if (!p)
        return NULL;
    while ((n = list_first(&p->idle))) {
        struct client_conn *conn = CONTAINER_OF(n, struct client_conn, idle_link);
        idle_remove(conn);
        /* A call that cannot be repeated is worth a look at whether the peer has gone. */
        bool repeatable = x->st.spec.replayable && !x->st.spec.stream;
        if (repeatable || client_conn_quiet(conn)) {
            c->stats.reused++;
            return conn;
        }
        bool last = p->connections == 1;
        client_conn_close(conn);
        if (last)
            return NULL; /* the pool went with it */
    }
    pool_drop_empty(p);
    return NULL;
}

int http_pool_attach(struct http_call *x, bool fresh, struct err *e)
{
    struct http_client *c = x->st.client;
    struct client_conn *conn = fresh ? NULL : conn_reuse(c, x);
    if (conn) {
        conn->reused = true;
        conn->rx = CLIENT_HEAD;
        conn->scan = (struct h1_scan){0};
    } else {
        conn = conn_open(c, x, e);
        if (!conn)
            return -ERR_UNAVAILABLE;
    }
    conn->rx_any = false;
    conn->unsent = conn->reused;
    x->st.keeps = conn->reused && conn->pool->local;
    conn->call = x;
    x->st.conn = conn;
    client_conn_mark(conn);
    return 0;
}

void http_pool_put(struct client_conn *c)
{
    c->rx = CLIENT_IDLE;
    list_prepend(&c->pool->idle, &c->idle_link);
    c->client->idle_count++;
}

void http_pool_forget(struct client_conn *c)
{
    idle_remove(c);
    c->pool->connections--;
    pool_drop_empty(c->pool);
    c->pool = NULL;
}

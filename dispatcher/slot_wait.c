/* slot_wait.c: two mails, one for the question and its answer, one for calling it off; each comes back to the io thread. */
#include "dispatcher/slot_wait.h"

#include <stdlib.h>

struct slot_wait {
    struct node link;
    struct slot_waits *owner;
    struct pool *pool;
    struct mail ask, stop;
    /* engine thread, until `ask` is back */
    struct pool_waiter waiter;
    bool answered;
    bool granted;
    struct pool_grant grant;
    struct err err;
    /* io thread */
    slot_wait_fn done;
    void *arg;
    bool asking, stopping; /* a mail is at the engine */
    bool abandoned;
};

static void release(struct slot_wait *w)
{
    if (w->asking || w->stopping)
        return;
    list_remove(&w->owner->all, &w->link);
    pool_unref(w->pool);
    free(w);
}

/* ---- back on the io thread ---- */

static void on_answer(struct mail *m)
{
    struct slot_wait *w = CONTAINER_OF(m, struct slot_wait, ask);
    w->asking = false;
    if (!w->abandoned)
        w->done(w->arg, w->granted ? &w->grant : NULL, w->granted ? NULL : &w->err);
    else if (w->granted)
        pool_release(&w->grant, 0);
    release(w);
}

static void on_stopped(struct mail *m)
{
    struct slot_wait *w = CONTAINER_OF(m, struct slot_wait, stop);
    w->stopping = false;
    release(w);
}

/* ---- on the engine thread ---- */

static void answer(struct slot_wait *w)
{
    w->answered = true;
    w->ask.deliver = on_answer;
    mailbox_post(w->owner->io, &w->ask);
}

static void on_granted(struct pool_waiter *pw, const struct pool_grant *g)
{
    struct slot_wait *w = CONTAINER_OF(pw, struct slot_wait, waiter);
    w->granted = true;
    w->grant = *g;
    answer(w);
}

static void on_failed(struct pool_waiter *pw, const struct err *e)
{
    struct slot_wait *w = CONTAINER_OF(pw, struct slot_wait, waiter);
    w->err = *e;
    answer(w);
}

static void on_ask(struct mail *m)
{
    struct slot_wait *w = CONTAINER_OF(m, struct slot_wait, ask);
    pool_wait(w->pool, &w->waiter);
}

static void on_stop(struct mail *m)
{
    struct slot_wait *w = CONTAINER_OF(m, struct slot_wait, stop);
    if (!w->answered) {
        pool_wait_cancel(w->pool, &w->waiter);
        err_set(&w->err, ERR_CANCELLED, "called off");
        answer(w);
    }
    w->stop.deliver = on_stopped;
    mailbox_post(w->owner->io, &w->stop);
}

/* ---- from the io thread ---- */

struct slot_wait *slot_wait_start(struct slot_waits *ws, struct pool *p, int64_t due_ns, slot_wait_fn done, void *arg, struct err *e)
{
    struct slot_wait *w = calloc(1, sizeof *w);
    if (!w) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for a waiting request");
        return NULL;
    }
    *w = (struct slot_wait){
        .owner = ws,
        .pool = pool_ref(p),
        .ask = {.deliver = on_ask},
        .stop = {.deliver = on_stop},
        .waiter = {.due_ns = due_ns, .granted = on_granted, .failed = on_failed},
        .done = done,
        .arg = arg,
        .asking = true,
    };
    node_init(&w->link);
    list_append(&ws->all, &w->link);
    if (!mailbox_offer(ws->engine, &w->ask)) {
        w->asking = false;
        release(w);
        err_set(e, ERR_RESOURCE_EXHAUSTED, "the server has too much to do; try again later");
        return NULL;
    }
    return w;
}

void slot_wait_abandon(struct slot_wait *w)
{
    w->abandoned = true;
    w->stopping = true;
    mailbox_post(w->owner->engine, &w->stop);
}

void slot_waits_init(struct slot_waits *ws, struct mailbox *engine, struct mailbox *io)
{
    list_init(&ws->all);
    ws->engine = engine;
    ws->io = io;
}

void slot_waits_fini(struct slot_waits *ws)
{
    LIST_EACH_SAFE(&ws->all, n) {
        struct slot_wait *w = CONTAINER_OF(n, struct slot_wait, link);
        if (w->asking && !w->answered && node_linked(&w->waiter.link) && w->waiter.link.next)
            pool_wait_cancel(w->pool, &w->waiter);
        else if (w->asking && w->granted)
            pool_release(&w->grant, 0);
        w->asking = w->stopping = false;
        release(w);
    }
}

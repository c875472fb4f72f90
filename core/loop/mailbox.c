/** mailbox.c: a stack that posters push on by compare-and-swap and the owner takes whole, then reverses. */
#include "core/loop/mailbox.h"

#include <stdatomic.h>
#include <stdlib.h>

struct mailbox {
    _Atomic(struct mail *) newest;
    _Atomic size_t count; /* posted and not taken; may run ahead of the stack for a moment */
    _Atomic bool owed;    /* somebody posted quietly to the empty box and has not woken the owner yet */
    size_t max;
    void (*wake)(void *arg);
    void *arg;
};

struct mailbox *mailbox_new(size_t max, void (*wake)(void *arg), void *arg)
{
    struct mailbox *mb = malloc(sizeof *mb);
    if (!mb)
        return NULL;
    atomic_init(&mb->newest, NULL);
    atomic_init(&mb->count, 0);
    atomic_init(&mb->owed, false);
    mb->max = max;
    mb->wake = wake;
    mb->arg = arg;
    return mb;
}

void mailbox_free(struct mailbox *mb) { free(mb); }

/* True: the box was empty, so its owner is to be woken. */
static bool push(struct mailbox *mb, struct mail *m)
{
    /* Taking empties the stack at once, so a mail seen here cannot have left and come back (no ABA). */
    struct mail *seen = atomic_load_explicit(&mb->newest, memory_order_relaxed);
    do
        m->next = seen;
    while (!atomic_compare_exchange_weak_explicit(&mb->newest, &seen, m, memory_order_release, memory_order_relaxed));
    return !seen; /* `m` may be delivered and gone already */
}

void mailbox_wake(struct mailbox *mb)
{
    atomic_store(&mb->owed, false);
    if (mb->wake)
        mb->wake(mb->arg);
}

static void push_and_wake(struct mailbox *mb, struct mail *m)
{
    if (push(mb, m) || atomic_load(&mb->owed))
        mailbox_wake(mb);
}

static bool push_quietly(struct mailbox *mb, struct mail *m)
{
    bool owed = push(mb, m);
    if (owed)
        atomic_store(&mb->owed, true);
    return owed;
}

/* One more, if there is room for it. */
static bool count_in(struct mailbox *mb)
{
    if (atomic_fetch_add_explicit(&mb->count, 1, memory_order_relaxed) < mb->max)
        return true;
    atomic_fetch_sub_explicit(&mb->count, 1, memory_order_relaxed);
    return false;
}

void mailbox_post(struct mailbox *mb, struct mail *m)
{
    atomic_fetch_add_explicit(&mb->count, 1, memory_order_relaxed);
    push_and_wake(mb, m);
}

bool mailbox_post_quietly(struct mailbox *mb, struct mail *m)
{
    atomic_fetch_add_explicit(&mb->count, 1, memory_order_relaxed);
    return push_quietly(mb, m);
}

bool mailbox_offer(struct mailbox *mb, struct mail *m)
{
    if (!count_in(mb))
        return false;
    push_and_wake(mb, m);
    return true;
}

bool mailbox_offer_quietly(struct mailbox *mb, struct mail *m, bool *owed)
{
    if (!count_in(mb))
        return false;
    *owed = push_quietly(mb, m);
    return true;
}

struct mail *mailbox_take(struct mailbox *mb)
{
    if (!atomic_load_explicit(&mb->newest, memory_order_relaxed))
        return NULL; /* the usual answer once an iteration: without the cost of an exchange */
    struct mail *m = atomic_exchange_explicit(&mb->newest, NULL, memory_order_acquire);
    struct mail *oldest = NULL;
    size_t n = 0;
    while (m) {
        struct mail *next = m->next;
        m->next = oldest;
        oldest = m;
        m = next;
        n++;
    }
    atomic_fetch_sub_explicit(&mb->count, n, memory_order_relaxed);
    return oldest;
}

size_t mailbox_deliver(struct mailbox *mb)
{
    size_t n = 0;
    struct mail *m = mailbox_take(mb);
    while (m) {
        struct mail *next = m->next; /* deliver() may free or post it again */
        m->next = NULL;
        m->deliver(m);
        m = next;
        n++;
    }
    return n;
}

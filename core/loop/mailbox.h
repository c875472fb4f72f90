/** mailbox.h: messages between threads: lock-free to post, one wake-up per batch, delivered in order of posting.
 *  Shape:  post -> (wake when it was empty) -> the owner takes the whole batch -> mail->deliver(mail) each.
 *  Limits: mailbox_offer refuses (false) above `max` undelivered mails: for new work that can be turned away.
 *          mailbox_post never refuses: for answers, which are bounded by the requests they answer.
 *  Owner:  a mail is embedded in what travels; it is the receiver's from deliver() on.
 *  Thread: post and offer from any; deliver runs on the owner's loop. */
#ifndef CORE_LOOP_MAILBOX_H
#define CORE_LOOP_MAILBOX_H

#include "core/compiler.h"

struct mail {
    struct mail *next;
    void (*deliver)(struct mail *m);
};
struct mailbox;

struct mailbox *mailbox_new(size_t max, void (*wake)(void *arg), void *arg);
void mailbox_free(struct mailbox *mb);
void mailbox_post(struct mailbox *mb, struct mail *m);
MUST_USE bool mailbox_offer(struct mailbox *mb, struct mail *m);
/** The same without the wake-up: true when the caller owes one (mailbox_wake), soon. Whoever posts after that wakes the owner himself.
 *  For loop_post: an iteration that posts many wakes the other thread once, not for the first one and again for the rest. */
MUST_USE bool mailbox_post_quietly(struct mailbox *mb, struct mail *m);
MUST_USE bool mailbox_offer_quietly(struct mailbox *mb, struct mail *m, bool *owed);
void mailbox_wake(struct mailbox *mb);
/** Take and deliver all that is there now; returns how many. The owner's thread only. */
size_t mailbox_deliver(struct mailbox *mb);
/** Take all as a list in order without delivering (the store thread groups them itself); NULL when empty. */
struct mail *mailbox_take(struct mailbox *mb);

#endif

/** support_dispatcher.h: what the dispatcher's tests share: an engine's mailbox that a test empties itself, and a web call
 *          without a server.
 *  Thread: the test's; workers and io threads may post. */
#ifndef TESTS_SUPPORT_SUPPORT_DISPATCHER_H
#define TESTS_SUPPORT_SUPPORT_DISPATCHER_H

#include "core/loop/mailbox.h"
#include "core/rpc/rest.h"

#include <semaphore.h>

#define ENGINE_WAIT_S 20 /* a mail that has not come by then never will */

struct engine_box {
    struct mailbox *mailbox;
    sem_t woken;
};
void engine_box_init(struct engine_box *b);
void engine_box_fini(struct engine_box *b);
/** Deliver mail until `*flag` is true; aborts after ENGINE_WAIT_S. */
void engine_box_until(struct engine_box *b, const bool *flag);
/** Wait for one batch and deliver it. */
void engine_box_once(struct engine_box *b);

/** A call of `method path?query` as if from this machine; answered when `answered` is set. */
struct fake_page {
    struct web_call call;
    struct web_route route;
    bool answered;
};
void fake_page_init(struct fake_page *p, const char *path, const char *query);
void fake_page_fini(struct fake_page *p);
/** Find the page in the table and run it. False: there is none. */
bool fake_page_run(struct fake_page *p, const struct web *w, enum http_verb verb);
/** The answer as a terminated string. */
const char *fake_page_text(struct fake_page *p);

#endif

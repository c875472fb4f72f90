/** support_dispatcher.c: the engine's mailbox in a test's hands, and pages without a server. */
#include "tests/support/support_dispatcher.h"

#include "core/rpc/rest_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static void wake(void *arg)
{
    struct engine_box *b = arg;
    sem_post(&b->woken);
}

void engine_box_init(struct engine_box *b)
{
    sem_init(&b->woken, 0, 0);
    b->mailbox = mailbox_new(100000, wake, b);
    if (!b->mailbox)
        abort();
}

void engine_box_fini(struct engine_box *b)
{
    mailbox_free(b->mailbox);
    sem_destroy(&b->woken);
}

void engine_box_once(struct engine_box *b)
{
    struct timespec due;
    clock_gettime(CLOCK_REALTIME, &due);
    due.tv_sec += ENGINE_WAIT_S;
    while (sem_timedwait(&b->woken, &due) != 0)
        if (errno != EINTR) {
            fprintf(stderr, "engine_box: no mail within %d s\n", ENGINE_WAIT_S);
            abort();
        }
    mailbox_deliver(b->mailbox);
}

void engine_box_until(struct engine_box *b, const bool *flag)
{
    while (!*flag)
        engine_box_once(b);
}

static void on_finish(struct web_call *w) { CONTAINER_OF(w, struct fake_page, call)->answered = true; }

void fake_page_init(struct fake_page *p, const char *path, const char *query)
{
    *p = (struct fake_page){0};
    p->call.arena = arena_new(1024 * 1024);
    if (!p->call.arena)
        abort();
    p->call.path = arena_strdup(p->call.arena, path);
    p->call.query = arena_strdup(p->call.arena, query);
    p->call.caller.local = true;
    p->call.metadata_flavor = STR("Google");
    p->call.finish = on_finish;
    buf_init(&p->call.answer, WEB_ANSWER_MAX);
}

void fake_page_fini(struct fake_page *p)
{
    buf_fini(&p->call.answer);
    arena_free(p->call.arena);
}

bool fake_page_run(struct fake_page *p, const struct web *w, enum http_verb verb)
{
    bool known = false;
    const struct web_route *r = web_match(w, verb, str_of(p->call.path), &known);
    if (!r)
        return false;
    p->route = *r;
    p->call.route = &p->route;
    r->handler(r->arg, &p->call);
    return true;
}

const char *fake_page_text(struct fake_page *p)
{
    const char *text = buf_cstr(&p->call.answer);
    return text ? text : "";
}

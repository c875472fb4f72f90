/** method.c: the registry of methods, answering calls, and running them on the engine thread. */
#include "core/rpc/method.h"

#include "core/rpc/method_int.h"
#include "core/rpc/pb.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static void call_finish(struct call *c)
{
    /* A second answer would give the call back twice: our bug. */
    assert(!c->answered);
    c->answered = true;
    c->on_cancel = NULL;
    c->finish(c);
}

void call_reply(struct call *c, const ProtobufCMessage *reply)
{
    assert(reply && (!c->method || reply->descriptor == c->method->response));
    c->reply = reply;
    c->err.code = ERR_OK;
    call_finish(c);
}

void call_fail(struct call *c, const struct err *e)
{
    assert(e->code != ERR_OK);
    c->reply = NULL;
    c->err = *e;
    call_finish(c);
}

void call_failf(struct call *c, enum err_code code, const char *fmt, ...)
{
    char msg[sizeof c->err.msg];
    va_list args;
    va_start(args, fmt);
    vsnprintf(msg, sizeof msg, fmt, args);
    va_end(args);
    struct err e = {0};
    err_set(&e, code, "%s", msg);
    call_fail(c, &e);
}

void call_cancel(struct call *c)
{
    if (c->answered || c->cancelled)
        return;
    c->cancelled = true;
    void (*on_cancel)(struct call *) = c->on_cancel;
    c->on_cancel = NULL;
    if (on_cancel)
        on_cancel(c);
}

struct registry *registry_new(void)
{
    struct registry *r = calloc(1, sizeof *r);
    if (r)
        r->routes = route_new();
    if (r && !r->routes) {
        free(r);
        return NULL;
    }
    return r;
}

void registry_free(struct registry *r)
{
    if (!r)
        return;
    route_free(r->routes);
    free(r);
}

static int check_body(const struct method *m, struct err *e)
{
    if (!m->body || !strcmp(m->body, "*"))
        return 0;
    const ProtobufCFieldDescriptor *f = pb_field_find(m->request, str_of(m->body));
    if (!f || f->type != PROTOBUF_C_TYPE_MESSAGE || f->label == PROTOBUF_C_LABEL_REPEATED)
        return err_set(e, ERR_INTERNAL, "%s: the body `%s` is not a message field of %s", m->name, m->body, m->request->name);
    return 0;
}

int registry_add(struct registry *r, const struct method *methods, size_t n, void *service, struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        const struct method *m = &methods[i];
        if (r->n == REGISTRY_METHODS_MAX)
            return err_set(e, ERR_RESOURCE_EXHAUSTED, "%s: the method table holds at most %d rows", m->name, REGISTRY_METHODS_MAX);
        if (!m->request || !m->response || !m->handler)
            return err_set(e, ERR_INTERNAL, "%s: the row lacks a request type, a response type or a handler", m->name);
        int rc = check_body(m, e);
        if (!rc)
            rc = route_add(r->routes, m, r->n, e);
        if (rc)
            return rc;
        r->rows[r->n++] = (struct registry_row){m, service};
    }
    return 0;
}

void registry_authorize(struct registry *r, authorize_fn fn, void *arg)
{
    r->authorize = fn;
    r->authorize_arg = arg;
}

void registry_dispatch(struct registry *r, struct call *c)
{
    struct err e = {0};
    if (r->authorize && r->authorize(r->authorize_arg, c, &e) < 0) {
        if (e.code == ERR_OK)
            err_set(&e, ERR_PERMISSION_DENIED, "permission %s denied", c->method->permission ? c->method->permission : c->method->name);
        call_fail(c, &e);
        return;
    }
    c->method->handler(c->service, c, c->request);
}

const struct method *registry_method(const struct registry *r, size_t i) { return i < r->n ? r->rows[i].method : NULL; }

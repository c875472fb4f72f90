/** run_api.c: google.cloud.run.v2 Services and Revisions: every change is validated on a copy, made durable, then installed;
 *             what fails changes nothing. */
#include "executor/api_common.h"

#include "core/rpc/longrunning.pb-c.h"
#include "core/rpc/mask.h"
#include "core/rpc/page.h"

#include <stdio.h>
#include <stdlib.h>

/* A change on its way to the store. */
struct change {
    struct executor *x;
    struct call *call;
    struct service *service;
    RUN(Service) * msg;     /* heap; the service's from its success on; NULL for deletions */
    struct revision *added; /* NULL: the template is as before */
    struct revision *removed;
    struct operation *op;
    bool is_new;
};

static void *call_service_message(struct call *c, const struct service *s) { return pb_clone(c->arena, &s->msg->base); }

static struct service *find_or_fail(struct executor *x, struct call *c, const char *name)
{
    struct service *s = service_find(x, name);
    if (!s)
        call_failf(c, ERR_NOT_FOUND, "service '%.200s' does not exist", name);
    return s;
}

/* ---- building messages */

/* What only the server says is what it was (`from`), or nothing yet. */
static void set_output_fields(RUN(Service) * m, const RUN(Service) * from)
{
    static const RUN(Service) empty = GOOGLE__CLOUD__RUN__V2__SERVICE__INIT;
    from = from ? from : &empty;
    m->name = from->name;
    m->uid = from->uid;
    m->generation = from->generation;
    m->create_time = from->create_time;
    m->update_time = from->update_time;
    m->delete_time = m->expire_time = NULL;
    m->creator = from->creator;
    m->last_modifier = from->last_modifier;
    m->observed_generation = from->observed_generation;
    m->terminal_condition = from->terminal_condition;
    m->n_conditions = from->n_conditions;
    m->conditions = from->conditions;
    m->latest_ready_revision = from->latest_ready_revision;
    m->latest_created_revision = from->latest_created_revision;
    m->n_traffic_statuses = from->n_traffic_statuses;
    m->traffic_statuses = from->traffic_statuses;
    m->uri = from->uri;
    m->n_urls = from->n_urls;
    m->urls = from->urls;
    m->reconciling = from->reconciling;
    m->etag = from->etag;
}

static void stamp(struct executor *x, struct arena *a, RUN(Service) * m)
{
    Google__Protobuf__Timestamp *now = (Google__Protobuf__Timestamp *)pb_timestamp(a, env_wall(x->env));
    char *who = arena_printf(a, "user@%s", x->config.domain);
    if (m->generation++ == 0) {
        m->uid = api_uid(a, x->env->rng);
        m->create_time = now;
        m->creator = who;
    }
    m->update_time = now;
    m->last_modifier = who;
    m->etag = api_etag(a, m->uid, m->generation);
}

/* The revision's id that this template makes, in the arena. */
static char *revision_id(struct executor *x, struct arena *a, const RUN(Service) * m, const char *service_id)
{
    if (*m->template_->revision)
        return m->template_->revision;
    char tail[4];
    rng_name(x->env->rng, tail, 3);
    return arena_printf(a, "%s-%05lld-%s", service_id, (long long)m->generation, tail);
}

/* Shares its parts with the template: only for packing and copying. */
static RUN(Revision) * revision_message(struct executor *x, struct arena *a, const RUN(Service) * m, const char *id)
{
    const RUN(RevisionTemplate) *t = m->template_;
    RUN(Revision) *r = pb_new(a, RUN_DESC(revision));
    if (!r)
        return NULL;
    r->name = arena_printf(a, "%s/revisions/%s", m->name, id);
    r->uid = api_uid(a, x->env->rng);
    r->generation = m->generation;
    r->n_labels = t->n_labels;
    r->labels = (RUN(Revision__LabelsEntry) **)t->labels; /* entries of equal layout, see validate.c */
    r->n_annotations = t->n_annotations;
    r->annotations = (RUN(Revision__AnnotationsEntry) **)t->annotations;
    r->create_time = r->update_time = m->update_time;
    r->launch_stage = m->launch_stage;
    r->service = m->name;
    r->scaling = t->scaling;
    r->timeout = t->timeout;
    r->service_account = t->service_account;
    r->n_containers = t->n_containers;
    r->containers = t->containers;
    r->execution_environment = t->execution_environment;
    r->max_instance_request_concurrency = t->max_instance_request_concurrency;
    r->creator = m->last_modifier;
    r->reconciling = true;
    r->etag = r->uid ? api_etag(a, r->uid, 1) : NULL;
    return r->name && r->uid && r->etag && r->create_time && r->creator ? r : NULL;
}

/* ---- changes */

static void change_undo(struct change *ch)
{
    struct executor *x = ch->x;
    if (ch->added)
        revision_free(ch->added);
    if (ch->msg)
        pb_free(ch->msg);
    if (ch->is_new) {
        map_remove(x->services, ch->service->name);
        service_free(ch->service);
    } else {
        ch->service->busy = false;
    }
    free(ch);
}

static void change_failed(struct change *ch, const struct err *e)
{
    struct call *c = ch->call;
    if (ch->op)
        operation_fail(ch->op, e);
    change_undo(ch);
    call_fail(c, e);
}

static void on_stored(void *arg, const struct err *e)
{
    struct change *ch = arg;
    struct service *s = ch->service;
    if (e) {
        struct err copy = *e;
        change_failed(ch, &copy);
        return;
    }
    s->busy = false;
    /* Installing may finish the operation, and an operation that is done may be dropped later than this answer only. */
    service_install(s, ch->msg, ch->added, ch->op);
    api_reply(ch->call, operation_message(ch->call->arena, ch->op));
    free(ch);
}

/* Store the change, or fail it. */
static void change_store(struct change *ch, const RUN(Revision) * revision)
{
    struct executor *x = ch->x;
    struct store_txn *t = store_txn_new();
    struct err e;
    if (!t)
        err_set(&e, ERR_RESOURCE_EXHAUSTED, "out of memory");
    if (!t || service_store(x, t, ch->msg, &e) || (revision && revision_store(x, t, revision, &e))) {
        store_txn_free(t);
        change_failed(ch, &e);
        return;
    }
    store_submit(x->deps.store, t, on_stored, ch);
}

static bool same_template(const struct service *s, const RUN(Service) * m)
{
    return s->msg && s->latest_created && pb_equal(&s->msg->template_->base, &m->template_->base);
}

/* `m` is valid, in the call's arena, and becomes the service's message. */
static void submit(struct executor *x, struct call *c, struct service *s, RUN(Service) * m, bool is_new)
{
    struct err e;
    struct change *ch = calloc(1, sizeof *ch);
    if (!ch) {
        if (is_new) {
            map_remove(x->services, s->name);
            service_free(s);
        }
        call_failf(c, ERR_RESOURCE_EXHAUSTED, "out of memory");
        return;
    }
    *ch = (struct change){.x = x, .call = c, .service = s, .is_new = is_new};
    s->busy = true;
    err_set(&e, ERR_RESOURCE_EXHAUSTED, "out of memory for service %s", s->name);
    RUN(Revision) *revision = NULL;
    bool fresh = !same_template(s, m);
    if (fresh) {
        char *id = revision_id(x, c->arena, m, s->id);
        revision = id ? revision_message(x, c->arena, m, id) : NULL;
        RUN(Revision) *heap = revision ? pb_dup(&revision->base) : NULL;
        ch->added = heap ? revision_new(s, heap, &e) : NULL;
        if (ch->added)
            m->latest_created_revision = ch->added->name;
    }
    m->reconciling = true;
    ch->msg = pb_dup(&m->base);
    if (ch->msg && (!fresh || ch->added))
        ch->op = operation_start(x->deps.operations, api_parent(c->arena, s->name), &m->base, &e);
    if (ch->op)
        change_store(ch, revision);
    else
        change_failed(ch, &e);
}

/* ---- services */

static void create(struct executor *x, struct call *c, const RUN(Service) * body, const char *parent, const char *id, bool dry)
{
    struct err e;
    RUN(Service) *m = body ? pb_clone(c->arena, &body->base) : NULL;
    if (!body) {
        call_failf(c, ERR_INVALID_ARGUMENT, "service: required");
        return;
    }
    if (validate_parent(parent, &e) || validate_service_id(id, &e)) {
        call_fail(c, &e);
        return;
    }
    const char *name = arena_printf(c->arena, "%s/services/%s", parent, id);
    if (!m || !name) {
        call_failf(c, ERR_RESOURCE_EXHAUSTED, "the service is too large, or memory is out");
        return;
    }
    if (map_get(x->services, name)) {
        call_failf(c, ERR_ALREADY_EXISTS, "service '%s' already exists", name);
        return;
    }
    set_output_fields(m, NULL);
    m->name = (char *)(uintptr_t)name;
    if (validate_service(x, c->arena, m, id, &e) || traffic_check(NULL, m, *m->template_->revision ? m->template_->revision : NULL, &e)) {
        call_fail(c, &e);
        return;
    }
    stamp(x, c->arena, m);
    if (dry) {
        api_reply_done(x, c, parent, &m->base);
        return;
    }
    struct service *s = service_new(x, name, &e);
    if (!s || map_put(x->services, name, s, &e)) {
        service_free(s);
        call_fail(c, &e);
        return;
    }
    submit(x, c, s, m, true);
}

static void on_create(void *service, struct call *c, const ProtobufCMessage *request)
{
    const RUN(CreateServiceRequest) *q = (const void *)request;
    create(service, c, q->service, q->parent, q->service_id, q->validate_only);
}

/* The service as the update wants it, output fields as they are. */
static RUN(Service) * updated(struct call *c, const struct service *s, const RUN(UpdateServiceRequest) * q, struct err *e)
{
    const Google__Protobuf__FieldMask *mask = q->update_mask;
    bool whole = !mask || mask->n_paths == 0 || (mask->n_paths == 1 && strcmp(mask->paths[0], "*") == 0);
    RUN(Service) *m = pb_clone(c->arena, whole ? &q->service->base : &s->msg->base);
    RUN(Service) *old = call_service_message(c, s);
    if (!m || !old) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "the service is too large, or memory is out");
        return NULL;
    }
    if (!whole && mask_apply(c->arena, &m->base, &q->service->base, mask->paths, mask->n_paths, false, e))
        return NULL;
    set_output_fields(m, old);
    return m;
}

static int check_update(struct executor *x, struct call *c, struct service *s, RUN(Service) * m, const char *etag, struct err *e)
{
    if (*etag && strcmp(etag, s->msg->etag) != 0)
        return err_set(e, ERR_ABORTED, "etag: the service was changed in between (its etag is %s now); read it again", s->msg->etag);
    if (s->busy)
        return err_set(e, ERR_ABORTED, "another change of service '%s' is being stored; try again", s->id);
    if (validate_service(x, c->arena, m, s->id, e))
        return -(int)e->code;
    const char *id = *m->template_->revision && !same_template(s, m) ? m->template_->revision : NULL;
    if (id && service_revision(s, id))
        return err_set(e, ERR_ALREADY_EXISTS,
                       "template.revision: there is a revision '%s' already; a changed template needs another name, or none", id);
    return traffic_check(s, m, id, e);
}

static void on_update(void *service, struct call *c, const ProtobufCMessage *request)
{
    struct executor *x = service;
    const RUN(UpdateServiceRequest) *q = (const void *)request;
    struct err e;
    if (!q->service || !*q->service->name) {
        call_failf(c, ERR_INVALID_ARGUMENT, "service.name: required");
        return;
    }
    struct service *s = service_find(x, q->service->name);
    if (!s && q->allow_missing) {
        char *parent = api_parent(c->arena, q->service->name);
        create(x, c, q->service, parent, strrchr(q->service->name, '/') + 1, q->validate_only);
        return;
    }
    if (!s) {
        find_or_fail(x, c, q->service->name);
        return;
    }
    RUN(Service) *m = updated(c, s, q, &e);
    if (!m || check_update(x, c, s, m, q->service->etag, &e)) {
        call_fail(c, &e);
        return;
    }
    stamp(x, c->arena, m);
    if (q->validate_only)
        api_reply_done(x, c, api_parent(c->arena, s->name), &m->base);
    else
        submit(x, c, s, m, false);
}

static void on_get(void *service, struct call *c, const ProtobufCMessage *request)
{
    const RUN(GetServiceRequest) *q = (const void *)request;
    struct service *s = find_or_fail(service, c, q->name);
    if (s)
        api_reply(c, call_service_message(c, s));
}

static void on_deleted(void *arg, const struct err *e)
{
    struct change *ch = arg;
    if (e) {
        struct err copy = *e;
        change_failed(ch, &copy);
        return;
    }
    struct call *c = ch->call;
    RUN(Service) *m = call_service_message(c, ch->service);
    if (m)
        m->delete_time = (Google__Protobuf__Timestamp *)pb_timestamp(c->arena, env_wall(ch->x->env));
    if (ch->x->on_gone)
        ch->x->on_gone(ch->x->on_gone_arg, ch->service->name);
    service_removed(ch->service); /* it stays in memory until the loop comes round */
    operation_finish(ch->op, m ? &m->base : &ch->service->msg->base);
    api_reply(c, operation_message(c->arena, ch->op));
    free(ch);
}

static int store_deletion(struct change *ch, struct err *e)
{
    struct store_txn *t = store_txn_new();
    if (!t)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory");
    int rc = store_txn_delete(t, RUN_KIND_SERVICE, ch->service->name, e);
    LIST_EACH(&ch->service->revisions, n)
        rc = rc ? rc : store_txn_delete(t, RUN_KIND_REVISION, CONTAINER_OF(n, struct revision, link)->name, e);
    if (rc)
        store_txn_free(t);
    else
        store_submit(ch->x->deps.store, t, on_deleted, ch);
    return rc;
}

static void on_delete(void *service, struct call *c, const ProtobufCMessage *request)
{
    struct executor *x = service;
    const RUN(DeleteServiceRequest) *q = (const void *)request;
    struct err e;
    struct service *s = find_or_fail(x, c, q->name);
    if (!s)
        return;
    if (*q->etag && strcmp(q->etag, s->msg->etag) != 0) {
        call_failf(c, ERR_ABORTED, "etag: the service was changed in between (its etag is %s now)", s->msg->etag);
        return;
    }
    if (s->busy) {
        call_failf(c, ERR_ABORTED, "another change of service '%s' is being stored; try again", s->id);
        return;
    }
    char *parent = api_parent(c->arena, s->name);
    if (q->validate_only) {
        api_reply_done(x, c, parent, &s->msg->base);
        return;
    }
    struct change *ch = calloc(1, sizeof *ch);
    if (!ch) {
        call_failf(c, ERR_RESOURCE_EXHAUSTED, "out of memory");
        return;
    }
    *ch = (struct change){.x = x, .call = c, .service = s};
    s->busy = true;
    ch->op = operation_start(x->deps.operations, parent, &s->msg->base, &e);
    if (!ch->op || store_deletion(ch, &e))
        change_failed(ch, &e);
}

/* ---- lists: newest first, so their pages are ordered by a key that falls as time goes on */

static size_t services_in(const struct executor *x, const char *parent, struct listed *out)
{
    size_t it = 0, n = 0, len = strlen(parent);
    const char *name;
    void *v;
    while (map_next(x->services, &it, &name, &v)) {
        const struct service *s = v;
        if (!s->msg || strncmp(name, parent, len) != 0 || strncmp(name + len, "/services/", 10) != 0)
            continue;
        api_list_key(&out[n++], pb_timestamp_ns(s->msg->create_time), s->name, s);
    }
    return n;
}

static void on_list(void *service, struct call *c, const ProtobufCMessage *request)
{
    struct executor *x = service;
    const RUN(ListServicesRequest) *q = (const void *)request;
    struct err e;
    struct page p;
    if (validate_parent(q->parent, &e) || page_open(c->arena, q->page_size, q->page_token, q->parent, &p, &e)) {
        call_fail(c, &e);
        return;
    }
    RUN(ListServicesResponse) *m = pb_new(c->arena, RUN_DESC(list_services_response));
    struct listed *items = calloc(map_count(x->services) + 1, sizeof *items);
    bool ok = m && items;
    if (ok) {
        size_t first, n = services_in(x, q->parent, items);
        n = api_page_cut(c->arena, items, n, &p, q->parent, &first, &m->next_page_token);
        m->services = arena_alloc(c->arena, (n + 1) * sizeof *m->services);
        for (size_t i = 0; m->services && i < n; i++, m->n_services++)
            if (!(m->services[i] = call_service_message(c, items[first + i].item)))
                break;
        ok = m->n_services == n && m->next_page_token;
    }
    free(items);
    api_reply(c, ok ? m : NULL);
}

/* ---- revisions */

static struct revision *find_revision(struct executor *x, struct call *c, const char *name, struct service **s)
{
    const char *tail = strstr(name, "/revisions/");
    char *parent = tail ? arena_dup(c->arena, (struct str){name, (size_t)(tail - name)}) : NULL;
    *s = parent ? service_find(x, parent) : NULL;
    struct revision *r = *s ? service_revision(*s, tail + strlen("/revisions/")) : NULL;
    if (!r)
        call_failf(c, ERR_NOT_FOUND, "revision '%.250s' does not exist", name);
    return r;
}

/* With what changes without being stored: whether it serves. */
static RUN(Revision) * shown(struct call *c, const struct executor *x, const struct revision *r)
{
    RUN(Revision) *m = pb_clone(c->arena, &r->msg->base);
    if (!m)
        return NULL;
    RUN(Condition) *active = condition_new(c->arena, x->env, "Active", r->serving ? CONDITION_SUCCEEDED : CONDITION_FAILED,
                                           r->serving ? "" : "Revision retired.");
    if (active) {
        active->last_transition_time = m->update_time;
        active->severity = GOOGLE__CLOUD__RUN__V2__CONDITION__SEVERITY__INFO;
        if (!r->serving) {
            active->reasons_case = GOOGLE__CLOUD__RUN__V2__CONDITION__REASONS_REVISION_REASON;
            active->revision_reason = RUN_REVISION_REASON(RETIRED);
        }
        condition_set(c->arena, &m->conditions, &m->n_conditions, active);
    }
    return m;
}

static void on_get_revision(void *service, struct call *c, const ProtobufCMessage *request)
{
    const RUN(GetRevisionRequest) *q = (const void *)request;
    struct service *s;
    struct revision *r = find_revision(service, c, q->name, &s);
    if (r)
        api_reply(c, shown(c, service, r));
}

static size_t add_revisions(const struct service *s, struct listed *out, size_t n)
{
    LIST_EACH(&s->revisions, node) {
        const struct revision *r = CONTAINER_OF(node, struct revision, link);
        api_list_key(&out[n++], pb_timestamp_ns(r->msg->create_time), r->name, r);
    }
    return n;
}

/* Of one service, or of all in the region for "…/services/-". The items are the caller's to free. */
static struct listed *revisions_of(struct executor *x, struct call *c, const char *parent, size_t *n, struct err *e)
{
    size_t len = strlen(parent), count = 0;
    bool all = len > 2 && strcmp(parent + len - 2, "/-") == 0;
    struct service *one = all ? NULL : service_find(x, parent);
    *n = 0;
    if (!all && !one) {
        err_set(e, ERR_NOT_FOUND, "service '%.200s' does not exist", parent);
        return NULL;
    }
    size_t it = 0;
    const char *name;
    void *v;
    while (all && map_next(x->services, &it, &name, &v))
        count += ((struct service *)v)->revisions.count;
    struct listed *items = calloc((all ? count : one->revisions.count) + 1, sizeof *items);
    if (!items)
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory");
    if (items && one)
        *n = add_revisions(one, items, 0);
    it = 0;
    while (items && all && map_next(x->services, &it, &name, &v))
        if (((struct service *)v)->msg && strncmp(name, parent, len - 1) == 0)
            *n = add_revisions(v, items, *n);
    return items;
}

static void on_list_revisions(void *service, struct call *c, const ProtobufCMessage *request)
{
    struct executor *x = service;
    const RUN(ListRevisionsRequest) *q = (const void *)request;
    struct err e;
    struct page p;
    size_t n;
    struct listed *items = NULL;
    if (page_open(c->arena, q->page_size, q->page_token, q->parent, &p, &e) || !(items = revisions_of(x, c, q->parent, &n, &e))) {
        call_fail(c, &e);
        return;
    }
    RUN(ListRevisionsResponse) *m = pb_new(c->arena, RUN_DESC(list_revisions_response));
    bool ok = m != NULL;
    if (ok) {
        size_t first;
        n = api_page_cut(c->arena, items, n, &p, q->parent, &first, &m->next_page_token);
        m->revisions = arena_alloc(c->arena, (n + 1) * sizeof *m->revisions);
        for (size_t i = 0; m->revisions && i < n; i++, m->n_revisions++)
            if (!(m->revisions[i] = shown(c, x, items[first + i].item)))
                break;
        ok = m->n_revisions == n && m->next_page_token;
    }
    free(items);
    api_reply(c, ok ? m : NULL);
}

static void on_revision_deleted(void *arg, const struct err *e)
{
    struct change *ch = arg;
    if (e) {
        struct err copy = *e;
        change_failed(ch, &copy);
        return;
    }
    struct call *c = ch->call;
    RUN(Revision) *m = shown(c, ch->x, ch->removed);
    if (m)
        m->delete_time = (Google__Protobuf__Timestamp *)pb_timestamp(c->arena, env_wall(ch->x->env));
    ch->service->busy = false;
    service_revision_removed(ch->service, ch->removed);
    operation_finish(ch->op, m ? &m->base : &ch->removed->msg->base);
    api_reply(c, operation_message(c->arena, ch->op));
    free(ch);
}

static int check_revision_deletion(const struct service *s, const struct revision *r, const char *etag, struct err *e)
{
    if (*etag && strcmp(etag, r->msg->etag) != 0)
        return err_set(e, ERR_ABORTED, "etag: it is %s now", r->msg->etag);
    if (r->serving || r == s->latest_ready)
        return err_set(e, ERR_FAILED_PRECONDITION, "Revision '%s' cannot be directly deleted because it is actively serving.", r->id);
    if (r == s->latest_created)
        return err_set(e, ERR_FAILED_PRECONDITION,
                       "Revision '%s' cannot be directly deleted because it is the service's latest; deploy another first.", r->id);
    return s->busy ? err_set(e, ERR_ABORTED, "a change of service '%s' is being stored; try again", s->id) : 0;
}

static void on_delete_revision(void *service, struct call *c, const ProtobufCMessage *request)
{
    struct executor *x = service;
    const RUN(DeleteRevisionRequest) *q = (const void *)request;
    struct service *s;
    struct err e;
    struct revision *r = find_revision(x, c, q->name, &s);
    if (!r)
        return;
    if (check_revision_deletion(s, r, q->etag, &e)) {
        call_fail(c, &e);
        return;
    }
    char *parent = api_parent(c->arena, s->name);
    if (q->validate_only) {
        api_reply_done(x, c, parent, &r->msg->base);
        return;
    }
    struct change *ch = calloc(1, sizeof *ch);
    struct store_txn *t = store_txn_new();
    if (!ch || !t || store_txn_delete(t, RUN_KIND_REVISION, r->name, &e)) {
        if (t)
            store_txn_free(t);
        free(ch);
        call_failf(c, ERR_RESOURCE_EXHAUSTED, "out of memory");
        return;
    }
    *ch = (struct change){.x = x, .call = c, .service = s, .removed = r};
    s->busy = true;
    ch->op = operation_start(x->deps.operations, parent, &r->msg->base, &e);
    if (ch->op) {
        store_submit(x->deps.store, t, on_revision_deleted, ch);
    } else {
        store_txn_free(t);
        change_failed(ch, &e);
    }
}

/* ---- the table */

#define OPERATION_DESC (&google__longrunning__operation__descriptor)
#define SERVICES "google.cloud.run.v2.Services/"
#define REVISIONS "google.cloud.run.v2.Revisions/"
#define LOCATION "/v2/{parent=projects/*/locations/*}"
#define SERVICE "projects/*/locations/*/services/*"

static const struct method methods[] = {
    {SERVICES "CreateService", VERB_POST, LOCATION "/services", "service", "run.services.create", RUN_DESC(create_service_request),
     OPERATION_DESC, on_create},
    {SERVICES "GetService", VERB_GET, "/v2/{name=" SERVICE "}", NULL, "run.services.get", RUN_DESC(get_service_request), RUN_DESC(service),
     on_get},
    {SERVICES "ListServices", VERB_GET, LOCATION "/services", NULL, "run.services.list", RUN_DESC(list_services_request),
     RUN_DESC(list_services_response), on_list},
    {SERVICES "UpdateService", VERB_PATCH, "/v2/{service.name=" SERVICE "}", "service", "run.services.update",
     RUN_DESC(update_service_request), OPERATION_DESC, on_update},
    {SERVICES "DeleteService", VERB_DELETE, "/v2/{name=" SERVICE "}", NULL, "run.services.delete", RUN_DESC(delete_service_request),
     OPERATION_DESC, on_delete},
    {REVISIONS "GetRevision", VERB_GET, "/v2/{name=" SERVICE "/revisions/*}", NULL, "run.revisions.get", RUN_DESC(get_revision_request),
     RUN_DESC(revision), on_get_revision},
    {REVISIONS "ListRevisions", VERB_GET, "/v2/{parent=" SERVICE "}/revisions", NULL, "run.revisions.list",
     RUN_DESC(list_revisions_request), RUN_DESC(list_revisions_response), on_list_revisions},
    {REVISIONS "DeleteRevision", VERB_DELETE, "/v2/{name=" SERVICE "/revisions/*}", NULL, "run.revisions.delete",
     RUN_DESC(delete_revision_request), OPERATION_DESC, on_delete_revision},
};

int run_api_register(struct executor *x, struct registry *r, struct err *e)
{
    pb_register(RUN_DESC(service));
    pb_register(RUN_DESC(revision));
    return registry_add(r, methods, ARRAY_LEN(methods), x, e);
}

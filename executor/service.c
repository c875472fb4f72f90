/** service.c: a service's rollout: from a durable change to revisions that serve, or to a condition that says why not. */
#include "executor/executor_int.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- lifecycle */

/* projects/P/locations/L/services/S into its three names. */
static bool split_name(struct service *s, const char *name)
{
    s->parts = strdup(name);
    if (!s->parts)
        return false;
    char *p = s->parts, *field[6];
    for (int i = 0; i < 6; i++) {
        field[i] = p;
        p = p ? strchr(p, '/') : NULL;
        if (p)
            *p++ = '\0';
    }
    s->project = field[1];
    s->region = field[3];
    s->id = field[5];
    return s->id != NULL;
}

static char *make_uri(const struct executor *x, const struct service *s)
{
    const struct executor_config *c = &x->config;
    char *uri = NULL;
    bool ours = strcmp(s->project, c->project) == 0 && strcmp(s->region, c->region) == 0;
    int n = ours ? asprintf(&uri, "http://%s.%s:%u", s->id, c->domain, c->port)
                 : asprintf(&uri, "http://%s.%s.%s.%s:%u", s->id, s->region, s->project, c->domain, c->port);
    return n < 0 ? NULL : uri;
}

static void on_rollout_deadline(struct timer *t, int64_t now_ns);

struct service *service_new(struct executor *x, const char *name, struct err *e)
{
    struct service *s = calloc(1, sizeof *s);
    if (s) {
        s->x = x;
        node_init(&s->link);
        list_init(&s->revisions);
        timer_init(&s->rollout.deadline, on_rollout_deadline);
        s->name = strdup(name);
        s->share = admission_share_new(&x->admission, CAPACITY_SERVICE);
        if (split_name(s, name))
            s->uri = make_uri(x, s);
    }
    if (!s || !s->name || !s->uri || !s->share) {
        service_free(s);
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for service %s", name);
        return NULL;
    }
    return s;
}

void service_free(struct service *s)
{
    if (!s)
        return;
    timer_cancel(s->x->env->timers, &s->rollout.deadline);
    for (struct node *n; (n = list_pop(&s->revisions));)
        revision_free(CONTAINER_OF(n, struct revision, link));
    admission_share_unref(s->share);
    if (s->msg)
        pb_free(s->msg);
    free(s->targets);
    free(s->uri);
    free(s->parts);
    free(s->name);
    free(s);
}

/* The template's word is the newer one. */
void service_weigh(struct service *s)
{
    const RUN(RevisionTemplate) *t = s->msg->template_;
    uint32_t weight = settings_weight(s->msg->annotations, s->msg->n_annotations, CAPACITY_WEIGHT_DEFAULT);
    admission_weigh(&s->x->admission, s->share, settings_weight(t->annotations, t->n_annotations, weight));
}

struct service *service_find(const struct executor *x, const char *name)
{
    struct service *s = map_get(x->services, name);
    return s && s->msg ? s : NULL;
}

struct revision *service_revision(const struct service *s, const char *id)
{
    LIST_EACH(&s->revisions, n) {
        struct revision *r = CONTAINER_OF(n, struct revision, link);
        if (!r->deleted && strcmp(r->id, id) == 0)
            return r;
    }
    return NULL;
}

/* ---- storing */

static int store_message(struct store_txn *t, const char *kind, const char *name, const ProtobufCMessage *m, struct err *e)
{
    char *bytes;
    size_t len;
    if (pb_pack(m, &bytes, &len, e))
        return -(int)e->code;
    int rc = store_txn_put(t, kind, name, (struct str){bytes, len}, e);
    free(bytes);
    return rc;
}

int service_store(struct executor *x, struct store_txn *t, const RUN(Service) * m, struct err *e)
{
    return store_message(t, RUN_KIND_SERVICE, m->name, &m->base, e);
}

int revision_store(struct executor *x, struct store_txn *t, const RUN(Revision) * m, struct err *e)
{
    return store_message(t, RUN_KIND_REVISION, m->name, &m->base, e);
}

static void on_status_stored(void *arg, const struct err *e)
{
    struct executor *x = arg;
    if (e)
        log_kv(x->env->log, LOG_ERROR, "service.status_not_stored", LSTR("error", e->msg),
               LSTR("message", "after a restart the rollout is done again"));
}

/* The outcome of a rollout, so that a restart need not repeat it. Nobody waits for it. */
static void store_status(struct service *s, struct revision *r)
{
    struct err e;
    struct store_txn *t = store_txn_new();
    if (t && service_store(s->x, t, s->msg, &e) == 0 && (!r || revision_store(s->x, t, r->msg, &e) == 0)) {
        store_submit(s->x->deps.store, t, on_status_stored, s->x);
        return;
    }
    if (t)
        store_txn_free(t);
    log_kv(s->x->env->log, LOG_ERROR, "service.status_not_stored", LSTR("service", s->name), LSTR("error", t ? e.msg : "out of memory"));
}

/* ---- conditions */

enum reason_kind { NO_REASON, COMMON, OF_REVISION };
struct outcome {
    enum run_condition state;
    const char *message;
    enum reason_kind kind;
    int reason;
};

static RUN(Condition) * condition_of(struct arena *a, const struct env *env, const char *type, const struct outcome *o)
{
    RUN(Condition) *c = condition_new(a, env, type, o->state, o->message);
    if (c && o->kind == COMMON) {
        c->reasons_case = GOOGLE__CLOUD__RUN__V2__CONDITION__REASONS_REASON;
        c->reason = (RUN(Condition__CommonReason))o->reason;
    } else if (c && o->kind == OF_REVISION) {
        c->reasons_case = GOOGLE__CLOUD__RUN__V2__CONDITION__REASONS_REVISION_REASON;
        c->revision_reason = (RUN(Condition__RevisionReason))o->reason;
    }
    return c;
}

static void set_revision_outcome(struct revision *r, const struct outcome *o)
{
    const struct env *env = r->x->env;
    struct arena *a = arena_new(RUN_ARENA_MAX);
    RUN(Revision) *m = a ? pb_clone(a, &r->msg->base) : NULL;
    if (m) {
        struct outcome fine = {CONDITION_SUCCEEDED, "", NO_REASON, 0};
        condition_set(a, &m->conditions, &m->n_conditions, condition_of(a, env, "Ready", o));
        condition_set(a, &m->conditions, &m->n_conditions, condition_of(a, env, "ContainerHealthy", o));
        condition_set(a, &m->conditions, &m->n_conditions, condition_of(a, env, "ResourcesAvailable", &fine));
        m->reconciling = o->state == CONDITION_RECONCILING;
        m->observed_generation = m->reconciling ? 0 : m->generation;
        m->update_time = (Google__Protobuf__Timestamp *)pb_timestamp(a, env_wall(env));
        RUN(Revision) *heap = pb_dup(&m->base);
        if (heap)
            revision_replace(r, heap);
    }
    if (a)
        arena_free(a);
}

/* The service's status as it is now, with `o` as its terminal condition. */
static void set_outcome(struct service *s, const struct outcome *o, bool observed)
{
    const struct env *env = s->x->env;
    struct arena *a = arena_new(RUN_ARENA_MAX);
    RUN(Service) *m = a ? pb_clone(a, &s->msg->base) : NULL;
    struct err e;
    if (m && traffic_statuses(s, a, m, &e) == 0) {
        struct outcome routes = *o;
        RUN(Condition) *ready = condition_of(a, env, "Ready", o);
        if (ready && m->terminal_condition && m->terminal_condition->state == ready->state)
            ready->last_transition_time = m->terminal_condition->last_transition_time;
        if (ready)
            m->terminal_condition = ready;
        condition_set(a, &m->conditions, &m->n_conditions, condition_of(a, env, "ConfigurationsReady", o));
        if (s->latest_ready && o->state == CONDITION_FAILED)
            routes = (struct outcome){CONDITION_SUCCEEDED, "", NO_REASON, 0}; /* what served before goes on */
        condition_set(a, &m->conditions, &m->n_conditions, condition_of(a, env, "RoutesReady", &routes));
        m->reconciling = o->state == CONDITION_RECONCILING;
        if (observed)
            m->observed_generation = m->generation;
        m->uri = s->uri;
        m->urls = &m->uri;
        m->n_urls = 1;
        m->latest_ready_revision = s->latest_ready ? s->latest_ready->name : (char *)(uintptr_t) "";
        m->latest_created_revision = s->latest_created ? s->latest_created->name : (char *)(uintptr_t) "";
        RUN(Service) *heap = pb_dup(&m->base);
        if (heap) {
            pb_free(s->msg);
            s->msg = heap;
        }
    }
    if (a)
        arena_free(a);
}

/* ---- rollout */

static void end_operation(struct service *s, const struct err *e)
{
    struct operation *op = s->rollout.operation;
    s->rollout.operation = NULL;
    s->rollout.active = false;
    timer_cancel(s->x->env->timers, &s->rollout.deadline);
    if (op && e)
        operation_fail(op, e);
    else if (op)
        operation_finish(op, &s->msg->base);
}

static void rollout_succeeded(struct service *s, struct revision *changed)
{
    struct err e;
    struct outcome fine = {CONDITION_SUCCEEDED, "", NO_REASON, 0};
    if (traffic_resolve(s, &e))
        log_kv(s->x->env->log, LOG_ERROR, "service.traffic", LSTR("service", s->name), LSTR("error", e.msg));
    set_outcome(s, &fine, true);
    log_kv(s->x->env->log, LOG_INFO, "service.ready", LSTR("service", s->name),
           LSTR("revision", s->latest_ready ? s->latest_ready->id : ""), LINT("generation", s->msg->generation));
    store_status(s, changed);
    end_operation(s, NULL);
    executor_changed(s->x);
}

static void rollout_failed(struct service *s, struct revision *r, const char *why, int reason)
{
    struct err e;
    err_set(&e, ERR_FAILED_PRECONDITION, "Revision '%s' is not ready and cannot serve traffic. %s", r->id, why);
    struct outcome failed = {CONDITION_FAILED, e.msg, COMMON, reason};
    set_outcome(s, &failed, false);
    log_kv(s->x->env->log, LOG_ERROR, "service.rollout_failed", LSTR("service", s->name), LSTR("revision", r->id), LSTR("error", why));
    store_status(s, r);
    end_operation(s, &e);
    executor_changed(s->x);
}

void service_revision_ready(struct service *s, struct revision *r)
{
    struct outcome fine = {CONDITION_SUCCEEDED, "", NO_REASON, 0};
    r->state = REVISION_READY;
    set_revision_outcome(r, &fine);
    if (r == s->latest_created)
        s->latest_ready = r;
    if (s->rollout.active && r == s->latest_created)
        rollout_succeeded(s, r);
}

void service_revision_failed(struct service *s, struct revision *r, const char *why)
{
    char message[512];
    snprintf(message, sizeof message, "The program failed to start and listen on the port given by the PORT environment variable: %s", why);
    struct outcome failed = {CONDITION_FAILED, message, OF_REVISION, RUN_REVISION_REASON(HEALTH_CHECK_CONTAINER_ERROR)};
    r->state = REVISION_FAILED;
    revision_waits_no_more(r);
    set_revision_outcome(r, &failed);
    LIST_EACH_SAFE(&r->instances, n)
        instance_stop(CONTAINER_OF(n, struct instance, link));
    if (s->rollout.active && r == s->latest_created)
        rollout_failed(s, r, message, RUN_REASON(REVISION_FAILED));
}

static void on_rollout_deadline(struct timer *t, int64_t now_ns)
{
    struct service *s = CONTAINER_OF(t, struct service, rollout.deadline);
    struct revision *r = s->latest_created;
    r->verifying = false;
    r->state = REVISION_FAILED;
    char message[320];
    char why[ADMISSION_WHY_MAX] = "The host's limit of instances was reached all the time.";
    if (capacity_waits(&r->claim.memory))
        admission_why(&s->x->admission, &r->claim, why);
    snprintf(message, sizeof message, "No instance of it could be started within %lld s. %s", (long long)(RUN_ROLLOUT_MAX_NS / NS_PER_S),
             why);
    revision_waits_no_more(r);
    struct outcome failed = {CONDITION_FAILED, message, COMMON, RUN_REASON(PROGRESS_DEADLINE_EXCEEDED)};
    set_revision_outcome(r, &failed);
    LIST_EACH_SAFE(&r->instances, n)
        instance_stop(CONTAINER_OF(n, struct instance, link));
    rollout_failed(s, r, message, RUN_REASON(PROGRESS_DEADLINE_EXCEEDED));
}

/* Asked for no instances at all, or not to be checked: then it is ready as it is. */
static bool needs_no_check(const struct service *s)
{
    const RUN(ServiceScaling) *sc = s->msg->scaling;
    return s->msg->template_->health_check_disabled || (sc && sc->scaling_mode == RUN_MANUAL && sc->manual_instance_count == 0);
}

void service_rollout(struct service *s)
{
    struct revision *r = s->latest_created;
    struct outcome going = {CONDITION_RECONCILING, "", NO_REASON, 0};
    assert(r);
    s->rollout.active = true;
    if (r->state == REVISION_READY) {
        rollout_succeeded(s, NULL);
        return;
    }
    set_outcome(s, &going, false);
    set_revision_outcome(r, &going);
    if (needs_no_check(s)) {
        service_revision_ready(s, r);
        return;
    }
    executor_arm(s->x, &s->rollout.deadline, env_now(s->x->env) + INSTANCE_STARTUP_MAX_NS + RUN_ROLLOUT_MAX_NS);
    revision_verify(r);
}

static void supersede(struct service *s, int64_t generation)
{
    struct err e;
    if (!s->rollout.active)
        return;
    err_set(&e, ERR_ABORTED, "superseded by generation %lld of the service", (long long)generation);
    end_operation(s, &e);
}

static void forget_oldest(struct service *s);

void service_install(struct service *s, RUN(Service) * msg, struct revision *added, struct operation *op)
{
    struct revision *before = s->latest_created;
    supersede(s, msg->generation);
    if (s->msg)
        pb_free(s->msg);
    s->msg = msg;
    service_weigh(s);
    if (added) {
        list_prepend(&s->revisions, &added->link);
        s->latest_created = added;
        if (before && before->verifying) {
            struct outcome failed = {CONDITION_FAILED, "A newer revision took its place before it was ready.", OF_REVISION,
                                     RUN_REVISION_REASON(RETIRED)};
            before->verifying = false;
            before->state = REVISION_FAILED;
            revision_waits_no_more(before);
            set_revision_outcome(before, &failed);
            LIST_EACH_SAFE(&before->instances, n)
                instance_stop(CONTAINER_OF(n, struct instance, link));
        }
        forget_oldest(s);
    }
    s->rollout.operation = op;
    executor_changed(s->x);
    service_rollout(s);
}

/* ---- after a restart */

static bool was_ready(const struct revision *r)
{
    for (size_t i = 0; i < r->msg->n_conditions; i++)
        if (strcmp(r->msg->conditions[i]->type, "Ready") == 0)
            return r->msg->conditions[i]->state == (RUN(Condition__State))CONDITION_SUCCEEDED;
    return false;
}

void service_loaded(struct service *s)
{
    struct err e;
    LIST_EACH(&s->revisions, n) {
        struct revision *r = CONTAINER_OF(n, struct revision, link);
        bool served = strcmp(r->name, s->msg->latest_ready_revision) == 0;
        r->state = served || was_ready(r) ? REVISION_READY : r->msg->reconciling ? REVISION_PENDING : REVISION_FAILED;
        if (served)
            s->latest_ready = r;
        if (strcmp(r->name, s->msg->latest_created_revision) == 0)
            s->latest_created = r;
    }
    if (!s->latest_created && !list_empty(&s->revisions))
        s->latest_created = CONTAINER_OF(list_first(&s->revisions), struct revision, link);
    if (traffic_resolve(s, &e))
        log_kv(s->x->env->log, LOG_ERROR, "service.traffic", LSTR("service", s->name), LSTR("error", e.msg));
    if (!s->latest_created || s->msg->reconciling)
        return; /* a rollout that the stop interrupted is taken up again from the loop */
    if (s->latest_created->state == REVISION_READY) {
        struct outcome fine = {CONDITION_SUCCEEDED, "", NO_REASON, 0};
        set_outcome(s, &fine, true);
    }
}

/* ---- memory */

void service_short_news(struct service *s, struct revision *r, const char *why)
{
    struct arena *a = arena_new(RUN_ARENA_MAX);
    RUN(Revision) *m = a ? pb_clone(a, &r->msg->base) : NULL;
    const struct outcome o = {why ? CONDITION_PENDING : CONDITION_SUCCEEDED, why ? why : "", NO_REASON, 0};
    if (m) {
        condition_set(a, &m->conditions, &m->n_conditions, condition_of(a, s->x->env, "ResourcesAvailable", &o));
        RUN(Revision) *heap = pb_dup(&m->base);
        if (heap)
            revision_replace(r, heap);
    }
    if (a)
        arena_free(a);
    if (s->deleted || !s->rollout.active || r != s->latest_created)
        return;
    const struct outcome going = {CONDITION_RECONCILING, o.message, NO_REASON, 0};
    set_outcome(s, &going, false);
}

/* ---- going */

static void drop_revision(struct service *s, struct revision *r)
{
    struct err e;
    err_set(&e, ERR_NOT_FOUND, "revision %s was deleted", r->id);
    revision_end(r, &e);
    list_remove(&s->revisions, &r->link);
    list_append(&s->x->leaving_revisions, &r->link);
    executor_reap_soon(s->x);
}

/* Too many revisions: the oldest that serves nothing goes, with its record. */
static void forget_oldest(struct service *s)
{
    if (s->revisions.count <= EXECUTOR_REVISIONS_PER_SERVICE_MAX)
        return;
    struct revision *oldest = NULL;
    LIST_EACH(&s->revisions, n) {
        struct revision *r = CONTAINER_OF(n, struct revision, link);
        if (!r->serving && r != s->latest_ready && r != s->latest_created)
            oldest = r;
    }
    struct store_txn *t = oldest ? store_txn_new() : NULL;
    struct err e;
    if (!t)
        return;
    if (store_txn_delete(t, RUN_KIND_REVISION, oldest->name, &e)) {
        store_txn_free(t);
        return;
    }
    store_submit(s->x->deps.store, t, on_status_stored, s->x);
    drop_revision(s, oldest);
}

void service_revision_removed(struct service *s, struct revision *r)
{
    assert(r != s->latest_created && r != s->latest_ready);
    drop_revision(s, r);
}

void service_removed(struct service *s)
{
    struct executor *x = s->x;
    struct err e;
    err_set(&e, ERR_NOT_FOUND, "service %s was deleted", s->id);
    if (s->rollout.active)
        end_operation(s, &e);
    timer_cancel(x->env->timers, &s->rollout.deadline);
    s->deleted = true;
    map_remove(x->services, s->name);
    LIST_EACH(&s->revisions, n)
        revision_end(CONTAINER_OF(n, struct revision, link), &e);
    list_append(&x->leaving, &s->link);
    executor_changed(x);
    executor_reap_soon(x);
}

/* ---- crash loops */

/* The revision that serves and keeps ending is named in the service's condition, until its instances stay. */
void service_crash_news(struct service *s)
{
    struct revision *bad = NULL;
    for (size_t i = 0; i < s->n_targets && !bad; i++)
        if (s->targets[i].revision && s->targets[i].revision->crash_why[0] && s->targets[i].revision->crashes >= 2)
            bad = s->targets[i].revision;
    if (s->deleted || s->rollout.active || (!bad && !s->crash_shown))
        return;
    char message[480];
    struct outcome o = {CONDITION_SUCCEEDED, "", NO_REASON, 0};
    if (bad) {
        snprintf(message, sizeof message, "Revision '%s' keeps ending (%u times) and is started again with growing delays: %s", bad->id,
                 bad->crashes, bad->crash_why);
        o = (struct outcome){CONDITION_FAILED, message, OF_REVISION, RUN_REVISION_REASON(HEALTH_CHECK_CONTAINER_ERROR)};
        set_revision_outcome(bad, &o);
    } else {
        LIST_EACH(&s->revisions, n) {
            struct revision *r = CONTAINER_OF(n, struct revision, link);
            if (r->state == REVISION_READY && !r->crash_why[0])
                set_revision_outcome(r, &o);
        }
        if (s->latest_created && s->latest_created->state == REVISION_FAILED) {
            snprintf(message, sizeof message, "Revision '%s' is not ready and cannot serve traffic.", s->latest_created->id);
            o = (struct outcome){CONDITION_FAILED, message, COMMON, RUN_REASON(REVISION_FAILED)};
        }
    }
    s->crash_shown = bad != NULL;
    set_outcome(s, &o, true);
}

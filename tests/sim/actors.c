/* actors.c: the clients of the simulated server: they make topics and services, publish, pull, settle, call, and pull the plug. */
#include "broker/pubsub.pb-c.h"
#include "core/base/text.h"
#include "tests/sim/sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROJECT "projects/sim-project"
#define LOCATION PROJECT "/locations/sim1"
#define PUBLISH_EVERY_NS (200 * NS_PER_MS)
#define PULL_EVERY_NS (300 * NS_PER_MS)
#define PULL_BATCH 20
#define IN_TIME_MARGIN_NS (100 * NS_PER_MS)
#define SLOW_MIN_NS NS_PER_S              /* the minimum backoff of SUB_PULL_SLOW */
#define HEALTHY_TRAFFIC_NS (5 * NS_PER_S) /* published after the trouble, to see that all works again */
#define HEALTHY_MESSAGES 400

/* ---- creating, which is repeated until it works ---- */

struct creation {
    char method[64], json[1024];
    const char *what;
    bool service;
};

static void create(struct sim *s, void *arg);

static void on_created(struct sim *s, void *arg, const struct call *c)
{
    struct creation *cr = arg;
    if (c->err.code == ERR_OK || c->err.code == ERR_ALREADY_EXISTS) {
        sim_trace(s, "created %s", cr->what);
        sim_sub_made(s, cr->what);
        free(cr);
        return;
    }
    sim_trace(s, "creating %s failed: %s", cr->what, c->err.msg);
    if (c->err.code != ERR_RESOURCE_EXHAUSTED && c->err.code != ERR_UNAVAILABLE && c->err.code != ERR_ABORTED)
        sim_fail(s, "%s: %s", cr->what, c->err.msg);
    sim_after(s, 100 * NS_PER_MS, false, create, cr);
}

static void create(struct sim *s, void *arg)
{
    struct creation *cr = arg;
    sim_call(s, cr->method, cr->json, on_created, cr);
}

/* repeated until it works */
static FMT(4, 5) void sim_want(struct sim *s, const char *method, const char *what, const char *fmt, ...)
{
    struct creation *cr = calloc(1, sizeof *cr);
    va_list ap;
    if (!cr)
        sim_fail(s, "the simulator is out of memory");
    cr->what = what;
    snprintf(cr->method, sizeof cr->method, "%s", method);
    va_start(ap, fmt);
    vsnprintf(cr->json, sizeof cr->json, fmt, ap);
    va_end(ap);
    create(s, cr);
}

static void make_service(struct sim *s, int k)
{
    struct sim_service *v = &s->services[k];
    v->max = 1 + (uint32_t)rng_below(&s->world_rng, 4);
    v->concurrency = 1 + (uint32_t)rng_below(&s->world_rng, 5);
    snprintf(v->short_name, sizeof v->short_name, "svc%d", k);
    snprintf(v->name, sizeof v->name, LOCATION "/services/svc%d", k);
    sim_want(s, "google.cloud.run.v2.Services/CreateService", v->name,
             "{\"parent\":\"" LOCATION "\",\"serviceId\":\"%s\",\"service\":{\"template\":{\"containers\":[{\"image\":\"exec:///sim\","
             "\"command\":[\"server\"]}],\"scaling\":{\"maxInstanceCount\":%u},\"maxInstanceRequestConcurrency\":%u}}}",
             v->short_name, v->max, v->concurrency);
}

void sim_make_sub(struct sim *s, int k)
{
    static const char *const extra[] = {
        [SUB_PULL] = "",
        [SUB_PULL_ORDERED] = ",\"enableMessageOrdering\":true",
        [SUB_PUSH] =
            ",\"pushConfig\":{\"pushEndpoint\":\"http://10.0.0.1/push\",\"oidcToken\":{\"serviceAccountEmail\":\"p@sim.iam.gserviceaccount.com\"}}",
        [SUB_PUSH_ORDERED] =
            ",\"enableMessageOrdering\":true,\"pushConfig\":{\"pushEndpoint\":\"http://10.0.0.2/\",\"noWrapper\":{\"writeMetadata\":true}}",
        [SUB_PUSH_SERVICE] = ",\"pushConfig\":{\"pushEndpoint\":\"http://svc0.localhost:8080/\"}",
        [SUB_PULL_SLOW] = ",\"retryPolicy\":{\"minimumBackoff\":\"1s\",\"maximumBackoff\":\"20s\"}",
        [SUB_PULL_SOUGHT] = ",\"retainAckedMessages\":true",
        [SUB_PULL_REMADE] = "",
    };
    struct sim_sub *sub = &s->subs[k];
    sim_want(s, "google.pubsub.v1.Subscriber/CreateSubscription", sub->name,
             "{\"name\":\"%s\",\"topic\":\"" PROJECT "/topics/top-%u\",\"ackDeadlineSeconds\":%u%s}", sub->name, sub->topic,
             sub->ack_deadline_s, extra[sub->kind]);
}

void sim_actors_init(struct sim *s)
{
    static char topic_names[SIM_TOPICS][32];
    s->healing = true;
    for (int t = 0; t < SIM_TOPICS; t++) {
        snprintf(topic_names[t], sizeof topic_names[t], "top-%d", t);
        sim_want(s, "google.pubsub.v1.Publisher/CreateTopic", topic_names[t], "{\"name\":\"" PROJECT "/topics/%s\"}", topic_names[t]);
    }
    sim_run_for(s, NS_PER_S);
    for (int k = 0; k < SIM_SUBS; k++) {
        struct sim_sub *sub = &s->subs[k];
        sub->kind = (enum sub_kind)k;
        sub->topic = (uint32_t)rng_below(&s->world_rng, SIM_TOPICS);
        sub->ack_deadline_s = 10 + (uint32_t)rng_below(&s->world_rng, 20);
        snprintf(sub->name, sizeof sub->name, PROJECT "/subscriptions/sub-%d", k);
        sim_make_sub(s, k);
    }
    for (int k = 0; k < SIM_SERVICES; k++)
        make_service(s, k);
    sim_run_for(s, 20 * NS_PER_S);
    for (int k = 0; k < SIM_SUBS; k++)
        if (!broker_subscription(s->broker, s->subs[k].name))
            sim_fail(s, "%s was not made within 20 s without trouble", s->subs[k].name);
    s->healing = false;
}

/* ---- publishing ---- */

struct batch {
    uint32_t first, n;
};

static void on_published(struct sim *s, void *arg, const struct call *c)
{
    struct batch *b = arg;
    const struct fact *f = &s->facts[b->first];
    if (f->state != FACT_UNKNOWN) {
        sim_trace(s, "publish m%u (%u): %s", b->first, b->n, c->err.code == ERR_OK ? "accepted" : c->err.msg);
        s->key_busy[f->topic][f->key] = false;
        for (uint32_t i = 0; i < b->n; i++)
            fact_published(s, b->first + i, c->err.code == ERR_OK);
    }
    free(b);
}

static void add_message(struct sim *s, struct buf *json, uint32_t topic, uint32_t key)
{
    char text[16];
    struct buf data;
    snprintf(text, sizeof text, "m%u", fact_new(s, topic, key));
    buf_init(&data, 64);
    if (base64_add(&data, text, strlen(text)) || buf_addf(json, "{\"data\":\"%s\"", buf_cstr(&data)) ||
        (key && buf_addf(json, ",\"orderingKey\":\"key-%u\"", key)) || buf_addz(json, "}"))
        sim_fail(s, "the simulator is out of memory");
    buf_fini(&data);
}

/* One call with one message or a few. */
static void publish_some(struct sim *s)
{
    uint32_t topic = (uint32_t)rng_below(&s->world_rng, SIM_TOPICS), key = (uint32_t)rng_below(&s->world_rng, 4);
    uint32_t n = sim_chance(s, 0.3) ? 2 + (uint32_t)rng_below(&s->world_rng, 4) : 1;
    struct buf json;
    struct batch *b = malloc(sizeof *b);
    size_t max = s->healing ? SIM_MESSAGES_MAX : SIM_MESSAGES_MAX - HEALTHY_MESSAGES;
    if (s->n_facts + n > max || (key && s->key_busy[topic][key])) {
        free(b);
        return;
    }
    buf_init(&json, 4096);
    if (!b || buf_addf(&json, "{\"topic\":\"" PROJECT "/topics/top-%u\",\"messages\":[", topic))
        sim_fail(s, "the simulator is out of memory");
    s->key_busy[topic][key] = key > 0;
    *b = (struct batch){(uint32_t)s->n_facts, n};
    for (uint32_t i = 0; i < n; i++) {
        if (i && buf_addz(&json, ","))
            sim_fail(s, "the simulator is out of memory");
        add_message(s, &json, topic, key);
    }
    if (buf_addz(&json, "]}"))
        sim_fail(s, "the simulator is out of memory");
    sim_call(s, "google.pubsub.v1.Publisher/Publish", buf_cstr(&json), on_published, b);
    buf_fini(&json);
}

static void publishes(struct sim *s, void *arg)
{
    uint64_t burst = sim_chance(s, 0.05) ? 1 + rng_below(&s->world_rng, 60) : 1;
    if (s->healing && s->now_ns > s->healed_ns + HEALTHY_TRAFFIC_NS)
        return;
    while (burst-- > 0)
        publish_some(s);
    sim_after(s, sim_delay(s, 0, PUBLISH_EVERY_NS), false, publishes, NULL);
}

/* ---- pulling ---- */

struct pulled {
    uint32_t sub, delivery;
    int64_t got_ns, due_ns; /* due: certainly held until then */
    char data[16], ack_id[128];
    bool in_time;
};

/* Somebody has sought or deleted the subscription since: what becomes of this delivery says nothing. */
static bool is_void(struct sim *s, const struct pulled *p) { return p->got_ns <= s->subs[p->sub].quiet_ns; }

static void on_acknowledged(struct sim *s, void *arg, const struct call *c)
{
    struct pulled *p = arg;
    if (c->err.code == ERR_OK && p->in_time && !is_void(s, p))
        fact_acked(s, p->sub, str_of(p->data), true);
    free(p);
}

static void on_modified(struct sim *s, void *arg, const struct call *c) {}

static void modify(struct sim *s, struct pulled *p, uint32_t seconds)
{
    char json[512];
    snprintf(json, sizeof json, "{\"subscription\":\"%s\",\"ackIds\":[\"%s\"],\"ackDeadlineSeconds\":%u}", s->subs[p->sub].name, p->ack_id,
             seconds);
    sim_call(s, "google.pubsub.v1.Subscriber/ModifyAckDeadline", json, on_modified, NULL);
}

static void settle(struct sim *s, void *arg);

static void extend(struct sim *s, struct pulled *p)
{
    uint32_t seconds = 1 + (uint32_t)rng_below(&s->world_rng, 60);
    modify(s, p, seconds);
    s->extensions++;
    if (s->now_ns < p->due_ns - IN_TIME_MARGIN_NS) {
        p->due_ns = s->now_ns + seconds * NS_PER_S;
        if (!is_void(s, p))
            fact_leased(s, p->sub, str_of(p->data), p->delivery, p->due_ns);
    }
    sim_after(s, sim_delay(s, 0, (seconds + 5) * NS_PER_S), true, settle, p);
}

static void give_back(struct sim *s, struct pulled *p)
{
    bool held = s->now_ns < p->due_ns - IN_TIME_MARGIN_NS;
    int64_t wait_ns = s->subs[p->sub].kind == SUB_PULL_SLOW ? SLOW_MIN_NS : 0;
    modify(s, p, 0);
    if (!is_void(s, p))
        fact_leased(s, p->sub, str_of(p->data), p->delivery, held && wait_ns ? s->now_ns + wait_ns : 0);
    free(p);
}

static void settle(struct sim *s, void *arg)
{
    struct pulled *p = arg;
    char json[512];
    if (!s->healing && sim_chance(s, 0.1 * s->trouble)) {
        give_back(s, p);
        return;
    }
    if (!s->healing && sim_chance(s, 0.1)) {
        extend(s, p);
        return;
    }
    p->in_time = s->now_ns < p->due_ns - IN_TIME_MARGIN_NS;
    snprintf(json, sizeof json, "{\"subscription\":\"%s\",\"ackIds\":[\"%s\"]}", s->subs[p->sub].name, p->ack_id);
    if (!is_void(s, p))
        fact_acked(s, p->sub, str_of(p->data), false);
    sim_call(s, "google.pubsub.v1.Subscriber/Acknowledge", json, on_acknowledged, p);
}

struct pull_request {
    uint32_t sub;
    int64_t asked_ns;
};

static void on_pulled(struct sim *s, void *arg, const struct call *c)
{
    struct pull_request *q = arg;
    const Google__Pubsub__V1__PullResponse *r = (const void *)c->reply;
    bool is_quiet = q->asked_ns <= s->subs[q->sub].quiet_ns; /* from before or during a seek: forgotten */
    for (size_t i = 0; !is_quiet && c->err.code == ERR_OK && i < r->n_received_messages; i++) {
        const Google__Pubsub__V1__ReceivedMessage *m = r->received_messages[i];
        struct pulled *p = calloc(1, sizeof *p);
        if (!p || strlen(m->ack_id) >= sizeof p->ack_id)
            sim_fail(s, "ack id '%s' is too long", m->ack_id);
        p->sub = q->sub;
        p->got_ns = s->now_ns;
        p->due_ns = q->asked_ns + (int64_t)s->subs[q->sub].ack_deadline_s * NS_PER_S;
        snprintf(p->data, sizeof p->data, "%.*s", (int)m->message->data.len, (const char *)m->message->data.data);
        snprintf(p->ack_id, sizeof p->ack_id, "%s", m->ack_id);
        fact_delivered(s, q->sub, str_of(p->data));
        p->delivery = fact_deliveries(s, q->sub, str_of(p->data));
        fact_leased(s, q->sub, str_of(p->data), p->delivery, p->due_ns);
        bool forgets = !s->healing && sim_chance(s, 0.05 * s->trouble);
        if (forgets)
            free(p);
        else
            sim_after(s, sim_delay(s, 0, (sim_chance(s, 0.1) && !s->healing ? 40 : 4) * NS_PER_S), true, settle, p);
    }
    free(q);
}

static void pulls(struct sim *s, void *arg)
{
    uint32_t sub = (uint32_t)(uintptr_t)arg;
    char json[256];
    struct pull_request *q = malloc(sizeof *q);
    if (!q)
        sim_fail(s, "the simulator is out of memory");
    *q = (struct pull_request){sub, s->now_ns};
    snprintf(json, sizeof json, "{\"subscription\":\"%s\",\"maxMessages\":%llu,\"returnImmediately\":true}", s->subs[sub].name,
             1 + (unsigned long long)rng_below(&s->world_rng, PULL_BATCH));
    s->pulls++;
    sim_call(s, "google.pubsub.v1.Subscriber/Pull", json, on_pulled, q);
    sim_after(s, sim_delay(s, 0, PULL_EVERY_NS), false, pulls, arg);
}

/* ---- calling services directly, as the ingress does ---- */

struct visit {
    struct sim *sim;
    struct pool_waiter waiter;
    struct pool_grant grant;
};

static void leave(struct sim *s, void *arg)
{
    struct visit *v = arg;
    sim_instance_leave(s, v->grant.port);
    pool_release(&v->grant, NS_PER_MS);
    free(v);
}

static void enter(struct pool_waiter *w, const struct pool_grant *g)
{
    struct visit *v = CONTAINER_OF(w, struct visit, waiter);
    v->grant = *g;
    sim_instance_enter(v->sim, g->port);
    sim_after(v->sim, sim_delay(v->sim, 0, 2 * NS_PER_S), true, leave, v);
}

static void turned_away(struct pool_waiter *w, const struct err *e)
{
    struct visit *v = CONTAINER_OF(w, struct visit, waiter);
    sim_trace(v->sim, "a request was turned away: %s", e->msg);
    free(v);
}

static void visits(struct sim *s, void *arg)
{
    struct sim_service *service = &s->services[(uintptr_t)arg];
    struct pool *pool = sim_service_pool(s, service->short_name);
    uint64_t burst = sim_chance(s, 0.1) ? 1 + rng_below(&s->world_rng, 30) : 1;
    if (s->healing)
        return;
    while (pool && burst-- > 0) {
        struct visit *v = calloc(1, sizeof *v);
        struct pool_grant g;
        if (!v)
            sim_fail(s, "the simulator is out of memory");
        v->sim = s;
        v->waiter = (struct pool_waiter){.due_ns = s->now_ns + 30 * NS_PER_S, .granted = enter, .failed = turned_away};
        node_init(&v->waiter.link);
        if (pool_acquire(pool, &g))
            enter(&v->waiter, &g);
        else
            pool_wait(pool, &v->waiter);
    }
    sim_after(s, sim_delay(s, 0, (sim_chance(s, 0.05) ? 60 : 3) * NS_PER_S), false, visits, arg);
}

/* ---- kill -9 ---- */

static void unplug(struct sim *s, void *arg)
{
    if (s->healing)
        return;
    sim_after(s, sim_delay(s, NS_PER_MS, 60 * NS_PER_S), false, unplug, NULL);
    sim_crash(s);
}

void sim_actors_restarted(struct sim *s)
{
    memset(s->key_busy, 0, sizeof s->key_busy);
    sim_admins_restarted(s);
}

void sim_actors_go(struct sim *s)
{
    publishes(s, NULL);
    for (uint32_t k = 0; k < SIM_SUBS; k++)
        if (s->subs[k].kind != SUB_PUSH && s->subs[k].kind != SUB_PUSH_ORDERED && s->subs[k].kind != SUB_PUSH_SERVICE)
            pulls(s, (void *)(uintptr_t)k);
    sim_admins_go(s);
    for (uintptr_t k = 0; k < SIM_SERVICES; k++)
        visits(s, (void *)k);
    if (sim_chance(s, 0.7))
        sim_after(s, sim_delay(s, NS_PER_MS, 60 * NS_PER_S), false, unplug, NULL);
}

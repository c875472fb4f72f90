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
#define PUBLISH_EVERY_NS (120 * NS_PER_MS)
#define PULL_EVERY_NS (300 * NS_PER_MS)
#define PULL_BATCH 20
#define IN_TIME_MARGIN_NS NS_PER_S

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

static FMT(4, 5) void want(struct sim *s, const char *method, const char *what, const char *fmt, ...)
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
    want(s, "google.cloud.run.v2.Services/CreateService", v->name,
         "{\"parent\":\"" LOCATION "\",\"serviceId\":\"%s\",\"service\":{\"template\":{\"containers\":[{\"image\":\"exec:///sim\","
         "\"command\":[\"server\"]}],\"scaling\":{\"maxInstanceCount\":%u},\"maxInstanceRequestConcurrency\":%u}}}",
         v->short_name, v->max, v->concurrency);
}

static void make_sub(struct sim *s, int k)
{
    static const char *const extra[] = {
        [SUB_PULL] = "", [SUB_PULL_ORDERED] = ",\"enableMessageOrdering\":true",
        [SUB_PUSH] = ",\"pushConfig\":{\"pushEndpoint\":\"http://10.0.0.1/push\",\"oidcToken\":{\"serviceAccountEmail\":\"p@sim.iam.gserviceaccount.com\"}}",
        [SUB_PUSH_ORDERED] = ",\"enableMessageOrdering\":true,\"pushConfig\":{\"pushEndpoint\":\"http://10.0.0.2/\",\"noWrapper\":{\"writeMetadata\":true}}",
        [SUB_PUSH_SERVICE] = ",\"pushConfig\":{\"pushEndpoint\":\"http://svc0.localhost:8080/\"}",
        [SUB_PULL_SLOW] = ",\"retryPolicy\":{\"minimumBackoff\":\"1s\",\"maximumBackoff\":\"20s\"}",
    };
    struct sim_sub *sub = &s->subs[k];
    sub->kind = (enum sub_kind)k;
    sub->topic = (uint32_t)rng_below(&s->world_rng, SIM_TOPICS);
    sub->ack_deadline_s = 10 + (uint32_t)rng_below(&s->world_rng, 20);
    snprintf(sub->name, sizeof sub->name, PROJECT "/subscriptions/sub-%d", k);
    want(s, "google.pubsub.v1.Subscriber/CreateSubscription", sub->name,
         "{\"name\":\"%s\",\"topic\":\"" PROJECT "/topics/top-%u\",\"ackDeadlineSeconds\":%u%s}", sub->name, sub->topic,
         sub->ack_deadline_s, extra[sub->kind]);
}

void sim_actors_init(struct sim *s)
{
    static char topic_names[SIM_TOPICS][32];
    s->healing = true;
    for (int t = 0; t < SIM_TOPICS; t++) {
        snprintf(topic_names[t], sizeof topic_names[t], "top-%d", t);
        want(s, "google.pubsub.v1.Publisher/CreateTopic", topic_names[t], "{\"name\":\"" PROJECT "/topics/%s\"}", topic_names[t]);
    }
    sim_run_for(s, NS_PER_S);
    for (int k = 0; k < SIM_SUBS; k++)
        make_sub(s, k);
    for (int k = 0; k < SIM_SERVICES; k++)
        make_service(s, k);
    sim_run_for(s, 20 * NS_PER_S);
    for (int k = 0; k < SIM_SUBS; k++)
        if (!broker_subscription(s->broker, s->subs[k].name))
            sim_fail(s, "%s was not made within 20 s without trouble", s->subs[k].name);
    s->healing = false;
}

/* ---- publishing ---- */

static void on_published(struct sim *s, void *arg, const struct call *c)
{
    uint32_t number = (uint32_t)(uintptr_t)arg;
    struct fact *f = &s->facts[number];
    if (f->state == FACT_UNKNOWN)
        return;
    sim_trace(s, "publish m%u: %s", number, c->err.code == ERR_OK ? "accepted" : c->err.msg);
    s->key_busy[f->topic][f->key] = false;
    fact_published(s, number, c->err.code == ERR_OK);
}

static void publish_one(struct sim *s)
{
    uint32_t topic = (uint32_t)rng_below(&s->world_rng, SIM_TOPICS), key = (uint32_t)rng_below(&s->world_rng, 4);
    uint32_t number = (uint32_t)s->n_facts;
    char text[16], json[256];
    struct buf data;
    if (s->n_facts == SIM_MESSAGES_MAX || (key && s->key_busy[topic][key]))
        return;
    if (key)
        s->key_busy[topic][key] = true;
    s->facts[s->n_facts++] = (struct fact){.topic = topic, .key = key, .state = FACT_SENT};
    snprintf(text, sizeof text, "m%u", number);
    buf_init(&data, 64);
    if (base64_add(&data, text, strlen(text)))
        sim_fail(s, "the simulator is out of memory");
    int n = snprintf(json, sizeof json, "{\"topic\":\"" PROJECT "/topics/top-%u\",\"messages\":[{\"data\":\"%s\"", topic, buf_cstr(&data));
    if (key)
        n += snprintf(json + n, sizeof json - (size_t)n, ",\"orderingKey\":\"key-%u\"", key);
    snprintf(json + n, sizeof json - (size_t)n, "}]}");
    buf_fini(&data);
    sim_call(s, "google.pubsub.v1.Publisher/Publish", json, on_published, (void *)(uintptr_t)number);
}

static void publishes(struct sim *s, void *arg)
{
    uint64_t burst = sim_chance(s, 0.05) ? 1 + rng_below(&s->world_rng, 60) : 1;
    if (s->healing)
        return;
    while (burst-- > 0)
        publish_one(s);
    sim_after(s, sim_delay(s, 0, PUBLISH_EVERY_NS), false, publishes, NULL);
}

/* ---- pulling ---- */

struct pulled {
    uint32_t sub;
    int64_t asked_ns;
    char data[16], ack_id[128];
    bool in_time;
};

static void on_acknowledged(struct sim *s, void *arg, const struct call *c)
{
    struct pulled *p = arg;
    if (c->err.code == ERR_OK && p->in_time)
        fact_acked(s, p->sub, str_of(p->data), true);
    free(p);
}

static void on_modified(struct sim *s, void *arg, const struct call *c)
{
    free(arg);
}

static void settle(struct sim *s, void *arg)
{
    struct pulled *p = arg;
    char json[512];
    const char *name = s->subs[p->sub].name;
    int64_t held = s->now_ns - p->asked_ns;
    if (!s->healing && sim_chance(s, 0.1 * s->trouble)) {
        snprintf(json, sizeof json, "{\"subscription\":\"%s\",\"ackIds\":[\"%s\"],\"ackDeadlineSeconds\":0}", name, p->ack_id);
        sim_call(s, "google.pubsub.v1.Subscriber/ModifyAckDeadline", json, on_modified, p);
        return;
    }
    p->in_time = held < (int64_t)s->subs[p->sub].ack_deadline_s * NS_PER_S - IN_TIME_MARGIN_NS;
    snprintf(json, sizeof json, "{\"subscription\":\"%s\",\"ackIds\":[\"%s\"]}", name, p->ack_id);
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
    for (size_t i = 0; c->err.code == ERR_OK && i < r->n_received_messages; i++) {
        const Google__Pubsub__V1__ReceivedMessage *m = r->received_messages[i];
        struct pulled *p = calloc(1, sizeof *p);
        if (!p || strlen(m->ack_id) >= sizeof p->ack_id)
            sim_fail(s, "ack id '%s' is too long", m->ack_id);
        p->sub = q->sub;
        p->asked_ns = q->asked_ns;
        snprintf(p->data, sizeof p->data, "%.*s", (int)m->message->data.len, (const char *)m->message->data.data);
        snprintf(p->ack_id, sizeof p->ack_id, "%s", m->ack_id);
        fact_delivered(s, q->sub, str_of(p->data));
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
}

void sim_actors_go(struct sim *s)
{
    publishes(s, NULL);
    for (uint32_t k = 0; k < SIM_SUBS; k++)
        if (s->subs[k].kind == SUB_PULL || s->subs[k].kind == SUB_PULL_ORDERED || s->subs[k].kind == SUB_PULL_SLOW)
            pulls(s, (void *)(uintptr_t)k);
    for (uintptr_t k = 0; k < SIM_SERVICES; k++)
        visits(s, (void *)k);
    if (sim_chance(s, 0.7))
        sim_after(s, sim_delay(s, NS_PER_MS, 60 * NS_PER_S), false, unplug, NULL);
}

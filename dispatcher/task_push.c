/* task_push.c: a task as a request: whose token it brings, which headers, and what came of it. */
#include "dispatcher/task_push.h"

#include "core/rpc/pb.h"

#include <stdio.h>
#include <stdlib.h>

#define TASK_USER_AGENT "Google-Cloud-Tasks"
#define TASK_HEADERS 8
#define EVENT_PREFIX "//cloudtasks.googleapis.com/"
#define TASK_NAME_MAX 900
#define NUMBER_TEXT_MAX 32

typedef Google__Cloud__Tasks__V2__Task Task;
typedef Google__Cloud__Tasks__V2__HttpRequest HttpRequest;

struct task_push {
    struct task_consumer consumer;
    const struct env *env;
    struct outcalls *outcalls;
    void (*on_start)(void *arg);
    void *on_start_arg;
};
/* The headers of ours, and the texts of their numbers. */
struct task_headers {
    struct header v[TASK_HEADERS];
    size_t n;
    char retries[NUMBER_TEXT_MAX], executions[NUMBER_TEXT_MAX], eta[NUMBER_TEXT_MAX], status[NUMBER_TEXT_MAX];
    char event_id[sizeof EVENT_PREFIX + TASK_NAME_MAX + NUMBER_TEXT_MAX];
};

static const char *const methods[] = {
    [GOOGLE__CLOUD__TASKS__V2__HTTP_METHOD__HTTP_METHOD_UNSPECIFIED] = "POST",
    [GOOGLE__CLOUD__TASKS__V2__HTTP_METHOD__POST] = "POST",
    [GOOGLE__CLOUD__TASKS__V2__HTTP_METHOD__GET] = "GET",
    [GOOGLE__CLOUD__TASKS__V2__HTTP_METHOD__HEAD] = "HEAD",
    [GOOGLE__CLOUD__TASKS__V2__HTTP_METHOD__PUT] = "PUT",
    [GOOGLE__CLOUD__TASKS__V2__HTTP_METHOD__DELETE] = "DELETE",
    [GOOGLE__CLOUD__TASKS__V2__HTTP_METHOD__PATCH] = "PATCH",
    [GOOGLE__CLOUD__TASKS__V2__HTTP_METHOD__OPTIONS] = "OPTIONS",
};

/* ---- the headers ---- */

/* The segment of a resource name that is `from_end` segments before its last one. */
static struct str segment(const char *name, int from_end)
{
    const char *end = name + strlen(name), *begin = end;
    for (;;) {
        while (begin > name && begin[-1] != '/')
            begin--;
        if (from_end-- == 0 || begin == name)
            return (struct str){begin, (size_t)(end - begin)};
        end = --begin;
    }
}

static void add(struct task_headers *h, struct str name, struct str value) { h->v[h->n++] = (struct header){name, value}; }

static void number(struct task_headers *h, struct str name, char text[NUMBER_TEXT_MAX], int64_t value)
{
    int n = snprintf(text, NUMBER_TEXT_MAX, "%lld", (long long)value);
    add(h, name, (struct str){text, (size_t)n});
}

/* Seconds with microseconds, as the real service writes it: 1602727873.950779. */
static void eta(struct task_headers *h, const Task *t)
{
    int64_t ns = pb_timestamp_ns(t->schedule_time ? t->schedule_time : t->create_time);
    ns = ns > 0 ? ns : 0;
    int n = snprintf(h->eta, sizeof h->eta, "%lld.%06lld", (long long)(ns / NS_PER_S), (long long)(ns % NS_PER_S / NS_PER_US));
    add(h, STR("X-CloudTasks-TaskETA"), (struct str){h->eta, (size_t)n});
}

/* A name may be given again later: the time of creation tells the two apart. */
static void event_id(struct task_headers *h, const Task *t)
{
    int n = snprintf(h->event_id, sizeof h->event_id, EVENT_PREFIX "%.*s@%lld", TASK_NAME_MAX, t->name,
                     (long long)(pb_timestamp_ns(t->create_time) / NS_PER_S));
    add(h, STR(EVENT_ID_HEADER), (struct str){h->event_id, (size_t)n});
}

static void make_headers(struct task_headers *h, const struct task_run *run)
{
    const TaskRecord *r = run->record;
    h->n = 0;
    add(h, STR("X-CloudTasks-QueueName"), segment(r->task->name, 2));
    add(h, STR("X-CloudTasks-TaskName"), segment(r->task->name, 0));
    number(h, STR("X-CloudTasks-TaskRetryCount"), h->retries, (int64_t)run->attempt - 1);
    number(h, STR("X-CloudTasks-TaskExecutionCount"), h->executions, r->executions);
    eta(h, r->task);
    event_id(h, r->task);
    if (run->attempt > 1) {
        number(h, STR("X-CloudTasks-TaskPreviousResponse"), h->status, r->last_status);
        add(h, STR("X-CloudTasks-TaskRetryReason"), (struct str){"", 0}); /* of HTTP targets it is always empty */
    }
}

/* ---- the request ---- */

static int user_headers(const HttpRequest *http, struct header fields[OUTCALL_FIELDS_MAX], struct err *e)
{
    if (http->n_headers > OUTCALL_FIELDS_MAX - TASK_HEADERS)
        return err_set(e, ERR_INVALID_ARGUMENT, "the task has more than %d headers", OUTCALL_FIELDS_MAX - TASK_HEADERS);
    for (size_t i = 0; i < http->n_headers; i++)
        fields[i] = (struct header){str_of(http->headers[i]->key), str_of(http->headers[i]->value)};
    return 0;
}

static void whose_token(const HttpRequest *http, struct outcall_spec *s)
{
    if (http->authorization_header_case == GOOGLE__CLOUD__TASKS__V2__HTTP_REQUEST__AUTHORIZATION_HEADER_OIDC_TOKEN) {
        s->auth = OUTCALL_OIDC;
        s->account = http->oidc_token->service_account_email;
        s->to = http->oidc_token->audience;
    } else if (http->authorization_header_case == GOOGLE__CLOUD__TASKS__V2__HTTP_REQUEST__AUTHORIZATION_HEADER_OAUTH_TOKEN) {
        s->auth = OUTCALL_OAUTH;
        s->account = http->oauth_token->service_account_email;
        s->to = http->oauth_token->scope;
    }
}

static void on_done(void *arg, const struct outcall_result *r)
{
    struct task_run *run = arg;
    const struct task_outcome out = {
        .status = r->status,
        .err = r->err,
        .retry_after_ns = r->retry_after_ns,
        .sent_wall_ns = r->sent_wall_ns,
        .undelivered = r->undelivered,
    };
    run->consumer_data = NULL;
    queue_settle(run, &out);
}

static struct outcall_job *call(struct task_push *tp, struct task_run *run, struct err *e)
{
    const Task *t = run->record->task;
    const HttpRequest *http = t->message_type_case == GOOGLE__CLOUD__TASKS__V2__TASK__MESSAGE_TYPE_HTTP_REQUEST ? t->http_request : NULL;
    struct header fields[OUTCALL_FIELDS_MAX];
    struct task_headers own;
    if (!http || (size_t)http->http_method >= ARRAY_LEN(methods)) {
        err_set(e, ERR_INVALID_ARGUMENT, "the task has no HTTP request that can be made");
        return NULL;
    }
    if (user_headers(http, fields, e))
        return NULL;
    make_headers(&own, run);
    struct outcall_spec s = {
        .url = http->url,
        .method = methods[http->http_method],
        .user_agent = TASK_USER_AGENT,
        .fields = fields,
        .n_fields = http->n_headers,
        .own = own.v,
        .n_own = own.n,
        .own_prefix = "X-CloudTasks-",
        .body = {(const char *)http->body.data, http->body.len},
        .due_ns = run->deadline_ns,
    };
    whose_token(http, &s);
    return outcalls_start(tp->outcalls, &s, on_done, run, e);
}

static void on_start(struct task_consumer *c, struct task_run *run)
{
    struct task_push *tp = CONTAINER_OF(c, struct task_push, consumer);
    struct task_outcome none = {.sent_wall_ns = env_wall(tp->env)};
    if (tp->on_start)
        tp->on_start(tp->on_start_arg);
    run->consumer_data = call(tp, run, &none.err);
    if (run->consumer_data)
        return;
    none.undelivered = none.err.code != ERR_INVALID_ARGUMENT;
    queue_settle(run, &none);
}

static void on_cancel(struct task_consumer *c, struct task_run *run)
{
    if (run->consumer_data)
        outcall_cancel(run->consumer_data);
}

struct task_push *task_push_new(const struct env *env, struct outcalls *o, struct err *e)
{
    struct task_push *tp = calloc(1, sizeof *tp);
    if (!tp) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for running tasks");
        return NULL;
    }
    *tp = (struct task_push){.consumer = {on_start, on_cancel}, .env = env, .outcalls = o};
    return tp;
}

struct task_consumer *task_push_consumer(struct task_push *tp) { return &tp->consumer; }

void task_push_watch(struct task_push *tp, void (*fn)(void *arg), void *arg)
{
    tp->on_start = fn;
    tp->on_start_arg = arg;
}

void task_push_free(struct task_push *tp) { free(tp); }

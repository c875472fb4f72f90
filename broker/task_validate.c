/* task_validate.c: a new task: what is allowed in it, what is filled in, and the record that is kept of it. */
#include "broker/queues_int.h"

#include "core/http/headers.h"
#include "core/http/url.h"

#include <stdio.h>

#define USER_AGENT "Google-Cloud-Tasks"
#define OWN_PREFIX "x-cloudtasks-"
#define FAIR_KEY_HEADER "runnel-fair-key"
#define PRIORITY_HEADER "runnel-priority"

typedef Google__Cloud__Tasks__V2__HttpRequest PbHttpRequest;
typedef Google__Cloud__Tasks__V2__HttpRequest__HeadersEntry PbHeader;

/* ---- headers ---- */

/* Fairness and priority are said by the task's own headers, which travel on to the target. */
static int read_own(const PbHeader *h, TaskRecord *r, struct err *e)
{
    if (str_ieq(str_of(h->key), str_of(FAIR_KEY_HEADER))) {
        if (strlen(h->value) > TASK_FAIR_KEY_MAX)
            return err_set(e, ERR_INVALID_ARGUMENT, "task.http_request.headers[\"%s\"]: %zu bytes; at most %d are allowed", h->key,
                           strlen(h->value), TASK_FAIR_KEY_MAX);
        r->fair_key = h->value;
    }
    if (str_ieq(str_of(h->key), str_of(PRIORITY_HEADER))) {
        if (h->value[0] < '0' || h->value[0] > '9' || h->value[1])
            return err_set(e, ERR_INVALID_ARGUMENT, "task.http_request.headers[\"%s\"]: \"%.40s\" is not a priority; 0 to %d are allowed",
                           h->key, h->value, QUEUE_PRIORITIES - 1);
        r->priority = (uint32_t)(h->value[0] - '0');
    }
    return 0;
}

static int check_header(const PbHeader *h, struct err *e)
{
    if (!header_name_valid(str_of(h->key)))
        return err_set(e, ERR_INVALID_ARGUMENT, "task.http_request.headers: \"%.64s\" is not a header's name", h->key);
    if (!header_value_valid(str_of(h->value)))
        return err_set(e, ERR_INVALID_ARGUMENT, "task.http_request.headers[\"%.64s\"]: the value holds a character that no header may hold",
                       h->key);
    return 0;
}

static int set_headers(struct arena *a, PbHttpRequest *http, TaskRecord *r, struct err *e)
{
    size_t bytes = 0, n = 0;
    if (http->n_headers > TASK_HEADERS_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "task.http_request.headers: %zu headers; at most %d are allowed", http->n_headers,
                       TASK_HEADERS_MAX);
    PbHeader **kept = arena_alloc(a, (http->n_headers + 1) * sizeof *kept);
    PbHeader *agent = pb_new(a, &google__cloud__tasks__v2__http_request__headers_entry__descriptor);
    if (!kept || !agent)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "task: out of memory");
    for (size_t i = 0; i < http->n_headers; i++) {
        PbHeader *h = http->headers[i];
        if (check_header(h, e) || read_own(h, r, e))
            return -ERR_INVALID_ARGUMENT;
        bytes += strlen(h->key) + strlen(h->value);
        if (!header_is_reserved(str_of(h->key), OWN_PREFIX))
            kept[n++] = h;
    }
    if (bytes >= TASK_HEADER_BYTES_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "task.http_request.headers: %zu bytes of names and values; less than %u are allowed", bytes,
                       TASK_HEADER_BYTES_MAX);
    agent->key = (char *)"User-Agent";
    agent->value = (char *)USER_AGENT;
    kept[n++] = agent;
    http->headers = kept;
    http->n_headers = n;
    return 0;
}

/* ---- the target ---- */

static int check_url(struct arena *a, PbHttpRequest *h, struct err *e)
{
    struct url parsed;
    if (!*h->url)
        return err_set(e, ERR_INVALID_ARGUMENT, "task.http_request.url: must be given");
    char *url = url_encode(a, h->url);
    if (!url)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "task: out of memory");
    if (strlen(url) > URL_LEN_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "task.http_request.url: %zu characters when encoded; at most %d are allowed", strlen(url),
                       URL_LEN_MAX);
    h->url = url;
    return url_parse(str_of(url), &parsed, e) ? err_wrap(e, "task.http_request.url") : 0;
}

/* Of what no token could be made is said now, and not after a hundred attempts. */
static int check_account(const char *field, const char *account, const char *to, struct err *e)
{
    size_t n = strlen(account);
    if (n == 0 || n > TASK_ACCOUNT_MAX || !strchr(account, '@') || strchr(account, ' '))
        return err_set(
            e, ERR_INVALID_ARGUMENT,
            "task.http_request.%s.service_account_email: \"%.100s\"; the email of a service account, of at most %d bytes, is needed", field,
            account, TASK_ACCOUNT_MAX);
    if (strlen(to) > URL_LEN_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "task.http_request.%s: the audience or scope is longer than %d bytes", field, URL_LEN_MAX);
    return 0;
}

static int check_token(const PbHttpRequest *h, struct err *e)
{
    if (h->authorization_header_case == GOOGLE__CLOUD__TASKS__V2__HTTP_REQUEST__AUTHORIZATION_HEADER_OIDC_TOKEN)
        return check_account("oidc_token", h->oidc_token->service_account_email, h->oidc_token->audience, e);
    if (h->authorization_header_case == GOOGLE__CLOUD__TASKS__V2__HTTP_REQUEST__AUTHORIZATION_HEADER_OAUTH_TOKEN)
        return check_account("oauth_token", h->oauth_token->service_account_email, h->oauth_token->scope, e);
    return 0;
}

static int check_method(PbHttpRequest *h, struct err *e)
{
    const ProtobufCEnumValue *method =
        protobuf_c_enum_descriptor_get_value(&google__cloud__tasks__v2__http_method__descriptor, (int)h->http_method);
    if (!method)
        return err_set(e, ERR_INVALID_ARGUMENT, "task.http_request.http_method: %d is not known", (int)h->http_method);
    if (h->http_method == GOOGLE__CLOUD__TASKS__V2__HTTP_METHOD__HTTP_METHOD_UNSPECIFIED)
        h->http_method = GOOGLE__CLOUD__TASKS__V2__HTTP_METHOD__POST;
    bool may_have_body = h->http_method == GOOGLE__CLOUD__TASKS__V2__HTTP_METHOD__POST ||
                         h->http_method == GOOGLE__CLOUD__TASKS__V2__HTTP_METHOD__PUT ||
                         h->http_method == GOOGLE__CLOUD__TASKS__V2__HTTP_METHOD__PATCH;
    if (h->body.len && !may_have_body)
        return err_set(e, ERR_INVALID_ARGUMENT, "task.http_request.body: a %s request has none; use POST, PUT or PATCH, or leave it out",
                       method->name);
    return 0;
}

static int set_target(struct arena *a, PbTask *t, TaskRecord *r, struct err *e)
{
    if (t->message_type_case == GOOGLE__CLOUD__TASKS__V2__TASK__MESSAGE_TYPE_APP_ENGINE_HTTP_REQUEST)
        return err_set(e, ERR_UNIMPLEMENTED,
                       "task.app_engine_http_request: there is no App Engine here; use http_request with the URL of a service");
    if (t->message_type_case != GOOGLE__CLOUD__TASKS__V2__TASK__MESSAGE_TYPE_HTTP_REQUEST)
        return err_set(e, ERR_INVALID_ARGUMENT, "task.http_request: must be given");
    PbHttpRequest *http = arena_alloc(a, sizeof *http);
    if (!http)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "task: out of memory");
    *http = *t->http_request;
    t->http_request = http;
    int rc = check_url(a, http, e);
    rc = rc ? rc : check_method(http, e);
    rc = rc ? rc : check_token(http, e);
    return rc ? rc : set_headers(a, http, r, e);
}

/* ---- name and times ---- */

static int set_name(struct queues *qs, struct arena *a, const char *parent, PbTask *t, TaskRecord *r, struct err *e)
{
    size_t n = strlen(parent);
    r->named = *t->name != '\0';
    if (!r->named) {
        t->name = arena_printf(a, "%s/tasks/%llu", parent, (unsigned long long)(rng_u64(qs->deps.env->rng) | UINT64_C(1) << 62));
        return t->name ? 0 : err_set(e, ERR_RESOURCE_EXHAUSTED, "task: out of memory");
    }
    int rc = check_task_name(t->name, "task.name", e);
    if (!rc && (strncmp(t->name, parent, n) != 0 || t->name[n] != '/'))
        rc = err_set(e, ERR_INVALID_ARGUMENT, "task.name: \"%.140s\" is not in %.140s, where it is to be made", t->name, parent);
    return rc;
}

static int set_times(struct queues *qs, struct arena *a, PbTask *t, int64_t wall_ns, struct err *e)
{
    int64_t max_ns = qs->config.max_schedule_ns, due_ns = pb_timestamp_ns(t->schedule_time);
    if (max_ns >= 0 && due_ns > wall_ns && due_ns - wall_ns > max_ns) /* Google's words */
        return err_set(e, ERR_INVALID_ARGUMENT,
                       "Task.scheduleTime is too far in the future. Schedule time must be no more than %lldh in the future.",
                       (long long)(max_ns / NS_PER_S / 3600));
    int64_t deadline_ns = t->dispatch_deadline ? pb_duration_ns(t->dispatch_deadline) : TASK_DEADLINE_DEFAULT_NS;
    if (deadline_ns < TASK_DEADLINE_MIN_NS || deadline_ns > TASK_DEADLINE_MAX_NS)
        return err_set(e, ERR_INVALID_ARGUMENT, "task.dispatch_deadline: %.13gs; %llds to %llds are allowed",
                       (double)deadline_ns / NS_PER_S, (long long)(TASK_DEADLINE_MIN_NS / NS_PER_S),
                       (long long)(TASK_DEADLINE_MAX_NS / NS_PER_S));
    t->schedule_time = (void *)pb_timestamp(a, (due_ns > wall_ns ? due_ns : wall_ns) / 1000 * 1000);
    t->create_time = (void *)pb_timestamp(a, wall_ns / NS_PER_S * NS_PER_S);
    t->dispatch_deadline = (void *)pb_duration(a, deadline_ns / NS_PER_MS * NS_PER_MS); /* as Google keeps them */
    return t->schedule_time && t->create_time && t->dispatch_deadline ? 0 : err_set(e, ERR_RESOURCE_EXHAUSTED, "task: out of memory");
}

/* What is changed in the task is made anew, what is not is still the request's. */
static TaskRecord *record_shell(struct arena *a, const PbTask *wanted)
{
    TaskRecord *r = pb_new(a, &runnel__broker__task_record__descriptor);
    Runnel__Broker__TaskEvent *event = pb_new(a, &runnel__broker__task_event__descriptor), **events = arena_alloc(a, sizeof *events);
    PbTask *task = arena_alloc(a, sizeof *task);
    if (!r || !event || !events || !task)
        return NULL;
    *task = *wanted;
    task->dispatch_count = task->response_count = 0;
    task->first_attempt = task->last_attempt = NULL;
    task->view = GOOGLE__CLOUD__TASKS__V2__TASK__VIEW__VIEW_UNSPECIFIED;
    events[0] = event;
    r->task = task;
    r->events = events;
    r->n_events = 1;
    return r;
}

TaskRecord *task_record_new(struct queues *qs, struct arena *a, const char *parent, const PbTask *wanted, struct err *e)
{
    TaskRecord *record = record_shell(a, wanted);
    if (!record) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "task: out of memory");
        return NULL;
    }
    int64_t wall_ns = record->events[0]->wall_ns = env_wall(qs->deps.env);
    int rc = set_name(qs, a, parent, record->task, record, e);
    rc = rc ? rc : set_target(a, record->task, record, e);
    rc = rc ? rc : set_times(qs, a, record->task, wall_ns, e);
    if (rc)
        return NULL;
    size_t bytes = protobuf_c_message_get_packed_size(&record->task->base);
    if (bytes > TASK_BYTES_MAX) {
        err_set(e, ERR_INVALID_ARGUMENT, "Task size too large: it is %zu bytes as it is stored; at most %d are allowed", bytes,
                TASK_BYTES_MAX);
        return NULL;
    }
    return record;
}

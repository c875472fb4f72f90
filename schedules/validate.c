/* validate.c: every field of a job and of its policy: what is allowed, what is refused by name, what is filled in. */
#include "schedules/scheduler_int.h"

#include "core/http/headers.h"
#include "core/http/url.h"
#include "executor/job_start.h"

#include <strings.h>

#define DESCRIPTION_MAX 500
#define DEADLINE_MIN_NS (15 * NS_PER_S)
#define DEADLINE_MAX_NS (30 * 60 * NS_PER_S)
#define DEADLINE_DEFAULT_NS (180 * NS_PER_S)
#define BACKOFF_MIN_DEFAULT_NS (5 * NS_PER_S)
#define BACKOFF_MAX_DEFAULT_NS (3600 * NS_PER_S)
#define DOUBLINGS_DEFAULT 5
#define DURATION_MAX_NS (3660 * 24 * 3600 * NS_PER_S) /* ten years */
#define HEADERS_BYTES_MAX (80u * 1024)
#define HEADERS_COUNT_MAX 100
#define ACCOUNT_MAX 255

#define OIDC GOOGLE__CLOUD__SCHEDULER__V1__HTTP_TARGET__AUTHORIZATION_HEADER_OIDC_TOKEN
#define OAUTH GOOGLE__CLOUD__SCHEDULER__V1__HTTP_TARGET__AUTHORIZATION_HEADER_OAUTH_TOKEN
#define METHOD(name) GOOGLE__CLOUD__SCHEDULER__V1__HTTP_METHOD__##name

typedef Google__Cloud__Scheduler__V1__HttpTarget PbHttp;
typedef Google__Cloud__Scheduler__V1__PubsubTarget PbPubsub;
typedef Google__Cloud__Scheduler__V1__RetryConfig PbRetry;
typedef Google__Cloud__Scheduler__V1__HttpTarget__HeadersEntry PbHeader;

static int no_memory(struct err *e) { return err_set(e, ERR_RESOURCE_EXHAUSTED, "job: out of memory"); }

/* ---- names ---- */

static const struct name_part parts[] = {NAME_PROJECT, NAME_LOCATION, {"/jobs/", 500, "-_"}};

int check_job_name(const char *name, const char *field, struct err *e)
{
    return name_fits(name, parts, 3)
               ? 0
               : err_set(e, ERR_INVALID_ARGUMENT,
                         "%s: \"%.120s\" is not of the form projects/PROJECT/locations/LOCATION/jobs/JOB with a JOB of 1 to %zu letters, "
                         "digits, hyphens or underscores",
                         field, name, parts[2].id_max);
}

/* ---- durations ---- */

static int check_duration(const char *field, const Google__Protobuf__Duration *d, int64_t min_ns, int64_t max_ns, struct err *e)
{
    if (!d)
        return 0;
    int64_t ns = pb_duration_ns(d);
    if (d->nanos < -999999999 || d->nanos > 999999999 || ns < min_ns || ns > max_ns)
        return err_set(e, ERR_INVALID_ARGUMENT, "%s: %.9gs is out of range; %llds to %llds are allowed", field,
                       (double)d->seconds + (double)d->nanos / 1e9, (long long)(min_ns / NS_PER_S), (long long)(max_ns / NS_PER_S));
    return 0;
}

static int default_duration(struct arena *a, Google__Protobuf__Duration **d, int64_t ns, struct err *e)
{
    if (!*d)
        *d = (void *)pb_duration(a, ns);
    return *d ? 0 : no_memory(e);
}

/* ---- retries ---- */

static int check_retries(struct arena *a, PbJob *job, struct err *e)
{
    if (!job->retry_config)
        job->retry_config = pb_new(a, &google__cloud__scheduler__v1__retry_config__descriptor);
    PbRetry *r = job->retry_config;
    if (!r)
        return no_memory(e);
    if (r->retry_count < 0 || r->retry_count > RETRY_COUNT_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "retry_config.retry_count: %d; 0 to %d are allowed (0: no retries)", r->retry_count,
                       RETRY_COUNT_MAX);
    if (r->max_doublings < 0)
        return err_set(e, ERR_INVALID_ARGUMENT, "retry_config.max_doublings: %d; 1 or more (0 means %d)", r->max_doublings,
                       DOUBLINGS_DEFAULT);
    int rc = check_duration("retry_config.max_retry_duration", r->max_retry_duration, 0, DURATION_MAX_NS, e);
    rc = rc ? rc : check_duration("retry_config.min_backoff_duration", r->min_backoff_duration, 0, DURATION_MAX_NS, e);
    rc = rc ? rc : check_duration("retry_config.max_backoff_duration", r->max_backoff_duration, 0, DURATION_MAX_NS, e);
    if (rc)
        return rc;
    int64_t min_ns = r->min_backoff_duration ? pb_duration_ns(r->min_backoff_duration) : BACKOFF_MIN_DEFAULT_NS;
    int64_t max_ns = r->max_backoff_duration ? pb_duration_ns(r->max_backoff_duration) : BACKOFF_MAX_DEFAULT_NS;
    if (!r->min_backoff_duration && min_ns > max_ns)
        min_ns = max_ns;
    if (!r->max_backoff_duration && max_ns < min_ns)
        max_ns = min_ns;
    if (min_ns > max_ns)
        return err_set(e, ERR_INVALID_ARGUMENT, "retry_config: min_backoff_duration (%gs) is longer than max_backoff_duration (%gs)",
                       (double)min_ns / NS_PER_S, (double)max_ns / NS_PER_S);
    if (r->max_doublings == 0)
        r->max_doublings = DOUBLINGS_DEFAULT;
    rc = default_duration(a, &r->max_retry_duration, 0, e);
    rc = rc ? rc : default_duration(a, &r->min_backoff_duration, min_ns, e);
    return rc ? rc : default_duration(a, &r->max_backoff_duration, max_ns, e);
}

/* ---- HTTP ---- */

static int add_header(struct arena *a, PbHttp *h, const char *name, const char *value, struct err *e)
{
    PbHeader *entry = pb_new(a, &google__cloud__scheduler__v1__http_target__headers_entry__descriptor);
    PbHeader **all = arena_alloc(a, (h->n_headers + 1) * sizeof *all);
    if (!entry || !all || !(entry->key = arena_strdup(a, name)) || !(entry->value = arena_strdup(a, value)))
        return no_memory(e);
    if (h->n_headers)
        memcpy(all, h->headers, h->n_headers * sizeof *all);
    all[h->n_headers++] = entry;
    h->headers = all;
    return 0;
}

static int check_headers(struct arena *a, PbHttp *h, struct err *e)
{
    size_t kept = 0, bytes = 0;
    bool typed = false;
    for (size_t i = 0; i < h->n_headers; i++) {
        PbHeader *f = h->headers[i];
        if (!header_name_valid(str_of(f->key)))
            return err_set(e, ERR_INVALID_ARGUMENT, "http_target.headers: \"%.100s\" cannot be the name of a header", f->key);
        if (!header_value_valid(str_of(f->value)))
            return err_set(e, ERR_INVALID_ARGUMENT, "http_target.headers[\"%.100s\"]: a value cannot hold line breaks", f->key);
        if (header_is_reserved(str_of(f->key), TARGET_OWN_PREFIX))
            continue;
        typed |= strcasecmp(f->key, "content-type") == 0;
        bytes += strlen(f->key) + strlen(f->value);
        h->headers[kept++] = f;
    }
    h->n_headers = kept;
    if (bytes >= HEADERS_BYTES_MAX || kept > HEADERS_COUNT_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "http_target.headers: %zu headers of %zu bytes; at most %d, of less than 80 KB together",
                       kept, bytes, HEADERS_COUNT_MAX);
    int rc = add_header(a, h, "User-Agent", TARGET_USER_AGENT, e);
    return rc || typed || !h->body.len ? rc : add_header(a, h, "Content-Type", "application/octet-stream", e);
}

static int check_account(const char *field, const char *account, const char *to, struct err *e)
{
    size_t n = strlen(account);
    if (n == 0 || n > ACCOUNT_MAX || !strchr(account, '@') || strchr(account, ' '))
        return err_set(e, ERR_INVALID_ARGUMENT,
                       "http_target.%s.service_account_email: \"%.100s\"; the email of a service account, of at most %d bytes, is needed",
                       field, account, ACCOUNT_MAX);
    if (strlen(to) > URL_LEN_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "http_target.%s: the audience or scope is longer than %d bytes", field, URL_LEN_MAX);
    return 0;
}

/* A token of which nothing is left, as gcloud's --clear-auth-token leaves it, is none. */
static int check_token(PbHttp *h, struct err *e)
{
    if (h->authorization_header_case == OIDC) {
        if (*h->oidc_token->service_account_email || *h->oidc_token->audience)
            return check_account("oidc_token", h->oidc_token->service_account_email, h->oidc_token->audience, e);
    } else if (h->authorization_header_case == OAUTH) {
        if (*h->oauth_token->service_account_email || *h->oauth_token->scope)
            return check_account("oauth_token", h->oauth_token->service_account_email, h->oauth_token->scope, e);
    }
    h->authorization_header_case = GOOGLE__CLOUD__SCHEDULER__V1__HTTP_TARGET__AUTHORIZATION_HEADER__NOT_SET;
    h->oidc_token = NULL;
    return 0;
}

/* ---- executions ---- */

/* What makes a request is not for an execution; what we add ourselves to one that is passed over in silence. */
static int check_no_request(PbHttp *h, struct err *e)
{
    for (size_t i = 0; i < h->n_headers; i++)
        if (!header_is_reserved(str_of(h->headers[i]->key), TARGET_OWN_PREFIX) && strcasecmp(h->headers[i]->key, "content-type") != 0)
            return err_set(e, ERR_INVALID_ARGUMENT,
                           "http_target.headers[\"%.100s\"]: an execution has no headers; give it variables, in "
                           "the body",
                           h->headers[i]->key);
    h->n_headers = 0;
    int rc = check_token(h, e);
    if (!rc && h->authorization_header_case)
        rc = err_set(e, ERR_INVALID_ARGUMENT, "http_target: an execution is started by this server itself and takes no token");
    return rc;
}

static int check_run(PbJob *job, struct err *e)
{
    static const struct name_part name[] = {NAME_PROJECT, NAME_LOCATION, {"/jobs/", 63, "-"}};
    PbHttp *h = job->http_target;
    struct err why = {0};
    if (!name_fits(h->uri + sizeof TARGET_RUN_URI - 1, name, ARRAY_LEN(name)))
        return err_set(e, ERR_INVALID_ARGUMENT,
                       "http_target.uri: \"%.150s\" is not of the form " TARGET_RUN_URI "projects/PROJECT/locations/LOCATION/jobs/JOB",
                       h->uri);
    if (h->http_method != METHOD(HTTP_METHOD_UNSPECIFIED) && h->http_method != METHOD(POST))
        return err_set(e, ERR_INVALID_ARGUMENT, "http_target.http_method: an execution is started by POST");
    h->http_method = METHOD(POST);
    if (job_start_check((struct str){(const char *)h->body.data, h->body.len}, &why))
        return err_set(e, why.code, "http_target.body: %s", why.msg);
    return check_no_request(h, e);
}

static int check_http(struct arena *a, PbJob *job, struct err *e)
{
    PbHttp *h = job->http_target;
    struct url u;
    struct err why = {0};
    if (!(h->uri = url_encode(a, h->uri)))
        return no_memory(e);
    if (strlen(h->uri) > URL_LEN_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "http_target.uri: longer than %d characters when encoded", URL_LEN_MAX);
    if (url_parse(str_of(h->uri), &u, &why))
        return err_set(e, ERR_INVALID_ARGUMENT, "http_target.uri: \"%.100s\" cannot be called: %s", h->uri, why.msg);
    if (h->http_method == METHOD(HTTP_METHOD_UNSPECIFIED))
        h->http_method = METHOD(POST);
    if (h->http_method < METHOD(POST) || h->http_method > METHOD(OPTIONS))
        return err_set(e, ERR_INVALID_ARGUMENT, "http_target.http_method: %d is no method; POST, GET, HEAD, PUT, DELETE, PATCH, OPTIONS",
                       (int)h->http_method);
    if (h->body.len && h->http_method != METHOD(POST) && h->http_method != METHOD(PUT) && h->http_method != METHOD(PATCH))
        return err_set(e, ERR_INVALID_ARGUMENT, "http_target.body: a body is only allowed with POST, PUT or PATCH");
    int rc = check_duration("attempt_deadline", job->attempt_deadline, DEADLINE_MIN_NS, DEADLINE_MAX_NS, e);
    rc = rc ? rc : default_duration(a, &job->attempt_deadline, DEADLINE_DEFAULT_NS, e);
    rc = rc ? rc : check_headers(a, h, e);
    return rc ? rc : check_token(h, e);
}

/* ---- Pub/Sub ---- */

static int check_pubsub(const PbJob *job, struct err *e)
{
    const PbPubsub *p = job->pubsub_target;
    size_t project = (size_t)(strchr(job->name + strlen("projects/"), '/') - job->name);
    const char *id = p->topic_name + project + strlen("/topics/");
    if (strncmp(p->topic_name, job->name, project) != 0 || strncmp(p->topic_name + project, "/topics/", strlen("/topics/")) != 0 || !*id ||
        strchr(id, '/'))
        return err_set(e, ERR_INVALID_ARGUMENT,
                       "pubsub_target.topic_name: \"%.120s\" is no topic of the job's own project; %.*s/topics/TOPIC is needed",
                       p->topic_name, (int)project, job->name);
    if (!p->data.len && !p->n_attributes)
        return err_set(e, ERR_INVALID_ARGUMENT, "pubsub_target: data, or at least one attribute, must be given");
    return 0;
}

/* ---- jobs ---- */

static int check_target(struct arena *a, PbJob *job, struct err *e)
{
    switch (job->target_case) {
    case GOOGLE__CLOUD__SCHEDULER__V1__JOB__TARGET_HTTP_TARGET:
        return target_is_run(job) ? check_run(job, e) : check_http(a, job, e);
    case GOOGLE__CLOUD__SCHEDULER__V1__JOB__TARGET_PUBSUB_TARGET:
        return check_pubsub(job, e);
    case GOOGLE__CLOUD__SCHEDULER__V1__JOB__TARGET_APP_ENGINE_HTTP_TARGET:
        return err_set(e, ERR_UNIMPLEMENTED,
                       "app_engine_http_target: there is no App Engine here; use an http_target with the URL of a service");
    default:
        return err_set(e, ERR_INVALID_ARGUMENT, "target: an http_target or a pubsub_target must be given");
    }
}

static int check_size(const PbJob *job, struct err *e)
{
    size_t n = protobuf_c_message_get_packed_size(&job->base);
    return n <= JOB_BYTES_MAX ? 0 : err_set(e, ERR_INVALID_ARGUMENT, "job: %zu bytes; at most 1 MB is allowed", n);
}

int check_job_fields(struct arena *a, PbJob *job, struct err *e)
{
    int rc = check_job_name(job->name, "job.name", e);
    if (rc)
        return rc;
    size_t letters = 0;
    for (const char *p = job->description; *p; p++)
        letters += ((unsigned char)*p & 0xc0) != 0x80;
    if (letters > DESCRIPTION_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "description: %zu characters; at most %d are allowed", letters, DESCRIPTION_MAX);
    if (!*job->schedule)
        return err_set(e, ERR_INVALID_ARGUMENT, "schedule: must be given, for example \"*/5 * * * *\" or \"every 5 minutes\"");
    if (!*job->time_zone && !(job->time_zone = arena_strdup(a, "UTC")))
        return no_memory(e);
    rc = check_target(a, job, e);
    rc = rc ? rc : check_retries(a, job, e);
    return rc ? rc : check_size(job, e);
}

int check_job(struct arena *a, struct zone_cache *zones, PbJob *job, struct calendar **calendar, struct err *e)
{
    struct err why = {0};
    int rc = check_job_fields(a, job, e);
    if (rc)
        return rc;
    *calendar = calendar_new(zones, job->schedule, job->time_zone, &why);
    return *calendar ? 0 : err_set(e, why.code, "%s", why.msg);
}

/* ---- policies ---- */

static int check_times(const PbPolicy *p, struct err *e)
{
    if (p->start_time && (p->start_time->nanos < 0 || p->start_time->nanos > 999999999))
        return err_set(e, ERR_INVALID_ARGUMENT, "policy.start_time: nanos out of range");
    if (p->end_time && (p->end_time->nanos < 0 || p->end_time->nanos > 999999999))
        return err_set(e, ERR_INVALID_ARGUMENT, "policy.end_time: nanos out of range");
    if (p->start_time && p->end_time && pb_timestamp_ns(p->start_time) >= pb_timestamp_ns(p->end_time))
        return err_set(e, ERR_INVALID_ARGUMENT, "policy: end_time must be later than start_time");
    return 0;
}

int check_policy(PbPolicy *p, struct err *e)
{
    if (p->missed < 0 || p->missed > RUNNEL__SCHEDULER__V1__JOB_POLICY__MISSED__ALL)
        return err_set(e, ERR_INVALID_ARGUMENT, "policy.missed: %d; SKIP, ONCE or ALL", (int)p->missed);
    if (p->overlap < 0 || p->overlap > RUNNEL__SCHEDULER__V1__JOB_POLICY__OVERLAP__REPLACE)
        return err_set(e, ERR_INVALID_ARGUMENT, "policy.overlap: %d; FORBID, ALLOW or REPLACE", (int)p->overlap);
    if (p->missed_limit < 0 || p->missed_limit > DUE_MISSED_MAX)
        return err_set(e, ERR_INVALID_ARGUMENT, "policy.missed_limit: %d; 1 to %d are allowed (0 means %d)", p->missed_limit,
                       DUE_MISSED_MAX, DUE_MISSED_MAX);
    int rc = check_duration("policy.jitter", p->jitter, 0, DUE_JITTER_MAX_NS, e);
    rc = rc ? rc : check_times(p, e);
    if (rc)
        return rc;
    if (p->missed == RUNNEL__SCHEDULER__V1__JOB_POLICY__MISSED__MISSED_UNSPECIFIED)
        p->missed = RUNNEL__SCHEDULER__V1__JOB_POLICY__MISSED__ONCE;
    if (p->overlap == RUNNEL__SCHEDULER__V1__JOB_POLICY__OVERLAP__OVERLAP_UNSPECIFIED)
        p->overlap = RUNNEL__SCHEDULER__V1__JOB_POLICY__OVERLAP__FORBID;
    if (p->missed_limit == 0)
        p->missed_limit = DUE_MISSED_MAX;
    if (pb_duration_ns(p->jitter) == 0)
        p->jitter = NULL;
    return 0;
}

PbPolicy *policy_default(void)
{
    PbPolicy p = RUNNEL__SCHEDULER__V1__JOB_POLICY__INIT;
    p.missed = RUNNEL__SCHEDULER__V1__JOB_POLICY__MISSED__ONCE;
    p.overlap = RUNNEL__SCHEDULER__V1__JOB_POLICY__OVERLAP__FORBID;
    p.missed_limit = DUE_MISSED_MAX;
    return pb_dup(&p.base);
}

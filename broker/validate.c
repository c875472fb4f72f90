/* validate.c: names, and every field of topics and subscriptions: what is allowed, what is refused, what is filled in. */
#include "broker/broker_int.h"

#include <ctype.h>

#define ID_MIN 3
#define ID_MAX 255
#define PROJECT_MAX 100
#define LABELS_MAX 64
#define LABEL_MAX 63
#define TAGS_MAX 50
#define TAG_MAX 256
#define MINUTE_NS (60 * NS_PER_S)
#define DAY_NS (24 * 3600 * NS_PER_S)
#define RETENTION_MIN_NS (10 * MINUTE_NS)
#define RETENTION_MAX_NS (31 * DAY_NS)
#define RETENTION_DEFAULT_NS (7 * DAY_NS)
#define ACK_DEADLINE_MIN_S 10
#define ACK_DEADLINE_MAX_S 600
#define BACKOFF_MAX_NS (600 * NS_PER_S)
#define TTL_MIN_NS DAY_NS
#define ATTEMPTS_MIN 5
#define ATTEMPTS_MAX 100

/* ---- names ---- */

static bool project_ok(const char *p, size_t n)
{
    if (n == 0 || n > PROJECT_MAX)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)p[i]) && !strchr("-_.:~", p[i]))
            return false;
    return true;
}

static bool id_ok(const char *id)
{
    size_t n = strlen(id);
    if (n < ID_MIN || n > ID_MAX || !isalpha((unsigned char)id[0]) || strncmp(id, "goog", 4) == 0)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)id[i]) && !strchr("-_.~+%", id[i]))
            return false;
    return true;
}

/* The end of "projects/P" in `name`; NULL when it does not begin so. */
static const char *after_project(const char *name)
{
    if (strncmp(name, "projects/", 9) != 0)
        return NULL;
    size_t n = strcspn(name + 9, "/");
    return project_ok(name + 9, n) ? name + 9 + n : NULL;
}

int check_project(const char *name, struct err *e)
{
    const char *end = after_project(name);
    if (!end || *end)
        return err_set(e, ERR_INVALID_ARGUMENT, "project: \"%.200s\" is not of the form projects/PROJECT", name);
    return 0;
}

int check_name(const char *name, const char *collection, const char *field, struct err *e)
{
    const char *end = after_project(name);
    size_t n = strlen(collection);
    if (end && *end == '/' && strncmp(end + 1, collection, n) == 0 && end[1 + n] == '/' && id_ok(end + 2 + n))
        return 0;
    return err_set(e, ERR_INVALID_ARGUMENT,
                   "Invalid [%s] name: (%s=%.100s): projects/PROJECT/%s/ID is wanted, with an ID of %d to %d letters, digits or "
                   "-_.~+%% that starts with a letter and not with goog",
                   collection, field, name, collection, ID_MIN, ID_MAX);
}

/* ---- fields that we do not have: refused by name, so that nobody relies on them ---- */

static int refuse_fields(const ProtobufCMessage *m, const char *const *names, size_t n, struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        const ProtobufCFieldDescriptor *f = pb_field_find(m->descriptor, str_of(names[i]));
        if (f && pb_field_is_set(m, f))
            return err_set(e, ERR_UNIMPLEMENTED, "%s: not implemented in this server; leave it out", names[i]);
    }
    return 0;
}

/* Maps of labels and tags: every entry type is the same pair of strings in C. */
typedef Google__Pubsub__V1__Topic__LabelsEntry PbPair;

static int check_pairs(const char *field, void *entries, size_t n, size_t n_max, size_t bytes_max, struct err *e)
{
    PbPair **pairs = entries;
    if (n > n_max)
        return err_set(e, ERR_INVALID_ARGUMENT, "%s: %zu entries; at most %zu are allowed", field, n, n_max);
    for (size_t i = 0; i < n; i++) {
        if (!*pairs[i]->key || strlen(pairs[i]->key) > bytes_max)
            return err_set(e, ERR_INVALID_ARGUMENT, "%s: key \"%.64s\": 1 to %zu bytes are allowed", field, pairs[i]->key, bytes_max);
        if (strlen(pairs[i]->value) > bytes_max)
            return err_set(e, ERR_INVALID_ARGUMENT, "%s[\"%.64s\"]: at most %zu bytes are allowed", field, pairs[i]->key, bytes_max);
    }
    return 0;
}

static int check_duration(const char *field, const Google__Protobuf__Duration *d, int64_t min_ns, int64_t max_ns, struct err *e)
{
    if (!d)
        return 0;
    int64_t ns = pb_duration_ns(d);
    if (d->nanos < 0 || d->nanos > 999999999 || ns < min_ns || ns > max_ns)
        return err_set(e, ERR_INVALID_ARGUMENT, "%s: %llds is out of range; %llds to %llds are allowed", field, (long long)d->seconds,
                       (long long)(min_ns / NS_PER_S), (long long)(max_ns / NS_PER_S));
    return 0;
}

/* ---- topics ---- */

int check_topic(const PbTopic *t, struct err *e)
{
    static const char *const refused[] = {"message_storage_policy", "kms_key_name", "schema_settings", "ingestion_data_source_settings",
                                          "message_transforms"};
    if (check_name(t->name, "topics", "name", e))
        return -ERR_INVALID_ARGUMENT;
    int rc = refuse_fields(&t->base, refused, ARRAY_LEN(refused), e);
    rc = rc ? rc : check_pairs("labels", t->labels, t->n_labels, LABELS_MAX, LABEL_MAX, e);
    rc = rc ? rc : check_pairs("tags", t->tags, t->n_tags, TAGS_MAX, TAG_MAX, e);
    return rc ? rc : check_duration("message_retention_duration", t->message_retention_duration, RETENTION_MIN_NS, RETENTION_MAX_NS, e);
}

/* ---- subscriptions ---- */

static int check_push(struct broker *b, const Google__Pubsub__V1__PushConfig *p, struct err *e)
{
    if (!p)
        return 0;
    if (!*p->push_endpoint) {
        if (p->authentication_method_case || p->wrapper_case)
            return err_set(e, ERR_INVALID_ARGUMENT, "push_config: oidc_token and wrappers need a push_endpoint");
        return 0;
    }
    if (b->endpoint && b->endpoint(b->endpoint_arg, p->push_endpoint, e))
        return err_wrap(e, "push_config.push_endpoint");
    if (p->authentication_method_case == GOOGLE__PUBSUB__V1__PUSH_CONFIG__AUTHENTICATION_METHOD_OIDC_TOKEN &&
        !*p->oidc_token->service_account_email)
        return err_set(e, ERR_INVALID_ARGUMENT, "push_config.oidc_token.service_account_email: must be given");
    for (size_t i = 0; i < p->n_attributes; i++) {
        const char *key = p->attributes[i]->key, *value = p->attributes[i]->value;
        if (strcmp(key, "x-goog-version") != 0)
            return err_set(e, ERR_INVALID_ARGUMENT, "push_config.attributes: \"%.64s\" is not known; only x-goog-version is", key);
        if (strcmp(value, "v1") != 0 && strcmp(value, "v1beta2") != 0)
            return err_set(e, strcmp(value, "v1beta1") == 0 ? ERR_UNIMPLEMENTED : ERR_INVALID_ARGUMENT,
                           "push_config.attributes[\"x-goog-version\"]: \"%.64s\"; v1 and v1beta2 are supported", value);
    }
    return 0;
}

static int check_retry(const Google__Pubsub__V1__RetryPolicy *r, struct err *e)
{
    if (!r)
        return 0;
    if (check_duration("retry_policy.minimum_backoff", r->minimum_backoff, 0, BACKOFF_MAX_NS, e) ||
        check_duration("retry_policy.maximum_backoff", r->maximum_backoff, 0, BACKOFF_MAX_NS, e))
        return -ERR_INVALID_ARGUMENT;
    int64_t min = r->minimum_backoff ? pb_duration_ns(r->minimum_backoff) : RETRY_MIN_DEFAULT_NS;
    int64_t max = r->maximum_backoff ? pb_duration_ns(r->maximum_backoff) : RETRY_MAX_DEFAULT_NS;
    if (min > max)
        return err_set(e, ERR_INVALID_ARGUMENT, "retry_policy: minimum_backoff (%llds) is longer than maximum_backoff (%llds)",
                       (long long)(min / NS_PER_S), (long long)(max / NS_PER_S));
    return 0;
}

/* Did the subscription name this dead-letter topic before? Then it may be gone by now: other changes are still welcome. */
static bool dead_letter_kept(struct broker *b, const char *subscription, const char *topic)
{
    const struct sub *sub = map_get(b->subs, subscription);
    const PbSubscription *config = sub ? subscription_config(sub->s) : NULL;
    return config && config->dead_letter_policy && strcmp(config->dead_letter_policy->dead_letter_topic, topic) == 0;
}

static int check_dead_letter(struct broker *b, const char *subscription, const Google__Pubsub__V1__DeadLetterPolicy *d, struct err *e)
{
    if (!d || (!*d->dead_letter_topic && !d->max_delivery_attempts))
        return 0;
    if (check_name(d->dead_letter_topic, "topics", "dead_letter_policy.dead_letter_topic", e))
        return -ERR_INVALID_ARGUMENT;
    if (d->max_delivery_attempts && (d->max_delivery_attempts < ATTEMPTS_MIN || d->max_delivery_attempts > ATTEMPTS_MAX))
        return err_set(e, ERR_INVALID_ARGUMENT, "dead_letter_policy.max_delivery_attempts: %d; %d to %d are allowed, 0 means %d",
                       d->max_delivery_attempts, ATTEMPTS_MIN, ATTEMPTS_MAX, DEAD_LETTER_ATTEMPTS_DEFAULT);
    if (!map_get(b->topics, d->dead_letter_topic) && !dead_letter_kept(b, subscription, d->dead_letter_topic))
        return err_set(e, ERR_NOT_FOUND, "Dead letter topic not found (resource=%.200s)", d->dead_letter_topic);
    return 0;
}

static int check_filter(const char *text, struct err *e)
{
    if (!*text)
        return 0;
    struct filter *f = filter_parse(text, e);
    filter_free(f);
    return f ? 0 : -(int)e->code;
}

/* Answers show the values that hold, so they are written into the record once. */
static int fill_defaults(struct arena *a, PbSubscription *s, struct err *e)
{
    if (!s->ack_deadline_seconds)
        s->ack_deadline_seconds = ACK_DEADLINE_DEFAULT_S;
    if (!s->message_retention_duration)
        s->message_retention_duration = (Google__Protobuf__Duration *)(void *)pb_duration(a, RETENTION_DEFAULT_NS);
    if (!s->push_config)
        s->push_config = pb_new(a, &google__pubsub__v1__push_config__descriptor);
    if (!s->expiration_policy) {
        s->expiration_policy = pb_new(a, &google__pubsub__v1__expiration_policy__descriptor);
        if (s->expiration_policy)
            s->expiration_policy->ttl = (Google__Protobuf__Duration *)(void *)pb_duration(a, BROKER_EXPIRATION_DEFAULT_NS);
    }
    if (s->dead_letter_policy && *s->dead_letter_policy->dead_letter_topic && !s->dead_letter_policy->max_delivery_attempts)
        s->dead_letter_policy->max_delivery_attempts = DEAD_LETTER_ATTEMPTS_DEFAULT;
    if (s->retry_policy && !s->retry_policy->minimum_backoff)
        s->retry_policy->minimum_backoff = (Google__Protobuf__Duration *)(void *)pb_duration(a, RETRY_MIN_DEFAULT_NS);
    if (s->retry_policy && !s->retry_policy->maximum_backoff)
        s->retry_policy->maximum_backoff = (Google__Protobuf__Duration *)(void *)pb_duration(a, RETRY_MAX_DEFAULT_NS);
    s->state = GOOGLE__PUBSUB__V1__SUBSCRIPTION__STATE__ACTIVE;
    s->analytics_hub_subscription_info = NULL; /* output only */
    s->topic_message_retention_duration = NULL;
    if (!s->message_retention_duration || !s->push_config || !s->expiration_policy)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "subscription: out of memory");
    return 0;
}

static int check_settings(const PbSubscription *s, struct err *e)
{
    static const char *const refused[] = {"bigquery_config", "cloud_storage_config", "bigtable_config", "enable_exactly_once_delivery",
                                          "message_transforms"};
    int rc = refuse_fields(&s->base, refused, ARRAY_LEN(refused), e);
    if (rc)
        return rc;
    if (s->ack_deadline_seconds && (s->ack_deadline_seconds < ACK_DEADLINE_MIN_S || s->ack_deadline_seconds > ACK_DEADLINE_MAX_S))
        return err_set(e, ERR_INVALID_ARGUMENT, "ack_deadline_seconds: %d; %d to %d are allowed, 0 means %d", s->ack_deadline_seconds,
                       ACK_DEADLINE_MIN_S, ACK_DEADLINE_MAX_S, ACK_DEADLINE_DEFAULT_S);
    rc = check_duration("message_retention_duration", s->message_retention_duration, RETENTION_MIN_NS, RETENTION_MAX_NS, e);
    if (!rc && s->expiration_policy)
        rc = check_duration("expiration_policy.ttl", s->expiration_policy->ttl, TTL_MIN_NS, INT64_MAX, e);
    rc = rc ? rc : check_pairs("labels", s->labels, s->n_labels, LABELS_MAX, LABEL_MAX, e);
    rc = rc ? rc : check_pairs("tags", s->tags, s->n_tags, TAGS_MAX, TAG_MAX, e);
    rc = rc ? rc : check_retry(s->retry_policy, e);
    return rc ? rc : check_filter(s->filter, e);
}

/* Those who use it count on what fill_defaults filled in. */
int check_stored(const PbSubscription *s, struct err *e)
{
    if (!s->push_config || !s->message_retention_duration || !s->expiration_policy)
        return err_set(e, ERR_DATA_LOSS, "push_config, message_retention_duration or expiration_policy is missing");
    return check_settings(s, e);
}

int check_subscription(struct broker *b, struct arena *a, PbSubscription *s, struct err *e)
{
    int rc = check_name(s->name, "subscriptions", "name", e);
    rc = rc ? rc : check_settings(s, e);
    rc = rc ? rc : check_push(b, s->push_config, e);
    rc = rc ? rc : check_dead_letter(b, s->name, s->dead_letter_policy, e);
    return rc ? rc : fill_defaults(a, s, e);
}

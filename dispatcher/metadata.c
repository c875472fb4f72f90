/* metadata.c: the metadata server as a table of paths, and the token endpoint. */
#include "dispatcher/metadata.h"

#include "core/base/text.h"
#include "dispatcher/key_set.h"
#include "dispatcher/token.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define PREFIX "/computeMetadata/v1"
#define ACCOUNT_PATH "/instance/service-accounts/"
#define ACCESS_TOKEN_BYTES 32
#define ACCESS_TOKEN_LEN 64
#define GRANT_JWT "urn:ietf:params:oauth:grant-type:jwt-bearer"
#define FORM_VALUE_MAX TOKEN_BYTES_MAX
#define TOKEN_TEXT "text/html" /* as Google's server says for an identity token */
#define TEXT "application/text"
#define JSON "application/json"

struct metadata {
    struct metadata_config c;
};

static void reply(struct web_call *w, int status, const char *type)
{
    w->extra_name = "Metadata-Flavor";
    w->extra_value = "Google";
    web_reply(w, status, type);
}

static void reply_text(struct web_call *w, int status, const char *text) { reply(w, buf_addz(&w->answer, text) ? 500 : status, TEXT); }

/* ---- query and form ---- */

/* The decoded value of `name`, in the arena; NULL when absent. */
static char *param(struct web_call *w, struct str from, const char *name)
{
    struct str key, value;
    for (size_t it = 0; query_next(from, &it, &key, &value);) {
        if (!str_is(key, name) || value.n > FORM_VALUE_MAX)
            continue;
        char *copy = arena_dup(w->arena, value);
        int n = copy ? percent_decode(copy, value.n, true) : -1;
        if (n < 0 || memchr(copy, '\0', (size_t)n))
            return NULL;
        copy[n] = '\0';
        return copy;
    }
    return NULL;
}

/* ---- answers ---- */

static uint64_t number_of(const char *text, uint64_t seed)
{
    return 100000000000 + hash_bytes(text, strlen(text), seed) % 900000000000; /* twelve digits, as project numbers have */
}

/* An access token is a random name: the admin API accepts anything when it is open, and its own tokens otherwise. */
static int add_access_token(struct buf *b, const char *more)
{
    uint8_t random[ACCESS_TOKEN_BYTES];
    char hex[ACCESS_TOKEN_LEN + 1];
    if (rsa_random(random, sizeof random, NULL))
        return -ERR_INTERNAL;
    for (size_t i = 0; i < sizeof random; i++)
        snprintf(hex + 2 * i, 3, "%02x", random[i]);
    return buf_addf(b, "{\"access_token\":\"ya29.runnel.%s\",\"expires_in\":%d,\"token_type\":\"Bearer\"%s}", hex,
                    (int)(TOKEN_LIFE_NS / NS_PER_S), more);
}

static void on_access_token(struct metadata *m, struct web_call *w) { reply(w, add_access_token(&w->answer, "") ? 500 : 200, JSON); }

static void on_identity_token(void *arg, const char *token, const struct err *e)
{
    struct web_call *w = arg;
    if (token)
        reply(w, buf_addz(&w->answer, token) ? 500 : 200, TOKEN_TEXT);
    else
        reply_text(w, err_http(e->code), e->msg);
}

static void on_identity(struct metadata *m, struct web_call *w)
{
    const char *audience = param(w, str_of(w->query), "audience");
    const char *format = param(w, str_of(w->query), "format");
    if (!audience || !*audience)
        reply_text(w, 400, "non-empty audience parameter required");
    else if (format && strcmp(format, "full") != 0 && strcmp(format, "standard") != 0)
        reply_text(w, 400, "format is one of standard, full");
    else
        identity_source(m->c.identity)
            ->get(identity_source(m->c.identity), TOKEN_IDENTITY, identity_default_account(m->c.identity), audience, on_identity_token, w);
}

static void on_email(struct metadata *m, struct web_call *w) { reply_text(w, 200, identity_default_account(m->c.identity)); }
static void on_scopes(struct metadata *m, struct web_call *w) { reply_text(w, 200, SCOPE_CLOUD_PLATFORM "\n"); }
static void on_aliases(struct metadata *m, struct web_call *w) { reply_text(w, 200, "default\n"); }
static void on_project(struct metadata *m, struct web_call *w) { reply_text(w, 200, m->c.project); }
static void on_universe(struct metadata *m, struct web_call *w) { reply_text(w, 200, "googleapis.com"); }
static void on_instance(struct metadata *m, struct web_call *w) { reply_text(w, 200, "id\nregion\nservice-accounts/\nzone\n"); }
static void on_root(struct metadata *m, struct web_call *w) { reply_text(w, 200, "instance/\nproject/\nuniverse/\n"); }

static void reply_format(struct web_call *w, int rc) { reply(w, rc ? 500 : 200, TEXT); }

static void on_number(struct metadata *m, struct web_call *w)
{
    reply_format(w, buf_addf(&w->answer, "%" PRIu64, number_of(m->c.project, 1)));
}

static void on_region(struct metadata *m, struct web_call *w)
{
    reply_format(w, buf_addf(&w->answer, "projects/%" PRIu64 "/regions/%s", number_of(m->c.project, 1), m->c.region));
}

static void on_zone(struct metadata *m, struct web_call *w)
{
    reply_format(w, buf_addf(&w->answer, "projects/%" PRIu64 "/zones/%s-1", number_of(m->c.project, 1), m->c.region));
}

static void on_id(struct metadata *m, struct web_call *w) { reply_format(w, buf_addf(&w->answer, "%" PRIu64, number_of(m->c.project, 2))); }

static int account_json(struct metadata *m, struct buf *b)
{
    const char *email = identity_default_account(m->c.identity);
    int rc = buf_addz(b, "{\"aliases\":[\"default\"],\"email\":");
    rc = rc ? rc : json_string_add(b, str_of(email));
    return rc ? rc : buf_addz(b, ",\"scopes\":[\"" SCOPE_CLOUD_PLATFORM "\"]}");
}

static bool recursive(struct web_call *w)
{
    const char *r = param(w, str_of(w->query), "recursive");
    return r && strcmp(r, "true") == 0;
}

static void on_account(struct metadata *m, struct web_call *w)
{
    if (recursive(w))
        reply(w, account_json(m, &w->answer) ? 500 : 200, JSON);
    else
        reply_text(w, 200, "aliases\nemail\nidentity\nscopes\ntoken\n");
}

static void on_accounts(struct metadata *m, struct web_call *w)
{
    struct buf *b = &w->answer;
    const char *email = identity_default_account(m->c.identity);
    if (!recursive(w)) {
        reply_format(w, buf_addf(b, "default/\n%s/\n", email));
        return;
    }
    int rc = buf_addz(b, "{\"default\":");
    rc = rc ? rc : account_json(m, b);
    rc = rc ? rc : buf_addz(b, ",");
    rc = rc ? rc : json_string_add(b, str_of(email));
    rc = rc ? rc : buf_addz(b, ":");
    rc = rc ? rc : account_json(m, b);
    reply(w, rc || buf_addz(b, "}") ? 500 : 200, JSON);
}

static const struct {
    const char *path; /* after the prefix; an account's paths after its name */
    void (*answer)(struct metadata *m, struct web_call *w);
} pages[] =
    {
        {"", on_root},
        {"/instance", on_instance},
        {"/instance/id", on_id},
        {"/instance/region", on_region},
        {"/instance/zone", on_zone},
        {"/instance/service-accounts", on_accounts},
        {"/project/project-id", on_project},
        {"/project/numeric-project-id", on_number},
        {"/universe/universe-domain", on_universe},
},
  account_pages[] = {
      {"", on_account},           {"/aliases", on_aliases}, {"/email", on_email},
      {"/identity", on_identity}, {"/scopes", on_scopes},   {"/token", on_access_token},
};

/* "default" and the account's email are the same; nobody else lives here. */
static struct str account_rest(const struct metadata *m, struct str path)
{
    const char *const names[] = {"default", identity_default_account(m->c.identity)};
    static const size_t skip = sizeof ACCOUNT_PATH - 1;
    if (path.n <= skip || memcmp(path.p, ACCOUNT_PATH, skip) != 0)
        return (struct str){0};
    path = (struct str){path.p + skip, path.n - skip};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        size_t n = strlen(names[i]);
        if (path.n >= n && memcmp(path.p, names[i], n) == 0 && (path.n == n || path.p[n] == '/'))
            return (struct str){path.p + n, path.n - n};
    }
    return (struct str){0};
}

static void answer_page(struct metadata *m, struct web_call *w)
{
    struct str path = str_of(w->path + sizeof PREFIX - 1);
    while (path.n && path.p[path.n - 1] == '/')
        path.n--;
    struct str rest = account_rest(m, path);
    for (size_t i = 0; rest.p && i < ARRAY_LEN(account_pages); i++)
        if (str_is(rest, account_pages[i].path)) {
            account_pages[i].answer(m, w);
            return;
        }
    for (size_t i = 0; i < ARRAY_LEN(pages); i++)
        if (str_is(path, pages[i].path)) {
            pages[i].answer(m, w);
            return;
        }
    reply_text(w, 404, "not found\n");
}

static void on_metadata(void *arg, struct web_call *w)
{
    if (!w->caller.local)
        reply_text(w, 403, "the metadata server is for programs on this machine\n");
    else if (!str_ieq(w->metadata_flavor, STR("Google")))
        reply_text(w, 403, "missing the request header Metadata-Flavor: Google\n");
    else
        answer_page(arg, w);
}

/* Libraries ask here whether this is a metadata server at all. */
static void on_ping(void *arg, struct web_call *w) { reply_text(w, 200, "Ok\n"); }

/* ---- the token endpoint ---- */

static void token_error(struct web_call *w, int status, const char *code, const char *text)
{
    int rc = buf_addf(&w->answer, "{\"error\":\"%s\",\"error_description\":", code);
    rc = rc ? rc : json_string_add(&w->answer, str_of(text));
    web_reply(w, rc || buf_addz(&w->answer, "}\n") ? 500 : status, JSON);
}

static void on_assertion_token(void *arg, const char *token, const struct err *e)
{
    struct web_call *w = arg;
    if (!token)
        token_error(w, err_http(e->code), "temporarily_unavailable", e->msg);
    else
        web_reply(w, buf_addf(&w->answer, "{\"id_token\":\"%s\"}", token) ? 500 : 200, JSON);
}

static void on_token(void *arg, struct web_call *w)
{
    struct metadata *m = arg;
    struct err e = {0};
    struct token_parts t;
    const char *grant = param(w, w->body, "grant_type"), *assertion = param(w, w->body, "assertion");
    w->extra_name = "Cache-Control";
    w->extra_value = "no-store";
    if (!m->c.policy || policy_authorize(m->c.policy, &w->caller, &e))
        token_error(w, 401, "invalid_client", m->c.policy ? e.msg : "this server gives no tokens here");
    else if (!grant || strcmp(grant, GRANT_JWT) != 0)
        token_error(w, 400, "unsupported_grant_type", "grant_type must be " GRANT_JWT);
    else if (!assertion || token_split(w->arena, str_of(assertion), &t, &e))
        token_error(w, 400, "invalid_grant", assertion ? e.msg : "assertion is missing");
    else if (!strchr(t.claims->iss, '@'))
        token_error(w, 400, "invalid_grant", "the assertion's iss is not a service account's email");
    else if (*t.claims->target_audience)
        identity_source(m->c.identity)
            ->get(identity_source(m->c.identity), TOKEN_IDENTITY, t.claims->iss, t.claims->target_audience, on_assertion_token, w);
    else
        web_reply(w, add_access_token(&w->answer, "") ? 500 : 200, JSON);
}

int metadata_routes(const struct metadata_config *c, struct web *w, struct err *e)
{
    struct metadata *m = malloc(sizeof *m);
    if (!m)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the metadata server");
    m->c = *c;
    identity_keep(c->identity, m);
    const struct web_route routes[] = {
        {VERB_GET, "/", on_ping, m},
        {VERB_GET, PREFIX, on_metadata, m},
        {VERB_GET, PREFIX "/*", on_metadata, m},
        {VERB_POST, "/token", on_token, m},
    };
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        int rc = web_add(w, &routes[i], e);
        if (rc)
            return rc;
    }
    return 0;
}

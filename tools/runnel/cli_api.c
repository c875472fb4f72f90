/* cli_api.c: requests to the server and what becomes of their answers. */
#include "tools/runnel/cli_api.h"
#include "core/base/text.h"
#include "core/http/fetch.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define POLL_START_MS 100
#define POLL_MAX_MS 1000
#define NO_ANSWER 1 /* err.sys of an error that did not come from the server */

/* ---- names ---- */

const char *api_pubsub_name(struct cli *c, const char *collection, const char *given)
{
    const char *prefix = cli_printf(c, "/%s/", collection);
    if (strncmp(given, "projects/", 9) == 0 && strstr(given, prefix))
        return given;
    if (strchr(given, '/')) {
        cli_usage_error(c, "'%s' is neither a short name nor projects/PROJECT/%s/NAME", given, collection);
        return NULL;
    }
    return cli_printf(c, "projects/%s/%s/%s", c->project, collection, given);
}

const char *api_location(struct cli *c) { return cli_printf(c, "projects/%s/locations/%s", c->project, c->region); }

const char *api_service_name(struct cli *c, const char *given)
{
    if (strncmp(given, "projects/", 9) == 0 && strstr(given, "/services/"))
        return given;
    if (strchr(given, '/')) {
        cli_usage_error(c, "'%s' is neither a short name nor projects/PROJECT/locations/REGION/services/NAME", given);
        return NULL;
    }
    return cli_printf(c, "%s/services/%s", api_location(c), given);
}

const char *api_path(struct cli *c, const char *version, const char *name, const char *suffix)
{
    struct buf b;
    buf_init(&b, CLI_MEMORY_MAX);
    bool ok = buf_addf(&b, "/%s/", version) == 0;
    for (const char *p = name; ok && *p;) {
        const size_t n = strcspn(p, "/");
        ok = percent_add(&b, (struct str){p, n}) == 0 && buf_addz(&b, p[n] ? "/" : "") == 0;
        p += n + (p[n] ? 1 : 0);
    }
    ok = ok && buf_addz(&b, suffix) == 0;
    const char *path = ok ? cli_copy(c, buf_str(&b)) : "";
    buf_fini(&b);
    return path;
}

/* ---- requests ---- */

static enum err_code code_named(const char *name, int http_status)
{
    static const struct {
        const char *name;
        enum err_code code;
    } codes[] = {
#define CODE_ROW(n, code, http, retry) {#n, ERR_##n},
        ERR_MAP(CODE_ROW)
#undef CODE_ROW
    };
    for (size_t i = 0; i < ARRAY_LEN(codes); i++)
        if (strcmp(codes[i].name, name) == 0)
            return codes[i].code;
    return err_from_http(http_status);
}

static int error_of_answer(const struct jv *answer, int status, struct str raw, struct err *e)
{
    const char *message = jv_text(answer, "error.message");
    if (*message)
        return err_set(e, code_named(jv_text(answer, "error.status"), status), "%s", message);
    return err_set(e, err_from_http(status), "the server answered HTTP %d: %.*s", status, (int)(raw.n < 120 ? raw.n : 120),
                   raw.n ? raw.p : "");
}

static int read_answer(struct cli *c, const struct fetch *f, struct jv **out, struct err *e)
{
    const struct str text = {cli_copy(c, buf_str(&f->answer)), buf_len(&f->answer)};
    struct jv *answer = NULL;
    const bool json = text.n == 0 || jv_parse(text, &answer, NULL) == 0;
    if (c->verbosity >= CLI_DEBUG)
        fprintf(stderr, "<- %d %.2000s\n", f->status, text.p);
    if (f->status < 200 || f->status > 299)
        return error_of_answer(answer, f->status, text, e);
    if (!json)
        return err_set(e, ERR_INTERNAL, "the answer is not JSON: is %s really a Runnel server?", c->url);
    *out = answer ? answer : jv_object();
    return 0;
}

int api_call(struct cli *c, const char *method, const char *path, const struct jv *body, struct jv **out, struct err *e)
{
    size_t n = strlen(c->url);
    while (n && c->url[n - 1] == '/')
        n--;
    const char *scheme = strstr(c->url, "://") ? "" : "http://";
    struct fetch f = {
        .method = method, .url = cli_printf(c, "%s%.*s%s", scheme, (int)n, c->url, path), .bearer = c->token, .timeout_ms = API_TIMEOUT_MS};
    if (body) {
        f.body = str_of(jv_write(body, false));
        f.content_type = "application/json";
    }
    if (c->verbosity >= CLI_DEBUG)
        fprintf(stderr, "-> %s %s %.2000s\n", method, f.url, body ? f.body.p : "");
    struct err inner = {0};
    int rc = fetch_run(&f, &inner);
    if (rc) {
        err_set(e, inner.code, "%s", inner.msg);
        if (e)
            e->sys = inner.sys ? inner.sys : NO_ANSWER;
    } else {
        rc = read_answer(c, &f, out, e);
    }
    buf_fini(&f.answer);
    return rc;
}

int api_list_some(struct cli *c, const char *path, const char *field, size_t limit, bool (*keep)(struct cli *c, const struct jv *item),
                  struct jv **array, struct err *e)
{
    *array = jv_array();
    const char *token = "", *first = strchr(path, '?') ? "&" : "?";
    size_t left = limit;
    for (int page = 0; page < API_PAGES_MAX; page++) {
        struct jv *answer = NULL;
        const char *at = *token ? cli_printf(c, "%s%spageToken=%s", path, first, token) : path;
        const int rc = api_call(c, "GET", at, NULL, &answer, e);
        if (rc)
            return rc;
        for (const struct jv *i = jv_first(jv_at(answer, field)); i && left; i = jv_next(i)) {
            if (keep && !keep(c, i))
                continue;
            jv_add(*array, jv_copy(i));
            left--;
        }
        token = jv_text(answer, "nextPageToken");
        if (!*token || !left)
            return 0;
    }
    return err_set(e, ERR_INTERNAL, "the list does not end after %d pages", API_PAGES_MAX);
}

int api_list(struct cli *c, const char *path, const char *field, struct jv **array, struct err *e)
{
    return api_list_some(c, path, field, SIZE_MAX, NULL, array, e);
}

/* ---- waiting ---- */

bool api_pause(int64_t ms)
{
    const struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    return nanosleep(&t, NULL) == 0;
}

/* A line on stderr while something is waited for; nothing at all when stderr is no terminal. */
struct progress {
    bool terminal;
    unsigned turn;
};

static void progress_show(struct progress *p, const struct cli *c, const char *text)
{
    static const char turns[] = "|/-\\";
    if (p->turn == 0)
        p->terminal = isatty(STDERR_FILENO) && c->verbosity >= CLI_INFO && c->verbosity < CLI_DEBUG;
    if (p->terminal)
        fprintf(stderr, "\r\033[K%c %s", turns[p->turn % 4], text);
    p->turn++;
}

static void progress_end(struct progress *p)
{
    if (p->terminal)
        fputs("\r\033[K", stderr);
    *p = (struct progress){0};
}

static int result_of(const struct jv *operation, struct jv **out, struct err *e)
{
    if (jv_at(operation, "error")) {
        const int64_t code = jv_int(operation, "error.code");
        return err_set(e, code > 0 && code <= 16 ? (enum err_code)code : ERR_UNKNOWN, "%s", jv_text(operation, "error.message"));
    }
    *out = jv_at(operation, "response");
    if (!*out)
        *out = jv_object();
    jv_drop(*out, "@type");
    return 0;
}

int api_wait(struct cli *c, const char *what, const struct jv *operation, struct jv **out, struct err *e)
{
    struct progress progress = {0};
    struct jv *now = jv_copy(operation);
    const char *path = api_path(c, "v2", jv_text(operation, "name"), "");
    int rc = 0;
    for (int64_t pause_ms = POLL_START_MS; rc == 0 && !jv_true(now, "done"); pause_ms += pause_ms < POLL_MAX_MS ? pause_ms / 3 : 0) {
        const char *state = jv_text(now, "metadata.terminalCondition.message");
        progress_show(&progress, c, *state ? cli_printf(c, "%s... %s", what, state) : cli_printf(c, "%s...", what));
        (void)api_pause(pause_ms); /* a signal only makes it look sooner */
        rc = api_call(c, "GET", path, NULL, &now, e);
    }
    progress_end(&progress);
    return rc ? rc : result_of(now, out, e);
}

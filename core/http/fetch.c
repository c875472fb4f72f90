/* fetch.c: one blocking request through libcurl's easy interface. */
#include "core/http/fetch.h"

#include "core/http/curl.h"

#include <stdio.h>

#define FETCH_ANSWER_MAX ((size_t)256 * 1024 * 1024)

static size_t on_answer(char *data, size_t size, size_t n, void *arg) { return buf_add(arg, data, size * n) == 0 ? size * n : 0; }

static bool list_addf(const struct curl *curl, struct curl_slist **list, const char *name, const char *value)
{
    struct buf line;
    buf_init(&line, 64 * 1024);
    const char *text = buf_addf(&line, "%s: %s", name, value) == 0 ? buf_cstr(&line) : NULL;
    struct curl_slist *more = text ? curl->slist_append(*list, text) : NULL;
    buf_fini(&line);
    if (more)
        *list = more;
    return more != NULL;
}

static bool configure(const struct curl *curl, CURL *h, struct fetch *f, struct curl_slist *fields, char *why)
{
    const char *ca = http_curl_ca_file();
    bool ok = curl->easy_setopt(h, CURLOPT_URL, f->url) == CURLE_OK;
    ok &= curl->easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK;
    ok &= curl->easy_setopt(h, CURLOPT_CUSTOMREQUEST, f->method) == CURLE_OK;
    ok &= curl->easy_setopt(h, CURLOPT_HTTPHEADER, fields) == CURLE_OK;
    ok &= curl->easy_setopt(h, CURLOPT_ERRORBUFFER, why) == CURLE_OK;
    ok &= curl->easy_setopt(h, CURLOPT_NOSIGNAL, 1L) == CURLE_OK;
    ok &= curl->easy_setopt(h, CURLOPT_TIMEOUT_MS, (long)f->timeout_ms) == CURLE_OK;
    ok &= curl->easy_setopt(h, CURLOPT_USERAGENT, "runnel/" RUNNEL_VERSION) == CURLE_OK;
    ok &= curl->easy_setopt(h, CURLOPT_WRITEFUNCTION, on_answer) == CURLE_OK;
    ok &= curl->easy_setopt(h, CURLOPT_WRITEDATA, &f->answer) == CURLE_OK;
    if (strcmp(f->method, "HEAD") == 0)
        ok &= curl->easy_setopt(h, CURLOPT_NOBODY, 1L) == CURLE_OK;
    if (f->body.n || strcmp(f->method, "POST") == 0) {
        ok &= curl->easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)f->body.n) == CURLE_OK;
        ok &= curl->easy_setopt(h, CURLOPT_POSTFIELDS, f->body.n ? f->body.p : "") == CURLE_OK;
    }
    if (ca)
        ok &= curl->easy_setopt(h, CURLOPT_CAINFO, ca) == CURLE_OK;
    return ok;
}

static int perform(const struct curl *curl, CURL *h, struct fetch *f, const char *why, struct err *e)
{
    CURLcode rc = curl->easy_perform(h);
    if (rc != CURLE_OK) {
        enum err_code code = rc == CURLE_OPERATION_TIMEDOUT ? ERR_DEADLINE_EXCEEDED : ERR_UNAVAILABLE;
        if (rc == CURLE_URL_MALFORMAT || rc == CURLE_UNSUPPORTED_PROTOCOL)
            code = ERR_INVALID_ARGUMENT;
        err_set(e, code, "no answer from %s: %s", f->url, why[0] ? why : curl->easy_strerror(rc));
        if (e)
            e->sys = (int)rc;
        return -(int)code;
    }
    long status = 0;
    curl->easy_getinfo(h, CURLINFO_RESPONSE_CODE, &status);
    f->status = (int)status;
    return 0;
}

int fetch_run(struct fetch *f, struct err *e)
{
    char why[CURL_ERROR_SIZE] = "";
    char bearer[8 * 1024];
    f->status = 0;
    buf_init(&f->answer, FETCH_ANSWER_MAX);
    const struct curl *curl = http_curl(e);
    int rc = 0;
    if (!curl)
        return -ERR_UNAVAILABLE;
    /* Without "Expect:" curl would wait for a 100 before larger bodies. */
    struct curl_slist *fields = curl->slist_append(NULL, "Expect:");
    bool ok = fields != NULL && (!f->content_type || list_addf(curl, &fields, "Content-Type", f->content_type));
    int n = f->bearer ? snprintf(bearer, sizeof bearer, "Bearer %s", f->bearer) : 0;
    ok = ok && n >= 0 && (size_t)n < sizeof bearer && (!f->bearer || list_addf(curl, &fields, "Authorization", bearer));
    CURL *h = ok ? curl->easy_init() : NULL;
    if (h && configure(curl, h, f, fields, why))
        rc = perform(curl, h, f, why, e);
    else
        rc = err_set(e, ERR_RESOURCE_EXHAUSTED, "the request to %s cannot be put together: out of memory or too long a token", f->url);
    if (h)
        curl->easy_cleanup(h);
    curl->slist_free_all(fields);
    if (rc)
        buf_fini(&f->answer);
    return rc;
}

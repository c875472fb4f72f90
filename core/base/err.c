/** err.c: filling and wrapping the error type, and its tables. */
#include "core/base/err.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define ERR_TEXT_MAX sizeof(((struct err *)0)->msg)

/* A cut message must not end inside a UTF-8 sequence: it travels in JSON. */
static void trim_partial_utf8(char *s)
{
    size_t n = strlen(s);
    size_t tail = 0;
    assert(n > 3); /* only full texts are cut */
    while (tail < 3 && ((unsigned char)s[n - 1 - tail] & 0xC0) == 0x80)
        tail++;
    unsigned char lead = (unsigned char)s[n - 1 - tail];
    size_t want = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : lead >= 0xC0 ? 1 : 0;
    if (want > tail)
        s[n - 1 - tail] = '\0';
}

static void text_add(char *out, const char *more)
{
    size_t n = strlen(out);
    int need = snprintf(out + n, ERR_TEXT_MAX - n, "%s", more);
    if (need < 0 || (size_t)need >= ERR_TEXT_MAX - n)
        trim_partial_utf8(out);
}

FMT(2, 0) static void text_format(char *out, const char *fmt, va_list ap)
{
    int need = vsnprintf(out, ERR_TEXT_MAX, fmt, ap);
    if (need < 0)
        out[0] = '\0';
    else if ((size_t)need >= ERR_TEXT_MAX)
        trim_partial_utf8(out);
}

int(err_set)(struct err *e, enum err_code code, const char *fmt, ...)
{
    if (e) {
        /* Through a copy, because an argument may be the old message. */
        char text[ERR_TEXT_MAX];
        va_list ap;
        va_start(ap, fmt);
        text_format(text, fmt, ap);
        va_end(ap);
        e->code = code;
        e->sys = 0;
        memcpy(e->msg, text, sizeof text);
    }
    return -(int)code;
}

int(err_sys)(struct err *e, enum err_code code, int sys, const char *fmt, ...)
{
    if (e) {
        char text[ERR_TEXT_MAX];
        char why[128];
        va_list ap;
        va_start(ap, fmt);
        text_format(text, fmt, ap);
        va_end(ap);
        text_add(text, ": ");
        text_add(text, strerror_r(sys, why, sizeof why)); /* the GNU one: it returns the text */
        e->code = code;
        e->sys = sys;
        memcpy(e->msg, text, sizeof text);
    }
    return -(int)code;
}

int(err_wrap)(struct err *e, const char *fmt, ...)
{
    if (!e)
        return -ERR_UNKNOWN;
    char text[ERR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    text_format(text, fmt, ap);
    va_end(ap);
    text_add(text, ": ");
    text_add(text, e->msg);
    memcpy(e->msg, text, sizeof text);
    return -(int)e->code;
}

static const struct {
    const char *name;
    int http;
    enum err_retry retry;
} codes[] = {
#define ERR_ROW(name, code, http, retry) [code] = {#name, http, retry},
    ERR_MAP(ERR_ROW)
#undef ERR_ROW
};

static size_t row_of(enum err_code code) { return (size_t)code < ARRAY_LEN(codes) ? (size_t)code : (size_t)ERR_UNKNOWN; }

const char *err_name(enum err_code code) { return codes[row_of(code)].name; }
int err_http(enum err_code code) { return codes[row_of(code)].http; }
enum err_retry err_retry(enum err_code code) { return codes[row_of(code)].retry; }

enum err_code err_from_http(int status)
{
    if (status >= 200 && status <= 299)
        return ERR_OK;
    switch (status) {
    case 400:
        return ERR_INVALID_ARGUMENT;
    case 401:
        return ERR_UNAUTHENTICATED;
    case 403:
        return ERR_PERMISSION_DENIED;
    case 404:
        return ERR_NOT_FOUND;
    case 409:
        return ERR_ALREADY_EXISTS;
    case 429:
        return ERR_RESOURCE_EXHAUSTED;
    case 499:
        return ERR_CANCELLED;
    case 500:
        return ERR_INTERNAL;
    case 501:
        return ERR_UNIMPLEMENTED;
    case 503:
        return ERR_UNAVAILABLE;
    case 504:
        return ERR_DEADLINE_EXCEEDED;
    default:
        return ERR_UNKNOWN;
    }
}

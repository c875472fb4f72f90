/* curl.c: opens libcurl and finds its functions, once. */
#include "core/http/curl.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define LIBRARY "libcurl.so.4"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct curl functions;
static struct err failure;

#define CURL_ENTRY(name) {"curl_" #name, offsetof(struct curl, name)},
static const struct {
    const char *name;
    size_t at;
} wanted[] = {CURL_FUNCTIONS(CURL_ENTRY)};
#undef CURL_ENTRY

static void load(void)
{
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char *why = dlerror();
        err_set(&failure, ERR_UNAVAILABLE, "libcurl, which remote hosts need, cannot be opened: %s; install libcurl4", why ? why : LIBRARY);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        void *function = dlsym(library, wanted[i].name);
        if (!function) {
            err_set(&failure, ERR_UNAVAILABLE, LIBRARY " has no %s: install libcurl 7.85 or newer", wanted[i].name);
            return;
        }
        /* POSIX lets a function's address stand in an object's pointer; C does not, so it is copied. */
        memcpy((char *)&functions + wanted[i].at, &function, sizeof function);
    }
    CURLcode rc = functions.global_init(CURL_GLOBAL_DEFAULT);
    if (rc != CURLE_OK)
        err_set(&failure, ERR_UNAVAILABLE, "libcurl cannot start: %s", functions.easy_strerror(rc));
}

const struct curl *http_curl(struct err *e)
{
    pthread_once(&once, load);
    if (failure.code == ERR_OK)
        return &functions;
    if (e)
        *e = failure;
    return NULL;
}

const char *http_curl_ca_file(void)
{
    const char *path = getenv("CURL_CA_BUNDLE");
    if (!path || !*path)
        path = getenv("SSL_CERT_FILE");
    return path && *path ? path : NULL;
}

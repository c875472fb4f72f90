/* curl.c: opens libcurl and finds its functions, once. */
#include "core/http/curl.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define LIBRARY "libcurl.so.4"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct curl functions;
static struct err failure;

/* POSIX lets a function's address stand in an object's pointer; C does not, so it is copied. */
static bool find(void *library, const char *name, void *to, size_t size)
{
    void *at = dlsym(library, name);
    if (!at)
        err_set(&failure, ERR_UNAVAILABLE, LIBRARY " has no %s: install libcurl 7.85 or newer", name);
    else
        memcpy(to, &at, size);
    return at != NULL;
}

static void load(void)
{
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char *why = dlerror();
        err_set(&failure, ERR_UNAVAILABLE, "libcurl, which remote hosts need, cannot be opened: %s; install libcurl4", why ? why : LIBRARY);
        return;
    }
#define CURL_FIND(name)                                                                \
    if (!find(library, "curl_" #name, (void *)&functions.name, sizeof functions.name)) \
        return;
    CURL_FUNCTIONS(CURL_FIND)
#undef CURL_FIND
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

/* curl.c: opens libcurl and finds its functions, once. */
#include "core/http/curl.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define LIBRARY "libcurl.so.4"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct curl functions;
static bool loaded;

#define CURL_ENTRY(name) {"curl_" #name, offsetof(struct curl, name)},
static const struct {
    const char *name;
    size_t at;
} wanted[] = {CURL_FUNCTIONS(CURL_ENTRY)};
#undef CURL_ENTRY

static int find(void *library, struct err *e)
{
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        void *function = dlsym(library, wanted[i].name);
        if (!function)
            return err_set(e, ERR_UNAVAILABLE, LIBRARY ", which requests to URLs need, has no %s; install libcurl 7.85 or newer",
                           wanted[i].name);
        /* POSIX lets a function's address stand in an object's pointer; C does not, so it is copied. */
        memcpy((char *)&functions + wanted[i].at, &function, sizeof function);
    }
    CURLcode rc = functions.global_init(CURL_GLOBAL_DEFAULT);
    return rc == CURLE_OK
               ? 0
               : err_set(e, ERR_UNAVAILABLE, "libcurl, which requests to URLs need, cannot start: %s", functions.easy_strerror(rc));
}

static int load(struct err *e)
{
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char *why = dlerror();
        return err_set(e, ERR_UNAVAILABLE, "libcurl, which requests to URLs need, cannot be opened: %s; install libcurl4",
                       why ? why : LIBRARY);
    }
    int rc = find(library, e);
    if (rc)
        dlclose(library);
    return rc;
}

/* What failed is tried again: descriptors or memory may have run out only for now, and it may be installed meanwhile. */
const struct curl *http_curl(struct err *e)
{
    pthread_mutex_lock(&mutex);
    if (!loaded)
        loaded = load(e) == 0;
    const struct curl *found = loaded ? &functions : NULL;
    pthread_mutex_unlock(&mutex);
    return found;
}

const char *http_curl_ca_file(void)
{
    const char *path = getenv("CURL_CA_BUNDLE");
    if (!path || !*path)
        path = getenv("SSL_CERT_FILE");
    return path && *path ? path : NULL;
}

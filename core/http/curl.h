/** curl.h: libcurl, opened when it is first needed: it brings some thirty libraries, a third of an empty server's memory, and
 *          most servers and commands never ask a remote host.
 *  Shape:  http_curl(&e) -> its functions, under the names that curl/curl.h gives them without `curl_`.
 *  Errors: UNAVAILABLE when it is not installed or cannot start; the next call tries again.
 *  Owner:  the table lives as long as the process; it is never closed.
 *  Thread: any. Until it is open a call reads files. */
#ifndef CORE_HTTP_CURL_H
#define CORE_HTTP_CURL_H

#include "core/base/err.h"
#include <curl/curl.h>

#define CURL_FUNCTIONS(X)  \
    X(easy_cleanup)        \
    X(easy_getinfo)        \
    X(easy_init)           \
    X(easy_perform)        \
    X(easy_recv)           \
    X(easy_send)           \
    X(easy_setopt)         \
    X(easy_strerror)       \
    X(global_init)         \
    X(multi_add_handle)    \
    X(multi_assign)        \
    X(multi_cleanup)       \
    X(multi_info_read)     \
    X(multi_init)          \
    X(multi_remove_handle) \
    X(multi_setopt)        \
    X(multi_socket_action) \
    X(slist_append)        \
    X(slist_free_all)

#define CURL_POINTER(name) __typeof__(curl_##name) *name;
struct curl {
    CURL_FUNCTIONS(CURL_POINTER)
};
#undef CURL_POINTER

/** NULL and the error. */
const struct curl *http_curl(struct err *e);
/** The file of trusted CAs from CURL_CA_BUNDLE or SSL_CERT_FILE, which libcurl itself does not look at; NULL: its default. */
const char *http_curl_ca_file(void);

#endif

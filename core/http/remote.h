/** remote.h: connections to http and https URLs by libcurl's CONNECT_ONLY: names, TLS, proxies; the bytes are ours.
 *  Shape:  remote_connect -> on_ready(arg, err) from the loop, once -> remote_send / remote_recv on remote_fd -> remote_close.
 *  Units:  timeout_ns is a duration.
 *  Errors: on_ready with UNAVAILABLE and curl's own words. remote_send and remote_recv answer like send(2) and recv(2).
 *  Owner:  remote_connect's connection is the caller's until remote_close; close all before remote_free.
 *  Thread: the loop's.
 *  Source: https://curl.se/libcurl/c/CURLOPT_CONNECT_ONLY.html; what was found out about it is in README.md. */
#ifndef CORE_HTTP_REMOTE_H
#define CORE_HTTP_REMOTE_H

#include "core/http/url.h"
#include "core/loop/loop.h"
#include <sys/types.h>

struct remote;
struct remote_conn;
struct remote *remote_new(struct loop *l, struct err *e);
void remote_free(struct remote *r); /* all its connections must be closed */
struct remote_conn *remote_connect(struct remote *r, const struct url *u, int64_t timeout_ns,
                                   void (*on_ready)(void *arg, const struct err *e), void *arg, struct err *e);
int remote_fd(const struct remote_conn *c); /* -1 before on_ready */
/** An http URL without a proxy: bytes go to remote_fd as they are, not through remote_send and remote_recv. */
bool remote_plain(const struct remote_conn *c);
/** How many bytes were taken, at most REMOTE_SEND_BYTES; they may still be pending here. -1 and errno. n = 0: only the pending ones. */
#define REMOTE_SEND_BYTES (16 * 1024) /* what one TLS record holds */
ssize_t remote_send(struct remote_conn *c, const void *data, size_t n);
bool remote_pending(const struct remote_conn *c);                 /* taken by remote_send, not by the socket: call it again when writable */
ssize_t remote_recv(struct remote_conn *c, void *data, size_t n); /* 0: the peer's end */
void remote_close(struct remote_conn *c);                         /* also while connecting; on_ready is not called any more */

#endif

/** io.h: the io threads: each a loop with a server, a client, REST and the ingress, and the transport that brings them pushes.
 *  Shape:  io_start opens the port on each thread (SO_REUSEPORT) -> requests for a service's host go to the ingress, all else to
 *          REST -> io_routes gives every thread a new snapshot -> io_drain -> io_stop.
 *  Units:  grace_ns is a duration.
 *  Errors: UNAVAILABLE: the address cannot be bound; RESOURCE_EXHAUSTED: out of memory, descriptors or threads.
 *  Thread: engine thread calls; inside, one thread each. */
#ifndef DISPATCHER_IO_H
#define DISPATCHER_IO_H

#include "core/http/server.h"
#include "core/rpc/rest.h"
#include "dispatcher/route.h"
#include "dispatcher/transport.h"

#define IO_THREADS_MAX 64
struct io;
struct io_config {
    const char *host;
    uint16_t port; /* 0 picks one */
    uint32_t threads;
    struct rest_shared rest;
    struct mailbox *engine;
    struct log *log;
    struct metrics *metrics;
    struct http_server_config http;
};
struct io *io_start(const struct io_config *c, struct err *e); /* UNAVAILABLE names the address that cannot be bound */
uint16_t io_port(const struct io *io);
void io_routes(struct io *io, struct routes *r); /* takes the reference */
struct transport *io_transport(struct io *io);
void io_drain(struct io *io, int64_t grace_ns, void (*done)(void *arg), void *arg);
/** Joins the threads, frees. What they left in the engine's mailbox is gone with them: its loop must not run again. */
void io_stop(struct io *io);

#endif

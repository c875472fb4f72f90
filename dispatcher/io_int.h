/** io_int.h: one io thread and what it shares with the engine; for io.c, ingress.c and transport_io.c. */
#ifndef DISPATCHER_IO_INT_H
#define DISPATCHER_IO_INT_H

#include "core/http/client.h"
#include "core/loop/thread.h"
#include "core/observe/metrics.h"
#include "dispatcher/ingress.h"
#include "dispatcher/io.h"
#include "dispatcher/slot_wait.h"

struct io_thread {
    struct io *io;
    struct loop *loop;
    struct thread *thread;
    struct http_server *server;
    struct http_client *client;
    struct rest *rest;
    struct ingress *ingress;
    struct routes *routes; /* NULL until the first snapshot */
    struct rng rng;
    bool told; /* that no call to a URL can be begun: once, until one is */
    struct slot_waits waits;
    struct list deliveries, spare; /* pushes under way on this thread; what is left of others, to be used again */
    uint32_t pushes;               /* the engine's count of those given to this thread and not answered */
    struct mail drain;
    int64_t drain_due_ns;
    int fd; /* the listening socket until the server has it */
};
struct push_transport {
    struct transport base;
    struct io *io;
    struct list jobs, spare;
};
struct io {
    struct io_config config;
    uint16_t port;
    struct push_transport transport;
    struct metric_family *requests, *latency;
    uint32_t draining; /* threads that have not finished */
    void (*drained)(void *arg);
    void *drained_arg;
    uint32_t n;
    struct io_thread threads[IO_THREADS_MAX];
};

void push_transport_init(struct push_transport *pt, struct io *io);
/** After all threads have stopped: what nobody will answer any more. */
void push_transport_fini(struct push_transport *pt);
/** One thread's share, after its client was freed. */
void deliveries_fini(struct io_thread *t);

#endif

/** serve_options.h: the server's options: one table gives the struct, the parser, the checks and the help.
 *  Units:  _ns are durations; max_schedule_ns -1: any.
 *  Errors: INVALID_ARGUMENT names the flag and says what is allowed.
 *  Thread: any; nothing is kept. */
#ifndef TOOLS_RUNNEL_SERVE_OPTIONS_H
#define TOOLS_RUNNEL_SERVE_OPTIONS_H

#include "core/base/err.h"
#include "core/base/log.h"

/* field, flag, argument as shown in the help, default as shown, help */
#define SERVE_OPTIONS(X)                                                                                                                  \
    X(listen, "--listen", "ADDR:PORT", "127.0.0.1:8080", "where to listen; port 0 picks a free one")                                      \
    X(data, "--data", "DIR", "$XDG_DATA_HOME/runnel", "where everything durable is kept")                                                 \
    X(project, "--project", "ID", "local-project", "the project of services reached by short host names")                                 \
    X(region, "--region", "NAME", "europe-west1", "the region of services reached by short host names")                                   \
    X(domain, "--domain", "NAME", "localhost", "services answer at SERVICE.NAME")                                                         \
    X(broker, "--broker", "embedded", "embedded", "where new topics keep their messages")                                                 \
    X(io_threads, "--io-threads", "N", "one per core", "threads that read and write sockets (1-64)")                                      \
    X(auth, "--auth", "token:FILE", "none (loopback only)", "who may use the admin API: one bearer token per line")                       \
    X(issuer, "--issuer", "URL", "the server's URL", "`iss` of the tokens that are sent with pushes")                                     \
    X(idle, "--idle", "DURATION", "15m", "stop an instance after this long without a request (1s-24h)")                                   \
    X(grace, "--grace", "DURATION", "10s", "how long running requests may take to end at shutdown (0s-1h)")                               \
    X(memory, "--memory", "SIZE", "what the host has", "what the memory limits of programs that run may add up to (512Mi, 16Gi)")         \
    X(max_schedule, "--max-schedule", "DURATION", "720h", "how far ahead a task may be scheduled (1s-10000h), or none for any time")      \
    X(queue_name_hold, "--queue-name-hold", "DURATION", "0s", "how long the name of a deleted queue stays taken (0s-720h; Google: 168h)") \
    X(log_level, "--log-level", "LEVEL", "info", "debug, info, warn or error")                                                            \
    X(log_format, "--log-format", "FORMAT", "text on a terminal, else json", "text or json, to stderr")

struct serve_options {
#define SERVE_FIELD(field, flag, arg, def, help) const char *field; /* as given; NULL when not */
    SERVE_OPTIONS(SERVE_FIELD)
#undef SERVE_FIELD
    /* worked out by serve_options_parse */
    char host[64];
    uint16_t port;
    bool loopback;
    char data_dir[512];
    uint32_t threads;
    uint64_t memory_bytes; /* 0: not given */
    int64_t idle_ns, grace_ns, max_schedule_ns, queue_name_hold_ns;
    enum log_level level;
    bool log_text;
    bool help;
};
/** Parse and check everything; INVALID_ARGUMENT names the flag (and the nearest right one). Changes only `o`. */
MUST_USE int serve_options_parse(struct serve_options *o, int argc, char **argv, struct err *e);
void serve_options_help(void);
/** "300ms", "5s", "15m", "1h" or plain seconds, within [min, max]. */
MUST_USE int duration_parse(const char *text, int64_t min_ns, int64_t max_ns, int64_t *out_ns, struct err *e);

#endif

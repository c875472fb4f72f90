/** runtime.h: where programs run: a vtable; `exec` (plain processes through the warden) now, `oci` later.
 *  Shape:  start -> on_started -> … -> exactly one on_exit, after which the handle is gone. on_exit also when the start failed.
 *          Events come later from the engine's mailbox, never inside a call.
 *  Rules:  on_exit means that nothing of the instance runs any more, children included.
 *  Units:  wall_ns is wall time, cpu_ns and the prober's times are durations; all ns.
 *  Errors: check: INVALID_ARGUMENT, UNIMPLEMENTED. start: INVALID_ARGUMENT, RESOURCE_EXHAUSTED. Whatever fails later is in
 *          runtime_exit.why.
 *  Owner:  an instance handle is the runtime's and gone after on_exit; a probe_request is the asker's until done or cancel. close
 *          frees the runtime, prober_tcp_free the prober.
 *  Thread: engine thread. A runtime's own threads and processes end inside it. */
#ifndef EXECUTOR_RUNTIME_H
#define EXECUTOR_RUNTIME_H

#include "core/base/env.h"
#include "core/base/buf.h"

#define RUNTIME_LINE_MAX 16384 /* longer lines are cut and marked */

struct runtime {
    const struct runtime_ops *ops;
};
struct runtime_instance;
struct runtime_exit {
    bool started;  /* false: could not be started; `why` says it */
    int exit_code; /* -1 when ended by a signal */
    int signal;
    bool out_of_memory;
    bool lost; /* it is not its own end: what holds the programs ended */
    char why[256];
};
struct runtime_events {
    void (*on_started)(void *arg, int64_t pid, uint16_t port); /* the program was executed; not yet ready */
    void (*on_line)(void *arg, bool is_stderr, struct str line, int64_t wall_ns);
    void (*on_exit)(void *arg, const struct runtime_exit *x);
};
struct runtime_spec {        /* everything is copied by start */
    const char *id;          /* instance id, unique: names the cgroup and log lines */
    const char *image;       /* "exec:///dir" */
    const char *const *argv; /* command + args, NULL-terminated; may be empty; argv[0] "": the image's own program, with args */
    const char *const *env;  /* "K=V", NULL-terminated; PORT is set by the runtime */
    const char *working_dir; /* NULL: the image's directory */
    bool wants_port;
    uint32_t cpu_millis;   /* 0 = no limit */
    uint64_t memory_bytes; /* 0 = no limit */
    uint64_t lane;         /* 0: none. At most lane_width programs of a lane run at once; what is above waits its turn in the runtime, */
    uint32_t lane_width;   /* so that the end of one is followed by the next without a way through the server. signal and kill end */
                           /* one that waits: it was never started */
    uint64_t group;        /* of all that shares the CPU as one, a service or a job: a number of its own; 0: none */
    uint32_t weight;       /* the group's, relative to that of others; 100 is usual */
    uint64_t ticket[2];    /* of a task's attempt: its exit is journaled under it (exit_journal.h); 0: none */
};
struct runtime_usage {
    int64_t cpu_ns;
    uint64_t memory_bytes;
};
struct runtime_ops {
    const char *name;
    /** Can this image and command be run? Cheap and synchronous; INVALID_ARGUMENT says why not. */
    int (*check)(struct runtime *rt, const char *image, const char *const *argv, struct err *e);
    int (*start)(struct runtime *rt, const struct runtime_spec *spec, const struct runtime_events *events, void *arg,
                 struct runtime_instance **out, struct err *e);
    void (*signal)(struct runtime *rt, struct runtime_instance *i, int signo); /* to its whole process group */
    void (*kill)(struct runtime *rt, struct runtime_instance *i);              /* SIGKILL to all that belongs to it */
    /** Another weight for a group, of what runs too; it may have nothing running. */
    void (*weigh)(struct runtime *rt, uint64_t group, uint32_t weight);
    /** The last known usage, sampled by the runtime about once a second. */
    struct runtime_usage (*usage)(struct runtime *rt, const struct runtime_instance *i);
    void (*close)(struct runtime *rt, void (*done)(void *arg), void *arg); /* kills what runs, then frees */
};
/* Limits of the exec runtime. */
#define RUNTIME_LINES_PER_S 2000 /* per instance; what is above is dropped and counted */
#define RUNTIME_BYTES_PER_S (2u << 20)
#define RUNTIME_BURST_S 2             /* seconds' worth that may come at once */
#define RUNTIME_UNREAD_MAX (2u << 20) /* bytes of lines on their way to the engine, per instance */
struct mailbox;
struct warden_process;
/** `first` is the warden that was forked at start (owned from here on, also when this fails), or NULL. `self` is the path of
 *  this program: it is started again as the warden when there is none (see warden.h). Each is given `journal_fd` (-1: none), which
 *  must stay open as long as the runtime. */
struct runtime *runtime_exec_new(const struct env *env, struct mailbox *engine, const char *self, const struct warden_process *first,
                                 int journal_fd, struct err *e);

/* Is something listening? Injected, so that the simulator can answer. done exactly once, later. */
struct prober;
struct probe_request {
    uint16_t port;
    int64_t timeout_ns;
    int64_t patience_ns; /* while nobody listens, ask again every 200 us for this long: finer than the loop's timers */
    const char *http;    /* NULL: it is enough that somebody listens; else this request must be answered with 2xx or 3xx */
    void (*done)(struct probe_request *p, bool open);
    void *arg;
    void *internal;
};
struct prober {
    void (*start)(struct prober *p, struct probe_request *r);
    void (*cancel)(struct prober *p, struct probe_request *r); /* done is not called any more */
};
struct loop;
struct prober *prober_tcp_new(struct loop *engine, struct err *e);
void prober_tcp_free(struct prober *p);

#endif

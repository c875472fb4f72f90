/** support_executor.h: an executor in a world of its own: virtual time, a store in memory, programs that behave as told, a
 *                      prober that asks them, and the API called with JSON.
 *  Thread: one. */
#ifndef TESTS_SUPPORT_SUPPORT_EXECUTOR_H
#define TESTS_SUPPORT_SUPPORT_EXECUTOR_H

#include "core/rpc/method.h"
#include "core/store/store.h"
#include "executor/executor.h"
#include "tests/support/support.h"
#include "tests/support/support_fault.h"

#define NEVER (-1)
/* What a program does that is started from now on. Times are after its start, which is after `start_ns`. */
struct fake_behaviour {
    int64_t start_ns;   /* the runtime takes this long */
    int64_t listens_ns; /* NEVER */
    int64_t exits_ns;   /* NEVER */
    int exit_code;
    const char *says;    /* a line on stderr at its start */
    bool cannot_execute; /* exits with started = false */
    bool refuses_start;  /* ops->start fails */
    bool ignores_term;
    bool is_lost; /* its end is that of what holds the programs */
};
struct fake_runtime {
    struct runtime base;
    const struct env *env;
    struct fake_behaviour behaviour;
    struct list running, waiting; /* runtime_instance; waiting: for room in their lane */
    /* NULL, or: what this program does other than `behaviour`; and what is told of an end before the executor hears of it. */
    void (*vary)(void *arg, const struct runtime_spec *spec, struct fake_behaviour *b);
    void (*ended)(void *arg, const uint64_t ticket[2], const struct runtime_exit *x);
    void *hook_arg;
    uint32_t starts, exits, kills, terms;
    uint16_t next_port;
    uint64_t last_group; /* of the last weigh */
    uint32_t last_weight;
    uint64_t memory_bytes, memory_most; /* limits of what runs, together */
    char last_env[4096];                /* of the last start, joined by newlines */
    struct runtime_spec last_spec;      /* pointers are only good until its revision goes */
};
struct fake_prober {
    struct prober base;
    struct fake_runtime *runtime;
    uint32_t probes;
};

struct world {
    struct fake_env fe;
    struct mailbox *engine;
    struct store *store;
    struct metrics *metrics;
    struct operations *operations;
    struct registry *registry;
    struct fake_runtime runtime;
    struct fake_prober prober;
    struct executor_config config;
    const char *journal_path; /* NULL: there is none. The file is read at a crash, which is when it is opened, too. */
    struct exit_journal *journal;
    struct executor *x;
    enum err_code store_fails; /* transactions fail with this */
    struct {
        enum fault what; /* FAULT_WRITE: of the store in memory, one transaction or read */
        size_t nth;
    } fault;           /* armed as the next call is made, until fault_disarm; then nth is 0 */
    uint32_t changes;  /* calls of the watch */
    struct list calls; /* fake_call; open, or answered and not freed yet */
};
void world_init(struct world *w, int64_t idle_ns, uint32_t max_instances);
void world_fini(struct world *w);
/** kill -9 and start again on what the store kept. */
void world_crash(struct world *w);
/** Let time pass; the store and the mailbox are served all along. */
void world_run(struct world *w, int64_t ns);

struct answer {
    bool done;
    enum err_code code;
    char message[400];
    char json[16384];
};
/** Call `method` ("Services/CreateService") with a request in JSON; runs until it is answered. */
void world_call(struct world *w, const char *method, const char *request, struct answer *a);
/** Begin the call only; its answer comes while the store is served, or never, when a crash comes first. `a` must live so long. */
void world_call_begin(struct world *w, const char *method, const char *request, struct answer *a);
/** The value of "key":"…" or "key":word in a JSON text, the first there is; "" when none. Not thread safe. */
const char *json_value(const char *json, const char *key);

/* A view of one service. */
struct seen {
    bool found;
    size_t n_targets;
    struct pool *pools[8];
    char revisions[8][64], tags[8][48];
    uint32_t percents[8];
    char not_ready[400], uri[200], off[100];
};
void world_see(struct world *w, const char *service, struct seen *s);

/* A request waiting for an instance. */
struct fake_request {
    struct pool_waiter waiter;
    struct pool_grant grant;
    bool granted, failed;
    struct err err;
};
/** As an io thread does it: a free slot, or the queue. */
void request_start(struct world *w, struct pool *p, struct fake_request *q, int64_t timeout_ns);
void request_end(struct fake_request *q, int64_t busy_ns);

void fake_runtime_init(struct fake_runtime *rt, const struct env *env);
void fake_runtime_forget(struct fake_runtime *rt); /* everything it ran, without a word */
void fake_prober_init(struct fake_prober *p, struct fake_runtime *rt);
/** End one running program by itself. */
void fake_runtime_exit(struct fake_runtime *rt, int exit_code);
void fake_runtime_say(struct fake_runtime *rt, bool is_stderr, const char *line);

#endif

/** support_broker.h: a whole broker, with its task queues, on a fake clock and an in-memory (or SQLite) store, called by method name with JSON.
 *  Shape:  tb_start -> tb_call... -> tb_restart (as after a kill -9, or after a proper stop) -> tb_stop.
 *  Errors: anything the helper itself cannot do aborts the test. */
#ifndef TESTS_SUPPORT_SUPPORT_BROKER_H
#define TESTS_SUPPORT_SUPPORT_BROKER_H

#include "broker/broker.h"
#include "broker/queues.h"
#include "core/base/arena.h"
#include "core/loop/mailbox.h"
#include "tests/support/support.h"
#include "tests/support/support_fault.h"

#include <semaphore.h>

#define TB_RUNS_MAX 64

struct tb {
    struct fake_env fe;
    struct store *store;
    const char *dir;         /* of SQLite; NULL: in memory */
    struct mailbox *mailbox; /* the SQLite store's answers */
    sem_t woken;
    struct adapter *adapter;
    struct broker *broker;
    struct queues *queues;
    struct registry *registry;
    struct metrics *metrics;
    enum err_code store_fails; /* OK: it works */
    /* like a dispatcher: told of push subscriptions */
    struct {
        struct subscription *s;
        bool gone;
        size_t calls;
    } watched;
    char gone[512]; /* the last resource that was deleted */
    /* like a dispatcher: what task queues have started */
    struct queues_config queues_config; /* for the next start; tb_start_with sets it */
    struct {
        struct task_consumer consumer;
        struct task_run *runs[TB_RUNS_MAX]; /* not settled yet */
        size_t n, started;
        int status; /* 0: they are kept; else they are settled at once with this */
    } tasks;
    struct {
        enum fault what;
        size_t nth, times;
    } fault; /* armed as the next call is made, until fault_disarm; then nth is 0 */
};

struct tb_call {
    struct call call;
    struct tb *tb;
    bool done;
    char *text; /* the answer as JSON, or the error's message */
};

void tb_start(struct tb *tb);
void tb_start_with(struct tb *tb, const struct queues_config *c);
/** Settle the `i`-th task that runs with an HTTP status. */
void tb_settle(struct tb *tb, size_t i, int status);
void tb_start_sqlite(struct tb *tb, const char *dir); /* on what is there */
void tb_stop(struct tb *tb);                          /* properly; frees everything */
void tb_restart(struct tb *tb, bool crash);
/** With SQLite: crash, and go on with the copy of its files in `dir`. */
void tb_restart_in(struct tb *tb, const char *dir);
/** Let the store answer and due timers fire until nothing moves. */
void tb_run(struct tb *tb);
/** The same while `ns` pass. */
void tb_advance(struct tb *tb, int64_t ns);

/** Begin a call ("Publisher/Publish", "CloudTasks/CreateTask", "Tasks/GetQueueStats" with a JSON request); it may be answered later. */
struct tb_call *tb_begin(struct tb *tb, const char *method, const char *json);
void tb_end(struct tb_call *c);
/** Run a call until it is answered; the answer (JSON, or the message of an error) is good until the next tb_call. */
FMT(4, 5) const char *tb_call(struct tb *tb, enum err_code want, const char *method, const char *json, ...);
/** The string value of the `nth` "key" in a JSON text, copied; NULL when there is none. Valid until eight more calls. */
const char *tb_json(const char *json, const char *key, size_t nth);
size_t tb_count(const char *json, const char *needle);

#endif

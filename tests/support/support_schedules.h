/** support_schedules.h: schedules on a fake clock, an in-memory store and a target that a test answers, called by method name with JSON.
 *  Shape:  ts_start -> ts_call, ts_advance, ts_answer... -> ts_crash (kill -9 and a new start) or ts_restart -> ts_stop.
 *  Errors: anything the helper itself cannot do aborts the test. */
#ifndef TESTS_SUPPORT_SUPPORT_SCHEDULES_H
#define TESTS_SUPPORT_SUPPORT_SCHEDULES_H

#include "core/base/arena.h"
#include "core/rpc/method.h"
#include "schedules/scheduler.h"
#include "tests/support/support.h"
#include "tests/support/support_fault.h"

#define TS_JOB_MAX 64
struct ts_fired {
    char job[TS_JOB_MAX];   /* short id */
    char schedule_time[64]; /* as the target is told */
    char event_id[160];
    size_t series_len;
    enum target_overlap overlap;
    int64_t wall_ns, mono_ns; /* when */
};
struct ts {
    struct fake_env fe;
    struct store *store;
    struct schedules *s;
    struct registry *registry;
    struct metrics *metrics;
    struct workers *workers;
    struct mailbox *engine;
    struct target target; /* of all kinds */
    struct target_ops target_ops;
    bool final; /* an answer that is none of success is so */
    enum err_code store_fails;
    bool store_stands;        /* the store answers nothing */
    size_t store_steps;       /* what it has answered, in all */
    size_t store_stops_after; /* it stands once it has answered so many; 0: never */
    struct {
        enum fault what; /* FAULT_WRITE: of the store in memory, one transaction */
        size_t nth, times;
    } fault;                /* armed as ts_try's call is made, until fault_disarm; then nth is 0 */
    int answer;             /* the status that calls are answered with at once; 0: ts_answer does it */
    struct ts_fired *fired; /* every call of the target */
    size_t n_fired, fired_max;
    struct target_call *open[20000]; /* not answered, oldest first */
    size_t n_open, cancelled;
};

void ts_start(struct ts *ts);
/** With workers that look at the time-zone files, whose answers come to `engine`: the test delivers them. */
void ts_start_with(struct ts *ts, struct workers *workers, struct mailbox *engine);
void ts_stop(struct ts *ts);    /* properly; frees everything */
void ts_restart(struct ts *ts); /* a proper stop and a new start */
void ts_crash(struct ts *ts);
void ts_crash_later(struct ts *ts, int64_t wall_ns); /* the server is down for so long */
/** Let the store answer and due timers fire until nothing moves. */
void ts_run(struct ts *ts);
void ts_advance(struct ts *ts, int64_t ns);
/** Set the wall clock, tell nobody. */
void ts_wall(struct ts *ts, int64_t wall_ns);
/** Answer the oldest open call, then run. 0: no answer came in time. */
void ts_answer(struct ts *ts, int status);
/** "CreateJob", "Schedules/NextFirings" for ours, "@" and a full name for others; the answer is good until the next call. */
FMT(4, 5) const char *ts_call(struct ts *ts, enum err_code want, const char *method, const char *json, ...);
/** The same, whatever it comes to; the answer, or the error's words, go to `text`. */
enum err_code ts_try(struct ts *ts, const char *method, const char *json, char *text, size_t size);
/** The value of "key" in a flat JSON answer; good until eight more calls. NULL: none. */
const char *ts_json(const char *json, const char *key);
/** Begin a call that nobody waits for; forgotten at the end. */
void ts_begin(struct ts *ts, const char *method, const char *json);

#endif

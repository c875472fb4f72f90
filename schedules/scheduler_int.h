/** scheduler_int.h: the inside of schedules: jobs, their runs, and how they are written.
 *  Shape:  scheduler.c keeps the jobs by name and by the time of their next event; runs.c says what happens then; writer.c makes it
 *          durable, in groups, and lets begun attempts go out; jobs.c and policies.c answer the API.
 *  Units:  *_wall_ns is wall time.
 *  Errors: as scheduler.h says.
 *  Owner:  schedules owns its jobs, a job its runs; an attempt under way outlives them.
 *  Thread: engine thread. */
#ifndef SCHEDULES_SCHEDULER_INT_H
#define SCHEDULES_SCHEDULER_INT_H

#include "core/base/list.h"
#include "core/base/map.h"
#include "core/rpc/name.h"
#include "core/rpc/pb.h"
#include "schedules/calendar.h"
#include "schedules/due.h"
#include "schedules/records.pb-c.h"
#include "schedules/scheduler.h"

#define JOB_BYTES_MAX (1024u * 1024)
#define RETRY_COUNT_MAX 5
#define UNDELIVERED_MAX 60 /* tries, a second apart, before it counts as a failed attempt */
#define WRITE_AGAIN_NS NS_PER_S
#define LOOK_AGAIN_NS (60 * NS_PER_S) /* the longest sleep: clocks and time-zone files are looked at then */
#define CLOCK_JUMP_NS NS_PER_S        /* between wall and monotonic time: more than slewing */

typedef Runnel__Scheduler__V1__JobPolicy PbPolicy;
typedef Runnel__Schedules__JobRecord JobRecord;
typedef Runnel__Schedules__JobState JobState;

struct schedule;
enum run_state { RUN_WAITING, RUN_BEGUN, RUN_RUNNING };
/* A firing that has begun and has not ended. */
struct run {
    struct node link; /* in its job */
    struct node line; /* in schedules.line, BEGUN and written */
    struct schedule *job;
    enum run_state state;
    int64_t schedule_wall_ns, first_wall_ns, due_wall_ns;
    uint32_t attempts, undelivered;
    bool manual, last, written; /* written: in the group under way, BEGUN */
    bool repeat;                /* the attempt that was under way when the server died, or that never went out: not counted again */
    struct attempt *attempt;    /* RUNNING */
    struct call *call;          /* RunJob's, until it is written */
};
/* A call of a target. Outlives its run, which it then has none. */
struct attempt {
    struct node link; /* in schedules.attempts */
    struct schedules *s;
    struct run *run;
    struct target *target;
    PbJob *job; /* as it was */
    char *event_id;
    int64_t schedule_wall_ns, begun_ns;
    char schedule_time[CALENDAR_TIME_MAX];
    bool cancelled;
    struct target_call call;
};
struct schedule {
    struct timer timer; /* in schedules.heap: the next event */
    struct node due;    /* in schedules.due: its time has come */
    struct node dirty;  /* in schedules.dirty */
    struct schedules *s;
    PbJob *config;
    PbPolicy *policy;
    uint64_t seed;
    struct calendar *calendar; /* NULL: DISABLED, its zone or schedule is no longer understood */
    struct due_policy rules;
    /* how far it has come, see JobState */
    int64_t last_wall_ns, held_wall_ns, last_attempt_wall_ns;
    int64_t backlog[DUE_MISSED_MAX];
    size_t n_backlog;
    struct list runs;
    bool attempted; /* status is that of an attempt */
    int status;
    char *status_message;
    int64_t next_wall_ns; /* the next firing's scheduled time, as last worked out */
    bool visible;         /* created, durably */
    bool changing;        /* a change by a user is being written: nothing else is */
    bool in_group, gone;
    bool unsaved; /* differs from its record */
};
struct group {
    struct schedules *s;
    size_t n;
    struct schedule *jobs[SCHEDULES_STEP_JOBS];
};
struct tz_look; /* at the time-zone files, on a worker */

struct schedules {
    const struct env *env;
    struct store *store;
    struct target *http, *pubsub, *run;
    char *region;
    struct zone_cache *zones;
    struct map *jobs;
    struct timers *heap; /* of jobs, by wall time */
    struct timer wake, write_again, grace;
    struct list due, dirty, line, attempts, changes;
    struct group group;
    bool writing, sending;
    int64_t wall_minus_mono_ns;
    struct workers *workers;
    struct mailbox *engine;
    struct tz_look *tz;
    int64_t tz_looked_ns;
    bool stopping, stopped;
    void (*stop_done)(void *arg);
    void *stop_arg;
    struct {
        struct metric_family *attempts, *skipped;
        struct metric *late, *jobs, *running;
    } m;
};

/* scheduler.c */
struct schedule *schedule_new(struct schedules *s, PbJob *config, PbPolicy *policy, struct err *e); /* takes both when it succeeds */
void schedule_free(struct schedule *j);
/** It is deleted: what runs is called off; freed as soon as nothing needs it. */
void job_end(struct schedule *j);
struct due_calendar job_calendar(const struct schedule *j);
bool job_enabled(const struct schedule *j);
/** Set the job's timer to its next event. */
void job_arm(struct schedule *j);
void schedules_maybe_stopped(struct schedules *s);
struct due_policy job_rules(const PbPolicy *p, uint64_t seed);
/* runs.c */
/** Look what is due, begin it. Returns how much work that was. */
size_t job_look(struct schedule *j);
/** Begin a firing by hand. NULL: `e` says why not. */
struct run *run_by_hand(struct schedule *j, struct err *e);
/** The record says that it has begun: call the target, as soon as there is room. */
void run_send(struct run *r);
void run_drop(struct run *r); /* forgets it; an attempt under way is called off */
void runs_line(struct schedules *s);
void attempt_forget(struct attempt *a);
int64_t job_next_event(struct schedule *j, int64_t *next_wall_ns);
/* writer.c */
void job_save(struct schedule *j); /* it has changed; written with the next group */
void schedules_write(struct schedules *s);
void job_settled(struct schedule *j); /* the change is over: write what came meanwhile, look what is due */
struct state_edit {
    int64_t last_wall_ns; /* 0: as it is */
    bool drop_waiting;    /* retries, the backlog and what is held */
};
MUST_USE int state_put(struct store_txn *t, const struct schedule *j, const char *name, const struct state_edit *edit, struct err *e);
MUST_USE int job_put(struct store_txn *t, const PbJob *config, const PbPolicy *policy, uint64_t seed, struct err *e);
bool job_state_fits(const JobState *st); /* can it have been written by us? */
MUST_USE int job_apply_state(struct schedule *j, const JobState *st, struct err *e);
void job_apply_edit(struct schedule *j, const struct state_edit *edit);
/* attempts.c: log lines, metrics, status */
void attempt_log_started(const struct attempt *a);
void attempt_log_finished(const struct attempt *a, const struct target_result *r);
const char *attempt_debug_info(const struct target_result *r, char *out, size_t n);
/* validate.c */
MUST_USE int check_job_name(const char *name, const char *field, struct err *e);
/** All but whether the schedule and the zone are understood; fills in the defaults. */
MUST_USE int check_job_fields(struct arena *a, PbJob *job, struct err *e);
MUST_USE int check_job(struct arena *a, struct zone_cache *zones, PbJob *job, struct calendar **calendar, struct err *e);
MUST_USE int check_policy(PbPolicy *p, struct err *e);
PbPolicy *policy_default(void);
/* edit.c: one change of a job by a user at a time; the maps change when it is durable, then the answer goes out. */
struct edit {
    struct node link; /* in schedules.changes */
    struct schedules *s;
    struct call *call;
    struct schedule *job;
    bool remove;
    PbJob *config;             /* new; NULL: as it is */
    PbPolicy *policy;          /* the same */
    struct calendar *calendar; /* with a config */
    struct state_edit edit;
    void (*reply)(struct call *c, const struct schedule *j); /* the job is gone after a removal: NULL */
};
/** Begin a change. NULL: the call was failed (ABORTED: another one is under way; UNAVAILABLE: the server stops). */
struct edit *edit_new(struct call *c, struct schedule *j, void (*reply)(struct call *c, const struct schedule *j));
/** Write it, then make it so. */
void edit_commit(struct edit *ch);
/** Answers, undoes, ends. */
void edit_fail(struct edit *ch, const struct err *e);
/** Forgets it: its store has died. */
void edit_free(struct edit *ch);
/* jobs.c */
void reply_job(struct call *c, const struct schedule *j);
struct schedule *schedule_find(struct schedules *s, const char *name, struct err *e);
void jobs_no_memory(struct call *c);
void on_create_job(void *s, struct call *c, const ProtobufCMessage *r);
void on_get_job(void *s, struct call *c, const ProtobufCMessage *r);
void on_list_jobs(void *s, struct call *c, const ProtobufCMessage *r);
void on_update_job(void *s, struct call *c, const ProtobufCMessage *r);
void on_delete_job(void *s, struct call *c, const ProtobufCMessage *r);
void on_pause_job(void *s, struct call *c, const ProtobufCMessage *r);
void on_resume_job(void *s, struct call *c, const ProtobufCMessage *r);
void on_run_job(void *s, struct call *c, const ProtobufCMessage *r);
/* policies.c */
void on_get_policy(void *s, struct call *c, const ProtobufCMessage *r);
void on_update_policy(void *s, struct call *c, const ProtobufCMessage *r);
void on_next_firings(void *s, struct call *c, const ProtobufCMessage *r);

#endif

/** queues_int.h: the task queues' inside: queues by name, the changes to their records under way, and the checks of all input.
 *  Shape of a change: queue_change_new (one at a time per name) -> the store answers -> the map changes -> reply -> queue_change_end.
 *          A queue that is deleted leaves its name and its list in `gone` until the name is free and the store has forgotten its tasks.
 *  Errors: of the checks: INVALID_ARGUMENT that names the field; UNIMPLEMENTED for what we do not have.
 *  Thread: engine thread. */
#ifndef BROKER_QUEUES_INT_H
#define BROKER_QUEUES_INT_H

#include "broker/queues.h"
#include "broker/runnel_tasks.pb-c.h"
#include "core/base/map.h"
#include "core/rpc/name.h"
#include "core/rpc/pb.h"

#define QUEUES_GONE_MAX 20000 /* names held and lists being dropped */
#define QUEUES_TICK_NS (60 * NS_PER_S)
#define QUEUE_RATE_MAX 500.0
#define QUEUE_CONCURRENT_DEFAULT 1000
#define QUEUE_CONCURRENT_MAX 5000
#define QUEUE_ATTEMPTS_DEFAULT 100
#define QUEUE_DOUBLINGS_DEFAULT 16
#define QUEUE_MIN_BACKOFF_NS (NS_PER_S / 10)
#define QUEUE_MAX_BACKOFF_NS (3600 * NS_PER_S)
#define QUEUE_PAGE_MAX 9800
#define TASK_PAGE_MAX 1000
#define TASK_PAGE_TOKEN_S 7200
#define TASK_BYTES_MAX 1048569 /* of the stored Task; measured with the real service */
#define TASK_HEADER_BYTES_MAX (80u * 1024)
#define TASK_HEADERS_MAX 100
#define TASK_DEADLINE_MIN_NS (15 * NS_PER_S)
#define TASK_DEADLINE_MAX_NS (1800 * NS_PER_S)
#define TASK_DEADLINE_DEFAULT_NS (600 * NS_PER_S)
#define TASK_SCHEDULE_MAX_NS (720 * 3600 * NS_PER_S)
#define TASK_FAIR_KEY_MAX 256
#define TASK_ACCOUNT_MAX 255 /* bytes of the email of a service account */
#define DEAD_KEEP_DEFAULT_NS (7 * 24 * 3600 * NS_PER_S)
#define DEAD_KEEP_MAX_NS (366 * 24 * 3600 * NS_PER_S)
#define DEAD_MAX_DEFAULT 10000
#define DEAD_MAX_MAX 1000000
#define KEY_CONCURRENT_MAX QUEUE_CONCURRENT_MAX

typedef Google__Cloud__Tasks__V2__Queue PbQueue;
typedef Google__Cloud__Tasks__V2__Task PbTask;
typedef Google__Cloud__Tasks__V2__Task__View PbView;
typedef Runnel__Broker__QueueRecord QueueRecord;

/* A queue: its record and its engine. */
struct tq {
    QueueRecord *record;
    struct queue *queue;
};
/* What is left of a deleted one. */
struct gone_queue {
    struct node link;
    struct queues *qs;
    QueueRecord *record;
    struct queue *queue; /* being deleted; it frees itself */
    bool dropped;        /* the store has forgotten its tasks */
    bool under_way;      /* something that will be answered */
};
struct queues {
    struct queues_config config;
    struct queue_deps deps;
    struct map *by_name; /* struct tq */
    struct map *busy;    /* struct queue_change */
    struct list changes, gone;
    void (*on_gone)(void *arg, const char *resource);
    void *on_gone_arg;
    struct timer tick;
    bool stopping;
};

/* A change to the record of one queue. */
struct queue_change {
    struct node link;
    struct queues *qs;
    struct call *call;
    char *name; /* busy until the end */
    void (*then)(struct queue_change *ch, const struct err *e);
    QueueRecord *record; /* as it shall be; freed at the end unless taken */
};

/* queues.c */
/** By a checked name; NULL: the call was failed with NOT_FOUND. */
struct tq *queues_find(struct queues *qs, struct call *c, const char *name);
/** True: the call was failed, the server stops. */
bool queues_refuse(struct queues *qs, struct call *c);
/** Begin a change of queue `name` to a copy of `record`; NULL: the call was failed (ABORTED: another one is under way). */
struct queue_change *queue_change_new(struct queues *qs, struct call *c, const char *name, const QueueRecord *record);
/** Write its record (or, deleting, move it to what is gone) and go on with `then`. */
void queue_change_commit(struct queue_change *ch, bool deleting, void (*then)(struct queue_change *ch, const struct err *e));
void queue_change_fail(struct queue_change *ch, const struct err *e);
void queue_change_end(struct queue_change *ch);
MUST_USE int queues_open(struct queues *qs, QueueRecord *record, struct err *e); /* takes the record when it succeeds */
/** Take the queue of this name out, and drop its tasks. Takes the record. */
void queues_close(struct queues *qs, QueueRecord *record);
void queues_undo(struct queues *qs, const char *name); /* the record of a queue that could not be made after all */
/** Is the name of a deleted queue still taken? */
bool queues_name_held(const struct queues *qs, const char *name);
void tasks_no_memory(struct call *c);

/* queue_validate.c */
MUST_USE int check_queue_name(const char *name, const char *field, struct err *e);
MUST_USE int check_task_name(const char *name, const char *field, struct err *e);
bool task_id_fits(const char *id);
/** Also fills in the defaults and what follows from the rest (max_burst_size), and cuts durations to seconds. */
MUST_USE int check_queue(struct arena *a, PbQueue *q, struct err *e);
struct queue_config queue_config_of(const QueueRecord *r);

/* queue_filter.c */
struct queue_filter;
/** ListQueues' filter in the arena. INVALID_ARGUMENT says what is not understood. */
MUST_USE int queue_filter_parse(struct arena *a, const char *text, struct queue_filter **out, struct err *e);
bool queue_filter_fits(const struct queue_filter *f, const PbQueue *q);

/* queue_api.c */
void on_get_queue(void *qs, struct call *c, const ProtobufCMessage *r);
void on_create_queue(void *qs, struct call *c, const ProtobufCMessage *r);
void on_update_queue(void *qs, struct call *c, const ProtobufCMessage *r);
void on_delete_queue(void *qs, struct call *c, const ProtobufCMessage *r);
void on_purge_queue(void *qs, struct call *c, const ProtobufCMessage *r);
void on_pause_queue(void *qs, struct call *c, const ProtobufCMessage *r);
void on_resume_queue(void *qs, struct call *c, const ProtobufCMessage *r);
void on_get_queue_settings(void *qs, struct call *c, const ProtobufCMessage *r);
void on_update_queue_settings(void *qs, struct call *c, const ProtobufCMessage *r);
void on_get_queue_stats(void *qs, struct call *c, const ProtobufCMessage *r);

/* queue_list.c */
/* What a list method was asked for: a page of `list` (which the token is bound to). */
struct task_page_ask {
    int32_t size; /* 0, and more than `max`: `max` */
    size_t max;
    const char *token, *list;
};
struct task_page {
    size_t size;
    const char *after;
};
/** Tokens are good for two hours. */
MUST_USE int task_page_open(const struct queues *qs, struct arena *a, const struct task_page_ask *ask, struct task_page *p, struct err *e);
/** The token after `last`; NULL when the arena is full. */
char *task_page_token(const struct queues *qs, struct arena *a, const char *list, const char *last);
void on_list_queues(void *qs, struct call *c, const ProtobufCMessage *r);
void on_list_locations(void *qs, struct call *c, const ProtobufCMessage *r);

/* task_validate.c */
/** A record of what the client wants, in the arena and partly the request itself, checked and with its defaults; NULL: `e` says why not. */
TaskRecord *task_record_new(struct queues *qs, struct arena *a, const char *parent, const PbTask *wanted, struct err *e);

/* task_api.c */
const char *task_id_of(const char *name); /* the part after the last slash */
/** The task as clients see it, in the arena; BASIC leaves out the body. NULL: full. */
PbTask *task_view(struct arena *a, const PbTask *t, PbView view);
/** What went wrong with a task, in Google's words where they were recorded. */
void task_error(struct err *out, const struct err *e, const char *name);
void on_create_task(void *qs, struct call *c, const ProtobufCMessage *r);
void on_batch_create_tasks(void *qs, struct call *c, const ProtobufCMessage *r);
void on_get_task(void *qs, struct call *c, const ProtobufCMessage *r);
void on_list_tasks(void *qs, struct call *c, const ProtobufCMessage *r);
void on_delete_task(void *qs, struct call *c, const ProtobufCMessage *r);
void on_run_task(void *qs, struct call *c, const ProtobufCMessage *r);

/* dead_tasks.c */
void on_get_task_timeline(void *qs, struct call *c, const ProtobufCMessage *r);
void on_list_dead_tasks(void *qs, struct call *c, const ProtobufCMessage *r);
void on_redrive_dead_tasks(void *qs, struct call *c, const ProtobufCMessage *r);
void on_delete_dead_tasks(void *qs, struct call *c, const ProtobufCMessage *r);

#endif

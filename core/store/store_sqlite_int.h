/** store_sqlite_int.h: the parts of the SQLite store: the thread and its queue (store_sqlite.c), what SQLite is asked
 *          (store_sqlite_apply.c; of entries: store_sqlite_entries.c), the schema and its upgrades (store_schema.c). No sqlite3.h here.
 *  Thread: `db` and the statements belong to whoever holds `db_lock`: the store thread while it commits or reads, the
 *          engine while it loads. */
#ifndef CORE_STORE_STORE_SQLITE_INT_H
#define CORE_STORE_STORE_SQLITE_INT_H

#include "core/base/log.h"
#include "core/loop/thread.h"
#include "core/store/store_int.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#define STORE_PATH_MAX 4096
/* Limits of the SQLite store. */
#define STORE_GROUP_OPS_MAX 8192 /* one commit */
#define STORE_GROUP_BYTES_MAX (8u * 1024 * 1024)
#define STORE_READ_KEEP_BYTES (1u * 1024 * 1024) /* scratch kept between reads */
#define STORE_PAGE_BYTES 4096                    /* set when the file is made */
#define STORE_CACHE_KIB 6144                     /* pages in memory: an empty server stays within 16 MB in all */
#define STORE_WAL_KEEP_BYTES (16 * 1024 * 1024)  /* the log file shrinks to this when it starts anew */
#define STORE_CHECKPOINT_IDLE_PAGES 256          /* log pages worth moving when nobody waits */
#define STORE_CHECKPOINT_BUSY_PAGES 2048         /* ... and when somebody does */
#define STORE_TRIM_ROWS_AT_ONCE 512              /* dropped by the transaction itself */
#define STORE_TRIM_ROWS_BUSY 1000                /* in the background, between two groups */
#define STORE_TRIM_ROWS_IDLE 5000
#define STORE_DROP_ROWS_PART 8              /* of these: entries, which lie in four trees, each elsewhere */
#define STORE_DROP_BYTES (4u * 1024 * 1024) /* ... and their bodies may be large */
#define STORE_VACUUM_PAGES 256              /* given back to the file system at once */
#define STORE_VACUUM_FREE_PAGES 2048        /* free pages below this are kept for new messages */
/* Appends are refused while less than this is left of the disk, so that acknowledgements and trims, which make room, still
 * work. Small file systems keep a part of themselves. */
#define STORE_RESERVE_BYTES (32u * 1024 * 1024)
#define STORE_RESERVE_PART 20
#define STORE_RESERVE_LEAVE(bytes) ((bytes) + (bytes) / 4) /* accepted again from here: no flicker at the edge */

struct sqlite3;
struct sqlite3_stmt;

/* name, SQL */
#define STORE_STATEMENTS(X)                                                                                             \
    X(BEGIN, "BEGIN IMMEDIATE")                                                                                         \
    X(COMMIT, "COMMIT")                                                                                                 \
    X(ROLLBACK, "ROLLBACK")                                                                                             \
    X(SAVEPOINT, "SAVEPOINT txn")                                                                                       \
    X(RELEASE, "RELEASE txn")                                                                                           \
    X(ROLLBACK_TO, "ROLLBACK TO txn")                                                                                   \
    X(PUT, "INSERT INTO resources(kind,name,body) VALUES(?1,?2,?3) "                                                    \
           "ON CONFLICT(kind,name) DO UPDATE SET body=excluded.body")                                                   \
    X(DELETE, "DELETE FROM resources WHERE kind=?1 AND name=?2")                                                        \
    X(META, "INSERT INTO meta(key,value) VALUES(?1,?2) ON CONFLICT(key) DO UPDATE SET value=excluded.value")            \
    X(APPEND, "INSERT INTO messages(id,wall_ns,bytes) VALUES(?1,?2,?3)")                                                \
    X(TOPIC, "SELECT floor,next,trimming FROM topics WHERE id=?1")                                                      \
    X(TOPIC_SET, "INSERT INTO topics(id,floor,next,trimming) VALUES(?1,?2,?3,?4) ON CONFLICT(id) DO UPDATE "            \
                 "SET floor=excluded.floor,next=excluded.next,trimming=excluded.trimming")                              \
    X(TOPIC_TRIMMED, "UPDATE topics SET trimming=0 WHERE id=?1")                                                        \
    X(TRIMMING, "SELECT id,floor FROM topics WHERE trimming LIMIT 1")                                                   \
    X(ROW_FIRST, "SELECT id,wall_ns FROM messages WHERE id>=?1 AND id<=?2 ORDER BY id LIMIT 1")                         \
    X(ROW_LAST, "SELECT id FROM messages WHERE id>=?1 AND id<=?2 ORDER BY id DESC LIMIT 1")                             \
    X(ROWS_DROP, "DELETE FROM messages WHERE id>=?1 AND id<?2")                                                         \
    X(ROWS, "SELECT id,wall_ns,bytes FROM messages WHERE id>=?1 AND id<=?2 ORDER BY id LIMIT ?3")                       \
    X(FLOOR, "INSERT INTO acks(sub_id,floor) VALUES(?1,?2) ON CONFLICT(sub_id) DO UPDATE SET "                          \
             "floor=excluded.floor")                                                                                    \
    X(FLOOR_GET, "SELECT floor FROM acks WHERE sub_id=?1")                                                              \
    X(FLOOR_DROP, "DELETE FROM acks WHERE sub_id=?1")                                                                   \
    X(CHUNK, "INSERT INTO ack_chunks(sub_id,chunk,bits) VALUES(?1,?2,?3) ON CONFLICT(sub_id,chunk) DO "                 \
             "UPDATE SET bits=excluded.bits")                                                                           \
    X(CHUNKS, "SELECT chunk,bits FROM ack_chunks WHERE sub_id=?1 ORDER BY chunk")                                       \
    X(CHUNKS_BELOW_DROP, "DELETE FROM ack_chunks WHERE sub_id=?1 AND chunk<?2")                                         \
    X(CHUNKS_DROP, "DELETE FROM ack_chunks WHERE sub_id=?1")                                                            \
    X(RESOURCES, "SELECT name,body FROM resources WHERE kind=?1 ORDER BY name")                                         \
    X(META_GET, "SELECT value FROM meta WHERE key=?1")                                                                  \
    X(ENTRY_ADD, "INSERT INTO entries(list,key,lane,due,body) VALUES(?1,?2,?3,?4,?5)")                                  \
    X(ENTRY_PUT, "INSERT INTO entries(list,key,lane,due,body) VALUES(?1,?2,?3,?4,?5) ON CONFLICT(list,key) "            \
                 "DO UPDATE SET lane=excluded.lane,due=excluded.due,body=excluded.body")                                \
    X(ENTRY_DELETE, "DELETE FROM entries WHERE list=?1 AND key=?2")                                                     \
    X(ENTRY, "SELECT key,lane,due,body FROM entries WHERE list=?1 AND key=?2")                                          \
    X(ENTRIES_BY_DUE, "SELECT key,lane,due,body FROM entries INDEXED BY entries_due WHERE list=?1 "                     \
                      "AND lane=?2 AND (due,key)>(?3,?4) ORDER BY due,key LIMIT ?5")                                    \
    X(LANE_FIRST, "SELECT lane FROM entries INDEXED BY entries_lane WHERE list=?1 AND lane>=?2 "                        \
                  "ORDER BY lane LIMIT 1")                                                                              \
    X(LANE_KEY, "SELECT key FROM entries INDEXED BY entries_lane WHERE list=?1 AND lane=?2 AND key>?3 "                 \
                "ORDER BY key LIMIT 1")                                                                                 \
    X(LANES, "SELECT lane,count(*) FROM entries INDEXED BY entries_lane WHERE list=?1 GROUP BY lane")                   \
    X(LIST_DROP, "INSERT INTO dropped_lists(list) VALUES(?1) ON CONFLICT(list) DO NOTHING")                             \
    X(LIST_DROPPED, "SELECT 1 FROM dropped_lists WHERE list=?1")                                                        \
    X(LIST_DROPPING, "SELECT list FROM dropped_lists LIMIT 1")                                                          \
    X(LIST_FORGET, "DELETE FROM dropped_lists WHERE list=?1")                                                           \
    X(ENTRIES_SIZES, "SELECT key,length(body) FROM entries INDEXED BY entries_key WHERE list=?1 ORDER BY key LIMIT ?2") \
    X(ENTRIES_DROP_TO, "DELETE FROM entries INDEXED BY entries_key WHERE list=?1 AND key<=?2")                          \
    X(FREE_PAGES, "PRAGMA freelist_count")                                                                              \
    X(PAGES, "PRAGMA page_count")

enum store_statement {
#define STORE_STATEMENT_ENUM(name, sql) SQL_##name,
    STORE_STATEMENTS(STORE_STATEMENT_ENUM)
#undef STORE_STATEMENT_ENUM
        SQL_N
};

struct store_sqlite {
    struct store store;
    struct log *log;
    struct mailbox *engine;
    char dir[STORE_PATH_MAX], path[STORE_PATH_MAX];
    int lock_fd;

    pthread_mutex_t db_lock; /* recursive: the callback of a load may load too */
    struct sqlite3 *db;
    struct sqlite3_stmt *stmts[SQL_N];

    /* the store thread's */
    struct store_item *head, **tail;   /* taken, not yet worked on */
    int wal_pages, checkpoint_at;      /* pages in the log; when to try the next checkpoint */
    bool trims_waiting, space_waiting; /* background work there may be */
    enum err_code trouble;             /* of the last group */
    bool low;                          /* the reserve is touched */
    struct buf scratch;
    struct store_row *scratch_rows;
    size_t scratch_rows_cap;
    struct store_entry *scratch_entries;
    size_t scratch_entries_cap;

    /* between the two */
    struct thread *thread;
    struct mailbox *inbox;
    sem_t more;
    _Atomic bool stopping;
    _Atomic uint64_t commits, transactions;
    _Atomic int64_t last_commit_ns;
    _Atomic bool full;

    /* the engine's */
    size_t bytes_queued;
};

/* store_sqlite_apply.c; each under db_lock */
int store_sql_prepare(struct store_sqlite *s, struct err *e);
void store_sql_close(struct store_sqlite *s);
/** Commit the chain of transactions together and set the outcome of each. False when the whole group failed. */
bool store_sql_commit(struct store_sqlite *s, struct store_item *first);
void store_sql_read(struct store_sqlite *s, struct store_read *r);
void store_sql_seek(struct store_sqlite *s, struct store_seek *q);
/** Bytes of the file that new records can take without its growing. */
uint64_t store_sql_spare_bytes(struct store_sqlite *s);
/** One step of background work: drop up to `rows` trimmed messages, or give space back. False: nothing left to do. */
bool store_sql_background(struct store_sqlite *s, int rows);
void store_sql_checkpoint(struct store_sqlite *s);
/** The error of SQLite code `rc` in our terms; returns -code. */
int store_sql_fail(const struct store_sqlite *s, int rc, struct err *e);
int store_sql_load_resources(struct store_sqlite *s, const char *kind,
                             int (*fn)(void *arg, const char *name, struct str body, struct err *e), void *arg, struct err *e);
int store_sql_load_meta(struct store_sqlite *s, const char *key, uint64_t *value, struct err *e);
int store_sql_bounds(struct store_sqlite *s, uint64_t topic_id, uint64_t *first, uint64_t *next, struct err *e);
int store_sql_load_acks(struct store_sqlite *s, uint64_t sub_id, uint64_t *floor,
                        int (*fn)(void *arg, uint64_t chunk, const uint8_t *bits, struct err *e), void *arg, struct err *e);
/** Step a statement that answers no row. Returns SQLITE_OK or what failed. */
int store_sql_run(struct store_sqlite *s, enum store_statement which);
struct sqlite3_stmt *store_sql_numbers(struct store_sqlite *s, enum store_statement which, int64_t a, int64_t b);
int store_sql_run_numbers(struct store_sqlite *s, enum store_statement which, int64_t a, int64_t b);
/** The first `n` columns of the first row into out[]; found says whether there is one. */
int store_sql_fetch(struct store_sqlite *s, enum store_statement which, int64_t *out, int n, bool *found);
void store_sql_bind_blob(struct sqlite3_stmt *st, int at, struct str b);
/** A statement of its own, which the caller finalizes: what the callback of a load does may load too. */
int store_sql_prepare_own(struct store_sqlite *s, enum store_statement which, struct sqlite3_stmt **st, struct err *e);

/* store_sqlite_entries.c */
/** Any of the STORE_OP_ENTR* operations; returns SQLite's code. */
int store_sql_apply_entry(struct store_sqlite *s, const struct store_op *op);
void store_sql_entries(struct store_sqlite *s, struct store_entries *r);
int store_sql_load_lanes(struct store_sqlite *s, uint64_t list_id, int (*fn)(void *arg, uint32_t lane, uint64_t count, struct err *e),
                         void *arg, struct err *e);
/** Some rows of a list that is dropped, a part of `rows`; when there is none, no background dropping is left. Returns SQLite's code. */
int store_sql_drop_entries(struct store_sqlite *s, int rows);

/* store_schema.c */
/** Open the file, set it up for us and bring its schema up to date. */
int store_schema_open(struct store_sqlite *s, struct err *e);

#endif

/** store_sqlite.c: the server's store: the directory and its lock, the queue, the store thread and its groups.
 *  Shape:  submit -> inbox -> the thread takes all there is, commits it as one group, posts the group back by the mail of
 *          its first item -> done for each, in order, on the engine. Reads run after the group they were taken with. */
#include "core/store/store_sqlite_int.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static struct store_sqlite *of(struct store *s) { return CONTAINER_OF(s, struct store_sqlite, store); }

/* ---- the engine's side ---- */

/* A group is back: its items are chained behind the first, whose mail it came by. */
static void deliver_group(struct mail *m)
{
    struct store_item *i = CONTAINER_OF(m, struct store_item, mail);
    struct store_sqlite *s = of(i->store);
    while (i) {
        struct store_item *next = i->next; /* finishing frees it */
        if (i->kind == STORE_ITEM_TXN)
            s->bytes_queued -= store_item_txn(i)->bytes;
        store_item_finish(i);
        i = next;
    }
}

static void sqlite_submit(struct store *store, struct store_txn *t, store_done_fn done, void *arg)
{
    struct store_sqlite *s = of(store);
    assert(!t->broken);
    store_item_begin(&t->item, store, STORE_ITEM_TXN);
    t->done = done;
    t->arg = arg;
    if (s->bytes_queued + t->bytes > STORE_QUEUE_BYTES_MAX) {
        /* Refused, but in its place in the order: only its shell travels. */
        err_set(&t->item.err, ERR_RESOURCE_EXHAUSTED, "%zu MB wait to be stored already: try again later", s->bytes_queued >> 20);
        store_txn_drop_ops(t);
        t->bytes = 0;
    }
    s->bytes_queued += t->bytes;
    mailbox_post(s->inbox, &t->item.mail);
}

static void sqlite_read(struct store *store, struct store_read *r)
{
    store_item_begin(&r->item, store, STORE_ITEM_READ);
    mailbox_post(of(store)->inbox, &r->item.mail);
}

static void sqlite_seek(struct store *store, struct store_seek *q)
{
    store_item_begin(&q->item, store, STORE_ITEM_SEEK);
    mailbox_post(of(store)->inbox, &q->item.mail);
}

static void sqlite_entries(struct store *store, struct store_entries *r)
{
    store_item_begin(&r->item, store, STORE_ITEM_ENTRIES);
    mailbox_post(of(store)->inbox, &r->item.mail);
}

static uint64_t file_bytes(const char *path, const char *suffix)
{
    char full[STORE_PATH_MAX + 8];
    struct stat st;
    snprintf(full, sizeof full, "%s%s", path, suffix);
    return stat(full, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static struct store_stats sqlite_stats(struct store *store)
{
    struct store_sqlite *s = of(store);
    return (struct store_stats){
        .commits = atomic_load(&s->commits),
        .transactions = atomic_load(&s->transactions),
        .bytes_queued = s->bytes_queued,
        .file_bytes = file_bytes(s->path, "") + file_bytes(s->path, "-wal"),
        .last_commit_ns = atomic_load(&s->last_commit_ns),
        .full = atomic_load(&s->full),
    };
}

/* ---- the store thread ---- */

static void wake(void *arg) { sem_post(&((struct store_sqlite *)arg)->more); }

/* Put what has come into the queue; false when nothing is waiting at all. */
static bool take(struct store_sqlite *s)
{
    for (struct mail *m = mailbox_take(s->inbox), *next; m; m = next) {
        struct store_item *i = CONTAINER_OF(m, struct store_item, mail);
        next = m->next;
        i->next = NULL;
        *s->tail = i;
        s->tail = &i->next;
    }
    return s->head != NULL;
}

/* The next items up to the bounds of a group, cut off the queue: writes apart from reads, each in order. */
struct group {
    struct store_item *txns, **txns_tail, *reads, **reads_tail;
    size_t n, ops, bytes;
};

static void cut_group(struct store_sqlite *s, struct group *g)
{
    *g = (struct group){.txns_tail = &g->txns, .reads_tail = &g->reads};
    while (s->head && g->ops < STORE_GROUP_OPS_MAX && g->bytes < STORE_GROUP_BYTES_MAX) {
        struct store_item *i = s->head;
        s->head = i->next;
        i->next = NULL;
        g->ops++;
        if (i->kind != STORE_ITEM_TXN) {
            *g->reads_tail = i;
            g->reads_tail = &i->next;
            continue;
        }
        g->ops += store_item_txn(i)->n;
        g->bytes += store_item_txn(i)->bytes;
        g->n++;
        *g->txns_tail = i;
        g->txns_tail = &i->next;
    }
    if (!s->head)
        s->tail = &s->head;
}

static void post_back(struct store_sqlite *s, struct store_item *first)
{
    first->mail.deliver = deliver_group;
    mailbox_post(s->engine, &first->mail);
}

/* Logged when it changes: a broken disk refuses thousands of groups a second. */
static void report_trouble(struct store_sqlite *s, const struct err *why)
{
    enum err_code now = why ? why->code : ERR_OK;
    atomic_store(&s->full, now == ERR_RESOURCE_EXHAUSTED);
    if (now == s->trouble)
        return;
    s->trouble = now;
    if (why)
        log_kv(s->log, LOG_ERROR, now == ERR_RESOURCE_EXHAUSTED ? "store.full" : "store.failed", LSTR("dir", s->dir),
               LSTR("error", why->msg), LINT("sqlite_code", why->sys));
    else
        log_kv(s->log, LOG_INFO, "store.works_again", LSTR("dir", s->dir));
}

/* Is the reserve touched? Pages that are free within the file count as room; what is in the log may have to grow the file
 * when it is moved there, so that room is taken. */
static bool is_low(struct store_sqlite *s, uint64_t *left)
{
    struct statvfs v;
    if (statvfs(s->dir, &v))
        return false; /* then the write itself will tell */
    uint64_t all = (uint64_t)v.f_blocks * v.f_frsize, reserve = all / STORE_RESERVE_PART;
    reserve = reserve < STORE_RESERVE_BYTES ? reserve : STORE_RESERVE_BYTES;
    if (s->low)
        reserve = STORE_RESERVE_LEAVE(reserve);
    reserve += (uint64_t)s->wal_pages * STORE_PAGE_BYTES;
    *left = (uint64_t)v.f_bavail * v.f_frsize;
    if (*left < reserve)
        *left += store_sql_spare_bytes(s);
    return *left < reserve;
}

static bool appends(const struct store_txn *t)
{
    for (size_t i = 0; i < t->n; i++)
        if (t->ops[i].kind == STORE_OP_APPEND || t->ops[i].kind == STORE_OP_ENTRY_ADD)
            return true;
    return false;
}

/* Refuse what fills the disk; the rest of the group goes on. Returns why, or NULL when nothing was refused. */
static const struct err *refuse_appends(struct store_sqlite *s, struct store_item *first)
{
    const struct err *why = NULL;
    uint64_t left = 0;
    s->low = is_low(s, &left);
    for (struct store_item *i = s->low ? first : NULL; i; i = i->next) {
        if (i->err.code != ERR_OK || !appends(store_item_txn(i)))
            continue;
        err_set(&i->err, ERR_RESOURCE_EXHAUSTED,
                "the disk of %s is nearly full (%" PRIu64 " MB left): free some space; nothing accepted before is lost", s->dir,
                left >> 20);
        why = &i->err;
    }
    return why;
}

static void commit_group(struct store_sqlite *s, struct group *g)
{
    const struct err *refused_why = refuse_appends(s, g->txns);
    int64_t start_ns = clock_mono_ns(clock_real());
    bool ok = store_sql_commit(s, g->txns);
    atomic_store(&s->last_commit_ns, clock_mono_ns(clock_real()) - start_ns);
    if (ok) {
        atomic_fetch_add(&s->commits, 1);
        atomic_fetch_add(&s->transactions, g->n);
    }
    if (!ok || refused_why || !s->low) /* acknowledgements on a low disk are not the end of the trouble */
        report_trouble(s, ok ? refused_why : &g->txns->err);
    post_back(s, g->txns);
    if (!ok) /* moving the log into the file may make room in the log */
        store_sql_checkpoint(s);
}

static void run_group(struct store_sqlite *s)
{
    struct group g;
    cut_group(s, &g);
    pthread_mutex_lock(&s->db_lock);
    if (g.txns)
        commit_group(s, &g);
    for (struct store_item *i = g.reads, *next; i; i = next) {
        next = i->next;
        i->next = NULL;
        if (i->kind == STORE_ITEM_READ)
            store_sql_read(s, store_item_read(i));
        else if (i->kind == STORE_ITEM_ENTRIES)
            store_sql_entries(s, store_item_entries(i));
        else
            store_sql_seek(s, store_item_seek(i));
        post_back(s, i);
    }
    pthread_mutex_unlock(&s->db_lock);
}

/* Between groups, whether somebody waits or not: keep the log short, and go on trimming. */
static void tidy_busy(struct store_sqlite *s)
{
    pthread_mutex_lock(&s->db_lock);
    if (s->wal_pages >= (s->low ? STORE_CHECKPOINT_IDLE_PAGES : s->checkpoint_at))
        store_sql_checkpoint(s); /* on a low disk at once, so that the log stays within the reserve */
    if (s->trims_waiting)
        (void)store_sql_background(s, STORE_TRIM_ROWS_BUSY);
    pthread_mutex_unlock(&s->db_lock);
}

/* When nobody waits. False: nothing left to do. */
static bool tidy_idle(struct store_sqlite *s)
{
    pthread_mutex_lock(&s->db_lock);
    bool did = store_sql_background(s, STORE_TRIM_ROWS_IDLE);
    if (s->wal_pages >= s->checkpoint_at ||
        (!did && s->wal_pages >= STORE_CHECKPOINT_IDLE_PAGES && s->checkpoint_at == STORE_CHECKPOINT_BUSY_PAGES))
        store_sql_checkpoint(s);
    pthread_mutex_unlock(&s->db_lock);
    return did;
}

static void thread_main(void *arg)
{
    struct store_sqlite *s = arg;
    bool started = false; /* background work waits for the first request: until then the engine loads */
    for (;;) {
        bool stopping = atomic_load(&s->stopping); /* read before the queue: what was posted before it is seen */
        if (take(s)) {
            started = true;
            run_group(s);
            tidy_busy(s);
        } else if (stopping) {
            return;
        } else if (!started || !tidy_idle(s)) {
            while (sem_wait(&s->more) && errno == EINTR) {}
        }
    }
}

/* ---- loading ---- */

static int sqlite_load_resources(struct store *store, const char *kind,
                                 int (*fn)(void *arg, const char *name, struct str body, struct err *e), void *arg, struct err *e)
{
    pthread_mutex_lock(&of(store)->db_lock);
    int rc = store_sql_load_resources(of(store), kind, fn, arg, e);
    pthread_mutex_unlock(&of(store)->db_lock);
    return rc;
}

static int sqlite_load_meta(struct store *store, const char *key, uint64_t *value, struct err *e)
{
    pthread_mutex_lock(&of(store)->db_lock);
    int rc = store_sql_load_meta(of(store), key, value, e);
    pthread_mutex_unlock(&of(store)->db_lock);
    return rc;
}

static int sqlite_topic_bounds(struct store *store, uint64_t topic_id, uint64_t *first, uint64_t *next, struct err *e)
{
    pthread_mutex_lock(&of(store)->db_lock);
    int rc = store_sql_bounds(of(store), topic_id, first, next, e);
    pthread_mutex_unlock(&of(store)->db_lock);
    return rc;
}

static int sqlite_load_acks(struct store *store, uint64_t sub_id, uint64_t *floor,
                            int (*fn)(void *arg, uint64_t chunk, const uint8_t *bits, struct err *e), void *arg, struct err *e)
{
    pthread_mutex_lock(&of(store)->db_lock);
    int rc = store_sql_load_acks(of(store), sub_id, floor, fn, arg, e);
    pthread_mutex_unlock(&of(store)->db_lock);
    return rc;
}

static int sqlite_load_lanes(struct store *store, uint64_t list_id, int (*fn)(void *arg, uint32_t lane, uint64_t count, struct err *e),
                             void *arg, struct err *e)
{
    pthread_mutex_lock(&of(store)->db_lock);
    int rc = store_sql_load_lanes(of(store), list_id, fn, arg, e);
    pthread_mutex_unlock(&of(store)->db_lock);
    return rc;
}

/* ---- opening and closing ---- */

/* The directory and those above it that are missing, for the owner only. */
static int make_dir(char *path, struct err *e)
{
    for (char *slash = path + 1;; *slash++ = '/') {
        slash = strchr(slash, '/');
        if (slash)
            *slash = '\0';
        if (mkdir(path, 0700) && errno != EEXIST) {
            int sys = errno;
            err_sys(e, ERR_FAILED_PRECONDITION, sys, "cannot create the data directory %s", path);
            return -ERR_FAILED_PRECONDITION;
        }
        if (!slash)
            return 0;
    }
}

static int refused(struct store_sqlite *s, struct err *e)
{
    char text[32] = "";
    ssize_t n = pread(s->lock_fd, text, sizeof text - 1, 0);
    long pid = n > 0 ? strtol(text, NULL, 10) : 0;
    if (pid > 0)
        return err_set(e, ERR_FAILED_PRECONDITION,
                       "the data directory %s is in use by another server (process %ld): stop that one, or choose another directory",
                       s->dir, pid);
    return err_set(e, ERR_FAILED_PRECONDITION,
                   "the data directory %s is in use by another server: stop that one, or choose another directory", s->dir);
}

/* One server a directory. The kernel drops the lock with the process, however that ends; the file's text is for people. */
static int lock_dir(struct store_sqlite *s, struct err *e)
{
    char path[STORE_PATH_MAX + 8], pid[32];
    snprintf(path, sizeof path, "%s/lock", s->dir);
    s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (s->lock_fd < 0)
        return err_sys(e, ERR_FAILED_PRECONDITION, errno, "cannot open %s", path);
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB))
        return errno == EWOULDBLOCK ? refused(s, e) : err_sys(e, ERR_FAILED_PRECONDITION, errno, "cannot lock %s", path);
    int n = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    /* On a full disk the server must still start, to deliver what it has: then the lock is without a number. */
    if (ftruncate(s->lock_fd, 0) || pwrite(s->lock_fd, pid, (size_t)n, 0) != n)
        log_kv(s->log, LOG_WARN, "store.lock.unsigned", LSTR("file", path));
    return 0;
}

/* Made by us, so that nobody else may read it; SQLite gives its log the same mode. */
static int make_file(struct store_sqlite *s, struct err *e)
{
    int fd = open(s->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(e, ERR_FAILED_PRECONDITION, errno, "cannot open %s", s->path);
    close(fd);
    int dir = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir >= 0) {
        (void)fsync(dir); /* its name must survive as its content does */
        close(dir);
    }
    return 0;
}

static int open_all(struct store_sqlite *s, const char *dir, struct err *e)
{
    int n = snprintf(s->dir, sizeof s->dir, "%s", dir), m = snprintf(s->path, sizeof s->path, "%s/runnel.db", dir);
    if (!*dir || n < 0 || m < 0 || (size_t)m >= sizeof s->path)
        return err_set(e, ERR_INVALID_ARGUMENT, "the name of the data directory is %s", *dir ? "too long" : "empty");
    int rc;
    if ((rc = make_dir(s->dir, e)) || (rc = lock_dir(s, e)) || (rc = make_file(s, e)) || (rc = store_schema_open(s, e)) ||
        (rc = store_sql_prepare(s, e)))
        return rc;
    s->inbox = mailbox_new(SIZE_MAX, wake, s);
    if (!s->inbox)
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory to open %s", dir);
    s->thread = thread_start("store", thread_main, s, e);
    return s->thread ? 0 : -ERR_RESOURCE_EXHAUSTED;
}

static void free_all(struct store_sqlite *s)
{
    mailbox_free(s->inbox);
    store_sql_close(s);
    if (s->lock_fd >= 0)
        close(s->lock_fd); /* last: from here on another server may open it */
    pthread_mutex_destroy(&s->db_lock);
    sem_destroy(&s->more);
    free(s);
}

/* Groups that came back and were not looked at yet: take ours out of the engine's mailbox, leave the others. */
static void deliver_ours(struct store_sqlite *s)
{
    for (struct mail *m = mailbox_take(s->engine), *next; m; m = next) {
        next = m->next;
        if (m->deliver == deliver_group && CONTAINER_OF(m, struct store_item, mail)->store == &s->store)
            deliver_group(m);
        else
            mailbox_post(s->engine, m);
    }
}

static void sqlite_close(struct store *store)
{
    struct store_sqlite *s = of(store);
    atomic_store(&s->stopping, true);
    sem_post(&s->more);
    thread_join(s->thread);
    deliver_ours(s);
    free_all(s);
}

static const struct store_ops sqlite_ops = {
    .submit = sqlite_submit,
    .read = sqlite_read,
    .seek = sqlite_seek,
    .entries = sqlite_entries,
    .stats = sqlite_stats,
    .close = sqlite_close,
    .load_resources = sqlite_load_resources,
    .load_meta = sqlite_load_meta,
    .topic_bounds = sqlite_topic_bounds,
    .load_acks = sqlite_load_acks,
    .load_lanes = sqlite_load_lanes,
};

struct store *store_sqlite_open(const char *dir, struct mailbox *engine, struct log *log, struct err *e)
{
    struct store_sqlite *s = calloc(1, sizeof *s);
    if (!s) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory to open %s", dir);
        return NULL;
    }
    s->store = (struct store){&sqlite_ops, 1};
    s->log = log;
    s->engine = engine;
    s->lock_fd = -1;
    s->tail = &s->head;
    buf_init(&s->scratch, SIZE_MAX);
    pthread_mutexattr_t recursive;
    pthread_mutexattr_init(&recursive);
    pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&s->db_lock, &recursive);
    pthread_mutexattr_destroy(&recursive);
    sem_init(&s->more, 0, 0);
    if (open_all(s, dir, e)) {
        free_all(s);
        return NULL;
    }
    return &s->store;
}

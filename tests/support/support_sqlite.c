/** support_sqlite.c: a VFS between SQLite and the default one, and SQLite's allocator with the faults of support_fault.h. */
#include "tests/support/support_sqlite.h"

#include "tests/support/support_fault.h"

#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_BYTES 512
#define FILES_MAX 256

static void die(const char *what)
{
    fprintf(stderr, "support_sqlite: %s\n", what);
    abort();
}

/* ---- the account of what is on the disk ---- */

struct pending {
    struct pending *next;
    bool truncates; /* to `at`; else `n` bytes at `at` */
    sqlite3_int64 at;
    size_t n;
    char bytes[];
};
struct image {
    char *p;
    size_t n, cap;
};
struct disk_file {
    char path[PATH_BYTES]; /* empty: free */
    struct image durable;
    struct pending *first, **last;
};
static struct disk_file files[FILES_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *must(void *p)
{
    if (!p)
        die("out of memory");
    return p;
}

static void apply(struct image *i, const struct pending *p)
{
    size_t end = (size_t)p->at + p->n;
    if (p->truncates ? end != i->n : end > i->n) {
        if (end > i->cap)
            i->p = must(realloc(i->p, i->cap = end * 2));
        if (end > i->n)
            memset(i->p + i->n, 0, end - i->n);
        i->n = end;
    }
    memcpy(i->p + p->at, p->bytes, p->n);
}

/* Everything pending becomes durable, or is forgotten. */
static void settle(struct disk_file *f, bool durable)
{
    for (struct pending *p = f->first, *next; p; p = next) {
        next = p->next;
        if (durable)
            apply(&f->durable, p);
        free(p);
    }
    f->first = NULL;
    f->last = &f->first;
}

static void note(struct disk_file *f, bool truncates, const void *bytes, size_t n, sqlite3_int64 at)
{
    fault_hold();
    pthread_mutex_lock(&lock);
    struct pending *p = must(malloc(sizeof *p + n));
    *p = (struct pending){.truncates = truncates, .at = at, .n = n};
    memcpy(p->bytes, bytes, n);
    *f->last = p;
    f->last = &p->next;
    pthread_mutex_unlock(&lock);
    fault_release();
}

static void load(struct image *i, const char *path)
{
    FILE *in = fopen(path, "rb");
    if (!in)
        return;
    fseek(in, 0, SEEK_END);
    i->n = (size_t)ftell(in);
    rewind(in);
    i->p = must(malloc(i->cap = i->n + 1));
    if (fread(i->p, 1, i->n, in) != i->n)
        die(path);
    fclose(in);
}

/* A file that is new here is taken as it is: whoever put it there is not under test. */
static struct disk_file *disk_file(const char *path)
{
    struct disk_file *f = NULL;
    fault_hold();
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < FILES_MAX; i++) {
        if (strcmp(files[i].path, path) == 0) {
            f = &files[i];
            break;
        }
        if (!f && !files[i].path[0])
            f = &files[i];
    }
    if (!f)
        die("too many files");
    if (!f->path[0]) {
        snprintf(f->path, sizeof f->path, "%s", path);
        f->last = &f->first;
        load(&f->durable, path);
    }
    pthread_mutex_unlock(&lock);
    fault_release();
    return f;
}

void sqlite_disk_forget(const char *dir)
{
    size_t n = strlen(dir);
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < FILES_MAX; i++) {
        if (!files[i].path[0] || strncmp(files[i].path, dir, n) != 0 || files[i].path[n] != '/')
            continue;
        settle(&files[i], false);
        free(files[i].durable.p);
        files[i] = (struct disk_file){0};
    }
    pthread_mutex_unlock(&lock);
}

static void save(const char *path, const struct image *i)
{
    FILE *out = fopen(path, "wb");
    if (!out || (i->n && fwrite(i->p, 1, i->n, out) != i->n) || fclose(out))
        die(path);
}

static void cut_file(const char *from, const char *to, const char *name, enum power_cut how)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", from, name);
    struct disk_file *f = disk_file(path);
    struct image found = {must(malloc(f->durable.n + 1)), f->durable.n, f->durable.n + 1};
    size_t turn = 0;
    if (f->durable.n)
        memcpy(found.p, f->durable.p, f->durable.n);
    for (struct pending *p = f->first; p; p = p->next)
        if (how == CUT_KEEPS_ALL || (how == CUT_KEEPS_SOME && turn++ % 2 == 0))
            apply(&found, p);
    snprintf(path, sizeof path, "%s/%s", to, name);
    save(path, &found);
    free(found.p);
}

void sqlite_power_cut(const char *from, const char *to, enum power_cut how)
{
    fault_hold();
    cut_file(from, to, "runnel.db", how);
    cut_file(from, to, "runnel.db-wal", how);
    fault_release();
}

/* ---- the VFS ---- */

struct file {
    sqlite3_file base;
    struct disk_file *disk; /* NULL: a temporary file */
    sqlite3_file *real;     /* behind this */
};
static sqlite3_vfs *real_vfs, shim;
static _Thread_local int last_error;

static sqlite3_file *real_of(sqlite3_file *f) { return ((struct file *)f)->real; }

static int write_fails(void)
{
    if (!fault_hits(FAULT_WRITE) && !fault_hits(FAULT_FULL))
        return SQLITE_OK;
    last_error = errno;
    return errno == ENOSPC ? SQLITE_FULL : SQLITE_IOERR_WRITE;
}

static int on_close(sqlite3_file *f) { return real_of(f)->pMethods->xClose(real_of(f)); }

static int on_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at) { return real_of(f)->pMethods->xRead(real_of(f), p, n, at); }

/* A write that fails has often done a part of its work. */
static int on_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
    struct disk_file *disk = ((struct file *)f)->disk;
    int failed = disk ? write_fails() : SQLITE_OK;
    int done = failed ? n / 2 : n;
    int rc = done ? real_of(f)->pMethods->xWrite(real_of(f), p, done, at) : SQLITE_OK;
    if (disk && rc == SQLITE_OK)
        note(disk, false, p, (size_t)done, at);
    return failed ? failed : rc;
}

static int on_truncate(sqlite3_file *f, sqlite3_int64 n)
{
    struct disk_file *disk = ((struct file *)f)->disk;
    if (disk && write_fails())
        return SQLITE_IOERR_TRUNCATE;
    int rc = real_of(f)->pMethods->xTruncate(real_of(f), n);
    if (disk && rc == SQLITE_OK)
        note(disk, true, "", 0, n);
    return rc;
}

/* After a failed one the system may have thrown away what it could not write: it is neither durable nor pending any more, though
 * it can still be read. */
static int on_sync(sqlite3_file *f, int flags)
{
    struct disk_file *disk = ((struct file *)f)->disk;
    bool fails = disk && fault_hits(FAULT_SYNC);
    if (fails)
        last_error = errno;
    pthread_mutex_lock(&lock);
    fault_hold();
    if (disk)
        settle(disk, !fails);
    fault_release();
    pthread_mutex_unlock(&lock);
    return fails ? SQLITE_IOERR_FSYNC : SQLITE_OK;
}

static int on_size(sqlite3_file *f, sqlite3_int64 *n) { return real_of(f)->pMethods->xFileSize(real_of(f), n); }
static int on_lock(sqlite3_file *f, int level) { return real_of(f)->pMethods->xLock(real_of(f), level); }
static int on_unlock(sqlite3_file *f, int level) { return real_of(f)->pMethods->xUnlock(real_of(f), level); }
static int on_reserved(sqlite3_file *f, int *out) { return real_of(f)->pMethods->xCheckReservedLock(real_of(f), out); }
static int on_control(sqlite3_file *f, int op, void *arg) { return real_of(f)->pMethods->xFileControl(real_of(f), op, arg); }
static int on_sector(sqlite3_file *f) { return real_of(f)->pMethods->xSectorSize(real_of(f)); }
static int on_traits(sqlite3_file *f) { return real_of(f)->pMethods->xDeviceCharacteristics(real_of(f)); }

/* Version 1: no shared memory, which the store's exclusive lock makes needless. */
static const sqlite3_io_methods methods = {
    .iVersion = 1,
    .xClose = on_close,
    .xRead = on_read,
    .xWrite = on_write,
    .xTruncate = on_truncate,
    .xSync = on_sync,
    .xFileSize = on_size,
    .xLock = on_lock,
    .xUnlock = on_unlock,
    .xCheckReservedLock = on_reserved,
    .xFileControl = on_control,
    .xSectorSize = on_sector,
    .xDeviceCharacteristics = on_traits,
};

static int on_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *out_flags)
{
    struct file *own = (struct file *)f;
    *own = (struct file){.real = (sqlite3_file *)(own + 1)};
    own->disk = name ? disk_file(name) : NULL;
    int rc = real_vfs->xOpen(real_vfs, name, own->real, flags, out_flags);
    if (rc == SQLITE_OK)
        own->base.pMethods = &methods;
    return rc;
}

/* The log is removed by a proper close; a name that is gone is gone for good, as the directory is synced with it. */
static int on_delete(sqlite3_vfs *vfs, const char *name, int sync_dir)
{
    int rc = real_vfs->xDelete(real_vfs, name, sync_dir);
    if (rc == SQLITE_OK) {
        struct disk_file *f = disk_file(name);
        pthread_mutex_lock(&lock);
        settle(f, false);
        f->durable.n = 0;
        pthread_mutex_unlock(&lock);
    }
    return rc;
}

static int on_last_error(sqlite3_vfs *vfs, int n, char *text) { return last_error; }

/* ---- memory ---- */

static sqlite3_mem_methods real_memory;
static void *on_malloc(int n) { return fault_hits(FAULT_SQLITE_ALLOC) ? NULL : real_memory.xMalloc(n); }
static void *on_realloc(void *p, int n) { return fault_hits(FAULT_SQLITE_ALLOC) ? NULL : real_memory.xRealloc(p, n); }

void sqlite_faults_install(void)
{
    sqlite3_mem_methods memory;
    if (real_vfs)
        return;
    if (sqlite3_config(SQLITE_CONFIG_GETMALLOC, &real_memory))
        die("its allocator");
    memory = real_memory;
    memory.xMalloc = on_malloc;
    memory.xRealloc = on_realloc;
    /* Without its own small blocks every allocation comes here. */
    if (sqlite3_config(SQLITE_CONFIG_MALLOC, &memory) || sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0) ||
        !(real_vfs = sqlite3_vfs_find(NULL)))
        die("its settings");
    shim = *real_vfs;
    shim.zName = "faulty";
    shim.szOsFile = (int)sizeof(struct file) + real_vfs->szOsFile;
    shim.xOpen = on_open;
    shim.xDelete = on_delete;
    shim.xGetLastError = on_last_error;
    if (sqlite3_vfs_register(&shim, 1))
        die("its files");
    fault_skip_syncs();
}

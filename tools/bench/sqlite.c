/* sqlite.c: SQLite alone: durable appends of messages in groups, with the settings and the table of core/store, and no server
 * around it. `sqlite --dir DIR --rows N --group G --data BYTES` makes a new file in DIR and prints one line of JSON. */
#include "tools/bench/hist.h"
#include "tools/bench/util.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DATA_MAX 100000
/* As core/store has it; there the checkpoint is run by hand, here SQLite does it at the same length of the log. */
#define SETTINGS                                                                                                      \
    "PRAGMA page_size=4096; PRAGMA auto_vacuum=INCREMENTAL; PRAGMA secure_delete=OFF; PRAGMA locking_mode=EXCLUSIVE;" \
    "PRAGMA mmap_size=0; PRAGMA temp_store=MEMORY; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"                 \
    "PRAGMA cache_size=-6144; PRAGMA journal_size_limit=16777216; PRAGMA wal_autocheckpoint=2048;"                    \
    "CREATE TABLE messages(id INTEGER PRIMARY KEY, wall_ns INTEGER NOT NULL, bytes BLOB NOT NULL)"
#define TOPIC_BITS 40
/* Before the clock starts: a log that has been full once is written over, and no longer grows with each sync. The server's is like that
 * from its first minute on. */
#define WARM_ROWS 40000
#define WARM_GROUP 256

static sqlite3 *db;

static void check(int rc, const char *what)
{
    if (rc != SQLITE_OK && rc != SQLITE_DONE)
        die("%s: %s", what, sqlite3_errmsg(db));
}

static sqlite3_stmt *prepare(const char *sql)
{
    sqlite3_stmt *st;
    check(sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &st, NULL), sql);
    return st;
}

static void step(sqlite3_stmt *st, const char *what)
{
    check(sqlite3_step(st), what);
    sqlite3_reset(st);
}

static void append(const char *data, int64_t bytes, int64_t first, int64_t rows, int64_t group, struct hist *commits)
{
    sqlite3_stmt *begin = prepare("BEGIN IMMEDIATE"), *commit = prepare("COMMIT");
    sqlite3_stmt *insert = prepare("INSERT INTO messages(id,wall_ns,bytes) VALUES(?1,?2,?3)");
    for (int64_t row = first, last = first + rows; row < last;) {
        int64_t from_ns = now_ns();
        step(begin, "begin");
        for (int64_t end = row + group < last ? row + group : last; row < end; row++) {
            sqlite3_bind_int64(insert, 1, (INT64_C(1) << TOPIC_BITS) + row);
            sqlite3_bind_int64(insert, 2, from_ns);
            sqlite3_bind_blob(insert, 3, data, (int)bytes, SQLITE_STATIC);
            step(insert, "insert");
        }
        step(commit, "commit");
        hist_add(commits, now_ns() - from_ns);
    }
    sqlite3_finalize(begin);
    sqlite3_finalize(commit);
    sqlite3_finalize(insert);
}

int main(int argc, char **argv)
{
    static struct hist commits, warm;
    static char data[DATA_MAX];
    const char *dir = NULL;
    int64_t rows = 100000, group = 64, bytes = 300;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--dir") == 0)
            dir = argv[i + 1];
        else if (strcmp(argv[i], "--rows") == 0)
            rows = parse_number(argv[i], argv[i + 1], 1, 1000000000);
        else if (strcmp(argv[i], "--group") == 0)
            group = parse_number(argv[i], argv[i + 1], 1, 100000);
        else if (strcmp(argv[i], "--data") == 0)
            bytes = parse_number(argv[i], argv[i + 1], 0, DATA_MAX);
        else
            die_usage("unknown option %s", argv[i]);
    }
    if (!dir)
        die_usage("usage: sqlite --dir DIR [--rows N] [--group G] [--data BYTES]");
    char path[4096];
    snprintf(path, sizeof path, "%s/alone.db", dir);
    if (access(path, F_OK) == 0)
        die("%s is there already", path);
    memset(data, 'x', sizeof data);
    check(sqlite3_open(path, &db), "open");
    check(sqlite3_exec(db, SETTINGS, NULL, NULL, NULL), "settings");
    append(data, 300, 0, WARM_ROWS, WARM_GROUP, &warm);
    struct cpu before = cpu_used();
    int64_t begin_ns = now_ns();
    append(data, bytes, WARM_ROWS, rows, group, &commits);
    double seconds = (double)(now_ns() - begin_ns) / 1e9;
    struct cpu cpu = cpu_used();
    sqlite3_close(db);
    printf(
        "{\"rows\":%lld,\"group\":%lld,\"seconds\":%.6f,\"per_second\":%.1f,\"commit_p50_us\":%.1f,\"commit_p99_us\":%.1f,\"user_us\":%.3f}\n",
        (long long)rows, (long long)group, seconds, (double)rows / seconds, hist_percentile(&commits, 0.5) / 1e3,
        hist_percentile(&commits, 0.99) / 1e3, (cpu.user_us - before.user_us) / (double)rows);
    return 0;
}

/** store_schema.c: opening the database file, its settings, its schema and the upgrades of older ones.
 *
 *  To change the schema:
 *    1. Append one entry to `upgrades`: the SQL that turns the version before it into the new one. Never edit an entry
 *       that was released: files out there have gone through it.
 *    2. The version is the number of entries; it is kept in PRAGMA user_version. An upgrade and its version are one
 *       transaction, so a crash leaves either schema, whole.
 *    3. Keep a file written by the version before as a fixture for ever, and let tests/unit/test_store.c open it.
 *  A file of a newer version is refused and not touched. */
#include "core/store/store_sqlite_int.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

#define STORE_APPLICATION_ID 0x526e6e6c /* "Rnnl" */

static const char *const upgrades[] = {
    /* 0 -> 1. messages.id is topic << 40 | seq. topics has a row once a topic was trimmed: messages below `floor` are gone
     * for readers, `trimming` says that some rows are still to be dropped, `next` is a sequence number never used. */
    "CREATE TABLE resources(kind TEXT NOT NULL, name TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY(kind,name)) WITHOUT ROWID;"
    "CREATE TABLE meta(key TEXT NOT NULL PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE messages(id INTEGER PRIMARY KEY, wall_ns INTEGER NOT NULL, bytes BLOB NOT NULL);"
    "CREATE TABLE topics(id INTEGER PRIMARY KEY, floor INTEGER NOT NULL, next INTEGER NOT NULL, trimming INTEGER NOT NULL);"
    "CREATE INDEX topics_trimming ON topics(id) WHERE trimming;"
    "CREATE TABLE acks(sub_id INTEGER PRIMARY KEY, floor INTEGER NOT NULL);"
    "CREATE TABLE ack_chunks(sub_id INTEGER NOT NULL, chunk INTEGER NOT NULL, bits BLOB NOT NULL, PRIMARY KEY(sub_id,chunk)) WITHOUT ROWID;",
    /* 1 -> 2. Rows with rowids: new ones come at the end of the table whatever their keys, and bodies up to a page stay in it
     * (without rowids, random keys took half as much again to insert). entries_lane is for pages of keys that must not walk over
     * a million names of another lane. Rows of a list in dropped_lists are gone for readers and still to be deleted. */
    "CREATE TABLE entries(id INTEGER PRIMARY KEY, list INTEGER NOT NULL, key TEXT NOT NULL, lane INTEGER NOT NULL, due INTEGER NOT NULL, "
    "body BLOB NOT NULL);"
    "CREATE UNIQUE INDEX entries_key ON entries(list,key);"
    "CREATE INDEX entries_due ON entries(list,lane,due,key);"
    "CREATE INDEX entries_lane ON entries(list,lane,key);"
    "CREATE TABLE dropped_lists(list INTEGER PRIMARY KEY);",
};
#define SCHEMA_VERSION ((int)ARRAY_LEN(upgrades))

static int exec(struct store_sqlite *s, const char *sql, struct err *e)
{
    int rc = sqlite3_exec(s->db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : store_sql_fail(s, rc, e);
}

static int read_number(struct store_sqlite *s, const char *sql, int *out, struct err *e)
{
    sqlite3_stmt *st;
    int rc = sqlite3_prepare_v2(s->db, sql, -1, &st, NULL);
    if (rc == SQLITE_OK) {
        rc = sqlite3_step(st);
        *out = sqlite3_column_int(st, 0);
        int end = sqlite3_finalize(st);
        rc = rc == SQLITE_ROW || rc == SQLITE_DONE ? end : rc;
    }
    return rc == SQLITE_OK ? 0 : store_sql_fail(s, rc, e);
}

/* Ours, or empty; anything else belongs to somebody. */
static int check_owner(struct store_sqlite *s, int *version, struct err *e)
{
    int id = 0, tables = 0, rc;
    if ((rc = read_number(s, "PRAGMA application_id", &id, e)) || (rc = read_number(s, "PRAGMA user_version", version, e)) ||
        (rc = read_number(s, "SELECT count(*) FROM sqlite_master", &tables, e)))
        return rc;
    if (id != STORE_APPLICATION_ID && (id || *version || tables))
        return err_set(e, ERR_FAILED_PRECONDITION, "%s is a database of another program: choose another data directory", s->path);
    if (*version > SCHEMA_VERSION)
        return err_set(e, ERR_FAILED_PRECONDITION,
                       "%s was written by a newer version of this program (schema %d, this one knows %d): use that version", s->path,
                       *version, SCHEMA_VERSION);
    return 0;
}

static int upgrade(struct store_sqlite *s, int version, struct err *e)
{
    for (; version < SCHEMA_VERSION; version++) {
        char after[128];
        snprintf(after, sizeof after, "PRAGMA application_id=%d; PRAGMA user_version=%d; COMMIT", STORE_APPLICATION_ID, version + 1);
        int rc = exec(s, "BEGIN IMMEDIATE", e);
        if (rc == 0 && (exec(s, upgrades[version], e) || exec(s, after, e))) {
            (void)exec(s, "ROLLBACK", NULL);
            return err_wrap(e, "cannot bring %s from schema %d to %d", s->path, version, version + 1);
        }
        if (rc)
            return rc;
        if (version > 0)
            log_kv(s->log, LOG_INFO, "store.upgraded", LSTR("file", s->path), LINT("schema", version + 1));
    }
    return 0;
}

int store_schema_open(struct store_sqlite *s, struct err *e)
{
    int version = 0, rc = sqlite3_open_v2(s->path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
    if (rc != SQLITE_OK)
        return store_sql_fail(s, rc, e);
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    char cache[96], first[64];
    snprintf(first, sizeof first, "PRAGMA page_size=%d; PRAGMA auto_vacuum=INCREMENTAL", STORE_PAGE_BYTES);
    snprintf(cache, sizeof cache, "PRAGMA cache_size=-%d; PRAGMA journal_size_limit=%d", STORE_CACHE_KIB, STORE_WAL_KEEP_BYTES);
    /* Debian's SQLite writes zeroes over all that is deleted: twice the writes of a trim, and on a full disk no trim at all. */
    if ((rc = exec(s, "PRAGMA secure_delete=OFF", e)))
        return rc;
    /* We are alone by the lock file: an exclusive lock saves the shared-memory file. A checkpoint is run by the store
     * thread after it has answered (store_sql_checkpoint), so SQLite's own is off. */
    if ((rc = exec(s, "PRAGMA locking_mode=EXCLUSIVE; PRAGMA mmap_size=0; PRAGMA temp_store=MEMORY; PRAGMA trusted_schema=OFF", e)) ||
        (rc = check_owner(s, &version, e)) || (rc = exec(s, version ? "" : first, e)) || /* only possible before the first table */
        (rc = exec(s, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0", e)) || (rc = exec(s, cache, e)))
        return rc;
    return upgrade(s, version, e);
}

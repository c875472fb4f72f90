/** support_sqlite.h: SQLite's files and memory in the test's hands: its writes, syncs and allocations fail as support_fault.h says, and
 *                    what is on the disk after a power cut can be had at any moment.
 *  Shape:  sqlite_faults_install once, before the first store is opened -> stores as ever -> sqlite_power_cut copies their files.
 *  Disk:   a write is in the file at once, as other processes would see it, and on the disk when a sync of that file says so. Nothing
 *          is really synced: what a sync would do is kept account of here, which is faster and can be looked at.
 *  Owner:  the account of a file is dropped with its directory, by sqlite_disk_forget.
 *  Thread: any. */
#ifndef TESTS_SUPPORT_SUPPORT_SQLITE_H
#define TESTS_SUPPORT_SUPPORT_SQLITE_H

enum power_cut {
    CUT_KEEPS_ALL,  /* a kill -9: everything written is there */
    CUT_KEEPS_NONE, /* of what was not synced */
    CUT_KEEPS_SOME, /* every second write since the last sync */
    CUT_N,
};

void sqlite_faults_install(void);
/** Copy runnel.db and its log as they would be found afterwards from directory to (existing) directory. No write may be under way. */
void sqlite_power_cut(const char *from, const char *to, enum power_cut how);
/** Forget what is known of files below `dir`. */
void sqlite_disk_forget(const char *dir);

#endif

/** support_fault.h: makes the nth allocation, write or sync fail, and runs a case over and over until none is left to fail.
 *  Shape:  fault_arm -> run the code under test -> fault_disarm says whether it failed. torture() does that for n = 1, 2, 3, ...
 *  Reach:  calls from our own objects and from what is linked statically (the linker's --wrap, see tests/CMakeLists.txt). Allocations
 *          inside shared libraries (cJSON, libcurl, libev, OpenSSL, protobuf-c without an arena) are not reached; those of SQLite are,
 *          by its own hooks, and so are its files (support_sqlite.h). Everything read from the wire or from records goes to arenas,
 *          which are ours.
 *  Thread: any; one fault is armed at a time, for all threads together. */
#ifndef TESTS_SUPPORT_SUPPORT_FAULT_H
#define TESTS_SUPPORT_SUPPORT_FAULT_H

#include <stdbool.h>
#include <stddef.h>

enum fault {
    FAULT_ALLOC,        /* malloc, calloc, realloc, strdup, (v)asprintf */
    FAULT_SQLITE_ALLOC, /* SQLite's own; only with support_sqlite.h */
    FAULT_WRITE,        /* write, pwrite, ftruncate; SQLite's too, which leaves half of it written: EIO */
    FAULT_FULL,         /* the same: ENOSPC */
    FAULT_SYNC,         /* fsync, fdatasync; SQLite's too */
    FAULT_SEND,         /* send, sendmsg: the peer has reset the connection */
    FAULT_SEND_FULL,    /* send, sendmsg: a single byte fits */
    FAULT_RECV,         /* recv: the same reset */
    FAULT_DESCRIPTOR,   /* socket, accept4: no descriptor left */
    FAULT_N,
};
#define FAULT_ONCE 1
#define FAULT_FOR_EVER ((size_t)-1) /* until disarmed */

/** The `nth` (1 is the next) such call and `times - 1` after it fail. nth 0: none. */
void fault_arm(enum fault what, size_t nth, size_t times);
/** Whether one has failed since it was armed; nothing fails any more. */
bool fault_disarm(void);
/** From now on fsync and fdatasync only count: for who keeps account of what is on the disk by himself. */
void fault_skip_syncs(void);
/** For the callers of --wrap: must this call fail? Sets errno. */
bool fault_hits(enum fault what);
const char *fault_name(enum fault what);

/* What the test's own helpers do between these does not count and does not fail. They nest; this thread only. */
void fault_hold(void);
void fault_release(void);

/** One case: all of it with fresh state, `armed` around what is under test. It asserts by itself what must hold. */
struct torture {
    const char *name;
    /** Call fault_arm(what, nth, times) and fault_disarm(); return what the latter said. */
    bool (*run)(const struct torture *t, enum fault what, size_t nth, size_t times);
    const void *arg;
    bool every; /* leaves out none (see TORTURE_EACH) */
};
#define TORTURE_NTH_MAX 100000 /* a case that still fails there never ends */
#define TORTURE_EACH 24        /* from here on only some, n/4 apart, unless the environment has TORTURE_EVERY=1 */
/** Run `t` for n = 1, 2, 3, ... until nothing fails; returns how many did. Aborts at TORTURE_NTH_MAX. Says how many with TORTURE_COUNTS=1. */
size_t torture(const struct torture *t, enum fault what, size_t times);

#endif

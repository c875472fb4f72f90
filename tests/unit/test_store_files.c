/** test_store_files.c: the SQLite store and its directory: modes, locks, strange files, full disks, groups and the space of dropped messages. */
#include "tests/unit/store_bench.h"
#include "tests/unit/store_schema_1.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static mode_t mode_of(const char *dir, const char *file)
{
    char path[512];
    struct stat st;
    snprintf(path, sizeof path, "%s%s", dir, file);
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 0777;
}

static void the_directory_is_made_for_the_owner_only(void **state)
{
    struct bench b;
    mode_t before = umask(0);
    bench_init(&b, false);
    b.store->ops->close(b.store);
    snprintf(b.dir + strlen(b.dir), sizeof b.dir - strlen(b.dir), "/deep/er");
    bench_open(&b);
    umask(before);
    assert_int_equal(append_range(&b, 1, 0, 3), ERR_OK);
    assert_int_equal(mode_of(b.dir, ""), 0700);
    assert_int_equal(mode_of(b.dir, "/.."), 0700);
    assert_int_equal(mode_of(b.dir, "/runnel.db"), 0600);
    assert_int_equal(mode_of(b.dir, "/runnel.db-wal"), 0600);
    assert_int_equal(mode_of(b.dir, "/lock"), 0600);
    bench_fini(&b);
}

static void expect_refused(struct bench *b, const char *dir, enum err_code code, const char *text)
{
    struct err e = {0};
    assert_null(store_sqlite_open(dir, b->engine, log_null(), &e));
    assert_int_equal(e.code, code);
    if (!strstr(e.msg, text))
        fail_msg("the message is \"%s\", wanted \"%s\" in it", e.msg, text);
}

static void a_second_server_on_the_directory_is_refused_by_name(void **state)
{
    struct bench b;
    bench_init(&b, false);
    char want[512];
    snprintf(want, sizeof want, "the data directory %s is in use by another server (process %ld)", b.dir, (long)getpid());
    expect_refused(&b, b.dir, ERR_FAILED_PRECONDITION, want);
    assert_int_equal(append_range(&b, 1, 0, 3), ERR_OK); /* the first one does not notice */
    b.store->ops->close(b.store);
    bench_open(&b); /* free again */
    expect_bounds(&b, 1, 0, 3);
    bench_fini(&b);
}

static void a_killed_server_leaves_no_lock_behind(void **state)
{
    struct bench b;
    bench_init(&b, false);
    b.store->ops->close(b.store);
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        bench_open(&b);
        (void)!write(ready[1], "x", 1);
        for (;;)
            pause();
    }
    char c;
    assert_int_equal(read(ready[0], &c, 1), 1);
    char want[64];
    snprintf(want, sizeof want, "(process %ld)", (long)pid);
    expect_refused(&b, b.dir, ERR_FAILED_PRECONDITION, want);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    close(ready[0]);
    close(ready[1]);
    bench_open(&b);
    bench_fini(&b);
}

/* Offsets in SQLite's file header, all big-endian (sqlite.org/fileformat2.html, section 1.3). */
#define HEADER_USER_VERSION 60
#define HEADER_APPLICATION_ID 68

static void patch(const char *dir, off_t at, const void *bytes, size_t n)
{
    char path[512];
    snprintf(path, sizeof path, "%s/runnel.db", dir);
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, n, at), (ssize_t)n);
    close(fd);
}

static void files_that_are_not_ours_are_refused_and_left_alone(void **state)
{
    static const struct {
        const char *name;
        off_t at;
        const char *bytes;
        size_t n;
        enum err_code code;
        const char *text;
    } rows[] = {
        {"a newer schema", HEADER_USER_VERSION, "\0\0\0\x63", 4, ERR_FAILED_PRECONDITION, "newer version of this program (schema 99"},
        {"another program's", HEADER_APPLICATION_ID, "\1\2\3\4", 4, ERR_FAILED_PRECONDITION, "a database of another program"},
        {"no database", 0, "this is a text, not a database file.", 36, ERR_DATA_LOSS, "damaged"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct bench b;
        bench_init(&b, false);
        assert_int_equal(append_range(&b, 1, 0, 3), ERR_OK);
        b.store->ops->close(b.store);
        char path[512];
        struct stat before, after;
        snprintf(path, sizeof path, "%s/runnel.db", b.dir);
        patch(b.dir, rows[i].at, rows[i].bytes, rows[i].n);
        assert_int_equal(stat(path, &before), 0);
        expect_refused(&b, b.dir, rows[i].code, rows[i].text);
        assert_int_equal(stat(path, &after), 0);
        CASE_INT(rows[i].name, after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
        CASE_INT(rows[i].name, after.st_size, before.st_size);
        mailbox_free(b.engine);
        sem_destroy(&b.woken);
    }
}

static uint32_t header_number(const char *dir, off_t at)
{
    char path[512];
    uint8_t b[4];
    snprintf(path, sizeof path, "%s/runnel.db", dir);
    int fd = open(path, O_RDONLY);
    assert_int_equal(pread(fd, b, 4, at), 4);
    close(fd);
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static enum err_code add_entry(struct bench *b, const char *key, struct str body)
{
    struct store_txn *t = store_txn_new();
    assert_int_equal(store_txn_entry_add(t, 1, &(struct store_entry){key, 0, 5, body}, NULL), 0);
    return bench_submit(b, t);
}

static int add_up(void *arg, uint32_t lane, uint64_t count, struct err *e)
{
    *(uint64_t *)arg += count;
    return 0;
}

static uint64_t count_entries(struct bench *b, uint64_t list)
{
    uint64_t n = 0;
    assert_int_equal(b->store->ops->load_lanes(b->store, list, add_up, &n, NULL), 0);
    return n;
}

static void a_file_of_schema_1_is_brought_up_to_date_in_place(void **state)
{
    struct bench b;
    bench_init(&b, false);
    b.store->ops->close(b.store);
    bench_copy_schema_1(b.dir);
    assert_int_equal(header_number(b.dir, HEADER_USER_VERSION), 1);
    bench_open(&b);
    expect_schema_1(&b);
    assert_int_equal(bench_read(&b, 3, 0, 1000, 1 << 20).n, 50);
    assert_int_equal(count_entries(&b, 1), 0);
    assert_int_equal(add_entry(&b, "k", STR("x")), ERR_OK);
    assert_int_equal(append_range(&b, 3, 60, 70), ERR_OK);
    b.store->ops->close(b.store);
    assert_int_equal(header_number(b.dir, HEADER_USER_VERSION), 2);
    bench_open(&b);
    assert_int_equal(count_entries(&b, 1), 1);
    assert_int_equal(add_entry(&b, "k", STR("x")), ERR_ALREADY_EXISTS);
    expect_bounds(&b, 3, 10, 70);
    bench_fini(&b);
}

/* A table of the new schema's name is there: the upgrade cannot be made, and what was there is left as it was. */
static void an_upgrade_that_cannot_be_made_is_told_and_changes_nothing(void **state)
{
    struct bench b;
    bench_init(&b, false);
    b.store->ops->close(b.store);
    uint32_t pages = header_number(b.dir, 28);
    patch(b.dir, HEADER_USER_VERSION, "\0\0\0\1", 4); /* it says 1, and has what 2 brings */
    expect_refused(&b, b.dir, ERR_UNAVAILABLE, "from schema 1 to 2");
    assert_int_equal(header_number(b.dir, HEADER_USER_VERSION), 1);
    assert_int_equal(header_number(b.dir, 28), pages);
    patch(b.dir, HEADER_USER_VERSION, "\0\0\0\2", 4);
    bench_open(&b);
    assert_int_equal(add_entry(&b, "k", STR("x")), ERR_OK);
    b.store->ops->close(b.store);
    bench_copy_schema_1(b.dir); /* the first page, which says where all else is, and the second are overwritten */
    char junk[3000];
    memset(junk, 0xa5, sizeof junk);
    patch(b.dir, 100, junk, sizeof junk);
    expect_refused(&b, b.dir, ERR_DATA_LOSS, "damaged");
    assert_int_equal(header_number(b.dir, HEADER_USER_VERSION), 1);
    mailbox_free(b.engine);
    sem_destroy(&b.woken);
}

static void a_directory_that_cannot_be_is_named(void **state)
{
    struct bench b;
    bench_init(&b, false);
    char path[1024];
    snprintf(path, sizeof path, "%s/runnel.db/below", b.dir);
    expect_refused(&b, path, ERR_FAILED_PRECONDITION, path);
    expect_refused(&b, "", ERR_INVALID_ARGUMENT, "empty");
    char *name = calloc(1, 5000);
    memset(name, 'x', 4999);
    expect_refused(&b, name, ERR_INVALID_ARGUMENT, "too long");
    free(name);
    bench_fini(&b);
}

static void one_wake_up_brings_a_whole_group(void **state)
{
    enum { N = 2000 };
    struct bench b;
    static struct outcome o[N];
    memset(o, 0, sizeof o);
    bench_init(&b, false);
    uint64_t before = b.store->ops->stats(b.store).commits;
    for (uint64_t i = 0; i < N; i++) {
        struct store_txn *t = store_txn_new();
        assert_int_equal(store_txn_append(t, 1, i, 0, STR("message"), NULL), 0);
        store_submit(b.store, t, on_done, &o[i]);
    }
    bench_wait(&b, &o[N - 1].done, 1);
    struct store_stats st = b.store->ops->stats(b.store);
    assert_true(st.transactions >= N);
    assert_true(st.commits - before < N / 4); /* the first alone, then what gathered while it was synced */
    assert_true(st.last_commit_ns > 0 && st.file_bytes > 0);
    bench_fini(&b);
}

static off_t db_bytes(const struct bench *b)
{
    char path[512];
    struct stat st;
    snprintf(path, sizeof path, "%s/runnel.db", b->dir);
    assert_int_equal(stat(path, &st), 0);
    return st.st_size;
}

/* Others are served while the rows go, and the space returns. */
static void dropping_many_messages_stalls_nobody_and_frees_the_file(void **state)
{
    enum { N = 100000, BATCH = 5000, SIZE = 300 };
    static char blob[SIZE];
    struct bench b;
    bench_init(&b, false);
    for (uint64_t from = 0; from < N; from += BATCH) {
        struct store_txn *t = store_txn_new();
        for (uint64_t i = from; i < from + BATCH; i++)
            assert_int_equal(store_txn_append(t, 1, i, 0, (struct str){blob, SIZE}, NULL), 0);
        assert_int_equal(bench_submit(&b, t), ERR_OK);
    }
    bench_restart(&b); /* moves the log into the file, so that its size says all */
    off_t full = db_bytes(&b);
    assert_true(full > N * SIZE);
    trim(&b, 1, N - 1);
    expect_bounds(&b, 1, N - 1, N);
    b.store->ops->close(b.store); /* cut short: goes on after the restart */
    bench_open(&b);
    expect_bounds(&b, 1, N - 1, N);
    assert_int_equal(append_range(&b, 2, 0, 1), ERR_OK);
    for (uint64_t seq = 1; db_bytes(&b) > full / 2; seq++) { /* each round lets the thread be idle once */
        assert_int_equal(append_range(&b, 2, seq, seq + 1), ERR_OK);
        assert_true(seq < 100000);
    }
    expect_bounds(&b, 1, N - 1, N);
    bench_fini(&b);
}

/* Entries of a dropped list go too, while others are served, large ones in smaller steps; a restart in between changes nothing. */
static void dropping_a_list_stalls_nobody_and_frees_the_file(void **state)
{
    enum { N = 30000, BATCH = 5000, SIZE = 300, LARGE = 20 };
    static char blob[1 << 20];
    struct bench b;
    bench_init(&b, false);
    for (int from = 0; from < N; from += BATCH) {
        struct store_txn *t = store_txn_new();
        for (int i = from; i < from + BATCH; i++) {
            char key[32];
            snprintf(key, sizeof key, "%08d", (int)((int64_t)i * 7919 % N));
            struct store_entry x = {key, (uint32_t)i % 3, i, {blob, i % (N / LARGE) ? SIZE : sizeof blob}};
            assert_int_equal(store_txn_entry_add(t, 7, &x, NULL), 0);
        }
        assert_int_equal(bench_submit(&b, t), ERR_OK);
    }
    assert_int_equal(add_entry(&b, "stays", STR("x")), ERR_OK);
    bench_restart(&b);
    off_t full = db_bytes(&b);
    assert_true(full > N * SIZE + LARGE * (int)sizeof blob);
    assert_int_equal(count_entries(&b, 7), N);
    struct store_txn *t = store_txn_new();
    assert_int_equal(store_txn_entries_drop(t, 7, NULL), 0);
    assert_int_equal(bench_submit(&b, t), ERR_OK);
    assert_int_equal(count_entries(&b, 7), 0);
    b.store->ops->close(b.store); /* cut short: goes on after the restart */
    bench_open(&b);
    assert_int_equal(count_entries(&b, 7), 0);
    for (uint64_t seq = 0; db_bytes(&b) > full / 2; seq++) {
        assert_int_equal(append_range(&b, 2, seq, seq + 1), ERR_OK);
        assert_int_equal(count_entries(&b, 7), 0);
        assert_true(seq < 100000);
    }
    assert_int_equal(count_entries(&b, 1), 1);
    bench_fini(&b);
}

/* In a child, whose limit of file size stands for a full disk: real writes fail, with EFBIG for ENOSPC. */
static int live_through_a_full_disk(struct bench *b)
{
    static char blob[4000];
    struct rlimit tight = {2 << 20, RLIM_INFINITY}, wide = {RLIM_INFINITY, RLIM_INFINITY};
    signal(SIGXFSZ, SIG_IGN);
    bench_open(b);
    setrlimit(RLIMIT_FSIZE, &tight);
    uint64_t seq = 0, accepted = 0;
    for (int refused = 0; refused < 20; seq++) {
        struct store_txn *t = store_txn_new();
        struct outcome o = {0};
        if (!t || store_txn_append(t, 1, accepted, 0, (struct str){blob, sizeof blob}, NULL) || seq > 100000)
            return 1;
        store_submit(b->store, t, on_done, &o);
        bench_wait(b, &o.done, 1);
        if (o.code == ERR_OK)
            accepted++;
        else if (o.code != ERR_RESOURCE_EXHAUSTED || !strstr(o.msg, "full: free some space") || !b->store->ops->stats(b->store).full)
            return 2;
        else
            refused++;
    }
    uint64_t first, next;
    if (accepted < 100 || b->store->ops->topic_bounds(b->store, 1, &first, &next, NULL) || first != 0 || next != accepted)
        return 3;
    setrlimit(RLIMIT_FSIZE, &wide);
    for (int i = 0; i < 10; i++, accepted++) {
        struct store_txn *t = store_txn_new();
        if (store_txn_append(t, 1, accepted, 0, (struct str){blob, sizeof blob}, NULL) || bench_submit(b, t) != ERR_OK)
            return 4;
    }
    if (b->store->ops->stats(b->store).full)
        return 5;
    b->store->ops->close(b->store);
    bench_open(b);
    if (b->store->ops->topic_bounds(b->store, 1, &first, &next, NULL) || next != accepted)
        return 6;
    b->store->ops->close(b->store);
    return 0;
}

static void a_full_disk_refuses_and_loses_nothing(void **state)
{
    struct bench b;
    bench_init(&b, false);
    b.store->ops->close(b.store);
    pid_t pid = fork();
    if (pid == 0)
        _exit(live_through_a_full_disk(&b));
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    bench_open(&b);
    uint64_t first, next;
    assert_int_equal(b.store->ops->topic_bounds(b.store, 1, &first, &next, NULL), 0);
    assert_true(first == 0 && next > 100);
    bench_fini(&b);
}

static bool write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    close(fd);
    return ok;
}

/* Become root of a user namespace, where the host lets anybody. */
static bool own_namespace(void)
{
    char uids[64], gids[64];
    snprintf(uids, sizeof uids, "0 %u 1", (unsigned)getuid());
    snprintf(gids, sizeof gids, "0 %u 1", (unsigned)getgid());
    return unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 && write_text("/proc/self/uid_map", uids) &&
           write_text("/proc/self/setgroups", "deny") && write_text("/proc/self/gid_map", gids);
}

/* A file system of our own, in a namespace of our own; false where the host does not let us. */
static bool mount_small(const char *dir)
{
    if (unshare(CLONE_NEWNS) && !own_namespace())
        return false;
    (void)mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
    return mkdir(dir, 0700) == 0 && mount("small", dir, "tmpfs", 0, "size=40m") == 0;
}

enum { CANNOT_MOUNT = 77 };

static enum err_code append_big(struct bench *b, uint64_t seq)
{
    static char blob[100000];
    struct store_txn *t = store_txn_new();
    assert_int_equal(store_txn_append(t, 1, seq, 0, (struct str){blob, sizeof blob}, NULL), 0);
    return bench_submit(b, t);
}

static int make_room_by_acknowledging(struct bench *b)
{
    if (!mount_small(b->dir))
        return CANNOT_MOUNT;
    bench_open(b);
    uint64_t seq = 0;
    enum err_code code = add_entry(b, "old", STR("x"));
    while (code == ERR_OK && (code = append_big(b, seq)) == ERR_OK && seq < 1000)
        seq++;
    if (code != ERR_RESOURCE_EXHAUSTED || seq < 100 || !b->store->ops->stats(b->store).full)
        return 1;
    for (int i = 0; i < 2000; i++) { /* what makes room goes on, far longer than an unguarded disk would last */
        struct store_txn *t = store_txn_new();
        if (store_txn_floor(t, 5, (uint64_t)i, NULL) || store_txn_put(t, "k", "n", STR("v"), NULL) || bench_submit(b, t) != ERR_OK)
            return 2;
    }
    if (append_big(b, seq) != ERR_RESOURCE_EXHAUSTED || add_entry(b, "new", STR("x")) != ERR_RESOURCE_EXHAUSTED)
        return 3; /* nor are entries that are new; those that are there may end */
    struct store_txn *t = store_txn_new();
    if (store_txn_entry_put(t, 1, &(struct store_entry){"old", 1, 6, STR("y")}, NULL) || store_txn_entry_delete(t, 1, "old", NULL) ||
        bench_submit(b, t) != ERR_OK)
        return 6;
    trim(b, 1, seq / 2);
    for (int tries = 0; append_big(b, seq) != ERR_OK; tries++)
        if (tries > 10000)
            return 4;
    if (b->store->ops->stats(b->store).full)
        return 5;
    b->store->ops->close(b->store);
    return 0;
}

static void a_nearly_full_disk_takes_acknowledgements_and_recovers(void **state)
{
    struct bench b;
    bench_init(&b, false);
    b.store->ops->close(b.store);
    snprintf(b.dir + strlen(b.dir), sizeof b.dir - strlen(b.dir), "-small");
    pid_t pid = fork();
    if (pid == 0)
        _exit(make_room_by_acknowledging(&b));
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == CANNOT_MOUNT)
        print_message("  this host does not let us mount a small file system: not shown here\n");
    else
        assert_int_equal(WEXITSTATUS(status), 0);
    mailbox_free(b.engine);
    sem_destroy(&b.woken);
}

/* What a crash leaves that came between making the file and making its schema. */
static void an_empty_file_becomes_a_store(void **state)
{
    struct bench b;
    bench_init(&b, false);
    b.store->ops->close(b.store);
    char path[512];
    snprintf(path, sizeof path, "%s/runnel.db", b.dir);
    assert_int_equal(truncate(path, 0), 0);
    bench_open(&b);
    assert_int_equal(append_range(&b, 1, 0, 3), ERR_OK);
    bench_restart(&b);
    expect_bounds(&b, 1, 0, 3);
    bench_fini(&b);
}

static void opening_without_memory_fails_and_lets_go(void **state)
{
    struct bench b;
    bench_init(&b, false);
    b.store->ops->close(b.store);
    bool failed = true;
    for (size_t nth = 1; failed; nth++) {
        struct err e = {0};
        support_fail_alloc(nth);
        struct store *s = store_sqlite_open(b.dir, b.engine, log_null(), &e);
        failed = support_alloc_failed();
        assert_true(s ? e.code == ERR_OK : e.code == ERR_RESOURCE_EXHAUSTED);
        assert_true(failed || s);
        if (s)
            s->ops->close(s);
    }
    bench_open(&b);
    bench_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_directory_is_made_for_the_owner_only),
        cmocka_unit_test(a_second_server_on_the_directory_is_refused_by_name),
        cmocka_unit_test(a_killed_server_leaves_no_lock_behind),
        cmocka_unit_test(files_that_are_not_ours_are_refused_and_left_alone),
        cmocka_unit_test(a_file_of_schema_1_is_brought_up_to_date_in_place),
        cmocka_unit_test(an_upgrade_that_cannot_be_made_is_told_and_changes_nothing),
        cmocka_unit_test(an_empty_file_becomes_a_store),
        cmocka_unit_test(a_directory_that_cannot_be_is_named),
        cmocka_unit_test(opening_without_memory_fails_and_lets_go),
        cmocka_unit_test(one_wake_up_brings_a_whole_group),
        cmocka_unit_test(dropping_many_messages_stalls_nobody_and_frees_the_file),
        cmocka_unit_test(dropping_a_list_stalls_nobody_and_frees_the_file),
        cmocka_unit_test(a_full_disk_refuses_and_loses_nothing),
        cmocka_unit_test(a_nearly_full_disk_takes_acknowledgements_and_recovers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

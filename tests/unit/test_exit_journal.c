/** test_exit_journal.c: exits are found again, the last of a ring's worth, and nothing is found that was not written. */
#include "tests/support/unit.h"

#include "executor/exit_journal.h"
#include "tests/support/support_fault.h"

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static char path[300];

static int setup(void **state)
{
    static int n;
    snprintf(path, sizeof path, "%s/exits-%d", support_tmpdir(), n++);
    return 0;
}

static struct exit_journal *reopen(struct exit_journal *j)
{
    struct err e;
    exit_journal_free(j);
    j = exit_journal_open(path, &e);
    if (!j)
        fail_msg("%s", e.msg);
    return j;
}

static void write_exits(const struct exit_journal *j, uint64_t first, uint64_t n)
{
    uint64_t seq = exit_journal_end(exit_journal_fd(j));
    for (uint64_t i = first; i < first + n; i++) {
        const struct exit_record r = {{7, i}, (int32_t)(i % 3), 0, i % 5 == 0};
        assert_true(exit_journal_write(exit_journal_fd(j), seq++, &r));
    }
}

static bool find(const struct exit_journal *j, uint64_t list, uint64_t i, struct exit_record *r)
{
    const uint64_t ticket[2] = {list, i};
    return exit_journal_find(j, ticket, r);
}

static void test_what_was_written_is_found_after_a_restart(void **state)
{
    struct exit_record r;
    struct exit_journal *j = reopen(NULL);
    assert_false(find(j, 7, 1, &r));
    write_exits(j, 1, 10);
    j = reopen(j);
    for (uint64_t i = 1; i <= 10; i++) {
        assert_true(find(j, 7, i, &r));
        assert_int_equal(r.code, i % 3);
        assert_int_equal(r.out_of_memory, i % 5 == 0);
    }
    assert_false(find(j, 7, 11, &r));
    assert_false(find(j, 8, 1, &r));
    /* The next one goes on where this one ended. */
    write_exits(j, 11, 1);
    j = reopen(j);
    assert_true(find(j, 7, 1, &r) && find(j, 7, 11, &r));
    exit_journal_free(j);
}

static void test_the_ring_keeps_the_last_ones(void **state)
{
    struct exit_record r;
    struct exit_journal *j = reopen(NULL);
    write_exits(j, 1, EXIT_JOURNAL_SLOTS + 100);
    j = reopen(j);
    assert_false(find(j, 7, 1, &r));
    assert_false(find(j, 7, 99, &r));
    assert_true(find(j, 7, 101, &r));
    assert_true(find(j, 7, EXIT_JOURNAL_SLOTS + 100, &r));
    write_exits(j, 500000, 1);
    j = reopen(j);
    assert_true(find(j, 7, 500000, &r));
    assert_true(lseek(exit_journal_fd(j), 0, SEEK_END) <= (off_t)EXIT_JOURNAL_SLOTS * 48);
    exit_journal_free(j);
}

static void test_garbage_is_not_taken_for_exits(void **state)
{
    struct exit_record r;
    struct exit_journal *j = reopen(NULL);
    char junk[4800];
    memset(junk, 7, sizeof junk);
    assert_int_equal(pwrite(exit_journal_fd(j), junk, sizeof junk - 5, 0), sizeof junk - 5);
    assert_int_equal(exit_journal_end(exit_journal_fd(j)), 1);
    j = reopen(j);
    assert_false(find(j, UINT64_C(0x0707070707070707), UINT64_C(0x0707070707070707), &r));
    exit_journal_free(j);
}

/* Whatever byte of a record is another than was written, the record is none: what lies in one page of the file may be newer than the
 * rest of it. */
static void test_a_record_is_whole_or_none(void **state)
{
    enum { RECORD_BYTES = 48 };
    char bytes[2 * RECORD_BYTES];
    struct exit_record r;
    struct exit_journal *j = reopen(NULL);
    write_exits(j, 1, 1); /* number 1, so it is the second of the file */
    assert_int_equal(pread(exit_journal_fd(j), bytes, sizeof bytes, 0), sizeof bytes);
    for (size_t i = RECORD_BYTES; i < sizeof bytes; i++) {
        char other = (char)(bytes[i] ^ 1);
        assert_int_equal(pwrite(exit_journal_fd(j), &other, 1, (off_t)i), 1);
        assert_int_equal(exit_journal_end(exit_journal_fd(j)), 1);
        j = reopen(j);
        if (find(j, 7, 1, &r))
            fail_msg("byte %zu is another, and the record is taken: code %d", i - RECORD_BYTES, (int)r.code);
        assert_int_equal(pwrite(exit_journal_fd(j), bytes + i, 1, (off_t)i), 1);
    }
    assert_int_equal(exit_journal_end(exit_journal_fd(j)), 2);
    j = reopen(j);
    assert_true(find(j, 7, 1, &r));
    exit_journal_free(j);
}

/* A child that inherited the descriptor is as good as its opener. */
static void test_an_opener_waits_for_the_one_before(void **state)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    struct exit_journal *j = reopen(NULL);
    pid_t child = fork();
    if (child == 0) {
        char c;
        close(fds[1]);
        _exit(read(fds[0], &c, 1) == 1 && exit_journal_write(exit_journal_fd(j), 1, &(const struct exit_record){{7, 42}, 0, 0, 0}) ? 0 : 1);
    }
    exit_journal_free(j); /* the child still holds it */
    assert_int_equal(write(fds[1], "x", 1), 1);
    struct exit_record r;
    j = reopen(NULL); /* waits until the child is gone, so what it wrote is there */
    assert_true(find(j, 7, 42, &r));
    exit_journal_free(j);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    close(fds[0]);
    close(fds[1]);
}

/* A disk that is full loses this exit (its task runs again) and no other. */
static void test_a_write_that_fails_loses_only_its_own(void **state)
{
    static const enum fault faults[] = {FAULT_WRITE, FAULT_FULL};
    for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
        struct exit_record r = {{7, 100}, 1, 0, 0};
        setup(NULL);
        struct exit_journal *j = reopen(NULL);
        write_exits(j, 1, 2);
        fault_arm(faults[i], 1, FAULT_ONCE);
        assert_false(exit_journal_write(exit_journal_fd(j), 3, &r));
        assert_true(fault_disarm());
        r.ticket[1] = 101;
        assert_true(exit_journal_write(exit_journal_fd(j), 4, &r));
        j = reopen(j);
        assert_true(find(j, 7, 1, &r) && find(j, 7, 2, &r) && find(j, 7, 101, &r));
        assert_false(find(j, 7, 100, &r));
        assert_int_equal(exit_journal_end(exit_journal_fd(j)), 5);
        exit_journal_free(j);
    }
}

static void test_without_memory_it_does_not_open_or_has_all(void **state)
{
    struct exit_record r;
    struct exit_journal *j = reopen(NULL);
    write_exits(j, 1, 10);
    exit_journal_free(j);
    for (size_t n = 1;; n++) {
        struct err e = {0};
        support_fail_alloc(n);
        j = exit_journal_open(path, &e);
        bool failed = support_alloc_failed();
        for (uint64_t i = 1; j && i <= 10; i++)
            assert_true(find(j, 7, i, &r));
        if (!j)
            assert_int_equal(e.code, ERR_RESOURCE_EXHAUSTED);
        exit_journal_free(j);
        if (!failed) {
            assert_true(j && n > 3);
            return;
        }
    }
}

static void test_what_cannot_be_opened_says_so(void **state)
{
    struct err e;
    assert_null(exit_journal_open("/no/such/folder/exits", &e));
    assert_int_equal(e.code, ERR_UNAVAILABLE);
    assert_non_null(strstr(e.msg, "/no/such/folder/exits"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_what_was_written_is_found_after_a_restart, setup),
        cmocka_unit_test_setup(test_the_ring_keeps_the_last_ones, setup),
        cmocka_unit_test_setup(test_garbage_is_not_taken_for_exits, setup),
        cmocka_unit_test_setup(test_a_record_is_whole_or_none, setup),
        cmocka_unit_test_setup(test_an_opener_waits_for_the_one_before, setup),
        cmocka_unit_test(test_a_write_that_fails_loses_only_its_own),
        cmocka_unit_test_setup(test_without_memory_it_does_not_open_or_has_all, setup),
        cmocka_unit_test(test_what_cannot_be_opened_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

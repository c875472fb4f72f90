/** test_thread.c: named threads with signals blocked, and the pool of workers. */
#include "tests/support/unit.h"

#include "core/loop/thread.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>

struct look {
    char name[32];
    sigset_t blocked;
    bool ran;
};
static void look_around(void *arg)
{
    struct look *l = arg;
    pthread_getname_np(pthread_self(), l->name, sizeof l->name);
    pthread_sigmask(SIG_BLOCK, NULL, &l->blocked);
    l->ran = true;
}

static void a_thread_has_its_name_and_gets_no_signals(void **state)
{
    struct look l = {0};
    sigset_t before, after;
    pthread_sigmask(SIG_BLOCK, NULL, &before);
    struct thread *t = thread_start("store", look_around, &l, NULL);
    assert_non_null(t);
    thread_join(t);
    assert_true(l.ran);
    assert_string_equal(l.name, "store");
    static const int blocked[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD, SIGPIPE, SIGUSR1, SIGALRM, SIGWINCH};
    for (size_t i = 0; i < ARRAY_LEN(blocked); i++)
        assert_int_equal(sigismember(&l.blocked, blocked[i]), 1);
    assert_int_equal(sigismember(&l.blocked, SIGSEGV), 0);
    pthread_sigmask(SIG_BLOCK, NULL, &after);
    assert_int_equal(sigismember(&after, SIGTERM), sigismember(&before, SIGTERM)); /* the starter's mask is its own */
    thread_join(NULL);
}

static void a_long_name_is_cut_to_fifteen_bytes(void **state)
{
    struct look l = {0};
    thread_join(thread_start("a-name-that-is-too-long", look_around, &l, NULL));
    assert_string_equal(l.name, "a-name-that-is-");
}

static void without_memory_no_thread_is_started(void **state)
{
    struct look l = {0};
    struct err e = {0};
    support_fail_alloc(1);
    assert_null(thread_start("x", look_around, &l, &e));
    assert_true(support_alloc_failed());
    assert_int_equal(e.code, ERR_RESOURCE_EXHAUSTED);
    assert_false(l.ran);
    for (size_t nth = 1; nth <= 4; nth++) { /* the pool itself, then each of its three threads */
        support_fail_alloc(nth);
        assert_null(workers_start(3, &e));
        assert_true(support_alloc_failed());
    }
    support_fail_alloc(0);
}

/* Replies are collected here by the test's thread. */
struct desk {
    struct mailbox *mb;
    sem_t awake;
    size_t done;
};
static void wake_desk(void *arg) { sem_post(&((struct desk *)arg)->awake); }
static void desk_init(struct desk *d)
{
    sem_init(&d->awake, 0, 0);
    d->mb = mailbox_new(0, wake_desk, d);
    d->done = 0;
}
static void desk_fini(struct desk *d)
{
    mailbox_free(d->mb);
    sem_destroy(&d->awake);
}

struct sum {
    struct job job;
    struct desk *desk;
    uint64_t n, result;
    sem_t *started, *go; /* both NULL: do not wait */
};
static void add_up(struct job *job)
{
    struct sum *s = CONTAINER_OF(job, struct sum, job);
    if (s->started)
        sem_post(s->started);
    if (s->go)
        sem_wait(s->go);
    for (uint64_t i = 1; i <= s->n; i++)
        s->result += i;
}
static void take_sum(struct mail *m)
{
    struct sum *s = CONTAINER_OF(m, struct sum, job.mail);
    s->desk->done++;
}
static struct sum sum_of(struct desk *d, uint64_t n)
{
    return (struct sum){.job = {.mail.deliver = take_sum, .reply = d->mb, .work = add_up}, .desk = d, .n = n};
}

static void jobs_are_done_and_answered_through_the_mailbox(void **state)
{
    enum { JOBS = 2000 };
    static struct sum sums[JOBS];
    struct desk d;
    desk_init(&d);
    struct workers *w = workers_start(3, NULL);
    for (size_t i = 0; i < JOBS; i++) {
        sums[i] = sum_of(&d, i);
        assert_true(workers_submit(w, &sums[i].job));
    }
    while (d.done < JOBS) {
        sem_wait(&d.awake);
        mailbox_deliver(d.mb);
    }
    for (size_t i = 0; i < JOBS; i++)
        assert_int_equal(sums[i].result, i * (i + 1) / 2);
    workers_stop(w);
    desk_fini(&d);
    workers_stop(NULL);
}

static void a_full_queue_refuses_and_takes_again_when_there_is_room(void **state)
{
    static struct sum sums[WORKERS_QUEUE_MAX + 2];
    struct desk d;
    sem_t started, go;
    desk_init(&d);
    sem_init(&started, 0, 0);
    sem_init(&go, 0, 0);
    struct workers *w = workers_start(1, NULL);
    sums[0] = sum_of(&d, 1);
    sums[0].started = &started;
    sums[0].go = &go;
    assert_true(workers_submit(w, &sums[0].job));
    sem_wait(&started); /* the only worker is busy: what follows waits */
    for (size_t i = 1; i <= WORKERS_QUEUE_MAX; i++) {
        sums[i] = sum_of(&d, 1);
        assert_true(workers_submit(w, &sums[i].job));
    }
    struct sum *over = &sums[WORKERS_QUEUE_MAX + 1];
    *over = sum_of(&d, 1);
    assert_false(workers_submit(w, &over->job));
    sem_post(&go);
    while (d.done < WORKERS_QUEUE_MAX + 1) {
        sem_wait(&d.awake);
        mailbox_deliver(d.mb);
    }
    assert_int_equal(over->result, 0);
    assert_true(workers_submit(w, &over->job));
    workers_stop(w);
    mailbox_deliver(d.mb);
    assert_int_equal(d.done, WORKERS_QUEUE_MAX + 2);
    desk_fini(&d);
    sem_destroy(&started);
    sem_destroy(&go);
}

static void stopping_finishes_what_is_queued(void **state)
{
    enum { JOBS = 500 };
    static struct sum sums[JOBS];
    for (size_t threads = 1; threads <= 4; threads++) {
        struct desk d;
        desk_init(&d);
        struct workers *w = workers_start(threads, NULL);
        for (size_t i = 0; i < JOBS; i++) {
            sums[i] = sum_of(&d, 100);
            assert_true(workers_submit(w, &sums[i].job));
        }
        workers_stop(w);
        assert_int_equal(mailbox_deliver(d.mb), JOBS);
        desk_fini(&d);
    }
}

static void workers_work_at_the_same_time(void **state)
{
    /* Each of three jobs waits until all have started, which one thread after another never would. */
    struct sum sums[3];
    struct desk d;
    sem_t started, go;
    desk_init(&d);
    sem_init(&started, 0, 0);
    sem_init(&go, 0, 0);
    struct workers *w = workers_start(3, NULL);
    for (size_t i = 0; i < 3; i++) {
        sums[i] = sum_of(&d, 10);
        sums[i].started = &started;
        sums[i].go = &go;
        assert_true(workers_submit(w, &sums[i].job));
    }
    for (size_t i = 0; i < 3; i++)
        sem_wait(&started);
    for (size_t i = 0; i < 3; i++)
        sem_post(&go);
    workers_stop(w);
    assert_int_equal(mailbox_deliver(d.mb), 3);
    desk_fini(&d);
    sem_destroy(&started);
    sem_destroy(&go);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thread_has_its_name_and_gets_no_signals),
        cmocka_unit_test(a_long_name_is_cut_to_fifteen_bytes),
        cmocka_unit_test(without_memory_no_thread_is_started),
        cmocka_unit_test(jobs_are_done_and_answered_through_the_mailbox),
        cmocka_unit_test(a_full_queue_refuses_and_takes_again_when_there_is_room),
        cmocka_unit_test(stopping_finishes_what_is_queued),
        cmocka_unit_test(workers_work_at_the_same_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

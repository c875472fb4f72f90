/** test_mailbox.c: order, one wake-up a batch, the limit, and four threads posting at once. */
#include "tests/support/unit.h"

#include "core/loop/mailbox.h"

#include <pthread.h>
#include <semaphore.h>

struct letter {
    struct mail mail;
    int number;
    struct mailbox *again; /* posted here once more from its delivery */
};
static int delivered[64];
static size_t delivered_count, wakes;

static void deliver(struct mail *m)
{
    struct letter *l = CONTAINER_OF(m, struct letter, mail);
    delivered[delivered_count++] = l->number;
    if (l->again) {
        struct mailbox *mb = l->again;
        l->again = NULL;
        mailbox_post(mb, m);
    }
}
static void count_wake(void *arg) { wakes++; }

static struct mailbox *fresh(size_t max)
{
    delivered_count = wakes = 0;
    return mailbox_new(max, count_wake, NULL);
}
static struct letter letter_of(int number) { return (struct letter){.mail.deliver = deliver, .number = number}; }

static void mail_is_delivered_in_the_order_of_posting(void **state)
{
    struct mailbox *mb = fresh(10);
    struct letter l[5];
    assert_int_equal(mailbox_deliver(mb), 0);
    for (int i = 0; i < 5; i++) {
        l[i] = letter_of(i);
        mailbox_post(mb, &l[i].mail);
    }
    assert_int_equal(mailbox_deliver(mb), 5);
    for (int i = 0; i < 5; i++)
        assert_int_equal(delivered[i], i);
    assert_int_equal(mailbox_deliver(mb), 0);
    mailbox_free(mb);
}

static void the_owner_is_woken_once_a_batch(void **state)
{
    struct mailbox *mb = fresh(10);
    struct letter l[4];
    for (int i = 0; i < 4; i++)
        l[i] = letter_of(i);
    mailbox_post(mb, &l[0].mail);
    mailbox_post(mb, &l[1].mail);
    assert_true(mailbox_offer(mb, &l[2].mail));
    assert_int_equal(wakes, 1);
    mailbox_deliver(mb);
    assert_int_equal(wakes, 1);
    mailbox_post(mb, &l[3].mail);
    assert_int_equal(wakes, 2);
    mailbox_deliver(mb);
    mailbox_free(mb);
}

static void what_is_posted_quietly_wakes_nobody_until_somebody_does(void **state)
{
    struct mailbox *mb = fresh(3);
    struct letter l[5];
    bool owed = false;
    for (int i = 0; i < 5; i++)
        l[i] = letter_of(i);
    assert_true(mailbox_post_quietly(mb, &l[0].mail));
    assert_false(mailbox_post_quietly(mb, &l[1].mail)); /* the first one owes it already */
    assert_int_equal(wakes, 0);
    mailbox_post(mb, &l[2].mail); /* somebody else does not wait for those who are quiet */
    assert_int_equal(wakes, 1);
    assert_false(mailbox_offer_quietly(mb, &l[3].mail, &owed)); /* full */
    assert_int_equal(mailbox_deliver(mb), 3);
    assert_true(mailbox_offer_quietly(mb, &l[3].mail, &owed));
    assert_true(owed);
    mailbox_wake(mb);
    assert_int_equal(wakes, 2);
    mailbox_post(mb, &l[4].mail); /* nothing is owed any more, and it is not empty */
    assert_int_equal(wakes, 2);
    assert_int_equal(mailbox_deliver(mb), 2);
    mailbox_free(mb);
}

static void offers_stop_at_the_limit_and_posts_do_not(void **state)
{
    struct mailbox *mb = fresh(2);
    struct letter l[6];
    for (int i = 0; i < 6; i++)
        l[i] = letter_of(i);
    assert_true(mailbox_offer(mb, &l[0].mail));
    assert_true(mailbox_offer(mb, &l[1].mail));
    assert_false(mailbox_offer(mb, &l[2].mail));
    mailbox_post(mb, &l[3].mail);
    assert_false(mailbox_offer(mb, &l[2].mail));
    assert_int_equal(mailbox_deliver(mb), 3);
    assert_true(mailbox_offer(mb, &l[2].mail));
    assert_int_equal(mailbox_deliver(mb), 1);
    assert_int_equal(delivered[3], 2);
    mailbox_free(mb);
}

static void mail_posted_while_delivering_is_the_next_batch(void **state)
{
    struct mailbox *mb = fresh(10);
    struct letter a = letter_of(1), b = letter_of(2);
    a.again = mb;
    mailbox_post(mb, &a.mail);
    mailbox_post(mb, &b.mail);
    assert_int_equal(mailbox_deliver(mb), 2);
    assert_int_equal(wakes, 2);
    assert_int_equal(mailbox_deliver(mb), 1);
    assert_int_equal(delivered[2], 1);
    mailbox_free(mb);
}

static void a_batch_can_be_taken_without_delivering(void **state)
{
    struct mailbox *mb = fresh(2);
    struct letter l[2] = {letter_of(1), letter_of(2)};
    assert_null(mailbox_take(mb));
    mailbox_post(mb, &l[0].mail);
    mailbox_post(mb, &l[1].mail);
    struct mail *m = mailbox_take(mb);
    assert_ptr_equal(m, &l[0].mail);
    assert_ptr_equal(m->next, &l[1].mail);
    assert_null(m->next->next);
    assert_int_equal(delivered_count, 0);
    assert_null(mailbox_take(mb));
    assert_true(mailbox_offer(mb, &l[0].mail)); /* taking gave the room back */
    mailbox_take(mb);
    mailbox_free(mb);
    support_fail_alloc(1);
    assert_null(mailbox_new(1, NULL, NULL));
    support_alloc_failed();
}

#define POSTERS 4
#define EACH 50000
struct stamp {
    struct mail mail;
    int poster, number;
};
struct office {
    struct mailbox *mb;
    sem_t awake;
    int next[POSTERS]; /* the number that must come next from each */
    size_t arrived, refused;
};
static struct office office;
static struct stamp stamps[POSTERS][EACH];

static void deliver_stamp(struct mail *m)
{
    struct stamp *s = CONTAINER_OF(m, struct stamp, mail);
    if (s->number != office.next[s->poster])
        abort(); /* out of order: cmocka's checks are for the test's own thread, and this is it */
    office.next[s->poster]++;
    office.arrived++;
}
static void wake_office(void *arg) { sem_post(&((struct office *)arg)->awake); }

static void *post_all(void *arg)
{
    int poster = (int)(intptr_t)arg;
    for (int i = 0; i < EACH; i++) {
        struct stamp *s = &stamps[poster][i];
        *s = (struct stamp){{NULL, deliver_stamp}, poster, i};
        if (i % 2 || !mailbox_offer(office.mb, &s->mail))
            mailbox_post(office.mb, &s->mail);
    }
    return NULL;
}

static void four_threads_lose_nothing_and_keep_their_order(void **state)
{
    pthread_t id[POSTERS];
    memset(&office, 0, sizeof office);
    sem_init(&office.awake, 0, 0);
    office.mb = mailbox_new(1000, wake_office, &office);
    for (intptr_t i = 0; i < POSTERS; i++)
        assert_int_equal(pthread_create(&id[i], NULL, post_all, (void *)i), 0);
    /* Sleeping until woken: a lost wake-up would hang here. */
    while (office.arrived < POSTERS * EACH) {
        sem_wait(&office.awake);
        mailbox_deliver(office.mb);
    }
    for (int i = 0; i < POSTERS; i++)
        pthread_join(id[i], NULL);
    for (int i = 0; i < POSTERS; i++)
        assert_int_equal(office.next[i], EACH);
    struct stamp last = {{NULL, deliver_stamp}, 0, EACH};
    assert_true(mailbox_offer(office.mb, &last.mail)); /* the count came back to nothing */
    assert_int_equal(mailbox_deliver(office.mb), 1);
    mailbox_free(office.mb);
    sem_destroy(&office.awake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mail_is_delivered_in_the_order_of_posting),
        cmocka_unit_test(the_owner_is_woken_once_a_batch),
        cmocka_unit_test(what_is_posted_quietly_wakes_nobody_until_somebody_does),
        cmocka_unit_test(offers_stop_at_the_limit_and_posts_do_not),
        cmocka_unit_test(mail_posted_while_delivering_is_the_next_batch),
        cmocka_unit_test(a_batch_can_be_taken_without_delivering),
        cmocka_unit_test(four_threads_lose_nothing_and_keep_their_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/** test_store_crash.c: kill -9 in the middle of writing, again and again: all that was reported durable is there, whole
 *          transactions only, and the file opens. CRASH_ROUNDS=n runs longer; the seed is printed, CRASH_SEED=n repeats it. */
#include "tests/support/unit.h"

#include "core/base/random.h"
#include "core/loop/mailbox.h"
#include "core/store/store.h"

#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define TOPICS 3
#define FLIGHT_MAX 64
#define KEEP 5000 /* messages a topic keeps when it is trimmed: a hole must stay long enough to be seen */
#define ROUNDS 25
#define REPORTS_MAX 4000 /* a round is killed after at most so many */
#define BLOB_MAX 3000

/* What a durable transaction says: as much as this of the topic is stored, its resource and number say the same. */
struct report {
    uint32_t topic;
    uint64_t next;
};

struct writer {
    struct store *store;
    struct mailbox *engine;
    sem_t woken;
    struct rng rng;
    uint64_t first[TOPICS], next[TOPICS];
    uint64_t list[TOPICS], list_first[TOPICS]; /* the entries of a topic's messages since `list_first` are in list `list` */
    size_t in_flight;
    int pipe;
};
struct flight {
    struct writer *w;
    struct report report;
    char *blobs;
};

static void on_wake(void *arg) { sem_post(arg); }

/* What message `seq` of a topic is made of, so that a reader can tell. */
static size_t fill_blob(char *out, uint64_t topic, uint64_t seq)
{
    uint64_t x = (topic + 1) * 0x9E3779B97F4A7C15u ^ seq * 0xD1B54A32D192ED03u;
    size_t n = x % 16 ? x % 400 : x % BLOB_MAX; /* now and then over several pages */
    for (size_t i = 0; i < n; i++)
        out[i] = (char)(x >> (i % 8 * 8));
    return n;
}

static void on_durable(void *arg, const struct err *e)
{
    struct flight *f = arg;
    if (e || write(f->w->pipe, &f->report, sizeof f->report) != sizeof f->report)
        _exit(3);
    f->w->in_flight--;
    free(f->blobs);
    free(f);
}

static void must(int rc)
{
    if (rc)
        _exit(4);
}

/* Which list a topic has now, and since which message. */
static void list_names(char list[16], char first[16], uint64_t topic)
{
    snprintf(list, 16, "list-%u", (unsigned)topic);
    snprintf(first, 16, "since-%u", (unsigned)topic);
}

static struct store_entry entry_of(char key[32], uint64_t seq)
{
    snprintf(key, 32, "%012" PRIu64, seq);
    return (struct store_entry){key, (uint32_t)(seq % 3), (int64_t)(seq ^ 5), {key, seq % 12}};
}

/* An entry for each new message; now and then all are dropped and a new list begins. */
static void write_entries(struct writer *w, struct store_txn *t, uint32_t topic, uint64_t from)
{
    char key[32], list[16], first[16];
    if (rng_chance(&w->rng, 0.01)) {
        list_names(list, first, topic);
        must(store_txn_entries_drop(t, w->list[topic], NULL));
        w->list[topic] += TOPICS;
        w->list_first[topic] = from;
        must(store_txn_meta(t, list, w->list[topic], NULL));
        must(store_txn_meta(t, first, from, NULL));
    }
    for (uint64_t seq = from; seq < w->next[topic]; seq++) {
        struct store_entry x = entry_of(key, seq);
        must(store_txn_entry_add(t, w->list[topic], &x, NULL));
    }
    if (from % 2 && from > w->list_first[topic]) { /* there and back: nothing changes, and all trees do */
        struct store_entry x = entry_of(key, from - 1);
        must(store_txn_entry_delete(t, w->list[topic], x.key, NULL));
        must(store_txn_entry_put(t, w->list[topic], &x, NULL));
    }
}

/* A few messages, and in the same transaction how many there are now: as a resource, as a number, as an ack floor. */
static void write_one(struct writer *w)
{
    struct flight *f = calloc(1, sizeof *f);
    struct store_txn *t = store_txn_new();
    uint32_t topic = (uint32_t)rng_below(&w->rng, TOPICS);
    size_t count = 1 + rng_below(&w->rng, 4), used = 0;
    char name[16], body[32];
    f->w = w;
    f->blobs = malloc(count * BLOB_MAX);
    for (size_t i = 0; i < count; i++, w->next[topic]++) {
        size_t n = fill_blob(f->blobs + used, topic, w->next[topic]);
        must(store_txn_append(t, topic, w->next[topic], (int64_t)w->next[topic], (struct str){f->blobs + used, n}, NULL));
        used += n;
    }
    snprintf(name, sizeof name, "topic-%u", topic);
    snprintf(body, sizeof body, "%" PRIu64, w->next[topic]);
    must(store_txn_put(t, "topic", name, str_of(body), NULL));
    must(store_txn_meta(t, name, w->next[topic], NULL));
    must(store_txn_floor(t, topic, w->next[topic], NULL));
    write_entries(w, t, topic, w->next[topic] - count);
    if (rng_chance(&w->rng, 0.05) && w->next[topic] > KEEP)
        must(store_txn_trim(t, topic, w->next[topic] - KEEP, NULL));
    f->report = (struct report){topic, w->next[topic]};
    w->in_flight++;
    store_submit(w->store, t, on_durable, f);
}

/* The child: writes until it is killed. */
static void write_for_ever(const char *dir, int pipe, uint64_t seed)
{
    struct writer w = {.pipe = pipe};
    struct err e = {0};
    rng_seed(&w.rng, seed);
    sem_init(&w.woken, 0, 0);
    w.engine = mailbox_new(SIZE_MAX, on_wake, &w.woken);
    w.store = store_sqlite_open(dir, w.engine, log_null(), &e);
    if (!w.store) {
        fprintf(stderr, "child cannot open: %s\n", e.msg);
        _exit(2);
    }
    for (uint64_t i = 0; i < TOPICS; i++) {
        char list[16], first[16];
        list_names(list, first, i);
        must(w.store->ops->topic_bounds(w.store, i, &w.first[i], &w.next[i], NULL));
        must(w.store->ops->load_meta(w.store, list, &w.list[i], NULL));
        must(w.store->ops->load_meta(w.store, first, &w.list_first[i], NULL));
        w.list[i] = w.list[i] ? w.list[i] : i + 1;
    }
    for (;;) {
        size_t flights = 1 + rng_below(&w.rng, FLIGHT_MAX);
        while (w.in_flight < flights)
            write_one(&w);
        sem_wait(&w.woken);
        mailbox_deliver(w.engine);
    }
}

/* Reads reports until the pipe is closed; kills the child after `limit` of them. */
static size_t read_reports(int fd, pid_t child, size_t limit, uint64_t durable[TOPICS])
{
    struct report r;
    size_t n = 0;
    if (limit == 0)
        kill(child, SIGKILL);
    while (read(fd, &r, sizeof r) == sizeof r) { /* written whole: smaller than PIPE_BUF */
        assert_true(r.topic < TOPICS && r.next >= durable[r.topic]);
        durable[r.topic] = r.next;
        if (++n == limit)
            kill(child, SIGKILL);
    }
    return n;
}

struct check {
    struct store_read read;
    int done;
    uint64_t topic, seq;
};

static void on_rows(struct store_read *r, const struct err *e)
{
    struct check *c = CONTAINER_OF(r, struct check, read);
    static char want[BLOB_MAX];
    assert_null(e);
    for (size_t i = 0; i < r->n; i++, c->seq++) {
        size_t n = fill_blob(want, c->topic, c->seq);
        assert_int_equal(r->rows[i].seq, c->seq);
        assert_int_equal(r->rows[i].wall_ns, (int64_t)c->seq);
        assert_int_equal(r->rows[i].blob.n, n);
        assert_memory_equal(r->rows[i].blob.p, want, n);
    }
    c->done++;
}

static int parse_body(void *arg, const char *name, struct str body, struct err *e)
{
    uint64_t *said = arg;
    said[name[strlen("topic-")] - '0'] = strtoull(body.p, NULL, 10);
    return 0;
}

static int no_chunk(void *arg, uint64_t chunk, const uint8_t *bits, struct err *e)
{
    return err_set(e, ERR_INTERNAL, "nobody wrote chunk %" PRIu64, chunk);
}

struct entry_check {
    struct store_entries ask;
    int done;
    uint64_t seq;
    char after[32];
};

static void on_entries(struct store_entries *r, const struct err *e)
{
    struct entry_check *c = CONTAINER_OF(r, struct entry_check, ask);
    assert_null(e);
    for (size_t i = 0; i < r->n; i++, c->seq++) {
        struct store_entry want = entry_of(c->after, c->seq);
        assert_string_equal(r->rows[i].key, want.key);
        assert_int_equal(r->rows[i].lane, want.lane);
        assert_int_equal(r->rows[i].due_wall_ns, want.due_wall_ns);
        assert_int_equal(r->rows[i].body.n, want.body.n);
        assert_memory_equal(r->rows[i].body.p, want.body.p, want.body.n);
    }
    c->done++;
}

static int add_up(void *arg, uint32_t lane, uint64_t count, struct err *e)
{
    assert_true(lane < 3);
    *(uint64_t *)arg += count;
    return 0;
}

/* The list has the entries since..next-1, the one before it none. */
static void check_list(struct store *s, struct mailbox *engine, sem_t *woken, uint64_t topic, uint64_t next)
{
    char list_name[16], first_name[16], after[32] = "";
    uint64_t list, first, count = 0;
    list_names(list_name, first_name, topic);
    assert_int_equal(s->ops->load_meta(s, list_name, &list, NULL), 0);
    assert_int_equal(s->ops->load_meta(s, first_name, &first, NULL), 0);
    list = list ? list : topic + 1;
    if (list > TOPICS)
        assert_int_equal(s->ops->load_lanes(s, list - TOPICS, add_up, &count, NULL), 0);
    assert_int_equal(count, 0);
    assert_int_equal(s->ops->load_lanes(s, list, add_up, &count, NULL), 0);
    assert_int_equal(count, next - first);
    struct entry_check c = {.seq = first};
    while (c.seq < next) {
        uint64_t before = c.seq;
        c.done = 0;
        c.ask = (struct store_entries){.by = STORE_KEYS, .list_id = list, .lane_max = 2, .key = after, .done = on_entries};
        c.ask.max_count = 1000;
        c.ask.max_bytes = 1 << 20;
        s->ops->entries(s, &c.ask);
        while (!c.done) {
            sem_wait(woken);
            mailbox_deliver(engine);
        }
        assert_true(c.seq > before);
        memcpy(after, c.after, sizeof after);
    }
}

static void check_topic(struct store *s, struct mailbox *engine, sem_t *woken, uint64_t topic, uint64_t durable, uint64_t said)
{
    uint64_t first, next, number, floor;
    char name[16];
    snprintf(name, sizeof name, "topic-%" PRIu64, topic);
    assert_int_equal(s->ops->topic_bounds(s, topic, &first, &next, NULL), 0);
    assert_int_equal(s->ops->load_meta(s, name, &number, NULL), 0);
    assert_int_equal(s->ops->load_acks(s, topic, &floor, no_chunk, NULL, NULL), 0);
    if (next < durable)
        fail_msg("topic %" PRIu64 " ends at %" PRIu64 " but %" PRIu64 " was reported durable", topic, next, durable);
    assert_int_equal(said, next); /* nothing of a transaction without the rest of it */
    assert_int_equal(number, next);
    assert_int_equal(floor, next);
    struct check c = {.topic = topic, .seq = first};
    while (c.seq < next) {
        uint64_t before = c.seq;
        c.done = 0;
        c.read = (struct store_read){.topic_id = topic, .from_seq = c.seq, .max_count = 1000, .max_bytes = 1 << 20, .done = on_rows};
        s->ops->read(s, &c.read);
        while (!c.done) {
            sem_wait(woken);
            mailbox_deliver(engine);
        }
        assert_true(c.seq > before);
    }
}

static void check_file(const char *dir, const uint64_t durable[TOPICS])
{
    sem_t woken;
    struct err e = {0};
    sem_init(&woken, 0, 0);
    struct mailbox *engine = mailbox_new(SIZE_MAX, on_wake, &woken);
    struct store *s = store_sqlite_open(dir, engine, log_null(), &e);
    if (!s) {
        fail_msg("the file does not open: %s", e.msg);
        return;
    }
    uint64_t said[TOPICS] = {0};
    assert_int_equal(s->ops->load_resources(s, "topic", parse_body, said, NULL), 0);
    for (uint64_t i = 0; i < TOPICS; i++)
        check_topic(s, engine, &woken, i, durable[i], said[i]);
    for (uint64_t i = 0; i < TOPICS; i++)
        check_list(s, engine, &woken, i, said[i]);
    s->ops->close(s);
    mailbox_free(engine);
    sem_destroy(&woken);
}

static uint64_t number_from(const char *variable, uint64_t otherwise)
{
    const char *text = getenv(variable);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

static void what_was_reported_durable_survives_kill_9(void **state)
{
    struct rng rng;
    rng_seed_os(&rng);
    uint64_t seed = number_from("CRASH_SEED", rng_u64(&rng)), rounds = number_from("CRASH_ROUNDS", ROUNDS), durable[TOPICS] = {0};
    print_message("CRASH_SEED=%" PRIu64 "\n", seed);
    rng_seed(&rng, seed);
    const char *dir = support_tmpdir();
    size_t reports = 0;
    for (uint64_t round = 0; round < rounds; round++) {
        int fds[2];
        assert_int_equal(pipe(fds), 0);
        size_t limit = rng_chance(&rng, 0.1) ? rng_below(&rng, 3) : rng_below(&rng, REPORTS_MAX);
        uint64_t child_seed = rng_u64(&rng);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            close(fds[0]);
            write_for_ever(dir, fds[1], child_seed);
        }
        close(fds[1]);
        reports += read_reports(fds[0], child, limit, durable);
        close(fds[0]);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL); /* it did not fail by itself */
        check_file(dir, durable);
    }
    print_message("%" PRIu64 " rounds, %zu transactions reported durable\n", rounds, reports);
    assert_true(reports > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_reported_durable_survives_kill_9),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

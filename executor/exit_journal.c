/** exit_journal.c: a ring of records in a file, each with its number and a check over all of it, so that a slot never written is not
 *                  taken for one, nor a part of one: two pages of three end within a record, and a warden that is killed as it writes,
 *                  or a host that loses its power, may leave what is before new and what is behind old, or zero: exit code 0. */
#include "executor/exit_journal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define CHECK UINT64_C(0x52574a4558495432) /* RWJEXIT2: what an older one wrote is not read */
#define LOCK_EVERY_MS 5
#define READ_SLOTS 1024

struct slot {
    uint64_t check; /* of all that follows */
    uint64_t seq;   /* counts from 1 */
    uint64_t ticket[2];
    int32_t code, signal, out_of_memory, unused;
};
struct exit_journal {
    int fd;
    size_t n;
    struct slot *slots; /* ordered by ticket */
};

static uint64_t mix(uint64_t h, uint64_t word)
{
    h = (h ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    return h ^ h >> 29;
}

static uint64_t check_of(const struct slot *s)
{
    uint64_t h = mix(mix(mix(CHECK, s->seq), s->ticket[0]), s->ticket[1]);
    h = mix(h, (uint64_t)(uint32_t)s->code << 32 | (uint32_t)s->signal);
    return mix(h, (uint64_t)(uint32_t)s->out_of_memory << 32 | (uint32_t)s->unused);
}

static bool is_slot(const struct slot *s) { return s->seq > 0 && s->check == check_of(s); }

static int by_ticket(const void *a, const void *b)
{
    const struct slot *x = a, *y = b;
    if (x->ticket[0] != y->ticket[0])
        return x->ticket[0] < y->ticket[0] ? -1 : 1;
    return x->ticket[1] < y->ticket[1] ? -1 : x->ticket[1] > y->ticket[1];
}

/* Slots from number `first` on; how many were read. */
static size_t read_slots(int fd, size_t first, struct slot out[READ_SLOTS])
{
    ssize_t n;
    while ((n = pread(fd, out, READ_SLOTS * sizeof *out, (off_t)(first * sizeof *out))) < 0 && errno == EINTR)
        ;
    return n > 0 ? (size_t)n / sizeof *out : 0;
}

/* The descriptors of the server and of its warden are one open file, so this waits for both of an earlier server to be gone. */
static int lock(int fd, const char *path, struct err *e)
{
    for (int waited_ms = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; waited_ms += LOCK_EVERY_MS) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return err_sys(e, ERR_UNAVAILABLE, errno, "%s cannot be locked", path);
        if (waited_ms >= EXIT_JOURNAL_WAIT_MS)
            return err_set(e, ERR_UNAVAILABLE, "%s is still held by a runnel-warden that ends the programs of an earlier server; try again",
                           path);
        poll(NULL, 0, LOCK_EVERY_MS);
    }
    return 0;
}

static int load(struct exit_journal *j, struct err *e)
{
    struct slot *part = malloc(READ_SLOTS * sizeof *part);
    j->slots = calloc(EXIT_JOURNAL_SLOTS, sizeof *j->slots);
    if (!part || !j->slots) {
        free(part);
        return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the journal of exits");
    }
    size_t n, first = 0;
    for (; first < EXIT_JOURNAL_SLOTS && (n = read_slots(j->fd, first, part)) > 0; first += n)
        for (size_t i = 0; i < n && j->n < EXIT_JOURNAL_SLOTS; i++)
            if (is_slot(&part[i]))
                j->slots[j->n++] = part[i];
    free(part);
    qsort(j->slots, j->n, sizeof *j->slots, by_ticket);
    struct slot *kept = realloc(j->slots, (j->n + 1) * sizeof *kept);
    j->slots = kept ? kept : j->slots;
    return 0;
}

struct exit_journal *exit_journal_open(const char *path, struct err *e)
{
    struct exit_journal *j = calloc(1, sizeof *j);
    if (!j) {
        err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory for the journal of exits");
        return NULL;
    }
    j->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int rc = j->fd < 0 ? err_sys(e, ERR_UNAVAILABLE, errno, "%s cannot be opened", path) : 0;
    rc = rc ? rc : lock(j->fd, path, e);
    rc = rc ? rc : load(j, e);
    if (rc == 0)
        return j;
    exit_journal_free(j);
    return NULL;
}

void exit_journal_free(struct exit_journal *j)
{
    if (!j)
        return;
    if (j->fd >= 0)
        close(j->fd);
    free(j->slots);
    free(j);
}

int exit_journal_fd(const struct exit_journal *j) { return j->fd; }

bool exit_journal_find(const struct exit_journal *j, const uint64_t ticket[2], struct exit_record *out)
{
    struct slot key = {.ticket = {ticket[0], ticket[1]}};
    const struct slot *s = j->n ? bsearch(&key, j->slots, j->n, sizeof key, by_ticket) : NULL;
    if (s)
        *out = (struct exit_record){{s->ticket[0], s->ticket[1]}, s->code, s->signal, s->out_of_memory};
    return s != NULL;
}

uint64_t exit_journal_end(int fd)
{
    struct slot *part = malloc(READ_SLOTS * sizeof *part);
    uint64_t last = 0;
    size_t n, first = 0;
    for (; part && first < EXIT_JOURNAL_SLOTS && (n = read_slots(fd, first, part)) > 0; first += n)
        for (size_t i = 0; i < n; i++)
            if (is_slot(&part[i]) && part[i].seq > last)
                last = part[i].seq;
    free(part);
    return last + 1;
}

bool exit_journal_write(int fd, uint64_t seq, const struct exit_record *r)
{
    struct slot s = {0, seq, {r->ticket[0], r->ticket[1]}, r->code, r->signal, r->out_of_memory, 0};
    s.check = check_of(&s);
    ssize_t n;
    while ((n = pwrite(fd, &s, sizeof s, (off_t)(seq % EXIT_JOURNAL_SLOTS * sizeof s))) < 0 && errno == EINTR)
        ;
    return n == sizeof s;
}

/* fuzz_exit_journal.c: the journal of exits after whatever a kill, a lost page or a full disk may leave of it. A task is only taken for
 * ended by an exit that was written, as it was written; one that nothing has touched is found; and writing goes on behind all that is
 * there, so that what is written then is found, too.
 * Input: steps, one after the other, by their first byte: an exit is written (its code, its signal), bytes are put over the file (where,
 * how many, which), a page is lost (which: it is zero, as it was never written), one record's bytes come to lie at another's place, the
 * file is cut, the server starts anew. */
#include "executor/exit_journal.h"
#include "tests/fuzz/fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

#define RECORD_BYTES 48 /* what one takes in the file; the target says so if that is another one */
#define PAGE_BYTES 4096
#define LIST 7
#define RECORDS_MAX 300 /* some pages of the file */
#define FILE_MAX ((size_t)RECORDS_MAX * RECORD_BYTES)

struct run {
    int fd;
    char path[64];
    uint64_t next; /* where the warden goes on */
    size_t n;
    struct exit_record written[RECORDS_MAX]; /* by the index in their ticket */
    uint64_t place[RECORDS_MAX];
    size_t at_place[RECORDS_MAX];        /* whose record was written there last */
    char image[FILE_MAX + RECORD_BYTES]; /* what the file should be if nobody else had touched it */
};

/* The file's first bytes, and zeros; how many there are. */
static size_t file_read(const struct run *r, char *out, size_t n)
{
    memset(out, 0, n);
    ssize_t got = pread(r->fd, out, n, 0);
    FUZZ_MUST(got >= 0);
    return (size_t)got;
}

static void write_exit(struct run *r, struct str *in)
{
    if (r->n == RECORDS_MAX || r->next >= RECORDS_MAX)
        return;
    struct exit_record *x = &r->written[r->n];
    *x = (struct exit_record){{LIST, r->n}, (int8_t)fuzz_byte(in), fuzz_byte(in) % 65, r->n % 7 == 0};
    FUZZ_MUST(exit_journal_write(r->fd, r->next, x));
    size_t at = (size_t)r->next * RECORD_BYTES;
    FUZZ_MUST(pread(r->fd, r->image + at, RECORD_BYTES, (off_t)at) == RECORD_BYTES);
    r->at_place[r->next] = r->n;
    r->place[r->n++] = r->next++;
}

static void damage(struct run *r, struct str *in, int how)
{
    static const char zeros[PAGE_BYTES];
    static char all[FILE_MAX];
    size_t at = fuzz_byte(in) * (size_t)256 + fuzz_byte(in), n = fuzz_byte(in);
    n = n > in->n ? in->n : n;
    if (how == 0 && at + n <= FILE_MAX) {
        FUZZ_MUST(pwrite(r->fd, in->p, n, (off_t)at) == (ssize_t)n);
        *in = (struct str){in->p + n, in->n - n};
    } else if (how == 1) {
        size_t page = at % (FILE_MAX / PAGE_BYTES) * PAGE_BYTES;
        FUZZ_MUST(pwrite(r->fd, zeros, PAGE_BYTES, (off_t)page) == PAGE_BYTES);
    } else if (how == 2) {
        file_read(r, all, FILE_MAX);
        size_t from = at / 256 % RECORDS_MAX, to = at % 256;
        FUZZ_MUST(pwrite(r->fd, all + from * RECORD_BYTES, RECORD_BYTES, (off_t)(to * RECORD_BYTES)) == RECORD_BYTES);
    } else if (how == 3) {
        FUZZ_MUST(ftruncate(r->fd, (off_t)(at % FILE_MAX)) == 0);
    }
}

/* What a server that starts now is told of each exit. */
static void check_all(struct run *r)
{
    static char now[FILE_MAX + RECORD_BYTES];
    struct err e = {0};
    struct exit_journal *j = exit_journal_open(r->path, &e);
    FUZZ_CHECK(j, "it cannot be opened: %s", e.msg);
    size_t size = file_read(r, now, sizeof now);
    uint64_t end = exit_journal_end(exit_journal_fd(j));
    FUZZ_CHECK(end >= 1 && end <= RECORDS_MAX, "it goes on at %llu", (unsigned long long)end);
    for (size_t i = 0; i < r->n + 3; i++) {
        const uint64_t ticket[2] = {LIST, i};
        struct exit_record x = {0};
        bool found = exit_journal_find(j, ticket, &x);
        const struct exit_record *w = &r->written[i < r->n ? i : 0];
        FUZZ_CHECK(!found || i < r->n, "an exit that nobody wrote");
        if (found)
            FUZZ_CHECK(x.ticket[0] == LIST && x.ticket[1] == i && x.code == w->code && x.signal == w->signal &&
                           x.out_of_memory == w->out_of_memory,
                       "exit %zu was code %d, signal %d, and is code %d, signal %d", i, (int)w->code, (int)w->signal, (int)x.code,
                       (int)x.signal);
        if (i >= r->n)
            continue;
        size_t at = (size_t)r->place[i] * RECORD_BYTES;
        bool whole = r->at_place[r->place[i]] == i && at + RECORD_BYTES <= size && memcmp(now + at, r->image + at, RECORD_BYTES) == 0;
        FUZZ_CHECK(found || !whole, "exit %zu lies there whole and is not found", i);
        FUZZ_CHECK(!whole || end > r->place[i], "it goes on at %llu, on a record that is whole", (unsigned long long)end);
    }
    r->next = end;
    exit_journal_free(j);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct run r;
    struct str in = fuzz_str(data, size);
    memset(&r, 0, sizeof r);
    r.fd = memfd_create("exits", MFD_CLOEXEC);
    FUZZ_MUST(r.fd >= 0);
    snprintf(r.path, sizeof r.path, "/proc/self/fd/%d", r.fd);
    r.next = exit_journal_end(r.fd);
    while (in.n) {
        uint8_t step = fuzz_byte(&in) % 8;
        if (step < 3)
            write_exit(&r, &in);
        else if (step < 7)
            damage(&r, &in, step - 3);
        else
            check_all(&r);
    }
    check_all(&r);
    if (r.next < RECORDS_MAX && r.n < RECORDS_MAX) {
        struct str last = STR("\x05\x00");
        size_t before = r.n;
        write_exit(&r, &last);
        check_all(&r);
        FUZZ_CHECK(r.n == before + 1 && r.next == r.place[before] + 1, "what was written last is not the end");
    }
    close(r.fd);
    return 0;
}

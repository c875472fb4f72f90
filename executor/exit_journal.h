/** exit_journal.h: the ends of tasks as the warden saw them, in a file of the data folder, so that a task that had ended when the
 *                  server was killed is not run again.
 *  Shape:  exit_journal_open (by the server; waits until no earlier warden has it) -> its descriptor is given to the warden, which
 *          writes each exit before it tells the server -> after a kill -9 the next server finds them with exit_journal_find.
 *          The file is a ring of EXIT_JOURNAL_SLOTS records; what is overwritten has long been stored: an attempt stays open until
 *          its outcome is durable, and no more than JOBS_OPEN_MAX are open at once.
 *  Errors: exit_journal_open: UNAVAILABLE when it cannot be opened or is still held by a warden; RESOURCE_EXHAUSTED.
 *  Owner:  exit_journal_free.
 *  Thread: one. The warden has its own copy, made from the descriptor.
 *  Limits: it survives the end of a process, however it comes, not the loss of power: then what ran has ended anyhow, and an attempt
 *          whose end is not in the store is taken as lost. */
#ifndef EXECUTOR_EXIT_JOURNAL_H
#define EXECUTOR_EXIT_JOURNAL_H

#include "core/base/env.h"

#define EXIT_JOURNAL_SLOTS 65536
#define EXIT_JOURNAL_WAIT_MS 15000 /* for an earlier warden to end */

struct exit_record {
    uint64_t ticket[2]; /* the attempt: list of entries; index << 32 | attempt */
    int32_t code, signal, out_of_memory;
};
struct exit_journal;
struct exit_journal *exit_journal_open(const char *path, struct err *e);
void exit_journal_free(struct exit_journal *j);
/** For the warden to inherit. */
int exit_journal_fd(const struct exit_journal *j);
/** The exit of this attempt, if it was in the file when it was opened. */
bool exit_journal_find(const struct exit_journal *j, const uint64_t ticket[2], struct exit_record *out);

/** The warden's side: where to go on writing in the file of `fd`. */
uint64_t exit_journal_end(int fd);
/** Write it as number `seq`. False: it could not be written. */
bool exit_journal_write(int fd, uint64_t seq, const struct exit_record *r);

#endif

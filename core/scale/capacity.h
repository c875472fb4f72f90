/** capacity.h: who gets memory next when services and jobs together want more of it than there is. Pure: no clock, no I/O.
 *  Shape:  a share for each service and each job, a claim for each revision and each execution (its programs are all of one size).
 *          capacity_take: has it, or waits. After every capacity_give, _leave and _weigh: capacity_next until it is NULL; each claim
 *          that it returns has what it asked for, and no longer waits.
 *  Rules:  Claimed is what an author wrote as a memory limit, and nothing else. A default claims nothing: a thousand small programs must
 *          be able to run at once, and who wrote no number promised nothing. CPU is not claimed either: it can be divided at any moment,
 *          so the kernel does that, by the same weights (executor/cgroup.h), and a limit of 4 CPUs runs on 2, only slower.
 *          Never more than all there is. What is idle goes to whoever wants it; what runs keeps what it has.
 *          Order: services in need (none of theirs runs, or they hold less than their share: their weight's part of the weights of all
 *          who hold or wait), then jobs, and services beyond their share, by priority and by what they hold for their weight.
 *          Where the first does not fit, a smaller one behind it may pass; but nothing passes a service in need save another one, and
 *          after CAPACITY_PASSES a claim is not passed any more by its like, after twice as many by nobody.
 *          So who holds nothing waits for no more than 2 x CAPACITY_PASSES grants, one for each claim that stood there before it, and those
 *          of jobs with a higher priority, and then for the ends of as many programs as make room.
 *  Units:  bytes; weights are relative to each other.
 *  Errors: none; a claim that capacity_fits denies must not be made.
 *  Owner:  the structs are embedded in what they stand for and hold no memory of their own. A share outlives its claims.
 *  Thread: whoever owns the structs. */
#ifndef CORE_SCALE_CAPACITY_H
#define CORE_SCALE_CAPACITY_H

#include "core/base/list.h"

#define CAPACITY_PASSES 8
#define CAPACITY_WEIGHT_MIN 1
#define CAPACITY_WEIGHT_DEFAULT 100
#define CAPACITY_WEIGHT_MAX 10000
enum capacity_kind { CAPACITY_SERVICE, CAPACITY_JOB, CAPACITY_KINDS };

struct capacity {
    uint64_t total_bytes; /* UINT64_MAX: not known, so everything fits */
    uint64_t held_bytes;
    uint64_t weights;    /* of the shares that hold something or wait */
    struct list waiting; /* claims, in order of arrival */
};
struct capacity_share {
    enum capacity_kind kind;
    uint32_t weight;
    uint64_t held_bytes;
    uint32_t n_waiting;
};
struct capacity_claim {
    struct node link; /* capacity->waiting */
    struct capacity_share *share;
    uint64_t bytes;   /* of one program; 0: always granted, and nothing is to be given back */
    int32_t priority; /* of jobs among each other, and to services beyond their share, which have 0 */
    uint32_t passed;  /* grants that went past this claim while it waited and its share was due one */
};

void capacity_init(struct capacity *c, uint64_t total_bytes);
void capacity_share_init(struct capacity_share *s, enum capacity_kind kind, uint32_t weight);
void capacity_claim_init(struct capacity_claim *k, struct capacity_share *s, uint64_t bytes, int32_t priority);
/** Could one program ever have as much? */
bool capacity_fits(const struct capacity *c, uint64_t bytes);
/** For one program. True: it has it. False: it waits, and capacity_next will return it. Asked again meanwhile, it waits on. */
MUST_USE bool capacity_take(struct capacity *c, struct capacity_claim *k);
/** The one that has what it asked for now; NULL: nobody who waits can have it. */
MUST_USE struct capacity_claim *capacity_next(struct capacity *c);
/** A program has ended. */
void capacity_give(struct capacity *c, struct capacity_share *s, uint64_t bytes);
/** It wants nothing any more. Nothing happens when it does not wait. */
void capacity_leave(struct capacity *c, struct capacity_claim *k);
void capacity_weigh(struct capacity *c, struct capacity_share *s, uint32_t weight);
bool capacity_waits(const struct capacity_claim *k);

#endif

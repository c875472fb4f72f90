/** operation.h: google.longrunning.Operation: work that goes on after the answer.
 *  Shape:  operation_start -> running -> operation_finish | operation_fail; kept for OPERATION_KEEP_NS after its end, then dropped.
 *          At most OPERATIONS_MAX are kept; the oldest finished ones go first, and a start is refused (RESOURCE_EXHAUSTED) when all run.
 *          Operations are kept in memory: after a restart unfinished work is taken up by its owner from its own resources and
 *          the old operation's name answers NOT_FOUND.
 *  Methods: GetOperation, ListOperations, DeleteOperation, WaitOperation under /v2/{name=projects/ * /locations/ * /operations/ *}.
 *  Errors: RESOURCE_EXHAUSTED: too many are running, or out of memory; INVALID_ARGUMENT: a parent that is too long.
 *  Owner:  operations_free frees every operation; whoever started one may use its pointer until it has ended.
 *  Thread: engine thread. */
#ifndef CORE_RPC_OPERATION_H
#define CORE_RPC_OPERATION_H

#include "core/base/env.h"
#include "core/rpc/method.h"

#define OPERATION_KEEP_NS (3600 * NS_PER_S)
#define OPERATIONS_MAX 10000
#define OPERATION_WAIT_MAX_NS (30 * NS_PER_S) /* WaitOperation: the default and the most */
struct operations;
struct operation;
/** NULL when out of memory. */
struct operations *operations_new(const struct env *env, struct err *e);
void operations_free(struct operations *ops); /* calls that wait are not answered any more */
MUST_USE int operations_register(struct operations *ops, struct registry *r, struct err *e);
/** Start one; NULL on error. The pointer is the caller's until operation_finish or operation_fail; afterwards use it no more,
 *  but for operation_message in the same handler that started it.
 *  `parent` is "projects/P/locations/L"; `metadata` (a message, copied; may be NULL) is what clients see while it runs. */
struct operation *operation_start(struct operations *ops, const char *parent, const ProtobufCMessage *metadata, struct err *e);
const char *operation_name(const struct operation *op);
/** The google.longrunning.Operation as it stands, in the arena: what a mutation answers. */
ProtobufCMessage *operation_message(struct arena *a, const struct operation *op);
void operation_finish(struct operation *op, const ProtobufCMessage *response); /* copied */
void operation_fail(struct operation *op, const struct err *e);
bool operation_done(const struct operation *op);

#endif

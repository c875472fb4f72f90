/** err.h: the one error type.
 *  Purpose: carry what happened, to which thing, and whether trying again helps,
 *           from where it fails to where it is answered.
 *  Shape:   the caller owns it and puts it on its stack; no heap, so it works out
 *           of memory. Functions take it last, return 0 or `-code`, and leave it
 *           untouched on success. There is no third outcome.
 *  Thread:  any; an error belongs to whoever has it on the stack.
 *  Source:  codes are google.rpc.Code; the HTTP mapping is google/rpc/code.proto's. */
#ifndef CORE_BASE_ERR_H
#define CORE_BASE_ERR_H

#include "core/compiler.h"

enum err_retry { RETRY_NEVER, RETRY_LATER };

/* name, google.rpc code, HTTP status, retry class */
#define ERR_MAP(X)                              \
    X(OK, 0, 200, RETRY_NEVER)                  \
    X(CANCELLED, 1, 499, RETRY_NEVER)           \
    X(UNKNOWN, 2, 500, RETRY_NEVER)             \
    X(INVALID_ARGUMENT, 3, 400, RETRY_NEVER)    \
    X(DEADLINE_EXCEEDED, 4, 504, RETRY_LATER)   \
    X(NOT_FOUND, 5, 404, RETRY_NEVER)           \
    X(ALREADY_EXISTS, 6, 409, RETRY_NEVER)      \
    X(PERMISSION_DENIED, 7, 403, RETRY_NEVER)   \
    X(RESOURCE_EXHAUSTED, 8, 429, RETRY_LATER)  \
    X(FAILED_PRECONDITION, 9, 400, RETRY_NEVER) \
    X(ABORTED, 10, 409, RETRY_LATER)            \
    X(OUT_OF_RANGE, 11, 400, RETRY_NEVER)       \
    X(UNIMPLEMENTED, 12, 501, RETRY_NEVER)      \
    X(INTERNAL, 13, 500, RETRY_NEVER)           \
    X(UNAVAILABLE, 14, 503, RETRY_LATER)        \
    X(DATA_LOSS, 15, 500, RETRY_NEVER)          \
    X(UNAUTHENTICATED, 16, 401, RETRY_NEVER)

enum err_code {
#define ERR_ENUM(name, code, http, retry) ERR_##name = code,
    ERR_MAP(ERR_ENUM)
#undef ERR_ENUM
};

struct err {
    enum err_code code;
    int sys;       /* errno or the foreign library's code, 0 if none */
    char msg[320]; /* a sentence for people; always terminated */
};

/** Fill `e` and return -code. `e` may be NULL. */
FMT(3, 4) int err_set(struct err *e, enum err_code code, const char *fmt, ...);
/** The same from an errno; the text of `sys` is appended after ": ". */
FMT(4, 5) int err_sys(struct err *e, enum err_code code, int sys, const char *fmt, ...);
/** Put context before the message ("outer: inner"); returns -e->code. */
FMT(2, 3) int err_wrap(struct err *e, const char *fmt, ...);

/* A failure is below zero, also to the compiler: without this an optimising one thinks that whoever fails
 * could have returned 0 and left its results unset. */
static inline int err_negative(int rc) { return rc < 0 ? rc : -ERR_UNKNOWN; }
#define err_set(...) err_negative(err_set(__VA_ARGS__))
#define err_sys(...) err_negative(err_sys(__VA_ARGS__))
#define err_wrap(...) err_negative(err_wrap(__VA_ARGS__))

const char *err_name(enum err_code code); /* "NOT_FOUND" */
int err_http(enum err_code code);         /* 404 */
enum err_retry err_retry(enum err_code code);
/** The canonical code of an HTTP status as Cloud Tasks maps it (wire.md section 2). */
enum err_code err_from_http(int status);

#endif

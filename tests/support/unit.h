/** unit.h: cmocka with the headers it needs first, and checks that name the row of a table that failed. */
#ifndef TESTS_SUPPORT_UNIT_H
#define TESTS_SUPPORT_UNIT_H

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/support.h"

#define CASE_TRUE(name, cond)                                     \
    do {                                                          \
        if (!(cond))                                              \
            fail_msg("case \"%s\": not true: %s", (name), #cond); \
    } while (0)
#define CASE_INT(name, got, want)                                                                           \
    do {                                                                                                    \
        int64_t case_got = (int64_t)(got), case_want = (int64_t)(want);                                     \
        if (case_got != case_want)                                                                          \
            fail_msg("case \"%s\": %s is %" PRId64 ", wanted %" PRId64, (name), #got, case_got, case_want); \
    } while (0)
#define CASE_STR(name, got, want)                                                                                          \
    do {                                                                                                                   \
        const char *case_got = (got), *case_want = (want);                                                                 \
        if (!case_got || strcmp(case_got, case_want) != 0)                                                                 \
            fail_msg("case \"%s\": %s is \"%s\", wanted \"%s\"", (name), #got, case_got ? case_got : "(null)", case_want); \
    } while (0)

#endif

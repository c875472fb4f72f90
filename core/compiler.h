/** compiler.h: the compiler attributes that the code may use, in one place. */
#ifndef CORE_COMPILER_H
#define CORE_COMPILER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FMT(fmt_index, first_arg) __attribute__((format(printf, fmt_index, first_arg)))
#define MUST_USE __attribute__((warn_unused_result))
#define ALIGNED(n) __attribute__((aligned(n)))
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#define NS_PER_US INT64_C(1000)
#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S INT64_C(1000000000)

#endif

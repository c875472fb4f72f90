/** store_schema_1.h: a data directory as an older version left it, and what must be found in it for ever. */
#ifndef TESTS_UNIT_STORE_SCHEMA_1_H
#define TESTS_UNIT_STORE_SCHEMA_1_H

#include "tests/unit/store_bench.h"

/* A data directory as the version of schema 1 left it. The file was written by that version's store and is never written anew:
 * resources and numbers, topic 3 with 10..59, topic 4 trimmed whole, acknowledgements of subscription 5. */
static inline void bench_copy_schema_1(const char *dir)
{
    char path[512], *bytes = NULL;
    snprintf(path, sizeof path, "%s/runnel.db", dir);
    FILE *in = fopen(UNIT_DIR "/store_schema_1.db", "rb"), *out = fopen(path, "wb");
    assert_non_null(in);
    assert_non_null(out);
    bytes = malloc(1 << 20);
    size_t n = fread(bytes, 1, 1 << 20, in);
    assert_int_equal(n, 40960);
    assert_int_equal(fwrite(bytes, 1, n, out), n);
    free(bytes);
    fclose(in);
    assert_int_equal(fclose(out), 0);
}

static inline void expect_schema_1(struct bench *b)
{
    expect_resources(b, "topic", "a=two,b=one,");
    expect_resources(b, "subscription", "s=,");
    assert_int_equal(meta(b, "next_topic"), 8);
    assert_true(meta(b, "big") == UINT64_MAX);
    expect_bounds(b, 3, 10, 60);
    expect_bounds(b, 4, 5, 5);
    struct acks a = load_acks(b, 5, 100);
    assert_int_equal(a.n, 1);
    assert_int_equal(a.chunk[0], 2);
    assert_int_equal(a.byte[0], 7);
}

#endif
